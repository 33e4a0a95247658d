//! Sealing of the identifiers that a node hands out.
//!
//! Session ids, task ids, cursors and resume states leave the node as opaque text and come back
//! from strangers. A [`Sealer`] makes that text: XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03)
//! over a plaintext, with the purpose as associated data, so that a cursor never opens as a
//! session id. Form: base64url without padding of `version ‖ nonce ‖ ciphertext ‖ tag`, which is
//! visible ASCII and safe in headers, URLs and JSON strings.
//!
//! The 24-byte nonce comes from the caller and must be random: at that size collisions need no
//! bookkeeping. Keys never appear in `Debug`.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;
/// Bytes of random that each seal takes.
pub const NONCE_BYTES: usize = 24;
/// The longest sealed text that is looked at, in bytes: anything longer was not made here.
pub const SEALED_BYTES_MAX: usize = 4096;

const VERSION: u8 = 1;
const TAG_BYTES: usize = 16;

/// What a sealed text is for; one never opens as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// An MCP session id.
    Session,
    /// A task id.
    Task,
    /// A pagination cursor.
    Cursor,
    /// The state of a parked call.
    RequestState,
}

/// A text is not one that this sealer made for this purpose.
///
/// The cases are not told apart: whoever presents a forged text learns nothing from the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid sealed text")]
pub struct NotSealed;

/// Seals and opens identifiers under one key.
#[derive(Clone)]
pub struct Sealer {
    cipher: XChaCha20Poly1305,
    /// Derives the nonces of [`Sealer::seal_stable`].
    nonce_key: [u8; KEY_BYTES],
}

// === impl Purpose ===

impl Purpose {
    const fn associated_data(self) -> &'static [u8] {
        match self {
            Self::Session => b"session",
            Self::Task => b"task",
            Self::Cursor => b"cursor",
            Self::RequestState => b"request-state",
        }
    }
}

// === impl Sealer ===

impl Sealer {
    /// Makes a sealer of a uniformly random key.
    #[must_use]
    pub fn new(key: &[u8; KEY_BYTES]) -> Self {
        let nonce_key = Sha256::new().chain_update(b"quorate nonce key").chain_update(key).finalize();
        Self { cipher: XChaCha20Poly1305::new(&Key::from(*key)), nonce_key: nonce_key.into() }
    }

    /// Seals `plaintext` for `purpose` to the same text every time, for identifiers that their
    /// holder compares (task ids).
    ///
    /// The nonce is a keyed hash of purpose and plaintext, so that only equal plaintexts share
    /// one (the construction of RFC 8452 with a hash); what shows is that two texts are equal.
    #[must_use]
    pub fn seal_stable(&self, purpose: Purpose, plaintext: &[u8]) -> String {
        let aad = purpose.associated_data();
        let hash = Sha256::new()
            .chain_update(self.nonce_key)
            .chain_update((aad.len() as u64).to_be_bytes())
            .chain_update(aad)
            .chain_update(plaintext)
            .finalize();
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(&hash[..NONCE_BYTES]);
        self.seal(purpose, plaintext, &nonce)
    }

