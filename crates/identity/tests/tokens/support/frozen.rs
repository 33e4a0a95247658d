//! A clock that stands still while sockets are waited for.
//!
//! Paused time of tokio runs on by itself when every task waits, and a wait for a socket counts as one: time limits
//! would pass before an answer could come. A blocking task that is under way keeps it from that.

use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long a condition may take in real time before a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// The clock stands still as long as this lives.
pub(crate) struct Frozen {
    _end: mpsc::SyncSender<()>,
}

// === impl Frozen ===

impl Frozen {
    /// Stops the clock of the current runtime, which has one thread.
    pub(crate) fn new() -> Self {
        let (end, ended) = mpsc::sync_channel(0);
        tokio::task::spawn_blocking(move || ended.recv());
        tokio::time::pause();
        Self { _end: end }
    }

    /// Lets time pass, and everybody who waited for it run.
    pub(crate) async fn pass(&self, time: Duration) {
        // Timers are due at the millisecond after their time.
        tokio::time::advance(time + Duration::from_millis(1)).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
}

/// Waits for a condition in real time.
pub(crate) async fn until(what: &str, mut is_true: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_true() {
        assert!(started.elapsed() < PATIENCE, "never came: {what}");
        tokio::task::yield_now().await;
    }
}
