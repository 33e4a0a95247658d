//! Judges whether a runtime still schedules work, by beats of a task on it.
//!
//! The task beats often; somebody else's thread looks. A beat that does not come is the runtime's fault only as far as the
//! looking thread itself was scheduled: a look that comes late counts for nothing, so that neither a suspended machine nor
//! a stopped process makes a node give up. Pure.

use std::time::Duration;

/// How often the task beats.
pub(crate) const BEAT: Duration = Duration::from_millis(100);
/// How late a look may be and still count: as in the watchdog of the log.
const LATE_MAX: Duration = Duration::from_millis(150);
/// Silence after which the node should lead nothing: more than a scheduler takes that has thousands of clients at once, since
/// what a busy node leads would only be one node's more that is as busy.
const SLOW_AFTER: Duration = Duration::from_secs(2);
/// Silence after which the node should end: as long as the log's disk has.
const STALLED_AFTER: Duration = Duration::from_secs(5);
/// For how long there must be no silence before the runtime is fine again.
const FINE_AFTER: Duration = Duration::from_secs(5);

/// How a runtime does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lag {
    /// It schedules in time.
    Fine,
    /// It does not, or did not a moment ago.
    Slow,
    /// It has not for long. Final.
    Stalled,
}

/// A judge of one runtime.
#[derive(Debug)]
pub(crate) struct Canary {
    lag: Lag,
    last: Option<(Duration, u64)>,
    /// Time that counts since the last beat.
    silent: Duration,
    /// Time that counts since the last silence.
    calm: Duration,
}

// === impl Canary ===

impl Canary {
    pub(crate) const fn new() -> Self {
        Self { lag: Lag::Fine, last: None, silent: Duration::ZERO, calm: Duration::ZERO }
    }

    /// Judges. `now` is a clock that does not go back and stands still while the machine is suspended; `beats` is how many
    /// there were. None of them comes before the first.
    pub(crate) fn tick(&mut self, now: Duration, beats: u64) -> Lag {
        let (last, before) = *self.last.get_or_insert((now, beats));
        let passed = now.saturating_sub(last);
        let counted = if passed > LATE_MAX { Duration::ZERO } else { passed };
        self.last = Some((now, beats));
        self.silent = if beats == before { self.silent + counted } else { Duration::ZERO };
        self.calm = if self.silent >= SLOW_AFTER { Duration::ZERO } else { self.calm + counted };
        self.lag = match self.lag {
            Lag::Stalled => Lag::Stalled,
            _ if self.silent >= STALLED_AFTER => Lag::Stalled,
            _ if self.silent >= SLOW_AFTER => Lag::Slow,
            Lag::Slow if self.calm < FINE_AFTER => Lag::Slow,
            Lag::Slow | Lag::Fine => Lag::Fine,
        };
        self.lag
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks each 50 ms from `from` to `to`; the task beats only before `until`.
    fn looks(canary: &mut Canary, from: u64, to: u64, until: u64) -> Lag {
        let look = |at: u64| canary.tick(Duration::from_millis(at), at.min(until) / 100);
        (from..=to).step_by(50).map(look).last().unwrap()
    }

    #[test]
    fn a_runtime_that_falls_silent_is_slow_and_then_stalled_for_good() {
        let mut canary = Canary::new();

        assert_eq!(looks(&mut canary, 0, 2_000, 2_000), Lag::Fine);
        assert_eq!(looks(&mut canary, 2_050, 3_950, 2_000), Lag::Fine);
        assert_eq!(looks(&mut canary, 4_000, 6_900, 2_000), Lag::Slow);
        assert_eq!(looks(&mut canary, 6_950, 7_050, 2_000), Lag::Stalled);
        assert_eq!(looks(&mut canary, 7_100, 20_000, 20_000), Lag::Stalled);
    }

    #[test]
    fn a_runtime_that_beats_again_is_fine_after_a_while() {
        let mut canary = Canary::new();

        assert_eq!(looks(&mut canary, 0, 3_000, 1_000), Lag::Slow);
        assert_eq!(looks(&mut canary, 3_050, 7_900, 8_000), Lag::Slow);
        assert_eq!(looks(&mut canary, 7_950, 8_150, 9_000), Lag::Fine);
    }

    #[test]
    fn a_process_that_was_stopped_is_not_blamed_on_its_runtime() {
        let mut canary = Canary::new();
        looks(&mut canary, 0, 1_000, 1_000);

        assert_eq!(canary.tick(Duration::from_secs(60), 10), Lag::Fine);
        assert_eq!(looks(&mut canary, 60_050, 60_400, 1_000), Lag::Fine);
    }
}
