//! The set of replicas of one tool server, and the choice among them.
//!
//! Power of two choices: of two usable replicas drawn at random the one with fewer calls in flight
//! is taken (Mitzenmacher 2001), which balances without herding to the one that looks best. When
//! none is usable, the one whose ejection ends first is taken and the pick says so: a set never
//! refuses work because of its own suspicion.
//!
//! Load (`begin`, `end`) and health (`report`, `check_ended`) are told apart: a call is load until
//! its answer has been read, but its replica has proved itself when the answer begins.

use quorate_types::Timestamp;

use crate::config::Config;
use crate::replica::{Health, Replica, Sign, Turn};
use crate::snapshot::{ReplicaSnapshot, ReplicaState, Snapshot};

/// The choice of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    /// Where the call goes: the replica's place in the list of URLs.
    pub replica: usize,
    /// No replica was usable and this one is the least bad: ejected, or on probation with its
    /// trial out. Worth a metric.
    pub panic: bool,
}

/// How a call or check ended, as far as its replica is concerned. A call that says nothing about
/// its replica (its caller gave up) is not reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The replica answered, be it with an error of the call's own.
    Success,
    /// The replica could not be reached, broke off, timed out or answered 5xx.
    Failure,
}

/// What a report changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The replica takes no calls for now.
    Ejected {
        /// Until when.
        until: Timestamp,
        /// How many replicas of the set are not ejected; at 0 calls go to ejected ones.
        usable_left: usize,
    },
    /// The replica is healthy again.
    Reinstated,
}

/// The replicas of one tool server.
#[derive(Clone, Debug)]
pub struct Replicas {
    config: Config,
    replicas: Vec<Replica>,
    /// The latest time seen: a caller's clock may step back.
    now: Timestamp,
}

// === impl Change ===

impl Change {
    /// Tells whether the replica is healthy after the change.
    #[must_use]
    pub const fn healthy(&self) -> bool {
        match self {
            Self::Ejected { .. } => false,
            Self::Reinstated => true,
        }
    }
}

// === impl Replicas ===

impl Replicas {
    /// Starts with `count` replicas, all healthy and due for their first check.
    #[must_use]
    pub fn new(count: usize, config: Config) -> Self {
        Self { config, replicas: vec![Replica::new(); count], now: Timestamp::from_millis(0) }
    }

    /// Chooses a replica that is not in `exclude`; `None` when all are. The choice becomes load by
    /// [`Self::begin`].
    ///
    /// `entropy` is uniform over all 64 bits.
    pub fn pick(&mut self, now: Timestamp, entropy: u64, exclude: &[usize]) -> Option<Pick> {
        self.elapse(now);
        let allowed: Vec<usize> = (0..self.replicas.len()).filter(|index| !exclude.contains(index)).collect();
        let usable: Vec<usize> = allowed.iter().copied().filter(|index| self.usable(*index)).collect();
        if let Some((first, second)) = two_of(&usable, entropy) {
            let lighter = self.replicas[second].in_flight() < self.replicas[first].in_flight();
            return Some(Pick { replica: if lighter { second } else { first }, panic: false });
        }
        let soonest = allowed.into_iter().min_by_key(|index| {
            let replica = &self.replicas[*index];
            (replica.ejected_until(), replica.in_flight())
        })?;
        Some(Pick { replica: soonest, panic: true })
    }

    /// Counts a call to a replica: one that was picked, or one that its session stays with.
    pub fn begin(&mut self, replica: usize) {
        let now = self.now;
        if let Some(replica) = self.replicas.get_mut(replica) {
            replica.begin(now);
        }
    }

    /// Counts a call as ended. Every [`Self::begin`] is followed by exactly one.
    pub fn end(&mut self, replica: usize) {
        if let Some(replica) = self.replicas.get_mut(replica) {
            replica.end();
        }
    }

    /// Takes the outcome of a call, and returns what it changed.
    pub fn report(&mut self, replica: usize, outcome: Outcome, now: Timestamp) -> Option<Change> {
        self.elapse(now);
        match outcome {
            Outcome::Success => self.take(replica, Sign::CallSucceeded),
            Outcome::Failure => self.take(replica, Sign::CallFailed),
        }
    }

