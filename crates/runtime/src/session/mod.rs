//! One live session of a legacy client: a ractor actor around the pure machine of `crates/session`.
//!
//! A [`Handle`] is what the gateway holds; channels and the actor stay private. The machine
//! decides, the actor carries out its effects: it opens legs (upstream sessions), spawns a task
//! for each upstream exchange, and writes events to the client's connections.
//!
//! | Message | Effect | Reply | Overload |
//! |---|---|---|---|
//! | `Post` | opens calls | keys at once, the answer when it begins | the machine's `calls_max` |
//! | `Attach` | connects a reader to a stream | its connection, or why not | `streams_max` |
//! | `Park` | leaves a call's stream until its client answers | whether it could | the principal's limit, and `parked_max` |
//! | `Resume` | hands the client's answers over and reads on | its connection, or why not | one per parking |
//! | `Tell` | hands one event of the client to the machine | none | bounded by the listener's concurrency |
//! | `Prime` | turns a POST that waits into a stream | none | one per exchange |
//! | `Poll` | ends a call's stream to be polled, as its backend did | none | the pace of the backend |
//! | `Upstream` | a frame of a backend | a permit to read on | one per source: readers wait for it |
//! | `Answer` | answers a server's request that may not reach the client | none | the pace of the server |
//! | `Opened`, `OpenFailed` | an upstream session was opened, or not | none | one per leg |
//! | `Failed`, `Lost` | an exchange or leg ended early | none | one per exchange |
//! | `Delivered`, `Detached` | a connection wrote, or ended | none | one per window of events |
//! | `Servers` | gives up legs of replaced and removed backends | none | one per configuration |
//! | `Subscriber` | finds out which backend holds a subscription | that backend, if any | the machine's `subscriptions_max` |
//! | `Rejoin` | goes on with a stream for a connection that has lasted | its connection, or why not | one per connection |
//! | `Take` | hands one event of the client to the machine | when it is committed | bounded by the listener's concurrency |
//! | `Mark` | notes from where a call's stream can be resumed | none | the pace of the backend |
//! | `Sent` | an answer of the client was sent to its backend | none | one per answer |
//! | `Written` | a change is in the record, or not | none | one at a time |
//! | `Flush`, `OfferAgain` | writes what nobody waits for, or what there was no room for | none | one timer each |
//! | `GiveAway` | another node owns the session | none | one |
//! | `Rest` | ends the actor of a session that is its record alone | none | one per sweep |
//! | `Observe` | shows what the session holds | a snapshot | the admin's pace |
//!
//! Supervision: linked to the `Shard`; a session whose actor fails is gone where nothing else holds its state (its client
//! gets 404 and initializes again); in a cluster it is made again of its record when somebody asks for it.

mod actor;
mod connection;
mod content;
mod effects;
mod inherit;
mod ledger;
mod legs;
pub mod memory;
mod message;
mod opening;
mod orphans;
mod pump;
pub mod terms;
mod translate;
mod unread;

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use quorate_jsonrpc::Frame;
use quorate_mcp::Version;
use quorate_session::record::proto;
use quorate_session::{
    CallKey, Durability, EndReason, Event, EventId, Fault, Purpose, Rejection, Replay, RequestKey, Snapshot, StreamId,
};
use quorate_types::{Principal, PrincipalDigest, ResourceName, TenantId, Timestamp};
use ractor::{ActorCell, ActorProcessingErr, ActorRef, ActorStatus};
use tokio::sync::oneshot;

pub use self::connection::{Connection, event};
pub use self::content::severity;
pub(crate) use self::inherit::{CLAIM_MAX, PROTOCOL as HANDOVER, write as left};
pub use self::memory::Memory;
use self::message::Message;
pub use self::opening::Opening;
pub(crate) use self::opening::{Begins, Keeping};
pub(crate) use self::orphans::{Left, Orphan, Orphans, What};
pub use self::pump::fault;
pub use self::terms::{Terms, Timeout, Tool};
pub use self::translate::Translate;
pub use self::unread::Unread;
use crate::backend;
use crate::bridge::Parked;

/// How long a POST waits for an answer in JSON before it becomes a stream, so that the client
/// gets an event id that it can resume from: 250 ms, well below what a person notices and well
/// above what a quick tool takes.
pub const PRIME_AFTER: Duration = Duration::from_millis(250);

