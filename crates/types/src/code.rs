//! The one list of error classes of Quorate.
//!
//! Every crate maps its own error enums to a [`Code`] once; the gateway alone maps codes to HTTP
//! statuses and JSON-RPC errors, and metrics use [`Code::as_str`] as the `error.type` label.
//! The classes follow the canonical codes of gRPC (google.rpc.Code), less those that nothing
//! here distinguishes.

use std::fmt;

/// What kind of failure happened, as a caller would treat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The request is malformed or names something impossible; retrying it unchanged is useless.
    InvalidArgument,
    /// Nobody is identified, and somebody has to be.
    Unauthenticated,
    /// The principal is known and may not do this.
    PermissionDenied,
    /// The thing named does not exist, or must look as if it did not.
    NotFound,
    /// The request does not fit the state (for example a method outside of its session).
    FailedPrecondition,
    /// A limit is exhausted; the same request may succeed later.
    ResourceExhausted,
    /// The call's outcome is unknown: it may have run.
    Aborted,
    /// The operation is not offered.
    Unimplemented,
    /// A needed part is out of reach; retrying elsewhere or later is sensible.
    Unavailable,
    /// Time ran out.
    DeadlineExceeded,
    /// The caller went away or asked to stop.
    Cancelled,
    /// A broken invariant of ours.
    Internal,
}

// === impl Code ===

impl Code {
    /// Returns the label of this class in metrics, logs and error data (snake case).
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid_argument",
            Self::Unauthenticated => "unauthenticated",
            Self::PermissionDenied => "permission_denied",
            Self::NotFound => "not_found",
            Self::FailedPrecondition => "failed_precondition",
            Self::ResourceExhausted => "resource_exhausted",
            Self::Aborted => "aborted",
            Self::Unimplemented => "unimplemented",
            Self::Unavailable => "unavailable",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
