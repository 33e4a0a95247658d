//! How many events of each class are recorded: token buckets for a class, and for each tenant within it.
//!
//! A class has a rate, so that a stranger cannot fill a disk or push what matters out of it; each tenant (or, where there
//! is none, each reason) has a smaller one of its own, so that one cannot take it all from the others. Whoever is over
//! takes nothing from either. Pure: `now` is an argument. A clock that steps back a little stands still; one that was far
//! ahead and was set right is believed again.

use std::collections::HashMap;

use quorate_types::Timestamp;

use crate::event::{Class, Lane};

/// Lanes of a class that have a bucket of their own; the rest share one. Full buckets are forgotten first, since a new
/// one is the same.
const LANES_MAX: usize = 1_024;
/// What a token is divided into, so that rates per minute are exact at milliseconds.
const PARTS: u64 = 60_000;

/// How far behind the last fill a time may be and be taken for late: threads read the clock before they get the bucket,
/// and what has passed must not be given twice for it. Whatever is further behind is a clock that was set back, which
/// would otherwise give nothing until it is where it was: this is the longest that it gives nothing.
const LATE_MS_MAX: u64 = 60_000;

/// How often something may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// In the long run.
    pub per_minute: u32,
    /// At once, after a quiet time.
    pub burst: u32,
}

/// The rates of a class of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// All events of the class.
    pub class: Rate,
    /// Those of one tenant, or of one reason where there is no tenant.
    pub lane: Rate,
}

/// The buckets of all classes.
#[derive(Debug)]
pub(crate) struct Limiter {
    rates: Rates,
    class: Bucket,
    lanes: HashMap<Lane, Bucket>,
    others: Bucket,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    parts: u64,
    filled_at: Timestamp,
}

// === impl Rates ===

impl Rates {
    /// Returns the default rates of a class.
    ///
    /// Failed authentication is what strangers can cause: one a second. Denials and quarantines are caused by known
    /// callers: five a second, one for each tenant. A change of the set is rare, and none may be missing.
    #[must_use]
    pub const fn of(class: Class) -> Self {
        const fn rate(per_minute: u32, burst: u32) -> Rate {
            Rate { per_minute, burst }
        }

        match class {
            Class::Denied | Class::WouldDeny | Class::Quarantined => {
                Self { class: rate(300, 600), lane: rate(60, 120) }
            }
            Class::AuthenticationFailed => Self { class: rate(60, 120), lane: rate(20, 40) },
            Class::AdminChange => Self { class: rate(60, 600), lane: rate(60, 600) },
        }
    }
}

// === impl Limiter ===

impl Limiter {
    pub(crate) fn new(rates: Rates) -> Self {
        let full = |rate: Rate| Bucket { parts: u64::from(rate.burst) * PARTS, filled_at: Timestamp::default() };
        Self { rates, class: full(rates.class), lanes: HashMap::new(), others: full(rates.lane) }
    }

    /// Whether one more event of `lane` may be recorded at `now`; if so, it is counted.
    pub(crate) fn take(&mut self, lane: Lane, now: Timestamp) -> bool {
        let Rates { class, lane: rate } = self.rates;
        self.class.fill(class, now);
        if !self.class.has_token() {
            return false;
        }
        let bucket = self.bucket(lane, now);
        bucket.fill(rate, now);
        if !bucket.has_token() {
            return false;
        }
        bucket.parts -= PARTS;
        self.class.parts -= PARTS;
        true
    }

    fn bucket(&mut self, lane: Lane, now: Timestamp) -> &mut Bucket {
        if self.lanes.len() >= LANES_MAX && !self.lanes.contains_key(&lane) {
            let rate = self.rates.lane;
            self.lanes.retain(|_, bucket| {
                bucket.fill(rate, now);
                bucket.parts < u64::from(rate.burst) * PARTS
            });
            if self.lanes.len() >= LANES_MAX {
                return &mut self.others;
            }
        }
        let parts = u64::from(self.rates.lane.burst) * PARTS;
        self.lanes.entry(lane).or_insert(Bucket { parts, filled_at: now })
    }
}

// === impl Bucket ===

impl Bucket {
    fn fill(&mut self, rate: Rate, now: Timestamp) {
        let passed_ms = now.as_millis().saturating_sub(self.filled_at.as_millis());
        let more = passed_ms.saturating_mul(u64::from(rate.per_minute));
        self.parts = self.parts.saturating_add(more).min(u64::from(rate.burst) * PARTS);
        let late_ms = self.filled_at.as_millis().saturating_sub(now.as_millis());
        if late_ms == 0 || late_ms > LATE_MS_MAX {
            self.filled_at = now;
        }
    }

