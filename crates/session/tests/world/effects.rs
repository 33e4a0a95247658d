//! What the world expects of each effect: every arm is a rule of the contract with the shell.

use std::collections::VecDeque;

use bytes::Bytes;
use proptest::prelude::*;
use quorate_jsonrpc::{Frame, Id, Kind, Limits};
use quorate_session::{Attachment, CallKey, Effect, Emission, LegEpoch, LegKey, Source, StreamId};

use super::World;
use super::backend::{Leg, State, UpstreamCall};
use super::client::{Call, Connection, Post, PostState};

impl World {
    pub(crate) fn take(&mut self, effect: Effect) -> Result<(), TestCaseError> {
        match effect {
            Effect::Opened { call } => self.opened(call)?,
            Effect::AnswerJson { call, body } => self.answered(call, &body)?,
            Effect::AnswerNothing { call } => {
                self.settle(call, PostState::Answered)?;
            }
            Effect::BeginStream { call, stream, attachment } => {
                self.settle(call, PostState::Stream(stream))?;
                self.readings.entry(stream).or_default();
                self.connected(stream, attachment)?;
            }
            Effect::Attached { stream, attachment } => self.connected(stream, attachment)?,
            Effect::Emit { stream, attachment, event } => self.emitted(stream, attachment, event)?,
            Effect::CloseStream { stream, attachment } => {
                let connection = self.connections.get_mut(&(stream, attachment.0));
                let connection = connection.ok_or_else(|| fail("no connection to close"))?;
                prop_assert!(!connection.closing, "closed twice");
                connection.closing = true;
            }
            Effect::Disconnect { stream, attachment } => {
                let key = (stream, attachment.0);
                prop_assert!(self.connections.remove(&key).is_some(), "nothing to disconnect");
                self.ghosts.push(key);
            }
            Effect::OpenLeg { leg, epoch } => self.leg_wanted(leg, epoch)?,
            Effect::CloseLeg { leg, epoch } => {
                self.up(leg, epoch)?;
                self.close_leg_model(leg);
            }
            Effect::OpenListen { leg, epoch } => {
                self.up(leg, epoch)?;
                let leg = self.legs.get_mut(&leg).expect("it is up");
                prop_assert!(!std::mem::replace(&mut leg.listening, true), "listened to twice");
            }
            Effect::CloseListen { leg, epoch } => {
                if let Some(leg) = self.legs.get_mut(&leg).filter(|leg| leg.epoch == epoch) {
                    leg.listening = false;
                }
                self.held.remove(&Source::Listen(leg, epoch));
            }
            Effect::Dispatch { call, leg, epoch, frame } => self.dispatched(call, leg, epoch, &frame)?,
            Effect::SendUpstream { leg, epoch, bytes } => self.sent_upstream(leg, epoch, bytes)?,
            Effect::Abandon { call } => {
                let upstream =
                    self.upstream.get_mut(&call).ok_or_else(|| fail("abandoned before it was dispatched"))?;
                upstream.open = false;
                self.held.remove(&Source::Call(call));
            }
            Effect::Pause { call } => {
                prop_assert!(self.upstream.contains_key(&call), "call {} waits before it was dispatched", call);
                prop_assert!(self.paused.insert(call), "call {} was paused twice", call);
            }
            Effect::Proceed { call } => prop_assert!(self.paused.remove(&call), "call {} was not paused", call),
            Effect::Hold { source } => {
                prop_assert!(self.held.insert(source, false).is_none(), "{:?} was held twice", source);
            }
            Effect::Release { source } => {
                prop_assert!(self.held.remove(&source).is_some(), "{:?} was not held", source);
            }
            Effect::LegReopened { leg } => prop_assert!(self.legs[&leg].epoch > LegEpoch(1)),
            Effect::Note(_) => {}
            Effect::Ended { .. } => self.ended = true,
        }
        Ok(())
    }

    fn opened(&mut self, call: CallKey) -> Result<(), TestCaseError> {
        let (id, gateway) = self.opening.pop_front().ok_or_else(|| fail("a call that nobody made"))?;
        let post = *self.first.get_or_insert(call);
        if post == call {
            let state = if self.is_single() { PostState::Stream(StreamId::STANDALONE) } else { PostState::Waiting };
            self.posts.insert(call, Post { state });
        }
        self.calls.insert(call, Call { id, post, gateway, cancelled: false, answers: 0 });
        Ok(())
    }

