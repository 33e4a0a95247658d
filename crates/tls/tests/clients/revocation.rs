//! Lists of revoked certificates: on them, not on them, none, old, foreign.

use quorate_tls::{Reason, Reload};

use crate::authority::{Authority, HOUR, Leaf};
use crate::world::World;

const ID: &str = "spiffe://one.test/agent";

#[tokio::test]
async fn a_revoked_certificate_is_refused_and_others_of_its_issuer_are_not() {
    let root = Authority::root("one");
    let lists = [root.crl(&[66, 67], HOUR).into_bytes(), root.crl_der(&[66, 67], HOUR)];
    for list in lists {
        let world = World::new().trusting("one.test", &[&root]).revoking("one.test", "crl", list);
        let server = world.load();
        for serial in [66, 67] {
            assert_eq!(world.refusal(&server, &root.issue_leaf(Leaf::of(ID).serial(serial))).await, "revoked");
        }
        world.meet(&server, &root.issue_leaf(Leaf::of(ID).serial(68))).await.unwrap();
    }
}

#[tokio::test]
async fn a_revoked_authority_takes_its_certificates_with_it() {
    let root = Authority::root("root");
    let revoked = root.below("revoked", |params| params.serial_number = Some(rcgen::SerialNumber::from(500)));
    let good = root.below("good", |params| params.serial_number = Some(rcgen::SerialNumber::from(501)));
    let world = World::new().trusting("one.test", &[&root]).revoking("one.test", "crl", root.crl(&[500], HOUR));
    let server = world.load();
    assert_eq!(world.refusal(&server, &revoked.issue(ID).with(&revoked)).await, "revoked");
    // The list is of the root: it says nothing of what `good` issued, whatever the number.
    world.meet(&server, &good.issue_leaf(Leaf::of(ID).serial(500)).with(&good)).await.unwrap();
}

#[tokio::test]
async fn an_expired_list_refuses_everything_it_speaks_of_and_is_told_once() {
    let root = Authority::root("one");
    let other = Authority::root("other");
    let world = World::new()
        .trusting("one.test", &[&root, &other])
        .revoking("one.test", "crl.pem", root.crl(&[66], -600))
        .trusting("two.test", &[&other]);
    let server = world.load();
    let refusal = world.meet(&server, &root.issue(ID)).await.unwrap_err();
    assert_eq!(refusal.reason(), "crl_expired", "{refusal}");
    assert!(refusal.to_string().ends_with(" ago"), "{refusal}");
    world.meet(&server, &other.issue(ID)).await.unwrap();

    let news = server.reload();
    let [Reload::CrlExpired { domain, path, since }] = news.as_slice() else { panic!("{news:?}") };
    assert_eq!((domain.as_str(), path), ("one.test", &world.path("crl.pem")));
    assert!(since.as_secs().abs_diff(600) < 60, "{since:?}");
    assert!(server.reload().is_empty());
    world.write("crl.pem", root.crl(&[66], -300));
    assert!(matches!(*server.reload(), [Reload::TrustReplaced(_), Reload::CrlExpired { .. }]), "it is another list");

    world.write("crl.pem", root.crl(&[66], HOUR));
    assert!(matches!(&*server.reload(), [Reload::TrustReplaced(change)] if change.domain.as_str() == "one.test"));
    world.meet(&server, &root.issue(ID)).await.unwrap();
}

#[tokio::test]
async fn a_list_may_be_required_of_every_issuer() {
    let root = Authority::root("root");
    let middle = root.below("middle", |_| {});
    let issued = middle.issue(ID).with(&middle);
    let strict = || World::new().trusting("one.test", &[&root]).requiring_lists("one.test");

    let world = strict();
    assert_eq!(world.refusal(&world.load(), &issued).await, "crl_missing");
    let world = strict().revoking("one.test", "root.crl", root.crl(&[], HOUR));
    assert_eq!(world.refusal(&world.load(), &issued).await, "crl_missing");
    let world = strict().revoking("one.test", "middle.crl", middle.crl(&[], HOUR));
    assert_eq!(world.refusal(&world.load(), &issued).await, "crl_missing");
    let both = format!("{}{}", root.crl(&[], HOUR), middle.crl(&[], HOUR));
    let world = strict().revoking("one.test", "both.crl", both);
    world.meet(&world.load(), &issued).await.unwrap();

    let lenient = World::new().trusting("one.test", &[&root]).revoking("one.test", "root.crl", root.crl(&[], HOUR));
    lenient.meet(&lenient.load(), &issued).await.unwrap();
}

#[tokio::test]
async fn a_list_that_the_issuer_did_not_sign_refuses_its_certificates() {
    let (root, impostor) = (Authority::root("one"), Authority::root("one"));
    let world = World::new().trusting("one.test", &[&root]).revoking("one.test", "crl", impostor.crl(&[], HOUR));
    assert_eq!(world.refusal(&world.load(), &root.issue(ID)).await, "crl_untrusted");

    // Signed with the right key, which may not sign lists.
    let top = Authority::root("top");
    let full = top.below("middle", |_| {});
    let limited = top.below_as(&full, |params| params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign]);
    let world = World::new().trusting("one.test", &[&top]).revoking("one.test", "crl", full.crl(&[], HOUR));
    let server = world.load();
    assert_eq!(world.refusal(&server, &limited.issue(ID).with(&limited)).await, "crl_untrusted");
    world.meet(&server, &limited.issue(ID).with(&full)).await.unwrap();
}

