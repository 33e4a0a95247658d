//! The quorate binary: a node of the mesh, and its command line.
//!
//! Parses the command line, gives each command a runtime that suits it, and turns its failure into
//! a message and an exit code (see [`exit`]). What the commands do is in their modules.

mod answer;
mod audit;
mod call;
mod chat;
mod check;
mod cli;
mod cluster;
mod completion;
mod connect;
mod demo;
mod demo_server;
mod documents;
mod exit;
mod import;
mod key;
mod keys;
mod local;
mod output;
mod peers;
mod policy;
mod ports;
mod probe;
mod recover;
mod resources;
mod run;
mod serve;
mod sessions;
mod table;
mod target;
mod tools;
mod top;
mod up;
mod validate;
mod wal;
mod words;

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;
use tokio::runtime::{Builder, Runtime};

use crate::cli::{Cli, Command};
use crate::exit::{Exit, Failure};

/// The system's allocator takes a sixth more of the CPU time of a request (docs/src/numbers-models.md). Without huge pages, of which an idle
/// node would have 28 MB.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    // First of all: this process may have been started to guard a child of a node.
    if let Some(done) = quorate_stdio::guard::main_if_asked() {
        return done;
    }
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::report(&failure);
            failure.exit.into()
        }
    }
}

fn run(Cli { context, command }: Cli) -> Result<(), Failure> {
    let context = context.as_deref();
    match command {
        Command::Up(args) => match args.nodes {
            Some(count) => client()?.block_on(local::run(args, count)),
            None => node()?.block_on(up::run(args)),
        },
        Command::Demo(args) => client()?.block_on(demo::run(&args)),
        Command::DemoBackend(args) => client()?.block_on(demo::backend::run(args)),
        Command::Serve(args) => node()?.block_on(serve::run(args)),
        Command::Validate(args) => client()?.block_on(validate::run(&args)),
        Command::Schema(args) => validate::schema(&args),
        Command::Tools(args) => client()?.block_on(tools::run(args)),
        Command::Call(args) => client()?.block_on(call::run(args)),
        Command::Chat(args) => client()?.block_on(chat::run(args)),
        Command::Import(command) => import::run(&command),
        Command::Keys(command) => client()?.block_on(keys::run(context, &command)),
        Command::Policy(command) => policy::run(&command),
        Command::Audit(command) => audit::run(&command),
        Command::Wal(command) => wal::run(&command),
        Command::Cluster(command) => client()?.block_on(cluster::run(context, &command)),
        Command::Recover(args) => client()?.block_on(recover::run(&args)),
        Command::Apply(args) => client()?.block_on(resources::apply(context, &args)),
        Command::Diff(args) => client()?.block_on(resources::diff(context, &args)),
        Command::Get(args) => client()?.block_on(resources::get(context, &args)),
        Command::Delete(args) => client()?.block_on(resources::delete(context, &args)),
        Command::History(args) => client()?.block_on(resources::history(context, &args)),
        Command::Rollback(args) => client()?.block_on(resources::rollback(context, &args)),
        Command::Sessions(command) => client()?.block_on(sessions::run(context, &command)),
        Command::Top(args) => client()?.block_on(top::run(context, &args)),
        Command::Check(args) => client()?.block_on(check::run(context, &args)),
        Command::Completion(args) => completion::run(&args),
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
