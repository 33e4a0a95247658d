//! Histories of one backend's hub, told and random.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::subscription::DEFAULTS;

mod shares;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + millis)
}

/// `"tools prompts t://x #task"` as an interest.
fn interest(text: &str) -> Interest {
    let mut interest = Interest::default();
    for word in text.split_whitespace() {
        match word {
            "tools" => interest.tools = true,
            "prompts" => interest.prompts = true,
            "resources" => interest.resources = true,
            _ => match word.strip_prefix('#') {
                Some(task) => drop(interest.tasks.insert(Arc::from(task))),
                None => drop(interest.uris.insert(Arc::from(word))),
            },
        }
    }
    interest
}

fn resource(uri: &str) -> Change {
    Change::Resource { uri: Arc::from(uri) }
}

fn join(subscriber: u64, wanted: &str) -> Event {
    join_of(1, subscriber, wanted)
}

fn join_of(principal: u8, subscriber: u64, wanted: &str) -> Event {
    let principal = PrincipalDigest([principal; 16]);
    Event::Join { subscriber: SubscriberId(subscriber), principal, interest: interest(wanted) }
}

fn leave(subscriber: u64) -> Event {
    Event::Leave { subscriber: SubscriberId(subscriber) }
}

fn acknowledged(listen: u64, honoured: &str) -> Event {
    Event::Acknowledged { listen: ListenId(listen), honoured: interest(honoured) }
}

fn notified(listen: u64, change: Change) -> Event {
    Event::Notified { listen: ListenId(listen), change }
}

fn lost(listen: u64) -> Event {
    Event::Ended { listen: ListenId(listen), end: End::Lost }
}

fn open(listen: u64, wanted: &str) -> Effect {
    Effect::Open { listen: ListenId(listen), interest: interest(wanted) }
}

fn close(listen: u64) -> Effect {
    Effect::Close { listen: ListenId(listen) }
}

fn acknowledge(subscriber: u64, honoured: &str) -> Effect {
    Effect::Acknowledge { subscriber: SubscriberId(subscriber), honoured: interest(honoured) }
}

fn deliver(subscribers: &[u64]) -> Effect {
    Effect::Deliver { subscribers: subscribers.iter().copied().map(SubscriberId).collect() }
}

fn announce(subscriber: u64, changes: &[Change]) -> Effect {
    Effect::Announce { subscriber: SubscriberId(subscriber), changes: changes.to_vec() }
}

/// Steps, and leaves wake-ups out of the effects.
fn step(hub: &mut Hub, millis: u64, event: Event) -> Vec<Effect> {
    let mut effects = hub.step(at(millis), event).expect("a possible event");
    effects.retain(|effect| !matches!(effect, Effect::WakeAt { .. }));
    assert_eq!(hub.check(), Ok(()));
    effects
}

/// A hub with subscriber 1 for tools, live on listen 1.
fn live() -> Hub {
    let mut hub = Hub::new(DEFAULTS);
    assert_eq!(step(&mut hub, 0, join(1, "tools")), [open(1, "tools")]);
    assert_eq!(step(&mut hub, 10, acknowledged(1, "tools prompts")), [acknowledge(1, "tools")]);
    hub
}

#[test]
fn a_subscriber_is_acknowledged_once_the_upstream_is() {
    let mut hub = live();

    assert!(hub.is_live());
    assert_eq!(step(&mut hub, 20, notified(1, Change::Tools)), [deliver(&[1])]);
    assert_eq!(step(&mut hub, 20, notified(1, Change::Prompts)), []);
    assert_eq!(step(&mut hub, 30, join(2, "tools")), [acknowledge(2, "tools")]);
    assert_eq!(step(&mut hub, 40, notified(1, Change::Tools)), [deliver(&[1, 2])]);
}

