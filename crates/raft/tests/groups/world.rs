//! Nodes of a cluster in one process: real sockets, real certificates, real disks.
//!
//! A node has its own threads; killing it drops them and its sockets as the end of a process does, and keeps its disk.
//! Tests wait for conditions, never for a time.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::{Buf as _, Bytes};
use quorate_peer::Link;
use quorate_peer::NodeName;
use quorate_raft::{
    Applied, Config, Frozen, Group, Host, Machine, Proposal, ProposeError, Proposed, RestoreError, Role,
    SNAPSHOT_MARKS, SnapshotMarks, Timing,
};
use quorate_tls::{NodeCredentials, NodeTls};
use quorate_types::{ClusterId, Incarnation, NodeId};
use quorate_wal::{Folder, GroupId, Opened, Running, Wal};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    SanType,
};
use tempfile::TempDir;

use super::stalls::{Stall, Stalling};

/// For tests that are not about elections: a machine that is busy for a second is no dead leader.
pub(crate) const CALM: Timing = Timing {
    heartbeat: Duration::from_millis(200),
    election_min: Duration::from_secs(3),
    election_max: Duration::from_secs(5),
};

pub(crate) const GROUP: GroupId = GroupId(1);
/// Longer than anything takes on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const CLUSTER: ClusterId = ClusterId([7; 16]);
const LOG: u128 = 7;
const LOOK: Duration = Duration::from_millis(5);

/// What was applied, in order.
pub(crate) type Tape = Arc<Mutex<Vec<Bytes>>>;

/// Keeps every command; answers how many there are.
struct Recorder(Tape);

/// The commands as they were.
struct Recorded(Vec<Bytes>);

/// All nodes, those that run and those that do not.
pub(crate) struct World {
    authority: CertifiedIssuer<'static, KeyPair>,
    nodes: BTreeMap<NodeId, Node>,
    marks: SnapshotMarks,
    timing: Timing,
}

/// A node: its disk, and what runs on it.
struct Node {
    folder: TempDir,
    address: SocketAddr,
    incarnation: u64,
    stall: Stall,
    running: Option<Live>,
}

struct Live {
    host: Host,
    wal: Wal,
    writer: Running,
    group: Group,
    tape: Tape,
}

// === impl Recorder ===

impl Machine for Recorder {
    fn apply(&mut self, _context: &Applied, command: &[u8]) -> Bytes {
        let mut tape = self.0.lock().expect("nobody panics");
        tape.push(Bytes::copy_from_slice(command));
        Bytes::copy_from_slice(&(tape.len() as u64).to_le_bytes())
    }

    fn freeze(&self) -> Box<dyn Frozen> {
        Box::new(Recorded(self.0.lock().expect("nobody panics").clone()))
    }

    fn restore(&mut self, from: &mut dyn Read) -> Result<(), RestoreError> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes)?;
        let mut bytes = Bytes::from(bytes);
        let mut tape = self.0.lock().expect("nobody panics");
        tape.clear();
        while bytes.has_remaining() {
            let length = bytes.get_u32_le() as usize;
            tape.push(bytes.split_to(length));
        }
        Ok(())
    }
}

impl Frozen for Recorded {
    fn hash(&self) -> u64 {
        // FNV-1a over everything.
        let all = self.0.iter().flat_map(|command| command.iter());
        all.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
    }

    fn write(&self, to: &mut dyn io::Write) -> io::Result<()> {
        for command in &self.0 {
            to.write_all(&u32::try_from(command.len()).expect("it is bounded").to_le_bytes())?;
            to.write_all(command)?;
        }
        Ok(())
    }
}

// === impl World ===

impl World {
    /// Starts these nodes, which know each other.
    pub(crate) async fn new(nodes: impl IntoIterator<Item = u64>) -> Self {
        Self::with(nodes, SNAPSHOT_MARKS, CALM).await
    }

