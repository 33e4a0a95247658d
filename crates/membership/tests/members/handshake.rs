//! Handshakes between members, and what is refused in them.
//!
//! Each refusal is looked at where it happens, with the reason that an operator finds in the log.

use quorate_membership::authority::{Authority, MemberKey, OPERATOR_LIFETIME_MIN};
use quorate_membership::handshake::{Accept, Credentials, Files, InvalidCredentials, Trust, client, server};
use quorate_membership::identity::{PeerIdentity, Role};
use quorate_membership::pem::of_certificates;
use quorate_membership::rotation::{Phase, Report, Rotation, Step};
use quorate_membership::trust::{Bundle, Refusal, Side};
use quorate_tls::{NodeHandshakeError, NodeTls};
use quorate_types::{ClusterId, NodeId, ResourceName};
use rustls::AlertDescription;
use tokio_rustls::TlsAcceptor;

use crate::world::{CLUSTER, DAY, ago, bundle, certified, mint, now, shake};

fn node(number: u64) -> PeerIdentity {
    PeerIdentity::Node { cluster: CLUSTER, node: NodeId(number) }
}

fn operator(authority: &Authority, role: Role) -> Credentials {
    let (key, name) = (MemberKey::draw(), ResourceName::new("ana").unwrap());
    let issued = authority.issue_operator(name, role, OPERATOR_LIFETIME_MIN, &key.public(), now()).unwrap();
    Credentials::new(issued.chain, &key).unwrap()
}

#[tokio::test]
async fn two_nodes_of_a_cluster_take_each_other() {
    let authority = mint();
    let trust = Trust::new(CLUSTER, bundle(&[&authority]));
    let (one, two) = (certified(&authority, 1, now()), certified(&authority, 2, now()));

    for accept in [Accept::Nodes, Accept::Members, Accept::Anyone] {
        let outcome = shake(client(&one, &trust, Some(NodeId(2))), server(&two, &trust, accept)).await;
        assert_eq!(outcome.taken(), Some(node(1)));
    }
    let outcome = shake(client(&two, &trust, None), server(&one, &trust, Accept::Nodes)).await;
    assert_eq!(outcome.taken(), Some(node(2)));
}

#[tokio::test]
async fn a_connection_of_exchanges_is_known_as_one_and_refused_by_who_knows_none() {
    let authority = mint();
    let trust = Trust::new(CLUSTER, bundle(&[&authority]));
    let (one, two) = (certified(&authority, 1, now()), certified(&authority, 2, now()));
    let tls = |of: &Credentials| {
        NodeTls::of_configs(server(of, &trust, Accept::Nodes), client(of, &trust, None), vec![node(1).to_string()])
    };
    let (here, there) = (tls(&one), tls(&two));

    let (near, far) = tokio::io::duplex(1 << 16);
    let (dialed, accepted) = tokio::join!(here.connect_exchanges(near), there.accept(far));
    assert!(dialed.unwrap().is_exchanges && accepted.unwrap().is_exchanges);
    let (near, far) = tokio::io::duplex(1 << 16);
    let (dialed, accepted) = tokio::join!(here.connect(near), there.accept(far));
    assert!(!dialed.unwrap().is_exchanges && !accepted.unwrap().is_exchanges);

    let older = TlsAcceptor::from(server(&two, &trust, Accept::Nodes));
    let (near, far) = tokio::io::duplex(1 << 16);
    let (dialed, _) = tokio::join!(here.connect_exchanges(near), older.accept(far));
    let alert = AlertDescription::NoApplicationProtocol;
    assert!(matches!(dialed, Err(NodeHandshakeError::Alert(told)) if told == alert));
}

