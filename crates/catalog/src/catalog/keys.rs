//! Commands about sealed keys.
//!
//! The versions of a key have no gaps, and the latest is the active one: rotating makes the next and lets the one before
//! retire, so that there is always exactly one that seals.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use quorate_types::ResourceName;

use super::{Answer, Catalog, DONE, KeyId, Step};
use crate::check::{self, Checked};
use crate::effect::Effect;
use crate::key::{self, Key, KeyState};
use crate::limits::{KEY_VERSIONS_MAX, KEYS_MAX};
use crate::proto::{self, Reason, outcome};
use crate::refusal::Refusal;

// === impl Catalog ===

impl Catalog {
    pub(super) fn rotate_key(&mut self, rotate: &proto::RotateKey, step: &mut Step) -> Answer {
        let (purpose, id) = (check::name("purpose", &rotate.purpose)?, check::name("id", &rotate.id)?);
        let sealed = key::sealed(&rotate.sealed)?;
        let versions: Vec<Key> = self.versions(&purpose, &id).cloned().collect();
        // The version that is active is the latest one: an active key cannot be retired.
        let active = versions.last().map_or(0, |key| key.version);
        if rotate.expected_version != active {
            return Err(Refusal::new(Reason::Conflict, "expected_version", rotate.expected_version, active));
        }
        let oldest = versions.first().filter(|_| versions.len() >= KEY_VERSIONS_MAX);
        if let Some(oldest) = oldest.filter(|oldest| oldest.state != KeyState::Retired) {
            let allowed = format_args!("at most {KEY_VERSIONS_MAX} versions: retire version {}", oldest.version);
            return Err(Refusal::new(Reason::Limit, "id", &id, allowed));
        }
        if oldest.is_none() && self.keys.len() >= KEYS_MAX {
            return Err(Refusal::limit("id", &id, format_args!("{KEYS_MAX} versions of all keys")));
        }
        let version = active.checked_add(1).ok_or_else(|| Refusal::limit("expected_version", active, u32::MAX))?;

        let keys = Arc::make_mut(&mut self.keys);
        if let Some(oldest) = oldest {
            keys.remove(&key_id(oldest));
        }
        if let Some(last) = versions.last() {
            keys.insert(key_id(last), Key { state: KeyState::Retiring, since: step.now, ..last.clone() });
        }
        let (created_at, since) = (step.now, step.now);
        self.put_key(Key { purpose, id, version, state: KeyState::Active, created_at, since, sealed }, step);
        Ok(outcome::Kind::Key(proto::KeyRotated { version }))
    }

    pub(super) fn retire_key(&mut self, retire: &proto::RetireKey, step: &mut Step) -> Answer {
        let key = self.known_key(&retire.purpose, &retire.id, retire.version)?;
        match key.state {
            KeyState::Active => {
                let allowed = "a version that is not active: rotate the key first";
                Err(Refusal::new(Reason::State, "version", key.version, allowed))
            }
            KeyState::Retiring => {
                let key = Key { state: KeyState::Retired, since: step.now, sealed: Bytes::new(), ..key.clone() };
                self.put_key(key, step);
                DONE
            }
            KeyState::Retired => DONE,
        }
    }

    pub(super) fn rewrap_key(&mut self, rewrap: &proto::RewrapKey, step: &mut Step) -> Answer {
        let key = self.known_key(&rewrap.purpose, &rewrap.id, rewrap.version)?;
        if key.state == KeyState::Retired {
            return Err(Refusal::new(Reason::State, "version", key.version, "a version that is not retired"));
        }
        let key = Key { sealed: key::sealed(&rewrap.sealed)?, ..key.clone() };
        self.put_key(key, step);
        DONE
    }

    /// The versions of a key, ascending.
    pub(crate) fn versions(&self, purpose: &ResourceName, id: &ResourceName) -> impl Iterator<Item = &Key> {
        let at = |version| (purpose.clone(), id.clone(), version);
        self.keys.range((Bound::Included(at(0)), Bound::Included(at(u32::MAX)))).map(|(_, key)| key)
    }

    fn known_key(&self, purpose: &str, id: &str, version: u32) -> Checked<&Key> {
        let key = (check::name("purpose", purpose)?, check::name("id", id)?, version);
        self.keys.get(&key).ok_or_else(|| Refusal::unknown("version", version, "a version of this key that there is"))
    }

    fn put_key(&mut self, key: Key, step: &mut Step) {
        let (purpose, id) = (key.purpose.as_str().to_owned(), key.id.as_str().to_owned());
        step.effects.push(Effect::Key { purpose, id });
        Arc::make_mut(&mut self.keys).insert(key_id(&key), key);
    }
}

pub(crate) fn key_id(key: &Key) -> KeyId {
    (key.purpose.clone(), key.id.clone(), key.version)
}
