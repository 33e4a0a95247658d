//! `cargo xtask bench`: the numbers, from builds as they are shipped (the profile `dist`).
//!
//! Builds the binary and the load generator as they are shipped and hands everything after `--` to the load generator,
//! which prints its table and JSON (`-- --help` tells what it takes). Without arguments it measures everything.

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
    repo.cargo("build")
        .args(["--locked", "--profile", "dist", "--package", "quorate", "--package", "quorate-bench"])
        .run()?;
    let bench = repo.target().join("dist/quorate-bench");
    let measure = ["run".to_owned()];
    let arguments = if options.arguments.is_empty() { &measure[..] } else { &options.arguments };
    Cmd::new(bench).dir(repo.root()).args(arguments).run()
}
