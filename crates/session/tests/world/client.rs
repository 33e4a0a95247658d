//! The client and the network before it.
//!
//! The client keeps, for each stream, the last event id that it saw; what it receives must go on
//! from there without gap, and what it receives twice must be the same.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use quorate_jsonrpc::{Frame, Id, Kind, Limits, Span};
use quorate_session::record::proto;
use quorate_session::{
    Answer, CallKey, Emission, Event, EventId, LegKey, Purpose, Rejection, Replay, Request, RequestKey, StreamId,
    Target,
};

use super::{World, frame, pick};

pub(crate) struct Post {
    pub(crate) state: PostState,
    /// What is sent again when its session has another owner; none where it cannot be.
    pub(crate) request: Option<Request>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PostState {
    Waiting,
    Stream(StreamId),
    Answered,
    Broken,
    /// As [`Self::Broken`], and its stream began afterwards: whoever carries that out finds that nobody reads.
    BegunForNobody(StreamId),
}

pub(crate) struct Call {
    pub(crate) id: u64,
    pub(crate) post: CallKey,
    pub(crate) gateway: bool,
    pub(crate) cancelled: bool,
    /// It may be answered or not: its cancellation may have been lost with a node.
    pub(crate) excused: bool,
    pub(crate) answers: u32,
}

/// What the client has of one stream.
#[derive(Default)]
pub(crate) struct Reading {
    /// The last event id it saw, if any.
    pub(crate) last: Option<u64>,
    pub(crate) events: BTreeMap<u64, Bytes>,
    /// It learned that events are gone, or it never saw an id to come back with.
    pub(crate) lost: bool,
    /// It was told that nothing follows.
    pub(crate) finished: bool,
}

/// A connection that reads a stream.
pub(crate) struct Connection {
    pub(crate) queue: VecDeque<Emission>,
    /// The last sequence that the network wrote.
    pub(crate) written: u64,
    /// Anything was written to its reader.
    pub(crate) begun: bool,
    /// The last event that its reader was given or said that it has.
    pub(crate) has: Option<u64>,
    /// The next sequence that may be emitted; unknown until the first one.
    pub(crate) next: Option<u64>,
    /// The client reads it.
    pub(crate) alive: bool,
    /// Nothing follows what is queued.
    pub(crate) closing: bool,
}

/// A request that was posted and is not opened yet.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    pub(crate) id: u64,
    pub(crate) gateway: bool,
    /// Whether it is the first of its POST.
    pub(crate) is_first: bool,
    /// What is sent again when its session has another owner; none where it cannot be.
    pub(crate) request: Option<Request>,
}

/// What counts once it is committed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Then {
    Responded(u64),
    Parked(StreamId, u64),
    Unparked(StreamId),
}

// === impl Post ===

impl Post {
    pub(crate) fn is_settled(&self) -> bool {
        matches!(self.state, PostState::Answered | PostState::Broken | PostState::BegunForNobody(_))
    }
}

// === impl World ===

impl World {
    pub(crate) fn request(&mut self, leg: u8, count: u8, token: bool) -> Result<(), TestCaseError> {
        let requests: Vec<(u64, Request)> = (0..count)
            .map(|_| {
                let (id, mut request) = self.plain(Target::Leg(LegKey(u16::from(leg) % 2)), Purpose::Plain);
                // Tokens are the ids, as with the TypeScript SDK.
                request.progress_token = token.then(|| Bytes::from(id.to_string()));
                (id, request)
            })
            .collect();
        self.post(requests, count > 1)
    }

    pub(crate) fn gateway_request(&mut self) -> Result<(), TestCaseError> {
        let request = self.plain(Target::Gateway, Purpose::Plain);
        self.post(vec![request], false)
    }

    pub(crate) fn set_level(&mut self, severity: u8) -> Result<(), TestCaseError> {
        let request = self.plain(Target::Gateway, Purpose::SetLevel { severity, result: "{}" });
        self.post(vec![request], false)
    }

