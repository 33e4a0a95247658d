//! Tool arguments that travel as `Mcp-Param-*` headers too (`x-mcp-header`, 2026-07-28).
//!
//! In: a tool's `inputSchema`, then per call its headers and arguments. Out: the headers that a
//! client must send, or how the ones it sent disagree. A schema whose annotations break the rules
//! makes the whole tool invalid: clients must drop it from lists, and so do we.
//!
//! An annotation counts only where it is reachable from the root by `properties` alone.
//! Specification: 2026-07-28 `basic/transports/streamable-http`, Custom Headers.

use http::{HeaderMap, HeaderName, HeaderValue};
use quorate_jsonrpc::{Span, pick, text};
use serde_json::{Map, Value};

use crate::error::Mismatch;
use crate::header;

/// The keyword that annotates a property.
const KEYWORD: &str = "x-mcp-header";
/// The most annotations of one tool: a request has at most 100 headers, and others need room.
pub const RULES_MAX: usize = 32;

/// The headers that a tool's calls carry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParamRules {
    rules: Vec<Rule>,
}

/// A tool's annotations are invalid, and with them the tool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSchema {
    /// The schema is no JSON object.
    #[error("the input schema is not an object")]
    NotAnObject,
    /// An annotation that is not reachable by `properties` alone.
    #[error("`x-mcp-header` stands where it is not reachable by `properties` alone")]
    Unreachable,
    /// A value that is no header name token.
    #[error("`x-mcp-header` of {property:?} is not a header name")]
    Name {
        /// The property's path.
        property: String,
    },
    /// A name that another property of the tool has, ignoring case.
    #[error("`x-mcp-header` of {property:?} is used twice")]
    Duplicate {
        /// The property's path.
        property: String,
    },
    /// A property that is no string, integer or boolean.
    #[error("{property:?} has `x-mcp-header`, but is not a string, integer or boolean")]
    Type {
        /// The property's path.
        property: String,
    },
    /// More annotations than [`RULES_MAX`].
    #[error("more than {RULES_MAX} properties have `x-mcp-header`")]
    TooMany,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    path: Vec<String>,
    header: HeaderName,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Integer,
    Boolean,
}

// === impl ParamRules ===

impl ParamRules {
    /// Reads the annotations of a raw `inputSchema`.
    ///
    /// # Errors
    /// [`InvalidSchema`] says which rule an annotation breaks.
    pub fn of(schema: &str) -> Result<Self, InvalidSchema> {
        // Most tools have none, and an escape could hide the keyword.
        if !schema.contains(KEYWORD) && !schema.contains("\\u") {
            return Ok(Self::default());
        }
        let schema: Map<String, Value> = serde_json::from_str(schema).map_err(|_| InvalidSchema::NotAnObject)?;
        if schema.contains_key(KEYWORD) {
            return Err(InvalidSchema::Unreachable);
        }
        let mut rules = Self::default();
        rules.walk(&schema, &mut Vec::new())?;
        Ok(rules)
    }

    /// Tells whether the tool has no such headers.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Returns the headers that stand for something within these arguments.
    pub fn of_arguments(&self, is_meant: impl Fn(&str) -> bool) -> impl Iterator<Item = &HeaderName> {
        let is_within = move |rule: &&Rule| rule.path.first().is_some_and(|argument| is_meant(argument));
        self.rules.iter().filter(is_within).map(|rule| &rule.header)
    }

    /// Holds a call's headers against its raw arguments.
    ///
    /// # Errors
    /// [`Mismatch`] of the first rule that is broken.
    pub fn check(&self, head: &HeaderMap, arguments: Option<&str>) -> Result<(), Mismatch> {
        self.rules.iter().try_for_each(|rule| rule.check(head, arguments))
    }

    /// Returns the headers for a call with these raw arguments.
    ///
    /// An argument of another type than its schema says has no header: the server refuses the call
    /// for the type.
    #[must_use]
    pub fn headers(&self, arguments: Option<&str>) -> Vec<(HeaderName, HeaderValue)> {
        let value = |rule: &Rule| {
            let raw = rule.value(arguments).ok().flatten()?;
            rule.kind.canonical(raw).map(|text| (rule.header.clone(), header::encode(&text)))
        };
        self.rules.iter().filter_map(value).collect()
    }

