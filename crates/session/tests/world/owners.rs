//! The nodes that own the session one after another, and the quorum that keeps its record.
//!
//! What a step promises is carried out when it is committed; what was not committed is lost with its owner, and so is what
//! was carried out only within it: connections of clients to that node, exchanges with backends. A client's own node that
//! lives goes on where its client is; a client whose node is lost comes back with what it has.

use std::collections::VecDeque;
use std::sync::Arc;

use proptest::prelude::*;
use quorate_jsonrpc::Frame;
use quorate_session::record::proto;
use quorate_session::shard::{self, Shard};
use quorate_session::{Delivery, Effect, Effects, Event, Failure, LegEpoch, LegKey, Rejection, Session, StreamId};
use quorate_types::PrincipalDigest;

use super::World;
use super::backend::{Leg, State, fault};
use super::client::{Connection, Opening, PostState, Then};
use super::effects::number_of;

/// The key of the session.
const KEY: u128 = 7;

/// What is written down, and what waits for it.
pub(crate) struct Journal {
    shard: Shard,
    ops: Vec<proto::Op>,
    /// What is carried out when `ops` are committed.
    waiting: VecDeque<(Vec<Effect>, Option<Then>)>,
}

// === impl Journal ===

impl Journal {
    pub(crate) fn new() -> Self {
        Self { shard: Shard::new(), ops: Vec::new(), waiting: VecDeque::new() }
    }
}

// === impl World ===

impl World {
    pub(crate) fn is_journaled(&self) -> bool {
        self.journal.is_some()
    }

    /// Whether the session has ended, also where that is not committed.
    pub(crate) fn is_over(&self) -> bool {
        self.ended || self.session.observe().ended
    }

    /// Whether nothing waits for the quorum.
    pub(crate) fn is_written(&self) -> bool {
        self.journal.as_ref().is_none_or(|journal| journal.waiting.is_empty())
    }

    /// A session that nobody has opened yet.
    pub(crate) fn journaled(&self) -> Session {
        let charter = proto::Charter {
            principal: PrincipalDigest([1; 16]).0.to_vec().into(),
            scope: Some(proto::charter::Scope::Toolset("tools".to_owned())),
            owner: Some(proto::Owner::default()),
            opened_ms: self.now.as_millis(),
            ..proto::Charter::default()
        };
        named(Session::journaled(self.config, Arc::new(charter), 1, self.now))
    }

    /// Takes the effects of a step: at once, or when it is committed.
    pub(crate) fn write_down(&mut self, mut effects: Effects) -> Result<(), TestCaseError> {
        let then = self.then.take();
        let (ops, waits) = (effects.take_ops(), effects.waits());
        let Some(journal) = &mut self.journal else {
            prop_assert!(ops.is_empty() && !waits, "a session that nobody keeps writes");
            return self.carry_out(effects.into_iter().collect(), then);
        };
        journal.ops.extend(ops);
        if waits || !journal.waiting.is_empty() {
            journal.waiting.push_back((effects.into_iter().collect(), then));
            return Ok(());
        }
        self.carry_out(effects.into_iter().collect(), then)
    }

