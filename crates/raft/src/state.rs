//! What openraft applies a group's entries to: a [`Machine`], with its place in the log and the time there.
//!
//! ```text
//! entry ─▶ time of the log ─▶ skipped? ─▶ level known? ─▶ Machine::apply, panics caught ─▶ the proposer's answer
//! ```
//!
//! The time, the place and the membership are replicated with the machine's state, and are in its snapshots. A replica
//! that cannot apply an entry, or whose state is not what its snapshot says, stops its group on this node with an error
//! of its storage and says so ([`Stopped`]): it is never silently different from the others. An operator who has such
//! an entry skipped lets the same indexes be skipped on every replica ([`Config::skipped`]), and the groups be started
//! anew.
//!
//! Knows nothing of what commands say, nor of the log.

use std::collections::BTreeSet;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use quorate_types::{NodeId, Timestamp};
use quorate_wal::GroupId;
use tokio::sync::watch;
use tokio::task::{spawn_blocking, yield_now};

use crate::chain;
use crate::machine::{Applied, Frozen, Machine, RestoreError};
use crate::marks::Marks;
use crate::snapshot::{Meta, Snapshot, SnapshotError, Store};
use crate::types::{Command, Entry, Epoch, LogId, SnapshotMeta, StoredMembership, Types};

/// How long entries are applied before the other groups of the node have a turn.
const TURN: Duration = Duration::from_millis(1);

/// What a replica's state is made of.
pub struct Config {
    /// The group; for messages.
    pub group: GroupId,
    /// Before its first entry; it is restored from the newest snapshot when openraft starts.
    pub machine: Box<dyn Machine>,
    /// The group's snapshots.
    pub store: Arc<Store>,
    /// The newest feature level whose commands the machine can apply.
    pub level_max: u32,
    /// Indexes of commands that an operator had skipped, by a command that the cluster committed: the same on all
    /// replicas. They are answered with nothing.
    pub skipped: BTreeSet<u64>,
    /// Where the hashes at marks go.
    pub marks: Arc<Marks>,
}

/// One replica's state.
pub struct State {
    group: GroupId,
    /// None when what it says is unknown, since it panicked or was restored in part.
    machine: Option<Box<dyn Machine>>,
    place: Place,
    store: Arc<Store>,
    level_max: u32,
    skipped: BTreeSet<u64>,
    marks: Arc<Marks>,
    stopped: Alarm,
}

/// Says why a replica has stopped for good; the first reason stays.
#[derive(Clone, Debug)]
pub(crate) struct Alarm {
    group: GroupId,
    reason: watch::Sender<Option<Stopped>>,
}

/// A snapshot as openraft hands it around.
pub type WithMeta = openraft::Snapshot<Epoch, NodeId, (), Snapshot>;

/// Where in the log a state is.
#[derive(Clone, Debug, Default)]
struct Place {
    applied: Option<LogId>,
    membership: StoredMembership,
    time: Timestamp,
}

/// A replica cannot go on; an operator has to act.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    /// A newer program proposed a command, at a level that this one does not know.
    #[error(
        "{group}: the command at index {index} needs feature level {level}, and this program knows {known}: start a \
         newer program"
    )]
    Level {
        /// The group.
        group: GroupId,
        /// The command's index.
        index: u64,
        /// What it needs.
        level: u32,
        /// What is known.
        known: u32,
    },
    /// The machine panicked.
    #[error("{group}: the machine panicked at index {index}: {message}. Report it; the entry can be skipped")]
    Panicked {
        /// The group.
        group: GroupId,
        /// The command's index.
        index: u64,
        /// What the panic said.
        message: String,
    },
    /// A snapshot could not be restored.
    #[error("{group}: {file} was not restored: {reason}")]
    NotRestored {
        /// The group.
        group: GroupId,
        /// The snapshot.
        file: String,
        /// Why.
        reason: String,
    },
    /// Two replicas have different states at the same index.
    #[error(
        "{group}: the state at {at} has hash {found:016x}, and other replicas had {expected:016x} there: remove \
         this node's replica of the group, and let it join again as a learner"
    )]
    Diverged {
        /// The group.
        group: GroupId,
        /// The snapshot, or the entry.
        at: String,
        /// What the snapshot says, or the others.
        expected: u64,
        /// What this one has.
        found: u64,
    },
    /// It stopped before.
    #[error("{group}: the state is unknown since an earlier error")]
    Unknown {
        /// The group.
        group: GroupId,
    },
}

/// Makes a snapshot of a state as it was, while the state goes on.
pub struct Builder {
    group: GroupId,
    store: Arc<Store>,
    place: Place,
    /// Or why there is none.
    frozen: Result<Arc<dyn Frozen>, Stopped>,
    stopped: Alarm,
}

// === impl State ===

