//! What a log promises apart from crashes: order, limits, failures of the disk, and what is refused when it is opened.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use bytes::Bytes;
use quorate_wal::testing::{Faults, SimDisk};
use quorate_wal::{Config, DEFAULTS, Folder, GroupId, Op, OpenError, Opened, Slot, SubmitError, Wal, open};

const LOG: u128 = 7;
const GROUP: GroupId = GroupId(1);
/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn small() -> Config {
    Config {
        segment_bytes: 64 << 10,
        batch_bytes_max: 12 << 10,
        payload_bytes_max: 4 << 10,
        slack_bytes: 128 << 10,
        ..DEFAULTS
    }
}

fn append(index: u64, payload: impl Into<Bytes>) -> Op {
    Op::Append { index, payload: payload.into() }
}

fn opened(disk: &SimDisk) -> Opened {
    open(Arc::new(disk.clone()), small(), LOG, false).expect("the disk works")
}

/// Submits, and tells what is said of it.
fn submit(wal: &Wal, ops: Vec<Op>) -> std::sync::mpsc::Receiver<Result<(), quorate_wal::Failed>> {
    let (sender, receiver) = sync_channel(1);
    // Not every test asks.
    let done = move |result| drop(sender.send(result));
    wal.submit(GROUP, ops, Some(Box::new(done))).expect("it is the next");
    receiver
}

#[test]
fn what_many_threads_wrote_is_there_after_a_restart() {
    const WRITERS: u32 = 8;
    const ENTRIES: u64 = 200;
    let folder = tempfile::tempdir().unwrap();
    let disk = || Arc::new(Folder::new(folder.path().join("wal")).unwrap());
    let Opened { wal, writer, existed } = open(disk(), small(), LOG, false).unwrap();
    assert!(!existed);
    let running = writer.spawn(|failed| panic!("{failed}")).unwrap();

    let together = Barrier::new(WRITERS as usize);
    std::thread::scope(|scope| {
        for group in (0..WRITERS).map(GroupId) {
            let (wal, together) = (&wal, &together);
            scope.spawn(move || {
                together.wait();
                for index in 1..=ENTRIES {
                    let (sender, receiver) = sync_channel(1);
                    let done = Box::new(move |result| sender.send(result).unwrap());
                    let vote = Op::Put { slot: Slot(1), value: Bytes::from(index.to_string()) };
                    let payload = vec![group.0 as u8; 300];
                    wal.submit(group, vec![vote, append(index, payload)], Some(done)).unwrap();
                    receiver.recv_timeout(PATIENCE).unwrap().unwrap();
                }
            });
        }
    });
    let seen = wal.observe();
    assert!(seen.batches < u64::from(WRITERS) * ENTRIES, "nobody shared a sync: {seen:?}");
    wal.close();
    running.join().unwrap();
    assert!(matches!(wal.submit(GROUP, vec![append(201, "late")], None), Err(SubmitError::Failed(_))));
    drop(wal);

    let Opened { wal, existed, .. } = open(disk(), small(), LOG, true).unwrap();
    assert!(existed);
    for group in (0..WRITERS).map(GroupId) {
        let state = wal.group(group);
        assert_eq!((state.first, state.next), (1, ENTRIES + 1));
        assert_eq!(state.slots[&Slot(1)], ENTRIES.to_string());
        let entries = wal.read(group, 1..ENTRIES + 1, usize::MAX).unwrap();
        assert!(entries.iter().all(|entry| entry[..] == vec![group.0 as u8; 300]));
        assert_eq!(wal.read(group, 1..ENTRIES + 1, 1000).unwrap().len(), 3, "as many as fit");
        assert_eq!(wal.read(group, 1..ENTRIES + 1, 0).unwrap().len(), 1, "one in any case");
    }
}

#[test]
fn entries_count_and_are_read_before_they_are_durable() {
    let mut log = opened(&SimDisk::default());
    let done = submit(&log.wal, vec![append(4, "a"), append(5, "b")]);
    assert_eq!(log.wal.read(GROUP, 4..6, usize::MAX).unwrap(), ["a", "b"]);
    assert!(done.try_recv().is_err(), "it is not durable");
    assert!(log.writer.step().unwrap());
    done.recv().unwrap().unwrap();
    assert!(!log.writer.step().unwrap(), "nothing waits");
}

