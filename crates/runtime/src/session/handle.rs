//! The way to a session: what anybody asks of its actor, and what the two share.
//!
//! Every question is a message and its answer ([`Message`]); what handle and actor share needs none. A session that is gone
//! says why to whoever asks: it has ended, it was put to rest, or another node owns it.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use quorate_jsonrpc::Frame;
use quorate_session::{CallKey, Durability, EndReason, Event, EventId, Fault, Replay, RequestKey, Snapshot, StreamId};
use quorate_types::{Principal, PrincipalDigest, TenantId, Timestamp};
use ractor::{ActorCell, ActorProcessingErr, ActorRef, ActorStatus};
use tokio::sync::oneshot;

use super::message::Message;
use super::{Client, Connection, Gone, Memory, Opening, Outgoing, Refused, Reply, Scope, Translate, actor, content};
use crate::backend;
use crate::bridge::Parked;

/// Runs when a session's actor has ended, with what its handles share.
pub(crate) type OnGone = Box<dyn FnOnce(&Shared) + Send>;

/// A live session. Clones are cheap.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    actor: ActorRef<Message>,
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
    pub(super) moved: Arc<AtomicBool>,
    /// It has no actor any more, and is made again of its record.
    pub(super) rested: AtomicBool,
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

    /// Tells whether a request of this name was taken, and what became of it is known.
    ///
    /// # Errors
    /// [`Refused`]: gone, and why.
    pub async fn knows(&self, key: RequestKey) -> Result<bool, Refused> {
        let (reply, knows) = oneshot::channel();
        self.cast(Message::Knows { key, reply }).map_err(|_| self.gone())?;
        knows.await.map_err(|_| self.gone())
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
