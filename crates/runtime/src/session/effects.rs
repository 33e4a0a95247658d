//! Carries out what the session machine decided.
//!
//! One arm per effect, in the machine's order. Effects that take time are handed to pumps; what
//! fails is reported back as the event that names the failure.

use std::sync::Arc;

use bytes::Bytes;
use quorate_jsonrpc::{Limits, build};
use quorate_mcp::{Fault, Method};
use quorate_session::record::proto;
use quorate_session::record::proto::Upstream;
use quorate_session::{CallKey, Effect, Event, Failure, LegEpoch, LegKey, Note, Source};
use quorate_telemetry::Throttle;
use ractor::ActorRef;
use tokio::sync::{mpsc, watch};
use tracing::{debug, info};

use super::actor::{Extras, Running, State};
use super::connection::Connection;
use super::inherit::Resumes;
use super::legs::OpenLeg;
use super::message::Message;
use super::orphans::{Heir, frames_at};
use super::pump::{Exchange, Pump};
use super::{Reply, Terms, pump};

/// Messages that wait for one leg: more than a client sends while a server answers one.
const OUTBOX_MAX: usize = 256;
/// Bounds lines about sessions that end; metrics count all of them.
static ENDED: Throttle = Throttle::new();

impl State {
    /// Carries out `effects`; returns the connection of an `Attached`, which its requester gets.
    pub(super) fn carry_out(&mut self, myself: &ActorRef<Message>, effects: Vec<Effect>) -> Option<Connection> {
        let mut attached = None;
        for effect in effects {
            match effect {
                Effect::Attached { stream, attachment } => {
                    attached = Some(self.connect(myself, stream, attachment));
                }
                other => self.carry_out_one(myself, other),
            }
        }
        attached
    }

    fn carry_out_one(&mut self, myself: &ActorRef<Message>, effect: Effect) {
        match effect {
            // Both are taken by the callers that step with the event they answer.
            Effect::Opened { .. } | Effect::Attached { .. } => {}
            Effect::AnswerJson { call, body } => self.answer(call, Reply::Json(body)),
            Effect::AnswerNothing { call } => self.answer(call, Reply::Nothing),
            // Asked again meanwhile: whoever waits for the answer now gets the later connection, which replaces this one.
            Effect::BeginStream { call, .. }
                if self.ledger.as_ref().is_some_and(|ledger| ledger.begins_again(call)) => {}
            Effect::BeginStream { call, stream, attachment } => {
                let connection = self.connect(myself, stream, attachment);
                // Where the client has gone, the dropped connection reports its own end.
                self.answer(call, Reply::Stream(connection));
            }
            Effect::Emit { stream, attachment, event } => {
                self.metrics.event_written();
                let overrun =
                    self.writers.get(&(stream, attachment)).is_some_and(|writer| writer.write(event).is_err());
                if overrun {
                    // The window rules it out; if it happens, the client resumes from what it has.
                    tracing::error!(%stream, "a connection was given more events than its window");
                    self.writers.remove(&(stream, attachment));
                }
            }
            Effect::CloseStream { stream, attachment } => drop(self.writers.remove(&(stream, attachment))),
            Effect::Disconnect { stream, attachment } => {
                if let Some(writer) = self.writers.remove(&(stream, attachment)) {
                    writer.cut();
                }
            }
            Effect::OpenLeg { leg, epoch } => self.open_leg(myself, leg, epoch),
            Effect::CloseLeg { leg, epoch } => self.close_leg(leg, epoch),
            Effect::OpenListen { leg, epoch, event_id } => self.open_listen(myself, leg, epoch, event_id),
            Effect::CloseListen { leg, epoch } => {
                self.forget(Source::Listen(leg, epoch));
                self.close_listen(leg);
            }
            Effect::Dispatch { call, leg, epoch, frame, terms } => {
                self.dispatch(myself, (leg, epoch), call, frame, terms.as_deref());
            }
            Effect::SendUpstream { leg, epoch, bytes, ask } => self.send_upstream(myself, leg, epoch, bytes, ask),
            Effect::AdoptLeg { leg, epoch, upstream } => self.adopt_leg(myself, leg, epoch, &upstream),
            Effect::ResumeCall { call, leg, epoch, frame, event_id, terms } => {
                let terms = self.terms_of(terms.as_deref());
                self.resume_call(myself, (leg, epoch), call, frame, (event_id, terms));
            }
            Effect::Abandon { call } => {
                self.extras.remove(&call);
                self.forget(Source::Call(call));
                if let Some(pump) = self.pumps.remove(&call) {
                    pump.task.abort();
                }
            }
            Effect::Pause { call } => self.pause(call, true),
            Effect::Proceed { call } => self.pause(call, false),
            Effect::Hold { source } => {
                self.metrics.stream_stalled();
                self.held.insert(source);
            }
            Effect::Release { source } => self.release(source),
            Effect::LegReopened { leg, subscribed } => self.reopened(myself, leg, &subscribed),
            Effect::Note(note) => self.note(&note),
            Effect::Ended { reason } => {
                if ENDED.admits() {
                    info!(session = %self.shared.key, reason = reason.as_str(), "session ended");
                }
                self.ended = Some(reason);
            }
        }
    }

