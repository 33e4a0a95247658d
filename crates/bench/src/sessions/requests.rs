//! What a call costs the nodes of a cluster: in a strict session, and without one beside a node alone.
//!
//! All clients talk to one node, which owns a third of their sessions: the other calls are relayed. The stateless ones are that
//! node's own affair, whose CPU alone is counted for them.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::nodes::Nodes;
use super::{Args, flag};
use crate::cluster::report::{Report, Row, Spread};
use crate::load::{READY, Report as Load, say};
use crate::message::Measure;
use crate::run::child::Child;
use crate::run::gateway::Gateway;

const CONNECTIONS: u32 = 16;
const REQUESTS: u64 = 6_000;
const PATIENCE: Duration = Duration::from_secs(180);

/// Measures.
///
/// # Errors
/// When something cannot be measured.
pub(super) async fn measure(args: &Args, program: &Path, place: &Path, report: &mut Report) -> Result<()> {
    let mut backend = Child::start("the tool server", &std::env::current_exe()?, &["backend".to_owned()])?;
    let url = backend.line(PATIENCE).await?;
    let nodes = Nodes::before(program, place, &url, 1).await?;
    let alone = Gateway::start(program, &["--mcp".to_owned(), format!("bench={url}")], "http://127.0.0.1:9").await?;
    let (mut strict, mut stateless, mut lone) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=args.rounds {
        let cpu = || nodes.cpu_ms();
        strict.push(cost(&nodes.url(0), Measure::LegacyCall, cpu).await?);
        stateless.push(cost(&nodes.url(0), Measure::ModernCall, || nodes.cpu_of(0)).await?);
        lone.push(cost(alone.url(), Measure::ModernCall, || Ok(alone.own_cpu()?.total_ms())).await?);
        let last = |costs: &[f64]| costs.last().copied().unwrap_or(f64::NAN);
        say(&format!(
            "round {round}: a call in a strict session {:.3} ms CPU of all nodes, a stateless call {:.3} ms of its node, \
             {:.3} ms of a node alone",
            last(&strict),
            last(&stateless),
            last(&lone)
        ))?;
    }
    report.rows.push(Row::plain("CPU of a `tools/call` in a strict session, all nodes", "ms", Spread::of(strict)));
    let (stateless, lone) = (Spread::of(stateless), Spread::of(lone));
    report.rows.push(Row::plain("CPU of a stateless `tools/call`, its node of three", "ms", stateless));
    report.rows.push(Row::plain("CPU of a stateless `tools/call`, a node alone", "ms", lone));
    let more = (stateless.median / lone.median - 1.0) * 100.0;
    report.rows.push(Row::plain("How much more it costs in a cluster", "%", Spread::of([more])).at_most(3.0, 8.0));
    alone.end().await?;
    backend.end().await
}

/// CPU time of a call, in milliseconds.
async fn cost(url: &str, measure: Measure, cpu_ms: impl Fn() -> Result<f64>) -> Result<f64> {
    let flags = [
        flag("url", url),
        flag("measure", measure.name()),
        flag("connections", CONNECTIONS),
        flag("requests", REQUESTS),
    ];
    let flags: Vec<String> = ["load".to_owned()].into_iter().chain(flags.into_iter().flatten()).collect();
    let mut load = Child::start("the load", &std::env::current_exe()?, &flags)?;
    let ready = load.line(PATIENCE).await?;
    ensure!(ready == READY, "the load says {ready}");
    let before = cpu_ms()?;
    load.tell("go").await?;
    let done: Load = serde_json::from_str(&load.line(PATIENCE).await?)?;
    let spent = cpu_ms()? - before;
    load.finish(PATIENCE).await?;
    Ok(spent / done.requests as f64)
}
