//! All groups of a node: opened, closed, and run apart from everything else.
//!
//! Consensus has a runtime of its own, with few threads: work on requests cannot starve its heartbeats. The streams to the
//! peers run on it too. Which groups there shall be is the business of who uses this; a group that is opened goes on where
//! its log says that it stood.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use openraft::errors::Fatal;
use quorate_peer::{Address, Link, Peers};
use quorate_types::NodeId;
use quorate_wal::{Disk, Folder, GroupId, Op, Wal};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinError;

use crate::budget::Budget;
use crate::group::{Group, Shared};
use crate::log::{Commits, Log};
use crate::machine::Machine;
use crate::marks::Marks;
use crate::network::Factory;
use crate::pulse;
use crate::role::{self, Role};
use crate::serve::Replicas;
use crate::snapshot::{SnapshotError, Store};
use crate::snapshots::{self, SnapshotMarks, Weighed, Weights};
use crate::state::{self, State};
use crate::takeover;
use crate::timing::Timing;
use crate::types::Types;
use crate::{Raft, chain};

/// Cores for each thread of consensus. On few cores one thread is quicker than two, which wake each other for every task of a
/// commit (measured on two cores: a lone writer's p50 1.0 ms against 1.3 ms): disks are read and written elsewhere, and who
/// applies much lets others go first.
const CORES_PER_THREAD: usize = 4;

/// Threads of consensus, at most: one for the groups, one so that a big batch does not stop the others.
const THREADS_MAX: usize = 2;

/// The meta group: few writes, of which a node that is alone has to know all at once.
const META: GroupId = GroupId(0);

/// What a node's groups have in common.
#[derive(Clone)]
pub struct Config {
    /// How long consensus waits.
    pub timing: Timing,
    /// When groups are snapshotted.
    pub snapshots: SnapshotMarks,
    /// The folder in which each group has one for its snapshots.
    pub folder: PathBuf,
    /// Bytes of proposals of all groups that may be under way. Default 64 MiB: about a second of what a disk takes.
    pub proposal_bytes_max: usize,
    /// The newest feature level whose commands this program can apply.
    pub level_max: u32,
    /// The node's log, which it has for all groups.
    pub wal: Wal,
}

/// All groups of a node.
pub struct Host {
    config: Config,
    node: NodeId,
    raft_config: Arc<openraft::Config>,
    peers: Peers,
    replicas: Arc<Replicas>,
    budget: Budget,
    streams: Arc<AtomicU64>,
    places: Arc<Semaphore>,
    /// The peers whose links are watched.
    watched: Mutex<BTreeSet<NodeId>>,
    /// The snapshots of groups that were opened: a group that is opened again has the same, whoever still holds it.
    stores: Mutex<HashMap<GroupId, Arc<Store>>>,
    /// None once it has ended.
    runtime: Option<Runtime>,
}

