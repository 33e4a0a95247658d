//! The side of the cluster: opens a request against what the catalog has of its token, and answers it.
//!
//! In between the caller commits the node and that the token is used; only then is there a grant. A stranger without the
//! secret learns from an answer neither whether there is such a token nor what became of it.

use std::fmt;

use bytes::Bytes;
use prost::Message;
use quorate_proto::membership::v1;
use quorate_types::{Code, NodeId, Timestamp, rfc3339};
use rustls::pki_types::CertificateDer;

use super::applicant::chain_of;
use super::cipher::{self, Ephemeral, Nonce};
use super::{APPLICATION_BYTES_MAX, Applicant, GRANT_BYTES_MAX, Grant, InvalidApplicant, VOTERS_MAX, proof};
use crate::authority::{InvalidRequest, ProvenKey};
use crate::token::TokenId;

/// What the catalog has of a token.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// What it is looked up by.
    pub id: TokenId,
    /// The SHA-256 of its secret.
    pub secret_hash: [u8; 32],
    /// From when on it opens nothing.
    pub expires: Timestamp,
    /// The node that was taken in with it.
    pub used_by: Option<NodeId>,
}

/// A request that is proven and may be granted.
pub struct Application {
    applicant: Applicant,
    /// A certificate of its own, and those above it, or none.
    chain: Vec<CertificateDer<'static>>,
    /// None of an applicant with a certificate of its own.
    key: Option<ProvenKey>,
    nonce: Nonce,
    secret_hash: [u8; 32],
    /// As it was sent.
    bytes: Bytes,
}

/// A request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinRefusal {
    /// There is no such token, or its secret is another.
    #[error("the join token is not known to this cluster: make a new one")]
    Unknown,
    /// It took a node in before.
    #[error("the join token was used by node {by}: make a new one, or remove that node if it never came up")]
    Used {
        /// That node.
        by: NodeId,
    },
    /// It ended.
    #[error("the join token expired at {}: make a new one", rfc3339::format(*at))]
    Expired {
        /// When.
        at: Timestamp,
    },
    /// The application cannot be read.
    #[error("the application cannot be read, or has more than {APPLICATION_BYTES_MAX} bytes")]
    Malformed,
    /// A field of it is not valid.
    #[error(transparent)]
    Applicant(#[from] InvalidApplicant),
    /// The request for a certificate in it is not valid.
    #[error(transparent)]
    Request(#[from] InvalidRequest),
    /// It comes with a certificate whose key it does not prove to have.
    #[error("the node does not prove that it has the key of the certificate that it came with: {what}")]
    NotItsKey {
        /// What is wrong with the proof.
        what: &'static str,
    },
}

/// A grant is not given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// The applicant's program does not work at the cluster's level.
    #[error("the cluster works at feature level {level}, and the program of the node at {min} to {max}")]
    FeatureLevel {
        /// The cluster's.
        level: u32,
        /// The oldest of the node's program.
        min: u32,
        /// The newest of the node's program.
        max: u32,
    },
    /// It names no voter, or too many.
    #[error("a grant names 1 to {VOTERS_MAX} voters, not {count}")]
    Voters {
        /// How many.
        count: usize,
    },
    /// It is larger than any that is opened.
    #[error("the grant has {bytes} bytes, more than {GRANT_BYTES_MAX}: its certificates are too large")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The applicant's nonce is no key.
    #[error("the nonce of the application is no X25519 key")]
    Nonce,
}

// === impl JoinRefusal ===

impl JoinRefusal {
    /// What kind of failure it is.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Unknown | Self::NotItsKey { .. } => Code::Unauthenticated,
            Self::Used { .. } | Self::Expired { .. } => Code::FailedPrecondition,
            Self::Malformed | Self::Applicant(_) | Self::Request(_) => Code::InvalidArgument,
        }
    }
}

// === impl GrantError ===

impl GrantError {
    /// What kind of failure it is.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::FeatureLevel { .. } => Code::FailedPrecondition,
            Self::Nonce => Code::InvalidArgument,
            Self::Voters { .. } | Self::TooLarge { .. } => Code::Internal,
        }
    }
}

