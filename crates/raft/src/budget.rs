//! How many bytes of proposals may be under way: what is over is refused before consensus hears of it.
//!
//! A queue that grows without an end is a delay without an end. A proposer that is refused is told when to come again, by
//! how long what is under way takes at the latest pace. Pure: times are arguments.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::types::Types;

/// The shortest time after which a refused proposer should come again: about what a few commits take.
const RETRY_AFTER_MIN: Duration = Duration::from_millis(20);

/// The longest.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(5);

/// Answers a proposer, and holds its share as long as consensus has the command, whoever still waits for it.
#[derive(Debug)]
pub struct Responder<T> {
    answer: oneshot::Sender<T>,
    _share: Share,
}

/// Bytes that may be under way.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    shared: Arc<Shared>,
}

/// A part of the budget, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    shared: Arc<Shared>,
    bytes: usize,
}

#[derive(Debug)]
struct Shared {
    bytes_max: usize,
    bytes: AtomicUsize,
    refused: AtomicU64,
    /// How long the latest commit took, in microseconds.
    commit_micros: AtomicU64,
}

// === impl Budget ===

impl Budget {
    pub(crate) fn new(bytes_max: usize) -> Self {
        let shared = Shared {
            bytes_max,
            bytes: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            commit_micros: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Takes a part, or says how long to wait.
    pub(crate) fn take(&self, bytes: usize) -> Result<Share, Duration> {
        let fits = |taken: usize| taken.checked_add(bytes).filter(|sum| *sum <= self.shared.bytes_max);
        match self.shared.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
            Ok(_) => Ok(Share { shared: Arc::clone(&self.shared), bytes }),
            Err(_) => {
                self.shared.refused.fetch_add(1, Ordering::Relaxed);
                Err(self.retry_after())
            }
        }
    }

    /// Tells how long a commit took, from the proposal to the answer.
    pub(crate) fn committed_in(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.shared.commit_micros.store(micros, Ordering::Relaxed);
    }

    /// Bytes that are under way.
    pub(crate) fn bytes(&self) -> usize {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// Proposals that were refused since the start.
    pub(crate) fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }

    /// Everything under way is committed in about the time of one commit, so twice that is a good time to come again.
    fn retry_after(&self) -> Duration {
        let latest = Duration::from_micros(self.shared.commit_micros.load(Ordering::Relaxed));
        latest.saturating_mul(2).clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX)
    }
}

// === impl Responder ===

impl<T> Responder<T> {
    pub(crate) fn new(share: Share) -> (Self, oneshot::Receiver<T>) {
        let (answer, answered) = oneshot::channel();
        (Self { answer, _share: share }, answered)
    }
}

impl<T: Send + 'static> openraft::raft::responder::Responder<Types, T> for Responder<T> {
    fn on_complete(self, result: T) {
        // A proposer that has gone does not mind.
        let _ = self.answer.send(result);
    }
}

// === impl Share ===

impl Drop for Share {
    fn drop(&mut self) {
        self.shared.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_over_is_refused_until_something_is_given_back() {
        let budget = Budget::new(100);
        let share = budget.take(60).expect("it fits");

        assert_eq!(budget.take(41).unwrap_err(), RETRY_AFTER_MIN);
        assert!(budget.take(40).is_ok());
        drop(share);
        assert!(budget.take(100).is_ok());
        assert_eq!((budget.bytes(), budget.refused()), (0, 1));
    }

    #[test]
    fn who_is_refused_comes_again_after_two_commits() {
        let budget = Budget::new(0);
        for (took, after) in [(0, RETRY_AFTER_MIN), (50, Duration::from_millis(100)), (60_000, RETRY_AFTER_MAX)] {
            budget.committed_in(Duration::from_millis(took));
            assert_eq!(budget.take(1).unwrap_err(), after);
        }
    }

    proptest! {
        #[test]
        fn never_more_is_under_way_than_allowed(takes in prop::collection::vec((0..200_usize, any::<bool>()), 0..50)) {
            let budget = Budget::new(500);
            let mut shares = Vec::new();
            let mut sum = 0;
            for (bytes, gives_back) in takes {
                if gives_back && let Some((share, bytes)) = shares.pop() {
                    sum -= bytes;
                    drop::<Share>(share);
                }
                match budget.take(bytes) {
                    Ok(share) => {
                        sum += bytes;
                        shares.push((share, bytes));
                    }
                    Err(_) => prop_assert!(sum + bytes > 500),
                }
                prop_assert!(sum <= 500);
                prop_assert_eq!(budget.bytes(), sum);
            }
        }
    }
}
