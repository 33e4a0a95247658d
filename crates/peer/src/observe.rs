//! What a node tells of its streams, for metrics, operators and tests.
//!
//! Counters are written where things happen and never reset; [`Observation`] is read at any time. Refusals are counted by
//! a bounded set of labels: those of this crate and of TLS, not what a stranger sends.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use quorate_types::NodeId;

use crate::config::Address;
use crate::link::Link;

/// What goes on between this node and its peers.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The peers, by number.
    pub peers: Vec<PeerObservation>,
    /// Accepted sockets that have not said who they are.
    pub handshakes: usize,
    /// Accepted sockets that became no stream, by reason: strangers, slow ones, those beyond the limit.
    pub turned_away: BTreeMap<&'static str, u64>,
}

/// What goes on between this node and one peer.
#[derive(Clone, Debug)]
pub struct PeerObservation {
    /// The peer.
    pub node: NodeId,
    /// Where it is dialed.
    pub address: Address,
    /// The stream to it.
    pub link: Link,
    /// Whether a stream of it is open.
    pub is_accepted: bool,
    /// Bytes that wait to be sent on the stream to it.
    pub queued_bytes: usize,
    /// Calls that wait to be sent, or for their answers.
    pub calls: usize,
    /// Requests and answers that came from it.
    pub frames_in: u64,
    /// Requests and answers that went to it.
    pub frames_out: u64,
    /// Payload bytes that came from it.
    pub bytes_in: u64,
    /// Payload bytes that went to it.
    pub bytes_out: u64,
    /// Streams to it that were opened.
    pub connects: u64,
    /// Dials that failed and streams that were refused, by either side, by reason.
    pub failures: BTreeMap<&'static str, u64>,
    /// The exchanges with it.
    pub exchanges: ExchangeObservation,
}

/// What goes on in the exchanges between this node and one peer. "Out" are those that this node opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExchangeObservation {
    /// Whether a connection for exchanges to it is open.
    pub is_connected: bool,
    /// Exchanges to it that are open, or are being opened.
    pub open_out: usize,
    /// Exchanges of it that are open, or are being taken.
    pub open_in: usize,
    /// Exchanges that it took.
    pub opened_out: u64,
    /// Exchanges of it that were taken.
    pub opened_in: u64,
    /// Exchanges that it did not take, or that were too many here, by reason.
    pub refused_out: BTreeMap<&'static str, u64>,
    /// Exchanges of it that were not taken, by reason.
    pub refused_in: BTreeMap<&'static str, u64>,
    /// Messages that came from it.
    pub messages_in: u64,
    /// Messages that were sent to it.
    pub messages_out: u64,
    /// Their bytes that came.
    pub bytes_in: u64,
    /// Their bytes that were sent.
    pub bytes_out: u64,
    /// Connections for exchanges to it that were opened.
    pub connects: u64,
    /// Dials for exchanges that failed, by reason.
    pub failures: BTreeMap<&'static str, u64>,
}

/// Counts what goes on with one peer.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) frames_in: AtomicU64,
    pub(crate) frames_out: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    pub(crate) connects: AtomicU64,
    pub(crate) failures: Reasons,
}

/// Counts by label. The labels are constants, so that there are few.
#[derive(Debug, Default)]
pub(crate) struct Reasons(Mutex<BTreeMap<&'static str, u64>>);

// === impl Counters ===

impl Counters {
    pub(crate) fn sent(&self, bytes: usize) {
        self.frames_out.fetch_add(1, Ordering::Relaxed);
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn came(&self, bytes: usize) {
        self.frames_in.fetch_add(1, Ordering::Relaxed);
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

// === impl Reasons ===

impl Reasons {
    pub(crate) fn count(&self, label: &'static str) {
        // No panic happens under this lock; a poisoned one would still hold consistent state.
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(label).or_default() += 1;
    }

    pub(crate) fn read(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
