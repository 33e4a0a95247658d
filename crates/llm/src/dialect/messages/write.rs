//! The view as a request of messages.
//!
//! What the API refuses is mended where nothing is lost: empty texts are left out, instructions in the midst of the conversation go to
//! those before it, results of tools stand before what else the user says, ids of calls have the letters that it takes. What is left of
//! sampling depends on the model.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use super::CacheWritten;
use super::takes::Takes;
use super::thinking::{Thinking, thinking};
use crate::api::Dialect;
use crate::dialect::closed::closed;
use crate::dialect::{Target, arguments_object, cannot, text_of_inline};
use crate::error::Fault;
use crate::loss::{Feature, Losses};
use crate::message::{Content, Format, Part, Request, Role, Sampling, Source, Tool, ToolChoice, Turn};

/// The hottest that the API takes; others take twice that.
const TEMPERATURE_MAX: f64 = 1.0;

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
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stop_sequences: Vec<&'a str>,
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
        id: Cow<'a, str>,
        name: &'a str,
        input: &'a RawValue,
    },
    ToolResult {
        tool_use_id: Cow<'a, str>,
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
    input_schema: Cow<'a, RawValue>,
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
struct OutputConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<FormatRow<'a>>,
}

/// How tokens are drawn, as far as the model lets itself be told.
struct Drawn<'a> {
    temperature: Option<&'a RawValue>,
    top_p: Option<&'a RawValue>,
    top_k: Option<&'a RawValue>,
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
    let takes = Takes::of(target.model);
    losses.add_if(sampling.seed.is_some(), Feature::Seed);
    losses.add_if(sampling.presence_penalty.is_some() || sampling.frequency_penalty.is_some(), Feature::Penalties);
    let max_tokens = request.output_tokens_max.unwrap_or(target.output_tokens_default);
    let (thinking, effort) = thinking(request, takes, max_tokens, losses);
    let thinks = thinking.as_ref().is_some_and(Thinking::thinks);
    let drawn = drawn(sampling, takes, thinks, losses);
    let body = Body {
        model: target.model,
        max_tokens,
        system,
        messages,
        tools: request.tools.iter().map(tool).collect(),
        tool_choice: choice(request),
        temperature: drawn.temperature,
        top_p: drawn.top_p,
        top_k: drawn.top_k,
        stop_sequences: stops(&request.stops, losses),
        thinking,
        output_config: output_config(request.format.as_ref(), effort, losses),
        metadata: request.user.as_deref().map(|user_id| Metadata { user_id }),
        stream: request.is_streamed,
    };
    Ok(serde_json::to_vec(&body).expect("it has text keys and no failing value"))
}

fn drawn<'a>(sampling: &'a Sampling, takes: Takes, thinks: bool, losses: &mut Losses) -> Drawn<'a> {
    let Sampling { temperature, top_p, top_k, .. } = sampling;
    // While it thinks, the API lets nobody say how tokens are drawn, and the newest models never do.
    if thinks || takes == Takes::EffortsAlone {
        losses.add_if(temperature.is_some() || top_p.is_some() || top_k.is_some(), Feature::Temperature);
        return Drawn { temperature: None, top_p: None, top_k: None };
    }
    let is_hotter = |value: &RawValue| value.get().parse::<f64>().is_ok_and(|value| value > TEMPERATURE_MAX);
    let (mut temperature, mut top_p) = (temperature.as_deref(), top_p.as_deref());
    if temperature.is_some_and(is_hotter) {
        losses.add(Feature::Temperature);
        temperature = Some(serde_json::from_str("1").expect("it is JSON"));
    }
    // Its own models take one of both.
    if takes != Takes::All && temperature.is_some() && top_p.is_some() {
        losses.add(Feature::Temperature);
        top_p = None;
    }
    Drawn { temperature, top_p, top_k: top_k.as_deref() }
}

/// A text of spaces alone ends no answer here: the API refuses it.
fn stops<'a>(stops: &'a [String], losses: &mut Losses) -> Vec<&'a str> {
    let taken: Vec<&str> = stops.iter().map(String::as_str).filter(|stop| !stop.trim().is_empty()).collect();
    losses.add_if(taken.len() < stops.len(), Feature::Stops);
    taken
}

/// The id of a call in the letters that the API takes.
fn call_id(id: &str) -> Cow<'_, str> {
    let is_taken = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
    if id.chars().all(is_taken) {
        return Cow::Borrowed(id);
    }
    Cow::Owned(id.chars().map(|letter| if is_taken(letter) { letter } else { '_' }).collect())
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
    if let Some(last) = messages.last_mut().filter(|last| last.role == "user") {
        last.content.sort_by_key(|block| !matches!(block.kind, BlockKind::ToolResult { .. }));
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
            BlockKind::ToolUse { id: call_id(&call.id), name: &call.name, input: arguments_object(call)? }
        }
        Content::ToolResult { id, parts, is_error } => {
            let mut content = Vec::with_capacity(parts.len());
            for part in parts {
                content.extend(block(part, losses)?);
            }
            BlockKind::ToolResult { tool_use_id: call_id(id), content, is_error: *is_error }
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
        input_schema: row.schema.as_deref().map_or_else(|| Cow::Borrowed(no_arguments()), of_object),
        strict: row.strict.filter(|strict| *strict),
        cache_control: row.cache.map(CacheWritten::of),
    }
}

/// A schema of arguments, which are an object: the API wants that said.
fn of_object(schema: &RawValue) -> Cow<'_, RawValue> {
    let (mut is_typed, mut members) = (false, 0);
    let found = quorate_jsonrpc::members(schema.get(), 0, |name, _| {
        is_typed |= name == "type";
        members += 1;
    });
    let Some(rest) = schema.get().strip_prefix('{').filter(|_| found.is_ok() && !is_typed) else {
        return Cow::Borrowed(schema);
    };
    let text = format!(r#"{{"type":"object"{}{rest}"#, if members == 0 { "" } else { "," });
    Cow::Owned(RawValue::from_string(text).expect("a member was added to an object"))
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

fn output_config<'a>(
    format: Option<&'a Format>,
    effort: Option<&'static str>,
    losses: &mut Losses,
) -> Option<OutputConfig<'a>> {
    let format = format.and_then(|format| match format {
        // Its prompt asks for JSON, as OpenAI demands.
        Format::Json => {
            losses.add(Feature::JsonFormat);
            None
        }
        Format::Schema { schema, .. } => Some(FormatRow { r#type: "json_schema", schema: closed(schema) }),
    });
    (format.is_some() || effort.is_some()).then_some(OutputConfig { effort, format })
}
