//! The calling side of one stream: requests that wait, answers that are awaited, and what else goes along.
//!
//! Calls push from any thread; the stream takes batches when its socket has room. A call whose caller has gone before it
//! was sent is not sent. When the stream ends, what was sent is [`CallError::Lost`] and the rest
//! [`CallError::NotConnected`]: a caller knows whether its request can have arrived.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_util::Stream;
use quorate_proto::peer::v1 as proto;
use quorate_proto::peer::v1::frame::Kind;
use tokio::sync::oneshot;

use crate::config::Limits;
use crate::error::CallError;
use crate::observe::Counters;
use crate::queue::{Queue, Urgency};
use crate::refusal::Refusal;
use crate::spread::Board;
use crate::{Lane, NodeId};

/// Bulk may have one of so many awaited answers.
const BULK_SHARE: usize = 8;
/// Bytes of the board that go along with one batch.
const BOARD_BYTES: usize = 16 << 10;

type Outcome = Result<Bytes, CallError>;

/// The calling side of one stream.
#[derive(Debug)]
pub(crate) struct Calls {
    state: Mutex<State>,
    calls_max: usize,
    counters: Arc<Counters>,
}

#[derive(Debug)]
struct State {
    queue: Queue<Waiting>,
    pending: HashMap<u64, Pending>,
    pending_bulk: usize,
    last_id: u64,
    /// Whoever writes the stream, when nothing was to be written.
    writer: Option<Waker>,
    /// Sent first.
    hello: Option<proto::Hello>,
    /// Sent last.
    refusal: Option<Refusal>,
    is_closed: bool,
    /// The last change of the board that was sent, when there are later ones.
    board_due: bool,
    board_sent: u64,
}

#[derive(Debug)]
struct Waiting {
    lane: Lane,
    payload: Bytes,
    urgency: Urgency,
    reply: oneshot::Sender<Outcome>,
}

#[derive(Debug)]
struct Pending {
    urgency: Urgency,
    reply: oneshot::Sender<Outcome>,
}

/// What is written to the stream; ends it when it is dropped.
#[derive(Debug)]
pub(crate) struct Outgoing {
    calls: Arc<Calls>,
    board: Board,
    reader: NodeId,
}

// === impl Calls ===

impl Calls {
    pub(crate) fn new(limits: &Limits, hello: proto::Hello, counters: Arc<Counters>) -> Self {
        let state = State {
            queue: Queue::new(limits.queue_bytes),
            pending: HashMap::new(),
            pending_bulk: 0,
            last_id: 0,
            writer: None,
            hello: Some(hello),
            refusal: None,
            is_closed: false,
            board_due: false,
            board_sent: 0,
        };
        Self { state: Mutex::new(state), calls_max: limits.calls, counters }
    }

    /// Puts a request where it waits, or says why not; the receiver gets its outcome.
    pub(crate) fn push(
        &self,
        lane: Lane,
        payload: Bytes,
        urgency: Urgency,
    ) -> Result<oneshot::Receiver<Outcome>, CallError> {
        let bytes = payload.len();
        let mut state = self.lock();
        if state.is_closed {
            return Err(CallError::NotConnected);
        }
        let (open, max) = match urgency {
            Urgency::Consensus => (state.queue.len() + state.pending.len(), self.calls_max),
            Urgency::Bulk => (state.queue.bulk_len() + state.pending_bulk, self.calls_max / BULK_SHARE),
        };
        if open >= max || state.queue.len() + state.pending.len() >= self.calls_max {
            return Err(CallError::TooManyCalls { max });
        }
        if !state.queue.has_place(urgency, bytes) {
            return Err(CallError::QueueFull { waiting: state.queue.bytes(), bytes });
        }
        let (reply, outcome) = oneshot::channel();
        state.queue.push(urgency, bytes, Waiting { lane, payload, urgency, reply });
        state.wake();
        Ok(outcome)
    }

    /// Gives an answer to its call. Tells whether there was such a call.
    pub(crate) fn answer(&self, answer: proto::Answer) -> bool {
        use proto::answer::Outcome as Said;
        let Some(pending) = self.lock().take(answer.id) else { return false };
        let outcome = match answer.outcome {
            Some(Said::Payload(payload)) => Ok(payload),
            Some(Said::Refused(reason)) => Err(CallError::Refused { reason }),
            None => Err(CallError::Refused { reason: "an answer without content".to_owned() }),
        };
        // A caller that has gone does not mind.
        let _ = pending.reply.send(outcome);
        true
    }

    /// Ends the stream after a last frame.
    pub(crate) fn refuse(&self, refusal: Refusal) {
        let mut state = self.lock();
        state.refusal = Some(refusal);
        state.wake();
    }

    /// Says the whole board from its beginning.
    pub(crate) fn spread_all(&self) {
        let mut state = self.lock();
        state.board_sent = 0;
        state.board_due = true;
        state.wake();
    }

    /// Says what changed of the board.
    pub(crate) fn spread_changes(&self) {
        let mut state = self.lock();
        state.board_due = true;
        state.wake();
    }

    /// Returns the bytes that wait, and how many answers are awaited or will be.
    pub(crate) fn observe(&self) -> (usize, usize) {
        let state = self.lock();
        (state.queue.bytes(), state.queue.len() + state.pending.len())
    }

