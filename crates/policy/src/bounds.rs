//! What a condition comes to when the arguments are not known: the least and the most that it may be.
//!
//! What is said of arguments here holds for what a model is asked, too. A list shows a tool before anybody calls it, and an argument that is not of its declared type has no value. In both
//! cases a condition is replaced by two that read no arguments: *most* is true whenever the condition is true for some
//! arguments, *least* is true only when it is true for all of them. Each comparison that reads arguments becomes `true`
//! or `false` where it stands, seen through `&&`, `||`, `!` and `if`; everything else stays and is evaluated by Cedar.
//! (Two comparisons of the same argument are taken as if they were of two, so *most* may be true where nothing fits.)
//!
//! Works on the JSON form of policies (<https://docs.cedarpolicy.com/policies/json-format.html>), in which policies are
//! as deep as `scan` lets them be.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::arguments::Reads;

/// The attributes of the context that have arguments, or what a model is asked.
const KNOWN: [&str; 2] = ["arguments", "request"];

/// A policy that reads arguments, without them.
#[derive(Debug)]
pub(crate) struct Bounds {
    /// What it reads.
    pub(crate) reads: Reads,
    /// The policy whose condition holds if that of the original might.
    pub(crate) most: Value,
    /// The policy whose condition holds if that of the original must.
    pub(crate) least: Value,
}

/// Returns the bounds of a policy in JSON form; `None` when it reads no arguments.
pub(crate) fn bounds(policy: &Value) -> Option<Bounds> {
    let conditions = policy.get("conditions").and_then(Value::as_array)?;
    let mut names = BTreeSet::new();
    let known = conditions.iter().all(|condition| condition.get("body").is_none_or(|body| read(body, &mut names)));
    if known && names.is_empty() {
        return None;
    }
    let reads = if known { Reads::Names(names) } else { Reads::All };
    let bound = |most: bool| {
        let mut bounded = policy.clone();
        for condition in bounded.get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten() {
            // `unless` is the opposite: the policy holds most where its condition holds least.
            let unless = condition.get("kind").and_then(Value::as_str) == Some("unless");
            if let Some(body) = condition.get_mut("body") {
                *body = bound(body, most != unless);
            }
        }
        bounded
    };
    Some(Bounds { reads, most: bound(true), least: bound(false) })
}

fn bound(expression: &Value, most: bool) -> Value {
    if !reads(expression) {
        return expression.clone();
    }
    let Some((operator, operands)) = operation(expression) else { return json!({ "Value": most }) };
    let operand =
        |name: &str, most: bool| operands.get(name).map_or_else(|| json!({ "Value": most }), |of| bound(of, most));
    match operator {
        "!" => json!({ "!": { "arg": operand("arg", !most) } }),
        "&&" | "||" => json!({ operator: { "left": operand("left", most), "right": operand("right", most) } }),
        "if-then-else" => match operands.get("if") {
            Some(test) if !reads(test) => {
                json!({ "if-then-else": { "if": test, "then": operand("then", most), "else": operand("else", most) } })
            }
            // Either branch may be taken.
            _ => {
                let either = if most { "||" } else { "&&" };
                json!({ either: { "left": operand("then", most), "right": operand("else", most) } })
            }
        },
        _ => json!({ "Value": most }),
    }
}

fn reads(expression: &Value) -> bool {
    let mut names = BTreeSet::new();
    !read(expression, &mut names) || !names.is_empty()
}

/// Adds the arguments that `expression` reads to `names`; false when it reads the context in another way.
fn read(expression: &Value, names: &mut BTreeSet<String>) -> bool {
    let Some((operator, operands)) = operation(expression) else { return false };
    match (operator, operands) {
        // What a literal holds is no expression.
        ("Value" | "Slot", _) => true,
        ("Var", variable) => variable != "context",
        // Its keys are names, whatever they look like.
        ("Record", Value::Object(values)) => values.values().all(|value| read(value, names)),
        ("." | "has", Value::Object(member)) if member.get("left").is_some_and(is_arguments) => {
            let Some(name) = member.get("attr").and_then(Value::as_str) else { return false };
            names.insert(name.to_owned());
            true
        }
        // True of every call, and reads nothing of it.
        ("has", Value::Object(member)) if member.get("left").is_some_and(is_context) => {
            member.get("attr").and_then(Value::as_str).is_some_and(|name| KNOWN.contains(&name))
        }
        (_, Value::Object(named)) => named.values().filter(|value| value.is_object()).all(|value| read(value, names)),
        (_, Value::Array(list)) => list.iter().all(|value| read(value, names)),
        _ => false,
    }
}

fn operation(expression: &Value) -> Option<(&str, &Value)> {
    let object = expression.as_object().filter(|object| object.len() == 1)?;
    object.iter().next().map(|(operator, operands)| (operator.as_str(), operands))
}

