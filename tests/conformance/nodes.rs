//! Three nodes behind Debian's `haproxy`, round robin, and what loses owners among them.
//!
//! Each request goes to the next node, whatever session it belongs to. To lose owners and nothing else, one node is taken out of
//! the rotation: no client is connected to it. It is given the sessions as an operator gives them, is lost at once, starts again,
//! and gets them once more when all nodes are there.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::SocketAddr,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use quorate_cluster::{Cluster, Options, Place, free_address};
use quorate_tests::{
    http,
    process::Process,
    servers::{self, Server},
    wait,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Longer than anything takes here on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The node that is lost.
const VICTIM: Place = 2;

/// How long all nodes are there before the next owner is lost.
const WHOLE: Duration = Duration::from_secs(2);

/// The nodes, the fixture behind them, and what is in front.
#[derive(Debug)]
pub(crate) struct Nodes {
    /// The MCP endpoint of the proxy.
    pub(crate) url: String,
    proxy: Process,
    cluster: Cluster,
    listens: Vec<SocketAddr>,
    admin: PathBuf,
    _fixture: Server,
    _folder: TempDir,
}

// === impl Nodes ===

impl Nodes {
    /// Starts a fixture, three nodes in front of it, and the proxy in front of them.
    ///
    /// # Errors
    ///
    /// One of them does not start; the error shows its log.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("there is no folder for temporary files")?;
        let fixture = servers::fixture(&[])?;
        let resources = folder.path().join("resources.yaml");
        fs::write(&resources, documents(&fixture.url))?;
        let listens = (0..3).map(|_| free_address()).collect::<anyhow::Result<Vec<_>>>()?;
        let cluster = Cluster::start(Options {
            // One node owns all sessions, and it is known which.
            shards: 1,
            flags: ["--development-identity", "--allow-all"].map(str::to_owned).to_vec(),
            own_flags: listens.iter().map(|listen| vec!["--listen".to_owned(), listen.to_string()]).collect(),
            init: vec!["-f".to_owned(), resources.to_str().context("it is UTF-8")?.to_owned()],
            ..Options::default()
        })?;
        let (address, admin) = (free_address()?, folder.path().join("haproxy.sock"));
        let proxy = proxy(folder.path(), address, &admin, &listens)?;
        let url = format!("http://{address}/mcp");
        let nodes = Self { url, proxy, cluster, listens, admin, _fixture: fixture, _folder: folder };
        nodes.cluster.places().try_for_each(|place| nodes.serves(place))?;
        Ok(nodes)
    }

    /// Loses the owner again and again until the sender is gone; returns how often.
    ///
    /// # Errors
    ///
    /// The node does not come back, or owns nothing.
    pub(crate) fn lose_owners(&mut self, until: &Receiver<()>, logs: &Path) -> anyhow::Result<usize> {
        fs::create_dir_all(logs).with_context(|| logs.display().to_string())?;
        self.tell(&format!("set server nodes/{VICTIM} state drain"))?;
        wait::until("a node without clients", PATIENCE, || {
            let open = self.open(VICTIM)?;
            ensure!(open == 0, "{open} requests are open");
            Ok(())
        })?;
        let mut kills = 0;
        while until.recv_timeout(WHOLE) == Err(RecvTimeoutError::Timeout) {
            self.cluster.hand_over(VICTIM)?;
            fs::write(logs.join(format!("life-{kills}.log")), self.cluster.process(VICTIM).output().join("\n"))?;
            self.cluster.kill(VICTIM);
            kills += 1;
            self.cluster.begin(VICTIM)?;
            self.is_whole(VICTIM)?;
        }
        for place in self.cluster.places() {
            fs::write(logs.join(format!("node-{place}.log")), self.cluster.process(place).output().join("\n"))?;
        }
        self.tell(&format!("set server nodes/{VICTIM} state ready"))?;
        Ok(kills)
    }

    /// Waits until a node serves, and says that all nodes are active and the shard has a leader.
    fn is_whole(&self, place: Place) -> anyhow::Result<()> {
        self.serves(place)?;
        self.cluster.whole(place)
    }

    fn serves(&self, place: Place) -> anyhow::Result<()> {
        wait::until("a node that is ready", PATIENCE, || {
            let answer = http::get(self.cluster.admin(place), "/readyz")?;
            ensure!(answer.status == 200, "{} {}", answer.status, answer.body);
            http::get(self.listens[place], "/").map(drop)
        })
    }

    /// Requests that the proxy has open at a node.
    fn open(&self, place: Place) -> anyhow::Result<u64> {
        let table = self.tell("show stat")?;
        let mut lines = table.lines();
        let head = lines.next().unwrap_or_default().trim_start_matches("# ");
        let column = head.split(',').position(|name| name == "scur").context("there is a column of open requests")?;
        let row = lines.find(|line| line.starts_with(&format!("nodes,{place},"))).context("each node has a row")?;
        row.split(',').nth(column).and_then(|count| count.parse().ok()).with_context(|| format!("no count in {row}"))
    }

    /// Has the proxy do something, and returns what it says.
    fn tell(&self, command: &str) -> anyhow::Result<String> {
        let mut socket = UnixStream::connect(&self.admin).with_context(|| format!("haproxy{}", self.proxy.said()))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        writeln!(socket, "{command}")?;
        let mut said = String::new();
        socket.read_to_string(&mut said)?;
        // What is set is told by silence, and whatever is wrong by a sentence.
        ensure!(!command.starts_with("set ") || said.trim().is_empty(), "{command}: {said}");
        Ok(said)
    }
}

/// What the nodes serve: the fixture, with its names as they are. To call its tools again does no harm.
fn documents(fixture: &str) -> String {
    let toolset = json!({
        "servers": ["fixture"],
        "naming": "bare",
        "tools": [{ "match": { "server": "fixture", "name": "*" }, "replayable": true }],
    });
    let documents = [
        json!({ "kind": "ToolServer", "name": "fixture", "spec": { "urls": [fixture] } }),
        json!({ "kind": "Toolset", "name": "default", "spec": toolset }),
    ];
    // JSON is YAML, and documents are separated as in YAML.
    documents.iter().map(Value::to_string).collect::<Vec<_>>().join("\n---\n")
}

/// Starts the proxy.
fn proxy(folder: &Path, address: SocketAddr, admin: &Path, nodes: &[SocketAddr]) -> anyhow::Result<Process> {
    let servers: String =
        nodes.iter().enumerate().map(|(place, node)| format!("    server {place} {node}\n")).collect();
    let text = format!(
        "global\n    stats socket {} mode 600 level admin\n\
         defaults\n    mode http\n    timeout connect 2s\n    timeout client 120s\n    timeout server 120s\n    \
         option redispatch 1\n    retries 3\n    retry-on conn-failure\n\
         frontend clients\n    bind {address}\n    default_backend nodes\n\
         backend nodes\n    balance roundrobin\n{servers}",
        admin.display()
    );
    let file = folder.join("haproxy.cfg");
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    // In the foreground, so that it ends with the test.
    let mut process = Process::start("haproxy", Command::new("haproxy").arg("-db").arg("-f").arg(&file))?;
    process.ready("a socket", PATIENCE, || UnixStream::connect(admin).map_err(Into::into))?;
    Ok(process)
}
