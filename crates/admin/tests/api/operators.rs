//! Clusters that begin, tokens, and certificates of operators.

use std::sync::Arc;

use quorate_admin::api::Standing;
use quorate_membership::authority::{Authority, MemberKey};
use quorate_membership::handshake::{self, Credentials};
use quorate_membership::identity::Role;
use quorate_membership::identity::peer_identity;
use quorate_membership::pem;
use quorate_proto::admin::v1;
use quorate_types::NodeId;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::client;
use crate::world::{CLUSTER, Place, World, now, trust, until};

fn document(kind: &str) -> v1::Document {
    v1::Document {
        kind: kind.to_owned(),
        name: "first".to_owned(),
        json: b"{}".to_vec().into(),
        ..v1::Document::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_waits_is_bootstrapped_once_and_tells_the_first_operators_certificate() {
    let authority = Arc::new(Authority::mint(CLUSTER, now()).expect("a root is made"));
    let place = Place::waiting(&authority).await;
    let mut local = client::client(client::local(place.folder.path()).await);
    let waits = local.get_status(v1::GetStatusRequest::default()).await.expect("it waits").into_inner();
    assert_eq!((waits.mode(), waits.cluster_id.as_str()), (v1::NodeMode::Waiting, ""));

    let bad = [
        ("shards", v1::BootstrapRequest { shards: 257, ..v1::BootstrapRequest::default() }),
        ("replicas", v1::BootstrapRequest { replicas: 10, ..v1::BootstrapRequest::default() }),
        ("node_name", v1::BootstrapRequest { node_name: "No Name".to_owned(), ..v1::BootstrapRequest::default() }),
        (
            "documents.kind",
            v1::BootstrapRequest { documents: vec![document("None")], ..v1::BootstrapRequest::default() },
        ),
    ];
    for (field, request) in bad {
        let refused = local.bootstrap(request).await.expect_err(field);
        assert_eq!(refused.get_details_bad_request().expect("it names it").field_violations[0].field, field);
    }
    assert!(matches!(place.node.standing(), Standing::Waiting(_)), "it still waits");

    let documents = vec![document("Toolset")];
    let request =
        v1::BootstrapRequest { node_name: "alpha".to_owned(), shards: 2, replicas: 3, documents, authority: None };
    let made = local.bootstrap(request.clone()).await.expect("it waits").into_inner();
    assert_eq!((made.cluster_id, made.node, made.warnings), ("07".repeat(16), 1, Vec::<String>::new()));
    assert!(made.operator_certificate_pem.contains("BEGIN CERTIFICATE"));
    assert!(made.operator_key_pem.contains("PRIVATE KEY"));
    let status = local.get_status(v1::GetStatusRequest::default()).await.expect("it is a member").into_inner();
    assert_eq!((status.mode(), status.nodes[0].name.as_str()), (v1::NodeMode::Member, "alpha"));
    let member = place.node.member().expect("it is one");
    assert_eq!(member.control().catalog().documents().len(), 1);

    let twice = local.bootstrap(request).await.expect_err("it is a member");
    assert_eq!(twice.get_details_error_info().expect("it says why").reason, "BOOTSTRAPPED");
    let joins = local.join_cluster(v1::JoinClusterRequest::default()).await.expect_err("it is a member");
    assert_eq!(joins.get_details_error_info().expect("it says why").reason, "BOOTSTRAPPED");
    let records = place.records(|line| line.contains("Cluster/Bootstrap"), 6).await;
    assert!(records.iter().any(|line| line.contains("applied") && line.contains("local user")), "{records:?}");
    assert!(records.iter().all(|line| !line.contains("PRIVATE")), "{records:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_waits_joins_by_a_token_and_says_what_is_wrong_with_one() {
    let authority = Arc::new(Authority::mint(CLUSTER, now()).expect("a root is made"));
    let place = Place::waiting(&authority).await;
    let mut local = client::client(client::local(place.folder.path()).await);

    let none =
        local.join_cluster(v1::JoinClusterRequest { token: "secret-token".to_owned() }).await.expect_err("it is none");
    assert_eq!(none.code(), Code::InvalidArgument, "{none}");
    assert!(!none.message().contains("secret-token"), "{none}");
    let records = place.records(|line| line.contains("Cluster/JoinCluster"), 1).await;
    assert!(records[0].contains("refused") && !records[0].contains("secret-token"), "{records:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_made_listed_in_pages_and_revoked() {
    let world = World::bootstrapped(1).await;
    let mut admin = client::member(world.place(1), &world.authority, &world.operator(Role::Admin)).await;
    let mut made = Vec::new();
    for rack in ["a", "b", "c"] {
        let request = v1::CreateJoinTokenRequest {
            rack: rack.to_owned(),
            node_name: "beta".to_owned(),
            comment: format!("rack {rack}: new"),
            ..v1::CreateJoinTokenRequest::default()
        };
        made.push(admin.create_join_token(request).await.expect("it is an admin").into_inner());
    }
    assert!(made.iter().all(|token| token.token.starts_with("qj1_") && token.id.len() == 32));

    let page = |page_token: String| v1::ListJoinTokensRequest { page_size: 2, page_token };
    let first = admin.list_join_tokens(page(String::new())).await.expect("it is an admin").into_inner();
    let second = admin.list_join_tokens(page(first.next_page_token.clone())).await.expect("it is a page").into_inner();
    assert_eq!((first.tokens.len(), second.tokens.len(), second.next_page_token.as_str()), (2, 1, ""));
    let mut ids: Vec<_> = first.tokens.iter().chain(&second.tokens).map(|token| token.id.clone()).collect();
    assert!(ids.is_sorted());
    let mut known: Vec<_> = made.iter().map(|token| token.id.clone()).collect();
    known.sort();
    ids.sort();
    assert_eq!(ids, known);
    let listed = &first.tokens[0];
    assert_eq!((listed.created_by.as_str(), listed.node_name.as_str()), ("operator ana (admin)", "beta"));
    assert_eq!(listed.comment, format!("rack {}: new", listed.rack), "a comment is told as it was given");

    admin.revoke_join_token(v1::RevokeJoinTokenRequest { id: made[0].id.clone() }).await.expect("it can be used");
    let left = admin.list_join_tokens(v1::ListJoinTokensRequest::default()).await.expect("it is an admin").into_inner();
    assert_eq!(left.tokens.len(), 2);
    let unknown =
        admin.revoke_join_token(v1::RevokeJoinTokenRequest { id: "f".repeat(32) }).await.expect_err("there is none");
    assert_eq!(unknown.get_details_error_info().expect("it says why").reason, "TOKEN_UNKNOWN");
    let bad = [
        ("id", admin.revoke_join_token(v1::RevokeJoinTokenRequest { id: "x".to_owned() }).await.err()),
        (
            "page_size",
            admin.list_join_tokens(v1::ListJoinTokensRequest { page_size: 1_001, ..Default::default() }).await.err(),
        ),
        (
            "rack",
            admin
                .create_join_token(v1::CreateJoinTokenRequest { rack: "r".repeat(64), ..Default::default() })
                .await
                .err(),
        ),
        (
            "comment",
            admin
                .create_join_token(v1::CreateJoinTokenRequest { comment: "a\nb".to_owned(), ..Default::default() })
                .await
                .err(),
        ),
    ];
    for (field, refused) in bad {
        let refused = refused.expect(field);
        assert_eq!(refused.get_details_bad_request().expect("it names it").field_violations[0].field, field);
    }
    let records = world.place(1).records(|line| line.contains("JoinToken"), 7).await;
    assert!(records.iter().all(|line| !line.contains("qj1_")), "a token is in the records");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_gets_a_certificate_for_a_name_a_role_and_a_time() {
    let world = World::bootstrapped(1).await;
    let mut admin = client::member(world.place(1), &world.authority, &world.operator(Role::Admin)).await;
    let order = |name: &str, role: v1::Role, seconds: Option<i64>| v1::CreateOperatorRequest {
        name: name.to_owned(),
        role: role.into(),
        valid_for: seconds.map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
    };

    let made =
        admin.create_operator(order("bo", v1::Role::Viewer, Some(3600))).await.expect("it is an admin").into_inner();
    let chain: Vec<CertificateDer<'_>> =
        CertificateDer::pem_slice_iter(made.certificate_pem.as_bytes()).map(|der| der.expect("it is PEM")).collect();
    let identity = peer_identity(&chain[0]).expect("it is an operator's");
    assert_eq!(identity.to_string(), format!("quorate://{CLUSTER}/operator/bo/viewer"));
    assert!(made.key_pem.contains("PRIVATE KEY") && made.trust_bundle_pem.contains("BEGIN CERTIFICATE"));

    for (field, request) in [
        ("name", order("Bo", v1::Role::Viewer, None)),
        ("role", order("bo", v1::Role::Unspecified, None)),
        ("valid_for", order("bo", v1::Role::Viewer, Some(60))),
    ] {
        let refused = admin.create_operator(request).await.expect_err(field);
        assert_eq!(refused.get_details_bad_request().expect("it names it").field_violations[0].field, field);
    }
    let records = world.place(1).records(|line| line.contains("CreateOperator operator bo (viewer)"), 1).await;
    assert!(records.iter().all(|line| !line.contains("PRIVATE")), "{records:?}");
}

fn viewer(name: &str) -> v1::CreateOperatorRequest {
    v1::CreateOperatorRequest { name: name.to_owned(), role: v1::Role::Viewer.into(), valid_for: None }
}

fn by_name(name: &str) -> v1::RevokeOperatorRequest {
    v1::RevokeOperatorRequest { name: name.to_owned(), ..v1::RevokeOperatorRequest::default() }
}

/// What an operator shows, of what it was given.
fn shown(made: &v1::CreateOperatorResponse) -> Credentials {
    let chain = CertificateDer::pem_slice_iter(made.certificate_pem.as_bytes());
    let chain = chain.map(|der| der.expect("it is PEM")).collect();
    let key = PrivateKeyDer::from_pem_slice(made.key_pem.as_bytes()).expect("it is PEM");
    let key = MemberKey::of_pkcs8(key.secret_der()).expect("it is a key");
    Credentials::new(chain, &key).expect("they belong together")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_taken_back_is_refused_by_every_node_and_ends_what_it_has_open() {
    let mut world = World::bootstrapped(1).await;
    world.join(NodeId(2)).await;
    let mut admin = client::member(world.place(1), &world.authority, &world.operator(Role::Admin)).await;
    // One of before the feature level at which they are listed; it raises the level when it is taken back.
    let old = admin.create_operator(viewer("bo")).await.expect("it is an admin").into_inner();
    let unlisted = admin.revoke_operator(by_name("bo")).await.expect_err("it is not listed");
    assert_eq!(unlisted.code(), Code::NotFound, "{unlisted}");
    let mut opened = Vec::new();
    for id in [1, 2] {
        let sender = client::member_sender_of(world.place(id), id, &world.authority, &shown(&old)).await;
        let mut watch = client::client(sender.clone())
            .watch_status(v1::WatchStatusRequest {})
            .await
            .expect("it is a viewer")
            .into_inner();
        watch.message().await.expect("it is told").expect("it is not over");
        opened.push((sender, watch));
    }

    let by_id = v1::RevokeOperatorRequest { id: old.id.clone(), ..Default::default() };
    let revoked = admin.revoke_operator(by_id.clone()).await.expect("it is an admin").into_inner();

    assert_eq!(revoked.ids, std::slice::from_ref(&old.id));
    for (sender, _watch) in &opened {
        until("end of what it has open", || sender.is_closed()).await;
    }
    for id in [1, 2] {
        let config = handshake::client(&shown(&old), &trust(&world.authority), Some(NodeId(id)));
        let again = client::tls(world.place(id).admin, config).await;
        let served = match again {
            Ok(sender) => client::call(&sender, "/grpc.health.v1.Health/Check", true).await.is_ok(),
            Err(_cut) => false,
        };
        assert!(!served, "node {id} takes it");
        world.place(id).records(|line| line.contains("certificate_refused"), 1).await;
    }
    world.place(1).records(|line| line.contains("RevokeOperator certificate") && line.contains(&old.id), 1).await;
    admin.revoke_operator(by_id).await.expect("once more changes nothing");
    world.all("raised level", |catalog| catalog.cluster().is_some_and(|cluster| cluster.level == 2)).await;
}

/// The order of P-256.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7,
    0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// The first element of some DER: its content, and what is after it.
fn element(der: &[u8]) -> (&[u8], &[u8]) {
    let long = usize::from(der[1]).checked_sub(0x80);
    let (head, length) = match long {
        None => (2, usize::from(der[1])),
        Some(bytes) => (2 + bytes, der[2..2 + bytes].iter().fold(0, |all, byte| all << 8 | usize::from(*byte))),
    };
    der[head..].split_at(length)
}

fn of_element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let length = match u8::try_from(length) {
        Ok(length) if length < 0x80 => vec![length],
        Ok(length) => vec![0x81, length],
        Err(_) => [&[0x82][..], &u16::try_from(length).expect("it is a certificate").to_be_bytes()].concat(),
    };
    [&[tag], &length[..], content].concat()
}

/// A certificate with the other signature that is as good: (r, n - s) beside (r, s).
fn twin(certificate: &[u8]) -> Vec<u8> {
    let (whole, _) = element(certificate);
    let (_, after_signed) = element(whole);
    let (_, signature) = element(after_signed);
    let (bits, _) = element(signature);
    let (numbers, _) = element(&bits[1..]);
    let (_, second) = element(numbers);
    let (s, _) = element(second);
    let s = [&[0; 32][..], s].concat();
    let (mut other, mut borrow) = ([0; 32], 0);
    for (place, digit) in other.iter_mut().enumerate().rev() {
        let left = i16::from(ORDER[place]) - i16::from(s[s.len() - 32 + place]) - borrow;
        borrow = i16::from(left < 0);
        *digit = u8::try_from(left.rem_euclid(256)).expect("it is a digit");
    }
    // A number without a sign has a zero in front of its highest bit, and no other one.
    let digits: Vec<u8> = [0].into_iter().chain(other.into_iter().skip_while(|digit| *digit == 0)).collect();
    let digits = if digits.get(1).is_some_and(|digit| *digit < 0x80) { &digits[1..] } else { &digits[..] };
    let first = &numbers[..numbers.len() - second.len()];
    let numbers = of_element(0x30, &[first, &of_element(2, digits)].concat());
    let bits = of_element(3, &[&[0], &numbers[..]].concat());
    of_element(0x30, &[&whole[..whole.len() - signature.len()], &bits].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_taken_back_is_not_good_again_with_its_other_signature() {
    let world = World::bootstrapped(1).await;
    let mut admin = client::member(world.place(1), &world.authority, &world.operator(Role::Admin)).await;
    // The first one raises the cluster to the level at which they are listed.
    let first = v1::RevokeOperatorRequest { id: "0c".repeat(32), ..Default::default() };
    admin.revoke_operator(first).await.expect("it is an admin");
    let made = admin.create_operator(viewer("bo")).await.expect("it is an admin").into_inner();
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(made.certificate_pem.as_bytes()).map(|der| der.expect("it is PEM")).collect();
    let other = [CertificateDer::from(twin(&chain[0]))].into_iter().chain(chain[1..].iter().cloned());
    let other =
        v1::CreateOperatorResponse { certificate_pem: pem::of_certificates(&other.collect::<Vec<_>>()), ..made };
    assert_ne!(other.certificate_pem, pem::of_certificates(&chain));
    let check = "/grpc.health.v1.Health/Check";
    let before = client::member_sender(world.place(1), &world.authority, &shown(&other)).await;
    client::call(&before, check, true).await.expect("its signature is as good");

    admin.revoke_operator(by_name("bo")).await.expect("it is listed");

    until("end of what it has open", || before.is_closed()).await;
    let config = handshake::client(&shown(&other), &trust(&world.authority), Some(NodeId(1)));
    let again = client::tls(world.place(1).admin, config).await;
    let served = match again {
        Ok(sender) => client::call(&sender, check, true).await.is_ok(),
        Err(_cut) => false,
    };
    assert!(!served, "it is taken again");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_listed_and_taken_back_by_name_and_by_id() {
    let world = World::bootstrapped(1).await;
    let mut admin = client::member(world.place(1), &world.authority, &world.operator(Role::Admin)).await;
    let old = v1::RevokeOperatorRequest { id: "0c".repeat(32), ..Default::default() };
    admin.revoke_operator(old.clone()).await.expect("it is an admin");
    for name in ["bo", "bo", "cy"] {
        admin.create_operator(viewer(name)).await.expect("it is an admin");
    }
    let taken = admin.revoke_operator(by_name("bo")).await.expect("it is listed").into_inner();
    assert_eq!(taken.ids.len(), 2);
    let listed = admin.list_operators(v1::ListOperatorsRequest::default()).await.expect("it is an admin").into_inner();
    let of = |name: &str| -> Vec<_> { listed.operators.iter().filter(|one| one.name == name).collect() };
    assert_eq!((listed.operators.len(), of("").len(), of("bo").len(), of("cy").len()), (4, 1, 2, 1));
    assert!(of("bo").iter().all(|one| one.revoked_at.is_some() && one.role() == v1::Role::Viewer));
    let [cy] = of("cy")[..] else { panic!("{listed:?}") };
    assert!(cy.revoked_at.is_none() && cy.expires.is_some(), "{cy:?}");
    let begins = v1::RevokeOperatorRequest { id: cy.id[..16].to_owned(), ..Default::default() };
    let taken = admin.revoke_operator(begins).await.expect("one is listed that begins so").into_inner();
    assert_eq!(taken.ids, std::slice::from_ref(&cy.id));
    let unknown = v1::RevokeOperatorRequest { id: "0f".repeat(20), ..Default::default() };
    assert_eq!(admin.revoke_operator(unknown).await.expect_err("none begins so").code(), Code::NotFound);
    assert_eq!((cy.created_by.as_str(), cy.serial.as_str()), ("operator ana (admin)", "01"));
    for (request, field) in [
        (v1::RevokeOperatorRequest::default(), "id"),
        (v1::RevokeOperatorRequest { id: "00".to_owned(), ..Default::default() }, "id"),
        (v1::RevokeOperatorRequest { name: "bo".to_owned(), ..old }, "id"),
        (by_name("Bo"), "name"),
    ] {
        let refused = admin.revoke_operator(request).await.expect_err(field);
        assert_eq!(refused.get_details_bad_request().expect("it names it").field_violations[0].field, field);
    }
}
