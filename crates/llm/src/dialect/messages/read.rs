//! What a client of messages asks, as the view that each shape is written from.
//!
//! Thoughts come back with the signature of whoever made them, which may be another provider's. Tools that only one provider runs are
//! refused by name.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::CacheRow;
use crate::api::Dialect;
use crate::dialect::closed::is_strict;
use crate::dialect::{Words, note_unknown, parse, refuse_members};
use crate::error::Fault;
use crate::loss::Losses;
use crate::message::{
    Content, Effort, Format, Part, Reasoning, Request, Role, Sampling, Signature, Source, Tool, ToolCall, ToolChoice,
    Turn,
};

/// Members that are read, or that mean nothing to another provider.
const KNOWN: &[&str] = &[
    "model",
    "messages",
    "system",
    "tools",
    "tool_choice",
    "temperature",
    "top_p",
    "top_k",
    "max_tokens",
    "stop_sequences",
    "thinking",
    "output_config",
    "stream",
    "metadata",
    "service_tier",
];

/// Members that name what only the provider has, or runs.
const ONLY_THERE: &[&str] = &["mcp_servers", "container"];

#[derive(Deserialize)]
struct Body {
    messages: Vec<Message>,
    system: Option<Words<Block>>,
    tools: Option<Vec<ToolRow>>,
    tool_choice: Option<Choice>,
    temperature: Option<Box<RawValue>>,
    top_p: Option<Box<RawValue>>,
    top_k: Option<Box<RawValue>>,
    max_tokens: Option<u64>,
    stop_sequences: Option<Vec<String>>,
    thinking: Option<Thinking>,
    output_config: Option<OutputConfig>,
    stream: Option<bool>,
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct Message {
    role: String,
    content: Words<Block>,
}

/// A block of any type: its type says which members it has.
#[derive(Deserialize)]
struct Block {
    r#type: String,
    text: Option<String>,
    source: Option<SourceRow>,
    title: Option<String>,
    id: Option<String>,
    name: Option<String>,
    input: Option<Box<RawValue>>,
    tool_use_id: Option<String>,
    content: Option<Words<Block>>,
    is_error: Option<bool>,
    thinking: Option<String>,
    signature: Option<String>,
    data: Option<String>,
    cache_control: Option<CacheRow>,
}

#[derive(Deserialize)]
struct SourceRow {
    r#type: String,
    media_type: Option<String>,
    data: Option<String>,
    url: Option<String>,
    file_id: Option<String>,
}

#[derive(Deserialize)]
struct ToolRow {
    r#type: Option<String>,
    name: String,
    description: Option<String>,
    input_schema: Option<Box<RawValue>>,
    strict: Option<bool>,
    cache_control: Option<CacheRow>,
}

#[derive(Deserialize)]
struct Choice {
    r#type: String,
    name: Option<String>,
    disable_parallel_tool_use: Option<bool>,
}

#[derive(Deserialize)]
struct Thinking {
    r#type: String,
    budget_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct OutputConfig {
    effort: Option<String>,
    format: Option<FormatRow>,
}

#[derive(Deserialize)]
struct FormatRow {
    r#type: String,
    schema: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Metadata {
    user_id: Option<String>,
}

/// Reads a request.
///
/// # Errors
/// [`Kind::Invalid`](crate::error::Kind::Invalid) with the field that cannot be taken.
pub fn read(body: &str, losses: &mut Losses) -> Result<Request, Fault> {
    let read: Body = parse(body.as_bytes())?;
    note_unknown(body, KNOWN, losses);
    refuse_members(body, ONLY_THERE)?;
    let tools = read.tools.unwrap_or_default().into_iter().enumerate();
    let turns = read.messages.into_iter().enumerate();
    let is_parallel = read.tool_choice.as_ref().and_then(|choice| choice.disable_parallel_tool_use).map(|off| !off);
    let output = read.output_config;
    Ok(Request {
        system: read.system.map(|words| parts(words, "system")).transpose()?.unwrap_or_default(),
        turns: turns.map(|(place, message)| turn(message, place)).collect::<Result<_, _>>()?,
        tools: tools.map(|(place, row)| tool(row, place)).collect::<Result<_, _>>()?,
        tool_choice: read.tool_choice.map(tool_choice).transpose()?,
        parallel_tools: is_parallel,
        sampling: Sampling {
            temperature: read.temperature,
            top_p: read.top_p,
            top_k: read.top_k,
            ..Sampling::default()
        },
        output_tokens_max: read.max_tokens,
        stops: read.stop_sequences.unwrap_or_default(),
        choices: None,
        reasoning: reasoning(read.thinking, output.as_ref())?,
        format: output.and_then(|output| output.format).map(format).transpose()?,
        user: read.metadata.and_then(|metadata| metadata.user_id),
        is_streamed: read.stream.unwrap_or(false),
    })
}

fn turn(message: Message, place: usize) -> Result<Turn, Fault> {
    let at = format!("messages[{place}]");
    let role = match message.role.as_str() {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        other => return Err(Fault::invalid(format!("{at}.role"), format!("{other:?} is none of user, assistant"))),
    };
    Ok(Turn { role, parts: parts(message.content, &format!("{at}.content"))? })
}

fn parts(words: Words<Block>, at: &str) -> Result<Vec<Part>, Fault> {
    match words {
        Words::Text(text) if text.is_empty() => Ok(Vec::new()),
        Words::Text(text) => Ok(vec![Part::text(text)]),
        Words::Parts(blocks) => {
            let blocks = blocks.into_iter().enumerate();
            blocks.map(|(place, block)| part(block, &format!("{at}[{place}]"))).collect()
        }
    }
}

fn part(block: Block, at: &str) -> Result<Part, Fault> {
    let kind = block.r#type;
    let missing = |name: &str| Fault::invalid(format!("{at}.{name}"), format!("a block of type {kind} has it"));
    let own = |text| Signature::read(Dialect::Messages, text);
    let content = match kind.as_str() {
        "text" => Content::Text(block.text.ok_or_else(|| missing("text"))?),
        "image" => {
            let source = source(block.source.ok_or_else(|| missing("source"))?, at)?;
            Content::Image { source, detail: None }
        }
        "document" => {
            let source = source(block.source.ok_or_else(|| missing("source"))?, at)?;
            Content::Document { source, name: block.title }
        }
        "tool_use" => Content::ToolCall(ToolCall {
            id: block.id.ok_or_else(|| missing("id"))?,
            name: block.name.ok_or_else(|| missing("name"))?,
            arguments: block.input.map_or_else(|| "{}".to_owned(), |input| input.get().to_owned()),
            signature: None,
        }),
        "tool_result" => Content::ToolResult {
            id: block.tool_use_id.ok_or_else(|| missing("tool_use_id"))?,
            parts: block.content.map(|words| parts(words, &format!("{at}.content"))).transpose()?.unwrap_or_default(),
            is_error: block.is_error.unwrap_or(false),
        },
        "thinking" => Content::Thought {
            text: block.thinking.ok_or_else(|| missing("thinking"))?,
            // What another provider thought has none.
            signature: block.signature.filter(|text| !text.is_empty()).map(own),
        },
        "redacted_thinking" => Content::SealedThought(own(block.data.ok_or_else(|| missing("data"))?)),
        other => {
            let known = "text, image, document, tool_use, tool_result, thinking, redacted_thinking";
            let message = format!("{other:?} is none of those that every provider has: {known}");
            return Err(Fault::invalid(format!("{at}.type"), message));
        }
    };
    Ok(Part { content, cache: block.cache_control.map(|row| row.cache()) })
}

fn source(row: SourceRow, at: &str) -> Result<Source, Fault> {
    let missing =
        |name: &str| Fault::invalid(format!("{at}.source.{name}"), format!("a source of type {} has it", row.r#type));
    match row.r#type.as_str() {
        "base64" => Ok(Source::Inline {
            media_type: row.media_type.ok_or_else(|| missing("media_type"))?,
            data: row.data.ok_or_else(|| missing("data"))?,
        }),
        "text" => row.data.map(Source::Text).ok_or_else(|| missing("data")),
        "url" => {
            let url = row.url.ok_or_else(|| missing("url"))?;
            Ok(Source::Url { url, media_type: row.media_type })
        }
        "file" => row.file_id.map(Source::File).ok_or_else(|| missing("file_id")),
        other => {
            Err(Fault::invalid(format!("{at}.source.type"), format!("{other:?} is none of base64, text, url, file")))
        }
    }
}

fn tool(row: ToolRow, place: usize) -> Result<Tool, Fault> {
    if let Some(kind) = row.r#type.filter(|kind| kind != "custom") {
        let message = format!("{kind:?} is a tool of one provider; only tools of the client are taken everywhere");
        return Err(Fault::invalid(format!("tools[{place}].type"), message));
    }
    Ok(Tool {
        name: row.name,
        description: row.description,
        schema: row.input_schema,
        strict: row.strict,
        cache: row.cache_control.map(|row| row.cache()),
    })
}

fn tool_choice(choice: Choice) -> Result<ToolChoice, Fault> {
    match (choice.r#type.as_str(), choice.name) {
        ("auto", _) => Ok(ToolChoice::Auto),
        ("any", _) => Ok(ToolChoice::Any),
        ("none", _) => Ok(ToolChoice::None),
        ("tool", Some(name)) => Ok(ToolChoice::Named(name)),
        ("tool", None) => Err(Fault::invalid("tool_choice.name", "a choice of type tool names it")),
        (other, _) => Err(Fault::invalid("tool_choice.type", format!("{other:?} is none of auto, any, none, tool"))),
    }
}

fn reasoning(thinking: Option<Thinking>, output: Option<&OutputConfig>) -> Result<Option<Reasoning>, Fault> {
    let effort = output.and_then(|output| output.effort.as_deref()).map(effort).transpose()?;
    match thinking {
        None => Ok(effort.map(Reasoning::Effort)),
        Some(thinking) => match (thinking.r#type.as_str(), thinking.budget_tokens) {
            ("enabled", Some(tokens)) => Ok(Some(Reasoning::Tokens(tokens))),
            ("enabled", None) => Err(Fault::invalid("thinking.budget_tokens", "thinking of type enabled has it")),
            ("adaptive", _) => Ok(Some(effort.map_or(Reasoning::Auto, Reasoning::Effort))),
            ("disabled", _) => Ok(Some(Reasoning::Off)),
            (other, _) => {
                Err(Fault::invalid("thinking.type", format!("{other:?} is none of enabled, adaptive, disabled")))
            }
        },
    }
}

fn effort(word: &str) -> Result<Effort, Fault> {
    match word {
        "low" => Ok(Effort::Low),
        "medium" => Ok(Effort::Medium),
        "high" => Ok(Effort::High),
        "xhigh" | "max" => Ok(Effort::Most),
        other => {
            Err(Fault::invalid("output_config.effort", format!("{other:?} is none of low, medium, high, xhigh, max")))
        }
    }
}

fn format(row: FormatRow) -> Result<Format, Fault> {
    match (row.r#type.as_str(), row.schema) {
        ("json_schema", Some(schema)) => {
            let strict = is_strict(&schema).then_some(true);
            Ok(Format::Schema { name: None, description: None, schema, strict })
        }
        ("json_schema", None) => {
            Err(Fault::invalid("output_config.format.schema", "a format of type json_schema has one"))
        }
        (other, _) => Err(Fault::invalid("output_config.format.type", format!("{other:?} is not json_schema"))),
    }
}