// === impl TokenRecord ===

impl fmt::Debug for TokenRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, secret_hash: _, expires, used_by } = self;
        let mut record = f.debug_struct("TokenRecord");
        record.field("id", id).field("expires", expires).field("used_by", used_by).finish_non_exhaustive()
    }
}

// === impl Application ===

impl Application {
    /// Reads which token a request names, to look it up.
    ///
    /// # Errors
    /// [`JoinRefusal::Unknown`] when it names none.
    pub fn token(request: &v1::JoinRequest) -> Result<TokenId, JoinRefusal> {
        request.token.as_ref().try_into().map(TokenId).map_err(|_| JoinRefusal::Unknown)
    }

    /// Opens a request, as of `now`.
    ///
    /// # Errors
    /// [`JoinRefusal`] when it is not proven, its token is used or ended, or it is not valid.
    pub fn open(request: &v1::JoinRequest, record: &TokenRecord, now: Timestamp) -> Result<Self, JoinRefusal> {
        if request.application.len() > APPLICATION_BYTES_MAX {
            return Err(JoinRefusal::Malformed);
        }
        let is_named = Self::token(request)? == record.id;
        if !is_named || !cipher::is_proven(&record.secret_hash, record.id, &request.application, &request.proof) {
            return Err(JoinRefusal::Unknown);
        }
        if let Some(by) = record.used_by {
            return Err(JoinRefusal::Used { by });
        }
        if now >= record.expires {
            return Err(JoinRefusal::Expired { at: record.expires });
        }
        let message = v1::JoinApplication::decode(request.application.clone()).map_err(|_| JoinRefusal::Malformed)?;
        let applicant = Applicant::of_message(&message)?;
        let chain = chain_of(&message)?;
        let key = match chain.first() {
            Some(leaf) => {
                proof::verify(leaf, record.id, &request.application, request.key_proof.as_ref())?;
                None
            }
            None => Some(ProvenKey::of_request(&message.request)?),
        };
        Ok(Self {
            applicant,
            chain,
            key,
            nonce: message.nonce.as_ref().try_into().map_err(|_| JoinRefusal::Malformed)?,
            secret_hash: record.secret_hash,
            bytes: request.application.clone(),
        })
    }

    /// Who asks.
    #[must_use]
    pub fn applicant(&self) -> &Applicant {
        &self.applicant
    }

    /// The certificate of its own that it came with, and those above it, whose key it proved to have; none where the cluster is
    /// to make one. Nothing else of it is verified.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The key that its certificate is to be for; none of an applicant that has one ([`Self::chain`]).
    #[must_use]
    pub fn key(&self) -> Option<&ProvenKey> {
        self.key.as_ref()
    }

    /// Answers, after the node and the use of the token were committed. One answer is enough: each has a nonce of its own.
    ///
    /// # Errors
    /// [`GrantError`] when the applicant could not use it.
    pub fn grant(&self, grant: &Grant) -> Result<v1::JoinResponse, GrantError> {
        let (level, features) = (grant.feature_level, &self.applicant.features);
        if !features.contains(&level) {
            return Err(GrantError::FeatureLevel { level, min: *features.start(), max: *features.end() });
        }
        if !(1..=VOTERS_MAX).contains(&grant.voters.len()) {
            return Err(GrantError::Voters { count: grant.voters.len() });
        }
        let plain = grant.to_bytes();
        if plain.len() > GRANT_BYTES_MAX {
            return Err(GrantError::TooLarge { bytes: plain.len() });
        }
        let ephemeral = Ephemeral::draw();
        let ours = ephemeral.public();
        let secret = ephemeral.agree(&self.nonce, &self.secret_hash, [&self.nonce, &ours]).ok_or(GrantError::Nonce)?;
        let sealed = cipher::seal(&secret, &self.bytes, &plain);
        Ok(v1::JoinResponse { nonce: ours.to_vec().into(), sealed: sealed.into() })
    }
}

impl fmt::Debug for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Application").field("applicant", &self.applicant).finish_non_exhaustive()
    }
}
