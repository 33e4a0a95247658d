//! Anthropic messages.
//!
//! `POST /v1/messages`, <https://docs.anthropic.com/en/api/messages>, version 2023-06-01. Input that was read from the cache or written
//! to it is not part of `input_tokens` here, and is part of the view's.

mod answer;
mod read;
mod stream;
mod takes;
mod thinking;
mod write;

pub use answer::{read_answer, write_answer};
pub use read::read;
pub(crate) use stream::event;
pub use stream::{Reader, Writer};
pub use write::write;

use crate::answer::{Stop, Usage};
use crate::message::Cache;

/// The word for why a model says no more, and the text that it came to.
fn stop_reason(stop: &Stop) -> (&'static str, Option<&str>) {
    match stop {
        Stop::End => ("end_turn", None),
        Stop::Text(text) => ("stop_sequence", text.as_deref()),
        Stop::Length => ("max_tokens", None),
        Stop::ToolCalls => ("tool_use", None),
        Stop::Filtered => ("refusal", None),
        Stop::Paused => ("pause_turn", None),
    }
}

fn stop_of(reason: &str, sequence: Option<String>) -> Stop {
    match reason {
        "stop_sequence" => Stop::Text(sequence),
        "max_tokens" | "model_context_window_exceeded" => Stop::Length,
        "tool_use" => Stop::ToolCalls,
        "refusal" => Stop::Filtered,
        "pause_turn" => Stop::Paused,
        _ => Stop::End,
    }
}

/// `cache_control`.
#[derive(Clone, Debug, serde::Deserialize)]
struct CacheRow {
    ttl: Option<String>,
}

#[derive(Clone, Copy, Debug, serde::Serialize)]
struct CacheWritten {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<&'static str>,
}

// === impl CacheRow ===

impl CacheRow {
    fn cache(&self) -> Cache {
        if self.ttl.as_deref() == Some("1h") { Cache::Long } else { Cache::Short }
    }
}

// === impl CacheWritten ===

impl CacheWritten {
    const fn of(cache: Cache) -> Self {
        let ttl = match cache {
            Cache::Short => None,
            Cache::Long => Some("1h"),
        };
        Self { r#type: "ephemeral", ttl }
    }
}

/// `usage`, as it is read.
#[derive(Clone, Copy, Debug, Default, serde::Deserialize)]
struct UsageRow {
    input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

/// Reads the value of `usage`.
pub(super) fn usage_of(raw: &str) -> Option<Usage> {
    serde_json::from_str(raw).ok().map(UsageRow::usage)
}

// === impl UsageRow ===

impl UsageRow {
    fn usage(self) -> Usage {
        let (cached, written) =
            (self.cache_read_input_tokens.unwrap_or(0), self.cache_creation_input_tokens.unwrap_or(0));
        Usage {
            input: self.input_tokens.unwrap_or(0).saturating_add(cached).saturating_add(written),
            cached,
            cache_written: written,
            output: self.output_tokens.unwrap_or(0),
            ..Usage::default()
        }
    }
}

/// `usage`, as it is written.
fn usage_json(usage: &Usage) -> String {
    format!(
        r#"{{"input_tokens":{},"cache_creation_input_tokens":{},"cache_read_input_tokens":{},"output_tokens":{}}}"#,
        usage.input.saturating_sub(usage.cached).saturating_sub(usage.cache_written),
        usage.cache_written,
        usage.cached,
        usage.output,
    )
}
