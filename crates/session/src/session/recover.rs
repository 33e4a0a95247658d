//! What becomes of what was under way when the node was lost that owned the session.
//!
//! ```text
//!   upstream session ─▶ taken over ─▶ its calls: their streams are read on ──▶ answers
//!          │                                        │ cannot be, or broke
//!          └─ cannot be ─▶ its calls ───────────────┴─▶ may be sent again: dispatched ─▶ answers
//!                                                     └▶ may not: the client is told, once
//! ```
//!
//! A call may be sent again where asking again changes nothing, or where an operator says so. It is then another request for
//! its backend, which may still be at work on the one before. Of any other call nobody knows what became of it, and its client
//! is told that: a journaled call may have run.

use quorate_jsonrpc::{Frame, Limits};

use super::Session;
use crate::calls::{Call, Phase};
use crate::effect::{Effect, Effects, Note, Source};
use crate::event::Replay;
use crate::ids::{CallKey, LegEpoch, LegKey};
use crate::legs::LegState;
use crate::record::proto::Happening;
use crate::text::{abandoned, outcome_unknown, progress_of};

impl Session {
    pub(super) fn on_recover(&mut self, out: &mut Effects) {
        self.note_progress();
        let is_adopting = |session: &Self, leg: LegKey, epoch: LegEpoch| {
            session.legs.get(leg).is_some_and(|row| row.is_adopted_as(epoch))
        };
        // Nothing that a session asked can be answered which is not there any more.
        for key in self.asks.open.keys_where(|_| true) {
            let ask = self.asks.open.get(key).map(|ask| (ask.leg, ask.epoch));
            if !ask.is_some_and(|(leg, epoch)| is_adopting(self, leg, epoch)) {
                self.retract(key, crate::effect::Refusal::CallEnded, false, out);
            }
        }
        for leg in self.legs.keys_where(|row| row.adopting) {
            let Some(row) = self.legs.get(leg) else { continue };
            match &row.upstream {
                Some(upstream) => {
                    let (epoch, upstream) = (row.epoch, upstream.clone());
                    out.push(Effect::AdoptLeg { leg, epoch, upstream });
                }
                // A process, or what else lived with the node.
                None => self.adoption_failed(leg, out),
            }
        }
        for call in self.calls.open.keys_where(|_| true) {
            let Some(row) = self.calls.open.get(call) else { continue };
            match &row.phase {
                Phase::Gateway | Phase::Level { .. } => self.fail_call(call, &abandoned(), out),
                Phase::Leg(journey) => match (journey.leg, journey.dispatched) {
                    // It may have been sent without a word where that does no harm: under another id, then.
                    (leg, None) => self.send_again(call, leg, out),
                    (leg, Some(epoch)) if is_adopting(self, leg, epoch) => {
                        if let Some(row) = self.calls.open.get_mut(call) {
                            row.recovering = true;
                        }
                    }
                    (_, Some(_)) => self.lost_with_node(call, out),
                },
            }
        }
        for leg in self.legs.keys_where(|row| row.state == LegState::Closed) {
            self.plan_retry(leg);
        }
    }

    /// Notes which progress the clients of calls were told: the record has that of events that are dropped, and the other events.
    fn note_progress(&mut self) {
        for call in self.calls.open.keys_where(|call| call.progress_token.is_some()) {
            let Some(row) = self.calls.open.get(call) else { continue };
            let stream = row.post().and_then(|post| self.stream_of_post(post));
            let stream = stream.and_then(|stream| self.streams.all.get(stream));
            let told = row.token().zip(stream).and_then(|(token, stream)| {
                let frames = stream.ring.after(0).filter_map(|data| Frame::parse(data, &Limits::ANSWER).ok());
                frames.filter_map(|frame| progress_of(&frame, token)).reduce(f64::max)
            });
            if let Some(row) = self.calls.open.get_mut(call) {
                row.tell(told);
                row.told_before = row.told;
            }
        }
    }

