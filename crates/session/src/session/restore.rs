//! A session made of its record, on the node that owns it now.
//!
//! Connections and upstream exchanges are gone with the node that had them; everything else is as it was written down. The
//! first event of a restored session is [`Event::Recover`](crate::Event::Recover), which picks up what was under way
//! (`recover`).

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_jsonrpc::{Frame, Id, Limits};
use quorate_types::Timestamp;

use super::Session;
use super::journal::Journal;
use super::level::Level;
use crate::asks::{Answering, Ask};
use crate::calls::{Call, Journey, Kept, Owner, Phase, Post, Reply};
use crate::config::Config;
use crate::event::{Features, Listen, Purpose, Replay};
use crate::ids::{CallKey, LegEpoch, LegKey, RequestKey, StreamId};
use crate::legs::{Leg, LegState, Subscription};
use crate::record::proto::{self, post};
use crate::record::{CallRow, LegRow, Record, StreamRow, Work};
use crate::ring::Ring;
use crate::streams::{Parked, Stream};

/// A record cannot be made a session of: it is not what a session wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record is not one of a session: {what}")]
pub struct Unreadable {
    /// What is wrong with it.
    pub what: &'static str,
}

type Read<T> = Result<T, Unreadable>;

// === impl Session ===

impl Session {
    /// Makes the session that a record is of; `node` owns it from now on.
    ///
    /// # Errors
    /// [`Unreadable`] when no session has written the record.
    pub fn restore(config: Config, record: &Record, node: u64, now: Timestamp) -> Result<Self, Unreadable> {
        let mut session = Self::new(config, now.max(record.time));
        session.active_at = record.active;
        session.calls.skip(record.ids);
        session.asks.skip(record.ids);
        session.streams.skip(record.streams_minted);
        for (key, row) in record.legs.iter() {
            session.legs.insert(leg_key(key)?, leg(row));
        }
        if let Some(work) = record.work.as_deref() {
            session.restore_work(work)?;
        }
        let (charter, active, ids) = (Arc::new(record.whole_charter()), record.active, record.ids);
        session.subscriptions_changed += 1;
        let mut journal = Journal::of_restored(&session, charter, node, active, ids);
        if record.last_owner() != Some(node) {
            journal.happened(proto::Happening::Moved);
        }
        session.journal = Some(Box::new(journal));
        Ok(session)
    }

    fn restore_work(&mut self, work: &Work) -> Read<()> {
        if let Some(level) = &work.level {
            let severity = u8::try_from(level.severity).map_err(|_| unreadable("a severity"))?;
            self.level = Some(Box::new(Level::restored(severity, frame(&level.frame)?)));
        }
        for ((leg, uri), row) in &work.subscriptions {
            let leg = self.legs.get_mut(leg_key(*leg)?).ok_or_else(|| unreadable("a subscription of no leg"))?;
            let subscription = Subscription { frame: frame(&row.frame)?, is_live: row.is_live, failures: 0 };
            leg.subscriptions.insert(uri.as_str().into(), subscription);
        }
        for (key, post) in work.posts.iter() {
            self.calls.posts.insert(CallKey(key), restored_post(post)?);
        }
        for (key, row) in work.calls.iter() {
            let call = call(row)?;
            if call.post().is_none_or(|post| self.calls.posts.get(post).is_none()) {
                return Err(unreadable("a call of no POST"));
            }
            if call.journey().is_some_and(|journey| self.legs.get(journey.leg).is_none()) {
                return Err(unreadable("a call of no leg"));
            }
            self.calls.open.insert(CallKey(key), call);
        }
        for (key, row) in work.kept.iter() {
            let until = Timestamp::from_millis(row.until_ms);
            let key_of = request_key(&row.key)?.ok_or_else(|| unreadable("an answer without its request"))?;
            self.calls.kept.insert(CallKey(key), Kept { key: key_of, body: row.body.clone(), until });
        }
        for (key, row) in work.streams.iter() {
            self.streams.all.insert(StreamId(key), stream(row, self.now)?);
        }
        for (key, row) in work.asks.iter() {
            self.asks.open.insert(key, ask(row)?);
        }
        for (key, row) in work.answering.iter() {
            let (leg, epoch) = (leg_key(row.leg)?, LegEpoch(row.epoch));
            self.asks.answering.insert(key, Answering { leg, epoch, frame: row.frame.clone() });
        }
        Ok(())
    }
}

const fn unreadable(what: &'static str) -> Unreadable {
    Unreadable { what }
}

fn frame(bytes: &bytes::Bytes) -> Read<Frame> {
    Frame::parse(bytes.clone(), &Limits::ANSWER).map_err(|_| unreadable("a frame"))
}

