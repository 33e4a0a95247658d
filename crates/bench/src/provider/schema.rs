//! A value that fits a JSON Schema: what the provider answers where structure is asked for, and the arguments of its calls.
//!
//! In: a schema, as JSON Schema or as Gemini's (types in capitals). Out: the smallest value that is still worth reading: required
//! properties only, the first of each choice, a text that is `Rome` wherever nothing says otherwise. Pure, and the same each time.
//! Bounded in depth and size; a schema that asks for more, or for a pattern, gets a value that does not fit.

use serde_json::{Map, Value, json};

/// How deep a value is: deeper than what providers take.
const DEPTH_MAX: usize = 24;
/// Most elements of an array, and most properties of an object.
const ELEMENTS_MAX: u64 = 64;
/// Longest text.
const CHARS_MAX: u64 = 4096;

/// Most values in one: an array of arrays of arrays may ask for more than there is memory.
const VALUES_MAX: usize = 10_000;

/// What is being made.
struct Sampler<'a> {
    /// Where references begin.
    root: &'a Value,
    /// How many values may still be made.
    left: usize,
}

/// Makes a value that fits `schema`.
pub(super) fn sample(schema: &Value) -> Value {
    Sampler { root: schema, left: VALUES_MAX }.of(schema, 0)
}

// === impl Sampler ===

impl Sampler<'_> {
    fn of(&mut self, schema: &Value, depth: usize) -> Value {
        if depth > DEPTH_MAX || self.left == 0 {
            return Value::Null;
        }
        self.left -= 1;
        if let Some(fixed) = schema.get("const").or_else(|| schema.get("enum").and_then(|choices| choices.get(0))) {
            return fixed.clone();
        }
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            let target = target.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
            return target.map_or(Value::Null, |target| self.of(target, depth + 1));
        }
        for choice in ["anyOf", "oneOf", "any_of"] {
            if let Some(first) = schema.get(choice).and_then(|choices| choices.get(0)) {
                return self.of(first, depth + 1);
            }
        }
        if let Some(parts) = schema.get("allOf").and_then(Value::as_array) {
            return self.all_of(parts, depth);
        }
        match kind(schema).as_str() {
            "object" => self.object(schema, depth),
            "array" => self.array(schema, depth),
            "integer" => integer(schema),
            "number" => number(schema),
            "boolean" => Value::Bool(true),
            "null" => Value::Null,
            _ => text(schema),
        }
    }

    /// All members of what each part makes.
    fn all_of(&mut self, parts: &[Value], depth: usize) -> Value {
        let mut members = Map::new();
        for part in parts {
            match self.of(part, depth + 1) {
                Value::Object(more) => members.extend(more),
                other => return other,
            }
        }
        Value::Object(members)
    }

    fn object(&mut self, schema: &Value, depth: usize) -> Value {
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        let bound = usize::try_from(ELEMENTS_MAX).expect("64 fits");
        let members = required.filter_map(Value::as_str).take(bound).map(|name| {
            let property = schema.get("properties").and_then(|properties| properties.get(name));
            (name.to_owned(), property.map_or(Value::Null, |property| self.of(property, depth + 1)))
        });
        Value::Object(members.collect())
    }

    /// One element, unless there must be more; none where it is deep, so that a schema of itself ends.
    fn array(&mut self, schema: &Value, depth: usize) -> Value {
        let least = count(schema, "minItems").unwrap_or(0);
        let wanted = if depth > 6 { least } else { least.max(1) };
        let most = count(schema, "maxItems").unwrap_or(ELEMENTS_MAX).min(ELEMENTS_MAX);
        let Some(items) = schema.get("items") else { return json!([]) };
        (0..wanted.min(most)).map(|_| self.of(items, depth + 1)).collect()
    }
}

/// The type, in small letters; the first one of several.
fn kind(schema: &Value) -> String {
    let named = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str),
        Some(kind) => kind.as_str(),
        None if schema.get("properties").is_some() => Some("object"),
        None if schema.get("items").is_some() => Some("array"),
        None => None,
    };
    named.unwrap_or("string").to_ascii_lowercase()
}

fn integer(schema: &Value) -> Value {
    let bound = |name: &str, more: i64| schema.get(name).and_then(Value::as_f64).map(|bound| floor(bound) + more);
    let least = bound("minimum", 0).or_else(|| bound("exclusiveMinimum", 1));
    let most = bound("maximum", 0).or_else(|| bound("exclusiveMaximum", -1));
    let value = 7.max(least.unwrap_or(i64::MIN)).min(most.unwrap_or(i64::MAX));
    let step = schema.get("multipleOf").and_then(Value::as_i64).filter(|step| *step > 0).unwrap_or(1);
    let below = value - value.rem_euclid(step);
    json!(if least.is_some_and(|least| below < least) { below + step } else { below })
}

