//! The targets of one model, and the choice among them: by priority, by health, by weight or by load.
//!
//! Of the targets that are allowed for a call, those of the lowest priority that has a usable one are candidates. Where their weights
//! differ, one is drawn by weight, so that shares are what an operator says. Where they are the same, two are drawn and the one is taken
//! whose calls are likely to end sooner: fewer calls in flight, here and at other nodes, times its recent latency. A target that asked
//! to be left alone rests until then; unlike one that is ejected it is not tried in need, since it said itself that it will refuse.

use std::time::Duration;

use quorate_types::Timestamp;

use crate::config::Config;
use crate::replica::{Health, Replica, Sign, Turn};
use crate::replicas::{Change, Outcome};
use crate::snapshot::ReplicaState;

/// The share of a new latency in the mean: the last ten calls are two thirds of it.
const LATENCY_SHARE: f64 = 0.1;

/// The latency that is assumed of a target that has not been called: low, so that it is.
const LATENCY_ASSUMED_MS: f64 = 1.0;

/// How much more load a target seems to have that other nodes leave out: it is taken where the others are that much busier.
const DOUBT: f64 = 10.0;

/// A target as an operator says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Its share beside the others of its priority; 0 gets no calls.
    pub weight: u32,
    /// Targets with a higher number are candidates when those with a lower one are not usable.
    pub priority: u8,
}

/// Which target a call goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// To this one.
    Target {
        /// Its place.
        target: usize,
        /// No target was usable, and this one is the least bad.
        panic: bool,
    },
    /// To none: all that are allowed rest, the first of them until then.
    Resting {
        /// When one is back.
        until: Timestamp,
    },
    /// To none: none is allowed.
    Nobody,
}

/// A target as others see it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TargetSnapshot {
    /// Its state.
    pub state: ReplicaState,
    /// Until when it asked this node to be left alone, if it did.
    pub rests_until: Option<Timestamp>,
    /// Calls in flight from here.
    pub in_flight: u32,
    /// The mean of recent latencies in milliseconds, as far as there were calls.
    pub latency_ms: Option<f64>,
}

/// What other nodes say of a target, together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Elsewhere {
    /// Calls in flight from there.
    pub in_flight: u32,
    /// The least of their latencies in milliseconds, as far as there were calls.
    pub latency_ms: Option<f64>,
    /// Whether some of them leave it out because it fails.
    pub is_ejected: bool,
    /// Until when it asked one of them to be left alone.
    pub rests_until: Option<Timestamp>,
}

/// The targets of one model.
#[derive(Clone, Debug)]
pub struct Targets {
    config: Config,
    targets: Vec<Target>,
    /// The latest time seen: a caller's clock may step back.
    now: Timestamp,
}

#[derive(Clone, Debug)]
struct Target {
    terms: Terms,
    replica: Replica,
    rests_until: Option<Timestamp>,
    latency_ms: Option<f64>,
    elsewhere: Elsewhere,
}

// === impl Targets ===

impl Targets {
    /// Starts with targets that are all healthy.
    #[must_use]
    pub fn new(terms: impl IntoIterator<Item = Terms>, config: Config) -> Self {
        Self { config, targets: terms.into_iter().map(Target::new).collect(), now: Timestamp::from_millis(0) }
    }

