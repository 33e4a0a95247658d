//! What a document keeps of an API key's secret, and the key that this takes.
//!
//! HMAC-SHA256 over id and secret, under a key that is derived from the node's root key (HKDF, RFC 5869) with a label of
//! its own: it opens nothing that the root key seals otherwise, and whoever has the documents and not the root key can
//! neither test a guess nor make a key. The id is part of it, so that an HMAC is good for its own id only.
//!
//! The derivation is fixed for good: every stored HMAC depends on it. All nodes that share documents share a root key.

use std::fmt;
use std::str::FromStr;

use ring::{hkdf, hmac};

use super::text::{Fresh, Parts, SECRET_CHARS};

/// Bytes of an HMAC.
pub const MAC_BYTES: usize = 32;
/// Bytes of the node's root key.
const ROOT_BYTES: usize = 32;

const SALT: &[u8] = b"quorate";
const LABEL: &[u8] = b"api key mac v1";
const MESSAGE_BYTES: usize = 8 + SECRET_CHARS;

/// The HMAC of a secret; its text is 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Mac(pub [u8; MAC_BYTES]);

/// A text is not an HMAC. The text is not shown: it may be a key that was put in the wrong place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the HMAC of an API key has 64 hexadecimal digits (0-9, a-f)")]
pub struct InvalidMac;

/// The key of all HMACs of a node.
#[derive(Clone)]
pub struct MacKey(hmac::Key);

// === impl Mac ===

impl FromStr for Mac {
    type Err = InvalidMac;

    fn from_str(text: &str) -> Result<Self, InvalidMac> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(InvalidMac),
        };
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return Err(InvalidMac) };
        let pairs: &[[u8; 2]; MAC_BYTES] = pairs.try_into().map_err(|_| InvalidMac)?;
        let mut bytes = [0; MAC_BYTES];
        for (byte, [high, low]) in bytes.iter_mut().zip(*pairs) {
            *byte = (digit(high)? << 4) | digit(low)?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mac(…)")
    }
}

// === impl MacKey ===

impl MacKey {
    /// Derives the key from the node's root key.
    #[must_use]
    pub fn of_root(root: &[u8; ROOT_BYTES]) -> Self {
        let pseudorandom = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(root);
        let okm = pseudorandom.expand(&[LABEL], hmac::HMAC_SHA256);
        Self(okm.expect("32 bytes are within what HKDF gives").into())
    }

    /// Computes what a document keeps of a key that was just made.
    #[must_use]
    pub fn mac(&self, key: &Fresh) -> Mac {
        let tag = hmac::sign(&self.0, &message(&key.parts()));
        Mac(tag.as_ref().try_into().expect("HMAC-SHA256 has 32 bytes"))
    }

    /// Whether `mac` is that of the presented key, in a time that does not depend on either.
    pub(super) fn is_mac_of(&self, presented: &Parts<'_>, mac: &Mac) -> bool {
        hmac::verify(&self.0, &message(presented), &mac.0).is_ok()
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey(…)")
    }
}

/// Id and secret have fixed lengths, so no two keys share a message.
fn message(parts: &Parts<'_>) -> [u8; MESSAGE_BYTES] {
    let mut message = [0; MESSAGE_BYTES];
    let (id, secret) = message.split_at_mut(8);
    id.copy_from_slice(&parts.id.to_bytes());
    secret.copy_from_slice(parts.secret);
    message
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stored_macs_stay_good() {
        let key = Fresh::new([1; 8], [2; 32]);
        // Calculated with another implementation of HKDF and HMAC (Python's hmac and hashlib).
        let expected = "697107c6d41e51c5a41cf3b9fea1452ffd8e1b1060ff322d797f9ee928d80548";
        assert_eq!(MacKey::of_root(&[7; 32]).mac(&key).to_string(), expected);
        assert_ne!(MacKey::of_root(&[8; 32]).mac(&key).to_string(), expected);
    }

    #[test]
    fn a_mac_is_good_for_its_key_and_id_only() {
        let node = MacKey::of_root(&[7; 32]);
        let key = Fresh::new([1; 8], [2; 32]);
        let mac = node.mac(&key);

        assert!(node.is_mac_of(&key.parts(), &mac));
        assert!(!node.is_mac_of(&Fresh::new([1; 8], [3; 32]).parts(), &mac));
        assert!(!node.is_mac_of(&Fresh::new([2; 8], [2; 32]).parts(), &mac));
        assert!(!MacKey::of_root(&[8; 32]).is_mac_of(&key.parts(), &mac));
    }

    #[test]
    fn neither_macs_nor_their_key_are_in_debug_texts() {
        assert_eq!(format!("{:?} {:?}", Mac([7; 32]), MacKey::of_root(&[7; 32])), "Mac(…) MacKey(…)");
    }

    #[test]
    fn what_is_no_mac_is_refused_without_being_repeated() {
        let odd = "a".repeat(63);
        let long = "a".repeat(66);
        let upper = "A".repeat(64);
        for text in ["", "a", &odd, &long, &upper, &"é".repeat(32)] {
            let error = text.parse::<Mac>().expect_err(text);
            assert!(text.is_empty() || !error.to_string().contains(&text.repeat(2)));
        }
    }

    proptest! {
        #[test]
        fn a_mac_reads_back_from_its_text(bytes: [u8; 32]) {
            prop_assert_eq!(Mac(bytes).to_string().parse(), Ok(Mac(bytes)));
        }
    }
}
