//! Nodes with the API in one process: real sockets, certificates of an authority of the cluster's own, real disks, a real
//! control plane.
//!
//! What a node is (its data folder, tokens, certificates) is played here by doubles of `Candidate` and `Membership`, which issue
//! with a real authority; everything that the API itself does is the product's. Tests wait for conditions, never for a time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use quorate_admin::Admin;
use quorate_admin::api::node::{
    Beginning, Candidate, Documents, IssuedToken, Membership, OperatorCertificate, TokenOrder, Wish,
};
use quorate_admin::api::{Api, Node, Socket, Standing, TIMES, Times, errors};
use quorate_audit::Audit;
use quorate_catalog::proto::command::Kind as Command;
use quorate_catalog::proto::outcome::Kind as Outcome;
use quorate_catalog::{Catalog, NodeState, OPERATORS_LEVEL, OperatorId, StageId, commands, proto};
use quorate_control::{Config, Control};
use quorate_gateway::authenticate::Development;
use quorate_gateway::node::Gateway;
use quorate_member::FindingKind;
use quorate_membership::authority::{Authority, MemberKey};
use quorate_membership::handshake::{Credentials, Trust};
use quorate_membership::identity::Role;
use quorate_membership::pem;
use quorate_membership::root::RootKey;
use quorate_membership::token::JoinToken;
use quorate_membership::trust::{Bundle, key_digest};
use quorate_peer::Address;
use quorate_proto::admin::v1;
use quorate_raft::{Host, Machine, SNAPSHOT_MARKS, TIMING};
use quorate_telemetry::{Metrics, Tracer};
use quorate_tls::{NodeCredentials, NodeTls};
use quorate_types::{ClusterId, Incarnation, NodeId, ResourceName, Sealer, Timestamp};
use quorate_wal::{Folder, Opened, Running, Wal};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, async_trait};

use crate::counter::Counter;

pub(crate) const CLUSTER: ClusterId = ClusterId([7; 16]);
/// The comment of a token at which the member panics.
pub(crate) const PANICS: &str = "panics";
/// Longer than anything takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(20);

/// Nodes of one cluster.
pub(crate) struct World {
    pub(crate) authority: Arc<Authority>,
    pub(crate) places: BTreeMap<NodeId, Place>,
}

/// A node with the API.
pub(crate) struct Place {
    pub(crate) node: Node,
    pub(crate) admin: SocketAddr,
    pub(crate) folder: TempDir,
    pub(crate) member: Option<Arc<Member>>,
    stop: CancellationToken,
    live: Arc<Mutex<Option<Live>>>,
}

/// A node's control plane and log.
struct Live {
    control: Arc<Control>,
    wal: Wal,
    writer: Running,
}

/// A member, as the API asks it.
pub(crate) struct Member {
    id: NodeId,
    control: Arc<Control>,
    pub(crate) trust: Trust,
    credentials: Credentials,
    root: RootKey,
    authority: Arc<Authority>,
    pub(crate) findings: Mutex<BTreeMap<FindingKind, String>>,
    /// Whether certificates of the cluster come from files.
    pub(crate) from_files: AtomicBool,
    /// Turns of those who ask to join with `wait`.
    pub(crate) admits: tokio::sync::Semaphore,
}

/// A node that waits: it becomes the first of its cluster.
struct Waits {
    authority: Arc<Authority>,
    folder: std::path::PathBuf,
    live: Arc<Mutex<Option<Live>>>,
}

/// Takes documents of the kind `Toolset` alone.
pub(crate) struct Toolsets;

// === impl World ===

impl World {
    /// A cluster of one node with so many shards.
    pub(crate) async fn bootstrapped(groups: u32) -> Self {
        Self::bootstrapped_with(groups, TIMES).await
    }

    /// The same, with other times of connections.
    pub(crate) async fn bootstrapped_with(groups: u32, times: Times) -> Self {
        let authority = Arc::new(Authority::mint(CLUSTER, now()).expect("a root is made"));
        let mut world = Self { authority, places: BTreeMap::new() };
        let address = free_address();
        let folder = tempfile::tempdir().expect("there is a disk");
        let live = start(&world.authority, folder.path(), NodeId(1), address, BTreeMap::new()).await;
        begin(&live.control, says(address, "node-1"), groups).await;
        let place = Place::of_member(&world.authority, NodeId(1), folder, live, times).await;
        world.places.insert(NodeId(1), place);
        world.is_active(NodeId(1)).await;
        world
    }

