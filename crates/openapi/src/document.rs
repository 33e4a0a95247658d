//! A document's text becomes a tree of values, within bounds.
//!
//! JSON and YAML give the same tree. What makes a text ambiguous or costly is refused here: a key twice in one object,
//! aliases that multiply, deep nesting, too many values. Which version it is decides how schemas are read; everything
//! else about its content is for the files above.

use std::cell::Cell;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::limits::Limits;
use crate::node::Node;
use crate::problem::{Fault, Problem, Reason, shown};

/// The deepest nesting of a YAML document. The parser takes up to 20 KB of stack for each level (measured in a build
/// without optimisation), and threads have 2 MiB; documents have about 30 levels. JSON stops at 128.
const YAML_DEPTH_MAX: usize = 48;
/// How many times the document's own size aliases may add: generous for shared parts, too little for a bomb.
const ALIAS_SHARE: usize = 4;

/// The form of a document's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JSON.
    Json,
    /// YAML 1.2.
    Yaml,
}

/// The version of OpenAPI that a document follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 3.0.x: schemas are a dialect of their own.
    V3_0,
    /// 3.1.x: schemas are JSON Schema 2020-12.
    V3_1,
}

/// A document that was read: a tree of values of a known version.
#[derive(Clone, Debug)]
pub struct Document {
    pub(crate) root: Value,
    pub(crate) version: Version,
    pub(crate) limits: Limits,
}

// === impl Format ===

impl Format {
    /// Returns the format of a file by its name: `.json` is JSON, everything else YAML.
    #[must_use]
    pub fn of_file_name(name: &str) -> Self {
        let is_json = name.rsplit_once('.').is_some_and(|(_, extension)| extension.eq_ignore_ascii_case("json"));
        if is_json { Self::Json } else { Self::Yaml }
    }
}

// === impl Document ===

impl Document {
    /// Reads a document.
    ///
    /// # Errors
    /// A [`Problem`] that refuses it: its syntax, its size, or its version.
    pub fn read(text: &str, format: Format, limits: &Limits) -> Result<Self, Problem> {
        let root = read(text, format, limits).map_err(|reason| at_root(reason).refused())?;
        let version = version(&root).map_err(|reason| at_root(reason).refused())?;
        Ok(Self { root, version, limits: *limits })
    }

    /// Returns the version that it follows.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    pub(crate) fn node(&self) -> Node<'_> {
        Node::root(&self.root)
    }
}

fn at_root(reason: Reason) -> Fault {
    Fault { pointer: "#".to_owned(), reason }
}

fn read(text: &str, format: Format, limits: &Limits) -> Result<Value, Reason> {
    if text.len() > limits.document_bytes_max {
        let (found, max) = (format!("{} bytes", text.len()), limits.document_bytes_max.to_string());
        return Err(Reason::TooMuch { what: "the document", found, max });
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let left = Cell::new(limits.document_values_max);
    let result = match format {
        Format::Json => read_json(text, &left),
        Format::Yaml => read_yaml(text, &left, limits),
    };
    match result {
        Err(_) if left.get() == 0 => {
            let max = limits.document_values_max;
            Err(Reason::TooMuch {
                what: "the document",
                found: format!("more than {max} values"),
                max: max.to_string(),
            })
        }
        Err(message) => Err(Reason::Syntax { message }),
        Ok(value) => Ok(value),
    }
}

fn read_json(text: &str, left: &Cell<usize>) -> Result<Value, String> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Seed(left).deserialize(&mut deserializer);
    value.and_then(|value| deserializer.end().map(|()| value)).map_err(|error| format!("is not valid JSON: {error}"))
}

fn read_yaml(text: &str, left: &Cell<usize>, limits: &Limits) -> Result<Value, String> {
    let nodes_max = limits.document_values_max;
    // Aliases may repeat parts of the document, yet not multiply them.
    let alias_max = text.len().saturating_mul(ALIAS_SHARE).min(nodes_max);
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: YAML_DEPTH_MAX,
            max_nodes: nodes_max,
            max_events: nodes_max.saturating_mul(2),
            max_recorded_anchor_events: alias_max,
            max_documents: 1,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: alias_max,
            max_replay_stack_depth: 32,
        },
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        reject_unsupported_tags: true,
        strict_booleans: true,
        with_snippet: false,
    };
    let value = serde_saphyr::with_deserializer_from_str_with_options(text, options, |deserializer| {
        Seed(left).deserialize(deserializer)
    });
    value.map_err(|error| {
        let text = error.render_with_formatter(&serde_saphyr::UserMessageFormatter);
        format!("is not valid YAML: {text}")
    })
}

fn version(root: &Value) -> Result<Version, Reason> {
    let Some(object) = root.as_object() else {
        return Err(Reason::WrongType { expected: "an object with the key openapi", found: found(root) });
    };
    let Some(version) = object.get("openapi") else {
        return match object.get("swagger") {
            Some(version) => Err(Reason::Version { found: format!("swagger: {}", scalar(version)) }),
            None => Err(Reason::Missing { what: "the key openapi, with the version of the document,".to_owned() }),
        };
    };
    let text = scalar(version);
    match text.trim_matches('"').split('.').collect::<Vec<_>>()[..] {
        ["3", "0", ..] => Ok(Version::V3_0),
        ["3", "1", ..] => Ok(Version::V3_1),
        _ => Err(Reason::Version { found: format!("openapi: {text}") }),
    }
}

