//! Requests of backends that wait for the client's answer.
//!
//! The client knows each by an id that the machine minted, a number that is also its progress
//! token where the backend gave one: two backends may use the same ids and tokens. An ask is
//! answered at most once: taking it is removing it.

use bytes::Bytes;
use quorate_jsonrpc::Id;
use quorate_types::Timestamp;

use crate::ids::{CallKey, LegEpoch, LegKey, StreamId};
use crate::table::Table;
use crate::text::same_value;

#[derive(Debug)]
pub(crate) struct Asks {
    /// The last id minted.
    minted: u64,
    pub(crate) open: Table<u64, Ask>,
    /// Answers that were taken, and are not known to have been sent.
    pub(crate) answering: Table<u64, Answering>,
}

/// An answer of the client that is on its way to its backend.
#[derive(Clone, Debug)]
pub(crate) struct Answering {
    pub(crate) leg: LegKey,
    pub(crate) epoch: LegEpoch,
    pub(crate) frame: Bytes,
}

#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) leg: LegKey,
    pub(crate) epoch: LegEpoch,
    /// The backend's own id.
    pub(crate) upstream_id: Id,
    /// The backend's own progress token, as JSON text.
    pub(crate) token: Option<Bytes>,
    /// The call that it likely belongs to.
    pub(crate) call: Option<CallKey>,
    /// The call that it certainly belongs to, whose backend waits for the client because of it.
    pub(crate) pauses: Option<CallKey>,
    /// Where it was sent.
    pub(crate) stream: StreamId,
    /// When the backend is told that nobody answers.
    pub(crate) deadline: Timestamp,
}

// === impl Asks ===

impl Asks {
    pub(crate) const fn new() -> Self {
        Self { minted: 0, open: Table::new(), answering: Table::new() }
    }

    /// The last id minted.
    pub(crate) const fn minted(&self) -> u64 {
        self.minted
    }

    /// Goes on behind ids that were given before.
    pub(crate) const fn skip(&mut self, minted: u64) {
        self.minted = minted;
    }

    pub(crate) const fn mint(&mut self) -> u64 {
        self.minted += 1;
        self.minted
    }

    /// Tells whether the backend of a call waits for the client.
    pub(crate) fn pauses(&self, call: CallKey) -> bool {
        self.open.iter().any(|(_, ask)| ask.pauses == Some(call))
    }

    /// Finds the open ask that the backend knows by this id.
    pub(crate) fn by_upstream_id(&self, leg: LegKey, epoch: LegEpoch, id: &Id) -> Option<u64> {
        self.open
            .iter()
            .find(|(_, ask)| {
                ask.leg == leg && ask.epoch == epoch && same_value(ask.upstream_id.as_json(), id.as_json())
            })
            .map(|(key, _)| key)
    }
}
