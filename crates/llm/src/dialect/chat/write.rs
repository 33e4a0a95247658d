//! The view as a request of chat completions.
//!
//! Results of tools are messages of their own, which follow the message with the calls at once; pictures among them go with what
//! the user says then, since a message of a tool holds text alone.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::dialect::{Target, cannot};
use crate::error::Fault;
use crate::loss::{Feature, Losses};
use crate::message::{Content, Effort, Format, Part, Reasoning, Request, Role, Source, Tool, ToolChoice, Turn};

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<ToolRow<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Choice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u64>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<FormatRow<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Option<Words<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<CallRow<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Words<'a> {
    Text(&'a str),
    Parts(Vec<PartRow<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum PartRow<'a> {
    Text { text: &'a str },
    ImageUrl { image_url: ImageUrl<'a> },
    InputAudio { input_audio: InputAudio<'a> },
    File { file: FileRow<'a> },
}

#[derive(Serialize)]
struct ImageUrl<'a> {
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

#[derive(Serialize)]
struct InputAudio<'a> {
    data: &'a str,
    format: &'a str,
}

#[derive(Serialize)]
struct FileRow<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    file_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filename: Option<&'a str>,
}

#[derive(Serialize)]
struct CallRow<'a> {
    id: &'a str,
    r#type: &'static str,
    function: FunctionCall<'a>,
}

#[derive(Serialize)]
struct FunctionCall<'a> {
    name: &'a str,
    arguments: &'a str,
}

#[derive(Serialize)]
struct ToolRow<'a> {
    r#type: &'static str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Choice<'a> {
    Word(&'static str),
    Named { r#type: &'static str, function: Named<'a> },
}

#[derive(Serialize)]
struct Named<'a> {
    name: &'a str,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum FormatRow<'a> {
    JsonObject,
    JsonSchema { json_schema: SchemaRow<'a> },
}

#[derive(Serialize)]
struct SchemaRow<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    schema: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

/// Writes a request for a target.
///
/// # Errors
/// [`Kind::Invalid`](crate::error::Kind::Invalid) for what chat completions cannot say and no answer is right without.
pub fn write(request: &Request, target: &Target<'_>, losses: &mut Losses) -> Result<Vec<u8>, Fault> {
    let mut messages = Vec::with_capacity(request.turns.len() + 1);
    if !request.system.is_empty() {
        messages.push(message("system", words(&request.system, losses)?));
    }
    for turn in &request.turns {
        write_turn(turn, &mut messages, losses)?;
    }
    let (sampling, raw) = (&request.sampling, |value: &'_ Option<Box<RawValue>>| value.is_some());
    losses.add_if(raw(&sampling.top_k) && !target.quirks.takes_top_k, Feature::TopK);
    let output_max = request.output_tokens_max;
    let is_legacy_max = target.quirks.has_max_tokens;
    let asks_usage = request.is_streamed && !target.quirks.no_stream_options;
    let body = Body {
        model: target.model,
        messages,
        tools: request.tools.iter().map(|row| tool(row, losses)).collect(),
        tool_choice: request.tool_choice.as_ref().filter(|_| !request.tools.is_empty()).map(choice),
        parallel_tool_calls: request.parallel_tools.filter(|_| !request.tools.is_empty()),
        temperature: sampling.temperature.as_deref(),
        top_p: sampling.top_p.as_deref(),
        top_k: sampling.top_k.as_deref().filter(|_| target.quirks.takes_top_k),
        seed: sampling.seed.as_deref(),
        presence_penalty: sampling.presence_penalty.as_deref(),
        frequency_penalty: sampling.frequency_penalty.as_deref(),
        max_tokens: output_max.filter(|_| is_legacy_max),
        max_completion_tokens: output_max.filter(|_| !is_legacy_max),
        stop: &request.stops,
        n: request.choices.filter(|count| *count != 1),
        response_format: request.format.as_ref().map(format),
        reasoning_effort: request.reasoning.and_then(effort),
        user: request.user.as_deref(),
        stream: request.is_streamed,
        // What it cost is told at the end of a stream where it is asked for.
        stream_options: asks_usage.then_some(StreamOptions { include_usage: true }),
    };
    Ok(serde_json::to_vec(&body).expect("it has text keys and no failing value"))
}

const fn message<'a>(role: &'static str, content: Words<'a>) -> Message<'a> {
    Message { role, content: Some(content), refusal: None, tool_calls: Vec::new(), tool_call_id: None }
}

fn write_turn<'a>(turn: &'a Turn, messages: &mut Vec<Message<'a>>, losses: &mut Losses) -> Result<(), Fault> {
    match turn.role {
        Role::System => messages.push(message("system", words(&turn.parts, losses)?)),
        Role::Assistant => messages.push(assistant(&turn.parts, losses)?),
        Role::User => {
            let mut said = Vec::new();
            for part in &turn.parts {
                if let Content::ToolResult { id, parts, is_error } = &part.content {
                    losses.add_if(*is_error, Feature::ToolError);
                    let is_text = |part: &&Part| matches!(part.content, Content::Text(_));
                    let (texts, others): (Vec<&Part>, Vec<&Part>) = parts.iter().partition(is_text);
                    let content = words_of(&texts, losses)?;
                    messages.push(Message { tool_call_id: Some(id), ..message("tool", content) });
                    said.extend(others);
                } else {
                    said.push(part);
                }
            }
            if !said.is_empty() {
                messages.push(message("user", words_of(&said, losses)?));
            }
        }
    }
    Ok(())
}

fn assistant<'a>(parts: &'a [Part], losses: &mut Losses) -> Result<Message<'a>, Fault> {
    let (mut said, mut tool_calls, mut refusal) = (Vec::new(), Vec::new(), None);
    for part in parts {
        match &part.content {
            Content::Thought { .. } | Content::SealedThought(_) => losses.add(Feature::Thoughts),
            Content::Refusal(text) => refusal = Some(text.as_str()),
            Content::ToolCall(call) => tool_calls.push(CallRow {
                id: &call.id,
                r#type: "function",
                function: FunctionCall { name: &call.name, arguments: &call.arguments },
            }),
            Content::Text(_)
            | Content::Image { .. }
            | Content::Document { .. }
            | Content::Audio { .. }
            | Content::ToolResult { .. } => said.push(part),
        }
    }
    let content = if said.is_empty() { None } else { Some(words_of(&said, losses)?) };
    // A message without content, calls or refusal is none that is taken.
    let content = content.or((tool_calls.is_empty() && refusal.is_none()).then_some(Words::Text("")));
    Ok(Message { role: "assistant", content, refusal, tool_calls, tool_call_id: None })
}

fn words<'a>(parts: &'a [Part], losses: &mut Losses) -> Result<Words<'a>, Fault> {
    words_of(&parts.iter().collect::<Vec<_>>(), losses)
}

