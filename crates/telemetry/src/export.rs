//! Push of traces, metrics and records over OTLP/gRPC.
//!
//! Finished spans wait in the SDK's bounded batch queue (2,048; more are dropped and counted by
//! the SDK's own warning), metrics are read at intervals; both are sent by threads of the SDK, records by a task of ours
//! ([`crate::records`]), over one gRPC channel each, which lives on the tokio runtime that was current when it was made.
//! `https` endpoints are verified against the system's roots. Further settings of the collector's
//! side (`OTEL_EXPORTER_OTLP_HEADERS`) are read by the SDK itself, and for records as it does, and never logged.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{MeterProviderBuilder, PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider};
use tonic::transport::{Channel, Endpoint};
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::registry::LookupSpan;

use crate::metrics::Metrics;
use crate::names::SPAN_TARGET;
use crate::records::Records;
use crate::setup::{Config, Error, Otlp};

const SERVICE_NAME: &str = "quorate";
/// How often a connection to a collector is looked at.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// A running export.
#[derive(Debug)]
pub(crate) struct Export {
    otlp: Otlp,
    traces: SdkTracerProvider,
    records: Records,
}

// === impl Export ===

impl Export {
    pub(crate) fn new(config: &Config, otlp: &Otlp) -> Result<Self, Error> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(Error::NoRuntime);
        }
        check_endpoint(&otlp.endpoint)?;
        let exporter = connect(SpanExporter::builder().with_tonic(), otlp).build().map_err(failed(otlp))?;
        let batches = BatchConfigBuilder::default().with_scheduled_delay(otlp.traces_delay).build();
        let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
        let traces = SdkTracerProvider::builder()
            .with_resource(resource(config))
            // Our tracer decided already; whatever becomes a span is to be recorded.
            .with_sampler(Sampler::AlwaysOn)
            .with_span_processor(processor)
            .build();
        let channel = channel(otlp).map_err(failed(otlp))?;
        let records = Records::new(channel, &resource(config), otlp)?;
        Ok(Self { otlp: otlp.clone(), traces, records })
    }

    /// What is sent as records.
    pub(crate) fn records(&self) -> &Records {
        &self.records
    }

    /// Makes the layer that turns our spans, and nothing else, into exported ones.
    pub(crate) fn span_layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        // The hint lets the debug lines of others stay as cheap as without this layer.
        let ours = filter_fn(|metadata| metadata.is_span() && metadata.target() == SPAN_TARGET)
            .with_max_level_hint(LevelFilter::INFO);
        tracing_opentelemetry::layer()
            .with_tracer(self.traces.tracer(SERVICE_NAME))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            // Nothing here asks OpenTelemetry for a current context.
            .with_context_activation(false)
            .with_filter(ours)
    }

    /// Flushes and stops; the SDK blocks while it does, so it gets a thread of its own.
    pub(crate) async fn shutdown(self, metrics: Metrics) {
        self.records.shutdown().await;
        let stopped = tokio::task::spawn_blocking(move || {
            let results = [self.traces.shutdown(), metrics.provider().shutdown()];
            for error in results.into_iter().filter_map(Result::err) {
                tracing::warn!(%error, "the last telemetry could not be exported");
            }
        });
        // A panic of the SDK must not fail a clean shutdown.
        if let Err(error) = stopped.await {
            tracing::warn!(%error, "telemetry did not stop cleanly");
        }
    }
}

/// Prepares the provider of metrics, with push when there is an export.
pub(crate) fn meter_provider(config: &Config, export: Option<&Export>) -> Result<MeterProviderBuilder, Error> {
    let builder = SdkMeterProvider::builder().with_resource(resource(config));
    let Some(export) = export else { return Ok(builder) };
    let builder_of_exporter = connect(MetricExporter::builder().with_tonic(), &export.otlp);
    let exporter = builder_of_exporter.build().map_err(failed(&export.otlp))?;
    Ok(builder.with_reader(PeriodicReader::builder(exporter).with_interval(export.otlp.metrics_interval).build()))
}

/// Refuses what the exporter would only fail on with its first export, far from whoever typed it.
fn check_endpoint(endpoint: &str) -> Result<(), Error> {
    let uri: Option<http::Uri> = endpoint.parse().ok();
    let usable = |uri: &http::Uri| uri.host().is_some() && matches!(uri.scheme_str(), Some("http" | "https"));
    if uri.as_ref().is_some_and(usable) {
        return Ok(());
    }
    Err(Error::Endpoint { endpoint: endpoint.to_owned() })
}

fn connect<B: WithExportConfig + WithTonicConfig>(builder: B, otlp: &Otlp) -> B {
    let builder = builder.with_endpoint(&otlp.endpoint).with_timeout(otlp.timeout);
    if !is_https(otlp) {
        return builder;
    }
    builder.with_tls_config(ClientTlsConfig::new().with_enabled_roots())
}

/// The channel that records go over, as [`connect`] makes those of the SDK.
fn channel(otlp: &Otlp) -> Result<Channel, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(otlp.endpoint.clone())?.connect_timeout(otlp.timeout);
    // A connection that is gone without a word is noticed before a batch waits on it for long.
    let endpoint = endpoint.http2_keep_alive_interval(KEEP_ALIVE).keep_alive_timeout(otlp.timeout / 2);
    let mut endpoint = endpoint.keep_alive_while_idle(true);
    if is_https(otlp) {
        endpoint = endpoint.tls_config(ClientTlsConfig::new().with_enabled_roots())?;
    }
    Ok(endpoint.connect_lazy())
}

fn is_https(otlp: &Otlp) -> bool {
    otlp.endpoint.starts_with("https:")
}

fn failed<E: std::error::Error + Send + Sync + 'static>(otlp: &Otlp) -> impl Fn(E) -> Error {
    let endpoint = otlp.endpoint.clone();
    move |source| Error::Export { endpoint: endpoint.clone(), source: Box::new(source) }
}

fn resource(config: &Config) -> Resource {
    let mut attributes = vec![KeyValue::new("service.version", config.version)];
    if !config.instance.is_empty() {
        attributes.push(KeyValue::new("service.instance.id", config.instance.clone()));
    }
    Resource::builder_empty().with_service_name(SERVICE_NAME).with_attributes(attributes).build()
}
