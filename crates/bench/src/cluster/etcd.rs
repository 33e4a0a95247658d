//! Three nodes of etcd, as its users start them: Debian's package, its defaults, a folder for each on the same disk.
//!
//! Its peers talk in plain text, which spares it what TLS costs the bench's own nodes. The package is fetched with `apt-get`
//! when the program is not there, and unpacked into a folder of the run: nothing is installed, and no service is started.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use tokio::process::Command;

use super::service::proto::StatusRequest;
use super::service::proto::maintenance_client::MaintenanceClient;
use crate::run::child::Child;
use crate::run::process::Cpu;

const NODES: usize = 3;
const PACKAGE: &str = "etcd-server";
/// How long it may take to start, and to elect.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a package may take to come.
const FETCH_PATIENCE: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_millis(100);

/// A running cluster of etcd.
pub(crate) struct Etcd {
    nodes: Vec<Child>,
    clients: Vec<String>,
    /// What it says it is.
    pub(crate) version: String,
    // The disks go after the processes.
    _folder: TempDir,
}

// === impl Etcd ===

impl Etcd {
    /// Starts three nodes.
    ///
    /// # Errors
    /// When there is no program, or they do not elect a leader.
    pub(crate) async fn start(place: &Path, program: Option<&Path>) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("quorate-bench-etcd-").tempdir_in(place)?;
        let program = match program {
            Some(program) => program.to_owned(),
            None => find(folder.path()).await?,
        };
        let ports = free_ports(2 * NODES)?;
        let url = |port: &u16| format!("http://127.0.0.1:{port}");
        let (clients, peers) = ports.split_at(NODES);
        let clients: Vec<String> = clients.iter().map(url).collect();
        let members: Vec<String> = (0..NODES).map(|node| format!("n{node}={}", url(&peers[node]))).collect();
        let mut nodes = Vec::new();
        for (node, client) in clients.iter().enumerate() {
            // It dies with this process, also when that is killed: `setpriv` is of util-linux, and everywhere.
            let mut arguments: Vec<String> = vec!["--pdeathsig".into(), "KILL".into(), program.display().to_string()];
            let mut argument = |name: &str, value: String| arguments.push(format!("--{name}={value}"));
            argument("name", format!("n{node}"));
            argument("data-dir", folder.path().join(format!("n{node}")).display().to_string());
            argument("listen-client-urls", client.clone());
            argument("advertise-client-urls", client.clone());
            argument("listen-peer-urls", url(&peers[node]));
            argument("initial-advertise-peer-urls", url(&peers[node]));
            argument("initial-cluster", members.join(","));
            argument("logger", "zap".to_owned());
            argument("log-level", "error".to_owned());
            nodes.push(Child::start("etcd", Path::new("setpriv"), &arguments)?);
        }
        let mut etcd = Self { nodes, clients, version: String::new(), _folder: folder };
        etcd.leader().await?;
        Ok(etcd)
    }

    /// Waits for a leader; returns where clients reach it.
    ///
    /// # Errors
    /// When nobody leads for long.
    pub(crate) async fn leader(&mut self) -> Result<String> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            for client in &self.clients {
                let Ok(mut asked) = MaintenanceClient::connect(client.clone()).await else { continue };
                let Ok(status) = asked.status(StatusRequest {}).await else { continue };
                let status = status.into_inner();
                let node = status.header.map_or(0, |header| header.member_id);
                if node != 0 && node == status.leader {
                    self.version = status.version;
                    return Ok(client.clone());
                }
            }
            tokio::time::sleep(LOOK).await;
        }
        bail!("etcd elects nobody")
    }

    /// CPU time of all nodes together, in milliseconds.
    ///
    /// # Errors
    /// When one is gone.
    pub(crate) fn cpu_ms(&self) -> Result<f64> {
        self.nodes.iter().map(|node| Ok(Cpu::of_process(node.pid())?.total_ms())).sum()
    }
}

/// Finds the program, or fetches its package.
async fn find(folder: &Path) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if let Some(found) = std::env::split_paths(&path).map(|folder| folder.join("etcd")).find(|file| file.is_file()) {
        return Ok(found);
    }
    eprintln!("quorate-bench: there is no etcd here: fetching Debian's package {PACKAGE} with apt-get");
    let mut fetch = Command::new("apt-get");
    // The folder is this user's alone: apt's own user cannot write there.
    fetch.args(["-q", "-o", "APT::Sandbox::User=root", "download", PACKAGE]).current_dir(folder);
    let fetched = tokio::time::timeout(FETCH_PATIENCE, run(&mut fetch)).await.context("apt-get does not end")?;
    fetched.with_context(|| format!("fetch {PACKAGE}; --etcd names a program that is there"))?;
    let mut files = std::fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path()));
    let package = files.find(|file| file.extension().is_some_and(|extension| extension == "deb"));
    let package = package.with_context(|| format!("apt-get fetched no package {PACKAGE}"))?;
    run(Command::new("dpkg-deb").arg("-x").args([&package, folder])).await?;
    let program = folder.join("usr/bin/etcd");
    ensure!(program.is_file(), "the package {PACKAGE} has no usr/bin/etcd");
    Ok(program)
}

async fn run(command: &mut Command) -> Result<()> {
    let name = format!("{:?}", command.as_std().get_program());
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true).status();
    let status = status.await.with_context(|| name.clone())?;
    ensure!(status.success(), "{name} ended with {status}");
    Ok(())
}

/// Ports that are free now, each another one.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let probe = || std::net::TcpListener::bind("127.0.0.1:0");
    let held = std::iter::repeat_with(probe).take(count).collect::<std::io::Result<Vec<_>>>()?;
    held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}