#[tokio::test]
async fn a_certificate_of_another_cluster_is_refused_on_both_sides() {
    let (ours, other) = (mint(), ClusterId([8; 16]));
    let theirs = Authority::mint(other, now()).unwrap();
    // Also where somebody was led to trust the other cluster's authority.
    let trust = Trust::new(CLUSTER, bundle(&[&ours, &theirs]));
    let all = Trust::new(other, bundle(&[&ours, &theirs]));
    let (one, stranger) = (certified(&ours, 1, now()), certified(&theirs, 1, now()));

    let refusal = shake(client(&stranger, &all, None), server(&one, &trust, Accept::Nodes)).await;
    // The stranger is content with nothing of ours either: who speaks first refuses.
    assert!(matches!(refusal.refused_by_client(), Refusal::OtherCluster { .. }));
    let verified = trust.verify(&stranger.chain(), Side::Client, now());
    assert!(matches!(verified, Err(Refusal::OtherCluster { expected: CLUSTER, .. })), "{verified:?}");
    let refusal = shake(client(&one, &trust, None), server(&stranger, &all, Accept::Nodes)).await;
    assert!(matches!(refusal.refused_by_client(), Refusal::OtherCluster { expected: CLUSTER, .. }));
    // A client that takes whatever answers is refused by the server.
    let careless = Trust::new(CLUSTER, bundle(&[&ours]));
    let refusal = shake(client(&stranger, &careless, None), server(&one, &trust, Accept::Anyone)).await;
    assert!(matches!(refusal.refused_by_server(), Refusal::OtherCluster { expected: CLUSTER, .. }));
}

#[tokio::test]
async fn an_authority_that_is_not_trusted_vouches_for_nobody() {
    let (ours, forged) = (mint(), mint());
    let trust = Trust::new(CLUSTER, bundle(&[&ours]));
    let both = Trust::new(CLUSTER, bundle(&[&ours, &forged]));
    let (one, two) = (certified(&ours, 1, now()), certified(&forged, 2, now()));

    let refusal = shake(client(&two, &both, None), server(&one, &trust, Accept::Nodes)).await.refused_by_server();
    assert!(matches!(refusal, Refusal::Untrusted { reason: webpki::Error::UnknownIssuer, .. }), "{refusal}");
    let refusal = shake(client(&one, &trust, None), server(&two, &both, Accept::Nodes)).await.refused_by_client();
    assert!(matches!(refusal, Refusal::Untrusted { .. }), "{refusal}");
}

#[tokio::test]
async fn a_certificate_that_ended_or_has_not_begun_is_refused() {
    let authority = Authority::mint(CLUSTER, ago(DAY * 200)).unwrap();
    let trust = Trust::new(CLUSTER, bundle(&[&authority]));
    let one = certified(&authority, 1, now());
    let cases = [(ago(DAY * 91), "expired"), (now() + DAY, "not yet")];
    for (at, case) in cases {
        let two = certified(&authority, 2, at);
        let refusal = shake(client(&two, &trust, None), server(&one, &trust, Accept::Nodes)).await.refused_by_server();
        let is_expected = match &refusal {
            Refusal::Untrusted { reason: webpki::Error::CertExpired { .. }, .. } => case == "expired",
            Refusal::Untrusted { reason: webpki::Error::CertNotValidYet { .. }, .. } => case == "not yet",
            _ => false,
        };
        assert!(is_expected, "{case}: {refusal}");
        let refusal = shake(client(&one, &trust, None), server(&two, &trust, Accept::Nodes)).await.refused_by_client();
        assert!(matches!(refusal, Refusal::Untrusted { .. }), "{case}: {refusal}");
    }
}

#[tokio::test]
async fn another_node_than_the_one_that_was_meant_is_refused() {
    let authority = mint();
    let trust = Trust::new(CLUSTER, bundle(&[&authority]));
    let (one, two) = (certified(&authority, 1, now()), certified(&authority, 2, now()));

    let outcome = shake(client(&one, &trust, Some(NodeId(3))), server(&two, &trust, Accept::Nodes)).await;

    let expected = Refusal::OtherNode { identity: Box::new(node(2)), expected: NodeId(3) };
    assert_eq!(outcome.refused_by_client(), expected);
}

