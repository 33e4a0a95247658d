//! Runs a node from start to drain: what `up` and `serve` share.
//!
//! Order: telemetry, key, gateway, admin address, resources; then signals and file changes until
//! the node is told to stop or fails. A bad change of files leaves the running set in place and
//! says why; SIGINT and SIGTERM drain, a second one ends the process at once.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use quorate_admin::Admin;
use quorate_audit::{Audit, Change, Event, Names};
use quorate_config::watch::Timing;
use quorate_config::{Errors, Listener, ResourceSet, Watcher};
use quorate_gateway::authenticate::Development;
use quorate_gateway::node::{Config, Gateway};
use quorate_identity::api_key::MacKey;
use quorate_member::Member;
use quorate_runtime::shards::Shards;
use quorate_stdio::Guard;
use quorate_telemetry::{LogFormat, Otlp};
use quorate_tls::ClientOptions;
use quorate_types::seal::KEY_BYTES;
use quorate_types::{ResourceName, Sealer};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::{self, NodeArgs};
use crate::exit::{Exit, Failure};
use crate::{key, ports};

/// The folder of the audit log in the data directory.
pub(crate) const AUDIT_FOLDER: &str = "audit";
/// The listener that a node has by a flag.
const LISTENER: &str = "data";
/// How long the last records of the audit log may take to be on disk.
const AUDIT_PATIENCE: Duration = Duration::from_secs(5);

/// What a node is run with.
pub(crate) struct Plan {
    pub(crate) node: NodeArgs,
    pub(crate) development: Development,
    pub(crate) allow_all: bool,
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) files: Vec<PathBuf>,
}

/// A node whose first resources are in place.
pub(crate) struct Running {
    pub(crate) gateway: Gateway,
    pub(crate) admin: Option<SocketAddr>,
    guard: quorate_telemetry::Guard,
    watcher: Watcher,
    audit: Audit,
    patience: Duration,
    drain: CancellationToken,
    stopped: CancellationToken,
    /// The member that the node is, when it has peers.
    member: Option<Member>,
}

/// What a node has before its gateway: what is told of it, what its ids are sealed with, and how it is ended.
pub(crate) struct Base {
    pub(crate) guard: quorate_telemetry::Guard,
    pub(crate) key: [u8; KEY_BYTES],
    /// Whether keys that were made under `key` are known after a restart.
    pub(crate) is_kept: bool,
    pub(crate) audit: Audit,
    pub(crate) drain: CancellationToken,
    pub(crate) stopped: CancellationToken,
    /// The shard groups that keep sessions; of a node without a cluster none.
    pub(crate) shards: Shards,
}

/// Starts a node; `load` gives its resources, now and after each change of the files.
///
/// # Errors
/// [`Failure`] with what to do about it.
pub(crate) async fn start(plan: Plan, load: &impl Fn() -> Result<ResourceSet, Failure>) -> Result<Running, Failure> {
    let guard = telemetry(&plan.node)?;
    allow_files();
    // Before anything is made for it: a bad file leaves nothing behind.
    load()?;
    let (key, is_kept, audit) = match &plan.node.data_dir {
        Some(dir) => {
            let root = key::of_data_dir(dir)?;
            let audit = open_audit(dir)?;
            if root.is_new {
                audit.record(root_key_made(dir));
            }
            (root.key, true, audit)
        }
        None => (quorate_runtime::entropy::secret(), false, Audit::disabled()),
    };
    let (drain, stopped) = (CancellationToken::new(), CancellationToken::new());
    let admin = plan.admin;
    let mut running =
        start_gateway(plan, Base { guard, key, is_kept, audit, drain, stopped, shards: Shards::new() }, load).await?;
    if let Some(address) = admin {
        let Running { gateway, guard, drain, stopped, .. } = &running;
        running.admin = Some(serve_admin(address, gateway, guard, drain, stopped)?);
    }
    Ok(running)
}

/// Starts the gateway of a node, with its first resources.
///
/// # Errors
/// [`Failure`] with what to do about it.
pub(crate) async fn start_gateway(
    plan: Plan,
    base: Base,
    load: &impl Fn() -> Result<ResourceSet, Failure>,
) -> Result<Running, Failure> {
    let Base { guard, key, is_kept, audit, drain, stopped, shards } = base;
    let mut watcher = Watcher::new(&plan.files, Timing::DEFAULTS);
    let resources = load()?;
    watcher.also(resources.named_files());
    let config = Config {
        development: plan.development,
        allow_all: plan.allow_all,
        mac_key: is_kept.then(|| MacKey::of_root(&key)),
        audit: audit.clone(),
        sealer: Sealer::new(&key),
        metrics: guard.metrics().clone(),
        tracer: guard.tracer().clone(),
        tls: ClientOptions::default(),
        drain_timeout: plan.node.drain_timeout,
        guard: Guard::of_this_program()
            .map_err(|error| Failure::new(Exit::Failure, format!("cannot tell which program this is: {error}")))?,
        shards,
    };
    let gateway = Gateway::start(config).await.map_err(of_gateway)?;
    gateway.apply(&resources).await.map_err(of_gateway)?;
    for (listener, address) in gateway.addresses().await {
        ports::warn_of(listener.as_str(), address);
    }
    let patience = plan.node.drain_timeout;
    Ok(Running { gateway, admin: None, guard, watcher, audit, patience, drain, stopped, member: None })
}

