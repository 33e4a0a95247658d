//! What a log does when the disk is full: entries are refused before they are taken, everything else goes on, and entries
//! are taken again once there is room.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use quorate_wal::testing::{Faults, SimDisk};
use quorate_wal::{Config, DEFAULTS, Folder, GroupId, Op, Opened, Slot, Space, SubmitError, Wal, Writer, open};

const LOG: u128 = 7;
const SEGMENT: u64 = 64 << 10;
const META: GroupId = GroupId(0);
const GROUP: GroupId = GroupId(1);
const FULL: Faults = Faults {
    operations_left: None,
    short_writes: None,
    syncs_fail: false,
    syncs_lie: false,
    full_after: Some(0),
    full_for_writes: false,
    free: None,
    syncs_hang: false,
};

fn small() -> Config {
    Config {
        segment_bytes: 64 << 10,
        batch_bytes_max: 12 << 10,
        payload_bytes_max: 4 << 10,
        queue_bytes_max: 64 << 10,
        slack_bytes: 128 << 10,
        low_free_bytes: 800 << 10,
        critical_free_bytes: 400 << 10,
        space_poll: Duration::ZERO,
        ..DEFAULTS
    }
}

fn append(index: u64, bytes: usize) -> Vec<Op> {
    vec![Op::Append { index, payload: vec![index as u8; bytes].into() }]
}

fn vote(value: u64) -> Vec<Op> {
    vec![Op::Put { slot: Slot(1), value: Bytes::copy_from_slice(&value.to_le_bytes()) }]
}

/// A log on a disk of which a test says when it is full.
struct Log {
    disk: SimDisk,
    wal: Wal,
    writer: Writer,
    done: Arc<AtomicU64>,
    taken: u64,
}

impl Log {
    fn new() -> Self {
        Self::on(SimDisk::default())
    }

    fn on(disk: SimDisk) -> Self {
        let Opened { wal, writer, .. } =
            open(Arc::new(disk.clone()), small(), LOG, false).expect("the disk can be read");
        Self { disk, wal, writer, done: Arc::default(), taken: 0 }
    }

    fn submit(&mut self, group: GroupId, ops: Vec<Op>) -> Result<(), SubmitError> {
        let done = Arc::clone(&self.done);
        let count = move |result: Result<(), _>| drop(result.map(|()| done.fetch_add(1, Ordering::Relaxed)));
        self.wal.submit(group, ops, Some(Box::new(count)))?;
        self.taken += 1;
        Ok(())
    }

    /// Writes what can be written; tells whether all is durable.
    fn write(&mut self) -> bool {
        while self.writer.step().expect("a full disk is no failure") {}
        self.done.load(Ordering::Relaxed) == self.taken
    }

    fn space(&self) -> Space {
        self.wal.observe().space
    }
}

#[test]
fn a_disk_below_its_marks_refuses_entries_of_ordinary_groups_first_and_of_all_then() {
    let mut log = Log::new();
    for (free, space, meta, ordinary) in [
        (u64::MAX, Space::Roomy, true, true),
        (700 << 10, Space::Low, true, false),
        (300 << 10, Space::Critical, false, false),
        (440 << 10, Space::Critical, false, false),
        (500 << 10, Space::Low, true, false),
        (1 << 20, Space::Roomy, true, true),
    ] {
        log.disk.set_faults(Faults { free: Some(free), ..Faults::default() });
        assert!(log.write());
        assert_eq!(log.space(), space, "{free}");
        for (group, is_taken) in [(META, meta), (GROUP, ordinary)] {
            let next = log.wal.group(group).next;
            let admitted = log.wal.admits(group);
            let submitted = log.submit(group, append(next, 10));
            assert_eq!(admitted, submitted, "{free} {group}");
            match submitted {
                Ok(()) => assert!(is_taken, "{free} {group}"),
                Err(error) => {
                    assert!(!is_taken, "{free} {group}: {error}");
                    assert_eq!(error, SubmitError::DiskFull { group, space, free: Some(free) });
                    assert_eq!(log.wal.group(group).next, next, "nothing of it was taken");
                }
            }
            log.submit(group, vote(free)).expect("a vote is always taken");
        }
        assert!(log.write(), "{free}");
    }
}

