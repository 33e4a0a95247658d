//! Values of arguments as they are written into a path, a query, a header, a cookie or a form.
//!
//! In: the raw JSON of a value, and its [`Wire`]. Out: text in which everything of the value is encoded, so that it
//! cannot leave its place. The styles are those of OpenAPI 3.1.1 "Style Examples" (RFC 6570). Where the specification
//! says nothing, this does: a list or object within a value is written as JSON text, but `deepObject` goes on in
//! brackets (`a[b][c]=1`, `a[]=1`, and `a[0][b]=1` for lists of objects), as the parsers that know it read it.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, percent_decode_str, utf8_percent_encode};
use quorate_jsonrpc::{elements, members, text};

use crate::encode;
use crate::parameter::{Json, Style, Wire};

/// The deepest nesting of a `deepObject`.
const DEEP_MAX: usize = 8;

/// Why a value cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unwritable {
    /// A member stands there twice, or a text is none.
    #[error("it has a member twice, or a text that is no Unicode")]
    Ambiguous,
    /// It nests deeper than is written.
    #[error("it nests deeper than {DEEP_MAX} levels")]
    TooDeep,
    /// A header or path cannot have it.
    #[error("it has characters that a header cannot have, such as line ends")]
    Header,
    /// A member would be written as another parameter.
    #[error("it has a member with the name of another parameter")]
    Taken,
    /// A path segment that is not there.
    #[error("a part of a path must not be empty")]
    EmptySegment,
    /// A path segment that means another path.
    #[error("a part of a path must not be . or .. (also between slashes)")]
    DotSegment,
}

