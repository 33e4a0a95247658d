//! `cargo xtask tidy`: the rules of the house that no compiler knows.
//!
//! Facts come in once (the files of the checkout, the workspace from `cargo metadata`, the closure of each pure crate
//! from `cargo tree`); each rule is a function from facts to [`Finding`]s in a file of its own, so that a test can
//! feed it a bad tree. Then the numbers of the house are printed, and the findings. Any finding fails the run.
//!
//! Nothing is written. An exception to a size is a line in `sizes.rs` with its reason, never a silent skip.

mod blocks;
mod clippy;
mod docs;
mod fuzz;
mod layers;
mod manifests;
mod purity;
mod reach;
mod report;
mod shape;
mod sizes;
mod source;
mod tree;
mod words;

use std::fmt::{self, Display, Formatter};

use anyhow::{Result, bail};

pub(crate) use self::clippy::write_all as write_clippy_settings;
use self::tree::Tree;
use crate::{output, repo::Repo};

/// One violation of one rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// The file, crate or folder.
    place: String,
    /// The rule's name, as the documentation of the house uses it.
    rule: &'static str,
    /// What is wrong and what would be right.
    message: String,
}

// === impl Finding ===

impl Finding {
    fn new(rule: &'static str, place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { place: place.into(), rule, message: message.into() }
    }
}

impl Display for Finding {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.place, self.rule, self.message)
    }
}

/// Checks the checkout and prints the report.
pub(crate) fn run(repo: &Repo) -> Result<()> {
    let tree = Tree::load(repo.root())?;
    let (sources, mut findings) = source::read_all(&tree);

    findings.extend(layers::check(&repo.metadata().packages));
    findings.extend(purity::check(repo)?);
    findings.extend(sizes::check(&sources));
    findings.extend(source::check_headers(&sources));
    findings.extend(source::check_documented(&sources));
    findings.extend(manifests::check(&tree));
    findings.extend(shape::check(&tree));
    findings.extend(clippy::check(&tree));
    findings.extend(fuzz::check(&tree));
    findings.extend(reach::check(repo, &tree));
    findings.extend(docs::check(&tree));
    findings.extend(blocks::check(&tree));
    findings.extend(words::check(&tree));
    findings.sort();

    report::print(&sources);
    conclude(&findings)
}

fn conclude(findings: &[Finding]) -> Result<()> {
    if findings.is_empty() {
        output::line("\nEvery rule holds.");
        return Ok(());
    }
    output::line("");
    for finding in findings {
        output::line(&finding.to_string());
    }
    bail!("tidy: {} findings", findings.len());
}

/// The messages of findings, for tests.
#[cfg(test)]
fn messages(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(Finding::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_fails_the_run() {
        assert!(conclude(&[]).is_ok());
        assert!(conclude(&[Finding::new("size", "a.rs", "too long")]).is_err());
    }
}
