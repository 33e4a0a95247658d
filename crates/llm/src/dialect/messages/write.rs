//! The view as a request of messages.
//!
//! What the API refuses is mended where nothing is lost: empty texts are left out, instructions in the midst of the conversation go to
//! those before it. Thinking needs room below `max_tokens`, no forced tool, and thoughts that are signed; where one of these is not
//! so, the model answers without.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use super::CacheWritten;
use crate::api::Dialect;
use crate::dialect::closed::closed;
use crate::dialect::{Target, arguments_object, cannot, text_of_inline};
use crate::error::Fault;
use crate::loss::{Feature, Losses};
use crate::message::{Content, Effort, Format, Part, Reasoning, Request, Role, Source, Tool, ToolChoice, Turn};

/// Fewest tokens of thinking that the API takes.
const THINKING_TOKENS_MIN: u64 = 1_024;

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    max_tokens: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<Block<'a>>,
    messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<ToolRow<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Choice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop_sequences: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Thinking>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<OutputConfig<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Metadata<'a>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Vec<Block<'a>>,
}

#[derive(Serialize)]
struct Block<'a> {
    #[serde(flatten)]
    kind: BlockKind<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<CacheWritten>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum BlockKind<'a> {
    Text {
        text: &'a str,
    },
    Image {
        source: SourceRow<'a>,
    },
    Document {
        source: SourceRow<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<&'a str>,
    },
    ToolUse {
        id: &'a str,
        name: &'a str,
        input: &'a RawValue,
    },
    ToolResult {
        tool_use_id: &'a str,
        content: Vec<Block<'a>>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
    },
    Thinking {
        thinking: &'a str,
        signature: &'a str,
    },
    RedactedThinking {
        data: &'a str,
    },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum SourceRow<'a> {
    Base64 { media_type: &'a str, data: &'a str },
    Text { media_type: &'static str, data: String },
    Url { url: &'a str },
    File { file_id: &'a str },
}

#[derive(Serialize)]
struct ToolRow<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    input_schema: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<CacheWritten>,
}

#[derive(Serialize)]
struct Choice<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disable_parallel_tool_use: Option<bool>,
}

#[derive(Serialize)]
struct Thinking {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    budget_tokens: Option<u64>,
}

#[derive(Serialize)]
struct OutputConfig<'a> {
    format: FormatRow<'a>,
}

#[derive(Serialize)]
struct FormatRow<'a> {
    r#type: &'static str,
    schema: Cow<'a, RawValue>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    user_id: &'a str,
}

