//! The sessions of one shard: their registry, their supervisor, and the clock that ticks them.
//!
//! A session id is sealed text of (shard, key, principal): any node can tell whose shard it is,
//! and nobody else than its principal can use it. A session without an entry here does not
//! exist: it is never rebuilt from its id. On one node there is one shard, number 0.
//!
//! | Message | Effect | Reply | Overload |
//! |---|---|---|---|
//! | `Sweep` | ticks each session whose deadline has come, and puts to rest what is idle | none | one timer, every second |
//!
//! Supervision: linked to the `Node`. A failed session is logged and forgotten; its client gets
//! 404 and opens another.

mod operate;
mod orphans;
mod revive;
mod takeover;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use quorate_mcp::Version;
use quorate_session::record::proto;
use quorate_session::{Config, Delivery, Durability, EndReason, Event, Fault, RequestKey};
use quorate_telemetry::Metrics;
use quorate_types::seal::Purpose;
use quorate_types::{Principal, PrincipalDigest, ResourceName, Sealer, TenantId, Timestamp};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::OnceCell;
use tokio_util::task::TaskTracker;

use self::revive::charter;
pub use self::revive::{owner, owner_of, scope};
use crate::session::{self, Begins, Client, Handle, Keeping, Memory, Opening, Scope, Translate, Unread};
use crate::shards::Shards;
use crate::{backend, clock, entropy};

/// The number of the shard of a node without a cluster, whose sessions end with it.
const ALONE: u16 = 0;
/// Locks that the registry is spread over: more than cores, so that openings rarely meet.
const STRIPES: usize = 16;
/// Time between two looks at the sessions' deadlines: 1 s, finer than any timeout of a session.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Shard, key and principal.
const ID_BYTES: usize = 2 + 16 + 16;

/// The sessions of this node. Clones are cheap.
#[derive(Clone)]
pub struct Sessions {
    shared: Arc<Shared>,
}

/// How many sessions there may be at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// On this node.
    pub sessions_max: usize,
    /// Of one principal, so that none can keep the others out.
    pub principal_sessions_max: usize,
    /// Bytes that wait for the clients of one principal, in all of its sessions, at which those take no new calls.
    pub principal_unread_bytes_max: usize,
}

/// What a new session is opened for.
pub struct Open {
    /// Who owns it.
    pub principal: PrincipalDigest,
    /// The tenant that it belongs to.
    pub tenant: TenantId,
    /// What it is for.
    pub scope: Scope,
    /// How its client receives messages.
    pub delivery: Delivery,
    /// What the client said at `initialize`; not yet known for HTTP+SSE.
    pub client: Option<Client>,
    /// What rewrites backends' frames for the client.
    pub translate: Arc<dyn Translate>,
    /// What the session remembers of its toolset.
    pub memory: Arc<Memory>,
    /// What of it outlives the node.
    pub durability: Durability,
    /// Its owner as it is known now.
    pub owner: Arc<Principal>,
}

/// What a session needs beside its record, on a node that did not open it.
pub struct Revived {
    /// What rewrites backends' frames for the client.
    pub translate: Arc<dyn Translate>,
    /// What the session remembers of its toolset.
    pub memory: Arc<Memory>,
    /// The backends of its scope.
    pub servers: Arc<Vec<backend::Handle>>,
}

/// Makes what a session needs beside its record; none where its scope is not configured any more.
pub type Revive = Arc<dyn Fn(&proto::Charter) -> Option<Revived> + Send + Sync>;

/// A session cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The node has as many as it may have.
    #[error("the node has {max} sessions, which is its limit")]
    TooMany {
        /// The limit.
        max: usize,
    },
    /// The principal has as many as one may have.
    #[error("the caller has {max} sessions, which is the limit of one")]
    TooManyOfPrincipal {
        /// The limit.
        max: usize,
    },
    /// The node is in a cluster and owns no shard now: another one takes new sessions.
    #[error("the node owns no sessions now; others of the cluster do")]
    Elsewhere,
    /// What was opened could not be written down.
    #[error("the session could not be written down: another node may own its shard now")]
    Unwritten,
    /// The disk of the node has no room for what is new.
    #[error("the disk of the node is nearly full, and it opens no new sessions: those that are open go on")]
    Full,
    /// The actor did not start.
    #[error("the session's actor did not start: {reason}")]
    Spawn {
        /// Why.
        reason: String,
    },
}

