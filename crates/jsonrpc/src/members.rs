//! Views into one JSON object or array: which members are where.
//!
//! In: the raw text of an object and the offset at which it stands in its frame. Out: spans in
//! frame offsets. A member that a reader looks at must be there once: a second one, or one that
//! differs only by case, is an error, because JSON parsers differ in which of them they take (the
//! last, the first, or, in Go's `encoding/json`, a case-folded match), and that difference would
//! let a request mean one thing here and another at the backend.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::limits::DEPTH_CEILING;
use crate::scan::{ScanError, Scanner, StringToken};
use crate::span::Span;

/// Up to this many keys are compared one by one; beyond, a set is cheaper.
const KEYS_LINEAR_MAX: usize = 16;

/// Why the members of an object cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembersError {
    /// The text is not an object (or array, for [`elements`]).
    #[error("not of the expected JSON type")]
    Type,
    /// The text is not JSON, or nests too deep.
    #[error("malformed JSON at byte {at}")]
    Syntax {
        /// The offset in the frame.
        at: usize,
    },
    /// A member that is looked at stands there twice, or beside one that differs only by case.
    #[error("member {member:?} is ambiguous")]
    Duplicate {
        /// The member's name as it stands the second time.
        member: String,
    },
}

/// Visits every member of the object `raw` in order: its decoded key, and its value's span.
///
/// `base` is the offset of `raw` in its frame; spans are in frame offsets.
///
/// # Errors
/// [`MembersError`]; on a duplicate, of whichever key, members before it have been visited.
pub fn members(raw: &str, base: usize, mut visit: impl FnMut(&str, Span)) -> Result<(), MembersError> {
    let mut seen = Seen::default();
    walk(raw, base, |key, _, span| {
        if !seen.insert(key) {
            return Err(MembersError::Duplicate { member: key.to_owned() });
        }
        visit(key, span);
        Ok(())
    })
}

/// Visits every member of the object `raw` in order: its decoded key, and the spans of key and
/// value. For whoever removes members: one that stands there twice is visited twice.
///
/// `base` is the offset of `raw` in its frame; spans are in frame offsets.
///
/// # Errors
/// [`MembersError::Type`] when it is no object, [`MembersError::Syntax`] when it is no JSON.
pub fn keyed_members(raw: &str, base: usize, mut visit: impl FnMut(&str, Span, Span)) -> Result<(), MembersError> {
    walk(raw, base, |name, key, value| {
        visit(name, key, value);
        Ok(())
    })
}

/// Finds the members named `keys` of the object `raw`; other members are stepped over.
///
/// For what a client sends, and anything that is acted on before it is passed on. `base` is the
/// offset of `raw` in its frame; spans are in frame offsets.
///
/// # Errors
/// [`MembersError`]; a duplicate or case variant is an error only for the named members.
pub fn pick<const N: usize>(raw: &str, base: usize, keys: [&str; N]) -> Result<[Option<Span>; N], MembersError> {
    find(raw, base, keys, true)
}

/// Finds the members named `keys` as [`pick`] does, but takes case variants for other members.
///
/// For what a backend answers: such a member cannot smuggle anything past us, and an answer must
/// not be lost for it.
///
/// # Errors
/// [`MembersError`]; a duplicate is an error only for the named members.
pub fn pick_exact<const N: usize>(raw: &str, base: usize, keys: [&str; N]) -> Result<[Option<Span>; N], MembersError> {
    find(raw, base, keys, false)
}

/// Visits every element of the array `raw` in order.
///
/// `base` is the offset of `raw` in its frame; spans are in frame offsets.
///
/// # Errors
/// [`MembersError::Type`] when it is no array, [`MembersError::Syntax`] when it is no JSON.
pub fn elements(raw: &str, base: usize, mut visit: impl FnMut(Span)) -> Result<(), MembersError> {
    let mut scanner = Scanner::new(raw, DEPTH_CEILING);
    let syntax = |error: ScanError, scanner: &Scanner<'_>| error.within(base, scanner);
    if scanner.peek() != Some(b'[') {
        return Err(MembersError::Type);
    }
    scanner.enter(b'[').map_err(|error| syntax(error, &scanner))?;
    if !scanner.eat(b']') {
        loop {
            let span = scanner.value().map_err(|error| syntax(error, &scanner))?;
            visit(span.shifted(base));
            if scanner.eat(b']') {
                break;
            }
            scanner.expect(b',').map_err(|error| syntax(error, &scanner))?;
        }
    }
    scanner.finish().map_err(|error| syntax(error, &scanner))
}

