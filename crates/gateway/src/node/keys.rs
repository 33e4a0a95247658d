//! What operators see of API keys: whose they are, and when each was used last.
//!
//! Read from the table that requests are checked with; copied, so that nobody holds it. No secret and no HMAC is in it.

use std::collections::BTreeSet;

use quorate_identity::api_key::Id;
use quorate_types::{TenantId, Timestamp};

use super::Gateway;

/// One API key of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyObserved {
    /// The visible part of the key.
    pub id: Id,
    /// The document that has it.
    pub name: String,
    /// Its tenant.
    pub tenant: TenantId,
    /// Who the caller is, as policies name it.
    pub agent: String,
    /// What the caller is given.
    pub scopes: BTreeSet<String>,
    /// From when on it is good.
    pub not_before: Option<Timestamp>,
    /// When it ends.
    pub expires: Option<Timestamp>,
    /// When it was last good for a request of this process, to the second.
    pub last_used: Option<Timestamp>,
}

// === impl Gateway ===

impl Gateway {
    /// Returns what is known of at most `count` API keys, in the order of their ids, from the one after `after` on.
    #[must_use]
    pub fn api_keys(&self, after: Option<Id>, count: usize) -> Vec<KeyObserved> {
        let snapshot = self.shared.snapshot.load_full();
        let observed = snapshot.identities.keys.observe_after(after).take(count);
        let owned = observed.map(|key| KeyObserved {
            id: key.id,
            name: key.name.to_owned(),
            tenant: key.tenant.clone(),
            agent: key.agent.to_owned(),
            scopes: key.scopes.clone(),
            not_before: key.not_before,
            expires: key.expires,
            last_used: key.last_used,
        });
        owned.collect()
    }
}
