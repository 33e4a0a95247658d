//! Nodes whose certificates somebody else makes: what their files must be, and how one joins with what it has.
//!
//! The authority is an enterprise's: a root, one below it that signs, and keys of its own kinds.

use std::path::PathBuf;
use std::time::Duration;

use quorate_membership::handshake::{Accept, Files, Loaded, Trust, client, server, stranger};
use quorate_membership::identity::PeerIdentity;
use quorate_membership::join::{Applicant, Application, Grant, JoinError, JoinRefusal, Joiner, TokenRecord};
use quorate_membership::root::RootKey;
use quorate_membership::token::JoinToken;
use quorate_membership::trust::Refusal;
use quorate_proto::membership::v1::{JoinRequest, KeyProof};
use quorate_types::{ClusterId, Code, NodeId, ResourceName};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose, SanType, SigningKey,
};
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;

use crate::world::{CLUSTER, mint, now, shake};

/// An authority of an enterprise, and a folder for what it makes.
struct Enterprise {
    folder: TempDir,
    below: CertifiedIssuer<'static, KeyPair>,
}

impl Enterprise {
    fn new() -> Self {
        let params = |name: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            params
        };
        let root = CertifiedIssuer::self_signed(params("root"), KeyPair::generate().unwrap()).unwrap();
        let below = CertifiedIssuer::signed_by(params("below"), KeyPair::generate().unwrap(), &root).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), root.pem()).unwrap();
        Self { folder, below }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a certificate with a URI, and its key.
    fn make(&self, name: &str, uri: &str, change: impl FnOnce(&mut CertificateParams)) -> Files {
        self.make_for(&KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap(), name, uri, change)
    }

    fn make_for(&self, key: &KeyPair, name: &str, uri: &str, change: impl FnOnce(&mut CertificateParams)) -> Files {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        change(&mut params);
        let certificate = params.signed_by(key, &self.below).unwrap();
        std::fs::write(self.path(&format!("{name}.pem")), format!("{}{}", certificate.pem(), self.below.pem()))
            .unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
        self.files(&format!("{name}.pem"), &format!("{name}.key"), "ca.pem")
    }

    fn files(&self, certificate: &str, key: &str, authorities: &str) -> Files {
        Files { certificate: self.path(certificate), key: self.path(key), authorities: self.path(authorities) }
    }

    fn node(&self, number: u64) -> Loaded {
        self.make(&number.to_string(), &node(number).to_string(), |_| {}).read(now()).unwrap()
    }
}

fn node(number: u64) -> PeerIdentity {
    PeerIdentity::Node { cluster: CLUSTER, node: NodeId(number) }
}

fn trust(loaded: &Loaded) -> Trust {
    Trust::new(loaded.cluster, loaded.bundle.clone())
}

#[tokio::test]
async fn files_say_which_node_it_is_and_peers_with_the_same_authorities_take_it() {
    let enterprise = Enterprise::new();
    let (one, two) = (enterprise.node(1), enterprise.node(70_000));
    assert_eq!((one.cluster, one.node, one.identity()), (CLUSTER, NodeId(1), node(1)));

    let server = server(&two.credentials, &trust(&two), Accept::Nodes);
    let taken = shake(client(&one.credentials, &trust(&one), Some(NodeId(70_000))), server).await.taken();

    assert_eq!(taken, Some(node(1)));
}

