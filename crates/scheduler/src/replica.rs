//! The health of one replica.
//!
//! ```text
//!            failures in a row reach their maximum
//!   Healthy ──────────────────────────────────────▶ Ejected(until)
//!      ▲                                              │    ▲
//!      │ a call or checks succeed      until is past, │    │ a trial call
//!      │                            or a check succeeds    │ or check fails
//!      │                                              ▼    │
//!      └─────────────────────────────────────────── Probation
//! ```
//!
//! In probation one call at a time is let through (the trial), so that a replica that is still
//! broken costs one call and not a herd of them. Ejections grow: `ejection_min · 2^n`, up to
//! `ejection_max`, where n counts the ejections since the replica was healthy for `forget_after`.

use std::time::Duration;

use quorate_types::Timestamp;

use crate::config::Config;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    Healthy {
        since: Timestamp,
    },
    Ejected {
        until: Timestamp,
    },
    Probation {
        /// When the trial call began, if one is out.
        trial: Option<Timestamp>,
    },
}

/// What happened to a replica, as far as its health is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    CallSucceeded,
    CallFailed,
    CheckSucceeded,
    CheckFailed,
}

/// A change of one replica, before the set adds what it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Ejected { until: Timestamp },
    Reinstated,
}

#[derive(Clone, Debug)]
pub(crate) struct Replica {
    health: Health,
    /// Calls that are out.
    in_flight: u32,
    /// Failed calls since the last one that succeeded.
    call_failures: u32,
    /// Failed checks since the last one that succeeded.
    check_failures: u32,
    /// Successful checks since the last one that failed, or the ejection.
    check_successes: u32,
    /// Ejections that are not forgotten.
    ejections: u32,
    /// When the next check is due.
    pub(crate) check_due: Timestamp,
    /// When the check that is out began.
    pub(crate) check_out: Option<Timestamp>,
}

// === impl Replica ===

impl Replica {
    pub(crate) const fn new() -> Self {
        Self {
            health: Health::Healthy { since: Timestamp::from_millis(0) },
            in_flight: 0,
            call_failures: 0,
            check_failures: 0,
            check_successes: 0,
            ejections: 0,
            check_due: Timestamp::from_millis(0),
            check_out: None,
        }
    }

    pub(crate) const fn health(&self) -> Health {
        self.health
    }

    pub(crate) const fn in_flight(&self) -> u32 {
        self.in_flight
    }

    pub(crate) const fn ejections(&self) -> u32 {
        self.ejections
    }

    /// Lets an ejection that is over become probation.
    pub(crate) fn elapse(&mut self, now: Timestamp) {
        if self.ejected_until().is_some_and(|until| until <= now) {
            self.health = Health::Probation { trial: None };
        }
    }

    /// Whether a call may go to it without need.
    pub(crate) fn usable(&self, now: Timestamp, config: &Config) -> bool {
        match self.health {
            Health::Healthy { .. } => true,
            Health::Probation { trial } => trial.is_none_or(|began| now.since(began) >= config.trial_max),
            Health::Ejected { .. } => false,
        }
    }

    /// Until when it is ejected, if it is.
    pub(crate) const fn ejected_until(&self) -> Option<Timestamp> {
        match self.health {
            Health::Ejected { until } => Some(until),
            Health::Healthy { .. } | Health::Probation { .. } => None,
        }
    }

    pub(crate) fn begin(&mut self, now: Timestamp) {
        self.in_flight = self.in_flight.saturating_add(1);
        if matches!(self.health, Health::Probation { .. }) {
            self.health = Health::Probation { trial: Some(now) };
        }
    }

