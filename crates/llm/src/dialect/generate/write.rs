//! The view as a request of `generateContent`.
//!
//! Results of tools are told by the names of their tools, which are looked up among the calls before them.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::api::Dialect;
use crate::dialect::{arguments_object, cannot};
use crate::error::Fault;
use crate::loss::{Feature, Losses};
use crate::message::{Content, Format, Part, Reasoning, Request, Role, Source, Tool, ToolChoice, Turn};

/// The most tokens of thinking that every model takes (Gemini 2.5 Flash).
const THINKING_TOKENS_MAX: u64 = 24_576;

/// What stands for the signature of a call that this provider did not make: newer models refuse a call without one.
/// <https://ai.google.dev/gemini-api/docs/thought-signatures>
const NO_SIGNATURE: &str = "skip_thought_signature_validator";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    contents: Vec<Row<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    system_instruction: Option<Row<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<ToolRow<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_config: Option<ToolConfig<'a>>,
    generation_config: Generation<'a>,
}

#[derive(Serialize)]
struct Row<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    parts: Vec<PartRow<'a>>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct PartRow<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    thought: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    thought_signature: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inline_data: Option<Blob<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_data: Option<FileData<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_call: Option<FunctionCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_response: Option<FunctionResponse<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Blob<'a> {
    mime_type: &'a str,
    data: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FileData<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    mime_type: Option<&'a str>,
    file_uri: &'a str,
}

#[derive(Serialize)]
struct FunctionCall<'a> {
    name: &'a str,
    args: &'a RawValue,
}

