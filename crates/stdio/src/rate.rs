//! How many bytes of a child's output are read in a second.
//!
//! Bytes are counted in short windows: whoever has read a window's share waits for its end, so that the pipe fills and
//! the child is slowed down instead of cut off. What is read beyond a share counts in the windows that follow.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// The time for which bytes are counted.
const WINDOW: Duration = Duration::from_millis(100);

/// The rate of one stream.
#[derive(Debug)]
pub(crate) struct Rate {
    bytes_per_window: usize,
    began: Instant,
    bytes: usize,
}

// === impl Rate ===

impl Rate {
    pub(crate) fn new(bytes_per_second: u32) -> Self {
        let windows_per_second = 1_000 / WINDOW.as_millis() as u32;
        let bytes_per_window = (bytes_per_second / windows_per_second).max(1) as usize;
        Self { bytes_per_window, began: Instant::now(), bytes: 0 }
    }

    /// Waits until more may be read. Dropping the future loses nothing.
    pub(crate) async fn pause(&mut self) {
        while self.bytes >= self.bytes_per_window {
            sleep_until(self.began + WINDOW).await;
            self.pass(Instant::now());
        }
    }

    /// Counts bytes that were read.
    pub(crate) fn count(&mut self, bytes: usize) {
        if bytes > 0 {
            self.pass(Instant::now());
            self.bytes = self.bytes.saturating_add(bytes);
        }
    }

    /// Begins another window when the present one is over, less what was read too much before.
    fn pass(&mut self, now: Instant) {
        let windows = now.saturating_duration_since(self.began).as_millis() / WINDOW.as_millis();
        if windows > 0 {
            let share = self.bytes_per_window.saturating_mul(usize::try_from(windows).unwrap_or(usize::MAX));
            self.bytes = self.bytes.saturating_sub(share);
            self.began = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stream_is_read_at_its_rate_and_not_held_up_below_it() {
        let mut rate = Rate::new(1_000);
        let began = Instant::now();
        rate.count(99);
        rate.pause().await;
        assert_eq!(began.elapsed(), Duration::ZERO, "below the share of a window");

        rate.count(901);
        rate.pause().await;
        assert_eq!(began.elapsed(), Duration::from_secs(1), "what was too much counts in the windows that follow");

        tokio::time::sleep(Duration::from_secs(60)).await;
        let later = Instant::now();
        rate.count(99);
        rate.pause().await;
        assert_eq!(later.elapsed(), Duration::ZERO, "a pause saves nothing up and owes nothing");
    }
}
