//! Pages of the documentation that tests generate: written on demand, and compared in every run.

use std::fs;

use anyhow::{Context as _, bail};

use crate::paths;

/// A generated page, as a path in the repository.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// Where it is.
    pub path: &'static str,
    /// The test program that generates it.
    pub test: &'static str,
}

// === impl Page ===

impl Page {
    /// Writes it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(self, text: &str) -> anyhow::Result<()> {
        fs::write(paths::repository().join(self.path), text).with_context(|| format!("cannot write {}", self.path))
    }

    /// Compares what is generated with what is committed.
    ///
    /// # Errors
    /// The first line that differs, and the command that writes it.
    pub fn compare(self, text: &str) -> anyhow::Result<()> {
        let committed = fs::read_to_string(paths::repository().join(self.path)).unwrap_or_default();
        if committed == text {
            return Ok(());
        }
        let differs = committed.lines().zip(text.lines()).find(|(committed, generated)| committed != generated);
        let (committed, generated) = differs.unwrap_or(("the end", "more lines, or fewer"));
        bail!(
            "{} is not the generated page; write it with `cargo test -p quorate-tests --test {} -- --write`\n\
             committed: {committed}\ngenerated: {generated}",
            self.path,
            self.test
        )
    }
}
