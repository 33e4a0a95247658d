//! Serves HTTP/1.1 and HTTP/2 on accepted sockets, within limits.
//!
//! [`Listener`] accepts, [`Server::serve`] runs one connection to its end: TLS handshake, choice
//! of protocol (ALPN; without TLS the HTTP/2 preface), requests to the handler, drain. Every
//! limit that is hit is reported to the [`Observer`].
//!
//! ```text
//! Listener ─▶ Server::serve: handshake ─▶ sniff ─▶ drive(hyper connection)
//!                               socket ◀─ reads, writes, shutdown ─┘  │ requests
//!                                  └──────▶ activity ◀── exchange ◀───┘
//! ```
//!
//! RFC 9112 (HTTP/1.1), RFC 9113 (HTTP/2). The total time of a request, the number of connections
//! and what a request means are the caller's.

mod activity;
mod drive;
mod exchange;
mod limits;
mod listen;
mod request;
mod socket;
mod streams;

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use http::{Request, Response};
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use quorate_tls::{Accepted, HandshakeError, PeerIdentity, Refusal};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use self::activity::Activity;
use self::drive::{Graceful, drive};
use self::exchange::Exchanges;
pub use self::limits::{DEFAULTS, InvalidLimit, Limits};
pub use self::listen::{BindError, Listener};
pub use self::request::RequestBody;
use self::socket::{Replay, Socket};
use self::streams::Streams;
use crate::body::ResponseBody;
use crate::observe::{Observer, limit};

/// Serves connections of one listener; cheap to clone.
#[derive(Clone)]
pub struct Server {
    http1: http1::Builder,
    http2: http2::Builder<Streams>,
    tls: Option<quorate_tls::ServerTls>,
    limits: Arc<Limits>,
    observer: Arc<dyn Observer>,
}

/// Who is at the other end of a connection; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// Whether the connection is encrypted.
    pub encrypted: bool,
    /// The workload that proved itself by its certificate. The proof is the handshake's: a request asks
    /// [`PeerIdentity::still_trusted`].
    pub identity: Option<Arc<PeerIdentity>>,
}

