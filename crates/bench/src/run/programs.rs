//! Tool servers that are programs: what a call costs, and what a thousand of them cost that do nothing.
//!
//! A call is measured as the others are, on a gateway with one program behind it. Its CPU time is split: what the
//! gateway's own process takes is held against goal and floor, and what the program and its guard take stands beside it as
//! "direct". Idle programs are spares: started, guarded, and never spoken to.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::gateway::Gateway;
use super::process::{Cpu, proportional_bytes, tree_pids};
use super::resources::Resources;
use super::speed::{CpuRound, Plan, load};
use crate::message::Measure;

/// Programs that do nothing.
const IDLE: usize = 1_000;
/// How long they may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(180);
/// How long the machine gets to come to rest, and how long it is watched then.
const REST: Duration = Duration::from_secs(10);
const WATCHED: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(200);

/// What idle programs cost.
#[derive(Debug, Serialize)]
pub(crate) struct Idle {
    /// How many there were.
    pub(crate) programs: usize,
    /// CPU time of the gateway, the guards and the programs while they were watched.
    pub(crate) cpu: Cpu,
    /// For how long.
    pub(crate) seconds: f64,
    /// Memory of one guard that is its own, or its share of what it has in common with others, in bytes.
    pub(crate) guard_bytes: u64,
    /// How long all of them took to start, in seconds.
    pub(crate) start_seconds: f64,
}

// === impl Idle ===

impl Idle {
    /// Starts many programs and watches them do nothing.
    ///
    /// # Errors
    /// When they do not start, or end.
    pub(crate) async fn measure(bench: &Path, quorate: &Path, sink: &str) -> Result<Self> {
        let command = serde_json::json!([bench, "stdio"]);
        let limits = serde_json::json!({ "spares": IDLE, "children": IDLE + 8, "start": "10m" });
        let server = serde_json::json!({ "kind": "ToolServer", "name": "idle", "spec": {
            "stdio": { "command": command, "limits": limits },
        }});
        let toolset = serde_json::json!({ "kind": "Toolset", "name": "default", "spec": { "servers": ["idle"] } });
        Self::watch(quorate, &Resources::new(&[server, toolset])?, sink).await
    }

    async fn watch(quorate: &Path, resources: &Resources, sink: &str) -> Result<Self> {
        let started = std::time::Instant::now();
        let gateway = Gateway::start(quorate, &resources.flags(), sink).await?;
        while gateway.metric("quorate_stdio_spares").await? < IDLE as f64 {
            ensure!(started.elapsed() < START_TIMEOUT, "{IDLE} programs did not start within {START_TIMEOUT:?}");
            tokio::time::sleep(POLL).await;
        }
        let start_seconds = started.elapsed().as_secs_f64();
        tokio::time::sleep(REST).await;
        let (before, pids) = (gateway.cpu()?, tree_pids(gateway.pid())?);
        let watched = std::time::Instant::now();
        tokio::time::sleep(WATCHED).await;
        let seconds = watched.elapsed().as_secs_f64();
        let cpu = gateway.cpu()?.per_request_since(before, 1);
        let still: HashSet<u32> = tree_pids(gateway.pid())?.into_iter().collect();
        ensure!(pids.iter().all(|pid| still.contains(pid)), "programs ended while they were watched");
        let guard_bytes = guard_bytes(&pids)?;
        gateway.end_politely().await?;
        Ok(Self { programs: IDLE, cpu, seconds, guard_bytes, start_seconds })
    }

    /// The share of a core in percent.
    pub(crate) fn core_percent(&self) -> f64 {
        self.cpu.total_ms() / 10.0 / self.seconds
    }

    /// Memory of one guard in kilobytes.
    pub(crate) fn guard_kb(&self) -> f64 {
        self.guard_bytes as f64 / 1024.0
    }
}

/// Measures calls of one kind on a gateway with a program behind it.
///
/// # Errors
/// When a load fails.
pub(crate) async fn calls(
    bench: &Path,
    quorate: &Path,
    sink: &str,
    measure: Measure,
    plan: &Plan,
) -> Result<Vec<CpuRound>> {
    let era = if measure.in_session() { " --legacy" } else { "" };
    let flags = ["--stdio".to_owned(), format!("bench='{}' stdio{era}", bench.display())];
    let gateway = Gateway::start(quorate, &flags, sink).await?;
    let mut rounds = Vec::new();
    for round in 1..=plan.rounds {
        let both = || Ok((gateway.own_cpu()?, gateway.cpu()?));
        let (report, before, after) = load(bench, measure, plan, None, gateway.url(), both).await?;
        let own = after.0.per_request_since(before.0, report.requests);
        let all = after.1.per_request_since(before.1, report.requests);
        let program = Cpu { user_ms: all.user_ms - own.user_ms, system_ms: all.system_ms - own.system_ms };
        eprintln!(
            "{} on a program {round}/{}: program {:.3} ms, gateway {:.3} ms of CPU time; {:.0} requests/s",
            measure.name(),
            plan.rounds,
            program.total_ms(),
            own.total_ms(),
            report.rate,
        );
        rounds.push(CpuRound { direct: program, direct_load: report.clone(), gateway: own, gateway_load: report });
    }
    gateway.end_politely().await?;
    Ok(rounds)
}

/// The memory of one guard: the mean of all of them.
fn guard_bytes(pids: &[u32]) -> Result<u64> {
    let is_guard = |pid: &&u32| {
        std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"quorate-guard\0"))
    };
    let guards: Vec<u32> = pids.iter().filter(is_guard).copied().collect();
    ensure!(guards.len() >= IDLE, "{} guards for {IDLE} programs", guards.len());
    let all: u64 = guards.iter().map(|pid| proportional_bytes(*pid)).sum::<Result<u64>>()?;
    all.checked_div(guards.len() as u64).context("there are guards")
}
