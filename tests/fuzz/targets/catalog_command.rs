//! Commands and snapshots of the meta group's machine: bytes that a disk or a peer gives end in an outcome or an error.
//! The input is taken in three ways: as one command, as commands with two bytes of length before each, and as the records
//! of a snapshot, to which the trailer is added, since no fuzzer finds a SHA-256.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use quorate_catalog::{Catalog, Digest, proto};
use quorate_types::Timestamp;

use prost::Message as _;
use proto::{command, outcome, record};

fuzz_target!(|input: &[u8]| {
    apply(&mut with_a_cluster(), input);
    let mut catalog = with_a_cluster();
    pieces(input).for_each(|command| apply(&mut catalog, command));
    survives(&catalog);

    let _ = Catalog::restore(&mut &input[..]);
    let Ok(mut catalog) = Catalog::restore(&mut &with_trailer(input)[..]) else { return };
    survives(&catalog);
    pieces(input).for_each(|command| apply(&mut catalog, command));
    let _ = catalog.moves();
});

fn apply(catalog: &mut Catalog, command: &[u8]) {
    let before = catalog.clone();
    let applied = catalog.apply(Timestamp::from_millis(2_000_000), command);
    let outcome = proto::Outcome::decode(&applied.outcome[..]).expect("an outcome is one");
    if let Some(outcome::Kind::Refusal(_)) = outcome.kind {
        assert!(*catalog == before && applied.effects.is_empty(), "a refused command changes something");
    }
    assert_eq!(catalog.check(), Ok(()));
}

fn survives(catalog: &Catalog) {
    let mut bytes = Vec::new();
    catalog.write_snapshot(&mut bytes).expect("a vector takes everything");
    let restored = Catalog::restore(&mut &bytes[..]).expect("what was written is read");
    assert!(restored == *catalog && restored.hash() == catalog.hash(), "a snapshot is another state");
}

fn with_a_cluster() -> Catalog {
    let node = proto::NewNode {
        name: "n1".to_owned(),
        peer_address: "n1:4192".to_owned(),
        level_min: 1,
        level_max: 2,
        ..proto::NewNode::default()
    };
    let cluster = Bytes::from_static(&[7; 16]);
    let bootstrap = proto::Bootstrap { cluster, level: 1, groups: 2, node: Some(node), ..proto::Bootstrap::default() };
    let command = proto::Command { level: 1, kind: Some(command::Kind::Bootstrap(bootstrap)) };
    let mut catalog = Catalog::new();
    catalog.apply(Timestamp::from_millis(1_000_000), &command.encode_to_vec());
    assert!(catalog.cluster().is_some(), "the first command is taken");
    catalog
}

/// Pieces with two bytes of length before each; at most 64.
fn pieces(mut input: &[u8]) -> impl Iterator<Item = &[u8]> {
    let next = move || {
        let (length, rest) = input.split_first_chunk()?;
        let (piece, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        input = rest;
        Some(piece)
    };
    std::iter::from_fn(next).take(64)
}

/// Records with the trailer that belongs to them.
fn with_trailer(records: &[u8]) -> Vec<u8> {
    let mut rest = records;
    let mut count = 0;
    while !rest.is_empty() && proto::Record::decode_length_delimited(&mut rest).is_ok() {
        count += 1;
    }
    let sha256 = Bytes::copy_from_slice(&Digest::of(records).0);
    let trailer = record::Kind::Trailer(proto::Trailer { records: count, sha256 });
    let trailer = proto::Record { kind: Some(trailer) }.encode_length_delimited_to_vec();
    [records, &trailer].concat()
}
