//! Why a call, a start or a dial failed.
//!
//! Variants are what callers treat differently. Whether a request may have reached the peer is the first question of a
//! caller: only [`CallError::Lost`] leaves it open, and [`CallError::Refused`] says that it did and was not taken.

use std::io;
use std::net::SocketAddr;

use quorate_tls::NodeHandshakeError;
use quorate_types::{Code, NodeId};

use crate::refusal::Refusal;

/// A call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The node is no peer: not in the last `set_peers`, or this node itself.
    #[error("node {node} is not a peer")]
    Unknown {
        /// The node that was called.
        node: NodeId,
    },
    /// There is no stream to the peer, or it ended before the request was sent.
    #[error("there is no stream to the node")]
    NotConnected,
    /// Too many bytes wait to be sent to the peer.
    #[error("{waiting} bytes wait to be sent to the node, and a request of {bytes} bytes finds no place")]
    QueueFull {
        /// Bytes that wait.
        waiting: usize,
        /// The request's.
        bytes: usize,
    },
    /// Too many answers of the peer are awaited.
    #[error("{max} answers of the node are awaited, which are all that are allowed")]
    TooManyCalls {
        /// The limit for the request's urgency.
        max: usize,
    },
    /// The request is too large for one frame.
    #[error("a request has {bytes} bytes; allowed are at most {max}")]
    TooLarge {
        /// The request's.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The stream ended after the request was sent: its outcome is unknown.
    #[error("the stream to the node ended before the answer came")]
    Lost,
    /// The peer did not take the request: it can be asked again.
    #[error("the node refused the request: {reason}")]
    Refused {
        /// What the peer said.
        reason: String,
    },
}

/// The node cannot talk to others.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A value of the configuration is not allowed.
    #[error(transparent)]
    Config(#[from] crate::config::InvalidConfig),
    /// The address for peers cannot be bound.
    #[error("cannot listen for peers on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The node's own certificate does not prove who it is: every peer would turn it away.
    #[error("the node's certificate has the URI names {found:?}; one has to be `{needed}`, and no other `quorate://`")]
    Certificate {
        /// The names of the certificate.
        found: Vec<String>,
        /// The name of this node.
        needed: crate::name::NodeName,
    },
    /// The operating system gives no randomness.
    #[error("no randomness: {0}")]
    Entropy(getrandom::Error),
}

/// No stream came of a dial.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The host has no address.
    #[error("the host cannot be resolved: {0}")]
    Resolve(#[source] io::Error),
    /// Nothing listens at the address: the peer's process is not there.
    #[error("nothing listens there")]
    NothingListens,
    /// The address cannot be reached.
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    /// It took too long.
    #[error("the dial took more than {ms} ms")]
    TimedOut {
        /// The limit in milliseconds.
        ms: u128,
    },
    /// The TLS handshake failed, at either side.
    #[error(transparent)]
    Tls(NodeHandshakeError),
    /// The certificate names no node of this cluster.
    #[error("the peer's certificate is not of a node of this cluster")]
    Stranger,
    /// The peer refuses this node.
    #[error("node {node} refuses this node: {reason}")]
    RefusedByPeer {
        /// The peer.
        node: NodeId,
        /// Why.
        reason: Refusal,
    },
    /// This node refuses the peer.
    #[error("this node refuses node {node}: {reason}")]
    RefusedByUs {
        /// The peer.
        node: NodeId,
        /// Why.
        reason: Refusal,
    },
    /// The stream did not begin as it should.
    #[error("the stream did not begin: {0}")]
    Stream(String),
}

// === impl CallError ===

impl CallError {
    /// Returns the class of this error.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Unknown { .. } => Code::NotFound,
            Self::NotConnected | Self::Refused { .. } => Code::Unavailable,
            Self::QueueFull { .. } | Self::TooManyCalls { .. } => Code::ResourceExhausted,
            Self::TooLarge { .. } => Code::InvalidArgument,
            Self::Lost => Code::Aborted,
        }
    }
}

// === impl DialError ===

impl DialError {
    /// Tells whether one side does not want the other, which redialing alone does not change.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Tls(NodeHandshakeError::Failed(_)) => false,
            Self::Tls(_) | Self::Stranger | Self::RefusedByPeer { .. } | Self::RefusedByUs { .. } => true,
            Self::Resolve(_) | Self::NothingListens | Self::Connect(_) | Self::TimedOut { .. } | Self::Stream(_) => {
                false
            }
        }
    }

    /// Returns the label in metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Resolve(_) => "resolve",
            Self::NothingListens => "nothing_listens",
            Self::Connect(_) => "connect",
            Self::TimedOut { .. } => "timed_out",
            Self::Tls(error) => error.label(),
            Self::Stranger => "stranger",
            Self::RefusedByPeer { reason, .. } | Self::RefusedByUs { reason, .. } => reason.label(),
            Self::Stream(_) => "stream",
        }
    }
}
