//! Answers of responses in pieces.
//!
//! ```text
//!  response.created ─▶ response.in_progress
//!    ─▶ ( output_item.added ─▶ content_part.added ─▶ output_text.delta* ─▶ output_text.done ─▶ content_part.done ─▶ output_item.done )*
//!    ─▶ response.completed | response.incomplete | response.failed
//! ```
//!
//! The last event holds the whole response, so that a writer keeps what it has written.

use quorate_jsonrpc::quote;
use serde::Deserialize;

use super::answer::{
    Body, Head, Item, Said, call_item, echo, item_id, message_item, refusal_part, text_part, thought, thought_item,
};
use super::{UsageRow, status_of};
use crate::answer::{Delta, Stop, Usage};
use crate::dialect::{Mint, SentEvent, parse_answer};
use crate::error::{Fault, Kind};
use crate::message::{Content, Signature};

#[derive(Deserialize)]
struct Event {
    r#type: String,
    response: Option<Body>,
    item: Option<Item>,
    delta: Option<String>,
    sequence_number: Option<u64>,
    output_index: Option<u64>,
    summary_index: Option<u64>,
}

/// Reads a provider's stream.
#[derive(Debug, Default)]
pub struct Reader {
    has_called: bool,
    /// The number of the last event.
    sequence: u64,
    /// The place of the call that is under way among the items, and whether its arguments have come.
    call: Option<(Option<u64>, bool)>,
    is_done: bool,
}

// === impl Reader ===

impl Reader {
    /// Reads the data of one event; its name is in it.
    ///
    /// # Errors
    /// [`Kind::Provider`] for what is no event.
    pub fn read(&mut self, data: &[u8], out: &mut Vec<Delta>) -> Result<(), Fault> {
        if self.is_done {
            return Ok(());
        }
        let event: Event = parse_answer(data)?;
        let is_failure = matches!(event.r#type.as_str(), "response.failed" | "error");
        // That it failed is told, whatever its number.
        self.follow(event.sequence_number.filter(|_| !is_failure))?;
        let text = || event.delta.clone().filter(|text| !text.is_empty());
        match event.r#type.as_str() {
            "response.created" => {
                let body = event.response.ok_or_else(no_response)?;
                let created_s = body.created_s();
                out.push(Delta::Begin { id: body.id, model: body.model, created_s });
            }
            "response.output_item.added" => {
                if let Some((id, name)) = event.item.and_then(called) {
                    self.has_called = true;
                    self.call = Some((event.output_index, false));
                    out.push(Delta::ToolBegin { choice: 0, id, name, signature: None });
                }
            }
            "response.function_call_arguments.delta" => {
                if let Some(text) = text() {
                    self.argue(event.output_index)?;
                    out.push(Delta::Arguments { choice: 0, text });
                }
            }
            "response.output_text.delta" => out.extend(text().map(|text| Delta::Text { choice: 0, text })),
            "response.refusal.delta" => out.extend(text().map(|text| Delta::Refusal { choice: 0, text })),
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                out.extend(text().map(|text| Delta::Thought { choice: 0, text }));
            }
            // Parts of a thought are set apart as in a whole answer.
            "response.reasoning_summary_part.added" if event.summary_index.is_some_and(|index| index > 0) => {
                out.push(Delta::Thought { choice: 0, text: "\n\n".to_owned() });
            }
            "response.output_item.done" => out.extend(event.item.and_then(|item| self.finished(item))),
            "response.completed" | "response.incomplete" => {
                self.is_done = true;
                let body = event.response.ok_or_else(no_response)?;
                out.push(Delta::Stop { choice: 0, stop: body.stop(self.has_called) });
                out.extend(body.usage.map(UsageRow::usage).map(Delta::Usage));
                out.push(Delta::End);
            }
            "response.failed" | "error" => {
                self.is_done = true;
                out.push(Delta::Failed(failure(data)));
            }
            // Ends of parts, and what is to come: new kinds are to be expected.
            _ => {}
        }
        Ok(())
    }
}

// === impl Reader, the state between events ===

