//! The view as a request of responses.
//!
//! Nothing is kept by the provider (`store: false`), so that thoughts are asked for with what seals them. Texts and pictures of one side
//! are messages; calls, results and thoughts are items between them, in order.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::api::Dialect;
use crate::dialect::chat::effort;
use crate::dialect::{Target, cannot};
use crate::error::Fault;
use crate::loss::{Feature, Losses};
use crate::message::{Content, Format, Part, Request, Role, Source, Tool, ToolChoice};

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    input: Vec<Item<'a>>,
    store: bool,
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
    max_output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<ReasoningRow>,
    /// What seals a thought is told only where it is asked for.
    #[serde(skip_serializing_if = "<[&str]>::is_empty")]
    include: &'static [&'static str],
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<TextRow<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Item<'a> {
    Message { role: &'static str, content: Vec<PartRow<'a>> },
    FunctionCall { call_id: &'a str, name: &'a str, arguments: &'a str },
    FunctionCallOutput { call_id: &'a str, output: Vec<PartRow<'a>> },
    Reasoning { summary: Vec<Summary<'a>>, encrypted_content: &'a str },
}

#[derive(Serialize)]
struct Summary<'a> {
    r#type: &'static str,
    text: &'a str,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum PartRow<'a> {
    InputText {
        text: &'a str,
    },
    OutputText {
        text: &'a str,
        annotations: [(); 0],
    },
    Refusal {
        refusal: &'a str,
    },
    InputImage {
        #[serde(skip_serializing_if = "Option::is_none")]
        image_url: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        file_id: Option<&'a str>,
        detail: &'a str,
    },
    InputFile {
        #[serde(skip_serializing_if = "Option::is_none")]
        file_data: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        file_url: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        file_id: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        filename: Option<&'a str>,
    },
}

#[derive(Serialize)]
struct ToolRow<'a> {
    r#type: &'static str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    parameters: Option<&'a RawValue>,
    /// It is on where nothing is said, unlike elsewhere.
    strict: bool,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Choice<'a> {
    Word(&'static str),
    Named { r#type: &'static str, name: &'a str },
}

#[derive(Serialize)]
struct ReasoningRow {
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'static str>,
    summary: &'static str,
}

#[derive(Serialize)]
struct TextRow<'a> {
    format: FormatRow<'a>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum FormatRow<'a> {
    JsonObject,
    JsonSchema {
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<&'a str>,
        schema: &'a RawValue,
        #[serde(skip_serializing_if = "Option::is_none")]
        strict: Option<bool>,
    },
}

/// Writes a request for a target.
///
/// # Errors
/// [`Kind::Invalid`](crate::error::Kind::Invalid) for what responses cannot say and no answer is right without.
pub fn write(request: &Request, target: &Target<'_>, losses: &mut Losses) -> Result<Vec<u8>, Fault> {
    if request.choices.is_some_and(|count| count > 1) {
        return Err(cannot("more than one answer (`n`)"));
    }
    let sampling = &request.sampling;
    losses.add_if(sampling.top_k.is_some(), Feature::TopK);
    losses.add_if(sampling.seed.is_some(), Feature::Seed);
    losses.add_if(sampling.presence_penalty.is_some() || sampling.frequency_penalty.is_some(), Feature::Penalties);
    losses.add_if(!request.stops.is_empty(), Feature::Stops);
    let mut input = Vec::with_capacity(request.turns.len() + 1);
    write_parts(&request.system, Role::System, &mut input, losses)?;
    for turn in &request.turns {
        write_parts(&turn.parts, turn.role, &mut input, losses)?;
    }
    let body = Body {
        model: target.model,
        input,
        store: false,
        tools: request.tools.iter().map(|row| tool(row, losses)).collect(),
        tool_choice: request.tool_choice.as_ref().filter(|_| !request.tools.is_empty()).map(choice),
        parallel_tool_calls: request.parallel_tools.filter(|_| !request.tools.is_empty()),
        temperature: sampling.temperature.as_deref(),
        top_p: sampling.top_p.as_deref(),
        max_output_tokens: request.output_tokens_max,
        reasoning: request.reasoning.map(|reasoning| ReasoningRow { effort: effort(reasoning), summary: "auto" }),
        include: if request.reasoning.is_some() { &["reasoning.encrypted_content"] } else { &[] },
        text: request.format.as_ref().map(format),
        user: request.user.as_deref(),
        stream: request.is_streamed,
    };
    Ok(serde_json::to_vec(&body).expect("it has text keys and no failing value"))
}

/// Writes what one side said: texts and pictures in messages, and everything else as items of their own, in order.
fn write_parts<'a>(parts: &'a [Part], role: Role, input: &mut Vec<Item<'a>>, losses: &mut Losses) -> Result<(), Fault> {
    let name = match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    };
    let mut content = Vec::new();
    for part in parts {
        losses.add_if(part.cache.is_some(), Feature::CacheMarks);
        let item = match &part.content {
            Content::ToolCall(call) => {
                losses.add_if(call.signature.is_some(), Feature::ThoughtSignatures);
                Some(Item::FunctionCall { call_id: &call.id, name: &call.name, arguments: &call.arguments })
            }
            Content::ToolResult { id, parts, is_error } => {
                losses.add_if(*is_error, Feature::ToolError);
                let rows = parts.iter().map(|part| part_row(part, Role::User, losses)).collect::<Result<_, _>>()?;
                Some(Item::FunctionCallOutput { call_id: id, output: rows })
            }
            Content::Thought { text, signature } => {
                let signature = signature.as_ref().and_then(|signature| signature.of(Dialect::Responses));
                losses.add_if(signature.is_none(), Feature::Thoughts);
                let Some(encrypted_content) = signature else { continue };
                let summary = (!text.is_empty()).then_some(Summary { r#type: "summary_text", text });
                Some(Item::Reasoning { summary: summary.into_iter().collect(), encrypted_content })
            }
            Content::SealedThought(_) => {
                losses.add(Feature::Thoughts);
                continue;
            }
            Content::Text(_)
            | Content::Image { .. }
            | Content::Document { .. }
            | Content::Audio { .. }
            | Content::Refusal(_) => None,
        };
        match item {
            None => content.push(part_row(part, role, losses)?),
            Some(item) => {
                flush(name, &mut content, input);
                input.push(item);
            }
        }
    }
    flush(name, &mut content, input);
    Ok(())
}

fn flush<'a>(role: &'static str, content: &mut Vec<PartRow<'a>>, input: &mut Vec<Item<'a>>) {
    if !content.is_empty() {
        input.push(Item::Message { role, content: std::mem::take(content) });
    }
}

