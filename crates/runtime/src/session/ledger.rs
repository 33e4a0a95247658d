//! What waits for the quorum: effects of steps that promise something, and whoever asked for them.
//!
//! ```text
//! step ─▶ ops ─▶ one change at a time ─▶ shard's writer ─▶ quorum ─▶ Written
//!    └──▶ effects, in order ─────────── wait ──────────────────────▶ carried out
//! ```
//!
//! Effects are carried out in the order of their steps: what follows a promise waits with it, whether or not it promises
//! anything itself. What promises nothing and follows nothing is carried out at once, and what it changes of the record is
//! written with the next promise, or a little later. A session of which a change is not in the record is given up here.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use quorate_session::record::proto;
use quorate_session::{CallKey, Effect, Effects, Rejection, StreamId};
use quorate_types::NodeId;
use ractor::ActorRef;
use tokio::sync::oneshot;

use super::actor::State;
use super::connection::Connection;
use super::inherit::Claim;
use super::message::Message;
use super::orphans::{Left, What, frames_at};
use crate::clock;
use crate::shards::{NotWritten, Owned, Write};

/// How long what nobody waits for may be unwritten.
const LAZY: Duration = Duration::from_millis(250);
/// The pause before a change is offered again to a shard whose queue is full.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// The way of one session to its record.
pub(super) struct Ledger {
    owned: Owned,
    session: u128,
    /// How many changes the record has.
    version: u64,
    /// What is not written yet.
    ops: Vec<proto::Op>,
    waiting: VecDeque<Waiting>,
    /// Changes that were sent, and that are in the record.
    sent: u64,
    written: u64,
    /// What is being written, in case it has to be offered again.
    offered: Vec<proto::Op>,
    is_flush_due: bool,
    /// Who owned the session before, as far as its record says.
    before: Option<NodeId>,
    /// Frames of calls that may not be in the record yet, each with the change that has it.
    unwritten: VecDeque<(u64, CallKey, Left)>,
}

/// Effects that wait.
struct Waiting {
    /// The change that has to be written first.
    needs: u64,
    effects: Vec<Effect>,
    then: Then,
}

/// Who asked for a step, and hears when it was carried out.
pub(super) enum Then {
    /// Nobody.
    Nothing,
    /// A reader, which gets its connection.
    Attached(oneshot::Sender<Result<Connection, Rejection>>),
    /// Whoever has parked a call.
    Done(oneshot::Sender<Result<(), Rejection>>),
    /// Whoever resumes a parked call, which is abandoned if it is gone.
    Resumed(oneshot::Sender<Result<Connection, Rejection>>, StreamId, CallKey),
}

// === impl Ledger ===

impl Ledger {
    pub(super) fn new(owned: Owned, session: u128, version: u64, before: Option<NodeId>) -> Self {
        Self {
            owned,
            session,
            version,
            ops: Vec::new(),
            waiting: VecDeque::new(),
            sent: 0,
            written: 0,
            offered: Vec::new(),
            is_flush_due: false,
            before,
            unwritten: VecDeque::new(),
        }
    }

    /// Where the answer of a call is read on that another node has sent, after so many frames.
    pub(super) fn claim(&self, after: u64) -> Claim {
        Claim { owned: self.owned.clone(), before: self.before, session: self.session, after }
    }

    /// Whether nothing of the session is written down, nor about to be.
    pub(super) fn is_empty(&self) -> bool {
        self.version == 0 && self.is_clear()
    }

    /// Gives up: returns what may not be in the record of each call, and which calls were not sent.
    pub(super) fn left(self) -> (Owned, u128, HashMap<CallKey, VecDeque<Left>>) {
        let mut left: HashMap<CallKey, VecDeque<Left>> = HashMap::new();
        for (_, call, frame) in self.unwritten {
            left.entry(call).or_default().push_back(frame);
        }
        for effect in self.waiting.iter().flat_map(|waiting| &waiting.effects) {
            if let Effect::Dispatch { call, .. } = effect {
                left.entry(*call).or_default().push_back(Left::other(0, What::Unsent));
            }
        }
        (self.owned, self.session, left)
    }

