//! The laws of the machine, over arbitrary histories of commands.
//!
//! Histories are made of small pools of names, so that commands meet: tokens are used twice, applies conflict, nodes come
//! and go. A step says what is wanted; what it takes from the state (versions, revisions) is right most of the time. A
//! failure prints the steps, which are the whole history.

#[path = "support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message as _;
use quorate_catalog::proto::{self, command::Kind, outcome};
use quorate_catalog::{Catalog, DocumentKey, Limits, NUMBERS_LEVEL, REMOVED_NODES_MAX, Version};
use quorate_types::Timestamp;

use support::{
    World, add_node, apply, bootstrap, issue, issue_operator, key, labels, new_node, revoke_operator, upsert,
};

/// One step of a history.
#[derive(Clone, Debug)]
enum Step {
    /// Time goes on, or back.
    Wait(i64),
    /// A command, with small numbers for its fields.
    Do(u8, [u8; 4]),
    /// Bytes that are maybe no command.
    Bytes(Vec<u8>),
    /// A command with some of its bytes changed.
    Spoilt(u8, [u8; 4], Vec<(u16, u8)>),
}

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
const KINDS: u8 = 28;
const LIMITS: Limits =
    Limits { documents_max: 4, documents_bytes_max: 1_024, revisions_max: 6, history_bytes_max: 2_048 };

fn step() -> impl Strategy<Value = Step> {
    let fields = [0_u8..8, 0_u8..8, 0_u8..8, 0_u8..8];
    prop_oneof![
        2 => (-50_i64..400_000).prop_map(Step::Wait),
        1 => Just(Step::Wait(90_000_000)),
        30 => (0..KINDS, fields.clone()).prop_map(|(kind, fields)| Step::Do(kind, fields)),
        1 => vec(any::<u8>(), 0..40).prop_map(Step::Bytes),
        2 => (0..KINDS, fields, vec((any::<u16>(), any::<u8>()), 1..3))
            .prop_map(|(kind, fields, spoils)| Step::Spoilt(kind, fields, spoils)),
    ]
}

/// The command of a step.
fn command(world: &World, kind: u8, fields: [u8; 4]) -> Kind {
    let [a, b, _, _] = fields;
    let node = u64::from(a) + 1;
    let token = [b % 4; 16];
    match kind {
        0 => {
            let node = Some(proto::NewNode { level_max: 3, ..new_node("n1") });
            Kind::Bootstrap(proto::Bootstrap { limits: Some(LIMITS.to_proto()), node, ..bootstrap() })
        }
        1 => Kind::RaiseLevel(proto::RaiseLevel { to: u32::from(a) }),
        2 => Kind::SetLimits(proto::SetLimits {
            limits: Some(proto::Limits { revisions_max: u64::from(a), ..LIMITS.to_proto() }),
        }),
        3 | 4 => {
            let (name, [.., c, d]) = (NAMES[usize::from(a) % 5], fields);
            let number = if c < 3 { 1 + u64::from(d) } else { 0 };
            let node = Some(proto::NewNode { number, level_max: 3, ..new_node(name) });
            Kind::AddNode(proto::AddNode { node, ..add_node(name, token) })
        }
        5 => Kind::NodeStarted(proto::NodeStarted {
            node,
            incarnation: u64::from(b),
            start: vec![fields[2]; 16].into(),
            level_min: 1,
            level_max: 1 + u32::from(fields[3] % 3),
        }),
        6 => {
            let (rack, peer_address) = (NAMES[usize::from(b) % 5].to_owned(), new_node("x").peer_address);
            Kind::UpdateNode(proto::UpdateNode { node, rack, peer_address, ..proto::UpdateNode::default() })
        }
        7 => Kind::SetNodeState(proto::SetNodeState { node, state: i32::from(b % 6) }),
        8 => {
            let certificates = vec![support::certificate(NAMES[usize::from(b) % 5])];
            Kind::SetCertificates(proto::SetCertificates { node, certificates })
        }
        9 => Kind::ReplaceNode(proto::ReplaceNode { old: 1 + u64::from(a % 4), new: 1 + u64::from(b % 4) }),
        10 => Kind::RemoveNode(proto::RemoveNode { node, force: b < 4 }),
        11 | 12 => Kind::IssueToken(issue(token, world.now + 1 + 50_000 * u64::from(a))),
        13 => Kind::RevokeToken(proto::RevokeToken { token: token.to_vec().into() }),
        _ => command_about_things(world, kind, fields),
    }
}

