//! What sessions cost that outlive their node, and how soon they are back when it is lost.
//!
//! Three nodes as shipped, a tool server whose calls tell of their progress ([`ticker`]), and clients in a process of their own
//! that check every event ([`crowd`]). Nodes are killed and drained by their operator's means. Everything is bounded in count
//! and time, and ends with the run. The method is in docs/src/numbers-sessions.md.

pub(crate) mod crowd;
mod events;
mod faults;
mod idle;
mod nodes;
mod requests;
pub(crate) mod ticker;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use self::nodes::Nodes;
use crate::bounded::bounded;
use crate::cluster::report::Report;
use crate::load::READY;
use crate::run::child::Child;

/// What to measure, and how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder whose disk the nodes write to. Default: that of this program.
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// The nodes' program. Default: `quorate` beside this program.
    #[arg(long, value_name = "FILE")]
    quorate: Option<PathBuf>,
    /// etcd's program. Default: `etcd` of the path, else Debian's package, fetched with apt-get.
    #[arg(long, value_name = "FILE")]
    etcd: Option<PathBuf>,
    /// Where the numbers are written. Default: `sessions.json` beside this program.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// What is measured. Default: everything.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Rounds of what is measured in rounds.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds in which events are counted.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Sessions under load when nodes are lost.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    sessions: u32,
    /// Nodes that are killed.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    kills: u32,
    /// Nodes that are drained.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    drains: u32,
    /// Idle sessions.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1_000..=200_000))]
    idle: u32,
    /// Clients that come back at the same moment.
    #[arg(long, default_value_t = 9_000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    back: u32,
    /// Minutes after which the run gives up.
    #[arg(long, default_value_t = 120)]
    minutes_max: u64,
}

/// A part of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Events, beside what etcd puts.
    Events,
    /// Calls in sessions, and calls without.
    Requests,
    /// Idle sessions.
    Idle,
    /// Killed nodes.
    Kills,
    /// Drained nodes.
    Drains,
    /// Many clients that lose their node at once.
    Back,
}

const PARTS: [Part; 6] = [Part::Events, Part::Requests, Part::Kills, Part::Drains, Part::Back, Part::Idle];

/// Runs the process.
///
/// # Errors
/// When something could not be measured; a number below its floor is no error, but exit code 1.
pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let report = bounded(args.minutes_max, measure(&args)).await?;
    let json = match &args.json {
        Some(json) => json.clone(),
        None => crate::cluster::beside()?.join("sessions.json"),
    };
    std::fs::write(&json, report.to_json()?).with_context(|| format!("write {}", json.display()))?;
    crate::load::say(&format!("\n{}\nThe rounds are in {}.", report.to_table(), json.display()))?;
    Ok(ExitCode::from(u8::from(!report.is_passed())))
}

async fn measure(args: &Args) -> Result<Report> {
    let place = match &args.folder {
        Some(folder) => folder.clone(),
        None => crate::cluster::beside()?,
    };
    let program = match &args.quorate {
        Some(program) => program.clone(),
        None => crate::cluster::beside()?.join("quorate"),
    };
    ensure!(program.is_file(), "there is no {}: build it, or name it with --quorate", program.display());
    let parts = if args.only.is_empty() { PARTS.to_vec() } else { args.only.clone() };
    let mut report = Report::default();
    for part in parts {
        let report = &mut report;
        match part {
            Part::Events => events::measure(args, &program, &place, report).await?,
            Part::Requests => requests::measure(args, &program, &place, report).await?,
            Part::Idle => idle::measure(args, &program, &place, report).await?,
            Part::Kills => faults::kills(args, &program, &place, report).await?,
            Part::Drains => faults::drains(args, &program, &place, report).await?,
            Part::Back => faults::back(args, &program, &place, report).await?,
        }
    }
    Ok(report)
}

/// Clients in a process of their own.
struct Crowd {
    child: Child,
}

/// How long a crowd may take to open its sessions.
const OPEN_PATIENCE: Duration = Duration::from_secs(900);
/// How long it may take to answer.
const SAY_PATIENCE: Duration = Duration::from_secs(30);

// === impl Crowd ===

impl Crowd {
    /// Opens sessions, by these flags beside those that name the nodes.
    ///
    /// # Errors
    /// When one is refused.
    async fn open(nodes: &Nodes, keys: usize, flags: &[String]) -> Result<Self> {
        let own = ["crowd".to_owned()].into_iter().chain(nodes.flags(keys)).chain(flags.iter().cloned());
        let mut child = Child::start("the clients", &std::env::current_exe()?, &own.collect::<Vec<_>>())?;
        let ready = child.line(OPEN_PATIENCE).await?;
        ensure!(ready == READY, "the clients say {ready}");
        Ok(Self { child })
    }

    /// Forgets what was counted.
    async fn mark(&mut self) -> Result<()> {
        self.child.tell("mark").await?;
        let said = self.child.line(SAY_PATIENCE).await?;
        ensure!(said == "marked", "the clients say {said}");
        Ok(())
    }

    /// What was counted since; fails when an event was lost or came twice, or a client could not go on.
    async fn report(&mut self) -> Result<crowd::Report> {
        self.child.tell("report").await?;
        let report: crowd::Report = serde_json::from_str(&self.child.line(SAY_PATIENCE).await?)?;
        Ok(report)
    }

    async fn end(mut self) -> Result<()> {
        self.child.tell("end").await?;
        self.child.finish(SAY_PATIENCE).await
    }
}

fn flag(name: &str, value: impl ToString) -> [String; 2] {
    [format!("--{name}"), value.to_string()]
}
