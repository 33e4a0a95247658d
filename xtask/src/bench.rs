//! `cargo xtask bench`: the numbers, from release builds.
//!
//! Builds the binary and the load generator as they are shipped and hands everything after `--` to the load generator,
//! which prints its table and JSON (`-- --help` tells what it takes).

use anyhow::Result;
use clap::Args;

use crate::{repo::Repo, run::Cmd};

/// How to measure.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Arguments for the load generator.
    #[arg(last = true)]
    arguments: Vec<String>,
}

pub(crate) fn run(repo: &Repo, options: &Options) -> Result<()> {
    repo.cargo("build").args(["--locked", "--release", "--package", "quorate", "--package", "quorate-bench"]).run()?;
    let bench = repo.target().join("release/quorate-bench");
    Cmd::new(bench).dir(repo.root()).args(&options.arguments).run()
}
