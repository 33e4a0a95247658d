//! The standard output of a child, line by line.
//!
//! A line is a message when it is UTF-8 text that begins as JSON does; whether it is a message of the protocol is
//! for the reader to say. Everything else a child may write (a banner, a debug print, binary, a line without end) is
//! reported by its size and beginning and skipped: reading goes on with the next line.
//!
//! Reading is at the reader's pace: while nobody calls [`Lines::next`], the pipe fills and the child waits. A child
//! that is silent costs no buffer. One that floods is read as one task among others, and what is no message is read at a
//! bounded rate: the child waits, instead of costing us the time to throw it away.

use std::io::ErrorKind;

use bytes::Bytes;
use tokio::net::unix::pipe;
use tokio::task::coop::consume_budget;

use crate::program::Limits;
use crate::rate::Rate;
use crate::text::shown;

/// Bytes that are read at once: a quarter of a pipe; most answers are smaller.
const READ_BYTES: usize = 16 << 10;
/// Characters of a line that is no message that are shown.
const SHOWN_CHARS_MAX: usize = 200;
/// Bytes of a line that is too long that count as one which is no message: 16. They are searched and thrown away but
/// not looked at one by one, and an answer beyond the limit shall not hold the others up for long.
const SKIPPED_PER_BYTE: usize = 16;

/// A line of a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// Text that begins as JSON does, without the line's end; not empty.
    Message(Bytes),
    /// Something else.
    Garbage {
        /// Its length in bytes.
        bytes: usize,
        /// Its beginning, without control characters.
        shown: String,
    },
    /// A line beyond the limit, of which nothing was kept.
    TooLong {
        /// Its length in bytes.
        bytes: usize,
    },
}

/// The lines of a child's standard output.
#[derive(Debug)]
pub struct Lines {
    pipe: pipe::Receiver,
    splitter: Splitter,
    useless: Rate,
    ended: bool,
}

/// Cuts bytes into lines; the part of [`Lines`] without IO.
#[derive(Debug)]
pub struct Splitter {
    buffer: Vec<u8>,
    /// Where the next line begins in the buffer.
    start: usize,
    /// How far the buffer was searched for the end of that line.
    searched: usize,
    /// Bytes of the present line that were thrown away, because it is too long.
    skipped: usize,
    /// Bytes that were no message, weighed, since somebody asked.
    useless: usize,
    bytes_max: usize,
}

// === impl Lines ===

impl Lines {
    pub(crate) fn new(pipe: pipe::Receiver, limits: &Limits) -> Self {
        let useless = Rate::new(limits.garbage_bytes_per_second);
        Self { pipe, splitter: Splitter::new(limits.line_bytes_max), useless, ended: false }
    }

    /// Returns the next line; none when the child has closed its output.
    ///
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Line> {
        loop {
            // Neither a pipe that always has more nor lines that are there already count for the runtime, which would
            // never give its thread to another task.
            consume_budget().await;
            self.useless.pause().await;
            let line = self.splitter.next();
            self.useless.count(self.splitter.take_useless());
            if line.is_some() {
                return line;
            }
            if self.ended {
                return self.splitter.finish();
            }
            self.splitter.free();
            if self.pipe.readable().await.is_err() {
                self.ended = true;
                continue;
            }
            match self.pipe.try_read_buf(self.splitter.room()) {
                Ok(0) => self.ended = true,
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(_) => self.ended = true,
            }
        }
    }
}

// === impl Splitter ===

