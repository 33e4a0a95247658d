//! A node of a local cluster as a child process: its output with its name, started again when it ends, unless the cluster
//! takes it no more.
//!
//! ```text
//! thread of the child:   start ─▶ wait for its end ─▶ say so ─▶ pause ─▶ start …
//! thread of its output:  line by line, with the node's name in front
//! ```
//!
//! The child dies with its thread, and so with this process, also after SIGKILL (`quorate_stdio::guard::bound`): the
//! parent-death signal is tied to the thread that starts it, which is why each child has one. A child is asked to end only
//! while it has not been waited for, so that no other process with its number gets the signal.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, PipeReader, Read as _};
use std::process::ExitStatus;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use quorate_stdio::guard;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::exit::Exit;
use crate::output;

/// The pause before a child that ended is started again: an operator sees in `cluster status` that it is gone.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest line of output that is passed on whole.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// A child that is kept running; clones share it.
#[derive(Clone)]
pub(crate) struct Child(Arc<Shared>);

/// Where lines of a child go, with its name in front, and what becomes of it.
pub(crate) type Tell = Arc<dyn Fn(&str) + Send + Sync>;

struct Shared {
    tell: Tell,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The process, as long as it was not waited for.
    pid: Option<Pid>,
    is_stopping: bool,
    /// Nothing runs any more, and nothing will.
    has_ended: bool,
}

// === impl Child ===

impl Child {
    /// Starts a child and keeps it running; `name` stands before its lines.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn start(name: &str, command: Vec<OsString>, tell: Tell) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { tell, state: Mutex::default(), changed: Condvar::new() });
        let (of_thread, name) = (Arc::clone(&shared), name.to_owned());
        thread::Builder::new().name(name.clone()).spawn(move || {
            of_thread.keep_running(&name, &command);
            of_thread.lock().has_ended = true;
            of_thread.changed.notify_all();
        })?;
        Ok(Self(shared))
    }

    /// Kills the process, which is started again, and returns its number; none while none runs.
    pub(crate) fn crash(&self) -> Option<u32> {
        let state = self.0.lock();
        let pid = state.pid?;
        // Under the lock, as in `stop`: it was not waited for.
        kill_process(pid, Signal::KILL).ok()?;
        drop(state);
        u32::try_from(pid.as_raw_nonzero().get()).ok()
    }

    /// Sends a signal and lets it not be started again.
    pub(crate) fn stop(&self, signal: Signal) {
        let mut state = self.0.lock();
        state.is_stopping = true;
        if let Some(pid) = state.pid {
            // It may have ended; it was not waited for, so that its number is nobody else's.
            let _gone = kill_process(pid, signal);
        }
        self.0.changed.notify_all();
    }

    /// Waits until it has ended after [`Self::stop`]; false when that takes longer. Blocks.
    pub(crate) fn wait(&self, limit: Duration) -> bool {
        let state = self.0.lock();
        let (state, _) = self
            .0
            .changed
            .wait_timeout_while(state, limit, |state| !state.has_ended)
            .unwrap_or_else(PoisonError::into_inner);
        state.has_ended
    }
}

// === impl Shared ===

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A thread that panicked leaves a state that is still true.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep_running(&self, name: &str, command: &[OsString]) {
        loop {
            match self.run(name, command) {
                Ok(status) => {
                    if self.lock().is_stopping {
                        return;
                    }
                    if status.code() == Some(Exit::Refused.code().into()) {
                        (self.tell)(&format!("{name} is no node of the cluster any more, and is not started again"));
                        return;
                    }
                    let pause = PAUSE.as_secs();
                    (self.tell)(&format!(
                        "{name} ended ({status}); the others go on, and it is started again in {pause} s"
                    ));
                }
                Err(error) => (self.tell)(&format!("{name} cannot be started: {error}")),
            }
            if self.paused() {
                return;
            }
        }
    }

    /// Waits for the pause; true when the child shall not run any more.
    fn paused(&self) -> bool {
        let state = self.lock();
        let (state, _) = self
            .changed
            .wait_timeout_while(state, PAUSE, |state| !state.is_stopping)
            .unwrap_or_else(PoisonError::into_inner);
        state.is_stopping
    }

    /// Runs the child once, to its end.
    fn run(&self, name: &str, command: &[OsString]) -> std::io::Result<ExitStatus> {
        let (output, end) = std::io::pipe()?;
        let mut command = guard::bound(command)?;
        command.stdin(std::process::Stdio::null()).stdout(end.try_clone()?).stderr(end);
        let mut child = {
            let mut state = self.lock();
            if state.is_stopping {
                return Err(std::io::ErrorKind::Interrupted.into());
            }
            let child = command.spawn()?;
            state.pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            child
        };
        // Our copy of the pipe's end: else its end would not show.
        drop(command);
        let (prefix, tell) = (name.to_owned(), Arc::clone(&self.tell));
        let passing =
            thread::Builder::new().name(format!("{name} output")).spawn(move || pass_on(&prefix, output, &tell));
        // Taken out first: a guard in the condition would be held for the child's whole life.
        let pid = self.lock().pid;
        if let Some(pid) = pid {
            // Seen to have ended, and not yet waited for: its number stays its own.
            let _ended = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        }
        let status = {
            let mut state = self.lock();
            state.pid = None;
            child.wait()
        };
        // What it wrote last is told before how it ended; a grandchild that holds the pipe does not hold this up.
        if let Ok(passing) = passing
            && passing.is_finished()
        {
            let _told = passing.join();
        }
        status
    }
}

/// Writes lines with the name in front.
fn pass_on(name: &str, output: PipeReader, tell: &Tell) {
    let mut reader = BufReader::new(output);
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text = String::from_utf8_lossy(&line);
                tell(&format!("{name} | {}", output::visible(text.trim_end())));
            }
        }
    }
}
