//! What a node shows and whom it trusts, from files: for clusters without an authority of their own.
//!
//! Somebody else issues the certificates then, with the URI that names the node. A node holds its own against what it
//! trusts before it shows it, because a certificate that peers refuse is found out late otherwise: when they are needed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use quorate_types::{ClusterId, NodeId, Timestamp};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{Credentials, InvalidCredentials, Shown, Trust, certify};
use crate::identity::{InvalidIdentity, PeerIdentity, peer_identity};
use crate::pem::{PemError, parse_certificates, read_certificates, read_key};
use crate::trust::{Bundle, InvalidBundle, Refusal, Side};

/// Where a node has its certificate, key and authorities, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The node's certificate, and those above it up to one that is trusted.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Whom the cluster trusts: 1 to 4 authorities.
    pub authorities: PathBuf,
}

/// What [`Files`] have; they fit together, and peers that trust the same take it.
#[derive(Debug)]
pub struct Loaded {
    /// The cluster that the certificate names.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// What the node shows.
    pub credentials: Credentials,
    /// Whom it trusts.
    pub bundle: Bundle,
}

/// Files of a node cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// One cannot be read.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// Those of the authorities are none.
    #[error(transparent)]
    Bundle(#[from] InvalidBundle),
    /// The certificate does not say whose it is.
    #[error("{}: {source}", file.display())]
    Identity {
        /// The file.
        file: PathBuf,
        /// What it lacks.
        #[source]
        source: InvalidIdentity,
    },
    /// Certificate and key do not belong together.
    #[error(transparent)]
    Credentials(#[from] InvalidCredentials),
    /// Peers would refuse the certificate.
    #[error("peers would refuse the certificate: {0}")]
    Refused(#[from] Refusal),
    /// The certificate is a node's.
    #[error("{identity} is no operator: a node's certificate is for the node alone")]
    NoOperator {
        /// Who it is.
        identity: Box<PeerIdentity>,
    },
}

// === impl Files ===

impl Files {
    /// Reads them, as of `now`.
    ///
    /// # Errors
    /// [`FilesError`] names the file, or says why peers would refuse the certificate.
    pub fn read(&self, now: Timestamp) -> Result<Loaded, FilesError> {
        let bundle = Bundle::of_file(&self.authorities)?;
        let (chain, key) = (read_certificates(&self.certificate)?, read_key(&self.key)?);
        let identity = of_leaf(&chain, &self.certificate)?;
        let Some(node) = identity.node() else {
            return Err(Refusal::NoNode { identity: Box::new(identity) }.into());
        };
        let cluster = identity.cluster();
        let credentials = Credentials::of_pair(&Trust::new(cluster, bundle.clone()), node, chain, key, now)?;
        Ok(Loaded { cluster, node, credentials, bundle })
    }
}

// === impl Loaded ===

impl Loaded {
    /// Who it is.
    #[must_use]
    pub fn identity(&self) -> PeerIdentity {
        PeerIdentity::Node { cluster: self.cluster, node: self.node }
    }
}

// === impl PeerIdentity ===

impl PeerIdentity {
    /// Reads whose the first certificate of a PEM file is. Nothing is verified.
    ///
    /// # Errors
    /// [`FilesError`] names the file.
    pub fn of_file(path: &Path) -> Result<Self, FilesError> {
        of_leaf(&read_certificates(path)?, path)
    }
}

// === impl Bundle ===

impl Bundle {
    /// Reads the authorities of a PEM file.
    ///
    /// # Errors
    /// [`FilesError`] names the file, or the certificate that is no authority's.
    pub fn of_file(path: &Path) -> Result<Self, FilesError> {
        Ok(Self::new(read_certificates(path)?)?)
    }

    /// Reads the authorities of a text in PEM that a node told.
    ///
    /// # Errors
    /// [`FilesError`] names the certificate that is no authority's.
    pub fn of_pem(text: &str) -> Result<Self, FilesError> {
        Ok(Self::new(parse_certificates("the authorities of the cluster", text.as_bytes())?)?)
    }
}

// === impl Credentials ===

impl Credentials {
    /// Reads what a node shows: a PEM file with its certificate and those above it, and one with its key, of any kind that
    /// TLS 1.3 has. It must be taken by who trusts `trust`, on both sides of a connection, as of `now`.
    ///
    /// # Errors
    /// [`FilesError`] names the file, or says why peers would refuse the certificate.
    pub fn of_files(trust: &Trust, node: NodeId, chain: &Path, key: &Path, now: Timestamp) -> Result<Self, FilesError> {
        Self::of_pair(trust, node, read_certificates(chain)?, read_key(key)?, now)
    }

    fn of_pair(
        trust: &Trust,
        node: NodeId,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        now: Timestamp,
    ) -> Result<Self, FilesError> {
        for side in [Side::Server, Side::Client] {
            let identity = Box::new(trust.verify(&chain, side, now)?);
            match identity.node() {
                None => return Err(Refusal::NoNode { identity }.into()),
                Some(found) if found != node => return Err(Refusal::OtherNode { identity, expected: node }.into()),
                Some(_) => {}
            }
        }
        Ok(Self(Arc::new(Shown(ArcSwap::from_pointee(certify(chain, key)?)))))
    }

    /// Reads what an operator shows: files as of [`Self::of_files`], with an operator's certificate that who trusts `trust`
    /// takes as of `now`. Returns also who that is.
    ///
    /// # Errors
    /// [`FilesError`] names the file, or says why nodes would refuse the certificate.
    pub fn of_operator_files(
        trust: &Trust,
        chain: &Path,
        key: &Path,
        now: Timestamp,
    ) -> Result<(Self, PeerIdentity), FilesError> {
        let (chain, key) = (read_certificates(chain)?, read_key(key)?);
        let identity = trust.verify(&chain, Side::Client, now)?;
        if identity.node().is_some() {
            return Err(FilesError::NoOperator { identity: Box::new(identity) });
        }
        Ok((Self(Arc::new(Shown(ArcSwap::from_pointee(certify(chain, key)?)))), identity))
    }

    /// Shows what another one shows, from now on: for files that were replaced.
    pub fn adopt(&self, other: &Self) {
        self.0.0.store(other.0.0.load_full());
    }
}

/// Whose the first certificate of a file is.
fn of_leaf(chain: &[CertificateDer<'_>], file: &Path) -> Result<PeerIdentity, FilesError> {
    let identity = chain.first().map_or(Err(InvalidIdentity::Malformed), |leaf| peer_identity(leaf));
    identity.map_err(|source| FilesError::Identity { file: file.to_owned(), source })
}