fn command_about_things(world: &World, kind: u8, [a, b, c, d]: [u8; 4]) -> Kind {
    let (node, name) = (u64::from(a) + 1, NAMES[usize::from(a) % 5].to_owned());
    let author = NAMES[usize::from(d) % 5].to_owned();
    let stage: bytes::Bytes = vec![a % 3; 16].into();
    let expected_revision = (c == 0).then(|| world.catalog.revision().saturating_sub(u64::from(d % 2)));
    let purpose = "p".to_owned();
    match kind {
        14 => {
            let shard = u32::from(b % 6);
            let voters: BTreeSet<u64> = [u64::from(a % 4) + 1, u64::from(c % 4) + 1].into();
            let pending = (d == 0).then_some(proto::Move { from: u64::from(a % 4) + 1, to: 0 });
            let version = world.catalog.shard(shard).map_or(0, |shard| shard.version);
            let expected_version = version + u64::from(d == 1);
            let voters = voters.into_iter().collect();
            Kind::SetReplicas(proto::SetReplicas { shard, expected_version, voters, learners: Vec::new(), pending })
        }
        15 | 16 => Kind::Apply(proto::Apply { expected_revision, author, ..change([a, b, c, d]) }),
        17 => {
            let to_revision = world.catalog.revision().saturating_sub(u64::from(b));
            Kind::Rollback(proto::Rollback { to_revision, expected_revision, author, message: String::new() })
        }
        18 => {
            let whole = staged(a).encode_to_vec();
            let sha256 = quorate_catalog::Digest::of(&whole).0.to_vec().into();
            Kind::StageBegin(proto::StageBegin { stage, bytes: whole.len() as u64, sha256 })
        }
        19 => {
            let whole = if d == 7 { change([a, b, c, d]) } else { staged(a) }.encode_to_vec();
            Kind::StagePart(proto::StagePart { stage, offset: 0, data: whole.into() })
        }
        20 => Kind::StageCommit(proto::StageCommit { stage }),
        21 => {
            let active = world.catalog.keys().filter(|key| key.id.as_str() == name).map(|key| key.version).max();
            let expected_version = active.unwrap_or(0) + u32::from(d == 0);
            Kind::RotateKey(proto::RotateKey { purpose, id: name, expected_version, sealed: vec![b; 3].into() })
        }
        22 => Kind::RetireKey(proto::RetireKey { purpose, id: name, version: u32::from(b % 3) }),
        26 => Kind::IssueOperator(issue_operator(&name, world.now + 1 + 50_000 * u64::from(b))),
        27 => Kind::RevokeOperator(revoke_operator(&name, world.now + 1 + 50_000 * u64::from(b))),
        24 => Kind::StageAbort(proto::StageAbort { stage }),
        25 => Kind::RewrapKey(proto::RewrapKey {
            purpose,
            id: name,
            version: u32::from(b % 3),
            sealed: vec![d; 4].into(),
        }),
        _ if b < 5 => Kind::RaiseAlarm(proto::RaiseAlarm { node, kind: name, message: author }),
        _ => Kind::ClearAlarm(proto::ClearAlarm { node, kind: name }),
    }
}

/// A change of documents.
fn change([a, b, c, d]: [u8; 4]) -> proto::Apply {
    let source = if c % 2 == 0 { "x" } else { "y" };
    let document = |name: u8| {
        let text = format!("{{\"v\":\"{}\"}}", d.to_string().repeat(1 + 20 * usize::from(c)));
        proto::Upsert { labels: labels(&[("source", source)]), ..upsert(NAMES[usize::from(name) % 5], &text) }
    };
    let upserts: BTreeMap<u8, _> = [a % 5, b % 5].into_iter().map(|name| (name, document(name))).collect();
    let deletes = if b == 7 { vec![key("ToolServer", NAMES[usize::from(c) % 5])] } else { Vec::new() };
    let prune_source = (a == 7).then(|| source.to_owned());
    proto::Apply { deletes, prune_source, ..apply(upserts.into_values().collect()) }
}

/// What comes in parts in a stage: the same for the same stage, so that beginning and parts meet.
fn staged(a: u8) -> proto::Apply {
    change([a % 3, 1, 2, 3 + a % 3])
}

/// A run of a history, and what is remembered of it beside the machine.
struct Run {
    world: World,
    /// Does the same as the machine.
    twin: Catalog,
    /// The documents at each revision.
    documents: BTreeMap<u64, BTreeMap<DocumentKey, Version>>,
    nodes_given: BTreeSet<u64>,
    /// How often nodes joined, and by which tokens.
    joins: BTreeMap<[u8; 16], u32>,
    issued: BTreeMap<[u8; 16], u32>,
    /// How many commands were taken, by their number.
    taken: BTreeMap<u8, u32>,
}