#[test]
fn a_wider_union_opens_a_new_listen_before_the_old_one_closes() {
    let mut hub = live();

    assert_eq!(step(&mut hub, 20, join(2, "prompts t://x")), [open(2, "tools prompts t://x")]);
    assert_eq!(step(&mut hub, 30, notified(1, Change::Tools)), [deliver(&[1])]);
    assert_eq!(step(&mut hub, 40, acknowledged(2, "tools prompts t://x")), [acknowledge(2, "prompts t://x")]);
    // Both are open: what was on its way on the old one still arrives.
    assert_eq!(step(&mut hub, 50, notified(1, Change::Tools)), [deliver(&[1])]);
    assert_eq!(step(&mut hub, 50, notified(2, resource("t://x"))), [deliver(&[2])]);
    assert_eq!(step(&mut hub, 1040, Event::Tick), [close(1)]);
    let stale = hub.step(at(1050), notified(1, Change::Tools));
    assert_eq!(stale, Err(Rejection::StaleListen { listen: ListenId(1) }));
}

#[test]
fn a_replaced_listen_lives_on_while_its_successor_is_lost() {
    let mut hub = live();
    step(&mut hub, 20, join(2, "prompts"));
    step(&mut hub, 30, acknowledged(2, "tools prompts"));

    assert_eq!(step(&mut hub, 40, lost(2)), []);
    assert_eq!(step(&mut hub, 540, Event::Tick), [open(3, "tools prompts")]);
    assert_eq!(step(&mut hub, 1_030, Event::Tick), []);
    assert_eq!(step(&mut hub, 1_040, notified(1, Change::Tools)), [deliver(&[1])]);
    let effects = step(&mut hub, 1_050, acknowledged(3, "tools prompts"));
    assert_eq!(effects, [announce(1, &[Change::Tools]), announce(2, &[Change::Prompts])]);
    assert_eq!(step(&mut hub, 2_050, Event::Tick), [close(1)]);
}

#[test]
fn subscribers_that_join_while_a_listen_opens_share_the_next() {
    let mut hub = live();

    assert_eq!(step(&mut hub, 20, join(2, "prompts")), [open(2, "tools prompts")]);
    assert_eq!(step(&mut hub, 21, join(3, "resources")), []);
    assert_eq!(step(&mut hub, 22, join(4, "t://x")), []);
    let all = "tools prompts resources t://x";
    assert_eq!(step(&mut hub, 30, acknowledged(2, "tools prompts")), [acknowledge(2, "prompts"), open(3, all)]);
    let effects = step(&mut hub, 40, acknowledged(3, all));
    // At most one replaced listen lives on.
    assert_eq!(effects, [close(1), acknowledge(3, "resources"), acknowledge(4, "t://x")]);
}

#[test]
fn a_subscriber_is_told_only_what_the_upstream_honours() {
    let mut hub = Hub::new(DEFAULTS);
    step(&mut hub, 0, join(1, "tools prompts t://x t://y"));

    // The backend may not honour what nobody asked for.
    assert_eq!(step(&mut hub, 9, acknowledged(1, "tools t://y resources t://z")), [acknowledge(1, "tools t://y")]);
    assert_eq!(step(&mut hub, 10, join(2, "prompts")), [acknowledge(2, "")]);
}

#[test]
fn a_failed_listen_acknowledges_with_what_there_is_and_is_tried_again() {
    let mut hub = live();
    step(&mut hub, 20, join(2, "tools prompts"));

    assert_eq!(step(&mut hub, 30, lost(2)), [acknowledge(2, "tools")]);
    assert_eq!(step(&mut hub, 529, Event::Tick), []);
    assert_eq!(step(&mut hub, 530, Event::Tick), [open(3, "tools prompts")]);
    // What it was not served until now, it may have missed.
    assert_eq!(step(&mut hub, 540, acknowledged(3, "tools prompts")), [announce(2, &[Change::Prompts])]);
}

