//! Where this repository is, and where its build products go.
//!
//! The root is known from where xtask was compiled, so that `cargo xtask` works from every folder. Everything that is
//! installed or generated goes below the target folder: a checkout that is cleaned with `cargo clean` is a fresh one.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::{
    metadata::{self, Metadata},
    run::Cmd,
};

/// The repository that xtask works on.
#[derive(Debug, Clone)]
pub(crate) struct Repo {
    root: PathBuf,
    metadata: Metadata,
}

// === impl Repo ===

impl Repo {
    /// Finds the repository and reads its workspace.
    pub(crate) fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask is a folder of the repository")?;
        ensure!(root.join("Cargo.toml").is_file(), "{} is no longer there: build xtask again", root.display());
        let metadata = metadata::read(&root.join("Cargo.toml"))?;
        Ok(Self { root: root.to_owned(), metadata })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The target folder of the workspace.
    pub(crate) fn target(&self) -> &Path {
        &self.metadata.target_directory
    }

    /// `cargo SUBCOMMAND` in the root of the repository.
    pub(crate) fn cargo(&self, subcommand: &str) -> Cmd {
        Cmd::cargo(subcommand).dir(&self.root)
    }

    /// Where the development builds of the binaries are.
    pub(crate) fn binaries(&self) -> PathBuf {
        self.target().join("debug")
    }
}
