//! Legs: opened on demand, lost, opened again, and what becomes of their calls meanwhile.
//!
//! A call opens its leg at once. Standing demand (subscriptions, or a client that listens to a leg
//! that was open before) opens it after a pause that doubles, so that a broken backend is not
//! hammered. A leg that is lost over and over fails its waiting calls instead of trying for ever.

use std::ops::Bound;
use std::sync::Arc;

use super::Session;
use crate::calls::{Errand, ErrandEnd, Owner};
use crate::config::Delivery;
use crate::effect::{Effect, Effects, Note, Source};
use crate::event::{Fault, Features, Listen};
use crate::ids::{LegEpoch, LegKey};
use crate::legs::{LOSSES_MAX, Leg, LegAt, LegState, RESTORES_MAX};
use crate::record::proto::Upstream;

impl Session {
    pub(super) fn open_leg(&mut self, leg: LegKey, out: &mut Effects) {
        if self.legs.get(leg).is_none() {
            self.legs.insert(leg, Leg::new());
        }
        let row = self.legs.get_mut(leg).expect("found or inserted");
        row.state = LegState::Opening;
        row.epoch = LegEpoch(row.epoch.0 + 1);
        row.retry_at = None;
        out.push(Effect::OpenLeg { leg, epoch: row.epoch });
    }

    pub(super) fn on_leg_opened(
        &mut self,
        (leg, epoch): LegAt,
        features: Features,
        upstream: Option<Upstream>,
        out: &mut Effects,
    ) {
        let Some(row) = self.opening(leg, epoch) else {
            out.note(Note::ReportStale);
            return;
        };
        row.state = LegState::Preparing;
        row.features = features;
        row.upstream = upstream.map(Arc::new);
        row.level = 0;
        for bytes in std::mem::take(&mut row.notifications) {
            out.push(Effect::SendUpstream { leg, epoch, bytes, ask: None });
        }
        if !self.tell_level(leg, out) {
            self.leg_is_ready(leg, out);
        }
    }

    /// Opens a leg that is initialized and knows the level to its calls.
    pub(super) fn leg_is_ready(&mut self, leg: LegKey, out: &mut Effects) {
        let Some(row) = self.legs.get_mut(leg) else { return };
        row.state = LegState::Open;
        let reopened = std::mem::replace(&mut row.reopened, true);
        let subscribed = row.subscriptions.keys().cloned().collect();
        if std::mem::take(&mut row.adopting) {
            self.resume_calls(leg, out);
        }
        for call in self.calls.queued_on(leg) {
            self.dispatch(call, out);
        }
        self.listen(leg, out);
        self.restore_next_subscription(leg, None, out);
        if reopened {
            out.push(Effect::LegReopened { leg, subscribed });
        }
    }

    pub(super) fn on_leg_failed(&mut self, leg: LegKey, epoch: LegEpoch, fault: &Fault, out: &mut Effects) {
        let Some(row) = self.opening(leg, epoch) else {
            out.note(Note::ReportStale);
            return;
        };
        if row.adopting {
            return self.adoption_failed(leg, out);
        }
        row.state = LegState::Closed;
        row.failures = row.failures.saturating_add(1);
        if !std::mem::take(&mut row.notifications).is_empty() {
            out.note(Note::NotificationDropped);
        }
        for call in self.calls.queued_on(leg) {
            self.fail_call(call, fault, out);
        }
        self.plan_retry(leg);
    }

    pub(super) fn on_leg_lost(&mut self, at: LegAt, fault: &Fault, severed: bool, out: &mut Effects) {
        if self.legs.get(at.0).is_some_and(|leg| leg.is_up_as(at.1)) {
            self.lose_leg(at, fault, severed, out);
        } else if severed {
            // It was known to be lost, but not that its calls cannot be answered any more.
            self.sever(at, fault, out);
        } else {
            out.note(Note::ReportStale);
        }
    }

    fn sever(&mut self, at: LegAt, fault: &Fault, out: &mut Effects) {
        for call in self.calls.dispatched_to(at.0, at.1) {
            out.push(Effect::Abandon { call });
            if self.calls.open.get(call).is_some_and(|row| row.recovering) {
                self.lost_with_node(call, out);
            } else {
                self.fail_call(call, fault, out);
            }
        }
    }

