//! The cluster of the demo, as an operator has it: who owns the session, killing, draining, and whether all is well again.
//!
//! It is what `quorate up --nodes 3` starts, and a tool server beside it. Nothing is known here that an operator could not
//! know: nodes are asked over their admin API, and for their metrics.

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use quorate_client::Client;
use quorate_http::client;
use quorate_proto::admin::v1 as proto;
use quorate_tls::{ClientOptions, ClientTls};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::backend::journal::{Run, Written};
use crate::cli::{LogFormat, NodeArgs, TelemetryArgs, UpArgs};
use crate::demo_server::http::PATH;
use crate::exit::{Exit, Failure};
use crate::local::child::{Child, Tell};
use crate::local::plan::{Plan, Ports};
use crate::local::{Children, Home, bring_up, set};
use crate::run::shown;
use crate::target;

const NODES: u8 = 3;
/// One for each node to lead; each more one is so much later well again.
const SHARDS: u32 = 3;
/// How long one answer of a node may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the cluster may take to be well again, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// Bytes of a node's metrics at most.
const METRICS_BYTES_MAX: usize = 8 << 20;
/// The metric that says how many sessions are open at a node.
const SESSIONS: &str = "quorate_sessions";

/// A running cluster with its tool server; both end when it is dropped.
pub(super) struct Trial {
    // Before the folder: processes end first.
    children: Children,
    home: Home,
    plan: Plan,
    admin: Vec<Client>,
    http: client::Client,
}

// === impl Trial ===

impl Trial {
    /// Starts the tool server and the nodes, and makes them a cluster.
    ///
    /// # Errors
    /// [`Failure`] when a process does not start.
    pub(super) async fn start(dir: Option<&Path>) -> Result<Self, Failure> {
        let home = Home::new(dir)?;
        if std::fs::read_dir(&home.dir).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(Failure::new(Exit::Usage, format!("{} has files", shown(&home.dir)))
                .advise("name an empty or a new directory, or none"));
        }
        let started = Self::start_in(&home).await;
        match started {
            Ok((children, plan)) => {
                let admin = plan.nodes.iter().map(|node| target::local(&node.data_dir(&nodes(&home)), CALL_TIMEOUT));
                Ok(Self { admin: admin.collect(), children, plan, home, http: http_client()? })
            }
            Err(failure) => Err(keep(home, failure)),
        }
    }

    async fn start_in(home: &Home) -> Result<(Children, Plan), Failure> {
        let failed = |error: std::io::Error| Failure::new(Exit::Failure, format!("cannot start the demo: {error}"));
        let log = Arc::new(Mutex::new(File::create(log(home)).map_err(failed)?));
        let tell: Tell = Arc::new(move |line| {
            // A log that cannot be written is no reason to end a node.
            let _lost = writeln!(log.lock().unwrap_or_else(PoisonError::into_inner), "{line}");
        });
        let backend = Ports::new().free().map_err(failed)?;
        let program = std::env::current_exe().map_err(failed)?;
        let command = [program.into(), "demo-backend".into(), "--listen".into(), backend.to_string().into()];
        let command = command.into_iter().chain(["--journal".into(), journal(home).into()]).collect();
        let mut children = Children(vec![Child::start("tool server", command, Arc::clone(&tell)).map_err(failed)?]);
        listens(backend).await?;
        let url = format!("http://{backend}{PATH}").parse().expect("an address and a path are a URL");
        let args = up_args(url);
        let dir = nodes(home);
        let folder = Home::new(Some(&dir))?;
        let plan = Plan::of_dir(&folder.dir, NODES, args.listen, args.admin)?;
        // The nodes first, so that their places are those of the plan.
        children.0.splice(0..0, Children::start(&args, &folder.dir, &plan, &tell)?.take());
        bring_up(&folder.dir, &plan, args.shards, set::documents(&args, None)?).await?;
        Ok((children, plan))
    }

    /// Where nodes serve MCP.
    pub(super) fn listen(&self) -> Vec<SocketAddr> {
        self.plan.nodes.iter().map(|node| node.listen).collect()
    }

    /// What a node is called.
    pub(super) fn name(&self, node: usize) -> &str {
        &self.plan.nodes[node].name
    }

    /// Kills a node's process with SIGKILL and returns its number; it is started again a second later.
    ///
    /// # Errors
    /// [`Failure`] when there is none.
    pub(super) fn kill(&self, node: usize) -> Result<u32, Failure> {
        let none = || Failure::new(Exit::Failure, format!("{} has no process to kill", self.name(node)));
        self.children.0[node].crash().ok_or_else(none)
    }

    /// Moves everything away from a node, as `quorate cluster drain` does.
    ///
    /// # Errors
    /// [`Failure`] when the cluster refuses.
    pub(super) async fn drain(&self, node: usize) -> Result<(), Failure> {
        let request = proto::DrainNodeRequest { node: self.id(node).await? };
        self.admin[node].call(request).await.map(drop).map_err(target::of_client)
    }

    /// Ends a drain.
    ///
    /// # Errors
    /// [`Failure`] when the cluster refuses.
    pub(super) async fn undrain(&self, node: usize) -> Result<(), Failure> {
        let request = proto::UndrainNodeRequest { node: self.id(node).await? };
        self.admin[node].call(request).await.map(drop).map_err(target::of_client)
    }

    async fn id(&self, node: usize) -> Result<u64, Failure> {
        self.admin[node]
            .call(proto::GetStatusRequest::default())
            .await
            .map(|status| status.node)
            .map_err(target::of_client)
    }

    /// Which node owns the client's session, the only one that there is: the one where it is open.
    ///
    /// # Errors
    /// [`Failure`] when none, or more than one, says so for a minute.
    pub(super) async fn owner(&self) -> Result<usize, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut owners = Vec::new();
            for (node, planned) in self.plan.nodes.iter().enumerate() {
                if self.sessions(planned.admin).await.is_some_and(|sessions| sessions > 0.0) {
                    owners.push(node);
                }
            }
            match owners.as_slice() {
                [owner] => return Ok(*owner),
                _ if Instant::now() < deadline => sleep(POLL).await,
                _ => {
                    let names: Vec<&str> = owners.iter().map(|node| self.name(*node)).collect();
                    let message = format!("one node should own the session, and these do: [{}]", names.join(", "));
                    return Err(Failure::new(Exit::Failure, message));
                }
            }
        }
    }

    /// How many sessions are open at a node; none when it does not answer.
    async fn sessions(&self, admin: SocketAddr) -> Option<f64> {
        let request = Request::get(format!("http://{admin}/metrics")).body(Full::new(Bytes::new())).ok()?;
        let body = self.http.send_within(request, CALL_TIMEOUT).await.ok()?.into_body();
        let body = http_body_util::Limited::new(body, METRICS_BYTES_MAX);
        let text = http_body_util::BodyExt::collect(body).await.ok()?.to_bytes();
        sum_of(&String::from_utf8_lossy(&text), SESSIONS)
    }

    /// Waits until every node says that all nodes are well, that each shard has its leader and is where it shall be, and that
    /// leaders are level.
    ///
    /// # Errors
    /// [`Failure`] with what is not so after a minute.
    pub(super) async fn settled(&self) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        for (node, client) in self.admin.iter().enumerate() {
            loop {
                let answer = client.call(proto::GetStatusRequest::default()).await;
                let missing = match &answer {
                    Ok(status) => missing(status),
                    Err(error) => Some(error.to_string()),
                };
                match missing {
                    None => break,
                    Some(_) if Instant::now() < deadline => sleep(POLL).await,
                    Some(missing) => {
                        let message =
                            format!("the cluster is not well again, as {} has it: {missing}", self.name(node));
                        return Err(Failure::new(Exit::Failure, message));
                    }
                }
            }
        }
        Ok(())
    }

    /// What the tool server wrote down of a run.
    ///
    /// # Errors
    /// [`Failure`] when the journal cannot be read.
    pub(super) fn written(&self, run: &Run) -> Result<Written, Failure> {
        let file = journal(&self.home);
        let text = std::fs::read_to_string(&file)
            .map_err(|error| Failure::new(Exit::Failure, format!("cannot read {}: {error}", shown(&file))))?;
        Ok(Written::of(&text, run))
    }

    /// Ends all processes, and keeps their files for looking at.
    pub(super) fn keep(self, failure: Failure) -> Failure {
        self.children.kill();
        keep(self.home, failure)
    }
}

