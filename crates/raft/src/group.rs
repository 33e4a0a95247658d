//! One group, as its users on this node see it: propose, read, lead, change.
//!
//! A proposal is counted in bytes before consensus hears of it, and its answer says whether it was committed, was not, or
//! is not known. Whoever does not lead can have the leader propose ([`Group::propose_anywhere`]): one hop, never two.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use openraft::ChangeMembers;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::{ClientWriteError, LinearizableReadError, RaftError};
use openraft::raft::ReadPolicy;
use quorate_peer::{CallError, Link, Peers, Urgency};
use quorate_proto::raft::v1;
use quorate_proto::raft::v1::request::Kind as Ask;
use quorate_proto::raft::v1::response::Kind as Told;
use quorate_types::{NodeId, Timestamp};
use quorate_wal::{GroupId, SubmitError, Wal};
use tokio::sync::watch;

use crate::Raft;
use crate::budget::{Budget, Responder, Share};
use crate::error::{ChangeError, ProposeError, ReadIndexError};
use crate::forward;
use crate::marks::{self, Marks};
use crate::network::{AskError, ask_peer};
use crate::role::{self, Role};
use crate::snapshot::Store;
use crate::snapshots::Weights;
use crate::state::{Alarm, Stopped};
use crate::types::{COMMAND_BYTES_MAX, Command, ENTRY_BYTES_MAX, Epoch, LogId, TooLarge, Types};

/// After how long without an acknowledgement of a quorum a leader is held to be cut off: some elections, so that a machine
/// that is busy is not.
const CUT_OFF: Duration = Duration::from_secs(2);

/// How long who hands a group over waits for the next leader's first entry.
const SERVES_PATIENCE: Duration = Duration::from_millis(100);
/// How long what was committed elsewhere is waited for here, before it is answered all the same.
const HERE_PATIENCE: Duration = Duration::from_secs(1);

/// How long a proposal is waited for: longer than an election by far. What is not committed then is unknown.
const PROPOSAL_PATIENCE: Duration = Duration::from_secs(10);

/// How long an election is waited for by who needs a leader: several, so that one that fails is no error yet.
const ELECTION_PATIENCE: Duration = Duration::from_secs(2);

/// After which a full queue to a disk or a peer is worth another try.
const QUEUE_PATIENCE: Duration = Duration::from_millis(100);

/// How long a read waits for the leader, its quorum, and what is committed to arrive here.
const READ_PATIENCE: Duration = Duration::from_secs(5);

/// Entries that a replica may lack to vote: less than a busy group commits in a second.
const CAUGHT_UP_ENTRIES: u64 = 1000;

/// How long a snapshot may take: 64 MiB on a disk that is slow and busy.
const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(120);

/// A group of which this node has a replica; cheap to clone.
#[derive(Clone)]
pub struct Group {
    shared: Arc<Shared>,
}

/// What was committed and applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposed {
    /// The entry's index.
    pub index: u64,
    /// The term in which it was proposed.
    pub epoch: u64,
    /// What the group's machine answered.
    pub answer: Bytes,
}

/// Who is in a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// Who votes; while a change goes on, who votes before or after it.
    pub voters: BTreeSet<NodeId>,
    /// Who follows without a vote.
    pub learners: BTreeSet<NodeId>,
    /// Whether a change goes on.
    pub is_changing: bool,
    /// The voters that a change was to end with that stands between its two halves: whoever began it is gone. It is ended by
    /// [`Group::set_voters`] with these.
    pub unfinished: Option<BTreeSet<NodeId>>,
}

/// How far a replica is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The latest term that it knows.
    pub term: u64,
    /// The entry up to which it knows that all is committed; 0 for none.
    pub committed: u64,
    /// The entry up to which its machine has applied all; 0 for none.
    pub applied: u64,
}

/// What a proposer asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The feature level that a replica needs to apply it.
    pub level: u32,
    /// What the group's machine reads; at most [`crate::COMMAND_BYTES_MAX`].
    pub body: Bytes,
    /// The term in which it has to be proposed: a proposer that leads in it and then no more is refused.
    pub epoch: Option<u64>,
}

