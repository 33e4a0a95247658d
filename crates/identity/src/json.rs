//! Reads JSON objects so that two readers of the same bytes cannot disagree on what they say.
//!
//! In: bytes of a stranger (a token's parts) or of an issuer's server (key sets, metadata, introspection answers). Out:
//! the members, or why not. A name that stands twice, at any level, is refused (RFC 8725 §3 leaves it to the parser,
//! RFC 7519 §4 allows a refusal), and so is nesting beyond [`DEPTH_MAX`]. Case matters: `Sub` is not `sub`.
//! Numbers beyond a double are no numbers. How large the text may be is its caller's business.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The deepest nesting, the object itself being level 1. A chain of eight actors takes ten levels; claims with
/// structure (`realm_access`, verified claims) take fewer.
pub(crate) const DEPTH_MAX: u8 = 16;

/// Why a text is no object that is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is not JSON, or not an object, or something follows it.
    Syntax,
    /// A name stands twice in one object.
    Duplicate,
    /// It nests deeper than [`DEPTH_MAX`].
    Depth,
}

/// Reads one object, and nothing after it but white space.
pub(crate) fn object(bytes: &[u8]) -> Result<Map<String, Value>, Fault> {
    let fault = Cell::new(Fault::Syntax);
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth: 0, fault: &fault }.deserialize(&mut reader).map_err(|_| fault.get())?;
    reader.end().map_err(|_| Fault::Syntax)?;
    match value {
        Value::Object(members) => Ok(members),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Err(Fault::Syntax),
    }
}

/// Makes a value without what is refused; notes what that was.
#[derive(Clone, Copy)]
struct Strict<'a> {
    depth: u8,
    fault: &'a Cell<Fault>,
}

// === impl Strict ===

impl Strict<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.depth < DEPTH_MAX {
            true => Ok(Self { depth: self.depth + 1, ..self }),
            false => Err(self.note(Fault::Depth)),
        }
    }

    fn note<E: serde::de::Error>(self, fault: Fault) -> E {
        self.fault.set(fault);
        E::custom("refused")
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let inner = self.deeper::<A::Error>()?;
        let mut elements = Vec::new();
        while let Some(element) = sequence.next_element_seed(inner)? {
            elements.push(element);
        }
        Ok(Value::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.deeper::<A::Error>()?;
        let mut members = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value_seed(inner)?;
            if members.insert(name, value).is_some() {
                return Err(self.note(Fault::Duplicate));
            }
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nested(levels: usize) -> String {
        format!("{{\"a\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1))
    }

    #[test]
    fn only_one_object_without_doubles_is_read() {
        let levels = usize::from(DEPTH_MAX);
        for (text, expected) in [
            (r#"{"a":1,"b":{"a":[true,null,-1.5,"x"]}} "#.to_owned(), None),
            ("{}".to_owned(), None),
            (r#"{"A":1,"a":2}"#.to_owned(), None),
            (nested(levels), None),
            (nested(levels + 1), Some(Fault::Depth)),
            (nested(5000), Some(Fault::Depth)),
            (r#"{"a":1,"a":1}"#.to_owned(), Some(Fault::Duplicate)),
            (r#"{"a":1,"\u0061":1}"#.to_owned(), Some(Fault::Duplicate)),
            (r#"{"a":{"b":1,"c":{},"b":2}}"#.to_owned(), Some(Fault::Duplicate)),
            (r#"{"a":[{"b":1,"b":2}]}"#.to_owned(), Some(Fault::Duplicate)),
            ("[]".to_owned(), Some(Fault::Syntax)),
            ("\"a\"".to_owned(), Some(Fault::Syntax)),
            ("{} {}".to_owned(), Some(Fault::Syntax)),
            ("{\"a\":1,}".to_owned(), Some(Fault::Syntax)),
            ("{\"a\":1e999}".to_owned(), Some(Fault::Syntax)),
            ("{\"a\":NaN}".to_owned(), Some(Fault::Syntax)),
            ("{\"a\":\"\\ud800\"}".to_owned(), Some(Fault::Syntax)),
            ("\u{feff}{}".to_owned(), Some(Fault::Syntax)),
            (String::new(), Some(Fault::Syntax)),
        ] {
            assert_eq!(object(text.as_bytes()).err(), expected, "{text:.60}");
        }
        assert_eq!(object(b"{\"a\":\"\xff\"}"), Err(Fault::Syntax));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = object(&bytes);
        }

        #[test]
        fn what_is_read_is_what_serde_json_reads(text in r#"\{("[ab]":[0-9]{1,3}|,|\[|\]|\{|\}){0,8}\}"#) {
            if let Ok(members) = object(text.as_bytes()) {
                prop_assert_eq!(Ok(Value::Object(members)), serde_json::from_str(&text).map_err(|_| ()));
            }
        }
    }
}
