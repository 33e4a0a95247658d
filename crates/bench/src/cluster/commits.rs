//! Writing: the same values by the same client into the bench's nodes and into etcd, in turn.
//!
//! "Within" are writers in the leader's own process, as the product's sessions are: what consensus itself can do. What is held
//! against etcd comes over a socket, as etcd's clients do.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::Args;
use super::etcd::Etcd;
use super::report::{Report, Row, Spread};
use super::said::{Order, Wrote};
use super::trio::{Status, Trio};
use crate::load::{READY, say};
use crate::run::child::Child;

/// The group that is written to; the other one is the meta group, which rests.
const GROUP: u32 = 1;
const NODES: u64 = 3;
const WRITERS: [u32; 4] = [1, 64, 256, 1024];
/// After the start, before anything counts: logs make their first segments.
const REST: Duration = Duration::from_secs(3);
/// What a writing may take beside its time.
const PATIENCE: Duration = Duration::from_secs(60);
/// The share of puts that may fail before a round is not one: a busy machine may elect another leader.
const FAILURES_MAX: f64 = 0.01;
/// How often a round is tried that was disturbed.
const ATTEMPTS: u32 = 3;

/// What one writing came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    pub(crate) rate: f64,
    p50_ms: f64,
    p99_ms: f64,
    cpu_ms: f64,
    /// Records that the leader's log wrote with one sync; not known of etcd.
    batch: f64,
}

/// The rounds of one number of writers.
#[derive(Debug, Default)]
struct Rounds {
    within: Vec<Written>,
    ours: Vec<Written>,
    etcd: Vec<Written>,
}

/// Measures beside etcd.
///
/// # Errors
/// When something cannot be measured.
pub(crate) async fn beside_etcd(args: &Args, place: &Path, report: &mut Report) -> Result<()> {
    let mut etcd = Etcd::start(place, args.etcd.as_deref()).await?;
    let mut trio = Trio::start(place, NODES, GROUP + 1, false).await?;
    tokio::time::sleep(REST).await;
    let mut all = WRITERS.map(|_| Rounds::default());
    for round in 1..=args.rounds {
        for (writers, rounds) in WRITERS.into_iter().zip(&mut all) {
            rounds.within.push(within(&mut trio, writers, args.millis).await?);
            rounds.ours.push(over_a_socket(&mut trio, writers, args.millis).await?);
            rounds.etcd.push(into_etcd(&mut etcd, writers, args.millis).await?);
            tell(round, writers, rounds)?;
        }
    }
    report.notes.push(format!("etcd {}", etcd.version));
    for (writers, rounds) in WRITERS.into_iter().zip(&all) {
        rows(writers, rounds, report);
    }
    Ok(())
}

/// Measures without etcd.
///
/// # Errors
/// When something cannot be measured.
pub(crate) async fn alone(args: &Args, place: &Path, report: &mut Report) -> Result<()> {
    let mut trio = Trio::start(place, NODES, GROUP + 1, false).await?;
    tokio::time::sleep(REST).await;
    let mut all = WRITERS.map(|_| Rounds::default());
    for round in 1..=args.rounds {
        for (writers, rounds) in WRITERS.into_iter().zip(&mut all) {
            rounds.within.push(within(&mut trio, writers, args.millis).await?);
            rounds.ours.push(over_a_socket(&mut trio, writers, args.millis).await?);
            tell(round, writers, rounds)?;
        }
    }
    for (writers, rounds) in WRITERS.into_iter().zip(&all) {
        rows(writers, rounds, report);
    }
    Ok(())
}

