//! What an API answered, as the result of a tool call (`CallToolResult` of MCP 2026-07-28).
//!
//! | answer | result |
//! |--------|--------|
//! | 2xx with JSON | its text, and the same as `structuredContent`, an object as it is and anything else under `result` |
//! | 2xx with text, image, audio | content of that type |
//! | 2xx with other bytes | an embedded resource |
//! | 2xx without a body | the status |
//! | 3xx | where it leads; an error unless the document describes it |
//! | 4xx, 5xx | an error with the status and the beginning of the body |
//!
//! JSON goes into the result as its raw text, so that `1.0` stays `1.0`.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONTENT_TYPE, HeaderName, LOCATION, RETRY_AFTER};
use http::{HeaderMap, Method, StatusCode, Uri};
use quorate_jsonrpc::quote;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::argument::Argument;
use crate::body::is_text;
use crate::next::{self, Next};
use crate::parameter::is_json;
use crate::response::WRAPPER;
use crate::shape::Shape;

/// The deepest nesting of an answer that becomes structured: a message may have 128 levels.
const NESTING_MAX: usize = 120;
/// The key of `_meta` under which what was replaced in a structured result is told.
const META_REPLACED: &str = "quorate/replaced";
/// The key of `_meta` under which the next page is told.
const META_NEXT: &str = "quorate/next";
/// The headers of an answer without a body that are shown (a HEAD has nothing else), at most.
const HEADERS_MAX: usize = 30;
/// The longest header that is shown, in characters.
const HEADER_CHARS_MAX: usize = 1_000;

/// What an API answered.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The status.
    pub status: StatusCode,
    /// The header fields.
    pub headers: &'a HeaderMap,
    /// The URI of the request; of it the part before the query names bytes that are no text.
    pub uri: &'a Uri,
    /// The body.
    pub body: &'a [u8],
}

/// How a tool's answers become results.
#[derive(Debug)]
pub(crate) struct Reply {
    /// Whether an output schema was promised.
    pub(crate) promised: bool,
    /// Whether JSON goes under [`WRAPPER`].
    pub(crate) wrapped: bool,
    /// Whether the document describes redirects as answers.
    pub(crate) redirects: bool,
    pub(crate) error_bytes_max: usize,
    /// The output schema, made when the tool is called first.
    pub(crate) shape: OnceLock<Option<Shape>>,
}

/// A result as it is put together.
#[derive(Default)]
struct Parts {
    content: Vec<String>,
    structured: Option<String>,
    is_error: bool,
    meta: Vec<String>,
}

/// Makes the result of a call that failed before there was an answer, or was refused.
#[must_use]
pub fn failure(message: &str) -> String {
    Parts { content: vec![text(message)], is_error: true, ..Parts::default() }.write()
}

// === impl Reply ===

impl Reply {
    /// Makes the result of an answer; `definition` is the tool's, of which the output schema is read once.
    pub(crate) fn result(
        &self,
        method: &Method,
        arguments: &[Argument],
        definition: &str,
        answer: &Answer<'_>,
    ) -> String {
        if answer.status.is_success() {
            return self.success(method, arguments, definition, answer).write();
        }
        let redirect = answer.status.is_redirection();
        let mut message = status_line(answer.status);
        for name in [LOCATION, RETRY_AFTER] {
            push_header(&mut message, answer.headers, &name);
        }
        if redirect {
            message.push_str("\nRedirects are not followed.");
        }
        push_cut(&mut message, answer.body, self.error_bytes_max);
        let described = redirect && self.redirects;
        let structured = (described && self.promised).then(|| self.empty());
        Parts { content: vec![text(&message)], structured, is_error: !described, meta: Vec::new() }.write()
    }

    fn success(&self, method: &Method, arguments: &[Argument], definition: &str, answer: &Answer<'_>) -> Parts {
        let mut parts = Parts::default();
        let media = answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let readable = std::str::from_utf8(answer.body).ok();
        let json =
            readable.map(str::trim).filter(|text| is_json(&essence) || (essence.is_empty() && text.starts_with('{')));
        match readable {
            _ if answer.body.is_empty() => parts.content.push(text(&without_body(method, answer))),
            Some(readable)
                if json.is_some() || is_text(&essence) || essence.is_empty() || essence == "image/svg+xml" =>
            {
                parts.content.push(text(readable));
            }
            None if is_text(&essence) => parts.content.push(text(&latin1(answer.body))),
            _ => parts.content.push(bytes(&essence, answer)),
        }
        if let Some(json) = json.filter(|json| !json.is_empty()) {
            self.structure(json, definition, &mut parts);
        }
        if self.promised && parts.structured.is_none() {
            parts.structured = Some(self.empty());
        }
        match next::find(arguments, answer.headers, json) {
            Some(Next::Arguments(arguments)) => {
                parts
                    .content
                    .push(text(&format!("There are more results. For the next page, call again with {arguments}")));
                parts.meta.push(format!("\"{META_NEXT}\":{{\"arguments\":{arguments}}}"));
            }
            Some(Next::Value(value)) => {
                parts.content.push(text(&format!("There are more results. The next page is {value}")));
                parts.meta.push(format!("\"{META_NEXT}\":{{\"value\":{}}}", quote(&value)));
            }
            None => {}
        }
        parts
    }

