//! One public key of an issuer (RFC 7517), and what it may be used for.
//!
//! In: a member of a key set. Out: a key that can check signatures, or none, because sets have keys for other things and
//! of kinds that are not spoken here. A key checks only the algorithms that its kind, curve and `alg` allow, so that the
//! header of a token never chooses how its own signature is read (RFC 8725 §2.1).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{ED25519, RsaPublicKeyComponents, UnparsedPublicKey};
use serde_json::{Map, Value};

use crate::token::algorithm::{Algorithm, Scheme};

/// The longest `kid`, in bytes, of keys and of tokens: thumbprints have 43, the longest seen in use 88.
pub const KID_BYTES_MAX: usize = 256;

/// The sizes of RSA moduli, in bytes: below 2048 bits they can be factored within years (RFC 7518 §3.3), above 8192 a
/// check takes milliseconds.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;
/// The longest public exponent, in bytes: 33 bits, which is what ring takes.
const RSA_EXPONENT_BYTES_MAX: usize = 5;

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// What tokens call it.
    pub(crate) kid: Option<Box<str>>,
    /// The one algorithm it is for, where the set says so.
    algorithm: Option<Algorithm>,
    material: Material,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Material {
    /// An uncompressed point (SEC 1 §2.3.3).
    P256(Box<[u8]>),
    /// An uncompressed point.
    P384(Box<[u8]>),
    Ed25519(Box<[u8]>),
    Rsa {
        modulus: Box<[u8]>,
        exponent: Box<[u8]>,
    },
}

// === impl Key ===

impl Key {
    /// Reads a key; none when it is of no use here: of another kind or curve, for something else than checking
    /// signatures, too weak, malformed, or not public.
    pub(crate) fn of(jwk: &Map<String, Value>) -> Option<Self> {
        if !is_for_checking(jwk) || jwk.contains_key("d") {
            return None;
        }
        let kid = match jwk.get("kid") {
            None => None,
            Some(Value::String(kid)) if kid.len() <= KID_BYTES_MAX => Some(kid.as_str().into()),
            Some(_) => return None,
        };
        let algorithm = match jwk.get("alg") {
            None => None,
            Some(name) => Some(Algorithm::from_name(name.as_str()?)?),
        };
        let material = Material::of(jwk)?;
        let key = Self { kid, algorithm, material };
        // A key whose `alg` is not of its kind can check nothing.
        Algorithm::ALL.iter().any(|algorithm| key.fits(*algorithm)).then_some(key)
    }

    /// Tells whether it may check signatures of an algorithm.
    pub(crate) fn fits(&self, algorithm: Algorithm) -> bool {
        let of_its_kind = match (&self.material, algorithm.scheme()) {
            (Material::P256(_), Scheme::P256(_))
            | (Material::P384(_), Scheme::P384(_))
            | (Material::Ed25519(_), Scheme::Ed25519)
            | (Material::Rsa { .. }, Scheme::Rsa(_)) => true,
            (Material::P256(_) | Material::P384(_) | Material::Ed25519(_) | Material::Rsa { .. }, _) => false,
        };
        of_its_kind && self.algorithm.is_none_or(|own| own == algorithm)
    }

    /// Tells whether a signature is this key's over `message`. False also for an algorithm that does not fit.
    pub(crate) fn checks(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        if !self.fits(algorithm) {
            return false;
        }
        let checked = match (&self.material, algorithm.scheme()) {
            (Material::P256(point), Scheme::P256(scheme)) | (Material::P384(point), Scheme::P384(scheme)) => {
                UnparsedPublicKey::new(scheme, point).verify(message, signature)
            }
            (Material::Ed25519(point), Scheme::Ed25519) => {
                UnparsedPublicKey::new(&ED25519, point).verify(message, signature)
            }
            (Material::Rsa { modulus, exponent }, Scheme::Rsa(scheme)) => {
                RsaPublicKeyComponents { n: modulus, e: exponent }.verify(scheme, message, signature)
            }
            (Material::P256(_) | Material::P384(_) | Material::Ed25519(_) | Material::Rsa { .. }, _) => return false,
        };
        checked.is_ok()
    }
}

// === impl Material ===