fn leg_key(leg: u32) -> Read<LegKey> {
    u16::try_from(leg).map(LegKey).map_err(|_| unreadable("the number of a leg"))
}

fn request_key(key: &[u8]) -> Read<Option<RequestKey>> {
    match key {
        [] => Ok(None),
        key => key.try_into().map(|key| Some(RequestKey(key))).map_err(|_| unreadable("the key of a request")),
    }
}

fn leg(row: &LegRow) -> Leg {
    let leg = row.leg();
    let listen = if leg.is_shared { Listen::Shared } else { Listen::Separate };
    Leg {
        // One that was up is to be taken over first.
        state: if leg.is_up { LegState::Opening } else { LegState::Closed },
        adopting: leg.is_up,
        epoch: LegEpoch(leg.epoch),
        features: Features { logging: leg.logging, listen, bridged: false },
        reopened: leg.was_open,
        server: Some(leg.server.as_str().into()),
        upstream: leg.upstream.map(Arc::new),
        mark: row.mark.as_deref().map(Into::into),
        subscriptions: BTreeMap::new(),
        ..Leg::new()
    }
}

fn restored_post(post: &proto::Post) -> Read<Post> {
    let reply = match &post.reply {
        Some(post::Reply::Waiting(waiting)) => Reply::Waiting { answers: waiting.answers.clone() },
        Some(post::Reply::Stream(stream)) => Reply::Stream(StreamId(*stream)),
        Some(post::Reply::Broken(_)) => Reply::Broken,
        None => return Err(unreadable("a POST without its answer")),
    };
    let calls = usize::try_from(post.calls).map_err(|_| unreadable("the calls of a POST"))?;
    let key = request_key(&post.key)?;
    Ok(Post { calls, batch: post.batch, reply, key, keeps: post.keeps, lacks_stream: false })
}

fn call(row: &CallRow) -> Read<Call> {
    let CallRow { call, state } = row;
    let uri = || Arc::from(call.uri.as_str());
    let purpose = match call.purpose() {
        proto::Purpose::Plain => Purpose::Plain,
        proto::Purpose::Uncancellable => Purpose::Uncancellable,
        proto::Purpose::Unaskable => Purpose::Unaskable,
        proto::Purpose::Subscribe => Purpose::Subscribe { uri: uri() },
        proto::Purpose::Unsubscribe => Purpose::Unsubscribe { uri: uri() },
        proto::Purpose::Unspecified => return Err(unreadable("the purpose of a call")),
    };
    let replay = match call.replay() {
        proto::Replay::Safe => Replay::Safe,
        proto::Replay::Marked => Replay::Marked,
        // What is not known is not sent twice.
        proto::Replay::Never | proto::Replay::Unspecified => Replay::Never,
    };
    let phase = match call.leg {
        None => Phase::Gateway,
        Some(leg) => Phase::Leg(Box::new(Journey {
            leg: leg_key(leg)?,
            dispatched: state.dispatched.map(LegEpoch),
            again: state.again,
            frame: frame(&call.frame)?,
            event_id: state.event_id.as_deref().map(Into::into),
            terms: call.terms.clone().map(Arc::new),
        })),
    };
    let id = Id::from_json(&call.id).map_err(|_| unreadable("the id of a call"))?;
    let owner = Owner::Client { id, post: CallKey(call.post), purpose };
    Ok(Call { told: state.told, ..Call::new(owner, phase, call.progress_token.clone(), replay) })
}

fn stream(row: &StreamRow, now: Timestamp) -> Read<Stream> {
    let StreamRow { stream, entries } = row;
    let parked = stream.parked.map(|parked| Parked {
        token: parked.token,
        sequence: parked.sequence,
        until: Timestamp::from_millis(parked.until_ms),
    });
    let ring = Ring::restored(stream.oldest, stream.delivered, entries.iter().cloned());
    let key = request_key(&stream.key)?;
    Ok(Stream { ring, closed: stream.closed, parked, key, inherited: stream.closed, ..Stream::new(now) })
}

fn ask(row: &proto::Ask) -> Read<Ask> {
    Ok(Ask {
        leg: leg_key(row.leg)?,
        epoch: LegEpoch(row.epoch),
        upstream_id: Id::from_json(&row.upstream_id).map_err(|_| unreadable("the id of a question"))?,
        token: row.token.clone(),
        call: row.call.map(CallKey),
        pauses: row.pauses.map(CallKey),
        stream: StreamId(row.stream),
        deadline: Timestamp::from_millis(row.deadline_ms),
    })
}
