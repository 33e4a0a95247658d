//! Stateless requests: one POST to one server, nothing kept.
//!
//! The request goes out with an id of ours and the name as the server knows it, everything else
//! as it came; the answer comes back with the client's id. A stream is passed event by event at
//! the client's pace: dropping it (the client left) closes the upstream connection, which is how
//! the era cancels. A stream that breaks becomes an error event, never a clean end.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use quorate_http::sse;
use quorate_jsonrpc::{Frame, Id, Kind, build, pick};
use quorate_mcp::dialect::onto_legacy;
use quorate_mcp::exchange::{Exchange, Outcome as Step};
use quorate_mcp::listing::Resolution;
use quorate_mcp::param::ParamRules;
use quorate_mcp::{Call, Era, Fault, ListKind, Method, Operation as Asked, Version, codec, header};
use quorate_runtime::backend::{self, Load, Sent, fault_of};
use quorate_runtime::listing::Audience;
use quorate_runtime::session::terms::{Clock, Late};
use quorate_runtime::session::{Terms, Tool};
use quorate_runtime::upstream::{Answer, FrameStream};
use quorate_telemetry::{Outcome, Trace};
use quorate_types::ResourceName;

use super::turn::InVain;
use super::{Dispatched, Error, Operation, begin, bridged, find, here, listen, metrics, rejected, while_standing};
use crate::ask::{self, Asker};
use crate::authorize::Gate;
use crate::behalf;
use crate::classify::Request;
use crate::fetch::Fetcher;
use crate::handle::Outbound;
use crate::held::Held;
use crate::parking::invalid_state;
use crate::resolve::{holder, view};
use crate::route::Target;

/// Answers a stateless request.
pub(super) async fn send(
    request: &Arc<Request>,
    call: Call,
    target: Target,
    trace: &Trace,
    started: Instant,
) -> Result<Dispatched, Error> {
    let mut operation = Operation::begin(metrics(request), &call, Version::LATEST, started);
    let mut outcome = Outcome::Ok;
    let result = match target {
        Target::Here => match &call.operation {
            Asked::Listen { filter } => return listen::open(request, &call, filter, operation).await,
            _ => here::modern(request, &call).await,
        },
        Target::Server { server, frame, name, held, tool } => {
            if let Err(fault) = check_params(request, &call).await {
                return Err(refused(&call, fault, &mut operation));
            }
            let waits_at = bridged::owner(request, &call).await;
            // What this brings is for the one that asked, if it is still the one that is called.
            if waits_at.as_ref().is_some_and(|waiting| !waiting.is_same(&server)) {
                return Err(refused(&call, invalid_state(), &mut operation));
            }
            if let Some(server) = waits_at.or_else(|| server.needs_session().then(|| server.clone())) {
                return bridged::send(request, &call, server, (&frame, held.as_ref()), trace, operation).await;
            }
            let upstream = Upstream { request, call: &call, trace, tool };
            return upstream.send(server, &frame, name.as_deref(), held, operation).await;
        }
        Target::Ask { servers, uri } => {
            if let Some(server) = bridged::owner(request, &call).await {
                // What this brings is for the one that asked, if that may still be asked for it.
                if !servers.iter().any(|allowed| allowed.is_same(&server)) {
                    return Err(refused(&call, invalid_state(), &mut operation));
                }
                return bridged::send(request, &call, server, (&call.frame, None), trace, operation).await;
            }
            let upstream = Upstream { request, call: &call, trace, tool: None };
            return upstream.ask(servers, &uri, operation).await;
        }
        Target::Find { tools } => {
            let found = find::run(request, &call, &tools, None);
            tell(request, &call, found, &mut outcome)
        }
        Target::Told { result } => tell(request, &call, Ok((result, Outcome::ToolError)), &mut outcome),
        Target::Refused { fault } => Err(rejected(Era::Modern, call.id(), fault)),
    };
    operation.end(match &result {
        Ok(_) => outcome,
        Err(error) => Outcome::Failed(error.class()),
    });
    result
}

