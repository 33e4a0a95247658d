//! A node of the bench: consensus groups on a real disk, over real mutual TLS, and nothing else.
//!
//! It takes orders on its standard input and ends with it. Clients commit values over gRPC with etcd's own call, so that the
//! same client measures etcd; writers within the process are what the product has, whose sessions live where they are led.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use quorate_peer::Address;
use quorate_raft::{Config, Group, Host, Proposal, SNAPSHOT_MARKS, TIMING};
use quorate_tls::{NodeCredentials, NodeTls};
use quorate_types::{ClusterId, Incarnation, NodeId};
use quorate_wal::{Folder, GroupId, Opened, Wal};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::task::JoinSet;

use super::said::{Order, Said, Wrote};
use super::service::{self, Committer};
use super::table::{self, Table};
use crate::load::say;

/// The bench's cluster.
pub(super) const CLUSTER: ClusterId = ClusterId([0xbe; 16]);
const LOG: u128 = 0xbe;
/// Keys that writers choose from.
const KEYS: u64 = 10_000;
/// Bytes of a value.
pub(super) const VALUE_BYTES: usize = 256;
/// How long a writer waits after a refusal.
const PAUSE: Duration = Duration::from_millis(5);
/// Commands under way while a disk is filled.
const FILL_AT_ONCE: u64 = 256;

/// What a node is told when it is started.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Its number.
    #[arg(long)]
    id: u64,
    /// How often it was started.
    #[arg(long)]
    incarnation: u64,
    /// Its disk.
    #[arg(long)]
    folder: PathBuf,
    /// Its certificate (`node.pem`), its key (`node-key.pem`) and those of all (`ca.pem`).
    #[arg(long)]
    credentials: PathBuf,
    /// Where peers reach it.
    #[arg(long)]
    listen: SocketAddr,
    /// All nodes: `1=127.0.1.10:4000`.
    #[arg(long = "peer")]
    peers: Vec<String>,
    /// Groups, from 0.
    #[arg(long)]
    groups: u32,
}

/// A node that runs.
struct Node {
    host: Host,
    wal: Wal,
    voters: BTreeSet<NodeId>,
    applied: Arc<AtomicU64>,
}

