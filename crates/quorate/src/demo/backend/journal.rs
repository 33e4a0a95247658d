//! What the demo's tool server did, in a file of its own: written before anybody hears of it, read when the demo is over.
//!
//! ```text
//! run RUN            a call began to work; on the disk before it does
//! event RUN NUMBER   it reported a step
//! ```
//!
//! Each line is one write to the end of the file, so that the demo can read while the server writes. The name of a run comes
//! from the call's arguments ([`Run`]), which is how a call that ran twice shows.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of a name at most.
const RUN_BYTES_MAX: usize = 32;

/// The name of a run: 1 to 32 of `a` to `z` and `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run(String);

/// A text is no name of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 32 of `a` to `z` and `-`")]
pub(crate) struct InvalidRun;

/// A journal that is written; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Journal(Arc<Mutex<File>>);

/// What a journal says about one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// How often it was begun.
    pub(crate) runs: u64,
    /// How many steps were reported.
    pub(crate) events: u64,
}

// === impl Run ===

impl Run {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Run {
    type Err = InvalidRun;

    fn from_str(text: &str) -> Result<Self, InvalidRun> {
        let fits = text.bytes().all(|byte| byte == b'-' || byte.is_ascii_lowercase());
        if fits && (1..=RUN_BYTES_MAX).contains(&text.len()) { Ok(Self(text.to_owned())) } else { Err(InvalidRun) }
    }
}

// === impl Journal ===

impl Journal {
    /// Makes the file, which must not be there.
    pub(super) fn create(file: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create_new(true).open(file)?;
        Ok(Self(Arc::new(Mutex::new(file))))
    }

    /// Notes that a run begins, on the disk when this returns. Blocks.
    pub(super) fn run(&self, run: &Run) -> io::Result<()> {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(format!("run {}\n", run.0).as_bytes())?;
        file.sync_data()
    }

    /// Notes that a step is reported.
    pub(super) fn event(&self, run: &Run, number: u64) -> io::Result<()> {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(format!("event {} {number}\n", run.0).as_bytes())
    }
}

// === impl Written ===

impl Written {
    /// Counts the lines of a run in the text of a journal.
    pub(crate) fn of(text: &str, run: &Run) -> Self {
        let words = text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        words.fold(Self::default(), |written, words| match words.as_slice() {
            ["run", of] if *of == run.0 => Self { runs: written.runs + 1, ..written },
            ["event", of, _] if *of == run.0 => Self { events: written.events + 1, ..written },
            _ => written,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_of_a_run_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("journal");
        let journal = Journal::create(&file).unwrap();
        let [once, twice, never]: [Run; 3] = ["once", "twice", "never"].map(|name| name.parse().unwrap());
        journal.run(&once).unwrap();
        journal.event(&once, 1).unwrap();
        journal.run(&twice).unwrap();
        journal.run(&twice).unwrap();
        journal.event(&once, 2).unwrap();

        let text = std::fs::read_to_string(&file).unwrap();

        assert_eq!(Written::of(&text, &once), Written { runs: 1, events: 2 });
        assert_eq!(Written::of(&text, &twice), Written { runs: 2, events: 0 });
        assert_eq!(Written::of(&text, &never), Written::default());
        assert!(Journal::create(&file).is_err(), "a journal is of one server");
    }

    #[test]
    fn a_name_cannot_forge_a_line() {
        for text in ["", "a b", "a\nrun b", "A", &"a".repeat(33)] {
            assert_eq!(text.parse::<Run>(), Err(InvalidRun), "{text:?}");
        }
    }
}
