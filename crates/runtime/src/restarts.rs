//! When something that failed is started again: back-off, and a meltdown that ends it.
//!
//! `failed ──▶ Again { after } … Again { after: doubled } … Melted`
//!
//! Failures count within a window: who lives longer than it starts afresh. The decision alone is here, without a
//! clock: actors under a [`crate::supervisor`] stay stopped when they melted down, child processes of a tool server
//! rest and are tried again.

use std::collections::VecDeque;
use std::time::Duration;

use quorate_types::Timestamp;

/// How failures are judged; already valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Failures within the window that are borne; one more is a meltdown.
    pub failures_max: usize,
    /// The time in which failures count.
    pub window: Duration,
    /// Delay after the first failure, doubled for each further one in the window.
    pub delay: Duration,
    /// The longest delay.
    pub delay_max: Duration,
}

/// The failures of one thing.
#[derive(Clone, Debug)]
pub struct Restarts {
    policy: Policy,
    /// At most `failures_max + 1` of them.
    failures: VecDeque<Timestamp>,
}

/// What follows from a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is started again after this delay.
    Again {
        /// How long to wait.
        after: Duration,
        /// The failures in the window.
        failures: usize,
    },
    /// It failed too often.
    Melted {
        /// The failures in the window.
        failures: usize,
    },
}

// === impl Restarts ===

impl Restarts {
    /// Makes the record of something that has not failed.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self { policy, failures: VecDeque::new() }
    }

    /// Records a failure and decides.
    pub fn failed(&mut self, now: Timestamp) -> Verdict {
        self.failures.retain(|failure| now.since(*failure) < self.policy.window);
        if self.failures.len() > self.policy.failures_max {
            self.failures.pop_front();
        }
        self.failures.push_back(now);
        let failures = self.failures.len();
        if failures > self.policy.failures_max {
            return Verdict::Melted { failures };
        }
        Verdict::Again { after: self.delay(failures), failures }
    }

    /// Forgets the failures, after a rest.
    pub fn forget(&mut self) {
        self.failures.clear();
    }

    fn delay(&self, failures: usize) -> Duration {
        let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
        self.policy.delay.saturating_mul(1 << doublings).min(self.policy.delay_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy {
        failures_max: 3,
        window: Duration::from_secs(60),
        delay: Duration::from_millis(10),
        delay_max: Duration::from_millis(25),
    };

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + seconds * 1_000)
    }

    #[test]
    fn delays_double_up_to_their_bound_and_then_it_melts_down() {
        let mut restarts = Restarts::new(POLICY);
        let delays: Vec<Verdict> = (0..5).map(|second| restarts.failed(at(second))).collect();
        let again = |millis, failures| Verdict::Again { after: Duration::from_millis(millis), failures };
        let melted = Verdict::Melted { failures: 4 };
        assert_eq!(delays, [again(10, 1), again(20, 2), again(25, 3), melted, melted]);
    }

    #[test]
    fn failures_are_forgotten_after_the_window_or_a_rest() {
        let mut restarts = Restarts::new(POLICY);
        let first = restarts.failed(at(0));
        restarts.failed(at(1));
        assert_eq!(restarts.failed(at(100)), first);
        restarts.failed(at(101));
        restarts.forget();
        assert_eq!(restarts.failed(at(102)), first);
    }
}
