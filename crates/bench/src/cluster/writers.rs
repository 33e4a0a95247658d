//! Clients that put values, of etcd and of the bench's nodes alike: each puts its next value when its last was committed.
//!
//! A process of its own, so that its CPU time is nobody's. It warms up, says `ready`, waits for a line, and prints what it
//! found; it ends with its standard input.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::task::JoinSet;

use super::node::{micros_of, value};
use super::putter::Putter;
use super::said::Wrote;
use crate::load::{READY, say};

/// Keys that writers choose from, as in the nodes' own.
const KEYS: u64 = 10_000;
/// How long a writer waits after an error.
const PAUSE: Duration = Duration::from_millis(5);

/// What to put, and where.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Who leads: `http://127.0.0.1:2379`.
    #[arg(long)]
    target: String,
    /// Writers, each with one put at a time.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    writers: u32,
    /// Connections that they share.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    connections: u32,
    /// Milliseconds of warm-up.
    #[arg(long, default_value_t = 500)]
    warm_up_ms: u64,
    /// Milliseconds that count.
    #[arg(long)]
    millis: u64,
}

/// Runs the process.
///
/// # Errors
/// When the target cannot be reached.
pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let mut clients = Vec::new();
    for _ in 0..args.connections.min(args.writers) {
        clients.push(Putter::connect(&args.target).await?);
    }
    put(&clients, args.writers, Duration::from_millis(args.warm_up_ms)).await?;
    say(READY)?;
    let mut line = String::new();
    if BufReader::new(tokio::io::stdin()).read_line(&mut line).await? == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    let wrote = put(&clients, args.writers, Duration::from_millis(args.millis)).await?;
    say(&serde_json::to_string(&wrote)?)?;
    Ok(ExitCode::SUCCESS)
}

async fn put(clients: &[Putter], writers: u32, during: Duration) -> Result<Wrote> {
    let begun = Instant::now();
    let mut running = JoinSet::new();
    for number in 0..writers {
        let client = clients[number as usize % clients.len()].clone();
        running.spawn(async move {
            let (mut micros, mut failed, mut last_failure) = (Vec::new(), 0_u64, String::new());
            let mut key = u64::from(number);
            while begun.elapsed() < during {
                key = (key + 7919) % KEYS;
                let asked = Instant::now();
                match client.put(key, &value(key)).await {
                    Ok(()) => micros.push(micros_of(asked.elapsed())),
                    Err(error) => {
                        failed += 1;
                        last_failure = format!("{error:#}");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
            (micros, failed, last_failure)
        });
    }
    let (mut micros, mut failed, mut last_failure) = (Vec::new(), 0, String::new());
    while let Some(written) = running.join_next().await {
        let (times, failures, reason) = written?;
        micros.extend(times);
        failed += failures;
        if failures > 0 {
            last_failure = reason;
        }
    }
    Ok(Wrote::of(micros, failed, last_failure, begun.elapsed().as_secs_f64()))
}
