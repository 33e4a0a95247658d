//! The tools of the demo server.
//!
//! Wrong arguments are a result with `isError`, as 2025-11-25 asks for, so that a model reads what
//! was wrong and tries again; an unknown tool is a fault. Every tool ends by itself.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quorate_jsonrpc::{Id, quote};
use quorate_mcp::{Fault, Version};
use serde_json::{Map, Number, Value};

/// Longest time that a call takes: what `count` needs at its bounds.
pub(super) const COUNT_TIME_MAX: Duration = Duration::from_secs(STEPS_MAX * PAUSE_MS_MAX / 1_000);

const STEPS_MAX: u64 = 60;
const PAUSE_MS_MAX: u64 = 1_000;
const PAUSE_MS: u64 = 200;

const _: () = assert!(COUNT_TIME_MAX.as_secs() <= 60, "clients wait 60 s for an answer");

/// What a call leads to.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    /// A result at once.
    Done(Result),
    /// A result after some steps.
    Count(Count),
}

/// The result of a tool.
#[derive(Debug, PartialEq)]
pub(super) struct Result {
    text: String,
    /// Structured content, as JSON.
    structured: Option<String>,
    is_error: bool,
}

/// A run of the tool `count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) to: u64,
    pub(super) pause: Duration,
}

/// Calls a tool with raw arguments.
///
/// # Errors
/// [`Fault::UnknownTool`].
pub(super) fn call(name: &str, arguments: &str) -> std::result::Result<Outcome, Fault> {
    let arguments: Map<String, Value> = serde_json::from_str(arguments).unwrap_or_default();
    let outcome = match name {
        "echo" => echo(&arguments),
        "add" => add(&arguments),
        "clock" => Ok(Outcome::Done(clock(SystemTime::now()))),
        "count" => count(&arguments).map(Outcome::Count),
        _ => return Err(Fault::UnknownTool { name: name.to_owned() }),
    };
    Ok(outcome.unwrap_or_else(|wrong| Outcome::Done(Result { text: wrong, structured: None, is_error: true })))
}

/// Returns the definitions of all tools, a JSON array.
pub(super) fn definitions() -> String {
    let echo = r#"{"name":"echo","title":"Echo","description":"Returns the text it is given.","inputSchema":{"type":"object","properties":{"text":{"type":"string","description":"what to return"}},"required":["text"]}}"#;
    let add = r#"{"name":"add","title":"Add","description":"Adds two numbers.","inputSchema":{"type":"object","properties":{"a":{"type":"number","description":"the first number"},"b":{"type":"number","description":"the second number"}},"required":["a","b"]},"outputSchema":{"type":"object","properties":{"sum":{"type":"number"}},"required":["sum"]}}"#;
    let clock = r#"{"name":"clock","title":"Clock","description":"Returns the time in UTC.","inputSchema":{"type":"object","properties":{}},"outputSchema":{"type":"object","properties":{"utc":{"type":"string","description":"RFC 3339"},"unixMs":{"type":"integer","description":"milliseconds since 1970"}},"required":["utc","unixMs"]}}"#;
    let count = format!(
        r#"{{"name":"count","title":"Count","description":"Counts up and reports its progress.","inputSchema":{{"type":"object","properties":{{"to":{{"type":"integer","minimum":1,"maximum":{STEPS_MAX},"description":"the last number"}},"pause_ms":{{"type":"integer","minimum":0,"maximum":{PAUSE_MS_MAX},"default":{PAUSE_MS},"description":"milliseconds per step"}}}},"required":["to"]}}}}"#
    );
    format!("[{echo},{add},{clock},{count}]")
}

// === impl Result ===

impl Result {
    fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), structured: None, is_error: false }
    }

    fn structured(json: String) -> Self {
        Self { text: json.clone(), structured: Some(json), is_error: false }
    }

    /// Writes the result; structured content is known since 2025-06-18.
    pub(super) fn to_json(&self, version: Version) -> String {
        let mut json = format!("{{\"content\":[{{\"type\":\"text\",\"text\":{}}}]", quote(&self.text));
        if let (Some(structured), true) = (&self.structured, version >= Version::V2025_06_18) {
            json.push_str(&format!(",\"structuredContent\":{structured}"));
        }
        if self.is_error {
            json.push_str(",\"isError\":true");
        }
        json.push('}');
        json
    }
}

// === impl Count ===

impl Count {
    /// Writes the parameters of a progress notification; its message is known since 2025-03-26.
    pub(super) fn progress(&self, step: u64, token: &Id, version: Version) -> String {
        let message =
            if version >= Version::V2025_03_26 { format!(",\"message\":\"counted {step}\"") } else { String::new() };
        format!("{{\"progressToken\":{token},\"progress\":{step},\"total\":{}{message}}}", self.to)
    }

    /// Returns the result at the end.
    pub(super) fn result(&self) -> Result {
        Result::text(format!("counted to {}", self.to))
    }
}

