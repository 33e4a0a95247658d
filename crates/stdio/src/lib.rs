//! Child processes as message pipes: guarded, limited, and ended for good.
//!
//! ```text
//! Child::start ──▶ guard process ──▶ program         Child: send(line), end()      Lines: next()
//!                     └── all that the program starts    └── attendant task: stderr, the guard's socket, the end
//! ```
//!
//! A [`Program`] is an argument vector with an environment, a folder and limits. Its messages are lines: [`Child`]
//! sends them, [`Lines`] receives them. What a line means is not known here.
//!
//! Invariants: nothing that a program starts outlives its [`Child`] or this process, whatever either dies of
//! ([`guard`]); an end is told at most [`ENDING_MAX`] after it was asked for, where a guard needs longer as
//! [`Status::Unfinished`]; every queue, line and log of a child is bounded ([`program::Limits`]).

#![cfg(unix)]

mod attendant;
mod child;
mod exit;
pub mod guard;
pub mod lines;
mod outgoing;
pub mod program;
mod rate;
mod stderr;
mod text;

pub use attendant::ENDING_MAX;
pub use child::{Child, StartError, Watch};
pub use exit::{Exit, Status};
pub use guard::Guard;
pub use lines::{Line, Lines};
pub use outgoing::SendError;
pub use program::{Folder, INHERITED, Limits, Program, Resources, environment};
