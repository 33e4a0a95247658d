//! Stage 3: what is asked for.
//!
//! In: an authenticated request. Out: [`Classified`]: the body read within its limits, the era,
//! the operation, and for session-ful clients their session, which only its own principal finds.
//! A batch (2025-03-26) becomes one piece of work per message.
//! Specification: the HTTP transports of all five revisions; `quorate_mcp::classify` decides eras.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use quorate_http::{BodyError, RequestBody};
use quorate_jsonrpc::{Frame, Id, Kind, Limits, is_batch};
use quorate_mcp::error::InvalidRequest;
use quorate_mcp::{Call, Era, Fault, Operation, Rejected, Version, classify, classify_batch, classify_legacy, header};
use quorate_runtime::session;
use quorate_runtime::shard::Unknown;
use quorate_session::{EventId, RequestKey};
use quorate_telemetry::TraceId;

use crate::authenticate::{Authenticated, Caller};
use crate::listener::{AcceptedHead, Endpoint};
use crate::snapshot::{ListenerTable, Snapshot, ToolsetTable};
use crate::toolset::Toolset;

/// A request that is understood.
pub struct Classified {
    request: Arc<Request>,
    work: Work,
}

/// A request whose caller is known, with its body.
#[derive(Clone)]
pub struct Received {
    pub(crate) accepted: AcceptedHead,
    pub(crate) caller: Caller,
    /// Empty for one that has none.
    pub(crate) body: Bytes,
    /// Names it wherever it is sent again; none where it never is.
    pub(crate) key: Option<RequestKey>,
    /// It was asked before, of an owner that is lost, and may have been done.
    pub(crate) is_again: bool,
}

/// What all work of one HTTP request shares.
pub struct Request {
    /// Whether the client would rather have an event stream than JSON.
    pub(crate) prefers_events: bool,
    pub(crate) accepted: AcceptedHead,
    pub(crate) caller: Caller,
    /// Names it wherever it is sent again; none where it never is.
    pub(crate) key: Option<RequestKey>,
    /// It was asked before, of an owner that is lost, and may have been done.
    pub(crate) is_again: bool,
    /// The toolset that the path names, with the versions that the caller or its session has.
    toolset: Arc<ToolsetTable>,
}

/// One thing to do.
pub enum Work {
    /// A stateless request.
    Modern(Call),
    /// A legacy `initialize`, which opens a session.
    Open {
        /// The message.
        call: Call,
        /// The revision that the session gets.
        version: Version,
    },
    /// A message in a session.
    InSession {
        /// The session.
        session: session::Handle,
        /// The message.
        call: Call,
    },
    /// Read a stream of a session (GET).
    Listen {
        /// The session.
        session: session::Handle,
        /// The event after which to go on.
        last_event_id: Option<EventId>,
    },
    /// End a session (DELETE).
    End {
        /// The session.
        session: session::Handle,
    },
    /// Open an HTTP+SSE session.
    OpenSse,
}

/// What one HTTP request turned out to be.
pub enum Reading {
    /// One thing to do.
    One(Box<Classified>),
    /// A batch: its messages in order, with the errors of those that cannot be read.
    Batch {
        /// What its messages share.
        request: Arc<Request>,
        /// What to do.
        items: Vec<Result<Classified, Rejected>>,
        /// How long all of it may take.
        total: Duration,
    },
}

/// A request cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The message is refused by the protocol's rules.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// The body cannot be read.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The session does not exist for this caller.
    #[error(transparent)]
    Session(#[from] UnknownSession),
    /// The endpoint does not answer GET without a session.
    #[error("GET reads the stream of a session: send its id, or POST")]
    NotStreamable,
}

/// A session id that names no session of this caller.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct UnknownSession {
    /// The id of the request that named it.
    pub id: Option<Id>,
    /// Why; the client is not told.
    pub reason: Unknown,
}

// === impl Received ===

impl Received {
    /// Returns the id of the session that it names, if it names one.
    pub(crate) fn session_id(&self) -> Option<&str> {
        match self.accepted.endpoint {
            Endpoint::Mcp => header::session_id(&self.accepted.head.headers).ok().flatten(),
            Endpoint::Sse => sse_session_id(&self.accepted),
        }
    }
}

// === impl Classified ===

impl Classified {
    /// What all work of the HTTP request shares.
    #[must_use]
    pub fn request(&self) -> &Arc<Request> {
        &self.request
    }

