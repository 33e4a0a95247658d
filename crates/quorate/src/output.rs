//! What commands print: results on stdout, everything about the run on stderr.
//!
//! The only module that writes to the terminal, so that three things hold everywhere: a closed
//! pipe (`quorate tools | head`) ends quietly, what a server sent cannot steer the terminal
//! (control characters are shown, not sent), and stdout carries nothing but the result.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write as _};

use crate::exit::{Exit, Failure};

/// Prints text that may hold line breaks, and ends the line.
///
/// # Errors
/// [`Failure`] when stdout cannot be written, except when its reader has gone.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    write(&[text, end])
}

/// Draws on a terminal: sequences of this program, around text that was made [`visible`].
///
/// # Errors
/// As [`print()`].
pub(crate) fn draw(text: &str) -> Result<(), Failure> {
    write(&[text])
}

fn write(texts: &[&str]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match texts.iter().try_for_each(|text| stdout.write_all(text.as_bytes())).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Failure, format!("cannot write to stdout: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Notes something about the run on stderr.
pub(crate) fn note(text: &str) {
    // Who closed stderr does not want notes.
    let _closed = writeln!(io::stderr().lock(), "{text}");
}

/// Reports why the command failed.
pub(crate) fn report(failure: &Failure) {
    if failure.message.is_empty() {
        return;
    }
    note(&format!("error: {}", visible(&failure.message)));
    if let Some(advice) = &failure.advice {
        note(&format!("  try: {}", visible(advice).replace('\n', "\n       ")));
    }
}

/// Replaces what could steer a terminal (controls but line breaks and tabs, and the invisible
/// characters that turn or hide text) by its escape.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(steers) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if steers(c) {
            // Writing to a String cannot fail.
            let _ = write!(shown, "\\u{{{:x}}}", u32::from(c));
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// Returns the first line, cut to `width` characters.
pub(crate) fn first_line(text: &str, width: usize) -> String {
    let line = text.trim_start().lines().next().unwrap_or_default();
    let more = line.chars().nth(width).is_some();
    let mut shown: String = line.chars().take(if more { width.saturating_sub(1) } else { width }).collect();
    if more {
        shown.push('…');
    }
    shown
}

fn steers(c: char) -> bool {
    // U+200B-200F and U+202A-202E: zero width and direction; U+2066-2069: isolates; U+FEFF; tags.
    let invisible = matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}');
    invisible || (c.is_control() && !matches!(c, '\n' | '\t'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_cannot_steer_the_terminal() {
        assert_eq!(visible("plain\n\ttext ü"), "plain\n\ttext ü");
        assert_eq!(visible("\u{1b}]0;x\u{7}"), "\\u{1b}]0;x\\u{7}");
        assert_eq!(visible("a\u{202e}b\u{200b}c\r"), "a\\u{202e}b\\u{200b}c\\u{d}");
    }

    #[test]
    fn a_first_line_is_cut_where_it_is_too_long() {
        assert_eq!(first_line("\n one\ntwo", 10), "one");
        assert_eq!(first_line("12345", 5), "12345");
        assert_eq!(first_line("123456", 5), "1234…");
        assert_eq!(first_line("", 5), "");
    }
}
