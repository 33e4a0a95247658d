//! Traces and metrics from our calls to a real OTLP/gRPC receiver, and what must never get there.
//!
//! The receiver is the collector's own service definition, served on loopback. Each test builds
//! its own telemetry and installs it for its thread only.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::HeaderMap;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric::Data};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use quorate_types::Code;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::labels::{Method, Outcome, Revision};
use crate::metrics::{CacheResult, DroppedLine, List, ReplicaState, Tally};
use crate::names::{attribute, metric, span};
use crate::setup::{self, Config, Error, Guard, Otlp};
use crate::trace::{self, Tracer};
use crate::{Metrics, TraceContext};

mod records;

const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const UNSAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
const META: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// What a collector received.
#[derive(Clone, Default)]
struct Collector {
    traces: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    metrics: Arc<Mutex<Vec<ExportMetricsServiceRequest>>>,
    logs: Arc<Mutex<Vec<ExportLogsServiceRequest>>>,
    /// What is answered to the next requests of logs, before all are taken.
    answers: Arc<Mutex<VecDeque<Result<ExportLogsServiceResponse, Status>>>>,
}

#[tonic::async_trait]
impl LogsService for Collector {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let answer = self.answers.lock().expect("no test panics with it").pop_front();
        let response = answer.unwrap_or_else(|| Ok(ExportLogsServiceResponse::default()))?;
        self.logs.lock().expect("no test panics with it").push(request.into_inner());
        Ok(Response::new(response))
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.traces.lock().expect("no test panics with it").push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.metrics.lock().expect("no test panics with it").push(request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

impl Collector {
    /// Serves on a free port and returns the endpoint.
    async fn serve(&self) -> String {
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse().expect("is an address")).expect("a free port");
        let address = incoming.local_addr().expect("it is bound");
        let server = Server::builder()
            .add_service(TraceServiceServer::new(self.clone()))
            .add_service(MetricsServiceServer::new(self.clone()))
            .add_service(LogsServiceServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(incoming));
        format!("http://{address}")
    }

    fn spans(&self) -> Vec<Span> {
        let requests = self.traces.lock().expect("no test panics with it");
        let scopes = requests.iter().flat_map(|request| &request.resource_spans).flat_map(|one| &one.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }

    fn span(&self, name: &str) -> Span {
        let spans = self.spans();
        let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
        spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("{name} is not in {names:?}")).clone()
    }

    fn records(&self) -> Vec<LogRecord> {
        let requests = self.logs.lock().expect("no test panics with it");
        let scopes = requests.iter().flat_map(|request| &request.resource_logs).flat_map(|one| &one.scope_logs);
        scopes.flat_map(|scope| scope.log_records.clone()).collect()
    }

    fn resource(&self) -> Resource {
        let requests = self.traces.lock().expect("no test panics with it");
        requests[0].resource_spans[0].resource.clone().expect("there is a resource")
    }

    fn metric(&self, name: &str) -> Metric {
        let requests = self.metrics.lock().expect("no test panics with it");
        let scopes = requests.iter().flat_map(|request| &request.resource_metrics).flat_map(|one| &one.scope_metrics);
        let found = scopes.flat_map(|scope| &scope.metrics).find(|metric| metric.name == name).cloned();
        found.unwrap_or_else(|| panic!("{name} was not exported"))
    }
}

/// Runs `work` with telemetry that samples `ratio` of what has no parent, then flushes it.
async fn with_export(ratio: f64, per_second_max: u32, work: impl FnOnce(&Guard)) -> Collector {
    let collector = Collector::default();
    let endpoint = collector.serve().await;
    let config = Config {
        version: "1.2.3",
        instance: "node-1".to_owned(),
        log_filter: "off".to_owned(),
        sampling_ratio: ratio,
        traces_per_second_max: per_second_max,
        otlp: Some(Otlp::new(endpoint)),
        ..Config::default()
    };
    let (subscriber, guard) = setup::build(&config).expect("the configuration is valid");
    tracing::subscriber::with_default(subscriber, || work(&guard));
    guard.shutdown().await;
    collector
}

fn context(parent: &str, state: Option<&str>) -> TraceContext {
    TraceContext::parse(parent, state).expect("is valid")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let value = attributes.iter().find(|one| one.key == key)?.value.clone()?.value?;
    match value {
        Value::StringValue(text) => Some(text),
        other => Some(format!("{other:?}")),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sampled_request_is_exported_as_a_tree_of_stages() {
    let mut sent = None;
    let collector = with_export(1.0, 10, |guard| {
        let mut trace = guard.tracer().begin(span::REQUEST, None);
        trace.stage(span::AUTHENTICATE).in_scope(|| {});
        trace.operation("tools/call", Some("echo"), None);
        trace.set(attribute::TOOL, "echo");
        let dispatch = trace.stage(span::DISPATCH);
        trace::set(&dispatch, attribute::SERVER, "files");
        trace::fail(&dispatch, Code::Unavailable.as_str());
        trace.fail(Code::Unavailable.as_str());
        sent = Some(trace.outgoing(&dispatch));
    })
    .await;

    assert_eq!(collector.spans().len(), 4, "{:#?}", collector.spans());
    let (root, operation) = (collector.span("listener.serve"), collector.span("tools/call echo"));
    let (authenticate, dispatch) = (collector.span("authenticate.verify"), collector.span("dispatch.call"));
    assert_eq!(root.parent_span_id, Vec::<u8>::new());
    assert_eq!(authenticate.parent_span_id, root.span_id);
    assert_eq!(operation.parent_span_id, root.span_id);
    assert_eq!(dispatch.parent_span_id, operation.span_id);
    assert_eq!((root.kind, operation.kind, dispatch.kind), (2, 2, 1), "server, server, internal");

    assert_eq!(text(&operation.attributes, attribute::METHOD).as_deref(), Some("tools/call"));
    assert_eq!(text(&operation.attributes, attribute::TOOL).as_deref(), Some("echo"));
    assert_eq!(text(&operation.attributes, attribute::ERROR_TYPE).as_deref(), Some("unavailable"));
    assert_eq!(operation.status.expect("it failed").code, 2);
    assert_eq!(text(&dispatch.attributes, attribute::SERVER).as_deref(), Some("files"));
    let resource = collector.resource();
    for (key, value) in [("service.name", "quorate"), ("service.version", "1.2.3"), ("service.instance.id", "node-1")] {
        assert_eq!(text(&resource.attributes, key).as_deref(), Some(value));
    }

    let expected = format!("00-{}-{}-01", hex(&dispatch.trace_id), hex(&dispatch.span_id));
    assert_eq!(sent.expect("it was sent").traceparent().as_str(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sampled_parent_is_continued_with_its_state() {
    let mut headers = HeaderMap::new();
    let collector = with_export(0.0, 10, |guard| {
        let mut trace = guard.tracer().begin(span::REQUEST, Some(context(SAMPLED, Some("rojo=1"))));
        trace.operation("tools/list", None, None);
        trace.outgoing(&tracing::Span::none()).inject(&mut headers);
    })
    .await;

    let (root, operation) = (collector.span("listener.serve"), collector.span("tools/list"));
    assert_eq!(hex(&root.trace_id), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(hex(&root.parent_span_id), "00f067aa0ba902b7");
    let sent = headers["traceparent"].to_str().expect("is text");
    assert_eq!(sent, format!("00-{}-{}-01", hex(&root.trace_id), hex(&operation.span_id)));
    assert_eq!(headers["tracestate"], "rojo=1");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_context_of_meta_is_the_parent_and_that_of_http_a_link() {
    let collector = with_export(0.0, 10, |guard| {
        let mut trace = guard.tracer().begin(span::REQUEST, Some(context(SAMPLED, None)));
        trace.operation("tools/call", None, Some(context(META, None)));
        assert_eq!(trace.context().trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");

        let mut from_meta_only = guard.tracer().begin(span::REQUEST, None);
        assert!(!from_meta_only.is_sampled());
        from_meta_only.operation("prompts/get", None, Some(context(META, None)));
        assert!(from_meta_only.is_sampled(), "a sampled parent is continued wherever it stands");
        drop(from_meta_only.stage(span::ROUTE));
    })
    .await;

    let (root, call) = (collector.span("listener.serve"), collector.span("tools/call"));
    assert_eq!(hex(&call.trace_id), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(hex(&call.parent_span_id), "b7ad6b7169203331");
    assert_eq!(call.links.len(), 1);
    assert_eq!(call.links[0].span_id, root.span_id);
    let get = collector.span("prompts/get");
    assert_eq!(hex(&get.parent_span_id), "b7ad6b7169203331");
    assert_eq!(collector.span("route.select").parent_span_id, get.span_id);
    assert_eq!(collector.spans().len(), 4, "the request that began unsampled has no span of its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsampled_request_makes_no_span_and_passes_its_context_on() {
    let collector = with_export(0.0, 10, |guard| {
        for parent in [None, Some(context(UNSAMPLED, Some("rojo=1")))] {
            let mut trace = guard.tracer().begin(span::REQUEST, parent.clone());
            trace.operation("tools/call", Some("echo"), None);
            let dispatch = trace.stage(span::DISPATCH);
            trace.set(attribute::TOOL, "echo");
            trace.fail("internal");
            trace::fail(&dispatch, "internal");

            assert!(!trace.is_sampled());
            assert!(dispatch.is_none());
            let sent = trace.outgoing(&dispatch);
            assert!(!sent.is_sampled());
            if let Some(parent) = parent {
                assert_eq!(sent, parent);
            }
        }
        let mut trace = guard.tracer().begin(span::REQUEST, Some(context(UNSAMPLED, None)));
        let meta = context(&META.replace("-01", "-00"), None);
        trace.operation("tools/call", None, Some(meta.clone()));
        assert_eq!(trace.context(), &meta, "the nearer context is passed on");
    })
    .await;

    assert_eq!(collector.spans(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_without_a_parent_are_sampled_at_the_ratio() {
    let mut sampled = 0;
    with_export(0.25, u32::MAX, |guard| {
        sampled = (0..4000).filter(|_| guard.tracer().begin(span::REQUEST, None).is_sampled()).count();
    })
    .await;
    // Six standard deviations around 1000.
    assert!((835..=1165).contains(&sampled), "{sampled} of 4000");
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_cannot_make_us_record_more_than_the_bound() {
    let mut sampled = 0;
    let started = std::time::Instant::now();
    let collector = with_export(1.0, 5, |guard| {
        for _ in 0..500 {
            let trace = guard.tracer().begin(span::REQUEST, Some(context(SAMPLED, None)));
            sampled += usize::from(trace.is_sampled());
            assert!(trace.context().is_sampled(), "the parent's decision is passed on even so");
        }
    })
    .await;

    let seconds = usize::try_from(started.elapsed().as_secs()).expect("is small") + 1;
    assert!((5..=5 * seconds).contains(&sampled), "{sampled} in at most {seconds} s");
    assert_eq!(collector.spans().len(), sampled);
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_and_events_of_others_are_not_exported() {
    let collector = with_export(1.0, 10, |guard| {
        let trace = guard.tracer().begin(span::REQUEST, None);
        trace.stage(span::DISPATCH).in_scope(|| {
            tracing::info_span!("somebody.else").in_scope(|| tracing::error!(payload = "s3cret", "an event"));
        });
    })
    .await;

    let spans = collector.spans();
    assert_eq!(spans.len(), 2);
    assert!(spans.iter().all(|span| span.events.is_empty()));
    assert!(!format!("{spans:?}").contains("s3cret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_pushed_with_their_labels() {
    let collector = with_export(0.0, 0, |guard| {
        let metrics = guard.metrics();
        metrics.operation(Method::of("tools/call"), Revision::of("2026-07-28"), Outcome::Ok, Duration::from_millis(3));
        metrics.limit_hit("body");
    })
    .await;

    let duration = collector.metric(metric::SERVER_OPERATION_DURATION);
    assert_eq!(duration.unit, "s");
    let Some(Data::Histogram(histogram)) = duration.data else { panic!("a histogram") };
    let point = &histogram.data_points[0];
    assert_eq!((point.count, text(&point.attributes, attribute::METHOD).as_deref()), (1, Some("tools/call")));
    let Some(Data::Sum(hits)) = collector.metric(metric::LIMIT_HITS).data else { panic!("a counter") };
    assert_eq!(text(&hits.data_points[0].attributes, attribute::LIMIT).as_deref(), Some("body"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_costs_nothing_but_its_data() {
    let config = Config {
        log_filter: "off".to_owned(),
        sampling_ratio: 1.0,
        // The discard port: nothing listens there.
        otlp: Some(Otlp { timeout: Duration::from_millis(200), ..Otlp::new("http://127.0.0.1:9") }),
        ..Config::default()
    };
    let (subscriber, guard) = setup::build(&config).expect("a collector need not be there");
    tracing::subscriber::with_default(subscriber, || drop(guard.tracer().begin(span::REQUEST, None)));
    let stopped = tokio::time::timeout(Duration::from_secs(30), guard.shutdown()).await;
    assert!(stopped.is_ok(), "shutdown hangs without a collector");
}

#[tokio::test]
async fn a_configuration_that_cannot_work_is_refused_with_its_reason() {
    let refused = |config: &Config| setup::build(config).err().expect("it is refused").to_string();
    let with_endpoint = |endpoint: &str| Config { otlp: Some(Otlp::new(endpoint)), ..Config::default() };

    let filter = refused(&Config { log_filter: "quorate=loud".to_owned(), ..Config::default() });
    assert!(filter.starts_with("log filter \"quorate=loud\" is not valid: "), "{filter}");
    for ratio in [-0.1, 1.1, f64::NAN] {
        assert!(matches!(
            setup::build(&Config { sampling_ratio: ratio, ..Config::default() }),
            Err(Error::Ratio { .. })
        ));
    }
    for endpoint in ["", "collector:4317", "ftp://collector", "http://"] {
        assert!(matches!(setup::build(&with_endpoint(endpoint)), Err(Error::Endpoint { .. })), "{endpoint}");
    }
    assert!(setup::build(&with_endpoint("https://collector.example:4317")).is_ok());
}

#[test]
fn export_outside_of_a_runtime_is_refused_rather_than_a_panic() {
    let config = Config { otlp: Some(Otlp::new("http://127.0.0.1:4317")), ..Config::default() };
    assert!(matches!(setup::build(&config), Err(Error::NoRuntime)));
}

#[test]
fn without_an_exporter_nothing_is_sampled() {
    let trace = Tracer::disabled().begin(span::REQUEST, Some(context(SAMPLED, None)));
    assert!(!trace.is_sampled());
    assert_eq!(trace.context(), &context(SAMPLED, None));
}

/// Returns the value of the series whose name and labels begin a line.
fn series(metrics: &Metrics, name: &str, labels: &[&str]) -> Option<f64> {
    let text = metrics.render();
    let line = text.lines().find(|line| {
        let series = line.split_once(['{', ' ']).map(|(series, _)| series);
        series == Some(name) && labels.iter().all(|label| line.contains(label))
    })?;
    line.rsplit_once(' ')?.1.parse().ok()
}

#[test]
fn every_metric_is_rendered_under_its_documented_name() {
    let metrics = Metrics::new("1.2.3");
    let backend = metrics.backend("files");
    let _open = (metrics.request_active(), metrics.stream_open());
    metrics.sessions_resting(3);
    let _live = (metrics.session_live(), metrics.connection_open("data"));
    let _call = backend.request_active();
    metrics.operation(
        Method::of("tools/call"),
        Revision::of("2025-11-25"),
        Outcome::ToolError,
        Duration::from_millis(7),
    );
    backend.operation(Method::of("tools/call"), Outcome::Failed(Code::Unavailable), Duration::from_secs(1));
    metrics.rejected("classify", "parse_error");
    metrics.denied("mcp:call", "no_permit", "acme");
    metrics.would_deny("mcp:call", "trial");
    metrics.tenant("acme").request();
    metrics.limit_hit("body");
    metrics.session_ended("idle", Revision::of("2025-11-25"), Duration::from_secs(60));
    metrics.undelivered("disconnected");
    metrics.resumption("resumed");
    metrics.list_cache(List::Tools, CacheResult::Hit);
    metrics.config_loaded(false);
    backend.replicas(ReplicaState::Healthy, 2);
    backend.ejected();
    backend.retried("connect");
    backend.session_opened("first");
    backend.probed("modern");

    let one = |name: &str, labels: &[&str]| {
        assert_eq!(series(&metrics, name, labels), Some(1.0), "{name}\n{}", metrics.render())
    };
    one(
        "mcp_server_operation_duration_seconds_count",
        &["mcp_method_name=\"tools/call\"", "mcp_protocol_version=\"2025-11-25\"", "error_type=\"tool_error\""],
    );
    one(
        "mcp_client_operation_duration_seconds_count",
        &["mcp_method_name=\"tools/call\"", "quorate_server=\"files\"", "error_type=\"unavailable\""],
    );
    one("mcp_server_session_duration_seconds_count", &["quorate_reason=\"idle\""]);
    one("quorate_rejections_total", &["quorate_stage=\"classify\"", "quorate_reason=\"parse_error\""]);
    let denied = ["quorate_action=\"mcp:call\"", "quorate_reason=\"no_permit\"", "quorate_tenant=\"acme\""];
    one("quorate_policy_denials_total", &denied);
    one("quorate_policy_would_deny_total", &["quorate_action=\"mcp:call\"", "quorate_policy=\"trial\""]);
    one("quorate_tenant_requests_total", &["quorate_tenant=\"acme\""]);
    one("quorate_limit_hits_total", &["quorate_limit=\"body\""]);
    one("quorate_requests_active", &[]);
    one("quorate_streams", &[]);
    one("quorate_sessions", &[]);
    assert_eq!(series(&metrics, "quorate_sessions_resting", &[]), Some(3.0));
    one("quorate_connections", &["quorate_listener=\"data\""]);
    one("quorate_answers_undelivered_total", &["quorate_reason=\"disconnected\""]);
    one("quorate_stream_resumptions_total", &["quorate_result=\"resumed\""]);
    one("quorate_list_cache_total", &["quorate_list=\"tools\"", "quorate_result=\"hit\""]);
    one("quorate_config_loads_total", &["quorate_result=\"refused\""]);
    one("quorate_backend_requests_active", &["quorate_server=\"files\""]);
    assert_eq!(series(&metrics, "quorate_backend_replicas", &["quorate_state=\"healthy\""]), Some(2.0));
    one("quorate_backend_ejections_total", &["quorate_server=\"files\""]);
    one("quorate_backend_retries_total", &["quorate_reason=\"connect\""]);
    one("quorate_backend_sessions_opened_total", &["quorate_reason=\"first\""]);
    one("quorate_backend_probes_total", &["quorate_result=\"modern\""]);
    one("quorate_build", &["service_version=\"1.2.3\""]);
    assert!(series(&metrics, "process_memory_usage_bytes", &[]).is_some_and(|bytes| bytes > 1e6));
    assert!(series(&metrics, "process_cpu_time_seconds_total", &[]).is_some());
    assert!(series(&metrics, "process_uptime_seconds", &[]).is_some());
    assert!(series(&metrics, "process_unix_file_descriptor_count", &[]).is_some_and(|count| count >= 3.0));
}

#[test]
fn what_becomes_of_sessions_in_a_cluster_is_counted() {
    let metrics = Metrics::new("0");
    drop(metrics.request_active());
    metrics.session_taken_over(true);
    metrics.session_taken_over(false);
    metrics.shard_taken_over(Duration::from_millis(30));
    metrics.call_replayed("files");
    metrics.outcome_unknown("files");
    metrics.stream_stalled();
    (0..3).for_each(|_| metrics.event_written());

    let one = |name: &str, labels: &[&str]| assert_eq!(series(&metrics, name, labels), Some(1.0), "{name}");
    one("quorate_session_takeovers_total", &["quorate_result=\"taken\""]);
    one("quorate_session_takeovers_total", &["quorate_result=\"failed\""]);
    one("quorate_shard_takeover_duration_seconds_count", &[]);
    one("quorate_call_replays_total", &["quorate_server=\"files\""]);
    one("quorate_call_unknown_outcomes_total", &["quorate_server=\"files\""]);
    one("quorate_stream_stalls_total", &[]);
    assert_eq!(series(&metrics, "quorate_stream_events_total", &[]), Some(3.0));
    assert_eq!(metrics.tally(), Tally { requests: 1, events: 3, takeovers: 1 }, "and nobody is gone with its request");
}

#[test]
fn the_children_of_a_server_are_counted() {
    let metrics = Metrics::new("0");
    let stdio = metrics.stdio("files");
    let alive = (stdio.child_started(), stdio.spare_waits());
    stdio.child_ended("signal");
    stdio.line_dropped(DroppedLine::Garbage);

    let value = |name: &str, labels: &[&str]| series(&metrics, name, &[&["quorate_server=\"files\""], labels].concat());
    assert_eq!(value("quorate_stdio_starts_total", &[]), Some(1.0));
    assert_eq!(value("quorate_stdio_exits_total", &["quorate_reason=\"signal\""]), Some(1.0));
    assert_eq!(value("quorate_stdio_lines_dropped_total", &["quorate_reason=\"garbage\""]), Some(1.0));
    assert_eq!((value("quorate_stdio_children", &[]), value("quorate_stdio_spares", &[])), (Some(1.0), Some(1.0)));
    drop(alive);
    assert_eq!((value("quorate_stdio_children", &[]), value("quorate_stdio_spares", &[])), (Some(0.0), Some(0.0)));
}

#[test]
fn attempts_to_get_a_token_are_counted_by_result() {
    let metrics = Metrics::new("0");
    let token = metrics.token("files");
    token.refreshed("fetched");
    token.refreshed("timeout");
    token.refused();

    let value = |name: &str, labels: &[&str]| series(&metrics, name, &[&["quorate_server=\"files\""], labels].concat());
    for result in ["quorate_result=\"fetched\"", "quorate_result=\"timeout\""] {
        assert_eq!(value("quorate_upstream_token_refreshes_total", &[result]), Some(1.0), "{result}");
    }
    assert_eq!(value("quorate_upstream_token_refusals_total", &[]), Some(1.0));
}

#[test]
fn what_is_gone_is_no_longer_counted() {
    let metrics = Metrics::new("0");
    let backend = metrics.backend("files");
    backend.replicas(ReplicaState::Healthy, 2);
    let open = (
        metrics.request_active(),
        metrics.stream_open(),
        metrics.session_live(),
        metrics.connection_open("data"),
        backend.request_active(),
    );

    drop((open, backend));

    for (name, labels) in [
        ("quorate_requests_active", &[][..]),
        ("quorate_streams", &[]),
        ("quorate_sessions", &[]),
        ("quorate_connections", &["quorate_listener=\"data\""]),
        ("quorate_backend_requests_active", &["quorate_server=\"files\""]),
        ("quorate_backend_replicas", &["quorate_state=\"healthy\""]),
    ] {
        assert_eq!(series(&metrics, name, labels), Some(0.0), "{name}");
    }
}

#[test]
fn durations_fall_into_the_buckets_that_hold_them() {
    let metrics = Metrics::new("0");
    for micros in [50, 90, 300, 2_000_000_000] {
        let outcome = Outcome::Ok;
        metrics.operation(Method::of("tools/list"), Revision::of("2026-07-28"), outcome, Duration::from_micros(micros));
    }
    let bucket =
        |le: &str| series(&metrics, "mcp_server_operation_duration_seconds_bucket", &[&format!("le=\"{le}\"")]);
    assert_eq!(bucket("0.0001"), Some(2.0));
    assert_eq!(bucket("0.0005"), Some(3.0));
    assert_eq!(bucket("300"), Some(3.0));
    assert_eq!(bucket("+Inf"), Some(4.0));
}

#[test]
fn strangers_cannot_add_time_series() {
    let metrics = Metrics::new("0");
    for index in 0..1000 {
        let (method, revision) = (Method::of(&format!("x/{index}")), Revision::of(&format!("20{index}")));
        metrics.operation(method, revision, Outcome::Ok, Duration::ZERO);
    }
    let text = metrics.render();
    let counts: Vec<&str> =
        text.lines().filter(|line| line.starts_with("mcp_server_operation_duration_seconds_count")).collect();
    assert_eq!(counts.len(), 1, "{counts:?}");
    assert!(counts[0].contains("mcp_method_name=\"other\"") && counts[0].ends_with(" 1000"), "{counts:?}");
}

#[test]
fn handles_count_together_from_many_threads() {
    let metrics = Metrics::new("0");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    let _active = metrics.request_active();
                    metrics.operation(Method::of("ping"), Revision::of(""), Outcome::Ok, Duration::from_micros(1));
                }
            });
        }
    });
    assert_eq!(series(&metrics, "mcp_server_operation_duration_seconds_count", &[]), Some(8000.0));
    assert_eq!(series(&metrics, "quorate_requests_active", &[]), Some(0.0));
}
