//! Whom members trust: the authorities of a cluster, and how a certificate is held against them.
//!
//! In flows a chain as a handshake presented it, out flows who it proves its holder to be. rustls-webpki builds the path
//! (signatures, validity, extended key usage, constraints); what it leaves to others is checked here: that authorities may
//! sign, that the anchor is valid itself, and that the one URI names a member of this cluster.
//!
//! A bundle has the certificates that are trusted *as such*: with an enterprise's own authority above a cluster's, that is
//! the cluster's alone, so that nobody else's certificates are taken. Revocation is by short lives and by removal of nodes.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use quorate_tls::x509::Facts;
use quorate_types::{ClusterId, NodeId, Timestamp, rfc3339};
use ring::digest::{SHA256, digest};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

use crate::identity::{InvalidIdentity, PeerIdentity, peer_identity};

/// Authorities of a bundle: two while one replaces the other, and as many again for a bundle from files.
pub const ANCHORS_MAX: usize = 4;
/// Certificates of a chain, the leaf included: as many as rustls-webpki follows.
pub const CHAIN_MAX: usize = 7;
/// Bytes of a certificate that is looked at: ours have 600, an enterprise's up to some thousand.
pub const CERTIFICATE_BYTES_MAX: usize = 16 << 10;

/// The SHA-256 of an authority's public key with algorithm (SPKI): who it is, whatever certificates it has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuthorityId(pub [u8; 32]);

/// The authorities that a cluster trusts.
#[derive(Clone, PartialEq, Eq)]
pub struct Bundle {
    /// In the order of their ids, each once.
    anchors: Vec<(AuthorityId, CertificateDer<'static>)>,
}

/// What a certificate is used for in a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Its holder accepted the connection.
    Server,
    /// Its holder opened the connection.
    Client,
}

/// Certificates are no bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBundle {
    /// There are none, or too many.
    #[error("a cluster trusts 1 to {ANCHORS_MAX} authorities, not {count}")]
    Count {
        /// How many.
        count: usize,
    },
    /// One cannot be used.
    #[error("certificate {position} of the trusted ones is not an authority's: {what}")]
    Certificate {
        /// Which one, from 1.
        position: usize,
        /// What it lacks.
        what: &'static str,
    },
}

/// A certificate is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// More certificates were sent than a chain has, or larger ones.
    #[error("the chain has {count} certificates, and may have 1 to {CHAIN_MAX} of {CERTIFICATE_BYTES_MAX} bytes")]
    Chain {
        /// How many.
        count: usize,
    },
    /// It does not say who its holder is.
    #[error(transparent)]
    Identity(#[from] InvalidIdentity),
    /// No authority that is trusted vouches for it, or it is not valid now.
    #[error("the certificate of {identity} is not trusted: {}", told(reason))]
    Untrusted {
        /// Who it claims.
        identity: Box<PeerIdentity>,
        /// What rustls-webpki says.
        #[source]
        reason: webpki::Error,
    },
    /// It is another cluster's.
    #[error("{identity} is of another cluster than {expected}")]
    OtherCluster {
        /// Who it is.
        identity: Box<PeerIdentity>,
        /// The cluster that is ours.
        expected: ClusterId,
    },
    /// It is another node's than the one that was meant.
    #[error("{identity} answered where node {expected} was expected")]
    OtherNode {
        /// Who it is.
        identity: Box<PeerIdentity>,
        /// Who was meant.
        expected: NodeId,
    },
    /// Only nodes are taken here.
    #[error("{identity} is no node, and only nodes are taken here")]
    NoNode {
        /// Who it is.
        identity: Box<PeerIdentity>,
    },
}

/// What rustls-webpki says, in the same words as long as the same is wrong: its own have the time of the look.
fn told(reason: &webpki::Error) -> String {
    let at = |at: UnixTime| rfc3339::format(timestamp(at));
    match reason {
        webpki::Error::CertExpired { not_after, .. } => format!("it, or one above it, ended at {}", at(*not_after)),
        webpki::Error::CertNotValidYet { not_before, .. } => {
            format!("it, or one above it, begins at {}", at(*not_before))
        }
        reason => reason.to_string(),
    }
}

