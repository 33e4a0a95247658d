//! A majority of a cluster is lost for good, and a new cluster is made of what one node has.
//!
//! What was acknowledged while that node was in the quorum is there afterwards; nodes of the old cluster that come back are
//! strangers to the new one, and it to them.

use anyhow::{Context as _, ensure};
use quorate_cluster::{Cluster, Options, nodes, wait};
use serde_json::Value;

use crate::world::{PATIENCE, applied, document, names};

#[test]
fn of_a_lost_majority_a_new_cluster_is_made_that_has_every_document_and_grows_again() -> anyhow::Result<()> {
    // Consensus without its peers says much, and what is looked for is said once.
    let flags = ["--log", "warn,openraft=off"].map(str::to_owned).into();
    let mut cluster = Cluster::start(Options { flags, ..Options::default() })?;
    document(&cluster, "one")?;
    document(&cluster, "two")?;
    applied(&cluster, 2, &["one", "two"])?;
    let old = cluster.status(2)?["clusterId"].clone();
    ensure!(old.is_string(), "{old}");
    cluster.kill(0);
    cluster.kill(1);
    let data = cluster.data(2).to_str().context("it is UTF-8")?.to_owned();

    let running = cluster.quorate(&["recover", "--unsafe", "--data-dir", &data])?.failure()?;
    ensure!(running.contains("another process uses the data folder"), "{running}");
    cluster.stop(2)?;
    let safe = cluster.quorate(&["recover", "--data-dir", &data])?;
    ensure!(safe.status.code() == Some(6) && safe.errors.contains("--unsafe"), "{safe:?}");
    ensure!(safe.errors.contains("1 (node-1), 2 (node-2)") && safe.errors.contains("LOST"), "{safe:?}");
    let said = cluster.quorate(&["recover", "--unsafe", "--data-dir", &data, "-o", "json"])?.success()?;
    let said: Value = serde_json::from_str(&said)?;
    ensure!(said["oldClusterId"] == old && said["clusterId"] != old, "{said:#} after {old}");
    ensure!(said["documents"] == 2 && said["emptyShards"] == Value::Array(Vec::new()), "{said:#}");

    cluster.begin(2)?;
    cluster.settled(2)?;
    ensure!(cluster.leader_among(&[2])? == 2);
    let status = cluster.status(2)?;
    ensure!(status["clusterId"] == said["clusterId"] && names(&status) == ["node-3"], "{status:#}");
    applied(&cluster, 2, &["one", "two"])?;
    cluster.operate_from(2)?;
    document(&cluster, "three")?;
    for _ in 0..2 {
        let place = cluster.add()?;
        cluster.join(place)?;
    }
    cluster.settled(2)?;
    for place in [2, 3, 4] {
        applied(&cluster, place, &["one", "two", "three"])?;
    }

    is_a_stranger(&mut cluster, 0)?;
    // Each of the new nodes can be lost now.
    cluster.kill(2);
    cluster.leader_among(&[3, 4])?;
    cluster.operate_from(3)?;
    document(&cluster, "four")?;
    applied(&cluster, 4, &["one", "two", "three", "four"])
}

/// A node of the old cluster comes back where the new one has a node that it knows: neither believes the other.
fn is_a_stranger(cluster: &mut Cluster, place: usize) -> anyhow::Result<()> {
    let before = cluster.status(3)?;
    cluster.begin(place)?;
    let token = {
        cluster.operate_from(3)?;
        cluster.token()?
    };
    let refused = cluster.local(place, &["cluster", "join", &token])?.failure()?;
    ensure!(refused.contains("this is node 1 of cluster"), "{refused}");
    // It dials the node that it knew, which is of another cluster now.
    let process = cluster.process(place);
    process.line(PATIENCE, |line| line.contains("certificate").then_some(()))?;
    let process = cluster.process(2);
    process.line(PATIENCE, |line| line.contains("turned away who dialed as a peer").then_some(()))?;
    let status = cluster.status(place)?;
    ensure!(status["clusterId"] != before["clusterId"], "{status:#}");
    wait::until("the new cluster is as it was", PATIENCE, || {
        let now = cluster.status(3)?;
        ensure!(names(&now) == names(&before) && nodes(&now).count() == 3, "{now:#}");
        Ok(())
    })
}
