//! Changes of a record, op by op.
//!
//! Total and deterministic: a change that passed the check applies to its end. Rows are replaced whole; only the events of a
//! stream are added one by one and dropped from the front.

use std::collections::VecDeque;

use bytes::Bytes;
use quorate_types::Timestamp;

use super::check::{Malformed, check};
use super::proto::{self, op::Kind};
use super::{CallRow, Common, LegRow, Record, StreamRow, TIMELINE_MAX, Work};
use crate::table::Table;

// === impl Record ===

impl Record {
    /// Makes the record that a first change opens.
    ///
    /// # Errors
    /// [`Malformed`].
    pub(crate) fn open(change: &proto::Change, common: &mut Common) -> Result<Self, Malformed> {
        check(None, change)?;
        let Some(proto::Op { kind: Some(Kind::Open(charter)) }) = change.ops.first() else {
            return Err(Malformed { what: "it opens nothing" });
        };
        let opened = Timestamp::from_millis(charter.opened_ms);
        let mut record = Self {
            time: Timestamp::from_millis(change.time_ms),
            opened,
            charter: common.charter(proto::Charter { opened_ms: 0, ..charter.clone() }),
            ids: 0,
            active: opened,
            streams_minted: 0,
            timeline: Vec::new(),
            legs: Table::new(),
            work: None,
        };
        record.apply_all(&change.ops[1..], common);
        Ok(record)
    }

    /// Applies a change as a whole.
    ///
    /// # Errors
    /// [`Malformed`]; then nothing has changed.
    pub(crate) fn apply(&mut self, change: &proto::Change, common: &mut Common) -> Result<(), Malformed> {
        check(Some(self), change)?;
        self.time = self.time.max(Timestamp::from_millis(change.time_ms));
        self.apply_all(&change.ops, common);
        Ok(())
    }

    /// What is known for a while of the session when it has ended.
    pub(crate) fn ended(&self, session: u128, end: &proto::End) -> proto::Ended {
        let scope = self.charter.scope.as_ref().map(|scope| match scope {
            proto::charter::Scope::Toolset(name) => proto::ended::Scope::Toolset(name.clone()),
            proto::charter::Scope::Server(name) => proto::ended::Scope::Server(name.clone()),
        });
        proto::Ended {
            session: Bytes::copy_from_slice(&session.to_be_bytes()),
            tenant: self.charter.tenant.clone(),
            scope,
            agent: self.charter.owner.as_ref().and_then(|owner| owner.agent.clone()).unwrap_or_default(),
            opened_ms: self.opened.as_millis(),
            at_ms: self.time.as_millis(),
            end: Some(end.clone()),
            timeline: self.timeline.clone(),
        }
    }

    fn apply_all(&mut self, ops: &[proto::Op], common: &mut Common) {
        for kind in ops.iter().filter_map(|op| op.kind.as_ref()) {
            self.apply_one(kind, common);
        }
        if self.work.as_deref().is_some_and(Work::is_empty) {
            self.work = None;
        }
    }

