//! Times as people and documents write them: `2027-01-31T23:59:59Z` (RFC 3339).
//!
//! One parser and one formatter for configuration files, flags and records. The calendar is the proleptic Gregorian one
//! in the arithmetic of "chrono-Compatible Low-Level Date Algorithms" (Howard Hinnant): whole numbers, no tables of
//! zones. Written by hand because this layer has no clock, and the crates that know times bring one.
//!
//! Times are whole milliseconds from 1970 to the end of 9999; a finer fraction is cut off, and leap seconds are refused.

use crate::Timestamp;

/// The longest text that is read: date, time, nine digits of a fraction and an offset.
const TEXT_BYTES_MAX: usize = "2027-01-31T23:59:59.123456789+00:00".len();
/// The last millisecond that four digits of a year can write.
const LAST_MS: u64 = 253_402_300_799_999;
const DAY_MS: u64 = 86_400_000;
/// Days from 0000-03-01, where the years of the calculation begin, to 1970-01-01.
const DAYS_TO_EPOCH: i64 = 719_468;
/// Days of the 400 years after which the calendar repeats.
const ERA_DAYS: i64 = 146_097;

/// A text is not a time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a time as RFC 3339 writes it, such as 2027-01-31T23:59:59Z, from 1970 to 9999")]
pub struct InvalidTime {
    /// The text as given, cut to a length that a time may have.
    pub text: String,
}

/// Reads a time such as `2027-01-31T23:59:59Z` or `2027-01-31T23:59:59.5+02:00`.
///
/// # Errors
/// [`InvalidTime`] for every other form, dates that there are not, and times that a [`Timestamp`] cannot be.
pub fn parse(text: &str) -> Result<Timestamp, InvalidTime> {
    read(text).ok_or_else(|| InvalidTime { text: text.chars().take(TEXT_BYTES_MAX).collect() })
}

/// Writes a time in UTC, with milliseconds where there are any; what lies beyond 9999 is written as its end.
#[must_use]
pub fn format(time: Timestamp) -> String {
    let ms = time.as_millis().min(LAST_MS);
    let (year, month, day) = date_of(i64::try_from(ms / DAY_MS).expect("the days of 8,000 years fit"));
    let second = ms % DAY_MS / 1_000;
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    match ms % 1_000 {
        0 => format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"),
        ms => format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z"),
    }
}

fn read(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    if bytes.len() > TEXT_BYTES_MAX {
        return None;
    }
    let (year, month, day) = (number(bytes, 0, 4)?, number(bytes, 5, 2)?, number(bytes, 8, 2)?);
    let (hour, minute, second) = (number(bytes, 11, 2)?, number(bytes, 14, 2)?, number(bytes, 17, 2)?);
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    let separated = separators.iter().all(|&(at, byte)| bytes[at].to_ascii_uppercase() == byte);
    if !separated || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (fraction_ms, zone) = fraction(&bytes[19..])?;
    let days = days_of(year, month, day)?;
    // A calendar has no gaps: only a date that there is comes back as itself.
    if date_of(days) != (year, month, day) {
        return None;
    }
    let local_ms = days * DAY_MS as i64 + (hour * 3_600 + minute * 60 + second) * 1_000 + fraction_ms;
    let ms = u64::try_from(local_ms - offset_ms(zone)?).ok()?;
    (ms <= LAST_MS).then(|| Timestamp::from_millis(ms))
}

/// Reads `count` digits at `at`.
fn number(bytes: &[u8], at: usize, count: usize) -> Option<i64> {
    let digits = bytes.get(at..at + count)?;
    digits.iter().try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0')))
}

/// Reads the fraction of a second, if there is one; returns its milliseconds and what follows it.
fn fraction(rest: &[u8]) -> Option<(i64, &[u8])> {
    let Some((b'.', rest)) = rest.split_first() else { return Some((0, rest)) };
    let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, zone) = rest.split_at(count);
    let ms = digits.iter().chain(b"00").take(3).fold(0, |value, byte| value * 10 + i64::from(byte - b'0'));
    (1..=9).contains(&count).then_some((ms, zone))
}

