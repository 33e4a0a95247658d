//! The handle of a log: submits changes and reads what the log says.
//!
//! One lock is over what the log says, what is durable of it and what waits, so that the order of changes is that of the
//! queue. It is never held over the disk.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::block::{GroupId, Op, Slot};
use crate::config::Config;
use crate::disk::{File, read_exact_at};
use crate::durable::{Durable, Place};
use crate::error::{Failed, ReadError, SubmitError};
use crate::logical::{Group, Logical};
use crate::queue::Queue;
use crate::segment;
use crate::space::{Gauge, Space};

/// Called once: when everything that was submitted with it is durable, or when it is not known to become so.
///
/// Calls come from the thread that writes: an implementation must not block.
pub type Done = Box<dyn FnOnce(Result<(), Failed>) + Send>;

/// A log; cheap to clone.
#[derive(Clone)]
pub struct Wal {
    pub(crate) shared: Arc<Shared>,
}

/// What a group's log says, apart from its entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupState {
    /// The index of the first entry.
    pub first: u64,
    /// The index behind the last entry.
    pub next: u64,
    /// What was said of the last entry that was purged; none if none was.
    pub purged: Option<Bytes>,
    /// The values of its slots.
    pub slots: BTreeMap<Slot, Bytes>,
}

/// How a log is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// Segments on the disk.
    pub segments: usize,
    /// Bytes that they take.
    pub disk_bytes: u64,
    /// Bytes of them that a restart needs.
    pub live_bytes: u64,
    /// Bytes that wait to be written.
    pub queued_bytes: usize,
    /// Bytes of entries in memory.
    pub cached_bytes: usize,
    /// Batches written and synced since the start.
    pub batches: u64,
    /// Records written since the start.
    pub records: u64,
    /// Records among them that were written again, so that an old segment can go.
    pub moved: u64,
    /// How long the disk has been busy with one write or sync; zero when it is not.
    pub disk_busy: Duration,
    /// How scarce space is.
    pub space: Space,
    /// Bytes that the file system has free, as of the last time it was asked; none when it does not say.
    pub free_bytes: Option<u64>,
    /// Segments beside [`Self::segments`] that are ready to be used.
    pub spare_segments: usize,
    /// Why the log takes nothing more.
    pub failed: Option<Failed>,
}

/// What the handles and the writer share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    inner: Mutex<Inner>,
    /// Something waits, or the log is to end.
    pub(crate) changed: Condvar,
    pub(crate) counters: Counters,
    began: Instant,
    /// Microseconds from `began` to when the disk was given something; 0 while it has nothing.
    busy_since: AtomicU64,
}

/// What changes together.
pub(crate) struct Inner {
    pub(crate) logical: Logical,
    pub(crate) durable: Durable,
    pub(crate) files: BTreeMap<u64, Arc<dyn File>>,
    pub(crate) queue: Queue,
    pub(crate) gauge: Gauge,
    pub(crate) ended: Option<Failed>,
    pub(crate) closing: bool,
}

/// Counts since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) batches: AtomicU64,
    pub(crate) records: AtomicU64,
    pub(crate) moved: AtomicU64,
}

/// Bytes of a record's checksum, right before its payload.
const CRC_BYTES: usize = 4;

/// Where an entry comes from.
enum Source {
    Memory(Bytes),
    Disk(Place, Arc<dyn File>),
}

// === impl Wal ===

impl Wal {
    /// Makes changes of one group's log, in this order. They count at once; `done` is called when all of them are durable.
    /// They become so together if they fit one batch, else one batch after the other.
    ///
    /// # Errors
    /// [`SubmitError`] says what cannot be; nothing of it was taken, and `done` is not called.
    pub fn submit(&self, group: GroupId, ops: Vec<Op>, done: Option<Done>) -> Result<(), SubmitError> {
        let has_entries = ops.iter().any(|op| matches!(op, Op::Append { .. }));
        self.take(group, ops, done, has_entries)
    }

