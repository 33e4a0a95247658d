//! Authorities: what their certificates say, how they are kept, and which ones of an enterprise can be used.
//!
//! Certificates are read by x509 of `tls` and verified as peers do; a file of an enterprise is made here as its own
//! authority would make it, right and wrong.

use std::time::Duration;

use quorate_membership::address::{Address, Host};
use quorate_membership::authority::{
    Authority, AuthorityError, AuthorityPem, BACKDATE, HOSTS_MAX, IssueError, MemberKey, NODE_LIFETIME,
    OPERATOR_LIFETIME_MAX, OPERATOR_LIFETIME_MIN, ROOT_LIFETIME, renewal_at,
};
use quorate_membership::identity::{PeerIdentity, Role, peer_identity};
use quorate_membership::root::{NotOpened, RootKey};
use quorate_membership::trust::{AuthorityId, Bundle, InvalidBundle, Refusal, Side};
use quorate_tls::x509::Facts;
use quorate_types::{ClusterId, NodeId, ResourceName, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, GeneralSubtree, IsCa, KeyPair, KeyUsagePurpose,
    NameConstraints,
};

use crate::world::{CLUSTER, DAY, ago, bundle, mint, now};

/// 2026-11-26T06:07:17Z.
const AT: Timestamp = Timestamp::from_millis(1_795_673_237_000);

fn host(text: &str) -> Host {
    text.parse::<Address>().unwrap().host().clone()
}

#[test]
fn a_nodes_certificate_says_who_it_is_and_for_how_long() {
    let authority = Authority::mint(CLUSTER, AT).unwrap();
    let hosts = [host("node-1.example.com:1"), host("127.0.0.1:1"), host("127.0.0.1:2"), host("[::1]:1")];
    let issued = authority.issue_node(NodeId(1), &hosts, &MemberKey::draw().public(), AT).unwrap();
    let facts = Facts::read(&issued.chain[0]).unwrap();

    assert_eq!(peer_identity(&issued.chain[0]), Ok(PeerIdentity::Node { cluster: CLUSTER, node: NodeId(1) }));
    assert_eq!((facts.not_before + BACKDATE, facts.not_after), (AT, AT + NODE_LIFETIME));
    assert_eq!((issued.not_after, issued.chain.len()), (facts.not_after, 2));
    assert_eq!((facts.serial.len(), facts.serial[0] & 0xc0), (16, 0x40));
    assert_eq!(issued.serial(), facts.serial);
    assert_eq!(issued.fingerprint(), ring::digest::digest(&ring::digest::SHA256, &issued.chain[0]).as_ref());
    let entity = webpki::EndEntityCert::try_from(&issued.chain[0]).unwrap();
    assert_eq!(entity.valid_dns_names().collect::<Vec<_>>(), ["node-1.example.com"]);
    for name in ["node-1.example.com", "127.0.0.1", "::1"] {
        let name = rustls::pki_types::ServerName::try_from(name).unwrap();
        assert!(entity.verify_is_valid_for_subject_name(&name).is_ok(), "{name:?}");
    }

    let other = authority.issue_node(NodeId(1), &hosts, &MemberKey::draw().public(), AT).unwrap();
    assert_ne!(Facts::read(&other.chain[0]).unwrap().serial, facts.serial);
    let root = Facts::read(authority.anchor()).unwrap();
    assert_eq!((root.not_after, root.path_length), (AT + ROOT_LIFETIME, Some(0)));
}

#[test]
fn a_certificate_is_renewed_after_two_thirds_of_its_life_and_works_until_its_end() {
    let authority = Authority::mint(CLUSTER, AT).unwrap();
    let trusted = bundle(&[&authority]);
    let chain = authority.issue_node(NodeId(1), &[], &MemberKey::draw().public(), AT).unwrap().chain;
    let life = NODE_LIFETIME + BACKDATE;
    let begin = Timestamp::from_millis((AT.as_millis()) - u64::try_from(BACKDATE.as_millis()).unwrap());

    let renewal = renewal_at(&chain[0]).unwrap();
    assert_eq!(renewal, begin + life / 3 * 2);
    assert!(renewal.since(AT) > DAY * 59 && renewal.since(AT) < DAY * 60);
    assert!(renewal_at(b"none").is_err());

    let second = Duration::from_secs(1);
    let verify = |at| trusted.verify(CLUSTER, &chain, Side::Client, at).map(drop);
    let before = Timestamp::from_millis(begin.as_millis() - 1000);
    for (at, is_valid) in
        [(before, false), (begin, true), (AT + NODE_LIFETIME, true), (AT + NODE_LIFETIME + second, false)]
    {
        assert_eq!(verify(at).is_ok(), is_valid, "{at}");
    }
}