#[expect(clippy::cast_possible_truncation, reason = "the cast saturates, and a bound of a schema is a small number")]
fn floor(number: f64) -> i64 {
    number.floor().clamp(-1e15, 1e15) as i64
}

fn number(schema: &Value) -> Value {
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    let least = bound("minimum").or_else(|| bound("exclusiveMinimum").map(|least| least + 0.5));
    let most = bound("maximum").or_else(|| bound("exclusiveMaximum").map(|most| most - 0.5));
    json!(1.5_f64.max(least.unwrap_or(f64::MIN)).min(most.unwrap_or(f64::MAX)))
}

fn text(schema: &Value) -> Value {
    let said = match schema.get("format").and_then(Value::as_str).unwrap_or_default() {
        "date" => "2026-11-01",
        "time" => "12:00:00Z",
        "date-time" => "2026-11-01T12:00:00Z",
        "duration" => "PT1H",
        "email" => "anna@example.com",
        "hostname" => "example.com",
        "ipv4" => "192.0.2.1",
        "ipv6" => "2001:db8::1",
        "uri" | "url" => "https://example.com/",
        "uuid" => "123e4567-e89b-42d3-a456-426614174000",
        _ => "Rome",
    };
    let least = count(schema, "minLength").unwrap_or(0).min(CHARS_MAX);
    let most = count(schema, "maxLength").unwrap_or(CHARS_MAX);
    let fits = |length: usize| usize::try_from(most).map_or(length, |most| length.min(most));
    let wanted = usize::try_from(least).unwrap_or(0).max(said.len());
    json!(said.chars().chain(std::iter::repeat('e')).take(fits(wanted)).collect::<String>())
}

/// A bound that is a number, or Gemini's, which is a text of one.
fn count(schema: &Value, name: &str) -> Option<u64> {
    let bound = schema.get(name)?;
    bound.as_u64().or_else(|| bound.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_what_its_schema_asks_for() {
        for (schema, expected) in [
            (json!({}), json!("Rome")),
            (json!({ "type": "STRING", "enum": ["a", "b"] }), json!("a")),
            (json!({ "type": ["string", "null"] }), json!("Rome")),
            (json!({ "type": "string", "minLength": 6 }), json!("Romeee")),
            (json!({ "type": "string", "maxLength": 2 }), json!("Ro")),
            (json!({ "type": "string", "format": "date" }), json!("2026-11-01")),
            (json!({ "type": "integer" }), json!(7)),
            (json!({ "type": "integer", "minimum": 10, "multipleOf": 4 }), json!(12)),
            (json!({ "type": "integer", "maximum": 5 }), json!(5)),
            (json!({ "type": "number", "exclusiveMinimum": 3 }), json!(3.5)),
            (json!({ "const": 3 }), json!(3)),
            (json!({ "anyOf": [{ "type": "null" }, { "type": "string" }] }), json!(null)),
            (json!({ "type": "array", "items": { "type": "boolean" }, "minItems": 2 }), json!([true, true])),
            (json!({ "type": "array", "items": { "type": "boolean" }, "minItems": "3" }), json!([true, true, true])),
            (
                json!({ "type": "OBJECT", "properties": { "city": { "type": "STRING" }, "days": { "type": "INTEGER" } },
                        "required": ["city"] }),
                json!({ "city": "Rome" }),
            ),
            (
                json!({ "allOf": [{ "properties": { "a": {} }, "required": ["a"] },
                                  { "properties": { "b": { "type": "null" } }, "required": ["b"] }] }),
                json!({ "a": "Rome", "b": null }),
            ),
            (
                json!({ "$ref": "#/$defs/Place", "$defs": { "Place": { "type": "object", "required": ["name"],
                        "properties": { "name": { "type": "string" } } } } }),
                json!({ "name": "Rome" }),
            ),
        ] {
            assert_eq!(sample(&schema), expected, "{schema}");
        }
    }

    #[test]
    fn a_schema_of_itself_ends() {
        let tree = json!({ "type": "object", "required": ["children"],
            "properties": { "children": { "type": "array", "items": { "$ref": "#" } } } });
        let endless = json!({ "$ref": "#" });

        assert!(sample(&tree).to_string().len() < 1000);
        assert_eq!(sample(&endless), Value::Null);
    }
}
