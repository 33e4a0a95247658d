//! Text of a record: of bounded length, whatever it was made of.
//!
//! Names of tools, reasons and subjects come from documents, tokens and requests. Each is cut where a [`Text`] is made, so
//! that an event in the queue and a record on disk have a largest size. What counts is the length in JSON, where one
//! control character takes six bytes.

use std::fmt;

use serde::{Serialize, Serializer};

/// Bytes of a text as a JSON string, without its quotes. The longest that is usual is a SPIFFE id or a resource's URI;
/// what is longer keeps its beginning.
pub const TEXT_BYTES_MAX: usize = 256;

/// Stands at the end of a text that was cut.
const MORE: &str = "…";

/// A text of at most [`TEXT_BYTES_MAX`] bytes.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Text(Box<str>);

// === impl Text ===

impl Text {
    /// Returns the text, cut where it was too long.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        let (mut bytes, mut cut) = (0, 0);
        for (at, char) in text.char_indices() {
            if bytes <= TEXT_BYTES_MAX - MORE.len() {
                cut = at;
            }
            bytes += json_bytes(char);
            if bytes > TEXT_BYTES_MAX {
                return Self(format!("{}{MORE}", &text[..cut]).into());
            }
        }
        Self(text.into())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// The bytes of a character within a JSON string (RFC 8259 §7), as `serde_json` writes it.
fn json_bytes(char: char) -> usize {
    match char {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => 6,
        _ => char.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_is_cut_only_where_it_is_too_long() {
        let fits = "x".repeat(TEXT_BYTES_MAX);
        assert_eq!(Text::from(fits.as_str()).as_str(), fits);
        assert_eq!(Text::from(format!("{fits}y")).as_str(), format!("{}…", "x".repeat(TEXT_BYTES_MAX - 3)));
        assert_eq!(Text::from("\u{1}".repeat(43)).as_str(), format!("{}…", "\u{1}".repeat(42)));
        assert_eq!(Text::from("").as_str(), "");
    }

    proptest! {
        #[test]
        fn a_text_never_takes_more_than_its_bytes(text in ".{0,40}|\\PC{200,400}|[\u{0}-\u{ff}\"\\\\]{0,300}") {
            let json = serde_json::to_string(&Text::from(text.as_str())).expect("a string");
            prop_assert!(json.len() <= TEXT_BYTES_MAX + 2, "{}", json.len());
        }

        #[test]
        fn a_text_that_fits_is_unchanged(text in "[\u{0}-\u{ff}\"\\\\]{0,300}") {
            let json = serde_json::to_string(&text).expect("a string");
            prop_assume!(json.len() <= TEXT_BYTES_MAX + 2);
            let made = Text::from(text.as_str());
            prop_assert_eq!(made.as_str(), text);
        }
    }
}