/// Keeps the files, and says where they are.
fn keep(mut home: Home, failure: Failure) -> Failure {
    home.is_temporary = false;
    let (log, journal) = (shown(&log(&home)).to_string(), shown(&journal(&home)).to_string());
    let kept = format!("the nodes' log is {log}, the tool server's journal {journal}");
    let advice = failure.advice.as_ref().map_or_else(|| kept.clone(), |advice| format!("{advice}\n{kept}"));
    failure.advise(advice)
}

fn nodes(home: &Home) -> PathBuf {
    home.dir.join("nodes")
}

fn log(home: &Home) -> PathBuf {
    home.dir.join("nodes.log")
}

fn journal(home: &Home) -> PathBuf {
    home.dir.join("journal")
}

/// What is missing for a cluster to be well, in the status of a node.
fn missing(status: &proto::GetStatusResponse) -> Option<String> {
    // A node with a finding works: on a machine whose disk is rather full, each has one.
    let is_heard =
        |node: &proto::Node| matches!(node.health(), proto::NodeHealth::Healthy | proto::NodeHealth::Degraded);
    let is_there = |node: &&proto::Node| node.state() == proto::NodeState::Active && is_heard(node);
    let there = status.nodes.iter().filter(is_there).count();
    if there < usize::from(NODES) {
        return Some(format!("{there} of {NODES} nodes are active and heard"));
    }
    let revisions = status.nodes.iter().map(|node| node.active_revision).chain([status.active_revision]);
    let newest = revisions.clone().max().unwrap_or_default();
    if newest == 0 || revisions.clone().any(|revision| revision != newest) {
        return Some(format!("the resources of revision {newest} are not active on all nodes"));
    }
    // With two voters a group outlives the loss of neither.
    let is_whole = |leader: u64, voters: &[u64]| leader != 0 && voters.len() == usize::from(NODES);
    let whole = status.shards.iter().filter(|shard| is_whole(shard.leader, &shard.voters) && shard.target.is_empty());
    let (whole, all) = (whole.count(), status.shards.len());
    if whole != all || all == 0 || !status.meta.as_ref().is_some_and(|meta| is_whole(meta.leader, &meta.voters)) {
        return Some(format!(
            "{whole} of {all} shards have a leader and all of their voters, or the meta group has not"
        ));
    }
    let leader_of_meta = status.meta.as_ref().map(|meta| meta.leader);
    let leaders: Vec<u64> = status.shards.iter().map(|shard| shard.leader).chain(leader_of_meta).collect();
    let led = |node: &proto::Node| leaders.iter().filter(|leader| **leader == node.id).count();
    let led: Vec<usize> = status.nodes.iter().map(led).collect();
    let (most, least) = (led.iter().max().copied().unwrap_or_default(), led.iter().min().copied().unwrap_or_default());
    (most - least > 1).then(|| format!("leaders are not level: nodes lead {led:?} groups"))
}

