//! What more groups and more nodes cost: each number of the one with each number of the other, idle and written to.
//!
//! The table and the plot are for reading; they are held against nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

use super::Args;
use super::plot::{self, Line, Panel};
use super::report::Report;
use super::said::Order;
use super::trio::Trio;
use crate::load::say;

/// Groups beside the meta group.
const GROUPS: [u32; 6] = [8, 16, 32, 64, 128, 256];
const NODES: [u64; 4] = [1, 3, 5, 7];
/// After the start, before nodes are watched.
const REST: Duration = Duration::from_secs(2);
/// Writers, within the nodes and dealt out to all groups.
const WRITERS: u32 = 64;
/// How long all of it may take before the machine counts as too small for so many: all processes are on one.
const CELL_PATIENCE: Duration = Duration::from_secs(45);

/// So many nodes and groups.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Cell {
    nodes: u64,
    groups: u32,
    /// None when not all groups had a leader in time.
    found: Option<Found>,
}

/// What was found with them.
#[derive(Clone, Copy, Debug, Serialize)]
struct Found {
    /// Percent of a core, of one node.
    idle: f64,
    /// Resident memory of one node, in MB.
    memory_mb: f64,
    /// Entries a second.
    rate: f64,
    /// CPU time of all nodes for each, in milliseconds.
    cpu_ms: f64,
}

/// Measures everything, and draws it.
///
/// # Errors
/// When nodes do not start, or the plot cannot be written.
pub(super) async fn grid(args: &Args, place: &Path, report: &mut Report) -> Result<()> {
    let mut cells = Vec::new();
    for nodes in NODES {
        for groups in GROUPS {
            let measured = tokio::time::timeout(CELL_PATIENCE, cell(args, place, nodes, groups)).await;
            let found = match measured {
                Ok(found) => Some(found.with_context(|| format!("{nodes} nodes, {groups} groups"))?),
                Err(_) => None,
            };
            let cell = Cell { nodes, groups, found };
            say(&row(&cell))?;
            cells.push(cell);
        }
    }
    let plot = match &args.plot {
        Some(plot) => plot.clone(),
        None => super::beside()?.join("groups.svg"),
    };
    std::fs::write(&plot, drawn(&cells)).with_context(|| format!("write {}", plot.display()))?;
    report.cells = cells;
    Ok(())
}

async fn cell(args: &Args, place: &Path, nodes: u64, groups: u32) -> Result<Found> {
    let mut trio = Trio::start(place, nodes, groups + 1, false).await?;
    tokio::time::sleep(REST).await;
    let (before, began) = (trio.cpu_ms()?, Instant::now());
    tokio::time::sleep(Duration::from_secs(args.cell_seconds)).await;
    let idle = 100.0 * (trio.cpu_ms()? - before) / began.elapsed().as_secs_f64() / 1e3 / nodes as f64;
    let memory_mb = trio.resident_bytes()? as f64 / 1e6 / nodes as f64;
    trio.settle().await?;
    let before = trio.cpu_ms()?;
    let (share, rest) = (WRITERS / u32::try_from(nodes)?, WRITERS % u32::try_from(nodes)?);
    for id in 1..=nodes {
        let writers = share + u32::from(id <= u64::from(rest));
        trio.order(id, &Order::Write { writers, millis: args.millis }).await?;
    }
    let (mut commands, mut seconds) = (0, 0.0_f64);
    for id in 1..=nodes {
        let wrote = trio.wrote(id).await?;
        commands += wrote.commands;
        seconds = seconds.max(wrote.seconds);
    }
    let commands = commands as f64;
    let cpu_ms = (trio.cpu_ms()? - before) / commands;
    Ok(Found { idle, memory_mb, rate: commands / seconds, cpu_ms })
}

/// A table of all cells: a row for each number of nodes.
pub(super) fn table(cells: &[Cell]) -> String {
    let mut text = String::from(
        "| Nodes | Groups | Idle node, share of a core | Memory of a node | Entries a second, 64 writers within | CPU per \
         entry, all nodes |\n|---|---|---|---|---|---|\n",
    );
    for cell in cells {
        // A string takes everything.
        let _ = writeln!(text, "{}", row(cell));
    }
    text
}

fn row(Cell { nodes, groups, found }: &Cell) -> String {
    let found = match found {
        Some(Found { idle, memory_mb, rate, cpu_ms }) => {
            format!("{idle:.1}% | {memory_mb:.0} MB | {rate:.0}/s | {cpu_ms:.3} ms")
        }
        None => "not all groups had a leader in time | – | – | –".to_owned(),
    };
    format!("| {nodes} | {groups} | {found} |")
}

fn drawn(cells: &[Cell]) -> String {
    let panel = |title: &str, of: fn(&Found) -> f64| {
        let found = cells.iter().filter_map(|cell| Some(((cell.nodes, cell.groups), of(cell.found.as_ref()?))));
        let found: BTreeMap<(u64, u32), f64> = found.collect();
        let line = |nodes: u64| Line {
            name: if nodes == 1 { "1 node".to_owned() } else { format!("{nodes} nodes") },
            numbers: GROUPS.iter().map(|groups| found.get(&(nodes, *groups)).copied()).collect(),
        };
        Panel { title: title.to_owned(), places: GROUPS.to_vec(), lines: NODES.into_iter().map(line).collect() }
    };
    plot::svg(
        "groups",
        &[
            panel("Idle node, % of a core", |found| found.idle),
            panel("CPU per entry, all nodes, ms", |found| found.cpu_ms),
            panel("Memory of a node, MB", |found| found.memory_mb),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_settle_is_told_and_is_not_drawn() {
        let found = Found { idle: 1.25, memory_mb: 40.0, rate: 1234.0, cpu_ms: 0.0321 };
        let cells = [Cell { nodes: 3, groups: 8, found: Some(found) }, Cell { nodes: 3, groups: 16, found: None }];

        let table = table(&cells);

        assert!(table.contains("| 3 | 8 | 1.2% | 40 MB | 1234/s | 0.032 ms |"), "{table}");
        assert!(table.contains("| 3 | 16 | not all groups had a leader in time |"), "{table}");
        // One point in each of three panels.
        assert_eq!(drawn(&cells).matches("<circle").count(), 3);
    }
}
