//! What makes the spec of a `Toolset` valid.
//!
//! Whether its servers exist is for the whole set to say (see [`crate::set`]), and whether patterns
//! match anything for the servers' lists. Everything else is known here: that members and servers
//! are there once, that versions have weights, and (in [`rules`]) that changes make sense.

use std::collections::BTreeMap;

use quorate_mcp::curate::instructions::OWN_BYTES_MAX;
use quorate_mcp::curate::version::WEIGHT_MAX;
use quorate_mcp::curate::{
    InvalidUriPattern, Listed, Pattern, Rules, Search, Selection, Selections, check_uri_pattern,
};
use quorate_types::ResourceName;
use serde_json::Number;

use super::{Head, Site, listener, parsed, scopes};
use crate::error::{Reason, shown};
use crate::form::ToolsetForm;
use crate::form::toolset::{
    DisclosureForm, FullMemberForm, InstructionsForm, MemberForm, RESULTS, SearchForm, SelectionForm, VersionForm,
};
use crate::limits::Limit;
use crate::node::Path;
use crate::report::Report;
use crate::resource::{Access, Member, Naming, Toolset, Version};

mod rules;

/// The most combinations of versions of one toolset: each has lists of its own.
const COMBINATIONS_MAX: usize = 16;

pub(super) fn compile(head: Head, form: &ToolsetForm, site: &Site<'_>, report: &mut Report<'_>) -> Option<Toolset> {
    let at = &site.at;
    let members = members(form.servers.as_ref()?, &at.key("servers"), report);
    let search = form.search.as_ref().map(|search| self::search(search, &at.key("search"), report));
    let scope = rules::Scope { members: &members, is_searched: search.is_some() };
    let rules = Rules {
        tools: scope.tools(form.tools.as_deref().unwrap_or_default(), &at.key("tools"), report),
        prompts: scope.prompts(form.prompts.as_deref().unwrap_or_default(), &at.key("prompts"), report),
        resources: scope.resources(form.resources.as_deref().unwrap_or_default(), &at.key("resources"), report),
        search,
    };
    let instructions = form.instructions.as_ref();
    let instructions = instructions
        .and_then(|text| report.accept(&at.key("instructions"), bounded(text, "instructions", OWN_BYTES_MAX)));
    let naming = form.naming.map_or_else(|| Naming::default_for(members.len()), Into::into);
    Some(Toolset {
        name: head.name,
        tenant: head.tenant,
        members,
        naming,
        instructions,
        rules,
        access: access(form, at, report),
        durability: form.durability.map(Into::into).unwrap_or_default(),
    })
}

fn access(form: &ToolsetForm, at: &Path, report: &mut Report<'_>) -> Access {
    Access {
        requires: listener::requires(form.requires.as_deref()),
        scopes: scopes::compile(form.scopes.as_deref(), &at.key("scopes"), report),
        denied: form.denied.map(Into::into).unwrap_or_default(),
    }
}

/// A text that is neither empty nor longer than `max` bytes.
fn bounded(text: &str, what: &str, max: usize) -> Result<String, Reason> {
    if text.trim().is_empty() {
        let message = format!("{what} must not be empty: leave the key out");
        return Err(Reason::Invalid { value: shown(text), message });
    }
    if text.len() > max {
        let message = format!("{what} has at most {max} bytes, this has {}", text.len());
        return Err(Reason::Invalid { value: shown(text), message });
    }
    Ok(text.to_owned())
}

fn members(given: &[Option<MemberForm>], at: &Path, report: &mut Report<'_>) -> Vec<Member> {
    let mut members = Vec::with_capacity(given.len());
    let mut names: BTreeMap<ResourceName, Path> = BTreeMap::new();
    let mut servers: BTreeMap<ResourceName, Path> = BTreeMap::new();
    for (index, form) in given.iter().enumerate() {
        let at = at.index(index);
        let member = match form {
            None => None,
            Some(MemberForm::Name(name)) => {
                let server = report.accept(&at, parsed(name, ResourceName::new));
                server.map(|server| (vec![(server.clone(), at.clone())], Member::new(server)))
            }
            Some(MemberForm::Full(form)) => member(form, &at, report),
        };
        let Some((places, member)) = member else { continue };
        let mut is_new = once(&mut names, &member.name, &at, report);
        for (server, at) in places {
            // A server that is there under its own name was told so by that.
            is_new &= !is_new || once(&mut servers, &server, &at, report);
        }
        if is_new {
            members.push(member);
        }
    }
    let combinations = members.iter().map(|member| member.versions.len()).try_fold(1, usize::checked_mul);
    if combinations.is_none_or(|combinations| combinations > COMBINATIONS_MAX) {
        let message = format!(
            "the versions of all servers make more than {COMBINATIONS_MAX} combinations, and each has lists of its own: \
             roll out fewer servers at once"
        );
        report.push(at, Reason::Conflict { message });
    }
    members
}

/// Notes where a name is; false, and a problem, when it is somewhere already.
fn once(known: &mut BTreeMap<ResourceName, Path>, name: &ResourceName, at: &Path, report: &mut Report<'_>) -> bool {
    if let Some(first) = known.get(name) {
        let first = first.to_string();
        report.push(at, Reason::Repeated { value: shown(name.as_str()), first });
        return false;
    }
    known.insert(name.clone(), at.clone());
    true
}

