//! What a session's actor is told; see the table in the parent module.
//!
//! Each message becomes one event of the machine, or carries out what the shell owes it. Whoever waits has a channel in it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_jsonrpc::Frame;
use quorate_session::{
    Attachment, CallKey, Content, Event, EventId, Failure, Fault, LegEpoch, LegKey, Rejection, RequestKey, Snapshot,
    Source, StreamId,
};
use tokio::sync::oneshot;

use super::connection::Connection;
use super::{Outgoing, Reply, Terms};
use crate::backend::{self, Opened};
use crate::bridge::Parked;
use crate::shards::NotWritten;

/// The messages of a session's actor; see the table in the parent module.
pub(super) enum Message {
    Post {
        requests: Vec<Outgoing>,
        batch: bool,
        opened: oneshot::Sender<Result<Vec<CallKey>, Rejection>>,
        answer: oneshot::Sender<Reply>,
    },
    Attach {
        last_event_id: Option<EventId>,
        reply: oneshot::Sender<Result<Connection, Rejection>>,
    },
    Park {
        stream: StreamId,
        sequence: u64,
        token: u64,
        place: Parked,
        reply: oneshot::Sender<Result<(), Rejection>>,
    },
    Resume {
        call: CallKey,
        stream: StreamId,
        token: u64,
        responses: Vec<Frame>,
        reply: oneshot::Sender<Result<Connection, Rejection>>,
    },
    Tell {
        event: Event,
    },
    Prime {
        call: CallKey,
    },
    Poll {
        call: CallKey,
        retry: Option<Duration>,
    },
    Upstream(Said),
    /// The upstream stream of a call can be resumed from a place that no frame came with.
    Mark {
        call: CallKey,
        epoch: LegEpoch,
        event_id: Arc<str>,
    },
    /// An answer of the client was sent to its server.
    Sent {
        ask: u64,
    },
    Rejoin {
        stream: StreamId,
        has: Option<u64>,
        primes: bool,
        reply: oneshot::Sender<Result<Connection, Rejection>>,
    },
    Take {
        event: Event,
        reply: oneshot::Sender<Result<(), Rejection>>,
    },
    Written {
        result: Result<(), NotWritten>,
    },
    Flush,
    OfferAgain,
    GiveAway,
    Rest,
    Answer {
        leg: LegKey,
        epoch: LegEpoch,
        answer: Bytes,
    },
    Opened {
        leg: LegKey,
        epoch: LegEpoch,
        opened: Box<Opened>,
    },
    OpenFailed {
        leg: LegKey,
        epoch: LegEpoch,
        fault: Fault,
    },
    Failed {
        call: CallKey,
        epoch: LegEpoch,
        failure: Failure,
        terms: Terms,
    },
    Lost {
        leg: LegKey,
        epoch: LegEpoch,
    },
    Delivered {
        stream: StreamId,
        attachment: Attachment,
        up_to: u64,
    },
    Detached {
        stream: StreamId,
        attachment: Attachment,
        delivered: u64,
    },
    Servers {
        servers: Arc<Vec<backend::Handle>>,
    },
    Subscriber {
        servers: Vec<backend::Handle>,
        uri: Arc<str>,
        reply: oneshot::Sender<Option<backend::Handle>>,
    },
    Knows {
        key: RequestKey,
        reply: oneshot::Sender<bool>,
    },
    Observe {
        reply: oneshot::Sender<Snapshot>,
    },
}

/// A frame of a tool server, as the client gets it.
pub(super) struct Said {
    pub(super) leg: LegKey,
    pub(super) epoch: LegEpoch,
    pub(super) source: Source,
    pub(super) call: Option<CallKey>,
    pub(super) frame: Frame,
    pub(super) content: Content,
    pub(super) event_id: Option<Arc<str>>,
    /// Its place among the frames of its call, where the session outlives the node.
    pub(super) number: Option<u64>,
    /// Nothing follows it.
    pub(super) is_last: bool,
    pub(super) read_on: Option<oneshot::Sender<()>>,
}

// === impl Message ===

impl Message {
    /// Whether it comes of the passing of time and of what was written, and is no sign of life.
    pub(super) const fn is_upkeep(&self) -> bool {
        matches!(
            self,
            Self::Written { .. } | Self::Flush | Self::OfferAgain | Self::Rest | Self::Tell { event: Event::Tick }
        )
    }
}
