//! The cargo tools that checks need, in pinned versions: from the path when it has that version, else installed below
//! the target folder.
//!
//! They are built for a short build rather than for speed (each runs for seconds): with their own release profile
//! cargo-deny alone would take several minutes of link-time optimisation on two cores. A new version here is a new
//! folder, so that an old one is never taken for it.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};

use crate::{output, repo::Repo, run::Cmd};

/// A tool from crates.io whose package and binary share their name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tool {
    name: &'static str,
    version: &'static str,
}

/// Bans, licences and sources of dependencies.
pub(crate) const DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2" };

/// Builds and runs fuzz targets.
pub(crate) const FUZZ: Tool = Tool { name: "cargo-fuzz", version: "0.13.2" };

/// A profile that compiles fast.
const FAST_PROFILE: [(&str, &str); 4] = [
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "false"),
];

/// The path of the tool's binary, after installing it where needed.
pub(crate) fn ensure(repo: &Repo, tool: Tool) -> Result<PathBuf> {
    let Tool { name, version } = tool;
    if version_of(PathBuf::from(name)).as_deref() == Some(version) {
        return Ok(PathBuf::from(name));
    }
    let folder = repo.target().join("tools").join(format!("{name}-{version}"));
    let binary = folder.join("bin").join(name);
    if version_of(binary.clone()).as_deref() == Some(version) {
        return Ok(binary);
    }
    output::line(&format!("{name} {version} is not installed: building it into {}", folder.display()));
    let build = folder.join("build");
    let mut install = repo
        .cargo("install")
        .args(["--quiet", "--locked", "--force", "--version", &format!("={version}"), "--root"])
        .arg(&folder)
        .arg(name)
        .env("CARGO_TARGET_DIR", &build);
    for (variable, value) in FAST_PROFILE {
        install = install.env(variable, value);
    }
    install.run().with_context(|| format!("cannot install {name}"))?;
    fs::remove_dir_all(&build).with_context(|| format!("cannot remove {}", build.display()))?;
    Ok(binary)
}

/// The version that a binary claims; `None` when it does not run.
fn version_of(binary: PathBuf) -> Option<String> {
    let answer = Cmd::new(binary).arg("--version").quiet().output().ok()?;
    answer.split_whitespace().nth(1).map(str::to_owned)
}
