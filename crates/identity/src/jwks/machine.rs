//! When the keys of an issuer are fetched, and how long they serve; pure.
//!
//! ```text
//!            due, or asked for          fetched: lifetime/2       due: outage tolerated too long
//!   Resting ───────────────────▶ Fetching ─────────────▶ Resting ──────────────────────▶ (no keys)
//!      ▲                            │ failed: back-off
//!      └────────────────────────────┘
//! ```
//!
//! In: that time passed, that a token's key is not among the keys, how a fetch ended. Out: whether to fetch, and whether
//! to stop trusting the keys at hand. Two promises: whatever strangers send, an issuer is asked at most once per
//! [`ASK_INTERVAL`] for their sake; and keys outlive their last good fetch by a fixed time, no longer. What the keys are
//! is not known here.

use std::time::Duration;

use quorate_types::Timestamp;

/// How long keys are fresh when their server does not say. A key that was taken back is trusted for at most half of it.
pub(crate) const LIFETIME_DEFAULT: Duration = Duration::from_secs(15 * 60);
/// The shortest lifetime that a server can ask for: less would be a request every other minute, for ever.
pub(crate) const LIFETIME_MIN: Duration = Duration::from_secs(5 * 60);
/// The longest: a key that was taken back should not be trusted for more than a day.
pub(crate) const LIFETIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Keys are fetched anew when this part of their lifetime is over: the other half is for trying again.
const REFRESH_PART: u32 = 2;
/// How often an issuer is asked because of tokens with unknown keys, at most. A key that an issuer begins to use before
/// it has published it for long is unknown for at most as long.
pub(crate) const ASK_INTERVAL: Duration = Duration::from_secs(30);
/// The pause after a first failure, doubled by each further one up to the longest.
const BACK_OFF_MIN: Duration = Duration::from_secs(1);
const BACK_OFF_MAX: Duration = Duration::from_secs(5 * 60);

/// The machine of one issuer's keys.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// How long keys serve after their last good fetch, while they cannot be fetched.
    outage_tolerance: Duration,
    phase: Phase,
    /// The last good fetch, unless it is too long ago.
    good: Option<Good>,
    /// Failures since.
    failures: u32,
    /// When strangers last made us fetch.
    asked_at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Resting { next_at: Timestamp },
    Fetching,
}

#[derive(Clone, Copy, Debug)]
struct Good {
    at: Timestamp,
    lifetime: Duration,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Time passed.
    Tick,
    /// A token is signed by a key that is not among the keys.
    Unknown,
    /// The keys were fetched; their server may have said for how long they are fresh.
    Fetched { fresh_for: Option<Duration> },
    /// They could not be.
    Failed,
}

/// What to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Effects {
    /// Fetch; the machine waits for [`Event::Fetched`] or [`Event::Failed`].
    pub(crate) fetch: bool,
    /// Stop trusting the keys at hand.
    pub(crate) forget: bool,
    /// To [`Event::Unknown`]: a fetch is about to end that may bring the key.
    pub(crate) wait: bool,
}

// === impl Machine ===

impl Machine {
    /// Makes a machine without keys, whose first fetch is due at once.
    pub(crate) fn new(outage_tolerance: Duration, now: Timestamp) -> Self {
        Self { outage_tolerance, phase: Phase::Resting { next_at: now }, good: None, failures: 0, asked_at: None }
    }

    /// Makes the machine of whoever takes over the keys: a fetch that is under way is not known of there, and due again.
    pub(crate) fn succeeded(&self, outage_tolerance: Duration, now: Timestamp) -> Self {
        let phase = match self.phase {
            Phase::Fetching => Phase::Resting { next_at: now },
            Phase::Resting { next_at } => Phase::Resting { next_at },
        };
        Self { outage_tolerance, phase, ..self.clone() }
    }

