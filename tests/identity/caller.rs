//! Callers that show who they are in each way there is: a token, an API key, a client certificate, several, or none.
//!
//! A caller sends single requests of the stateless revision, each on a connection of its own, and reads the whole answer.

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

/// One who calls.
#[derive(Clone, Default)]
pub(crate) struct Caller {
    headers: Vec<(&'static str, String)>,
    tls: Option<Arc<ClientConfig>>,
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

    /// Sends a request to the toolset at this path.
    pub(crate) fn request(&self, to: SocketAddr, path: &str, method: &str, params: Value) -> anyhow::Result<Answer> {
        let (headers, body) = modern_request(&json!(1), method, params);
        let mut request = Request::post(path).header("host", to.to_string());
        for (name, value) in headers.iter().map(|(name, value)| (*name, value)).chain(self.shown()) {
            request = request.header(name, value);
        }
        self.send(to, request.body(Full::new(Bytes::from(body.to_string())))?)
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
        self.send(to, request.body(Full::new(Bytes::new()))?)
    }

    fn shown(&self) -> impl Iterator<Item = (&'static str, &String)> {
        self.headers.iter().map(|(name, value)| (*name, value))
    }

    fn send(&self, to: SocketAddr, request: Request<Full<Bytes>>) -> anyhow::Result<Answer> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let exchange = async {
            let stream = TcpStream::connect(to).await?;
            let Some(tls) = &self.tls else {
                return exchange(stream, request).await;
            };
            let connector = TlsConnector::from(Arc::clone(tls));
            let stream = connector.connect(ServerName::try_from("localhost")?, stream).await?;
            exchange(stream, request).await
        };
        runtime.block_on(async { tokio::time::timeout(PATIENCE, exchange).await.context("no answer in time")? })
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> anyhow::Result<Answer> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driving = tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    driving.abort();
    let challenge = head.headers.get("www-authenticate").map(|value| value.to_str().map(str::to_owned)).transpose()?;
    let message = message(&head.headers, &body);
    Ok(Answer { status: head.status.as_u16(), challenge, message, headers: head.headers })
}

/// The JSON that a body is, or the last message of the event stream that it is.
fn message(headers: &HeaderMap, body: &[u8]) -> Value {
    let kind = headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let text = String::from_utf8_lossy(body);
    let json = if kind.starts_with("text/event-stream") {
        text.lines().filter_map(|line| line.strip_prefix("data:")).next_back().unwrap_or_default().trim()
    } else {
        text.trim()
    };
    serde_json::from_str(json).unwrap_or_default()
}

// === impl Answer ===

impl Answer {
    /// The text of a tool's result.
    pub(crate) fn text(&self) -> Option<&str> {
        self.message["result"]["content"][0]["text"].as_str()
    }
}