/// Returns the SHA-256 of a certificate's public key (SubjectPublicKeyInfo in DER), which names the certificate where each has a
/// key of its own. Not so its own SHA-256: the signature is no part of what is signed, and to one of ECDSA there is a second
/// one that is as good, which anybody can make.
///
/// # Errors
/// [`InvalidIdentity::Malformed`] when it cannot be read.
pub fn key_digest(certificate: &[u8]) -> Result<[u8; 32], InvalidIdentity> {
    let facts = Facts::read(certificate).map_err(|_| InvalidIdentity::Malformed)?;
    Ok(AuthorityId::of_key(facts.public_key).0)
}

/// Returns how long a certificate is valid, from its beginning to its end.
///
/// # Errors
/// [`InvalidIdentity::Malformed`] when it cannot be read.
pub fn life(certificate: &[u8]) -> Result<Duration, InvalidIdentity> {
    let facts = Facts::read(certificate).map_err(|_| InvalidIdentity::Malformed)?;
    Ok(facts.not_after.since(facts.not_before))
}

// === impl AuthorityId ===

impl AuthorityId {
    /// Returns who has a certificate.
    ///
    /// # Errors
    /// [`InvalidIdentity::Malformed`] when it cannot be read.
    pub fn of_certificate(certificate: &[u8]) -> Result<Self, InvalidIdentity> {
        key_digest(certificate).map(Self)
    }

    fn of_key(public_key: &[u8]) -> Self {
        Self(digest(&SHA256, public_key).as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }
}

/// The first half, which nobody mistakes for another.
impl fmt::Display for AuthorityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..16].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for AuthorityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// === impl Bundle ===

impl Bundle {
    /// Makes a bundle of certificates; the same one twice counts once.
    ///
    /// # Errors
    /// [`InvalidBundle`] when there are none, too many, or one is not an authority's.
    pub fn new(certificates: impl IntoIterator<Item = CertificateDer<'static>>) -> Result<Self, InvalidBundle> {
        let mut anchors = Vec::new();
        for (position, certificate) in (1..).zip(certificates) {
            let id = check_authority(&certificate).map_err(|what| InvalidBundle::Certificate { position, what })?;
            if !anchors.iter().any(|(_, known)| *known == certificate) {
                anchors.push((id, certificate));
            }
            if anchors.len() > ANCHORS_MAX {
                return Err(InvalidBundle::Count { count: anchors.len() });
            }
        }
        anchors.sort_by(|(left, one), (right, other)| (left, one.as_ref()).cmp(&(right, other.as_ref())));
        if anchors.is_empty() { Err(InvalidBundle::Count { count: 0 }) } else { Ok(Self { anchors }) }
    }

    /// The certificates, in DER.
    pub fn certificates(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.anchors.iter().map(|(_, certificate)| certificate)
    }

    /// Who is trusted.
    #[must_use]
    pub fn authorities(&self) -> BTreeSet<AuthorityId> {
        self.anchors.iter().map(|(id, _)| *id).collect()
    }

    /// Verifies a chain, leaf first, as of `now`, and says whose it is. That the holder has its key is for the handshake.
    ///
    /// # Errors
    /// [`Refusal`] says why it is not taken.
    pub fn verify(
        &self,
        cluster: ClusterId,
        chain: &[CertificateDer<'_>],
        side: Side,
        now: Timestamp,
    ) -> Result<PeerIdentity, Refusal> {
        let [leaf, above @ ..] = check_chain(chain)? else { return Err(Refusal::Chain { count: 0 }) };
        let identity = peer_identity(leaf)?;
        if identity.cluster() != cluster {
            return Err(Refusal::OtherCluster { identity: Box::new(identity), expected: cluster });
        }
        match verify_path(self.certificates(), leaf, above, side, now) {
            Ok(()) => Ok(identity),
            Err(reason) => Err(Refusal::Untrusted { identity: Box::new(identity), reason }),
        }
    }
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bundle").field(&self.authorities()).finish()
    }
}

