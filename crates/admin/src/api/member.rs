//! A data folder of `quorate-member` as the API asks it, and its errors as callers are told them.
//!
//! A folder that waits becomes a member also when the call that made it one fails at its end (its first operator has no
//! certificate, or it is not active in time): who it is is followed, and not told by the call alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quorate_audit::Audit;
use quorate_catalog::{Catalog, GROUPS_DEFAULT, REPLICATION_DEFAULT};
use quorate_control::Control;
use quorate_member::{
    AdmitError, BootstrapError, BootstrapSettings, FindingKind, JoinError, Member, OpenError, Opened, TokenTerms,
    Waiting,
};
use quorate_membership::authority::AuthorityError;
use quorate_membership::handshake::{Credentials, Trust};
use quorate_membership::identity::Role;
use quorate_membership::root::RootKey;
use quorate_membership::token::JoinToken;
use quorate_proto::admin::v1;
use quorate_types::{NodeId, ResourceName};
use tonic::{Code, Status, async_trait};

use super::authority;
use super::errors;
use super::node::{Beginning, Candidate, IssuedToken, Membership, Node, OperatorCertificate, Standing, TokenOrder};

/// When to try again what another call has begun.
const BUSY: Duration = Duration::from_secs(2);
/// A folder that waits.
struct Folder(Arc<Waiting>);

// === impl Node ===

impl Node {
    /// The node of a data folder that was opened; one that waits is followed until it is a member. Needs a runtime of tokio.
    #[must_use]
    pub fn of_folder(opened: Opened, audit: Audit) -> Self {
        match opened {
            Opened::Member(member) => Self::new(Standing::Member(Arc::new(member)), audit),
            Opened::Waiting(waiting) => {
                let mut became = waiting.member();
                let node = Self::new(Standing::Waiting(Arc::new(Folder(Arc::new(waiting)))), audit);
                let follows = node.clone();
                tokio::spawn(async move {
                    if let Ok(member) = became.wait_for(Option::is_some).await
                        && let Some(member) = member.clone()
                    {
                        follows.became(Arc::new(member));
                    }
                });
                node
            }
        }
    }
}

#[async_trait]
impl Candidate for Folder {
    fn has_certificate_files(&self) -> bool {
        self.0.has_files()
    }

    async fn bootstrap(
        &self,
        beginning: Beginning,
    ) -> Result<(Arc<dyn Membership>, Option<OperatorCertificate>), Status> {
        let Beginning { node_name, shards, replicas, authority } = beginning;
        let or = |value, default| if value == 0 { default } else { value };
        let asked = BootstrapSettings {
            name: node_name,
            shards: or(shards, GROUPS_DEFAULT),
            replicas: or(replicas, REPLICATION_DEFAULT),
            authority,
        };
        let (member, operator) = self.0.bootstrap(asked).await.map_err(|error| of_bootstrap(&error))?;
        Ok((Arc::new(member), operator.map(of_operator)))
    }

    async fn join(&self, token: &str) -> Result<Arc<dyn Membership>, Status> {
        // What is wrong with it is said without it.
        let token = JoinToken::parse(token.trim()).map_err(|error| errors::invalid("token", "(not shown)", error))?;
        let member = self.0.join(token).await.map_err(|error| of_join(&error))?;
        Ok(Arc::new(member))
    }
}

#[async_trait]
impl Membership for Member {
    fn control(&self) -> &Arc<Control> {
        Self::control(self)
    }

    fn id(&self) -> NodeId {
        self.identity().node
    }

    fn trust(&self) -> &Trust {
        Self::trust(self)
    }

    fn credentials(&self) -> &Credentials {
        Self::credentials(self)
    }

    fn root_key(&self) -> &RootKey {
        Self::root_key(self)
    }

    fn findings(&self) -> BTreeMap<FindingKind, String> {
        self.health().borrow().findings.clone()
    }

    async fn admit(&self, request: &[u8]) -> Result<Vec<u8>, Status> {
        Self::admit(self, request).await.map_err(|error| of_admit(&error))
    }

    async fn issue_token(&self, order: TokenOrder) -> Result<IssuedToken, Status> {
        let created_by = order.created_by();
        let TokenOrder { valid_for, node_name: name, rack, .. } = order;
        let terms = TokenTerms { valid_for, name, rack, created_by };
        let issued = Self::issue_token(self, terms).await.map_err(|error| of_admit(&error))?;
        Ok(IssuedToken { text: issued.token.reveal(), id: issued.id.to_string(), expires: issued.expires })
    }

    async fn issue_operator(
        &self,
        name: ResourceName,
        role: Role,
        valid_for: Duration,
        by: &str,
    ) -> Result<OperatorCertificate, Status> {
        let issued = Self::issue_operator(self, name, role, valid_for, by).await;
        issued.map(of_operator).map_err(|error| of_admit(&error))
    }

    async fn rotate_authority(&self, request: v1::RotateAuthorityRequest) -> Result<v1::AuthorityStatus, Status> {
        let step = authority::step(request)?;
        let status = Self::rotate_authority(self, step).await.map_err(|error| of_admit(&error))?;
        Ok(authority::told(&status))
    }

    fn authority(&self, catalog: &Catalog) -> Option<v1::AuthorityStatus> {
        // One that cannot be opened is told in the log of the node, which finds it all the time.
        self.rotation(catalog).ok().flatten().map(|status| authority::told(&status))
    }

