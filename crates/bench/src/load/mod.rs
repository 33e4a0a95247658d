//! Sends requests of one kind over kept connections, checks every answer, and reports as JSON.
//!
//! It connects, opens sessions where the measure needs them, warms up, says `ready`, waits for a
//! line on its standard input, sends what counts, and prints one [`Report`]. So its parent can
//! read the gateway's CPU time right before and after. When the standard input ends, so does it.
//! One wrong answer fails the whole load: there is no share of errors that is fine.

pub(crate) mod flood;
mod schedule;
mod worker;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::task::JoinSet;

use self::schedule::Schedule;
pub(crate) use self::worker::Until;
use self::worker::{Turns, Worker};
use crate::client::Target;
use crate::message::Measure;

/// The line that says that the load may begin.
pub(crate) const READY: &str = "ready";

/// What to send.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to send it: a URL with a loopback address.
    #[arg(long)]
    pub(crate) url: String,
    /// The kind of request.
    #[arg(long, value_enum)]
    pub(crate) measure: Measure,
    /// Where the latency of a request ends: with the first bytes of the answer's body, or with the last.
    #[arg(long, value_enum, default_value = "last")]
    pub(crate) until: Until,
    /// Connections, each with one request at a time.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) connections: u32,
    /// Requests in advance that do not count.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) warm_up: u64,
    /// Requests that count.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) requests: u64,
    /// Requests per second, whatever the answers do (an open loop). Default: the next one follows
    /// the answer (a closed loop).
    #[arg(long)]
    pub(crate) rate: Option<f64>,
    /// Seconds in which the requests that count must be done.
    #[arg(long, default_value_t = 120)]
    pub(crate) seconds_max: u64,
}

/// What a load found.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Report {
    /// Requests that count; each was answered, and rightly.
    pub(crate) requests: u64,
    /// Seconds from the first request to the last answer.
    pub(crate) seconds: f64,
    /// Requests per second.
    pub(crate) rate: f64,
    /// Median latency in milliseconds.
    pub(crate) p50_ms: f64,
    /// 99th percentile of latency in milliseconds.
    pub(crate) p99_ms: f64,
    /// Largest latency in milliseconds.
    pub(crate) max_ms: f64,
}

/// Runs the process.
///
/// # Errors
/// When the target does not answer, or not rightly, or not in time.
pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    if let Some(rate) = args.rate {
        ensure!((1.0..=1_000_000.0).contains(&rate), "--rate {rate} is not from 1 to 1000000");
    }
    let target = Target::parse(&args.url)?;
    let numbers = Arc::new(AtomicU64::new(1_000_000));
    let mut workers = Vec::new();
    for _ in 0..args.connections {
        workers.push(Worker::open(&target, args.measure, args.until, Arc::clone(&numbers)).await?);
    }
    let (workers, _, _) = send(workers, Turns::closed(args.warm_up)).await.context("warm-up")?;
    say(READY)?;
    let mut line = String::new();
    if BufReader::new(tokio::io::stdin()).read_line(&mut line).await? == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    let turns = match args.rate {
        None => Turns::closed(args.requests),
        Some(rate) => Turns::open(Schedule { rate, requests: args.requests }),
    };
    let limit = Duration::from_secs(args.seconds_max);
    let done = tokio::time::timeout(limit, send(workers, turns)).await;
    let (workers, latencies, elapsed) = done.with_context(|| format!("not done within {limit:?}"))??;
    say(&serde_json::to_string(&Report::of(latencies, elapsed)?)?)?;
    for worker in workers {
        worker.end().await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints a line for the parent process, at once.
pub(crate) fn say(line: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).context("standard output")
}

/// Lets the workers take turns until there are none left; returns them with all latencies.
async fn send(workers: Vec<Worker>, turns: Turns) -> Result<(Vec<Worker>, Vec<Duration>, Duration)> {
    let begun = Instant::now();
    let mut running = JoinSet::new();
    for worker in workers {
        running.spawn(worker.work(turns.clone()));
    }
    let (mut workers, mut latencies) = (Vec::new(), Vec::new());
    while let Some(done) = running.join_next().await {
        let (worker, measured) = done.context("a worker")??;
        workers.push(worker);
        latencies.extend(measured);
    }
    Ok((workers, latencies, begun.elapsed()))
}

// === impl Report ===

impl Report {
    fn of(mut latencies: Vec<Duration>, elapsed: Duration) -> Result<Self> {
        latencies.sort_unstable();
        let requests = u64::try_from(latencies.len())?;
        let at = |share| percentile(&latencies, share).map(|latency| latency.as_secs_f64() * 1000.0);
        let seconds = elapsed.as_secs_f64();
        let rate = requests as f64 / seconds;
        Ok(Self { requests, seconds, rate, p50_ms: at(0.5)?, p99_ms: at(0.99)?, max_ms: at(1.0)? })
    }
}

/// Returns the smallest value that `share` of the sorted values do not exceed.
fn percentile(sorted: &[Duration], share: f64) -> Result<Duration> {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().context("nothing was measured")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let sorted: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        for (share, expected) in [(0.5, 100), (0.99, 198), (1.0, 200), (0.001, 1)] {
            assert_eq!(percentile(&sorted, share).unwrap(), Duration::from_millis(expected), "{share}");
        }
        assert!(percentile(&[], 0.5).is_err());
    }

    #[test]
    fn a_report_counts_and_divides() {
        let report = Report::of(vec![Duration::from_millis(2); 100], Duration::from_secs(2)).unwrap();

        assert_eq!((report.requests, report.rate, report.p99_ms), (100, 50.0, 2.0));
    }
}