/// Refuses a call before any server is asked, and notes how it ended.
fn refused(call: &Call, fault: Fault, operation: &mut Operation) -> Error {
    operation.end(Outcome::Failed(fault.class()));
    rejected(Era::Modern, call.id(), fault)
}

/// Answers with a result of our own, and notes how the call ended.
fn tell(
    request: &Request,
    call: &Call,
    told: Result<(String, Outcome), Fault>,
    outcome: &mut Outcome,
) -> Result<Dispatched, Error> {
    let (result, ended) = told.map_err(|fault| rejected(Era::Modern, call.id(), fault))?;
    *outcome = ended;
    Ok(call.id().map_or(Dispatched::Accepted, |id| request.answer(build::result(id, &result))))
}

struct Upstream<'a> {
    request: &'a Arc<Request>,
    call: &'a Call,
    trace: &'a Trace,
    /// The tool that is called, or whose task is followed.
    tool: Option<Arc<Tool>>,
}

// === impl Upstream ===

impl Upstream<'_> {
    async fn send(
        &self,
        server: backend::Handle,
        frame: &Frame,
        name: Option<&str>,
        held: Option<Held>,
        mut operation: Operation,
    ) -> Result<Dispatched, Error> {
        let client_id = self.client_id()?;
        let terms = match begin(self.request, &server, held.as_ref()) {
            Ok(terms) => terms,
            Err(fault) => {
                operation.end(Outcome::Failed(fault.class()));
                return Err(rejected(Era::Modern, Some(&client_id), fault));
            }
        };
        let mut time = Time { clock: Clock::start(terms.timeout.as_ref()), terms, held };
        let upstream_id = mint();
        let body = frame.with_id(&upstream_id).into_bytes();
        let exchange = Exchange::new(client_id.clone(), upstream_id, Version::LATEST);
        let sent_at = Instant::now();
        let headers = self.headers(name, time.held.as_ref());
        let sent = time.clock.wait(true, server.send(&headers, &body)).await;
        let method = quorate_telemetry::Method::of(self.call.frame.method().unwrap_or_default());
        let (fault, code) = match sent {
            Ok(Ok(Sent { answer, load })) => {
                let reader = Reader {
                    request: Arc::clone(self.request),
                    server,
                    audience: behalf::audience(self.request.toolset(), self.call),
                    method: self.call.method(),
                    tool: self.tool.clone(),
                    exchange,
                    operation,
                    sent_at,
                    label: method,
                    load,
                    time,
                };
                return match answer {
                    Answer::Json { status, frame } => reader.json(status, frame),
                    Answer::Stream(frames) => Ok(while_standing(self.request, &client_id, reader.events(frames))),
                };
            }
            Ok(Err(error)) => (error.to_fault(), error.code()),
            Err(Late) => {
                let fault = time.late();
                let code = fault.class();
                (fault, code)
            }
        };
        operation.end(Outcome::Failed(code));
        server.metrics().operation(method, Outcome::Failed(code), sent_at.elapsed());
        Err(rejected(Era::Modern, Some(&client_id), fault))
    }

    /// Asks servers in turn for a resource that none of them lists.
    async fn ask(&self, servers: Vec<backend::Handle>, uri: &str, operation: Operation) -> Result<Dispatched, Error> {
        let client_id = self.client_id()?;
        let mut operation = operation;
        let mut in_vain = InVain::new(Era::Modern);
        // No server that answers here has asked anything: answers are for none of them.
        let unanswered = onto_legacy::unanswered(&self.call.frame);
        let unanswered = unanswered.map_err(|_| {
            let fault = Fault::InvalidParams { field: "params", reason: "must be an object" };
            rejected(Era::Modern, Some(&client_id), fault)
        })?;
        for server in servers {
            if server.needs_session() {
                match bridged::ask(self.request, self.call, server, self.trace).await {
                    Ok(answer) if answer.kind() == Kind::Result => {
                        operation.end(Outcome::Ok);
                        return Ok(Dispatched::Json { status: StatusCode::OK, body: answer.into_bytes() });
                    }
                    Ok(refusal) => in_vain.refused(&refusal),
                    Err(fault) => in_vain.failed(&fault, Some(&client_id)),
                }
                continue;
            }
            let upstream_id = mint();
            let body = unanswered.with_id(&upstream_id).into_bytes();
            let answer = match server.send(&self.headers(Some(uri), None), &body).await {
                Ok(sent) => sent.answer.finish(|_| {}).await.map_err(|error| fault_of(server.name(), &error)),
                Err(error) => Err(error.to_fault()),
            };
            let answer = match answer {
                Ok(answer) if answer.id() == Some(&upstream_id) => answer.with_id(&client_id),
                Ok(_) => {
                    let reason = "it answered another request".to_owned();
                    in_vain
                        .failed(&Fault::BackendFailed { server: server.name().to_string(), reason }, Some(&client_id));
                    continue;
                }
                Err(fault) => {
                    in_vain.failed(&fault, Some(&client_id));
                    continue;
                }
            };
            if ask::is_question(&answer) {
                // Its client would answer all servers that are asked, and not the one that wants to know.
                let reason = "it asks something for a resource that it does not list".to_owned();
                in_vain.failed(&Fault::BackendFailed { server: server.name().to_string(), reason }, Some(&client_id));
                continue;
            }
            if answer.kind() != Kind::Result {
                in_vain.refused(&answer);
                continue;
            }
            let answer = self.outbound(&server, answer);
            operation.end(Outcome::Ok);
            return Ok(Dispatched::Json { status: StatusCode::OK, body: answer.into_bytes() });
        }
        operation.end(Outcome::Failed(quorate_types::Code::NotFound));
        in_vain.answer(Some(&client_id), uri)
    }

    fn outbound(&self, server: &backend::Handle, frame: Frame) -> Frame {
        let audience = behalf::audience(self.request.toolset(), self.call);
        rewrite(self.request, audience, server.name(), self.call.method(), self.tool.as_ref(), frame)
    }

    fn client_id(&self) -> Result<Id, Error> {
        let invalid = || Fault::MethodNotFound { method: self.call.frame.method().unwrap_or_default().to_owned() };
        self.call.id().cloned().ok_or_else(|| rejected(Era::Modern, None, invalid()))
    }

    /// The headers that mirror the request, and those of parameters as the client sent them, but for
    /// arguments that the toolset has in its own hand.
    fn headers(&self, name: Option<&str>, held: Option<&Held>) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(header::PROTOCOL_VERSION, HeaderValue::from_static(Version::LATEST.as_str()));
        if let Some(method) = self.call.method() {
            headers.insert(header::METHOD, HeaderValue::from_static(method.as_str()));
        }
        if let Some(name) = name.filter(|_| quorate_mcp::dialect::v2026_07_28::mirrored(&self.call.operation).is_some())
        {
            headers.insert(header::NAME, header::encode(name));
        }
        let terms = held.map(|held| &held.terms);
        for (key, value) in self.request.headers() {
            if is_param(key) && !terms.is_some_and(|terms| terms.withholds_header(key)) {
                headers.append(key.clone(), value.clone());
            }
        }
        headers.extend(terms.into_iter().flat_map(|terms| terms.headers().iter().cloned()));
        self.trace.outgoing(&tracing::Span::none()).inject(&mut headers);
        headers
    }
}