    /// As [`Self::submit`], for entries that were admitted before ([`Self::admits`]) and cannot be refused any more, as by a
    /// replica that has told others of them: they find what votes find. Who submits so bounds how many bytes are under way.
    ///
    /// # Errors
    /// As [`Self::submit`], but never [`SubmitError::DiskFull`].
    pub fn submit_admitted(&self, group: GroupId, ops: Vec<Op>, done: Option<Done>) -> Result<(), SubmitError> {
        self.take(group, ops, done, false)
    }

    fn take(&self, group: GroupId, ops: Vec<Op>, done: Option<Done>, has_entries: bool) -> Result<(), SubmitError> {
        let config = &self.shared.config;
        let mut inner = self.shared.lock();
        inner.admit(group, has_entries, config)?;
        inner.logical.check(group, &ops, config.payload_bytes_max as usize)?;
        let records = ops.into_iter().map(|op| inner.logical.apply(group, op)).collect();
        inner.queue.push(records, done, config.batch_bytes_max as usize);
        drop(inner);
        self.shared.changed.notify_one();
        Ok(())
    }

    /// Tells whether new entries of a group would be taken now, as far as it depends on the log: what to ask before work
    /// is begun that ends in an entry.
    ///
    /// # Errors
    /// [`SubmitError::DiskFull`] and [`SubmitError::QueueFull`] pass by themselves, [`SubmitError::Failed`] does not.
    pub fn admits(&self, group: GroupId) -> Result<(), SubmitError> {
        self.shared.lock().admit(group, true, &self.shared.config)
    }

    /// Tells whether an entry can be read without the disk.
    #[must_use]
    pub fn is_in_memory(&self, group: GroupId, index: u64) -> bool {
        let inner = self.shared.lock();
        inner.logical.group(group).and_then(|found| found.payload(index)).flatten().is_some()
    }

    /// Returns what a group's log says; nothing of one that has none.
    #[must_use]
    pub fn group(&self, group: GroupId) -> GroupState {
        let inner = self.shared.lock();
        inner.logical.group(group).map(GroupState::of).unwrap_or_default()
    }

    /// Returns all groups that have a log.
    #[must_use]
    pub fn groups(&self) -> Vec<GroupId> {
        self.shared.lock().logical.groups().collect()
    }

    /// Reads entries, the first in any case and then as many as fit into `bytes_max`.
    ///
    /// # Errors
    /// [`ReadError::Outside`] when the log does not have all of them, [`ReadError::Corrupt`] when one is not what was
    /// written.
    pub fn read(&self, group: GroupId, range: Range<u64>, bytes_max: usize) -> Result<Vec<Bytes>, ReadError> {
        let mut bytes_left = bytes_max;
        let sources = self.sources(group, &range, &mut bytes_left)?;
        let entries = (range.start..).zip(sources).map(|(index, source)| match source {
            Source::Memory(payload) => Ok(payload),
            Source::Disk(place, file) => payload_at(&*file, place, group, index),
        });
        entries.collect()
    }

    /// Tells how the log is doing.
    #[must_use]
    pub fn observe(&self) -> Observation {
        let shared = &self.shared;
        let inner = shared.lock();
        Observation {
            segments: inner.files.len(),
            disk_bytes: inner.files.len() as u64 * u64::from(shared.config.segment_bytes),
            live_bytes: inner.durable.live(),
            queued_bytes: inner.queue.bytes(),
            cached_bytes: inner.logical.cached_bytes(),
            batches: shared.counters.batches.load(Ordering::Relaxed),
            records: shared.counters.records.load(Ordering::Relaxed),
            moved: shared.counters.moved.load(Ordering::Relaxed),
            disk_busy: shared.disk_busy(),
            space: inner.gauge.space,
            free_bytes: inner.gauge.free,
            spare_segments: inner.gauge.spares,
            failed: inner.ended.clone(),
        }
    }

    /// Tells how long the disk has been busy with one write or sync: what a watchdog asks.
    #[must_use]
    pub fn disk_busy(&self) -> Duration {
        self.shared.disk_busy()
    }

    /// Takes nothing more; the writer ends once everything that waits is durable.
    pub fn close(&self) {
        self.shared.lock().closing = true;
        self.shared.changed.notify_all();
    }

