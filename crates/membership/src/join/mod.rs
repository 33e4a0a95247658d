//! How a node is taken into a cluster: one request, one answer, and what each side checks.
//!
//! ```text
//!   joiner                                              member
//!   Joiner::begin ── JoinRequest {token id, application, proofs} ─▶ Application::open
//!                                                                   (the cluster commits the node, the token is used)
//!   Joiner::finish ◀── JoinResponse {nonce, sealed grant} ───────── Application::grant
//! ```
//!
//! The exchange is safe by itself, also where something between the two ends TLS that is pinned by the token: the proof is
//! an HMAC under the hash of the token's secret, and the grant, with the root key in it, is encrypted under a key of three
//! parts: an ephemeral X25519 agreement (RFC 7748; its public halves are the two nonces), that hash, and the request as it
//! was sent. Who only watches learns nothing, also when the catalog, which has the hash, is lost later.
//!
//! A joiner has a certificate made for a key of its own, or comes with one that somebody else made: then it signs its request
//! with the key of that, and the cluster and the number in it are those that it gets, or none.
//!
//! **Invariants:** a grant opens for the one request that it answers; a token that was used or ended opens nothing; a joiner
//! takes a grant only when it fits what the token pinned. That a token is used once is for the catalog to commit.

mod applicant;
mod cipher;
mod member;
mod proof;

use std::fmt;

use bytes::Bytes;
use prost::Message;
use quorate_proto::membership::v1;
use quorate_types::{ClusterId, NodeId, Timestamp};
use rustls::pki_types::CertificateDer;
use zeroize::Zeroizing;

pub use self::applicant::{Applicant, InvalidApplicant};
use self::cipher::Ephemeral;
pub use self::member::{Application, GrantError, JoinRefusal, TokenRecord};
use crate::address::Address;
use crate::authority::MemberKey;
use crate::handshake::Credentials;
use crate::root::RootKey;
use crate::token::JoinToken;
use crate::trust::{AuthorityId, Bundle, InvalidBundle, Refusal, Side};

/// Voters of the meta group that a grant names: there are up to five, and two more while some are replaced.
pub const VOTERS_MAX: usize = 7;
/// Bytes of an application: its request has up to 4 KiB, names and addresses less than one; a chain of three certificates with
/// RSA keys of 4096 bits has 6 KiB.
pub const APPLICATION_BYTES_MAX: usize = 12 << 10;
/// Bytes of a grant: eleven certificates of 16 KiB, and the rest.
pub const GRANT_BYTES_MAX: usize = 192 << 10;

/// What a node of the cluster has.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The cluster.
    pub cluster: ClusterId,
    /// The number that the node is given.
    pub node: NodeId,
    /// Its certificate for the key that it asked with, and those above it.
    pub chain: Vec<CertificateDer<'static>>,
    /// Whom the cluster trusts.
    pub bundle: Bundle,
    /// What the cluster's secrets are sealed under.
    pub root_key: RootKey,
    /// The voters of the meta group, and where peers reach them.
    pub voters: Vec<(NodeId, Address)>,
    /// The level at which the cluster works.
    pub feature_level: u32,
}

/// A node that asked to be taken in, and waits.
pub struct Joiner {
    token: JoinToken,
    own: Own,
    ephemeral: Ephemeral,
    /// As it was sent.
    application: Vec<u8>,
    features: (u32, u32),
}

/// What the joiner's certificate is for.
enum Own {
    /// A key, for which the cluster makes one.
    Key(Box<MemberKey>),
    /// The certificate that it has, and those above it.
    Chain(Vec<CertificateDer<'static>>),
}

/// A node was taken in.
#[derive(Debug)]
pub struct Admission {
    /// What it got; checked.
    pub grant: Grant,
    /// The key of its certificate, which it made itself; none where it came with a certificate.
    pub key: Option<MemberKey>,
}

/// A node cannot ask with what it comes with.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InvalidApplication {
    /// It is larger than any that is read, because of the certificates.
    #[error(
        "the certificates that the node came with are too large: its application has {bytes} bytes, and may have \
         {APPLICATION_BYTES_MAX}"
    )]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The key of its certificate does not sign it.
    #[error("the key of the node's certificate does not sign its application: {0}")]
    Unsigned(rustls::Error),
}

