//! Why certificate files could not be used.
//!
//! One error for every file of this crate, because its reader is a person who has to fix a file:
//! it names the file and the reason. No reason holds content of a file.

use std::io;
use std::path::PathBuf;

/// A certificate or key file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct LoadError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    #[source]
    pub reason: Reason,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Read(#[source] io::Error),
    /// It is larger than any file of certificates.
    #[error("has more than {max} bytes")]
    TooLarge {
        /// The limit in bytes.
        max: u64,
    },
    /// It is not in the PEM format.
    #[error("is not valid pem: {problem}")]
    Pem {
        /// What the parser stumbled on.
        problem: &'static str,
    },
    /// It is PEM, but without a certificate.
    #[error("has no certificate (`-----BEGIN CERTIFICATE-----`)")]
    NoCertificate,
    /// It is PEM, but without a private key.
    #[error("has no unencrypted private key (`-----BEGIN PRIVATE KEY-----` or the rsa or ec form)")]
    NoKey,
    /// The key is of a kind that is not supported, or damaged.
    #[error("holds a private key that cannot be used: {0}")]
    Key(#[source] rustls::Error),
    /// The certificate belongs to another key.
    #[error("does not hold the key of the certificate in {}", certificate.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// A certificate is damaged.
    #[error("holds a certificate that cannot be used: {0}")]
    Certificate(#[source] rustls::Error),
    /// A certificate of a bundle is damaged.
    #[error("holds a certificate that cannot be an authority: {0}")]
    Authority(#[source] webpki::Error),
    /// A certificate of a bundle is not for signing others.
    #[error("holds a certificate that is no authority (basic constraints `CA:TRUE`, key usage `keyCertSign`)")]
    NotAuthority,
    /// It is PEM, but without a revocation list.
    #[error("has no revocation list (`-----BEGIN X509 CRL-----`, or der)")]
    NoCrl,
    /// A revocation list is damaged, or has no end, or is a delta.
    #[error("holds a revocation list that cannot be used: {0}")]
    Crl(#[source] webpki::Error),
    /// Too many revocation lists are of the same issuers.
    #[error("holds more revocation lists of the same issuers than can be tried ({max} choices of one for each)")]
    ManyCrls {
        /// The limit of choices.
        max: usize,
    },
}
