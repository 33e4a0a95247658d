//! Takes the traces and metrics that the gateway exports, so that exporting is part of its cost.
//!
//! A real OTLP/gRPC receiver: it decodes every batch, counts the spans, and forgets them. The
//! count goes into the report, as proof that sampled requests were traced and exported.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// A receiver; clones share the count.
#[derive(Clone, Default)]
pub(crate) struct Sink {
    spans: Arc<AtomicU64>,
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
            .add_service(MetricsServiceServer::new(sink.clone()));
        tokio::spawn(server.serve_with_incoming(incoming));
        Ok((sink, format!("http://{address}")))
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
        let spans: usize = scopes.map(|scope| scope.spans.len()).sum();
        self.spans.fetch_add(u64::try_from(spans).unwrap_or(u64::MAX), Ordering::Relaxed);
        Ok(Response::new(ExportTraceServiceResponse::default()))
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
