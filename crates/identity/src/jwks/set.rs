//! The keys of an issuer at one time (RFC 7517 §5).
//!
//! In: the text of a key set, from the issuer's server or a file. Out: the keys that can check signatures, in order, and
//! which of them a token means. A key that is unknown, weak or for something else is skipped and counted: an issuer may
//! publish what others need. A set without any is a set: the issuer says that nothing of it is to be trusted.

use std::sync::Arc;

use serde_json::Value;

use super::key::Key;
use crate::json;
use crate::token::algorithm::Algorithm;

/// The most bytes of a key set: 256 keys with their certificates have a third of that.
pub const SET_BYTES_MAX: usize = 1 << 20;
/// The most keys of a set. Issuers publish two to ten; a search through so many still takes under a microsecond.
pub const KEYS_MAX: usize = 256;

/// The keys of an issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySet {
    keys: Vec<Arc<Key>>,
    skipped: usize,
}

/// A text is not a key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeys {
    /// It is too long.
    #[error("a key set has at most {SET_BYTES_MAX} bytes, this one has {bytes}")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// It is not a JSON object, nests too deep, or names something twice.
    #[error("not a JSON object in which every name stands once")]
    Json,
    /// It has no array `keys`.
    #[error("no array `keys`")]
    NoKeys,
    /// It has too many keys.
    #[error("a key set has at most {KEYS_MAX} keys, this one has {keys}")]
    TooMany {
        /// How many there are.
        keys: usize,
    },
}

/// No key of a set is the one that a token means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotOne {
    /// None has its `kid`, or fits its algorithm.
    Unknown,
    /// Several do.
    Ambiguous,
}

// === impl KeySet ===

impl KeySet {
    /// Reads a key set.
    ///
    /// # Errors
    /// [`InvalidKeys`] when it is not one; keys that are of no use here are skipped.
    pub fn parse(text: &[u8]) -> Result<Self, InvalidKeys> {
        if text.len() > SET_BYTES_MAX {
            return Err(InvalidKeys::TooLarge { bytes: text.len() });
        }
        let members = json::object(text).map_err(|_| InvalidKeys::Json)?;
        let Some(Value::Array(listed)) = members.get("keys") else { return Err(InvalidKeys::NoKeys) };
        if listed.len() > KEYS_MAX {
            return Err(InvalidKeys::TooMany { keys: listed.len() });
        }
        let keys: Vec<_> = listed.iter().filter_map(Value::as_object).filter_map(Key::of).map(Arc::new).collect();
        Ok(Self { skipped: listed.len() - keys.len(), keys })
    }

    /// Returns how many keys can check signatures.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns whether no key can.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Returns how many keys were skipped.
    #[must_use]
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// Finds the key that a token means: the one of its `kid`, or without one the only key, that fits the algorithm.
    pub(crate) fn select(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<&Arc<Key>, NotOne> {
        let is_named = |key: &&Arc<Key>| kid.is_none_or(|kid| key.kid.as_deref() == Some(kid));
        let mut fitting = self.keys.iter().filter(is_named).filter(|key| key.fits(algorithm));
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(key),
            (None, _) => Err(NotOne::Unknown),
            (Some(_), Some(_)) => Err(NotOne::Ambiguous),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn ec(kid: Option<&str>) -> Value {
        let mut jwk = json!({"kty": "EC", "crv": "P-256", "x": "A".repeat(43), "y": "A".repeat(43)});
        if let Some(kid) = kid {
            jwk["kid"] = json!(kid);
        }
        jwk
    }

    fn ed(kid: &str) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "x": "A".repeat(43), "kid": kid})
    }

    fn set(keys: &[Value]) -> KeySet {
        KeySet::parse(json!({"keys": keys}).to_string().as_bytes()).expect("a set")
    }

    #[test]
    fn a_token_means_the_one_key_of_its_kid_that_fits() {
        let keys = set(&[ec(Some("a")), ec(Some("b")), ed("b"), ec(Some("c")), ec(Some("c"))]);
        for (kid, algorithm, expected) in [
            (Some("a"), Algorithm::Es256, Ok("a")),
            (Some("b"), Algorithm::Es256, Ok("b")),
            (Some("b"), Algorithm::EdDsa, Ok("b")),
            (None, Algorithm::EdDsa, Ok("b")),
            (Some("a"), Algorithm::EdDsa, Err(NotOne::Unknown)),
            (Some("A"), Algorithm::Es256, Err(NotOne::Unknown)),
            (Some("../a"), Algorithm::Es256, Err(NotOne::Unknown)),
            (Some(""), Algorithm::Es256, Err(NotOne::Unknown)),
            (Some("c"), Algorithm::Es256, Err(NotOne::Ambiguous)),
            (None, Algorithm::Es256, Err(NotOne::Ambiguous)),
            (None, Algorithm::Rs256, Err(NotOne::Unknown)),
        ] {
            let found = keys.select(kid, algorithm).map(|key| key.kid.as_deref().expect("all have one"));
            assert_eq!(found, expected, "{kid:?} {algorithm}");
        }
        assert_eq!(set(&[ec(None)]).select(Some("a"), Algorithm::Es256), Err(NotOne::Unknown));
        assert!(set(&[ec(None)]).select(None, Algorithm::Es256).is_ok());
    }

    #[test]
    fn what_is_of_no_use_is_skipped_and_what_is_no_set_is_refused() {
        let keys = set(&[ec(Some("a")), json!({"kty": "oct", "k": "AA"}), json!(7), json!({})]);
        assert_eq!((keys.len(), keys.skipped(), keys.is_empty()), (1, 3, false));
        assert_eq!(set(&[]), KeySet::default());

        let many = json!({"keys": vec![ec(None); KEYS_MAX + 1]}).to_string();
        for (text, expected) in [
            ("", InvalidKeys::Json),
            ("<html>", InvalidKeys::Json),
            ("[]", InvalidKeys::Json),
            (r#"{"keys":[],"keys":[]}"#, InvalidKeys::Json),
            ("{}", InvalidKeys::NoKeys),
            (r#"{"keys":{}}"#, InvalidKeys::NoKeys),
            (&many, InvalidKeys::TooMany { keys: KEYS_MAX + 1 }),
            (&" ".repeat(SET_BYTES_MAX + 1), InvalidKeys::TooLarge { bytes: SET_BYTES_MAX + 1 }),
        ] {
            assert_eq!(KeySet::parse(text.as_bytes()), Err(expected), "{text:.40}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(bytes: Vec<u8>, text in r#"\{"keys":\[(\{("(kty|crv|x|y|n|e|kid)":"[A-Z]{0,4}",?){0,5}\},?){0,3}\]\}"#) {
            let _ = KeySet::parse(&bytes);
            let _ = KeySet::parse(text.as_bytes());
        }
    }
}
