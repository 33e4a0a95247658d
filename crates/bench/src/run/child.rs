//! The processes of a run: started with pipes, spoken to in lines, ended with their owner.
//!
//! Every child is killed by its own id when its handle is dropped, on every path out of the run.
//! The bench's own children also end when their standard input does, which covers a run that is
//! itself killed.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout, Command};

/// A running child.
pub(crate) struct Child {
    name: &'static str,
    pid: u32,
    process: tokio::process::Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

// === impl Child ===

impl Child {
    /// Starts a program.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start(name: &'static str, program: &Path, arguments: &[String]) -> Result<Self> {
        Self::start_telling(name, program, arguments, Stdio::inherit())
    }

    /// Starts a program whose standard error goes into a file.
    ///
    /// # Errors
    /// When it cannot be started, or the file not be made.
    pub(crate) fn start_logged(name: &'static str, program: &Path, arguments: &[String], log: &Path) -> Result<Self> {
        let log = std::fs::File::create(log).with_context(|| log.display().to_string())?;
        Self::start_telling(name, program, arguments, log.into())
    }

    fn start_telling(name: &'static str, program: &Path, arguments: &[String], stderr: Stdio) -> Result<Self> {
        let mut process = Command::new(program)
            .args(arguments)
            .stderr(stderr)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let stdin = process.stdin.take().context("the child's standard input")?;
        let stdout = process.stdout.take().context("the child's standard output")?;
        let pid = process.id().with_context(|| format!("{name} ended at once"))?;
        Ok(Self { name, pid, process, stdin, lines: BufReader::new(stdout).lines() })
    }

    /// The id of the process.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Reads the next line.
    ///
    /// # Errors
    /// When the child ended, or says nothing within `patience`.
    pub(crate) async fn line(&mut self, patience: Duration) -> Result<String> {
        let line = tokio::time::timeout(patience, self.lines.next_line()).await;
        let line = line.with_context(|| format!("{} said nothing within {patience:?}", self.name))??;
        line.with_context(|| format!("{} ended", self.name))
    }

    /// Writes a line.
    ///
    /// # Errors
    /// When the child ended.
    pub(crate) async fn tell(&mut self, line: &str) -> Result<()> {
        let told = self.stdin.write_all(format!("{line}\n").as_bytes()).await;
        told.with_context(|| format!("{} ended", self.name))
    }

    /// Waits for a child that ends by itself.
    ///
    /// # Errors
    /// When it failed, or takes longer than `patience`.
    pub(crate) async fn finish(mut self, patience: Duration) -> Result<()> {
        let ended = tokio::time::timeout(patience, self.process.wait()).await;
        let status = ended.with_context(|| format!("{} does not end", self.name))??;
        ensure!(status.success(), "{} ended with {status}", self.name);
        Ok(())
    }

    /// Asks it to end, and waits until it has.
    ///
    /// # Errors
    /// When it takes longer than `patience`.
    pub(crate) async fn end_politely(mut self, patience: Duration) -> Result<()> {
        // `unsafe` is forbidden here: the system's own `kill` sends the signal.
        let asked = Command::new("kill").args(["-s", "TERM", &self.pid.to_string()]).status().await?;
        ensure!(asked.success(), "{} cannot be asked to end", self.name);
        let ended = tokio::time::timeout(patience, self.process.wait()).await;
        ended.with_context(|| format!("{} does not end", self.name))?.map(drop).context("wait")
    }

    /// Kills it and waits until it is gone.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) async fn end(mut self) -> Result<()> {
        self.process.kill().await.with_context(|| format!("end {}", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn cat() -> Child {
        Child::start("cat", Path::new("/bin/cat"), &[]).unwrap()
    }

    #[tokio::test]
    async fn a_child_answers_in_lines() {
        let mut child = cat();

        child.tell("hello").await.unwrap();

        assert_eq!(child.line(PATIENCE).await.unwrap(), "hello");
        child.end().await.unwrap();
    }

    #[tokio::test]
    async fn a_child_is_gone_when_its_handle_is() {
        let child = cat();
        let stat = format!("/proc/{}/stat", child.pid());

        drop(child);

        let is_gone = || std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
        tokio::time::timeout(PATIENCE, async {
            while !is_gone() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn a_child_that_fails_is_an_error() {
        let child = Child::start("false", Path::new("/bin/false"), &[]).unwrap();

        assert!(child.finish(PATIENCE).await.is_err());
    }
}