/// Measures writers within the nodes, dealt out to 32 groups that are led by all three.
///
/// # Errors
/// When something cannot be measured.
pub(crate) async fn of_many_groups(args: &Args, place: &Path, report: &mut Report) -> Result<()> {
    let mut trio = Trio::start(place, NODES, 33, false).await?;
    tokio::time::sleep(REST).await;
    let mut written = Vec::new();
    for _ in 0..args.rounds {
        let before = trio.cpu_ms()?;
        for id in 1..=NODES {
            trio.order(id, &Order::Write { writers: 64, millis: args.millis }).await?;
        }
        let mut all = Vec::new();
        for id in 1..=NODES {
            all.push(trio.wrote(id).await?);
        }
        let cpu = trio.cpu_ms()? - before;
        let commands: u64 = all.iter().map(|wrote| wrote.commands).sum();
        let worst = |of: fn(&Wrote) -> f64| all.iter().map(of).fold(0.0, f64::max);
        let rate = commands as f64 / worst(|wrote| wrote.seconds);
        let p50_ms = worst(|wrote| wrote.p50_ms);
        written.push(Written {
            rate,
            p50_ms,
            p99_ms: worst(|wrote| wrote.p99_ms),
            cpu_ms: cpu / commands as f64,
            batch: f64::NAN,
        });
    }
    let of = |of: fn(&Written) -> f64| Spread::of(written.iter().map(of));
    report.rows.push(Row::plain("Entries a second, 192 writers within the nodes, 32 groups", "/s", of(|w| w.rate)));
    report.rows.push(Row::plain("p99 of these", "ms", of(|w| w.p99_ms)));
    report.rows.push(Row::plain("CPU per entry of these, all three nodes", "ms", of(|w| w.cpu_ms)));
    Ok(())
}

async fn within(trio: &mut Trio, writers: u32, millis: u64) -> Result<Written> {
    for _ in 0..ATTEMPTS {
        let leader = trio.settle().await?[&GROUP];
        let (log, before) = (trio.status(leader).await?, trio.cpu_ms()?);
        let wrote = trio.write_at(leader, &Order::Write { writers, millis }).await?;
        let cpu = trio.cpu_ms()? - before;
        if is_undisturbed(&wrote)? {
            return Ok(Written::of(&wrote, cpu).in_batches(&log, &trio.status(leader).await?));
        }
    }
    anyhow::bail!("the leader changed in each of {ATTEMPTS} attempts to write")
}

async fn over_a_socket(trio: &mut Trio, writers: u32, millis: u64) -> Result<Written> {
    for _ in 0..ATTEMPTS {
        let leader = trio.settle().await?[&GROUP];
        let target = trio.client(leader)?;
        let mut load = load(&target, writers, millis).await?;
        let (log, before) = (trio.status(leader).await?, trio.cpu_ms()?);
        let wrote = counted(&mut load, millis).await?;
        let cpu = trio.cpu_ms()? - before;
        load.finish(PATIENCE).await?;
        if is_undisturbed(&wrote)? {
            return Ok(Written::of(&wrote, cpu).in_batches(&log, &trio.status(leader).await?));
        }
    }
    anyhow::bail!("the leader changed in each of {ATTEMPTS} attempts to write")
}

pub(crate) async fn into_etcd(etcd: &mut Etcd, writers: u32, millis: u64) -> Result<Written> {
    for _ in 0..ATTEMPTS {
        let target = etcd.leader().await?;
        let mut load = load(&target, writers, millis).await?;
        let before = etcd.cpu_ms()?;
        let wrote = counted(&mut load, millis).await?;
        let cpu = etcd.cpu_ms()? - before;
        load.finish(PATIENCE).await?;
        if is_undisturbed(&wrote)? {
            return Ok(Written::of(&wrote, cpu));
        }
    }
    anyhow::bail!("etcd's leader changed in each of {ATTEMPTS} attempts to write")
}

/// Starts writers that are ready.
async fn load(target: &str, writers: u32, millis: u64) -> Result<Child> {
    let (writers, millis) = (writers.to_string(), millis.to_string());
    let arguments = ["writers", "--target", target, "--writers", &writers, "--millis", &millis].map(str::to_owned);
    let mut load = Child::start("the writers", &std::env::current_exe()?, &arguments)?;
    let ready = load.line(PATIENCE).await?;
    ensure!(ready == READY, "the writers say {ready}");
    Ok(load)
}

