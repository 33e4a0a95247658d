//! What was told, held against what was done.
//!
//! | The client was told | The ledger has |
//! |---|---|
//! | an answer | one execution, to its end; of a replayable tool one or more |
//! | that the outcome is not known, or nothing | one execution at most |
//! | that nothing was executed | none |
//!
//! A call in a ledger that nobody made is a finding, too.

use std::collections::{BTreeMap, BTreeSet};

use crate::agent::{Account, Made};
use crate::follow::Outcome;
use crate::ground::{KINDS, Kind};
use crate::ledger::{Executions, Ledger};

/// What does not fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Calls that were executed twice, and must not be.
    pub twice: usize,
    /// Calls of replayable tools that were.
    pub replayed: usize,
    /// Calls that were answered, and not executed once.
    pub unexecuted: usize,
    /// All of that, and whatever else, in words.
    pub findings: Vec<String>,
}

/// Compares what agents were told with the ledgers of all counters. Where all agents told what they did, what else is in a
/// ledger is a finding.
#[must_use]
pub fn judge(accounts: &[Account], all_told: bool, ledgers: &BTreeMap<Kind, Ledger>) -> Verdict {
    let mut verdict = Verdict::default();
    let none = Ledger::default();
    let mut known: BTreeMap<Kind, BTreeSet<&str>> = BTreeMap::new();
    for made in accounts.iter().flat_map(|account| &account.calls) {
        let kind = made.call.kind;
        known.entry(kind).or_default().insert(&made.call.name);
        verdict.take(made, ledgers.get(&kind).unwrap_or(&none).of_call(&made.call.name));
    }
    for kind in KINDS.into_iter().filter(|_| all_told) {
        let known = known.remove(&kind).unwrap_or_default();
        let there = ledgers.get(&kind).into_iter().flat_map(|ledger| ledger.calls.keys());
        let unknown = there.filter(|id| !known.contains(id.as_str()));
        verdict.findings.extend(unknown.map(|id| format!("{id} was executed by {}, and nobody called", kind.server())));
    }
    verdict
}

// === impl Verdict ===

impl Verdict {
    fn take(&mut self, made: &Made, executions: Executions) {
        let Made { call, done } = made;
        let Executions { runs, done: ends } = executions;
        let may_run_again = call.kind == Kind::Replayable;
        let runs_max = match done.outcome {
            Outcome::NotRun => 0,
            _ if may_run_again => usize::MAX,
            _ => 1,
        };
        if runs > 1 && may_run_again {
            self.replayed += 1;
        } else if runs > 1 {
            self.twice += 1;
        }
        let is_missing = done.outcome == Outcome::Answered && ends == 0;
        if is_missing {
            self.unexecuted += 1;
        }
        if runs > runs_max || is_missing {
            let (name, kind, outcome) = (&call.name, call.kind.server(), done.outcome);
            self.findings.push(format!("{name} of {kind} was {outcome:?}: begun {runs} times, done {ends} times"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::follow::{Call, Done, Tool};

    /// The findings about one call that ended so, and was executed so often.
    fn findings(kind: Kind, outcome: Outcome, runs: usize) -> usize {
        let call = Call {
            number: 1,
            name: "a".to_owned(),
            kind,
            tool: Tool::Quick,
            steps: 0,
            pause_ms: 0,
            is_streamed: false,
            is_probed: false,
        };
        let done = Done { outcome, events: 0, resumptions: 0, silence: Duration::ZERO };
        let account = Account { calls: vec![Made { call, done }], ..Account::default() };
        let mut ledger = Ledger::default();
        if runs > 0 {
            ledger.calls.insert("a".to_owned(), Executions { runs, done: runs });
        }
        judge(&[account], true, &[(kind, ledger)].into()).findings.len()
    }

    #[test]
    fn an_answer_is_one_execution_and_whatever_else_at_most_one() {
        assert_eq!([0, 1, 2].map(|runs| findings(Kind::Bare, Outcome::Answered, runs)), [1, 0, 1]);
        for outcome in [Outcome::Unknown, Outcome::Cut, Outcome::Refused] {
            assert_eq!([0, 1, 2].map(|runs| findings(Kind::Resumable, outcome, runs)), [0, 0, 1], "{outcome:?}");
        }
    }

    #[test]
    fn what_may_be_sent_again_may_run_again_and_what_is_said_not_to_have_run_may_not() {
        assert_eq!([0, 1, 2].map(|runs| findings(Kind::Replayable, Outcome::Answered, runs)), [1, 0, 0]);
        assert_eq!([0, 1].map(|runs| findings(Kind::Replayable, Outcome::NotRun, runs)), [0, 1]);
    }

    #[test]
    fn an_execution_that_nobody_asked_for_is_a_finding() {
        let mut ledger = Ledger::default();
        ledger.calls.insert("stray".to_owned(), Executions { runs: 1, done: 1 });

        let ledgers = [(Kind::Bare, ledger)].into();
        assert_eq!(judge(&[], true, &ledgers).findings.len(), 1);
        assert_eq!(judge(&[], false, &ledgers).findings.len(), 0);
    }
}
