//! Callers that show who they are in each way there is: a token, an API key, a client certificate, several, or none.
//!
//! A caller sends single requests, each on a connection of its own, and reads the whole answer, or of a stream without an end
//! the first message.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{HeaderMap, Request};
use hyper_util::rt::TokioIo;
use quorate_tests::raw::{PATIENCE, gateway::modern_request};
use rustls::{
    ClientConfig,
    pki_types::{CertificateDer, ServerName},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::certificates::Identity;

/// The header of API keys.
const API_KEY: &str = "x-api-key";

/// The revision of clients with sessions.
pub(crate) const LEGACY: &str = "2025-11-25";

/// One who calls.
#[derive(Clone, Default)]
pub(crate) struct Caller {
    headers: Vec<(&'static str, String)>,
    tls: Option<Arc<ClientConfig>>,
}

/// How much of an answer is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reads {
    /// All of it.
    Whole,
    /// The first message of a stream, and all of what is none.
    First,
}

/// The answer to a request.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The challenge of a refusal.
    pub(crate) challenge: Option<String>,
    /// The JSON-RPC message; null without one.
    pub(crate) message: Value,
    /// The headers.
    pub(crate) headers: HeaderMap,
}

// === impl Caller ===

impl Caller {
    /// One that nobody knows.
    pub(crate) fn stranger() -> Self {
        Self::default()
    }

    /// Shows a token, too.
    pub(crate) fn token(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    /// Shows an API key, too.
    pub(crate) fn key(self, key: &str) -> Self {
        self.header(API_KEY, key)
    }

    /// Sends a header, too.
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Speaks TLS, to a server of this authority, and shows a certificate where there is one.
    pub(crate) fn tls(mut self, authority: CertificateDer<'static>, own: Option<Identity>) -> anyhow::Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(authority)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = config.with_root_certificates(roots);
        let config = match own {
            Some(own) => config.with_client_auth_cert(vec![own.certificate], own.key)?,
            None => config.with_no_client_auth(),
        };
        self.tls = Some(Arc::new(config));
        Ok(self)
    }

    /// Sends a request of the stateless revision to the toolset at this path.
    pub(crate) fn request(&self, to: SocketAddr, path: &str, method: &str, params: Value) -> anyhow::Result<Answer> {
        let (headers, body) = modern_request(&json!(1), method, params);
        self.post(to, path, &headers, &body, Reads::Whole)
    }

    /// Sends a request whose answer is a stream that has no end, and leaves after its first message.
    pub(crate) fn listen(&self, to: SocketAddr, path: &str, method: &str, params: Value) -> anyhow::Result<Answer> {
        let (headers, body) = modern_request(&json!(1), method, params);
        self.post(to, path, &headers, &body, Reads::First)
    }

    /// Sends a message in this session, or one that opens a session.
    pub(crate) fn tell(
        &self,
        to: SocketAddr,
        path: &str,
        session: Option<&str>,
        message: &Value,
    ) -> anyhow::Result<Answer> {
        let mut headers = vec![
            ("content-type", "application/json".to_owned()),
            ("accept", "application/json, text/event-stream".to_owned()),
        ];
        headers.extend(session.map(|id| ("mcp-session-id", id.to_owned())));
        headers.extend(session.map(|_| ("mcp-protocol-version", LEGACY.to_owned())));
        self.post(to, path, &headers, message, Reads::Whole)
    }

    /// Calls a tool.
    pub(crate) fn call(&self, to: SocketAddr, path: &str, tool: &str, arguments: &Value) -> anyhow::Result<Answer> {
        self.request(to, path, "tools/call", json!({ "name": tool, "arguments": arguments }))
    }

    /// Fetches a page.
    pub(crate) fn get(&self, to: SocketAddr, path: &str) -> anyhow::Result<Answer> {
        let mut request = Request::get(path).header("host", to.to_string());
        for (name, value) in self.shown() {
            request = request.header(name, value);
        }
        self.send(to, request.body(Full::new(Bytes::new()))?, Reads::Whole)
    }

    fn post(
        &self,
        to: SocketAddr,
        path: &str,
        headers: &[(&'static str, String)],
        body: &Value,
        reads: Reads,
    ) -> anyhow::Result<Answer> {
        let mut request = Request::post(path).header("host", to.to_string());
        for (name, value) in headers.iter().map(|(name, value)| (*name, value)).chain(self.shown()) {
            request = request.header(name, value);
        }
        self.send(to, request.body(Full::new(Bytes::from(body.to_string())))?, reads)
    }

    fn shown(&self) -> impl Iterator<Item = (&'static str, &String)> {
        self.headers.iter().map(|(name, value)| (*name, value))
    }

    fn send(&self, to: SocketAddr, request: Request<Full<Bytes>>, reads: Reads) -> anyhow::Result<Answer> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let exchange = async {
            let stream = TcpStream::connect(to).await?;
            let Some(tls) = &self.tls else {
                return exchange(stream, request, reads).await;
            };
            let connector = TlsConnector::from(Arc::clone(tls));
            let stream = connector.connect(ServerName::try_from("localhost")?, stream).await?;
            exchange(stream, request, reads).await
        };
        runtime.block_on(async { tokio::time::timeout(PATIENCE, exchange).await.context("no answer in time")? })
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
    reads: Reads,
) -> anyhow::Result<Answer> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driving = tokio::spawn(connection);
    let (head, mut body) = sender.send_request(request).await?.into_parts();
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        read.extend(frame?.into_data().unwrap_or_default());
        if reads == Reads::First && has_message(&head.headers, &read) {
            break;
        }
    }
    driving.abort();
    let challenge = head.headers.get("www-authenticate").map(|value| value.to_str().map(str::to_owned)).transpose()?;
    let message = message(&head.headers, &read);
    Ok(Answer { status: head.status.as_u16(), challenge, message, headers: head.headers })
}

/// The JSON that a body is, or the last message of the event stream that it is.
fn message(headers: &HeaderMap, body: &[u8]) -> Value {
    let text = String::from_utf8_lossy(body);
    let json = if is_stream(headers) { messages(&text).next_back().unwrap_or_default() } else { text.trim() };
    serde_json::from_str(json).unwrap_or_default()
}

/// Whether a stream has had a message; what is no stream is none before it is whole.
fn has_message(headers: &HeaderMap, body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body);
    let events = text.rsplit_once("\n\n").map_or("", |(whole, _)| whole);
    is_stream(headers) && messages(events).next().is_some()
}

/// The messages of an event stream: a priming event has none.
fn messages(text: &str) -> impl DoubleEndedIterator<Item = &str> {
    text.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim).filter(|data| !data.is_empty())
}

fn is_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.starts_with("text/event-stream")
}

// === impl Answer ===

impl Answer {
    /// The value of a header that is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The text of a tool's result.
    pub(crate) fn text(&self) -> Option<&str> {
        self.message["result"]["content"][0]["text"].as_str()
    }
}
