//! What backends send: answers, notifications and requests, each put on exactly one stream.
//!
//! Frames of a call go to the call's POST. Of the frames on a leg's own stream, progress goes to
//! the call whose token it carries, requests as `ask` says, a stateless client's log messages to the
//! call that they likely belong to, and the rest to the standalone stream. Frames of calls that are
//! over are dropped; a request among them is answered with an error.

use std::sync::Arc;

use quorate_jsonrpc::{Frame, Kind, Span};

use super::Session;
use crate::calls::{Call, ErrandEnd, Owner};
use crate::config::Delivery;
use crate::effect::{Effect, Effects, Note, Refusal, Source};
use crate::event::{Content, Failure, Purpose};
use crate::ids::{CallKey, LegEpoch, StreamId};
use crate::legs::{LegAt, Subscription};
use crate::ring::Bounds;
use crate::text::{cancelled, is_unknown_method, progress_of, same_value, too_much_unread};

impl Session {
    pub(super) fn on_upstream_frame(
        &mut self,
        at: LegAt,
        call: Option<CallKey>,
        frame: Frame,
        content: &Content,
        out: &mut Effects,
    ) {
        // A call may outlive its upstream session, but then nobody takes an answer to a request.
        let up = self.legs.get(at.0).is_some_and(|leg| leg.is_up_as(at.1));
        let current = match call {
            Some(call) => self.is_dispatched(call, at),
            None => up,
        };
        match frame.kind() {
            Kind::Request if current && up => self.on_ask(at, call, &frame, content, out),
            Kind::Notification if current => self.on_upstream_notification(at, call, &frame, content, out),
            // A stream that is shared by all calls may outlive its upstream session as well.
            Kind::Result | Kind::Error if current || call.is_none() => self.on_answer(at, call, &frame, out),
            Kind::Request => {
                out.note(Note::UpstreamLate { leg: Some(at.0) });
                self.refuse(at, frame.id().expect("a request has an id"), Refusal::CallEnded, out);
            }
            Kind::Notification | Kind::Result | Kind::Error => out.note(Note::UpstreamLate { leg: Some(at.0) }),
        }
    }

    /// Notes up to where an upstream stream was read, together with what was read.
    pub(super) fn mark_read(&mut self, at: LegAt, call: Option<CallKey>, event_id: Option<Arc<str>>) {
        let Some(event_id) = event_id else { return };
        match call {
            Some(call) => self.mark_call(call, at.1, event_id),
            None => {
                if let Some(leg) = self.legs.get_mut(at.0).filter(|leg| leg.is_up_as(at.1)) {
                    leg.mark = Some(event_id);
                }
            }
        }
    }

    pub(super) fn mark_call(&mut self, call: CallKey, epoch: LegEpoch, event_id: Arc<str>) {
        let journey = self.calls.open.get_mut(call).and_then(Call::journey_mut);
        if let Some(journey) = journey.filter(|journey| journey.dispatched == Some(epoch)) {
            journey.event_id = Some(event_id);
        }
    }

    pub(super) fn on_upstream_failed(&mut self, call: CallKey, epoch: LegEpoch, failure: &Failure, out: &mut Effects) {
        let row = self.calls.open.get(call);
        let Some(journey) = row.and_then(Call::journey).filter(|journey| journey.dispatched == Some(epoch)) else {
            out.note(Note::UpstreamLate { leg: None });
            return;
        };
        let at = (journey.leg, epoch);
        if row.is_some_and(|row| row.recovering) {
            return self.resumed_in_vain(call, at, failure, out);
        }
        let errand = row.is_some_and(|call| matches!(call.owner, Owner::Machine(_)));
        let again = !errand && failure.leg_lost && failure.never_executed && !journey.again;
        let lost = failure.leg_lost && self.legs.get(at.0).is_some_and(|leg| leg.is_up_as(epoch));
        if errand {
            if lost {
                self.lose_leg(at, &failure.fault, false, out);
            } else {
                self.errand_done(call, ErrandEnd::Failed, out);
            }
            return;
        }
        if again {
            self.queue_again(call);
        } else {
            if lost || failure.never_executed {
                self.retract_asks_of(call, !lost, out);
            } else {
                // It may still be at work, for an answer that nobody waits for.
                self.cancel_upstream(call, cancelled(&call.upstream_id(), "the gateway has stopped waiting"), out);
            }
            self.fail_call(call, &failure.fault, out);
        }
        if lost {
            self.lose_leg(at, &failure.fault, false, out);
        } else if again {
            self.route_call(call, at.0, out);
        }
    }

