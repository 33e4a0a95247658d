//! Three nodes as shipped before the ticker, with as many keys as the sessions of a run need.
//!
//! A principal may have ten thousand sessions at a node, so that many sessions are of several.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use quorate_cluster::{Cluster, Options};
use serde_json::{Value, json};

use crate::client::{Connection, Target};
use crate::run::child::Child;
use crate::run::process::{Cpu, resident_bytes};

/// Nodes of the cluster.
pub(super) const NODES: usize = 3;
/// Shard groups, as `cluster init` makes them by default.
const SHARDS: u32 = 32;
/// How long the ticker may take to start, and a node to serve.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(200);

/// What is served: a server that takes as many calls as there are clients, for as long as they are measured.
pub(super) fn resources(server: &str, url: &str) -> [Value; 3] {
    let everybody = "permit (principal, action in Action::\"mcp\", resource);";
    [
        json!({ "kind": "ToolServer", "name": server, "spec": {
            "urls": [url], "limits": { "concurrency": 100_000, "total": "2h" },
        }}),
        json!({ "kind": "Toolset", "name": "default", "spec": { "servers": [server] } }),
        json!({ "kind": "Policy", "name": "everybody", "spec": { "cedar": everybody } }),
    ]
}

/// The nodes, and the server behind them.
pub(super) struct Nodes {
    cluster: Arc<Mutex<Cluster>>,
    listens: Vec<SocketAddr>,
    admins: Vec<SocketAddr>,
    pub(super) keys: Vec<String>,
    ticker: Option<Child>,
}

// === impl Nodes ===

impl Nodes {
    /// Starts everything.
    ///
    /// # Errors
    /// When a node does not start, or gives no key.
    pub(super) async fn start(program: &Path, place: &Path, keys: usize) -> Result<Self> {
        let mut ticker = Child::start("the ticker", &std::env::current_exe()?, &["ticker".to_owned()])?;
        let url = ticker.line(PATIENCE).await?;
        Ok(Self { ticker: Some(ticker), ..Self::before(program, place, &url, keys).await? })
    }

    /// Starts nodes before a server that somebody else has started.
    ///
    /// # Errors
    /// When a node does not start, or gives no key.
    pub(super) async fn before(program: &Path, place: &Path, url: &str, keys: usize) -> Result<Self> {
        let url = url.to_owned();
        let listens = free_addresses(NODES)?;
        let (program, place, own) = (program.to_owned(), place.to_owned(), listens.clone());
        let (cluster, keys) = tokio::task::spawn_blocking(move || begin(program, place, &url, &own, keys)).await??;
        let admins = (0..NODES).map(|place| cluster.admin(place)).collect();
        let nodes = Self { cluster: Arc::new(Mutex::new(cluster)), listens, admins, keys, ticker: None };
        for place in 0..NODES {
            nodes.until_serving(place).await?;
        }
        nodes.settled().await?;
        Ok(nodes)
    }

    /// The flags that name nodes and keys to clients; at most so many keys.
    pub(super) fn flags(&self, keys: usize) -> Vec<String> {
        let nodes = self.listens.iter().flat_map(|address| ["--node".to_owned(), address.to_string()]);
        let keys = self.keys.iter().take(keys).flat_map(|key| ["--key".to_owned(), key.clone()]);
        nodes.chain(keys).collect()
    }

    /// Where a node serves one of the callers.
    pub(super) fn url(&self, place: usize) -> String {
        format!("http://{}@{}/mcp", self.keys[0], self.listens[place])
    }

    /// CPU time of all nodes together, in milliseconds.
    ///
    /// # Errors
    /// When one is gone.
    pub(super) fn cpu_ms(&self) -> Result<f64> {
        (0..NODES).map(|place| self.cpu_of(place)).sum()
    }

    /// CPU time of one node, in milliseconds.
    ///
    /// # Errors
    /// When it is gone.
    pub(super) fn cpu_of(&self, place: usize) -> Result<f64> {
        Ok(Cpu::of_process(self.lock().process(place).id())?.total_ms())
    }

    /// Resident memory of a node, in bytes.
    ///
    /// # Errors
    /// When it is gone.
    pub(super) fn memory_of(&self, place: usize) -> Result<u64> {
        resident_bytes(self.lock().process(place).id())
    }

    /// CPU time of the server behind the nodes, in milliseconds.
    ///
    /// # Errors
    /// When it is gone.
    pub(super) fn ticker_cpu_ms(&self) -> Result<f64> {
        let ticker = self.ticker.as_ref().context("there is no ticker")?;
        Ok(Cpu::of_process(ticker.pid())?.total_ms())
    }