/// Runs the process, until its standard input ends.
///
/// # Errors
/// When it cannot be started.
pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    // What consensus does is told when RUST_LOG asks for it.
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    let peers = args.peers.iter().map(|peer| parse_peer(peer)).collect::<Result<BTreeMap<_, _>>>()?;
    let disk = Arc::new(Folder::new(args.folder.join("wal"))?);
    let Opened { wal, writer, .. } = quorate_wal::open(disk, quorate_wal::DEFAULTS, LOG, false)?;
    let _writer = writer.spawn(|failed| eprintln!("quorate-bench: the log ended: {failed}"))?;
    let config = Config {
        timing: TIMING,
        snapshots: SNAPSHOT_MARKS,
        folder: args.folder.join("snapshots"),
        proposal_bytes_max: 64 << 20,
        level_max: 1,
        wal: wal.clone(),
    };
    let peer_config = quorate_peer::Config {
        cluster: CLUSTER,
        node: NodeId(args.id),
        incarnation: Incarnation(args.incarnation),
        levels: 1..=1,
        listen: args.listen,
        tls: tls(&args.credentials)?,
        limits: quorate_peer::DEFAULTS,
    };
    let host = Host::start(config, peer_config)?;
    let voters = peers.keys().copied().collect();
    host.set_peers(peers);
    let node = Node { host, wal, voters, applied: Arc::default() };
    for group in 0..args.groups {
        let table = Table::new(Arc::clone(&node.applied));
        let group = node.host.open(GroupId(group), || Box::new(table)).await?;
        tokio::spawn(watch(group));
    }
    let client = service::serve(Committer::new(&node.host)).await?;
    say(&serde_json::to_string(&Said::Listens { client: client.to_string() })?)?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let order = serde_json::from_str(&line).with_context(|| format!("an order: {line}"))?;
        let said = match node.obey(order).await {
            Ok(Some(said)) => said,
            Ok(None) => continue,
            Err(error) => Said::Failed { reason: format!("{error:#}") },
        };
        say(&serde_json::to_string(&said)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

// === impl Node ===

impl Node {
    async fn obey(&self, order: Order) -> Result<Option<Said>> {
        match order {
            Order::Begin { groups } => {
                for group in groups {
                    self.group(group)?.begin(self.voters.clone()).await?;
                }
                Ok(Some(Said::Begun))
            }
            Order::Write { writers, millis } => {
                self.write(writers, Duration::from_millis(millis)).await.map(Said::Wrote).map(Some)
            }
            Order::Fill { commands } => self.fill(commands).await.map(Said::Wrote).map(Some),
            Order::Load { writers, every_ms } => {
                for group in self.host.groups() {
                    for number in 0..writers {
                        tokio::spawn(keep_writing(group.clone(), number, Duration::from_millis(every_ms)));
                    }
                }
                Ok(None)
            }
            Order::Status => Ok(Some(self.status())),
        }
    }

    fn group(&self, group: u32) -> Result<Group> {
        self.host.group(GroupId(group)).with_context(|| format!("there is no group {group}"))
    }

    fn served(&self) -> Vec<Group> {
        self.host.groups().into_iter().filter(|group| group.role().borrow().serves().is_some()).collect()
    }

    async fn write(&self, writers: u32, during: Duration) -> Result<Wrote> {
        let served = self.served();
        ensure!(!served.is_empty(), "this node leads no group");
        let begun = Instant::now();
        let mut running = JoinSet::new();
        for number in 0..writers {
            let group = served[number as usize % served.len()].clone();
            running.spawn(write_until(group, u64::from(number), begun + during));
        }
        let (mut micros, mut failed, mut last_failure) = (Vec::new(), 0, String::new());
        while let Some(written) = running.join_next().await {
            let written = written?;
            micros.extend(written.micros);
            failed += written.failed;
            if !written.last_failure.is_empty() {
                last_failure = written.last_failure;
            }
        }
        Ok(Wrote::of(micros, failed, last_failure, begun.elapsed().as_secs_f64()))
    }

    async fn fill(&self, commands: u64) -> Result<Wrote> {
        let served = self.served();
        ensure!(!served.is_empty(), "this node leads no group");
        let begun = Instant::now();
        let next = Arc::new(AtomicU64::new(0));
        let mut running = JoinSet::new();
        for _ in 0..FILL_AT_ONCE.min(commands) {
            let (served, next) = (served.clone(), Arc::clone(&next));
            running.spawn(async move {
                let mut micros = Vec::new();
                loop {
                    let key = next.fetch_add(1, Ordering::Relaxed);
                    if key >= commands {
                        return anyhow::Ok(micros);
                    }
                    let asked = Instant::now();
                    let group = &served[usize::try_from(key).unwrap_or(0) % served.len()];
                    group.propose(proposal(key)).await?;
                    micros.push(micros_of(asked.elapsed()));
                }
            });
        }
        let mut micros = Vec::new();
        while let Some(written) = running.join_next().await {
            micros.extend(written??);
        }
        Ok(Wrote::of(micros, 0, String::new(), begun.elapsed().as_secs_f64()))
    }

    fn status(&self) -> Said {
        let groups = self.host.groups();
        let (mut serves, mut leaders) = (BTreeMap::new(), BTreeMap::new());
        for group in &groups {
            let role = group.role().borrow().clone();
            serves.extend(role.serves().map(|epoch| (group.id().0, epoch)));
            leaders.extend(role.leader().map(|leader| (group.id().0, leader.0)));
        }
        let log = self.wal.observe();
        let applied = self.applied.load(Ordering::Relaxed);
        Said::Status { serves, leaders, applied, syncs: log.batches, records: log.records }
    }
}

/// What one writer did.
#[derive(Default)]
struct Written {
    micros: Vec<u32>,
    failed: u64,
    last_failure: String,
}

async fn write_until(group: Group, number: u64, end: Instant) -> Written {
    let mut written = Written::default();
    let mut key = number;
    while Instant::now() < end {
        key = (key + 7919) % KEYS;
        let asked = Instant::now();
        match group.propose(proposal(key)).await {
            Ok(_) => written.micros.push(micros_of(asked.elapsed())),
            Err(error) => {
                written.failed += 1;
                written.last_failure = error.to_string();
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    written
}

/// Proposes as long as the process lives: at its own pace, and only while this node leads.
async fn keep_writing(group: Group, number: u32, every: Duration) {
    let mut role = group.role();
    let mut key = u64::from(number);
    let mut turns = tokio::time::interval(every);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        if role.wait_for(|role| role.serves().is_some()).await.is_err() {
            return;
        }
        turns.tick().await;
        key = (key + 7919) % KEYS;
        // What is refused here is what the run looks for.
        drop(group.propose(proposal(key)).await);
    }
}

/// Tells when this node begins to serve a group.
async fn watch(group: Group) {
    let mut role = group.role();
    loop {
        let serves = role.borrow_and_update().serves();
        if let Some(epoch) = serves {
            let said = Said::Serves { group: group.id().0, epoch, at_us: now_us() };
            // Who does not listen any more has ended.
            if serde_json::to_string(&said).map_err(anyhow::Error::from).and_then(|line| say(&line)).is_err() {
                return;
            }
        }
        if role.changed().await.is_err() {
            return;
        }
    }
}

/// Microseconds since 1970.
pub(super) fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// The value that belongs to a key: bytes that do not repeat.
pub(super) fn value(key: u64) -> [u8; VALUE_BYTES] {
    let mut state = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::array::from_fn(|_| {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        state.to_be_bytes()[0]
    })
}

fn proposal(key: u64) -> Proposal {
    Proposal { level: 1, body: table::command(key, &value(key)), epoch: None }
}

pub(super) fn micros_of(elapsed: Duration) -> u32 {
    u32::try_from(elapsed.as_micros()).unwrap_or(u32::MAX)
}

fn parse_peer(text: &str) -> Result<(NodeId, Address)> {
    let (id, address) = text.split_once('=').with_context(|| format!("--peer {text} is not NUMBER=HOST:PORT"))?;
    Ok((NodeId(id.parse()?), address.parse()?))
}

fn tls(folder: &std::path::Path) -> Result<NodeTls> {
    let read = |name: &str| -> Result<Bytes> {
        let path = folder.join(name);
        Ok(std::fs::read(&path).with_context(|| path.display().to_string())?.into())
    };
    let credentials = NodeCredentials::from_pem(&read("ca.pem")?, &read("node.pem")?, &read("node-key.pem")?)?;
    Ok(NodeTls::new(credentials))
}
