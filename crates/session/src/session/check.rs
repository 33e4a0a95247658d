//! The invariants of a session, and what it shows of itself.
//!
//! `check` is called after every step in debug builds and tests. What it finds is never the fault
//! of a client or a backend.

use std::collections::BTreeSet;

use super::Session;
use crate::calls::{Call, Owner, Reply};
use crate::effect::Source;
use crate::ids::{CallKey, StreamId};
use crate::legs::LegState;
use crate::observe::Snapshot;
use crate::ring::Bounds;
use crate::violation::Violation;

impl Session {
    /// Verifies the invariants of the state.
    ///
    /// # Errors
    /// The first [`Violation`] found.
    pub fn check(&self) -> Result<(), Violation> {
        self.check_end()?;
        self.check_limits()?;
        for (key, call) in self.calls.open.iter() {
            self.check_call(key, call).map_err(|what| Violation::Call { call: key, what })?;
        }
        self.check_posts()?;
        self.check_legs()?;
        self.check_streams()
    }

    /// Returns what the session holds.
    #[must_use]
    pub fn observe(&self) -> Snapshot {
        let streams = || self.streams.all.iter().map(|(_, stream)| stream);
        let closed = streams().filter(|stream| stream.closed).count();
        Snapshot {
            ended: self.ended.is_some(),
            calls: self.calls.open.len(),
            server_requests: self.asks.open.len(),
            streams_open: self.streams.all.len() - closed,
            streams_retained: closed,
            attached: self.streams.attached(),
            retained_events: streams().map(|stream| stream.ring.len()).sum(),
            retained_bytes: self.streams.retained_bytes(),
            held: streams().map(|stream| stream.held.len()).sum(),
            legs_open: self.legs.iter().filter(|(_, leg)| leg.is_up()).count(),
            subscriptions: self.subscriptions_len(),
            parked: self.streams.parked(),
        }
    }

    fn check_end(&self) -> Result<(), Violation> {
        if self.ended.is_none() {
            return Ok(());
        }
        let left = [
            ("calls", self.calls.open.is_empty() && self.calls.posts.is_empty()),
            ("requests of backends", self.asks.open.is_empty()),
            ("legs", self.legs.iter().all(|(_, leg)| leg.state == LegState::Opening)),
            ("streams", self.streams.all.iter().all(|(_, stream)| stream.closed && stream.reader.is_some())),
        ];
        match left.into_iter().find(|(_, gone)| !gone) {
            Some((what, _)) => Err(Violation::LeftAfterEnd { what }),
            None => Ok(()),
        }
    }

    fn check_limits(&self) -> Result<(), Violation> {
        let limits = [
            ("calls_max", self.calls.client_len(), self.config.calls_max),
            // The standalone stream comes on top of those of POSTs.
            ("streams_max", self.streams.all.len(), self.config.streams_max + 1),
            ("server_requests_max", self.asks.open.len(), self.config.server_requests_max),
            ("parked_max", self.streams.parked(), self.config.parked_max),
            ("subscriptions_max", self.subscriptions_len(), self.config.subscriptions_max),
        ];
        match limits.into_iter().find(|(_, count, max)| count > max) {
            Some((limit, count, max)) => Err(Violation::LimitExceeded { limit, count, max }),
            None => Ok(()),
        }
    }

