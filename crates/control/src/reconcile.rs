//! The loop that makes a node, and as a leader the cluster, what the catalog says.
//!
//! It looks when the catalog changes, and every second; while something goes on it looks more often. Each look does at most
//! one step for each group, in a task of its own, so that a group that is slow holds up no other. What failed is found again
//! at the next look. Which steps there are is decided elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_catalog::proto::command::Kind as Command;
use quorate_catalog::{Catalog, Node, NodeState, Shard, proto};
use quorate_peer::Address;
use quorate_raft::{ChangeError, Group};
use quorate_types::NodeId;
use quorate_wal::GroupId;
use tokio::task::AbortHandle;

use crate::control::{CommandError, Control, META};
use crate::step::Step;
use crate::{levelling, step, voters};

/// How often a node looks that has nothing to do.
const LOOK: Duration = Duration::from_secs(1);

/// How often it looks while something goes on: about what a change of a group's members takes.
const LOOK_BUSY: Duration = Duration::from_millis(50);

/// How often leaders are levelled: seldom enough that the board has told everybody what the last time came to. A node that is
/// to lead nothing does not wait, since what it leads itself it knows.
const LEVEL: Duration = Duration::from_secs(3);

/// The key on the board under which a node that was removed says that it knows.
const HEARD: &str = "raft.removed";

/// How long a node that was removed, and is there, may take to hear of it.
const HEARD_PATIENCE: Duration = Duration::from_secs(10);

/// What the removal of a node is done for: no group has this number, and a step of the meta group is not in its way.
const REMOVAL: GroupId = GroupId(u32::MAX);

/// What goes on.
#[derive(Default)]
struct Busy(Mutex<BTreeSet<GroupId>>);

/// What one node's loop remembers.
struct Looks {
    busy: Arc<Busy>,
    peers: BTreeMap<NodeId, Address>,
    started: bool,
    levelled: Instant,
    /// Who was removed and still learns, and since when this node knows.
    removed: BTreeMap<NodeId, Instant>,
}

/// Begins the loop; it ends with the control plane.
pub(crate) fn spawn(control: &Arc<Control>) -> Vec<AbortHandle> {
    vec![tokio::spawn(run(Arc::downgrade(control), control.changed())).abort_handle()]
}

async fn run(control: Weak<Control>, mut changed: tokio::sync::watch::Receiver<u64>) {
    let mut looks = Looks {
        busy: Arc::default(),
        peers: BTreeMap::new(),
        started: false,
        levelled: Instant::now(),
        removed: BTreeMap::new(),
    };
    loop {
        changed.borrow_and_update();
        let Some(control) = control.upgrade() else { return };
        let busy = looks.look(&control).await;
        drop(control);
        let wait = if busy { LOOK_BUSY } else { LOOK };
        // A change that comes meanwhile is looked at once; the end of the sender is the end of the node.
        if let Ok(Err(_)) = tokio::time::timeout(wait, changed.changed()).await {
            return;
        }
    }
}

// === impl Looks ===

impl Looks {
    /// Looks once; says whether something goes on.
    async fn look(&mut self, control: &Arc<Control>) -> bool {
        let catalog = control.catalog();
        if catalog.cluster().is_none() {
            return true;
        }
        self.know_peers(control, &catalog);
        self.register(control, &catalog);
        self.note_removed(control, &catalog);
        let mut busy = self.place_replicas(control, &catalog);
        busy |= self.lead_meta(control, &catalog);
        busy |= self.lead_shards(control, &catalog);
        self.level(control, &catalog).await;
        busy || !self.started
    }

    /// Who there is, and where.
    fn know_peers(&mut self, control: &Control, catalog: &Catalog) {
        // Who was removed is spoken with until it has heard of it.
        let members = control.meta.members();
        let is_known = |node: &&Node| {
            let id = node.id;
            node.state != NodeState::Removed || members.learners.contains(&id) || members.voters.contains(&id)
        };
        let living: Vec<_> = catalog.nodes().filter(is_known).collect();
        let address = |node: &&Node| Some((node.id, node.addresses.peer.parse().ok()?));
        let mut peers: BTreeMap<NodeId, Address> = living.iter().filter_map(address).collect();
        if !peers.contains_key(&control.config.node) {
            // A node that was not added yet knows nothing but what it was told when it joined.
            peers.extend(control.config.seeds.clone());
        }
        if peers != self.peers {
            control.host.set_peers(peers.clone());
            self.peers = peers;
        }
        for (id, life) in living.iter().filter_map(|node| Some((node.id, node.life.as_ref()?))) {
            control.host.peers().saw(id, life.incarnation);
        }
    }

