//! One connection to one endpoint: TLS as an operator, or the Unix socket of a data folder, and HTTP/2 on it.
//!
//! Whoever answers over TLS has proven to be a node of the cluster (`membership::handshake`); who can open the socket is
//! trusted by its folder's mode. In flows an endpoint and how long it may take, out flows a service for tonic's client.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use quorate_membership::address::Address;
use quorate_membership::handshake::{self, Credentials, Trust};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_util::task::AbortOnDropHandle;
use tonic::body::Body;
use tonic::codegen::Service;

/// How often a silent connection is asked whether it lives: a watch may be silent for long.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// How long the answer may take.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// What may be in flight: a page of documents without waiting for the reader (1 Gbit/s over 30 ms).
const WINDOW_BYTES: u32 = 4 << 20;

/// Where a node is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// The admin port of a node.
    Tls(Address),
    /// The socket in a node's data folder.
    Socket(PathBuf),
}

/// What an operator shows, and whom it trusts.
#[derive(Clone, Debug)]
pub(crate) struct Operator {
    pub(crate) credentials: Credentials,
    pub(crate) trust: Trust,
}

/// A connection; clones share it, and the last one ends it.
#[derive(Clone)]
pub(crate) struct Connection {
    sender: SendRequest<Body>,
    _driver: Arc<AbortOnDropHandle<()>>,
}

/// No connection was made: nothing was sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The name has no address, or nothing listens there.
    #[error("{0}")]
    Io(#[source] io::Error),
    /// What answers is no node of the cluster.
    #[error("{0}")]
    Tls(#[source] io::Error),
    /// It is a node, and does not take us.
    #[error("it does not take the certificate that was shown: {0}")]
    Refused(#[source] io::Error),
    /// It does not speak HTTP/2.
    #[error("it does not speak http/2: {0}")]
    Http(#[source] hyper::Error),
    /// It took too long.
    #[error("no connection within {} ms", after.as_millis())]
    TimedOut { after: Duration },
}

// === impl Endpoint ===

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls(address) => fmt::Display::fmt(address, f),
            Self::Socket(path) => fmt::Display::fmt(&path.display(), f),
        }
    }
}

impl Endpoint {
    /// Connects within `limit`; `operator` is needed for TLS.
    pub(crate) async fn connect(
        &self,
        operator: Option<&Operator>,
        limit: Duration,
    ) -> Result<Connection, ConnectError> {
        let connecting = async {
            match self {
                Self::Socket(path) => speak(UnixStream::connect(path).await.map_err(ConnectError::Io)?).await,
                Self::Tls(address) => {
                    let socket = TcpStream::connect(address.to_string()).await.map_err(ConnectError::Io)?;
                    socket.set_nodelay(true).map_err(ConnectError::Io)?;
                    let none = || ConnectError::Tls(io::Error::other("there is no certificate to show"));
                    let Operator { credentials, trust } = operator.ok_or_else(none)?;
                    let connector = TlsConnector::from(handshake::client(credentials, trust, None));
                    // Names are not compared: who answers stands in its certificate.
                    let name = ServerName::try_from("node.invalid").expect("it is a name of dns");
                    let mut stream = connector.connect(name, socket).await.map_err(ConnectError::Tls)?;
                    is_taken(&mut stream).await.map_err(ConnectError::Refused)?;
                    speak(stream).await
                }
            }
        };
        tokio::time::timeout(limit, connecting).await.map_err(|_| ConnectError::TimedOut { after: limit })?
    }
}

/// Waits until the node has taken us. With TLS 1.3 a client is done before its certificate was looked at, and would send a call
/// that nobody reads; a node that takes it says something first: the settings of HTTP/2.
async fn is_taken(stream: &mut TlsStream<TcpStream>) -> io::Result<()> {
    match stream.fill_buf().await {
        Ok([]) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ended the connection after the handshake")),
        Ok(_) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Begins HTTP/2.
async fn speak<IO>(io: IO) -> Result<Connection, ConnectError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .handshake::<_, Body>(TokioIo::new(io))
        .await
        .map_err(ConnectError::Http)?;
    // How it ends is told to whoever waits for an answer on it.
    let driver = tokio::spawn(async move { drop(connection.await) });
    Ok(Connection { sender, _driver: Arc::new(AbortOnDropHandle::new(driver)) })
}

// === impl Connection ===

impl Connection {
    /// Tells whether requests can be sent no more.
    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("closed", &self.is_closed()).finish()
    }
}

impl Service<http::Request<Body>> for Connection {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = hyper::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.sender.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.sender.send_request(request))
    }
}
