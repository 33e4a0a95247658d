//! The arguments of a call, as the policies of a document see them.
//!
//! Raw JSON text and the declared types come in; typed values come out, and what cannot be taken for its type. Only
//! declared arguments are looked at. Whatever two readers could read differently is a fault and no value: a key that
//! stands there twice, and one that differs from a declared one in the case of letters only (some servers ignore it).
//! A fault names the argument and never its value. Numbers are read from their digits, exactly, never through floats.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use cedar_policy::RestrictedExpression;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::document::ArgumentType;
use crate::limits::{ARGUMENT_TEXT_BYTES_MAX, ARGUMENT_TEXTS_MAX};

/// The decimal digits of Cedar's `decimal` (<https://docs.cedarpolicy.com/policies/syntax-datatypes.html>).
const DECIMAL_DIGITS: usize = 4;

/// The most digits of a number that is read: more than 64 bits need, so what is longer is out of range.
const NUMBER_DIGITS_MAX: usize = 64;

/// What was read: values, and what could not be.
#[derive(Debug, Default)]
pub(crate) struct Arguments {
    pub(crate) values: Vec<(String, RestrictedExpression)>,
    faults: BTreeMap<String, String>,
    /// The text is no JSON object at all: every argument is a fault.
    malformed: bool,
}

/// The arguments that a document declares.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Declared {
    types: BTreeMap<String, ArgumentType>,
    /// The names by how a reader that ignores the case of letters reads them.
    folded: BTreeMap<String, Vec<String>>,
}

/// The declared arguments that a policy reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    /// These.
    Names(BTreeSet<String>),
    /// It looks at the arguments as a whole.
    All,
}

// === impl Reads ===

impl Reads {
    /// What two policies read together.
    pub(crate) fn and(self, other: &Self) -> Self {
        match (self, other) {
            (Self::Names(mut names), Self::Names(others)) => {
                names.extend(others.iter().cloned());
                Self::Names(names)
            }
            (Self::All, _) | (_, Self::All) => Self::All,
        }
    }

    /// Whether one of this name may be read.
    pub(crate) fn has(&self, name: &str) -> bool {
        match self {
            Self::Names(names) => names.contains(name),
            Self::All => true,
        }
    }
}

impl Default for Reads {
    fn default() -> Self {
        Self::Names(BTreeSet::new())
    }
}

// === impl Arguments ===

impl Arguments {
    /// Reads the arguments of a call; without any it has none.
    pub(crate) fn read(text: Option<&str>, declared: &Declared) -> Self {
        let mut arguments = Self::default();
        let Some(text) = text else { return arguments };
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let entries =
            deserializer.deserialize_map(Entries(declared)).and_then(|found| deserializer.end().map(|()| found));
        let Ok(entries) = entries else {
            arguments.malformed = true;
            return arguments;
        };
        for (name, found) in entries {
            match found.and_then(|(raw, of)| value(raw.get(), of)) {
                Ok(value) => arguments.values.push((name.to_owned(), value)),
                Err(fault) => {
                    arguments.faults.insert(name.to_owned(), fault.to_owned());
                }
            }
        }
        arguments
    }

    /// Returns why a policy that reads `reads` cannot be evaluated, if it cannot.
    pub(crate) fn fault(&self, reads: &Reads) -> Option<String> {
        if self.malformed {
            return Some("the arguments are no JSON object".to_owned());
        }
        let mut faults = self.faults.iter();
        let (name, fault) = match reads {
            Reads::All => faults.next(),
            Reads::Names(names) => faults.find(|(name, _)| names.contains(*name)),
        }?;
        Some(format!("argument {name:?} {fault}"))
    }
}

// === impl Declared ===

impl Declared {
    pub(crate) fn new(types: BTreeMap<String, ArgumentType>) -> Self {
        let mut folded: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for name in types.keys() {
            folded.entry(fold(name)).or_default().push(name.clone());
        }
        Self { types, folded }
    }

    /// Returns the names and types.
    pub(crate) fn types(&self) -> impl Iterator<Item = (&str, ArgumentType)> {
        self.types.iter().map(|(name, of)| (name.as_str(), *of))
    }
}

/// Takes the declared entries out of an object.
struct Entries<'d>(&'d Declared);

/// By name: the value and its declared type, or a fault.
type Found<'d, 'j> = BTreeMap<&'d str, Result<(&'j RawValue, ArgumentType), &'static str>>;