    /// Ends all calls.
    pub(crate) fn close(&self) {
        let (waiting, pending): (Vec<_>, Vec<_>) = {
            let mut state = self.lock();
            state.is_closed = true;
            state.pending_bulk = 0;
            state.wake();
            (state.queue.drain().collect(), state.pending.drain().collect())
        };
        for waiting in waiting {
            let _ = waiting.reply.send(Err(CallError::NotConnected));
        }
        for (_, pending) in pending {
            let _ = pending.reply.send(Err(CallError::Lost));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No panic happens under this lock; a poisoned one would still hold consistent state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    fn wake(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }

    fn take(&mut self, id: u64) -> Option<Pending> {
        let pending = self.pending.remove(&id)?;
        self.pending_bulk -= usize::from(pending.urgency == Urgency::Bulk);
        Some(pending)
    }

    /// Returns requests that were waiting, of callers that still wait.
    fn pop_requests(&mut self, counters: &Counters) -> Vec<proto::Frame> {
        let mut frames = Vec::new();
        while frames.is_empty() && !self.queue.is_empty() {
            let Self { queue, pending, pending_bulk, last_id, .. } = self;
            queue.pop_batch(|Waiting { lane, payload, urgency, reply }| {
                if reply.is_closed() {
                    return;
                }
                *last_id += 1;
                let is_bulk = urgency == Urgency::Bulk;
                *pending_bulk += usize::from(is_bulk);
                pending.insert(*last_id, Pending { urgency, reply });
                counters.sent(payload.len());
                let (protocol, lane) = (lane.protocol.0, lane.number);
                let request = proto::Request { id: *last_id, protocol, lane, payload, bulk: is_bulk };
                frames.push(proto::Frame { kind: Some(Kind::Request(request)) });
            });
        }
        frames
    }
}

// === impl Outgoing ===

impl Outgoing {
    pub(crate) fn new(calls: Arc<Calls>, board: Board, reader: NodeId) -> Self {
        Self { calls, board, reader }
    }
}

impl Stream for Outgoing {
    type Item = proto::Batch;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<proto::Batch>> {
        let mut state = self.calls.lock();
        if let Some(hello) = state.hello.take() {
            return Poll::Ready(Some(one(Kind::Hello(hello))));
        }
        if let Some(refusal) = state.refusal.take() {
            state.is_closed = true;
            return Poll::Ready(Some(one(Kind::Refused(refusal.to_proto()))));
        }
        if state.is_closed {
            return Poll::Ready(None);
        }
        let mut frames = state.pop_requests(&self.calls.counters);
        if state.board_due {
            let part = self.board.part(state.board_sent, self.reader, BOARD_BYTES);
            state.board_sent = part.upto;
            state.board_due = part.more;
            if !part.notices.is_empty() {
                frames.push(proto::Frame { kind: Some(Kind::Board(proto::Board { notices: part.notices })) });
            }
        }
        if frames.is_empty() {
            state.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Some(proto::Batch { frames }))
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.calls.close();
    }
}

/// A batch of one frame.
pub(crate) fn one(kind: Kind) -> proto::Batch {
    proto::Batch { frames: vec![proto::Frame { kind: Some(kind) }] }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, StreamExt as _};
    use quorate_types::Incarnation;

    use super::*;
    use crate::Protocol;
    use crate::config::DEFAULTS;

    const LANE: Lane = Lane { protocol: Protocol::RAFT, number: 1 };

    /// Makes one whose hello was sent.
    fn calls() -> (Arc<Calls>, Outgoing) {
        let calls = Arc::new(Calls::new(&DEFAULTS, proto::Hello::default(), Arc::default()));
        let board = Board::new(NodeId(1), Incarnation(1));
        let mut outgoing = Outgoing::new(Arc::clone(&calls), board, NodeId(2));
        assert!(outgoing.next().now_or_never().is_some());
        (calls, outgoing)
    }

    fn push(calls: &Calls) -> oneshot::Receiver<Outcome> {
        calls.push(LANE, Bytes::new(), Urgency::Consensus).unwrap()
    }

    /// Returns the ids of the next batch.
    fn sent(outgoing: &mut Outgoing) -> Vec<u64> {
        let batch = outgoing.next().now_or_never().flatten().unwrap_or_default();
        let id = |frame: proto::Frame| if let Some(Kind::Request(request)) = frame.kind { request.id } else { 0 };
        batch.frames.into_iter().map(id).collect()
    }

    #[test]
    fn a_call_whose_caller_has_gone_is_not_sent() {
        let (calls, mut outgoing) = calls();
        drop(push(&calls));
        assert_eq!(sent(&mut outgoing), [0_u64; 0]);
        let (_kept, gone) = (push(&calls), push(&calls));
        drop(gone);
        let _last = push(&calls);
        assert_eq!(sent(&mut outgoing), [1, 2]);
    }

    #[test]
    fn what_was_sent_is_lost_and_the_rest_never_left() {
        let (calls, mut outgoing) = calls();
        let was_sent = push(&calls);
        assert_eq!(sent(&mut outgoing), [1]);
        let waits = push(&calls);
        drop(outgoing);

        assert_eq!(was_sent.now_or_never(), Some(Ok(Err(CallError::Lost))));
        assert_eq!(waits.now_or_never(), Some(Ok(Err(CallError::NotConnected))));
        let late = calls.push(LANE, Bytes::new(), Urgency::Consensus);
        assert_eq!(late.unwrap_err(), CallError::NotConnected);
        assert_eq!(calls.observe(), (0, 0));
    }

    #[test]
    fn an_answer_belongs_to_one_call() {
        let (calls, mut outgoing) = calls();
        let call = push(&calls);
        assert_eq!(sent(&mut outgoing), [1]);
        let answer = proto::Answer { id: 1, outcome: Some(proto::answer::Outcome::Refused("later".to_owned())) };

        assert!(calls.answer(answer.clone()));
        assert!(!calls.answer(answer));
        assert_eq!(call.now_or_never(), Some(Ok(Err(CallError::Refused { reason: "later".to_owned() }))));
    }
}
