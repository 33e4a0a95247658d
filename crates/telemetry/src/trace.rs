//! One request's trace: decided once, and free when the answer is no.
//!
//! A [`Tracer`] decides at the head: a parent's decision holds, else a ratio, and in both cases at
//! most a number per second. The [`Trace`] it returns hands out a span per stage. Of a request
//! that is not sampled every span is `Span::none()`: no callsite, registry or exporter is touched.
//! Its context is still passed on, so that those behind us take the same decision.
//!
//! ```text
//! listener.serve            ── begin(), child of the HTTP headers' context
//! ├─ authenticate.verify    ── stage()
//! ├─ classify.read
//! └─ tools/call NAME        ── operation(), child of the `_meta` context when there is one
//!    ├─ authorize.decide
//!    └─ dispatch.call       ── outgoing() of this span goes to the backend
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use opentelemetry::Context;
use opentelemetry::trace::{Status, TraceContextExt};
pub use opentelemetry::{StringValue, Value};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::TraceContext;
use crate::names::{SPAN_TARGET, attribute};

/// Decides which requests are traced.
#[derive(Clone, Debug)]
pub struct Tracer {
    shared: Arc<Shared>,
}

/// One request's trace.
#[derive(Clone, Debug)]
pub struct Trace {
    context: TraceContext,
    /// The span of the HTTP request; none when not sampled.
    root: Span,
    /// The span of the operation; none before it is known.
    operation: Span,
    tracer: Tracer,
}

#[derive(Debug)]
struct Shared {
    /// Whether anybody receives spans; without, nothing is ever sampled.
    exporting: bool,
    /// A request without a parent is sampled when a random number is below this.
    threshold: u64,
    budget: Budget,
}

/// At most a number of traces in each second.
#[derive(Debug)]
struct Budget {
    per_second_max: u32,
    started: Instant,
    second: AtomicU64,
    used: AtomicU32,
}

// === impl Tracer ===

impl Tracer {
    /// Makes a tracer that samples nothing and still passes contexts on.
    #[must_use]
    pub fn disabled() -> Self {
        Self::new(false, 0.0, 0)
    }

    pub(crate) fn new(exporting: bool, ratio: f64, per_second_max: u32) -> Self {
        let budget =
            Budget { per_second_max, started: Instant::now(), second: AtomicU64::new(0), used: AtomicU32::new(0) };
        Self { shared: Arc::new(Shared { exporting, threshold: threshold_of(ratio), budget }) }
    }

    /// Begins the trace of one HTTP request whose headers had the context `parent`.
    ///
    /// `name` is the name of its span: [`crate::names::span::REQUEST`] for a listener's request.
    #[must_use]
    pub fn begin(&self, name: &'static str, parent: Option<TraceContext>) -> Trace {
        if self.samples(parent.as_ref()) {
            let root = new_span(None, name);
            if let Some(parent) = &parent {
                adopt(&root, parent);
            }
            let state = parent.as_ref().and_then(TraceContext::shared_state);
            let context = TraceContext::of_otel(root.context().span().span_context(), state);
            return Trace { context, root, operation: Span::none(), tracer: self.clone() };
        }
        let context = parent.unwrap_or_else(unsampled_context);
        Trace { context, root: Span::none(), operation: Span::none(), tracer: self.clone() }
    }

    fn samples(&self, parent: Option<&TraceContext>) -> bool {
        let shared = &*self.shared;
        if !shared.exporting {
            return false;
        }
        let wanted = match parent {
            Some(parent) => parent.is_sampled(),
            None => random() < shared.threshold,
        };
        wanted && shared.budget.take()
    }
}

// === impl Trace ===