#[test]
fn what_cannot_be_is_refused_as_a_whole() {
    let log = opened(&SimDisk::default());
    drop(submit(&log.wal, vec![append(4, "a")]));
    let last = u64::MAX;
    let purged = Op::Purge { before: last, note: Bytes::new() };
    let cases: [(Vec<Op>, SubmitError); 5] = [
        // There would be no number for the one behind it.
        (vec![purged, append(last, "")], SubmitError::NotNext { group: GROUP, index: last, expected: last }),
        (vec![append(5, "b"), append(7, "c")], SubmitError::NotNext { group: GROUP, index: 7, expected: 6 }),
        (vec![append(4, "again")], SubmitError::NotNext { group: GROUP, index: 4, expected: 5 }),
        (vec![Op::Truncate { from: 3 }], SubmitError::Outside { group: GROUP, from: 3, first: 4, next: 5 }),
        (vec![append(5, vec![0; 4097])], SubmitError::TooLarge { group: GROUP, bytes: 4097, max: 4096 }),
    ];
    for (ops, expected) in cases {
        assert_eq!(log.wal.submit(GROUP, ops, None).unwrap_err(), expected);
        assert_eq!(log.wal.group(GROUP).next, 5);
    }
    assert!(log.wal.read(GROUP, 4..6, usize::MAX).is_err());
    assert!(log.wal.read(GROUP, 3..5, usize::MAX).is_err());
}

#[test]
fn a_queue_that_nobody_writes_is_bounded() {
    let config = Config { queue_bytes_max: 16 << 10, ..small() };
    let log = open(Arc::new(SimDisk::default()), config, LOG, false).unwrap();
    let refused = (0..100).find_map(|index| log.wal.submit(GROUP, vec![append(index, vec![0; 4000])], None).err());
    assert!(matches!(refused, Some(SubmitError::QueueFull { max: 16384, .. })), "{refused:?}");

    // A vote behind what waits is no reason to wait more: it is small, and its node is silent without it.
    let vote = |bytes| vec![Op::Put { slot: Slot(1), value: vec![0; bytes].into() }];
    log.wal.submit(GROUP, vote(100), None).unwrap();
    let refused = (0..100).find_map(|_| log.wal.submit(GROUP, vote(4000), None).err());
    assert!(matches!(refused, Some(SubmitError::QueueFull { max: 32768, .. })), "{refused:?}");
}

#[test]
fn a_change_larger_than_a_batch_is_done_when_all_of_it_is() {
    let disk = SimDisk::default();
    let mut log = opened(&disk);
    let done = submit(&log.wal, (0..10).map(|index| append(index, vec![1; 4000])).collect());
    let mut batches = 0;
    while done.try_recv().is_err() {
        assert!(log.writer.step().unwrap());
        batches += 1;
    }
    assert!(batches > 1);
    assert_eq!(opened(&disk).wal.group(GROUP).next, 10);
}

/// What is on the disk after a failed sync is not known, and no later sync says: nothing is ever acknowledged again.
#[test]
fn a_failed_sync_ends_the_log() {
    let disk = SimDisk::default();
    let mut log = opened(&disk);
    drop(submit(&log.wal, vec![append(0, "a")]));
    log.writer.step().unwrap();

    disk.set_faults(Faults { syncs_fail: true, ..Faults::default() });
    let written = submit(&log.wal, vec![append(1, "b")]);
    log.writer.step().unwrap_err();
    disk.set_faults(Faults::default());

    written.recv().unwrap().unwrap_err();
    log.writer.step().unwrap_err();
    let refused = log.wal.submit(GROUP, vec![append(2, "c")], None).unwrap_err();
    assert!(matches!(refused, SubmitError::Failed(_)), "{refused:?}");
    assert!(log.wal.observe().failed.unwrap().reason.contains("the disk failed"));
}

#[test]
fn the_owner_is_told_once_that_the_log_failed() {
    let disk = SimDisk::default();
    let log = opened(&disk);
    disk.set_faults(Faults { syncs_fail: true, ..Faults::default() });
    let (sender, receiver) = sync_channel(2);
    let running = log.writer.spawn(move |failed| sender.send(failed.clone()).unwrap()).unwrap();
    let done = submit(&log.wal, vec![append(0, "a")]);
    let failed = done.recv_timeout(PATIENCE).unwrap().unwrap_err();
    assert_eq!(receiver.recv_timeout(PATIENCE).unwrap(), failed);
    assert_eq!(running.join().unwrap_err(), failed);
    assert!(receiver.recv().is_err(), "once");
}

