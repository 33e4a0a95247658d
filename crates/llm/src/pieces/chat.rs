//! A chat completion in chunks: one that says everything, one of what it cost, and `[DONE]`.
//!
//! In: a body. Out: its events. Each choice keeps its number and all that its message has, which is the difference of a chunk; calls
//! of tools get numbers, by which clients put them together. What it cost stands alone, as it does where a client has asked for it.

use bytes::Bytes;

use super::object::{Object, array};
use crate::dialect::SentEvent;
use crate::error::Fault;

pub(super) fn events(body: &Object<'_>) -> Result<Vec<SentEvent>, Fault> {
    let rows = body.list("choices")?;
    let rows: Vec<String> =
        rows.into_iter().enumerate().map(|(place, raw)| row(place, raw)).collect::<Result<_, _>>()?;
    let head = body.clone().without("usage").with("object", "\"chat.completion.chunk\"");
    let mut events = vec![SentEvent::data(head.clone().with("choices", array(&rows)).write())];
    if let Some(usage) = body.get("usage") {
        events.push(SentEvent::data(head.with("choices", "[]").with("usage", usage).write()));
    }
    events.push(SentEvent { name: None, data: Bytes::from_static(b"[DONE]") });
    Ok(events)
}

/// A choice as a chunk has it: what is a message there is the difference here, and calls are numbered.
fn row(place: usize, raw: &str) -> Result<String, Fault> {
    let row = Object::read(raw)?.or("index", place.to_string());
    let mut message = Object::read(row.get("message").unwrap_or("{}"))?;
    let calls = message.list("tool_calls")?;
    // What is whole is over, also where it is not said.
    let finish = if calls.is_empty() { "\"stop\"" } else { "\"tool_calls\"" };
    if !calls.is_empty() {
        let numbered = calls
            .into_iter()
            .enumerate()
            .map(|(number, raw)| Ok(Object::read(raw)?.or("index", number.to_string()).write()));
        let numbered: Vec<String> = numbered.collect::<Result<_, Fault>>()?;
        message = message.with("tool_calls", array(&numbered));
    }
    let message = message.write();
    Ok(row.with("message", message).renamed("message", "delta").or("finish_reason", finish).write())
}
