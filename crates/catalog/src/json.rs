//! The canonical form of documents: equal documents are equal bytes.
//!
//! [`canonical`] writes it, [`check`] tells whether something is it: an object, keys sorted by their bytes and unique, no
//! space, in texts nothing escaped that need not be, numbers as they were given. The check is our own and reads bytes only,
//! so that every version of every replica takes and refuses the same.

use bytes::Bytes;
use serde_json::Value;

/// The deepest nesting; `serde_json` stops at 128, and real documents at 10.
pub(crate) const DEPTH_MAX: usize = 64;

/// Something is no JSON object in canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not canonical JSON at byte {at}: expected {expected}")]
pub struct NotCanonical {
    /// Where it ceases to be.
    pub at: usize,
    /// What could stand there.
    pub expected: &'static str,
}

/// Writes a document in canonical form.
///
/// # Errors
/// It is no object, or nested too deep.
pub fn canonical(document: &Value) -> Result<Bytes, NotCanonical> {
    let mut out = Vec::new();
    write(document, 0, &mut out)?;
    check(&out)?;
    Ok(out.into())
}

fn write(value: &Value, depth: usize, out: &mut Vec<u8>) -> Result<(), NotCanonical> {
    if depth > DEPTH_MAX {
        return Err(NotCanonical { at: out.len(), expected: TOO_DEEP });
    }
    match value {
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_unstable_by(|one, other| one.0.cmp(other.0));
            out.push(b'{');
            for (index, (key, value)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_text(key, out);
                out.push(b':');
                write(value, depth + 1, out)?;
            }
            out.push(b'}');
        }
        Value::Array(items) => {
            out.push(b'[');
            for (index, value) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(value, depth + 1, out)?;
            }
            out.push(b']');
        }
        Value::String(text) => write_text(text, out),
        Value::Null | Value::Bool(_) | Value::Number(_) => out.extend_from_slice(value.to_string().as_bytes()),
    }
    Ok(())
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..0x20 => out.extend_from_slice(escape(byte).as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// The one way to write a control character.
fn escape(byte: u8) -> String {
    match byte {
        0x08 => "\\b".to_owned(),
        b'\t' => "\\t".to_owned(),
        b'\n' => "\\n".to_owned(),
        0x0c => "\\f".to_owned(),
        b'\r' => "\\r".to_owned(),
        _ => format!("\\u{byte:04x}"),
    }
}

/// Checks that bytes are a document in canonical form.
pub(crate) fn check(bytes: &[u8]) -> Result<(), NotCanonical> {
    if let Err(error) = std::str::from_utf8(bytes) {
        return Err(NotCanonical { at: error.valid_up_to(), expected: "UTF-8" });
    }
    let mut scanner = Scanner { bytes, at: 0 };
    if scanner.peek() != Some(b'{') {
        return scanner.expected("an object");
    }
    scanner.value(0)?;
    if scanner.at < bytes.len() { scanner.expected("the end") } else { Ok(()) }
}

const TOO_DEEP: &str = "no more than 64 levels";

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

// === impl Scanner ===

impl<'a> Scanner<'a> {
    fn expected<T>(&self, expected: &'static str) -> Result<T, NotCanonical> {
        Err(NotCanonical { at: self.at, expected })
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self, depth: usize) -> Result<(), NotCanonical> {
        if depth > DEPTH_MAX {
            return self.expected(TOO_DEEP);
        }
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.text(None),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => self.word(),
        }
    }

    fn object(&mut self, depth: usize) -> Result<(), NotCanonical> {
        self.at += 1;
        if self.eat(b'}') {
            return Ok(());
        }
        let mut last: Option<Vec<u8>> = None;
        loop {
            let start = self.at;
            let mut key = Vec::new();
            self.text(Some(&mut key))?;
            if last.is_some_and(|last| last >= key) {
                return Err(NotCanonical { at: start, expected: "a key after the one before it" });
            }
            last = Some(key);
            if !self.eat(b':') {
                return self.expected("a colon");
            }
            self.value(depth + 1)?;
            if self.eat(b'}') {
                return Ok(());
            }
            if !self.eat(b',') {
                return self.expected("a comma or the end of the object");
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<(), NotCanonical> {
        self.at += 1;
        if self.eat(b']') {
            return Ok(());
        }
        loop {
            self.value(depth + 1)?;
            if self.eat(b']') {
                return Ok(());
            }
            if !self.eat(b',') {
                return self.expected("a comma or the end of the list");
            }
        }
    }

    /// Reads a text; what it says is added to `said` where somebody asks. Most of a document is read here, so plain
    /// characters are taken in runs.
    fn text(&mut self, mut said: Option<&mut Vec<u8>>) -> Result<(), NotCanonical> {
        if !self.eat(b'"') {
            return self.expected("a text");
        }
        loop {
            let rest: &'a [u8] = &self.bytes[self.at..];
            let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
            let run = rest.iter().position(special).unwrap_or(rest.len());
            self.at += run;
            if let Some(said) = &mut said {
                said.extend_from_slice(&rest[..run]);
            }
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    let byte = self.escaped()?;
                    if let Some(said) = &mut said {
                        said.push(byte);
                    }
                }
                Some(_) | None => return self.expected("a character of a text, or its end"),
            }
        }
    }

    fn escaped(&mut self) -> Result<u8, NotCanonical> {
        let rest: &'a [u8] = &self.bytes[self.at + 1..];
        let (said, length) = match rest {
            [byte @ (b'"' | b'\\'), ..] => (*byte, 2),
            [b'b', ..] => (0x08, 2),
            [b't', ..] => (b'\t', 2),
            [b'n', ..] => (b'\n', 2),
            [b'f', ..] => (0x0c, 2),
            [b'r', ..] => (b'\r', 2),
            [b'u', b'0', b'0', high @ b'0'..=b'1', low @ (b'0'..=b'9' | b'a'..=b'f'), ..] => {
                let low = if low.is_ascii_digit() { low - b'0' } else { low - b'a' + 10 };
                ((high - b'0') * 16 + low, 6)
            }
            _ => (0, 0),
        };
        if length == 0 || (length == 6 && escape(said).len() == 2) {
            return self.expected("an escape that is needed, in its one form");
        }
        self.at += length;
        Ok(said)
    }

    /// RFC 8259 §6.
    fn number(&mut self) -> Result<(), NotCanonical> {
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            let _sign = self.eat(b'+') || self.eat(b'-');
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), NotCanonical> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { self.expected("a digit") } else { Ok(()) }
    }

    fn word(&mut self) -> Result<(), NotCanonical> {
        let rest = &self.bytes[self.at..];
        match ["true", "false", "null"].into_iter().find(|word| rest.starts_with(word.as_bytes())) {
            Some(word) => {
                self.at += word.len();
                Ok(())
            }
            None => self.expected("a value"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_is_written_in_one_form_only() {
        let document = json!({ "b": [1, -2.5e10, null, true], "a": { "é": "x\n\"\\\u{1}/", "B": {} } });

        let bytes = canonical(&document).expect("it is an object");

        let text = "{\"a\":{\"B\":{},\"é\":\"x\\n\\\"\\\\\\u0001/\"},\"b\":[1,-25000000000.0,null,true]}";
        assert_eq!(std::str::from_utf8(&bytes), Ok(text));
        assert_eq!(serde_json::from_slice::<Value>(&bytes).ok(), Some(document));
    }

    #[test]
    fn what_is_not_canonical_is_told_with_its_place() {
        let table = [
            ("", 0, "an object"),
            ("[]", 0, "an object"),
            ("{}x", 2, "the end"),
            ("{ }", 1, "a text"),
            ("{\"b\":1,\"a\":1}", 7, "a key after the one before it"),
            ("{\"a\":1,\"a\":1}", 7, "a key after the one before it"),
            ("{\"a\" :1}", 4, "a colon"),
            ("{\"a\":01}", 6, "a comma or the end of the object"),
            ("{\"a\":1.}", 7, "a digit"),
            ("{\"a\":-}", 6, "a digit"),
            ("{\"a\":\"\\/\"}", 6, "an escape that is needed, in its one form"),
            ("{\"a\":\"\\u000A\"}", 6, "an escape that is needed, in its one form"),
            ("{\"a\":\"\\u0041\"}", 6, "an escape that is needed, in its one form"),
            ("{\"a\":\"\n\"}", 6, "a character of a text, or its end"),
            ("{\"a\":tru}", 5, "a value"),
            ("{\"a\":[1,]}", 8, "a value"),
            ("{\"a\":\"", 6, "a character of a text, or its end"),
        ];
        for (text, at, expected) in table {
            assert_eq!(check(text.as_bytes()), Err(NotCanonical { at, expected }), "{text}");
        }
        assert_eq!(check(b"{\"\xff\":1}"), Err(NotCanonical { at: 2, expected: "UTF-8" }));
    }

    #[test]
    fn nesting_has_a_limit() {
        let nested = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(check(nested(DEPTH_MAX).as_bytes()), Ok(()));
        assert!(check(nested(DEPTH_MAX + 1).as_bytes()).is_err());
        assert!(check("{\"a\":".repeat(100_000).as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn what_is_taken_is_json_and_written_as_it_was(text in "[{}\\[\\]\":,a0\\\\n ]{0,24}") {
            if check(text.as_bytes()).is_ok() {
                let value: Value = serde_json::from_str(&text).expect("what is canonical is JSON");
                let again = canonical(&value).expect("it was an object");
                if !text.contains('.') && !text.contains('e') {
                    prop_assert_eq!(&again[..], text.as_bytes());
                }
            }
        }
    }
}