impl<'d, 'j> Visitor<'j> for Entries<'d> {
    type Value = Found<'d, 'j>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'j>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = Found::new();
        while let Some(key) = map.next_key::<Key<'j>>()? {
            let raw: &RawValue = map.next_value()?;
            if let Some((declared, of)) = self.0.types.get_key_value(key.0.as_ref()) {
                let twice = found.contains_key(declared.as_str());
                found.insert(declared, if twice { Err("is there twice") } else { Ok((raw, *of)) });
            } else if let Some(declared) = self.0.folded.get(&fold(&key.0)) {
                found.extend(declared.iter().map(|name| (name.as_str(), Err("is there in another case of letters"))));
            }
        }
        Ok(found)
    }
}

/// A key, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Key<'j>(#[serde(borrow)] Cow<'j, str>);

/// What a reader that ignores the case of letters takes a name for.
fn fold(name: &str) -> String {
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    // Upper case first: `ſ` and `K` (Kelvin) become letters of ASCII only so.
    name.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

fn value(json: &str, declared: ArgumentType) -> Result<RestrictedExpression, &'static str> {
    match declared {
        ArgumentType::String => text(json).map(RestrictedExpression::new_string),
        ArgumentType::Boolean => match json {
            "true" => Ok(RestrictedExpression::new_bool(true)),
            "false" => Ok(RestrictedExpression::new_bool(false)),
            _ => Err("is no boolean"),
        },
        ArgumentType::Integer => scaled(json, 0).map(RestrictedExpression::new_long),
        ArgumentType::Number => {
            let scaled = scaled(json, DECIMAL_DIGITS)?;
            let (sign, digits) = (if scaled < 0 { "-" } else { "" }, scaled.unsigned_abs());
            let decimal = format!("{sign}{}.{:04}", digits / 10_000, digits % 10_000);
            Ok(RestrictedExpression::new_decimal(decimal))
        }
        ArgumentType::Strings => {
            let texts: Vec<&RawValue> = serde_json::from_str(json).map_err(|_| "is no array of strings")?;
            if texts.len() > ARGUMENT_TEXTS_MAX {
                return Err("has too many elements for a policy to read");
            }
            let texts = texts.into_iter().map(|raw| text(raw.get()).map(RestrictedExpression::new_string));
            texts.collect::<Result<Vec<_>, _>>().map(RestrictedExpression::new_set)
        }
    }
}

fn text(json: &str) -> Result<String, &'static str> {
    let text: String = serde_json::from_str(json).map_err(|_| "is no string")?;
    if text.len() > ARGUMENT_TEXT_BYTES_MAX { Err("is too long for a policy to read") } else { Ok(text) }
}

