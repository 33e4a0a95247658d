//! Who may call what: every method, for every kind of caller.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quorate_admin::api::roles::{Access, METHODS, Pace};
use quorate_catalog::proto::command::Kind as Command;
use quorate_catalog::{Digest, proto};
use quorate_membership::authority::{Authority, MemberKey};
use quorate_membership::handshake::{self, Credentials, Trust};
use quorate_membership::identity::Role;
use quorate_membership::trust::Bundle;
use quorate_policy::OperatorRole;
use quorate_proto::admin::v1;
use quorate_types::{ClusterId, NodeId};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose, SanType};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::client;
use crate::world::{CLUSTER, PANICS, Place, World, now, operator, trust, until};

/// What a role may by what stands in a certificate.
fn rank(role: Role) -> OperatorRole {
    match role {
        Role::Viewer => OperatorRole::Viewer,
        Role::Operator => OperatorRole::Operator,
        Role::Admin => OperatorRole::Admin,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_is_refused_to_a_role_that_lacks_it_and_says_which_one_it_takes() {
    let world = World::bootstrapped(2).await;
    for role in [Role::Viewer, Role::Operator, Role::Admin] {
        let sender = client::member_sender(world.place(1), &world.authority, &world.operator(role)).await;
        for method in METHODS {
            let expected = match method.access {
                Access::Anyone => None,
                Access::Local => Some("LOCAL_ONLY"),
                Access::Permitted(action) => (rank(role) < action.least()).then_some("ROLE"),
            };
            let waits = method.pace != Pace::Watch;
            let answered = client::call(&sender, method.path, waits).await;
            let refused = answered.err().filter(|status| status.code() == Code::PermissionDenied);
            let info = refused.as_ref().and_then(|status| status.get_details_error_info());
            assert_eq!(info.as_ref().map(|info| info.reason.as_str()), expected, "{role} calls {}", method.path);
            if let (Some(info), Access::Permitted(action)) = (info, method.access) {
                assert_eq!(info.metadata["role"], action.least().as_str(), "{}", method.path);
                assert_eq!(info.metadata["action"], action.as_str(), "{}", method.path);
            }
        }
    }
    let refused = |line: &str| line.contains("\"denied\"") && line.contains("operator ana (viewer)");
    let records = world.place(1).records(refused, 15).await;
    assert!(records.iter().any(|line| line.contains("admin:backup") && line.contains("Cluster/Backup")), "{records:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_certificate_only_joining_and_health_are_served() {
    let world = World::bootstrapped(1).await;
    let sender = client::nobody(world.place(1), &world.authority).await;
    for method in METHODS {
        let answered = client::call(&sender, method.path, method.pace != Pace::Watch).await;
        match method.access {
            Access::Permitted(_) => {
                let status = answered.expect_err(method.path);
                assert_eq!(status.code(), Code::Unauthenticated, "{} {status}", method.path);
            }
            Access::Local => {
                let status = answered.expect_err(method.path);
                assert_eq!(status.code(), Code::PermissionDenied, "{} {status}", method.path);
            }
            Access::Anyone if method.path.ends_with("/Join") => {
                let status = answered.expect_err("it has no token");
                assert_eq!(status.get_details_error_info().expect("it says why").reason, "TOKEN_UNKNOWN", "{status}");
            }
            Access::Anyone => assert!(answered.is_ok(), "{} {answered:?}", method.path),
        }
    }
    let mut joining = client::client(sender);
    let please = v1::JoinRequest { request: b"please".to_vec().into() };
    let answer = joining.join(please).await.expect("it is taken in").into_inner();
    assert_eq!(&answer.response[..], b"welcome");
    world.place(1).records(|line| line.contains("no_certificate"), 1).await;
    world.place(1).records(|line| line.contains("join_refused"), 1).await;
    let records = world.place(1).records(|line| line.contains("Cluster/Join 127"), 1).await;
    assert!(records[0].contains("\"applied\"") && records[0].contains("nobody"), "{records:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_strangers_ask_is_small_and_of_few_at_a_time() {
    let world = World::bootstrapped(1).await;
    let place = world.place(1);
    let join = |request: Vec<u8>| v1::JoinRequest { request: request.into() };
    let mut stranger = client::client(client::nobody(place, &world.authority).await);
    let large = stranger.join(join(vec![0; 16 << 10])).await.expect_err("it has 16 KiB and more");
    assert_eq!(large.code(), Code::OutOfRange, "{large}");
    let info = large.get_details_error_info().expect("it says why");
    assert_eq!(info.reason, "TOO_LARGE", "{large}");

    // More than ever ask: each waits for a turn, or is told to come again.
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let sender = client::nobody(place, &world.authority).await;
        for _ in 0..4 {
            let (mut stranger, wait) = (client::client(sender.clone()), join(b"wait".to_vec()));
            asking.spawn(async move { stranger.join(wait).await });
        }
    }
    for _ in 0..8 {
        let refused = asking.join_next().await.expect("they ask").expect("nobody panicked");
        let refused = refused.expect_err("16 ask already");
        let info = refused.get_details_error_info().expect("it says why");
        assert_eq!((refused.code(), info.reason.as_str()), (Code::ResourceExhausted, "JOINS"), "{refused}");
        assert!(refused.get_details_retry_info().is_some(), "{refused}");
    }
    place.member.as_ref().expect("it is a member").admits.add_permits(16);
    while let Some(answered) = asking.join_next().await {
        answered.expect("nobody panicked").expect("it had a place");
    }
    // A refusal gave its place back.
    stranger.join(join(b"please".to_vec())).await.expect("there is room again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_cluster_ends_in_the_handshake() {
    let world = World::bootstrapped(1).await;
    // Another cluster; another authority that says it is this cluster's; this authority, long ago.
    let other = Authority::mint(ClusterId([8; 16]), now()).expect("a root is made");
    let forged = Authority::mint(CLUSTER, now()).expect("a root is made");
    for (what, authority) in [("another cluster's", &other), ("a forged one", &forged)] {
        let shown = operator(authority, Role::Admin);
        let config = handshake::client(&shown, &trust(&world.authority), Some(NodeId(1)));
        let sender = match client::tls(world.place(1).admin, config).await {
            Ok(sender) => sender,
            Err(_alert) => continue,
        };
        let called = client::call(&sender, "/grpc.health.v1.Health/Check", true).await;
        assert!(called.is_err(), "{what} is taken");
    }
    world.place(1).records(|line| line.contains("certificate_refused"), 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_the_cluster_is_no_operator() {
    let world = World::bootstrapped(1).await;
    let shown = of_node(&world, 1);
    may_show(&world, 1, &shown).await;
    let sender = client::member_sender(world.place(1), &world.authority, &shown).await;

    for method in METHODS {
        let answered = client::call(&sender, method.path, method.pace != Pace::Watch).await;
        let refused = answered.err().filter(|status| status.code() == Code::PermissionDenied);
        assert_eq!(refused.is_some(), method.access != Access::Anyone, "{}", method.path);
        assert!(refused.is_none_or(|status| status.message().contains("node")), "{}", method.path);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_removed_or_shows_a_certificate_that_was_replaced_is_not_served() {
    let mut world = World::bootstrapped(1).await;
    world.join(NodeId(2)).await;
    let check = "/grpc.health.v1.Health/Check";
    // No member's, though the authority vouches for it: it is of no node, of another one, or not of now.
    let never = of_node(&world, 9);
    let (before, shown) = (of_node(&world, 2), of_node(&world, 2));
    may_show(&world, 2, &before).await;
    let early = client::member_sender(world.place(1), &world.authority, &before).await;
    client::call(&early, check, true).await.expect("it may show it");
    may_show(&world, 2, &shown).await;
    until("end of the connection with the old certificate", || early.is_closed()).await;
    for (what, refused) in [("of no node", &never), ("replaced", &before)] {
        assert!(!is_served(&world, refused).await, "{what}");
    }

    let open = client::member_sender(world.place(1), &world.authority, &shown).await;
    client::call(&open, check, true).await.expect("it is a member");
    let remove = proto::RemoveNode { node: 2, force: true };
    world.control(NodeId(1)).command(Command::RemoveNode(remove)).await.expect("it is there");

    until("end of the connection of the removed node", || open.is_closed()).await;
    assert!(!is_served(&world, &shown).await, "it is removed");
    world.place(1).records(|line| line.contains("certificate_refused"), 3).await;
}

/// A certificate that the cluster's authority gives a node.
fn of_node(world: &World, node: u64) -> Credentials {
    let key = MemberKey::draw();
    let issued = world.authority.issue_node(NodeId(node), &[], &key.public(), now()).expect("it is issued");
    Credentials::new(issued.chain, &key).expect("they belong together")
}

/// Has the catalog know what a node shows.
async fn may_show(world: &World, node: u64, shown: &Credentials) {
    let fingerprint = Digest::of(&shown.chain()[0]).0.to_vec().into();
    let certificate = proto::Certificate { serial: vec![1].into(), fingerprint, not_after: now().as_millis() + 1 };
    let set = proto::SetCertificates { node, certificates: vec![certificate] };
    world.control(NodeId(1)).command(Command::SetCertificates(set)).await.expect("it is a node");
}

/// Whether a call is answered to who shows this.
async fn is_served(world: &World, shown: &Credentials) -> bool {
    let config = handshake::client(shown, &trust(&world.authority), Some(NodeId(1)));
    match client::tls(world.place(1).admin, config).await {
        Ok(sender) => client::call(&sender, "/grpc.health.v1.Health/Check", true).await.is_ok(),
        Err(_cut) => false,
    }
}

/// An authority of an enterprise.
fn enterprise() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("it is made")).expect("it is made")
}

/// What an operator shows of it, whose certificate began an hour ago and is good for so long in all.
fn lives(root: &CertifiedIssuer<'static, KeyPair>, trusted: &Trust, life: Duration) -> Credentials {
    let folder = tempfile::tempdir().expect("there is a disk");
    let files = ["ana.pem", "ana.key"].map(|name| folder.path().join(name));
    let (mut params, key) = (CertificateParams::default(), KeyPair::generate().expect("it is made"));
    let uri = format!("quorate://{CLUSTER}/operator/ana/admin");
    params.subject_alt_names = vec![SanType::URI(uri.as_str().try_into().expect("it is a uri"))];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let seconds = Duration::from_secs(now().as_millis() / 1_000 - 3_600);
    params.not_before = rcgen::date_time_ymd(1970, 1, 1) + seconds;
    params.not_after = params.not_before + life;
    std::fs::write(&files[0], params.signed_by(&key, root).expect("it is made").pem()).expect("there is a disk");
    std::fs::write(&files[1], key.serialize_pem()).expect("there is a disk");
    let (shown, _) = Credentials::of_operator_files(trusted, &files[0], &files[1], now()).expect("it is trusted");
    shown
}

#[tokio::test(flavor = "multi_thread")]
async fn where_certificates_come_from_files_an_operators_lives_no_longer_than_it_is_remembered_when_revoked() {
    let world = World::bootstrapped(1).await;
    let (root, member) = (enterprise(), world.place(1).member.clone().expect("it is a member"));
    let both = [world.authority.anchor().clone(), root.der().clone()];
    member.trust.replace(Bundle::new(both).expect("they are authorities"));
    let day = Duration::from_secs(86_400);
    let (most, longer) = (lives(&root, &member.trust, 366 * day), lives(&root, &member.trust, 367 * day));

    assert!(is_served(&world, &longer).await, "where the cluster signs them itself nothing is asked");
    member.from_files.store(true, Ordering::Relaxed);
    assert!(is_served(&world, &most).await);
    assert!(!is_served(&world, &longer).await);
    world.place(1).records(|line| line.contains("certificate_refused"), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_without_a_row_is_not_served() {
    let world = World::bootstrapped(1).await;
    let sender = client::local(world.place(1).folder.path()).await;

    let status = client::call(&sender, "/quorate.admin.v1.Cluster/Explode", true).await.expect_err("there is none");
    assert_eq!(status.code(), Code::Unimplemented, "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_waits_tells_its_status_on_its_socket_and_nothing_else() {
    let authority = Arc::new(Authority::mint(CLUSTER, now()).expect("a root is made"));
    let place = Place::waiting(&authority).await;
    let sender = client::local(place.folder.path()).await;

    client::call(&sender, "/quorate.admin.v1.Cluster/GetStatus", true).await.expect("it waits, and says so");
    for path in METHODS.iter().map(|method| method.path).filter(|path| path.contains(".Cluster/")) {
        if path.ends_with("Status") || path.ends_with("/Bootstrap") || path.ends_with("/JoinCluster") {
            continue;
        }
        let status = client::call(&sender, path, true).await.expect_err(path);
        let info = status.get_details_error_info().expect("it says why");
        assert_eq!((status.code(), info.reason.as_str()), (Code::FailedPrecondition, "WAITING"), "{path} {status}");
    }
    // TLS has nothing to show yet: the connection ends.
    assert!(client::exchange(place.admin, &[0x16, 3, 1, 0, 1, 0]).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_alone_says_how_it_gets_a_cluster() {
    let place = Place::alone().await;
    let mut local = client::client(client::local(place.folder.path()).await);

    let status = local.get_status(v1::GetStatusRequest::default()).await.expect("it is alone");
    assert_eq!(status.get_ref().mode(), v1::NodeMode::Alone);
    let refused = local.bootstrap(v1::BootstrapRequest::default()).await.expect_err("it is alone");
    assert!(refused.message().contains("--peer-listen"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_panics_is_recorded_and_harms_no_other_one() {
    let world = World::bootstrapped(1).await;
    let mut admin = client::member(world.place(1), &world.authority, &world.operator(Role::Admin)).await;
    let order = v1::CreateJoinTokenRequest { comment: PANICS.to_owned(), ..v1::CreateJoinTokenRequest::default() };

    let status = admin.create_join_token(order).await.expect_err("the member panics");

    assert_eq!(status.get_details_error_info().expect("it says why").reason, "PANIC", "{status}");
    let records = world.place(1).records(|line| line.contains("Cluster/CreateJoinToken"), 1).await;
    assert!(records[0].contains("operator ana (admin)") && records[0].contains("\"unknown\""), "{records:?}");
    admin.create_join_token(v1::CreateJoinTokenRequest::default()).await.expect("the next one is served");
}
