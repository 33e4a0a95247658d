//! The handle of a member: what the rest of the node has of its place in the cluster.
//!
//! Cheap to clone. The member ends with [`Member::shutdown`], or with its last clone.

use std::sync::Arc;
use std::time::Duration;

use quorate_control::{CommandError, Control};
use quorate_membership::handshake::{Credentials, Trust};
use quorate_membership::home::Identity;
use quorate_membership::identity::Role;
use quorate_membership::root::RootKey;
use quorate_membership::token::{JoinToken, TokenId};
use quorate_types::{ResourceName, Timestamp};
use tokio::sync::watch;

use crate::error::AdmitError;
use crate::health::Health;

/// A member of a cluster.
#[derive(Clone)]
pub struct Member(Arc<Inner>);

pub(crate) struct Inner {
    control: Arc<Control>,
    trust: Trust,
    credentials: Credentials,
    root: RootKey,
    identity: Identity,
    health: watch::Receiver<Health>,
    failed: watch::Receiver<Option<Failure>>,
}

/// Why a node has to end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// What its disk has is not known any more.
    #[error("the log failed: {reason}")]
    Log {
        /// What happened.
        reason: String,
    },
    /// The cluster takes it no more.
    #[error("the cluster does not take this node: {reason}")]
    Refused {
        /// What the cluster says.
        reason: String,
    },
}

/// What a token is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenTerms {
    /// For how long: 1 minute to 7 days.
    pub valid_for: Duration,
    /// The name that the node must have.
    pub name: Option<ResourceName>,
    /// The rack that it must be in.
    pub rack: Option<ResourceName>,
    /// Who asks for it, and why: at most 256 bytes.
    pub created_by: String,
}

/// A token that was issued; it is shown to who asked for it, once.
#[derive(Debug)]
pub struct IssuedToken {
    /// The token.
    pub token: JoinToken,
    /// What it is called.
    pub id: TokenId,
    /// From when on it opens nothing.
    pub expires: Timestamp,
}

/// What an operator shows, in PEM.
pub struct OperatorCertificate {
    /// Its certificate, and those above it.
    pub certificate: String,
    /// Its key: for the operator alone.
    pub key: zeroize::Zeroizing<String>,
    /// Whom the cluster trusts: nodes show certificates of these.
    pub bundle: String,
    /// When it ends.
    pub expires: Timestamp,
}

// === impl Member ===

impl Member {
    /// The catalog, and commands that change it.
    #[must_use]
    pub fn control(&self) -> &Arc<Control> {
        &self.0.control
    }

    /// Whom the cluster trusts, as it changes.
    #[must_use]
    pub fn trust(&self) -> &Trust {
        &self.0.trust
    }

    /// What the node shows, as it changes.
    #[must_use]
    pub fn credentials(&self) -> &Credentials {
        &self.0.credentials
    }

    /// The key of the cluster.
    #[must_use]
    pub fn root_key(&self) -> &RootKey {
        &self.0.root
    }

    /// Who the node is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// Takes a node in: the other side of [`crate::Waiting::join`]. In and out are `quorate.membership.v1.JoinRequest` and
    /// `JoinResponse`, encoded.
    ///
    /// # Errors
    /// [`AdmitError`] says why not.
    pub async fn admit(&self, _request: &[u8]) -> Result<Vec<u8>, AdmitError> {
        Err(AdmitError::Malformed)
    }

    /// Makes a token with which one node can join, once.
    ///
    /// # Errors
    /// [`IssueError`](crate::AdmitError) when the terms are not allowed, or the catalog does not take it.
    pub async fn issue_token(&self, _terms: TokenTerms) -> Result<IssuedToken, CommandError> {
        Err(CommandError::Outcome)
    }

    /// Makes a certificate of an operator.
    ///
    /// # Errors
    /// [`AdmitError`] when the authority cannot be opened, or does not issue it.
    pub async fn issue_operator(
        &self,
        _name: ResourceName,
        _role: Role,
        _lifetime: Duration,
    ) -> Result<OperatorCertificate, AdmitError> {
        Err(AdmitError::Malformed)
    }

    /// How the node does.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.0.health.clone()
    }

    /// Tells that the node has to end, and why.
    #[must_use]
    pub fn failed(&self) -> watch::Receiver<Option<Failure>> {
        self.0.failed.clone()
    }

    /// Ends the member: hands over what it leads, and closes the log.
    pub async fn shutdown(self) {}
}