/// How long nobody has asked a session for anything when it is put to rest: longer than the pauses of a conversation, since
/// who comes back sooner finds its actor, and shorter than most sessions are idle.
const REST_AFTER: Duration = Duration::from_secs(30);

/// What a session knows of its client from `initialize`.
#[derive(Clone, Debug)]
pub struct Client {
    /// The revision of the session.
    pub version: Version,
    /// The parameters for `initialize` upstream: the client's capabilities and name.
    pub initialize_params: Arc<str>,
    /// A digest of what lists may depend on: revision and capabilities.
    pub view: u64,
}

// === impl Client ===

impl Client {
    /// The same, written down.
    pub(crate) fn to_proto(&self) -> proto::Client {
        proto::Client {
            version: self.version.as_str().to_owned(),
            initialize_params: self.initialize_params.to_string(),
            view: self.view,
        }
    }
}

/// What a session was opened on, and ends with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// A toolset, by a client of sessions.
    Toolset(ResourceName),
    /// A tool server, by the gateway on behalf of a stateless client.
    Server(ResourceName),
}

/// One request of a client, ready to be sent.
pub struct Outgoing {
    /// The request, with names as the backend knows them and the client's id.
    pub frame: Frame,
    /// The backend that answers it; none when the gateway does, by [`Handle::answer`].
    pub server: Option<backend::Handle>,
    /// The JSON text of its progress token.
    pub progress_token: Option<Bytes>,
    /// What the machine has to remember of it.
    pub purpose: Purpose,
    /// Names it wherever it is sent again; none where it never is.
    pub key: Option<RequestKey>,
    /// Headers for the backend: trace context.
    pub headers: HeaderMap,
    /// When the POST turns into a stream, if its answer has not come: mostly [`PRIME_AFTER`];
    /// `None` waits for the answer.
    pub prime_after: Option<Duration>,
    /// What the call is held to beyond what its server allows.
    pub terms: Terms,
}

/// How a POST is answered.
pub enum Reply {
    /// With JSON.
    Json(Bytes),
    /// With a stream.
    Stream(Connection),
    /// With an empty stream: all its requests were cancelled.
    Nothing,
    /// The answers go to the session's one stream (HTTP+SSE).
    Elsewhere,
}

/// Runs when a session's actor has ended, with what its handles share.
pub(crate) type OnGone = Box<dyn FnOnce(&Shared) + Send>;

/// A live session. Clones are cheap.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    actor: ActorRef<Message>,
}

/// The session's actor is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session has ended")]
pub struct Gone;

/// Why a POST or GET was not taken.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refused {
    /// The session is gone.
    #[error(transparent)]
    Gone(#[from] Gone),
    /// The machine refused it.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// Another node owns the session now; what was asked for may have been done, and is asked for there again.
    #[error("another node owns the session")]
    Moved,
    /// The session was put to rest just then: nothing was done, and it is made again of its record.
    #[error("the session was put to rest")]
    Rested,
}

/// What handle and actor share.
pub(crate) struct Shared {
    pub(crate) key: u128,
    pub(crate) id: Arc<str>,
    pub(crate) principal: PrincipalDigest,
    pub(crate) tenant: TenantId,
    pub(crate) scope: Scope,
    /// The lowest severity of log messages that somebody asked for; see [`Handle::lower_level`].
    level: AtomicU8,
    memory: Arc<Memory>,
    translate: Arc<dyn Translate>,
    client: OnceLock<Client>,
    /// When the machine wants a `Tick`, in milliseconds.
    deadline: AtomicU64,
    /// The shard and the term in which it is owned here, in a cluster.
    owned_in: Option<(u32, u64)>,
    /// Its calls are not written down.
    is_ephemeral: bool,
    /// Its owner as it was known last.
    owner: Mutex<Arc<Principal>>,
    /// When it may be put to rest, in milliseconds.
    rest_at: AtomicU64,
    /// Another node owns it: it is gone from here, and not over.
    moved: Arc<AtomicBool>,
    /// It has no actor any more, and is made again of its record.
    rested: AtomicBool,
    /// Somebody ended it: it does not exist for its client any more, whatever is still closing.
    ended: AtomicBool,
}

// === impl Handle ===

