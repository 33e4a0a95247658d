//! Why an event of the client is refused. The state is then as it was before.
//!
//! The variants are what a caller answers differently; the gateway maps them to JSON-RPC errors
//! and HTTP statuses by [`Rejection::code`], except where a variant names a status itself.

use quorate_jsonrpc::Id;
use quorate_types::Code;

use crate::ids::StreamId;

/// The event cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The session is over.
    #[error("the session has ended")]
    Ended,
    /// A request with this id is still open (or twice in one batch).
    #[error("a request with the id {id} is still open")]
    DuplicateId {
        /// The id.
        id: Id,
    },
    /// The frame is not of the kind that its event is about.
    #[error("the frame is not a {expected}")]
    WrongKind {
        /// What it should be.
        expected: &'static str,
    },
    /// The request's target and purpose do not go together, or a batch is empty.
    #[error("the request cannot be routed: {reason}")]
    Unroutable {
        /// What is wrong.
        reason: &'static str,
    },
    /// A limit of the session is reached.
    #[error("the session has reached its limit of {max} {limit}")]
    LimitReached {
        /// Which limit: the name of the `Config` field.
        limit: &'static str,
        /// Its value.
        max: usize,
    },
    /// There is no such stream (any more), or it cannot be resumed.
    #[error("there is no stream {stream} to resume")]
    StreamUnknown {
        /// The stream.
        stream: StreamId,
    },
    /// The stream ended and the client has all of it. Answer it with 405: that is the one status
    /// after which clients stop asking.
    #[error("stream {stream} has ended and nothing of it is left to send")]
    StreamFinished {
        /// The stream.
        stream: StreamId,
    },
    /// Events after the one that the client has are gone.
    #[error("stream {stream} can be resumed from {oldest} on, not from {requested}")]
    BeyondRetention {
        /// The stream.
        stream: StreamId,
        /// The last sequence that the client has.
        requested: u64,
        /// The least sequence that can be resumed from.
        oldest: u64,
    },
    /// There is no parked call that could be resumed so: it was resumed before, or it was
    /// cancelled because nobody resumed it in time.
    #[error("no parked call waits for this answer: it was answered before, or not in time")]
    NotParked {
        /// The stream of the call.
        stream: StreamId,
    },
    /// The client claims an event that never was.
    #[error("stream {stream} has no event {requested}, the newest is {newest}")]
    EventUnknown {
        /// The stream.
        stream: StreamId,
        /// The sequence that the client claims to have.
        requested: u64,
        /// The newest one.
        newest: u64,
    },
}

// === impl Rejection ===

impl Rejection {
    /// Returns the class of this error.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Ended | Self::StreamUnknown { .. } => Code::NotFound,
            Self::DuplicateId { .. } | Self::WrongKind { .. } | Self::Unroutable { .. } | Self::EventUnknown { .. } => {
                Code::InvalidArgument
            }
            Self::LimitReached { .. } => Code::ResourceExhausted,
            Self::StreamFinished { .. } | Self::BeyondRetention { .. } | Self::NotParked { .. } => {
                Code::FailedPrecondition
            }
        }
    }
}
