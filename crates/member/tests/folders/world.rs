//! Data folders of nodes in one process, and the admin port of each as far as a joiner needs it.
//!
//! A node is ended as a process is, and keeps its folder. Tests wait for conditions, never for a time.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use quorate_catalog::{Catalog, NodeState};
use quorate_member::{
    BootstrapSettings, Member, OpenError, Opened, OperatorCertificate, Settings, TokenTerms, Waiting, nothing, open,
};
use quorate_membership::handshake::{Accept, server};
use quorate_membership::token::JoinToken;
use quorate_proto::admin::v1::{JoinRequest, JoinResponse};
use quorate_raft::TIMING;
use quorate_types::{Code, NodeId, ResourceName, Timestamp};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, Response, Status};

/// Longer than anything takes on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(20);

/// A data folder, and where its node is reached.
pub(crate) struct Place {
    folder: TempDir,
    pub(crate) settings: Settings,
    admin: SocketAddr,
}

/// A member that runs, and its admin port as far as a joiner needs it. Dropped it ends at once.
pub(crate) struct Live {
    member: Member,
    _door: AbortOnDropHandle<()>,
}

/// Answers one request to join.
struct Join(Member);

impl Deref for Live {
    type Target = Member;

    fn deref(&self) -> &Member {
        &self.member
    }
}

impl Live {
    /// Ends it in order.
    pub(crate) async fn shutdown(self) {
        let Self { member, _door } = self;
        drop(_door);
        member.shutdown().await;
    }
}

// === impl Place ===

impl Place {
    pub(crate) fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().expect("there is a disk");
        let admin = free_address();
        let settings = Settings {
            data_dir: folder.path().to_owned(),
            name: ResourceName::new(name).expect("it is a name"),
            rack: None,
            peer_listen: free_address(),
            peer_advertise: None,
            admin_address: admin.to_string().parse().expect("it is an address"),
            data_address: None,
            levels: (1, 1),
            timing: TIMING,
            certificate_lifetime: Duration::from_hours(24),
            certificates: None,
            cluster: None,
            ends_process: false,
        };
        Self { folder, settings, admin }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Opens the folder; one that a node had which was ended waits until its threads are.
    pub(crate) async fn open(&self) -> Result<Opened, OpenError> {
        let begun = Instant::now();
        loop {
            match open(self.settings.clone(), nothing()).await {
                Err(OpenError::Locked { .. }) if begun.elapsed() < PATIENCE => tokio::time::sleep(LOOK).await,
                opened => return opened,
            }
        }
    }

    pub(crate) async fn waiting(&self) -> Waiting {
        match self.open().await.expect("it opens") {
            Opened::Waiting(waiting) => waiting,
            Opened::Member(member) => panic!("it is {}", member.identity()),
        }
    }

    /// Starts the node that the folder is of; joiners can ask it.
    pub(crate) async fn member(&self) -> Live {
        match self.open().await.expect("it opens") {
            Opened::Member(member) => self.with_door(member).await,
            Opened::Waiting(_) => panic!("it is nobody's"),
        }
    }

    /// A cluster of this node alone.
    pub(crate) async fn bootstrap(&self, shards: u32) -> (Live, OperatorCertificate) {
        let asked = BootstrapSettings { name: None, shards, replicas: 3, authority: None };
        let (member, operator) = self.waiting().await.bootstrap(asked).await.expect("it is made");
        (self.with_door(member).await, operator.expect("the cluster signs certificates"))
    }

    pub(crate) async fn join(&self, token: JoinToken) -> Live {
        let member = self.waiting().await.join(token).await.expect("it is taken in");
        self.with_door(member).await
    }

    pub(crate) async fn with_door(&self, member: Member) -> Live {
        let listener = TcpListener::bind(self.admin).await.expect("nobody else has it");
        let config = server(member.credentials(), member.trust(), Accept::Anyone);
        let serving = serve(listener, TlsAcceptor::from(config), member.clone());
        Live { member, _door: AbortOnDropHandle::new(tokio::spawn(serving)) }
    }

    /// Copies the folder as it is on the disk.
    pub(crate) fn copied(&self) -> TempDir {
        let to = tempfile::tempdir().expect("there is a disk");
        copy(self.path(), to.path());
        to
    }

    /// Puts a copy in the place of what the folder has.
    pub(crate) fn restore(&self, from: &TempDir) {
        for entry in std::fs::read_dir(self.path()).expect("it is there").flatten() {
            let path = entry.path();
            let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            removed.expect("it can be removed");
        }
        copy(from.path(), self.path());
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("it is there").flatten() {
        let target: PathBuf = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir(&target).expect("it is new");
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).expect("it can be copied");
        }
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, member: Member) {
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let (acceptor, member) = (acceptor.clone(), member.clone());
        connections.spawn(async move {
            let Ok(stream) = acceptor.accept(socket).await else { return };
            let answer = service_fn(move |request: http::Request<Incoming>| {
                assert_eq!(request.uri().path(), "/quorate.admin.v1.Cluster/Join");
                let member = member.clone();
                async move {
                    let mut grpc = tonic::server::Grpc::new(tonic_prost::ProstCodec::default());
                    Ok::<_, Infallible>(grpc.unary(Join(member), request).await)
                }
            });
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            // The end of a connection is the joiner's business.
            let _ = builder.serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

impl tonic::server::UnaryService<JoinRequest> for Join {
    type Response = JoinResponse;
    type Future = Pin<Box<dyn Future<Output = Result<Response<JoinResponse>, Status>> + Send>>;

    fn call(&mut self, request: Request<JoinRequest>) -> Self::Future {
        let member = self.0.clone();
        Box::pin(async move {
            match member.admit(&request.into_inner().request).await {
                Ok(response) => Ok(Response::new(JoinResponse { response: response.into() })),
                Err(error) => Err(Status::new(code(error.code()), error.to_string())),
            }
        })
    }
}

fn code(code: Code) -> tonic::Code {
    match code {
        Code::Unauthenticated => tonic::Code::Unauthenticated,
        Code::FailedPrecondition => tonic::Code::FailedPrecondition,
        Code::InvalidArgument => tonic::Code::InvalidArgument,
        Code::NotFound => tonic::Code::NotFound,
        Code::PermissionDenied => tonic::Code::PermissionDenied,
        _ => tonic::Code::Unavailable,
    }
}

/// Makes a token for anybody.
pub(crate) async fn token(of: &Member) -> JoinToken {
    let terms =
        TokenTerms { valid_for: Duration::from_secs(600), name: None, rack: None, created_by: "a test".to_owned() };
    of.issue_token(terms).await.expect("it is issued").token
}

/// Waits until something holds.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "there is no {what}");
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits until a node has a catalog of which something holds.
pub(crate) async fn sees(member: &Member, what: &str, holds: impl Fn(&Catalog) -> bool) {
    until(what, || holds(&member.control().catalog())).await;
}

pub(crate) fn is_active(catalog: &Catalog, node: u64) -> bool {
    catalog.node(NodeId(node)).is_some_and(|node| node.state == NodeState::Active)
}

pub(crate) fn free_address() -> SocketAddr {
    let probe = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a port");
    probe.local_addr().expect("it is bound")
}

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is right");
    Timestamp::from_millis(u64::try_from(since.as_millis()).expect("it is this century"))
}
