//! What a client of chat completions asks, as the view that each shape is written from.
//!
//! Deprecated words are read where clients still send them (`max_tokens`); `functions` are not, since 2023 nobody sends them, and
//! their messages have no ids. What no other shape can say and would change the answer (`n`, audio, `logprobs`) is kept in the view or
//! refused, never dropped in silence.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::dialect::{Words, data_source, note_unknown, parse, push_turn, refuse_members};
use crate::error::Fault;
use crate::loss::Losses;
use crate::message::{
    Cache, Content, Effort, Format, Part, Reasoning, Request, Role, Sampling, Source, Tool, ToolCall, ToolChoice, Turn,
};

/// Members that are read, or that mean nothing to another provider.
const KNOWN: &[&str] = &[
    "model",
    "messages",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "temperature",
    "top_p",
    "top_k",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "max_tokens",
    "max_completion_tokens",
    "stop",
    "n",
    "response_format",
    "reasoning_effort",
    "stream",
    "stream_options",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "store",
    "metadata",
    "service_tier",
];

/// Members that only its own providers can answer to.
const ONLY_HERE: &[&str] = &["audio", "logprobs", "top_logprobs", "functions", "function_call", "web_search_options"];

#[derive(Deserialize)]
struct Body {
    messages: Vec<Message>,
    tools: Option<Vec<ToolRow>>,
    tool_choice: Option<Choice>,
    parallel_tool_calls: Option<bool>,
    temperature: Option<Box<RawValue>>,
    top_p: Option<Box<RawValue>>,
    top_k: Option<Box<RawValue>>,
    seed: Option<Box<RawValue>>,
    presence_penalty: Option<Box<RawValue>>,
    frequency_penalty: Option<Box<RawValue>>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    stop: Option<Words<String>>,
    n: Option<u32>,
    response_format: Option<FormatRow>,
    reasoning_effort: Option<String>,
    stream: Option<bool>,
    user: Option<String>,
    safety_identifier: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    role: String,
    content: Option<Words<PartRow>>,
    refusal: Option<String>,
    reasoning_content: Option<String>,
    reasoning: Option<String>,
    tool_calls: Option<Vec<CallRow>>,
    tool_call_id: Option<String>,
}

/// A part of any type: its type says which members it has.
#[derive(Deserialize)]
struct PartRow {
    r#type: String,
    text: Option<String>,
    refusal: Option<String>,
    image_url: Option<ImageUrl>,
    input_audio: Option<InputAudio>,
    file: Option<FileRow>,
    cache_control: Option<CacheRow>,
}

#[derive(Deserialize)]
struct ImageUrl {
    url: String,
    detail: Option<String>,
}

#[derive(Deserialize)]
struct InputAudio {
    data: String,
    format: String,
}

#[derive(Deserialize)]
struct FileRow {
    file_data: Option<String>,
    file_id: Option<String>,
    filename: Option<String>,
}

/// Anthropic's mark, which clients of several gateways put into chat messages.
#[derive(Deserialize)]
struct CacheRow {
    ttl: Option<String>,
}

#[derive(Deserialize)]
struct CallRow {
    id: String,
    r#type: Option<String>,
    function: Option<FunctionCall>,
}

#[derive(Deserialize)]
struct FunctionCall {
    name: String,
    arguments: String,
}

#[derive(Deserialize)]
struct ToolRow {
    r#type: String,
    function: Option<Function>,
    cache_control: Option<CacheRow>,
}

#[derive(Deserialize)]
struct Function {
    name: String,
    description: Option<String>,
    parameters: Option<Box<RawValue>>,
    strict: Option<bool>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "`none`, `auto`, `required` or an object that names a function")]