    /// Adds a node, as its admission does.
    pub(crate) async fn join(&mut self, id: NodeId) {
        let address = free_address();
        let first = self.control(NodeId(1));
        let catalog = first.catalog();
        let seeds = catalog.nodes().map(|node| (node.id, node.addresses.peer.parse().expect("it is one")));
        let mut seeds: BTreeMap<NodeId, Address> = seeds.collect();
        seeds.insert(id, address.into());
        let folder = tempfile::tempdir().expect("there is a disk");
        let live = start(&self.authority, folder.path(), id, address, seeds).await;
        let token: Bytes = vec![u8::try_from(id.0).expect("it is small"); 16].into();
        let secret_hash: Bytes = vec![9; 32].into();
        let issue = proto::IssueToken {
            token: token.clone(),
            secret_hash: secret_hash.clone(),
            expires_at: now().as_millis() + 3_600_000,
            created_by: "a test".to_owned(),
            ..proto::IssueToken::default()
        };
        first.command(Command::IssueToken(issue)).await.expect("it is free");
        let node = Some(says(address, &format!("node-{id}")));
        first
            .command(Command::AddNode(proto::AddNode { node, token, secret_hash, ..proto::AddNode::default() }))
            .await
            .expect("it is taken in");
        self.places.insert(id, Place::of_member(&self.authority, id, folder, live, TIMES).await);
        self.is_active(id).await;
    }

    pub(crate) fn place(&self, id: u64) -> &Place {
        &self.places[&NodeId(id)]
    }

    pub(crate) fn control(&self, id: NodeId) -> Arc<Control> {
        Arc::clone(&self.places[&id].member.as_ref().expect("it is a member").control)
    }

    /// What an operator shows.
    pub(crate) fn operator(&self, role: Role) -> Credentials {
        operator(&self.authority, role)
    }

    /// Waits until every node has a catalog of which this holds.
    pub(crate) async fn all(&self, what: &str, holds: impl Fn(&Catalog) -> bool) {
        until(what, || self.places.keys().all(|id| holds(&self.control(*id).catalog()))).await;
    }

    async fn is_active(&self, id: NodeId) {
        self.all("active node", |catalog| catalog.node(id).is_some_and(|node| node.state == NodeState::Active)).await;
    }
}

impl Drop for World {
    /// Ends everything before the disks go.
    fn drop(&mut self) {
        self.places.values_mut().for_each(Place::end);
    }
}

// === impl Place ===

impl Place {
    /// A node that waits.
    pub(crate) async fn waiting(authority: &Arc<Authority>) -> Self {
        let folder = tempfile::tempdir().expect("there is a disk");
        let live = Arc::new(Mutex::new(None));
        let waits =
            Waits { authority: Arc::clone(authority), folder: folder.path().to_owned(), live: Arc::clone(&live) };
        Self::serve(Standing::Waiting(Arc::new(waits)), None, folder, live, TIMES).await
    }

    /// A node without a cluster.
    pub(crate) async fn alone() -> Self {
        let folder = tempfile::tempdir().expect("there is a disk");
        Self::serve(Standing::Alone, None, folder, Arc::default(), TIMES).await
    }

    async fn of_member(authority: &Arc<Authority>, id: NodeId, folder: TempDir, live: Live, times: Times) -> Self {
        let member = Arc::new(Member::new(authority, id, &live));
        let standing = Standing::Member(Arc::clone(&member) as Arc<dyn Membership>);
        Self::serve(standing, Some(member), folder, Arc::new(Mutex::new(Some(live))), times).await
    }

    async fn serve(
        standing: Standing,
        member: Option<Arc<Member>>,
        folder: TempDir,
        live: Arc<Mutex<Option<Live>>>,
        times: Times,
    ) -> Self {
        let config = quorate_audit::Config::new(folder.path().join("audit"), "test");
        let (audit, _) = Audit::open(&config).expect("there is a disk");
        let node = Node::new(standing, audit);
        let api = Api::new(node.clone(), Arc::new(Toolsets), tonic::service::Routes::default(), times);
        let stop = CancellationToken::new();
        let listen = "127.0.0.1:0".parse().expect("it is an address");
        let bound = Admin::bind(listen, gateway().await, Metrics::new("0"), CancellationToken::new());
        let served = bound.expect("there is a port").with_api(api.clone());
        let admin = served.local();
        tokio::spawn(served.run(stop.clone()));
        let socket = Socket::bind(folder.path()).expect("nobody else has it");
        let ends = stop.clone();
        tokio::spawn(async move { api.serve_socket(socket, ends).await });
        Self { node, admin, folder, member, stop, live }
    }