    /// Collects the annotations below `schema`; recursion is bounded by serde_json's 128 levels.
    fn walk(&mut self, schema: &Map<String, Value>, path: &mut Vec<String>) -> Result<(), InvalidSchema> {
        for (keyword, value) in schema {
            match (keyword.as_str(), value) {
                ("properties", Value::Object(properties)) => {
                    for (name, property) in properties {
                        let Value::Object(property) = property else { continue };
                        path.push(name.clone());
                        if let Some(annotation) = property.get(KEYWORD) {
                            self.add(annotation, property, path)?;
                        }
                        self.walk(property, path)?;
                        path.pop();
                    }
                }
                (keyword, value) if holds_schemas(keyword) && annotated(value) => {
                    return Err(InvalidSchema::Unreachable);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn add(&mut self, annotation: &Value, property: &Map<String, Value>, path: &[String]) -> Result<(), InvalidSchema> {
        let name = || path.join(".");
        let token = annotation.as_str().filter(|token| !token.is_empty());
        let header = token.map(|token| format!("{}{token}", header::PARAM_PREFIX));
        let header = header.and_then(|header| HeaderName::from_bytes(header.as_bytes()).ok());
        let header = header.ok_or_else(|| InvalidSchema::Name { property: name() })?;
        if self.rules.iter().any(|rule| rule.header == header) {
            return Err(InvalidSchema::Duplicate { property: name() });
        }
        let kind = match property.get("type").and_then(Value::as_str) {
            Some("string") => Kind::Text,
            Some("integer") => Kind::Integer,
            Some("boolean") => Kind::Boolean,
            Some(_) | None => return Err(InvalidSchema::Type { property: name() }),
        };
        if self.rules.len() == RULES_MAX {
            return Err(InvalidSchema::TooMany);
        }
        self.rules.push(Rule { path: path.to_vec(), header, kind });
        Ok(())
    }
}

// === impl Rule ===

impl Rule {
    fn check(&self, head: &HeaderMap, arguments: Option<&str>) -> Result<(), Mismatch> {
        let header = || self.header.as_str().to_owned();
        let field = || format!("params.arguments.{}", self.path.join("."));
        let differs = || Mismatch::Differs { header: header(), field: field() };
        let stated = header::single(head, &self.header)?;
        let value = self.value(arguments).map_err(|_| differs())?;
        match (stated, value) {
            (None, None) => Ok(()),
            (None, Some(_)) => Err(Mismatch::Missing { header: header() }),
            (Some(_), None) => Err(Mismatch::Unexpected { header: header(), field: field() }),
            (Some(stated), Some(raw)) => {
                let stated = header::decode(stated).ok_or_else(|| Mismatch::Malformed { header: header() })?;
                if self.kind.agrees(&stated, raw) { Ok(()) } else { Err(differs()) }
            }
        }
    }

    /// Returns the raw argument at this rule's path, `None` when it is absent or null.
    ///
    /// `Err` when it is ambiguous: then no header can be said to agree with it.
    fn value<'a>(&self, arguments: Option<&'a str>) -> Result<Option<&'a str>, ()> {
        let Some(mut raw) = arguments else {
            return Ok(None);
        };
        for step in &self.path {
            if !raw.starts_with('{') {
                return Ok(None);
            }
            match pick(raw, 0, [step.as_str()]) {
                Ok([Some(Span { start, end })]) => raw = &raw[start..end],
                Ok([None]) => return Ok(None),
                Err(_) => return Err(()),
            }
        }
        Ok(Some(raw).filter(|raw| *raw != "null"))
    }
}

// === impl Kind ===

impl Kind {
    /// Returns the text that a header has for the raw value.
    fn canonical(self, raw: &str) -> Option<String> {
        match self {
            Self::Text => text(raw).map(std::borrow::Cow::into_owned),
            Self::Boolean => Some(raw.to_owned()).filter(|raw| raw == "true" || raw == "false"),
            Self::Integer => integer(raw).map(|number| number.to_string()),
        }
    }

    /// Tells whether a decoded header says what the raw value says. Integers agree by value:
    /// `42.0` is `42`.
    fn agrees(self, stated: &str, raw: &str) -> bool {
        match self {
            Self::Text => text(raw).is_some_and(|text| text == stated),
            Self::Boolean => raw == stated && (raw == "true" || raw == "false"),
            Self::Integer => integer(raw).is_some() && integer(raw) == integer(stated),
        }
    }
}

/// Reads an integer within JavaScript's safe range, also when it is written as `42.0` or `4.2e1`.
fn integer(text: &str) -> Option<i64> {
    const SAFE_MAX: i64 = (1 << 53) - 1;
    let exact: Option<i64> = text.parse().ok();
    let number = match exact {
        Some(number) => number,
        None => {
            let number: f64 = text.parse().ok()?;
            // Within 2^53 the conversion is exact.
            if number.fract() != 0.0 || number.abs() > SAFE_MAX as f64 {
                return None;
            }
            number as i64
        }
    };
    (-SAFE_MAX..=SAFE_MAX).contains(&number).then_some(number)
}

/// Tells whether a keyword's value is made of schemas, rather than of data or names.
fn holds_schemas(keyword: &str) -> bool {
    !matches!(keyword, "default" | "const" | "enum" | "examples" | "dependentRequired" | "required" | KEYWORD)
}

/// Tells whether an annotation stands anywhere within `value`, data aside.
fn annotated(value: &Value) -> bool {
    match value {
        Value::Object(object) => {
            object.contains_key(KEYWORD) || object.iter().any(|(key, value)| holds_schemas(key) && annotated(value))
        }
        Value::Array(items) => items.iter().any(annotated),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r#"{"type":"object","properties":{
        "region":{"type":"string","x-mcp-header":"Region"},
        "count":{"type":"integer","x-mcp-header":"Count"},
        "options":{"type":"object","properties":{"dry":{"type":"boolean","x-mcp-header":"Dry-Run"}}},
        "query":{"type":"string","default":{"x-mcp-header":"data, not schema"}}}}"#;

    fn rules() -> ParamRules {
        ParamRules::of(SCHEMA).expect("a valid schema")
    }

    fn head(entries: &[(&'static str, &str)]) -> HeaderMap {
        let mut head = HeaderMap::new();
        for (name, value) in entries {
            head.append(*name, HeaderValue::from_str(value).expect("a header value"));
        }
        head
    }

    #[test]
    fn a_schema_without_annotations_has_no_rules() {
        for schema in ["{}", r#"{"type":"object","properties":{"a":{"type":"string"}}}"#, r#"{"x":"\u00e9"}"#] {
            assert!(ParamRules::of(schema).expect("valid").is_empty(), "{schema}");
        }
    }

    #[test]
    fn annotations_that_break_a_rule_make_the_tool_invalid() {
        let property = |schema: &str| format!(r#"{{"type":"object","properties":{{"a":{schema}}}}}"#);
        let twice =
            r#"{"properties":{"a":{"type":"string","x-mcp-header":"X"},"b":{"type":"string","x-mcp-header":"x"}}}"#;
        let annotated = r#"{"type":"string","x-mcp-header":"X"}"#;
        let a = || "a".to_owned();
        let cases = [
            ("[\"x-mcp-header\"]".to_owned(), InvalidSchema::NotAnObject),
            (r#"{"x-mcp-header":"X"}"#.to_owned(), InvalidSchema::Unreachable),
            (property(&format!(r#"{{"items":{annotated}}}"#)), InvalidSchema::Unreachable),
            (format!(r#"{{"oneOf":[{{"properties":{{"a":{annotated}}}}}]}}"#), InvalidSchema::Unreachable),
            (
                format!(r##"{{"$defs":{{"d":{annotated}}},"properties":{{"a":{{"$ref":"#/$defs/d"}}}}}}"##),
                InvalidSchema::Unreachable,
            ),
            (format!(r#"{{"if":{{"properties":{{"a":{annotated}}}}}}}"#), InvalidSchema::Unreachable),
            (property(r#"{"type":"string","x-mcp-header":""}"#), InvalidSchema::Name { property: a() }),
            (property(r#"{"type":"string","x-mcp-header":"a b"}"#), InvalidSchema::Name { property: a() }),
            (property(r#"{"type":"string","x-mcp-header":"a\r\nb"}"#), InvalidSchema::Name { property: a() }),
            (property(r#"{"type":"string","x-mcp-header":7}"#), InvalidSchema::Name { property: a() }),
            (property(r#"{"type":"string","x-mcp-heade\u0072":""}"#), InvalidSchema::Name { property: a() }),
            (property(r#"{"type":"number","x-mcp-header":"X"}"#), InvalidSchema::Type { property: a() }),
            (property(r#"{"type":["string","null"],"x-mcp-header":"X"}"#), InvalidSchema::Type { property: a() }),
            (twice.to_owned(), InvalidSchema::Duplicate { property: "b".to_owned() }),
        ];
        for (schema, expected) in cases {
            assert_eq!(ParamRules::of(&schema), Err(expected), "{schema}");
        }
        let many: Vec<String> =
            (0..=RULES_MAX).map(|i| format!(r#""p{i}":{{"type":"string","x-mcp-header":"h{i}"}}"#)).collect();
        assert_eq!(ParamRules::of(&format!(r#"{{"properties":{{{}}}}}"#, many.join(","))), Err(InvalidSchema::TooMany));
    }

    #[test]
    fn headers_agree_with_arguments_or_the_call_is_refused() {
        let arguments = r#"{"region":"Zürich","count":42,"options":{"dry":true},"query":"q"}"#;
        let zurich = "=?base64?WsO8cmljaA==?=";
        let full = [("mcp-param-region", zurich), ("mcp-param-count", "42"), ("mcp-param-dry-run", "true")];
        assert_eq!(rules().check(&head(&full), Some(arguments)), Ok(()));

        let header = |name: &str| name.to_owned();
        for (index, value, kind) in
            [(0, "Bern", "differs"), (1, "43", "differs"), (2, "True", "differs"), (0, "=?base64?!?=", "malformed")]
        {
            let mut entries = full;
            entries[index].1 = value;
            let mismatch = rules().check(&head(&entries), Some(arguments)).expect_err(value);
            let expected_header = header(entries[index].0);
            match (kind, mismatch) {
                ("differs", Mismatch::Differs { header, .. }) | ("malformed", Mismatch::Malformed { header }) => {
                    assert_eq!(header, expected_header);
                }
                (_, other) => panic!("{other}"),
            }
        }
        let missing = rules().check(&head(&full[1..]), Some(arguments));
        assert_eq!(missing, Err(Mismatch::Missing { header: header("mcp-param-region") }));
    }

    #[test]
    fn absent_and_null_arguments_have_no_header() {
        for arguments in
            [None, Some("{}"), Some(r#"{"region":null,"count":null,"options":null}"#), Some(r#"{"options":7}"#)]
        {
            assert_eq!(rules().check(&HeaderMap::new(), arguments), Ok(()), "{arguments:?}");
            assert!(rules().headers(arguments).is_empty());
            let mismatch =
                rules().check(&head(&[("mcp-param-count", "1")]), arguments).expect_err("nothing to agree with");
            assert!(matches!(mismatch, Mismatch::Unexpected { .. }), "{mismatch}");
        }
    }

    #[test]
    fn integers_agree_by_value() {
        for (raw, stated, agrees) in [
            ("42", "42.0", true),
            ("42.0", "42", true),
            ("4.2e1", "42", true),
            ("-0", "0", true),
            ("42", "42.5", false),
            ("42.5", "42.5", false),
            ("9007199254740993", "9007199254740993", false),
            ("\"42\"", "42", false),
            ("42", "forty-two", false),
        ] {
            let arguments = format!(r#"{{"count":{raw}}}"#);
            let outcome = rules().check(&head(&[("mcp-param-count", stated)]), Some(&arguments));
            assert_eq!(outcome.is_ok(), agrees, "{raw} {stated}");
        }
    }

    #[test]
    fn ambiguous_arguments_agree_with_no_header() {
        for arguments in [r#"{"region":"a","region":"b"}"#, r#"{"region":"a","Region":"b"}"#] {
            assert!(rules().check(&head(&[("mcp-param-region", "a")]), Some(arguments)).is_err(), "{arguments}");
            assert!(rules().check(&HeaderMap::new(), Some(arguments)).is_err(), "{arguments}");
        }
    }
}