    /// Tells the cluster that this node was started, once, and that it serves.
    fn register(&mut self, control: &Arc<Control>, catalog: &Catalog) {
        let config = &control.config;
        let Some(node) = catalog.node(config.node) else { return };
        let is_known = node.life.as_ref().is_some_and(|life| life.start == config.start);
        self.started = is_known && node.state != NodeState::Joining;
        if self.started || control.refused.borrow().is_some() {
            return;
        }
        let kind = if is_known {
            Command::SetNodeState(proto::SetNodeState { node: config.node.0, state: proto::NodeState::Active.into() })
        } else {
            Command::NodeStarted(proto::NodeStarted {
                node: config.node.0,
                incarnation: config.incarnation.0,
                start: config.start.to_vec().into(),
                level_min: config.levels.0,
                level_max: config.levels.1,
            })
        };
        let control = Arc::clone(control);
        self.busy.run(META, async move {
            if let Err(CommandError::Refused(refusal)) = control.command(kind).await {
                tracing::error!(%refusal, "the cluster does not take this node");
                control.refused.send_replace(Some(refusal));
            }
        });
    }

    /// Opens what is placed on this node, and lets go of what is not.
    fn place_replicas(&self, control: &Arc<Control>, catalog: &Catalog) -> bool {
        let here = |shard: &&Shard| shard.nodes().any(|node| node == control.config.node);
        let placed: BTreeSet<GroupId> = catalog.shards().filter(here).map(|shard| GroupId(shard.number)).collect();
        let open: BTreeSet<GroupId> = control.host.groups().iter().map(Group::id).filter(|id| *id != META).collect();
        let alone = [control.config.node].into();
        control.unopened.retain(|group| placed.contains(&group) && !open.contains(&group));
        let now = Instant::now();
        let mut is_opening = false;
        for group in placed.difference(&open).filter(|group| control.unopened.is_due(**group, now)) {
            is_opening = true;
            // The first node of a cluster begins its shards; everybody else gets them from those that have them.
            let begins = catalog.shard(group.0).is_some_and(|shard| shard.version <= 1 && shard.voters == alone);
            self.busy.run(*group, open_group(Arc::clone(control), *group, begins));
        }
        // What was closed and could not be forgotten is found again, also after a restart.
        let held = control.host.closed().into_iter().filter(|id| *id != META).chain(open.iter().copied());
        let gone: BTreeSet<GroupId> = held.filter(|id| !placed.contains(id)).collect();
        for group in &gone {
            self.busy.run(*group, forget_group(Arc::clone(control), *group));
        }
        !gone.is_empty() || is_opening
    }

    /// Whether a node that was removed said that it knows, or had the time to. That it has the entry is not enough: it has to
    /// hear that it is committed.
    fn has_heard(&self, control: &Control, node: NodeId) -> bool {
        let is_told = control.host.peers().board().get(node, HEARD).is_some();
        is_told || self.removed.get(&node).is_some_and(|since| since.elapsed() >= HEARD_PATIENCE)
    }

    /// Notes who is removed and learns on, and says so when it is this node.
    fn note_removed(&mut self, control: &Control, catalog: &Catalog) {
        let members = control.meta.members();
        let removed = catalog.nodes().filter(|node| node.state == NodeState::Removed).map(|node| node.id);
        let learning: BTreeSet<NodeId> = removed.filter(|id| members.learners.contains(id)).collect();
        self.removed.retain(|id, _| learning.contains(id));
        for id in &learning {
            self.removed.entry(*id).or_insert_with(Instant::now);
        }
        let board = control.host.peers().board();
        if learning.contains(&control.config.node) && board.get(control.config.node, HEARD).is_none() {
            // It fits: it has one byte.
            let _ = board.put(HEARD, Bytes::from_static(&[1]));
        }
    }

