//! Why an exchange was not opened, or ended otherwise than in order.
//!
//! Whether the other node may have acted on it is the first question of a caller: [`ExchangeError::is_untaken`] answers
//! it. The second is whether that node is still there: [`ExchangeError::Lost`] says that its connection is gone,
//! [`ExchangeError::Cancelled`] that only this one exchange was given up.

use std::sync::Arc;

use quorate_types::{Code, NodeId};
use tonic::Status;

use crate::error::DialError;

/// Longest reason that goes along with a refusal; the rest is cut.
const REASON_BYTES_MAX: usize = 1 << 10;

/// An exchange was not opened, or has no orderly end.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The node is no peer: not in the last `set_peers`, or this node itself. Not taken.
    #[error("node {node} is not a peer")]
    Unknown {
        /// The node that was meant.
        node: NodeId,
    },
    /// The node cannot be dialed, or does not want this node, or this one it. Not taken.
    #[error("node {node} cannot be reached for an exchange: {reason}")]
    Unreachable {
        /// The node that was meant.
        node: NodeId,
        /// What came of the dial.
        reason: Arc<DialError>,
    },
    /// As many exchanges of this node are open at the other one as are allowed. Not taken.
    #[error("{max} exchanges with the node are open, which are all that are allowed")]
    TooMany {
        /// The limit.
        max: usize,
    },
    /// The first message is too large. Not taken.
    #[error("a message has {bytes} bytes; allowed are at most {max}")]
    TooLarge {
        /// The message's.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The other node did not take the exchange.
    #[error("the node did not take the exchange: {0}")]
    Refused(Declined),
    /// The exchange was given up before its end, by the other side or by the other half of this one. It may have been
    /// taken.
    #[error("the exchange was given up before its end")]
    Cancelled,
    /// The connection ended: the other node is gone, cut off, or no peer any more. It may have been taken.
    #[error("the connection of the exchange ended: {reason}")]
    Lost {
        /// How it ended, for logs.
        reason: String,
    },
}

/// Why a node did not take an exchange.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Declined {
    /// Nobody there serves the protocol: it is not ready yet, or of another version.
    #[error("nobody serves exchanges of its protocol")]
    UnknownProtocol,
    /// More exchanges are open there than it takes.
    #[error("too many exchanges are open")]
    TooMany,
    /// Its handler did not want it.
    #[error("{0}")]
    Handler(String),
}

/// A message was not sent, or it is unknown whether it was read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The message is too large; the exchange goes on without it.
    #[error("a message has {bytes} bytes; allowed are at most {max}")]
    TooLarge {
        /// The message's.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Nothing more is taken.
    #[error(transparent)]
    Ended(#[from] Ended),
}

/// Nothing more can be sent on an exchange.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// The other side has finished and reads no further; what it said can be read to its end.
    #[error("the other side has finished and reads no further")]
    Finished,
    /// The exchange was given up, by the other side or by the other half of this one.
    #[error("the exchange was given up before its end")]
    Cancelled,
    /// The connection ended.
    #[error("the connection of the exchange ended: {reason}")]
    Lost {
        /// How it ended, for logs.
        reason: String,
    },
}

// === impl ExchangeError ===

impl ExchangeError {
    /// Tells whether the other node has certainly not acted on it, so that it can be asked of it again, or of another.
    #[must_use]
    pub const fn is_untaken(&self) -> bool {
        match self {
            Self::Unknown { .. } | Self::Unreachable { .. } | Self::TooMany { .. } => true,
            Self::TooLarge { .. } | Self::Refused(_) => true,
            Self::Cancelled | Self::Lost { .. } => false,
        }
    }

    /// Returns the class of this error.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Unknown { .. } => Code::NotFound,
            Self::Unreachable { .. } => Code::Unavailable,
            Self::TooMany { .. } | Self::Refused(Declined::TooMany) => Code::ResourceExhausted,
            Self::TooLarge { .. } => Code::InvalidArgument,
            Self::Refused(Declined::UnknownProtocol) => Code::Unimplemented,
            Self::Refused(Declined::Handler(_)) => Code::Unavailable,
            Self::Cancelled | Self::Lost { .. } => Code::Aborted,
        }
    }

    /// Reads the error of a stream whose answer was awaited or read.
    pub(crate) fn from_h2(error: &h2::Error) -> Self {
        match Ended::from_h2(error) {
            // Whoever finishes says so before its reset; a reset without it is no end.
            Ended::Finished | Ended::Cancelled => Self::Cancelled,
            Ended::Lost { reason } => Self::Lost { reason },
        }
    }
}

// === impl Declined ===

impl Declined {
    /// Returns the label in metrics.
    pub(crate) const fn label(&self) -> &'static str {
        match self {
            Self::UnknownProtocol => "unknown_protocol",
            Self::TooMany => "too_many",
            Self::Handler(_) => "handler",
        }
    }

    /// Makes one of a handler, with a reason that is cut where it is too long.
    pub(crate) fn by_handler(reason: &str) -> Self {
        Self::Handler(reason[..reason.floor_char_boundary(REASON_BYTES_MAX)].to_owned())
    }

    pub(crate) fn to_status(&self) -> Status {
        match self {
            Self::UnknownProtocol => Status::unimplemented(""),
            Self::TooMany => Status::resource_exhausted(""),
            Self::Handler(reason) => Status::failed_precondition(reason.as_str()),
        }
    }

    pub(crate) fn from_status(status: &Status) -> Self {
        match status.code() {
            tonic::Code::Unimplemented => Self::UnknownProtocol,
            tonic::Code::ResourceExhausted => Self::TooMany,
            // Others are of newer versions: they took nothing either.
            _ => Self::by_handler(status.message()),
        }
    }
}

// === impl Ended ===

impl Ended {
    pub(crate) fn from_h2(error: &h2::Error) -> Self {
        match error.reason() {
            Some(reason) if error.is_reset() => Self::from_reset(reason),
            _ => Self::Lost { reason: error.to_string() },
        }
    }

    pub(crate) fn from_reset(reason: h2::Reason) -> Self {
        match reason {
            // RFC 9113 §8.1: an answer that is complete needs no more of the request.
            h2::Reason::NO_ERROR => Self::Finished,
            _ => Self::Cancelled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_declined_and_why_is_read_as_it_was_written() {
        let long = "ä".repeat(REASON_BYTES_MAX);
        for declined in [Declined::UnknownProtocol, Declined::TooMany, Declined::by_handler("not the owner: äöü\n")]
        {
            let response = declined.to_status().into_http::<()>();
            let status = Status::from_header_map(response.headers()).unwrap();
            assert_eq!(Declined::from_status(&status), declined);
        }
        assert_eq!(Declined::by_handler(&long).to_string().len(), REASON_BYTES_MAX);
    }
}
