//! Messages of sessions: through the session's actor, or answered here on its behalf.
//!
//! A request for a server becomes a call of the session: whatever happens to this POST's
//! connection, the call goes on, and its answer can be resumed. What the gateway answers itself
//! is answered on the POST where there is one; an HTTP+SSE client has only its stream, so there
//! the answer goes through the session too.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use quorate_jsonrpc::{Frame, Id, Kind, Limits, build};
use quorate_mcp::error::InvalidRequest;
use quorate_mcp::{Call, Era, Fault, ListKind, Operation as Asked, Rejected, Version};
use quorate_runtime::backend;
use quorate_runtime::listing::Audience;
use quorate_runtime::session::{self, Connection, Outgoing, PRIME_AFTER, Refused, Reply, Terms, Tool, severity};
use quorate_session::{Answer, Audience as To, Event, EventId, Purpose};
use quorate_telemetry::{Outcome, Throttle, Trace};
use quorate_types::ResourceName;

use super::turn::InVain;
use super::{Dispatched, Error, Operation, begin, find, here, metrics, rejected};
use crate::authorize::Gate;
use crate::classify::Request;
use crate::fetch::{Fetcher, ListedTask};
use crate::held::Held;
use crate::listener::Endpoint;
use crate::resolve::holder;
use crate::route::Target;
use crate::standing::{Cut, Standing};

/// Servers that are asked for their tasks, and pages of each: a list of tasks is for people.
const TASK_PAGES_MAX: usize = 16;
/// Bounds lines about tasks that cannot be listed.
static UNLISTED: Throttle = Throttle::new();

/// Takes one message of a session.
pub(super) async fn send(
    request: &Arc<Request>,
    session: &session::Handle,
    call: Call,
    target: Target,
    trace: &Trace,
    started: Instant,
) -> Result<Dispatched, Error> {
    if call.frame.kind() != Kind::Request {
        return tell(session, call).await;
    }
    let version = session.client().map_or(Version::ASSUMED, |client| client.version);
    let mut operation = Operation::begin(metrics(request), &call, version, started);
    let message = Message { request, session, trace };
    let target = match &call.operation {
        Asked::Unsubscribe { .. } => {
            message.subscriber(target).await.map_err(|refused| message.refused(call.id(), refused))?
        }
        _ => target,
    };
    let mut outcome = Outcome::Ok;
    let result = match target {
        Target::Here => message.here(&call, version).await,
        Target::Server { server, frame, held, tool, .. } => message.forward(&call, frame, server, (held, tool)).await,
        Target::Ask { servers, uri } => message.ask(&call, servers, &uri).await,
        Target::Find { tools } => {
            let found = find::run(request, &call, &tools, Some(session));
            let found = found.map(|(result, ended)| {
                outcome = ended;
                result
            });
            message.tell(&call, found).await
        }
        Target::Told { result } => {
            outcome = Outcome::ToolError;
            message.tell(&call, Ok(result)).await
        }
        Target::Refused { fault } => message.tell(&call, Err(fault)).await,
    };
    operation.end(match &result {
        Ok(_) => outcome,
        Err(error) => Outcome::Failed(error.class()),
    });
    result
}

/// Reads a stream of a session.
pub(super) async fn listen(
    request: &Request,
    session: &session::Handle,
    last_event_id: Option<EventId>,
) -> Result<Dispatched, Error> {
    let resumes = last_event_id.is_some();
    let attached = session.attach(last_event_id).await;
    if resumes {
        metrics(request).resumption(if attached.is_ok() { "resumed" } else { "refused" });
    }
    let connection = attached.map_err(|refused| Error::Session { id: None, refused })?;
    let standing = Standing::of(request, Some(session), Cut::Resumed);
    Ok(Dispatched::Connected { connection, standing })
}

/// Hands a notification or an answer of the client to its session.
///
/// An answer that is taken is not lost any more, whatever becomes of this node.
async fn tell(session: &session::Handle, call: Call) -> Result<Dispatched, Error> {
    let frame = call.frame;
    let event = match call.operation {
        Asked::Response => {
            return match session.take(Event::ClientResponse { frame }).await {
                Err(refused @ (Refused::Moved | Refused::Rested | Refused::Gone(_))) => {
                    Err(Error::Session { id: None, refused })
                }
                // What the machine does not want is nothing that a client has to hear of.
                Ok(()) | Err(Refused::Rejected(_)) => Ok(Dispatched::Accepted),
            };
        }
        Asked::Cancelled { request_id: Some((request_id, span)) } => Event::Cancel { frame, request_id, span },
        Asked::Progress { span, .. } => Event::ClientProgress { frame, token: span },
        // It says nothing but that they may ask.
        Asked::RootsListChanged => Event::ClientNotification { frame, to: To::EachLeg },
        // The servers get our own `initialized`; a cancel without an id names nothing. Any other notification has nothing
        // that says which server it is for (a task's status names a task, which is one server's), and policy has
        // decided on none: what is for one would reach all of them. Clients may send none that servers need (2025-11-25,
        // "Tasks": requestors must not rely on status notifications).
        _ => Event::Touch,
    };
    session.tell(event);
    Ok(Dispatched::Accepted)
}

