//! Whether replicas have the same state: marks in the log, at which each of them hashes what it has.
//!
//! ```text
//! leader: propose a mark ─▶ every replica: freeze, hash ─▶ leader: ask the others ─▶ who differs is told ─▶ it stops
//! ```
//!
//! What most of the voters say counts; with as many against as for it, what the leader says, since that was answered to
//! proposers. Who differs stops for good and says so ([`Stopped::Diverged`](crate::Stopped)): a leader too. A replica that
//! hashes slowly, or is behind, is asked again, and then left out until the next mark. [`judge`] is pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorate_peer::Urgency;
use quorate_proto::raft::v1;
use quorate_proto::raft::v1::request::Kind as Ask;
use quorate_proto::raft::v1::response::Kind as Told;
use quorate_types::NodeId;
use tokio::sync::watch;

use crate::group::Group;
use crate::network::ask_peer;

/// Marks that a replica remembers: the leader asks within the time of one, and a new leader may ask for its own.
const KEPT: usize = 8;

/// How often a replica is asked for a hash, and how long is waited between: half a minute, in which 1 GiB is hashed.
const ATTEMPTS: u32 = 30;
const PAUSE: Duration = Duration::from_secs(1);

/// How long one answer may take.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);

/// The hashes of one replica, by the index of the mark.
#[derive(Debug, Default)]
pub struct Marks {
    hashes: Mutex<VecDeque<(u64, u64)>>,
    latest: watch::Sender<u64>,
}

// === impl Marks ===

impl Marks {
    pub(crate) fn add(&self, index: u64, hash: u64) {
        let mut hashes = self.lock();
        if hashes.len() >= KEPT {
            hashes.pop_front();
        }
        hashes.push_back((index, hash));
        drop(hashes);
        self.latest.send_replace(index);
    }

    /// The hash at a mark, as long as it is remembered.
    pub(crate) fn at(&self, index: u64) -> Option<u64> {
        self.lock().iter().find(|(at, _)| *at == index).map(|(_, hash)| *hash)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(u64, u64)>> {
        self.hashes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Marks the log, if this node leads, and holds the replicas' hashes against each other.
pub(crate) async fn compare(group: &Group, marks: &Arc<Marks>) {
    let Some(index) = group.mark().await else { return };
    let mut latest = marks.latest.subscribe();
    let hashed = latest.wait_for(|latest| *latest >= index);
    let waited = tokio::time::timeout(ATTEMPTS * PAUSE, async { drop(hashed.await) }).await;
    let (Ok(()), Some(own)) = (waited, marks.at(index)) else {
        tracing::warn!(group = %group.id(), index, "the state was not hashed in time, and is compared at the next mark");
        return;
    };
    let members = group.members();
    let others = members.voters.iter().chain(&members.learners).copied().filter(|node| *node != group.node());
    let asked = futures_util::future::join_all(others.map(|node| hash_of(group, node, index))).await;
    let others: BTreeMap<NodeId, u64> = asked.into_iter().flatten().collect();
    let (expected, differing) = judge(group.node(), own, &others, &members.voters);
    for node in differing {
        tracing::error!(group = %group.id(), %node, index, "a replica has another state than the others: it is stopped");
        if node == group.node() {
            group.stop_if_differs(index, expected).await;
        } else {
            let told = v1::Differs { index, expected };
            let asked = ask_peer(group.peers(), group.id(), node, Ask::Differs(told), Urgency::Consensus);
            // Who does not hear it is told at the next mark.
            if let Err(error) = tokio::time::timeout(ANSWER_PATIENCE, asked).await.map_err(|_| "late").map(drop) {
                tracing::warn!(group = %group.id(), %node, error, "it was not told");
            }
        }
    }
}

/// Asks a replica for its hash at a mark, until it has it.
async fn hash_of(group: &Group, node: NodeId, index: u64) -> Option<(NodeId, u64)> {
    for _ in 0..ATTEMPTS {
        let ask = Ask::StateHash(v1::StateHash { index });
        let asked = ask_peer(group.peers(), group.id(), node, ask, Urgency::Consensus);
        if let Ok(Ok(Told::StateHash(v1::StateHashResponse { hash: Some(hash) }))) =
            tokio::time::timeout(ANSWER_PATIENCE, asked).await
        {
            return Some((node, hash));
        }
        tokio::time::sleep(PAUSE).await;
    }
    tracing::warn!(group = %group.id(), %node, index, "a replica did not tell the hash of its state");
    None
}

/// Returns the hash that counts, and who has another one.
fn judge(
    leader: NodeId,
    own: u64,
    others: &BTreeMap<NodeId, u64>,
    voters: &BTreeSet<NodeId>,
) -> (u64, BTreeSet<NodeId>) {
    let all: BTreeMap<NodeId, u64> = others.iter().map(|(node, hash)| (*node, *hash)).chain([(leader, own)]).collect();
    let mut votes: BTreeMap<u64, usize> = BTreeMap::new();
    for hash in all.iter().filter(|(node, _)| voters.contains(node)).map(|(_, hash)| *hash) {
        *votes.entry(hash).or_default() += 1;
    }
    let count = |hash: u64| votes.get(&hash).copied().unwrap_or(0);
    let expected = votes.keys().copied().max_by_key(|hash| (count(*hash), *hash == own)).unwrap_or(own);
    let differing = all.into_iter().filter(|(_, hash)| *hash != expected).map(|(node, _)| node).collect();
    (expected, differing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(own: u64, others: &[(u64, u64)], expected: u64, differing: &[u64]) {
        let others = others.iter().map(|(node, hash)| (NodeId(*node), *hash)).collect();
        let voters = [1, 2, 3].map(NodeId).into();
        let differing = differing.iter().copied().map(NodeId).collect();
        assert_eq!(judge(NodeId(1), own, &others, &voters), (expected, differing), "{own} {others:?}");
    }

    #[test]
    fn what_most_voters_say_counts_and_else_what_the_leader_says() {
        check(7, &[(2, 7), (3, 7)], 7, &[]);
        check(7, &[(2, 7), (3, 8)], 7, &[3]);
        check(7, &[(2, 9), (3, 9)], 9, &[1]);
        check(7, &[(2, 9)], 7, &[2]);
        check(7, &[(2, 6)], 7, &[2]);
        check(7, &[(2, 8), (3, 9)], 7, &[2, 3]);
        check(7, &[], 7, &[]);
        // A learner is told, and has no vote.
        check(7, &[(2, 7), (4, 9), (5, 9), (6, 9)], 7, &[4, 5, 6]);
    }

    #[test]
    fn the_latest_marks_are_remembered() {
        let marks = Marks::default();
        (1..=KEPT as u64 + 1).for_each(|index| marks.add(index, index * 10));

        assert_eq!((marks.at(1), marks.at(2), marks.at(9), marks.at(10)), (None, Some(20), Some(90), None));
    }
}
