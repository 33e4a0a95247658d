//! Turns `--arg KEY=VALUE` and `--args JSON` into the arguments of a tool call.
//!
//! A text takes the type that the tool's input schema names for its key; where it names several,
//! the first that the text fits, JSON types before string; where it names none, a string. An array
//! takes JSON, or one element per repeated `--arg`. JSON is passed on as it was typed: `1.0` stays.

use quorate_jsonrpc::{members, quote};
use serde_json::Value as Json;

use crate::cli::{Argument, Value};
use crate::exit::{Exit, Failure};

/// Makes the JSON object of the arguments; `schema` is the tool's input schema, if it is known.
///
/// # Errors
/// [`Failure`] with [`Exit::Usage`] when a value does not fit its type.
pub(super) fn build(object: Option<&str>, arguments: &[Argument], schema: Option<&Json>) -> Result<String, Failure> {
    let mut built = base(object)?;
    let mut texts_of_array: Vec<(String, Vec<String>)> = Vec::new();
    for argument in arguments {
        let types = types_of(schema, &argument.key);
        match &argument.value {
            Value::Json(json) => set(&mut built, &argument.key, json.clone()),
            Value::Text(text) if types == ["array"] && !text.trim_start().starts_with('[') => {
                let element = element(schema, &argument.key, text)?;
                match texts_of_array.iter_mut().find(|(key, _)| *key == argument.key) {
                    Some((_, elements)) => elements.push(element),
                    None => texts_of_array.push((argument.key.clone(), vec![element])),
                }
            }
            Value::Text(text) => set(&mut built, &argument.key, typed(&argument.key, text, &types)?),
        }
    }
    for (key, elements) in texts_of_array {
        set(&mut built, &key, format!("[{}]", elements.join(",")));
    }
    let pairs: Vec<String> = built.iter().map(|(key, json)| format!("{}:{json}", quote(key))).collect();
    Ok(format!("{{{}}}", pairs.join(",")))
}

/// Reads the members of `--args`, raw.
fn base(object: Option<&str>) -> Result<Vec<(String, String)>, Failure> {
    let mut pairs = Vec::new();
    let Some(object) = object else { return Ok(pairs) };
    let wrong = |why: String| {
        Failure::new(Exit::Usage, format!("--args is not a JSON object: {why}"))
            .advise("write --args '{\"key\": \"value\"}'")
    };
    match serde_json::from_str::<Json>(object) {
        Ok(Json::Object(_)) => {}
        Ok(_) => return Err(wrong("it is another JSON value".to_owned())),
        Err(error) => return Err(wrong(error.to_string())),
    }
    members(object, 0, |key, span| set(&mut pairs, key, span.of(object).to_owned()))
        .map_err(|error| wrong(error.to_string()))?;
    Ok(pairs)
}

fn set(pairs: &mut Vec<(String, String)>, key: &str, json: String) {
    match pairs.iter_mut().find(|(known, _)| known == key) {
        Some((_, value)) => *value = json,
        None => pairs.push((key.to_owned(), json)),
    }
}

/// Returns the types that the schema names for a key; none when it names none.
fn types_of<'a>(schema: Option<&'a Json>, key: &str) -> Vec<&'a str> {
    let Some(property) = schema.map(|schema| &schema["properties"][key]) else { return Vec::new() };
    type_names(property)
}

fn type_names(property: &Json) -> Vec<&str> {
    match &property["type"] {
        Json::String(one) => vec![one],
        Json::Array(several) => several.iter().filter_map(Json::as_str).collect(),
        // Optional arguments are often written as `anyOf: [{type: X}, {type: null}]`.
        _ => property["anyOf"].as_array().into_iter().flatten().filter_map(|one| one["type"].as_str()).collect(),
    }
}

fn element(schema: Option<&Json>, key: &str, text: &str) -> Result<String, Failure> {
    let types = schema.map(|schema| type_names(&schema["properties"][key]["items"])).unwrap_or_default();
    typed(key, text, &types)
}

