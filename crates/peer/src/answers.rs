//! The answering side of one stream: requests that are open, and answers that wait to be sent.
//!
//! A [`Reply`] goes wherever the answer is made. It holds a place until its answer is written, so that the places bound
//! both; who reads the stream takes a place for each request ([`Answers::place`]), and reads no more while there is none
//! or too many bytes wait: the sender is held back by HTTP/2.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_util::Stream;
use quorate_proto::peer::v1 as proto;
use quorate_proto::peer::v1::answer::Outcome;
use quorate_proto::peer::v1::frame::Kind;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use crate::calls::one;
use crate::config::{Limits, PAYLOAD_BYTES_MAX};
use crate::observe::Counters;
use crate::queue::{Queue, Urgency};
use crate::refusal::Refusal;

/// Longest reason that goes along with a refusal; the rest is cut.
const REASON_BYTES_MAX: usize = 1 << 10;

/// The answering side of one stream.
#[derive(Debug)]
pub(crate) struct Answers {
    state: Mutex<State>,
    places: Arc<Semaphore>,
    /// Told when bytes were taken from a queue that had too many.
    drained: Notify,
    bytes_max: usize,
    counters: Arc<Counters>,
}

#[derive(Debug)]
struct State {
    queue: Queue<Waiting>,
    writer: Option<Waker>,
    hello: Option<proto::Hello>,
    refusal: Option<Refusal>,
    is_closed: bool,
}

#[derive(Debug)]
struct Waiting {
    id: u64,
    outcome: Outcome,
    /// Given back when the answer is written.
    _place: OwnedSemaphorePermit,
}

/// Answers one request, at most once, from anywhere and at any time. Dropped unanswered it says "refused: dropped".
#[must_use = "dropping it refuses the request"]
pub struct Reply {
    answers: Arc<Answers>,
    id: u64,
    urgency: Urgency,
    place: Option<OwnedSemaphorePermit>,
}

/// What is written to the stream.
#[derive(Debug)]
pub(crate) struct Outgoing(Arc<Answers>);

// === impl Answers ===

impl Answers {
    pub(crate) fn new(limits: &Limits, counters: Arc<Counters>) -> Self {
        let queue = Queue::new(limits.queue_bytes);
        let state = State { queue, writer: None, hello: None, refusal: None, is_closed: false };
        Self {
            state: Mutex::new(state),
            places: Arc::new(Semaphore::new(limits.calls)),
            drained: Notify::new(),
            bytes_max: limits.queue_bytes,
            counters,
        }
    }

    /// Makes one that says hello first.
    pub(crate) fn greeting(limits: &Limits, counters: Arc<Counters>, hello: proto::Hello) -> Self {
        let answers = Self::new(limits, counters);
        answers.lock().hello = Some(hello);
        answers
    }

    /// Waits for a place for one more request.
    pub(crate) async fn place(&self) -> OwnedSemaphorePermit {
        while self.lock().queue.bytes() > self.bytes_max {
            self.drained.notified().await;
        }
        Arc::clone(&self.places).acquire_owned().await.expect("the places are never closed")
    }

    /// Makes the reply of a request that has a place.
    pub(crate) fn reply(self: &Arc<Self>, id: u64, urgency: Urgency, place: OwnedSemaphorePermit) -> Reply {
        Reply { answers: Arc::clone(self), id, urgency, place: Some(place) }
    }

    /// Ends the stream after a last frame.
    pub(crate) fn refuse(&self, refusal: Refusal) {
        let mut state = self.lock();
        state.refusal = Some(refusal);
        state.wake();
    }

