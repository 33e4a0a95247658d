//! Measures what a call of a model costs, beside a direct connection and the gateways of others, in one run.
//!
//! A mock provider, our gateway as a team would run it, and HAProxy, Envoy, SMG and LiteLLM before the same provider are all there at the
//! same time, and asked one after the other in each round. CPU time first, then latency at a fifth of the highest rate, then many streams
//! that stay open. Everything is bounded, and every child ends with the run.

pub(crate) mod crowd;
mod gateway;
mod ground;
mod peers;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};

use self::ground::{Ground, Loaded, Side, at_rate};
use self::peers::{Kind, Programs};
use self::report::Numbers;
use crate::bounded::bounded;
use crate::load::{Report, Until, say};
use crate::prompt::Prompt;
use crate::run::sink::Sink;
use crate::run::speed::{Plan, median};
use crate::run::{beside, finish};

/// The share of our gateway's highest rate at which latency is measured.
const LATENCY_SHARE: f64 = 0.2;
/// The sides whose latency is measured: LiteLLM does not get to the rate.
const LATENCY_SIDES: [Side; 5] = [Side::Direct, Side::Haproxy, Side::Envoy, Side::Smg, Side::Quorate];
/// The sides that hold many streams.
const CROWD_SIDES: [Side; 4] = [Side::Direct, Side::Haproxy, Side::Envoy, Side::Quorate];

/// What to measure, and how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The gateway's program. Default: `quorate` beside this program.
    #[arg(long, value_name = "FILE")]
    quorate: Option<PathBuf>,
    /// Where the numbers are written. Default: `numbers-models.json` beside this program.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The folder with the packages of Envoy, SMG and LiteLLM, which `cargo xtask bench -- models` installs.
    #[arg(long, value_name = "FOLDER")]
    peers: Option<PathBuf>,
    /// HAProxy's program.
    #[arg(long, value_name = "FILE", default_value = "haproxy")]
    haproxy: PathBuf,
    /// Gateways of others to measure beside. Default: all with `--peers`, else HAProxy alone.
    #[arg(long, value_enum, value_delimiter = ',')]
    beside: Option<Vec<Kind>>,
    /// What to measure. Default: everything.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// What to ask. Default: everything.
    #[arg(long, value_delimiter = ',', value_parser = prompt)]
    prompts: Vec<Prompt>,
    /// Rounds of each measure.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Requests of each load that count.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(100..=1_000_000))]
    requests: u64,
    /// Requests of each load before those that count.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    warm_up: u64,
    /// Connections of each load.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
    connections: u32,
    /// Seconds of each load at a fixed rate.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,
    /// Streams that are open at once.
    #[arg(long, default_value_t = 9_000, value_parser = clap::value_parser!(u32).range(100..=15_000))]
    streams: u32,
    /// Minutes after which the run gives up.
    #[arg(long, default_value_t = 40)]
    minutes_max: u64,
}

/// A part of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// CPU time per request.
    Cpu,
    /// Latency at a fifth of the highest rate.
    Latency,
    /// Streams that stay open.
    Streams,
}

/// Runs the process.
///
/// # Errors
/// When something could not be measured; a number below its floor is no error, but exit code 1.
pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let numbers = bounded(args.minutes_max, measure(&args)).await?;
    finish(&numbers, args.json.as_ref(), "numbers-models.json", (&numbers.to_tables(), numbers.is_passed()))
}

