//! Why a proposal, a read or a change of a group was not done, and whether it may have been done after all.
//!
//! A proposer must know which: what was not proposed can be proposed again, what is unknown only when its machine knows
//! duplicates. Nothing here says how a caller is answered; the product maps these to its own errors.

use std::time::Duration;

use quorate_types::NodeId;

use crate::types::TooLarge;

/// A command was not committed, or it is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Not proposed: this node does not lead the group, or not in the term that was asked for.
    #[error("{}", not_leader(*leader))]
    NotLeader {
        /// Who leads, as far as this node knows.
        leader: Option<NodeId>,
    },
    /// Not proposed: too much is under way.
    #[error("too many bytes of proposals are under way; try again in {} ms", retry_after.as_millis())]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// Not proposed: the disk of the leader is full.
    #[error("the disk of the node that leads the group is full: free some of it, or give it more")]
    DiskFull,
    /// Not proposed, and never will be.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// Proposed, and nobody knows yet whether it is committed: the leader was lost, or the time was up.
    #[error("it is not known whether the command was committed")]
    Unknown,
    /// Not proposed: the replica has stopped for good.
    #[error("the group has stopped on this node: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
}

/// A read that sees everything committed before it cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadIndexError {
    /// Nobody is known to lead the group.
    #[error("{}", not_leader(*leader))]
    NotLeader {
        /// Who leads, as far as is known.
        leader: Option<NodeId>,
    },
    /// The leader does not reach a quorum, or this node not the leader.
    #[error("no quorum of the group answers")]
    NoQuorum,
    /// What was committed did not arrive here in time.
    #[error("this replica is behind: entry {index} is not applied in {} ms", waited.as_millis())]
    Behind {
        /// The entry that has to be applied.
        index: u64,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The replica has stopped for good.
    #[error("the group has stopped on this node: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
}

/// The replicas of a group cannot be changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// This node does not lead the group.
    #[error("{}", not_leader(*leader))]
    NotLeader {
        /// Who leads, as far as this node knows.
        leader: Option<NodeId>,
    },
    /// Another change goes on, or this one cannot be.
    #[error("the change is refused: {reason}")]
    Refused {
        /// Why.
        reason: String,
    },
    /// It may have been done: the leadership was lost meanwhile, or the time was up.
    #[error("it is not known whether the change was made")]
    Unknown,
    /// The replica has stopped for good.
    #[error("the group has stopped on this node: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
}

fn not_leader(leader: Option<NodeId>) -> String {
    match leader {
        Some(leader) => format!("node {leader} leads the group"),
        None => "the group has no leader now".to_owned(),
    }
}
