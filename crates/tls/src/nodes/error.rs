//! Why credentials of a node cannot be used, and why two nodes did not shake hands.
//!
//! Handshakes fail at either side: for what the peer has shown, or for what the peer thinks of ours, which it tells by an
//! alert (RFC 8446 §6.2). Nothing here holds content of a key.

use std::fmt;
use std::io;

use rustls::{AlertDescription, CertificateError, Error};

use crate::error::Reason;

/// Credentials of a node cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A part is damaged, or of another kind.
    #[error("the node's {part} {reason}")]
    Unusable {
        /// Which part.
        part: CredentialsPart,
        /// What is wrong with it.
        #[source]
        reason: Reason,
    },
    /// The key is another certificate's.
    #[error("the node's key is not the key of its certificate")]
    Mismatch,
    /// There are more roots than are tried at a handshake.
    #[error("the node's roots are {count} certificates, more than {max}")]
    ManyRoots {
        /// How many there are.
        count: usize,
        /// The limit.
        max: usize,
    },
}

/// A part of a node's credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialsPart {
    /// The certificates of authorities.
    Roots,
    /// The chain, leaf first.
    Certificate,
    /// The leaf's key.
    Key,
}

/// Two nodes did not shake hands.
#[derive(Debug, thiserror::Error)]
pub enum NodeHandshakeError {
    /// The peer has shown no certificate.
    #[error("the peer has shown no certificate")]
    NoCertificate,
    /// The peer's certificate is not of these roots, has expired, or is damaged.
    #[error("the peer's certificate is refused: {0}")]
    Certificate(CertificateError),
    /// The peer refuses our certificate, or cannot agree with us: what its alert says.
    #[error("the peer refuses this node's certificate or its TLS: alert {0:?}")]
    Alert(AlertDescription),
    /// The peer does not speak TLS 1.3, or left.
    #[error("no handshake: {0}")]
    Failed(#[source] io::Error),
}

// === impl CredentialsPart ===

impl fmt::Display for CredentialsPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Roots => "bundle of roots",
            Self::Certificate => "certificate",
            Self::Key => "private key",
        })
    }
}

// === impl NodeHandshakeError ===

impl NodeHandshakeError {
    /// Reads the error of a handshake.
    pub(super) fn from_io(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(Error::NoCertificatesPresented) => Self::NoCertificate,
            Some(Error::InvalidCertificate(reason)) => Self::Certificate(reason.clone()),
            Some(Error::AlertReceived(alert)) => Self::Alert(*alert),
            _ => Self::Failed(error),
        }
    }

    /// Returns the label of this error in metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::NoCertificate => "no_certificate",
            Self::Certificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
                "certificate_expired"
            }
            Self::Certificate(CertificateError::UnknownIssuer) => "certificate_of_another_authority",
            Self::Certificate(_) => "certificate_refused",
            Self::Alert(_) => "certificate_refused_by_peer",
            Self::Failed(_) => "no_handshake",
        }
    }
}