#[test]
fn a_silent_upstream_costs_a_subscriber_its_deadline_and_no_more() {
    let mut hub = Hub::new(DEFAULTS);
    let effects = hub.step(at(0), join(1, "tools")).expect("possible");
    assert_eq!(effects, [open(1, "tools"), Effect::WakeAt { at: at(3_000) }]);

    let effects = hub.step(at(3_000), Event::Tick).expect("possible");
    assert_eq!(effects, [acknowledge(1, ""), Effect::WakeAt { at: at(10_000) }]);
    assert_eq!(step(&mut hub, 10_000, Event::Tick), [close(1)]);
    assert_eq!(step(&mut hub, 10_500, Event::Tick), [open(2, "tools")]);
    assert_eq!(step(&mut hub, 10_600, acknowledged(2, "tools")), [announce(1, &[Change::Tools])]);
}

#[test]
fn a_loss_is_mended_and_what_may_have_been_missed_is_announced() {
    let mut hub = Hub::new(DEFAULTS);
    step(&mut hub, 0, join(1, "tools t://x t://y #task"));
    step(&mut hub, 10, acknowledged(1, "tools t://x #task"));

    assert_eq!(step(&mut hub, 20_000, lost(1)), [open(2, "tools t://x t://y #task")]);
    let effects = step(&mut hub, 20_010, acknowledged(2, "tools t://x #task"));
    assert_eq!(effects, [announce(1, &[Change::Tools, resource("t://x")])]);
}

#[test]
fn a_listen_that_dies_young_is_reopened_ever_more_slowly() {
    let mut hub = live();
    let mut now = 100;
    for (listen, delay) in [(1, 500), (2, 1000), (3, 2000), (4, 4000)] {
        assert_eq!(step(&mut hub, now, lost(listen)), []);
        assert_eq!(step(&mut hub, now + delay - 1, Event::Tick), []);
        assert_eq!(step(&mut hub, now + delay, Event::Tick), [open(listen + 1, "tools")]);
        assert_eq!(step(&mut hub, now + delay, acknowledged(listen + 1, "tools")), [announce(1, &[Change::Tools])]);
        now += delay + 1;
    }

    // Once it has lived, its end is no failure.
    assert_eq!(step(&mut hub, now + 10_000, lost(5)), [open(6, "tools")]);
}

#[test]
fn a_backend_without_listen_is_asked_rarely() {
    let mut hub = Hub::new(DEFAULTS);
    step(&mut hub, 0, join(1, "tools"));
    let unsupported = Event::Ended { listen: ListenId(1), end: End::Unsupported };

    assert_eq!(step(&mut hub, 10, unsupported), [acknowledge(1, "")]);
    // Whoever joins meanwhile waits for its deadline at most.
    assert_eq!(step(&mut hub, 20, join(2, "tools")), []);
    assert_eq!(step(&mut hub, 3_020, Event::Tick), [acknowledge(2, "")]);
    assert_eq!(step(&mut hub, 60_010, Event::Tick), [open(2, "tools")]);
}

#[test]
fn what_a_backend_does_not_honour_is_told_from_what_is_late() {
    let settled = |hub: &Hub, subscriber| hub.is_settled(SubscriberId(subscriber));
    let mut hub = Hub::new(DEFAULTS);
    step(&mut hub, 0, join(1, "tools t://x"));
    assert_eq!(step(&mut hub, 3_000, Event::Tick), [acknowledge(1, "")]);
    assert!(!settled(&hub, 1), "its listen is slow");
    step(&mut hub, 4_000, lost(1));
    assert!(!settled(&hub, 1), "it is tried again");
    assert_eq!(step(&mut hub, 4_500, Event::Tick), [open(2, "tools t://x")]);
    assert_eq!(step(&mut hub, 4_600, acknowledged(2, "tools")), [announce(1, &[Change::Tools])]);
    assert!(settled(&hub, 1), "the backend leaves t://x out");

    let mut hub = Hub::new(DEFAULTS);
    step(&mut hub, 0, join(1, "tools"));
    let unsupported = Event::Ended { listen: ListenId(1), end: End::Unsupported };
    assert_eq!(step(&mut hub, 10, unsupported), [acknowledge(1, "")]);
    assert!(settled(&hub, 1), "the backend has no listen");
    step(&mut hub, 20, join(2, "prompts"));
    step(&mut hub, 3_020, Event::Tick);
    assert!(settled(&hub, 2), "nor has it for others");
}

