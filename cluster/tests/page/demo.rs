//! `quorate demo`, the first command of the README, as a new user runs it: it has to end well, and to have shown all of its faults.
//!
//! What it prints is read as a person reads it: the table with a row for each fault, and zeros where nothing was lost or doubled.

use std::process::Command;

use anyhow::{Context as _, ensure};
use quorate_cluster::paths;

use crate::alone;

const TITLES: &[&str] = &["FAULT", "PAUSE", "SENT", "RECEIVED", "LOST", "DOUBLED", "CALLS", "EXECUTED"];
/// The rows of the table, with how many events each call sends.
const FAULTS: &[(&str, &str)] =
    &[("kill -9, client elsewhere", "50"), ("kill -9, client there", "50"), ("drain, client there", "100")];

#[test]
fn the_demo_loses_nothing_and_runs_each_call_once() -> anyhow::Result<()> {
    let _alone = alone();
    let folder = tempfile::tempdir()?;
    let demo = Command::new(paths::binary("quorate")?).arg("demo").env("TMPDIR", folder.path()).output()?;
    let (output, errors) = (String::from_utf8(demo.stdout)?, String::from_utf8(demo.stderr)?);
    let said = format!("{}\n{output}{errors}", demo.status);

    ensure!(demo.status.success(), "{said}");
    let table = output.lines().skip_while(|line| !line.starts_with("FAULT")).collect::<Vec<_>>();
    ensure!(table.first().context("there is a table")?.split_whitespace().eq(TITLES.iter().copied()), "{said}");
    for ((fault, events), row) in FAULTS.iter().zip(&table[1..]) {
        let row = row.strip_prefix(fault).with_context(|| format!("no row of {fault}: {said}"))?;
        let cells: Vec<&str> = row.split_whitespace().collect();
        let [_pause, "ms", sent, received, "0", "0", "1", "1"] = cells.as_slice() else {
            anyhow::bail!("{fault}: {said}");
        };
        ensure!(sent == events && received == events, "{fault}: {said}");
    }
    for told in ["SIGKILL to node-", "drain of node-", "through node-", "is back and has caught up", "takes work again"]
    {
        ensure!(output.contains(told), "no {told:?}: {said}");
    }
    let left: Vec<_> = std::fs::read_dir(folder.path())?.collect();
    ensure!(left.is_empty(), "files are left: {left:?}");
    Ok(())
}
