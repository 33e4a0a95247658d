//! The last step before the program: limits and bonds that only the process itself can put on, then `exec`.
//!
//! A starter has the program's environment, folder and standard streams already. What it adds survives `exec`: a
//! session of its own (no controlling terminal, and a signal to its group never reaches the guard), death with the
//! guard, resource limits, and no new privileges, since what runs as another user could not be ended by us.
//! Spec: `setrlimit(2)`, `PR_SET_PDEATHSIG(2const)`, `PR_SET_NO_NEW_PRIVS(2const)`.

use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use rustix::process::{Resource, Rlimit, getppid, getrlimit, setrlimit, setsid};

use super::{ASKED_TO_START, this_program};
use crate::program::Resources;

/// What a shell returns when there is no such program; servers' supervisors know it.
const NOT_FOUND: u8 = 127;
/// What a shell returns when there is one that cannot be run.
const NOT_RUNNABLE: u8 = 126;

/// Makes the command by which the guard of process `guard` starts the program.
pub(super) fn command(argv: &[OsString], resources: Resources, guard: i32) -> io::Result<Command> {
    let number = |limit: Option<u64>| limit.map_or_else(|| "-".to_owned(), |limit| limit.to_string());
    let Resources { cpu_seconds, memory_bytes, files } = resources;
    let mut command = Command::new(this_program()?);
    command
        .arg0("quorate-stdio")
        .args([ASKED_TO_START, &guard.to_string()])
        .args([number(cpu_seconds), number(memory_bytes), number(files)])
        .args(argv);
    Ok(command)
}

/// Becomes the program; returns only when that fails.
pub(super) fn run(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let mut head = || arguments.next().and_then(|argument| argument.into_string().ok());
    let numbers = [head(), head(), head(), head()];
    let [Some(guard), Some(cpu), Some(memory), Some(files)] = numbers else { return refuse("no order", &"") };
    let Some(program) = arguments.next() else { return refuse("no program", &"") };
    let limit = |text: &str| text.parse::<u64>().ok();
    let resources = Resources { cpu_seconds: limit(&cpu), memory_bytes: limit(&memory), files: limit(&files) };
    if let Err(error) = bind(guard.parse().ok(), resources) {
        return refuse("cannot limit the program", &error);
    }
    let error = Command::new(&program).args(arguments).exec();
    not_run(&program, &error)
}

/// Puts on what the program shall run with.
fn bind(guard: Option<i32>, resources: Resources) -> io::Result<()> {
    setsid()?;
    die_with(guard)?;
    bound(Resource::Core, Some(0))?;
    bound(Resource::Cpu, resources.cpu_seconds)?;
    bound(Resource::Data, resources.memory_bytes)?;
    bound(Resource::Nofile, resources.files)
}

fn die_with(guard: Option<i32>) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        rustix::thread::set_no_new_privs(true)?;
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    }
    // A guard that died before that sends no signal any more: then the parent is another one by now.
    match getppid() {
        Some(parent) if Some(parent.as_raw_nonzero().get()) == guard => Ok(()),
        _ => Err(io::Error::other("the guard is gone")),
    }
}

/// Sets a limit for good, as far as this process itself may go.
fn bound(resource: Resource, limit: Option<u64>) -> io::Result<()> {
    let Some(limit) = limit else { return Ok(()) };
    let present = getrlimit(resource);
    let limit = present.maximum.map_or(limit, |maximum| limit.min(maximum));
    // A second after the soft limit of CPU time the kernel kills who ignored its signal.
    let hard = if matches!(resource, Resource::Cpu) { limit.saturating_add(1) } else { limit };
    let hard = present.maximum.map_or(hard, |maximum| hard.min(maximum));
    Ok(setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(hard) })?)
}

/// Says on the program's standard error why it does not run.
fn not_run(program: &OsStr, error: &io::Error) -> ExitCode {
    refuse(&format!("cannot run {program:?}"), error);
    ExitCode::from(if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_RUNNABLE })
}

fn refuse(what: &str, why: &dyn Display) -> ExitCode {
    super::supervise::say(format_args!("{what}: {why}"));
    ExitCode::from(NOT_RUNNABLE)
}
