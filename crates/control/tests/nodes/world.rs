//! Nodes with a control plane in one process: real sockets, certificates of the cluster's own authority, real disks.
//!
//! A node is ended as a process is, and keeps its disk. Tests wait for conditions, never for a time.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use quorate_catalog::proto::command::Kind as Command;
use quorate_catalog::proto::outcome::Kind as Outcome;
use quorate_catalog::{Catalog, NodeState, proto};
use quorate_control::{CommandError, Config, Control};
use quorate_membership::authority::{Authority, MemberKey};
use quorate_membership::pem;
use quorate_peer::Address;
use quorate_raft::{Applied, Frozen, Host, Machine, ProposeError, RestoreError, SNAPSHOT_MARKS, Timing};
use quorate_tls::{NodeCredentials, NodeTls};
use quorate_types::{ClusterId, Incarnation, NodeId, Timestamp};
use quorate_wal::{Folder, Opened, Running, Wal};
use tempfile::TempDir;

/// Longer than anything takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// A machine that is busy for a second is no dead leader.
const CALM: Timing = Timing {
    heartbeat: Duration::from_millis(200),
    election_min: Duration::from_secs(3),
    election_max: Duration::from_secs(5),
};
const LOOK: Duration = Duration::from_millis(20);
const CLUSTER: ClusterId = ClusterId([7; 16]);
const LOG: u128 = 7;

/// Counts commands.
struct Counter(u64);

/// All nodes, those that run and those that do not.
pub(crate) struct World {
    authority: Authority,
    nodes: BTreeMap<NodeId, Node>,
    /// The highest feature level that they can work at; the lowest is 1.
    level_max: u32,
}

struct Node {
    running: Option<Live>,
    folder: TempDir,
    address: SocketAddr,
    incarnation: u64,
}

struct Live {
    control: Arc<Control>,
    wal: Wal,
    writer: Running,
}

// === impl Counter ===

impl Machine for Counter {
    fn apply(&mut self, _context: &Applied, _command: &[u8]) -> Bytes {
        self.0 += 1;
        Bytes::copy_from_slice(&self.0.to_le_bytes())
    }

    fn freeze(&self) -> Box<dyn Frozen> {
        Box::new(Self(self.0))
    }

    fn restore(&mut self, from: &mut dyn Read) -> Result<(), RestoreError> {
        let mut count = [0; 8];
        from.read_exact(&mut count)?;
        self.0 = u64::from_le_bytes(count);
        Ok(())
    }
}

impl Frozen for Counter {
    fn hash(&self) -> u64 {
        self.0
    }

    fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        to.write_all(&self.0.to_le_bytes())
    }
}

// === impl World ===

impl World {
    /// A cluster of one node, which has so many shards.
    pub(crate) async fn bootstrapped(groups: u32) -> Self {
        Self::bootstrapped_of(groups, 1).await
    }

    /// The same at feature level 1, of nodes that can work at more.
    pub(crate) async fn bootstrapped_of(groups: u32, level_max: u32) -> Self {
        let authority = Authority::mint(CLUSTER, now()).expect("a root is made");
        let mut world = Self { authority, nodes: BTreeMap::new(), level_max };
        world.start(NodeId(1)).await;
        let bootstrap = proto::Bootstrap {
            cluster: CLUSTER.0.to_vec().into(),
            level: 1,
            groups,
            replication: 3,
            node: Some(world.says(NodeId(1))),
            limits: None,
        };
        world.control(NodeId(1)).bootstrap(bootstrap).await.expect("there was no cluster");
        world.is_active(NodeId(1)).await;
        world
    }

    /// Has a node join.
    pub(crate) async fn join(&mut self, id: NodeId) {
        self.start(id).await;
        let (token, secret_hash) = (vec![u8::try_from(id.0).expect("it is small"); 16], vec![9; 32]);
        let through = self.running().next().expect("somebody is there");
        let issue = proto::IssueToken {
            token: token.clone().into(),
            secret_hash: secret_hash.clone().into(),
            expires_at: now().as_millis() + 3_600_000,
            created_by: "a test".to_owned(),
            ..proto::IssueToken::default()
        };
        self.command(through, Command::IssueToken(issue)).await.expect("it is free");
        let add = proto::AddNode {
            node: Some(self.says(id)),
            token: token.into(),
            secret_hash: secret_hash.into(),
            ..proto::AddNode::default()
        };
        match self.command(through, Command::AddNode(add)).await {
            Ok(Outcome::NodeAdded(added)) => assert_eq!(added.node, id.0, "nodes join in the order of their numbers"),
            other => panic!("{other:?}"),
        }
        self.is_active(id).await;
    }

    /// Starts a node on its disk, in its next life.
    pub(crate) async fn start(&mut self, id: NodeId) {
        let node = self.nodes.entry(id).or_insert_with(|| Node {
            running: None,
            folder: tempfile::tempdir().expect("there is a disk"),
            address: free_address(),
            incarnation: 0,
        });
        node.incarnation += 1;
        let incarnation = node.incarnation;
        self.start_as(id, incarnation).await;
    }

