//! The actor of one session: a mailbox around the machine.
//!
//! Each message becomes one event of the machine, and the effects are carried out in their order
//! before the next message. Nothing here waits: what takes time runs in pumps.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use quorate_mcp::capabilities::Capabilities;
use quorate_session::{
    Attachment, CallKey, Config, Delivery, Effects, Event, Features, LegEpoch, LegKey, Listen, Rejection, Session,
    Source, StreamId,
};
use quorate_telemetry::metrics::Active;
use quorate_telemetry::{Metrics, Revision};
use quorate_types::NodeId;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef};
use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;

use super::connection::{Connection, Writer};
use super::ledger::{Ledger, Then};
use super::legs::{Legs, OpenLeg};
use super::message::{Message, Said};
use super::orphans::{Heir, Left};
use super::{Begins, Keeping, OnGone, Opening, REST_AFTER, Reply, Shared, Terms, Translate, Unread};
use crate::backend::{self, Leg, Opened};
use crate::bridge::Parked;
use crate::clock;

struct SessionActor;

/// What the actor holds beside the machine.
pub(super) struct State {
    pub(super) machine: Session,
    pub(super) shared: Arc<Shared>,
    pub(super) translate: Arc<dyn Translate>,
    pub(super) metrics: Metrics,
    pub(super) closes: TaskTracker,
    pub(super) window: usize,
    pub(super) delivery: Delivery,
    pub(super) legs: Legs,
    /// POSTs that wait for their answer, by their first call.
    pub(super) posts: HashMap<CallKey, oneshot::Sender<Reply>>,
    /// What a dispatch of a call needs beyond the machine's effect.
    pub(super) extras: HashMap<CallKey, Extras>,
    pub(super) writers: HashMap<(StreamId, Attachment), Writer>,
    pub(super) pumps: HashMap<CallKey, Running>,
    pub(super) held: HashSet<Source>,
    pub(super) waiting: HashMap<Source, oneshot::Sender<()>>,
    /// The places of parked calls in their principal's count.
    pub(super) parked: HashMap<StreamId, Parked>,
    pub(super) unread: Unread,
    /// The way to its record, where it has one.
    pub(super) ledger: Option<Ledger>,
    pub(super) opened_at: Instant,
    pub(super) ended: Option<quorate_session::EndReason>,
    /// It ends as soon as its record says all that there is.
    is_resting: bool,
    _live: Active,
    gone: Option<OnGone>,
}

/// An exchange under way.
pub(super) struct Running {
    pub(super) task: AbortHandle,
    /// Tells it whether its server waits for the client.
    pub(super) pause: watch::Sender<bool>,
    /// Who takes what comes when the session is gone from here, where anybody does.
    pub(super) heir: Option<Arc<Heir>>,
}

/// What a dispatch of a call needs beyond the machine's effect.
#[derive(Default)]
pub(super) struct Extras {
    pub(super) headers: HeaderMap,
    pub(super) prime_after: Option<Duration>,
    pub(super) terms: Terms,
}

/// Spawns the actor, linked to `supervisor`.
pub(super) async fn spawn(
    opening: Opening,
    shared: Arc<Shared>,
    supervisor: ActorCell,
    gone: OnGone,
) -> Result<ActorRef<Message>, ActorProcessingErr> {
    let (actor, _task) = Actor::spawn_linked(None, SessionActor, (opening, shared, gone), supervisor).await?;
    Ok(actor)
}

impl Actor for SessionActor {
    type Msg = Message;
    type State = State;
    type Arguments = (Opening, Arc<Shared>, OnGone);

