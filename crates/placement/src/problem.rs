//! What a solver is asked, and what it answers.
//!
//! Plain data: nodes and where they are, groups and who holds them, and the moves from one to the other. What fails together is
//! a rack, or a node that says nothing of one.

use std::collections::{BTreeMap, BTreeSet};

use quorate_types::NodeId;

/// What fails together: a rack, a zone, a room.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rack(pub String);

/// What is known of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Where it is; one that does not say is in a rack of its own.
    pub rack: Option<Rack>,
    /// It leaves, or is gone for good: it shall hold nothing.
    pub leaves: bool,
}

/// The nodes, and what they hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problem {
    /// All nodes that hold something or may.
    pub nodes: BTreeMap<NodeId, Node>,
    /// The nodes that hold each group, by its number.
    pub groups: Vec<BTreeSet<NodeId>>,
    /// How many replicas a group shall have.
    pub replicas: usize,
}

/// Where everything shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Solution {
    /// The nodes that shall hold each group.
    pub groups: Vec<BTreeSet<NodeId>>,
    /// What leads there, of each group what is most urgent first.
    pub moves: Vec<Move>,
}

/// A change of one group's replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// The group.
    pub group: usize,
    /// Who holds it and shall not; none when it has too few replicas.
    pub from: Option<NodeId>,
    /// Who shall hold it; none when it has too many.
    pub to: Option<NodeId>,
}

/// What fails together with a node: its rack, or itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Domain<'a> {
    Rack(&'a Rack),
    Node(NodeId),
}

// === impl Problem ===

impl Problem {
    /// The nodes that may hold something.
    pub(crate) fn staying(&self) -> impl Iterator<Item = NodeId> {
        self.nodes.iter().filter(|(_, node)| !node.leaves).map(|(id, _)| *id)
    }

    pub(crate) fn stays(&self, id: NodeId) -> bool {
        self.nodes.get(&id).is_some_and(|node| !node.leaves)
    }

    pub(crate) fn domain(&self, id: NodeId) -> Domain<'_> {
        match self.nodes.get(&id).and_then(|node| node.rack.as_ref()) {
            Some(rack) => Domain::Rack(rack),
            None => Domain::Node(id),
        }
    }

    /// How many domains some nodes are in.
    pub(crate) fn span(&self, nodes: &BTreeSet<NodeId>) -> usize {
        nodes.iter().map(|id| self.domain(*id)).collect::<BTreeSet<_>>().len()
    }
}

// === impl Solution ===

impl Solution {
    /// Pairs what goes with what comes, group by group; what is missing comes first.
    pub(crate) fn of(before: &[BTreeSet<NodeId>], groups: Vec<BTreeSet<NodeId>>) -> Self {
        let mut moves = Vec::new();
        for (group, (old, new)) in before.iter().zip(&groups).enumerate() {
            let mut gone = old.difference(new).copied();
            let added: Vec<_> = new.difference(old).copied().collect();
            // A group that was too small keeps what it has until it is whole.
            let missing = new.len().saturating_sub(old.len()).min(added.len());
            let (first, rest) = added.split_at(missing);
            moves.extend(first.iter().map(|to| Move { group, from: None, to: Some(*to) }));
            moves.extend(rest.iter().map(|to| Move { group, from: gone.next(), to: Some(*to) }));
            moves.extend(gone.map(|from| Move { group, from: Some(from), to: None }));
        }
        Self { groups, moves }
    }
}
