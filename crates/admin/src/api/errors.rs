//! Errors of the API: a code of gRPC, a message for people, and details of `google.rpc` for programs.
//!
//! | What | Code | Details |
//! |---|---|---|
//! | a field is not valid | INVALID_ARGUMENT | BadRequest: field, value, what is allowed |
//! | there is no such thing | NOT_FOUND | BadRequest, ErrorInfo |
//! | something has to be done first | FAILED_PRECONDITION | PreconditionFailure |
//! | somebody was faster | ABORTED | PreconditionFailure, ErrorInfo (revision, author, time) |
//! | too much is under way, nobody leads | RESOURCE_EXHAUSTED, UNAVAILABLE | RetryInfo |
//! | it is not known whether it was done | UNKNOWN | ErrorInfo `OUTCOME_UNKNOWN` |
//! | no certificate, or not the role | UNAUTHENTICATED, PERMISSION_DENIED | ErrorInfo |
//!
//! Every error has an ErrorInfo with the domain `quorate`, whose reason a program can rely on. No message holds a secret.

use std::collections::HashMap;
use std::time::Duration;

use quorate_catalog::Refusal;
use quorate_catalog::proto::Reason;
use quorate_control::CommandError;
use quorate_raft::{ChangeError, ProposeError, ReadIndexError};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// The domain of every ErrorInfo.
pub const DOMAIN: &str = "quorate";

/// When to try again where a leader is being found: an election takes less.
const ELECTION: Duration = Duration::from_secs(1);

/// Bytes of a value that an error shows: its beginning says which one it was, and errors go into headers.
const VALUE_BYTES_MAX: usize = 120;

/// An error with a reason for programs.
#[must_use]
pub fn error(code: Code, reason: &str, message: impl Into<String>) -> Status {
    with(code, message, details(reason, []))
}

/// A field of a request that is not valid: its path, what it was, and what is allowed.
#[must_use]
pub fn invalid(field: &str, value: impl std::fmt::Display, allowed: impl std::fmt::Display) -> Status {
    let (mut details, value) = (details("INVALID", []), shown(value));
    details.add_bad_request_violation(field, format!("{value} is not valid: {allowed}"));
    with(Code::InvalidArgument, format!("{field} {value}: {allowed}"), details)
}

/// Something that is not there.
#[must_use]
pub fn not_found(field: &str, value: impl std::fmt::Display, allowed: impl std::fmt::Display) -> Status {
    let (mut details, value) = (details("UNKNOWN", []), shown(value));
    details.add_bad_request_violation(field, format!("{value}: {allowed}"));
    with(Code::NotFound, format!("{field} {value}: there is no such one: {allowed}"), details)
}

/// As much of a value as an error shows. Not by a precision, which formatted arguments do not heed.
fn shown(value: impl std::fmt::Display) -> String {
    let mut shown = Shown(String::new());
    // It ends with an error when there is no room for more.
    let _ = std::fmt::write(&mut shown, format_args!("{value}"));
    shown.0
}

/// Takes what fits.
struct Shown(String);

impl std::fmt::Write for Shown {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let room = VALUE_BYTES_MAX - self.0.len();
        let fits = text.floor_char_boundary(room);
        self.0.push_str(&text[..fits]);
        if fits == text.len() { Ok(()) } else { Err(std::fmt::Error) }
    }
}

/// Something that has to be done first.
#[must_use]
pub fn precondition(reason: &str, subject: &str, message: impl Into<String>) -> Status {
    let message = message.into();
    let mut details = details(reason, []);
    details.add_precondition_failure_violation(reason, subject, &message);
    with(Code::FailedPrecondition, message, details)
}

/// The node waits.
#[must_use]
pub fn waiting() -> Status {
    let how = "this node is in no cluster yet: bootstrap it (`quorate cluster init`) or have it join \
               (`quorate cluster join`)";
    precondition("WAITING", "node", how)
}

/// The node is alone.
#[must_use]
pub fn alone() -> Status {
    precondition(
        "ALONE",
        "node",
        "this node is in no cluster, and has no address for peers: start it with `--peer-listen`",
    )
}

