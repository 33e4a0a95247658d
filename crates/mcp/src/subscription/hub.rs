//! The hub's machine: see the module above for its states and invariants.
//!
//! In: an [`Event`] and the time. Out: [`Effect`]s. Every event ends the same way: a listen is
//! opened if somebody wants what no listen asks for, and the next wake-up is planned. The cost of
//! joining, leaving and replacing a listen is linear in the bounded interests; the cost of a
//! notification is that of its subscribers.

use std::collections::BTreeMap;

use quorate_types::{PrincipalDigest, Timestamp};

use super::{Change, Config, Effect, End, Event, Index, Interest, ListenId, Rejection, SubscriberId, Violation};

/// The machine of one backend.
#[derive(Clone, Debug)]
pub struct Hub {
    config: Config,
    subscribers: BTreeMap<SubscriberId, Subscriber>,
    index: Index,
    /// The sum of [`Interest::items`] of all subscribers.
    items: usize,
    /// What each principal has of both; nobody is there with nothing.
    shares: BTreeMap<PrincipalDigest, Share>,
    listens_opened: u64,
    pending: Option<Pending>,
    current: Option<Current>,
    draining: Option<Draining>,
    failures: u32,
    /// Whether the backend said that it has no listen, when it was asked last.
    is_unsupported: bool,
    /// No listen is opened before this time.
    retry_at: Timestamp,
    /// When to replace a current listen that is wider than the union.
    shrink_at: Option<Timestamp>,
    wake_at: Option<Timestamp>,
}

#[derive(Clone, Debug)]
struct Subscriber {
    principal: PrincipalDigest,
    interest: Interest,
    state: State,
}

/// A principal's part of what all subscribers share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Share {
    subscribers: usize,
    items: usize,
}

#[derive(Clone, Debug)]
enum State {
    /// Not acknowledged.
    Waiting { deadline: Timestamp },
    /// Acknowledged; `served` is what the current listen honours of its interest.
    Live { served: Interest },
}

#[derive(Clone, Debug)]
struct Pending {
    listen: ListenId,
    interest: Interest,
    deadline: Timestamp,
}

