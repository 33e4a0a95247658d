//! Whether there is what policies name.
//!
//! In: what the compiled policies name, and the set. Out: a problem at its line for whatever can never be: a misspelled
//! `forbid` protects nothing, and nobody notices. What only live servers and issuers know is taken as it is: names of
//! tools, users' subjects, SPIFFE ids of trusted domains, groups where tokens may name them. Where a document did not
//! compile that could be the one, its kind is not held against anybody.

use std::collections::{BTreeMap, BTreeSet};

use quorate_policy::limits::PROBLEMS_MAX;
use quorate_policy::{Mention, Place, Thing};
use quorate_types::{ResourceName, TenantId};

use super::{Declared, Links, NAMES_SHOWN_MAX, Resources};
use crate::error::Reason;
use crate::resource::identity::{DEVELOPMENT_AGENT, Subject, Vouching};
use crate::resource::{Issuer, Kind};
use crate::suggest::nearest;

/// The most names that a misspelled one is compared with, a few microseconds each: a set may have 100,000 keys.
const COMPARED_MAX: usize = 2_000;

/// What stands before the trust domain of a SPIFFE id.
const SPIFFE: &str = "spiffe://";

/// What a mention has wrong, and what would be right.
type Remark = (String, Option<String>);

/// What a set has that policies can name.
struct Known<'a> {
    /// Toolsets, tool servers and issuers, with their tenants where they compiled.
    named: BTreeMap<(Kind, &'a str), Option<&'a TenantId>>,
    /// The kinds of documents that did not compile, which may be what is missing.
    unsure: BTreeSet<Kind>,
    issuers: &'a [Issuer],
    tenants: BTreeSet<&'a str>,
    agents: BTreeMap<&'a TenantId, BTreeSet<&'a str>>,
    groups: BTreeMap<TenantId, BTreeSet<&'a str>>,
}

// === impl Links ===

impl Links<'_> {
    /// Whether there is what policies name.
    pub(super) fn mentions(&mut self, resources: &Resources, mentions: &[Mention]) {
        let known = Known::of(resources, self.declared);
        let wrong = mentions.iter().filter_map(|mention| Some((mention, known.check(mention)?)));
        for (mention, (why, help)) in wrong.take(PROBLEMS_MAX) {
            // Whatever is named is in the text of a document.
            let Place::Document { name, line, column } = &mention.place else { continue };
            let (line, column) = (*line, *column);
            let reason = Reason::NeverThere { line, column, named: mention.text.clone(), why, help };
            self.push_in_text(name, line, reason);
        }
    }
}

// === impl Known ===

impl<'a> Known<'a> {
    fn of(resources: &'a Resources, declared: &'a [Declared]) -> Self {
        // There may be a hundred thousand keys, and ten thousand mentions.
        let is_named =
            |one: &&Declared| matches!(one.kind, Kind::Toolset | Kind::ToolServer | Kind::Model | Kind::Issuer);
        let entry = |one: &'a Declared| ((one.kind, one.name.as_str()), one.tenant.as_ref());
        let unsure = declared.iter().filter(|one| one.tenant.is_none()).map(|one| one.kind).collect();
        let claimed = resources.issuers.iter().filter_map(|issuer| issuer.tokens()?.tenants.as_ref());
        let claimed = claimed.flat_map(|claim| claim.values.values());
        let named = resources.tenants.iter().map(|tenant| tenant.name.as_str());
        let tenants = declared.iter().filter_map(|one| one.tenant.as_ref()).chain(claimed).map(TenantId::as_str);
        let mut agents: BTreeMap<&TenantId, BTreeSet<&str>> = BTreeMap::new();
        for key in &resources.api_keys {
            agents.entry(&key.tenant).or_default().insert(key.agent.as_str());
        }
        let mut groups: BTreeMap<TenantId, BTreeSet<&str>> = BTreeMap::new();
        for tenant in &resources.tenants {
            groups.entry(tenant.id()).or_default().extend(tenant.groups.iter().map(|group| group.name.as_str()));
        }
        let tenants = tenants.chain(named).chain([TenantId::DEFAULT]).collect();
        Self {
            named: declared.iter().filter(is_named).map(entry).collect(),
            unsure,
            issuers: &resources.issuers,
            tenants,
            agents,
            groups,
        }
    }

