//! Requests of models: the same stages, in the shapes of model APIs.
//!
//! ```text
//! accept ▸ authenticate ▸ classify ▸ authorize ▸ route ▸ admit ▸ dispatch ▸ respond
//! ```
//!
//! One file per stage, called here and nowhere else; each takes the evidence of the one before. What guardrails will inspect stands
//! between admit and dispatch, quotas within admit. Nothing of it is kept: each request is served by the node that it comes to, and
//! consensus has no part in it. Whatever is wrong is said in the shape of the client's API ([`refusal`]); what a call came to is
//! counted and recorded once, however it ends ([`record`]).

use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use http::{Request, Response};
use quorate_http::{RequestBody, ResponseBody};
use quorate_llm::classify::Path;
use quorate_telemetry::Trace;
use quorate_telemetry::names::span;
use tracing::Instrument;

use crate::audit;
use crate::listener::{self, Connection};
use crate::snapshot::Snapshot;

mod accept;
mod admit;
mod authenticate;
mod authorize;
mod cache;
mod classify;
mod count;
mod dispatch;
mod endpoint;
mod failed;
mod list;
mod record;
mod refusal;
mod respond;
mod rewrite;
mod route;
mod stream;
mod table;
mod waits;

pub(crate) use accept::Accepted;
pub(crate) use count::Counting;
pub(crate) use endpoint::Endpoint;
pub(crate) use table::Prices;
pub use table::{ModelTable, Models, ProviderTable};

use record::Record;
use refusal::Refusal;

/// Answers a request for a path of a model API. Also says whether a page of another origin may read the answer.
pub(crate) async fn answer(
    snapshot: Arc<Snapshot>,
    connection: Arc<Connection>,
    request: Request<RequestBody>,
    endpoint: Endpoint,
    trace: &mut Trace,
    started: Instant,
) -> (Response<ResponseBody>, bool) {
    let (family, metrics) = (endpoint.family(), snapshot.services.metrics.clone());
    let peer = connection.peer;
    match run(snapshot, connection, request, endpoint, trace, started).await {
        Ok(response) => (response, true),
        Err(refusal) => {
            let (stage, reason) = refusal.label();
            trace.fail(reason);
            tracing::debug!(stage, reason, %refusal, %peer, "refused");
            let is_allowed = !matches!(refusal, Refusal::Listener(_));
            (respond::refuse(&refusal, family, &metrics), is_allowed)
        }
    }
}

/// Runs the stages.
async fn run(
    snapshot: Arc<Snapshot>,
    connection: Arc<Connection>,
    request: Request<RequestBody>,
    endpoint: Endpoint,
    trace: &mut Trace,
    started: Instant,
) -> Result<Response<ResponseBody>, Refusal> {
    let accepted = accept::accept(snapshot, connection, request, endpoint, trace.context().trace_id())?;
    let stage = trace.stage(span::AUTHENTICATE);
    let authenticated = authenticate::verify(accepted).instrument(stage).await.map_err(|unknown| {
        let accepted = &unknown.accepted;
        audit::unknown(&accepted.snapshot.services, &accepted.connection, accepted.trace, &unknown.error);
        Refusal::Authenticate(unknown)
    })?;
    let (api, model, is_streamed) = match &authenticated.accepted().endpoint {
        Endpoint::Ask { api, model, is_streamed } => (*api, model.clone(), *is_streamed),
        Endpoint::List(family) => return Ok(list::all(&authenticated, *family)),
        Endpoint::Describe { family, model } => return list::one(&authenticated, *family, model),
        Endpoint::Nothing(_) => {
            return Err(Refusal::Nothing { path: listener::shortened(authenticated.accepted().head.uri.path()) });
        }
    };
    let path = Path { api, model: model.as_deref(), is_streamed };
    let stage = trace.stage(span::CLASSIFY);
    let classified = classify::read(authenticated, &path, started).instrument(stage).await?;
    let total = classified.accepted().listener().map(|listener| listener.config.limits.total);
    let record = Record::new(&classified);
    let asking = pin!(ask(classified, record, trace));
    match total {
        Some(total) => tokio::time::timeout(total, asking).await.unwrap_or(Err(Refusal::Timeout)),
        None => asking.await,
    }
}

/// Runs the stages of a request that asks a model, until its answer is there or begins.
async fn ask(
    classified: classify::Classified,
    mut record: Record,
    trace: &mut Trace,
) -> Result<Response<ResponseBody>, Refusal> {
    let admitted = permit(classified, &mut record, trace).inspect_err(|refusal| record.refuse(refusal))?;
    let stage = trace.stage(span::DISPATCH);
    let outgoing = trace.outgoing(&stage);
    let dispatched = pin!(dispatch::ask(admitted, record, &outgoing)).instrument(stage).await?;
    Ok(trace.stage(span::RESPOND).in_scope(|| respond::write(dispatched)))
}

/// Runs the stages that decide whether and by whom it is answered.
fn permit(
    classified: classify::Classified,
    record: &mut Record,
    trace: &mut Trace,
) -> Result<admit::Admitted, Refusal> {
    let permitted = trace.stage(span::AUTHORIZE).in_scope(|| authorize::decide(classified))?;
    record.begin(trace, &permitted);
    let routed = trace.stage(span::ROUTE).in_scope(|| route::select(permitted))?;
    trace.stage(span::ADMIT).in_scope(|| admit::acquire(routed))
}
