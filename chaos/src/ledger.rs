//! What a counter has written down: each line is `ID run` or `ID done`, or `session opened`.
//!
//! A line is written whole before what it says goes on, so that a ledger that is read while its counter runs misses only what
//! has not happened yet.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};

/// The executions of a counter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// How often each call was begun and done, by its id.
    pub calls: BTreeMap<String, Executions>,
    /// Sessions that were opened with the counter.
    pub sessions: usize,
}

/// How often one call was executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Executions {
    /// Begun.
    pub runs: usize,
    /// Of those, ended.
    pub done: usize,
}

// === impl Ledger ===

impl Ledger {
    /// Reads the file of a counter.
    ///
    /// # Errors
    ///
    /// It cannot be read, or has a line that is none.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        // The last line may not be written yet.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        Self::of(whole).with_context(|| path.display().to_string())
    }

    fn of(text: &str) -> anyhow::Result<Self> {
        let mut ledger = Self::default();
        for line in text.lines() {
            match line.split_once(' ') {
                Some(("session", "opened")) => ledger.sessions += 1,
                Some((id, "run")) => ledger.calls.entry(id.to_owned()).or_default().runs += 1,
                Some((id, "done")) => ledger.calls.entry(id.to_owned()).or_default().done += 1,
                _ => bail!("no line of a ledger: {line:?}"),
            }
        }
        Ok(ledger)
    }

    /// How often a call was executed.
    #[must_use]
    pub fn of_call(&self, id: &str) -> Executions {
        self.calls.get(id).copied().unwrap_or_default()
    }

    /// Whether everything that was begun is done.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.calls.values().all(|call| call.runs == call.done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_counts_for_its_call() {
        let ledger = Ledger::of("session opened\na run\nb run\na done\nb run").expect("every line is one");

        assert_eq!(ledger.sessions, 1);
        assert_eq!(ledger.of_call("a"), Executions { runs: 1, done: 1 });
        assert_eq!(ledger.of_call("b"), Executions { runs: 2, done: 0 });
        assert_eq!(ledger.of_call("c"), Executions::default());
        assert!(!ledger.is_quiet());
    }

    #[test]
    fn a_line_that_says_something_else_is_an_error() {
        assert!(Ledger::of("a ran").is_err());
    }
}
