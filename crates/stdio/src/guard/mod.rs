//! The guard: a tiny process between the node and each child, so that nothing of a child outlives either.
//!
//! ```text
//! node ──control socket──▶ guard ──▶ starter, becomes the program by exec ──▶ its own children …
//!   └───── stdin, stdout, stderr of the program (the guard keeps only stderr) ─────┘
//! ```
//!
//! A guard is the node's own binary under another name (`__stdio-guard`), because what it does cannot be done
//! between fork and exec without `unsafe`. It is a *subreaper*: whatever the program starts, forked twice or in a
//! session of its own, becomes its child when its parent dies, and is ended with the program ([`supervise`]). Its
//! life line is the control socket: the kernel closes the node's end whatever the node dies of. A parent-death
//! signal would be tied to the *thread* that started the guard, which the node's runtime may end at any time; it is
//! used one step further down, where the parent has one thread: a program dies with its guard.
//!
//! Linux has all of this. Other Unixes have no subreaper, no parent-death signal and no `/proc`: there the guard ends
//! the program's process group, which a program that makes a session for its children escapes.

mod exec;
mod launch;
mod order;
mod supervise;
mod tree;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

pub(crate) use launch::{Launched, launch};
pub(crate) use order::{Order, read_report};
pub(crate) use supervise::TERM_GRACE;

use crate::program::Resources;

/// The first argument by which a program is asked to be a guard.
const ASKED_TO_GUARD: &str = "__stdio-guard";
/// The first argument by which a guard asks itself to become the program.
const ASKED_TO_START: &str = "__stdio-start";

/// How guards are started: the program that calls [`main_if_asked`] first of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    program: PathBuf,
}

// === impl Guard ===

impl Guard {
    /// Uses the running program, whose `main` begins with [`main_if_asked`].
    ///
    /// On Linux that is the very file that runs, also when another one was put in its place since.
    ///
    /// # Errors
    /// Where the system does not tell what runs.
    pub fn of_this_program() -> std::io::Result<Self> {
        Ok(Self { program: this_program()? })
    }

    /// Uses another program that begins with [`main_if_asked`].
    #[must_use]
    pub fn at(program: PathBuf) -> Self {
        Self { program }
    }
}

/// Makes a command that runs a program which dies with the thread that starts it, whatever that dies of (SIGKILL). The program
/// is not guarded: what it starts itself is its own affair. It has a session of its own, so that Ctrl-C reaches only who
/// started it, gains no privileges and leaves no core. This program's `main` begins with [`main_if_asked`].
///
/// Elsewhere than on Linux it does not die with the thread.
///
/// # Errors
/// Where the system does not tell what runs.
pub fn bound(argv: &[OsString]) -> std::io::Result<Command> {
    let this = i32::try_from(std::process::id()).map_err(std::io::Error::other)?;
    exec::command(argv, Resources::default(), this)
}

/// Does the work of a guard when this process was started to be one, and returns how to end.
///
/// Has to be called before threads or a runtime are started: the parent-death signal of a program is tied to the
/// thread that starts it.
#[must_use]
pub fn main_if_asked() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next()?.to_str()? {
        ASKED_TO_GUARD => Some(supervise::run()),
        ASKED_TO_START => Some(exec::run(arguments)),
        _ => None,
    }
}

#[cfg(target_os = "linux")]
fn this_program() -> std::io::Result<PathBuf> {
    Ok(PathBuf::from("/proc/self/exe"))
}

#[cfg(not(target_os = "linux"))]
fn this_program() -> std::io::Result<PathBuf> {
    std::env::current_exe()
}
