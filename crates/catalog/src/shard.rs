//! Where the replicas of a shard group are.
//!
//! The group itself decides who votes in it; the map is what shall be, and what everybody routes by.

use std::collections::BTreeSet;

use quorate_types::NodeId;

use crate::check::{self, Checked};
use crate::limits::{NODES_MAX, REPLICATION_MAX};
use crate::moves::Move;
use crate::proto;
use crate::refusal::Refusal;

/// A shard group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Its number, from 1.
    pub number: u32,
    /// The version of the map in which it was changed last.
    pub version: u64,
    /// The nodes that vote; never none.
    pub voters: BTreeSet<NodeId>,
    /// The nodes that only follow.
    pub learners: BTreeSet<NodeId>,
    /// What is going on.
    pub pending: Option<Move>,
}

// === impl Shard ===

impl Shard {
    pub(crate) fn from_proto(shard: &proto::Shard) -> Checked<Self> {
        let voters = nodes("voters", &shard.voters, REPLICATION_MAX as usize)?;
        let learners = nodes("learners", &shard.learners, NODES_MAX)?;
        if voters.is_empty() {
            return Err(Refusal::invalid("voters", "none", format_args!("1 to {REPLICATION_MAX} nodes")));
        }
        if let Some(both) = voters.intersection(&learners).next() {
            return Err(Refusal::invalid("learners", both, "nodes that do not vote"));
        }
        let pending = shard.pending.as_ref().map(|pending| pending_move(shard.shard, pending, &voters)).transpose()?;
        Ok(Self { number: shard.shard, version: shard.version, voters, learners, pending })
    }

    /// Returns the message that says the same.
    #[must_use]
    pub fn to_proto(&self) -> proto::Shard {
        let pending = self.pending.map(|pending| proto::Move {
            from: pending.from.map_or(0, |node| node.0),
            to: pending.to.map_or(0, |node| node.0),
        });
        proto::Shard {
            shard: self.number,
            version: self.version,
            voters: self.voters.iter().map(|node| node.0).collect(),
            learners: self.learners.iter().map(|node| node.0).collect(),
            pending,
        }
    }

    /// Every node that the shard has to do with.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> {
        let moving = self.pending.iter().flat_map(|pending| pending.from.into_iter().chain(pending.to));
        self.voters.iter().chain(&self.learners).copied().chain(moving)
    }
}

fn nodes(field: &str, ids: &[u64], max: usize) -> Checked<BTreeSet<NodeId>> {
    if ids.len() > max {
        return Err(Refusal::limit(field, ids.len(), max));
    }
    let mut nodes = BTreeSet::new();
    for id in ids {
        let node = check::node_or_none(*id).ok_or_else(|| Refusal::invalid(field, id, "numbers of nodes"))?;
        if !nodes.insert(node) {
            return Err(Refusal::invalid(field, id, "each node once"));
        }
    }
    Ok(nodes)
}

fn pending_move(shard: u32, pending: &proto::Move, voters: &BTreeSet<NodeId>) -> Checked<Move> {
    let (from, to) = (check::node_or_none(pending.from), check::node_or_none(pending.to));
    if from.is_none() && to.is_none() {
        return Err(Refusal::invalid("pending", "nothing", "a move from or to a node"));
    }
    if let Some(node) = from.filter(|node| !voters.contains(node)) {
        return Err(Refusal::invalid("pending.from", node, "a node that votes"));
    }
    if let Some(node) = to.filter(|node| voters.contains(node)) {
        return Err(Refusal::invalid("pending.to", node, "a node that does not vote"));
    }
    Ok(Move { shard, from, to })
}
