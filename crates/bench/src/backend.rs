//! The tool server behind the gateway: it reads a request, and the rest is prepared bytes.
//!
//! Speaks both eras at `/mcp`, and as an HTTP API beside it ([`api`]), each as strictly as the measure needs: a modern request must carry
//! its headers and a legacy one its session, so that a gateway which loses them fails the bench
//! instead of looking fast. What an answer costs here is the "direct" column of the table: an HTTP
//! exchange on this machine with nothing behind it.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context as Task, Poll};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::{BufMut, Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::api;
use crate::message::{self, LEGACY, METHOD, MODERN, NAME, SESSION, VERSION};

/// Connections at the same time: more than any gateway's pool.
const CONNECTIONS_MAX: usize = 4096;
/// Largest request that is read: 64 KiB.
const REQUEST_BYTES_MAX: usize = 64 << 10;

/// How to serve.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The port on 127.0.0.1; 0 takes a free one. The URL is the first line on the standard output.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Knows sessions only, and refuses the modern era as servers do that never heard of it.
    #[arg(long)]
    legacy: bool,
    /// Seconds after which it ends in any case.
    #[arg(long, default_value_t = 3600)]
    seconds_max: u64,
}

/// The server over HTTP.
struct Backend {
    answers: Answers,
    api: Bytes,
    sessions: AtomicU64,
    questions: AtomicU64,
}

/// The answers, less what is each request's own.
pub(crate) struct Answers {
    /// It refuses the modern era.
    legacy_only: bool,
    modern: Results,
    legacy: Results,
    discover: Bytes,
    initialize: Bytes,
}

/// A body: some bytes, and then its end, or silence until the client leaves.
struct Body {
    bytes: Option<Bytes>,
    held: bool,
}

/// What the tools of one era answer.
struct Results {
    call: Bytes,
    list: Bytes,
}

/// The members of a request that are looked at.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: std::borrow::Cow<'a, str>,
}

// === impl Answers ===

impl Answers {
    pub(crate) fn new(legacy_only: bool) -> Self {
        let results = |is_modern| Results {
            call: message::call_result(is_modern).into(),
            list: message::list_result(is_modern).into(),
        };
        let discover = format!(
            "\"resultType\":\"complete\",\"ttlMs\":60000,\"cacheScope\":\"public\",\"supportedVersions\":[\"{MODERN}\"],\
             \"capabilities\":{{\"tools\":{{}}}}"
        );
        let initialize = format!(
            "\"protocolVersion\":\"{LEGACY}\",\"capabilities\":{{\"tools\":{{}}}},\
             \"serverInfo\":{{\"name\":\"bench\",\"version\":\"1\"}}"
        );
        Self {
            legacy_only,
            modern: results(true),
            legacy: results(false),
            discover: discover.into(),
            initialize: initialize.into(),
        }
    }

    /// The members of the result for a request whose own text alone says what it is.
    pub(crate) fn of(&self, method: &str, request: &[u8]) -> Option<&[u8]> {
        let is_modern = !self.legacy_only && memchr::memmem::find(request, MODERN.as_bytes()).is_some();
        let results = if is_modern { &self.modern } else { &self.legacy };
        match method {
            "tools/call" => Some(&results.call),
            "tools/list" => Some(&results.list),
            "server/discover" if !self.legacy_only => Some(&self.discover),
            "initialize" => Some(&self.initialize),
            "ping" => Some(b""),
            _ => None,
        }
    }
}

// === impl Backend ===

impl Backend {
    fn new(legacy_only: bool) -> Self {
        Self {
            answers: Answers::new(legacy_only),
            api: api::answer(),
            sessions: AtomicU64::new(1),
            questions: AtomicU64::new(1),
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        match head.method {
            Method::POST => {}
            Method::DELETE => return status(StatusCode::OK),
            _ => return status(StatusCode::METHOD_NOT_ALLOWED),
        }
        let Ok(body) = Limited::new(body, REQUEST_BYTES_MAX).collect().await else {
            return status(StatusCode::BAD_REQUEST);
        };
        let body = body.to_bytes();
        if head.uri.path().starts_with(api::PREFIX) {
            return match api::judge(&head, &body) {
                StatusCode::OK => json(StatusCode::OK, &[&self.api]),
                refused => status(refused),
            };
        }
        let Ok(message) = serde_json::from_slice::<Message<'_>>(&body) else {
            return status(StatusCode::BAD_REQUEST);
        };
        let Some(id) = message.id.map(RawValue::get) else {
            return status(StatusCode::ACCEPTED);
        };
        match &*message.method {
            "initialize" => self.initialize(id),
            _ if self.answers.legacy_only && is(&head.headers, &VERSION, MODERN) => {
                error(StatusCode::BAD_REQUEST, "null", -32000, "Bad Request: Unsupported protocol version")
            }
            "tools/call" if self.answers.legacy_only && names(&body, message::ASKING_TOOL) => {
                asking(self.questions.fetch_add(1, Ordering::Relaxed))
            }
            _ if is(&head.headers, &VERSION, MODERN) => self.modern(&head.headers, id, &message.method),
            _ => self.legacy(&head.headers, id, &message.method),
        }
    }

    fn initialize(&self, id: &str) -> Response<Body> {
        let session = format!("bench-{}", self.sessions.fetch_add(1, Ordering::Relaxed));
        let mut response = result(id, &self.answers.initialize);
        let session = HeaderValue::try_from(session).expect("digits and letters are a header value");
        response.headers_mut().insert(SESSION, session);
        response
    }