    /// Whether the stream of a call that begins now begins anew with what waits behind it.
    pub(super) fn begins_again(&self, call: CallKey) -> bool {
        begins_again(&self.waiting, call)
    }

    /// Whether everything is written and carried out.
    pub(super) fn is_clear(&self) -> bool {
        self.ops.is_empty() && self.waiting.is_empty() && self.sent == self.written
    }

    fn write(&mut self, myself: &ActorRef<Message>) {
        let ops = std::mem::take(&mut self.ops);
        // An end closes the record; what follows opens another one.
        let end = ops.iter().position(|op| matches!(op.kind, Some(proto::op::Kind::End(_))));
        let (ops, rest) = match end {
            Some(end) => {
                let mut ops = ops;
                let rest = ops.split_off(end + 1);
                (ops, rest)
            }
            None => (ops, Vec::new()),
        };
        self.ops = rest;
        self.sent += 1;
        self.offered.clone_from(&ops);
        self.offer(myself, ops);
    }

    fn offer(&self, myself: &ActorRef<Message>, ops: Vec<proto::Op>) {
        let myself = myself.clone();
        self.owned.writer.write(Write {
            session: self.session,
            version: self.version,
            epoch: self.owned.epoch,
            change: proto::Change { time_ms: clock::now().as_millis(), ops },
            // An ended session needs no word.
            done: Box::new(move |result| drop(myself.cast(Message::Written { result }))),
        });
    }
}

// === impl State ===

impl State {
    /// Carries out what a step decided: now, or when what it promises is committed.
    pub(super) fn settle(&mut self, myself: &ActorRef<Message>, mut effects: Effects, then: Then) {
        let (ops, waits) = (effects.take_ops(), effects.waits());
        let Some(ledger) = &mut self.ledger else { return self.fulfil(myself, effects.into_iter().collect(), then) };
        // Where its stream can be resumed from is what saves a call when the node is lost: nobody waits for it, and it is
        // written at once.
        let hurries = ops.iter().any(|op| matches!(op.kind, Some(proto::op::Kind::CallState(_))));
        ledger.ops.extend(ops);
        if waits || !ledger.waiting.is_empty() {
            let needs = ledger.sent + u64::from(!ledger.ops.is_empty());
            ledger.waiting.push_back(Waiting { needs, effects: effects.into_iter().collect(), then });
            self.write_on(myself);
            return;
        }
        let is_unwritten = !ledger.ops.is_empty();
        if hurries {
            self.write_on(myself);
        } else if is_unwritten && !std::mem::replace(&mut ledger.is_flush_due, true) {
            myself.send_after(LAZY, || Message::Flush);
        }
        self.fulfil(myself, effects.into_iter().collect(), then);
    }

    /// Remembers a frame of a call until it is in the record.
    pub(super) fn remember(&mut self, call: CallKey, left: Left) {
        let Some(ledger) = &mut self.ledger else { return };
        let needs = ledger.sent + u64::from(!ledger.ops.is_empty());
        if needs > ledger.written {
            ledger.unwritten.push_back((needs, call, left));
        }
    }

    /// Writes what nobody waits for.
    pub(super) fn flush(&mut self, myself: &ActorRef<Message>) {
        if let Some(ledger) = &mut self.ledger {
            ledger.is_flush_due = false;
        }
        self.write_on(myself);
    }

