//! The standard error of a child: to the log with the child's name, at a bounded rate; the last lines are kept.
//!
//! Lines beyond the rate are counted and left out, and one line says how many. Bytes beyond theirs are not even
//! read: the child waits for the pipe, and is slowed down instead of cut off. Nothing that a child writes reaches the
//! log as a control character.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;

use tokio::net::unix::pipe;
use tokio::time::Instant;

use crate::program::Limits;
use crate::rate::Rate;
use crate::text::shown;

/// Characters of a line that are logged: 500.
const LINE_CHARS_MAX: usize = 500;
/// Bytes of a line that are kept until its end comes: what may be stripped of it included.
const LINE_BYTES_MAX: usize = 4 << 10;
/// Lines that an [`crate::Exit`] shows: the message of an error and a few above it.
const LAST_WORDS_MAX: usize = 8;
/// Bytes that are read at once.
const READ_BYTES: usize = 4 << 10;
/// Bytes that are read after the child has ended: what its pipe can hold.
const REST_BYTES_MAX: usize = 64 << 10;

/// The reader of one child's standard error.
pub(crate) struct Stderr {
    pipe: Option<pipe::Receiver>,
    said: Said,
    rate: Rate,
}

/// What a child has said, without IO.
struct Said {
    name: Arc<str>,
    bucket: Bucket,
    left_out: u64,
    line: Vec<u8>,
    /// The line is longer than what is kept.
    is_cut: bool,
    last_words: VecDeque<String>,
}

/// A rate: so many at once, and so many per second after that.
struct Bucket {
    burst: u32,
    per_second: u32,
    /// In thousandths of a token.
    level: u64,
    filled: Instant,
}

// === impl Stderr ===

impl Stderr {
    pub(crate) fn new(pipe: pipe::Receiver, name: Arc<str>, limits: &Limits) -> Self {
        let now = Instant::now();
        let rate = Rate::new(limits.stderr_bytes_per_second);
        Self { pipe: Some(pipe), said: Said::new(name, limits, now), rate }
    }

    /// Waits for output and logs it; never returns when there is none any more. Dropping the future loses nothing.
    pub(crate) async fn turn(&mut self) {
        self.rate.pause().await;
        match &self.pipe {
            Some(pipe) if pipe.readable().await.is_ok() => {}
            Some(_) => self.pipe = None,
            None => std::future::pending().await,
        }
        let read = self.read(Instant::now()).unwrap_or_default();
        self.rate.count(read);
    }

    /// Reads what is there now that the child has ended, and returns its last words.
    pub(crate) fn finish(mut self) -> Vec<String> {
        let now = Instant::now();
        let mut rest = 0;
        while rest < REST_BYTES_MAX
            && let Some(read) = self.read(now)
        {
            rest += read;
        }
        self.said.end(now);
        self.said.last_words.into()
    }

    /// Reads once; none when there is nothing (any more).
    fn read(&mut self, now: Instant) -> Option<usize> {
        let mut bytes = [0; READ_BYTES];
        match self.pipe.as_ref()?.try_read(&mut bytes) {
            Ok(read) if read > 0 => {
                self.said.feed(now, &bytes[..read]);
                Some(read)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Ok(_) | Err(_) => {
                self.pipe = None;
                None
            }
        }
    }
}

// === impl Said ===

impl Said {
    fn new(name: Arc<str>, limits: &Limits, now: Instant) -> Self {
        let bucket = Bucket::new(limits.stderr_lines_burst, limits.stderr_lines_per_second, now);
        Self { name, bucket, left_out: 0, line: Vec::new(), is_cut: false, last_words: VecDeque::new() }
    }

    fn feed(&mut self, now: Instant, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (content, ends) = piece.strip_suffix(b"\n").map_or((piece, false), |content| (content, true));
            let room = LINE_BYTES_MAX - self.line.len();
            self.is_cut |= content.len() > room;
            self.line.extend_from_slice(&content[..content.len().min(room)]);
            if ends {
                self.take_line(now);
            }
        }
    }

    fn end(&mut self, now: Instant) {
        self.take_line(now);
        if self.left_out > 0 {
            self.report_left_out();
        }
    }

    fn take_line(&mut self, now: Instant) {
        let mut text = shown(self.line.trim_ascii(), LINE_CHARS_MAX);
        if std::mem::take(&mut self.is_cut) && !text.ends_with('…') {
            text.push('…');
        }
        // Most children say little, and then nothing for hours.
        self.line = Vec::new();
        if text.is_empty() {
            return;
        }
        if self.bucket.take(now) {
            if self.left_out > 0 {
                self.report_left_out();
            }
            tracing::info!(server = %self.name, "{text}");
        } else {
            self.left_out += 1;
        }
        if self.last_words.len() == LAST_WORDS_MAX {
            self.last_words.pop_front();
        }
        self.last_words.push_back(text);
    }

    fn report_left_out(&mut self) {
        let lines = std::mem::take(&mut self.left_out);
        tracing::warn!(server = %self.name, lines, "lines of its standard error were left out: it writes too many");
    }
}

// === impl Bucket ===

impl Bucket {
    fn new(burst: u32, per_second: u32, now: Instant) -> Self {
        Self { burst, per_second, level: u64::from(burst) * 1_000, filled: now }
    }

    /// Takes one, if there is one.
    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled).as_millis();
        let more = u64::try_from(passed).unwrap_or(u64::MAX).saturating_mul(u64::from(self.per_second));
        if more > 0 {
            self.level = self.level.saturating_add(more).min(u64::from(self.burst.max(1)) * 1_000);
            self.filled = now;
        }
        let has_one = self.level >= 1_000;
        if has_one {
            self.level -= 1_000;
        }
        has_one
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn said() -> (Said, Instant) {
        let now = Instant::now();
        (Said::new("files".into(), &crate::program::DEFAULTS, now), now)
    }

    #[test]
    fn lines_are_put_together_and_the_last_ones_kept() {
        let (mut said, now) = said();
        said.feed(now, b"one\ntw");
        said.feed(now, b"o\n\n\x1b[31mthree\x1b[0m\r\n");
        for index in 0..6 {
            said.feed(now, format!("line {index}\n").as_bytes());
        }
        said.feed(now, b"no end");
        said.end(now);

        let words: Vec<String> = said.last_words.into();
        assert_eq!(words, ["three", "line 0", "line 1", "line 2", "line 3", "line 4", "line 5", "no end"]);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let (mut said, now) = said();
        for _ in 0..1_000 {
            said.feed(now, &[b'x'; 1_000]);
            assert!(said.line.len() <= LINE_BYTES_MAX);
        }
        said.end(now);

        assert_eq!(said.last_words[0].chars().count(), LINE_CHARS_MAX + 1);
        assert!(said.last_words[0].ends_with('…'));
    }

    #[test]
    fn lines_beyond_the_rate_are_counted_and_the_rate_recovers() {
        let (mut said, now) = said();
        for _ in 0..1_000 {
            said.feed(now, b"again\n");
        }
        assert_eq!(said.left_out, 900, "a hundred at once");

        let later = now + Duration::from_secs(2);
        for _ in 0..30 {
            said.feed(later, b"again\n");
        }
        assert_eq!(said.left_out, 10, "ten per second after that; what was left out before was reported");
    }
}