/// Reads a JSON number as an integer that is 10 to the power of `digits` times as large.
fn scaled(json: &str, digits: usize) -> Result<i64, &'static str> {
    const RANGE: &str = "is out of the range of 64 bits";
    if !json.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
        return Err("is no number");
    }
    let (mantissa, exponent) = json.split_once(['e', 'E']).unwrap_or((json, "0"));
    let exponent: i64 = exponent.parse().map_err(|_| RANGE)?;
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = fraction.trim_end_matches('0');
    let significant = format!("{whole}{fraction}");
    let significant = significant.trim_start_matches('0');
    if significant.is_empty() {
        return Ok(0);
    }
    // Without its zeros at the end the number is exact, or it has a fraction that does not fit.
    let trimmed = significant.trim_end_matches('0');
    let zeros = (significant.len() - trimmed.len()) as i64;
    let shift = exponent.saturating_add(digits as i64).saturating_sub(fraction.len() as i64).saturating_add(zeros);
    let shift = usize::try_from(shift)
        .map_err(|_| if digits == 0 { "has a fraction" } else { "has more than 4 decimal digits" })?;
    if trimmed.len().saturating_add(shift) > NUMBER_DIGITS_MAX {
        return Err(RANGE);
    }
    format!("{sign}{trimmed}{}", "0".repeat(shift)).parse().map_err(|_| RANGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared() -> Declared {
        let types = [
            ("path", ArgumentType::String),
            ("count", ArgumentType::Integer),
            ("amount", ArgumentType::Number),
            ("dry", ArgumentType::Boolean),
            ("tags", ArgumentType::Strings),
        ];
        Declared::new(types.into_iter().map(|(name, of)| (name.to_owned(), of)).collect())
    }

    fn read(text: &str) -> String {
        let arguments = Arguments::read(Some(text), &declared());
        let values = arguments.values.iter().map(|(name, value)| format!("{name}={}", value.as_ref()));
        let fault = arguments.fault(&Reads::All).map(|fault| format!("! {fault}"));
        values.chain(fault).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn declared_arguments_are_read_exactly() {
        let cases = [
            ("{}", ""),
            (r#"{"other":[1,{"path":2}],"path":"a\u0062"}"#, r#"path="ab""#),
            (r#"{"p\u0061th":"x"}"#, r#"path="x""#),
            (r#"{"count":-7}"#, "count=(-7)"),
            (r#"{"count":1.50e1}"#, "count=15"),
            (r#"{"count":20.0}"#, "count=20"),
            (r#"{"count":-0}"#, "count=0"),
            (r#"{"count":9223372036854775807}"#, "count=9223372036854775807"),
            (r#"{"count":-9223372036854775808}"#, "count=(-9223372036854775808)"),
            (r#"{"amount":12.5}"#, r#"amount=decimal("12.5000")"#),
            (r#"{"amount":-0.0001}"#, r#"amount=decimal("-0.0001")"#),
            (r#"{"amount":1e3}"#, r#"amount=decimal("1000.0000")"#),
            (r#"{"amount":0.10000000}"#, r#"amount=decimal("0.1000")"#),
            (r#"{"amount":-922337203685477.5808}"#, r#"amount=decimal("-922337203685477.5808")"#),
            (r#"{"dry":true}"#, "dry=true"),
            (r#"{"tags":["a"]}"#, r#"tags=["a"]"#),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_of_its_type_is_a_fault_that_names_no_value() {
        let cases = [
            (r#"{"path":["x"]}"#, r#"! argument "path" is no string"#),
            (r#"{"path":null}"#, r#"! argument "path" is no string"#),
            (r#"{"path":"\ud800"}"#, r#"! argument "path" is no string"#),
            (r#"{"count":"1"}"#, r#"! argument "count" is no number"#),
            (r#"{"count":1.5}"#, r#"! argument "count" has a fraction"#),
            (r#"{"count":9223372036854775808}"#, r#"! argument "count" is out of the range of 64 bits"#),
            (r#"{"count":1e999999999999999999999}"#, r#"! argument "count" is out of the range of 64 bits"#),
            (r#"{"count":1e-999999999999999999999}"#, r#"! argument "count" is out of the range of 64 bits"#),
            (r#"{"amount":0.00001}"#, r#"! argument "amount" has more than 4 decimal digits"#),
            (r#"{"amount":922337203685477.5808}"#, r#"! argument "amount" is out of the range of 64 bits"#),
            (r#"{"dry":1}"#, r#"! argument "dry" is no boolean"#),
            (r#"{"tags":"a"}"#, r#"! argument "tags" is no array of strings"#),
            (r#"{"tags":["a",1]}"#, r#"! argument "tags" is no string"#),
            (r#"{"path":"a","path":"a"}"#, r#"! argument "path" is there twice"#),
            (r#"{"path":"a","p\u0061th":"b"}"#, r#"! argument "path" is there twice"#),
            (r#"{"PATH":"a"}"#, r#"! argument "path" is there in another case of letters"#),
            (r#"{"path":"a","Path":"b"}"#, r#"! argument "path" is there in another case of letters"#),
            ("{\"tag\u{17f}\":[]}", r#"! argument "tags" is there in another case of letters"#),
            ("[]", "! the arguments are no JSON object"),
            ("", "! the arguments are no JSON object"),
            ("{} {}", "! the arguments are no JSON object"),
            (r#"{"path":"a""#, "! the arguments are no JSON object"),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn long_texts_and_lists_are_faults_and_undeclared_ones_are_not_looked_at() {
        let long = "x".repeat(ARGUMENT_TEXT_BYTES_MAX + 1);
        let many = vec![r#""x""#; ARGUMENT_TEXTS_MAX + 1].join(",");
        assert_eq!(read(&format!(r#"{{"path":"{long}"}}"#)), r#"! argument "path" is too long for a policy to read"#);
        assert_eq!(
            read(&format!(r#"{{"tags":[{many}]}}"#)),
            r#"! argument "tags" has too many elements for a policy to read"#
        );
        assert_eq!(read(&format!(r#"{{"other":"{long}","others":[{many}]}}"#)), "");
        assert!(read(&format!(r#"{{"count":{}}}"#, "9".repeat(100_000))).contains("out of the range"));
    }

    #[test]
    fn a_fault_matters_to_the_policies_that_read_it() {
        let arguments = Arguments::read(Some(r#"{"path":1}"#), &declared());
        let names = |name: &str| Reads::Names(BTreeSet::from([name.to_owned()]));

        assert_eq!(arguments.fault(&names("count")), None);
        assert!(arguments.fault(&names("path")).is_some());
        assert!(arguments.fault(&Reads::All).is_some());
        assert!(Arguments::read(Some("[]"), &declared()).fault(&names("count")).is_some());
        assert_eq!(Arguments::read(None, &declared()).fault(&Reads::All), None);
    }
}
