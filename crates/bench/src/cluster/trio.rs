//! The bench's own nodes as a run has them: started, told, killed, cut off, and listened to.
//!
//! Every byte between two nodes goes through the proxies of [`Net`] only where the run cuts them off; else they are dialed
//! where they listen, so that nobody pays for a proxy. A node ends with its handle, or with the run's process.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use quorate_cluster::{Net, Port};
use tempfile::TempDir;

use super::pki::Authority;
use super::said::{Order, Said, Wrote};
use crate::run::child::Child;
use crate::run::process::{self, Cpu};

/// Longer than anything takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often something is looked at again.
const LOOK: Duration = Duration::from_millis(20);

/// Nodes that are a cluster.
pub(super) struct Trio {
    bench: PathBuf,
    /// None once it has ended.
    net: Option<Net>,
    /// Whether nodes dial each other's proxies.
    through_net: bool,
    groups: u32,
    nodes: BTreeMap<u64, Node>,
    // The disks go after the processes.
    folder: TempDir,
}

struct Node {
    running: Option<Running>,
    incarnation: u64,
}

struct Running {
    child: Child,
    client: String,
}

/// How a node stands.
#[derive(Clone, Debug, Default)]
pub(super) struct Status {
    /// The groups that it serves, with their terms.
    pub(super) serves: BTreeMap<u32, u64>,
    /// Who leads each group.
    pub(super) leaders: BTreeMap<u32, u64>,
    /// Commands that it has applied since its start.
    pub(super) applied: u64,
    /// Batches that its log has synced.
    pub(super) syncs: u64,
    /// Records in them.
    pub(super) records: u64,
}

/// A leader that serves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Serving {
    /// The node.
    pub(super) node: u64,
    /// The group.
    pub(super) group: u32,
    /// The term in which it leads.
    pub(super) epoch: u64,
    /// Since when, in microseconds since 1970.
    pub(super) at_us: u64,
}

// === impl Trio ===

impl Trio {
    /// Starts nodes with groups that have begun, each first led by another node in turn.
    ///
    /// # Errors
    /// When one cannot be started, or nobody leads.
    pub(super) async fn start(place: &Path, nodes: u64, groups: u32, through_net: bool) -> Result<Self> {
        let authority = Authority::new()?;
        // It has a runtime of its own, which must not block this one.
        let net = tokio::task::spawn_blocking(move || Net::new(usize::try_from(nodes)?)).await??;
        let folder = tempfile::Builder::new().prefix("quorate-bench-").tempdir_in(place)?;
        let bench = std::env::current_exe().context("the path of this program")?;
        let mut trio = Self { bench, net: Some(net), through_net, groups, nodes: BTreeMap::new(), folder };
        for id in 1..=nodes {
            std::fs::create_dir(trio.disk(id))?;
            authority.write(id, &trio.disk(id))?;
            trio.nodes.insert(id, Node { running: None, incarnation: 0 });
            trio.launch(id).await?;
        }
        for id in 1..=nodes {
            let groups = (0..groups).filter(|group| u64::from(*group) % nodes + 1 == id).collect();
            match trio.tell(id, &Order::Begin { groups }).await? {
                Said::Begun => {}
                other => bail!("node {id} says {other:?}"),
            }
        }
        trio.settle().await?;
        Ok(trio)
    }

    /// Starts a node on its disk, and waits until it listens.
    ///
    /// # Errors
    /// When it does not.
    pub(super) async fn launch(&mut self, id: u64) -> Result<()> {
        self.spawn(id)?;
        self.listens(id).await
    }

