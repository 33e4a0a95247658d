//! The shard map, and what it asks to be moved.

use std::collections::BTreeSet;

use quorate_catalog::proto::{self, Reason, command::Kind, outcome};
use quorate_catalog::{Effect, Move};
use quorate_types::NodeId;

use crate::support::World;

fn set(shard: u32, expected_version: u64, voters: &[u64]) -> proto::SetReplicas {
    proto::SetReplicas { shard, expected_version, voters: voters.to_vec(), ..proto::SetReplicas::default() }
}

#[test]
fn who_was_slower_is_refused_and_others_shards_are_not() {
    let mut world = World::of_nodes(3);
    let done = world.done(Kind::SetReplicas(set(1, 1, &[1, 2])));
    assert_eq!(done, outcome::Kind::Replicas(proto::Replicas { version: 2 }));

    let refusal = world.refused(Kind::SetReplicas(set(1, 1, &[1, 3])));
    assert_eq!((refusal.reason(), refusal.allowed()), (Reason::Conflict, "2"));
    assert_eq!(world.effects(Kind::SetReplicas(set(2, 1, &[1, 3]))), [Effect::Shard(2)]);
    assert_eq!(world.catalog.map_version(), 3);
}

#[test]
fn replicas_that_cannot_be_are_refused_with_the_field() {
    let mut world = World::of_nodes(3);
    let pending = |from, to| Some(proto::Move { from, to });
    let table = [
        ("shard", set(0, 1, &[1])),
        ("shard", set(5, 1, &[1])),
        ("voters", set(1, 1, &[])),
        ("voters", set(1, 1, &[1, 1])),
        ("voters", set(1, 1, &[0])),
        ("voters", set(1, 1, &[1, 4])),
        ("voters", set(1, 1, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10])),
        ("learners", proto::SetReplicas { learners: vec![1], ..set(1, 1, &[1]) }),
        ("pending", proto::SetReplicas { pending: pending(0, 0), ..set(1, 1, &[1]) }),
        ("pending.from", proto::SetReplicas { pending: pending(2, 3), ..set(1, 1, &[1]) }),
        ("pending.to", proto::SetReplicas { pending: pending(0, 1), ..set(1, 1, &[1]) }),
    ];
    for (field, command) in table {
        assert_eq!(world.refused(Kind::SetReplicas(command)).field(), field);
    }
}

/// Carries moves out until none is left, and checks them on the way.
fn settle(world: &mut World) -> usize {
    for round in 0..100 {
        let moves = world.catalog.moves();
        let mut nodes = BTreeSet::new();
        for step in &moves {
            let free = step.from.into_iter().chain(step.to).all(|node| nodes.insert(node));
            assert!(free, "a node has part in one move at a time: {moves:?}");
        }
        if moves.is_empty() {
            return round;
        }
        for step in moves {
            carry_out(world, step);
        }
    }
    panic!("it does not end");
}

fn carry_out(world: &mut World, step: Move) {
    let before = world.catalog.shard(step.shard).expect("it is there").clone();
    let pending = proto::Move { from: step.from.map_or(0, |node| node.0), to: step.to.map_or(0, |node| node.0) };
    let voters: Vec<u64> = before.voters.iter().map(|node| node.0).collect();
    let learners = step.to.iter().map(|node| node.0).collect();
    let begun = proto::SetReplicas { learners, pending: Some(pending), ..set(step.shard, before.version, &voters) };
    world.done(Kind::SetReplicas(begun));
    let again = world.catalog.moves();
    let involved = |other: &Move| other.shard == step.shard || other.to == step.to || other.from == step.from;
    assert!(!again.iter().any(|other| involved(other) && other.to.is_some() && other.to == step.to), "{again:?}");

    let mut after = before.voters;
    step.from.map(|node| after.remove(&node));
    after.extend(step.to);
    let version = world.catalog.map_version();
    let after: Vec<u64> = after.iter().map(|node| node.0).collect();
    world.done(Kind::SetReplicas(set(step.shard, version, &after)));
}

fn load(world: &World, node: u64) -> usize {
    world.catalog.shards().filter(|shard| shard.voters.contains(&NodeId(node))).count()
}

#[test]
fn shards_spread_as_nodes_join_and_are_whole_when_one_is_replaced_or_lost() {
    let mut world = World::of_nodes(4);
    settle(&mut world);
    assert!(world.catalog.shards().all(|shard| shard.voters.len() == 3));
    assert_eq!((1..=4).map(|node| load(&world, node)).collect::<Vec<_>>(), [3, 3, 3, 3]);

    let new = world.join("n5");
    assert_eq!(settle(&mut world), 0, "a node that joins gets nothing before it is active");
    world.done(Kind::ReplaceNode(proto::ReplaceNode { old: 2, new }));
    world.set_state(new, proto::NodeState::Active);
    settle(&mut world);
    assert_eq!((load(&world, 2), load(&world, new)), (0, 3));
    world.done(Kind::RemoveNode(proto::RemoveNode { node: 2, force: false }));

    world.done(Kind::RemoveNode(proto::RemoveNode { node: 3, force: true }));
    settle(&mut world);
    assert!(world.catalog.shards().all(|shard| shard.voters.len() == 3 && !shard.voters.contains(&NodeId(3))));
}

#[test]
fn a_node_that_drains_gets_nothing() {
    let mut world = World::of_nodes(2);
    world.set_state(2, proto::NodeState::Draining);
    assert_eq!(world.catalog.moves(), []);
    world.set_state(2, proto::NodeState::Active);
    assert_eq!(world.catalog.moves(), [Move { shard: 1, from: None, to: Some(NodeId(2)) }]);
}