    fn answer(&mut self, call: CallKey, reply: Reply) {
        let Some(post) = self.posts.remove(&call) else { return };
        if post.send(reply).is_err() {
            self.metrics.undelivered("post_broken");
        }
    }

    /// Queues a message for a leg. A server that does not take a full queue of them is lost.
    pub(super) fn send_upstream(
        &mut self,
        myself: &ActorRef<Message>,
        leg: LegKey,
        epoch: LegEpoch,
        bytes: Bytes,
        ask: Option<u64>,
    ) {
        let Some((pump, open)) = self.pump(myself, leg, epoch) else { return };
        let Some(slot) = self.legs.get_mut(leg).and_then(|slot| slot.open.as_mut()) else { return };
        let outbox = slot.outbox.get_or_insert_with(|| {
            let (sender, outbox) = mpsc::channel(OUTBOX_MAX);
            tokio::spawn(pump.post_all(open.session, outbox));
            sender
        });
        if outbox.try_send(pump::Outgoing { bytes, ask }).is_err() {
            self.metrics.limit_hit("outbox");
            let _ended = myself.cast(Message::Lost { leg, epoch });
        }
    }

    /// Forgets a source that is not read any more.
    fn forget(&mut self, source: Source) {
        self.held.remove(&source);
        self.waiting.remove(&source);
    }

    fn connect(
        &mut self,
        myself: &ActorRef<Message>,
        stream: quorate_session::StreamId,
        attachment: quorate_session::Attachment,
    ) -> Connection {
        // Beyond the window a priming event may be in the channel, and one that asks to poll.
        let capacity = self.window + 2;
        let open = self.metrics.stream_open();
        let (writer, connection) =
            Connection::new(capacity, myself.clone(), Arc::clone(&self.shared.moved), (stream, attachment), open);
        self.writers.insert((stream, attachment), writer);
        connection
    }

    fn open_leg(&mut self, myself: &ActorRef<Message>, leg: LegKey, epoch: LegEpoch) {
        let Some(slot) = self.legs.get_mut(leg) else { return };
        slot.open = None;
        slot.stale = false;
        let server = slot.server.clone();
        if slot.removed {
            let reason = "it is not configured any more".to_owned();
            let fault = pump::fault(Fault::BackendFailed { server: server.name().to_string(), reason });
            // By the mailbox, so that the effects of this step are carried out before the next one.
            let _ended = myself.cast(Message::OpenFailed { leg, epoch, fault });
            return;
        }
        let Some(client) = self.shared.client() else {
            // An HTTP+SSE client that skipped `initialize`: the gateway refuses it earlier.
            let fault = pump::fault(Fault::SessionRequired);
            // By the mailbox, so that the effects of this step are carried out before the next one.
            let _ended = myself.cast(Message::OpenFailed { leg, epoch, fault });
            return;
        };
        let params = client.initialize_params.clone();
        let pump = Pump { actor: myself.clone(), translate: self.translate.clone(), server, leg, epoch };
        tokio::spawn(pump.open(self.shared.principal, params));
    }

