//! Laws of decisions, over random policies, callers and questions.
//!
//! The reference is Cedar itself: one `PolicySet` with all policies whole, one entity per question, `is_authorized`. What
//! is ours beside it (index, order, tenants, bounds without arguments) has to agree with it, or with a law of its own.

mod common;

use std::collections::{HashMap, HashSet};

use cedar_policy::{
    Authorizer, Context, Entities, Entity, EntityId, EntityUid, PolicySet, Request, RestrictedExpression,
};
use common::{Asked, asked, caller, reading, tenant};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use quorate_policy::{ArgumentType, Document, Policies};

const WHO: &[&str] = &[
    "principal",
    "principal in Agent::\"a\"",
    "principal in Agent::\"b\"",
    "principal in User::\"corp/u\"",
    "principal in Group::\"g\"",
    "principal in Group::\"h\"",
    "principal in Tenant::\"default\"",
    "principal is Caller in Group::\"g\"",
    "principal is Caller",
];

/// Actions with resources that they are done to.
const WHAT: &[&str] = &[
    "action, resource",
    "action in Action::\"mcp\", resource",
    "action == Action::\"mcp:call\", resource",
    "action == Action::\"mcp:call\", resource == Tool::\"s/x\"",
    "action == Action::\"mcp:call\", resource in ToolServer::\"s\"",
    "action in [Action::\"mcp:call\", Action::\"mcp:read\"], resource in Toolset::\"t\"",
    "action, resource is Tool",
    "action, resource is Tool in ToolServer::\"s\"",
    "action, resource in Toolset::\"u\"",
    "action == Action::\"mcp:list\", resource == Toolset::\"t\"",
    "action in [Action::\"mcp:list\", Action::\"mcp:connect\"], resource in Toolset::\"t\"",
    "action == Action::\"mcp:read\", resource == Resource::\"s/x\"",
    "action == Action::\"mcp:read\", resource in Resource::\"s/x\"",
    "action, resource in Resource::\"s/{name}\"",
    "action == Action::\"mcp:read\", resource is Resource in Resource::\"s/a{+rest}\"",
];

const CONDITIONS: &[&str] = &[
    "",
    "",
    "when { principal.groups.contains(\"g\") }",
    "unless { principal has user }",
    "when { resource has toolset && resource.toolset == \"t\" }",
    "when { principal.scopes.contains(\"s\") || resource.tenant == principal.tenant }",
    "when { resource in Resource::\"s/{name}\" || resource in Toolset::\"u\" }",
    "when { principal.delegations + 9223372036854775807 < 0 || principal has user }",
];

/// Conditions for policies about calls alone.
const READING: &[&str] = &[
    "when { context.arguments has n && context.arguments.n > 1 }",
    "unless { context.arguments has n && context.arguments.n > 1 }",
    "when { context.arguments has p && context.arguments.p like \"a*\" && principal.groups.contains(\"g\") }",
    "when { if context.arguments has p then context.arguments.p == \"a\" else principal has user }",
    "when { !(context.arguments has p) || resource.name == \"x\" }",
];

const CALLERS: &[&str] = &[
    "default a",
    "default b +g",
    "default a corp/u",
    "default - corp/u +h *s",
    "default c +g +h",
    "default a corp/u +g +h *s",
];

const QUESTIONS: &[&str] = &[
    "call default t s/x",
    "call default t s/y",
    "call default u r/x",
    "read default t s/x",
    "read default u s/y",
    "read default t s/a/y",
    "read default t s/{name}",
    "get default t s/x",
    "list default t",
    "list default u",
    "connect default t",
    "sample default t s",
    "subscribe default t",
];

