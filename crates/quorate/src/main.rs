//! The quorate binary: a node of the mesh, and its command line.
//!
//! Parses the command line, gives each command a runtime that suits it, and turns its failure into
//! a message and an exit code (see [`exit`]). What the commands do is in their modules.

mod audit;
mod call;
mod cli;
mod connect;
mod demo;
mod exit;
mod key;
mod keys;
mod output;
mod peers;
mod policy;
mod ports;
mod probe;
mod run;
mod serve;
mod tools;
mod up;
mod validate;
mod wal;
mod words;

use std::process::ExitCode;

use clap::Parser;
use tokio::runtime::{Builder, Runtime};

use crate::cli::{Cli, Command};
use crate::exit::{Exit, Failure};

fn main() -> ExitCode {
    // First of all: this process may have been started to guard a child of a node.
    if let Some(done) = quorate_stdio::guard::main_if_asked() {
        return done;
    }
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::report(&failure);
            failure.exit.into()
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Up(args) => node()?.block_on(up::run(args)),
        Command::Serve(args) => node()?.block_on(serve::run(args)),
        Command::Validate(args) => client()?.block_on(validate::run(&args)),
        Command::Schema(args) => validate::schema(&args),
        Command::Tools(args) => client()?.block_on(tools::run(args)),
        Command::Call(args) => client()?.block_on(call::run(args)),
        Command::Keys(command) => client()?.block_on(keys::run(&command)),
        Command::Policy(command) => policy::run(&command),
        Command::Audit(command) => audit::run(&command),
        Command::Wal(command) => wal::run(&command),
    }
}

/// A node uses all cores.
fn node() -> Result<Runtime, Failure> {
    started(Builder::new_multi_thread().enable_all().build())
}

/// A client waits more than it works.
fn client() -> Result<Runtime, Failure> {
    started(Builder::new_current_thread().enable_all().build())
}

fn started(runtime: std::io::Result<Runtime>) -> Result<Runtime, Failure> {
    runtime.map_err(|error| Failure::new(Exit::Failure, format!("cannot start the runtime: {error}")))
}