    /// The answer of a call that another node has sent cannot be read on.
    fn resumed_in_vain(&mut self, call: CallKey, at: LegAt, failure: &Failure, out: &mut Effects) {
        if failure.leg_lost && self.legs.get(at.0).is_some_and(|leg| leg.is_up_as(at.1)) {
            self.lose_leg(at, &failure.fault, false, out);
        }
        if failure.never_executed {
            // The other node had it to send, and has not.
            return self.send_again(call, at.0, out);
        }
        self.lost_with_node(call, out);
    }

    fn on_answer(&mut self, at: LegAt, call: Option<CallKey>, frame: &Frame, out: &mut Effects) {
        // Only an error may lack an id, and only a connection of its own tells whose it is.
        let named = frame.id().map(|id| id.as_u64().map(CallKey));
        let answered = match (call, named) {
            (Some(call), None) => Some(call),
            (Some(call), Some(named)) => named.filter(|named| *named == call),
            (None, named) => named.flatten().filter(|call| self.is_dispatched(*call, at)),
        };
        let Some(call) = answered else {
            let leg = at.0;
            let late = call.is_none() && named.flatten().is_some();
            out.note(if late { Note::UpstreamLate { leg: Some(leg) } } else { Note::UpstreamViolation { leg } });
            return;
        };
        let Some(id) = self.calls.open.get(call).and_then(Call::client_id).cloned() else {
            let end = match frame.kind() {
                Kind::Result => ErrandEnd::Done,
                Kind::Error if is_unknown_method(frame) => ErrandEnd::Unknown,
                Kind::Error | Kind::Request | Kind::Notification => ErrandEnd::Failed,
            };
            self.errand_done(call, end, out);
            return;
        };
        if let Some(leg) = self.legs.get_mut(at.0).filter(|leg| leg.is_up_as(at.1)) {
            // Errands do not count: they succeed on a leg that is lost right after.
            leg.failures = 0;
        }
        if frame.kind() == Kind::Result {
            self.note_subscription(call, at, out);
        }
        let answer = frame.with_id(&id).into_bytes();
        if self.overflows(call, answer.len()) {
            out.note(Note::AnswerTooLarge { leg: at.0 });
            self.fail_call(call, &too_much_unread(self.config.undelivered_bytes_max), out);
            return;
        }
        self.close_call(call, Some(answer), out);
    }

    /// Whether an answer to a parked call is more than what may wait for the client in all. A call that is read makes
    /// room as it is written; one that is parked makes none for minutes, and there may be hundreds.
    fn overflows(&self, call: CallKey, bytes: usize) -> bool {
        let post = self.calls.open.get(call).and_then(Call::post);
        let stream = post.and_then(|post| self.stream_of_post(post));
        stream.is_some_and(|stream| self.is_parked(stream))
            && self.streams.parked_bytes() + bytes > self.config.undelivered_bytes_max
    }

    fn on_upstream_notification(
        &mut self,
        at: LegAt,
        call: Option<CallKey>,
        frame: &Frame,
        content: &Content,
        out: &mut Effects,
    ) {
        match content {
            Content::Progress { token } => self.on_upstream_progress(at, call, frame, *token, out),
            Content::Cancelled { request_id, span } => {
                self.on_upstream_cancelled(at, frame, request_id, *span, out);
            }
            Content::Log { severity } if !self.wants_log(*severity) => {
                out.note(Note::UpstreamUnwanted { leg: at.0 });
            }
            Content::Log { .. } if self.config.delivery == Delivery::Calls => {
                // Such a client has no stream but its calls', and many servers log for the session as a whole.
                self.forward_notification(at, call, call.or_else(|| self.likely_call(at)), frame, out);
            }
            Content::Log { .. } | Content::Plain | Content::Request { .. } => {
                self.forward_notification(at, call, call, frame, out);
            }
        }
    }

