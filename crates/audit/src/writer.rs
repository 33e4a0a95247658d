//! The thread that writes a log, and what it shares with those who record.
//!
//! It takes events from a bounded queue in batches, writes each batch at once, and syncs at most once a second. When
//! nothing happens it sleeps until the next event. A failure is told loudly, counted, and followed by a pause that doubles;
//! what comes meanwhile is counted as suppressed, and writing those counts is the next attempt.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use quorate_types::Timestamp;

use crate::clock;
use crate::config::{Config, RETRY_MAX};
use crate::event::{Class, Event, Lane};
use crate::folder::Medium;
use crate::log::{Log, Volume};
use crate::note::{Entry, Note};
use crate::scan::Tip;
use crate::suppressed::{Cause, Suppressed};

/// Events that are written at once: what fits some hundred KiB.
const BATCH_MAX: usize = 64;

/// What is sent to the writer.
#[derive(Debug)]
pub(crate) enum Message {
    Event(Timestamp, Box<Event>),
    /// There is something to look at: counts, or the end.
    Wake,
}

/// What recording threads and the writer have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    suppressed: Mutex<Suppressed>,
    suppressed_by: [AtomicU64; Cause::ALL.len()],
    recorded: AtomicU64,
    write_errors: AtomicU64,
    /// Where the chain stands, and what it takes of the disk.
    tip: Mutex<(Tip, Volume)>,
    closing: AtomicBool,
    is_done: Mutex<bool>,
    done: Condvar,
}

/// Sums since the log was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Events with a record.
    pub recorded: u64,
    /// Events without one because of rates.
    pub suppressed_by_rate: u64,
    /// Events without one because the queue was full or the log closed.
    pub suppressed_by_queue: u64,
    /// Events without one because they could not be written.
    pub suppressed_by_failure: u64,
    /// Writes and syncs that failed.
    pub write_errors: u64,
}

/// The writer.
pub(crate) struct Writer<M> {
    log: Log<M>,
    queue: Receiver<Message>,
    shared: std::sync::Arc<Shared>,
    sync_every: Duration,
    suppressed_every: Duration,
    retry_after: Duration,
    synced_at: Instant,
    suppressed_at: Instant,
    /// The present pause, and its end.
    pause: Option<(Duration, Instant)>,
}

// === impl Shared ===

impl Shared {
    pub(crate) fn new(tip: Tip, volume: Volume) -> Self {
        Self {
            suppressed: Mutex::default(),
            suppressed_by: Default::default(),
            recorded: AtomicU64::new(0),
            write_errors: AtomicU64::new(0),
            tip: Mutex::new((tip, volume)),
            closing: AtomicBool::new(false),
            is_done: Mutex::new(false),
            done: Condvar::new(),
        }
    }

    /// Counts an event that gets no record; returns whether it is the first since counts were written.
    pub(crate) fn suppress(&self, class: Class, lane: Lane, cause: Cause) -> bool {
        self.suppressed_by[cause as usize].fetch_add(1, Ordering::Relaxed);
        let mut suppressed = held(&self.suppressed);
        let was_empty = suppressed.is_empty();
        suppressed.add(class, lane, cause, 1);
        was_empty
    }

