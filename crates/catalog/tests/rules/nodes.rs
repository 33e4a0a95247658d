//! The cluster and its nodes.

use quorate_catalog::proto::{self, Reason, command::Kind};
use quorate_catalog::{Effect, NODE_NUMBER_MAX, NODES_MAX, NUMBERS_LEVEL, NodeState, REMOVED_NODES_MAX};
use quorate_types::{NodeId, Timestamp};

use crate::support::{World, add_node, bootstrap, certificate, digest16, issue, new_node};

fn started(node: u64, incarnation: u64, start: u8) -> Kind {
    let start = vec![start; 16].into();
    Kind::NodeStarted(proto::NodeStarted { node, incarnation, start, level_min: 1, level_max: 2 })
}

type Spoil = fn(&mut proto::Bootstrap);

fn state(node: u64, state: proto::NodeState) -> Kind {
    Kind::SetNodeState(proto::SetNodeState { node, state: state.into() })
}

#[test]
fn nothing_is_taken_before_a_cluster_is_there_and_a_second_one_never() {
    let mut world = World::empty();
    let refusal = world.refused(started(1, 1, 1));
    assert_eq!(refusal.reason(), Reason::NotBootstrapped);

    world.done(Kind::Bootstrap(bootstrap()));

    let refusal = world.refused(Kind::Bootstrap(bootstrap()));
    assert_eq!(refusal.reason(), Reason::Bootstrapped);
    let cluster = world.catalog.cluster().expect("it is there");
    assert_eq!((cluster.level, cluster.groups, cluster.replication), (1, 4, 3));
    assert_eq!(world.catalog.shards().count(), 4);
    assert_eq!(world.catalog.node(NodeId(1)).map(|node| node.state), Some(NodeState::Active));
}

#[test]
fn a_cluster_that_cannot_be_is_refused_with_the_field() {
    let table: [(&str, Spoil); 7] = [
        ("cluster", |one| one.cluster = vec![1; 15].into()),
        ("level", |one| one.level = 0),
        ("level", |one| one.level = 3),
        ("groups", |one| one.groups = 257),
        ("replication", |one| one.replication = 10),
        ("node", |one| one.node = None),
        ("node.peer_address", |one| one.node.as_mut().expect("a node").peer_address = "nowhere".to_owned()),
    ];
    for (field, spoil) in table {
        let mut spoilt = bootstrap();
        spoil(&mut spoilt);
        assert_eq!(World::empty().refused(Kind::Bootstrap(spoilt)).field(), field);
    }
}

#[test]
fn a_number_of_a_node_is_never_given_again() {
    let mut world = World::of_nodes(3);

    world.done(Kind::RemoveNode(proto::RemoveNode { node: 3, force: false }));

    assert_eq!(world.join("n3"), 4, "its name is free again, its number is not");
    assert_eq!(world.refused(started(3, 9, 9)).reason(), Reason::Unknown);
}

/// A cluster at the level at which nodes have numbers of their own, whose first one is node 7.
fn of_own_numbers() -> World {
    let mut world = World::empty();
    world.done(Kind::Bootstrap(proto::Bootstrap {
        level: NUMBERS_LEVEL,
        node: Some(numbered("n7", 7)),
        ..bootstrap()
    }));
    world
}

fn numbered(name: &str, number: u64) -> proto::NewNode {
    proto::NewNode { number, level_max: NUMBERS_LEVEL, ..new_node(name) }
}

fn begun(node: u64) -> Kind {
    let start = vec![1; 16].into();
    Kind::NodeStarted(proto::NodeStarted { node, incarnation: 1, start, level_min: 1, level_max: NUMBERS_LEVEL })
}

/// A node with a number of its own, and a new token for it.
fn comes(world: &mut World, name: &str, number: u64) -> Kind {
    let count = world.catalog.tokens(Timestamp::from_millis(0)).count();
    let token = digest16(format!("{name} {number} {count} {}", world.now).as_bytes());
    world.done(Kind::IssueToken(issue(token, world.now + 60_000)));
    Kind::AddNode(proto::AddNode { node: Some(numbered(name, number)), ..add_node(name, token) })
}