    /// A token that names no open call may be that of a task, which outlives its call, if it came
    /// on the leg's own stream. One of another backend's call is none of this backend's business.
    fn on_upstream_progress(
        &mut self,
        at: LegAt,
        call: Option<CallKey>,
        frame: &Frame,
        token: Span,
        out: &mut Effects,
    ) {
        let text = frame.text_of(token);
        let holds = |call: &Call| call.token().is_some_and(|own| same_value(own, text));
        let holders = self.calls.open.keys_where(holds);
        // Where a client uses one token twice, the connection decides.
        let to = call.filter(|call| holders.contains(call));
        let to = to.or_else(|| holders.iter().copied().find(|holder| self.is_dispatched(*holder, at)));
        let row = to.and_then(|to| self.calls.open.get(to));
        let progress = row.and_then(|row| progress_of(frame, row.token()?));
        let is_old = row.is_some_and(|row| row.was_told(progress));
        if is_old || (to.is_none() && (call.is_some() || !holders.is_empty())) {
            out.note(Note::UpstreamUnwanted { leg: at.0 });
        } else if self.forward_notification(at, call, to, frame, out)
            && let Some(row) = to.and_then(|to| self.calls.open.get_mut(to))
        {
            row.tell(progress);
        }
    }

    /// Sends a notification that came `from` a call's connection, or none, `to` a call's POST, or
    /// to the standalone stream; tells whether it was sent.
    fn forward_notification(
        &mut self,
        at: LegAt,
        from: Option<CallKey>,
        to: Option<CallKey>,
        frame: &Frame,
        out: &mut Effects,
    ) -> bool {
        let source = self.source(at, from);
        let post = to.and_then(|call| self.calls.open.get(call)).and_then(Call::post);
        let stream = match (to, post) {
            (Some(_), Some(post)) => self.stream_of_post(post),
            (Some(_), None) => None,
            (None, _) => Some(StreamId::STANDALONE),
        };
        let full = stream
            .and_then(|stream| self.streams.all.get(stream))
            .is_some_and(|stream| stream.ring.is_full(Bounds::from(&self.config)));
        let standalone_live = self.streams.standalone_is_live(self.now, &self.config);
        let parked = stream.is_some_and(|stream| self.is_parked(stream));
        let sent = match post {
            // Nobody reads it: questions and the answer need the room.
            _ if parked => false,
            // It cannot be held back, so it is dropped.
            _ if full && source.is_none() => false,
            Some(post) => self.send_on_post(post, frame.bytes().clone(), source, out).is_some(),
            None if to.is_none() && standalone_live => {
                self.append(StreamId::STANDALONE, frame.bytes().clone(), source, out);
                true
            }
            None => false,
        };
        if !sent {
            out.note(Note::UpstreamUnwanted { leg: at.0 });
        }
        sent
    }

    fn note_subscription(&mut self, call: CallKey, at: LegAt, out: &mut Effects) {
        let Some(row) = self.calls.open.get(call) else { return };
        let (Owner::Client { purpose, .. }, Some(journey)) = (&row.owner, row.journey()) else { return };
        let Some(leg) = self.legs.get_mut(at.0) else { return };
        match purpose {
            Purpose::Subscribe { uri } => {
                let uri = uri.clone();
                // The upstream session that accepted it may be gone.
                let is_live = leg.is_up_as(at.1);
                let subscription = Subscription { frame: journey.frame.clone(), is_live, failures: 0 };
                leg.subscriptions.insert(uri.clone(), subscription);
                self.subscriptions_changed += 1;
                if !is_live {
                    self.restore_subscription(at.0, &uri, false, out);
                }
            }
            Purpose::Unsubscribe { uri } => {
                leg.subscriptions.remove(uri);
                self.subscriptions_changed += 1;
            }
            Purpose::Plain | Purpose::Uncancellable | Purpose::Unaskable | Purpose::SetLevel { .. } => {}
        }
    }

    fn queue_again(&mut self, call: CallKey) {
        self.streams.forget_source(Source::Call(call));
        if let Some(journey) = self.calls.open.get_mut(call).and_then(Call::journey_mut) {
            journey.dispatched = None;
            journey.again = true;
            journey.event_id = None;
        }
    }

    fn is_dispatched(&self, call: CallKey, at: LegAt) -> bool {
        self.calls.open.get(call).is_some_and(|call| call.is_dispatched_to(at.0, at.1))
    }

    pub(super) fn dispatch(&mut self, call: CallKey, out: &mut Effects) {
        let Some(journey) = self.calls.open.get_mut(call).and_then(Call::journey_mut) else { return };
        let Some(leg) = self.legs.get_mut(journey.leg) else { return };
        leg.reopened = true;
        journey.dispatched = Some(leg.epoch);
        let (frame, terms) = (journey.frame.clone(), journey.terms.clone());
        out.push(Effect::Dispatch { call, leg: journey.leg, epoch: leg.epoch, frame, terms });
    }
}
