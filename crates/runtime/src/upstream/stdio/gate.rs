//! When the next process of a tool server may be started, and by how many at once.
//!
//! ```text
//!         failure                        its time has passed           of use
//!   Open ─────────▶ Closed (back-off, or rest) ───────────────▶ Trial ─────────▶ Open
//!                        ▲  ▲──────────── failure ──────────────┘ │
//!                        └── over at once: ended without verdict ─┘
//! ```
//!
//! Failures lead to a back-off, which whoever needs a process waits for, and then to a rest, during which it is refused
//! at once with the reason. After either a single start goes through, the trial, which shows whether the others may
//! follow: they take over its failure. So one bad moment is one failure, however many met it: those that were started
//! before the gate closed count no more while it is not open.
//!
//! Time is the runtime's, which never jumps; the decisions are in [`crate::restarts`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorate_types::Timestamp;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::server::Failure;
use crate::restarts::{Policy, Restarts, Verdict};

/// What all starts of one tool server pass.
pub(super) struct Gate {
    began: Instant,
    rest: Duration,
    state: Mutex<State>,
    /// The gate opened, or closed, or a trial ended without a verdict.
    changed: Notify,
}

struct State {
    restarts: Restarts,
    passage: Passage,
    /// How often it was closed.
    closings: u64,
    /// How many trials there were.
    trials: u64,
}

enum Passage {
    Open,
    Closed(Closed),
    /// What it was closed with is kept for a trial that ends without a verdict.
    Trial(Closed),
}

#[derive(Clone)]
struct Closed {
    until: Timestamp,
    /// It rests; otherwise it is a back-off.
    rests: bool,
    failures: usize,
    failure: Failure,
}

/// A start that was let through. What becomes of its process is told here; dropping it means that nobody knows.
pub(super) struct Pass {
    gate: Arc<Gate>,
    closings: u64,
    trial: Option<u64>,
}

/// What follows from a failure that counts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Closing {
    pub(super) rests: bool,
    pub(super) failures: usize,
    pub(super) wait: Duration,
}

enum Next {
    Pass(Pass),
    /// For so long, or until something changes.
    Wait(Option<Duration>),
}

// === impl Gate ===

impl Gate {
    pub(super) fn new(policy: Policy) -> Arc<Self> {
        let state = State { restarts: Restarts::new(policy), passage: Passage::Open, closings: 0, trials: 0 };
        Arc::new(Self { began: Instant::now(), rest: policy.window, state: Mutex::new(state), changed: Notify::new() })
    }

    /// Tells whether it rests.
    pub(super) fn rests(&self) -> bool {
        let now = self.now();
        matches!(&self.lock().passage, Passage::Closed(closed) if closed.rests && now < closed.until)
    }

    /// Waits until a process may be started.
    ///
    /// # Errors
    /// The last failure, during a rest at once, or when the trial that was waited for failed.
    pub(super) async fn pass(self: &Arc<Self>) -> Result<Pass, Failure> {
        let mut waited_for_trial = false;
        loop {
            // Made before the look, so that no change is missed in between.
            let changed = self.changed.notified();
            match self.next(&mut waited_for_trial)? {
                Next::Pass(pass) => return Ok(pass),
                Next::Wait(None) => changed.await,
                Next::Wait(Some(left)) => tokio::select! {
                    () = changed => {}
                    () = sleep(left) => {}
                },
            }
        }
    }

    fn next(self: &Arc<Self>, waited_for_trial: &mut bool) -> Result<Next, Failure> {
        let now = self.now();
        let mut state = self.lock();
        match &state.passage {
            Passage::Open => Ok(Next::Pass(self.let_through(state.closings, None))),
            Passage::Trial(_) => {
                *waited_for_trial = true;
                Ok(Next::Wait(None))
            }
            Passage::Closed(closed) if now < closed.until => match closed.until.since(now) {
                left if closed.rests => Err(closed.refusal(left)),
                _ if *waited_for_trial => Err(closed.failure.clone()),
                left => Ok(Next::Wait(Some(left))),
            },
            Passage::Closed(closed) => {
                let closed = closed.clone();
                if closed.rests {
                    state.restarts.forget();
                }
                state.trials += 1;
                let (closings, trial) = (state.closings, state.trials);
                state.passage = Passage::Trial(Closed { rests: false, ..closed });
                Ok(Next::Pass(self.let_through(closings, Some(trial))))
            }
        }
    }

    fn let_through(self: &Arc<Self>, closings: u64, trial: Option<u64>) -> Pass {
        Pass { gate: Arc::clone(self), closings, trial }
    }

