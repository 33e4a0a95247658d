//! A child process of a test: started, watched line by line, ended by its id.
//!
//! Both output streams are read by a thread each into one bounded log, so that a talkative process never blocks
//! and a failing test can show the end of what was said. Dropping a [`Process`] kills it and waits for it: no test
//! leaves one behind. The harness never ends a process that it did not start.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read, Write},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use crate::wait;

/// Lines of output that are kept: enough for the story of a failure, little beside a test's memory.
const LOG_LINES_MAX: usize = 2_000;

/// Lines of output that an error or a panic shows.
const LOG_LINES_SHOWN: usize = 60;

/// How long a look at the log lasts before the process is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// How long the pipes of an ended process may take to be read to their end.
const DRAIN: Duration = Duration::from_secs(2);

/// A running child process.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    log: Arc<Log>,
    readers: [JoinHandle<()>; 2],
}

/// What a process has said.
#[derive(Debug, Default)]
struct Log {
    lines: Mutex<VecDeque<String>>,
    grown: Condvar,
}

// === impl Process ===

impl Process {
    /// Starts `command` under a name for messages.
    ///
    /// # Errors
    ///
    /// The program cannot be started.
    pub fn start(name: impl Into<String>, command: &mut Command) -> anyhow::Result<Self> {
        Self::spawn(name.into(), command.stdin(Stdio::null()))
    }

    /// Starts `command` under a name for messages, to be talked to with [`Process::tell`] and [`Process::hear`].
    ///
    /// # Errors
    ///
    /// The program cannot be started.
    pub fn converse(name: impl Into<String>, command: &mut Command) -> anyhow::Result<Self> {
        Self::spawn(name.into(), command.stdin(Stdio::piped()))
    }

    fn spawn(name: String, command: &mut Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {name}: {command:?}"))?;
        let log = Arc::new(Log::default());
        let readers = [
            Log::follow(&log, child.stdout.take().expect("standard output is piped")),
            Log::follow(&log, child.stderr.take().expect("standard error is piped")),
        ];
        let input = child.stdin.take();
        Ok(Self { name, child, input, log, readers })
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes a line to its standard input.
    ///
    /// # Errors
    ///
    /// The process was not started to be talked to, or has closed its end.
    pub fn tell(&mut self, line: &str) -> anyhow::Result<()> {
        let input = self.input.as_mut().with_context(|| format!("{} has no input", self.name))?;
        writeln!(input, "{line}").and_then(|()| input.flush()).with_context(|| format!("{} does not listen", self.name))
    }

    /// Takes the oldest line of output that is in the log, or waits for one; what is taken is no longer in the log.
    ///
    /// # Errors
    ///
    /// `within` passed, or the process ended and everything was taken.
    pub fn hear(&mut self, within: Duration) -> anyhow::Result<String> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(line) = self.log.take() {
                return Ok(line);
            }
            if let Some(status) = self.child.try_wait()? {
                self.drain();
                return self.log.take().with_context(|| format!("{} ended with {status}", self.name));
            }
            if Instant::now() >= deadline {
                bail!("{} said nothing in {within:?}", self.name);
            }
        }
    }

    /// Waits for a line of output from which `pick` takes something.
    ///
    /// # Errors
    ///
    /// `within` passed, or the process ended; the error shows the log.
    pub fn line<T>(&mut self, within: Duration, pick: impl Fn(&str) -> Option<T>) -> anyhow::Result<T> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(found) = self.log.lock().iter().find_map(|line| pick(line)) {
                return Ok(found);
            }
            if let Some(status) = self.child.try_wait()? {
                self.drain();
                // The line may have been the last word.
                if let Some(found) = self.log.lock().iter().find_map(|line| pick(line)) {
                    return Ok(found);
                }
                bail!("{} ended with {status}{}", self.name, self.said());
            }
            if Instant::now() >= deadline {
                bail!("{} did not say in {within:?} what was expected{}", self.name, self.said());
            }
            self.log.wait_for_growth();
        }
    }

    /// Waits until `condition` holds while the process runs.
    ///
    /// # Errors
    ///
    /// `within` passed, or the process ended; the error shows the log.
    pub fn ready<T>(
        &mut self,
        what: &str,
        within: Duration,
        mut condition: impl FnMut() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let child = &mut self.child;
        let mut ended = None;
        let ready = wait::until(what, within, || {
            if ended.is_none() {
                ended = child.try_wait()?;
            }
            match ended {
                // Looking once more is useless: the wait ends with the reason below.
                Some(status) => Ok(Err(status)),
                None => condition().map(Ok),
            }
        });
        match ready {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(status)) => {
                self.drain();
                bail!("{} ended with {status}{}", self.name, self.said())
            }
            Err(error) => Err(error.context(format!("{} is not ready{}", self.name, self.said()))),
        }
    }

    /// Asks the process to end (SIGTERM) and waits for it.
    ///
    /// # Errors
    ///
    /// It does not end `within` the time; then it is killed when dropped.
    pub fn terminate(&mut self, within: Duration) -> anyhow::Result<ExitStatus> {
        // The standard library sends SIGKILL only, and `unsafe` is forbidden here: the system's own `kill` does it.
        let id = self.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status().context("cannot run kill")?;
        let (child, name) = (&mut self.child, &self.name);
        wait::until(&format!("the end of {name}"), within, || child.try_wait()?.with_context(|| format!("{name} runs")))
    }

    /// Waits for a process that ends by itself.
    ///
    /// # Errors
    ///
    /// It does not end `within` the time; the error shows the log.
    pub fn end(&mut self, within: Duration) -> anyhow::Result<ExitStatus> {
        let (child, name) = (&mut self.child, &self.name);
        let ended = wait::until(&format!("the end of {name}"), within, || {
            child.try_wait()?.with_context(|| format!("{name} runs"))
        });
        if ended.is_ok() {
            self.drain();
        }
        ended.map_err(|error| error.context(format!("{} hangs{}", self.name, self.said())))
    }

    /// Everything that is kept of the output, one line each.
    #[must_use]
    pub fn output(&self) -> Vec<String> {
        self.log.lock().iter().cloned().collect()
    }

    /// The end of the log in the form of a message.
    #[must_use]
    pub fn said(&self) -> String {
        let lines = self.log.lock();
        let skipped = lines.len().saturating_sub(LOG_LINES_SHOWN);
        let shown: String = lines.iter().skip(skipped).map(|line| format!("\n    {line}")).collect();
        format!("; the last of its {} lines:{shown}", lines.len())
    }

    /// Waits until the last words of an ended process are in the log. Bounded: a grandchild may hold the pipe open.
    fn drain(&self) {
        let readers = &self.readers;
        let drained = wait::until("the last words", DRAIN, || {
            readers.iter().all(JoinHandle::is_finished).then_some(()).context("a pipe is open")
        });
        // A log without its end is still the best that can be shown.
        drop(drained);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{} (process {}){}", self.name, self.id(), self.said());
        }
        // Both fail only when the process has ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// === impl Log ===