#[test]
fn what_is_out_of_bounds_is_not_issued() {
    let authority = Authority::mint(CLUSTER, AT).unwrap();
    let key = MemberKey::draw().public();
    let node = |hosts: &[Host], at| authority.issue_node(NodeId(1), hosts, &key, at).map(drop);
    let operator = |lifetime| {
        let name = ResourceName::new("ana").unwrap();
        authority.issue_operator(name, Role::Admin, lifetime, &key, AT).map(|issued| issued.not_after)
    };

    let hosts = vec![host("a:1"); HOSTS_MAX + 1];
    assert_eq!(node(&hosts, AT), Err(IssueError::Hosts { count: HOSTS_MAX + 1 }));
    for at in [Timestamp::from_millis(0), AT + ROOT_LIFETIME + Duration::from_secs(1)] {
        assert!(matches!(node(&[], at), Err(IssueError::Ended { .. })), "{at}");
    }
    assert_eq!(operator(OPERATOR_LIFETIME_MIN), Ok(AT + OPERATOR_LIFETIME_MIN));
    assert_eq!(operator(OPERATOR_LIFETIME_MAX), Ok(AT + OPERATOR_LIFETIME_MAX));
    for lifetime in [Duration::ZERO, OPERATOR_LIFETIME_MAX + Duration::from_secs(1)] {
        assert_eq!(operator(lifetime), Err(IssueError::Lifetime { lifetime }));
    }
    let absurd = Authority::mint(CLUSTER, Timestamp::from_millis(u64::MAX)).map(drop);
    assert!(matches!(absurd, Err(AuthorityError::Issue(IssueError::Clock { .. }))));
    // A certificate does not outlive its authority.
    let late = AT + (ROOT_LIFETIME - DAY);
    let issued = authority.issue_node(NodeId(1), &[], &key, late).unwrap();
    assert_eq!(issued.not_after, AT + ROOT_LIFETIME);
}

#[test]
fn a_sealed_authority_is_opened_by_its_cluster_alone() {
    let (authority, root) = (mint(), RootKey::draw());
    let sealed = authority.seal(&root, 3);
    let opened = Authority::open(&root, CLUSTER, authority.id(), 3, &sealed).unwrap();

    assert_eq!((opened.id(), opened.anchor()), (authority.id(), authority.anchor()));
    let chain = opened.issue_node(NodeId(2), &[], &MemberKey::draw().public(), now()).unwrap().chain;
    assert!(bundle(&[&authority]).verify(CLUSTER, &chain, Side::Server, now()).is_ok());
    let refused = [
        Authority::open(&RootKey::draw(), CLUSTER, authority.id(), 3, &sealed),
        Authority::open(&root, ClusterId([1; 16]), authority.id(), 3, &sealed),
        Authority::open(&root, CLUSTER, AuthorityId([1; 32]), 3, &sealed),
        Authority::open(&root, CLUSTER, authority.id(), 2, &sealed),
        Authority::open(&root, CLUSTER, authority.id(), 3, &sealed[..sealed.len() - 1]),
    ];
    for opened in refused {
        assert_eq!(opened.map(drop), Err(NotOpened));
    }
    assert!(!format!("{authority:?}").contains("KeyPair"));
}

#[test]
fn a_bundle_has_authorities_only() {
    let (one, two) = (mint(), mint());
    let leaf = one.issue_node(NodeId(1), &[], &MemberKey::draw().public(), now()).unwrap().chain[0].clone();

    assert_eq!(bundle(&[&one, &two, &one]), bundle(&[&two, &one]));
    assert_eq!(bundle(&[&one, &two]).authorities(), [one.id(), two.id()].into());
    assert_eq!(Bundle::new([]), Err(InvalidBundle::Count { count: 0 }));
    let many = std::iter::repeat_with(|| mint().anchor().clone()).take(5);
    assert_eq!(Bundle::new(many), Err(InvalidBundle::Count { count: 5 }));
    for (certificate, position) in [(leaf, 2), (b"none".to_vec().into(), 2)] {
        let made = Bundle::new([one.anchor().clone(), certificate]);
        assert!(
            matches!(made, Err(InvalidBundle::Certificate { position: found, .. }) if found == position),
            "{made:?}"
        );
    }
    let long = vec![one.anchor().clone(); 8];
    let refused = bundle(&[&one]).verify(CLUSTER, &long, Side::Client, now());
    assert_eq!(refused, Err(Refusal::Chain { count: 8 }));
    assert_eq!(bundle(&[&one]).verify(CLUSTER, &[], Side::Client, now()), Err(Refusal::Chain { count: 0 }));
}

