//! Gemini `generateContent`, of the Gemini API and of Vertex AI.
//!
//! `POST /v1beta/models/{model}:generateContent` and `:streamGenerateContent`, <https://ai.google.dev/api/generate-content>. The model
//! is in the path. Members are read in both spellings of protobuf's JSON (`maxOutputTokens`, `max_output_tokens`), and written in the
//! first. Thoughts are not part of `candidatesTokenCount`, and are part of the view's output.

mod answer;
mod read;
mod schema;
mod stream;
mod write;

pub use answer::{read_answer, write_answer};
pub use read::read;
pub use stream::{Reader, Writer};
pub(crate) use write::media_type_of;
pub use write::write;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::answer::{Stop, Usage};
use crate::api::Dialect;
use crate::error::{Fault, Kind};
use crate::message::{Content, Part, Signature, Source, ToolCall};

/// The word for why a model says no more.
const fn finish_of(stop: &Stop) -> &'static str {
    match stop {
        Stop::End | Stop::Text(_) | Stop::ToolCalls | Stop::Paused => "STOP",
        Stop::Length => "MAX_TOKENS",
        Stop::Filtered => "SAFETY",
    }
}

fn stop_of(finish: &str, has_called: bool) -> Stop {
    match finish {
        "MAX_TOKENS" => Stop::Length,
        "SAFETY"
        | "RECITATION"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "LANGUAGE" => Stop::Filtered,
        _ if has_called => Stop::ToolCalls,
        _ => Stop::End,
    }
}

/// Whether the provider says with this reason that what it has made is no answer.
fn is_broken(finish: &str) -> bool {
    matches!(
        finish,
        "MALFORMED_FUNCTION_CALL"
            | "UNEXPECTED_TOOL_CALL"
            | "TOO_MANY_TOOL_CALLS"
            | "MISSING_THOUGHT_SIGNATURE"
            | "MALFORMED_RESPONSE"
    )
}

/// The fault of an answer that is none.
fn broken() -> Fault {
    Fault::new(Kind::Provider, "the provider's model called a tool in a way that is none")
}

/// A part of any kind, as it is read from clients and from providers.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PartRow {
    text: Option<String>,
    #[serde(default)]
    thought: bool,
    #[serde(alias = "thought_signature")]
    thought_signature: Option<String>,
    #[serde(alias = "inline_data")]
    inline_data: Option<Blob>,
    #[serde(alias = "file_data")]
    file_data: Option<FileData>,
    #[serde(alias = "function_call")]
    function_call: Option<FunctionCall>,
    #[serde(alias = "function_response")]
    function_response: Option<FunctionResponse>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Blob {
    #[serde(alias = "mime_type")]
    mime_type: String,
    data: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileData {
    #[serde(alias = "mime_type")]
    mime_type: Option<String>,
    #[serde(alias = "file_uri")]
    file_uri: String,
}

#[derive(Deserialize)]
struct FunctionCall {
    id: Option<String>,
    name: String,
    args: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct FunctionResponse {
    id: Option<String>,
    name: String,
    response: Option<Box<RawValue>>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct UsageRow {
    prompt_token_count: Option<u64>,
    tool_use_prompt_token_count: Option<u64>,
    cached_content_token_count: Option<u64>,
    candidates_token_count: Option<u64>,
    thoughts_token_count: Option<u64>,
}

/// Reads the value of `usageMetadata`.
pub(super) fn usage_of(raw: &str) -> Option<Usage> {
    serde_json::from_str(raw).ok().map(UsageRow::usage)
}

// === impl UsageRow ===

impl UsageRow {
    fn usage(self) -> Usage {
        let thoughts = self.thoughts_token_count.unwrap_or(0);
        Usage {
            input: self.prompt_token_count.unwrap_or(0).saturating_add(self.tool_use_prompt_token_count.unwrap_or(0)),
            cached: self.cached_content_token_count.unwrap_or(0),
            output: self.candidates_token_count.unwrap_or(0).saturating_add(thoughts),
            reasoning: thoughts,
            ..Usage::default()
        }
    }
}

/// `usageMetadata`, as it is written.
fn usage_json(usage: &Usage) -> String {
    format!(
        r#"{{"promptTokenCount":{},"cachedContentTokenCount":{},"candidatesTokenCount":{},"thoughtsTokenCount":{},"totalTokenCount":{}}}"#,
        usage.input,
        usage.cached,
        usage.output.saturating_sub(usage.reasoning),
        usage.reasoning,
        usage.total(),
    )
}

/// Mints the ids of calls that have none: by the number of the call in its conversation, or in the answer of this id, so that no two
/// answers of one conversation have calls of one id.
fn call_id(answer: &str, number: usize) -> String {
    if answer.is_empty() { format!("call_{number}") } else { format!("call_{answer}_{number}") }
}

// === impl PartRow ===

impl PartRow {
    /// What it is, as far as a model says it; `number` counts the calls before it in its conversation, or in the answer of this id.
    fn content(self, answer: &str, number: usize) -> Option<Part> {
        let signature = self.thought_signature.map(|text| Signature::read(Dialect::Generate, text));
        if let Some(call) = self.function_call {
            let arguments = call.args.map_or_else(|| "{}".to_owned(), |args| args.get().to_owned());
            let id = call.id.filter(|id| !id.is_empty()).unwrap_or_else(|| call_id(answer, number));
            return Some(Content::ToolCall(ToolCall { id, name: call.name, arguments, signature }).into());
        }
        if let Some(blob) = self.inline_data {
            let source = Source::Inline { media_type: blob.mime_type.clone(), data: standard(blob.data) };
            return Some(media(&blob.mime_type, source).into());
        }
        if let Some(file) = self.file_data {
            let media_type = file.mime_type.clone().unwrap_or_default();
            let source = Source::Url { url: file.file_uri, media_type: file.mime_type };
            return Some(media(&media_type, source).into());
        }
        match (self.text, self.thought, signature) {
            (Some(text), true, signature) => Some(Content::Thought { text, signature }.into()),
            (Some(text), false, _) if !text.is_empty() => Some(Part::text(text)),
            // The signature of a text comes in a part of its own at the end of a stream.
            (_, _, Some(signature)) => {
                Some(Content::Thought { text: String::new(), signature: Some(signature) }.into())
            }
            (_, _, None) => None,
        }
    }
}

/// Bytes in the alphabet that every API takes: Gemini takes that of URLs as well, and Google's own SDK writes it.
fn standard(base64: String) -> String {
    if base64.contains(['-', '_']) { base64.replace('-', "+").replace('_', "/") } else { base64 }
}

fn media(media_type: &str, source: Source) -> Content {
    match media_type.split('/').next() {
        Some("image") => Content::Image { source, detail: None },
        Some("audio") => Content::Audio { source },
        _ => Content::Document { source, name: None },
    }
}
