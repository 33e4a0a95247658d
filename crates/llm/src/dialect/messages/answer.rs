//! Whole answers of messages.
//!
//! In: a provider's body, or an answer of the view. Out: the other. There is one choice; blocks of the provider's own tools are left
//! out, since no other shape has them.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{UsageRow, stop_of, stop_reason, usage_json};
use crate::answer::{Answer, Choice, Stop};
use crate::api::Dialect;
use crate::dialect::{Mint, arguments_object, parse_answer};
use crate::error::{Fault, Kind};
use crate::message::{Content, Part, Signature, ToolCall};

#[derive(Deserialize)]
struct Body {
    id: String,
    model: String,
    content: Vec<Block>,
    stop_reason: Option<String>,
    stop_sequence: Option<String>,
    usage: Option<UsageRow>,
}

#[derive(Deserialize)]
struct Block {
    r#type: String,
    text: Option<String>,
    thinking: Option<String>,
    signature: Option<String>,
    data: Option<String>,
    id: Option<String>,
    name: Option<String>,
    input: Option<Box<RawValue>>,
}

#[derive(Serialize)]
struct Written<'a> {
    id: &'a str,
    r#type: &'static str,
    role: &'static str,
    model: &'a str,
    content: Vec<WrittenBlock<'a>>,
    stop_reason: &'static str,
    stop_sequence: Option<&'a str>,
    usage: Box<RawValue>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum WrittenBlock<'a> {
    Text { text: &'a str },
    Thinking { thinking: &'a str, signature: String },
    RedactedThinking { data: String },
    ToolUse { id: &'a str, name: &'a str, input: &'a RawValue },
}

/// Reads a provider's answer.
///
/// # Errors
/// [`Kind::Provider`] for what is none.
pub fn read_answer(body: &[u8]) -> Result<Answer, Fault> {
    let read: Body = parse_answer(body)?;
    let parts = read.content.into_iter().filter_map(part).collect();
    let stop = stop_of(read.stop_reason.as_deref().unwrap_or("end_turn"), read.stop_sequence);
    Ok(Answer {
        id: read.id,
        model: read.model,
        created_s: None,
        choices: vec![Choice { parts, stop }],
        usage: read.usage.map(UsageRow::usage),
    })
}

/// Reads a block; what only this provider's own tools make is none for other shapes.
fn part(block: Block) -> Option<Part> {
    let own = |text| Signature::read(Dialect::Messages, text);
    let content = match block.r#type.as_str() {
        "text" => Content::Text(block.text?),
        "thinking" => {
            let signature = block.signature.filter(|text| !text.is_empty()).map(own);
            Content::Thought { text: block.thinking?, signature }
        }
        "redacted_thinking" => Content::SealedThought(own(block.data?)),
        "tool_use" => Content::ToolCall(ToolCall {
            id: block.id?,
            name: block.name?,
            arguments: block.input.map_or_else(|| "{}".to_owned(), |input| input.get().to_owned()),
            signature: None,
        }),
        _ => return None,
    };
    Some(content.into())
}

/// Writes an answer for a client.
///
/// # Errors
/// [`Kind::Provider`] where a complete call has arguments that are no object: a client of messages cannot be given any other.
pub fn write_answer(answer: &Answer, mint: &Mint<'_>) -> Result<Vec<u8>, Fault> {
    let choice =
        answer.choices.first().ok_or_else(|| Fault::new(Kind::Provider, "the provider's answer has no choice"))?;
    let parts = choice.complete_parts();
    let content = parts.iter().filter_map(|part| block(part).transpose()).collect::<Result<_, _>>()?;
    // A client that asked for a schema knows by it that the text is none of that schema.
    let is_refused = choice.parts.iter().any(|part| matches!(part.content, Content::Refusal(_)));
    let stop = if is_refused && choice.stop == Stop::End { &Stop::Filtered } else { &choice.stop };
    let (stop_reason, stop_sequence) = stop_reason(stop);
    let usage = usage_json(&answer.usage.unwrap_or_default());
    let written = Written {
        id: mint.id_of(&answer.id),
        r#type: "message",
        role: "assistant",
        model: &answer.model,
        content,
        stop_reason,
        stop_sequence,
        usage: RawValue::from_string(usage).expect("it is JSON"),
    };
    Ok(serde_json::to_vec(&written).expect("it has text keys and no failing value"))
}

fn block(part: &Part) -> Result<Option<WrittenBlock<'_>>, Fault> {
    Ok(Some(match &part.content {
        Content::Text(text) | Content::Refusal(text) => WrittenBlock::Text { text },
        Content::Thought { text, signature } => WrittenBlock::Thinking {
            thinking: text,
            signature: signature
                .as_ref()
                .map(|signature| signature.shown(Dialect::Messages).into_owned())
                .unwrap_or_default(),
        },
        Content::SealedThought(data) => {
            WrittenBlock::RedactedThinking { data: data.shown(Dialect::Messages).into_owned() }
        }
        Content::ToolCall(call) => {
            let input = arguments_object(call)
                .map_err(|_| Fault::new(Kind::Provider, "the model called a tool with arguments that are no object"))?;
            WrittenBlock::ToolUse { id: &call.id, name: &call.name, input }
        }
        Content::Image { .. } | Content::Document { .. } | Content::Audio { .. } | Content::ToolResult { .. } => {
            return Ok(None);
        }
    }))
}
