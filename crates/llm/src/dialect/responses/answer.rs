//! Whole answers of responses: a list of items, and with them what was asked.
//!
//! In: a provider's body, or an answer of the view. Out: the other. A response repeats parameters of its request, which are taken from
//! the client's body as they stand there. Items have ids by their place.

use quorate_jsonrpc::{pick, quote};
use serde::Deserialize;

use super::{UsageRow, status_of, stop_of, usage_json};
use crate::answer::{Answer, Choice, Stop, Usage};
use crate::api::Dialect;
use crate::dialect::{Mint, parse_answer};
use crate::error::{Fault, Kind};
use crate::message::{Content, Part, Signature, ToolCall};

/// What of a request its response repeats, with what the API says where the request says nothing.
const ECHOED: [(&str, &str); 12] = [
    ("instructions", "null"),
    ("max_output_tokens", "null"),
    ("metadata", "{}"),
    ("parallel_tool_calls", "true"),
    ("reasoning", r#"{"effort":null,"summary":null}"#),
    ("store", "false"),
    ("temperature", "1.0"),
    ("text", r#"{"format":{"type":"text"}}"#),
    ("tool_choice", "\"auto\""),
    ("tools", "[]"),
    ("top_p", "1.0"),
    ("truncation", "\"disabled\""),
];

#[derive(Deserialize)]
pub(super) struct Body {
    #[serde(default)]
    pub(super) id: String,
    pub(super) created_at: Option<serde_json::Number>,
    #[serde(default)]
    pub(super) model: String,
    pub(super) status: Option<String>,
    pub(super) incomplete_details: Option<Incomplete>,
    #[serde(default)]
    pub(super) output: Vec<Item>,
    pub(super) usage: Option<UsageRow>,
}

#[derive(Deserialize)]
pub(super) struct Incomplete {
    pub(super) reason: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Item {
    pub(super) r#type: String,
    pub(super) content: Option<Vec<PartRow>>,
    pub(super) call_id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) arguments: Option<String>,
    pub(super) summary: Option<Vec<PartRow>>,
    pub(super) encrypted_content: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct PartRow {
    r#type: String,
    text: Option<String>,
    refusal: Option<String>,
}

// === impl Body ===

impl Body {
    /// When it was made, in whole seconds; some say fractions.
    pub(super) fn created_s(&self) -> Option<u64> {
        let number = self.created_at.as_ref()?;
        number.as_u64().or_else(|| number.as_f64().and_then(|seconds| format!("{seconds:.0}").parse().ok()))
    }

    /// Why the model says no more.
    pub(super) fn stop(&self, has_called: bool) -> Stop {
        let reason = self.incomplete_details.as_ref().and_then(|details| details.reason.as_deref());
        stop_of(self.status.as_deref().unwrap_or("completed"), reason, has_called)
    }
}

/// Reads a provider's answer.
///
/// # Errors
/// [`Kind::Provider`] for what is none, and for a response that failed.
pub fn read_answer(body: &[u8]) -> Result<Answer, Fault> {
    let mut read: Body = parse_answer(body)?;
    if read.status.as_deref() == Some("failed") {
        return Err(Fault::of_provider(http::StatusCode::INTERNAL_SERVER_ERROR, body, None));
    }
    let parts: Vec<Part> = std::mem::take(&mut read.output).into_iter().flat_map(item_parts).collect();
    let has_called = parts.iter().any(|part| matches!(part.content, Content::ToolCall(_)));
    let (stop, created_s) = (read.stop(has_called), read.created_s());
    Ok(Answer {
        id: read.id,
        model: read.model,
        created_s,
        choices: vec![Choice { parts, stop }],
        usage: read.usage.map(UsageRow::usage),
    })
}

/// Reads an item; what only this provider's own tools make is none for other shapes.
fn item_parts(item: Item) -> Vec<Part> {
    match item.r#type.as_str() {
        "message" => item.content.unwrap_or_default().into_iter().filter_map(part).collect(),
        "function_call" => {
            let call = item.call_id.zip(item.name).map(|(id, name)| {
                let arguments = item.arguments.unwrap_or_default();
                Part::from(Content::ToolCall(ToolCall { id, name, arguments, signature: None }))
            });
            call.into_iter().collect()
        }
        "reasoning" => thought(item).into_iter().collect(),
        _ => Vec::new(),
    }
}

pub(super) fn thought(item: Item) -> Option<Part> {
    // Open models tell the thought itself, OpenAI what it comes to.
    let said = item.summary.filter(|said| !said.is_empty()).or(item.content).unwrap_or_default();
    let text = said.into_iter().filter_map(|part| part.text).collect::<Vec<_>>().join("\n\n");
    let signature = item.encrypted_content.map(|text| Signature::read(Dialect::Responses, text));
    (!text.is_empty() || signature.is_some()).then(|| Content::Thought { text, signature }.into())
}

fn part(row: PartRow) -> Option<Part> {
    match row.r#type.as_str() {
        "output_text" => row.text.map(Part::text),
        "refusal" => row.refusal.map(|text| Content::Refusal(text).into()),
        _ => None,
    }
}

/// Writes an answer for a client that asked with this body.
///
/// # Errors
/// [`Kind::Provider`] where there is none.
pub fn write_answer(answer: &Answer, asked: &str, mint: &Mint<'_>) -> Result<Vec<u8>, Fault> {
    let choice =
        answer.choices.first().ok_or_else(|| Fault::new(Kind::Provider, "the provider's answer has no choice"))?;
    let id = mint.id_of(&answer.id);
    let mut output = Output::new(id);
    for (place, part) in choice.parts.iter().enumerate() {
        // What was cut is the last of it.
        let is_last = place + 1 == choice.parts.len();
        output.add(part, if is_last { status_of(&choice.stop).0 } else { "completed" });
    }
    let head = Head { id, created_s: answer.created_s.unwrap_or(mint.now_s), model: &answer.model, echo: &echo(asked) };
    Ok(head.response(&Said { stop: Some(&choice.stop), output: &output.finish(), usage: answer.usage.as_ref() }).into())
}

/// The members of a request that its response repeats, each with a comma before.
pub(super) fn echo(asked: &str) -> String {
    // What was read once is an object.
    let found = pick(asked, 0, ECHOED.map(|(name, _)| name)).unwrap_or([None; ECHOED.len()]);
    let values = found.into_iter().zip(ECHOED).map(|(span, (name, default))| {
        let value = span.map_or(default, |span| span.of(asked));
        format!(r#","{name}":{}"#, if value == "null" { default } else { value })
    });
    values.collect()
}

/// What every form of one response begins with.
pub(super) struct Head<'a> {
    pub(super) id: &'a str,
    pub(super) created_s: u64,
    pub(super) model: &'a str,
    pub(super) echo: &'a str,
}

/// What a response says so far.
pub(super) struct Said<'a> {
    /// None while it goes on.
    pub(super) stop: Option<&'a Stop>,
    /// Its items, with commas between.
    pub(super) output: &'a str,
    pub(super) usage: Option<&'a Usage>,
}