    async fn pre_start(
        &self,
        myself: ActorRef<Message>,
        (opening, shared, gone): Self::Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let (config, key) = (opening.config, opening.key);
        let (machine, ledger, legs) = begin(config, key, opening.keeping)?;
        shared.set_deadline(machine.next_deadline());
        if ledger.is_some() {
            // Before anything else that it hears.
            myself.cast(Message::Tell { event: if legs.is_none() { Event::Touch } else { Event::Recover } })?;
        }
        Ok(State {
            machine,
            ledger,
            shared,
            translate: opening.translate,
            window: opening.config.window_events_max,
            delivery: opening.config.delivery,
            legs: legs.unwrap_or_default(),
            posts: HashMap::new(),
            extras: HashMap::new(),
            writers: HashMap::new(),
            pumps: HashMap::new(),
            held: HashSet::new(),
            waiting: HashMap::new(),
            parked: HashMap::new(),
            unread: opening.unread,
            opened_at: Instant::now(),
            ended: None,
            is_resting: false,
            _live: opening.metrics.session_live(),
            metrics: opening.metrics,
            closes: opening.closes,
            gone: Some(gone),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let is_upkeep = message.is_upkeep();
        state.is_resting &= is_upkeep;
        state.handle(&myself, message);
        state.forget_ended();
        state.free_empty_tables();
        state.unread.set(state.machine.undelivered_bytes());
        state.shared.set_deadline(state.machine.next_deadline());
        let is_clear = state.ledger.as_ref().is_none_or(Ledger::is_clear);
        if state.ended.is_some() && is_clear && state.machine.is_finished() && state.writers.is_empty() {
            myself.stop(None);
        } else if state.is_resting && state.can_rest() {
            state.shared.rested.store(true, std::sync::atomic::Ordering::Release);
            myself.stop(Some("rested".to_owned()));
        } else if !is_upkeep || !state.shared.has_rest_at() {
            // What kept it awake may have lapsed by itself.
            state.plan_rest();
        }
        Ok(())
    }
}

// === impl State ===

impl State {
    fn handle(&mut self, myself: &ActorRef<Message>, message: Message) {
        match message {
            Message::Post { requests, batch, opened, answer } => self.post(myself, requests, batch, opened, answer),
            Message::Attach { last_event_id, reply } => self.attach(myself, Event::Attach { last_event_id }, reply),
            Message::Park { stream, sequence, token, place, reply } => {
                let stepped = self.machine.step(clock::now(), Event::Park { stream, sequence, token });
                if stepped.is_ok() {
                    self.parked.insert(stream, place.begun());
                }
                self.answer_step(myself, stepped, reply);
            }
            Message::Resume { call, stream, token, responses, reply } => {
                match self.machine.step(clock::now(), Event::Resume { stream, token, responses }) {
                    // As above.
                    Err(rejection) => drop(reply.send(Err(rejection))),
                    Ok(effects) => {
                        if let Some(place) = self.parked.remove(&stream) {
                            place.ended("resumed");
                        }
                        self.settle(myself, effects, Then::Resumed(reply, stream, call));
                    }
                }
            }
            Message::Rejoin { stream, has, primes, reply } => {
                self.attach(myself, Event::Rejoin { stream, has, primes }, reply)
            }
            Message::Take { event, reply } => {
                let stepped = self.machine.step(clock::now(), event);
                self.answer_step(myself, stepped, reply);
            }
            Message::Written { result } => self.written(myself, result),
            Message::Flush => self.flush(myself),
            Message::OfferAgain => self.offer_again(myself),
            Message::GiveAway if self.is_nowhere_else() => {}
            Message::GiveAway => self.give_away(myself),
            Message::Rest => self.rest(myself),
            Message::Tell { event } => self.report(myself, event),
            Message::Prime { call } => self.prime(myself, call),
            Message::Poll { call, retry } => self.report(myself, Event::Poll { call, retry }),
            Message::Upstream(said) => self.said(myself, said),
            Message::Mark { call, epoch, event_id } => self.mark(myself, call, epoch, event_id),
            Message::Sent { ask } => self.report(myself, Event::AnswerSent { ask }),
            Message::Answer { leg, epoch, answer } => self.send_upstream(myself, leg, epoch, answer, None),
            Message::Opened { leg, epoch, opened } => self.opened(myself, leg, epoch, *opened),
            Message::OpenFailed { leg, epoch, fault } => self.report(myself, Event::LegFailed { leg, epoch, fault }),
            Message::Failed { call, epoch, failure, terms } => {
                self.pumps.remove(&call);
                // Should it be dispatched once more, it is on the same terms.
                self.extras.insert(call, Extras { headers: HeaderMap::new(), prime_after: None, terms });
                self.report(myself, Event::UpstreamFailed { call, epoch, failure });
            }
            Message::Lost { leg, epoch } => self.lost(myself, leg, epoch),
            Message::Delivered { stream, attachment, up_to } => {
                self.report(myself, Event::Delivered { stream, attachment, up_to });
            }
            Message::Detached { stream, attachment, delivered } => {
                self.writers.remove(&(stream, attachment));
                self.report(myself, Event::Detach { stream, attachment, delivered });
            }
            Message::Servers { servers } => self.servers_changed(myself, &servers),
            // Whoever asked may have gone.
            Message::Subscriber { servers, uri, reply } => drop(reply.send(self.subscriber(servers, &uri))),
            Message::Knows { key, reply } => drop(reply.send(self.machine.knows(key))),
            Message::Observe { reply } => drop(reply.send(self.machine.observe())),
        }
    }

    fn attach(
        &mut self,
        myself: &ActorRef<Message>,
        event: Event,
        reply: oneshot::Sender<Result<Connection, Rejection>>,
    ) {
        match self.machine.step(clock::now(), event) {
            // As above.
            Err(rejection) => drop(reply.send(Err(rejection))),
            Ok(effects) => self.settle(myself, effects, Then::Attached(reply)),
        }
    }

    fn answer_step(
        &mut self,
        myself: &ActorRef<Message>,
        stepped: Result<Effects, Rejection>,
        reply: oneshot::Sender<Result<(), Rejection>>,
    ) {
        match stepped {
            Err(rejection) => drop(reply.send(Err(rejection))), // The client may have gone.
            Ok(effects) => self.settle(myself, effects, Then::Done(reply)),
        }
    }

    /// Leaves the session to the node that owns it now: nobody's connection ends in order, and nothing is told to backends.
    pub(super) fn give_away(&mut self, myself: &ActorRef<Message>) {
        if let Some(ledger) = self.ledger.take() {
            self.leave_calls(ledger);
        }
        self.shared.moved.store(true, std::sync::atomic::Ordering::Release);
        for (_, writer) in self.writers.drain() {
            writer.cut();
        }
        self.posts.clear();
        myself.stop(Some("moved".to_owned()));
    }

    /// Whether nobody else knows the session: the connection of its client is this node's, and nothing is written down.
    fn is_nowhere_else(&self) -> bool {
        self.delivery == Delivery::Calls && self.ledger.as_ref().is_some_and(Ledger::is_empty)
    }

    /// Leaves what comes for calls to whoever owns the session next, but for those that are read on at their servers.
    fn leave_calls(&mut self, ledger: Ledger) {
        let (owned, session, mut left) = ledger.left();
        let orphans = owned.orphans();
        for (call, pump) in self.pumps.drain() {
            match pump.heir.filter(|heir| !heir.is_recorded()) {
                Some(heir) => {
                    let first = left.remove(&call).unwrap_or_default();
                    orphans.keep((session, call), first, Some((&heir, pump.task)));
                }
                None => pump.task.abort(),
            }
        }
        for (call, first) in left {
            orphans.keep((session, call), first, None);
        }
    }

    /// Gives up what the record need not have, and writes down what it has to have.
    fn rest(&mut self, myself: &ActorRef<Message>) {
        if self.ledger.is_none() || !self.is_quiet() {
            return self.shared.set_rest_at(None);
        }
        self.is_resting = true;
        self.report(myself, Event::Rest);
        self.flush(myself);
    }

    /// Plans when the session may be its record alone, from the latest sign of life on.
    fn plan_rest(&self) {
        let at = (self.ledger.is_some() && self.is_quiet()).then(|| clock::now() + REST_AFTER);
        self.shared.set_rest_at(at);
    }

    fn can_rest(&self) -> bool {
        self.is_quiet() && self.machine.is_at_rest() && self.ledger.as_ref().is_some_and(Ledger::is_clear)
    }

    /// Whether nothing of the shell is under way, nor of the machine.
    fn is_quiet(&self) -> bool {
        self.writers.is_empty()
            && self.pumps.is_empty()
            && self.posts.is_empty()
            && self.parked.is_empty()
            && self.machine.is_quiet()
    }

    /// The first of these servers that the client has subscribed to this resource of.
    fn subscriber(&self, servers: Vec<backend::Handle>, uri: &str) -> Option<backend::Handle> {
        let holds = |leg| self.machine.subscribes(leg, uri);
        servers.into_iter().find(|server| self.legs.place(server.name()).is_some_and(holds))
    }

    /// Takes an event that nobody waits for an answer to.
    pub(super) fn report(&mut self, myself: &ActorRef<Message>, event: Event) {
        match self.machine.step(clock::now(), event) {
            Ok(effects) => self.settle(myself, effects, Then::Nothing),
            Err(rejection) => tracing::debug!(%rejection, "a session refused an event"),
        }
        debug_assert_eq!(self.machine.check(), Ok(()));
    }

    /// Takes a frame of a tool server.
    fn said(&mut self, myself: &ActorRef<Message>, said: Said) {
        let Said { leg, epoch, source, call, frame, content, event_id, number, is_last, read_on } = said;
        if let Some(call) = call.filter(|_| is_last) {
            // The handle would keep the memory of the ended task.
            self.pumps.remove(&call);
        }
        let counted =
            call.zip(number).map(|(call, number)| (call, Left::frame(number, event_id.clone(), frame.clone())));
        self.report(myself, Event::UpstreamFrame { leg, epoch, call, frame, content, event_id });
        if let Some((call, left)) = counted {
            self.remember(call, left);
        }
        match read_on {
            // It is taken, and whoever read it reads no more.
            Some(taken) if is_last => drop(taken.send(())),
            read_on => self.permit(source, read_on),
        }
    }

    /// Notes where the stream of a call can be read on at its server.
    fn mark(&mut self, myself: &ActorRef<Message>, call: CallKey, epoch: LegEpoch, event_id: Arc<str>) {
        self.report(myself, Event::UpstreamMark { call, epoch, event_id });
    }

    /// Turns a POST into a stream, if its client still waits.
    fn prime(&mut self, myself: &ActorRef<Message>, call: CallKey) {
        match self.posts.get(&call) {
            Some(answer) if answer.is_closed() => {
                self.posts.remove(&call);
                self.report(myself, Event::PostBroken { call });
            }
            Some(_) | None => self.report(myself, Event::Prime { call }),
        }
    }

    fn opened(&mut self, myself: &ActorRef<Message>, leg: LegKey, epoch: LegEpoch, opened: Opened) {
        let Opened { leg: session, capabilities, upstream } = opened;
        let listen = if session.shares_one_stream() { Listen::Shared } else { Listen::Separate };
        let features = Features { logging: offers_logging(&capabilities), listen, bridged: session.is_bridged() };
        if let Some(slot) = self.legs.get_mut(leg) {
            slot.open = Some(OpenLeg { epoch, session, outbox: None });
        }
        self.report(myself, Event::LegOpened { leg, epoch, features, upstream });
        if self.legs.get(leg).is_some_and(|slot| slot.stale) {
            self.give_up(myself, leg);
        }
    }

    fn lost(&mut self, myself: &ActorRef<Message>, leg: LegKey, epoch: LegEpoch) {
        let open = self.legs.open(leg, epoch).map(|(_, open)| &open.session);
        open.inspect(|session| session.lost());
        let shared_stream = open.is_some_and(Leg::shares_one_stream);
        let server = self.legs.get(leg).map(|slot| slot.server.name().to_string()).unwrap_or_default();
        let fault = super::pump::fault(quorate_mcp::Fault::OutcomeUnknown { server });
        self.report(myself, Event::LegLost { leg, epoch, fault, severed: shared_stream });
    }

    /// Forgets what belonged to calls and parkings that are over, however they ended.
    fn forget_ended(&mut self) {
        if !self.extras.is_empty() {
            let machine = &self.machine;
            self.extras.retain(|call, _| machine.is_open(*call));
        }
        if !self.parked.is_empty() {
            let machine = &self.machine;
            self.parked.retain(|stream, _| machine.is_parked(*stream));
        }
    }

    /// Gives back the memory of tables that are empty: most sessions are idle most of the time.
    fn free_empty_tables(&mut self) {
        if self.posts.is_empty() {
            self.posts.shrink_to_fit();
        }
        if self.extras.is_empty() {
            self.extras.shrink_to_fit();
        }
        if self.pumps.is_empty() {
            self.pumps.shrink_to_fit();
        }
        if self.writers.is_empty() {
            self.writers.shrink_to_fit();
        }
        if self.parked.is_empty() {
            self.parked.shrink_to_fit();
        }
    }

    /// Gives up the upstream sessions of backends that were replaced or removed.
    fn servers_changed(&mut self, myself: &ActorRef<Message>, servers: &[backend::Handle]) {
        for leg in self.legs.servers_changed(servers) {
            self.give_up(myself, leg);
        }
    }

    /// Gives up the present upstream session of a leg, if it has one.
    fn give_up(&mut self, myself: &ActorRef<Message>, leg: LegKey) {
        let Some(open) = self.legs.get_mut(leg).and_then(|slot| slot.open.take()) else { return };
        if let Some(listen) = self.legs.get_mut(leg).and_then(|slot| slot.listen.take()) {
            listen.abort();
        }
        let server = self.legs.get(leg).map(|slot| slot.server.name().to_string()).unwrap_or_default();
        let fault = super::pump::fault(quorate_mcp::Fault::OutcomeUnknown { server });
        let epoch = open.epoch;
        self.closes.spawn(async move { open.session.close().await });
        // Calls under way keep their own connections, and report by themselves.
        self.report(myself, Event::LegLost { leg, epoch, fault, severed: false });
    }

    /// Lets a source read on, now or when the machine releases it.
    fn permit(&mut self, source: Source, read_on: Option<oneshot::Sender<()>>) {
        let Some(read_on) = read_on else { return };
        if self.held.contains(&source) {
            self.waiting.insert(source, read_on);
        } else {
            // An aborted pump reads no more.
            let _aborted = read_on.send(());
        }
    }
}

/// Makes the machine of a session, with the way to its record, and with the legs that it had elsewhere.
fn begin(
    config: Config,
    key: u128,
    keeping: Option<Keeping>,
) -> Result<(Session, Option<Ledger>, Option<Legs>), ActorProcessingErr> {
    let now = clock::now();
    let Some(Keeping { owned, begins }) = keeping else { return Ok((Session::new(config, now), None, None)) };
    let node = owned.node.0;
    match begins {
        Begins::New(charter) => {
            let machine = Session::journaled(config, charter, node, now);
            Ok((machine, Some(Ledger::new(owned, key, 0, None)), None))
        }
        Begins::Record { version, record, servers } => {
            let machine = Session::restore(config, &record, node, now)?;
            let legs = Legs::restored(machine.legs_named().map(|(leg, name)| (leg, &**name)), &servers);
            let before = record.last_owner().map(NodeId);
            Ok((machine, Some(Ledger::new(owned, key, version, before)), Some(legs)))
        }
    }
}

/// Tells whether a server takes a logging level.
fn offers_logging(capabilities: &[u8]) -> bool {
    let mut offered = Capabilities::new();
    let raw = std::str::from_utf8(capabilities).unwrap_or("{}");
    offered.add(raw).is_ok() && offered.has("logging")
}

impl Drop for State {
    /// Runs also when the actor panicked: the registry must not keep a session without an actor.
    fn drop(&mut self) {
        for pump in self.pumps.values() {
            pump.task.abort();
        }
        for slot in self.legs.drain() {
            if let Some(listen) = slot.listen {
                listen.abort();
            }
        }
        let is_rested = self.shared.rested.load(std::sync::atomic::Ordering::Acquire);
        if !is_rested {
            let is_moved = self.shared.moved.load(std::sync::atomic::Ordering::Acquire);
            let otherwise = if is_moved { "moved" } else { "failed" };
            let reason = self.ended.as_ref().map_or(otherwise, quorate_session::EndReason::as_str);
            let version = self.shared.client().map_or("", |client| client.version.as_str());
            self.metrics.session_ended(reason, Revision::of(version), self.opened_at.elapsed());
        }
        if let Some(gone) = self.gone.take() {
            gone(&self.shared);
        }
    }
}