impl Splitter {
    /// Makes a splitter whose lines have at most `bytes_max` bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { buffer: Vec::new(), start: 0, searched: 0, skipped: 0, useless: 0, bytes_max }
    }

    /// Returns where the next bytes are to be appended.
    pub fn room(&mut self) -> &mut Vec<u8> {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.searched -= self.start;
            self.start = 0;
        }
        self.buffer.reserve(READ_BYTES);
        &mut self.buffer
    }

    /// Returns the next whole line, if there is one. Empty lines are passed over.
    #[expect(clippy::should_implement_trait, reason = "more bytes may come after a `None`")]
    pub fn next(&mut self) -> Option<Line> {
        loop {
            let Some(end) = memchr::memchr(b'\n', &self.buffer[self.searched..]) else {
                self.searched = self.buffer.len();
                self.skip_when_too_long();
                return None;
            };
            let end = self.searched + end;
            if let Some(line) = self.cut(end) {
                return Some(line);
            }
        }
    }

    /// Returns what is left when nothing comes any more: a last line may lack its end.
    pub fn finish(&mut self) -> Option<Line> {
        let line = self.cut(self.buffer.len());
        self.buffer = Vec::new();
        (self.start, self.searched) = (0, 0);
        line
    }

    /// Takes the line that ends before `end` out of the buffer; none when it is empty.
    fn cut(&mut self, end: usize) -> Option<Line> {
        let start = std::mem::replace(&mut self.start, (end + 1).min(self.buffer.len()));
        self.searched = self.start;
        let skipped = std::mem::take(&mut self.skipped);
        let raw = &self.buffer[start..end];
        let bytes = skipped + raw.len();
        if bytes > self.bytes_max {
            self.useless += raw.len().div_ceil(SKIPPED_PER_BYTE);
            return Some(Line::TooLong { bytes });
        }
        let trimmed = raw.trim_ascii();
        match (trimmed.first(), std::str::from_utf8(trimmed)) {
            (Some(b'{' | b'['), Ok(_)) if start == 0 && bytes >= READ_BYTES => Some(self.take_buffer(end)),
            (Some(b'{' | b'['), Ok(_)) => Some(Line::Message(Bytes::copy_from_slice(trimmed))),
            (first, _) => {
                self.useless += bytes + 1;
                first.is_some().then(|| Line::Garbage { bytes, shown: shown(trimmed, SHOWN_CHARS_MAX) })
            }
        }
    }

    /// Returns how many bytes were no message since the last time.
    fn take_useless(&mut self) -> usize {
        std::mem::take(&mut self.useless)
    }

    /// Turns the buffer, up to `end`, into a message: a large one is not copied.
    fn take_buffer(&mut self, end: usize) -> Line {
        let rest = self.buffer.split_off(self.start);
        let mut whole = std::mem::replace(&mut self.buffer, rest);
        (self.start, self.searched) = (0, 0);
        whole.truncate(end);
        let whole = Bytes::from(whole);
        let trimmed = whole.trim_ascii();
        Line::Message(whole.slice_ref(trimmed))
    }

    fn skip_when_too_long(&mut self) {
        let unfinished = self.buffer.len() - self.start;
        if self.skipped > 0 || unfinished > self.bytes_max {
            self.skipped += unfinished;
            self.useless += unfinished.div_ceil(SKIPPED_PER_BYTE);
            self.buffer = Vec::new();
            (self.start, self.searched) = (0, 0);
        }
    }

    /// Gives the buffer back while there is nothing in it.
    fn free(&mut self) {
        if self.start == self.buffer.len() {
            self.buffer = Vec::new();
            (self.start, self.searched) = (0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds `pieces` one after the other.
    fn split(pieces: &[&[u8]], bytes_max: usize) -> Vec<Line> {
        let mut splitter = Splitter::new(bytes_max);
        let mut lines = Vec::new();
        for piece in pieces {
            splitter.room().extend_from_slice(piece);
            lines.extend(std::iter::from_fn(|| splitter.next()));
            splitter.free();
        }
        lines.extend(splitter.finish());
        lines
    }

    fn message(text: &str) -> Line {
        Line::Message(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn lines_are_messages_garbage_or_too_long_and_reading_goes_on() {
        let garbage = |bytes, shown: &str| Line::Garbage { bytes, shown: shown.to_owned() };
        let cases: [(&[u8], Vec<Line>); 9] = [
            (b"{}\n[1]\n", vec![message("{}"), message("[1]")]),
            (b"  {\"a\":1} \r\n", vec![message("{\"a\":1}")]),
            (b"\n\r\n  \n{}\n", vec![message("{}")]),
            (b"Server ready\n{}\n", vec![garbage(12, "Server ready"), message("{}")]),
            (b"\x1b[31mred\x1b[0m\x07\n", vec![garbage(13, "red")]),
            (b"{\xff}\n{}\n", vec![garbage(3, "{\u{fffd}}"), message("{}")]),
            (b"{\"a\":\"0123456789012345678901234\"}\n{}\n", vec![Line::TooLong { bytes: 33 }, message("{}")]),
            (b"{}", vec![message("{}")]),
            (b"", vec![]),
        ];
        for (bytes, expected) in cases {
            assert_eq!(split(&[bytes], 32), expected, "{}", String::from_utf8_lossy(bytes));
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(split(&single, 32), expected, "byte by byte: {}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_line_without_end_keeps_no_more_than_its_limit() {
        let mut splitter = Splitter::new(1_000);
        for _ in 0..100 {
            splitter.room().extend_from_slice(&[b'x'; 1_000]);
            assert_eq!(splitter.next(), None);
            assert!(splitter.buffer.len() <= 1_000);
        }
        splitter.room().extend_from_slice(b"\n{}\n");
        assert_eq!(splitter.next(), Some(Line::TooLong { bytes: 100_000 }));
        assert_eq!(splitter.next(), Some(message("{}")));
    }

    #[test]
    fn a_large_message_is_whole_and_so_is_the_one_behind_it() {
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(100_000));
        let both = format!("{large}\r\n{{\"b\":2}}\n");
        assert_eq!(split(&[both.as_bytes()], 1 << 20), [message(&large), message("{\"b\":2}")]);
    }

    proptest! {
        #[test]
        fn the_cuts_of_the_pipe_do_not_matter(
            lines in proptest::collection::vec("[{x\r ]{0,40}", 0..20),
            cuts in proptest::collection::vec(0_usize..400, 0..10),
        ) {
            let text = lines.join("\n");
            let mut pieces = Vec::new();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.sort_unstable();
            let mut from = 0;
            for cut in cuts.into_iter().chain([text.len()]) {
                pieces.push(&text.as_bytes()[from..cut]);
                from = cut;
            }
            prop_assert_eq!(split(&pieces, 30), split(&[text.as_bytes()], 30));
        }
    }
}
