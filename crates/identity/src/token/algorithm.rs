//! The signature algorithms of tokens, and how each is checked.
//!
//! Only asymmetric ones exist here (RFC 7518 §3.1, RFC 8037, RFC 9864): `none` and the HMAC family have no name in this
//! list, so that no configuration can allow them, and a public key can never be taken for a shared secret.

use std::fmt;

use ring::signature::{self, EcdsaVerificationAlgorithm, RsaParameters};

/// A signature algorithm of JWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519; named `EdDSA` or `Ed25519` (RFC 9864).
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
}

/// How a signature is checked, by the kind of key that it takes.
#[derive(Clone, Copy)]
pub(crate) enum Scheme {
    P256(&'static EcdsaVerificationAlgorithm),
    P384(&'static EcdsaVerificationAlgorithm),
    Ed25519,
    Rsa(&'static RsaParameters),
}

// === impl Algorithm ===

impl Algorithm {
    /// All of them, the cheapest to check first.
    pub const ALL: [Self; 9] = [
        Self::Es256,
        Self::EdDsa,
        Self::Es384,
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
    ];

    /// Finds the algorithm that a header or a key names (`alg`); none for anything else. Case matters.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            // RFC 9864 §2.2: the same signature under a name that says the curve.
            "Ed25519" => Some(Self::EdDsa),
            _ => Self::ALL.into_iter().find(|algorithm| algorithm.name() == name),
        }
    }

    /// Returns its registered name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
        }
    }

    /// Returns the check. Those of RSA take moduli of 2048 to 8192 bits, those of ECDSA signatures of fixed length.
    pub(crate) fn scheme(self) -> Scheme {
        match self {
            Self::Es256 => Scheme::P256(&signature::ECDSA_P256_SHA256_FIXED),
            Self::Es384 => Scheme::P384(&signature::ECDSA_P384_SHA384_FIXED),
            Self::EdDsa => Scheme::Ed25519,
            Self::Rs256 => Scheme::Rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Scheme::Rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Scheme::Rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
            Self::Ps256 => Scheme::Rsa(&signature::RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => Scheme::Rsa(&signature::RSA_PSS_2048_8192_SHA384),
            Self::Ps512 => Scheme::Rsa(&signature::RSA_PSS_2048_8192_SHA512),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_has_one_name_and_no_other_text_is_one() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::from_name(&algorithm.to_string()), Some(algorithm));
        }
        assert_eq!(Algorithm::from_name("Ed25519"), Some(Algorithm::EdDsa));
        for name in
            ["none", "None", "NONE", "HS256", "HS384", "HS512", "es256", "ES256 ", "", "ES512", "Ed448", "RSA1_5"]
        {
            assert_eq!(Algorithm::from_name(name), None, "{name:?}");
        }
    }
}