// === impl Running ===

impl Running {
    /// Ends the member with the node, and the node when the member has to end.
    pub(crate) fn with_member(self, member: Member, admin: SocketAddr) -> Self {
        Self { member: Some(member), admin: Some(admin), ..self }
    }
}

/// Runs until a signal or a failure, then drains. A node that has waited for signals before brings that along: one that comes while it
/// starts is heard then.
///
/// # Errors
/// [`Failure`] when the node failed or did not drain in time.
pub(crate) async fn until_stopped(
    mut running: Running,
    load: &impl Fn() -> Result<ResourceSet, Failure>,
    mut stop: Stop,
) -> Result<(), Failure> {
    let failed = running.gateway.failed().clone();
    let member_failed = member_failed(running.member.clone());
    tokio::pin!(member_failed);
    let mut failure = None;
    let has_failed = loop {
        tokio::select! {
            () = stop.signalled() => break false,
            () = failed.cancelled() => break true,
            reason = &mut member_failed => {
                failure = Some(reason);
                break true;
            }
            () = running.watcher.changed(), if !running.watcher.is_idle() => reload(&mut running, load).await,
        }
    };
    tracing::info!(patience = ?running.patience, "draining: no new connections, open requests may finish");
    running.drain.cancel();
    if let Some(member) = running.member.as_ref().filter(|_| !has_failed) {
        // Sessions go on at other nodes before the connections of this one end.
        member.hand_over().await;
    }
    let cut = tokio::select! {
        cut = running.gateway.drain() => Some(cut),
        () = stop.signalled() => None,
    };
    if let Some(member) = running.member.take() {
        member.shutdown().await;
    }
    running.stopped.cancel();
    running.guard.shutdown().await;
    let audit = running.audit.clone();
    let closed = tokio::task::spawn_blocking(move || audit.close(AUDIT_PATIENCE)).await;
    if !closed.unwrap_or(false) {
        tracing::error!("the last records of the audit log could not be written in time");
    }
    if let Some(failure) = failure {
        return Err(of_member_failure(&failure));
    }
    if has_failed {
        return Err(Failure::new(Exit::Failure, "the node failed: see the log"));
    }
    match cut {
        Some(0) => Ok(()),
        Some(cut) => Err(Failure::new(Exit::Failure, format!("{cut} connections did not finish in time and were cut"))
            .advise("raise `--drain-timeout` if tools take longer")),
        None => Err(Failure::new(Exit::Failure, "told to stop at once: open requests were cut")),
    }
}

async fn reload(running: &mut Running, load: &impl Fn() -> Result<ResourceSet, Failure>) {
    let applied = match load() {
        Ok(resources) => {
            running.watcher.also(resources.named_files());
            running.gateway.apply(&resources).await.map_err(of_gateway)
        }
        Err(failure) => Err(failure),
    };
    running.guard.metrics().config_loaded(applied.is_ok());
    match applied {
        Ok(()) => tracing::info!("the changed resource files are in force"),
        Err(failure) => {
            running.gateway.change_refused(&failure.message);
            tracing::error!(reason = %failure.message, "the changed resource files are refused; the running set stays");
        }
    }
}

/// Waits until a member has to end; for ever where there is none.
async fn member_failed(member: Option<Member>) -> quorate_member::Failure {
    let Some(mut failed) = member.map(|member| member.failed()) else { return std::future::pending().await };
    let found = failed.wait_for(Option::is_some).await.ok().and_then(|failure| failure.clone());
    match found {
        Some(failure) => failure,
        None => std::future::pending().await,
    }
}

/// A node that its cluster takes no more is told apart: starting it again does not help.
fn of_member_failure(failure: &quorate_member::Failure) -> Failure {
    let exit = match failure {
        quorate_member::Failure::Refused { .. } | quorate_member::Failure::Removed => Exit::Refused,
        quorate_member::Failure::Log { .. } | quorate_member::Failure::Runtime => Exit::Failure,
    };
    Failure::new(exit, failure.to_string())
}

