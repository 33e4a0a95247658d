//! The logging level: one of the session, told to every leg.
//!
//! Each change is a version. A client's request is answered when every leg that is up knows its
//! version, so that a call after the answer is logged as the client asked. At most one errand per
//! leg is under way; a change meanwhile is told by the next one. What a backend answers is not
//! looked at: the machine filters by itself too.

use bytes::Bytes;
use quorate_jsonrpc::{Frame, build};

use super::Session;
use crate::calls::{Call, Errand, ErrandEnd, Journey, Owner, Phase};
use crate::config::Delivery;
use crate::effect::{Effect, Effects, Source};
use crate::event::{Purpose, Replay};
use crate::ids::{CallKey, LegKey};
use crate::legs::{Leg, LegState};

/// The level that the client set.
#[derive(Debug)]
pub(super) struct Level {
    pub(super) version: u32,
    severity: u8,
    /// The client's request, sent to each leg with an id of its own.
    frame: Frame,
}

// === impl Level ===

impl Level {
    /// The level that a client has set on another node.
    pub(super) const fn restored(severity: u8, frame: Frame) -> Self {
        Self { version: 1, severity, frame }
    }
}

impl Session {
    /// Takes a new level and returns its version.
    ///
    /// Of a session that is kept on behalf of a stateless client the level only falls, since its calls share it and each
    /// is filtered by itself: a higher one that comes late takes nothing from the others.
    pub(super) fn set_level(&mut self, severity: u8, frame: Frame) -> u32 {
        let is_shared = self.config.delivery == Delivery::Calls;
        if let Some(level) = self.level.as_ref().filter(|level| is_shared && level.severity <= severity) {
            return level.version;
        }
        let version = self.level_version() + 1;
        self.level = Some(Box::new(Level { version, severity, frame }));
        version
    }

    /// The severity that the client set, and its request.
    pub(super) fn level_set(&self) -> Option<(u8, &Frame)> {
        self.level.as_ref().map(|level| (level.severity, &level.frame))
    }

    pub(super) fn level_version(&self) -> u32 {
        self.level.as_ref().map_or(0, |level| level.version)
    }

    pub(super) fn wants_log(&self, severity: u8) -> bool {
        self.level.as_ref().is_none_or(|level| severity >= level.severity)
    }

    /// Tells the level to each leg that is up and does not know it, and answers the requests that
    /// wait for no leg.
    pub(super) fn tell_levels(&mut self, out: &mut Effects) {
        for leg in self.legs.keys_where(Leg::is_up) {
            self.tell_level(leg, out);
        }
        self.settle_levels(out);
    }

    /// Tells the level to one leg; returns whether an errand is under way.
    pub(super) fn tell_level(&mut self, leg: LegKey, out: &mut Effects) -> bool {
        let under_way = self.calls.open.iter().any(|(_, call)| {
            matches!(call.owner, Owner::Machine(Errand::Level { .. }))
                && call.journey().is_some_and(|journey| journey.leg == leg)
        });
        let behind = self.legs.get(leg).is_some_and(|row| row.features.logging && row.level < self.level_version());
        let Some(level) = self.level.as_ref().filter(|_| behind && !under_way) else { return under_way };
        let (version, frame) = (level.version, level.frame.clone());
        self.run_errand(leg, Errand::Level { version }, &frame, out);
        true
    }

    /// Sends a request of the machine's own to a leg that is up.
    pub(super) fn run_errand(&mut self, leg: LegKey, errand: Errand, frame: &Frame, out: &mut Effects) {
        let Some(epoch) = self.legs.get(leg).map(|row| row.epoch) else { return };
        let call = self.calls.mint();
        let frame = frame.with_id(&call.upstream_id());
        let journey =
            Journey { leg, dispatched: Some(epoch), again: false, frame: frame.clone(), event_id: None, terms: None };
        let owner = Owner::Machine(errand);
        let phase = Phase::Leg(Box::new(journey));
        let (progress_token, replay) = (None, Replay::Safe);
        self.calls.open.insert(call, Call::new(owner, phase, progress_token, replay));
        out.push(Effect::Dispatch { call, leg, epoch, frame, terms: None });
    }

    /// An errand has its answer, or none will come.
    pub(super) fn errand_done(&mut self, call: CallKey, end: ErrandEnd, out: &mut Effects) {
        let Some(removed) = self.calls.open.remove(call) else { return };
        self.streams.forget_source(Source::Call(call));
        let Some(leg) = removed.journey().map(|journey| journey.leg) else { return };
        match removed.owner {
            Owner::Machine(Errand::Level { version }) => self.level_told(leg, version, out),
            Owner::Machine(Errand::Resubscribe { uri, all }) => self.resubscribed(leg, &uri, all, end, out),
            Owner::Client { .. } => {}
        }
    }

    /// Answers the requests whose level every leg that is up knows.
    pub(super) fn settle_levels(&mut self, out: &mut Effects) {
        let told = self.legs.iter().filter(|(_, leg)| leg.is_up() && leg.features.logging).map(|(_, leg)| leg.level);
        let told = told.min().unwrap_or(u32::MAX);
        let settled = |call: &Call| matches!(call.phase, Phase::Level { version } if version <= told);
        for call in self.calls.open.keys_where(settled) {
            let answer = self.calls.open.get(call).and_then(level_answer);
            self.close_call(call, answer, out);
        }
    }

    fn level_told(&mut self, leg: LegKey, version: u32, out: &mut Effects) {
        let Some(row) = self.legs.get_mut(leg) else { return };
        row.level = row.level.max(version);
        if !self.tell_level(leg, out) && self.legs.get(leg).is_some_and(|row| row.state == LegState::Preparing) {
            self.leg_is_ready(leg, out);
        }
        self.settle_levels(out);
    }
}

fn level_answer(call: &Call) -> Option<Bytes> {
    match &call.owner {
        Owner::Client { id, purpose: Purpose::SetLevel { result, .. }, .. } => Some(build::result(id, result)),
        Owner::Client { .. } | Owner::Machine(_) => None,
    }
}