#[derive(Serialize)]
struct FunctionResponse<'a> {
    name: &'a str,
    response: Box<RawValue>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ToolRow<'a> {
    function_declarations: Vec<Declaration<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Declaration<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters_json_schema: Option<&'a RawValue>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ToolConfig<'a> {
    function_calling_config: CallingConfig<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CallingConfig<'a> {
    mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_function_names: Option<[&'a str; 1]>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Generation<'a> {
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
    max_output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop_sequences: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    candidate_count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_mime_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_json_schema: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_config: Option<ThinkingConfig>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ThinkingConfig {
    thinking_budget: i64,
    include_thoughts: bool,
}

/// Writes a request; the model and whether the answer is streamed are said by its path.
///
/// # Errors
/// [`Kind::Invalid`](crate::error::Kind::Invalid) for what `generateContent` cannot say and no answer is right without.
pub fn write(request: &Request, losses: &mut Losses) -> Result<Vec<u8>, Fault> {
    losses.add_if(request.parallel_tools == Some(false), Feature::ParallelTools);
    losses.add_if(request.user.is_some(), Feature::User);
    let mut system = Vec::new();
    let instructions = request.turns.iter().filter(|turn| turn.role == Role::System).flat_map(|turn| &turn.parts);
    for part in request.system.iter().chain(instructions) {
        system.extend(part_row(part, &[], losses)?);
    }
    let mut contents: Vec<Row<'_>> = Vec::with_capacity(request.turns.len());
    for (place, _) in request.turns.iter().enumerate().filter(|(_, turn)| turn.role != Role::System) {
        write_turn(&request.turns[..=place], &mut contents, losses)?;
    }
    let declarations: Vec<Declaration<'_>> = request.tools.iter().map(|row| declaration(row, losses)).collect();
    let body = Body {
        contents,
        system_instruction: (!system.is_empty()).then_some(Row { role: None, parts: system }),
        tool_config: request.tool_choice.as_ref().filter(|_| !declarations.is_empty()).map(tool_config),
        tools: if declarations.is_empty() { Vec::new() } else { vec![ToolRow { function_declarations: declarations }] },
        generation_config: generation(request, losses),
    };
    Ok(serde_json::to_vec(&body).expect("it has text keys and no failing value"))
}

fn generation<'a>(request: &'a Request, losses: &mut Losses) -> Generation<'a> {
    let sampling = &request.sampling;
    let (mime_type, schema) = match &request.format {
        None => (None, None),
        Some(Format::Json) => (Some("application/json"), None),
        Some(Format::Schema { name, description, schema, .. }) => {
            losses.add_if(name.is_some() || description.is_some(), Feature::FormatName);
            (Some("application/json"), Some(&**schema))
        }
    };
    Generation {
        temperature: sampling.temperature.as_deref(),
        top_p: sampling.top_p.as_deref(),
        top_k: sampling.top_k.as_deref(),
        seed: sampling.seed.as_deref(),
        presence_penalty: sampling.presence_penalty.as_deref(),
        frequency_penalty: sampling.frequency_penalty.as_deref(),
        max_output_tokens: request.output_tokens_max,
        stop_sequences: &request.stops,
        candidate_count: request.choices.filter(|count| *count != 1),
        response_mime_type: mime_type,
        response_json_schema: schema,
        thinking_config: request.reasoning.map(thinking),
    }
}

fn thinking(reasoning: Reasoning) -> ThinkingConfig {
    let tokens = match reasoning {
        Reasoning::Off => return ThinkingConfig { thinking_budget: 0, include_thoughts: false },
        Reasoning::Auto => return ThinkingConfig { thinking_budget: -1, include_thoughts: true },
        Reasoning::Effort(effort) => effort.tokens(),
        Reasoning::Tokens(tokens) => tokens,
    };
    let budget = i64::try_from(tokens.min(THINKING_TOKENS_MAX)).unwrap_or(i64::MAX);
    ThinkingConfig { thinking_budget: budget, include_thoughts: true }
}

/// Writes the last of these turns.
fn write_turn<'a>(turns: &'a [Turn], contents: &mut Vec<Row<'a>>, losses: &mut Losses) -> Result<(), Fault> {
    let Some((turn, before)) = turns.split_last() else { return Ok(()) };
    let role = if turn.role == Role::Assistant { "model" } else { "user" };
    let mut parts = Vec::with_capacity(turn.parts.len());
    for part in &turn.parts {
        parts.extend(part_row(part, before, losses)?);
        // What a tool showed stands beside its result.
        if let Content::ToolResult { parts: shown, .. } = &part.content {
            for part in shown.iter().filter(|part| !matches!(part.content, Content::Text(_))) {
                parts.extend(part_row(part, before, losses)?);
            }
        }
    }
    match contents.last_mut().filter(|last| last.role == Some(role)) {
        Some(last) => last.parts.extend(parts),
        None if parts.is_empty() => {}
        None => contents.push(Row { role: Some(role), parts }),
    }
    Ok(())
}

fn part_row<'a>(part: &'a Part, before: &'a [Turn], losses: &mut Losses) -> Result<Option<PartRow<'a>>, Fault> {
    losses.add_if(part.cache.is_some(), Feature::CacheMarks);
    let row = PartRow::default();
    Ok(Some(match &part.content {
        Content::Text(text) | Content::Refusal(text) => PartRow { text: Some(text), ..row },
        Content::Image { source, detail } => {
            losses.add_if(detail.is_some(), Feature::ImageDetail);
            media(source)?
        }
        Content::Document { source: Source::Text(text), name } => {
            losses.add_if(name.is_some(), Feature::DocumentName);
            PartRow { text: Some(text), ..row }
        }
        Content::Document { source, name } => {
            losses.add_if(name.is_some(), Feature::DocumentName);
            media(source)?
        }
        Content::Audio { source } => media(source)?,
        Content::Thought { text, signature } => {
            match signature.as_ref().and_then(|signature| signature.of(Dialect::Generate)) {
                Some(signature) => {
                    PartRow { text: Some(text), thought: !text.is_empty(), thought_signature: Some(signature), ..row }
                }
                None => {
                    losses.add(Feature::Thoughts);
                    return Ok(None);
                }
            }
        }
        Content::SealedThought(_) => {
            losses.add(Feature::Thoughts);
            return Ok(None);
        }
        Content::ToolCall(call) => {
            let signature = call.signature.as_ref().and_then(|signature| signature.of(Dialect::Generate));
            PartRow {
                function_call: Some(FunctionCall { name: &call.name, args: arguments_object(call)? }),
                thought_signature: Some(signature.unwrap_or(NO_SIGNATURE)),
                ..row
            }
        }
        Content::ToolResult { id, parts, is_error } => {
            let name = name_of(id, before)?;
            PartRow { function_response: Some(FunctionResponse { name, response: response(parts, *is_error) }), ..row }
        }
    }))
}