    /// Takes over an upstream session that another node has opened.
    fn adopt_leg(&mut self, myself: &ActorRef<Message>, leg: LegKey, epoch: LegEpoch, upstream: &Upstream) {
        let Some(slot) = self.legs.get(leg) else { return };
        let adopted = if slot.removed { None } else { slot.server.adopt_leg(upstream) };
        let message = match adopted {
            Some(opened) => Message::Opened { leg, epoch, opened: Box::new(opened) },
            None => {
                let server = slot.server.name().to_string();
                Message::OpenFailed { leg, epoch, fault: pump::fault(Fault::OutcomeUnknown { server }) }
            }
        };
        // By the mailbox, so that the effects of this step are carried out before the next one.
        let _ended = myself.cast(message);
    }

    fn close_leg(&mut self, leg: LegKey, epoch: LegEpoch) {
        self.close_listen(leg);
        let Some(slot) = self.legs.get_mut(leg) else { return };
        if let Some(open) = slot.open.take_if(|open| open.epoch == epoch) {
            self.closes.spawn(async move { open.session.close().await });
        }
    }

    fn open_listen(&mut self, myself: &ActorRef<Message>, leg: LegKey, epoch: LegEpoch, event_id: Option<Arc<str>>) {
        self.close_listen(leg);
        let Some((pump, open)) = self.pump(myself, leg, epoch) else { return };
        let task = tokio::spawn(pump.listen(open.session, event_id));
        if let Some(slot) = self.legs.get_mut(leg) {
            slot.listen = Some(task.abort_handle());
        }
    }

    fn close_listen(&mut self, leg: LegKey) {
        if let Some(listen) = self.legs.get_mut(leg).and_then(|slot| slot.listen.take()) {
            listen.abort();
        }
    }

    fn dispatch(
        &mut self,
        myself: &ActorRef<Message>,
        at: (LegKey, LegEpoch),
        call: CallKey,
        frame: quorate_jsonrpc::Frame,
        terms: Option<&proto::Terms>,
    ) {
        let known = self.extras.remove(&call);
        let extras = known.unwrap_or_else(|| Extras { terms: self.terms_of(terms), ..Extras::default() });
        self.exchange(myself, at, call, frame, extras, None);
    }

    /// What a call is held to that another node has begun; its time begins anew, and it has no place among the calls of its tool.
    fn terms_of(&self, terms: Option<&proto::Terms>) -> Terms {
        terms.map(|terms| Terms::restored(terms, &self.metrics)).unwrap_or_default()
    }

    /// Reads the answer of a call on that another node has sent.
    fn resume_call(
        &mut self,
        myself: &ActorRef<Message>,
        at: (LegKey, LegEpoch),
        call: CallKey,
        frame: quorate_jsonrpc::Frame,
        (event_id, terms): (Option<Arc<str>>, Terms),
    ) {
        let resumes = match (frames_at(event_id.as_deref()), event_id, &self.ledger) {
            (None, Some(event_id), _) => Some(Resumes::At(event_id)),
            (after, _, Some(ledger)) => Some(Resumes::From(ledger.claim(after.unwrap_or(0)))),
            // Only a session that has a record has calls of other nodes.
            (_, _, None) => return,
        };
        self.exchange(myself, at, call, frame, Extras { terms, ..Extras::default() }, resumes);
    }