    /// Returns the replicas to check now, and counts their checks as begun.
    ///
    /// A check that was not reported for two intervals has failed: its reporter is gone.
    pub fn due_checks(&mut self, now: Timestamp) -> Vec<usize> {
        self.elapse(now);
        let mut due = Vec::new();
        for index in 0..self.replicas.len() {
            if self.replicas[index].check_out.is_some_and(|began| self.overdue(began)) {
                self.replicas[index].check_out = None;
                self.take(index, Sign::CheckFailed);
            }
            let replica = &mut self.replicas[index];
            if replica.check_out.is_none() && replica.check_due <= self.now {
                replica.check_due = self.now + self.config.check_interval;
                replica.check_out = Some(self.now);
                due.push(index);
            }
        }
        due
    }

    /// Takes the outcome of an active check, and returns what it changed. One that nobody waits
    /// for, since it counted as failed already, changes nothing.
    pub fn check_ended(&mut self, replica: usize, outcome: Outcome, now: Timestamp) -> Option<Change> {
        self.elapse(now);
        let began = self.replicas.get_mut(replica)?.check_out.take()?;
        match outcome {
            Outcome::Success if !self.overdue(began) => self.take(replica, Sign::CheckSucceeded),
            Outcome::Success | Outcome::Failure => self.take(replica, Sign::CheckFailed),
        }
    }

    /// Returns when [`Self::due_checks`] has something to do next: the time for the owner's timer.
    #[must_use]
    pub fn next_check(&self) -> Option<Timestamp> {
        let next = |replica: &Replica| match replica.check_out {
            Some(began) => began + self.config.check_interval * 2,
            None => replica.check_due,
        };
        self.replicas.iter().map(next).min()
    }

    /// Returns what each replica is doing.
    #[must_use]
    pub fn observe(&self, now: Timestamp) -> Snapshot {
        let now = self.now.max(now);
        let of = |replica: &Replica| ReplicaSnapshot {
            state: match replica.health() {
                Health::Healthy { .. } => ReplicaState::Healthy,
                Health::Ejected { until } if until > now => ReplicaState::Ejected,
                Health::Ejected { .. } | Health::Probation { .. } => ReplicaState::Probation,
            },
            in_flight: replica.in_flight(),
            ejections: replica.ejections(),
        };
        Snapshot { replicas: self.replicas.iter().map(of).collect() }
    }

    fn elapse(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        for replica in &mut self.replicas {
            replica.elapse(self.now);
        }
    }

    fn usable(&self, index: usize) -> bool {
        self.replicas[index].usable(self.now, &self.config)
    }

    fn overdue(&self, began: Timestamp) -> bool {
        self.now.since(began) >= self.config.check_interval * 2
    }

    fn take(&mut self, replica: usize, sign: Sign) -> Option<Change> {
        match self.replicas.get_mut(replica)?.take(self.now, &self.config, sign)? {
            Turn::Ejected { until } => {
                let usable_left = self.replicas.iter().filter(|replica| replica.ejected_until().is_none()).count();
                Some(Change::Ejected { until, usable_left })
            }
            Turn::Reinstated => Some(Change::Reinstated),
        }
    }
}

/// Draws two members, different ones where there are two.
fn two_of(members: &[usize], entropy: u64) -> Option<(usize, usize)> {
    let count = members.len();
    let first = scaled(entropy >> 32, count)?;
    let second = match scaled(entropy & u64::from(u32::MAX), count - 1) {
        Some(offset) => (first + 1 + offset) % count,
        None => first,
    };
    Some((members[first], members[second]))
}