fn words_of<'a>(parts: &[&'a Part], losses: &mut Losses) -> Result<Words<'a>, Fault> {
    losses.add_if(parts.iter().any(|part| part.cache.is_some()), Feature::CacheMarks);
    if let [Part { content: Content::Text(text), .. }] = parts {
        return Ok(Words::Text(text));
    }
    if parts.is_empty() {
        return Ok(Words::Text(""));
    }
    parts.iter().map(|part| part_row(part, losses)).collect::<Result<_, _>>().map(Words::Parts)
}

fn part_row<'a>(part: &'a Part, losses: &mut Losses) -> Result<PartRow<'a>, Fault> {
    match &part.content {
        Content::Text(text) | Content::Refusal(text) => Ok(PartRow::Text { text }),
        Content::Image { source, detail } => {
            let url = match source {
                Source::Inline { media_type, data } => format!("data:{media_type};base64,{data}"),
                Source::Url { url, .. } => url.clone(),
                Source::Text(_) | Source::File(_) => return Err(cannot("an image by the id of a file")),
            };
            Ok(PartRow::ImageUrl { image_url: ImageUrl { url, detail: detail.as_deref() } })
        }
        Content::Document { source, name } => match source {
            Source::Text(text) => {
                losses.add_if(name.is_some(), Feature::DocumentName);
                Ok(PartRow::Text { text })
            }
            Source::Inline { media_type, data } => {
                let file_data = Some(format!("data:{media_type};base64,{data}"));
                let filename = Some(name.as_deref().unwrap_or("document"));
                Ok(PartRow::File { file: FileRow { file_data, file_id: None, filename } })
            }
            Source::File(id) => {
                losses.add_if(name.is_some(), Feature::DocumentName);
                Ok(PartRow::File { file: FileRow { file_data: None, file_id: Some(id), filename: None } })
            }
            Source::Url { .. } => Err(cannot("a document by its URL")),
        },
        Content::Audio { source: Source::Inline { media_type, data } } => {
            let format = media_type.strip_prefix("audio/").unwrap_or(media_type);
            Ok(PartRow::InputAudio { input_audio: InputAudio { data, format } })
        }
        Content::Audio { .. } => Err(cannot("a recording that is not in the request")),
        Content::Thought { .. } | Content::SealedThought(_) | Content::ToolCall(_) | Content::ToolResult { .. } => {
            Err(cannot("a thought, a call or a result within another"))
        }
    }
}

fn tool<'a>(row: &'a Tool, losses: &mut Losses) -> ToolRow<'a> {
    losses.add_if(row.cache.is_some(), Feature::CacheMarks);
    let description = row.description.as_deref();
    let function = Function { name: &row.name, description, parameters: row.schema.as_deref(), strict: row.strict };
    ToolRow { r#type: "function", function }
}

fn choice(choice: &ToolChoice) -> Choice<'_> {
    match choice {
        ToolChoice::Auto => Choice::Word("auto"),
        ToolChoice::None => Choice::Word("none"),
        ToolChoice::Any => Choice::Word("required"),
        ToolChoice::Named(name) => Choice::Named { r#type: "function", function: Named { name } },
    }
}

fn format(format: &Format) -> FormatRow<'_> {
    match format {
        Format::Json => FormatRow::JsonObject,
        Format::Schema { name, description, schema, strict } => FormatRow::JsonSchema {
            json_schema: SchemaRow {
                // It has to have one.
                name: name.as_deref().unwrap_or("answer"),
                description: description.as_deref(),
                schema,
                strict: *strict,
            },
        },
    }
}

/// The word for how much the model thinks.
pub(in crate::dialect) const fn effort(reasoning: Reasoning) -> Option<&'static str> {
    let effort = match reasoning {
        Reasoning::Auto => return None,
        Reasoning::Off => return Some("none"),
        Reasoning::Effort(effort) => effort,
        Reasoning::Tokens(tokens) => Effort::of_tokens(tokens),
    };
    Some(match effort {
        Effort::Minimal => "minimal",
        Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High => "high",
        Effort::Most => "xhigh",
    })
}
