//! What policies name of a configuration, and where: for whoever knows what there is.
//!
//! A policy about a tool server that does not exist protects nothing, and nothing here can tell: servers, toolsets,
//! tenants, issuers and keys are of the configuration. So what is named is told ([`Policies::mentions`]), entities
//! wherever they stand, and texts that attributes with such names are compared with (`resource.server == "…"`). Ids are
//! taken apart here, because their forms are the schema's: what is in front of `/`, and of `::` in the operator's documents.
//!
//! [`Policies::mentions`]: crate::Policies::mentions

use cedar_policy::{EntityUid, Policy};
use quorate_types::TenantId;
use serde_json::Value;

use crate::document::Document;
use crate::problem::{Place, Text};
use crate::resource::Kind;
use crate::schema::{AGENT, GROUP, TENANT, USER};
use crate::view;

/// Something that a policy names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mention {
    /// Where.
    pub place: Place,
    /// The tenant of the document.
    pub tenant: TenantId,
    /// As the policy writes it: `ToolServer::"files"`, or `resource.server` with a text.
    pub text: String,
    /// What it is.
    pub thing: Thing,
}

/// What a policy can name of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Thing {
    /// The toolset of this name.
    Toolset(String),
    /// The tool server of this name, or something of it.
    ToolServer(String),
    /// The model of this name.
    Model(String),
    /// The tenant of this name, of callers.
    Tenant(String),
    /// The tenant of this name, of toolsets.
    Owner(String),
    /// An agent of a tenant: a SPIFFE id, the agent of a key, or `ISSUER/SUBJECT`.
    Agent(TenantId, String),
    /// A user of a tenant, `ISSUER/SUBJECT`.
    User(TenantId, String),
    /// A group of a tenant.
    Group(TenantId, String),
}

/// Returns what a policy names; `json` is its JSON form, `start` its first byte.
pub(crate) fn mentions(document: &Document, policy: &Policy, json: &Value, start: usize) -> Vec<Mention> {
    let text = Text { name: &document.name, text: &document.text };
    let mention = |at: usize, text_of: String, thing: Thing| Mention {
        place: text.place(at),
        tenant: document.tenant.clone(),
        text: text_of,
        thing,
    };
    let mut mentions = Vec::new();
    for uid in policy.entity_literals() {
        let at = uid.as_ref().loc().map_or(start, |loc| loc.start());
        mentions.extend(Thing::of(&document.tenant, &uid).map(|thing| mention(at, uid.to_string(), thing)));
    }
    let mut compared = Vec::new();
    for condition in json.get("conditions").and_then(Value::as_array).into_iter().flatten() {
        condition.get("body").into_iter().for_each(|body| compare(body, &mut compared));
    }
    for (attribute, value) in compared {
        let text_of = format!("{}.{} with {value:?}", attribute.0, attribute.1);
        mentions.extend(
            Thing::of_attribute(&document.tenant, attribute, value).map(|thing| mention(start, text_of, thing)),
        );
    }
    mentions.sort_by(|one, other| one.place.cmp(&other.place));
    mentions
}

// === impl Thing ===

impl Thing {
    fn of(document: &TenantId, uid: &EntityUid) -> Option<Self> {
        let (of, id) = (uid.type_name().to_string(), uid.id().unescaped());
        Some(match (Kind::parse(&of), of.as_str()) {
            (Some(Kind::Toolset), _) => Self::Toolset(id.to_owned()),
            (Some(Kind::ToolServer), _) => Self::ToolServer(id.to_owned()),
            (Some(Kind::Model), _) => Self::Model(id.to_owned()),
            (Some(Kind::Tool | Kind::Prompt | Kind::Resource), _) => {
                Self::ToolServer(id.split_once('/').map_or(id, |(server, _)| server).to_owned())
            }
            (None, TENANT) => Self::Tenant(id.to_owned()),
            (None, AGENT) => caller(document, id, Self::Agent),
            (None, USER) => caller(document, id, Self::User),
            (None, GROUP) => caller(document, id, Self::Group),
            (None, _) => return None,
        })
    }

    fn of_attribute(document: &TenantId, attribute: (&str, &str), value: &str) -> Option<Self> {
        Some(match attribute {
            ("resource", "toolset") => Self::Toolset(value.to_owned()),
            ("resource", "server") => Self::ToolServer(value.to_owned()),
            ("principal", "tenant") => Self::Tenant(value.to_owned()),
            ("resource", "tenant") => Self::Owner(value.to_owned()),
            ("principal", "agent") => caller(document, value, Self::Agent),
            ("principal", "user") => caller(document, value, Self::User),
            ("principal", "groups") => caller(document, value, Self::Group),
            _ => return None,
        })
    }
}

/// Takes the tenant off a name; only in the operator's documents one may be in front.
fn caller(document: &TenantId, id: &str, thing: fn(TenantId, String) -> Thing) -> Thing {
    let split = id.split_once(view::SEPARATOR).filter(|_| document.is_operator());
    match split.and_then(|(tenant, rest)| Some((TenantId::new(tenant).ok()?, rest))) {
        Some((tenant, rest)) if !tenant.is_operator() => thing(tenant, rest.to_owned()),
        // The operator's own are not called so: whoever looks for this finds nobody.
        Some(_) | None => thing(document.clone(), id.to_owned()),
    }
}

/// An attribute of the principal or of the resource, and a text that it is compared with.
type Compared<'a> = ((&'a str, &'a str), &'a str);

/// Finds attributes that are compared with texts.
fn compare<'a>(expression: &'a Value, found: &mut Vec<Compared<'a>>) {
    match expression {
        Value::Object(object) => {
            for (operator, operands) in object {
                if matches!(operator.as_str(), "==" | "!=" | "contains" | "containsAll" | "containsAny")
                    && let (Some(left), Some(right)) = (operands.get("left"), operands.get("right"))
                {
                    for (one, other) in [(left, right), (right, left)] {
                        found
                            .extend(attribute(one).into_iter().flat_map(|of| texts(other).map(move |text| (of, text))));
                    }
                }
                // What a literal holds is no expression.
                if operator != "Value" {
                    compare(operands, found);
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|element| compare(element, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn attribute(expression: &Value) -> Option<(&str, &str)> {
    let member = expression.get(".")?;
    Some((member.get("left")?.get("Var")?.as_str()?, member.get("attr")?.as_str()?))
}

/// A text, or the texts of a set.
fn texts(expression: &Value) -> impl Iterator<Item = &str> {
    let elements = expression.get("Set").and_then(Value::as_array).into_iter().flatten();
    std::iter::once(expression).chain(elements).filter_map(|element| element.get("Value")?.as_str())
}
