//! What is counted and timed: one handle with a method per fact.
//!
//! [`Metrics`] is made once and cloned freely. Labels are closed sets or names from the
//! configuration. The hot facts (an operation's duration, gauges) are bound to their attributes
//! beforehand or at first use, so that recording one is an array access and an uncontended lock.
//! [`BackendMetrics`] holds the same for one tool server and belongs to its actor.
//!
//! The text for Prometheus comes from [`Metrics::render`]; OTLP export reads the same numbers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundUpDownCounter, Counter, Gauge, Histogram, Meter, MeterProvider, UpDownCounter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{Instrument, SdkMeterProvider, Stream};
use prometheus::{Registry, TextEncoder};

use crate::labels::{Method, Outcome, Revision};
use crate::names::{attribute, metric};

mod audit;
mod backend;
mod cells;
mod model;
mod policy;
mod process;
mod records;
mod session;
mod stdio;
mod token;

pub use audit::AuditNumbers;
pub use backend::{BackendMetrics, ReplicaState};
pub use model::{ModelCall, ModelMetrics, ModelOperation};
pub use policy::TenantMetrics;
pub use session::Tally;
pub use stdio::{DroppedLine, StdioMetrics};
pub use token::TokenMetrics;

use cells::OperationCells;

/// The media type of [`Metrics::render`].
pub const RENDER_CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// The meter that all of our instruments belong to.
const METER: &str = "quorate";

/// Buckets of durations in seconds: those that the semantic conventions for MCP advise (0.01 to
/// 300), and finer ones below for a gateway that answers from its cache in under a millisecond.
pub(crate) const DURATION_BUCKETS: [f64; 19] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 120.0,
    300.0,
];

/// Buckets of session lifetimes in seconds, up to a day.
const SESSION_BUCKETS: [f64; 10] = [1.0, 10.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 14_400.0, 43_200.0, 86_400.0];

/// The most time series of one duration metric: methods times outcomes times what was configured.
/// Beyond it the SDK counts into one series marked as overflow.
const SERIES_MAX: usize = 10_000;

/// Where every part of a node reports its numbers.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

/// Counts something open until it is dropped.
#[must_use = "dropping the guard says that the thing is gone"]
pub struct Active {
    counter: BoundUpDownCounter<i64>,
}

/// What a list lists, as the label of the list cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum List {
    /// Tools.
    Tools,
    /// Prompts.
    Prompts,
    /// Resources.
    Resources,
    /// Resource templates.
    ResourceTemplates,
}

/// How the list cache served a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CacheResult {
    /// From the cache.
    Hit,
    /// From the cache while a fresh list is being made.
    Stale,
    /// The list had to be made.
    Miss,
}

struct Inner {
    registry: Registry,
    provider: SdkMeterProvider,
    operations: OperationCells,
    client_durations: Histogram<f64>,
    session_durations: Histogram<f64>,
    rejections: Counter<u64>,
    limit_hits: Counter<u64>,
    parked: BoundUpDownCounter<i64>,
    parkings: Counter<u64>,
    undelivered: Counter<u64>,
    resumptions: Counter<u64>,
    list_cache: [[opentelemetry::metrics::BoundCounter<u64>; 3]; 4],
    config_loads: Counter<u64>,
    connections: UpDownCounter<i64>,
    patterns: UpDownCounter<i64>,
    streams: BoundUpDownCounter<i64>,
    sessions: BoundUpDownCounter<i64>,
    resting: Gauge<u64>,
    requests: BoundUpDownCounter<i64>,
    backend: backend::Instruments,
    model: model::Instruments,
    policy: policy::Instruments,
    session: session::Instruments,
    stdio: stdio::Instruments,
    token: token::Instruments,
}

// === impl Metrics ===

impl Metrics {
    /// Makes the metrics of a node of this version that are only rendered, not pushed.
    #[must_use]
    pub fn new(version: &'static str) -> Self {
        Self::with_provider(version, SdkMeterProvider::builder().with_resource(Resource::builder_empty().build()))
    }

    pub(crate) fn with_provider(
        version: &'static str,
        builder: opentelemetry_sdk::metrics::MeterProviderBuilder,
    ) -> Self {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .build()
            .expect("a new registry has no collector that could collide");
        let provider = builder.with_reader(exporter).with_view(duration_view).build();
        let meter = provider.meter(METER);
        process::observe(&meter, version);
        Self { inner: Arc::new(Inner::new(registry, provider, &meter)) }
    }

    /// Records that a client's operation ended.
    pub fn operation(&self, method: Method, revision: Revision, outcome: Outcome, elapsed: Duration) {
        self.inner.operations.record(method, revision, outcome, elapsed);
    }