/// Decodes the raw JSON string `raw`, quotes included.
///
/// `None` when it is no string, or has a lone surrogate, which no text can hold. Borrows when
/// there is nothing to decode.
#[must_use]
pub fn text(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr2(b'\\', b'"', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str::<String>(raw).ok().map(Cow::Owned)
}

/// Tells whether `key` could be taken for `wanted` by a parser that ignores case.
///
/// `wanted` is ASCII. Beyond ASCII, two characters fold into it: `ſ` (U+017F) to `s` and `K`
/// (U+212A, the Kelvin sign) to `k`.
#[must_use]
pub fn eq_folded(wanted: &str, key: &str) -> bool {
    if key.is_ascii() {
        return wanted.eq_ignore_ascii_case(key);
    }
    let fold = |c: char| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    key.chars().map(fold).eq(wanted.chars().map(fold))
}

/// Decodes the key `token` of `raw`; a key with a lone surrogate has no text and is an error.
pub(crate) fn key_text(raw: &str, token: StringToken) -> Option<Cow<'_, str>> {
    if token.escaped {
        text(token.span.of(raw))
    } else {
        Some(Cow::Borrowed(&raw[token.span.start + 1..token.span.end - 1]))
    }
}

fn find<const N: usize>(
    raw: &str,
    base: usize,
    keys: [&str; N],
    mind_case: bool,
) -> Result<[Option<Span>; N], MembersError> {
    let mut found = [None; N];
    walk(raw, base, |key, _, span| {
        let duplicate = || Err(MembersError::Duplicate { member: key.to_owned() });
        match keys.iter().position(|wanted| *wanted == key) {
            Some(index) => found[index].replace(span).map_or(Ok(()), |_| duplicate()),
            None if mind_case && keys.iter().any(|wanted| eq_folded(wanted, key)) => duplicate(),
            None => Ok(()),
        }
    })?;
    Ok(found)
}

/// Visits every member of the object `raw`: its decoded key, where the key stands, and its value.
pub(crate) fn walk(
    raw: &str,
    base: usize,
    mut visit: impl FnMut(&str, Span, Span) -> Result<(), MembersError>,
) -> Result<(), MembersError> {
    let mut scanner = Scanner::new(raw, DEPTH_CEILING);
    if scanner.peek() != Some(b'{') {
        return Err(MembersError::Type);
    }
    scanner.enter(b'{').map_err(|error| error.within(base, &scanner))?;
    if !scanner.eat(b'}') {
        loop {
            let key = scanner.key().map_err(|error| error.within(base, &scanner))?;
            let value = scanner.value().map_err(|error| error.within(base, &scanner))?;
            let name = key_text(raw, key).ok_or(MembersError::Syntax { at: key.span.start + base })?;
            visit(&name, key.span.shifted(base), value.shifted(base))?;
            if scanner.eat(b'}') {
                break;
            }
            scanner.expect(b',').map_err(|error| error.within(base, &scanner))?;
        }
    }
    scanner.finish().map_err(|error| error.within(base, &scanner))
}

// === impl ScanError ===

impl ScanError {
    fn within(self, base: usize, scanner: &Scanner<'_>) -> MembersError {
        match self {
            Self::Syntax { at } => MembersError::Syntax { at: at + base },
            Self::TooDeep => MembersError::Syntax { at: scanner.offset() + base },
        }
    }
}

/// The keys seen so far.
#[derive(Default)]
struct Seen {
    few: Vec<Box<str>>,
    many: HashSet<Box<str>>,
}

// === impl Seen ===

