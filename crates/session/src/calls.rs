//! The open calls of a session and the POSTs that they are to be answered by.
//!
//! Plain data with a few questions; the session's handlers change it. Every call of a client
//! belongs to one POST, named by its first call, and a POST lasts until all its calls are closed.
//! Calls of the machine's own (errands) belong to none.

use std::sync::Arc;

use bytes::Bytes;
use quorate_jsonrpc::{Frame, Id};
use quorate_types::Timestamp;

use crate::event::{Purpose, Replay};
use crate::ids::{CallKey, LegEpoch, LegKey, RequestKey, StreamId};
use crate::record::proto;
use crate::table::Table;
use crate::text::same_value;

#[derive(Debug)]
pub(crate) struct Calls {
    /// The last key minted.
    minted: u64,
    pub(crate) open: Table<CallKey, Call>,
    pub(crate) posts: Table<CallKey, Post>,
    pub(crate) kept: Table<CallKey, Kept>,
}

#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) owner: Owner,
    pub(crate) phase: Phase,
    /// The JSON text of the client's progress token.
    pub(crate) progress_token: Option<Bytes>,
    /// What becomes of it when the node is lost that sent it.
    pub(crate) replay: Replay,
    /// Another node sent it, and its answer is read on.
    pub(crate) recovering: bool,
    /// It was sent before by a node that is lost, and is another request for its backend.
    pub(crate) sent_again: bool,
    /// The furthest progress that its client was told.
    pub(crate) told: Option<f64>,
    /// How much of that an earlier owner told, or an earlier request: it is not told again.
    pub(crate) told_before: Option<f64>,
}

#[derive(Debug)]
pub(crate) enum Owner {
    Client { id: Id, post: CallKey, purpose: Purpose },
    Machine(Errand),
}

/// A call of the machine's own.
#[derive(Clone, Debug)]
pub(crate) enum Errand {
    /// Tells a leg the logging level, as of this version.
    Level { version: u32 },
    /// Restores a subscription on a new upstream session.
    Resubscribe {
        uri: Arc<str>,
        /// Whether those that follow are restored after it.
        all: bool,
    },
}

/// How an errand ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrandEnd {
    /// It was done.
    Done,
    /// It failed, or nobody knows.
    Failed,
    /// The backend does not know such errands.
    Unknown,
}

#[derive(Debug)]
pub(crate) enum Phase {
    /// The gateway answers it.
    Gateway,
    /// It waits until every open leg knows this version of the logging level.
    Level { version: u32 },
    /// A backend answers it.
    Leg(Box<Journey>),
}

/// A call's way to a backend.
#[derive(Debug)]
pub(crate) struct Journey {
    pub(crate) leg: LegKey,
    /// The opening of the leg that it was dispatched to; none while it waits for one.
    pub(crate) dispatched: Option<LegEpoch>,
    /// Whether it was dispatched before and certainly never ran.
    pub(crate) again: bool,
    /// The request with its upstream id, kept to dispatch it again and to subscribe again.
    pub(crate) frame: Frame,
    /// Up to where its upstream stream was read.
    pub(crate) event_id: Option<Arc<str>>,
    /// What it is held to.
    pub(crate) terms: Option<Arc<proto::Terms>>,
}

#[derive(Debug)]
pub(crate) struct Post {
    /// How many of its calls are open.
    pub(crate) calls: usize,
    /// Whether its answer is an array.
    pub(crate) batch: bool,
    pub(crate) reply: Reply,
    /// Names it wherever it is sent again.
    pub(crate) key: Option<RequestKey>,
    /// Whether its answer as JSON is kept until it is known that it arrived.
    pub(crate) keeps: bool,
    /// Whether it was told that all streams are in use.
    pub(crate) lacks_stream: bool,
}

/// An answer that was given as JSON, until it is known that it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) key: RequestKey,
    /// The answer; nothing over HTTP+SSE, where the one stream has it.
    pub(crate) body: Bytes,
    pub(crate) until: Timestamp,
}

#[derive(Debug)]
pub(crate) enum Reply {
    /// Nothing was sent; these answers are ready.
    Waiting { answers: Vec<Bytes> },
    /// It is a stream.
    Stream(StreamId),
    /// Its connection broke before anything was sent.
    Broken,
}

// === impl Calls ===

impl Calls {
    pub(crate) const fn new() -> Self {
        Self { minted: 0, open: Table::new(), posts: Table::new(), kept: Table::new() }
    }

    /// The last key minted.
    pub(crate) const fn minted(&self) -> u64 {
        self.minted
    }