/// Writes a request for a target.
///
/// # Errors
/// [`Kind::Invalid`](crate::error::Kind::Invalid) for what messages cannot say and no answer is right without.
pub fn write(request: &Request, target: &Target<'_>, losses: &mut Losses) -> Result<Vec<u8>, Fault> {
    if request.choices.is_some_and(|count| count > 1) {
        return Err(cannot("more than one answer (`n`)"));
    }
    let mut system = Vec::new();
    let instructions = request.turns.iter().filter(|turn| turn.role == Role::System).flat_map(|turn| &turn.parts);
    for part in request.system.iter().chain(instructions) {
        system.extend(block(part, losses)?);
    }
    let mut messages: Vec<Message<'_>> = Vec::with_capacity(request.turns.len());
    for turn in request.turns.iter().filter(|turn| turn.role != Role::System) {
        write_turn(turn, &mut messages, losses)?;
    }
    let sampling = &request.sampling;
    losses.add_if(sampling.seed.is_some(), Feature::Seed);
    losses.add_if(sampling.presence_penalty.is_some() || sampling.frequency_penalty.is_some(), Feature::Penalties);
    let max_tokens = request.output_tokens_max.unwrap_or(target.output_tokens_default);
    let thinking = thinking(request, max_tokens, losses);
    let thinks = thinking.as_ref().is_some_and(|thinking| thinking.r#type != "disabled");
    // While it thinks, the API lets nobody say how tokens are drawn.
    losses.add_if(thinks && (sampling.temperature.is_some() || sampling.top_k.is_some()), Feature::Temperature);
    let body = Body {
        model: target.model,
        max_tokens,
        system,
        messages,
        tools: request.tools.iter().map(tool).collect(),
        tool_choice: choice(request),
        temperature: sampling.temperature.as_deref().filter(|_| !thinks),
        top_p: sampling.top_p.as_deref().filter(|_| !thinks),
        top_k: sampling.top_k.as_deref().filter(|_| !thinks),
        stop_sequences: &request.stops,
        thinking,
        output_config: output_config(request.format.as_ref(), losses),
        metadata: request.user.as_deref().map(|user_id| Metadata { user_id }),
        stream: request.is_streamed,
    };
    Ok(serde_json::to_vec(&body).expect("it has text keys and no failing value"))
}

fn write_turn<'a>(turn: &'a Turn, messages: &mut Vec<Message<'a>>, losses: &mut Losses) -> Result<(), Fault> {
    let role = if turn.role == Role::Assistant { "assistant" } else { "user" };
    let mut content = Vec::with_capacity(turn.parts.len());
    for part in &turn.parts {
        content.extend(block(part, losses)?);
    }
    match messages.last_mut().filter(|last| last.role == role) {
        // Instructions stood between them.
        Some(last) => last.content.extend(content),
        None if content.is_empty() => {}
        None => messages.push(Message { role, content }),
    }
    Ok(())
}

fn block<'a>(part: &'a Part, losses: &mut Losses) -> Result<Option<Block<'a>>, Fault> {
    let kind = match &part.content {
        Content::Text(text) | Content::Refusal(text) if text.is_empty() => return Ok(None),
        Content::Text(text) | Content::Refusal(text) => BlockKind::Text { text },
        Content::Image { source: Source::Text(_), .. } => return Err(cannot("an image of text")),
        Content::Image { source, detail } => {
            losses.add_if(detail.is_some(), Feature::ImageDetail);
            BlockKind::Image { source: source_row(source)? }
        }
        Content::Document { source, name } => {
            BlockKind::Document { source: source_row(source)?, title: name.as_deref() }
        }
        Content::Audio { .. } => return Err(cannot("a recording")),
        Content::Thought { text, signature } => {
            match signature.as_ref().and_then(|signature| signature.of(Dialect::Messages)) {
                Some(signature) => BlockKind::Thinking { thinking: text, signature },
                None => return Ok(left_out(losses)),
            }
        }
        Content::SealedThought(data) => match data.of(Dialect::Messages) {
            Some(data) => BlockKind::RedactedThinking { data },
            None => return Ok(left_out(losses)),
        },
        Content::ToolCall(call) => {
            losses.add_if(call.signature.is_some(), Feature::ThoughtSignatures);
            BlockKind::ToolUse { id: &call.id, name: &call.name, input: arguments_object(call)? }
        }
        Content::ToolResult { id, parts, is_error } => {
            let mut content = Vec::with_capacity(parts.len());
            for part in parts {
                content.extend(block(part, losses)?);
            }
            BlockKind::ToolResult { tool_use_id: id, content, is_error: *is_error }
        }
    };
    Ok(Some(Block { kind, cache_control: part.cache.map(CacheWritten::of) }))
}

fn left_out<'a>(losses: &mut Losses) -> Option<Block<'a>> {
    losses.add(Feature::Thoughts);
    None
}

fn source_row(source: &Source) -> Result<SourceRow<'_>, Fault> {
    Ok(match source {
        Source::Inline { media_type, data } if media_type.starts_with("text/") => {
            SourceRow::Text { media_type: "text/plain", data: text_of_inline(data)? }
        }
        Source::Inline { media_type, data } => SourceRow::Base64 { media_type, data },
        Source::Text(text) => SourceRow::Text { media_type: "text/plain", data: text.clone() },
        Source::Url { url, .. } => SourceRow::Url { url },
        Source::File(file_id) => SourceRow::File { file_id },
    })
}

