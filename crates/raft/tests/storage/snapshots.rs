//! Snapshots on a disk that tears, damages and fills up, and from a peer in pieces.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use openraft::storage::{RaftSnapshotBuilder, RaftStateMachine};
use proptest::prelude::*;
use quorate_raft::codec::Wire;
use quorate_raft::snapshot::{Identity, ReceiveError, Snapshot, SnapshotError, SnapshotWriter, Store};
use quorate_raft::state::State;
use quorate_raft::types::{Entry, LeaderId, Vote};
use quorate_types::NodeId;
use quorate_wal::testing::{Faults, SimDisk};
use quorate_wal::{Disk, Folder};

use crate::tally::{command, config, entry, state};

/// Applies commands of these sizes from an index on.
async fn apply(state: &mut State, first: u64, sizes: &[usize]) {
    let make = |(index, size): (u64, &usize)| entry(1, index, command(index, vec![index as u8; *size]));
    let entries: Vec<Entry> = (first..).zip(sizes).map(make).collect();
    state.apply(stream::iter(entries.into_iter().map(|entry| Ok((entry, None))))).await.expect("all is well so far");
}

async fn build(state: &mut State) -> std::io::Result<Snapshot> {
    state.get_snapshot_builder().await.build_snapshot().await.map(|built| built.snapshot)
}

/// What restoring the newest snapshot of a disk says: the last index, none without one, or the error.
async fn restored(disk: &SimDisk) -> Result<Option<u64>, String> {
    let store = Store::open(Arc::new(disk.clone())).map_err(|error| error.to_string())?;
    let Some(current) = store.current() else { return Ok(None) };
    let mut state = State::new(quorate_raft::state::Config { store: Arc::new(store), ..config(SimDisk::default()) });
    let meta = current.identity().meta.raft.clone();
    state.install_snapshot(&meta, current).await.map_err(|error| error.to_string())?;
    let (applied, _) = state.applied_state().await.expect("all is well so far");
    Ok(applied.map(|applied| applied.index))
}

/// Gives a writer all of a snapshot from `from` on.
fn send(snapshot: &Snapshot, from: u64, to: &mut SnapshotWriter, piece: usize) {
    let mut offset = from;
    loop {
        let bytes = snapshot.read_at(offset, piece).expect("all is well so far");
        if bytes.is_empty() {
            break;
        }
        offset += bytes.len() as u64;
        assert!(to.write(offset - bytes.len() as u64, &bytes).expect("all is well so far") >= offset);
    }
}

#[tokio::test]
async fn a_snapshot_is_restored_as_it_was_made_and_replaces_the_older_one() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Folder::new(folder.path().join("snapshots")).unwrap();
    let mut made = state(disk.clone());
    apply(&mut made, 1, &[10, 0, 200_000, 64 << 10]).await;
    let older = build(&mut made).await.unwrap();
    apply(&mut made, 5, &[100_000]).await;
    let newer = build(&mut made).await.unwrap();

    for (term, committed, is_possible) in [(1, true, true), (2, true, true), (0, true, false), (1, false, false)] {
        let leader_id = LeaderId { term, voted_for: NodeId(1) };
        assert_eq!(newer.identity().is_possible_of(&Vote { leader_id, committed }), is_possible, "{term} {committed}");
    }

    let mut names = disk.names().unwrap();
    names.retain(|name| name != "lock");
    assert_eq!(names, [newer.name()]);
    assert!(newer.identity().bytes > 300_000 && newer.identity().meta.time.as_millis() == 5);
    // Who still sends the older one can.
    assert_eq!(older.read_at(0, 1 << 20).unwrap().len() as u64, older.identity().bytes);

    let opened = Store::open(Arc::new(disk)).unwrap().current().unwrap();
    assert_eq!(opened.identity(), newer.identity());
    let mut other = state(SimDisk::default());
    other.install_snapshot(&opened.identity().meta.raft, opened.clone()).await.unwrap();
    assert_eq!(other.applied_state().await.unwrap(), made.applied_state().await.unwrap());
    let again = build(&mut other).await.unwrap();
    assert_eq!(again.identity(), newer.identity());
}

