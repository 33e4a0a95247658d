//! One address for clients, and behind it the nodes: connections go to a node that takes them, bytes go both ways unread.
//!
//! A new connection goes to the node that comes first, or to the next one in turn when that takes none, as behind a load
//! balancer. When the node's end of a connection is gone, so is the client's. Who comes first changes only where new connections
//! go: those that are open stay where they are. The front counts what is open, and what clients have sent, by node.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use anyhow::Context as _;
use quorate_cluster::Place;

/// Connections at a time: far more than a handful of clients have.
const CONNECTIONS_MAX: usize = 256;

const BUFFER_BYTES: usize = 16 << 10;

/// A running front; it takes no more connections when it is dropped.
#[derive(Debug)]
pub(crate) struct Front(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    nodes: Vec<Node>,
    first: AtomicUsize,
    has_ended: AtomicBool,
}

#[derive(Debug)]
struct Node {
    address: SocketAddr,
    /// Connections that are open.
    open: AtomicUsize,
    /// Bytes that clients have sent.
    sent: AtomicUsize,
}

/// A connection to a node, counted as long as it is there.
struct Counted<'a>(&'a Node);

// === impl Front ===

impl Front {
    /// Starts a front of nodes, at least one, on a free port of loopback.
    pub(crate) fn start(nodes: &[SocketAddr]) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port for the front")?;
        let address = listener.local_addr()?;
        let node =
            |address: &SocketAddr| Node { address: *address, open: AtomicUsize::new(0), sent: AtomicUsize::new(0) };
        let nodes = nodes.iter().map(node).collect();
        let shared = Arc::new(Shared { address, nodes, first: AtomicUsize::new(0), has_ended: AtomicBool::new(false) });
        let accepts = Arc::clone(&shared);
        thread::Builder::new().name("front".to_owned()).spawn(move || accepts.accept(&listener))?;
        Ok(Self(shared))
    }

    /// The MCP endpoint behind it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/mcp", self.0.address)
    }

    /// Sends new connections to this node first.
    pub(crate) fn put_first(&self, place: Place) {
        self.0.first.store(place, Ordering::Release);
    }

    /// The nodes that connections are open to.
    pub(crate) fn ingresses(&self) -> Vec<Place> {
        let nodes = self.0.nodes.iter().enumerate();
        nodes.filter(|(_, node)| node.open.load(Ordering::Acquire) > 0).map(|(place, _)| place).collect()
    }

    /// How many bytes clients have sent to a node.
    pub(crate) fn sent(&self, place: Place) -> usize {
        self.0.nodes[place].sent.load(Ordering::Acquire)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.0.has_ended.store(true, Ordering::Release);
        // It looks when somebody connects; nobody has to be there any more.
        drop(TcpStream::connect(self.0.address));
    }
}

// === impl Shared ===

impl Shared {
    fn accept(self: Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming() {
            if self.has_ended.load(Ordering::Acquire) {
                break;
            }
            let open: usize = self.nodes.iter().map(|node| node.open.load(Ordering::Acquire)).sum();
            let Some(client) = client.ok().filter(|_| open < CONNECTIONS_MAX) else { continue };
            let shared = Arc::clone(&self);
            // A connection that cannot be served ends here, and its client sees that.
            drop(thread::Builder::new().name("connection".to_owned()).spawn(move || shared.serve(&client)));
        }
    }

    fn serve(&self, client: &TcpStream) {
        let Some((node, server)) = self.connect() else { return };
        let _open = Counted::of(node);
        // An event is small, and nobody shall wait for a second one.
        let _slower = client.set_nodelay(true).and_then(|()| server.set_nodelay(true));
        thread::scope(|scope| {
            scope.spawn(|| {
                copy(client, &server, |bytes| {
                    node.sent.fetch_add(bytes, Ordering::AcqRel);
                })
            });
            copy(&server, client, |_| ());
        });
    }

    fn connect(&self) -> Option<(&Node, TcpStream)> {
        let (first, count) = (self.first.load(Ordering::Acquire), self.nodes.len());
        let mut turns = (first..first + count).map(|place| &self.nodes[place % count]);
        turns.find_map(|node| Some((node, TcpStream::connect(node.address).ok()?)))
    }
}

// === impl Counted ===

impl<'a> Counted<'a> {
    fn of(node: &'a Node) -> Self {
        node.open.fetch_add(1, Ordering::AcqRel);
        Self(node)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Copies one way until an end is gone; then both are.
fn copy(mut from: &TcpStream, mut to: &TcpStream, count: impl Fn(usize)) {
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Ok(bytes @ 1..) = from.read(&mut buffer) {
        count(bytes);
        if to.write_all(&buffer[..bytes]).is_err() {
            break;
        }
    }
    for end in [from, to] {
        // It may be gone already.
        let _ = end.shutdown(Shutdown::Both);
    }
}
