//! CPU time per request and added latency: loads side by side, direct and through the gateway.
//!
//! Each round is a load on the backend and one on the gateway, one after the other, so that what
//! else the machine does falls on both. A round's CPU time is read right before the first request
//! that counts and right after the last. The medians of the rounds go into the table.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use super::child::Child;
use super::gateway::Gateway;
use super::process::Cpu;
use crate::load::{READY, Report, Until};
use crate::message::Measure;

/// How long connecting and warming up may take.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a load process may take to end after its report.
const END_TIMEOUT: Duration = Duration::from_secs(10);
/// Seconds for the requests that count.
const LOAD_SECONDS_MAX: u64 = 120;

/// How much is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Rounds of each measure.
    pub(crate) rounds: u32,
    /// Requests of each load that count.
    pub(crate) requests: u64,
    /// Requests before them.
    pub(crate) warm_up: u64,
    /// Connections of each load.
    pub(crate) connections: u32,
    /// Seconds of each load of an open loop.
    pub(crate) seconds: u32,
    /// Where latency ends.
    pub(crate) until: Until,
}

/// The processes that take part.
pub(crate) struct Parts<'a> {
    /// The program of this bench.
    pub(crate) bench: &'a Path,
    /// The tool server, for its CPU time.
    pub(crate) backend: &'a Child,
    /// Where it serves.
    pub(crate) backend_url: &'a str,
    /// The gateway before it.
    pub(crate) gateway: &'a Gateway,
}

/// One round of a closed loop.
#[derive(Debug, Serialize)]
pub(crate) struct CpuRound {
    /// CPU time of the backend per request, asked directly.
    pub(crate) direct: Cpu,
    /// The load on the backend.
    pub(crate) direct_load: Report,
    /// CPU time of the gateway per request.
    pub(crate) gateway: Cpu,
    /// The load on the gateway.
    pub(crate) gateway_load: Report,
}

/// One round of an open loop.
#[derive(Debug, Serialize)]
pub(crate) struct LatencyRound {
    /// The load on the backend.
    pub(crate) direct: Report,
    /// CPU time of the backend per request, asked directly.
    pub(crate) direct_cpu: Cpu,
    /// The load on the gateway.
    pub(crate) gateway: Report,
    /// CPU time of the gateway per request.
    pub(crate) gateway_cpu: Cpu,
}

// === impl LatencyRound ===

impl LatencyRound {
    /// What the gateway adds to the 99th percentile, in milliseconds.
    pub(crate) fn added_p99_ms(&self) -> f64 {
        self.gateway.p99_ms - self.direct.p99_ms
    }
}

// === impl Parts ===

impl Parts<'_> {
    /// Measures CPU time per request in a closed loop.
    ///
    /// # Errors
    /// When a load fails.
    pub(crate) async fn cpu(&self, measure: Measure, plan: &Plan) -> Result<Vec<CpuRound>> {
        self.cpu_across(measure, measure, plan).await
    }

    /// Measures CPU time per request where the gateway is asked another way than the backend.
    ///
    /// # Errors
    /// When a load fails.
    pub(crate) async fn cpu_across(&self, directly: Measure, measure: Measure, plan: &Plan) -> Result<Vec<CpuRound>> {
        let mut rounds = Vec::new();
        for round in 1..=plan.rounds {
            let backend = || Cpu::of_tree(self.backend.pid());
            let (direct_load, direct) = self.load(directly, plan, None, self.backend_url, backend).await?;
            let url = self.gateway.url();
            let (gateway_load, gateway) = self.load(measure, plan, None, url, || self.gateway.cpu()).await?;
            eprintln!(
                "{} {round}/{}: direct {:.3} ms, gateway {:.3} ms of CPU time; {:.0} and {:.0} requests/s",
                measure.name(),
                plan.rounds,
                direct.total_ms(),
                gateway.total_ms(),
                direct_load.rate,
                gateway_load.rate,
            );
            rounds.push(CpuRound { direct, direct_load, gateway, gateway_load });
        }
        Ok(rounds)
    }

    /// Measures latency, and CPU time beside it, at a fixed rate.
    ///
    /// # Errors
    /// When a load fails.
    pub(crate) async fn latency(&self, measure: Measure, plan: &Plan, rate: f64) -> Result<Vec<LatencyRound>> {
        let requests = ((rate * f64::from(plan.seconds)) as u64).max(1);
        let plan = Plan { requests, ..*plan };
        let mut rounds = Vec::new();
        for round in 1..=plan.rounds {
            let backend = || Cpu::of_tree(self.backend.pid());
            let (direct, direct_cpu) = self.load(measure, &plan, Some(rate), self.backend_url, backend).await?;
            let url = self.gateway.url();
            let (gateway, gateway_cpu) = self.load(measure, &plan, Some(rate), url, || self.gateway.cpu()).await?;
            eprintln!(
                "{} at {rate:.0}/s {round}/{}: direct p99 {:.3} ms, gateway p99 {:.3} ms and {:.3} ms of CPU time",
                measure.name(),
                plan.rounds,
                direct.p99_ms,
                gateway.p99_ms,
                gateway_cpu.total_ms(),
            );
            rounds.push(LatencyRound { direct, direct_cpu, gateway, gateway_cpu });
        }
        Ok(rounds)
    }

    /// Runs one load; returns its report and the CPU time per request that `cpu` read.
    async fn load(
        &self,
        measure: Measure,
        plan: &Plan,
        rate: Option<f64>,
        url: &str,
        cpu: impl Fn() -> Result<Cpu>,
    ) -> Result<(Report, Cpu)> {
        let (report, before, used) = load(self.bench, measure, plan, rate, url, cpu).await?;
        let used = used.per_request_since(before, report.requests);
        Ok((report, used))
    }
}

/// Runs one load; returns its report, and what `read` said right before and right after it.
///
/// # Errors
/// When the load fails.
pub(crate) async fn load<T>(
    bench: &Path,
    measure: Measure,
    plan: &Plan,
    rate: Option<f64>,
    url: &str,
    read: impl Fn() -> Result<T>,
) -> Result<(Report, T, T)> {
    let mut arguments = vec![
        "load".to_owned(),
        format!("--url={url}"),
        format!("--measure={}", measure.name()),
        format!("--connections={}", plan.connections),
        format!("--until={}", plan.until.name()),
        format!("--warm-up={}", plan.warm_up),
        format!("--requests={}", plan.requests),
        format!("--seconds-max={LOAD_SECONDS_MAX}"),
    ];
    arguments.extend(rate.map(|rate| format!("--rate={rate}")));
    let mut load = Child::start("the load", bench, &arguments)?;
    let line = load.line(READY_TIMEOUT).await?;
    anyhow::ensure!(line == READY, "the load said {line:?}");
    let before = read()?;
    load.tell("go").await?;
    let line = load.line(Duration::from_secs(LOAD_SECONDS_MAX + 10)).await?;
    let after = read()?;
    let report: Report = serde_json::from_str(&line).with_context(|| format!("the load said {line:?}"))?;
    load.finish(END_TIMEOUT).await?;
    Ok((report, before, after))
}

/// Returns the median of some values; of an even number, the mean of the middle two.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => f64::midpoint(values[count / 2 - 1], values[count / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_not_moved_by_one_outlier() {
        for (values, expected) in
            [(vec![3.0, 1.0, 99.0], 3.0), (vec![1.0, 2.0, 4.0, 99.0], 3.0), (vec![5.0], 5.0), (vec![2.0, 1.0], 1.5)]
        {
            assert_eq!(median(values), expected);
        }
        assert!(median([]).is_nan());
    }
}
