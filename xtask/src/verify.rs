//! `cargo xtask verify`: every check that needs no test run.
//!
//! It reads only: what it finds wrong, `cargo xtask fix` or a person puts right. All steps run, so that one run shows
//! everything.

use anyhow::{Context as _, Result};

use crate::{
    lockfile,
    repo::Repo,
    run::Cmd,
    steps::Steps,
    tidy,
    tools::{self, DENY},
};

pub(crate) fn run(repo: &Repo) -> Result<()> {
    let mut steps = Steps::new();
    steps.run("lock files", || lockfile::check(repo));
    steps.run("fmt", || fmt(repo));
    steps.run("tidy", || tidy::run(repo));
    steps.run("clippy", || clippy(repo));
    steps.run("rustdoc", || rustdoc(repo));
    steps.run("dependencies", || dependencies(repo));
    steps.finish("verify")
}

fn fmt(repo: &Repo) -> Result<()> {
    let hint = "run `cargo xtask fix`";
    repo.cargo("fmt").args(["--all", "--check"]).run().context(hint)?;
    repo.cargo("fmt").args(["--check", "--manifest-path", lockfile::FUZZ_MANIFEST]).run().context(hint)
}

fn clippy(repo: &Repo) -> Result<()> {
    repo.cargo("clippy").args(["--locked", "--workspace", "--all-targets", "--", "--deny", "warnings"]).run()
}

/// With private items: the documentation is for those who work on this, and headers link to where the work is done.
fn rustdoc(repo: &Repo) -> Result<()> {
    let doc = repo.cargo("doc").args(["--locked", "--workspace", "--no-deps", "--document-private-items"]);
    doc.env("RUSTDOCFLAGS", "--deny warnings --allow rustdoc::private-intra-doc-links").run()
}

fn dependencies(repo: &Repo) -> Result<()> {
    let deny = tools::ensure(repo, DENY)?;
    Cmd::new(deny).dir(repo.root()).args(["--locked", "check", "bans", "licenses", "sources"]).run()
}