/// Reads one answer and writes it for the client.
struct Reader {
    request: Arc<Request>,
    server: backend::Handle,
    audience: Audience,
    method: Option<Method>,
    tool: Option<Arc<Tool>>,
    exchange: Exchange,
    operation: Operation,
    sent_at: Instant,
    label: quorate_telemetry::Method,
    load: Load,
    time: Time,
}

/// What a call is held to, for as long as it goes on.
struct Time {
    clock: Clock,
    terms: Terms,
    held: Option<Held>,
}

// === impl Time ===

impl Time {
    /// Counts that the server took too long, and says so.
    fn late(&self) -> Fault {
        // Only where there is a timeout is anything late.
        self.terms.timeout.iter().for_each(|timeout| drop(timeout.late()));
        self.held.as_ref().and_then(Held::late).map_or(Fault::Internal, |(_, fault)| fault)
    }
}

// === impl Reader ===

impl Reader {
    fn json(mut self, status: StatusCode, frame: Frame) -> Result<Dispatched, Error> {
        match self.step(frame) {
            Ok(Some((frame, true))) => Ok(Dispatched::Json { status, body: frame.into_bytes() }),
            Ok(Some((_, false)) | None) => Err(self.broken("it answered with a notification")),
            Err(reason) => Err(self.broken(&reason)),
        }
    }