    /// The tables that the request sees to its end.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.request.accepted.snapshot
    }

    /// What there is to do.
    #[must_use]
    pub fn work(&self) -> &Work {
        &self.work
    }

    /// Says which trace the message belongs to, where it says so itself.
    pub(crate) fn belongs_to(&mut self, trace: TraceId) {
        // Shared are the messages of a batch, which belong to the trace of its headers.
        if let Some(request) = Arc::get_mut(&mut self.request) {
            request.accepted.trace = trace;
        }
    }

    pub(crate) fn into_parts(self) -> (Arc<Request>, Work) {
        (self.request, self.work)
    }
}

// === impl Request ===

impl Request {
    /// The toolset that the path names, with the versions that the caller or its session has.
    #[must_use]
    pub fn toolset(&self) -> &Arc<ToolsetTable> {
        &self.toolset
    }

    /// The toolset that the path names, with all versions.
    #[must_use]
    pub fn all_versions(&self) -> &Arc<Toolset> {
        &self.accepted.toolset
    }

    /// The tables that the request sees to its end.
    #[must_use]
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.accepted.snapshot
    }

    /// Who calls.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The headers of the HTTP request.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.accepted.head.headers
    }

    /// What the path names.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        self.accepted.endpoint
    }

    /// The listener that it came to.
    #[must_use]
    pub fn listener(&self) -> Option<&ListenerTable> {
        self.accepted.snapshot.listener(&self.accepted.connection.listener)
    }

    /// Finds the session that a request names, and goes on with its versions of the toolset.
    async fn join(self: &mut Arc<Self>, id: &str, of: Option<&Id>) -> Result<session::Handle, UnknownSession> {
        let sessions = &self.accepted.snapshot.services.sessions;
        let found = sessions.find(id, self.caller.digest, self.all_versions().name()).await;
        let session = found.map_err(|reason| UnknownSession { id: of.cloned(), reason })?;
        session.known_as(&self.caller.principal);
        let table = self.all_versions().of_session(self.caller.digest, session.memory());
        if !Arc::ptr_eq(table, &self.toolset) {
            let table = Arc::clone(table);
            Arc::get_mut(self).expect("a request is shared only when it is classified").toolset = table;
        }
        Ok(session)
    }
}

/// Takes the body of a request, within its limits.
///
/// # Errors
/// [`BodyError`]: it is too large, too slow, or broken.
pub async fn receive(authenticated: Authenticated) -> Result<Received, Error> {
    let (accepted, caller) = authenticated.into_parts();
    let (accepted, body) = accepted.into_body();
    let body = if accepted.head.method == Method::POST { collect(&accepted, body).await? } else { Bytes::new() };
    Ok(Received { accepted, caller, body, key: None, is_again: false })
}

/// Reads and understands a request.
///
/// # Errors
/// [`Error`]: the body, the message or the session is not acceptable.
pub async fn read(received: Received) -> Result<Reading, Error> {
    let Received { accepted, caller, body, key, is_again } = received;
    let prefers_events = header::accepts(&accepted.head.headers).prefers_events;
    let toolset = Arc::clone(accepted.toolset.of_principal(caller.digest));
    let request = Arc::new(Request { prefers_events, accepted, caller, key, is_again, toolset });
    match (request.endpoint(), &request.accepted.head.method) {
        (Endpoint::Mcp, &Method::POST) => read_post(request, body).await,
        (Endpoint::Mcp, &Method::GET) => read_get(request).await.map(one),
        (Endpoint::Mcp, _) => read_delete(request).await.map(one),
        (Endpoint::Sse, &Method::POST) => read_sse_post(request, body).await.map(one),
        (Endpoint::Sse, _) => Ok(one(Classified { request, work: Work::OpenSse })),
    }
}

fn one(classified: Classified) -> Reading {
    Reading::One(Box::new(classified))
}

async fn read_post(mut request: Arc<Request>, body: Bytes) -> Result<Reading, Error> {
    let limits = limits(&request.accepted);
    let session_id = session_id(&request)?.map(str::to_owned);
    if let Some(session_id) = &session_id
        && is_batch(&body)
    {
        return read_batch(request, session_id, &body, &limits).await;
    }
    let classified = classify(request.headers(), body, &limits)?;
    if classified.era == Era::Modern {
        return Ok(one(Classified { request, work: Work::Modern(classified.call) }));
    }
    if let Operation::Initialize { .. } = classified.call.operation {
        let work = Work::Open { version: classified.version, call: classified.call };
        return Ok(one(Classified { request, work }));
    }
    // The id of a response is not one of the client's requests, and an error must not answer one.
    let id = classified.call.id().cloned().filter(|_| classified.call.frame.kind() == Kind::Request);
    let Some(session_id) = session_id else {
        return Err(Rejected { era: Era::Legacy, id, fault: Fault::SessionRequired }.into());
    };
    let session = request.join(&session_id, id.as_ref()).await?;
    let version = session.client().map_or(Version::ASSUMED, |client| client.version);
    let call = classified.in_session(version)?;
    Ok(one(Classified { request, work: Work::InSession { session, call } }))
}

