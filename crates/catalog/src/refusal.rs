//! Why a command changed nothing: the field, the value, and what would have been taken.
//!
//! A refusal is part of the outcome that every replica computes, so it is data and the same everywhere. It never holds a
//! secret: hashes of tokens and sealed keys are not shown.

use std::fmt;

use quorate_types::{Code, Timestamp, rfc3339};

use crate::proto::{self, Reason};

/// How much of a value is shown.
const VALUE_BYTES_MAX: usize = 120;

/// Why a command changed nothing.
#[derive(Clone, PartialEq)]
pub struct Refusal(Box<proto::Refusal>);

// === impl Refusal ===

impl Refusal {
    pub(crate) fn new(reason: Reason, field: &str, value: impl fmt::Display, allowed: impl fmt::Display) -> Self {
        let mut value = value.to_string();
        if value.len() > VALUE_BYTES_MAX {
            value.truncate(value.floor_char_boundary(VALUE_BYTES_MAX));
            value.push('…');
        }
        let (field, allowed) = (field.to_owned(), allowed.to_string());
        Self(Box::new(proto::Refusal { reason: reason.into(), field, value, allowed, conflict: None }))
    }

    pub(crate) fn invalid(field: &str, value: impl fmt::Display, allowed: impl fmt::Display) -> Self {
        Self::new(Reason::Invalid, field, value, allowed)
    }

    pub(crate) fn unknown(field: &str, value: impl fmt::Display, allowed: impl fmt::Display) -> Self {
        Self::new(Reason::Unknown, field, value, allowed)
    }

    pub(crate) fn limit(field: &str, value: impl fmt::Display, max: impl fmt::Display) -> Self {
        Self::new(Reason::Limit, field, value, format_args!("at most {max}"))
    }

    pub(crate) fn because_of(mut self, conflict: proto::Conflict) -> Self {
        self.0.conflict = Some(conflict);
        self
    }

    /// Puts what the field is in before its name.
    pub(crate) fn within(mut self, outer: fmt::Arguments<'_>) -> Self {
        self.0.field = format!("{outer}.{}", self.0.field);
        self
    }

    /// What kind of refusal it is.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.0.reason()
    }

    /// The path of the field in the command.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.0.field
    }

    /// What it was, maybe cut.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.0.value
    }

    /// What would have been taken.
    #[must_use]
    pub fn allowed(&self) -> &str {
        &self.0.allowed
    }

    /// Who was faster, and when.
    #[must_use]
    pub fn conflict(&self) -> Option<&proto::Conflict> {
        self.0.conflict.as_ref()
    }

    /// Returns the message that says the same.
    #[must_use]
    pub fn into_proto(self) -> proto::Refusal {
        *self.0
    }

    /// Returns the class of this error.
    #[must_use]
    pub fn code(&self) -> Code {
        match self.reason() {
            Reason::Malformed | Reason::Invalid => Code::InvalidArgument,
            Reason::Unknown => Code::NotFound,
            Reason::Limit => Code::ResourceExhausted,
            Reason::TokenUnknown
            | Reason::TokenForged
            | Reason::TokenExpired
            | Reason::TokenUsed
            | Reason::TokenRevoked
            | Reason::TokenMismatch => Code::PermissionDenied,
            Reason::Level
            | Reason::NotBootstrapped
            | Reason::Bootstrapped
            | Reason::Exists
            | Reason::Conflict
            | Reason::State
            | Reason::StaleDisk => Code::FailedPrecondition,
            Reason::Unspecified => Code::Internal,
        }
    }
}

impl From<proto::Refusal> for Refusal {
    fn from(refusal: proto::Refusal) -> Self {
        Self(Box::new(refusal))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let proto::Refusal { field, value, allowed, conflict, .. } = &*self.0;
        let what = match self.reason() {
            Reason::Unspecified => "refused for a reason of a version to come",
            Reason::Malformed => "not a command",
            Reason::Level => "not at this feature level",
            Reason::NotBootstrapped => "there is no cluster yet",
            Reason::Bootstrapped => "there is a cluster already",
            Reason::Invalid => "not valid",
            Reason::Unknown => "unknown",
            Reason::Exists => "there already",
            Reason::Conflict => "changed meanwhile",
            Reason::Limit => "beyond the limit",
            Reason::State => "not possible now",
            Reason::StaleDisk => "a copy of an older disk",
            Reason::TokenUnknown => "no token that was issued",
            Reason::TokenForged => "not the secret of this token",
            Reason::TokenExpired => "an expired token",
            Reason::TokenUsed => "a used token",
            Reason::TokenRevoked => "a revoked token",
            Reason::TokenMismatch => "a token for another node",
        };
        write!(f, "{field} {value:?}: {what}: {allowed}")?;
        match conflict {
            Some(proto::Conflict { revision, author, at }) => {
                let at = rfc3339::format(Timestamp::from_millis(*at));
                write!(f, " (revision {revision} is by {author:?}, at {at})")
            }
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.reason())
    }
}

impl std::error::Error for Refusal {}