    /// Forgets answers of the client that have nobody to go to any more.
    pub(super) fn forget_answering(&mut self, at: LegAt) {
        self.asks.answering.retain(|_, row| (row.leg, row.epoch) != at);
    }

    /// Forgets an upstream session that was up, and opens the next one if calls wait for it.
    pub(super) fn lose_leg(&mut self, at: LegAt, fault: &Fault, severed: bool, out: &mut Effects) {
        let (leg, epoch) = at;
        let Some(row) = self.legs.get_mut(leg) else { return };
        row.state = LegState::Closed;
        let was_adopting = std::mem::take(&mut row.adopting);
        row.upstream = None;
        row.mark = None;
        self.subscriptions_changed += 1;
        let listened = std::mem::take(&mut row.listening);
        row.failures = row.failures.saturating_add(1);
        let broken = row.failures >= LOSSES_MAX;
        row.unsubscribe_all();
        out.note(Note::LegLost { leg });
        if listened {
            out.push(Effect::CloseListen { leg, epoch });
        }
        self.streams.forget_source(Source::Listen(leg, epoch));
        self.retract_asks_from(at, out);
        self.forget_answering(at);
        for call in self.calls.dispatched_to(leg, epoch) {
            if self.calls.open.get(call).is_some_and(|call| matches!(call.owner, Owner::Machine(_))) {
                self.calls.open.remove(call);
                self.streams.forget_source(Source::Call(call));
                out.push(Effect::Abandon { call });
            }
        }
        if severed {
            self.sever(at, fault, out);
        }
        if was_adopting {
            // Nobody reads their answers yet.
            for call in self.calls.dispatched_to(leg, epoch) {
                self.lost_with_node(call, out);
            }
        }
        if self.legs.get(leg).is_some_and(|row| row.state != LegState::Closed) {
            // A call that is sent again has opened the next one.
            return self.settle_levels(out);
        }
        let waiting = self.calls.queued_on(leg);
        if broken {
            for call in waiting {
                self.fail_call(call, fault, out);
            }
            self.plan_retry(leg);
        } else if waiting.is_empty() {
            self.plan_retry(leg);
        } else {
            self.open_leg(leg, out);
        }
        self.settle_levels(out);
    }

    /// Sets when a closed leg is opened again without a call that needs it.
    pub(super) fn plan_retry(&mut self, leg: LegKey) {
        let wanted = self.has_standing_demand(leg);
        let (now, config) = (self.now, self.config);
        if let Some(row) = self.legs.get_mut(leg).filter(|row| row.state == LegState::Closed) {
            row.retry_at = wanted.then(|| now + row.pause(&config));
        }
    }

    pub(super) fn has_standing_demand(&self, leg: LegKey) -> bool {
        let listened = self.streams.standalone_is_live(self.now, &self.config);
        self.legs.get(leg).is_some_and(|row| !row.subscriptions.is_empty() || (row.reopened && listened))
    }

    /// The client reads the standalone stream: legs are to fill it.
    pub(super) fn listen_everywhere(&mut self, out: &mut Effects) {
        for leg in self.legs.keys_where(|_| true) {
            self.listen(leg, out);
            if self.legs.get(leg).is_some_and(|row| row.retry_at.is_none()) {
                self.plan_retry(leg);
            }
        }
    }

    /// Restores the subscription after `last` that the leg's upstream session does not have, in the
    /// order of their URIs: one at a time, so that a backend that just came back is not met by a
    /// thousand requests.
    pub(super) fn restore_next_subscription(&mut self, leg: LegKey, last: Option<&Arc<str>>, out: &mut Effects) {
        let Some(row) = self.legs.get(leg).filter(|row| row.state == LegState::Open) else { return };
        let after = last.map_or(Bound::Unbounded, |last| Bound::Excluded(last.clone()));
        let mut following = row.subscriptions.range((after, Bound::Unbounded));
        let Some((uri, _)) = following.find(|(_, subscription)| !subscription.is_live) else { return };
        let uri = uri.clone();
        self.restore_subscription(leg, &uri, true, out);
    }

