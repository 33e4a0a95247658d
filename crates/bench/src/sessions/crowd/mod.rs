//! Many clients of sessions in one process, each with a call whose events it reads and checks.
//!
//! It opens its sessions, says `ready`, and then does what it is told by lines on its standard input: `mark` forgets what was
//! counted, `report` prints a [`Report`] of what came since, `end` ends it, as does the end of the input. A client whose
//! connection breaks does what SDKs do: it waits for as long as it was told, and asks another node for the rest.

mod client;
mod tally;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use self::client::{Client, Way};
use self::tally::Tally;
pub(crate) use self::tally::{Report, Times};
use crate::client::Target;
use crate::load::{READY, say};

/// Clients that open their sessions at the same moment: fewer than make a node refuse anything.
const OPENING_MAX: usize = 64;

/// Who comes, and what for.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The addresses of the nodes.
    #[arg(long = "node", required = true)]
    nodes: Vec<std::net::SocketAddr>,
    /// The keys that clients show, dealt out to them.
    #[arg(long = "key", required = true)]
    keys: Vec<String>,
    /// Clients.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    sessions: u32,
    /// Microseconds between the events of one call; 0 is as fast as they come.
    #[arg(long, default_value_t = 1_000_000)]
    every_us: u64,
    /// Each calls at so many nodes behind the one at which it opened its session.
    #[arg(long, default_value_t = 0)]
    shift: usize,
    /// The node at which all open their sessions, by its place from 0. Default: they take turns.
    #[arg(long)]
    opens: Option<usize>,
    /// Clients of all nodes come by the first one, whoever owns their sessions.
    #[arg(long)]
    by_first: bool,
    /// Opens sessions, makes one call in each, and goes away.
    #[arg(long)]
    idle: bool,
    /// Ends each of these sessions behind its call.
    #[arg(long, requires = "idle")]
    ends: bool,
    /// Seconds after which it ends in any case.
    #[arg(long, default_value_t = 3600)]
    seconds_max: u64,
}

/// Runs the process.
///
/// # Errors
/// When a session cannot be opened, or a call not begun.
pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let limit = Duration::from_secs(args.seconds_max);
    tokio::time::timeout(limit, obey(args)).await.with_context(|| format!("not done within {limit:?}"))??;
    Ok(ExitCode::SUCCESS)
}

async fn obey(args: Args) -> Result<()> {
    let tally = Arc::new(Tally::new(args.sessions));
    // They read until they are dropped.
    let _clients = open_all(&args, &tally).await?;
    say(READY)?;
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    while let Some(order) = orders.next_line().await? {
        match order.as_str() {
            "mark" => {
                tally.mark();
                say("marked")?;
            }
            "report" => say(&serde_json::to_string(&tally.report())?)?,
            "end" => break,
            other => bail!("{other:?} is no order"),
        }
    }
    Ok(())
}

/// Opens all; returns the clients that read.
async fn open_all(args: &Args, tally: &Arc<Tally>) -> Result<JoinSet<()>> {
    let targets = |key: &String| {
        let of = |node| Target::parse(&format!("http://{key}@{node}/mcp"));
        args.nodes.iter().map(of).collect::<Result<Vec<_>>>().map(Arc::new)
    };
    let targets: Vec<Arc<Vec<Target>>> = args.keys.iter().map(targets).collect::<Result<_>>()?;
    let places = Arc::new(Semaphore::new(OPENING_MAX));
    let (begun, mut beginnings) = mpsc::channel(OPENING_MAX);
    let mut clients = JoinSet::new();
    for (number, targets) in (0..args.sessions).zip(targets.iter().cycle()) {
        let (places, begun, targets, tally) =
            (Arc::clone(&places), begun.clone(), Arc::clone(targets), Arc::clone(tally));
        let way = Way::of(args, number, targets.len());
        let (every_us, idle, ends) = (args.every_us, args.idle, args.ends);
        clients.spawn(async move {
            let place = places.acquire_owned().await;
            let client = async {
                let client = Client::open(number, targets, way, tally).await?;
                if idle { client.call_once(ends).await.map(|()| None) } else { client.call(every_us).await.map(Some) }
            };
            let client = client.await.with_context(|| format!("client {number}"));
            drop(place);
            let (said, client) = match client {
                Ok(client) => (Ok(()), client),
                Err(error) => (Err(error), None),
            };
            // Nobody listens any more where another one has failed.
            if begun.send(said).await.is_ok()
                && let Some(client) = client
            {
                client.read().await;
            }
        });
    }
    for _ in 0..args.sessions {
        beginnings.recv().await.context("a client is gone")??;
    }
    Ok(clients)
}

// === impl Way ===

impl Way {
    fn of(args: &Args, number: u32, nodes: usize) -> Self {
        // Keys are dealt out in turn: nodes are not, so that each key comes to all of them.
        let turn = usize::try_from(number).unwrap_or(0) / args.keys.len() % nodes;
        let opens = args.opens.unwrap_or(turn) % nodes;
        Self { opens, calls: if args.by_first { 0 } else { (opens + args.shift) % nodes } }
    }
}
