//! The tables that stages read: one immutable snapshot per configuration.
//!
//! Compiled off the request path and swapped in at once; a request takes the present one and
//! keeps it to its end. Nothing in a snapshot changes, except by design: the health of
//! backends and the cached lists of toolsets. That the node drains is told by its services.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock, OnceLock, Weak};

use arc_swap::ArcSwap;
use quorate_audit::Audit;
use quorate_config::Listener;
use quorate_runtime::backend;
use quorate_runtime::bridge::Bridge;
use quorate_runtime::listing::Listing;
use quorate_runtime::shard::Sessions;
use quorate_session::Durability;
use quorate_telemetry::{Metrics, Throttle, Tracer};
use quorate_types::{ResourceName, Sealer, TenantId};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::authenticate::Identities;
use crate::held::Gates;
use crate::judge::Judge;
use crate::llm::{Counting, Models};
use crate::protected::Demands;
use crate::tasks::Owners;
use crate::toolset::Toolset;

/// What does not change while the process runs.
pub struct Services {
    /// Seals and opens the ids that leave the node.
    pub sealer: Sealer,
    /// The live sessions.
    pub sessions: Sessions,
    /// Those among them that are kept on behalf of stateless clients.
    pub bridge: Bridge,
    /// Where numbers go.
    pub metrics: Metrics,
    /// Decides which requests are traced.
    pub tracer: Tracer,
    /// The present toolsets, for what outlives a snapshot: sessions.
    pub toolsets: ArcSwap<HashMap<ResourceName, Arc<Toolset>>>,
    /// The present policies, for the same.
    pub judge: ArcSwap<Judge>,
    /// Where the present snapshot is, for the same; set once, when the node starts. Weak, because every snapshot has
    /// these services.
    pub(crate) present: OnceLock<Weak<ArcSwap<Snapshot>>>,
    /// Where refused callers and changes are recorded.
    pub audit: Audit,
    /// Who began which task.
    pub tasks: Owners,
    /// Bounds what is counted of calls of models.
    pub(crate) counting: Counting,
    /// Bounds log lines about refused callers.
    pub(crate) throttle: Throttle,
    /// Is cancelled when the node goes away: new sessions go elsewhere, and streams without an end
    /// of their own get one.
    pub draining: CancellationToken,
}

/// The tables of one configuration.
pub struct Snapshot {
    /// What does not change while the process runs.
    pub services: Arc<Services>,
    /// Where identities come from.
    pub identities: Identities,
    /// What is allowed.
    pub(crate) judge: Arc<Judge>,
    /// Is cancelled when other rules say who is known and may do what: streams that were opened by these end then, or are
    /// judged anew.
    pub(crate) superseded: CancellationToken,
    /// What toolsets demand of their callers.
    pub(crate) demands: HashMap<ResourceName, Demands>,
    pub(crate) listeners: HashMap<ResourceName, ListenerTable>,
    pub(crate) toolsets: HashMap<ResourceName, Arc<Toolset>>,
    /// The models that clients ask for.
    pub(crate) models: Models,
}

/// One listener as stages see it.
pub struct ListenerTable {
    /// Its configuration.
    pub config: Listener,
    /// The toolsets that it serves: the configuration's own rule, applied once.
    pub toolsets: HashSet<ResourceName>,
    /// The requests that it serves at once.
    pub concurrency: Arc<Semaphore>,
}

/// One toolset as stages see it, with one combination of versions of its servers.
pub struct ToolsetTable {
    /// Its name.
    pub name: ResourceName,
    /// The tenant that it belongs to.
    pub tenant: TenantId,
    /// Its servers and their lists.
    pub listing: Listing,
    /// The servers of all versions: a task stays with the one that began it.
    pub servers: Arc<Vec<backend::Handle>>,
    /// The calls of tools whose number is bounded, in all versions together.
    pub gates: Arc<Gates>,
    /// What clients are told of it.
    pub instructions: Instructions,
    /// What a cluster keeps of what is in flight in sessions that are opened on it from now on.
    pub durability: Durability,
}

/// What clients are told of a toolset.
pub struct Instructions {
    /// Its own text.
    pub own: Option<String>,
    /// Whether what a server says is passed on, by its place.
    pub kept: Vec<bool>,
}

// === impl Services ===

impl Services {
    /// Returns the present toolset of a name.
    #[must_use]
    pub fn toolset(&self, name: &ResourceName) -> Option<Arc<Toolset>> {
        self.toolsets.load().get(name).cloned()
    }

    /// Returns the present snapshot; none when the node is gone.
    pub(crate) fn present(&self) -> Option<Arc<Snapshot>> {
        Some(self.present.get()?.upgrade()?.load_full())
    }
}

// === impl Snapshot ===

impl Snapshot {
    /// Tells whether the node is going away.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.services.draining.is_cancelled()
    }

    /// What decides whether something is allowed.
    #[must_use]
    pub fn judge(&self) -> &Judge {
        &self.judge
    }

    /// Returns what a toolset demands of its callers.
    #[must_use]
    pub fn demands(&self, toolset: &ResourceName) -> &Demands {
        static NOTHING: LazyLock<Demands> = LazyLock::new(Demands::default);
        self.demands.get(toolset).unwrap_or(&NOTHING)
    }

    /// Returns the table of a listener.
    #[must_use]
    pub fn listener(&self, name: &ResourceName) -> Option<&ListenerTable> {
        self.listeners.get(name)
    }

    /// Returns the toolset `name` if the listener serves it.
    #[must_use]
    pub fn toolset(&self, listener: &ListenerTable, name: &str) -> Option<&Arc<Toolset>> {
        let toolset = self.toolsets.get(&ResourceName::new(name).ok()?)?;
        listener.toolsets.contains(toolset.name()).then_some(toolset)
    }

    /// Returns every toolset.
    pub fn toolsets(&self) -> impl Iterator<Item = &Arc<Toolset>> {
        self.toolsets.values()
    }
}