#[test]
fn a_node_has_the_number_of_its_certificate_and_no_other_node_ever_had_it() {
    let mut world = of_own_numbers();
    assert_eq!(world.catalog.node(NodeId(7)).map(|node| node.state), Some(NodeState::Active));
    assert!(world.catalog.shards().all(|shard| shard.voters == [NodeId(7)].into()));

    for (name, number, expected) in [("n2", 2, 2), ("n1", 1, 1), ("n9", 9, 9), ("next", 0, 10)] {
        let comes = comes(&mut world, name, number);
        let proto::outcome::Kind::NodeAdded(added) = world.done(comes) else { panic!("it is added") };
        assert_eq!(added.node, expected);
    }
    world.done(begun(2));
    world.done(begun(1));
    world.done(Kind::RemoveNode(proto::RemoveNode { node: 2, force: false }));
    for (number, reason) in [
        (7, Reason::Exists),
        (1, Reason::Exists),
        (2, Reason::Exists),
        (NODE_NUMBER_MAX + 1, Reason::Invalid),
        (u64::MAX, Reason::Invalid),
    ] {
        let comes = comes(&mut world, "other", number);
        let refusal = world.refused(comes);
        assert_eq!((refusal.reason(), refusal.field()), (reason, "node.number"), "{number}: {refusal}");
    }
    assert!(world.restored() == world.catalog);
}

#[test]
fn the_number_of_a_node_that_never_came_is_given_to_nobody_else_and_its_own_join_is_repeated() {
    let mut world = of_own_numbers();
    let mut first = comes(&mut world, "n5", 5);
    let Kind::AddNode(asked) = &mut first else { panic!("it adds a node") };
    asked.application = vec![5; 32].into();
    world.done(first.clone());
    let proto::outcome::Kind::NodeAdded(added) = world.done(first.clone()) else { panic!("it is added") };
    assert_eq!((added.node, world.catalog.nodes().count()), (5, 2), "the same join has the same answer");

    for name in ["n5", "other"] {
        let another = comes(&mut world, name, 5);
        let refusal = world.refused(another);
        assert_eq!((refusal.reason(), refusal.field()), (Reason::Exists, "node.number"));
        let told = "node n5 is joining under it: come with a certificate that has another number";
        assert!(refusal.allowed().ends_with(told), "{refusal}");
    }

    world.done(Kind::RemoveNode(proto::RemoveNode { node: 5, force: false }));
    let another = comes(&mut world, "n5", 5);
    let refusal = world.refused(another);
    assert_eq!((refusal.reason(), refusal.field()), (Reason::Exists, "node.number"));
    assert!(refusal.allowed().ends_with("come with a certificate that has another number"), "{refusal}");
    assert_eq!(world.refused(first).reason(), Reason::Unknown, "and the token of the first brings nobody back");
    let with_another = comes(&mut world, "n5", 6);
    world.done(with_another);
}

#[test]
fn numbers_of_their_own_are_for_clusters_at_their_level() {
    let spoilt = proto::Bootstrap { level: 2, node: Some(numbered("n7", 7)), ..bootstrap() };
    let refusal = World::empty().refused(Kind::Bootstrap(spoilt));
    assert_eq!((refusal.reason(), refusal.field()), (Reason::Level, "node.number"));

    let mut world = World::new();
    let comes = comes(&mut world, "n9", 9);
    let refusal = world.refused(comes);
    assert_eq!((refusal.reason(), refusal.field()), (Reason::Level, "node.number"));
}

/// Nodes with these numbers come, and are removed.
fn come_and_go(world: &mut World, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        let comes = comes(world, "brief", number);
        let proto::outcome::Kind::NodeAdded(added) = world.done(comes) else { panic!("it is added") };
        world.done(Kind::RemoveNode(proto::RemoveNode { node: added.node, force: false }));
        world.now += 90_000_000;
    }
}

#[test]
fn when_removed_nodes_are_forgotten_no_number_up_to_theirs_is_taken_and_those_above_are() {
    let mut world = of_own_numbers();
    come_and_go(&mut world, [NODE_NUMBER_MAX]);
    come_and_go(&mut world, 100..=99 + REMOVED_NODES_MAX as u64);
    assert!(world.catalog.node(NodeId(100)).is_none(), "it is forgotten");
    assert!(world.catalog.node(NodeId(101)).is_some(), "it is not");

    for (number, allowed) in
        [(100, "more than 100"), (50, "more than 100"), (101, "no node has or had"), (NODE_NUMBER_MAX, "no node has")]
    {
        let comes = comes(&mut world, "again", number);
        let refusal = world.refused(comes);
        assert_eq!(refusal.reason(), Reason::Exists, "{number}");
        assert!(refusal.allowed().contains(allowed), "{refusal}");
    }
    // Also after a snapshot, and though the highest number of all was given.
    world.catalog = world.restored();
    for number in [50, 100] {
        let comes = comes(&mut world, "again", number);
        assert_eq!(world.refused(comes).reason(), Reason::Exists, "{number}");
    }
    for (name, number) in [("next", 5_000), ("in-order", 0)] {
        let comes = comes(&mut world, name, number);
        world.done(comes);
    }
    world.catalog.check().expect("the state is one that commands make");
}