async fn counted(load: &mut Child, millis: u64) -> Result<Wrote> {
    load.tell("go").await?;
    Ok(serde_json::from_str(&load.line(PATIENCE + Duration::from_millis(millis)).await?)?)
}

fn is_undisturbed(wrote: &Wrote) -> Result<bool> {
    ensure!(wrote.commands > 0, "nothing was written: {}", wrote.last_failure);
    let share = wrote.failed as f64 / wrote.commands as f64;
    if share > FAILURES_MAX {
        say(&format!("a round does not count, {:.1}% of it failed: {}", share * 100.0, wrote.last_failure))?;
    }
    Ok(share <= FAILURES_MAX)
}

fn tell(round: u32, writers: u32, rounds: &Rounds) -> Result<()> {
    let last = |written: &[Written]| {
        written.last().map_or_else(
            || "-".to_owned(),
            |w| {
                format!(
                    "{:.0}/s, p50 {:.2} ms, p99 {:.2} ms, {:.3} ms CPU, {:.0} a sync",
                    w.rate, w.p50_ms, w.p99_ms, w.cpu_ms, w.batch
                )
            },
        )
    };
    let Rounds { within, ours, etcd } = rounds;
    let (within, ours, etcd) = (last(within), last(ours), last(etcd));
    say(&format!("round {round}, {writers:>4} writers: within {within}; socket {ours}; etcd {etcd}"))
}

fn rows(writers: u32, rounds: &Rounds, report: &mut Report) {
    let of = |written: &[Written], of: fn(&Written) -> f64| Spread::of(written.iter().map(of));
    let Rounds { within, ours, etcd } = rounds;
    if writers == 1 {
        let row = Row::beside("p50 of a lone writer", "ms", of(ours, |w| w.p50_ms), of(etcd, |w| w.p50_ms));
        report.rows.push(row.at_most_times(0.4, 0.8));
        report.rows.push(Row::plain("p50 of a lone writer within the leader", "ms", of(within, |w| w.p50_ms)));
        return;
    }
    let row =
        Row::beside(format!("Entries a second, {writers} writers"), "/s", of(ours, |w| w.rate), of(etcd, |w| w.rate));
    report.rows.push(row.at_least_times(3.0, 1.5));
    let name = format!("Entries a second, {writers} writers within the leader");
    report.rows.push(Row::plain(name, "/s", of(within, |w| w.rate)));
    let name = format!("p99 of {writers} writers");
    report.rows.push(Row::beside(name, "ms", of(ours, |w| w.p99_ms), of(etcd, |w| w.p99_ms)));
    let name = format!("CPU per entry, {writers} writers");
    let row = Row::beside(name, "ms", of(ours, |w| w.cpu_ms), of(etcd, |w| w.cpu_ms));
    report.rows.push(if writers == 64 { row.at_most(0.12, 0.25) } else { row });
    let name = format!("Entries a sync, {writers} writers");
    report.rows.push(Row::plain(name, "entries", of(ours, |w| w.batch)));
    let name = format!("CPU per entry, {writers} writers within the leader");
    report.rows.push(Row::plain(name, "ms", of(within, |w| w.cpu_ms)));
}

// === impl Written ===

impl Written {
    fn of(wrote: &Wrote, cpu_ms: f64) -> Self {
        let commands = wrote.commands as f64;
        Self {
            rate: wrote.rate(),
            p50_ms: wrote.p50_ms,
            p99_ms: wrote.p99_ms,
            cpu_ms: cpu_ms / commands,
            batch: f64::NAN,
        }
    }

    /// As the leader's log says of the time between two looks at it.
    fn in_batches(self, before: &Status, after: &Status) -> Self {
        Self { batch: (after.records - before.records) as f64 / (after.syncs - before.syncs).max(1) as f64, ..self }
    }
}
