//! What the world expects of each effect: every arm is a rule of the contract with the shell.

use std::collections::VecDeque;

use bytes::Bytes;
use proptest::prelude::*;
use quorate_jsonrpc::{Frame, Id, Kind, Limits};
use quorate_session::record::proto;
use quorate_session::{Attachment, CallKey, Effect, Emission, LegEpoch, LegKey, Source, StreamId};

use super::World;
use super::backend::{Leg, State, UpstreamCall};
use super::client::{Call, Connection, Opening, Post, PostState};

impl World {
    pub(crate) fn take(&mut self, effect: Effect) -> Result<(), TestCaseError> {
        match effect {
            Effect::Opened { call } => self.opened(call)?,
            Effect::AnswerJson { call, body } => self.answered(call, &body)?,
            Effect::AnswerNothing { call } => drop(self.settle(call, PostState::Answered)?),
            Effect::BeginStream { call, stream, attachment } => {
                let is_read = self.settle(call, PostState::Stream(stream))?;
                self.attaching.insert(stream, 0);
                self.readings.entry(stream).or_default();
                self.connected(stream, attachment)?;
                if !is_read {
                    self.begun_for_nobody(call, stream, attachment);
                }
            }
            Effect::Attached { stream, attachment } => self.connected(stream, attachment)?,
            Effect::Emit { stream, attachment, event } => self.emitted(stream, attachment, event)?,
            Effect::CloseStream { stream, attachment } => {
                if self.detached.contains(&(stream, attachment.0)) {
                    return Ok(());
                }
                let connection = self.connections.get_mut(&(stream, attachment.0));
                let connection = connection.ok_or_else(|| fail("no connection to close"))?;
                prop_assert!(!connection.closing, "closed twice");
                connection.closing = true;
            }
            Effect::Disconnect { stream, attachment } => {
                let key = (stream, attachment.0);
                if self.detached.contains(&key) {
                    return Ok(());
                }
                prop_assert!(self.connections.remove(&key).is_some(), "nothing to disconnect");
                self.ghosts.push(key);
            }
            Effect::OpenLeg { .. }
            | Effect::CloseLeg { .. }
            | Effect::AdoptLeg { .. }
            | Effect::ResumeCall { .. }
            | Effect::OpenListen { .. }
            | Effect::CloseListen { .. }
            | Effect::Dispatch { .. }
            | Effect::SendUpstream { .. } => self.take_of_leg(effect)?,
            Effect::Abandon { call } if self.is_journaled() && !self.upstream.contains_key(&call) => {}
            Effect::Abandon { call } => {
                let upstream =
                    self.upstream.get_mut(&call).ok_or_else(|| fail("abandoned before it was dispatched"))?;
                upstream.open = false;
                self.held.remove(&Source::Call(call));
            }
            Effect::Pause { call } if self.is_journaled() && !self.upstream.contains_key(&call) => {}
            Effect::Pause { call } => {
                prop_assert!(self.upstream.contains_key(&call), "call {} waits before it was dispatched", call);
                let is_new = self.paused.insert(call);
                prop_assert!(is_new || self.takeovers > 0, "call {} was paused twice", call);
            }
            Effect::Proceed { call } => {
                prop_assert!(self.paused.remove(&call) || self.is_journaled(), "call {} was not paused", call);
            }
            Effect::Hold { source } => {
                let was_held = self.held.insert(source, false).is_some() && !self.is_journaled();
                prop_assert!(!was_held, "{:?} was held twice", source);
            }
            Effect::Release { source } => {
                // One that has ended meanwhile is held no more.
                let was_held = self.held.remove(&source).is_some() || self.is_journaled();
                prop_assert!(was_held, "{:?} was not held", source);
            }
            Effect::LegReopened { leg, .. } => prop_assert!(self.legs[&leg].epoch > LegEpoch(1) || self.takeovers > 0),
            Effect::Note(_) => {}
            Effect::Ended { .. } => self.ended = true,
        }
        Ok(())
    }