/// An answer is not taken; nothing of it may be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// It does not open: it is no answer of a member to this request.
    #[error("the answer was not made by a member of the cluster for this request")]
    NotOpened,
    /// Something in it is missing or malformed.
    #[error("the answer of the cluster is not valid: {0}")]
    Malformed(&'static str),
    /// Its authorities are none.
    #[error(transparent)]
    Bundle(#[from] InvalidBundle),
    /// It trusts nobody whom the token pinned.
    #[error(
        "the cluster trusts {found}, and the token pins others: it is of another cluster, or the authority was replaced"
    )]
    Pins {
        /// Whom it trusts.
        found: AuthorityId,
    },
    /// The certificate does not work.
    #[error("the certificate from the cluster: {0}")]
    Certificate(#[from] Refusal),
    /// The certificate is for another key.
    #[error("the certificate from the cluster is for another key than was asked with")]
    Key,
    /// The certificate is another one than the node came with.
    #[error("the answer of the cluster has another certificate than the node came with")]
    Chain,
    /// The cluster works at a level that the program does not know, or no longer.
    #[error("the cluster works at feature level {level}, and this program at {min} to {max}: start another version")]
    FeatureLevel {
        /// The cluster's level.
        level: u32,
        /// The program's oldest one.
        min: u32,
        /// The program's newest one.
        max: u32,
    },
}

// === impl Joiner ===

impl Joiner {
    /// Begins to join with a token: makes the node's key, unless it has a certificate of its `own`, and the request to be sent
    /// to one of the token's addresses.
    ///
    /// A request that got no answer must not be sent again with another token; a new exchange makes new keys.
    ///
    /// # Errors
    /// [`InvalidApplication`] when it comes with certificates that are too large, or with a key that does not sign.
    ///
    /// # Panics
    /// When the operating system has no randomness.
    pub fn begin(
        token: JoinToken,
        applicant: &Applicant,
        own: Option<&Credentials>,
    ) -> Result<(Self, v1::JoinRequest), InvalidApplication> {
        let ephemeral = Ephemeral::draw();
        let signer = own.map(Credentials::now);
        let (own, asked) = match &signer {
            Some(signer) => (Own::Chain(signer.cert.clone()), Vec::new()),
            None => {
                let key = MemberKey::draw();
                let asked = key.request();
                (Own::Key(Box::new(key)), asked)
            }
        };
        let application = applicant.to_message(ephemeral.public(), &asked, own.chain()).encode_to_vec();
        if application.len() > APPLICATION_BYTES_MAX {
            return Err(InvalidApplication::TooLarge { bytes: application.len() });
        }
        let proof = cipher::prove(&token.secret_hash(), token.id(), &application);
        let signed = signer.map(|signer| proof::sign(&signer, token.id(), &application)).transpose();
        let request = v1::JoinRequest {
            token: token.id().0.to_vec().into(),
            application: application.clone().into(),
            proof: proof.to_vec().into(),
            key_proof: signed.map_err(InvalidApplication::Unsigned)?,
        };
        let features = (*applicant.features.start(), *applicant.features.end());
        Ok((Self { token, own, ephemeral, application, features }, request))
    }

