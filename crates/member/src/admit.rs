//! What a member gives to others: a place in the cluster, tokens for it, and certificates of operators.
//!
//! ```text
//! JoinRequest ─▶ screen ─▶ token of the catalog ─▶ proof ─▶ AddNode (uses the token) ─▶ certificate ─▶ SetCertificates ─▶ grant
//! ```
//!
//! Any member does it, because any can open the authority's key. Where certificates come from files there is no such key: a node
//! that joins shows its certificate, and has the number in it. **Invariant:** nothing is granted before the cluster
//! committed that the token is used by this very application, so that two members that are asked at once give one place.

use std::time::Duration;

use prost::Message;
use quorate_catalog::proto::command::Kind as Command;
use quorate_catalog::proto::outcome::Kind as Outcome;
use quorate_catalog::{Catalog, NodeState, OPERATORS_LEVEL, OperatorId, Token, TokenState, proto};
use quorate_control::CommandError;
use quorate_membership::address::{Address, Host};
use quorate_membership::authority::{MemberKey, ProvenKey};
use quorate_membership::identity::Role;
use quorate_membership::join::{Applicant, Application, Grant, JoinRefusal, TokenRecord, VOTERS_MAX};
use quorate_membership::pem;
use quorate_membership::token::{ADDRESSES_MAX, JoinToken, TokenId};
use quorate_membership::trust::{Refusal, Side, key_digest};
use quorate_proto::membership::v1;
use quorate_tls::x509::Facts;
use quorate_types::{NodeId, ResourceName, Timestamp};
use ring::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;

use crate::bootstrap::certificates;
use crate::clock::now;
use crate::error::AdmitError;
use crate::member::{IssuedToken, Member, OperatorCertificate, TokenTerms};
use crate::settings::InvalidSettings;

/// The shortest life of a token: what it takes to carry it to another machine.
const TOKEN_LIFETIME_MIN: Duration = Duration::from_secs(60);
/// The longest: a week, for machines that are being made.
const TOKEN_LIFETIME_MAX: Duration = Duration::from_hours(7 * 24);

/// A certificate, and those above it.
type Chain = Vec<CertificateDer<'static>>;

// === impl Member ===

impl Member {
    /// Takes a node in: the other side of [`crate::Waiting::join`]. In and out are `quorate.membership.v1.JoinRequest` and
    /// `JoinResponse`, encoded. Asked again with the same request it gives the same place, with another certificate.
    ///
    /// # Errors
    /// [`AdmitError`] says why not.
    pub async fn admit(&self, request: &[u8]) -> Result<Vec<u8>, AdmitError> {
        let request = v1::JoinRequest::decode(request).map_err(|_| AdmitError::Malformed)?;
        let asked: [u8; 32] = digest(&SHA256, &request.application).as_ref().try_into().expect("SHA-256 has 32 bytes");
        self.screen(&request, &asked).await?;
        let catalog = self.control().latest().await?;
        let record = record(&catalog, Application::token(&request)?, &asked)?;
        let application = Application::open(&request, &record, now())?;
        // Before the token is used: what cannot be granted costs none.
        let own = self.own_number(&application)?;
        if own.is_none() {
            self.0.authorities.signing(&catalog)?.lives(now())?;
        }
        let applicant = application.applicant();
        let add = proto::AddNode {
            node: Some(proto::NewNode {
                name: applicant.name.as_str().to_owned(),
                peer_address: applicant.peer.to_string(),
                admin_address: applicant.admin.to_string(),
                rack: applicant.rack.as_ref().map(|rack| rack.as_str().to_owned()).unwrap_or_default(),
                level_min: *applicant.features.start(),
                level_max: *applicant.features.end(),
                number: own.map_or(0, |own| own.0),
                ..proto::NewNode::default()
            }),
            token: record.id.0.to_vec().into(),
            secret_hash: record.secret_hash.to_vec().into(),
            application: asked.to_vec().into(),
        };
        let node = match self.control().command(Command::AddNode(add)).await? {
            Outcome::NodeAdded(added) => NodeId(added.node),
            _ => return Err(CommandError::Outcome.into()),
        };
        let chain = match application.key() {
            Some(key) => self.certify(node, applicant, key)?,
            None => application.chain().to_vec(),
        };
        let told = proto::SetCertificates { node: node.0, certificates: certificates(&chain) };
        self.control().command(Command::SetCertificates(told)).await?;
        let grant = self.grant(node, chain)?;
        tracing::info!(%node, name = applicant.name.as_str(), token = %record.id, "a node was taken in");
        Ok(application.grant(&grant)?.encode_to_vec())
    }

    /// The number of a node that comes with a certificate, which members take; none of one that is to get one.
    fn own_number(&self, application: &Application) -> Result<Option<NodeId>, AdmitError> {
        let chain = application.chain();
        match (self.0.has_files(), chain.is_empty()) {
            (false, true) => Ok(None),
            (false, false) => Err(AdmitError::OwnCertificate),
            (true, true) => Err(AdmitError::NoCertificate),
            (true, false) => {
                let taken = |side| self.trust().verify(chain, side, now()).map_err(AdmitError::NotTaken);
                let (identity, _) = (taken(Side::Client)?, taken(Side::Server)?);
                let no_node = || AdmitError::NotTaken(Refusal::NoNode { identity: Box::new(identity.clone()) });
                identity.node().ok_or_else(no_node).map(Some)
            }
        }
    }

    /// Makes the certificate of a node that comes with a key.
    fn certify(&self, node: NodeId, applicant: &Applicant, key: &ProvenKey) -> Result<Chain, AdmitError> {
        let hosts: [Host; 2] = [&applicant.peer, &applicant.admin].map(|address| address.host().clone());
        let hosts = if hosts[0] == hosts[1] { &hosts[..1] } else { &hosts };
        let lifetime = self.0.ground.settings.certificate_lifetime;
        // Another one may sign since, and this one be trusted no more.
        let authority = self.0.authorities.signing(&self.control().catalog())?;
        Ok(authority.issue_node_for(lifetime, node, hosts, key, now())?.chain)
    }

