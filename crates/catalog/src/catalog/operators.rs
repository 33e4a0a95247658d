//! Commands about certificates of operators.
//!
//! A certificate is listed before it is handed out, and one that is taken back stays listed until it has ended on every
//! clock. Also one that was never listed can be taken back, so that what was issued at a lower feature level can be.

use std::sync::Arc;

use super::{Answer, Catalog, DONE, Step};
use crate::check::{self, Checked};
use crate::effect::Effect;
use crate::limits::{OPERATORS_LEVEL, OPERATORS_MAX, OPERATORS_REVOKED_MAX};
use crate::operator::{Operator, OperatorId};
use crate::proto::{self, Reason};
use crate::refusal::Refusal;

// === impl Catalog ===

impl Catalog {
    pub(super) fn issue_operator(&mut self, issue: &proto::IssueOperator, step: &mut Step) -> Answer {
        self.check_level(OPERATORS_LEVEL)?;
        let operator = Operator::issued(issue, step.now)?;
        if self.operators.contains_key(&operator.id) {
            return Err(Refusal::new(Reason::Exists, "fingerprint", operator.id, "a certificate that is not listed"));
        }
        self.check_room(OPERATORS_MAX, step)?;
        self.put_operator(operator, step);
        DONE
    }

    pub(super) fn revoke_operator(&mut self, revoke: &proto::RevokeOperator, step: &mut Step) -> Answer {
        self.check_level(OPERATORS_LEVEL)?;
        let id = OperatorId(check::array("fingerprint", &revoke.fingerprint)?);
        let operator = match self.operators.get(&id).filter(|operator| !operator.is_forgotten(step.now)) {
            // When it was done first is what is told.
            Some(known) => Operator { revoked_at: known.revoked_at.or(Some(step.now)), ..known.clone() },
            None => {
                self.check_room(OPERATORS_REVOKED_MAX, step)?;
                Operator::unlisted(id, revoke, step.now)?
            }
        };
        self.put_operator(operator, step);
        DONE
    }

    /// Whether there is room for one more.
    fn check_room(&self, most: usize, step: &Step) -> Checked<()> {
        let listed = self.operators.values().filter(|operator| !operator.is_forgotten(step.now)).count();
        if listed < most {
            return Ok(());
        }
        Err(Refusal::limit("fingerprint", "one more", format_args!("{most} certificates that have not ended")))
    }

    fn put_operator(&mut self, operator: Operator, step: &mut Step) {
        Arc::make_mut(&mut self.operators).insert(operator.id, operator);
        step.effects.push(Effect::Operators);
    }

    pub(super) fn sweep_operators(&mut self, step: &mut Step) {
        let forgotten = |operator: &Operator| operator.is_forgotten(step.now);
        if !self.operators.values().any(forgotten) {
            return;
        }
        Arc::make_mut(&mut self.operators).retain(|_, operator| !forgotten(operator));
        if !step.effects.contains(&Effect::Operators) {
            step.effects.push(Effect::Operators);
        }
    }
}