/// Writes `text` as JSON of the first type that it fits.
fn typed(key: &str, text: &str, types: &[&str]) -> Result<String, Failure> {
    if types.is_empty() {
        return Ok(quote(text));
    }
    let parsed: Option<Json> = serde_json::from_str(text).ok();
    let fits = |wanted: &&&str| match (**wanted, &parsed) {
        ("integer", Some(Json::Number(number))) => number.is_i64() || number.is_u64() || is_digits(text),
        ("number", Some(Json::Number(_)))
        | ("boolean", Some(Json::Bool(_)))
        | ("null", Some(Json::Null))
        | ("array", Some(Json::Array(_)))
        | ("object", Some(Json::Object(_))) => true,
        _ => false,
    };
    if types.iter().find(fits).is_some() {
        return Ok(text.trim().to_owned());
    }
    if types.contains(&"string") {
        return Ok(quote(text));
    }
    Err(Failure::new(
        Exit::Usage,
        format!("--arg {key}: {text:?} is not of the type {}, which the tool's schema asks for", types.join(" or ")),
    )
    .advise(format!("write JSON as it is with --arg '{key}:=…'")))
}

/// Tells whether a JSON number is written as an integer; those beyond 64 bits are, too.
fn is_digits(text: &str) -> bool {
    let text = text.trim();
    text.strip_prefix('-').unwrap_or(text).bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(key: &str, value: &str) -> Argument {
        Argument { key: key.into(), value: Value::Text(value.into()) }
    }

    fn schema() -> Json {
        json!({ "properties": {
            "s": {"type": "string"}, "n": {"type": "number"}, "i": {"type": "integer"}, "b": {"type": "boolean"},
            "o": {"type": "object"}, "l": {"type": "array", "items": {"type": "integer"}}, "m": {"type": ["integer", "string"]},
            "a": {"anyOf": [{"type": "number"}, {"type": "null"}]}, "any": {}
        }})
    }

    #[test]
    fn values_take_the_type_that_the_schema_names() {
        let cases = [
            ("s", "1", r#""1""#),
            ("n", "1.0", "1.0"),
            ("n", "-2e3", "-2e3"),
            ("i", "123456789012345678901234567890", "123456789012345678901234567890"),
            ("b", "true", "true"),
            ("o", r#"{"x": 1}"#, r#"{"x": 1}"#),
            ("l", "[1,2]", "[1,2]"),
            ("l", "3", "[3]"),
            ("m", "7", "7"),
            ("m", "seven", r#""seven""#),
            ("a", "null", "null"),
            ("any", "1", r#""1""#),
            ("unknown", "true", r#""true""#),
        ];
        for (key, value, expected) in cases {
            let built = build(None, &[text(key, value)], Some(&schema())).unwrap();
            assert_eq!(built, format!("{{\"{key}\":{expected}}}"), "{key}={value}");
        }
    }

    #[test]
    fn values_that_do_not_fit_are_refused_with_advice() {
        for (key, value) in
            [("n", "one"), ("i", "1.5"), ("i", "1e3"), ("b", "yes"), ("o", "[1]"), ("l", "x"), ("a", "x")]
        {
            let failure = build(None, &[text(key, value)], Some(&schema())).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage, "{key}={value}");
            assert!(failure.advice.unwrap().contains(&format!("{key}:=")));
        }
    }

    #[test]
    fn single_arguments_win_over_the_object_and_repeated_ones_make_a_list() {
        let arguments = [
            text("l", "1"),
            Argument { key: "z".into(), value: Value::Json("1.0".into()) },
            text("l", "2"),
            text("s", "b"),
        ];
        let built = build(Some(r#"{"s":"a", "k" : [ 1 ]}"#), &arguments, Some(&schema())).unwrap();
        assert_eq!(built, r#"{"s":"b","k":[ 1 ],"z":1.0,"l":[1,2]}"#);
        assert_eq!(build(None, &[], None).unwrap(), "{}");
    }

    #[test]
    fn the_object_must_be_one() {
        for object in ["[1]", "1", "{", "", "{\"a\":1} x"] {
            assert_eq!(build(Some(object), &[], None).unwrap_err().exit, Exit::Usage, "{object}");
        }
    }
}