    /// Commits everything.
    pub(crate) fn commit(&mut self) -> Result<(), TestCaseError> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        for ops in std::mem::take(&mut journal.ops).chunk_by(|one, _| !is_end(one)) {
            let version = journal.shard.get(KEY).map_or(0, |(version, _)| version);
            let change = proto::Change { time_ms: self.now.as_millis(), ops: ops.to_vec() };
            for part in shard::parts(KEY, version, &change) {
                let applied = journal.shard.apply(&shard::command(&[part]));
                prop_assert_eq!(shard::outcome(&applied.outcome, 1), vec![Ok(())], "{:?}", change);
            }
        }
        while let Some((effects, then)) = self.journal.as_mut().and_then(|journal| journal.waiting.pop_front()) {
            self.carry_out(effects, then)?;
        }
        self.verify_record()
    }

    fn carry_out(&mut self, effects: Vec<Effect>, then: Option<Then>) -> Result<(), TestCaseError> {
        for effect in effects {
            self.take(effect)?;
        }
        match then {
            Some(Then::Responded(id)) => drop(self.asked.remove(&id)),
            Some(Then::Parked(stream, token)) => drop(self.parked.insert(stream, token)),
            Some(Then::Unparked(stream)) => drop(self.parked.remove(&stream)),
            None => {}
        }
        for (call, epoch) in std::mem::take(&mut self.undispatched) {
            let failure = Failure { fault: fault("gone"), never_executed: true, leg_lost: true };
            self.accepted(Event::UpstreamFailed { call, epoch, failure })?;
        }
        self.resume_calls()?;
        for ask in std::mem::take(&mut self.sent) {
            self.accepted(Event::AnswerSent { ask })?;
        }
        Ok(())
    }

    /// A session made of the record is the one that wrote it, and replicas that got the record by a snapshot have the same.
    fn verify_record(&mut self) -> Result<(), TestCaseError> {
        let Some(journal) = self.journal.as_ref().filter(|journal| journal.ops.is_empty()) else { return Ok(()) };
        let mut bytes = Vec::new();
        journal.shard.write_snapshot(&mut bytes).expect("a vector grows");
        let copy = Shard::restore(&mut bytes.as_slice());
        let copy = copy.map_err(|error| TestCaseError::fail(format!("a snapshot cannot be read: {error}")))?;
        prop_assert_eq!(copy.hash(), journal.shard.hash());
        let Some((_, record)) = copy.get(KEY) else { return Ok(()) };
        let restored = Session::restore(self.config, record, 2, self.now);
        let restored = restored.map_err(|error| TestCaseError::fail(error.to_string()))?;
        let (own, other) = (self.session.observe(), restored.observe());
        if self.config.delivery != Delivery::Calls {
            let kept = |seen: &quorate_session::Snapshot| {
                (
                    seen.streams_open,
                    seen.streams_retained,
                    seen.retained_events,
                    seen.retained_bytes,
                    seen.subscriptions,
                )
            };
            prop_assert_eq!(kept(&own), kept(&other));
            prop_assert_eq!(own.server_requests, other.server_requests);
            prop_assert!(other.calls <= own.calls);
        }
        prop_assert_eq!(own.parked, other.parked);
        Ok(())
    }

    /// The client goes away for as long as what it left is kept.
    pub(crate) fn leave(&mut self) -> Result<(), TestCaseError> {
        while !self.connections.is_empty() || !self.ghosts.is_empty() {
            self.lose(0);
            self.notice(0)?;
        }
        self.commit()?;
        self.wait(self.config.retention)
    }

    /// The session is its record alone for a moment, if nothing keeps it awake.
    pub(crate) fn rest(&mut self) -> Result<(), TestCaseError> {
        self.commit()?;
        if self.journal.is_none() || !self.session.is_quiet() {
            return Ok(());
        }
        self.accepted(Event::Rest)?;
        self.commit()?;
        prop_assert!(self.session.is_at_rest(), "a quiet session does not come to rest");
        prop_assert!(self.connections.is_empty() && !self.upstream.values().any(|upstream| upstream.open));
        let record = self.journal.as_ref().and_then(|journal| journal.shard.get(KEY)).map(|(_, record)| record.clone());
        let record = record.ok_or_else(|| TestCaseError::fail("a session at rest has no record"))?;
        let before = self.session.observe();
        let restored = Session::restore(self.config, &record, 1, self.now);
        self.session = named(restored.map_err(|error| TestCaseError::fail(error.to_string()))?);
        // Connections are counted anew.
        self.detached.clear();
        self.accepted(Event::Recover)?;
        self.adopt(true)?;
        // Backends are told the logging level once more.
        let after = quorate_session::Snapshot { calls: before.calls, ..self.session.observe() };
        prop_assert_eq!(before, after, "something was forgotten");
        let is_moved = |moment: &proto::Moment| moment.happening() == proto::Happening::Moved && moment.node == 1;
        prop_assert!(self.takeovers > 0 || !record.timeline().iter().any(is_moved), "it was nowhere else");
        Ok(())
    }

    /// Another node owns the session.
    pub(crate) fn take_over(&mut self, ingress: bool, adopts: bool, resumes: bool) -> Result<(), TestCaseError> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        if self.ended {
            return Ok(());
        }
        journal.ops.clear();
        journal.waiting.clear();
        // Without its connection there is no HTTP+SSE session; a stateless client's node is the owner.
        let ingress = (ingress || self.is_single()) && !self.is_of_calls();
        let record = self.journal.as_ref().and_then(|journal| journal.shard.get(KEY)).map(|(_, record)| record.clone());
        self.takeovers += 1;
        self.resumes = resumes;
        self.lose_owner();
        let connections = std::mem::take(&mut self.connections);
        self.ghosts.clear();
        self.session = match &record {
            Some(record) => Session::restore(self.config, record, 2, self.now)
                .map(named)
                .map_err(|error| TestCaseError::fail(error.to_string()))?,
            // Nothing was ever committed: its client opens another one, or calls again.
            None => self.journaled(),
        };
        if record.is_some() {
            self.accepted(Event::Recover)?;
        } else {
            self.begin_anew()?;
        }
        self.rejoin(connections, ingress && record.is_some())?;
        self.post_again(ingress)?;
        self.adopt(adopts)
    }

    /// A session of which nothing was committed is another one for its client.
    fn begin_anew(&mut self) -> Result<(), TestCaseError> {
        self.upstream.clear();
        self.readings.clear();
        self.parked.clear();
        self.asked.clear();
        self.resumed.clear();
        let unanswered: Vec<_> = std::mem::take(&mut self.calls).into_values().collect();
        let posts = std::mem::take(&mut self.posts);
        for call in unanswered {
            let Some(post) = posts.get(&call.post).filter(|post| post.state == PostState::Waiting) else { continue };
            let request = post.request.clone();
            self.opening.push_back(Opening { id: call.id, gateway: call.gateway, is_first: true, request });
        }
        if self.is_single() { self.get() } else { Ok(()) }
    }

    /// What is gone with the node.
    fn lose_owner(&mut self) {
        self.held.clear();
        self.detached.clear();
        self.attaching.clear();
        self.undispatched.clear();
        self.paused.clear();
        self.resuming.clear();
        self.then = None;
        for upstream in self.upstream.values_mut() {
            upstream.open = false;
        }
        self.legs.clear();
        if self.is_of_calls() {
            // Streams that nobody can come back to are not even known by their numbers.
            let parked = &self.parked;
            self.readings.retain(|stream, _| parked.contains_key(stream));
            for post in self.posts.values_mut() {
                match post.state {
                    PostState::Stream(stream) if parked.contains_key(&stream) => {}
                    PostState::Stream(_) | PostState::BegunForNobody(_) => post.state = PostState::Broken,
                    PostState::Waiting | PostState::Answered | PostState::Broken => {}
                }
            }
        }
        for call in self.calls.values_mut() {
            // A cancellation promises nothing.
            call.excused |= call.cancelled;
            call.cancelled = false;
        }
    }

    /// The client's node goes on where its client is, or its client has lost its connections.
    fn rejoin(
        &mut self,
        connections: std::collections::BTreeMap<(StreamId, u64), Connection>,
        ingress: bool,
    ) -> Result<(), TestCaseError> {
        for ((stream, _), connection) in connections {
            let reading = self.readings.entry(stream).or_default();
            if !ingress {
                reading.lost |= self.config.delivery != Delivery::Streams;
                continue;
            }
            let has = connection.has;
            let rejoined = self.offer(Event::Rejoin { stream, has, primes: !connection.begun })?;
            let reading = self.readings.entry(stream).or_default();
            match rejoined {
                None => drop(self.rejoining.insert(stream, connection)),
                Some(Rejection::StreamFinished { .. }) => reading.finished |= connection.alive,
                // A client that does not read is behind what was written for it.
                Some(Rejection::BeyondRetention { .. } | Rejection::StreamUnknown { .. }) if !connection.alive => {}
                Some(Rejection::Ended) if self.is_over() => {}
                Some(rejection) => {
                    return Err(TestCaseError::fail(format!("{stream} cannot be rejoined from {has:?}: {rejection}")));
                }
            }
        }
        self.commit()?;
        Ok(())
    }

    /// The client's node sends again what it has no answer to.
    fn post_again(&mut self, ingress: bool) -> Result<(), TestCaseError> {
        let mut again: Vec<Opening> = std::mem::take(&mut self.opening).into();
        let waiting = self.posts.iter().filter(|(_, post)| post.state == PostState::Waiting).map(|(key, _)| *key);
        for key in waiting.collect::<Vec<_>>() {
            if self.posts[&key].request.is_none() || !ingress {
                self.posts.get_mut(&key).expect("it is there").state = PostState::Broken;
                continue;
            }
            let request = self.posts.remove(&key).and_then(|post| post.request);
            let call = &self.calls[&key];
            again.push(Opening { id: call.id, gateway: call.gateway, is_first: true, request });
        }
        for opening in again.into_iter().filter(|_| ingress) {
            let Some(request) = opening.request.clone() else { continue };
            let id = opening.id;
            self.opening.push_back(opening);
            match self.offer(Event::ClientRequest(request))? {
                None => self.commit()?,
                Some(Rejection::LimitReached { .. } | Rejection::BeyondRetention { .. }) => {
                    self.opening.clear();
                    self.calls.retain(|_, call| call.id != id);
                }
                Some(Rejection::Ended) if self.is_over() => self.opening.clear(),
                Some(rejection) => return Err(TestCaseError::fail(format!("{id} is not taken again: {rejection}"))),
            }
        }
        Ok(())
    }

    /// Backends' sessions are found again, or not.
    fn adopt(&mut self, adopts: bool) -> Result<(), TestCaseError> {
        self.commit()?;
        let adopted: Vec<_> = self
            .legs
            .iter()
            .filter(|(_, leg)| leg.state == State::Opening && leg.adopting)
            .map(|(key, _)| *key)
            .collect();
        for key in adopted {
            let place =
                self.legs.iter().filter(|(_, leg)| leg.state == State::Opening).position(|(leg, _)| *leg == key);
            self.leg_outcome(u8::try_from(place.unwrap_or(0)).expect("there are two"), adopts)?;
            self.commit()?;
        }
        Ok(())
    }

    /// Reads on what another owner has sent.
    fn resume_calls(&mut self) -> Result<(), TestCaseError> {
        while let Some((call, event_id)) = self.resuming.pop_front() {
            let Some(upstream) = self.upstream.get_mut(&call) else {
                return Err(TestCaseError::fail(format!("call {call} is resumed that never was sent")));
            };
            let (leg, epoch) = (upstream.leg, upstream.epoch);
            if !self.resumes || event_id.is_none() {
                let failure = Failure { fault: fault("broken"), never_executed: false, leg_lost: false };
                self.accepted(Event::UpstreamFailed { call, epoch, failure })?;
                continue;
            }
            upstream.open = true;
            self.resumed.insert(call);
            let from: usize = event_id.and_then(|id| id.parse().ok()).expect("an id of ours");
            let missed: Vec<_> = upstream.said[from..].to_vec();
            for (place, (frame, content)) in missed.into_iter().enumerate() {
                let is_answer = matches!(frame.kind(), quorate_jsonrpc::Kind::Result | quorate_jsonrpc::Kind::Error);
                if is_answer {
                    self.upstream.get_mut(&call).expect("it is there").open = false;
                }
                let event_id = Some((from + place + 1).to_string().into());
                self.accepted(Event::UpstreamFrame { leg, epoch, call: Some(call), frame, content, event_id })?;
            }
        }
        Ok(())
    }

    pub(crate) fn adoption_wanted(&mut self, key: LegKey, epoch: LegEpoch) -> Result<(), TestCaseError> {
        prop_assert!(key.0 == 0, "only the first backend gives its sessions names");
        self.legs.insert(key, Leg { state: State::Opening, epoch, listening: false, adopting: true });
        Ok(())
    }

    /// A request reaches its backend.
    pub(crate) fn runs(&mut self, frame: &Frame) -> Result<(), TestCaseError> {
        let Some(n) = number_of(frame) else { return Ok(()) };
        let runs = self.ran.entry(n).or_default();
        *runs += 1;
        let once = self.replays.get(&n) == Some(&quorate_session::Replay::Never);
        prop_assert!(!once || *runs <= 1, "request {} runs twice", n);
        Ok(())
    }
}

/// Whoever sends requests to a leg names it first.
fn named(mut session: Session) -> Session {
    session.name_leg(LegKey(0), "zero");
    session.name_leg(LegKey(1), "one");
    session
}

fn is_end(op: &proto::Op) -> bool {
    matches!(op.kind, Some(proto::op::Kind::End(_)))
}
