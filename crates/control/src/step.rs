//! The next step that makes a shard's group what the map says, as its leader sees it.
//!
//! A replica learns before it votes, and votes before another leaves; the map is told when all of it is done. Pure: the map
//! and the group in, one step out. Steps are found anew each time, so that a new leader goes on where the old one ended.

use std::collections::BTreeSet;

use quorate_catalog::Shard;
use quorate_catalog::proto;
use quorate_raft::Members;
use quorate_types::NodeId;

/// What a shard's leader does next.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// Has a node learn.
    Learn(NodeId),
    /// Makes these the voters.
    Vote(BTreeSet<NodeId>),
    /// Takes a learner out of the group.
    Leave(NodeId),
    /// Tells the map that the group is what was asked for.
    Tell(proto::SetReplicas),
}

/// Whether most of a group's new voters are there. With fewer of them the change would never be committed, and no other one
/// could follow it.
pub(crate) fn is_safe(voters: &BTreeSet<NodeId>, is_there: impl Fn(NodeId) -> bool) -> bool {
    voters.iter().filter(|node| is_there(**node)).count() > voters.len() / 2
}

/// Finds the next step; none when all is done, or something has to be waited for. `can_vote` says who has what the others
/// have and is there, and `is_there` who is there at all.
pub(crate) fn next(
    shard: &Shard,
    members: &Members,
    can_vote: impl Fn(NodeId) -> bool,
    is_there: impl Fn(NodeId) -> bool,
) -> Option<Step> {
    if members.is_changing {
        return None;
    }
    // Whoever began a change of voters is gone: both halves are needed for each commit until it is ended.
    if let Some(voters) = &members.unfinished {
        return Some(Step::Vote(voters.clone()));
    }
    let voters = voters(shard);
    let known = |node: &NodeId| members.voters.contains(node) || members.learners.contains(node);
    let follows = shard.learners.iter().copied().filter(|node| !voters.contains(node));
    if let Some(node) = voters.iter().copied().chain(follows).find(|node| !known(node)) {
        return Some(Step::Learn(node));
    }
    if members.voters != voters {
        // Somebody who votes now has to lead the next step.
        let voters = if voters.is_disjoint(&members.voters) { &voters | &members.voters } else { voters };
        let ready = voters.iter().all(|node| members.voters.contains(node) || can_vote(*node));
        return (ready && is_safe(&voters, is_there)).then_some(Step::Vote(voters));
    }
    let stays = |node: &NodeId| shard.learners.contains(node) && !voters.contains(node);
    if let Some(node) = members.learners.iter().copied().find(|node| !stays(node)) {
        return Some(Step::Leave(node));
    }
    shard.pending.is_some().then(|| Step::Tell(settled(shard, &voters)))
}

/// Who votes when what is going on is done.
fn voters(shard: &Shard) -> BTreeSet<NodeId> {
    let mut voters = shard.voters.clone();
    if let Some(pending) = shard.pending {
        voters.extend(pending.to);
        // The last one cannot leave.
        if voters.len() > 1 {
            pending.from.map(|from| voters.remove(&from));
        }
    }
    voters
}

