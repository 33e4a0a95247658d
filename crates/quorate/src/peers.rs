//! `quorate serve --peer-listen`: a node that is a member of a cluster, or waits to become one.
//!
//! ```text
//! open the data folder ─▶ admin address and socket ─▶ (waits: not ready) ─▶ member ─▶ gateway with the cluster's root key
//! ```
//!
//! Health is served from the first moment; the gateway begins when the node is in a cluster, because ids that it hands out
//! are sealed under the cluster's key. The services of the API are those of `quorate_admin`, over the data folder that was
//! opened.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use quorate_admin::Admin;
use quorate_admin::api::keys::LastUsed;
use quorate_admin::api::resources::First;
use quorate_admin::api::{Api, Documents, Node, Socket, TIMES, audit, keys, load, resources, sessions};
use quorate_audit::Audit;
use quorate_config::{ResourceSet, Resources};
use quorate_follow::{Config, Follower, Run, Sets};
use quorate_gateway::authenticate::Development;
use quorate_gateway::node::Gateway;
use quorate_member::{Health, Machines, Member, Opened, Settings};
use quorate_membership::address::Address;
use quorate_membership::authority::NODE_LIFETIME;
use quorate_proto::admin::v1;
use quorate_runtime::shards::{LEVEL as SESSIONS_LEVEL, Shards};
use quorate_telemetry::Guard;
use quorate_types::ResourceName;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::cli::{PeerArgs, ServeArgs};
use crate::exit::{Exit, Failure};
use crate::run::{
    AUDIT_FOLDER, Base, Plan, Stop, allow_files, of_config, open_audit, start_gateway, telemetry, until_stopped,
    with_listener,
};

mod targets;

/// The feature levels that this program can work at: 2 lists certificates of operators, 3 has nodes that come with their numbers.
pub(crate) const LEVELS: (u32, u32) = (1, 3);
/// The folder of the files that documents bring with them.
const INLINE_FOLDER: &str = "inline";
/// How long the last records of the audit log may take when the node never came to serve.
const AUDIT_PATIENCE: Duration = Duration::from_secs(5);

/// Runs the node.
///
/// # Errors
/// [`Failure`] with what to do about it.
pub(crate) async fn run(
    args: ServeArgs,
    development: Development,
    load: &impl Fn() -> Result<ResourceSet, Failure>,
) -> Result<(), Failure> {
    let guard = telemetry(&args.node)?;
    allow_files();
    if !args.files.is_empty() {
        // A bad file is told before anything waits for an operator.
        load()?;
    }
    // The listener of the flag is this node's alone, beside what the cluster has.
    let local_resources = match args.listen {
        Some(listen) => with_listener(ResourceSet::default(), listen)?.into_resources(),
        None => Resources::default(),
    };
    let settings = settings(&args)?;
    let dir = settings.data_dir.clone();
    let shards = Shards::new();
    let opened = quorate_member::open(settings, machines(&shards)).await.map_err(|error| of_error(&error))?;
    let audit = open_audit(&dir)?;
    let (drain, stopped) = (CancellationToken::new(), CancellationToken::new());
    let begun = match &opened {
        Opened::Waiting(waiting) => Err(waiting.member()),
        Opened::Member(member) => Ok(member.clone()),
    };
    let node = Node::of_folder(opened, audit.clone());
    let address = args.admin.expect("the command line requires it");
    let admin = Admin::bind_waiting(address, guard.metrics().clone(), drain.clone()).map_err(|error| {
        Failure::new(Exit::Failure, format!("admin address: {error}: {}", error.source))
            .advise("choose another one with `--admin`")
    })?;
    let slot = admin.gateway();
    let sets = Sets::new(dir.join(INLINE_FOLDER));
    let documents: Arc<dyn Documents> = Arc::new(First::new(sets.clone()));
    let api = Api::new(node.clone(), Arc::clone(&documents), routes(&node, &sets, &slot, &dir), TIMES);
    let telling = load::tell(node.clone(), Arc::clone(&slot), guard.metrics().clone());
    tokio::spawn(stopped.clone().run_until_cancelled_owned(telling));
    let socket = Socket::bind(&dir).map_err(|error| Failure::new(Exit::Failure, error.to_string()))?;
    let local = admin.local();
    tokio::spawn(admin.with_api(api.clone()).run(stopped.clone()));
    let ending = stopped.clone();
    tokio::spawn(async move { api.serve_socket(socket, ending).await });
    tracing::info!(address = %local, "serving health, readiness, metrics and the API");
    let mut stop = Stop::new()?;
    let (member, is_new) = match begun {
        Ok(member) => (Some(member), false),
        Err(became) => (until_member(became, &mut stop, &dir).await?, true),
    };
    let Some(member) = member else {
        end_unjoined(&stopped, guard, audit).await;
        return Ok(());
    };
    if is_new {
        begin_with(&args.files, &member, &*documents).await?;
    } else if !args.files.is_empty() {
        tracing::info!(
            "the files of `-f` are those that a new cluster begins with: `quorate apply` changes what there is"
        );
    }
    let key = *member.root_key().expose();
    let plan = Plan { node: args.node, development, allow_all: args.allow_all, admin: None, files: Vec::new() };
    join(&shards, &member);
    let base = Base { guard, key, is_kept: true, audit, drain, stopped, shards };
    let nothing_yet = || Ok(ResourceSet::default());
    let running = start_gateway(plan, base, &nothing_yet).await?;
    let is_first = slot.set(running.gateway.clone()).is_ok();
    debug_assert!(is_first, "nobody else puts a gateway there");
    tokio::spawn(follow_room(member.health(), running.gateway.clone()));
    tokio::spawn(targets::tell(member.clone(), running.gateway.clone()));
    let follower = follow(&member, running.gateway.clone(), sets, local_resources);
    let ended = until_stopped(running.with_member(member, local), &nothing_yet, stop).await;
    drop(follower);
    ended
}

