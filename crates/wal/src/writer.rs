//! The one that writes: takes what waits, writes it as one block, syncs, and says so.
//!
//! ```text
//! queue ─▶ batch ─▶ (next segment when it does not fit) ─▶ write ─▶ sync ─▶ durable ─▶ Done
//!                                                                            │
//!            the oldest segment goes once nothing lives in it ◀──────────────┤
//!            what lives in it is queued again when there are too many ◀──────┘
//! ```
//!
//! While the disk syncs, the next batch gathers: a lone writer waits for nobody, and many share one sync. A batch for which
//! there is no room is kept and tried again; any other error of the disk ends the log.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::block::{BLOCK_HEAD_BYTES, Builder, seed};
use crate::disk::{Disk, File, is_full, write_all_at};
use crate::durable::Place;
use crate::error::Failed;
use crate::logical::Item;
use crate::precedence;
use crate::queue::Job;
use crate::segment::{self, HEAD_BYTES, Head};
use crate::space::Gauge;
use crate::spare::Spares;
use crate::wal::{Inner, Shared};

/// Batches of at least so many jobs make the next one wait for as many: fewer come from callers who wait for each other.
const LINGER_JOBS_MIN: usize = 8;

/// The least time between two attempts to write to a full disk.
const FULL_POLL_MIN: Duration = Duration::from_millis(10);

/// Writes what waits. Either [`Self::spawn`] gives it a thread, or a test calls [`Self::step`].
pub struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) disk: Arc<dyn Disk>,
    log: u128,
    /// The number of the newest segment.
    pub(crate) segment: u64,
    /// What is written to: a segment of this writer's own, so that nothing is written behind what another one left.
    current: Option<Current>,
    /// The number of the next block.
    batch: u64,
    pub(crate) spares: Spares,
    /// A batch for which there was no room.
    stuck: Vec<Job>,
    /// When the disk was last asked what it has free.
    polled: Option<Instant>,
    builder: Builder,
    /// Jobs of the last batch.
    last_jobs: usize,
    /// What still has to be written again of the oldest segment.
    pub(crate) moving: VecDeque<(Item, Place)>,
}

/// Why a batch was not written.
enum Unwritten {
    /// There is no room; nothing of it counts, and it can be written again.
    Full,
    Failed(io::Error),
}

/// The segment that is written to.
struct Current {
    file: Arc<dyn File>,
    offset: u64,
}

/// A writer on a thread of its own.
#[derive(Debug)]
pub struct Running {
    thread: JoinHandle<Result<(), Failed>>,
}

// === impl Writer ===

impl Writer {
    /// Makes the writer of a log that was read; its first segment is made by the first batch.
    pub(crate) fn new(
        shared: Arc<Shared>,
        disk: Arc<dyn Disk>,
        spares: Spares,
        log: u128,
        segment: u64,
        batch: u64,
    ) -> Self {
        Self {
            shared,
            disk,
            log,
            segment,
            current: None,
            batch,
            spares,
            stuck: Vec::new(),
            polled: None,
            builder: Builder::default(),
            last_jobs: 0,
            moving: VecDeque::new(),
        }
    }

