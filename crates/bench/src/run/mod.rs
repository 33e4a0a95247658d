//! Starts the backend, the sink and the gateway, measures, prints the table, and writes the JSON.
//!
//! Memory comes first, on a gateway of its own that has served nothing else; then CPU time and
//! latency on a second one. The run as a whole has a time limit, and a signal ends it: either way
//! its children are killed with it.

pub(crate) mod child;
pub(crate) mod gateway;
mod guarded;
mod identity;
mod keys;
pub(crate) mod known;
mod memory;
pub(crate) mod process;
mod programs;
pub(crate) mod report;
mod resources;
pub(crate) mod sink;
pub(crate) mod speed;
mod strangers;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};

use self::child::Child;
use self::gateway::Gateway;
use self::guarded::Guarded;
use self::identity::Tokens;
use self::keys::ApiKeys;
use self::memory::{Memory, Parked};
use self::programs::Idle;
use self::report::{Light, Numbers, Programs, Row, Shaped};
use self::resources::Setting;
use self::sink::Sink;
use self::speed::{CpuRound, Parts, Plan, median};
use self::strangers::Strangers;
use crate::bounded::bounded;
use crate::load::Until;
use crate::message::Measure;

/// The share of the highest rate at which latency is measured.
const LATENCY_SHARE: f64 = 0.2;
const BACKEND_TIMEOUT: Duration = Duration::from_secs(10);

/// What to measure, and how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The gateway's program. Default: `quorate` beside this program.
    #[arg(long, value_name = "FILE")]
    quorate: Option<PathBuf>,
    /// Where the numbers are written. Default: `numbers.json` beside this program.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Rounds of each measure.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Requests of each load that count.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(100..=1_000_000))]
    requests: u64,
    /// Requests of each load before those that count.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    warm_up: u64,
    /// Connections of each load.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
    connections: u32,
    /// Seconds of each load at a fixed rate.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,
    /// Sessions whose memory is measured.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(16..=50_000))]
    sessions: u64,
    /// Minutes after which the run gives up.
    #[arg(long, default_value_t = 20)]
    minutes_max: u64,
}

// === impl Args ===

impl Args {
    fn plan(&self) -> Plan {
        Plan {
            rounds: self.rounds,
            requests: self.requests,
            warm_up: self.warm_up,
            connections: self.connections,
            seconds: self.seconds,
            until: Until::Last,
        }
    }
}

/// Runs the process.
///
/// # Errors
/// When something could not be measured; a number below its floor is no error, but exit code 1.
pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let numbers = bounded(args.minutes_max, measure(&args)).await?;
    finish(&numbers, args.json.as_ref(), "numbers.json", (&numbers.to_tables(), numbers.is_passed()))
}

/// Ends a run: its rounds as a file, its tables as they are read, and whether it has passed.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn finish(
    numbers: &impl serde::Serialize,
    json: Option<&PathBuf>,
    default: &str,
    (tables, is_passed): (&str, bool),
) -> Result<ExitCode> {
    let json = match json {
        Some(json) => json.clone(),
        None => beside(default)?,
    };
    let mut text = serde_json::to_string_pretty(numbers)?;
    text.push('\n');
    std::fs::write(&json, text).with_context(|| format!("write {}", json.display()))?;
    crate::load::say(&format!("\n{tables}\nThe rounds are in {}.", json.display()))?;
    Ok(ExitCode::from(u8::from(!is_passed)))
}

async fn measure(args: &Args) -> Result<Numbers> {
    let bench = std::env::current_exe().context("the path of this program")?;
    let quorate = match &args.quorate {
        Some(quorate) => quorate.clone(),
        None => beside("quorate")?,
    };
    let (sink, sink_url) = Sink::start()?;
    let mut backend = Child::start("the backend", &bench, &["backend".to_owned()])?;
    let backend_url = backend.line(BACKEND_TIMEOUT).await?;

    let gateway = Gateway::before(&quorate, &backend_url, &sink_url).await?;
    let memory = Memory::measure(&gateway, args.sessions).await?;
    gateway.end().await?;

    let tokens = Tokens::measure().await?;
    let api_keys = ApiKeys::measure()?;
    let bridged = bridged(args, &bench, &quorate, &sink_url).await?;
    let setting = Setting {
        bench: &bench,
        quorate: &quorate,
        backend: &backend,
        backend_url: &backend_url,
        sink: &sink_url,
        plan: &args.plan(),
    };
    let shaped = Shaped {
        api_call: resources::api_calls(&setting).await?,
        curated_call: resources::curated_calls(&setting).await?,
        guarded: Guarded::measure(&setting, &sink).await?,
        strangers: Strangers::measure(&setting).await?,
    };
    let programs = Programs {
        modern_call: programs::calls(&bench, &quorate, &sink_url, Measure::ModernCall, &args.plan()).await?,
        legacy_call: programs::calls(&bench, &quorate, &sink_url, Measure::LegacyCall, &args.plan()).await?,
        idle: Idle::measure(&bench, &quorate, &sink_url).await?,
    };

    let gateway = Gateway::before(&quorate, &backend_url, &sink_url).await?;
    let parts = Parts { bench: &bench, backend: &backend, backend_url: &backend_url, gateway: &gateway };
    let mut numbers = speed(args, &parts, memory, bridged, shaped, programs, &sink).await?;
    numbers.table.extend(numbers.shaped.guarded.rows());
    numbers.table.extend(tokens.rows());
    numbers.table.extend(api_keys.rows());
    gateway.check_metrics("mcp_server_operation_duration").await?;
    gateway.end().await?;
    backend.end().await?;
    Ok(numbers)
}

