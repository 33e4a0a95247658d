//! `quorate serve --peer-listen` as an operator meets it: processes that wait, become a cluster, are killed and come back.
//!
//! What the command line will say is said through the Unix socket of each data folder.
#![expect(clippy::unwrap_used, reason = "a step that fails in a helper is a failed test")]

use std::future::Future;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::pin::Pin;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use quorate_admin::api::service::cluster_client::ClusterClient;
use quorate_proto::admin::v1::{BootstrapRequest, CreateJoinTokenRequest, GetStatusRequest, JoinClusterRequest};
use tempfile::TempDir;
use tonic::body::Body;
use tonic::codegen::Service;

const QUORATE: &str = env!("CARGO_BIN_EXE_quorate");
/// Longer than anything takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A data folder and the process on it; killed when the test ends early.
struct Node {
    folder: TempDir,
    name: &'static str,
    peer: SocketAddr,
    admin: SocketAddr,
    process: Option<Child>,
}

/// One connection to the socket of a data folder.
struct Sender(SendRequest<Body>);

// === impl Node ===

impl Node {
    fn start(name: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut node = Self { folder, name, peer: free(), admin: free(), process: None };
        node.restart();
        node
    }

    fn restart(&mut self) {
        let (peer, admin) = (self.peer.to_string(), self.admin.to_string());
        let process = Command::new(QUORATE)
            .args(["serve", "--peer-listen", &peer, "--admin", &admin, "--node-name", self.name, "--log", "warn"])
            .arg("--data-dir")
            .arg(self.folder.path())
            .stdout(Stdio::null())
            .spawn();
        self.process = Some(process.unwrap());
    }

    /// Asks whether it is ready: the status and what it says; nothing while it does not listen.
    fn readiness(&self) -> Option<String> {
        let mut socket = TcpStream::connect(self.admin).ok()?;
        socket.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        socket.write_all(b"GET /readyz HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    async fn says(&self, expected: &str) {
        let begun = Instant::now();
        loop {
            let answer = self.readiness();
            if answer.as_ref().is_some_and(|answer| answer.contains(expected)) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{}: {answer:?}", self.name);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn client(&self) -> ClusterClient<Sender> {
        connect(self.folder.path()).await
    }

    fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    fn terminate(&mut self) -> ExitStatus {
        let mut process = self.process.take().unwrap();
        let id = process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        process.wait().unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended already, which is all that is wanted here.
            let _ended = process.kill();
            let _ended = process.wait();
        }
    }
}

impl Service<http::Request<Body>> for Sender {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

async fn connect(folder: &Path) -> ClusterClient<Sender> {
    let stream = tokio::net::UnixStream::connect(folder.join("admin.sock")).await.unwrap();
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    ClusterClient::with_origin(Sender(sender), http::Uri::from_static("http://node.invalid"))
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_wait_become_a_cluster_and_come_back_after_a_kill() {
    let (mut first, mut second) = (Node::start("one"), Node::start("two"));
    for node in [&first, &second] {
        node.says("waits for `quorate cluster init` or `quorate cluster join`").await;
        assert!(node.readiness().unwrap().starts_with("HTTP/1.1 503"));
    }

    let bootstrap = BootstrapRequest { shards: 2, replicas: 3, ..BootstrapRequest::default() };
    let made = first.client().await.bootstrap(bootstrap).await.unwrap().into_inner();
    assert!(made.operator_certificate_pem.contains("BEGIN CERTIFICATE") && made.node == 1);
    first.says("HTTP/1.1 200").await;
    let token = first.client().await.create_join_token(CreateJoinTokenRequest::default()).await.unwrap().into_inner();
    let joined = second.client().await.join_cluster(JoinClusterRequest { token: token.token }).await;
    let joined = joined.unwrap().into_inner();
    assert_eq!((joined.cluster_id, joined.node), (made.cluster_id.clone(), 2));
    second.says("HTTP/1.1 200").await;

    first.kill();
    first.restart();
    first.says("HTTP/1.1 200").await;
    let status = first.client().await.get_status(GetStatusRequest::default()).await.unwrap().into_inner();
    assert_eq!((status.cluster_id, status.nodes.len()), (made.cluster_id, 2));

    assert!(second.terminate().success());
    assert!(first.terminate().success());
}

#[test]
fn a_node_with_peers_needs_a_data_folder_and_an_admin_address() {
    let run = |arguments: &[&str]| {
        let output = Command::new(QUORATE).arg("serve").args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };

    let (code, told) = run(&["--peer-listen", "127.0.0.1:0"]);
    assert!(code == Some(2) && told.contains("--data-dir") && told.contains("--admin"), "{told}");
    let (code, told) = run(&["-f", "none.yaml", "--rack", "a"]);
    assert!(code == Some(2) && told.contains("--peer-listen"), "{told}");
}
