//! What the two sides of a join compute alike: the proof, the agreed key, and what is sealed under it.
//!
//! ```text
//! proof  = HMAC-SHA-256(HKDF("quorate join proof v1", hash, token id), application)
//! key    = HKDF(joiner's nonce ‖ member's nonce, X25519 ‖ hash, "quorate join grant v1")
//! sealed = XChaCha20-Poly1305(key, grant, associated: application)
//! ```
//!
//! `hash` is the SHA-256 of the token's secret: what the cluster keeps. RFC 5869, RFC 7748, RFC 2104.

use ring::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use ring::hmac::{self, HMAC_SHA256};
use ring::rand::SystemRandom;
use zeroize::Zeroizing;

use super::GRANT_BYTES_MAX;
use crate::root::{decrypt, encrypt, expand};
use crate::token::TokenId;

/// The public half of a key that lives for one exchange.
pub(super) type Nonce = [u8; 32];

/// A key that lives for one exchange.
pub(super) struct Ephemeral {
    private: EphemeralPrivateKey,
    public: Nonce,
}

// === impl Ephemeral ===

impl Ephemeral {
    pub(super) fn draw() -> Self {
        let private = EphemeralPrivateKey::generate(&X25519, &SystemRandom::new());
        let private = private.expect("the operating system provides randomness");
        let public = private.compute_public_key().expect("a key that was drawn has a public half");
        Self { public: public.as_ref().try_into().expect("a point on X25519 has 32 bytes"), private }
    }

    pub(super) fn public(&self) -> Nonce {
        self.public
    }

    /// Agrees on the key of the grant; `nonces` are the joiner's and the member's. None when the other half is no key.
    pub(super) fn agree(self, other: &Nonce, hash: &[u8; 32], nonces: [&Nonce; 2]) -> Option<Zeroizing<[u8; 32]>> {
        let other = UnparsedPublicKey::new(&X25519, other);
        let derive = |shared: &[u8]| {
            // As long as both parts, so that nothing is left behind where it grew.
            let mut secret = Zeroizing::new(Vec::with_capacity(64));
            secret.extend_from_slice(shared);
            secret.extend_from_slice(hash);
            expand(&nonces.map(|nonce| *nonce).concat(), &secret, b"quorate join grant v1")
        };
        agree_ephemeral(self.private, &other, derive).ok()
    }
}

pub(super) fn prove(hash: &[u8; 32], token: TokenId, application: &[u8]) -> [u8; 32] {
    let proof = hmac::sign(&proof_key(hash, token), application);
    proof.as_ref().try_into().expect("an HMAC with SHA-256 has 32 bytes")
}

/// Checks a proof in a time that does not depend on it.
pub(super) fn is_proven(hash: &[u8; 32], token: TokenId, application: &[u8], proof: &[u8]) -> bool {
    hmac::verify(&proof_key(hash, token), application, proof).is_ok()
}

fn proof_key(hash: &[u8; 32], token: TokenId) -> hmac::Key {
    hmac::Key::new(HMAC_SHA256, expand(b"quorate join proof v1", hash, &token.0).as_slice())
}

pub(super) fn seal(key: &[u8; 32], application: &[u8], grant: &[u8]) -> Vec<u8> {
    encrypt(key, application, grant)
}

pub(super) fn open(key: &[u8; 32], application: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    decrypt(key, application, sealed, GRANT_BYTES_MAX).ok()
}
