//! The identity of a folder on a disk that loses, tears and damages what it is given.
//!
//! The law that counts: an incarnation that was given is never given again, whatever the disk did, or the folder is refused.

use std::sync::Arc;

use proptest::prelude::*;
use quorate_membership::home::{BeginError, FILE, Home, Identity, OpenError, Opened, StartError, Vacant};
use quorate_types::{ClusterId, Incarnation, NodeId, ResourceName, Timestamp};
use quorate_wal::testing::{Faults, SimDisk};
use quorate_wal::{Disk, Folder};

use crate::world::CLUSTER;

const CREATED: Timestamp = Timestamp::from_millis(1_795_673_237_000);
const SLOT_BITS: usize = 4096 * 8;

fn name() -> ResourceName {
    ResourceName::new("node-1").unwrap()
}

fn identity(incarnation: u64) -> Identity {
    let incarnation = Incarnation(incarnation);
    Identity { cluster: CLUSTER, node: NodeId(1), incarnation, created: CREATED, name: name() }
}

fn open(disk: &SimDisk) -> Result<Opened, OpenError> {
    Home::open(Arc::new(disk.clone()))
}

fn vacant(disk: &SimDisk) -> Vacant {
    match open(disk) {
        Ok(Opened::Empty(vacant)) => vacant,
        other => panic!("the folder is nobody's, and not {other:?}"),
    }
}

fn joined(disk: &SimDisk) -> Home {
    match open(disk) {
        Ok(Opened::Joined(home)) => home,
        other => panic!("the folder is a node's, and not {other:?}"),
    }
}

fn begin(vacant: Vacant) -> Result<Home, BeginError> {
    vacant.begin(CLUSTER, NodeId(1), name(), CREATED)
}

fn begun() -> SimDisk {
    let disk = SimDisk::default();
    begin(vacant(&disk)).unwrap();
    disk
}

#[test]
fn a_folder_on_a_real_disk_is_the_nodes_and_counts_its_starts() {
    let temporary = tempfile::tempdir().unwrap();
    let opened = || Home::open(Arc::new(Folder::new(temporary.path()).unwrap())).unwrap();
    let Opened::Empty(vacant) = opened() else { panic!("the folder is new") };
    let home = begin(vacant).unwrap();
    assert_eq!(home.identity(), &identity(0));
    drop(home);

    for incarnation in 1..=3 {
        let Opened::Joined(mut home) = opened() else { panic!("the folder is a node's") };
        assert_eq!(home.start().unwrap(), Incarnation(incarnation));
        assert_eq!(home.identity(), &identity(incarnation));
    }
    let Opened::Joined(home) = opened() else { panic!("the folder is a node's") };
    assert_eq!(
        home.identity().to_string(),
        "node 1 (node-1) of cluster 07070707070707070707070707070707, made 2026-11-26T06:07:17Z, started 3 times"
    );
}

#[test]
fn a_folder_of_another_cluster_is_refused_with_both_names() {
    let disk = begun();
    let home = joined(&disk);

    assert_eq!(home.expect(CLUSTER), Ok(()));
    let message = home.expect(ClusterId([9; 16])).unwrap_err().to_string();
    assert!(message.contains(&CLUSTER.to_string()) && message.contains(&"09".repeat(16)), "{message}");
}

#[test]
fn a_folder_with_other_data_does_not_become_a_nodes() {
    for other in ["wal", "notes.txt", "nodes"] {
        let disk = SimDisk::default();
        let vacant = vacant(&disk);
        disk.create(other, 0).unwrap();
        let refused = begin(vacant);
        assert!(matches!(&refused, Err(BeginError::OtherData { name }) if name == other), "{refused:?}");
    }
    let disk = SimDisk::default();
    for allowed in ["lock", "root.key", "root.17.new", "node.new", "node.pem", "node.pem.17.new", "lost+found"] {
        disk.create(allowed, 0).unwrap();
    }
    let second = vacant(&disk);
    begin(vacant(&disk)).unwrap();
    assert!(matches!(begin(second), Err(BeginError::Taken)));
    let refused = vacant(&SimDisk::default()).begin(CLUSTER, NodeId(0), name(), CREATED);
    assert!(matches!(refused, Err(BeginError::Node)));
}

#[test]
fn a_log_without_an_identity_is_refused() {
    let disk = SimDisk::default();
    disk.create("wal", 0).unwrap();

    let refused = open(&disk).unwrap_err();

    assert!(matches!(&refused, OpenError::NoIdentity { name } if name == "wal"), "{refused}");
}

#[test]
fn a_damaged_copy_is_made_up_for_and_two_are_refused() {
    for started in 0..4 {
        let disk = begun();
        for _ in 0..started {
            joined(&disk).start().unwrap();
        }
        // The newer copy, whichever it is, and the older one.
        for slot in 0..2 {
            let copy = begun();
            let mut given = 0;
            for _ in 0..started {
                given = joined(&copy).start().unwrap().0;
            }
            copy.flip(FILE, slot * SLOT_BITS + 200);
            if started == 0 && slot == 0 {
                assert!(matches!(open(&copy), Err(OpenError::Damaged { .. })), "there was one copy only");
                continue;
            }
            let mut home = joined(&copy);
            let next = home.start().unwrap().0;
            assert!(next > given, "{next} was given after {given}");
            // The new one is there twice.
            copy.flip(FILE, 200);
            assert!(joined(&copy).start().unwrap().0 > next);
        }
        disk.flip(FILE, 200);
        disk.flip(FILE, SLOT_BITS + 200);
        assert!(matches!(open(&disk), Err(OpenError::Damaged { .. })));
    }
}

