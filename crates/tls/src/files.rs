//! Reads certificates and keys from PEM files.
//!
//! In flow paths, out flow parsed certificates and a key that fits them. Files are bounded, and
//! read once, so that what was compared is what was parsed.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::path::Path;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};

use crate::error::{LoadError, Reason};

/// Largest file that is read: a bundle of all public roots has 250 KB.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// The bytes of a certificate file and a key file.
#[derive(Hash)]
pub(crate) struct Pair {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// What was read of some files last, so that each state of them is told once.
pub(crate) struct Seen {
    fingerprint: u64,
    is_unreadable: bool,
}

// === impl Seen ===

impl Seen {
    /// Starts with files that are in use.
    pub(crate) fn new(fingerprint: u64) -> Self {
        Self { fingerprint, is_unreadable: false }
    }

    /// Takes what was read: nothing when it is as it was, and no error when the files could not be read before either.
    pub(crate) fn changed<T>(&mut self, read: Result<T, LoadError>) -> Result<Option<T>, Option<LoadError>>
    where
        T: Hash,
    {
        let was_unreadable = std::mem::replace(&mut self.is_unreadable, read.is_err());
        let read = read.map_err(|error| Some(error).filter(|_| !was_unreadable))?;
        let fingerprint = fingerprint(&read);
        let is_new = std::mem::replace(&mut self.fingerprint, fingerprint) != fingerprint;
        Ok(Some(read).filter(|_| is_new))
    }
}

// === impl Pair ===

impl Pair {
    /// Reads both files.
    pub(crate) fn read(certificate: &Path, key: &Path) -> Result<Self, LoadError> {
        Ok(Self { certificate: read_file(certificate)?, key: read_file(key)? })
    }

    /// Parses both and checks that the key is the certificate's. The paths are for errors.
    pub(crate) fn parse(
        &self,
        certificate: &Path,
        key: &Path,
        provider: &CryptoProvider,
    ) -> Result<CertifiedKey, LoadError> {
        let chain = parse_certificates(certificate, &self.certificate)?;
        let refuse = |reason| LoadError { path: key.to_owned(), reason };
        let private_key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| match error {
            pem::Error::NoItemsFound => refuse(Reason::NoKey),
            other => refuse(Reason::Pem { problem: describe(&other) }),
        })?;
        let signer = provider.key_provider.load_private_key(private_key).map_err(|error| refuse(Reason::Key(error)))?;
        let certified = CertifiedKey::new(chain, signer);
        match certified.keys_match() {
            // Some kinds of keys do not tell their public half; their handshakes would.
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
            Err(Error::InconsistentKeys(_)) => Err(refuse(Reason::Mismatch { certificate: certificate.to_owned() })),
            Err(error) => Err(LoadError { path: certificate.to_owned(), reason: Reason::Certificate(error) }),
        }
    }
}

/// Returns a fingerprint that tells whether files changed; it cannot be turned back.
pub(crate) fn fingerprint(content: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}

/// Reads all certificates of a file's content.
pub(crate) fn parse_certificates(path: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, LoadError> {
    let refuse = |reason| LoadError { path: path.to_owned(), reason };
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let certificates = certificates.map_err(|error| refuse(Reason::Pem { problem: describe(&error) }))?;
    if certificates.is_empty() { Err(refuse(Reason::NoCertificate)) } else { Ok(certificates) }
}

/// Reads a whole file, up to the limit.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, LoadError> {
    let refuse = |reason| LoadError { path: path.to_owned(), reason };
    let file = File::open(path).map_err(|error| refuse(Reason::Read(error)))?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| refuse(Reason::Read(error)))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(refuse(Reason::TooLarge { max: FILE_BYTES_MAX }));
    }
    Ok(bytes)
}

/// Names the problem without what was read: a damaged key file must not reach a log.
pub(crate) fn describe(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no end marker",
        pem::Error::IllegalSectionStart { .. } => "a section begins with a malformed marker",
        pem::Error::Base64Decode(_) => "a section is not valid base64",
        pem::Error::SectionTooLarge => "a section is too large",
        _ => "it cannot be parsed",
    }
}
