//! What [`Session::check`](crate::Session::check) finds broken: always a mistake of the machine.
//!
//! Debug builds stop at one; a release build that finds one by itself should end the session, since
//! what it would send next cannot be trusted.

use crate::ids::{CallKey, LegKey, StreamId};

/// An invariant does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Something of an ended session is left.
    #[error("the session has ended and still holds {what}")]
    LeftAfterEnd {
        /// What.
        what: &'static str,
    },
    /// A limit is exceeded.
    #[error("{count} {limit} exceed the limit of {max}")]
    LimitExceeded {
        /// Which limit: the name of the `Config` field.
        limit: &'static str,
        /// How many there are.
        count: usize,
        /// How many may be.
        max: usize,
    },
    /// A call does not fit its POST, leg or stream.
    #[error("call {call}: {what}")]
    Call {
        /// The call.
        call: CallKey,
        /// What does not fit.
        what: &'static str,
    },
    /// A stream's bookkeeping does not add up.
    #[error("stream {stream}: {what}")]
    Stream {
        /// The stream.
        stream: StreamId,
        /// What does not add up.
        what: &'static str,
    },
    /// A leg's bookkeeping does not add up.
    #[error("leg {leg}: {what}")]
    Leg {
        /// The leg.
        leg: LegKey,
        /// What does not add up.
        what: &'static str,
    },
}
