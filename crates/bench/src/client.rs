//! One HTTP/1.1 connection that is kept, for the load and for the checks around it.
//!
//! A request at a time, each with a time limit. A connection that ends early is an error: a bench
//! that reconnects silently measures something else. Only loopback is spoken to.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::message;

/// How long one answer may take: far beyond what is measured, so that only a hang meets it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer that is read: 1 MiB, fifty times the largest that is expected.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Where requests go.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    address: SocketAddr,
    path: Uri,
    /// `Authorization`, where the URL names a token.
    authorization: Option<HeaderValue>,
}

/// A connection.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: HeaderValue,
    path: Uri,
    authorization: Option<HeaderValue>,
}

/// An answer with its whole body.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// When the first bytes of its body were there; without any, when it ended.
    pub(crate) began_at: Instant,
}

// === impl Target ===

impl Target {
    /// Takes a URL with a numeric loopback address, and a bearer token before it for every request:
    /// `http://TOKEN@127.0.0.1:1/mcp`.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("{url:?} is not a URL"))?;
        let authority = uri.authority().with_context(|| format!("{url:?} names no host"))?;
        let (token, address) = match authority.as_str().rsplit_once('@') {
            Some((token, address)) => (Some(token), address),
            None => (None, authority.as_str()),
        };
        let authorization = token.map(|token| HeaderValue::from_str(&format!("Bearer {token}"))).transpose()?;
        let address: SocketAddr =
            address.parse().with_context(|| format!("{url:?} must name an address and a port"))?;
        ensure!(uri.scheme_str() == Some("http") && address.ip().is_loopback(), "{url:?} is not http on loopback");
        Ok(Self { address, path: uri.path().parse().context("the path of the URL")?, authorization })
    }
}

// === impl Answer ===

#[cfg(test)]
impl Answer {
    /// One that is there now.
    pub(crate) fn new(status: StatusCode, headers: HeaderMap, body: Bytes) -> Self {
        Self { status, headers, body, began_at: Instant::now() }
    }
}

// === impl Connection ===

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens.
    pub(crate) async fn open(target: &Target) -> Result<Self> {
        let stream = TcpStream::connect(target.address).await.with_context(|| format!("connect {}", target.address))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // What goes wrong on it reaches the requests as their error.
        tokio::spawn(connection);
        let host = HeaderValue::from_str(&target.address.to_string())?;
        Ok(Self { sender, host, path: target.path.clone(), authorization: target.authorization.clone() })
    }

    /// Posts a message and waits for the whole answer.
    ///
    /// # Errors
    /// When the connection broke, or the answer is too late or too large.
    pub(crate) async fn post(&mut self, headers: &HeaderMap, body: Bytes) -> Result<Answer> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.path.clone();
        *request.headers_mut() = headers.clone();
        self.send(request).await
    }

    /// Gets a page.
    ///
    /// # Errors
    /// As [`Self::post`].
    pub(crate) async fn get(&mut self) -> Result<Answer> {
        let mut request = Request::new(Full::default());
        *request.uri_mut() = self.path.clone();
        self.send(request).await
    }

    /// Ends the session that these headers name.
    ///
    /// # Errors
    /// When the server knows no such session.
    pub(crate) async fn delete(&mut self, headers: &HeaderMap) -> Result<()> {
        let mut request = Request::new(Full::default());
        *request.method_mut() = Method::DELETE;
        *request.uri_mut() = self.path.clone();
        *request.headers_mut() = headers.clone();
        let answer = self.send(request).await?;
        ensure!(answer.status.is_success(), "DELETE: {}", answer.status);
        Ok(())
    }

    /// Opens a legacy session; returns its id.
    ///
    /// # Errors
    /// When the server does not give one.
    pub(crate) async fn initialize(&mut self) -> Result<HeaderValue> {
        let answer = self.post(&message::legacy(None), message::initialize()).await?;
        message::result("0", &answer).context("initialize")?;
        let session = answer.headers.get(message::SESSION).context("initialize gave no session")?.clone();
        let answer = self.post(&message::legacy(Some(&session)), message::initialized()).await?;
        ensure!(answer.status == StatusCode::ACCEPTED, "notifications/initialized: {}", answer.status);
        Ok(session)
    }

    /// Sends a request whose answer is read as it comes.
    ///
    /// # Errors
    /// When the connection broke, or the answer does not begin in time.
    pub(crate) async fn begin(
        &mut self,
        method: Method,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = self.path.clone();
        *request.headers_mut() = headers.clone();
        self.address(&mut request);
        let exchange = async {
            self.sender.ready().await?;
            anyhow::Ok(self.sender.send_request(request).await?)
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, exchange).await {
            Ok(answer) => answer,
            Err(_) => anyhow::bail!("no answer within {ANSWER_TIMEOUT:?}"),
        }
    }

    fn address(&self, request: &mut Request<Full<Bytes>>) {
        request.headers_mut().insert(HOST, self.host.clone());
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
    }

    async fn send(&mut self, mut request: Request<Full<Bytes>>) -> Result<Answer> {
        self.address(&mut request);
        let exchange = async {
            self.sender.ready().await?;
            let (head, body) = self.sender.send_request(request).await?.into_parts();
            let mut body = Limited::new(body, ANSWER_BYTES_MAX);
            let (mut bytes, mut began_at) = (BytesMut::new(), None);
            while let Some(frame) = body.frame().await {
                began_at.get_or_insert_with(Instant::now);
                if let Ok(data) = frame.map_err(|error| anyhow::anyhow!(error))?.into_data() {
                    bytes.extend_from_slice(&data);
                }
            }
            let began_at = began_at.unwrap_or_else(Instant::now);
            Ok(Answer { status: head.status, headers: head.headers, body: bytes.freeze(), began_at })
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, exchange).await {
            Ok(answer) => answer,
            Err(_) => anyhow::bail!("no answer within {ANSWER_TIMEOUT:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_a_target() {
        assert!(Target::parse("http://127.0.0.1:4290/mcp").is_ok());
        assert!(Target::parse("http://[::1]:4290/mcp").is_ok());
        let known = Target::parse("http://qk_a@127.0.0.1:4290/mcp").expect("a target");
        assert_eq!(known.authorization.as_ref().map(HeaderValue::as_bytes), Some(&b"Bearer qk_a"[..]));
        for url in ["http://192.0.2.1:80/mcp", "https://127.0.0.1:1/mcp", "http://localhost:1/mcp", "127.0.0.1:1", ""] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }
}
