//! The task that attends one child: it logs the standard error, writes on when the pipe was full, sees the child
//! through its end, and says how it ended.
//!
//! ```text
//! Living ──end()──▶ Closed ──grace──▶ Asked ──guard's second and a margin──▶ left to its guard
//!    └──── the guard's socket ends: nothing is left ─────┘
//! ```
//!
//! Standard input is closed first, which ends a server that follows the protocol. Then the guard is asked (by closing
//! our half of its socket), which ends everything below it with SIGTERM and SIGKILL. A guard that does not manage
//! that in time is told of as such and goes on: killed, it would take its program along, but leave what that started.

use std::io;
use std::path::PathBuf;
use std::process;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::child::Inner;
use crate::exit::{Exit, Status};
use crate::guard::{TERM_GRACE, read_report};
use crate::program::{DEFAULTS, Program};
use crate::stderr::Stderr;

/// How long a guard may take beyond its own second: 4 s, for a machine under load.
const MARGIN: Duration = Duration::from_secs(4);
/// The longest time from [`crate::Child::end`] to the [`Exit`], with the default grace: 7 s.
pub const ENDING_MAX: Duration =
    Duration::from_secs(DEFAULTS.grace.as_secs() + TERM_GRACE.as_secs() + MARGIN.as_secs());

/// What an attendant looks after.
pub(crate) struct Attendant {
    pub(crate) inner: Arc<Inner>,
    pub(crate) process: process::Child,
    pub(crate) control: UnixStream,
    pub(crate) stderr: Stderr,
    pub(crate) folder: Option<PathBuf>,
    pub(crate) program: Arc<Program>,
}

/// How far the end of a child is.
#[derive(Clone, Copy)]
enum Step {
    Living,
    Closed { until: Instant },
    Asked { until: Instant },
}

pub(crate) async fn run(mut attendant: Attendant) {
    let started = Instant::now();
    let status = attendant.attend().await;
    let Attendant { inner, process, stderr, folder, program, .. } = attendant;
    inner.outgoing.close();
    let last_words = stderr.finish();
    let name = Arc::clone(&program.name);
    if status == Status::Unfinished {
        // On a thread of its own: the runtime could not end before its guard does, which may be never.
        let waiting = std::thread::Builder::new().name("quorate-guard-wait".to_owned());
        if let Err(error) = waiting.spawn(move || clear(process, folder, &name)) {
            tracing::warn!(server = %program.name, %error, "nobody waits for the guard of a process");
        }
    } else if tokio::task::spawn_blocking(move || clear(process, folder, &name)).await.is_err() {
        // The guard has closed its socket by ending: waiting for it took no time, but the runtime is shutting down.
        return;
    }
    let exit = Exit { status, asked: inner.asked.load(Ordering::SeqCst), lasted: started.elapsed(), last_words };
    tracing::debug!(server = %program.name, %exit, asked = exit.asked, "a process ended");
    inner.exit.send_replace(Some(Arc::new(exit)));
}

// === impl Attendant ===

impl Attendant {
    /// Attends the child until its guard has ended.
    async fn attend(&mut self) -> Status {
        let mut ending = self.inner.ending.subscribe();
        let mut step = Step::Living;
        let mut report = Vec::with_capacity(8);
        loop {
            tokio::select! {
                read = self.control.read_buf(&mut report) => match read {
                    Ok(read) if read > 0 && report.len() < 64 => {}
                    Ok(_) | Err(_) => break,
                },
                () = begun(&mut ending), if matches!(step, Step::Living) => {
                    step = Step::Closed { until: Instant::now() + self.program.limits.grace };
                }
                () = passed(step) => match step {
                    Step::Living => {}
                    Step::Closed { .. } => {
                        // A guard that has ended meanwhile needs no asking.
                        let _ended = self.control.shutdown().await;
                        step = Step::Asked { until: Instant::now() + TERM_GRACE + MARGIN };
                    }
                    Step::Asked { .. } => {
                        tracing::error!(server = %self.program.name, guard = self.process.id(),
                            "a process is not ended in time: it is left to its guard, which goes on");
                        return Status::Unfinished;
                    }
                },
                () = self.stderr.turn() => {}
                never = self.inner.outgoing.attend() => match never {},
            }
        }
        read_report(&report).unwrap_or(Status::Unknown)
    }
}

async fn begun(ending: &mut watch::Receiver<bool>) {
    // The sender is in what the attendant holds itself.
    let _begun = ending.wait_for(|ending| *ending).await;
}

/// Waits for the time of a step.
async fn passed(step: Step) {
    match step {
        Step::Closed { until } | Step::Asked { until } => sleep_until(until).await,
        Step::Living => std::future::pending().await,
    }
}

/// Takes the guard's process off the system's table, and its folder off the disk, which a guard that was killed has
/// left there; blocks until the guard has ended.
pub(crate) fn clear(mut process: process::Child, folder: Option<PathBuf>, server: &str) {
    let cleared = process.wait().and_then(|_| folder.map_or(Ok(()), std::fs::remove_dir_all));
    if let Err(error) = cleared
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(server, %error, "the working folder of a process is left");
    }
}
