//! Leaders that are gone: killed as by `kill -9`, or behind a network that carries nothing any more.
//!
//! The time is from the blow to when another node says that it serves: it leads, and everything that was committed before is
//! applied there. All nodes have writers that go on wherever the group is led.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::Args;
use super::node::now_us;
use super::report::{Report, Row, Spread, share_at};
use super::said::Order;
use super::trio::Trio;
use crate::load::say;

const GROUP: u32 = 1;
const NODES: u64 = 3;
/// Writers at the leader, and how often each writes: 1,600 entries a second, about half of what a busy machine commits.
const LOAD: Order = Order::Load { writers: 32, every_ms: 20 };
/// Between two blows: what is behind catches up, and the load is on.
const REST: Duration = Duration::from_millis(300);

/// Kills leaders.
///
/// # Errors
/// When nobody leads after one.
pub(super) async fn kills(args: &Args, place: &Path, report: &mut Report) -> Result<()> {
    let mut trio = Trio::start(place, NODES, GROUP + 1, false).await?;
    for id in 1..=NODES {
        trio.order(id, &LOAD).await?;
    }
    let mut times = Vec::new();
    for number in 1..=args.kills {
        let leader = trio.settle().await?[&GROUP];
        tokio::time::sleep(REST).await;
        let blow = now_us();
        trio.kill(leader).await?;
        let next = trio.next_leader(GROUP, leader, blow).await?;
        let millis = (next.at_us - blow) as f64 / 1e3;
        times.push(millis);
        if millis > 300.0 {
            say(&format!("kill {number}: node {} serves after {millis:.1} ms", next.node))?;
        }
        trio.launch(leader).await?;
        trio.order(leader, &LOAD).await?;
    }
    let name = "New leader serves after SIGKILL of the old, under load";
    tell_and_report(name, &times, 300.0, 900.0, report)
}

/// Cuts leaders off.
///
/// # Errors
/// When nobody leads after one.
pub(super) async fn cuts(args: &Args, place: &Path, report: &mut Report) -> Result<()> {
    let mut trio = Trio::start(place, NODES, GROUP + 1, true).await?;
    for id in 1..=NODES {
        trio.order(id, &LOAD).await?;
    }
    let mut times = Vec::new();
    for number in 1..=args.cuts {
        let leader = trio.settle().await?[&GROUP];
        tokio::time::sleep(REST).await;
        let blow = now_us();
        trio.isolate(leader);
        let next = trio.next_leader(GROUP, leader, blow).await?;
        let millis = (next.at_us - blow) as f64 / 1e3;
        times.push(millis);
        if millis > 1200.0 {
            say(&format!("cut {number}: node {} serves after {millis:.1} ms", next.node))?;
        }
        trio.heal();
    }
    tell_and_report("New leader serves after the old is cut off, under load", &times, 1200.0, 2000.0, report)
}

fn tell_and_report(name: &str, times: &[f64], goal: f64, floor: f64, report: &mut Report) -> Result<()> {
    let at = |share| share_at(times, share);
    say(&format!(
        "{name}: p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0)
    ))?;
    report.rows.push(Row::plain(format!("{name}, p50 of {}", times.len()), "ms", Spread::of([at(0.5)])));
    let p99 = Spread { median: at(0.99), lowest: at(0.0), highest: at(1.0) };
    report.rows.push(Row::plain(format!("{name}, p99 of {}", times.len()), "ms", p99).at_most(goal, floor));
    Ok(())
}
