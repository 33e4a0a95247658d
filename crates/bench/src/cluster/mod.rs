//! What consensus costs and how soon it is back, beside etcd on the same disk in the same run.
//!
//! Three nodes of the bench, which are processes of this binary with nothing but consensus in them, and three of etcd are
//! written to in turn by the same client over the same call. Then nodes are killed, cut off, left alone, and started on full
//! disks. Everything is bounded in count and time, and a signal ends it: either way its children are killed with it.
//! The method is in docs/src/numbers.md.

mod apply;
pub(crate) mod commits;
pub(crate) mod etcd;
mod faults;
mod grid;
mod host;
mod node;
mod pki;
mod plot;
mod putter;
pub(crate) mod report;
mod rest;
mod said;
mod service;
mod stalls;
mod table;
mod trio;
mod writers;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};

pub(crate) use self::node::{Args as NodeArgs, run as node};
use self::report::Report;
pub(crate) use self::writers::{Args as WritersArgs, run as writers};
use crate::bounded::bounded;

/// What to measure, and how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder whose disk is measured. Default: that of this program.
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// etcd's program. Default: `etcd` of the path, else Debian's package, fetched with apt-get.
    #[arg(long, value_name = "FILE")]
    etcd: Option<PathBuf>,
    /// The program whose nodes resources are applied to. Default: `quorate` beside this program.
    #[arg(long, value_name = "FILE")]
    quorate: Option<PathBuf>,
    /// Where the plot over groups and nodes is written. Default: `groups.svg` beside this program.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Where the numbers are written. Default: `consensus.json` beside this program.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// What is measured. Default: everything.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Rounds of writing.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Milliseconds of each writing.
    #[arg(long, default_value_t = 3_000, value_parser = clap::value_parser!(u64).range(100..=60_000))]
    millis: u64,
    /// Leaders that are killed.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    kills: u32,
    /// Leaders that are cut off.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    cuts: u32,
    /// Seconds in which idle nodes are watched.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=600))]
    idle_seconds: u64,
    /// Minutes in which nodes under load are watched for leaders that change.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
    stall_minutes: u64,
    /// Seconds in which the idle nodes of each number of groups and nodes are watched.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    cell_seconds: u64,
    /// Records of a cold start.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    records: u64,
    /// Minutes after which the run gives up.
    #[arg(long, default_value_t = 120)]
    minutes_max: u64,
}

/// A part of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Writing, beside etcd.
    Commits,
    /// Writing without etcd.
    Alone,
    /// Writing to 32 groups, without etcd.
    Groups,
    /// Killed leaders.
    Kills,
    /// Leaders that are cut off.
    Cuts,
    /// Idle nodes.
    Idle,
    /// Resources that are applied to nodes as shipped.
    Apply,
    /// Cold starts.
    Cold,
    /// Numbers of groups and of nodes.
    Grid,
    /// Leaders that change by themselves.
    Stalls,
}

const PARTS: [Part; 9] = [
    Part::Commits,
    Part::Groups,
    Part::Kills,
    Part::Cuts,
    Part::Idle,
    Part::Apply,
    Part::Cold,
    Part::Grid,
    Part::Stalls,
];

/// Runs the process.
///
/// # Errors
/// When something could not be measured; a number below its floor is no error, but exit code 1.
pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let report = bounded(args.minutes_max, measure(&args)).await?;
    let json = match &args.json {
        Some(json) => json.clone(),
        None => beside()?.join("consensus.json"),
    };
    std::fs::write(&json, report.to_json()?).with_context(|| format!("write {}", json.display()))?;
    crate::load::say(&format!("\n{}\nThe rounds are in {}.", report.to_table(), json.display()))?;
    Ok(ExitCode::from(u8::from(!report.is_passed())))
}

async fn measure(args: &Args) -> Result<Report> {
    let place = match &args.folder {
        Some(folder) => folder.clone(),
        None => beside()?,
    };
    let parts = if args.only.is_empty() { PARTS.to_vec() } else { args.only.clone() };
    let mut report = Report::default();
    for part in parts {
        match part {
            Part::Commits => commits::beside_etcd(args, &place, &mut report).await?,
            Part::Alone => commits::alone(args, &place, &mut report).await?,
            Part::Groups => commits::of_many_groups(args, &place, &mut report).await?,
            Part::Kills => faults::kills(args, &place, &mut report).await?,
            Part::Cuts => faults::cuts(args, &place, &mut report).await?,
            Part::Idle => rest::idle(args, &place, &mut report).await?,
            Part::Apply => apply::apply(args, &place, &mut report).await?,
            Part::Cold => rest::cold(args, &place, &mut report).await?,
            Part::Grid => grid::grid(args, &place, &mut report).await?,
            Part::Stalls => stalls::stalls(args, &place, &mut report).await?,
        }
    }
    Ok(report)
}

/// The folder of this program.
pub(crate) fn beside() -> Result<PathBuf> {
    let program = std::env::current_exe().context("the path of this program")?;
    Ok(program.parent().context("a program is in a folder")?.to_owned())
}
