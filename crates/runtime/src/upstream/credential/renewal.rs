//! When a token is asked for: the pure part.
//!
//! ```text
//! empty ── granted ──▶ held ── renewal due ──▶ held, asking ── granted ──▶ held
//!   ▲ asking                │                        └─ failed ──▶ held, resting
//!   └─ failed: resting      └─ refused by the server ──▶ empty
//! ```
//!
//! Times go in and come out; the clock, the randomness and the asking are the caller's. Invariant: whatever the token
//! endpoint and the tool server do, two attempts are at least [`Timing::attempt_min`] apart, except that a token
//! which the server had taken is replaced at once when it refuses it, at most once every [`Timing::refused_min`].

use std::time::Duration;

use quorate_types::Timestamp;

/// The times of renewals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timing {
    /// The longest that a token is used, whatever its issuer says: 1 day, so that a client that was taken its rights
    /// notices within one.
    pub(super) life_max: Duration,
    /// The time before its end from which on a token is not sent any more, but at most a tenth of its life: 5 s, for the
    /// way of a request and clocks that disagree.
    pub(super) margin_max: Duration,
    /// The shortest time between two attempts: 1 s, also for tokens that live shorter.
    pub(super) attempt_min: Duration,
    /// Delay after the first failure, then doubled.
    pub(super) delay: Duration,
    /// The longest delay, also of those that the endpoint asks for: 1 min, so that its return is noticed soon.
    pub(super) delay_max: Duration,
    /// The shortest time between two tokens that are given up because the server refused one that it had taken: 1 s.
    pub(super) refused_min: Duration,
    /// The same for tokens that it never took: 30 s. Another one will hardly please it more.
    pub(super) unwelcome_min: Duration,
}

/// The default times; reasons are at the fields.
pub(super) const DEFAULTS: Timing = Timing {
    life_max: Duration::from_secs(24 * 3600),
    margin_max: Duration::from_secs(5),
    attempt_min: Duration::from_secs(1),
    delay: Duration::from_secs(1),
    delay_max: Duration::from_secs(60),
    refused_min: Duration::from_secs(1),
    unwelcome_min: Duration::from_secs(30),
};

const _: () = assert!(DEFAULTS.delay.as_millis() >= DEFAULTS.attempt_min.as_millis(), "a failure is no shortcut");
const _: () = assert!(DEFAULTS.delay.as_millis() <= DEFAULTS.delay_max.as_millis(), "delays grow");

/// When to ask for the token of one tool server.
#[derive(Debug)]
pub(super) struct Renewal {
    timing: Timing,
    held: Option<Held>,
    /// The earliest time of the next attempt.
    not_before: Timestamp,
    /// Failures in a row.
    failures: u32,
    /// When a refused token was given up last.
    given_up: Option<Timestamp>,
}

/// A token, by its times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    renew_at: Timestamp,
    usable_until: Timestamp,
}

// === impl Renewal ===

impl Renewal {
    pub(super) const fn new(timing: Timing) -> Self {
        let not_before = Timestamp::from_millis(0);
        Self { timing, held: None, not_before, failures: 0, given_up: None }
    }

    /// Returns when the next attempt is due; a time that has passed means now.
    pub(super) fn due(&self) -> Timestamp {
        self.held.map_or(self.not_before, |held| held.renew_at.max(self.not_before))
    }

    /// Tells whether an attempt has failed and the next one has to wait.
    pub(super) fn is_resting(&self, now: Timestamp) -> bool {
        self.failures > 0 && now < self.not_before
    }

    /// Returns how many attempts failed in a row.
    pub(super) const fn failures(&self) -> u32 {
        self.failures
    }