    pub(crate) fn counters(&self) -> Counters {
        let suppressed = |cause: Cause| self.suppressed_by[cause as usize].load(Ordering::Relaxed);
        Counters {
            recorded: self.recorded.load(Ordering::Relaxed),
            suppressed_by_rate: suppressed(Cause::Rate),
            suppressed_by_queue: suppressed(Cause::Queue),
            suppressed_by_failure: suppressed(Cause::Failed),
            write_errors: self.write_errors.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn tip(&self) -> Tip {
        held(&self.tip).0
    }

    pub(crate) fn volume(&self) -> Volume {
        held(&self.tip).1
    }

    fn publish<M: Medium>(&self, log: &Log<M>) {
        *held(&self.tip) = (log.tip(), log.volume());
    }

    /// Asks the writer to end; it has to be woken as well.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// Waits until the writer has ended; returns whether it has.
    pub(crate) fn wait(&self, patience: Duration) -> bool {
        let waited = self.done.wait_timeout_while(held(&self.is_done), patience, |is_done| !*is_done);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    fn has_suppressed(&self) -> bool {
        !held(&self.suppressed).is_empty()
    }
}

/// Whoever panicked within did so in the middle of a sum: what is there is good enough to count on.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Writer ===

impl<M: Medium> Writer<M> {
    pub(crate) fn new(log: Log<M>, config: &Config, queue: Receiver<Message>, shared: std::sync::Arc<Shared>) -> Self {
        let now = Instant::now();
        Self {
            log,
            queue,
            shared,
            sync_every: config.sync_every,
            suppressed_every: config.suppressed_every,
            retry_after: config.retry_after,
            synced_at: now,
            // The first counts are written at once.
            suppressed_at: now.checked_sub(config.suppressed_every).unwrap_or(now),
            pause: None,
        }
    }

    /// Writes until the log is closed or nobody can record any more; then writes and syncs what is left.
    pub(crate) fn run(mut self) {
        while let Some(batch) = self.next_batch() {
            self.write(batch);
            self.write_suppressed(false);
            if !self.log.is_synced() && self.synced_at.elapsed() >= self.sync_every {
                self.sync();
            }
        }
        self.write_suppressed(true);
        self.sync();
        // The folder is free for others before anybody hears of the end.
        let Self { log, shared, queue, .. } = self;
        drop((log, queue));
        *held(&shared.is_done) = true;
        shared.done.notify_all();
    }

    /// Waits for something to do; `None` when there will be nothing more.
    fn next_batch(&mut self) -> Option<Vec<(Timestamp, Box<Event>)>> {
        let first = if self.shared.is_closing() {
            self.queue.try_recv().ok()?
        } else if let Some(due) = self.due() {
            match self.queue.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => Message::Wake,
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        } else {
            self.queue.recv().ok()?
        };
        let more = std::iter::from_fn(|| self.queue.try_recv().ok()).take(BATCH_MAX - 1);
        let events = std::iter::once(first).chain(more).filter_map(|message| match message {
            Message::Event(time, event) => Some((time, event)),
            Message::Wake => None,
        });
        Some(events.collect())
    }

    /// When something has to be done although no message comes.
    fn due(&self) -> Option<Instant> {
        let sync = (!self.log.is_synced()).then(|| self.synced_at + self.sync_every);
        let suppressed = self.shared.has_suppressed().then(|| {
            let due = self.suppressed_at + self.suppressed_every;
            self.pause.map_or(due, |(_, end)| due.max(end))
        });
        sync.into_iter().chain(suppressed).min()
    }

    fn write(&mut self, batch: Vec<(Timestamp, Box<Event>)>) {
        if batch.is_empty() {
            return;
        }
        let kinds: Vec<(Class, Lane)> = batch.iter().map(|(_, event)| (event.class(), event.lane())).collect();
        let paused = self.pause.is_some_and(|(_, end)| Instant::now() < end);
        let entries: Vec<(Timestamp, Entry)> =
            batch.into_iter().map(|(time, event)| (time, Entry::Event(event))).collect();
        let written = if paused { Err((0, None)) } else { self.log.append(&entries).map_err(|(at, e)| (at, Some(e))) };
        let count = match written {
            Ok(()) => {
                self.pause = None;
                kinds.len()
            }
            Err((count, error)) => {
                // The cause is counted before what it cost, so that whoever sees the one sees the other.
                if let Some(error) = error {
                    self.failed("write", &error);
                }
                for (class, lane) in kinds.into_iter().skip(count) {
                    self.shared.suppress(class, lane, Cause::Failed);
                }
                count
            }
        };
        self.shared.recorded.fetch_add(count as u64, Ordering::Relaxed);
        self.shared.publish(&self.log);
    }

    /// Writes the counts of suppressed events when it is time, or in any case.
    fn write_suppressed(&mut self, in_any_case: bool) {
        let is_due = self.suppressed_at.elapsed() >= self.suppressed_every
            && self.pause.is_none_or(|(_, end)| Instant::now() >= end);
        if !self.shared.has_suppressed() || !(is_due || in_any_case) {
            return;
        }
        let counts = std::mem::take(&mut *held(&self.shared.suppressed));
        let entry = (clock::now(), Entry::Note(Note::Suppressed { counts: counts.clone() }));
        match self.log.append(&[entry]) {
            Ok(()) => {
                self.pause = None;
                self.suppressed_at = Instant::now();
                self.shared.publish(&self.log);
            }
            Err((_, error)) => {
                held(&self.shared.suppressed).merge(counts);
                self.failed("write", &error);
            }
        }
    }

    fn sync(&mut self) {
        self.synced_at = Instant::now();
        if let Err(error) = self.log.sync() {
            self.failed("sync", &error);
        }
    }

    fn failed(&mut self, doing: &'static str, error: &io::Error) {
        self.shared.write_errors.fetch_add(1, Ordering::Relaxed);
        let pause = self.pause.map_or(self.retry_after, |(pause, _)| (pause * 2).min(RETRY_MAX));
        self.pause = Some((pause, Instant::now() + pause));
        tracing::error!(doing, %error, ?pause, "the audit log cannot be written: events are counted and not recorded");
    }
}
