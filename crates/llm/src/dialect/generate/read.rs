//! What a client of `generateContent` asks, as the view that each shape is written from.
//!
//! Calls and results are paired by their ids where they have some; without, the first result of a name answers the first call of it.

use std::collections::VecDeque;

use quorate_jsonrpc::pick;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::schema::json_schema;
use super::{FunctionResponse, PartRow, call_id};
use crate::dialect::closed::is_strict;
use crate::dialect::{note_unknown, parse, refuse_members};
use crate::error::Fault;
use crate::loss::Losses;
use crate::message::{Content, Effort, Format, Part, Reasoning, Request, Role, Sampling, Tool, ToolChoice, Turn};

/// Members that are read, or that mean nothing to another provider.
const KNOWN: &[&str] = &[
    "contents",
    "systemInstruction",
    "system_instruction",
    "tools",
    "toolConfig",
    "tool_config",
    "generationConfig",
    "generation_config",
    "model",
    "labels",
];

/// Members of `generationConfig` that are read, or that mean nothing to another provider.
const KNOWN_GENERATION: &[&str] = &[
    "temperature",
    "topP",
    "top_p",
    "topK",
    "top_k",
    "seed",
    "presencePenalty",
    "presence_penalty",
    "frequencyPenalty",
    "frequency_penalty",
    "maxOutputTokens",
    "max_output_tokens",
    "stopSequences",
    "stop_sequences",
    "candidateCount",
    "candidate_count",
    "responseMimeType",
    "response_mime_type",
    "responseSchema",
    "response_schema",
    "responseJsonSchema",
    "response_json_schema",
    "_responseJsonSchema",
    "responseModalities",
    "response_modalities",
    "thinkingConfig",
    "thinking_config",
];

/// Members that name what only the provider has that keeps it.
const ONLY_THERE: &[&str] = &["cachedContent", "cached_content"];

/// Members of `generationConfig` that ask for more than text.
const NOT_TEXT: &[&str] =
    &["responseLogprobs", "response_logprobs", "speechConfig", "speech_config", "imageConfig", "image_config"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    contents: Vec<Row>,
    #[serde(alias = "system_instruction")]
    system_instruction: Option<Row>,
    tools: Option<Vec<ToolRow>>,
    #[serde(alias = "tool_config")]
    tool_config: Option<ToolConfig>,
    #[serde(default, alias = "generation_config")]
    generation_config: Generation,
}

