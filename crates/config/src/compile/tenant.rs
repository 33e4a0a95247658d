//! What makes the spec of a `Tenant` valid.
//!
//! The document is the operator's, and its name is the tenant's. Groups are within groups of the same document, without
//! a way back to themselves: a caller of one is in all that it leads to. That the issuers of members exist is for the
//! whole set to say (see [`crate::set`]).

use std::collections::{BTreeMap, BTreeSet};

use quorate_types::{ResourceName, TenantId};

use super::issuer::trust_domain;
use super::{Head, Site};
use crate::error::{Reason, shown};
use crate::form::TenantForm;
use crate::form::identity::GroupForm;
use crate::node::Path;
use crate::report::Report;
use crate::resource::Tenant;
use crate::resource::identity::Group;
use crate::suggest::nearest;

/// The longest name of a group in bytes: some issuers name groups by distinguished names.
const GROUP_BYTES_MAX: usize = 256;
/// The longest name of a member in bytes (SPIFFE-ID §2.3).
const MEMBER_BYTES_MAX: usize = 2048;
/// The deepest nesting of groups: deeper than any organisation, and each caller carries all groups on its way.
const DEPTH_MAX: usize = 16;
/// What a SPIFFE id begins with.
const SPIFFE: &str = "spiffe://";
/// The most groups of a cycle that an error shows.
const CYCLE_SHOWN_MAX: usize = 10;

pub(super) fn compile(head: Head, form: &TenantForm, site: &Site<'_>, report: &mut Report<'_>) -> Option<Tenant> {
    if head.tenant != TenantId::default() {
        let message =
            "what is said of a tenant is the operator's: leave the key out; the document's name is the tenant's";
        report.push(&Path::default().key("tenant"), Reason::Conflict { message: message.to_owned() });
    }
    let at = site.at.key("groups");
    let known: BTreeSet<&str> = form.groups.iter().flat_map(BTreeMap::keys).map(String::as_str).collect();
    let mut groups = Vec::with_capacity(known.len());
    for (name, form) in form.groups.iter().flatten() {
        let at = at.key(name);
        if !(1..=GROUP_BYTES_MAX).contains(&name.len()) || name.contains(char::is_control) {
            let message = format!("a group's name has 1 to {GROUP_BYTES_MAX} bytes, without control characters");
            report.push(&at, Reason::Invalid { value: shown(name), message });
        }
        groups.push(group(name, form, &known, &at, report));
    }
    nesting(&groups, &at, report);
    Some(Tenant { name: head.name, groups })
}

fn group(name: &str, form: &GroupForm, known: &BTreeSet<&str>, at: &Path, report: &mut Report<'_>) -> Group {
    let mut list = |key: &str, given: &Option<Vec<Option<String>>>, check: &dyn Fn(&str) -> Result<(), Reason>| {
        let at = at.key(key);
        let texts = given.iter().flatten().enumerate().filter_map(|(index, text)| Some((index, text.as_ref()?)));
        let checked =
            |(index, text): (usize, &String)| report.accept(&at.index(index), check(text)).map(|()| text.clone());
        texts.filter_map(checked).collect::<Vec<_>>()
    };
    Group {
        name: name.to_owned(),
        within: list("within", &form.within, &|text| is_group(text, known)),
        agents: list("agents", &form.agents, &agent),
        users: list("users", &form.users, &|text| subject(text, "a user is ISSUER/SUBJECT")),
    }
}

fn is_group(text: &str, known: &BTreeSet<&str>) -> Result<(), Reason> {
    if known.contains(text) {
        return Ok(());
    }
    let suggestion = nearest(text, known.iter().copied()).map(|name| format!(" (did you mean {name:?}?)"));
    let message = format!("this tenant has no such group{}", suggestion.unwrap_or_default());
    Err(Reason::Invalid { value: shown(text), message })
}

