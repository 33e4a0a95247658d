//! The program `quorate-chaos` as whoever runs it sees it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::ensure;
use quorate_cluster::process::Process;
use quorate_cluster::{paths, wait};

/// Longer than anything takes here on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// The command lines of processes that name a folder.
fn processes_of(folder: &Path) -> anyhow::Result<Vec<String>> {
    let folder = folder.display().to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        // One that has ended since has no command line.
        let Ok(line) = fs::read(entry?.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        found.extend(line.contains(&folder).then_some(line));
    }
    Ok(found)
}

/// It ended without a word, and its nodes ran on.
#[test]
fn one_that_is_asked_to_stop_says_what_it_saw_and_leaves_nothing_behind() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut command = Command::new(paths::binary("quorate-chaos")?);
    command.args(["--kills", "100000", "--sessions", "2", "--seed", "3"]).env("TMPDIR", folder.path());
    let mut chaos = Process::start("quorate-chaos", &mut command)?;
    // Three nodes and three counters.
    wait::until("a cluster", PATIENCE, || {
        let running = processes_of(folder.path())?;
        ensure!(running.len() >= 6, "{running:?}");
        Ok(())
    })?;

    let status = chaos.terminate(PATIENCE)?;

    let said = chaos.output().join("\n");
    ensure!(status.code() == Some(1), "{status}: {said}");
    ensure!(said.contains("| nodes killed (SIGKILL) | "), "{said}");
    ensure!(said.contains(" of 100000 kills in ") && said.contains("s: asked to stop"), "{said}");
    ensure!(!said.contains("VIOLATION"), "{said}");
    let left = processes_of(folder.path())?;
    ensure!(left.is_empty(), "{left:?}");
    ensure!(fs::read_dir(folder.path())?.next().is_none(), "the folder of the cluster is there");
    Ok(())
}