#[tokio::test]
async fn a_snapshot_of_which_any_bit_differs_is_refused_by_name_and_never_restored() {
    let disk = SimDisk::default();
    let mut made = state(disk.clone());
    apply(&mut made, 1, &[5, 9]).await;
    let snapshot = build(&mut made).await.unwrap();
    let bits = usize::try_from(snapshot.identity().bytes).unwrap() * 8;
    assert_eq!(restored(&disk).await, Ok(Some(2)));

    for bit in 0..bits {
        disk.flip(snapshot.name(), bit);
        let refused = restored(&disk).await.unwrap_err();
        assert!(refused.contains(snapshot.name()), "bit {bit}: {refused}");
        let is_version = (64..96).contains(&bit);
        assert!(is_version || refused.contains("join again as a learner"), "bit {bit}: {refused}");
        disk.flip(snapshot.name(), bit);
    }
    assert_eq!(restored(&disk).await, Ok(Some(2)));
}

#[tokio::test]
async fn after_a_crash_at_any_operation_there_is_the_older_snapshot_or_the_newer_one() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..400 {
        let disk = SimDisk::default();
        let mut made = state(disk.clone());
        apply(&mut made, 1, &[700]).await;
        build(&mut made).await.unwrap();
        apply(&mut made, 2, &[700, 3_000]).await;
        let operations = seed % 14;
        disk.set_faults(Faults { operations_left: Some(operations), ..Faults::default() });
        let answered = build(&mut made).await.unwrap().identity().meta.raft.last_log_id.unwrap().index;
        disk.crash(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));

        let found = restored(&disk).await.unwrap().unwrap();
        assert!(
            [1, 3].contains(&found) && found >= answered,
            "{found} after {operations} operations, {answered} answered"
        );
        let names = disk.names().unwrap();
        assert_eq!(names.len(), 1, "{names:?}");
        seen.insert((answered, found));
    }
    assert!(seen.is_superset(&[(1, 1), (3, 3)].into()), "{seen:?}");
}

/// What is on a disk outlives the program: these bytes are read by every later version.
#[tokio::test]
async fn a_snapshot_has_the_bytes_of_the_first_version_and_they_are_restored() {
    const HEAD: &str = "51524d534e41505301000000170000000a040801100212021200180220b5808080f0de98989301333a06ca";
    const CHUNK: &str = "35000000f7623093010000000000000001000000000000000200000000000000\
        0101020000000000000002000000000000000300000000000000020202";
    const END: &str = "000000008df95cc8c8a246937846e8554c64d20a12ab736d0a40a1c0779576609e3b45a2";
    let disk = SimDisk::default();
    let mut made = state(disk.clone());
    apply(&mut made, 1, &[2, 3]).await;
    let content = disk.content(build(&mut made).await.unwrap().name());
    assert_eq!(content.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), [HEAD, CHUNK, END].concat());

    let other = SimDisk::default();
    let file = other.create("snapshot-00000000000000000003-0", 0).unwrap();
    quorate_wal::write_all_at(&*file, &content, 0).unwrap();
    assert_eq!(restored(&other).await, Ok(Some(2)));
}

#[tokio::test]
async fn a_full_disk_leaves_what_was_before_and_does_not_stop_the_group() {
    let disk = SimDisk::default();
    let mut made = state(disk.clone());
    apply(&mut made, 1, &[5]).await;
    let full = Faults { full_after: Some(0), full_for_writes: true, ..Faults::default() };
    disk.set_faults(full);
    let nothing = build(&mut made).await.unwrap();
    assert_eq!((nothing.identity().meta.raft.last_log_id, nothing.identity().bytes), (None, 0));

    disk.set_faults(Faults::default());
    let first = build(&mut made).await.unwrap();
    apply(&mut made, 2, &[5]).await;
    disk.set_faults(full);
    assert_eq!(build(&mut made).await.unwrap().identity(), first.identity());
    disk.set_faults(Faults::default());
    assert_ne!(build(&mut made).await.unwrap().identity(), first.identity());
}

