//! Whole answers of chat completions.
//!
//! In: a provider's body, or an answer of the view. Out: the other. A thought is read under either of its names, and written under the
//! one that more servers have. What only its provider can read of a thought is left out.

use serde::{Deserialize, Serialize};

use super::{UsageRow, finish_of, stop_of, usage_json};
use crate::answer::{Answer, Choice};
use crate::dialect::{Mint, parse_answer};
use crate::error::Fault;
use crate::message::{Content, Part, ToolCall};

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    id: String,
    created: Option<u64>,
    #[serde(default)]
    model: String,
    choices: Vec<Row>,
    usage: Option<UsageRow>,
}

#[derive(Deserialize)]
struct Row {
    message: Message,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
    refusal: Option<String>,
    reasoning_content: Option<String>,
    reasoning: Option<String>,
    tool_calls: Option<Vec<Call>>,
}

#[derive(Deserialize)]
struct Call {
    #[serde(default)]
    id: String,
    function: Function,
}

#[derive(Deserialize)]
struct Function {
    name: String,
    #[serde(default)]
    arguments: String,
}

#[derive(Serialize)]
struct Written<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: Vec<WrittenChoice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Box<serde_json::value::RawValue>>,
}

#[derive(Serialize)]
struct WrittenChoice<'a> {
    index: usize,
    message: WrittenMessage<'a>,
    logprobs: Option<()>,
    finish_reason: &'static str,
}

#[derive(Serialize)]
struct WrittenMessage<'a> {
    role: &'static str,
    content: Option<String>,
    refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<WrittenCall<'a>>,
}

#[derive(Serialize)]
struct WrittenCall<'a> {
    id: &'a str,
    r#type: &'static str,
    function: WrittenFunction<'a>,
}

#[derive(Serialize)]
struct WrittenFunction<'a> {
    name: &'a str,
    arguments: &'a str,
}

/// Reads a provider's answer.
///
/// # Errors
/// [`Kind::Provider`](crate::error::Kind::Provider) for what is none.
pub fn read_answer(body: &[u8]) -> Result<Answer, Fault> {
    let read: Body = parse_answer(body)?;
    let choices = read.choices.into_iter().map(choice).collect();
    let usage = read.usage.map(UsageRow::usage);
    Ok(Answer { id: read.id, model: read.model, created_s: read.created, choices, usage })
}

fn choice(row: Row) -> Choice {
    let message = row.message;
    let full = |text: &String| !text.is_empty();
    let thought = message.reasoning_content.filter(full).or(message.reasoning.filter(full));
    let mut parts: Vec<Part> =
        thought.map(|text| Content::Thought { text, signature: None }.into()).into_iter().collect();
    parts.extend(message.content.filter(full).map(Part::text));
    parts.extend(message.refusal.filter(full).map(|text| Part::from(Content::Refusal(text))));
    let calls = message.tool_calls.unwrap_or_default();
    let stop = match row.finish_reason.as_deref() {
        // Several servers say `stop` where a tool is called.
        Some("stop") | None if !calls.is_empty() => stop_of("tool_calls"),
        finish => stop_of(finish.unwrap_or("stop")),
    };
    parts.extend(calls.into_iter().map(|call| {
        let Function { name, arguments } = call.function;
        Part::from(Content::ToolCall(ToolCall { id: call.id, name, arguments, signature: None }))
    }));
    Choice { parts, stop }
}

/// Writes an answer for a client.
#[must_use]
pub fn write_answer(answer: &Answer, mint: &Mint<'_>) -> Vec<u8> {
    let choices = answer.choices.iter().enumerate().map(|(index, choice)| written(index, choice)).collect();
    let usage = answer.usage.as_ref().map(usage_json);
    let written = Written {
        id: mint.id_of(&answer.id),
        object: "chat.completion",
        created: answer.created_s.unwrap_or(mint.now_s),
        model: &answer.model,
        choices,
        usage: usage.map(|usage| serde_json::value::RawValue::from_string(usage).expect("it is JSON")),
    };
    serde_json::to_vec(&written).expect("it has text keys and no failing value")
}

fn written(index: usize, choice: &Choice) -> WrittenChoice<'_> {
    let (mut content, mut thought, mut refusal, mut tool_calls) = (None, None, None, Vec::new());
    let add = |to: &mut Option<String>, text: &str| to.get_or_insert_with(String::new).push_str(text);
    for part in &choice.parts {
        match &part.content {
            Content::Text(text) => add(&mut content, text),
            Content::Thought { text, .. } => add(&mut thought, text),
            Content::Refusal(text) => refusal = Some(text.as_str()),
            Content::ToolCall(call) => tool_calls.push(WrittenCall {
                id: &call.id,
                r#type: "function",
                function: WrittenFunction { name: &call.name, arguments: &call.arguments },
            }),
            // It says nothing to anybody but its provider.
            Content::SealedThought(_)
            | Content::Image { .. }
            | Content::Document { .. }
            | Content::Audio { .. }
            | Content::ToolResult { .. } => {}
        }
    }
    WrittenChoice {
        index,
        message: WrittenMessage { role: "assistant", content, refusal, reasoning_content: thought, tool_calls },
        logprobs: None,
        finish_reason: finish_of(&choice.stop),
    }
}