impl Log {
    fn follow(log: &Arc<Self>, stream: impl Read + Send + 'static) -> JoinHandle<()> {
        let log = Arc::clone(log);
        thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n') {
                let Ok(line) = line else { break };
                log.push(String::from_utf8_lossy(&line).into_owned());
            }
        })
    }

    fn push(&self, line: String) {
        let mut lines = self.lock();
        if lines.len() == LOG_LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(line);
        self.grown.notify_all();
    }

    /// The oldest line; waits a moment for one when there is none.
    fn take(&self) -> Option<String> {
        let lines = self.lock();
        let waited = self.grown.wait_timeout_while(lines, LOOK, |lines| lines.is_empty());
        waited.unwrap_or_else(PoisonError::into_inner).0.pop_front()
    }

    fn wait_for_growth(&self) {
        drop(self.grown.wait_timeout(self.lock(), LOOK));
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    fn shell(script: &str) -> Process {
        Process::start("sh", Command::new("sh").args(["-c", script])).expect("there is a shell")
    }

    #[test]
    fn a_line_is_found_when_it_comes() {
        let mut process = shell("echo one; echo port 42; exec sleep 60");

        let port = process.line(LONG, |line| line.strip_prefix("port ")?.parse::<u16>().ok());

        assert_eq!(port.expect("the line comes"), 42);
    }

    #[test]
    fn the_end_of_a_process_ends_every_wait_and_shows_its_log() {
        let mut process = shell("echo it went wrong >&2; exit 3");

        let line = process.line(LONG, |_| None::<()>).expect_err("the process ends").to_string();
        let ready: anyhow::Result<()> = process.ready("nothing", LONG, || bail!("never"));

        assert!(line.contains("exit status: 3") && line.contains("it went wrong"), "{line}");
        assert!(ready.is_err());
    }

    #[test]
    fn the_output_of_an_ended_process_is_complete() {
        for _ in 0..20 {
            let mut process = shell("echo first; echo last");

            process.end(LONG).expect("it ends by itself");

            assert_eq!(process.output(), ["first", "last"]);
        }
    }

    #[test]
    fn a_conversation_is_heard_line_by_line_and_has_an_end() {
        let mut process = Process::converse("sh", Command::new("sh").args(["-c", "read -r a; echo \"$a\"; echo bye"]));
        let process = process.as_mut().expect("there is a shell");

        process.tell("hello").expect("it listens");

        let heard = [process.hear(LONG), process.hear(LONG)].map(|line| line.expect("both lines come"));
        assert_eq!(heard, ["hello", "bye"]);
        assert!(process.hear(LONG).expect_err("it has ended").to_string().contains("exit status: 0"));
    }

    #[test]
    fn a_process_ends_when_asked_to() {
        let mut process = shell("exec sleep 60");

        let status = process.terminate(LONG).expect("sleep ends on SIGTERM");

        assert!(!status.success());
    }

    #[test]
    fn dropping_a_process_ends_it() {
        let process = shell("exec sleep 60");
        let id = process.id().to_string();

        drop(process);

        let alive = Command::new("kill").args(["-0", &id]).stderr(Stdio::null()).status();
        assert!(!alive.expect("there is a kill").success());
    }
}
