//! What a record says: to operators, to whoever owns it next, and to a snapshot.
//!
//! Out: how much it holds, when somebody has to look at it although nobody asks, and what makes it of nothing, in an order that
//! is the same for equal records.

use std::sync::Arc;
use std::time::Duration;

use quorate_types::{PrincipalDigest, Timestamp};

use super::proto::{self, op::Kind};
use super::{Record, Work};
use crate::config::Config;

/// How much a record holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holds {
    /// Calls that are not answered.
    pub calls: usize,
    /// Requests of tool servers that wait for the client.
    pub asks: usize,
    /// Calls that wait for their client to come back.
    pub parked: usize,
    /// Streams that can be resumed.
    pub streams: usize,
    /// Events in them.
    pub events: usize,
    /// Bytes of these events.
    pub event_bytes: usize,
    /// Resource subscriptions.
    pub subscriptions: usize,
    /// Upstream sessions.
    pub legs: usize,
}

/// What a session has at one tool server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LegHeld<'a> {
    /// The tool server.
    pub server: &'a str,
    /// Whether there is an upstream session.
    pub is_up: bool,
    /// The revision of the protocol that was agreed on last.
    pub revision: Option<&'a str>,
    /// Which opening.
    pub epoch: u32,
}

// === impl Holds ===

impl Holds {
    /// Whether something waits for an answer: of a tool server, or of the client.
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        self.calls > 0 || self.asks > 0
    }
}

// === impl Record ===

impl Record {
    /// What the session was opened with, but for when.
    #[must_use]
    pub const fn charter(&self) -> &Arc<proto::Charter> {
        &self.charter
    }

    /// Who owns the session; zeros where the record does not say, which a checked one does.
    #[must_use]
    pub fn principal(&self) -> PrincipalDigest {
        PrincipalDigest(self.charter.principal[..].try_into().unwrap_or_default())
    }

    /// When the session was opened.
    #[must_use]
    pub const fn opened(&self) -> Timestamp {
        self.opened
    }

    /// What the session was opened with, and when.
    pub(crate) fn whole_charter(&self) -> proto::Charter {
        proto::Charter { opened_ms: self.opened.as_millis(), ..(*self.charter).clone() }
    }

    /// When its client was there last, as far as that was written down.
    #[must_use]
    pub const fn active(&self) -> Timestamp {
        self.active
    }

    /// What happened to it, in order: the first and the latest [`super::TIMELINE_MAX`].
    #[must_use]
    pub fn timeline(&self) -> &[proto::Moment] {
        &self.timeline
    }

    /// The node that owned the session last, as far as it wrote that down.
    #[must_use]
    pub fn last_owner(&self) -> Option<u64> {
        self.timeline.last().map(|moment| moment.node)
    }

    /// How much it holds.
    #[must_use]
    pub fn holds(&self) -> Holds {
        let legs = self.legs.iter().filter(|(_, row)| row.leg.is_up).count();
        let Some(work) = self.work.as_deref() else { return Holds { legs, ..Holds::default() } };
        let streams = || work.streams.iter().map(|(_, row)| row);
        Holds {
            calls: work.calls.len(),
            asks: work.asks.len(),
            parked: streams().filter(|row| row.stream.parked.is_some()).count(),
            streams: work.streams.len(),
            events: streams().map(|row| row.entries.len()).sum(),
            event_bytes: streams().flat_map(|row| &row.entries).map(|(_, data)| data.len()).sum(),
            subscriptions: work.subscriptions.len(),
            legs,
        }
    }

