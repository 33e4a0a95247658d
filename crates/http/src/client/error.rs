//! Why a request got no answer, sorted by what its sender may do about it.
//!
//! The one question that matters: can the other side have acted on the request? Only a certain
//! "no" allows a retry of a call that is not idempotent, so everything unclear counts as sent.

use std::error::Error as StdError;
use std::time::Duration;

use hyper_util::client::legacy;
use quorate_types::units::format_duration;

use super::connect::ConnectTimeout;

type Source = Box<dyn StdError + Send + Sync>;

/// A request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name did not resolve, the address refused, or TLS failed.
    #[error("cannot connect")]
    Connect(#[source] Source),
    /// No connection was made in time.
    #[error("no connection within {}", format_duration(*timeout))]
    ConnectTimeout {
        /// The time it had.
        timeout: Duration,
    },
    /// The connection did not take the request, or the server refused it unprocessed (HTTP/2
    /// `REFUSED_STREAM`, or GOAWAY before it: RFC 9113 §8.7).
    #[error("the server did not take the request")]
    Refused(#[source] Source),
    /// The request itself cannot be sent, for example because its URI is not absolute.
    #[error("the request cannot be sent")]
    Unsendable(#[source] Source),
    /// The head of the answer did not come in time; the request may be running.
    #[error("no answer within {}", format_duration(*timeout))]
    Timeout {
        /// The time it had.
        timeout: Duration,
    },
    /// The connection broke, or the answer is not HTTP; the request may have been processed.
    #[error("the connection broke before the answer")]
    Broken(#[source] Source),
}

/// The head of an answer is larger than allowed.
#[derive(Debug, thiserror::Error)]
#[error("the answer's header fields have more than {max} bytes")]
pub(super) struct HeadTooLarge {
    pub(super) max: usize,
}

/// The head of an answer has more fields than allowed.
#[derive(Debug, thiserror::Error)]
#[error("the answer has more than {max} header fields")]
pub(super) struct TooManyHeaders {
    pub(super) max: usize,
}

// === impl Error ===

impl Error {
    /// Returns whether the server certainly has not processed the request, so that sending it
    /// elsewhere is safe whatever it does.
    #[must_use]
    pub fn never_sent(&self) -> bool {
        match self {
            Self::Connect(_) | Self::ConnectTimeout { .. } | Self::Refused(_) | Self::Unsendable(_) => true,
            Self::Timeout { .. } | Self::Broken(_) => false,
        }
    }
}

impl From<legacy::Error> for Error {
    fn from(error: legacy::Error) -> Self {
        if let Some(ConnectTimeout(timeout)) = find(&error) {
            return Self::ConnectTimeout { timeout: *timeout };
        }
        if error.is_connect() {
            return Self::Connect(error.into());
        }
        let Some(cause) = find::<hyper::Error>(&error) else {
            // Without a cause in hyper no connection was involved: the client refused the request.
            return Self::Unsendable(error.into());
        };
        if cause.is_canceled() || find::<h2::Error>(cause).is_some_and(is_unprocessed) {
            return Self::Refused(error.into());
        }
        if cause.is_user() {
            return Self::Unsendable(error.into());
        }
        Self::Broken(error.into())
    }
}

/// Returns whether HTTP/2 guarantees that the stream was not processed.
fn is_unprocessed(error: &h2::Error) -> bool {
    // h2 fails a stream with the server's GOAWAY only when it lies above the last one processed.
    let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    error.is_remote() && (refused || error.is_go_away())
}

/// Finds an error of one type among the causes.
fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}