pub(crate) struct Shared {
    pub(crate) id: GroupId,
    pub(crate) node: NodeId,
    pub(crate) raft: Raft,
    pub(crate) peers: Peers,
    pub(crate) budget: Budget,
    pub(crate) role: watch::Receiver<Role>,
    /// The last term in which this node began to hand over.
    pub(crate) handed_over: watch::Sender<u64>,
    /// Whether votes are given although the node was started a moment ago.
    pub(crate) is_free: AtomicBool,
    /// How long this node may act as a leader on what a quorum has acknowledged.
    pub(crate) lease: Duration,
    pub(crate) store: Arc<Store>,
    pub(crate) wal: Wal,
    pub(crate) stopped: watch::Receiver<Option<Stopped>>,
    pub(crate) alarm: Alarm,
    pub(crate) marks: Arc<Marks>,
    pub(crate) weights: Arc<Weights>,
}

// === impl Group ===

impl Group {
    pub(crate) fn new(shared: Shared) -> Self {
        Self { shared: Arc::new(shared) }
    }

    /// Returns which group it is.
    #[must_use]
    pub fn id(&self) -> GroupId {
        self.shared.id
    }

    /// Returns what this node is in the group, now and as it changes.
    #[must_use]
    pub fn role(&self) -> watch::Receiver<Role> {
        self.shared.role.clone()
    }

    /// Returns the term in which this node leads and may act now, by the clock: everything that was committed before is applied
    /// here, and nobody else can lead before its lease ends. What is asked right before acting, or before reading the machine;
    /// [`Self::role`] tells the same a little later. Does not ask anybody.
    #[must_use]
    pub fn serves(&self) -> Option<u64> {
        let epoch = self.shared.role.borrow().serves()?;
        let until = role::acts_until(&self.shared.raft, self.shared.lease)?;
        (until > tokio::time::Instant::now() && *self.shared.handed_over.borrow() != epoch).then_some(epoch)
    }

    /// Whether this node leads in a term, as far as it knows, and has not begun to hand over. It may not act now, where a quorum
    /// is late to acknowledge it; it does again when one has, unless another node leads by then.
    #[must_use]
    pub fn leads_in(&self, epoch: u64) -> bool {
        let leads = matches!(&*self.shared.role.borrow(), Role::Leader { epoch: term, .. } if *term == epoch);
        leads && *self.shared.handed_over.borrow() != epoch
    }

    /// Returns why this replica stopped for good, if it did: what alarms look at.
    #[must_use]
    pub fn stopped(&self) -> watch::Receiver<Option<Stopped>> {
        self.shared.stopped.clone()
    }

    /// Returns the entry up to which this replica's latest snapshot goes, and the hash of the machine's state there: the
    /// same on all replicas that have a snapshot of this entry.
    #[must_use]
    pub fn snapshot_hash(&self) -> Option<(u64, u64)> {
        let current = self.shared.store.current()?;
        let meta = &current.identity().meta;
        Some((meta.raft.last_log_id?.index, meta.state_hash))
    }

    /// Proposes a command, and waits until it is applied here.
    ///
    /// # Errors
    /// [`ProposeError`] says whether it may be committed all the same.
    pub async fn propose(&self, proposal: Proposal) -> Result<Proposed, ProposeError> {
        let Proposal { level, body, epoch } = proposal;
        let bytes = body.len() + ENTRY_BYTES_MAX - COMMAND_BYTES_MAX;
        let command = Command { level, time: now(), body, is_mark: false };
        command.check()?;
        self.shared.wal.admits(self.shared.id).map_err(not_admitted)?;
        if self.is_cut_off() {
            return Err(ProposeError::NotLeader { leader: None });
        }
        let share = self.shared.budget.take(bytes).map_err(|retry_after| ProposeError::Overloaded { retry_after })?;
        let began = Instant::now();
        let proposed = match tokio::time::timeout(PROPOSAL_PATIENCE, self.write(command, epoch, share)).await {
            Ok(proposed) => proposed,
            Err(_) => Err(ProposeError::Unknown),
        };
        if proposed.is_ok() {
            self.shared.budget.committed_in(began.elapsed());
        }
        proposed
    }