async fn measure(args: &Args) -> Result<Numbers> {
    let bench = std::env::current_exe().context("the path of this program")?;
    let quorate = match &args.quorate {
        Some(quorate) => quorate.clone(),
        None => beside("quorate")?,
    };
    let (sink, sink_url) = Sink::start()?;
    let programs = Programs { haproxy: args.haproxy.clone(), packages: args.peers.clone() };
    let ground = Ground::start(&bench, &quorate, &sink_url, &args.kinds(), &programs).await?;
    let mut numbers = Numbers::default();
    if args.has(Part::Cpu) {
        numbers.cpu = cpu(args, &ground).await?;
    }
    if args.has(Part::Latency) {
        (numbers.latency, numbers.first) = latency(args, &ground, &numbers.cpu).await?;
    }
    if args.has(Part::Streams) {
        // Before the provider itself holds memory for them: it is asked directly last.
        for side in CROWD_SIDES.into_iter().rev().filter(|side| ground.sides(Prompt::ChatStream).contains(side)) {
            let crowded = ground.crowd(side, args.streams).await?;
            say(&format!(
                "{} streams through {}: {:.1} KB each, p99 {:.2} ms",
                args.streams,
                side.name(),
                crowded.stream_kb,
                crowded.watched.p99_ms
            ))?;
            numbers.streams.push(crowded);
        }
    }
    ground.gateway.gateway.check_metrics("gen_ai_client_token_usage").await?;
    numbers.spans = sink.spans();
    ensure!(numbers.spans > 0, "the gateway exported no span, so tracing was not part of what was measured");
    ground.end().await?;
    Ok(numbers)
}

/// Measures CPU time per request in a closed loop.
async fn cpu(args: &Args, ground: &Ground<'_>) -> Result<Vec<Loaded>> {
    let plan = args.plan();
    let mut all = Vec::new();
    for round in 1..=plan.rounds {
        for prompt in args.prompts() {
            let mut said = format!("{} {round}/{}:", prompt.name(), plan.rounds);
            for side in ground.sides(prompt) {
                let loaded = ground.load(side, prompt, &plan, None).await?;
                said.push_str(&format!(" {} {:.3} ms,", side.name(), loaded.cpu.total_ms()));
                all.push(loaded);
            }
            say(said.trim_end_matches(','))?;
        }
    }
    Ok(all)
}

/// Measures latency at a fixed rate: of whole answers, and until streams begin.
async fn latency(args: &Args, ground: &Ground<'_>, cpu: &[Loaded]) -> Result<(Vec<Loaded>, Vec<Loaded>)> {
    let (mut last, mut first) = (Vec::new(), Vec::new());
    for (prompt, until, all) in [(Prompt::Chat, Until::Last, &mut last), (Prompt::ChatStream, Until::First, &mut first)]
    {
        let rate = LATENCY_SHARE * highest_rate(args, ground, cpu, prompt).await?;
        let plan = at_rate(&args.plan(), rate, until);
        for round in 1..=plan.rounds {
            let mut said = format!("{} at {rate:.0}/s {round}/{}:", prompt.name(), plan.rounds);
            for side in LATENCY_SIDES.into_iter().filter(|side| ground.sides(prompt).contains(side)) {
                let loaded = ground.load(side, prompt, &plan, Some(rate)).await?;
                let Report { p50_ms, p99_ms, .. } = &loaded.load;
                said.push_str(&format!(" {} p50 {p50_ms:.3} p99 {p99_ms:.3} ms,", side.name()));
                all.push(loaded);
            }
            say(said.trim_end_matches(','))?;
        }
    }
    Ok((last, first))
}

/// The rate that our gateway gets to in a closed loop.
async fn highest_rate(args: &Args, ground: &Ground<'_>, cpu: &[Loaded], prompt: Prompt) -> Result<f64> {
    let known: Vec<f64> = cpu
        .iter()
        .filter(|loaded| loaded.side == Side::Quorate && loaded.prompt == prompt.name())
        .map(|loaded| loaded.load.rate)
        .collect();
    if known.is_empty() {
        return Ok(ground.load(Side::Quorate, prompt, &args.plan(), None).await?.load.rate);
    }
    Ok(median(known))
}

fn prompt(name: &str) -> Result<Prompt, String> {
    let names: Vec<&str> = Prompt::ALL.iter().map(|prompt| prompt.name()).collect();
    let found = Prompt::ALL.into_iter().find(|prompt| prompt.name() == name);
    found.ok_or_else(|| format!("allowed are {}", names.join(", ")))
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

    fn has(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    fn prompts(&self) -> Vec<Prompt> {
        if self.prompts.is_empty() { Prompt::ALL.to_vec() } else { self.prompts.clone() }
    }

    fn kinds(&self) -> Vec<Kind> {
        match (&self.beside, &self.peers) {
            (Some(kinds), _) => kinds.clone(),
            (None, Some(_)) => Kind::ALL.to_vec(),
            (None, None) => vec![Kind::Haproxy],
        }
    }
}
