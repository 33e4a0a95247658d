//! The shard groups of a node, as its sessions use them: which are owned here, where the others are, and the way to the log.
//!
//! ```text
//! raft ─▶ Replica (machine) ─▶ records           Owned { shard, epoch } ─▶ Writer ─▶ raft
//!    └──▶ role ─▶ owned here, by another node, by nobody yet
//! ```
//!
//! **The owner of a session is the leader of its shard.** It owns while a quorum has acknowledged it within its lease, by the
//! term in which it leads; what is written by another term changes nothing. Knows nothing of what sessions do.

mod held;
mod machine;
mod touched;
mod writer;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use quorate_peer::Peers;
use quorate_raft::{Group, Host, Machine};
use quorate_session::EndReason;
use quorate_session::record::{Record, proto};
use quorate_types::{NodeId, PrincipalDigest};
use tokio::sync::{oneshot, watch};

use self::machine::Replica;
pub use self::touched::Touched;
use self::touched::Watchers;
pub(crate) use self::writer::{Done, NotWritten, Write, Writer};
use crate::session::Orphans;
use crate::{clock, entropy};

/// The feature level that a replica needs to apply what sessions write.
pub const LEVEL: u32 = 3;
/// How often groups are looked for that came or went: placement moves them seldom.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// Between two looks at a shard without an owner.
const SETTLED_LOOK: Duration = Duration::from_millis(30);
/// How long a shard that is handed over may have no owner, before who asks for it is told so.
const HAND_OVER: Duration = Duration::from_millis(250);

/// Tells who leads a shard of which this node has no replica.
pub type Directory = Arc<dyn Fn(u32) -> Option<NodeId> + Send + Sync>;

/// The shard groups of a node. Clones are cheap.
#[derive(Clone)]
pub struct Shards {
    shared: Arc<Shared>,
}

struct Shared {
    replicas: RwLock<BTreeMap<u32, Replica>>,
    joined: OnceLock<Joined>,
    /// Whether [`Joined::ready`] has said so, which is asked for each request.
    is_ready: AtomicBool,
    /// Grows with each change of who owns what.
    changed: watch::Sender<u64>,
    /// The same of each shard that somebody asked for.
    changed_each: Mutex<HashMap<u32, Asked>>,
    open: RwLock<BTreeMap<u32, Open>>,
    watchers: Watchers,
    orphans: Arc<Orphans>,
}

/// A shard of which somebody asked when it changes.
#[derive(Default)]
struct Asked {
    changed: watch::Sender<u64>,
    /// Its leader as the directory said last, which tells no changes.
    leader: Option<NodeId>,
}

/// Tells whether every node of the cluster can keep sessions: the cluster is at [`LEVEL`].
pub type Ready = Arc<dyn Fn() -> bool + Send + Sync>;

/// What a node is joined with.
struct Joined {
    node: NodeId,
    host: Arc<Host>,
    directory: Directory,
    ready: Ready,
}

/// A group that is open here.
#[derive(Clone)]
struct Open {
    group: Group,
    writer: Writer,
}

/// Where a session is owned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// Here, in this term.
    Here(u64),
    /// By another node.
    There(NodeId),
    /// Nobody knows, or nobody yet: an election goes on.
    Unknown,
}

/// A shard that is owned here.
#[derive(Clone)]
pub(crate) struct Owned {
    pub(crate) shard: u32,
    pub(crate) epoch: u64,
    pub(crate) node: NodeId,
    pub(crate) writer: Writer,
    replica: Replica,
    peers: Peers,
    orphans: Arc<Orphans>,
}

// === impl Shards ===

impl Default for Shards {
    fn default() -> Self {
        Self::new()
    }
}