#[test]
fn what_was_forgotten_below_the_level_of_numbers_is_not_given_again_at_it() {
    let mut world = World::empty();
    let first = proto::NewNode { level_max: NUMBERS_LEVEL, ..new_node("n1") };
    world.done(Kind::Bootstrap(proto::Bootstrap { level: 2, node: Some(first), ..bootstrap() }));
    come_and_go(&mut world, std::iter::repeat_n(0, REMOVED_NODES_MAX + 2));
    assert!([2, 3].iter().all(|number| world.catalog.node(NodeId(*number)).is_none()), "two are forgotten");

    world.done(Kind::RaiseLevel(proto::RaiseLevel { to: NUMBERS_LEVEL }));

    world.catalog.check().expect("the state is one that commands make");
    for number in 1..=4 {
        let comes = comes(&mut world, "again", number);
        assert_eq!(world.refused(comes).reason(), Reason::Exists, "{number}");
    }
    let comes = comes(&mut world, "next", 1_030);
    world.done(comes);
}

#[test]
fn a_name_and_a_certificate_are_one_nodes() {
    let mut world = World::of_nodes(2);
    world.done(Kind::IssueToken(issue([9; 16], world.now + 1)));

    let refusal = world.refused(Kind::AddNode(add_node("n2", [9; 16])));
    assert_eq!((refusal.reason(), refusal.field()), (Reason::Exists, "node.name"));

    let node = proto::NewNode { certificates: vec![certificate("n2")], ..new_node("n3") };
    let add = proto::AddNode { node: Some(node), ..add_node("n3", [9; 16]) };
    let refusal = world.refused(Kind::AddNode(add));
    assert_eq!((refusal.reason(), refusal.field()), (Reason::Exists, "node.certificates[0].fingerprint"));
}

#[test]
fn a_certificate_that_is_not_a_nodes_any_more_is_nobodys() {
    let mut world = World::of_nodes(2);
    let of = |name: &str| quorate_catalog::Digest::of(name.as_bytes()).0;
    assert_eq!(world.catalog.node_with_certificate(&of("n2")).map(|node| node.id), Some(NodeId(2)));

    let certificates = vec![certificate("n2-next")];
    world.done(Kind::SetCertificates(proto::SetCertificates { node: 2, certificates }));
    assert!(world.catalog.node_with_certificate(&of("n2")).is_none());
    assert!(world.catalog.node_with_certificate(&of("n2-next")).is_some());

    world.done(Kind::RemoveNode(proto::RemoveNode { node: 2, force: false }));
    assert!(world.catalog.node_with_certificate(&of("n2-next")).is_none());
}

#[test]
fn a_copy_of_an_older_disk_is_refused_and_a_command_that_came_twice_is_not() {
    let mut world = World::new();
    world.done(started(1, 5, 1));
    world.done(started(1, 5, 1));

    for (incarnation, start) in [(5, 2), (4, 1), (4, 2)] {
        let refusal = world.refused(started(1, incarnation, start));
        assert_eq!((refusal.reason(), refusal.allowed()), (Reason::StaleDisk, "more than 5, of the node's last start"));
    }
    world.done(started(1, 6, 2));
}

#[test]
fn states_of_nodes_follow_their_diagram() {
    use proto::NodeState::{Active, Draining, Joining, Leaving, Removed};
    let all = [Joining, Active, Draining, Leaving];
    let ways = [
        (Joining, vec![Active, Leaving]),
        (Active, vec![Draining, Leaving]),
        (Draining, vec![Active, Leaving]),
        (Leaving, vec![Active]),
    ];
    for (from, to) in ways {
        let mut world = World::new();
        world.join("n2");
        let path: &[_] = match from {
            Draining => &[Active, Draining],
            Joining => &[],
            other => &[other],
        };
        path.iter().for_each(|step| world.set_state(2, *step));
        for next in all {
            let (_, outcome) = world.clone().apply(state(2, next));
            let taken = !matches!(outcome, proto::outcome::Kind::Refusal(_));
            assert_eq!(taken, next == from || to.contains(&next), "{from:?} to {next:?}");
        }
        assert_eq!(world.refused(state(2, Removed)).reason(), Reason::State);
    }
}

