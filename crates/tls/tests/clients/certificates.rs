//! One thing wrong at a time, and what is not wrong.

use quorate_tls::{Cause, HandshakeError, InvalidSpiffeId, SpiffeId};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::authority::{Authority, HOUR, Issued, Leaf, at, uri, valid};
use crate::world::{VERSIONS, World, shake};

const ID: &str = "spiffe://one.test/agent";

#[tokio::test]
async fn a_good_certificate_gives_the_identity_that_it_says() {
    let root = Authority::root("one");
    let world = World::new().trusting("one.test", &[&root]);
    let server = world.load();
    let issued = root.issue_leaf(Leaf::of(ID).serial(0xab01));

    let identity = world.meet(&server, &issued).await.unwrap();
    assert_eq!(identity.id(), &SpiffeId::parse(ID).unwrap());
    assert_eq!(identity.id().trust_domain(), "one.test");
    // A leading zero, because the number is positive.
    assert_eq!(identity.serial(), "00ab01");
    let der = CertificateDer::from_pem_slice(issued.chain.as_bytes()).unwrap();
    assert_eq!(identity.thumbprint().as_slice(), ring::digest::digest(&ring::digest::SHA256, &der).as_ref());
    assert_eq!(
        format!("{identity:?}"),
        format!("PeerIdentity {{ id: {ID}, serial: \"00ab01\", not_after: {:?}, .. }}", identity.not_after())
    );
    assert!(identity.not_after().as_millis().abs_diff(at(HOUR) * 1000) < 60_000);
    assert!(!identity.is_expired(identity.not_after()));
    assert!(identity.is_expired(identity.not_after() + std::time::Duration::from_secs(1)));
}

