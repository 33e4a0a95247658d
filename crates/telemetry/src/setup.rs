//! Telemetry of one process: from a [`Config`] to logs, export and the handles.
//!
//! [`init`] is called once, first thing in `main`, on a multi-threaded tokio runtime when there
//! is OTLP export (its gRPC channel lives there). The [`Guard`] flushes what is pending when it is
//! shut down; dropping it without that loses at most the last interval.

use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;

use crate::export::{self, Export};
use crate::logs;
use crate::metrics::Metrics;
use crate::trace::Tracer;

/// What telemetry of this process does.
#[derive(Clone, Debug)]
pub struct Config {
    /// The version of the program, for resource attributes and the build metric.
    pub version: &'static str,
    /// This node among its peers (`service.instance.id`); empty when it has no name.
    pub instance: String,
    /// Which log lines are written: directives of `tracing_subscriber::EnvFilter`.
    pub log_filter: String,
    /// The form of log lines.
    pub log_format: LogFormat,
    /// The share of requests that are traced when nobody decided before us, 0.0 to 1.0.
    pub sampling_ratio: f64,
    /// The most traces begun per second, whoever asked for them: a caller's flag must not make
    /// us record without bound.
    pub traces_per_second_max: u32,
    /// Where traces, metrics and records are pushed to; `None` pushes nothing.
    pub otlp: Option<Otlp>,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people: time, level, target, message, fields.
    #[default]
    Human,
    /// For people at a terminal: the same with colours.
    HumanColored,
    /// For machines: one JSON object per line.
    Json,
}

/// Push over OTLP/gRPC.
#[derive(Clone, Debug)]
pub struct Otlp {
    /// The collector, such as `http://127.0.0.1:4317`.
    pub endpoint: String,
    /// How long one export may take.
    pub timeout: Duration,
    /// The time between two exports of metrics.
    pub metrics_interval: Duration,
    /// The longest that a finished span waits for its batch.
    pub traces_delay: Duration,
    /// The longest that a record waits for its batch.
    pub records_delay: Duration,
}

/// Telemetry cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log filter is not a list of directives.
    #[error("log filter {filter:?} is not valid: {source}")]
    Filter {
        /// The filter as given.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// The sampling ratio is not between 0 and 1.
    #[error("sampling ratio {ratio} is not between 0 and 1")]
    Ratio {
        /// The ratio as given.
        ratio: f64,
    },
    /// The endpoint is not a URL that gRPC can use.
    #[error("OTLP endpoint {endpoint:?} is not valid: write it like http://127.0.0.1:4317")]
    Endpoint {
        /// The endpoint as given.
        endpoint: String,
    },
    /// The exporter cannot be made for this endpoint.
    #[error("OTLP export to {endpoint:?} cannot be set up: {source}")]
    Export {
        /// The endpoint as given.
        endpoint: String,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Headers for the collector are not a list of `name=value`.
    #[error("entry {number} of {variable} is no header: write it as name=value, with the value percent-encoded")]
    Header {
        /// The environment variable.
        variable: &'static str,
        /// Which entry it is, from 1; what it says may be a secret.
        number: usize,
    },
    /// OTLP export needs a tokio runtime, and `init` was called outside of one.
    #[error("OTLP export needs a tokio runtime")]
    NoRuntime,
    /// The process has telemetry already.
    #[error("telemetry is initialised already")]
    AlreadyInitialised,
}

/// Telemetry that runs; shut it down last.
#[derive(Debug)]
pub struct Guard {
    metrics: Metrics,
    tracer: Tracer,
    export: Option<Export>,
}

/// What [`Config::default`] has: people's logs of our own parts, one request in a hundred.
impl Default for Config {
    fn default() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            instance: String::new(),
            log_filter: logs::FILTER_DEFAULT.to_owned(),
            log_format: LogFormat::Human,
            sampling_ratio: 0.01,
            traces_per_second_max: 1000,
            otlp: None,
        }
    }
}

// === impl Otlp ===

impl Otlp {
    /// Makes the export to `endpoint` with the specification's timings (OTLP exporter
    /// configuration: 10 s; metrics SDK: 60 s; batch span processor: 5 s; batch log record
    /// processor: 1 s).
    #[must_use]
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            timeout: Duration::from_secs(10),
            metrics_interval: Duration::from_secs(60),
            traces_delay: Duration::from_secs(5),
            records_delay: Duration::from_secs(1),
        }
    }
}

// === impl Guard ===

impl Guard {
    /// Returns the handle that counts and times.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Returns the handle that begins traces.
    #[must_use]
    pub fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    /// Exports what is pending and stops; call it after everything else has stopped.
    pub async fn shutdown(self) {
        if let Some(export) = self.export {
            export.shutdown(self.metrics).await;
        }
    }
}

/// Starts telemetry for the whole process.
///
/// # Errors
/// [`Error`] says which part of the configuration is not valid, or that telemetry runs already.
pub fn init(config: &Config) -> Result<Guard, Error> {
    let (subscriber, guard) = build(config)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| Error::AlreadyInitialised)?;
    Ok(guard)
}

/// Builds what [`init`] installs, so that tests can have several in one process.
pub(crate) fn build(config: &Config) -> Result<(impl tracing::Subscriber + Send + Sync + use<>, Guard), Error> {
    if !(0.0..=1.0).contains(&config.sampling_ratio) {
        return Err(Error::Ratio { ratio: config.sampling_ratio });
    }
    let filter = EnvFilter::try_new(&config.log_filter)
        .map_err(|source| Error::Filter { filter: config.log_filter.clone(), source })?;
    let export = config.otlp.as_ref().map(|otlp| Export::new(config, otlp)).transpose()?;
    let metrics = Metrics::with_provider(config.version, export::meter_provider(config, export.as_ref())?);
    if let Some(export) = &export {
        metrics.observe_records(export.records().queue());
    }
    let tracer = Tracer::new(export.is_some(), config.sampling_ratio, config.traces_per_second_max);
    let events = filter_fn(|metadata| metadata.is_event());
    let lines = logs::layer(config.log_format, std::io::stderr).with_filter(filter.and(events)).boxed();
    // No `Option`: beside a layer that is none the registry makes every span that a library has, for nobody.
    let exported = export.iter().flat_map(|export| [export.span_layer().boxed(), export.records().layer().boxed()]);
    let layers: Vec<_> = exported.chain([lines]).collect();
    Ok((Registry::default().with(layers), Guard { metrics, tracer, export }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A span of a library costs as much as it is long where somebody wants it, and nothing otherwise.
    #[test]
    fn spans_that_nobody_wants_are_not_made() {
        let (subscriber, _guard) = build(&Config::default()).unwrap();

        tracing::subscriber::with_default(subscriber, || {
            assert!(tracing::info_span!(target: "a_library", "of a library").is_disabled());
            assert!(tracing::debug_span!(target: "a_library", "of its details").is_disabled());
        });
    }
}
