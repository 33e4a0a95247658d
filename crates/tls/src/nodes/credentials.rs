//! What a node proves itself with, and whom it believes, from PEM text.
//!
//! In flow texts (a data folder's, or an operator's files'), out flow a key that fits its certificate and at least one
//! root. Nothing of a private key is shown, also not of a damaged one.

use std::fmt;

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, TrustAnchor};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};

use super::error::{CredentialsError, CredentialsPart as Part};
use crate::error::Reason;
use crate::files::describe;

/// Roots that a node may believe: one, two while the cluster's authority rotates, and those of an enterprise.
const ROOTS_MAX: usize = 16;

/// The roots and the certificate of a node.
pub struct NodeCredentials {
    pub(super) anchors: Vec<TrustAnchor<'static>>,
    pub(super) certified: CertifiedKey,
}

// === impl NodeCredentials ===

impl NodeCredentials {
    /// Reads credentials: `roots` are certificates of authorities, `certificate` is a chain with the leaf first, `key` is
    /// the leaf's (PKCS#8, SEC1 or PKCS#1), all in PEM.
    ///
    /// # Errors
    /// [`CredentialsError`] names the part, and what is wrong with it.
    pub fn from_pem(roots: &[u8], certificate: &[u8], key: &[u8]) -> Result<Self, CredentialsError> {
        let authorities = parse(Part::Roots, roots)?;
        if authorities.len() > ROOTS_MAX {
            return Err(CredentialsError::ManyRoots { count: authorities.len(), max: ROOTS_MAX });
        }
        let anchor = |der: &CertificateDer<'_>| {
            let anchor = webpki::anchor_from_trusted_cert(der).map(|anchor| anchor.to_owned());
            anchor.map_err(|error| CredentialsError::Unusable { part: Part::Roots, reason: Reason::Authority(error) })
        };
        let anchors = authorities.iter().map(anchor).collect::<Result<_, _>>()?;
        let chain = parse(Part::Certificate, certificate)?;
        Ok(Self { anchors, certified: certify(chain, key)? })
    }
}

impl fmt::Debug for NodeCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeCredentials").field("roots", &self.anchors.len()).finish_non_exhaustive()
    }
}

fn parse(part: Part, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let refuse = |reason| CredentialsError::Unusable { part, reason };
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let certificates = certificates.map_err(|error| refuse(Reason::Pem { problem: describe(&error) }))?;
    if certificates.is_empty() { Err(refuse(Reason::NoCertificate)) } else { Ok(certificates) }
}

fn certify(chain: Vec<CertificateDer<'static>>, key: &[u8]) -> Result<CertifiedKey, CredentialsError> {
    let refuse = |part, reason| CredentialsError::Unusable { part, reason };
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
        pem::Error::NoItemsFound => refuse(Part::Key, Reason::NoKey),
        other => refuse(Part::Key, Reason::Pem { problem: describe(&other) }),
    })?;
    let signer = ring::default_provider().key_provider.load_private_key(key);
    let certified = CertifiedKey::new(chain, signer.map_err(|error| refuse(Part::Key, Reason::Key(error)))?);
    match certified.keys_match() {
        // Some kinds of keys do not tell their public half; their handshakes would.
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(Error::InconsistentKeys(_)) => Err(CredentialsError::Mismatch),
        Err(error) => Err(refuse(Part::Certificate, Reason::Certificate(error))),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::*;

    /// Makes a certificate that signed itself, and its key.
    fn make(is_ca: bool) -> (String, String) {
        let mut params = CertificateParams::default();
        params.is_ca = if is_ca { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::NoCa };
        let key = KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn error(roots: &str, certificate: &str, key: &str) -> String {
        let read = NodeCredentials::from_pem(roots.as_bytes(), certificate.as_bytes(), key.as_bytes());
        read.unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_used_is_named_by_part_and_reason() {
        let ((root, _), (leaf, key), (_, other)) = (make(true), make(false), make(false));
        assert!(NodeCredentials::from_pem(root.as_bytes(), leaf.as_bytes(), key.as_bytes()).is_ok());

        let none = "has no certificate (`-----BEGIN CERTIFICATE-----`)";
        assert_eq!(error("", &leaf, &key), format!("the node's bundle of roots {none}"));
        assert_eq!(error(&root, &key, &key), format!("the node's certificate {none}"));
        let none = "has no unencrypted private key (`-----BEGIN PRIVATE KEY-----` or the rsa or ec form)";
        assert_eq!(error(&root, &leaf, &leaf), format!("the node's private key {none}"));
        assert_eq!(error(&root, &leaf, &other), "the node's key is not the key of its certificate");
        let cut = &key[..key.len() - 30];
        assert_eq!(error(&root, &leaf, cut), "the node's private key is not valid pem: a section has no end marker");
        let many = root.repeat(ROOTS_MAX + 1);
        assert_eq!(error(&many, &leaf, &key), "the node's roots are 17 certificates, more than 16");
    }

    #[test]
    fn neither_errors_nor_debug_show_a_key() {
        let ((root, _), (leaf, key)) = (make(true), make(false));
        let secret = &key.lines().nth(1).unwrap()[..20];
        let damaged = key.replacen('M', "!", 1);
        let read = NodeCredentials::from_pem(root.as_bytes(), leaf.as_bytes(), key.as_bytes());
        assert!(!format!("{read:?}").contains(secret));
        let read = NodeCredentials::from_pem(root.as_bytes(), leaf.as_bytes(), damaged.as_bytes());
        assert!(!format!("{read:?} {}", read.as_ref().unwrap_err()).contains(&secret[1..]));
    }
}
