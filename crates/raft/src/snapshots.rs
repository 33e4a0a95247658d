//! When a group is snapshotted: when enough was applied since the last time, or long enough ago.
//!
//! A snapshot bounds what a restart has to apply again, and lets the log be purged. Both marks are lower by up to a quarter
//! for each group, another one each time, so that the groups of a node do not all write theirs at once; at most two do.
//! openraft's own policy counts entries, whatever they weigh. Pure but for the loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::group::Group;
use crate::machine::{Applied, Frozen, Machine, RestoreError};
use crate::types::{COMMAND_BYTES_MAX, ENTRY_BYTES_MAX};

/// When groups are snapshotted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotMarks {
    /// Bytes of applied commands.
    pub bytes: u64,
    /// Time since the last one, if anything was applied.
    pub age: Duration,
    /// Entries that stay behind the latest snapshot, so that a replica that was away for a moment needs no snapshot. They stay
    /// in the log whatever they weigh: 256 MiB for each thousand at most.
    pub entries_kept: u64,
}

/// The default: a restart applies 64 MiB in about a second, and a group of few writes is bounded too.
pub const SNAPSHOT_MARKS: SnapshotMarks =
    SnapshotMarks { bytes: 64 << 20, age: Duration::from_secs(300), entries_kept: 1_000 };

/// Snapshots that a node makes at once.
const AT_ONCE_MAX: usize = 2;

/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// A machine whose commands are weighed.
pub(crate) struct Weighed {
    pub(crate) machine: Box<dyn Machine>,
    pub(crate) bytes: Arc<AtomicU64>,
}

/// What was applied to a group since its last snapshot.
pub(crate) struct Since {
    weighed: Arc<AtomicU64>,
    /// What was weighed up to the last snapshot.
    counted: u64,
    last: Instant,
    /// How often it was due: another jitter each time.
    round: u64,
}

// === impl Weighed ===

impl Machine for Weighed {
    fn apply(&mut self, context: &Applied, command: &[u8]) -> Bytes {
        let bytes = command.len() + ENTRY_BYTES_MAX - COMMAND_BYTES_MAX;
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.machine.apply(context, command)
    }

    fn freeze(&self) -> Box<dyn Frozen> {
        self.machine.freeze()
    }

    fn restore(&mut self, from: &mut dyn std::io::Read) -> Result<(), RestoreError> {
        self.machine.restore(from)
    }
}

// === impl Since ===

impl Since {
    pub(crate) fn new(weighed: Arc<AtomicU64>, now: Instant) -> Self {
        Self { weighed, counted: 0, last: now, round: 0 }
    }

    /// Whether a snapshot is due; if so, counting begins anew.
    pub(crate) fn is_due(&mut self, marks: SnapshotMarks, group: u32, now: Instant) -> bool {
        let weighed = self.weighed.load(Ordering::Relaxed);
        let bytes = weighed - self.counted;
        let jitter = jitter(group, self.round);
        let is_due = bytes >= lower(marks.bytes, jitter)
            || (bytes > 0 && now.duration_since(self.last) >= marks.age.mul_f64(1.0 - f64::from(jitter) / 1024.0));
        if is_due {
            self.counted = weighed;
            self.last = now;
            self.round += 1;
        }
        is_due
    }
}

/// Looks after the snapshots of one group until it is closed.
pub(crate) async fn look_after(group: Group, weighed: Arc<AtomicU64>, marks: SnapshotMarks, places: Arc<Semaphore>) {
    let mut since = Since::new(weighed, Instant::now());
    let mut role = group.role();
    loop {
        let closed = async { role.wait_for(|role| *role == crate::Role::Stopped).await };
        if tokio::time::timeout(LOOK, closed).await.is_ok() {
            return;
        }
        if !since.is_due(marks, group.id().0, Instant::now()) {
            continue;
        }
        // The places are never closed.
        let Ok(place) = places.acquire().await else { return };
        if let Err(error) = group.snapshot().await {
            tracing::debug!(group = %group.id(), %error, "no snapshot");
        }
        drop(place);
    }
}

/// Places for the snapshots of a node.
pub(crate) fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(AT_ONCE_MAX))
}

/// 0 to 255 of 1024: the same for a group and round, and different for others.
fn jitter(group: u32, round: u64) -> u32 {
    // The constant of Fibonacci hashing (Knuth, TAOCP 6.4) spreads consecutive numbers.
    let mixed = (u64::from(group) << 32 | round & 0xffff_ffff).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    u32::try_from(mixed >> 56).expect("it has 8 bits")
}

fn lower(mark: u64, jitter: u32) -> u64 {
    mark - mark / 1024 * u64::from(jitter)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKS: SnapshotMarks = SnapshotMarks { bytes: 1 << 20, age: Duration::from_secs(100), entries_kept: 0 };

    fn since(begin: Instant) -> (Arc<AtomicU64>, Since) {
        let weighed = Arc::new(AtomicU64::new(0));
        (Arc::clone(&weighed), Since::new(weighed, begin))
    }

    #[test]
    fn a_group_is_snapshotted_by_what_was_applied_since_the_last_time() {
        let begin = Instant::now();
        let (weighed, mut since) = since(begin);

        weighed.store(700 << 10, Ordering::Relaxed);
        assert!(!since.is_due(MARKS, 1, begin), "three quarters are not reached");
        weighed.store(1 << 20, Ordering::Relaxed);
        assert!(since.is_due(MARKS, 1, begin));
        assert!(!since.is_due(MARKS, 1, begin), "counting began anew");
    }

    #[test]
    fn a_group_to_which_anything_was_applied_is_snapshotted_by_age_and_an_idle_one_is_not() {
        let begin = Instant::now();
        let (weighed, mut since) = since(begin);
        let later = begin + MARKS.age;

        assert!(!since.is_due(MARKS, 1, later), "nothing was applied");
        weighed.store(1, Ordering::Relaxed);
        assert!(since.is_due(MARKS, 1, later));
        weighed.store(2, Ordering::Relaxed);
        assert!(!since.is_due(MARKS, 1, later + MARKS.age / 2));
    }

    #[test]
    fn groups_have_different_marks_within_a_quarter() {
        let marks: std::collections::BTreeSet<u64> = (0..33).map(|group| lower(1 << 20, jitter(group, 0))).collect();

        assert!(marks.len() > 20, "{marks:?}");
        assert!(marks.iter().all(|mark| (3 << 18..=1 << 20).contains(mark)), "{marks:?}");
    }
}
