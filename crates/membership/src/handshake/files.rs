//! What a node shows and whom it trusts, from files: for clusters without an authority of their own.
//!
//! Somebody else issues the certificates then, with the URI that names the node. A node holds its own against what it
//! trusts before it shows it, because a certificate that peers refuse is found out late otherwise: when they are needed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use quorate_types::{ClusterId, NodeId, Timestamp};
use ring::digest::{Context, SHA256};
use rustls::pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::{Credentials, InvalidCredentials, Shown, Trust, certify};
use crate::identity::{InvalidIdentity, PeerIdentity, peer_identity};
use crate::pem::{PemError, parse_certificates, parse_key, read_certificates, read_key, read_regular};
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

/// What [`Files`] have, as it was read: whether it fits together is not known.
pub struct Content {
    certificate: Zeroizing<Vec<u8>>,
    key: Zeroizing<Vec<u8>>,
    authorities: Zeroizing<Vec<u8>>,
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
        self.load(&self.content()?, now)
    }

    /// Reads what is in them, of regular files alone.
    ///
    /// # Errors
    /// [`FilesError::Pem`] names the file that cannot be read, or is none.
    pub fn content(&self) -> Result<Content, FilesError> {
        Ok(Content {
            authorities: read_regular(&self.authorities)?,
            certificate: read_regular(&self.certificate)?,
            key: read_regular(&self.key)?,
        })
    }

    /// Takes what was read of them, as of `now`.
    ///
    /// # Errors
    /// [`FilesError`] names the file, or says why peers would refuse the certificate.
    pub fn load(&self, content: &Content, now: Timestamp) -> Result<Loaded, FilesError> {
        let named = |path: &Path| path.display().to_string();
        let bundle = Bundle::new(parse_certificates(&named(&self.authorities), &content.authorities)?)?;
        let chain = parse_certificates(&named(&self.certificate), &content.certificate)?;
        let key = parse_key(&named(&self.key), &content.key)?;
        let identity = of_leaf(&chain, &self.certificate)?;
        let Some(node) = identity.node() else {
            return Err(Refusal::NoNode { identity: Box::new(identity) }.into());
        };
        let cluster = identity.cluster();
        for side in [Side::Server, Side::Client] {
            bundle.verify(cluster, &chain, side, now)?;
        }
        let credentials = Credentials(Arc::new(Shown(ArcSwap::from_pointee(certify(chain, key)?))));
        Ok(Loaded { cluster, node, credentials, bundle })
    }
}

// === impl Content ===

impl Content {
    /// A SHA-256 of all of it: the same for the same bytes in the same files.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut context = Context::new(&SHA256);
        for bytes in [&self.certificate, &self.key, &self.authorities] {
            context.update(&(bytes.len() as u64).to_be_bytes());
            context.update(bytes);
        }
        context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Content(…)")
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
    /// Reads what an operator shows: a PEM file with its certificate and those above it, which who trusts `trust` takes as of
    /// `now`, and one with its key. Returns also who that is.
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
