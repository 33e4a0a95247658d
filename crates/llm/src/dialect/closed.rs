//! Schemas whose objects have no members but those that are named, which providers ask for that hold a model to a schema.
//!
//! OpenAI holds it to one where every object is closed and all of its properties are required; Anthropic where every object is closed.

use std::borrow::Cow;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// How deep schemas are looked at; what is deeper is as it is.
const DEPTH_MAX: usize = 64;

/// Members whose values are schemas by name.
const BY_NAME: [&str; 3] = ["properties", "$defs", "definitions"];

/// Members whose value is a list of schemas.
const LISTS: [&str; 3] = ["anyOf", "allOf", "oneOf"];

/// Whether OpenAI would hold a model to a schema.
pub(super) fn is_strict(schema: &RawValue) -> bool {
    let Ok(mut value) = serde_json::from_str::<Value>(schema.get()) else { return false };
    let mut is_strict = true;
    each_object(&mut value, 0, &mut |object| is_strict &= is_closed(object) && requires_all(object));
    is_strict
}

/// The schema with its objects closed where it does not say whether they are.
pub(super) fn closed(schema: &RawValue) -> Cow<'_, RawValue> {
    let Ok(mut value) = serde_json::from_str::<Value>(schema.get()) else { return Cow::Borrowed(schema) };
    let mut has_changed = false;
    each_object(&mut value, 0, &mut |object| {
        if !object.contains_key("additionalProperties") {
            object.insert("additionalProperties".to_owned(), Value::Bool(false));
            has_changed = true;
        }
    });
    if !has_changed {
        return Cow::Borrowed(schema);
    }
    Cow::Owned(serde_json::value::to_raw_value(&value).expect("it was JSON"))
}

fn is_closed(object: &Map<String, Value>) -> bool {
    object.get("additionalProperties") == Some(&Value::Bool(false))
}

fn requires_all(object: &Map<String, Value>) -> bool {
    let required = object.get("required").and_then(Value::as_array);
    let is_required = |name: &String| required.is_some_and(|names| names.iter().any(|known| known == name.as_str()));
    let properties = object.get("properties").and_then(Value::as_object);
    properties.is_none_or(|properties| properties.keys().all(is_required))
}

/// Visits every schema of an object.
fn each_object(schema: &mut Value, depth: usize, visit: &mut impl FnMut(&mut Map<String, Value>)) {
    let Value::Object(members) = schema else { return };
    if depth > DEPTH_MAX {
        return;
    }
    let is_object = |kind: &Value| kind == "object";
    let is_typed = match members.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().any(is_object),
        Some(kind) => is_object(kind),
        None => members.contains_key("properties"),
    };
    if is_typed {
        visit(members);
    }
    for name in BY_NAME {
        if let Some(Value::Object(schemas)) = members.get_mut(name) {
            schemas.values_mut().for_each(|schema| each_object(schema, depth + 1, visit));
        }
    }
    for name in LISTS {
        if let Some(Value::Array(schemas)) = members.get_mut(name) {
            schemas.iter_mut().for_each(|schema| each_object(schema, depth + 1, visit));
        }
    }
    if let Some(items) = members.get_mut("items") {
        each_object(items, depth + 1, visit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        serde_json::from_str(text).expect("it is JSON")
    }

    #[test]
    fn a_schema_is_strict_where_every_object_is_closed_and_asks_for_all() {
        let strict =
            r#"{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}"#;
        let list = |item: &str| format!(r#"{{"type":"array","items":{item}}}"#);

        assert!(is_strict(&raw(strict)) && is_strict(&raw(&list(strict))) && is_strict(&raw(r#"{"type":"string"}"#)));
        for lax in [r#"{"type":"object"}"#, &strict.replace("[\"a\"]", "[]"), &strict.replace("false", "true")] {
            assert!(!is_strict(&raw(lax)) && !is_strict(&raw(&list(lax))), "{lax}");
        }
    }

    #[test]
    fn what_does_not_say_whether_it_is_closed_is() {
        let open =
            raw(r#"{"properties":{"a":{"anyOf":[{"type":["object","null"]},{"type":"string"}]}},"maxProperties":2}"#);

        let expected = r#"{"properties":{"a":{"anyOf":[{"type":["object","null"],"additionalProperties":false},{"type":"string"}]}},"maxProperties":2,"additionalProperties":false}"#;
        assert_eq!(closed(&open).get(), expected);
        let said = raw(r#"{ "type": "object", "additionalProperties": true }"#);
        assert_eq!(closed(&said).get(), said.get());
    }
}