async fn read_batch(
    mut request: Arc<Request>,
    session_id: &str,
    body: &Bytes,
    limits: &Limits,
) -> Result<Reading, Error> {
    if let Some(request) = Arc::get_mut(&mut request) {
        // Its answers are joined into one stream whatever the client prefers.
        request.prefers_events = false;
        // It names one request, and would make one of all.
        request.key = None;
    }
    let session = request.join(session_id, None).await?;
    let version = session.client().map_or(Version::ASSUMED, |client| client.version);
    let calls = classify_batch(request.headers(), body, limits, version)?;
    let item = |call: Result<Call, Rejected>| {
        let work = Work::InSession { session: session.clone(), call: call? };
        Ok(Classified { request: Arc::clone(&request), work })
    };
    let items = calls.into_iter().map(item).collect();
    let total = request.listener().map(|listener| listener.config.limits.total).unwrap_or(Duration::MAX);
    Ok(Reading::Batch { request, items, total })
}

async fn read_get(mut request: Arc<Request>) -> Result<Classified, Error> {
    let session_id = session_id(&request)?.map(str::to_owned).ok_or(Error::NotStreamable)?;
    let session = request.join(&session_id, None).await?;
    let last_event_id = match header::single(request.headers(), &header::LAST_EVENT_ID) {
        Ok(None) => None,
        Ok(Some(text)) => Some(text.parse().map_err(|_| invalid(InvalidRequest::EventId))?),
        Err(_) => return Err(invalid(InvalidRequest::EventId).into()),
    };
    Ok(Classified { request, work: Work::Listen { session, last_event_id } })
}

async fn read_delete(mut request: Arc<Request>) -> Result<Classified, Error> {
    let session_id = session_id(&request)?.map(str::to_owned).ok_or(Error::NotStreamable)?;
    let session = request.join(&session_id, None).await?;
    Ok(Classified { request, work: Work::End { session } })
}

/// A POST of an HTTP+SSE client: one message, the session in the query.
async fn read_sse_post(mut request: Arc<Request>, body: Bytes) -> Result<Classified, Error> {
    let limits = limits(&request.accepted);
    let frame = Frame::parse(body, &limits).map_err(|malformed| Rejected::malformed(Era::Legacy, malformed))?;
    let id = frame.id().cloned().filter(|_| frame.kind() == Kind::Request);
    let session_id = sse_session_id(&request.accepted);
    let required = || Rejected { era: Era::Legacy, id: id.clone(), fault: Fault::SessionRequired };
    let session_id = session_id.ok_or_else(required)?.to_owned();
    let session = request.join(&session_id, id.as_ref()).await?;
    let version = session.client().map_or(Version::V2024_11_05, |client| client.version);
    let call = classify_legacy(request.headers(), frame, version)?;
    let initialize = matches!(call.operation, Operation::Initialize { .. });
    if session.client().is_none() && !initialize && call.frame.kind() == Kind::Request {
        let fault = Fault::InvalidRequest { reason: InvalidRequest::NotInitialized };
        return Err(Rejected { era: Era::Legacy, id, fault }.into());
    }
    Ok(Classified { request, work: Work::InSession { session, call } })
}

async fn collect(accepted: &AcceptedHead, body: RequestBody) -> Result<Bytes, BodyError> {
    let limits = accepted.listener().map(|listener| listener.config.limits).unwrap_or_default();
    quorate_http::collect(body, limits.body.as_usize(), limits.receive.max(Duration::from_millis(1))).await
}

fn limits(accepted: &AcceptedHead) -> Limits {
    let limits = accepted.listener().map(|listener| listener.config.limits).unwrap_or_default();
    Limits { bytes_max: limits.body.as_usize(), depth_max: limits.json_depth, ..Limits::REQUEST }
}

/// The session that an HTTP+SSE client posts to.
fn sse_session_id(accepted: &AcceptedHead) -> Option<&str> {
    let query = accepted.head.uri.query().unwrap_or_default();
    query.split('&').find_map(|pair| pair.strip_prefix("sessionId="))
}

fn session_id(request: &Request) -> Result<Option<&str>, Rejected> {
    header::session_id(request.headers()).map_err(|_| invalid(InvalidRequest::SessionId))
}

fn invalid(reason: InvalidRequest) -> Rejected {
    Rejected { era: Era::Legacy, id: None, fault: Fault::InvalidRequest { reason } }
}
