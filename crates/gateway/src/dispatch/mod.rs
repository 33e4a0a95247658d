//! Stage 8: do it.
//!
//! In: an inspected request. Out: [`Dispatched`]: an answer that has begun. Stateless requests
//! go straight to a server ([`modern`]), or through a session that is kept on their behalf
//! ([`bridged`]); messages of sessions go through the session's actor
//! ([`legacy`]); what the gateway answers itself is in [`here`] and [`find`], change notifications of
//! stateless clients in [`listen`].
//! Knows nothing of HTTP statuses beyond what a server answered: the next stage writes responses.

mod bridged;
mod find;
mod here;
mod legacy;
mod listen;
mod modern;
mod turn;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use quorate_http::sse;
use quorate_jsonrpc::Id;
use quorate_mcp::{Call, Era, Fault, Rejected, Version};
use quorate_runtime::session::{Connection, Refused, Terms};
use quorate_runtime::{backend, shard};
use quorate_telemetry::{Method, Metrics, Outcome, Revision, Trace};
use quorate_types::Code;
use tokio::sync::OwnedSemaphorePermit;

use crate::classify::{Request, Work};
use crate::held::Held;
use crate::inspect::Inspected;
use crate::relay::Ride;
use crate::standing::{Cut, Standing};

/// An answer that has begun.
pub enum Dispatched {
    /// One JSON message.
    Json {
        /// The HTTP status.
        status: StatusCode,
        /// The message.
        body: Bytes,
    },
    /// A session was opened.
    Opened {
        /// Its id.
        session: Arc<str>,
        /// The answer to `initialize`.
        body: Bytes,
    },
    /// A stream of a session.
    Connected {
        /// The stream.
        connection: Connection,
        /// What it ends with: its client comes again, with credentials that hold.
        standing: Box<Standing>,
    },
    /// The stream of an HTTP+SSE session, which begins with the address to post to.
    ConnectedSse {
        /// The address.
        endpoint: String,
        /// The stream.
        connection: Connection,
        /// What it ends with.
        standing: Box<Standing>,
    },
    /// A stream of a session that goes on when another node owns the session.
    Ridden {
        /// The address to post to, for a client of HTTP+SSE.
        endpoint: Option<String>,
        /// The stream.
        ride: Box<Ride>,
        /// What it ends with.
        standing: Box<Standing>,
    },
    /// What another node has answered.
    Relayed(http::Response<quorate_http::ResponseBody>),
    /// A stream of a stateless request.
    Events(sse::Events),
    /// Taken, and nothing to say.
    Accepted,
    /// A stream without events.
    Nothing,
    /// The session is over.
    Ended,
}

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The protocol's error, with the id of the request.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// No session can be opened now.
    #[error(transparent)]
    Open(#[from] shard::Error),
    /// What it goes on with is owned by another node.
    #[error("another node owns what it goes on with")]
    Elsewhere {
        /// The shard.
        shard: u32,
    },
    /// The session does not take it.
    #[error("{refused}")]
    Session {
        /// The id of the request.
        id: Option<Id>,
        /// Why.
        refused: Refused,
    },
}

/// Measures one operation from its beginning to the end of its answer.
pub(crate) struct Operation {
    /// Where it is recorded; nowhere, where it is a part of another one.
    metrics: Option<Metrics>,
    method: Method,
    revision: Revision,
    started: Instant,
    outcome: Outcome,
}

// === impl Error ===

impl Error {
    /// The class of this error, for metrics.
    #[must_use]
    pub fn class(&self) -> Code {
        match self {
            Self::Rejected(rejected) => rejected.fault.class(),
            Self::Open(shard::Error::TooMany { .. } | shard::Error::TooManyOfPrincipal { .. } | shard::Error::Full) => {
                Code::ResourceExhausted
            }
            Self::Open(shard::Error::Spawn { .. }) => Code::Internal,
            Self::Open(shard::Error::Elsewhere | shard::Error::Unwritten)
            | Self::Elsewhere { .. }
            | Self::Session { refused: Refused::Moved | Refused::Rested, .. } => Code::Unavailable,
            Self::Session { refused: Refused::Gone(_), .. } => Code::NotFound,
            Self::Session { refused: Refused::Rejected(rejection), .. } => rejection.code(),
        }
    }
}

// === impl Operation ===

impl Operation {
    pub(crate) fn begin(metrics: &Metrics, call: &Call, version: Version, started: Instant) -> Self {
        let method = Method::of(call.frame.method().unwrap_or_default());
        let revision = Revision::of(version.as_str());
        // An operation that nobody ends was given up by its client.
        let outcome = Outcome::Failed(Code::Cancelled);
        Self { metrics: Some(metrics.clone()), method, revision, started, outcome }
    }

    /// Makes one that is a part of another.
    pub(crate) fn unmeasured() -> Self {
        let (method, revision) = (Method::of(""), Revision::of(""));
        Self { metrics: None, method, revision, started: Instant::now(), outcome: Outcome::Ok }
    }

    pub(crate) fn end(&mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        if let Some(metrics) = &self.metrics {
            metrics.operation(self.method, self.revision, self.outcome, self.started.elapsed());
        }
    }
}

/// Does what `inspected` asks for.
///
/// # Errors
/// [`Error`]: the caller is told in the protocol's own form.
pub async fn send(inspected: Inspected, trace: &Trace, started: Instant) -> Result<Dispatched, Error> {
    let (routed, permit) = inspected.into_parts();
    let (request, work, target) = routed.into_parts();
    // Held until the answer has begun; streams are bounded by their own limits.
    let _permit: Option<OwnedSemaphorePermit> = permit;
    match work {
        Work::Modern(call) => modern::send(&request, call, target, trace, started).await,
        Work::Open { call, version } => here::open(&request, &call, version, started).await,
        Work::OpenSse => here::open_sse(&request).await,
        Work::InSession { session, call } => legacy::send(&request, &session, call, target, trace, started).await,
        Work::Listen { session, last_event_id } => legacy::listen(&request, &session, last_event_id).await,
        Work::End { session } => here::end(&session).await,
    }
}

impl Request {
    /// Answers with a message that is there, in the form that the client would rather have.
    fn answer(&self, body: Bytes) -> Dispatched {
        if !self.prefers_events {
            return Dispatched::Json { status: StatusCode::OK, body };
        }
        let only = stream::once(std::future::ready(sse::Event::new(body)));
        Dispatched::Events(sse::Events::stream(only, sse::KEEP_ALIVE))
    }
}

/// A stream of a call that ends with an error when its caller may not go on.
fn while_standing<S>(request: &Request, id: &Id, events: S) -> Dispatched
where
    S: stream::Stream<Item = sse::Event> + Send + 'static,
{
    let last = Fault::Unauthenticated.to_frame(Era::Modern, Some(id));
    let events = Standing::of(request, None, Cut::Lost).bound_with(events, last);
    Dispatched::Events(sse::Events::stream(events, sse::KEEP_ALIVE))
}

fn rejected(era: Era, id: Option<&Id>, fault: Fault) -> Error {
    Error::Rejected(Rejected { era, id: id.cloned(), fault })
}

/// Takes a place for a call at `server`, and says what else its toolset holds it to.
fn begin(request: &Request, server: &backend::Handle, held: Option<&Held>) -> Result<Terms, Fault> {
    Held::begin(held, &request.toolset().gates, server.name(), metrics(request))
}

fn metrics(request: &Request) -> &Metrics {
    &request.snapshot().services.metrics
}