    /// The records so far, on disk: those of which this holds.
    pub(crate) async fn records(&self, holds: impl Fn(&str) -> bool, count: usize) -> Vec<String> {
        let folder = self.folder.path().join("audit");
        let found = || quorate_audit::last_lines(&folder, 1_000, |line| holds(line)).unwrap_or_default();
        until(&format!("{count} records"), || found().len() >= count).await;
        found()
    }

    fn end(&mut self) {
        self.stop.cancel();
        self.member = None;
        if let Some(live) = self.live.lock().expect("nobody panicked").take() {
            live.end();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.end();
    }
}

// === impl Live ===

impl Live {
    fn end(self) {
        let Self { control, wal, writer } = self;
        drop(control);
        wal.close();
        let ended = writer.join();
        assert!(ended.is_ok() || std::thread::panicking(), "{ended:?}");
    }
}

// === impl Member ===

impl Member {
    /// Lets it find that this is wrong with it.
    pub(crate) fn finds(&self, kind: FindingKind, what: &str) {
        self.findings.lock().expect("nobody panicked").insert(kind, what.to_owned());
    }

    fn new(authority: &Arc<Authority>, id: NodeId, live: &Live) -> Self {
        let key = MemberKey::draw();
        let issued = authority.issue_node(id, &[], &key.public(), now()).expect("it is issued");
        Self {
            id,
            control: Arc::clone(&live.control),
            trust: trust(authority),
            credentials: Credentials::new(issued.chain, &key).expect("they belong together"),
            root: RootKey::draw(),
            authority: Arc::clone(authority),
            findings: Mutex::default(),
            from_files: AtomicBool::default(),
            admits: tokio::sync::Semaphore::new(0),
        }
    }
}

#[async_trait]
impl Membership for Member {
    fn control(&self) -> &Arc<Control> {
        &self.control
    }

    fn id(&self) -> NodeId {
        self.id
    }

    fn trust(&self) -> &Trust {
        &self.trust
    }

    fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    fn root_key(&self) -> &RootKey {
        &self.root
    }

    fn findings(&self) -> BTreeMap<FindingKind, String> {
        self.findings.lock().expect("nobody panicked").clone()
    }

    async fn admit(&self, request: &[u8]) -> Result<Vec<u8>, Status> {
        match request {
            b"please" => Ok(b"welcome".to_vec()),
            b"wait" => {
                let _turn = self.admits.acquire().await.expect("it is never closed");
                Ok(b"welcome".to_vec())
            }
            _ => Err(errors::error(Code::Unauthenticated, "TOKEN_UNKNOWN", "the join token is not known")),
        }
    }

    async fn issue_token(&self, order: TokenOrder) -> Result<IssuedToken, Status> {
        assert_ne!(order.comment, PANICS, "a test asks for it");
        let address = "127.0.0.1:1".parse().expect("it is an address");
        let token = JoinToken::draw([self.authority.id()], vec![address]).expect("it has one of each");
        let expires = now() + order.valid_for;
        let issue = proto::IssueToken {
            token: token.id().0.to_vec().into(),
            secret_hash: token.secret_hash().to_vec().into(),
            expires_at: expires.as_millis(),
            created_by: order.created_by(),
            node_name: order.node_name.map(|name| name.as_str().to_owned()).unwrap_or_default(),
            rack: order.rack.unwrap_or_default(),
        };
        self.control.command(Command::IssueToken(issue)).await.map_err(|error| errors::command(&error))?;
        Ok(IssuedToken { text: token.reveal(), id: token.id().to_string(), expires })
    }

    async fn issue_operator(
        &self,
        name: ResourceName,
        role: Role,
        valid_for: Duration,
        by: &str,
    ) -> Result<OperatorCertificate, Status> {
        let (made, id) = certificate(&self.authority, name.clone(), role, valid_for);
        if self.control.catalog().cluster().is_some_and(|cluster| cluster.level >= OPERATORS_LEVEL) {
            let issue = proto::IssueOperator {
                fingerprint: id.0.to_vec().into(),
                serial: vec![1].into(),
                name: name.as_str().to_owned(),
                role: role.to_string(),
                expires_at: made.expires.as_millis(),
                created_by: by.to_owned(),
            };
            self.control.command(Command::IssueOperator(issue)).await.map_err(|error| errors::command(&error))?;
        }
        Ok(made)
    }

