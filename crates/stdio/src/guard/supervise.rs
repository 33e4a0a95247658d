//! The life of a guard: start the program, wait, end all that is left of it, say what became of it.
//!
//! ```text
//! Watching ──program ended, node gone or asks, SIGTERM──▶ Asking ──1 s──▶ Killing ──nothing left──▶ report
//!                                                            └────────── nothing left ─────────────▶ report
//! ```
//!
//! Nothing is left when the guard has no child: as a subreaper it is an ancestor of everything that the program
//! started, so whoever lives below it hangs on one of its children. One thread, no runtime, no allocation while it
//! waits: a guard is asleep from start to end.

use std::fmt::Arguments;
use std::fs::DirEntry;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, wait};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::low_level::pipe::register;

use super::order::{ORDER_BYTES_MAX, Order, write_report};
use super::{exec, launch, tree};
use crate::exit::Status;

/// How long everything has between SIGTERM and SIGKILL: 1 s, as a node that ends gives.
pub(crate) const TERM_GRACE: Duration = Duration::from_secs(1);
/// Pause between rounds of killing: what is forked during one is found by the next.
const KILL_PAUSE: Duration = Duration::from_millis(5);
/// How long the order may take to arrive; the node sends it at once.
const ORDER_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a process finds what it has open.
const DESCRIPTORS: &str = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };

/// A guard with a program.
struct Guarding {
    control: UnixStream,
    /// Becomes readable when a child ended.
    ended: UnixStream,
    /// Becomes readable when the system asks this process to end.
    asked: UnixStream,
    program: Pid,
    status: Option<Status>,
}

#[derive(Clone, Copy)]
enum Phase {
    Watching,
    Asking { until: Instant },
    Killing,
}