/// What the reserve is for: thousands of votes, and what makes room.
#[test]
fn votes_truncations_and_purges_become_durable_on_a_full_disk() {
    let mut log = Log::new();
    for index in 0..100 {
        log.submit(GROUP, append(index, 3_000)).unwrap();
        assert!(log.write());
    }
    log.disk.set_faults(FULL);
    assert!(log.write());
    // The next segment that is needed is one of the spares, after which one is missing.
    let refused = (100..200).find_map(|index| {
        let refused = log.submit(GROUP, append(index, 3_000)).err();
        assert!(log.write());
        refused
    });
    assert!(matches!(refused, Some(SubmitError::DiskFull { space: Space::Critical, .. })), "{refused:?}");

    for term in 0..300 {
        log.submit(GROUP, vote(term)).unwrap();
        assert!(log.write(), "term {term}");
    }
    log.submit(GROUP, vec![Op::Truncate { from: 90 }]).unwrap();
    log.submit(GROUP, vec![Op::Purge { before: 80, note: Bytes::from_static(b"snapshot") }]).unwrap();
    log.submit(META, vec![Op::Forget]).unwrap();
    assert!(log.write());

    // What was purged made room: its segments are spares, without anything new on the disk.
    assert_eq!(log.wal.observe().spare_segments, 2);
    assert_eq!(log.space(), Space::Critical, "nothing is free");
    log.disk.set_faults(Faults::default());
    assert!(log.write());
    log.submit(GROUP, append(90, 3_000)).unwrap();
    assert!(log.write());
    let again = Log::on(log.disk.clone());
    assert_eq!(again.wal.group(GROUP), log.wal.group(GROUP));
}

#[test]
fn what_was_taken_when_the_disk_became_full_waits_and_becomes_durable() {
    for full_for_writes in [false, true] {
        let mut log = Log::new();
        log.submit(GROUP, append(0, 10)).unwrap();
        assert!(log.write());
        log.disk.set_faults(Faults { full_for_writes, ..FULL });
        // More than all that is ready, taken before anybody noticed.
        let mut index = 1;
        for _ in 0..4 {
            while log.submit(GROUP, append(index, 4_000)).is_ok() {
                index += 1;
            }
            log.writer.step().unwrap();
        }
        let is_done = log.write();
        assert!(!is_done || !full_for_writes);
        log.submit(GROUP, vote(7)).expect("it is taken, and waits");
        log.write();
        assert!(matches!(log.wal.admits(GROUP), Err(SubmitError::DiskFull { .. })));
        assert_eq!(log.wal.observe().failed, None);

        log.disk.set_faults(Faults::default());
        assert!(log.write() || log.write(), "there is room again");
        assert_eq!((log.space(), log.wal.admits(GROUP)), (Space::Roomy, Ok(())));
        assert_eq!(Log::on(log.disk.clone()).wal.group(GROUP), log.wal.group(GROUP));
    }
}

#[test]
fn a_node_can_be_started_on_a_full_disk() {
    let mut log = Log::new();
    log.submit(GROUP, append(0, 10)).unwrap();
    assert!(log.write());
    let disk = log.disk.clone();
    disk.set_faults(FULL);
    drop(log);

    let mut log = Log::on(disk);
    assert_eq!(log.wal.observe().spare_segments, 2, "they were kept");
    log.submit(GROUP, vote(8)).unwrap();
    assert!(log.write());
    assert!(matches!(log.submit(GROUP, append(1, 10)), Err(SubmitError::DiskFull { .. })));
    // Before it was known, and without any spare, it waits.
    let mut log = Log::on(SimDisk::default());
    log.disk.set_faults(FULL);
    log.submit(GROUP, append(0, 10)).unwrap();
    assert!(!log.write());
    log.disk.set_faults(Faults::default());
    assert!(log.write() || log.write());
}

