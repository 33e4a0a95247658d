//! Judges whether the disk under a log still answers.
//!
//! In go, at each tick, the time and for how long the disk has been busy with one write or sync ([`crate::Wal::disk_busy`]);
//! out comes a [`Verdict`]. Its owner acts: a node whose log is slow gives its leaderships away, one whose log is stalled
//! ends, as CockroachDB does. Only time in which the process ran counts:
//! a tick that comes late says that it did not, whatever the disk did meanwhile. A log that waits for room on a full disk
//! is not busy. Pure: the owner has the clock and the ticks.

use std::time::Duration;

/// When a disk is slow, and when it is stalled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchdogConfig {
    /// How often the owner asks. Default 50 ms: a fifth of [`Self::slow_after`].
    pub tick: Duration,
    /// How late a tick may be before the process counts as having been stopped. Default 100 ms: more than a busy scheduler
    /// takes, and less than [`Self::slow_after`].
    pub late_max: Duration,
    /// For how long one write or sync may take. Default 250 ms, an election timeout: a leader whose log takes longer is
    /// in the way of its group.
    pub slow_after: Duration,
    /// When to give up. Default 5 s: the longest stalls of cloud disks that end by themselves.
    pub stalled_after: Duration,
    /// For how long no write or sync may be slow before the disk is fine again. Default 5 s, so that leaderships do not come
    /// and go with each sync of a disk that is slow on and off.
    pub fine_after: Duration,
}

/// The defaults; reasons are at the fields.
pub const WATCHDOG_DEFAULTS: WatchdogConfig = WatchdogConfig {
    tick: Duration::from_millis(50),
    late_max: Duration::from_millis(100),
    slow_after: Duration::from_millis(250),
    stalled_after: Duration::from_secs(5),
    fine_after: Duration::from_secs(5),
};

/// How the disk does. Times are those of the owner's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It answers in time.
    Fine,
    /// It does not, or did not a moment ago: the node should lead nothing.
    Slow {
        /// Since when.
        since: Duration,
    },
    /// It does not answer any more: the process should end. Final.
    Stalled {
        /// Since when.
        since: Duration,
    },
}

/// A judge of one disk.
#[derive(Clone, Debug)]
pub struct Watchdog {
    config: WatchdogConfig,
    verdict: Verdict,
    last: Option<Seen>,
    /// How long the present write or sync takes, in time that counts.
    busy: Duration,
    /// When something was last slow.
    slow_at: Duration,
}

/// What the last tick saw.
#[derive(Clone, Copy, Debug)]
struct Seen {
    now: Duration,
    busy: Duration,
}

// === impl Watchdog ===

impl Watchdog {
    /// Begins to judge; the disk is fine.
    #[must_use]
    pub const fn new(config: WatchdogConfig) -> Self {
        Self { config, verdict: Verdict::Fine, last: None, busy: Duration::ZERO, slow_at: Duration::ZERO }
    }

    /// Judges. `now` is a clock that does not go back, such as the time since the process began, and `disk_busy` what the
    /// log says at that time.
    pub fn tick(&mut self, now: Duration, disk_busy: Duration) -> Verdict {
        let passed = self.last.map_or(Duration::ZERO, |last| now.saturating_sub(last.now));
        let was_stopped = passed > self.config.tick + self.config.late_max;
        // Another one than at the last tick began after it.
        let is_same = self.last.is_some_and(|last| last.busy > Duration::ZERO && disk_busy >= last.busy.max(passed));
        let counted = if was_stopped { Duration::ZERO } else { disk_busy.min(passed) };
        self.busy = if is_same { self.busy + counted } else { counted };
        self.last = Some(Seen { now, busy: disk_busy });
        self.verdict = self.judge(now, if was_stopped { passed } else { Duration::ZERO });
        self.verdict
    }