#[tokio::test]
async fn an_operator_is_taken_where_members_are_and_is_never_a_node() {
    let authority = mint();
    let trust = Trust::new(CLUSTER, bundle(&[&authority]));
    let (one, ana) = (certified(&authority, 1, now()), operator(&authority, Role::Viewer));

    let taken = shake(client(&ana, &trust, None), server(&one, &trust, Accept::Members)).await.taken();
    let name = ResourceName::new("ana").unwrap();
    assert_eq!(taken, Some(PeerIdentity::Operator { cluster: CLUSTER, name, role: Role::Viewer }));

    let refusal = shake(client(&ana, &trust, None), server(&one, &trust, Accept::Nodes)).await.refused_by_server();
    assert!(matches!(refusal, Refusal::NoNode { .. }), "{refusal}");
    // Its certificate is for clients.
    let refusal = shake(client(&one, &trust, None), server(&ana, &trust, Accept::Nodes)).await.refused_by_client();
    assert!(matches!(refusal, Refusal::Untrusted { .. }), "{refusal}");
}

#[tokio::test]
async fn who_shows_nothing_is_taken_only_where_anyone_is() {
    let authority = mint();
    let trust = Trust::new(CLUSTER, bundle(&[&authority]));
    let one = certified(&authority, 1, now());
    let address = "127.0.0.1:1".parse().unwrap();
    let token = quorate_membership::token::JoinToken::draw([authority.id()], vec![address]).unwrap();

    assert_eq!(shake(token.client(), server(&one, &trust, Accept::Anyone)).await.taken(), None);
    for accept in [Accept::Nodes, Accept::Members] {
        let outcome = shake(token.client(), server(&one, &trust, accept)).await;
        assert!(outcome.server.is_err() && outcome.client.is_err(), "{accept:?}");
    }
}

#[tokio::test]
async fn nodes_take_each_other_in_every_phase_of_a_rotation() {
    let (old, new) = (mint(), mint());
    let of = |id| if id == old.id() { &old } else { &new };
    let trusted =
        |rotation: &Rotation| Bundle::new(rotation.trusted().into_iter().map(|id| of(id).anchor().clone())).unwrap();
    let members = [NodeId(1), NodeId(2)].into();
    let mut rotation = Rotation::new(old.id());
    let (mut certified_by, mut reports) = ([old.id(); 2], std::collections::BTreeMap::new());
    let nodes = [1, 2].map(|number| (certified(&old, number, now()), Trust::new(CLUSTER, trusted(&rotation))));

    for step in [Step::Announce(new.id()), Step::Switch, Step::Retire] {
        rotation.step(step, &members, &reports).unwrap();
        // One node after the other sees the step and renews; both are tried against each other in between.
        for (at, (credentials, trust)) in nodes.iter().enumerate() {
            let number = u64::try_from(at).unwrap() + 1;
            trust.replace(trusted(&rotation));
            if certified_by[at] != rotation.signing() {
                assert!(rotation.takes(rotation.signing()));
                let key = MemberKey::draw();
                let issued = of(rotation.signing()).issue_node(NodeId(number), &[], &key.public(), now()).unwrap();
                credentials.replace(issued.chain, &key).unwrap();
                certified_by[at] = rotation.signing();
            }
            let report = Report { revision: rotation.revision, certified_by: certified_by[at] };
            reports.insert(NodeId(number), report);
            for ((one, trust), (two, other)) in
                [(&nodes[0], &nodes[1]), (&nodes[1], &nodes[0])].map(|(a, b)| ((&a.0, &a.1), (&b.0, &b.1)))
            {
                assert!(shake(client(one, trust, None), server(two, other, Accept::Nodes)).await.taken().is_some());
            }
        }
    }

    assert_eq!(rotation.phase, Phase::Steady { signing: new.id() });
    let late = certified(&old, 3, now());
    let both = Trust::new(CLUSTER, bundle(&[&old, &new]));
    let refusal = shake(client(&late, &both, None), server(&nodes[0].0, &nodes[0].1, Accept::Nodes)).await;
    assert!(matches!(refusal.refused_by_server(), Refusal::Untrusted { .. }));
    // A connection that stays is asked again.
    assert!(both.verify(&late.chain(), Side::Client, now()).is_ok());
    both.replace(bundle(&[&new]));
    assert!(both.verify(&late.chain(), Side::Client, now()).is_err());
}

