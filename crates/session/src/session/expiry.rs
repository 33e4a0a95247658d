//! Time and the end: what runs out when, and how a session is taken down.
//!
//! Deadlines are derived from the state at each question instead of being kept beside it, so that
//! none can be forgotten. `Tick` does everything that is due; after it the next deadline lies in
//! the future.

use quorate_types::Timestamp;

use super::Session;
use crate::calls::Call;
use crate::config::Delivery;
use crate::effect::{Effect, Effects, Note, Refusal, Source};
use crate::event::{EndReason, Fault};
use crate::ids::StreamId;
use crate::legs::{Leg, LegState};
use crate::streams::Stream;
use crate::text::cancelled;

impl Session {
    /// Returns when [`Event::Tick`](crate::Event::Tick) has something to do next. An earlier tick
    /// does no harm, a later one only delays.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        if self.ended.is_some() {
            return None;
        }
        let streams = self.streams.all.iter().filter_map(|(_, stream)| self.stream_deadline(stream));
        let parked = self.streams.all.iter().filter_map(|(_, stream)| Some(stream.parked?.until));
        let asks = self.asks.open.iter().map(|(_, ask)| ask.deadline);
        let legs = self.legs.iter().flat_map(|(_, leg)| leg.retry_at.into_iter().chain(leg.restore_at));
        let kept = self.calls.kept.iter().map(|(_, kept)| kept.until);
        let streams = streams.chain(kept);
        streams.chain(parked).chain(asks).chain(legs).chain(self.lapses_at()).chain(self.idle_at()).min()
    }

    pub(super) fn on_tick(&mut self, out: &mut Effects) {
        self.expire_parked(out);
        self.expire_events(out);
        self.lapse(out);
        let now = self.now;
        self.calls.kept.retain(|_, kept| kept.until > now);
        for key in self.asks.open.keys_where(|ask| ask.deadline <= now) {
            self.retract(key, Refusal::Timeout, true, out);
        }
        for leg in self.legs.keys_where(|leg| leg.retry_at.is_some_and(|at| at <= now)) {
            if self.has_standing_demand(leg) {
                self.open_leg(leg, out);
            } else if let Some(row) = self.legs.get_mut(leg) {
                row.retry_at = None;
            }
        }
        self.restore_due(out);
        if self.idle_at().is_some_and(|at| at <= now) {
            self.end(EndReason::Idle, None, out);
        }
    }

    /// Takes the session down: backends are told, then clients, then everything is closed.
    pub(super) fn end(&mut self, reason: EndReason, fault: Option<&Fault>, out: &mut Effects) {
        let calls = self.calls.open.keys_where(|_| true);
        self.asks.open.retain(|_, _| false);
        self.asks.answering.retain(|_, _| false);
        self.calls.kept.retain(|_, _| false);
        for call in &calls {
            self.cancel_upstream(*call, cancelled(&call.upstream_id(), reason.as_str()), out);
        }
        for call in calls {
            match fault {
                Some(fault) if self.calls.open.get(call).and_then(Call::client_id).is_some() => {
                    self.fail_call(call, fault, out);
                }
                Some(_) | None => self.close_call(call, None, out),
            }
        }
        self.ended = Some(reason.clone());
        self.level = None;
        for (leg, row) in self.legs.iter() {
            if row.is_up() {
                out.push(Effect::CloseLeg { leg, epoch: row.epoch });
            }
        }
        self.legs.retain(|_, row| row.state == LegState::Opening);
        let mut lost = 0;
        self.streams.all.retain(|_, stream| {
            stream.held.clear();
            stream.parked = None;
            let read = stream.reader.is_some();
            lost += if read { 0 } else { stream.ring.undelivered_len() };
            read
        });
        if lost > 0 {
            out.note(Note::Undelivered { messages: lost });
        }
        for id in self.streams.all.keys_where(|_| true) {
            self.close_stream(id, out);
        }
        out.push(Effect::Ended { reason });
    }

    fn expire_events(&mut self, out: &mut Effects) {
        let Some(until) = self.now.as_millis().checked_sub(millis(self.config.retention)) else { return };
        let until = Timestamp::from_millis(until);
        let mut lost = 0;
        for (_, stream) in self.streams.all.iter_mut() {
            lost += stream.ring.expire(until, stream.is_awaited());
        }
        if lost > 0 {
            out.note(Note::Undelivered { messages: lost });
        }
        for id in self.streams.all.keys_where(|stream| is_over(stream, until)) {
            if id != StreamId::STANDALONE {
                self.forget_stream(id, out);
            }
        }
        for id in self.streams.all.keys_where(|stream| !stream.held.is_empty()) {
            self.release_if_room(id, out);
        }
    }

    /// Stops listening on behalf of a client that did not come back.
    fn lapse(&mut self, out: &mut Effects) {
        if self.config.delivery == Delivery::Calls || self.streams.standalone_is_live(self.now, &self.config) {
            return;
        }
        for leg in self.legs.keys_where(|leg| leg.listening && !leg.shares_one_stream()) {
            let Some(row) = self.legs.get_mut(leg) else { continue };
            row.listening = false;
            let epoch = row.epoch;
            self.streams.forget_source(Source::Listen(leg, epoch));
            out.push(Effect::CloseListen { leg, epoch });
        }
    }

    fn lapses_at(&self) -> Option<Timestamp> {
        let listens = |leg: &Leg| leg.listening && !leg.shares_one_stream();
        let listening = self.config.delivery != Delivery::Calls && self.legs.iter().any(|(_, leg)| listens(leg));
        let away = self.streams.standalone().filter(|stream| listening && stream.reader.is_none());
        away.map(|stream| stream.detached_at + self.config.retention)
    }

    fn idle_at(&self) -> Option<Timestamp> {
        let idle = self.calls.open.is_empty() && self.streams.attached() == 0;
        idle.then(|| self.active_at + self.config.idle_timeout)
    }

    fn stream_deadline(&self, stream: &Stream) -> Option<Timestamp> {
        let attached = stream.is_awaited();
        let empty = (stream.closed && !attached && stream.ring.len() == 0).then_some(stream.detached_at);
        stream.ring.oldest_at(attached).or(empty).map(|at| at + self.config.retention)
    }
}

/// Whether a stream is complete and nothing of it can be resumed any more.
fn is_over(stream: &Stream, until: Timestamp) -> bool {
    stream.closed && !stream.is_awaited() && stream.ring.len() == 0 && stream.detached_at <= until
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
