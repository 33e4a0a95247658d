//! The SDKs: each major version in a process that drives it, and what is known of it that no server can change.
//!
//! A driver does what a line of JSON says and answers with another (`client.py` says which there are). The facts of
//! [`Sdk::ALL`] were read in the sources of the pinned versions, and are what the tests expect: an SDK that does better than
//! that fails them, so that the table of the user guide is made anew.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use quorate_cluster::paths;
use quorate_cluster::process::Process;
use quorate_tests::interop::{Library, version};
use serde_json::{Value, json};

/// Longer than a call takes in which nodes are lost.
const PATIENCE: Duration = Duration::from_secs(120);

/// Longer than an SDK needs to end its session.
const END: Duration = Duration::from_secs(30);

/// A version of an SDK.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sdk {
    /// Where its version is pinned.
    pub(crate) library: Library,
    /// How many losses of its node the stream survives on which it hears what belongs to no call; none where it survives all.
    pub(crate) listens_over: Option<usize>,
    /// What becomes of it when its connection breaks before an answer begins.
    pub(crate) unbegun: Unbegun,
}

/// What becomes of a client whose connection breaks before an answer begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unbegun {
    /// The call fails at once; the session goes on.
    CallFails,
    /// The call fails, as does every other one that waits, and all that are made from then on.
    ClientEnds,
}

/// A driver with a session.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) sdk: Sdk,
    process: Process,
    session: String,
}

// === impl Sdk ===

impl Sdk {
    /// The current and the previous major version of both.
    pub(crate) const ALL: [Self; 4] = [
        // `handle_get_stream` counts a connection that broke as a failed attempt, and forgets it only when a stream ends well:
        // after the second it does not come again. `_handle_post_request` has no error of HTTP caught, and runs in the task
        // group of the whole transport.
        Self { library: Library::PythonV2, listens_over: Some(1), unbegun: Unbegun::ClientEnds },
        Self { library: Library::PythonV1, listens_over: Some(1), unbegun: Unbegun::ClientEnds },
        // `_handleSseStream` begins to count anew with each connection. `send` throws what `fetch` throws, to its caller alone.
        Self { library: Library::TypeScriptV2, listens_over: None, unbegun: Unbegun::CallFails },
        Self { library: Library::TypeScriptV1, listens_over: None, unbegun: Unbegun::CallFails },
    ];

    /// Its name and version, as in the user guide.
    pub(crate) fn title(&self) -> anyhow::Result<String> {
        let (file, package) = self.library.pinned();
        Ok(format!("{} {}", self.library.title(), version(file, package)?))
    }

    fn command(&self) -> anyhow::Result<Command> {
        let sources = paths::repository().join("chaos/tests/survival");
        let (program, script, version) = match self.library {
            Library::PythonV2 => {
                (paths::installed(paths::INTEROP, "venv/bin/python")?, sources.join("client.py"), "v2")
            }
            Library::PythonV1 => {
                (paths::installed(paths::INTEROP, "venv-v1/bin/python")?, sources.join("client.py"), "v1")
            }
            Library::TypeScriptV2 => {
                (paths::node(paths::INTEROP)?, beside_packages(&sources.join("client.mjs"))?, "v2")
            }
            Library::TypeScriptV1 => {
                (paths::node(paths::INTEROP)?, beside_packages(&sources.join("client.mjs"))?, "v1")
            }
            other => anyhow::bail!("{} has no driver here", other.name()),
        };
        let mut command = Command::new(program);
        command.arg(script).arg(version);
        Ok(command)
    }
}

/// Copies a script to where Node finds the packages that it imports.
fn beside_packages(script: &PathBuf) -> anyhow::Result<PathBuf> {
    let package = paths::installed(paths::INTEROP, "package.json")?;
    let copy = package.with_file_name("survival.mjs");
    fs::copy(script, &copy).with_context(|| format!("cannot copy {}", script.display()))?;
    Ok(copy)
}

// === impl Client ===

impl Client {
    /// Opens a session that hears of these resources.
    pub(crate) fn open(sdk: Sdk, url: &str, watch: &[&str]) -> anyhow::Result<Self> {
        let mut command = sdk.command()?;
        let process = Process::converse(sdk.library.name(), command.arg(url))?;
        let mut client = Self { sdk, process, session: String::new() };
        client.tell(&json!({ "do": "open", "watch": watch }))?;
        let answer = client.hear_any()?;
        let session = answer["sessions"][0].as_str().with_context(|| format!("a session has an id: {answer}"))?;
        client.session = session.to_owned();
        client.is_one_session(&answer)?;
        Ok(client)
    }

    /// Says what to do.
    pub(crate) fn tell(&mut self, job: &Value) -> anyhow::Result<()> {
        self.process.tell(&job.to_string())
    }

    /// Hears that it was done, in the session that was opened.
    pub(crate) fn hear(&mut self) -> anyhow::Result<Value> {
        let answer = self.hear_any()?;
        self.is_one_session(&answer)?;
        Ok(answer)
    }

    /// Says what to do, and hears that it was done.
    pub(crate) fn does(&mut self, job: &Value) -> anyhow::Result<Value> {
        self.tell(job)?;
        self.hear()
    }

    /// Hears that a single call was begun, and what was seen of it when it has ended; or that the SDK has.
    pub(crate) fn made(&mut self) -> anyhow::Result<Value> {
        let begun = self.hear_any()?;
        if begun.get("ended").is_some() {
            return Ok(begun);
        }
        // What has ended meanwhile says so below.
        let told = self.tell(&json!({ "do": "finish" }));
        let answer = self.hear_any().with_context(|| format!("{told:?}"))?;
        Ok(answer.get("calls").map_or(&answer, |calls| &calls[0]).clone())
    }

    /// Ends the session, and looks that the SDK ends well.
    pub(crate) fn close(mut self) -> anyhow::Result<()> {
        self.tell(&json!({ "do": "close" }))?;
        let status = self.process.end(END)?;
        ensure!(status.success(), "{} ended with {status}{}", self.name(), self.process.said());
        Ok(())
    }

    /// What it is called in messages.
    pub(crate) fn name(&self) -> &'static str {
        self.sdk.library.name()
    }

    fn hear_any(&mut self) -> anyhow::Result<Value> {
        let deadline = Instant::now() + PATIENCE;
        // What is not JSON is for people.
        let mut words = Vec::new();
        loop {
            let line = self.process.hear(deadline.saturating_duration_since(Instant::now()));
            let line = line.with_context(|| format!("{}: {}", self.name(), words.join("\n")))?;
            match serde_json::from_str::<Value>(&line) {
                Ok(answer) if answer.is_object() => return Ok(answer),
                _ => words.push(line),
            }
        }
    }

    fn is_one_session(&self, answer: &Value) -> anyhow::Result<()> {
        let is_one = answer["sessions"] == json!([self.session]) && answer["initializes"] == 1;
        ensure!(is_one, "{} has another session than {}: {answer}", self.name(), self.session);
        Ok(())
    }
}
