//! Sizes and durations as people write them: `4MiB`, `30s`.
//!
//! One parser and one formatter for configuration files, flags and error messages, so that a
//! value in an error reads as it would be written in a file. Decimal fractions are refused:
//! `1536KiB` instead of `1.5MiB`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// A text is not a size or duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUnit {
    /// There is no number in front.
    #[error("{text:?} does not start with a whole number")]
    Number {
        /// The text as given.
        text: String,
    },
    /// The unit is not known.
    #[error("{text:?} has no known unit: write one of {allowed}")]
    Unit {
        /// The text as given.
        text: String,
        /// The units that would do.
        allowed: &'static str,
    },
    /// The value does not fit 64 bits.
    #[error("{text:?} is too large")]
    TooLarge {
        /// The text as given.
        text: String,
    },
}

const BYTE_UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];
const BYTE_UNITS_ALLOWED: &str = "B, kB, MB, GB, KiB, MiB, GiB";
const TIME_UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
const TIME_UNITS_ALLOWED: &str = "ms, s, m, h, d";

// === impl ByteSize ===

impl ByteSize {
    /// Makes a size of `count` KiB.
    #[must_use]
    pub const fn kib(count: u64) -> Self {
        Self(count << 10)
    }

    /// Makes a size of `count` MiB.
    #[must_use]
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// Returns the size as a length in memory, saturating where the machine is smaller.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = InvalidUnit;

    fn from_str(text: &str) -> Result<Self, InvalidUnit> {
        parse(text, &BYTE_UNITS, BYTE_UNITS_ALLOWED).map(Self)
    }
}

impl fmt::Display for ByteSize {
    /// Writes the largest binary unit that divides the size.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = BYTE_UNITS.iter().take(3).find(|(_, factor)| self.0 != 0 && self.0.is_multiple_of(*factor));
        match binary {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "{}B", self.0),
        }
    }
}

/// Parses a duration such as `250ms`, `30s`, `5m`, `1h`, `7d`.
///
/// # Errors
/// [`InvalidUnit`] says whether the number, the unit or the size is wrong.
pub fn parse_duration(text: &str) -> Result<Duration, InvalidUnit> {
    parse(text, &TIME_UNITS, TIME_UNITS_ALLOWED).map(Duration::from_millis)
}

/// Writes a duration in the largest unit that divides it, as [`parse_duration`] reads it.
///
/// Anything below a millisecond is dropped: configuration has no finer unit.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (unit, factor) =
        TIME_UNITS.into_iter().find(|(_, factor)| millis != 0 && millis.is_multiple_of(*factor)).unwrap_or(("ms", 1));
    format!("{}{unit}", millis / factor)
}

fn parse(text: &str, units: &[(&str, u64)], allowed: &'static str) -> Result<u64, InvalidUnit> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(InvalidUnit::Number { text: text.to_owned() });
    }
    let unit = unit.trim_start();
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        return Err(InvalidUnit::Unit { text: text.to_owned(), allowed });
    };
    let number: Option<u64> = number.parse().ok();
    number.and_then(|number| number.checked_mul(*factor)).ok_or_else(|| InvalidUnit::TooLarge { text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_and_durations_read_as_people_write_them() {
        assert_eq!("4MiB".parse(), Ok(ByteSize::mib(4)));
        assert_eq!("4 KiB".parse(), Ok(ByteSize::kib(4)));
        assert_eq!("10kB".parse(), Ok(ByteSize(10_000)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("2h"), Ok(Duration::from_secs(7200)));

        assert!(matches!("MiB".parse::<ByteSize>(), Err(InvalidUnit::Number { .. })));
        assert!(matches!("1.5MiB".parse::<ByteSize>(), Err(InvalidUnit::Unit { .. })));
        assert!(matches!("4".parse::<ByteSize>(), Err(InvalidUnit::Unit { .. })));
        assert!(matches!("99999999999999999GiB".parse::<ByteSize>(), Err(InvalidUnit::TooLarge { .. })));
        assert!(matches!(parse_duration("-1s"), Err(InvalidUnit::Number { .. })));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_the_same(bytes: u64, millis: u64) {
            prop_assert_eq!(ByteSize(bytes).to_string().parse(), Ok(ByteSize(bytes)));
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }
    }
}