    /// A change is in the record, or not.
    pub(super) fn written(&mut self, myself: &ActorRef<Message>, result: Result<(), NotWritten>) {
        let Some(ledger) = &mut self.ledger else { return };
        match result {
            Ok(()) => {
                ledger.written += 1;
                let written = ledger.written;
                while ledger.unwritten.pop_front_if(|(needs, ..)| *needs <= written).is_some() {}
                // What is opened after an end begins anew.
                let ended = ledger.offered.last().is_some_and(|op| matches!(op.kind, Some(proto::op::Kind::End(_))));
                ledger.version = if ended { 0 } else { ledger.version + 1 };
                for op in std::mem::take(&mut ledger.offered) {
                    if let Some(heir) = resumable(&op).and_then(|call| self.pumps.get(&call)?.heir.as_ref()) {
                        heir.recorded();
                    }
                }
            }
            Err(NotWritten::Busy) => {
                myself.send_after(BUSY_PAUSE, || Message::OfferAgain);
                return;
            }
            Err(error) => {
                tracing::debug!(session = %self.shared.key, %error, "a session is given up here");
                return self.give_away(myself);
            }
        }
        while let Some(next) = self.ledger.as_mut().and_then(Ledger::next_due) {
            self.fulfil(myself, next.effects, next.then);
        }
        self.write_on(myself);
    }

    /// Offers a change again that the shard had no room for.
    pub(super) fn offer_again(&mut self, myself: &ActorRef<Message>) {
        if let Some(ledger) = &self.ledger {
            ledger.offer(myself, ledger.offered.clone());
        }
    }

    fn write_on(&mut self, myself: &ActorRef<Message>) {
        let Some(ledger) = &mut self.ledger else { return };
        if ledger.sent == ledger.written && !ledger.ops.is_empty() {
            ledger.write(myself);
        }
    }

    fn fulfil(&mut self, myself: &ActorRef<Message>, effects: Vec<Effect>, then: Then) {
        let attached = self.carry_out(myself, effects);
        match then {
            Then::Nothing => {}
            Then::Attached(reply) => {
                if let Some(connection) = attached {
                    // A dropped connection reports its own end.
                    let _gone = reply.send(Ok(connection));
                }
            }
            // Whoever asked may have gone: its client will not come back either.
            Then::Done(reply) => drop(reply.send(Ok(()))),
            Then::Resumed(reply, stream, call) => {
                let resumed = attached.ok_or(Rejection::NotParked { stream });
                if let Err(Ok(_connection)) = reply.send(resumed) {
                    // Its client left meanwhile, and nobody else knows the call.
                    self.report(myself, quorate_session::Event::Abandon { call });
                }
            }
        }
    }
}

fn begins_again(waiting: &VecDeque<Waiting>, of: CallKey) -> bool {
    let begins = |effect: &Effect| matches!(effect, Effect::BeginStream { call, .. } if *call == of);
    waiting.iter().flat_map(|waiting| &waiting.effects).any(begins)
}

/// The call whose stream can be read on at its server, once this is in the record.
fn resumable(op: &proto::Op) -> Option<CallKey> {
    let Some(proto::op::Kind::CallState(state)) = &op.kind else { return None };
    let is_of_server = state.event_id.is_some() && frames_at(state.event_id.as_deref()).is_none();
    is_of_server.then_some(CallKey(state.call))
}

impl Ledger {
    fn next_due(&mut self) -> Option<Waiting> {
        let written = self.written;
        self.waiting.pop_front_if(|waiting| waiting.needs <= written)
    }
}

#[cfg(test)]
mod tests {
    use quorate_session::Attachment;

    use super::*;

    #[test]
    fn a_request_that_is_asked_again_while_its_stream_waits_gets_the_later_connection() {
        let begin = |call, attachment| Waiting {
            needs: 2,
            effects: vec![
                Effect::Opened { call: CallKey(call) },
                Effect::BeginStream { call: CallKey(call), stream: StreamId(3), attachment: Attachment(attachment) },
            ],
            then: Then::Nothing,
        };
        let mut waiting = VecDeque::from([begin(1, 4), begin(1, 5), begin(2, 6)]);
        // Each is carried out when it is taken from the front.
        let answered: Vec<_> = std::iter::from_fn(|| {
            let effects = waiting.pop_front()?.effects;
            let [_, Effect::BeginStream { call, attachment, .. }] = effects[..] else { return None };
            Some((attachment, !begins_again(&waiting, call)))
        })
        .collect();
        assert_eq!(answered, [(Attachment(4), false), (Attachment(5), true), (Attachment(6), true)]);
    }
}