impl Trace {
    /// Tells whether this request's spans are recorded; guard costly attributes with it.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        !self.root.is_none() || !self.operation.is_none()
    }

    /// Begins the span of the MCP operation, once it is known.
    ///
    /// Its parent is the context that the request's `_meta` had, else the HTTP request's span;
    /// with both, the latter is linked (semantic conventions for MCP, "Context propagation"). A
    /// sampled `_meta` context makes a request sampled from here on.
    pub fn operation(&mut self, method: &str, target: Option<&str>, meta: Option<TraceContext>) {
        if self.enter(method, target, meta) {
            self.set(attribute::METHOD, method.to_owned());
        }
    }

    /// Begins the span of a call of a model, and returns it to whoever knows what becomes of it: a stream outlives its request.
    /// It is none where nothing is sampled.
    pub fn call(&mut self, operation: &'static str, model: &str) -> Span {
        if self.enter(operation, Some(model), None) {
            self.set(attribute::GEN_AI_OPERATION, operation);
        }
        self.operation.clone()
    }

    /// Begins the span of an operation, where it is sampled.
    fn enter(&mut self, method: &str, target: Option<&str>, meta: Option<TraceContext>) -> bool {
        if let Some(meta) = &meta
            && !self.is_sampled()
        {
            self.context = meta.clone();
            if !self.tracer.samples(Some(meta)) {
                return false;
            }
        }
        if !self.is_sampled() && meta.is_none() {
            return false;
        }
        let name = target.map_or_else(|| method.to_owned(), |target| format!("{method} {target}"));
        let span = new_operation_span(&self.root, &name);
        if let Some(meta) = &meta {
            adopt(&span, meta);
            if !self.root.is_none() {
                span.add_link(self.root.context().span().span_context().clone());
            }
        }
        let state = meta.as_ref().unwrap_or(&self.context).shared_state();
        self.context = TraceContext::of_otel(span.context().span().span_context(), state);
        self.operation = span;
        true
    }

    /// Returns the span of one pipeline stage: enter it, or instrument a future with it.
    #[must_use]
    pub fn stage(&self, name: &'static str) -> Span {
        match self.current() {
            Some(parent) => new_span(Some(parent), name),
            None => Span::none(),
        }
    }

    /// Sets an attribute of the operation's span, else of the request's span.
    pub fn set(&self, key: &'static str, value: impl Into<Value>) {
        if let Some(span) = self.current() {
            span.set_attribute(key, value);
        }
    }

    /// Marks the operation as failed with an error of this class.
    pub fn fail(&self, error_type: &'static str) {
        if let Some(span) = self.current() {
            fail(span, error_type);
        }
    }

    /// Returns the context to send to a backend: of `span` when it is recorded, else of the
    /// request.
    #[must_use]
    pub fn outgoing(&self, span: &Span) -> TraceContext {
        if span.is_none() {
            return self.context.clone();
        }
        TraceContext::of_otel(span.context().span().span_context(), self.context.shared_state())
    }

    /// Returns the context of the request; its trace id belongs into log lines.
    #[must_use]
    pub fn context(&self) -> &TraceContext {
        &self.context
    }

    fn current(&self) -> Option<&Span> {
        [&self.operation, &self.root].into_iter().find(|span| !span.is_none())
    }
}

// === impl Budget ===

impl Budget {
    /// Takes one of this second's traces. Around the turn of a second a few may be counted to
    /// the other one, which a guard against floods can bear.
    fn take(&self) -> bool {
        let now = self.started.elapsed().as_secs();
        if self.second.swap(now, Ordering::Relaxed) != now {
            self.used.store(0, Ordering::Relaxed);
        }
        self.used.fetch_add(1, Ordering::Relaxed) < self.per_second_max
    }
}

/// Sets an attribute of a stage's span.
pub fn set(span: &Span, key: &'static str, value: impl Into<Value>) {
    if !span.is_none() {
        span.set_attribute(key, value);
    }
}

/// Notes that what a span tells of is over now, though it is kept for what will be known of it later.
pub fn end(span: &Span) {
    // Its end is when it was left last.
    span.in_scope(|| {});
}

/// Marks a stage's span as failed with an error of this class.
pub fn fail(span: &Span, error_type: &'static str) {
    if !span.is_none() {
        span.set_attribute(attribute::ERROR_TYPE, error_type);
        span.set_status(Status::error(error_type));
    }
}

fn new_span(parent: Option<&Span>, name: &'static str) -> Span {
    match parent.and_then(Span::id) {
        Some(parent) => tracing::info_span!(target: SPAN_TARGET, parent: parent, "stage", otel.name = name),
        None => {
            tracing::info_span!(target: SPAN_TARGET, parent: None, "request", otel.name = name, otel.kind = "server")
        }
    }
}

fn new_operation_span(root: &Span, name: &str) -> Span {
    match root.id() {
        Some(parent) => {
            tracing::info_span!(target: SPAN_TARGET, parent: parent, "operation", otel.name = name, otel.kind = "server")
        }
        None => {
            tracing::info_span!(target: SPAN_TARGET, parent: None, "operation", otel.name = name, otel.kind = "server")
        }
    }
}

/// Makes `span` the child of a context from elsewhere.
fn adopt(span: &Span, parent: &TraceContext) {
    let context = Context::new().with_remote_span_context(parent.to_otel());
    // It fails only where no exporter listens to the span, and then there is no trace to join.
    let _ = span.set_parent(context);
}

fn unsampled_context() -> TraceContext {
    let ids = RandomIdGenerator::default();
    let (trace, span) = (ids.new_trace_id(), ids.new_span_id());
    TraceContext::new(u128::from_be_bytes(trace.to_bytes()), u64::from_be_bytes(span.to_bytes()), false)
}

fn random() -> u64 {
    u64::from_be_bytes(RandomIdGenerator::default().new_span_id().to_bytes())
}

/// Maps 0.0 to nothing and 1.0 to everything.
fn threshold_of(ratio: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "the cast saturates, and a ratio needs no more than 52 bits"
    )]
    let threshold = (ratio.clamp(0.0, 1.0) * u64::MAX as f64) as u64;
    threshold
}