/// Why a session id is not accepted. All answer 404; the variants are for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// It was not made here, or was altered.
    #[error("the session id is not one of this cluster")]
    Forged,
    /// It belongs to somebody else, or to another toolset.
    #[error("the session id belongs to somebody else")]
    Foreign,
    /// The session has ended.
    #[error("the session has ended")]
    Ended,
    /// Another node owns it, or is about to.
    #[error("another node owns the session")]
    Elsewhere(u32),
}

struct Shared {
    shards: Shards,
    revive: OnceLock<Revive>,
    /// Sessions that are being made of their records.
    reviving: Mutex<HashMap<u128, Arc<OnceCell<Handle>>>>,
    /// Records of shards that are owned here which no actor stands for, and when somebody has to look at them.
    asleep: Mutex<HashMap<u128, (u32, Timestamp)>>,
    stripes: [RwLock<HashMap<u128, Handle>>; STRIPES],
    count: AtomicUsize,
    /// Whether nothing new is taken.
    is_full: AtomicBool,
    /// What each principal has; nobody is there without a session.
    owned: Mutex<HashMap<PrincipalDigest, Owned>>,
    limits: Limits,
    config: Config,
    sealer: Sealer,
    metrics: Metrics,
    closes: TaskTracker,
    supervisor: RwLock<Option<ActorCell>>,
}

/// What a principal has.
#[derive(Default)]
struct Owned {
    sessions: usize,
    /// Bytes that its clients have not read, in all of them.
    unread: Arc<AtomicUsize>,
}

struct ShardActor;

/// The messages of a shard's actor; see the table above.
pub(crate) enum Message {
    /// Tick the sessions whose deadline has come.
    Sweep,
}

// === impl Unknown ===

impl Unknown {
    /// Returns the label of this reason.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forged => "forged",
            Self::Foreign => "foreign",
            Self::Ended => "ended",
            Self::Elsewhere(_) => "elsewhere",
        }
    }
}

// === impl Sessions ===

