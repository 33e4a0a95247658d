//! Sends requests upstream over one pool of connections.
//!
//! HTTP/1.1, HTTP/2 by ALPN on `https`, or HTTP/2 with prior knowledge; requests that wait long go over connections
//! of another kind (the module `slim`). In flows a request with a
//! whole body, out flows the head of its answer and a body that is pulled. Every wait has a
//! limit, and an [`Error`] tells whether the request may have reached the other side
//! ([`Error::never_sent`]).
//!
//! Deliberately absent: redirects are not followed (a backend cannot send us elsewhere), proxies
//! of the environment are not used, and nothing is retried except a request that a pooled
//! connection did not take because it was closing.

mod body;
mod connect;
mod error;
mod slim;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::uri::Scheme;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use quorate_tls::ClientTls;

pub use self::body::{Body, Broken};
use self::connect::Connector;
pub use self::error::Error;
use self::error::HeadTooLarge;

/// A client with its pool; cheap to clone, and clones share the pool.
#[derive(Clone)]
pub struct Client {
    inner: legacy::Client<Connector, Full<Bytes>>,
    slim: Option<slim::Client>,
    head_timeout: Duration,
    header_bytes_max: usize,
}

/// Limits and protocol of a [`Client`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What is spoken. Default [`Protocol::Negotiated`].
    pub protocol: Protocol,
    /// Time for name lookup, TCP and TLS together. Default 5 s: a connection that takes longer is
    /// better tried on another replica.
    pub connect_timeout: Duration,
    /// Time from sending a request to the head of its answer, for [`Client::send`]. Default 60 s:
    /// what MCP clients wait for an answer.
    pub head_timeout: Duration,
    /// Time that an unused connection is kept. Default 4 s: the common servers of MCP backends
    /// (Node, Uvicorn) close theirs after 5 s, and a request sent into a closing connection has
    /// an unknown outcome, so we close first.
    pub idle_timeout: Duration,
    /// Unused HTTP/1.1 connections kept per host. Default 256: the concurrency of a busy backend;
    /// each costs about 10 KB.
    pub idle_per_host_max: usize,
    /// Bytes of the header fields of an answer. Default 64 KiB: twice what servers usually allow
    /// themselves; at least 8 KiB.
    pub header_bytes_max: u32,
    /// Header fields of an answer. Default 100: hyper's own bound, which parses without an
    /// allocation.
    pub headers_max: usize,
}

/// What a [`Client`] speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/2 where TLS negotiates it, else HTTP/1.1.
    #[default]
    Negotiated,
    /// HTTP/2 always, also without TLS: the server is known to speak it (RFC 9113 §3.3).
    Http2PriorKnowledge,
}

/// The defaults; reasons are at the fields.
pub const DEFAULTS: Config = Config {
    protocol: Protocol::Negotiated,
    connect_timeout: Duration::from_secs(5),
    head_timeout: Duration::from_secs(60),
    idle_timeout: Duration::from_secs(4),
    idle_per_host_max: 256,
    header_bytes_max: 64 << 10,
    headers_max: HEADERS_ON_STACK,
};

/// The smallest buffer that hyper reads heads with.
const HEADER_BYTES_MIN: u32 = 8 << 10;
/// Header fields that hyper parses on the stack when it is not told a number.
const HEADERS_ON_STACK: usize = 100;
/// Window of one HTTP/2 stream: what a stalled reader of an answer may hold.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
/// Window of an HTTP/2 connection: 64 stalled readers do not hold up the others.
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// How often a busy HTTP/2 connection is probed by a ping, and how long the answer may take, so
/// that a dead backend ends the streams on it.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

// === impl Client ===

impl Client {
    /// Makes a client. The configuration is taken as valid; `header_bytes_max` below 8 KiB has
    /// the effect of 8 KiB, which is the smallest buffer there is.
    #[must_use]
    pub fn new(config: &Config, tls: ClientTls) -> Self {
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        let header_bytes_max = config.header_bytes_max.max(HEADER_BYTES_MIN);
        let buffer_bytes = usize::try_from(header_bytes_max).unwrap_or(usize::MAX);
        builder
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(config.idle_timeout)
            .pool_max_idle_per_host(config.idle_per_host_max)
            .retry_canceled_requests(true)
            .http1_max_buf_size(buffer_bytes)
            .http2_max_header_list_size(header_bytes_max)
            .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
            .http2_initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_keep_alive_interval(PING_INTERVAL)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            .http2_only(config.protocol == Protocol::Http2PriorKnowledge);
        if config.headers_max != HEADERS_ON_STACK {
            builder.http1_max_headers(config.headers_max);
        }
        let connector = Connector::new(tls, config.connect_timeout);
        let slim = (config.protocol == Protocol::Negotiated)
            .then(|| slim::Client::new(connector.clone(), config, buffer_bytes));
        let inner = builder.build(connector);
        Self { inner, slim, head_timeout: config.head_timeout, header_bytes_max: buffer_bytes }
    }

    /// Sends a request to the absolute URI it names and waits for the head of the answer, within
    /// the configured time. Dropping the future or the body gives the request up: HTTP/2 resets
    /// its stream, HTTP/1.1 closes its connection.
    ///
    /// # Errors
    /// [`Error`]; its [`Error::never_sent`] tells whether trying elsewhere is safe.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Body>, Error> {
        self.send_within(request, self.head_timeout).await
    }

    /// As [`Self::send`], with another time for the head of the answer.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn send_within(
        &self,
        request: Request<Full<Bytes>>,
        head_timeout: Duration,
    ) -> Result<Response<Body>, Error> {
        let response = match tokio::time::timeout(head_timeout, self.inner.request(request)).await {
            Ok(result) => result?.map(Body::of_pool),
            Err(_elapsed) => return Err(Error::Timeout { timeout: head_timeout }),
        };
        self.check_head(response)
    }

    /// As [`Self::send_within`], for a request whose answer may be a stream that is silent for long: where it can, the
    /// connection holds no buffers meanwhile (over plain HTTP/1.1; it is not among those of the pool).
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn send_patiently(
        &self,
        request: Request<Full<Bytes>>,
        head_timeout: Duration,
    ) -> Result<Response<Body>, Error> {
        let is_plain = request.uri().scheme() == Some(&Scheme::HTTP);
        let Some(slim) = self.slim.as_ref().filter(|_| is_plain) else {
            return self.send_within(request, head_timeout).await;
        };
        let (head, body) = request.into_parts();
        // It is whole, so that nothing is waited for, and nothing can fail.
        let Ok(body) = body.collect().await;
        match tokio::time::timeout(head_timeout, slim.send(Request::from_parts(head, ()), body.to_bytes())).await {
            Ok(response) => self.check_head(response?.map(Body::of_slim)),
            Err(_elapsed) => Err(Error::Timeout { timeout: head_timeout }),
        }
    }

    fn check_head(&self, response: Response<Body>) -> Result<Response<Body>, Error> {
        // hyper bounds the buffer that a head is read with, which lets twice as much through.
        let fields = response.headers().iter();
        let bytes: usize = fields.map(|(name, value)| name.as_str().len() + value.len()).sum();
        match bytes > self.header_bytes_max {
            true => Err(Error::Broken(HeadTooLarge { max: self.header_bytes_max }.into())),
            false => Ok(response),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("head_timeout", &self.head_timeout).finish_non_exhaustive()
    }
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        DEFAULTS
    }
}
