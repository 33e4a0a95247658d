//! What operators do about nodes: drain, remove, replace, hand over leadership, snapshot.
//!
//! The catalog decides what is possible; what it takes is carried out by the nodes themselves. Only a removal is waited for: it
//! ends when nothing is placed on the node, and is found again where it stood when it is asked for once more.

use std::collections::BTreeSet;
use std::time::Duration;

use quorate_catalog::proto::command::Kind as Command;
use quorate_catalog::{Catalog, NodeState, proto};
use quorate_control::META;
use quorate_raft::Group;
use quorate_types::{NodeId, ResourceName};
use quorate_wal::GroupId;
use tonic::{Code, Status};

use super::super::caller;
use super::super::errors;
use super::super::latest::latest;
use super::super::node::Membership;

/// How long a group may take to be led by another node.
const HANDOVER: Duration = Duration::from_secs(5);
/// How often a removal looks whether everything is moved away: moves are told by the catalog, the last vote is not.
const LOOK: Duration = Duration::from_millis(200);

/// Says that a node is in a cluster, where that is in the way.
pub(super) fn member_already() -> Status {
    errors::precondition("BOOTSTRAPPED", "node", "this node is a member of a cluster already")
}

/// Reads a name that may be absent.
pub(super) fn optional_name(field: &str, value: &str) -> Result<Option<ResourceName>, Status> {
    if value.is_empty() { Ok(None) } else { caller::name(field, value).map(Some) }
}

/// Checks a number for which 0 is the default.
pub(super) fn check_count(field: &str, value: u32, most: u32) -> Result<(), Status> {
    if value <= most {
        Ok(())
    } else {
        Err(errors::invalid(field, value, format_args!("1 to {most}, or 0 for the default")))
    }
}

/// Has a node drain, or serve again.
pub(super) async fn set_state(member: &dyn Membership, node: u64, state: NodeState) -> Result<(), Status> {
    let set = proto::SetNodeState { node, state: state.to_proto().into() };
    command(member, Command::SetNodeState(set)).await
}

/// Has a node take the place of another one, which is removed when everything is moved away.
pub(super) async fn replace(member: &dyn Membership, old: u64, new: u64) -> Result<(), Status> {
    command(member, Command::ReplaceNode(proto::ReplaceNode { old, new })).await?;
    removed(member, old).await
}

/// Takes a node out of the cluster: at once, or when everything is moved away.
pub(super) async fn remove(member: &dyn Membership, node: u64, force: bool) -> Result<(), Status> {
    if force {
        return command(member, Command::RemoveNode(proto::RemoveNode { node, force })).await;
    }
    let control = member.control();
    let catalog = latest(control).await.map_err(|error| errors::read(&error))?;
    if catalog.nodes().filter(|node| node.lives()).count() <= 1 {
        return Err(errors::precondition("STATE", "node", "the last node of a cluster cannot be removed"));
    }
    set_state(member, node, NodeState::Leaving).await?;
    removed(member, node).await
}

/// Waits until everything is moved away from a node that leaves, and whoever leads the cluster has removed it: also without
/// the node that was asked.
async fn removed(member: &dyn Membership, node: u64) -> Result<(), Status> {
    let control = member.control();
    let mut changed = control.changed();
    loop {
        changed.borrow_and_update();
        if control.catalog().node(NodeId(node)).is_none_or(|node| !node.lives()) {
            return Ok(());
        }
        // A change is looked at at once; the end of the control plane is the end of the node.
        let _is_over = tokio::time::timeout(LOOK, changed.changed()).await;
    }
}

/// Hands groups that this node leads to another one; returns those that it leads then.
pub(crate) async fn transfer(member: &dyn Membership, to: u64, groups: &[u32]) -> Result<Vec<u32>, Status> {
    let to = known(member, "to", to)?;
    if to == member.id() {
        return Err(errors::invalid("to", to, "another node than the one that is asked"));
    }
    let groups = match groups {
        [] => led_here(member, to),
        groups => groups.iter().map(|group| group_led_here(member, *group, to)).collect::<Result<_, _>>()?,
    };
    let mut moved = Vec::new();
    for group in groups {
        group.transfer_to(to).await.map_err(|error| errors::change(&error))?;
        let mut role = group.role();
        let led = tokio::time::timeout(HANDOVER, role.wait_for(|role| role.leader() == Some(to))).await;
        if matches!(led, Ok(Ok(_))) {
            moved.push(group.id().0);
        }
    }
    Ok(moved)
}

