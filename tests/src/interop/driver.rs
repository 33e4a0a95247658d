//! The drivers: a process per library that does one job after the other, so that each library is loaded once.
//!
//! A job goes to the driver as a line of JSON; what comes back are lines with [`Outcome`](super::Outcome)s and a last
//! one with `end`: null, or why the job could not be done. A driver that ends or hangs is started anew for the next
//! job: what it did not get to is red, and the lines say why. A driver has one job at a time, which [`Drivers`] keeps.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError, TryLockError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Library, Mode};
use crate::process::Process;

/// How long one job may take: all features of a plan.
const JOB: Duration = Duration::from_secs(300);

/// What a driver is asked to do: one client's features with one server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// With what the server shows each feature.
    pub plan: Map<String, Value>,
    /// Where the server is.
    pub target: Target,
    /// How to speak to it.
    pub mode: Mode,
    /// What to try, in this order.
    pub features: Vec<String>,
}

/// Where a driver finds a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Target {
    /// At a URL.
    Url(String),
    /// In a child process, on its standard input and output.
    Child(Child),
}

/// How a server on standard input and output is started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Child {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Its environment, besides what the driver's SDK inherits.
    pub env: BTreeMap<String, String>,
    /// Its working folder.
    pub folder: PathBuf,
}

/// Every driver: started when its first job comes.
#[derive(Debug)]
pub struct Drivers {
    home: PathBuf,
    places: Vec<(Library, Mutex<Option<Process>>)>,
}

/// The driver of one library, for one job.
#[derive(Debug)]
pub struct Driver<'a> {
    library: Library,
    home: &'a Path,
    process: MutexGuard<'a, Option<Process>>,
}

/// The last line of a job.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    #[serde(deserialize_with = "Option::deserialize")]
    end: Option<String>,
}

// === impl Drivers ===

impl Drivers {
    /// No driver runs yet; what libraries write for themselves goes into `home`, which is made.
    ///
    /// # Errors
    ///
    /// The folder cannot be made.
    pub fn new(home: PathBuf) -> anyhow::Result<Self> {
        fs::create_dir_all(&home).with_context(|| format!("cannot make {}", home.display()))?;
        Ok(Self { home, places: Library::ALL.into_iter().map(|library| (library, Mutex::default())).collect() })
    }

    /// The driver of this library, if it has nothing to do.
    #[must_use]
    pub fn free(&self, library: Library) -> Option<Driver<'_>> {
        match self.place(library).try_lock() {
            Ok(process) => Some(self.driver(library, process)),
            Err(TryLockError::Poisoned(poisoned)) => Some(self.driver(library, poisoned.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// The driver of this library, as soon as it has nothing to do.
    #[must_use]
    pub fn wait(&self, library: Library) -> Driver<'_> {
        self.driver(library, self.place(library).lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn driver<'a>(&'a self, library: Library, process: MutexGuard<'a, Option<Process>>) -> Driver<'a> {
        Driver { library, home: &self.home, process }
    }

    fn place(&self, library: Library) -> &Mutex<Option<Process>> {
        let place = self.places.iter().find(|(known, _)| *known == library);
        &place.expect("every library has a place").1
    }
}

// === impl Driver ===

impl Driver<'_> {
    /// Does a job and gives back the lines that were printed, with the reason as the last one where it failed.
    ///
    /// # Errors
    ///
    /// The driver cannot be started.
    pub fn run(mut self, job: &Job) -> anyhow::Result<Vec<String>> {
        let mut process = match self.process.take() {
            Some(process) => process,
            None => Process::converse(format!("the driver {}", self.library.name()), &mut self.command()?)?,
        };
        let mut lines = Vec::new();
        match converse(&mut process, job, &mut lines) {
            Ok(None) => *self.process = Some(process),
            Ok(Some(reason)) => {
                *self.process = Some(process);
                lines.push(reason);
            }
            // Dropping the process ends it.
            Err(error) => lines.push(format!("{error:#}")),
        }
        Ok(lines)
    }

    fn command(&self) -> anyhow::Result<std::process::Command> {
        self.library.driver(self.home)
    }
}

/// Tells the job and listens to its end; the reason of a job that could not be done is no error of the driver.
fn converse(process: &mut Process, job: &Job, lines: &mut Vec<String>) -> anyhow::Result<Option<String>> {
    process.tell(&serde_json::to_string(job).context("a job is JSON")?)?;
    let deadline = Instant::now() + JOB;
    loop {
        let Some(left) = deadline.checked_duration_since(Instant::now()) else {
            bail!("the job has no end in {JOB:?}");
        };
        let line = process.hear(left)?;
        if let Ok(End { end }) = serde_json::from_str(&line) {
            return Ok(end);
        }
        lines.push(line);
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn job() -> Job {
        let target = Target::Url("http://127.0.0.1:1/mcp".to_owned());
        Job { plan: Map::new(), target, mode: Mode::Legacy, features: vec!["call".to_owned()] }
    }

    fn shell(script: &str) -> Process {
        Process::converse("sh", Command::new("sh").args(["-c", script])).expect("there is a shell")
    }

    #[test]
    fn a_driver_does_one_job_after_the_other() {
        let mut process = shell("while read -r job; do echo \"$job\"; echo noise >&2; echo '{\"end\":null}'; done");

        for _ in 0..2 {
            let mut lines = Vec::new();
            assert_eq!(converse(&mut process, &job(), &mut lines).expect("it answers"), None);
            let told = lines.iter().find_map(|line| serde_json::from_str::<Job>(line).ok());
            assert_eq!(told, Some(job()));
        }
    }

    #[test]
    fn a_job_that_cannot_be_done_says_why() {
        let mut process = shell("read -r job; echo '{\"end\":\"no connection\"}'; read -r job");

        let end = converse(&mut process, &job(), &mut Vec::new()).expect("it answers");

        assert_eq!(end.as_deref(), Some("no connection"));
    }

    #[test]
    fn a_driver_that_ends_in_a_job_is_an_error_with_its_last_words() {
        let mut process = shell("read -r job; echo Traceback; exit 3");
        let mut lines = Vec::new();

        let error = converse(&mut process, &job(), &mut lines).expect_err("it ends").to_string();

        assert!(error.contains("exit status: 3"), "{error}");
        assert_eq!(lines, ["Traceback"]);
    }
}