/// Is a guard until nothing of its program is left.
pub(super) fn run() -> ExitCode {
    match guard() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("the guard failed: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Writes a line to the standard error, which the node logs; a node that is gone reads nothing.
pub(super) fn say(what: Arguments<'_>) {
    let _gone = writeln!(io::stderr(), "quorate: {what}");
}

fn guard() -> io::Result<()> {
    close_inherited()?;
    name();
    // A copy, which is closed on exec as the original is not; the program gets another standard input anyway.
    let mut control = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    control.set_read_timeout(Some(ORDER_TIMEOUT))?;
    let ([stdin, stdout], bytes) = launch::receive(&mut control, ORDER_BYTES_MAX)?;
    control.set_read_timeout(None)?;
    let order = Order::decode(&bytes).map_err(io::Error::other)?;
    drop(bytes);
    let not_started = |error: io::Error| Status::NotStarted(error.raw_os_error().unwrap_or_default());
    // Made here and not by the node, which might be killed before it has told anybody about it.
    let status = match make(&order) {
        Err(error) => not_started(error),
        Ok(folder) => {
            let status = match Guarding::start(control.try_clone()?, order, stdin, stdout) {
                Ok(guarding) => guarding.watch()?,
                Err(error) => not_started(error),
            };
            remove(folder);
            status
        }
    };
    // A node that is gone wants no report.
    let _gone = control.write_all(&write_report(status));
    Ok(())
}

// === impl Guarding ===

impl Guarding {
    fn start(control: UnixStream, order: Order, stdin: OwnedFd, stdout: OwnedFd) -> io::Result<Self> {
        let (ended, on_child) = UnixStream::pair()?;
        let (asked, on_ask) = UnixStream::pair()?;
        ended.set_nonblocking(true)?;
        asked.set_nonblocking(true)?;
        register(SIGCHLD, on_child)?;
        for signal in [SIGTERM, SIGINT, SIGHUP, SIGQUIT] {
            register(signal, on_ask.try_clone()?)?;
        }
        tree::adopt_orphans()?;
        let myself = rustix::process::getpid().as_raw_nonzero().get();
        let mut command = exec::command(&order.argv, order.resources, myself)?;
        command
            .env_clear()
            .envs(order.environment)
            .current_dir(&order.folder)
            .stdin(Stdio::from(stdin))
            .stdout(Stdio::from(stdout));
        // With the command its copies of the pipes go, so that both sides see each other's end.
        let program = Pid::from_child(&command.spawn()?);
        Ok(Self { control, ended, asked, program, status: None })
    }

    /// Watches the program to its end, and ends what it left.
    fn watch(mut self) -> io::Result<Status> {
        let (mut phase, mut hunt) = (Phase::Watching, tree::Hunt::default());
        while self.reap() {
            phase = match phase {
                Phase::Watching if self.status.is_some() || self.is_asked() => {
                    tree::signal_all(self.program, Signal::TERM);
                    Phase::Asking { until: Instant::now() + TERM_GRACE }
                }
                Phase::Asking { until } if Instant::now() >= until => Phase::Killing,
                same => same,
            };
            let patience = match phase {
                Phase::Watching => None,
                Phase::Asking { until } => Some(until.saturating_duration_since(Instant::now())),
                Phase::Killing if hunt.round(self.program) => Some(KILL_PAUSE),
                Phase::Killing => Some(Duration::ZERO),
            };
            self.wait(phase, patience)?;
        }
        Ok(self.status.unwrap_or(Status::Unknown))
    }

    /// Takes note of whoever ended; false when nobody is left.
    fn reap(&mut self) -> bool {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.program => {
                    self.status = Some(match (status.exit_status(), status.terminating_signal()) {
                        (Some(code), _) => Status::Code(code),
                        (None, Some(signal)) => Status::Signal(signal),
                        (None, None) => Status::Unknown,
                    });
                }
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => return true,
                Err(_) => return false, // ECHILD: the one error that there is.
            }
        }
    }

    /// Tells whether the node or the system wants the program to end.
    fn is_asked(&self) -> bool {
        let mut fds = [PollFd::new(&self.control, PollFlags::IN), PollFd::new(&self.asked, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(poll(&mut fds, Some(&now)), Ok(ready) if ready > 0)
    }

    /// Sleeps until a child ended, or somebody asks, or `patience` has passed.
    fn wait(&mut self, phase: Phase, patience: Option<Duration>) -> io::Result<()> {
        let mut fds = [
            PollFd::new(&self.ended, PollFlags::IN),
            PollFd::new(&self.control, PollFlags::IN),
            PollFd::new(&self.asked, PollFlags::IN),
        ];
        // Who has asked once is not listened to again: the socket stays readable.
        let heard = if matches!(phase, Phase::Watching) { &mut fds[..] } else { &mut fds[..1] };
        let patience = patience.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
        match poll(heard, patience.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut wakes = [0; 64];
        // Emptied once per round; what comes later wakes the next one.
        while matches!(self.ended.read(&mut wakes), Ok(read) if read == wakes.len()) {}
        Ok(())
    }
}

/// Closes whatever this process has open beside its standard streams. The node's own descriptors all close on `exec`;
/// those that it has inherited itself, of sockets or logs of whoever started it, are no program's business.
fn close_inherited() -> io::Result<()> {
    // The list is complete before anything of it is closed: it has a descriptor itself, which is closed by then.
    let numbers = |entry: io::Result<DirEntry>| entry.ok()?.file_name().to_str()?.parse::<i32>().ok();
    let open: Vec<i32> = std::fs::read_dir(DESCRIPTORS)?.filter_map(numbers).filter(|number| *number > 2).collect();
    for number in open {
        let _closed = nix::unistd::close(number);
    }
    Ok(())
}

/// Makes the program's private folder, if it has one: a new one, never one that is there.
fn make(order: &Order) -> io::Result<Option<PathBuf>> {
    if !order.is_private {
        return Ok(None);
    }
    std::fs::DirBuilder::new().mode(0o700).create(&order.folder)?;
    Ok(Some(order.folder.clone()))
}

fn remove(folder: Option<PathBuf>) {
    let Some(folder) = folder else { return };
    match std::fs::remove_dir_all(&folder) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => say(format_args!("cannot remove {}: {error}", folder.display())),
    }
}

#[cfg(target_os = "linux")]
fn name() {
    // For process lists only; without it they show the name of the link that was executed.
    let _unnamed = rustix::thread::set_name(c"quorate-guard");
}

#[cfg(not(target_os = "linux"))]
fn name() {}
