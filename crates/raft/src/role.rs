//! What this node is in a group, as it changes.
//!
//! Who leads is known with the term in which it does, the epoch of everything that it does. A leader is ready when the first
//! entry of its term is applied here: then everything that was committed before is in its machine.

use openraft::async_runtime::watch::WatchReceiver as _;
use quorate_types::NodeId;
use tokio::sync::watch;

use crate::Raft;
use crate::types::{Epoch, LogId};

/// What this node is in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// It learns: it has no vote, or is not in the group yet.
    Learner {
        /// Who leads, when it is known.
        leader: Option<NodeId>,
    },
    /// It has a vote.
    Follower {
        /// Who leads, when it is known; nobody during an election.
        leader: Option<NodeId>,
    },
    /// It leads.
    Leader {
        /// Itself.
        node: NodeId,
        /// The term in which it leads.
        epoch: u64,
        /// Whether everything that was committed before its term is applied here.
        ready: bool,
    },
    /// Its replica has stopped for good: it votes for nobody and applies nothing.
    Stopped,
}

// === impl Role ===

impl Role {
    /// Who leads, as far as this node knows.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        match self {
            Self::Learner { leader } | Self::Follower { leader } => *leader,
            Self::Leader { node, .. } => Some(*node),
            Self::Stopped => None,
        }
    }

    /// Whether this node leads, ready or not.
    #[must_use]
    pub fn leads(&self) -> bool {
        matches!(self, Self::Leader { .. })
    }

    /// The term in which this node leads and is ready to act.
    #[must_use]
    pub fn serves(&self) -> Option<u64> {
        match self {
            Self::Leader { epoch, ready: true, .. } => Some(*epoch),
            Self::Leader { ready: false, .. } | Self::Learner { .. } | Self::Follower { .. } | Self::Stopped => None,
        }
    }
}

/// Tells the role as it changes, until the group is closed or nobody listens.
pub(crate) async fn observe(raft: Raft, role: watch::Sender<Role>) {
    let mut server = raft.server_metrics();
    let mut applied = raft.watch_apply_progress();
    loop {
        let metrics = server.borrow_watched().clone();
        let term = metrics.vote.leader_id.term;
        // Log ids are ordered by their terms first, so this is before every entry of the term.
        let first = Some(LogId::new(Epoch::new(term), 0));
        let ready = applied.get() >= first;
        let now = match metrics.state {
            openraft::ServerState::Learner => Role::Learner { leader: metrics.current_leader },
            openraft::ServerState::Follower | openraft::ServerState::Candidate => {
                Role::Follower { leader: metrics.current_leader }
            }
            openraft::ServerState::Leader => Role::Leader { node: metrics.id, epoch: term, ready },
            openraft::ServerState::Shutdown => Role::Stopped,
        };
        let waits = matches!(now, Role::Leader { ready: false, .. });
        role.send_if_modified(|role| {
            let changed = *role != now;
            *role = now;
            changed
        });
        tokio::select! {
            changed = server.changed() => if changed.is_err() { break },
            reached = applied.wait_until_ge(&first), if waits => if reached.is_err() { break },
            () = role.closed() => return,
        }
    }
    role.send_replace(Role::Stopped);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_leader_that_has_applied_what_was_before_its_term_serves() {
        let leader = |ready| Role::Leader { node: NodeId(1), epoch: 7, ready };
        let follower = Role::Follower { leader: Some(NodeId(2)) };

        assert_eq!((leader(true).serves(), leader(true).leads()), (Some(7), true));
        assert_eq!((leader(false).serves(), leader(false).leads()), (None, true));
        assert_eq!((follower.serves(), follower.leads(), follower.leader()), (None, false, Some(NodeId(2))));
        assert_eq!((Role::Stopped.serves(), Role::Stopped.leader()), (None, None));
    }
}