impl Shards {
    /// Makes the shards of a node that is in no cluster yet.
    #[must_use]
    pub fn new() -> Self {
        let changed = watch::Sender::new(0);
        let shared = Shared {
            replicas: RwLock::default(),
            joined: OnceLock::new(),
            is_ready: AtomicBool::new(false),
            changed,
            changed_each: Mutex::default(),
            open: RwLock::default(),
            watchers: Watchers::default(),
            orphans: Arc::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Makes the machine of a shard.
    #[must_use]
    pub fn machine(&self, shard: u32) -> Box<dyn Machine> {
        let replica = Replica::new(shard, self.shared.watchers.clone());
        let mut replicas = self.shared.replicas.write().unwrap_or_else(PoisonError::into_inner);
        replicas.insert(shard, replica.clone());
        Box::new(replica)
    }

    /// Begins to follow the groups of a member.
    pub fn join(&self, node: NodeId, host: Arc<Host>, directory: Directory, ready: Ready) {
        if self.shared.joined.set(Joined { node, host, directory, ready }).is_ok() {
            tokio::spawn(look(self.clone()));
        }
    }

    /// Whether the node is in a cluster that keeps sessions, so that they outlive it.
    #[must_use]
    pub fn is_joined(&self) -> bool {
        // Levels only rise.
        if self.shared.is_ready.load(Ordering::Relaxed) {
            return true;
        }
        let is_ready = self.shared.joined.get().is_some_and(|joined| (joined.ready)());
        self.shared.is_ready.fetch_or(is_ready, Ordering::Relaxed);
        is_ready
    }

    /// Returns where a shard is owned, as far as this node knows.
    #[must_use]
    pub fn locate(&self, shard: u32) -> Where {
        let Some(joined) = self.shared.joined.get() else { return Where::Unknown };
        let open = self.shared.open.read().unwrap_or_else(PoisonError::into_inner).get(&shard).cloned();
        let leader = match open {
            Some(open) => match open.group.serves() {
                Some(epoch) => return Where::Here(epoch),
                None => open.group.role().borrow().leader(),
            },
            None => (joined.directory)(shard),
        };
        match leader {
            // It has begun to lead, or is about to give up.
            Some(leader) if leader == joined.node => Where::Unknown,
            Some(leader) => Where::There(leader),
            None => Where::Unknown,
        }
    }

    /// Returns a receiver whose value changes when somebody else may own something.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }

    /// Returns a receiver whose value changes when somebody else may own this shard.
    #[must_use]
    pub fn changed_of(&self, shard: u32) -> watch::Receiver<u64> {
        let mut each = self.shared.changed_each.lock().unwrap_or_else(PoisonError::into_inner);
        each.entry(shard).or_default().changed.subscribe()
    }

    /// Waits while nobody is known to own a shard, but not for longer than it takes to hand it over: whoever asks here would
    /// only ask again.
    pub(crate) async fn settled(&self, shard: u32) {
        let mut changed = self.changed_of(shard);
        let settled = async {
            loop {
                changed.borrow_and_update();
                if self.locate(shard) != Where::Unknown {
                    return;
                }
                // A lease that ended and was renewed at once is no change that is told.
                let _change = tokio::time::timeout(SETTLED_LOOK, changed.changed()).await;
            }
        };
        // Who is still not known then is asked for again.
        let _settled = tokio::time::timeout(HAND_OVER, settled).await;
    }

    /// Returns a shard if it is owned here.
    pub(crate) fn owned(&self, shard: u32) -> Option<Owned> {
        let joined = self.shared.joined.get()?;
        let open = self.shared.open.read().unwrap_or_else(PoisonError::into_inner).get(&shard).cloned()?;
        let epoch = open.group.serves()?;
        let replica = self.shared.replicas.read().unwrap_or_else(PoisonError::into_inner).get(&shard).cloned()?;
        let (peers, orphans) = (joined.host.peers().clone(), Arc::clone(&self.shared.orphans));
        Some(Owned { shard, epoch, node: joined.node, writer: open.writer, replica, peers, orphans })
    }

    /// Whether this node may own a shard again in this term, which waits for a quorum now.
    pub(crate) fn waits(&self, shard: u32, epoch: u64) -> bool {
        let open = self.shared.open.read().unwrap_or_else(PoisonError::into_inner);
        open.get(&shard).is_some_and(|open| open.group.leads_in(epoch))
    }

    /// Returns every shard that is owned here.
    pub(crate) fn all_owned(&self) -> Vec<Owned> {
        let open: Vec<u32> = self.shared.open.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect();
        open.into_iter().filter_map(|shard| self.owned(shard)).collect()
    }

    /// Chooses a shard that is owned here, for a new session; none where nothing is.
    pub(crate) fn choose(&self) -> Option<Owned> {
        let owned = self.all_owned();
        let place = usize::try_from(entropy::spread() % u64::try_from(owned.len().max(1)).unwrap_or(1)).unwrap_or(0);
        owned.into_iter().nth(place)
    }

    /// Returns a node that owns something, where this one owns nothing: new sessions go there.
    #[must_use]
    pub fn elsewhere(&self) -> Option<NodeId> {
        let open: Vec<u32> = self.shared.open.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect();
        open.into_iter().find_map(|shard| match self.locate(shard) {
            Where::There(node) => Some(node),
            Where::Here(_) | Where::Unknown => None,
        })
    }

    /// Returns the peers of the node, once it is in a cluster.
    #[must_use]
    pub fn host(&self) -> Option<&Arc<Host>> {
        self.shared.joined.get().map(|joined| &joined.host)
    }

    /// Returns the calls whose sessions have gone to other nodes.
    pub(crate) fn orphans(&self) -> &Orphans {
        &self.shared.orphans
    }

    /// How many sessions a principal has in the shards that are owned here.
    pub(crate) fn owned_by(&self, principal: PrincipalDigest) -> usize {
        self.all_owned().iter().map(|owned| owned.replica.lock().owned_by(principal)).sum()
    }

    /// Takes over which groups are open here.
    fn look_once(&self) {
        let Some(joined) = self.shared.joined.get() else { return };
        let groups = joined.host.groups();
        let mut open = self.shared.open.write().unwrap_or_else(PoisonError::into_inner);
        let mut changed: Vec<u32> = Vec::new();
        open.retain(|shard, known| {
            let stays = groups.iter().any(|group| group.id().0 == *shard) && known.group.stopped().borrow().is_none();
            changed.extend((!stays).then_some(*shard));
            stays
        });
        // The meta group is no shard.
        let shard_groups = groups.into_iter().filter(|group| group.id().0 != 0 && group.stopped().borrow().is_none());
        for group in shard_groups {
            let id = group.id().0;
            open.entry(id).or_insert_with(|| {
                changed.push(id);
                tokio::spawn(follow(Arc::downgrade(&self.shared), group.clone()));
                Open { writer: Writer::spawn(group.clone()), group }
            });
        }
        let is_elsewhere = |shard: &u32| !open.contains_key(shard);
        let mut each = self.shared.changed_each.lock().unwrap_or_else(PoisonError::into_inner);
        for (shard, asked) in each.iter_mut().filter(|(shard, _)| is_elsewhere(shard)) {
            let leader = (joined.directory)(*shard);
            changed.extend((std::mem::replace(&mut asked.leader, leader) != leader).then_some(*shard));
        }
        drop((each, open));
        changed.into_iter().for_each(|shard| self.note(shard));
    }

    fn note(&self, shard: u32) {
        self.shared.changed.send_modify(|changes| *changes += 1);
        let each = self.shared.changed_each.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(asked) = each.get(&shard) {
            asked.changed.send_modify(|changes| *changes += 1);
        }
    }
}

// === impl Owned ===

impl Owned {
    /// Returns a session's record and its version.
    pub(crate) fn record(&self, session: u128) -> Option<(u64, Arc<Record>)> {
        self.replica.lock().get(session).map(|(version, record)| (version, Arc::clone(record)))
    }

    /// Returns the other nodes.
    pub(crate) fn peers(&self) -> &Peers {
        &self.peers
    }

    /// Returns the calls of this node whose sessions have gone to other nodes.
    pub(crate) fn orphans(&self) -> &Arc<Orphans> {
        &self.orphans
    }

    /// Ends a session whose record is all that there is of it. Nobody waits: where it is not written, whoever looks at the
    /// record next does the same.
    pub(crate) fn end(&self, session: u128, version: u64, reason: &EndReason) {
        self.write_end(session, version, reason, Box::new(|_| ()));
    }

    /// Ends such a session, and waits until that is committed.
    ///
    /// # Errors
    /// [`NotWritten`].
    pub(crate) async fn end_for_good(&self, session: u128, version: u64, reason: &EndReason) -> Result<(), NotWritten> {
        let (done, written) = oneshot::channel();
        let tell = move |result| {
            // Who waited may have gone.
            let _is_heard = done.send(result).is_ok();
        };
        self.write_end(session, version, reason, Box::new(tell));
        written.await.unwrap_or(Err(NotWritten::Lost))
    }

    fn write_end(&self, session: u128, version: u64, reason: &EndReason, done: Done) {
        let end = proto::Op { kind: Some(proto::op::Kind::End(reason.written(self.node.0))) };
        let change = proto::Change { time_ms: clock::now().as_millis(), ops: vec![end] };
        self.writer.write(Write { session, version, epoch: self.epoch, change, done });
    }

    /// Returns all sessions with their records.
    pub(crate) fn records(&self) -> Vec<(u128, Arc<Record>)> {
        self.replica.lock().from(0).map(|(key, record)| (key, Arc::clone(record))).collect()
    }
}

/// Follows which groups are open here, for as long as anybody uses the shards.
async fn look(shards: Shards) {
    let shared = Arc::downgrade(&shards.shared);
    drop(shards);
    loop {
        match shared.upgrade() {
            Some(shared) => Shards { shared }.look_once(),
            None => return,
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// Tells of each change of who leads a group.
async fn follow(shared: std::sync::Weak<Shared>, group: Group) {
    let mut role = group.role();
    while role.changed().await.is_ok() {
        let Some(shared) = shared.upgrade() else { return };
        Shards { shared }.note(group.id().0);
    }
}
