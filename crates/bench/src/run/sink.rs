//! Takes the traces, metrics and records that the gateway exports, so that exporting is part of its cost.
//!
//! A real OTLP/gRPC receiver: it decodes every batch, counts the spans, and keeps how long those of
//! a stage took that somebody asked for. The count goes into the report, as proof that sampled
//! requests were traced and exported.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// How long spans may take to come: some of the exporter's intervals.
const SPANS_TIMEOUT: Duration = Duration::from_secs(30);
/// How often it is looked whether they came.
const SPANS_POLL: Duration = Duration::from_millis(100);

/// A receiver; clones share what it heard.
#[derive(Clone, Default)]
pub(crate) struct Sink {
    spans: Arc<AtomicU64>,
    /// Microseconds that the spans of the stages that are watched took, by name.
    stages: Arc<Mutex<HashMap<&'static str, Vec<f64>>>>,
}

// === impl Sink ===

impl Sink {
    /// Serves on a free port until the runtime ends; returns the endpoint as well.
    ///
    /// # Errors
    /// When there is no free port.
    pub(crate) fn start() -> Result<(Self, String)> {
        let sink = Self::default();
        let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).map_err(|error| anyhow::anyhow!(error))?;
        let address = incoming.local_addr().context("the sink's address")?;
        let server = Server::builder()
            .add_service(TraceServiceServer::new(sink.clone()))
            .add_service(MetricsServiceServer::new(sink.clone()))
            .add_service(LogsServiceServer::new(sink.clone()));
        tokio::spawn(server.serve_with_incoming(incoming));
        Ok((sink, format!("http://{address}")))
    }

    /// Keeps how long spans with these names take, from now on and of no others.
    pub(crate) fn watch(&self, stages: &[&'static str]) {
        *self.stages.lock().unwrap_or_else(PoisonError::into_inner) =
            stages.iter().map(|stage| (*stage, Vec::new())).collect();
    }

    /// Returns how long the spans of a stage that is watched took, in microseconds, once there are this many.
    ///
    /// # Errors
    /// When fewer came in time.
    pub(crate) async fn stage_us(&self, stage: &'static str, count: usize) -> Result<Vec<f64>> {
        let heard = || self.stages.lock().unwrap_or_else(PoisonError::into_inner).get(stage).cloned();
        let waiting = async {
            loop {
                match heard() {
                    Some(times) if times.len() >= count => return times,
                    Some(_) | None => tokio::time::sleep(SPANS_POLL).await,
                }
            }
        };
        match tokio::time::timeout(SPANS_TIMEOUT, waiting).await {
            Ok(times) => Ok(times),
            Err(_) => bail!("{} spans of {stage} came, {count} expected", heard().map_or(0, |times| times.len())),
        }
    }

    /// Spans that were received.
    pub(crate) fn spans(&self) -> u64 {
        self.spans.load(Ordering::Relaxed)
    }
}

#[tonic::async_trait]
impl TraceService for Sink {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let request = request.into_inner();
        let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
        let mut stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        for span in scopes.flat_map(|scope| &scope.spans) {
            self.spans.fetch_add(1, Ordering::Relaxed);
            if let Some(times) = stages.get_mut(span.name.as_str()) {
                let nanos = span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano);
                times.push(Duration::from_nanos(nanos).as_secs_f64() * 1e6);
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Sink {
    async fn export(
        &self,
        _: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Sink {
    async fn export(
        &self,
        _request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}
