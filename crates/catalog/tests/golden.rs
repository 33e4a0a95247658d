//! What an earlier version wrote is read by this one, and means the same: commands, their outcomes, and a snapshot.
//!
//! The files of a folder of `tests/golden` were written by the first version of a feature level and stay as they are: a
//! cluster that is upgraded has such commands in its log and such snapshots on its disks. With `WRITE_GOLDEN=1` in the
//! environment those of the latest are written anew; that is right only as long as no version with the form is in anybody's
//! hands, and for commands that are added to it.

#![expect(clippy::disallowed_methods, reason = "files are written where somebody asks for it")]

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::mem::discriminant;

use bytes::Bytes;
use prost::Message as _;
use quorate_catalog::proto::{self, NodeState, command::Kind};
use quorate_catalog::{Catalog, DEFAULTS, Digest};
use quorate_types::Timestamp;

use support::{
    add_node, apply, bootstrap, certificate, issue, issue_operator, key, labels, new_node, revoke_operator, upsert,
};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/v3");

/// What a version wrote.
struct Golden {
    commands: &'static [u8],
    outcomes: &'static [u8],
    snapshot: &'static [u8],
    /// The hash of the state that the snapshot holds.
    hash: u64,
    /// How many kinds of commands there were.
    kinds: usize,
    /// Which commands were refused.
    refused: &'static [usize],
    /// How many nodes the snapshot has.
    nodes: usize,
    /// How many certificates of operators the snapshot has.
    operators: usize,
}

const ALL: [Golden; 3] = [
    Golden {
        commands: include_bytes!("golden/v1/commands.bin"),
        outcomes: include_bytes!("golden/v1/outcomes.bin"),
        snapshot: include_bytes!("golden/v1/snapshot.bin"),
        hash: 0x1c19_0130_fc1f_dbb7,
        kinds: 24,
        refused: &[4, 13, 15, 32],
        nodes: 3,
        operators: 0,
    },
    Golden {
        commands: include_bytes!("golden/v2/commands.bin"),
        outcomes: include_bytes!("golden/v2/outcomes.bin"),
        snapshot: include_bytes!("golden/v2/snapshot.bin"),
        hash: 0xc73a_1ffd_db23_338e,
        kinds: 26,
        refused: &[4, 13, 15, 32],
        nodes: 3,
        operators: 2,
    },
    Golden {
        commands: include_bytes!("golden/v3/commands.bin"),
        outcomes: include_bytes!("golden/v3/outcomes.bin"),
        snapshot: include_bytes!("golden/v3/snapshot.bin"),
        hash: 0xca63_f243_a516_aee9,
        kinds: 26,
        refused: &[4, 13, 15, 32, 46],
        nodes: 4,
        operators: 2,
    },
];

