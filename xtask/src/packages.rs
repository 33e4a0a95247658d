//! The npm and PyPI packages that tests need: exactly the committed versions, installed below the target folder.
//!
//! What is installed is what the lock files say. A stamp beside an installation holds the lock it was made from, so
//! that a run with the same lock installs nothing and a changed lock starts from an empty folder. Registries are those
//! that npm and pip are set to: no lock names a host, and what arrives is held against the hashes in the lock.

use std::{
    env,
    ffi::OsString,
    fs,
    num::NonZero,
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context as _, Result};

use crate::{
    output,
    repo::Repo,
    run::Cmd,
    system::{self, CXX, GIT, HAPROXY, MAKE, NPM, PYTHON},
};

/// The file that says what an installation was made from.
const STAMP: &str = "installed-from";

/// The folders with a package.json and its lock.
const NPM_FOLDERS: [&str; 5] =
    ["tests/conformance", "tests/interop/ts", "tests/openapi", "tests/identity/idp", "tests/sdks/ts"];

/// Where a package of documents has them with every reference written out: 340 MB that no test reads.
const EXPANDED: (&str, &str) = ("node_modules/@octokit/openapi/generated", ".deref.json");

/// The Python environments of the interop tests: one per major version of MCP's SDK, which exclude each other.
const INTEROP: [Environment; 2] = [
    Environment {
        requirements: "tests/interop/python/requirements.txt",
        lock: "tests/interop/python/requirements.lock",
        folder: "venv",
    },
    Environment {
        requirements: "tests/interop/python/requirements-v1.txt",
        lock: "tests/interop/python/requirements-v1.lock",
        folder: "venv-v1",
    },
];

/// That of the clients of models.
const SDKS: [Environment; 1] = [Environment {
    requirements: "tests/sdks/python/requirements.txt",
    lock: "tests/sdks/python/requirements.lock",
    folder: "venv",
}];

/// Those of the gateways that numbers stand beside, of which one wants versions of its own.
const PEERS: [Environment; 2] = [
    Environment {
        requirements: "crates/bench/peers/requirements.txt",
        lock: "crates/bench/peers/requirements.lock",
        folder: "venv",
    },
    Environment {
        requirements: "crates/bench/peers/requirements-litellm.txt",
        lock: "crates/bench/peers/requirements-litellm.lock",
        folder: "venv-litellm",
    },
];

/// What is asked for and its lock, of the engine: first what builds it, which has to be there before it, then itself.
const ENGINE: [(&str, &str); 2] = [
    ("tests/engines/python/requirements-build.txt", "tests/engines/python/requirements-build.lock"),
    ("tests/engines/python/requirements.txt", "tests/engines/python/requirements.lock"),
];

/// How the engine is built: its server and no library, without what it would fetch, which is its page, and without TLS,
/// so that it can fetch nothing. A model as small as ours needs no optimizer, which takes most of the time.
const ENGINE_FLAGS: [&str; 11] = [
    "-DCMAKE_BUILD_TYPE=Release",
    "-DCMAKE_C_FLAGS_RELEASE=-O1",
    "-DCMAKE_CXX_FLAGS_RELEASE=-O1",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DGGML_OPENMP=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_OPENSSL=OFF",
];

/// Writes the locks of the environments.
const PIP_TOOLS: &str = "pip-tools==7.6.2";

/// A Python environment.
#[derive(Debug, Clone, Copy)]
struct Environment {
    /// The packages that are asked for.
    requirements: &'static str,
    /// Those and all that come with them, with the hashes of their files for every platform.
    lock: &'static str,
    /// Where it is, in the installation.
    folder: &'static str,
}

/// Installs the conformance suite; gives back the folder that has its `node_modules`.
pub(crate) fn conformance(repo: &Repo) -> Result<PathBuf> {
    system::ensure(HAPROXY)?;
    let folder = repo.target().join("conformance");
    npm(&repo.root().join(NPM_FOLDERS[0]), &folder)?;
    Ok(folder)
}

