//! What the API asks of the node that it is served by: whether it is alone, waits, or is in a cluster, and what it then does.
//!
//! ```text
//!   Alone ──────────────────────────────────────▶ (stays)
//!   Waiting(Candidate) ── Bootstrap, JoinCluster ──▶ Member(Membership)
//! ```
//!
//! [`Node`] is what every service holds. Who makes nodes implements [`Candidate`] and [`Membership`]; services do not know
//! data folders, authorities or tokens.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quorate_audit::Audit;
use quorate_catalog::{Catalog, proto};
use quorate_control::Control;
use quorate_member::FindingKind;
use quorate_membership::authority::AuthorityPem;
use quorate_membership::handshake::{Credentials, Trust};
use quorate_membership::identity::Role;
use quorate_membership::root::RootKey;
use quorate_proto::admin::v1;
use quorate_types::{ResourceName, Timestamp};
use tokio::sync::watch;
use tonic::{Status, async_trait};

use super::errors;

/// The node, as services have it; clones share it.
#[derive(Clone)]
pub struct Node {
    standing: Arc<watch::Sender<Standing>>,
    audit: Audit,
}

/// What a node is to clusters.
#[derive(Clone)]
pub enum Standing {
    /// It has no peers and never will.
    Alone,
    /// It waits to be bootstrapped or to join.
    Waiting(Arc<dyn Candidate>),
    /// It is in a cluster.
    Member(Arc<dyn Membership>),
}

/// How a new cluster begins.
#[derive(Clone, Debug)]
pub struct Beginning {
    /// The name of its first node; the host's when there is none.
    pub node_name: Option<ResourceName>,
    /// Shard groups, 1 to 256; the default when 0.
    pub shards: u32,
    /// Replicas of a shard, 1 to 9; the default when 0.
    pub replicas: u32,
    /// What signs its certificates; an authority of its own when there is none.
    pub authority: Option<AuthorityPem>,
}

/// What stands between who made a token and what for; no caller's name has it.
const COMMENT_AFTER: &str = ": ";

/// What a node gives who asks for a token.
#[derive(Clone, Debug)]
pub struct TokenOrder {
    /// How long it can be used.
    pub valid_for: Duration,
    /// The name that the node must have.
    pub node_name: Option<ResourceName>,
    /// The rack that the node must be in.
    pub rack: Option<String>,
    /// What it is for.
    pub comment: String,
    /// Who asks.
    pub by: String,
}

/// A token that was issued: shown once.
pub struct IssuedToken {
    /// The token.
    pub text: zeroize::Zeroizing<String>,
    /// Its public part, as 32 hexadecimal digits.
    pub id: String,
    /// From when on it cannot be used.
    pub expires: Timestamp,
}

/// A certificate that was issued, with its key: shown once.
pub struct OperatorCertificate {
    /// The certificate and those above it, in PEM.
    pub certificate_pem: String,
    /// Its key, in PEM.
    pub key_pem: zeroize::Zeroizing<String>,
    /// Whom to trust as the cluster, in PEM.
    pub trust_bundle_pem: String,
    /// When it ends.
    pub expires: Timestamp,
    /// Which one it is: the SHA-256 of its public key, as 64 hexadecimal digits.
    pub id: String,
}

/// A node that waits.
#[async_trait]
pub trait Candidate: Send + Sync + 'static {
    /// Whether certificates of its cluster will come from files.
    fn has_certificate_files(&self) -> bool;

    /// Makes a cluster of this node alone, and the certificate of its first operator; none where certificates come from files.
    ///
    /// # Errors
    /// What the caller is told.
    async fn bootstrap(
        &self,
        beginning: Beginning,
    ) -> Result<(Arc<dyn Membership>, Option<OperatorCertificate>), Status>;

    /// Joins the cluster that a token is of.
    ///
    /// # Errors
    /// What the caller is told.
    async fn join(&self, token: &str) -> Result<Arc<dyn Membership>, Status>;
}

