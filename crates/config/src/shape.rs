//! Whether a document has the shape of its schema.
//!
//! A tree and the schema of its kind go in; every unknown key, missing key, wrong type, unknown
//! choice and list out of bounds is reported at once, and what is left comes out as JSON that
//! serde reads without an error. Whatever was reported is left out of it (in a list, null), so
//! that the later checks can still look at everything else. Ranges and the meaning of values are theirs, not ours.
//!
//! It understands the keywords that [`mod@crate::schema`] makes, no more: `type`, `const`, `oneOf` of
//! constants, `anyOf` of different types, `properties`, `required`, `additionalProperties`,
//! `maxProperties`, `items`, `minItems`, `maxItems`, `uniqueItems`, `x-any`, `x-unit`, `x-secret`.

use std::collections::HashMap;

use serde_json::{Map, Value as Json};

use crate::error::{Reason, shown};
use crate::node::{Node, Path, Value};
use crate::report::Report;
use crate::suggest::nearest;

/// What an error shows instead of a secret.
const HIDDEN: &str = "(hidden)";

/// Checks `node` against `schema`; `None` when nothing of it is usable.
pub(crate) fn check(node: &Node, schema: &Json, at: &Path, report: &mut Report<'_>) -> Option<Json> {
    Checker { secret: schema["x-secret"] == true }.value(node, schema, at, report)
}

#[derive(Clone, Copy)]
struct Checker {
    /// Whether values here must not be shown.
    secret: bool,
}

// === impl Checker ===

impl Checker {
    fn value(self, node: &Node, schema: &Json, at: &Path, report: &mut Report<'_>) -> Option<Json> {
        let checker = Self { secret: self.secret || schema["x-secret"] == true };
        if let Some(choices) = choices(schema) {
            return checker.choice(node, &choices, at, report);
        }
        if schema["x-any"] == true {
            return Some(as_it_is(node));
        }
        if let Some(options) = schema["anyOf"].as_array() {
            let option = options.iter().find(|option| option["type"] == type_of(node));
            let Some(option) = option else {
                report.push(at, checker.wrong_types(options, node));
                return None;
            };
            return checker.value(node, option, at, report);
        }
        match (schema["type"].as_str(), &node.value) {
            (Some("object"), Value::Object(members)) => Some(checker.object(members, schema, at, report)),
            (Some("array"), Value::List(items)) => Some(checker.list(items, schema, at, report)),
            (Some("string"), Value::Text(text)) => Some(Json::String(text.clone())),
            (Some("boolean"), Value::Bool(value)) => Some(Json::Bool(*value)),
            (Some("integer"), Value::Number(number)) if !number.is_f64() => Some(Json::Number(number.clone())),
            (Some("number"), Value::Number(number)) => Some(Json::Number(number.clone())),
            (expected, _) => {
                report.push(at, checker.wrong_type(expected, node, schema));
                None
            }
        }
    }

