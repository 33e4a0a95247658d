//! Commands about certificates of operators.
//!
//! A certificate is listed before it is handed out, and one that is taken back stays listed, until its place is needed by
//! another one and it has ended on every clock. Also one that was never listed can be taken back, so that what was issued at
//! a lower feature level can be.

use std::sync::Arc;

use quorate_types::Timestamp;

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
            return Err(Refusal::new(Reason::Exists, "fingerprint", operator.id, "a key that is not listed"));
        }
        let good = self.operators.values().filter(|known| known.is_good(step.now)).count();
        if good >= OPERATORS_MAX {
            let most = format_args!("{OPERATORS_MAX} certificates that are good: revoke some, or wait until they end");
            return Err(Refusal::limit("fingerprint", "one more", most));
        }
        let gone = self.room_for_operator(step.now)?;
        self.put_operator(operator, gone, step);
        DONE
    }

    pub(super) fn revoke_operator(&mut self, revoke: &proto::RevokeOperator, step: &mut Step) -> Answer {
        self.check_level(OPERATORS_LEVEL)?;
        let id = OperatorId(check::array("fingerprint", &revoke.fingerprint)?);
        let (operator, gone) = match self.operators.get(&id).filter(|operator| !operator.is_forgotten(step.now)) {
            // When it was done first is what is told.
            Some(known) => (Operator { revoked_at: known.revoked_at.or(Some(step.now)), ..known.clone() }, None),
            None => (Operator::unlisted(id, revoke, step.now)?, self.room_for_operator(step.now)?),
        };
        self.put_operator(operator, gone, step);
        DONE
    }

    /// Finds room for one more: where there is none, what makes some by being forgotten, the revoked one that ended first.
    /// Not before: the time of the log is a leader's clock, which may have run ahead, and who was taken back would be good
    /// again when it is right.
    fn room_for_operator(&self, now: Timestamp) -> Checked<Option<OperatorId>> {
        let listed = self.operators.values().filter(|operator| !operator.is_forgotten(now));
        if listed.clone().count() < OPERATORS_REVOKED_MAX {
            return Ok(None);
        }
        let ended = listed.filter(|operator| operator.has_ended_everywhere(now));
        let first = ended.min_by_key(|operator| (operator.expires_at, operator.id)).map(|operator| operator.id);
        let most = format_args!("{OPERATORS_REVOKED_MAX} certificates that have not ended or were revoked");
        first.map(Some).ok_or_else(|| Refusal::limit("fingerprint", "one more", most))
    }

    fn put_operator(&mut self, operator: Operator, gone: Option<OperatorId>, step: &mut Step) {
        let operators = Arc::make_mut(&mut self.operators);
        if let Some(gone) = gone {
            operators.remove(&gone);
        }
        operators.insert(operator.id, operator);
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