/// A command of every kind of feature level 1, most of them taken, and some refused.
fn history() -> Vec<Kind> {
    let (token, stage) = ([3; 16], Bytes::from_static(&[5; 16]));
    let whole = apply(vec![upsert("staged", "{}")]).encode_to_vec();
    let sha256: Bytes = Digest::of(&whole).0.to_vec().into();
    let bytes = whole.len() as u64;
    let labeled = proto::Upsert { labels: labels(&[("source", "git")]), ..upsert("a", "{\"v\":1}") };
    let state = |state: NodeState| Kind::SetNodeState(proto::SetNodeState { node: 2, state: state.into() });
    let rotate = |expected_version| {
        let (purpose, id) = ("session".to_owned(), "main".to_owned());
        Kind::RotateKey(proto::RotateKey { purpose, id, expected_version, sealed: vec![7; 40].into() })
    };
    let (purpose, id, version) = ("session".to_owned(), "main".to_owned(), 1);
    let rewrap = proto::RewrapKey { purpose: purpose.clone(), id: id.clone(), version: 2, sealed: vec![8; 40].into() };
    let start = vec![9; 16].into();
    let begin = |stage: Bytes| Kind::StageBegin(proto::StageBegin { stage, bytes, sha256: sha256.clone() });
    let alarm = |kind: &str| {
        Kind::RaiseAlarm(proto::RaiseAlarm { node: 1, kind: kind.to_owned(), message: "80% full".to_owned() })
    };
    let pending = Some(proto::Move { from: 1, to: 2 });
    vec![
        Kind::Bootstrap(bootstrap()),
        Kind::IssueToken(issue(token, 2_000_000)),
        Kind::IssueToken(issue([4; 16], 2_000_000)),
        Kind::AddNode(add_node("n2", token)),
        Kind::AddNode(add_node("n3", token)),
        Kind::RevokeToken(proto::RevokeToken { token: vec![4; 16].into() }),
        Kind::NodeStarted(proto::NodeStarted { node: 2, incarnation: 3, start, level_min: 1, level_max: 3 }),
        state(NodeState::Active),
        Kind::UpdateNode(proto::UpdateNode {
            node: 2,
            peer_address: "[::1]:4192".to_owned(),
            rack: "r1".to_owned(),
            ..proto::UpdateNode::default()
        }),
        Kind::SetCertificates(proto::SetCertificates { node: 2, certificates: vec![certificate("next")] }),
        Kind::RaiseLevel(proto::RaiseLevel { to: 2 }),
        Kind::SetLimits(proto::SetLimits { limits: Some(DEFAULTS.to_proto()) }),
        Kind::SetReplicas(proto::SetReplicas {
            shard: 2,
            expected_version: 1,
            voters: vec![1],
            learners: vec![2],
            pending,
        }),
        Kind::SetReplicas(proto::SetReplicas { shard: 2, ..proto::SetReplicas::default() }),
        Kind::Apply(apply(vec![labeled, upsert("b", "{}")])),
        Kind::Apply(proto::Apply { expected_revision: Some(0), ..apply(vec![upsert("b", "{}")]) }),
        Kind::Apply(proto::Apply { deletes: vec![key("ToolServer", "b")], ..apply(vec![upsert("a", "{\"v\":2}")]) }),
        Kind::Rollback(proto::Rollback { to_revision: 1, author: "bob".to_owned(), ..proto::Rollback::default() }),
        begin(stage.clone()),
        Kind::StagePart(proto::StagePart { stage: stage.clone(), offset: 0, data: whole.into() }),
        Kind::StageCommit(proto::StageCommit { stage: stage.clone() }),
        begin(stage.clone()),
        Kind::StageAbort(proto::StageAbort { stage: stage.clone() }),
        begin(stage.clone()),
        Kind::StagePart(proto::StagePart { stage, offset: 0, data: vec![10, 11].into() }),
        rotate(0),
        rotate(1),
        Kind::RetireKey(proto::RetireKey { purpose, id, version }),
        Kind::RewrapKey(rewrap),
        alarm("disk"),
        alarm("clock"),
        Kind::ClearAlarm(proto::ClearAlarm { node: 1, kind: "clock".to_owned() }),
        Kind::AddNode(add_node("n4", [4; 16])),
        Kind::IssueToken(issue([6; 16], 2_000_000)),
        Kind::AddNode(add_node("n3", [6; 16])),
        Kind::ReplaceNode(proto::ReplaceNode { old: 2, new: 3 }),
        Kind::RemoveNode(proto::RemoveNode { node: 2, force: true }),
    ]
}

/// Those that came with feature level 2.
fn of_level_2() -> [Kind; 3] {
    [
        Kind::IssueOperator(issue_operator("ana", 90_000_000)),
        Kind::IssueOperator(issue_operator("ben", 90_000_000)),
        Kind::RevokeOperator(revoke_operator("ana", 0)),
    ]
}

/// Those that came with feature level 3: nodes with numbers of their own.
fn of_level_3() -> Vec<Kind> {
    let started = |node: u64| {
        let start = vec![8; 16].into();
        Kind::NodeStarted(proto::NodeStarted { node, incarnation: 9, start, level_min: 1, level_max: 3 })
    };
    let comes = |name: &str, token: [u8; 16]| {
        let node = Some(proto::NewNode { number: 9, level_max: 3, ..new_node(name) });
        Kind::AddNode(proto::AddNode { node, ..add_node(name, token) })
    };
    vec![
        started(1),
        started(3),
        Kind::RaiseLevel(proto::RaiseLevel { to: 3 }),
        Kind::IssueToken(issue([10; 16], 2_000_000)),
        comes("n9", [10; 16]),
        started(9),
        comes("n10", [4; 16]),
    ]
}