    pub(crate) async fn with(nodes: impl IntoIterator<Item = u64>, marks: SnapshotMarks, timing: Timing) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let authority = CertifiedIssuer::self_signed(params, key()).expect("a root is made");
        let mut world = Self { authority, nodes: BTreeMap::new(), marks, timing };
        for id in nodes {
            let folder = tempfile::tempdir().expect("there is a disk");
            let node = Node { folder, address: free_address(), incarnation: 0, stall: Stall::default(), running: None };
            world.nodes.insert(NodeId(id), node);
        }
        let ids: Vec<NodeId> = world.nodes.keys().copied().collect();
        for id in &ids {
            world.start(*id).await;
        }
        // An election may be the only one for a long time: it is not to be lost for want of a stream.
        for (from, to) in
            ids.iter().flat_map(|from| ids.iter().map(move |to| (*from, *to))).filter(|(from, to)| from != to)
        {
            let link = world.host(from).peers().link(to).expect("they know each other");
            world.until("stream", || matches!(*link.borrow(), Link::Connected { .. }).then_some(())).await;
        }
        world
    }

    /// Starts a node on its disk, with a group that goes on where it stood.
    pub(crate) async fn start(&mut self, id: NodeId) {
        let tls = self.tls(id);
        let peers: BTreeMap<_, _> = self.nodes.iter().map(|(id, node)| (*id, node.address.into())).collect();
        let (marks, timing) = (self.marks, self.timing);
        let node = self.nodes.get_mut(&id).expect("it is there");
        node.incarnation += 1;
        let folder = Folder::new(node.folder.path().join("wal")).expect("nobody else has it");
        let disk = Arc::new(Stalling { folder, stall: node.stall.clone() });
        let Opened { wal, writer, .. } =
            quorate_wal::open(disk, quorate_wal::DEFAULTS, LOG, false).expect("it is whole");
        let writer = writer.spawn(|failed| panic!("{failed}")).expect("there are threads");
        let config = Config {
            timing,
            snapshots: marks,
            folder: node.folder.path().join("snapshots"),
            proposal_bytes_max: 64 << 20,
            level_max: 1,
            wal: wal.clone(),
        };
        let peer_config = quorate_peer::Config {
            cluster: CLUSTER,
            node: id,
            incarnation: Incarnation(node.incarnation),
            levels: 1..=1,
            listen: node.address,
            tls,
            limits: quorate_peer::DEFAULTS,
        };
        let host = Host::start(config, peer_config).expect("it starts");
        host.set_peers(peers);
        let tape = Tape::default();
        let group = host.open(GROUP, || Box::new(Recorder(Arc::clone(&tape)))).await.expect("it opens");
        node.running = Some(Live { host, wal, writer, group, tape });
    }

    /// Ends a node at once, as SIGKILL does.
    pub(crate) async fn kill(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).expect("it is there");
        let Live { host, wal, writer, group, .. } = node.running.take().expect("it runs");
        drop((host, group));
        wal.close();
        writer.join().expect("the disk works");
        // Unlike those of a process, its tasks end one by one.
        let snapshots = node.folder.path().join("snapshots").join(format!("group-{}", GROUP.0));
        let begun = Instant::now();
        while let Err(error) = Folder::new(&snapshots) {
            assert!(begun.elapsed() < PATIENCE, "{error}");
            tokio::time::sleep(LOOK).await;
        }
    }

    pub(crate) fn group(&self, id: NodeId) -> &Group {
        &self.live(id).group
    }

    pub(crate) fn host(&self, id: NodeId) -> &Host {
        &self.live(id).host
    }

    /// A machine that is nobody's.
    pub(crate) fn machine(&self) -> Box<dyn Machine> {
        Box::new(Recorder(Tape::default()))
    }

    pub(crate) fn tape(&self, id: NodeId) -> Vec<Bytes> {
        self.live(id).tape.lock().expect("nobody panics").clone()
    }

    /// The index of the first entry in a node's log.
    pub(crate) fn first(&self, id: NodeId) -> u64 {
        self.live(id).wal.group(GROUP).first
    }

    /// The disk of a node, as far as it syncs.
    pub(crate) fn disk(&self, id: NodeId) -> &Stall {
        &self.nodes[&id].stall
    }

    /// For how long a node's disk has been busy with one write or sync.
    pub(crate) fn disk_busy(&self, id: NodeId) -> Duration {
        self.live(id).wal.disk_busy()
    }

    /// Changes a node's state behind consensus' back, as a broken memory does.
    pub(crate) fn tamper(&self, id: NodeId) {
        self.live(id).tape.lock().expect("nobody panics").push(Bytes::from_static(b"never committed"));
    }

    /// Begins the group with these voters.
    pub(crate) async fn begin(&self, voters: impl IntoIterator<Item = u64>) -> NodeId {
        let voters: BTreeSet<NodeId> = voters.into_iter().map(NodeId).collect();
        let first = *voters.first().expect("there is one");
        self.group(first).begin(voters).await.expect("it never began");
        self.leader().await
    }

    /// Waits for a leader that serves.
    pub(crate) async fn leader(&self) -> NodeId {
        self.until("a leader", || {
            let serves = |live: &Live| live.group.role().borrow().serves().is_some();
            self.nodes.iter().find(|(_, node)| node.running.as_ref().is_some_and(serves)).map(|(id, _)| *id)
        })
        .await
    }

    /// Proposes through a node until it is committed or unknown.
    pub(crate) async fn propose(&self, through: NodeId, body: impl Into<Bytes>) -> Result<Proposed, ProposeError> {
        let proposal = Proposal { level: 1, body: body.into(), epoch: None };
        let begun = Instant::now();
        loop {
            match self.group(through).propose_anywhere(proposal.clone()).await {
                Err(ProposeError::NotLeader { .. } | ProposeError::Overloaded { .. }) if begun.elapsed() < PATIENCE => {
                    tokio::time::sleep(LOOK).await;
                }
                done => return done,
            }
        }
    }

    /// Waits until all running nodes have applied the same, at least so many commands.
    pub(crate) async fn agree(&self, commands: usize) -> Vec<Bytes> {
        self.until("agreement", || {
            let mut tapes = self.nodes.iter().filter(|(_, node)| node.running.is_some()).map(|(id, _)| self.tape(*id));
            let first = tapes.next()?;
            (first.len() >= commands && tapes.all(|tape| tape == first)).then_some(first)
        })
        .await
    }

    pub(crate) async fn role(&self, id: NodeId, what: &str, is: impl Fn(&Role) -> bool) {
        self.until(what, || is(&self.group(id).role().borrow()).then_some(())).await;
    }

    pub(crate) async fn until<T>(&self, what: &str, condition: impl Fn() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = condition() {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "there is no {what}");
            tokio::time::sleep(LOOK).await;
        }
    }

    fn live(&self, id: NodeId) -> &Live {
        self.nodes[&id].running.as_ref().expect("it runs")
    }

    fn tls(&self, id: NodeId) -> NodeTls {
        let mut params = CertificateParams::default();
        let name = NodeName { cluster: CLUSTER, node: id }.to_string();
        params.subject_alt_names = vec![SanType::URI(name.as_str().try_into().expect("it is ascii"))];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is right");
        params.not_before = rcgen::date_time_ymd(1970, 1, 1) + now - Duration::from_secs(3600);
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + now + Duration::from_secs(3600);
        let key = key();
        let certificate = params.signed_by(&key, &self.authority).expect("a leaf is made").pem();
        let (roots, key) = (self.authority.pem(), key.serialize_pem());
        let credentials = NodeCredentials::from_pem(roots.as_bytes(), certificate.as_bytes(), key.as_bytes());
        NodeTls::new(credentials.expect("they are good"))
    }
}

impl Drop for World {
    /// Ends everything before the disks go.
    fn drop(&mut self) {
        // A test that fails meanwhile must not wait for a disk.
        self.nodes.values().for_each(|node| node.stall.end());
        for Live { host, wal, writer, group, .. } in self.nodes.values_mut().filter_map(|node| node.running.take()) {
            drop((host, group));
            wal.close();
            let ended = writer.join();
            assert!(ended.is_ok() || std::thread::panicking(), "{ended:?}");
        }
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key is made")
}

/// An address that stays the node's through its restarts: one of 127/8 that nobody else is given.
fn free_address() -> SocketAddr {
    let probe = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a port");
    probe.local_addr().expect("it is bound")
}