#[test]
fn a_log_that_waits_for_room_can_be_closed_and_goes_on_by_itself_when_there_is() {
    let config = Config { space_poll: Duration::from_millis(1), ..small() };
    for is_closed in [true, false] {
        let disk = SimDisk::default();
        disk.set_faults(FULL);
        let Opened { wal, writer, .. } = open(Arc::new(disk.clone()), config.clone(), LOG, false).unwrap();
        let running = writer.spawn(|_| {}).unwrap();
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        wal.submit(GROUP, vote(1), Some(Box::new(move |result| sender.send(result).unwrap()))).unwrap();
        while wal.observe().space != Space::Critical {
            std::thread::yield_now();
        }
        if is_closed {
            wal.close();
            assert!(running.join().unwrap_err().reason.contains("no room"));
            receiver.recv().unwrap().unwrap_err();
        } else {
            disk.set_faults(Faults::default());
            receiver.recv().unwrap().unwrap();
            while wal.admits(GROUP).is_err() {
                std::thread::yield_now();
            }
            wal.close();
            running.join().unwrap();
        }
    }
}

#[test]
fn a_segment_that_is_not_needed_any_more_is_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let disk = || Arc::new(Folder::new(folder.path()).unwrap());
    let Opened { wal, mut writer, .. } = open(disk(), small(), LOG, false).unwrap();
    for index in 0..300 {
        wal.submit(GROUP, append(index, 3_000), None).unwrap();
        wal.submit(GROUP, vec![Op::Purge { before: index, note: Bytes::new() }], None).unwrap();
        while writer.step().unwrap() {}
        assert_eq!(wal.read(GROUP, index..index + 1, 10_000).unwrap(), [vec![index as u8; 3_000]]);
    }
    let seen = wal.observe();
    assert_eq!((seen.spare_segments, seen.space), (2, Space::Roomy));
    assert!(seen.free_bytes.is_some_and(|free| free > 0));
    let bytes: u64 =
        std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert_eq!(bytes, seen.disk_bytes + 2 * SEGMENT, "the segments and two spares are all there is");
    drop((wal, writer));
    // What an older life of a file left in it is no part of the log.
    let again = open(disk(), small(), LOG, true).unwrap().wal;
    assert_eq!((again.group(GROUP).first, again.group(GROUP).next), (299, 300));
}

/// A reader that has a segment open must not find the next one in it.
#[test]
fn entries_can_be_read_while_their_segments_are_used_again() {
    let config = Config { cache_bytes_max: 0, spare_segments: 8, ..small() };
    let Opened { wal, mut writer, .. } = open(Arc::new(SimDisk::default()), config, LOG, false).unwrap();
    std::thread::scope(|scope| {
        let (reader, is_over) = (wal.clone(), Arc::new(AtomicU64::new(0)));
        let stop = Arc::clone(&is_over);
        scope.spawn(move || {
            while stop.load(Ordering::Relaxed) == 0 {
                let state = reader.group(GROUP);
                match reader.read(GROUP, state.first..state.next, usize::MAX) {
                    Ok(entries) => entries.iter().zip(state.first..).for_each(|(entry, index)| {
                        assert!(entry.iter().all(|byte| *byte == index as u8));
                    }),
                    Err(quorate_wal::ReadError::Outside { .. }) => {}
                    Err(other) => panic!("{other}"),
                }
            }
        });
        for index in 0..1_000 {
            wal.submit(GROUP, append(index, 3_000), None).unwrap();
            let before = index.saturating_sub(20);
            wal.submit(GROUP, vec![Op::Purge { before, note: Bytes::new() }], None).unwrap();
            while writer.step().unwrap() {}
        }
        is_over.store(1, Ordering::Relaxed);
    });
}