fn part_row<'a>(part: &'a Part, role: Role, losses: &mut Losses) -> Result<PartRow<'a>, Fault> {
    match &part.content {
        Content::Text(text) if role == Role::Assistant => Ok(PartRow::OutputText { text, annotations: [] }),
        Content::Text(text) => Ok(PartRow::InputText { text }),
        Content::Refusal(refusal) => Ok(PartRow::Refusal { refusal }),
        Content::Image { source, detail } => {
            let detail = detail.as_deref().unwrap_or("auto");
            let (image_url, file_id) = match source {
                Source::Inline { media_type, data } => (Some(format!("data:{media_type};base64,{data}")), None),
                Source::Url { url, .. } => (Some(url.clone()), None),
                Source::File(id) => (None, Some(id.as_str())),
                Source::Text(_) => return Err(cannot("an image of text")),
            };
            Ok(PartRow::InputImage { image_url, file_id, detail })
        }
        Content::Document { source, name } => {
            let filename = name.as_deref();
            let (mut file_data, mut file_url, mut file_id) = (None, None, None);
            match source {
                Source::Text(text) => {
                    losses.add_if(name.is_some(), Feature::DocumentName);
                    return Ok(PartRow::InputText { text });
                }
                Source::Inline { media_type, data } => file_data = Some(format!("data:{media_type};base64,{data}")),
                Source::Url { url, .. } => file_url = Some(url.as_str()),
                Source::File(id) => file_id = Some(id.as_str()),
            }
            let filename = filename.or(file_data.is_some().then_some("document"));
            let filename = filename.filter(|_| file_data.is_some());
            losses.add_if(name.is_some() && filename.is_none(), Feature::DocumentName);
            Ok(PartRow::InputFile { file_data, file_url, file_id, filename })
        }
        Content::Audio { .. } => Err(cannot("a recording")),
        Content::Thought { .. } | Content::SealedThought(_) | Content::ToolCall(_) | Content::ToolResult { .. } => {
            Err(cannot("a thought, a call or a result within another"))
        }
    }
}

fn tool<'a>(row: &'a Tool, losses: &mut Losses) -> ToolRow<'a> {
    losses.add_if(row.cache.is_some(), Feature::CacheMarks);
    ToolRow {
        r#type: "function",
        name: &row.name,
        description: row.description.as_deref(),
        parameters: row.schema.as_deref(),
        strict: row.strict.unwrap_or(false),
    }
}

fn choice(choice: &ToolChoice) -> Choice<'_> {
    match choice {
        ToolChoice::Auto => Choice::Word("auto"),
        ToolChoice::None => Choice::Word("none"),
        ToolChoice::Any => Choice::Word("required"),
        ToolChoice::Named(name) => Choice::Named { r#type: "function", name },
    }
}

fn format(format: &Format) -> TextRow<'_> {
    let format = match format {
        Format::Json => FormatRow::JsonObject,
        Format::Schema { name, description, schema, strict } => FormatRow::JsonSchema {
            name: name.as_deref().unwrap_or("answer"),
            description: description.as_deref(),
            schema,
            strict: *strict,
        },
    };
    TextRow { format }
}