/// The sum of a metric's values in the text format of Prometheus; none when it is not there.
fn sum_of(text: &str, metric: &str) -> Option<f64> {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(metric)?;
        rest.starts_with([' ', '{']).then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
    });
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

async fn listens(address: SocketAddr) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).await.is_err() {
        if Instant::now() >= deadline {
            return Err(Failure::new(Exit::Failure, format!("the tool server does not listen on {address}")));
        }
        sleep(POLL).await;
    }
    Ok(())
}

/// What `quorate up --nodes 3 --mcp work=URL` is called with, on free ports.
fn up_args(url: url::Url) -> UpArgs {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let name = quorate_types::ResourceName::new("work").expect("it is a name");
    UpArgs {
        mcp: vec![(name, url)],
        openapi: Vec::new(),
        stdio: Vec::new(),
        llm: Vec::new(),
        naming: None,
        listen: any,
        admin: any,
        files: Vec::new(),
        nodes: Some(NODES),
        shards: SHARDS,
        node: NodeArgs {
            data_dir: None,
            drain_timeout: Duration::from_secs(10),
            telemetry: TelemetryArgs {
                log: "info,openraft=error".to_owned(),
                log_format: LogFormat::Human,
                otlp_endpoint: None,
                trace_ratio: 0.0,
            },
        },
    }
}

fn http_client() -> Result<client::Client, Failure> {
    let tls = ClientTls::load(&ClientOptions { native_roots: false, extra_roots: None })
        .map_err(|error| Failure::from(anyhow::Error::from(error)))?;
    Ok(client::Client::new(&client::DEFAULTS, tls))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_read_with_and_without_labels() {
        let text = "# TYPE quorate_sessions gauge\nquorate_sessions{otel=\"a b\"} 2\nquorate_sessions 1\nquorate_sessions_x 7\n";

        assert_eq!(sum_of(text, SESSIONS), Some(3.0));
        assert_eq!(sum_of("other 1\n", SESSIONS), None);
    }

    #[test]
    fn a_cluster_is_well_when_its_nodes_shards_and_leaders_are() {
        let node = |id| proto::Node {
            id,
            state: proto::NodeState::Active.into(),
            health: proto::NodeHealth::Healthy.into(),
            active_revision: 1,
            ..proto::Node::default()
        };
        let shard = |shard, leader| proto::ShardStatus { shard, leader, voters: vec![1, 2, 3], ..Default::default() };
        let well = proto::GetStatusResponse {
            nodes: vec![node(1), node(2), node(3)],
            shards: vec![shard(1, 1), shard(2, 2), shard(3, 3)],
            active_revision: 1,
            meta: Some(proto::MetaStatus { leader: 1, voters: vec![1, 2, 3], ..proto::MetaStatus::default() }),
            ..proto::GetStatusResponse::default()
        };
        assert_eq!(missing(&well), None);
        let mut degraded = well.clone();
        degraded.nodes.iter_mut().for_each(|node| node.health = proto::NodeHealth::Degraded.into());
        assert_eq!(missing(&degraded), None);

        let mut ill = well.clone();
        ill.nodes[2].health = proto::NodeHealth::Unreachable.into();
        assert_eq!(missing(&ill).unwrap(), "2 of 3 nodes are active and heard");
        let mut behind = well.clone();
        behind.nodes[1].active_revision = 0;
        assert_eq!(missing(&behind).unwrap(), "the resources of revision 1 are not active on all nodes");
        let mut leaderless = well.clone();
        leaderless.shards[0].leader = 0;
        assert!(missing(&leaderless).unwrap().starts_with("2 of 3 shards have a leader and all of their voters"));
        let mut few = well.clone();
        few.shards[0].voters.pop();
        assert!(missing(&few).unwrap().starts_with("2 of 3 shards"));
        let heavy = proto::GetStatusResponse { shards: (1..=3).map(|number| shard(number, 2)).collect(), ..well };
        assert!(missing(&heavy).unwrap().contains("[1, 3, 0]"));
    }
}