    pub(crate) fn apply_one(&mut self, kind: &Kind, common: &mut Common) {
        match kind {
            Kind::Open(_) | Kind::End(_) => {}
            Kind::Owner(owner) => {
                let owner = Some(owner.clone());
                self.charter = common.charter(proto::Charter { owner, ..(*self.charter).clone() });
            }
            Kind::Client(client) => {
                let client = Some(client.clone());
                self.charter = common.charter(proto::Charter { client, ..(*self.charter).clone() });
            }
            Kind::Ids(ids) => self.ids = self.ids.max(*ids),
            Kind::ActiveMs(at) => self.active = self.active.max(Timestamp::from_millis(*at)),
            Kind::Leg(leg) => {
                let mark = self.legs.remove(leg.leg).and_then(|row| row.mark.filter(|_| row.leg.epoch == leg.epoch));
                self.legs.insert(leg.leg, LegRow::new(leg.clone(), mark, common));
            }
            Kind::ListenMark(mark) => {
                if let Some(row) = self.legs.get_mut(mark.leg) {
                    row.mark = Some(mark.event_id.as_str().into());
                }
            }
            Kind::Moment(moment) => {
                if self.timeline.len() == TIMELINE_MAX {
                    // The first tells when it was opened.
                    self.timeline.remove(1);
                }
                // Most sessions see one or two, and there are many sessions.
                self.timeline.reserve_exact(1);
                self.timeline.push(*moment);
            }
            Kind::Level(_)
            | Kind::Subscription(_)
            | Kind::SubscriptionEnd(_)
            | Kind::Call(_)
            | Kind::CallState(_)
            | Kind::CallEnd(_)
            | Kind::Post(_)
            | Kind::PostEnd(_)
            | Kind::Ask(_)
            | Kind::AskEnd(_)
            | Kind::Answering(_)
            | Kind::AnsweringEnd(_)
            | Kind::Kept(_)
            | Kind::KeptEnd(_)
            | Kind::Stream(_)
            | Kind::StreamEnd(_)
            | Kind::Append(_) => {
                let now = self.time;
                self.work().apply_one(kind, now);
            }
        }
        if let Kind::Stream(stream) = kind {
            self.streams_minted = self.streams_minted.max(stream.stream);
        }
    }

    fn work(&mut self) -> &mut Work {
        self.work.get_or_insert_default()
    }
}

// === impl Work ===

impl Work {
    fn apply_one(&mut self, kind: &Kind, now: Timestamp) {
        match kind {
            Kind::Level(level) => self.level = Some(level.clone()),
            Kind::Subscription(row) => drop(self.subscriptions.insert((row.leg, row.uri.clone()), row.clone())),
            Kind::SubscriptionEnd(end) => drop(self.subscriptions.remove(&(end.leg, end.uri.clone()))),
            Kind::Call(call) => {
                let state = proto::CallState { call: call.call, ..proto::CallState::default() };
                self.calls.insert(call.call, CallRow { call: call.clone(), state });
            }
            Kind::CallState(state) => {
                if let Some(row) = self.calls.get_mut(state.call) {
                    row.state = state.clone();
                }
            }
            Kind::CallEnd(call) => drop(self.calls.remove(*call)),
            Kind::Post(post) => self.posts.insert(post.post, post.clone()),
            Kind::PostEnd(post) => drop(self.posts.remove(*post)),
            Kind::Ask(ask) => self.asks.insert(ask.ask, ask.clone()),
            Kind::AskEnd(ask) => drop(self.asks.remove(*ask)),
            Kind::Answering(answering) => self.answering.insert(answering.ask, answering.clone()),
            Kind::AnsweringEnd(ask) => drop(self.answering.remove(*ask)),
            Kind::Kept(kept) => self.kept.insert(kept.post, kept.clone()),
            Kind::KeptEnd(post) => drop(self.kept.remove(*post)),
            Kind::Stream(stream) => self.put_stream(stream),
            Kind::StreamEnd(stream) => drop(self.streams.remove(*stream)),
            Kind::Append(append) => {
                if let Some(row) = self.streams.get_mut(append.stream) {
                    row.entries.push_back((now, append.data.clone()));
                }
            }
            Kind::Open(_)
            | Kind::Owner(_)
            | Kind::Client(_)
            | Kind::Ids(_)
            | Kind::ActiveMs(_)
            | Kind::Leg(_)
            | Kind::ListenMark(_)
            | Kind::Moment(_)
            | Kind::End(_) => {}
        }
    }

    /// Replaces what is said of a stream, and drops the events that are gone.
    fn put_stream(&mut self, stream: &proto::Stream) {
        let Some(row) = self.streams.get_mut(stream.stream) else {
            let row = StreamRow { stream: stream.clone(), entries: VecDeque::new() };
            return self.streams.insert(stream.stream, row);
        };
        let gone = usize::try_from(stream.oldest.saturating_sub(row.stream.oldest)).unwrap_or(usize::MAX);
        row.entries.drain(..gone.min(row.entries.len()));
        row.stream = stream.clone();
    }
}