    /// Reads the answers of calls on that another node has sent, once their leg is taken over; and sends what it had still
    /// to send.
    pub(super) fn resume_calls(&mut self, leg: LegKey, out: &mut Effects) {
        let Some(epoch) = self.legs.get(leg).map(|row| row.epoch) else { return };
        for call in self.calls.dispatched_to(leg, epoch) {
            let Some(row) = self.calls.open.get(call).filter(|row| row.recovering) else { continue };
            let Some(journey) = row.journey() else { continue };
            let (frame, event_id, terms) = (journey.frame.clone(), journey.event_id.clone(), journey.terms.clone());
            out.push(Effect::ResumeCall { call, leg, epoch, frame, event_id, terms });
            if self.asks.pauses(call) {
                out.push(Effect::Pause { call });
            }
        }
        let rows = self.asks.answering.iter();
        for (ask, row) in rows.filter(|(_, row)| (row.leg, row.epoch) == (leg, epoch)) {
            out.push(Effect::SendUpstream { leg, epoch, bytes: row.frame.clone(), ask: Some(ask) });
        }
    }

    /// The upstream session that another node had cannot be taken over.
    pub(super) fn adoption_failed(&mut self, leg: LegKey, out: &mut Effects) {
        let Some(row) = self.legs.get_mut(leg).filter(|row| row.adopting) else { return };
        row.adopting = false;
        row.state = LegState::Closed;
        row.upstream = None;
        row.mark = None;
        let at = (leg, row.epoch);
        row.unsubscribe_all();
        self.subscriptions_changed += 1;
        out.note(Note::LegLost { leg });
        self.forget_answering(at);
        self.retract_asks_from(at, out);
        for call in self.calls.dispatched_to(at.0, at.1) {
            self.lost_with_node(call, out);
        }
        if self.legs.get(leg).is_some_and(|row| row.state == LegState::Closed) {
            if self.calls.queued_on(leg).is_empty() { self.plan_retry(leg) } else { self.open_leg(leg, out) }
        }
    }

    /// Nothing more will be heard of a call that another node has sent.
    pub(super) fn lost_with_node(&mut self, call: CallKey, out: &mut Effects) {
        let Some(row) = self.calls.open.get(call) else { return };
        let (Some(leg), replay) = (row.journey().map(|journey| journey.leg), row.replay) else { return };
        match replay {
            Replay::Safe | Replay::Marked => {
                out.note(Note::Replayed { leg });
                self.happened(Happening::Replayed);
                self.send_again(call, leg, out);
            }
            Replay::Never => {
                out.note(Note::OutcomeUnknown { leg });
                self.happened(Happening::Unknown);
                let server = self.legs.get(leg).and_then(|row| row.server.clone()).unwrap_or_default();
                let method = row_method(self.calls.open.get(call));
                self.retract_asks_of(call, true, out);
                self.fail_call(call, &outcome_unknown(&server, &method), out);
            }
        }
    }

    /// Makes a call another request for its backend, which may know the one before.
    pub(super) fn send_again(&mut self, call: CallKey, leg: LegKey, out: &mut Effects) {
        self.retract_asks_of(call, true, out);
        let Some(mut row) = self.calls.open.remove(call) else { return };
        self.streams.forget_source(Source::Call(call));
        let fresh = self.calls.mint();
        (row.recovering, row.sent_again, row.told_before) = (false, true, row.told);
        if let Some(journey) = row.journey_mut() {
            journey.frame = journey.frame.with_id(&fresh.upstream_id());
            journey.dispatched = None;
            journey.event_id = None;
        }
        self.calls.open.insert(fresh, row);
        self.route_call(fresh, leg, out);
    }
}

fn row_method(call: Option<&Call>) -> String {
    call.and_then(Call::journey).and_then(|journey| journey.frame.method()).unwrap_or("request").to_owned()
}