    /// Restores one subscription if its leg is open, and then `all` that follow; otherwise that
    /// happens when it opens.
    pub(super) fn restore_subscription(&mut self, leg: LegKey, uri: &Arc<str>, all: bool, out: &mut Effects) {
        let Some(row) = self.legs.get(leg) else { return };
        match (row.state, row.subscriptions.get(uri)) {
            (LegState::Open, Some(subscription)) => {
                let frame = subscription.frame.clone();
                self.run_errand(leg, Errand::Resubscribe { uri: uri.clone(), all }, &frame, out);
            }
            (LegState::Closed, Some(_)) if row.retry_at.is_none() => self.plan_retry(leg),
            (LegState::Closed | LegState::Opening | LegState::Preparing | LegState::Open, _) => {}
        }
    }

    /// A subscription was restored, or not: then it is tried again, unless that was often enough or
    /// the backend does not know how.
    pub(super) fn resubscribed(&mut self, leg: LegKey, uri: &Arc<str>, all: bool, end: ErrandEnd, out: &mut Effects) {
        self.subscriptions_changed += 1;
        if let Some(row) = self.legs.get_mut(leg)
            && let Some(subscription) = row.subscriptions.get_mut(uri)
        {
            subscription.is_live = end == ErrandEnd::Done;
            subscription.failures = if subscription.is_live { 0 } else { subscription.failures + 1 };
            if end == ErrandEnd::Unknown || subscription.failures >= RESTORES_MAX {
                row.subscriptions.remove(uri);
                out.note(Note::SubscriptionLost { leg });
            }
        }
        if all {
            self.restore_next_subscription(leg, Some(uri), out);
        }
        if self.is_restoring(leg) {
            return;
        }
        let (now, config) = (self.now, self.config);
        if let Some(row) = self.legs.get_mut(leg).filter(|row| row.state == LegState::Open) {
            row.restore_at = row.restore_pause(&config).map(|pause| now + pause);
        }
    }

    /// Tries again to restore what could not be restored.
    pub(super) fn restore_due(&mut self, out: &mut Effects) {
        let now = self.now;
        for leg in self.legs.keys_where(|leg| leg.restore_at.is_some_and(|at| at <= now)) {
            if let Some(row) = self.legs.get_mut(leg) {
                row.restore_at = None;
            }
            // What is under way plans the next time when it has ended.
            if !self.is_restoring(leg) {
                self.restore_next_subscription(leg, None, out);
            }
        }
    }

    fn is_restoring(&self, leg: LegKey) -> bool {
        self.calls.open.iter().any(|(_, call)| {
            matches!(call.owner, Owner::Machine(Errand::Resubscribe { .. }))
                && call.journey().is_some_and(|journey| journey.leg == leg)
        })
    }

    pub(super) fn subscriptions_len(&self) -> usize {
        self.legs.iter().map(|(_, leg)| leg.subscriptions.len()).sum()
    }

    /// Whether a leg's own stream may be held back for a full stream of the client.
    pub(super) fn may_hold(&self, leg: LegKey) -> bool {
        match self.legs.get(leg).map_or(Listen::Separate, |row| row.features.listen) {
            Listen::Separate => true,
            // It carries answers too: only where these go to the same stream of the client.
            Listen::Shared => self.config.delivery == Delivery::Single,
        }
    }

    pub(super) fn close_late_leg(&mut self, leg: LegKey, epoch: LegEpoch, out: &mut Effects) {
        if self.opening(leg, epoch).is_some() {
            self.legs.remove(leg);
            out.push(Effect::CloseLeg { leg, epoch });
        }
    }

    pub(super) fn forget_late_leg(&mut self, leg: LegKey, epoch: LegEpoch) {
        if self.opening(leg, epoch).is_some() {
            self.legs.remove(leg);
        }
    }

    fn listen(&mut self, leg: LegKey, out: &mut Effects) {
        let live = self.config.delivery == Delivery::Calls || self.streams.standalone_is_live(self.now, &self.config);
        let Some(row) = self.legs.get_mut(leg) else { return };
        if (live || row.shares_one_stream()) && row.state == LegState::Open && !row.listening {
            row.listening = true;
            // From now on something is missed while it is not open.
            row.reopened = true;
            out.push(Effect::OpenListen { leg, epoch: row.epoch, event_id: row.mark.clone() });
        }
    }

    fn opening(&mut self, leg: LegKey, epoch: LegEpoch) -> Option<&mut Leg> {
        self.legs.get_mut(leg).filter(|row| row.state == LegState::Opening && row.epoch == epoch)
    }
}