struct Message<'a> {
    request: &'a Arc<Request>,
    session: &'a session::Handle,
    trace: &'a Trace,
}

// === impl Message ===

impl Message<'_> {
    /// Answers what no single server is asked for.
    async fn here(&self, call: &Call, version: Version) -> Result<Dispatched, Error> {
        let Some(id) = call.id() else { return Ok(Dispatched::Accepted) };
        let body = match &call.operation {
            Asked::SetLevel { level } => {
                let purpose = Purpose::SetLevel { severity: severity(*level), result: "{}" };
                return self.post(call, call.frame.clone(), None, purpose, Terms::default()).await;
            }
            // Of a subscription that there is none of.
            Asked::Ping | Asked::Unsubscribe { .. } => Ok(build::result(id, "{}")),
            Asked::Initialize { requested, .. } => self.initialize(call, id, requested).await,
            Asked::List { kind, cursor } => self.list(id, *kind, cursor.as_deref()).await,
            Asked::ListTasks { .. } => Ok(self.tasks(id, version).await),
            _ => {
                let method = call.frame.method().unwrap_or_default().to_owned();
                Err(rejected(Era::Legacy, Some(id), Fault::MethodNotFound { method }))
            }
        };
        self.say(call, id, body).await
    }

    /// Answers a call with a result, or a fault, that is there.
    async fn tell(&self, call: &Call, result: Result<String, Fault>) -> Result<Dispatched, Error> {
        let Some(id) = call.id() else { return Ok(Dispatched::Accepted) };
        let body = result.map(|result| build::result(id, &result));
        self.say(call, id, body.map_err(|fault| rejected(Era::Legacy, Some(id), fault))).await
    }

    /// Says what is there to say: on the POST, or on the session's one stream.
    async fn say(&self, call: &Call, id: &Id, body: Result<Bytes, Error>) -> Result<Dispatched, Error> {
        self.session.tell(Event::Touch);
        if self.session.is_moved() {
            // A list may lack what nobody could ask for any more; nothing was sent that has to be sent once.
            return Err(Error::Session { id: Some(id.clone()), refused: Refused::Rested });
        }
        match self.request.endpoint() {
            Endpoint::Mcp => body.map(|body| self.request.answer(body)),
            Endpoint::Sse => self.through_session(call, id, body).await,
        }
    }

    /// Forwards a request to the one server that answers it.
    async fn forward(
        &self,
        call: &Call,
        frame: Frame,
        server: backend::Handle,
        (held, tool): (Option<Held>, Option<Arc<Tool>>),
    ) -> Result<Dispatched, Error> {
        if self.is_known().await.map_err(|refused| self.refused(call.id(), refused))? {
            // It has its place and its time already.
            let purpose = purpose(call, &frame);
            return self.post(call, frame, Some(server), purpose, Terms::default()).await;
        }
        let terms = match begin(self.request, &server, held.as_ref()) {
            Ok(terms) => Terms { tool, ..terms },
            Err(fault) => return self.tell(call, Err(fault)).await,
        };
        let is_named = self.request.key.is_some();
        if self.request.is_again && self.session.forgets(&frame, terms.replayable, is_named) {
            // Nobody has written down whether it was sent.
            let fault = Fault::OutcomeUnknown { server: server.name().to_string() };
            return self.tell(call, Err(fault)).await;
        }
        let purpose = purpose(call, &frame);
        self.post(call, frame, Some(server), purpose, terms).await
    }

    /// Whether the session has taken this request before.
    async fn is_known(&self) -> Result<bool, Refused> {
        match self.request.key.filter(|_| self.request.is_again) {
            Some(key) => self.session.knows(key).await,
            None => Ok(false),
        }
    }

    async fn post(
        &self,
        call: &Call,
        frame: Frame,
        server: Option<backend::Handle>,
        purpose: Purpose,
        terms: Terms,
    ) -> Result<Dispatched, Error> {
        let outgoing = Outgoing { terms, ..self.outgoing(call, frame, server, purpose) };
        let reply = self.session.post(vec![outgoing], false).await;
        let refused = |refused| self.refused(call.id(), refused);
        Ok(match reply.map_err(refused)? {
            Reply::Json(body) => Dispatched::Json { status: StatusCode::OK, body },
            Reply::Stream(connection) => self.stream(connection),
            Reply::Nothing => Dispatched::Nothing,
            Reply::Elsewhere => Dispatched::Accepted,
        })
    }

    /// Answers with the stream of a call.
    fn stream(&self, connection: Connection) -> Dispatched {
        let standing = Standing::of(self.request, Some(self.session), Cut::of_call(self.session));
        Dispatched::Connected { connection, standing }
    }

    fn outgoing(&self, call: &Call, frame: Frame, server: Option<backend::Handle>, purpose: Purpose) -> Outgoing {
        let mut headers = HeaderMap::new();
        self.trace.outgoing(&tracing::Span::none()).inject(&mut headers);
        let progress_token = call.progress_token.as_ref().map(|(token, _)| Bytes::from(token.as_json().to_owned()));
        let prime_after = match (self.request.endpoint(), self.request.prefers_events) {
            (Endpoint::Sse, _) => None,
            (Endpoint::Mcp, true) => Some(Duration::ZERO),
            (Endpoint::Mcp, false) => Some(PRIME_AFTER),
        };
        let terms = Terms::default();
        Outgoing { frame, server, progress_token, purpose, headers, prime_after, terms, key: self.request.key }
    }

    /// Of those who may hold a subscription the one that does. Nobody else is told that it is over: whoever may only connect
    /// could reach every server so, and learn what there is.
    async fn subscriber(&self, target: Target) -> Result<Target, Refused> {
        let (servers, uri) = match &target {
            Target::Server { server, name: Some(uri), .. } => (vec![server.clone()], uri),
            Target::Ask { servers, uri } => (servers.clone(), uri),
            _ => return Ok(target),
        };
        let found = self.session.subscriber(servers, uri.as_str().into()).await?;
        Ok(match (found, target) {
            (Some(_), target @ Target::Server { .. }) => target,
            (Some(server), Target::Ask { uri, .. }) => Target::Ask { servers: vec![server], uri },
            (_, _) => Target::Here,
        })
    }

    /// Asks servers in turn for a resource that none of them lists.
    async fn ask(&self, call: &Call, servers: Vec<backend::Handle>, uri: &str) -> Result<Dispatched, Error> {
        if let (Endpoint::Sse, Some(server)) = (self.request.endpoint(), servers.first()) {
            // Its one stream carries every answer, so only one server can be asked.
            return self.forward(call, call.frame.clone(), server.clone(), (None, None)).await;
        }
        let last = servers.len().saturating_sub(1);
        let mut in_vain = InVain::new(Era::Legacy);
        for (index, server) in servers.into_iter().enumerate() {
            let mut outgoing = self.outgoing(call, call.frame.clone(), Some(server), purpose(call, &call.frame));
            if index < last {
                // A stream would be final: it goes to the client before it is known to be the answer.
                outgoing.prime_after = None;
            }
            match self.session.post(vec![outgoing], false).await {
                Ok(Reply::Json(body)) => {
                    let Ok(answer) = Frame::parse(body.clone(), &Limits::ANSWER) else { continue };
                    if answer.kind() == Kind::Result {
                        return Ok(Dispatched::Json { status: StatusCode::OK, body });
                    }
                    in_vain.refused(&answer);
                }
                // One that takes its time streams, and is then the one that answers.
                Ok(Reply::Stream(connection)) => return Ok(self.stream(connection)),
                Ok(Reply::Nothing | Reply::Elsewhere) => return Ok(Dispatched::Nothing),
                Err(refused) => return Err(self.refused(call.id(), refused)),
            }
        }
        in_vain.answer(call.id(), uri)
    }

    /// The first message of an HTTP+SSE client; a session with streams was initialized before.
    async fn initialize(&self, call: &Call, id: &Id, requested: &str) -> Result<Bytes, Error> {
        let version = Version::negotiate(requested);
        let client = here::client_of(call, version);
        let audience = Audience::Legacy(client.view);
        if !self.session.initialize(client) {
            let fault = Fault::InvalidParams { field: "method", reason: "must not be repeated in a session" };
            return Err(rejected(Era::Legacy, Some(id), fault));
        }
        let fetch = self.fetcher();
        let asking = here::Asking { era: Era::Legacy, audience, fetch: &fetch, memory: None };
        Ok(build::result(id, &here::initialized(self.request, self.request.toolset(), &asking, version).await))
    }

    async fn list(&self, id: &Id, kind: ListKind, cursor: Option<&str>) -> Result<Bytes, Error> {
        let fetch = self.fetcher();
        let audience = Audience::Legacy(self.session.client().map_or(0, |client| client.view));
        let asking = here::Asking { era: Era::Legacy, audience, fetch: &fetch, memory: Some(self.session.memory()) };
        here::list(self.request, &asking, id, kind, cursor).await
    }

    fn fetcher(&self) -> Fetcher<'_> {
        match self.request.endpoint() {
            Endpoint::Mcp => Fetcher::Session(self.session),
            Endpoint::Sse => Fetcher::Single(self.session),
        }
    }

    /// Lists the tasks of all servers, under the ids that this caller knows them by.
    async fn tasks(&self, id: &Id, version: Version) -> Bytes {
        let mut tasks: Vec<String> = Vec::new();
        let servers = self.request.toolset().listing.servers().iter();
        for server in servers.filter(|server| server.offers_tasks()).take(TASK_PAGES_MAX) {
            match self.fetcher().tasks(server, TASK_PAGES_MAX).await {
                // Its tasks are those of everybody who uses our credential; a caller is shown those that it began.
                Ok(listed) => tasks.extend(listed.iter().filter_map(|task| self.own_task(server.name(), task))),
                Err(reason) if UNLISTED.admits() => {
                    tracing::warn!(server = %server.name(), %version, reason, "tasks cannot be listed; the others are");
                }
                Err(_) => {}
            }
        }
        build::result(id, &format!("{{\"tasks\":[{}]}}", tasks.join(",")))
    }

    /// A task as the caller may see it in a list: one that it began through this toolset, with a tool that it may call.
    fn own_task(&self, server: &ResourceName, listed: &ListedTask) -> Option<String> {
        let (services, holder) = (&self.request.snapshot().services, holder(self.request));
        let task = services.tasks.task(holder, server, &listed.id)?;
        let is_shown = Gate::of(self.request).may_follow(self.request, &task);
        Some(listed.with_id(&holder.seal(&services.sealer, &task).filter(|_| is_shown)?))
    }

    /// Answers on the session's one stream.
    async fn through_session(&self, call: &Call, id: &Id, body: Result<Bytes, Error>) -> Result<Dispatched, Error> {
        let answer = match body {
            Ok(body) => {
                let result = Frame::parse(body, &Limits::ANSWER).ok().and_then(|frame| frame.result());
                Answer::Result(result.unwrap_or_else(|| Bytes::from_static(b"{}")))
            }
            Err(Error::Rejected(Rejected { fault, .. })) => Answer::Error(session::fault(fault)),
            Err(other) => return Err(other),
        };
        let outgoing = self.outgoing(call, call.frame.clone(), None, Purpose::Plain);
        let begun = self.session.begin(vec![outgoing], false).await;
        let (keys, _elsewhere) = begun.map_err(|refused| self.refused(Some(id), refused))?;
        for key in keys {
            self.session.answer(key, answer.clone());
        }
        Ok(Dispatched::Accepted)
    }

    fn refused(&self, id: Option<&Id>, refused: Refused) -> Error {
        if let Refused::Rejected(quorate_session::Rejection::DuplicateId { .. }) = &refused {
            return rejected(Era::Legacy, id, Fault::InvalidRequest { reason: InvalidRequest::DuplicateId });
        }
        Error::Session { id: id.cloned(), refused }
    }
}

/// What the session has to remember of a call.
fn purpose(call: &Call, frame: &Frame) -> Purpose {
    match &call.operation {
        Asked::Subscribe { .. } => Purpose::Subscribe { uri: uri_of(frame).into() },
        Asked::Unsubscribe { .. } => Purpose::Unsubscribe { uri: uri_of(frame).into() },
        _ => Purpose::Plain,
    }
}

/// The URI of a subscription as the server knows it.
fn uri_of(frame: &Frame) -> String {
    let params = frame.params_span();
    let uri = params.and_then(|params| quorate_jsonrpc::pick(frame.text_of(params), params.start, ["uri"]).ok());
    let text = uri.and_then(|[span]| quorate_jsonrpc::text(frame.text_of(span?)).map(std::borrow::Cow::into_owned));
    text.unwrap_or_default()
}