    fn check_call(&self, key: CallKey, call: &Call) -> Result<(), &'static str> {
        if call.post().is_some_and(|post| self.calls.posts.get(post).is_none()) {
            return Err("its POST is gone");
        }
        if call.client_id().is_some_and(|id| self.calls.by_client_id(id) != Some(key)) {
            return Err("another open call has its id");
        }
        let Some(journey) = call.journey() else { return Ok(()) };
        let leg = self.legs.get(journey.leg).ok_or("its leg does not exist")?;
        match (journey.dispatched, leg.state) {
            (None, LegState::Closed | LegState::Open) => Err("it waits for a leg that does not open"),
            (Some(epoch), _) if epoch > leg.epoch => Err("it was dispatched to an opening that never was"),
            (Some(epoch), _) if matches!(call.owner, Owner::Machine(_)) && !leg.is_up_as(epoch) => {
                Err("an errand outlives its upstream session")
            }
            (None | Some(_), _) => Ok(()),
        }
    }

    fn check_posts(&self) -> Result<(), Violation> {
        let mut streams = BTreeSet::new();
        for (key, post) in self.calls.posts.iter() {
            let open = self.calls.open.iter().filter(|(_, call)| call.post() == Some(key)).count();
            let sound = match &post.reply {
                _ if open == 0 || open != post.calls => Err("its POST miscounts its calls"),
                Reply::Waiting { answers } if !post.batch && !answers.is_empty() => Err("it is answered and open"),
                Reply::Stream(StreamId::STANDALONE) | Reply::Waiting { .. } | Reply::Broken => Ok(()),
                Reply::Stream(stream) => match self.streams.all.get(*stream) {
                    Some(row) if row.closed => Err("its stream is complete"),
                    Some(_) if !streams.insert(*stream) => Err("its stream is another POST's"),
                    Some(_) => Ok(()),
                    None => Err("its stream is gone"),
                },
            };
            sound.map_err(|what| Violation::Call { call: key, what })?;
        }
        // Of the others only complete ones and the standalone one may be left.
        let orphan = self
            .streams
            .all
            .iter()
            .find(|(id, stream)| *id != StreamId::STANDALONE && !stream.closed && !streams.contains(id));
        match orphan {
            Some((stream, _)) => Err(Violation::Stream { stream, what: "it is open and nobody fills it" }),
            None => Ok(()),
        }
    }

    fn check_legs(&self) -> Result<(), Violation> {
        for (key, leg) in self.legs.iter() {
            let sound = match leg.state {
                LegState::Closed | LegState::Opening | LegState::Preparing if leg.listening => {
                    Err("its stream is read although it is not open")
                }
                LegState::Opening | LegState::Preparing | LegState::Open if leg.retry_at.is_some() => {
                    Err("it is to be opened although it is")
                }
                LegState::Closed | LegState::Opening | LegState::Preparing if leg.restore_at.is_some() => {
                    Err("subscriptions are to be restored although it is not open")
                }
                LegState::Closed | LegState::Preparing | LegState::Open if !leg.notifications.is_empty() => {
                    Err("notifications wait although it does not open")
                }
                LegState::Closed | LegState::Opening | LegState::Preparing | LegState::Open => Ok(()),
            };
            sound.map_err(|what| Violation::Leg { leg: key, what })?;
        }
        let dangling = self.asks.open.iter().find(|(_, ask)| {
            !self.legs.get(ask.leg).is_some_and(|leg| leg.is_up_as(ask.epoch) || leg.is_adopted_as(ask.epoch))
        });
        match dangling {
            Some((_, ask)) => Err(Violation::Leg { leg: ask.leg, what: "a request of a lost session waits" }),
            None => Ok(()),
        }
    }

    fn check_streams(&self) -> Result<(), Violation> {
        for (id, stream) in self.streams.all.iter() {
            let alive = |source: &Source| match source {
                Source::Call(call) => self.calls.open.get(*call).is_some(),
                Source::Listen(leg, epoch) => self.legs.get(*leg).is_some_and(|leg| leg.is_up_as(*epoch)),
            };
            let full = stream.ring.is_full(Bounds::from(&self.config));
            let sound = match stream.ring.check(self.config.window_events_max) {
                Ok(()) if !stream.held.is_empty() && !full => Err("sources are held although there is room"),
                Ok(()) if stream.parked.is_some() && stream.reader.is_some() => Err("it is read although it is parked"),
                Ok(()) if !stream.held.iter().all(alive) => Err("a source is held that is gone"),
                sound => sound,
            };
            sound.map_err(|what| Violation::Stream { stream: id, what })?;
        }
        Ok(())
    }
}
