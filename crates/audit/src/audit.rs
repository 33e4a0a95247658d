//! The handle by which every part of a node records.
//!
//! Recording takes a look at the rate of the event's class and puts it into a bounded queue: it never waits for a disk and
//! never fails. A log that is disabled takes everything and keeps nothing.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quorate_types::Timestamp;

use crate::clock;
use crate::config::Config;
use crate::event::{Class, Event};
use crate::folder::{Folder, Medium};
use crate::limiter::{Limiter, Rates};
use crate::log::Volume;
use crate::open::{self, Opened};
use crate::record::Hash;
use crate::suppressed::Cause;
use crate::writer::{Counters, Message, Shared, Writer};

/// Events that wait for the writer: what a node may cause in the time of a slow write, in about 1 MiB.
const QUEUE_MAX: usize = 1_024;

/// Records what happens; clones share one log.
#[derive(Clone, Debug)]
pub struct Audit(Option<Arc<Open>>);

/// A log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process writes it.
    #[error("{} is written by another process", folder.display())]
    Locked {
        /// The folder.
        folder: PathBuf,
    },
    /// The system failed.
    #[error("cannot open the audit log in {}", folder.display())]
    Io {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// Where a chain stands: what to note elsewhere, so that a log that was cut or made anew shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The sequence of the last record.
    pub sequence: u64,
    /// Its hash.
    pub hash: Hash,
}

#[derive(Debug)]
struct Open {
    limiters: [Mutex<Limiter>; Class::ALL.len()],
    queue: SyncSender<Message>,
    shared: Arc<Shared>,
}

// === impl Audit ===

impl Audit {
    /// Makes a log that keeps nothing, for a node without a folder.
    #[must_use]
    pub const fn disabled() -> Self {
        Self(None)
    }

    /// Opens the log of a folder, which is made if it is not there, and starts its writer.
    ///
    /// Reads and writes files: not for a thread that serves. What was found is logged, and returned for tests and
    /// metrics; a chain that was broken is an error in the log and none here.
    ///
    /// # Errors
    /// [`Error`] when the folder cannot be used.
    pub fn open(config: &Config) -> Result<(Self, Opened), Error> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::WouldBlock => Error::Locked { folder: config.folder.clone() },
            _ => Error::Io { folder: config.folder.clone(), source },
        };
        let folder = Folder::lock(&config.folder).map_err(failed)?;
        Self::over(folder, config).map_err(failed)
    }

    /// Opens the log of a medium.
    pub(crate) fn over<M: Medium + Send + 'static>(medium: M, config: &Config) -> io::Result<(Self, Opened)> {
        let (log, opened) = open::open(medium, config, clock::now())?;
        let (sequence, hash) = (log.tip().sequence, log.tip().hash);
        match &opened {
            Opened::New => tracing::info!(%hash, "an audit log begins"),
            Opened::Resumed { cut_bytes: 0 } => tracing::info!(sequence, %hash, "the audit log goes on"),
            Opened::Resumed { cut_bytes } => {
                tracing::warn!(sequence, %hash, cut_bytes, "the audit log goes on after an unfinished line was cut");
            }
            Opened::Broken { file, line, fault } => {
                tracing::error!(file, line, %fault, "the audit log is broken: a new chain begins, the old is left as it is");
            }
        }
        let shared = Arc::new(Shared::new(log.tip(), log.volume()));
        let (queue, receiver) = sync_channel(QUEUE_MAX);
        let writer = Writer::new(log, config, receiver, Arc::clone(&shared));
        std::thread::Builder::new().name("quorate-audit".to_owned()).spawn(move || writer.run())?;
        let limiters = Class::ALL.map(|class| Mutex::new(Limiter::new(Rates::of(class))));
        Ok((Self(Some(Arc::new(Open { limiters, queue, shared }))), opened))
    }

    /// Records an event, or counts it where it would be too much. Never waits.
    pub fn record(&self, event: Event) {
        self.record_at(clock::now(), event);
    }

    /// Records an event of a time.
    pub(crate) fn record_at(&self, now: Timestamp, event: Event) {
        let Some(open) = &self.0 else { return };
        let (class, lane) = (event.class(), event.lane());
        if open.shared.is_closing() {
            // The writer may have looked into its queue for the last time.
            open.shared.suppress(class, lane, Cause::Queue);
            return;
        }
        let is_within = {
            let mut limiter = open.limiters[class as usize].lock().unwrap_or_else(PoisonError::into_inner);
            limiter.take(lane.clone(), now)
        };
        let cause = if is_within {
            match open.queue.try_send(Message::Event(now, Box::new(event))) {
                Ok(()) => return,
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Cause::Queue,
            }
        } else {
            Cause::Rate
        };
        if open.shared.suppress(class, lane, cause) {
            // Full means that it is awake.
            let _is_awake = open.queue.try_send(Message::Wake);
        }
    }

    /// Returns sums since the log was opened; zeros when it is disabled.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.0.as_ref().map_or_else(Counters::default, |open| open.shared.counters())
    }

    /// Returns what the log takes of the disk; `None` when it is disabled.
    #[must_use]
    pub fn volume(&self) -> Option<Volume> {
        self.0.as_ref().map(|open| open.shared.volume())
    }

    /// Returns where the chain stands; `None` when the log is disabled.
    #[must_use]
    pub fn head(&self) -> Option<Head> {
        self.0.as_ref().map(|open| {
            let tip = open.shared.tip();
            Head { sequence: tip.sequence, hash: tip.hash }
        })
    }

    /// Writes and syncs everything and ends the writer; returns whether that was done within `patience`.
    ///
    /// Waits: not for a thread that serves. What is recorded afterwards is counted and not written.
    pub fn close(&self, patience: Duration) -> bool {
        let Some(open) = &self.0 else { return true };
        open.shared.close();
        let _is_awake = open.queue.try_send(Message::Wake);
        open.shared.wait(patience)
    }
}

#[cfg(test)]
mod tests;
