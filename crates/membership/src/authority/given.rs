//! An authority that an enterprise's own authority signed for the cluster, as operators have it: a certificate and a key in PEM.
//!
//! The first certificate is the one that signs; those above it follow, as far as peers need them. Everything that could
//! make peers refuse a certificate later is checked now: usages, path lengths, validity, constraints, and that the key fits.

use std::fmt;

use quorate_types::{ClusterId, Timestamp};
use rcgen::KeyPair;
use zeroize::Zeroizing;

use super::{Authority, AuthorityError};
use crate::pem::{parse_certificates, parse_key};

/// An authority as it was given, not looked at yet.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthorityPem {
    /// Its certificate and those above it.
    pub chain: String,
    /// Its key.
    pub key: Zeroizing<String>,
}

// === impl AuthorityPem ===

impl fmt::Debug for AuthorityPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { chain, key: _ } = self;
        f.debug_struct("AuthorityPem").field("chain", chain).finish_non_exhaustive()
    }
}

// === impl Authority ===

impl Authority {
    /// Reads an authority that was given, as of `now`.
    ///
    /// # Errors
    /// [`AuthorityError`] names the part or the certificate, and what it lacks.
    pub fn of_pem(cluster: ClusterId, given: &AuthorityPem, now: Timestamp) -> Result<Self, AuthorityError> {
        let certificates = parse_certificates("the chain of the authority", given.chain.as_bytes())?;
        let key_der = parse_key("the key of the authority", given.key.as_bytes())?;
        let pair = KeyPair::try_from(&key_der).map_err(|_| AuthorityError::Key)?;
        let authority = Self::assemble(cluster, certificates, pair)?;
        authority.probe(now)?;
        Ok(authority)
    }
}
