//! Bounds log lines that callers can cause, so that nobody fills a disk by what they ask.
//!
//! A line that one request makes is written through a [`Throttle`], of which each place that logs has one of its own: a
//! flood in one place hides nothing of another. What is left out shows in metrics, which count everything. Lines that are
//! bounded otherwise (once per start, per change of configuration, per back-off) need none.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Lines of one place in one second: enough to see what is wrong, and at 300 bytes a line at most 260 MB a day.
pub const LINES_PER_SECOND: u64 = 10;

/// What seconds are counted from: a wall clock could stand still.
static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Lets [`LINES_PER_SECOND`] lines of each second through.
#[derive(Debug, Default)]
pub struct Throttle {
    /// The second, and how many lines it has had: the upper and lower half.
    state: AtomicU64,
}

// === impl Throttle ===

impl Throttle {
    /// Makes one that has let nothing through.
    #[must_use]
    pub const fn new() -> Self {
        Self { state: AtomicU64::new(0) }
    }

    /// Tells whether a line may be written now, and counts it if so.
    #[must_use]
    pub fn admits(&self) -> bool {
        self.admits_in(BEGAN.elapsed().as_secs())
    }

    fn admits_in(&self, second: u64) -> bool {
        // 2^32 seconds are 136 years.
        let second = second & u64::from(u32::MAX);
        let before = self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |state| {
            let (of, lines) = (state >> 32, state & u64::from(u32::MAX));
            match (of == second, lines) {
                (true, LINES_PER_SECOND..) => None,
                (true, lines) => Some(second << 32 | (lines + 1)),
                (false, _) => Some(second << 32 | 1),
            }
        });
        before.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_lines_of_a_second_are_let_through_and_no_more() {
        let throttle = Throttle::new();
        for second in [0, 7, 8, 9] {
            let admitted = (0..100).filter(|_| throttle.admits_in(second)).count();
            assert_eq!(admitted as u64, LINES_PER_SECOND, "second {second}");
        }
    }

    #[test]
    fn threads_share_what_a_second_has() {
        let throttle = Throttle::new();
        let admitted: usize = std::thread::scope(|scope| {
            let one = || (0..1_000).filter(|_| throttle.admits_in(3)).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(one)).collect();
            threads.into_iter().map(|thread| thread.join().expect("it counts")).sum()
        });
        assert_eq!(admitted as u64, LINES_PER_SECOND);
    }
}
