//! The API over real data folders: a cluster is begun and joined by calls alone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quorate_admin::Admin;
use quorate_admin::api::{Api, Node, Socket, TIMES};
use quorate_audit::Audit;
use quorate_member::{Settings, nothing, open};
use quorate_proto::admin::v1;
use quorate_raft::TIMING;
use quorate_telemetry::Metrics;
use quorate_types::ResourceName;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::client::{self, Client};
use crate::world::{Toolsets, free_address, gateway};

/// A data folder that is served.
struct Served {
    folder: TempDir,
    _stop: tokio_util::sync::DropGuard,
}

impl Served {
    async fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().expect("there is a disk");
        let listen: SocketAddr = "127.0.0.1:0".parse().expect("it is an address");
        let bound = Admin::bind(listen, gateway().await, Metrics::new("0"), CancellationToken::new());
        let admin = bound.expect("there is a port");
        let settings = Settings {
            data_dir: folder.path().to_owned(),
            name: ResourceName::new(name).expect("it is a name"),
            rack: None,
            peer_listen: free_address(),
            peer_advertise: None,
            admin_address: admin.local().to_string().parse().expect("it is an address"),
            data_address: None,
            levels: (1, 1),
            timing: TIMING,
            certificate_lifetime: Duration::from_hours(24),
            cluster: None,
            ends_process: false,
        };
        let opened = open(settings, nothing()).await.expect("it opens");
        let node = Node::of_folder(opened, Audit::disabled());
        let api = Api::new(node, Arc::new(Toolsets), tonic::service::Routes::default(), TIMES);
        let stop = CancellationToken::new();
        tokio::spawn(admin.with_api(api.clone()).run(stop.clone()));
        let socket = Socket::bind(folder.path()).expect("nobody else has it");
        let ends = stop.clone();
        tokio::spawn(async move { api.serve_socket(socket, ends).await });
        Self { folder, _stop: stop.drop_guard() }
    }

    async fn local(&self) -> Client {
        client::client(client::local(self.folder.path()).await)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_begun_and_joined_by_calls_alone() {
    let (first, second) = (Served::new("alpha").await, Served::new("beta").await);
    let (mut alpha, mut beta) = (first.local().await, second.local().await);

    let request = v1::BootstrapRequest { shards: 2, ..v1::BootstrapRequest::default() };
    let made = alpha.bootstrap(request).await.expect("it waits").into_inner();
    assert!(made.operator_key_pem.contains("PRIVATE KEY"));
    let named =
        v1::CreateJoinTokenRequest { node_name: "beta".to_owned(), comment: "rack 2".to_owned(), ..Default::default() };
    let token = alpha.create_join_token(named).await.expect("it is local").into_inner().token;
    let joined = beta.join_cluster(v1::JoinClusterRequest { token: token.clone() }).await.expect("it is taken in");
    assert_eq!((joined.get_ref().cluster_id.as_str(), joined.get_ref().node), (made.cluster_id.as_str(), 2));

    let status = beta.get_status(v1::GetStatusRequest { linearizable: true }).await.expect("there is a quorum");
    let nodes: Vec<_> = status.get_ref().nodes.iter().map(|node| (node.id, node.name.clone(), node.state())).collect();
    let active = v1::NodeState::Active;
    assert_eq!(nodes, [(1, "alpha".to_owned(), active), (2, "beta".to_owned(), active)]);
    assert!(status.get_ref().nodes.iter().all(|node| node.certificate_expires.is_some()));

    let third = Served::new("gamma").await;
    let used = third.local().await.join_cluster(v1::JoinClusterRequest { token }).await.expect_err("it was used");
    assert_eq!(used.code(), Code::FailedPrecondition, "{used}");
    assert!(used.get_details_error_info().is_some_and(|info| info.reason == "REFUSED"), "{used}");
}
