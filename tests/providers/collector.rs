//! Takes what a gateway exports over OTLP/gRPC, as collectors do.
//!
//! The service definitions are the collector's own. Metrics are taken and forgotten; spans and log records are kept, with their
//! attributes as texts.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::{
            ExportLogsServiceRequest, ExportLogsServiceResponse,
            logs_service_server::{LogsService, LogsServiceServer},
        },
        metrics::v1::{
            ExportMetricsServiceRequest, ExportMetricsServiceResponse,
            metrics_service_server::{MetricsService, MetricsServiceServer},
        },
        trace::v1::{
            ExportTraceServiceRequest, ExportTraceServiceResponse,
            trace_service_server::{TraceService, TraceServiceServer},
        },
    },
    common::v1::{AnyValue, KeyValue, any_value::Value},
};
use quorate_tests::{raw::PATIENCE, wait};
use tokio::runtime::Runtime;
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

/// A collector on loopback, which ends with this.
pub(crate) struct Collector {
    /// Where it is.
    pub(crate) endpoint: String,
    heard: Heard,
    _runtime: Runtime,
}

/// What was exported, with its attributes.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// The name of a span, or of the event that is recorded.
    pub(crate) name: String,
    /// By their keys; lists with commas.
    pub(crate) attributes: BTreeMap<String, String>,
    /// When a span ended, or an event was recorded: since 1970.
    pub(crate) at: Duration,
}

#[derive(Clone, Default)]
struct Heard {
    spans: Arc<Mutex<Vec<Told>>>,
    records: Arc<Mutex<Vec<Told>>>,
}

#[tonic::async_trait]
impl LogsService for Heard {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let scopes = request.into_inner().resource_logs.into_iter().flat_map(|one| one.scope_logs);
        let records = scopes.flat_map(|scope| scope.log_records);
        let told = records.map(|record| Told {
            name: record.event_name,
            attributes: texts(record.attributes),
            at: Duration::from_nanos(record.time_unix_nano),
        });
        self.records.lock().unwrap_or_else(PoisonError::into_inner).extend(told);
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl TraceService for Heard {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let scopes = request.into_inner().resource_spans.into_iter().flat_map(|one| one.scope_spans);
        let told = scopes.flat_map(|scope| scope.spans).map(|span| Told {
            name: span.name,
            attributes: texts(span.attributes),
            at: Duration::from_nanos(span.end_time_unix_nano),
        });
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).extend(told);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Heard {
    async fn export(
        &self,
        _: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

// === impl Collector ===

impl Collector {
    /// Starts one on a free port.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let heard = Heard::default();
        let within = runtime.enter();
        let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).map_err(|error| anyhow::anyhow!(error))?;
        let endpoint = format!("http://{}", incoming.local_addr()?);
        let server = Server::builder()
            .add_service(TraceServiceServer::new(heard.clone()))
            .add_service(MetricsServiceServer::new(heard.clone()))
            .add_service(LogsServiceServer::new(heard.clone()));
        runtime.spawn(server.serve_with_incoming(incoming));
        drop(within);
        Ok(Self { endpoint, heard, _runtime: runtime })
    }

    /// Waits for a span with this attribute.
    pub(crate) fn span(&self, key: &str, value: &str) -> anyhow::Result<Told> {
        found(&self.heard.spans, "a span", key, value)
    }

    /// Waits for a log record with this attribute.
    pub(crate) fn record(&self, key: &str, value: &str) -> anyhow::Result<Told> {
        found(&self.heard.records, "a record", key, value)
    }
}

fn found(all: &Mutex<Vec<Told>>, what: &str, key: &str, value: &str) -> anyhow::Result<Told> {
    wait::until(what, PATIENCE, || {
        let all = all.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |one: &&Told| one.attributes.get(key).is_some_and(|found| found == value);
        let found = all.iter().find(is_it).cloned();
        found.ok_or_else(|| anyhow::anyhow!("{what} with {key}={value} is not among {all:?}"))
    })
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    attributes.into_iter().map(|one| (one.key, text(one.value))).collect()
}

fn text(value: Option<AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        Some(Value::BoolValue(is)) => is.to_string(),
        Some(Value::ArrayValue(list)) => {
            list.values.into_iter().map(|one| text(Some(one))).collect::<Vec<_>>().join(",")
        }
        other => format!("{other:?}"),
    }
}
