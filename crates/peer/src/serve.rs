//! Accepts the streams of peers: TLS, the first frame of each side, then requests.
//!
//! ```text
//! listener ─▶ ticket ─▶ TLS: a node of this cluster? ─▶ HTTP/2 ─▶ Hello: may it? ─▶ requests ─▶ Handler
//!                                   └▶ for exchanges: crate::exchange
//! ```
//!
//! **Invariant:** who has not proven to be a node of this cluster gets at most an alert of TLS, never a byte of HTTP.
//! Until a node is known its socket has a time limit and counts against a bound, and the listener waits for none.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::server::conn::http2::Builder;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use quorate_types::NodeId;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use crate::admission::Ticket;
use crate::config::MESSAGE_BYTES_MAX;
use crate::dial::{HTTP_FRAME_BYTES, SEND_BUFFER_BYTES, WINDOW_BYTES};
use crate::exchange;
use crate::frame::service::peer_server::PeerServer;
use crate::inbound::Inbound;
use crate::name::NodeName;
use crate::shared::Shared;

/// How long nothing is accepted after the operating system gave no socket: it has no file descriptors, or no memory.
const PAUSE: Duration = Duration::from_millis(50);

/// Accepts sockets until it is cancelled.
pub(crate) async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                let ticket = Arc::new(shared.admission.enter());
                // In a box: handshakes are large, and streams last.
                let serving = Box::pin(serve(Arc::clone(&shared), socket, ticket));
                shared.tasks.spawn(shared.ending.clone().run_until_cancelled_owned(serving));
            }
            Err(error) => {
                if shared.strangers.admits(Instant::now()) {
                    tracing::warn!(%error, "cannot accept a peer");
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Serves one accepted socket.
async fn serve(shared: Arc<Shared>, socket: TcpStream, ticket: Arc<Ticket>) {
    let from = socket.peer_addr().map_or_else(|_| "unknown".to_owned(), |address| address.to_string());
    let limit = shared.config.limits.handshake_timeout;
    let deadline = tokio::time::Instant::now() + limit;
    let proving = tokio::time::timeout_at(deadline, prove(&shared, socket));
    let proven = tokio::select! {
        proven = proving => proven.unwrap_or_else(|_| Err(("slow", format!("no handshake in {limit:?}")))),
        () = ticket.evicted() => Err(("evicted", "too many sockets have not said who they are".to_owned())),
    };
    let turned_away = match proven {
        Ok((node, stream, true)) => serve_exchanges(&shared, node, stream, ticket, deadline).await,
        Ok((node, stream, false)) => serve_node(&shared, node, stream, ticket, deadline).await,
        Err(turned_away) => Err(turned_away),
    };
    if let Err((reason, detail)) = turned_away {
        shared.turned_away.count(reason);
        if shared.strangers.admits(Instant::now()) {
            tracing::warn!(%from, reason, "turned away who dialed as a peer: {detail}");
        }
    }
}

/// Serves a node of this cluster that comes for exchanges, where their work is not in the way of consensus.
async fn serve_exchanges<IO>(
    shared: &Arc<Shared>,
    node: NodeId,
    io: IO,
    ticket: Arc<Ticket>,
    deadline: tokio::time::Instant,
) -> Result<(), (&'static str, String)>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let serving = exchange::serve(Arc::clone(shared), node, io, ticket, deadline);
    let task = shared.tasks.spawn_on(Box::pin(serving), &shared.exchange_handlers.runtime());
    // It fails when its runtime ends, or by a fault of ours, which the runtime tells of.
    AbortOnDropHandle::new(task).await.unwrap_or(Ok(()))
}

/// Shakes hands, and reads which node of this cluster it is, and whether it comes for exchanges. What is wrong is for the log, not for the other side.
async fn prove(
    shared: &Shared,
    socket: TcpStream,
) -> Result<(NodeId, impl AsyncRead + AsyncWrite + Unpin + Send + 'static, bool), (&'static str, String)> {
    let nodelay = socket.set_nodelay(true);
    nodelay.map_err(|error| ("no_handshake", error.to_string()))?;
    let proven = shared.config.tls.accept(socket).await;
    let proven = proven.map_err(|error| (error.label(), error.to_string()))?;
    match NodeName::among(&proven.uris) {
        Ok(name) if name.cluster == shared.identity.cluster => Ok((name.node, proven.stream, proven.is_exchanges)),
        Ok(name) => Err(("other_cluster", format!("its certificate is of {name}"))),
        Err(error) => Err(("no_node_name", format!("its certificate names no node: {error}"))),
    }
}

/// Serves a node of this cluster, until its connection ends.
async fn serve_node<IO>(
    shared: &Arc<Shared>,
    node: NodeId,
    io: IO,
    ticket: Arc<Ticket>,
    deadline: tokio::time::Instant,
) -> Result<(), (&'static str, String)>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = &shared.config.limits;
    let service = PeerServer::new(Inbound::new(Arc::clone(shared), node, Arc::clone(&ticket)))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let connection = Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.keepalive_interval)
        .keep_alive_timeout(limits.keepalive_timeout)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_frame_size(HTTP_FRAME_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_concurrent_streams(1)
        .serve_connection(TokioIo::new(io), TowerToHyperService::new(service));
    tokio::pin!(connection);
    tokio::select! {
        // How a connection ends shows at its stream.
        _ = &mut connection => return Ok(()),
        () = ticket.admitted() => {}
        () = ticket.evicted() => return Err(("evicted", format!("node {node} has not said hello"))),
        () = tokio::time::sleep_until(deadline) => return Err(("slow", format!("node {node} has not said hello"))),
    }
    let _ = connection.await;
    Ok(())
}
