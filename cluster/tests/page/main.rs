//! The page about operating a cluster, followed as a new user follows it: each command of its blocks, in its order.
//!
//! What every command must answer stands in one table. A command of the page that is not in the table, and one of the table
//! that is not on the page, fail the test, so that neither goes its own way. Addresses and folders of other machines are
//! replaced by such of this one; nothing else is changed.

mod demo;
mod page;
mod shell;
mod walk;

use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use quorate_cluster::process::Process;
use quorate_cluster::{paths, wait};
use serde_json::Value;

/// Longer than anything that a cluster does takes on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// What a local cluster is given here: free ports, and as few shards as a loaded machine bears well.
pub(crate) const HERE: &str = "--shards 4 --listen 127.0.0.1:0 --admin 127.0.0.1:0";

/// Only one cluster at a time: two take each other's time for elections.
static ALONE: Mutex<()> = Mutex::new(());

/// Waits for the turn of a test.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a cluster of three in a folder and waits until it says that it is up.
fn up(folder: &std::path::Path) -> anyhow::Result<Process> {
    let mut command = Command::new(paths::binary("quorate")?);
    command.args(["up", "--nodes", "3", "--data-dir", "trial"]).args(HERE.split(' '));
    let mut up = Process::start("up", command.current_dir(folder))?;
    up.line(PATIENCE, |line| line.contains("a cluster of 3 nodes is up").then_some(()))?;
    Ok(up)
}

/// The addresses of one kind that the nodes of a local cluster have.
fn addresses(folder: &std::path::Path, kind: &str) -> anyhow::Result<Vec<String>> {
    let plan: Value = serde_json::from_str(&std::fs::read_to_string(folder.join("trial/nodes.json"))?)?;
    let nodes = plan["nodes"].as_array().context("there are nodes")?;
    nodes.iter().map(|node| node[kind].as_str().map(str::to_owned).context("it has an address")).collect()
}

#[test]
fn the_nodes_of_a_local_cluster_end_with_it_also_when_it_is_killed() -> anyhow::Result<()> {
    let _alone = alone();
    let folder = tempfile::tempdir()?;
    let first = up(folder.path())?;
    let of = |kind| addresses(folder.path(), kind);
    let all = [of("listen")?, of("admin")?, of("peer")?].concat();
    ensure!(all.len() == 9, "{all:?}");
    for address in &all {
        std::net::TcpStream::connect(address).with_context(|| format!("a node listens on {address}"))?;
    }
    let mut status = Command::new(paths::binary("quorate")?);
    status.args(["--context", "trial/context.yaml", "cluster", "status", "-o", "json"]).current_dir(folder.path());
    let told = status.output()?;
    let told: Value = serde_json::from_slice(&told.stdout).context("a status is JSON")?;
    ensure!(told["nodes"].as_array().is_some_and(|nodes| nodes.len() == 3), "{told:#}");

    // SIGKILL: it has no moment to tell them.
    drop(first);

    wait::until("the end of all nodes", PATIENCE, || {
        let alive = all.iter().find(|address| std::net::TcpStream::connect(address).is_ok());
        ensure!(alive.is_none(), "{alive:?} is still listened on");
        Ok(())
    })?;
    // Nothing of them holds the folders.
    up(folder.path())?.terminate(PATIENCE)?;
    Ok(())
}
