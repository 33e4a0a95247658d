//! What the shard map asks to be moved next.
//!
//! The solver says where everything shall be; here it is asked about what is, and its moves are held back so that no node
//! has part in two at a time. What repairs comes before what empties, and that before what levels. Who carries a move out
//! says so in the map (`pending`), and asks again when it is done.

use std::collections::{BTreeMap, BTreeSet};

use quorate_placement::{Problem, Rack, solve};
use quorate_types::NodeId;

use crate::catalog::Catalog;
use crate::node::NodeState;
use crate::shard::Shard;

/// A change of one shard's replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// The shard.
    pub shard: u32,
    /// Who holds it and shall not.
    pub from: Option<NodeId>,
    /// Who shall hold it.
    pub to: Option<NodeId>,
}

// === impl Catalog ===

impl Catalog {
    /// The solver's problem: the nodes that serve or are placed on, and the shards, in the order of their numbers, as they
    /// will be when what is going on is done.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let groups: Vec<_> = self.shards().map(settled).collect();
        let placed: BTreeSet<NodeId> = groups.iter().flatten().copied().collect();
        let mut nodes = BTreeMap::new();
        for node in self.nodes() {
            let leaves = match node.state {
                NodeState::Active | NodeState::Draining => false,
                NodeState::Joining if !placed.contains(&node.id) => continue,
                NodeState::Joining => false,
                NodeState::Leaving | NodeState::Removed => true,
            };
            let rack = node.rack.clone().map(Rack);
            nodes.insert(node.id, quorate_placement::Node { rack, leaves });
        }
        let replicas = self.cluster().map_or(0, |cluster| cluster.replication as usize);
        Problem { nodes, groups, replicas }
    }

    /// The moves that can begin now, most urgent first: at most one for each node and shard, counting those that go on.
    #[must_use]
    pub fn moves(&self) -> Vec<Move> {
        let problem = self.problem();
        let numbers: Vec<u32> = self.shards().map(|shard| shard.number).collect();
        let mut wanted: Vec<Move> = solve(&problem)
            .moves
            .into_iter()
            .map(|step| Move { shard: numbers[step.group], from: step.from, to: step.to })
            .collect();
        wanted.sort_by_key(|step| urgency(step, &problem));
        let pending: Vec<Move> = self.shards().filter_map(|shard| shard.pending).collect();
        let mut busy: BTreeSet<NodeId> = pending.iter().flat_map(Move::nodes).collect();
        let mut moving: BTreeSet<u32> = pending.iter().map(|step| step.shard).collect();
        wanted.retain(|step| {
            let drains = step.to.and_then(|to| self.node(to)).is_some_and(|to| to.state == NodeState::Draining);
            if drains || moving.contains(&step.shard) || step.nodes().any(|node| busy.contains(&node)) {
                return false;
            }
            busy.extend(step.nodes());
            moving.insert(step.shard)
        });
        wanted
    }
}

// === impl Move ===

impl Move {
    fn nodes(&self) -> impl Iterator<Item = NodeId> + use<> {
        self.from.into_iter().chain(self.to)
    }
}

/// Who holds a shard when what is going on is done.
fn settled(shard: &Shard) -> BTreeSet<NodeId> {
    let mut nodes = shard.voters.clone();
    if let Some(pending) = shard.pending {
        nodes.extend(pending.to);
        pending.from.map(|from| nodes.remove(&from));
    }
    nodes
}

/// The smaller the earlier.
fn urgency(step: &Move, problem: &Problem) -> u8 {
    let leaves = |node: NodeId| problem.nodes.get(&node).is_none_or(|node| node.leaves);
    match (step.from, step.to) {
        (None, _) => 0,
        (Some(from), _) if leaves(from) => 1,
        (Some(_), Some(_)) => 2,
        (Some(_), None) => 3,
    }
}
