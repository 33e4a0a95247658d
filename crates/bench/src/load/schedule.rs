//! The moments at which the requests of an open loop are meant to be sent.
//!
//! A thread of its own sleeps from moment to moment and hands each out when it has come: the
//! runtime's timer counts whole milliseconds, which is more than what is to be measured. A moment
//! that is handed out late keeps its time, and what is missed is made up for at once.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

/// So many requests at so many per second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    /// Requests per second.
    pub(super) rate: f64,
    /// Requests in all.
    pub(super) requests: u64,
}

// === impl Schedule ===

impl Schedule {
    /// Starts to hand out moments; ends with the last one, or when nobody takes them.
    pub(super) fn start(self, moments: mpsc::Sender<Instant>) {
        std::thread::spawn(move || self.run(&moments));
    }

    #[expect(clippy::disallowed_methods, reason = "no thread of a runtime: it has nothing to do but to wait")]
    fn run(self, moments: &mpsc::Sender<Instant>) {
        let begun = Instant::now();
        for number in 0..self.requests {
            let moment = begun + self.offset(number);
            std::thread::sleep(moment.saturating_duration_since(Instant::now()));
            if moments.blocking_send(moment).is_err() {
                return;
            }
        }
    }

    fn offset(self, number: u64) -> Duration {
        Duration::from_secs_f64(number as f64 / self.rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn moments_come_in_order_and_not_before_their_time() {
        let schedule = Schedule { rate: 2_000.0, requests: 40 };
        let (sender, mut receiver) = mpsc::channel(4);
        schedule.start(sender);

        let mut moments = Vec::new();
        while let Some(moment) = receiver.recv().await {
            assert!(Instant::now() >= moment);
            moments.push(moment);
        }

        assert_eq!(moments.len(), 40);
        for pair in moments.windows(2) {
            let apart = pair[1] - pair[0];
            assert!(apart.abs_diff(Duration::from_micros(500)) < Duration::from_micros(1), "{apart:?}");
        }
    }
}
