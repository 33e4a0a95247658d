//! What is wrong with a policy that Cedar would accept, or would refuse without saying what was meant.
//!
//! Cedar's validator knows types. That a caller has no id of its own, that ids have a form, that an annotation nobody
//! knows protects nothing: this is ours to say, with the text that would be right.

use std::collections::BTreeSet;

use cedar_policy::{ActionConstraint, Effect, EntityUid, Policy, PrincipalConstraint, ResourceConstraint};
use quorate_types::uri_template::Template;
use quorate_types::{ResourceName, TenantId};
use serde_json::Value;

use crate::action::Group;
use crate::resource::Kind;
use crate::schema::{CALLER, TENANT, USER};
use crate::templates::is_template;
use crate::view;

/// The annotation that names a policy.
pub(crate) const ID: &str = "id";
/// The annotation that says which scopes a permit asks for.
pub(crate) const SCOPE: &str = "scope";
/// Annotations with a meaning, and the one for people.
const ANNOTATIONS: &[&str] = &[ID, SCOPE, "description"];

/// The longest `@id`: it is a label in logs and audit records.
const ID_BYTES_MAX: usize = 128;

/// A remark on a policy: what is wrong, and what would be right.
pub(crate) type Remark = (String, Option<String>);

/// Checks scope and ids of a policy.
pub(crate) fn check(policy: &Policy) -> Vec<Remark> {
    let mut remarks = Vec::new();
    if let PrincipalConstraint::Eq(uid) = policy.principal_constraint() {
        let message = format!("`principal == {uid}` is never true: a caller is in its agent, user, groups and tenant");
        remarks.push((message, Some(format!("say `principal in {uid}`"))));
    }
    if let PrincipalConstraint::Is(name) | PrincipalConstraint::IsIn(name, _) = policy.principal_constraint()
        && name.to_string() != CALLER
    {
        let message = format!("`principal is {name}` is never true: every principal is a {CALLER}");
        remarks.push((message, Some(format!("say `principal in {name}::\"…\"`, or `principal has …` in a condition"))));
    }
    if let ActionConstraint::Eq(uid) = policy.action_constraint()
        && Group::parse(uid.id().unescaped()).is_some()
    {
        let message = format!("`action == {uid}` is never true: it is a group of actions");
        remarks.push((message, Some(format!("say `action in {uid}`"))));
    }
    if let ResourceConstraint::Eq(uid) = policy.resource_constraint()
        && kind(&uid) == Some(Kind::Resource)
        && is_template(uid.id().unescaped())
    {
        remarks.push(alone(&uid.to_string()));
    }
    let mut seen = BTreeSet::new();
    for uid in policy.entity_literals() {
        if seen.insert(uid.to_string()) {
            remarks.extend(check_id(&uid));
        }
    }
    remarks
}