/// A value, as far as styles tell values apart.
enum Value<'a> {
    Scalar(Cow<'a, str>),
    List(Vec<Cow<'a, str>>),
    Object(Vec<(String, Cow<'a, str>)>),
}

/// Names that other parameters and credentials have in one place. Some styles write the names of a value's members as
/// those of parameters; none of these may be among them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken<'a>(pub(crate) &'a [Box<str>]);

/// Writes a value into a path segment.
pub(crate) fn path(out: &mut String, wire: &Wire, raw: &str, taken: Taken<'_>) -> Result<(), Unwritable> {
    let value = read(wire, raw)?;
    if let (Style::Matrix, true, Value::Object(members)) = (wire.style, wire.explode, &value) {
        taken.check(wire, members.iter().map(|(name, _)| name.as_str()))?;
    }
    let before = out.len();
    let explode = wire.explode;
    let pair = if explode { "=" } else { "," };
    match wire.style {
        Style::Label => {
            out.push('.');
            value.join(out, if explode { "." } else { "," }, pair, encode::STRICT);
        }
        Style::Matrix => matrix(out, wire, &value, pair),
        Style::Simple | Style::Form | Style::SpaceDelimited | Style::PipeDelimited | Style::DeepObject => {
            value.join(out, ",", pair, encode::STRICT);
            if out.len() == before {
                return Err(Unwritable::EmptySegment);
            }
        }
    }
    Ok(())
}

fn matrix(out: &mut String, wire: &Wire, value: &Value<'_>, pair: &str) {
    out.push(';');
    match (value, wire.explode) {
        (Value::Object(_), true) => value.join(out, ";", "=", encode::STRICT),
        (Value::List(items), true) => {
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { ";" } else { "" });
                push(out, &wire.name, encode::STRICT);
                out.push('=');
                push(out, item, encode::STRICT);
            }
        }
        _ => {
            push(out, &wire.name, encode::STRICT);
            let before = out.len();
            out.push('=');
            value.join(out, ",", pair, encode::STRICT);
            // RFC 6570 §3.2.7: an empty value has no equals sign.
            if out.len() == before + 1 {
                out.pop();
            }
        }
    }
}

/// Writes a value as `name=value` pairs, separated by `&` from what is there; an empty list or object writes nothing.
pub(crate) fn query(out: &mut String, wire: &Wire, raw: &str, taken: Taken<'_>) -> Result<(), Unwritable> {
    pairs(out, wire, raw, "&", taken)
}

/// Writes a value as `name=value` pairs of a `Cookie` header.
pub(crate) fn cookie(out: &mut String, wire: &Wire, raw: &str, taken: Taken<'_>) -> Result<(), Unwritable> {
    pairs(out, wire, raw, "; ", taken)
}

fn pairs(out: &mut String, wire: &Wire, raw: &str, between: &str, taken: Taken<'_>) -> Result<(), Unwritable> {
    let set = if wire.reserved { encode::RESERVED } else { encode::STRICT };
    if wire.style == Style::DeepObject && wire.json == Json::Never && raw.starts_with(['{', '[']) {
        let name = utf8_percent_encode(&wire.name, encode::STRICT).to_string();
        return Deep { out, name, wire, set, between, taken }.write(raw, 0);
    }
    let value = read(wire, raw)?;
    let separator = |out: &mut String| out.push_str(if out.is_empty() { "" } else { between });
    let whole = |out: &mut String, list: &str| {
        separator(out);
        push(out, &wire.name, encode::STRICT);
        out.push('=');
        value.join(out, list, list, set);
    };
    match (&value, wire.explode) {
        (Value::List(items), _) if items.is_empty() => {}
        (Value::Object(members), _) if members.is_empty() => {}
        (Value::List(items), true) => {
            for item in items {
                separator(out);
                push(out, &wire.name, encode::STRICT);
                out.push('=');
                push(out, item, set);
            }
        }
        (Value::Object(members), true) => {
            taken.check(wire, members.iter().map(|(name, _)| name.as_str()))?;
            for (name, item) in members {
                separator(out);
                push(out, name, encode::STRICT);
                out.push('=');
                push(out, item, set);
            }
        }
        _ => match wire.style {
            Style::SpaceDelimited => whole(out, "%20"),
            Style::PipeDelimited => whole(out, "%7C"),
            Style::Simple | Style::Label | Style::Matrix | Style::Form | Style::DeepObject => whole(out, ","),
        },
    }
    Ok(())
}

/// Writes a value as a header has it: nothing is encoded, and what a header cannot have is refused.
pub(crate) fn header(wire: &Wire, raw: &str) -> Result<String, Unwritable> {
    let value = read(wire, raw)?;
    let mut out = String::new();
    let pair = if wire.explode { "=" } else { "," };
    match value {
        Value::Scalar(text) => out.push_str(&text),
        Value::List(items) => out.push_str(&items.join(",")),
        Value::Object(members) => {
            let members: Vec<String> = members.iter().map(|(name, value)| format!("{name}{pair}{value}")).collect();
            out.push_str(&members.join(","));
        }
    }
    if out.chars().any(|c| c.is_control() && c != '\t') { Err(Unwritable::Header) } else { Ok(out) }
}

/// Returns the text of a scalar, or the JSON text of anything else.
pub(crate) fn plain(raw: &str) -> Result<Cow<'_, str>, Unwritable> {
    match raw.as_bytes().first() {
        Some(b'"') => text(raw).ok_or(Unwritable::Ambiguous),
        Some(b'n') => Ok(Cow::Borrowed("")),
        _ => Ok(Cow::Borrowed(raw)),
    }
}

/// Tells whether a part of a path, encoded, would mean another path, also after a server decodes what we encode. Some
/// servers read a segment up to its first `;`.
pub(crate) fn has_dot_segment(path: &str) -> bool {
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    decoded.split(['/', '\\']).any(|segment| matches!(segment.split(';').next(), Some("." | "..")))
}

