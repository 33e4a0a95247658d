//! What this node is in a group, as it changes.
//!
//! Who leads is known with the term in which it does, the epoch of everything that it does. A leader is ready when the first
//! entry of its term is applied here, so that everything that was committed before is in its machine, and as long as a quorum
//! has acknowledged it within its lease: nobody who acknowledged a leader votes for another for as long. It is not ready any
//! more once it has begun to hand over.

use std::time::Duration;

use openraft::Instant as _;
use openraft::async_runtime::watch::WatchReceiver as _;
use quorate_types::NodeId;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

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
        /// Whether everything that was committed before its term is applied here, a quorum has acknowledged it within its lease,
        /// and it is not handing over.
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

/// Returns until when a leader may act without asking a quorum: its lease, counted from when it sent what a quorum has
/// acknowledged last. None when no quorum has.
pub(crate) fn acts_until(raft: &Raft, lease: Duration) -> Option<Instant> {
    let node = *raft.node_id();
    let is_alone = {
        let server = raft.server_metrics();
        let server = server.borrow_watched();
        server.membership_config.membership().voter_ids().eq([node])
    };
    if is_alone {
        return Some(Instant::now() + lease);
    }
    let data = raft.data_metrics();
    let acked = data.borrow_watched().last_quorum_acked;
    let now = Instant::now();
    acked.map(|acked| now + lease.saturating_sub(acked.elapsed()))
}

/// Whether a leader has not been acknowledged by a quorum for so long. One that was never acknowledged is new.
pub(crate) fn is_cut_off(raft: &Raft, since: Duration) -> bool {
    let acked = raft.data_metrics().borrow_watched().last_quorum_acked;
    acked.is_some_and(|acked| acked.elapsed() > since)
        && acts_until(raft, since).is_some_and(|until| until <= Instant::now())
}

/// What is needed to tell the role of a replica.
pub(crate) struct Observer {
    pub(crate) raft: Raft,
    pub(crate) role: watch::Sender<Role>,
    /// The last term in which this node began to hand over.
    pub(crate) handed_over: watch::Receiver<u64>,
    pub(crate) lease: Duration,
}

// === impl Observer ===

impl Observer {
    /// Tells the role as it changes, until the group is closed or nobody listens.
    pub(crate) async fn run(mut self) {
        let mut server = self.raft.server_metrics();
        let mut applied = self.raft.watch_apply_progress();
        let mut data = self.raft.data_metrics();
        loop {
            let metrics = server.borrow_and_update().clone();
            let term = metrics.vote.leader_id.term;
            // Log ids are ordered by their terms first, so this is before every entry of the term.
            let first = Some(LogId::new(Epoch::new(term), 0));
            let leads = metrics.state == openraft::ServerState::Leader;
            drop(data.borrow_and_update());
            let until = acts_until(&self.raft, self.lease).filter(|until| leads && *until > Instant::now());
            let (has_all, hands_over) = (applied.get() >= first, *self.handed_over.borrow_and_update() == term);
            let now = match metrics.state {
                openraft::ServerState::Learner => Role::Learner { leader: metrics.current_leader },
                openraft::ServerState::Follower | openraft::ServerState::Candidate => {
                    Role::Follower { leader: metrics.current_leader }
                }
                openraft::ServerState::Leader => {
                    let ready = has_all && until.is_some() && !hands_over;
                    Role::Leader { node: metrics.id, epoch: term, ready }
                }
                openraft::ServerState::Shutdown => Role::Stopped,
            };
            self.role.send_if_modified(|role| {
                let changed = *role != now;
                *role = now;
                changed
            });
            // A lease that goes on is looked at when it would end; one that has ended begins again with the next word.
            let lease_ends = sleep_until(until.unwrap_or_else(Instant::now));
            tokio::select! {
                changed = server.changed() => if changed.is_err() { break },
                reached = applied.wait_until_ge(&first), if leads && !has_all => if reached.is_err() { break },
                () = lease_ends, if until.is_some() => {}
                changed = data.changed(), if leads && until.is_none() => if changed.is_err() { break },
                changed = self.handed_over.changed() => if changed.is_err() { break },
                () = self.role.closed() => return,
            }
        }
        self.role.send_replace(Role::Stopped);
    }
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