/// Has the gateway open no new sessions as long as the node's disk has no room for them; ends with the member.
async fn follow_room(mut health: watch::Receiver<Health>, gateway: Gateway) {
    loop {
        gateway.set_full(health.borrow_and_update().is_full);
        if health.changed().await.is_err() {
            return;
        }
    }
}

/// Makes the machines of shard groups.
pub(crate) fn machines(shards: &Shards) -> Machines {
    let shards = shards.clone();
    Arc::new(move |group| shards.machine(group.0))
}

/// Has sessions kept by the shard groups of a member's cluster.
fn join(shards: &Shards, member: &Member) {
    let control = Arc::clone(member.control());
    let directory = {
        let control = Arc::clone(&control);
        move |shard: u32| {
            let led = control.led();
            led.into_iter().find(|(_, groups)| groups.iter().any(|group| group.0 == shard)).map(|(node, _)| node)
        }
    };
    let host = Arc::clone(control.host());
    let ready = move || control.catalog().cluster().is_some_and(|cluster| cluster.level >= SESSIONS_LEVEL);
    shards.join(member.identity().node, host, Arc::new(directory), Arc::new(ready));
}

/// Makes the gateway run what the catalog's documents say, as long as the handle lives.
fn follow(member: &Member, gateway: Gateway, sets: Sets, local: Resources) -> Follower {
    let control = Arc::clone(member.control());
    let run: Run = Arc::new(move |set| {
        let gateway = gateway.clone();
        Box::pin(async move { gateway.apply(&set).await.map_err(|error| error.to_string()) })
    });
    Follower::spawn(Config { control, sets, local, run, timing: quorate_follow::TIMING })
}

/// The services of the API beside those of `quorate_admin` itself.
fn routes(node: &Node, sets: &Sets, gateway: &Arc<OnceLock<Gateway>>, dir: &Path) -> Routes {
    let sessions = sessions::server(node.clone(), Arc::clone(gateway));
    let gateway = Arc::clone(gateway);
    let last_used: LastUsed = Arc::new(move || {
        let observed = gateway.get().map(|gateway| gateway.api_keys(None, usize::MAX)).unwrap_or_default();
        observed.into_iter().filter_map(|key| Some((key.id, key.last_used?))).collect()
    });
    Routes::new(resources::server(node.clone(), sets.clone()))
        .add_service(keys::server(node.clone(), sets.clone(), last_used))
        .add_service(sessions)
        .add_service(audit::server(Some(dir.join(AUDIT_FOLDER))))
}

