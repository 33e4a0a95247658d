//! `quorate-chaos`: kills nodes of a cluster under sessions, and says whether everything was as promised.
//!
//! Prints the plan with its seed, then a table. Exit code 0 when nothing was found, 1 when something was, with the history of
//! each session that saw it and of the faults; 2 for a wrong command line. Asked to stop (SIGINT, SIGTERM), it kills no more
//! nodes, lets each session end its call, and says what came of it so far: exit code 1.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Parser;
use quorate_chaos::report;
use quorate_chaos::run::{Plan, run};
use signal_hook::consts::{SIGINT, SIGTERM};

/// Kills nodes of a cluster under sessions whose clients check every event.
#[derive(Debug, Parser)]
#[command(name = "quorate-chaos", max_term_width = 110)]
struct Arguments {
    /// Nodes that are killed.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    kills: u32,
    /// What everything is drawn from. Default: the time.
    #[arg(long)]
    seed: Option<u64>,
    /// Sessions at a time.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u64).range(1..=512))]
    sessions: u64,
    /// Shards of the cluster.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=256))]
    shards: u32,
    /// Seconds after which no more nodes are killed; fewer kills than asked for is a failure.
    #[arg(long, default_value_t = 36_000, value_parser = clap::value_parser!(u64).range(10..=360_000))]
    seconds_max: u64,
    /// A folder for the nodes' logs and the sessions' histories.
    #[arg(long, value_name = "FOLDER")]
    logs: Option<PathBuf>,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_secs());
    let plan = Plan {
        kills: arguments.kills,
        seed: arguments.seed.unwrap_or_else(now),
        sessions: arguments.sessions,
        shards: arguments.shards,
        time_max: Duration::from_secs(arguments.seconds_max),
        logs: arguments.logs,
        stop: Arc::default(),
    };
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&plan.stop))?;
    }
    let mut out = std::io::stdout();
    writeln!(out, "chaos: {} kills, seed {}, {} sessions", plan.kills, plan.seed, plan.sessions)?;
    let outcome = run(&plan)?;
    writeln!(out, "{}", report::render(&plan, &outcome))?;
    if !outcome.is_good() {
        writeln!(out, "faults:\n{}", outcome.faults)?;
    }
    for violation in &outcome.violations {
        writeln!(out, "{violation}\n")?;
    }
    // What was found stands last and in a line each: whoever sees the end of a long text alone sees all of it.
    for violation in &outcome.violations {
        writeln!(out, "VIOLATION {}", violation.lines().next().unwrap_or_default())?;
    }
    for finding in &outcome.verdict.findings {
        writeln!(out, "FOUND {finding}")?;
    }
    let is_complete = outcome.counts.all_kills() >= plan.kills;
    if !outcome.is_good() {
        writeln!(out, "again with: --seed {} --kills {}", plan.seed, plan.kills)?;
    } else if !is_complete {
        let why = if plan.stop.load(Ordering::Relaxed) { "asked to stop" } else { "out of time" };
        let (kills, took) = (outcome.counts.all_kills(), outcome.took.as_secs());
        writeln!(out, "FOUND {kills} of {} kills in {took} s: {why}", plan.kills)?;
    }
    Ok(ExitCode::from(u8::from(!outcome.is_good() || !is_complete)))
}
