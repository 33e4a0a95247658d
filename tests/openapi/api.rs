//! The API under test: an HTTP server that says what it was asked, and a few answers that are out of the ordinary.
//!
//! It records every request, so that a test can say what was sent and that nothing else was. Dropping it closes its
//! port.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// Bytes of the largest answer: more than the gateway is told to take.
const LARGE_BYTES: usize = 3 << 20;

/// A running API.
pub(crate) struct Api {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Its threads end with it.
    _runtime: Runtime,
}

/// A request as it arrived.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    /// `METHOD URI`.
    pub(crate) line: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

// === impl Api ===

impl Api {
    /// Starts an API on a free port.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let router = Router::new().route("/special/{what}", any(special)).fallback(echo).with_state(Arc::clone(&seen));
        runtime.spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, seen, _runtime: runtime })
    }

    /// What was asked so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The only request so far.
    pub(crate) fn only(&self) -> anyhow::Result<Seen> {
        let seen = self.seen();
        anyhow::ensure!(seen.len() == 1, "{} requests: {seen:?}", seen.len());
        seen.into_iter().next().context("there is one")
    }
}

// === impl Seen ===

impl Seen {
    /// The value of a header, or nothing.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

type Log = State<Arc<Mutex<Vec<Seen>>>>;

fn record(log: &Log, method: &Method, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Seen {
    let body = String::from_utf8_lossy(body).into_owned();
    let seen = Seen { line: format!("{method} {uri}"), headers: headers.clone(), body };
    log.lock().unwrap_or_else(PoisonError::into_inner).push(seen.clone());
    seen
}

/// Answers with what it was asked.
async fn echo(log: Log, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let seen = record(&log, &method, &uri, &headers, &body);
    let body: Value = serde_json::from_str(&seen.body).unwrap_or(Value::String(seen.body));
    let answer = json!({ "line": seen.line, "body": body });
    as_json(answer).into_response()
}

fn as_json(value: Value) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string())
}

/// Answers that are out of the ordinary, by the last part of the path.
async fn special(log: Log, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    record(&log, &method, &uri, &headers, &body);
    let typed = |media: &'static str, body: &'static [u8]| ([(header::CONTENT_TYPE, media)], body).into_response();
    match uri.path().rsplit('/').next().unwrap_or_default() {
        "text" => typed("text/plain", b"plain text"),
        "image" => typed("image/png", b"\x89PNG"),
        "file" => typed("application/zip", b"PK"),
        "empty" => StatusCode::NO_CONTENT.into_response(),
        "list" => ([(header::LINK, "</special/list?page=2>; rel=\"next\"")], as_json(json!([1, 2]))).into_response(),
        "broken-promise" => as_json(json!({ "id": "seven", "name": "n" })).into_response(),
        "missing" => (StatusCode::NOT_FOUND, as_json(json!({ "error": "no such thing" }))).into_response(),
        "redirect" => (StatusCode::FOUND, [(header::LOCATION, "/elsewhere")]).into_response(),
        "large" => as_json(json!({ "text": "x".repeat(LARGE_BYTES) })).into_response(),
        "never" => std::future::pending().await,
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
