//! One record: a line of JSON that carries the hash of the line before it, and its own.
//!
//! ```text
//! {"sequence":7,"time":"…","node":"…","event":{…},"previous":"HASH of 6","hash":"HASH"}⏎
//!  └───────────── SHA-256 of these bytes, from the brace on ──────────┘
//! ```
//!
//! What is hashed are the bytes as they stand in the file, from the first brace to the quote that ends `previous`: there is
//! no other form of a record, so nothing has to be made canonical, and no byte of a line can change without a trace:
//! those that are not hashed are fixed.

use std::fmt;
use std::str::FromStr;

use quorate_types::{Timestamp, rfc3339};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

/// Bytes of a line with its line break; what records may be at most is less ([`crate::Class::record_bytes_max`]).
pub(crate) const LINE_BYTES_MAX: usize = 16 * 1024;
/// Sequences beyond were not written here: JSON readers that know doubles only would mix them up (RFC 8259 §6).
pub(crate) const SEQUENCE_MAX: u64 = (1 << 53) - 1;

const HASH_BYTES: usize = 32;
const HASH_KEY: &str = ",\"hash\":\"";
const LINE_END: &str = "\"}";
const SUFFIX_BYTES: usize = HASH_KEY.len() + 2 * HASH_BYTES + LINE_END.len();

/// The SHA-256 of a record; as text 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash([u8; HASH_BYTES]);

/// A text is not the hash of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the hash of a record has 64 hexadecimal digits (0-9, a-f)")]
pub struct InvalidHash;

/// A line that is a record in itself, whatever stands before it.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    pub(crate) sequence: u64,
    pub(crate) time: &'a str,
    pub(crate) previous: Hash,
    pub(crate) hash: Hash,
    /// The event as it stands in the line.
    pub(crate) event: &'a RawValue,
}

/// A line is no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsound {
    /// It has not the form of one.
    Form,
    /// Its hash is another.
    Hash { expected: Hash, found: Hash },
}

#[derive(Serialize)]
struct Writing<'a, E> {
    sequence: u64,
    time: String,
    node: &'a str,
    event: &'a E,
    previous: Hash,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reading<'a> {
    sequence: u64,
    #[serde(borrow)]
    time: &'a str,
    #[serde(borrow, rename = "node")]
    _node: &'a RawValue,
    #[serde(borrow)]
    event: &'a RawValue,
    #[serde(borrow)]
    previous: &'a str,
    #[serde(borrow, rename = "hash")]
    _hash: &'a str,
}

/// Appends the line of a record to `lines`, and returns its hash.
pub(crate) fn write<E: Serialize>(
    lines: &mut Vec<u8>,
    (sequence, previous): (u64, Hash),
    (time, node): (Timestamp, &str),
    event: &E,
) -> Hash {
    let begin = lines.len();
    let record = Writing { sequence, time: rfc3339::format(time), node, event, previous };
    serde_json::to_writer(&mut *lines, &record).expect("a record has text keys only, and a Vec takes all bytes");
    lines.pop();
    let hash = Hash::of(&lines[begin..]);
    lines.extend_from_slice(format!("{HASH_KEY}{hash}{LINE_END}\n").as_bytes());
    hash
}

// === impl Record ===

impl<'a> Record<'a> {
    /// Reads a line without its line break.
    pub(crate) fn read(line: &'a [u8]) -> Result<Self, Unsound> {
        let at = line.len().checked_sub(SUFFIX_BYTES).ok_or(Unsound::Form)?;
        let (hashed, suffix) = line.split_at(at);
        let suffix = suffix.strip_prefix(HASH_KEY.as_bytes()).and_then(|rest| rest.strip_suffix(LINE_END.as_bytes()));
        let found = suffix.and_then(Hash::read).ok_or(Unsound::Form)?;
        let expected = Hash::of(hashed);
        if found != expected {
            return Err(Unsound::Hash { expected, found });
        }
        let reading: Reading<'a> = serde_json::from_slice(line).map_err(|_| Unsound::Form)?;
        let previous = reading.previous.parse().map_err(|_| Unsound::Form)?;
        if !(1..=SEQUENCE_MAX).contains(&reading.sequence) {
            return Err(Unsound::Form);
        }
        Ok(Self { sequence: reading.sequence, time: reading.time, previous, hash: found, event: reading.event })
    }
}

// === impl Hash ===

