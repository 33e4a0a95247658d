//! Writes changes of the sessions of one shard into its log: what comes at the same moment goes in one entry.
//!
//! A session has at most one change here, so that changes in flight never overtake each other. A change that is larger than
//! an entry goes in parts, one after the other. Whoever waits learns whether its change is in the record; where that is not
//! known the session is given up here, and whoever owns it next reads the record.

use std::time::Duration;

use quorate_raft::{Group, Proposal, ProposeError};
use quorate_session::record::proto;
use quorate_session::shard::{self, PART_BYTES_MAX, Part};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::LEVEL;

/// Changes that wait for one shard: more than sessions are busy in it at the same moment.
const QUEUE_MAX: usize = 4096;
/// Entries of one shard that are under way: while one is written to the disk the next are put together.
const ENTRIES_MAX: usize = 4;
/// How long a full disk is waited for between attempts.
const DISK_PAUSE: Duration = Duration::from_secs(1);

/// Hears what became of a change.
pub(crate) type Done = Box<dyn FnOnce(Result<(), NotWritten>) + Send>;

/// What one session has changed.
pub(crate) struct Write {
    pub(crate) session: u128,
    /// How many changes its record has.
    pub(crate) version: u64,
    /// The term in which the session is owned.
    pub(crate) epoch: u64,
    pub(crate) change: proto::Change,
    /// Hears what became of it.
    pub(crate) done: Done,
}

/// A change is not in the record, or it is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotWritten {
    /// Nothing was done, and it can be tried again a little later.
    #[error("too many changes wait")]
    Busy,
    /// The shard has as many sessions as it may have.
    #[error("the shard has as many sessions as it may have")]
    Full,
    /// The session is not owned here any more, or was owned elsewhere meanwhile.
    #[error("the session is owned by another node")]
    Lost,
}

/// The way to a shard's log. Clones are cheap.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Write>,
}

// === impl Writer ===

impl Writer {
    /// Begins to write to a group; ends when nobody has the writer any more.
    pub(crate) fn spawn(group: Group) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(run(group, waiting));
        Self { queue }
    }

    /// Has a change written.
    pub(crate) fn write(&self, write: Write) {
        match self.queue.try_send(write) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(write)) => (write.done)(Err(NotWritten::Busy)),
            Err(mpsc::error::TrySendError::Closed(write)) => (write.done)(Err(NotWritten::Lost)),
        }
    }
}

async fn run(group: Group, mut waiting: mpsc::Receiver<Write>) {
    let mut entries = JoinSet::new();
    let mut batch = Vec::new();
    loop {
        while entries.len() >= ENTRIES_MAX {
            entries.join_next().await;
        }
        if waiting.recv_many(&mut batch, QUEUE_MAX).await == 0 {
            return;
        }
        for entry in entries_of(std::mem::take(&mut batch)) {
            entries.spawn(entry.commit(group.clone()));
        }
        while entries.try_join_next().is_some() {}
    }
}

/// Changes that go together.
struct Entry {
    epoch: u64,
    /// Mostly one command; several where one change is larger than an entry.
    commands: Vec<Vec<Part>>,
    writes: Vec<Done>,
}

// === impl Entry ===

impl Entry {
    async fn commit(self, group: Group) {
        let Self { epoch, commands, writes } = self;
        let mut results = vec![Ok(()); writes.len()];
        for parts in &commands {
            match propose(&group, epoch, parts).await {
                Ok(outcomes) => {
                    // A change of several parts is alone in its entry.
                    for (result, outcome) in results.iter_mut().zip(outcomes) {
                        *result = result.and(outcome);
                    }
                }
                Err(error) => results.fill(Err(error)),
            }
            if results.iter().all(Result::is_err) {
                break;
            }
        }
        for (done, result) in writes.into_iter().zip(results) {
            done(result);
        }
    }
}

/// Puts changes into as few entries as they fit in, each of one term.
fn entries_of(writes: Vec<Write>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut bytes = 0;
    for Write { session, version, epoch, change, done } in writes {
        let parts = shard::parts(session, version, &change);
        let own: usize = parts.iter().map(Part::bytes).sum();
        let fits = |entry: &Entry| entry.epoch == epoch && parts.len() == 1 && bytes + own <= PART_BYTES_MAX;
        match entries.last_mut().filter(|entry| fits(entry) && entry.commands.len() == 1) {
            Some(entry) => {
                bytes += own;
                entry.commands[0].extend(parts);
                entry.writes.push(done);
            }
            None => {
                bytes = own;
                let commands = parts.into_iter().map(|part| vec![part]).collect();
                entries.push(Entry { epoch, commands, writes: vec![done] });
            }
        }
    }
    entries
}

async fn propose(group: &Group, epoch: u64, parts: &[Part]) -> Result<Vec<Result<(), NotWritten>>, NotWritten> {
    let body = shard::command(parts);
    loop {
        let proposal = Proposal { level: LEVEL, body: body.clone(), epoch: Some(epoch) };
        match group.propose(proposal).await {
            Ok(proposed) => {
                let outcome = shard::outcome(&proposed.answer, parts.len());
                return Ok(outcome.into_iter().map(|outcome| outcome.map_err(not_written)).collect());
            }
            // Nothing was proposed: what was promised waits, and whoever fills it is held back meanwhile.
            Err(ProposeError::Overloaded { retry_after }) => tokio::time::sleep(retry_after).await,
            Err(ProposeError::DiskFull) if group.serves() == Some(epoch) => tokio::time::sleep(DISK_PAUSE).await,
            Err(error) => {
                tracing::debug!(group = %group.id(), %error, "changes of sessions were not written");
                return Err(NotWritten::Lost);
            }
        }
    }
}

const fn not_written(refusal: proto::Refusal) -> NotWritten {
    match refusal {
        proto::Refusal::Full => NotWritten::Full,
        proto::Refusal::Stale | proto::Refusal::Malformed | proto::Refusal::Unspecified => NotWritten::Lost,
    }
}