impl Reader {
    /// Refuses an event that is older than the last, or the same; some servers number none.
    fn follow(&mut self, sequence: Option<u64>) -> Result<(), Fault> {
        let Some(sequence) = sequence else { return Ok(()) };
        if sequence < self.sequence || (sequence == self.sequence && sequence > 0) {
            return Err(Fault::new(Kind::Provider, "the provider's events are not in order"));
        }
        self.sequence = sequence;
        Ok(())
    }

    fn argue(&mut self, place: Option<u64>) -> Result<(), Fault> {
        match &mut self.call {
            Some((of, has_arguments)) if place.is_none() || *of == place => {
                *has_arguments = true;
                Ok(())
            }
            _ => Err(Fault::new(Kind::Provider, "the provider's stream goes on with a call that is over")),
        }
    }

    /// What is told at the end of an item: what seals a thought, and arguments that did not come in pieces.
    fn finished(&mut self, item: Item) -> Option<Delta> {
        match item.r#type.as_str() {
            "reasoning" => sealed(item),
            "function_call" => {
                let is_missing = self.call.take().is_some_and(|(_, has_arguments)| !has_arguments);
                let text = item.arguments.filter(|text| is_missing && !text.is_empty())?;
                Some(Delta::Arguments { choice: 0, text })
            }
            _ => None,
        }
    }
}

fn no_response() -> Fault {
    Fault::new(Kind::Provider, "the provider's event has no response")
}

fn called(item: Item) -> Option<(String, String)> {
    (item.r#type == "function_call").then_some(())?;
    item.call_id.zip(item.name)
}

fn sealed(item: Item) -> Option<Delta> {
    if let Content::Thought { signature: Some(signature), .. } = thought(item)?.content {
        Some(Delta::Signature { choice: 0, signature })
    } else {
        None
    }
}

/// Reads how a response failed: `error` of the event, or of the response in it.
fn failure(data: &[u8]) -> Fault {
    #[derive(Deserialize)]
    struct Failed<'a> {
        #[serde(borrow)]
        response: Option<&'a serde_json::value::RawValue>,
    }

    let inner = serde_json::from_slice::<Failed<'_>>(data).ok().and_then(|failed| failed.response);
    let body = inner.map_or(data, |response| response.get().as_bytes());
    Fault::of_provider(http::StatusCode::INTERNAL_SERVER_ERROR, body, None)
}

/// Writes a stream for a client.
#[derive(Debug)]
pub struct Writer {
    /// What the response repeats of its request.
    echo: String,
    id: String,
    model: String,
    created_s: u64,
    sequence: u64,
    /// The items that are complete.
    output: Vec<String>,
    open: Option<Open>,
    stop: Option<Stop>,
    usage: Option<Usage>,
}

/// The item that is being written.
#[derive(Debug)]
enum Open {
    Text(String),
    Refusal(String),
    Thought { text: String, signature: Option<Signature> },
    Call { id: String, name: String, arguments: String },
}

// === impl Writer ===

impl Writer {
    /// Begins a stream for a client that asked with this body.
    #[must_use]
    pub fn new(asked: &str) -> Self {
        Self {
            echo: echo(asked),
            id: String::new(),
            model: String::new(),
            created_s: 0,
            sequence: 0,
            output: Vec::new(),
            open: None,
            stop: None,
            usage: None,
        }
    }