    fn sources(&self, group: GroupId, range: &Range<u64>, bytes_left: &mut usize) -> Result<Vec<Source>, ReadError> {
        let inner = self.shared.lock();
        let (first, next) = inner.logical.group(group).map_or((0, 0), |found| (found.first, found.next()));
        if range.start < first || range.end > next || range.start > range.end {
            return Err(ReadError::Outside { group, from: range.start, to: range.end, first, next });
        }
        let mut sources = Vec::new();
        for index in range.clone() {
            let payload = inner.logical.group(group).and_then(|found| found.payload(index)).expect("it is in range");
            let (source, bytes) = match payload {
                Some(payload) => (Source::Memory(payload.clone()), payload.len()),
                None => {
                    let place = inner.durable.entry(group, index).expect("what is not in memory is durable");
                    let file = inner.files.get(&place.segment).expect("a segment in which something lives is open");
                    (Source::Disk(place, Arc::clone(file)), place.bytes as usize)
                }
            };
            if bytes > *bytes_left && !sources.is_empty() {
                break;
            }
            *bytes_left = bytes_left.saturating_sub(bytes);
            sources.push(source);
        }
        Ok(sources)
    }
}

// === impl GroupState ===

impl GroupState {
    pub(crate) fn of(group: &Group) -> Self {
        Self {
            first: group.first,
            next: group.next(),
            purged: group.purged.as_ref().map(|(_, note)| note.clone()),
            slots: group.slots.iter().map(|(slot, (_, value))| (*slot, value.clone())).collect(),
        }
    }
}

// === impl Inner ===

impl Inner {
    /// Tells whether something is taken.
    fn admit(&self, group: GroupId, has_entries: bool, config: &Config) -> Result<(), SubmitError> {
        if let Some(failed) = &self.ended {
            return Err(failed.clone().into());
        }
        if self.closing {
            return Err(Failed { reason: "it was closed".to_owned() }.into());
        }
        let Gauge { space, free, .. } = self.gauge;
        if has_entries && !space.takes(group, config) {
            return Err(SubmitError::DiskFull { group, space, free });
        }
        // Votes and the like are small, and a group is silent without them: they wait behind more than entries do.
        let queue_max = config.queue_bytes_max * if has_entries { 1 } else { 2 };
        if self.queue.bytes() > queue_max {
            return Err(SubmitError::QueueFull { bytes: self.queue.bytes(), max: queue_max });
        }
        Ok(())
    }
}

// === impl Shared ===

impl Shared {
    pub(crate) fn new(config: Config, inner: Inner) -> Self {
        Self {
            config,
            inner: Mutex::new(inner),
            changed: Condvar::new(),
            counters: Counters::default(),
            began: Instant::now(),
            busy_since: AtomicU64::new(0),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics halfway through a change, and a log that stops answering would be worse.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the disk something to do, which a watchdog sees.
    pub(crate) fn on_disk<T>(&self, work: impl FnOnce() -> T) -> T {
        self.busy_since.store(self.micros().max(1), Ordering::Relaxed);
        let result = work();
        self.busy_since.store(0, Ordering::Relaxed);
        result
    }

    fn disk_busy(&self) -> Duration {
        match self.busy_since.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => Duration::from_micros(self.micros().saturating_sub(since)),
        }
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// Reads one payload and checks that it is what was written.
pub(crate) fn payload_at(file: &dyn File, place: Place, group: GroupId, index: u64) -> Result<Bytes, ReadError> {
    let name = || segment::name(place.segment);
    let offset = u64::from(place.offset);
    // Its checksum stands before it.
    let mut bytes = vec![0; CRC_BYTES + place.bytes as usize];
    read_exact_at(file, &mut bytes, offset - CRC_BYTES as u64)
        .map_err(|source| ReadError::Disk { file: name(), source })?;
    if crc32fast::hash(&bytes[CRC_BYTES..]).to_le_bytes() != bytes[..CRC_BYTES] {
        return Err(ReadError::Corrupt { file: name(), offset, group, index });
    }
    Ok(Bytes::from(bytes).slice(CRC_BYTES..))
}