    /// Writes on a thread of its own until the log is closed, or fails; `on_failed` is called then, and should end the
    /// process: what is on the disk is not known any more.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn spawn(mut self, on_failed: impl FnOnce(&Failed) + Send + 'static) -> io::Result<Running> {
        self.spares.use_threads();
        let thread = std::thread::Builder::new().name("wal-writer".to_owned()).spawn(move || {
            precedence::take();
            let result = catch_unwind(AssertUnwindSafe(|| self.run()));
            let result = result.unwrap_or_else(|_| Err(self.fail(Vec::new(), "the writer panicked")));
            if let Err(failed) = &result {
                tracing::error!(reason = %failed.reason, "the log failed");
                on_failed(failed);
            }
            result
        })?;
        Ok(Running { thread })
    }

    /// Writes one batch if something waits and there is room; tells whether it did.
    ///
    /// # Errors
    /// [`Failed`] when the disk failed, now or before: the log takes nothing more.
    pub fn step(&mut self) -> Result<bool, Failed> {
        self.tend()?;
        let mut jobs = std::mem::take(&mut self.stuck);
        if jobs.is_empty() {
            self.queue_moves()?;
            let mut inner = self.shared.lock();
            if let Some(failed) = &inner.ended {
                return Err(failed.clone());
            }
            jobs = inner.queue.take(self.shared.config.batch_bytes_max as usize);
        }
        if jobs.is_empty() {
            return Ok(false);
        }
        match self.write(&jobs) {
            Ok(places) => {
                self.written(jobs, &places)?;
                self.refill(false)?;
                Ok(true)
            }
            Err(Unwritten::Full) => {
                self.stuck = jobs;
                self.gauge(None, true);
                Ok(false)
            }
            Err(Unwritten::Failed(error)) => Err(self.fail(jobs, &format!("{}: {error}", segment::name(self.segment)))),
        }
    }

    fn run(&mut self) -> Result<(), Failed> {
        loop {
            if self.step()? {
                continue;
            }
            if !self.wait()? {
                return Ok(());
            }
        }
    }

    /// Waits until there is something to do; false when the log was closed and nothing is.
    fn wait(&mut self) -> Result<bool, Failed> {
        let poll = self.shared.config.space_poll.max(FULL_POLL_MIN);
        let is_stuck = !self.stuck.is_empty();
        let shared = Arc::clone(&self.shared);
        let is_idle = |inner: &mut Inner| (is_stuck || inner.queue.jobs() == 0) && !inner.closing;
        let waited = shared.changed.wait_timeout_while(shared.lock(), poll, is_idle);
        let (inner, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if is_stuck && inner.closing {
            drop(inner);
            let jobs = std::mem::take(&mut self.stuck);
            return Err(self.fail(jobs, "it was closed while there was no room for what waits"));
        }
        if is_stuck || inner.queue.jobs() == 0 {
            return Ok(is_stuck || !inner.closing);
        }
        self.linger(inner);
        Ok(true)
    }

    /// Looks after the space there is.
    fn tend(&mut self) -> Result<(), Failed> {
        let now = Instant::now();
        let poll = self.shared.config.space_poll;
        let is_due = self.polled.is_none_or(|polled| now.duration_since(polled) >= poll);
        if is_due {
            self.polled = Some(now);
        }
        self.refill(is_due)
    }

    /// Makes spares that are missing, and says how much room there is.
    fn refill(&mut self, is_due: bool) -> Result<(), Failed> {
        // Who does not say what there is may have room.
        let free = if is_due { self.shared.on_disk(|| self.disk.free().ok()) } else { self.shared.lock().gauge.free };
        if let Err(error) = self.spares.refill(free, is_due) {
            return Err(self.fail(Vec::new(), &format!("the next segment cannot be made: {error}")));
        }
        self.gauge(Some(free), false);
        Ok(())
    }

    /// Notes how much room there is, and says when that changed.
    fn gauge(&self, free: Option<Option<u64>>, is_stuck: bool) {
        let config = &self.shared.config;
        let mut inner = self.shared.lock();
        let before = inner.gauge.space;
        let free = free.unwrap_or(inner.gauge.free);
        let is_short = is_stuck || !self.stuck.is_empty() || self.spares.is_short();
        let space = before.judge(free, is_short, config);
        inner.gauge = Gauge { space, free, spares: self.spares.ready() };
        drop(inner);
        if space > before {
            tracing::warn!(?space, ?free, is_short, "the disk is full: new entries are refused");
        } else if space < before {
            tracing::info!(?space, ?free, "there is room on the disk again");
        }
    }

    /// Returns how many bytes can be written without any new room.
    pub(crate) fn room(&self) -> u64 {
        let segment = u64::from(self.shared.config.segment_bytes);
        let current = self.current.as_ref().map_or(0, |current| segment.saturating_sub(current.offset));
        current + self.spares.ready() as u64 * segment
    }

    /// Waits a moment for the others who shared the last batch.
    fn linger(&self, mut inner: MutexGuard<'_, Inner>) {
        if self.last_jobs < LINGER_JOBS_MIN {
            return;
        }
        let end = Instant::now() + self.shared.config.linger_max;
        while inner.queue.jobs() < self.last_jobs / 2 && !inner.closing {
            let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else { return };
            inner = self.shared.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Writes the jobs as one block, durably; returns where each record's payload is.
    fn write(&mut self, jobs: &[Job]) -> Result<Vec<Place>, Unwritten> {
        self.builder.begin();
        let records = jobs.iter().flat_map(|job| &job.records);
        let mut places: Vec<Place> = Vec::new();
        let mut bytes = BLOCK_HEAD_BYTES;
        for record in records {
            let Item { kind, group, number, .. } = record.item;
            let offset = self.builder.push(kind, group, number, &record.payload);
            let payload = u32::try_from(record.payload.len()).expect("payloads are bounded by the settings");
            places.push(Place { segment: 0, offset, bytes: payload });
            bytes = offset as usize + record.payload.len();
        }
        let segment_bytes = u64::from(self.shared.config.segment_bytes);
        if self.current.as_ref().is_none_or(|current| current.offset + bytes as u64 > segment_bytes) {
            self.current = Some(self.next_segment()?);
        }
        let current = self.current.as_mut().expect("it was made just now if there was none");
        let block = self.builder.finish(seed(self.log, self.segment), self.batch);
        let (file, offset) = (&*current.file, current.offset);
        self.shared.on_disk(|| {
            // What was written of it and not synced is no block, and is written over.
            write_all_at(file, block, offset).map_err(Unwritten::of)?;
            // An error of a sync is never a lack of room: nobody knows what is on the disk.
            file.sync().map_err(Unwritten::Failed)
        })?;
        let begin = u32::try_from(offset).expect("segments are bounded by the settings");
        for place in &mut places {
            (place.segment, place.offset) = (self.segment, place.offset + begin);
        }
        current.offset += block.len() as u64;
        self.batch += 1;
        Ok(places)
    }

    /// Takes what was written as durable, says so, and lets go of segments that are not needed any more.
    fn written(&mut self, jobs: Vec<Job>, places: &[Place]) -> Result<(), Failed> {
        let shared = Arc::clone(&self.shared);
        let mut inner = shared.lock();
        let records = jobs.iter().flat_map(|job| &job.records);
        for (record, place) in records.zip(places) {
            inner.durable.take(record.item, *place);
            inner.logical.is_durable(record.item, shared.config.cache_bytes_max);
        }
        drop(inner);
        shared.counters.batches.fetch_add(1, Ordering::Relaxed);
        shared.counters.records.fetch_add(places.len() as u64, Ordering::Relaxed);
        self.last_jobs = jobs.len();
        for done in jobs.into_iter().filter_map(|job| job.done) {
            done(Ok(()));
        }
        self.retire().map_err(|error| self.fail(Vec::new(), &format!("an old segment cannot be removed: {error}")))
    }

    fn next_segment(&mut self) -> Result<Current, Unwritten> {
        let Self { shared, disk, spares, .. } = self;
        let segment = self.segment + 1;
        let head = Head { log: self.log, segment, first_batch: self.batch };
        let file = shared.on_disk(|| {
            let spare = spares.take().map_err(Unwritten::Failed)?.ok_or(Unwritten::Full)?;
            let written = head.write(&*spare.file).map_err(Unwritten::of);
            let written = written.and_then(|()| spare.file.sync().map_err(Unwritten::Failed));
            let renamed =
                written.and_then(|()| disk.rename(&spare.name, &segment::name(segment)).map_err(Unwritten::of));
            if let Err(error) = renamed {
                spares.give_back(spare);
                return Err(error);
            }
            disk.sync_names().map_err(Unwritten::Failed)?;
            Ok(spare.file)
        })?;
        shared.lock().files.insert(segment, Arc::clone(&file));
        self.segment = segment;
        Ok(Current { file, offset: HEAD_BYTES })
    }

    /// Ends the log: nobody is told that anything is durable any more.
    pub(crate) fn fail(&self, jobs: Vec<Job>, reason: &str) -> Failed {
        let failed = Failed { reason: reason.to_owned() };
        let mut inner = self.shared.lock();
        let failed = inner.ended.get_or_insert(failed).clone();
        let waiting = inner.queue.take(usize::MAX);
        drop(inner);
        for done in jobs.into_iter().chain(waiting).filter_map(|job| job.done) {
            done(Err(failed.clone()));
        }
        failed
    }
}

// === impl Unwritten ===

impl Unwritten {
    fn of(error: io::Error) -> Self {
        if is_full(&error) { Self::Full } else { Self::Failed(error) }
    }
}

// === impl Running ===

impl Running {
    /// Waits until the writer ended: after [`crate::Wal::close`], or when it failed.
    ///
    /// # Errors
    /// [`Failed`] says why it ended before it was closed.
    pub fn join(self) -> Result<(), Failed> {
        self.thread.join().unwrap_or_else(|_| Err(Failed { reason: "the writer panicked".to_owned() }))
    }
}