impl State {
    /// Makes a state that nothing was applied to.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let Config { group, machine, store, level_max, skipped, marks } = config;
        let (place, stopped) = (Place::default(), Alarm { group, reason: watch::Sender::new(None) });
        Self { group, machine: Some(machine), place, store, level_max, skipped, marks, stopped }
    }

    /// Tells when the replica stops, and why: what alarms look at.
    #[must_use]
    pub fn stopped(&self) -> watch::Receiver<Option<Stopped>> {
        self.stopped.reason.subscribe()
    }

    /// Returns what says that it has stopped.
    pub(crate) fn alarm(&self) -> Alarm {
        self.stopped.clone()
    }

    /// The time of the log at the last entry that was applied.
    pub(crate) fn time(&self) -> Timestamp {
        self.place.time
    }

    /// Makes snapshots of this state in another store, as of a group with other members.
    pub(crate) async fn builder_for(&mut self, store: Arc<Store>, membership: StoredMembership) -> Builder {
        let builder = self.get_snapshot_builder().await;
        Builder { store, place: Place { membership, ..builder.place.clone() }, ..builder }
    }

    /// Applies an entry; returns the answer for who proposed it.
    fn apply_entry(&mut self, entry: Entry) -> Result<Bytes, Stopped> {
        let at = entry.log_id;
        let answer = match entry.payload {
            EntryPayload::Blank => Bytes::new(),
            EntryPayload::Membership(membership) => {
                self.place.membership = StoredMembership::new(Some(at), membership);
                Bytes::new()
            }
            EntryPayload::Normal(command) => self.apply_command(at, &command)?,
        };
        self.place.applied = Some(at);
        Ok(answer)
    }

    fn apply_command(&mut self, at: LogId, command: &Command) -> Result<Bytes, Stopped> {
        let (group, index) = (self.group, at.index);
        let time = self.place.time.max(command.time);
        if self.skipped.contains(&index) {
            tracing::warn!(group = group.0, index, "a command was skipped, as the cluster committed");
            self.place.time = time;
            return Ok(Bytes::new());
        }
        if command.is_mark {
            self.place.time = time;
            return self.hash_at(index).map(|()| Bytes::new());
        }
        if command.level > self.level_max {
            return Err(Stopped::Level { group, index, level: command.level, known: self.level_max });
        }
        let mut machine = self.machine.take().ok_or(Stopped::Unknown { group })?;
        let context = Applied { index, term: at.leader_id.term, time };
        // A machine that panicked is not put back, so that nobody sees what it left.
        let applied = catch_unwind(AssertUnwindSafe(|| {
            let answer = machine.apply(&context, &command.body);
            (machine, answer)
        }));
        let (machine, answer) = applied.map_err(|panic| {
            let message = message_of(&*panic);
            Stopped::Panicked { group, index, message }
        })?;
        self.machine = Some(machine);
        self.place.time = time;
        Ok(answer)
    }

    /// Has the state hashed as it is now, beside what is applied from here on.
    fn hash_at(&self, index: u64) -> Result<(), Stopped> {
        let machine = self.machine.as_ref().ok_or(Stopped::Unknown { group: self.group })?;
        let frozen = catch_unwind(AssertUnwindSafe(|| machine.freeze()));
        let frozen = frozen.map_err(|panic| panicked(self.group, &self.place, &*panic))?;
        let (marks, group) = (Arc::clone(&self.marks), self.group);
        spawn_blocking(move || match catch_unwind(AssertUnwindSafe(|| frozen.hash())) {
            Ok(hash) => marks.add(index, hash),
            // Its next snapshot stops the replica by the same panic; nobody counts it as equal until then.
            Err(panic) => tracing::error!(%group, index, message = message_of(&*panic), "hashing a state panicked"),
        });
        Ok(())
    }

    fn stop(&self, stopped: Stopped) -> io::Error {
        self.stopped.stop(stopped)
    }

    /// Checks and restores a snapshot, on a thread that may block, and keeps it.
    async fn restore(&mut self, snapshot: Snapshot) -> Result<(), Stopped> {
        let group = self.group;
        let file = snapshot.name().to_owned();
        let not_restored = |reason: String| Stopped::NotRestored { group, file: file.clone(), reason };
        let machine = self.machine.take().ok_or(Stopped::Unknown { group })?;
        let store = Arc::clone(&self.store);
        let restored = spawn_blocking(move || {
            let (machine, found) = restore(machine, &snapshot)?;
            if found == snapshot.identity().meta.state_hash {
                return Ok((machine, found, store.keep(snapshot)?.identity().meta.clone()));
            }
            Ok((machine, found, snapshot.identity().meta.clone()))
        });
        let restored: Result<_, NotRestored> = restored.await.map_err(|panic| not_restored(panic.to_string()))?;
        let (machine, found, meta) = restored.map_err(|error| not_restored(chain(&error)))?;
        if found != meta.state_hash {
            return Err(Stopped::Diverged { group, at: file, expected: meta.state_hash, found });
        }
        self.machine = Some(machine);
        let SnapshotMeta { last_log_id: applied, last_membership: membership } = meta.raft;
        self.place = Place { applied, membership, time: meta.time };
        Ok(())
    }
}