/// A connection did not end in an orderly way.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The client broke a limit, and the connection was cut.
    #[error("the limit {limit} was hit")]
    Cut {
        /// The name of the limit.
        limit: &'static str,
    },
    /// There was no common TLS version, the client does not trust us, or it does not speak TLS.
    #[error("the tls handshake failed")]
    Handshake(#[source] io::Error),
    /// The client's certificate was refused, or it had none and needs one.
    #[error(transparent)]
    Certificate(Refusal),
    /// The socket failed before the first request.
    #[error("the socket failed")]
    Socket(#[source] io::Error),
    /// The client sent what is not HTTP, or left in the middle of a request.
    #[error("the connection broke")]
    Protocol(#[source] hyper::Error),
}

/// A hyper connection of either protocol.
type Connection = Pin<Box<dyn Graceful + Send>>;

/// Window of one HTTP/2 stream: request bodies are small, and the handler reads them at once.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
/// Window of an HTTP/2 connection: what all its clients together may have sent and we not read.
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// Bytes of answers that one HTTP/2 stream may have in its send buffer.
const SEND_BUFFER_BYTES: usize = 64 << 10;
/// Bytes that are read from or queued to an HTTP/1.1 socket at once.
const BUFFER_BYTES: usize = 64 << 10;
/// Header fields that hyper parses on the stack when it is not told a number.
const HEADERS_ON_STACK: usize = 100;
/// HTTP/2 takes heads of twice the limit, so that ours is the one that refuses and reports them.
const H2_HEADER_SLACK: u32 = 2;
/// Streams that a client may have reset before we accepted them (CVE-2023-44487); h2's default.
const PENDING_RESETS_MAX: usize = 20;
/// Streams that we may have to reset for the client's errors before we end the connection.
const ERROR_RESETS_MAX: usize = 256;

// === impl Server ===

impl Server {
    /// Makes a server; with `tls`, every connection is encrypted.
    ///
    /// # Errors
    /// [`InvalidLimit`] when a limit has a value that cannot work.
    pub fn new(
        limits: Limits,
        tls: Option<quorate_tls::ServerTls>,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, InvalidLimit> {
        limits.check()?;
        let header_bytes_max = u32::try_from(limits.header_bytes_max).expect("checked to be 1 MiB at most");
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            // The activity of the connection has a better one.
            .header_read_timeout(None)
            .max_header_size(limits.header_bytes_max)
            .max_buf_size(limits.header_bytes_max.max(BUFFER_BYTES));
        if limits.headers_max != HEADERS_ON_STACK {
            http1.max_headers(limits.headers_max);
        }
        let mut http2 = http2::Builder::new(Streams::new(limits.write_stall_timeout, Arc::clone(&observer)));
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams_per_connection_max)
            .max_header_list_size(header_bytes_max * H2_HEADER_SLACK)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
            .max_local_error_reset_streams(ERROR_RESETS_MAX)
            .keep_alive_interval(limits.ping_interval)
            .keep_alive_timeout(limits.ping_timeout);
        Ok(Self { http1, http2, tls, limits: Arc::new(limits), observer })
    }

    /// Returns the limits, for example to give the body's to [`crate::collect`].
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Serves one connection until it ends. Dropping the future cuts the connection.
    ///
    /// When `drain` is cancelled, an idle connection closes at once, a busy one finishes its open
    /// requests (HTTP/2: after GOAWAY) within [`Limits::drain_timeout`] and is cut then. The
    /// handler's future is dropped when the client leaves.
    ///
    /// # Errors
    /// [`ConnectionError`] says how the connection ended, when not in an orderly way. Nothing is
    /// left to do: it is for a debug log.
    pub async fn serve<IO, H, F>(
        &self,
        io: IO,
        address: SocketAddr,
        drain: &CancellationToken,
        handler: H,
    ) -> Result<(), ConnectionError>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        H: Fn(Request<RequestBody>, Peer) -> F + Send + 'static,
        F: Future<Output = Response<ResponseBody>> + Send + 'static,
    {
        self.observer.connection_opened();
        let _closed = Closed(&*self.observer);
        let activity = Arc::new(Activity::new(Instant::now()));
        let peer = Peer { address, encrypted: self.tls.is_some(), identity: None };
        let exchanges = Exchanges {
            handler,
            peer,
            activity: Arc::clone(&activity),
            limits: Arc::clone(&self.limits),
            observer: Arc::clone(&self.observer),
        };
        // Boxed: what opening needs (a handshake above all) is freed when it is done, and a future
        // keeps room for a value in every place that it was moved from.
        let opened = match &self.tls {
            Some(tls) => Box::pin(self.open_tls(tls, io, &activity, exchanges, drain)).await?,
            None => Box::pin(self.open_plain(io, &activity, exchanges, drain)).await?,
        };
        match opened {
            Some(mut connection) => drive(connection.as_mut(), &activity, &self.limits, &*self.observer, drain).await,
            None => Ok(()),
        }
    }

    /// Returns `None` when draining began first.
    async fn open_tls<IO, H, F>(
        &self,
        tls: &quorate_tls::ServerTls,
        io: IO,
        activity: &Arc<Activity>,
        mut exchanges: Exchanges<H>,
        drain: &CancellationToken,
    ) -> Result<Option<Connection>, ConnectionError>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        H: Fn(Request<RequestBody>, Peer) -> F + Send + 'static,
        F: Future<Output = Response<ResponseBody>> + Send + 'static,
    {
        let socket = Socket::new(io, Arc::clone(activity), Replay::default());
        let handshake = timeout(self.limits.handshake_timeout, tls.accept(socket));
        let Accepted { stream, identity } = match drain.run_until_cancelled(handshake).await {
            None => return Ok(None),
            Some(Ok(result)) => result.map_err(|error| self.handshake_failed(error, exchanges.peer.address))?,
            Some(Err(_elapsed)) => return Err(self.cut(limit::HANDSHAKE_TIMEOUT)),
        };
        exchanges.peer.identity = identity;
        activity.handshake_ended();
        let is_h2 = stream.get_ref().1.alpn_protocol() == Some(quorate_tls::ALPN_H2);
        Ok(Some(self.connection(stream, is_h2, activity, exchanges)))
    }

    /// Returns `None` when draining began first.
    async fn open_plain<IO, H, F>(
        &self,
        mut io: IO,
        activity: &Arc<Activity>,
        exchanges: Exchanges<H>,
        drain: &CancellationToken,
    ) -> Result<Option<Connection>, ConnectionError>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        H: Fn(Request<RequestBody>, Peer) -> F + Send + 'static,
        F: Future<Output = Response<ResponseBody>> + Send + 'static,
    {
        let sniffing = timeout(self.limits.header_read_timeout, Replay::sniff(&mut io));
        let (replay, is_h2) = match drain.run_until_cancelled(sniffing).await {
            None => return Ok(None),
            Some(Ok(result)) => result.map_err(ConnectionError::Socket)?,
            Some(Err(_elapsed)) => return Err(self.cut(limit::HEADER_READ_TIMEOUT)),
        };
        let socket = Socket::new(io, Arc::clone(activity), replay);
        Ok(Some(self.connection(socket, is_h2, activity, exchanges)))
    }

    fn connection<IO, H, F>(&self, io: IO, is_h2: bool, activity: &Activity, exchanges: Exchanges<H>) -> Connection
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        H: Fn(Request<RequestBody>, Peer) -> F + Send + 'static,
        F: Future<Output = Response<ResponseBody>> + Send + 'static,
    {
        let io = TokioIo::new(io);
        if is_h2 {
            activity.set_multiplexed();
            Box::pin(self.http2.serve_connection(io, exchanges))
        } else {
            Box::pin(self.http1.serve_connection(io, exchanges))
        }
    }

    fn handshake_failed(&self, error: HandshakeError, peer: SocketAddr) -> ConnectionError {
        match error {
            HandshakeError::Refused(refusal) => {
                self.observer.client_refused(peer, &refusal);
                ConnectionError::Certificate(refusal)
            }
            HandshakeError::Failed(error) => ConnectionError::Handshake(error),
        }
    }

    fn cut(&self, limit: &'static str) -> ConnectionError {
        self.observer.limit_hit(limit);
        ConnectionError::Cut { limit }
    }
}

/// Reports the end of a connection, also when its future is dropped or panics.
struct Closed<'a>(&'a dyn Observer);

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        self.0.connection_closed();
    }
}

// === impl Graceful ===

impl<I, H, F> Graceful for http1::Connection<I, Exchanges<H>>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + 'static,
    H: Fn(Request<RequestBody>, Peer) -> F + 'static,
    F: Future<Output = Response<ResponseBody>> + 'static,
{
    fn shut_down(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<I, H, F> Graceful for http2::Connection<I, Exchanges<H>, Streams>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + 'static,
    H: Fn(Request<RequestBody>, Peer) -> F + 'static,
    F: Future<Output = Response<ResponseBody>> + Send + 'static,
{
    fn shut_down(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}
