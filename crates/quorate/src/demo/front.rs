//! The front of the demo: one address, and behind it the nodes.
//!
//! A new connection goes to the node that was asked for, or to the next one that takes it, as a load balancer would do it; bytes
//! go both ways unread. When the node's end is gone, so is the client's. The front remembers from which node bytes came last:
//! that is the node that serves the client.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::WriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long a node may take to take a connection. On loopback it does so at once, or never.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const BUFFER_BYTES: usize = 16 << 10;

/// A running front; it ends with the token that it was started with. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Front(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    nodes: Vec<SocketAddr>,
    preferred: watch::Sender<usize>,
    serving: AtomicUsize,
}

// === impl Front ===

impl Front {
    /// Starts a front of nodes, at least one, on a free port of loopback.
    pub(super) async fn start(nodes: Vec<SocketAddr>, stop: CancellationToken) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shared = Shared { address, nodes, preferred: watch::Sender::new(0), serving: AtomicUsize::new(0) };
        let front = Self(Arc::new(shared));
        tokio::spawn(stop.clone().run_until_cancelled_owned(front.clone().accept(listener, stop)));
        Ok(front)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Sends connections that come to this node first, and to those after it in turn when it takes none. Those that are open
    /// are closed: clients keep some for their next requests.
    pub(super) fn prefer(&self, node: usize) {
        self.0.preferred.send_replace(node);
    }

    /// The node that sent bytes last.
    pub(super) fn serving(&self) -> usize {
        self.0.serving.load(Ordering::Relaxed)
    }

    async fn accept(self, listener: TcpListener, stop: CancellationToken) {
        loop {
            // Without a free file descriptor the next one may be had a moment later.
            let Ok((client, _)) = listener.accept().await else {
                tokio::task::yield_now().await;
                continue;
            };
            let front = self.clone();
            tokio::spawn(stop.clone().run_until_cancelled_owned(async move { front.serve(client).await }));
        }
    }

    async fn serve(&self, mut client: TcpStream) {
        let mut preferred = self.0.preferred.subscribe();
        let Some((node, mut server)) = self.connect().await else { return };
        // An event is small, and nobody shall wait for a second one.
        let _slower = client.set_nodelay(true).and_then(|()| server.set_nodelay(true));
        let ((mut from_client, to_client), (from_server, mut to_server)) = (client.split(), server.split());
        // Whichever end is gone: the other one goes with it.
        tokio::select! {
            _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
            _ = self.answer(node, from_server, to_client) => {}
            _ = preferred.changed() => {}
        }
    }

    async fn answer(
        &self,
        node: usize,
        mut server: impl AsyncRead + Unpin,
        mut client: WriteHalf<'_>,
    ) -> std::io::Result<()> {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let bytes = server.read(&mut buffer).await?;
            if bytes == 0 {
                return Ok(());
            }
            self.0.serving.store(node, Ordering::Relaxed);
            client.write_all(&buffer[..bytes]).await?;
        }
    }

    async fn connect(&self) -> Option<(usize, TcpStream)> {
        let (first, count) = (*self.0.preferred.borrow(), self.0.nodes.len());
        for node in (first..first + count).map(|node| node % count) {
            if let Ok(Ok(stream)) = timeout(CONNECT_TIMEOUT, TcpStream::connect(self.0.nodes[node])).await {
                return Some((node, stream));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node that says its name to who connects.
    async fn node(name: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                stream.write_all(name).await.unwrap();
            }
        });
        address
    }

    async fn said(front: &Front) -> String {
        let mut text = String::new();
        TcpStream::connect(front.address()).await.unwrap().read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn a_connection_goes_to_the_node_that_is_asked_for_or_the_next_one() {
        let gone = {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            listener.local_addr().unwrap()
        };
        let nodes = vec![node(b"first").await, gone, node(b"third").await];
        let front = Front::start(nodes, CancellationToken::new()).await.unwrap();

        assert_eq!((said(&front).await.as_str(), front.serving()), ("first", 0));
        front.prefer(2);
        assert_eq!((said(&front).await.as_str(), front.serving()), ("third", 2));
        front.prefer(1);
        assert_eq!((said(&front).await.as_str(), front.serving()), ("third", 2));
    }
}
