//! One group's log in the node's [`Wal`], as openraft asks for it.
//!
//! ```text
//! append, save_vote, truncate, purge ─▶ Wal::submit (one order) ─▶ sync ─▶ IOFlushed, or the vote's answer
//! LogReader ─▶ Wal::read: what was submitted, durable or not
//! ```
//!
//! An entry is one [`Wire`] message; the vote and what is known to be committed are slots; the place of the last purged
//! entry is the note of the purge. Truncations and purges are not waited for: whatever is durable after them is so only
//! together with them.
//!
//! openraft stops a group at the first error of its log, and does nothing else while an append waits: no vote, no
//! heartbeat. So entries are admitted at the door (`Wal::admits`, asked by who proposes and who takes appends), and what
//! consensus has accepted finds the room that votes find, also on a full disk. Only a queue that is twice full is waited
//! for: a disk that does nothing at all, which is the business of the log's watchdog.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use quorate_wal::{Failed, GroupId, GroupState, Op, ReadError, Slot, SubmitError, Wal};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use crate::codec::Wire;
use crate::matched;
use crate::types::{ENTRY_BYTES_MAX, Entry, LogId, Types, Vote};

/// The log of one group.
#[derive(Debug)]
pub struct Log {
    reader: Reader,
    commits: Commits,
    /// What is committed and not yet in the log's slot.
    committed: Option<LogId>,
}

/// Reads the log of one group; cheap to clone.
#[derive(Clone)]
pub struct Reader {
    wal: Wal,
    group: GroupId,
}

/// When it is written down what is committed, from which a restarted replica applies its log without asking others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commits {
    /// At once: a node that is started alone has all that it served before. For groups of few writes.
    AtOnce,
    /// With the next entry or vote: no write and no sync of its own. A replica that is started alone may lack the last
    /// batch until a leader tells it, so it must not be served from before.
    WithTheNext,
}

/// The slots of a group.
pub(crate) mod slots {
    use super::Slot;

    pub(crate) const VOTE: Slot = Slot(0);
    pub(crate) const COMMITTED: Slot = Slot(1);
}

/// Bytes of entries in one message to a follower, at most, and of what is read at once: below 1 MiB with all that is
/// around them, so that a message of one group does not delay the heartbeats of the others (gRPC's own limit is 4 MiB).
pub const READ_BYTES_MAX: usize = 768 << 10;

// A node's log takes every entry that may be proposed.
const _: () = assert!(ENTRY_BYTES_MAX <= quorate_wal::DEFAULTS.payload_bytes_max as usize);

/// How far from the end of a log the last entry of earlier terms is looked for: a leader looks when its term begins.
const NEAR_ENTRIES: u64 = 64;

/// How often a full queue is tried again: a batch of the log takes about as long.
const RETRY: Duration = Duration::from_millis(2);

/// How often a range is read again that the log did not have: once for what it has, and again when it was purged
/// meanwhile, which follows a snapshot and is rare.
const READ_ATTEMPTS_MAX: usize = 8;

// === impl Log ===

impl Log {
    /// Takes the log of a group.
    #[must_use]
    pub fn new(wal: Wal, group: GroupId, commits: Commits) -> Self {
        Self { reader: Reader { wal, group }, commits, committed: None }
    }

