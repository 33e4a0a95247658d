//! Instructions that an operator adds to those of a client: the rest of the body keeps its bytes.
//!
//! In: a body in a client's shape. Out: the same with a text before the client's instructions, or after them, where its shape has them:
//! the `system` and `developer` messages that begin a conversation (chat completions), `instructions` (responses), `system`
//! (messages), `systemInstruction` (generateContent). Instructions in the midst of a conversation are part of it and stay.

use bytes::Bytes;
use quorate_jsonrpc::{Span, Splice, elements, members, pick, quote, text};

use crate::api::Dialect;
use crate::error::Fault;

/// What stands between two instructions that are one text.
const BETWEEN: &str = "\n\n";

/// What is added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Added<'a> {
    /// Before the client's own.
    pub before: Option<&'a str>,
    /// After them.
    pub after: Option<&'a str>,
}

// === impl Added ===

impl Added<'_> {
    /// Whether nothing is.
    #[must_use]
    pub const fn is_nothing(&self) -> bool {
        self.before.is_none() && self.after.is_none()
    }

    /// Around a text, which may be none.
    fn around(&self, own: &str) -> String {
        let own = Some(own).filter(|own| !own.is_empty());
        let all: Vec<&str> = [self.before, own, self.after].into_iter().flatten().collect();
        all.join(BETWEEN)
    }

    /// Around the elements of a list, as `part` writes them.
    fn around_list(&self, body: &str, list: Span, part: impl Fn(&str) -> String, splice: &mut Splice<'_>) {
        let mut spans = Vec::new();
        // It was read as JSON before.
        let _ = elements(list.of(body), list.start, |span| spans.push(span));
        let (first, last) = (spans.first().map_or(list.end - 1, |span| span.start), spans.last().map(|span| span.end));
        insert(first, last.is_some(), last.unwrap_or(list.end - 1), self, part, splice);
    }
}

/// Adds instructions to a body.
///
/// # Errors
/// [`Kind::Invalid`](crate::error::Kind::Invalid) with the field that is none of its shape.
pub fn add(dialect: Dialect, body: &Bytes, added: &Added<'_>) -> Result<Bytes, Fault> {
    if added.is_nothing() {
        return Ok(body.clone());
    }
    let raw = std::str::from_utf8(body).map_err(|_| Fault::invalid("", "the body is no UTF-8"))?;
    let mut splice = Splice::new(body);
    match dialect {
        Dialect::Chat => chat(raw, added, &mut splice)?,
        Dialect::Responses => member(raw, &["instructions"], added, None, &mut splice)?,
        Dialect::Messages => member(raw, &["system"], added, Some(&text_part), &mut splice)?,
        Dialect::Generate => generate(raw, added, &mut splice)?,
    }
    Ok(splice.finish())
}

