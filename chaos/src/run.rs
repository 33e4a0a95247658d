//! A run: agents call while nodes are killed, and what both saw is compared at the end.
//!
//! The first violation ends the run. An agent that does not end is one: everything that an agent waits for has a limit.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use quorate_cluster::wait;

use crate::agent::{Account, Agent};
use crate::dice::Dice;
use crate::faults::{Counts, Faults};
use crate::ground::{Ground, KINDS, Kind, PATIENCE};
use crate::history::History;
use crate::ledger::Ledger;
use crate::seen::Violation;
use crate::verdict::{Verdict, judge};

/// Longer than an agent needs to end, after it was told to: its last call, and looks at every node.
const END: Duration = Duration::from_secs(240);

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Nodes that are killed.
    pub kills: u32,
    /// What everything is drawn from.
    pub seed: u64,
    /// Agents, each with a session.
    pub sessions: u64,
    /// Shards of the cluster.
    pub shards: u32,
    /// When no more faults begin, whatever was killed by then.
    pub time_max: Duration,
    /// Where the logs of nodes and the histories of agents are written.
    pub logs: Option<PathBuf>,
    /// Set by whoever wants no more faults, whatever was killed by then.
    pub stop: Arc<AtomicBool>,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// What was done to nodes.
    pub counts: Counts,
    /// What agents did, as far as they came.
    pub accounts: Vec<Account>,
    /// What does not fit.
    pub verdict: Verdict,
    /// What agents saw that must not be, with their histories.
    pub violations: Vec<String>,
    /// What was done to nodes, and when.
    pub faults: String,
    /// How long it took.
    pub took: Duration,
}

/// Says when a run ends; pauses end with it.
#[derive(Debug, Default)]
pub struct Signal {
    ended: Mutex<Option<End>>,
    changed: Condvar,
}

/// Why a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Everything was done, and all nodes run.
    Whole,
    /// Something was found.
    Found,
}

// === impl Signal ===

impl Signal {
    /// Ends the run; the first reason stays.
    pub fn end(&self, why: End) {
        self.lock().get_or_insert(why);
        self.changed.notify_all();
    }

    /// Whether the run has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.lock().is_some()
    }

    /// Whether it has because something was found: nodes may be down then.
    #[must_use]
    pub fn has_found(&self) -> bool {
        *self.lock() == Some(End::Found)
    }

    /// Lets time pass, until the run ends.
    pub fn pause(&self, time: Duration) {
        drop(self.changed.wait_timeout_while(self.lock(), time, |ended| ended.is_none()));
    }

    /// Lets time pass.
    pub fn rest(time: Duration) {
        Self::default().pause(time);
    }

    fn lock(&self) -> MutexGuard<'_, Option<End>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Outcome ===

impl Outcome {
    /// Whether everything was as promised.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.violations.is_empty() && self.verdict.findings.is_empty()
    }
}

/// Runs a plan.
///
/// # Errors
///
/// The ground cannot be laid, or the cluster does not become whole again.
pub fn run(plan: &Plan) -> anyhow::Result<Outcome> {
    let mut ground = Ground::start_apart(plan.shards)?;
    let (begun, history, signal) = (Instant::now(), History::begin(), Arc::new(Signal::default()));
    let (sender, ended) = sync_channel(usize::try_from(plan.sessions).unwrap_or(usize::MAX));
    let mut histories = BTreeMap::new();
    for number in 0..plan.sessions {
        let agent = Agent {
            number,
            seed: plan.seed,
            nodes: ground.nodes().to_vec(),
            signal: Arc::clone(&signal),
            history: history.beside(),
        };
        histories.insert(number, agent.history.clone());
        let sender = sender.clone();
        thread::Builder::new().name(format!("agent {number}")).spawn(move || {
            let done = agent.run();
            if done.is_err() {
                agent.signal.end(End::Found);
            }
            // Nobody receives who has given up on it.
            let _received = sender.send((number, done));
        })?;
    }
    drop(sender);
    let dice = Dice::of(plan.seed, u64::MAX);
    let mut faults = Faults::new(&mut ground, dice, history.clone(), &signal);
    let counts = faults.run(plan, begun + plan.time_max);
    let kept = histories.clone();
    signal.end(if counts.is_ok() { End::Whole } else { End::Found });
    let (accounts, violations) = collect(&ended, histories);
    if let Some(folder) = &plan.logs {
        faults.write_logs(folder)?;
        for (number, history) in &kept {
            fs::write(folder.join(format!("agent-{number}.log")), history.text())?;
        }
    }
    let counts = counts.with_context(|| format!("faults:\n{}{}", history.text(), violations.join("\n")))?;
    let verdict = judge(&accounts, violations.is_empty(), &ledgers(&ground, violations.is_empty())?);
    Ok(Outcome { counts, accounts, verdict, violations, faults: history.text(), took: begun.elapsed() })
}

/// Receives what agents did, until all have ended or one does not.
fn collect(
    ended: &std::sync::mpsc::Receiver<(u64, Result<Account, Violation>)>,
    mut histories: BTreeMap<u64, History>,
) -> (Vec<Account>, Vec<String>) {
    let (mut accounts, mut violations) = (Vec::new(), Vec::new());
    let deadline = Instant::now() + END;
    loop {
        match ended.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok((number, Ok(account))) => {
                histories.remove(&number);
                accounts.push(account);
            }
            Ok((number, Err(violation))) => {
                let history = histories.remove(&number).map(|history| history.text()).unwrap_or_default();
                violations.push(format!("agent {number}: {violation}\n{history}"));
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let hangs = |(number, history): (u64, History)| format!("agent {number} hangs\n{}", history.text());
                violations.extend(std::mem::take(&mut histories).into_iter().map(hangs));
                break;
            }
        }
    }
    // One that panicked has sent nothing.
    violations
        .extend(histories.into_iter().map(|(number, history)| format!("agent {number} is gone\n{}", history.text())));
    (accounts, violations)
}

/// Reads the ledgers, of a run in which all is well when all that was begun is done.
fn ledgers(ground: &Ground, waits: bool) -> anyhow::Result<BTreeMap<Kind, Ledger>> {
    let read =
        || KINDS.into_iter().map(|kind| Ok((kind, ground.ledger(kind)?))).collect::<anyhow::Result<BTreeMap<_, _>>>();
    if !waits {
        return read();
    }
    wait::until("the end of every execution", PATIENCE, || {
        let ledgers = read()?;
        let open = ledgers.values().filter(|ledger| !ledger.is_quiet()).count();
        anyhow::ensure!(open == 0, "{open} counters execute");
        Ok(ledgers)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_ends_with_the_run() {
        let signal = Signal::default();
        signal.end(End::Whole);

        let begun = Instant::now();
        signal.pause(Duration::from_secs(3_600));

        assert!(signal.has_ended() && begun.elapsed() < Duration::from_secs(60));
    }
}
