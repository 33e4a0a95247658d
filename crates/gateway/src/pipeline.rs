//! The stages in their order, for each request of a listener.
//!
//! ```text
//! listener ▸ authenticate ▸ classify ▸ authorize ▸ route ▸ admit ▸ inspect ▸ dispatch ▸ respond
//! ```
//!
//! One function per stage, called here and nowhere else; each takes the evidence of the one
//! before. Whether the toolset exists for its caller is asked as soon as that is known, before anything that only an
//! existing one would answer. A span per stage is made only for sampled requests. A batch (2025-03-26) runs the stages
//! after classify once per message and answers with one stream of all answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use futures_util::stream::{self, SelectAll, StreamExt};
use http::header::ORIGIN;
use http::{Method, Request, Response};
use quorate_http::server::Peer;
use quorate_http::{RequestBody, ResponseBody, sse};
use quorate_jsonrpc::{Id, Kind};
use quorate_runtime::ingress::Service;
use quorate_runtime::session::{self, Refused};
use quorate_telemetry::names::span;
use quorate_telemetry::{Trace, TraceContext};
use quorate_types::ResourceName;
use tracing::Instrument;

use crate::classify::{Classified, Reading, Received, Work};
use crate::dispatch::Dispatched;
use crate::listener::Connection;
use crate::protected::{self, WellKnown};
use crate::respond::{self, Refusal};
use crate::snapshot::Snapshot;
use crate::{admit, audit, authenticate, authorize, classify, dispatch, inspect, listener, llm, relay, route};

/// Answers the requests of one listener.
pub struct Pipeline {
    listener: ResourceName,
    snapshot: Arc<ArcSwap<Snapshot>>,
}

// === impl Pipeline ===

impl Pipeline {
    /// Makes the pipeline of a listener over the snapshot that is swapped under it.
    #[must_use]
    pub fn new(listener: ResourceName, snapshot: Arc<ArcSwap<Snapshot>>) -> Self {
        Self { listener, snapshot }
    }
}

impl Service for Pipeline {
    async fn answer(
        self: Arc<Self>,
        local: SocketAddr,
        peer: Peer,
        request: Request<RequestBody>,
    ) -> Response<ResponseBody> {
        let started = Instant::now();
        let snapshot = self.snapshot.load_full();
        let services = Arc::clone(&snapshot.services);
        let _active = services.metrics.request_active();
        let connection = Arc::new(Connection {
            listener: self.listener.clone(),
            local,
            peer: peer.address,
            is_encrypted: peer.encrypted,
            certificate: peer.identity,
        });
        let origin = request.headers().contains_key(ORIGIN).then(|| request.headers().clone());
        if *request.method() == Method::OPTIONS {
            return preflight(&snapshot, &connection, request);
        }
        if *request.method() == Method::GET && WellKnown::parse(request.uri().path()).is_some() {
            return well_known(&snapshot, &connection, request);
        }
        let is_development = snapshot.identities.development(&connection).is_some();
        let endpoint = llm::Endpoint::parse(request.uri().path(), request.headers());
        let mut trace = services.tracer.begin(span::REQUEST, TraceContext::extract(request.headers()));
        // In boxes of their own, which go with the answer: what is around them stays as long as its connection.
        let (mut response, is_allowed) = match endpoint {
            Some(endpoint) => Box::pin(llm::answer(snapshot, connection, request, endpoint, &mut trace, started)).await,
            None => Box::pin(answer(snapshot, connection, request, &mut trace, started)).await,
        };
        if let Some(headers) = origin.filter(|_| is_allowed) {
            respond::allow_origin(&headers, &mut response);
        }
        if is_development {
            respond::name_development(&mut response);
        }
        response
    }
}

