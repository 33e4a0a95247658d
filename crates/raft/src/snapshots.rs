//! When a group is snapshotted: when enough was applied since the last time, or long enough ago.
//!
//! A snapshot bounds what a restart has to apply again, and lets the log be purged. Both marks are lower by up to a quarter
//! for each group, another one each time, so that the groups of a node do not all write theirs at once; at most two do.
//! openraft's own policy counts entries, whatever they weigh. Pure but for the loop.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::group::Group;
use crate::machine::{Applied, Frozen, Machine, RestoreError};
use crate::snapshot::Store;
use crate::types::{COMMAND_BYTES_MAX, ENTRY_BYTES_MAX};

/// When groups are snapshotted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotMarks {
    /// Bytes of applied commands; more where the last snapshot has more, so that no more is written for snapshots than for the log.
    pub bytes: u64,
    /// Time since the last one, if anything was applied.
    pub age: Duration,
    /// Entries that stay behind the latest snapshot, so that a replica that was away for a moment needs no snapshot.
    pub entries_kept: u64,
    /// Bytes of commands beyond which fewer entries stay.
    pub bytes_kept: u64,
}

/// The default: a node applies some 64 MiB a second when it starts, all of its groups one beside the other, and a group of few writes
/// is bounded too. What stays is 256 KiB for groups of small commands, and half a gigabyte of a node's disk for 33 groups of large
/// ones.
pub const SNAPSHOT_MARKS: SnapshotMarks =
    SnapshotMarks { bytes: 8 << 20, age: Duration::from_secs(300), entries_kept: 1_000, bytes_kept: 16 << 20 };

/// Places in the log that are noted for each [`SnapshotMarks::bytes_kept`]: so exact is what stays.
const STEPS: u64 = 16;

/// Snapshots that a node makes at once.
const AT_ONCE_MAX: usize = 2;

/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// A machine whose commands are weighed.
pub(crate) struct Weighed {
    pub(crate) machine: Box<dyn Machine>,
    pub(crate) bytes: Arc<AtomicU64>,
    pub(crate) weights: Arc<Weights>,
}

/// How much was applied up to some of the latest entries.
#[derive(Debug)]
pub(crate) struct Weights {
    bytes_kept: u64,
    /// Indexes with the bytes up to them, in ascending order.
    steps: Mutex<VecDeque<(u64, u64)>>,
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
        let bytes = (command.len() + ENTRY_BYTES_MAX - COMMAND_BYTES_MAX) as u64;
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.weights.note(context.index, before, before + bytes);
        self.machine.apply(context, command)
    }

    fn freeze(&self) -> Box<dyn Frozen> {
        self.machine.freeze()
    }

    fn restore(&mut self, from: &mut dyn std::io::Read) -> Result<(), RestoreError> {
        self.machine.restore(from)
    }
}

// === impl Weights ===

impl Weights {
    pub(crate) fn new(bytes_kept: u64) -> Self {
        Self { bytes_kept, steps: Mutex::default() }
    }

    /// Notes an entry when it ends a step.
    fn note(&self, index: u64, before: u64, after: u64) {
        let step = (self.bytes_kept / STEPS).max(1);
        if before / step != after / step {
            let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
            steps.push_back((index, after));
            // The one before the front is enough to keep less than is allowed.
            while steps.get(1).is_some_and(|(_, weight)| after - weight >= self.bytes_kept) {
                steps.pop_front();
            }
        }
    }

    /// The last entry that need not stay: behind it are as many bytes as shall be kept. None when there are not so many.
    pub(crate) fn droppable(&self) -> Option<u64> {
        let steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, latest) = steps.back()?;
        let is_droppable = |(_, weight): &&(u64, u64)| latest - weight >= self.bytes_kept;
        steps.iter().take_while(is_droppable).last().map(|(index, _)| *index)
    }
}

// === impl Since ===

impl Since {
    pub(crate) fn new(weighed: Arc<AtomicU64>, now: Instant) -> Self {
        Self { weighed, counted: 0, last: now, round: 0 }
    }

