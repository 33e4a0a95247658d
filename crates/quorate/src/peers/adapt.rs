//! Gives the services of the API what they need of a node: a data folder that waits, or a member.
//!
//! Maps errors of `quorate_member` to those that callers are told, once; decides nothing.

use std::sync::Arc;
use std::time::Duration;

use quorate_admin::api::errors;
use quorate_admin::api::node::{Beginning, Candidate, IssuedToken, Membership, OperatorCertificate, TokenOrder};
use quorate_catalog::{GROUPS_DEFAULT, REPLICATION_DEFAULT};
use quorate_control::{CommandError, Control};
use quorate_member::{AdmitError, BootstrapSettings, Member, TokenTerms, Waiting};
use quorate_membership::handshake::{Credentials, Trust};
use quorate_membership::identity::Role;
use quorate_membership::root::RootKey;
use quorate_membership::token::JoinToken;
use quorate_types::{Code, NodeId, ResourceName};
use tonic::{Status, async_trait};

/// When to try again where something else goes on.
const RETRY: Duration = Duration::from_secs(1);

/// A node that waits.
pub(super) struct ToBe(pub(super) Arc<Waiting>);

/// A node that is in a cluster.
pub(super) struct InCluster(pub(super) Member);

#[async_trait]
impl Candidate for ToBe {
    async fn bootstrap(&self, beginning: Beginning) -> Result<(Arc<dyn Membership>, OperatorCertificate), Status> {
        let or = |given: u32, default: u32| if given == 0 { default } else { given };
        let asked = BootstrapSettings {
            name: beginning.node_name,
            shards: or(beginning.shards, GROUPS_DEFAULT),
            replicas: or(beginning.replicas, REPLICATION_DEFAULT),
        };
        match self.0.bootstrap(asked).await {
            Ok((member, operator)) => Ok((Arc::new(InCluster(member)), certificate(operator))),
            Err(error) => Err(status(error.code(), "BOOTSTRAP", error.to_string())),
        }
    }

    async fn join(&self, token: &str) -> Result<Arc<dyn Membership>, Status> {
        // What is wrong with it is said, and nothing of it.
        let token = JoinToken::parse(token).map_err(|error| errors::invalid("token", "that was given", error))?;
        match self.0.join(token).await {
            Ok(member) => Ok(Arc::new(InCluster(member))),
            Err(error) => Err(status(error.code(), "JOIN", error.to_string())),
        }
    }
}

#[async_trait]
impl Membership for InCluster {
    fn control(&self) -> &Arc<Control> {
        self.0.control()
    }

    fn id(&self) -> NodeId {
        self.0.identity().node
    }

    fn trust(&self) -> &Trust {
        self.0.trust()
    }

    fn credentials(&self) -> &Credentials {
        self.0.credentials()
    }

    fn root_key(&self) -> &RootKey {
        self.0.root_key()
    }

    fn findings(&self) -> Vec<String> {
        self.0.health().borrow().findings.values().cloned().collect()
    }

    async fn admit(&self, request: &[u8]) -> Result<Vec<u8>, Status> {
        self.0.admit(request).await.map_err(|error| of_admit(&error))
    }

    async fn issue_token(&self, order: TokenOrder) -> Result<IssuedToken, Status> {
        let TokenOrder { valid_for, node_name, rack, comment, by } = order;
        let created_by = if comment.is_empty() { by } else { format!("{by}: {comment}") };
        let terms = TokenTerms { valid_for, name: node_name, rack, created_by };
        let issued = self.0.issue_token(terms).await.map_err(|error| of_admit(&error))?;
        Ok(IssuedToken { text: issued.token.reveal(), id: issued.id.to_string(), expires: issued.expires })
    }

    async fn issue_operator(
        &self,
        name: ResourceName,
        role: Role,
        valid_for: Duration,
    ) -> Result<OperatorCertificate, Status> {
        let issued = self.0.issue_operator(name, role, valid_for).await;
        issued.map(certificate).map_err(|error| of_admit(&error))
    }
}

fn certificate(issued: quorate_member::OperatorCertificate) -> OperatorCertificate {
    let quorate_member::OperatorCertificate { certificate, key, bundle, expires } = issued;
    OperatorCertificate { certificate_pem: certificate, key_pem: key, trust_bundle_pem: bundle, expires }
}

fn of_admit(error: &AdmitError) -> Status {
    match error {
        AdmitError::Command(CommandError::Refused(refusal)) => errors::refusal(refusal),
        AdmitError::Command(error) => errors::command(error),
        AdmitError::Read(error) => errors::read(error),
        AdmitError::Terms(terms) => errors::invalid(terms.field, &terms.value, terms.allowed),
        other => status(other.code(), "MEMBER", other.to_string()),
    }
}

fn status(code: Code, reason: &'static str, message: String) -> Status {
    let code = match code {
        Code::InvalidArgument => tonic::Code::InvalidArgument,
        Code::Unauthenticated => tonic::Code::Unauthenticated,
        Code::PermissionDenied => tonic::Code::PermissionDenied,
        Code::NotFound => tonic::Code::NotFound,
        Code::FailedPrecondition => return errors::precondition(reason, "node", message),
        Code::ResourceExhausted => tonic::Code::ResourceExhausted,
        Code::Aborted => tonic::Code::Aborted,
        Code::Unimplemented => tonic::Code::Unimplemented,
        Code::Unavailable => return errors::retry(tonic::Code::Unavailable, reason, message, RETRY),
        Code::DeadlineExceeded => tonic::Code::DeadlineExceeded,
        Code::Cancelled => tonic::Code::Cancelled,
        Code::Internal => tonic::Code::Internal,
    };
    errors::error(code, reason, message)
}
