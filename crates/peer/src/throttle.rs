//! Bounds log lines that strangers can cause, so that nobody fills a disk by knocking.
//!
//! As the throttle of `quorate-telemetry`, which this layer does not know; what is left out shows in
//! [`crate::Observation`], which counts everything.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines of one place in one second: enough to see what is wrong.
const LINES_PER_SECOND: u32 = 10;

/// Lets [`LINES_PER_SECOND`] lines of each second through.
#[derive(Debug, Default)]
pub(crate) struct Throttle(Mutex<Option<(Instant, u32)>>);

// === impl Throttle ===

impl Throttle {
    /// Tells whether a line may be written now, and counts it if so.
    pub(crate) fn admits(&self, now: Instant) -> bool {
        // No panic happens under this lock; a poisoned one would still hold consistent state.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, lines) = state.get_or_insert((now, 0));
        if now.duration_since(*since) >= Duration::from_secs(1) {
            (*since, *lines) = (now, 0);
        }
        *lines += 1;
        *lines <= LINES_PER_SECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_lines_of_a_second_are_let_through_and_no_more() {
        let throttle = Throttle::default();
        let begin = Instant::now();
        for second in [0, 1, 5] {
            let now = begin + Duration::from_secs(second);
            let admitted = (0..100).filter(|_| throttle.admits(now)).count();
            assert_eq!(admitted, LINES_PER_SECOND as usize, "second {second}");
        }
    }
}
