//! The JSON scanner: validates RFC 8259 text and yields spans, in one pass, without recursion.
//!
//! In: UTF-8 text and a depth bound. Out: the span of each value that the caller steps over. It
//! builds no values and allocates nothing: open containers are bits of a `u128`, so that nesting
//! costs no stack. Own code rather than `serde_json::RawValue` because one pass then does what
//! took three (depth, slicing, UTF-8), and because a depth error must not hide the id that follows
//! it. A property test holds its verdict equal to `serde_json`'s.
//!
//! It deliberately accepts escaped lone surrogates: they are grammatical, and pass unchanged.

use crate::limits::DEPTH_CEILING;
use crate::span::Span;

/// Why a text is not JSON within the bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScanError {
    /// The byte at this offset cannot stand there, or the text ends there too early.
    Syntax { at: usize },
    /// Nesting exceeds the bound.
    TooDeep,
}

/// A string token as it stands, quotes included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StringToken {
    /// Where it is.
    pub(crate) span: Span,
    /// Whether it has escapes, so that its text is not what stands between the quotes.
    pub(crate) escaped: bool,
}

/// A cursor over one text.
pub(crate) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: u32,
    depth_max: u32,
}

/// What the value loop waits for next.
enum Want {
    Value,
    Separator,
}

// === impl Scanner ===

impl<'a> Scanner<'a> {
    /// Makes a scanner at the start of `text`, allowing `depth_max` levels.
    pub(crate) fn new(text: &'a str, depth_max: u32) -> Self {
        Self { bytes: text.as_bytes(), at: 0, depth: 0, depth_max: depth_max.min(DEPTH_CEILING) }
    }