impl Material {
    fn of(jwk: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| jwk.get(name)?.as_str();
        match (text("kty")?, text("crv")) {
            ("EC", Some("P-256")) => point(jwk, 32).map(Self::P256),
            ("EC", Some("P-384")) => point(jwk, 48).map(Self::P384),
            ("OKP", Some("Ed25519")) => bytes(jwk, "x").filter(|point| point.len() == 32).map(Self::Ed25519),
            ("RSA", _) => {
                let (modulus, exponent) = (bytes(jwk, "n")?, bytes(jwk, "e")?);
                let is_strong = RSA_BYTES.contains(&modulus.len()) && modulus[0] >= 0x80;
                // Exponent 1 makes every message its own signature; an even one has no inverse.
                let is_exponent = (1..=RSA_EXPONENT_BYTES_MAX).contains(&exponent.len())
                    && exponent[0] != 0
                    && exponent[exponent.len() - 1] % 2 == 1
                    && *exponent != [1];
                (is_strong && is_exponent).then_some(Self::Rsa { modulus, exponent })
            }
            _ => None,
        }
    }
}

/// RFC 7517 §4.2 and §4.3: what is said about the use must allow checking signatures; nothing said allows it.
fn is_for_checking(jwk: &Map<String, Value>) -> bool {
    let use_allows = jwk.get("use").is_none_or(|value| value == "sig");
    let operations_allow = match jwk.get("key_ops") {
        None => true,
        Some(Value::Array(operations)) => operations.iter().any(|operation| operation == "verify"),
        Some(_) => false,
    };
    use_allows && operations_allow
}

/// RFC 7518 §6.2.1: each coordinate has the full length of the curve.
fn point(jwk: &Map<String, Value>, length: usize) -> Option<Box<[u8]>> {
    let (x, y) = (bytes(jwk, "x")?, bytes(jwk, "y")?);
    let is_whole = x.len() == length && y.len() == length;
    is_whole.then(|| [&[4], &*x, &*y].concat().into())
}

