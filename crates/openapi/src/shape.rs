//! Whether a result fits the output schema that was promised, and what to do when it does not.
//!
//! MCP has servers keep to their output schemas, and clients refuse results that do not; APIs break their documents
//! often. A value that does not fit is replaced by null, which every schema below the root allows, and its place is
//! told. The text of the result always has the whole answer. Only the keywords that output schemas have are known here
//! (see `schema::Direction::Output`).

mod outline;

use std::cell::Cell;
use std::collections::HashSet;

use serde_json::{Map, Value};

use self::outline::Outline;
use crate::kind::Kind;

/// The most places that are told.
const PLACES_MAX: usize = 8;
/// The deepest nesting of references and compositions about one value.
const HOPS_MAX: usize = 32;

/// The most comparisons of a value with a schema for one result: some tenths of a second. Alternatives within
/// alternatives could take for ever; what is not compared by then does not fit.
const STEPS_MAX: usize = 2_000_000;

/// An output schema, ready to check results.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    root: Value,
    outline: Outline,
}

/// One check of one result.
struct Check<'s> {
    root: &'s Value,
    steps_left: Cell<usize>,
}

// === impl Shape ===

impl Shape {
    /// Makes a shape of an output schema as this crate writes it.
    pub(crate) fn of(schema: Value) -> Self {
        Self { outline: Outline::of(&schema), root: schema }
    }

    /// Tells whether a JSON text of at most `levels_max` levels fits as it is, under `wrapper` where it is to stand
    /// there. Most do, and need not be read into a value; what does not may still be found to fit by [`Self::fit`].
    pub(crate) fn fits(&self, json: &str, wrapper: Option<&str>, levels_max: usize) -> bool {
        self.outline.fits(json, wrapper, levels_max)
    }

    /// Makes a value fit; returns the JSON pointers of what was replaced.
    pub(crate) fn fit(&self, value: &mut Value) -> Vec<String> {
        let mut places = Vec::new();
        self.check().fit_at(value, &self.root, &mut String::new(), &mut places);
        if !value.is_object() {
            // The root itself must be an object; nothing is required of it.
            *value = Value::Object(Map::new());
        }
        places
    }

    fn check(&self) -> Check<'_> {
        Check { root: &self.root, steps_left: Cell::new(STEPS_MAX) }
    }
}

// === impl Check ===