impl RaftStateMachine<Types> for State {
    type SnapshotData = Snapshot;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.place.applied, self.place.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        let mut turn = Instant::now();
        while let Some(next) = entries.next().await {
            if turn.elapsed() > TURN {
                yield_now().await;
                turn = Instant::now();
            }
            let (entry, responder) = next?;
            let answer = self.apply_entry(entry).map_err(|stopped| self.stop(stopped))?;
            if let Some(responder) = responder {
                responder.send(answer);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let machine = self.machine.as_ref().ok_or(Stopped::Unknown { group: self.group });
        let frozen = machine.and_then(|machine| {
            let frozen = catch_unwind(AssertUnwindSafe(|| machine.freeze()));
            frozen.map(Arc::from).map_err(|panic| panicked(self.group, &self.place, &*panic))
        });
        Builder {
            group: self.group,
            store: Arc::clone(&self.store),
            place: self.place.clone(),
            frozen,
            stopped: self.stopped.clone(),
        }
    }

    /// Called with what a peer sent, and by openraft's start with the newest snapshot.
    async fn install_snapshot(&mut self, _meta: &SnapshotMeta, snapshot: Snapshot) -> io::Result<()> {
        self.restore(snapshot).await.map_err(|stopped| self.stop(stopped))
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<WithMeta>> {
        Ok(self.store.current().map(of_openraft))
    }
}

// === impl Builder ===

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = Snapshot;

    /// Makes the snapshot beside what is applied. When the disk does not take it the older one is the answer, or one that
    /// has nothing, so that a full disk does not stop the group: the log is kept, and the next attempt may succeed.
    async fn build_snapshot(&mut self) -> io::Result<WithMeta> {
        let stop = |stopped| self.stopped.stop(stopped);
        let frozen = self.frozen.clone().map_err(stop)?;
        let Place { applied, membership, time } = self.place.clone();
        let store = Arc::clone(&self.store);
        let built = spawn_blocking(move || {
            catch_unwind(AssertUnwindSafe(|| {
                let raft = SnapshotMeta { last_log_id: applied, last_membership: membership };
                store.build(Meta { raft, time, state_hash: frozen.hash() }, &*frozen)
            }))
        });
        let built = built.await.map_err(io::Error::other)?;
        match built.map_err(|panic| stop(panicked(self.group, &self.place, &*panic)))? {
            Ok(snapshot) => Ok(of_openraft(snapshot)),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(group = self.group.0, error, "a snapshot was not made, what was before stays");
                Ok(of_openraft(self.store.current().unwrap_or_else(Snapshot::nothing)))
            }
        }
    }
}

// === impl Alarm ===

impl Alarm {
    /// Says that the replica stops; returns the error that stops openraft.
    pub(crate) fn stop(&self, stopped: Stopped) -> io::Error {
        tracing::error!(group = self.group.0, error = &stopped as &dyn std::error::Error, "a replica stopped");
        self.reason.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert_with(|| stopped.clone());
            is_first
        });
        io::Error::other(stopped)
    }
}

fn panicked(group: GroupId, place: &Place, panic: &(dyn std::any::Any + Send)) -> Stopped {
    let index = place.applied.map_or(0, |applied| applied.index);
    Stopped::Panicked { group, index, message: message_of(panic) }
}

/// Why a snapshot was not restored.
#[derive(Debug, thiserror::Error)]
enum NotRestored {
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    Restore(#[from] RestoreError),
    #[error("the machine panicked: {0}")]
    Panicked(String),
}

/// Restores a machine from a snapshot of which every byte was checked first; returns the hash of its state.
fn restore(mut machine: Box<dyn Machine>, snapshot: &Snapshot) -> Result<(Box<dyn Machine>, u64), NotRestored> {
    snapshot.verify()?;
    let mut contents = snapshot.contents()?;
    let restored = catch_unwind(AssertUnwindSafe(|| {
        machine.restore(&mut contents)?;
        let found = machine.freeze().hash();
        Ok::<_, RestoreError>((machine, found))
    }));
    Ok(restored.map_err(|panic| NotRestored::Panicked(message_of(&*panic)))??)
}

fn of_openraft(snapshot: Snapshot) -> WithMeta {
    openraft::Snapshot { meta: snapshot.identity().meta.raft.clone(), snapshot }
}

fn message_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a message".to_owned())
}
