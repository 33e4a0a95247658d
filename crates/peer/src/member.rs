//! What this node keeps of one peer: where it is, the stream to it, the stream from it.
//!
//! Shared by the task that dials, the streams that come in and the callers. The newest stream of a peer replaces an older
//! one, which ends first, so that no request of the old one comes after one of the new.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_types::NodeId;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::answers::Answers;
use crate::calls::Calls;
use crate::config::Address;
use crate::exchange::Sides;
use crate::link::Link;
use crate::observe::{Counters, PeerObservation};
use crate::refusal::Refusal;

/// One peer.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) node: NodeId,
    pub(crate) address: watch::Sender<Address>,
    pub(crate) counters: Arc<Counters>,
    /// Cancelled when it is no member any more.
    pub(crate) removed: CancellationToken,
    /// Exchanges with it, and their connections.
    pub(crate) exchanges: Sides,
    /// Told when a stream of it came while there is none to it: it is there.
    pub(crate) came: Notify,
    link: watch::Sender<Link>,
    calls: Mutex<Option<Arc<Calls>>>,
    accepted: Mutex<Option<Accepted>>,
    /// Locked while one stream replaces another.
    turn: tokio::sync::Mutex<()>,
}

/// A stream of the peer.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// Asks it to end.
    pub(crate) stop: CancellationToken,
    /// Cancelled when nothing more is read of it.
    pub(crate) ended: CancellationToken,
    pub(crate) answers: Arc<Answers>,
}

/// The stream to the peer; its calls end with it.
pub(crate) struct Connected<'a>(&'a Member);

// === impl Member ===

impl Member {
    pub(crate) fn new(node: NodeId, address: Address, removed: CancellationToken) -> Self {
        Self {
            node,
            address: watch::Sender::new(address),
            counters: Arc::default(),
            removed,
            exchanges: Sides::default(),
            came: Notify::new(),
            link: watch::Sender::new(Link::Connecting),
            calls: Mutex::new(None),
            accepted: Mutex::new(None),
            turn: tokio::sync::Mutex::new(()),
        }
    }

    /// Returns the calling side of the stream to the peer.
    pub(crate) fn calls(&self) -> Option<Arc<Calls>> {
        lock(&self.calls).clone()
    }

    /// Lets calls through.
    pub(crate) fn connect(&self, calls: Arc<Calls>) -> Connected<'_> {
        *lock(&self.calls) = Some(calls);
        Connected(self)
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Link> {
        self.link.subscribe()
    }

    /// Changes how it stands with the stream; watchers hear of what is new.
    pub(crate) fn set_link(&self, next: impl FnOnce(&Link) -> Link) {
        self.link.send_if_modified(|link| {
            let next = next(link);
            let is_same = matches!((&*link, &next), (Link::Connecting, Link::Connecting) | (Link::Gone, Link::Gone));
            *link = next;
            !is_same
        });
    }

    /// Replaces the stream of the peer by this one, after the old one has ended.
    pub(crate) async fn accept(&self, accepted: Accepted) {
        let _turn = self.turn.lock().await;
        let old = lock(&self.accepted).take();
        if let Some(old) = old {
            old.stop.cancel();
            old.ended.cancelled().await;
        }
        *lock(&self.accepted) = Some(accepted);
        if !self.link.borrow().is_connected() {
            self.came.notify_one();
        }
    }

    /// Ends the streams of a peer that is no member any more, and tells it.
    pub(crate) fn dismiss(&self) {
        self.removed.cancel();
        if let Some(accepted) = &*lock(&self.accepted) {
            accepted.answers.refuse(Refusal::UnknownNode { node: self.node });
            accepted.stop.cancel();
        }
    }

    pub(crate) fn observe(&self) -> PeerObservation {
        let (queued_bytes, calls) = self.calls().map_or((0, 0), |calls| calls.observe());
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        PeerObservation {
            node: self.node,
            address: self.address.borrow().clone(),
            link: self.link.borrow().clone(),
            is_accepted: lock(&self.accepted).as_ref().is_some_and(|accepted| !accepted.ended.is_cancelled()),
            queued_bytes,
            calls,
            frames_in: read(&self.counters.frames_in),
            frames_out: read(&self.counters.frames_out),
            bytes_in: read(&self.counters.bytes_in),
            bytes_out: read(&self.counters.bytes_out),
            connects: read(&self.counters.connects),
            failures: self.counters.failures.read(),
            exchanges: self.exchanges.observe(),
        }
    }
}

// === impl Connected ===

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        let calls = lock(&self.0.calls).take();
        if let Some(calls) = calls {
            calls.close();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No panic happens under these locks; a poisoned one would still hold consistent state.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
