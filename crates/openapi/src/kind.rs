//! The kinds of JSON values: which of them an argument takes, and which one a raw text is.
//!
//! A translated schema goes in, the set of kinds that it allows comes out; what it does not say is allowed, so that a
//! check by kind never refuses what the schema accepts. The kind of a raw text is read off its first character.

use std::collections::HashMap;
use std::fmt;

use serde_json::{Map, Value};

/// The most references and compositions from a schema to its type that are followed; below them it is open.
const HOPS_MAX: usize = 16;

/// The kind of one JSON value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Boolean,
    Integer,
    /// A number that is no integer.
    Number,
    String,
    Array,
    Object,
}

/// A set of kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kinds(u8);

/// Reads the kinds of schemas that share definitions, each of which is read once.
pub(crate) struct Reader<'s> {
    definitions: &'s Map<String, Value>,
    known: HashMap<&'s str, Kinds>,
}

/// Every kind with its name in schemas and messages.
const ALL: [(Kind, &str); 7] = [
    (Kind::String, "string"),
    (Kind::Integer, "integer"),
    (Kind::Number, "number"),
    (Kind::Boolean, "boolean"),
    (Kind::Array, "array"),
    (Kind::Object, "object"),
    (Kind::Null, "null"),
];

// === impl Kind ===

impl Kind {
    /// Returns the kind of a raw JSON value, which is taken as valid.
    pub(crate) fn of_raw(raw: &str) -> Self {
        match raw.as_bytes().first() {
            Some(b'"') => Self::String,
            Some(b'{') => Self::Object,
            Some(b'[') => Self::Array,
            Some(b't' | b'f') => Self::Boolean,
            Some(b'n') => Self::Null,
            _ if is_integer(raw) => Self::Integer,
            _ => Self::Number,
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::String => "string",
            Self::Array => "array",
            Self::Object => "object",
        }
    }
}

/// JSON Schema calls every number with a zero fraction an integer: `1`, `1.0`, `1e2`.
fn is_integer(raw: &str) -> bool {
    let digits = raw.strip_prefix('-').unwrap_or(raw);
    digits.bytes().all(|byte| byte.is_ascii_digit()) || raw.parse::<f64>().is_ok_and(|number| number.fract() == 0.0)
}

// === impl Kinds ===

impl Kinds {
    pub(crate) const ANY: Self = Self(0b111_1111);
    const NONE: Self = Self(0);

    pub(crate) const fn contains(self, kind: Kind) -> bool {
        self.0 & kind.bit() != 0
    }

    const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    fn named(name: &str) -> Self {
        let bits = ALL.iter().filter(|(_, known)| *known == name).fold(0, |bits, (kind, _)| bits | kind.bit());
        // Every integer is a number.
        Self(if bits == Kind::Number.bit() { bits | Kind::Integer.bit() } else { bits })
    }
}

// === impl Reader ===

impl<'s> Reader<'s> {
    pub(crate) fn new(definitions: &'s Map<String, Value>) -> Self {
        Self { definitions, known: HashMap::new() }
    }

    /// Reads the kinds that a translated schema allows; what it does not say is allowed.
    pub(crate) fn read(&mut self, schema: &Value) -> Kinds {
        self.read_at(schema, 0)
    }

    fn read_at(&mut self, schema: &Value, hops: usize) -> Kinds {
        if hops > HOPS_MAX {
            return Kinds::ANY;
        }
        let mut kinds = match &schema["type"] {
            Value::String(one) => Kinds::named(one),
            Value::Array(several) => {
                several.iter().filter_map(Value::as_str).fold(Kinds::NONE, |all, one| all.or(Kinds::named(one)))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Kinds::ANY,
        };
        if let Some(name) = schema["$ref"].as_str().and_then(|target| target.rsplit('/').next()) {
            kinds = kinds.and(self.defined(name, hops + 1));
        }
        for key in ["anyOf", "oneOf"] {
            if let Some(branches) = schema[key].as_array() {
                let any = branches.iter().fold(Kinds::NONE, |all, one| all.or(self.read_at(one, hops + 1)));
                kinds = kinds.and(any);
            }
        }
        for branch in schema["allOf"].as_array().into_iter().flatten() {
            kinds = kinds.and(self.read_at(branch, hops + 1));
        }
        kinds
    }

    /// Reads a definition, once however often it is referred to.
    fn defined(&mut self, name: &str, hops: usize) -> Kinds {
        let Some((name, schema)) = self.definitions.get_key_value(name) else { return Kinds::ANY };
        if let Some(kinds) = self.known.get(name.as_str()) {
            return *kinds;
        }
        // What refers to itself is open there.
        self.known.insert(name, Kinds::ANY);
        let kinds = self.read_at(schema, hops);
        self.known.insert(name, kinds);
        kinds
    }
}

impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let both = |kind: Kind| kind == Kind::Integer && self.contains(Kind::Number);
        let names = ALL.iter().filter(|(kind, _)| self.contains(*kind) && !both(*kind));
        f.write_str(&names.map(|(_, name)| *name).collect::<Vec<_>>().join(" or "))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn raw_values_show_their_kind() {
        let cases = [
            ("\"1\"", Kind::String),
            ("-1", Kind::Integer),
            ("1.0", Kind::Integer),
            ("1e2", Kind::Integer),
            ("12345678901234567890123", Kind::Integer),
            ("1.5", Kind::Number),
            ("true", Kind::Boolean),
            ("null", Kind::Null),
            ("[1]", Kind::Array),
            ("{}", Kind::Object),
        ];
        for (raw, expected) in cases {
            assert_eq!(Kind::of_raw(raw), expected, "{raw}");
        }
    }

    #[test]
    fn schemas_say_which_kinds_they_allow() {
        let definitions =
            json!({"Id": {"anyOf": [{"type": "string"}, {"type": "integer"}]}, "Loop": {"$ref": "#/$defs/Loop"}});
        let definitions = definitions.as_object().expect("is an object");
        let cases = [
            (json!({"type": "number"}), "number"),
            (json!({"type": ["string", "null"]}), "string or null"),
            (json!({"$ref": "#/$defs/Id"}), "string or integer"),
            (json!({"allOf": [{"$ref": "#/$defs/Id"}, {"type": ["string", "array"]}]}), "string"),
            (json!({}), "string or number or boolean or array or object or null"),
            (json!({"$ref": "#/$defs/Loop"}), "string or number or boolean or array or object or null"),
        ];
        for (schema, expected) in cases {
            assert_eq!(Reader::new(definitions).read(&schema).to_string(), expected, "{schema}");
        }
    }

    #[test]
    fn definitions_that_multiply_are_read_once_each() {
        // Each is a hundred of the next, so that the last is referred to 100^9 times.
        let mut definitions: Map<String, Value> = (1..10)
            .map(|index| {
                let next = json!({"$ref": format!("#/$defs/A{}", index + 1)});
                (format!("A{index}"), json!({"anyOf": vec![next; 100]}))
            })
            .collect();
        definitions.insert("A10".to_owned(), json!({"type": "string"}));
        // Hops within the schemas count too: what is beyond is open, which is sound.
        let found = Reader::new(&definitions).read(&json!({"$ref": "#/$defs/A5"}));
        assert_eq!(found.to_string(), "string");
        assert_eq!(Reader::new(&definitions).read(&json!({"$ref": "#/$defs/A1"})), Kinds::ANY);
    }
}
