//! Records of calls of models, pushed over OTLP/gRPC as log records.
//!
//! What is logged under the target [`RECORD_TARGET`] is one record per call; the layer of this file takes the same event and its
//! fields, so that both have the same names, whatever the log's filter lets through. Records wait in a bounded queue and are sent in
//! batches by a thread of the SDK.
//!
//! Invariant: nobody waits for a collector. A record that finds the queue full is dropped, as are those of a batch that could not be
//! sent, and both are counted ([`Counts`]).

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity};
use opentelemetry::{SpanId, TraceFlags, TraceId};
use opentelemetry_otlp::LogExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{
    BatchConfigBuilder, BatchLogProcessor, LogBatch, LogExporter as Exporter, SdkLogRecord, SdkLogger,
    SdkLoggerProvider,
};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::logs;
use crate::names::RECORD_TARGET;

/// The most records that wait to be sent: those of two seconds of a node that is busy with short answers.
const QUEUE_MAX: usize = 4_096;
/// The most records of a batch.
const BATCH_MAX: usize = 512;
/// The name of these records among others, as the conventions name events.
const EVENT: &str = "quorate.model.call";
/// The field that has the id of the call's trace.
const TRACE: &str = "trace";

/// A running export of records.
#[derive(Debug)]
pub(crate) struct Records {
    provider: SdkLoggerProvider,
    counts: Arc<Counts>,
}

/// How many records there are, and what became of those that are not sent.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    waiting: AtomicUsize,
    full: AtomicU64,
    unsent: AtomicU64,
}

/// Takes events as records.
struct Taker {
    logger: SdkLogger,
    counts: Arc<Counts>,
}

/// An exporter that counts.
#[derive(Debug)]
struct Counted {
    exporter: LogExporter,
    counts: Arc<Counts>,
}

/// The fields of an event, as those of a record.
struct Fields<'a>(&'a mut SdkLogRecord);

// === impl Records ===

impl Records {
    /// Sends by `exporter`, with the longest that a record waits for its batch.
    pub(crate) fn new(exporter: LogExporter, resource: Resource, delay: Duration) -> Self {
        let counts = Arc::new(Counts::default());
        let counted = Counted { exporter, counts: Arc::clone(&counts) };
        // Never full before we say so: what is dropped there would be told of at the end alone.
        let queue = QUEUE_MAX + BATCH_MAX;
        let batches = BatchConfigBuilder::default().with_max_queue_size(queue).with_max_export_batch_size(BATCH_MAX);
        let processor = BatchLogProcessor::builder(counted);
        let processor = processor.with_batch_config(batches.with_scheduled_delay(delay).build()).build();
        let provider = SdkLoggerProvider::builder().with_resource(resource).with_log_processor(processor).build();
        Self { provider, counts }
    }

    /// What is counted of them.
    pub(crate) fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// Makes the layer that takes our records, and nothing else.
    pub(crate) fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        let ours = filter_fn(|metadata| metadata.is_event() && metadata.target() == RECORD_TARGET)
            .with_max_level_hint(LevelFilter::INFO);
        Taker { logger: self.provider.logger("quorate"), counts: self.counts() }.with_filter(ours)
    }

    /// Sends what waits, and stops; it blocks.
    pub(crate) fn shutdown(&self) -> OTelSdkResult {
        self.provider.shutdown()
    }
}

// === impl Counts ===

impl Counts {
    /// Records that were dropped, by why.
    pub(crate) fn dropped(&self) -> [(&'static str, u64); 2] {
        [("queue", self.full.load(Ordering::Relaxed)), ("export", self.unsent.load(Ordering::Relaxed))]
    }

    /// Takes a place in the queue.
    fn enter(&self) -> bool {
        if self.waiting.fetch_add(1, Ordering::Relaxed) < QUEUE_MAX {
            return true;
        }
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        self.full.fetch_add(1, Ordering::Relaxed);
        false
    }
}

// === impl Taker ===

impl<S: Subscriber> Layer<S> for Taker {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if !self.counts.enter() {
            return;
        }
        let mut record = self.logger.create_log_record();
        record.set_event_name(EVENT);
        record.set_target(RECORD_TARGET);
        record.set_timestamp(SystemTime::now());
        record.set_severity_number(Severity::Info);
        record.set_severity_text("INFO");
        event.record(&mut Fields(&mut record));
        self.logger.emit(record);
    }
}

// === impl Fields ===

impl Fields<'_> {
    fn add(&mut self, field: &Field, value: AnyValue) {
        match field.name() {
            "message" => self.0.set_body(value),
            name => self.0.add_attribute(name, value),
        }
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = logs::cut(&format!("{value:?}")).into_owned();
        if field.name() == TRACE
            && let Ok(trace) = TraceId::from_hex(&text)
        {
            // Spans of the call have the same id; which of them it was is not known any more.
            self.0.set_trace_context(trace, SpanId::INVALID, Some(TraceFlags::default()));
        }
        self.add(field, text.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, logs::cut(value).into_owned().into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, i64::try_from(value).unwrap_or(i64::MAX).into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }
}

// === impl Counted ===

impl Exporter for Counted {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let count = batch.iter().count();
        self.counts.waiting.fetch_sub(count, Ordering::Relaxed);
        let result = self.exporter.export(batch).await;
        if result.is_err() {
            self.counts.unsent.fetch_add(count as u64, Ordering::Relaxed);
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_the_queue_full_is_counted_and_does_not_wait() {
        let counts = Counts::default();
        let taken = (0..QUEUE_MAX + 3).filter(|_| counts.enter()).count();

        assert_eq!((taken, counts.dropped()), (QUEUE_MAX, [("queue", 3), ("export", 0)]));
        assert_eq!(counts.waiting.load(Ordering::Relaxed), QUEUE_MAX, "who was turned away holds no place");
    }
}
