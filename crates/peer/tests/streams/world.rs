//! A cluster of nodes in one process: an authority, certificates, and peers that record what they are asked.
//!
//! A node has a runtime of its own; killing it drops its tasks and sockets as the end of a process does. Tests wait for
//! conditions, never for a time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use quorate_peer::{
    Address, Config, DEFAULTS, ExchangeObservation, Handler, Lane, Limits, Link, NodeId, NodeName, Peers, Protocol,
    Reply, Urgency,
};
use quorate_tls::{NodeCredentials, NodeTls};
use quorate_types::{ClusterId, Incarnation};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use tokio::runtime::Runtime;

pub(crate) const CLUSTER: ClusterId = ClusterId([7; 16]);
pub(crate) const LANE: Lane = Lane { protocol: Protocol::RAFT, number: 3 };
/// The host name of every certificate.
pub(crate) const HOST: &str = "node.test";
/// Longer than anything takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);
const HOUR: i64 = 3600;

/// An authority with its key.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// A node that runs.
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) peers: Peers,
    pub(crate) tls: NodeTls,
    pub(crate) asked: Arc<Asked>,
    runtime: Option<Runtime>,
}

/// How a node is started.
pub(crate) struct Start {
    pub(crate) id: u64,
    pub(crate) incarnation: u64,
    pub(crate) cluster: ClusterId,
    pub(crate) levels: std::ops::RangeInclusive<u32>,
    pub(crate) listen: SocketAddr,
    pub(crate) limits: Limits,
    /// Shown from the start on, whatever it says.
    pub(crate) credentials: NodeCredentials,
}

/// What a node was asked; answers with what it was asked, unless it holds answers back.
#[derive(Default)]
pub(crate) struct Asked {
    pub(crate) requests: Mutex<Vec<(NodeId, Lane, Bytes)>>,
    pub(crate) is_holding: AtomicBool,
    pub(crate) held: Mutex<Vec<Reply>>,
}

// === impl Authority ===

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, key()).expect("a root is made"))
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// Issues a certificate for these URI names that ends so many seconds from now. It has a host name as well, which
    /// nodes do not ask for.
    pub(crate) fn issue(&self, uris: &[String], ends: i64) -> Issued {
        let mut params = CertificateParams::default();
        let uri = |uri: &String| SanType::URI(uri.as_str().try_into().expect("it is ascii"));
        let host = SanType::DnsName(HOST.try_into().expect("it is ascii"));
        params.subject_alt_names = uris.iter().map(uri).chain([host]).collect();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is right").as_secs();
        let at = |offset| Duration::from_secs(now.checked_add_signed(offset).expect("tests stay in this century"));
        params.not_before = rcgen::date_time_ymd(1970, 1, 1) + at(-2 * HOUR);
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + at(ends);
        let key = key();
        let certificate = params.signed_by(&key, &self.0).expect("a leaf is made").pem();
        Issued { certificate, key: key.serialize_pem() }
    }

    pub(crate) fn issue_node(&self, cluster: ClusterId, id: u64) -> Issued {
        self.issue(&[NodeName { cluster, node: NodeId(id) }.to_string()], HOUR)
    }

    /// Returns the TLS of a node of the cluster.
    pub(crate) fn tls(&self, id: u64) -> NodeTls {
        NodeTls::new(self.issue_node(CLUSTER, id).credentials(&[self]))
    }

    /// Starts a node as nodes are.
    pub(crate) fn node(&self, id: u64) -> Node {
        self.start(id).run()
    }

    pub(crate) fn start(&self, id: u64) -> Start {
        Start {
            id,
            incarnation: 1,
            cluster: CLUSTER,
            levels: 1..=1,
            listen: ([127, 0, 0, 1], 0).into(),
            limits: DEFAULTS,
            credentials: self.issue_node(CLUSTER, id).credentials(&[self]),
        }
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key is made")
}

// === impl Issued ===

impl Issued {
    pub(crate) fn credentials(&self, roots: &[&Authority]) -> NodeCredentials {
        let roots: String = roots.iter().map(|root| root.pem()).collect();
        NodeCredentials::from_pem(roots.as_bytes(), self.certificate.as_bytes(), self.key.as_bytes())
            .expect("they are good")
    }
}

// === impl Start ===

