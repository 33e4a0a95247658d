//! Terminals in one folder: commands that end, and such that stay.
//!
//! Commands go to the standard input of a shell, so that no list of processes has them as an argument. What stays ends with
//! the terminals.

use std::collections::BTreeMap;
use std::env;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, ensure};
use quorate_cluster::paths;
use quorate_cluster::process::Process;

use crate::PATIENCE;

/// Terminals, all in one folder.
pub(crate) struct Shell<'a> {
    folder: &'a Path,
    /// What was exported.
    variables: BTreeMap<String, String>,
    /// What stays, by its command.
    staying: BTreeMap<String, Process>,
}

// === impl Shell ===

impl<'a> Shell<'a> {
    /// Opens terminals whose home is the folder, too, and which find the program under test.
    pub(crate) fn new(folder: &'a Path) -> anyhow::Result<Self> {
        let program = paths::binary("quorate")?;
        let beside = program.parent().context("the program is in a folder")?;
        let path = env::var("PATH").unwrap_or_default();
        let variables = [("PATH", format!("{}:{path}", beside.display())), ("HOME", folder.display().to_string())];
        let variables = variables.map(|(name, value)| (name.to_owned(), value)).into();
        Ok(Self { folder, variables, staying: BTreeMap::new() })
    }

    /// Sets a variable (`export NAME=VALUE`) or takes one away (`unset NAME`); false for every other command.
    pub(crate) fn sets(&mut self, command: &str) -> bool {
        if let Some((name, value)) = command.strip_prefix("export ").and_then(|rest| rest.split_once('=')) {
            self.variables.insert(name.to_owned(), value.to_owned());
            return true;
        }
        command.strip_prefix("unset ").is_some_and(|name| self.variables.remove(name).is_some())
    }

    /// Runs a command to its end: its exit code, and what it said on both streams.
    pub(crate) fn run(&self, command: &str) -> anyhow::Result<(Option<i32>, String)> {
        let mut shell = self.shell();
        let mut child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut input = child.stdin.take().context("it is piped")?;
        input.write_all(command.as_bytes())?;
        drop(input);
        let Output { status, stdout, stderr } = child.wait_with_output()?;
        let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        Ok((status.code(), said))
    }

    /// Starts a command that stays, and waits until it says something. What stays of the same command is asked to end before.
    pub(crate) fn start(&mut self, command: &str, says: &str) -> anyhow::Result<()> {
        if let Some(mut before) = self.staying.remove(command) {
            before.terminate(PATIENCE)?;
        }
        let mut shell = self.shell();
        // The shell makes way: what is ended is the command itself.
        let mut process = Process::start(command, shell.args(["-c", &format!("exec {command}")]))?;
        process.line(PATIENCE, |line| line.contains(says).then_some(()))?;
        self.staying.insert(command.to_owned(), process);
        Ok(())
    }

    /// Waits until something that stays says something.
    pub(crate) fn hears(&mut self, command: &str, says: &str) -> anyhow::Result<()> {
        let found = self.staying.iter_mut().find(|(staying, _)| staying.starts_with(command));
        let (_, process) = found.with_context(|| format!("`{command}` runs"))?;
        process.line(PATIENCE, |line| line.contains(says).then_some(()))
    }

    /// Waits until something that stays ended by itself.
    pub(crate) fn ends(&mut self, command: &str) -> anyhow::Result<()> {
        let found = self.staying.keys().find(|staying| staying.starts_with(command)).cloned();
        let found = found.with_context(|| format!("`{command}` runs"))?;
        let mut process = self.staying.remove(&found).context("it was found")?;
        let status = process.end(PATIENCE)?;
        ensure!(!status.success(), "`{found}` ended with {status}{}", process.said());
        Ok(())
    }

    /// What all that stays said last.
    pub(crate) fn said(&self) -> String {
        self.staying.iter().map(|(command, process)| format!("\n`{command}`{}", process.said())).collect()
    }

    fn shell(&self) -> Command {
        let mut shell = Command::new("sh");
        shell.current_dir(self.folder).env_remove("QUORATE_CONTEXT").envs(&self.variables);
        shell
    }
}
