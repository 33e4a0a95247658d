//! How a POST of a client is taken: its requests become calls of the machine, and whoever waits for them is remembered.
//!
//! A request that a client's node sends again is taken as what it was before: what its server needs was sent, or will be, and
//! only whoever waits for its answer is new.

use quorate_session::{CallKey, Delivery, Effects, Event, Rejection, Request, Target};
use ractor::ActorRef;
use tokio::sync::oneshot;

use super::actor::{Extras, State};
use super::ledger::Then;
use super::message::Message;
use super::{Outgoing, Reply, content};
use crate::clock;

impl State {
    pub(super) fn post(
        &mut self,
        myself: &ActorRef<Message>,
        requests: Vec<Outgoing>,
        batch: bool,
        opened: oneshot::Sender<Result<Vec<CallKey>, Rejection>>,
        answer: oneshot::Sender<Reply>,
    ) {
        if let Some(max) = self.unread.exceeded() {
            self.metrics.limit_hit("principal_undelivered_bytes");
            let rejection = Rejection::LimitReached { limit: "principal_undelivered_bytes", max };
            return drop(opened.send(Err(rejection))); // The client may have gone.
        }
        let (mut extras, is_kept) = (Vec::with_capacity(requests.len()), self.ledger.is_some());
        let prime_after = requests.first().and_then(|outgoing| outgoing.prime_after);
        let is_again = requests.iter().filter_map(|outgoing| outgoing.key).any(|key| self.machine.knows(key));
        let mut requests: Vec<Request> = requests
            .into_iter()
            .map(|outgoing| {
                // A call that was taken before has its own.
                let needs = outgoing.server.is_some() && !is_again;
                let (headers, prime_after, terms) = (outgoing.headers, outgoing.prime_after, outgoing.terms);
                let (replayable, kept) = (terms.replayable, is_kept.then(|| terms.kept()).flatten());
                extras.push(needs.then_some(Extras { headers, prime_after, terms }));
                let target = match &outgoing.server {
                    Some(server) => {
                        let leg = self.legs.intern(server);
                        self.machine.name_leg(leg, server.name().as_str());
                        Target::Leg(leg)
                    }
                    None => Target::Gateway,
                };
                let Outgoing { frame, progress_token, purpose, key, .. } = outgoing;
                let replay = content::replay(&frame, replayable);
                Request { frame, target, progress_token, purpose, replay, key, terms: kept }
            })
            .collect();
        let event = match requests.pop() {
            Some(only) if !batch && requests.is_empty() => Event::ClientRequest(only),
            Some(last) => {
                requests.push(last);
                Event::ClientBatch(requests)
            }
            None => Event::ClientBatch(requests),
        };
        match self.machine.step(clock::now(), event) {
            Err(rejection) => drop(opened.send(Err(rejection))), // The client may have gone.
            Ok(effects) => {
                let call = self.take_calls(myself, effects, extras, opened, answer);
                if let Some((call, after)) = call.zip(prime_after).filter(|_| is_again) {
                    // Whoever sends it may be another node, and knows nothing of whoever waits here.
                    myself.send_after(after, move || Message::Tell { event: Event::Prime { call } });
                }
            }
        }
    }

    /// Remembers who waits for the opened calls before their effects are carried out; returns the first of them.
    fn take_calls(
        &mut self,
        myself: &ActorRef<Message>,
        effects: Effects,
        extras: Vec<Option<Extras>>,
        opened: oneshot::Sender<Result<Vec<CallKey>, Rejection>>,
        answer: oneshot::Sender<Reply>,
    ) -> Option<CallKey> {
        let calls: Vec<CallKey> = effects
            .as_slice()
            .iter()
            .filter_map(|effect| match effect {
                quorate_session::Effect::Opened { call } => Some(*call),
                _ => None,
            })
            .collect();
        for (call, extras) in calls.iter().zip(extras) {
            if let Some(extras) = extras {
                self.extras.insert(*call, extras);
            }
        }
        match (self.delivery, calls.first()) {
            (Delivery::Streams | Delivery::Calls, Some(first)) => drop(self.posts.insert(*first, answer)),
            // The client may have gone: its answers then wait in the one stream.
            (Delivery::Single, _) | (Delivery::Streams | Delivery::Calls, None) => drop(answer.send(Reply::Elsewhere)),
        }
        let call = calls.first().copied();
        let is_gone = opened.send(Ok(calls)).is_err();
        self.settle(myself, effects, Then::Nothing);
        if let Some(call) = call.filter(|_| is_gone && self.delivery == Delivery::Calls) {
            // Its client left meanwhile, and nobody else knows the call.
            self.report(myself, Event::Abandon { call });
        }
        call
    }
}
