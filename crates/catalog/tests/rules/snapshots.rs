//! Snapshots: the same state again, or an error.

use prost::Message as _;
use quorate_catalog::proto::{self, command::Kind, record};
use quorate_catalog::{Catalog, RestoreError};

use crate::support::{World, apply, issue, upsert};

/// A state with something of everything.
fn full() -> World {
    let mut world = World::of_nodes(3);
    world.documents(apply(vec![upsert("a", "{\"v\":1}"), upsert("b", "{}")]));
    world.documents(apply(vec![upsert("a", "{\"v\":2}")]));
    world.done(Kind::IssueToken(issue([3; 16], world.now + 100)));
    let stage = vec![5; 16].into();
    world.done(Kind::StageBegin(proto::StageBegin { stage, bytes: 4, sha256: vec![0; 32].into() }));
    let stage = vec![5; 16].into();
    world.done(Kind::StagePart(proto::StagePart { stage, offset: 0, data: vec![1, 2].into() }));
    let (purpose, id, sealed) = ("session".to_owned(), "a".to_owned(), vec![7; 9].into());
    world.done(Kind::RotateKey(proto::RotateKey { purpose, id, expected_version: 0, sealed }));
    let (kind, message) = ("disk".to_owned(), "80%".to_owned());
    world.done(Kind::RaiseAlarm(proto::RaiseAlarm { node: 2, kind, message }));
    world
}

fn written(catalog: &Catalog) -> Vec<u8> {
    let mut bytes = Vec::new();
    catalog.write_snapshot(&mut bytes).expect("a vector takes everything");
    bytes
}

fn records(bytes: &[u8]) -> Vec<record::Kind> {
    let mut rest = bytes;
    let mut records = Vec::new();
    while !rest.is_empty() {
        let record = proto::Record::decode_length_delimited(&mut rest).expect("a record");
        records.push(record.kind.expect("of a kind"));
    }
    records
}

/// Writes records with the trailer that belongs to them.
fn sealed(records: impl IntoIterator<Item = record::Kind>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut count = 0;
    for kind in records.into_iter().filter(|kind| !matches!(kind, record::Kind::Trailer(_))) {
        bytes.extend(proto::Record { kind: Some(kind) }.encode_length_delimited_to_vec());
        count += 1;
    }
    let sha256 = quorate_catalog::Digest::of(&bytes).0.to_vec().into();
    let trailer = record::Kind::Trailer(proto::Trailer { records: count, sha256 });
    bytes.extend(proto::Record { kind: Some(trailer) }.encode_length_delimited_to_vec());
    bytes
}

#[test]
fn a_state_is_the_same_after_a_snapshot_of_it() {
    for world in [World::empty(), World::new(), full()] {
        let bytes = written(&world.catalog);
        let restored = Catalog::restore(&mut &bytes[..]).expect("it was written");
        assert_eq!((restored.hash(), &written(&restored)), (world.catalog.hash(), &bytes));
        assert!(restored == world.catalog);
        assert_eq!(sealed(records(&bytes)), bytes);
    }
}

#[test]
fn a_snapshot_that_was_cut_or_changed_anywhere_is_refused() {
    let bytes = written(&full().catalog);
    for length in 0..bytes.len() {
        assert!(Catalog::restore(&mut &bytes[..length]).is_err(), "cut at {length}");
    }
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x11;
        assert!(Catalog::restore(&mut &changed[..]).is_err(), "changed at {at}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(matches!(Catalog::restore(&mut &longer[..]), Err(RestoreError::Form { .. })));
}

#[test]
fn records_that_are_left_out_repeated_or_swapped_are_noticed_also_with_the_right_trailer() {
    let all = records(&written(&full().catalog));
    let body = all.len() - 1;
    // What can be left out, since nothing refers to it: a token, an alarm, a key's only version, and node 3, which holds nothing.
    let free = |kind: &record::Kind| match kind {
        record::Kind::Token(_) | record::Kind::Alarm(_) | record::Kind::Key(_) => true,
        record::Kind::Node(node) => node.id == 3,
        _ => false,
    };
    for at in 0..body {
        let mut left_out = all.clone();
        let gone = left_out.remove(at);
        let taken = Catalog::restore(&mut &sealed(left_out)[..]);
        assert!(taken.is_err() || free(&gone), "left out: {gone:?}");
        let mut repeated = all.clone();
        repeated.insert(at, all[at].clone());
        assert!(Catalog::restore(&mut &sealed(repeated)[..]).is_err(), "repeated: {:?}", all[at]);
        if at + 1 < body {
            let mut swapped = all.clone();
            swapped.swap(at, at + 1);
            assert!(Catalog::restore(&mut &sealed(swapped)[..]).is_err(), "swapped: {:?}", all[at]);
        }
    }
}

#[test]
fn a_state_that_commands_do_not_make_is_refused_also_with_the_right_trailer() {
    let all = records(&written(&full().catalog));
    let spoilt = |spoil: fn(&mut record::Kind)| {
        let mut all = all.clone();
        all.iter_mut().for_each(spoil);
        let bytes = sealed(all);
        let taken = Catalog::restore(&mut &bytes[..]);
        taken.expect_err("it is spoilt").to_string()
    };
    let table: [fn(&mut record::Kind); 10] = [
        |kind| {
            if let record::Kind::Header(header) = kind {
                header.version = 2
            }
        },
        |kind| {
            if let record::Kind::Header(header) = kind {
                header.next_node = u64::MAX
            }
        },
        |kind| {
            if let record::Kind::Header(header) = kind {
                header.next_node = 2
            }
        },
        |kind| {
            if let record::Kind::Header(header) = kind {
                header.forgotten = 1
            }
        },
        |kind| {
            if let record::Kind::Header(header) = kind {
                header.revision = 3
            }
        },
        |kind| {
            if let record::Kind::Header(header) = kind {
                header.groups = 5
            }
        },
        |kind| {
            if let record::Kind::Node(node) = kind {
                node.name = "same".to_owned()
            }
        },
        |kind| {
            if let record::Kind::Shard(shard) = kind {
                shard.voters = vec![9]
            }
        },
        |kind| {
            if let record::Kind::Content(content) = kind {
                content.data = "{\"w\":1}".into()
            }
        },
        |kind| {
            if let record::Kind::Stage(stage) = kind {
                stage.bytes = 1
            }
        },
    ];
    for spoil in table {
        assert!(!spoilt(spoil).is_empty());
    }
}

#[test]
fn a_length_that_is_only_claimed_takes_no_memory() {
    let claims = [0xff, 0xff, 0xff, 0xff, 0x0f];
    assert!(matches!(Catalog::restore(&mut &claims[..]), Err(RestoreError::Read { record: 0, .. })));
    let endless = [0xff; 16];
    assert!(matches!(Catalog::restore(&mut &endless[..]), Err(RestoreError::Read { record: 0, .. })));
}