fn read<'a>(wire: &Wire, raw: &'a str) -> Result<Value<'a>, Unwritable> {
    let json = match wire.json {
        Json::Never => false,
        Json::Objects => raw.starts_with('{'),
        Json::Always => true,
    };
    if json {
        return Ok(Value::Scalar(Cow::Borrowed(raw)));
    }
    match raw.as_bytes().first() {
        Some(b'[') => {
            let mut items = Vec::new();
            let mut error = None;
            elements(raw, 0, |span| match plain(span.of(raw)) {
                Ok(item) => items.push(item),
                Err(found) => error = Some(found),
            })
            .map_err(|_| Unwritable::Ambiguous)?;
            error.map_or(Ok(Value::List(items)), Err)
        }
        Some(b'{') => {
            let mut found = Vec::new();
            let mut error = None;
            members(raw, 0, |name, span| match plain(span.of(raw)) {
                Ok(value) => found.push((name.to_owned(), value)),
                Err(problem) => error = Some(problem),
            })
            .map_err(|_| Unwritable::Ambiguous)?;
            error.map_or(Ok(Value::Object(found)), Err)
        }
        _ => plain(raw).map(Value::Scalar),
    }
}

/// A value in the style `deepObject` as it is written.
struct Deep<'a> {
    out: &'a mut String,
    /// The names that lead to where it is, encoded.
    name: String,
    wire: &'a Wire,
    set: &'static AsciiSet,
    between: &'a str,
    taken: Taken<'a>,
}

// === impl Deep ===

impl Deep<'_> {
    /// Writes the leaves of a value, each under the names that lead to it.
    fn write(&mut self, raw: &str, depth: usize) -> Result<(), Unwritable> {
        if depth > DEEP_MAX {
            return Err(Unwritable::TooDeep);
        }
        // Names in brackets may be a parameter of their own.
        self.taken.check(self.wire, std::iter::once(&*percent_decode_str(&self.name).decode_utf8_lossy()))?;
        let mut parts: Vec<(String, &str)> = Vec::new();
        match raw.as_bytes().first() {
            Some(b'{') => members(raw, 0, |key, span| {
                parts.push((utf8_percent_encode(key, encode::STRICT).to_string(), span.of(raw)));
            })
            .map_err(|_| Unwritable::Ambiguous)?,
            Some(b'[') => {
                let mut items = Vec::new();
                elements(raw, 0, |span| items.push(span.of(raw))).map_err(|_| Unwritable::Ambiguous)?;
                // Without an index, the members of two items could not be told apart.
                let nested = items.iter().any(|item| item.starts_with(['{', '[']));
                let key = |index: usize| if nested { index.to_string() } else { String::new() };
                parts.extend(items.into_iter().enumerate().map(|(index, item)| (key(index), item)));
            }
            _ => {
                let value = plain(raw)?;
                self.out.push_str(if self.out.is_empty() { "" } else { self.between });
                self.out.push_str(&self.name);
                self.out.push('=');
                push(self.out, &value, self.set);
                return Ok(());
            }
        }
        let length = self.name.len();
        for (key, value) in parts {
            // Brackets are delimiters of this style; encoded they would be part of the name.
            self.name.push('[');
            self.name.push_str(&key);
            self.name.push(']');
            self.write(value, depth + 1)?;
            self.name.truncate(length);
        }
        Ok(())
    }
}

// === impl Taken ===

impl Taken<'_> {
    /// Checks the names that a value of `wire` is written under; many servers do not tell case apart.
    ///
    /// # Errors
    /// [`Unwritable::Taken`] when one is another parameter's.
    fn check<'n>(self, wire: &Wire, mut names: impl Iterator<Item = &'n str>) -> Result<(), Unwritable> {
        let other = |name: &str| self.0.iter().any(|known| known.eq_ignore_ascii_case(name)) && *name != *wire.name;
        if names.any(other) { Err(Unwritable::Taken) } else { Ok(()) }
    }
}

fn push(out: &mut String, text: &str, set: &'static AsciiSet) {
    out.extend(utf8_percent_encode(text, set));
}

// === impl Value ===