/// An enterprise with an authority of its own.
struct Enterprise {
    root: CertifiedIssuer<'static, KeyPair>,
}

impl Enterprise {
    fn new(path_length: u8) -> Self {
        let mut params = authority_params("Example Root");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
        let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { root }
    }

    /// Signs an authority for the cluster.
    fn sign(&self, change: impl FnOnce(&mut CertificateParams)) -> (String, KeyPair) {
        let mut params = authority_params("Example Quorate 1");
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.root).unwrap().pem(), key)
    }

    fn load(&self, chain: &str, key: &str) -> Result<Authority, AuthorityError> {
        let given = AuthorityPem { chain: chain.to_owned(), key: key.to_owned().into() };
        Authority::of_pem(CLUSTER, &given, now())
    }

    fn refusal(&self, change: impl FnOnce(&mut CertificateParams)) -> String {
        let (chain, key) = self.sign(change);
        self.load(&(chain + &self.root.pem()), &key.serialize_pem()).map(drop).unwrap_err().to_string()
    }
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Beispiel Ä");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = rcgen::date_time_ymd(2024, 1, 1);
    params.not_after = rcgen::date_time_ymd(2040, 1, 1);
    params
}

#[test]
fn an_authority_that_an_enterprise_signed_vouches_for_nodes() {
    let enterprise = Enterprise::new(1);
    let (certificate, key) = enterprise.sign(|_| {});
    let root: Authority = mint();
    for chain in [certificate.clone(), certificate + &enterprise.root.pem()] {
        let authority = enterprise.load(&chain, &key.serialize_pem()).unwrap();
        let issued = authority.issue_node(NodeId(1), &[host("a.test:1")], &MemberKey::draw().public(), now()).unwrap();
        assert_eq!(issued.chain.len(), 1 + chain.matches("BEGIN").count());

        let trusted = bundle(&[&authority]);
        assert!(trusted.verify(CLUSTER, &issued.chain, Side::Server, now()).is_ok());
        // Who trusts the enterprise's root takes it too.
        let above = Bundle::new([enterprise.root.der().clone()]).unwrap();
        assert!(above.verify(CLUSTER, &issued.chain, Side::Server, now()).is_ok());
        assert!(bundle(&[&root]).verify(CLUSTER, &issued.chain, Side::Server, now()).is_err());
        // It is kept like one of the cluster's own.
        let key = RootKey::draw();
        assert!(Authority::open(&key, CLUSTER, authority.id(), 1, &authority.seal(&key, 1)).is_ok());
    }
}

#[test]
fn what_else_an_enterprise_signed_is_not_taken() {
    let enterprise = Enterprise::new(1);
    let (certificate, key) = enterprise.sign(|_| {});
    let authority = enterprise.load(&certificate, &key.serialize_pem()).unwrap();
    let (stranger, stranger_key) = enterprise.sign(|_| {});
    let stranger = enterprise.load(&stranger, &stranger_key.serialize_pem()).unwrap();

    let chain = stranger.issue_node(NodeId(1), &[], &MemberKey::draw().public(), now()).unwrap().chain;

    assert!(bundle(&[&authority]).verify(CLUSTER, &chain, Side::Client, now()).is_err());
}

#[test]
fn what_is_no_authority_of_the_cluster_is_refused_with_the_reason() {
    let enterprise = Enterprise::new(1);
    let (good, key) = enterprise.sign(|_| {});
    let pem = key.serialize_pem();
    let other = KeyPair::generate().unwrap().serialize_pem();
    let root = enterprise.root.pem();
    let leaf = Enterprise::new(1).sign(|params| params.is_ca = IsCa::NoCa).0;
    let cases = [
        (good.as_str(), "none", "the key of the authority has no unencrypted private key"),
        ("none", pem.as_str(), "the chain of the authority has no certificate"),
        (&good.repeat(7), &pem, "the chain of the authority has 7 certificates"),
        (&good, &other, "does not belong to the first certificate"),
        (&(root.clone() + &good), &pem, "does not belong to the first certificate"),
        (&(good.clone() + &leaf), &pem, "certificate 2 of the chain is not an authority's: its basic constraints"),
        (&(good.clone() + &Enterprise::new(1).root.pem()), &pem, "would be refused by the nodes"),
        (&"-----BEGIN CERTIFICATE-----\nAA".repeat(2), &pem, "the chain of the authority is not valid pem"),
    ];
    for (chain, key, expected) in cases {
        let error = enterprise.load(chain, key).map(drop).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(!error.contains("PRIVATE KEY-----\nM"), "a key is shown");
    }
}