#[test]
fn a_node_that_holds_something_is_removed_by_force_only_and_the_last_one_never() {
    let mut world = World::of_nodes(2);
    let remove = |node, force| Kind::RemoveNode(proto::RemoveNode { node, force });

    let refusal = world.refused(remove(1, false));
    assert!(refusal.allowed().contains("4 shards"), "{refusal}");

    world.done(remove(1, true));
    assert_eq!(world.refused(remove(2, true)).reason(), Reason::State);
    assert_eq!(world.refused(remove(1, true)).reason(), Reason::Unknown);
}

#[test]
fn a_node_takes_the_place_of_another_that_leaves() {
    let mut world = World::of_nodes(3);
    let replace = |old, new| Kind::ReplaceNode(proto::ReplaceNode { old, new });

    assert_eq!(world.refused(replace(2, 2)).field(), "new");
    world.done(replace(2, 3));
    assert_eq!(world.refused(replace(1, 2)).reason(), Reason::State);

    let (old, new) = (world.catalog.node(NodeId(2)).cloned(), world.catalog.node(NodeId(3)).cloned());
    assert_eq!(old.map(|node| node.state), Some(NodeState::Leaving));
    assert_eq!(new.and_then(|node| node.replaces), Some(NodeId(2)));
}

#[test]
fn the_level_is_raised_only_to_what_every_node_can_do() {
    let mut world = World::of_nodes(2);
    let raise = |to| Kind::RaiseLevel(proto::RaiseLevel { to });

    assert_eq!(world.refused(raise(1)).reason(), Reason::Invalid);
    assert_eq!(world.refused(raise(3)).reason(), Reason::Level);
    assert_eq!(world.effects(raise(2)), [Effect::Level(2)]);

    let old = proto::NewNode { level_max: 1, ..new_node("n3") };
    world.done(Kind::IssueToken(issue([9; 16], world.now + 1)));
    let add = proto::AddNode { node: Some(old), ..add_node("n3", [9; 16]) };
    assert_eq!(world.refused(Kind::AddNode(add)).reason(), Reason::Level);
    let start = vec![1; 16].into();
    let started = proto::NodeStarted { node: 2, incarnation: 1, start, level_min: 1, level_max: 1 };
    assert_eq!(world.refused(Kind::NodeStarted(started)).reason(), Reason::Level);
}

#[test]
fn a_command_of_a_level_to_come_is_refused() {
    use prost::Message as _;
    let mut world = World::new();
    let command = proto::Command { level: 2, kind: Some(Kind::RaiseLevel(proto::RaiseLevel { to: 2 })) };
    let (_, outcome) = world.apply_bytes(&command.encode_to_vec());
    let proto::outcome::Kind::Refusal(refusal) = outcome else { panic!("taken") };
    assert_eq!(refusal.reason(), Reason::Level);
}

#[test]
fn nodes_have_a_limit() {
    let mut world = World::of_nodes(NODES_MAX as u64);
    world.done(Kind::IssueToken(issue(digest16(b"more"), world.now + 1)));
    assert_eq!(world.refused(Kind::AddNode(add_node("more", digest16(b"more")))).reason(), Reason::Limit);
}

#[test]
fn alarms_stand_until_they_are_cleared_or_their_node_is_removed() {
    let mut world = World::of_nodes(2);
    let raise = |node, kind: &str, message: &str| {
        Kind::RaiseAlarm(proto::RaiseAlarm { node, kind: kind.to_owned(), message: message.to_owned() })
    };
    let clear = |node, kind: &str| Kind::ClearAlarm(proto::ClearAlarm { node, kind: kind.to_owned() });
    let since = world.now;

    world.done(raise(2, "disk", "80%"));
    world.now += 5;
    world.done(raise(2, "disk", "90%"));
    world.done(raise(1, "disk", "80%"));
    let told: Vec<_> = world.catalog.alarms().map(|alarm| (alarm.node.0, alarm.message.as_str())).collect();
    assert_eq!(told, [(1, "80%"), (2, "90%")]);
    assert_eq!(world.catalog.alarms().nth(1).map(|alarm| alarm.since.as_millis()), Some(since));

    world.done(clear(1, "disk"));
    assert_eq!(world.refused(clear(1, "disk")).reason(), Reason::Unknown);
    let remove = Kind::RemoveNode(proto::RemoveNode { node: 2, force: false });
    assert_eq!(world.effects(remove), [Effect::Alarms, Effect::Node(NodeId(2))]);
    assert_eq!(world.catalog.alarms().count(), 0);

    for at in 0..256 {
        world.done(raise(1, &format!("k{at}"), ""));
    }
    assert_eq!(world.refused(raise(1, "more", "")).reason(), Reason::Limit);
}
