//! The session machine: its state, and which handler takes which event.
//!
//! `step` validates and dispatches; the handlers live beside it by whom they serve: `client`,
//! `answer` (POSTs), `upstream`, `ask` (requests of backends), `park`, `leg`, `level`, `delivery`
//! (streams), `expiry` (time and the end). Each takes the effects of the step as its last argument
//! and appends to them.
//!
//! Invariant: an event that is refused changes nothing; see [`Session::check`] for the rest.

mod answer;
mod ask;
mod check;
mod client;
mod delivery;
mod expiry;
mod journal;
mod leg;
mod level;
mod park;
mod recover;
mod rest;
mod restore;
mod upstream;

use std::sync::Arc;

use quorate_types::Timestamp;

use self::journal::Journal;
pub use self::restore::Unreadable;

use crate::asks::Asks;
use crate::calls::Calls;
use crate::config::Config;
use crate::effect::{Effects, Note};
use crate::event::{EndReason, Event};
use crate::ids::{CallKey, LegKey, RequestKey, StreamId};
use crate::legs::Leg;
use crate::record::proto;
use crate::rejection::Rejection;
use crate::streams::Streams;
use crate::table::Table;

/// The machine of one session.
///
/// An idle one is a few hundred bytes: whatever it does not need at the moment owns no memory.
#[derive(Debug)]
pub struct Session {
    config: Config,
    /// The latest time seen: the caller's clock may step back.
    now: Timestamp,
    /// When the client last showed that it is there, or something of it ended.
    active_at: Timestamp,
    ended: Option<EndReason>,
    calls: Calls,
    streams: Streams,
    asks: Asks,
    legs: Table<LegKey, Leg>,
    level: Option<Box<level::Level>>,
    /// Counts changes of subscriptions.
    subscriptions_changed: u64,
    /// What of it is written down; none where nothing is.
    journal: Option<Box<Journal>>,
}

// === impl Session ===

impl Session {
    /// Starts a session.
    #[must_use]
    pub fn new(config: Config, now: Timestamp) -> Self {
        Self {
            config,
            now,
            active_at: now,
            ended: None,
            calls: Calls::new(),
            streams: Streams::new(),
            asks: Asks::new(),
            legs: Table::new(),
            level: None,
            subscriptions_changed: 0,
            journal: None,
        }
    }

    /// Starts a session that outlives `node`, which owns it, by what it writes down ([`Effects::take_ops`]).
    #[must_use]
    pub fn journaled(config: Config, charter: Arc<proto::Charter>, node: u64, now: Timestamp) -> Self {
        let journal = Some(Box::new(Journal::new(charter, node, now)));
        Self { journal, ..Self::new(config, now) }
    }

    /// Names a leg, so that another node knows which backend it is.
    pub fn name_leg(&mut self, leg: LegKey, server: &str) {
        if self.legs.get(leg).is_none() {
            self.legs.insert(leg, Leg::new());
        }
        if let Some(row) = self.legs.get_mut(leg)
            && row.server.as_deref() != Some(server)
        {
            row.server = Some(server.into());
        }
    }

    /// Returns the names of the legs.
    pub fn legs_named(&self) -> impl Iterator<Item = (LegKey, &Arc<str>)> {
        self.legs.iter().filter_map(|(key, leg)| Some((key, leg.server.as_ref()?)))
    }

    /// Takes one event and returns what has to be done, in order.
    ///
    /// # Errors
    /// [`Rejection`] for an event of the client (or the end) that cannot be taken; the state is
    /// then unchanged.
    pub fn step(&mut self, now: Timestamp, event: Event) -> Result<Effects, Rejection> {
        self.now = self.now.max(now);
        let mut out = Effects::default();
        if self.ended.is_some() {
            self.step_ended(event, &mut out)?;
        } else {
            self.step_live(event, &mut out)?;
        }
        if let Some(mut journal) = self.journal.take() {
            journal.write(self, &mut out);
            // What ended is not there any more.
            self.journal = Some(journal).filter(|_| self.ended.is_none());
        }
        debug_assert_eq!(self.check(), Ok(()));
        Ok(out)
    }

