//! What a client of responses asks, as the view that each shape is written from.
//!
//! Items of one side that follow each other are one turn. What names a response that a provider keeps is refused: nobody else has
//! it.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::api::Dialect;
use crate::dialect::chat::reasoning as effort;
use crate::dialect::{Words, data_source, note_unknown, parse, push_turn, refuse_members};
use crate::error::Fault;
use crate::loss::Losses;
use crate::message::{
    Content, Format, Part, Request, Role, Sampling, Signature, Source, Tool, ToolCall, ToolChoice, Turn,
};

/// Members that are read, or that mean nothing to another provider.
const KNOWN: &[&str] = &[
    "model",
    "input",
    "instructions",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "temperature",
    "top_p",
    "max_output_tokens",
    "reasoning",
    "text",
    "stream",
    "stream_options",
    "store",
    "include",
    "metadata",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "service_tier",
    "truncation",
];

/// Members that only the provider can answer to that has what they name.
const ONLY_THERE: &[&str] =
    &["previous_response_id", "conversation", "background", "prompt", "max_tool_calls", "top_logprobs"];

#[derive(Deserialize)]
struct Body {
    input: Words<Item>,
    instructions: Option<String>,
    tools: Option<Vec<ToolRow>>,
    tool_choice: Option<Choice>,
    parallel_tool_calls: Option<bool>,
    temperature: Option<Box<RawValue>>,
    top_p: Option<Box<RawValue>>,
    max_output_tokens: Option<u64>,
    reasoning: Option<ReasoningRow>,
    text: Option<TextRow>,
    stream: Option<bool>,
    user: Option<String>,
    safety_identifier: Option<String>,
}

/// An item of any type: its type says which members it has.
#[derive(Deserialize)]
struct Item {
    r#type: Option<String>,
    role: Option<String>,
    content: Option<Words<PartRow>>,
    call_id: Option<String>,
    name: Option<String>,
    arguments: Option<String>,
    output: Option<Words<PartRow>>,
    summary: Option<Vec<Summary>>,
    encrypted_content: Option<String>,
}

#[derive(Deserialize)]
struct Summary {
    text: String,
}

#[derive(Deserialize)]
struct PartRow {
    r#type: String,
    text: Option<String>,
    refusal: Option<String>,
    image_url: Option<String>,
    file_id: Option<String>,
    detail: Option<String>,
    file_data: Option<String>,
    file_url: Option<String>,
    filename: Option<String>,
}

#[derive(Deserialize)]
struct ToolRow {
    r#type: String,
    name: Option<String>,
    description: Option<String>,
    parameters: Option<Box<RawValue>>,
    strict: Option<bool>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "`none`, `auto`, `required` or an object that names a function")]
