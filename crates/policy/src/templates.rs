//! The templates of URIs that policies name: what is of a template is in it.
//!
//! A server lists `file:///{path}` and is asked for `file:///notes`. A policy about the template has to be about both,
//! and not only where the server's list is at hand: so the text that the policy names is matched against the URI, and a
//! resource is `in` every template that some policy names and that it is an expansion of (RFC 6570). A URI of which that
//! cannot be said within bounds is one that nobody may read.

use std::collections::HashMap;

use cedar_policy::{EntityUid, Policy};
use quorate_types::uri_template::{Template, Work};

use crate::document::PolicyRef;
use crate::limits::{TEMPLATE_WORK_MAX, TEMPLATES_MAX};
use crate::problem::{Place, Problem};
use crate::resource::{Item, Kind, Resource};
use crate::rule::Rule;

/// The templates that policies name, by server.
#[derive(Debug, Default)]
pub(crate) struct Templates(HashMap<String, Vec<Named>>);

/// A template, as it is named.
#[derive(Debug)]
struct Named {
    /// `SERVER/TEMPLATE`.
    id: String,
    template: Template,
    /// The first policy that names it.
    by: PolicyRef,
}

// === impl Templates ===

impl Templates {
    /// Collects the templates of rules, in their order.
    ///
    /// # Errors
    /// What is wrong when a server has more of them than [`TEMPLATES_MAX`].
    pub(crate) fn of(rules: &[Rule]) -> Result<Self, Problem> {
        let mut servers: HashMap<String, Vec<Named>> = HashMap::new();
        for rule in rules {
            for id in &rule.templates {
                let Some((server, text)) = id.split_once('/') else { continue };
                let Ok(template) = Template::parse(text) else { continue };
                let known = servers.entry(server.to_owned()).or_default();
                if known.iter().all(|named| named.id != *id) {
                    known.push(Named { id: id.clone(), template, by: rule.name.clone() });
                }
            }
        }
        let over = servers.iter().filter(|(_, named)| named.len() > TEMPLATES_MAX).min_by_key(|(server, _)| *server);
        if let Some((server, named)) = over {
            let count = named.len();
            let message =
                format!("there are {count} templates of URIs of ToolServer {server:?}, at most {TEMPLATES_MAX}");
            return Err(Problem::new(Place::All, message, Some("name the server, or one wider template".to_owned())));
        }
        Ok(Self(servers))
    }

    /// Returns the ids of the templates that a resource is of, but for its own: whatever is named is in itself.
    ///
    /// # Errors
    /// The policy that names a template of which that cannot be said within bounds, and what is wrong.
    pub(crate) fn around(&self, resource: &Resource<'_>) -> Result<Vec<&str>, (&PolicyRef, String)> {
        let Item::Resource(item) = resource.item else { return Ok(Vec::new()) };
        let Some(named) = self.0.get(item.server) else { return Ok(Vec::new()) };
        let mut work = Work::new(TEMPLATE_WORK_MAX);
        let mut found = Vec::new();
        for one in named.iter().filter(|one| one.id.split_once('/').is_none_or(|(_, text)| text != item.name)) {
            match one.template.matches(item.name, &mut work) {
                Ok(true) => found.push(one.id.as_str()),
                Ok(false) => {}
                Err(_) => {
                    let what = "the URI is too long to be held against its template".to_owned();
                    return Err((&one.by, what));
                }
            }
        }
        Ok(found)
    }
}

/// Returns the ids of the templates that a policy names.
pub(crate) fn named(policy: &Policy) -> Vec<String> {
    let is_resource = |uid: &EntityUid| uid.type_name().to_string() == Kind::Resource.as_str();
    let ids = policy.entity_literals().into_iter().filter(is_resource).map(|uid| uid.id().unescaped().to_owned());
    ids.filter(|id| is_template(id)).collect()
}

/// Whether the id of a resource names a template: braces stand in no URI (RFC 3986 §2).
pub(crate) fn is_template(id: &str) -> bool {
    id.contains(['{', '}'])
}