    const fn has_token(&self) -> bool {
        self.parts >= PARTS
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use quorate_types::TenantId;

    use super::*;

    const RATES: Rates = Rates { class: Rate { per_minute: 60, burst: 10 }, lane: Rate { per_minute: 30, burst: 4 } };

    fn tenant(index: usize) -> Lane {
        Lane::Tenant(TenantId::new(&format!("t{index}")).expect("a valid name"))
    }

    fn taken(limiter: &mut Limiter, lane: usize, tries: usize, ms: u64) -> usize {
        (0..tries).filter(|_| limiter.take(tenant(lane), Timestamp::from_millis(ms))).count()
    }

    #[test]
    fn a_lane_has_its_burst_and_then_its_rate() {
        let mut limiter = Limiter::new(RATES);
        assert_eq!(taken(&mut limiter, 1, 100, 1_000), 4);
        assert_eq!(taken(&mut limiter, 1, 100, 2_999), 0);
        assert_eq!(taken(&mut limiter, 1, 100, 3_000), 1, "one every two seconds");
        assert_eq!(taken(&mut limiter, 1, 100, 60_000), 4, "no more than the burst is saved up");
    }

    #[test]
    fn one_tenant_does_not_take_it_all_from_another() {
        let mut limiter = Limiter::new(RATES);
        assert_eq!(taken(&mut limiter, 1, 10_000, 1_000), 4);
        assert_eq!(taken(&mut limiter, 2, 3, 1_000), 3);
        for second in 2..100 {
            taken(&mut limiter, 1, 1_000, second * 1_000);
        }
        assert_eq!(taken(&mut limiter, 2, 4, 100_000), 4);
    }

    #[test]
    fn all_lanes_together_have_the_rate_of_the_class() {
        let mut limiter = Limiter::new(RATES);
        let all = |limiter: &mut Limiter, ms| (0..50).map(|lane| taken(limiter, lane, 10, ms)).sum::<usize>();
        assert_eq!(all(&mut limiter, 1_000), 10);
        assert_eq!(all(&mut limiter, 2_000), 1);
    }

    #[test]
    fn a_clock_that_steps_back_gives_nothing_twice() {
        let mut limiter = Limiter::new(RATES);
        assert_eq!(taken(&mut limiter, 1, 100, 10_000), 4);
        assert_eq!(taken(&mut limiter, 1, 100, 5_000), 0);
        assert_eq!(taken(&mut limiter, 1, 100, 10_000), 0);
        assert_eq!(taken(&mut limiter, 1, 100, 12_000), 1);
    }

    #[test]
    fn a_clock_that_was_far_ahead_and_is_set_right_silences_nobody() {
        let mut limiter = Limiter::new(RATES);
        let (ahead, right) = (4_000_000_000_000, 1_800_000_000_000);
        assert_eq!(taken(&mut limiter, 1, 100, ahead), 4);
        assert_eq!(taken(&mut limiter, 2, 100, ahead), 4);
        assert_eq!(taken(&mut limiter, 1, 100, right), 0, "the step alone gives nothing");
        assert_eq!(taken(&mut limiter, 1, 100, right + 2_000), 1);
        assert_eq!(taken(&mut limiter, 1, 100, right + 60_000), 4);
        assert_eq!(taken(&mut limiter, 2, 100, right + 60_000), 0, "its first since the step");
        assert_eq!(taken(&mut limiter, 2, 100, right + 62_000), 1);
    }

    #[test]
    fn lanes_beyond_the_most_share_one_bucket_until_others_are_full_again() {
        let rates = Rates { class: Rate { per_minute: 600_000, burst: 1_000_000 }, ..RATES };
        let mut limiter = Limiter::new(rates);
        for lane in 0..LANES_MAX {
            assert_eq!(taken(&mut limiter, lane, 1, 1_000), 1);
        }
        assert_eq!((0..10).map(|lane| taken(&mut limiter, LANES_MAX + lane, 1, 1_000)).sum::<usize>(), 4);
        assert_eq!(limiter.lanes.len(), LANES_MAX);

        assert_eq!(taken(&mut limiter, LANES_MAX, 9, 60_000), 4);
        assert_eq!(limiter.lanes.len(), 1);
    }

    proptest! {
        #[test]
        fn never_more_than_burst_and_rate_are_taken(steps in prop::collection::vec((0_u64..3_000, 0_usize..4), 1..200)) {
            let mut limiter = Limiter::new(RATES);
            let (mut now, mut each) = (5_000, [0_u64; 4]);
            for (ms, lane) in steps {
                now += ms;
                each[lane] += u64::from(limiter.take(tenant(lane), Timestamp::from_millis(now)));
            }
            let most = |rate: Rate| u64::from(rate.burst) + (now - 5_000) * u64::from(rate.per_minute) / 60_000;
            prop_assert!(each.iter().sum::<u64>() <= most(RATES.class));
            prop_assert!(each.iter().all(|taken| *taken <= most(RATES.lane)));
        }
    }
}