enum Choice {
    Word(String),
    Named { r#type: String, name: Option<String> },
}

#[derive(Deserialize)]
struct ReasoningRow {
    effort: Option<String>,
}

#[derive(Deserialize)]
struct TextRow {
    format: Option<FormatRow>,
}

#[derive(Deserialize)]
struct FormatRow {
    r#type: String,
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
    refuse_members(body, ONLY_THERE)?;
    let mut turns = Vec::new();
    match read.input {
        Words::Text(text) => turns.push(Turn { role: Role::User, parts: vec![Part::text(text)] }),
        Words::Parts(items) => {
            for (place, item) in items.into_iter().enumerate() {
                read_item(item, &format!("input[{place}]"), &mut turns)?;
            }
        }
    }
    let tools = read.tools.unwrap_or_default().into_iter().enumerate();
    let reasoning = read.reasoning.and_then(|row| row.effort);
    Ok(Request {
        system: read.instructions.filter(|text| !text.is_empty()).map(Part::text).into_iter().collect(),
        turns,
        tools: tools.map(|(place, row)| tool(row, place)).collect::<Result<_, _>>()?,
        tool_choice: read.tool_choice.map(tool_choice).transpose()?,
        parallel_tools: read.parallel_tool_calls,
        sampling: Sampling { temperature: read.temperature, top_p: read.top_p, ..Sampling::default() },
        output_tokens_max: read.max_output_tokens,
        stops: Vec::new(),
        choices: None,
        format: read.text.and_then(|text| text.format).map(format).transpose()?.flatten(),
        reasoning: reasoning.map(|word| effort(&word, "reasoning.effort")).transpose()?,
        user: read.safety_identifier.or(read.user),
        is_streamed: read.stream.unwrap_or(false),
    })
}

fn read_item(item: Item, at: &str, turns: &mut Vec<Turn>) -> Result<(), Fault> {
    let kind = item.r#type.unwrap_or_else(|| "message".to_owned());
    let missing = |name: &str| Fault::invalid(format!("{at}.{name}"), format!("an item of type {kind} has it"));
    match kind.as_str() {
        "message" => {
            let role = item.role.ok_or_else(|| missing("role"))?;
            let parts = parts(item.content.ok_or_else(|| missing("content"))?, &format!("{at}.content"))?;
            let role = match role.as_str() {
                "user" => Role::User,
                "assistant" => Role::Assistant,
                "system" | "developer" => Role::System,
                other => {
                    let message = format!("{other:?} is none of user, assistant, system, developer");
                    return Err(Fault::invalid(format!("{at}.role"), message));
                }
            };
            push_turn(turns, role, parts);
        }
        "function_call" => {
            let call = ToolCall {
                id: item.call_id.ok_or_else(|| missing("call_id"))?,
                name: item.name.ok_or_else(|| missing("name"))?,
                arguments: item.arguments.ok_or_else(|| missing("arguments"))?,
                signature: None,
            };
            push_turn(turns, Role::Assistant, vec![Content::ToolCall(call).into()]);
        }
        "function_call_output" => {
            let id = item.call_id.ok_or_else(|| missing("call_id"))?;
            let parts = parts(item.output.ok_or_else(|| missing("output"))?, &format!("{at}.output"))?;
            push_turn(turns, Role::User, vec![Content::ToolResult { id, parts, is_error: false }.into()]);
        }
        "reasoning" => {
            let summary = item.summary.unwrap_or_default();
            let text = summary.iter().map(|part| part.text.as_str()).collect::<Vec<_>>().join("\n\n");
            let signature = item.encrypted_content.map(|text| Signature::read(Dialect::Responses, text));
            push_turn(turns, Role::Assistant, vec![Content::Thought { text, signature }.into()]);
        }
        other => {
            let known = "message, function_call, function_call_output, reasoning";
            let message = format!("{other:?} is none of those that every provider has: {known}");
            return Err(Fault::invalid(format!("{at}.type"), message));
        }
    }
    Ok(())
}

fn parts(words: Words<PartRow>, at: &str) -> Result<Vec<Part>, Fault> {
    match words {
        Words::Text(text) => Ok(vec![Part::text(text)]),
        Words::Parts(rows) => {
            let rows = rows.into_iter().enumerate();
            rows.map(|(place, row)| part(row, &format!("{at}[{place}]"))).collect()
        }
    }
}

fn part(row: PartRow, at: &str) -> Result<Part, Fault> {
    let missing = |name: &str| Fault::invalid(format!("{at}.{name}"), format!("a part of type {} has it", row.r#type));
    let content = match row.r#type.as_str() {
        "input_text" | "output_text" | "text" => Content::Text(row.text.ok_or_else(|| missing("text"))?),
        "refusal" => Content::Refusal(row.refusal.ok_or_else(|| missing("refusal"))?),
        "input_image" => {
            let source = match (row.image_url, row.file_id) {
                (Some(url), _) => data_source(url),
                (None, Some(id)) => Source::File(id),
                (None, None) => return Err(missing("image_url")),
            };
            Content::Image { source, detail: row.detail.filter(|detail| detail != "auto") }
        }
        "input_file" => {
            let source = match (row.file_data, row.file_url, row.file_id) {
                (Some(data), _, _) => data_source(data),
                (None, Some(url), _) => Source::Url { url, media_type: None },
                (None, None, Some(id)) => Source::File(id),
                (None, None, None) => return Err(missing("file_data")),
            };
            Content::Document { source, name: row.filename }
        }
        other => {
            let message = format!("{other:?} is none of input_text, output_text, refusal, input_image, input_file");
            return Err(Fault::invalid(format!("{at}.type"), message));
        }
    };
    Ok(content.into())
}

fn tool(row: ToolRow, place: usize) -> Result<Tool, Fault> {
    match (row.r#type.as_str(), row.name) {
        ("function", Some(name)) => {
            Ok(Tool { name, description: row.description, schema: row.parameters, strict: row.strict, cache: None })
        }
        ("function", None) => Err(Fault::invalid(format!("tools[{place}].name"), "a tool of type function has it")),
        (other, _) => {
            let message = format!("{other:?} is not function, the only type that every provider has");
            Err(Fault::invalid(format!("tools[{place}].type"), message))
        }
    }
}

fn tool_choice(choice: Choice) -> Result<ToolChoice, Fault> {
    match choice {
        Choice::Word(word) => match word.as_str() {
            "auto" => Ok(ToolChoice::Auto),
            "none" => Ok(ToolChoice::None),
            "required" => Ok(ToolChoice::Any),
            _ => Err(Fault::invalid("tool_choice", format!("{word:?} is none of none, auto, required"))),
        },
        Choice::Named { r#type, name: Some(name) } if r#type == "function" => Ok(ToolChoice::Named(name)),
        Choice::Named { r#type, .. } => Err(Fault::invalid(
            "tool_choice.type",
            format!("{type:?} is not function with a name, the only type that every provider has"),
        )),
    }
}

fn format(row: FormatRow) -> Result<Option<Format>, Fault> {
    match (row.r#type.as_str(), row.schema) {
        ("text", _) => Ok(None),
        ("json_object", _) => Ok(Some(Format::Json)),
        ("json_schema", Some(schema)) => {
            Ok(Some(Format::Schema { name: row.name, description: row.description, schema, strict: row.strict }))
        }
        ("json_schema", None) => Err(Fault::invalid("text.format.schema", "a format of type json_schema has one")),
        (other, _) => {
            Err(Fault::invalid("text.format.type", format!("{other:?} is none of text, json_object, json_schema")))
        }
    }
}