#[tokio::test]
async fn a_certificate_is_revoked_by_any_list_of_its_issuer() {
    // Two lists with a scope each, and certificates that do not say to which they belong.
    let root = Authority::root("one");
    let of_scope = |name: &str, revoked: &[u64]| {
        root.crl_with(revoked, HOUR, |params| {
            let distribution_point = rcgen::CrlDistributionPoint { uris: vec![format!("http://one.test/{name}.crl")] };
            params.issuing_distribution_point =
                Some(rcgen::CrlIssuingDistributionPoint { distribution_point, scope: None });
        })
    };
    let world = World::new()
        .trusting("one.test", &[&root])
        .revoking("one.test", "a.crl", of_scope("a", &[66]))
        .revoking("one.test", "b.crl", of_scope("b", &[67]));
    let server = world.load();
    for serial in [66, 67] {
        assert_eq!(world.refusal(&server, &root.issue_leaf(Leaf::of(ID).serial(serial))).await, "revoked", "{serial}");
    }
    world.meet(&server, &root.issue_leaf(Leaf::of(ID).serial(68))).await.unwrap();
}

#[tokio::test]
async fn an_authority_that_was_renewed_under_its_name_has_a_list_for_each_key() {
    let (old, new) = (Authority::root("one"), Authority::root("one"));
    let top = Authority::root("top");
    let (low_old, low_new) = (top.below("low", |_| {}), top.below("low", |_| {}));
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 0, 3, 2], [2, 0, 3, 1]] {
        let lists =
            [(&old, 66), (&new, 67), (&low_old, 68), (&low_new, 69)].map(|(by, serial)| by.crl(&[serial], HOUR));
        let world = World::new().trusting("one.test", &[&old, &new, &top]).revoking(
            "one.test",
            "crl",
            order.map(|at| lists[at].as_str()).concat(),
        );
        let server = world.load();
        for (by, revoked) in [(&old, 66), (&new, 67), (&low_old, 68), (&low_new, 69)] {
            let issue = |serial| by.issue_leaf(Leaf::of(ID).serial(serial)).with(&low_old).with(&low_new);
            world.meet(&server, &issue(7)).await.unwrap();
            assert_eq!(world.refusal(&server, &issue(revoked)).await, "revoked", "{revoked} in {order:?}");
        }
        let stranger = Authority::root("one");
        assert_eq!(world.refusal(&server, &stranger.issue(ID)).await, "unknown_issuer");
    }
}

#[tokio::test]
async fn of_two_lists_for_the_same_certificates_one_has_to_be_current() {
    let root = Authority::root("one");
    let with = |ends: [i64; 2]| {
        let lists = ends.map(|end| root.crl(&[66], end)).concat();
        World::new().trusting("one.test", &[&root]).revoking("one.test", "crl", lists)
    };
    for ends in [[-600, HOUR], [HOUR, -600]] {
        let world = with(ends);
        let server = world.load();
        world.meet(&server, &root.issue(ID)).await.unwrap();
        assert_eq!(world.refusal(&server, &root.issue_leaf(Leaf::of(ID).serial(66))).await, "revoked");
    }
    let world = with([-600, -300]);
    assert_eq!(world.refusal(&world.load(), &root.issue(ID)).await, "crl_expired");
}

#[tokio::test]
async fn a_list_of_one_domain_says_nothing_in_another() {
    let root = Authority::root("shared");
    let world = World::new().trusting("one.test", &[&root]).trusting("two.test", &[&root]).revoking(
        "two.test",
        "crl",
        root.crl(&[66], HOUR),
    );
    let server = world.load();
    world.meet(&server, &root.issue_leaf(Leaf::of(ID).serial(66))).await.unwrap();
    let other = root.issue_leaf(Leaf::of("spiffe://two.test/agent").serial(66));
    assert_eq!(world.refusal(&server, &other).await, "revoked");
}

#[test]
fn files_that_cannot_be_trusted_are_named_with_the_reason() {
    let root = Authority::root("one");
    let leaf = root.issue(ID);
    let no_signer = Authority::root_with("no signer", |params| {
        params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    });
    let no_authority = Authority::root_with("no authority", |params| params.is_ca = rcgen::IsCa::NoCa);
    let many = root.crl(&[], HOUR).repeat(17);
    let damaged = root.crl_der(&[66], HOUR)[..80].to_vec();
    let cases: [(&str, Vec<u8>, &str); 10] = [
        ("bundle", b"".into(), "has no certificate"),
        ("bundle", leaf.key.clone().into(), "has no certificate"),
        ("bundle", leaf.chain.clone().into(), "holds a certificate that is no authority"),
        ("bundle", no_signer.pem().into(), "holds a certificate that is no authority"),
        ("bundle", no_authority.pem().into(), "holds a certificate that is no authority"),
        ("bundle", root.pem().replacen("MI", "AA", 1).into(), "holds a certificate that cannot be an authority"),
        ("crl", root.pem().into(), "has no revocation list"),
        ("crl", damaged, "holds a revocation list that cannot be used"),
        ("crl", many.into(), "holds more revocation lists of the same issuers than can be tried (16 "),
        ("crl", b"0rubbish".into(), "holds a revocation list that cannot be used"),
    ];
    for (kind, content, expected) in cases {
        let world = World::new().trusting("one.test", &[&root]);
        let (world, name) = match kind {
            "crl" => (world.revoking("one.test", "crl", content), "crl"),
            _ => {
                world.write("one.test.bundle.pem", content);
                (world, "one.test.bundle.pem")
            }
        };
        let error = world.load_error();
        assert!(error.path.ends_with(name) && error.to_string().contains(expected), "{expected}: {error}");
    }
    let world = World::new().trusting("one.test", &[&root]);
    std::fs::remove_file(world.path("one.test.bundle.pem")).unwrap();
    assert!(matches!(world.load_error().reason, Reason::Read(_)));
}