fn echo(arguments: &Map<String, Value>) -> std::result::Result<Outcome, String> {
    match arguments.get("text") {
        Some(Value::String(text)) => Ok(Outcome::Done(Result::text(text.clone()))),
        other => Err(wrong("text", "a string", other)),
    }
}

fn add(arguments: &Map<String, Value>) -> std::result::Result<Outcome, String> {
    let number = |name: &'static str| match arguments.get(name) {
        Some(Value::Number(number)) => Ok(number.clone()),
        other => Err(wrong(name, "a number", other)),
    };
    let (a, b) = (number("a")?, number("b")?);
    // Whole numbers stay whole as long as the sum fits.
    let whole = a.as_i64().zip(b.as_i64()).and_then(|(a, b)| a.checked_add(b)).map(Number::from);
    let sum = match whole {
        Some(sum) => sum,
        None => {
            let sum = a.as_f64().zip(b.as_f64()).map(|(a, b)| a + b);
            sum.and_then(Number::from_f64).ok_or("the sum is too large")?
        }
    };
    Ok(Outcome::Done(Result::structured(format!("{{\"sum\":{sum}}}"))))
}

fn clock(now: SystemTime) -> Result {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let unix_ms = since.as_millis();
    Result::structured(format!("{{\"utc\":\"{}\",\"unixMs\":{unix_ms}}}", rfc3339(since.as_secs())))
}

fn count(arguments: &Map<String, Value>) -> std::result::Result<Count, String> {
    let whole = |name: &str, value: Option<&Value>, least: u64, most: u64| {
        let number = value.and_then(Value::as_u64).filter(|number| (least..=most).contains(number));
        number.ok_or_else(|| wrong(name, &format!("a whole number from {least} to {most}"), value))
    };
    let to = whole("to", arguments.get("to"), 1, STEPS_MAX)?;
    let pause_ms = match arguments.get("pause_ms") {
        None => PAUSE_MS,
        value => whole("pause_ms", value, 0, PAUSE_MS_MAX)?,
    };
    Ok(Count { to, pause: Duration::from_millis(pause_ms) })
}

fn wrong(name: &str, expected: &str, found: Option<&Value>) -> String {
    let found = found.map_or_else(|| "missing".to_owned(), |value| value.to_string().chars().take(80).collect());
    format!("the argument `{name}` must be {expected}; it is {found}")
}

/// Writes seconds since 1970 as a date and time in UTC (RFC 3339).
fn rfc3339(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Counted from 0000-03-01, so that leap days end the year, in eras of 400 years
    // (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days).
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let cases = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (1_785_196_800, "2026-07-28T00:00:00Z"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(rfc3339(seconds), expected);
        }
    }

    #[test]
    fn tools_answer_and_say_what_is_wrong() {
        let json = |name, arguments| match call(name, arguments).unwrap() {
            Outcome::Done(result) => result.to_json(Version::LATEST),
            Outcome::Count(count) => format!("{count:?}"),
        };
        let sum = |sum| {
            format!(
                r#"{{"content":[{{"type":"text","text":"{{\"sum\":{sum}}}"}}],"structuredContent":{{"sum":{sum}}}}}"#
            )
        };
        assert_eq!(json("echo", r#"{"text":"a\"b"}"#), r#"{"content":[{"type":"text","text":"a\"b"}]}"#);
        assert_eq!(json("add", r#"{"a":1,"b":2}"#), sum("3"));
        assert_eq!(json("add", r#"{"a":0.5,"b":1}"#), sum("1.5"));
        assert_eq!(json("count", r#"{"to":3}"#), "Count { to: 3, pause: 200ms }");
        for (name, arguments, part) in [
            ("echo", "{}", "missing"),
            ("add", r#"{"a":1,"b":"2"}"#, "must be a number"),
            ("add", r#"{"a":1e308,"b":1e308}"#, "too large"),
            ("count", r#"{"to":0}"#, "from 1 to 60"),
            ("count", r#"{"to":1,"pause_ms":1001}"#, "from 0 to 1000"),
            ("count", r#"{"to":1.5}"#, "whole number"),
        ] {
            let result = json(name, arguments);
            assert!(result.contains(part) && result.contains("\"isError\":true"), "{name} {arguments}: {result}");
        }
        assert!(matches!(call("nothing", "{}"), Err(Fault::UnknownTool { .. })));
    }

    #[test]
    fn structured_content_is_for_revisions_that_know_it() {
        let clock = clock(UNIX_EPOCH + Duration::from_millis(1_500));
        assert!(clock.to_json(Version::V2025_03_26).ends_with(r#"\"unixMs\":1500}"}]}"#));
        assert!(
            clock
                .to_json(Version::V2025_06_18)
                .contains(r#""structuredContent":{"utc":"1970-01-01T00:00:01Z","unixMs":1500}"#)
        );
    }

    #[test]
    fn definitions_are_json_with_the_names_that_can_be_called() {
        let tools: Vec<Map<String, Value>> = serde_json::from_str(&definitions()).unwrap();
        let names: Vec<&str> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["echo", "add", "clock", "count"]);
        assert!(names.iter().all(|name| call(name, "{}").is_ok()));
    }
}
