//! A gateway node: actors, and the snapshot that follows the configuration.
//!
//! [`Gateway::apply`] takes a validated set of resources, compiles a new snapshot off the request
//! path, binds what is new, and swaps it in at once; if anything cannot be done, the running set
//! stays in place. What did not change is kept: a listener keeps its socket, a tool server its
//! connections and health, a toolset its lists.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use quorate_audit::Audit;
use quorate_config::{Listener, ResourceSet, ToolServer};
use quorate_http::server::{BindError, InvalidLimit};
use quorate_identity::api_key::MacKey;
use quorate_mcp::Fault;
use quorate_policy::Policies;
use quorate_runtime::bridge::Bridge;
use quorate_runtime::ingress;
use quorate_runtime::node::Node;
use quorate_runtime::shard::{Limits as SessionLimits, Sessions};
use quorate_runtime::shards::Shards;
use quorate_runtime::{backend, session, upstream};
use quorate_session::{Config as SessionConfig, EndReason, Fault as SessionFault};
use quorate_stdio::Guard;
use quorate_telemetry::{Metrics, Throttle, Tracer};
use quorate_tls::{ClientAuth, ClientOptions, ClientTls, LoadError, Watch};
use quorate_types::{ResourceName, Sealer};
use tokio::sync::{Mutex, MutexGuard, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::audit;
use crate::authenticate::{Development, Identities};
use crate::judge::Judge;
use crate::llm::Counting;
use crate::pipeline::Pipeline;
use crate::protected::Demands;
use crate::snapshot::{ListenerTable, Services, Snapshot};
use crate::survey::{self, Survey};
use crate::tasks::Owners;
use crate::toolset::Toolset;
use crate::{relay, revive};

mod apis;
mod backends;
mod credentials;
mod endpoints;
pub(crate) mod identities;
mod keys;
mod listeners;
mod models;
mod prices;
mod rules;
mod sessions;
mod toolsets;

pub use keys::KeyObserved;
pub use models::ModelObserved;
use models::Models;
use sessions::Change;
use toolsets::{Making, Toolsets};

/// Live sessions of one node: at the measured cost of a session, a gigabyte and a half.
const SESSIONS_MAX: usize = 100_000;
/// Those of one principal: a tenth, so that none can keep the others out; an agent that serves many people may be one.
const PRINCIPAL_SESSIONS_MAX: usize = 10_000;
const _: () = assert!(PRINCIPAL_SESSIONS_MAX <= SESSIONS_MAX);
/// Bytes that wait for the clients of one principal: 256 MiB, eight times what one of its sessions may have.
const PRINCIPAL_UNREAD_BYTES_MAX: usize = 256 * 1024 * 1024;
const _: () = assert!(SessionConfig::DEFAULTS.undelivered_bytes_max <= PRINCIPAL_UNREAD_BYTES_MAX);
/// How often draining looks whether the last session has ended.
const DRAIN_POLL: Duration = Duration::from_millis(10);
/// How often draining looks which sessions have no calls any more: a session costs a message to its actor.
const IDLE_POLL: Duration = Duration::from_millis(200);
/// How long a drain waits for records whose tokens are counted.
const COUNTS_PATIENCE: Duration = Duration::from_secs(5);
/// Time beyond the patience of a drain in which the server cuts, and counts, what is left.
const CUT_SLACK: Duration = Duration::from_millis(250);

/// What a gateway is started with.
pub struct Config {
    /// Whether callers on loopback are the development identity.
    pub development: Development,
    /// Whether everything is allowed, whatever policies say.
    pub allow_all: bool,
    /// The key that API keys' documents were made with; a node that keeps none takes no API keys.
    pub mac_key: Option<MacKey>,
    /// Where refused callers and changes are recorded.
    pub audit: Audit,
    /// Seals the ids that leave the node.
    pub sealer: Sealer,
    /// Where numbers go.
    pub metrics: Metrics,
    /// Decides which requests are traced.
    pub tracer: Tracer,
    /// What tool servers' certificates are held against; loaded when the first one speaks TLS.
    pub tls: ClientOptions,
    /// How long open requests may take to end when the node, or their listener, goes away.
    pub drain_timeout: Duration,
    /// How the guards of child processes are started.
    pub guard: Guard,
    /// The shard groups that keep sessions, once the node is in a cluster.
    pub shards: Shards,
}

/// A running gateway. Clones are cheap.
#[derive(Clone)]
pub struct Gateway {
    shared: Arc<Shared>,
}

/// A set of resources cannot be run; the running one stays in place.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address cannot be bound.
    #[error("listener `{listener}`: {source}: {}", source.source)]
    Bind {
        /// The listener.
        listener: ResourceName,
        /// Why.
        source: BindError,
    },
    /// A limit has a value that cannot work.
    #[error("listener `{listener}`: {source}")]
    Limit {
        /// The listener.
        listener: ResourceName,
        /// Which.
        source: InvalidLimit,
    },
    /// A certificate or key cannot be used.
    #[error("listener `{listener}`: {source}")]
    Tls {
        /// The listener.
        listener: ResourceName,
        /// Why.
        source: LoadError,
    },
    /// The certificates that tool servers are held against cannot be used.
    #[error("trusted certificates: {0}")]
    Roots(#[source] LoadError),
    /// An address or header of a tool server or provider cannot be used.
    #[error("{of}: {source}")]
    Address {
        /// Whose it is.
        of: String,
        /// Why.
        source: upstream::endpoint::InvalidEndpoint,
    },
    /// What a tool server or provider is shown of us cannot be read.
    #[error("{of}: {source}")]
    Credential {
        /// Who is shown it.
        of: String,
        /// Under which key, and why.
        source: upstream::credential::Unreadable,
    },
    /// A resource of identity or policy cannot be used.
    #[error(transparent)]
    Access(#[from] identities::Invalid),
    /// An API cannot be made of its document.
    #[error(transparent)]
    Api(#[from] apis::Error),
    /// A file is none with prices.
    #[error(transparent)]
    Prices(#[from] prices::Error),
    /// An actor did not start.
    #[error(transparent)]
    Actor(#[from] quorate_runtime::node::Error),
}

struct Shared {
    services: Arc<Services>,
    development: Development,
    allow_all: bool,
    mac_key: Option<MacKey>,
    tls: ClientOptions,
    /// Loaded when the first tool server speaks TLS.
    trusted: OnceLock<ClientTls>,
    drain_timeout: Duration,
    guard: Guard,
    node: Node<Pipeline>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    running: Mutex<Running>,
}

/// Who may do what, with one configuration.
struct Access {
    identities: Identities,
    judge: Arc<Judge>,
    superseded: CancellationToken,
    demands: HashMap<ResourceName, Demands>,
}

/// A listener that runs.
#[derive(Clone)]
struct RunningListener {
    config: Listener,
    /// The client certificates that it takes.
    clients: Option<ClientAuth>,
    ingress: ingress::Handle<Pipeline>,
    /// Counts the requests in progress, also across a change of other settings.
    concurrency: Arc<Semaphore>,
    /// Reloads the certificate when its files change, as long as the listener runs.
    _certificate: Option<Arc<Watch>>,
}

/// What runs, by name, with the configuration that it was made of.
#[derive(Default)]
struct Running {
    ingresses: HashMap<ResourceName, RunningListener>,
    backends: HashMap<ResourceName, (ToolServer, backend::Handle)>,
    /// What the APIs among them were made of.
    apis: HashMap<ResourceName, u64>,
    toolsets: Toolsets,
    models: Models,
    /// What all of it was made of.
    resources: ResourceSet,
}

// === impl Running ===

impl Running {
    /// What the API of a server was made of, when the server is the same.
    fn api_of(&self, server: &ToolServer) -> Option<u64> {
        self.backends.get(&server.name).filter(|(config, _)| config == server)?;
        self.apis.get(&server.name).copied()
    }
}

// === impl Gateway ===

impl Gateway {
    /// Starts a gateway that listens on nothing yet.
    ///
    /// # Errors
    /// [`Error::Actor`] when the node's actors do not start.
    pub async fn start(config: Config) -> Result<Self, Error> {
        let limits = SessionLimits {
            sessions_max: SESSIONS_MAX,
            principal_sessions_max: PRINCIPAL_SESSIONS_MAX,
            principal_unread_bytes_max: PRINCIPAL_UNREAD_BYTES_MAX,
        };
        let (sealer, metrics) = (config.sealer.clone(), config.metrics.clone());
        let sessions = Sessions::new(SessionConfig::DEFAULTS, limits, sealer, metrics, config.shards);
        let node = Node::start(sessions.clone()).await?;
        audit::observe(&config.audit, &config.metrics);
        let services = Arc::new(Services {
            sealer: config.sealer,
            bridge: Bridge::new(sessions.clone(), config.metrics.clone()),
            sessions,
            metrics: config.metrics,
            tracer: config.tracer,
            toolsets: ArcSwap::default(),
            judge: ArcSwap::from_pointee(Judge::new(Policies::deny_all())),
            present: OnceLock::new(),
            audit: config.audit,
            tasks: Owners::default(),
            counting: Counting::default(),
            throttle: Throttle::default(),
            draining: CancellationToken::new(),
        });
        audit::started(&services, config.development, config.allow_all);
        let snapshot = Snapshot {
            services: Arc::clone(&services),
            identities: identities::none(),
            judge: services.judge.load_full(),
            superseded: CancellationToken::new(),
            demands: HashMap::new(),
            listeners: HashMap::new(),
            toolsets: HashMap::new(),
            models: crate::llm::Models::default(),
        };
        let snapshot = Arc::new(ArcSwap::from_pointee(snapshot));
        // Nothing else has these services yet.
        let _is_first = services.present.set(Arc::downgrade(&snapshot));
        let revived = Arc::downgrade(&services);
        services.sessions.set_revive(Arc::new(move |charter| revive::revive(&revived.upgrade()?, charter)));
        relay::serve(&snapshot);
        snapshot.load().services.sessions.serve_orphans();
        let shared = Shared {
            services,
            development: config.development,
            allow_all: config.allow_all,
            mac_key: config.mac_key,
            tls: config.tls,
            trusted: OnceLock::new(),
            drain_timeout: config.drain_timeout,
            guard: config.guard,
            node,
            snapshot,
            running: Mutex::new(Running::default()),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Runs `resources` instead of what ran before.
    ///
    /// # Errors
    /// [`Error`] names the resource that cannot be run; then nothing has changed.
    pub async fn apply(&self, resources: &ResourceSet) -> Result<(), Error> {
        let running = self.shared.running.lock().await;
        let judge = Arc::new(self.judge(resources));
        let identities = self.identities(resources, &judge, &self.shared.snapshot.load().identities)?;
        let mut apis = apis::load(resources, |server| running.api_of(server)).await?;
        let prices = prices::load(resources).await?;
        let backends = self.backends(resources, &running, &mut apis.fresh)?;
        let ingresses = self.ingresses(resources, &running)?;
        let making = Making { backends: &backends, running: &running.toolsets, metrics: &self.shared.services.metrics };
        let toolsets = making.all(resources);
        let models = self.models(resources, &running.models, prices)?;

        // The last that can fail: what is started here has no work before the snapshot below is in force.
        self.begin(&running, &backends, &ingresses).await?;
        let present = self.shared.snapshot.load_full();
        let has_same_rules = rules::are_same(&running.resources, resources)
            // What is read from files is named by resources that stay as they are.
            && identities.issuers.has_same_rules(&present.identities.issuers);
        let superseded = if has_same_rules { present.superseded.clone() } else { CancellationToken::new() };
        let access = Access { demands: identities::demands(resources, &judge), identities, judge, superseded };
        let snapshot = self.snapshot(resources, access, &ingresses, (&toolsets, &models));
        self.shared.services.toolsets.store(Arc::new(snapshot.toolsets.clone()));
        self.shared.services.judge.store(Arc::clone(&snapshot.judge));
        self.shared.snapshot.store(Arc::new(snapshot));
        if !has_same_rules {
            present.superseded.cancel();
        }
        let resources = resources.clone();
        let next = Running { ingresses, backends, apis: apis.fingerprints, toolsets, models, resources };
        let change = Change::of(&running, &next, !has_same_rules);
        // Beside what waits: who has lost a right keeps no session while a listener or an actor stops, and whoever asks
        // what runs need not wait until all sessions are told.
        tokio::join!(change.tell(&self.shared.services), self.replace(running, next));
        Ok(())
    }

    /// Runs `next` instead of what is `running`, when all that serves requests is in force.
    async fn replace(&self, mut running: MutexGuard<'_, Running>, next: Running) {
        // What leaves goes first: two listeners never accept from one socket.
        for (_, gone) in running.ingresses.iter().filter(|(name, known)| !goes_on(name, known, &next.ingresses)) {
            self.shared.node.remove_ingress(&gone.ingress).await;
        }
        next.ingresses.values().for_each(|listener| listener.ingress.open());
        audit::changed(&self.shared.services, &running.resources.difference(&next.resources));
        let before = std::mem::replace(&mut *running, next);
        self.retire(&before, &running).await;
    }

    /// Notes that a change of the resources was refused, and why: for the operator, without secrets.
    pub fn change_refused(&self, why: &str) {
        audit::change_refused(&self.shared.services, why);
    }

    /// The addresses that are listened on, by listener.
    pub async fn addresses(&self) -> Vec<(ResourceName, SocketAddr)> {
        let running = self.shared.running.lock().await;
        let mut addresses: Vec<_> =
            running.ingresses.iter().map(|(name, listener)| (name.clone(), listener.ingress.local())).collect();
        addresses.sort();
        addresses
    }

    /// What the backends are known to be.
    pub async fn backends_observed(&self) -> Vec<backend::Observation> {
        let running = self.shared.running.lock().await;
        let mut observed: Vec<_> = running.backends.values().map(|(_, backend)| backend.observe()).collect();
        observed.sort_by(|a, b| a.name.cmp(&b.name));
        observed
    }

    /// What each toolset makes of its servers; asks them for their lists.
    pub async fn survey(&self) -> Vec<Survey> {
        survey::all(&self.shared.services).await
    }

    /// Tells whether each backend was probed once, so that clients see complete lists.
    pub async fn is_ready(&self) -> bool {
        let running = self.shared.running.lock().await;
        running.backends.values().all(|(_, backend)| backend.is_probed())
    }

    /// The node's live sessions.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.shared.services.sessions
    }

    /// Says whether the node has room for new sessions: without it they are refused with 503 and a limit's error, and those
    /// that are open go on.
    pub fn set_full(&self, is_full: bool) {
        self.shared.services.sessions.set_full(is_full);
    }

    /// Is cancelled when the node has failed and the process should end.
    #[must_use]
    pub fn failed(&self) -> &CancellationToken {
        self.shared.node.failed()
    }

    /// Opens no more sessions, stops accepting, ends streams, and lets open requests finish.
    /// Returns how many connections did not, and were cut.
    pub async fn drain(&self) -> usize {
        let running = self.shared.running.lock().await;
        self.shared.services.draining.cancel();
        let patience = self.shared.drain_timeout;
        let drains = running.ingresses.values().map(|listener| listener.ingress.drain(patience + CUT_SLACK));
        let (cut, ()) = tokio::join!(futures_util::future::join_all(drains), self.end_sessions(patience));
        let ends = running.backends.values().map(|(_, backend)| backend.end());
        futures_util::future::join_all(ends).await;
        self.shared.node.stop();
        // What their records wait for.
        let _whether_all = tokio::time::timeout(COUNTS_PATIENCE, self.shared.services.counting.rest()).await;
        cut.into_iter().sum()
    }

    /// Ends the sessions that end with the node, each when its calls are answered, all at three quarters of the patience,
    /// and waits until their tool servers were told. Those that outlive it go on at another node.
    async fn end_sessions(&self, patience: Duration) {
        let sessions = &self.shared.services.sessions;
        if sessions.shards().is_joined() {
            // What is left of calls is handed over, or given up.
            let _whether_all = tokio::time::timeout(patience, sessions.orphans_gone()).await;
            return;
        }
        let fault = session::fault(Fault::ShuttingDown);
        let telling = patience / 4;
        // Either way, what is left is ended.
        let _whether_all_left = tokio::time::timeout(patience - telling, self.end_idle_sessions(&fault)).await;
        sessions.end_where(&EndReason::Shutdown, &fault, |_| true);
        let told = async {
            while sessions.count() > 0 {
                tokio::time::sleep(DRAIN_POLL).await;
            }
            sessions.closed().await;
        };
        // A server that does not answer forgets its sessions by itself.
        let _whether_all_were_told = tokio::time::timeout(telling, told).await;
    }

    /// Ends sessions that are found without calls twice in a row, but for those that wait for a client, who can come
    /// back over no connection any more, which leaves their last answers the time to be
    /// written, until there are none.
    async fn end_idle_sessions(&self, fault: &SessionFault) {
        let sessions = &self.shared.services.sessions;
        let mut idle = HashSet::new();
        while sessions.count() > 0 {
            let mut now_idle = HashSet::new();
            for session in sessions.all() {
                let is_busy = session.observe().await.is_ok_and(|seen| seen.calls > seen.parked);
                if !is_busy && idle.contains(&session.key()) {
                    session.end(EndReason::Shutdown, fault.clone());
                } else if !is_busy {
                    now_idle.insert(session.key());
                }
            }
            idle = now_idle;
            tokio::time::sleep(IDLE_POLL).await;
        }
    }

    fn snapshot(
        &self,
        resources: &ResourceSet,
        access: Access,
        ingresses: &HashMap<ResourceName, RunningListener>,
        (toolsets, models): (&Toolsets, &Models),
    ) -> Snapshot {
        let table = |(name, RunningListener { config, concurrency, .. }): (&ResourceName, &RunningListener)| {
            let table = ListenerTable {
                config: config.clone(),
                toolsets: resources.toolsets_of(config).map(|toolset| toolset.name.clone()).collect(),
                concurrency: Arc::clone(concurrency),
            };
            (name.clone(), table)
        };
        Snapshot {
            services: Arc::clone(&self.shared.services),
            identities: access.identities,
            judge: access.judge,
            superseded: access.superseded,
            demands: access.demands,
            listeners: ingresses.iter().map(table).collect(),
            toolsets: toolsets.iter().map(|(name, (_, table))| (name.clone(), Arc::clone(table))).collect(),
            models: models.table(),
        }
    }

    /// Starts the actors of what does not run yet: all of them, or none.
    async fn begin(
        &self,
        running: &Running,
        backends: &HashMap<ResourceName, (ToolServer, backend::Handle)>,
        ingresses: &HashMap<ResourceName, RunningListener>,
    ) -> Result<(), Error> {
        let node = &self.shared.node;
        let backends = backends.iter().filter(|(name, (_, backend))| !is_among(name, backend, &running.backends));
        let ingresses = ingresses.iter().filter(|(name, new)| !goes_on(name, new, &running.ingresses));
        let (mut begun_backends, mut begun_ingresses) = (Vec::new(), Vec::new());
        let begin = async {
            for (_, (_, backend)) in backends {
                node.add_backend(backend.clone()).await?;
                begun_backends.push(backend);
            }
            for (_, new) in ingresses {
                node.add_ingress(new.ingress.clone()).await?;
                begun_ingresses.push(&new.ingress);
            }
            Ok::<(), Error>(())
        };
        let begun = begin.await;
        if begun.is_err() {
            for backend in begun_backends {
                node.remove_backend(backend).await;
            }
            for ingress in begun_ingresses {
                node.remove_ingress(ingress).await;
            }
        }
        begun
    }

    /// Ends what the new set no longer has.
    async fn retire(&self, before: &Running, now: &Running) {
        for (_, (_, gone)) in before.backends.iter().filter(|(name, (_, one))| !is_among(name, one, &now.backends)) {
            self.shared.node.remove_backend(gone).await;
        }
        let is_in = |toolsets: &Toolsets, toolset: &Arc<Toolset>| {
            toolsets.get(toolset.name()).is_some_and(|(_, known)| Arc::ptr_eq(known, toolset))
        };
        for (_, toolset) in before.toolsets.values().filter(|(_, toolset)| !is_in(&now.toolsets, toolset)) {
            toolset.retire();
        }
    }
}

/// Whether a tool server's actor is the one of that name among others.
fn is_among(
    name: &ResourceName,
    backend: &backend::Handle,
    others: &HashMap<ResourceName, (ToolServer, backend::Handle)>,
) -> bool {
    others.get(name).is_some_and(|(_, other)| other.is_same(backend))
}

/// Whether a listener goes on among others.
fn goes_on(name: &ResourceName, listener: &RunningListener, others: &HashMap<ResourceName, RunningListener>) -> bool {
    others.get(name).is_some_and(|other| other.ingress.is_same(&listener.ingress))
}
