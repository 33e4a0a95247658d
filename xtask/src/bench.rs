//! `cargo xtask bench`: the numbers, from builds as they are shipped (the profile `dist`).
//!
//! Builds the binary and the load generator as they are shipped and hands everything after `--` to the load generator,
//! which prints its table and JSON (`-- --help` tells what it takes). Without arguments it measures calls of tools; what is measured beside
//! gateways of others (`-- models`) gets them installed, as their lock files say.

use anyhow::Result;
use clap::Args;

use crate::{packages, repo::Repo, run::Cmd};

/// The option that names the gateways of others.
const PEERS: &str = "--peers";

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
    let mut arguments = options.arguments.clone();
    if arguments.is_empty() {
        arguments.push("run".to_owned());
    }
    let names_peers =
        arguments.iter().any(|argument| argument.split('=').next() == Some(PEERS) || argument == "--help");
    if arguments[0] == "models" && !names_peers {
        arguments.extend([PEERS.to_owned(), packages::peers(repo)?.display().to_string()]);
    }
    Cmd::new(bench).dir(repo.root()).args(&arguments).run()
}