fn settled(shard: &Shard, voters: &BTreeSet<NodeId>) -> proto::SetReplicas {
    let learners = shard.learners.iter().filter(|node| !voters.contains(node));
    proto::SetReplicas {
        shard: shard.number,
        expected_version: shard.version,
        voters: voters.iter().map(|node| node.0).collect(),
        learners: learners.map(|node| node.0).collect(),
        pending: None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use quorate_catalog::Move;

    use super::*;

    fn nodes(ids: impl IntoIterator<Item = u64>) -> BTreeSet<NodeId> {
        ids.into_iter().map(NodeId).collect()
    }

    fn shard(voters: &[u64], from: u64, to: u64) -> Shard {
        let node = |id| (id != 0).then_some(NodeId(id));
        let pending = (from, to) != (0, 0);
        let pending = pending.then_some(Move { shard: 3, from: node(from), to: node(to) });
        Shard { number: 3, version: 9, voters: nodes(voters.iter().copied()), learners: BTreeSet::new(), pending }
    }

    fn members(voters: &[u64], learners: &[u64]) -> Members {
        let [voters, learners] = [voters, learners].map(|ids| nodes(ids.iter().copied()));
        Members { voters, learners, ..Members::default() }
    }

    #[test]
    fn a_replica_learns_votes_and_then_another_leaves() {
        let map = shard(&[1, 2, 3], 2, 4);

        assert_eq!(next(&map, &members(&[1, 2, 3], &[]), |_| false, |_| true), Some(Step::Learn(NodeId(4))));
        assert_eq!(next(&map, &members(&[1, 2, 3], &[4]), |_| false, |_| true), None, "it has not caught up");
        assert_eq!(next(&map, &members(&[1, 2, 3], &[4]), |_| true, |_| true), Some(Step::Vote(nodes([1, 3, 4]))));
        assert_eq!(next(&map, &members(&[1, 3, 4], &[2]), |_| true, |_| true), Some(Step::Leave(NodeId(2))));
        let told = settled(&map, &nodes([1, 3, 4]));
        assert_eq!(next(&map, &members(&[1, 3, 4], &[]), |_| true, |_| true), Some(Step::Tell(told)));
        assert_eq!(next(&shard(&[1, 3, 4], 0, 0), &members(&[1, 3, 4], &[]), |_| true, |_| true), None, "all is done");
    }

    #[test]
    fn voters_of_whom_most_are_gone_are_never_asked_for() {
        let (map, group) = (shard(&[1], 0, 2), members(&[1], &[2]));

        assert_eq!(next(&map, &group, |_| true, |node| node == NodeId(1)), None, "two need both");
        assert_eq!(next(&map, &group, |_| true, |_| true), Some(Step::Vote(nodes([1, 2]))));
        let (map, group) = (shard(&[1, 2], 0, 3), members(&[1, 2], &[3]));
        let without_two = |node: NodeId| node != NodeId(2);
        assert_eq!(
            next(&map, &group, |_| true, without_two),
            Some(Step::Vote(nodes([1, 2, 3]))),
            "two of three are there"
        );
    }

    #[test]
    fn a_lone_voter_leaves_when_another_one_votes() {
        let map = shard(&[1], 1, 2);

        assert_eq!(next(&map, &members(&[1], &[2]), |_| true, |_| true), Some(Step::Vote(nodes([1, 2]))));
        assert_eq!(next(&map, &members(&[1, 2], &[]), |_| true, |_| true), Some(Step::Vote(nodes([2]))));
    }

    #[test]
    fn nothing_is_begun_while_a_change_goes_on() {
        let members = Members { is_changing: true, ..members(&[1], &[]) };

        assert_eq!(next(&shard(&[1], 0, 2), &members, |_| true, |_| true), None);
    }

    #[test]
    fn a_change_that_nobody_finishes_is_ended_first() {
        let members = Members { unfinished: Some(nodes([1, 2])), ..members(&[1, 2, 3], &[]) };

        assert_eq!(next(&shard(&[1, 2, 3], 0, 4), &members, |_| true, |_| true), Some(Step::Vote(nodes([1, 2]))));
    }

    /// The group and the map as a leader's steps change them, whatever they are at first.
    fn carry_out(step: Step, shard: &mut Shard, members: &mut Members) {
        match step {
            Step::Learn(node) => {
                assert!(!members.voters.contains(&node) && members.learners.insert(node), "it is known already");
            }
            Step::Vote(voters) => {
                assert!(!voters.is_empty(), "somebody votes");
                assert!(voters.iter().all(|node| members.voters.contains(node) || members.learners.contains(node)));
                members.learners.retain(|node| !voters.contains(node));
                members.voters = voters;
            }
            Step::Leave(node) => assert!(members.learners.remove(&node), "it is a learner"),
            Step::Tell(told) => {
                assert_eq!(told.expected_version, shard.version);
                shard.voters = nodes(told.voters);
                shard.learners = nodes(told.learners);
                shard.pending = None;
                shard.version += 1;
            }
        }
    }

    proptest! {
        #[test]
        fn every_group_becomes_what_the_map_asks_for(
            voters in prop::collection::btree_set(1..6_u64, 1..5),
            learners in prop::collection::btree_set(6..8_u64, 0..2),
            from in 0..6_u64,
            to in 0..8_u64,
            group in (prop::collection::btree_set(1..8_u64, 1..5), prop::collection::btree_set(1..8_u64, 0..4)),
        ) {
            let mut map = shard(&voters.iter().copied().collect::<Vec<_>>(), from, to);
            map.learners = nodes(learners);
            let (votes, learns) = (nodes(group.0), nodes(group.1));
            let learns = learns.difference(&votes).copied().collect();
            let mut group = Members { voters: votes, learners: learns, ..Members::default() };
            let asked = super::voters(&map);
            let follows: BTreeSet<NodeId> = map.learners.difference(&asked).copied().collect();

            for _ in 0..40 {
                let Some(step) = next(&map, &group, |_| true, |_| true) else { break };
                carry_out(step, &mut map, &mut group);
            }

            prop_assert_eq!(next(&map, &group, |_| true, |_| true), None, "it comes to an end");
            prop_assert_eq!(&group.voters, &asked);
            prop_assert_eq!(&group.learners, &follows);
            prop_assert_eq!((map.voters, map.pending), (asked, None));
        }
    }
}