fn tool(row: &Tool) -> ToolRow<'_> {
    ToolRow {
        name: &row.name,
        description: row.description.as_deref(),
        input_schema: row.schema.as_deref().unwrap_or_else(|| no_arguments()),
        strict: row.strict.filter(|strict| *strict),
        cache_control: row.cache.map(CacheWritten::of),
    }
}

/// The schema of a tool without arguments: one is required.
fn no_arguments() -> &'static RawValue {
    serde_json::from_str(r#"{"type":"object","properties":{}}"#).expect("it is JSON")
}

fn choice(request: &Request) -> Option<Choice<'_>> {
    if request.tools.is_empty() {
        return None;
    }
    let disable = request.parallel_tools.filter(|parallel| !parallel).map(|_| true);
    let (kind, name) = match request.tool_choice.as_ref() {
        None if disable.is_none() => return None,
        None | Some(ToolChoice::Auto) => ("auto", None),
        Some(ToolChoice::None) => return Some(Choice { r#type: "none", name: None, disable_parallel_tool_use: None }),
        Some(ToolChoice::Any) => ("any", None),
        Some(ToolChoice::Named(name)) => ("tool", Some(name.as_str())),
    };
    Some(Choice { r#type: kind, name, disable_parallel_tool_use: disable })
}

fn thinking(request: &Request, max_tokens: u64, losses: &mut Losses) -> Option<Thinking> {
    let budget = match request.reasoning? {
        Reasoning::Off => return Some(Thinking { r#type: "disabled", budget_tokens: None }),
        Reasoning::Auto => return Some(Thinking { r#type: "adaptive", budget_tokens: None }),
        // The least word is hardly any: less than what the API calls thinking.
        Reasoning::Effort(Effort::Minimal) => return None,
        Reasoning::Effort(effort) => effort.tokens(),
        Reasoning::Tokens(tokens) => tokens,
    };
    let budget = budget.min(max_tokens.saturating_sub(1));
    let is_forced = matches!(request.tool_choice, Some(ToolChoice::Any | ToolChoice::Named(_)));
    if budget < THINKING_TOKENS_MIN || is_forced || has_unsigned_call(&request.turns) {
        losses.add(Feature::Reasoning);
        return None;
    }
    Some(Thinking { r#type: "enabled", budget_tokens: Some(budget) })
}

/// Whether the model waits for results of calls before which it thought nothing that is signed: the API lets it not begin now.
fn has_unsigned_call(turns: &[Turn]) -> bool {
    let Some(last) = turns.iter().rfind(|turn| turn.role == Role::Assistant) else { return false };
    let calls = last.parts.iter().any(|part| matches!(part.content, Content::ToolCall(_)));
    let is_signed = |part: &Part| match &part.content {
        Content::Thought { signature, .. } => {
            signature.as_ref().is_some_and(|signature| signature.of(Dialect::Messages).is_some())
        }
        Content::SealedThought(data) => data.of(Dialect::Messages).is_some(),
        Content::Text(_)
        | Content::Image { .. }
        | Content::Document { .. }
        | Content::Audio { .. }
        | Content::Refusal(_)
        | Content::ToolCall(_)
        | Content::ToolResult { .. } => false,
    };
    calls && !last.parts.first().is_some_and(is_signed)
}

fn output_config<'a>(format: Option<&'a Format>, losses: &mut Losses) -> Option<OutputConfig<'a>> {
    match format? {
        // Its prompt asks for JSON, as OpenAI demands.
        Format::Json => {
            losses.add(Feature::JsonFormat);
            None
        }
        Format::Schema { schema, .. } => {
            Some(OutputConfig { format: FormatRow { r#type: "json_schema", schema: closed(schema) } })
        }
    }
}
