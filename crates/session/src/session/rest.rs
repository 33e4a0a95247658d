//! When a session can do without its owner's memory: its record says all that there is.
//!
//! An idle session is its record, and is made again of it when somebody asks or something of it runs out. At rest it has no
//! connection, no call and no question, reads nothing of its backends, and each upstream session that it has can be taken
//! over by its id. What lives with the node (programs, the one stream of HTTP+SSE) keeps a session awake.

use super::Session;
use crate::config::Delivery;
use crate::effect::{Effect, Effects};
use crate::ids::StreamId;
use crate::legs::{Leg, LegState};
use crate::streams::Stream;

impl Session {
    /// Tells whether nothing is under way or waited for, so that the record, once it is written, says all that there is.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.is_quiet() && !self.legs.iter().any(|(_, leg)| leg.is_idle_bridge())
    }

    /// Tells whether it would be [at rest](Self::is_at_rest) after [`Event::Rest`](crate::Event::Rest).
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let waits = |(_, stream): (StreamId, &Stream)| {
            stream.reader.is_some() || stream.parked.is_some() || !stream.held.is_empty()
        };
        self.ended.is_none()
            && self.journal.is_some()
            && self.config.delivery == Delivery::Streams
            && self.calls.open.is_empty()
            && self.calls.posts.is_empty()
            && self.asks.open.is_empty()
            && self.asks.answering.is_empty()
            && !self.streams.all.iter().any(waits)
            && self.unread_bytes() == 0
            && self.legs.iter().all(|(_, leg)| leg.is_quiet())
    }

    pub(super) fn on_rest(&mut self, out: &mut Effects) {
        if !self.is_quiet() {
            return;
        }
        if let Some(journal) = &mut self.journal {
            journal.set_active(self.active_at, out);
        }
        for (leg, row) in self.legs.iter_mut() {
            // Nothing is listened to: nothing is missed until somebody asks again.
            row.reopened = false;
            if row.is_idle_bridge() {
                row.state = LegState::Closed;
                out.push(Effect::CloseLeg { leg, epoch: row.epoch });
            }
        }
    }
}

// === impl Leg ===

impl Leg {
    /// Whether nothing of it needs the session's actor.
    fn is_quiet(&self) -> bool {
        let is_settled = match self.state {
            LegState::Closed => true,
            LegState::Open => self.upstream.is_some() || self.features.bridged,
            LegState::Opening | LegState::Preparing => false,
        };
        is_settled
            && !self.listening
            && !self.adopting
            && self.subscriptions.is_empty()
            && self.notifications.is_empty()
            && self.retry_at.is_none()
            && self.restore_at.is_none()
    }

    fn is_idle_bridge(&self) -> bool {
        self.state == LegState::Open && self.features.bridged
    }
}