#[test]
fn a_disk_that_hangs_is_seen_from_outside() {
    let disk = SimDisk::default();
    let log = opened(&disk);
    disk.set_faults(Faults { syncs_hang: true, ..Faults::default() });
    let running = log.writer.spawn(|failed| panic!("{failed}")).unwrap();
    let done = submit(&log.wal, vec![append(0, "a")]);
    while log.wal.disk_busy() < Duration::from_millis(50) {
        std::thread::yield_now();
    }
    assert!(done.try_recv().is_err(), "it is not durable");
    disk.set_faults(Faults::default());
    done.recv_timeout(PATIENCE).unwrap().unwrap();
    log.wal.close();
    running.join().unwrap();
    assert_eq!(log.wal.disk_busy(), Duration::ZERO);
}

#[test]
fn a_log_of_another_node_a_missing_one_and_one_in_use_are_refused() {
    let disk = SimDisk::default();
    assert!(matches!(open(Arc::new(disk.clone()), small(), LOG, true), Err(OpenError::Missing)));
    let mut log = opened(&disk);
    drop(submit(&log.wal, vec![append(0, "a")]));
    log.writer.step().unwrap();
    match open(Arc::new(disk), small(), 8, true) {
        Err(OpenError::Foreign { found: 7, expected: 8, .. }) => {}
        other => panic!("{:?}", other.err()),
    }

    let folder = tempfile::tempdir().unwrap();
    let _mine = Folder::new(folder.path()).unwrap();
    let refused = Folder::new(folder.path()).unwrap_err();
    assert!(refused.to_string().contains("another process"), "{refused}");
}

/// A log of several segments, of which the first one's blocks were all followed by others.
fn long_log(disk: &SimDisk) {
    let mut log = opened(disk);
    for index in 0..60 {
        drop(submit(&log.wal, vec![append(index, vec![index as u8; 3000])]));
        log.writer.step().expect("the disk works");
    }
    assert!(log.wal.observe().segments >= 3);
}

#[test]
fn any_bit_that_differs_in_what_was_followed_by_more_is_refused() {
    let first = "wal-0000000000000001";
    let disk = SimDisk::default();
    long_log(&disk);
    let content = disk.content(first);
    let written = content.iter().rposition(|byte| *byte != 0).unwrap();
    // Every bit would take minutes; a prime stride comes to all kinds of places.
    for bit in (0..written * 8).step_by(10_007).chain(0..48 * 8) {
        disk.flip(first, bit);
        match open(Arc::new(disk.clone()), small(), LOG, true) {
            Err(OpenError::Corrupt { file, .. }) => assert_eq!(file, first, "bit {bit}"),
            Err(other) => panic!("bit {bit}: {other}"),
            Ok(_) => panic!("bit {bit} of {} was not missed", written * 8),
        }
        disk.flip(first, bit);
    }
    assert_eq!(open(Arc::new(disk), small(), LOG, true).unwrap().wal.group(GROUP).next, 60);
}

#[test]
fn a_damaged_batch_before_a_good_one_of_the_last_segment_is_refused() {
    let disk = SimDisk::default();
    let mut log = opened(&disk);
    for index in 0..2 {
        drop(submit(&log.wal, vec![append(index, "payload")]));
        log.writer.step().unwrap();
    }
    disk.flip("wal-0000000000000001", (64 + 30) * 8);
    let error = open(Arc::new(disk), small(), LOG, true).err().unwrap().to_string();
    assert!(error.contains("a later one is not") && error.contains("join as a new replica"), "{error}");
}

#[test]
fn syncs_that_lie_lose_no_more_than_what_they_lied_about_or_are_found_out() {
    for seed in 0..50 {
        let disk = SimDisk::default();
        let mut log = opened(&disk);
        drop(submit(&log.wal, vec![append(0, "durable")]));
        log.writer.step().unwrap();
        disk.set_faults(Faults { syncs_lie: true, ..Faults::default() });
        for index in 1..4 {
            drop(submit(&log.wal, vec![append(index, vec![9; 700])]));
            log.writer.step().unwrap();
        }
        disk.crash(seed);
        match open(Arc::new(disk), small(), LOG, true) {
            Ok(log) => assert!((1..=4).contains(&log.wal.group(GROUP).next), "seed {seed}"),
            Err(OpenError::Corrupt { .. }) => {}
            Err(other) => panic!("seed {seed}: {other}"),
        }
    }
}

