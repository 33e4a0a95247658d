//! The authorities of a cluster as its catalog has them: whom nodes trust, and who signs.
//!
//! | Key of the catalog | What is sealed in it |
//! |---|---|
//! | `authority` / ID | the authority that the cluster began with |
//! | `authority` / `rotated-1`, `rotated-2` | those that came by rotations, in turn |
//! | `authority-rotation` / `state` | which authorities sign and are trusted ([`Rotation`]); absent before the first rotation |
//!
//! The active version of a key counts, and no other one. Nothing is sealed in an `authority` key whose authority went: the
//! catalog removes no key, so that two places are used in turn, and a cluster that rotates for ever has no more of them.
//!
//! Every node can open them, because every node has the root key: each can admit others, and renews its own certificate. An
//! authority that is not named by the rotation is trusted by nobody: it went, or the step that brought it was not finished.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use quorate_catalog::{Catalog, Key, KeyState, SEALED_BYTES_MAX, proto};
use quorate_membership::authority::{Authority, AuthorityError};
use quorate_membership::root::{Material, NotOpened, RootKey};
use quorate_membership::rotation::{Phase, Rotation};
use quorate_membership::trust::{AuthorityId, Bundle};
use quorate_types::{ClusterId, ResourceName, Timestamp};

use crate::error::AdmitError;

/// What the keys of authorities are for.
pub(crate) const PURPOSE: &str = "authority";
/// What the state of their rotation is for.
pub(crate) const ROTATION: &str = "authority-rotation";
/// The one state.
const STATE: &str = "state";
/// Where authorities of rotations are kept, one of which is free when another one is announced. No id of an authority is
/// written so: those are hexadecimal.
const PLACES: [&str; 2] = ["rotated-1", "rotated-2"];
/// The version of the key of the authority that a cluster begins with.
const FIRST_VERSION: u64 = 1;
/// Bytes of a state: revision, phase, two ids.
const STATE_BYTES: usize = 8 + 1 + 32 + 32;

/// Opens what the catalog has of authorities, each once.
pub(crate) struct Authorities {
    cluster: ClusterId,
    root: RootKey,
    /// By key and version.
    opened: Mutex<BTreeMap<(ResourceName, u32), Arc<Authority>>>,
}

// === impl Authorities ===

impl Authorities {
    pub(crate) fn new(cluster: ClusterId, root: RootKey) -> Self {
        Self { cluster, root, opened: Mutex::default() }
    }

    /// Who signs and who is trusted; none in a cluster without an authority of its own.
    pub(crate) fn rotation(&self, catalog: &Catalog) -> Result<Option<Rotation>, NotOpened> {
        if let Some(key) = state(catalog) {
            let material = Material { purpose: ROTATION, id: STATE, version: key.version.into() };
            return decode(&self.root.open(material, &key.sealed)?).map(Some).ok_or(NotOpened);
        }
        let Some(key) = first(catalog) else { return Ok(None) };
        Ok(Some(Rotation::new(self.find(key)?.ok_or(NotOpened)?.id())))
    }

    /// Since when the rotation is where it is: to the moment in which what a step left was put away.
    pub(crate) fn since(catalog: &Catalog) -> Option<Timestamp> {
        state(catalog).or_else(|| first(catalog)).map(|key| key.created_at)
    }

    /// Whom the cluster trusts.
    pub(crate) fn bundle(&self, catalog: &Catalog) -> Result<Bundle, AdmitError> {
        let rotation = self.rotation(catalog)?.ok_or(AdmitError::NoAuthority)?;
        let anchor = |id: AuthorityId| Ok::<_, AdmitError>(self.get(catalog, id)?.anchor().clone());
        Ok(Bundle::new(rotation.trusted().into_iter().map(anchor).collect::<Result<Vec<_>, _>>()?)?)
    }

    /// The one that signs.
    pub(crate) fn signing(&self, catalog: &Catalog) -> Result<Arc<Authority>, AdmitError> {
        let rotation = self.rotation(catalog)?.ok_or(AdmitError::NoAuthority)?;
        self.get(catalog, rotation.signing())
    }

    /// The one with this id.
    pub(crate) fn get(&self, catalog: &Catalog, id: AuthorityId) -> Result<Arc<Authority>, AdmitError> {
        let mut missing = AdmitError::NoKey { authority: id };
        let name = id.to_string();
        for key in keys(catalog).filter(|key| key.id.as_str() == name || is_place(key)) {
            match self.find(key) {
                Ok(Some(authority)) if authority.id() == id => return Ok(authority),
                Ok(_) => {}
                Err(error) => missing = error.into(),
            }
        }
        Err(missing)
    }

    /// Opens a key of the catalog; none when nothing is sealed in it any more. A key that is called after its authority has
    /// half of the id, and what is sealed says the rest.
    fn find(&self, key: &Key) -> Result<Option<Arc<Authority>>, NotOpened> {
        let at = (key.id.clone(), key.version);
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = opened.get(&at) {
            return Ok(Some(Arc::clone(known)));
        }
        let (id, version) = (key.id.as_str(), u64::from(key.version));
        if self.root.open(Material { purpose: PURPOSE, id, version }, &key.sealed)?.is_empty() {
            return Ok(None);
        }
        let authority = Arc::new(Authority::open_as(&self.root, self.cluster, id, version, &key.sealed)?);
        if !is_place(key) && authority.id().to_string() != id {
            return Err(NotOpened);
        }
        opened.insert(at, Arc::clone(&authority));
        Ok(Some(authority))
    }

