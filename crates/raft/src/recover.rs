//! What one replica has of its group, read without the others, and made a group of one node.
//!
//! ```text
//! read:  newest snapshot ─▶ every entry behind it ─▶ the state, as if this replica had been elected
//! write: the state as a snapshot whose only voter is this node ─▶ a log that begins behind it
//! ```
//!
//! Entries that are not known to be committed are applied too: the others may have acknowledged them, and an entry that was
//! not is no harm, for it is a possible history of the group. What only the others had is lost. Nothing of what is read is
//! changed, and nothing is written in its place: where a crash would hurt is the business of who uses this.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use futures_util::stream;
use openraft::storage::{RaftLogReader as _, RaftLogStorage as _, RaftSnapshotBuilder as _, RaftStateMachine as _};
use quorate_types::{NodeId, Timestamp};
use quorate_wal::{Disk, Failed, Folder, GroupId, Op, Wal};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use crate::chain;
use crate::codec::Wire as _;
use crate::host::folder_of;
use crate::log::{Commits, Log, slots};
use crate::machine::Machine;
use crate::snapshot::Store;
use crate::state::{Config, State};
use crate::types::{Entry, LeaderId, LogId, Membership, StoredMembership, Vote};

/// A replica as its node has it, with all of its log applied.
pub struct Survivor {
    state: State,
    last: LogId,
    vote: Vote,
    found: Found,
}

/// How far a replica is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The group.
    pub group: GroupId,
    /// The last entry that is there.
    pub last: u64,
    /// The last entry of which the replica knew that it is committed.
    pub committed: u64,
    /// When the last command was proposed, by the clocks of the leaders; none where there was none.
    pub time: Option<Timestamp>,
    /// Who voted in the group.
    pub voters: BTreeSet<NodeId>,
}

/// A replica cannot be recovered.
#[derive(Debug, thiserror::Error)]
#[error("{group} cannot be recovered: {reason}")]
pub struct RecoverError {
    /// The group.
    pub group: GroupId,
    /// Why, with its causes.
    pub reason: String,
}

// === impl Survivor ===

impl Survivor {
    /// Reads the replica of a group that no host has: its newest snapshot in `folder`, where all groups of a host have
    /// theirs, and its log. None when there is nothing of it.
    ///
    /// # Errors
    /// [`RecoverError`] when something of it is not what was written, or this program cannot apply it.
    pub async fn read(
        wal: &Wal,
        group: GroupId,
        folder: &Path,
        machine: Box<dyn Machine>,
        level_max: u32,
    ) -> Result<Option<Self>, RecoverError> {
        let failed = |error: &dyn std::error::Error| RecoverError { group, reason: chain(error) };
        let store = open_store(group, folder).await?;
        let current = store.current();
        let (skipped, marks) = (BTreeSet::new(), Arc::default());
        let mut state = State::new(Config { group, machine, store, level_max, skipped, marks });
        if let Some(snapshot) = current {
            let meta = snapshot.identity().meta.raft.clone();
            state.install_snapshot(&meta, snapshot).await.map_err(|error| failed(&error))?;
        }
        let mut log = Log::new(wal.clone(), group, Commits::AtOnce);
        let committed = log.read_committed().await.map_err(|error| failed(&error))?;
        let vote = log.get_log_reader().await.read_vote().await.map_err(|error| failed(&error))?;
        apply_all(&mut log, &mut state).await.map_err(|error| failed(&error))?;
        let (applied, membership) = state.applied_state().await.map_err(|error| failed(&error))?;
        let Some(last) = applied else { return Ok(None) };
        let found = Found {
            group,
            last: last.index,
            committed: committed.map_or(0, |committed| committed.index),
            time: Some(state.time()).filter(|time| *time > Timestamp::default()),
            voters: membership.membership().voter_ids().collect(),
        };
        let nobody = Vote { leader_id: LeaderId { term: 0, voted_for: NodeId(0) }, committed: false };
        Ok(Some(Self { state, last, vote: vote.unwrap_or(nobody), found }))
    }

    /// How far it is.
    #[must_use]
    pub fn found(&self) -> &Found {
        &self.found
    }

    /// Writes it as a group whose only voter is `node`, into a log and a folder that have nothing of it; durable when this
    /// returns. What was done to the machine since it was read is in it.
    ///
    /// # Errors
    /// [`RecoverError`] when the disk does not take it.
    pub async fn write(mut self, node: NodeId, wal: &Wal, folder: &Path) -> Result<(), RecoverError> {
        let group = self.found.group;
        let failed = |reason: String| RecoverError { group, reason };
        let membership = Membership::new_with_defaults(vec![[node].into()], []);
        let membership = StoredMembership::new(Some(self.last), membership);
        let store = open_store(group, folder).await?;
        let mut builder = self.state.builder_for(store, membership).await;
        let built = builder.build_snapshot().await.map_err(|error| failed(chain(&error)))?;
        if built.meta.last_log_id != Some(self.last) {
            return Err(failed("its snapshot could not be written; the log says why".to_owned()));
        }
        // A term that nobody has led in: as after a restart in the midst of an election.
        let term = self.vote.leader_id.term.max(self.last.leader_id.term) + 1;
        let vote = Vote { leader_id: LeaderId { term, voted_for: node }, committed: false };
        let ops = vec![
            Op::Purge { before: self.last.index + 1, note: self.last.encode() },
            Op::Put { slot: slots::COMMITTED, value: self.last.encode() },
            Op::Put { slot: slots::VOTE, value: vote.encode() },
        ];
        let (done, is_durable) = oneshot::channel();
        let done = Box::new(|result: Result<(), Failed>| drop(done.send(result)));
        wal.submit(group, ops, Some(done)).map_err(|error| failed(chain(&error)))?;
        let is_durable = is_durable.await.map_err(|_| failed("the log has ended".to_owned()))?;
        is_durable.map_err(|error| failed(error.to_string()))
    }
}

/// Applies every entry of a log that is behind a state.
async fn apply_all(log: &mut Log, state: &mut State) -> io::Result<()> {
    let end = log.get_log_state().await?.last_log_id.map_or(0, |last| last.index + 1);
    let (applied, _) = state.applied_state().await?;
    let mut next = applied.map_or(0, |applied| applied.index + 1);
    let mut reader = log.get_log_reader().await;
    while next < end {
        let entries: Vec<Entry> = reader.limited_get_log_entries(next, end).await?;
        match (entries.first(), entries.last()) {
            (Some(first), Some(last)) if first.log_id.index == next => next = last.log_id.index + 1,
            _ => return Err(io::Error::new(io::ErrorKind::InvalidData, format!("entry {next} is not in the log"))),
        }
        state.apply(stream::iter(entries.into_iter().map(|entry| Ok((entry, None))))).await?;
    }
    Ok(())
}

async fn open_store(group: GroupId, folder: &Path) -> Result<Arc<Store>, RecoverError> {
    let failed = |reason: String| RecoverError { group, reason };
    let folder = folder_of(folder, group);
    let opened = spawn_blocking(move || {
        let disk = Folder::new(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let disk: Arc<dyn Disk> = Arc::new(disk);
        Store::open(disk).map(Arc::new).map_err(|error| chain(&error))
    });
    opened.await.map_err(|panic| failed(panic.to_string()))?.map_err(failed)
}