    pub(crate) fn subscribe(&mut self, leg: u8, uri: u8, on: bool) -> Result<(), TestCaseError> {
        let uri = uri.to_string().into();
        let purpose = if on { Purpose::Subscribe { uri } } else { Purpose::Unsubscribe { uri } };
        let request = self.plain(Target::Leg(LegKey(u16::from(leg) % 2)), purpose);
        self.post(vec![request], false)
    }

    pub(crate) fn gateway_answer(&mut self, which: u8) -> Result<(), TestCaseError> {
        // Mostly its own calls, now and then another one's (a deadline).
        let any = which.is_multiple_of(5);
        let open = self.calls.iter().filter(|(_, call)| call.gateway || any).map(|(key, _)| *key);
        let Some(call) = pick(open, which) else { return Ok(()) };
        self.upstream_abandoned_by_gateway(call);
        self.accepted(Event::GatewayAnswer { call, answer: Answer::Result(Bytes::from_static(b"0")) })
    }

    pub(crate) fn gateway_notify(&mut self) -> Result<(), TestCaseError> {
        let number = self.next();
        self.accepted(Event::GatewayNotify { frame: frame(format!(r#"{{"jsonrpc":"2.0","method":"p{number}"}}"#)) })
    }

    pub(crate) fn cancel(&mut self, which: u8) -> Result<(), TestCaseError> {
        let Some(call) = pick(self.calls.keys().copied(), which) else { return Ok(()) };
        let id = self.calls[&call].id;
        let head = r#"{"jsonrpc":"2.0","method":"cancelled","params":{"requestId":"#;
        let span = Span::new(head.len(), head.len() + id.to_string().len());
        let frame = frame(format!("{head}{id}}}}}"));
        // Whether it is still open is what the session says by closing it without an answer.
        let before = self.session.observe().calls;
        self.accepted(Event::Cancel { frame, request_id: Id::from(id), span })?;
        if self.session.observe().calls < before {
            let call = self.calls.get_mut(&call).expect("picked from it");
            prop_assert_eq!(call.answers, 0, "an answered call was cancelled");
            call.cancelled = true;
        }
        Ok(())
    }

    pub(crate) fn prime(&mut self, which: u8) -> Result<(), TestCaseError> {
        let Some(call) = pick(self.posts.keys().copied(), which) else { return Ok(()) };
        self.accepted(Event::Prime { call })
    }

    pub(crate) fn poll(&mut self, which: u8) -> Result<(), TestCaseError> {
        let Some(call) = pick(self.calls.keys().copied(), which) else { return Ok(()) };
        self.accepted(Event::Poll { call, retry: Some(std::time::Duration::from_millis(5)) })
    }

    pub(crate) fn break_post(&mut self, which: u8) -> Result<(), TestCaseError> {
        let waiting = self.posts.iter().filter(|(_, post)| post.state == PostState::Waiting).map(|(key, _)| *key);
        let Some(call) = pick(waiting, which) else { return Ok(()) };
        if self.is_single() {
            return Ok(());
        }
        self.posts.get_mut(&call).expect("picked from it").state = PostState::Broken;
        self.accepted(Event::PostBroken { call })
    }

    pub(crate) fn get(&mut self) -> Result<(), TestCaseError> {
        match self.offer(Event::Attach { last_event_id: None })? {
            None => {
                self.readings.entry(StreamId::STANDALONE).or_default();
                Ok(())
            }
            Some(Rejection::StreamUnknown { .. }) if self.is_single() || self.is_of_calls() => Ok(()),
            Some(Rejection::Ended) if self.is_over() => Ok(()),
            Some(rejection) => Err(TestCaseError::fail(format!("a GET was refused: {rejection}"))),
        }
    }

    pub(crate) fn resume(&mut self, which: u8) -> Result<(), TestCaseError> {
        match pick(self.readings.keys().copied(), which) {
            Some(stream) => self.resume_stream(stream),
            None => Ok(()),
        }
    }

    pub(crate) fn resume_stream(&mut self, stream: StreamId) -> Result<(), TestCaseError> {
        let reading = self.readings.entry(stream).or_default();
        let Some(sequence) = reading.last else {
            let read = self.connections.iter().any(|((id, _), connection)| *id == stream && connection.alive);
            // Without an id there is no way back, but for the standalone stream a plain GET.
            reading.lost |= !read && stream != StreamId::STANDALONE;
            return Ok(());
        };
        if self.is_single() || self.is_of_calls() {
            return Ok(());
        }
        let last_event_id = Some(EventId { stream, sequence });
        self.attaching.insert(stream, sequence);
        let refused = self.offer(Event::Attach { last_event_id })?;
        if refused.is_some() {
            self.attaching.remove(&stream);
        }
        let reading = self.readings.entry(stream).or_default();
        match refused {
            None => prop_assert!(!reading.finished, "a finished stream was resumed"),
            Some(Rejection::StreamFinished { .. }) => reading.finished = true,
            Some(Rejection::BeyondRetention { requested, oldest, .. }) => {
                prop_assert!(requested < oldest);
                reading.lost = true;
            }
            Some(Rejection::StreamUnknown { .. }) => reading.lost = true,
            Some(Rejection::Ended) if self.is_over() => {}
            Some(rejection) => return Err(TestCaseError::fail(format!("a resumption was refused: {rejection}"))),
        }
        Ok(())
    }

    pub(crate) fn respond(&mut self, which: u8) -> Result<(), TestCaseError> {
        let Some(id) = pick(self.asked.iter().copied(), which) else { return Ok(()) };
        // Otherwise it answers again later: a second answer must go nowhere.
        self.then = (!which.is_multiple_of(4)).then_some(Then::Responded(id));
        self.accepted(Event::ClientResponse { frame: frame(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":0}}"#)) })
    }

    pub(crate) fn lose(&mut self, which: u8) {
        if let Some(key) = pick(self.connections.keys().copied(), which) {
            self.connections.get_mut(&key).expect("picked from it").alive = false;
            // There is no way back to an HTTP+SSE session, nor to a call that is not parked.
            let is_lost = self.is_single() || self.is_of_calls();
            self.readings.entry(key.0).or_default().lost |= is_lost;
        }
    }

    pub(crate) fn write(&mut self, which: u8, events: u8, report: bool) -> Result<(), TestCaseError> {
        let Some(key) = pick(self.connections.keys().copied(), which) else { return Ok(()) };
        for _ in 0..events {
            self.write_one(key)?;
        }
        let connection = &self.connections[&key];
        // A report is due at the latest when everything is written.
        if report || connection.queue.is_empty() {
            let (stream, attachment) = (key.0, quorate_session::Attachment(key.1));
            self.accepted(Event::Delivered { stream, attachment, up_to: connection.written })?;
        }
        Ok(())
    }

    /// The end of a connection is noticed: one that is closing when it has written everything,
    /// another one when its client is gone.
    pub(crate) fn notice(&mut self, which: u8) -> Result<(), TestCaseError> {
        if let Some((stream, attachment)) = self.ghosts.pop() {
            let (attachment, up_to) = (quorate_session::Attachment(attachment), u64::from(which));
            self.accepted(Event::Delivered { stream, attachment, up_to })?;
            return self.accepted(Event::Detach { stream, attachment, delivered: up_to });
        }
        let over = |connection: &Connection| !connection.alive || (connection.closing && connection.queue.is_empty());
        let over: Vec<_> =
            self.connections.iter().filter(|(_, connection)| over(connection)).map(|(key, _)| *key).collect();
        match pick(over.into_iter(), which) {
            Some(key) => self.detach(key),
            None => Ok(()),
        }
    }

    pub(crate) fn detach(&mut self, key: (StreamId, u64)) -> Result<(), TestCaseError> {
        let Some(connection) = self.connections.remove(&key) else { return Ok(()) };
        if self.is_journaled() {
            self.detached.insert(key);
        }
        let (stream, attachment) = (key.0, quorate_session::Attachment(key.1));
        if self.is_of_calls() {
            self.readings.entry(stream).or_default().finished |= connection.alive;
        }
        self.accepted(Event::Detach { stream, attachment, delivered: connection.written })
    }

    pub(crate) fn park(&mut self, which: u8) -> Result<(), TestCaseError> {
        let live = self.connections.iter().filter(|(_, connection)| connection.alive && !connection.closing);
        let Some((stream, _)) = pick(live.map(|(key, _)| *key), which) else { return Ok(()) };
        if !self.is_of_calls() {
            return Ok(());
        }
        let sequence = self.readings.entry(stream).or_default().last.unwrap_or(0);
        let token = self.next();
        self.then = Some(Then::Parked(stream, token));
        match self.offer(Event::Park { stream, sequence, token })? {
            None => {}
            // It is about to be parked.
            Some(Rejection::StreamUnknown { .. }) if !self.is_written() => {}
            // It asked for what was dropped already, or there are too many.
            Some(Rejection::EventUnknown { .. } | Rejection::LimitReached { .. }) => {}
            Some(Rejection::Ended) if self.is_over() => {}
            Some(rejection) => return Err(TestCaseError::fail(format!("a parking was refused: {rejection}"))),
        }
        Ok(())
    }

    pub(crate) fn unpark(&mut self, which: u8) -> Result<(), TestCaseError> {
        match pick(self.parked.keys().copied(), which) {
            Some(stream) => self.unpark_stream(stream),
            None => Ok(()),
        }
    }

    fn unpark_stream(&mut self, stream: StreamId) -> Result<(), TestCaseError> {
        let Some(token) = self.parked.get(&stream).copied() else { return Ok(()) };
        self.then = Some(Then::Unparked(stream));
        match self.offer(Event::Resume { stream, token, responses: Vec::new() })? {
            None => Ok(()),
            // It came too late.
            Some(Rejection::NotParked { .. }) => {
                self.parked.remove(&stream);
                self.readings.entry(stream).or_default().lost = true;
                Ok(())
            }
            Some(Rejection::Ended) if self.is_over() => Ok(()),
            Some(rejection) => Err(TestCaseError::fail(format!("a return was refused: {rejection}"))),
        }
    }

    /// No backend works for a stateless client that is gone: whoever reads a call's stream, or waits for what becomes
    /// of it, is all that keeps the call.
    pub(crate) fn verify_owners(&self) -> Result<(), TestCaseError> {
        if !self.is_of_calls() {
            return Ok(());
        }
        // What is not committed is not known to anybody.
        if !self.is_written() {
            return Ok(());
        }
        for (key, upstream) in self.upstream.iter().filter(|(_, upstream)| upstream.open) {
            let Some(call) = self.calls.get(key) else { continue };
            let is_owned = match self.posts[&call.post].state {
                PostState::Waiting => true,
                // Its connection is about to find out.
                PostState::BegunForNobody(stream) => self.connections.keys().any(|(read, _)| *read == stream),
                PostState::Stream(stream) => {
                    let is_read = self.connections.keys().any(|(read, _)| *read == stream);
                    is_read || self.parked.contains_key(&stream)
                }
                PostState::Broken | PostState::Answered => false,
            };
            prop_assert!(is_owned, "call {} of {:?} is nobody's and goes on", key, upstream.leg);
        }
        Ok(())
    }

    pub(crate) fn drain_connections(&mut self) -> Result<(), TestCaseError> {
        for key in self.connections.keys().copied().collect::<Vec<_>>() {
            while self.connections.get(&key).is_some_and(|connection| !connection.queue.is_empty()) {
                self.write_one(key)?;
                let Some(connection) = self.connections.get(&key) else { break };
                let (stream, attachment) = (key.0, quorate_session::Attachment(key.1));
                self.accepted(Event::Delivered { stream, attachment, up_to: connection.written })?;
            }
            if self.connections.get(&key).is_some_and(|connection| !connection.alive || connection.closing) {
                self.detach(key)?;
            }
        }
        Ok(())
    }

    pub(crate) fn resume_everything(&mut self) -> Result<(), TestCaseError> {
        for stream in self.parked.keys().copied().collect::<Vec<_>>() {
            self.unpark_stream(stream)?;
        }
        for stream in self.readings.keys().copied().collect::<Vec<_>>() {
            let read = self.connections.keys().any(|(id, _)| *id == stream);
            let reading = &self.readings[&stream];
            if !read && !reading.lost && !reading.finished && stream != StreamId::STANDALONE {
                self.resume_stream(stream)?;
            }
        }
        Ok(())
    }

    pub(crate) fn nothing_to_read(&self) -> bool {
        let queued = self.connections.values().any(|connection| !connection.queue.is_empty() || connection.closing);
        let unread = self
            .readings
            .iter()
            .any(|(stream, reading)| *stream != StreamId::STANDALONE && !reading.lost && !reading.finished);
        !queued && !unread
    }

    /// Every call has exactly one answer, unless it was cancelled or the client could not come
    /// back for it and knows that.
    pub(crate) fn verify_answers(&self) -> Result<(), TestCaseError> {
        for (key, call) in &self.calls {
            let excused = self.ended
                || match self.posts[&call.post].state {
                    PostState::Broken | PostState::BegunForNobody(_) => true,
                    PostState::Stream(stream) => self.readings.get(&stream).is_none_or(|reading| reading.lost),
                    PostState::Waiting | PostState::Answered => false,
                };
            let expected = u32::from(!call.cancelled);
            let excused = excused || call.excused;
            prop_assert!(
                call.answers == expected || (excused && call.answers <= expected),
                "call {} got {}",
                key,
                call.answers
            );
        }
        Ok(())
    }

    pub(crate) fn stream_of(&self, post: CallKey) -> Option<StreamId> {
        match self.posts[&post].state {
            PostState::Stream(stream) => Some(stream),
            PostState::Waiting | PostState::Answered | PostState::Broken | PostState::BegunForNobody(_) => None,
        }
    }

    /// The client reads one frame, on a stream or as JSON.
    pub(crate) fn receive(&mut self, data: &Bytes, at: Option<(StreamId, u64)>) -> Result<(), TestCaseError> {
        let parsed = Frame::parse(data.clone(), &Limits::ANSWER);
        let frame = parsed.map_err(|error| TestCaseError::fail(format!("the client got {data:?}: {error:?}")))?;
        match frame.kind() {
            Kind::Result | Kind::Error => {
                let id = frame.id().and_then(Id::as_u64);
                let call = self.calls.values_mut().find(|call| Some(call.id) == id);
                let call = call.ok_or_else(|| TestCaseError::fail(format!("an answer to nothing: {data:?}")))?;
                call.answers += 1;
                prop_assert!(!call.cancelled || call.excused, "a cancelled call was answered");
                prop_assert_eq!(call.answers, 1, "call {} was answered again", call.id);
                let post = call.post;
                if let Some((stream, _)) = at {
                    prop_assert_eq!(
                        self.posts[&post].state,
                        PostState::Stream(stream),
                        "an answer on a foreign stream"
                    );
                }
            }
            Kind::Request => {
                let id = frame.id().and_then(Id::as_u64);
                self.asked.insert(id.ok_or_else(|| TestCaseError::fail("an ask without a minted id".to_owned()))?);
            }
            Kind::Notification => {
                let number = frame.method().and_then(|method| method.strip_prefix('p')).and_then(|n| n.parse().ok());
                if let (Some(number), Some(at)) = (number, at) {
                    let first = *self.seen.entry(number).or_insert(at);
                    prop_assert_eq!(first, at, "payload {} was sent twice", number);
                }
            }
        }
        Ok(())
    }

    fn write_one(&mut self, key: (StreamId, u64)) -> Result<(), TestCaseError> {
        let connection = self.connections.get_mut(&key).expect("the caller has it");
        let Some(event) = connection.queue.pop_front() else { return Ok(()) };
        connection.written = event.sequence;
        connection.has = Some(event.sequence);
        let begins = !std::mem::replace(&mut connection.begun, true);
        if !connection.alive {
            return Ok(());
        }
        let single = self.is_single();
        let primes = self.config.priming && !single;
        prop_assert!(!begins || !primes || event.data.is_empty(), "it begins without a place to go on from");
        let reading = self.readings.entry(key.0).or_default();
        if event.data.is_empty() {
            prop_assert!(self.config.priming, "an older client got an empty event");
            reading.last = Some(event.sequence);
            return Ok(());
        }
        prop_assert_eq!(event.id.is_none(), single);
        let known = reading.events.insert(event.sequence, event.data.clone());
        if let Some(known) = known {
            prop_assert_eq!(known, event.data, "event {} changed", event.sequence);
            reading.last = Some(event.sequence);
            return Ok(());
        }
        // What was written to a dead connection may be missing after a plain GET, never else.
        let gap = event.sequence - reading.last.unwrap_or(0);
        prop_assert!(
            gap == 1 || (key.0 == StreamId::STANDALONE && !single),
            "{} follows {:?}",
            event.sequence,
            reading.last
        );
        reading.last = Some(event.sequence);
        self.receive(&event.data, Some((key.0, event.sequence)))
    }

    fn plain(&mut self, target: Target, purpose: Purpose) -> (u64, Request) {
        let id = self.next();
        let replay = match id % 3 {
            _ if purpose != Purpose::Plain => Replay::Safe,
            0 => Replay::Never,
            1 => Replay::Marked,
            _ => Replay::Safe,
        };
        let frame = frame(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"m","params":{{"n":{id}}}}}"#));
        let key = self.is_journaled().then(|| RequestKey(u128::from(id).to_be_bytes()));
        let terms = proto::Terms { upstream: id.to_string(), ..proto::Terms::default() };
        let terms = key.map(|_| Arc::new(terms));
        (id, Request { frame, target, progress_token: None, purpose, replay, key, terms })
    }

    fn post(&mut self, requests: Vec<(u64, Request)>, batch: bool) -> Result<(), TestCaseError> {
        self.replays.extend(requests.iter().map(|(id, request)| (*id, request.replay)));
        let again = match &requests[..] {
            [(_, only)] => only.key.is_some().then(|| only.clone()),
            _ => None,
        };
        let gateway =
            requests.iter().all(|(_, request)| request.target == Target::Gateway && request.purpose == Purpose::Plain);
        let opening = requests.iter().enumerate().map(|(place, (id, _))| Opening {
            id: *id,
            gateway,
            is_first: place == 0,
            request: again.clone(),
        });
        let count = requests.len();
        self.opening.extend(opening);
        let mut requests: Vec<Request> = requests.into_iter().map(|(_, request)| request).collect();
        let event = match requests.pop() {
            Some(only) if !batch => Event::ClientRequest(only),
            Some(last) => {
                requests.push(last);
                Event::ClientBatch(requests)
            }
            None => return Ok(()),
        };
        let refused = self.offer(event)?;
        match refused {
            None => prop_assert!(self.opening.is_empty() || !self.is_written(), "a request was not opened"),
            Some(Rejection::LimitReached { .. }) => self.opening.truncate(self.opening.len() - count),
            Some(Rejection::Ended) => self.opening.truncate(self.opening.len() - count),
            Some(rejection) => return Err(TestCaseError::fail(format!("a request was refused: {rejection}"))),
        }
        Ok(())
    }
}