    /// What it has at tool servers, without the ids of its sessions there.
    pub fn legs(&self) -> impl Iterator<Item = LegHeld<'_>> {
        self.legs.iter().map(|(_, row)| LegHeld {
            server: &row.leg.server,
            is_up: row.leg.is_up,
            revision: row.leg.upstream.as_ref().map(|upstream| upstream.version.as_str()),
            epoch: row.leg.epoch,
        })
    }

    /// When somebody has to look at the session although nobody asks for it: at once where something is under way or
    /// subscribed to, else when something of it may be forgotten.
    #[must_use]
    pub fn wakes_at(&self, config: &Config) -> Timestamp {
        let idle = self.active + config.idle_timeout;
        let Some(work) = self.work.as_deref() else { return idle };
        let waits = !work.calls.is_empty() || !work.asks.is_empty() || !work.answering.is_empty();
        let is_parked = work.streams.iter().any(|(_, row)| row.stream.parked.is_some());
        if waits || is_parked || !work.subscriptions.is_empty() {
            return Timestamp::from_millis(0);
        }
        let kept = work.kept.iter().map(|(_, kept)| Timestamp::from_millis(kept.until_ms));
        kept.chain(work.streams_wake_at(self.time, config.retention)).min().map_or(idle, |at| at.min(idle))
    }

    /// Hands out what makes the record of nothing, in an order of its own, with the events of each stream behind it.
    ///
    /// # Errors
    /// What `sink` says.
    pub(crate) fn visit<E>(&self, sink: &mut dyn FnMut(proto::snapshot_item::Kind) -> Result<(), E>) -> Result<(), E> {
        use proto::snapshot_item::Kind as Item;
        let mut op = |kind| sink(Item::Op(proto::Op { kind: Some(kind) }));
        op(Kind::Open(self.whole_charter()))?;
        op(Kind::Ids(self.ids))?;
        op(Kind::ActiveMs(self.active.as_millis()))?;
        self.timeline.iter().try_for_each(|moment| op(Kind::Moment(*moment)))?;
        for (leg, row) in self.legs.iter() {
            op(Kind::Leg(row.leg()))?;
            if let Some(event_id) = &row.mark {
                op(Kind::ListenMark(proto::ListenMark { leg, event_id: event_id.to_string() }))?;
            }
        }
        self.work.as_deref().map_or(Ok(()), |work| work.visit(sink))
    }
}

// === impl Work ===

impl Work {
    /// When the first event of a stream, or an ended stream without events, may be forgotten.
    fn streams_wake_at(&self, latest: Timestamp, retention: Duration) -> impl Iterator<Item = Timestamp> {
        let of = move |row: &super::StreamRow| {
            let first = row.entries.front().map(|(at, _)| *at);
            first.or(row.stream.closed.then_some(latest)).map(|at| at + retention)
        };
        self.streams.iter().filter_map(move |(_, row)| of(row))
    }

    fn visit<E>(&self, sink: &mut dyn FnMut(proto::snapshot_item::Kind) -> Result<(), E>) -> Result<(), E> {
        use proto::snapshot_item::Kind as Item;
        let mut op = |kind| sink(Item::Op(proto::Op { kind: Some(kind) }));
        self.level.iter().try_for_each(|level| op(Kind::Level(level.clone())))?;
        self.subscriptions.values().try_for_each(|row| op(Kind::Subscription(row.clone())))?;
        for (_, row) in self.calls.iter() {
            op(Kind::Call(row.call.clone()))?;
            op(Kind::CallState(row.state.clone()))?;
        }
        self.posts.iter().try_for_each(|(_, post)| op(Kind::Post(post.clone())))?;
        self.asks.iter().try_for_each(|(_, ask)| op(Kind::Ask(ask.clone())))?;
        self.answering.iter().try_for_each(|(_, answering)| op(Kind::Answering(answering.clone())))?;
        self.kept.iter().try_for_each(|(_, kept)| op(Kind::Kept(kept.clone())))?;
        for (_, row) in self.streams.iter() {
            sink(Item::Op(proto::Op { kind: Some(Kind::Stream(row.stream.clone())) }))?;
            for (at, data) in &row.entries {
                sink(Item::Entry(proto::Entry { at_ms: at.as_millis(), data: data.clone() }))?;
            }
        }
        Ok(())
    }
}
