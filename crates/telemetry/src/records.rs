//! Records of calls of models, pushed over OTLP/gRPC as log records.
//!
//! What is logged under the target [`RECORD_TARGET`] is one record per call; the layer of this file takes the same event and its
//! fields, so that both have the same names, whatever the log's filter lets through. A record is written at once as it is sent
//! ([`wire`]), waits in a bounded queue ([`queue`]), and is sent in small batches by a task ([`send`]).
//!
//! Invariant: nobody waits for a collector. A record that finds the queue full is dropped, as are those of a batch that could not be
//! sent, and both are counted ([`Queue::dropped`]).

mod headers;
mod queue;
mod send;
mod wire;

use std::fmt::{Debug, Write};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

pub(crate) use self::queue::Queue;
use self::send::Sender;
use self::wire::{Envelope, Value, Writer};
use crate::logs;
use crate::names::RECORD_TARGET;
use crate::setup::{Error, Otlp};

/// The name of these records among others, as the conventions name events.
const EVENT: &str = "quorate.model.call";
/// The field that has the id of the call's trace.
const TRACE: &str = "trace";
/// Bytes of most records: one allocation each.
const BYTES_USUAL: usize = 1024;

/// A running export of records.
#[derive(Debug)]
pub(crate) struct Records {
    queue: Arc<Queue>,
    stop: oneshot::Sender<()>,
    sending: JoinHandle<()>,
    timeout: Duration,
}

/// Takes events as records.
#[derive(Debug)]
struct Taker(Arc<Queue>);

/// The fields of an event, as those of a record.
#[derive(Debug)]
struct Fields {
    record: Writer,
    /// Where a value is shown that has no text of its own.
    shown: String,
}

// === impl Records ===

impl Records {
    /// Sends over `channel`, whose other side is told about the process by `resource`; to be called on a tokio runtime.
    ///
    /// # Errors
    /// When the headers for the collector are not valid.
    pub(crate) fn new(channel: Channel, resource: &opentelemetry_sdk::Resource, otlp: &Otlp) -> Result<Self, Error> {
        let queue = Arc::new(Queue::default());
        let scope = InstrumentationScope { name: RECORD_TARGET.to_owned(), ..InstrumentationScope::default() };
        let sender = Sender {
            grpc: Grpc::new(channel),
            headers: headers::of_environment()?,
            envelope: Envelope::new(&message_of(resource), &scope),
            queue: Arc::clone(&queue),
            delay: otlp.records_delay,
            timeout: otlp.timeout,
            trouble: None,
        };
        let (stop, stopped) = oneshot::channel();
        Ok(Self { queue, stop, sending: tokio::spawn(sender.run(stopped)), timeout: otlp.timeout })
    }

    /// The queue, which counts what is dropped.
    pub(crate) fn queue(&self) -> Arc<Queue> {
        Arc::clone(&self.queue)
    }

    /// Makes the layer that takes our records, and nothing else.
    pub(crate) fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        let ours = filter_fn(|metadata| metadata.is_event() && metadata.target() == RECORD_TARGET)
            .with_max_level_hint(LevelFilter::INFO);
        Taker(self.queue()).with_filter(ours)
    }

    /// Sends what waits, as far as that is done in the time of one export, and stops.
    pub(crate) async fn shutdown(self) {
        // A task that has ended needs no telling.
        let _ = self.stop.send(());
        let mut sending = self.sending;
        match tokio::time::timeout(self.timeout, &mut sending).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the task that sends records of calls ended early"),
            Err(_) => {
                sending.abort();
                // It may be at the end of a batch: what waits is counted when nobody takes any more.
                let _aborted = sending.await;
            }
        }
        let lost = self.queue.end();
        if lost > 0 {
            tracing::warn!(lost, "the last records of calls could not be sent in time");
        }
    }
}

/// A resource as it is sent.
fn message_of(resource: &opentelemetry_sdk::Resource) -> Resource {
    let attributes = resource.iter().map(|(key, value)| KeyValue {
        key: key.as_str().to_owned(),
        value: Some(AnyValue { value: Some(any_value::Value::StringValue(value.as_str().into_owned())) }),
        ..KeyValue::default()
    });
    Resource { attributes: attributes.collect(), ..Resource::default() }
}

// === impl Taker ===

impl<S: Subscriber> Layer<S> for Taker {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if !self.0.has_room() {
            return;
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let nanos = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let mut fields = Fields { record: Writer::new(EVENT, nanos, BYTES_USUAL), shown: String::new() };
        event.record(&mut fields);
        self.0.push(&fields.record);
    }
}

// === impl Fields ===

impl Fields {
    fn add(&mut self, field: &Field, value: Value<'_>) {
        match (field.name(), value) {
            ("message", Value::Text(text)) => self.record.body(text),
            (name, value) => self.record.attribute(name, value),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut shown = std::mem::take(&mut self.shown);
        // Only a value whose own `Debug` fails does so, of which what it wrote until then is told.
        let _ = write!(shown, "{value:?}");
        if field.name() == TRACE
            && let Ok(id) = u128::from_str_radix(&shown, 16)
        {
            // Spans of the call have the same id; which of them it was is not known any more.
            self.record.trace(id.to_be_bytes());
        }
        self.add(field, Value::Text(&logs::cut(&shown)));
        shown.clear();
        self.shown = shown;
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, Value::Text(&logs::cut(value)));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, Value::Int(i64::try_from(value).unwrap_or(i64::MAX)));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, Value::Int(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, Value::Bool(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, Value::Double(value));
    }
}