    /// Starts a node that says it is in this life.
    pub(crate) async fn start_as(&mut self, id: NodeId, incarnation: u64) {
        static STARTS: AtomicU64 = AtomicU64::new(1);
        let tls = self.tls(id);
        let seeds: BTreeMap<NodeId, Address> = self.nodes.iter().map(|(id, node)| (*id, node.address.into())).collect();
        let node = self.nodes.get_mut(&id).expect("it was there before");
        let disk = Arc::new(Folder::new(node.folder.path().join("wal")).expect("nobody else has it"));
        let opened = quorate_wal::open(disk, quorate_wal::DEFAULTS, LOG, false);
        let Opened { wal, writer, .. } = opened.expect("it is whole");
        let writer = writer.spawn(|failed| eprintln!("{failed}")).expect("there are threads");
        let config = quorate_raft::Config {
            timing: CALM,
            snapshots: SNAPSHOT_MARKS,
            folder: node.folder.path().join("snapshots"),
            proposal_bytes_max: 64 << 20,
            level_max: self.level_max,
            wal: wal.clone(),
        };
        let peers = quorate_peer::Config {
            cluster: CLUSTER,
            node: id,
            incarnation: Incarnation(incarnation),
            levels: 1..=self.level_max,
            listen: node.address,
            tls,
            limits: quorate_peer::DEFAULTS,
        };
        let host = Arc::new(Host::start(config, peers).expect("it starts"));
        let mut start = [0; 16];
        start[..8].copy_from_slice(&STARTS.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        let config =
            Config { node: id, incarnation: Incarnation(incarnation), start, levels: (1, self.level_max), seeds };
        let machines = Arc::new(|_| Box::new(Counter(0)) as Box<dyn Machine>);
        let control = Control::start(config, host, machines).await.expect("it opens");
        node.running = Some(Live { control, wal, writer });
    }

    /// Ends a node at once.
    pub(crate) async fn kill(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).expect("it is there");
        let live = node.running.take().expect("it runs");
        let snapshots = node.folder.path().join("snapshots");
        live.end();
        // Unlike those of a process, its tasks end one by one.
        let begun = Instant::now();
        let is_free = || {
            let groups = std::fs::read_dir(&snapshots).into_iter().flatten();
            groups.flatten().all(|group| Folder::new(group.path()).is_ok())
        };
        while !is_free() {
            assert!(begun.elapsed() < PATIENCE, "node {id} does not end");
            tokio::time::sleep(LOOK).await;
        }
    }

    pub(crate) fn running(&self) -> impl Iterator<Item = NodeId> {
        self.nodes.iter().filter(|(_, node)| node.running.is_some()).map(|(id, _)| *id)
    }

    pub(crate) fn control(&self, id: NodeId) -> &Arc<Control> {
        &self.nodes[&id].running.as_ref().expect("it runs").control
    }

    pub(crate) async fn command(&self, through: NodeId, command: Command) -> Result<Outcome, CommandError> {
        self.control(through).command(command).await
    }

    /// Has a command applied that may be applied twice: what is not known is asked again.
    pub(crate) async fn insist(&self, through: NodeId, command: Command) -> Outcome {
        let begun = Instant::now();
        loop {
            match self.command(through, command.clone()).await {
                Ok(outcome) => return outcome,
                Err(CommandError::Proposal(ProposeError::Unknown | ProposeError::NotLeader { .. }))
                    if begun.elapsed() < PATIENCE => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Waits until every running node has a catalog of which this holds.
    pub(crate) async fn all(&self, what: &str, holds: impl Fn(&Catalog) -> bool) {
        self.until(what, || self.running().all(|id| holds(&self.control(id).catalog()))).await;
    }

    pub(crate) async fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let begun = Instant::now();
        while !holds() {
            if begun.elapsed() >= PATIENCE {
                let seen: Vec<_> = self.running().map(|id| self.seen(id)).collect();
                panic!("there is no {what}:\n{}", seen.join("\n"));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// How many groups a node leads, the meta group aside.
    pub(crate) fn leads(&self, id: NodeId) -> usize {
        let groups = self.control(id).host().groups();
        groups.iter().filter(|group| group.id().0 != 0 && group.role().borrow().serves().is_some()).count()
    }

    async fn is_active(&self, id: NodeId) {
        let is_active = |catalog: &Catalog| catalog.node(id).is_some_and(|node| node.state == NodeState::Active);
        self.all("active node", is_active).await;
    }

    /// What a node sees, for the message of a wait that was in vain.
    fn seen(&self, id: NodeId) -> String {
        let control = self.control(id);
        let group =
            |group: quorate_raft::Group| format!("{} {:?} {:?}", group.id(), *group.role().borrow(), group.members());
        let groups: Vec<String> = control.host().groups().into_iter().map(group).collect();
        let catalog = control.catalog();
        let shards: Vec<_> = catalog.shards().collect();
        let nodes: Vec<_> = catalog.nodes().map(|node| (node.id, node.state)).collect();
        format!("node {id}: {nodes:?}\n  map {shards:?}\n  {}", groups.join("\n  "))
    }

    fn says(&self, id: NodeId) -> proto::NewNode {
        proto::NewNode {
            name: format!("node-{id}"),
            peer_address: self.nodes[&id].address.to_string(),
            level_min: 1,
            level_max: self.level_max,
            ..proto::NewNode::default()
        }
    }

    fn tls(&self, id: NodeId) -> NodeTls {
        let key = MemberKey::draw();
        let issued = self.authority.issue_node(id, &[], &key.public(), now()).expect("it is issued");
        let roots = pem::of_certificates([self.authority.anchor()]);
        let chain = pem::of_certificates(&issued.chain);
        let credentials = NodeCredentials::from_pem(roots.as_bytes(), chain.as_bytes(), key.to_pem().as_bytes());
        NodeTls::new(credentials.expect("they are good"))
    }
}

impl Drop for World {
    /// Ends everything before the disks go.
    fn drop(&mut self) {
        self.nodes.values_mut().filter_map(|node| node.running.take()).for_each(Live::end);
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

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is right");
    Timestamp::from_millis(u64::try_from(since.as_millis()).expect("it is this century"))
}

fn free_address() -> SocketAddr {
    let probe = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a port");
    probe.local_addr().expect("it is bound")
}
