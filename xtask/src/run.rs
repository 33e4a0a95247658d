//! Running other programs: shown before they run, timed, and never left waiting for input.
//!
//! A command's output goes where xtask's own goes, or is captured; where nobody watches, it passes through here, and the
//! error of a failed command repeats its telling lines. The variables that `cargo run` sets for xtask
//! itself are taken away from what xtask starts: build scripts watch some of them, and would otherwise run again
//! each time somebody changes between `cargo xtask test` and `cargo test`.

use std::{
    env,
    ffi::{OsStr, OsString},
    io::{self, BufRead as _, BufReader, ErrorKind, IsTerminal as _, PipeReader},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::{output, said::Said};

/// Variables of the package that cargo runs, by prefix.
const OWN_PREFIXES: [&str; 3] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"];

/// Variables of the package that cargo runs, by name.
const OWN_NAMES: [&str; 3] = ["CARGO", "CARGO_CRATE_NAME", "OUT_DIR"];

/// How long the output of a command that has ended may still come: a program that it left behind keeps the pipe open.
const REST: Duration = Duration::from_secs(2);

/// A command to run.
#[derive(Debug)]
pub(crate) struct Cmd {
    command: Command,
    quiet: bool,
}

// === impl Cmd ===

impl Cmd {
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        command.stdin(Stdio::null());
        for (name, _) in env::vars_os() {
            if is_own(&name) {
                command.env_remove(name);
            }
        }
        Self { command, quiet: false }
    }

    /// `cargo SUBCOMMAND`, by the cargo on the path (so that `+TOOLCHAIN` works).
    pub(crate) fn cargo(subcommand: &str) -> Self {
        Self::new("cargo").arg(subcommand)
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub(crate) fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Does not print the command before it runs: for questions that xtask asks for itself.
    pub(crate) fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// Runs it to its end; anything but success is an error.
    pub(crate) fn run(mut self) -> Result<()> {
        self.announce();
        let (status, said) =
            if io::stdout().is_terminal() { (self.watched()?, Vec::new()) } else { self.passed_through()? };
        if !status.success() {
            let failed = format!("`{}` failed: {status}", self.shown());
            bail!("{}", [vec![failed], said].concat().join("\n"));
        }
        Ok(())
    }

    /// Becomes it: it is told what a terminal tells its programs, and ends for whoever waits for this one.
    pub(crate) fn replace(mut self) -> Result<()> {
        self.announce();
        let error = self.command.exec();
        Err(self.cannot_start(&error))
    }

    /// Runs it before somebody's eyes.
    fn watched(&mut self) -> Result<ExitStatus> {
        self.command.status().map_err(|error| self.cannot_start(&error))
    }

    /// Runs it with both of its streams through one pipe; gives back its telling lines too.
    fn passed_through(&mut self) -> Result<(ExitStatus, Vec<String>)> {
        let (reader, writer) = io::pipe()?;
        self.command.stdout(writer.try_clone()?).stderr(writer);
        let started = self.command.spawn();
        // The command holds the writing end of the pipe, which would never end here.
        self.command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = started.map_err(|error| self.cannot_start(&error))?;
        let said = Arc::new(Mutex::new(Said::default()));
        let (open, ended) = mpsc::sync_channel(1);
        thread::spawn({
            let said = Arc::clone(&said);
            move || pass_on(reader, &said, open)
        });
        let status = child.wait()?;
        // Disconnected is the end; a timeout is a program that was left behind, whose words are nobody's.
        let _ = ended.recv_timeout(REST);
        let lines = lock(&said).lines();
        Ok((status, lines))
    }

    /// Runs it to its end and gives back what it wrote to standard output. Its standard error is part of the error.
    pub(crate) fn output(mut self) -> Result<String> {
        self.announce();
        let output = self.command.output().map_err(|error| self.cannot_start(&error))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("`{}` failed: {}\n{}", self.shown(), output.status, said.trim_end());
        }
        String::from_utf8(output.stdout).with_context(|| format!("`{}` did not answer in UTF-8", self.shown()))
    }

    /// Runs it to its end and gives back what it wrote to both streams, for a program that says much of which little
    /// matters. All of it is part of the error.
    pub(crate) fn transcript(mut self) -> Result<String> {
        self.announce();
        let output = self.command.output().map_err(|error| self.cannot_start(&error))?;
        let said = [output.stdout, output.stderr].map(|stream| String::from_utf8_lossy(&stream).into_owned()).concat();
        if !output.status.success() {
            bail!("`{}` failed: {}\n{}", self.shown(), output.status, said.trim_end());
        }
        Ok(said)
    }

    /// Whether it can be started and ends well; its output is dropped.
    pub(crate) fn succeeds(mut self) -> bool {
        self.command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }

    fn announce(&self) {
        if !self.quiet {
            output::line(&format!("$ {}", self.shown()));
        }
    }

    /// The command as one would type it.
    fn shown(&self) -> String {
        let mut words = Vec::new();
        for (name, value) in self.command.get_envs() {
            if let Some(value) = value {
                words.push(format!("{}={}", name.display(), quoted(value)));
            }
        }
        words.push(quoted(self.command.get_program()));
        words.extend(self.command.get_args().map(quoted));
        words.join(" ")
    }

    fn cannot_start(&self, error: &io::Error) -> anyhow::Error {
        let program = self.command.get_program().display();
        match error.kind() {
            ErrorKind::NotFound => anyhow!("{program} is not installed, or not on the path"),
            _ => anyhow!("cannot start {program}: {error}"),
        }
    }
}