/// The first signal drains, the second one ends. From the first one that is made, a signal ends the process no more by itself: whoever
/// makes one hears all that come, so that a process has one.
pub(crate) struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    pub(crate) fn new() -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::new(Exit::Failure, format!("cannot watch for signals: {error}"));
        let interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let terminate = signal(SignalKind::terminate()).map_err(failed)?;
        Ok(Self { interrupt, terminate })
    }

    pub(crate) async fn signalled(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Lets the node have as many files open as the system allows it: each connection and each process of a tool server
/// needs some, and the usual soft limit of 1,024 is there for programs that `select`.
pub(crate) fn allow_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::warn!(%error, limit = limit.current, "the limit of open files cannot be raised");
    }
}

pub(crate) fn telemetry(args: &NodeArgs) -> Result<quorate_telemetry::Guard, Failure> {
    let log_format = match args.telemetry.log_format {
        cli::LogFormat::Human if std::io::IsTerminal::is_terminal(&std::io::stderr()) => LogFormat::HumanColored,
        cli::LogFormat::Human => LogFormat::Human,
        cli::LogFormat::Json => LogFormat::Json,
    };
    let config = quorate_telemetry::Config {
        version: env!("CARGO_PKG_VERSION"),
        log_filter: args.telemetry.log.clone(),
        log_format,
        sampling_ratio: args.telemetry.trace_ratio,
        otlp: args.telemetry.otlp_endpoint.as_deref().map(Otlp::new),
        ..quorate_telemetry::Config::default()
    };
    quorate_telemetry::init(&config).map_err(|error| Failure::new(Exit::Usage, error.to_string()))
}

fn serve_admin(
    address: SocketAddr,
    gateway: &Gateway,
    guard: &quorate_telemetry::Guard,
    drain: &CancellationToken,
    stopped: &CancellationToken,
) -> Result<SocketAddr, Failure> {
    let admin = Admin::bind(address, gateway.clone(), guard.metrics().clone(), drain.clone()).map_err(|error| {
        Failure::new(Exit::Failure, format!("admin address: {error}: {}", error.source))
            .advise("choose another one with `--admin`")
    })?;
    let local = admin.local();
    tokio::spawn(admin.run(stopped.clone()));
    Ok(local)
}

pub(crate) fn of_gateway(error: quorate_gateway::node::Error) -> Failure {
    use quorate_gateway::node::Error as E;
    let failure = Failure::new(Exit::Failure, error.to_string());
    match error {
        E::Bind { .. } => failure.advise(
            "end the program that uses the address, or choose another (`--listen`, or the listener's spec.address)",
        ),
        E::Tls { .. }
        | E::Roots(_)
        | E::Limit { .. }
        | E::Address { .. }
        | E::Credential { .. }
        | E::Access(_)
        | E::Api(_)
        | E::Prices(_) => Failure { exit: Exit::Config, ..failure },
        E::Actor(_) => failure,
    }
}

/// Opens the audit log of a data directory.
pub(crate) fn open_audit(dir: &Path) -> Result<Audit, Failure> {
    let node = rustix::system::uname();
    let node = node.nodename().to_string_lossy().into_owned();
    let opened = Audit::open(&quorate_audit::Config::new(dir.join(AUDIT_FOLDER), &node));
    let (audit, _as_logged) = opened.map_err(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        Failure::new(Exit::Failure, format!("{error}{cause}"))
            .advise("each node needs a data directory of its own that it can write (`--data-dir`)")
    })?;
    Ok(audit)
}

/// What is recorded of a new root key: whatever was sealed or made under another one is worth nothing here.
fn root_key_made(dir: &Path) -> Event {
    Event::AdminChange(Change {
        by: "data directory".into(),
        outcome: "applied",
        file: Some(shown(&dir.join(key::FILE)).into()),
        detail: Some("a root key was made: keys and ids of another one are unknown here".into()),
        added: Names::default(),
        changed: Names::default(),
        removed: Names::default(),
    })
}

/// Loads resource files.
///
/// # Errors
/// [`Failure`] with every problem of every file.
pub(crate) fn load_files(files: &[PathBuf]) -> Result<ResourceSet, Failure> {
    quorate_config::load(files).map_err(|errors| of_config(&errors))
}

/// Adds the node's own listener to a set, unless the set has one at that address.
///
/// # Errors
/// [`Failure`] when the set has another listener of its name.
pub(crate) fn with_listener(set: ResourceSet, listen: SocketAddr) -> Result<ResourceSet, Failure> {
    let mut resources = set.into_resources();
    if !resources.listeners.iter().any(|listener| listener.address == listen) {
        let name = ResourceName::new(LISTENER).expect("it is a valid name");
        resources.listeners.push(Listener::new(name, listen));
    }
    ResourceSet::new(resources).map_err(|errors| of_config(&errors))
}

pub(crate) fn of_config(errors: &Errors) -> Failure {
    Failure::new(Exit::Config, errors.to_string())
        .advise("`quorate schema` prints what resource files may contain; `quorate validate -f` checks them")
}

/// Names a path for a message.
pub(crate) fn shown(path: &Path) -> String {
    path.display().to_string()
}
