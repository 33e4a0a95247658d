//! One tool server as this node sees it: its replicas, what they speak, and how healthy they are.
//!
//! A [`Handle`] is shared by every request; calls go from the caller's task straight to a
//! replica, past the actor, so that no mailbox stands on the request path. The actor behind it
//! probes the era, checks health, and is restarted over the same shared state when it fails.
//!
//! | Message | Effect | Reply | Overload |
//! |---|---|---|---|
//! | `Check` | checks each replica whose check is due | none | one at a time: a timer of its own |
//! | `Checked` | records a check's result | none | at most one per replica under way |
//! | `Probe` | probes the eras again | none | ignored while a probe is under way |
//! | `Probed` | publishes what the server speaks | none | one at a time |
//! | `Join`, `Leave` | a client's change notifications | the subscription | the hub's `subscribers_max`, and its principal's part |
//! | `Heard` | an upstream listen said something | none | the pace of the server |
//! | `HubTick` | the hub's timer | none | one |
//!
//! Spec: mcp.md section 2 (multiplexing), "Era probe"; architecture, "Actors".

mod actor;
mod bridge;
mod changes;
mod dispatch;
mod hub;
mod leg;
pub mod own;
#[cfg(test)]
mod support;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorate_mcp::subscription::{Interest, Rejection};
use quorate_scheduler::{Replicas, Snapshot};
use quorate_telemetry::{BackendMetrics, Metrics};
use quorate_types::{PrincipalDigest, ResourceName, TenantId};
use ractor::{ActorCell, ActorProcessingErr, ActorRef};
use tokio::sync::{oneshot, watch};

pub use self::dispatch::{Error, Load, Sent, fault_of};
pub use self::hub::{Notice, Subscription};
pub use self::leg::{Asked, Leg, Opened};
use crate::places::Places;
use crate::supervisor::{self, Child};
use crate::upstream::legacy::{self, InitializeResult};
use crate::upstream::{Endpoint, EraSetting, LegacySupport, ModernInfo, Probe, TransportSetting};

/// What a backend is made of; already valid.
#[derive(Clone, Debug)]
pub struct Config {
    /// The tool server's name.
    pub name: ResourceName,
    /// The tenant it belongs to.
    pub tenant: TenantId,
    /// Its replicas, at least one.
    pub endpoints: Vec<Endpoint>,
    /// Which eras are tried.
    pub era: EraSetting,
    /// Which legacy transports are tried.
    pub transport: TransportSetting,
    /// How replicas' health is judged.
    pub health: quorate_scheduler::Config,
    /// How long one check may take.
    pub check_timeout: Duration,
    /// Calls under way at once; more are refused.
    pub concurrency_max: usize,
    /// Items of one list; the rest is dropped with a log line.
    pub items_max: usize,
}

/// What a tool server is known to speak.
#[derive(Clone, Debug, Default)]
pub struct Support {
    /// Whether a probe has ended at least once.
    pub probed: bool,
    /// The stateless era, when it is spoken.
    pub modern: Option<ModernInfo>,
    /// The session-ful era.
    pub legacy: LegacySupport,
    /// Why the last probe failed, when it did.
    pub failure: Option<String>,
}

/// A tool server of this node. Clones are cheap.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

/// What the admin address and tests see of a backend.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The tool server's name.
    pub name: ResourceName,
    /// What it speaks.
    pub support: Support,
    /// Its replicas' health.
    pub replicas: Snapshot,
}

/// The state that outlives the actor.
pub(crate) struct Shared {
    /// Its name among its supervisor's children.
    child: String,
    pub(crate) config: Config,
    pub(crate) metrics: Metrics,
    pub(crate) numbers: BackendMetrics,
    replicas: Mutex<Replicas>,
    support: watch::Sender<Support>,
    schemas: bridge::Schemas,
    /// What may be under way at once.
    places: Arc<Places>,
    actor: Mutex<Option<ActorRef<actor::Message>>>,
}

// === impl Support ===

impl Support {
    /// Tells whether requests of the stateless era can be sent.
    #[must_use]
    pub fn speaks_modern(&self) -> bool {
        self.modern.is_some()
    }

    /// Tells whether the server is known to speak sessions, and nothing else.
    #[must_use]
    pub fn is_legacy_only(&self) -> bool {
        self.modern.is_none() && matches!(self.legacy, LegacySupport::Supported { .. })
    }

    /// Tells whether clients of sessions can use the server: by a session that is known to work, or
    /// not known to fail, or by a bridge.
    #[must_use]
    pub fn serves_sessions(&self) -> bool {
        match self.legacy {
            LegacySupport::Unsupported => self.speaks_modern(),
            LegacySupport::Unknown | LegacySupport::Supported { .. } => true,
        }
    }
}

impl From<Probe> for Support {
    fn from(probe: Probe) -> Self {
        Self { probed: true, modern: probe.modern, legacy: probe.legacy, failure: None }
    }
}

// === impl Handle ===