    fn exchange(
        &mut self,
        myself: &ActorRef<Message>,
        (leg, epoch): (LegKey, LegEpoch),
        call: CallKey,
        frame: quorate_jsonrpc::Frame,
        extras: Extras,
        resumes: Option<Resumes>,
    ) {
        let Extras { headers, prime_after, terms } = extras;
        let Some((pump, open)) = self.pump(myself, leg, epoch) else {
            // It waited for the quorum, and the leg has gone meanwhile: it was not sent.
            let server = self.legs.get(leg).map(|slot| slot.server.name().to_string()).unwrap_or_default();
            let fault = pump::fault(Fault::OutcomeUnknown { server });
            let failure = Failure { fault, never_executed: resumes.is_none(), leg_lost: true };
            // By the mailbox, so that the effects of this step are carried out before the next one.
            let _ended = myself.cast(Message::Failed { call, epoch, failure, terms });
            return;
        };
        let (pause, paused) = watch::channel(false);
        let taken = match &resumes {
            Some(Resumes::From(claim)) => claim.after,
            Some(Resumes::At(_)) | None => 0,
        };
        let heir = (self.ledger.is_some() && !self.shared.is_ephemeral()).then(|| Heir::after(taken));
        if let (Some(heir), Some(Resumes::At(_))) = (&heir, &resumes) {
            heir.recorded();
        }
        let exchange = Exchange { call, frame, headers, prime_after, terms, paused, resumes, heir: heir.clone() };
        let task = tokio::spawn(pump.exchange(open, Box::new(exchange))).abort_handle();
        self.pumps.retain(|_, pump| !pump.task.is_finished());
        self.pumps.insert(call, Running { task, pause, heir });
    }

    /// Tells an exchange whether its server waits for the client; one that has ended needs no word.
    fn pause(&self, call: CallKey, paused: bool) {
        if let Some(pump) = self.pumps.get(&call) {
            pump.pause.send_replace(paused);
        }
    }

    fn pump(&self, myself: &ActorRef<Message>, leg: LegKey, epoch: LegEpoch) -> Option<(Pump, OpenLeg)> {
        let (server, open) = self.legs.open(leg, epoch)?;
        let (server, open) = (server.clone(), open.clone());
        Some((Pump { actor: myself.clone(), translate: self.translate.clone(), server, leg, epoch }, open))
    }

    fn release(&mut self, source: Source) {
        self.held.remove(&source);
        if let Some(read_on) = self.waiting.remove(&source) {
            // An aborted pump reads no more.
            let _aborted = read_on.send(());
        }
    }

    fn reopened(&mut self, myself: &ActorRef<Message>, leg: LegKey, subscribed: &[Arc<str>]) {
        let Some(slot) = self.legs.get(leg) else { return };
        let server = slot.server.name();
        for kind in quorate_mcp::ListKind::ALL {
            self.translate.list_changed(server, kind);
        }
        // Nobody knows what its server said of them meanwhile.
        for uri in subscribed {
            let params = format!("{{\"uri\":{}}}", quorate_jsonrpc::quote(uri));
            let notification = build::notification(Method::ResourceUpdated.as_str(), Some(&params));
            let Ok(frame) = quorate_jsonrpc::Frame::parse(notification, &Limits::ANSWER) else { continue };
            if self.translate.withholds(server, &frame, false) {
                continue;
            }
            let frame = self.translate.inbound(server, Some(Method::ResourceUpdated), None, frame);
            // As above.
            let _ended = myself.cast(Message::Tell { event: Event::GatewayNotify { frame } });
        }
    }

    /// The tool server of a leg, as metrics name it; nothing for one that is not configured any more.
    fn server_of(&self, leg: LegKey) -> &str {
        self.legs.get(leg).filter(|slot| !slot.nobody).map_or("", |slot| slot.server.name().as_str())
    }

    fn note(&mut self, note: &Note) {
        if let Note::ParkExpired { stream } = note
            && let Some(place) = self.parked.remove(stream)
        {
            place.ended("expired");
        }
        if let Note::Undelivered { messages } = note {
            for _ in 0..*messages {
                self.metrics.undelivered("client_away");
            }
        }
        match note {
            Note::AnswerTooLarge { .. } => self.metrics.limit_hit("unread_bytes"),
            Note::StreamsExhausted => self.metrics.limit_hit("streams"),
            Note::Replayed { leg } => self.metrics.call_replayed(self.server_of(*leg)),
            Note::OutcomeUnknown { leg } => self.metrics.outcome_unknown(self.server_of(*leg)),
            _ => {}
        }
        debug!(session = %self.shared.key, ?note, "session note");
    }
}