/// Installs the clients and servers of the interop tests; gives back the folder that has `node_modules`, the drivers
/// beside it (Node resolves packages from where a script lies) and the Python environments.
pub(crate) fn interop(repo: &Repo) -> Result<PathBuf> {
    system::ensure(GIT)?;
    let folder = repo.target().join("interop");
    let scripts = repo.root().join(NPM_FOLDERS[1]);
    npm(&scripts, &folder)?;
    copy_files(&scripts, &folder)?;
    environments(repo, &INTEROP, &folder)?;
    Ok(folder)
}

/// Installs the documents of the OpenAPI tests; gives back the folder that has their `node_modules`.
pub(crate) fn openapi(repo: &Repo) -> Result<PathBuf> {
    let folder = repo.target().join("openapi");
    npm(&repo.root().join(NPM_FOLDERS[2]), &folder)?;
    let (documents, end) = EXPANDED;
    let documents = folder.join(documents);
    for entry in fs::read_dir(&documents).with_context(|| format!("cannot read {}", documents.display()))? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(end) {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(folder)
}

/// Installs the identity provider; gives back the folder that has its `node_modules`.
pub(crate) fn identity(repo: &Repo) -> Result<PathBuf> {
    let folder = repo.target().join("identity");
    npm(&repo.root().join(NPM_FOLDERS[3]), &folder)?;
    Ok(folder)
}

/// Installs the clients of models; gives back the folder that has `node_modules`, the drivers beside it and the Python
/// environment.
pub(crate) fn models(repo: &Repo) -> Result<PathBuf> {
    let folder = repo.target().join("models");
    let scripts = repo.root().join(NPM_FOLDERS[4]);
    npm(&scripts, &folder)?;
    copy_files(&scripts, &folder)?;
    environments(repo, &SDKS, &folder)?;
    Ok(folder)
}

/// Builds and installs the engine and what writes its models; gives back the folder that has the Python environment.
pub(crate) fn engines(repo: &Repo) -> Result<PathBuf> {
    for program in [PYTHON, CXX, MAKE] {
        system::ensure(program)?;
    }
    let folder = repo.target().join("engines");
    let venv = folder.join("venv");
    let locks = ENGINE.map(|(_, lock)| repo.root().join(lock));
    let text = locks.iter().map(|lock| read(lock)).collect::<Result<Vec<_>>>()?.concat();
    install_once(&venv, &[text, ENGINE_FLAGS.join(" ")].concat(), || {
        Cmd::new("python3").args(["-m", "venv"]).arg(&venv).run()?;
        let locked = |lock: &Path| pip(&venv).args(["--require-hashes", "--no-deps", "--requirement"]).arg(lock);
        let [builders, engine] = &locks;
        locked(builders).run()?;
        // With an environment of its own for the build, pip would fetch what no lock names.
        let build = locked(engine).arg("--no-build-isolation").env("PATH", path_with(&venv.join("bin"))?);
        let jobs = thread::available_parallelism().map_or(1, NonZero::get);
        build.env("CMAKE_ARGS", ENGINE_FLAGS.join(" ")).env("LLAMA_CPP_BUILD_JOBS", jobs.to_string()).run()
    })?;
    Ok(folder)
}

/// Installs the gateways that calls of models are measured beside; gives back the folder that has their environments.
pub(crate) fn peers(repo: &Repo) -> Result<PathBuf> {
    system::ensure(HAPROXY)?;
    let folder = repo.target().join("peers");
    environments(repo, &PEERS, &folder)?;
    Ok(folder)
}

/// Writes the locks anew from what is asked for.
pub(crate) fn write_locks(repo: &Repo) -> Result<()> {
    system::ensure(NPM)?;
    for folder in NPM_FOLDERS {
        let install =
            ["install", "--package-lock-only", "--omit-lockfile-registry-resolved", "--no-audit", "--no-fund"];
        Cmd::new("npm").args(install).arg("--loglevel=error").dir(&repo.root().join(folder)).run()?;
    }

    system::ensure(PYTHON)?;
    let folder = repo.target().join("interop/venv-for-lock");
    Cmd::new("python3").args(["-m", "venv", "--clear"]).arg(&folder).run()?;
    pip(&folder).arg(PIP_TOOLS).run()?;
    let environments = INTEROP.into_iter().chain(SDKS).chain(PEERS);
    let environments = environments.map(|environment| (environment.requirements, environment.lock));
    for (requirements, lock) in environments.chain(ENGINE) {
        let compile = Cmd::new(folder.join("bin/pip-compile")).args(["--quiet", "--generate-hashes", "--strip-extras"]);
        let compile = compile.args(["--allow-unsafe", "--no-annotate", "--no-header"]);
        let compile = compile.args(["--no-emit-index-url", "--no-emit-trusted-host", "--no-emit-find-links"]);
        compile.arg("--output-file").args([lock, requirements]).dir(repo.root()).run()?;
    }
    fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))
}