    fn modern(&self, headers: &HeaderMap, id: &str, method: &str) -> Response<Body> {
        if !is(headers, &METHOD, method) {
            return error(StatusCode::BAD_REQUEST, id, -32020, "Mcp-Method and the body differ");
        }
        match method {
            "tools/call" if headers.contains_key(NAME) => result(id, &self.answers.modern.call),
            "tools/call" => error(StatusCode::BAD_REQUEST, id, -32020, "Mcp-Name is missing"),
            "tools/list" => result(id, &self.answers.modern.list),
            "server/discover" => result(id, &self.answers.discover),
            _ => error(StatusCode::NOT_FOUND, id, -32601, "no such method"),
        }
    }

    fn legacy(&self, headers: &HeaderMap, id: &str, method: &str) -> Response<Body> {
        if !headers.contains_key(SESSION) {
            return error(StatusCode::BAD_REQUEST, id, -32600, "a session is required");
        }
        match method {
            "tools/call" => result(id, &self.answers.legacy.call),
            "tools/list" => result(id, &self.answers.legacy.list),
            "ping" => result(id, b""),
            _ => error(StatusCode::OK, id, -32601, "no such method"),
        }
    }
}

// === impl Body ===

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _cx: &mut Task<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.bytes.take() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            // The connection notices itself when its client leaves.
            None if self.held => Poll::Pending,
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none() && !self.held
    }

    fn size_hint(&self) -> SizeHint {
        match self.held {
            true => SizeHint::default(),
            false => SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
        }
    }
}

/// Runs the process.
///
/// # Errors
/// When the port is taken.
pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.port)).await.context("listen")?;
    crate::load::say(&format!("http://{}/mcp", listener.local_addr()?))?;
    tokio::select! {
        served = serve(listener, Backend::new(args.legacy)) => served?,
        ended = stdin_ended() => ended?,
        () = tokio::time::sleep(Duration::from_secs(args.seconds_max)) => {}
    }
    Ok(ExitCode::SUCCESS)
}

async fn serve(listener: TcpListener, backend: Backend) -> Result<()> {
    let backend = Arc::new(backend);
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let permit = Arc::clone(&connections).acquire_owned().await?;
        let (stream, _) = listener.accept().await.context("accept")?;
        stream.set_nodelay(true)?;
        let backend = Arc::clone(&backend);
        tokio::spawn(async move {
            converse(stream, backend).await;
            drop(permit);
        });
    }
}

async fn converse(stream: TcpStream, backend: Arc<Backend>) {
    let service = service_fn(move |request| {
        let backend = Arc::clone(&backend);
        async move { Ok::<_, Infallible>(backend.answer(request).await) }
    });
    // A connection that breaks is the client's to report.
    let _broken = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
}

/// Waits until whoever started this process is gone.
async fn stdin_ended() -> Result<()> {
    let mut stdin = tokio::io::stdin();
    let mut bytes = [0; 64];
    while stdin.read(&mut bytes).await? > 0 {}
    Ok(())
}

fn is(headers: &HeaderMap, name: &http::HeaderName, value: &str) -> bool {
    headers.get(name).is_some_and(|found| found.as_bytes() == value.as_bytes())
}

fn names(body: &[u8], tool: &str) -> bool {
    memchr::memmem::find(body, format!("\"name\":\"{tool}\"").as_bytes()).is_some()
}

/// Asks the client something, and waits for its answer for as long as it likes.
fn asking(id: u64) -> Response<Body> {
    let mut response = Response::new(Body { bytes: Some(message::question(id)), held: true });
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}

fn result(id: &str, members: &[u8]) -> Response<Body> {
    json(StatusCode::OK, &[b"{\"jsonrpc\":\"2.0\",\"id\":", id.as_bytes(), b",\"result\":{", members, b"}}"])
}

fn error(status: StatusCode, id: &str, code: i32, message: &str) -> Response<Body> {
    let error = format!("\"code\":{code},\"message\":\"{message}\"");
    json(status, &[b"{\"jsonrpc\":\"2.0\",\"id\":", id.as_bytes(), b",\"error\":{", error.as_bytes(), b"}}"])
}

fn json(status: StatusCode, parts: &[&[u8]]) -> Response<Body> {
    let mut body = BytesMut::with_capacity(parts.iter().map(|part| part.len()).sum());
    for part in parts {
        body.put_slice(part);
    }
    let mut response = Response::new(Body { bytes: Some(body.freeze()), held: false });
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, message::JSON);
    response
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body { bytes: None, held: false });
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Connection, Target};
    use crate::message::Measure;

    async fn connect() -> Connection {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let target = Target::parse(&format!("http://{}/mcp", listener.local_addr().unwrap())).unwrap();
        tokio::spawn(serve(listener, Backend::new(false)));
        Connection::open(&target).await.unwrap()
    }

    #[tokio::test]
    async fn every_measure_gets_its_answer() {
        let mut connection = connect().await;
        let session = connection.initialize().await.unwrap();

        for measure in [Measure::ModernCall, Measure::LegacyCall, Measure::ToolsList] {
            let (id, body) = measure.request(41);
            let answer = connection.post(&measure.headers(Some(&session)), body).await.unwrap();

            measure.check_whole(&id, &answer).unwrap();
        }
    }

    #[tokio::test]
    async fn a_request_that_lost_its_headers_is_refused() {
        let mut connection = connect().await;
        for (measure, header) in
            [(Measure::ModernCall, METHOD), (Measure::ModernCall, NAME), (Measure::LegacyCall, SESSION)]
        {
            let mut headers = measure.headers(Some(&HeaderValue::from_static("s")));
            headers.remove(header);

            let answer = connection.post(&headers, measure.request(1).1).await.unwrap();

            assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        }
    }

    #[tokio::test]
    async fn there_is_no_stream_to_get() {
        let answer = connect().await.get().await.unwrap();

        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    }
}
