//! What the machine under the machine does meanwhile: time that it gave to others, and how late a timer came.
//!
//! Stolen time is what the kernel was ready to run and its host did not let it (`steal` in `/proc/stat`, proc_stat(5)): a node
//! that does not run answers nobody, which is not its fault. Lateness has other reasons too, and only explains.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::task::JoinHandle;

use super::node::now_us;

/// How often it is looked.
const LOOK: Duration = Duration::from_millis(50);
/// Milliseconds of a tick of `/proc/stat`: `USER_HZ` is 100 on every architecture that Rust has Linux for.
const TICK_MS: u64 = 10;
/// The place of `steal` behind the name: user, nice, system, idle, iowait, irq, softirq, steal.
const STEAL: usize = 7;

/// Looks until it is dropped.
pub(super) struct Watch {
    seen: Arc<Mutex<Seen>>,
    looking: JoinHandle<()>,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Microseconds since 1970, and the milliseconds that were stolen of all cores until then; only where it changed.
    stolen: Vec<(u64, u64)>,
    /// The latest look.
    pub(super) late_max: Duration,
}

// === impl Watch ===

impl Watch {
    /// Begins to look.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub(super) fn start() -> Result<Self> {
        let seen = Arc::new(Mutex::new(Seen { stolen: vec![(now_us(), stolen_ms()?)], late_max: Duration::ZERO }));
        let shared = Arc::clone(&seen);
        let looking = tokio::spawn(async move {
            loop {
                let slept = Instant::now();
                tokio::time::sleep(LOOK).await;
                let late = slept.elapsed().saturating_sub(LOOK);
                // It could be read at the start.
                let Ok(stolen) = stolen_ms() else { continue };
                shared.lock().unwrap_or_else(PoisonError::into_inner).note(now_us(), stolen, late);
            }
        });
        Ok(Self { seen, looking })
    }

    /// What was seen until now.
    pub(super) fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

// === impl Seen ===

impl Seen {
    fn note(&mut self, at_us: u64, stolen: u64, late: Duration) {
        self.late_max = self.late_max.max(late);
        if self.stolen.last().is_none_or(|(_, before)| *before != stolen) {
            self.stolen.push((at_us, stolen));
        }
    }

    /// Milliseconds that were stolen between two times, of all cores together, as far as it was looked.
    pub(super) fn stolen_between(&self, from_us: u64, to_us: u64) -> u64 {
        let until = |us: u64| {
            let before = self.stolen.iter().take_while(|(at, _)| *at <= us).last();
            before.or(self.stolen.first()).map_or(0, |(_, stolen)| *stolen)
        };
        until(to_us).saturating_sub(until(from_us))
    }

    /// Milliseconds that were stolen in all.
    pub(super) fn stolen_ms(&self) -> u64 {
        self.stolen_between(0, u64::MAX)
    }
}

fn stolen_ms() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/stat").context("/proc/stat")?;
    steal_of(&text).context("/proc/stat has no steal")
}

fn steal_of(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    Some(line.split_ascii_whitespace().nth(STEAL)?.parse::<u64>().ok()? * TICK_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stolen_time_is_read_in_milliseconds() {
        assert_eq!(steal_of("cpu  1 2 3 4 5 6 7 85 9 10\ncpu0 1 2 3 4 5 6 7 8 9 10\n"), Some(850));
        assert_eq!(steal_of("cpu0 1 2 3 4 5 6 7 8\n"), None);
        assert!(stolen_ms().is_ok());
    }

    #[test]
    fn what_was_stolen_between_two_times_is_told() {
        let mut seen = Seen::default();
        for (at, stolen) in [(1_000, 50), (2_000, 50), (3_000, 80), (4_000, 200)] {
            seen.note(at, stolen, Duration::from_millis(at));
        }

        assert_eq!(seen.stolen_between(1_500, 3_500), 30);
        assert_eq!(seen.stolen_between(0, 3_500), 30);
        assert_eq!((seen.stolen_between(3_500, 9_000), seen.stolen_ms()), (120, 150));
        assert_eq!(seen.late_max, Duration::from_secs(4));
    }
}
