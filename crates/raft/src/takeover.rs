//! The fast takeover: what a follower does when the leader's process is known to be gone.
//!
//! A killed process closes its sockets, and its host refuses a redial: the leader is gone for sure, and waiting for the
//! election timeout would only be lost time. The followers' votes are freed at once, as by a leader that hands over, and one
//! of them, the same in everybody's eyes, stands for election. The others stand in their turn, round and round, while nobody
//! leads: the first may be gone too, or behind. Who has just seen another stand lets its turn pass, since a new leader that
//! is not heard yet would be unseated. Two candidates cost a term, never safety. Who is silent but not known to be gone is
//! left to the election timeout.

use std::collections::BTreeSet;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::raft::TransferLeaderRequest;
use quorate_types::NodeId;
use quorate_wal::GroupId;
use tokio::time::Instant;

use crate::Raft;
use crate::group::Group;
use crate::types::Vote;

/// How long one in line has in the first round before it is the next one's turn: an election on a loaded machine takes some
/// milliseconds for the votes, and two syncs of a slow disk. In each round it is twice as long as before, so that there is
/// one in which an election ends in its turn.
const TURN: Duration = Duration::from_millis(80);

/// How often it is one node's turn: the last has 2.6 s. What that has not come to is left to the election timeout.
const ROUNDS: u32 = 6;

/// Takes over from a leader whose process is gone, if it led the group.
pub(crate) async fn take_over(group: Group, gone: NodeId) {
    let raft = group.raft();
    let (vote, voters): (Vote, BTreeSet<NodeId>) = {
        let metrics = raft.server_metrics();
        let metrics = metrics.borrow_watched();
        if metrics.current_leader != Some(gone) {
            return;
        }
        (metrics.vote, metrics.membership_config.membership().voter_ids().collect())
    };
    let line = line(group.id(), &voters, gone);
    let node = *raft.node_id();
    let (Some(place), Some(first)) = (line.iter().position(|voter| *voter == node), line.first()) else { return };
    tracing::info!(group = %group.id(), %gone, %node, place, "the leader's process is gone: its followers take over");
    let (place, length) = (u32::try_from(place).unwrap_or(u32::MAX), u32::try_from(line.len()).unwrap_or(u32::MAX));
    group.free_votes();
    let begun = Instant::now();
    hand_over(&group, vote, *first).await;
    // The first has stood in its first turn.
    for round in u32::from(place == 0)..ROUNDS {
        let lasts = TURN * 2_u32.pow(round);
        let turn = begun + starts(round, place, length);
        // A leader may be one for a moment only: somebody stood against it who had not heard it yet. So that goes on.
        match until(raft, vote, turn).await {
            Until::Led => continue,
            Until::Free { stood } if stood.is_some_and(|stood| stood + lasts > turn) => continue,
            Until::Free { .. } => {}
        }
        // Who refuses because it stood in that term itself, or in a later one, is asked in a term after it.
        for attempt in 1..=2 {
            if let Err(fatal) = raft.trigger().elect(false).await {
                tracing::warn!(group = %group.id(), %fatal, "no takeover: the replica has stopped");
                return;
            }
            if matches!(until(raft, vote, turn + lasts * attempt / 2).await, Until::Led) {
                break;
            }
        }
    }
}

/// Stands instead of one that this node had to refuse although the leader is gone or handed over, because it lacks what this
/// one has: it cannot win, and its turn would pass in vain. The refused one has its own vote in the next term, so that it is asked in the one after it.
pub(crate) async fn stand_instead(raft: &Raft) {
    for _ in 0..2 {
        if let Err(fatal) = raft.trigger().elect(false).await {
            tracing::warn!(%fatal, "no takeover: the replica has stopped");
        }
    }
}

/// When a turn starts: after those of the rounds before, and of who is before in line.
fn starts(round: u32, place: u32, length: u32) -> Duration {
    let lasts = TURN * 2_u32.pow(round);
    (lasts - TURN) * length + lasts * place
}

/// How it is when a turn comes.
enum Until {
    /// Somebody leads.
    Led,
    /// Nobody leads.
    Free {
        /// When another was seen to stand for election last.
        stood: Option<Instant>,
    },
}

/// Waits for a turn; `before` is the vote of the leader that is gone.
async fn until(raft: &Raft, before: Vote, turn: Instant) -> Until {
    let node = *raft.node_id();
    let mut metrics = raft.server_metrics();
    let (mut vote, mut stood) = (metrics.borrow_watched().vote, None);
    // A replica that has stopped changes no more, and says so when it is to stand.
    while let Ok(Ok(())) = tokio::time::timeout_at(turn, metrics.changed()).await {
        let now = metrics.borrow_watched().vote;
        if now != vote && now.leader_id.voted_for != node {
            stood = Some(Instant::now());
        }
        vote = now;
    }
    let now = metrics.borrow_watched();
    if now.current_leader.is_some() && now.vote != before { Until::Led } else { Until::Free { stood } }
}

/// Acts as if the leader had handed over: frees this node's vote, and has it stand for election if it is the next.
async fn hand_over(group: &Group, from: Vote, to: NodeId) {
    match group.raft().handle_transfer_leader(TransferLeaderRequest::new(from, to, None)).await {
        Ok(Ok(())) => {}
        // Somebody else stands for election already.
        Ok(Err(reason)) => tracing::debug!(group = %group.id(), %reason, "no takeover"),
        Err(reason) => tracing::warn!(group = %group.id(), %reason, "no takeover: the replica has stopped"),
    }
}

/// The voters that are left in the order in which they take over. It begins elsewhere for each group, so that not all
/// groups of a node go to the same one.
fn line(group: GroupId, voters: &BTreeSet<NodeId>, gone: NodeId) -> Vec<NodeId> {
    let mut line: Vec<NodeId> = voters.iter().copied().filter(|voter| *voter != gone).collect();
    if !line.is_empty() {
        let begin = group.0 as usize % line.len();
        line.rotate_left(begin);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voters(ids: &[u64]) -> BTreeSet<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    #[test]
    fn everybody_sees_the_same_line_without_the_one_that_is_gone() {
        assert_eq!(line(GroupId(4), &voters(&[3, 1, 2]), NodeId(2)), [NodeId(1), NodeId(3)]);
        assert_eq!(line(GroupId(4), &voters(&[1]), NodeId(1)), []);
    }

    #[test]
    fn turns_follow_each_other_and_last_twice_as_long_each_round() {
        let starts: Vec<_> = (0..2).flat_map(|round| (0..3).map(move |place| starts(round, place, 3) / 80)).collect();

        assert_eq!(starts, [0, 1, 2, 3, 5, 7].map(Duration::from_millis));
    }

    #[test]
    fn groups_go_to_different_nodes() {
        let firsts: BTreeSet<NodeId> =
            (0..8).map(|group| line(GroupId(group), &voters(&[1, 2, 3, 4, 5]), NodeId(1))[0]).collect();

        assert_eq!(firsts, voters(&[2, 3, 4, 5]));
    }
}
