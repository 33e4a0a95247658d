//! A response as its events: each item is added, comes in one piece, and is done; at last the whole response as it is.
//!
//! In: a body. Out: its events, numbered from 0. Items keep their ids, by which the provider knows them again in a later request, and
//! items of unknown kinds are added and done as they are. A response that is not over is no answer; one that failed says so.

use quorate_jsonrpc::quote;

use super::Said;
use super::object::Object;
use crate::dialect::SentEvent;
use crate::error::{Fault, Kind};

/// Events so far, which are numbered.
struct Events<'a>(&'a mut Said);

/// Where a part stands.
struct Place<'a> {
    /// The members that say in which item.
    item: &'a str,
    /// `content_index` or `summary_index`.
    index: &'static str,
    number: usize,
}

/// What the events of one kind of part are called.
struct Names {
    added: &'static str,
    delta: &'static str,
    said: &'static str,
    done: &'static str,
    /// The member that has the text.
    member: &'static str,
}

const TEXT: Names = Names {
    added: "response.content_part.added",
    delta: "response.output_text.delta",
    said: "response.output_text.done",
    done: "response.content_part.done",
    member: "text",
};
const REFUSAL: Names =
    Names { delta: "response.refusal.delta", said: "response.refusal.done", member: "refusal", ..TEXT };
const SUMMARY: Names = Names {
    added: "response.reasoning_summary_part.added",
    delta: "response.reasoning_summary_text.delta",
    said: "response.reasoning_summary_text.done",
    done: "response.reasoning_summary_part.done",
    member: "text",
};
const THOUGHT: Names = Names { delta: "response.reasoning_text.delta", said: "response.reasoning_text.done", ..TEXT };

pub(super) fn events(body: &Object<'_>, said: &mut Said) -> Result<(), Fault> {
    let end = match body.text("status").as_deref() {
        None | Some("completed") => "response.completed",
        Some("incomplete") => "response.incomplete",
        Some("failed") => "response.failed",
        Some(_) => return Err(Fault::new(Kind::Provider, "the provider's response is not over")),
    };
    let mut events = Events(said);
    let begun = body.clone().with("status", "\"in_progress\"").with("output", "[]").with("usage", "null").write();
    for name in ["response.created", "response.in_progress"] {
        events.add(name, &format!(r#""response":{begun}"#))?;
    }
    for (place, raw) in body.list("output")?.into_iter().enumerate() {
        events.item(place, raw)?;
    }
    events.add(end, &format!(r#""response":{}"#, body.write()))
}

// === impl Events ===

impl Events<'_> {
    fn add(&mut self, name: &'static str, members: &str) -> Result<(), Fault> {
        let number = self.0.events.len();
        self.0.push(SentEvent::named(name, format!(r#"{{"type":"{name}","sequence_number":{number},{members}}}"#)))
    }

    fn item(&mut self, place: usize, raw: &str) -> Result<(), Fault> {
        let item = Object::read(raw)?;
        let at = format!(r#""item_id":{},"output_index":{place}"#, item.get("id").unwrap_or("\"\""));
        let begun = item.clone().with("status", "\"in_progress\"");
        let added = |begun: Object<'_>| format!(r#""output_index":{place},"item":{}"#, begun.write());
        match item.text("type").as_deref() {
            Some("message") => {
                self.add("response.output_item.added", &added(begun.with("content", "[]")))?;
                self.parts(&at, "content_index", &item.list("content")?, &TEXT)?;
            }
            Some("reasoning") => {
                let (summary, content) = (item.list("summary")?, item.list("content")?);
                self.add("response.output_item.added", &added(begun.with("summary", "[]").without("content")))?;
                // A thought is told once: what it comes to, or itself.
                match summary.is_empty() {
                    false => self.parts(&at, "summary_index", &summary, &SUMMARY)?,
                    true => self.parts(&at, "content_index", &content, &THOUGHT)?,
                }
            }
            Some("function_call") => {
                self.add("response.output_item.added", &added(begun.with("arguments", "\"\"")))?;
                let arguments = item.get("arguments").unwrap_or("\"\"");
                let name = item.get("name").unwrap_or("\"\"");
                self.add("response.function_call_arguments.delta", &format!(r#"{at},"delta":{arguments}"#))?;
                let done = format!(r#"{at},"name":{name},"arguments":{arguments}"#);
                self.add("response.function_call_arguments.done", &done)?;
            }
            _ => self.add("response.output_item.added", &added(item.clone()))?,
        }
        self.add("response.output_item.done", &format!(r#""output_index":{place},"item":{raw}"#))
    }

    fn parts(&mut self, item: &str, index: &'static str, parts: &[&str], names: &Names) -> Result<(), Fault> {
        for (number, raw) in parts.iter().enumerate() {
            let (part, place) = (Object::read(raw)?, Place { item, index, number });
            match part.text("type").as_deref() {
                Some("refusal") => self.part(&place, raw, part, &REFUSAL)?,
                Some("output_text" | "summary_text" | "reasoning_text") => self.part(&place, raw, part, names)?,
                _ => {
                    self.add(names.added, &format!(r#"{},"part":{raw}"#, place.members()))?;
                    self.add(names.done, &format!(r#"{},"part":{raw}"#, place.members()))?;
                }
            }
        }
        Ok(())
    }

    fn part(&mut self, place: &Place<'_>, raw: &str, part: Object<'_>, names: &Names) -> Result<(), Fault> {
        let (at, member) = (place.members(), names.member);
        let text = part.get(member).unwrap_or("\"\"").to_owned();
        let logprobs = if names.delta == TEXT.delta { r#","logprobs":[]"# } else { "" };
        let empty = part.with(member, "\"\"");
        let empty = if names.delta == TEXT.delta { empty.with("annotations", "[]") } else { empty };
        self.add(names.added, &format!(r#"{at},"part":{}"#, empty.write()))?;
        self.add(names.delta, &format!(r#"{at},"delta":{text}{logprobs}"#))?;
        self.add(names.said, &format!(r#"{at},{}:{text}{logprobs}"#, quote(member)))?;
        self.add(names.done, &format!(r#"{at},"part":{raw}"#))
    }
}

// === impl Place ===

impl Place<'_> {
    fn members(&self) -> String {
        format!(r#"{},"{}":{}"#, self.item, self.index, self.number)
    }
}
