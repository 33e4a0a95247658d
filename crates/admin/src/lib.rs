//! What operators ask a node: health, readiness, metrics and API keys over plain HTTP, and everything else over gRPC.
//!
//! | Path | Answer |
//! |---|---|
//! | `/healthz` | 200 `ok` while the process works |
//! | `/readyz` | 200 `ready` when requests should be sent here, else 503 and why not |
//! | `/metrics` | every metric in the text format of Prometheus |
//! | `/keys` | API keys and when each was used last, to callers on the node's machine alone |
//!
//! On the same address, connections that begin with a TLS handshake are those of the API that operators use ([`mod@api`]).
//!
//! Served on an address of its own, so that who may scrape is decided by who can reach it; it
//! never shows payloads, credentials or session ids.

pub mod api;
mod keys;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use quorate_gateway::node::Gateway;
use quorate_http::observe::limit;
use quorate_http::server::{BindError, Limits, Listener, Peer, Server};
use quorate_http::{Observer, RequestBody, ResponseBody};
use quorate_telemetry::Metrics;
use quorate_telemetry::metrics::RENDER_CONTENT_TYPE;
use quorate_types::Timestamp;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::api::Api;

/// Connections of plain HTTP at once: a few scrapers and probes.
const CONNECTIONS_MAX: usize = 64;
/// Sockets at once, whatever they speak: those connections, those of the API, and some that have not said yet.
const SOCKETS_MAX: usize = 320;
/// What is answered by a node that is in no cluster yet.
const WAITING: &str =
    "waits for `quorate cluster init` or `quorate cluster join` on its data folder: it is in no cluster\n";
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The admin address of a node.
pub struct Admin {
    listener: Listener,
    local: SocketAddr,
    server: Server,
    source: Source,
    api: Option<Api>,
}

/// What is shown.
#[derive(Clone)]
struct Source {
    /// None while the node waits for a cluster.
    gateway: Arc<OnceLock<Gateway>>,
    metrics: Metrics,
    drain: CancellationToken,
    /// When the node was started, give or take.
    since: Timestamp,
}

/// What accepted sockets are served by.
struct Accepting {
    server: Server,
    source: Source,
    api: Option<Api>,
    scrapers: Semaphore,
    stop: CancellationToken,
}

struct LimitCounter(Metrics);

impl Observer for LimitCounter {
    fn limit_hit(&self, limit: &'static str) {
        self.0.limit_hit(limit);
    }
}

// === impl Admin ===

impl Admin {
    /// Binds the admin address; `drain` makes the node not ready, and ends [`Admin::run`] when the
    /// gateway has drained.
    ///
    /// # Errors
    /// [`BindError`] with the address and the system's reason.
    ///
    /// # Panics
    /// Never: the default limits are valid.
    pub fn bind(
        address: SocketAddr,
        gateway: Gateway,
        metrics: Metrics,
        drain: CancellationToken,
    ) -> Result<Self, BindError> {
        let admin = Self::bind_waiting(address, metrics, drain)?;
        let is_first = admin.source.gateway.set(gateway).is_ok();
        debug_assert!(is_first, "nobody else has it yet");
        Ok(admin)
    }

    /// Binds the admin address of a node that has no gateway before it is in a cluster: it is not ready until
    /// [`Admin::gateway`] has one.
    ///
    /// # Errors
    /// [`BindError`] with the address and the system's reason.
    ///
    /// # Panics
    /// Never: the default limits are valid.
    pub fn bind_waiting(address: SocketAddr, metrics: Metrics, drain: CancellationToken) -> Result<Self, BindError> {
        let observer: Arc<dyn Observer> = Arc::new(LimitCounter(metrics.clone()));
        let listener = Listener::bind(address, Arc::clone(&observer))?;
        let local = listener.local_address().map_err(|source| BindError { address, source })?;
        let server = Server::new(Limits::default(), None, observer).expect("the default limits are valid");
        let source = Source { gateway: Arc::default(), metrics, drain, since: now() };
        Ok(Self { listener, local, server, source, api: None })
    }

    /// Where the gateway is put when there is one.
    #[must_use]
    pub fn gateway(&self) -> Arc<OnceLock<Gateway>> {
        Arc::clone(&self.source.gateway)
    }

    /// Serves the API too, on connections that begin with a TLS handshake.
    #[must_use]
    pub fn with_api(self, api: Api) -> Self {
        Self { api: Some(api), ..self }
    }

