//! Which requests are the same: a digest of a body that spaces, the order of keys and the spelling of texts do not change.
//!
//! Numbers stay as they are written: `1` and `1.0` are two, since two providers may take them for two. What is nested deeper than any
//! request of a known API is taken as its bytes, so that the work is bounded by the body's length. Every part is framed by its kind and
//! length, so that no two bodies are one by how their parts meet.

use quorate_jsonrpc::{Span, elements, members, text};
use sha2::{Digest as _, Sha256};

/// How deep keys are put in order: results of tools within parts within turns, and schemas of their arguments.
const DEPTH_MAX: usize = 24;

/// Says whether two requests are the same.
pub type Digest = [u8; 32];

/// The digest of a request's body among those with the same `scope`: what else has to be the same, such as the tenant, the API and the
/// model, each framed.
#[must_use]
pub fn digest(scope: &[&str], body: &str) -> Digest {
    let mut hasher = Sha256::new();
    for part in scope {
        frame(&mut hasher, b'.', part.as_bytes());
    }
    value(&mut hasher, body.trim_ascii(), 0);
    hasher.finalize().into()
}

fn value(hasher: &mut Sha256, raw: &str, depth: usize) {
    let is_done = match raw.as_bytes().first() {
        Some(b'{') if depth < DEPTH_MAX => object(hasher, raw, depth),
        Some(b'[') if depth < DEPTH_MAX => array(hasher, raw, depth),
        Some(b'"') => string(hasher, raw),
        _ => false,
    };
    if !is_done {
        frame(hasher, b'=', raw.as_bytes());
    }
}

fn object(hasher: &mut Sha256, raw: &str, depth: usize) -> bool {
    let mut found: Vec<(String, Span)> = Vec::new();
    // One with a key that is there twice is itself alone: nobody knows which of the two counts.
    if members(raw, 0, |key, span| found.push((key.to_owned(), span))).is_err() {
        return false;
    }
    found.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    count(hasher, b'{', found.len());
    for (key, span) in found {
        frame(hasher, b':', key.as_bytes());
        value(hasher, span.of(raw), depth + 1);
    }
    true
}

fn array(hasher: &mut Sha256, raw: &str, depth: usize) -> bool {
    let mut found = Vec::new();
    if elements(raw, 0, |span| found.push(span)).is_err() {
        return false;
    }
    count(hasher, b'[', found.len());
    for span in found {
        value(hasher, span.of(raw), depth + 1);
    }
    true
}

fn string(hasher: &mut Sha256, raw: &str) -> bool {
    let Some(text) = text(raw) else { return false };
    frame(hasher, b'"', text.as_bytes());
    true
}

fn frame(hasher: &mut Sha256, kind: u8, bytes: &[u8]) {
    count(hasher, kind, bytes.len());
    hasher.update(bytes);
}

fn count(hasher: &mut Sha256, kind: u8, count: usize) {
    hasher.update([kind]);
    hasher.update((count as u64).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_order_and_spelling_change_nothing() {
        let one = r#"{"model":"m","messages":[{"role":"user","content":"ü\n"}],"temperature":0.2}"#;
        let other = " {\"temperature\" : 0.2, \"messages\": [ {\"content\":\"\\u00fc\\n\", \"role\":\"user\"} ],\n \"model\":\"m\" } ";

        assert_eq!(digest(&["acme"], one), digest(&["acme"], other));
    }

    #[test]
    fn everything_else_does() {
        let different = [
            (r#"{"a":1}"#, r#"{"a":1.0}"#),
            (r#"{"a":[1,2]}"#, r#"{"a":[2,1]}"#),
            (r#"{"a":"1"}"#, r#"{"a":1}"#),
            (r#"{"a":null}"#, r"{}"),
            (r#"{"a":"x","b":"y"}"#, r#"{"a":"xb","":"y"}"#),
            (r#"[["a"],"b"]"#, r#"[["a","b"]]"#),
            (r#"{"a":1,"a":2}"#, r#"{"a":2,"a":1}"#),
            (r#"{"a":{}}"#, r#"{"a":[]}"#),
        ];
        for (one, other) in different {
            assert_ne!(digest(&[], one), digest(&[], other), "{one} {other}");
        }
        assert_ne!(digest(&["a", "b"], "{}"), digest(&["ab"], "{}"));
    }

    #[test]
    fn what_is_nested_deeper_than_requests_are_is_taken_as_it_is() {
        let nested = |inner: &str| format!("{}{inner}{}", "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX));

        assert_eq!(digest(&[], &nested("1")), digest(&[], &nested("1")));
        assert_ne!(digest(&[], &nested(r#"{"a":1,"b":2}"#)), digest(&[], &nested(r#"{"b":2,"a":1}"#)));
        let deep = "[".repeat(200_000);
        assert_eq!(digest(&[], &deep), digest(&[], &deep));
    }
}
