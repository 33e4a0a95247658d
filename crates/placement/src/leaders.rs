//! Levels the leaders: each group is led by one of its replicas, and no node leads much more than the others.
//!
//! A leader that is one of its group's replicas stays as long as nobody else leads two less along any chain of transfers.

use std::collections::{BTreeMap, BTreeSet};

use crate::chain;
use quorate_types::NodeId;

/// Returns who shall lead each group, among those of its replicas that `can_lead`; none where nobody can.
#[must_use]
pub fn lead(
    groups: &[BTreeSet<NodeId>],
    leaders: &[Option<NodeId>],
    can_lead: impl Fn(NodeId) -> bool,
) -> Vec<Option<NodeId>> {
    let candidates: Vec<BTreeSet<NodeId>> =
        groups.iter().map(|group| group.iter().copied().filter(|id| can_lead(*id)).collect()).collect();
    let mut loads: BTreeMap<NodeId, usize> = candidates.iter().flatten().map(|id| (*id, 0)).collect();
    let present = leaders.iter().copied().chain(std::iter::repeat(None));
    let mut chosen: Vec<Option<NodeId>> =
        candidates.iter().zip(present).map(|(group, leader)| leader.filter(|id| group.contains(id))).collect();
    for leader in chosen.iter().flatten() {
        *loads.entry(*leader).or_default() += 1;
    }
    for (group, leader) in candidates.iter().zip(&mut chosen) {
        if leader.is_none() {
            *leader = group.iter().copied().min_by_key(|id| (loads[id], *id));
            if let Some(leader) = leader {
                *loads.entry(*leader).or_default() += 1;
            }
        }
    }
    level(&candidates, &mut chosen, &mut loads);
    chosen
}

fn level(candidates: &[BTreeSet<NodeId>], chosen: &mut [Option<NodeId>], loads: &mut BTreeMap<NodeId, usize>) {
    let next = |chosen: &[Option<NodeId>], from: NodeId| -> BTreeSet<NodeId> {
        let led = candidates.iter().zip(chosen).filter(|(_, leader)| **leader == Some(from));
        led.flat_map(|(group, _)| group.iter().copied()).filter(|to| *to != from).collect()
    };
    while let Some(path) = chain::find(loads, |from| next(chosen, from)) {
        for step in path.windows(2) {
            let [from, to] = *step else { continue };
            let group = candidates
                .iter()
                .zip(&mut *chosen)
                .find(|(group, leader)| **leader == Some(from) && group.contains(&to));
            if let Some((_, leader)) = group {
                *leader = Some(to);
                *loads.entry(from).or_default() -= 1;
                *loads.entry(to).or_default() += 1;
            }
        }
    }
}