    fn object(self, members: &[(String, Node)], schema: &Json, at: &Path, report: &mut Report<'_>) -> Json {
        let mut object = Map::new();
        let properties = &schema["properties"];
        let others = &schema["additionalProperties"];
        if let Some(max) = schema["maxProperties"].as_u64().filter(|max| members.len() as u64 > *max) {
            report.push(at, too_much("the object", members.len(), max));
            return Json::Object(object);
        }
        for (key, node) in members {
            let known = properties.get(key).or_else(|| others.is_object().then_some(others));
            match known {
                Some(schema) => {
                    let value = self.value(node, schema, &at.key(key), report);
                    object.extend(value.map(|value| (key.clone(), value)));
                }
                None => report.push(&at.key(key), unknown_key(key, properties)),
            }
        }
        for key in schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str) {
            if !members.iter().any(|(given, _)| given == key) {
                let description = properties[key]["description"].as_str().unwrap_or_default().to_owned();
                report.push(&at.key(key), Reason::Missing { description });
            }
        }
        Json::Object(object)
    }

    fn list(self, items: &[Node], schema: &Json, at: &Path, report: &mut Report<'_>) -> Json {
        if let Some(max) = schema["maxItems"].as_u64().filter(|max| items.len() as u64 > *max) {
            report.push(at, too_much("the list", items.len(), max));
            return Json::Array(Vec::new());
        }
        if schema["minItems"].as_u64().is_some_and(|min| (items.len() as u64) < min) {
            let message = "the list must not be empty".to_owned();
            report.push(at, Reason::Invalid { value: "[]".to_owned(), message });
        }
        let unique = schema["uniqueItems"] == true;
        // Long lists are of texts; comparing each with each would take seconds.
        let mut texts: HashMap<&str, usize> = HashMap::new();
        let mut list: Vec<Json> = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let at_item = at.index(index);
            let value = self.value(item, &schema["items"], &at_item, report);
            let first = match &item.value {
                _ if !unique => None,
                Value::Text(text) => Some(*texts.entry(text).or_insert(index)).filter(|first| *first != index),
                value => items[..index].iter().position(|before| before.value == *value),
            };
            if let Some(first) = first.filter(|_| value.is_some()) {
                let first = at.index(first).to_string();
                report.push(&at_item, Reason::Repeated { value: self.shown(item), first });
            }
            // What was reported leaves a null, so that the items after it keep their index.
            list.push(value.filter(|_| first.is_none()).unwrap_or(Json::Null));
        }
        Json::Array(list)
    }

    fn choice(self, node: &Node, choices: &[&str], at: &Path, report: &mut Report<'_>) -> Option<Json> {
        let given = node.as_text();
        if let Some(choice) = given.filter(|text| choices.contains(text)) {
            return Some(Json::String(choice.to_owned()));
        }
        let suggestion = given.and_then(|text| nearest(text, choices.iter().copied())).map(str::to_owned);
        let allowed = choices.iter().map(|choice| (*choice).to_owned()).collect();
        report.push(at, Reason::NotAChoice { value: self.shown(node), suggestion, allowed });
        None
    }

    fn wrong_type(self, expected: Option<&str>, node: &Node, schema: &Json) -> Reason {
        let unit = schema["x-unit"].as_str();
        let hint = match (expected, &node.value) {
            (_, Value::Null) => ": give a value or remove the key",
            (Some("string"), Value::Number(_)) if unit == Some("time") => ": write the unit, such as 30s",
            (Some("string"), Value::Number(_)) if unit == Some("bytes") => ": write the unit, such as 4MiB",
            (Some("string"), Value::Number(_) | Value::Bool(_)) => ": put it in quotes",
            (Some("array"), Value::Text(_)) => ": put it in brackets, such as [value]",
            (Some("integer" | "number" | "boolean"), Value::Text(_)) => ": write it without quotes",
            _ => "",
        };
        Reason::WrongType { expected: expected.map_or("a text", named), found: self.shown(node), hint }
    }

    fn wrong_types(self, options: &[Json], node: &Node) -> Reason {
        let expected = match options {
            [one, other] if one["type"] == "string" && other["type"] == "object" => "a text or an object",
            _ => "another type",
        };
        Reason::WrongType { expected, found: self.shown(node), hint: "" }
    }

    fn shown(self, node: &Node) -> String {
        match &node.value {
            Value::Null => "nothing".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Object(_) => "an object".to_owned(),
            Value::Bool(_) | Value::Number(_) | Value::Text(_) if self.secret => HIDDEN.to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Number(number) => number.to_string(),
            Value::Text(text) => shown(text),
        }
    }
}

fn named(expected: &str) -> &'static str {
    match expected {
        "object" => "an object",
        "array" => "a list",
        "boolean" => "true or false",
        "integer" => "a whole number",
        "number" => "a number",
        _ => "a text",
    }
}

/// The JSON type of a node, as schemas name it.
fn type_of(node: &Node) -> &'static str {
    match &node.value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::Text(_) => "string",
        Value::List(_) => "array",
        Value::Object(_) => "object",
    }
}

/// A value of any type, which has no shape to be held against.
pub(crate) fn as_it_is(node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Number(number) => Json::Number(number.clone()),
        Value::Text(text) => Json::String(text.clone()),
        Value::List(items) => Json::Array(items.iter().map(as_it_is).collect()),
        Value::Object(members) => {
            Json::Object(members.iter().map(|(key, node)| (key.clone(), as_it_is(node))).collect())
        }
    }
}

/// Returns the choices of a schema that is a list of constants.
fn choices(schema: &Json) -> Option<Vec<&str>> {
    if let Some(only) = schema["const"].as_str() {
        return Some(vec![only]);
    }
    schema["oneOf"].as_array()?.iter().map(|one| one["const"].as_str()).collect()
}

fn unknown_key(key: &str, properties: &Json) -> Reason {
    let allowed: Vec<String> = properties.as_object().into_iter().flat_map(Map::keys).cloned().collect();
    let suggestion = nearest(key, allowed.iter().map(String::as_str)).map(str::to_owned);
    Reason::UnknownKey { key: key.to_owned(), suggestion, allowed }
}

