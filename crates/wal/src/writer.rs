//! The one that writes: takes what waits, writes it as one block, syncs, and says so.
//!
//! ```text
//! queue ─▶ batch ─▶ (next segment when it does not fit) ─▶ write ─▶ sync ─▶ durable ─▶ Done
//!                                                                            │
//!            the oldest segment goes once nothing lives in it ◀──────────────┤
//!            what lives in it is queued again when there are too many ◀──────┘
//! ```
//!
//! While the disk syncs, the next batch gathers: a lone writer waits for nobody, and many share one sync. Any error of the
//! disk ends the log.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::block::{BLOCK_HEAD_BYTES, Builder, seed};
use crate::disk::{Disk, File, write_all_at};
use crate::durable::Place;
use crate::error::Failed;
use crate::logical::{Item, Outgoing};
use crate::queue::Job;
use crate::segment::{self, HEAD_BYTES, Head, SPARE};
use crate::spare::Spare;
use crate::wal::{Inner, Shared, payload_at};

/// Batches of at least so many jobs make the next one wait for as many: fewer come from callers who wait for each other.
const LINGER_JOBS_MIN: usize = 8;

/// Writes what waits. Either [`Self::spawn`] gives it a thread, or a test calls [`Self::step`].
pub struct Writer {
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    log: u128,
    /// The number of the newest segment.
    segment: u64,
    /// What is written to: a segment of this writer's own, so that nothing is written behind what another one left.
    current: Option<Current>,
    /// The number of the next block.
    batch: u64,
    spare: Spare,
    /// Whether spares are made by a thread.
    threads: bool,
    builder: Builder,
    /// Jobs of the last batch.
    last_jobs: usize,
    /// What still has to be written again of the oldest segment.
    moving: VecDeque<(Item, Place)>,
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
    pub(crate) fn new(shared: Arc<Shared>, disk: Arc<dyn Disk>, log: u128, segment: u64, batch: u64) -> Self {
        Self {
            shared,
            disk,
            log,
            segment,
            current: None,
            batch,
            spare: Spare::Later,
            threads: false,
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
        self.threads = true;
        let thread = std::thread::Builder::new().name("wal-writer".to_owned()).spawn(move || {
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

    /// Writes one batch if something waits; tells whether something did.
    ///
    /// # Errors
    /// [`Failed`] when the disk failed, now or before: the log takes nothing more.
    pub fn step(&mut self) -> Result<bool, Failed> {
        self.queue_moves()?;
        let jobs = {
            let mut inner = self.shared.lock();
            if let Some(failed) = &inner.ended {
                return Err(failed.clone());
            }
            inner.queue.take(self.shared.config.batch_bytes_max as usize)
        };
        if jobs.is_empty() {
            return Ok(false);
        }
        match self.write(&jobs) {
            Ok(places) => {
                self.written(jobs, &places)?;
                Ok(true)
            }
            Err(error) => Err(self.fail(jobs, &format!("{}: {error}", segment::name(self.segment)))),
        }
    }

    fn run(&mut self) -> Result<(), Failed> {
        loop {
            if self.step()? {
                continue;
            }
            if !self.wait() {
                return Ok(());
            }
        }
    }

    /// Waits until something is queued; false when the log was closed and nothing is.
    fn wait(&self) -> bool {
        let mut inner = self.shared.lock();
        while inner.queue.jobs() == 0 {
            if inner.closing {
                return false;
            }
            inner = self.shared.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        self.linger(inner);
        true
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
    fn write(&mut self, jobs: &[Job]) -> io::Result<Vec<Place>> {
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
        let current = match self.current.take().filter(|current| current.offset + bytes as u64 <= segment_bytes) {
            Some(current) => current,
            None => self.next_segment()?,
        };
        let Current { file, offset } = &current;
        let block = self.builder.finish(seed(self.log, self.segment), self.batch);
        self.shared.on_disk(|| write_all_at(&**file, block, *offset).and_then(|()| file.sync()))?;
        let begin = u32::try_from(*offset).expect("segments are bounded by the settings");
        for place in &mut places {
            (place.segment, place.offset) = (self.segment, place.offset + begin);
        }
        self.current = Some(Current { offset: offset + block.len() as u64, file: current.file });
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

    /// Removes the oldest segments in which nothing lives, and begins to empty the oldest one when there are too many.
    fn retire(&mut self) -> io::Result<()> {
        let mut removed = Vec::new();
        let mut inner = self.shared.lock();
        while let Some((&oldest, _)) = inner.files.first_key_value()
            && oldest != self.segment
            && inner.durable.live_in(oldest) == 0
        {
            inner.files.remove(&oldest);
            inner.durable.forget_segment(oldest);
            removed.push(oldest);
        }
        let disk_bytes = inner.files.len() as u64 * u64::from(self.shared.config.segment_bytes);
        let oldest = inner.files.first_key_value().map(|(&oldest, _)| oldest);
        if let Some(oldest) = oldest.filter(|oldest| *oldest != self.segment)
            && self.moving.is_empty()
            && disk_bytes > 2 * inner.durable.live() + self.shared.config.slack_bytes
        {
            self.moving = inner.durable.living_in(oldest).into();
        }
        drop(inner);
        // One after the other, durably: an older one that came back would stand before a gap.
        for segment in &removed {
            let removing = || self.disk.remove(&segment::name(*segment)).and_then(|()| self.disk.sync_names());
            self.shared.on_disk(removing)?;
        }
        Ok(())
    }

    /// Queues some of what lives in the oldest segment, behind what was submitted so far.
    fn queue_moves(&mut self) -> Result<(), Failed> {
        let bytes_max = self.shared.config.batch_bytes_max as usize / 4;
        let mut bytes = 0;
        let mut read = Vec::new();
        while bytes < bytes_max
            && let Some((item, place)) = self.moving.pop_front()
        {
            bytes += place.bytes as usize;
            let file = self.shared.lock().files.get(&place.segment).cloned();
            let Some(file) = file else { continue };
            match payload_at(&*file, place, item.group, item.number) {
                Ok(payload) => read.push(Outgoing { item, payload }),
                Err(error) => return Err(self.fail(Vec::new(), &error.to_string())),
            }
        }
        if read.is_empty() {
            return Ok(());
        }
        let mut inner = self.shared.lock();
        // What was superseded meanwhile has its successor in the queue already, and is worthless once that is durable.
        let moved: Vec<_> = read.into_iter().filter(|record| inner.logical.says(record.item)).collect();
        if moved.is_empty() {
            return Ok(());
        }
        self.shared.counters.moved.fetch_add(moved.len() as u64, Ordering::Relaxed);
        inner.queue.push(moved, None, self.shared.config.batch_bytes_max as usize);
        Ok(())
    }

    fn next_segment(&mut self) -> io::Result<Current> {
        let bytes = u64::from(self.shared.config.segment_bytes);
        let segment = self.segment + 1;
        let head = Head { log: self.log, segment, first_batch: self.batch };
        let Self { shared, disk, spare, .. } = self;
        let file = shared.on_disk(|| {
            let file = spare.take(&**disk, bytes)?;
            head.write(&*file)?;
            file.sync()?;
            disk.rename(SPARE, &segment::name(segment))?;
            disk.sync_names()?;
            Ok::<_, io::Error>(file)
        })?;
        self.shared.lock().files.insert(segment, Arc::clone(&file));
        self.segment = segment;
        if self.threads {
            self.spare = Spare::begin(&self.disk, bytes);
        }
        Ok(Current { file, offset: HEAD_BYTES })
    }

    /// Ends the log: nobody is told that anything is durable any more.
    fn fail(&self, jobs: Vec<Job>, reason: &str) -> Failed {
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