    fn check(&self, mention: &Mention) -> Option<Remark> {
        let by = &mention.tenant;
        match &mention.thing {
            Thing::Toolset(name) => self.resource(Kind::Toolset, name, by),
            Thing::ToolServer(name) => self.resource(Kind::ToolServer, name, by),
            Thing::Model(name) => self.resource(Kind::Model, name, by),
            Thing::Tenant(name) => self.tenant(name, by),
            Thing::Owner(name) => self.owner(name, by),
            Thing::Agent(of, id) | Thing::User(of, id) | Thing::Group(of, id)
                if of.is_operator() && is_qualified(id) =>
            {
                Some((
                    "who belongs to the operator has no tenant in front".to_owned(),
                    id.split_once("::").map(|(_, name)| format!("say {name:?}")),
                ))
            }
            Thing::Agent(of, _) | Thing::User(of, _) | Thing::Group(of, _) if !self.has_tenant(of.as_str()) => {
                Some(self.no_tenant(of.as_str()))
            }
            Thing::Agent(of, id) => self.agent(of, id),
            Thing::User(of, id) => self.user(of, id),
            Thing::Group(of, name) => self.group(of, name),
        }
    }

    /// A toolset or tool server: it has to be there, on this side of the wall. The operator's documents are about everything.
    fn resource(&self, kind: Kind, name: &str, by: &TenantId) -> Option<Remark> {
        let Some(found) = self.named.get(&(kind, name)) else {
            // What is of no use to the document is no help either.
            let of_kind = self.named.iter().filter(|((of, _), _)| *of == kind);
            let usable = of_kind.filter(|(_, owner)| owner.is_none_or(|owner| by.meets(owner)));
            let names: BTreeSet<&str> = usable.map(|((_, name), _)| *name).collect();
            return Some((format!("there is no {kind} {name:?}"), suggestion(name, &names)));
        };
        let owner = found.filter(|owner| !by.meets(owner))?;
        let message = format!("{kind} {name:?} is of tenant {owner}, and callers of tenant {by} do not reach it");
        Some((message, None))
    }

    fn tenant(&self, name: &str, by: &TenantId) -> Option<Remark> {
        if !self.has_tenant(name) {
            return Some(self.no_tenant(name));
        }
        let is_seen = by.is_operator() || by.as_str() == name;
        (!is_seen).then(|| (format!("this document is about callers of tenant {by} only"), None))
    }

    fn owner(&self, name: &str, by: &TenantId) -> Option<Remark> {
        // What the operator has is within reach of every tenant's callers.
        if name == TenantId::DEFAULT { None } else { self.tenant(name, by) }
    }

    fn has_tenant(&self, name: &str) -> bool {
        self.tenants.contains(name) || !self.unsure.is_empty()
    }

    fn no_tenant(&self, name: &str) -> Remark {
        (format!("there is no tenant {name:?}"), suggestion(name, &self.tenants))
    }

    fn agent(&self, of: &TenantId, id: &str) -> Option<Remark> {
        if let Some(rest) = id.strip_prefix(SPIFFE) {
            return self.workload(of, rest.split('/').next().unwrap_or_default());
        }
        if let Some((issuer, _)) = id.split_once('/') {
            return self.vouched(of, issuer).err();
        }
        let none = BTreeSet::new();
        let agents = self.agents.get(of).unwrap_or(&none);
        let is_development = of.is_operator() && id == DEVELOPMENT_AGENT;
        if is_development || agents.contains(id) || self.is_unsure(Kind::ApiKey) {
            return None;
        }
        let message = format!("no ApiKey of tenant {of} is of agent {id:?}");
        Some((message, suggestion(id, agents).or_else(|| Some("tokens' agents are ISSUER/SUBJECT".to_owned()))))
    }