impl<'s> Check<'s> {
    /// Replaces what does not fit below `value`.
    fn fit_at(&self, value: &mut Value, schema: &'s Value, place: &mut String, places: &mut Vec<String>) {
        if self.fits(value, schema, 0) {
            return;
        }
        let length = place.len();
        let Some(parts) = self.parts(schema, kind_of(value)) else {
            replace(value, place, places);
            return;
        };
        match value {
            Value::Object(members) => {
                for (name, member) in members.iter_mut() {
                    place.push('/');
                    place.push_str(&name.replace('~', "~0").replace('/', "~1"));
                    for schema in parts.iter().take_while(|_| self.step()).filter_map(|part| below(part, name)) {
                        self.fit_at(member, schema, place, places);
                    }
                    place.truncate(length);
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    place.push_str(&format!("/{index}"));
                    for schema in parts.iter().take_while(|_| self.step()).filter_map(|part| part.get("items")) {
                        self.fit_at(item, schema, place, places);
                    }
                    place.truncate(length);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
        // What could not be mended member by member is replaced as a whole.
        if !self.fits(value, schema, 0) {
            replace(value, place, places);
        }
    }

    /// Lists the schemas without alternatives that hold for a value of a kind, each once; `None` when none can.
    fn parts(&self, schema: &'s Value, kind: Kind) -> Option<Vec<&'s Value>> {
        let mut parts = Vec::new();
        let mut seen = HashSet::new();
        let found = self.collect(schema, kind, 0, &mut parts);
        found.then(|| parts.into_iter().filter(|part| seen.insert(std::ptr::from_ref(*part))).collect())
    }

    /// Adds the schemas that hold for a value of a kind; false when none can, or no step is left to tell.
    fn collect(&self, schema: &'s Value, kind: Kind, hops: usize, parts: &mut Vec<&'s Value>) -> bool {
        if !self.step() || hops > HOPS_MAX || !allows(schema, kind) {
            return false;
        }
        parts.push(schema);
        if self.target(schema).is_some_and(|target| !self.collect(target, kind, hops + 1, parts)) {
            return false;
        }
        let branches = |key: &str| schema[key].as_array().map(Vec::as_slice);
        if branches("allOf").is_some_and(|all| !all.iter().all(|one| self.collect(one, kind, hops + 1, parts))) {
            return false;
        }
        let Some(any) = branches("anyOf") else { return true };
        let before = parts.len();
        // The first that is of the kind: which of several was meant cannot be known.
        any.iter().any(|branch| {
            parts.truncate(before);
            self.collect(branch, kind, hops + 1, parts)
        })
    }

    /// Takes one of the steps that are left; false when there is none.
    fn step(&self) -> bool {
        let left = self.steps_left.get();
        self.steps_left.set(left.saturating_sub(1));
        left > 0
    }

    fn fits(&self, value: &Value, schema: &'s Value, hops: usize) -> bool {
        if !self.step() || hops > HOPS_MAX || !allows(schema, kind_of(value)) {
            return false;
        }
        if self.target(schema).is_some_and(|target| !self.fits(value, target, hops + 1)) {
            return false;
        }
        let branches = |key: &str| schema[key].as_array().map(Vec::as_slice);
        if branches("allOf").is_some_and(|all| !all.iter().all(|branch| self.fits(value, branch, hops + 1))) {
            return false;
        }
        if branches("anyOf").is_some_and(|any| !any.iter().any(|branch| self.fits(value, branch, hops + 1))) {
            return false;
        }
        match value {
            Value::Object(members) if describes_members(schema) => {
                members.iter().all(|(name, member)| match below(schema, name) {
                    Some(schema) => self.fits(member, schema, 0),
                    None => self.step(),
                })
            }
            Value::Array(items) => {
                schema.get("items").is_none_or(|schema| items.iter().all(|item| self.fits(item, schema, 0)))
            }
            Value::Object(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
        }
    }

    fn target(&self, schema: &Value) -> Option<&'s Value> {
        let reference = schema.get("$ref")?.as_str()?;
        self.root.pointer(reference.strip_prefix('#')?)
    }
}

fn replace(value: &mut Value, place: &str, places: &mut Vec<String>) {
    *value = Value::Null;
    if places.len() < PLACES_MAX {
        places.push(place.to_owned());
    }
}

/// Tells whether a schema says anything about the members of an object.
fn describes_members(schema: &Value) -> bool {
    schema.get("properties").is_some() || schema.get("additionalProperties").is_some_and(Value::is_object)
}

/// The schema of a member of an object.
fn below<'s>(schema: &'s Value, name: &str) -> Option<&'s Value> {
    let named = schema.get("properties").and_then(|properties| properties.get(name));
    named.or_else(|| schema.get("additionalProperties").filter(|schema| schema.is_object()))
}

/// Tells whether the types of a schema include a kind.
fn allows(schema: &Value, kind: Kind) -> bool {
    let is = |name: &Value| name == kind.as_str() || (name == "number" && kind == Kind::Integer);
    match schema.get("type") {
        None => true,
        Some(Value::Array(several)) => several.iter().any(is),
        Some(one) => is(one),
    }
}

fn kind_of(value: &Value) -> Kind {
    match value {
        Value::Null => Kind::Null,
        Value::Bool(_) => Kind::Boolean,
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() != 0.0 => Kind::Number,
            _ => Kind::Integer,
        },
        Value::String(_) => Kind::String,
        Value::Array(_) => Kind::Array,
        Value::Object(_) => Kind::Object,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn shape() -> Shape {
        Shape::of(json!({
            "type": "object",
            "properties": {
                "id": {"type": ["integer", "null"]},
                "name": {"type": ["string", "null"]},
                "tags": {"type": ["array", "null"], "items": {"type": ["string", "null"]}},
                "next": {"$ref": "#/$defs/Node"},
                "any": {"anyOf": [{"type": ["integer", "null"]}, {"$ref": "#/$defs/Node"}]},
                "all": {"allOf": [{"$ref": "#/$defs/Node"}, {"properties": {"x": {"type": ["boolean", "null"]}}}]},
            },
            "$defs": {"Node": {
                "type": ["object", "null"],
                "properties": {"next": {"$ref": "#/$defs/Node"}, "n": {"type": ["number", "null"]}},
                "additionalProperties": {"type": ["string", "null"]},
            }},
        }))
    }

    fn check(value: Value, expected: Value, places: &[&str]) {
        let mut found = value.clone();
        assert_eq!(shape().fit(&mut found), places, "{value}");
        assert_eq!(found, expected, "{value}");
        assert_eq!(shape().fit(&mut found), [""; 0], "fitting twice changes nothing");
    }

    #[test]
    fn what_fits_is_left_alone_and_what_does_not_is_replaced_by_null() {
        let fits = json!({"id": 1, "name": null, "more": {"x": 1}, "next": {"next": {"n": 1.5}, "s": "t"}, "any": 7});
        check(fits.clone(), fits, &[]);
        check(json!({"id": "1", "name": "a"}), json!({"id": null, "name": "a"}), &["/id"]);
        check(json!({"tags": ["a", 1, "b"]}), json!({"tags": ["a", null, "b"]}), &["/tags/1"]);
        check(json!({"tags": {"a": 1}}), json!({"tags": null}), &["/tags"]);
        check(
            json!({"next": {"next": {"n": "x", "s": 1}}}),
            json!({"next": {"next": {"n": null, "s": null}}}),
            &["/next/next/n", "/next/next/s"],
        );
        check(json!({"any": {"n": "x"}}), json!({"any": {"n": null}}), &["/any/n"]);
        check(json!({"any": "x"}), json!({"any": null}), &["/any"]);
        check(json!({"all": {"x": 1, "n": "y"}}), json!({"all": {"x": null, "n": null}}), &["/all/x", "/all/n"]);
        check(json!({"a/b~c": 1, "id": 2.0}), json!({"a/b~c": 1, "id": 2.0}), &[]);
    }

    #[test]
    fn a_glance_sees_members_wrappers_nesting_and_what_is_no_json() {
        let fits = |json: &str| shape().fits(json, None, 3);
        assert!(fits(r#"{"id":1,"next":{"next":{"n":1.5}},"all":{"x":null,"n":2,"s":"t"},"tags":["a",null]}"#));
        for json in [
            r#"{"id":"1"}"#,
            r#"{"id":1.5}"#,
            r#"{"next":{"next":{"s":1}}}"#,
            r#"{"all":{"x":1}}"#,
            r#"{"a":{"b":{"c":{}}}}"#,
            r#"{"any":7}"#,
            r#"{"id":1} x"#,
            r#"{"id":1,}"#,
            "[1]",
            "",
        ] {
            assert!(!fits(json), "{json}");
        }
        assert!(shape().fits(r#"["a"]"#, Some("tags"), 3) && !shape().fits("[1]", Some("tags"), 3));
    }

    #[test]
    fn a_root_that_is_no_object_becomes_an_empty_one() {
        check(json!([1]), json!({}), &[""]);
    }

    #[test]
    fn alternatives_within_alternatives_end_in_time() {
        let nested = json!({"type": ["array", "null"], "items": {"$ref": "#/$defs/T"}});
        let other = json!({"type": ["array", "null"], "items": {"$ref": "#/$defs/T"}, "description": "the same again"});
        let shape = Shape::of(json!({
            "type": "object",
            "properties": {"t": {"$ref": "#/$defs/T"}},
            "$defs": {"T": {"anyOf": [nested, other]}},
        }));
        let deep = (0..100).fold(json!("x"), |inner, _| json!([inner]));
        let mut value = json!({"t": deep});

        assert!(!shape.fit(&mut value).is_empty());

        assert!(value.is_object());
    }

    #[test]
    fn compositions_that_multiply_end_in_time() {
        // Each is four of the next, so that the last is looked at 4^14 times.
        let mut definitions: Map<String, Value> = (1..15)
            .map(|index| {
                (format!("A{index}"), json!({"allOf": vec![json!({"$ref": format!("#/$defs/A{}", index + 1)}); 4]}))
            })
            .collect();
        definitions.insert("A15".to_owned(), json!({"type": ["object", "null"]}));
        let shape = Shape::of(json!({
            "type": "object",
            "properties": {"a": {"$ref": "#/$defs/A1"}, "n": {"type": ["integer", "null"]}},
            "$defs": definitions,
        }));
        let members: Map<String, Value> = (0..10_000).map(|index| (format!("m{index}"), json!(index))).collect();
        let mut value = json!({"a": members, "n": "x"});

        let places = shape.fit(&mut value);

        assert!(!places.is_empty());
        assert_eq!(value["a"], Value::Null, "what is not compared in time does not fit");
    }

    #[test]
    fn a_schema_that_is_met_twice_mends_a_value_once() {
        let same = json!({"$ref": "#/$defs/A"});
        let shape = Shape::of(json!({
            "type": "object", "properties": {"a": {"allOf": vec![same; 1_000]}},
            "$defs": {"A": {"type": ["object", "null"], "properties": {"n": {"type": ["integer", "null"]}}}},
        }));
        let check = shape.check();
        let schema = &shape.root["properties"]["a"];
        assert_eq!(check.parts(schema, Kind::Object).map(|parts| parts.len()), Some(1_002));
        let mut value = json!({"a": {"n": "x"}});
        assert_eq!(shape.fit(&mut value), ["/a/n"]);
        assert_eq!(value, json!({"a": {"n": null}}));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            any::<f32>().prop_map(Value::from),
            "[a-z]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            let key =
                prop_oneof![Just("id"), Just("next"), Just("tags"), Just("any"), Just("all"), Just("n"), Just("x")];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((key, inner), 0..4)
                    .prop_map(|members| members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_comes_in_fits_when_it_comes_out(mut value in any_json()) {
            let shape = shape();
            shape.fit(&mut value);
            prop_assert!(value.is_object());
            prop_assert!(shape.check().fits(&value, &shape.root, 0));
        }

        #[test]
        fn a_text_that_fits_at_a_glance_fits(value in any_json()) {
            let (shape, text) = (shape(), value.to_string());
            let fits = value.is_object() && shape.check().fits(&value, &shape.root, 0);
            prop_assert!(fits || !shape.fits(&text, None, 100));
            if value.get("any").is_none() {
                // The others have no alternatives, so that a glance is enough.
                prop_assert_eq!(fits, shape.fits(&text, None, 100));
            }
        }
    }
}
