//! `quorate demo`: what the loss of a node is to a client that waits for a long tool call.
//!
//! ```text
//! client (of `quorate call`) ─▶ front ─┬▶ node-1 ┐
//!                                      ├▶ node-2 ├─▶ tool server with a journal
//!                                      └▶ node-3 ┘
//! ```
//!
//! Everything but the client and the front is a process of its own. In one session there is a call per fault: the fault comes
//! when the call has reported some steps, and the next call begins when the cluster is well again. What was sent and what ran
//! is taken from the tool server's journal, what was received from the client; [`verdict`] says whether both agree.
//!
//! The client is ours, not an SDK's, because the binary has it already: it does what the specification asks of clients, and
//! waits before it comes back as long as the server says.

pub(crate) mod backend;
mod call;
mod front;
mod trial;
mod verdict;

use std::fmt;
use std::time::Duration;

use quorate_runtime::upstream::Client;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::front::Front;
use self::trial::Trial;
use crate::cli::{ConnectionArgs, DemoArgs, EraArg, TransportArg};
use crate::demo_server::http::PATH;
use crate::exit::{Exit, Failure};
use crate::run::Stop;
use crate::{connect, output};

/// What happens to the node that owns the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// It is killed; the client talks to another one.
    KillOwner,
    /// It is killed, and the client talks to it.
    KillBoth,
    /// It is drained, and the client talks to it.
    Drain,
}

/// The terminal, with a clock.
#[derive(Clone, Copy, Debug)]
struct Told {
    begun: Instant,
}

/// The parts of a demo that runs.
struct Demo {
    told: Told,
    front: Front,
    client: Client,
}

/// Runs the command.
///
/// # Errors
/// [`Failure`] when anything was lost, doubled or run otherwise than once, or the demo could not be done.
pub(crate) async fn run(args: &DemoArgs) -> Result<(), Failure> {
    let mut stop = Stop::new()?;
    // Whatever ends first: processes and files go with what was started.
    tokio::select! {
        done = show(args) => done,
        () = stop.signalled() => Err(Failure::new(Exit::Failure, "stopped before its end")),
    }
}

async fn show(args: &DemoArgs) -> Result<(), Failure> {
    let told = Told { begun: Instant::now() };
    output::print(
        "One MCP client, one session and one tool server, with a cluster of three nodes between them. In each of three\n\
         calls, which take their time and report each step, the node that owns the session is lost.\n",
    )?;
    let trial = Trial::start(args.data_dir.as_deref()).await?;
    let end = CancellationToken::new();
    let _end = end.clone().drop_guard();
    let rows = match faults(told, &trial, end).await {
        Ok(rows) => rows,
        Err(failure) => return Err(trial.keep(failure)),
    };
    output::print(&format!("\n{}", verdict::table(&rows)))?;
    let problems = verdict::judge(&rows);
    if !problems.is_empty() {
        return Err(trial.keep(Failure::new(Exit::Failure, problems.join("; "))));
    }
    told.line("nothing was lost, nothing came twice, and each call ran once")
}

/// Shows one fault after the other.
async fn faults(told: Told, trial: &Trial, end: CancellationToken) -> Result<Vec<verdict::Row>, Failure> {
    let failed = |error: std::io::Error| Failure::new(Exit::Failure, format!("cannot start the front: {error}"));
    trial.settled().await?;
    let front = Front::start(trial.listen(), end).await.map_err(failed)?;
    let client = connect::connect(&format!("http://{}{PATH}", front.address()), &connection()).await?;
    let demo = Demo { told, front, client };
    told.line("three nodes are up, and the client has its session")?;
    let mut rows = Vec::new();
    for fault in Fault::ALL {
        rows.push(demo.show(trial, fault).await?);
    }
    demo.client.close().await;
    Ok(rows)
}

// === impl Fault ===

impl Fault {
    const ALL: [Self; 3] = [Self::KillOwner, Self::KillBoth, Self::Drain];

    /// What it is called in the table.
    const fn title(self) -> &'static str {
        match self {
            Self::KillOwner => "kill -9, client elsewhere",
            Self::KillBoth => "kill -9, client there",
            Self::Drain => "drain, client there",
        }
    }

    /// What its call is called in the journal.
    const fn run(self) -> &'static str {
        match self {
            Self::KillOwner => "kill-owner",
            Self::KillBoth => "kill-both",
            Self::Drain => "drain",
        }
    }

    /// Steps of its call: a node that drains hands over what it leads within three seconds.
    const fn steps(self) -> u64 {
        match self {
            Self::KillOwner | Self::KillBoth => 50,
            Self::Drain => 100,
        }
    }

    /// The node that the client shall talk to, of so many.
    const fn ingress(self, owner: usize, nodes: usize) -> usize {
        match self {
            Self::KillOwner => (owner + 1) % nodes,
            Self::KillBoth | Self::Drain => owner,
        }
    }
}

// === impl Told ===

impl Told {
    /// Prints what happened, and when.
    fn line(self, what: impl fmt::Display) -> Result<(), Failure> {
        output::print(&format!("{:5.1} s  {what}", self.begun.elapsed().as_secs_f64()))
    }
}

/// How the client connects: as `quorate call --era legacy` does.
fn connection() -> ConnectionArgs {
    ConnectionArgs {
        era: EraArg::Legacy,
        transport: TransportArg::StreamableHttp,
        headers: Vec::new(),
        ca: None,
        connect_timeout: Duration::from_secs(5),
        timeout: Duration::from_secs(60),
        total_timeout: Duration::from_secs(120),
    }
}