    /// Takes the answer, as of `now`.
    ///
    /// # Errors
    /// [`JoinError`] when it is not the cluster's, not for this request, or not what a node needs.
    pub fn finish(self, response: &v1::JoinResponse, now: Timestamp) -> Result<Admission, JoinError> {
        let Self { token, own, ephemeral, application, features: (min, max) } = self;
        let nonce = response.nonce.as_ref().try_into().map_err(|_| JoinError::NotOpened)?;
        let ours = ephemeral.public();
        let secret = ephemeral.agree(&nonce, &token.secret_hash(), [&ours, &nonce]).ok_or(JoinError::NotOpened)?;
        let plain = cipher::open(&secret, &application, &response.sealed).ok_or(JoinError::NotOpened)?;
        let grant = Grant::read(plain)?;
        let authorities = grant.bundle.authorities();
        if !token.pins().iter().any(|pin| authorities.contains(pin)) {
            let found = *authorities.first().expect("a bundle has one authority at least");
            return Err(JoinError::Pins { found });
        }
        for side in [Side::Server, Side::Client] {
            let identity = grant.bundle.verify(grant.cluster, &grant.chain, side, now)?;
            if identity.node() != Some(grant.node) {
                let identity = Box::new(identity);
                return Err(Refusal::OtherNode { identity, expected: grant.node }.into());
            }
        }
        let key = own.key_of(&grant.chain)?;
        let level = grant.feature_level;
        if !(min..=max).contains(&level) {
            return Err(JoinError::FeatureLevel { level, min, max });
        }
        Ok(Admission { grant, key })
    }
}

impl fmt::Debug for Joiner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Joiner").field("token", &self.token).finish_non_exhaustive()
    }
}

// === impl Own ===

impl Own {
    /// What is sent along.
    fn chain(&self) -> &[CertificateDer<'static>] {
        match self {
            Self::Key(_) => &[],
            Self::Chain(chain) => chain,
        }
    }

    /// The key of a chain that was verified, when the chain is for it.
    fn key_of(self, granted: &[CertificateDer<'_>]) -> Result<Option<MemberKey>, JoinError> {
        match self {
            Self::Key(key) => {
                let facts = quorate_tls::x509::Facts::read(&granted[0]).expect("it was verified");
                if facts.public_key == key.public().to_spki() { Ok(Some(*key)) } else { Err(JoinError::Key) }
            }
            Self::Chain(chain) if chain == granted => Ok(None),
            Self::Chain(_) => Err(JoinError::Chain),
        }
    }
}

// === impl Grant ===

impl Grant {
    fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let der = |certificate: &CertificateDer<'_>| certificate.to_vec().into();
        let voter = |(node, address): &(NodeId, Address)| v1::Voter { node: node.0, address: address.to_string() };
        let message = v1::JoinGrant {
            cluster: self.cluster.0.to_vec().into(),
            node: self.node.0,
            chain: self.chain.iter().map(der).collect(),
            bundle: self.bundle.certificates().map(der).collect(),
            // Overwritten with the message.
            root_key: Bytes::from_owner(Zeroizing::new(*self.root_key.expose())),
            voters: self.voters.iter().map(voter).collect(),
            feature_level: self.feature_level,
        };
        Zeroizing::new(message.encode_to_vec())
    }

    fn read(bytes: Zeroizing<Vec<u8>>) -> Result<Self, JoinError> {
        // Fields of the message are parts of these bytes, which are overwritten with the last of them.
        let message =
            v1::JoinGrant::decode(Bytes::from_owner(bytes)).map_err(|_| JoinError::Malformed("it cannot be read"))?;
        let cluster = ClusterId::from_slice(&message.cluster).map_err(|_| JoinError::Malformed("the cluster's id"))?;
        let node = NodeId(message.node);
        let root_key = message.root_key.as_ref().try_into().map_err(|_| JoinError::Malformed("the root key"))?;
        let certificate = |der: &Bytes| CertificateDer::from(der.to_vec());
        let bundle = Bundle::new(message.bundle.iter().map(certificate))?;
        if node.0 == 0 {
            return Err(JoinError::Malformed("the node's number is 0"));
        }
        if !(1..=VOTERS_MAX).contains(&message.voters.len()) {
            return Err(JoinError::Malformed("the number of voters"));
        }
        let voter = |voter: &v1::Voter| match (voter.node, voter.address.parse()) {
            (1.., Ok(address)) => Ok((NodeId(voter.node), address)),
            _ => Err(JoinError::Malformed("a voter")),
        };
        Ok(Self {
            cluster,
            node,
            chain: message.chain.iter().map(certificate).collect(),
            bundle,
            root_key: RootKey::new(root_key),
            voters: message.voters.iter().map(voter).collect::<Result<_, _>>()?,
            feature_level: message.feature_level,
        })
    }
}
