//! `cargo xtask`: everything that is done to this repository by command.
//!
//! One module per subcommand; this file only reads the command line and turns the outcome into an exit code: 0 when
//! everything passed, 1 when a check or a test failed, 2 for a wrong command line. Whatever a command runs is printed
//! with its duration, and nothing is left out without a line that says so.

mod bench;
mod chaos;
mod fix;
mod fuzz;
mod lockfile;
mod metadata;
mod output;
mod packages;
mod repo;
mod run;
mod said;
mod steps;
mod system;
mod test;
mod tidy;
mod tools;
mod verify;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::repo::Repo;

/// Automation of this repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Checks what the compiler cannot: layers, purity, sizes, headers, shapes; prints the numbers of the house.
    Tidy,
    /// Checks everything that needs no test run: fmt, clippy, rustdoc, tidy, dependencies. Changes nothing.
    Verify,
    /// Rewrites what a program can put right: fmt, clippy's suggestions, generated settings, lock files.
    Fix(fix::Options),
    /// Runs the tests: unit, chaos, fuzz, interop, conformance.
    Test(test::Options),
    /// Fuzzes the parsers that read the network.
    Fuzz(fuzz::Options),
    /// Kills nodes of a cluster under sessions whose clients check every event (as shipped: the profile dist).
    Chaos(chaos::Options),
    /// Measures CPU time, latency and memory beside a direct connection (as shipped: the profile dist).
    Bench(bench::Options),
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    let repo = Repo::find()?;
    match cli.task {
        Task::Tidy => tidy::run(&repo),
        Task::Verify => verify::run(&repo),
        Task::Fix(options) => fix::run(&repo, &options),
        Task::Test(options) => test::run(&repo, &options),
        Task::Fuzz(options) => fuzz::run(&repo, &options),
        Task::Chaos(options) => chaos::run(&repo, &options),
        Task::Bench(options) => bench::run(&repo, &options),
    }
}