impl Handle {
    /// Starts the session's actor, linked to its shard; `gone` runs when the actor has ended.
    ///
    /// # Errors
    /// When the actor cannot be spawned.
    pub(crate) async fn open(
        opening: Opening,
        supervisor: ActorCell,
        gone: OnGone,
    ) -> Result<Self, ActorProcessingErr> {
        let client = opening.client.clone().map_or_else(OnceLock::new, OnceLock::from);
        let shared = Arc::new(Shared {
            key: opening.key,
            id: Arc::clone(&opening.id),
            principal: opening.principal,
            tenant: opening.tenant.clone(),
            scope: opening.scope.clone(),
            level: AtomicU8::new(u8::MAX),
            memory: Arc::clone(&opening.memory),
            translate: Arc::clone(&opening.translate),
            client,
            deadline: AtomicU64::new(u64::MAX),
            rest_at: AtomicU64::new(u64::MAX),
            owned_in: opening.keeping.as_ref().map(|keeping| (keeping.owned.shard, keeping.owned.epoch)),
            is_ephemeral: opening.config.durability == Durability::Ephemeral,
            owner: Mutex::new(Arc::clone(&opening.owner)),
            moved: Arc::default(),
            rested: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        });
        let actor = actor::spawn(opening, Arc::clone(&shared), supervisor, gone).await?;
        Ok(Self { shared, actor })
    }

    /// The sealed id, as the client knows it.
    #[must_use]
    pub fn id(&self) -> &Arc<str> {
        &self.shared.id
    }

    /// The number of its shard; 0 without a cluster.
    #[must_use]
    pub fn shard(&self) -> u16 {
        self.shared.owned_in.map_or(0, |(shard, _)| u16::try_from(shard).unwrap_or(0))
    }

    /// Its number.
    #[must_use]
    pub fn key(&self) -> u128 {
        self.shared.key
    }

    /// Who owns it.
    #[must_use]
    pub fn principal(&self) -> PrincipalDigest {
        self.shared.principal
    }

