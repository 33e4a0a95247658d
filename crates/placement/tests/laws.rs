//! The laws of the solvers, over random clusters.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use quorate_placement::{Node, Problem, Rack, lead, solve};
use quorate_types::NodeId;

/// Clusters of up to 9 nodes in up to 4 racks, some of them leaving, with groups held by any of them.
fn problems() -> impl Strategy<Value = Problem> {
    let node = (prop::option::weighted(0.7, 0..4_u8), prop::bool::weighted(0.2));
    let nodes = prop::collection::vec(node, 1..9);
    let groups = prop::collection::vec(prop::collection::btree_set(0..10_u64, 0..5), 0..40);
    (nodes, groups, 1..6_usize).prop_map(|(nodes, groups, replicas)| {
        let nodes = nodes.into_iter().enumerate().map(|(id, (rack, leaves))| {
            (NodeId(id as u64), Node { rack: rack.map(|rack| Rack(rack.to_string())), leaves })
        });
        // Some are held by nodes that nobody knows any more.
        let groups = groups.into_iter().map(|group| group.into_iter().map(NodeId).collect()).collect();
        Problem { nodes: nodes.collect(), groups, replicas }
    })
}

fn staying(problem: &Problem) -> BTreeSet<NodeId> {
    problem.nodes.iter().filter(|(_, node)| !node.leaves).map(|(id, _)| *id).collect()
}

/// What fails together with a node.
fn domain(problem: &Problem, id: NodeId) -> String {
    match &problem.nodes[&id].rack {
        Some(rack) => format!("rack {}", rack.0),
        None => format!("node {id}"),
    }
}

fn span(problem: &Problem, group: &BTreeSet<NodeId>) -> usize {
    group.iter().map(|id| domain(problem, *id)).collect::<BTreeSet<_>>().len()
}

fn loads(problem: &Problem, groups: &[BTreeSet<NodeId>]) -> BTreeMap<NodeId, usize> {
    let load = |id: &NodeId| groups.iter().filter(|group| group.contains(id)).count();
    staying(problem).into_iter().map(|id| (id, load(&id))).collect()
}

