//! Watches over a node on a thread of its own, which nothing of the node can hold up.
//!
//! Each tick asks the log's watchdog and the runtime's canary, each second the disk and the clock. A disk or a runtime that
//! is slow, and a log that takes nothing new, make the node shed what it leads; a disk or a runtime that does not answer at
//! all ends it ([`Failure`]). A node that was to end and is still there is ended with its process, where that is wanted:
//! what would end it may be what is stalled.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use quorate_wal::{Space, Verdict, WATCHDOG_DEFAULTS, Wal, Watchdog};
use rustix::time::{ClockId, Timespec, clock_gettime};
use tokio::sync::watch;

use super::canary::{BEAT, Canary, Lag};
use super::disk::{self, Room};
use super::wall::Wall;
use super::{FindingKind, Findings};
use crate::member::Failure;

/// How often disk and clock are looked at.
const SLOW_LOOK: Duration = Duration::from_secs(1);
/// How long a node may take to end by itself: what a drain takes, and some.
const END_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a node may take whose threads do nothing any more: nothing will end it, and it leads until it ends.
const STALLED_TIMEOUT: Duration = Duration::from_secs(2);

/// What is watched.
pub(crate) struct Watched {
    pub(crate) wal: Wal,
    pub(crate) folder: PathBuf,
    pub(crate) beats: Beats,
    pub(crate) findings: Findings,
    pub(crate) failed: watch::Sender<Option<Failure>>,
    /// Whether a node that has to end and does not is ended with its process.
    pub(crate) ends_process: bool,
}

/// The beats of a task on the runtime that serves requests.
#[derive(Clone, Default)]
pub(crate) struct Beats(Arc<AtomicU64>);

/// The thread; it ends when this is dropped.
pub(crate) struct Pulse {
    /// Dropped to stop it.
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread remembers.
struct Looks {
    watched: Watched,
    watchdog: Watchdog,
    canary: Canary,
    wall: Wall,
    room: Room,
    /// Whether the log has no room for what is new.
    is_log_short: bool,
    looked: Option<Duration>,
    /// When it was found that the node has to end.
    ending: Option<Duration>,
}

// === impl Beats ===

impl Beats {
    /// Beats as long as it runs.
    pub(crate) async fn beat(self) {
        let mut interval = tokio::time::interval(BEAT);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

// === impl Pulse ===

impl Pulse {
    /// Begins to watch.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(crate) fn begin(watched: Watched) -> std::io::Result<Self> {
        let (stop, stopped) = sync_channel(0);
        let mut looks = Looks {
            watched,
            watchdog: Watchdog::new(WATCHDOG_DEFAULTS),
            canary: Canary::new(),
            wall: Wall::default(),
            room: Room::Enough,
            is_log_short: false,
            looked: None,
            ending: None,
        };
        let run = move || {
            quorate_wal::precedence::take();
            let began = Instant::now();
            while stopped.recv_timeout(WATCHDOG_DEFAULTS.tick) == Err(RecvTimeoutError::Timeout) {
                looks.look(began.elapsed());
            }
        };
        let thread = std::thread::Builder::new().name("pulse".to_owned()).spawn(run)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        drop(self.stop.take());
        // It ends within a tick; one that panicked has said so.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

// === impl Looks ===

impl Looks {
    fn look(&mut self, now: Duration) {
        let log = self.watchdog.tick(now, self.watched.wal.disk_busy());
        let lag = self.canary.tick(now, self.watched.beats.0.load(Ordering::Relaxed));
        self.judge(log, lag);
        if self.looked.is_none_or(|looked| now.saturating_sub(looked) >= SLOW_LOOK) {
            self.looked = Some(now);
            self.look_at_disk();
            self.look_at_clock();
        }
        self.end(now);
    }

    fn judge(&self, log: Verdict, lag: Lag) {
        let findings = &self.watched.findings;
        let message = match log {
            Verdict::Fine => None,
            Verdict::Slow { .. } => {
                Some("the disk under the log is slow: this node leads nothing until it answers in time")
            }
            Verdict::Stalled { .. } => Some("the disk under the log does not answer: this node ends"),
        };
        findings.set(FindingKind::Log, message.map(str::to_owned));
        let message = match lag {
            Lag::Fine => None,
            Lag::Slow => Some("work on requests is not scheduled in time: this node leads nothing until it is"),
            Lag::Stalled => Some("work on requests is not scheduled any more: this node ends"),
        };
        findings.set(FindingKind::Runtime, message.map(str::to_owned));
        // Who leads and takes nothing stops the group for all, while others may have room.
        findings.set_sheds(log != Verdict::Fine || lag != Lag::Fine || self.is_log_short);
        if let Verdict::Stalled { .. } = log {
            self.fail(Failure::Log { reason: "its disk does not answer".to_owned() });
        }
        if lag == Lag::Stalled {
            self.fail(Failure::Runtime);
        }
    }

    fn look_at_disk(&mut self) {
        match disk::ask(&self.watched.folder) {
            Ok((free, total)) => self.room = self.room.judge(free, total),
            // A disk that does not answer is the log's to find.
            Err(error) => tracing::debug!(%error, "the file system does not say what room it has"),
        }
        self.is_log_short = self.watched.wal.observe().space != Space::Roomy;
        let room = if self.is_log_short { Room::Full } else { self.room };
        let found = room.finding();
        if let Some((kind, message)) = found {
            self.watched.findings.set(kind, Some(message.to_owned()));
        }
        // Afterwards, so that there is no moment in which nothing is wrong.
        for kind in [FindingKind::Disk, FindingKind::DiskLow] {
            if found.is_none_or(|(of, _)| of != kind) {
                self.watched.findings.set(kind, None);
            }
        }
        self.watched.findings.set_full(room == Room::Full);
    }

    fn look_at_clock(&mut self) {
        let jumped = self.wall.tick(read(ClockId::Boottime), read(ClockId::Realtime));
        let message = "the wall clock of this node jumped: certificates and tokens may be refused until it is right. See to \
                       its synchronisation (NTP)";
        self.watched.findings.set(FindingKind::Clock, jumped.then(|| message.to_owned()));
    }

    fn fail(&self, failure: Failure) {
        self.watched.failed.send_if_modified(|failed| {
            let is_first = failed.is_none();
            failed.get_or_insert(failure);
            is_first
        });
    }

    /// Ends the process when the node was to end and has not.
    fn end(&mut self, now: Duration) {
        let timeout = match &*self.watched.failed.borrow() {
            Some(Failure::Runtime) => STALLED_TIMEOUT,
            Some(_) => END_TIMEOUT,
            None => return,
        };
        if !self.watched.ends_process {
            return;
        }
        let since = *self.ending.get_or_insert(now);
        if now.saturating_sub(since) >= timeout {
            tracing::error!("the node failed and did not end in {timeout:?}: its process is ended");
            std::process::abort();
        }
    }
}

fn read(clock: ClockId) -> Duration {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
    let seconds = u64::try_from(tv_sec).unwrap_or_default();
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(tv_nsec).unwrap_or_default())
}