#[derive(Clone, Debug)]
struct Current {
    listen: ListenId,
    interest: Interest,
    honoured: Interest,
    since: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Draining {
    listen: ListenId,
    until: Timestamp,
}

/// What a listen is to the hub.
enum Role {
    Pending,
    Current,
    Draining,
}

// === impl Hub ===

impl Hub {
    /// Makes a hub without subscribers.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            subscribers: BTreeMap::new(),
            index: Index::default(),
            items: 0,
            shares: BTreeMap::new(),
            listens_opened: 0,
            pending: None,
            current: None,
            draining: None,
            failures: 0,
            is_unsupported: false,
            retry_at: Timestamp::from_millis(0),
            shrink_at: None,
            wake_at: None,
        }
    }

    /// Returns the number of subscribers.
    #[must_use]
    pub fn subscribers(&self) -> usize {
        self.subscribers.len()
    }

    /// Tells whether a listen is live.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        self.current.is_some()
    }

    /// Tells whether a subscriber is served all that the backend honours of its interest: what is
    /// missing was refused then, and is not only late.
    #[must_use]
    pub fn is_settled(&self, subscriber: SubscriberId) -> bool {
        let covers = |subscriber: &Subscriber| self.covers(&subscriber.interest);
        self.is_unsupported || self.subscribers.get(&subscriber).is_some_and(covers)
    }

    /// Takes an event and says what to do, in order.
    ///
    /// # Errors
    /// [`Rejection`]; the hub is then as before, and there is nothing to do.
    pub fn step(&mut self, now: Timestamp, event: Event) -> Result<Vec<Effect>, Rejection> {
        let mut effects = Vec::new();
        match event {
            Event::Join { subscriber, principal, interest } => {
                self.join(now, subscriber, principal, interest, &mut effects)?;
            }
            Event::Leave { subscriber } => self.leave(now, subscriber, &mut effects)?,
            Event::Acknowledged { listen, honoured } => self.acknowledged(now, listen, &honoured, &mut effects)?,
            Event::Notified { listen, change } => {
                self.notified(listen, &change, &mut effects)?;
                return Ok(effects);
            }
            Event::Ended { listen, end } => self.ended(now, listen, end, &mut effects)?,
            Event::Tick => self.tick(now, &mut effects),
        }
        self.open_if_needed(now, &mut effects);
        self.plan_wake(&mut effects);
        debug_assert_eq!(self.check(), Ok(()), "the hub's invariants hold");
        Ok(effects)
    }

    fn join(
        &mut self,
        now: Timestamp,
        subscriber: SubscriberId,
        principal: PrincipalDigest,
        interest: Interest,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Rejection> {
        if self.subscribers.contains_key(&subscriber) {
            return Err(Rejection::DuplicateSubscriber { subscriber });
        }
        let share = self.shares.get(&principal).copied().unwrap_or_default();
        if share.subscribers >= self.config.principal_subscribers_max {
            return Err(Rejection::TooManyOfPrincipal { max: self.config.principal_subscribers_max });
        }
        if share.items + interest.items() > self.config.principal_items_max {
            return Err(Rejection::TooManyItemsOfPrincipal { max: self.config.principal_items_max });
        }
        if self.subscribers.len() >= self.config.subscribers_max {
            return Err(Rejection::TooManySubscribers { max: self.config.subscribers_max });
        }
        if self.items + interest.items() > self.config.items_max {
            return Err(Rejection::TooManyItems { max: self.config.items_max });
        }
        self.items += interest.items();
        let share = Share { subscribers: share.subscribers + 1, items: share.items + interest.items() };
        self.shares.insert(principal, share);
        self.index.insert(subscriber, &interest);
        let state = State::Waiting { deadline: now + self.config.acknowledge_timeout };
        self.subscribers.insert(subscriber, Subscriber { principal, interest, state });
        self.acknowledge_where(effects, |hub, subscriber| hub.covers(&subscriber.interest));
        Ok(())
    }

    fn leave(&mut self, now: Timestamp, subscriber: SubscriberId, effects: &mut Vec<Effect>) -> Result<(), Rejection> {
        let left = self.subscribers.remove(&subscriber).ok_or(Rejection::UnknownSubscriber { subscriber })?;
        self.items -= left.interest.items();
        if let Some(share) = self.shares.get_mut(&left.principal) {
            share.subscribers -= 1;
            share.items -= left.interest.items();
            if share.subscribers == 0 {
                self.shares.remove(&left.principal);
            }
        }
        let unwanted = self.index.remove(subscriber, &left.interest);
        if self.index.is_empty() {
            self.close_all(effects);
        } else if !unwanted.is_empty() && self.current.is_some() {
            self.shrink_at.get_or_insert(now + self.config.shrink_delay);
        }
        Ok(())
    }

    fn acknowledged(
        &mut self,
        now: Timestamp,
        listen: ListenId,
        honoured: &Interest,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Rejection> {
        match self.role(listen)? {
            Role::Pending => {}
            Role::Current | Role::Draining => return Err(Rejection::OutOfOrder { listen }),
        }
        let Some(Pending { interest, .. }) = self.pending.take() else { return Ok(()) };
        let honoured = interest.intersection(honoured);
        self.is_unsupported = false;
        let replaced = self.current.replace(Current { listen, interest, honoured, since: now });
        if let Some(replaced) = replaced.map(|current| current.listen).or(self.draining.map(|draining| draining.listen))
        {
            self.drain(now, replaced, effects);
        }
        self.shrink_at = self.is_wider_than_needed().then(|| now + self.config.shrink_delay);
        self.serve_live(effects);
        self.acknowledge_where(effects, |hub, subscriber| hub.covers(&subscriber.interest));
        Ok(())
    }

    fn notified(&self, listen: ListenId, change: &Change, effects: &mut Vec<Effect>) -> Result<(), Rejection> {
        match self.role(listen)? {
            Role::Current | Role::Draining => {}
            Role::Pending => return Err(Rejection::OutOfOrder { listen }),
        }
        let mut subscribers: Vec<SubscriberId> = self.index.wanting(change).into_iter().collect();
        subscribers.retain(|id| self.subscribers.get(id).is_some_and(Subscriber::is_live));
        if !subscribers.is_empty() {
            effects.push(Effect::Deliver { subscribers });
        }
        Ok(())
    }

    fn ended(
        &mut self,
        now: Timestamp,
        listen: ListenId,
        end: End,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Rejection> {
        match self.role(listen)? {
            Role::Draining => self.draining = None,
            Role::Pending => self.fail_pending(now, end, effects),
            Role::Current => {
                let stable = self.current.take().is_some_and(|lost| now.since(lost.since) >= self.config.stable_after);
                self.shrink_at = None;
                if stable && end == End::Lost {
                    self.is_unsupported = false;
                    self.failures = 0;
                    self.retry_at = now;
                } else {
                    self.back_off(now, end);
                }
                self.serve_live(effects);
            }
        }
        Ok(())
    }

    fn tick(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        // Without a current listen, the replaced one is better than none.
        if self.is_live()
            && let Some(draining) = self.draining.take_if(|draining| draining.until <= now)
        {
            effects.push(Effect::Close { listen: draining.listen });
        }
        if let Some(Pending { listen, .. }) = self.pending.as_ref().filter(|pending| pending.deadline <= now) {
            effects.push(Effect::Close { listen: *listen });
            self.fail_pending(now, End::Lost, effects);
        }
        self.acknowledge_where(effects, |_, subscriber| match subscriber.state {
            State::Waiting { deadline } => deadline <= now,
            State::Live { .. } => false,
        });
        if self.shrink_at.is_some_and(|at| at <= now) {
            self.shrink_at = None;
            // A pending listen is the replacement: whether another is needed shows when it has come.
            if self.pending.is_none() && self.is_wider_than_needed() {
                if self.retry_at <= now {
                    self.open(now, effects);
                } else {
                    self.shrink_at = Some(self.retry_at);
                }
            }
        }
    }

    /// Opens a listen when somebody wants something that neither listen asks for.
    fn open_if_needed(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.pending.is_none() && self.retry_at <= now && self.is_narrower_than_needed() {
            self.open(now, effects);
        }
    }

    fn open(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        self.listens_opened += 1;
        let listen = ListenId(self.listens_opened);
        let interest = self.index.union();
        effects.push(Effect::Open { listen, interest: interest.clone() });
        self.pending = Some(Pending { listen, interest, deadline: now + self.config.open_timeout });
    }

    /// The pending listen will not come: whoever waited for it is told what there is instead.
    fn fail_pending(&mut self, now: Timestamp, end: End, effects: &mut Vec<Effect>) {
        let Some(failed) = self.pending.take() else { return };
        self.back_off(now, end);
        self.shrink_at = self.is_wider_than_needed().then(|| now + self.config.shrink_delay);
        self.acknowledge_where(effects, |_, subscriber| failed.interest.covers(&subscriber.interest));
    }

    fn back_off(&mut self, now: Timestamp, end: End) {
        let delay = match end {
            End::Lost => self.config.retry_delay_min.saturating_mul(2_u32.saturating_pow(self.failures)),
            End::Unsupported => self.config.retry_delay_max,
        };
        self.is_unsupported = end == End::Unsupported;
        self.failures = self.failures.saturating_add(1);
        self.retry_at = now + delay.min(self.config.retry_delay_max);
    }

    /// Lets a replaced listen live on for what is still on its way; at most one at a time.
    fn drain(&mut self, now: Timestamp, listen: ListenId, effects: &mut Vec<Effect>) {
        let draining = Draining { listen, until: now + self.config.overlap };
        if let Some(earlier) = self.draining.replace(draining).filter(|earlier| earlier.listen != listen) {
            effects.push(Effect::Close { listen: earlier.listen });
        }
    }

    fn close_all(&mut self, effects: &mut Vec<Effect>) {
        let listens = [
            self.draining.take().map(|draining| draining.listen),
            self.current.take().map(|current| current.listen),
            self.pending.take().map(|pending| pending.listen),
        ];
        effects.extend(listens.into_iter().flatten().map(|listen| Effect::Close { listen }));
        self.shrink_at = None;
    }

    /// Acknowledges those waiting subscribers for which `ready` holds, with what is honoured now.
    fn acknowledge_where(&mut self, effects: &mut Vec<Effect>, ready: impl Fn(&Self, &Subscriber) -> bool) {
        let waiting = self.subscribers.iter().filter(|(_, subscriber)| !subscriber.is_live());
        let ready: Vec<SubscriberId> =
            waiting.filter(|(_, subscriber)| ready(self, subscriber)).map(|(id, _)| *id).collect();
        let current = self.current.as_ref().map(|current| &current.honoured);
        for id in ready {
            let Some(subscriber) = self.subscribers.get_mut(&id) else { continue };
            let served = current.map(|honoured| subscriber.interest.intersection(honoured)).unwrap_or_default();
            effects.push(Effect::Acknowledge { subscriber: id, honoured: served.clone() });
            subscriber.state = State::Live { served };
        }
    }

    /// Brings what live subscribers are served up to date with the current listen, and announces
    /// to each what it was not served until now.
    fn serve_live(&mut self, effects: &mut Vec<Effect>) {
        let current = self.current.as_ref().map(|current| &current.honoured);
        for (&id, subscriber) in &mut self.subscribers {
            let State::Live { served } = &mut subscriber.state else { continue };
            let serving = current.map(|honoured| subscriber.interest.intersection(honoured)).unwrap_or_default();
            let changes = serving.difference(served).as_changes();
            *served = serving;
            if !changes.is_empty() {
                effects.push(Effect::Announce { subscriber: id, changes });
            }
        }
    }

    fn covers(&self, interest: &Interest) -> bool {
        interest.is_empty() || self.current.as_ref().is_some_and(|current| current.interest.covers(interest))
    }

    fn is_wider_than_needed(&self) -> bool {
        self.current.as_ref().is_some_and(|current| !self.index.covers(&current.interest))
    }

    fn is_narrower_than_needed(&self) -> bool {
        match &self.current {
            Some(current) => !self.index.is_within(&current.interest),
            None => !self.index.is_empty(),
        }
    }

    fn role(&self, listen: ListenId) -> Result<Role, Rejection> {
        if self.pending.as_ref().is_some_and(|pending| pending.listen == listen) {
            Ok(Role::Pending)
        } else if self.current.as_ref().is_some_and(|current| current.listen == listen) {
            Ok(Role::Current)
        } else if self.draining.is_some_and(|draining| draining.listen == listen) {
            Ok(Role::Draining)
        } else {
            Err(Rejection::StaleListen { listen })
        }
    }

    /// Asks to be woken at the earliest time at which anything happens by itself.
    fn plan_wake(&mut self, effects: &mut Vec<Effect>) {
        let waiting = self.subscribers.values().filter_map(|subscriber| match subscriber.state {
            State::Waiting { deadline } => Some(deadline),
            State::Live { .. } => None,
        });
        let at = [
            waiting.min(),
            self.pending.as_ref().map(|pending| pending.deadline),
            self.draining.filter(|_| self.is_live()).map(|draining| draining.until),
            self.shrink_at,
            (self.pending.is_none() && self.is_narrower_than_needed()).then_some(self.retry_at),
        ];
        let at = at.into_iter().flatten().min();
        if let Some(at) = at.filter(|_| at != self.wake_at) {
            effects.push(Effect::WakeAt { at });
        }
        self.wake_at = at;
    }

    /// Verifies the invariants.
    ///
    /// # Errors
    /// The first [`Violation`].
    pub fn check(&self) -> Result<(), Violation> {
        let hold =
            |condition: bool, violation: &'static str| if condition { Ok(()) } else { Err(Violation(violation)) };
        let mut union = Interest::default();
        let mut shares: BTreeMap<PrincipalDigest, Share> = BTreeMap::new();
        for subscriber in self.subscribers.values() {
            union.extend(subscriber.interest.clone());
            let share = shares.entry(subscriber.principal).or_default();
            share.subscribers += 1;
            share.items += subscriber.interest.items();
        }
        let is_within = |share: &Share| {
            share.subscribers <= self.config.principal_subscribers_max && share.items <= self.config.principal_items_max
        };
        hold(self.shares == shares && shares.values().all(is_within), "principals' shares are counted and bounded")?;
        let items: usize = self.subscribers.values().map(|subscriber| subscriber.interest.items()).sum();
        hold(union == self.index.union(), "the index has exactly the subscribers' interests")?;
        hold(self.items == items && items <= self.config.items_max, "items are counted and bounded")?;
        hold(self.subscribers.len() <= self.config.subscribers_max, "subscribers are bounded")?;

        let listens = [
            self.draining.map(|draining| draining.listen),
            self.current.as_ref().map(|current| current.listen),
            self.pending.as_ref().map(|pending| pending.listen),
        ];
        let open: Vec<ListenId> = listens.into_iter().flatten().collect();
        hold(open.is_sorted_by(|one, next| one < next), "listens are numbered in the order of their lives")?;
        hold(open.is_empty() || !union.is_empty(), "nothing is open that nobody wants")?;
        for subscriber in self.subscribers.values() {
            match &subscriber.state {
                State::Waiting { .. } => {
                    hold(!self.covers(&subscriber.interest), "nobody waits for what is live")?;
                }
                State::Live { served } => {
                    let honoured =
                        self.current.as_ref().map(|current| subscriber.interest.intersection(&current.honoured));
                    hold(*served == honoured.unwrap_or_default(), "what is served is what is live")?;
                }
            }
        }
        Ok(())
    }
}

// === impl Subscriber ===

impl Subscriber {
    const fn is_live(&self) -> bool {
        match self.state {
            State::Live { .. } => true,
            State::Waiting { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests;