#[test]
fn a_start_that_is_not_durable_gives_nothing() {
    let disk = begun();
    let mut home = joined(&disk);
    disk.set_faults(Faults { syncs_fail: true, ..Faults::default() });
    assert!(matches!(home.start(), Err(StartError::Disk(_))));
    assert_eq!(home.identity().incarnation, Incarnation(0));

    disk.set_faults(Faults { full_after: Some(0), full_for_writes: true, ..Faults::default() });
    let full = SimDisk::default();
    full.set_faults(Faults { full_after: Some(0), full_for_writes: true, ..Faults::default() });
    let refused = begin(vacant(&full)).unwrap_err().to_string();
    assert!(refused.starts_with("cannot make `node.new`"), "{refused}");
}

#[test]
fn writes_that_take_a_few_bytes_at_once_are_gone_on_with() {
    let disk = SimDisk::default();
    disk.set_faults(Faults { short_writes: Some(7), ..Faults::default() });
    begin(vacant(&disk)).unwrap();
    joined(&disk).start().unwrap();

    assert_eq!(joined(&disk).identity(), &identity(1));
}

/// What happens to a folder.
#[derive(Clone, Debug)]
enum Event {
    /// A start in which the power goes after some operations, or not.
    Start { power: Option<u64>, seed: u64 },
    /// A bit of the disk turns.
    Damage { bit: usize },
}

fn event(is_damaged: bool) -> impl Strategy<Value = Event> {
    let power = prop::option::of(0..12_u64);
    let start = (power, any::<u64>()).prop_map(|(power, seed)| Event::Start { power, seed });
    let damage = (0..2 * SLOT_BITS).prop_map(|bit| Event::Damage { bit });
    prop_oneof![4 => start, u32::from(is_damaged) => damage]
}

/// Starts a node, with the power going after some operations; returns what was given.
fn start(disk: &SimDisk, power: Option<u64>, seed: u64) -> Result<Option<u64>, OpenError> {
    disk.set_faults(Faults { operations_left: power, ..Faults::default() });
    let given = match open(disk) {
        Ok(Opened::Joined(mut home)) => Ok(home.start().ok().map(|incarnation| incarnation.0)),
        Ok(Opened::Empty(_)) => panic!("the identity is gone"),
        Err(OpenError::Disk(_)) => Ok(None),
        Err(error) => Err(error),
    };
    if power.is_some() {
        disk.crash(seed);
    }
    given
}

proptest! {
    #[test]
    fn a_crash_while_a_node_begins_leaves_nobodys_folder_or_the_nodes(operations in 0..12_u64, seed: u64) {
        let disk = SimDisk::default();
        let vacant = vacant(&disk);
        disk.set_faults(Faults { operations_left: Some(operations), ..Faults::default() });
        let is_begun = begin(vacant).is_ok();
        disk.crash(seed);

        match open(&disk).unwrap() {
            Opened::Empty(vacant) => {
                prop_assert!(!is_begun);
                let home = begin(vacant).unwrap();
                prop_assert_eq!(home.identity(), &identity(0));
            }
            Opened::Joined(home) => prop_assert_eq!(home.identity(), &identity(0)),
        }
    }

    #[test]
    fn crashes_alone_never_make_a_folder_unusable(events in prop::collection::vec(event(false), 0..30)) {
        let (disk, mut last) = (begun(), 0);
        for event in events {
            let Event::Start { power, seed } = event else { unreachable!("no damage was asked for") };
            if let Some(given) = start(&disk, power, seed).unwrap() {
                prop_assert!(given > last, "{} was given after {}", given, last);
                last = given;
            }
        }
        prop_assert!(joined(&disk).start().unwrap().0 > last);
    }

    #[test]
    fn no_incarnation_is_given_twice_on_a_disk_that_damages_what_it_has(
        events in prop::collection::vec(event(true), 0..40),
    ) {
        let (disk, mut last) = (begun(), 0);
        for event in events {
            match event {
                Event::Damage { bit } => disk.flip(FILE, bit),
                Event::Start { power, seed } => match start(&disk, power, seed) {
                    Ok(given) => {
                        prop_assert!(given.is_none_or(|given| given > last), "{:?} was given after {}", given, last);
                        last = given.unwrap_or(last);
                    }
                    Err(error) => {
                        prop_assert!(matches!(error, OpenError::Damaged { .. }), "{}", error);
                        return Ok(());
                    }
                },
            }
        }
    }

    #[test]
    fn arbitrary_bytes_in_the_place_of_an_identity_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..9000)) {
        let disk = SimDisk::default();
        let file = disk.create(FILE, bytes.len() as u64).unwrap();
        file.write_at(&bytes, 0).unwrap();
        prop_assert!(open(&disk).is_err());
    }
}
