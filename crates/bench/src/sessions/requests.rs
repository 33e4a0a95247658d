//! What a call costs the nodes of a cluster: in a strict session, and without one beside a node alone.
//!
//! All clients talk to one node, which owns a third of their sessions: the other calls are relayed. The stateless ones are that
//! node's own affair, whose CPU alone is counted for them. What nodes spend without any call, on heartbeats mostly, is measured
//! right before, and is none of a call's.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::nodes::Nodes;
use super::{Args, flag};
use crate::cluster::report::{Report, Row, Spread};
use crate::load::{READY, Report as Load, say};
use crate::message::Measure;
use crate::run::child::Child;
use crate::run::gateway::Gateway;

const CONNECTIONS: u32 = 16;
const REQUESTS: u64 = 12_000;
const PATIENCE: Duration = Duration::from_secs(180);
/// How long it is measured what is spent without a call.
const IDLE: Duration = Duration::from_secs(3);

/// CPU time, in milliseconds.
#[derive(Clone, Copy)]
struct Cost {
    /// Of a call.
    call: f64,
    /// In a second without calls.
    idle: f64,
}

/// Measures.
///
/// # Errors
/// When something cannot be measured.
pub(super) async fn measure(args: &Args, program: &Path, place: &Path, report: &mut Report) -> Result<()> {
    let mut backend = Child::start("the tool server", &std::env::current_exe()?, &["backend".to_owned()])?;
    let url = backend.line(PATIENCE).await?;
    let nodes = Nodes::before(program, place, &url, 1).await?;
    let alone = Gateway::start(program, &["--mcp".to_owned(), format!("bench={url}")], "http://127.0.0.1:9").await?;
    let (mut strict, mut stateless, mut lone, mut idle) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 1..=args.rounds {
        let in_session = cost(&nodes.url(0), Measure::LegacyCall, || nodes.cpu_ms()).await?;
        let without = cost(&nodes.url(0), Measure::ModernCall, || nodes.cpu_of(0)).await?;
        let of_one = cost(alone.url(), Measure::ModernCall, || Ok(alone.own_cpu()?.total_ms())).await?;
        say(&format!(
            "round {round}: a call in a strict session {:.3} ms CPU of all nodes, a stateless call {:.3} ms of its node, \
             {:.3} ms of a node alone; a node of three without calls {:.0} ms a second",
            in_session.call, without.call, of_one.call, without.idle
        ))?;
        strict.push(in_session.call);
        stateless.push(without.call);
        lone.push(of_one.call);
        idle.push(without.idle);
    }
    report.rows.push(Row::plain("CPU of a `tools/call` in a strict session, all nodes", "ms", Spread::of(strict)));
    let (stateless, lone) = (Spread::of(stateless), Spread::of(lone));
    report.rows.push(Row::plain("CPU of a stateless `tools/call`, its node of three", "ms", stateless));
    report.rows.push(Row::plain("CPU of a stateless `tools/call`, a node alone", "ms", lone));
    let more = (stateless.median / lone.median - 1.0) * 100.0;
    report.rows.push(Row::plain("How much more it costs in a cluster", "%", Spread::of([more])).at_most(3.0, 8.0));
    report.rows.push(Row::plain("CPU of a node of three without calls, 32 shards", "ms/s", Spread::of(idle)));
    alone.end().await?;
    backend.end().await
}

/// What calls cost.
async fn cost(url: &str, measure: Measure, cpu_ms: impl Fn() -> Result<f64>) -> Result<Cost> {
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
    let began = (Instant::now(), cpu_ms()?);
    tokio::time::sleep(IDLE).await;
    let idle = (cpu_ms()? - began.1) / began.0.elapsed().as_secs_f64();
    let began = (Instant::now(), cpu_ms()?);
    load.tell("go").await?;
    let done: Load = serde_json::from_str(&load.line(PATIENCE).await?)?;
    let spent = cpu_ms()? - began.1 - idle * began.0.elapsed().as_secs_f64();
    load.finish(PATIENCE).await?;
    Ok(Cost { call: spent / done.requests as f64, idle })
}