    /// Seals `plaintext` for `purpose`.
    ///
    /// # Panics
    /// When `plaintext` is longer than the cipher's 256 GiB, which no identifier is.
    #[must_use]
    pub fn seal(&self, purpose: Purpose, plaintext: &[u8], nonce: &[u8; NONCE_BYTES]) -> String {
        let payload = Payload { msg: plaintext, aad: purpose.associated_data() };
        let sealed =
            self.cipher.encrypt(&XNonce::from(*nonce), payload).expect("an identifier fits the cipher's length limit");
        let mut bytes = Vec::with_capacity(1 + NONCE_BYTES + sealed.len());
        bytes.push(VERSION);
        bytes.extend_from_slice(nonce);
        bytes.extend_from_slice(&sealed);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Opens a text that [`Sealer::seal`] made for the same purpose under the same key.
    ///
    /// # Errors
    /// [`NotSealed`] for everything else: truncated, altered, of another purpose, key or version.
    pub fn open(&self, purpose: Purpose, text: &str) -> Result<Vec<u8>, NotSealed> {
        if text.len() > SEALED_BYTES_MAX {
            return Err(NotSealed);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| NotSealed)?;
        if bytes.len() < 1 + NONCE_BYTES + TAG_BYTES || bytes[0] != VERSION {
            return Err(NotSealed);
        }
        let (nonce, sealed) = bytes[1..].split_at(NONCE_BYTES);
        let nonce: [u8; NONCE_BYTES] = nonce.try_into().map_err(|_| NotSealed)?;
        let payload = Payload { msg: sealed, aad: purpose.associated_data() };
        self.cipher.decrypt(&XNonce::from(nonce), payload).map_err(|_| NotSealed)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(…)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NONCE: [u8; NONCE_BYTES] = [7; NONCE_BYTES];

    #[test]
    fn a_text_opens_only_for_its_purpose_and_key() {
        let sealer = Sealer::new(&[1; KEY_BYTES]);
        let text = sealer.seal(Purpose::Session, b"hello", &NONCE);

        assert_eq!(sealer.open(Purpose::Session, &text), Ok(b"hello".to_vec()));
        assert_eq!(sealer.open(Purpose::Cursor, &text), Err(NotSealed));
        assert_eq!(Sealer::new(&[2; KEY_BYTES]).open(Purpose::Session, &text), Err(NotSealed));
        assert_eq!(sealer.open(Purpose::Session, ""), Err(NotSealed));
        assert_eq!(sealer.open(Purpose::Session, &"A".repeat(SEALED_BYTES_MAX + 1)), Err(NotSealed));
        assert_eq!(format!("{sealer:?}"), "Sealer(…)");
    }

    #[test]
    fn a_stable_seal_is_the_same_for_equal_plaintexts_only() {
        let sealer = Sealer::new(&[1; KEY_BYTES]);
        let text = sealer.seal_stable(Purpose::Task, b"files/7");

        assert_eq!(sealer.seal_stable(Purpose::Task, b"files/7"), text);
        assert_ne!(sealer.seal_stable(Purpose::Task, b"files/8"), text);
        assert_ne!(Sealer::new(&[2; KEY_BYTES]).seal_stable(Purpose::Task, b"files/7"), text);
        assert_eq!(sealer.open(Purpose::Task, &text), Ok(b"files/7".to_vec()));
    }

    proptest! {
        #[test]
        fn sealed_text_is_visible_ascii_and_opens_to_its_plaintext(plaintext: Vec<u8>, key: [u8; 32], nonce: [u8; 24]) {
            let sealer = Sealer::new(&key);
            let text = sealer.seal(Purpose::Task, &plaintext, &nonce);
            prop_assert!(text.bytes().all(|byte| (0x21..=0x7e).contains(&byte)));
            prop_assert_eq!(sealer.open(Purpose::Task, &text), Ok(plaintext));
        }

        #[test]
        fn a_text_with_one_character_changed_never_opens(position: prop::sample::Index, replacement in "[A-Za-z0-9_-]") {
            let sealer = Sealer::new(&[1; KEY_BYTES]);
            let text = sealer.seal(Purpose::Cursor, b"page 2", &NONCE);
            let at = position.index(text.len());
            prop_assume!(text[at..=at] != replacement);
            let forged = format!("{}{replacement}{}", &text[..at], &text[at + 1..]);
            prop_assert_eq!(sealer.open(Purpose::Cursor, &forged), Err(NotSealed));
        }

        #[test]
        fn arbitrary_text_never_opens(text: String) {
            prop_assert_eq!(Sealer::new(&[1; KEY_BYTES]).open(Purpose::Session, &text), Err(NotSealed));
        }
    }
}
