//! OpenAI responses, without state: what an earlier response said is in `input`.
//!
//! `POST /v1/responses`, <https://platform.openai.com/docs/api-reference/responses>. Responses that the provider keeps
//! (`previous_response_id`, `conversation`, `background`) are answered by the provider that keeps them, and by no other.

mod answer;
mod read;
mod stream;
mod write;

pub use answer::{read_answer, write_answer};
pub use read::read;
pub use stream::{Reader, Writer};
pub use write::write;

use crate::answer::{Stop, Usage};

/// The status of a response, and why it is incomplete.
const fn status_of(stop: &Stop) -> (&'static str, Option<&'static str>) {
    match stop {
        Stop::End | Stop::Text(_) | Stop::ToolCalls | Stop::Paused => ("completed", None),
        Stop::Length => ("incomplete", Some("max_output_tokens")),
        Stop::Filtered => ("incomplete", Some("content_filter")),
    }
}

fn stop_of(status: &str, reason: Option<&str>, has_called: bool) -> Stop {
    match (status, reason) {
        ("incomplete", Some("content_filter")) => Stop::Filtered,
        ("incomplete", _) => Stop::Length,
        _ if has_called => Stop::ToolCalls,
        _ => Stop::End,
    }
}

/// `usage`, as it is read.
#[derive(Clone, Copy, Debug, Default, serde::Deserialize)]
struct UsageRow {
    #[serde(default)]
    input_tokens: u64,
    #[serde(default)]
    output_tokens: u64,
    input_tokens_details: Option<InputDetails>,
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Clone, Copy, Debug, Default, serde::Deserialize)]
struct InputDetails {
    cached_tokens: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, serde::Deserialize)]
struct OutputDetails {
    reasoning_tokens: Option<u64>,
}

/// Reads the value of `usage`.
pub(super) fn usage_of(raw: &str) -> Option<Usage> {
    serde_json::from_str(raw).ok().map(UsageRow::usage)
}

// === impl UsageRow ===

impl UsageRow {
    fn usage(self) -> Usage {
        Usage {
            input: self.input_tokens,
            cached: self.input_tokens_details.and_then(|details| details.cached_tokens).unwrap_or(0),
            output: self.output_tokens,
            reasoning: self.output_tokens_details.and_then(|details| details.reasoning_tokens).unwrap_or(0),
            ..Usage::default()
        }
    }
}

/// `usage`, as it is written.
fn usage_json(usage: &Usage) -> String {
    format!(
        r#"{{"input_tokens":{},"input_tokens_details":{{"cached_tokens":{}}},"output_tokens":{},"output_tokens_details":{{"reasoning_tokens":{}}},"total_tokens":{}}}"#,
        usage.input,
        usage.cached,
        usage.output,
        usage.reasoning,
        usage.total(),
    )
}