    /// Counts a request that `stage` turned away for `reason`, a constant of the code.
    pub fn rejected(&self, stage: &'static str, reason: &'static str) {
        let attributes = [KeyValue::new(attribute::STAGE, stage), KeyValue::new(attribute::REASON, reason)];
        self.inner.rejections.add(1, &attributes);
    }

    /// Counts that a limit was hit, by its key in the configuration.
    pub fn limit_hit(&self, limit: &'static str) {
        self.inner.limit_hits.add(1, &[KeyValue::new(attribute::LIMIT, limit)]);
    }

    /// Counts a request in progress until the guard is dropped.
    pub fn request_active(&self) -> Active {
        self.inner.session.counted.requests.fetch_add(1, Ordering::Relaxed);
        Active::new(self.inner.requests.clone())
    }

    /// Counts an open connection of a listener until the guard is dropped.
    ///
    /// The listener's name comes from the configuration, which bounds the label.
    pub fn connection_open(&self, listener: &str) -> Active {
        Active::new(self.inner.connections.bind(&[KeyValue::new(attribute::LISTENER, listener.to_owned())]))
    }

    /// Counts a pattern of a toolset that matches nothing until the guard is dropped.
    ///
    /// The toolset's name comes from the configuration, which bounds the label.
    pub fn pattern_unmatched(&self, toolset: &str) -> Active {
        Active::new(self.inner.patterns.bind(&[KeyValue::new(attribute::TOOLSET, toolset.to_owned())]))
    }

    /// Counts an open client stream until the guard is dropped.
    pub fn stream_open(&self) -> Active {
        Active::new(self.inner.streams.clone())
    }

    /// Counts a live session until the guard is dropped.
    pub fn session_live(&self) -> Active {
        Active::new(self.inner.sessions.clone())
    }

    /// Says how many sessions that this node owns are their records alone.
    pub fn sessions_resting(&self, sessions: usize) {
        self.inner.resting.record(u64::try_from(sessions).unwrap_or(u64::MAX), &[]);
    }

    /// Records that a session ended for `reason`, a constant of the code.
    pub fn session_ended(&self, reason: &'static str, revision: Revision, lifetime: Duration) {
        let attributes =
            [KeyValue::new(attribute::REASON, reason), KeyValue::new(attribute::REVISION, revision.as_str())];
        self.inner.session_durations.record(lifetime.as_secs_f64(), &attributes);
    }

    /// Counts a call that waits for its client's answer to a tool server, until the guard is dropped.
    pub fn call_parked(&self) -> Active {
        Active::new(self.inner.parked.clone())
    }

    /// Counts a parking that ended, by `result`, a constant of the code.
    pub fn parking_ended(&self, result: &'static str) {
        self.inner.parkings.add(1, &[KeyValue::new(attribute::RESULT, result)]);
    }

    /// Counts an answer that was ready and reached nobody, for `reason`, a constant of the code.
    pub fn undelivered(&self, reason: &'static str) {
        self.inner.undelivered.add(1, &[KeyValue::new(attribute::REASON, reason)]);
    }

    /// Counts a stream that was resumed or should have been, by `result`, a constant of the code.
    pub fn resumption(&self, result: &'static str) {
        self.inner.resumptions.add(1, &[KeyValue::new(attribute::RESULT, result)]);
    }

    /// Counts how the list cache served a request.
    pub fn list_cache(&self, list: List, result: CacheResult) {
        self.inner.list_cache[list as usize][result as usize].add(1);
    }

    /// Counts a load of the configuration and whether it was taken over.
    pub fn config_loaded(&self, accepted: bool) {
        let result = if accepted { "accepted" } else { "refused" };
        self.inner.config_loads.add(1, &[KeyValue::new(attribute::RESULT, result)]);
    }

    /// Makes the handle of one tool server, whose name comes from the configuration.
    #[must_use]
    pub fn backend(&self, server: &str) -> BackendMetrics {
        BackendMetrics::new(server, &self.inner.client_durations, &self.inner.backend)
    }

    /// Makes the handle of one tool server's child processes.
    #[must_use]
    pub fn stdio(&self, server: &str) -> StdioMetrics {
        StdioMetrics::new(server, &self.inner.stdio)
    }

    /// Makes the handle of one tool server's bearer token.
    #[must_use]
    pub fn token(&self, server: &str) -> TokenMetrics {
        TokenMetrics::new(server, &self.inner.token)
    }

