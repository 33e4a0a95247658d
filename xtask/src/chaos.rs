//! `cargo xtask chaos`: nodes of a cluster are killed under sessions, as `docs/src/chaos.md` says.
//!
//! From builds as they are shipped (the profile `dist`), with as many kills as asked for. The tests run a short one from the
//! builds that they have ([`smoke`]), in which the number of kills is fixed and the time is bounded, so that a slow machine shows it.

use anyhow::Result;
use clap::Args;

use crate::{repo::Repo, run::Cmd};

/// The program, and those that it starts.
pub(crate) const BINARIES: [&str; 3] = ["quorate-chaos", "quorate", "mcp-counter"];

/// Kills of the short run.
const SMOKE_KILLS: &str = "100";

/// Sessions at a time in the short run: on two cores, builds of tests take 265 s with them, and 300 s with 12.
const SMOKE_SESSIONS: &str = "8";

/// The longest that the kills of the short run may take, in seconds.
const SMOKE_SECONDS: &str = "360";

/// What to run.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Nodes that are killed.
    #[arg(long, default_value_t = 2_000)]
    kills: u32,
    /// What everything is drawn from. Default: the time.
    #[arg(long)]
    seed: Option<u64>,
    /// Sessions at a time.
    #[arg(long, default_value_t = 48)]
    sessions: u64,
}

pub(crate) fn run(repo: &Repo, options: &Options) -> Result<()> {
    let bins = BINARIES.iter().flat_map(|name| ["--bin", name]);
    repo.cargo("build").args(["--locked", "--profile", "dist", "--workspace"]).args(bins).run()?;
    let folder = repo.target().join("dist");
    let (kills, sessions) = (options.kills.to_string(), options.sessions.to_string());
    let chaos = Cmd::new(folder.join(BINARIES[0])).dir(repo.root()).env("QUORATE_TEST_BIN_DIR", &folder);
    let chaos = chaos.args(["--kills", &kills, "--sessions", &sessions]);
    let chaos = chaos.arg("--logs").arg(repo.target().join("chaos"));
    match options.seed {
        Some(seed) => chaos.args(["--seed", &seed.to_string()]).replace(),
        None => chaos.replace(),
    }
}

/// Runs a short one from the builds of the tests.
pub(crate) fn smoke(repo: &Repo) -> Result<()> {
    let folder = repo.binaries();
    let chaos = Cmd::new(folder.join(BINARIES[0])).dir(repo.root()).env("QUORATE_TEST_BIN_DIR", &folder);
    let chaos = chaos.args(["--kills", SMOKE_KILLS, "--seconds-max", SMOKE_SECONDS, "--sessions", SMOKE_SESSIONS]);
    chaos.arg("--logs").arg(repo.target().join("chaos")).run()
}
