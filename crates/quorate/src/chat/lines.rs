//! Lines of standard input, read by a thread of its own.
//!
//! A read of a terminal cannot be given up: the thread waits in it while the command does something else, and ends with the process.

use std::io::{BufRead, Read as _};

use tokio::sync::mpsc;

use crate::exit::{Exit, Failure};

/// Lines that are read ahead of who takes them.
const AHEAD_MAX: usize = 4;
/// The longest line.
const LINE_BYTES_MAX: usize = 1 << 20;

/// The lines, one after the other.
pub(super) struct Lines {
    read: mpsc::Receiver<Result<String, String>>,
}

// === impl Lines ===

impl Lines {
    /// Begins to read.
    pub(super) fn of_stdin() -> Self {
        let (sender, read) = mpsc::channel(AHEAD_MAX);
        std::thread::spawn(move || forward(std::io::stdin().lock(), &sender));
        Self { read }
    }

    /// The next line; none at the end.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be read.
    pub(super) async fn next(&mut self) -> Result<Option<String>, Failure> {
        let line = self.read.recv().await.transpose();
        line.map_err(|error| Failure::new(Exit::Failure, format!("cannot read standard input: {error}")))
    }
}

fn forward(mut input: impl BufRead, lines: &mpsc::Sender<Result<String, String>>) {
    loop {
        let mut line = Vec::new();
        let read = (&mut input).take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line);
        let next = match read {
            Ok(0) => return,
            Ok(_) if line.len() > LINE_BYTES_MAX => Err(format!("a line has more than {} MiB", LINE_BYTES_MAX >> 20)),
            Ok(_) => String::from_utf8(line).map_err(|_| "a line is not UTF-8".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        let is_last = next.is_err();
        if lines.blocking_send(next).is_err() || is_last {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_in_order_until_one_cannot_be_read() {
        let (sender, mut read) = mpsc::channel(AHEAD_MAX);

        forward(&b"one\ntwo\n\xff\nfour\n"[..], &sender);
        drop(sender);

        let mut found = Vec::new();
        while let Some(line) = read.blocking_recv() {
            found.push(line);
        }
        assert_eq!(found, [Ok("one\n".to_owned()), Ok("two\n".to_owned()), Err("a line is not UTF-8".to_owned())]);
    }
}
