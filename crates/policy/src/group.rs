//! The operator's groups: who is in them, and which group is within which.
//!
//! A group belongs to a tenant and names members (agents, users) and the groups that it is within. Compiled, they answer
//! one question: in which groups is a caller, all told. There are no cycles, and the nesting is bounded, so the answer
//! is found by walking up. Groups of one tenant say nothing of another's callers.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use quorate_types::TenantId;

use crate::limits::{GROUP_DEPTH_MAX, GROUPS_MAX, ID_BYTES_MAX, MEMBERS_MAX};
use crate::problem::{Place, Problem};
use crate::view;

/// A group of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The tenant.
    pub tenant: TenantId,
    /// The name, unique in the tenant; what issuers call a group may have the same name and is then the same.
    pub name: String,
    /// The groups of the tenant that it is within: its members are theirs.
    pub within: Vec<String>,
    /// Workloads in it, as [`Principal::agent`](quorate_types::Principal::agent) names them.
    pub agents: Vec<String>,
    /// Users in it, as `ISSUER/SUBJECT`.
    pub users: Vec<String>,
}

/// All groups, checked.
#[derive(Debug, Default)]
pub(crate) struct Groups(HashMap<TenantId, Members>);

/// The groups of one tenant, from the member's side.
#[derive(Debug, Default)]
struct Members {
    agents: HashMap<String, Vec<String>>,
    users: HashMap<String, Vec<String>>,
    within: HashMap<String, Vec<String>>,
}

// === impl Groups ===

impl Groups {
    /// Checks groups and turns them around.
    ///
    /// # Errors
    /// Every [`Problem`]: names that are none, twice or unknown, cycles, and too many or too deep.
    pub(crate) fn compile(groups: &[Group]) -> Result<Self, Vec<Problem>> {
        let members: usize =
            groups.iter().map(|group| group.within.len() + group.agents.len() + group.users.len()).sum();
        for (count, what, most) in [(groups.len(), "groups", GROUPS_MAX), (members, "members of groups", MEMBERS_MAX)] {
            if count > most {
                return Err(vec![Problem::new(Place::All, format!("there are {count} {what}, at most {most}"), None)]);
            }
        }
        let mut tenants: BTreeMap<&TenantId, BTreeMap<&str, &Group>> = BTreeMap::new();
        let mut problems = Vec::new();
        for group in groups {
            problems.extend(check_names(group));
            if tenants.entry(&group.tenant).or_default().insert(&group.name, group).is_some() {
                problems.push(Problem::new(group.place(), "is there twice", None));
            }
        }
        for named in tenants.values() {
            problems.extend(check_within(named));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let members = |named: BTreeMap<&str, &Group>| Members::of(named.into_values());
        Ok(Self(tenants.into_iter().map(|(tenant, named)| (tenant.clone(), members(named))).collect()))
    }

    /// Returns all groups of a caller of `tenant`: those that it is said to be in, those that list it, and those around.
    pub(crate) fn of<'a>(
        &'a self,
        tenant: &TenantId,
        agent: Option<&str>,
        user: Option<&str>,
        said: impl Iterator<Item = &'a str>,
    ) -> BTreeSet<&'a str> {
        let mut found: BTreeSet<&str> = said.collect();
        let Some(members) = self.0.get(tenant) else { return found };
        let listed = [agent.and_then(|agent| members.agents.get(agent)), user.and_then(|user| members.users.get(user))];
        found.extend(listed.into_iter().flatten().flatten().map(String::as_str));
        let mut open: Vec<&str> = found.iter().copied().collect();
        while let Some(group) = open.pop() {
            for around in members.within.get(group).into_iter().flatten() {
                if found.insert(around) {
                    open.push(around);
                }
            }
        }
        found
    }
}

impl Members {
    fn of<'a>(groups: impl Iterator<Item = &'a Group>) -> Self {
        let mut members = Self::default();
        for group in groups {
            for (ids, into) in [(&group.agents, &mut members.agents), (&group.users, &mut members.users)] {
                for id in ids {
                    into.entry(id.clone()).or_default().push(group.name.clone());
                }
            }
            members.within.insert(group.name.clone(), group.within.clone());
        }
        members
    }
}

impl Group {
    fn place(&self) -> Place {
        Place::Group { tenant: self.tenant.clone(), name: self.name.clone() }
    }
}

fn check_names(group: &Group) -> Vec<Problem> {
    let mut problems = Vec::new();
    let names = [("name", std::slice::from_ref(&group.name)), ("agent", &group.agents), ("user", &group.users)];
    for (what, name) in names.into_iter().flat_map(|(what, names)| names.iter().map(move |name| (what, name))) {
        if name.is_empty() || name.len() > ID_BYTES_MAX {
            let message = format!("{what} has {} bytes, allowed are 1 to {ID_BYTES_MAX}", name.len());
            problems.push(Problem::new(group.place(), message, None));
        } else if what == "user" && !name.contains('/') {
            let help = "a user is named ISSUER/SUBJECT, with the name of an `Issuer`".to_owned();
            problems.push(Problem::new(group.place(), format!("user {name:?} has no issuer"), Some(help)));
        } else if view::is_qualified(name) {
            let help = format!("`NAME{}` in front means another tenant; groups are of their own", view::SEPARATOR);
            problems.push(Problem::new(
                group.place(),
                format!("{what} {name:?} looks like another tenant's"),
                Some(help),
            ));
        }
    }
    problems
}