#[test]
fn the_last_one_out_closes_everything() {
    let mut hub = live();
    step(&mut hub, 20, join(2, "prompts"));
    step(&mut hub, 30, acknowledged(2, "tools prompts"));
    step(&mut hub, 35, join(3, "resources"));

    assert_eq!(step(&mut hub, 40, leave(1)), []);
    assert_eq!(step(&mut hub, 41, leave(2)), []);
    assert_eq!(step(&mut hub, 42, leave(3)), [close(1), close(2), close(3)]);
    assert_eq!((hub.subscribers(), hub.is_live()), (0, false));
    assert_eq!(hub.step(at(50), leave(3)), Err(Rejection::UnknownSubscriber { subscriber: SubscriberId(3) }));
}

#[test]
fn a_listen_wider_than_needed_is_replaced_in_time() {
    let mut hub = live();
    step(&mut hub, 20, join(2, "t://x"));
    step(&mut hub, 30, acknowledged(2, "tools t://x"));
    step(&mut hub, 1_030, Event::Tick);

    assert_eq!(step(&mut hub, 2_000, leave(2)), []);
    // Within the delay, the interest is still open.
    assert_eq!(step(&mut hub, 3_000, join(3, "t://x")), [acknowledge(3, "t://x")]);
    assert_eq!(step(&mut hub, 4_000, leave(3)), []);
    assert_eq!(step(&mut hub, 32_000, Event::Tick), [open(3, "tools")]);
    assert_eq!(step(&mut hub, 32_010, acknowledged(3, "tools")), []);
    assert_eq!(step(&mut hub, 33_010, Event::Tick), [close(2)]);
}

#[test]
fn a_subscriber_to_a_resource_hears_of_what_is_within_it() {
    let mut hub = Hub::new(DEFAULTS);
    step(&mut hub, 0, join(1, "t://dir"));
    step(&mut hub, 0, join(2, "t://dir/"));
    step(&mut hub, 0, join(3, "t://dir/a"));
    step(&mut hub, 10, acknowledged(1, "t://dir"));
    step(&mut hub, 20, acknowledged(2, "t://dir t://dir/ t://dir/a"));

    for (uri, expected) in [
        ("t://dir/a", deliver(&[1, 2, 3])),
        ("t://dir/b", deliver(&[1, 2])),
        ("t://dir", deliver(&[1])),
        ("t://dir?x", deliver(&[1])),
        ("t://dir/a#f", deliver(&[1, 2, 3])),
    ] {
        assert_eq!(step(&mut hub, 30, notified(2, resource(uri))), [expected], "{uri}");
    }
    for uri in ["t://directory", "t://", "x"] {
        assert_eq!(step(&mut hub, 30, notified(2, resource(uri))), [], "{uri}");
    }
}

#[test]
fn tasks_go_to_whoever_asked_for_them() {
    let mut hub = Hub::new(DEFAULTS);
    step(&mut hub, 0, join(1, "#a #b"));
    step(&mut hub, 10, acknowledged(1, "#a #b"));
    step(&mut hub, 20, join(2, "#b"));

    assert_eq!(step(&mut hub, 30, notified(1, Change::Task { id: "b".into() })), [deliver(&[1, 2])]);
    assert_eq!(step(&mut hub, 30, notified(1, Change::Task { id: "c".into() })), []);
}

#[test]
fn a_stream_that_wants_nothing_is_acknowledged_at_once() {
    let mut hub = Hub::new(DEFAULTS);

    assert_eq!(step(&mut hub, 0, join(1, "")), [acknowledge(1, "")]);
    assert_eq!(step(&mut hub, 0, leave(1)), []);
}

