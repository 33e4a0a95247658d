//! What of a session outlives the node that owns it: its record, which all replicas of its shard have alike.
//!
//! ```text
//!   owner:    Session::step ─▶ ops ─▶ Change ─▶ quorum ─▶ Record::apply, on each replica
//!   next one: Record ─▶ Session::restore
//! ```
//!
//! A record is written by its owner alone, in [`Change`](proto::Change)s that each apply as a whole. It decides nothing: what
//! is kept and for how long is the owner's to say, and so is the time. Sequences of events are given here: an event that is
//! appended gets the next one of its stream, without gaps. Frames are bytes; they are read when a session is restored.

mod apply;
mod check;
mod common;
mod view;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
pub use quorate_proto::session::v1 as proto;
use quorate_types::Timestamp;

use crate::table::Table;

pub use check::Malformed;
pub(crate) use common::Common;
pub use view::{Holds, LegHeld};

/// The most moments that a record tells of: the latest.
pub const TIMELINE_MAX: usize = 16;

/// The record of one session.
#[derive(Clone, Debug)]
pub struct Record {
    /// The time of the latest change.
    pub(crate) time: Timestamp,
    pub(crate) opened: Timestamp,
    /// What it was opened with, but for the time; other records may have the same one.
    charter: Arc<proto::Charter>,
    /// Ids of calls and questions up to this one are not given again.
    pub(crate) ids: u64,
    pub(crate) active: Timestamp,
    /// The latest number of a stream.
    pub(crate) streams_minted: u32,
    pub(crate) timeline: Vec<proto::Moment>,
    pub(crate) legs: Table<u32, LegRow>,
    /// What an idle session does not have.
    pub(crate) work: Option<Box<Work>>,
}

/// What a session has that is not idle, or has subscribed to something.
#[derive(Clone, Debug, Default)]
pub(crate) struct Work {
    pub(crate) level: Option<proto::Level>,
    pub(crate) subscriptions: BTreeMap<(u32, String), proto::Subscription>,
    pub(crate) calls: Table<u64, CallRow>,
    pub(crate) posts: Table<u64, proto::Post>,
    pub(crate) asks: Table<u64, proto::Ask>,
    pub(crate) answering: Table<u64, proto::Answering>,
    pub(crate) kept: Table<u64, proto::Kept>,
    pub(crate) streams: Table<u32, StreamRow>,
}

#[derive(Clone, Debug)]
pub(crate) struct LegRow {
    /// What it is, but for the id of its session; other records may have the same one.
    leg: Arc<proto::Leg>,
    session: Option<Box<str>>,
    /// Up to where its own stream was read.
    pub(crate) mark: Option<Box<str>>,
}

#[derive(Clone, Debug)]
pub(crate) struct CallRow {
    pub(crate) call: proto::Call,
    pub(crate) state: proto::CallState,
}

#[derive(Clone, Debug)]
pub(crate) struct StreamRow {
    pub(crate) stream: proto::Stream,
    /// The events behind `stream.oldest`, with their times.
    pub(crate) entries: VecDeque<(Timestamp, Bytes)>,
}

// === impl LegRow ===

impl LegRow {
    fn new(mut leg: proto::Leg, mark: Option<Box<str>>, common: &mut Common) -> Self {
        let session = leg.upstream.as_mut().and_then(|upstream| upstream.session.take()).map(Into::into);
        Self { leg: common.leg(leg), session, mark }
    }

    /// The whole of it.
    pub(crate) fn leg(&self) -> proto::Leg {
        let mut leg = (*self.leg).clone();
        if let Some(upstream) = &mut leg.upstream {
            upstream.session = self.session.as_deref().map(str::to_owned);
        }
        leg
    }
}

// === impl Work ===

impl Work {
    /// Whether there is nothing, so that it need not be there.
    pub(crate) fn is_empty(&self) -> bool {
        let Self { level, subscriptions, calls, posts, asks, answering, kept, streams } = self;
        level.is_none()
            && subscriptions.is_empty()
            && calls.is_empty()
            && posts.is_empty()
            && asks.is_empty()
            && answering.is_empty()
            && kept.is_empty()
            && streams.is_empty()
    }
}
