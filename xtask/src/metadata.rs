//! The workspace as cargo describes it (`cargo metadata`, format version 1), cut down to what xtask reads.
//!
//! The graph of third-party packages is left out: features are unified over the whole workspace in it, so it would
//! show edges that a single package does not have. Who needs a closure asks `cargo tree` for one package.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::run::Cmd;

/// The workspace.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Metadata {
    /// Its packages, in no particular order.
    pub(crate) packages: Vec<Package>,
    /// Where builds go.
    pub(crate) target_directory: PathBuf,
}

/// A package of the workspace.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Package {
    /// `quorate-NAME`, `quorate` or `xtask`.
    pub(crate) name: String,
    /// Its Cargo.toml.
    pub(crate) manifest_path: PathBuf,
    /// Its direct dependencies of every kind.
    pub(crate) dependencies: Vec<Dependency>,
    /// What it builds.
    pub(crate) targets: Vec<Target>,
}

/// A direct dependency.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Dependency {
    /// The package's name (not the name that it has in code).
    pub(crate) name: String,
    /// `None` for normal ones, else `dev` or `build`.
    pub(crate) kind: Option<String>,
}

/// A library, binary, test, example or benchmark.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Target {
    /// Its name.
    pub(crate) name: String,
    /// `lib`, `bin`, `test`, …
    pub(crate) kind: Vec<String>,
    /// The file that its code begins with.
    pub(crate) src_path: PathBuf,
}

// === impl Package ===

impl Package {
    /// The names of its targets of one kind.
    pub(crate) fn targets_of(&self, kind: &str) -> impl Iterator<Item = &str> {
        self.targets
            .iter()
            .filter(move |target| target.kind.iter().any(|k| k == kind))
            .map(|target| target.name.as_str())
    }
}

/// Reads the workspace of this manifest.
pub(crate) fn read(manifest: &Path) -> Result<Metadata> {
    let text = Cmd::cargo("metadata")
        .args(["--format-version", "1", "--no-deps", "--manifest-path"])
        .arg(manifest)
        .quiet()
        .output()
        .context("cannot read the workspace")?;
    serde_json::from_str(&text).context("cargo metadata answered something unexpected")
}