    /// Proposes a command where the group is led, and waits until it is applied there, and here if that does not take long, so
    /// that whoever reads here next finds it. An election is waited for.
    ///
    /// # Errors
    /// As [`Self::propose`]; [`ProposeError::NotLeader`] only when nobody leads.
    pub async fn propose_anywhere(&self, proposal: Proposal) -> Result<Proposed, ProposeError> {
        let leader = match self.awaited_leader().await {
            Some(leader) if leader != self.shared.node => leader,
            Some(_) | None => return self.propose(proposal).await,
        };
        let Proposal { level, body, epoch } = proposal;
        TooLarge::check(body.len())?;
        let forward = v1::Forward { level, body, epoch };
        // A little longer than the leader waits, so that its answer is heard.
        let patience = PROPOSAL_PATIENCE + Duration::from_secs(1);
        match tokio::time::timeout(patience, self.ask(leader, Ask::Forward(forward))).await {
            Ok(Ok(Told::Forward(response))) => {
                let proposed = forward::of_response(response)?;
                // It is committed, whether this replica hears of it or not.
                let _ = tokio::time::timeout(HERE_PATIENCE, self.applied(proposed.index)).await;
                Ok(proposed)
            }
            // Such a call did not leave this node.
            Ok(Err(AskError::Call(CallError::QueueFull { .. } | CallError::TooManyCalls { .. }))) => {
                Err(ProposeError::Overloaded { retry_after: QUEUE_PATIENCE })
            }
            Ok(Err(AskError::Call(CallError::NotConnected | CallError::Unknown { .. }) | AskError::Refused(_))) => {
                Err(ProposeError::NotLeader { leader: None })
            }
            Ok(Ok(_) | Err(_)) | Err(_) => Err(ProposeError::Unknown),
        }
    }

    /// Waits until everything that was committed before is applied here, so that what is read then is no older.
    ///
    /// # Errors
    /// [`ReadIndexError`] when that cannot be known.
    pub async fn read_index(&self) -> Result<u64, ReadIndexError> {
        let index = match self.awaited_leader().await {
            Some(leader) if leader != self.shared.node => {
                let asked = self.ask(leader, Ask::ReadIndex(v1::ReadIndex {}));
                match tokio::time::timeout(READ_PATIENCE, asked).await {
                    Ok(Ok(Told::ReadIndex(response))) => forward::of_index_response(response)?,
                    Ok(Ok(_) | Err(_)) | Err(_) => return Err(ReadIndexError::NoQuorum),
                }
            }
            Some(_) | None => self.leader_s_index().await?,
        };
        self.applied(index).await?;
        Ok(index)
    }

    /// Returns who votes and who learns in the group, as this replica knows it.
    #[must_use]
    pub fn members(&self) -> Members {
        let metrics = self.shared.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        Members {
            voters: membership.voter_ids().collect(),
            learners: membership.learner_ids().collect(),
            is_changing: metrics.membership_config.log_id() != metrics.committed_membership_config.log_id(),
            unfinished: match membership.get_joint_config().as_slice() {
                [_, .., last] => Some(last.clone()),
                [] | [_] => None,
            },
        }
    }

