//! When a peer is dialed again.
//!
//! Pure: entropy is an argument. After a stream that worked the first dials come at once, because what matters then is
//! whether the operating system refuses them: the process is gone. A process that is being killed may still have its
//! listener when its streams end, so there are three. Later ones wait longer and longer, up to a limit, with jitter.

use std::time::Duration;

/// The waits before the dials that follow the end of a stream.
const AT_ONCE: [Duration; 3] = [Duration::ZERO, Duration::from_millis(5), Duration::from_millis(20)];
/// A stream that lasted so long did work; a shorter one counts as a failure, so that a peer that closes each stream as it
/// opens is not dialed without pause.
const WORKED: Duration = Duration::from_millis(100);

/// How the dials to one peer went.
#[derive(Debug)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    /// Failures in a row.
    failures: u32,
    /// How many of [`AT_ONCE`] are left.
    at_once: usize,
}

// === impl Backoff ===

impl Backoff {
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, failures: 0, at_once: 0 }
    }

    /// Notes that a stream ended that lasted so long.
    pub(crate) fn ended(&mut self, lasted: Duration) {
        if lasted >= WORKED {
            self.failures = 0;
            self.at_once = AT_ONCE.len();
        } else if self.failures == 0 && self.at_once == 0 {
            // The first short one is followed up at once as well.
            self.failures = 1;
            self.at_once = AT_ONCE.len();
        }
    }

    /// Notes that the peer's address is another one, or that the peer is there.
    pub(crate) fn moved(&mut self) {
        self.failures = 0;
    }

    /// Returns how long to wait before the next dial: between half and all of a wait that doubles.
    pub(crate) fn next(&mut self, entropy: u32) -> Duration {
        if let Some(left) = self.at_once.checked_sub(1) {
            let wait = AT_ONCE[AT_ONCE.len() - self.at_once];
            self.at_once = left;
            return wait;
        }
        let full = self.min.saturating_mul(2_u32.saturating_pow(self.failures.saturating_sub(1))).min(self.max);
        self.failures = self.failures.saturating_add(1);
        full / 2 + (full / 2).mul_f64(f64::from(entropy) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(50);
    const MAX: Duration = Duration::from_secs(1);

    #[test]
    fn waits_double_up_to_the_limit_between_half_and_all() {
        for (entropy, half) in [(0, 2), (u32::MAX, 1)] {
            let mut backoff = Backoff::new(MIN, MAX);
            let waits: Vec<_> = (0..7).map(|_| backoff.next(entropy).as_millis() * half).collect();
            assert_eq!(waits, [50, 50, 100, 200, 400, 800, 1000].map(|ms| ms / half * half), "{entropy}");
        }
        let mut backoff = Backoff::new(MIN, MAX);
        assert!((0..100_000).all(|_| backoff.next(u32::MAX) <= MAX));
    }

    #[test]
    fn after_a_stream_that_worked_three_dials_come_at_once() {
        let mut backoff = Backoff::new(MIN, MAX);
        for _ in 0..10 {
            let _ = backoff.next(0);
        }
        backoff.ended(WORKED);

        let waits: Vec<_> = (0..4).map(|_| backoff.next(0).as_millis()).collect();
        assert_eq!(waits, [0, 5, 20, 25]);
    }

    #[test]
    fn streams_that_end_at_once_do_not_make_dials_without_pause() {
        let mut backoff = Backoff::new(MIN, MAX);
        let mut total = Duration::ZERO;
        for _ in 0..20 {
            backoff.ended(Duration::ZERO);
            total += backoff.next(0);
        }
        assert!(total > Duration::from_secs(5), "{total:?}");
    }
}
