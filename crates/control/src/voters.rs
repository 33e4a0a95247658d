//! Who votes in the meta group: three of up to six nodes, five of more, in different racks where there are any.
//!
//! Every other node learns, so that each has the catalog. Who votes stays as long as it may; one node changes at a time.
//! Pure.

use std::collections::{BTreeMap, BTreeSet};

use quorate_catalog::{Catalog, Node, NodeState};
use quorate_raft::Members;
use quorate_types::NodeId;

/// What the meta group's leader does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Learn(NodeId),
    Vote(BTreeSet<NodeId>),
    Leave(NodeId),
}

/// From how many nodes on five vote: two may be gone then (reference: etcd's advice, and three of six already stand the
/// loss of one).
const FIVE_FROM: usize = 7;

/// Finds the next step of the meta group; none when it is as it shall be, or something has to be waited for.
pub(crate) fn next(catalog: &Catalog, members: &Members, has_caught_up: impl Fn(NodeId) -> bool) -> Option<Step> {
    if members.is_changing {
        return None;
    }
    if let Some(voters) = &members.unfinished {
        return Some(Step::Vote(voters.clone()));
    }
    let nodes: BTreeMap<NodeId, &Node> = catalog.nodes().map(|node| (node.id, node)).collect();
    let is_member = |id: &NodeId| nodes.get(id).is_some_and(|node| node.state != NodeState::Removed);
    let known = |id: &NodeId| members.voters.contains(id) || members.learners.contains(id);
    if let Some(id) = nodes.keys().copied().find(|id| is_member(id) && !known(id)) {
        return Some(Step::Learn(id));
    }
    let voters = voters(&nodes, members, &has_caught_up);
    if voters != members.voters && !voters.is_empty() {
        return Some(Step::Vote(voters));
    }
    members.learners.iter().copied().find(|id| !is_member(id)).map(Step::Leave)
}

/// The voters that there are, or with one of them changed.
fn voters(
    nodes: &BTreeMap<NodeId, &Node>,
    members: &Members,
    has_caught_up: impl Fn(NodeId) -> bool,
) -> BTreeSet<NodeId> {
    let stays =
        |id: &NodeId| nodes.get(id).is_some_and(|node| matches!(node.state, NodeState::Active | NodeState::Draining));
    let staying = nodes.keys().filter(|id| stays(id)).count();
    let wanted = if staying >= FIVE_FROM { 5 } else { staying.min(3) };
    // Two voters stand the loss of none, as one does, and either is in the way of the other.
    let wanted = if wanted == 2 { 1 } else { wanted.max(1) };
    let mut voters = members.voters.clone();
    let rack = |id: &NodeId| nodes.get(id).and_then(|node| node.rack.as_deref());
    let crowd = |voters: &BTreeSet<NodeId>, id: &NodeId| match rack(id) {
        Some(own) => voters.iter().filter(|other| *other != id && rack(other) == Some(own)).count(),
        None => 0,
    };
    let mut candidates: Vec<NodeId> = nodes.keys().copied().filter(|id| stays(id) && !voters.contains(id)).collect();
    candidates.retain(|id| has_caught_up(*id));
    let leaves = voters.iter().copied().find(|id| !stays(id));
    if voters.len() < wanted || (leaves.is_some() && voters.len() == wanted) {
        let best = candidates.into_iter().min_by_key(|id| (crowd(&voters, id), *id));
        voters.extend(best);
    }
    match leaves {
        // Whoever leaves is replaced in one step, where there is somebody.
        Some(id) if voters.len() > 1 => {
            voters.remove(&id);
        }
        Some(_) | None if voters.len() > wanted => {
            let most = voters.iter().copied().max_by_key(|id| (crowd(&voters, id), *id));
            most.map(|id| voters.remove(&id));
        }
        Some(_) | None => {}
    }
    voters
}