const ARGUMENTS: &[&str] = &["{}", r#"{"n":1}"#, r#"{"n":2}"#, r#"{"p":"a"}"#, r#"{"n":5,"p":"b"}"#, r#"{"p":"abc"}"#];

/// Arguments of which one is not of its type, each with those that have some value of the type there, or none.
const FAULTS: &[(&str, &[&str])] = &[
    (r#"{"n":"2"}"#, &["{}", r#"{"n":0}"#, r#"{"n":1}"#, r#"{"n":2}"#]),
    (r#"{"n":1.5,"p":"a"}"#, &[r#"{"p":"a"}"#, r#"{"n":0,"p":"a"}"#, r#"{"n":2,"p":"a"}"#]),
    (r#"{"n":2,"p":null}"#, &[r#"{"n":2}"#, r#"{"n":2,"p":"a"}"#, r#"{"n":2,"p":"b"}"#, r#"{"n":2,"p":""}"#]),
    (r#"{"P":"a"}"#, &["{}", r#"{"p":"a"}"#, r#"{"p":"b"}"#]),
    (r#"{"n":1,"n":2}"#, &["{}", r#"{"n":1}"#, r#"{"n":2}"#]),
];

fn policy() -> impl Strategy<Value = String> {
    let any = (select(vec!["permit", "permit", "forbid"]), select(WHO), select(WHAT), select(CONDITIONS));
    let reading = (select(vec!["permit", "forbid"]), select(WHO), select(&WHAT[2..5]), select(READING));
    prop_oneof![any, reading]
        .prop_map(|(effect, who, what, condition)| format!("{effect} ({who}, {what}) {condition};"))
}

fn policies() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(policy(), 0..8)
}

fn documents(policies: &[String]) -> Vec<Document> {
    let arguments = [("n", ArgumentType::Integer), ("p", ArgumentType::String)];
    let of = |(at, text): (usize, &[String])| reading(&format!("d{at}"), &arguments, &text.join("\n"));
    policies.chunks(3).enumerate().map(of).collect()
}

fn compile(policies: &[String]) -> Policies {
    common::compile(&documents(policies))
}

fn uid(of: &str, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(of.parse().expect("a type"), EntityId::new(id))
}

/// What Cedar says: allowed, denied, or denied because a forbid failed in evaluation.
fn reference(policies: &[String], who: &str, question: &Asked, arguments: &str) -> &'static str {
    let principal = caller(who);
    let set: PolicySet = policies.join("\n").parse().expect("policies");
    let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
    let texts = |list: Vec<&str>| RestrictedExpression::new_set(list.into_iter().map(text));

    let user = principal.user.as_ref().map(|user| format!("{}/{}", user.source, user.subject));
    let mut parents = HashSet::from([uid("Tenant", principal.tenant.as_str())]);
    parents.extend(principal.agent.iter().map(|agent| uid("Agent", agent)));
    parents.extend(user.iter().map(|user| uid("User", user)));
    parents.extend(principal.groups.iter().map(|group| uid("Group", group)));
    let mut attributes = HashMap::from([
        ("tenant".to_owned(), text(principal.tenant.as_str())),
        ("groups".to_owned(), texts(principal.groups.iter().map(String::as_str).collect())),
        ("scopes".to_owned(), texts(principal.scopes.iter().map(String::as_str).collect())),
        ("delegations".to_owned(), RestrictedExpression::new_long(0)),
    ]);
    attributes.extend(user.iter().map(|user| ("user".to_owned(), text(user))));
    let caller = Entity::new(uid("Caller", "x"), attributes, parents).expect("a caller");

    let asked = question.question(None);
    let resource = asked.resource;
    let mut around = HashSet::new();
    let mut attributes = HashMap::from([
        ("tenant".to_owned(), text(resource.tenant.as_str())),
        ("toolset".to_owned(), text(resource.toolset)),
    ]);
    if let quorate_policy::Item::Tool(named)
    | quorate_policy::Item::Prompt(named)
    | quorate_policy::Item::Resource(named) = resource.item
    {
        around.insert(uid("ToolServer", named.server));
        attributes.insert("name".to_owned(), text(named.name));
        if named.server == "s" && resource.kind() == quorate_policy::Kind::Resource {
            for (id, prefix, stops) in [("s/{name}", "", "/?#"), ("s/a{+rest}", "a", "")] {
                let rest = named.name.strip_prefix(prefix);
                around.extend(rest.filter(|rest| !rest.contains(|c| stops.contains(c))).map(|_| uid("Resource", id)));
            }
            // An entity is in itself anyway.
            around.remove(&uid("Resource", &resource.id()));
        }
    }
    if !matches!(resource.item, quorate_policy::Item::Toolset) {
        around.insert(uid("Toolset", resource.toolset));
    }
    let thing = uid(resource.kind().as_str(), &resource.id());
    let thing_entity = Entity::new(thing.clone(), attributes, around).expect("a resource");
    let action = uid("Action", asked.action.as_str());
    let action_entity = Entity::new_no_attrs(action.clone(), HashSet::from([uid("Action", "mcp")]));
    let entities = Entities::from_entities([caller, thing_entity, action_entity], None).expect("entities");
    let context = format!("{{\"arguments\":{arguments}}}");
    let context = Context::from_json_str(&context, None).expect("a context");
    let request = Request::new(uid("Caller", "x"), action, thing, context, None).expect("a request");

    let response = Authorizer::new().is_authorized(&request, &set, &entities);
    let failed = response.diagnostics().errors().any(|error| {
        let cedar_policy::AuthorizationError::PolicyEvaluationError(error) = error;
        set.policy(error.policy_id()).is_some_and(|policy| policy.effect() == cedar_policy::Effect::Forbid)
    });
    match response.decision() {
        _ if failed => "denied",
        cedar_policy::Decision::Allow => "allowed",
        cedar_policy::Decision::Deny => "denied",
    }
}

fn verdict(policies: &Policies, who: &str, question: &Asked, arguments: &str) -> &'static str {
    let decision = policies.decide(&policies.subject(&caller(who)), &question.question(Some(arguments)));
    if decision.verdict.is_allowed() { "allowed" } else { "denied" }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_index_decides_as_cedar_decides_over_all_policies(
        texts in policies(), who in select(CALLERS), what in select(QUESTIONS), arguments in select(ARGUMENTS)
    ) {
        let question = asked(what);
        let arguments = if what.starts_with("call") { arguments } else { "{}" };
        prop_assert_eq!(
            verdict(&compile(&texts), who, &question, arguments),
            reference(&texts, who, &question, arguments)
        );
    }

    #[test]
    fn a_decision_does_not_depend_on_the_order_of_policies(
        texts in policies(), seed in any::<u64>(), who in select(CALLERS), what in select(QUESTIONS), arguments in select(ARGUMENTS)
    ) {
        let mut turned = texts.clone();
        turned.sort_by_key(|text| { text.bytes().fold(seed, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into())) });
        prop_assert_eq!(
            verdict(&compile(&texts), who, &asked(what), arguments),
            verdict(&compile(&turned), who, &asked(what), arguments)
        );
    }

    #[test]
    fn another_forbid_never_allows_more_and_another_permit_never_less(
        texts in policies(), more in policy(), who in select(CALLERS), what in select(QUESTIONS), arguments in select(ARGUMENTS)
    ) {
        let before = verdict(&compile(&texts), who, &asked(what), arguments);
        let after = verdict(&compile(&[&texts[..], std::slice::from_ref(&more)].concat()), who, &asked(what), arguments);
        if more.starts_with("forbid") {
            prop_assert!(before == "allowed" || after == "denied");
        } else {
            prop_assert!(before == "denied" || after == "allowed");
        }
    }

    #[test]
    fn what_is_allowed_with_some_arguments_may_be_listed(
        texts in policies(), who in select(CALLERS), what in select(&QUESTIONS[..3])
    ) {
        let (policies, question) = (compile(&texts), asked(what));
        let may = policies.may(&policies.subject(&caller(who)), question.question(None).action, question.resource());
        let some = ARGUMENTS.iter().any(|arguments| verdict(&policies, who, &question, arguments) == "allowed");
        prop_assert!(may.is_allowed() || !some);
    }

    #[test]
    fn an_argument_of_another_type_is_allowed_only_what_every_value_of_its_type_is(
        texts in policies(), who in select(CALLERS), what in select(&QUESTIONS[..3]), fault in select(FAULTS)
    ) {
        let (policies, question) = (compile(&texts), asked(what));
        let (faulty, values) = fault;
        if verdict(&policies, who, &question, faulty) == "allowed" {
            for value in values {
                prop_assert_eq!(verdict(&policies, who, &question, value), "allowed", "{} {}", faulty, value);
            }
        }
    }

    #[test]
    fn a_cacheable_decision_holds_for_all_arguments(
        texts in policies(), who in select(CALLERS), what in select(QUESTIONS), others in subsequence(ARGUMENTS, 2)
    ) {
        let (policies, question) = (compile(&texts), asked(what));
        let subject = policies.subject(&caller(who));
        let decisions: Vec<_> =
            others.iter().map(|arguments| policies.decide(&subject, &question.question(Some(arguments)))).collect();
        if decisions[0].cacheable {
            prop_assert_eq!(&decisions[0], &decisions[1]);
        }
    }

    #[test]
    fn an_explanation_agrees_with_the_decision(
        texts in policies(), who in select(CALLERS), what in select(QUESTIONS), arguments in select(ARGUMENTS)
    ) {
        let (policies, question) = (compile(&texts), asked(what));
        let explanation = policies.explain(&policies.subject(&caller(who)), &question.question(Some(arguments)));
        prop_assert_eq!(explanation.considered.len(), texts.len());
        let applies = |forbids| explanation.candidates().any(|policy| {
            policy.forbids == forbids && policy.finding == quorate_policy::Finding::Applies
        });
        let failed = explanation.candidates().any(|policy| {
            policy.forbids && matches!(policy.finding, quorate_policy::Finding::Unevaluable(_))
        });
        prop_assert_eq!(explanation.decision.verdict.is_allowed(), applies(false) && !applies(true) && !failed);
        let decisive = explanation.considered.iter().filter(|policy| policy.decisive).count();
        prop_assert_eq!(decisive, explanation.decision.by.len());
    }

    #[test]
    fn no_tenant_is_ever_crossed(
        texts in policies(), owner in select(vec!["default", "acme", "globex"]),
        of in select(vec!["default", "acme", "globex"]), on in select(vec!["default", "acme", "globex"]),
        who in select(CALLERS), what in select(QUESTIONS), arguments in select(ARGUMENTS)
    ) {
        let documents: Vec<Document> = documents(&texts).into_iter().map(|document| Document { tenant: tenant(owner), ..document }).collect();
        let policies = common::compile(&documents);
        let who = who.replace("default", of);
        let question = asked(&what.replace("default", on));
        let decision = policies.decide(&policies.subject(&caller(&who)), &question.question(Some(arguments)));
        if of != on && on != "default" {
            prop_assert_eq!(decision.verdict.reason(), "other_tenant");
        } else if of != owner && owner != "default" {
            prop_assert_eq!(decision.verdict.reason(), "no_permit");
        }
    }
}