    /// What a node of the cluster has, as the catalog is now.
    fn grant(&self, node: NodeId, chain: Chain) -> Result<Grant, AdmitError> {
        let catalog = self.control().catalog();
        let voters = self.control().meta().members().voters;
        let address = |id: NodeId| Some((id, catalog.node(id)?.addresses.peer.parse().ok()?));
        let mut voters: Vec<(NodeId, Address)> = voters.into_iter().filter_map(address).take(VOTERS_MAX).collect();
        if voters.is_empty() {
            voters.extend(address(self.identity().node));
        }
        Ok(Grant {
            cluster: self.identity().cluster,
            node,
            chain,
            bundle: self.0.trusted(&catalog)?,
            root_key: self.root_key().clone(),
            voters,
            feature_level: catalog.cluster().map_or(0, |cluster| cluster.level),
        })
    }

    /// Makes a token with which one node can join, once. It names up to three members, this one first.
    ///
    /// # Errors
    /// [`AdmitError`] when the terms are not allowed, or the catalog does not take it.
    pub async fn issue_token(&self, terms: TokenTerms) -> Result<IssuedToken, AdmitError> {
        if !(TOKEN_LIFETIME_MIN..=TOKEN_LIFETIME_MAX).contains(&terms.valid_for) {
            let value = format!("{:?}", terms.valid_for);
            return Err(InvalidSettings { field: "valid_for", value, allowed: "1 minute to 7 days" }.into());
        }
        let catalog = self.control().catalog();
        let authorities = self.0.trusted(&catalog)?.authorities();
        let token = JoinToken::draw(authorities, self.admin_addresses(&catalog))?;
        // By the log's time, which is what it is held against: it is ahead of the clocks when one of them ran ahead.
        let expires = now().max(catalog.time()) + terms.valid_for;
        let issue = proto::IssueToken {
            token: token.id().0.to_vec().into(),
            secret_hash: token.secret_hash().to_vec().into(),
            expires_at: expires.as_millis(),
            created_by: terms.created_by,
            node_name: terms.name.map(|name| name.as_str().to_owned()).unwrap_or_default(),
            rack: terms.rack.unwrap_or_default(),
        };
        self.control().command(Command::IssueToken(issue)).await?;
        Ok(IssuedToken { id: token.id(), token, expires })
    }

    /// Where members take requests of nodes that want to join.
    fn admin_addresses(&self, catalog: &Catalog) -> Vec<Address> {
        let own = self.0.ground.settings.admin_address.clone();
        let active = catalog.nodes().filter(|node| node.state == NodeState::Active && node.id != self.identity().node);
        let others = active.filter_map(|node| node.addresses.admin.as_ref()?.parse().ok());
        [own].into_iter().chain(others).take(ADDRESSES_MAX).collect()
    }

    /// Makes a certificate of an operator, which lives for an hour to a year, as `by` asks (at most 256 bytes). From the feature
    /// level on that knows of them it is listed in the catalog, before it is given out.
    ///
    /// # Errors
    /// [`AdmitError`] when the authority cannot be opened or does not issue it, or the catalog does not list it.
    pub async fn issue_operator(
        &self,
        name: ResourceName,
        role: Role,
        lifetime: Duration,
        by: &str,
    ) -> Result<OperatorCertificate, AdmitError> {
        // Not of a copy that is behind: it might not list what has to be listed by now.
        let catalog = self.control().latest().await?;
        let authority = self.0.authorities.signing(&catalog)?;
        let bundle = self.0.authorities.bundle(&catalog)?;
        let key = MemberKey::draw();
        let issued = authority.issue_operator(name.clone(), role, lifetime, &key.public(), now())?;
        let facts = Facts::read(&issued.chain[0]).expect("it was just issued");
        let id = OperatorId(key_digest(&issued.chain[0]).expect("it was just issued"));
        if catalog.cluster().is_some_and(|cluster| cluster.level >= OPERATORS_LEVEL) {
            // The time of the log is a leader's clock, and may be ahead of this one.
            let expires_at = issued.not_after.max(catalog.time() + lifetime).as_millis();
            let issue = proto::IssueOperator {
                fingerprint: id.0.to_vec().into(),
                serial: facts.serial.to_vec().into(),
                name: name.as_str().to_owned(),
                role: role.to_string(),
                expires_at,
                created_by: by.to_owned(),
            };
            self.control().command(Command::IssueOperator(issue)).await?;
        }
        Ok(OperatorCertificate {
            certificate: pem::of_certificates(&issued.chain),
            key: key.to_pem(),
            bundle: pem::of_certificates(&bundle.certificates().cloned().collect::<Vec<_>>()),
            expires: issued.not_after,
            id,
        })
    }
}

/// What the catalog has of a token. One that this very application used may be used by it again; what became of a revoked
/// one is told by the catalog, to who proves its secret.
pub(crate) fn record(catalog: &Catalog, id: TokenId, asked: &[u8; 32]) -> Result<TokenRecord, JoinRefusal> {
    let time: Timestamp = now();
    let token: &Token = catalog.tokens(time).find(|token| token.id.0 == id.0).ok_or(JoinRefusal::Unknown)?;
    let used_by = match token.state {
        TokenState::Used(by) if token.application != Some(*asked) => Some(by),
        TokenState::Used(_) | TokenState::Usable | TokenState::Revoked => None,
    };
    Ok(TokenRecord { id, secret_hash: token.secret_hash, expires: token.expires_at, used_by })
}
