//! Disks that change what was written, and disks that become full.
//!
//! Each way out is the one that the node's own message names. Full disks are file systems of their own, in a namespace of
//! mounts that ends with the test: what runs out is the system's room, not a figure of ours.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use quorate_cluster::{Cluster, Options, Place, nodes, wait};

use crate::world::{PATIENCE, apart, applied, document, there};

/// Mebibytes of a small file system: a log with its spare segments takes 192, and at least 576 must be free for a node to
/// take everything again after its disk was full.
const SMALL_MIB: u32 = 1024;

/// A file system that is as small as a test wants it.
struct Small {
    filler: PathBuf,
}

// === impl Small ===

impl Small {
    /// Puts a new one under a folder.
    fn under(folder: &Path) -> anyhow::Result<Self> {
        let size = format!("size={SMALL_MIB}m,mode=0700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder).status();
        ensure!(mounted.context("cannot run mount")?.success(), "{} cannot have a file system", folder.display());
        Ok(Self { filler: folder.join("filler") })
    }

    /// Takes all that is left.
    fn fill(&self) -> anyhow::Result<()> {
        let mut file = File::create(&self.filler)?;
        let mut piece = vec![7; 1 << 20];
        loop {
            match file.write(&piece) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull && piece.len() > 512 => {
                    piece.truncate(piece.len() / 2);
                }
                Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Gives it back.
    fn free(&self) -> anyhow::Result<()> {
        Ok(fs::remove_file(&self.filler)?)
    }
}

/// Nodes that wait, the last one on a small file system.
fn waiting(count: usize) -> anyhow::Result<(Cluster, Small)> {
    let mut cluster = Cluster::waiting(Options { nodes: count, ..Options::default() })?;
    let last = count - 1;
    cluster.kill(last);
    let small = Small::under(cluster.data(last))?;
    cluster.begin(last)?;
    cluster.init(0)?;
    for place in 1..count {
        cluster.join(place)?;
    }
    cluster.settled(0)?;
    cluster.operate_from(0)?;
    Ok((cluster, small))
}

/// Changes a byte in the middle of a file.
fn damage(file: &Path, at: u64) -> anyhow::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(file)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[byte[0] ^ 0x10], at)?;
    Ok(file.sync_all()?)
}

/// The first file of a folder whose name begins so.
fn first(folder: &Path, prefix: &str) -> anyhow::Result<PathBuf> {
    let mut found: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<_>>()?;
    found.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)));
    found.sort();
    found.into_iter().next().with_context(|| format!("{} has no {prefix}…", folder.display()))
}

fn name_of(file: &Path) -> anyhow::Result<&str> {
    file.file_name().and_then(|name| name.to_str()).context("it has a name")
}

/// Moves a node's data away and has it join under its name with an empty folder, as a node that was never there.
fn anew(cluster: &mut Cluster, place: Place, name: &str) -> anyhow::Result<()> {
    let data = cluster.data(place).to_owned();
    fs::rename(&data, data.with_extension("damaged"))?;
    cluster.begin(place)?;
    cluster.operate(&["cluster", "remove", name, "--force"])?.success()?;
    cluster.join(place)
}

#[test]
fn a_node_with_a_damaged_log_does_not_start_and_comes_back_as_a_learner_with_an_empty_folder() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(Options::default())?;
    document(&cluster, "one")?;
    let place = (cluster.leader()? + 1) % 3;
    let name = format!("node-{}", place + 1);
    applied(&cluster, place, &["one"])?;
    cluster.kill(place);
    let segment = first(&cluster.data(place).join("wal"), "wal-")?;
    damage(&segment, 700)?;

    let said = cluster.refused(place)?;
    let expected = [name_of(&segment)?, "is corrupt at byte", "start the node with an empty one"];
    ensure!(expected.iter().all(|text| said.contains(text)), "{said}");
    // It stays so, and harms nobody.
    ensure!(cluster.refused(place)?.contains("is corrupt at byte"));
    document(&cluster, "two")?;

    anew(&mut cluster, place, &name)?;

    cluster.settled(place)?;
    applied(&cluster, place, &["one", "two"])?;
    let status = cluster.status(place)?;
    let ids: Vec<_> = nodes(&status).filter(|node| node["name"] == name.as_str()).map(|node| &node["id"]).collect();
    let is_new = |id: &&serde_json::Value| id.to_string().contains('4');
    ensure!(ids.iter().any(is_new), "it has another number, under which it never voted: {status:#}");
    Ok(())
}

