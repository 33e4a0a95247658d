//! What an operation answers when it succeeds: its media types, and the schema of its JSON.
//!
//! MCP wants structured results to be objects. An answer that is described as an object is the structured result as it
//! is; anything else (a list, a text, alternatives) is put under the member `result`, and the output schema says so.

use http::HeaderValue;
use serde_json::{Map, Value, json};

use crate::document::Document;
use crate::node::Node;
use crate::operation::Operation;
use crate::parameter::is_json;
use crate::problem::{Fault, Reason};
use crate::schema::{self, Direction};

/// The member under which an answer that is no object is put.
pub(crate) const WRAPPER: &str = "result";
/// The most media types that a request accepts by name.
const ACCEPTED_MAX: usize = 8;

/// What is expected of a success.
#[derive(Clone, Debug)]
pub(crate) struct Success {
    /// The `Accept` header.
    pub(crate) accept: HeaderValue,
    /// The tool's `outputSchema`, when the answer is JSON of a known shape.
    pub(crate) schema: Option<Value>,
    /// Whether a JSON answer is put under [`WRAPPER`].
    pub(crate) wrapped: bool,
    /// Whether the document describes a redirect as an answer.
    pub(crate) redirects: bool,
    pub(crate) notes: Vec<Fault>,
}

/// Reads what an operation answers.
///
/// # Errors
/// A fault when its responses cannot be understood.
pub(crate) fn of(document: &Document, operation: &Operation<'_>) -> Result<Success, Fault> {
    let mut success = Success { accept: accept(&[]), schema: None, wrapped: true, redirects: false, notes: Vec::new() };
    let Some(responses) = operation.node.get("responses") else { return Ok(success) };
    let mut described: Option<(usize, Node<'_>)> = None;
    for (status, response) in responses.members()? {
        success.redirects |= status.starts_with('3') && status != "304";
        let Some(rank) = rank(status) else { continue };
        if described.as_ref().is_none_or(|(best, _)| rank < *best) {
            described = Some((rank, response));
        }
    }
    let Some((_, response)) = described else { return Ok(success) };
    let response = document.resolve(response)?;
    let Some(content) = response.get("content") else { return Ok(success) };
    let media_types: Vec<(&str, Node<'_>)> = content.members()?.collect();
    let names: Vec<&str> = media_types.iter().map(|(media, _)| *media).collect();
    success.accept = accept(&names);
    let json = media_types.into_iter().find(|(media, _)| is_json(media));
    if let Some((_, value)) = json {
        describe(document, &document.resolve(value)?, &mut success)?;
    }
    Ok(success)
}

/// Which response describes success best: the smaller the better.
fn rank(status: &str) -> Option<usize> {
    match status {
        "default" => Some(1_000),
        _ if status.eq_ignore_ascii_case("2XX") => Some(300),
        _ => status.parse().ok().filter(|status| (200..300).contains(status)),
    }
}

/// Writes the `Accept` header: what the document names, JSON first, then anything.
fn accept(media_types: &[&str]) -> HeaderValue {
    let (json, others): (Vec<&str>, Vec<&str>) = media_types.iter().partition(|media| is_json(media));
    let named = json.into_iter().chain(others).filter(|media| !media.contains('*')).take(ACCEPTED_MAX);
    let mut text = named.collect::<Vec<_>>().join(", ");
    if text.is_empty() {
        text.push_str("application/json");
    }
    HeaderValue::from_str(&format!("{text}, */*;q=0.1")).unwrap_or_else(|_| HeaderValue::from_static("*/*"))
}

fn describe(document: &Document, value: &Node<'_>, success: &mut Success) -> Result<(), Fault> {
    let Some(node) = value.get("schema") else { return Ok(()) };
    success.wrapped = !schema::is_object(document, &node)?;
    let max = document.limits.output_bytes_max;
    let (part, definitions) = match schema::translate(document, Direction::Output, std::slice::from_ref(&node), max) {
        Ok(mut translated) => {
            success.notes.append(&mut translated.notes);
            (translated.parts.pop().unwrap_or_default(), translated.definitions)
        }
        // It helps and is not needed: its size alone takes nothing away.
        Err(fault) if matches!(fault.reason, Reason::TooMuch { .. }) => {
            success.notes.push(fault);
            (json!({}), Map::new())
        }
        Err(fault) => return Err(fault),
    };
    let mut root =
        if success.wrapped { json!({"type": "object", "properties": {WRAPPER: part}}) } else { rooted(part) };
    if !definitions.is_empty() {
        root["$defs"] = Value::Object(definitions);
    }
    success.schema = Some(root);
    Ok(())
}

/// Makes a schema one of objects only, as the root of an output schema must be.
fn rooted(part: Value) -> Value {
    let mut root = Map::from_iter([("type".to_owned(), json!("object"))]);
    if let Value::Object(part) = part {
        root.extend(part.into_iter().filter(|(key, _)| key != "type"));
    }
    Value::Object(root)
}