/// Prints each line of a command's output as it comes; `open` lives as long as the output.
fn pass_on(output: PipeReader, said: &Mutex<Said>, open: mpsc::SyncSender<()>) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\r', '\n']);
        output::line(text);
        lock(said).hear(text);
        line.clear();
    }
    drop(open);
}

fn lock(said: &Mutex<Said>) -> MutexGuard<'_, Said> {
    said.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_own(name: &OsString) -> bool {
    let name = name.to_string_lossy();
    OWN_NAMES.contains(&&*name) || OWN_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "-_=./,:+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.into_owned() } else { format!("'{word}'") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_one_would_type_it() {
        let cmd = Cmd::new("cargo").args(["test", "two words"]).env("CI", "true");

        assert_eq!(cmd.shown(), "CI=true cargo test 'two words'");
    }

    #[test]
    fn a_failing_command_is_an_error_with_what_it_said() {
        let error = Cmd::new("sh").args(["-c", "echo broken >&2; exit 3"]).quiet().output().unwrap_err().to_string();

        assert!(error.contains("broken") && error.contains('3'), "{error}");
    }

    #[test]
    fn what_passes_through_is_repeated_by_the_error() -> Result<()> {
        let script = "echo out; echo broken >&2; exit 3";
        let (status, said) = Cmd::new("sh").args(["-c", script]).quiet().passed_through()?;

        assert_eq!((status.code(), said), (Some(3), vec!["out".to_owned(), "broken".to_owned()]));
        Ok(())
    }

    #[test]
    fn a_program_that_is_left_behind_is_not_waited_for() -> Result<()> {
        let (status, said) = Cmd::new("sh").args(["-c", "echo out; sleep 20 &"]).quiet().passed_through()?;

        assert_eq!((status.success(), said), (true, vec!["out".to_owned()]));
        Ok(())
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = Cmd::new("no-such-program-here").quiet().run().unwrap_err().to_string();

        assert_eq!(error, "no-such-program-here is not installed, or not on the path");
    }

    #[test]
    fn only_the_variables_of_xtask_itself_are_taken_away() {
        let own = |name: &str| is_own(&name.into());

        assert!(own("CARGO_MANIFEST_DIR") && own("CARGO_PKG_NAME") && own("CARGO"));
        assert!(!own("CARGO_HOME") && !own("CARGO_TARGET_DIR") && !own("CARGO_NET_OFFLINE"));
    }
}
