//! What stands around the text of a piece, so that the next piece, which differs from it in its text alone, is not parsed again.
//!
//! Most pieces of a stream are the same but for a few letters. If one of them is JSON in which a text without escapes means something,
//! the same bytes around another text without escapes are JSON that means the same of that text. So all that is looked at of such a
//! piece is whether its ends are the known ones and its text is one.

/// The most bytes that are remembered of a stream.
const BYTES_MAX: usize = 2048;

/// How many pieces that fit no frame are learned from, before it is given up: each is different then.
const TRIES: u8 = 4;

/// What stands around a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Frame {
    /// What is before the text and what is after it, one behind the other.
    around: Box<[u8]>,
    before: usize,
    tries: u8,
}

// === impl Frame ===

impl Frame {
    /// The text of a piece that is the one that was learned but for its text.
    pub(super) fn text<'a>(&self, data: &'a [u8]) -> Option<&'a str> {
        let (before, after) = self.around.split_at(self.before);
        let text = data.strip_prefix(before)?.strip_suffix(after)?;
        let is_plain = !before.is_empty() && !text.is_empty() && text.iter().copied().all(is_plain);
        if is_plain { std::str::from_utf8(text).ok() } else { None }
    }

    /// Learns from a piece that was parsed and meant nothing but `text`, which is a part of its bytes; says whether it did. A text that
    /// is elsewhere is not learned from.
    pub(super) fn learn(&mut self, data: &[u8], text: &str) -> bool {
        if self.tries >= TRIES || data.len().saturating_sub(text.len()) > BYTES_MAX {
            return false;
        }
        let range = data.as_ptr_range();
        let is_part = range.contains(&text.as_ptr()) && text.len() <= range.end.addr() - text.as_ptr().addr();
        if !is_part || text.is_empty() || !text.bytes().all(is_plain) {
            return false;
        }
        let start = text.as_ptr().addr() - range.start.addr();
        let (before, after) = (&data[..start], &data[start + text.len()..]);
        let is_whole = before.last() == Some(&b'"') && after.first() == Some(&b'"');
        if is_whole {
            *self = Self { around: [before, after].concat().into(), before: start, tries: self.tries + 1 };
        }
        is_whole
    }
}

/// Whether a byte stands for itself in a text of JSON (RFC 8259 §7).
const fn is_plain(byte: u8) -> bool {
    byte >= b' ' && byte != b'"' && byte != b'\\'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_that_differs_in_its_text_is_known() {
        let mut frame = Frame::default();
        assert_eq!(frame.text(b"anything"), None, "nothing was learned");
        let data = br#"{"text":"Hello","n":1}"#;
        assert!(frame.learn(data, std::str::from_utf8(&data[9..14]).expect("it is text")));

        assert_eq!(frame.text(data), Some("Hello"));
        assert_eq!(frame.text(r#"{"text":"höchst","n":1}"#.as_bytes()), Some("höchst"));
        let others: [&[u8]; 7] = [
            br#"{"text":"Hello","n":2}"#,
            br#"{"text":"","n":1}"#,
            br#"{"text":"a\nb","n":1}"#,
            br#"{"text":"a","b":"c","n":1}"#,
            b"{\"text\":\"a\tb\",\"n\":1}",
            b"{\"text\":\"\xff\",\"n\":1}",
            br#"{"text":","n":1}"#,
        ];
        for other in others {
            assert_eq!(frame.text(other), None, "{}", String::from_utf8_lossy(other));
        }
    }

    #[test]
    fn nothing_is_learned_of_a_text_that_is_elsewhere_or_of_pieces_that_all_differ() {
        let mut frame = Frame::default();
        assert!(!frame.learn(br#"{"text":"Hello"}"#, "Hello"));

        for number in 0..10 {
            let data = format!(r#"{{"text":"Hello","n":{number}}}"#);
            assert_eq!(frame.learn(data.as_bytes(), &data[9..14]), number < TRIES.into());
        }
        assert_eq!(frame.text(br#"{"text":"x","n":3}"#), Some("x"));
        assert_eq!(frame.text(br#"{"text":"x","n":9}"#), None, "it was given up before");

        let long = format!(r#"{{"text":"Hello","n":"{}"}}"#, "x".repeat(BYTES_MAX));
        assert!(!Frame::default().learn(long.as_bytes(), &long[9..14]));
    }
}