enum Choice {
    Word(String),
    Named { r#type: String, function: Option<NamedFunction> },
}

#[derive(Deserialize)]
struct NamedFunction {
    name: String,
}

#[derive(Deserialize)]
struct FormatRow {
    r#type: String,
    json_schema: Option<SchemaRow>,
}

#[derive(Deserialize)]
struct SchemaRow {
    name: Option<String>,
    description: Option<String>,
    schema: Option<Box<RawValue>>,
    strict: Option<bool>,
}

/// Reads a request.
///
/// # Errors
/// [`Kind::Invalid`](crate::error::Kind::Invalid) with the field that cannot be taken.
pub fn read(body: &str, losses: &mut Losses) -> Result<Request, Fault> {
    let read: Body = parse(body.as_bytes())?;
    note_unknown(body, KNOWN, losses);
    refuse_members(body, ONLY_HERE)?;
    let (mut system, mut turns) = (Vec::new(), Vec::new());
    for (place, message) in read.messages.into_iter().enumerate() {
        read_message(message, &format!("messages[{place}]"), &mut system, &mut turns)?;
    }
    let tools = read.tools.unwrap_or_default().into_iter().enumerate();
    Ok(Request {
        system,
        turns,
        tools: tools.map(|(place, row)| tool(row, place)).collect::<Result<_, _>>()?,
        tool_choice: read.tool_choice.map(tool_choice).transpose()?,
        parallel_tools: read.parallel_tool_calls,
        sampling: Sampling {
            temperature: read.temperature,
            top_p: read.top_p,
            top_k: read.top_k,
            seed: read.seed,
            presence_penalty: read.presence_penalty,
            frequency_penalty: read.frequency_penalty,
        },
        output_tokens_max: read.max_completion_tokens.or(read.max_tokens),
        stops: match read.stop {
            None => Vec::new(),
            Some(Words::Text(stop)) => vec![stop],
            Some(Words::Parts(stops)) => stops,
        },
        choices: read.n,
        format: read.response_format.map(format).transpose()?.flatten(),
        reasoning: read.reasoning_effort.map(|effort| reasoning(&effort, "reasoning_effort")).transpose()?,
        user: read.safety_identifier.or(read.user),
        is_streamed: read.stream.unwrap_or(false),
    })
}

fn read_message(message: Message, at: &str, system: &mut Vec<Part>, turns: &mut Vec<Turn>) -> Result<(), Fault> {
    let content = parts(message.content, at)?;
    match message.role.as_str() {
        // Those before the conversation are its instructions.
        "system" | "developer" if turns.is_empty() => system.extend(content),
        "system" | "developer" => turns.push(Turn { role: Role::System, parts: content }),
        "user" => push_turn(turns, Role::User, content),
        "assistant" => {
            let thought = message.reasoning_content.or(message.reasoning);
            let mut parts: Vec<Part> =
                thought.map(|text| Content::Thought { text, signature: None }.into()).into_iter().collect();
            parts.extend(content);
            parts.extend(message.refusal.map(|text| Part::from(Content::Refusal(text))));
            for (place, call) in message.tool_calls.unwrap_or_default().into_iter().enumerate() {
                parts.push(Content::ToolCall(tool_call(call, &format!("{at}.tool_calls[{place}]"))?).into());
            }
            turns.push(Turn { role: Role::Assistant, parts });
        }
        "tool" => {
            let id = message.tool_call_id.ok_or_else(|| {
                Fault::invalid(format!("{at}.tool_call_id"), "a message of role tool names the call that it answers")
            })?;
            push_turn(turns, Role::User, vec![Content::ToolResult { id, parts: content, is_error: false }.into()]);
        }
        other => {
            let message = format!("{other:?} is none of system, developer, user, assistant, tool");
            return Err(Fault::invalid(format!("{at}.role"), message));
        }
    }
    Ok(())
}

fn parts(content: Option<Words<PartRow>>, at: &str) -> Result<Vec<Part>, Fault> {
    match content {
        None => Ok(Vec::new()),
        Some(Words::Text(text)) if text.is_empty() => Ok(Vec::new()),
        Some(Words::Text(text)) => Ok(vec![Part::text(text)]),
        Some(Words::Parts(rows)) => {
            let rows = rows.into_iter().enumerate();
            rows.map(|(place, row)| part(row, &format!("{at}.content[{place}]"))).collect()
        }
    }
}

fn part(row: PartRow, at: &str) -> Result<Part, Fault> {
    let missing = |name: &str| Fault::invalid(format!("{at}.{name}"), format!("a part of type {} has it", row.r#type));
    let content = match row.r#type.as_str() {
        "text" => Content::Text(row.text.ok_or_else(|| missing("text"))?),
        "refusal" => Content::Refusal(row.refusal.ok_or_else(|| missing("refusal"))?),
        "image_url" => {
            let image = row.image_url.ok_or_else(|| missing("image_url"))?;
            Content::Image { source: data_source(image.url), detail: image.detail.filter(|detail| detail != "auto") }
        }
        "input_audio" => {
            let audio = row.input_audio.ok_or_else(|| missing("input_audio"))?;
            let media_type = format!("audio/{}", audio.format);
            Content::Audio { source: Source::Inline { media_type, data: audio.data } }
        }
        "file" => {
            let file = row.file.ok_or_else(|| missing("file"))?;
            let source = match (file.file_data, file.file_id) {
                (Some(data), _) => data_source(data),
                (None, Some(id)) => Source::File(id),
                (None, None) => return Err(missing("file.file_data")),
            };
            Content::Document { source, name: file.filename }
        }
        other => {
            let message = format!("{other:?} is none of text, refusal, image_url, input_audio, file");
            return Err(Fault::invalid(format!("{at}.type"), message));
        }
    };
    Ok(Part { content, cache: row.cache_control.map(|row| cache(&row)) })
}

fn cache(row: &CacheRow) -> Cache {
    if row.ttl.as_deref() == Some("1h") { Cache::Long } else { Cache::Short }
}

fn tool_call(row: CallRow, at: &str) -> Result<ToolCall, Fault> {
    match row.function {
        Some(FunctionCall { name, arguments }) => Ok(ToolCall { id: row.id, name, arguments, signature: None }),
        None => {
            let kind = row.r#type.unwrap_or_default();
            Err(Fault::invalid(format!("{at}.type"), format!("{kind:?} is not function, the only type that is taken")))
        }
    }
}

fn tool(row: ToolRow, place: usize) -> Result<Tool, Fault> {
    let Some(function) = row.function else {
        let message = format!("{:?} is not function, the only type that every provider has", row.r#type);
        return Err(Fault::invalid(format!("tools[{place}].type"), message));
    };
    Ok(Tool {
        name: function.name,
        description: function.description,
        schema: function.parameters,
        strict: function.strict,
        cache: row.cache_control.map(|row| cache(&row)),
    })
}

fn tool_choice(choice: Choice) -> Result<ToolChoice, Fault> {
    match choice {
        Choice::Word(word) => match word.as_str() {
            "auto" => Ok(ToolChoice::Auto),
            "none" => Ok(ToolChoice::None),
            "required" => Ok(ToolChoice::Any),
            _ => Err(Fault::invalid("tool_choice", format!("{word:?} is none of none, auto, required"))),
        },
        Choice::Named { function: Some(function), .. } => Ok(ToolChoice::Named(function.name)),
        Choice::Named { r#type, function: None } => Err(Fault::invalid(
            "tool_choice.type",
            format!("{type:?} is not function, the only type that every provider has"),
        )),
    }
}

fn format(row: FormatRow) -> Result<Option<Format>, Fault> {
    match (row.r#type.as_str(), row.json_schema) {
        ("text", _) => Ok(None),
        ("json_object", _) => Ok(Some(Format::Json)),
        ("json_schema", Some(SchemaRow { name, description, schema: Some(schema), strict })) => {
            Ok(Some(Format::Schema { name, description, schema, strict }))
        }
        ("json_schema", _) => {
            Err(Fault::invalid("response_format.json_schema.schema", "a format of type json_schema has one"))
        }
        (other, _) => {
            let message = format!("{other:?} is none of text, json_object, json_schema");
            Err(Fault::invalid("response_format.type", message))
        }
    }
}

/// Reads a word for how much the model thinks.
pub(in crate::dialect) fn reasoning(effort: &str, field: &str) -> Result<Reasoning, Fault> {
    match effort {
        "none" => Ok(Reasoning::Off),
        "minimal" => Ok(Reasoning::Effort(Effort::Minimal)),
        "low" => Ok(Reasoning::Effort(Effort::Low)),
        "medium" => Ok(Reasoning::Effort(Effort::Medium)),
        "high" => Ok(Reasoning::Effort(Effort::High)),
        "xhigh" | "max" => Ok(Reasoning::Effort(Effort::Most)),
        other => {
            Err(Fault::invalid(field, format!("{other:?} is none of none, minimal, low, medium, high, xhigh, max")))
        }
    }
}