#[tokio::test]
async fn a_transfer_goes_on_where_it_ended_and_is_checked_before_it_counts() {
    let mut made = state(SimDisk::default());
    apply(&mut made, 1, &[100_000, 50_000]).await;
    let snapshot = build(&mut made).await.unwrap();
    let identity = Identity::decode(snapshot.identity().encode()).unwrap();
    assert_eq!(&identity, snapshot.identity());
    let disk = SimDisk::default();
    let store = Arc::new(Store::open(Arc::new(disk.clone())).unwrap());

    let mut writer = store.receive(identity.clone()).unwrap();
    writer.write(0, &snapshot.read_at(0, 70_000).unwrap()).unwrap();
    assert_eq!(writer.received(), 70_000);
    let gap = writer.write(70_001, b"x").unwrap_err();
    assert!(matches!(gap, ReceiveError::Gap { offset: 70_001, received: 70_000 }), "{gap}");
    let long = writer.write(70_000, &vec![0; 100_000]).unwrap_err();
    assert!(matches!(long, ReceiveError::TooLong { end: 170_000, .. }), "{long}");
    // The sender knows less than was received: what is there is passed over.
    send(&snapshot, 60_000, &mut writer, 30_001);
    let received = writer.finish().unwrap();
    assert!(store.current().is_none(), "it counts only when it is installed");

    let config = quorate_raft::state::Config { store: Arc::clone(&store), ..config(SimDisk::default()) };
    let mut other = State::new(config);
    other.install_snapshot(&identity.meta.raft, received).await.unwrap();
    assert_eq!(store.current().unwrap().identity(), &identity);
    assert_eq!(disk.names().unwrap(), [store.current().unwrap().name()]);
    assert_eq!(build(&mut other).await.unwrap().identity(), &identity);
}

#[tokio::test]
async fn a_transfer_that_is_not_what_was_announced_or_is_given_up_leaves_nothing() {
    let mut made = state(SimDisk::default());
    apply(&mut made, 1, &[1_000]).await;
    let snapshot = build(&mut made).await.unwrap();
    let identity = snapshot.identity();
    let disk = SimDisk::default();
    let store = Store::open(Arc::new(disk.clone())).unwrap();

    let mut writer = store.receive(identity.clone()).unwrap();
    writer.write(0, &snapshot.read_at(0, 500).unwrap()).unwrap();
    assert_eq!(disk.names().unwrap().len(), 1);
    let incomplete = writer.finish().unwrap_err();
    assert!(matches!(incomplete, ReceiveError::Incomplete { received: 500, .. }), "{incomplete}");
    assert_eq!(disk.names().unwrap(), [""; 0]);

    let mut announced = identity.clone();
    announced.meta.state_hash += 1;
    let mut writer = store.receive(announced).unwrap();
    send(&snapshot, 0, &mut writer, 100);
    let other = writer.finish().unwrap_err();
    assert!(matches!(other, ReceiveError::Snapshot(SnapshotError::Damaged { .. })), "{other}");

    let mut writer = store.receive(identity.clone()).unwrap();
    let mut bytes = snapshot.read_at(0, 1 << 20).unwrap().to_vec();
    bytes[900] ^= 1;
    writer.write(0, &bytes).unwrap();
    let damaged = writer.finish().unwrap_err();
    assert!(matches!(damaged, ReceiveError::Snapshot(SnapshotError::Damaged { .. })), "{damaged}");

    let mut writer = store.receive(identity.clone()).unwrap();
    send(&snapshot, 0, &mut writer, 100);
    // It was received, and consensus did not want it.
    drop(writer.finish().unwrap());
    assert_eq!(disk.names().unwrap(), [""; 0]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn files_that_nobody_wrote_are_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..200), with_magic in any::<bool>(),
    ) {
        let mut content = if with_magic { b"QRMSNAPS\x01\0\0\0".to_vec() } else { Vec::new() };
        content.extend(&bytes);
        let disk = SimDisk::default();
        let file = disk.create("snapshot-00000000000000000001-0", 0).unwrap();
        quorate_wal::write_all_at(&*file, &content, 0).unwrap();

        prop_assert!(Store::open(Arc::new(disk)).is_err());
    }

    #[test]
    fn an_identity_that_nobody_wrote_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = Identity::decode(Bytes::from(bytes));
    }
}
