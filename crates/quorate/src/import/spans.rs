//! Numbers of a source as limits of resources write them: spans of time, counts and prices.
//!
//! What is outside of what a limit may be is brought to the nearest end and noted, so that the rest of a document is not lost with it.

use std::time::Duration;

use quorate_types::units::{format_duration, parse_duration};

use super::notes::Notes;

/// The price of a token in dollars, per million of them.
const TOKENS: f64 = 1e6;

/// The shortest and longest span of most limits: a second and a day.
pub(super) const TOTAL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(24 * 3600));
/// The shortest and longest wait for a part of an answer.
pub(super) const WAIT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3600));

/// A span of seconds within what a limit may be.
pub(super) fn seconds(seconds: f64, at: &str, (min, max): (Duration, Duration), notes: &mut Notes) -> String {
    let given = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX);
    // Below a millisecond nothing is written.
    let given = Duration::from_millis(u64::try_from(given.as_millis()).unwrap_or(u64::MAX));
    let taken = given.clamp(min, max);
    if taken != given {
        notes.say(at, format!("{seconds} s is outside of what there may be: {} is written", format_duration(taken)));
    }
    format_duration(taken)
}

/// A span as Go and agentgateway write it (`1m30s`), in seconds.
pub(super) fn of_text(text: &str) -> Option<f64> {
    if let Ok(span) = parse_duration(text) {
        return Some(span.as_secs_f64());
    }
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|each: char| !each.is_ascii_digit() && each != '.')?;
        let (number, behind) = rest.split_at(digits);
        let unit = behind.find(|each: char| each.is_ascii_digit()).unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(unit);
        let factor = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * factor;
        rest = behind;
    }
    (!text.is_empty()).then_some(total)
}

/// A count within what a limit may be.
pub(super) fn count(given: u32, at: &str, (min, max): (u32, u32), notes: &mut Notes) -> u32 {
    let taken = given.clamp(min, max);
    if taken != given {
        notes.say(at, format!("{given} is outside of what there may be: {taken} is written"));
    }
    taken
}

/// Dollars for a million tokens of dollars for one, without the noise of binary fractions.
pub(super) fn per_million(price: f64) -> f64 {
    (price * TOKENS * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_brought_into_their_limits() {
        let cases = [
            (30.0, "30s", 0),
            (0.5, "1s", 1),
            (1.5, "1500ms", 0),
            (1e30, "1d", 1),
            (f64::MAX, "1d", 1),
            (-3.0, "1s", 1),
        ];
        for (given, expected, noted) in cases {
            let mut notes = Notes::default();
            assert_eq!(seconds(given, "x", TOTAL, &mut notes), expected, "{given}");
            assert_eq!(notes.len(), noted, "{given}");
        }
    }

    #[test]
    fn spans_of_go_are_read() {
        let cases = [
            ("30s", Some(30.0)),
            ("1m30s", Some(90.0)),
            ("1.5h", Some(5400.0)),
            ("500ms", Some(0.5)),
            ("", None),
            ("5", None),
            ("s", None),
            ("5 s s", None),
        ];
        for (text, expected) in cases {
            assert_eq!(of_text(text), expected, "{text}");
        }
    }

    #[test]
    fn prices_have_no_noise() {
        assert_eq!([0.000_002_5, 1e-7, 0.0, 0.000_000_075].map(per_million), [2.5, 0.1, 0.0, 0.075]);
    }
}
