//! What the head of a provider's answer says, without IO.
//!
//! How long to leave it alone, and whether its body is what was asked for.

use std::time::{Duration, UNIX_EPOCH};

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use quorate_types::Timestamp;

/// The longest time that a provider can ask to be left alone: what asks for more is taken for this.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);

/// What a provider answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    /// JSON.
    Json,
    /// Events.
    Events,
    /// Something else, such as the page of a proxy.
    Other,
}

/// What becomes of a key that was answered with a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is good.
    Good,
    /// It is refused for any request: another key may be taken.
    Refused,
    /// It may not do what this request asks: another key may.
    Forbidden,
    /// It has no calls left: another key may have some.
    Limited,
}

/// What the body is.
pub(super) fn media(headers: &HeaderMap) -> Media {
    let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = text.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("text/event-stream") {
        Media::Events
    } else if kind.eq_ignore_ascii_case("application/json") || kind.to_ascii_lowercase().ends_with("+json") {
        Media::Json
    } else {
        Media::Other
    }
}

/// How long to leave a provider alone, where it says so: in milliseconds as OpenAI does, in seconds, or until a date (RFC 9110 §10.2.3).
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let number = |text: &str| text.parse::<f64>().ok();
    let date = |text: &str| {
        let at = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(at.saturating_sub(Duration::from_millis(now.as_millis())).as_secs_f64())
    };
    let in_ms = text("retry-after-ms").and_then(number).map(|ms| ms / 1000.0);
    let plain = || text(RETRY_AFTER.as_str()).and_then(|text| number(text).or_else(|| date(text)));
    let duration = Duration::try_from_secs_f64(in_ms.or_else(plain)?.max(0.0)).unwrap_or(RETRY_AFTER_MAX);
    Some(duration.min(RETRY_AFTER_MAX))
}

/// What a status says of the key that was shown.
pub(super) const fn verdict(status: StatusCode) -> Verdict {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::PAYMENT_REQUIRED => Verdict::Refused,
        StatusCode::FORBIDDEN => Verdict::Forbidden,
        StatusCode::TOO_MANY_REQUESTS => Verdict::Limited,
        _ => Verdict::Good,
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn how_long_to_wait_is_read_in_each_way_that_providers_say_it() {
        let now = Timestamp::from_millis(1_795_881_600_500); // Sat, 28 Nov 2026 16:00:00.5 GMT
        let wait = |pairs: &[(&'static str, &'static str)]| retry_after(&headers(pairs), now);

        assert_eq!(wait(&[("retry-after", "7")]), Some(Duration::from_secs(7)));
        assert_eq!(wait(&[("retry-after", "0.5")]), Some(Duration::from_millis(500)));
        assert_eq!(wait(&[("retry-after", "1"), ("retry-after-ms", "1250")]), Some(Duration::from_millis(1250)));
        assert_eq!(wait(&[("retry-after", "1e300")]), Some(RETRY_AFTER_MAX));
        assert_eq!(wait(&[("retry-after", "-4")]), Some(Duration::ZERO));
        assert_eq!(wait(&[("retry-after", "NaN")]), Some(Duration::ZERO));
        assert_eq!(wait(&[("retry-after", "Sat, 28 Nov 2026 16:00:07 GMT")]), Some(Duration::from_millis(6_500)));
        assert_eq!(wait(&[("retry-after", "Sat, 28 Nov 2026 15:00:00 GMT")]), Some(Duration::ZERO));
        for none in ["soon", "", "Sat, 28 Nov"] {
            assert_eq!(wait(&[("retry-after", none)]), None, "{none}");
        }
    }

    #[test]
    fn a_page_of_a_proxy_is_neither_json_nor_events() {
        let cases = [
            ("application/json; charset=utf-8", Media::Json),
            ("Application/Problem+JSON", Media::Json),
            ("text/event-stream;charset=utf-8", Media::Events),
            ("text/html", Media::Other),
            ("", Media::Other),
        ];
        for (text, expected) in cases {
            assert_eq!(
                media(&[(CONTENT_TYPE, HeaderValue::from_static(text))].into_iter().collect()),
                expected,
                "{text}"
            );
        }
        assert_eq!(media(&HeaderMap::new()), Media::Other);
    }
}