    /// Reads it.
    pub(crate) fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// Submits changes, after waiting for room. `done` is called once they are durable, or cannot become so.
    async fn submit(
        &mut self,
        mut ops: Vec<Op>,
        done: impl FnOnce(Result<(), Failed>) + Send + 'static,
    ) -> io::Result<()> {
        let Reader { wal, group } = &self.reader;
        if let Some(committed) = self.committed.take() {
            ops.push(Op::Put { slot: slots::COMMITTED, value: committed.encode() });
        }
        // A refused submission drops its callback, so that the one to call stays here until it is called.
        let done = Arc::new(Mutex::new(Some(done)));
        loop {
            let callback = Arc::clone(&done);
            let callback = Box::new(move |result: Result<(), Failed>| {
                let done = callback.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(done) = done {
                    done(result);
                }
            });
            match wal.submit_admitted(*group, ops.clone(), Some(callback)) {
                Ok(()) => return Ok(()),
                Err(error @ SubmitError::QueueFull { .. }) => {
                    tracing::debug!(group = group.0, %error, "the log waits");
                    tokio::time::sleep(RETRY).await;
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Reader;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let state = self.reader.state();
        let last_purged_log_id = state.purged.map(LogId::decode).transpose().map_err(invalid_data)?;
        let last = state.next.checked_sub(1).filter(|last| *last >= state.first);
        let last_log_id = match last {
            Some(last) => self.reader.read(last..state.next, READ_BYTES_MAX)?.last().map(|entry| entry.log_id),
            None => last_purged_log_id,
        };
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Reader {
        self.reader.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let (done, is_durable) = oneshot::channel();
        let ops = vec![Op::Put { slot: slots::VOTE, value: vote.encode() }];
        // Who waits for it may be gone.
        self.submit(ops, |result| drop(done.send(result))).await?;
        match is_durable.await {
            Ok(result) => result.map_err(io::Error::other),
            Err(_) => Err(io::Error::other("the log ended before the vote was durable")),
        }
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.committed = committed;
        match self.commits {
            Commits::AtOnce if committed.is_some() => self.submit(Vec::new(), drop).await,
            Commits::AtOnce | Commits::WithTheNext => Ok(()),
        }
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        self.reader.slot(slots::COMMITTED)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let append = |entry: Entry| Op::Append { index: entry.log_id.index, payload: entry.encode() };
        let ops = entries.into_iter().map(append).collect();
        self.submit(ops, |result| callback.io_completed(result.map_err(io::Error::other))).await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let GroupState { first, next, .. } = self.reader.state();
        let from = last.map_or(first, |last| last.index + 1);
        if from >= next {
            return Ok(());
        }
        // Durable before a snapshot that follows it: what was cut off would be behind the snapshot after a crash.
        let (done, is_durable) = oneshot::channel();
        self.submit(vec![Op::Truncate { from }], |result| drop(done.send(result))).await?;
        is_durable.await.map_err(io::Error::other)?.map_err(io::Error::other)
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        let GroupState { first, purged, .. } = self.reader.state();
        if purged.is_some() && upto.index < first {
            return Ok(());
        }
        self.submit(vec![Op::Purge { before: upto.index + 1, note: upto.encode() }], drop).await
    }
}

// === impl Reader ===

impl Reader {
    fn state(&self) -> GroupState {
        self.wal.group(self.group)
    }

    fn slot<W: Wire>(&self, slot: Slot) -> io::Result<Option<W>> {
        self.state().slots.remove(&slot).map(W::decode).transpose().map_err(invalid_data)
    }

    /// The last entry of terms before this one; none where it is far from the end, or the log does not have it.
    pub(crate) async fn last_before(&self, term: u64) -> Option<LogId> {
        let GroupState { first, next, .. } = self.state();
        for index in (first.max(next.saturating_sub(NEAR_ENTRIES))..next).rev() {
            let entry = self.read_apart(index..index + 1, 0).await.ok()?.pop()?;
            if matched::is_inherited(&entry, term) {
                return Some(entry.log_id);
            }
        }
        None
    }

    /// Reads the entries of a range that the log has, as many as fit into `bytes_max`, and the first in any case.
    fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let mut range = range;
        for _ in 0..READ_ATTEMPTS_MAX {
            if range.is_empty() {
                return Ok(Vec::new());
            }
            match self.wal.read(self.group, range.clone(), bytes_max) {
                Ok(payloads) => return payloads.into_iter().map(decoded).collect(),
                Err(ReadError::Outside { first, next, .. }) => range = range.start.max(first)..range.end.min(next),
                Err(error @ ReadError::Disk { .. }) => return Err(io::Error::other(error)),
                Err(error @ ReadError::Corrupt { .. }) => return Err(invalid_data(error)),
            }
        }
        Err(io::Error::other(format!("{}: entries {range:?} changed while they were read", self.group)))
    }

    /// Reads as [`Self::read`]; what has to come from the disk is read on a thread that may block.
    async fn read_apart(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
        if range.is_empty() || self.wal.is_in_memory(self.group, range.start) {
            return self.read(range, bytes_max);
        }
        let reader = self.clone();
        spawn_blocking(move || reader.read(range, bytes_max)).await.map_err(io::Error::other)?
    }

    /// Reads what there is of a range, in pieces.
    fn pieces(&self, range: Range<u64>) -> impl Iterator<Item = io::Result<Vec<Entry>>> + Send + use<> {
        let reader = self.clone();
        let mut range = range;
        std::iter::from_fn(move || {
            if range.is_empty() {
                return None;
            }
            let piece = reader.read(range.clone(), READ_BYTES_MAX);
            match piece.as_deref().map(<[Entry]>::last) {
                Ok(Some(last)) => range.start = last.log_id.index + 1,
                Ok(None) | Err(_) => range.start = range.end,
            }
            Some(piece)
        })
    }
}

impl RaftLogReader<Types> for Reader {
    async fn try_get_log_entries<R>(&mut self, range: R) -> io::Result<Vec<Entry>>
    where
        R: RangeBounds<u64> + Clone + Debug + Send,
    {
        let pieces = self.pieces(bounds(&range));
        let read = spawn_blocking(move || pieces.collect::<io::Result<Vec<_>>>());
        Ok(read.await.map_err(io::Error::other)??.concat())
    }

    /// Reads pieces as they are taken: what is to be applied may be much more than fits the memory.
    async fn entries_stream<R>(&mut self, range: R) -> impl Stream<Item = io::Result<Entry>> + Send
    where
        R: RangeBounds<u64> + Clone + Debug + Send,
    {
        let reader = self.clone();
        let pieces = stream::unfold(bounds(&range), move |mut range| {
            let reader = reader.clone();
            async move {
                if range.is_empty() {
                    return None;
                }
                let piece = reader.read_apart(range.clone(), READ_BYTES_MAX).await;
                range.start = match piece.as_deref().map(<[Entry]>::last) {
                    Ok(Some(last)) => last.log_id.index + 1,
                    Ok(None) | Err(_) => range.end,
                };
                Some((piece, range))
            }
        });
        let entries = |piece: io::Result<Vec<Entry>>| match piece {
            Ok(entries) => stream::iter(entries.into_iter().map(Ok).collect::<Vec<_>>()),
            Err(error) => stream::iter(vec![Err(error)]),
        };
        Box::pin(pieces.flat_map(entries))
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        self.slot(slots::VOTE)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.read_apart(start..end, READ_BYTES_MAX).await
    }
}

impl Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("group", &self.group).finish_non_exhaustive()
    }
}

fn decoded(payload: Bytes) -> io::Result<Entry> {
    Entry::decode(payload).map_err(invalid_data)
}

fn bounds(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

fn invalid_data(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