    /// Whether a snapshot is due, where the last one has so many bytes; if so, counting begins anew.
    pub(crate) fn is_due(&mut self, marks: SnapshotMarks, held: u64, group: u32, now: Instant) -> bool {
        let weighed = self.weighed.load(Ordering::Relaxed);
        let bytes = weighed - self.counted;
        let jitter = jitter(group, self.round);
        let is_due = bytes >= lower(marks.bytes.max(held), jitter)
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
pub(crate) async fn look_after(
    group: Group,
    store: Arc<Store>,
    weighed: Arc<AtomicU64>,
    marks: SnapshotMarks,
    places: Arc<Semaphore>,
) {
    let mut since = Since::new(weighed, Instant::now());
    let mut role = group.role();
    let mut comparing: Option<JoinHandle<()>> = None;
    loop {
        let closed = async { role.wait_for(|role| *role == crate::Role::Stopped).await };
        if tokio::time::timeout(LOOK, closed).await.is_ok() {
            return;
        }
        let held = store.current().map_or(0, |snapshot| snapshot.identity().bytes);
        if !since.is_due(marks, held, group.id().0, Instant::now()) {
            continue;
        }
        // The places are never closed.
        let Ok(place) = places.acquire().await else { return };
        if let Err(error) = group.snapshot().await {
            tracing::debug!(group = %group.id(), %error, "no snapshot");
        }
        drop(place);
        // Comparing waits for who is away, and the next snapshot does not wait for that.
        if comparing.as_ref().is_none_or(JoinHandle::is_finished) {
            let group = group.clone();
            comparing = Some(tokio::spawn(async move { group.compare().await }));
        }
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

    const MARKS: SnapshotMarks =
        SnapshotMarks { bytes: 1 << 20, age: Duration::from_secs(100), entries_kept: 0, bytes_kept: 1 << 20 };

    fn since(begin: Instant) -> (Arc<AtomicU64>, Since) {
        let weighed = Arc::new(AtomicU64::new(0));
        (Arc::clone(&weighed), Since::new(weighed, begin))
    }

    #[test]
    fn a_group_is_snapshotted_by_what_was_applied_since_the_last_time() {
        let begin = Instant::now();
        let (weighed, mut since) = since(begin);

        weighed.store(700 << 10, Ordering::Relaxed);
        assert!(!since.is_due(MARKS, 0, 1, begin), "three quarters are not reached");
        weighed.store(1 << 20, Ordering::Relaxed);
        assert!(since.is_due(MARKS, 0, 1, begin));
        assert!(!since.is_due(MARKS, 0, 1, begin), "counting began anew");
    }

    /// Groups of 64 MiB each had to be applied again by a node that was started anew, however small their states were: with eight of
    /// them it took ten seconds.
    #[test]
    fn a_group_is_snapshotted_as_often_as_its_state_is_small() {
        let begin = Instant::now();
        let (weighed, mut since) = since(begin);

        weighed.store(2 << 20, Ordering::Relaxed);
        assert!(!since.is_due(MARKS, 3 << 20, 1, begin), "writing the state costs more than applying the log again");
        assert!(since.is_due(MARKS, 2 << 20, 1, begin));
    }

    #[test]
    fn a_group_to_which_anything_was_applied_is_snapshotted_by_age_and_an_idle_one_is_not() {
        let begin = Instant::now();
        let (weighed, mut since) = since(begin);
        let later = begin + MARKS.age;

        assert!(!since.is_due(MARKS, 0, 1, later), "nothing was applied");
        weighed.store(1, Ordering::Relaxed);
        assert!(since.is_due(MARKS, 0, 1, later));
        weighed.store(2, Ordering::Relaxed);
        assert!(!since.is_due(MARKS, 0, 1, later + MARKS.age / 2));
    }

    #[test]
    fn what_stays_has_about_the_bytes_that_are_allowed_whatever_entries_weigh() {
        for (bytes, kept) in [(100, 1_600), (1_000, 1_600), (7, 1_000), (1, 16)] {
            let weights = Weights::new(kept);
            let mut weight = 0;
            for index in 0..1_000 {
                weights.note(index, weight, weight + bytes);
                weight += bytes;
            }

            let behind = (999 - weights.droppable().expect("there is more than stays")) * bytes;
            let step = kept / STEPS + bytes;
            assert!((kept..=kept + 2 * step).contains(&behind), "{behind} of {kept} stay, entries of {bytes}");
            assert!(weights.steps.lock().unwrap().len() as u64 <= STEPS + 2);
        }
        assert_eq!(Weights::new(10).droppable(), None);
    }

    #[test]
    fn groups_have_different_marks_within_a_quarter() {
        let marks: std::collections::BTreeSet<u64> = (0..33).map(|group| lower(1 << 20, jitter(group, 0))).collect();

        assert!(marks.len() > 20, "{marks:?}");
        assert!(marks.iter().all(|mark| (3 << 18..=1 << 20).contains(mark)), "{marks:?}");
    }
}
