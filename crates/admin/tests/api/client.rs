//! Clients of these tests: gRPC over TLS with whatever is shown, over the Unix socket, and plain HTTP.
//!
//! A connection is made by hand, so that a test sees where it ends: in the handshake, at the preface, or in a call.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use quorate_admin::api::service::cluster_client::ClusterClient;
use quorate_membership::authority::Authority;
use quorate_membership::handshake::{self, Credentials};
use quorate_membership::token::JoinToken;
use quorate_types::NodeId;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tonic::body::Body;
use tonic::{Request, Status, Streaming};
use tower_service::Service;

use crate::world::{Place, trust};

/// Longer than anything takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a connection takes of each answer before it reads.
const WINDOW_BYTES: u32 = 1 << 20;

/// Sends requests of a connection.
#[derive(Clone)]
pub(crate) struct Sender(SendRequest<Body>);

pub(crate) type Client = ClusterClient<Sender>;

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

impl Sender {
    /// Whether the other side has ended the connection.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

/// A client that shows a certificate of the cluster of `authority`.
pub(crate) async fn member(place: &Place, authority: &Authority, credentials: &Credentials) -> Client {
    client(member_sender(place, authority, credentials).await)
}

pub(crate) async fn member_sender(place: &Place, authority: &Authority, credentials: &Credentials) -> Sender {
    member_sender_of(place, 1, authority, credentials).await
}

/// The same of any node.
pub(crate) async fn member_sender_of(place: &Place, id: u64, authority: &Authority, shown: &Credentials) -> Sender {
    let config = handshake::client(shown, &trust(authority), Some(NodeId(id)));
    tls(place.admin, config).await.expect("it is taken")
}

/// A client without a certificate, as a node that joins.
pub(crate) async fn nobody(place: &Place, authority: &Authority) -> Sender {
    let address = "127.0.0.1:1".parse().expect("it is an address");
    let token = JoinToken::draw([authority.id()], vec![address]).expect("it has one of each");
    tls(place.admin, token.client()).await.expect("it is taken")
}

/// A client of the Unix socket.
pub(crate) async fn local(folder: &Path) -> Sender {
    local_with_window(folder, WINDOW_BYTES).await
}

/// The same, which takes so many bytes of each answer before it reads.
pub(crate) async fn local_with_window(folder: &Path, window: u32) -> Sender {
    let path = folder.join(quorate_admin::api::SOCKET_FILE);
    http2(UnixStream::connect(path).await.expect("somebody listens"), window).await.expect("it speaks HTTP/2")
}

pub(crate) fn client(sender: Sender) -> Client {
    ClusterClient::with_origin(sender, http::Uri::from_static("https://node.invalid"))
}

/// Shakes hands and begins HTTP/2; the settings of the server say that it took the client.
pub(crate) async fn tls(address: SocketAddr, config: Arc<ClientConfig>) -> io::Result<Sender> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("node.invalid").expect("it is a name");
    let mut stream = TlsConnector::from(config).connect(name, stream).await?;
    // With TLS 1.3 a client is done before the server has looked at it: only what it reads says that it was taken. The server
    // sends its settings before it has heard anything.
    stream.flush().await?;
    http2(stream, WINDOW_BYTES).await
}

async fn http2<IO>(io: IO, window: u32) -> io::Result<Sender>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = Builder::new(TokioExecutor::new())
        .initial_stream_window_size(window)
        .handshake(TokioIo::new(io))
        .await
        .map_err(io::Error::other)?;
    tokio::spawn(connection);
    Ok(Sender(sender))
}

/// Calls any method with an empty message; returns what its answer ends with. `waits` is whether the end is waited for.
pub(crate) async fn call(sender: &Sender, path: &'static str, waits: bool) -> Result<(), Status> {
    let mut grpc = tonic::client::Grpc::with_origin(sender.clone(), http::Uri::from_static("https://node.invalid"));
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let path = http::uri::PathAndQuery::from_static(path);
    let mut answer: Streaming<()> = grpc.server_streaming(Request::new(()), path, codec).await?.into_inner();
    while waits && answer.message().await?.is_some() {}
    Ok(())
}

/// Sends bytes and returns everything that comes back until the other side closes.
pub(crate) async fn exchange(address: SocketAddr, send: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.expect("somebody listens");
    stream.write_all(send).await.expect("it is taken");
    let mut read = Vec::new();
    let reading = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut read));
    // A reset is an end too.
    let _ended = reading.await.expect("the other side closes");
    read
}
