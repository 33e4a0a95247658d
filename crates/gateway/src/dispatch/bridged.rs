//! Stateless requests to servers of sessions: through the session that is kept on the caller's
//! behalf.
//!
//! ```text
//!   fresh ─▶ post to the session ─┐                    ┌─▶ answer
//!                                 ├─▶ read its stream ─┼─▶ notification, and read on
//!   retry ─▶ resume what waits ───┘                    └─▶ questions: park, input_required
//! ```
//!
//! A call that waits for its client is the session's; nothing of it is kept here but what its
//! sealed `requestState` says. While it is read, it ends with its client: dropping the reader
//! abandons it, which is how the era cancels.
//! Specification: 2026-07-28 `basic/patterns/mrtr`.

mod reader;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http::HeaderMap;
use quorate_http::sse;
use quorate_jsonrpc::{Frame, Id, Kind, Limits, build};
use quorate_mcp::codec;
use quorate_mcp::dialect::onto_legacy::{self, Retry};
use quorate_mcp::{Call, Era, Fault, Level, Method};
use quorate_runtime::session::{self, Connection, Outgoing, Refused, Reply, Terms, severity};
use quorate_runtime::shard::Unknown;
use quorate_runtime::{backend, clock};
use quorate_session::{CallKey, Event, Purpose};
use quorate_telemetry::{Outcome, Trace};

use self::reader::{Next, Reader};
use super::{Dispatched, Error, Operation, begin, modern, rejected, while_standing};
use crate::ask::MESSAGE_LIMITS;
use crate::behalf::{self, Behalf};
use crate::classify::Request;
use crate::held::Held;
use crate::parking::{Ask, Binding, Parking, Place, invalid_state};
use crate::resolve::holder;

/// Silence after which a call becomes a stream of its session: 5 s, longer than most calls take.
const PRIME_AFTER: Duration = Duration::from_secs(5);
/// Further silence after which its client is answered with a stream, whose comments keep the
/// connection open: 10 s, which together is the pause between two of them.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Tries to post a call to a session; a second one finds that the first ended in that moment.
const POSTS_MAX: usize = 2;

/// Answers a stateless request.
pub(super) async fn send(
    request: &Arc<Request>,
    call: &Call,
    server: backend::Handle,
    (frame, held): (&Frame, Option<&Held>),
    trace: &Trace,
    mut operation: Operation,
) -> Result<Dispatched, Error> {
    match (Opening { request, call, server, held, trace }).open(frame).await {
        Ok(opened) => {
            let id = opened.client.id.clone();
            Ok(answer(request, &id, Reader::new(opened, operation)).await)
        }
        Err(error) => {
            operation.end(Outcome::Failed(error.class()));
            Err(error)
        }
    }
}

/// The server at which what a request goes on with waits, whatever the configuration would choose
/// for it now; none for a request that begins something.
pub(super) async fn owner(request: &Request, call: &Call) -> Option<backend::Handle> {
    memchr::memmem::find(call.frame.bytes(), b"requestState")?;
    let state = onto_legacy::retry(&call.frame).ok()?.state?;
    let services = &request.snapshot().services;
    let principal = request.caller().digest;
    let parking = Binding::of(holder(request), &call.frame).open(&services.sealer, &state, clock::now()).ok()?;
    let Parking::Call { place, .. } = parking else { return None };
    let session = services.sessions.get(place.shard, place.session, principal).await.ok()?;
    let session::Scope::Server(name) = session.scope() else { return None };
    request.toolset().listing.servers().iter().find(|server| server.name() == name).cloned()
}

/// Asks a server for what no server lists; returns its answer.
///
/// # Errors
/// Why it could not be asked.
pub(super) async fn ask(
    request: &Arc<Request>,
    call: &Call,
    server: backend::Handle,
    trace: &Trace,
) -> Result<Frame, Fault> {
    let name = server.name().to_string();
    let opened = Opening { request, call, server, held: None, trace }.open(&call.frame).await;
    let opened = opened.map_err(|error| match error {
        Error::Rejected(rejected) => rejected.fault,
        other => Fault::BackendFailed { server: name, reason: other.to_string() },
    })?;
    let mut reader = Reader::new(opened, Operation::unmeasured());
    loop {
        if let Next::Last { body, .. } = reader.next().await {
            return Frame::parse(body, &Limits::ANSWER).map_err(|_| Fault::Internal);
        }
    }
}

/// Answers in JSON while nothing but the answer has to be said, else with a stream.
async fn answer(request: &Request, id: &Id, reader: Reader) -> Dispatched {
    let mut messages = Box::pin(stream::unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        match reader.next().await {
            Next::Forward(body) => Some(((body, None), Some(reader))),
            Next::Last { status, body, .. } => Some(((body, Some(status)), None)),
        }
    }));
    let event = |(body, _)| sse::Event::new(body);
    // Giving up waiting gives up nothing else: what was begun goes on with the stream.
    match tokio::time::timeout(SILENCE_MAX, messages.next()).await {
        Ok(Some((body, Some(status)))) if !request.prefers_events || !status.is_success() => {
            Dispatched::Json { status, body }
        }
        Ok(Some(first)) => {
            let all = stream::once(std::future::ready(first)).chain(messages);
            while_standing(request, id, all.map(event))
        }
        Ok(None) | Err(_) => while_standing(request, id, messages.map(event)),
    }
}