/// Measures stateless calls on a server of sessions, on a gateway of their own.
async fn bridged(args: &Args, bench: &Path, quorate: &Path, sink_url: &str) -> Result<(Vec<CpuRound>, Parked)> {
    let arguments = ["backend".to_owned(), "--legacy".to_owned()];
    let mut backend = Child::start("the backend of sessions", bench, &arguments)?;
    let backend_url = backend.line(BACKEND_TIMEOUT).await?;
    let gateway = Gateway::before(quorate, &backend_url, sink_url).await?;
    let parts = Parts { bench, backend: &backend, backend_url: &backend_url, gateway: &gateway };
    let calls = parts.cpu_across(Measure::LegacyCall, Measure::ModernCall, &args.plan()).await?;
    let parked = Parked::measure(&gateway).await?;
    gateway.end().await?;
    backend.end().await?;
    Ok((calls, parked))
}

async fn speed(
    args: &Args,
    parts: &Parts<'_>,
    memory: Memory,
    (bridged_call, parked): (Vec<CpuRound>, Parked),
    shaped: Shaped,
    programs: Programs,
    sink: &Sink,
) -> Result<Numbers> {
    let plan = args.plan();
    let modern_call = parts.cpu(Measure::ModernCall, &plan).await?;
    let legacy_call = parts.cpu(Measure::LegacyCall, &plan).await?;
    let tools_list = parts.cpu(Measure::ToolsList, &plan).await?;
    let share = |rounds: &[CpuRound]| LATENCY_SHARE * median(rounds.iter().map(|round| round.gateway_load.rate));
    let (modern_rate, legacy_rate) = (share(&modern_call), share(&legacy_call));
    let modern_latency = parts.latency(Measure::ModernCall, &plan, modern_rate).await?;
    let legacy_latency = parts.latency(Measure::LegacyCall, &plan, legacy_rate).await?;
    // Goals and floors of the project's issue "Numbers"; they change there first.
    let mut table = vec![
        Row::of_cpu("CPU time, modern `tools/call`, 500 B in, 4 KB out", &modern_call, 0.08, 0.12),
        Row::of_cpu("CPU time, legacy `tools/call` in a session, JSON answer", &legacy_call, 0.10, 0.15),
        Row::of_cpu("CPU time, `tools/list` of 50 tools from cache", &tools_list, 0.05, 0.08),
        Row::of_cpu("CPU time, modern `tools/call` on a server of sessions", &bridged_call, 0.14, 0.20),
        Row::of_cpu("CPU time, modern `tools/call` on an API (OpenAPI)", &shaped.api_call, 0.12, 0.18),
        // No goal of its own: what a plain call is held to.
        Row::of_cpu("CPU time, modern `tools/call` in a curated toolset", &shaped.curated_call, 0.08, 0.12),
        Row::of_cpu(
            "CPU time, modern `tools/call` on a program (direct: the program)",
            &programs.modern_call,
            0.15,
            0.25,
        ),
        Row::of_cpu("CPU time, legacy `tools/call`, a program per session", &programs.legacy_call, 0.15, 0.25),
        Row::of_latency("p99 at 20% of the maximum rate, modern call (added)", &modern_latency, 1.0, 2.0),
        Row::of_gateway("Memory, idle", "MB", memory.idle_mb(), 25.0, 35.0),
        Row::of_gateway("Memory per live idle session", "KB", memory.session_kb(), 16.0, 24.0),
        Row::of_gateway("Memory per parked call", "KB", parked.call_kb(), 8.0, 16.0),
        Row::of_gateway("1,000 idle programs, share of a core", "%", programs.idle.core_percent(), 2.0, 2.0),
        Row::of_gateway("Memory of a program's guard", "KB", programs.idle.guard_kb(), 1024.0, 2048.0),
    ];
    table.extend(shaped.strangers.rows());
    let light = vec![
        Light::of("modern `tools/call`", modern_rate, &modern_latency),
        Light::of("legacy `tools/call`", legacy_rate, &legacy_latency),
    ];
    let cores = std::thread::available_parallelism()?.get();
    let spans = sink.spans();
    anyhow::ensure!(spans > 0, "the gateway exported no span, so tracing was not part of what was measured");
    Ok(Numbers {
        cores,
        table,
        light,
        spans,
        modern_call,
        legacy_call,
        tools_list,
        modern_latency,
        legacy_latency,
        bridged_call,
        memory,
        parked,
        shaped,
        programs,
    })
}

/// Returns the path of a file in the folder of this program.
pub(crate) fn beside(name: &str) -> Result<PathBuf> {
    let program = std::env::current_exe().context("the path of this program")?;
    Ok(program.parent().unwrap_or(Path::new(".")).join(name))
}
