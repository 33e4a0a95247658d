//! Verifies the certificate of another node, whichever side it dialed from.
//!
//! Built by rustls-webpki: signatures, validity, constraints, the extended key usage when the certificate has one (RFC
//! 5280 §6.1). A host name is not asked for: the URI names of the leaf say who the peer is, and the caller compares them.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme};
use webpki::{EndEntityCert, KeyUsage};

/// Certificates that may come with a node's own: as many as rustls-webpki follows.
const INTERMEDIATES_MAX: usize = 6;

/// Takes whoever has a certificate of the roots.
pub(super) struct Anyone {
    anchors: Vec<TrustAnchor<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

// === impl Anyone ===

impl Anyone {
    pub(super) fn new(anchors: Vec<TrustAnchor<'static>>, algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self { anchors, algorithms }
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        usage: KeyUsage,
        now: UnixTime,
    ) -> Result<(), Error> {
        if intermediates.len() > INTERMEDIATES_MAX {
            return Err(CertificateError::Other(OtherError(Arc::new(TooLong(intermediates.len())))).into());
        }
        let entity = EndEntityCert::try_from(leaf).map_err(refuse)?;
        let (algorithms, anchors) = (self.algorithms.all, self.anchors.as_slice());
        let path = entity.verify_for_usage(algorithms, anchors, intermediates, now, usage, None, None);
        path.map(drop).map_err(refuse)
    }
}

impl fmt::Debug for Anyone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Anyone").field("roots", &self.anchors.len()).finish_non_exhaustive()
    }
}

impl ClientCertVerifier for Anyone {
    /// None, so that a node sends the one certificate that it has.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(leaf, intermediates, KeyUsage::client_auth(), now).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, leaf, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _host: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(leaf, intermediates, KeyUsage::server_auth(), now).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, leaf, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// More certificates came with a leaf than are followed.
#[derive(Debug, thiserror::Error)]
#[error("{0} certificates came with it, more than {INTERMEDIATES_MAX}")]
struct TooLong(usize);

/// Returns the URI names of a leaf; `None` when one is not text, or the names cannot be read.
pub(super) fn uri_names(leaf: &CertificateDer<'_>) -> Option<Vec<String>> {
    let facts = crate::certificate::Facts::read(leaf).ok()?;
    facts.uris.into_iter().map(|uri| std::str::from_utf8(uri).ok().map(str::to_owned)).collect()
}

/// Names those reasons that an operator can do something about.
fn refuse(error: webpki::Error) -> Error {
    use webpki::Error as Bad;
    let reason = match error {
        Bad::CertExpired { time, not_after } => CertificateError::ExpiredContext { time, not_after },
        Bad::CertNotValidYet { time, not_before } => CertificateError::NotValidYetContext { time, not_before },
        Bad::UnknownIssuer => CertificateError::UnknownIssuer,
        Bad::BadDer => CertificateError::BadEncoding,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    };
    Error::InvalidCertificate(reason)
}
