//! Whether policies fit what toolsets have now: the part of the probe that only live servers can answer.
//!
//! In: the resources and what toolsets make of their servers. Out: policies about tools and prompts that nobody has, and
//! about arguments that a tool has not, or has with another type. Where a server could not be asked nothing is said: what
//! is missing may be there.

use std::collections::BTreeSet;

use quorate_config::ResourceSet;
use quorate_gateway::survey::Survey;
use quorate_mcp::ListKind;
use quorate_mcp::listing::{Entry, Merged};
use quorate_policy::{Doubt, Item, Named, Offered, Resource};
use quorate_types::TenantId;
use serde_json::Value;

/// The most doubts that are printed.
const SHOWN_MAX: usize = 200;

/// An entry of a toolset's list, owned.
struct Listed<'a> {
    tenant: &'a TenantId,
    survey: &'a Survey,
    kind: ListKind,
    server: &'a str,
    entry: &'a Entry,
    schema: Option<String>,
}

/// Holds the policies of the resources against what was found.
pub(super) fn doubts(resources: &ResourceSet, surveys: &[Survey]) -> Vec<Doubt> {
    if surveys.iter().any(|survey| !survey.unreached.is_empty()) {
        return Vec::new();
    }
    let mut listed = Vec::new();
    for survey in surveys {
        let Some(toolset) = resources.toolsets().iter().find(|one| one.name == survey.toolset) else { continue };
        for list in &survey.lists {
            listed.extend(entries(&toolset.tenant, survey, list));
        }
    }
    let offered: Vec<Offered<'_>> = listed.iter().map(Listed::offered).collect();
    resources.compiled_policies().doubts(&offered)
}

/// What is said of the doubts, for people.
pub(super) fn page(doubts: &[Doubt]) -> String {
    if doubts.is_empty() {
        return String::new();
    }
    let mut page = String::from("\nPolicies that do not fit\n");
    for doubt in doubts.iter().take(SHOWN_MAX) {
        page.push_str(&format!("  {doubt}\n"));
    }
    if let Some(more) = doubts.len().checked_sub(SHOWN_MAX).filter(|more| *more > 0) {
        page.push_str(&format!("  and {more} more\n"));
    }
    page
}

fn entries<'a>(tenant: &'a TenantId, survey: &'a Survey, list: &'a Merged) -> impl Iterator<Item = Listed<'a>> {
    let kind = list.kind();
    let has_policies = matches!(kind, ListKind::Tools | ListKind::Prompts);
    list.entries().iter().filter(move |_| has_policies).filter_map(move |entry| {
        // What is Quorate's own has no server.
        let (_, server) = survey.members.get(usize::from(entry.server.0))?;
        let definition: Option<Value> = serde_json::from_slice(&list.definition(entry)).ok();
        let schema = definition.and_then(|definition| Some(definition.get("inputSchema")?.to_string()));
        Some(Listed { tenant, survey, kind, server: server.as_str(), entry, schema })
    })
}

// === impl Listed ===

impl Listed<'_> {
    fn offered(&self) -> Offered<'_> {
        let entry = self.entry;
        let named = Named { server: self.server, name: &entry.upstream, exposed: &entry.exposed, tags: entry.tags() };
        let item = if self.kind == ListKind::Tools { Item::Tool(named) } else { Item::Prompt(named) };
        let withheld = entry.terms.iter().flat_map(|terms| terms.withheld());
        let fixed: BTreeSet<&str> = withheld.filter(|(_, has_value)| *has_value).map(|(name, _)| name).collect();
        let resource = Resource { tenant: self.tenant, toolset: self.survey.toolset.as_str(), item };
        Offered { resource, schema: self.schema.as_deref(), fixed }
    }
}
