//! Certificates and keys in PEM (RFC 7468): files are read whole, bounded, and named in errors without their content.
//!
//! For clusters whose certificates or authority come from an enterprise, and for what is kept and handed on as text. What
//! the certificates must be is for who uses them.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

/// Bytes of a file: a chain of six large certificates has 100 KiB.
const FILE_BYTES_MAX: u64 = 256 << 10;

/// Bytes of base64 in a line (RFC 7468 §2).
const LINE_BYTES: usize = 64;

/// A file of certificates or of a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// It cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// It has not what it should have.
    #[error("{name} {what}")]
    Content {
        /// The file, or what was given in its place.
        name: String,
        /// What it lacks.
        what: &'static str,
    },
}

/// Reads all certificates of a file; there is one at least.
pub(crate) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    parse_certificates(&path.display().to_string(), &read(path)?)
}

/// Reads all certificates of a text that errors call `name`; there is one at least.
pub(crate) fn parse_certificates(name: &str, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let content = |what| PemError::Content { name: name.to_owned(), what };
    let certificates = certificates.map_err(|_| content("is not valid pem"))?;
    if certificates.is_empty() {
        return Err(content("has no certificate (`-----BEGIN CERTIFICATE-----`)"));
    }
    Ok(certificates)
}

/// Reads the key of a file.
pub(crate) fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    parse_key(&path.display().to_string(), &read(path)?)
}

/// Reads the key of a text that errors call `name`.
pub(crate) fn parse_key(name: &str, text: &[u8]) -> Result<PrivateKeyDer<'static>, PemError> {
    let what = "has no unencrypted private key (`-----BEGIN PRIVATE KEY-----`)";
    PrivateKeyDer::from_pem_slice(text).map_err(|_| PemError::Content { name: name.to_owned(), what })
}

/// Writes certificates in DER as PEM, in their order.
#[must_use]
pub fn of_certificates<'a>(certificates: impl IntoIterator<Item = &'a CertificateDer<'a>>) -> String {
    certificates.into_iter().map(|certificate| section("CERTIFICATE", certificate).to_string()).collect()
}

/// Writes a key in PKCS #8 as PEM.
pub(crate) fn of_key(der: &[u8]) -> Zeroizing<String> {
    section("PRIVATE KEY", der)
}

fn section(label: &str, der: &[u8]) -> Zeroizing<String> {
    // As long as they become, so that no part of a key is left in memory that was grown out of.
    let bytes = der.len().div_ceil(3) * 4;
    let mut encoded = Zeroizing::new(String::with_capacity(bytes));
    let mut text = Zeroizing::new(String::with_capacity(bytes + bytes / LINE_BYTES + 2 * label.len() + 40));
    STANDARD.encode_string(der, &mut encoded);
    let mut push = |parts: [&str; 3]| parts.iter().for_each(|part| text.push_str(part));
    push(["-----BEGIN ", label, "-----\n"]);
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE_BYTES));
        push([line, "\n", ""]);
        rest = after;
    }
    push(["-----END ", label, "-----\n"]);
    text
}

/// Reads a file that is one: to open a pipe, or what else is none, may wait for ever.
pub(crate) fn read_regular(path: &Path) -> Result<Zeroizing<Vec<u8>>, PemError> {
    let found = path.metadata().map_err(|source| PemError::Read { path: path.to_owned(), source })?;
    if !found.is_file() {
        return Err(PemError::Content { name: path.display().to_string(), what: "is not a regular file" });
    }
    read(path)
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, PemError> {
    let failed = |source| PemError::Read { path: path.to_owned(), source };
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(PemError::Content { name: path.display().to_string(), what: "has more than 256 KiB" });
    }
    Ok(bytes)
}