/// A node's groups cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The system gives no threads.
    #[error("cannot start the threads of consensus")]
    Runtime(#[source] io::Error),
    /// The times do not fit together.
    #[error("the times of consensus do not fit together")]
    Timing(#[source] openraft::ConfigError),
    /// The peers cannot be listened to.
    #[error("cannot listen to peers")]
    Peers(#[from] quorate_peer::StartError),
}

/// A group cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is open.
    #[error("{0} is open already")]
    Twice(GroupId),
    /// Its folder of snapshots cannot be used.
    #[error("{folder} cannot be used")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Its snapshots are not what was written.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// Its log or its state cannot be what it says.
    #[error("{group} cannot go on: {reason}")]
    Replica {
        /// The group.
        group: GroupId,
        /// Why.
        reason: String,
    },
}

// === impl Host ===

impl Host {
    /// Listens to peers, without any group. Exchanges are served by the runtime of who starts it: they are no consensus.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(config: Config, peers: quorate_peer::Config) -> Result<Self, StartError> {
        let raft_config = config
            .timing
            .config(peers.cluster.to_string(), config.snapshots.entries_kept)
            .map_err(StartError::Timing)?;
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads((cores / CORES_PER_THREAD).clamp(1, THREADS_MAX))
            .thread_name("consensus")
            .on_thread_start(|| {
                quorate_wal::precedence::take();
            })
            .enable_all()
            .build()
            .map_err(StartError::Runtime)?;
        let replicas = Arc::new(Replicas::new(runtime.handle().clone(), config.wal.clone(), &config.timing));
        runtime.spawn(pulse::beat(Arc::downgrade(&replicas), config.timing));
        let node = peers.node;
        // A follower tells streams apart by their numbers, also those of a leader that was started anew.
        let streams = AtomicU64::new(peers.incarnation.0 << 32 | 1);
        let started = {
            let _entered = runtime.enter();
            Peers::start(peers, Arc::clone(&replicas) as Arc<dyn quorate_peer::Handler>)
        };
        let peers = match started {
            Ok(peers) => {
                if let Ok(runtime) = Handle::try_current() {
                    peers.place_exchanges(runtime);
                }
                peers
            }
            Err(error) => {
                // Dropped, it would be waited for, and who starts a host may be on a thread that must not wait.
                runtime.shutdown_background();
                return Err(error.into());
            }
        };
        Ok(Self {
            budget: Budget::new(config.proposal_bytes_max),
            config,
            node,
            raft_config: Arc::new(raft_config),
            peers,
            replicas,
            streams: Arc::new(streams),
            places: snapshots::places(),
            watched: Mutex::default(),
            stores: Mutex::default(),
            runtime: Some(runtime),
        })
    }

    /// Opens a group: it goes on where its log and its snapshot say that it stood. One that never was begun waits to be
    /// begun ([`Group::begin`]), or for a leader that knows it. Its machine is made only if it is not open already: who makes it
    /// may look for state in the last one that was made.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(&self, group: GroupId, machine: impl FnOnce() -> Box<dyn Machine>) -> Result<Group, OpenError> {
        if self.replicas.get(group).is_some() {
            return Err(OpenError::Twice(group));
        }
        let store = self.store(group).await?;
        let weighed = Arc::new(AtomicU64::new(0));
        let compared = Arc::new(Marks::default());
        let weights = Arc::new(Weights::new(self.config.snapshots.bytes_kept));
        let machine =
            Box::new(Weighed { machine: machine(), bytes: Arc::clone(&weighed), weights: Arc::clone(&weights) });
        let state = State::new(state::Config {
            group,
            machine,
            store: Arc::clone(&store),
            level_max: self.config.level_max,
            skipped: BTreeSet::new(),
            marks: Arc::clone(&compared),
        });
        let (stopped, alarm) = (state.stopped(), state.alarm());
        let commits = if group == META { Commits::AtOnce } else { Commits::WithTheNext };
        let log = Log::new(self.config.wal.clone(), group, commits);
        let network = Factory::new(group, self.peers.clone(), Arc::clone(&self.streams), log.reader());
        let (node, config) = (self.node, Arc::clone(&self.raft_config));
        let raft = self.run(async move { Raft::new(node, config, network, log, state).await }).await;
        let failed = |reason: String| OpenError::Replica { group, reason };
        let raft = raft.map_err(|panic| failed(panic.to_string()))?;
        let raft = raft.map_err(|fatal: Fatal<Types>| failed(chain(&fatal)))?;
        // The node's pulse has them all beat at once.
        raft.runtime_config().heartbeat(false);
        let (role, observed) = watch::channel(Role::Learner { leader: None });
        let runtime = self.runtime();
        let (handed_over, is_handed_over) = watch::channel(0);
        let lease = self.config.timing.lease();
        runtime.spawn(role::Observer { raft: raft.clone(), role, handed_over: is_handed_over, lease }.run());
        let opened = Group::new(Shared {
            id: group,
            node,
            raft,
            peers: self.peers.clone(),
            budget: self.budget.clone(),
            role: observed,
            handed_over,
            is_free: AtomicBool::new(false),
            lease,
            store: Arc::clone(&store),
            wal: self.config.wal.clone(),
            stopped,
            alarm,
            marks: compared,
            weights,
        });
        let (marks, places) = (self.config.snapshots, Arc::clone(&self.places));
        runtime.spawn(snapshots::look_after(opened.clone(), store, weighed, marks, places));
        self.replicas.add(opened.clone());
        Ok(opened)
    }

    /// Closes a group: its replica answers nobody any more, and goes on where it stood when it is opened again.
    ///
    /// # Errors
    /// [`OpenError::Replica`] when it did not end as it should.
    pub async fn close(&self, group: GroupId) -> Result<(), OpenError> {
        let Some(replica) = self.replicas.remove(group) else { return Ok(()) };
        let ended = replica.group.raft().shutdown().await;
        ended.map_err(|panic| OpenError::Replica { group, reason: panic.to_string() })
    }

    /// Lets go of all that this node has of a group that is closed: it was moved away. Never of one whose leader may still
    /// count on what was said here.
    ///
    /// # Errors
    /// [`OpenError`] when it is open, or the disk does not let go of it.
    pub async fn forget(&self, group: GroupId) -> Result<(), OpenError> {
        if self.replicas.get(group).is_some() {
            return Err(OpenError::Twice(group));
        }
        let failed = |reason: String| OpenError::Replica { group, reason };
        // What is still being written for it ends in an error.
        if let Some(store) = self.stores.lock().unwrap_or_else(PoisonError::into_inner).remove(&group) {
            store.close();
        }
        // The log first, durably: a log without its snapshot could not be opened.
        let (done, is_durable) = oneshot::channel();
        let done = Box::new(|result: Result<(), quorate_wal::Failed>| drop(done.send(result)));
        let submitted = self.config.wal.submit(group, vec![Op::Forget], Some(done));
        submitted.map_err(|error| failed(chain(&error)))?;
        let is_durable = is_durable.await.map_err(|_| failed("the log has ended".to_owned()))?;
        is_durable.map_err(|error| failed(error.to_string()))?;
        let folder = self.folder(group);
        match tokio::fs::remove_dir_all(&folder).await {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(OpenError::Folder { folder, source }),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Returns a group that is open.
    #[must_use]
    pub fn group(&self, group: GroupId) -> Option<Group> {
        self.replicas.get(group).map(|replica| replica.group.clone())
    }

    /// Returns the groups that are open.
    #[must_use]
    pub fn groups(&self) -> Vec<Group> {
        self.replicas.all()
    }

    /// Returns the groups that this node's log has something of, and that are closed.
    #[must_use]
    pub fn closed(&self) -> Vec<GroupId> {
        self.config.wal.groups().into_iter().filter(|group| self.replicas.get(*group).is_none()).collect()
    }

    /// Returns the peers, for what is no consensus.
    #[must_use]
    pub fn peers(&self) -> &Peers {
        &self.peers
    }

    /// Bytes of proposals that are under way, and how many proposals were refused since the start.
    #[must_use]
    pub fn proposals(&self) -> (usize, u64) {
        (self.budget.bytes(), self.budget.refused())
    }

    /// Says who the peers are, and where; this node may be among them.
    pub fn set_peers(&self, peers: BTreeMap<NodeId, Address>) {
        let ids: BTreeSet<NodeId> = peers.keys().copied().filter(|id| *id != self.node).collect();
        let _entered = self.runtime().enter();
        self.peers.set_peers(peers);
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        for id in ids.difference(&watched) {
            if let Some(link) = self.peers.link(*id) {
                self.runtime().spawn(watch_link(*id, link, Arc::downgrade(&self.replicas)));
            }
        }
        *watched = ids;
    }

    /// Ends all groups and streams.
    pub async fn shut_down(mut self) {
        let groups: HashMap<GroupId, Group> = self.groups().into_iter().map(|group| (group.id(), group)).collect();
        for (id, group) in groups {
            self.replicas.remove(id);
            if let Err(panic) = group.raft().shutdown().await {
                tracing::warn!(group = %id, %panic, "a group did not end as it should");
            }
        }
        self.peers.shut_down().await;
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    async fn store(&self, group: GroupId) -> Result<Arc<Store>, OpenError> {
        if let Some(store) = self.stores.lock().unwrap_or_else(PoisonError::into_inner).get(&group) {
            return Ok(Arc::clone(store));
        }
        let folder = self.folder(group);
        let opened = self.runtime().spawn_blocking(move || {
            let disk: Arc<dyn Disk> = match Folder::new(&folder) {
                Ok(disk) => Arc::new(disk),
                Err(source) => return Err(OpenError::Folder { folder, source }),
            };
            Ok(Arc::new(Store::open(disk)?))
        });
        let store: Arc<Store> =
            opened.await.map_err(|panic| OpenError::Replica { group, reason: panic.to_string() })??;
        self.stores.lock().unwrap_or_else(PoisonError::into_inner).insert(group, Arc::clone(&store));
        Ok(store)
    }

    fn folder(&self, group: GroupId) -> PathBuf {
        folder_of(&self.config.folder, group)
    }

    async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T, JoinError> {
        self.runtime().spawn(work).await
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("it ends with the host")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Each group has the peers, which have all groups as what they hand requests to.
        self.replicas.clear();
        // Waiting for it here could block a thread that must not.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Where a group has its snapshots.
pub(crate) fn folder_of(folder: &Path, group: GroupId) -> PathBuf {
    folder.join(format!("group-{}", group.0))
}

/// Watches the link to a peer as long as it is one: when its process is gone, the groups that it led are taken over.
async fn watch_link(peer: NodeId, mut link: watch::Receiver<Link>, replicas: Weak<Replicas>) {
    loop {
        if matches!(*link.borrow_and_update(), Link::Gone) {
            let Some(replicas) = replicas.upgrade() else { return };
            for group in replicas.all() {
                tokio::spawn(takeover::take_over(group, peer));
            }
        }
        if link.changed().await.is_err() {
            return;
        }
    }
}
