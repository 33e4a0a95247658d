//! `cargo xtask fix`: what a program can put right.
//!
//! Lock files, the clippy settings of the pure crates, clippy's own suggestions, formatting; in this order, since each
//! can change what the next one reads. Works on a dirty checkout: looking at the difference is the caller's part.

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::{lockfile, packages, repo::Repo, steps::Steps, tidy};

/// What to fix.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Fixes these parts only (repeatable); all of them when not given.
    #[arg(long, value_enum, value_name = "PART")]
    only: Vec<Part>,

    /// Writes the locks of the npm and PyPI packages anew as well (asks the registries).
    #[arg(long)]
    packages: bool,
}

/// A part of what is fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Cargo.lock, of the workspace and of the fuzz targets.
    Locks,
    /// The clippy settings of the pure crates.
    Settings,
    /// Clippy's own suggestions.
    Clippy,
    /// Formatting.
    Fmt,
}

pub(crate) fn run(repo: &Repo, options: &Options) -> Result<()> {
    let mut steps = Steps::new();
    if options.packages {
        steps.run("package locks", || packages::write_locks(repo));
    }
    let parts = if options.only.is_empty() { Part::value_variants() } else { &options.only };
    for part in parts {
        steps.run(part.name(), || part.fix(repo));
    }
    steps.finish("fix")
}

// === impl Part ===

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Locks => "lock files",
            Self::Settings => "clippy settings",
            Self::Clippy => "clippy",
            Self::Fmt => "fmt",
        }
    }

    fn fix(self, repo: &Repo) -> Result<()> {
        match self {
            Self::Locks => lockfile::fix(repo),
            Self::Settings => tidy::write_clippy_settings(repo),
            Self::Clippy => repo
                .cargo("clippy")
                .args(["--workspace", "--all-targets", "--fix", "--allow-dirty", "--allow-staged"])
                .run(),
            Self::Fmt => {
                repo.cargo("fmt").arg("--all").run()?;
                repo.cargo("fmt").args(["--manifest-path", lockfile::FUZZ_MANIFEST]).run()
            }
        }
    }
}