    /// Takes a token that was asked for at `asked_at` and lives for `life` from then on; returns until when it may be
    /// sent. It is renewed after 70 to 80% of its life, as `entropy` says, so that nodes do not ask all at once.
    pub(super) fn granted(&mut self, asked_at: Timestamp, life: Duration, entropy: u64) -> Timestamp {
        let life = life.min(self.timing.life_max);
        let usable_until = asked_at + life.saturating_sub(self.timing.margin_max.min(life / 10));
        let early = spread(life / 10, entropy);
        self.held = Some(Held { renew_at: asked_at + (life * 4 / 5).saturating_sub(early), usable_until });
        self.not_before = asked_at + self.timing.attempt_min;
        self.failures = 0;
        usable_until
    }

    /// Takes a failure; returns how long the next attempt waits: doubled each time, between half of it and all of it as
    /// `entropy` says, and at least what the endpoint asks for.
    pub(super) fn failed(&mut self, now: Timestamp, retry_after: Option<Duration>, entropy: u64) -> Duration {
        let doubled = self.timing.delay.saturating_mul(1 << self.failures.min(16)).min(self.timing.delay_max);
        let asked = retry_after.unwrap_or_default().min(self.timing.delay_max);
        let delay = (doubled - spread(doubled / 2, entropy)).max(asked).max(self.timing.attempt_min);
        self.failures = self.failures.saturating_add(1);
        self.not_before = now + delay;
        delay
    }

    /// Takes that the server refused the token that is held, which it `took` before or not. Returns whether it is given
    /// up for another one.
    pub(super) fn refused(&mut self, now: Timestamp, took: bool) -> bool {
        let apart = if took { self.timing.refused_min } else { self.timing.unwelcome_min };
        if self.held.is_none() || self.given_up.is_some_and(|before| now < before + apart) {
            return false;
        }
        self.held = None;
        self.given_up = Some(now);
        if self.failures == 0 && took {
            self.not_before = now;
        }
        true
    }
}

