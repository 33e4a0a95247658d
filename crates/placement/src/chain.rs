//! Levels loads along chains: from one that has too much, over others that pass on as much as they get, to one that has
//! too little.
//!
//! A chain changes only its two ends, so each one makes the loads more level; when there is none, nothing can make them
//! more level by single steps (the augmenting paths of Berge, 1957). The shortest chain is taken, so that least is moved.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Finds the shortest chain from a node to one that has at least two less; `next` says to whom a node could pass on. Of
/// several the first in the order of the loads, the highest first.
pub(crate) fn find<N: Copy + Ord>(loads: &BTreeMap<N, usize>, next: impl Fn(N) -> BTreeSet<N>) -> Option<Vec<N>> {
    let mut highest: Vec<(N, usize)> = loads.iter().map(|(node, load)| (*node, *load)).collect();
    highest.sort_by(|(one, load), (other, other_load)| other_load.cmp(load).then(one.cmp(other)));
    highest.into_iter().find_map(|(node, load)| find_from(node, load, loads, &next))
}

fn find_from<N: Copy + Ord>(
    begin: N,
    load: usize,
    loads: &BTreeMap<N, usize>,
    next: impl Fn(N) -> BTreeSet<N>,
) -> Option<Vec<N>> {
    let mut before: BTreeMap<N, N> = BTreeMap::new();
    let mut waiting = VecDeque::from([begin]);
    while let Some(node) = waiting.pop_front() {
        let reached: BTreeSet<N> =
            next(node).into_iter().filter(|to| *to != begin && !before.contains_key(to)).collect();
        for to in &reached {
            before.insert(*to, node);
        }
        // Among those that are as near, the one that has least.
        let least = reached.iter().min_by_key(|to| (loads.get(to), **to));
        if let Some(end) = least.filter(|to| loads.get(to).is_some_and(|there| there + 2 <= load)) {
            return Some(path(begin, *end, &before));
        }
        waiting.extend(reached);
    }
    None
}

fn path<N: Copy + Ord>(begin: N, end: N, before: &BTreeMap<N, N>) -> Vec<N> {
    let mut path = vec![end];
    let mut at = end;
    while at != begin {
        at = before[&at];
        path.push(at);
    }
    path.reverse();
    path
}
