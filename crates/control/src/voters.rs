//! Who votes in the meta group: three of up to six nodes, five of more, in different racks where there are any.
//!
//! Every other node learns, so that each has the catalog. Who votes stays as long as it may; one node changes at a time.
//! Pure.

use std::collections::{BTreeMap, BTreeSet};

use quorate_catalog::{Catalog, Node, NodeState};
use quorate_raft::Members;
use quorate_types::NodeId;

use crate::step::is_safe;

/// What the meta group's leader does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Learn(NodeId),
    Vote(BTreeSet<NodeId>),
    Leave(NodeId),
}

/// What the leader sees of the others.
pub(crate) struct Seen<'a> {
    /// Who is there, and has what the others have but for the latest entries.
    pub(crate) can_vote: &'a dyn Fn(NodeId) -> bool,
    /// Who is there.
    pub(crate) is_there: &'a dyn Fn(NodeId) -> bool,
    /// Who was removed, and has heard of it, or had the time to.
    pub(crate) has_heard: &'a dyn Fn(NodeId) -> bool,
}

/// From how many nodes on five vote: two may be gone then (reference: etcd's advice, and three of six already stand the
/// loss of one).
const FIVE_FROM: usize = 7;

/// Finds the next step of the meta group; none when it is as it shall be, or something has to be waited for.
///
/// Voters of whom most are not there would never be taken, and nobody could take them back: they are not asked for. A node that
/// was removed learns on until it has heard of it, if it is there.
pub(crate) fn next(catalog: &Catalog, members: &Members, seen: &Seen<'_>) -> Option<Step> {
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
    let voters = voters(&nodes, members, seen.can_vote, seen.is_there);
    if voters != members.voters && is_safe(&voters, seen.is_there) {
        return Some(Step::Vote(voters));
    }
    let is_gone = |id: &NodeId| !is_member(id) && ((seen.has_heard)(*id) || !(seen.is_there)(*id));
    members.learners.iter().copied().find(is_gone).map(Step::Leave)
}

/// The voters that there are, or with one of them changed.
fn voters(
    nodes: &BTreeMap<NodeId, &Node>,
    members: &Members,
    can_vote: impl Fn(NodeId) -> bool,
    is_there: impl Fn(NodeId) -> bool,
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
    candidates.retain(|id| can_vote(*id));
    let leaves = voters.iter().copied().find(|id| !stays(id));
    if voters.len() < wanted || (leaves.is_some() && voters.len() == wanted) {
        let best = candidates.into_iter().min_by_key(|id| (crowd(&voters, id), *id));
        voters.extend(best);
    }
    match leaves {
        // Whoever leaves is replaced in one step, where there is somebody.
        // The last one leaves when another one votes, who can lead that step.
        Some(id) if members.voters.len() > 1 => {
            voters.remove(&id);
        }
        None if voters.len() > wanted => {
            let most = voters.iter().copied().max_by_key(|id| (!is_there(*id), crowd(&voters, id), *id));
            most.map(|id| voters.remove(&id));
        }
        Some(_) | None => {}
    }
    voters
}

#[cfg(test)]
mod tests {
    use quorate_catalog::{Addresses, Levels};
    use quorate_types::{ResourceName, Timestamp};

    use super::*;

    fn ids(ids: impl IntoIterator<Item = u64>) -> BTreeSet<NodeId> {
        ids.into_iter().map(NodeId).collect()
    }

    /// The voters after each step that is safe, until there is none.
    fn steps(active: u64, voters: &[u64], gone: &[u64]) -> Vec<BTreeSet<NodeId>> {
        steps_with(active, voters, gone, &[])
    }

    fn steps_with(active: u64, voters: &[u64], gone: &[u64], leaving: &[u64]) -> Vec<BTreeSet<NodeId>> {
        let node = |id| Node {
            id: NodeId(id),
            name: ResourceName::new(&format!("node-{id}")).expect("it is a name"),
            addresses: Addresses { peer: format!("10.0.0.{id}:4192"), admin: None, data: None },
            rack: None,
            levels: Levels { min: 1, max: 1 },
            life: None,
            state: if leaving.contains(&id) { NodeState::Leaving } else { NodeState::Active },
            joined_at: Timestamp::from_millis(0),
            certificates: Vec::new(),
            replaces: None,
        };
        let all: Vec<Node> = (1..=active).map(node).collect();
        let nodes: BTreeMap<NodeId, &Node> = all.iter().map(|node| (node.id, node)).collect();
        let is_there = |id: NodeId| !gone.contains(&id.0);
        let mut members = Members { voters: ids(voters.iter().copied()), ..Members::default() };
        let mut steps = Vec::new();
        while steps.len() < 10 {
            let next = super::voters(&nodes, &members, is_there, is_there);
            if next == members.voters || !is_safe(&next, is_there) {
                break;
            }
            steps.push(next.clone());
            members.voters = next;
        }
        steps
    }

    #[test]
    fn a_cluster_that_grows_has_one_three_and_five_voters() {
        assert_eq!(steps(2, &[1], &[]), Vec::new());
        assert_eq!(steps(3, &[1], &[]), [ids([1, 2]), ids([1, 2, 3])]);
        assert_eq!(steps(7, &[1, 2, 3], &[]), [ids(1..=4), ids(1..=5)]);
    }

    #[test]
    fn a_node_that_is_gone_never_begins_to_vote() {
        assert_eq!(steps(3, &[1], &[2]), [ids([1, 3])], "and no step follows that would need it");
        assert_eq!(steps(3, &[1], &[2, 3]), Vec::new());
    }

    #[test]
    fn who_leaves_is_replaced_in_one_step_and_the_last_voter_in_two() {
        assert_eq!(steps_with(4, &[1, 2, 3], &[], &[2]), [ids([1, 3, 4])]);
        assert_eq!(steps_with(2, &[1], &[], &[1]), [ids([1, 2]), ids([2])]);
    }

    #[test]
    fn who_is_gone_stops_voting_first() {
        assert_eq!(steps(6, &[1, 2, 3, 4, 5], &[1, 2]), [ids([1, 3, 4, 5]), ids([3, 4, 5])]);
    }
}
