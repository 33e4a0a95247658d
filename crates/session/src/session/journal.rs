//! What of a session is written down: after each step, how what is kept differs from what the record has.
//!
//! ```text
//!   state after the step ─▶ what is kept of it ─▶ against what the record has ─▶ ops
//! ```
//!
//! Nobody says what changed: each table is held against what was written of it, so that no change can be forgotten. What is
//! kept depends on the session: of a strict one all streams and the calls that may run once, or whose stream can be resumed;
//! of an ephemeral one neither; of one that the gateway keeps for stateless clients only what belongs to parked calls, and
//! nothing at all while none is parked. Some ops are promises: the effects of their step wait until they are committed.
//! **Invariant:** the ops so far, applied to nothing, are the record that [`restore`](super::restore) makes the same session of.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use quorate_jsonrpc::Id;
use quorate_types::Timestamp;

use super::Session;
use crate::asks::Ask;
use crate::calls::{Call, Owner, Phase, Post, Reply};
use crate::config::{Delivery, Durability};
use crate::effect::Effects;
use crate::event::{Listen, Purpose, Replay};
use crate::ids::{CallKey, LegEpoch, LegKey, StreamId};
use crate::legs::Leg;
use crate::record::proto::{self, op::Kind};
use crate::streams::Stream;
use crate::table::Table;

/// Ids that are given before the record has to say so again.
const IDS: u64 = 1024;
/// The part of the idle timeout by which the record may be late to know that the client was there.
const ACTIVE_PARTS: u32 = 4;
/// Of a stream of so many bytes it is written down at once that it was read to its end.
const READ_BYTES: usize = 64 * 1024;