/// What the catalog refused.
#[must_use]
pub fn refusal(refusal: &Refusal) -> Status {
    let (code, reason) = match refusal.reason() {
        Reason::Malformed | Reason::Invalid => (Code::InvalidArgument, "INVALID"),
        Reason::Unknown => (Code::NotFound, "UNKNOWN"),
        Reason::Exists => (Code::AlreadyExists, "EXISTS"),
        Reason::Limit => (Code::ResourceExhausted, "LIMIT"),
        Reason::Conflict => (Code::Aborted, "CONFLICT"),
        Reason::Level => (Code::FailedPrecondition, "LEVEL"),
        Reason::NotBootstrapped => (Code::FailedPrecondition, "NOT_BOOTSTRAPPED"),
        Reason::Bootstrapped => (Code::FailedPrecondition, "BOOTSTRAPPED"),
        Reason::State => (Code::FailedPrecondition, "STATE"),
        Reason::StaleDisk => (Code::FailedPrecondition, "STALE_DISK"),
        Reason::TokenUnknown | Reason::TokenForged => (Code::Unauthenticated, "TOKEN_UNKNOWN"),
        Reason::TokenExpired => (Code::FailedPrecondition, "TOKEN_EXPIRED"),
        Reason::TokenUsed => (Code::FailedPrecondition, "TOKEN_USED"),
        Reason::TokenRevoked => (Code::FailedPrecondition, "TOKEN_REVOKED"),
        Reason::TokenMismatch => (Code::FailedPrecondition, "TOKEN_MISMATCH"),
        Reason::Unspecified => (Code::Internal, "UNSPECIFIED"),
    };
    let (field, value, allowed) = (refusal.field(), refusal.value(), refusal.allowed());
    let conflict = refusal
        .conflict()
        .map(|by| [("revision", by.revision.to_string()), ("author", by.author.clone()), ("at_ms", by.at.to_string())]);
    let mut details = details(reason, conflict.into_iter().flatten());
    match code {
        Code::FailedPrecondition | Code::Aborted => {
            details.add_precondition_failure_violation(reason, field, refusal.to_string());
        }
        Code::ResourceExhausted => {
            details.add_quota_failure_violation(field, refusal.to_string());
        }
        _ => {
            details.add_bad_request_violation(field, format!("{value:?}: {allowed}"));
        }
    }
    with(code, refusal.to_string(), details)
}

/// A command of the catalog that was not taken, or of which it is not known.
#[must_use]
pub fn command(error: &CommandError) -> Status {
    match error {
        CommandError::Refused(refused) => refusal(refused),
        CommandError::Proposal(propose) => proposal(propose),
        CommandError::Outcome => self::error(Code::Internal, "VERSION", error.to_string()),
    }
}

/// A proposal that was not committed, or of which it is not known.
#[must_use]
pub fn proposal(error: &ProposeError) -> Status {
    let message = error.to_string();
    match error {
        ProposeError::NotLeader { .. } => retry(Code::Unavailable, "NO_LEADER", message, ELECTION),
        ProposeError::Overloaded { retry_after } => retry(Code::ResourceExhausted, "OVERLOADED", message, *retry_after),
        ProposeError::DiskFull => self::error(Code::ResourceExhausted, "DISK_FULL", message),
        ProposeError::TooLarge(_) => self::error(Code::InvalidArgument, "TOO_LARGE", message),
        ProposeError::Unknown => {
            self::error(Code::Unknown, "OUTCOME_UNKNOWN", format!("{message}: look before doing it again"))
        }
        ProposeError::Stopped { .. } => self::error(Code::Internal, "STOPPED", message),
    }
}

/// A read that cannot be known to be the latest.
#[must_use]
pub fn read(error: &ReadIndexError) -> Status {
    let message = error.to_string();
    match error {
        ReadIndexError::NotLeader { .. } => retry(Code::Unavailable, "NO_LEADER", message, ELECTION),
        ReadIndexError::NoQuorum => retry(Code::Unavailable, "NO_QUORUM", message, ELECTION),
        ReadIndexError::Behind { .. } => retry(Code::Unavailable, "BEHIND", message, ELECTION),
        ReadIndexError::Stopped { .. } => self::error(Code::Internal, "STOPPED", message),
    }
}

/// A change of a group that was not made, or of which it is not known.
#[must_use]
pub fn change(error: &ChangeError) -> Status {
    let message = error.to_string();
    match error {
        ChangeError::NotLeader { .. } => retry(Code::Unavailable, "NO_LEADER", message, ELECTION),
        ChangeError::Refused { .. } => precondition("STATE", "group", message),
        ChangeError::Unknown => self::error(Code::Unknown, "OUTCOME_UNKNOWN", message),
        ChangeError::Stopped { .. } => self::error(Code::Internal, "STOPPED", message),
    }
}

/// An error that another try may not meet.
#[must_use]
pub fn retry(code: Code, reason: &str, message: impl Into<String>, after: Duration) -> Status {
    let mut details = details(reason, []);
    details.set_retry_info(Some(after));
    with(code, message, details)
}

/// The beginning of details: a reason, and what belongs to it.
pub(crate) fn details(reason: &str, metadata: impl IntoIterator<Item = (&'static str, String)>) -> ErrorDetails {
    let metadata: HashMap<String, String> =
        metadata.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    ErrorDetails::with_error_info(reason, DOMAIN, metadata)
}

pub(crate) fn with(code: Code, message: impl Into<String>, details: ErrorDetails) -> Status {
    Status::with_error_details(code, message, details)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_any_length_is_shown_with_its_beginning() {
        let long = "é".repeat(1 << 20);
        for value in [format_args!("{long}"), format_args!("{long:?}")] {
            let status = invalid("page_token", value, "none");
            assert!(status.message().len() < 200 && status.message().contains("éé"), "{}", status.message().len());
            assert!(status.details().len() < 1000);
        }
        assert!(not_found("node", 7, "a node").message().starts_with("node 7: "));
    }
}
