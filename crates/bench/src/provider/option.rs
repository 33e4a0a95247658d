//! The options that a name may have: what each takes, and how its value is read.
//!
//! In: the text of one option. Out: numbers, times and flags within their bounds, or a [`PlanError`] that names the option and what is
//! allowed. Pure. What the options mean is [`plan`](super::plan)'s.

use std::time::Duration;

/// Longest name that is read: 512 bytes.
pub(super) const NAME_BYTES_MAX: usize = 512;
/// Longest pause: 10 minutes.
const PAUSE_MAX: Duration = Duration::from_secs(600);

/// The options and what each takes, in the order of the messages.
pub(super) const OPTIONS: &[(&str, &str)] = &[
    ("text", "WORD"),
    ("chunks", "1..100000"),
    ("gap", "DURATION such as 50ms, up to 600s"),
    ("first", "DURATION"),
    ("head", "DURATION"),
    ("tool", ""),
    ("tools", "1..128"),
    ("json", ""),
    ("think", ""),
    ("refuse", ""),
    ("stop", "length|filter|end"),
    ("usage", "IN/OUT|none"),
    ("cached", "TOKENS, no more than IN"),
    ("status", "400..599"),
    ("status-once", "400..599"),
    ("fail", "1..1000000"),
    ("retry-after", "SECONDS up to 86400"),
    ("retry-after-ms", "MILLISECONDS up to 86400000"),
    ("retry-date", "SECONDS up to 86400, or nothing for 2"),
    ("html", ""),
    ("error-html", ""),
    ("wrong-json", ""),
    ("wrong-shape", ""),
    ("not-utf8", ""),
    ("cut-head", ""),
    ("cut", "0..100000 chunks"),
    ("half-close", "0..100000 chunks"),
    ("stall", "0..100000 chunks"),
    ("error-event", "0..100000 chunks"),
    ("endless", ""),
    ("stamped", ""),
    ("slow-headers", ""),
    ("slow-body", ""),
    ("repeat", ""),
    ("reorder", ""),
    ("big-event", "BYTES up to 67108864"),
    ("big-answer", "BYTES up to 67108864"),
    ("event-crlf", ""),
    ("split", ""),
    ("comments", ""),
    ("no-done", ""),
    ("whole", ""),
];

/// Why a name is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PlanError {
    /// There is no such option.
    #[error("mock: unknown option {option:?}; allowed are {}", allowed())]
    Unknown {
        /// As it stands there.
        option: String,
    },
    /// An option takes another value.
    #[error("mock: option {option} takes {allowed:?}, not {value:?}")]
    Value {
        /// Its name.
        option: &'static str,
        /// As it stands there.
        value: String,
        /// What it takes; empty for nothing.
        allowed: &'static str,
    },
    /// An option says what another one has said.
    #[error("mock: option {option} is there twice, or beside one that excludes it")]
    Excluded {
        /// Its name.
        option: &'static str,
    },
    /// It is too long.
    #[error("mock: a model's name has {NAME_BYTES_MAX} bytes at most")]
    Length,
}

/// One option of a name.
pub(super) struct Given<'a> {
    /// Its name in the table.
    pub(super) option: &'static str,
    /// What stands behind its `=`.
    pub(super) value: Option<&'a str>,
    /// What it takes.
    pub(super) allowed: &'static str,
}

// === impl Given ===

impl Given<'_> {
    /// It takes another value.
    pub(super) fn wrong(&self) -> PlanError {
        let value = self.value.unwrap_or_default().to_owned();
        PlanError::Value { option: self.option, value, allowed: self.allowed }
    }

    /// Another option has said it.
    pub(super) fn excluded(&self) -> PlanError {
        PlanError::Excluded { option: self.option }
    }

    /// Takes no value.
    pub(super) fn nothing(&self) -> Result<bool, PlanError> {
        if self.value.is_none() { Ok(true) } else { Err(self.wrong()) }
    }

    /// Takes a number between two bounds.
    pub(super) fn number(&self, min: u64, max: u64) -> Result<u64, PlanError> {
        let number = self.value.and_then(|value| value.parse().ok());
        number.filter(|number| (min..=max).contains(number)).ok_or_else(|| self.wrong())
    }

    /// The same as a count of things in memory.
    pub(super) fn count(&self, min: u64, max: u64) -> Result<usize, PlanError> {
        self.number(min, max).map(|number| usize::try_from(number).expect("every bound fits"))
    }

    /// Takes a time with its unit.
    pub(super) fn duration(&self) -> Result<Duration, PlanError> {
        let text = self.value.unwrap_or_default();
        let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| self.wrong())?;
        let duration = match unit {
            "us" => Duration::from_micros(number),
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            _ => return Err(self.wrong()),
        };
        if duration <= PAUSE_MAX { Ok(duration) } else { Err(self.wrong()) }
    }

    /// Sets what one option alone may say.
    pub(super) fn once<T>(&self, place: &mut Option<T>, value: T) -> Result<(), PlanError> {
        match place.replace(value) {
            None => Ok(()),
            Some(_) => Err(self.excluded()),
        }
    }

    /// Sets what one option alone may say, without a value.
    pub(super) fn only<T>(&self, place: &mut Option<T>, value: T) -> Result<(), PlanError> {
        self.nothing()?;
        self.once(place, value)
    }
}

fn allowed() -> String {
    let form =
        |(name, takes): &(&str, &str)| if takes.is_empty() { (*name).to_owned() } else { format!("{name}={takes}") };
    OPTIONS.iter().map(form).collect::<Vec<_>>().join(", ")
}