    fn now(&self) -> Timestamp {
        let passed = Instant::now().saturating_duration_since(self.began);
        Timestamp::from_millis(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No panic happens under this lock; a poisoned one would still hold consistent state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Pass ===

impl Pass {
    /// The process is of use.
    pub(super) fn of_use(&self) {
        let mut state = self.gate.lock();
        if state.closings == self.closings && !matches!(state.passage, Passage::Open) {
            state.passage = Passage::Open;
            drop(state);
            self.gate.changed.notify_waiters();
        }
    }

    /// The process was of no use: closes the gate for a while, unless that was for the same moment's failure already.
    pub(super) fn failed(&self, failure: &Failure) -> Option<Closing> {
        let now = self.gate.now();
        let mut state = self.gate.lock();
        if self.closings < state.closings && !matches!(state.passage, Passage::Open) {
            return None;
        }
        let (wait, rests, failures) = match state.restarts.failed(now) {
            Verdict::Again { after, failures } => (after, false, failures),
            Verdict::Melted { failures } => (self.gate.rest, true, failures),
        };
        state.passage = Passage::Closed(Closed { until: now + wait, rests, failures, failure: failure.clone() });
        state.closings += 1;
        drop(state);
        self.gate.changed.notify_waiters();
        Some(Closing { rests, failures, wait })
    }

    /// Nothing will show for now: if it is the trial, another start is.
    pub(super) fn abstain(&self) {
        let mut state = self.gate.lock();
        if self.trial != Some(state.trials) {
            return;
        }
        if let Passage::Trial(closed) = &state.passage {
            state.passage = Passage::Closed(closed.clone());
            drop(state);
            self.gate.changed.notify_waiters();
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.abstain();
    }
}

// === impl Closed ===

impl Closed {
    /// What is answered while it rests.
    fn refusal(&self, left: Duration) -> Failure {
        let (failures, left) = (self.failures, left.as_secs() + 1);
        let again = format!("it failed {failures} times in a row and is tried again in {left} s");
        Failure { reason: format!("{}; {again}", self.failure.reason), details: format!("{}; {again}", self.failure) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy {
        failures_max: 3,
        window: Duration::from_secs(60),
        delay: Duration::from_secs(1),
        delay_max: Duration::from_secs(5),
    };

    fn bad() -> Failure {
        Failure::plain("it is bad")
    }

    /// Passes of so many who come at once, while the gate is open.
    async fn passes(gate: &Arc<Gate>, count: usize) -> Vec<Pass> {
        let mut passes = Vec::new();
        for _ in 0..count {
            passes.push(gate.pass().await.expect("it is open"));
        }
        passes
    }

    /// Starts waiting, and is under way.
    async fn waiting(gate: &Arc<Gate>, count: usize) -> Vec<tokio::task::JoinHandle<Result<Pass, Failure>>> {
        let waiting = (0..count).map(|_| {
            let gate = Arc::clone(gate);
            tokio::spawn(async move { gate.pass().await })
        });
        let waiting = waiting.collect();
        sleep(Duration::from_millis(1)).await;
        waiting
    }

    #[tokio::test(start_paused = true)]
    async fn many_that_meet_one_bad_moment_are_one_failure() {
        let gate = Gate::new(POLICY);
        let met = passes(&gate, 11).await;

        let closings: Vec<_> = met.iter().map(|pass| pass.failed(&bad())).collect();

        assert_eq!(closings[0], Some(Closing { rests: false, failures: 1, wait: POLICY.delay }));
        assert!(closings[1..].iter().all(Option::is_none), "{closings:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_back_off_one_start_is_tried_and_the_others_follow_when_it_is_of_use() {
        let gate = Gate::new(POLICY);
        passes(&gate, 1).await[0].failed(&bad());
        let began = Instant::now();
        let mut others = waiting(&gate, 11).await;
        sleep(POLICY.delay).await;
        let through = others.iter().position(|other| other.is_finished()).expect("its time has passed");
        let trial = others.remove(through).await.expect("no panic").expect("it goes through");
        assert!(others.iter().all(|other| !other.is_finished()), "one only");

        trial.of_use();

        for other in others {
            assert!(other.await.expect("no panic").is_ok());
        }
        assert!(began.elapsed() < POLICY.delay * 2, "nobody waits any more");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waited_for_a_trial_takes_over_its_failure() {
        let gate = Gate::new(POLICY);
        passes(&gate, 1).await[0].failed(&bad());
        sleep(POLICY.delay).await;
        let trial = gate.pass().await.expect("its time has passed");
        let others = waiting(&gate, 11).await;

        let closing = trial.failed(&Failure::plain("it is worse"));

        assert_eq!(closing, Some(Closing { rests: false, failures: 2, wait: POLICY.delay * 2 }));
        for other in others {
            let failure = other.await.expect("no panic").err().expect("they do not try again one by one");
            assert_eq!(failure.reason, "it is worse");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_that_ends_without_a_verdict_makes_room_for_the_next() {
        let gate = Gate::new(POLICY);
        passes(&gate, 1).await[0].failed(&bad());
        sleep(POLICY.delay).await;
        let first = gate.pass().await.expect("a trial");
        let mut others = waiting(&gate, 1).await;

        first.abstain();

        let second = others.remove(0).await.expect("no panic").expect("the next trial");
        drop(first);
        let third = waiting(&gate, 1).await.remove(0);
        assert!(!third.is_finished(), "the second is under way, whatever the first does");
        drop(second);
        assert!(third.await.expect("no panic").is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_meltdown_rests_and_is_followed_by_a_trial_with_a_clean_record() {
        let gate = Gate::new(POLICY);
        for _ in 0..=POLICY.failures_max {
            gate.pass().await.expect("a trial").failed(&bad());
        }
        assert!(gate.rests());
        let refusal = gate.pass().await.err().expect("it rests");
        assert_eq!(refusal.reason, "it is bad; it failed 4 times in a row and is tried again in 61 s");

        sleep(POLICY.window).await;

        assert!(!gate.rests());
        let trial = gate.pass().await.expect("the rest is over");
        assert_eq!(trial.failed(&bad()), Some(Closing { rests: false, failures: 1, wait: POLICY.delay }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_counts_again_once_the_gate_was_open() {
        let gate = Gate::new(POLICY);
        let old = passes(&gate, 2).await;
        old[0].failed(&bad());
        sleep(POLICY.delay).await;
        gate.pass().await.expect("a trial").of_use();

        assert_eq!(old[1].failed(&bad()).map(|closing| closing.failures), Some(2), "it lived on, and fell over now");
    }
}