#[test]
fn what_is_read_from_the_disk_is_checked_again() {
    let disk = SimDisk::default();
    let config = Config { cache_bytes_max: 0, ..small() };
    let mut log = open(Arc::new(disk.clone()), config, LOG, false).unwrap();
    drop(submit(&log.wal, vec![append(0, "payload")]));
    log.writer.step().unwrap();
    assert_eq!(log.wal.read(GROUP, 0..1, 100).unwrap(), ["payload"]);
    disk.flip("wal-0000000000000001", (64 + 24 + 21) * 8);
    let error = log.wal.read(GROUP, 0..1, 100).unwrap_err().to_string();
    assert!(error.contains("entry 0 of group 1"), "{error}");
}

#[test]
fn files_that_are_no_segments_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::File::create(folder.path().join("note.txt")).unwrap().write_all(b"of the operator").unwrap();
    let disk = Arc::new(Folder::new(folder.path()).unwrap());
    let mut log = open(disk, small(), LOG, false).unwrap();
    drop(submit(&log.wal, vec![append(0, "a")]));
    log.writer.step().unwrap();
    assert_eq!(std::fs::read(folder.path().join("note.txt")).unwrap(), b"of the operator");
}

/// What a process wrote and did not sync before it was killed is still there for the next one, which reports it as part
/// of the log: from then on it must be durable.
#[test]
fn what_was_found_when_the_log_was_opened_is_not_lost_with_the_power() {
    for syncs_fail in [false, true] {
        let disk = SimDisk::default();
        let mut log = opened(&disk);
        drop(submit(&log.wal, vec![append(0, "durable")]));
        log.writer.step().unwrap();
        // The write goes through, the sync does not.
        let operations_left = (!syncs_fail).then_some(1);
        disk.set_faults(Faults { operations_left, syncs_fail, ..Faults::default() });
        drop(submit(&log.wal, vec![append(1, vec![1; 2000])]));
        log.writer.step().unwrap_err();
        disk.set_faults(Faults::default());

        assert_eq!(opened(&disk).wal.group(GROUP).next, 2, "the system still has it");
        for seed in 0..20 {
            disk.crash(seed);
            assert_eq!(opened(&disk).wal.group(GROUP).next, 2, "seed {seed}");
        }
    }
}

#[test]
fn a_file_longer_than_any_segment_is_refused_and_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let disk = || Arc::new(Folder::new(folder.path()).unwrap());
    let mut log = open(disk(), small(), LOG, false).unwrap();
    drop(submit(&log.wal, vec![append(0, "a")]));
    log.writer.step().unwrap();
    drop(log);
    let segment = folder.path().join("wal-0000000000000001");
    std::fs::File::options().write(true).open(segment).unwrap().set_len(1 << 40).unwrap();
    let error = open(disk(), small(), LOG, true).err().unwrap().to_string();
    assert!(error.contains("longer than a segment"), "{error}");
}

#[test]
fn what_the_log_makes_is_for_its_owner_alone() {
    let above = tempfile::tempdir().unwrap();
    let folder = above.path().join("node/wal");
    let mut log = open(Arc::new(Folder::new(&folder).unwrap()), small(), LOG, false).unwrap();
    drop(submit(&log.wal, vec![append(0, "secret")]));
    log.writer.step().unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!([mode(&above.path().join("node")), mode(&folder)], [0o700, 0o700]);
    for file in std::fs::read_dir(&folder).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
}

#[test]
fn what_many_threads_submit_without_waiting_is_done_in_the_order_of_each() {
    const THREADS: u32 = 8;
    const ENTRIES: u64 = 500;
    let config = Config { space_poll: Duration::ZERO, ..small() };
    let log = open(Arc::new(SimDisk::default()), config, LOG, false).unwrap();
    let running = log.writer.spawn(|failed| panic!("{failed}")).unwrap();
    let together = Barrier::new(THREADS as usize);
    std::thread::scope(|scope| {
        for group in (0..THREADS).map(GroupId) {
            let (wal, together) = (&log.wal, &together);
            scope.spawn(move || {
                let (sender, receiver) = sync_channel(ENTRIES as usize);
                together.wait();
                for index in 0..ENTRIES {
                    let sender = sender.clone();
                    let done = Box::new(move |result: Result<(), _>| sender.send((index, result)).unwrap());
                    wal.submit(group, vec![append(index, vec![0; 100])], Some(done)).unwrap();
                }
                for index in 0..ENTRIES {
                    assert_eq!(receiver.recv_timeout(PATIENCE).unwrap(), (index, Ok(())));
                }
            });
        }
    });
    log.wal.close();
    running.join().unwrap();
}