    /// Takes an event at `now`.
    pub(crate) fn step(&mut self, now: Timestamp, event: Event) -> Effects {
        match event {
            Event::Tick => self.tick(now),
            Event::Unknown => Effects { wait: self.ask(now), ..Effects::default() },
            Event::Fetched { fresh_for } => {
                let lifetime = fresh_for.unwrap_or(LIFETIME_DEFAULT).clamp(LIFETIME_MIN, LIFETIME_MAX);
                self.good = Some(Good { at: now, lifetime });
                self.failures = 0;
                self.phase = Phase::Resting { next_at: now + lifetime / REFRESH_PART };
                Effects::default()
            }
            Event::Failed => {
                let pause = BACK_OFF_MIN.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX));
                self.failures = self.failures.saturating_add(1);
                self.phase = Phase::Resting { next_at: now + pause.min(BACK_OFF_MAX) };
                Effects::default()
            }
        }
    }

    /// Returns when [`Event::Tick`] is due next; none while a fetch is under way.
    pub(crate) fn due_at(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Fetching => None,
            Phase::Resting { next_at } => Some(self.forget_at().map_or(next_at, |at| at.min(next_at))),
        }
    }

    /// Tells whether there was a good fetch whose keys still serve, so that there is a time at which they are forgotten.
    pub(crate) fn has_keys(&self) -> bool {
        self.good.is_some()
    }

    /// Returns how many fetches failed since the last good one.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    fn tick(&mut self, now: Timestamp) -> Effects {
        let forget = self.forget_at().is_some_and(|at| now >= at);
        if forget {
            self.good = None;
        }
        let fetch = matches!(self.phase, Phase::Resting { next_at } if now >= next_at);
        if fetch {
            self.phase = Phase::Fetching;
        }
        Effects { fetch, forget, wait: false }
    }

    /// Tells whether it is worth waiting; makes a fetch due when there may be one.
    fn ask(&mut self, now: Timestamp) -> bool {
        let next_at = match self.phase {
            Phase::Fetching => return true,
            Phase::Resting { next_at } => next_at,
        };
        if now >= next_at {
            return true;
        }
        // While fetches fail, only the back-off decides.
        let may_ask = self.failures == 0 && self.asked_at.is_none_or(|at| now >= at + ASK_INTERVAL);
        if may_ask {
            self.asked_at = Some(now);
            self.phase = Phase::Resting { next_at: now };
        }
        may_ask
    }

    fn forget_at(&self) -> Option<Timestamp> {
        // Keys that are still fresh need no tolerance.
        self.good.map(|good| good.at + good.lifetime.max(self.outage_tolerance))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    const START: Timestamp = Timestamp::from_millis(0);

    const NOTHING: Effects = Effects { fetch: false, forget: false, wait: false };
    const FETCH: Effects = Effects { fetch: true, ..NOTHING };
    const WAIT: Effects = Effects { wait: true, ..NOTHING };

    fn after(seconds: u64) -> Timestamp {
        START + Duration::from_secs(seconds)
    }

    fn fetched(fresh_for: Option<u64>) -> Event {
        Event::Fetched { fresh_for: fresh_for.map(Duration::from_secs) }
    }

    /// A machine that fetched at the start.
    fn with_keys(tolerance: Duration, fresh_for: Option<u64>) -> Machine {
        let mut machine = Machine::new(tolerance, START);
        assert_eq!(machine.step(START, Event::Tick), FETCH);
        machine.step(START, fetched(fresh_for));
        machine
    }

    #[test]
    fn the_first_fetch_is_due_at_once_and_there_is_one_at_a_time() {
        let mut machine = Machine::new(DAY, START);
        assert_eq!(machine.due_at(), Some(START));
        assert_eq!(machine.step(START, Event::Unknown), WAIT);
        assert_eq!(machine.step(START, Event::Tick), FETCH);
        assert_eq!(machine.due_at(), None);
        assert_eq!(machine.step(after(3), Event::Tick), NOTHING);
        assert_eq!(machine.step(after(3), Event::Unknown), WAIT);
    }

    #[test]
    fn keys_are_fetched_anew_at_half_of_a_lifetime_within_bounds() {
        for (fresh_for, next) in
            [(None, 450), (Some(0), 150), (Some(1200), 600), (Some(86_400), 43_200), (Some(u64::MAX), 43_200)]
        {
            let mut machine = with_keys(DAY, fresh_for);
            assert_eq!(machine.due_at(), Some(after(next)), "{fresh_for:?}");
            assert_eq!(machine.step(after(next - 1), Event::Tick), NOTHING);
            assert_eq!(machine.step(after(next), Event::Tick), FETCH);
        }
    }

    #[test]
    fn failures_are_tried_again_ever_more_rarely() {
        let (mut machine, mut now, mut pauses) = (Machine::new(DAY, START), START, Vec::new());
        for _ in 0..12 {
            assert_eq!(machine.step(now, Event::Tick), FETCH);
            machine.step(now, Event::Failed);
            let next = machine.due_at().expect("it rests");
            pauses.push(next.since(now).as_secs());
            now = next;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        for _ in 0..100 {
            machine.step(now, Event::Failed);
        }
        assert_eq!(machine.due_at(), Some(now + BACK_OFF_MAX));
        assert_eq!(machine.failures(), 112);
    }

    #[test]
    fn strangers_make_us_fetch_once_per_interval() {
        let mut machine = with_keys(DAY, None);
        assert_eq!(machine.step(after(1), Event::Unknown), WAIT);
        assert_eq!(machine.due_at(), Some(after(1)));
        assert_eq!(machine.step(after(1), Event::Tick), FETCH);
        machine.step(after(2), fetched(None));
        assert_eq!(machine.step(after(3), Event::Unknown), NOTHING);
        assert_eq!(machine.step(after(30), Event::Unknown), NOTHING);
        assert_eq!(machine.step(after(31), Event::Unknown), WAIT);
    }

    #[test]
    fn while_fetches_fail_strangers_change_nothing() {
        let mut machine = with_keys(DAY, None);
        assert_eq!(machine.step(after(450), Event::Tick), FETCH);
        machine.step(after(450), Event::Failed);
        assert_eq!(machine.step(after(450), Event::Unknown), NOTHING);
        assert_eq!(machine.due_at(), Some(after(451)));
    }

    #[test]
    fn keys_outlive_an_outage_as_long_as_is_tolerated_but_never_their_lifetime() {
        for (tolerance, fresh_for, forgotten) in [(3600, None, 3600), (0, None, 900), (3600, Some(86_400), 86_400)] {
            let mut machine = with_keys(Duration::from_secs(tolerance), fresh_for);
            let mut forgotten_at = None;
            for _ in 0..10_000 {
                let now = machine.due_at().expect("it rests");
                let effects = machine.step(now, Event::Tick);
                if effects.fetch {
                    machine.step(now, Event::Failed);
                }
                if effects.forget {
                    forgotten_at = Some(now);
                    break;
                }
            }
            assert_eq!(forgotten_at, Some(after(forgotten)), "{tolerance} {fresh_for:?}");
            let next = machine.due_at().expect("it goes on");
            assert!(next > after(forgotten) && next <= after(forgotten) + BACK_OFF_MAX);
        }
    }

    #[test]
    fn a_successor_goes_on_with_the_keys_and_their_end() {
        let mut machine = with_keys(DAY, None);
        let mut heir = machine.succeeded(3600 * Duration::from_secs(1), after(10));
        assert_eq!(heir.due_at(), Some(after(450)));
        assert_eq!(machine.step(after(450), Event::Tick), FETCH);
        assert_eq!(machine.succeeded(DAY, after(451)).due_at(), Some(after(451)));
        assert_eq!(heir.step(after(3600), Event::Tick), Effects { fetch: true, forget: true, wait: false });
    }

    proptest! {
        /// Whatever comes in whatever order: an issuer is asked because it is time, because a back-off is over, or for
        /// strangers' sake at most once per interval; and keys are never trusted beyond their time.
        #[test]
        fn an_issuer_is_not_asked_too_often(events in proptest::collection::vec((0_u8..6, 0_u64..40_000), 1..200)) {
            let tolerance = Duration::from_secs(3600);
            let mut machine = Machine::new(tolerance, START);
            let (mut now, mut fetching, mut fetches, mut good_at) = (START, false, 0_u32, None);
            for (kind, pause) in events {
                now = now + Duration::from_millis(pause);
                let event = match kind {
                    0 if fetching => Event::Fetched { fresh_for: None },
                    1 if fetching => Event::Failed,
                    2 | 3 => Event::Unknown,
                    _ => Event::Tick,
                };
                let effects = machine.step(now, event);
                match event {
                    Event::Fetched { .. } => (fetching, good_at) = (false, Some(now)),
                    Event::Failed => fetching = false,
                    Event::Tick | Event::Unknown => {}
                }
                prop_assert!(!(effects.fetch && fetching), "two fetches at once");
                if effects.fetch {
                    (fetching, fetches) = (true, fetches + 1);
                }
                if effects.forget {
                    prop_assert!(good_at.take().is_some_and(|at| now >= at + tolerance));
                }
                let is_trusted_too_long = event == Event::Tick && good_at.is_some_and(|at| now >= at + tolerance);
                prop_assert!(!is_trusted_too_long);
                // Each fetch is due by the clock: the shortest pauses are a back-off's first second and an interval.
                prop_assert!(u128::from(fetches) <= 2 + now.since(START).as_millis() / 1000);
                prop_assert_eq!(machine.due_at().is_none(), fetching);
            }
        }
    }
}