    /// Tells whether nothing is left to wait for after `Ended`: no connection has still to write,
    /// and no leg is still opening that would have to be closed.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.ended.is_some() && self.streams.all.is_empty() && self.legs.is_empty()
    }

    /// Returns the bytes of all events that wait for the client.
    #[must_use]
    pub fn undelivered_bytes(&self) -> usize {
        self.unread_bytes()
    }

    /// Tells whether a call is open.
    #[must_use]
    pub fn is_open(&self, call: CallKey) -> bool {
        self.calls.open.get(call).is_some()
    }

    /// Tells whether a request of this name was taken, and what became of it is known.
    #[must_use]
    pub fn knows(&self, key: RequestKey) -> bool {
        self.calls.posts.iter().any(|(_, post)| post.key == Some(key))
            || self.calls.kept.iter().any(|(_, kept)| kept.key == key)
            || self.streams.all.iter().any(|(_, stream)| stream.key == Some(key))
    }

    /// Tells whether the client has subscribed to a resource of a leg, or is about to.
    #[must_use]
    pub fn subscribes(&self, leg: LegKey, uri: &str) -> bool {
        self.legs.get(leg).is_some_and(|row| row.subscriptions.contains_key(uri))
            || self.calls.open.iter().any(|(_, call)| call.subscribes_to(leg, uri))
    }

    /// Tells whether the call of a stream waits for its client.
    #[must_use]
    pub fn is_parked(&self, stream: StreamId) -> bool {
        self.streams.all.get(stream).is_some_and(|stream| stream.parked.is_some())
    }

    fn step_live(&mut self, event: Event, out: &mut Effects) -> Result<(), Rejection> {
        match event {
            Event::ClientRequest(request) => self.on_requests(vec![request], false, out)?,
            Event::ClientBatch(requests) => self.on_requests(requests, true, out)?,
            Event::ClientNotification { frame, to } => self.on_notification(frame, to, out)?,
            Event::ClientProgress { frame, token } => self.on_client_progress(&frame, token, out)?,
            Event::ClientResponse { frame } => self.on_response(&frame, out)?,
            Event::Cancel { frame, request_id, span } => self.on_cancel(&frame, &request_id, span, out)?,
            Event::GatewayAnswer { call, answer } => self.on_gateway_answer(call, &answer, out),
            Event::GatewayNotify { frame } => self.on_gateway_notify(&frame, out),
            Event::Prime { call } => self.on_prime(call, out),
            Event::Poll { call, retry } => self.on_poll(call, retry, out),
            Event::PostBroken { call } => self.on_post_broken(call, out),
            Event::Attach { last_event_id } => self.on_attach(last_event_id, out)?,
            Event::Rejoin { stream, has, primes } => {
                self.on_rejoin(stream, delivery::Reading { has, begins: None, primes }, out)?
            }
            Event::Acknowledge { key } => self.calls.kept.retain(|_, kept| kept.key != key),
            Event::AnswerSent { ask } => drop(self.asks.answering.remove(ask)),
            Event::Recover => self.on_recover(out),
            Event::OwnerKnown(owner) => self.on_owner_known(owner, out),
            Event::ClientKnown(client) => self.on_client_known(client, out),
            Event::Detach { stream, attachment, delivered } => self.on_detach(stream, attachment, delivered, out),
            Event::Delivered { stream, attachment, up_to } => self.on_delivered(stream, attachment, up_to, out),
            Event::Park { stream, sequence, token } => self.on_park(stream, sequence, token, out)?,
            Event::Resume { stream, token, responses } => self.on_resume(stream, token, &responses, out)?,
            Event::Abandon { call } => self.on_abandon(call, out),
            Event::LegOpened { leg, epoch, features, upstream } => {
                self.on_leg_opened((leg, epoch), features, upstream, out);
            }
            Event::LegFailed { leg, epoch, fault } => self.on_leg_failed(leg, epoch, &fault, out),
            Event::LegLost { leg, epoch, fault, severed } => self.on_leg_lost((leg, epoch), &fault, severed, out),
            Event::UpstreamFrame { leg, epoch, call, frame, content, event_id } => {
                self.mark_read((leg, epoch), call, event_id);
                self.on_upstream_frame((leg, epoch), call, frame, &content, out);
            }
            Event::UpstreamMark { call, epoch, event_id } => self.mark_call(call, epoch, event_id),
            Event::UpstreamFailed { call, epoch, failure } => self.on_upstream_failed(call, epoch, &failure, out),
            Event::Touch => self.touch(),
            Event::Rest => self.on_rest(out),
            Event::Tick => self.on_tick(out),
            Event::End { reason, fault } => self.end(reason, Some(&fault), out),
        }
        Ok(())
    }

    /// What the client says comes too late; reports are taken as far as something waits for them.
    fn step_ended(&mut self, event: Event, out: &mut Effects) -> Result<(), Rejection> {
        match event {
            Event::ClientRequest(_)
            | Event::ClientBatch(_)
            | Event::ClientNotification { .. }
            | Event::ClientProgress { .. }
            | Event::ClientResponse { .. }
            | Event::Cancel { .. }
            | Event::Attach { .. }
            | Event::Park { .. }
            | Event::Resume { .. }
            | Event::Rejoin { .. }
            | Event::Touch
            | Event::End { .. } => return Err(Rejection::Ended),
            Event::Detach { stream, attachment, delivered } => self.on_detach(stream, attachment, delivered, out),
            Event::Delivered { stream, attachment, up_to } => self.on_delivered(stream, attachment, up_to, out),
            Event::LegOpened { leg, epoch, .. } => self.close_late_leg(leg, epoch, out),
            Event::LegFailed { leg, epoch, .. } => self.forget_late_leg(leg, epoch),
            Event::GatewayAnswer { .. }
            | Event::GatewayNotify { .. }
            | Event::Prime { .. }
            | Event::Poll { .. }
            | Event::PostBroken { .. }
            | Event::Abandon { .. }
            | Event::LegLost { .. }
            | Event::UpstreamFrame { .. }
            | Event::UpstreamMark { .. }
            | Event::Acknowledge { .. }
            | Event::AnswerSent { .. }
            | Event::Recover
            | Event::OwnerKnown(_)
            | Event::ClientKnown(_)
            | Event::UpstreamFailed { .. } => out.note(Note::ReportStale),
            Event::Tick | Event::Rest => {}
        }
        Ok(())
    }

    fn on_owner_known(&mut self, owner: proto::Owner, out: &mut Effects) {
        if let Some(journal) = &mut self.journal {
            journal.set_owner(owner, out);
        }
    }

    fn on_client_known(&mut self, client: proto::Client, out: &mut Effects) {
        if let Some(journal) = &mut self.journal {
            journal.set_client(client, out);
        }
    }

    /// Notes what an operator may want to know later.
    fn happened(&mut self, what: proto::Happening) {
        if let Some(journal) = &mut self.journal {
            journal.happened(what);
        }
    }

    /// Bytes that wait for the client.
    fn unread_bytes(&self) -> usize {
        let kept = self.calls.kept.iter().map(|(_, kept)| kept.body.len()).sum::<usize>();
        self.streams.undelivered_bytes() + kept
    }

    const fn touch(&mut self) {
        self.active_at = self.now;
    }
}