fn too_much(what: &'static str, found: usize, max: u64) -> Reason {
    Reason::TooMuch { what, found: format!("{found} entries"), max: max.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Place;
    use crate::node::{self, Format};
    use crate::resource::Kind;
    use crate::schema;

    fn problems_of(kind: Kind, text: &str) -> (Vec<String>, Option<Json>) {
        let node = node::parse(text, Format::Yaml).remove(0).expect("the test's text is YAML");
        let mut problems = Vec::new();
        let mut report = Report::new(Place::default(), &node, &mut problems);
        let rest = check(&node, schema::of_kind(kind), &Path::default(), &mut report);
        (problems.iter().map(|problem| format!("{}: {}", problem.path, problem.reason)).collect(), rest)
    }

    #[test]
    fn every_problem_of_a_document_is_found_at_once() {
        let text = "
kind: ToolServer
nmae: files
spec:
  urls: http://127.0.0.1:1/mcp
  era: modrn
  limits: { total: 30, concurrency: '5', answr: 1MiB }
  health:
";
        let (problems, _) = problems_of(Kind::ToolServer, text);
        assert_eq!(
            problems,
            [
                "nmae: unknown key \"nmae\" (did you mean \"name\"?); allowed here: kind, name, tenant, spec",
                "spec.urls: expected a list, found \"http://127.0.0.1:1/mcp\": put it in brackets, such as [value]",
                "spec.era: \"modrn\" is not a choice (did you mean \"modern\"?); allowed: auto, legacy, modern",
                "spec.limits.total: expected a text, found 30: write the unit, such as 30s",
                "spec.limits.concurrency: expected a whole number, found \"5\": write it without quotes",
                "spec.limits.answr: unknown key \"answr\" (did you mean \"answer\"?); allowed here: connections, answer, \
                 event, connect, firstByte, total, concurrency, items",
                "spec.health: expected an object, found nothing: give a value or remove the key",
                "name: is missing: The name, unique among resources of kind ToolServer: lower-case letters, digits, \
                 `-` and `_`, at most 63.",
            ]
        );
    }

    #[test]
    fn what_is_reported_is_left_out_and_the_rest_stays() {
        let text = "{kind: ToolServer, name: a, x: 1, spec: {urls: [one, 2, one], era: 5}}";
        let (problems, rest) = problems_of(Kind::ToolServer, text);
        assert_eq!(problems.len(), 4, "{problems:#?}");
        let expected = serde_json::json!({"kind": "ToolServer", "name": "a", "spec": {"urls": ["one", null, null]}});
        assert_eq!(rest, Some(expected));
    }

    #[test]
    fn secrets_are_hidden_even_when_they_are_wrong() {
        let text = "{kind: ToolServer, name: a, spec: {urls: [u], headers: {x-key: [s3cret], y-key: 12345, z: true}}}";
        let (problems, _) = problems_of(Kind::ToolServer, text);
        assert_eq!(
            problems,
            [
                "spec.headers[\"x-key\"]: expected a text, found a list",
                "spec.headers[\"y-key\"]: expected a text, found (hidden): put it in quotes",
                "spec.headers.z: expected a text, found (hidden): put it in quotes",
            ]
        );
    }

    #[test]
    fn lists_and_maps_have_bounds() {
        let many = vec!["x"; 300].join(", ");
        let (problems, _) =
            problems_of(Kind::Toolset, &format!("{{kind: Toolset, name: a, spec: {{servers: [{many}]}}}}"));
        assert_eq!(problems, ["spec.servers: the list has 300 entries, the most allowed is 256"]);
        let (problems, _) = problems_of(Kind::Toolset, "{kind: Toolset, name: a, spec: {servers: []}}");
        assert_eq!(problems, ["spec.servers: [] is not valid: the list must not be empty"]);
        let (problems, _) = problems_of(Kind::Toolset, "{kind: Toolset, name: a, spec: {servers: [a, b, a]}}");
        assert_eq!(problems, ["spec.servers[2]: \"a\" is already at spec.servers[0]"]);
    }

    #[test]
    fn a_document_that_is_no_object_is_one_problem() {
        let (problems, rest) = problems_of(Kind::Toolset, "just words");
        assert_eq!(problems, [": expected an object, found \"just words\""]);
        assert_eq!(rest, None);
    }
}