impl Handle {
    /// Makes a backend; its actor is started by its supervisor.
    ///
    /// # Panics
    /// When `config` has no endpoint: validated configurations have one.
    #[must_use]
    pub fn new(config: Config, metrics: Metrics) -> Self {
        assert!(!config.endpoints.is_empty(), "a tool server has at least one url");
        let replicas = Replicas::new(config.endpoints.len(), config.health);
        let places = Places::new(config.concurrency_max);
        let numbers = metrics.backend(config.name.as_str());
        let shared = Shared {
            child: supervisor::unique(config.name.as_str()),
            config,
            metrics,
            numbers,
            replicas: Mutex::new(replicas),
            support: watch::Sender::new(Support::default()),
            schemas: bridge::Schemas::default(),
            places,
            actor: Mutex::new(None),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The tool server's name.
    #[must_use]
    pub fn name(&self) -> &ResourceName {
        &self.shared.config.name
    }

    /// Tells whether both are the same running backend.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// The configuration that it was made of.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// What the server is known to speak, now.
    #[must_use]
    pub fn support(&self) -> Support {
        self.shared.support.borrow().clone()
    }

    /// Tells whether it is a program that is started here, and may have to be started for a request.
    #[must_use]
    pub fn is_program(&self) -> bool {
        self.shared.config.endpoints.iter().any(|endpoint| matches!(endpoint, Endpoint::Stdio(_)))
    }

    /// Tells whether a probe has ended.
    #[must_use]
    pub fn is_probed(&self) -> bool {
        self.shared.support.borrow().probed
    }

    /// Tells whether requests of the stateless era can be sent.
    #[must_use]
    pub fn speaks_modern(&self) -> bool {
        self.shared.support.borrow().speaks_modern()
    }

    /// Tells whether clients of sessions can use the server.
    #[must_use]
    pub fn serves_sessions(&self) -> bool {
        self.shared.support.borrow().serves_sessions()
    }

    /// Tells whether a stateless client can only be served through a session.
    #[must_use]
    pub fn needs_session(&self) -> bool {
        self.shared.support.borrow().is_legacy_only()
    }

    /// Tells whether the server is known to list tasks of sessions (2025-11-25).
    #[must_use]
    pub fn offers_tasks(&self) -> bool {
        match &self.shared.support.borrow().legacy {
            LegacySupport::Supported { capabilities, .. } => memchr::memmem::find(capabilities, b"\"tasks\"").is_some(),
            LegacySupport::Unknown | LegacySupport::Unsupported => false,
        }
    }

    /// Waits for the first probe to end, at most for `patience`, and returns what is known then.
    pub async fn support_within(&self, patience: Duration) -> Support {
        let mut receiver = self.shared.support.subscribe();
        let probed = receiver.wait_for(|support| support.probed);
        match tokio::time::timeout(patience, probed).await {
            Ok(Ok(support)) => support.clone(),
            Ok(Err(_)) | Err(_) => self.support(),
        }
    }

    /// Asks for a new probe, because an answer contradicts what is known.
    pub fn reprobe(&self) {
        if let Some(actor) = lock(&self.shared.actor).as_ref() {
            // A stopped actor has nothing to probe: the backend was removed.
            let _stopped = actor.cast(actor::Message::Probe);
        }
    }

    /// Records what opening a session showed of the server.
    fn learn_legacy(&self, session: &legacy::Leg, initialized: &InitializeResult) {
        let legacy = LegacySupport::Supported {
            version: initialized.version,
            transport: session.transport(),
            capabilities: initialized.capabilities.clone(),
            server_info: initialized.server_info.clone(),
            instructions: initialized.instructions.clone(),
        };
        self.shared.support.send_if_modified(|support| {
            let changed = support.legacy != legacy;
            support.legacy = legacy;
            changed
        });
    }

    /// Records that the server, which speaks the modern era, refused a session for good.
    fn learn_refusal(&self) {
        self.shared.support.send_modify(|support| support.legacy = LegacySupport::Unsupported);
    }

    /// Subscribes a principal to change notifications of the server's modern era.
    ///
    /// # Errors
    /// `None` when the backend was removed, else the hub's [`Rejection`].
    pub async fn subscribe(
        &self,
        principal: PrincipalDigest,
        interest: Interest,
    ) -> Result<Subscription, Option<Rejection>> {
        let (reply, subscription) = oneshot::channel();
        let actor = lock(&self.shared.actor).clone().ok_or(None)?;
        actor.cast(actor::Message::Join { principal, interest, reply }).map_err(|_| None)?;
        subscription.await.map_err(|_| None)?.map_err(Some)
    }

    /// Starts nothing any more, and waits until the processes of the server are gone, at most for
    /// as long as ending them takes.
    pub async fn end(&self) {
        let ends = self.shared.config.endpoints.iter().map(Endpoint::end);
        futures_util::future::join_all(ends).await;
    }

    /// Which arguments of its tools travel as headers too.
    fn schemas(&self) -> &bridge::Schemas {
        &self.shared.schemas
    }

    /// Counts that a bound was met.
    fn limit_hit(&self, limit: &'static str) {
        self.shared.metrics.limit_hit(limit);
    }

    /// Where the numbers of this backend go.
    #[must_use]
    pub fn metrics(&self) -> &BackendMetrics {
        &self.shared.numbers
    }

    /// Returns what an operator sees.
    #[must_use]
    pub fn observe(&self) -> Observation {
        Observation {
            name: self.name().clone(),
            support: self.support(),
            replicas: lock(&self.shared.replicas).observe(crate::clock::now()),
        }
    }
}

impl Child for Handle {
    fn name(&self) -> String {
        self.shared.child.clone()
    }

    async fn start(&self, supervisor: ActorCell) -> Result<ActorCell, ActorProcessingErr> {
        let actor = actor::spawn(Arc::clone(&self.shared), supervisor).await?;
        let cell = actor.get_cell();
        *lock(&self.shared.actor) = Some(actor);
        Ok(cell)
    }

    /// Calls under way go on to their end.
    fn stop(&self) {
        for endpoint in &self.shared.config.endpoints {
            endpoint.close();
        }
        if let Some(actor) = lock(&self.shared.actor).take() {
            actor.stop(Some("removed".to_owned()));
        }
    }
}

/// Locks a mutex whose critical sections do not panic half-way through a change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
