//! Certificates that ended while nobody ran, and clocks of nodes.
//!
//! The clock of one process is set by a library that Debian has (libfaketime), while it runs or for its whole life. Clocks
//! that do not jump, by which consensus counts its times, are left alone, as an administrator's `date` does.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, ensure};
use quorate_cluster::{Cluster, Options, Place, is_well, nodes, wait};
use serde_json::Value;

use crate::world::{PATIENCE, applied, document};

/// The clock of one node.
pub(crate) struct Clock {
    file: PathBuf,
}

// === impl Clock ===

impl Clock {
    /// Has the later lives of a node see a clock of its own, which is right at first.
    pub(crate) fn of(cluster: &mut Cluster, place: Place) -> anyhow::Result<Self> {
        let library = library()?;
        let clock = Self { file: cluster.folder().join(format!("clock-{place}")) };
        clock.set("+0")?;
        let settings: [(&str, OsString); 5] = [
            ("LD_PRELOAD", library),
            ("FAKETIME_TIMESTAMP_FILE", clock.file.clone().into()),
            ("FAKETIME_CACHE_DURATION", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
            ("NO_FAKE_STAT", "1".into()),
        ];
        for (name, value) in settings {
            cluster.set_environment(place, name, value);
        }
        Ok(clock)
    }

    /// Sets it so much beside the right time: `+1h`, `-1h`, `+100d`; or has each life begin at a time: `@2026-12-01 12:00:00`.
    /// In one piece, for it is read meanwhile.
    pub(crate) fn set(&self, time: &str) -> anyhow::Result<()> {
        let draft = self.file.with_extension("new");
        fs::write(&draft, format!("{time}\n"))?;
        Ok(fs::rename(&draft, &self.file)?)
    }
}

/// The library, as the program that comes with it would load it.
fn library() -> anyhow::Result<OsString> {
    let said = Command::new("faketime").args(["-m", "-f", "+0", "sh", "-c", "echo $LD_PRELOAD"]).output();
    let said =
        said.context("this test needs faketime (Debian: `apt-get install faketime`; `cargo xtask test` does)")?;
    let library = String::from_utf8(said.stdout).context("it is text")?.trim().to_owned();
    ensure!(said.status.success() && library.contains("libfaketime"), "faketime says {library:?}");
    Ok(library.into())
}

#[test]
fn nodes_whose_certificates_ended_while_they_were_stopped_come_back_by_themselves() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(Options::default())?;
    document(&cluster, "one")?;
    for place in cluster.places() {
        applied(&cluster, place, &["one"])?;
        let clock = Clock::of(&mut cluster, place)?;
        clock.set("+100d")?;
        cluster.stop(place)?;
    }

    for place in cluster.places() {
        cluster.begin(place)?;
    }

    cluster.leader()?;
    cluster.until("all have new certificates", 0, |status| {
        let time = status["time"].as_str().unwrap_or_default();
        let is_valid = |node: &Value| node["certificateExpires"].as_str().is_some_and(|ends| ends > time);
        nodes(status).count() == 3 && nodes(status).all(is_valid)
    })?;
    // Operators have to be given others, too: theirs ended as well.
    let source = crate::world::Source::of(&cluster);
    cluster.local(1, &["apply", "-f", &source.file(&["two"])?])?.success()?;
    for place in cluster.places() {
        applied(&cluster, place, &["one", "two"])?;
    }
    Ok(())
}

#[test]
fn a_node_whose_clock_jumps_keeps_nobody_from_writing_and_is_there_again_when_it_is_right() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(Options::default())?;
    let clock = Clock::of(&mut cluster, 1)?;
    cluster.stop(1)?;
    cluster.begin(1)?;
    cluster.settled(1)?;
    let mut written = Vec::new();
    for beside in ["+1h", "-1h", "+40d", "-40d"] {
        // It may be who leads when it happens, and whose time the log has then.
        let leader = cluster.leader()?;
        if leader != 1 {
            cluster.local(leader, &["cluster", "transfer", "node-2", "--group", "0"])?.success()?;
        }
        clock.set(beside)?;
        for moment in ["first", "second"] {
            let name = format!("{moment}-{}", written.len());
            // What this node says meanwhile is not what is asked: a clock that is wrong finds certificates that are not good yet.
            let source = crate::world::Source::of(&cluster);
            let file = source.file(&[&name])?;
            wait::until("a document is taken", PATIENCE, || source.operator.run(&["apply", "-f", &file])?.success())?;
            written.push(name);
        }
        let names: Vec<&str> = written.iter().map(String::as_str).collect();
        for place in [0, 2] {
            applied(&cluster, place, &names)?;
        }
        clock.set("+0")?;
        applied(&cluster, 1, &names)?;
        cluster.until("all are well", 0, |status| nodes(status).count() == 3 && nodes(status).all(is_well))?;
    }
    Ok(())
}