    /// Steps over white space and returns the byte that follows without consuming it.
    #[inline]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        while let Some(&byte) = self.bytes.get(self.at) {
            match byte {
                b' ' | b'\n' | b'\t' | b'\r' => self.at += 1,
                _ => return Some(byte),
            }
        }
        None
    }

    /// Returns the offset of the next byte.
    pub(crate) fn offset(&self) -> usize {
        self.at
    }

    /// Returns the error for the byte at hand.
    pub(crate) fn unexpected(&self) -> ScanError {
        ScanError::Syntax { at: self.at }
    }

    /// Steps over white space and the byte `expected`.
    #[inline]
    pub(crate) fn expect(&mut self, expected: u8) -> Result<(), ScanError> {
        if self.peek() == Some(expected) {
            self.at += 1;
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    /// Steps over white space and the byte `wanted` when it is there, and tells whether it was.
    #[inline]
    pub(crate) fn eat(&mut self, wanted: u8) -> bool {
        let there = self.peek() == Some(wanted);
        self.at += usize::from(there);
        there
    }

    /// Enters a container whose members the caller steps through itself.
    pub(crate) fn enter(&mut self, open: u8) -> Result<(), ScanError> {
        self.expect(open)?;
        self.depth += 1;
        if self.depth > self.depth_max { Err(ScanError::TooDeep) } else { Ok(()) }
    }

    /// Requires that only white space is left.
    pub(crate) fn finish(&mut self) -> Result<(), ScanError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.unexpected()),
        }
    }

    /// Steps over a member's key and colon.
    #[inline]
    pub(crate) fn key(&mut self) -> Result<StringToken, ScanError> {
        if self.peek() != Some(b'"') {
            return Err(self.unexpected());
        }
        let key = self.string()?;
        self.expect(b':')?;
        Ok(key)
    }

    /// Steps over one whole value.
    pub(crate) fn value(&mut self) -> Result<Span, ScanError> {
        let first = self.peek().ok_or_else(|| self.unexpected())?;
        let start = self.at;
        match first {
            b'{' | b'[' => self.container()?,
            _ => self.scalar(first)?,
        }
        Ok(Span::new(start, self.at))
    }

    /// Steps over a value whose nesting is beyond the bound, minding only strings and brackets.
    ///
    /// Used after [`ScanError::TooDeep`] alone, to find the id that follows.
    pub(crate) fn skip_balanced(&mut self, from: usize) -> Result<(), ScanError> {
        self.at = from;
        let mut open = 0_usize;
        loop {
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.string()?;
                    continue;
                }
                Some(b'{' | b'[') => open += 1,
                Some(b'}' | b']') => match open {
                    0 => return Err(self.unexpected()),
                    1 => {
                        self.at += 1;
                        return Ok(());
                    }
                    _ => open -= 1,
                },
                Some(_) => {}
                None => return Err(self.unexpected()),
            }
            self.at += 1;
        }
    }

    /// Steps over the object or array at hand.
    fn container(&mut self) -> Result<(), ScanError> {
        // One bit per open level, the innermost lowest: 1 for an object, 0 for an array.
        let mut objects = 0_u128;
        let base = self.depth;
        let mut depth = base;
        let mut want = Want::Value;
        loop {
            match want {
                Want::Value => {
                    let byte = self.peek().ok_or_else(|| self.unexpected())?;
                    if byte != b'{' && byte != b'[' {
                        self.scalar(byte)?;
                        want = Want::Separator;
                        continue;
                    }
                    self.at += 1;
                    depth += 1;
                    if depth > self.depth_max {
                        return Err(ScanError::TooDeep);
                    }
                    let object = byte == b'{';
                    objects = (objects << 1) | u128::from(object);
                    let close = if object { b'}' } else { b']' };
                    if self.peek() == Some(close) {
                        want = Want::Separator;
                    } else if object {
                        self.key()?;
                    }
                }
                Want::Separator => {
                    let object = objects & 1 == 1;
                    match (self.peek(), object) {
                        (Some(b','), _) => {
                            self.at += 1;
                            if object {
                                self.key()?;
                            }
                            want = Want::Value;
                        }
                        (Some(b'}'), true) | (Some(b']'), false) => {
                            self.at += 1;
                            objects >>= 1;
                            depth -= 1;
                            if depth == base {
                                return Ok(());
                            }
                        }
                        _ => return Err(self.unexpected()),
                    }
                }
            }
        }
    }

    #[inline]
    fn scalar(&mut self, first: u8) -> Result<(), ScanError> {
        match first {
            b'"' => self.string().map(drop),
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.literal(b"true"),
            b'f' => self.literal(b"false"),
            b'n' => self.literal(b"null"),
            _ => Err(self.unexpected()),
        }
    }

    fn literal(&mut self, literal: &[u8]) -> Result<(), ScanError> {
        if self.bytes[self.at..].starts_with(literal) {
            self.at += literal.len();
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    fn number(&mut self) -> Result<(), ScanError> {
        if self.bytes.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        if self.bytes.get(self.at) == Some(&b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.bytes.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), ScanError> {
        let count = self.bytes[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        if count == 0 { Err(self.unexpected()) } else { Ok(()) }
    }

    /// Steps over the string whose opening quote is at hand.
    #[inline]
    fn string(&mut self) -> Result<StringToken, ScanError> {
        let start = self.at;
        let mut escaped = false;
        self.at += 1;
        loop {
            self.at += plain_run(&self.bytes[self.at..]);
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(StringToken { span: Span::new(start, self.at), escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                _ => return Err(self.unexpected()),
            }
        }
    }

    fn escape(&mut self) -> Result<(), ScanError> {
        self.at += 1;
        match self.bytes.get(self.at) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.bytes.get(self.at).is_some_and(u8::is_ascii_hexdigit) {
                        return Err(self.unexpected());
                    }
                    self.at += 1;
                }
            }
            _ => return Err(self.unexpected()),
        }
        Ok(())
    }
}

/// Returns how many bytes from the start need no attention: no quote, backslash or control.
///
/// Eight bytes at a time; a byte is found by the borrow it causes (Mycroft's test), which is exact
/// for the lowest hit of a word, the only one used.
#[inline]
fn plain_run(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    const QUOTES: u64 = ONES * b'"' as u64;
    const BACKSLASHES: u64 = ONES * b'\\' as u64;
    const SPACES: u64 = ONES * 0x20;

    let mut run = 0;
    for word in bytes.chunks_exact(8) {
        let word = u64::from_le_bytes(word.try_into().expect("the chunks are exact"));
        let quote = (word ^ QUOTES).wrapping_sub(ONES) & !(word ^ QUOTES);
        let backslash = (word ^ BACKSLASHES).wrapping_sub(ONES) & !(word ^ BACKSLASHES);
        let control = word.wrapping_sub(SPACES) & !word;
        let hits = (quote | backslash | control) & HIGHS;
        if hits != 0 {
            return run + (hits.trailing_zeros() / 8) as usize;
        }
        run += 8;
    }
    run + bytes[run..].iter().take_while(|&&byte| byte >= 0x20 && byte != b'"' && byte != b'\\').count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn verdict(text: &str, depth_max: u32) -> Result<Span, ScanError> {
        let mut scanner = Scanner::new(text, depth_max);
        let span = scanner.value()?;
        scanner.finish()?;
        Ok(span)
    }

    #[test]
    fn the_grammar_is_rfc_8259() {
        let accepted = [
            "0",
            "-0",
            "10.5e-3",
            "1E5",
            "true",
            "false",
            "null",
            r#""""#,
            "{}",
            "[]",
            " [ 1 , 2 ] ",
            r#"{"a":{},"b":[[],{}],"c":"\u12aF\n\/"}"#,
            r#""\ud800""#,
            "[[[[{\"a\":[1]}]]]]",
        ];
        for text in accepted {
            assert!(verdict(text, 64).is_ok(), "{text}");
        }
        let refused = [
            "",
            " ",
            "01",
            "-",
            "+1",
            "1.",
            ".5",
            "1e",
            "tru",
            "truex",
            "nul",
            "\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\n\"",
            "{",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "[1,]",
            "[,]",
            "[1 2]",
            "[1}",
            "{\"a\":1]",
            "1 2",
            "\u{feff}1",
            "'a'",
            "NaN",
            "//\n1",
            "{\"a\":1 \"b\":2}",
            "\"\\",
        ];
        for text in refused {
            assert!(matches!(verdict(text, 64), Err(ScanError::Syntax { .. })), "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded_exactly_and_without_stack() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(verdict(&nested(64), 64).is_ok());
        assert_eq!(verdict(&nested(65), 64), Err(ScanError::TooDeep));
        assert!(verdict(&nested(128), u32::MAX).is_ok());
        assert_eq!(verdict(&nested(129), u32::MAX), Err(ScanError::TooDeep));
        assert_eq!(verdict(&"{\"a\":".repeat(1_000_000), 64), Err(ScanError::TooDeep));
    }

    #[test]
    fn a_plain_run_ends_at_the_first_special_byte_wherever_it_stands() {
        for special in [b'"', b'\\', 0x00, 0x1f, b'\n'] {
            for at in 0..40 {
                let mut bytes = vec![b'a'; 40];
                bytes[at] = special;
                assert_eq!(plain_run(&bytes), at, "{special:#x} at {at}");
            }
        }
        for plain in [0x20, 0x21, 0x23, 0x5b, 0x5d, 0x7f, 0x80, 0xa2, 0xdc, 0xff] {
            assert_eq!(plain_run(&[plain; 40]), 40, "{plain:#x}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn the_verdict_equals_serde_json(text in r#"[ \[\]{}:,"\\a-cu0-9.eE+\-tfn]{0,24}|(\[|\{|"a"|:|,|\]|\}|1|true|null){0,12}"#) {
            let ours = verdict(&text, 64).is_ok();
            let theirs = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
            prop_assert_eq!(ours, theirs, "{}", text);
        }

        #[test]
        fn arbitrary_text_never_panics(text: String, depth_max in 0_u32..130) {
            let _ = verdict(&text, depth_max);
            let _ = Scanner::new(&text, depth_max).skip_balanced(0);
        }
    }
}
