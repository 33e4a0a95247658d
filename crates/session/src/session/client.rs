//! What the client says: requests, notifications, answers, cancellations.
//!
//! Requests are validated as a whole before anything changes. A request for a leg that is not open
//! opens it and waits; a cancellation of it before it was dispatched is over at once, since no
//! backend has heard of it. `initialize` is never cancelled (MCP 2025-11-25, "Cancellation").

use bytes::Bytes;
use quorate_jsonrpc::{Frame, Id, Kind, Span, Splice};

use super::Session;
use crate::asks::Answering;
use crate::calls::{Call, Journey, Owner, Phase, Post, Reply};
use crate::config::Delivery;
use crate::effect::{Effect, Effects, Note};
use crate::event::{Audience, Purpose, Replay, Request, Target};
use crate::ids::{CallKey, LegKey, StreamId};
use crate::legs::LegState;
use crate::rejection::Rejection;

impl Session {
    pub(super) fn on_requests(
        &mut self,
        requests: Vec<Request>,
        batch: bool,
        out: &mut Effects,
    ) -> Result<(), Rejection> {
        if let [Request { key: Some(key), .. }] = requests[..]
            && self.rejoin_request(key, out)?
        {
            return Ok(());
        }
        self.validate(&requests)?;
        self.touch();
        let keys: Vec<CallKey> = requests.iter().map(|_| self.calls.mint()).collect();
        let post = keys[0];
        let key = requests.first().and_then(|request| request.key);
        let keeps = self.journal.is_some()
            && self.keeps_calls()
            // Over HTTP+SSE even what may run twice would be answered twice.
            && (self.config.delivery == Delivery::Single
                || requests.iter().any(|request| request.replay != Replay::Safe));
        let reply = match self.config.delivery {
            Delivery::Streams | Delivery::Calls => Reply::Waiting { answers: Vec::new() },
            Delivery::Single => Reply::Stream(StreamId::STANDALONE),
        };
        self.calls.posts.insert(post, Post { calls: keys.len(), batch, reply, key, keeps, lacks_stream: false });
        for call in &keys {
            out.push(Effect::Opened { call: *call });
        }
        for (call, request) in keys.into_iter().zip(requests) {
            self.open_call(call, post, request, out);
        }
        Ok(())
    }

    pub(super) fn on_notification(&mut self, frame: Frame, to: Audience, out: &mut Effects) -> Result<(), Rejection> {
        expect(&frame, &[Kind::Notification], "notification")?;
        self.touch();
        match to {
            Audience::Leg(leg) => self.notify_leg(leg, &frame, out),
            Audience::EachLeg => {
                for leg in self.legs.keys_where(|leg| leg.state != LegState::Closed) {
                    self.notify_leg(leg, &frame, out);
                }
            }
        }
        Ok(())
    }

    /// Gives the backend its own token back.
    pub(super) fn on_client_progress(
        &mut self,
        frame: &Frame,
        token: Span,
        out: &mut Effects,
    ) -> Result<(), Rejection> {
        expect(frame, &[Kind::Notification], "notification")?;
        self.touch();
        let ask = frame.text_of(token).parse().ok().and_then(|key| self.asks.open.get(key));
        let Some((ask, original)) = ask.and_then(|ask| Some((ask, ask.token.as_ref()?))) else {
            out.note(Note::NotificationDropped);
            return Ok(());
        };
        let mut splice = Splice::new(frame.bytes());
        splice.replace(token, original.as_ref());
        let (leg, epoch, bytes) = (ask.leg, ask.epoch, splice.finish());
        self.send_upstream((leg, epoch), bytes, out);
        Ok(())
    }

    pub(super) fn on_response(&mut self, frame: &Frame, out: &mut Effects) -> Result<(), Rejection> {
        expect(frame, &[Kind::Result, Kind::Error], "response")?;
        self.touch();
        let key = frame.id().and_then(Id::as_u64);
        let Some((key, ask)) = key.and_then(|key| Some((key, self.take_ask(key, out)?))) else {
            out.note(Note::ResponseUnknown);
            return Ok(());
        };
        let (leg, epoch, bytes) = (ask.leg, ask.epoch, frame.with_id(&ask.upstream_id).into_bytes());
        if !self.legs.get(leg).is_some_and(|row| row.is_up_as(epoch) || row.is_adopted_as(epoch)) {
            return Ok(());
        }
        let is_kept = self.journal.is_some() && self.keeps_ask(&ask);
        if is_kept {
            // It was taken, so it has to arrive, whatever becomes of this node.
            self.asks.answering.insert(key, Answering { leg, epoch, frame: bytes.clone() });
        }
        if self.legs.get(leg).is_some_and(|row| row.is_up_as(epoch)) {
            out.push(Effect::SendUpstream { leg, epoch, bytes, ask: is_kept.then_some(key) });
        }
        Ok(())
    }

    pub(super) fn on_cancel(
        &mut self,
        frame: &Frame,
        request_id: &Id,
        span: Span,
        out: &mut Effects,
    ) -> Result<(), Rejection> {
        expect(frame, &[Kind::Notification], "notification")?;
        self.touch();
        let open = self.calls.by_client_id(request_id);
        let Some(call) = open.filter(|call| self.calls.open.get(*call).is_some_and(Call::may_be_cancelled)) else {
            out.note(Note::CancelIgnored { request_id: request_id.clone() });
            return Ok(());
        };
        let upstream = {
            let mut splice = Splice::new(frame.bytes());
            splice.replace(span, call.to_string().into_bytes());
            splice.finish()
        };
        self.cancel_upstream(call, upstream, out);
        self.close_call(call, None, out);
        Ok(())
    }

