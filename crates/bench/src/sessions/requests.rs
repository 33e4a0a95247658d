//! What a call costs the nodes of a cluster: in a strict session, and without one beside a node alone.
//!
//! All clients talk to one node, which owns a third of their sessions: the other calls are relayed. The stateless ones are that
//! node's own affair, whose CPU alone is counted for them. What nodes spend without any call, on heartbeats mostly, is measured
//! right before, and is none of a call's.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::nodes::{self, Nodes};
use super::{Args, flag};
use crate::cluster::report::{Report, Row, Spread};
use crate::load::{READY, Report as Load, say};
use crate::message::Measure;
use crate::run::child::Child;
use crate::run::known::Known;

const CONNECTIONS: u32 = 16;
/// In strict sessions.
const REQUESTS: u64 = 12_000;
/// Without a session, of each turn.
const TURN: u64 = 5_000;
/// Turns of a round: this machine's other guests come and go, and both nodes are to meet the same.
const TURNS: u32 = 6;
const PATIENCE: Duration = Duration::from_secs(180);
/// How long it is measured what is spent without a call.
const IDLE: Duration = Duration::from_secs(3);

/// Measures.
///
/// # Errors
/// When something cannot be measured.
pub(super) async fn measure(args: &Args, program: &Path, place: &Path, report: &mut Report) -> Result<()> {
    let mut backend = Child::start("the tool server", &std::env::current_exe()?, &["backend".to_owned()])?;
    let url = backend.line(PATIENCE).await?;
    let nodes = Nodes::before(program, place, &url, 1).await?;
    let known = Known::start(program, &nodes::resources("bench", &url), &[], None, Measure::ModernCall).await?;
    let alone = &known.gateway;
    let (mut strict, mut stateless, mut lone, mut more, mut spent) = (vec![], vec![], vec![], vec![], vec![]);
    for round in 1..=args.rounds {
        let (all, own) = idle(&nodes).await?;
        let in_session = cost(&nodes.url(0), Measure::LegacyCall, REQUESTS, all, || nodes.cpu_ms()).await?;
        for turn in 1..=TURNS {
            let without = cost(&nodes.url(0), Measure::ModernCall, TURN, own, || nodes.cpu_of(0)).await?;
            let of_one = cost(alone.url(), Measure::ModernCall, TURN, 0.0, || Ok(alone.own_cpu()?.total_ms())).await?;
            say(&format!("round {round}.{turn}: a stateless call {without:.3} ms, {of_one:.3} ms of a node alone"))?;
            stateless.push(without);
            lone.push(of_one);
            more.push((without / of_one - 1.0) * 100.0);
        }
        say(&format!(
            "round {round}: a call in a strict session {in_session:.3} ms CPU of all nodes; a node of three without calls \
             {own:.0} ms a second"
        ))?;
        strict.push(in_session);
        spent.push(own);
    }
    report.rows.push(Row::plain("CPU of a `tools/call` in a strict session, all nodes", "ms", Spread::of(strict)));
    report.rows.push(Row::plain("CPU of a stateless `tools/call`, its node of three", "ms", Spread::of(stateless)));
    report.rows.push(Row::plain("CPU of a stateless `tools/call`, a node alone", "ms", Spread::of(lone)));
    let name = "How much more it costs in a cluster, turn by turn";
    report.rows.push(Row::plain(name, "%", Spread::of(more)).at_most(3.0, 8.0));
    report.rows.push(Row::plain("CPU of a node of three without calls, 32 shards", "ms/s", Spread::of(spent)));
    known.gateway.end().await?;
    backend.end().await
}

/// What all nodes, and the first one, spend without calls, in milliseconds a second.
async fn idle(nodes: &Nodes) -> Result<(f64, f64)> {
    let (began, all, own) = (Instant::now(), nodes.cpu_ms()?, nodes.cpu_of(0)?);
    tokio::time::sleep(IDLE).await;
    let seconds = began.elapsed().as_secs_f64();
    Ok(((nodes.cpu_ms()? - all) / seconds, (nodes.cpu_of(0)? - own) / seconds))
}

/// What a call costs in milliseconds, beside what is spent without one.
async fn cost(url: &str, measure: Measure, requests: u64, idle: f64, cpu_ms: impl Fn() -> Result<f64>) -> Result<f64> {
    let flags = [
        flag("url", url),
        flag("measure", measure.name()),
        flag("connections", CONNECTIONS),
        flag("requests", requests),
    ];
    let flags: Vec<String> = ["load".to_owned()].into_iter().chain(flags.into_iter().flatten()).collect();
    let mut load = Child::start("the load", &std::env::current_exe()?, &flags)?;
    let ready = load.line(PATIENCE).await?;
    ensure!(ready == READY, "the load says {ready}");
    let (began, before) = (Instant::now(), cpu_ms()?);
    load.tell("go").await?;
    let done: Load = serde_json::from_str(&load.line(PATIENCE).await?)?;
    let spent = cpu_ms()? - before - idle * began.elapsed().as_secs_f64();
    load.finish(PATIENCE).await?;
    Ok(spent / done.requests as f64)
}