/// Checks that the groups of one tenant are within groups that there are, without cycles and not too deep.
fn check_within(named: &BTreeMap<&str, &Group>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for group in named.values() {
        for around in group.within.iter().filter(|around| !named.contains_key(around.as_str())) {
            let help = "a group that others are within is declared too".to_owned();
            problems.push(Problem::new(group.place(), format!("is within {around:?}, which is no group"), Some(help)));
        }
    }
    // How many groups each is nested in, found from the outermost inwards; on the way, a group is `None`.
    let mut depths: HashMap<&str, Option<usize>> = HashMap::new();
    for &start in named.keys() {
        let mut path: Vec<(&str, usize)> = vec![(start, 0)];
        while let Some(&(name, next)) = path.last() {
            if next == 0 && depths.get(name).is_some_and(Option::is_some) {
                path.pop();
                continue;
            }
            depths.insert(name, None);
            let within = named.get(name).map_or(&[][..], |group| &group.within);
            if let Some(around) = within.get(next) {
                path.last_mut().expect("the path has an end, which was just read").1 += 1;
                match depths.get(around.as_str()) {
                    Some(None) => {
                        problems.push(cycle(named, &path, around));
                        return problems;
                    }
                    Some(Some(_)) => {}
                    None if named.contains_key(around.as_str()) => path.push((around, 0)),
                    None => {}
                }
                continue;
            }
            let around = within.iter().filter_map(|around| depths.get(around.as_str()).copied().flatten()).max();
            let depth = around.map_or(0, |depth| depth + 1);
            depths.insert(name, Some(depth));
            path.pop();
        }
    }
    let too_deep =
        named.values().filter(|group| depths.get(group.name.as_str()).copied().flatten() > Some(GROUP_DEPTH_MAX));
    problems.extend(too_deep.map(|group| {
        Problem::new(group.place(), format!("is within more than {GROUP_DEPTH_MAX} groups, one in the other"), None)
    }));
    problems
}

fn cycle(named: &BTreeMap<&str, &Group>, path: &[(&str, usize)], again: &str) -> Problem {
    let from = path.iter().position(|(name, _)| *name == again).unwrap_or(0);
    let mut names: Vec<&str> = path[from..].iter().map(|(name, _)| *name).collect();
    names.push(again);
    let place = named.get(again).map_or(Place::All, |group| group.place());
    Problem::new(place, format!("is within itself: {}", names.join(" in ")), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str, within: &[&str]) -> Group {
        let within = within.iter().map(|name| (*name).to_owned()).collect();
        Group { tenant: TenantId::default(), name: name.to_owned(), within, agents: Vec::new(), users: Vec::new() }
    }

    fn problems(groups: &[Group]) -> Vec<String> {
        Groups::compile(groups).expect_err("problems").iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_caller_is_in_the_groups_around_its_groups() {
        let acme = TenantId::new("acme").expect("a name");
        let groups = [
            Group { agents: vec!["bot".to_owned()], ..group("ops", &["staff", "pager"]) },
            Group { users: vec!["corp/ann".to_owned()], ..group("pager", &["staff"]) },
            group("staff", &["all"]),
            group("all", &[]),
            Group { tenant: acme.clone(), agents: vec!["bot".to_owned()], ..group("theirs", &[]) },
        ];
        let groups = Groups::compile(&groups).expect("no problems");
        let of = |tenant: &TenantId, agent, user, said: &[&'static str]| {
            groups.of(tenant, agent, user, said.iter().copied()).into_iter().collect::<Vec<_>>().join(" ")
        };
        let own = TenantId::default();

        assert_eq!(of(&own, Some("bot"), None, &[]), "all ops pager staff");
        assert_eq!(of(&own, None, Some("corp/ann"), &["guests"]), "all guests pager staff");
        assert_eq!(of(&own, Some("other"), None, &["staff"]), "all staff");
        assert_eq!(of(&acme, Some("bot"), Some("corp/ann"), &["staff"]), "staff theirs");
        assert_eq!(of(&TenantId::new("none").expect("a name"), Some("bot"), None, &[]), "");
    }

    #[test]
    fn a_cycle_is_told_with_its_path() {
        let groups = [group("a", &["b"]), group("b", &["x", "c"]), group("c", &["b"]), group("x", &[])];
        assert_eq!(problems(&groups), [r#"Tenant/default: group "b": is within itself: b in c in b"#]);
        assert_eq!(problems(&[group("a", &["a"])]), [r#"Tenant/default: group "a": is within itself: a in a"#]);
    }

    #[test]
    fn groups_that_join_again_are_no_cycle() {
        let groups = [group("a", &["b", "c"]), group("b", &["d"]), group("c", &["d", "b"]), group("d", &[])];
        assert!(Groups::compile(&groups).is_ok());
    }

    #[test]
    fn names_are_checked() {
        let mut wrong = group("a", &["nobody"]);
        wrong.users = vec!["ann".to_owned()];
        wrong.agents = vec![String::new(), "acme::bot".to_owned()];
        let found = problems(&[wrong, group("twice", &[]), group("twice", &[])]).join("\n");
        for part in ["no group", "has no issuer", "has 0 bytes", "another tenant's", "is there twice"] {
            assert!(found.contains(part), "{part}: {found}");
        }
    }

    #[test]
    fn nesting_and_numbers_are_bounded() {
        let chain = |length: usize| -> Vec<Group> {
            let name = |at: usize| format!("g{at:05}");
            let within = |at: usize| if at == 0 { Vec::new() } else { vec![name(at - 1)] };
            (0..length).map(|at| Group { within: within(at), ..group(&name(at), &[]) }).collect()
        };
        assert!(Groups::compile(&chain(GROUP_DEPTH_MAX + 1)).is_ok());
        assert_eq!(problems(&chain(GROUP_DEPTH_MAX + 2)).len(), 1);
        assert!(problems(&chain(GROUPS_MAX))[0].contains("more than 16 groups"));
        assert!(problems(&chain(GROUPS_MAX + 1))[0].contains("10001 groups, at most 10000"));
    }
}