impl Sessions {
    /// Makes an empty registry; sessions can be opened once [`Sessions::start`] has run.
    #[must_use]
    pub fn new(config: Config, limits: Limits, sealer: Sealer, metrics: Metrics, shards: Shards) -> Self {
        let shared = Shared {
            shards,
            revive: OnceLock::new(),
            reviving: Mutex::default(),
            asleep: Mutex::default(),
            stripes: Default::default(),
            count: AtomicUsize::new(0),
            is_full: AtomicBool::new(false),
            owned: Mutex::default(),
            limits,
            config,
            sealer,
            metrics,
            closes: TaskTracker::new(),
            supervisor: RwLock::new(None),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Starts the shard's actor, linked to `supervisor`.
    ///
    /// # Errors
    /// When the actor cannot be spawned.
    pub async fn start(&self, supervisor: ActorCell) -> Result<ActorCell, ActorProcessingErr> {
        let (actor, _task) = Actor::spawn_linked(None, ShardActor, self.clone(), supervisor).await?;
        let cell = actor.get_cell();
        *self.shared.supervisor.write().unwrap_or_else(PoisonError::into_inner) = Some(cell.clone());
        tokio::spawn(takeover::follow(self.clone()));
        Ok(cell)
    }

    /// Says whether the node has room for new sessions; those that are open go on either way.
    pub fn set_full(&self, is_full: bool) {
        self.shared.is_full.store(is_full, Ordering::Relaxed);
    }

    /// Opens a session.
    ///
    /// # Errors
    /// [`Error::Full`] when there is no room for new ones, [`Error::TooMany`] at the node's limit,
    /// [`Error::TooManyOfPrincipal`] at the principal's, [`Error::Spawn`] when the actor does not start.
    pub async fn open(&self, open: Open) -> Result<Handle, Error> {
        let place = self.take_place(open.principal)?;
        let key = u128::from_be_bytes(entropy::secret());
        let is_kept = self.shared.shards.is_joined();
        let owned = self.shared.shards.choose();
        if is_kept && owned.is_none() && open.delivery != Delivery::Calls {
            return Err(Error::Elsewhere);
        }
        let waits = is_kept && open.delivery != Delivery::Calls;
        let keeping = owned.map(|owned| Keeping { begins: Begins::New(Arc::new(charter(&open))), owned });
        let opening = self.opening(key, open, keeping, &place);
        let handle = self.start_actor(opening, place).await?;
        if waits {
            handle.take(Event::Touch).await.map_err(|_| Error::Unwritten)?;
        }
        Ok(handle)
    }

    async fn start_actor(&self, opening: Opening, place: Place) -> Result<Handle, Error> {
        let key = opening.key;
        let supervisor = self.shared.supervisor.read().unwrap_or_else(PoisonError::into_inner).clone();
        let supervisor = supervisor.ok_or_else(|| Error::Spawn { reason: "the shard is not running".to_owned() })?;
        let registry = self.clone();
        let gone = Box::new(move |shared: &session::Shared| {
            registry.forget(shared);
            drop(place);
        });
        let handle = Handle::open(opening, supervisor, gone)
            .await
            .map_err(|reason| Error::Spawn { reason: reason.to_string() })?;
        self.stripe(key).write().unwrap_or_else(PoisonError::into_inner).insert(key, handle.clone());
        if handle.is_over() {
            self.forget(handle.shared());
        }
        Ok(handle)
    }

    /// Finds the session that `id` names, if it is `principal`'s and of `toolset`.
    ///
    /// # Errors
    /// [`Unknown`]; the client is answered 404 whatever the variant.
    pub async fn find(&self, id: &str, principal: PrincipalDigest, toolset: &ResourceName) -> Result<Handle, Unknown> {
        let plaintext = self.shared.sealer.open(Purpose::Session, id).map_err(|_| Unknown::Forged)?;
        let plaintext: [u8; ID_BYTES] = plaintext.try_into().map_err(|_| Unknown::Forged)?;
        let (head, owner) = plaintext.split_at(ID_BYTES - 16);
        if owner != principal.0 {
            return Err(Unknown::Foreign);
        }
        let (shard, key) = head.split_at(2);
        let shard = u16::from_be_bytes(shard.try_into().map_err(|_| Unknown::Forged)?);
        let key = u128::from_be_bytes(key.try_into().map_err(|_| Unknown::Forged)?);
        let session = self.get(shard, key, principal).await?;
        match session.scope() {
            Scope::Toolset(own) if own == toolset => Ok(session),
            Scope::Toolset(_) | Scope::Server(_) => Err(Unknown::Foreign),
        }
    }

    /// Returns the session of a number, if it is `principal`'s, making it of its record where no actor stands for it.
    ///
    /// # Errors
    /// [`Unknown`].
    pub async fn get(&self, shard: u16, key: u128, principal: PrincipalDigest) -> Result<Handle, Unknown> {
        let session =
            if shard == ALONE { self.live(key).ok_or(Unknown::Ended)? } else { self.owned(shard, key).await? };
        match session.principal() == principal {
            true => Ok(session),
            false => Err(Unknown::Foreign),
        }
    }

    /// Returns the shard of the session that an id names, where it is one of this cluster; none where it says nothing.
    #[must_use]
    pub fn shard_of(&self, id: &str) -> Option<u32> {
        let plaintext = self.shared.sealer.open(Purpose::Session, id).ok()?;
        let shard: [u8; 2] = plaintext.get(..2)?.try_into().ok()?;
        Some(u16::from_be_bytes(shard).into())
    }

    /// Waits while nobody is known to own a session of the cluster, but not for longer than it takes to hand it over.
    pub async fn settled(&self, id: &str) {
        if let Some(shard) = self.shard_of(id).filter(|shard| *shard != 0) {
            self.shared.shards.settled(shard).await;
        }
    }

    /// Says that the answer to a request of a session has arrived where its client is.
    pub fn acknowledge(&self, id: &str, request: RequestKey) {
        let Ok(plaintext) = self.shared.sealer.open(Purpose::Session, id) else { return };
        let key = plaintext.get(2..18).and_then(|key| key.try_into().ok()).map(u128::from_be_bytes);
        if let Some(session) = key.and_then(|key| self.live(key)) {
            session.tell(Event::Acknowledge { key: request });
        }
    }

    /// Returns the shard groups of the node.
    #[must_use]
    pub fn shards(&self) -> &Shards {
        &self.shared.shards
    }

    /// Says how sessions are made of their records; once.
    pub fn set_revive(&self, revive: Revive) {
        // The first stays: there is one configuration of a node.
        let _is_first = self.shared.revive.set(revive).is_ok();
    }

    /// Tells whether an actor stands for a session here, whatever becomes of it.
    fn is_known(&self, key: u128) -> bool {
        self.stripe(key).read().unwrap_or_else(PoisonError::into_inner).contains_key(&key)
    }

    fn live(&self, key: u128) -> Option<Handle> {
        let sessions = self.stripe(key).read().unwrap_or_else(PoisonError::into_inner);
        let is_usable = |session: &&Handle| !session.is_ended() && !session.is_moved() && !session.is_rested();
        sessions.get(&key).filter(is_usable).cloned()
    }

    /// Takes an actor that has ended from the registry. Another one may stand for the session by now.
    fn forget(&self, gone: &session::Shared) {
        let mut sessions = self.stripe(gone.key).write().unwrap_or_else(PoisonError::into_inner);
        if !sessions.get(&gone.key).is_some_and(|session| session.is_of(gone)) {
            return;
        }
        let session = sessions.remove(&gone.key);
        drop(sessions);
        if let Some(session) = session.filter(Handle::is_rested) {
            self.lay_down(&session);
        }
    }

    /// Ends the sessions that `ends` chooses.
    pub fn end_where(&self, reason: &EndReason, fault: &Fault, ends: impl Fn(&Handle) -> bool) {
        for session in self.all().iter().filter(|session| ends(session)) {
            session.end(reason.clone(), fault.clone());
        }
    }

    /// Returns how many sessions are live.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shared.count.load(Ordering::Relaxed)
    }

    /// Waits until every session that ended so far has been ended at its tool servers, too; each
    /// gives a server that does not answer a few seconds.
    pub async fn closed(&self) {
        self.shared.closes.close();
        self.shared.closes.wait().await;
        self.shared.closes.reopen();
    }

    /// Returns every live session.
    #[must_use]
    pub fn all(&self) -> Vec<Handle> {
        let stripes = self.shared.stripes.iter();
        stripes
            .flat_map(|stripe| {
                let sessions = stripe.read().unwrap_or_else(PoisonError::into_inner);
                sessions.values().cloned().collect::<Vec<_>>()
            })
            .collect()
    }

    fn opening(&self, key: u128, open: Open, keeping: Option<Keeping>, place: &Place) -> Opening {
        let shard = keeping.as_ref().map_or(ALONE, |keeping| u16::try_from(keeping.owned.shard).unwrap_or(ALONE));
        let mut id = Vec::with_capacity(ID_BYTES);
        id.extend_from_slice(&shard.to_be_bytes());
        id.extend_from_slice(&key.to_be_bytes());
        id.extend_from_slice(&open.principal.0);
        let id = self.shared.sealer.seal(Purpose::Session, &id, &entropy::secret());
        let primes = open.client.as_ref().is_some_and(|client| client.version >= Version::V2025_11_25);
        let config = match open.delivery {
            Delivery::Calls => self.shared.config.for_calls(),
            Delivery::Streams | Delivery::Single => {
                // Without a cluster nothing outlives the node either way.
                let is_strict = keeping.is_none() || open.durability == Durability::Strict;
                let durability = if is_strict { Durability::Strict } else { Durability::Ephemeral };
                let priming = primes && is_strict;
                Config { delivery: open.delivery, durability, priming, ..self.shared.config }
            }
        };
        Opening {
            key,
            id: id.into(),
            principal: open.principal,
            tenant: open.tenant,
            scope: open.scope,
            owner: open.owner,
            config,
            keeping,
            client: open.client,
            translate: open.translate,
            memory: open.memory,
            unread: Unread::of(Arc::clone(&place.unread), self.shared.limits.principal_unread_bytes_max),
            metrics: self.shared.metrics.clone(),
            closes: self.shared.closes.clone(),
        }
    }

    fn take_place(&self, principal: PrincipalDigest) -> Result<Place, Error> {
        if self.shared.is_full.load(Ordering::Relaxed) {
            self.shared.metrics.limit_hit("disk");
            return Err(Error::Full);
        }
        let Limits { sessions_max, principal_sessions_max, .. } = self.shared.limits;
        let mut owned = self.shared.owned.lock().unwrap_or_else(PoisonError::into_inner);
        // Records without an actor count as well: there are as many as the shards that are owned here have.
        let records = self.shared.shards.owned_by(principal);
        if owned.get(&principal).map_or(0, |owned| owned.sessions).max(records) >= principal_sessions_max {
            self.shared.metrics.limit_hit("principal_sessions");
            return Err(Error::TooManyOfPrincipal { max: principal_sessions_max });
        }
        // Changed with the lock held alone; read without it.
        if self.shared.count.load(Ordering::Relaxed) >= sessions_max {
            self.shared.metrics.limit_hit("sessions");
            return Err(Error::TooMany { max: sessions_max });
        }
        Ok(self.enter(&mut owned, principal))
    }

    /// Whether a session is going to end, and still has its actor.
    fn is_ending(&self, key: u128) -> bool {
        let sessions = self.stripe(key).read().unwrap_or_else(PoisonError::into_inner);
        sessions.get(&key).is_some_and(|session| session.is_ended() && !session.is_moved() && !session.is_rested())
    }

    /// A place for a session that was opened before: limits are for new ones.
    fn place_of(&self, principal: PrincipalDigest) -> Place {
        let mut owned = self.shared.owned.lock().unwrap_or_else(PoisonError::into_inner);
        self.enter(&mut owned, principal)
    }

    fn enter(&self, owned: &mut HashMap<PrincipalDigest, Owned>, principal: PrincipalDigest) -> Place {
        self.shared.count.fetch_add(1, Ordering::Relaxed);
        let own = owned.entry(principal).or_default();
        own.sessions += 1;
        Place { shared: Arc::clone(&self.shared), principal, unread: Arc::clone(&own.unread) }
    }

    fn stripe(&self, key: u128) -> &RwLock<HashMap<u128, Handle>> {
        let stripe = usize::try_from(key % STRIPES as u128).expect("a remainder of a small number");
        &self.shared.stripes[stripe]
    }
}

/// A session's place in both counts; given back when dropped.
struct Place {
    shared: Arc<Shared>,
    principal: PrincipalDigest,
    /// What its principal's clients have not read.
    unread: Arc<AtomicUsize>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut owned = self.shared.owned.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.count.fetch_sub(1, Ordering::Relaxed);
        if let Some(own) = owned.get_mut(&self.principal) {
            own.sessions -= 1;
            if own.sessions == 0 {
                owned.remove(&self.principal);
            }
        }
    }
}

impl Actor for ShardActor {
    type Msg = Message;
    type State = Sessions;
    type Arguments = Sessions;

    async fn pre_start(&self, myself: ActorRef<Message>, sessions: Sessions) -> Result<Sessions, ActorProcessingErr> {
        myself.send_interval(SWEEP_INTERVAL, || Message::Sweep);
        Ok(sessions)
    }

    async fn handle(
        &self,
        _myself: ActorRef<Message>,
        message: Message,
        sessions: &mut Sessions,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Sweep => {
                let now = clock::now();
                for stripe in &sessions.shared.stripes {
                    let live = stripe.read().unwrap_or_else(PoisonError::into_inner);
                    for session in live.values() {
                        session.tick_if_due(now);
                        session.rest_if_due(now);
                    }
                }
                takeover::wake(sessions, now);
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<Message>,
        event: SupervisionEvent,
        _sessions: &mut Sessions,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(cell, reason) => {
                // Its state's drop has taken it from the registry: the client gets 404.
                tracing::error!(actor = %cell.get_id(), %reason, "a session's actor failed; the session is gone");
            }
            SupervisionEvent::ActorTerminated(..)
            | SupervisionEvent::ActorStarted(_)
            | SupervisionEvent::ProcessGroupChanged(_) => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