    fn workload(&self, of: &TenantId, domain: &str) -> Option<Remark> {
        let domains = self.issuers.iter().filter(|issuer| issuer.tenant == *of).filter_map(|issuer| {
            let Vouching::Spiffe(trusted) = &issuer.method else { return None };
            Some(trusted.domain.as_str())
        });
        let domains: BTreeSet<&str> = domains.collect();
        if domains.contains(domain) || self.is_unsure(Kind::Issuer) {
            return None;
        }
        let message = format!("no Issuer of tenant {of} vouches for certificates of trust domain {domain:?}");
        Some((message, suggestion(domain, &domains)))
    }

    fn user(&self, of: &TenantId, id: &str) -> Option<Remark> {
        let issuer = id.split_once('/').map_or(id, |(issuer, _)| issuer);
        match self.vouched(of, issuer) {
            Err(remark) => Some(remark),
            Ok(found) => {
                let has_agents = |issuer: &Issuer| issuer.tokens().is_some_and(|one| one.subject == Subject::Agent);
                let message = || format!("the subjects of Issuer {issuer:?} are agents (subject: agent)");
                found.is_some_and(has_agents).then(|| (message(), Some(format!("say Agent::{id:?}"))))
            }
        }
    }

    /// The issuer of tokens of callers of a tenant, where its document compiled.
    fn vouched(&self, of: &TenantId, name: &str) -> Result<Option<&'a Issuer>, Remark> {
        if self.named.get(&(Kind::Issuer, name)) == Some(&None) {
            return Ok(None);
        }
        let Some(issuer) = self.issuers.iter().find(|issuer| issuer.name.as_str() == name) else {
            let usable = self.issuers.iter().filter(|issuer| issuer.tokens().is_some() && issuer.vouches_for(of));
            let names = usable.map(|issuer| issuer.name.as_str()).collect();
            return Err((format!("there is no Issuer {name:?}"), suggestion(name, &names)));
        };
        if issuer.tokens().is_none() {
            let message = format!("Issuer {name:?} vouches by certificates, which have agents only");
            return Err((message, Some(format!("name them {SPIFFE}DOMAIN/PATH"))));
        }
        if !issuer.vouches_for(of) {
            return Err((format!("Issuer {name:?} vouches for nobody of tenant {of}"), None));
        }
        Ok(Some(issuer))
    }

    fn group(&self, of: &TenantId, name: &str) -> Option<Remark> {
        let names = |issuer: &Issuer| issuer.tokens().is_some_and(|tokens| tokens.groups_claim.is_some());
        let none = BTreeSet::new();
        let groups = self.groups.get(of).unwrap_or(&none);
        let is_said = self.issuers.iter().any(|issuer| names(issuer) && issuer.vouches_for(of));
        if groups.contains(name) || is_said || self.is_unsure(Kind::Issuer) || self.is_unsure(Kind::Tenant) {
            return None;
        }
        let message =
            format!("no Tenant document has the group {name:?} for tenant {of}, and no Issuer has groupsClaim");
        Some((message, suggestion(name, groups)))
    }

    /// Whether a document of a kind did not compile, which may be the one that is missing.
    fn is_unsure(&self, kind: Kind) -> bool {
        self.unsure.contains(&kind)
    }
}

fn is_qualified(id: &str) -> bool {
    id.split_once("::").is_some_and(|(tenant, _)| ResourceName::new(tenant).is_ok())
}

fn suggestion(name: &str, known: &BTreeSet<&str>) -> Option<String> {
    if known.len() <= COMPARED_MAX
        && let Some(near) = nearest(name, known.iter().copied())
    {
        return Some(format!("did you mean {near:?}?"));
    }
    let shown: Vec<&str> = known.iter().copied().take(NAMES_SHOWN_MAX).collect();
    (!shown.is_empty()).then(|| format!("there are: {}", shown.join(", ")))
}
