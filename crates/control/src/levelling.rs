//! Which groups a node hands over, so that no node leads much more than the others.
//!
//! Each node says on the board which groups it leads; all see the same and find the same, and each hands over its own. What
//! a node that drains or leaves leads goes first. Pure.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use quorate_placement::lead;
use quorate_types::NodeId;
use quorate_wal::GroupId;

/// The key on the board under which a node says what it leads.
pub(crate) const KEY: &str = "raft.leads";

/// The key on the board under which a node says whether it should lead nothing: one byte, 1 for that.
pub(crate) const SHEDS: &str = "raft.sheds";

/// Groups that a node hands over at once: what the others take in the time of a few elections.
const AT_ONCE_MAX: usize = 8;

/// Writes which groups a node leads.
pub(crate) fn say(groups: &BTreeSet<GroupId>) -> Bytes {
    let mut said = BytesMut::with_capacity(groups.len() * 4);
    groups.iter().for_each(|group| said.put_u32_le(group.0));
    said.freeze()
}

/// Reads which groups a node leads; what is not written so ends it.
pub(crate) fn hear(mut said: Bytes) -> BTreeSet<GroupId> {
    let mut groups = BTreeSet::new();
    while said.remaining() >= 4 {
        groups.insert(GroupId(said.get_u32_le()));
    }
    groups
}

/// Finds what a node hands over, and to whom.
pub(crate) fn handed_over(
    me: NodeId,
    voters: &BTreeMap<GroupId, BTreeSet<NodeId>>,
    leads: &BTreeMap<NodeId, BTreeSet<GroupId>>,
    can_lead: impl Fn(NodeId) -> bool,
) -> Vec<(GroupId, NodeId)> {
    let leader = |group: &GroupId| leads.iter().find(|(_, led)| led.contains(group)).map(|(node, _)| *node);
    let groups: Vec<BTreeSet<NodeId>> = voters.values().cloned().collect();
    let leaders: Vec<Option<NodeId>> = voters.keys().map(leader).collect();
    let wanted = lead(&groups, &leaders, can_lead);
    let own = voters.keys().zip(leaders).zip(wanted).filter(|((_, leader), _)| *leader == Some(me));
    let moved = own.filter_map(|((group, _), wanted)| Some((*group, wanted.filter(|to| *to != me)?)));
    moved.take(AT_ONCE_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(groups: u32, nodes: &[u64]) -> BTreeMap<GroupId, BTreeSet<NodeId>> {
        (1..=groups).map(|group| (GroupId(group), nodes.iter().copied().map(NodeId).collect())).collect()
    }

    fn leads(led: &[(u64, &[u32])]) -> BTreeMap<NodeId, BTreeSet<GroupId>> {
        led.iter().map(|(node, groups)| (NodeId(*node), groups.iter().copied().map(GroupId).collect())).collect()
    }

    #[test]
    fn what_is_said_is_heard() {
        let groups = [GroupId(1), GroupId(300)].into();

        assert_eq!(hear(say(&groups)), groups);
        assert_eq!(hear(Bytes::from_static(&[1, 0, 0, 0, 9])), [GroupId(1)].into());
    }

    #[test]
    fn who_leads_everything_hands_over_until_all_lead_alike() {
        let voters = all(6, &[1, 2, 3]);
        let mut led = leads(&[(1, &[1, 2, 3, 4, 5, 6]), (2, &[]), (3, &[])]);

        for (group, to) in handed_over(NodeId(1), &voters, &led, |_| true) {
            led.get_mut(&NodeId(1)).expect("it is there").remove(&group);
            led.get_mut(&to).expect("it is there").insert(group);
        }

        assert!(led.values().all(|groups| groups.len() == 2), "{led:?}");
        assert!([1, 2, 3].into_iter().all(|node| handed_over(NodeId(node), &voters, &led, |_| true).is_empty()));
    }

    #[test]
    fn who_drains_hands_over_everything_and_gets_nothing() {
        let voters = all(3, &[1, 2, 3]);
        let led = leads(&[(1, &[1]), (2, &[2]), (3, &[3])]);
        let can_lead = |node| node != NodeId(2);

        let handed: Vec<GroupId> =
            handed_over(NodeId(2), &voters, &led, can_lead).into_iter().map(|(group, _)| group).collect();
        assert_eq!(handed, [GroupId(2)]);
        assert_eq!(handed_over(NodeId(1), &voters, &led, can_lead), []);
    }
}