/// Chat completions: messages before the first one that is none of the instructions.
fn chat(body: &str, added: &Added<'_>, splice: &mut Splice<'_>) -> Result<(), Fault> {
    let [list] = pick(body, 0, ["messages"]).map_err(|error| Fault::invalid("messages", error.to_string()))?;
    let list = list.ok_or_else(|| Fault::invalid("messages", "the request has no messages"))?;
    let mut spans = Vec::new();
    elements(list.of(body), list.start, |span| spans.push(span))
        .map_err(|_| Fault::invalid("messages", "messages is no list"))?;
    let is_instruction = |span: &&Span| {
        let [role] = pick(span.of(body), 0, ["role"]).unwrap_or([None]);
        let role = role.and_then(|role| text(role.of(span.of(body))).map(std::borrow::Cow::into_owned));
        matches!(role.as_deref(), Some("system" | "developer"))
    };
    let own = spans.iter().take_while(is_instruction).count();
    let message = |text: &str| format!(r#"{{"role":"system","content":{}}}"#, quote(text));
    let first = spans.first().map_or(list.end - 1, |span| span.start);
    if own > 0 {
        insert(first, true, spans[own - 1].end, added, message, splice);
        return Ok(());
    }
    let all: Vec<String> = [added.before, added.after].into_iter().flatten().map(message).collect();
    let rest = if spans.is_empty() { "" } else { "," };
    splice.insert(first, (all.join(",") + rest).into_bytes());
    Ok(())
}

/// A member that is a text, or a list of parts where there is a way to write one.
fn member(
    body: &str,
    names: &[&str],
    added: &Added<'_>,
    part: Option<&dyn Fn(&str) -> String>,
    splice: &mut Splice<'_>,
) -> Result<(), Fault> {
    let name = names[0];
    let found = find(body, names)?;
    match found.map(|span| (span, span.of(body).as_bytes().first().copied())) {
        None => insert_member(body, &format!("{}:{}", quote(name), quote(&added.around(""))), splice),
        Some((span, Some(b'n'))) => drop(splice.replace(span, quote(&added.around("")).into_bytes())),
        Some((span, Some(b'"'))) => {
            let own = text(span.of(body)).ok_or_else(|| Fault::invalid(name, format!("{name} is no text")))?;
            splice.replace(span, quote(&added.around(&own)).into_bytes());
        }
        Some((span, Some(b'['))) if part.is_some() => {
            added.around_list(body, span, |text| part.map_or_else(String::new, |part| part(text)), splice);
        }
        Some(_) => {
            return Err(Fault::invalid(name, format!("{name} has no instructions that others could be added to")));
        }
    }
    Ok(())
}

/// generateContent: the parts of `systemInstruction`, which may be written either way.
fn generate(body: &str, added: &Added<'_>, splice: &mut Splice<'_>) -> Result<(), Fault> {
    let part = |text: &str| format!(r#"{{"text":{}}}"#, quote(text));
    let all = || [added.before, added.after].into_iter().flatten().map(part).collect::<Vec<_>>().join(",");
    let name = "systemInstruction";
    let Some(span) = find(body, &[name, "system_instruction"])? else {
        insert_member(body, &format!(r#""{name}":{{"parts":[{}]}}"#, all()), splice);
        return Ok(());
    };
    let inner = span.of(body);
    if inner == "null" {
        splice.replace(span, format!(r#"{{"parts":[{}]}}"#, all()).into_bytes());
        return Ok(());
    }
    let parts = pick(inner, span.start, ["parts"]).map_err(|_| Fault::invalid(name, format!("{name} is no object")))?;
    match parts[0] {
        Some(list) if list.of(body).starts_with('[') => added.around_list(body, list, part, splice),
        // A single part may stand for a list of it.
        Some(one) if one.of(body).starts_with('{') => {
            let own = one.of(body).to_owned();
            let of = |text: Option<&str>| text.map(part);
            let all: Vec<String> = [of(added.before), Some(own), of(added.after)].into_iter().flatten().collect();
            splice.replace(one, format!("[{}]", all.join(",")).into_bytes());
        }
        Some(_) => return Err(Fault::invalid(name, format!("{name}.parts is no list"))),
        None => {
            let open = span.start + 1;
            let rest = if inner[1..].trim_start().starts_with('}') { "" } else { "," };
            splice.insert(open, format!(r#""parts":[{}]{rest}"#, all()).into_bytes());
        }
    }
    Ok(())
}

/// Finds a member by any of its names; of two that are there nobody knows which counts.
fn find(body: &str, names: &[&str]) -> Result<Option<Span>, Fault> {
    let mut found = Vec::new();
    members(body, 0, |key, span| {
        if names.contains(&key) {
            found.push(span);
        }
    })
    .map_err(|error| Fault::invalid(names[0], error.to_string()))?;
    match found[..] {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        _ => Err(Fault::invalid(names[0], format!("{} stands there more than once", names[0]))),
    }
}

/// Adds what comes before `first` and after the end of what is `last`.
fn insert(
    first: usize,
    has_own: bool,
    last: usize,
    added: &Added<'_>,
    part: impl Fn(&str) -> String,
    splice: &mut Splice<'_>,
) {
    if let Some(before) = added.before {
        let comma = if has_own || added.after.is_some() { "," } else { "" };
        splice.insert(first, (part(before) + comma).into_bytes());
    }
    if let Some(after) = added.after {
        let comma = if has_own { "," } else { "" };
        splice.insert(last, (comma.to_owned() + &part(after)).into_bytes());
    }
}

fn insert_member(body: &str, member: &str, splice: &mut Splice<'_>) {
    let open = body.find('{').unwrap_or(0) + 1;
    let rest = if body[open..].trim_start().starts_with('}') { "" } else { "," };
    splice.insert(open, format!("{member}{rest}").into_bytes());
}

fn text_part(text: &str) -> String {
    format!(r#"{{"type":"text","text":{}}}"#, quote(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Added<'static> = Added { before: Some("B"), after: Some("A") };

    fn added(dialect: Dialect, body: &str, added: &Added<'_>) -> String {
        let bytes = add(dialect, &Bytes::copy_from_slice(body.as_bytes()), added).expect("it can be added");
        let text = String::from_utf8(bytes.to_vec()).expect("it is text");
        let _: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        text
    }

    #[test]
    fn instructions_are_added_where_each_shape_has_them() {
        let cases = [
            (
                Dialect::Chat,
                r#"{"messages":[{"role":"user","content":"x"}]}"#,
                r#"{"messages":[{"role":"system","content":"B"},{"role":"system","content":"A"},{"role":"user","content":"x"}]}"#,
            ),
            (
                Dialect::Chat,
                r#"{"messages":[ {"role":"developer"} , {"role":"system"},{"role":"user"},{"role":"system"}]}"#,
                r#"{"messages":[ {"role":"system","content":"B"},{"role":"developer"} , {"role":"system"},{"role":"system","content":"A"},{"role":"user"},{"role":"system"}]}"#,
            ),
            (
                Dialect::Chat,
                r#"{"messages":[]}"#,
                r#"{"messages":[{"role":"system","content":"B"},{"role":"system","content":"A"}]}"#,
            ),
            (Dialect::Responses, r"{}", r#"{"instructions":"B\n\nA"}"#),
            (Dialect::Responses, r#"{"instructions":null}"#, r#"{"instructions":"B\n\nA"}"#),
            (
                Dialect::Responses,
                r#"{ "instructions":"own","x":1.0 }"#,
                r#"{ "instructions":"B\n\nown\n\nA","x":1.0 }"#,
            ),
            (Dialect::Messages, r#"{"system":"own"}"#, r#"{"system":"B\n\nown\n\nA"}"#),
            (
                Dialect::Messages,
                r#"{"system":[{"type":"text","text":"own"}]}"#,
                r#"{"system":[{"type":"text","text":"B"},{"type":"text","text":"own"},{"type":"text","text":"A"}]}"#,
            ),
            (
                Dialect::Messages,
                r#"{"system":[]}"#,
                r#"{"system":[{"type":"text","text":"B"},{"type":"text","text":"A"}]}"#,
            ),
            (Dialect::Generate, r"{}", r#"{"systemInstruction":{"parts":[{"text":"B"},{"text":"A"}]}}"#),
            (
                Dialect::Generate,
                r#"{"system_instruction":{"role":"system","parts":[{"text":"own"}]}}"#,
                r#"{"system_instruction":{"role":"system","parts":[{"text":"B"},{"text":"own"},{"text":"A"}]}}"#,
            ),
            (
                Dialect::Generate,
                r#"{"systemInstruction":{"parts":{"text":"own"}}}"#,
                r#"{"systemInstruction":{"parts":[{"text":"B"},{"text":"own"},{"text":"A"}]}}"#,
            ),
            (
                Dialect::Generate,
                r#"{"systemInstruction":{"role":"x"}}"#,
                r#"{"systemInstruction":{"parts":[{"text":"B"},{"text":"A"}],"role":"x"}}"#,
            ),
        ];
        for (dialect, body, expected) in cases {
            assert_eq!(added(dialect, body, &BOTH), expected, "{dialect:?} {body}");
        }
    }

    #[test]
    fn one_of_them_alone_leaves_no_comma_behind() {
        for one in [Added { before: Some("B"), after: None }, Added { before: None, after: Some("A") }] {
            for body in
                [r#"{"messages":[]}"#, r#"{"messages":[{"role":"user"}]}"#, r#"{"messages":[{"role":"system"}]}"#]
            {
                assert!(added(Dialect::Chat, body, &one).contains("content"), "{body}");
            }
            for body in [r#"{"system":[]}"#, r#"{"system":[{}]}"#, r#"{"system":""}"#, r#"{"x":1}"#] {
                added(Dialect::Messages, body, &one);
            }
            for body in [
                r#"{"systemInstruction":null}"#,
                r#"{"systemInstruction":{}}"#,
                r#"{"systemInstruction":{"parts":[]}}"#,
            ] {
                added(Dialect::Generate, body, &one);
            }
        }
        assert_eq!(added(Dialect::Chat, r#"{ "messages":5}"#, &Added::default()), r#"{ "messages":5}"#);
    }

    #[test]
    fn what_has_no_place_for_them_is_named() {
        for (dialect, body, field) in [
            (Dialect::Chat, r"{}", "messages"),
            (Dialect::Chat, r#"{"messages":5}"#, "messages"),
            (Dialect::Responses, r#"{"instructions":[1]}"#, "instructions"),
            (Dialect::Messages, r#"{"system":5}"#, "system"),
            (Dialect::Generate, r#"{"systemInstruction":5}"#, "systemInstruction"),
            (Dialect::Generate, r#"{"systemInstruction":{},"system_instruction":{}}"#, "systemInstruction"),
        ] {
            let fault = add(dialect, &Bytes::copy_from_slice(body.as_bytes()), &BOTH).expect_err("it has no place");
            assert_eq!(fault.field.as_deref(), Some(field), "{body}");
        }
    }
}