// === impl Run ===

impl Run {
    fn new() -> Self {
        let documents = [(0, BTreeMap::new())].into();
        let (nodes_given, joins, issued, taken) = <_>::default();
        Self { world: World::empty(), twin: Catalog::new(), documents, nodes_given, joins, issued, taken }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Wait(millis) => self.world.now = self.world.now.saturating_add_signed(*millis),
            Step::Do(kind, fields) => {
                let command = command(&self.world, *kind, *fields);
                let encoded = proto::Command { level: 1, kind: Some(command) }.encode_to_vec();
                if self.apply(&encoded) {
                    *self.taken.entry(*kind).or_default() += 1;
                }
            }
            Step::Bytes(bytes) => drop(self.apply(bytes)),
            Step::Spoilt(kind, fields, spoils) => {
                let kind = Some(command(&self.world, *kind, *fields));
                let mut bytes = proto::Command { level: 1, kind }.encode_to_vec();
                for (at, value) in spoils {
                    let length = bytes.len();
                    bytes[usize::from(*at) % length] ^= value;
                }
                self.apply(&bytes);
            }
        }
    }

    /// Applies a command to the machine and to its twin, and says whether it was taken.
    fn apply(&mut self, bytes: &[u8]) -> bool {
        let revision = self.world.catalog.revision();
        let (applied, outcome) = self.world.apply_bytes(bytes);
        let same = self.twin.apply(Timestamp::from_millis(self.world.now), bytes);
        assert_eq!((&same.outcome, &same.effects), (&applied.outcome, &applied.effects), "the twin does the same");
        assert!(self.twin == self.world.catalog);

        let catalog = &self.world.catalog;
        assert!((revision..=revision + 1).contains(&catalog.revision()), "revisions have no gaps");
        if catalog.revision() > revision {
            self.documents.insert(catalog.revision(), catalog.documents().clone());
        }
        if let outcome::Kind::NodeAdded(added) = &outcome {
            assert!(self.nodes_given.insert(added.node), "node {} is given twice", added.node);
        }
        let taken = !matches!(outcome, outcome::Kind::Refusal(_));
        if taken {
            let command = proto::Command::decode(bytes).expect("what is taken is a command");
            self.remember(&command.kind.expect("of a kind"));
        }
        taken
    }

    fn remember(&mut self, command: &Kind) {
        let id = |bytes: &[u8]| <[u8; 16]>::try_from(bytes).expect("16 bytes");
        if let Kind::IssueToken(issue) = command {
            *self.issued.entry(id(&issue.token)).or_default() += 1;
        }
        if let Kind::AddNode(add) = command {
            *self.joins.entry(id(&add.token)).or_default() += 1;
            let (joins, issued) = (self.joins[&id(&add.token)], self.issued[&id(&add.token)]);
            assert!(joins <= issued, "a token is used more often than it was issued");
        }
        if let Kind::Rollback(rollback) = command {
            let target = &self.documents[&rollback.to_revision];
            let now = self.world.catalog.documents();
            assert!(now.keys().eq(target.keys()), "a rollback brings back what was there");
            assert!(now.values().zip(target.values()).all(|(now, then)| now.says_the_same(then)));
        }
    }

    /// Whatever history reaches is as it was.
    fn check_history(&self) {
        let catalog = &self.world.catalog;
        for revision in 0..=catalog.revision() + 1 {
            let there = (catalog.oldest_revision()..=catalog.revision()).contains(&revision);
            let read = catalog.at_revision(revision);
            assert_eq!(read.is_some(), there, "revision {revision}");
            assert!(read.is_none_or(|read| *read == self.documents[&revision]), "revision {revision}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// The twin is replaced by what its snapshot gives, at any point: it goes on as if nothing had been.
    #[test]
    fn every_history_keeps_the_laws_and_goes_on_the_same_after_a_snapshot(
        steps in vec(step(), 1..160),
        every in 1_usize..20,
    ) {
        let mut run = Run::new();
        run.step(&Step::Do(0, [0; 4]));
        for (at, step) in steps.iter().enumerate() {
            run.step(step);
            if at % every == 0 {
                let restored = run.world.restored();
                prop_assert!(restored == run.world.catalog);
                prop_assert_eq!(restored.hash(), run.world.catalog.hash());
                run.twin = restored;
            }
        }
        run.check_history();
        prop_assert_eq!(run.twin.hash(), run.world.catalog.hash());
    }

    #[test]
    fn a_refused_command_leaves_the_hash_as_it_was(steps in vec(step(), 1..40)) {
        let mut run = Run::new();
        run.step(&Step::Do(0, [0; 4]));
        for step in &steps {
            let (before, hash) = (run.world.catalog.clone(), run.world.catalog.hash());
            run.step(step);
            prop_assert_eq!(run.world.catalog == before, run.world.catalog.hash() == hash);
        }
    }

    #[test]
    fn arbitrary_bytes_are_refused_and_change_nothing(bytes in vec(any::<u8>(), 0..200)) {
        for mut world in [World::empty(), World::new()] {
            // What happens to be a command may be taken: an empty one of a known kind is.
            let known = proto::Command::decode(&bytes[..]).is_ok_and(|command| command.kind.is_some());
            let (_, outcome) = world.apply_bytes(&bytes);
            prop_assert!(known || matches!(outcome, outcome::Kind::Refusal(_)));
        }
    }

    #[test]
    fn arbitrary_bytes_are_no_snapshot(bytes in vec(any::<u8>(), 0..400)) {
        prop_assert!(Catalog::restore(&mut &bytes[..]).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, ..ProptestConfig::default() })]

    /// More nodes than are remembered come with numbers of their own, in any order, and go.
    #[test]
    fn no_number_is_given_twice_however_many_nodes_were_forgotten(
        numbers in vec(1_u64..4_000, 2 * REMOVED_NODES_MAX),
        every in 50_usize..400,
    ) {
        let numbered = |number| proto::NewNode { number, level_max: NUMBERS_LEVEL, ..new_node(&format!("n{number}")) };
        let mut catalog = Catalog::new();
        let mut now = 1_000_000;
        let apply = |catalog: &mut Catalog, now: u64, kind| {
            let command = proto::Command { level: 1, kind: Some(kind) }.encode_to_vec();
            let outcome = catalog.apply(Timestamp::from_millis(now), &command).outcome;
            proto::Outcome::decode(outcome).expect("an outcome").kind.expect("an outcome says something")
        };
        let node = Some(numbered(4_000));
        apply(&mut catalog, now, Kind::Bootstrap(proto::Bootstrap { level: NUMBERS_LEVEL, node, ..bootstrap() }));
        let mut given = BTreeSet::from([4_000]);
        for (at, number) in numbers.into_iter().enumerate() {
            let token = u128::try_from(at).expect("it is small").to_be_bytes();
            apply(&mut catalog, now, Kind::IssueToken(issue(token, now + 60_000)));
            let add = proto::AddNode { node: Some(numbered(number)), ..add_node("any", token) };
            match apply(&mut catalog, now, Kind::AddNode(add)) {
                outcome::Kind::NodeAdded(added) => {
                    prop_assert_eq!(added.node, number);
                    prop_assert!(given.insert(number), "node {} is given twice", number);
                    apply(&mut catalog, now, Kind::RemoveNode(proto::RemoveNode { node: number, force: false }));
                }
                // Who is refused had it, or it is not known any more who had.
                _ => prop_assert!(given.contains(&number) || given.len() > REMOVED_NODES_MAX, "node {} may be", number),
            }
            now += 90_000_000;
            if at % every == 0 {
                let mut bytes = Vec::new();
                catalog.write_snapshot(&mut bytes).expect("a vector takes everything");
                catalog = Catalog::restore(&mut &bytes[..]).expect("it was written");
            }
        }
        prop_assert!(given.len() > REMOVED_NODES_MAX && catalog.check().is_ok());
    }
}

/// The generator must reach what the laws are about.
#[test]
fn histories_take_commands_of_every_kind() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut taken: BTreeMap<u8, u32> = BTreeMap::new();
    let (mut trimmed, mut used) = (0, 0);
    for _ in 0..60 {
        let steps = vec(step(), 150).new_tree(&mut runner).expect("a history").current();
        let mut run = Run::new();
        run.step(&Step::Do(0, [0; 4]));
        steps.iter().for_each(|step| run.step(step));
        run.taken.iter().for_each(|(kind, times)| *taken.entry(*kind).or_default() += times);
        trimmed += u32::from(run.world.catalog.oldest_revision() > 0);
        used += run.joins.values().sum::<u32>();
    }
    assert!(trimmed > 10 && used > 10, "{trimmed} {used}");
    let rare: Vec<u8> = (0..KINDS).filter(|kind| taken.get(kind).copied().unwrap_or(0) < 3).collect();
    assert!(rare.is_empty(), "taken: {taken:?}");
}