    /// What the leader of the meta group does: who votes in it, and which shards move.
    fn lead_meta(&self, control: &Arc<Control>, catalog: &Catalog) -> bool {
        if control.meta.role().borrow().serves().is_none() {
            return false;
        }
        let meta = control.meta.clone();
        let seen = voters::Seen {
            can_vote: &|node| meta.can_follow(node),
            is_there: &|node| control.is_there(node),
            has_heard: &|node| self.has_heard(control, node),
        };
        let step = voters::next(catalog, &meta.members(), &seen);
        let is_stepping = step.is_some() || meta.members().is_changing;
        if let Some(step) = step {
            self.busy.run(META, async move {
                tracing::info!(?step, "the meta group changes");
                told(
                    META,
                    match step {
                        voters::Step::Learn(node) => meta.add_learner(node).await,
                        voters::Step::Vote(voters) => meta.set_voters(voters).await,
                        voters::Step::Leave(node) => meta.remove_learner(node).await,
                    },
                );
            });
        }
        let left = catalog.nodes().find(|node| node.state == NodeState::Leaving && has_left(control, catalog, node.id));
        if let Some(node) = left.map(|node| node.id.0) {
            let remove = Command::RemoveNode(proto::RemoveNode { node, force: false });
            self.busy.run(REMOVAL, tell_map(Arc::clone(control), remove));
        }
        let moves = catalog.moves();
        let is_moving = !moves.is_empty();
        for next in moves {
            let Some(shard) = catalog.shard(next.shard) else { continue };
            let mut asked = shard.to_proto();
            let pending =
                proto::Move { from: next.from.map_or(0, |node| node.0), to: next.to.map_or(0, |node| node.0) };
            asked.pending = Some(pending);
            let command = Command::SetReplicas(proto::SetReplicas {
                shard: asked.shard,
                expected_version: shard.version,
                voters: asked.voters,
                learners: asked.learners,
                pending: asked.pending,
            });
            self.busy.run(GroupId(next.shard), tell_map(Arc::clone(control), command));
        }
        is_stepping || is_moving || left.is_some()
    }

    /// What this node does for the shards that it leads.
    fn lead_shards(&self, control: &Arc<Control>, catalog: &Catalog) -> bool {
        let mut busy = false;
        for shard in catalog.shards() {
            let Some(group) = control.host.group(GroupId(shard.number)) else { continue };
            if group.role().borrow().serves().is_none() {
                continue;
            }
            let next = next_step(control, &group, shard);
            busy |= next.is_some() || shard.pending.is_some() || group.members().is_changing;
            if let Some(next) = next {
                self.busy.run(group.id(), take_step(Arc::clone(control), group, next));
            }
        }
        busy
    }

    /// Says what this node leads, and hands over what others should lead.
    async fn level(&mut self, control: &Arc<Control>, catalog: &Catalog) {
        let groups = control.host.groups();
        let led: BTreeSet<GroupId> =
            groups.iter().filter(|group| group.role().borrow().leads()).map(Group::id).collect();
        let board = control.host.peers().board();
        let said = levelling::say(&led);
        let me = control.config.node;
        if board.get(me, levelling::KEY).is_none_or(|posted| posted.value != said) {
            // It fits: it has four bytes for each of 257 groups.
            let _ = board.put(levelling::KEY, said);
        }
        let is_active = |id| catalog.node(id).is_some_and(|node| node.state == NodeState::Active);
        let can_lead = |id| is_active(id) && control.is_there(id) && !control.sheds(id);
        let must_shed = !led.is_empty() && !can_lead(me);
        if self.levelled.elapsed() < LEVEL && !must_shed {
            return;
        }
        self.levelled = Instant::now();
        let heard = |id| board.get(id, levelling::KEY).map(|posted| levelling::hear(posted.value));
        let leads = catalog.nodes().filter_map(|node| Some((node.id, heard(node.id)?))).collect();
        let voters = catalog.shards().map(|shard| (GroupId(shard.number), shard.voters.clone())).collect();
        for (id, to) in levelling::handed_over(me, &voters, &leads, can_lead) {
            if let Some(group) = control.host.group(id) {
                told(id, group.hand_over_to(to).await);
            }
        }
    }
}

