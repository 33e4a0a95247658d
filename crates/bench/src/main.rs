//! What a request through the mesh costs, beside a direct connection, in one run.
//!
//! And what consensus costs beside etcd (`cluster`, which has nodes and writers of its own).
//!
//! One binary, several kinds of process, so that nothing measures itself: `backend` is a tool server
//! that does next to nothing, `stdio` is the same as a program, `load` sends requests and checks every answer, `flood` sends
//! those of strangers, `provider` answers as providers of models do, and `run` starts them and a gateway, reads the gateway's CPU time and memory from the kernel, and prints the table.
//! Everything is on loopback, and bounded in count and time. The method is in docs/src/numbers.md.

mod api;
mod backend;
mod bounded;
mod client;
mod cluster;
mod load;
mod message;
mod models;
mod prompt;
mod provider;
mod run;
mod sessions;
mod stdio;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::runtime::Builder;

/// Load generator and mock backend of the mesh.
#[derive(Debug, Parser)]
#[command(name = "quorate-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Which process to be.
#[derive(Debug, Subcommand)]
enum Command {
    /// Measure everything and print the table; ends with 1 when a number is below its floor.
    Run(run::Args),
    /// Measure consensus beside etcd and print the table; ends with 1 when a number is below its floor.
    Cluster(cluster::Args),
    /// Measure calls of models beside other gateways and print the table; ends with 1 when a number is below its floor.
    Models(models::Args),
    /// Measure sessions on a cluster and print the table; ends with 1 when a number is below its floor.
    Sessions(sessions::Args),
    /// Be many clients of sessions; does what lines on the standard input say.
    Crowd(sessions::crowd::Args),
    /// Be the tool server that tells of its progress, until the standard input ends.
    Ticker(sessions::ticker::Args),
    /// Hold many streams of models open, and say how late their chunks are.
    Streams(models::crowd::Args),
    /// Be a node of consensus alone, until the standard input ends.
    Node(cluster::NodeArgs),
    /// Put values, into a node or into etcd; waits for a line on the standard input before those that count.
    Writers(cluster::WritersArgs),
    /// Be the tool server behind the gateway, until the standard input ends.
    Backend(backend::Args),
    /// Be a provider of models that misbehaves as the name of the model says, until the standard input ends.
    Provider(provider::Args),
    /// Be the tool server as a program, on the standard streams.
    Stdio(stdio::Args),
    /// Send requests of one kind; waits for a line on the standard input before those that count.
    Load(load::Args),
    /// Come as strangers, with wrong credentials, between two lines on the standard input.
    Flood(load::flood::Args),
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    if let Command::Stdio(args) = &command {
        // Without a runtime: a program that serves one client needs none.
        return done(stdio::run(args));
    }
    // One thread each: the process that is measured gets the rest of the machine.
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("quorate-bench: cannot start the runtime: {error}");
            return ExitCode::from(2);
        }
    };
    let done = match command {
        Command::Run(args) => runtime.block_on(run::run(args)),
        Command::Cluster(args) => runtime.block_on(cluster::run(args)),
        Command::Models(args) => runtime.block_on(models::run(args)),
        Command::Streams(args) => runtime.block_on(models::crowd::run(args)),
        Command::Sessions(args) => runtime.block_on(sessions::run(args)),
        Command::Crowd(args) => runtime.block_on(sessions::crowd::run(args)),
        Command::Ticker(args) => runtime.block_on(sessions::ticker::run(args)),
        Command::Node(args) => runtime.block_on(cluster::node(args)),
        Command::Writers(args) => runtime.block_on(cluster::writers(args)),
        Command::Backend(args) => runtime.block_on(backend::run(args)),
        Command::Provider(args) => runtime.block_on(provider::run(args)),
        Command::Load(args) => runtime.block_on(load::run(args)),
        Command::Flood(args) => runtime.block_on(load::flood::run(args)),
        Command::Stdio(args) => stdio::run(&args),
    };
    // A read of the standard input that still waits must not hold the process.
    runtime.shutdown_background();
    self::done(done)
}

fn done(done: anyhow::Result<ExitCode>) -> ExitCode {
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("quorate-bench: {error:#}");
            ExitCode::from(2)
        }
    }
}