    /// Writes the events that say a piece.
    pub fn write(&mut self, delta: &Delta, mint: &Mint<'_>, out: &mut Vec<SentEvent>) {
        match delta {
            Delta::Begin { id, model, created_s } => {
                mint.id_of(id).clone_into(&mut self.id);
                self.model.clone_from(model);
                self.created_s = created_s.unwrap_or(mint.now_s);
                self.response("response.created", out);
                self.response("response.in_progress", out);
            }
            // There is one answer.
            Delta::Text { choice, .. }
            | Delta::Thought { choice, .. }
            | Delta::Signature { choice, .. }
            | Delta::SealedThought { choice, .. }
            | Delta::Refusal { choice, .. }
            | Delta::ToolBegin { choice, .. }
            | Delta::Arguments { choice, .. }
            | Delta::Stop { choice, .. }
                if *choice > 0 => {}
            Delta::Text { text, .. } => self.text(text, out),
            Delta::Refusal { text, .. } => self.refusal(text, out),
            Delta::Thought { text, .. } => self.thought(text, out),
            Delta::Signature { signature, .. } => self.seal(signature, out),
            Delta::SealedThought { data, .. } => {
                self.close(out);
                self.seal(data, out);
            }
            Delta::ToolBegin { id, name, .. } => {
                // The place of an item, and so its id, is known when the one before is over.
                self.close(out);
                let item = call_item(&self.item_id("fc"), id, name, "", "in_progress");
                let (id, name) = (id.clone(), name.clone());
                self.begin(Open::Call { id, name, arguments: String::new() }, &item, out);
            }
            Delta::Arguments { text, .. } => {
                if let Some(Open::Call { arguments, .. }) = &mut self.open {
                    arguments.push_str(text);
                    let item = self.item_id("fc");
                    self.piece("response.function_call_arguments.delta", &item, "", text, out);
                }
            }
            Delta::Stop { stop, .. } => self.stop = Some(stop.clone()),
            Delta::Usage(usage) => self.usage = Some(*usage),
            Delta::Failed(fault) => self.failed(fault, out),
            Delta::End => {
                let (status, reason) = status_of(self.stop.get_or_insert(Stop::End));
                // What was cut is the last of it.
                self.close_as(status, out);
                let name = if reason.is_some() { "response.incomplete" } else { "response.completed" };
                self.response(name, out);
            }
        }
    }