/// A call that has begun, or goes on.
struct Opened {
    request: Arc<Request>,
    server: backend::Handle,
    behalf: Behalf,
    session: session::Handle,
    leash: Leash,
    source: Source,
    /// Questions that were answered, by this request or before.
    answered: Vec<u64>,
    client: Client,
}

/// What of the client's request decides how it is answered.
struct Client {
    id: Id,
    frame: Frame,
    method: Option<Method>,
    progress_token: Option<Id>,
    level: Option<Level>,
    audience: quorate_runtime::listing::Audience,
}

/// Where the messages of a call come from.
enum Source {
    /// There is only the answer.
    Answer(Frame),
    /// The stream of the call.
    Stream(Box<Connection>),
}

/// Ends a call with its client, unless it ended or waits.
struct Leash {
    session: session::Handle,
    call: Option<CallKey>,
}

struct Opening<'a> {
    request: &'a Arc<Request>,
    call: &'a Call,
    server: backend::Handle,
    held: Option<&'a Held>,
    trace: &'a Trace,
}

// === impl Opening ===

impl Opening<'_> {
    async fn open(self, frame: &Frame) -> Result<Opened, Error> {
        let invalid = |reason| move |_| Fault::InvalidParams { field: "params", reason };
        let retry = onto_legacy::retry(&self.call.frame)
            .map_err(invalid("must have `requestState` as a string and `inputResponses` as an object"));
        let retry = retry.map_err(|fault| self.rejected(fault))?;
        let behalf = Behalf::of(self.request, self.call);
        match self.parking(&retry).map_err(|fault| self.rejected(fault))? {
            Some((place, asks)) => self.resume(behalf, &retry, place, &asks).await,
            None => {
                let frame = onto_legacy::request(frame).map_err(invalid("and `_meta` must be objects"));
                let frame = frame.map_err(|fault| self.rejected(fault))?;
                self.begin(behalf, frame).await
            }
        }
    }

    /// What waits for this request, if anything does.
    fn parking(&self, retry: &Retry) -> Result<Option<(Place, Vec<Ask>)>, Fault> {
        let Some(state) = &retry.state else { return Ok(None) };
        let binding = Binding::of(holder(self.request), &self.call.frame);
        match binding.open(&self.request.snapshot().services.sealer, state, clock::now())? {
            Parking::Again => Ok(None),
            Parking::Call { place, asks } => Ok(Some((place, asks))),
        }
    }

    /// Posts a call to the caller's session.
    async fn begin(self, behalf: Behalf, frame: Frame) -> Result<Opened, Error> {
        if self.request.snapshot().is_draining() {
            return Err(self.rejected(Fault::ShuttingDown));
        }
        let id = modern::mint();
        let frame = frame.with_id(&id);
        // Clients choose tokens for themselves alone, and here several may share a session.
        let progress_token = self.call.progress_token.as_ref().map(|(token, _)| token.clone());
        let frame = match progress_token {
            Some(_) => codec::with_meta(&frame, &[("progressToken", id.as_json())]).unwrap_or(frame),
            None => frame,
        };
        let mut tries = 0;
        loop {
            tries += 1;
            let session = behalf.session(&self.server).await?;
            self.lower_level(&session).await;
            let terms = begin(self.request, &self.server, self.held).map_err(|fault| self.rejected(fault))?;
            let progress_token = progress_token.is_some().then(|| id.as_json().to_owned());
            let outgoing = Outgoing { terms, ..self.outgoing(frame.clone(), progress_token) };
            let (keys, reply) = match session.begin(vec![outgoing], false).await {
                Ok(begun) => begun,
                Err(Refused::Gone(_)) if tries < POSTS_MAX => continue,
                Err(refused) => return Err(self.refused(refused)),
            };
            let leash = Leash { session: session.clone(), call: keys.first().copied() };
            let source = match reply.await {
                Ok(Reply::Json(body)) => Frame::parse(body, &MESSAGE_LIMITS).ok().map(Source::Answer),
                Ok(Reply::Stream(connection)) => Some(Source::Stream(Box::new(connection))),
                Ok(Reply::Nothing | Reply::Elsewhere) | Err(_) => None,
            };
            let lost = || Fault::OutcomeUnknown { server: self.server.name().to_string() };
            let source = source.ok_or_else(|| self.rejected(lost()))?;
            return Ok(self.opened(behalf, session, leash, source, Vec::new()));
        }
    }

    /// Goes on with a call that waits, with the answers that the client brings.
    async fn resume(self, behalf: Behalf, retry: &Retry, place: Place, asks: &[Ask]) -> Result<Opened, Error> {
        let sessions = &self.request.snapshot().services.sessions;
        let scope = session::Scope::Server(self.server.name().clone());
        let session = match sessions.get(place.shard, place.session, self.request.caller().digest).await {
            Ok(session) if *session.scope() == scope => session,
            Err(Unknown::Elsewhere(shard)) => return Err(Error::Elsewhere { shard }),
            Ok(_) | Err(_) => return Err(self.rejected(invalid_state())),
        };
        let mut answered: Vec<u64> = asks.iter().filter(|ask| ask.question.is_none()).map(|ask| ask.id).collect();
        let mut responses = Vec::new();
        for (key, span) in &retry.responses {
            // What nobody asked for is ignored, as the specification advises.
            let ask = key.parse().ok().and_then(|id: u64| asks.iter().find(|ask| ask.id == id));
            let Some((ask, question)) = ask.and_then(|ask| Some((ask, ask.question?))) else { continue };
            let raw = self.call.raw(*span);
            if let Err(expected) = question.check(raw) {
                return Err(self.rejected(Fault::InputResponse { key: key.clone(), expected }));
            }
            let response = Frame::parse(build::result(&Id::from(ask.id), raw), &MESSAGE_LIMITS);
            responses.push(response.map_err(|_| self.rejected(Fault::Internal))?);
            answered.push(ask.id);
        }
        let resumed = session.resume(place.call, place.stream, place.token, responses).await;
        let connection = match resumed {
            Ok(connection) => connection,
            Err(Refused::Moved | Refused::Rested) => return Err(Error::Elsewhere { shard: place.shard.into() }),
            Err(_) => return Err(self.rejected(invalid_state())),
        };
        let leash = Leash { session: session.clone(), call: Some(place.call) };
        Ok(self.opened(behalf, session, leash, Source::Stream(Box::new(connection)), answered))
    }

    fn opened(
        self,
        behalf: Behalf,
        session: session::Handle,
        leash: Leash,
        source: Source,
        answered: Vec<u64>,
    ) -> Opened {
        let client = Client {
            id: self.call.id().cloned().unwrap_or_else(|| Id::from(0)),
            frame: self.call.frame.clone(),
            method: self.call.method(),
            progress_token: self.call.progress_token.as_ref().map(|(token, _)| token.clone()),
            level: self.call.log_level(),
            audience: behalf::audience(self.request.toolset(), self.call),
        };
        Opened {
            request: Arc::clone(self.request),
            server: self.server,
            behalf,
            session,
            leash,
            source,
            answered,
            client,
        }
    }

    /// Asks the server for log messages of the level that this request wants, if nobody did before.
    async fn lower_level(&self, session: &session::Handle) {
        let Some(level) = self.call.log_level() else { return };
        let severity = severity(level);
        if !session.lower_level(severity) {
            return;
        }
        let params = format!("{{\"level\":\"{}\"}}", level.as_str());
        let request = build::request(&modern::mint(), Method::SetLevel.as_str(), Some(&params));
        let Ok(frame) = Frame::parse(request, &Limits::REQUEST) else { return };
        let purpose = Purpose::SetLevel { severity, result: "{}" };
        let outgoing = Outgoing {
            frame,
            server: None,
            progress_token: None,
            purpose,
            headers: HeaderMap::new(),
            prime_after: None,
            terms: Terms::default(),
            key: None,
        };
        // Whatever comes of it, the call itself says more.
        let _answered = session.post(vec![outgoing], false).await;
    }

    fn outgoing(&self, frame: Frame, progress_token: Option<String>) -> Outgoing {
        let mut headers = HeaderMap::new();
        self.trace.outgoing(&tracing::Span::none()).inject(&mut headers);
        Outgoing {
            frame,
            server: Some(self.server.clone()),
            progress_token: progress_token.map(Bytes::from),
            purpose: Purpose::Plain,
            headers,
            prime_after: Some(PRIME_AFTER),
            terms: Terms::default(),
            key: None,
        }
    }

    fn rejected(&self, fault: Fault) -> Error {
        rejected(Era::Modern, self.call.id(), fault)
    }

    fn refused(&self, refused: Refused) -> Error {
        match refused {
            Refused::Gone(_) | Refused::Moved | Refused::Rested => self.rejected(Fault::BackendFailed {
                server: self.server.name().to_string(),
                reason: "its session ended at once, twice".to_owned(),
            }),
            Refused::Rejected(_) => Error::Session { id: self.call.id().cloned(), refused },
        }
    }
}

// === impl Leash ===

impl Leash {
    fn call(&self) -> Option<CallKey> {
        self.call
    }

    /// The call has ended, or goes on without its client.
    fn let_go(&mut self) {
        self.call = None;
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        if let Some(call) = self.call {
            self.session.tell(Event::Abandon { call });
        }
    }
}

/// Tells whether a message is the answer to a call.
fn is_answer(frame: &Frame) -> bool {
    matches!(frame.kind(), Kind::Result | Kind::Error)
}
