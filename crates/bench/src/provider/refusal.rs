//! What is said instead of an answer, in the shape of each family, and when to come again.
//!
//! In: a status, a family and a message. Out: a body, the headers that say when to come again, and the error event of a stream. The
//! types and codes are those that the families document for each status, by which their SDKs raise their classes.

use std::time::{SystemTime, UNIX_EPOCH};

use http::header::{HeaderName, RETRY_AFTER};
use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use super::event::Event;
use super::plan::Retry;
use super::route::{Api, Family};

const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// A page, where an answer should be.
pub(super) const PAGE: &str =
    "<!DOCTYPE html>\n<html><head><title>Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>\n";

/// The body of a refusal.
pub(super) fn body(family: Family, status: u16, message: &str, retry: Option<Retry>) -> String {
    let body = match family {
        Family::OpenAi => {
            let (kind, code) = openai(status);
            json!({ "error": { "message": message, "type": kind, "param": null, "code": code } })
        }
        Family::Anthropic => json!({ "type": "error", "error": { "type": anthropic(status), "message": message },
                                      "request_id": "req_mock" }),
        Family::Gemini => {
            let mut error = json!({ "code": status, "message": message, "status": gemini(status) });
            if let Some(Retry::Seconds(seconds)) = retry {
                let delay = format!("{seconds}s");
                error["details"] =
                    json!([{ "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay }]);
            }
            json!({ "error": error })
        }
    };
    body.to_string()
}

/// Adds the header that says when to come again.
pub(super) fn say_retry(headers: &mut HeaderMap, retry: Option<Retry>) {
    match retry {
        None => {}
        Some(Retry::Seconds(seconds)) => drop(headers.insert(RETRY_AFTER, HeaderValue::from(seconds))),
        Some(Retry::Milliseconds(milliseconds)) => {
            headers.insert(RETRY_AFTER_MS, HeaderValue::from(milliseconds));
        }
        Some(Retry::Date(seconds)) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            let date = HeaderValue::try_from(date(now + seconds)).expect("a date is ASCII");
            headers.insert(RETRY_AFTER, date);
        }
    }
}

/// The error that comes in the middle of a stream; `number` is how many events came before.
pub(super) fn event(api: Api, number: usize) -> Event {
    const MESSAGE: &str = "The server had an error while processing your request. Sorry about that!";
    match api {
        Api::Responses => {
            let data = json!({ "type": "error", "sequence_number": number, "code": "server_error", "message": MESSAGE, "param": null });
            Event::named("error", data.to_string())
        }
        Api::Chat | Api::Embeddings => Event::plain(body(Family::OpenAi, 500, MESSAGE, None)),
        Api::Messages | Api::CountTokens => Event::named("error", body(Family::Anthropic, 529, "Overloaded", None)),
        Api::Generate => {
            Event::plain(body(Family::Gemini, 503, "The model is overloaded. Please try again later.", None))
        }
    }
}

fn openai(status: u16) -> (&'static str, Value) {
    match status {
        401 => ("invalid_request_error", json!("invalid_api_key")),
        404 => ("invalid_request_error", json!("model_not_found")),
        429 => ("requests", json!("rate_limit_exceeded")),
        500.. => ("server_error", Value::Null),
        _ => ("invalid_request_error", Value::Null),
    }
}

fn anthropic(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}

fn gemini(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        500.. => "INTERNAL",
        _ => "INVALID_ARGUMENT",
    }
}

/// A time as HTTP writes it (RFC 9110 §5.6.7), with the civil date of <https://howardhinnant.github.io/date_algorithms.html>.
fn date(seconds: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let weekday = DAYS[usize::try_from(days % 7).expect("below 7")];
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = (from_march + 2) % 12;
    let year = year_of_era + era * 400 + u64::from(month < 2);
    let month = MONTHS[usize::try_from(month).expect("below 12")];
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{weekday}, {day:02} {month} {year} {hour:02}:{minute:02}:{second:02} GMT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_written_as_in_the_standard() {
        for (seconds, expected) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (1_709_164_800, "Thu, 29 Feb 2024 00:00:00 GMT"),
            (1_798_761_599, "Thu, 31 Dec 2026 23:59:59 GMT"),
        ] {
            assert_eq!(date(seconds), expected);
        }
    }

    #[test]
    fn each_family_refuses_in_its_shape() {
        let said = |family, status| serde_json::from_str::<Value>(&body(family, status, "m", None)).unwrap();

        assert_eq!(said(Family::OpenAi, 401)["error"]["code"], "invalid_api_key");
        assert_eq!(said(Family::OpenAi, 503)["error"]["type"], "server_error");
        assert_eq!(said(Family::Anthropic, 529)["error"]["type"], "overloaded_error");
        assert_eq!(said(Family::Anthropic, 400)["type"], "error");
        assert_eq!(said(Family::Gemini, 429)["error"]["status"], "RESOURCE_EXHAUSTED");
        assert_eq!(said(Family::Gemini, 418)["error"]["status"], "INVALID_ARGUMENT");
    }
}