    fn has_certificate_files(&self) -> bool {
        Self::has_certificate_files(self)
    }
}

fn of_operator(operator: quorate_member::OperatorCertificate) -> OperatorCertificate {
    OperatorCertificate {
        certificate_pem: operator.certificate,
        key_pem: operator.key,
        trust_bundle_pem: operator.bundle,
        expires: operator.expires,
        id: operator.id.to_string(),
    }
}

fn of_bootstrap(error: &BootstrapError) -> Status {
    let message = error.to_string();
    match error {
        BootstrapError::Member => errors::precondition("BOOTSTRAPPED", "node", message),
        BootstrapError::Busy => errors::retry(Code::Unavailable, "BUSY", message, BUSY),
        BootstrapError::Settings(invalid) => errors::invalid(invalid.field, &invalid.value, invalid.allowed),
        BootstrapError::Operator(admit) => {
            let inner = of_admit(admit);
            errors::error(inner.code(), "NO_OPERATOR", message)
        }
        BootstrapError::Authority(AuthorityError::Issue(_)) => {
            errors::error(of_code(error.code()), "BOOTSTRAP", message)
        }
        BootstrapError::AuthorityGiven => errors::precondition("NO_AUTHORITY", "authority", message),
        BootstrapError::Level { .. } => errors::precondition("LEVEL", "cluster", message),
        BootstrapError::Open(OpenError::Files(_)) => errors::precondition("CERTIFICATE_FILES", "node", message),
        BootstrapError::Authority(given) => errors::invalid("authority", "(not shown)", given),
        BootstrapError::Begin(_) | BootstrapError::Open(_) => {
            errors::error(of_code(error.code()), "BOOTSTRAP", message)
        }
    }
}

fn of_join(error: &JoinError) -> Status {
    let message = error.to_string();
    match error {
        JoinError::Member => errors::precondition("BOOTSTRAPPED", "node", message),
        JoinError::Busy => errors::retry(Code::Unavailable, "BUSY", message, BUSY),
        JoinError::RootKey => errors::precondition("ROOT_KEY", "data_dir", message),
        JoinError::Authorities { .. } => errors::precondition("AUTHORITIES", "token", message),
        JoinError::Application(_) | JoinError::Open(OpenError::Files(_)) => {
            errors::precondition("CERTIFICATE_FILES", "node", message)
        }
        JoinError::Refused { .. } => errors::precondition("REFUSED", "token", message),
        JoinError::Unreachable { .. } => errors::retry(Code::Unavailable, "UNREACHABLE", message, BUSY),
        JoinError::Answer(_) | JoinError::Begin(_) | JoinError::Open(_) | JoinError::Inactive { .. } => {
            errors::error(of_code(error.code()), "JOIN", message)
        }
    }
}

/// When to ask again where something is on its way to this node.
const AGAIN: Duration = Duration::from_secs(1);

fn of_admit(error: &AdmitError) -> Status {
    match error {
        AdmitError::Command(command) => errors::command(command),
        AdmitError::Read(read) => errors::read(read),
        AdmitError::Terms(invalid) => errors::invalid(invalid.field, &invalid.value, invalid.allowed),
        AdmitError::Rotation(_) => errors::precondition("ROTATION", "authority", error.to_string()),
        AdmitError::Given(given) => errors::invalid("authority", "(not shown)", given),
        AdmitError::NoAuthority => errors::precondition("NO_AUTHORITY", "cluster", error.to_string()),
        AdmitError::NoCertificate | AdmitError::OwnCertificate | AdmitError::NotTaken(_) => {
            errors::precondition("CERTIFICATE", "node", error.to_string())
        }
        AdmitError::NoKey { .. } => errors::precondition("NO_KEY", "authority", error.to_string()),
        AdmitError::Rotating => errors::retry(Code::Aborted, "CONFLICT", error.to_string(), AGAIN),
        AdmitError::NotYet => errors::retry(Code::Unavailable, "NOT_YET", error.to_string(), AGAIN),
        AdmitError::Join(_) => {
            let reason = if error.code() == quorate_types::Code::Unauthenticated { "TOKEN_UNKNOWN" } else { "JOIN" };
            errors::error(of_code(error.code()), reason, error.to_string())
        }
        _ => errors::error(of_code(error.code()), "ADMIT", error.to_string()),
    }
}

/// A class of errors as gRPC has it.
fn of_code(code: quorate_types::Code) -> Code {
    use quorate_types::Code as Ours;
    match code {
        Ours::InvalidArgument => Code::InvalidArgument,
        Ours::Unauthenticated => Code::Unauthenticated,
        Ours::PermissionDenied => Code::PermissionDenied,
        Ours::NotFound => Code::NotFound,
        Ours::FailedPrecondition => Code::FailedPrecondition,
        Ours::ResourceExhausted => Code::ResourceExhausted,
        // It may have run: gRPC's ABORTED says that it was not.
        Ours::Aborted => Code::Unknown,
        Ours::Unimplemented => Code::Unimplemented,
        Ours::Unavailable => Code::Unavailable,
        Ours::DeadlineExceeded => Code::DeadlineExceeded,
        Ours::Cancelled => Code::Cancelled,
        Ours::Internal => Code::Internal,
    }
}