/// Shows a value as problems do: its type, and what it is when it is short.
pub(crate) fn found(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => scalar(value),
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => shown(text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string().chars().take(80).collect()
        }
    }
}

/// Builds values while it counts them.
#[derive(Clone, Copy)]
struct Seed<'a>(&'a Cell<usize>);

// === impl Seed ===

impl Seed<'_> {
    fn count<E: de::Error>(self) -> Result<(), E> {
        let left = self.0.get().checked_sub(1).ok_or_else(|| E::custom("too many values"))?;
        self.0.set(left);
        if left == 0 { Err(E::custom("too many values")) } else { Ok(()) }
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.count()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON has too")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number must be finite"))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(de::Error::custom(format!("the key {} is there twice", shown(&key))));
            }
            let value = members.next_value_seed(self)?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::DEFAULTS;

    fn problem(text: &str, format: Format, limits: &Limits) -> String {
        Document::read(text, format, limits).expect_err("it is not read").to_string()
    }

    #[test]
    fn yaml_and_json_give_the_same_tree() {
        let yaml = "openapi: 3.0.3\ninfo: {title: T, version: 1.0.0}\npaths:\n  /a:\n    get:\n      responses:\n        200: {description: ok}\n        default: {x: [1, -2, 2.5, true, null, yes, 2024-01-01]}\n";
        let json = r#"{"openapi":"3.0.3","info":{"title":"T","version":"1.0.0"},"paths":{"/a":{"get":{"responses":{
            "200":{"description":"ok"},"default":{"x":[1,-2,2.5,true,null,"yes","2024-01-01"]}}}}}}"#;
        let yaml = Document::read(yaml, Format::Yaml, &DEFAULTS).expect("is valid");
        let json = Document::read(json, Format::Json, &DEFAULTS).expect("is valid");
        assert_eq!(yaml.root, json.root);
        assert_eq!(yaml.version, Version::V3_0);
    }

    #[test]
    fn only_3_0_and_3_1_are_read() {
        let cases = [
            ("openapi: 3.1.0", None),
            ("openapi: 3.0", None),
            ("openapi: '3.1'", None),
            ("openapi: 3.2.0", Some("#: openapi: \"3.2.0\" is not read: allowed is openapi: 3.0.x or 3.1.x")),
            (
                "swagger: '2.0'",
                Some(
                    "#: swagger: \"2.0\" is not read: allowed is openapi: 3.0.x or 3.1.x; convert it, for example \
                     with swagger2openapi",
                ),
            ),
            ("info: {}", Some("#: the key openapi, with the version of the document, is missing")),
            ("[1]", Some("#: expected an object with the key openapi, found a list")),
        ];
        for (text, expected) in cases {
            let result = Document::read(text, Format::Yaml, &DEFAULTS);
            assert_eq!(result.err().map(|problem| problem.to_string()).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_ambiguous_or_no_document_is_refused() {
        let json = |text: &str| problem(text, Format::Json, &DEFAULTS);
        let yaml = |text: &str| problem(text, Format::Yaml, &DEFAULTS);
        assert!(json(r#"{"a":1,"a":2}"#).contains("\"a\" is there twice"));
        assert!(yaml("a: 1\na: 2").contains("duplicate"), "{}", yaml("a: 1\na: 2"));
        assert!(json("{} x").starts_with("#: is not valid JSON"));
        assert!(yaml("a: [").starts_with("#: is not valid YAML"));
        assert!(yaml("a: !x y").starts_with("#: is not valid YAML"));
        for deep in [129, 100_000] {
            let text = format!("{}{}", "[".repeat(deep), "]".repeat(deep));
            assert!(json(&text).contains("is not valid JSON"));
            assert!(yaml(&text).contains("is not valid YAML"));
        }
        let deepest = format!("{}{}", "[".repeat(YAML_DEPTH_MAX - 1), "]".repeat(YAML_DEPTH_MAX - 1));
        assert!(yaml(&deepest).contains("expected an object"), "{}", yaml(&deepest));
    }

    #[test]
    fn size_is_bounded_in_bytes_and_in_values() {
        let small = Limits { document_bytes_max: 20, document_values_max: 5, ..DEFAULTS };
        assert_eq!(
            problem("{\"openapi\":\"3.0.0\",\"a\":1}", Format::Json, &small),
            "#: the document has 25 bytes, the most allowed is 20"
        );
        for (text, format) in [("[1,2,3,4,5]", Format::Json), ("[a, b, c, d, e]", Format::Yaml)] {
            assert!(problem(text, format, &small).starts_with("#: the document has more than 5 values"), "{text}");
        }
    }

    #[test]
    fn aliases_that_multiply_are_refused() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let previous = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{previous}]\n"));
        }
        let found = problem(&bomb, Format::Yaml, &DEFAULTS);
        assert!(found.starts_with("#: is not valid YAML") || found.contains("values"), "{found}");
    }
}