/// Reads what a local time is ahead of UTC.
fn offset_ms(zone: &[u8]) -> Option<i64> {
    let ahead = match zone {
        [b'Z' | b'z'] => return Some(0),
        [b'+', _, _, b':', _, _] => 1,
        [b'-', _, _, b':', _, _] => -1,
        _ => return None,
    };
    let (hours, minutes) = (number(zone, 1, 2)?, number(zone, 4, 2)?);
    (hours <= 23 && minutes <= 59).then_some(ahead * (hours * 60 + minutes) * 60_000)
}

/// Returns the days from 1970-01-01 to a date; a day too many counts on into the next month.
fn days_of(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years begin in March here, so that the leap day is their last.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * ERA_DAYS + day_of_era - DAYS_TO_EPOCH)
}

/// Returns year, month and day of a number of days from 1970-01-01.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + DAYS_TO_EPOCH;
    let (era, day_of_era) = (days.div_euclid(ERA_DAYS), days.rem_euclid(ERA_DAYS));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_read_as_the_milliseconds_that_they_are() {
        let cases = [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01t00:00:00.0019z", 1),
            ("2000-02-29T12:00:00Z", 951_825_600_000),
            ("2026-11-26T06:07:17Z", 1_795_673_237_000),
            ("2026-11-26T08:07:17.250+02:00", 1_795_673_237_250),
            ("2026-11-25T22:37:17.5-07:30", 1_795_673_237_500),
            ("9999-12-31T23:59:59.999999999Z", LAST_MS),
        ];
        for (text, ms) in cases {
            assert_eq!(parse(text), Ok(Timestamp::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        let cases = [
            "",
            "2027-01-31",
            "2027-01-31T23:59:59",
            "2027-01-31 23:59:59Z",
            "2027-1-31T23:59:59Z",
            "2027-02-29T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2027-04-31T00:00:00Z",
            "2027-13-01T00:00:00Z",
            "2027-00-01T00:00:00Z",
            "2027-01-00T00:00:00Z",
            "2027-01-31T24:00:00Z",
            "2027-01-31T23:60:00Z",
            "2016-12-31T23:59:60Z",
            "2027-01-31T23:59:59.Z",
            "2027-01-31T23:59:59.1234567890Z",
            "2027-01-31T23:59:59+02",
            "2027-01-31T23:59:59+24:00",
            "2027-01-31T23:59:59ZZ",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:30:00+01:00",
            "9999-12-31T23:59:59-00:01",
            "+027-01-31T23:59:59Z",
            "２027-01-31T23:59:59Z",
        ];
        for text in cases {
            assert!(parse(text).is_err(), "{text}");
        }
        let long = parse(&"9".repeat(10_000)).expect_err("it is too long");
        assert_eq!(long.text.len(), TEXT_BYTES_MAX);
    }

    #[test]
    fn what_lies_beyond_four_digits_of_a_year_is_written_as_their_end() {
        assert_eq!(format(Timestamp::from_millis(u64::MAX)), "9999-12-31T23:59:59.999Z");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_the_same(ms in 0..=LAST_MS) {
            prop_assert_eq!(parse(&format(Timestamp::from_millis(ms))), Ok(Timestamp::from_millis(ms)));
        }

        #[test]
        fn later_times_are_written_as_later_text(left in 0..LAST_MS / 1_000, right in 0..LAST_MS / 1_000) {
            let text = |seconds: u64| format(Timestamp::from_millis(seconds * 1_000));
            prop_assert_eq!(left.cmp(&right), text(left).cmp(&text(right)));
        }

        #[test]
        fn arbitrary_text_never_panics(text: String) {
            let _ = parse(&text);
        }
    }
}
