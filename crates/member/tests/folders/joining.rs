//! How folders become members: by an operator's word, once, and not by themselves.

use std::time::Duration;

use prost::Message as _;
use quorate_catalog::proto::command::Kind as Command;
use quorate_catalog::{NodeState, proto};
use quorate_member::{AdmitError, BootstrapError, BootstrapSettings, JoinError, OpenError, RotationStep, TokenTerms};
use quorate_membership::authority::AuthorityPem;
use quorate_membership::identity::{PeerIdentity, Role, peer_identity};
use quorate_membership::join::{Applicant, JoinRefusal, Joiner};
use quorate_membership::token::JoinToken;
use quorate_membership::trust::{Bundle, Side};
use quorate_types::{NodeId, ResourceName};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};

use crate::world::{Place, is_active, now, sees, token, until};

const ONE: BootstrapSettings = BootstrapSettings { name: None, shards: 2, replicas: 3, authority: None };

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_folder_waits_and_stays_what_it_is_until_it_is_told() {
    let place = Place::new("node-1");

    for _ in 0..2 {
        let waiting = place.waiting().await;
        assert!(waiting.member().borrow().is_none());
        let names: Vec<_> = std::fs::read_dir(place.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(names, ["lock"], "nothing is made");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_opened_by_one_process_at_a_time() {
    let place = Place::new("node-1");
    let _waiting = place.waiting().await;

    let second = quorate_member::open(place.settings.clone(), quorate_member::nothing()).await;
    assert!(matches!(second, Err(OpenError::Locked { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_bootstrapped_once_and_its_first_operator_is_an_admin() {
    let place = Place::new("node-1");
    let waiting = place.waiting().await;
    let few = waiting.bootstrap(BootstrapSettings { shards: 0, ..ONE }).await;
    assert!(matches!(few, Err(BootstrapError::Settings(error)) if error.field == "shards"));

    let (member, operator) = waiting.bootstrap(ONE).await.expect("it is made");
    let operator = operator.expect("the cluster signs certificates");

    sees(&member, "active node", |catalog| is_active(catalog, 1)).await;
    let catalog = member.control().catalog();
    assert_eq!(catalog.cluster().map(|cluster| (cluster.id, cluster.groups)), Some((member.identity().cluster, 2)));
    assert_eq!(member.identity().node, NodeId(1));
    let chain: Vec<_> = pem_certificates(&operator.certificate);
    let name = ResourceName::new("admin").unwrap();
    let expected = PeerIdentity::Operator { cluster: member.identity().cluster, name, role: Role::Admin };
    assert_eq!(peer_identity(&chain[0]), Ok(expected));
    assert!(waiting.member().borrow().is_some());
    assert!(matches!(waiting.bootstrap(ONE).await, Err(BootstrapError::Member)));
    assert!(matches!(waiting.join(token(&member).await).await, Err(JoinError::Member)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_enterprise_signed_signs_for_all_nodes_and_operators_also_after_a_restart() {
    let (root, given) = enterprise();
    let places = ["one", "two"].map(Place::new);
    let asked = BootstrapSettings { authority: Some(given), ..ONE };
    let (member, operator) = places[0].waiting().await.bootstrap(asked).await.expect("it is made");
    let (operator, cluster) = (operator.expect("the cluster signs certificates"), member.identity().cluster);
    let above = Bundle::new([root]).unwrap();
    assert!(above.verify(cluster, &pem_certificates(&operator.certificate), Side::Client, now()).is_ok());
    member.shutdown().await;

    let first = places[0].member().await;
    let second = places[1].join(token(&first).await).await;

    for member in [&first, &second] {
        assert!(above.verify(cluster, &member.credentials().chain(), Side::Server, now()).is_ok());
    }
    sees(&second, "two active nodes", |catalog| (1..=2).all(|node| is_active(catalog, node))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_cannot_sign_makes_no_cluster_and_the_folder_waits_on() {
    let place = Place::new("node-1");
    let waiting = place.waiting().await;
    let ((_, given), (_, other)) = (enterprise(), enterprise());
    let mixed = AuthorityPem { key: other.key, ..given.clone() };

    let refused = waiting.bootstrap(BootstrapSettings { authority: Some(mixed), ..ONE }).await.map(drop).unwrap_err();

    assert!(refused.to_string().contains("does not belong to the first certificate"), "{refused}");
    assert_eq!(refused.code(), quorate_types::Code::InvalidArgument);
    // The catalog would not take it, behind the point from which on the folder is a node's.
    let (_, large) = enterprise_of(&"x".repeat(4_096));
    let refused = waiting.bootstrap(BootstrapSettings { authority: Some(large), ..ONE }).await.map(drop).unwrap_err();
    assert!(refused.to_string().contains("a cluster keeps at most 4096"), "{refused}");
    assert!(waiting.bootstrap(BootstrapSettings { authority: Some(given), ..ONE }).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_enterprise_signs_next_takes_the_place_of_the_first_also_when_it_was_cancelled_before() {
    let ((_, first), (root, next)) = (enterprise(), enterprise());
    let asked = BootstrapSettings { authority: Some(first), ..ONE };
    let place = Place::new("one");
    let (member, _) = place.waiting().await.bootstrap(asked).await.expect("it is made");
    let announce = || RotationStep::Announce(Some(next.clone()));
    for step in [announce(), RotationStep::Cancel, announce()] {
        member.rotate_authority(step).await.expect("nobody is waited for");
    }
    for step in [RotationStep::Switch, RotationStep::Retire] {
        crate::lasting::step(&member, step).await;
    }

    let (cluster, above) = (member.identity().cluster, Bundle::new([root]).unwrap());
    assert!(above.verify(cluster, &member.credentials().chain(), Side::Server, now()).is_ok());
    let same = member.rotate_authority(announce()).await.unwrap_err().to_string();
    assert!(same.contains("signs already"), "{same}");
}

/// The root of an enterprise, and what it signed for a cluster.
fn enterprise() -> (rustls::pki_types::CertificateDer<'static>, AuthorityPem) {
    enterprise_of("Example Quorate")
}

fn enterprise_of(name: &str) -> (rustls::pki_types::CertificateDer<'static>, AuthorityPem) {
    let authority = |name: &str, below| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params
    };
    let root = CertifiedIssuer::self_signed(authority("Example Root", 1), KeyPair::generate().expect("it can be made"))
        .expect("it can be made");
    let key = KeyPair::generate().expect("it can be made");
    let chain = authority(name, 0).signed_by(&key, &root).expect("it can be made").pem();
    (root.der().clone(), AuthorityPem { chain, key: key.serialize_pem().into() })
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_join_by_tokens_and_have_what_the_cluster_has() {
    let places = ["one", "two", "three"].map(Place::new);
    let (first, _) = places[0].bootstrap(3).await;
    let second = places[1].join(token(&first).await).await;
    // The token names both, and any member admits.
    let third = places[2].join(token(&second).await).await;

    for (member, number) in [(&first, 1), (&second, 2), (&third, 3)] {
        assert_eq!(member.identity().node, NodeId(number));
        assert_eq!(member.root_key().expose(), first.root_key().expose());
        sees(member, "three active nodes", |catalog| (1..=3).all(|node| is_active(catalog, node))).await;
        sees(member, "three replicas of each shard", |catalog| catalog.shards().all(|shard| shard.voters.len() == 3))
            .await;
        sees(member, "certificate", |catalog| {
            catalog.node(NodeId(number)).is_some_and(|node| node.certificates.len() == 1)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_used_expired_revoked_or_forged_takes_nobody_in() {
    let places = ["one", "two", "three"].map(Place::new);
    let (first, _) = places[0].bootstrap(1).await;
    let used = token(&first).await;
    let _second = places[1].join(used.clone()).await;
    let revoked = token(&first).await;
    let revoke = Command::RevokeToken(proto::RevokeToken { token: revoked.id().0.to_vec().into() });
    first.control().command(revoke).await.expect("it is there");
    let forged = JoinToken::draw(used.pins().iter().copied(), used.addresses().to_vec()).expect("it is one");
    let terms = TokenTerms {
        valid_for: Duration::from_secs(600),
        name: Some(ResourceName::new("another").unwrap()),
        rack: None,
        created_by: "a test".to_owned(),
    };
    let others = first.issue_token(terms.clone()).await.expect("it is issued").token;
    let short = TokenTerms { valid_for: Duration::from_secs(1), ..terms };
    assert!(first.issue_token(short).await.is_err());

    let expired = JoinToken::draw(used.pins().iter().copied(), used.addresses().to_vec()).expect("it is one");
    let issue = proto::IssueToken {
        token: expired.id().0.to_vec().into(),
        secret_hash: expired.secret_hash().to_vec().into(),
        expires_at: now().as_millis() + 500,
        ..proto::IssueToken::default()
    };
    first.control().command(Command::IssueToken(issue)).await.expect("it has not ended yet");
    let ends = now() + Duration::from_millis(500);
    until("end of the token", || now() > ends).await;

    let third = places[2].waiting().await;
    let cases = [
        (used, "used by node 2"),
        (expired, "expired at"),
        (revoked, "revoked"),
        (forged, "not known to this cluster"),
        (others, "another"),
    ];
    for (token, expected) in cases {
        let refused = third.join(token).await;
        assert!(
            matches!(&refused, Err(JoinError::Refused { reason }) if reason.contains(expected)),
            "{expected}: {:?}",
            refused.map(|_| "taken in")
        );
    }
    assert_eq!(first.control().catalog().nodes().count(), 2, "nobody was added");
    drop(third);
    drop(places[2].waiting().await);
}

/// The tokens of a request that a quorum would refuse are told apart without one, so that strangers cost no consensus.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_knows_of_a_token_it_tells_without_a_quorum() {
    let places = ["one", "two", "three"].map(Place::new);
    let (first, _) = places[0].bootstrap(1).await;
    let used = token(&first).await;
    let second = places[1].join(used.clone()).await;
    let third = places[2].join(token(&first).await).await;
    let (revoked, good) = (token(&first).await, token(&first).await);
    let revoke = Command::RevokeToken(proto::RevokeToken { token: revoked.id().0.to_vec().into() });
    first.control().command(revoke).await.expect("it is there");
    let unknown = JoinToken::draw(used.pins().iter().copied(), used.addresses().to_vec()).expect("it is one");
    let applicant = Applicant {
        name: ResourceName::new("four").unwrap(),
        peer: "127.0.0.1:9".parse().unwrap(),
        admin: "127.0.0.1:9".parse().unwrap(),
        rack: None,
        features: 1..=1,
    };
    let asked = |token: &JoinToken| Joiner::begin(token.clone(), &applicant, None).expect("it is small").1;
    let refused = |request: quorate_proto::membership::v1::JoinRequest| {
        let first = &first;
        async move { first.admit(&request.encode_to_vec()).await.expect_err("it cannot be taken in") }
    };

    // With a quorum: what no token of the cluster is costs none, and is not known.
    assert!(matches!(refused(asked(&unknown)).await, AdmitError::Join(JoinRefusal::Unknown)));
    until("three voters", || first.control().meta().members().voters.len() == 3).await;
    drop((second, third));
    let is_alone = || {
        let role = first.control().meta().role().borrow().clone();
        role.serves().is_none() && (role.leads() || role.leader().is_none())
    };
    until("loss of the quorum", is_alone).await;

    let mut forged = asked(&good);
    forged.proof = vec![0; forged.proof.len()].into();
    assert!(matches!(refused(forged).await, AdmitError::Join(JoinRefusal::Unknown)), "the proof is not the token's");
    assert!(matches!(refused(asked(&used)).await, AdmitError::Join(JoinRefusal::Used { by: NodeId(2) })));
    let told = refused(asked(&revoked)).await.to_string();
    assert!(told.contains("a revoked token"), "{told}");
    // What may be good, and what this copy cannot know, is for a quorum.
    for token in [&good, &unknown] {
        assert!(matches!(refused(asked(token)).await, AdmitError::Read(_)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_cluster_is_refused_by_who_answers_at_its_address() {
    let places = ["one", "two", "three"].map(Place::new);
    let (first, _) = places[0].bootstrap(1).await;
    let (other, _) = places[1].bootstrap(1).await;
    let pins = token(&other).await.pins().to_vec();
    let crossed = JoinToken::draw(pins, token(&first).await.addresses()[..1].to_vec()).expect("it is one");

    let refused = places[2].waiting().await.join(crossed).await;

    assert!(matches!(refused, Err(JoinError::Unreachable { .. })), "who answers is not what the token pins");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_with_a_root_key_of_its_own_bootstraps_with_it_and_joins_nobody() {
    let places = ["one", "two"].map(Place::new);
    let key = quorate_membership::root::RootKey::new([5; 32]);
    for place in &places {
        key.keep(place.path()).unwrap();
    }

    let (first, _) = places[0].bootstrap(1).await;
    assert_eq!(first.root_key().expose(), key.expose());
    let ticket = token(&first).await;
    let refused = places[1].waiting().await.join(ticket.clone()).await;
    assert!(matches!(refused, Err(JoinError::RootKey)));
    std::fs::remove_file(places[1].path().join("root.key")).unwrap();
    let second = places[1].join(ticket).await;
    assert_eq!(second.identity().node, NodeId(2), "the token was not used");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_again_with_the_same_request_gets_the_same_place() {
    let place = Place::new("one");
    let (first, _) = place.bootstrap(1).await;
    let applicant = Applicant {
        name: ResourceName::new("two").unwrap(),
        peer: "127.0.0.1:9".parse().unwrap(),
        admin: "127.0.0.1:9".parse().unwrap(),
        rack: None,
        features: 1..=1,
    };
    let (joiner, request) = Joiner::begin(token(&first).await, &applicant, None).expect("it is small");
    let request = request.encode_to_vec();

    let lost = first.admit(&request).await.expect("it is taken in");
    let again = first.admit(&request).await.expect("it is answered again");

    assert_ne!(lost, again, "each answer is sealed anew");
    let response = quorate_proto::membership::v1::JoinResponse::decode(again.as_slice()).unwrap();
    assert_eq!(joiner.finish(&response, now()).unwrap().grant.node, NodeId(2));
    let nodes: Vec<_> = first.control().catalog().nodes().map(|node| (node.id.0, node.state)).collect();
    assert_eq!(nodes, [(1, NodeState::Active), (2, NodeState::Joining)]);
}

fn pem_certificates(text: &str) -> Vec<rustls::pki_types::CertificateDer<'static>> {
    use rustls::pki_types::pem::PemObject;
    rustls::pki_types::CertificateDer::pem_slice_iter(text.as_bytes()).map(Result::unwrap).collect()
}