impl Hash {
    /// Stands in the first record of a chain, which has none before it.
    pub const NONE: Self = Self([0; HASH_BYTES]);

    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Only lower case: a hash has one text.
    fn read(text: &[u8]) -> Option<Self> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let (pairs, []) = text.as_chunks::<2>() else { return None };
        let pairs: &[[u8; 2]; HASH_BYTES] = pairs.try_into().ok()?;
        let mut bytes = [0; HASH_BYTES];
        for (byte, [high, low]) in bytes.iter_mut().zip(*pairs) {
            *byte = (digit(high)? << 4) | digit(low)?;
        }
        Some(Self(bytes))
    }
}

impl FromStr for Hash {
    type Err = InvalidHash;

    fn from_str(text: &str) -> Result<Self, InvalidHash> {
        Self::read(text.as_bytes()).ok_or(InvalidHash)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(event: &serde_json::Value) -> (Vec<u8>, Hash) {
        let mut lines = b"before\n".to_vec();
        let hash = write(&mut lines, (7, Hash::of(b"x")), (Timestamp::from_millis(1_500), "n1"), event);
        assert_eq!(lines.pop(), Some(b'\n'));
        (lines.split_off(7), hash)
    }

    #[test]
    fn a_record_is_the_line_that_the_documentation_shows() {
        let (line, hash) = line(&serde_json::json!({"kind": "denied"}));

        let text = String::from_utf8(line).expect("text");
        let (hashed, suffix) = text.split_once(",\"hash\":").expect("the hash is the last member");
        let previous = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";
        let expected = format!(
            r#"{{"sequence":7,"time":"1970-01-01T00:00:01.500Z","node":"n1","event":{{"kind":"denied"}},"previous":"{previous}""#
        );
        assert_eq!(hashed, expected);
        assert_eq!(suffix, format!("\"{hash}\"}}"));
        assert_eq!(hash, Hash::of(hashed.as_bytes()));
    }

    #[test]
    fn a_record_reads_back() {
        let (line, hash) = line(&serde_json::json!({"kind": "denied", "reason": "\u{0}\"}ü"}));
        let record = Record::read(&line).expect("a record");
        assert_eq!((record.sequence, record.time), (7, "1970-01-01T00:00:01.500Z"));
        assert_eq!((record.previous, record.hash), (Hash::of(b"x"), hash));
        assert!(record.event.get().starts_with("{\"kind\":\"denied\""));
    }

    #[test]
    fn hashes_have_one_text() {
        assert_eq!(Hash::NONE.to_string().parse(), Ok(Hash::NONE));
        for text in ["", "0", &"0".repeat(63), &"0".repeat(65), &"A".repeat(64), &"g".repeat(64)] {
            assert_eq!(text.parse::<Hash>(), Err(InvalidHash), "{text}");
        }
    }

    #[test]
    fn a_line_with_a_right_hash_and_another_form_is_no_record() {
        let cases = [
            "{}",
            r#"{"sequence":0,"time":"t","node":"n","event":{},"previous":"NONE""#,
            r#"{"sequence":9007199254740992,"time":"t","node":"n","event":{},"previous":"NONE""#,
            r#"{"sequence":-1,"time":"t","node":"n","event":{},"previous":"NONE""#,
            r#"{"sequence":1,"sequence":1,"time":"t","node":"n","event":{},"previous":"NONE""#,
            r#"{"sequence":1,"time":"t","node":"n","event":{},"more":1,"previous":"NONE""#,
            r#"{"sequence":1,"time":"t","node":"n","previous":"NONE""#,
            r#"{"sequence":1,"time":"t","node":"n","event":{},"previous":"none""#,
        ];
        for case in cases {
            let hashed = case.replace("NONE", &Hash::NONE.to_string());
            let line = format!("{hashed}{HASH_KEY}{}{LINE_END}", Hash::of(hashed.as_bytes()));
            assert_eq!(Record::read(line.as_bytes()).err(), Some(Unsound::Form), "{case}");
        }
    }

    proptest! {
        #[test]
        fn a_record_with_any_byte_changed_is_none(at: prop::sample::Index, flip in 1_u8..) {
            let (mut line, _) = line(&serde_json::json!({"kind": "denied", "reason": "ü"}));
            let at = at.index(line.len());
            line[at] ^= flip;
            prop_assert!(Record::read(&line).is_err());
        }

        #[test]
        fn arbitrary_bytes_are_no_record(bytes: Vec<u8>) {
            prop_assert!(Record::read(&bytes).is_err());
        }
    }
}
