//! A node joins: the exchange over a connection that the token pins, and everything that is refused on the way.
//!
//! Forged, used and ended tokens, answers to other requests, changed messages, and members of other clusters.

use std::time::Duration;

use proptest::prelude::*;
use prost::Message;
use quorate_membership::authority::{Authority, MemberKey};
use quorate_membership::handshake::{Accept, Credentials, Trust, client, server};
use quorate_membership::identity::{PeerIdentity, Role};
use quorate_membership::join::{
    Applicant, Application, Grant, GrantError, JoinError, JoinRefusal, Joiner, TokenRecord, VOTERS_MAX,
};
use quorate_membership::root::RootKey;
use quorate_membership::token::JoinToken;
use quorate_membership::trust::Refusal;
use quorate_proto::membership::v1::{JoinApplication, JoinRequest, JoinResponse};
use quorate_types::{ClusterId, Code, NodeId, ResourceName, Timestamp};

use crate::world::{CLUSTER, DAY, bundle, certified, mint, now, shake};

/// A cluster that made one token.
struct Cluster {
    authority: Authority,
    root_key: RootKey,
    token: JoinToken,
    record: TokenRecord,
}

impl Cluster {
    fn new() -> Self {
        let authority = mint();
        let token = JoinToken::draw([authority.id()], vec!["127.0.0.1:7443".parse().unwrap()]).unwrap();
        let expires = now() + Duration::from_secs(3600);
        let record = TokenRecord { id: token.id(), secret_hash: token.secret_hash(), expires, used_by: None };
        Self { authority, root_key: RootKey::draw(), token, record }
    }

    fn begin(&self) -> (Joiner, JoinRequest) {
        Joiner::begin(self.token.clone(), &applicant(), None).unwrap()
    }

    fn open(&self, request: &JoinRequest) -> Result<Application, JoinRefusal> {
        Application::open(request, &self.record, now())
    }

    fn grant(&self, application: &Application) -> Grant {
        let hosts = [application.applicant().peer.host().clone(), application.applicant().admin.host().clone()];
        let key = application.key().expect("it has no certificate");
        let issued = self.authority.issue_node(NodeId(4), &hosts, key, now()).unwrap();
        Grant {
            cluster: CLUSTER,
            node: NodeId(4),
            chain: issued.chain,
            bundle: bundle(&[&self.authority]),
            root_key: self.root_key.clone(),
            voters: vec![(NodeId(1), "10.0.0.1:7000".parse().unwrap())],
            feature_level: 3,
        }
    }

    fn answer(&self, request: &JoinRequest, change: impl FnOnce(&mut Grant)) -> JoinResponse {
        let application = self.open(request).unwrap();
        let mut grant = self.grant(&application);
        change(&mut grant);
        application.grant(&grant).unwrap()
    }
}

fn applicant() -> Applicant {
    Applicant {
        name: ResourceName::new("node-4").unwrap(),
        peer: "node-4.example.com:7000".parse().unwrap(),
        admin: "10.0.0.4:7443".parse().unwrap(),
        rack: Some(ResourceName::new("r1").unwrap()),
        features: 2..=3,
    }
}

#[tokio::test]
async fn a_node_that_joined_is_taken_by_the_others() {
    let cluster = Cluster::new();
    let trust = Trust::new(CLUSTER, bundle(&[&cluster.authority]));
    let member = certified(&cluster.authority, 1, now());
    // What the operator copied.
    let token = JoinToken::parse(&cluster.token.reveal()).unwrap();
    assert_eq!(shake(token.client(), server(&member, &trust, Accept::Anyone)).await.taken(), None);

    let (joiner, request) = Joiner::begin(token, &applicant(), None).unwrap();
    assert_eq!(Application::token(&request), Ok(cluster.record.id));
    let application = cluster.open(&request).unwrap();
    assert_eq!(application.applicant(), &applicant());
    let response = application.grant(&cluster.grant(&application)).unwrap();
    let admission = joiner.finish(&response, now()).unwrap();

    let grant = &admission.grant;
    assert_eq!((grant.cluster, grant.node, grant.feature_level), (CLUSTER, NodeId(4), 3));
    assert_eq!(grant.root_key.expose(), cluster.root_key.expose());
    assert_eq!(grant.voters, [(NodeId(1), "10.0.0.1:7000".parse().unwrap())]);
    let joined = Credentials::new(grant.chain.clone(), &admission.key.unwrap()).unwrap();
    let its = Trust::new(grant.cluster, grant.bundle.clone());
    let taken = shake(client(&joined, &its, Some(NodeId(1))), server(&member, &trust, Accept::Nodes)).await.taken();
    assert_eq!(taken, Some(PeerIdentity::Node { cluster: CLUSTER, node: NodeId(4) }));
}

