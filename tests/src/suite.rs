//! The official conformance suite: run against a URL, read back check by check.
//!
//! The suite is a Node program that `cargo xtask test` installs ([`paths::CONFORMANCE`]). A run of one requirement
//! set writes one folder per scenario with all its checks; [`Report`] is those folders in the order of the run. The
//! verdicts are the suite's own: nothing is excused here. What a pairing of eras cannot do is in [`crate::baseline`].

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use crate::{paths, process::Process};

/// How long one run of a requirement set may take: about 10 s when all is well, 30 s for each scenario that hangs.
const RUN: Duration = Duration::from_secs(600);

/// The timestamp that ends the name of a scenario's folder, with its dash.
const STAMP_BYTES: usize = "-2026-01-01T00-00-00-000Z".len();

/// A protocol revision with a requirement set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revision {
    /// The last revision with sessions.
    V2025_11_25,
    /// The stateless revision.
    V2026_07_28,
}

/// The installed suite.
#[derive(Debug, Clone)]
pub struct Suite {
    node: PathBuf,
    script: PathBuf,
}

/// All checks of one run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// The scenarios in the order in which they ran.
    pub scenarios: Vec<Scenario>,
}

/// The checks of one scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// Its checks in the order in which they were made.
    pub checks: Vec<Check>,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// Its id; several checks of a scenario may share it.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What came of it.
    pub status: Status,
    /// Why it failed.
    pub error_message: Option<String>,
}

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// Passed.
    Success,
    /// A MUST is violated.
    Failure,
    /// A SHOULD is violated.
    Warning,
    /// Not applicable.
    Skipped,
    /// No verdict: a trace of the run, or an option that the server does not use.
    Info,
}

// === impl Revision ===

impl Revision {
    /// Both, in the order of their age.
    pub const ALL: [Self; 2] = [Self::V2025_11_25, Self::V2026_07_28];

    /// The date that names it.
    #[must_use]
    pub fn date(self) -> &'static str {
        match self {
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// How many checks a complete server passes at least, unscored and extension scenarios included (measured
    /// with suite 0.2.0-alpha.12 on a complete server made with rmcp 3.11.0).
    #[must_use]
    pub fn passed_min(self) -> usize {
        match self {
            Self::V2025_11_25 => 83,
            Self::V2026_07_28 => 197,
        }
    }
}

// === impl Suite ===

impl Suite {
    /// The suite that `cargo xtask test` installed.
    ///
    /// # Errors
    ///
    /// It is not installed; the error says what to run.
    pub fn installed() -> anyhow::Result<Self> {
        Ok(Self {
            node: paths::node(paths::CONFORMANCE)?,
            script: paths::installed(
                paths::CONFORMANCE,
                "node_modules/@modelcontextprotocol/conformance/dist/index.js",
            )?,
        })
    }

