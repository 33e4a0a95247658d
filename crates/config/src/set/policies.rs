//! Policies and groups as the policy engine takes them, and what it says of them as problems of documents.
//!
//! Policies are compiled together, so that only a whole set can tell whether they are valid: against our schema, with
//! the arguments that each document declares. A problem in a policy is told at its line of the file.

use std::collections::BTreeMap;

use quorate_policy::{Document, Group, Place as Found, Policies};
use quorate_types::{ResourceName, TenantId};

use super::{Links, Resources};
use crate::error::{Place, Problem, Reason};
use crate::node::Path;
use crate::resource::{Kind, Policy, Tenant};

// === impl Resources ===

impl Resources {
    fn compile_policies(&self) -> Result<Policies, Vec<quorate_policy::Problem>> {
        // A name that is there twice is told of by itself.
        let policies: BTreeMap<&ResourceName, &Policy> =
            self.policies.iter().rev().map(|one| (&one.name, one)).collect();
        let tenants: BTreeMap<&ResourceName, &Tenant> = self.tenants.iter().rev().map(|one| (&one.name, one)).collect();
        let documents: Vec<Document> = policies.values().map(|one| document(one)).collect();
        let groups: Vec<Group> = tenants.values().flat_map(|one| groups(one)).collect();
        Policies::compile(&documents, &groups)
    }
}

// === impl Links ===

impl Links<'_> {
    /// Compiles the policies, and holds what they name against the set. What cannot be compiled denies everything.
    pub(super) fn policies(&mut self, resources: &Resources) -> Policies {
        match resources.compile_policies() {
            Ok(compiled) => {
                self.mentions(resources, compiled.mentions());
                compiled
            }
            Err(problems) => {
                problems.into_iter().for_each(|found| self.policy(found));
                Policies::deny_all()
            }
        }
    }

    fn policy(&mut self, found: quorate_policy::Problem) {
        let spec = Path::default().key("spec");
        let (message, help) = (found.message, found.help);
        match found.place {
            Found::Document { name, line, column } => {
                self.push_in_text(&name, line, Reason::Policy { line, column, message, help });
            }
            Found::Arguments { name } => {
                self.push((Kind::Policy, &name), &spec.key("arguments"), conflict(message, help));
            }
            Found::Group { tenant, name } => {
                let path = spec.key("groups").key(&name);
                self.push((Kind::Tenant, &tenant_name(&tenant)), &path, conflict(message, help));
            }
            Found::All => {
                let reason = conflict(message, help);
                self.problems.push(Problem { place: Place::default(), path: String::new(), reason });
            }
        }
    }

    /// Tells what is wrong in a line of the text of a policy.
    pub(super) fn push_in_text(&mut self, policy: &ResourceName, line: usize, reason: Reason) {
        let place = self.place(Kind::Policy, policy);
        let path = Path::default().key("spec").key("cedar");
        let line = (self.line_of)(&place, &path, Some(line)).or(place.line);
        self.problems.push(Problem { place: Place { line, ..place }, path: path.to_string(), reason });
    }
}

fn conflict(message: String, help: Option<String>) -> Reason {
    let help = help.map(|help| format!(" ({help})")).unwrap_or_default();
    Reason::Conflict { message: format!("{message}{help}") }
}

fn document(policy: &Policy) -> Document {
    Document {
        name: policy.name.clone(),
        tenant: policy.tenant.clone(),
        text: policy.cedar.clone(),
        arguments: policy.arguments.clone(),
        mode: policy.mode,
    }
}

fn groups(tenant: &Tenant) -> impl Iterator<Item = Group> {
    let id = tenant.id();
    tenant.groups.iter().map(move |group| Group {
        tenant: id.clone(),
        name: group.name.clone(),
        within: group.within.clone(),
        agents: group.agents.clone(),
        users: group.users.clone(),
    })
}

fn tenant_name(tenant: &TenantId) -> ResourceName {
    ResourceName::new(tenant.as_str()).expect("names of tenants and of resources have one form")
}