/// A node that is in a cluster.
#[async_trait]
pub trait Membership: Send + Sync + 'static {
    /// The catalog, and the groups of the node.
    fn control(&self) -> &Arc<Control>;

    /// Which node it is.
    fn id(&self) -> quorate_types::NodeId;

    /// Whom the cluster trusts.
    fn trust(&self) -> &Trust;

    /// What the node shows.
    fn credentials(&self) -> &Credentials;

    /// What the cluster's secrets are sealed under.
    fn root_key(&self) -> &RootKey;

    /// What is wrong with the node, in plain words by its kind; nothing when it is healthy.
    fn findings(&self) -> BTreeMap<FindingKind, String>;

    /// Answers a node that asks to be taken in: an encoded `membership.v1.JoinRequest`, and the encoded `JoinResponse`.
    ///
    /// # Errors
    /// What the caller, who may be a stranger, is told.
    async fn admit(&self, request: &[u8]) -> Result<Vec<u8>, Status>;

    /// Issues a token.
    ///
    /// # Errors
    /// What the caller is told.
    async fn issue_token(&self, order: TokenOrder) -> Result<IssuedToken, Status>;

    /// Issues the certificate of an operator, as `by` asks; it is listed before it is given out, where the cluster lists any.
    ///
    /// # Errors
    /// What the caller is told.
    async fn issue_operator(
        &self,
        name: ResourceName,
        role: Role,
        valid_for: Duration,
        by: &str,
    ) -> Result<OperatorCertificate, Status>;

    /// Takes a step of replacing the authority, and tells where that is then.
    ///
    /// # Errors
    /// What the caller is told.
    async fn rotate_authority(&self, request: v1::RotateAuthorityRequest) -> Result<v1::AuthorityStatus, Status>;

    /// Who signs the cluster's certificates as a catalog has it; nothing where nobody does, or it cannot be read.
    fn authority(&self, catalog: &Catalog) -> Option<v1::AuthorityStatus>;

    /// Whether nobody of the cluster signs certificates, because they come from files.
    fn has_certificate_files(&self) -> bool;
}

/// What a cluster begins with, and what else is read as documents are written.
#[async_trait]
pub trait Documents: Send + Sync + 'static {
    /// Checks documents as far as that is possible without a cluster.
    ///
    /// # Errors
    /// INVALID_ARGUMENT with every problem.
    async fn check(&self, documents: &[v1::Document]) -> Result<(), Status>;

    /// Applies the first documents of a cluster, as `author`.
    ///
    /// # Errors
    /// What the caller is told.
    async fn apply(&self, member: &dyn Membership, documents: Vec<v1::Document>, author: &str) -> Result<(), Status>;

    /// Makes a change that follows from the documents that there are, when the set that comes of it is valid; tells how much
    /// of it was new.
    ///
    /// # Errors
    /// What the caller is told; then nothing has changed, unless it says that this is not known.
    async fn change(&self, member: &dyn Membership, wish: Wish<'_>) -> Result<proto::Applied, Status>;
}

/// A change, of the documents that there are.
pub type Wish<'a> = &'a (dyn Fn(&Catalog) -> proto::Apply + Send + Sync);

// === impl TokenOrder ===

impl TokenOrder {
    /// Who asks and what for, in the one text that the catalog keeps of it. The most that both can be fits.
    #[must_use]
    pub fn created_by(&self) -> String {
        let Self { by, comment, .. } = self;
        if comment.is_empty() { by.clone() } else { format!("{by}{COMMENT_AFTER}{comment}") }
    }

    /// Who made a token and what for, of that text.
    pub(crate) fn creator_and_comment(created_by: &str) -> (&str, &str) {
        created_by.split_once(COMMENT_AFTER).unwrap_or((created_by, ""))
    }
}

// === impl Node ===

impl Node {
    /// A node that stands so, and records in this log.
    #[must_use]
    pub fn new(standing: Standing, audit: Audit) -> Self {
        Self { standing: Arc::new(watch::Sender::new(standing)), audit }
    }

    /// How it stands now.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// Returns a receiver of how it stands: whoever runs a node that waits goes on when it is a member.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// The node has become a member.
    pub fn became(&self, member: Arc<dyn Membership>) {
        self.standing.send_replace(Standing::Member(member));
    }

    /// The member that it is.
    ///
    /// # Errors
    /// FAILED_PRECONDITION when it is none, with what to do first.
    pub fn member(&self) -> Result<Arc<dyn Membership>, Status> {
        match &*self.standing.borrow() {
            Standing::Member(member) => Ok(Arc::clone(member)),
            Standing::Waiting(_) => Err(errors::waiting()),
            Standing::Alone => Err(errors::alone()),
        }
    }

    /// Where is recorded who did what.
    #[must_use]
    pub fn audit(&self) -> &Audit {
        &self.audit
    }
}
