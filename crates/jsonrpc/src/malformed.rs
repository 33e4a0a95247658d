//! Why bytes are not a JSON-RPC frame.
//!
//! One enum of reasons, each with its JSON-RPC code, and the id when it could be read, so that the
//! error answer echoes it. Bytes that are no JSON are −32700, JSON that is no frame is −32600
//! (JSON-RPC 2.0 §5.1).

use crate::id::Id;

/// Bytes were refused as a frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Malformed {
    /// What is wrong.
    pub reason: Reason,
    /// The id, when it could be read: an error answer echoes it.
    pub id: Option<Id>,
}

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The bytes are not UTF-8.
    #[error("the body is not UTF-8")]
    Utf8,
    /// The text is not JSON.
    #[error("the body is not JSON: unexpected input at byte {at}")]
    Syntax {
        /// Offset of the first byte that cannot stand where it is.
        at: usize,
    },
    /// There are more bytes than the limit.
    #[error("the body has more than {max} bytes")]
    TooLarge {
        /// The limit.
        max: usize,
    },
    /// Objects and arrays nest deeper than the limit.
    #[error("the body nests deeper than {max} levels")]
    TooDeep {
        /// The limit.
        max: u32,
    },
    /// A batch has more frames than the limit.
    #[error("a batch has at most {max} messages")]
    TooMany {
        /// The limit.
        max: usize,
    },
    /// A batch has no frames.
    #[error("a batch must not be empty")]
    EmptyBatch,
    /// An array stands where one frame is expected.
    #[error("batches are not allowed here")]
    Batch,
    /// The value is neither object nor array.
    #[error("a message must be an object")]
    NotAnObject,
    /// `jsonrpc` is missing or not `"2.0"`.
    #[error("member `jsonrpc` must be \"2.0\"")]
    Version,
    /// A member of the envelope stands there twice, or beside one that differs only by case.
    #[error("member `{member}` is ambiguous")]
    Duplicate {
        /// The member.
        member: &'static str,
    },
    /// The id is neither a string nor an integer, or is missing where it must be.
    #[error("member `id` must be a string or an integer")]
    Id,
    /// The id is longer than [`crate::ID_BYTES_MAX`].
    #[error("member `id` is too long")]
    IdTooLong,
    /// `method` is not a string.
    #[error("member `method` must be a string")]
    Method,
    /// `params` is neither an object nor an array.
    #[error("member `params` must be an object")]
    Params,
    /// `error` is not an object.
    #[error("member `error` must be an object")]
    Error,
    /// The members together are no request, notification or response.
    #[error("a message has exactly one of the members `method`, `result` and `error`")]
    Shape,
}

// === impl Malformed ===

impl Malformed {
    pub(crate) const fn new(reason: Reason) -> Self {
        Self { reason, id: None }
    }

    /// Returns the JSON-RPC code of the answer.
    #[must_use]
    pub const fn code(&self) -> i64 {
        self.reason.code()
    }
}

// === impl Reason ===

impl Reason {
    /// Returns the JSON-RPC code: −32700 for bytes that are no JSON, else −32600.
    #[must_use]
    pub const fn code(self) -> i64 {
        match self {
            Self::Utf8 | Self::Syntax { .. } => -32700,
            Self::TooLarge { .. }
            | Self::TooDeep { .. }
            | Self::TooMany { .. }
            | Self::EmptyBatch
            | Self::Batch
            | Self::NotAnObject
            | Self::Version
            | Self::Duplicate { .. }
            | Self::Id
            | Self::IdTooLong
            | Self::Method
            | Self::Params
            | Self::Error
            | Self::Shape => -32600,
        }
    }
}
