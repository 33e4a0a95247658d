//! Gemini's own schemas, a part of OpenAPI 3.0, as JSON Schema.
//!
//! Types are in capitals, `nullable` stands beside the type, and counts are strings (protobuf's JSON writes 64-bit numbers so). What is
//! the same in both stays.

use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// How deep schemas may be; what is deeper stays as it is.
const DEPTH_MAX: usize = 64;

/// Members that hold a count.
const COUNTS: [&str; 6] = ["minItems", "maxItems", "minProperties", "maxProperties", "minLength", "maxLength"];

/// Makes a JSON schema of one of Gemini's.
pub(super) fn json_schema(schema: &RawValue) -> Box<RawValue> {
    let Ok(mut value) = serde_json::from_str::<Value>(schema.get()) else { return schema.to_owned() };
    convert(&mut value, 0);
    let text = serde_json::to_string(&value).expect("it was JSON");
    RawValue::from_string(text).expect("it was just written")
}

fn convert(schema: &mut Value, depth: usize) {
    let Value::Object(members) = schema else { return };
    if depth > DEPTH_MAX {
        return;
    }
    members.remove("propertyOrdering");
    for name in COUNTS {
        if let Some(count) = members.get_mut(name)
            && let Some(number) = count.as_str().and_then(|text| text.parse::<u64>().ok())
        {
            *count = number.into();
        }
    }
    convert_type(members);
    if let Some(Value::Object(properties)) = members.get_mut("properties") {
        properties.values_mut().for_each(|property| convert(property, depth + 1));
    }
    if let Some(items) = members.get_mut("items") {
        convert(items, depth + 1);
    }
    if let Some(Value::Array(choices)) = members.get_mut("anyOf") {
        choices.iter_mut().for_each(|choice| convert(choice, depth + 1));
    }
}

fn convert_type(members: &mut Map<String, Value>) {
    let is_nullable = members.remove("nullable") == Some(Value::Bool(true));
    let Some(Value::String(kind)) = members.get_mut("type") else { return };
    let lower = kind.to_ascii_lowercase();
    if lower == "type_unspecified" {
        members.remove("type");
    } else if is_nullable {
        members.insert("type".to_owned(), Value::from(vec![lower, "null".to_owned()]));
    } else {
        *kind = lower;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_written_as_json_schema_has_them() {
        let gemini = r#"{"type":"OBJECT","properties":{"a":{"type":"STRING","nullable":true,"enum":["X"]},"b":{"type":"ARRAY","items":{"type":"INTEGER"},"minItems":"1"}},"propertyOrdering":["a","b"],"required":["a"]}"#;
        let raw: Box<RawValue> = serde_json::from_str(gemini).expect("it is JSON");

        let expected = r#"{"type":"object","properties":{"a":{"type":["string","null"],"enum":["X"]},"b":{"type":"array","items":{"type":"integer"},"minItems":1}},"required":["a"]}"#;
        assert_eq!(
            serde_json::from_str::<Value>(json_schema(&raw).get()).expect("it is JSON"),
            serde_json::from_str::<Value>(expected).expect("it is JSON")
        );
    }

    #[test]
    fn a_property_that_is_called_type_is_no_type() {
        let raw: Box<RawValue> =
            serde_json::from_str(r#"{"type":"OBJECT","properties":{"type":{"type":"STRING"}}}"#).expect("it is JSON");

        assert_eq!(json_schema(&raw).get(), r#"{"type":"object","properties":{"type":{"type":"string"}}}"#);
    }
}