/// An agent is that of an API key, a workload, or that of a token.
fn agent(text: &str) -> Result<(), Reason> {
    if let Some(id) = text.strip_prefix(SPIFFE) {
        return spiffe_id(text, id);
    }
    if !text.contains('/') && ResourceName::new(text).is_ok() {
        return Ok(());
    }
    subject(text, "an agent is the name of an API key's agent, spiffe://DOMAIN/PATH, or ISSUER/SUBJECT")
}

/// Checks a SPIFFE id (SPIFFE-ID §2): a trust domain, and a path of which no part is empty or relative.
fn spiffe_id(text: &str, id: &str) -> Result<(), Reason> {
    let (domain, path) = id.split_once('/').unwrap_or((id, ""));
    trust_domain(domain)?;
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let is_part = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(is_known);
    if text.len() <= MEMBER_BYTES_MAX && path.split('/').all(is_part) {
        return Ok(());
    }
    let message =
        "the path of a SPIFFE id has parts of letters, digits, `.`, `-` and `_`, none of them empty".to_owned();
    Err(Reason::Invalid { value: shown(text), message })
}

/// Checks the form `ISSUER/SUBJECT`.
fn subject(text: &str, form: &str) -> Result<(), Reason> {
    let invalid = |message: String| Err(Reason::Invalid { value: shown(text), message });
    let Some((issuer, subject)) = text.split_once('/') else {
        return invalid(format!("{form}, where ISSUER is the name of an Issuer"));
    };
    if let Err(error) = ResourceName::new(issuer) {
        return invalid(format!("{form}, and {issuer:?} is not the name of an Issuer: {error}"));
    }
    if subject.is_empty() || text.len() > MEMBER_BYTES_MAX || subject.contains(char::is_control) {
        return invalid(format!(
            "a subject is not empty and has no control characters, {MEMBER_BYTES_MAX} bytes in all"
        ));
    }
    Ok(())
}

/// Reports groups that lead back to themselves, or too deep.
fn nesting(groups: &[Group], at: &Path, report: &mut Report<'_>) {
    let by_name: BTreeMap<&str, &Group> = groups.iter().map(|group| (group.name.as_str(), group)).collect();
    let mut depths: BTreeMap<&str, usize> = BTreeMap::new();
    for group in groups {
        let mut way = Vec::new();
        match depth(group, &by_name, &mut way, &mut depths) {
            Ok(depth) if depth <= DEPTH_MAX => {}
            Ok(depth) => {
                let message = format!("groups are nested {depth} deep from here, the most allowed is {DEPTH_MAX}");
                report.push(&at.key(&group.name).key("within"), Reason::Conflict { message });
            }
            Err(cycle) => {
                let shown: Vec<&str> = cycle.iter().take(CYCLE_SHOWN_MAX).copied().collect();
                let more = if cycle.len() > CYCLE_SHOWN_MAX { " → …" } else { "" };
                let message = format!("the group is within itself: {}{more}", shown.join(" → "));
                report.push(&at.key(cycle[0]).key("within"), Reason::Conflict { message });
                // Groups that only lead into a cycle are no further problem, and another cycle shows when this is mended.
                return;
            }
        }
    }
}

/// Counts the groups on the longest way from one outwards, itself included; or returns the way back to a group. There
/// are at most as many steps as groups, whose number is bounded.
fn depth<'a>(
    group: &'a Group,
    by_name: &BTreeMap<&str, &'a Group>,
    way: &mut Vec<&'a str>,
    depths: &mut BTreeMap<&'a str, usize>,
) -> Result<usize, Vec<&'a str>> {
    let name = group.name.as_str();
    if let Some(depth) = depths.get(name) {
        return Ok(*depth);
    }
    if let Some(begin) = way.iter().position(|one| *one == name) {
        return Err(way[begin..].iter().copied().chain([name]).collect());
    }
    way.push(name);
    let mut outside = 0;
    for outer in group.within.iter().filter_map(|name| by_name.get(name.as_str())) {
        outside = outside.max(depth(outer, by_name, way, depths)?);
    }
    way.pop();
    depths.insert(name, outside + 1);
    Ok(outside + 1)
}