/// Answers an MCP request. Also says whether a page of another origin may read the answer.
async fn answer(
    snapshot: Arc<Snapshot>,
    connection: Arc<Connection>,
    request: Request<RequestBody>,
    trace: &mut Trace,
    started: Instant,
) -> (Response<ResponseBody>, bool) {
    let services = Arc::clone(&snapshot.services);
    let peer = connection.peer;
    match run(snapshot, connection, request, trace, started).await {
        Ok(dispatched) => {
            let stage = trace.stage(span::RESPOND);
            (stage.in_scope(|| respond::write(dispatched)), true)
        }
        Err(refusal) => {
            let (stage, reason) = refusal.label();
            trace.fail(reason);
            tracing::debug!(stage, reason, %refusal, %peer, "refused");
            // Of a toolset of another tenant a page sees as much as of one that nobody has.
            let is_elsewhere = matches!(refusal, Refusal::Authorize { error: authorize::Error::Elsewhere(_), .. });
            let is_allowed = !is_elsewhere && !matches!(refusal, Refusal::Listener(_));
            (respond::refuse(&refusal, &services.metrics), is_allowed)
        }
    }
}

/// Answers what clients ask before they know anything: where to get a token for a toolset.
fn well_known(snapshot: &Snapshot, connection: &Connection, request: Request<RequestBody>) -> Response<ResponseBody> {
    let (head, _) = request.into_parts();
    match protected::public(snapshot, connection, &head) {
        Ok(public) => {
            let mut response = respond::public(public);
            respond::allow_origin(&head.headers, &mut response);
            response
        }
        Err(error) => respond::refuse(&Refusal::Listener(error), &snapshot.services.metrics),
    }
}

/// Runs the stages of one HTTP request.
async fn run(
    snapshot: Arc<Snapshot>,
    connection: Arc<Connection>,
    request: Request<RequestBody>,
    trace: &mut Trace,
    started: Instant,
) -> Result<Dispatched, Refusal> {
    let accepted = listener::accept(snapshot, connection, request, trace.context().trace_id())?;
    let stage = trace.stage(span::AUTHENTICATE);
    let authenticated = authenticate::verify(accepted).instrument(stage).await.map_err(|unknown| {
        let (accepted, services) = (&unknown.accepted, &unknown.accepted.snapshot().services);
        audit::unknown(services, accepted.connection(), accepted.trace(), &unknown.error);
        Refusal::Authenticate(unknown)
    })?;
    authorize::wall(&authenticated).map_err(|error| Refusal::Authorize { id: None, error })?;
    listener::check_method(authenticated.accepted())?;
    let stage = trace.stage(span::CLASSIFY);
    let received = classify::receive(authenticated).instrument(stage).await?;
    relay::answer(received, trace, started).await
}

/// Runs the stages from classify on, on the node that owns what the request is about.
pub(crate) async fn stages(received: Received, trace: &mut Trace, started: Instant) -> Result<Dispatched, Refusal> {
    let stage = trace.stage(span::CLASSIFY);
    match classify::read(received).instrument(stage).await? {
        Reading::One(mut classified) => {
            begin_operation(trace, &classified);
            classified.belongs_to(trace.context().trace_id());
            let total = classified.request().listener().map(|listener| listener.config.limits.total);
            let id = id_of(classified.work());
            let running = one(*classified, trace, started);
            match total {
                Some(total) => tokio::time::timeout(total, running).await.unwrap_or(Err(Refusal::Timeout { id })),
                None => running.await,
            }
        }
        Reading::Batch { request, items, total } => {
            authorize::enter(&request).map_err(|error| Refusal::Authorize { id: None, error })?;
            let running = batch(items, trace, started);
            tokio::time::timeout(total, running).await.map_err(|_| Refusal::Timeout { id: None })
        }
    }
}