/// What the record has.
#[derive(Clone, Debug)]
pub(super) struct Journal {
    /// What the record is opened with.
    charter: Arc<proto::Charter>,
    /// The node that owns the session.
    node: u64,
    is_open: bool,
    ids: u64,
    active: Timestamp,
    level: u32,
    legs: Table<LegKey, LegKnown>,
    /// Which subscriptions it has, and as of which change of them.
    subscriptions: BTreeMap<(LegKey, Arc<str>), bool>,
    subscriptions_seen: u64,
    calls: Table<CallKey, CallKnown>,
    posts: Table<CallKey, PostKnown>,
    asks: Table<u64, ()>,
    answering: Table<u64, ()>,
    kept: Table<CallKey, ()>,
    streams: Table<StreamId, StreamKnown>,
    /// What happened since.
    happened: Vec<proto::Happening>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct LegKnown {
    epoch: LegEpoch,
    is_up: bool,
    was_open: bool,
    server: Option<Arc<str>>,
    mark: Option<Arc<str>>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct CallKnown {
    dispatched: Option<LegEpoch>,
    again: bool,
    event_id: Option<Arc<str>>,
    told: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PostKnown {
    calls: usize,
    reply: ReplyKnown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReplyKnown {
    Waiting(usize),
    Stream(StreamId),
    Broken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct StreamKnown {
    newest: u64,
    oldest: u64,
    delivered: u64,
    closed: bool,
    parked: Option<u64>,
}

// === impl Journal ===

impl Journal {
    /// Begins with nothing written.
    pub(super) fn new(charter: Arc<proto::Charter>, node: u64, now: Timestamp) -> Self {
        Self {
            charter,
            node,
            is_open: false,
            ids: 0,
            active: now,
            level: 0,
            legs: Table::new(),
            subscriptions: BTreeMap::new(),
            subscriptions_seen: 0,
            calls: Table::new(),
            posts: Table::new(),
            asks: Table::new(),
            answering: Table::new(),
            kept: Table::new(),
            streams: Table::new(),
            happened: vec![proto::Happening::Opened],
        }
    }

    /// Begins with all of a session written that was restored from its record.
    pub(super) fn of_restored(
        session: &Session,
        charter: Arc<proto::Charter>,
        node: u64,
        active: Timestamp,
        ids: u64,
    ) -> Self {
        let mut journal = Self { is_open: true, happened: Vec::new(), ..Self::new(charter, node, active) };
        journal.diff(session, &mut Effects::default());
        // Those that the record does not say yet, the first step does.
        Self { ids, active, ..journal }
    }

    pub(super) fn happened(&mut self, what: proto::Happening) {
        self.happened.push(what);
    }

    /// Says when the client was there last.
    pub(super) fn set_active(&mut self, active: Timestamp, out: &mut Effects) {
        if self.is_open && self.active != active {
            self.active = active;
            out.op(Kind::ActiveMs(active.as_millis()));
        }
    }

    pub(super) fn set_owner(&mut self, owner: proto::Owner, out: &mut Effects) {
        if self.charter.owner.as_ref() != Some(&owner) {
            Arc::make_mut(&mut self.charter).owner = Some(owner.clone());
            if self.is_open {
                out.op(Kind::Owner(owner));
            }
        }
    }

    pub(super) fn set_client(&mut self, client: proto::Client, out: &mut Effects) {
        Arc::make_mut(&mut self.charter).client = Some(client.clone());
        if self.is_open {
            out.promise(Kind::Client(client));
        }
    }

    /// Writes what changed in a step.
    pub(super) fn write(&mut self, session: &Session, out: &mut Effects) {
        if let Some(reason) = &session.ended {
            if self.is_open {
                self.is_open = false;
                out.promise(Kind::End(reason.written(self.node)));
            }
            return;
        }
        let is_wanted = session.config.delivery != Delivery::Calls || session.streams.parked() > 0;
        if !is_wanted {
            if self.is_open {
                // No call is parked any more. A promise, since each is resumed once.
                *self = Self::new(Arc::clone(&self.charter), self.node, self.active);
                let reason = proto::EndReason::Unparked.into();
                out.promise(Kind::End(proto::End { reason, by: String::new(), node: self.node }));
            }
            return;
        }
        if !self.is_open {
            self.is_open = true;
            out.promise(Kind::Open((*self.charter).clone()));
        }
        self.diff(session, out);
        for what in std::mem::take(&mut self.happened) {
            let (at_ms, node) = (session.now.as_millis(), self.node);
            out.op(Kind::Moment(proto::Moment { at_ms, happening: what.into(), node }));
        }
    }

    fn diff(&mut self, session: &Session, out: &mut Effects) {
        self.diff_ids(session, out);
        let kept = Keeping::of(session);
        self.diff_legs(session, &kept, out);
        self.diff_subscriptions(session, out);
        self.diff_level(session, out);
        self.diff_calls(session, &kept, out);
        self.diff_posts(session, &kept, out);
        self.diff_streams(session, &kept, out);
        self.diff_asks(session, out);
    }

    fn diff_ids(&mut self, session: &Session, out: &mut Effects) {
        let minted = session.calls.minted().max(session.asks.minted());
        if minted >= self.ids {
            self.ids = minted + IDS;
            out.promise(Kind::Ids(self.ids));
        }
        if session.active_at.since(self.active) > session.config.idle_timeout / ACTIVE_PARTS {
            self.set_active(session.active_at, out);
        }
    }

    fn diff_legs(&mut self, session: &Session, kept: &Keeping, out: &mut Effects) {
        for (key, leg) in session.legs.iter().filter(|(key, leg)| leg.server.is_some() && kept.has_leg(*key)) {
            let now = LegKnown {
                epoch: leg.epoch,
                is_up: leg.is_up() || leg.adopting,
                was_open: leg.reopened,
                server: leg.server.clone(),
                mark: leg.mark.clone(),
            };
            let known = self.legs.get(key);
            if known.is_none_or(|known| LegKnown { mark: now.mark.clone(), ..known.clone() } != now) {
                out.op(Kind::Leg(leg_of(key, leg, &now)));
            }
            if let Some(mark) =
                now.mark.as_ref().filter(|mark| known.and_then(|known| known.mark.as_ref()) != Some(mark))
            {
                out.op(Kind::ListenMark(proto::ListenMark { leg: key.0.into(), event_id: mark.to_string() }));
            }
            if known != Some(&now) {
                self.legs.insert(key, now);
            }
        }
    }

    fn diff_subscriptions(&mut self, session: &Session, out: &mut Effects) {
        let is_same = self.subscriptions_seen == session.subscriptions_changed;
        if is_same || session.config.delivery == Delivery::Calls {
            return;
        }
        self.subscriptions_seen = session.subscriptions_changed;
        let mut now = BTreeMap::new();
        for (key, leg) in session.legs.iter() {
            for (uri, subscription) in &leg.subscriptions {
                let place = (key, uri.clone());
                let known = self.subscriptions.get(&place);
                if known != Some(&subscription.is_live) {
                    let row = proto::Subscription {
                        leg: key.0.into(),
                        uri: uri.to_string(),
                        frame: subscription.frame.bytes().clone(),
                        is_live: subscription.is_live,
                    };
                    // That it is there is a promise; whether its server has it, the next owner finds out too.
                    if known.is_none() { out.promise(Kind::Subscription(row)) } else { out.op(Kind::Subscription(row)) }
                }
                now.insert(place, subscription.is_live);
            }
        }
        for (leg, uri) in self.subscriptions.keys().filter(|place| !now.contains_key(place)) {
            out.op(Kind::SubscriptionEnd(proto::SubscriptionEnd { leg: leg.0.into(), uri: uri.to_string() }));
        }
        self.subscriptions = now;
    }

    fn diff_level(&mut self, session: &Session, out: &mut Effects) {
        let version = session.level_version();
        if version == self.level {
            return;
        }
        self.level = version;
        if let Some((severity, frame)) = session.level_set() {
            out.promise(Kind::Level(proto::Level { severity: severity.into(), frame: frame.bytes().clone() }));
        }
    }

    fn diff_calls(&mut self, session: &Session, kept: &Keeping, out: &mut Effects) {
        for key in &kept.calls {
            let Some(call) = session.calls.open.get(*key) else { continue };
            let now = CallKnown {
                dispatched: call.journey().and_then(|journey| journey.dispatched),
                again: call.journey().is_some_and(|journey| journey.again),
                event_id: call.journey().and_then(|journey| journey.event_id.clone()),
                // As long as all events of its stream are kept, they say it.
                told: call.told.filter(|_| session.has_dropped_of(call)),
            };
            let known = self.calls.get(*key);
            if known == Some(&now) {
                continue;
            }
            if known.is_none() {
                out.promise(Kind::Call(call_of(*key, call)));
            }
            if *known.unwrap_or(&CallKnown::default()) != now {
                let state = proto::CallState {
                    call: key.0,
                    dispatched: now.dispatched.map(|epoch| epoch.0),
                    again: now.again,
                    event_id: now.event_id.as_deref().map(str::to_owned),
                    told: now.told,
                };
                // That it may be running is written down before it is sent. Up to where its answer was read comes with
                // what was read, and may be late where nothing was.
                let sent = known.is_none_or(|known| (known.dispatched, known.again) != (now.dispatched, now.again));
                let is_promise = sent && call.replay != Replay::Safe;
                if is_promise { out.promise(Kind::CallState(state)) } else { out.op(Kind::CallState(state)) }
            }
            self.calls.insert(*key, now);
        }
        for key in gone(&self.calls, |key| kept.calls.binary_search(&key).is_ok()) {
            self.calls.remove(key);
            out.op(Kind::CallEnd(key.0));
        }
    }

    fn diff_posts(&mut self, session: &Session, kept: &Keeping, out: &mut Effects) {
        for key in &kept.posts {
            let Some(post) = session.calls.posts.get(*key) else { continue };
            let reply = match &post.reply {
                Reply::Waiting { answers } => ReplyKnown::Waiting(answers.len()),
                Reply::Stream(stream) => ReplyKnown::Stream(*stream),
                Reply::Broken => ReplyKnown::Broken,
            };
            let now = PostKnown { calls: post.calls, reply };
            if self.posts.get(*key) != Some(&now) {
                self.posts.insert(*key, now);
                out.op(Kind::Post(post_of(*key, post)));
            }
        }
        for key in gone(&self.posts, |key| kept.posts.binary_search(&key).is_ok()) {
            self.posts.remove(key);
            out.op(Kind::PostEnd(key.0));
        }
        for (key, row) in session.calls.kept.iter() {
            if self.kept.get(key).is_none() {
                self.kept.insert(key, ());
                out.promise(Kind::Kept(proto::Kept {
                    post: key.0,
                    key: Bytes::copy_from_slice(&row.key.0),
                    body: row.body.clone(),
                    until_ms: row.until.as_millis(),
                }));
            }
        }
        for key in gone(&self.kept, |key| session.calls.kept.get(key).is_some()) {
            self.kept.remove(key);
            out.op(Kind::KeptEnd(key.0));
        }
    }

    fn diff_streams(&mut self, session: &Session, kept: &Keeping, out: &mut Effects) {
        for id in &kept.streams {
            let Some(stream) = session.streams.all.get(*id) else { continue };
            let ring = &stream.ring;
            let now = StreamKnown {
                newest: ring.newest(),
                oldest: ring.oldest(),
                delivered: ring.delivered(),
                closed: stream.closed,
                parked: stream.parked.map(|parked| parked.token),
            };
            let known = self.streams.get(*id).copied();
            if known == Some(now) {
                continue;
            }
            self.streams.insert(*id, now);
            let from = match known {
                Some(known) => known.newest,
                None => {
                    out.promise(Kind::Stream(stream_of(*id, stream)));
                    now.oldest
                }
            };
            for data in ring.after(from) {
                out.promise(Kind::Append(proto::Append { stream: id.0, data }));
            }
            // Behind what was added, since that may be gone already.
            if let Some(known) = known.filter(|known| StreamKnown { newest: now.newest, ..*known } != now) {
                let op = Kind::Stream(stream_of(*id, stream));
                // Much that is not known to be read would count against the client at the next owner.
                let frees = now.closed && ring.is_delivered() && ring.bytes() >= READ_BYTES;
                if known.parked == now.parked && !frees { out.op(op) } else { out.promise(op) }
            }
        }
        for id in gone(&self.streams, |id| kept.streams.binary_search(&id).is_ok()) {
            self.streams.remove(id);
            let end = Kind::StreamEnd(id.0);
            // Each parked call is resumed once.
            if session.config.delivery == Delivery::Calls { out.promise(end) } else { out.op(end) }
        }
    }

    fn diff_asks(&mut self, session: &Session, out: &mut Effects) {
        let is_kept = |ask: &Ask| session.keeps_ask(ask);
        for (key, ask) in session.asks.open.iter().filter(|(_, ask)| is_kept(ask)) {
            if self.asks.get(key).is_none() {
                self.asks.insert(key, ());
                out.promise(Kind::Ask(ask_of(key, ask)));
            }
        }
        for key in gone(&self.asks, |key| session.asks.open.get(key).is_some_and(is_kept)) {
            self.asks.remove(key);
            out.op(Kind::AskEnd(key));
        }
        for (key, row) in session.asks.answering.iter() {
            if self.answering.get(key).is_none() {
                self.answering.insert(key, ());
                let (leg, epoch) = (row.leg.0.into(), row.epoch.0);
                out.promise(Kind::Answering(proto::Answering { ask: key, leg, epoch, frame: row.frame.clone() }));
            }
        }
        for key in gone(&self.answering, |key| session.asks.answering.get(key).is_some()) {
            self.answering.remove(key);
            out.op(Kind::AnsweringEnd(key));
        }
    }
}

/// Which rows of a session are kept, in order.
struct Keeping {
    /// Whether only legs of these calls are.
    legs: Option<Vec<LegKey>>,
    calls: Vec<CallKey>,
    posts: Vec<CallKey>,
    streams: Vec<StreamId>,
}

// === impl Keeping ===

impl Keeping {
    fn of(session: &Session) -> Self {
        let streams: Vec<StreamId> =
            session.streams.all.iter().filter(|(_, stream)| session.keeps_stream(stream)).map(|(id, _)| id).collect();
        let has_stream = |stream| streams.binary_search(&stream).is_ok();
        let is_kept = |call: &Call| {
            let Some(post) = call.post().and_then(|post| session.calls.posts.get(post)) else { return false };
            match post.reply {
                Reply::Stream(stream) => has_stream(stream),
                Reply::Waiting { .. } | Reply::Broken => post.keeps,
            }
        };
        let calls: Vec<CallKey> =
            session.calls.open.iter().filter(|(_, call)| is_kept(call)).map(|(key, _)| key).collect();
        let rows = || calls.iter().filter_map(|key| session.calls.open.get(*key));
        let mut posts: Vec<CallKey> = rows().filter_map(Call::post).collect();
        posts.sort_unstable();
        posts.dedup();
        let of_calls = || rows().filter_map(Call::journey).map(|journey| journey.leg).collect();
        let legs = (session.config.delivery == Delivery::Calls).then(of_calls);
        Self { legs, calls, posts, streams }
    }

    fn has_leg(&self, leg: LegKey) -> bool {
        self.legs.as_ref().is_none_or(|legs| legs.contains(&leg))
    }
}

impl Session {
    /// Whether a stream outlives the node.
    pub(super) fn keeps_stream(&self, stream: &Stream) -> bool {
        match (self.config.delivery, self.config.durability) {
            (Delivery::Calls, _) => stream.parked.is_some(),
            (Delivery::Streams | Delivery::Single, Durability::Strict) => true,
            (Delivery::Streams | Delivery::Single, Durability::Ephemeral) => false,
        }
    }

    /// Whether the stream of a call holds fewer events than it had.
    fn has_dropped_of(&self, call: &Call) -> bool {
        let stream = call.post().and_then(|post| self.stream_of_post(post));
        stream.and_then(|stream| self.streams.all.get(stream)).is_some_and(|stream| stream.ring.oldest() > 0)
    }

    /// Whether a question outlives the node; it may outlive its stream.
    pub(super) fn keeps_ask(&self, ask: &Ask) -> bool {
        let of_stream = || self.streams.all.get(ask.stream).is_some_and(|stream| self.keeps_stream(stream));
        self.keeps_calls() || of_stream()
    }

    /// Whether calls that may run once are written down before they are sent.
    pub(super) fn keeps_calls(&self) -> bool {
        self.config.delivery != Delivery::Calls && self.config.durability == Durability::Strict
    }
}

/// The keys that are known and not there any more.
fn gone<K: Copy + Ord, V>(known: &Table<K, V>, is_there: impl Fn(K) -> bool) -> Vec<K> {
    known.iter().map(|(key, _)| key).filter(|key| !is_there(*key)).collect()
}

fn leg_of(key: LegKey, leg: &Leg, known: &LegKnown) -> proto::Leg {
    proto::Leg {
        leg: key.0.into(),
        server: known.server.as_deref().unwrap_or_default().to_owned(),
        epoch: leg.epoch.0,
        is_up: known.is_up,
        logging: leg.features.logging,
        is_shared: leg.features.listen == Listen::Shared,
        was_open: leg.reopened,
        upstream: leg.upstream.as_deref().filter(|_| known.is_up).cloned(),
    }
}

fn call_of(key: CallKey, call: &Call) -> proto::Call {
    let (id, purpose, uri) = match &call.owner {
        Owner::Client { id, purpose, .. } => {
            let (purpose, uri) = match purpose {
                Purpose::Plain | Purpose::SetLevel { .. } => (proto::Purpose::Plain, None),
                Purpose::Uncancellable => (proto::Purpose::Uncancellable, None),
                Purpose::Unaskable => (proto::Purpose::Unaskable, None),
                Purpose::Subscribe { uri } => (proto::Purpose::Subscribe, Some(uri)),
                Purpose::Unsubscribe { uri } => (proto::Purpose::Unsubscribe, Some(uri)),
            };
            (Id::as_json(id), purpose, uri)
        }
        Owner::Machine(_) => ("null", proto::Purpose::Plain, None),
    };
    let (leg, frame) = match &call.phase {
        Phase::Leg(journey) => (Some(journey.leg.0.into()), journey.frame.bytes().clone()),
        Phase::Gateway | Phase::Level { .. } => (None, Bytes::new()),
    };
    proto::Call {
        call: key.0,
        id: id.to_owned(),
        post: call.post().unwrap_or(key).0,
        purpose: purpose.into(),
        uri: uri.map(|uri| uri.to_string()).unwrap_or_default(),
        leg,
        frame,
        progress_token: call.progress_token.clone(),
        replay: match call.replay {
            Replay::Safe => proto::Replay::Safe,
            Replay::Marked => proto::Replay::Marked,
            Replay::Never => proto::Replay::Never,
        }
        .into(),
        terms: call.journey().and_then(|journey| journey.terms.as_deref().cloned()),
    }
}

fn post_of(key: CallKey, post: &Post) -> proto::Post {
    let reply = match &post.reply {
        Reply::Waiting { answers } => proto::post::Reply::Waiting(proto::Waiting { answers: answers.clone() }),
        Reply::Stream(stream) => proto::post::Reply::Stream(stream.0),
        Reply::Broken => proto::post::Reply::Broken(proto::Broken {}),
    };
    proto::Post {
        post: key.0,
        calls: u32::try_from(post.calls).unwrap_or(u32::MAX),
        batch: post.batch,
        reply: Some(reply),
        key: post.key.map(|key| Bytes::copy_from_slice(&key.0)).unwrap_or_default(),
        keeps: post.keeps,
    }
}

fn stream_of(id: StreamId, stream: &Stream) -> proto::Stream {
    proto::Stream {
        stream: id.0,
        oldest: stream.ring.oldest(),
        delivered: stream.ring.delivered(),
        closed: stream.closed,
        parked: stream.parked.map(|parked| proto::Parked {
            token: parked.token,
            sequence: parked.sequence,
            until_ms: parked.until.as_millis(),
        }),
        key: stream.key.map(|key| Bytes::copy_from_slice(&key.0)).unwrap_or_default(),
    }
}

fn ask_of(key: u64, ask: &Ask) -> proto::Ask {
    proto::Ask {
        ask: key,
        leg: ask.leg.0.into(),
        epoch: ask.epoch.0,
        upstream_id: ask.upstream_id.as_json().to_owned(),
        token: ask.token.clone(),
        call: ask.call.map(|call| call.0),
        pauses: ask.pauses.map(|call| call.0),
        stream: ask.stream.0,
        deadline_ms: ask.deadline.as_millis(),
    }
}