#[test]
fn what_an_enterprise_forgot_is_said() {
    let enterprise = Enterprise::new(1);
    let refusal = |change: fn(&mut CertificateParams)| enterprise.refusal(change);
    let cases = [
        (refusal(|params| params.is_ca = IsCa::NoCa), "certificate 1 of the chain is not an authority's: its basic"),
        (refusal(|params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature]), "lacks `keyCertSign`"),
        (refusal(|params| params.not_after = rcgen::date_time_ymd(2025, 1, 1)), "the authority is not valid now"),
        (refusal(|params| params.not_before = rcgen::date_time_ymd(2039, 1, 1)), "the authority is not valid now"),
        (
            refusal(|params| params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::CodeSigning]),
            "extended key usages that allow servers and clients",
        ),
        (
            Enterprise::new(0).refusal(|_| {}),
            "certificate 2 of the chain allows 0 authorities below it, and there are 1",
        ),
    ];
    for (error, expected) in cases {
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let two_domains = |params: &mut CertificateParams| {
        // Two attributes of a kind, which rcgen cannot write: made of another kind, and turned into the same one.
        let domain = |last| DnType::CustomDnType(vec![0, 9, 2342, 19_200_300, 100, 1, last]);
        params.distinguished_name.push(domain(25), "corp");
        params.distinguished_name.push(domain(26), "example");
    };
    let (chain, key) = enterprise.sign(two_domains);
    let mut der = pem_to_der(&chain);
    let kind = [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 26];
    let at = der.windows(kind.len()).position(|window| window == kind).unwrap();
    der[at + 9] = 25;
    let error = enterprise.load(&der_to_pem(&der), &key.serialize_pem()).map(drop).unwrap_err().to_string();
    assert!(error.contains("it has an attribute twice (such as two `DC` or `OU`)"), "{error}");
}

#[test]
fn an_authority_that_may_not_name_a_host_or_a_uri_is_told() {
    let enterprise = Enterprise::new(1);
    let constrained = |permitted: Vec<GeneralSubtree>| {
        move |params: &mut CertificateParams| {
            params.name_constraints =
                Some(NameConstraints { permitted_subtrees: permitted, excluded_subtrees: vec![] });
        }
    };
    let (certificate, key) = enterprise.sign(constrained(vec![GeneralSubtree::DnsName("corp.example".to_owned())]));
    let authority = enterprise.load(&certificate, &key.serialize_pem()).unwrap();
    let issue = |name: &str| authority.issue_node(NodeId(1), &[host(name)], &MemberKey::draw().public(), now());
    assert!(issue("a.corp.example:1").is_ok());
    assert_eq!(issue("a.other.example:1"), Err(IssueError::Refused(webpki::Error::NameConstraintViolation)));

    // Constraints for URIs: RFC 5280 §4.2.1.10, which rcgen does not write.
    let permitted = [0x30, 0x12, 0xa0, 0x10, 0x30, 0x0e, 0x86, 0x0c];
    let content = [permitted.as_slice(), b"corp.example"].concat();
    let error = enterprise.refusal(|params| {
        params.custom_extensions = vec![rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 30], content)];
    });
    assert!(error.contains("without name constraints for uris"), "{error}");
}

#[test]
fn an_authority_that_is_about_to_end_is_the_end_of_what_it_issues() {
    let enterprise = Enterprise::new(1);
    let end = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(now().as_millis() / 1000) + DAY;
    let (certificate, key) = enterprise.sign(|params| params.not_after = end);
    let authority = enterprise.load(&certificate, &key.serialize_pem()).unwrap();

    let issued = authority.issue_node(NodeId(1), &[], &MemberKey::draw().public(), now()).unwrap();

    assert_eq!(issued.not_after, authority.not_after());
    assert!(issued.not_after.since(ago(Duration::ZERO)) <= DAY);
}

fn pem_to_der(pem: &str) -> Vec<u8> {
    use rustls::pki_types::pem::PemObject;
    rustls::pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}

fn der_to_pem(der: &[u8]) -> String {
    quorate_membership::pem::of_certificates([&der.to_vec().into()])
}