    /// Returns how far this replica is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let metrics = self.shared.raft.metrics();
        let metrics = metrics.borrow_watched();
        let index = |log_id: Option<LogId>| log_id.map_or(0, |log_id| log_id.index);
        let (committed, applied) =
            (index(metrics.cluster_committed.max(metrics.local_committed)), index(metrics.last_applied));
        Progress { term: metrics.current_term, committed, applied }
    }

    /// Tells whether a node has what the others have, but for the latest entries: it can vote without holding them up.
    /// Only the leader knows; elsewhere nobody has.
    #[must_use]
    pub fn has_caught_up(&self, node: NodeId) -> bool {
        let metrics = self.shared.raft.metrics();
        let metrics = metrics.borrow_watched();
        // Who has nothing yet is behind, also in a log that is short.
        let Some(matched) = metrics.replication.as_ref().and_then(|progress| progress.get(&node).copied().flatten())
        else {
            return false;
        };
        matched.index + CAUGHT_UP_ENTRIES >= metrics.last_log_index.unwrap_or_default()
    }

    /// Begins the group with these voters; the same on each of them, and only once in its life.
    ///
    /// # Errors
    /// [`ChangeError::Refused`] when it has begun already.
    pub async fn begin(&self, voters: BTreeSet<NodeId>) -> Result<(), ChangeError> {
        let members: std::collections::BTreeMap<NodeId, ()> = voters.into_iter().map(|node| (node, ())).collect();
        self.shared.raft.initialize(members).await.map_err(|error| match error {
            RaftError::APIError(error) => ChangeError::Refused { reason: error.to_string() },
            RaftError::Fatal(fatal) => ChangeError::Stopped { reason: fatal.to_string() },
        })
    }

    /// Makes a node a learner, without waiting for it to catch up.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn add_learner(&self, node: NodeId) -> Result<(), ChangeError> {
        self.change(ChangeMembers::AddNodes([(node, ())].into()), true).await
    }

    /// Makes these the voters; each must be a learner that has caught up, or a voter. Those that were voters and are no
    /// more become learners. A leader that is not among them hands over first, and whoever leads then is asked again.
    ///
    /// # Errors
    /// [`ChangeError`]; [`ChangeError::NotLeader`] when it handed over.
    pub async fn set_voters(&self, voters: BTreeSet<NodeId>) -> Result<(), ChangeError> {
        if !voters.contains(&self.shared.node) {
            let mut heirs = self.members().voters.intersection(&voters).copied().collect::<Vec<_>>().into_iter();
            let Some(heir) = heirs.find(|heir| self.can_follow(*heir)) else {
                let reason = "this node leads and is not among them, and none of them can lead now".to_owned();
                return Err(ChangeError::Refused { reason });
            };
            self.transfer_to(heir).await?;
            return Err(ChangeError::NotLeader { leader: Some(heir) });
        }
        self.change(ChangeMembers::ReplaceAllVoters(voters), true).await
    }

    /// Takes a learner out of the group.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn remove_learner(&self, node: NodeId) -> Result<(), ChangeError> {
        self.change(ChangeMembers::RemoveNodes([node].into()), true).await
    }

    /// Hands the leadership to a voter; done when it is asked, not when it leads ([`Self::role`] tells).
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn transfer_to(&self, node: NodeId) -> Result<(), ChangeError> {
        let Role::Leader { epoch, .. } = *self.shared.role.borrow() else {
            return Err(ChangeError::NotLeader { leader: self.leader() });
        };
        // openraft takes it for granted, and a leader that has begun to hand over never leads again in its term.
        if node == self.shared.node || !self.members().voters.contains(&node) {
            return Err(ChangeError::Refused { reason: format!("node {node} is no other voter of the group") });
        }
        if !self.can_follow(node) {
            return Err(ChangeError::Refused { reason: format!("node {node} is not there, or is behind") });
        }
        // The next leader does not wait for the lease of this one.
        self.shared.handed_over.send_replace(epoch);
        let asked = self.shared.raft.trigger().transfer_leader(node).await;
        asked.map_err(|fatal| ChangeError::Stopped { reason: fatal.to_string() })
    }

    /// Hands the leadership to a voter, and waits until somebody else leads, for as long as an election takes, and a little longer
    /// until it has committed an entry. Who hands over several groups one after the other disturbs the few at a time who use
    /// one of them, and each for as short as can be.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn hand_over_to(&self, node: NodeId) -> Result<(), ChangeError> {
        self.transfer_to(node).await?;
        let mut role = self.role();
        let led = async { role.wait_for(|role| !role.leads() && role.leader().is_some()).await.is_ok() };
        // One that is late is elected.
        if tokio::time::timeout(self.shared.lease, led).await.unwrap_or(false) {
            let term = self.shared.raft.server_metrics().borrow_watched().vote.leader_id.term;
            let first = Some(LogId::new(Epoch::new(term), 0));
            let mut applied = self.shared.raft.watch_apply_progress();
            let _serves = tokio::time::timeout(SERVES_PATIENCE, applied.wait_until_ge(&first)).await;
        }
        Ok(())
    }

    /// Has this replica make a snapshot, and waits for it; done at once when nothing was applied since the last one.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn snapshot(&self) -> Result<(), ChangeError> {
        let raft = &self.shared.raft;
        let stopped = |fatal: openraft::errors::Fatal<Types>| ChangeError::Stopped { reason: fatal.to_string() };
        let applied = raft.watch_apply_progress().get();
        let mut made = raft.watch_snapshot_progress();
        raft.trigger().snapshot().await.map_err(stopped)?;
        match tokio::time::timeout(SNAPSHOT_PATIENCE, made.wait_until_ge(&applied)).await {
            Ok(Ok(_)) => {
                // openraft keeps a number of entries, whatever they weigh, and nothing that is not in the snapshot is dropped.
                match self.shared.weights.droppable() {
                    Some(upto) => raft.trigger().purge_log(upto).await.map_err(stopped),
                    None => Ok(()),
                }
            }
            Ok(Err(_)) => Err(ChangeError::Stopped { reason: "the group was closed".to_owned() }),
            Err(_) => Err(ChangeError::Unknown),
        }
    }

    /// Has every replica hash its state at the same entry, and holds the hashes against each other: who differs stops, and says
    /// so ([`Self::stopped`]). Done by itself with each snapshot of the leader; does nothing on other nodes.
    pub async fn compare(&self) {
        marks::compare(self, &self.shared.marks).await;
    }

    /// Marks the log, if this node leads; returns where.
    pub(crate) async fn mark(&self) -> Option<u64> {
        self.shared.role.borrow().serves()?;
        let share = self.shared.budget.take(ENTRY_BYTES_MAX - COMMAND_BYTES_MAX).ok()?;
        let marked = tokio::time::timeout(PROPOSAL_PATIENCE, self.write(Command::mark(now()), None, share)).await;
        marked.ok()?.ok().map(|proposed| proposed.index)
    }

    /// The hash of this replica's state at a mark.
    pub(crate) fn hash_at(&self, index: u64) -> Option<u64> {
        self.shared.marks.at(index)
    }

    /// Stops this replica for good when its state at a mark is not that of the others.
    pub(crate) async fn stop_if_differs(&self, index: u64, expected: u64) {
        let Some(found) = self.hash_at(index).filter(|found| *found != expected) else { return };
        let at = format!("entry {index}");
        self.shared.alarm.stop(Stopped::Diverged { group: self.shared.id, at, expected, found });
        if let Err(panic) = self.shared.raft.shutdown().await {
            tracing::warn!(group = %self.shared.id, %panic, "a replica that differs did not end as it should");
        }
    }

    /// Whether this replica's log has an entry, or had it before a snapshot, durable or not.
    pub(crate) fn has_entry(&self, index: Option<u64>) -> bool {
        index.is_none_or(|index| self.shared.wal.group(self.shared.id).next > index)
    }

    /// Gives votes from now on: whoever this node may have acknowledged in its last life is gone.
    pub(crate) fn free_votes(&self) {
        self.shared.is_free.store(true, Ordering::Relaxed);
    }

    /// Whether votes are given although the node was started a moment ago.
    pub(crate) fn has_free_votes(&self) -> bool {
        self.shared.is_free.load(Ordering::Relaxed)
    }

    pub(crate) fn node(&self) -> NodeId {
        self.shared.node
    }

    pub(crate) fn peers(&self) -> &Peers {
        &self.shared.peers
    }

    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.shared.store
    }

    pub(crate) fn raft(&self) -> &Raft {
        &self.shared.raft
    }

    /// Proposes what another node was asked to.
    pub(crate) async fn take_forwarded(&self, forward: v1::Forward) -> v1::ForwardResponse {
        let v1::Forward { level, body, epoch } = forward;
        forward::to_response(self.propose(Proposal { level: level.max(1), body, epoch }).await)
    }

    pub(crate) async fn tell_read_index(&self) -> v1::ReadIndexResponse {
        forward::to_index_response(self.leader_s_index().await)
    }

    fn leader(&self) -> Option<NodeId> {
        self.shared.role.borrow().leader()
    }

    /// Who leads; waits for an election that goes on.
    async fn awaited_leader(&self) -> Option<NodeId> {
        let mut role = self.shared.role.clone();
        let led = role.wait_for(|role| role.leader().is_some() || *role == Role::Stopped);
        match tokio::time::timeout(ELECTION_PATIENCE, led).await {
            Ok(Ok(role)) => role.leader(),
            Ok(Err(_)) | Err(_) => None,
        }
    }

    fn ask(&self, node: NodeId, ask: Ask) -> impl Future<Output = Result<Told, AskError>> + Send + use<> {
        ask_peer(&self.shared.peers, self.shared.id, node, ask, Urgency::Consensus)
    }

    async fn write(&self, command: Command, epoch: Option<u64>, share: Share) -> Result<Proposed, ProposeError> {
        let (responder, answered) = Responder::new(share);
        let mut request = self.shared.raft.write(command).responder(responder);
        if let Some(epoch) = epoch {
            request = request.with_leader(Epoch::new(epoch));
        }
        let stopped = |fatal: openraft::errors::Fatal<Types>| ProposeError::Stopped { reason: fatal.to_string() };
        request.await.map_err(stopped)?;
        match answered.await {
            Ok(Ok(response)) => {
                let LogId { leader_id, index } = response.log_id;
                Ok(Proposed { index, epoch: leader_id.term, answer: response.data })
            }
            Ok(Err(ClientWriteError::ForwardToLeader(forward))) => {
                Err(ProposeError::NotLeader { leader: forward.leader_id })
            }
            // It was in the log here, and may be in another leader's.
            Ok(Err(_)) | Err(_) => Err(ProposeError::Unknown),
        }
    }

    /// Whether this node takes itself for the leader, and no quorum has heard it for a while: it is held to be cut off, and
    /// whoever asks it can ask another node. What it takes all the same is safe, and only waits.
    fn is_cut_off(&self) -> bool {
        self.shared.role.borrow().leads() && role::is_cut_off(&self.shared.raft, CUT_OFF)
    }

    /// What is committed now, if this node leads: a quorum is asked.
    async fn leader_s_index(&self) -> Result<u64, ReadIndexError> {
        if self.is_cut_off() {
            return Err(ReadIndexError::NoQuorum);
        }
        let asked = self.shared.raft.get_read_log_id(ReadPolicy::ReadIndex);
        match tokio::time::timeout(READ_PATIENCE, asked).await {
            Ok(Ok((read, _))) => Ok(read.index()),
            Ok(Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward)))) => {
                Err(ReadIndexError::NotLeader { leader: forward.leader_id })
            }
            Ok(Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)))) | Err(_) => {
                Err(ReadIndexError::NoQuorum)
            }
            Ok(Err(RaftError::Fatal(fatal))) => Err(ReadIndexError::Stopped { reason: fatal.to_string() }),
        }
    }

    async fn applied(&self, index: u64) -> Result<(), ReadIndexError> {
        let wait = self.shared.raft.wait(Some(READ_PATIENCE));
        match wait.applied_index_at_least(Some(index), "a read").await {
            Ok(_) => Ok(()),
            Err(openraft::metrics::WaitError::Timeout(waited, _)) => Err(ReadIndexError::Behind { index, waited }),
            Err(openraft::metrics::WaitError::ShuttingDown) => {
                Err(ReadIndexError::Stopped { reason: "the node ends".to_owned() })
            }
        }
    }

    /// Whether a node could vote, or lead next: it is there, and not far behind. Only the leader knows.
    #[must_use]
    pub fn can_follow(&self, node: NodeId) -> bool {
        let is_there = |link: watch::Receiver<Link>| matches!(*link.borrow(), Link::Connected { .. });
        self.shared.peers.link(node).is_some_and(is_there) && self.has_caught_up(node)
    }

    async fn change(&self, change: ChangeMembers<NodeId, ()>, keep: bool) -> Result<(), ChangeError> {
        // openraft takes for granted that a leader that changes its group has a vote in it.
        if !self.members().voters.contains(&self.shared.node) {
            return Err(ChangeError::NotLeader { leader: None });
        }
        let changed = self.shared.raft.change_membership(change, keep);
        match tokio::time::timeout(PROPOSAL_PATIENCE, changed).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward)))) => {
                Err(ChangeError::NotLeader { leader: forward.leader_id })
            }
            Ok(Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error)))) => {
                Err(ChangeError::Refused { reason: error.to_string() })
            }
            Ok(Err(RaftError::APIError(_))) | Err(_) => Err(ChangeError::Unknown),
            Ok(Err(RaftError::Fatal(fatal))) => Err(ChangeError::Stopped { reason: fatal.to_string() }),
        }
    }
}

fn not_admitted(error: SubmitError) -> ProposeError {
    match error {
        SubmitError::DiskFull { .. } => ProposeError::DiskFull,
        SubmitError::QueueFull { .. } => ProposeError::Overloaded { retry_after: QUEUE_PATIENCE },
        failed => ProposeError::Stopped { reason: failed.to_string() },
    }
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp::from_millis(since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
}
