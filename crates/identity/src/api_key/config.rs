//! One `ApiKey` document as plain data, and what can be wrong with a set of them.
//!
//! A document gives one agent its keys: up to four at a time, so that a new one is handed out while the old one still
//! works. All of them are the same caller, with the same tenant, scopes and groups.

use std::collections::BTreeSet;

use quorate_types::{ResourceName, TenantId, Timestamp, rfc3339};

use super::keys::KEYS_MAX;
use super::mac::Mac;
use super::text::Id;

/// Keys of one document at a time: the present one, the next, and one of each for who is slow to change.
pub const SECRETS_MAX: usize = 4;
/// Scopes, and groups, of one document: more is a policy.
pub const SCOPES_MAX: usize = 64;
/// Bytes of a scope or group.
pub const SCOPE_BYTES_MAX: usize = 256;
/// The last second that a table keeps; one more stands for "never".
pub(super) const SECONDS_MAX: u64 = u32::MAX as u64 - 1;

/// An `ApiKey` document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Its name.
    pub name: ResourceName,
    /// The tenant of its caller.
    pub tenant: TenantId,
    /// The agent that its caller is; the document's name where it names none.
    pub agent: ResourceName,
    /// What its caller may ask for, each as [`is_scope`] wants it; at most [`SCOPES_MAX`].
    pub scopes: BTreeSet<String>,
    /// The groups that its caller is in; at most [`SCOPES_MAX`] of at most [`SCOPE_BYTES_MAX`] bytes.
    pub groups: BTreeSet<String>,
    /// Its keys, from 1 to [`SECRETS_MAX`].
    pub secrets: Vec<Secret>,
}

/// What is kept of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Secret {
    /// Its visible part, unique among all keys.
    pub id: Id,
    /// The HMAC of its secret part.
    pub mac: Mac,
    /// From when on it is good; a fraction of a second is rounded up.
    pub not_before: Option<Timestamp>,
    /// From when on it is no longer good; a fraction of a second is rounded down.
    pub expires: Option<Timestamp>,
}

/// A set of documents makes no table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// A document has no keys, or too many.
    #[error("ApiKey/{name}: keys: {found} keys: allowed are 1 to {SECRETS_MAX}")]
    Secrets {
        /// The document.
        name: ResourceName,
        /// How many it has.
        found: usize,
    },
    /// Two keys have the same id.
    #[error("ApiKey/{name}: keys: the id {id} is also that of a key of ApiKey/{other}; ids are unique")]
    Duplicate {
        /// The document that has it second.
        name: ResourceName,
        /// The document that has it first; the same, if it has it twice.
        other: ResourceName,
        /// The id.
        id: Id,
    },
    /// A time is later than a table keeps.
    #[error("ApiKey/{name}: keys: {id}: {time} is too late: allowed is up to {last}", time = rfc3339::format(*.time), last = last())]
    Late {
        /// The document.
        name: ResourceName,
        /// The key.
        id: Id,
        /// The time.
        time: Timestamp,
    },
    /// A key is never good.
    #[error("ApiKey/{name}: keys: {id}: `expires` must be at least a second after `notBefore`")]
    Never {
        /// The document.
        name: ResourceName,
        /// The key.
        id: Id,
    },
    /// There are too many keys.
    #[error("{found} API keys: allowed are {KEYS_MAX}")]
    TooMany {
        /// How many there are.
        found: usize,
    },
}

/// Whether a text is an OAuth scope (RFC 6749 §3.3) of at most [`SCOPE_BYTES_MAX`] bytes.
#[must_use]
pub fn is_scope(text: &str) -> bool {
    let allowed = |byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    (1..=SCOPE_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed)
}

fn last() -> String {
    rfc3339::format(Timestamp::from_millis(SECONDS_MAX * 1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_those_of_oauth() {
        for text in ["a", "tools:read", "https://api.example/x", "!#[]~", &"x".repeat(SCOPE_BYTES_MAX)] {
            assert!(is_scope(text), "{text}");
        }
        for text in ["", "a b", "a\"b", "a\\b", "ä", "a\n", &"x".repeat(SCOPE_BYTES_MAX + 1)] {
            assert!(!is_scope(text), "{text}");
        }
    }
}