#[test]
fn a_node_with_a_damaged_snapshot_of_the_catalog_does_not_start_and_is_replaced() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(Options::default())?;
    document(&cluster, "one")?;
    let place = (cluster.leader()? + 1) % 3;
    applied(&cluster, place, &["one"])?;
    cluster.local(place, &["cluster", "snapshot"])?.success()?;
    let folder = cluster.data(place).join("snapshots/group-0");
    let snapshot = wait::until("a snapshot", PATIENCE, || first(&folder, "snapshot-"))?;
    cluster.kill(place);
    damage(&snapshot, fs::metadata(&snapshot)?.len() / 2)?;

    let said = cluster.refused(place)?;
    let expected = [name_of(&snapshot)?, "is damaged at byte", "start the node with an empty one"];
    ensure!(expected.iter().all(|text| said.contains(text)), "{said}");
    document(&cluster, "two")?;

    let new = cluster.add()?;
    cluster.join(new)?;
    let (old, by) = (format!("node-{}", place + 1), format!("node-{}", new + 1));
    cluster.operate(&["cluster", "replace", &old, "--by", &by])?.success()?;
    applied(&cluster, new, &["one", "two"])?;
    cluster.until("its replicas are the new node's", new, |status| {
        let is_there = |list: &serde_json::Value| {
            list.as_array().is_some_and(|all| all.iter().any(|id| *id == by_id(status, &by)))
        };
        status["shards"].as_array().is_some_and(|shards| shards.iter().all(|shard| is_there(&shard["voters"])))
    })
}

fn by_id(status: &serde_json::Value, name: &str) -> serde_json::Value {
    nodes(status).find(|node| node["name"] == name).map_or(serde_json::Value::Null, |node| node["id"].clone())
}

/// Has the node with the small disk lead the meta group.
fn the_third_leads(cluster: &Cluster) -> anyhow::Result<()> {
    wait::until("the node with the small disk leads", PATIENCE, || {
        let leader = cluster.leader()?;
        if leader == 2 {
            return Ok(());
        }
        cluster.local(leader, &["cluster", "transfer", "node-3", "--group", "0"])?.success()?;
        bail!("place {leader} leads");
    })
}

#[test]
fn a_leader_whose_disk_is_full_gives_up_what_it_leads_and_follows_when_there_is_room() -> anyhow::Result<()> {
    if !apart("disks::a_leader_whose_disk_is_full_gives_up_what_it_leads_and_follows_when_there_is_room")? {
        return Ok(());
    }
    let (cluster, small) = waiting(3)?;
    document(&cluster, "one")?;
    applied(&cluster, 2, &["one"])?;
    the_third_leads(&cluster)?;

    small.fill()?;

    wait::until("another leader", PATIENCE, || {
        let leader = cluster.leader()?;
        ensure!(leader != 2, "it leads on");
        Ok(())
    })?;
    let source = crate::world::Source::of(&cluster);
    let file = source.file(&["two"])?;
    wait::until("a document is taken", PATIENCE, || source.operator.run(&["apply", "-f", &file])?.success())?;
    for place in [0, 1] {
        applied(&cluster, place, &["one", "two"])?;
    }
    ensure!(there(&cluster, 2)?.contains("one"), "it serves what it has");
    cluster.until("the alarm", 0, |status| {
        let alarms = status["alarms"].as_array().map_or(&[][..], Vec::as_slice);
        alarms.iter().any(|alarm| alarm["kind"] == "disk" && alarm["message"].to_string().contains("nearly full"))
    })?;
    // What takes room away is never what is refused.
    cluster.operate(&["delete", "toolserver", "one"])?.success()?;
    cluster.until("no shard is led by it", 0, |status| {
        let id = by_id(status, "node-3");
        status["shards"].as_array().is_some_and(|shards| shards.iter().all(|shard| shard["leader"] != id))
    })?;

    small.free()?;

    applied(&cluster, 2, &["two"])?;
    the_third_leads(&cluster)?;
    document(&cluster, "three")?;
    applied(&cluster, 0, &["two", "three"])?;
    ensure!(!there(&cluster, 2)?.contains("one"), "it was deleted");
    Ok(())
}

#[test]
fn a_node_alone_with_a_full_disk_says_so_serves_what_it_has_and_goes_on_with_room() -> anyhow::Result<()> {
    if !apart("disks::a_node_alone_with_a_full_disk_says_so_serves_what_it_has_and_goes_on_with_room")? {
        return Ok(());
    }
    let (mut cluster, small) = waiting(1)?;
    document(&cluster, "one")?;
    small.fill()?;

    // Room is looked at twice a second: one document more may be taken before, and is there already when it comes again.
    let source = crate::world::Source::of(&cluster);
    let mut tries = 0;
    wait::until("a document is refused", PATIENCE, || {
        tries += 1;
        let file = source.file(&[&format!("before-{tries}")])?;
        let refused = source.operator.run(&["apply", "-f", &file])?.failure()?;
        ensure!(refused.contains("is full") && refused.contains("free some"), "{refused}");
        Ok(())
    })?;
    let file = source.file(&["two"])?;
    ensure!(there(&cluster, 0)?.contains("one"), "it serves what it has");
    // Started on a full disk it serves what it has, too.
    cluster.kill(0);
    cluster.begin(0)?;
    applied(&cluster, 0, &["one"])?;

    small.free()?;
    wait::until("the document is taken", PATIENCE, || source.operator.run(&["apply", "-f", &file])?.success())?;
    applied(&cluster, 0, &["one", "two"])
}