    /// The address that is listened on, with its real port.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Answers until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        let sockets = Arc::new(Semaphore::new(SOCKETS_MAX));
        let accepting = Arc::new(Accepting {
            server: self.server,
            source: self.source,
            api: self.api,
            scrapers: Semaphore::new(CONNECTIONS_MAX),
            stop: stop.clone(),
        });
        loop {
            let permit = tokio::select! {
                permit = Arc::clone(&sockets).acquire_owned() => permit.expect("the semaphore is never closed"),
                () = stop.cancelled() => return,
            };
            let (stream, peer) = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stop.cancelled() => return,
            };
            let accepting = Arc::clone(&accepting);
            tokio::spawn(async move {
                let _permit = permit;
                accepting.serve(stream, peer).await;
            });
        }
    }
}

// === impl Accepting ===

impl Accepting {
    /// Serves a socket: its first byte says what it speaks.
    async fn serve(&self, stream: TcpStream, peer: SocketAddr) {
        if let Some(api) = &self.api {
            match self.begins_handshake(&stream).await {
                Some(true) => {
                    if let Err(error) = api.serve_tls(stream, peer, &self.stop).await {
                        tracing::debug!(%peer, %error, "a connection of the API ended badly");
                    }
                    return;
                }
                Some(false) => {}
                None => return,
            }
        }
        // Whoever waited would hold a place of the API's.
        let Ok(_place) = self.scrapers.try_acquire() else {
            self.source.metrics.limit_hit("connections");
            return;
        };
        let source = self.source.clone();
        let handler = move |request, peer| answer(source.clone(), request, peer);
        if let Err(error) = self.server.serve(stream, peer, &self.stop, handler).await {
            tracing::debug!(%peer, %error, "an admin connection ended badly");
        }
    }

    /// Looks at the first byte; none when there is none in time.
    async fn begins_handshake(&self, stream: &TcpStream) -> Option<bool> {
        let mut first = [0];
        let looking = tokio::time::timeout(self.server.limits().header_read_timeout, stream.peek(&mut first));
        let looked = self.stop.run_until_cancelled(looking).await?;
        match looked {
            Ok(Ok(1..)) => Some(first[0] == api::HANDSHAKE),
            Ok(Ok(0) | Err(_)) => None,
            Err(_elapsed) => {
                self.source.metrics.limit_hit(limit::HEADER_READ_TIMEOUT);
                None
            }
        }
    }
}

async fn answer(source: Source, request: Request<RequestBody>, peer: Peer) -> Response<ResponseBody> {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "use GET\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/healthz" => text(StatusCode::OK, "ok\n"),
        "/readyz" => readiness(&source).await,
        "/metrics" => {
            let mut response = text(StatusCode::OK, &source.metrics.render());
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(RENDER_CONTENT_TYPE));
            response
        }
        "/keys" => api_keys(&source, &request, &peer),
        _ => text(StatusCode::NOT_FOUND, "here are /healthz, /readyz, /metrics and /keys\n"),
    }
}

fn api_keys(source: &Source, request: &Request<RequestBody>, peer: &Peer) -> Response<ResponseBody> {
    if !keys::is_local(peer.address.ip(), request.uri(), request.headers()) {
        let only = "API keys are shown on the node's own machine alone, at an address of loopback\n";
        return text(StatusCode::FORBIDDEN, only);
    }
    match keys::after(request.uri().query()) {
        Ok(after) => {
            let Some(gateway) = source.gateway.get() else {
                return text(StatusCode::SERVICE_UNAVAILABLE, WAITING);
            };
            let found = gateway.api_keys(after, keys::PAGE_KEYS_MAX + 1);
            let mut response = text(StatusCode::OK, &keys::page(found, source.since));
            response.headers_mut().insert(CONTENT_TYPE, JSON);
            response
        }
        Err(problem) => text(StatusCode::BAD_REQUEST, problem),
    }
}

fn now() -> Timestamp {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}

async fn readiness(source: &Source) -> Response<ResponseBody> {
    if source.drain.is_cancelled() {
        return text(StatusCode::SERVICE_UNAVAILABLE, "draining\n");
    }
    let Some(gateway) = source.gateway.get() else {
        return text(StatusCode::SERVICE_UNAVAILABLE, WAITING);
    };
    if gateway.is_ready().await {
        text(StatusCode::OK, "ready\n")
    } else {
        text(StatusCode::SERVICE_UNAVAILABLE, "probing tool servers\n")
    }
}

fn text(status: StatusCode, body: &str) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::Full(body.to_owned().into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response
}
