//! A TCP proxy in front of a node, which may stop forwarding without closing anything: a black hole.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A proxy to one address.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    is_cut: Arc<watch::Sender<bool>>,
    target: Arc<watch::Sender<SocketAddr>>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let is_cut = Arc::new(watch::Sender::new(false));
        let mut tasks = JoinSet::new();
        let target = Arc::new(watch::Sender::new(target));
        let (cut, aim) = (Arc::clone(&is_cut), Arc::clone(&target));
        tasks.spawn(async move {
            let mut pipes = JoinSet::new();
            loop {
                let (near, _) = listener.accept().await.unwrap();
                // Whoever comes while it is cut finds a socket that says nothing.
                let target = *aim.borrow();
                let Ok(far) = TcpStream::connect(target).await else { continue };
                let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
                pipes.spawn(pipe(near_read, far_write, cut.subscribe()));
                pipes.spawn(pipe(far_read, near_write, cut.subscribe()));
            }
        });
        Self { address, is_cut, target, _tasks: tasks }
    }

    /// Forwards to another address from the next connection on.
    pub(crate) fn aim(&self, target: SocketAddr) {
        self.target.send_replace(target);
    }

    /// Forwards nothing more, and closes nothing.
    pub(crate) fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    /// Forwards again.
    pub(crate) fn heal(&self) {
        self.is_cut.send_replace(false);
    }
}

async fn pipe(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut is_cut: watch::Receiver<bool>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if is_cut.wait_for(|is_cut| !is_cut).await.is_err() || to.write_all(&buffer[..count]).await.is_err() {
            break;
        }
    }
    let _ = is_cut.wait_for(|is_cut| !is_cut).await;
}
