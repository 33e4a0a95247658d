//! Why a call at a modern server ends without that server's answer.
//!
//! Each reason is one that somebody can act on: the server's authors, the client's user, or whoever
//! set the bounds. What it says of a client or server is cut to a bounded length.

use crate::error::Fault;
use crate::exchange::Violation;
use crate::method::Method;

/// Why a call ends without the server's answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The server broke the protocol.
    #[error(transparent)]
    Protocol(#[from] Violation),
    /// The server's result cannot be read.
    #[error("its result cannot be read")]
    Malformed,
    /// A result of a type that nobody asked for, such as a task.
    #[error("its result is of type `{kind}`, which was not asked for")]
    ResultType {
        /// The type, cut to a bounded length.
        kind: String,
    },
    /// Input is required for a method that cannot take any, or neither input nor a retry is asked for.
    #[error("it requires input in a way that {method} does not allow")]
    NoInput {
        /// The method.
        method: Method,
    },
    /// The server asks for what clients cannot be asked.
    #[error("it asks the client for `{method}`, which is no request for input")]
    UnknownRequest {
        /// The method, cut to a bounded length.
        method: String,
    },
    /// The server asks for what this client did not declare.
    #[error("it asks the client for {method} in a way that the client did not declare")]
    Undeclared {
        /// The method.
        method: Method,
    },
    /// The server asks for more than [`Limits::rounds_max`](super::Limits::rounds_max) rounds.
    #[error("it asked for input more than {max} times")]
    TooManyRounds {
        /// The bound.
        max: u32,
    },
    /// The server asks for more than [`Limits::requests_max`](super::Limits::requests_max) things at once.
    #[error("it asks the client for more than {max} things at once")]
    TooManyRequests {
        /// The bound.
        max: usize,
    },
    /// State and responses are larger than [`Limits::input_bytes_max`](super::Limits::input_bytes_max).
    #[error("its state and the client's input have more than {max} bytes")]
    TooLarge {
        /// The bound.
        max: usize,
    },
    /// The client answered a request for input with an error, or not at all.
    #[error("the client did not give what {method} asked for: {message} ({code})")]
    Input {
        /// What it was asked for.
        method: Method,
        /// The code of its error.
        code: i64,
        /// The message of its error, cut to a bounded length.
        message: String,
    },
    /// The server refuses what we say of ourselves.
    #[error("it refuses the gateway's request: {message} ({code})")]
    Hop {
        /// The code of its error.
        code: i64,
        /// The message of its error, cut to a bounded length.
        message: String,
    },
}

// === impl Error ===

impl Error {
    /// Says it to the client; `server` is the configured name of the server.
    #[must_use]
    pub fn to_fault(&self, server: &str) -> Fault {
        match self {
            Self::TooManyRounds { max } => Fault::LimitExceeded { limit: "rounds", max: u64::from(*max) },
            Self::TooManyRequests { max } => Fault::LimitExceeded { limit: "round_requests", max: *max as u64 },
            Self::TooLarge { max } => Fault::LimitExceeded { limit: "round_bytes", max: *max as u64 },
            Self::Input { method, code, message } => {
                Fault::InputFailed { method: *method, code: *code, message: message.clone() }
            }
            Self::Protocol(_)
            | Self::Malformed
            | Self::ResultType { .. }
            | Self::NoInput { .. }
            | Self::UnknownRequest { .. }
            | Self::Undeclared { .. }
            | Self::Hop { .. } => Fault::BackendFailed { server: server.to_owned(), reason: self.to_string() },
        }
    }

    /// Returns the label of this reason in metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Protocol(_) | Self::Malformed | Self::ResultType { .. } | Self::Hop { .. } => "protocol",
            Self::NoInput { .. } | Self::UnknownRequest { .. } | Self::Undeclared { .. } => "undeclared",
            Self::TooManyRounds { .. } => "rounds",
            Self::TooManyRequests { .. } => "round_requests",
            Self::TooLarge { .. } => "round_bytes",
            Self::Input { .. } => "input",
        }
    }
}