    fn events(self, frames: FrameStream) -> impl Stream<Item = sse::Event> + Send + 'static {
        stream::unfold(Some((self, frames)), |state| async move {
            let (mut reader, mut frames) = state?;
            let (bytes, last) = loop {
                break match reader.time.clock.wait(true, frames.next()).await {
                    Ok(Some(Ok(item))) => match reader.step(item.frame) {
                        Ok(Some((frame, last))) => (frame.into_bytes(), last),
                        Ok(None) => continue,
                        Err(reason) => (reader.fault(&reason), true),
                    },
                    Ok(Some(Err(error))) => {
                        reader.load.failed(&error);
                        let fault = fault_of(reader.server.name(), &error);
                        (reader.fault_frame(&fault), true)
                    }
                    Err(Late) => {
                        let fault = reader.time.late();
                        (reader.fault_frame(&fault), true)
                    }
                    Ok(None) => (reader.fault("its stream ended before the answer"), true),
                };
            };
            let event = sse::Event::new(bytes);
            Some((event, (!last).then_some((reader, frames))))
        })
    }

    /// Takes one frame; tells whether it was the last. Nothing of one that the client must not hear.
    fn step(&mut self, frame: Frame) -> Result<Option<(Frame, bool)>, String> {
        let kind = frame.kind();
        let own = frame.method().and_then(Method::parse);
        let (frame, last) = match self.exchange.step(frame).map_err(|violation| violation.to_string())? {
            Step::Forward(frame) | Step::Request(frame) => (frame, false),
            Step::Final(frame) => (frame, true),
        };
        if !last && self.withholds(own, &frame) {
            return Ok(None);
        }
        let frame = self.asked(frame)?;
        if last {
            self.ended(if kind == Kind::Error { Outcome::RpcError } else { Outcome::Ok });
        }
        let (method, tool) = (own.or(self.method), self.tool.as_ref());
        Ok(Some((rewrite(&self.request, self.audience, self.server.name(), method, tool, frame), last)))
    }

    /// Whether a notification is none of this call's: a server may tell everybody of anything. Of changes tell listens, and
    /// of a task only who began it is told.
    fn withholds(&self, method: Option<Method>, notification: &Frame) -> bool {
        match method {
            Some(Method::Progress | Method::Message) | None => false,
            Some(Method::Tasks) => {
                let tasks = codec::task_ids(notification, Method::Tasks, Era::Modern).unwrap_or_default();
                let owners = &self.request.snapshot().services.tasks;
                let (holder, gate) = (holder(&self.request), Gate::of(&self.request));
                let is_own = |id: &str| {
                    let task = owners.task(holder, self.server.name(), id);
                    task.is_some_and(|task| gate.may_follow(&self.request, &task))
                };
                tasks.is_empty() || !tasks.iter().all(|handle| is_own(&handle.text))
            }
            Some(_) => true,
        }
    }

    /// Lets what a frame asks of the client pass the stages.
    fn asked(&self, frame: Frame) -> Result<Frame, String> {
        let services = &self.request.snapshot().services;
        let principal = &*self.request.caller().principal;
        let asker = Asker { services, toolset: self.request.toolset(), principal, server: self.server.name() };
        asker.pass(frame).map_err(|error| format!("it asks what it may not: {error}"))
    }

    fn broken(&mut self, reason: &str) -> Error {
        let fault = Fault::BackendFailed { server: self.server.name().to_string(), reason: reason.to_owned() };
        self.ended(Outcome::Failed(fault.class()));
        rejected(Era::Modern, Some(self.exchange.client_id()), fault)
    }

    fn fault(&mut self, reason: &str) -> Bytes {
        let fault = Fault::BackendFailed { server: self.server.name().to_string(), reason: reason.to_owned() };
        self.fault_frame(&fault)
    }

    fn fault_frame(&mut self, fault: &Fault) -> Bytes {
        self.ended(Outcome::Failed(fault.class()));
        fault.to_frame(Era::Modern, Some(self.exchange.client_id()))
    }

    fn ended(&mut self, outcome: Outcome) {
        self.operation.end(outcome);
        self.server.metrics().operation(self.label, outcome, self.sent_at.elapsed());
    }
}