    /// Writes every metric in the text format of Prometheus.
    #[must_use]
    pub fn render(&self) -> String {
        let families = self.inner.registry.gather();
        TextEncoder::new().encode_to_string(&families).unwrap_or_else(|error| {
            tracing::error!(%error, "metrics could not be written");
            String::new()
        })
    }

    pub(crate) fn provider(&self) -> &SdkMeterProvider {
        &self.inner.provider
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

// === impl Inner ===

impl Inner {
    fn new(registry: Registry, provider: SdkMeterProvider, meter: &Meter) -> Self {
        let server_durations =
            duration(meter, metric::SERVER_OPERATION_DURATION, "Time from a client's request to the end of its answer");
        let session_durations = meter
            .f64_histogram(metric::SERVER_SESSION_DURATION)
            .with_description("Lifetime of a client's session")
            .with_unit("s")
            .with_boundaries(SESSION_BUCKETS.to_vec())
            .build();
        let gauge = |name, description| meter.i64_up_down_counter(name).with_description(description).build();
        let counter = |name, description| meter.u64_counter(name).with_description(description).build();
        let list_cache = counter(metric::LIST_CACHE, "Lists served from the cache or made");
        Self {
            registry,
            provider,
            operations: OperationCells::new(server_durations),
            client_durations: duration(
                meter,
                metric::CLIENT_OPERATION_DURATION,
                "Time from a request to a tool server to the end of its answer",
            ),
            session_durations,
            rejections: counter(metric::REJECTIONS, "Requests that a stage turned away"),
            limit_hits: counter(metric::LIMIT_HITS, "How often a limit was hit"),
            parked: gauge(metric::PARKED, "Calls that wait for their client's answer").bind(&[]),
            parkings: counter(metric::PARKINGS, "Parkings of calls that ended"),
            undelivered: counter(metric::UNDELIVERED, "Answers that were ready and reached nobody"),
            resumptions: counter(metric::RESUMPTIONS, "Streams that were resumed, or should have been"),
            list_cache: List::ALL.map(|list| {
                CacheResult::ALL.map(|result| {
                    list_cache.bind(&[
                        KeyValue::new(attribute::LIST, list.as_str()),
                        KeyValue::new(attribute::RESULT, result.as_str()),
                    ])
                })
            }),
            config_loads: counter(metric::CONFIG_LOADS, "Loads of the configuration"),
            connections: gauge(metric::CONNECTIONS, "Open client connections"),
            patterns: gauge(metric::PATTERNS_UNMATCHED, "Patterns of a toolset that match nothing"),
            streams: gauge(metric::STREAMS, "Open client streams").bind(&[]),
            sessions: gauge(metric::SESSIONS, "Live sessions").bind(&[]),
            resting: meter
                .u64_gauge(metric::SESSIONS_RESTING)
                .with_description("Sessions owned by this node that are their records alone")
                .build(),
            requests: gauge(metric::REQUESTS_ACTIVE, "Requests in progress").bind(&[]),
            backend: backend::Instruments::new(meter),
            model: model::Instruments::new(meter),
            policy: policy::Instruments::new(meter),
            session: session::Instruments::new(meter),
            stdio: stdio::Instruments::new(meter),
            token: token::Instruments::new(meter),
        }
    }
}

// === impl Active ===

impl Active {
    pub(crate) fn new(counter: BoundUpDownCounter<i64>) -> Self {
        counter.add(1);
        Self { counter }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.counter.add(-1);
    }
}

impl std::fmt::Debug for Active {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Active")
    }
}

// === impl List ===

impl List {
    const ALL: [Self; 4] = [Self::Tools, Self::Prompts, Self::Resources, Self::ResourceTemplates];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::ResourceTemplates => "resource_templates",
        }
    }
}

// === impl CacheResult ===

impl CacheResult {
    const ALL: [Self; 3] = [Self::Hit, Self::Stale, Self::Miss];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Miss => "miss",
        }
    }
}

fn duration(meter: &Meter, name: &'static str, description: &'static str) -> Histogram<f64> {
    let histogram = meter.f64_histogram(name).with_description(description).with_unit("s");
    histogram.with_boundaries(DURATION_BUCKETS.to_vec()).build()
}

/// Gives the two metrics that have many labels more time series than the SDK's 2,000.
fn duration_view(instrument: &Instrument) -> Option<Stream> {
    let many = [metric::SERVER_OPERATION_DURATION, metric::CLIENT_OPERATION_DURATION];
    if !many.contains(&instrument.name()) {
        return None;
    }
    Stream::builder().with_cardinality_limit(SERIES_MAX).build().ok()
}
