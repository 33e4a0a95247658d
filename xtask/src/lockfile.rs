//! The lock files of the two workspaces: this one, and the fuzz targets' (which stay out of it because they link a
//! fuzzer).
//!
//! Both are committed, and every build uses `--locked`. When the fuzz targets' no longer fits, it is made again from
//! the workspace's, so that the same versions are fuzzed that are shipped.

use std::fs;

use anyhow::{Context as _, Result};

use crate::{output, repo::Repo};

/// The manifest of the fuzz targets.
pub(crate) const FUZZ_MANIFEST: &str = "tests/fuzz/Cargo.toml";

/// Every workspace and its lock.
const WORKSPACES: [(&str, &str); 2] = [("Cargo.toml", "Cargo.lock"), (FUZZ_MANIFEST, "tests/fuzz/Cargo.lock")];

/// Both lock files fit their manifests.
pub(crate) fn check(repo: &Repo) -> Result<()> {
    for (manifest, lock) in WORKSPACES {
        resolve(repo, manifest, true).with_context(|| format!("{lock} does not fit: run `cargo xtask fix`"))?;
        output::line(&format!("{lock} fits"));
    }
    Ok(())
}

/// Makes both fit, with as few changes as possible.
pub(crate) fn fix(repo: &Repo) -> Result<()> {
    resolve(repo, "Cargo.toml", false)?;
    if resolve(repo, FUZZ_MANIFEST, true).is_ok() {
        return Ok(());
    }
    let (from, to) = (repo.root().join(WORKSPACES[0].1), repo.root().join(WORKSPACES[1].1));
    fs::copy(&from, &to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    resolve(repo, FUZZ_MANIFEST, false)?;
    output::line(&format!("wrote {}", to.display()));
    Ok(())
}

fn resolve(repo: &Repo, manifest: &str, locked: bool) -> Result<()> {
    let locked: &[&str] = if locked { &["--locked"] } else { &[] };
    let metadata = repo.cargo("metadata").args(["--format-version", "1", "--manifest-path", manifest]);
    metadata.args(locked).quiet().output().map(drop)
}
