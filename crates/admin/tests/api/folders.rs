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
            certificates: None,
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

/// Takes a step when the nodes are ready for it; until then it is refused with what is waited for.
async fn rotate(client: &mut Client, step: v1::RotationStep) -> v1::AuthorityStatus {
    let begun = std::time::Instant::now();
    loop {
        let request = v1::RotateAuthorityRequest { step: step.into(), authority: None };
        match client.rotate_authority(request).await {
            Ok(answer) => return answer.into_inner().authority.expect("it is told"),
            Err(early) => {
                assert_eq!(early.code(), Code::FailedPrecondition, "{early}");
                assert!(early.message().starts_with("waiting for nodes "), "{early}");
                assert!(begun.elapsed() < Duration::from_secs(60), "{early}");
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_is_replaced_by_calls_and_each_answer_says_where_that_is() {
    let (first, second) = (Served::new("alpha").await, Served::new("beta").await);
    let (mut alpha, mut beta) = (first.local().await, second.local().await);
    alpha.bootstrap(v1::BootstrapRequest { shards: 1, ..Default::default() }).await.expect("it waits");
    let token = alpha.create_join_token(v1::CreateJoinTokenRequest::default()).await.expect("it is local").into_inner();
    beta.join_cluster(v1::JoinClusterRequest { token: token.token }).await.expect("it is taken in");
    let before = alpha.get_status(v1::GetStatusRequest::default()).await.expect("it is there").into_inner();
    let old = before.authority.expect("the cluster has one of its own");
    assert_eq!((old.phase(), old.trusted.len(), old.behind.len()), (v1::RotationPhase::Steady, 1, 0));
    assert!(old.since.is_some() && old.trusted[0].signs && old.trusted[0].expires.is_some());

    let early = v1::RotateAuthorityRequest { step: v1::RotationStep::Switch.into(), authority: None };
    let early = alpha.rotate_authority(early).await.expect_err("nothing was announced");
    assert!(early.get_details_error_info().is_some_and(|info| info.reason == "ROTATION"), "{early}");
    let given = Some(v1::AuthorityPem { chain: "none".to_owned(), key: "secret".to_owned() });
    let given = v1::RotateAuthorityRequest { step: v1::RotationStep::Announce.into(), authority: given };
    let given = alpha.rotate_authority(given).await.expect_err("it is none");
    assert_eq!(given.code(), Code::InvalidArgument, "{given}");
    assert!(given.message().starts_with("authority ") && !given.message().contains("secret"), "{given}");

    let announced = rotate(&mut alpha, v1::RotationStep::Announce).await;
    assert_eq!((announced.phase(), announced.trusted.len()), (v1::RotationPhase::Announced, 2));
    assert_eq!(announced.trusted[0].id, old.trusted[0].id);
    let switched = rotate(&mut beta, v1::RotationStep::Switch).await;
    assert_eq!(
        (switched.phase(), &switched.trusted[0]),
        (v1::RotationPhase::Switched, &v1::TrustedAuthority { signs: true, ..announced.trusted[1].clone() })
    );
    let retired = rotate(&mut alpha, v1::RotationStep::Retire).await;
    assert_eq!((retired.phase(), retired.revision), (v1::RotationPhase::Steady, old.revision + 3));
    assert_eq!(retired.trusted, switched.trusted[..1]);
    let status = beta.get_status(v1::GetStatusRequest { linearizable: true }).await.expect("there is a quorum");
    assert_eq!(status.into_inner().authority.map(|told| told.trusted), Some(retired.trusted));
}