#[derive(Deserialize)]
struct Row {
    role: Option<String>,
    #[serde(default)]
    parts: Vec<PartRow>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolRow {
    #[serde(alias = "function_declarations")]
    function_declarations: Option<Vec<Declaration>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Declaration {
    name: String,
    description: Option<String>,
    parameters: Option<Box<RawValue>>,
    #[serde(alias = "parameters_json_schema")]
    parameters_json_schema: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolConfig {
    #[serde(alias = "function_calling_config")]
    function_calling_config: Option<CallingConfig>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CallingConfig {
    mode: Option<String>,
    #[serde(alias = "allowed_function_names")]
    allowed_function_names: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Generation {
    temperature: Option<Box<RawValue>>,
    #[serde(alias = "top_p")]
    top_p: Option<Box<RawValue>>,
    #[serde(alias = "top_k")]
    top_k: Option<Box<RawValue>>,
    seed: Option<Box<RawValue>>,
    #[serde(alias = "presence_penalty")]
    presence_penalty: Option<Box<RawValue>>,
    #[serde(alias = "frequency_penalty")]
    frequency_penalty: Option<Box<RawValue>>,
    #[serde(alias = "max_output_tokens")]
    max_output_tokens: Option<u64>,
    #[serde(alias = "stop_sequences")]
    stop_sequences: Option<Vec<String>>,
    #[serde(alias = "candidate_count")]
    candidate_count: Option<u32>,
    #[serde(alias = "response_mime_type")]
    response_mime_type: Option<String>,
    #[serde(alias = "response_schema")]
    response_schema: Option<Box<RawValue>>,
    #[serde(alias = "response_json_schema", alias = "_responseJsonSchema")]
    response_json_schema: Option<Box<RawValue>>,
    #[serde(alias = "response_modalities")]
    response_modalities: Option<Vec<String>>,
    #[serde(alias = "thinking_config")]
    thinking_config: Option<ThinkingConfig>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ThinkingConfig {
    #[serde(alias = "thinking_budget")]
    thinking_budget: Option<i64>,
    #[serde(alias = "thinking_level")]
    thinking_level: Option<String>,
}

/// Reads a request; whether its answer is streamed is said by its path.
///
/// # Errors
/// [`Kind::Invalid`](crate::error::Kind::Invalid) with the field that cannot be taken.
pub fn read(body: &str, is_streamed: bool, losses: &mut Losses) -> Result<Request, Fault> {
    let read: Body = parse(body.as_bytes())?;
    note_unknown(body, KNOWN, losses);
    refuse_members(body, ONLY_THERE)?;
    check_generation(body, &read.generation_config, losses)?;
    let mut calls = Calls::default();
    let system = read.system_instruction.map(|row| row.parts).unwrap_or_default();
    let mut turns = Vec::with_capacity(read.contents.len());
    for (place, row) in read.contents.into_iter().enumerate() {
        turns.push(turn(row, place, &mut calls)?);
    }
    let mut tools = Vec::new();
    for (place, row) in read.tools.unwrap_or_default().into_iter().enumerate() {
        let declarations = row.function_declarations.ok_or_else(|| {
            let message = "only functions are taken: the provider that answers for this model has no other tools";
            Fault::invalid(format!("tools[{place}].functionDeclarations"), message)
        })?;
        tools.extend(declarations.into_iter().map(tool));
    }
    let generation = read.generation_config;
    Ok(Request {
        system: system.into_iter().filter_map(|part| part.content("", 0)).collect(),
        turns,
        tools,
        tool_choice: read.tool_config.and_then(|config| config.function_calling_config).map(choice).transpose()?,
        parallel_tools: None,
        format: format(&generation),
        reasoning: generation.thinking_config.as_ref().map(reasoning).transpose()?.flatten(),
        sampling: Sampling {
            temperature: generation.temperature,
            top_p: generation.top_p,
            top_k: generation.top_k,
            seed: generation.seed,
            presence_penalty: generation.presence_penalty,
            frequency_penalty: generation.frequency_penalty,
        },
        output_tokens_max: generation.max_output_tokens,
        stops: generation.stop_sequences.unwrap_or_default(),
        choices: generation.candidate_count,
        user: None,
        is_streamed,
    })
}

/// Notes what of `generationConfig` is not read, and refuses what asks for more than text.
fn check_generation(body: &str, generation: &Generation, losses: &mut Losses) -> Result<(), Fault> {
    let is_text = |modality: &String| modality.eq_ignore_ascii_case("text");
    if generation.response_modalities.iter().flatten().any(|modality| !is_text(modality)) {
        return Err(Fault::invalid(
            "generationConfig.responseModalities",
            "only TEXT is taken: the provider that answers for this model says nothing else",
        ));
    }
    // What is no object was refused before.
    let found = pick(body, 0, ["generationConfig", "generation_config"]).unwrap_or_default();
    for span in found.into_iter().flatten() {
        note_unknown(span.of(body), KNOWN_GENERATION, losses);
        refuse_members(span.of(body), NOT_TEXT)?;
    }
    Ok(())
}

/// Calls whose results have not come yet, as they are known.
#[derive(Default)]
struct Calls {
    count: usize,
    open: VecDeque<(String, String)>,
}

// === impl Calls ===

impl Calls {
    /// The id of the call that a result answers.
    fn answered(&mut self, response: &FunctionResponse) -> String {
        let own = response.id.as_deref().filter(|id| !id.is_empty());
        let is_it = |(id, name): &(String, String)| own.map_or(*name == response.name, |own| id == own);
        match self.open.iter().position(is_it).and_then(|at| self.open.remove(at)) {
            Some((id, _)) => id,
            // A result of no call: the provider says what it thinks of it.
            None => own.map_or_else(|| call_id("", self.count), str::to_owned),
        }
    }
}

fn turn(row: Row, place: usize, calls: &mut Calls) -> Result<Turn, Fault> {
    let role = match row.role.as_deref() {
        None | Some("" | "user" | "function" | "tool") => Role::User,
        Some("model") => Role::Assistant,
        Some("system") => Role::System,
        Some(other) => {
            let message = format!("{other:?} is none of user, model");
            return Err(Fault::invalid(format!("contents[{place}].role"), message));
        }
    };
    let mut parts = Vec::with_capacity(row.parts.len());
    for mut part in row.parts {
        if let Some(response) = part.function_response.take() {
            let id = calls.answered(&response);
            parts.push(result(id, response));
            continue;
        }
        let Some(part) = part.content("", calls.count) else { continue };
        if let Content::ToolCall(call) = &part.content {
            calls.count += 1;
            calls.open.push_back((call.id.clone(), call.name.clone()));
        }
        parts.push(part);
    }
    Ok(Turn { role, parts })
}

/// A result is an object; one that holds nothing but a text is that text, as the documentation has it.
fn result(id: String, response: FunctionResponse) -> Part {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Plain {
        #[serde(alias = "output")]
        result: Option<String>,
        error: Option<String>,
    }

    let raw = response.response.as_deref().map_or("{}", RawValue::get);
    let (text, is_error) = match serde_json::from_str::<Plain>(raw) {
        Ok(Plain { error: Some(error), result: None }) => (error, true),
        Ok(Plain { error: None, result: Some(result) }) => (result, false),
        _ => (raw.to_owned(), false),
    };
    Content::ToolResult { id, parts: vec![Part::text(text)], is_error }.into()
}

fn tool(declaration: Declaration) -> Tool {
    let own = declaration.parameters.map(|schema| json_schema(&schema));
    Tool {
        name: declaration.name,
        description: declaration.description,
        schema: declaration.parameters_json_schema.or(own),
        strict: None,
        cache: None,
    }
}

fn choice(config: CallingConfig) -> Result<ToolChoice, Fault> {
    let field = "toolConfig.functionCallingConfig";
    match (config.mode.as_deref(), config.allowed_function_names.as_deref()) {
        (None | Some("AUTO" | "VALIDATED" | "MODE_UNSPECIFIED"), _) => Ok(ToolChoice::Auto),
        (Some("NONE"), _) => Ok(ToolChoice::None),
        (Some("ANY"), None | Some([])) => Ok(ToolChoice::Any),
        (Some("ANY"), Some([name])) => Ok(ToolChoice::Named(name.clone())),
        (Some("ANY"), Some(_)) => Err(Fault::invalid(
            format!("{field}.allowedFunctionNames"),
            "one name at most is taken: the provider that answers for this model knows no choice among several",
        )),
        (Some(other), _) => {
            Err(Fault::invalid(format!("{field}.mode"), format!("{other:?} is none of AUTO, ANY, NONE, VALIDATED")))
        }
    }
}

fn format(generation: &Generation) -> Option<Format> {
    let own = generation.response_schema.as_deref().map(json_schema);
    let schema = generation.response_json_schema.clone().or(own);
    match schema {
        Some(schema) => {
            let strict = is_strict(&schema).then_some(true);
            Some(Format::Schema { name: None, description: None, schema, strict })
        }
        None => (generation.response_mime_type.as_deref() == Some("application/json")).then_some(Format::Json),
    }
}

fn reasoning(config: &ThinkingConfig) -> Result<Option<Reasoning>, Fault> {
    let level = config.thinking_level.as_deref().map(str::to_ascii_lowercase);
    match (level.as_deref(), config.thinking_budget) {
        (Some("minimal"), _) => Ok(Some(Reasoning::Effort(Effort::Minimal))),
        (Some("low"), _) => Ok(Some(Reasoning::Effort(Effort::Low))),
        (Some("medium"), _) => Ok(Some(Reasoning::Effort(Effort::Medium))),
        (Some("high"), _) => Ok(Some(Reasoning::Effort(Effort::High))),
        (None | Some("thinking_level_unspecified"), None) => Ok(None),
        (None, Some(0)) => Ok(Some(Reasoning::Off)),
        (None, Some(budget)) => Ok(Some(u64::try_from(budget).map_or(Reasoning::Auto, Reasoning::Tokens))),
        (Some(other), _) => Err(Fault::invalid(
            "generationConfig.thinkingConfig.thinkingLevel",
            format!("{other:?} is none of minimal, low, medium, high"),
        )),
    }
}