/// A part of `most`, evenly spread by `entropy`.
fn spread(most: Duration, entropy: u64) -> Duration {
    let millis = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(entropy % millis.saturating_add(1).max(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn renewal() -> Renewal {
        Renewal::new(DEFAULTS)
    }

    #[test]
    fn the_first_token_is_due_at_once() {
        assert_eq!(renewal().due(), at(0));
        assert!(!renewal().is_resting(at(0)));
    }

    #[test]
    fn a_token_is_renewed_at_four_fifths_of_its_life_or_a_little_earlier() {
        let hour = Duration::from_secs(3600);
        for (entropy, due) in [(0, 2_880_000), (360_000, 2_520_000), (360_001, 2_880_000)] {
            let mut renewal = renewal();
            assert_eq!(renewal.granted(at(0), hour, entropy), at(3_595_000));
            assert_eq!(renewal.due(), at(due), "{entropy}");
        }
    }

    #[test]
    fn a_token_that_lives_for_years_is_renewed_within_a_day() {
        let mut renewal = renewal();
        renewal.granted(at(0), Duration::MAX, 0);
        assert!(renewal.due() <= at(24 * 3_600_000));
    }

    #[test]
    fn a_token_of_a_second_is_not_asked_for_more_often_than_once_a_second() {
        let mut renewal = renewal();
        assert_eq!(renewal.granted(at(0), Duration::from_secs(1), 0), at(900));
        assert_eq!(renewal.due(), at(1_000));
        renewal.granted(at(0), Duration::ZERO, 0);
        assert_eq!(renewal.due(), at(1_000));
    }

    #[test]
    fn failures_wait_twice_as_long_each_time_up_to_a_minute() {
        let mut renewal = renewal();
        let delays: Vec<u64> =
            (0..9).map(|_| u64::try_from(renewal.failed(at(0), None, 0).as_millis()).unwrap()).collect();
        assert_eq!(delays, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);
        assert!(renewal.is_resting(at(59_999)) && !renewal.is_resting(at(60_000)));
        renewal.granted(at(60_000), Duration::from_secs(3600), 0);
        assert_eq!(renewal.failed(at(60_000), None, 0), Duration::from_secs(1), "a token forgives");
    }

    #[test]
    fn an_endpoint_may_ask_for_patience_but_not_for_ever() {
        let mut renewal = renewal();
        assert_eq!(renewal.failed(at(0), Some(Duration::from_secs(20)), 0), Duration::from_secs(20));
        assert_eq!(renewal.failed(at(0), Some(Duration::MAX), 0), DEFAULTS.delay_max);
    }

    #[test]
    fn a_failed_renewal_leaves_the_token_and_is_tried_again() {
        let mut renewal = renewal();
        renewal.granted(at(0), Duration::from_secs(100), 0);
        renewal.failed(at(80_000), None, 0);
        assert_eq!(renewal.due(), at(81_000));
    }

    #[test]
    fn a_refused_token_is_replaced_at_once_but_not_again_and_again() {
        let mut renewal = renewal();
        assert!(!renewal.refused(at(0), true), "there is none");
        renewal.granted(at(0), Duration::from_secs(3600), 0);
        assert!(renewal.refused(at(100), true));
        assert_eq!(renewal.due(), at(100));
        assert!(!renewal.refused(at(100), true), "it is given up already");

        renewal.granted(at(100), Duration::from_secs(3600), 0);
        assert!(!renewal.refused(at(1_099), true));
        assert!(renewal.refused(at(1_100), true));
    }

    #[test]
    fn a_server_that_takes_no_token_at_all_causes_one_attempt_in_half_a_minute() {
        let mut renewal = renewal();
        let (mut now, mut attempts) = (0, 0);
        while now < 300_000 {
            if renewal.due() <= at(now) {
                renewal.granted(at(now), Duration::from_secs(3600), 0);
                attempts += 1;
            }
            renewal.refused(at(now), false);
            now += 100;
        }
        assert_eq!(attempts, 11);
    }

    #[test]
    fn a_refusal_is_no_way_around_a_rest() {
        let mut renewal = renewal();
        renewal.granted(at(0), Duration::from_secs(100), 0);
        renewal.failed(at(80_000), None, 0);
        assert!(renewal.refused(at(80_100), true));
        assert_eq!(renewal.due(), at(81_000));
    }

    #[derive(Clone, Debug)]
    enum Event {
        Granted(u64),
        Failed(Option<u64>),
        Refused(bool),
        Later(u64),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            (0_u64..10_000_000).prop_map(Event::Granted),
            proptest::option::of(0_u64..1_000_000).prop_map(Event::Failed),
            any::<bool>().prop_map(Event::Refused),
            (0_u64..100_000).prop_map(Event::Later),
        ]
    }

    proptest! {
        #[test]
        fn attempts_stay_apart_whatever_both_servers_do(
            events in proptest::collection::vec((event(), any::<u64>()), 1..200),
        ) {
            let mut renewal = renewal();
            let (mut now, mut attempts, mut given_up) = (0_u64, Vec::<u64>::new(), 0_usize);
            for (event, entropy) in events {
                match event {
                    Event::Later(millis) => now += millis,
                    Event::Refused(took) => given_up += usize::from(renewal.refused(at(now), took)),
                    _ if renewal.due() > at(now) => {}
                    Event::Granted(millis) => {
                        attempts.push(now);
                        let usable = renewal.granted(at(now), Duration::from_millis(millis), entropy);
                        prop_assert!(usable <= at(now) + DEFAULTS.life_max);
                        prop_assert!(renewal.due() >= at(now) + DEFAULTS.attempt_min);
                    }
                    Event::Failed(after) => {
                        attempts.push(now);
                        let delay = renewal.failed(at(now), after.map(Duration::from_millis), entropy);
                        prop_assert!((DEFAULTS.attempt_min..=DEFAULTS.delay_max).contains(&delay));
                    }
                }
            }
            let close = attempts.windows(2).filter(|pair| pair[1] - pair[0] < 1_000).count();
            prop_assert!(close <= given_up, "{close} attempts were close, {given_up} tokens given up");
            prop_assert!(given_up as u64 <= now / 1_000 + 1);
        }
    }
}