#[tokio::test]
async fn chains_through_intermediates_are_followed() {
    let root = Authority::root("root");
    let middle = root.below("middle", |_| {});
    let low = middle.below("low", |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    let world = World::new().trusting("one.test", &[&root]);
    let server = world.load();

    world.meet(&server, &low.issue(ID).with(&low).with(&middle)).await.unwrap();
    // In any order, and with the root, which nobody asked for.
    world.meet(&server, &low.issue(ID).with(&root).with(&middle).with(&low)).await.unwrap();
    assert_eq!(world.refusal(&server, &low.issue(ID).with(&low)).await, "unknown_issuer");
    assert_eq!(world.refusal(&server, &low.issue(ID)).await, "unknown_issuer");
    // An intermediate may be what is trusted.
    let world = World::new().trusting("one.test", &[&low]);
    world.meet(&world.load(), &low.issue(ID)).await.unwrap();
}

#[tokio::test]
async fn an_authority_vouches_for_its_own_domain_only() {
    let (one, two, stranger) = (Authority::root("one"), Authority::root("two"), Authority::root("one"));
    let world = World::new().trusting("one.test", &[&one]).trusting("two.test", &[&two]);
    let server = world.load();
    world.meet(&server, &one.issue(ID)).await.unwrap();
    world.meet(&server, &two.issue("spiffe://two.test/agent")).await.unwrap();

    assert_eq!(world.refusal(&server, &two.issue(ID)).await, "unknown_issuer");
    assert_eq!(world.refusal(&server, &two.issue(ID).with(&two)).await, "unknown_issuer");
    assert_eq!(world.refusal(&server, &one.issue("spiffe://two.test/agent")).await, "unknown_issuer");
    assert_eq!(world.refusal(&server, &one.issue("spiffe://three.test/agent")).await, "unknown_trust_domain");
    // Another key under the same name.
    assert_eq!(world.refusal(&server, &stranger.issue(ID)).await, "unknown_issuer");
    assert_eq!(world.refusal(&server, &stranger.issue(ID).with(&stranger)).await, "unknown_issuer");
}

#[tokio::test]
async fn a_leaf_has_exactly_one_uri_and_it_is_an_id() {
    let root = Authority::root("one");
    let world = World::new().trusting("one.test", &[&root]);
    let server = world.load();
    let named = |names: Vec<&str>| {
        let names = names.into_iter().map(uri).collect();
        root.issue_leaf(Leaf::of(ID).change(|params| params.subject_alt_names = names))
    };
    let dns = || rcgen::SanType::DnsName("agent.one.test".try_into().unwrap());

    assert_eq!(world.refusal(&server, &named(vec![])).await, "no_spiffe_id");
    let dns_only = root.issue_leaf(Leaf::of(ID).change(|params| params.subject_alt_names = vec![dns()]));
    assert_eq!(world.refusal(&server, &dns_only).await, "no_spiffe_id");
    let second = "spiffe://one.test/other";
    assert_eq!(world.refusal(&server, &named(vec![ID, second])).await, "several_spiffe_ids");
    assert_eq!(world.refusal(&server, &named(vec![ID, ID])).await, "several_spiffe_ids");
    assert_eq!(world.refusal(&server, &named(vec!["https://one.test/", ID])).await, "several_spiffe_ids");
    assert_eq!(world.refusal(&server, &named(vec!["https://one.test/agent"])).await, "invalid_spiffe_id");
    assert_eq!(world.refusal(&server, &named(vec!["spiffe://one.test"])).await, "invalid_spiffe_id");
    assert_eq!(world.refusal(&server, &named(vec!["spiffe://one.test/a/../b"])).await, "invalid_spiffe_id");
    let refusal = world.meet(&server, &named(vec!["spiffe://One.test/agent"])).await.unwrap_err();
    let problem = InvalidSpiffeId::TrustDomainCharacter { character: 'O' };
    assert_eq!(refusal.cause, Cause::InvalidSpiffeId { uri: "spiffe://One.test/agent".into(), problem });
    assert_eq!(refusal.claimed, None);

    let with_dns = root.issue_leaf(Leaf::of(ID).change(|params| params.subject_alt_names.push(dns())));
    world.meet(&server, &with_dns).await.unwrap();
}

#[tokio::test]
async fn a_certificate_is_good_in_its_time_only() {
    let root = Authority::root("one");
    let world = World::new().trusting("one.test", &[&root]);
    let server = world.load();
    let issue = |from, to| root.issue_leaf(Leaf::of(ID).valid(from, to));

    let refusal = world.meet(&server, &issue(-3 * HOUR, -2 * HOUR)).await.unwrap_err();
    assert_eq!((refusal.reason(), refusal.claimed), ("expired", SpiffeId::parse(ID).ok()));
    let Cause::Expired { since } = refusal.cause else { panic!("{:?}", refusal.cause) };
    assert!(since.as_secs().abs_diff(7200) < 60, "{since:?}");
    assert_eq!(world.refusal(&server, &issue(600, HOUR)).await, "not_yet_valid");
    assert_eq!(world.refusal(&server, &issue(HOUR, -HOUR)).await, "malformed");

    let old = root.below("old", |params| valid(params, -2 * HOUR, -HOUR));
    assert_eq!(world.refusal(&server, &old.issue(ID).with(&old)).await, "expired");
    for (from, to, reason) in [(-2 * HOUR, -HOUR, "expired"), (600, HOUR, "not_yet_valid")] {
        let root = Authority::root_with("one", |params| valid(params, from, to));
        let world = World::new().trusting("one.test", &[&root]);
        assert_eq!(world.refusal(&world.load(), &root.issue(ID)).await, reason);
    }
}

#[tokio::test]
async fn a_certificate_for_another_use_is_refused() {
    use KeyUsagePurpose as Use;

    let root = Authority::root("one");
    let world = World::new().trusting("one.test", &[&root]);
    let server = world.load();
    let bad_leaves: [fn(&mut CertificateParams); 7] = [
        |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
        |params| params.key_usages = vec![],
        |params| params.key_usages = vec![Use::KeyEncipherment],
        |params| params.key_usages = vec![Use::DigitalSignature, Use::KeyCertSign],
        |params| params.key_usages = vec![Use::DigitalSignature, Use::CrlSign],
        |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
        |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning],
    ];
    for (number, change) in bad_leaves.into_iter().enumerate() {
        let refusal = world.meet(&server, &root.issue_leaf(Leaf::of(ID).change(change))).await.unwrap_err();
        assert_eq!(refusal.reason(), "bad_usage", "leaf {number}: {refusal}");
        assert_eq!(refusal.claimed, SpiffeId::parse(ID).ok(), "leaf {number}");
    }
    let good_leaves: [fn(&mut CertificateParams); 3] = [
        |params| params.is_ca = IsCa::ExplicitNoCa,
        |params| params.extended_key_usages = vec![],
        |params| params.key_usages = vec![Use::DigitalSignature, Use::DecipherOnly],
    ];
    for (number, change) in good_leaves.into_iter().enumerate() {
        let met = world.meet(&server, &root.issue_leaf(Leaf::of(ID).change(change))).await;
        assert!(met.is_ok(), "leaf {number}: {met:?}");
    }

    // A leaf that signs others, as whatever it calls itself.
    let leaf = root.below("leaf", |params| params.is_ca = IsCa::NoCa);
    assert_eq!(world.refusal(&server, &leaf.issue(ID).with(&leaf)).await, "bad_usage");
    for usages in [vec![], vec![Use::DigitalSignature], vec![Use::CrlSign]] {
        let authority = root.below("no signer", |params| params.key_usages = usages.clone());
        assert_eq!(world.refusal(&server, &authority.issue(ID).with(&authority)).await, "bad_usage", "{usages:?}");
    }
    let servers =
        root.below("servers", |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    assert_eq!(world.refusal(&server, &servers.issue(ID).with(&servers)).await, "bad_usage");
}

#[tokio::test]
async fn chains_that_are_too_long_or_longer_than_an_authority_allows_are_refused() {
    let root = Authority::root("one");
    let world = World::new().trusting("one.test", &[&root]);
    let server = world.load();
    let short = root.below("short", |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    let below = short.below("below", |_| {});
    assert_eq!(world.refusal(&server, &below.issue(ID).with(&below).with(&short)).await, "bad_chain");

    let many = (0..7).fold(root.issue(ID), |issued, _| issued.with(&short));
    let refusal = world.meet(&server, &many).await.unwrap_err();
    assert_eq!(refusal.cause, Cause::ChainTooLong { count: 7 });
}

#[tokio::test]
async fn names_in_another_encoding_are_counted_and_never_skipped() {
    const URI: u8 = 0x86;
    let root = Authority::root("one");
    let world = World::new().trusting("one.test", &[&root]);
    let server = world.load();
    // The content of the extension by hand: each name is a tag, a length and its bytes.
    let issue = |names: &[(u8, &[u8])]| {
        let names: Vec<u8> =
            names.iter().flat_map(|(tag, name)| [&[*tag, u8::try_from(name.len()).unwrap()], *name].concat()).collect();
        let content = [&[0x30, u8::try_from(names.len()).unwrap()], names.as_slice()].concat();
        let extension = rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 17], content);
        root.issue_leaf(Leaf::of(ID).change(|params| {
            params.subject_alt_names.clear();
            params.custom_extensions.push(extension);
        }))
    };
    world.meet(&server, &issue(&[(URI, ID.as_bytes())])).await.unwrap();
    // rustls-webpki shows neither of these second names.
    assert_eq!(world.refusal(&server, &issue(&[(URI, ID.as_bytes()), (URI, b"\xff")])).await, "several_spiffe_ids");
    assert_eq!(world.refusal(&server, &issue(&[(URI, ID.as_bytes()), (URI, b"")])).await, "several_spiffe_ids");
    assert_eq!(world.refusal(&server, &issue(&[(URI, ID.as_bytes()), (0xa6, b"")])).await, "malformed");
    assert_eq!(world.refusal(&server, &issue(&[(URI, ID.as_bytes()), (0x89, b"")])).await, "malformed");
    for hidden in [&b"spiffe://one.test/agent\0"[..], b"spiffe://one.test\0.evil/agent", b"spiffe://one.test/\xc3\x28"]
    {
        assert_eq!(world.refusal(&server, &issue(&[(URI, hidden)])).await, "invalid_spiffe_id", "{hidden:?}");
    }

    let second = rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 17], vec![0x30, 0]);
    let twice = root.issue_leaf(Leaf::of(ID).change(|params| params.custom_extensions.push(second)));
    assert_eq!(world.refusal(&server, &twice).await, "malformed");
}

