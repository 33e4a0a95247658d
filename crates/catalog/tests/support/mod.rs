//! A machine with what tests ask of it, and commands with what they leave out filled in.
//!
//! Every command that a test applies is held against the rules that hold for all: a refused one changes nothing and has no
//! effects, and after each the state is one that may be.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]

use bytes::Bytes;
use prost::Message as _;
use quorate_catalog::proto::{self, command::Kind, outcome};
use quorate_catalog::{Applied, Catalog, Digest, Effect, Refusal};
use quorate_types::Timestamp;

/// A machine and its time.
#[derive(Clone)]
pub struct World {
    pub catalog: Catalog,
    pub now: u64,
}

// === impl World ===

impl World {
    /// Without a cluster.
    pub fn empty() -> Self {
        Self { catalog: Catalog::new(), now: 1_000_000 }
    }

    /// With a cluster of one node.
    pub fn new() -> Self {
        let mut world = Self::empty();
        world.done(Kind::Bootstrap(bootstrap()));
        world
    }

    /// With a cluster of nodes 1 to `count`, all active.
    pub fn of_nodes(count: u64) -> Self {
        let mut world = Self::new();
        for id in 2..=count {
            world.join(&format!("n{id}"));
            world.set_state(id, proto::NodeState::Active);
        }
        world
    }

    /// Applies bytes at the world's time.
    pub fn apply_bytes(&mut self, command: &[u8]) -> (Applied, outcome::Kind) {
        let before = self.catalog.clone();
        let applied = self.catalog.apply(Timestamp::from_millis(self.now), command);
        let outcome = proto::Outcome::decode(&applied.outcome[..]).expect("an outcome is one");
        let kind = outcome.kind.expect("an outcome says something");
        if matches!(kind, outcome::Kind::Refusal(_)) {
            assert!(
                self.catalog == before && self.catalog.hash() == before.hash(),
                "a refused command changes nothing"
            );
            assert_eq!(applied.effects, []);
        }
        assert_eq!(self.catalog.check(), Ok(()));
        (applied, kind)
    }

    pub fn apply(&mut self, kind: Kind) -> (Applied, outcome::Kind) {
        self.apply_bytes(&proto::Command { level: 1, kind: Some(kind) }.encode_to_vec())
    }

    /// Applies what must be taken.
    pub fn done(&mut self, kind: Kind) -> outcome::Kind {
        match self.apply(kind).1 {
            outcome::Kind::Refusal(refusal) => panic!("refused: {:?}", Refusal::from(refusal)),
            other => other,
        }
    }

    /// Applies what must be refused.
    pub fn refused(&mut self, kind: Kind) -> Refusal {
        match self.apply(kind).1 {
            outcome::Kind::Refusal(refusal) => refusal.into(),
            other => panic!("taken: {other:?}"),
        }
    }

    pub fn effects(&mut self, kind: Kind) -> Vec<Effect> {
        self.apply(kind).0.effects
    }

    /// Applies documents, and returns the revision.
    pub fn documents(&mut self, apply: proto::Apply) -> proto::Applied {
        match self.done(Kind::Apply(apply)) {
            outcome::Kind::Applied(applied) => applied,
            other => panic!("not an outcome of Apply: {other:?}"),
        }
    }

    /// Adds a node by a new token, and returns its number.
    pub fn join(&mut self, name: &str) -> u64 {
        let token = digest16(format!("{name} {}", self.catalog.nodes().count()).as_bytes());
        self.done(Kind::IssueToken(issue(token, self.now + 60_000)));
        match self.done(Kind::AddNode(add_node(name, token))) {
            outcome::Kind::NodeAdded(added) => added.node,
            other => panic!("not an outcome of AddNode: {other:?}"),
        }
    }

    pub fn set_state(&mut self, node: u64, state: proto::NodeState) {
        self.done(Kind::SetNodeState(proto::SetNodeState { node, state: state.into() }));
    }

    /// Writes and reads the state.
    pub fn restored(&self) -> Catalog {
        let mut bytes = Vec::new();
        self.catalog.write_snapshot(&mut bytes).expect("a vector takes everything");
        Catalog::restore(&mut &bytes[..]).expect("what was written is read")
    }
}

pub fn bootstrap() -> proto::Bootstrap {
    proto::Bootstrap {
        cluster: Bytes::from_static(&[7; 16]),
        level: 1,
        groups: 4,
        node: Some(new_node("n1")),
        ..proto::Bootstrap::default()
    }
}

pub fn new_node(name: &str) -> proto::NewNode {
    proto::NewNode {
        name: name.to_owned(),
        peer_address: format!("{name}.example:4192"),
        admin_address: format!("{name}.example:4191"),
        level_min: 1,
        level_max: 2,
        certificates: vec![certificate(name)],
        ..proto::NewNode::default()
    }
}

pub fn certificate(name: &str) -> proto::Certificate {
    let fingerprint = Digest::of(name.as_bytes()).0.to_vec().into();
    proto::Certificate { serial: Bytes::from_static(&[1]), fingerprint, not_after: 9_000_000 }
}

pub fn digest16(bytes: &[u8]) -> [u8; 16] {
    *Digest::of(bytes).0.first_chunk().expect("it has 32 bytes")
}

/// The hash of the secret that a token of a test has.
pub fn secret_hash(token: [u8; 16]) -> Bytes {
    Digest::of(&token).0.to_vec().into()
}

pub fn issue(token: [u8; 16], expires_at: u64) -> proto::IssueToken {
    proto::IssueToken {
        token: token.to_vec().into(),
        secret_hash: secret_hash(token),
        expires_at,
        created_by: "operator".to_owned(),
        ..proto::IssueToken::default()
    }
}

pub fn add_node(name: &str, token: [u8; 16]) -> proto::AddNode {
    let (node, secret_hash) = (Some(new_node(name)), secret_hash(token));
    proto::AddNode { node, token: token.to_vec().into(), secret_hash, application: Vec::new().into() }
}

pub fn issue_operator(of: &str, expires_at: u64) -> proto::IssueOperator {
    proto::IssueOperator {
        fingerprint: Digest::of(of.as_bytes()).0.to_vec().into(),
        serial: Bytes::from_static(&[1]),
        name: "ana".to_owned(),
        role: "admin".to_owned(),
        expires_at,
        created_by: "operator".to_owned(),
    }
}

pub fn revoke_operator(of: &str, expires_at: u64) -> proto::RevokeOperator {
    let fingerprint = Digest::of(of.as_bytes()).0.to_vec().into();
    proto::RevokeOperator { fingerprint, expires_at, revoked_by: "operator".to_owned() }
}

pub fn key(kind: &str, name: &str) -> proto::DocumentKey {
    proto::DocumentKey { kind: kind.to_owned(), tenant: "default".to_owned(), name: name.to_owned() }
}

pub fn labels(pairs: &[(&str, &str)]) -> Vec<proto::Label> {
    let label = |(name, value): &(&str, &str)| proto::Label { name: (*name).to_owned(), value: (*value).to_owned() };
    pairs.iter().map(label).collect()
}

pub fn upsert(name: &str, content: &str) -> proto::Upsert {
    proto::Upsert { key: Some(key("ToolServer", name)), labels: Vec::new(), content: content.to_owned().into() }
}

pub fn apply(upserts: Vec<proto::Upsert>) -> proto::Apply {
    proto::Apply { upserts, author: "alice".to_owned(), message: "why".to_owned(), ..proto::Apply::default() }
}