    /// The value of a metric of a node, of all its series together.
    ///
    /// # Errors
    /// When it does not serve its metrics.
    pub(super) async fn metric(&self, place: usize, name: &str) -> Result<f64> {
        let target = Target::parse(&format!("http://{}/metrics", self.admins[place]))?;
        let answer = Connection::open(&target).await?.get().await?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let series = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
        Ok(series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    /// Kills a node.
    pub(super) fn kill(&self, place: usize) {
        self.lock().kill(place);
    }

    /// Starts a killed node, and waits until it serves and leads what it should.
    ///
    /// # Errors
    /// When it does not.
    pub(super) async fn restart(&self, place: usize) -> Result<()> {
        self.blocking(move |cluster| cluster.begin(place)).await?;
        self.until_serving(place).await?;
        self.settled().await
    }

    /// Waits until all groups have their leaders where they should be.
    ///
    /// # Errors
    /// When that does not happen.
    pub(super) async fn settled(&self) -> Result<()> {
        self.blocking(|cluster| {
            let place = cluster.running().next().context("a node runs")?;
            cluster.settled(place)?;
            cluster.levelled(place)
        })
        .await
    }

    /// Waits until a node leads nothing.
    ///
    /// # Errors
    /// When that does not happen.
    pub(super) async fn drained(&self, name: &'static str) -> Result<()> {
        self.blocking(move |cluster| {
            let place = cluster.running().next().context("a node runs")?;
            cluster.until("a drained node", place, |status| {
                quorate_cluster::nodes(status).any(|node| node["name"] == name && node["groupsLed"] == 0)
            })
        })
        .await
    }

    /// Runs a command as an operator.
    ///
    /// # Errors
    /// When it fails.
    pub(super) async fn operate(&self, args: &'static [&'static str]) -> Result<String> {
        self.blocking(move |cluster| cluster.operate(args)?.success()).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Cluster) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let cluster = Arc::clone(&self.cluster);
        tokio::task::spawn_blocking(move || work(&mut cluster.lock().unwrap_or_else(PoisonError::into_inner))).await?
    }

    async fn until_serving(&self, place: usize) -> Result<()> {
        let target = Target::parse(&self.url(place))?;
        let began = Instant::now();
        loop {
            let answered = async { Connection::open(&target).await?.initialize().await };
            match answered.await {
                Ok(_) => return Ok(()),
                Err(error) if began.elapsed() > PATIENCE => {
                    return Err(error.context(format!("node {} does not serve", place + 1)));
                }
                Err(_) => tokio::time::sleep(LOOK).await,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn begin(
    program: PathBuf,
    place: PathBuf,
    ticker: &str,
    listens: &[SocketAddr],
    keys: usize,
) -> Result<(Cluster, Vec<String>)> {
    let file = tempfile::Builder::new().suffix(".yaml").tempfile_in(&place)?;
    std::fs::write(file.path(), resources("ticker", ticker).map(|resource| resource.to_string()).join("\n---\n"))?;
    let own_flags = listens.iter().map(|listen| vec!["--listen".to_owned(), listen.to_string()]).collect();
    let cluster = Cluster::start(Options {
        shards: SHARDS,
        init: vec!["-f".to_owned(), file.path().to_str().context("a path of text")?.to_owned()],
        own_flags,
        election_timeout: "400ms",
        program: Some(program),
        place: Some(place),
        ..Options::default()
    })?;
    let mut made = Vec::new();
    for number in 0..keys {
        let name = format!("client-{number}");
        let out = cluster.folder().join(&name);
        let path = out.to_str().context("a path of text")?;
        cluster.operate(&["keys", "new", "--name", &name, "--secret-out", path])?.success()?;
        made.push(std::fs::read_to_string(&out)?.trim().to_owned());
    }
    Ok((cluster, made))
}

/// Addresses that are free now, each another one.
fn free_addresses(count: usize) -> Result<Vec<SocketAddr>> {
    let probe = || std::net::TcpListener::bind("127.0.0.1:0");
    let held = std::iter::repeat_with(probe).take(count).collect::<std::io::Result<Vec<_>>>()?;
    let addresses = held.iter().map(|listener| Ok(listener.local_addr()?)).collect::<Result<Vec<_>>>()?;
    if addresses.len() < count {
        bail!("there are no {count} free ports");
    }
    Ok(addresses)
}