#[tokio::test]
async fn a_chain_that_is_made_to_be_tried_in_every_order_is_refused_in_time() {
    // All have the anchor's name, so that each may stand above each, and the anchor above all.
    let root = Authority::root("one");
    let world = World::new().trusting("one.test", &[&root]);
    let server = world.load();
    let impostors: Vec<_> = (0..6).map(|_| Authority::root("one")).collect();
    let chain = impostors.iter().fold(impostors[0].issue(ID), Issued::with);
    let started = std::time::Instant::now();
    let reason = world.refusal(&server, &chain).await;
    assert!(["unknown_issuer", "bad_chain"].contains(&reason), "{reason}");
    // Two handshakes; the signatures are bounded. Generous, for a machine that does other things.
    assert!(started.elapsed() < std::time::Duration::from_secs(5), "{:?}", started.elapsed());
    println!("two handshakes took {:?}", started.elapsed());
}

#[tokio::test]
async fn a_client_without_a_certificate_or_without_its_key_is_refused() {
    let root = Authority::root("one");
    let world = World::new().trusting("one.test", &[&root]);
    let server = world.load();
    let stolen = Issued { key: root.issue(ID).key, ..root.issue(ID) };
    for version in VERSIONS {
        let bare = world.client(None, version);
        let thief = world.client(Some(&stolen), version);
        for (client, reason, claimed) in [(bare, "no_certificate", None), (thief, "not_proven", Some(ID))] {
            let error = shake(&server, &client).await.unwrap_err();
            let HandshakeError::Refused(refusal) = error else { panic!("{error}") };
            assert_eq!((refusal.reason(), refusal.claimed), (reason, claimed.map(|id| SpiffeId::parse(id).unwrap())));
        }
    }
}

