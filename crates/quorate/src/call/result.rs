//! Makes a tool's result, and the notifications before it, readable.
//!
//! Text is printed as it is, everything else as one line that says what it is; structured content
//! is printed where there is no other. What does not look like a result of MCP is printed as the
//! JSON that it is: nothing that a server said is lost.

use std::fmt::Write as _;

use quorate_jsonrpc::Frame;
use serde_json::Value;

use crate::output;

/// What a result says, for people and for the exit code.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) text: String,
    pub(super) verdict: Verdict,
}

/// How a call ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Complete,
    /// The tool says that it failed.
    Error,
    /// The server wants something before it goes on: `input_required`, or a task.
    Unfinished {
        kind: String,
    },
}

/// Reads a raw result.
pub(super) fn read(raw: &[u8]) -> Outcome {
    let result: Value = serde_json::from_slice(raw).unwrap_or_default();
    let kind = result["resultType"].as_str().unwrap_or("complete");
    let verdict = match kind {
        "complete" if result["isError"].as_bool() == Some(true) => Verdict::Error,
        "complete" => Verdict::Complete,
        other => Verdict::Unfinished { kind: output::visible(other).into_owned() },
    };
    let blocks: Vec<String> = result["content"].as_array().into_iter().flatten().map(block).collect();
    let text = match (blocks.is_empty(), result.get("structuredContent")) {
        (false, _) => blocks.join("\n"),
        (true, Some(structured)) => pretty(structured),
        (true, None) if verdict == Verdict::Complete && result["content"].is_array() => "(no content)".to_owned(),
        (true, None) => pretty(&result),
    };
    Outcome { text: output::visible(&text).into_owned(), verdict }
}

/// Writes one line for a notification that people want to see: progress and log messages.
pub(super) fn note(frame: &Frame) -> Option<String> {
    let params: Value = serde_json::from_slice(&frame.params()?).ok()?;
    match frame.method()? {
        "notifications/progress" => {
            let mut line = format!("progress {}", params["progress"]);
            if let Some(total) = params.get("total") {
                // Writing to a String cannot fail.
                let _ = write!(line, "/{total}");
            }
            if let Some(message) = params["message"].as_str() {
                let _ = write!(line, ": {message}");
            }
            Some(line)
        }
        "notifications/message" => {
            let level = params["level"].as_str().unwrap_or("log");
            let data = params["data"].as_str().map_or_else(|| params["data"].to_string(), str::to_owned);
            Some(format!("{level}: {data}"))
        }
        _ => None,
    }
}

/// Writes one block of content.
fn block(block: &Value) -> String {
    let media = block["mimeType"].as_str().unwrap_or("unknown type");
    match block["type"].as_str() {
        Some("text") if block["text"].is_string() => block["text"].as_str().unwrap_or_default().to_owned(),
        Some(kind @ ("image" | "audio")) if block["data"].is_string() => {
            format!("[{kind}: {media}, {} bytes]", decoded_length(block["data"].as_str().unwrap_or_default()))
        }
        Some("resource_link") if block["uri"].is_string() => {
            format!(
                "[link: {} {}]",
                block["uri"].as_str().unwrap_or_default(),
                block["name"].as_str().unwrap_or_default()
            )
        }
        Some("resource") if block["resource"]["uri"].is_string() => resource(&block["resource"]),
        _ => pretty(block),
    }
}

fn resource(resource: &Value) -> String {
    let uri = resource["uri"].as_str().unwrap_or_default();
    match (resource["text"].as_str(), resource["blob"].as_str()) {
        (Some(text), _) => format!("[resource: {uri}]\n{text}"),
        (None, Some(blob)) => format!("[resource: {uri}, {} bytes]", decoded_length(blob)),
        (None, None) => format!("[resource: {uri}]"),
    }
}

/// The bytes that a Base64 text stands for, computed from its length.
fn decoded_length(base64: &str) -> usize {
    base64.trim_end_matches('=').len() * 3 / 4
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string())
}

#[cfg(test)]
mod tests {
    use quorate_jsonrpc::{Limits, build};

    use super::*;

    #[test]
    fn results_are_readable_and_nothing_is_lost() {
        let cases = [
            (r#"{"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}"#, "a\nb", Verdict::Complete),
            (r#"{"content":[{"type":"text","text":"no"}],"isError":true}"#, "no", Verdict::Error),
            (
                r#"{"content":[{"type":"image","mimeType":"image/png","data":"AAAA"}]}"#,
                "[image: image/png, 3 bytes]",
                Verdict::Complete,
            ),
            (
                r#"{"content":[{"type":"resource","resource":{"uri":"a:b","text":"t"}}]}"#,
                "[resource: a:b]\nt",
                Verdict::Complete,
            ),
            (
                r#"{"content":[{"type":"resource","resource":{"uri":"a:b","blob":"AAA="}}]}"#,
                "[resource: a:b, 2 bytes]",
                Verdict::Complete,
            ),
            (r#"{"content":[{"type":"resource_link","uri":"a:b","name":"n"}]}"#, "[link: a:b n]", Verdict::Complete),
            (r#"{"content":[]}"#, "(no content)", Verdict::Complete),
            (r#"{"content":[],"structuredContent":{"a":1}}"#, "{\n  \"a\": 1\n}", Verdict::Complete),
            (r#"{"content":[{"type":"text","text":"\u001b[2J"}]}"#, "\\u{1b}[2J", Verdict::Complete),
            (r#"{"content":[{"type":"new"}]}"#, "{\n  \"type\": \"new\"\n}", Verdict::Complete),
            ("7", "7", Verdict::Complete),
        ];
        for (raw, text, verdict) in cases {
            assert_eq!(read(raw.as_bytes()), Outcome { text: text.into(), verdict }, "{raw}");
        }
        let unfinished = read(br#"{"resultType":"input_required","inputRequests":{}}"#);
        assert_eq!(unfinished.verdict, Verdict::Unfinished { kind: "input_required".into() });
        assert!(unfinished.text.contains("inputRequests"));
    }

    #[test]
    fn progress_and_logs_are_noted_and_the_rest_is_not() {
        let frame = |method, params| Frame::parse(build::notification(method, Some(params)), &Limits::ANSWER).unwrap();
        let cases = [
            (frame("notifications/progress", r#"{"progress":1,"total":3,"message":"m"}"#), Some("progress 1/3: m")),
            (frame("notifications/progress", r#"{"progress":0.5}"#), Some("progress 0.5")),
            (frame("notifications/message", r#"{"level":"info","data":"d"}"#), Some("info: d")),
            (frame("notifications/message", r#"{"data":{"a":1}}"#), Some("log: {\"a\":1}")),
            (frame("notifications/tools/list_changed", "{}"), None),
        ];
        for (frame, expected) in cases {
            assert_eq!(note(&frame).as_deref(), expected);
        }
    }
}