    fn answered(&mut self, call: CallKey, body: &Bytes) -> Result<(), TestCaseError> {
        self.settle(call, PostState::Answered)?;
        if quorate_jsonrpc::is_batch(body) {
            let frames = Frame::parse_batch(body, &Limits::ANSWER).map_err(|error| fail(&format!("{error:?}")))?;
            for frame in frames {
                let frame = frame.map_err(|error| fail(&format!("{error:?}")))?;
                self.receive(frame.bytes(), None)?;
            }
            return Ok(());
        }
        self.receive(body, None)
    }

    /// A POST is answered once, and only while it waits.
    fn settle(&mut self, call: CallKey, state: PostState) -> Result<(), TestCaseError> {
        let post = self.posts.get_mut(&call).ok_or_else(|| fail("an answer to no POST"))?;
        prop_assert_eq!(post.state, PostState::Waiting, "POST {} was answered again", call);
        post.state = state;
        Ok(())
    }

    fn connected(&mut self, stream: StreamId, attachment: Attachment) -> Result<(), TestCaseError> {
        prop_assert!(self.connections.keys().all(|(id, _)| *id != stream), "two connections read stream {}", stream);
        let connection = Connection { queue: VecDeque::new(), written: 0, next: None, alive: true, closing: false };
        self.connections.insert((stream, attachment.0), connection);
        Ok(())
    }

    fn emitted(&mut self, stream: StreamId, attachment: Attachment, event: Emission) -> Result<(), TestCaseError> {
        let connection = self.connections.get_mut(&(stream, attachment.0)).ok_or_else(|| fail("no such connection"))?;
        prop_assert!(!connection.closing, "an event after the last");
        prop_assert!(event.id.is_none_or(|id| (id.stream, id.sequence) == (stream, event.sequence)));
        let expected = connection.next.unwrap_or(event.sequence);
        let next = if event.data.is_empty() { event.sequence + 1 } else { expected + 1 };
        if event.data.is_empty() {
            prop_assert!(connection.next.is_none_or(|next| next == event.sequence + 1), "a place out of order");
        } else {
            prop_assert_eq!(event.sequence, expected, "a gap in stream {}", stream);
        }
        connection.next = Some(next);
        connection.queue.push_back(event);
        prop_assert!(connection.queue.len() <= self.config.window_events_max + 2, "the window was exceeded");
        Ok(())
    }

    fn leg_wanted(&mut self, key: LegKey, epoch: LegEpoch) -> Result<(), TestCaseError> {
        let earlier = self.legs.get(&key);
        prop_assert!(
            earlier.is_none_or(|leg| leg.state == State::Closed && leg.epoch < epoch),
            "leg {} opened twice",
            key
        );
        self.legs.insert(key, Leg { state: State::Opening, epoch, listening: false });
        Ok(())
    }

    /// Only a session that is there can be spoken to.
    fn up(&self, key: LegKey, epoch: LegEpoch) -> Result<(), TestCaseError> {
        let leg = self.legs.get(&key).ok_or_else(|| fail("a leg that never was"))?;
        prop_assert_eq!((leg.state, leg.epoch), (State::Up, epoch), "leg {} is not there", key);
        Ok(())
    }

    fn dispatched(&mut self, call: CallKey, leg: LegKey, epoch: LegEpoch, frame: &Frame) -> Result<(), TestCaseError> {
        self.up(leg, epoch)?;
        prop_assert_eq!(frame.id(), Some(&Id::from(call.0)));
        let earlier = self.upstream.get(&call);
        prop_assert!(
            earlier.is_none_or(|call| !call.open && call.never_executed && call.dispatches == 1 && call.epoch < epoch),
            "call {} was dispatched again although it may have run",
            call
        );
        prop_assert!(self.calls.get(&call).is_none_or(|call| call.answers == 0 && !call.cancelled));
        let dispatches = earlier.map_or(0, |call| call.dispatches) + 1;
        self.upstream.insert(call, UpstreamCall { leg, epoch, open: true, dispatches, never_executed: false });
        Ok(())
    }

    fn sent_upstream(&mut self, leg: LegKey, epoch: LegEpoch, bytes: Bytes) -> Result<(), TestCaseError> {
        self.up(leg, epoch)?;
        let frame = Frame::parse(bytes, &Limits::ANSWER).map_err(|error| fail(&format!("{error:?}")))?;
        if matches!(frame.kind(), Kind::Result | Kind::Error) {
            let id = frame.id().and_then(Id::as_u64).ok_or_else(|| fail("an answer without its id"))?;
            let answers =
                self.asks.get_mut(&(leg, epoch, id)).ok_or_else(|| fail("an answer to no ask of this leg"))?;
            *answers += 1;
            prop_assert_eq!(*answers, 1, "ask {} was answered again", id);
        }
        Ok(())
    }
}

fn fail(reason: &str) -> TestCaseError {
    TestCaseError::fail(reason.to_owned())
}