// === impl Head ===

impl Head<'_> {
    pub(super) fn response(&self, said: &Said<'_>) -> String {
        let (status, reason) = said.stop.map_or(("in_progress", None), status_of);
        let details = reason.map_or_else(|| "null".to_owned(), |reason| format!(r#"{{"reason":"{reason}"}}"#));
        let usage = said.usage.map_or_else(|| "null".to_owned(), usage_json);
        format!(
            r#"{{"id":{},"object":"response","created_at":{},"status":"{status}","error":null,"incomplete_details":{details},"model":{},"output":[{}],"previous_response_id":null,"usage":{usage}{}}}"#,
            quote(self.id),
            self.created_s,
            quote(self.model),
            said.output,
            self.echo,
        )
    }
}

/// Makes the items of a response: texts that follow each other are parts of one message.
pub(super) struct Output<'a> {
    id: &'a str,
    items: Vec<String>,
    parts: Vec<String>,
    /// Of the message that the parts make.
    status: &'static str,
}

// === impl Output ===

impl<'a> Output<'a> {
    pub(super) const fn new(id: &'a str) -> Self {
        Self { id, items: Vec::new(), parts: Vec::new(), status: "completed" }
    }

    fn add(&mut self, part: &Part, status: &'static str) {
        match &part.content {
            Content::Text(text) => {
                self.parts.push(text_part(text));
                self.status = status;
            }
            Content::Refusal(text) => {
                self.parts.push(refusal_part(text));
                self.status = status;
            }
            Content::Thought { text, signature } => {
                self.flush();
                let id = self.item_id("rs");
                self.items.push(thought_item(&id, text, signature.as_ref()));
            }
            Content::SealedThought(data) => {
                self.flush();
                let id = self.item_id("rs");
                self.items.push(thought_item(&id, "", Some(data)));
            }
            Content::ToolCall(call) => {
                self.flush();
                let id = self.item_id("fc");
                self.items.push(call_item(&id, &call.id, &call.name, &call.arguments, status));
            }
            Content::Image { .. } | Content::Document { .. } | Content::Audio { .. } | Content::ToolResult { .. } => {}
        }
    }

    fn finish(mut self) -> String {
        self.flush();
        self.items.join(",")
    }

    fn flush(&mut self) {
        if !self.parts.is_empty() {
            let id = self.item_id("msg");
            self.items.push(message_item(&id, &std::mem::take(&mut self.parts).join(","), self.status));
        }
    }

    fn item_id(&self, prefix: &str) -> String {
        item_id(prefix, self.id, self.items.len())
    }
}

/// The id of an item, by its place in its response.
pub(super) fn item_id(prefix: &str, response: &str, place: usize) -> String {
    format!("{prefix}_{response}_{place}")
}

pub(super) fn text_part(text: &str) -> String {
    format!(r#"{{"type":"output_text","text":{},"annotations":[]}}"#, quote(text))
}

pub(super) fn refusal_part(text: &str) -> String {
    format!(r#"{{"type":"refusal","refusal":{}}}"#, quote(text))
}

pub(super) fn message_item(id: &str, parts: &str, status: &str) -> String {
    let id = quote(id);
    format!(r#"{{"type":"message","id":{id},"status":"{status}","role":"assistant","content":[{parts}]}}"#)
}

pub(super) fn call_item(id: &str, call: &str, name: &str, arguments: &str, status: &str) -> String {
    let (id, call, name, arguments) = (quote(id), quote(call), quote(name), quote(arguments));
    format!(
        r#"{{"type":"function_call","id":{id},"call_id":{call},"name":{name},"arguments":{arguments},"status":"{status}"}}"#
    )
}

pub(super) fn thought_item(id: &str, text: &str, signature: Option<&Signature>) -> String {
    let summary =
        if text.is_empty() { String::new() } else { format!(r#"{{"type":"summary_text","text":{}}}"#, quote(text)) };
    let sealed = signature.map(|signature| quote(&signature.shown(Dialect::Responses)));
    let sealed = sealed.map_or_else(String::new, |sealed| format!(r#","encrypted_content":{sealed}"#));
    format!(r#"{{"type":"reasoning","id":{},"summary":[{summary}]{sealed}}}"#, quote(id))
}