    /// Goes on behind keys that were given before.
    pub(crate) const fn skip(&mut self, minted: u64) {
        self.minted = minted;
    }

    pub(crate) const fn mint(&mut self) -> CallKey {
        self.minted += 1;
        CallKey(self.minted)
    }

    /// Returns how many calls of the client are open.
    pub(crate) fn client_len(&self) -> usize {
        self.open.iter().filter(|(_, call)| call.client_id().is_some()).count()
    }

    /// Finds the open call of the client with this id.
    pub(crate) fn by_client_id(&self, id: &Id) -> Option<CallKey> {
        let is_it = |call: &Call| call.client_id().is_some_and(|own| same_value(own.as_json(), id.as_json()));
        self.open.iter().find(|(_, call)| is_it(call)).map(|(key, _)| key)
    }

    /// Returns the calls that wait for a leg, oldest first.
    pub(crate) fn queued_on(&self, leg: LegKey) -> Vec<CallKey> {
        self.open
            .keys_where(|call| call.journey().is_some_and(|journey| journey.leg == leg && journey.dispatched.is_none()))
    }

    /// Returns the calls that were dispatched to one opening of a leg.
    pub(crate) fn dispatched_to(&self, leg: LegKey, epoch: LegEpoch) -> Vec<CallKey> {
        self.open.keys_where(|call| call.is_dispatched_to(leg, epoch))
    }
}

// === impl Call ===

impl Call {
    pub(crate) const fn new(owner: Owner, phase: Phase, progress_token: Option<Bytes>, replay: Replay) -> Self {
        Self {
            owner,
            phase,
            progress_token,
            replay,
            recovering: false,
            sent_again: false,
            told: None,
            told_before: None,
        }
    }

    /// The JSON text of the client's progress token.
    pub(crate) fn token(&self) -> Option<&str> {
        self.progress_token.as_ref().and_then(|token| std::str::from_utf8(token).ok())
    }

    /// Notes that its client is told this progress.
    pub(crate) fn tell(&mut self, progress: Option<f64>) {
        if progress > self.told {
            self.told = progress;
        }
    }

    /// Whether its client has been told this progress, or more, before it was sent again or read on: progress has to increase
    /// (MCP 2025-11-25, "Progress").
    pub(crate) fn was_told(&self, progress: Option<f64>) -> bool {
        progress.is_some() && progress <= self.told_before
    }

    pub(crate) const fn client_id(&self) -> Option<&Id> {
        match &self.owner {
            Owner::Client { id, .. } => Some(id),
            Owner::Machine(_) => None,
        }
    }

    pub(crate) const fn post(&self) -> Option<CallKey> {
        match &self.owner {
            Owner::Client { post, .. } => Some(*post),
            Owner::Machine(_) => None,
        }
    }

    pub(crate) fn journey(&self) -> Option<&Journey> {
        match &self.phase {
            Phase::Leg(journey) => Some(journey),
            Phase::Gateway | Phase::Level { .. } => None,
        }
    }

    pub(crate) fn journey_mut(&mut self) -> Option<&mut Journey> {
        match &mut self.phase {
            Phase::Leg(journey) => Some(journey),
            Phase::Gateway | Phase::Level { .. } => None,
        }
    }

    pub(crate) fn is_dispatched_to(&self, leg: LegKey, epoch: LegEpoch) -> bool {
        self.journey().is_some_and(|journey| journey.leg == leg && journey.dispatched == Some(epoch))
    }

    /// Whether it wants a new subscription.
    pub(crate) const fn subscribes(&self) -> bool {
        matches!(self.owner, Owner::Client { purpose: Purpose::Subscribe { .. }, .. })
    }

    /// Whether it wants a new subscription of this resource.
    pub(crate) fn subscribes_to(&self, leg: LegKey, uri: &str) -> bool {
        let is_wanted = matches!(&self.owner, Owner::Client { purpose: Purpose::Subscribe { uri: wanted }, .. } if **wanted == *uri);
        is_wanted && self.journey().is_some_and(|journey| journey.leg == leg)
    }

    /// Whether what a backend asks may go with it.
    pub(crate) const fn may_be_asked(&self) -> bool {
        matches!(
            self.owner,
            Owner::Client { purpose: Purpose::Plain | Purpose::Subscribe { .. } | Purpose::Unsubscribe { .. }, .. }
        )
    }

    pub(crate) const fn may_be_cancelled(&self) -> bool {
        !matches!(self.owner, Owner::Client { purpose: Purpose::Uncancellable, .. })
    }
}