    fn judge(&mut self, now: Duration, stopped: Duration) -> Verdict {
        // Time in which nothing ran does not make a disk fine either.
        self.slow_at += stopped;
        let since = now.saturating_sub(self.busy);
        if let Verdict::Stalled { .. } = self.verdict {
            return self.verdict;
        }
        if self.busy >= self.config.stalled_after {
            return Verdict::Stalled { since };
        }
        if self.busy >= self.config.slow_after {
            self.slow_at = now;
            return match self.verdict {
                Verdict::Slow { .. } => self.verdict,
                Verdict::Fine | Verdict::Stalled { .. } => Verdict::Slow { since },
            };
        }
        if now.saturating_sub(self.slow_at) >= self.config.fine_after { Verdict::Fine } else { self.verdict }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Ticks each 50 ms from `from` to `to`, while the disk is busy since a time, or not.
    fn ticks(dog: &mut Watchdog, from: u64, to: u64, busy_since: Option<u64>) -> Verdict {
        let busy = |now: u64| busy_since.map_or(Duration::ZERO, |since| ms(now.saturating_sub(since)));
        let last = (from..=to).step_by(50).map(|now| dog.tick(ms(now), busy(now))).last();
        last.expect("there is one tick at least")
    }

    fn dog() -> Watchdog {
        Watchdog::new(WATCHDOG_DEFAULTS)
    }

    #[test]
    fn a_disk_is_slow_after_a_quarter_of_a_second_and_stalled_after_five() {
        for (until, expected) in [
            (1_000, Verdict::Fine),
            (1_200, Verdict::Fine),
            (1_250, Verdict::Slow { since: ms(1_000) }),
            (5_950, Verdict::Slow { since: ms(1_000) }),
            (6_000, Verdict::Stalled { since: ms(1_000) }),
            (9_000, Verdict::Stalled { since: ms(1_000) }),
        ] {
            let mut dog = dog();
            ticks(&mut dog, 0, 1_000, None);
            assert_eq!(ticks(&mut dog, 1_000, until, Some(1_000)), expected, "until {until}");
        }
    }

    #[test]
    fn many_short_syncs_are_not_one_long_one() {
        for busy in [1, 25, 40, 49] {
            let mut dog = dog();
            for now in (0..20_000).step_by(50) {
                // Each tick sees another sync, which began after the last tick.
                assert_eq!(dog.tick(ms(now), ms(busy)), Verdict::Fine, "{busy} at {now}");
            }
        }
    }

    #[test]
    fn a_slow_disk_is_fine_once_nothing_was_slow_for_five_seconds() {
        let mut dog = dog();
        let slow = Verdict::Slow { since: ms(0) };
        assert_eq!(ticks(&mut dog, 0, 1_000, Some(0)), slow);
        assert_eq!(ticks(&mut dog, 1_050, 5_500, None), slow);
        // Once more, which puts it off.
        assert_eq!(ticks(&mut dog, 5_550, 5_850, Some(5_550)), slow);
        assert_eq!(ticks(&mut dog, 5_900, 10_800, None), slow);
        assert_eq!(ticks(&mut dog, 10_850, 10_850, None), Verdict::Fine);
    }

    #[test]
    fn what_is_stalled_stays_so() {
        let mut dog = dog();
        let stalled = Verdict::Stalled { since: ms(0) };
        assert_eq!(ticks(&mut dog, 0, 5_000, Some(0)), stalled);
        assert_eq!(ticks(&mut dog, 5_050, 60_000, None), stalled);
    }

    /// A process that was stopped for an hour, or a machine that was, finds a sync that took an hour.
    #[test]
    fn time_in_which_the_process_did_not_run_does_not_count() {
        for (stopped_at, before) in [(1_000, 0), (1_000, 1_000 - 200)] {
            let mut dog = dog();
            ticks(&mut dog, 0, before, None);
            ticks(&mut dog, before, stopped_at, Some(before));
            let back = stopped_at + 3_600_000;
            let slow = before == 0;
            let verdict = ticks(&mut dog, back, back, Some(before));
            assert_eq!(matches!(verdict, Verdict::Slow { .. }), slow, "{verdict:?}");
            // The sync ends as soon as it may.
            let verdict = ticks(&mut dog, back + 50, back + 100, None);
            assert_eq!(matches!(verdict, Verdict::Slow { .. }), slow, "{verdict:?}");
        }
    }

    #[test]
    fn a_disk_that_is_still_stalled_after_the_process_was_stopped_is_found_out() {
        let mut dog = dog();
        ticks(&mut dog, 0, 2_000, Some(0));
        // Two seconds before, three after it.
        let verdict = ticks(&mut dog, 100_000, 102_950, Some(0));
        assert!(matches!(verdict, Verdict::Slow { .. }), "{verdict:?}");
        let verdict = ticks(&mut dog, 103_000, 103_000, Some(0));
        assert_eq!(verdict, Verdict::Stalled { since: ms(98_000) });
    }

    #[test]
    fn ticks_that_are_a_little_late_count() {
        let mut dog = dog();
        for now in (0..5_000).step_by(140) {
            dog.tick(ms(now), ms(now));
        }
        assert!(matches!(dog.tick(ms(5_040), ms(5_040)), Verdict::Stalled { .. }));
    }
}
