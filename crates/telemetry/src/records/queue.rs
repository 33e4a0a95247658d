//! Records that wait to be sent, in batches as they are sent.
//!
//! Bounded: who finds [`RECORDS_MAX`] records, or [`BYTES_MAX`] bytes, goes away, and is counted. A batch is closed when it has so many records or bytes that more
//! would hold up the calls that share the core with its sending.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::wire::Writer;

/// The most records that wait to be sent: those of half a second of a node that is as busy as it can be with short answers.
pub(super) const RECORDS_MAX: u64 = 4_096;
/// The most bytes that wait. Records have 700 as a rule; names that callers choose make them longer.
const BYTES_MAX: usize = 16 * 1024 * 1024;
/// The records of a batch, unless time is up before.
const BATCH_RECORDS: u64 = 128;
/// The bytes with which a batch is closed as well; the last record of it may go over, and collectors take 4 MiB.
const BATCH_BYTES: usize = 256 * 1024;

/// Records that wait.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    batches: Mutex<Batches>,
    /// Rung when a batch is closed.
    pub(super) closed: Notify,
    full: AtomicU64,
    unsent: AtomicU64,
}

#[derive(Debug, Default)]
struct Batches {
    /// Those that are closed, the oldest first.
    closed: VecDeque<Batch>,
    open: Batch,
    records: u64,
    bytes: usize,
}

/// Records of one request.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) records: u64,
}

// === impl Queue ===

impl Queue {
    /// Whether there is room for one more, else counts that there was none.
    pub(super) fn has_room(&self) -> bool {
        let has_room = {
            let batches = self.lock();
            batches.records < RECORDS_MAX && batches.bytes < BYTES_MAX
        };
        if !has_room {
            self.full.fetch_add(1, Ordering::Relaxed);
        }
        has_room
    }

    /// Adds a record. Threads that saw the last place at once may be over the limit by one each.
    pub(super) fn push(&self, record: &Writer) {
        let is_closed = {
            let mut batches = self.lock();
            let before = batches.open.bytes.len();
            record.add_to(&mut batches.open.bytes);
            batches.open.records += 1;
            batches.records += 1;
            batches.bytes += batches.open.bytes.len() - before;
            let is_closed = batches.open.records >= BATCH_RECORDS || batches.open.bytes.len() >= BATCH_BYTES;
            if is_closed {
                batches.close();
            }
            is_closed
        };
        if is_closed {
            self.closed.notify_one();
        }
    }

    /// Closes the batch that is open, if it has anything.
    pub(super) fn close(&self) {
        let mut batches = self.lock();
        if batches.open.records > 0 {
            batches.close();
        }
    }

    /// How many records wait.
    pub(super) fn waiting(&self) -> u64 {
        self.lock().records
    }

    /// Takes the oldest batch that is closed.
    pub(super) fn take(&self) -> Option<Batch> {
        let mut batches = self.lock();
        let batch = batches.closed.pop_front()?;
        batches.records -= batch.records;
        batches.bytes -= batch.bytes.len();
        Some(batch)
    }

    /// Counts records that did not get to the collector.
    pub(super) fn lose(&self, records: u64) {
        self.unsent.fetch_add(records, Ordering::Relaxed);
    }

    /// Records that were dropped, by why.
    pub(crate) fn dropped(&self) -> [(&'static str, u64); 2] {
        [("queue", self.full.load(Ordering::Relaxed)), ("export", self.unsent.load(Ordering::Relaxed))]
    }

    fn lock(&self) -> MutexGuard<'_, Batches> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Batches ===

impl Batches {
    fn close(&mut self) {
        // The next one will have as many bytes, about.
        let next = Batch { bytes: Vec::with_capacity(self.open.bytes.len()), records: 0 };
        self.closed.push_back(std::mem::replace(&mut self.open, next));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Writer {
        let mut writer = Writer::new("an.event", 1, 64);
        writer.body("a model was called");
        writer
    }

    #[test]
    fn what_finds_the_queue_full_is_counted_and_does_not_wait() {
        let queue = Queue::default();
        for _ in 0..RECORDS_MAX {
            assert!(queue.has_room());
            queue.push(&record());
        }
        assert!(!queue.has_room() && !queue.has_room());

        assert_eq!(queue.dropped(), [("queue", 2), ("export", 0)]);
        let first = queue.take().expect("batches are closed");
        assert_eq!(first.records, BATCH_RECORDS);
        assert!(queue.has_room(), "what is taken makes room");
    }

    #[test]
    fn batches_are_closed_by_records_by_bytes_and_when_time_is_up() {
        let queue = Queue::default();
        queue.close();
        assert!(queue.take().is_none(), "nothing is no batch");

        for _ in 0..BATCH_RECORDS + 1 {
            queue.push(&record());
        }
        assert_eq!(queue.take().map(|batch| batch.records), Some(BATCH_RECORDS));
        assert!(queue.take().is_none(), "the last is in a batch that is open");
        queue.close();
        assert_eq!(queue.take().map(|batch| batch.records), Some(1));

        let mut large = record();
        large.body(&"x".repeat(BATCH_BYTES));
        queue.push(&large);
        assert_eq!(queue.take().map(|batch| batch.records), Some(1));
    }
}