fn npm(source: &Path, folder: &Path) -> Result<()> {
    system::ensure(NPM)?;
    let lock = read(&source.join("package-lock.json"))?;
    let modules = folder.join("node_modules");
    install_once(&modules, &lock, || {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        for file in ["package.json", "package-lock.json"] {
            copy(&source.join(file), &folder.join(file))?;
        }
        // No script of a package runs: what is installed is what the lock says, and nothing that a script fetches.
        let install = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
        Cmd::new("npm").args(install).dir(folder).run()
    })
}

fn environments(repo: &Repo, environments: &[Environment], folder: &Path) -> Result<()> {
    environments
        .iter()
        .try_for_each(|environment| python(&repo.root().join(environment.lock), &folder.join(environment.folder)))
}

fn python(lock: &Path, folder: &Path) -> Result<()> {
    system::ensure(PYTHON)?;
    install_once(folder, &read(lock)?, || {
        Cmd::new("python3").args(["-m", "venv"]).arg(folder).run()?;
        pip(folder).args(["--require-hashes", "--no-deps", "--requirement"]).arg(lock).run()
    })
}

/// `pip install` of an environment.
fn pip(environment: &Path) -> Cmd {
    let install = ["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"];
    Cmd::new(environment.join("bin/python")).args(install)
}

/// The folders in which programs are looked for, this one first.
fn path_with(folder: &Path) -> Result<OsString> {
    let others = env::var_os("PATH").unwrap_or_default();
    let folders = [folder.to_owned()].into_iter().chain(env::split_paths(&others));
    env::join_paths(folders).with_context(|| format!("{} cannot be on the path", folder.display()))
}

/// Runs `install` unless `folder` was made from the same lock; it begins without the folder.
fn install_once(folder: &Path, lock: &str, install: impl FnOnce() -> Result<()>) -> Result<()> {
    let stamp = folder.join(STAMP);
    if fs::read_to_string(&stamp).ok().as_deref() == Some(lock) {
        output::line(&format!("{} is up to date", folder.display()));
        return Ok(());
    }
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    install()?;
    fs::write(&stamp, lock).with_context(|| format!("cannot write {}", stamp.display()))
}

/// Copies the files, not the folders, of one folder into another.
fn copy_files(source: &Path, folder: &Path) -> Result<()> {
    for entry in fs::read_dir(source).with_context(|| format!("cannot read {}", source.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            copy(&entry.path(), &folder.join(entry.file_name()))?;
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn an_installation_is_made_once_per_lock_and_begins_empty() -> Result<()> {
        let root = tempfile::tempdir()?;
        let folder = root.path().join("modules");
        let made = std::cell::Cell::new(0);
        let install = || {
            made.set(made.get() + 1);
            assert!(!folder.exists());
            Ok(fs::create_dir(&folder)?)
        };

        install_once(&folder, "one", install)?;
        install_once(&folder, "one", install)?;
        install_once(&folder, "two", install)?;

        assert_eq!(made.get(), 2);
        Ok(())
    }

    #[test]
    fn a_failed_installation_is_tried_again() -> Result<()> {
        let root = tempfile::tempdir()?;
        let folder = root.path().join("modules");
        let half = || {
            fs::create_dir(&folder)?;
            Err(anyhow!("the network went away"))
        };

        assert!(install_once(&folder, "one", half).is_err());
        install_once(&folder, "one", || Ok(fs::create_dir(&folder)?))?;

        assert!(folder.join(STAMP).is_file());
        Ok(())
    }
}