/// Applies commands, one each second, and returns the state and the outcomes.
fn run(commands: &[Vec<u8>]) -> (Catalog, Vec<Vec<u8>>) {
    let mut catalog = Catalog::new();
    let times = (1_000_000..).step_by(1_000).map(Timestamp::from_millis);
    let applied = commands.iter().zip(times).map(|(command, now)| catalog.apply(now, command).outcome.to_vec());
    let outcomes = applied.collect();
    (catalog, outcomes)
}

/// Each item with its length in four bytes before it, big-endian.
fn framed(items: &[Vec<u8>]) -> Vec<u8> {
    let length = |item: &Vec<u8>| u32::try_from(item.len()).expect("it is small").to_be_bytes();
    items.iter().flat_map(|item| [&length(item)[..], item].concat()).collect()
}

fn unframed(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut items = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let (item, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        items.push(item.to_vec());
        bytes = rest;
    }
    items
}

fn snapshot(catalog: &Catalog) -> Vec<u8> {
    let mut bytes = Vec::new();
    catalog.write_snapshot(&mut bytes).expect("a vector takes everything");
    bytes
}

#[test]
fn commands_of_an_earlier_version_come_to_what_they_came_to() {
    if std::env::var_os("WRITE_GOLDEN").is_some() {
        let encode = |kind| proto::Command { level: 1, kind: Some(kind) }.encode_to_vec();
        let commands: Vec<_> = history().into_iter().chain(of_level_2()).chain(of_level_3()).map(encode).collect();
        let (catalog, outcomes) = run(&commands);
        let files =
            [("commands", framed(&commands)), ("outcomes", framed(&outcomes)), ("snapshot", snapshot(&catalog))];
        for (name, bytes) in files {
            std::fs::write(format!("{FOLDER}/{name}.bin"), bytes).expect("the folder is there");
        }
        panic!("written; the hash is {:#x}: now run without WRITE_GOLDEN", catalog.hash());
    }

    for golden in ALL {
        let (catalog, outcomes) = run(&unframed(golden.commands));

        let decode = |bytes: &Vec<u8>| proto::Outcome::decode(&bytes[..]).expect("an outcome");
        for (index, (now, then)) in outcomes.iter().zip(unframed(golden.outcomes)).enumerate() {
            assert_eq!(decode(now), decode(&then), "command {index}");
        }
        assert_eq!(framed(&outcomes), golden.outcomes);
        assert_eq!(snapshot(&catalog), golden.snapshot, "the form of snapshots is kept");
        assert_eq!(catalog.hash(), golden.hash);
    }
}

#[test]
fn a_snapshot_of_an_earlier_version_is_restored() {
    for mut golden in ALL {
        let catalog = Catalog::restore(&mut golden.snapshot).expect("it was written");

        assert_eq!(catalog.hash(), golden.hash);
        assert_eq!((catalog.nodes().count(), catalog.revision(), catalog.documents().len()), (golden.nodes, 4, 3));
        assert_eq!((catalog.keys().count(), catalog.alarms().count()), (2, 1));
        assert_eq!(catalog.operators(catalog.time()).count(), golden.operators);
    }
}

#[test]
fn there_is_a_command_of_every_kind_and_most_are_taken() {
    for golden in ALL {
        let commands = unframed(golden.commands);
        let kinds =
            commands.iter().map(|bytes| proto::Command::decode(&bytes[..]).expect("a command").kind.expect("a kind"));
        let mut seen = Vec::new();
        for kind in kinds.map(|kind| discriminant(&kind)) {
            if !seen.contains(&kind) {
                seen.push(kind);
            }
        }
        assert_eq!(seen.len(), golden.kinds, "the kinds of commands that there are");
        let refusals: BTreeSet<usize> = unframed(golden.outcomes)
            .iter()
            .enumerate()
            .filter(|(_, bytes)| {
                let outcome = proto::Outcome::decode(&bytes[..]).expect("an outcome");
                matches!(outcome.kind, Some(proto::outcome::Kind::Refusal(_)))
            })
            .map(|(index, _)| index)
            .collect();
        assert_eq!(refusals, golden.refused.iter().copied().collect());
    }
}