/// Puts a leaf and what was sent with it together.
pub(crate) fn chain_of<'a>(leaf: &'a CertificateDer<'_>, above: &'a [CertificateDer<'_>]) -> Vec<CertificateDer<'a>> {
    [leaf].into_iter().chain(above).map(|certificate| CertificateDer::from(&**certificate)).collect()
}

/// Refuses chains that would only be work.
pub(crate) fn check_chain<'a, 'c>(chain: &'a [CertificateDer<'c>]) -> Result<&'a [CertificateDer<'c>], Refusal> {
    let fits = |certificate: &CertificateDer<'_>| certificate.len() <= CERTIFICATE_BYTES_MAX;
    let is_taken = (1..=CHAIN_MAX).contains(&chain.len()) && chain.iter().all(fits);
    if is_taken { Ok(chain) } else { Err(Refusal::Chain { count: chain.len() }) }
}

/// Verifies that a path leads from a leaf to an authority that is trusted.
pub(crate) fn verify_path<'a, 'c: 'a>(
    trusted: impl Iterator<Item = &'a CertificateDer<'c>>,
    leaf: &CertificateDer<'_>,
    above: &[CertificateDer<'_>],
    side: Side,
    now: Timestamp,
) -> Result<(), webpki::Error> {
    let trusted: Vec<_> = trusted.collect();
    let anchors = trusted.iter().map(|certificate| webpki::anchor_from_trusted_cert(certificate));
    let anchors: Vec<TrustAnchor<'_>> = anchors.collect::<Result<_, _>>()?;
    let usage = match side {
        Side::Server => KeyUsage::server_auth(),
        Side::Client => KeyUsage::client_auth(),
    };
    let entity = EndEntityCert::try_from(leaf)?;
    let check = |path: &VerifiedPath<'_>| {
        let at = anchors.iter().position(|anchor| std::ptr::eq(anchor, path.anchor()));
        let anchor = Facts::read(trusted[at.expect("the path ends at an anchor that was given")]);
        check_validity(&anchor.map_err(|_| webpki::Error::BadDer)?, now)?;
        for authority in path.intermediate_certificates() {
            check_authority(&authority.der()).map_err(|_| webpki::Error::EndEntityUsedAsCa)?;
        }
        Ok(())
    };
    entity.verify_for_usage(algorithms().all, &anchors, above, unix_time(now), usage, None, Some(&check)).map(drop)
}

/// Returns whose certificate it is, when it may sign others.
pub(crate) fn check_authority(certificate: &[u8]) -> Result<AuthorityId, &'static str> {
    if certificate.len() > CERTIFICATE_BYTES_MAX {
        return Err("it is too large");
    }
    let facts = Facts::read(certificate).map_err(|_| "it cannot be read")?;
    if !facts.is_authority {
        return Err("its basic constraints lack `CA:TRUE`");
    }
    if !facts.key_usage.is_some_and(|usage| usage.signs_certificates()) {
        return Err("its key usage lacks `keyCertSign`");
    }
    Ok(AuthorityId::of_key(facts.public_key))
}

fn check_validity(facts: &Facts<'_>, now: Timestamp) -> Result<(), webpki::Error> {
    let time = unix_time(now);
    if now < facts.not_before {
        return Err(webpki::Error::CertNotValidYet { time, not_before: unix_time(facts.not_before) });
    }
    if time > unix_time(facts.not_after) {
        return Err(webpki::Error::CertExpired { time, not_after: unix_time(facts.not_after) });
    }
    Ok(())
}

/// The signatures that are understood: those of ring.
pub(crate) fn algorithms() -> WebPkiSupportedAlgorithms {
    rustls::crypto::ring::default_provider().signature_verification_algorithms
}

/// Converts a point in time for rustls, which counts in seconds.
pub(crate) fn unix_time(at: Timestamp) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_millis(at.as_millis()))
}

/// Converts it back.
pub(crate) fn timestamp(at: UnixTime) -> Timestamp {
    Timestamp::from_millis(at.as_secs().saturating_mul(1000))
}