    /// Forgets authorities that the catalog has no more.
    pub(crate) fn forget(&self, catalog: &Catalog) {
        let purpose = name(PURPOSE);
        let is_there = |id: &ResourceName, version: u32| {
            catalog.active_key(&purpose, id).is_some_and(|active| active.version == version)
        };
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.retain(|(id, version), _| is_there(id, *version));
    }

    /// The keys of authorities that nobody trusts, and whose each is.
    pub(crate) fn left(&self, catalog: &Catalog, rotation: &Rotation) -> Result<Vec<(AuthorityId, Key)>, NotOpened> {
        let trusted = rotation.trusted();
        let mut left = Vec::new();
        for key in keys(catalog) {
            if let Some(authority) = self.find(key)?.filter(|authority| !trusted.contains(&authority.id())) {
                left.push((authority.id(), key.clone()));
            }
        }
        Ok(left)
    }

    /// The command that puts the authority of a new cluster into its catalog.
    pub(crate) fn put(authority: AuthorityId, sealed: Vec<u8>) -> proto::RotateKey {
        let (purpose, id) = (PURPOSE.to_owned(), authority.to_string());
        proto::RotateKey { purpose, id, expected_version: 0, sealed: sealed.into() }
    }

    /// The command that puts an authority that is to be announced into a place that is empty.
    pub(crate) fn put_next(&self, catalog: &Catalog, next: &Authority) -> Result<proto::RotateKey, AdmitError> {
        let purpose = name(PURPOSE);
        for place in PLACES {
            let active = catalog.active_key(&purpose, &name(place));
            if active.map(|key| self.find(key)).transpose()?.flatten().is_some() {
                continue;
            }
            let expected_version = active.map_or(0, |key| key.version);
            let sealed = fits(next.seal_as(&self.root, place, u64::from(expected_version) + 1));
            let sealed = sealed.map_err(AdmitError::Given)?.into();
            return Ok(proto::RotateKey {
                purpose: PURPOSE.to_owned(),
                id: place.to_owned(),
                expected_version,
                sealed,
            });
        }
        // One is announced when one is trusted: the other place was taken since it was emptied.
        Err(AdmitError::Rotating)
    }

    /// The command that has nothing be sealed in a key.
    pub(crate) fn empty(&self, key: &Key) -> proto::RotateKey {
        let (id, version) = (key.id.as_str(), u64::from(key.version) + 1);
        let sealed = self.root.seal(Material { purpose: PURPOSE, id, version }, b"").into();
        let (purpose, id) = (PURPOSE.to_owned(), id.to_owned());
        proto::RotateKey { purpose, id, expected_version: key.version, sealed }
    }

    /// The command that puts a state of the rotation in the place of the one of the catalog.
    pub(crate) fn put_rotation(&self, catalog: &Catalog, rotation: &Rotation) -> proto::RotateKey {
        let expected_version = state(catalog).map_or(0, |key| key.version);
        let material = Material { purpose: ROTATION, id: STATE, version: u64::from(expected_version) + 1 };
        let sealed = self.root.seal(material, &encode(rotation)).into();
        proto::RotateKey { purpose: ROTATION.to_owned(), id: STATE.to_owned(), expected_version, sealed }
    }
}

/// Seals the authority that a cluster begins with.
pub(crate) fn seal_first(authority: &Authority, root: &RootKey) -> Result<Vec<u8>, AuthorityError> {
    fits(authority.seal(root, FIRST_VERSION))
}

/// Refuses what the catalog would: before anything of it is done.
fn fits(sealed: Vec<u8>) -> Result<Vec<u8>, AuthorityError> {
    let bytes = sealed.len();
    if bytes <= SEALED_BYTES_MAX { Ok(sealed) } else { Err(AuthorityError::Large { bytes, most: SEALED_BYTES_MAX }) }
}

/// Versions of keys of authorities and their rotation that opened something once, and have nothing to open.
pub(crate) fn retiring(catalog: &Catalog) -> Vec<proto::RetireKey> {
    let is_ours = |key: &&Key| matches!(key.purpose.as_str(), PURPOSE | ROTATION) && key.state == KeyState::Retiring;
    let retire = |key: &Key| {
        let (purpose, id) = (key.purpose.as_str().to_owned(), key.id.as_str().to_owned());
        proto::RetireKey { purpose, id, version: key.version }
    };
    catalog.keys().filter(is_ours).map(retire).collect()
}

/// The authority that a cluster began with; in one that was not rotated yet.
fn first(catalog: &Catalog) -> Option<&Key> {
    keys(catalog).filter(|key| !is_place(key)).min_by_key(|key| (key.created_at, key.id.clone()))
}

fn state(catalog: &Catalog) -> Option<&Key> {
    catalog.active_key(&name(ROTATION), &name(STATE))
}

fn keys(catalog: &Catalog) -> impl Iterator<Item = &Key> {
    catalog.keys().filter(|key| key.purpose.as_str() == PURPOSE && key.state == KeyState::Active)
}

fn is_place(key: &Key) -> bool {
    PLACES.contains(&key.id.as_str())
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
