//! The handle: the catalog as this node has it, and commands that change it for all.
//!
//! Reads are local and always answered; how old they are is said. Commands go to the leader of the meta group, wherever it is,
//! and their outcome says what became of them: taken, refused with the reason, not known.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message as _;
use quorate_catalog::proto::outcome::Kind;
use quorate_catalog::{Catalog, Refusal, outcome, proto};
use quorate_peer::{Address, Link};
use quorate_raft::{Group, Host, Machine, OpenError, Proposal, ProposeError, ReadIndexError};
use quorate_types::{Incarnation, NodeId};
use quorate_wal::GroupId;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::levelling;
use crate::meta::{Meta, Shared};
use crate::reconcile;
use crate::unopened::Unopened;

/// The meta group.
pub const META: GroupId = GroupId(0);

/// How long a command waits for a leader that takes it: some elections. A node that knows none for longer may be cut off, and
/// whoever asks can ask another one.
const PATIENCE: Duration = Duration::from_secs(3);

/// Makes the machine of a shard.
pub type Machines = Arc<dyn Fn(GroupId) -> Box<dyn Machine> + Send + Sync>;

/// Who this node is.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its number.
    pub node: NodeId,
    /// Its life.
    pub incarnation: Incarnation,
    /// Random, new with each start.
    pub start: [u8; 16],
    /// The feature levels that it can work at, lowest and highest.
    pub levels: (u32, u32),
    /// Members that it knew when it joined: its peers until it has the catalog.
    pub seeds: BTreeMap<NodeId, Address>,
}

/// The control plane of a node.
pub struct Control {
    pub(crate) config: Config,
    pub(crate) host: Arc<Host>,
    pub(crate) meta: Group,
    pub(crate) shared: Shared,
    pub(crate) machines: Machines,
    pub(crate) refused: watch::Sender<Option<Refusal>>,
    pub(crate) unopened: Unopened,
    loops: std::sync::Mutex<Vec<AbortHandle>>,
}

/// A command was not taken, or it is not known.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It breaks a rule.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The meta group did not take it, or it is not known whether it did.
    #[error(transparent)]
    Proposal(#[from] ProposeError),
    /// This version cannot read what the meta group answered.
    #[error("the outcome of the command cannot be read")]
    Outcome,
}

// === impl Control ===

impl Control {
    /// Opens the meta group and begins to make the node what the catalog says. A node without a catalog waits to be
    /// bootstrapped, or added by the others.
    ///
    /// # Errors
    /// [`OpenError`] when the meta group cannot be opened.
    pub async fn start(config: Config, host: Arc<Host>, machines: Machines) -> Result<Arc<Self>, OpenError> {
        let shared = Shared::new();
        host.set_peers(config.seeds.clone());
        let meta = host.open(META, || Box::new(Meta(shared.clone()))).await?;
        let refused = watch::Sender::new(None);
        let control = Self {
            config,
            host,
            meta,
            shared,
            machines,
            refused,
            unopened: Unopened::default(),
            loops: std::sync::Mutex::default(),
        };
        let control = Arc::new(control);
        let loops = reconcile::spawn(&control);
        *control.loops.lock().expect("nobody else has it yet") = loops;
        Ok(control)
    }

    /// Makes a cluster of this node alone: its number is 1. Only an operator's command may lead here.
    ///
    /// # Errors
    /// [`CommandError`]; refused when there is a cluster already.
    pub async fn bootstrap(&self, bootstrap: proto::Bootstrap) -> Result<(), CommandError> {
        // Begun already by an attempt that ended halfway: the catalog decides.
        if let Err(error) = self.meta.begin([self.config.node].into()).await {
            tracing::info!(%error, "the meta group was begun before");
        }
        let level = bootstrap.level;
        self.command_at(level, proto::command::Kind::Bootstrap(bootstrap)).await.map(drop)
    }

    /// Returns the catalog as this node has it; cheap. Let go of it soon.
    #[must_use]
    pub fn catalog(&self) -> Catalog {
        self.shared.catalog()
    }