#[test]
fn what_cannot_be_is_rejected_and_changes_nothing() {
    let config = Config { subscribers_max: 2, items_max: 3, ..DEFAULTS };
    let mut hub = Hub::new(config);
    step(&mut hub, 0, join(1, "t://a t://b"));

    for (event, expected) in [
        (join(1, "tools"), Rejection::DuplicateSubscriber { subscriber: SubscriberId(1) }),
        (join(2, "t://c #d"), Rejection::TooManyItems { max: 3 }),
        (leave(2), Rejection::UnknownSubscriber { subscriber: SubscriberId(2) }),
        (notified(1, Change::Tools), Rejection::OutOfOrder { listen: ListenId(1) }),
        (notified(9, Change::Tools), Rejection::StaleListen { listen: ListenId(9) }),
        (acknowledged(9, "tools"), Rejection::StaleListen { listen: ListenId(9) }),
        (lost(9), Rejection::StaleListen { listen: ListenId(9) }),
    ] {
        let before = format!("{hub:?}");
        assert_eq!(hub.step(at(5), event.clone()), Err(expected), "{event:?}");
        assert_eq!(format!("{hub:?}"), before, "{event:?}");
    }

    step(&mut hub, 10, acknowledged(1, "t://a"));
    let again = hub.step(at(10), acknowledged(1, "t://a"));
    assert_eq!(again, Err(Rejection::OutOfOrder { listen: ListenId(1) }));
    step(&mut hub, 10, join(2, "t://a"));
    assert_eq!(hub.step(at(10), join(3, "")), Err(Rejection::TooManySubscribers { max: 2 }));
}

/// What a random history may do next; numbers choose among what exists.
#[derive(Clone, Debug)]
enum Move {
    Join { interest: Interest },
    Leave { which: usize },
    Acknowledge { which: usize, honoured: Interest },
    Notify { which: usize, change: Change },
    End { which: usize, end: End },
    Pass { millis: u64 },
}

fn any_interest() -> impl Strategy<Value = Interest> {
    let word = prop::sample::select(vec!["tools", "prompts", "resources", "t://a", "t://a/b", "t://c", "#x", "#y"]);
    prop::collection::vec(word, 0..5).prop_map(|words| interest(&words.join(" ")))
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        Just(Change::Tools),
        Just(Change::Prompts),
        Just(Change::Resources),
        prop::sample::select(vec!["t://a", "t://a/b", "t://c", "t://d"]).prop_map(resource),
        prop::sample::select(vec!["x", "y", "z"]).prop_map(|id| Change::Task { id: id.into() }),
    ]
}

fn any_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        3 => any_interest().prop_map(|interest| Move::Join { interest }),
        2 => any::<usize>().prop_map(|which| Move::Leave { which }),
        3 => (any::<usize>(), any_interest()).prop_map(|(which, honoured)| Move::Acknowledge { which, honoured }),
        2 => (any::<usize>(), any_change()).prop_map(|(which, change)| Move::Notify { which, change }),
        1 => (any::<usize>(), prop::sample::select(vec![End::Lost, End::Unsupported])).prop_map(|(which, end)| Move::End { which, end }),
        3 => (1_u64..20_000).prop_map(|millis| Move::Pass { millis }),
    ]
}

/// The world around a hub: what it was told, and what it may therefore do.
struct World {
    hub: Hub,
    now: u64,
    wake_at: Option<Timestamp>,
    joined: u64,
    wants: BTreeMap<SubscriberId, Interest>,
    acknowledged: BTreeSet<SubscriberId>,
    /// Open listens in the order of their opening, with what each honours once acknowledged.
    listens: Vec<(ListenId, Option<Interest>)>,
}

impl World {
    fn new() -> Self {
        let (principal_subscribers_max, principal_items_max) = (3, 8);
        let config =
            Config { subscribers_max: 6, items_max: 20, principal_subscribers_max, principal_items_max, ..DEFAULTS };
        Self {
            hub: Hub::new(config),
            now: 0,
            wake_at: None,
            joined: 0,
            wants: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
            listens: Vec::new(),
        }
    }