fn media(source: &Source) -> Result<PartRow<'_>, Fault> {
    let row = PartRow::default();
    Ok(match source {
        Source::Inline { media_type, data } => {
            PartRow { inline_data: Some(Blob { mime_type: media_type, data }), ..row }
        }
        Source::Url { url, media_type } => {
            let mime_type = media_type.as_deref().or_else(|| media_type_of(url));
            PartRow { file_data: Some(FileData { mime_type, file_uri: url }), ..row }
        }
        Source::File(uri) => PartRow { file_data: Some(FileData { mime_type: None, file_uri: uri }), ..row },
        Source::Text(_) => return Err(cannot("a picture or recording of text")),
    })
}

/// The type that the end of a URL's path says.
pub(crate) fn media_type_of(url: &str) -> Option<&'static str> {
    let path = url.split(['?', '#']).next().unwrap_or(url);
    let (_, extension) = path.rsplit_once('.')?;
    Some(match extension.to_ascii_lowercase().as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "heic" => "image/heic",
        "pdf" => "application/pdf",
        "txt" => "text/plain",
        "mp3" => "audio/mp3",
        "wav" => "audio/wav",
        _ => return None,
    })
}

/// The tool that was called under an id, by the last call of it before its result: some servers count from the start in each answer.
fn name_of<'a>(id: &str, before: &'a [Turn]) -> Result<&'a str, Fault> {
    let parts = before.iter().rev().flat_map(|turn| &turn.parts);
    let call = parts.filter_map(|part| part.content.as_call()).find(|call| call.id == id);
    call.map(|call| call.name.as_str()).ok_or_else(|| {
        Fault::new(
            crate::error::Kind::Invalid,
            format!("the result of call {id:?} answers no call of the conversation"),
        )
    })
}

/// A result as the object that it has to be.
fn response(parts: &[Part], is_error: bool) -> Box<RawValue> {
    let texts = parts.iter().filter_map(|part| part.content.as_text());
    let text = texts.collect::<Vec<_>>().join("\n");
    let member = if is_error { "error" } else { "result" };
    let object = match serde_json::from_str::<&RawValue>(&text) {
        Ok(object) if object.get().starts_with('{') && !is_error => object.get().to_owned(),
        _ => format!(r#"{{"{member}":{}}}"#, quorate_jsonrpc::quote(&text)),
    };
    RawValue::from_string(object).expect("it is JSON")
}

fn declaration<'a>(row: &'a Tool, losses: &mut Losses) -> Declaration<'a> {
    losses.add_if(row.cache.is_some(), Feature::CacheMarks);
    losses.add_if(row.strict == Some(true), Feature::StrictTools);
    Declaration {
        name: &row.name,
        description: row.description.as_deref(),
        parameters_json_schema: row.schema.as_deref(),
    }
}

fn tool_config(choice: &ToolChoice) -> ToolConfig<'_> {
    let (mode, names) = match choice {
        ToolChoice::Auto => ("AUTO", None),
        ToolChoice::None => ("NONE", None),
        ToolChoice::Any => ("ANY", None),
        ToolChoice::Named(name) => ("ANY", Some([name.as_str()])),
    };
    ToolConfig { function_calling_config: CallingConfig { mode, allowed_function_names: names } }
}