impl Value<'_> {
    /// Writes the parts with separators; `pair` stands between a member's name and value.
    fn join(&self, out: &mut String, between: &str, pair: &str, set: &'static AsciiSet) {
        match self {
            Self::Scalar(text) => push(out, text, set),
            Self::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    out.push_str(if index > 0 { between } else { "" });
                    push(out, item, set);
                }
            }
            Self::Object(members) => {
                for (index, (name, value)) in members.iter().enumerate() {
                    out.push_str(if index > 0 { between } else { "" });
                    push(out, name, set);
                    out.push_str(pair);
                    push(out, value, set);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The values of the specification's table.
    const EMPTY: &str = "\"\"";
    const TEXT: &str = "\"blue\"";
    const LIST: &str = r#"["blue","black","brown"]"#;
    const OBJECT: &str = r#"{"R":100,"G":200,"B":150}"#;

    fn wire(style: Style, explode: bool) -> Wire {
        Wire { name: "color".into(), style, explode, reserved: false, json: Json::Never }
    }

    fn written(style: Style, explode: bool, raw: &str) -> Result<String, Unwritable> {
        let wire = wire(style, explode);
        let mut out = String::new();
        match style {
            Style::Simple | Style::Label | Style::Matrix => path(&mut out, &wire, raw, Taken(&[]))?,
            Style::Form | Style::SpaceDelimited | Style::PipeDelimited | Style::DeepObject => {
                query(&mut out, &wire, raw, Taken(&[]))?;
            }
        }
        Ok(out)
    }

    #[test]
    fn values_are_written_as_the_table_of_the_specification_has_them() {
        use Style::*;
        let table = [
            (Matrix, false, [";color", ";color=blue", ";color=blue,black,brown", ";color=R,100,G,200,B,150"]),
            (Matrix, true, [";color", ";color=blue", ";color=blue;color=black;color=brown", ";R=100;G=200;B=150"]),
            (Label, false, [".", ".blue", ".blue,black,brown", ".R,100,G,200,B,150"]),
            (Label, true, [".", ".blue", ".blue.black.brown", ".R=100.G=200.B=150"]),
            (Form, false, ["color=", "color=blue", "color=blue,black,brown", "color=R,100,G,200,B,150"]),
            (Form, true, ["color=", "color=blue", "color=blue&color=black&color=brown", "R=100&G=200&B=150"]),
            (
                SpaceDelimited,
                false,
                ["color=", "color=blue", "color=blue%20black%20brown", "color=R%20100%20G%20200%20B%20150"],
            ),
            (
                PipeDelimited,
                false,
                ["color=", "color=blue", "color=blue%7Cblack%7Cbrown", "color=R%7C100%7CG%7C200%7CB%7C150"],
            ),
            (
                DeepObject,
                true,
                [
                    "color=",
                    "color=blue",
                    "color[]=blue&color[]=black&color[]=brown",
                    "color[R]=100&color[G]=200&color[B]=150",
                ],
            ),
        ];
        for (style, explode, expected) in table {
            for (raw, expected) in [EMPTY, TEXT, LIST, OBJECT].into_iter().zip(expected) {
                assert_eq!(written(style, explode, raw).as_deref(), Ok(expected), "{style:?} {explode} {raw}");
            }
        }
        assert_eq!(written(Simple, false, LIST).as_deref(), Ok("blue,black,brown"));
        assert_eq!(written(Simple, false, OBJECT).as_deref(), Ok("R,100,G,200,B,150"));
        assert_eq!(written(Simple, true, OBJECT).as_deref(), Ok("R=100,G=200,B=150"));
        assert_eq!(header(&wire(Simple, true), OBJECT).as_deref(), Ok("R=100,G=200,B=150"));
        assert_eq!(header(&wire(Simple, false), LIST).as_deref(), Ok("blue,black,brown"));
    }

    #[test]
    fn a_value_cannot_leave_its_place() {
        let reserved = Wire { reserved: true, ..wire(Style::Form, true) };
        let mut out = String::new();
        query(&mut out, &reserved, r#""a/b?c=d&e#f+g%20h:[i]""#, Taken(&[])).expect("is written");
        assert_eq!(out, "color=a/b?c=d%26e%23f%2Bg%2520h:[i]");
        assert_eq!(written(Style::Form, true, r#""a&b=c d/é""#).as_deref(), Ok("color=a%26b%3Dc%20d%2F%C3%A9"));
        assert_eq!(written(Style::Simple, false, r#""a/b?c#d""#).as_deref(), Ok("a%2Fb%3Fc%23d"));
        let dots = [
            r#"".""#,
            r#""..""#,
            r#""../x""#,
            r#""x/../y""#,
            r#""x\\..\\y""#,
            r#""..;x""#,
            r#"{"x/../../admin/":"y"}"#,
        ];
        for raw in dots {
            assert!(has_dot_segment(&written(Style::Simple, false, raw).expect("is written")), "{raw}");
        }
        for raw in [r#""a...b""#, r#"["a",".."]"#, r#""%2e%2e""#, r#""...""#] {
            assert!(!has_dot_segment(&written(Style::Simple, false, raw).expect("is written")), "{raw}");
        }
        for raw in [EMPTY, "null", "[]", "{}"] {
            assert_eq!(written(Style::Simple, false, raw), Err(Unwritable::EmptySegment), "{raw}");
        }
        for raw in ["\"a\\r\\nX-Evil: 1\"", "\"a\\u0000\"", "[\"a\\n\"]"] {
            assert_eq!(header(&wire(Style::Simple, false), raw), Err(Unwritable::Header), "{raw}");
        }
    }

    #[test]
    fn what_nests_is_json_text_or_goes_on_in_brackets() {
        assert_eq!(written(Style::Form, true, r#"[{"a":1}]"#).as_deref(), Ok("color=%7B%22a%22%3A1%7D"));
        let deep = r#"{"a":{"b":[1,2]},"c":[{"d":"x y"},{"d":true}]}"#;
        assert_eq!(
            written(Style::DeepObject, true, deep).as_deref(),
            Ok("color[a][b][]=1&color[a][b][]=2&color[c][0][d]=x%20y&color[c][1][d]=true")
        );
        let too_deep = format!("{}1{}", "[".repeat(20), "]".repeat(20));
        assert_eq!(written(Style::DeepObject, true, &too_deep), Err(Unwritable::TooDeep));
        let json = Wire { json: Json::Always, ..wire(Style::Form, true) };
        let mut out = "x=1".to_owned();
        query(&mut out, &json, r#"{"a":[1]}"#, Taken(&[])).expect("is written");
        assert_eq!(out, "x=1&color=%7B%22a%22%3A%5B1%5D%7D");
        assert_eq!(written(Style::Form, true, "[]").as_deref(), Ok(""));
        assert_eq!(written(Style::Form, true, r#"{"a":1,"a":2}"#), Err(Unwritable::Ambiguous));
    }

    proptest! {
        #[test]
        fn a_query_gives_the_value_back(text: String) {
            let mut out = String::new();
            query(&mut out, &wire(Style::Form, true), &quorate_jsonrpc::quote(&text), Taken(&[])).expect("is written");
            let mut read = url::form_urlencoded::parse(out.as_bytes());
            prop_assert_eq!(read.next(), Some(("color".into(), text.into())));
            prop_assert_eq!(read.next(), None);
        }

        #[test]
        fn a_path_segment_stays_one_segment(text: String) {
            let mut out = String::new();
            let written = path(&mut out, &wire(Style::Simple, false), &quorate_jsonrpc::quote(&text), Taken(&[]));
            if written.is_ok() && !has_dot_segment(&out) {
                let url = url::Url::parse(&format!("http://h/a/{out}/b")).expect("is a URL");
                let segments: Vec<&str> = url.path_segments().expect("has a path").collect();
                prop_assert_eq!(segments.len(), 3);
                let decoded = percent_decode_str(segments[1]).decode_utf8().expect("is UTF-8");
                prop_assert_eq!(decoded, text);
            }
        }
    }
}