#[tokio::test]
async fn a_joiner_talks_to_nobody_whom_its_token_does_not_pin() {
    let cluster = Cluster::new();
    let forged = mint();
    let trust = Trust::new(CLUSTER, bundle(&[&cluster.authority, &forged]));
    let (key, name) = (MemberKey::draw(), ResourceName::new("ana").unwrap());
    let operator =
        cluster.authority.issue_operator(name, Role::Admin, Duration::from_secs(3600), &key.public(), now()).unwrap();
    let member_key = MemberKey::draw();
    let member = cluster.authority.issue_node(NodeId(1), &[], &member_key.public(), now()).unwrap();
    let swapped = vec![member.chain[0].clone(), forged.anchor().clone()];
    let servers = [
        ("another authority", certified(&forged, 1, now())),
        ("an operator", Credentials::new(operator.chain, &key).unwrap()),
        ("no authority sent along", Credentials::new(member.chain[..1].to_vec(), &member_key).unwrap()),
        ("a foreign authority sent along", Credentials::new(swapped, &member_key).unwrap()),
        ("a certificate that has not begun", certified(&cluster.authority, 1, now() + DAY)),
    ];
    for (case, credentials) in servers {
        let outcome = shake(cluster.token.client(), server(&credentials, &trust, Accept::Anyone)).await;
        assert!(matches!(outcome.refused_by_client(), Refusal::Untrusted { .. }), "{case}");
    }
    let pinned = Credentials::new(member.chain, &member_key).unwrap();
    assert_eq!(shake(cluster.token.client(), server(&pinned, &trust, Accept::Anyone)).await.taken(), None);
}

#[test]
fn a_token_that_is_forged_used_or_ended_opens_nothing() {
    let cluster = Cluster::new();
    let (_, request) = cluster.begin();

    let other = Cluster::new();
    let with_other_secret = TokenRecord { secret_hash: other.record.secret_hash, ..cluster.record.clone() };
    assert_eq!(Application::open(&request, &with_other_secret, now()).map(drop), Err(JoinRefusal::Unknown));
    assert_eq!(Application::open(&request, &other.record, now()).map(drop), Err(JoinRefusal::Unknown));
    let used = TokenRecord { used_by: Some(NodeId(9)), ..cluster.record.clone() };
    assert_eq!(Application::open(&request, &used, now()).map(drop), Err(JoinRefusal::Used { by: NodeId(9) }));
    let at = cluster.record.expires;
    assert_eq!(Application::open(&request, &cluster.record, at).map(drop), Err(JoinRefusal::Expired { at }));
    assert!(Application::open(&request, &cluster.record, Timestamp::from_millis(at.as_millis() - 1)).is_ok());
    // Who does not have the secret learns neither.
    assert_eq!(JoinRefusal::Unknown.code(), Code::Unauthenticated);
    let forged = JoinRequest { proof: vec![0; 32].into(), ..request };
    for record in [&used, &TokenRecord { expires: Timestamp::from_millis(0), ..cluster.record.clone() }] {
        assert_eq!(Application::open(&forged, record, now()).map(drop), Err(JoinRefusal::Unknown));
    }
}

#[test]
fn an_answer_opens_for_the_one_request_that_it_answers() {
    let cluster = Cluster::new();
    let (first, request) = cluster.begin();
    let response = cluster.answer(&request, |_| {});

    // Replayed to another exchange, also of the same token.
    let (second, again) = cluster.begin();
    assert_ne!(request.application, again.application);
    assert_eq!(second.finish(&response, now()).map(drop), Err(JoinError::NotOpened));
    // With the nonce of one answer and the content of another.
    let other = cluster.answer(&request, |_| {});
    assert_ne!(other.nonce, response.nonce);
    let mixed = JoinResponse { nonce: other.nonce.clone(), sealed: response.sealed };
    let (third, _) = cluster.begin();
    assert_eq!(third.finish(&mixed, now()).map(drop), Err(JoinError::NotOpened));
    assert_eq!(first.finish(&mixed, now()).map(drop), Err(JoinError::NotOpened));
}