    /// Chooses among the targets for which `is_allowed` holds. The choice becomes load by [`Self::begin`].
    ///
    /// `entropy` is uniform over all 64 bits.
    pub fn choose(&mut self, now: Timestamp, entropy: u64, is_allowed: impl Fn(usize) -> bool) -> Choice {
        self.elapse(now);
        let allowed = |(index, target): &(usize, &Target)| target.terms.weight > 0 && is_allowed(*index);
        let allowed: Vec<(usize, &Target)> = self.targets.iter().enumerate().filter(allowed).collect();
        let is_usable = |target: &Target| target.is_awake(self.now) && target.replica.usable(self.now, &self.config);
        let usable = allowed.iter().filter(|(_, target)| is_usable(target));
        if let Some(priority) = usable.clone().map(|(_, target)| target.terms.priority).min() {
            let candidates: Vec<(usize, &Target)> =
                usable.filter(|(_, target)| target.terms.priority == priority).copied().collect();
            return Choice::Target { target: draw(&candidates, entropy), panic: false };
        }
        let awake = allowed.iter().filter(|(_, target)| target.is_awake(self.now));
        let least_bad = awake.min_by_key(|(_, target)| (target.replica.ejected_until(), target.terms.priority));
        if let Some((target, _)) = least_bad {
            return Choice::Target { target: *target, panic: true };
        }
        let until = allowed.iter().filter_map(|(_, target)| target.rests_until()).min();
        until.map_or(Choice::Nobody, |until| Choice::Resting { until })
    }

    /// Counts a call to a target.
    pub fn begin(&mut self, target: usize) {
        let now = self.now;
        if let Some(target) = self.targets.get_mut(target) {
            target.replica.begin(now);
        }
    }

    /// Counts a call as ended. Every [`Self::begin`] is followed by exactly one.
    pub fn end(&mut self, target: usize) {
        if let Some(target) = self.targets.get_mut(target) {
            target.replica.end();
        }
    }

    /// Takes how long the target took until its answer began.
    pub fn answered_after(&mut self, target: usize, latency: Duration) {
        if let Some(target) = self.targets.get_mut(target) {
            let latency = latency.as_secs_f64() * 1000.0;
            let mean = target.latency_ms.map_or(latency, |mean| mean + LATENCY_SHARE * (latency - mean));
            target.latency_ms = Some(mean);
        }
    }

    /// Takes the outcome of a call, and returns what it changed.
    pub fn report(&mut self, target: usize, outcome: Outcome, now: Timestamp) -> Option<Change> {
        self.elapse(now);
        let sign = match outcome {
            Outcome::Success => Sign::CallSucceeded,
            Outcome::Failure => Sign::CallFailed,
        };
        match self.targets.get_mut(target)?.replica.take(self.now, &self.config, sign)? {
            Turn::Ejected { until } => {
                let usable_left = self.targets.iter().filter(|one| one.replica.ejected_until().is_none()).count();
                Some(Change::Ejected { until, usable_left })
            }
            Turn::Reinstated => Some(Change::Reinstated),
        }
    }

    /// Lets a target rest until then; one that rests longer already goes on.
    pub fn rest(&mut self, target: usize, until: Timestamp) {
        if let Some(target) = self.targets.get_mut(target) {
            target.rests_until = target.rests_until.max(Some(until));
        }
    }

    /// Takes what other nodes say of a target. It is no verdict: who cannot reach it from there may be alone with that.
    pub fn elsewhere(&mut self, target: usize, elsewhere: Elsewhere) {
        if let Some(target) = self.targets.get_mut(target) {
            target.elsewhere = elsewhere;
        }
    }

    /// Returns what each target is doing.
    #[must_use]
    pub fn observe(&self, now: Timestamp) -> Vec<TargetSnapshot> {
        let now = self.now.max(now);
        let of = |target: &Target| TargetSnapshot {
            state: match target.replica.health() {
                Health::Healthy { .. } => ReplicaState::Healthy,
                Health::Ejected { until } if until > now => ReplicaState::Ejected,
                Health::Ejected { .. } | Health::Probation { .. } => ReplicaState::Probation,
            },
            rests_until: target.rests_until.filter(|until| *until > now),
            in_flight: target.replica.in_flight(),
            latency_ms: target.latency_ms,
        };
        self.targets.iter().map(of).collect()
    }

    fn elapse(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        for target in &mut self.targets {
            target.replica.elapse(self.now);
            target.rests_until = target.rests_until.filter(|until| *until > self.now);
        }
    }
}

// === impl Elsewhere ===

