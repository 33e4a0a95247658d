//! Nodes that do nothing, and nodes that start on a disk with much on it.
//!
//! Idle is the CPU time of all nodes while nobody writes. A cold start is over when each group is served and every node has
//! applied what it had before.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::Args;
use super::report::{Report, Row, Spread};
use super::said::Order;
use super::trio::Trio;
use crate::load::say;

const NODES: u64 = 3;
/// The meta group and 32 shards.
const GROUPS: u32 = 33;
/// After the start, before nodes are watched.
const REST: Duration = Duration::from_secs(3);
/// How often it is looked whether a node is back.
const LOOK: Duration = Duration::from_millis(5);
/// How long a cold start may take before it is none.
const PATIENCE: Duration = Duration::from_secs(60);
/// Cold starts.
const STARTS: u32 = 3;

/// Watches idle nodes.
///
/// # Errors
/// When one is gone.
pub(super) async fn idle(args: &Args, place: &Path, report: &mut Report) -> Result<()> {
    let mut trio = Trio::start(place, NODES, GROUPS, false).await?;
    tokio::time::sleep(REST).await;
    let mut shares = Vec::new();
    for _ in 0..args.rounds {
        let (before, began) = (trio.cpu_ms()?, Instant::now());
        tokio::time::sleep(Duration::from_secs(args.idle_seconds) / args.rounds).await;
        let spent = trio.cpu_ms()? - before;
        shares.push(100.0 * spent / began.elapsed().as_secs_f64() / 1e3 / NODES as f64);
    }
    trio.settle().await?;
    let row = Row::plain("An idle node with 32 groups, share of a core", "%", Spread::of(shares));
    report.rows.push(row.at_most(6.0, 10.0));
    Ok(())
}

/// Starts all nodes on disks with records.
///
/// # Errors
/// When they do not come back.
pub(super) async fn cold(args: &Args, place: &Path, report: &mut Report) -> Result<()> {
    let mut seconds = Vec::new();
    for _ in 0..STARTS {
        let mut trio = Trio::start(place, NODES, GROUPS, false).await?;
        let share = args.records / NODES;
        for id in 1..=NODES {
            let commands = if id == 1 { args.records - share * (NODES - 1) } else { share };
            let wrote = trio.write_at(id, &Order::Fill { commands }).await?;
            ensure!(wrote.commands == commands, "node {id} wrote {} records of {commands}", wrote.commands);
        }
        for id in 1..=NODES {
            trio.kill(id).await?;
        }
        let began = Instant::now();
        for id in 1..=NODES {
            trio.spawn(id)?;
        }
        for id in 1..=NODES {
            trio.listens(id).await?;
        }
        let listen = began.elapsed();
        // What is committed before a term is applied where its leader serves.
        trio.settle().await?;
        for id in 1..=NODES {
            while trio.status(id).await?.applied < args.records {
                ensure!(began.elapsed() < PATIENCE, "node {id} does not come back");
                tokio::time::sleep(LOOK).await;
            }
        }
        let all = began.elapsed();
        say(&format!("a cold start: all listen after {listen:.2?}, and have everything after {all:.2?}"))?;
        seconds.push(began.elapsed().as_secs_f64());
    }
    let name = format!("Cold start of three nodes with {} records in 32 groups", args.records);
    report.rows.push(Row::plain(name, "s", Spread::of(seconds)).at_most(2.0, 5.0));
    Ok(())
}
