//! The peers of a node: the one handle that the rest of the node has.
//!
//! [`Peers::start`] listens; [`Peers::set_peers`] says who is dialed and accepted; calls go out along the stream to a peer.
//! Everything ends with the last clone, or with [`Peers::shut_down`].

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use quorate_types::{Incarnation, NodeId};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::DropGuard;

use crate::config::{Address, Config, PAYLOAD_BYTES_MAX};
use crate::error::{CallError, StartError};
use crate::exchange::{self, EXCHANGE_BYTES_MAX, Exchange, ExchangeError, ExchangeHandler};
use crate::hello::Identity;
use crate::link::{self, Link};
use crate::name::NodeName;
use crate::observe::Observation;
use crate::queue::Urgency;
use crate::shared::Shared;
use crate::spread::Board;
use crate::{Handler, Lane, Protocol, serve};

/// The peers of a node; cheap to clone.
#[derive(Clone)]
pub struct Peers {
    shared: Arc<Shared>,
    address: SocketAddr,
    /// Ends all tasks with the last clone.
    _ending: Arc<DropGuard>,
}

/// A call; its request waits to be sent already. Resolves with the peer's answer. Dropped before the request was sent it
/// withdraws it.
#[must_use = "a call that is dropped may be withdrawn"]
#[derive(Debug)]
pub struct Call(Result<oneshot::Receiver<Result<Bytes, CallError>>, Option<CallError>>);

// === impl Peers ===

impl Peers {
    /// Listens for peers, on the current runtime. Nobody is a peer yet.
    ///
    /// # Errors
    /// [`StartError`] when a value is not allowed, the certificate is another node's, or the address cannot be bound.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(config: Config, handler: Arc<dyn Handler>) -> Result<Self, StartError> {
        config.check()?;
        let (needed, found) = (NodeName { cluster: config.cluster, node: config.node }, config.tls.uris());
        if NodeName::among(&found) != Ok(needed) {
            return Err(StartError::Certificate { found, needed });
        }
        let listen = |source| StartError::Listen { address: config.listen, source };
        let socket = std::net::TcpListener::bind(config.listen).map_err(listen)?;
        socket.set_nonblocking(true).map_err(listen)?;
        let listener = TcpListener::from_std(socket).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let identity = Identity {
            cluster: config.cluster,
            node: config.node,
            incarnation: config.incarnation,
            levels: config.levels.clone(),
            start: getrandom::u64().map_err(StartError::Entropy)?,
        };
        let shared = Arc::new(Shared::new(config, identity, handler));
        let ending = shared.ending.clone();
        let accepting = ending.clone().run_until_cancelled_owned(serve::accept(Arc::clone(&shared), listener));
        shared.tasks.spawn(accepting);
        Ok(Self { shared, address, _ending: Arc::new(ending.drop_guard()) })
    }

    /// Returns the address on which it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Says who the peers are, and where: they are dialed and accepted, others are refused. Streams of who is no peer any
    /// more end; a new address counts from the next dial on, which is now when there is no stream. This node itself may
    /// be among them, and is left out.
    pub fn set_peers(&self, peers: BTreeMap<NodeId, Address>) {
        for member in self.shared.set_members(peers) {
            let removed = member.removed.clone();
            let keeping = removed.run_until_cancelled_owned(link::keep(Arc::clone(&self.shared), member));
            self.shared.tasks.spawn(keeping);
        }
    }

    /// Notes an incarnation of a peer that is known otherwise, as from the catalog: older ones are refused from now on.
    pub fn saw(&self, node: NodeId, incarnation: Incarnation) {
        if self.shared.member(node).is_some() {
            self.shared.with_seen(|seen| seen.note(node, incarnation));
        }
    }

    /// Sends a request. It is in its queue when this returns: requests on one lane and of one urgency arrive in the order
    /// of these calls. Many may be open; the caller has the deadline, and drops the call.
    pub fn call(&self, to: NodeId, lane: Lane, payload: Bytes, urgency: Urgency) -> Call {
        Call(self.push(to, lane, payload, urgency).map_err(Some))
    }

    fn push(
        &self,
        to: NodeId,
        lane: Lane,
        payload: Bytes,
        urgency: Urgency,
    ) -> Result<oneshot::Receiver<Result<Bytes, CallError>>, CallError> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(CallError::TooLarge { bytes: payload.len(), max: PAYLOAD_BYTES_MAX });
        }
        let member = self.shared.member(to).ok_or(CallError::Unknown { node: to })?;
        let calls = member.calls().ok_or(CallError::NotConnected)?;
        calls.push(lane, payload, urgency)
    }

    /// Opens an exchange with a peer, which is dialed for it when it has to be: sends the first message and waits until the
    /// exchange is taken. The caller has the deadline; dropped, the exchange is given up. A dial and its connection run on the
    /// runtime of who needed it first.
    ///
    /// # Errors
    /// [`ExchangeError`]; [`ExchangeError::is_untaken`] tells whether the peer has certainly done nothing.
    pub async fn exchange(&self, to: NodeId, protocol: Protocol, head: Bytes) -> Result<Exchange, ExchangeError> {
        if head.len() > EXCHANGE_BYTES_MAX {
            return Err(ExchangeError::TooLarge { bytes: head.len(), max: EXCHANGE_BYTES_MAX });
        }
        exchange::open(&self.shared, to, protocol, head).await
    }

    /// Hands the exchanges of a protocol that peers open to this handler from now on. It is kept until another takes its
    /// place, [`Peers::refuse_exchanges`] or [`Peers::shut_down`]: one that holds [`Peers`] keeps them alive until then.
    /// Connections are served on the runtime on which this is called first, so that their work is not in the way of
    /// consensus where that has a runtime of its own.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn serve_exchanges(&self, protocol: Protocol, handler: Arc<dyn ExchangeHandler>) {
        self.shared.exchange_handlers.insert(protocol, handler);
    }

    /// Has connections for exchanges served there, also those that come before anybody serves a protocol. By default where the
    /// first protocol is served.
    pub fn place_exchanges(&self, runtime: Handle) {
        self.shared.exchange_handlers.place(runtime);
    }

    /// Refuses the exchanges of a protocol that peers open from now on; those that are open go on.
    pub fn refuse_exchanges(&self, protocol: Protocol) {
        self.shared.exchange_handlers.remove(protocol);
    }

    /// Returns how it stands with the stream to a peer, from now on; `None` for who is no peer. Its sender is gone when
    /// the node is no peer any more.
    #[must_use]
    pub fn link(&self, to: NodeId) -> Option<watch::Receiver<Link>> {
        self.shared.member(to).map(|member| member.watch())
    }

    /// Returns the board.
    #[must_use]
    pub fn board(&self) -> &Board {
        &self.shared.board
    }

    /// Tells what goes on, for metrics and operators.
    #[must_use]
    pub fn observe(&self) -> Observation {
        self.shared.observe()
    }

    /// Ends all streams and stops listening; returns when nothing runs any more. Other clones are of no use then.
    pub async fn shut_down(&self) {
        self.shared.ending.cancel();
        self.shared.exchange_handlers.clear();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").field("node", &self.shared.identity.node).field("address", &self.address).finish()
    }
}

// === impl Call ===

impl Future for Call {
    type Output = Result<Bytes, CallError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            // Whoever holds the sender says how it ended, but for a runtime that ended before.
            Ok(outcome) => Pin::new(outcome).poll(context).map(|said| said.unwrap_or(Err(CallError::Lost))),
            Err(error) => Poll::Ready(Err(error.take().expect("a future is not polled after it resolved"))),
        }
    }
}