    /// Starts the process of a node.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn spawn(&mut self, id: u64) -> Result<()> {
        let disk = self.disk(id);
        let ports: Vec<Port> = (0..self.net().len()).map(|place| self.net().port(place)).collect();
        let node = self.nodes.get_mut(&id).context("there is no such node")?;
        node.incarnation += 1;
        let mut arguments: Vec<String> = ["node", "--id", &id.to_string()].map(str::to_owned).into();
        let mut argument = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        argument("--incarnation", node.incarnation.to_string());
        argument("--folder", disk.display().to_string());
        argument("--credentials", disk.display().to_string());
        let own = ports.get(usize::try_from(id - 1)?).context("there is no such place")?;
        argument("--listen", own.listen.to_string());
        argument("--groups", self.groups.to_string());
        for (peer, port) in (1..).zip(&ports) {
            let at = if self.through_net && peer != id { port.advertise } else { port.listen };
            argument("--peer", format!("{peer}={at}"));
        }
        let child = Child::start("a node", &self.bench, &arguments)?;
        node.running = Some(Running { child, client: String::new() });
        Ok(())
    }

    /// Waits until a node that was started listens.
    ///
    /// # Errors
    /// When it does not.
    pub(super) async fn listens(&mut self, id: u64) -> Result<()> {
        let running = self.live(id)?;
        let begun = Instant::now();
        loop {
            // It may lead before it says that it listens.
            if let Said::Listens { client } = said(&running.child.line(PATIENCE).await?)? {
                running.client = client;
                return Ok(());
            }
            ensure!(begun.elapsed() < PATIENCE, "node {id} does not listen");
        }
    }

    /// Ends a node's process at once.
    ///
    /// # Errors
    /// When it does not run.
    pub(super) async fn kill(&mut self, id: u64) -> Result<()> {
        self.take(id)?.child.end().await
    }

    /// Holds up everything from and to a node.
    pub(super) fn isolate(&self, id: u64) {
        self.net().isolate(usize::try_from(id - 1).unwrap_or(usize::MAX));
    }

    /// Lets everything pass again.
    pub(super) fn heal(&self) {
        self.net().heal();
    }

    /// Waits until each group is served, and every running node knows by whom; returns who serves each.
    ///
    /// # Errors
    /// When it takes too long.
    pub(super) async fn settle(&mut self) -> Result<BTreeMap<u32, u64>> {
        let begun = Instant::now();
        loop {
            let (mut serves, mut seen) = (BTreeMap::new(), Vec::new());
            for id in self.running() {
                let status = self.status(id).await?;
                serves.extend(status.serves.keys().map(|group| (*group, id)));
                seen.push(status.leaders);
            }
            if serves.len() == self.groups as usize && seen.iter().all(|leaders| *leaders == serves) {
                return Ok(serves);
            }
            let (led, known) = (serves.len(), seen.iter().map(BTreeMap::len).collect::<Vec<_>>());
            ensure!(
                begun.elapsed() < PATIENCE,
                "of {} groups {led} are served, and nodes know the leaders of {known:?}",
                self.groups
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until somebody else than a node serves a group, who did not before (microseconds since 1970).
    ///
    /// # Errors
    /// When nobody does for long.
    pub(super) async fn next_leader(&mut self, group: u32, than: u64, since_us: u64) -> Result<Serving> {
        let running = self.nodes.iter_mut().filter(|(id, _)| **id != than);
        let running = running.filter_map(|(id, node)| node.running.as_mut().map(|running| (*id, running)));
        let mut served: FuturesUnordered<_> = running.map(|(id, running)| hear(id, running, group, since_us)).collect();
        served.next().await.context("nobody else runs")?
    }

    /// Listens for a while to all nodes that run; returns what they say that they serve.
    ///
    /// # Errors
    /// When one ends.
    pub(super) async fn hear_for(&mut self, time: Duration) -> Result<Vec<Serving>> {
        let end = tokio::time::Instant::now() + time;
        let running = self.nodes.iter_mut().filter_map(|(id, node)| Some((*id, node.running.as_mut()?)));
        let listening = running.map(|(id, running)| async move {
            let mut heard = Vec::new();
            while let Ok(line) = tokio::time::timeout_at(end, running.child.line(2 * time + PATIENCE)).await {
                if let Said::Serves { group, epoch, at_us } = said(&line?)? {
                    heard.push(Serving { node: id, group, epoch, at_us });
                }
            }
            anyhow::Ok(heard)
        });
        Ok(futures_util::future::try_join_all(listening).await?.concat())
    }

    /// Asks how a node stands.
    ///
    /// # Errors
    /// When it does not answer.
    pub(super) async fn status(&mut self, id: u64) -> Result<Status> {
        match self.tell(id, &Order::Status).await? {
            Said::Status { serves, leaders, applied, syncs, records } => {
                Ok(Status { serves, leaders, applied, syncs, records })
            }
            other => bail!("node {id} says {other:?}"),
        }
    }

    /// Has a node write.
    ///
    /// # Errors
    /// When it cannot.
    pub(super) async fn write_at(&mut self, id: u64, order: &Order) -> Result<Wrote> {
        self.order(id, order).await?;
        self.wrote(id).await
    }

    /// Waits for what a node that was told to write says.
    ///
    /// # Errors
    /// When it could not.
    pub(super) async fn wrote(&mut self, id: u64) -> Result<Wrote> {
        match self.answer(id).await? {
            Said::Wrote(wrote) => Ok(wrote),
            other => bail!("node {id} says {other:?}"),
        }
    }

    /// Gives an order that has no answer.
    ///
    /// # Errors
    /// When the node has ended.
    pub(super) async fn order(&mut self, id: u64, order: &Order) -> Result<()> {
        self.live(id)?.child.tell(&serde_json::to_string(order)?).await
    }

    /// Gives an order and waits for its answer.
    async fn tell(&mut self, id: u64, order: &Order) -> Result<Said> {
        self.order(id, order).await?;
        self.answer(id).await
    }

    async fn answer(&mut self, id: u64) -> Result<Said> {
        loop {
            match said(&self.live(id)?.child.line(PATIENCE).await?)? {
                // It says so at any time.
                Said::Serves { .. } => {}
                Said::Failed { reason } => bail!("node {id}: {reason}"),
                other => return Ok(other),
            }
        }
    }

    /// The nodes that run.
    pub(super) fn running(&self) -> Vec<u64> {
        self.nodes.iter().filter(|(_, node)| node.running.is_some()).map(|(id, _)| *id).collect()
    }

    /// Where clients reach a node.
    ///
    /// # Errors
    /// When it does not run.
    pub(super) fn client(&mut self, id: u64) -> Result<String> {
        Ok(format!("http://{}", self.live(id)?.client))
    }

    /// CPU time of all nodes together, in milliseconds.
    ///
    /// # Errors
    /// When one is gone.
    pub(super) fn cpu_ms(&self) -> Result<f64> {
        let running = self.nodes.values().filter_map(|node| node.running.as_ref());
        running.map(|running| Ok(Cpu::of_process(running.child.pid())?.total_ms())).sum()
    }

    /// Resident memory of all nodes together, in bytes.
    ///
    /// # Errors
    /// When one is gone.
    pub(super) fn resident_bytes(&self) -> Result<u64> {
        let running = self.nodes.values().filter_map(|node| node.running.as_ref());
        running.map(|running| process::resident_bytes(running.child.pid())).sum()
    }

    fn live(&mut self, id: u64) -> Result<&mut Running> {
        let node = self.nodes.get_mut(&id).context("there is no such node")?;
        node.running.as_mut().with_context(|| format!("node {id} does not run"))
    }

    fn take(&mut self, id: u64) -> Result<Running> {
        let node = self.nodes.get_mut(&id).context("there is no such node")?;
        node.running.take().with_context(|| format!("node {id} does not run"))
    }

    fn net(&self) -> &Net {
        self.net.as_ref().expect("it ends with this")
    }

    fn disk(&self, id: u64) -> PathBuf {
        self.folder.path().join(format!("node-{id}"))
    }
}

impl Drop for Trio {
    /// Its network has a runtime, which must not end within another.
    fn drop(&mut self) {
        let net = self.net.take();
        drop(std::thread::spawn(move || drop(net)).join());
    }
}

/// Waits until a node says that it serves a group.
async fn hear(node: u64, running: &mut Running, group: u32, since_us: u64) -> Result<Serving> {
    loop {
        if let Said::Serves { group: of, epoch, at_us } = said(&running.child.line(PATIENCE).await?)?
            && (of == group && at_us >= since_us)
        {
            return Ok(Serving { node, group, epoch, at_us });
        }
    }
}

fn said(line: &str) -> Result<Said> {
    serde_json::from_str(line).with_context(|| format!("a node says {line}"))
}