    /// Returns a receiver whose value changes with the catalog of this node.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.shared.changed()
    }

    /// Returns the catalog with everything that was changed before this was asked.
    ///
    /// # Errors
    /// [`ReadIndexError`] when no quorum answers.
    pub async fn latest(&self) -> Result<Catalog, ReadIndexError> {
        self.meta.read_index().await?;
        Ok(self.catalog())
    }

    /// Changes the catalog, at the cluster's feature level.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn command(&self, kind: proto::command::Kind) -> Result<Kind, CommandError> {
        let level = self.catalog().cluster().map_or(self.config.levels.0, |cluster| cluster.level);
        self.command_at(level, kind).await
    }

    /// Whether a node is connected with this one, or is this one.
    pub(crate) fn is_there(&self, node: NodeId) -> bool {
        let is_connected = |link: watch::Receiver<Link>| link.borrow().is_connected();
        node == self.config.node || self.host.peers().link(node).is_some_and(is_connected)
    }

    /// The groups that are placed on this node and cannot be opened, each with the reason.
    #[must_use]
    pub fn unopened(&self) -> Vec<(GroupId, String)> {
        self.unopened.reasons()
    }

    /// Tells why the cluster takes this node no more: its disk is a copy of an older one. The node has to end.
    #[must_use]
    pub fn refused(&self) -> watch::Receiver<Option<Refusal>> {
        self.refused.subscribe()
    }

    /// Returns which shards each node leads, as it last said itself: what may be wrong for the time of an election.
    #[must_use]
    pub fn led(&self) -> BTreeMap<NodeId, BTreeSet<GroupId>> {
        let board = self.host.peers().board();
        let said = |id| board.get(id, levelling::KEY).map(|posted| levelling::hear(posted.value));
        self.catalog().nodes().filter_map(|node| Some((node.id, said(node.id)?))).collect()
    }

    /// Says whether this node should lead nothing now: the others hand nothing over to it as long as it does.
    pub fn say_sheds(&self, sheds: bool) {
        let board = self.host.peers().board();
        let said = [u8::from(sheds)];
        let is_said = board.get(self.config.node, levelling::SHEDS).map(|posted| posted.value);
        if is_said.map_or(sheds, |is_said| is_said != said.as_slice()) {
            // It fits: it has one byte.
            let _ = board.put(levelling::SHEDS, Bytes::copy_from_slice(&said));
        }
    }

    /// Tells whether a node said that it should lead nothing.
    #[must_use]
    pub fn sheds(&self, node: NodeId) -> bool {
        self.host.peers().board().get(node, levelling::SHEDS).is_some_and(|posted| posted.value == [1].as_slice())
    }

    /// Returns the node's groups.
    #[must_use]
    pub fn host(&self) -> &Arc<Host> {
        &self.host
    }

    /// Returns the meta group.
    #[must_use]
    pub fn meta(&self) -> &Group {
        &self.meta
    }

    /// Ends what makes the node what the catalog says, so that its groups can be closed. Reads and commands go on.
    pub fn end(&self) {
        let mut loops = self.loops.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        loops.drain(..).for_each(|task| task.abort());
    }

    async fn command_at(&self, level: u32, kind: proto::command::Kind) -> Result<Kind, CommandError> {
        let body: Bytes = proto::Command { level, kind: Some(kind) }.encode_to_vec().into();
        let proposal = Proposal { level, body, epoch: None };
        let begun = Instant::now();
        loop {
            let wait = match self.meta.propose_anywhere(proposal.clone()).await {
                Ok(proposed) => return Ok(outcome(&proposed.answer)?),
                Err(ProposeError::Overloaded { retry_after }) if begun.elapsed() < PATIENCE => retry_after,
                // It was not proposed, so that it can be proposed again; who leads is found out meanwhile.
                Err(ProposeError::NotLeader { .. }) if begun.elapsed() < PATIENCE => Duration::from_millis(20),
                Err(error) => return Err(error.into()),
            };
            tokio::time::sleep(wait).await;
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let loops = self.loops.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        loops.drain(..).for_each(|task| task.abort());
    }
}
