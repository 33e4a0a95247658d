//! What a node tells by itself of a request to join, before it asks a quorum: anybody may send one.
//!
//! ```text
//! token known here? ─no─▶ a place to wait ─▶ known meanwhile? ─no─▶ does this node lead? ─▶ refused, or sent on
//!        └─────────────────────── yes ───────────────┴──▶ proven, not used, ended or revoked? ─▶ a quorum decides
//! ```
//!
//! What is used, ended or revoked stays so, and an id has one secret: such a request is refused from a copy of any age. Only
//! that a token is not known may change, when it was made elsewhere a moment ago. **Invariant:** a request without a token of
//! the cluster costs no consensus as long as somebody leads.

use std::time::Duration;

use quorate_catalog::proto::{self, Reason};
use quorate_catalog::{Catalog, TokenState};
use quorate_control::CommandError;
use quorate_membership::join::{Application, JoinRefusal};
use quorate_proto::membership::v1;
use quorate_types::NodeId;

use crate::admit::record;
use crate::clock::now;
use crate::error::AdmitError;
use crate::member::Member;

/// Requests with unknown tokens that are waited for at the same time; those with known ones have places of their own.
pub(crate) const WAITING_MAX: usize = 8;
/// How long a token is waited for that is not known here: longer than a node is behind who hears of its leader.
const PATIENCE: Duration = Duration::from_secs(1);

// === impl Member ===

impl Member {
    /// Refuses a request of which this node knows that a quorum would refuse it.
    pub(crate) async fn screen(&self, request: &v1::JoinRequest, asked: &[u8; 32]) -> Result<(), AdmitError> {
        let id = Application::token(request)?;
        let is_known = |catalog: &Catalog| catalog.tokens(now()).any(|token| token.id.0 == id.0);
        if !is_known(&self.control().catalog()) {
            let Ok(_place) = self.0.waiting.try_acquire() else { return Err(AdmitError::NotYet) };
            let mut changed = self.control().changed();
            let known = async { while !is_known(&self.control().catalog()) && changed.changed().await.is_ok() {} };
            let _is_late = tokio::time::timeout(PATIENCE, known).await;
        }
        let catalog = self.control().catalog();
        if !is_known(&catalog) {
            let role = self.control().meta().role().borrow().clone();
            return match role.leads() {
                true if role.serves().is_some() => Err(JoinRefusal::Unknown.into()),
                // Of a copy that may be old nobody knows what it lacks: who leads knows it, and is asked next.
                false if self.is_connected(role.leader()) => Err(AdmitError::NotYet),
                true | false => Ok(()),
            };
        }
        let record = record(&catalog, id, asked)?;
        Application::open(request, &record, now())?;
        let revoked = catalog.tokens(now()).any(|token| token.id.0 == id.0 && token.state == TokenState::Revoked);
        if revoked {
            let refusal = proto::Refusal {
                reason: Reason::TokenRevoked.into(),
                field: "token".to_owned(),
                value: id.to_string(),
                allowed: "a token that was not revoked".to_owned(),
                conflict: None,
            };
            return Err(CommandError::Refused(refusal.into()).into());
        }
        Ok(())
    }

    fn is_connected(&self, leader: Option<NodeId>) -> bool {
        let link = leader.and_then(|leader| self.control().host().peers().link(leader));
        link.is_some_and(|link| link.borrow().is_connected())
    }
}
