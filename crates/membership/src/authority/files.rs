//! An authority from files: one that an enterprise's own authority signed for the cluster.
//!
//! The first certificate is the one that signs; those above it follow, as far as peers need them. Everything that could
//! make peers refuse a certificate later is checked now: usages, path lengths, validity, constraints, and that the key fits.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use quorate_types::{ClusterId, Timestamp};
use rcgen::KeyPair;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::{Authority, AuthorityError};

/// Bytes of a file: a chain of six large certificates has 40 KiB.
const FILE_BYTES_MAX: u64 = 256 << 10;

impl Authority {
    /// Reads an authority of a PEM file with its chain, the one that signs first, and one with the key of that.
    ///
    /// # Errors
    /// [`AuthorityError`] names the file or the certificate and what it lacks.
    pub fn of_files(cluster: ClusterId, chain: &Path, key: &Path, now: Timestamp) -> Result<Self, AuthorityError> {
        let content = |path: &Path, what| AuthorityError::Content { path: path.to_owned(), what };
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(chain)?).collect();
        let certificates = certificates.map_err(|_| content(chain, "is not valid pem"))?;
        let key_der = PrivateKeyDer::from_pem_slice(&read(key)?);
        let key_der =
            key_der.map_err(|_| content(key, "has no unencrypted private key (`-----BEGIN PRIVATE KEY-----`)"))?;
        let pair = KeyPair::try_from(&key_der).map_err(|_| AuthorityError::Key)?;
        let authority = Self::assemble(cluster, certificates, pair)?;
        authority.probe(now)?;
        Ok(authority)
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, AuthorityError> {
    let failed = |source| AuthorityError::Read { path: path.to_owned(), source };
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(AuthorityError::Content { path: path.to_owned(), what: "has more than 256 KiB" });
    }
    Ok(bytes)
}
