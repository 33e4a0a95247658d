//! What the control plane promises while nodes come, go and are replaced: everything becomes what the catalog says.

mod world;

use std::collections::BTreeSet;

use quorate_catalog::proto::command::Kind as Command;
use quorate_catalog::{Catalog, NodeState, proto};
use quorate_control::{CommandError, META};
use quorate_types::NodeId;
use quorate_wal::GroupId;
use world::World;

fn nodes(ids: impl IntoIterator<Item = u64>) -> BTreeSet<NodeId> {
    ids.into_iter().map(NodeId).collect()
}

/// Whether every shard is on these nodes, and nothing goes on.
fn is_on(catalog: &Catalog, nodes: &BTreeSet<NodeId>) -> bool {
    catalog.shards().all(|shard| shard.voters == *nodes && shard.learners.is_empty() && shard.pending.is_none())
}

/// Whether a node is registered in this life.
fn is_in_life(catalog: &Catalog, id: NodeId, incarnation: u64) -> bool {
    catalog.node(id).and_then(|node| node.life.as_ref()).is_some_and(|life| life.incarnation.0 == incarnation)
}

fn apply(name: &str) -> Command {
    let key = proto::DocumentKey { kind: "Toolset".to_owned(), tenant: "default".to_owned(), name: name.to_owned() };
    let upsert = proto::Upsert { key: Some(key), labels: Vec::new(), content: b"{\"a\":1}".to_vec().into() };
    Command::Apply(proto::Apply { upserts: vec![upsert], author: "a test".to_owned(), ..proto::Apply::default() })
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_join_get_replicas_votes_and_leaders() {
    let mut world = World::bootstrapped(6).await;
    world.join(NodeId(2)).await;
    world.join(NodeId(3)).await;

    world.all("shard on all three nodes", |catalog| is_on(catalog, &nodes([1, 2, 3]))).await;
    let votes = |id| world.control(id).meta().members().voters == nodes([1, 2, 3]);
    world.until("meta group of three voters", || world.running().all(votes)).await;
    world.until("level of leaders", || world.running().all(|id| world.leads(id) == 2)).await;
    for id in world.running() {
        assert_eq!(world.control(id).host().groups().len(), 7, "six shards and the meta group");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_applied_anywhere_is_read_everywhere_also_when_the_leader_was_killed() {
    let mut world = World::bootstrapped(2).await;
    world.join(NodeId(2)).await;
    world.join(NodeId(3)).await;
    world.all("shard on all three nodes", |catalog| is_on(catalog, &nodes([1, 2, 3]))).await;

    world.command(NodeId(3), apply("one")).await.expect("there is a quorum");
    let leader = world.control(NodeId(1)).meta().role().borrow().leader().expect("somebody led");
    world.kill(leader).await;
    let through = world.running().next().expect("two are left");
    world.insist(through, apply("two")).await;
    world.start(leader).await;

    world.all("document on all nodes", |catalog| catalog.documents().len() == 2).await;
    world.all("registration of the new life", |catalog| is_in_life(catalog, leader, 2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_leaves_is_emptied_and_forgets_what_it_had() {
    let mut world = World::bootstrapped(3).await;
    for id in 2..=4 {
        world.join(NodeId(id)).await;
    }
    let leave = proto::SetNodeState { node: 1, state: proto::NodeState::Leaving.into() };
    world.command(NodeId(2), Command::SetNodeState(leave)).await.expect("it may leave");

    world.all("shard on the other three nodes", |catalog| is_on(catalog, &nodes([2, 3, 4]))).await;
    let host = world.control(NodeId(1)).host();
    let is_empty = || host.groups().iter().map(quorate_raft::Group::id).chain(host.closed()).all(|id| id == META);
    world.until("empty node", is_empty).await;
    let meta = world.control(NodeId(2)).meta();
    world.until("meta group without its vote", || !meta.members().voters.contains(&NodeId(1))).await;

    // Whoever leads removes it, and it hears of that itself.
    let is_removed = |id: u64| {
        let catalog = world.control(NodeId(id)).catalog();
        catalog.node(NodeId(1)).is_none_or(|node| node.state == NodeState::Removed)
    };
    world.until("removal", || (1..=4).all(is_removed)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_an_older_disk_is_refused_and_told_so() {
    let mut world = World::bootstrapped(1).await;
    world.kill(NodeId(1)).await;
    world.start(NodeId(1)).await;
    world.all("registration", |catalog| is_in_life(catalog, NodeId(1), 2)).await;
    world.kill(NodeId(1)).await;
    world.start_as(NodeId(1), 2).await;

    world.until("refusal", || world.control(NodeId(1)).refused().borrow().is_some()).await;
    let refusal = world.control(NodeId(1)).refused().borrow().clone().expect("it is there");
    assert_eq!(refusal.reason(), proto::Reason::StaleDisk, "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_level_is_raised_to_what_the_nodes_can_work_at() {
    let world = World::bootstrapped_of(1, 3).await;

    let raise = Command::RaiseLevel(proto::RaiseLevel { to: 3 });
    world.command(NodeId(1), raise).await.expect("it can work at it");

    world.all("raised level", |catalog| catalog.cluster().is_some_and(|cluster| cluster.level == 3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_breaks_a_rule_is_refused_with_the_reason() {
    let world = World::bootstrapped(1).await;
    let raise = Command::RaiseLevel(proto::RaiseLevel { to: 9 });

    match world.command(NodeId(1), raise).await {
        Err(CommandError::Refused(refusal)) => assert_eq!(refusal.reason(), proto::Reason::Level, "{refusal}"),
        other => panic!("{other:?}"),
    }
    let host = world.control(NodeId(1)).host();
    world.until("shard", || host.group(GroupId(1)).is_some()).await;
}