/// Has this node snapshot groups; returns which.
pub(super) async fn snapshot(member: &dyn Membership, groups: &[u32]) -> Result<Vec<u32>, Status> {
    let mut all = member.control().host().groups();
    all.sort_by_key(Group::id);
    if !groups.is_empty() {
        let wanted: BTreeSet<GroupId> = groups.iter().copied().map(GroupId).collect();
        if let Some(missing) = wanted.iter().find(|id| !all.iter().any(|group| group.id() == **id)) {
            return Err(errors::not_found("groups", missing.0, "a group of which the asked node has a replica"));
        }
        all.retain(|group| wanted.contains(&group.id()));
    }
    let mut taken = Vec::new();
    // One after the other: a snapshot reads and writes as much as a disk gives.
    for group in all {
        group.snapshot().await.map_err(|error| errors::change(&error))?;
        taken.push(group.id().0);
    }
    Ok(taken)
}

fn led_here(member: &dyn Membership, to: NodeId) -> Vec<Group> {
    let led = |group: &Group| group.role().borrow().leads() && group.members().voters.contains(&to);
    let mut groups: Vec<Group> = member.control().host().groups().into_iter().filter(led).collect();
    groups.sort_by_key(Group::id);
    groups
}

fn group_led_here(member: &dyn Membership, group: u32, to: NodeId) -> Result<Group, Status> {
    let control = member.control();
    let most = control.catalog().cluster().map_or(0, |cluster| cluster.groups);
    if group > most {
        return Err(errors::not_found("groups", group, format_args!("0 for the meta group, or a shard: 1 to {most}")));
    }
    let found = if group == META.0 { Some(control.meta().clone()) } else { control.host().group(GroupId(group)) };
    let leader = found.as_ref().and_then(|found| found.role().borrow().leader());
    let leader = leader.or_else(|| {
        let led = control.led();
        led.iter().find(|(_, led)| led.contains(&GroupId(group))).map(|(node, _)| *node)
    });
    match found {
        Some(found) if leader == Some(member.id()) => {
            if found.members().voters.contains(&to) {
                return Ok(found);
            }
            let message = format!("node {to} does not vote in group {group}, so that it cannot lead it");
            Err(errors::precondition("NO_VOTE", "to", message))
        }
        Some(_) | None => Err(led_elsewhere(&control.catalog(), "groups", group, leader)),
    }
}

/// Says which node to ask for a group that the asked node does not lead.
pub(crate) fn led_elsewhere(catalog: &Catalog, field: &str, group: u32, leader: Option<NodeId>) -> Status {
    let Some(leader) = leader else {
        let message = format!("group {group} has no leader now");
        return errors::retry(Code::Unavailable, "NO_LEADER", message, Duration::from_secs(1));
    };
    let address = catalog.node(leader).and_then(|node| node.addresses.admin.clone()).unwrap_or_default();
    let message = format!("group {group} is led by node {leader}: ask that node ({address})");
    let metadata = [("leader", leader.to_string()), ("admin_address", address)];
    let mut details = errors::details("LED_ELSEWHERE", metadata);
    details.add_precondition_failure_violation("LED_ELSEWHERE", field, &message);
    errors::with(Code::FailedPrecondition, message, details)
}

/// A node that is in the cluster.
fn known(member: &dyn Membership, field: &str, node: u64) -> Result<NodeId, Status> {
    let id = NodeId(node);
    match member.control().catalog().node(id) {
        Some(known) if known.lives() => Ok(id),
        Some(_) | None => Err(errors::not_found(field, node, "a node of the cluster that is not removed")),
    }
}

/// Changes the catalog.
pub(super) async fn command(member: &dyn Membership, command: Command) -> Result<(), Status> {
    member.control().command(command).await.map(drop).map_err(|error| errors::command(&error))
}