fn bytes(jwk: &Map<String, Value>, name: &str) -> Option<Box<[u8]>> {
    let text = jwk.get(name)?.as_str()?;
    URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| !bytes.is_empty()).map(Vec::into)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(jwk: &Value) -> Option<Key> {
        Key::of(jwk.as_object().expect("an object"))
    }

    fn with(base: &Value, member: &str, value: Value) -> Value {
        let mut changed = base.clone();
        changed[member] = value;
        changed
    }

    fn coordinate(length: usize) -> String {
        URL_SAFE_NO_PAD.encode(vec![7; length])
    }

    fn ec() -> Value {
        json!({"kty": "EC", "crv": "P-256", "x": coordinate(32), "y": coordinate(32)})
    }

    fn rsa(bits: usize) -> Value {
        let mut modulus = vec![0xff; bits.div_ceil(8)];
        modulus[0] = 0xff >> (modulus.len() * 8 - bits);
        json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode(modulus), "e": "AQAB"})
    }

    #[test]
    fn keys_of_use_are_taken() {
        let okp = json!({"kty": "OKP", "crv": "Ed25519", "x": coordinate(32)});
        let p384 = json!({"kty": "EC", "crv": "P-384", "x": coordinate(48), "y": coordinate(48)});
        for jwk in [ec(), okp, p384, rsa(2048), rsa(3072), rsa(8192)] {
            assert!(key(&jwk).is_some(), "{jwk}");
            for (member, value) in [
                ("use", json!("sig")),
                ("key_ops", json!(["verify"])),
                ("kid", json!("k/../1")),
                ("x5c", json!(["AA"])),
                ("unknown", json!(1)),
            ] {
                assert!(key(&with(&jwk, member, value.clone())).is_some(), "{member} {value}");
            }
        }
    }

    #[test]
    fn keys_for_other_things_and_weak_or_broken_ones_are_not() {
        for (member, value) in [
            ("use", json!("enc")),
            ("use", json!(null)),
            ("key_ops", json!(["sign", "deriveKey"])),
            ("key_ops", json!("verify")),
            ("kid", json!(1)),
            ("kid", json!("x".repeat(KID_BYTES_MAX + 1))),
            ("alg", json!("RS256")),
            ("alg", json!("ES384")),
            ("alg", json!("HS256")),
            ("alg", json!("none")),
            ("alg", json!(7)),
            ("d", json!("private")),
            ("kty", json!("oct")),
            ("kty", json!("ec")),
            ("crv", json!("secp256k1")),
            ("crv", json!("P-384")),
            ("x", json!(coordinate(31))),
            ("x", json!(coordinate(33))),
            ("y", json!(null)),
            ("x", json!(format!("{}=", coordinate(32)))),
        ] {
            assert_eq!(key(&with(&ec(), member, value.clone())), None, "{member} {value}");
        }
        for bits in [512, 1024, 2040, 2047, 8193, 16384] {
            assert_eq!(key(&rsa(bits)), None, "{bits} bits");
        }
        for exponent in ["", "AQ", "AA", "Ag", "AAEAAQ", "AQAAAAAB"] {
            assert_eq!(key(&with(&rsa(2048), "e", json!(exponent))), None, "exponent {exponent}");
        }
        assert_eq!(key(&json!({"kty": "oct", "k": "AAAA", "alg": "HS256"})), None);
        assert_eq!(key(&json!({"kty": "RSA"})), None);
    }

    #[test]
    fn a_key_checks_only_what_its_kind_and_its_alg_allow() {
        let fitting = |jwk: &Value| {
            let key = key(jwk).expect("a key");
            Algorithm::ALL.into_iter().filter(|algorithm| key.fits(*algorithm)).map(Algorithm::name).collect::<Vec<_>>()
        };
        assert_eq!(fitting(&ec()), ["ES256"]);
        assert_eq!(fitting(&rsa(2048)), ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]);
        assert_eq!(fitting(&with(&rsa(2048), "alg", json!("PS256"))), ["PS256"]);
    }

    /// The file was made with another library (Python's `cryptography`), so that not both sides are ring's.
    #[test]
    fn signatures_of_rsa_are_checked_as_their_algorithm_has_it() {
        let vectors: Value = serde_json::from_str(include_str!("rsa.json")).expect("JSON");
        let key = key(&vectors["jwk"]).expect("a key");
        let message = vectors["message"].as_str().expect("a text").as_bytes();
        let signatures = vectors["signatures"].as_object().expect("an object");
        assert_eq!(signatures.len(), 6);
        for (name, signature) in signatures {
            let signature = URL_SAFE_NO_PAD.decode(signature.as_str().expect("a text")).expect("base64url");
            for algorithm in Algorithm::ALL {
                let is_own = algorithm.name() == name;
                assert_eq!(key.checks(algorithm, message, &signature), is_own, "{name} as {algorithm}");
                assert!(!key.checks(algorithm, &message[1..], &signature));
                assert!(!key.checks(algorithm, message, &signature[1..]));
            }
        }
    }

    #[test]
    fn signatures_of_curves_are_checked_as_their_algorithm_has_it() {
        use ring::rand::SystemRandom;
        use ring::signature::{
            ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
        };
        let (random, message) = (SystemRandom::new(), b"what is signed");
        let mut made = Vec::new();
        for (algorithm, curve, scheme) in [
            (Algorithm::Es256, "P-256", &ECDSA_P256_SHA256_FIXED_SIGNING),
            (Algorithm::Es384, "P-384", &ECDSA_P384_SHA384_FIXED_SIGNING),
        ] {
            let pair = EcdsaKeyPair::generate_pkcs8(scheme, &random).expect("a key");
            let pair = EcdsaKeyPair::from_pkcs8(scheme, pair.as_ref(), &random).expect("a key");
            let (x, y) = pair.public_key().as_ref()[1..].split_at(pair.public_key().as_ref().len() / 2);
            let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
            let signature = pair.sign(&random, message).expect("a signature").as_ref().to_vec();
            made.push((algorithm, json!({"kty": "EC", "crv": curve, "x": x, "y": y}), signature));
        }
        let pair = Ed25519KeyPair::generate_pkcs8(&random).expect("a key");
        let pair = Ed25519KeyPair::from_pkcs8(pair.as_ref()).expect("a key");
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(pair.public_key())});
        made.push((Algorithm::EdDsa, jwk, pair.sign(message).as_ref().to_vec()));

        for (own, jwk, signature) in made {
            let key = key(&jwk).expect("a key");
            for algorithm in Algorithm::ALL {
                assert_eq!(key.checks(algorithm, message, &signature), algorithm == own, "{own} as {algorithm}");
            }
            assert!(!key.checks(own, b"something else", &signature), "{own}");
            assert!(!key.checks(own, message, &[]) && !key.checks(own, message, &vec![0; signature.len()]), "{own}");
        }
    }
}
