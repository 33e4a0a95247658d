//! Key material as the catalog keeps it: sealed under the root key, so that a copy of the catalog alone opens nothing.
//!
//! XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03) with purpose, id and version as associated data: a sealed key is not
//! taken for another, nor an old version for a newer one. Form: `1 ‖ nonce ‖ ciphertext ‖ tag`.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use quorate_types::seal::NONCE_BYTES;
use zeroize::Zeroizing;

use super::{Label, RootKey};

/// The most bytes that are sealed or opened: keys have less than 1 KiB, and chains of certificates some.
pub const MATERIAL_BYTES_MAX: usize = 64 << 10;

const FORM: u8 = 1;
const TAG_BYTES: usize = 16;

/// Which key is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Material<'a> {
    /// What it is for, such as `authority`.
    pub purpose: &'a str,
    /// Which of those that are for it.
    pub id: &'a str,
    /// Which one of those that it ever had.
    pub version: u64,
}

/// A sealed key could not be opened.
///
/// The cases are not told apart: it is damaged, of another purpose, id or version, or sealed under another root key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a sealed key could not be opened: it is damaged, stands in the place of another, or was sealed under another root \
     key than this node has"
)]
pub struct NotOpened;

impl RootKey {
    /// Seals key material for the catalog.
    ///
    /// # Panics
    /// When it has more than [`MATERIAL_BYTES_MAX`] bytes, which no key has.
    #[must_use]
    pub fn seal(&self, material: Material<'_>, secret: &[u8]) -> Vec<u8> {
        assert!(secret.len() <= MATERIAL_BYTES_MAX, "keys and their certificates are shorter");
        let associated = material.associated_data();
        encrypt(self.derive(Label::Material).expose(), &associated, secret)
    }

    /// Opens what [`Self::seal`] made for the same material.
    ///
    /// # Errors
    /// [`NotOpened`] for everything else.
    pub fn open(&self, material: Material<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, NotOpened> {
        decrypt(self.derive(Label::Material).expose(), &material.associated_data(), sealed, MATERIAL_BYTES_MAX)
    }
}

// === impl Material ===

impl Material<'_> {
    /// Each part has its length before it, so that no two materials are the same bytes.
    fn associated_data(self) -> Vec<u8> {
        let mut bytes = self.version.to_be_bytes().to_vec();
        for text in [self.purpose, self.id] {
            bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes
    }
}

/// Encrypts and authenticates under a key, with a nonce that is drawn.
pub(crate) fn encrypt(key: &[u8; 32], associated: &[u8], plain: &[u8]) -> Vec<u8> {
    let nonce: [u8; NONCE_BYTES] = crate::entropy::draw();
    let payload = Payload { msg: plain, aad: associated };
    let cipher = XChaCha20Poly1305::new(&Key::from(*key));
    let sealed = cipher.encrypt(&XNonce::from(nonce), payload).expect("the cipher takes 256 GiB");
    [&[FORM], nonce.as_slice(), &sealed].concat()
}

/// Opens what [`encrypt`] made, of up to `bytes_max` bytes.
pub(crate) fn decrypt(
    key: &[u8; 32],
    associated: &[u8],
    sealed: &[u8],
    bytes_max: usize,
) -> Result<Zeroizing<Vec<u8>>, NotOpened> {
    let (form, rest) = sealed.split_first().ok_or(NotOpened)?;
    let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(NotOpened)?;
    if *form != FORM || sealed.len() > bytes_max + TAG_BYTES {
        return Err(NotOpened);
    }
    let payload = Payload { msg: sealed, aad: associated };
    let opened = XChaCha20Poly1305::new(&Key::from(*key)).decrypt(&XNonce::from(*nonce), payload);
    opened.map(Zeroizing::new).map_err(|_| NotOpened)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CA: Material<'static> = Material { purpose: "authority", id: "1", version: 3 };

    #[test]
    fn a_key_opens_as_what_it_was_sealed_as_only() {
        let root = RootKey::new([1; 32]);
        let sealed = root.seal(CA, b"secret");

        assert_eq!(root.open(CA, &sealed).unwrap().as_slice(), b"secret");
        let others = [
            Material { purpose: "ids", ..CA },
            Material { id: "2", ..CA },
            Material { version: 4, ..CA },
            // The same letters, cut elsewhere.
            Material { purpose: "authority1", id: "", ..CA },
        ];
        for other in others {
            assert_eq!(root.open(other, &sealed), Err(NotOpened), "{other:?}");
        }
        assert_eq!(RootKey::new([2; 32]).open(CA, &sealed), Err(NotOpened));
        assert_ne!(root.seal(CA, b"secret"), sealed, "each has a nonce of its own");
    }

    proptest! {
        #[test]
        fn a_sealed_key_with_one_bit_changed_never_opens(bit in 0_usize..(1 + NONCE_BYTES + 6 + TAG_BYTES) * 8) {
            let root = RootKey::new([1; 32]);
            let mut sealed = root.seal(CA, b"secret");
            sealed[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(root.open(CA, &sealed), Err(NotOpened));
        }

        #[test]
        fn arbitrary_bytes_never_open(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(RootKey::new([1; 32]).open(CA, &bytes), Err(NotOpened));
        }
    }
}