fn is_context(expression: &Value) -> bool {
    operation(expression).is_some_and(|(operator, variable)| operator == "Var" && variable == "context")
}

fn is_arguments(expression: &Value) -> bool {
    operation(expression).is_some_and(|(operator, operands)| {
        let of_context = operands.get("left").is_some_and(is_context);
        let name = operands.get("attr").and_then(Value::as_str);
        operator == "." && of_context && name.is_some_and(|name| KNOWN.contains(&name))
    })
}

#[cfg(test)]
mod tests {
    use cedar_policy::Policy;

    use super::*;

    fn of(condition: &str) -> Option<(String, String, Reads)> {
        let policy =
            Policy::parse(None, format!("permit(principal, action, resource) {condition};")).expect("a policy");
        let bounds = bounds(&policy.to_json().expect("has a JSON form"))?;
        let shown = |bounded: Value| {
            let policy = Policy::from_json(None, bounded).expect("is still a policy").to_string();
            let conditions =
                policy.split_once(')').expect("has a scope").1.split_whitespace().collect::<Vec<_>>().join(" ");
            conditions.trim_end_matches(';').trim().to_owned()
        };
        Some((shown(bounds.most), shown(bounds.least), bounds.reads))
    }

    #[test]
    fn what_reads_no_arguments_has_no_bounds() {
        let conditions = [
            "",
            "when { principal.groups.contains(\"context\") }",
            "when { principal has user && principal.user == \"arguments\" }",
            "when { context has arguments }",
            "when { {context: 1, Var: \"context\"}.context == 1 && {Value: [\"context\"]}.Value.contains(\"x\") }",
            "when { [\"a\", \"b\"].contains(resource.name) && decimal(\"1.0\").lessThan(decimal(\"2.0\")) }",
            "when { principal is Caller in Group::\"x\" && principal.tenant like \"*context*\" }",
        ];
        for condition in conditions {
            assert_eq!(of(condition), None, "{condition}");
        }
    }

    #[test]
    fn comparisons_become_what_they_may_be() {
        let cases = [
            ("when { context.arguments has a && context.arguments.a == 1 }", "true && true", "false && false", "a"),
            (
                "when { resource.name == \"x\" || !(context.arguments[\"a\"] like \"y*\") }",
                "resource[\"name\"] == \"x\" || !false",
                "resource[\"name\"] == \"x\" || !true",
                "a",
            ),
            (
                "when { if principal has user then context.arguments.b else true }",
                "if (principal has user) then true else true",
                "if (principal has user) then false else true",
                "b",
            ),
            (
                "when { if context.arguments has a then principal has user else false }",
                "(principal has user) || false",
                "(principal has user) && false",
                "a",
            ),
        ];
        for (condition, most, least, reads) in cases {
            let (found_most, found_least, found) = of(condition).expect("reads arguments");
            let plain = |text: &str| text.replace(['(', ')', '"', '[', ']', '.'], "");
            assert!(plain(&found_most).contains(&plain(most)), "{condition}: {found_most}");
            assert!(plain(&found_least).contains(&plain(least)), "{condition}: {found_least}");
            assert_eq!(found, Reads::Names(BTreeSet::from([reads.to_owned()])));
        }
    }

    #[test]
    fn unless_turns_the_bounds_around() {
        let (most, least, _) =
            of("unless { context.arguments.a } when { principal has user }").expect("reads arguments");
        assert!(most.contains("false") && !most.contains("true"), "{most}");
        assert!(least.contains("true") && !least.contains("false"), "{least}");
    }

    #[test]
    fn a_policy_that_looks_at_the_context_as_a_whole_reads_everything() {
        for condition in
            ["context.arguments == {a: 1}", "(if true then context else context).arguments.a", "context == {}"]
        {
            let (_, _, reads) = of(&format!("when {{ {condition} }}")).expect("reads arguments");
            assert_eq!(reads, Reads::All, "{condition}");
        }
    }

    #[test]
    fn what_stands_in_a_record_or_a_set_is_read() {
        for condition in [
            "{Value: context.arguments.a}.Value == 1",
            "{Var: context.arguments.a}.Var == 1",
            "[[context.arguments.a]] == [[1]]",
            "decimal(\"1.0\").lessThan(context.arguments.a)",
            "principal.groups.containsAny([context.arguments.a])",
            "context has arguments.a",
            "context.arguments has a",
            "-(context.arguments.a + 1) * 2 <= 3",
        ] {
            let found = of(&format!("when {{ {condition} }}"));
            assert!(found.is_some_and(|(_, _, reads)| reads != Reads::Names(BTreeSet::new())), "{condition}");
        }
    }
}
