//! The root key of a cluster: 32 bytes that all its nodes have and nobody else.
//!
//! It comes from a file, or is handed over when a node joins; nothing is ever encrypted with it. Keys for purposes are
//! derived ([`RootKey::derive`], HKDF-SHA-256, RFC 5869), so that the loss of one tells nothing of another. Key material
//! that the catalog keeps is sealed under one of them ([`RootKey::seal`]).
//!
//! **Invariant:** neither the key nor one that is derived is shown by `Debug`, and their memory is overwritten.

mod file;
mod material;

use std::fmt;

use quorate_types::seal::KEY_BYTES;
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use zeroize::Zeroizing;

pub use self::file::{FILE, FileError};
pub use self::material::{MATERIAL_BYTES_MAX, Material, NotOpened};
pub(crate) use self::material::{decrypt, encrypt};

/// Keeps what is derived here apart from all else that may ever be derived from the same bytes.
const SALT: &[u8] = b"quorate root key v1";

/// The root key of a cluster.
#[derive(Clone)]
pub struct RootKey(Zeroizing<[u8; KEY_BYTES]>);

/// A key that was derived for one purpose.
#[derive(Clone)]
pub struct DerivedKey(Zeroizing<[u8; KEY_BYTES]>);

/// What keys are derived for; each has a label, which never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Label {
    /// Seals identifiers that leave the node.
    Identifiers,
    /// Hashes API keys.
    ApiKeys,
    /// Seals key material for the catalog.
    Material,
}

struct KeyLength;

// === impl RootKey ===

impl RootKey {
    /// Takes a uniformly random key.
    #[must_use]
    pub fn new(key: [u8; KEY_BYTES]) -> Self {
        Self(Zeroizing::new(key))
    }

    /// Draws a key, for a new cluster.
    #[must_use]
    pub fn draw() -> Self {
        Self::new(crate::entropy::draw())
    }

    /// Derives the key of a purpose: the same on every node of the cluster.
    #[must_use]
    pub fn derive(&self, label: Label) -> DerivedKey {
        DerivedKey(expand(SALT, self.0.as_slice(), label.text()))
    }

    /// Returns the key, for the one place that hands it over.
    #[must_use]
    pub fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootKey(…)")
    }
}

// === impl DerivedKey ===

impl DerivedKey {
    /// Returns the key, for the one cipher that uses it.
    #[must_use]
    pub fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl fmt::Debug for DerivedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DerivedKey(…)")
    }
}

// === impl Label ===

impl Label {
    const fn text(self) -> &'static [u8] {
        match self {
            Self::Identifiers => b"identifiers",
            Self::ApiKeys => b"api keys",
            Self::Material => b"key material",
        }
    }
}

// === impl KeyLength ===

impl KeyType for KeyLength {
    fn len(&self) -> usize {
        KEY_BYTES
    }
}

/// Derives a key of a secret (RFC 5869) for what `info` says.
pub(crate) fn expand(salt: &[u8], secret: &[u8], info: &[u8]) -> Zeroizing<[u8; KEY_BYTES]> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    let pseudorandom = Salt::new(HKDF_SHA256, salt).extract(secret);
    let info = [info];
    let output = pseudorandom.expand(&info, KeyLength).expect("32 bytes are fewer than HKDF can give");
    output.fill(key.as_mut_slice()).expect("the length is the one that was asked for");
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_purposes_differ_and_are_the_same_on_every_node() {
        let root = RootKey::new([7; KEY_BYTES]);
        let labels = [Label::Identifiers, Label::ApiKeys, Label::Material];
        let keys = labels.map(|label| *root.derive(label).expose());

        assert_eq!(labels.map(|label| *RootKey::new([7; KEY_BYTES]).derive(label).expose()), keys);
        assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2]);
        assert!(!keys.contains(root.expose()));
        assert_ne!(RootKey::new([8; KEY_BYTES]).derive(Label::ApiKeys).expose(), &keys[1]);
    }

    #[test]
    fn a_derived_key_is_what_rfc_5869_says() {
        // Computed with Python's hmac: PRK = HMAC(salt, key), OKM = HMAC(PRK, "key material" ‖ 1).
        let expected = "4cf18fd24f2b2aa92ce7cb1d9423b304843a16fe7c180f6e504193a08adfff82";
        let key = RootKey::new([7; KEY_BYTES]).derive(Label::Material);
        let text: String = key.expose().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(text, expected);
    }

    #[test]
    fn no_key_is_shown() {
        let root = RootKey::new([0x41; KEY_BYTES]);
        let shown = format!("{root:?} {:?}", root.derive(Label::ApiKeys));
        assert_eq!(shown, "RootKey(…) DerivedKey(…)");
    }
}
