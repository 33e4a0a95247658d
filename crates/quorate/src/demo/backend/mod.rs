//! The tool server of `quorate demo`: a process of its own with sessions, and streams that can be resumed.
//!
//! It has one tool, `work`, which takes a number of steps and reports each of them. What it did is in its [`journal`], so that
//! nothing of what the demo shows is taken from the gateway's word: a call that was sent twice is there twice.
//!
//! It speaks the revisions with sessions only, as most tool servers do; a stateless request is refused. Notifications are
//! taken and change nothing: the longest call ends by itself.

pub(crate) mod journal;
mod sessions;
mod work;

use std::sync::Arc;

use ::http::header::HeaderValue;
use ::http::{HeaderMap, Method, Request, Response, StatusCode};
use quorate_http::{RequestBody, ResponseBody};
use quorate_jsonrpc::build;
use quorate_mcp::capabilities::Capabilities;
use quorate_mcp::dialect::legacy::{Implementation, initialize_result};
use quorate_mcp::header::{LAST_EVENT_ID, SESSION_ID};
use quorate_mcp::{Classified, Era, Fault, ListKind, Operation, Rejected, Version};
use tokio_util::sync::CancellationToken;

use self::journal::Journal;
use self::sessions::Sessions;
pub(super) use self::work::NAME;
use self::work::Work;
use crate::cli::DemoBackendArgs;
use crate::demo_server;
use crate::demo_server::http::{PATH, events, is_local, json, plain, status};
use crate::exit::{Exit, Failure};
use crate::run::shown;

const SELF: Implementation<'static> = Implementation { name: "quorate-demo", version: env!("CARGO_PKG_VERSION") };

/// The server, shared by its requests.
#[derive(Debug)]
struct Backend {
    sessions: Sessions,
    journal: Journal,
}

/// Runs the server until the process is ended.
///
/// # Errors
/// [`Failure`] when the address cannot be listened on, or the journal is there already.
pub(crate) async fn run(args: DemoBackendArgs) -> Result<(), Failure> {
    let journal = Journal::create(&args.journal)
        .map_err(|error| Failure::new(Exit::Failure, format!("cannot make {}: {error}", shown(&args.journal))))?;
    let backend = Arc::new(Backend { sessions: Sessions::default(), journal });
    let handle = move |request| Arc::clone(&backend).handle(request);
    demo_server::serve(args.listen, CancellationToken::new(), handle)?;
    std::future::pending().await
}

// === impl Backend ===

impl Backend {
    async fn handle(self: Arc<Self>, request: Request<RequestBody>) -> Response<ResponseBody> {
        if !is_local(request.headers()) {
            return plain(StatusCode::FORBIDDEN, "only local clients are served");
        }
        if request.uri().path() != PATH {
            return plain(StatusCode::NOT_FOUND, "MCP is served at /mcp");
        }
        match *request.method() {
            Method::POST => match demo_server::http::read(request).await {
                Ok((headers, classified)) => self.post(&headers, classified),
                Err(refused) => refused,
            },
            Method::GET => self.resume(request.headers()),
            Method::DELETE => match session(request.headers()) {
                Some(id) if self.sessions.end(id) => status(StatusCode::NO_CONTENT),
                _ => unknown_session(),
            },
            _ => plain(StatusCode::METHOD_NOT_ALLOWED, "POST, GET and DELETE are served"),
        }
    }

    fn post(&self, headers: &HeaderMap, classified: Classified) -> Response<ResponseBody> {
        if classified.era == Era::Modern {
            return plain(StatusCode::BAD_REQUEST, "this server has sessions: initialize first");
        }
        let version = classified.version;
        let call = match classified.in_session(version) {
            Ok(call) => call,
            Err(rejected) => return json(rejected.status(), rejected.body()),
        };
        let is_initialize = matches!(call.operation, Operation::Initialize { .. });
        let session = session(headers).filter(|id| self.sessions.has(id));
        let (Some(id), Some(session)) = (call.id().cloned(), session.or(is_initialize.then_some(""))) else {
            return if session.is_some() { status(StatusCode::ACCEPTED) } else { unknown_session() };
        };
        let answered = match &call.operation {
            Operation::Initialize { .. } => return self.open(&id, version),
            Operation::Ping => Ok("{}".to_owned()),
            Operation::List { kind: ListKind::Tools, .. } => Ok(format!("{{\"tools\":[{}]}}", work::definition())),
            Operation::CallTool { name, arguments, .. } if *name == NAME => {
                let arguments = arguments.map_or("{}", |span| call.raw(span));
                let token = call.progress_token.as_ref().map(|(token, _)| token.clone());
                match Work::new(arguments, id.clone(), token) {
                    Ok(work) => {
                        let Some((log, stream)) = self.sessions.begin(session) else { return unknown_session() };
                        tokio::spawn(work.run(self.journal.clone(), log));
                        return events(stream);
                    }
                    Err(wrong) => Ok(work::error(&wrong)),
                }
            }
            Operation::CallTool { name, .. } => Err(Fault::UnknownTool { name: name.to_string() }),
            _ => Err(Fault::MethodNotFound { method: call.frame.method().unwrap_or_default().to_owned() }),
        };
        match answered {
            Ok(result) => json(StatusCode::OK, build::result(&id, &result)),
            Err(fault) => {
                let rejected = Rejected { era: Era::Legacy, id: Some(id), fault };
                json(rejected.status(), rejected.body())
            }
        }
    }

    /// Opens a session.
    fn open(&self, id: &quorate_jsonrpc::Id, version: Version) -> Response<ResponseBody> {
        let Some(session) = self.sessions.open() else {
            return plain(StatusCode::SERVICE_UNAVAILABLE, "there are too many sessions");
        };
        let mut capabilities = Capabilities::new();
        capabilities.add(r#"{"tools":{}}"#).expect("the text is an object");
        let mut response =
            json(StatusCode::OK, build::result(id, &initialize_result(version, &capabilities, SELF, None)));
        let session = HeaderValue::from_str(&session).expect("hexadecimal digits are a header's value");
        response.headers_mut().insert(SESSION_ID, session);
        response
    }

    /// Goes on with a stream after the event that the client has.
    fn resume(&self, headers: &HeaderMap) -> Response<ResponseBody> {
        let Some(session) = session(headers).filter(|id| self.sessions.has(id)) else { return unknown_session() };
        let Some(last) = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()) else {
            return plain(StatusCode::METHOD_NOT_ALLOWED, "this server sends nothing outside of calls");
        };
        match self.sessions.resume(session, last) {
            Some(stream) => events(stream),
            None => plain(StatusCode::BAD_REQUEST, "there is no such event"),
        }
    }
}

fn session(headers: &HeaderMap) -> Option<&str> {
    headers.get(SESSION_ID).and_then(|id| id.to_str().ok())
}

fn unknown_session() -> Response<ResponseBody> {
    plain(StatusCode::NOT_FOUND, "there is no such session")
}