    fn text(&mut self, text: &str, out: &mut Vec<SentEvent>) {
        let item = if matches!(self.open, Some(Open::Text(_))) {
            self.item_id("msg")
        } else {
            self.begin_message(Open::Text(String::new()), &text_part(""), out)
        };
        if let Some(Open::Text(said)) = &mut self.open {
            said.push_str(text);
        }
        self.piece("response.output_text.delta", &item, r#""content_index":0,"#, text, out);
    }

    fn refusal(&mut self, text: &str, out: &mut Vec<SentEvent>) {
        let item = if matches!(self.open, Some(Open::Refusal(_))) {
            self.item_id("msg")
        } else {
            self.begin_message(Open::Refusal(String::new()), &refusal_part(""), out)
        };
        if let Some(Open::Refusal(said)) = &mut self.open {
            said.push_str(text);
        }
        self.piece("response.refusal.delta", &item, r#""content_index":0,"#, text, out);
    }

    fn thought(&mut self, text: &str, out: &mut Vec<SentEvent>) {
        let item = self.in_thought(out);
        if let Some(Open::Thought { text: said, .. }) = &mut self.open {
            let is_first = said.is_empty();
            said.push_str(text);
            if is_first {
                let part = r#"{"type":"summary_text","text":""}"#;
                self.part("response.reasoning_summary_part.added", &item, "summary_index", part, out);
            }
        }
        self.piece("response.reasoning_summary_text.delta", &item, r#""summary_index":0,"#, text, out);
    }

    /// Seals the thought that is open, which ends it: what is thought then is another.
    fn seal(&mut self, by: &Signature, out: &mut Vec<SentEvent>) {
        self.in_thought(out);
        if let Some(Open::Thought { signature, .. }) = &mut self.open {
            *signature = Some(by.clone());
        }
        self.close(out);
    }

    fn in_thought(&mut self, out: &mut Vec<SentEvent>) -> String {
        let id = self.item_id("rs");
        if matches!(self.open, Some(Open::Thought { .. })) {
            return id;
        }
        self.close(out);
        let id = self.item_id("rs");
        let item = thought_item(&id, "", None);
        self.begin(Open::Thought { text: String::new(), signature: None }, &item, out);
        id
    }

    fn begin_message(&mut self, open: Open, part: &str, out: &mut Vec<SentEvent>) -> String {
        self.close(out);
        let id = self.item_id("msg");
        self.begin(open, &message_item(&id, "", "in_progress"), out);
        self.part("response.content_part.added", &id, "content_index", part, out);
        id
    }

    fn begin(&mut self, open: Open, item: &str, out: &mut Vec<SentEvent>) {
        self.close(out);
        self.open = Some(open);
        self.item("response.output_item.added", item, out);
    }

    /// Ends the item that is open.
    fn close(&mut self, out: &mut Vec<SentEvent>) {
        self.close_as("completed", out);
    }

    fn close_as(&mut self, status: &str, out: &mut Vec<SentEvent>) {
        let item = match self.open.take() {
            None => return,
            Some(Open::Text(text)) => {
                let (id, part) = (self.item_id("msg"), text_part(&text));
                let members = format!(r#""content_index":0,"text":{},"logprobs":[]"#, quote(&text));
                self.of_item("response.output_text.done", &id, &members, out);
                self.part("response.content_part.done", &id, "content_index", &part, out);
                message_item(&id, &part, status)
            }
            Some(Open::Refusal(text)) => {
                let (id, part) = (self.item_id("msg"), refusal_part(&text));
                let members = format!(r#""content_index":0,"refusal":{}"#, quote(&text));
                self.of_item("response.refusal.done", &id, &members, out);
                self.part("response.content_part.done", &id, "content_index", &part, out);
                message_item(&id, &part, status)
            }
            Some(Open::Thought { text, signature }) => {
                let id = self.item_id("rs");
                if !text.is_empty() {
                    let members = format!(r#""summary_index":0,"text":{}"#, quote(&text));
                    self.of_item("response.reasoning_summary_text.done", &id, &members, out);
                    let part = format!(r#"{{"type":"summary_text","text":{}}}"#, quote(&text));
                    self.part("response.reasoning_summary_part.done", &id, "summary_index", &part, out);
                }
                thought_item(&id, &text, signature.as_ref())
            }
            Some(Open::Call { id: call, name, arguments }) => {
                let id = self.item_id("fc");
                let members = format!(r#""name":{},"arguments":{}"#, quote(&name), quote(&arguments));
                self.of_item("response.function_call_arguments.done", &id, &members, out);
                call_item(&id, &call, &name, &arguments, status)
            }
        };
        self.item("response.output_item.done", &item, out);
        self.output.push(item);
    }

    fn item_id(&self, prefix: &str) -> String {
        item_id(prefix, &self.id, self.output.len())
    }

    fn failed(&mut self, fault: &Fault, out: &mut Vec<SentEvent>) {
        let code = quote(fault.kind.label());
        let members = format!(r#""code":{code},"message":{},"param":null"#, quote(&fault.message));
        self.event("error", &members, out);
    }

    fn response(&mut self, name: &'static str, out: &mut Vec<SentEvent>) {
        let head = Head { id: &self.id, created_s: self.created_s, model: &self.model, echo: &self.echo };
        let is_over = name != "response.created" && name != "response.in_progress";
        let stop = self.stop.as_ref().filter(|_| is_over);
        let said = Said { stop, output: &self.output.join(","), usage: self.usage.as_ref().filter(|_| is_over) };
        let response = head.response(&said);
        self.event(name, &format!(r#""response":{response}"#), out);
    }

    fn item(&mut self, name: &'static str, item: &str, out: &mut Vec<SentEvent>) {
        let place = self.output.len();
        self.event(name, &format!(r#""output_index":{place},"item":{item}"#), out);
    }

    fn part(&mut self, name: &'static str, item: &str, index: &str, part: &str, out: &mut Vec<SentEvent>) {
        self.of_item(name, item, &format!(r#""{index}":0,"part":{part}"#), out);
    }

    fn piece(&mut self, name: &'static str, item: &str, index: &str, text: &str, out: &mut Vec<SentEvent>) {
        let logprobs = if name == "response.output_text.delta" { r#","logprobs":[]"# } else { "" };
        self.of_item(name, item, &format!(r#"{index}"delta":{}{logprobs}"#, quote(text)), out);
    }

    fn of_item(&mut self, name: &'static str, item: &str, members: &str, out: &mut Vec<SentEvent>) {
        let place = self.output.len();
        self.event(name, &format!(r#""item_id":{},"output_index":{place},{members}"#, quote(item)), out);
    }

    fn event(&mut self, name: &'static str, members: &str, out: &mut Vec<SentEvent>) {
        let sequence = self.sequence;
        self.sequence += 1;
        out.push(SentEvent::named(name, format!(r#"{{"type":"{name}","sequence_number":{sequence},{members}}}"#)));
    }
}