#[test]
fn a_key_that_is_not_the_certificates_is_refused() {
    let authority = mint();
    let credentials = certified(&authority, 1, now());
    let other = MemberKey::draw();

    assert_eq!(credentials.replace(credentials.chain(), &other), Err(InvalidCredentials::Mismatch));
    assert_eq!(Credentials::new(vec![], &other).map(drop), Err(InvalidCredentials::Certificate));
    assert_eq!(Credentials::new(vec![b"none".to_vec().into()], &other).map(drop), Err(InvalidCredentials::Certificate));
}

#[tokio::test]
async fn a_cluster_without_an_authority_takes_certificates_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    // Somebody else's authority, with keys of its own kind.
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    let root = rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap();
    std::fs::write(path("ca.pem"), root.pem()).unwrap();
    let trust = Trust::new(CLUSTER, Bundle::of_file(&path("ca.pem")).unwrap());
    for number in [1, 2] {
        let mut params = rcgen::CertificateParams::default();
        let uri = node(number).to_string().as_str().try_into().unwrap();
        params.subject_alt_names = vec![rcgen::SanType::URI(uri)];
        params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let certificate = params.signed_by(&key, &root).unwrap();
        std::fs::write(path(&format!("{number}.pem")), certificate.pem()).unwrap();
        std::fs::write(path(&format!("{number}.key")), key.serialize_pem()).unwrap();
    }
    let files = |chain: &str, key: &str, authorities: &str| Files {
        certificate: path(chain),
        key: path(key),
        authorities: path(authorities),
    };
    let load = |chain: &str, key: &str| files(chain, key, "ca.pem").read(now()).map(|loaded| loaded.credentials);

    let (one, two) = (load("1.pem", "1.key").unwrap(), load("2.pem", "2.key").unwrap());
    let taken = shake(client(&one, &trust, Some(NodeId(2))), server(&two, &trust, Accept::Nodes)).await.taken();
    assert_eq!(taken, Some(node(1)));
    one.adopt(&two);
    assert_eq!(one.chain(), two.chain());

    let cases = [
        (load("3.pem", "1.key"), "3.pem cannot be read"),
        (load("1.key", "1.key"), "1.key has no certificate"),
        (load("1.pem", "1.pem"), "1.pem has no unencrypted private key"),
        (load("1.pem", "2.key"), "does not belong to the certificate"),
        (load("ca.pem", "1.key"), "ca.pem: the certificate is not for handshakes: it is an authority's"),
    ];
    for (loaded, expected) in cases {
        let error = loaded.unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    assert!(Bundle::of_file(&path("1.pem")).unwrap_err().to_string().contains("lack"));
    let other = of_certificates([mint().anchor()]);
    std::fs::write(path("other.pem"), other).unwrap();
    let refused = files("1.pem", "1.key", "other.pem").read(now()).map(drop).unwrap_err();
    assert!(refused.to_string().starts_with("peers would refuse the certificate"), "{refused}");
}

#[test]
fn an_operator_shows_files_of_its_own_and_never_a_nodes() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let authority = mint();
    let trust = Trust::new(CLUSTER, bundle(&[&authority]));
    let (key, name) = (MemberKey::draw(), ResourceName::new("ana").unwrap());
    let ana =
        authority.issue_operator(name.clone(), Role::Viewer, OPERATOR_LIFETIME_MIN, &key.public(), now()).unwrap();
    let one = authority.issue_node(NodeId(1), &[], &key.public(), now()).unwrap();
    std::fs::write(path("ana.pem"), of_certificates(&ana.chain)).unwrap();
    std::fs::write(path("1.pem"), of_certificates(&one.chain)).unwrap();
    std::fs::write(path("key.pem"), key.to_pem().as_str()).unwrap();
    let load =
        |trust: &Trust, chain: &str| Credentials::of_operator_files(trust, &path(chain), &path("key.pem"), now());

    let (_, shown) = load(&trust, "ana.pem").unwrap();
    assert_eq!(shown, PeerIdentity::Operator { cluster: CLUSTER, name, role: Role::Viewer });
    let node = load(&trust, "1.pem").unwrap_err().to_string();
    assert!(node.contains("node/1 is no operator"), "{node}");
    let other = Trust::new(CLUSTER, bundle(&[&mint()]));
    assert!(load(&other, "ana.pem").unwrap_err().to_string().contains("not trusted"));
}
