//! Frames that we write ourselves, as bytes.
//!
//! Parts that are JSON already go in as they are (`&str` of valid JSON); texts are escaped here
//! and nowhere else. Every built frame parses back to the parts it was made of.

use std::fmt::Write as _;

use bytes::Bytes;

use crate::id::Id;

/// Writes `text` as a JSON string, quotes included.
#[must_use]
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    push_quoted(&mut out, text);
    out
}

/// Builds a request; `params` is the JSON text of its parameters.
#[must_use]
pub fn request(id: &Id, method: &str, params: Option<&str>) -> Bytes {
    let mut out = open(method.len() + params.map_or(0, str::len));
    out.push_str(",\"id\":");
    out.push_str(id.as_json());
    push_call(&mut out, method, params);
    Bytes::from(out)
}

/// Builds a notification; `params` is the JSON text of its parameters.
#[must_use]
pub fn notification(method: &str, params: Option<&str>) -> Bytes {
    let mut out = open(method.len() + params.map_or(0, str::len));
    push_call(&mut out, method, params);
    Bytes::from(out)
}

/// Builds the answer to a request; `result` is JSON text.
#[must_use]
pub fn result(id: &Id, result: &str) -> Bytes {
    let mut out = open(result.len());
    out.push_str(",\"id\":");
    out.push_str(id.as_json());
    out.push_str(",\"result\":");
    out.push_str(result);
    out.push('}');
    Bytes::from(out)
}

/// Builds an error answer; `data` is JSON text. Without an id it is `null` (JSON-RPC 2.0 §5).
#[must_use]
pub fn error(id: Option<&Id>, code: i64, message: &str, data: Option<&str>) -> Bytes {
    let mut out = open(message.len() + data.map_or(0, str::len));
    out.push_str(",\"id\":");
    out.push_str(id.map_or("null", Id::as_json));
    push_error(out, code, message, data)
}

/// Builds an error answer that has no `id` member at all, for protocols whose schema excludes
/// `null`.
#[must_use]
pub fn error_without_id(code: i64, message: &str, data: Option<&str>) -> Bytes {
    push_error(open(message.len() + data.map_or(0, str::len)), code, message, data)
}

fn push_error(mut out: String, code: i64, message: &str, data: Option<&str>) -> Bytes {
    out.push_str(",\"error\":{\"code\":");
    // Writing to a String cannot fail.
    let _ = write!(out, "{code}");
    out.push_str(",\"message\":");
    push_quoted(&mut out, message);
    if let Some(data) = data {
        out.push_str(",\"data\":");
        out.push_str(data);
    }
    out.push_str("}}");
    Bytes::from(out)
}

fn open(content: usize) -> String {
    let mut out = String::with_capacity(content + 96);
    out.push_str("{\"jsonrpc\":\"2.0\"");
    out
}

fn push_call(out: &mut String, method: &str, params: Option<&str>) {
    out.push_str(",\"method\":");
    push_quoted(out, method);
    if let Some(params) = params {
        out.push_str(",\"params\":");
        out.push_str(params);
    }
    out.push('}');
}

fn push_quoted(out: &mut String, text: &str) {
    out.reserve(text.len() + 2);
    out.push('"');
    let mut rest = text;
    // What needs an escape is ASCII, so that every cut is between characters.
    while let Some(at) = rest.bytes().position(|byte| matches!(byte, b'"' | b'\\' | ..b' ')) {
        out.push_str(&rest[..at]);
        match rest.as_bytes()[at] {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            // Writing to a String cannot fail.
            control => drop(write!(out, "\\u{control:04x}")),
        }
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
    out.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Frame, Kind, Limits};

    fn parse(bytes: Bytes) -> Frame {
        Frame::parse(bytes, &Limits::ANSWER).expect("built frames parse")
    }

    #[test]
    fn built_frames_are_compact_and_complete() {
        let id = Id::from(7);
        let cases = [
            (request(&id, "ping", None), r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#),
            (notification("n", Some("{}")), r#"{"jsonrpc":"2.0","method":"n","params":{}}"#),
            (result(&id, "{}"), r#"{"jsonrpc":"2.0","id":7,"result":{}}"#),
            (
                error(None, -32700, "a\"b", None),
                r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"a\"b"}}"#,
            ),
            (error_without_id(-1, "m", None), r#"{"jsonrpc":"2.0","error":{"code":-1,"message":"m"}}"#),
            (
                error(Some(&id), 1, "m", Some("[1]")),
                r#"{"jsonrpc":"2.0","id":7,"error":{"code":1,"message":"m","data":[1]}}"#,
            ),
        ];
        for (built, expected) in cases {
            assert_eq!(built, expected);
        }
    }

    proptest! {
        #[test]
        fn quoting_is_undone_by_any_json_parser(text: String) {
            let quoted = quote(&text);
            prop_assert_eq!(&serde_json::from_str::<String>(&quoted).expect("a JSON string"), &text);
            prop_assert_eq!(crate::text(&quoted).expect("a JSON string"), text);
        }

        #[test]
        fn a_built_frame_parses_back_to_its_parts(number: u64, method: String, text: String) {
            let id = Id::from(number);
            let params = format!("{{\"a\":{}}}", quote(&text));
            let frame = parse(request(&id, &method, Some(&params)));
            prop_assert_eq!(frame.kind(), Kind::Request);
            prop_assert_eq!(frame.id(), Some(&id));
            prop_assert_eq!(frame.method(), Some(method.as_str()));
            prop_assert_eq!(frame.params().expect("has params"), params);

            let refusal = parse(error(Some(&id), -1, &text, None));
            prop_assert_eq!((refusal.kind(), refusal.id()), (Kind::Error, Some(&id)));
        }
    }
}
