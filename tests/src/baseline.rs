//! What a pairing of eras cannot do by the specification: the baseline files in `docs/conformance`.
//!
//! The format is the suite's own, for its option `--expected-failures`: a list `server` of `SCENARIO` or
//! `SCENARIO:CHECK`. Here an entry excuses verdicts that differ from the measure, so that a check which the pairing
//! only cannot come to is named as well. An entry that excuses nothing is stale, and fails a run as an unexcused
//! difference does.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use crate::{paths, table::Difference};

/// The entries of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Baseline {
    path: PathBuf,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    scenario: String,
    check: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    server: Vec<String>,
}

// === impl Baseline ===

impl Baseline {
    /// Reads `docs/conformance/NAME.yml`.
    ///
    /// # Errors
    ///
    /// It is not there, or not of the suite's format.
    pub fn of(name: &str) -> anyhow::Result<Self> {
        let path = paths::repository().join("docs/conformance").join(format!("{name}.yml"));
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(path, &text)
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Parts the differences of one way: those that no entry excuses, and the entries that excuse none.
    #[must_use]
    pub fn judge<'a>(&self, differences: &'a [Difference]) -> (Vec<&'a Difference>, Vec<String>) {
        let unexcused = differences.iter().filter(|found| !self.entries.iter().any(|entry| entry.excuses(found)));
        let stale = self.entries.iter().filter(|entry| !differences.iter().any(|found| entry.excuses(found)));
        (unexcused.collect(), stale.map(Entry::to_string).collect())
    }

    fn parse(path: PathBuf, text: &str) -> anyhow::Result<Self> {
        let invalid = || format!("{} is no baseline of the suite", path.display());
        let file: File = serde_saphyr::from_str(text).with_context(invalid)?;
        let mut entries = Vec::new();
        for line in file.server {
            let (scenario, check) = match line.split_once(':') {
                Some((scenario, check)) => (scenario.to_owned(), Some(check.to_owned())),
                None => (line, None),
            };
            ensure!(!scenario.is_empty() && check.as_deref() != Some(""), invalid());
            entries.push(Entry { scenario, check });
        }
        Ok(Self { path, entries })
    }
}

// === impl Entry ===

impl Entry {
    fn excuses(&self, difference: &Difference) -> bool {
        self.scenario == difference.scenario && self.check.as_deref().is_none_or(|check| check == difference.id())
    }
}

impl std::fmt::Display for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.check {
            Some(check) => write!(f, "{}:{check}", self.scenario),
            None => f.write_str(&self.scenario),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::Status;

    fn difference(scenario: &str, check: &str) -> Difference {
        Difference {
            way: "way".to_owned(),
            scenario: scenario.to_owned(),
            check: format!("{check} Its name #1"),
            measure: Some(Status::Success),
            found: Some(Status::Info),
            message: String::new(),
        }
    }

    #[test]
    fn an_entry_excuses_its_scenario_or_its_check_and_is_stale_without_either() {
        let text = "# why\nserver:\n  - a:x\n  # why\n  - b\n  - c:y\n";
        let baseline = Baseline::parse(PathBuf::from("f.yml"), text).expect("a baseline");
        let found = [difference("a", "x"), difference("a", "z"), difference("b", "x"), difference("b", "y")];

        let (unexcused, stale) = baseline.judge(&found);

        assert_eq!(unexcused, [&found[1]]);
        assert_eq!(stale, ["c:y"]);
    }

    #[test]
    fn other_files_are_no_baselines() {
        for text in
            ["", "server: x", "server:\n  - a: b\n", "server:\n  - ':x'\n", "servers:\n  - a\n", "server:\n  - 'a:'\n"]
        {
            assert!(Baseline::parse(PathBuf::from("f.yml"), text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn every_baseline_of_the_repository_can_be_read() {
        for name in
            ["2025-11-25-on-modern", "2026-07-28-on-legacy", "2025-11-25-through-nodes", "2026-07-28-through-nodes"]
        {
            Baseline::of(name).expect(name);
        }
    }
}