    fn validate(&self, requests: &[Request]) -> Result<(), Rejection> {
        if requests.is_empty() {
            return Err(Rejection::Unroutable { reason: "a batch without a request" });
        }
        for (place, request) in requests.iter().enumerate() {
            expect(&request.frame, &[Kind::Request], "request")?;
            routable(request)?;
            let id = id_of(&request.frame);
            let twice = requests[..place].iter().any(|earlier| id_of(&earlier.frame) == id);
            if twice || self.calls.by_client_id(id).is_some() {
                return Err(Rejection::DuplicateId { id: id.clone() });
            }
        }
        limit("calls_max", self.calls.client_len() + requests.len(), self.config.calls_max)?;
        let wanted = requests.iter().filter(|request| matches!(request.purpose, Purpose::Subscribe { .. })).count();
        if wanted > 0 {
            let pending = self.calls.open.iter().filter(|(_, call)| call.subscribes()).count();
            limit("subscriptions_max", self.subscriptions_len() + pending + wanted, self.config.subscriptions_max)?;
        }
        limit("undelivered_bytes_max", self.unread_bytes(), self.config.undelivered_bytes_max)
    }

    fn open_call(&mut self, call: CallKey, post: CallKey, request: Request, out: &mut Effects) {
        let id = id_of(&request.frame).clone();
        let phase = match (&request.target, &request.purpose) {
            (Target::Leg(leg), _) => {
                let frame = request.frame.with_id(&call.upstream_id());
                let terms = request.terms.clone();
                Phase::Leg(Box::new(Journey {
                    leg: *leg,
                    dispatched: None,
                    again: false,
                    frame,
                    event_id: None,
                    terms,
                }))
            }
            (Target::Gateway, Purpose::SetLevel { severity, .. }) => {
                Phase::Level { version: self.set_level(*severity, request.frame) }
            }
            (Target::Gateway, _) => Phase::Gateway,
        };
        let owner = Owner::Client { id, post, purpose: request.purpose };
        let (progress_token, replay) = (request.progress_token, request.replay);
        let leg = match &phase {
            Phase::Leg(journey) => Some(journey.leg),
            Phase::Gateway | Phase::Level { .. } => None,
        };
        let levels = matches!(phase, Phase::Level { .. });
        self.calls.open.insert(call, Call::new(owner, phase, progress_token, replay));
        if let Some(leg) = leg {
            self.route_call(call, leg, out);
        }
        if levels {
            self.tell_levels(out);
        }
    }

    /// Dispatches a call if its leg is open, and opens the leg otherwise.
    pub(super) fn route_call(&mut self, call: CallKey, leg: LegKey, out: &mut Effects) {
        match self.legs.get(leg).map_or(LegState::Closed, |leg| leg.state) {
            LegState::Open => self.dispatch(call, out),
            LegState::Closed => self.open_leg(leg, out),
            LegState::Opening | LegState::Preparing => {}
        }
    }

    fn notify_leg(&mut self, leg: LegKey, frame: &Frame, out: &mut Effects) {
        let queued_max = self.config.notifications_queued_max;
        match self.legs.get_mut(leg) {
            Some(row) if row.is_up() => {
                let at = (leg, row.epoch);
                self.send_upstream(at, frame.bytes().clone(), out);
            }
            Some(row) if row.state == LegState::Opening && row.notifications.len() < queued_max => {
                row.notifications.push(frame.bytes().clone());
            }
            Some(_) | None => out.note(Note::NotificationDropped),
        }
    }

    /// Tells the backend of a dispatched call that it is cancelled, and stops listening to it.
    ///
    /// The backend's own requests on behalf of the call are taken back from the client, and
    /// answered, before their stream ends.
    pub(super) fn cancel_upstream(&mut self, call: CallKey, notification: Bytes, out: &mut Effects) {
        let journey = self.calls.open.get(call).and_then(Call::journey);
        let Some(at) = journey.and_then(|journey| Some((journey.leg, journey.dispatched?))) else { return };
        self.send_upstream(at, notification, out);
        self.retract_asks_of(call, true, out);
        out.push(Effect::Abandon { call });
    }
}

/// Finds the member of a client's id space that a request is.
fn id_of(frame: &Frame) -> &Id {
    frame.id().expect("a request has an id")
}

fn expect(frame: &Frame, kinds: &[Kind], expected: &'static str) -> Result<(), Rejection> {
    if kinds.contains(&frame.kind()) { Ok(()) } else { Err(Rejection::WrongKind { expected }) }
}

fn limit(limit: &'static str, count: usize, max: usize) -> Result<(), Rejection> {
    if count > max { Err(Rejection::LimitReached { limit, max }) } else { Ok(()) }
}

fn routable(request: &Request) -> Result<(), Rejection> {
    match (&request.target, &request.purpose) {
        (Target::Leg(_), Purpose::SetLevel { .. }) => {
            Err(Rejection::Unroutable { reason: "the logging level is set on every leg" })
        }
        (Target::Gateway, Purpose::Subscribe { .. } | Purpose::Unsubscribe { .. }) => {
            Err(Rejection::Unroutable { reason: "a subscription belongs to a leg" })
        }
        (Target::Leg(_), Purpose::Plain | Purpose::Uncancellable | Purpose::Unaskable)
        | (Target::Leg(_), Purpose::Subscribe { .. } | Purpose::Unsubscribe { .. })
        | (Target::Gateway, Purpose::Plain | Purpose::Uncancellable | Purpose::Unaskable | Purpose::SetLevel { .. }) => {
            Ok(())
        }
    }
}