impl Seen {
    /// Adds `key` and tells whether it is new.
    fn insert(&mut self, key: &str) -> bool {
        if self.few.iter().any(|seen| **seen == *key) {
            return false;
        }
        if self.few.len() < KEYS_LINEAR_MAX {
            self.few.push(Box::from(key));
            return true;
        }
        self.many.insert(Box::from(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_visited_in_order_with_offsets_of_the_frame() {
        let frame = r#"{"params": {"b": 1, "\u0061" :[2,{}], "":"x"}}"#;
        let base = 11;
        let mut visited = Vec::new();

        members(&frame[base..frame.len() - 1], base, |key, span| {
            visited.push((key.to_owned(), span.of(frame).to_owned()));
        })
        .expect("well-formed");

        let expected = [("b", "1"), ("a", "[2,{}]"), ("", "\"x\"")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(visited, expected);
    }

    #[test]
    fn keyed_members_are_visited_with_their_keys_and_as_often_as_they_are_there() {
        let raw = r#"{"a" : 1, "\u0061":{"a":2}}"#;
        let mut visited = Vec::new();

        keyed_members(raw, 7, |name, key, value| {
            let text = |span: Span| raw[span.start - 7..span.end - 7].to_owned();
            visited.push((name.to_owned(), text(key), text(value)));
        })
        .expect("well-formed");

        let expected = [("a", "\"a\"", "1"), ("a", r#""\u0061""#, r#"{"a":2}"#)];
        assert_eq!(visited, expected.map(|(name, key, value)| (name.to_owned(), key.to_owned(), value.to_owned())));
        assert_eq!(keyed_members("[]", 0, |_, _, _| {}), Err(MembersError::Type));
    }

    #[test]
    fn a_duplicate_is_found_however_it_is_spelled() {
        let many = (0..40).map(|i| format!("\"k{i}\":0")).collect::<Vec<_>>().join(",");
        let cases = [
            r#"{"a":1,"a":2}"#.to_owned(),
            r#"{"a":1,"\u0061":2}"#.to_owned(),
            format!("{{{many},\"k39\":1}}"),
            format!("{{{many},\"k0\":1}}"),
        ];
        for raw in cases {
            assert!(matches!(members(&raw, 0, |_, _| {}), Err(MembersError::Duplicate { .. })), "{raw}");
        }
        assert_eq!(members(&format!("{{{many}}}"), 0, |_, _| {}), Ok(()));
    }

    #[test]
    fn pick_minds_only_the_named_members_and_their_case_twins() {
        let cases = [
            (r#"{"name":1,"x":2,"x":3}"#, true),
            (r#"{"x":2,"X":3}"#, true),
            (r#"{"name":1,"name":2}"#, false),
            (r#"{"name":1,"NAME":2}"#, false),
            (r#"{"Name":2}"#, false),
            ("{\"tas\u{212a}\":2}", false),
            ("{\"ta\u{17f}k\":2}", false),
            (r#"{"\u004eame":2}"#, false),
        ];
        for (raw, accepted) in cases {
            assert_eq!(pick(raw, 0, ["name", "task"]).is_ok(), accepted, "{raw}");
        }
        assert_eq!(pick_exact(r#"{"Name":1,"name":2}"#, 0, ["name"]), Ok([Some(Span::new(17, 18))]));
        assert!(pick_exact(r#"{"name":1,"name":2}"#, 0, ["name"]).is_err());
    }

    #[test]
    fn other_types_and_broken_text_are_told_apart() {
        assert_eq!(pick("[]", 0, ["a"]), Err(MembersError::Type));
        assert_eq!(pick("", 0, ["a"]), Err(MembersError::Type));
        assert_eq!(pick("{\"a\" 1}", 5, ["a"]), Err(MembersError::Syntax { at: 10 }));
        assert_eq!(elements("{}", 0, |_| {}), Err(MembersError::Type));
        assert_eq!(elements("[1,]", 0, |_| {}), Err(MembersError::Syntax { at: 3 }));
    }

    #[test]
    fn elements_yield_each_value() {
        let raw = " [1, \"a,b\" ,[2],{}] ";
        let mut found = Vec::new();
        elements(raw, 0, |span| found.push(span.of(raw))).expect("well-formed");
        assert_eq!(found, ["1", "\"a,b\"", "[2]", "{}"]);
        elements("[]", 0, |_| panic!("an empty array has no elements")).expect("well-formed");
    }

    #[test]
    fn text_decodes_escapes_and_refuses_what_is_no_text() {
        assert!(matches!(text(r#""abc""#), Some(Cow::Borrowed("abc"))));
        assert_eq!(text(r#""a\n\u00e9""#).as_deref(), Some("a\né"));
        for raw in ["1", "null", "\"", "\"a", r#""\ud800""#, r#""a"b""#] {
            assert_eq!(text(raw), None, "{raw}");
        }
    }
}