    /// Runs the requirement set of `revision` against `url` and reads the checks; `folder` is empty and takes them.
    /// With a file of expected failures, the suite's own verdict on it has to be that it is right.
    ///
    /// # Errors
    ///
    /// The suite does not run or hangs, or finds the file wrong; what fails in it is in the report.
    pub fn run(&self, url: &str, revision: Revision, folder: &Path, expected: Option<&Path>) -> anyhow::Result<Report> {
        let mut command = Command::new(&self.node);
        command.arg(&self.script).args(["server", "--url", url]);
        command.args(["--requirements", revision.date()]).arg("-o").arg(folder);
        if let Some(file) = expected {
            command.arg("--expected-failures").arg(file);
        }
        let mut process = Process::start(format!("the suite ({})", revision.date()), &mut command)?;
        let status = process.end(RUN)?;
        ensure!(
            expected.is_none() || status.success(),
            "the suite finds its expected failures wrong{}",
            process.said()
        );
        // The exit status says whether a scored check failed, which the report says too; a run that could not
        // start leaves no folders.
        let report = Report::read(folder)?;
        ensure!(!report.scenarios.is_empty(), "the suite ran nothing{}", process.said());
        Ok(report)
    }
}

// === impl Report ===

impl Report {
    /// Reads the folders of a run.
    ///
    /// # Errors
    ///
    /// A folder without readable checks, or with a name that the suite does not give.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        let mut scenarios = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let (name, stamp) = split(&path).with_context(|| format!("unknown folder {}", path.display()))?;
            let text = fs::read_to_string(path.join("checks.json"))
                .with_context(|| format!("{} wrote no checks", path.display()))?;
            let checks =
                serde_json::from_str(&text).with_context(|| format!("unknown form of checks in {}", path.display()))?;
            scenarios.push((stamp, Scenario { name, checks }));
        }
        scenarios.sort_by(|(left, _), (right, _)| left.cmp(right));
        Ok(Self { scenarios: scenarios.into_iter().map(|(_, scenario)| scenario).collect() })
    }

    /// The scenario of this name.
    #[must_use]
    pub fn scenario(&self, name: &str) -> Option<&Scenario> {
        self.scenarios.iter().find(|scenario| scenario.name == name)
    }

    /// How many checks passed.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.scenarios.iter().map(Scenario::passed).sum()
    }

    /// The checks that did not pass although they have a verdict, with their scenario.
    pub fn violations(&self) -> impl Iterator<Item = (&Scenario, &Check)> {
        let checks =
            self.scenarios.iter().flat_map(|scenario| scenario.checks.iter().map(move |check| (scenario, check)));
        checks.filter(|(_, check)| matches!(check.status, Status::Failure | Status::Warning))
    }
}

// === impl Scenario ===

impl Scenario {
    /// How many of its checks passed.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.checks.iter().filter(|check| check.status == Status::Success).count()
    }
}

/// The scenario's name and the timestamp of `server-NAME-TIMESTAMP`.
fn split(path: &Path) -> Option<(String, String)> {
    let name = path.file_name()?.to_str()?.strip_prefix("server-")?;
    let (scenario, stamp) = name.split_at_checked(name.len().checked_sub(STAMP_BYTES)?)?;
    (stamp.starts_with("-2") && stamp.ends_with('Z')).then(|| (scenario.to_owned(), stamp.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_named_after_its_scenario_and_its_time() {
        let parsed = split(Path::new("/out/server-tools-list-2026-11-23T19-35-17-619Z"));

        assert_eq!(parsed, Some(("tools-list".to_owned(), "-2026-11-23T19-35-17-619Z".to_owned())));
        assert_eq!(split(Path::new("/out/tools-list")), None);
        assert_eq!(split(Path::new("/out/server-")), None);
    }

    #[test]
    fn a_report_is_read_in_the_order_of_the_run() {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let write = |name: &str, json: &str| {
            let path = folder.path().join(name);
            fs::create_dir(&path).expect("the folder is new");
            fs::write(path.join("checks.json"), json).expect("the folder can be written");
        };
        write(
            "server-ping-2026-11-23T19-35-18-000Z",
            r#"[{"id":"ping","name":"Ping","status":"SUCCESS","description":"d","details":{}}]"#,
        );
        write(
            "server-caching-2026-11-23T19-35-17-000Z",
            r#"[{"id":"a","name":"A","status":"WARNING","errorMessage":"no"},{"id":"b","name":"B","status":"INFO"}]"#,
        );

        let report = Report::read(folder.path()).expect("both folders have checks");

        let names: Vec<_> = report.scenarios.iter().map(|scenario| scenario.name.as_str()).collect();
        assert_eq!(names, ["caching", "ping"]);
        assert_eq!(report.passed(), 1);
        let violations: Vec<_> = report.violations().map(|(s, c)| (s.name.as_str(), c.id.as_str())).collect();
        assert_eq!(violations, [("caching", "a")]);
    }
}
