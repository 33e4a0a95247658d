//! Why two proven members do not work together, as both their operators read it.
//!
//! The refusing node logs it and tells the other, which logs it too: the fault is usually at the refused one. Strangers,
//! who have no certificate of the cluster, are told nothing. The texts speak of the refused node as "it".

use quorate_proto::peer::v1 as proto;
use quorate_proto::peer::v1::refused::Reason;
use quorate_types::{ClusterId, Incarnation, NodeId};

/// Why a node does not work with another that has proven to be who it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The refused node is of another cluster.
    #[error("it is not of cluster {ours}: its disk belongs to another cluster")]
    OtherCluster {
        /// The cluster of the refusing node.
        ours: ClusterId,
    },
    /// The refused node is no member, or no longer.
    #[error("node {node} is not a member of the cluster, or no longer")]
    UnknownNode {
        /// The refused node.
        node: NodeId,
    },
    /// The refused node was started more often before.
    #[error("incarnation {shown} is older than {seen}, which was seen before: its disk is a copy of an older one")]
    OldIncarnation {
        /// What it is now.
        shown: Incarnation,
        /// What it was before.
        seen: Incarnation,
    },
    /// Another process has the same node number and incarnation.
    #[error("another process has shown incarnation {incarnation}: both run on copies of one disk")]
    Twin {
        /// What both are.
        incarnation: Incarnation,
    },
    /// No feature level suits both.
    #[error("it has no feature level of {min} to {max}, at which the other node can work")]
    NoCommonLevel {
        /// The lowest level of the refusing node.
        min: u32,
        /// Its highest.
        max: u32,
    },
    /// The refused node says that it is another one than its certificate, or than was dialed.
    #[error("it is node {shown} and not {expected}: an address or a certificate is another node's")]
    NotTheNode {
        /// What it says.
        shown: NodeId,
        /// What was proven or dialed.
        expected: NodeId,
    },
    /// A reason that only a newer node knows.
    #[error("for a reason that this version does not know")]
    Unnamed,
}

// === impl Refusal ===

impl Refusal {
    /// Every label, for counters.
    pub(crate) const LABELS: [&str; 7] =
        ["other_cluster", "unknown_node", "old_incarnation", "twin", "no_common_level", "not_the_node", "unnamed"];

    /// Returns the label in metrics.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        Self::LABELS[self.index()]
    }

    /// Returns the place of the label.
    pub(crate) const fn index(&self) -> usize {
        match self {
            Self::OtherCluster { .. } => 0,
            Self::UnknownNode { .. } => 1,
            Self::OldIncarnation { .. } => 2,
            Self::Twin { .. } => 3,
            Self::NoCommonLevel { .. } => 4,
            Self::NotTheNode { .. } => 5,
            Self::Unnamed => 6,
        }
    }

    /// Writes it for the refused node.
    pub(crate) fn to_proto(&self) -> proto::Refused {
        let reason = match *self {
            Self::OtherCluster { ours } => Some(Reason::OtherCluster(ours.0.to_vec().into())),
            Self::UnknownNode { node } => Some(Reason::UnknownNode(node.0)),
            Self::OldIncarnation { shown, seen } => {
                Some(Reason::OldIncarnation(proto::OldIncarnation { shown: shown.0, seen: seen.0 }))
            }
            Self::Twin { incarnation } => Some(Reason::Twin(incarnation.0)),
            Self::NoCommonLevel { min, max } => {
                Some(Reason::NoCommonLevel(proto::NoCommonLevel { level_min: min, level_max: max }))
            }
            Self::NotTheNode { shown, expected } => {
                Some(Reason::NotTheNode(proto::NotTheNode { shown: shown.0, expected: expected.0 }))
            }
            Self::Unnamed => None,
        };
        proto::Refused { reason }
    }

    /// Reads what another node wrote.
    pub(crate) fn from_proto(refused: &proto::Refused) -> Self {
        match &refused.reason {
            Some(Reason::OtherCluster(ours)) => {
                ClusterId::from_slice(ours).map_or(Self::Unnamed, |ours| Self::OtherCluster { ours })
            }
            Some(Reason::UnknownNode(node)) => Self::UnknownNode { node: NodeId(*node) },
            Some(Reason::OldIncarnation(old)) => {
                Self::OldIncarnation { shown: Incarnation(old.shown), seen: Incarnation(old.seen) }
            }
            Some(Reason::Twin(incarnation)) => Self::Twin { incarnation: Incarnation(*incarnation) },
            Some(Reason::NoCommonLevel(level)) => Self::NoCommonLevel { min: level.level_min, max: level.level_max },
            Some(Reason::NotTheNode(not)) => {
                Self::NotTheNode { shown: NodeId(not.shown), expected: NodeId(not.expected) }
            }
            None => Self::Unnamed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_read_as_it_was_written() {
        let all = [
            Refusal::OtherCluster { ours: ClusterId([7; 16]) },
            Refusal::UnknownNode { node: NodeId(9) },
            Refusal::OldIncarnation { shown: Incarnation(4), seen: Incarnation(6) },
            Refusal::Twin { incarnation: Incarnation(4) },
            Refusal::NoCommonLevel { min: 2, max: 3 },
            Refusal::NotTheNode { shown: NodeId(1), expected: NodeId(2) },
            Refusal::Unnamed,
        ];
        for (at, refusal) in all.iter().enumerate() {
            assert_eq!(Refusal::from_proto(&refusal.to_proto()), *refusal);
            assert_eq!(refusal.index(), at);
        }
    }

    #[test]
    fn an_operator_reads_what_is_wrong_with_the_disk() {
        let refusal = Refusal::OldIncarnation { shown: Incarnation(4), seen: Incarnation(6) };

        assert_eq!(
            refusal.to_string(),
            "incarnation 4 is older than 6, which was seen before: its disk is a copy of an older one"
        );
    }
}