/// Runs the stages from authorize on for one message.
async fn one(classified: Classified, trace: &Trace, started: Instant) -> Result<Dispatched, Refusal> {
    let id = id_of(classified.work());
    let stage = trace.stage(span::AUTHORIZE);
    let session = session_of(classified.work());
    let authorized = authorize::decide(classified).instrument(stage).await;
    let permitted = authorized.map_err(|error| match session.filter(session::Handle::is_moved) {
        // What is not found in a session that moves on may be there, and was not sent.
        Some(_) => Refusal::Dispatch(dispatch::Error::Session { id: id.clone(), refused: Refused::Rested }),
        None => Refusal::Authorize { id: id.clone(), error },
    })?;
    let routed = trace.stage(span::ROUTE).in_scope(|| route::select(permitted)).map_err(Refusal::Route)?;
    let admitted = trace.stage(span::ADMIT).in_scope(|| admit::acquire(routed));
    let admitted = admitted.map_err(|error| Refusal::Admit { id, error })?;
    let Ok(inspected) = trace.stage(span::INSPECT).in_scope(|| inspect::scan(admitted));
    let stage = trace.stage(span::DISPATCH);
    Ok(dispatch::send(inspected, trace, started).instrument(stage).await?)
}

/// The session that a message is in.
fn session_of(work: &Work) -> Option<session::Handle> {
    match work {
        Work::InSession { session, .. } => Some(session.clone()),
        Work::Modern(_) | Work::Open { .. } | Work::Listen { .. } | Work::End { .. } | Work::OpenSse => None,
    }
}

/// Runs each message of a batch, and joins what they answer into one stream.
///
/// Messages run side by side, as the batch's client has to expect. A batch without requests is
/// taken without an answer.
async fn batch(items: Vec<Result<Classified, quorate_mcp::Rejected>>, trace: &Trace, started: Instant) -> Dispatched {
    let running = items.into_iter().map(|item| async move {
        let classified = match item {
            Ok(classified) => classified,
            Err(rejected) => return Some(vec_event(rejected.body())),
        };
        let is_request = id_of(classified.work()).is_some();
        match one(classified, trace, started).await {
            Ok(Dispatched::Json { body, .. }) => Some(vec_event(body)),
            Ok(Dispatched::Connected { connection, standing }) => Some(standing.bound(connection).boxed()),
            Ok(Dispatched::Accepted) => None,
            Ok(_) => Some(stream::empty().boxed()),
            // What asks for no answer gets none, also where it is refused.
            Err(refusal) => is_request.then(|| vec_event(refusal.answer().1)),
        }
    });
    let answers = futures_util::future::join_all(running).await;
    let answers: SelectAll<_> = answers.into_iter().flatten().collect();
    if answers.is_empty() {
        return Dispatched::Accepted;
    }
    Dispatched::Events(sse::Events::stream(answers, sse::KEEP_ALIVE))
}

fn vec_event(body: bytes::Bytes) -> stream::BoxStream<'static, sse::Event> {
    stream::once(std::future::ready(sse::Event::new(body))).boxed()
}

fn preflight(snapshot: &Snapshot, connection: &Connection, request: Request<RequestBody>) -> Response<ResponseBody> {
    let (head, _) = request.into_parts();
    match listener::preflight(snapshot, connection, &head) {
        Ok(allowed) => {
            let mut response = respond::preflight(allowed);
            respond::allow_origin(&head.headers, &mut response);
            response
        }
        Err(error) => respond::refuse(&Refusal::Listener(error), &snapshot.services.metrics),
    }
}

fn begin_operation(trace: &mut Trace, classified: &Classified) {
    let (Work::Modern(call) | Work::Open { call, .. } | Work::InSession { call, .. }) = classified.work() else {
        return;
    };
    let traceparent = call.traceparent();
    let meta = traceparent.and_then(|parent| TraceContext::parse(&parent, call.tracestate().as_deref()));
    if trace.is_sampled() || meta.is_some() {
        trace.operation(call.frame.method().unwrap_or_default(), None, meta);
    }
}

/// The id that the answer to a request carries; what is no request has no answer.
fn id_of(work: &Work) -> Option<Id> {
    match work {
        Work::Modern(call) | Work::Open { call, .. } | Work::InSession { call, .. } => {
            call.id().filter(|_| call.frame.kind() == Kind::Request).cloned()
        }
        Work::Listen { .. } | Work::End { .. } | Work::OpenSse => None,
    }
}