impl Elsewhere {
    /// Nobody else says anything.
    pub const NOTHING: Self = Self { in_flight: 0, latency_ms: None, is_ejected: false, rests_until: None };
}

// === impl Target ===

impl Target {
    const fn new(terms: Terms) -> Self {
        Self { terms, replica: Replica::new(), rests_until: None, latency_ms: None, elsewhere: Elsewhere::NOTHING }
    }

    /// Until when it asked anybody to be left alone.
    fn rests_until(&self) -> Option<Timestamp> {
        self.rests_until.max(self.elsewhere.rests_until)
    }

    fn is_awake(&self, now: Timestamp) -> bool {
        self.rests_until().is_none_or(|until| until <= now)
    }

    /// How long a call is likely to take, beside others: calls before it times how long one takes.
    fn load(&self) -> f64 {
        let Elsewhere { in_flight, latency_ms, is_ejected, rests_until: _ } = self.elsewhere;
        let calls = f64::from(self.replica.in_flight()) + f64::from(in_flight) + 1.0;
        let doubt = if is_ejected { DOUBT } else { 1.0 };
        calls * self.latency_ms.or(latency_ms).unwrap_or(LATENCY_ASSUMED_MS) * doubt
    }
}

/// Draws one of some candidates, which there are.
fn draw(candidates: &[(usize, &Target)], entropy: u64) -> usize {
    let weight = |candidate: &(usize, &Target)| u64::from(candidate.1.terms.weight);
    let is_even = candidates.iter().all(|candidate| weight(candidate) == weight(&candidates[0]));
    let (high, low) = (entropy >> 32, entropy & u64::from(u32::MAX));
    if is_even {
        let count = candidates.len() as u64;
        let first = (high * count) >> 32;
        let second = if count > 1 { (first + 1 + ((low * (count - 1)) >> 32)) % count } else { first };
        let [first, second] = [first, second].map(|place| candidates[usize::try_from(place).unwrap_or(0)]);
        return if second.1.load() < first.1.load() { second.0 } else { first.0 };
    }
    // 64 weights of a thousand each, so that the product fits.
    let total: u64 = candidates.iter().map(weight).sum();
    let mut left = (high * total) >> 32;
    for candidate in candidates {
        match left.checked_sub(weight(candidate)) {
            Some(rest) => left = rest,
            None => return candidate.0,
        }
    }
    candidates[candidates.len() - 1].0
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_000);

    fn at(seconds: u64) -> Timestamp {
        START + Duration::from_secs(seconds)
    }

    fn targets(terms: &[(u32, u8)]) -> Targets {
        let config = Config { call_failures_max: 2, ..Config::DEFAULTS };
        Targets::new(terms.iter().map(|(weight, priority)| Terms { weight: *weight, priority: *priority }), config)
    }

    fn chosen(targets: &mut Targets, now: Timestamp, entropy: u64) -> usize {
        match targets.choose(now, entropy, |_| true) {
            Choice::Target { target, .. } => target,
            other @ (Choice::Resting { .. } | Choice::Nobody) => panic!("{other:?}"),
        }
    }

    /// How often each is chosen, over evenly spread entropy.
    fn shares(targets: &mut Targets, now: Timestamp) -> Vec<u32> {
        let mut counts = vec![0; targets.targets.len()];
        for step in 0..1_000_u64 {
            counts[chosen(targets, now, step * (u64::MAX / 1_000))] += 1;
        }
        counts
    }

    fn fail(targets: &mut Targets, target: usize, now: Timestamp) {
        for _ in 0..2 {
            targets.report(target, Outcome::Failure, now);
        }
    }

    /// What one node was asked is told by that node alone: else two would keep each other from it for ever.
    #[test]
    fn who_rests_for_another_node_is_left_alone_and_told_of_by_that_node() {
        let second = Timestamp::from_millis(1_000);
        let mut targets = Targets::new([Terms { weight: 1, priority: 0 }], Config::DEFAULTS);
        let resting = Elsewhere { rests_until: Some(Timestamp::from_millis(60_000)), ..Elsewhere::NOTHING };

        targets.elsewhere(0, resting);
        assert_eq!(targets.choose(second, 0, |_| true), Choice::Resting { until: Timestamp::from_millis(60_000) });
        assert_eq!(targets.observe(second)[0].rests_until, None);

        targets.elsewhere(0, Elsewhere::NOTHING);
        assert_eq!(targets.choose(second, 0, |_| true), Choice::Target { target: 0, panic: false });
    }

    #[test]
    fn shares_are_as_their_weights_and_nothing_goes_where_the_weight_is_zero() {
        let counts = shares(&mut targets(&[(9, 0), (1, 0), (0, 0)]), START);

        assert!((895..=905).contains(&counts[0]) && (95..=105).contains(&counts[1]), "{counts:?}");
        assert_eq!(counts[2], 0);
    }

    #[test]
    fn of_equals_the_one_is_taken_that_is_likely_to_answer_sooner() {
        let mut equal = targets(&[(1, 0), (1, 0)]);
        (0..5).for_each(|_| equal.begin(0));
        assert_eq!(shares(&mut equal, START), [0, 1_000], "it has fewer calls in flight");

        equal.elsewhere(1, Elsewhere { in_flight: 50, ..Elsewhere::NOTHING });
        assert_eq!(shares(&mut equal, START), [1_000, 0], "other nodes have many calls there");

        let mut slow = targets(&[(1, 0), (1, 0)]);
        slow.answered_after(0, Duration::from_secs(2));
        slow.answered_after(1, Duration::from_millis(200));
        assert_eq!(shares(&mut slow, START), [0, 1_000], "it answers sooner");
    }

    #[test]
    fn the_next_priority_answers_while_no_target_of_the_first_is_usable() {
        let mut two = targets(&[(1, 0), (1, 1)]);
        assert_eq!(shares(&mut two, START), [1_000, 0]);

        fail(&mut two, 0, START);
        assert_eq!(shares(&mut two, at(1)), [0, 1_000]);

        // Probation: one call is let through, and those beside it go elsewhere until it has ended.
        assert_eq!(chosen(&mut two, at(6), 0), 0);
        two.begin(0);
        assert_eq!(chosen(&mut two, at(6), 0), 1);
        two.report(0, Outcome::Success, at(7));
        two.end(0);
        assert_eq!(shares(&mut two, at(7)), [1_000, 0]);
    }

    #[test]
    fn in_need_the_least_bad_is_tried_and_never_one_that_asked_to_be_left_alone() {
        let mut two = targets(&[(1, 0), (1, 1)]);
        fail(&mut two, 0, START);
        fail(&mut two, 1, at(1));
        assert_eq!(two.choose(at(2), 0, |_| true), Choice::Target { target: 0, panic: true });

        two.rest(0, at(60));
        assert_eq!(two.choose(at(2), 0, |_| true), Choice::Target { target: 1, panic: true });
        two.rest(1, at(30));
        two.rest(1, at(20));
        assert_eq!(two.choose(at(2), 0, |_| true), Choice::Resting { until: at(30) });
        assert_eq!(two.choose(at(31), 0, |_| true), Choice::Target { target: 1, panic: false });
        assert_eq!(two.choose(at(2), 0, |_| false), Choice::Nobody);
    }

    #[test]
    fn what_is_observed_is_what_was_told() {
        let mut one = targets(&[(1, 0)]);
        one.begin(0);
        one.answered_after(0, Duration::from_millis(100));
        one.answered_after(0, Duration::from_millis(200));
        one.rest(0, at(5));
        let seen = one.observe(START)[0];

        assert_eq!((seen.state, seen.rests_until, seen.in_flight), (ReplicaState::Healthy, Some(at(5)), 1));
        assert!(seen.latency_ms.is_some_and(|mean| (mean - 110.0).abs() < 0.001), "{seen:?}");
        assert_eq!(one.observe(at(6))[0].rests_until, None);
    }
}
