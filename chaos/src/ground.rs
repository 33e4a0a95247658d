//! What a run stands on: three nodes, what they are told to serve, and the counters behind them.
//!
//! The counters are outside of the cluster and outlive whatever happens to it. There are three, which differ in what can be
//! known of a call whose node is lost: one whose streams can be read on, one whose cannot, and one whose calls the operator
//! allows to be sent again. Toolset `default` is strict, `loose` is ephemeral; both have all three, named `SERVER_TOOL`.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use quorate_cluster::process::Process;
use quorate_cluster::{Cluster, Options, Place, free_address, paths, wait};
use quorate_tests::http;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::ledger::Ledger;

/// Longer than anything that a cluster does takes on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A tool server, by what can be known of its calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Its streams have event ids: who comes again reads on.
    Resumable,
    /// They have none.
    Bare,
    /// They have none, and the operator says that its tools may be called again.
    Replayable,
}

/// All kinds, in the order of [`Ground::ledger`].
pub const KINDS: [Kind; 3] = [Kind::Resumable, Kind::Bare, Kind::Replayable];

/// A cluster with counters behind it.
#[derive(Debug)]
pub struct Ground {
    /// The nodes.
    pub cluster: Cluster,
    listens: Vec<SocketAddr>,
    counters: Vec<(Kind, PathBuf)>,
    // They end after the nodes, and their folder after them.
    _processes: Vec<Process>,
    _folder: TempDir,
}

// === impl Kind ===

impl Kind {
    /// The name of its tool server.
    #[must_use]
    pub fn server(self) -> &'static str {
        match self {
            Self::Resumable => "resumable",
            Self::Bare => "bare",
            Self::Replayable => "replayable",
        }
    }
}

// === impl Ground ===

impl Ground {
    /// Starts counters, and a cluster of three nodes with so many shards in front of them.
    ///
    /// # Errors
    ///
    /// One of them does not start; the error shows its log.
    pub fn start(shards: u32) -> anyhow::Result<Self> {
        Self::start_for(shards, &["--development-identity"])
    }

    /// The same, of processes that do not hear what a terminal tells this one: whoever starts it ends it, after Ctrl-C too.
    ///
    /// # Errors
    ///
    /// One of them does not start; the error shows its log.
    pub fn start_apart(shards: u32) -> anyhow::Result<Self> {
        Self::lay(shards, &["--development-identity"], true)
    }

    /// The same, with these flags of nodes, which say who callers are.
    ///
    /// # Errors
    ///
    /// One of them does not start; the error shows its log.
    pub fn start_for(shards: u32, callers: &[&str]) -> anyhow::Result<Self> {
        Self::lay(shards, callers, false)
    }

    fn lay(shards: u32, callers: &[&str], is_apart: bool) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("there is no folder for temporary files")?;
        let (mut counters, mut processes, mut documents) = (Vec::new(), Vec::new(), Vec::new());
        for kind in KINDS {
            let ledger = folder.path().join(kind.server());
            let (process, url) = counter(kind, &ledger, is_apart)?;
            documents.push(json!({ "kind": "ToolServer", "name": kind.server(), "spec": { "urls": [url] } }));
            processes.push(process);
            counters.push((kind, ledger));
        }
        documents.extend(["default", "loose"].map(toolset));
        let file = folder.path().join("resources.yaml");
        fs::write(&file, documents.iter().map(Value::to_string).collect::<Vec<_>>().join("\n---\n"))?;

        let listens = (0..3).map(|_| free_address()).collect::<anyhow::Result<Vec<_>>>()?;
        let flags = [callers, &["--allow-all", "--log", "info,openraft=error"]].concat();
        let cluster = Cluster::start(Options {
            shards,
            flags: flags.into_iter().map(str::to_owned).collect(),
            own_flags: listens.iter().map(|listen| vec!["--listen".to_owned(), listen.to_string()]).collect(),
            init: vec!["-f".to_owned(), file.to_str().context("it is UTF-8")?.to_owned()],
            is_apart,
            ..Options::default()
        })?;
        let ground = Self { cluster, listens, counters, _processes: processes, _folder: folder };
        for place in ground.cluster.places() {
            ground.serves(place)?;
        }
        Ok(ground)
    }

    /// Where the nodes serve clients.
    #[must_use]
    pub fn nodes(&self) -> &[SocketAddr] {
        &self.listens
    }

    /// What the counter of a kind has written down.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn ledger(&self, kind: Kind) -> anyhow::Result<Ledger> {
        let (_, path) = self.counters.iter().find(|(of, _)| *of == kind).context("each kind has a counter")?;
        Ledger::read(path)
    }

    /// Waits until a node wants requests.
    ///
    /// # Errors
    ///
    /// It takes too long.
    pub fn serves(&self, place: Place) -> anyhow::Result<()> {
        let admin = self.cluster.admin(place);
        wait::until("a node that is ready", PATIENCE, || {
            let answer = http::get(admin, "/readyz")?;
            ensure!(answer.status == 200, "{} {}", answer.status, answer.body);
            Ok(())
        })
    }

    /// Waits until a node serves, and says that all nodes are active and well, and that every shard has a leader.
    ///
    /// # Errors
    ///
    /// It takes too long.
    pub fn whole(&self, place: Place) -> anyhow::Result<()> {
        self.serves(place)?;
        self.cluster.whole(place)
    }

    /// The value of a metric of a node: the sum of its series.
    ///
    /// # Errors
    ///
    /// The node does not answer.
    pub fn metric(&self, place: Place, name: &str) -> anyhow::Result<f64> {
        let text = http::get(self.cluster.admin(place), "/metrics")?.body;
        let lines = text.lines().filter(|line| line.starts_with(name));
        Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }
}

/// Starts a counter of a kind, and returns its URL.
fn counter(kind: Kind, ledger: &PathBuf, is_apart: bool) -> anyhow::Result<(Process, String)> {
    let mut command = Command::new(paths::binary("mcp-counter")?);
    command.arg("--ledger").arg(ledger);
    if kind != Kind::Resumable {
        command.arg("--no-event-ids");
    }
    if is_apart {
        command.process_group(0);
    }
    let mut process = Process::start(format!("mcp-counter {}", kind.server()), &mut command)?;
    let url = process.line(PATIENCE, |line| Some(line.strip_prefix("listening on ")?.to_owned()))?;
    Ok((process, url))
}

fn toolset(name: &str) -> Value {
    let mut spec = json!({
        "servers": KINDS.map(Kind::server),
        "naming": "prefix",
        "tools": [{ "match": { "server": Kind::Replayable.server(), "name": "*" }, "replayable": true }],
    });
    if name != "default" {
        spec["durability"] = json!("ephemeral");
    }
    json!({ "kind": "Toolset", "name": name, "spec": spec })
}
