//! Records that wait to be sent, in batches as they are sent.
//!
//! Bounded: who finds [`RECORDS_MAX`] records, or [`BYTES_MAX`] bytes, goes away, and is counted. A batch is closed when it has so many
//! records or bytes that more would hold up the calls that share the core with its sending; where several wait, the collector is slow, and
//! they are sent together. A record waits until it is sent or lost.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::wire::Writer;

/// The most records that wait to be sent: those of half a second of a node that is as busy as it can be with short answers.
const RECORDS_MAX: u64 = 4_096;
/// The most bytes that wait. Records have 700 as a rule; names that callers choose make them longer.
const BYTES_MAX: usize = 16 * 1024 * 1024;
/// The records of a batch, unless time is up before.
const BATCH_RECORDS: u64 = 128;
/// The bytes with which a batch is closed as well; the last record of it may go over, and collectors take 4 MiB.
const BATCH_BYTES: usize = 256 * 1024;
/// The bytes of a request that is made of several batches.
const REQUEST_BYTES_MAX: usize = 1024 * 1024;

const _: () = assert!(BATCH_RECORDS < RECORDS_MAX && BATCH_BYTES < REQUEST_BYTES_MAX && REQUEST_BYTES_MAX < BYTES_MAX);

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
    /// Those that are being sent included.
    records: u64,
    bytes: usize,
    /// Whether nobody sends any more.
    is_over: bool,
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
            batches.records < RECORDS_MAX && batches.bytes < BYTES_MAX && !batches.is_over
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

    /// Takes the oldest batch that is closed, with those behind it that fit into one request.
    pub(super) fn take(&self) -> Option<Batch> {
        let mut batches = self.lock();
        let mut batch = batches.closed.pop_front()?;
        while batches.closed.front().is_some_and(|next| batch.bytes.len() + next.bytes.len() <= REQUEST_BYTES_MAX) {
            let next = batches.closed.pop_front()?;
            batch.bytes.extend_from_slice(&next.bytes);
            batch.records += next.records;
        }
        Some(batch)
    }

    /// Gives up the place of a batch, so many records of which did not get to the collector.
    pub(super) fn done(&self, batch: &Batch, lost: u64) {
        let mut batches = self.lock();
        batches.records -= batch.records;
        batches.bytes -= batch.bytes.len();
        drop(batches);
        self.unsent.fetch_add(lost, Ordering::Relaxed);
    }

    /// Ends it: whatever waits is lost, and who comes later goes away. Returns how many were lost.
    pub(super) fn end(&self) -> u64 {
        let mut batches = self.lock();
        batches.is_over = true;
        let lost = std::mem::take(&mut batches.records);
        drop(batches);
        self.unsent.fetch_add(lost, Ordering::Relaxed);
        lost
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
        let all = queue.take().expect("batches are closed");
        assert_eq!(all.records, RECORDS_MAX, "small ones are sent together");
        assert!(!queue.has_room(), "what is being sent has its place");
        queue.done(&all, 5);
        assert!(queue.has_room());
        assert_eq!(queue.dropped(), [("queue", 3), ("export", 5)]);

        queue.push(&record());
        assert_eq!(queue.end(), 1);
        assert!(!queue.has_room(), "nobody sends any more");
        assert_eq!(queue.dropped(), [("queue", 4), ("export", 6)]);
    }

    #[test]
    fn batches_are_sent_together_as_far_as_a_request_goes() {
        let queue = Queue::default();
        let mut large = record();
        large.body(&"x".repeat(BATCH_BYTES));
        for _ in 0..5 {
            queue.push(&large);
        }

        let taken: Vec<u64> = std::iter::from_fn(|| queue.take()).map(|batch| batch.records).collect();
        assert_eq!(taken, [3, 2]);
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
