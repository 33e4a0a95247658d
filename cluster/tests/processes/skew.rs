//! Data folders that earlier programs wrote.
//!
//! Each folder of `cluster/tests/golden` is a node that an earlier program made and stopped: its log, a snapshot, its keys and
//! certificates. Today's program starts on it. The certificates in it end, and so does, years later, the authority; neither may
//! keep a node that is alone from serving what it has. How one is made: `makes_a_golden_folder`, once for each format of the
//! disk, never again for one that was released.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use quorate_cluster::{Cluster, Options, Place, paths};
use serde_json::Value;

use crate::clocks::Clock;
use crate::world::{Source, applied, document, there};

/// The folder of the first format: feature level 1.
const FIRST: &str = "v1";

/// That of feature level 2: certificates of operators are listed, and one was revoked.
const SECOND: &str = "v2";

/// A certificate that nobody has, and that is revoked in the second folder.
const UNLISTED: [u8; 32] = [0x0a; 32];

fn golden(version: &str) -> PathBuf {
    paths::repository().join("cluster/tests/golden").join(version).join("node.tar.gz")
}

fn tar(args: &[&str], archive: &Path, folder: &Path) -> anyhow::Result<()> {
    let status = Command::new("tar").args(args).arg("-f").arg(archive).arg("-C").arg(folder).arg(".").status();
    ensure!(status.context("cannot run tar")?.success(), "tar {args:?} of {}", folder.display());
    Ok(())
}

/// A node on a copy of a golden folder, that is about to begin.
fn of_golden(version: &str) -> anyhow::Result<Cluster> {
    let mut cluster = Cluster::waiting(Options { nodes: 1, ..Options::default() })?;
    cluster.kill(0);
    let data = cluster.data(0).to_owned();
    fs::remove_dir_all(&data)?;
    fs::create_dir(&data)?;
    tar(&["-xpz"], &golden(version), &data)?;
    Ok(cluster)
}

/// Revisions that a node has the changes of.
fn revisions(cluster: &Cluster, place: Place) -> anyhow::Result<usize> {
    let said = cluster.local(place, &["history", "-o", "json"])?.success()?;
    let said: Value = serde_json::from_str(&said)?;
    Ok(said["revisions"].as_array().with_context(|| format!("{said:#}"))?.len())
}

/// What was there is there, and can be changed, also after another start.
fn is_whole(cluster: &mut Cluster) -> anyhow::Result<()> {
    cluster.begin(0)?;
    cluster.leader()?;
    applied(cluster, 0, &["snapshotted", "changed", "logged"])?;
    ensure!(!there(cluster, 0)?.contains("deleted"), "it was deleted");
    ensure!(revisions(cluster, 0)? == 6, "{} revisions", revisions(cluster, 0)?);
    let keys = cluster.local(0, &["get", "apikey", "-o", "json"])?.success()?;
    ensure!(keys.contains("\"agent\""), "{keys}");
    let file = Source::of(cluster).file(&["new"])?;
    cluster.local(0, &["apply", "-f", &file])?.success()?;
    cluster.stop(0)?;
    cluster.begin(0)?;
    applied(cluster, 0, &["snapshotted", "changed", "logged", "new"])
}

#[test]
fn a_folder_of_the_first_format_starts_and_has_everything() -> anyhow::Result<()> {
    let mut cluster = of_golden(FIRST)?;
    is_whole(&mut cluster)?;
    // It is raised to what today's program can do when that is needed, and stays so.
    ensure!(cluster.status(0)?["featureLevel"] == 1, "{:#}", cluster.status(0)?);
    revoke(&cluster)?;
    cluster.stop(0)?;
    cluster.begin(0)?;
    cluster.leader()?;
    ensure!(cluster.status(0)?["featureLevel"] == 2, "{:#}", cluster.status(0)?);
    is_revoked(&cluster)
}

#[test]
fn a_folder_of_the_second_format_starts_and_knows_who_was_revoked() -> anyhow::Result<()> {
    let mut cluster = of_golden(SECOND)?;
    // A few days after it was made: what was revoked is forgotten when no certificate lives as long.
    Clock::of(&mut cluster, 0)?.set("@2026-12-01 12:00:00")?;
    is_whole(&mut cluster)?;
    ensure!(cluster.status(0)?["featureLevel"] == 2, "{:#}", cluster.status(0)?);
    is_revoked(&cluster)
}

fn unlisted() -> String {
    UNLISTED.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn revoke(cluster: &Cluster) -> anyhow::Result<()> {
    cluster.local(0, &["cluster", "operator", "revoke", "--id", &unlisted()])?.success().map(drop)
}

fn is_revoked(cluster: &Cluster) -> anyhow::Result<()> {
    let said = cluster.local(0, &["cluster", "operator", "list", "-o", "json"])?.success()?;
    let listed: Value = serde_json::from_str(&said)?;
    let certificate = listed["operators"].as_array().into_iter().flatten().find(|one| one["id"] == unlisted());
    ensure!(certificate.is_some_and(|one| one["revokedAt"].is_string()), "{said}");
    Ok(())
}

#[test]
fn a_folder_whose_authority_has_ended_starts_and_has_everything() -> anyhow::Result<()> {
    let mut cluster = of_golden(FIRST)?;
    // An authority lives for ten years.
    Clock::of(&mut cluster, 0)?.set("+11y")?;
    is_whole(&mut cluster)?;
    let time = cluster.status(0)?["time"].clone();
    ensure!(time.as_str().is_some_and(|time| time > "2037"), "{time}");
    Ok(())
}

#[test]
#[ignore = "makes the golden folder of a new format"]
fn makes_a_golden_folder() -> anyhow::Result<()> {
    let archive = golden(SECOND);
    ensure!(!archive.exists(), "{} is there: what was released stays as it is", archive.display());
    let mut cluster = Cluster::start(Options { nodes: 1, shards: 2, ..Options::default() })?;
    for name in ["snapshotted", "deleted"] {
        document(&cluster, name)?;
    }
    cluster.operate(&["keys", "new", "--name", "agent"])?.success()?;
    revoke(&cluster)?;
    cluster.operate(&["delete", "toolserver", "deleted"])?.success()?;
    cluster.local(0, &["cluster", "snapshot"])?.success()?;
    for name in ["changed", "logged"] {
        document(&cluster, name)?;
    }
    cluster.stop(0)?;
    let data = cluster.data(0).to_owned();
    for entry in fs::read_dir(data.join("wal"))? {
        let path = entry?.path();
        let is_spare = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("spare-"));
        if is_spare {
            fs::remove_file(&path)?;
        } else {
            // What was filled with zeros becomes a hole, which tar leaves out.
            let dug = Command::new("fallocate").arg("--dig-holes").arg(&path).status()?;
            ensure!(dug.success(), "{} has no holes", path.display());
        }
    }
    fs::create_dir_all(archive.parent().context("it has a folder")?)?;
    tar(&["-cz", "--sparse", "--exclude=lock", "--exclude=admin.sock"], &archive, &data)
}
