//! What nodes say to each other: one stream to each peer for all groups, and a board of what each says of itself.
//!
//! A node opens one gRPC stream to each peer, over TLS in which both prove which node of the cluster they are. Its
//! requests go along it, bounded, by urgency and in order; answers come back on it. [`Peers`] is the handle, [`Handler`]
//! takes requests, [`Link`] tells how it stands with a peer (a process that is gone is known at once), [`Board`] spreads
//! small things that each node says of itself. Beside that stream, on another connection, go [`Exchange`]s: long streams of
//! messages that whoever registered for their protocol takes ([`ExchangeHandler`]).
//!
//! ```text
//! Peers::call ─▶ calls (queue) ─▶ dial: TCP, TLS, HTTP/2, Hello ═══▶ serve: admission ─▶ inbound ─▶ Handler
//!       ▲──────────────────────── answers by id ◀═══════════════════ answers (queue) ◀──── Reply ◀────┘
//! ```
//!
//! **Invariants:** a peer is who its certificate names, and a member, or there is no stream. A caller knows whether its
//! request may have arrived. Everything that waits is bounded. Knows no consensus: payloads are bytes.

mod admission;
mod answers;
mod backoff;
mod board;
mod calls;
mod config;
mod dial;
mod error;
mod exchange;
mod frame;
mod hello;
mod inbound;
mod link;
mod member;
mod name;
mod observe;
mod peers;
mod queue;
mod refusal;
mod serve;
mod shared;
mod spread;
mod throttle;

use bytes::Bytes;
pub use quorate_types::NodeId;

pub use answers::Reply;
pub use board::{KEY_BYTES_MAX, KEYS_MAX, Posted, PutError, VALUE_BYTES_MAX};
pub use config::{Address, Config, DEFAULTS, InvalidAddress, InvalidConfig, Limits, PAYLOAD_BYTES_MAX};
pub use error::{CallError, DialError, StartError};
pub use exchange::{
    Declined, EXCHANGE_BYTES_MAX, EXCHANGES_MAX, Ended, Exchange, ExchangeError, ExchangeHandler, Offer, Receiving,
    SendError, Sending,
};
pub use link::Link;
pub use name::{InvalidNodeName, NodeName};
pub use observe::{ExchangeObservation, Observation, PeerObservation};
pub use peers::{Call, Peers};
pub use queue::Urgency;
pub use refusal::Refusal;
pub use spread::Board;

/// What a request is about; the numbers are given here, so that no two users have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(pub u32);

/// Requests of one lane, from one node to another, arrive in the order in which they were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane {
    /// What its requests are about.
    pub protocol: Protocol,
    /// Which of its kind: for consensus the group.
    pub number: u32,
}

/// Takes the requests of peers.
pub trait Handler: Send + Sync + 'static {
    /// Takes a request. Those of one peer, lane and urgency come in the order in which they were sent. Must not block: the
    /// answer comes through `reply`, at any time, from anywhere. A protocol that is not known is refused by it.
    fn request(&self, from: NodeId, lane: Lane, payload: Bytes, reply: Reply);
}

// === impl Protocol ===

impl Protocol {
    /// Consensus: `quorate.raft.v1.Request` and `Response`.
    pub const RAFT: Self = Self(1);
    /// Requests of clients that another node answers, in exchanges.
    pub const RELAY: Self = Self(2);
}
