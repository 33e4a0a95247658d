//! Memory of sessions that nobody uses: what each node holds of each, on all three.
//!
//! Each session is opened and used once; memory is the nodes' resident set before, when others have come and gone, when all are
//! open, and when all are at rest, which their metrics tell.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::nodes::{NODES, Nodes};
use super::{Args, Crowd, flag};
use crate::cluster::report::{Report, Row, Spread};
use crate::load::say;

/// Sessions of one key: below what a principal may have at one node, also when it owns them all.
const SESSIONS_OF_KEY: u32 = 9_000;
/// How long sessions may take to come to rest, after the last call.
const REST_PATIENCE: Duration = Duration::from_secs(300);
/// How often it is looked whether they have.
const LOOK: Duration = Duration::from_secs(5);
/// Sessions that have ended before memory is measured first: then a node has what it needs for any number of them, most of it
/// entries of the log that it keeps for followers (64 MiB).
const COME_AND_GONE: u32 = 20_000;
const SESSIONS: &str = "quorate_sessions";

/// Measures.
///
/// # Errors
/// When something cannot be measured.
pub(super) async fn measure(args: &Args, program: &Path, place: &Path, report: &mut Report) -> Result<()> {
    let keys = usize::try_from(args.idle.div_ceil(SESSIONS_OF_KEY))?;
    let nodes = Nodes::start(program, place, keys).await?;
    let warm = [flag("sessions", COME_AND_GONE).to_vec(), vec!["--idle".to_owned(), "--ends".to_owned()]].concat();
    Crowd::open(&nodes, keys, &warm).await?.end().await?;
    at_rest(&nodes).await?;
    let before = memory(&nodes)?;
    let began = Instant::now();
    let flags = [flag("sessions", args.idle).to_vec(), vec!["--idle".to_owned()]].concat();
    Crowd::open(&nodes, keys, &flags).await?.end().await?;
    let (opened, peak) = (began.elapsed(), memory(&nodes)?);
    let rested = at_rest(&nodes).await?;
    let after = memory(&nodes)?;
    let each = |memory: &[u64]| -> Vec<f64> {
        memory.iter().zip(&before).map(|(now, then)| (*now as f64 - *then as f64) / f64::from(args.idle)).collect()
    };
    say(&format!(
        "{} sessions opened in {opened:.0?}, {rested} at rest; bytes a session and node: {:.0?} when the last was opened, \
         {:.0?} at rest",
        args.idle,
        each(&peak),
        each(&after)
    ))?;
    ensure!(rested >= u64::from(args.idle), "{rested} sessions are at rest, not {}", args.idle);
    let name = format!("Memory of an idle session at each node, {} of them", args.idle);
    let kilobytes = each(&after).into_iter().map(|bytes| bytes / 1024.0);
    report.rows.push(Row::plain(name, "KB", Spread::of(kilobytes)).at_most(1.5, 2.5));
    Ok(())
}

/// Waits until no session has an actor; returns how many are at rest.
async fn at_rest(nodes: &Nodes) -> Result<u64> {
    let began = Instant::now();
    loop {
        tokio::time::sleep(LOOK).await;
        let (mut awake, mut resting) = (0.0, 0.0);
        for place in 0..NODES {
            awake += nodes.metric(place, SESSIONS).await?;
            resting += nodes.metric(place, "quorate_sessions_resting").await?;
        }
        if awake < 1.0 {
            return Ok(resting as u64);
        }
        ensure!(began.elapsed() < REST_PATIENCE, "{awake} sessions do not come to rest");
    }
}

fn memory(nodes: &Nodes) -> Result<Vec<u64>> {
    (0..NODES).map(|place| nodes.memory_of(place)).collect()
}