    fn play(&mut self, what: Move) {
        let (event, listen) = match what {
            Move::Join { interest } => {
                self.joined += 1;
                let principal = PrincipalDigest([(self.joined % 3) as u8; 16]);
                (Event::Join { subscriber: SubscriberId(self.joined), principal, interest }, None)
            }
            Move::Leave { which } => {
                let Some(&subscriber) = self.wants.keys().nth(which % self.wants.len().max(1)) else { return };
                (Event::Leave { subscriber }, None)
            }
            Move::Acknowledge { which, honoured } => {
                let Some(listen) = self.listen(which) else { return };
                (Event::Acknowledged { listen, honoured }, Some(listen))
            }
            Move::Notify { which, change } => {
                let Some(listen) = self.listen(which) else { return };
                (Event::Notified { listen, change }, Some(listen))
            }
            Move::End { which, end } => {
                let Some(listen) = self.listen(which) else { return };
                (Event::Ended { listen, end }, Some(listen))
            }
            Move::Pass { millis } => return self.pass(millis),
        };
        self.step(event, listen);
    }

    fn listen(&self, which: usize) -> Option<ListenId> {
        self.listens.get(which % self.listens.len().max(1)).map(|(listen, _)| *listen)
    }

    /// Lets time pass, waking the hub whenever it asked for it.
    fn pass(&mut self, millis: u64) {
        let end = self.now + millis;
        while let Some(wake_at) = self.wake_at.filter(|&wake_at| wake_at <= at(end)) {
            self.now = self.now.max(wake_at.as_millis() - at(0).as_millis());
            self.wake_at = None;
            self.step(Event::Tick, None);
            assert!(self.wake_at.is_none_or(|next| next > at(self.now)), "a wake-up is never wasted");
        }
        self.now = end;
    }

    fn step(&mut self, event: Event, listen: Option<ListenId>) {
        let Ok(effects) = self.hub.step(at(self.now), event.clone()) else {
            assert!(!matches!(event, Event::Tick | Event::Leave { .. } | Event::Ended { .. }), "{event:?}");
            return;
        };
        assert_eq!(self.hub.check(), Ok(()));
        match event.clone() {
            Event::Join { subscriber, interest, .. } => drop(self.wants.insert(subscriber, interest)),
            Event::Leave { subscriber } => {
                self.wants.remove(&subscriber);
                self.acknowledged.remove(&subscriber);
            }
            Event::Acknowledged { honoured, .. } => self.listen_mut(listen).1 = Some(honoured),
            Event::Ended { .. } => self.listens.retain(|(open, _)| Some(*open) != listen),
            Event::Notified { .. } | Event::Tick => {}
        }
        for effect in effects {
            self.judge(&event, effect);
        }
    }

    fn listen_mut(&mut self, listen: Option<ListenId>) -> &mut (ListenId, Option<Interest>) {
        self.listens.iter_mut().find(|(open, _)| Some(*open) == listen).expect("an open listen")
    }

    /// Holds each effect against what the hub was told.
    fn judge(&mut self, event: &Event, effect: Effect) {
        match effect {
            Effect::Open { listen, interest } => {
                for wanted in self.wants.values() {
                    assert!(interest.covers(wanted), "the union covers each subscriber");
                }
                assert!(
                    self.listens.iter().all(|(open, honoured)| *open < listen && honoured.is_some()),
                    "one opens at a time"
                );
                assert!(self.listens.len() <= 2, "at most three are open");
                self.listens.push((listen, None));
            }
            Effect::Close { listen } => {
                let newest_live =
                    self.listens.iter().rev().find(|(_, honoured)| honoured.is_some()).map(|(open, _)| *open);
                let needed = self.wants.values().any(|wanted| !wanted.is_empty());
                assert!(!needed || newest_live != Some(listen), "the live listen stays open while it is needed");
                let before = self.listens.len();
                self.listens.retain(|(open, _)| *open != listen);
                assert_eq!(self.listens.len() + 1, before, "only open listens are closed");
            }
            Effect::Acknowledge { subscriber, honoured } => {
                assert!(self.acknowledged.insert(subscriber), "acknowledged once");
                assert!(self.wants[&subscriber].covers(&honoured), "no more than it asked for");
                let live = self.listens.iter().rev().find_map(|(_, honoured)| honoured.clone()).unwrap_or_default();
                assert!(live.covers(&honoured), "never acknowledged before it is live");
            }
            Effect::Deliver { subscribers } => {
                let Event::Notified { change, .. } = event else { panic!("delivered without a notification") };
                assert!(!subscribers.is_empty() && subscribers.is_sorted());
                for subscriber in &subscribers {
                    assert!(self.acknowledged.contains(subscriber), "nothing before the acknowledgement");
                }
                for (subscriber, wanted) in &self.wants {
                    let told = subscribers.contains(subscriber);
                    let wants = wants(wanted, change) && self.acknowledged.contains(subscriber);
                    assert_eq!(told, wants, "told if and only if it asked");
                }
            }
            Effect::Announce { subscriber, changes } => {
                assert!(self.acknowledged.contains(&subscriber), "nothing before the acknowledgement");
                assert!(!changes.is_empty());
                assert!(changes.iter().all(|change| wants(&self.wants[&subscriber], change)));
            }
            Effect::WakeAt { at: time } => {
                assert!(time > at(self.now), "a wake-up lies ahead");
                self.wake_at = Some(time);
            }
        }
    }
}