    async fn rotate_authority(&self, _request: v1::RotateAuthorityRequest) -> Result<v1::AuthorityStatus, Status> {
        Err(errors::precondition("NO_AUTHORITY", "cluster", "the authority is the test's"))
    }

    fn authority(&self, _catalog: &Catalog) -> Option<v1::AuthorityStatus> {
        None
    }

    fn has_certificate_files(&self) -> bool {
        self.from_files.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Candidate for Waits {
    fn has_certificate_files(&self) -> bool {
        false
    }

    async fn bootstrap(
        &self,
        beginning: Beginning,
    ) -> Result<(Arc<dyn Membership>, Option<OperatorCertificate>), Status> {
        let address = free_address();
        let live = start(&self.authority, &self.folder, NodeId(1), address, BTreeMap::new()).await;
        let name = beginning.node_name.map_or_else(|| "host".to_owned(), |name| name.as_str().to_owned());
        begin(&live.control, says(address, &name), beginning.shards).await;
        let member = Arc::new(Member::new(&self.authority, NodeId(1), &live));
        *self.live.lock().expect("nobody panicked") = Some(live);
        let name = ResourceName::new("first").expect("it is a name");
        let (operator, _) = certificate(&self.authority, name, Role::Admin, Duration::from_secs(3600));
        Ok((member, Some(operator)))
    }

    async fn join(&self, token: &str) -> Result<Arc<dyn Membership>, Status> {
        match JoinToken::parse(token) {
            Ok(_) => Err(errors::error(Code::Unavailable, "UNREACHABLE", "nobody answers at the token's addresses")),
            Err(error) => Err(errors::invalid("token", "…", error)),
        }
    }
}

#[async_trait]
impl Documents for Toolsets {
    async fn check(&self, documents: &[v1::Document]) -> Result<(), Status> {
        match documents.iter().find(|document| document.kind != "Toolset") {
            Some(other) => Err(errors::invalid("documents.kind", &other.kind, "Toolset")),
            None => Ok(()),
        }
    }

    async fn apply(&self, member: &dyn Membership, documents: Vec<v1::Document>, by: &str) -> Result<(), Status> {
        let upserts = documents.iter().map(|document| upsert(&document.name, &document.json)).collect();
        let apply = proto::Apply { upserts, author: by.to_owned(), ..proto::Apply::default() };
        self.change(member, &|_| apply.clone()).await.map(drop)
    }

    async fn change(&self, member: &dyn Membership, wish: Wish<'_>) -> Result<proto::Applied, Status> {
        let apply = wish(&member.control().catalog());
        let mut applied = None;
        // As many as a large set takes.
        for command in commands(1, apply, StageId([7; 16])) {
            let kind = command.kind.expect("it is of some kind");
            match member.control().command(kind).await.map_err(|error| errors::command(&error))? {
                Outcome::Applied(last) => applied = Some(last),
                Outcome::Refusal(refusal) => return Err(errors::refusal(&refusal.into())),
                _ => {}
            }
        }
        Ok(applied.expect("the last of them applies the set"))
    }
}

/// Waits until something holds.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "there is no {what}");
        tokio::time::sleep(LOOK).await;
    }
}

/// A document of a toolset.
pub(crate) fn upsert(name: &str, content: &[u8]) -> proto::Upsert {
    let key = proto::DocumentKey { kind: "Toolset".to_owned(), tenant: "default".to_owned(), name: name.to_owned() };
    proto::Upsert { key: Some(key), labels: Vec::new(), content: content.to_vec().into() }
}

/// What an operator of an authority's cluster shows.
pub(crate) fn operator(authority: &Authority, role: Role) -> Credentials {
    let (key, name) = (MemberKey::draw(), ResourceName::new("ana").expect("it is a name"));
    let issued = authority.issue_operator(name, role, Duration::from_secs(3600), &key.public(), now());
    Credentials::new(issued.expect("it is issued").chain, &key).expect("they belong together")
}

/// Whom the cluster of an authority trusts.
pub(crate) fn trust(authority: &Authority) -> Trust {
    let bundle = Bundle::new([authority.anchor().clone()]).expect("it is an authority's");
    Trust::new(authority.cluster(), bundle)
}

fn certificate(
    authority: &Authority,
    name: ResourceName,
    role: Role,
    valid_for: Duration,
) -> (OperatorCertificate, OperatorId) {
    let key = MemberKey::draw();
    let issued = authority.issue_operator(name, role, valid_for, &key.public(), now()).expect("it is issued");
    let id = OperatorId(key_digest(&issued.chain[0]).expect("it is a certificate"));
    let made = OperatorCertificate {
        certificate_pem: pem::of_certificates(&issued.chain),
        key_pem: key.to_pem(),
        trust_bundle_pem: pem::of_certificates([authority.anchor()]),
        expires: issued.not_after,
        id: id.to_string(),
    };
    (made, id)
}

async fn start(
    authority: &Authority,
    folder: &std::path::Path,
    id: NodeId,
    address: SocketAddr,
    seeds: BTreeMap<NodeId, Address>,
) -> Live {
    static STARTS: AtomicU64 = AtomicU64::new(1);
    let disk = Arc::new(Folder::new(folder.join("wal")).expect("nobody else has it"));
    let Opened { wal, writer, .. } = quorate_wal::open(disk, quorate_wal::DEFAULTS, 7, false).expect("it is whole");
    let writer = writer.spawn(|failed| eprintln!("{failed}")).expect("there are threads");
    let config = quorate_raft::Config {
        timing: TIMING,
        snapshots: SNAPSHOT_MARKS,
        folder: folder.join("snapshots"),
        proposal_bytes_max: 64 << 20,
        level_max: 2,
        wal: wal.clone(),
    };
    let peers = quorate_peer::Config {
        cluster: CLUSTER,
        node: id,
        incarnation: Incarnation(1),
        levels: 1..=2,
        listen: address,
        tls: peer_tls(authority, id),
        limits: quorate_peer::DEFAULTS,
    };
    let host = Arc::new(Host::start(config, peers).expect("it starts"));
    let mut start = [0; 16];
    start[..8].copy_from_slice(&STARTS.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    let config = Config { node: id, incarnation: Incarnation(1), start, levels: (1, 2), seeds };
    let machines = Arc::new(|_| Box::new(Counter(0)) as Box<dyn Machine>);
    let control = Control::start(config, host, machines).await.expect("it opens");
    Live { control, wal, writer }
}

async fn begin(control: &Control, node: proto::NewNode, groups: u32) {
    let bootstrap = proto::Bootstrap {
        cluster: CLUSTER.0.to_vec().into(),
        level: 1,
        groups,
        replication: 3,
        node: Some(node),
        limits: None,
    };
    control.bootstrap(bootstrap).await.expect("there was no cluster");
}

fn says(address: SocketAddr, name: &str) -> proto::NewNode {
    proto::NewNode {
        name: name.to_owned(),
        peer_address: address.to_string(),
        level_min: 1,
        level_max: 2,
        ..proto::NewNode::default()
    }
}

fn peer_tls(authority: &Authority, id: NodeId) -> NodeTls {
    let key = MemberKey::draw();
    let issued = authority.issue_node(id, &[], &key.public(), now()).expect("it is issued");
    let roots = pem::of_certificates([authority.anchor()]);
    let chain = pem::of_certificates(&issued.chain);
    let credentials = NodeCredentials::from_pem(roots.as_bytes(), chain.as_bytes(), key.to_pem().as_bytes());
    NodeTls::new(credentials.expect("they are good"))
}

pub(crate) async fn gateway() -> Gateway {
    let config = quorate_gateway::node::Config {
        development: Development::Off,
        allow_all: false,
        mac_key: None,
        audit: Audit::disabled(),
        sealer: Sealer::new(&[0; 32]),
        metrics: Metrics::new("0"),
        tracer: Tracer::disabled(),
        tls: quorate_tls::ClientOptions::default(),
        drain_timeout: Duration::from_secs(1),
        guard: quorate_stdio::Guard::at("nothing".into()),
        shards: Default::default(),
    };
    Gateway::start(config).await.expect("it starts")
}

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is right");
    Timestamp::from_millis(u64::try_from(since.as_millis()).expect("it is this century"))
}

pub(crate) fn free_address() -> SocketAddr {
    let probe = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a port");
    probe.local_addr().expect("it is bound")
}