/// A member, and where each of its tool servers is named.
fn member(form: &FullMemberForm, at: &Path, report: &mut Report<'_>) -> Option<(Vec<(ResourceName, Path)>, Member)> {
    let selections = Selections {
        tools: selection(form.tools.as_ref(), |_| Ok(()), &at.key("tools"), report),
        prompts: selection(form.prompts.as_ref(), |_| Ok(()), &at.key("prompts"), report),
        resources: selection(form.resources.as_ref(), check_uri_pattern, &at.key("resources"), report),
    };
    let name = form.name.as_deref();
    let named = name.and_then(|name| report.accept(&at.key("name"), parsed(name, ResourceName::new)));
    let (places, versions, name) = match (&form.server, &form.versions) {
        (Some(server), None) => {
            let at = at.key("server");
            let server = report.accept(&at, parsed(server, ResourceName::new))?;
            let name = if name.is_none() { Some(server.clone()) } else { named };
            (vec![(server.clone(), at)], vec![Version { server, weight: 1 }], name)
        }
        (None, Some(given)) => {
            let (places, versions) = versions(given, &at.key("versions"), report);
            if name.is_none() {
                let description = "The name in this toolset, which stays while versions change.".to_owned();
                report.push(&at.key("name"), Reason::Missing { description });
            }
            (places, versions, named)
        }
        (Some(_), Some(_)) => {
            let message = "server contradicts versions: keep one of them".to_owned();
            report.push(&at.key("versions"), Reason::Conflict { message });
            return None;
        }
        (None, None) => {
            let message = "a member has server: NAME, or name and versions".to_owned();
            report.push(at, Reason::Conflict { message });
            return None;
        }
    };
    if form.draw.is_some() && form.versions.is_none() {
        let message = "draw is about versions, and there are none".to_owned();
        report.push(&at.key("draw"), Reason::Conflict { message });
    }
    let draw = form.draw.map(Into::into).unwrap_or_default();
    let keeps_instructions = form.instructions != Some(InstructionsForm::Omit);
    Some((places, Member { name: name?, versions, draw, selections, keeps_instructions }))
}

fn versions(
    given: &[Option<VersionForm>],
    at: &Path,
    report: &mut Report<'_>,
) -> (Vec<(ResourceName, Path)>, Vec<Version>) {
    let (mut places, mut versions) = (Vec::new(), Vec::new());
    for (index, form) in given.iter().enumerate() {
        let (Some(form), at) = (form, at.index(index)) else { continue };
        let weight = form.weight.as_ref().and_then(|weight| count(weight, (0, WEIGHT_MAX), &at.key("weight"), report));
        let Some(server) = form.server.as_deref() else { continue };
        let Some(server) = report.accept(&at.key("server"), parsed(server, ResourceName::new)) else { continue };
        places.push((server.clone(), at.key("server")));
        versions.push(Version { server, weight: weight.unwrap_or(1) });
    }
    if !versions.is_empty() && versions.iter().all(|version| version.weight == 0) {
        let message = "every version has weight 0, so nobody gets any: give one of them a weight".to_owned();
        report.push(at, Reason::Conflict { message });
    }
    (places, versions)
}

/// A whole number within its range; one that is not is reported.
fn count(wire: &Number, (min, max): (u32, u32), at: &Path, report: &mut Report<'_>) -> Option<u32> {
    report.accept(at, u32::read(wire, min, max))
}

fn selection(
    form: Option<&SelectionForm>,
    check: impl Fn(&Pattern) -> Result<(), InvalidUriPattern>,
    at: &Path,
    report: &mut Report<'_>,
) -> Selection {
    let Some(form) = form else { return Selection::everything() };
    let mut of = |key: &str, given: &Option<Vec<Option<String>>>| {
        let at = at.key(key);
        let patterns = patterns(given.as_ref()?, &at, report);
        for (index, pattern) in &patterns {
            let checked = check(pattern)
                .map_err(|error| Reason::Invalid { value: shown(pattern.as_str()), message: error.to_string() });
            report.accept(&at.index(*index), checked);
        }
        Some(patterns.into_iter().map(|(_, pattern)| pattern).collect())
    };
    let (include, exclude) = (of("include", &form.include), of("exclude", &form.exclude));
    Selection {
        include: include.unwrap_or_else(|| Selection::everything().include),
        exclude: exclude.unwrap_or_default(),
    }
}

/// The valid patterns of a list, each with its place there.
fn patterns(given: &[Option<String>], at: &Path, report: &mut Report<'_>) -> Vec<(usize, Pattern)> {
    let texts = given.iter().enumerate().filter_map(|(index, text)| Some((index, text.as_deref()?)));
    let parsed = |(index, text)| Some((index, report.accept(&at.index(index), parsed(text, Pattern::parse))?));
    texts.filter_map(parsed).collect()
}

fn search(form: &SearchForm, at: &Path, report: &mut Report<'_>) -> Search {
    let (min, default, max) = RESULTS;
    let results = form.results.as_ref().and_then(|results| count(results, (min, max), &at.key("results"), report));
    let pinned = form.pinned.as_ref().map(|given| patterns(given, &at.key("pinned"), report));
    let pinned = pinned.map(|patterns| patterns.into_iter().map(|(_, pattern)| pattern).collect());
    let listed = match form.disclosure.unwrap_or(DisclosureForm::All) {
        DisclosureForm::Progressive => Listed::Pinned(pinned.unwrap_or_default()),
        DisclosureForm::All => {
            if pinned.is_some() {
                let message = "everything is listed, so nothing can be pinned: add disclosure: progressive".to_owned();
                report.push(&at.key("pinned"), Reason::Conflict { message });
            }
            Listed::All
        }
    };
    Search { listed, results_max: results.unwrap_or(default) as usize }
}