/// Checks that no condition takes a template for a thing of its own, where the policy is given in its JSON form.
///
/// # Errors
/// The [`Remark`] on the first that does.
pub(crate) fn compared(json: &Value) -> Result<(), Remark> {
    match json {
        Value::Object(object) => object.iter().try_for_each(|(operator, operands)| {
            let literals =
                ["left", "right"].into_iter().filter_map(|side| operands.get(side)?.get("Value")?.get("__entity"));
            let text = |literal: &'_ Value, key| literal.get(key).and_then(Value::as_str).map(str::to_owned);
            let template = literals
                .filter(|literal| text(literal, "type").as_deref() == Some(Kind::Resource.as_str()))
                .find_map(|literal| text(literal, "id").filter(|id| is_template(id)));
            match template.filter(|_| matches!(operator.as_str(), "==" | "!=")) {
                Some(id) => Err(alone(&format!("{}::{id:?}", Kind::Resource.as_str()))),
                None => compared(operands),
            }
        }),
        Value::Array(list) => list.iter().try_for_each(compared),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

/// What is wrong with a policy about a template alone.
fn alone(uid: &str) -> Remark {
    let message =
        format!("`== {uid}` is about the entry of a list alone, and not about what is read: it is a template");
    (message, Some(format!("say `in {uid}`, which is also every URI of the template")))
}

/// Returns what a policy that can never apply may have meant.
pub(crate) fn meant(policy: &Policy) -> Option<String> {
    match policy.resource_constraint() {
        ResourceConstraint::Eq(uid) if matches!(kind(&uid), Some(Kind::Toolset | Kind::ToolServer)) => {
            Some(format!("`resource == {uid}` is the thing itself; say `resource in {uid}` for what is in it"))
        }
        ResourceConstraint::Eq(_)
        | ResourceConstraint::Any
        | ResourceConstraint::In(_)
        | ResourceConstraint::Is(_)
        | ResourceConstraint::IsIn(..) => Some("the page on the schema says what each action is done to".to_owned()),
    }
}

/// Reads the annotations of a policy: its `@id`, and its scopes.
pub(crate) fn annotations(policy: &Policy) -> Result<(Option<&str>, BTreeSet<String>), Vec<Remark>> {
    let mut remarks = Vec::new();
    let mut scopes = BTreeSet::new();
    for (name, value) in policy.annotations() {
        match name {
            ID if value.is_empty() || value.len() > ID_BYTES_MAX || value.chars().any(char::is_control) => {
                let message =
                    format!("@id({value:?}) is no id: allowed are 1 to {ID_BYTES_MAX} bytes without controls");
                remarks.push((message, None));
            }
            SCOPE if policy.effect() == Effect::Forbid => {
                let message = "@scope stands at a `forbid`: only what permits can ask for a scope".to_owned();
                let help = "say `unless { principal.scopes.contains(\"…\") }`".to_owned();
                remarks.push((message, Some(help)));
            }
            SCOPE => match parse_scopes(value) {
                Some(parsed) => scopes = parsed,
                None => {
                    let message =
                        format!("@scope({value:?}) has no scopes, or one with a character that scopes cannot have");
                    remarks.push((message, Some("scopes are separated by spaces (RFC 6749 §3.3)".to_owned())));
                }
            },
            _ if ANNOTATIONS.contains(&name) => {}
            _ => {
                let known: Vec<String> = ANNOTATIONS.iter().map(|name| format!("@{name}")).collect();
                let message = format!("@{name} means nothing");
                remarks.push((message, Some(format!("known are {}", known.join(", ")))));
            }
        }
    }
    if remarks.is_empty() { Ok((policy.annotation(ID), scopes)) } else { Err(remarks) }
}

/// Splits at spaces; `None` where there is nothing, or a character that RFC 6749 §3.3 does not allow in a scope.
fn parse_scopes(text: &str) -> Option<BTreeSet<String>> {
    let scopes: BTreeSet<String> = text.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned).collect();
    let allowed = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\';
    (!scopes.is_empty() && scopes.iter().all(|scope| scope.chars().all(allowed))).then_some(scopes)
}

fn kind(uid: &EntityUid) -> Option<Kind> {
    Kind::parse(&uid.type_name().to_string())
}

/// Checks that the id of an entity has the form that the entities of its type have.
fn check_id(uid: &EntityUid) -> Option<Remark> {
    let id = uid.id().unescaped();
    let name = uid.type_name().to_string();
    let is_name = |id: &str| ResourceName::new(id).is_ok();
    let form = match kind(uid) {
        Some(Kind::Toolset | Kind::ToolServer | Kind::Model) if !is_name(id) => "the name of a resource",
        Some(Kind::Tool | Kind::Prompt) if !within_server(id) => "SERVER/NAME, with the name that the server gives it",
        Some(Kind::Resource) if !within_server(id) => "SERVER/URI, with the URI that the server gives it",
        Some(Kind::Resource) if is_template(id) => {
            let error = id.split_once('/').and_then(|(_, text)| Template::parse(text).err())?;
            return Some((format!("{uid} is no URI, and no template of URIs: {error}"), None));
        }
        None if name == TENANT && TenantId::new(id).is_err() => "the name of a tenant",
        None if name == USER && !plain(id).contains('/') => "ISSUER/SUBJECT, with the name of the `Issuer`",
        None if name == CALLER => {
            let message = format!("{uid} is no entity: callers have no ids");
            return Some((message, Some("say what the caller is in: an agent, user, group or tenant".to_owned())));
        }
        _ => return None,
    };
    Some((format!("{uid} cannot be: {id:?} is not {form}"), None))
}

fn within_server(id: &str) -> bool {
    id.split_once('/').is_some_and(|(server, name)| ResourceName::new(server).is_ok() && !name.is_empty())
}

/// Without the tenant in front.
fn plain(id: &str) -> &str {
    if view::is_qualified(id) { id.split_once(view::SEPARATOR).map_or(id, |(_, rest)| rest) } else { id }
}