    /// Ends the stream; later answers go nowhere.
    fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        state.queue.drain().for_each(drop);
        state.wake();
    }

    /// Ends the stream, after its refusal if it has one.
    pub(crate) fn finish(&self) {
        if self.lock().refusal.is_none() {
            self.close();
        }
    }

    fn push(&self, urgency: Urgency, waiting: Waiting) {
        let bytes = match &waiting.outcome {
            Outcome::Payload(payload) => payload.len(),
            Outcome::Refused(reason) => reason.len(),
        };
        let mut state = self.lock();
        if !state.is_closed {
            // Always has a place: what is read is bounded.
            state.queue.push(urgency, bytes, waiting);
            state.wake();
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
}

// === impl Reply ===

impl Reply {
    /// Answers. An answer that is larger than a frame becomes a refusal, which says so.
    pub fn answer(mut self, payload: Bytes) {
        let bytes = payload.len();
        if bytes > PAYLOAD_BYTES_MAX {
            tracing::error!(bytes, max = PAYLOAD_BYTES_MAX, "an answer is too large for a frame");
            self.finish(Outcome::Refused(format!("its answer has {bytes} bytes, more than {PAYLOAD_BYTES_MAX}")));
        } else {
            self.finish(Outcome::Payload(payload));
        }
    }

    /// Says that the request was not taken, and why; the caller may ask again.
    pub fn refuse(mut self, reason: &str) {
        self.finish(Outcome::Refused(reason[..reason.floor_char_boundary(REASON_BYTES_MAX)].to_owned()));
    }

    fn finish(&mut self, outcome: Outcome) {
        if let Some(place) = self.place.take() {
            self.answers.push(self.urgency, Waiting { id: self.id, outcome, _place: place });
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.finish(Outcome::Refused("dropped".to_owned()));
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("id", &self.id).finish_non_exhaustive()
    }
}

// === impl Outgoing ===

impl Outgoing {
    pub(crate) fn new(answers: Arc<Answers>) -> Self {
        Self(answers)
    }
}

impl Stream for Outgoing {
    type Item = Result<proto::Batch, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = self.0.lock();
        if let Some(hello) = state.hello.take() {
            return Poll::Ready(Some(Ok(one(Kind::Hello(hello)))));
        }
        if let Some(refusal) = state.refusal.take() {
            state.is_closed = true;
            return Poll::Ready(Some(Ok(one(Kind::Refused(refusal.to_proto())))));
        }
        if state.is_closed {
            return Poll::Ready(None);
        }
        let mut frames = Vec::new();
        state.queue.pop_batch(|Waiting { id, outcome, _place }| {
            if let Outcome::Payload(payload) = &outcome {
                self.0.counters.sent(payload.len());
            }
            let answer = proto::Answer { id, outcome: Some(outcome) };
            frames.push(proto::Frame { kind: Some(Kind::Answer(answer)) });
        });
        if frames.is_empty() {
            state.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        drop(state);
        self.0.drained.notify_one();
        Poll::Ready(Some(Ok(proto::Batch { frames })))
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, StreamExt as _};

    use super::*;
    use crate::config::DEFAULTS;

    #[test]
    fn nothing_is_read_while_too_many_answers_or_bytes_of_them_wait() {
        let limits = Limits { calls: 4, queue_bytes: 1 << 20, ..DEFAULTS };
        let answers = Arc::new(Answers::new(&limits, Arc::default()));
        let mut outgoing = Outgoing::new(Arc::clone(&answers));
        let answer = |id, bytes: usize| {
            let place = answers.place().now_or_never().expect("there is a place");
            answers.reply(id, Urgency::Consensus, place).answer(vec![0; bytes].into());
        };

        answer(1, 1 << 20);
        assert!(answers.place().now_or_never().is_none(), "bytes wait");
        assert!(outgoing.next().now_or_never().is_some());
        (2..6).for_each(|id| answer(id, 0));
        assert!(answers.place().now_or_never().is_none(), "answers wait");
        assert!(outgoing.next().now_or_never().is_some());
        assert!(answers.place().now_or_never().is_some());
    }

    #[test]
    fn a_refusal_is_the_last_frame_also_when_the_stream_was_finished() {
        let answers = Arc::new(Answers::new(&DEFAULTS, Arc::default()));
        let mut outgoing = Outgoing::new(Arc::clone(&answers));
        answers.refuse(Refusal::Unnamed);
        answers.finish();

        let last = outgoing.next().now_or_never().flatten().expect("there is a frame").unwrap();
        assert!(matches!(last.frames[0].kind, Some(Kind::Refused(_))));
        assert!(matches!(outgoing.next().now_or_never(), Some(None)));
    }
}
