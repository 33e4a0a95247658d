//! Large changes in parts: whole or not at all.

use prost::Message as _;
use quorate_catalog::proto::{self, Reason, command::Kind, outcome};
use quorate_catalog::{COMMAND_BYTES_MAX, Digest, STAGE_IDLE_MAX, STAGED_BYTES_MAX, StageId, commands};

use crate::support::{World, apply, upsert};

const STAGE: [u8; 16] = [5; 16];

fn begin(id: u8, bytes: u64) -> Kind {
    let (stage, sha256) = (vec![id; 16].into(), vec![0; 32].into());
    Kind::StageBegin(proto::StageBegin { stage, bytes, sha256 })
}

fn part(offset: u64, data: &[u8]) -> Kind {
    let data = data.to_vec().into();
    Kind::StagePart(proto::StagePart { stage: STAGE.to_vec().into(), offset, data })
}

fn commit() -> Kind {
    Kind::StageCommit(proto::StageCommit { stage: STAGE.to_vec().into() })
}

fn large(documents: usize) -> proto::Apply {
    let text = format!("{{\"a\":\"{}\"}}", "x".repeat(500));
    apply((0..documents).map(|at| upsert(&format!("n{at}"), &text)).collect())
}

#[test]
fn five_thousand_documents_are_applied_at_once_by_commands_that_fit() {
    let mut world = World::new();
    let staged = commands(1, large(5_000), StageId(STAGE));
    assert!(staged.len() > 3);
    assert!(staged.iter().all(|command| command.encoded_len() <= COMMAND_BYTES_MAX));
    let (last, parts) = staged.split_last().expect("there are some");

    for command in parts {
        let kind = command.kind.clone().expect("a command");
        world.done(kind.clone());
        if matches!(kind, Kind::StagePart(_)) {
            world.done(kind);
        }
        assert_eq!(world.catalog.revision(), 0);
        world.catalog = world.restored();
    }
    let outcome::Kind::Applied(applied) = world.done(last.kind.clone().expect("a command")) else { panic!("applied") };

    assert_eq!((applied.revision, applied.added, world.catalog.documents().len()), (1, 5_000, 5_000));
    assert_eq!(world.refused(commit()).reason(), Reason::Unknown);
    assert_eq!(commands(1, large(1), StageId(STAGE)).len(), 1);
}

#[test]
fn what_is_not_what_was_announced_is_not_applied() {
    let mut world = World::new();
    world.done(begin(5, 4));
    world.done(part(0, b"ab"));
    assert_eq!(world.refused(commit()).reason(), Reason::State);
    assert_eq!(world.refused(part(1, b"b")).allowed(), "2");
    assert_eq!(world.refused(part(0, b"xy")).reason(), Reason::Conflict);
    assert_eq!(world.refused(part(3, b"d")).allowed(), "2");
    assert_eq!(world.refused(part(2, b"cde")).allowed(), "2 bytes");
    assert_eq!(world.refused(part(2, b"")).field(), "data");
    world.done(part(2, b"cd"));
    assert_eq!(world.refused(commit()).allowed(), "what has the hash that was announced");

    let mut world = World::new();
    let (stage, sha256) = (STAGE.to_vec().into(), Digest::of(b"abcd").0.to_vec().into());
    world.done(Kind::StageBegin(proto::StageBegin { stage, bytes: 4, sha256 }));
    world.done(part(0, b"abcd"));
    assert_eq!(world.refused(commit()).reason(), Reason::Malformed);
}

#[test]
fn stages_are_bounded_in_number_bytes_and_age() {
    let mut world = World::new();
    for id in 1..=8 {
        world.done(begin(id, 1));
    }
    assert_eq!(world.refused(begin(9, 1)).reason(), Reason::Limit);
    assert_eq!(world.refused(begin(8, 1)).reason(), Reason::Exists);

    world.now += u64::try_from(STAGE_IDLE_MAX.as_millis()).expect("it fits");
    assert_eq!(world.refused(part(0, b"a")).reason(), Reason::Unknown);
    world.done(begin(5, STAGED_BYTES_MAX - 1));
    assert_eq!(world.refused(begin(6, 2)).reason(), Reason::Limit);
    world.done(begin(6, 1));
    world.done(Kind::StageAbort(proto::StageAbort { stage: STAGE.to_vec().into() }));
    world.done(begin(7, STAGED_BYTES_MAX - 1));
    assert_eq!(world.refused(begin(8, STAGED_BYTES_MAX + 1)).reason(), Reason::Invalid);
}

#[test]
fn parts_that_are_too_small_for_their_stage_come_to_an_end() {
    let mut world = World::new();
    world.done(begin(5, 10_000));
    for at in 0..2_048 {
        world.done(part(at, b"x"));
    }
    assert_eq!(world.refused(part(2_048, b"x")).reason(), Reason::Limit);
}
