//! The id of a request, kept as the JSON text it came in.
//!
//! An answer must carry its request's id with the same JSON type and digits, so the raw text is
//! kept and never a number or string made of it. Only strings and integers are ids: JSON-RPC
//! discourages null and fractions, and every MCP revision excludes them.

use std::fmt;
use std::sync::Arc;

use crate::build::quote;
use crate::members::text;

/// The longest id in bytes of JSON text. Ids are kept for as long as their call is open and are
/// echoed; real clients use counters and UUIDs (38 bytes with quotes).
pub const ID_BYTES_MAX: usize = 1024;

/// A request id: the raw JSON text of a string or an integer.
///
/// Two ids are equal when their texts are: `1` is not `"1"`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(Arc<str>);

/// A JSON text is not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnId {
    /// It is neither a string nor an integer.
    #[error("an id must be a string or an integer")]
    Type,
    /// It is longer than [`ID_BYTES_MAX`].
    #[error("an id has at most {ID_BYTES_MAX} bytes")]
    TooLong,
}

// === impl Id ===

impl Id {
    /// Makes an id of one JSON value's raw text.
    ///
    /// # Errors
    /// [`NotAnId`] says whether its type or its length is wrong.
    pub fn from_json(raw: &str) -> Result<Self, NotAnId> {
        if raw.len() > ID_BYTES_MAX {
            return Err(NotAnId::TooLong);
        }
        if is_integer(raw) || (raw.starts_with('"') && text(raw).is_some()) {
            return Ok(Self(Arc::from(raw)));
        }
        Err(NotAnId::Type)
    }

    /// Makes a string id of `text`.
    ///
    /// # Errors
    /// [`NotAnId::TooLong`].
    pub fn from_text(text: &str) -> Result<Self, NotAnId> {
        Self::from_json(&quote(text))
    }

    /// Returns the id's JSON text.
    #[must_use]
    pub fn as_json(&self) -> &str {
        &self.0
    }

    /// Returns the id as a number when it is one that `u64` holds: how an id that we minted is
    /// recognised when it comes back.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        self.0.parse().ok()
    }
}

impl From<u64> for Id {
    fn from(number: u64) -> Self {
        Self(Arc::from(number.to_string()))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({})", self.0)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Tells whether `raw` is a JSON number without fraction and exponent.
fn is_integer(raw: &str) -> bool {
    let digits = raw.strip_prefix('-').unwrap_or(raw);
    let leading_zero = digits.len() > 1 && digits.starts_with('0');
    !digits.is_empty() && !leading_zero && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_strings_and_integers_are_ids() {
        for raw in ["0", "-7", "123456789012345678901234567890", "\"\"", "\"a\"", "\"\\u00e9\""] {
            assert_eq!(Id::from_json(raw).map(|id| id.as_json().to_owned()), Ok(raw.to_owned()));
        }
        for raw in ["", "-", "01", "1.0", "1e3", "null", "true", "{}", "[1]", "\"a", "a", "\"\\ud800\"", " 1"] {
            assert_eq!(Id::from_json(raw), Err(NotAnId::Type), "{raw}");
        }
        assert_eq!(Id::from_json(&"1".repeat(ID_BYTES_MAX + 1)), Err(NotAnId::TooLong));
    }

    #[test]
    fn a_number_is_not_the_string_of_its_digits() {
        let number = Id::from(1);
        let string = Id::from_text("1").expect("short");
        assert_ne!(number, string);
        assert_eq!((number.as_u64(), string.as_u64()), (Some(1), None));
        assert_eq!(string.as_json(), "\"1\"");
    }
}