    /// Adds the structured result of a JSON text, if it is one.
    fn structure(&self, json: &str, definition: &str, parts: &mut Parts) {
        let shape = self.promised.then(|| self.shape(definition)).flatten();
        let wrapper = self.wraps(json).then_some(WRAPPER);
        if shape.is_some_and(|shape| shape.fits(json, wrapper, NESTING_MAX)) {
            parts.structured = Some(self.wrap(json));
            return;
        }
        if nesting(json) > NESTING_MAX {
            return;
        }
        let Some(shape) = shape else {
            if serde_json::from_str::<IgnoredAny>(json).is_ok() {
                parts.structured = Some(self.wrap(json));
            }
            return;
        };
        let Ok(value) = serde_json::from_str::<Value>(json) else { return };
        let mut value = if self.wraps(json) { json!({ WRAPPER: value }) } else { value };
        let places = shape.fit(&mut value);
        if places.is_empty() {
            parts.structured = Some(self.wrap(json));
            return;
        }
        parts.structured = Some(value.to_string());
        let places: Vec<String> = places.iter().map(|place| quote(place)).collect();
        parts.meta.push(format!("\"{META_REPLACED}\":[{}]", places.join(",")));
    }

    fn wraps(&self, json: &str) -> bool {
        // Without a promise only the answer itself decides.
        !json.starts_with('{') || (self.promised && self.wrapped)
    }

    fn wrap(&self, json: &str) -> String {
        if self.wraps(json) { format!("{{\"{WRAPPER}\":{json}}}") } else { json.to_owned() }
    }

    /// The structured result of an answer that has none: it keeps the promise by saying nothing.
    fn empty(&self) -> String {
        if self.wrapped { format!("{{\"{WRAPPER}\":null}}") } else { "{}".to_owned() }
    }

    fn shape(&self, definition: &str) -> Option<&Shape> {
        let read = || {
            let mut definition: Value = serde_json::from_str(definition).ok()?;
            definition.get_mut("outputSchema").map(|schema| Shape::of(schema.take()))
        };
        self.shape.get_or_init(read).as_ref()
    }
}

// === impl Parts ===

impl Parts {
    fn write(self) -> String {
        let size: usize =
            self.content.iter().map(String::len).sum::<usize>() + self.structured.as_ref().map_or(0, String::len);
        let mut out = String::with_capacity(size + 256);
        out.push_str("{\"resultType\":\"complete\",\"content\":[");
        out.push_str(&self.content.join(","));
        out.push(']');
        if let Some(structured) = self.structured {
            out.push_str(",\"structuredContent\":");
            out.push_str(&structured);
        }
        if self.is_error {
            out.push_str(",\"isError\":true");
        }
        if !self.meta.is_empty() {
            out.push_str(",\"_meta\":{");
            out.push_str(&self.meta.join(","));
            out.push('}');
        }
        out.push('}');
        out
    }
}

/// A text block.
fn text(text: &str) -> String {
    format!("{{\"type\":\"text\",\"text\":{}}}", quote(text))
}

/// A block of bytes: an image, audio, or a resource of any other type.
fn bytes(essence: &str, answer: &Answer<'_>) -> String {
    let data = STANDARD.encode(answer.body);
    let kind = essence.split('/').next().filter(|kind| matches!(*kind, "image" | "audio"));
    if let Some(kind) = kind {
        return format!("{{\"type\":\"{kind}\",\"data\":\"{data}\",\"mimeType\":{}}}", quote(essence));
    }
    let media = if essence.is_empty() { "application/octet-stream" } else { essence };
    let uri = answer.uri.to_string();
    // A query may hold credentials.
    let uri = quote(uri.split('?').next().unwrap_or_default());
    format!(
        "{{\"type\":\"resource\",\"resource\":{{\"uri\":{uri},\"mimeType\":{},\"blob\":\"{data}\"}}}}",
        quote(media)
    )
}

fn status_line(status: StatusCode) -> String {
    format!("HTTP {} {}", status.as_str(), status.canonical_reason().unwrap_or_default()).trim_end().to_owned()
}

fn without_body(method: &Method, answer: &Answer<'_>) -> String {
    let mut message = status_line(answer.status);
    if method == Method::HEAD {
        let hidden = |name: &HeaderName| name.as_str().contains("cookie");
        let names: Vec<&HeaderName> = answer.headers.keys().filter(|name| !hidden(name)).take(HEADERS_MAX).collect();
        names.into_iter().for_each(|name| push_header(&mut message, answer.headers, name));
    } else {
        for name in [LOCATION, RETRY_AFTER] {
            push_header(&mut message, answer.headers, &name);
        }
    }
    message
}

fn push_header(message: &mut String, headers: &HeaderMap, name: &HeaderName) {
    if let Some(value) = headers.get(name).and_then(|value| value.to_str().ok()) {
        let value: String = value.chars().take(HEADER_CHARS_MAX).collect();
        message.push_str(&format!("\n{name}: {value}"));
    }
}

/// Adds the beginning of a body, as far as it is text.
fn push_cut(message: &mut String, body: &[u8], bytes_max: usize) {
    let cut = &body[..body.len().min(bytes_max)];
    let shown = String::from_utf8_lossy(cut);
    let shown = shown.trim_end_matches('\u{fffd}').trim();
    if shown.is_empty() || memchr::memchr(0, cut).is_some() {
        return;
    }
    message.push('\n');
    message.push_str(shown);
    if cut.len() < body.len() {
        message.push('…');
    }
}

/// Reads text that is no UTF-8 as ISO 8859-1, in which every byte is a character.
fn latin1(body: &[u8]) -> String {
    body.iter().map(|byte| char::from(*byte)).collect()
}

/// Counts how deep a JSON text nests.
fn nesting(json: &str) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}