/// The definition of who wants to know.
fn wants(interest: &Interest, change: &Change) -> bool {
    match change {
        Change::Tools => interest.tools,
        Change::Prompts => interest.prompts,
        Change::Resources => interest.resources,
        Change::Task { id } => interest.tasks.contains(id),
        Change::Resource { uri } => interest.uris.iter().any(|wanted| {
            uri.strip_prefix(&**wanted).is_some_and(|rest| {
                rest.is_empty() || rest.starts_with(['/', '?', '#']) || (wanted.ends_with('/') && !rest.is_empty())
            })
        }),
    }
}

proptest! {
    #[test]
    fn every_history_keeps_the_hubs_promises(moves in prop::collection::vec(any_move(), 0..80)) {
        let mut world = World::new();
        for what in moves {
            world.play(what);
        }

        // In the end everybody is acknowledged, and a backend that behaves serves everybody.
        world.pass(10 * 60_000);
        prop_assert_eq!(world.acknowledged.len(), world.wants.len());
        let everything = interest("tools prompts resources t://a t://a/b t://c #x #y");
        for _ in 0..200 {
            let opening = world.listens.iter().find(|(_, honoured)| honoured.is_none()).map(|(listen, _)| *listen);
            match opening {
                Some(listen) => world.step(Event::Acknowledged { listen, honoured: everything.clone() }, Some(listen)),
                None => world.pass(1_000),
            }
        }
        prop_assert!(!world.hub.is_narrower_than_needed() && !world.hub.is_wider_than_needed());
        prop_assert_eq!(world.listens.len(), usize::from(!world.hub.index.is_empty()));
    }

    #[test]
    fn the_index_is_the_union_of_its_subscribers(interests in prop::collection::vec(any_interest(), 0..8), gone in prop::collection::vec(any::<bool>(), 8)) {
        let mut index = Index::default();
        let mut union = Interest::default();
        for (id, interest) in interests.iter().enumerate() {
            let gained = index.insert(SubscriberId(id as u64), interest);
            prop_assert_eq!(gained, interest.difference(&union));
            union.extend(interest.clone());
            prop_assert_eq!(index.union(), union.clone());
        }
        let mut left: Vec<(usize, &Interest)> = interests.iter().enumerate().collect();
        for (id, interest) in interests.iter().enumerate().filter(|(id, _)| gone[*id]) {
            left.retain(|(other, _)| *other != id);
            let mut rest = Interest::default();
            left.iter().for_each(|(_, interest)| rest.extend((*interest).clone()));
            prop_assert_eq!(index.remove(SubscriberId(id as u64), interest), interest.difference(&rest));
            prop_assert_eq!(index.union(), rest.clone());
            prop_assert_eq!(index.is_empty(), rest.is_empty());
            prop_assert!(index.is_within(&rest) && index.covers(&rest));
        }
    }
}