#[test]
fn a_replayed_request_is_refused_once_its_token_is_used() {
    let mut cluster = Cluster::new();
    let (joiner, request) = cluster.begin();
    let response = cluster.answer(&request, |_| {});
    cluster.record.used_by = Some(NodeId(4));

    assert_eq!(cluster.open(&request).map(drop), Err(JoinRefusal::Used { by: NodeId(4) }));
    assert!(joiner.finish(&response, now()).is_ok());
}

#[test]
fn nothing_that_is_sent_shows_the_secret_or_the_root_key() {
    let cluster = Cluster::new();
    let (joiner, request) = cluster.begin();
    let response = cluster.answer(&request, |_| {});
    let sent = [request.encode_to_vec(), response.encode_to_vec()].concat();

    for secret in [cluster.root_key.expose(), &cluster.record.secret_hash] {
        assert!(!sent.windows(secret.len()).any(|window| window == secret));
    }
    let shown = format!("{joiner:?} {:?} {:?}", cluster.record, cluster.open(&request).unwrap());
    assert!(!shown.contains(&format!("{:?}", cluster.record.secret_hash)), "{shown}");
}

#[test]
fn an_answer_that_is_not_what_a_node_needs_is_refused() {
    type Change = fn(&Cluster, &mut Grant);
    let cases: [(&str, Change); 7] = [
        ("the token pins others", |_, grant| grant.bundle = bundle(&[&mint()])),
        ("OtherCluster", |_, grant| grant.cluster = ClusterId([1; 16])),
        ("OtherNode", |_, grant| grant.node = NodeId(5)),
        ("another key", |cluster, grant| {
            let key = MemberKey::draw().public();
            grant.chain = cluster.authority.issue_node(NodeId(4), &[], &key, now()).unwrap().chain;
        }),
        ("Untrusted", |_, grant| {
            let key = MemberKey::draw().public();
            grant.chain = mint().issue_node(NodeId(4), &[], &key, now()).unwrap().chain;
        }),
        ("Chain", |_, grant| grant.chain.clear()),
        ("number is 0", |_, grant| grant.node = NodeId(0)),
    ];
    let cluster = Cluster::new();
    for (expected, change) in cases {
        let (joiner, request) = cluster.begin();
        let response = cluster.answer(&request, |grant| change(&cluster, grant));
        let error = joiner.finish(&response, now()).map(drop).unwrap_err();
        assert!(format!("{error:?} {error}").contains(expected), "{expected}: {error:?}");
    }
    // A clock that is a year ahead, where the certificate has ended.
    let (joiner, request) = cluster.begin();
    let response = cluster.answer(&request, |_| {});
    let late = joiner.finish(&response, now() + Duration::from_secs(366 * 86_400)).map(drop);
    assert!(matches!(late, Err(JoinError::Certificate(Refusal::Untrusted { .. }))), "{late:?}");
}

#[test]
fn a_grant_that_the_node_could_not_use_is_not_given() {
    let cluster = Cluster::new();
    let (_, request) = cluster.begin();
    let application = cluster.open(&request).unwrap();
    let grant = cluster.grant(&application);

    for level in [1, 4] {
        let refused = application.grant(&Grant { feature_level: level, ..grant.clone() });
        assert_eq!(refused, Err(GrantError::FeatureLevel { level, min: 2, max: 3 }));
    }
    for count in [0, VOTERS_MAX + 1] {
        let voters = vec![grant.voters[0].clone(); count];
        assert_eq!(application.grant(&Grant { voters, ..grant.clone() }), Err(GrantError::Voters { count }));
    }
}