impl Start {
    pub(crate) fn run(self) -> Node {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime is made");
        let asked = Arc::new(Asked::default());
        // A node does not start with a certificate that is not its own, but one may be replaced by such.
        let right = Authority::new("of the start").issue_node(self.cluster, self.id);
        let tls = NodeTls::new(right.credentials(&[&Authority::new("nobody")]));
        let config = Config {
            cluster: self.cluster,
            node: NodeId(self.id),
            incarnation: Incarnation(self.incarnation),
            levels: self.levels,
            listen: self.listen,
            tls: tls.clone(),
            limits: self.limits,
        };
        let peers = {
            let _inside = runtime.enter();
            Peers::start(config, Arc::clone(&asked) as Arc<dyn Handler>).expect("the node starts")
        };
        tls.replace(self.credentials);
        Node { id: NodeId(self.id), peers, tls, asked, runtime: Some(runtime) }
    }
}

// === impl Node ===

impl Node {
    pub(crate) fn address(&self) -> Address {
        self.peers.address().into()
    }

    /// Makes these its peers.
    pub(crate) fn knows(&self, others: &[&Node]) {
        self.knows_at(others.iter().map(|other| (other.id, other.address())));
    }

    pub(crate) fn knows_at(&self, others: impl IntoIterator<Item = (NodeId, Address)>) {
        self.peers.set_peers(others.into_iter().collect::<BTreeMap<_, _>>());
    }

    pub(crate) fn link(&self, to: NodeId) -> Link {
        self.peers.link(to).expect("it is a peer").borrow().clone()
    }

    /// Waits until requests go through to a node.
    pub(crate) async fn connects(&self, to: &Node) {
        until("a stream is open", || self.link(to.id).is_connected()).await;
    }

    pub(crate) async fn ask(&self, to: &Node, payload: impl Into<Bytes>) -> Result<Bytes, quorate_peer::CallError> {
        self.peers.call(to.id, LANE, payload.into(), Urgency::Consensus).await
    }

    /// Returns how often a failure with a peer was counted.
    pub(crate) fn failures(&self, with: NodeId, label: &str) -> u64 {
        let observation = self.peers.observe();
        let peer = observation.peers.iter().find(|peer| peer.node == with).expect("it is a peer");
        peer.failures.get(label).copied().unwrap_or_default()
    }

    /// Returns how often somebody was turned away for a reason.
    pub(crate) fn turned_away(&self, label: &str) -> u64 {
        self.peers.observe().turned_away.get(label).copied().unwrap_or_default()
    }

    /// Returns where its tasks run.
    pub(crate) fn runtime(&self) -> &tokio::runtime::Handle {
        self.runtime.as_ref().expect("it runs").handle()
    }

    /// Returns what goes on in its exchanges with a peer.
    pub(crate) fn exchanges(&self, with: NodeId) -> ExchangeObservation {
        let observation = self.peers.observe();
        observation.peers.into_iter().find(|peer| peer.node == with).expect("it is a peer").exchanges
    }

    /// Ends it as a process ends.
    pub(crate) async fn kill(mut self) {
        let runtime = self.runtime.take().expect("it runs");
        // Dropping tasks blocks a little.
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(PATIENCE)).await.expect("it is dropped");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

// === impl Asked ===

impl Asked {
    pub(crate) fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    pub(crate) fn hold(&self) {
        self.is_holding.store(true, Ordering::SeqCst);
    }

    /// Answers what it held back, and everything from now on.
    pub(crate) fn release(&self) {
        self.is_holding.store(false, Ordering::SeqCst);
        for reply in self.held.lock().unwrap().drain(..) {
            reply.answer(Bytes::from_static(b"late"));
        }
    }
}

impl Handler for Asked {
    fn request(&self, from: NodeId, lane: Lane, payload: Bytes, reply: Reply) {
        assert_ne!(payload, "panic", "a handler that is broken");
        self.requests.lock().unwrap().push((from, lane, payload.clone()));
        if self.is_holding.load(Ordering::SeqCst) {
            self.held.lock().unwrap().push(reply);
        } else {
            reply.answer(payload);
        }
    }
}

/// Starts nodes that know each other, and waits until all streams are open.
pub(crate) async fn cluster(authority: &Authority, count: u64) -> Vec<Node> {
    let nodes: Vec<_> = (1..=count).map(|id| authority.node(id)).collect();
    let all: Vec<_> = nodes.iter().collect();
    nodes.iter().for_each(|node| node.knows(&all));
    for node in &nodes {
        for other in nodes.iter().filter(|other| other.id != node.id) {
            node.connects(other).await;
        }
    }
    nodes
}

/// Waits for a condition.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = std::time::Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