/// Whether nothing is placed any more on a node that leaves, and it has no vote in the meta group.
fn has_left(control: &Control, catalog: &Catalog, node: NodeId) -> bool {
    let is_placed = catalog.shards().any(|shard| shard.nodes().any(|id| id == node));
    !is_placed && !control.meta.members().voters.contains(&node)
}

// === impl Busy ===
impl Busy {
    /// Does something for a group, unless something is done for it already.
    fn run(self: &Arc<Self>, group: GroupId, work: impl Future<Output = ()> + Send + 'static) {
        if !self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(group) {
            return;
        }
        let end = End { busy: Arc::clone(self), group };
        tokio::spawn(async move {
            work.await;
            drop(end);
        });
    }
}

/// Something that is done for a group, until it is dropped.
struct End {
    busy: Arc<Busy>,
    group: GroupId,
}

impl Drop for End {
    fn drop(&mut self) {
        self.busy.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.group);
    }
}

async fn open_group(control: Arc<Control>, id: GroupId, begins: bool) {
    // It may have been opened since the look that found it closed.
    if control.host.group(id).is_some() {
        return;
    }
    match control.host.open(id, || (control.machines)(id)).await {
        Ok(group) if begins => {
            // It has begun when the node was started before.
            if let Err(error) = group.begin([control.config.node].into()).await {
                tracing::debug!(group = %id, %error, "it was begun before");
            }
        }
        Ok(_) => {}
        Err(error) => {
            if control.unopened.failed(id, error.to_string(), Instant::now()) {
                tracing::error!(group = %id, %error, "a replica cannot be opened");
            }
        }
    }
}

/// Lets go of a replica that is placed here no more. The map may be older than what it was asked for; so it is asked again
/// once the replica answers nobody: what was said to a leader before is never taken back.
async fn forget_group(control: Arc<Control>, id: GroupId) {
    if let Err(error) = control.host.close(id).await {
        tracing::error!(group = %id, %error, "a replica cannot be closed");
        return;
    }
    let known = control.catalog();
    let latest = match control.latest().await {
        Ok(latest) => latest,
        // A node that was removed is answered no more, and nothing is ever placed on it again.
        Err(_) if known.node(control.config.node).is_some_and(|node| node.state == NodeState::Removed) => known,
        Err(_) => return,
    };
    let here = |shard: &Shard| shard.nodes().any(|node| node == control.config.node);
    if latest.shard(id.0).is_some_and(here) {
        return;
    }
    match control.host.forget(id).await {
        Ok(()) => tracing::info!(group = %id, "a replica was moved away"),
        Err(error) => tracing::error!(group = %id, %error, "a replica cannot be forgotten"),
    }
}

fn next_step(control: &Control, group: &Group, shard: &Shard) -> Option<Step> {
    step::next(shard, &group.members(), |node| group.can_follow(node), |node| control.is_there(node))
}

/// Takes a step, when the newest map asks for it too: the one here may be older, and what it asks for be undone since.
async fn take_step(control: Arc<Control>, group: Group, next: Step) {
    let Ok(latest) = control.latest().await else { return };
    let Some(shard) = latest.shard(group.id().0) else { return };
    if next_step(&control, &group, shard).as_ref() != Some(&next) {
        return;
    }
    tracing::info!(group = %group.id(), step = ?next, "a shard changes");
    match next {
        Step::Learn(node) => told(group.id(), group.add_learner(node).await),
        Step::Vote(voters) => told(group.id(), group.set_voters(voters).await),
        Step::Leave(node) => told(group.id(), group.remove_learner(node).await),
        Step::Tell(replicas) => tell_map(control, Command::SetReplicas(replicas)).await,
    }
}

async fn tell_map(control: Arc<Control>, command: Command) {
    if let Err(error) = control.command(command).await {
        // Somebody else was faster, or the meta group has no leader now: it is found again.
        tracing::debug!(%error, "the map was not changed");
    }
}

fn told(group: GroupId, changed: Result<(), ChangeError>) {
    if let Err(error) = changed {
        // Found again at the next look.
        tracing::debug!(%group, %error, "the group was not changed");
    }
}
