//! Makes groups whole, spreads them over racks, and levels the nodes, in this order of importance.
//!
//! What a group has and may keep is kept; what it lacks goes where it spans most racks, and of those where there is least.
//! Then whatever can be leveled by passing replicas along is, as long as no group loses a rack by it.

use std::collections::{BTreeMap, BTreeSet};

use crate::chain;
use quorate_types::NodeId;

use crate::problem::{Problem, Solution};

/// Returns where the replicas of each group shall be.
#[must_use]
pub fn solve(problem: &Problem) -> Solution {
    let mut draft = Draft::of(problem);
    draft.drop_surplus();
    draft.fill();
    draft.spread();
    draft.level();
    Solution::of(&problem.groups, draft.groups)
}

/// A solution in the making.
struct Draft<'a> {
    problem: &'a Problem,
    groups: Vec<BTreeSet<NodeId>>,
    /// How many replicas each node that stays holds.
    loads: BTreeMap<NodeId, usize>,
    /// How many replicas a group can have.
    replicas: usize,
}

// === impl Draft ===

impl<'a> Draft<'a> {
    /// What is held by nodes that stay.
    fn of(problem: &'a Problem) -> Self {
        let stays = |id: &NodeId| problem.stays(*id);
        let groups: Vec<BTreeSet<_>> =
            problem.groups.iter().map(|group| group.iter().copied().filter(stays).collect()).collect();
        let mut loads: BTreeMap<_, _> = problem.staying().map(|id| (id, 0)).collect();
        for id in groups.iter().flatten() {
            *loads.entry(*id).or_default() += 1;
        }
        let replicas = problem.replicas.min(loads.len());
        Self { problem, groups, loads, replicas }
    }

    fn drop_surplus(&mut self) {
        for group in 0..self.groups.len() {
            while self.groups[group].len() > self.replicas {
                let crowded = |id: &NodeId| (self.neighbours(group, *id), self.loads[id], *id);
                let most = self.groups[group].iter().copied().max_by_key(crowded);
                self.pass(group, most, None);
            }
        }
    }

    fn fill(&mut self) {
        // Those that lack most first: they have least choice of racks.
        let mut order: Vec<usize> = (0..self.groups.len()).collect();
        order.sort_by_key(|group| (self.groups[*group].len(), *group));
        for group in order {
            while self.groups[group].len() < self.replicas {
                let best = self.best(group, |_| true);
                self.pass(group, None, best);
            }
        }
    }

    /// Moves replicas that share a rack with another of their group to racks where none is.
    fn spread(&mut self) {
        for group in 0..self.groups.len() {
            loop {
                let shares = |id: &NodeId| self.neighbours(group, *id) > 0;
                let shared = self.groups[group].iter().copied().filter(shares);
                let from = shared.max_by_key(|id| (self.neighbours(group, *id), self.loads[id], *id));
                let to = self.best(group, |id| self.neighbours(group, id) == 0);
                match (from, to) {
                    (Some(from), Some(to)) => self.pass(group, Some(from), Some(to)),
                    (Some(_) | None, _) => break,
                }
            }
        }
    }

    /// Passes replicas along as long as the loads become more level by it. Ends: each chain makes the sum of their squares
    /// smaller.
    fn level(&mut self) {
        while let Some(path) = chain::find(&self.loads, |from| self.could_take_from(from)) {
            let mut passed = Vec::new();
            for step in path.windows(2) {
                let [from, to] = *step else { continue };
                let Some(group) = (0..self.groups.len()).find(|group| self.could_pass(*group, from, to)) else { break };
                self.pass(group, Some(from), Some(to));
                passed.push((group, from, to));
            }
            if passed.len() + 1 < path.len() {
                // A step changed the racks of the group that a later one needs. Half a chain levels nothing.
                for (group, from, to) in passed.into_iter().rev() {
                    self.pass(group, Some(to), Some(from));
                }
                return;
            }
        }
    }

    fn could_take_from(&self, from: NodeId) -> BTreeSet<NodeId> {
        let can = |to: &NodeId| (0..self.groups.len()).any(|group| self.could_pass(group, from, *to));
        self.loads.keys().copied().filter(|to| *to != from).filter(can).collect()
    }

    /// Whether a node could hold a group instead of another, without the group losing a rack.
    fn could_pass(&self, group: usize, from: NodeId, to: NodeId) -> bool {
        let group = &self.groups[group];
        if !group.contains(&from) || group.contains(&to) {
            return false;
        }
        let mut after = group.clone();
        after.remove(&from);
        after.insert(to);
        self.problem.span(&after) >= self.problem.span(group)
    }

    /// The node that should hold one more of a group's replicas.
    fn best(&self, group: usize, may: impl Fn(NodeId) -> bool) -> Option<NodeId> {
        let free = self.loads.keys().copied().filter(|id| !self.groups[group].contains(id) && may(*id));
        // Whether a rack is shared at all comes before the loads, and by how many only after them.
        free.min_by_key(|id| {
            let neighbours = self.neighbours(group, *id);
            (neighbours > 0, self.loads[id], neighbours, *id)
        })
    }

    /// How many other replicas of a group are in a node's rack.
    fn neighbours(&self, group: usize, id: NodeId) -> usize {
        let domain = self.problem.domain(id);
        self.groups[group].iter().filter(|other| **other != id && self.problem.domain(**other) == domain).count()
    }

    fn pass(&mut self, group: usize, from: Option<NodeId>, to: Option<NodeId>) {
        if let Some(from) = from {
            self.groups[group].remove(&from);
            *self.loads.get_mut(&from).expect("who holds something stays") -= 1;
        }
        if let Some(to) = to {
            self.groups[group].insert(to);
            *self.loads.get_mut(&to).expect("only who stays is chosen") += 1;
        }
    }
}
