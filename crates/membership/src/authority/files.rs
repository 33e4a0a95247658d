//! An authority from files: one that an enterprise's own authority signed for the cluster.
//!
//! The first certificate is the one that signs; those above it follow, as far as peers need them. Everything that could
//! make peers refuse a certificate later is checked now: usages, path lengths, validity, constraints, and that the key fits.

use std::path::Path;

use quorate_types::{ClusterId, Timestamp};
use rcgen::KeyPair;

use super::{Authority, AuthorityError};
use crate::pem::{read_certificates, read_key};

impl Authority {
    /// Reads an authority of a PEM file with its chain, the one that signs first, and one with the key of that.
    ///
    /// # Errors
    /// [`AuthorityError`] names the file or the certificate and what it lacks.
    pub fn of_files(cluster: ClusterId, chain: &Path, key: &Path, now: Timestamp) -> Result<Self, AuthorityError> {
        let (certificates, key_der) = (read_certificates(chain)?, read_key(key)?);
        let pair = KeyPair::try_from(&key_der).map_err(|_| AuthorityError::Key)?;
        let authority = Self::assemble(cluster, certificates, pair)?;
        authority.probe(now)?;
        Ok(authority)
    }
}
