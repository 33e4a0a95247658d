//! `quorate up --nodes N`: a cluster on this machine, each node a process of its own, with development defaults.
//!
//! ```text
//! plan (addresses, kept) ─▶ children ─▶ sockets answer ─▶ init, join ─▶ resources ─▶ greeting ─▶ until a signal
//! ```
//!
//! Bringing up goes on from whatever it finds: a directory of an earlier run is started as it was, and one whose run was cut
//! short is finished. A node that ends is reported and started again; killing one by hand shows in `cluster status`. What
//! ends this process ends the nodes, also SIGKILL.

pub(crate) mod child;
pub(crate) mod plan;
pub(crate) mod set;

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use quorate_client::Client;
use quorate_client::context::{Draft, Material};
use quorate_gateway::authenticate::DEVELOPMENT_AGENT;
use quorate_membership::address::Address;
use quorate_proto::admin::v1 as proto;
use quorate_runtime::entropy;
use quorate_types::ClusterId;
use rustix::process::Signal;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use self::child::{Child, Tell};
use self::plan::{Plan, Planned};
use crate::answer::to_proto;
use crate::cli::{LogFormat, UpArgs};
use crate::cluster::{init_node, join_node};
use crate::demo_server::DemoServer;
use crate::exit::{Exit, Failure};
use crate::run::{Stop, shown};
use crate::{output, target, up};

/// How long nodes may take until their sockets answer, and until all are active.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long one answer may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);
/// What nodes get beyond their drain to write and to end.
const END_GRACE: Duration = Duration::from_secs(10);
/// How long killed processes may take to be gone.
const KILL_GRACE: Duration = Duration::from_secs(5);
/// How long a join token of ours is good: it is used at once.
const TOKEN_LIFE: Duration = Duration::from_secs(600);
/// Under which name the documents of the flags are applied.
const SOURCE: &str = "up";
const CONTEXT: &str = "context.yaml";

/// The children, which are ended when it is dropped.
pub(crate) struct Children(pub(crate) Vec<Child>);

/// The directory of the cluster, removed when it is a temporary one.
pub(crate) struct Home {
    pub(crate) dir: PathBuf,
    pub(crate) is_temporary: bool,
}

/// Runs the command.
///
/// # Errors
/// [`Failure`] with what to do about it.
pub(crate) async fn run(args: UpArgs, count: u8) -> Result<(), Failure> {
    up::expect_loopback(args.listen)?;
    let mut stop = Stop::new()?;
    let end_demo = CancellationToken::new();
    let _end_demo = end_demo.clone().drop_guard();
    let demo = if args.is_plain() { Some(DemoServer::start(end_demo)?) } else { None };
    let documents = set::documents(&args, demo.as_ref())?;
    let home = Home::new(args.node.data_dir.as_deref())?;
    let plan = Plan::of_dir(&home.dir, count, args.listen, args.admin)?;
    let children = Children::start(&args, &home.dir, &plan, &(Arc::new(output::note) as Tell))?;
    let up = tokio::select! {
        up = bring_up(&home.dir, &plan, args.shards, documents) => up,
        () = stop.signalled() => return children.end(&args, &mut stop).await,
    };
    if let Err(failure) = up {
        children.kill();
        return Err(failure);
    }
    output::print(&greeting(&args, &home, &plan, demo.is_some()))?;
    stop.signalled().await;
    children.end(&args, &mut stop).await
}

// === impl Home ===

impl Home {
    pub(crate) fn new(dir: Option<&Path>) -> Result<Self, Failure> {
        let (dir, is_temporary) = match dir {
            Some(dir) => (dir.to_owned(), false),
            None => {
                let secret: [u8; 32] = entropy::secret();
                let name: String = secret[..8].iter().map(|byte| format!("{byte:02x}")).collect();
                (std::env::temp_dir().join(format!("quorate-{name}")), true)
            }
        };
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
        // Nodes work elsewhere than this process at times.
        let dir = made
            .and_then(|()| std::fs::canonicalize(&dir))
            .map_err(|error| Failure::new(Exit::Failure, format!("cannot make {}: {error}", shown(&dir))))?;
        Ok(Self { dir, is_temporary })
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if self.is_temporary
            && let Err(error) = std::fs::remove_dir_all(&self.dir)
        {
            output::note(&format!("cannot remove {}: {error}", shown(&self.dir)));
        }
    }
}

// === impl Children ===