#[test]
fn files_that_peers_would_refuse_are_refused_with_the_file_or_the_reason() {
    let enterprise = Enterprise::new();
    let uri = node(1).to_string();
    let good = enterprise.make("good", &uri, |_| {});
    let other = enterprise.make("other", &uri, |_| {});
    let ended = |params: &mut CertificateParams| params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    let many: Vec<String> = (0..5).map(|_| pem_of(mint().anchor())).collect();
    let whole = std::fs::read_to_string(&good.certificate).unwrap();
    for (name, content) in [
        ("half.pem", &whole[..whole.len() / 3]),
        ("many.pem", &many.concat()),
        ("unknown.pem", &many[0]),
        ("empty", ""),
    ] {
        std::fs::write(enterprise.path(name), content).unwrap();
    }
    let operator = format!("quorate://{CLUSTER}/operator/ana/admin");
    let cases = [
        (enterprise.files("none.pem", "good.key", "ca.pem"), "none.pem cannot be read"),
        (enterprise.files("empty", "good.key", "ca.pem"), "empty has no certificate"),
        // To open others than regular ones may wait for ever.
        (enterprise.files("/dev/null", "good.key", "ca.pem"), "/dev/null is not a regular file"),
        (enterprise.files("good.pem", "", "ca.pem"), "is not a regular file"),
        (enterprise.files("good.pem", "good.key", "/dev/null"), "/dev/null is not a regular file"),
        (enterprise.files("half.pem", "good.key", "ca.pem"), "half.pem"),
        (enterprise.files("good.pem", "empty", "ca.pem"), "empty has no unencrypted private key"),
        (enterprise.files("good.pem", "good.key", "empty"), "empty has no certificate"),
        (Files { key: other.key, ..good.clone() }, "the private key does not belong to the certificate"),
        (enterprise.files("good.pem", "good.key", "unknown.pem"), "is not trusted"),
        (enterprise.files("good.pem", "good.key", "many.pem"), "1 to 4 authorities, not 5"),
        (enterprise.files("good.pem", "good.key", "good.pem"), "is not an authority's"),
        (enterprise.make("ended", &uri, ended), "ended at 2001-01-01T00:00:00Z"),
        (enterprise.make("ana", &operator, |_| {}), "operator/ana/admin is no node"),
        (enterprise.make("spiffe", "spiffe://example.com/node", |_| {}), "spiffe.pem: the certificate's uri"),
        (
            enterprise.make("nobody", &uri, |params| params.subject_alt_names.clear()),
            "nobody.pem: the certificate has 0",
        ),
    ];
    assert!(good.read(now()).is_ok());
    for (files, expected) in cases {
        let error = files.read(now()).map(drop).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn what_was_read_of_files_is_known_again_and_another_byte_in_any_is_told() {
    let enterprise = Enterprise::new();
    let files = enterprise.make("one", &node(1).to_string(), |_| {});
    let digest = || files.content().unwrap().digest();
    let before = digest();
    assert_eq!(digest(), before);
    for file in [&files.certificate, &files.key, &files.authorities] {
        let good = std::fs::read(file).unwrap();
        std::fs::write(file, [&good[..], b"\n"].concat()).unwrap();
        assert_ne!(digest(), before, "{}", file.display());
        std::fs::write(file, good).unwrap();
    }
    assert_eq!(digest(), before);
}

fn pem_of(certificate: &CertificateDer<'_>) -> String {
    quorate_membership::pem::of_certificates([certificate])
}

fn applicant() -> Applicant {
    Applicant {
        name: ResourceName::new("node-4").unwrap(),
        peer: "node-4.example.com:7000".parse().unwrap(),
        admin: "10.0.0.4:7443".parse().unwrap(),
        rack: None,
        features: 1..=3,
    }
}

/// A token of the cluster of a node, and what the catalog has of it.
fn token_of(member: &Loaded) -> (JoinToken, TokenRecord) {
    let token = JoinToken::draw(member.bundle.authorities(), vec!["127.0.0.1:7443".parse().unwrap()]).unwrap();
    let expires = now() + Duration::from_secs(60);
    let record = TokenRecord { id: token.id(), secret_hash: token.secret_hash(), expires, used_by: None };
    (token, record)
}

#[tokio::test]
async fn a_node_joins_with_the_certificate_that_it_has_and_gets_no_other() {
    let enterprise = Enterprise::new();
    let (first, own) = (enterprise.node(1), enterprise.node(4));
    let (token, record) = token_of(&first);
    // The root that the token pins is not sent along: the joiner has it from its own file.
    let accepting = || server(&first.credentials, &trust(&first), Accept::Anyone);
    let refused = shake(token.client(), accepting()).await.refused_by_client();
    assert!(matches!(refused, Refusal::Untrusted { .. }), "{refused}");
    assert_eq!(shake(stranger(&trust(&own)), accepting()).await.taken(), None);

    let (chain, other) = (own.credentials.chain(), enterprise.node(4).credentials.chain());
    let grants = [
        (NodeId(4), CLUSTER, chain.clone(), None),
        (NodeId(4), CLUSTER, other, Some(JoinError::Chain)),
        (NodeId(5), CLUSTER, chain.clone(), Some(of_another(&own, NodeId(5)))),
    ];
    for (node, cluster, granted, expected) in grants {
        let (joiner, request) = Joiner::begin(token.clone(), &applicant(), Some(&own.credentials)).unwrap();
        let application = Application::open(&request, &record, now()).unwrap();
        assert_eq!(application.chain(), chain);
        assert!(application.key().is_none(), "nothing is to be certified");
        let response = application.grant(&grant(&first, node, cluster, granted)).unwrap();
        match (joiner.finish(&response, now()), expected) {
            (Ok(admission), None) => assert!(admission.key.is_none() && admission.grant.chain == chain),
            (joined, expected) => assert_eq!(joined.map(drop).err(), expected),
        }
    }
}

fn of_another(own: &Loaded, expected: NodeId) -> JoinError {
    JoinError::Certificate(Refusal::OtherNode { identity: Box::new(own.identity()), expected })
}

fn grant(first: &Loaded, node: NodeId, cluster: ClusterId, chain: Vec<CertificateDer<'static>>) -> Grant {
    Grant {
        cluster,
        node,
        chain,
        bundle: first.bundle.clone(),
        root_key: RootKey::draw(),
        voters: vec![(NodeId(1), "10.0.0.1:7000".parse().unwrap())],
        feature_level: 3,
    }
}

#[test]
fn certificates_that_no_request_has_room_for_are_refused_before_one_is_sent() {
    let enterprise = Enterprise::new();
    let name = "a".repeat(13_000);
    let large = |params: &mut CertificateParams| params.distinguished_name.push(DnType::CommonName, name);
    let own = enterprise.make("large", &node(4).to_string(), large).read(now()).unwrap();

    let refused = Joiner::begin(token_of(&own).0, &applicant(), Some(&own.credentials)).map(drop).unwrap_err();

    assert!(refused.to_string().contains("may have 12288"), "{refused}");
}

#[test]
fn who_comes_with_a_certificate_proves_that_its_key_is_there_of_whatever_kind() {
    let enterprise = Enterprise::new();
    let drawn = |algorithm| KeyPair::generate_for(algorithm).unwrap();
    let keys = [
        ("ed25519", 0x0807, drawn(&rcgen::PKCS_ED25519)),
        ("p256", 0x0403, drawn(&rcgen::PKCS_ECDSA_P256_SHA256)),
        ("p384", 0x0503, drawn(&rcgen::PKCS_ECDSA_P384_SHA384)),
        ("rsa", 0x0806, KeyPair::from_pem(include_str!("rsa.pem")).unwrap()),
    ];
    for (name, scheme, key) in keys {
        let own = enterprise.make_for(&key, name, &node(4).to_string(), |_| {}).read(now()).unwrap();
        let (token, record) = token_of(&own);
        let (_, request) = Joiner::begin(token.clone(), &applicant(), Some(&own.credentials)).unwrap();
        assert_eq!(request.key_proof.as_ref().map(|proof| proof.scheme), Some(scheme), "{name}");
        assert_eq!(Application::open(&request, &record, now()).unwrap().chain(), own.credentials.chain(), "{name}");

        // Of another request it proves nothing.
        let (_, again) = Joiner::begin(token, &applicant(), Some(&own.credentials)).unwrap();
        let replayed = JoinRequest { key_proof: request.key_proof, ..again };
        let refused = Application::open(&replayed, &record, now()).map(drop);
        assert!(matches!(refused, Err(JoinRefusal::NotItsKey { .. })), "{name}: {refused:?}");
    }
}

#[test]
fn who_comes_with_a_certificate_without_its_key_is_refused() {
    let enterprise = Enterprise::new();
    let (key, foreign) = (KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap(), KeyPair::generate().unwrap());
    let own = enterprise.make_for(&key, "own", &node(4).to_string(), |_| {}).read(now()).unwrap();
    let (token, record) = token_of(&own);
    let (_, request) = Joiner::begin(token.clone(), &applicant(), Some(&own.credentials)).unwrap();

    // Computed here anew.
    let message =
        |context: &str, token: &[u8]| [&[b' '; 64], context.as_bytes(), &[0], token, &request.application].concat();
    let right = message("quorate join, key of a node v1", &token.id().0);
    let by =
        |key: &KeyPair, scheme, message: &[u8]| Some(KeyProof { scheme, signature: key.sign(message).unwrap().into() });
    let open = |key_proof| {
        let request = JoinRequest { key_proof, ..request.clone() };
        Application::open(&request, &record, now()).map(drop)
    };
    assert_eq!(open(by(&key, 0x0807, &right)), Ok(()));
    let cases = [
        ("no signature", None),
        ("not made with it", by(&foreign, 0x0403, &right)),
        ("not made with it", by(&foreign, 0x0807, &right)),
        ("not made with it", by(&key, 0x0807, &message("TLS 1.3, client CertificateVerify", &token.id().0))),
        ("not made with it", by(&key, 0x0807, &message("quorate join, key of a node v1", &[0; 16]))),
        ("not made with it", by(&key, 0x0807, &request.application)),
        ("not made with it", by(&key, 0x0403, &right)),
        // PKCS #1 v1.5, which TLS 1.3 has for certificates alone, and a number that is no scheme.
        ("none of TLS 1.3", by(&key, 0x0401, &right)),
        ("none of TLS 1.3", by(&key, 0x0001_0807, &right)),
        ("too large", Some(KeyProof { scheme: 0x0807, signature: vec![0; 1_025].into() })),
    ];
    for (expected, proof) in cases {
        let refused = open(proof).unwrap_err();
        assert!(refused.to_string().contains(expected), "{expected}: {refused}");
        assert_eq!(refused.code(), Code::Unauthenticated);
    }
}
