//! Dials a peer: the address, the connection, TLS, HTTP/2, and the first frame of each side.
//!
//! Out flows a stream on which the peer has proven to be the node that was meant, and agreed to work with this one, or a
//! typed error. Everything together has one time limit. One connection has one stream, so that the end of either is seen
//! at once.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use quorate_proto::peer::v1 as proto;
use quorate_proto::peer::v1::frame::Kind;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio_util::task::AbortOnDropHandle;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::{Status, Streaming};

use crate::calls::{Calls, Outgoing};
use crate::config::{Address, MESSAGE_BYTES_MAX};
use crate::error::DialError;
use crate::frame::service::peer_client::PeerClient;
use crate::hello::Agreed;
use crate::member::Member;
use crate::name::NodeName;
use crate::refusal::Refusal;
use crate::shared::Shared;

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;
/// What may be in flight on a stream: a largest message, and what a fast link needs (1 Gbit/s over 30 ms).
pub(crate) const WINDOW_BYTES: u32 = 4 << 20;
/// What is written at once: fewer frames of HTTP/2 than with its default of 16 KiB.
pub(crate) const HTTP_FRAME_BYTES: u32 = 64 << 10;
/// What is encoded before the socket has room. Little, because urgent frames cannot go before it any more.
pub(crate) const SEND_BUFFER_BYTES: usize = 128 << 10;

/// A stream that works.
pub(crate) struct Established {
    pub(crate) calls: Arc<Calls>,
    pub(crate) inbound: Streaming<proto::Batch>,
    pub(crate) agreed: Agreed,
    /// Ends the connection when it is dropped.
    pub(crate) connection: AbortOnDropHandle<hyper::Result<()>>,
}

/// Sends the one request of a connection.
struct Sender(SendRequest<Body>);

/// Dials a peer.
pub(crate) async fn dial(shared: &Shared, member: &Member, address: &Address) -> Result<Established, DialError> {
    let limit = shared.config.limits.dial_timeout;
    let dialing = async {
        let stream = prove(shared, member, address, false).await?;
        greet(shared, member, stream).await
    };
    tokio::time::timeout(limit, dialing).await.map_err(|_| DialError::TimedOut { ms: limit.as_millis() })?
}

/// Connects to a peer, for exchanges or for consensus, and lets both sides prove who they are.
pub(crate) async fn prove(
    shared: &Shared,
    member: &Member,
    address: &Address,
    is_exchanges: bool,
) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + use<>, DialError> {
    let socket = connect(address, shared.config.listen.ip()).await?;
    let tls = &shared.config.tls;
    let connecting = if is_exchanges { tls.connect_exchanges(socket).await } else { tls.connect(socket).await };
    let mut proven = connecting.map_err(DialError::Tls)?;
    let name = NodeName::among(&proven.uris).map_err(|_| DialError::Stranger)?;
    if name.cluster != shared.identity.cluster {
        return Err(DialError::Stranger);
    }
    if name.node != member.node {
        let reason = Refusal::NotTheNode { shown: name.node, expected: member.node };
        return Err(DialError::RefusedByUs { node: member.node, reason });
    }
    proven.confirmed().await.map_err(DialError::Tls)?;
    if proven.is_exchanges != is_exchanges {
        return Err(DialError::Stream("the peer does not speak what this connection is for".to_owned()));
    }
    Ok(proven.stream)
}

/// Connects to one of the addresses of a name.
async fn connect(address: &Address, own: IpAddr) -> Result<TcpStream, DialError> {
    let resolved = tokio::net::lookup_host(address.as_str()).await.map_err(DialError::Resolve)?;
    let mut failure = None;
    for target in resolved.take(ADDRESSES_MAX) {
        match socket_to(target, own)?.connect(target).await {
            Ok(socket) => {
                socket.set_nodelay(true).map_err(DialError::Connect)?;
                return Ok(socket);
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                failure.get_or_insert(DialError::NothingListens);
            }
            // One address that is not refused leaves open whether the process is there.
            Err(error) => failure = Some(DialError::Connect(error)),
        }
    }
    Err(failure.unwrap_or_else(|| DialError::Resolve(io::Error::other("the name has no address"))))
}

/// Makes a socket to an address. Nodes of one machine are told apart by where they dial from, as their harnesses need it: a
/// node that listens on a loopback address of its own dials others of the machine from there. Elsewhere the way decides.
fn socket_to(target: SocketAddr, own: IpAddr) -> Result<TcpSocket, DialError> {
    let socket = if target.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.map_err(DialError::Connect)?;
    if own.is_loopback() && target.ip().is_loopback() && own.is_ipv4() == target.is_ipv4() {
        socket.bind(SocketAddr::new(own, 0)).map_err(DialError::Connect)?;
    }
    Ok(socket)
}

/// Opens the stream, and lets both sides say who they are.
async fn greet<IO>(shared: &Shared, member: &Member, io: IO) -> Result<Established, DialError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = &shared.config.limits;
    let (sender, connection) = Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.keepalive_interval)
        .keep_alive_timeout(limits.keepalive_timeout)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_frame_size(HTTP_FRAME_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .handshake::<_, Body>(TokioIo::new(io))
        .await
        .map_err(|error| begin_error(&error))?;
    let connection = AbortOnDropHandle::new(tokio::spawn(connection));

    let hello = shared.identity.to_proto();
    let calls = Arc::new(Calls::new(limits, hello, Arc::clone(&member.counters)));
    let outgoing = Outgoing::new(Arc::clone(&calls), shared.board.clone(), member.node);
    let origin = http::Uri::from_static("https://node.invalid");
    let mut client = PeerClient::with_origin(Sender(sender), origin)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let opening = async {
        let mut inbound = client.connect(outgoing).await?.into_inner();
        Ok::<_, Status>((inbound.message().await?, inbound))
    };
    let (first, mut inbound) = match opening.await {
        Ok(opened) => opened,
        Err(status) => return Err(begin_error(&status)),
    };
    let node = member.node;
    let hello = match first_frame(first) {
        Some(Kind::Hello(hello)) => hello,
        Some(Kind::Refused(refused)) => {
            return Err(DialError::RefusedByPeer { node, reason: Refusal::from_proto(&refused) });
        }
        _ => return Err(DialError::Stream("the first frame is no hello".to_owned())),
    };
    match shared.meet(&hello, node) {
        Ok((_, agreed)) => Ok(Established { calls, inbound, agreed, connection }),
        Err(reason) => {
            calls.refuse(reason.clone());
            // The peer closes when it has read why; the dial's limit is this wait's.
            while let Ok(Some(_)) = inbound.message().await {}
            Err(DialError::RefusedByUs { node, reason })
        }
    }
}

/// Returns the frame of a batch that has one, or the first of several that begin with a hello.
pub(crate) fn first_frame(batch: Option<proto::Batch>) -> Option<Kind> {
    batch?.frames.into_iter().next()?.kind
}

/// Writes the error of a stream that did not begin with its causes.
pub(crate) fn begin_error(error: &(dyn std::error::Error + 'static)) -> DialError {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    DialError::Stream(text)
}

// === impl Sender ===

impl Service<http::Request<Body>> for Sender {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = hyper::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}