    /// The tenant that it belongs to.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.shared.tenant
    }

    /// What it was opened on.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.shared.scope
    }

    /// Tells whether its owner may still be a client at all.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.shared.translate.is_allowed()
    }

    /// Tells it what its owner is known as by what was shown last.
    pub fn known_as(&self, owner: &Arc<Principal>) {
        self.shared.translate.known_as(owner);
        if self.shared.owned_in.is_none() {
            return;
        }
        // The next owner of the session decides by what was shown last, too.
        let mut known = self.shared.owner.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if **known != **owner {
            *known = Arc::clone(owner);
            drop(known);
            self.tell(Event::OwnerKnown(crate::shard::owner_of(owner)));
        }
    }

    /// Tells it that what its owner was known as has changed, unless something else was shown since.
    pub fn known_instead(&self, before: &Arc<Principal>, owner: &Arc<Principal>) {
        self.shared.translate.known_instead(before, owner);
    }

    /// Tells whether its owner may be told that lists have changed.
    #[must_use]
    pub fn hears_of_lists(&self) -> bool {
        self.shared.translate.hears_of_lists()
    }

    /// What it remembers of its toolset.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.shared.memory
    }

    /// Lowers the severity of log messages that the session asks its servers for; false when it is
    /// as low already. Several calls share a session, so that it is never raised again.
    #[must_use]
    pub fn lower_level(&self, severity: u8) -> bool {
        self.shared.level.fetch_min(severity, Ordering::Relaxed) > severity
    }

    /// What the client said at `initialize`; none before that.
    #[must_use]
    pub fn client(&self) -> Option<&Client> {
        self.shared.client.get()
    }

    /// Records what an HTTP+SSE client says at `initialize`; false when it said so before.
    #[must_use]
    pub fn initialize(&self, client: Client) -> bool {
        let written = client.to_proto();
        let is_first = self.shared.client.set(client).is_ok();
        if is_first {
            self.tell(Event::ClientKnown(written));
        }
        is_first
    }

    /// Posts requests and waits until their answer begins.
    ///
    /// # Errors
    /// [`Refused`] says why they were not taken.
    pub async fn post(&self, requests: Vec<Outgoing>, batch: bool) -> Result<Reply, Refused> {
        let (_, answer) = self.begin(requests, batch).await?;
        answer.await.map_err(|_| self.gone())
    }

    /// Posts requests and returns their keys at once; the receiver gets how they are answered.
    ///
    /// # Errors
    /// [`Refused`] says why they were not taken.
    pub async fn begin(
        &self,
        requests: Vec<Outgoing>,
        batch: bool,
    ) -> Result<(Vec<CallKey>, oneshot::Receiver<Reply>), Refused> {
        let (opened, keys) = oneshot::channel();
        let (answer, answered) = oneshot::channel();
        self.cast(Message::Post { requests, batch, opened, answer }).map_err(|_| self.gone())?;
        let keys = keys.await.map_err(|_| self.gone())??;
        Ok((keys, answered))
    }

    /// Answers a call that was posted without a server.
    pub fn answer(&self, call: CallKey, answer: quorate_session::Answer) {
        self.tell(Event::GatewayAnswer { call, answer });
    }

    /// Hands an event of the client to the machine. An ended session needs none.
    pub fn tell(&self, event: Event) {
        let _ended = self.cast(Message::Tell { event });
    }

    /// Connects a reader to a stream.
    ///
    /// # Errors
    /// [`Refused`]: gone, or not resumable, and why.
    pub async fn attach(&self, last_event_id: Option<EventId>) -> Result<Connection, Refused> {
        let (reply, attached) = oneshot::channel();
        self.cast(Message::Attach { last_event_id, reply }).map_err(|_| self.gone())?;
        Ok(attached.await.map_err(|_| self.gone())??)
    }

    /// Goes on with a stream for a connection of a client that has lasted; `has` is the last event that it was given,
    /// and `primes` tells that it was given nothing at all.
    ///
    /// # Errors
    /// [`Refused`]: gone, or not resumable, and why.
    pub async fn rejoin(&self, stream: StreamId, has: Option<u64>, primes: bool) -> Result<Connection, Refused> {
        let (reply, attached) = oneshot::channel();
        self.cast(Message::Rejoin { stream, has, primes, reply }).map_err(|_| self.gone())?;
        Ok(attached.await.map_err(|_| self.gone())??)
    }

    /// Hands an event of the client to the machine, and waits until what it promises is committed.
    ///
    /// # Errors
    /// [`Refused`]: gone, or not taken, and why.
    pub async fn take(&self, event: Event) -> Result<(), Refused> {
        let (reply, taken) = oneshot::channel();
        self.cast(Message::Take { event, reply }).map_err(|_| self.gone())?;
        Ok(taken.await.map_err(|_| self.gone())??)
    }

    /// The shard and the term in which it is owned here, in a cluster.
    pub(crate) fn owned_in(&self) -> Option<(u32, u64)> {
        self.shared.owned_in
    }

    /// Tells whether a request must not be sent twice that is not written down, or under no name: nobody knows after the loss
    /// of a node whether it was sent.
    #[must_use]
    pub fn forgets(&self, request: &Frame, replayable: bool, is_named: bool) -> bool {
        (self.shared.is_ephemeral || !is_named) && content::replay(request, replayable) == Replay::Never
    }

    /// Tells whether another node owns it now.
    #[must_use]
    pub fn is_moved(&self) -> bool {
        self.shared.moved.load(Ordering::Acquire)
    }

    /// Gives it away to the node that owns it now.
    pub(crate) fn give_away(&self) {
        // One that has ended needs none.
        let _ended = self.cast(Message::GiveAway);
    }

    fn gone(&self) -> Refused {
        if self.is_rested() {
            return Refused::Rested;
        }
        if self.is_moved() { Refused::Moved } else { Gone.into() }
    }

    /// Tells whether it is its record alone now.
    pub(crate) fn is_rested(&self) -> bool {
        self.shared.rested.load(Ordering::Acquire)
    }

    /// Tells whether its actor has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.actor.get_status() == ActorStatus::Stopped
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Tells whether these are the handles of the same actor.
    pub(crate) fn is_of(&self, shared: &Shared) -> bool {
        std::ptr::eq(Arc::as_ptr(&self.shared), shared)
    }

    /// Puts it to rest when nobody has asked it for anything for long.
    pub(crate) fn rest_if_due(&self, now: Timestamp) {
        if self.shared.rest_at.load(Ordering::Relaxed) <= now.as_millis() {
            // One that has ended needs none.
            let _ended = self.cast(Message::Rest);
        }
    }

    /// Leaves a call's stream, from after `sequence` on, until its client answers; `token` names the
    /// parking.
    ///
    /// # Errors
    /// [`Refused`]: gone, or as many are parked as may be.
    pub async fn park(&self, stream: StreamId, sequence: u64, token: u64, place: Parked) -> Result<(), Refused> {
        let (reply, parked) = oneshot::channel();
        self.cast(Message::Park { stream, sequence, token, place, reply }).map_err(|_| self.gone())?;
        Ok(parked.await.map_err(|_| self.gone())??)
    }

    /// Answers what a parked call's server asked, and reads on.
    ///
    /// # Errors
    /// [`Refused`]: gone, or not parked under this token.
    pub async fn resume(
        &self,
        call: CallKey,
        stream: StreamId,
        token: u64,
        responses: Vec<Frame>,
    ) -> Result<Connection, Refused> {
        let (reply, resumed) = oneshot::channel();
        self.cast(Message::Resume { call, stream, token, responses, reply }).map_err(|_| self.gone())?;
        Ok(resumed.await.map_err(|_| self.gone())??)
    }

    /// Ends the session; open calls are answered with `fault`.
    pub fn end(&self, reason: EndReason, fault: Fault) {
        self.shared.ended.store(true, Ordering::Release);
        self.tell(Event::End { reason, fault });
    }

    /// Ends the session, and waits until that is committed.
    ///
    /// # Errors
    /// [`Refused`]: gone, or owned elsewhere by now.
    pub async fn end_for_good(&self, reason: EndReason, fault: Fault) -> Result<(), Refused> {
        self.shared.ended.store(true, Ordering::Release);
        self.take(Event::End { reason, fault }).await
    }

    /// Tells whether it can still be used.
    #[must_use]
    pub fn is_live(&self) -> bool {
        let status = self.actor.get_status();
        !self.is_ended()
            && !self.is_moved()
            && !self.is_rested()
            && !matches!(status, ActorStatus::Stopping | ActorStatus::Stopped)
    }

    /// Tells whether somebody ended it.
    pub(crate) fn is_ended(&self) -> bool {
        self.shared.ended.load(Ordering::Acquire)
    }

    /// Gives up what belongs to backends that were replaced or removed by a new configuration.
    pub fn servers_changed(&self, servers: Arc<Vec<backend::Handle>>) {
        // An ended session has nothing left to give up.
        let _ended = self.cast(Message::Servers { servers });
    }

    /// Returns the first of these servers that the client has subscribed to this resource of, if any.
    ///
    /// # Errors
    /// [`Refused`]: gone, and why.
    pub async fn subscriber(
        &self,
        servers: Vec<backend::Handle>,
        uri: Arc<str>,
    ) -> Result<Option<backend::Handle>, Refused> {
        let (reply, found) = oneshot::channel();
        self.cast(Message::Subscriber { servers, uri, reply }).map_err(|_| self.gone())?;
        found.await.map_err(|_| self.gone())
    }

    /// Returns what the session holds.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn observe(&self) -> Result<Snapshot, Gone> {
        let (reply, snapshot) = oneshot::channel();
        self.cast(Message::Observe { reply })?;
        snapshot.await.map_err(|_| Gone)
    }

    /// Sends a `Tick` when the machine wants one by now.
    pub(crate) fn tick_if_due(&self, now: Timestamp) {
        if self.shared.deadline.load(Ordering::Relaxed) <= now.as_millis() {
            self.tell(Event::Tick);
        }
    }

    fn cast(&self, message: Message) -> Result<(), Gone> {
        self.actor.cast(message).map_err(|_| Gone)
    }
}

// === impl Shared ===

impl Shared {
    pub(super) fn client(&self) -> Option<&Client> {
        self.client.get()
    }

    pub(super) fn is_ephemeral(&self) -> bool {
        self.is_ephemeral
    }

    pub(super) fn has_rest_at(&self) -> bool {
        self.rest_at.load(Ordering::Relaxed) != u64::MAX
    }

    pub(super) fn set_rest_at(&self, at: Option<Timestamp>) {
        self.rest_at.store(at.map_or(u64::MAX, Timestamp::as_millis), Ordering::Relaxed);
    }

    pub(super) fn set_deadline(&self, deadline: Option<Timestamp>) {
        let millis = deadline.map_or(u64::MAX, Timestamp::as_millis);
        self.deadline.store(millis, Ordering::Relaxed);
    }
}