/// Rewrites what a stateless client may not see as the server wrote it.
pub(super) fn rewrite(
    request: &Request,
    audience: Audience,
    server: &ResourceName,
    method: Option<Method>,
    tool: Option<&Arc<Tool>>,
    frame: Frame,
) -> Frame {
    let toolset = request.toolset();
    let router = toolset.listing.last_router(view(request, audience));
    let outbound = Outbound {
        sealer: &request.snapshot().services.sealer,
        owners: &request.snapshot().services.tasks,
        holder: holder(request),
        tool,
        toolset,
        router: router.as_deref(),
        era: Era::Modern,
    };
    outbound.rewrite(server, method, frame)
}

/// Holds `Mcp-Param-*` headers against the arguments, as the tool's listed schema says.
///
/// A tool that was never listed here is left to its server, which has to check the same.
async fn check_params(request: &Request, call: &Call) -> Result<(), Fault> {
    let Asked::CallTool { name, arguments, .. } = &call.operation else { return Ok(()) };
    let view = view(request, behalf::audience(request.toolset(), call));
    let listing = &request.toolset().listing;
    let listed = match listing.last(view, ListKind::Tools) {
        Some(listed) => listed,
        // Whoever has listed nothing has no definition to send such headers by; what it sends is checked all the same.
        None if request.headers().keys().any(is_param) => {
            let behalf = behalf::Behalf::of(request, call);
            listing.merged(view, ListKind::Tools, &Fetcher::Modern(&behalf)).await
        }
        None => return Ok(()),
    };
    let Resolution::Found(entry) = listed.resolve(name) else { return Ok(()) };
    let definition = listed.definition(entry);
    if memchr::memmem::find(&definition, b"x-mcp-header").is_none() {
        return Ok(());
    }
    let definition = std::str::from_utf8(&definition).unwrap_or_default();
    let Ok([Some(schema)]) = pick(definition, 0, ["inputSchema"]) else { return Ok(()) };
    // Clients drop a tool whose annotations are invalid; a call of it is its server's to judge.
    let Ok(rules) = ParamRules::of(schema.of(definition)) else { return Ok(()) };
    let arguments = arguments.map(|span| call.raw(span));
    rules.check(request.headers(), arguments).map_err(|mismatch| Fault::HeaderMismatch { mismatch })
}

pub(super) fn mint() -> Id {
    Id::from(backend::own::mint())
}

fn is_param(name: &HeaderName) -> bool {
    name.as_str().starts_with(header::PARAM_PREFIX)
}
