//! A chat completion in chunks: one that says everything, one of what it cost, and `[DONE]`.
//!
//! In: a body. Out: its events. Each choice keeps its number and all that its message has, which is the difference of a chunk; calls
//! of tools get numbers, by which clients put them together. What it cost stands alone, as it does where a client has asked for it.

use std::collections::HashSet;

use bytes::Bytes;

use super::Said;
use super::object::{Object, array};
use crate::answer::CHOICES_MAX;
use crate::dialect::SentEvent;
use crate::error::{Fault, Kind};

pub(super) fn events(body: &Object<'_>, said: &mut Said) -> Result<(), Fault> {
    let rows = body.list("choices")?;
    if rows.is_empty() || rows.len() > CHOICES_MAX {
        return Err(Fault::new(Kind::Provider, format!("the provider gives {} answers", rows.len())));
    }
    let rows: Vec<Object<'_>> = rows.into_iter().map(row).collect::<Result<_, _>>()?;
    let numbers: HashSet<&str> = rows.iter().filter_map(|row| row.get("index")).collect();
    let are_numbered = numbers.len() == rows.len();
    let numbered = rows.iter().enumerate().map(|(place, row)| match are_numbered {
        true => row.write(),
        false => row.clone().with("index", place.to_string()).write(),
    });
    let choices = array(&numbered.collect::<Vec<_>>());
    let head = body.clone().without("usage").with("object", "\"chat.completion.chunk\"");
    said.push(SentEvent::data(head.clone().with("choices", choices).write()))?;
    if let Some(usage) = body.get("usage") {
        said.push(SentEvent::data(head.with("choices", "[]").with("usage", usage).write()))?;
    }
    said.push(SentEvent { name: None, data: Bytes::from_static(b"[DONE]") })
}

/// A choice as a chunk has it: what is a message there is the difference here, and calls are numbered by their places, which is what
/// counts in a whole answer.
fn row(raw: &str) -> Result<Object<'_>, Fault> {
    let row = Object::read(raw)?;
    let mut message = Object::read(row.get("message").unwrap_or("{}"))?;
    let calls = message.list("tool_calls")?;
    // What is whole is over, also where it is not said.
    let finish = if calls.is_empty() { "\"stop\"" } else { "\"tool_calls\"" };
    if !calls.is_empty() {
        let numbered = calls
            .into_iter()
            .enumerate()
            .map(|(number, raw)| Ok(Object::read(raw)?.with("index", number.to_string()).write()));
        let numbered: Vec<String> = numbered.collect::<Result<_, Fault>>()?;
        message = message.with("tool_calls", array(&numbered));
    }
    let message = message.write();
    let is_over = row.text("finish_reason").is_some_and(|finish| !finish.is_empty());
    let row = row.with("message", message).renamed("message", "delta");
    Ok(if is_over { row } else { row.with("finish_reason", finish) })
}
