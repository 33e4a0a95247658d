//! OpenAI chat completions, and everything that is compatible with it.
//!
//! `POST /v1/chat/completions`, <https://platform.openai.com/docs/api-reference/chat>. Thoughts are no part of it; servers of open
//! models tell them as `reasoning_content` (DeepSeek, vLLM, SGLang) or `reasoning` (OpenRouter, Groq), and both are read.

mod answer;
mod read;
mod stream;
mod write;

pub use answer::{read_answer, write_answer};
pub use read::read;
pub(in crate::dialect) use read::reasoning;
pub use stream::{Reader, Writer};
pub(in crate::dialect) use write::effort;
pub use write::write;

use crate::answer::{Stop, Usage};

/// The word for why a model says no more.
const fn finish_of(stop: &Stop) -> &'static str {
    match stop {
        Stop::End | Stop::Text(_) | Stop::Paused => "stop",
        Stop::Length => "length",
        Stop::ToolCalls => "tool_calls",
        Stop::Filtered => "content_filter",
    }
}

/// What the word means; providers have words of their own.
fn stop_of(finish: &str) -> Stop {
    match finish {
        "length" | "max_tokens" => Stop::Length,
        "tool_calls" | "function_call" => Stop::ToolCalls,
        "content_filter" => Stop::Filtered,
        _ => Stop::End,
    }
}

/// `usage`, as it is read.
#[derive(Clone, Copy, Debug, Default, serde::Deserialize)]
struct UsageRow {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
    prompt_tokens_details: Option<InputDetails>,
    completion_tokens_details: Option<OutputDetails>,
    /// DeepSeek's word for tokens of the cache.
    prompt_cache_hit_tokens: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, serde::Deserialize)]
struct InputDetails {
    cached_tokens: Option<u64>,
    audio_tokens: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, serde::Deserialize)]
struct OutputDetails {
    reasoning_tokens: Option<u64>,
    audio_tokens: Option<u64>,
}

/// Reads the value of `usage`.
pub(super) fn usage_of(raw: &str) -> Option<Usage> {
    serde_json::from_str(raw).ok().map(UsageRow::usage)
}

// === impl UsageRow ===

impl UsageRow {
    fn usage(self) -> Usage {
        let input = self.prompt_tokens_details.unwrap_or_default();
        let output = self.completion_tokens_details.unwrap_or_default();
        Usage {
            input: self.prompt_tokens,
            cached: input.cached_tokens.or(self.prompt_cache_hit_tokens).unwrap_or(0),
            cache_written: 0,
            input_audio: input.audio_tokens.unwrap_or(0),
            output: self.completion_tokens,
            reasoning: output.reasoning_tokens.unwrap_or(0),
            output_audio: output.audio_tokens.unwrap_or(0),
        }
    }
}

/// `usage`, as it is written.
fn usage_json(usage: &Usage) -> String {
    format!(
        r#"{{"prompt_tokens":{},"completion_tokens":{},"total_tokens":{},"prompt_tokens_details":{{"cached_tokens":{},"audio_tokens":{}}},"completion_tokens_details":{{"reasoning_tokens":{},"audio_tokens":{},"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}}"#,
        usage.input,
        usage.output,
        usage.total(),
        usage.cached,
        usage.input_audio,
        usage.reasoning,
        usage.output_audio,
    )
}
