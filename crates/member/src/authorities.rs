//! The authorities of a cluster as its catalog has them: whom nodes trust, and who signs.
//!
//! | Key of the catalog | What is sealed in it |
//! |---|---|
//! | `authority` / ID | the key of an authority, as version 1 |
//! | `authority-rotation` / `state` | which authorities sign and are trusted ([`Rotation`]); absent before the first rotation |
//!
//! Every node can open them, because every node has the root key: each can admit others, and renews its own certificate. An
//! authority that is not named by the rotation is trusted by nobody: its key was made by a rotation that was not begun.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use quorate_catalog::{Catalog, Key, KeyState, proto};
use quorate_membership::authority::Authority;
use quorate_membership::root::{Material, NotOpened, RootKey};
use quorate_membership::rotation::{Phase, Rotation};
use quorate_membership::trust::{AuthorityId, Bundle};
use quorate_types::{ClusterId, ResourceName};

use crate::error::AdmitError;

/// What the keys of authorities are for.
pub(crate) const PURPOSE: &str = "authority";
/// What the state of their rotation is for.
pub(crate) const ROTATION: &str = "authority-rotation";
/// The one state.
pub(crate) const STATE: &str = "state";
/// Bytes of a state: revision, phase, two ids.
const STATE_BYTES: usize = 8 + 1 + 32 + 32;

/// Opens what the catalog has of authorities, each once.
pub(crate) struct Authorities {
    cluster: ClusterId,
    root: RootKey,
    opened: Mutex<BTreeMap<AuthorityId, std::sync::Arc<Authority>>>,
}

// === impl Authorities ===

impl Authorities {
    pub(crate) fn new(cluster: ClusterId, root: RootKey) -> Self {
        Self { cluster, root, opened: Mutex::default() }
    }

    /// Who signs and who is trusted; none in a cluster without an authority of its own.
    pub(crate) fn rotation(&self, catalog: &Catalog) -> Result<Option<Rotation>, NotOpened> {
        let (purpose, id) = (name(ROTATION), name(STATE));
        if let Some(key) = catalog.active_key(&purpose, &id) {
            let material = Material { purpose: ROTATION, id: STATE, version: key.version.into() };
            return decode(&self.root.open(material, &key.sealed)?).map(Some).ok_or(NotOpened);
        }
        // Before the first rotation there is one; an attempt to begin it may have left others, which are younger.
        let first = Self::keys(catalog).min_by_key(|key| (key.created_at, key.id.clone()));
        first.map(|key| Ok(Rotation::new(self.find(key)?.id()))).transpose()
    }

    /// Whom the cluster trusts.
    pub(crate) fn bundle(&self, catalog: &Catalog) -> Result<Bundle, AdmitError> {
        let rotation = self.rotation(catalog)?.ok_or(AdmitError::NoAuthority)?;
        let anchor = |id: AuthorityId| Ok::<_, AdmitError>(self.get(catalog, id)?.anchor().clone());
        Ok(Bundle::new(rotation.trusted().into_iter().map(anchor).collect::<Result<Vec<_>, _>>()?)?)
    }

    /// The one that signs.
    pub(crate) fn signing(&self, catalog: &Catalog) -> Result<std::sync::Arc<Authority>, AdmitError> {
        let rotation = self.rotation(catalog)?.ok_or(AdmitError::NoAuthority)?;
        self.get(catalog, rotation.signing())
    }

    fn get(&self, catalog: &Catalog, id: AuthorityId) -> Result<std::sync::Arc<Authority>, AdmitError> {
        let key = Self::keys(catalog).find(|key| key.id.as_str() == id.to_string());
        let authority = self.find(key.ok_or(AdmitError::NoAuthority)?)?;
        if authority.id() == id { Ok(authority) } else { Err(NotOpened.into()) }
    }

    /// Opens a key of the catalog. The key's id has half of the authority's, which is enough to find it, and what is sealed
    /// says the rest.
    fn find(&self, key: &Key) -> Result<std::sync::Arc<Authority>, NotOpened> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = opened.values().find(|known| known.id().to_string() == key.id.as_str()) {
            return Ok(std::sync::Arc::clone(known));
        }
        let authority =
            Authority::open_named(&self.root, self.cluster, key.id.as_str(), key.version.into(), &key.sealed)?;
        let authority = std::sync::Arc::new(authority);
        opened.insert(authority.id(), std::sync::Arc::clone(&authority));
        Ok(authority)
    }

    fn keys(catalog: &Catalog) -> impl Iterator<Item = &Key> {
        catalog.keys().filter(|key| key.purpose.as_str() == PURPOSE && key.state == KeyState::Active)
    }

    /// The command that puts an authority into the catalog.
    pub(crate) fn put(authority: AuthorityId, sealed: Vec<u8>) -> proto::RotateKey {
        let (purpose, id) = (PURPOSE.to_owned(), authority.to_string());
        proto::RotateKey { purpose, id, expected_version: 0, sealed: sealed.into() }
    }

    /// The command that puts a state of the rotation in the place of the one of the catalog.
    pub(crate) fn put_rotation(&self, catalog: &Catalog, rotation: &Rotation) -> proto::RotateKey {
        let expected_version = catalog.active_key(&name(ROTATION), &name(STATE)).map_or(0, |key| key.version);
        let material = Material { purpose: ROTATION, id: STATE, version: u64::from(expected_version) + 1 };
        let sealed = self.root.seal(material, &encode(rotation)).into();
        proto::RotateKey { purpose: ROTATION.to_owned(), id: STATE.to_owned(), expected_version, sealed }
    }
}

fn name(text: &'static str) -> ResourceName {
    ResourceName::new(text).expect("it is a name")
}

fn encode(rotation: &Rotation) -> [u8; STATE_BYTES] {
    let (phase, signing, other) = match rotation.phase {
        Phase::Steady { signing } => (0, signing, AuthorityId([0; 32])),
        Phase::Announced { signing, next } => (1, signing, next),
        Phase::Switched { signing, retired } => (2, signing, retired),
    };
    let mut bytes = [0; STATE_BYTES];
    bytes[..8].copy_from_slice(&rotation.revision.to_be_bytes());
    bytes[8] = phase;
    bytes[9..41].copy_from_slice(&signing.0);
    bytes[41..].copy_from_slice(&other.0);
    bytes
}

fn decode(bytes: &[u8]) -> Option<Rotation> {
    let bytes: &[u8; STATE_BYTES] = bytes.try_into().ok()?;
    let id = |at: usize| AuthorityId(bytes[at..at + 32].try_into().expect("32 bytes"));
    let (signing, other) = (id(9), id(41));
    let phase = match bytes[8] {
        0 => Phase::Steady { signing },
        1 => Phase::Announced { signing, next: other },
        2 => Phase::Switched { signing, retired: other },
        _ => return None,
    };
    let revision = u64::from_be_bytes(bytes[..8].try_into().expect("eight bytes"));
    Some(Rotation { revision, phase })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_of_a_rotation_is_read_as_it_was_written() {
        let (old, new) = (AuthorityId([1; 32]), AuthorityId([2; 32]));
        let phases = [
            Phase::Steady { signing: old },
            Phase::Announced { signing: old, next: new },
            Phase::Switched { signing: new, retired: old },
        ];
        for (revision, phase) in (3..).zip(phases) {
            let rotation = Rotation { revision, phase };
            assert_eq!(decode(&encode(&rotation)), Some(rotation));
        }
        assert_eq!(decode(&[9; STATE_BYTES]), None);
        assert_eq!(decode(&[0; STATE_BYTES - 1]), None);
    }
}