    pub(crate) fn end(&mut self) {
        debug_assert!(self.in_flight > 0, "an end without a beginning");
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    pub(crate) fn take(&mut self, now: Timestamp, config: &Config, sign: Sign) -> Option<Turn> {
        self.elapse(now);
        match sign {
            Sign::CallSucceeded => self.call_failures = 0,
            Sign::CheckSucceeded => {
                self.check_failures = 0;
                self.check_successes = self.check_successes.saturating_add(1);
            }
            Sign::CallFailed => self.call_failures = self.call_failures.saturating_add(1),
            Sign::CheckFailed => {
                self.check_successes = 0;
                self.check_failures = self.check_failures.saturating_add(1);
            }
        }
        match self.health {
            Health::Healthy { since } => {
                if now.since(since) >= config.forget_after {
                    self.ejections = 0;
                }
                let broken =
                    self.call_failures >= config.call_failures_max || self.check_failures >= config.check_failures_max;
                broken.then(|| self.eject(now, config))
            }
            Health::Probation { trial } => match sign {
                Sign::CallSucceeded => Some(self.reinstate(now)),
                Sign::CheckSucceeded => {
                    (self.check_successes >= config.check_successes_min).then(|| self.reinstate(now))
                }
                // Without a trial it is a call from before the ejection: old news.
                Sign::CallFailed => trial.is_some().then(|| self.eject(now, config)),
                Sign::CheckFailed => Some(self.eject(now, config)),
            },
            Health::Ejected { .. } => match sign {
                // Whoever was called in need and answered is not broken.
                Sign::CallSucceeded => Some(self.reinstate(now)),
                // A check is only a hint that a call may be tried: where calls fail and checks
                // succeed, probation keeps it cheap.
                Sign::CheckSucceeded => {
                    self.health = Health::Probation { trial: None };
                    None
                }
                // Nothing new, so that a burst of failures ejects once and not many times longer.
                Sign::CallFailed | Sign::CheckFailed => None,
            },
        }
    }

    fn eject(&mut self, now: Timestamp, config: &Config) -> Turn {
        let until = now + ejection(config, self.ejections);
        self.ejections = self.ejections.saturating_add(1);
        self.turn(Health::Ejected { until });
        Turn::Ejected { until }
    }

    fn reinstate(&mut self, now: Timestamp) -> Turn {
        self.turn(Health::Healthy { since: now });
        Turn::Reinstated
    }

    fn turn(&mut self, health: Health) {
        self.health = health;
        self.call_failures = 0;
        self.check_failures = 0;
        self.check_successes = 0;
    }
}

/// Returns how long an ejection lasts after `earlier` ones.
fn ejection(config: &Config, earlier: u32) -> Duration {
    let factor = 1_u32.checked_shl(earlier).unwrap_or(u32::MAX);
    config.ejection_min.saturating_mul(factor).min(config.ejection_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: Config = Config::DEFAULTS;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn ejected_at(now: Timestamp) -> Replica {
        let mut replica = Replica::new();
        for _ in 0..CONFIG.call_failures_max {
            replica.take(now, &CONFIG, Sign::CallFailed);
        }
        assert_eq!(replica.health(), Health::Ejected { until: now + CONFIG.ejection_min });
        replica
    }

    #[test]
    fn ejections_double_up_to_their_maximum() {
        let expected = [5, 10, 20, 40, 80, 160, 300, 300];
        for (earlier, seconds) in (0..).zip(expected) {
            assert_eq!(ejection(&CONFIG, earlier), Duration::from_secs(seconds));
        }
        for earlier in [31, 32, 63, u32::MAX] {
            assert_eq!(ejection(&CONFIG, earlier), CONFIG.ejection_max);
        }
    }

    #[test]
    fn a_success_between_failures_starts_their_count_anew() {
        let mut replica = Replica::new();
        for sign in [Sign::CallFailed; 4].into_iter().chain([Sign::CallSucceeded]).chain([Sign::CallFailed; 4]) {
            assert_eq!(replica.take(at(1), &CONFIG, sign), None);
        }
        assert_eq!(replica.take(at(1), &CONFIG, Sign::CallFailed), Some(Turn::Ejected { until: at(6) }));
    }

    #[test]
    fn calls_that_succeed_do_not_hide_checks_that_fail() {
        let mut replica = Replica::new();
        for _ in 1..CONFIG.check_failures_max {
            assert_eq!(replica.take(at(1), &CONFIG, Sign::CheckFailed), None);
            assert_eq!(replica.take(at(1), &CONFIG, Sign::CallSucceeded), None);
        }
        assert_eq!(replica.take(at(1), &CONFIG, Sign::CheckFailed), Some(Turn::Ejected { until: at(6) }));
    }

    #[test]
    fn failures_while_ejected_do_not_prolong_the_ejection() {
        let mut replica = ejected_at(at(0));
        for _ in 0..100 {
            assert_eq!(replica.take(at(1), &CONFIG, Sign::CallFailed), None);
        }
        assert_eq!(replica.ejected_until(), Some(at(5)));
        assert_eq!(replica.ejections(), 1);
    }

    #[test]
    fn probation_lets_one_call_through_and_its_outcome_decides() {
        for (sign, expected) in
            [(Sign::CallSucceeded, Turn::Reinstated), (Sign::CallFailed, Turn::Ejected { until: at(15) })]
        {
            let mut replica = ejected_at(at(0));
            replica.elapse(at(4));
            assert!(!replica.usable(at(4), &CONFIG));
            replica.elapse(at(5));
            assert!(replica.usable(at(5), &CONFIG));

            replica.begin(at(5));
            assert!(!replica.usable(at(5), &CONFIG), "a second call waits for the first one's outcome");

            assert_eq!(replica.take(at(5), &CONFIG, sign), Some(expected));
        }
    }

    #[test]
    fn as_many_checks_in_a_row_as_are_asked_for_bring_a_replica_back() {
        let config = Config { check_successes_min: 3, ..CONFIG };
        let mut replica = ejected_at(at(0));
        replica.elapse(at(5));
        for sign in [Sign::CheckSucceeded, Sign::CheckSucceeded] {
            assert_eq!(replica.take(at(5), &config, sign), None);
        }
        assert_eq!(replica.take(at(5), &config, Sign::CheckSucceeded), Some(Turn::Reinstated));

        let mut replica = ejected_at(at(0));
        replica.elapse(at(5));
        replica.take(at(5), &config, Sign::CheckSucceeded);
        replica.take(at(5), &config, Sign::CheckFailed);
        replica.elapse(at(60));
        for sign in [Sign::CheckSucceeded, Sign::CheckSucceeded] {
            assert_eq!(replica.take(at(60), &config, sign), None, "a failure starts the count anew");
        }
        assert_eq!(replica.take(at(60), &config, Sign::CheckSucceeded), Some(Turn::Reinstated));

        let mut replica = ejected_at(at(0));
        replica.elapse(at(5));
        replica.begin(at(5));
        assert_eq!(
            replica.take(at(5), &config, Sign::CallSucceeded),
            Some(Turn::Reinstated),
            "a call needs no company"
        );
    }

    #[test]
    fn calls_from_before_an_ejection_neither_block_nor_fail_the_trial() {
        let mut replica = Replica::new();
        replica.begin(at(0));
        for _ in 0..CONFIG.call_failures_max {
            replica.take(at(0), &CONFIG, Sign::CallFailed);
        }
        replica.elapse(at(5));
        assert!(replica.usable(at(5), &CONFIG));

        assert_eq!(replica.take(at(5), &CONFIG, Sign::CallFailed), None);
        assert!(replica.usable(at(5), &CONFIG));
    }

    #[test]
    fn a_trial_without_outcome_stops_blocking_others() {
        let mut replica = ejected_at(at(0));
        replica.elapse(at(5));
        replica.begin(at(5));
        assert!(!replica.usable(at(34), &CONFIG));
        assert!(replica.usable(at(35), &CONFIG));
    }

    #[test]
    fn a_check_that_succeeds_ends_an_ejection_early_but_only_on_probation() {
        let mut replica = ejected_at(at(0));
        assert_eq!(replica.take(at(1), &CONFIG, Sign::CheckSucceeded), None);
        assert_eq!(replica.health(), Health::Probation { trial: None });

        replica.begin(at(1));
        assert_eq!(replica.take(at(1), &CONFIG, Sign::CallFailed), Some(Turn::Ejected { until: at(11) }));
    }

    #[test]
    fn ejections_are_forgotten_after_a_long_health() {
        let mut replica = ejected_at(at(0));
        replica.take(at(5), &CONFIG, Sign::CallSucceeded);
        replica.take(at(5 + 299), &CONFIG, Sign::CallSucceeded);
        assert_eq!(replica.ejections(), 1);
        replica.take(at(5 + 300), &CONFIG, Sign::CallSucceeded);
        assert_eq!(replica.ejections(), 0);
    }
}