/// Maps 32 uniform bits to `0..count` by multiplication: unlike `%` it has no visible bias for
/// counts that are no powers of two.
fn scaled(bits: u64, count: usize) -> Option<usize> {
    if count == 0 {
        return None;
    }
    let product = u128::from(bits) * count as u128;
    Some(usize::try_from(product >> 32).expect("less than count"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn eject(replicas: &mut Replicas, replica: usize, now: Timestamp) -> Option<Change> {
        (0..Config::DEFAULTS.call_failures_max).filter_map(|_| replicas.report(replica, Outcome::Failure, now)).last()
    }

    /// Entropy whose halves draw the first and the second choice.
    const fn draw(first: u32, second: u32) -> u64 {
        (first as u64) << 32 | second as u64
    }

    #[test]
    fn of_two_drawn_the_one_with_fewer_calls_is_taken() {
        let mut replicas = Replicas::new(2, Config::DEFAULTS);
        replicas.begin(0);
        for entropy in [draw(0, 0), draw(u32::MAX, 0)] {
            assert_eq!(replicas.pick(at(0), entropy, &[]), Some(Pick { replica: 1, panic: false }));
        }

        replicas.end(0);
        assert_eq!(replicas.pick(at(0), draw(0, 0), &[]), Some(Pick { replica: 0, panic: false }));
    }

    #[test]
    fn an_ejected_replica_is_picked_only_in_need_and_that_is_flagged() {
        let mut replicas = Replicas::new(2, Config::DEFAULTS);
        assert_eq!(eject(&mut replicas, 0, at(0)), Some(Change::Ejected { until: at(5), usable_left: 1 }));
        for entropy in [draw(0, 0), draw(u32::MAX, u32::MAX)] {
            assert_eq!(replicas.pick(at(1), entropy, &[]), Some(Pick { replica: 1, panic: false }));
        }
        assert_eq!(replicas.pick(at(1), 0, &[1]), Some(Pick { replica: 0, panic: true }));

        assert_eq!(eject(&mut replicas, 1, at(1)), Some(Change::Ejected { until: at(6), usable_left: 0 }));
        assert_eq!(replicas.pick(at(2), 0, &[]), Some(Pick { replica: 0, panic: true }), "its ejection ends first");
        assert_eq!(replicas.pick(at(2), 0, &[0, 1]), None);
    }

    #[test]
    fn a_set_without_replicas_picks_nothing() {
        let mut replicas = Replicas::new(0, Config::DEFAULTS);
        assert_eq!(replicas.pick(at(0), 7, &[]), None);
        assert_eq!(replicas.next_check(), None);
        assert!(replicas.due_checks(at(0)).is_empty());
    }

    #[test]
    fn reports_about_replicas_that_never_were_change_nothing() {
        let mut replicas = Replicas::new(1, Config::DEFAULTS);
        replicas.begin(1);
        replicas.end(9);
        assert_eq!(replicas.report(1, Outcome::Failure, at(0)), None);
        assert_eq!(replicas.check_ended(1, Outcome::Failure, at(0)), None);
    }

    #[test]
    fn each_replica_is_checked_once_per_interval() {
        let mut replicas = Replicas::new(2, Config::DEFAULTS);
        assert_eq!(replicas.due_checks(at(0)), [0, 1]);
        assert!(replicas.due_checks(at(0)).is_empty());
        assert_eq!(replicas.check_ended(0, Outcome::Success, at(1)), None);
        assert_eq!(replicas.next_check(), Some(at(10)));
        assert_eq!(replicas.due_checks(at(10)), [0], "the other one's check is still out");
    }

    #[test]
    fn a_check_that_is_never_reported_has_failed() {
        let mut replicas = Replicas::new(1, Config::DEFAULTS);
        for round in 0..Config::DEFAULTS.check_failures_max {
            assert_eq!(replicas.due_checks(at(20 * u64::from(round))), [0]);
        }
        assert_eq!(replicas.due_checks(at(60)), [0]);
        assert_eq!(replicas.observe(at(60)).usable(), 0);
    }

    #[test]
    fn a_check_reported_twice_counts_once() {
        let mut replicas = Replicas::new(1, Config::DEFAULTS);
        replicas.due_checks(at(0));
        for _ in 0..Config::DEFAULTS.check_failures_max {
            assert_eq!(replicas.check_ended(0, Outcome::Failure, at(1)), None);
        }
        assert_eq!(replicas.observe(at(1)).usable(), 1);
    }

    #[test]
    fn a_clock_that_steps_back_does_not_prolong_anything() {
        let mut replicas = Replicas::new(1, Config::DEFAULTS);
        replicas.pick(at(100), 0, &[]);
        assert_eq!(eject(&mut replicas, 0, at(50)), Some(Change::Ejected { until: at(105), usable_left: 0 }));
    }
}