#[test]
fn the_fields_of_an_application_are_checked_by_name() {
    let cluster = Cluster::new();
    let (_, request) = cluster.begin();
    let message = JoinApplication::decode(request.application).unwrap();
    type Change = fn(&mut JoinApplication);
    let cases: [(&str, Change); 9] = [
        ("`name`", |message| message.name = "Node 4".to_owned()),
        ("`peer_address`", |message| message.peer_address = "node-4".to_owned()),
        ("`admin_address`", |message| message.admin_address = String::new()),
        ("`rack`", |message| message.rack = "R 1".to_owned()),
        ("`feature_level_min`", |message| message.feature_level_min = 4),
        ("certificate request", |message| message.request = b"none".to_vec().into()),
        ("cannot be read", |message| message.nonce = vec![1; 31].into()),
        ("more than 12288 bytes", |message| message.name = "a".repeat(12289)),
        ("`chain`", |message| message.chain = vec![vec![1].into(); 8]),
    ];
    for (expected, change) in cases {
        let mut message = message.clone();
        change(&mut message);
        let error = cluster.open(&signed(&cluster, message.encode_to_vec())).map(drop).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    // What a newer program adds does not break the proof.
    let mut newer = message.encode_to_vec();
    newer.extend_from_slice(&[0xf8, 0x07, 1]);
    assert_eq!(cluster.open(&signed(&cluster, newer)).unwrap().applicant(), &applicant());
    // An agreement with a point that is none of a key.
    let weak = JoinApplication { nonce: vec![0; 32].into(), ..message };
    let application = cluster.open(&signed(&cluster, weak.encode_to_vec())).unwrap();
    assert_eq!(application.grant(&cluster.grant(&application)), Err(GrantError::Nonce));
}

/// Proves an application as who has the token does (RFC 5869, RFC 2104), computed here anew.
fn signed(cluster: &Cluster, application: Vec<u8>) -> JoinRequest {
    use ring::hmac::{HMAC_SHA256, Key, sign};
    let pseudorandom = sign(&Key::new(HMAC_SHA256, b"quorate join proof v1"), &cluster.record.secret_hash);
    let info = [cluster.record.id.0.as_slice(), &[1]].concat();
    let key = sign(&Key::new(HMAC_SHA256, pseudorandom.as_ref()), &info);
    let proof = sign(&Key::new(HMAC_SHA256, key.as_ref()), &application).as_ref().to_vec();
    JoinRequest {
        token: cluster.record.id.0.to_vec().into(),
        application: application.into(),
        proof: proof.into(),
        ..JoinRequest::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_request_with_one_bit_changed_is_refused(bit: prop::sample::Index) {
        let cluster = Cluster::new();
        let (_, request) = cluster.begin();
        let parts = [request.token.to_vec(), request.application.to_vec(), request.proof.to_vec()];
        let mut bytes = parts.concat();
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        let (token, rest) = bytes.split_at(parts[0].len());
        let (application, proof) = rest.split_at(parts[1].len());
        let changed = JoinRequest {
            token: token.to_vec().into(),
            application: application.to_vec().into(),
            proof: proof.to_vec().into(),
            ..JoinRequest::default()
        };
        prop_assert_eq!(cluster.open(&changed).map(drop), Err(JoinRefusal::Unknown));
    }

    #[test]
    fn an_answer_with_one_bit_changed_is_refused(bit: prop::sample::Index) {
        let cluster = Cluster::new();
        let (joiner, request) = cluster.begin();
        let response = cluster.answer(&request, |_| {});
        let mut bytes = [response.nonce.to_vec(), response.sealed.to_vec()].concat();
        // Also the bit that is no part of a point on X25519 (RFC 7748 §5): it is a part of the nonce.
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        let (nonce, sealed) = bytes.split_at(32);
        let changed = JoinResponse { nonce: nonce.to_vec().into(), sealed: sealed.to_vec().into() };
        prop_assert_eq!(joiner.finish(&changed, now()).map(drop), Err(JoinError::NotOpened));
    }

    #[test]
    fn arbitrary_messages_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), nonce: [u8; 32]) {
        let cluster = Cluster::new();
        let (joiner, request) = cluster.begin();
        let response = JoinResponse { nonce: nonce.to_vec().into(), sealed: bytes.clone().into() };
        prop_assert_eq!(joiner.finish(&response, now()).map(drop), Err(JoinError::NotOpened));
        prop_assert!(cluster.open(&signed(&cluster, bytes.clone())).is_err());
        let forged = JoinRequest { application: bytes.into(), ..request };
        prop_assert_eq!(cluster.open(&forged).map(drop), Err(JoinRefusal::Unknown));
    }
}
