//! Sealed keys, in versions.
//!
//! What is kept here was sealed under the root key, which never comes here: a copy of the state opens nothing.

use std::fmt;

use bytes::Bytes;
use quorate_types::{ResourceName, Timestamp};

use crate::check::{self, Checked};
use crate::limits::SEALED_BYTES_MAX;
use crate::proto;
use crate::refusal::Refusal;

/// One version of a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// What it is for.
    pub purpose: ResourceName,
    /// Which one of those.
    pub id: ResourceName,
    /// From 1.
    pub version: u32,
    /// What it does.
    pub state: KeyState,
    /// When it was made.
    pub created_at: Timestamp,
    /// Since when it is in its state.
    pub since: Timestamp,
    /// Sealed under the root key; empty when it is retired.
    pub sealed: Bytes,
}

/// What a version of a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Seals and opens.
    Active,
    /// Opens what it sealed.
    Retiring,
    /// Nothing: it is gone.
    Retired,
}

// === impl Key ===

impl Key {
    pub(crate) fn from_proto(key: &proto::Key) -> Checked<Self> {
        let state = match key.state() {
            proto::KeyState::Unspecified => {
                return Err(Refusal::invalid("state", "unspecified", "a state of keys"));
            }
            proto::KeyState::Active => KeyState::Active,
            proto::KeyState::Retiring => KeyState::Retiring,
            proto::KeyState::Retired => KeyState::Retired,
        };
        let sealed = match state {
            KeyState::Active | KeyState::Retiring => sealed(&key.sealed)?,
            KeyState::Retired if key.sealed.is_empty() => Bytes::new(),
            KeyState::Retired => return Err(Refusal::invalid("sealed", "something", "nothing in a retired key")),
        };
        Ok(Self {
            purpose: check::name("purpose", &key.purpose)?,
            id: check::name("id", &key.id)?,
            version: check::small("version", key.version, 1..=u32::MAX)?,
            state,
            created_at: Timestamp::from_millis(key.created_at),
            since: Timestamp::from_millis(key.since),
            sealed,
        })
    }

    pub(crate) fn to_proto(&self) -> proto::Key {
        let state = match self.state {
            KeyState::Active => proto::KeyState::Active,
            KeyState::Retiring => proto::KeyState::Retiring,
            KeyState::Retired => proto::KeyState::Retired,
        };
        proto::Key {
            purpose: self.purpose.as_str().to_owned(),
            id: self.id.as_str().to_owned(),
            version: self.version,
            state: state.into(),
            created_at: self.created_at.as_millis(),
            since: self.since.as_millis(),
            sealed: self.sealed.clone(),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}/{} version {}, {:?})", self.purpose, self.id, self.version, self.state)
    }
}

/// Checks the length of what was sealed, and takes bytes of its own of it.
pub(crate) fn sealed(bytes: &[u8]) -> Checked<Bytes> {
    if bytes.is_empty() || bytes.len() > SEALED_BYTES_MAX {
        let given = format_args!("{} bytes", bytes.len());
        return Err(Refusal::invalid("sealed", given, format_args!("1 to {SEALED_BYTES_MAX} bytes")));
    }
    Ok(Bytes::copy_from_slice(bytes))
}
