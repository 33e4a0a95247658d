//! Whether the peers take this node no more: what they say of it when they refuse its streams.
//!
//! A node whose disk is an older copy reaches nobody who could tell it what the catalog says, because its peers remember its
//! later lives: so their refusal counts. That it is no member counts only when more than half of its peers say so and nobody
//! takes it, and for a while: a node that just joined is not known everywhere yet, and one peer that is behind with the catalog
//! may be all that it reaches. Pure.

use std::time::Duration;

use quorate_peer::{DialError, Link, Refusal};

use crate::member::Failure;

/// For how long peers say that a node is no member until it counts: longer than most are behind with the catalog.
const UNKNOWN_FOR: Duration = Duration::from_secs(30);

/// What the peers said before.
#[derive(Debug, Default)]
pub(crate) struct Shunned {
    /// Since when more than half of the peers say that it is no member.
    unknown_since: Option<Duration>,
}

// === impl Shunned ===

impl Shunned {
    /// Judges the links to all peers at a time of a clock that does not go back.
    pub(crate) fn judge(&mut self, now: Duration, links: &[Link]) -> Option<Failure> {
        let refusals: Vec<&Refusal> = links.iter().filter_map(refusal).collect();
        let is_final = |refusal: &&&Refusal| {
            matches!(refusal, Refusal::OldIncarnation { .. } | Refusal::Twin { .. } | Refusal::OtherCluster { .. })
        };
        if let Some(refusal) = refusals.iter().find(is_final) {
            return Some(Failure::Refused { reason: refusal.to_string() });
        }
        let unknown = refusals.iter().filter(|refusal| matches!(refusal, Refusal::UnknownNode { .. })).count();
        let peers = links.iter().filter(|link| !matches!(link, Link::Gone)).count();
        if unknown * 2 <= peers || links.iter().any(Link::is_connected) {
            self.unknown_since = None;
            return None;
        }
        let since = *self.unknown_since.get_or_insert(now);
        (now.saturating_sub(since) >= UNKNOWN_FOR).then_some(Failure::Removed)
    }
}

/// Why a peer refuses this node, if it does.
fn refusal(link: &Link) -> Option<&Refusal> {
    match link {
        Link::Refused { reason } => match &**reason {
            DialError::RefusedByPeer { reason, .. } => Some(reason),
            _ => None,
        },
        Link::Connecting | Link::Connected { .. } | Link::Gone => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use quorate_types::{Incarnation, NodeId};

    use super::*;

    fn refused(reason: Refusal) -> Link {
        Link::Refused { reason: Arc::new(DialError::RefusedByPeer { node: NodeId(1), reason }) }
    }

    fn connected() -> Link {
        Link::Connected { since: Instant::now(), incarnation: Incarnation(1), level: 1 }
    }

    #[test]
    fn one_peer_that_remembers_a_later_life_is_enough() {
        let old = Refusal::OldIncarnation { shown: Incarnation(2), seen: Incarnation(3) };

        let judged = Shunned::default().judge(Duration::ZERO, &[connected(), refused(old)]);

        assert!(matches!(judged, Some(Failure::Refused { reason }) if reason.contains("copy of an older one")));
        let refused_by_us = DialError::RefusedByUs { node: NodeId(1), reason: Refusal::Unnamed };
        let others = [Link::Connecting, Link::Gone, Link::Refused { reason: Arc::new(refused_by_us) }];
        assert_eq!(Shunned::default().judge(Duration::ZERO, &others), None);
    }

    #[test]
    fn one_peer_that_is_behind_ends_nobody_whose_others_are_out_of_reach() {
        let mut shunned = Shunned::default();
        let unknown = || refused(Refusal::UnknownNode { node: NodeId(2) });

        for seconds in [0, 60, 6_000] {
            let links = [unknown(), Link::Connecting];
            assert_eq!(shunned.judge(Duration::from_secs(seconds), &links), None, "after {seconds} s");
        }
        let links = [unknown(), unknown(), Link::Connecting];
        assert_eq!(shunned.judge(Duration::from_secs(6_001), &links), None, "now it is more than half");
        assert_eq!(shunned.judge(Duration::from_secs(6_031), &links), Some(Failure::Removed));
    }

    #[test]
    fn a_node_is_removed_when_more_than_half_of_its_peers_say_so_for_long() {
        let mut shunned = Shunned::default();
        let unknown = [refused(Refusal::UnknownNode { node: NodeId(2) }), Link::Gone];
        let at = Duration::from_secs;

        assert_eq!(shunned.judge(at(100), &unknown), None);
        assert_eq!(shunned.judge(at(129), &unknown), None);
        assert_eq!(shunned.judge(at(130), &unknown), Some(Failure::Removed));
        assert_eq!(shunned.judge(at(131), &[unknown[0].clone(), connected()]), None, "somebody knows it");
        assert_eq!(shunned.judge(at(140), &unknown), None, "it begins anew");
    }
}
