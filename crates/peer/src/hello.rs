//! The first frame of each side, and whether two nodes work together.
//!
//! Pure: in flow what a node says of itself, what its certificate has proven and what was seen of it before, out flows the
//! agreement or the [`Refusal`] that both log. [`Seen`] remembers the latest life of each node, so that a copy of an
//! older disk is known as one (its incarnation is older) and so are two copies that run at once (they draw two starts).

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use quorate_proto::peer::v1 as proto;
use quorate_types::{ClusterId, Incarnation, NodeId};

use crate::refusal::Refusal;

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) cluster: ClusterId,
    pub(crate) node: NodeId,
    pub(crate) incarnation: Incarnation,
    /// The feature levels that it can work at.
    pub(crate) levels: RangeInclusive<u32>,
    /// Drawn when the process started.
    pub(crate) start: u64,
}

/// The latest life of each node.
#[derive(Debug, Default)]
pub(crate) struct Seen(BTreeMap<NodeId, (Incarnation, Option<u64>)>);

/// What two nodes have agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Agreed {
    /// The peer's.
    pub(crate) incarnation: Incarnation,
    /// The highest level that both can work at.
    pub(crate) level: u32,
}

// === impl Identity ===

impl Identity {
    pub(crate) fn to_proto(&self) -> proto::Hello {
        proto::Hello {
            cluster: self.cluster.0.to_vec().into(),
            node: self.node.0,
            incarnation: self.incarnation.0,
            level_min: *self.levels.start(),
            level_max: *self.levels.end(),
            start: self.start,
        }
    }

    /// Decides about a node that has proven to be `proven`. Whether that is a member is asked before.
    ///
    /// # Errors
    /// The refusal to log and to tell.
    pub(crate) fn meet(&self, hello: &proto::Hello, proven: NodeId, seen: &mut Seen) -> Result<Agreed, Refusal> {
        if ClusterId::from_slice(&hello.cluster) != Ok(self.cluster) {
            return Err(Refusal::OtherCluster { ours: self.cluster });
        }
        if hello.node != proven.0 {
            return Err(Refusal::NotTheNode { shown: NodeId(hello.node), expected: proven });
        }
        let (min, max) = (*self.levels.start(), *self.levels.end());
        let level = hello.level_max.min(max);
        if level < hello.level_min.max(min) {
            return Err(Refusal::NoCommonLevel { min, max });
        }
        let incarnation = Incarnation(hello.incarnation);
        seen.admit(proven, incarnation, hello.start)?;
        Ok(Agreed { incarnation, level })
    }
}

// === impl Seen ===

impl Seen {
    /// Notes an incarnation that something else than a Hello told of.
    pub(crate) fn note(&mut self, node: NodeId, incarnation: Incarnation) {
        let known = self.0.entry(node).or_insert((incarnation, None));
        if known.0 < incarnation {
            *known = (incarnation, None);
        }
    }

    /// Forgets nodes whose numbers are never given again.
    pub(crate) fn retain(&mut self, is_member: impl Fn(NodeId) -> bool) {
        self.0.retain(|node, _| is_member(*node));
    }

    fn admit(&mut self, node: NodeId, shown: Incarnation, start: u64) -> Result<(), Refusal> {
        match self.0.get(&node) {
            Some(&(seen, _)) if shown < seen => Err(Refusal::OldIncarnation { shown, seen }),
            Some(&(seen, Some(other))) if shown == seen && start != other => Err(Refusal::Twin { incarnation: shown }),
            _ => {
                self.0.insert(node, (shown, Some(start)));
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(node: u64, incarnation: u64, levels: RangeInclusive<u32>) -> Identity {
        let cluster = ClusterId([1; 16]);
        Identity { cluster, node: NodeId(node), incarnation: Incarnation(incarnation), levels, start: incarnation * 10 }
    }

    #[test]
    fn nodes_agree_on_the_highest_level_that_both_have() {
        let cases = [(1..=3, 2..=5, Some(3)), (1..=3, 3..=3, Some(3)), (2..=5, 1..=2, Some(2)), (1..=1, 2..=3, None)];
        for (ours, theirs, level) in cases {
            let hello = identity(2, 1, theirs.clone()).to_proto();
            let result = identity(1, 1, ours.clone()).meet(&hello, NodeId(2), &mut Seen::default());
            let refusal = Refusal::NoCommonLevel { min: *ours.start(), max: *ours.end() };
            let expected = level.map(|level| Agreed { incarnation: Incarnation(1), level }).ok_or(refusal);
            assert_eq!(result, expected, "{ours:?} and {theirs:?}");
        }
    }

    #[test]
    fn another_cluster_and_another_node_than_proven_are_refused() {
        let us = identity(1, 1, 1..=1);
        let mut seen = Seen::default();
        let other = Identity { cluster: ClusterId([2; 16]), ..identity(2, 1, 1..=1) }.to_proto();
        assert_eq!(us.meet(&other, NodeId(2), &mut seen), Err(Refusal::OtherCluster { ours: us.cluster }));
        let broken = proto::Hello { cluster: vec![1; 15].into(), ..identity(2, 1, 1..=1).to_proto() };
        assert_eq!(us.meet(&broken, NodeId(2), &mut seen), Err(Refusal::OtherCluster { ours: us.cluster }));
        let not = Refusal::NotTheNode { shown: NodeId(2), expected: NodeId(3) };
        assert_eq!(us.meet(&identity(2, 1, 1..=1).to_proto(), NodeId(3), &mut seen), Err(not));
    }

    #[test]
    fn an_older_life_and_a_second_one_at_once_are_refused() {
        let us = identity(1, 1, 1..=1);
        let mut seen = Seen::default();
        let mut meet = |hello: proto::Hello| us.meet(&hello, NodeId(2), &mut seen).map(|agreed| agreed.incarnation);
        let at = |incarnation| identity(2, incarnation, 1..=1).to_proto();

        assert_eq!(meet(at(6)), Ok(Incarnation(6)));
        assert_eq!(meet(at(6)), Ok(Incarnation(6)), "a reconnect");
        let old = Refusal::OldIncarnation { shown: Incarnation(4), seen: Incarnation(6) };
        assert_eq!(meet(at(4)), Err(old));
        let twin = Refusal::Twin { incarnation: Incarnation(6) };
        assert_eq!(meet(proto::Hello { start: 61, ..at(6) }), Err(twin));
        assert_eq!(meet(at(7)), Ok(Incarnation(7)));
    }

    #[test]
    fn an_incarnation_that_was_noted_counts_until_the_node_is_forgotten() {
        let us = identity(1, 1, 1..=1);
        let mut seen = Seen::default();
        seen.note(NodeId(2), Incarnation(6));
        seen.note(NodeId(2), Incarnation(5));
        let old = identity(2, 5, 1..=1).to_proto();

        let refusal = Refusal::OldIncarnation { shown: Incarnation(5), seen: Incarnation(6) };
        assert_eq!(us.meet(&old, NodeId(2), &mut seen), Err(refusal));
        assert!(us.meet(&identity(2, 6, 1..=1).to_proto(), NodeId(2), &mut seen).is_ok());
        seen.retain(|node| node != NodeId(2));
        assert!(us.meet(&old, NodeId(2), &mut seen).is_ok());
    }
}