    /// What goes to backends.
    fn take_of_leg(&mut self, effect: Effect) -> Result<(), TestCaseError> {
        match effect {
            Effect::OpenLeg { leg, epoch } => self.leg_wanted(leg, epoch)?,
            // What waited for the quorum finds that the leg is gone meanwhile.
            Effect::CloseLeg { leg, epoch }
            | Effect::OpenListen { leg, epoch, .. }
            | Effect::SendUpstream { leg, epoch, .. }
                if self.is_journaled() && !self.is_up(leg, epoch) => {}
            Effect::Dispatch { call, leg, epoch, .. } if self.is_journaled() && !self.is_up(leg, epoch) => {
                self.undispatched.push((call, epoch));
            }
            Effect::CloseLeg { leg, epoch } => {
                self.up(leg, epoch)?;
                self.close_leg_model(leg);
            }
            Effect::AdoptLeg { leg, epoch, .. } => self.adoption_wanted(leg, epoch)?,
            Effect::ResumeCall { call, leg, epoch, event_id, frame, terms } => {
                let terms = terms.ok_or_else(|| TestCaseError::fail(format!("{call:?} is held to nothing")))?;
                Self::is_held(&frame, &terms)?;
                if self.is_up(leg, epoch) {
                    self.resuming.push_back((call, event_id));
                } else {
                    self.undispatched.push((call, epoch));
                }
            }
            Effect::OpenListen { leg, epoch, .. } => {
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
            Effect::Dispatch { call, leg, epoch, frame, terms } => {
                // The session's own requests are held to nothing.
                terms.as_deref().map_or(Ok(()), |terms| Self::is_held(&frame, terms))?;
                self.dispatched(call, leg, epoch, &frame)?;
            }
            Effect::SendUpstream { leg, epoch, bytes, ask } => {
                self.sent_upstream(leg, epoch, bytes)?;
                self.sent.extend(ask);
            }
            other => prop_assert!(false, "{:?} is of no leg", other),
        }
        Ok(())
    }

    fn opened(&mut self, call: CallKey) -> Result<(), TestCaseError> {
        let opening = self.opening.pop_front().ok_or_else(|| fail("a call that nobody made"))?;
        let Opening { id, gateway, is_first, request } = opening;
        if is_first {
            self.first = Some(call);
        }
        let post = self.first.ok_or_else(|| fail("a call of no POST"))?;
        if post == call {
            let state = if self.is_single() { PostState::Stream(StreamId::STANDALONE) } else { PostState::Waiting };
            self.posts.insert(call, Post { state, request });
        }
        let known = self.calls.iter().find(|(_, known)| known.id == id).map(|(key, _)| *key);
        let again = known.and_then(|key| self.calls.remove(&key));
        let (excused, answers) = again.map_or((false, 0), |call| (call.excused, call.answers));
        self.calls.insert(call, Call { id, post, gateway, cancelled: false, excused, answers });
        Ok(())
    }

    fn answered(&mut self, call: CallKey, body: &Bytes) -> Result<(), TestCaseError> {
        if !self.settle(call, PostState::Answered)? {
            return Ok(());
        }
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

    /// A POST is answered once, and only while it waits; tells whether anybody reads it. Nobody does who has gone while
    /// the answer waited for the quorum, or whose node was lost.
    fn settle(&mut self, call: CallKey, state: PostState) -> Result<bool, TestCaseError> {
        let is_journaled = self.is_journaled();
        let post = self.posts.get_mut(&call).ok_or_else(|| fail("an answer to no POST"))?;
        if post.state != PostState::Waiting && is_journaled {
            return Ok(false);
        }
        prop_assert_eq!(post.state, PostState::Waiting, "POST {} was answered again", call);
        post.state = state;
        Ok(true)
    }

    /// A stream began whose client is gone, as its connection is the first to find out.
    fn begun_for_nobody(&mut self, call: CallKey, stream: StreamId, attachment: Attachment) {
        if let Some(connection) = self.connections.get_mut(&(stream, attachment.0)) {
            connection.alive = false;
        }
        if let Some(post) = self.posts.get_mut(&call).filter(|post| post.state == PostState::Broken) {
            post.state = PostState::BegunForNobody(stream);
        }
    }

    /// What comes with a request is what it is held to.
    fn is_held(frame: &Frame, terms: &proto::Terms) -> Result<(), TestCaseError> {
        let text = String::from_utf8_lossy(frame.bytes());
        prop_assert!(text.contains(&format!(r#""n":{}}}"#, terms.upstream)), "{} is held to {:?}", text, terms);
        Ok(())
    }

    fn connected(&mut self, stream: StreamId, attachment: Attachment) -> Result<(), TestCaseError> {
        prop_assert!(self.connections.keys().all(|(id, _)| *id != stream), "two connections read stream {}", stream);
        let has = self.attaching.remove(&stream);
        let connection = match self.rejoining.remove(&stream) {
            // The client's connection is the same as before.
            Some(before) => {
                Connection { queue: VecDeque::new(), next: before.has.map(|has| has + 1), closing: false, ..before }
            }
            None => Connection {
                queue: VecDeque::new(),
                written: 0,
                begun: false,
                has,
                next: None,
                alive: true,
                closing: false,
            },
        };
        self.connections.insert((stream, attachment.0), connection);
        Ok(())
    }

    fn emitted(&mut self, stream: StreamId, attachment: Attachment, event: Emission) -> Result<(), TestCaseError> {
        if self.detached.contains(&(stream, attachment.0)) {
            return Ok(()); // It went while this waited for the quorum.
        }
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
        self.legs.insert(key, Leg { state: State::Opening, epoch, listening: false, adopting: false });
        Ok(())
    }

    fn is_up(&self, key: LegKey, epoch: LegEpoch) -> bool {
        self.legs.get(&key).is_some_and(|leg| (leg.state, leg.epoch) == (State::Up, epoch))
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
        let is_cancelled = |call: &Call| call.cancelled && !self.is_journaled();
        prop_assert!(self.calls.get(&call).is_none_or(|call| call.answers == 0 && !is_cancelled(call)));
        let dispatches = earlier.map_or(0, |call| call.dispatches) + 1;
        self.runs(frame)?;
        self.upstream.insert(
            call,
            UpstreamCall {
                leg,
                epoch,
                open: true,
                dispatches,
                never_executed: false,
                said: Vec::new(),
                n: number_of(frame),
            },
        );
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
            // What was taken and is not known to have arrived is sent again by the next owner.
            prop_assert!(*answers <= 1 + self.takeovers, "ask {} was answered again", id);
        }
        Ok(())
    }
}

/// The number of the client's request that a frame is; none of what the machine sends by itself.
pub(crate) fn number_of(frame: &Frame) -> Option<u64> {
    let (_, after) = frame.text().split_once(r#""params":{"n":"#)?;
    after.split_once('}')?.0.parse().ok()
}

fn fail(reason: &str) -> TestCaseError {
    TestCaseError::fail(reason.to_owned())
}
