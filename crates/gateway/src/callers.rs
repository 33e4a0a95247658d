//! Those who called lately: their principals and rights, made once from their proofs.
//!
//! In: the proofs of a request, which the caches of their own checkers hand out again and again. Out: the [`Caller`]
//! that they make. Certificates are told apart by their thumbprint, API keys by their id, tokens by where their checked form
//! is in memory, which is kept as long as the caller is known. A configuration has callers of its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_identity::{Verified, api_key};
use quorate_tls::PeerIdentity;
use quorate_types::{TenantId, Timestamp};

use crate::authenticate::Caller;

/// Parts of the table, so that two threads seldom wait for each other.
const SHARDS: usize = 16;
/// Callers that one part knows: 16,384 in all, of which each takes about 2 KB before it has asked for anything. One more
/// makes its part forget all of its own, which costs each of them the making of its rights.
const CALLERS_PER_SHARD_MAX: usize = 1_024;

/// What a request proves of its caller.
pub(crate) struct Proofs<'a> {
    /// The certificate of its connection, and the tenant of its trust domain.
    pub(crate) certificate: Option<(Arc<PeerIdentity>, TenantId)>,
    /// The API key.
    pub(crate) key: Option<api_key::Known<'a>>,
    /// The token.
    pub(crate) token: Option<Arc<Verified>>,
}

/// Proofs by which a caller is found again.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    certificate: Option<[u8; 32]>,
    /// The id of the API key, which stays the same through the life of a table of keys.
    key: Option<api_key::Id>,
    token: usize,
}

/// A caller, with the proofs that its key is made of.
struct Known {
    caller: Caller,
    /// Keeps the address taken.
    _token: Option<Arc<Verified>>,
}

/// The callers of one configuration.
#[derive(Default)]
pub(crate) struct Callers {
    shards: [Mutex<HashMap<Key, Known>>; SHARDS],
}

// === impl Proofs ===

impl Proofs<'_> {
    /// When the first of them ends.
    pub(crate) fn ends(&self) -> Option<Timestamp> {
        let certificate = self.certificate.as_ref().map(|(identity, _)| identity.not_after());
        let token = self.token.as_ref().map(|token| token.ends());
        [certificate, self.key.and_then(|key| key.expires), token].into_iter().flatten().min()
    }
}

// === impl Callers ===

impl Callers {
    /// Returns the caller of these proofs, which `make` makes when it is not known.
    ///
    /// # Errors
    /// Those of `make`.
    pub(crate) fn get<E>(&self, proofs: &Proofs<'_>, make: impl FnOnce() -> Result<Caller, E>) -> Result<Caller, E> {
        let key = Key::of(proofs);
        let shard = &self.shards[key.shard()];
        if let Some(known) = lock(shard).get(&key) {
            return Ok(known.caller.clone());
        }
        let caller = make()?;
        let known = Known { caller: caller.clone(), _token: proofs.token.clone() };
        let mut shard = lock(shard);
        if shard.len() >= CALLERS_PER_SHARD_MAX {
            shard.clear();
        }
        shard.insert(key, known);
        Ok(caller)
    }
}

// === impl Key ===

impl Key {
    fn of(proofs: &Proofs<'_>) -> Self {
        Self {
            certificate: proofs.certificate.as_ref().map(|(identity, _)| *identity.thumbprint()),
            key: proofs.key.map(|key| key.id),
            token: proofs.token.as_ref().map_or(0, |token| Arc::as_ptr(token).addr()),
        }
    }

    fn shard(&self) -> usize {
        use std::hash::{DefaultHasher, Hash as _, Hasher as _};

        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        usize::try_from(hasher.finish() % SHARDS as u64).expect("a number of a shard fits")
    }
}

fn lock(shard: &Mutex<HashMap<Key, Known>>) -> MutexGuard<'_, HashMap<Key, Known>> {
    // A table that somebody panicked over still has only whole callers.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