/// Applies the files of `-f` to a cluster that this node just made, and that has no documents yet.
async fn begin_with(files: &[PathBuf], member: &Member, documents: &dyn Documents) -> Result<(), Failure> {
    let catalog = member.control().catalog();
    // Whoever joined has another one beside it. Which number the first has is not said.
    let is_first = catalog.nodes().all(|node| node.id == member.identity().node) && catalog.revision() == 0;
    if files.is_empty() || !is_first {
        return Ok(());
    }
    let read = quorate_config::document::read(files).map_err(|errors| of_config(&errors))?;
    let document = |document: quorate_config::document::Document| v1::Document {
        kind: document.key.kind().to_owned(),
        tenant: document.key.tenant().as_str().to_owned(),
        name: document.key.name().as_str().to_owned(),
        json: document.content,
        origin: document.origin,
    };
    let first: Vec<v1::Document> = read.into_iter().map(document).collect();
    documents.apply(member, first, "the files of the first node").await.map_err(|status| {
        Failure::new(Exit::Config, format!("the files of `-f` are not taken by the new cluster: {}", status.message()))
            .advise("the cluster is there: `quorate apply` them when they are right")
    })
}

/// Ends a node that never came to serve.
async fn end_unjoined(stopped: &CancellationToken, guard: Guard, audit: Audit) {
    stopped.cancel();
    guard.shutdown().await;
    let _ = tokio::task::spawn_blocking(move || audit.close(AUDIT_PATIENCE)).await;
}

/// Waits until a folder became a member's; none when the node is told to stop before.
async fn until_member(
    mut became: watch::Receiver<Option<Member>>,
    stop: &mut Stop,
    dir: &Path,
) -> Result<Option<Member>, Failure> {
    let dir = dir.display();
    tracing::warn!(
        "this node is in no cluster and waits: make a new one with `quorate cluster init --data-dir {dir}`, or have it join \
         one with `quorate cluster join --data-dir {dir} TOKEN`, where a member of the cluster made the token with `quorate \
         cluster token new`"
    );
    tokio::select! {
        became = became.wait_for(Option::is_some) => {
            let became = became.map_err(|_| Failure::new(Exit::Failure, "nobody holds the data folder any more"))?;
            Ok(became.clone())
        }
        () = stop.signalled() => Ok(None),
    }
}

fn settings(args: &ServeArgs) -> Result<Settings, Failure> {
    let ServeArgs { peers, node, admin, .. } = args;
    let data_dir = node.data_dir.clone().expect("the command line requires it");
    let peer_listen = peers.peer_listen.expect("it was asked for");
    let settings = Settings {
        data_dir,
        name: name(peers)?,
        rack: peers.rack.clone(),
        peer_listen,
        peer_advertise: peers.peer_advertise.clone(),
        admin_address: peers.peer_advertise.clone().unwrap_or_else(|| of_socket(peer_listen)),
        data_address: None,
        levels: LEVELS,
        timing: peers.election_timeout,
        certificate_lifetime: NODE_LIFETIME,
        certificates: peers.certificates.files(),
        cluster: None,
        ends_process: true,
    };
    let peer = settings.peer_address().map_err(|error| {
        Failure::new(Exit::Usage, error.to_string()).advise("name an address with `--peer-advertise HOST:PORT`")
    })?;
    let admin = admin.expect("the command line requires it");
    // Where the admin address is every one of the machine, it is reached under the host that peers reach.
    let admin_address = if admin.ip().is_unspecified() {
        let (host, _) = peer
            .to_string()
            .rsplit_once(':')
            .map(|(host, port)| (host.to_owned(), port.to_owned()))
            .expect("an address has a port");
        format!("{host}:{}", admin.port())
    } else {
        admin.to_string()
    };
    let admin_address = admin_address.parse().map_err(|_| {
        Failure::new(Exit::Usage, format!("`--admin {admin}` is no address that others can reach"))
            .advise("a member of a cluster needs an admin address with a port")
    })?;
    Ok(Settings { admin_address, ..settings })
}

/// The name of the node: as the flag says, or the host's as far as it is a name.
fn name(peers: &PeerArgs) -> Result<ResourceName, Failure> {
    if let Some(name) = &peers.node_name {
        return Ok(name.clone());
    }
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy().to_lowercase();
    let host = host.split('.').next().unwrap_or_default();
    ResourceName::new(host).map_err(|error| {
        Failure::new(Exit::Usage, format!("the name of the host, {host:?}, is no name of a node: {error}"))
            .advise("name the node with `--node-name`")
    })
}

fn of_socket(address: SocketAddr) -> Address {
    let loopback = SocketAddr::from(([127, 0, 0, 1], address.port().max(1)));
    address.to_string().parse().unwrap_or_else(|_| loopback.to_string().parse().expect("it is an address"))
}

/// Makes a failure of an error with its causes.
pub(crate) fn of_error(error: &dyn std::error::Error) -> Failure {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        if !text.contains(&error.to_string()) {
            text = format!("{text}: {error}");
        }
        cause = error.source();
    }
    Failure::new(Exit::Failure, text)
}