#[tokio::test]
async fn where_certificates_are_optional_bad_ones_are_still_refused() {
    let (root, stranger) = (Authority::root("one"), Authority::root("stranger"));
    let world = World::new().trusting("one.test", &[&root]).optional();
    let server = world.load();
    for version in VERSIONS {
        let open = shake(&server, &world.client(None, version)).await.unwrap();
        assert!(open.identity.is_none());
    }
    world.meet(&server, &root.issue(ID)).await.unwrap();
    assert_eq!(world.refusal(&server, &stranger.issue(ID)).await, "unknown_issuer");
}

#[tokio::test]
async fn without_domains_nobody_is_trusted() {
    let world = World::new();
    let root = Authority::root("one");
    assert_eq!(world.refusal(&world.load(), &root.issue(ID)).await, "unknown_trust_domain");
}

#[tokio::test]
async fn no_session_is_resumed_so_that_trust_is_asked_every_time() {
    let root = Authority::root("one");
    let issued: Issued = root.issue(ID);
    for version in VERSIONS {
        let world = World::new().trusting("one.test", &[&root]);
        let server = world.load();
        // Each keeps its sessions and would resume them.
        let client = world.client(Some(&issued), version);
        for _ in 0..3 {
            let open = shake(&server, &client).await.unwrap();
            assert_eq!(open.kind(), rustls::HandshakeKind::Full);
            assert_eq!(open.client.get_ref().1.tls13_tickets_received(), 0);
        }
        world.write("one.test.bundle.pem", Authority::root("other").pem());
        assert_eq!(server.reload().len(), 1);
        assert!(matches!(shake(&server, &client).await, Err(HandshakeError::Refused(_))));
    }

    // The clients of this test do resume where they may.
    let world = World::new();
    let server = quorate_tls::ServerTls::load(world.path("server.pem"), world.path("server.key")).unwrap();
    for version in VERSIONS {
        let client = world.client(None, version);
        shake(&server, &client).await.unwrap();
        assert_eq!(shake(&server, &client).await.unwrap().kind(), rustls::HandshakeKind::Resumed);
    }
}

#[tokio::test]
async fn every_refusal_is_the_same_alert_to_the_client() {
    let (root, stranger) = (Authority::root("one"), Authority::root("stranger"));
    let crl = root.crl(&[66], HOUR);
    let world = World::new().trusting("one.test", &[&root]).revoking("one.test", "crl.pem", crl);
    let server = world.load();
    let bad = [
        stranger.issue(ID),
        root.issue_leaf(Leaf::of(ID).valid(-3 * HOUR, -2 * HOUR)),
        root.issue_leaf(Leaf::of(ID).serial(66)),
        root.issue("spiffe://other.test/agent"),
        root.issue("https://one.test/"),
    ];
    for issued in bad {
        let client = world.client(Some(&issued), VERSIONS[0]);
        let (near, far) = tokio::io::duplex(64 << 10);
        let connecting = client.connect("localhost".try_into().unwrap(), near);
        let (client, server) = tokio::join!(connecting, server.accept(far));
        server.unwrap_err();
        let error = client.unwrap_err();
        let alert = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()).expect("an alert");
        assert_eq!(*alert, rustls::Error::AlertReceived(rustls::AlertDescription::CertificateUnknown));
    }
}

#[test]
fn a_file_can_be_asked_whose_certificate_it_holds() {
    let root = Authority::root("one");
    let der = |issued: &Issued| CertificateDer::from_pem_slice(issued.chain.as_bytes()).unwrap();
    assert_eq!(quorate_tls::claimed_id(&der(&root.issue(ID))), Ok(SpiffeId::parse(ID).unwrap()));
    let none = root.issue_leaf(Leaf::of(ID).change(|params| params.subject_alt_names.clear()));
    assert_eq!(quorate_tls::claimed_id(&der(&none)).unwrap_err().reason(), "no_spiffe_id");
    let authority = root.issue_leaf(Leaf::of(ID).change(|params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }));
    let refusal = quorate_tls::claimed_id(&der(&authority)).unwrap_err();
    assert_eq!((refusal.reason(), refusal.claimed), ("bad_usage", SpiffeId::parse(ID).ok()));
    assert_eq!(quorate_tls::claimed_id(b"rubbish").unwrap_err().reason(), "malformed");
}