fn with_groups(problem: &Problem, groups: Vec<BTreeSet<NodeId>>) -> Problem {
    Problem { groups, ..problem.clone() }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn groups_are_whole_and_only_on_nodes_that_stay(problem in problems()) {
        let staying = staying(&problem);
        for group in solve(&problem).groups {
            prop_assert_eq!(group.len(), problem.replicas.min(staying.len()));
            prop_assert!(group.is_subset(&staying));
        }
    }

    #[test]
    fn groups_span_as_many_racks_as_they_can(problem in problems()) {
        let there = span(&problem, &staying(&problem));
        for group in solve(&problem).groups {
            prop_assert_eq!(span(&problem, &group), group.len().min(there));
        }
    }

    #[test]
    fn no_single_move_makes_the_loads_more_level(problem in problems()) {
        let groups = solve(&problem).groups;
        let loads = loads(&problem, &groups);
        for group in &groups {
            for (from, to) in group.iter().flat_map(|from| loads.keys().map(move |to| (from, to))) {
                if group.contains(to) || loads[from] < loads[to] + 2 {
                    continue;
                }
                let mut after = group.clone();
                after.remove(from);
                after.insert(*to);
                prop_assert!(span(&problem, &after) < span(&problem, group), "{from} to {to}: {loads:?}");
            }
        }
    }

    #[test]
    fn without_racks_loads_differ_by_one_at_most(mut problem in problems()) {
        problem.nodes.values_mut().for_each(|node| node.rack = None);
        let groups = solve(&problem).groups;
        let loads = loads(&problem, &groups);
        let (least, most) = (loads.values().min(), loads.values().max());
        prop_assert!(most.zip(least).is_none_or(|(most, least)| most - least <= 1), "{loads:?}");
    }

    #[test]
    fn what_is_solved_is_left_alone(problem in problems()) {
        let solved = with_groups(&problem, solve(&problem).groups);
        let again = solve(&solved);
        prop_assert_eq!(again.moves, []);
        prop_assert_eq!(again.groups, solved.groups);
    }

    #[test]
    fn the_moves_lead_from_the_problem_to_the_solution(problem in problems()) {
        let solution = solve(&problem);
        let mut groups = problem.groups.clone();
        for step in solution.moves {
            prop_assert!(step.from.is_some() || step.to.is_some());
            // First the new replica, then the old one goes: a group is never smaller than it was.
            prop_assert!(step.to.is_none_or(|to| groups[step.group].insert(to)), "{step:?}");
            prop_assert!(step.from.is_none_or(|from| groups[step.group].remove(&from)), "{step:?}");
        }
        prop_assert_eq!(groups, solution.groups);
    }

    #[test]
    fn when_a_node_takes_anothers_place_only_what_that_one_held_moves(problem in problems(), at: prop::sample::Index) {
        let mut solved = with_groups(&problem, solve(&problem).groups);
        let staying: Vec<_> = staying(&solved).into_iter().collect();
        prop_assume!(!staying.is_empty());
        let gone = staying[at.index(staying.len())];
        let held = loads(&solved, &solved.groups)[&gone];
        let rack = solved.nodes[&gone].rack.clone();
        solved.nodes.get_mut(&gone).expect("it stays").leaves = true;
        let new = NodeId(100);
        solved.nodes.insert(new, Node { rack, leaves: false });

        let moves = solve(&solved).moves;

        prop_assert_eq!(moves.len(), held);
        prop_assert!(moves.iter().all(|step| step.from == Some(gone)), "{moves:?}");
    }

    #[test]
    fn a_new_node_takes_from_others_and_nothing_else_moves(count in 3..9_u64, groups in 1..64_usize) {
        let nodes = (0..count).map(|id| (NodeId(id), Node::default())).collect();
        let empty = Problem { nodes, groups: vec![BTreeSet::new(); groups], replicas: 3 };
        let mut solved = with_groups(&empty, solve(&empty).groups);
        solved.nodes.insert(NodeId(count), Node::default());

        let moves = solve(&solved).moves;

        prop_assert_eq!(moves.len(), groups * 3 / (count as usize + 1));
        prop_assert!(moves.iter().all(|step| step.to == Some(NodeId(count))), "{moves:?}");
    }

    #[test]
    fn leaders_are_replicas_and_as_level_as_they_can_be(
        groups in prop::collection::vec(prop::collection::btree_set((0..6_u64).prop_map(NodeId), 0..4), 0..12),
        leaders in prop::collection::vec(prop::option::of((0..7_u64).prop_map(NodeId)), 0..12),
        dead in (0..6_u64).prop_map(NodeId),
    ) {
        let chosen = lead(&groups, &leaders, |id| id != dead);
        let mut loads: BTreeMap<NodeId, usize> = BTreeMap::new();
        for (group, leader) in groups.iter().zip(&chosen) {
            let can = group.iter().any(|id| *id != dead);
            prop_assert_eq!(leader.is_some(), can);
            prop_assert!(leader.is_none_or(|leader| leader != dead && group.contains(&leader)));
            if let Some(leader) = leader {
                *loads.entry(*leader).or_default() += 1;
            }
        }
        prop_assert!(lead(&groups, &chosen, |id| id != dead) == chosen, "what is level is left alone");
        // Hall's condition: were the busiest to have one less, some set of groups would have too few candidates.
        let most = loads.values().copied().max().unwrap_or(0);
        prop_assert!(most == 0 || !can_all_be_led(&groups, dead, most - 1), "{loads:?}");
    }
}

/// Whether all groups can be led with no node leading more than `most`: tried by augmenting, one group at a time.
fn can_all_be_led(groups: &[BTreeSet<NodeId>], dead: NodeId, most: usize) -> bool {
    let mut led: Vec<Option<NodeId>> = vec![None; groups.len()];
    (0..groups.len()).all(|group| {
        let can = groups[group].iter().any(|id| *id != dead);
        !can || place(group, groups, dead, most, &mut led, &mut BTreeSet::new())
    })
}

fn place(
    group: usize,
    groups: &[BTreeSet<NodeId>],
    dead: NodeId,
    most: usize,
    led: &mut Vec<Option<NodeId>>,
    tried: &mut BTreeSet<NodeId>,
) -> bool {
    for id in groups[group].iter().filter(|id| **id != dead) {
        if !tried.insert(*id) {
            continue;
        }
        let held: Vec<usize> = (0..groups.len()).filter(|other| led[*other] == Some(*id)).collect();
        if held.len() < most || held.into_iter().any(|other| place(other, groups, dead, most, led, tried)) {
            led[group] = Some(*id);
            return true;
        }
    }
    false
}