impl Children {
    pub(crate) fn start(args: &UpArgs, dir: &Path, plan: &Plan, tell: &Tell) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::new(Exit::Failure, format!("cannot start a node: {error}"));
        let program = std::env::current_exe().map_err(failed)?;
        let mut children = Self(Vec::new());
        for node in &plan.nodes {
            let command = command(&program, args, dir, node);
            children.0.push(Child::start(&node.name, command, Arc::clone(tell)).map_err(failed)?);
        }
        Ok(children)
    }

    /// Gives the children out of its care.
    pub(crate) fn take(mut self) -> Vec<Child> {
        std::mem::take(&mut self.0)
    }

    /// Lets all nodes drain and end; a second signal ends them at once.
    async fn end(self, args: &UpArgs, stop: &mut Stop) -> Result<(), Failure> {
        self.0.iter().for_each(|child| child.stop(Signal::TERM));
        let limit = args.node.drain_timeout + END_GRACE;
        let children = self.0.clone();
        let waiting = tokio::task::spawn_blocking(move || {
            let deadline = std::time::Instant::now() + limit;
            let left = || deadline.saturating_duration_since(std::time::Instant::now());
            children.iter().all(|child| child.wait(left()))
        });
        let has_ended = tokio::select! {
            ended = waiting => ended.unwrap_or(false),
            () = stop.signalled() => false,
        };
        self.kill();
        if has_ended { Ok(()) } else { Err(Failure::new(Exit::Failure, "nodes did not end in time and were killed")) }
    }

    /// Ends at once what has not ended.
    pub(crate) fn kill(&self) {
        self.0.iter().for_each(|child| child.stop(Signal::KILL));
        self.0.iter().for_each(|child| {
            child.wait(KILL_GRACE);
        });
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How a node is started: as somebody would by hand.
fn command(program: &Path, args: &UpArgs, dir: &Path, node: &Planned) -> Vec<OsString> {
    let mut command: Vec<OsString> = vec![program.into(), "serve".into()];
    let mut flag = |name: &str, value: OsString| command.extend([OsString::from(name), value]);
    flag("--data-dir", node.data_dir(dir).into());
    flag("--node-name", node.name.clone().into());
    flag("--peer-listen", node.peer.to_string().into());
    flag("--admin", node.admin.to_string().into());
    flag("--listen", node.listen.to_string().into());
    flag("--drain-timeout", format!("{}ms", args.node.drain_timeout.as_millis()).into());
    flag("--log", log_filter(&args.node.telemetry.log).into());
    let format = match args.node.telemetry.log_format {
        LogFormat::Human => "human",
        LogFormat::Json => "json",
    };
    flag("--log-format", format.into());
    flag("--trace-ratio", args.node.telemetry.trace_ratio.to_string().into());
    if let Some(endpoint) = &args.node.telemetry.otlp_endpoint {
        flag("--otlp-endpoint", endpoint.clone().into());
    }
    command.extend(["--development-identity".into(), "--allow-all".into()]);
    command
}

/// What nodes log: consensus tells of every vote of every group, which nobody wants of three nodes on one terminal.
fn log_filter(filter: &str) -> String {
    if filter.contains("openraft") { filter.to_owned() } else { format!("{filter},openraft=error") }
}

/// Makes the nodes a cluster with these resources, as far as they are not one yet.
pub(crate) async fn bring_up(
    dir: &Path,
    plan: &Plan,
    shards: u32,
    documents: Vec<proto::Document>,
) -> Result<(), Failure> {
    let clients: Vec<Client> = plan.nodes.iter().map(|node| target::local(&node.data_dir(dir), CALL_TIMEOUT)).collect();
    let deadline = Instant::now() + START_TIMEOUT;
    let (Some(first), Some(planned)) = (clients.first(), plan.nodes.first()) else {
        return Err(Failure::new(Exit::Config, "a cluster has one node at least"));
    };
    let new = proto::BootstrapRequest {
        node_name: planned.name.clone(),
        shards,
        replicas: if plan.nodes.len() == 1 { 1 } else { 3 },
        documents: Vec::new(),
        authority: None,
    };
    begin(first, dir, planned, new, deadline).await?;
    let known = answered(first, &planned.name, deadline).await?.nodes;
    let mut removed = 0;
    for (client, node) in clients.iter().zip(&plan.nodes).skip(1) {
        if is_removed(&known, &node.name) {
            removed += 1;
            continue;
        }
        if answered(client, &node.name, deadline).await?.mode() == proto::NodeMode::Waiting {
            let request = proto::CreateJoinTokenRequest {
                valid_for: Some(to_proto(TOKEN_LIFE)),
                comment: "up --nodes".to_owned(),
                node_name: node.name.clone(),
                ..proto::CreateJoinTokenRequest::default()
            };
            let token = first.call(request).await.map_err(target::of_client)?.token;
            join_node(client, token).await?;
        }
    }
    let status = all_active(first, plan.nodes.len() - removed, deadline).await?;
    target::learn(&dir.join(CONTEXT), &status);
    let request = proto::ApplyRequest {
        documents,
        source: SOURCE.to_owned(),
        message: "quorate up".to_owned(),
        ..proto::ApplyRequest::default()
    };
    first.call(request).await.map_err(target::of_client)?;
    Ok(())
}

/// Makes the first node a cluster, or has a new context of the one that it is in.
async fn begin(
    first: &Client,
    dir: &Path,
    node: &Planned,
    new: proto::BootstrapRequest,
    deadline: Instant,
) -> Result<(), Failure> {
    let file = dir.join(CONTEXT);
    let status = answered(first, &node.name, deadline).await?;
    if status.mode() == proto::NodeMode::Waiting {
        let draft = Draft::new(&file).map_err(target::of_context)?;
        return init_node(first, new, Some(draft), &node.data_dir(dir)).await.map(drop);
    }
    if file.exists() {
        return Ok(());
    }
    let draft = Draft::new(&file).map_err(target::of_context)?;
    let request =
        proto::CreateOperatorRequest { name: "local".to_owned(), role: proto::Role::Admin.into(), valid_for: None };
    let made = first.call(request).await.map_err(target::of_client)?;
    let invalid = || Failure::new(Exit::Failure, format!("{} is in no cluster that can be named", node.name));
    let cluster: ClusterId = status.cluster_id.parse().map_err(|_| invalid())?;
    let endpoint: Address = node.admin.to_string().parse().map_err(|_| invalid())?;
    let material = Material {
        cluster,
        endpoints: &[endpoint],
        ca_pem: &made.trust_bundle_pem,
        certificate_pem: &made.certificate_pem,
        key_pem: &made.key_pem,
    };
    draft.write(&material).map(drop).map_err(target::of_context)
}

/// Whether the cluster had a node of this name, and has it no more: its process will end by itself.
fn is_removed(known: &[proto::Node], name: &str) -> bool {
    let mut named = known.iter().filter(|node| node.name == name).peekable();
    named.peek().is_some() && named.all(|node| node.state() == proto::NodeState::Removed)
}

/// Waits until a node answers.
async fn answered(client: &Client, name: &str, deadline: Instant) -> Result<proto::GetStatusResponse, Failure> {
    loop {
        match client.call(proto::GetStatusRequest::default()).await {
            Ok(status) => return Ok(status),
            Err(quorate_client::Error::Unreachable { .. }) if Instant::now() < deadline => sleep(POLL).await,
            Err(error) => {
                let failure = target::of_client(error);
                let message = format!("{name} did not start: {}", failure.message);
                return Err(Failure::new(Exit::Failure, message).advise("its log is above"));
            }
        }
    }
}

/// Waits until all nodes are active and one leads.
async fn all_active(first: &Client, count: usize, deadline: Instant) -> Result<proto::GetStatusResponse, Failure> {
    loop {
        let status = first.call(proto::GetStatusRequest::default()).await.map_err(target::of_client)?;
        let active = status.nodes.iter().filter(|node| node.state() == proto::NodeState::Active).count();
        if active >= count && status.meta.as_ref().is_some_and(|meta| meta.leader != 0) {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            let message = format!("{active} of {count} nodes became active within {} s", START_TIMEOUT.as_secs());
            return Err(Failure::new(Exit::Failure, message).advise("their logs are above"));
        }
        sleep(POLL).await;
    }
}

fn greeting(args: &UpArgs, home: &Home, plan: &Plan, is_demo: bool) -> String {
    let context = shown(&home.dir.join(CONTEXT));
    let tool = if is_demo { "echo --arg text=hello" } else { "TOOL --arg KEY=VALUE" };
    let nodes: String = plan
        .nodes
        .iter()
        .map(|node| format!("  {}    http://{}/mcp and /v1    admin {}\n", node.name, node.listen, node.admin))
        .collect();
    let url = plan.nodes.first().map(|node| format!("http://{}/mcp", node.listen)).unwrap_or_default();
    let kept = match (&args.node.data_dir, plan.nodes.len()) {
        (Some(dir), count) => {
            format!("The cluster is kept: `quorate up --nodes {count} --data-dir {}` starts it again.", shown(dir))
        }
        (None, _) => format!("The cluster is in {} and is removed at the end.", shown(&home.dir)),
    };
    format!(
        "quorate {version}: a cluster of {count} is up (development defaults: loopback only, every caller is \
         `{DEVELOPMENT_AGENT}`, a policy allows everything)\n\n\
         {nodes}\n\
         Try:\n\n  \
         export QUORATE_CONTEXT={context}\n  \
         quorate cluster status\n  \
         quorate check\n  \
         quorate get all\n  \
         quorate tools {url}\n  \
         quorate call {tool} --url {url}\n\n\
         Kill a node and look at `quorate cluster status`: it is started again after a second.\n\
         {kept}\nCtrl-C drains and stops.\n",
        version = env!("CARGO_PKG_VERSION"),
        count = crate::answer::counted(plan.nodes.len(), "node"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_whose_every_life_was_removed_is_not_waited_for() {
        let node = |name: &str, state: proto::NodeState| proto::Node {
            name: name.to_owned(),
            state: state.into(),
            ..proto::Node::default()
        };
        let (removed, active) = (proto::NodeState::Removed, proto::NodeState::Active);
        let known = [node("a", active), node("b", removed), node("c", removed), node("c", active)];

        let gone: Vec<_> = ["a", "b", "c", "d"].into_iter().filter(|name| is_removed(&known, name)).collect();

        assert_eq!(gone, ["b"]);
    }
}
