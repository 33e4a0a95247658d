//! Tests of a whole log: what is sent is recorded or counted, whatever the rates, the disk and crashes do.
//!
//! Times of events are given; only the writer's pauses are real, and milliseconds long.

use std::path::Path;
use std::time::Instant;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::testing::{Faults, Faulty, NOON, config, denied, failed};
use crate::verify::{Beginning, verify};

const PATIENCE: Duration = Duration::from_secs(20);

fn records(folder: &Path) -> Vec<Value> {
    let lines = crate::verify::last_lines(folder, usize::MAX, |_| true).expect("the log is read");
    lines.iter().map(|line| serde_json::from_str(line).expect("a record")).collect()
}

/// Returns the events with a record, and those that were counted.
fn sums(folder: &Path) -> (u64, u64) {
    let (mut recorded, mut counted) = (0, 0);
    for record in records(folder) {
        match record["event"]["kind"].as_str().expect("a kind") {
            "suppressed" => {
                let counts = record["event"]["counts"].as_array().expect("counts");
                counted += counts.iter().map(|count| count["count"].as_u64().expect("a count")).sum::<u64>();
            }
            "begun" | "resumed" | "deleted" => {}
            _ => recorded += 1,
        }
    }
    (recorded, counted)
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "{what} did not come");
        std::thread::yield_now();
    }
}

#[test]
fn what_is_recorded_is_in_the_chain_when_the_log_is_closed() {
    let dir = tempfile::tempdir().expect("a folder");
    let (audit, opened) = Audit::open(&config(dir.path())).expect("it opens");
    assert_eq!(opened, Opened::New);

    audit.record_at(NOON, denied("acme"));
    audit.record(failed("expired"));
    assert!(audit.close(PATIENCE));

    let report = verify(dir.path(), None).expect("it verifies");
    assert_eq!((report.records, report.beginning), (3, Some(Beginning::Chain)));
    let last = report.last.expect("there are records");
    assert_eq!(audit.head(), Some(Head { sequence: 3, hash: last.hash }));
    assert_eq!(audit.counters(), Counters { recorded: 2, ..Counters::default() });
    let event = &records(dir.path())[1]["event"];
    let expected = serde_json::json!({
        "kind": "denied", "tenant": "acme", "agent": "ci", "action": "mcp:call", "resource": "tool files/read",
        "reason": "no policy allows it", "peer": "192.0.2.1:1234",
    });
    assert_eq!(event, &expected);
}

#[test]
fn a_log_goes_on_after_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    for round in 0..3 {
        let (audit, opened) = Audit::open(&config(dir.path())).expect("it opens");
        assert_eq!(opened == Opened::New, round == 0);
        audit.record(denied("acme"));
        assert!(audit.close(PATIENCE));
    }
    let report = verify(dir.path(), None).expect("it verifies");
    assert_eq!((report.records, report.segments), (6, 1));
    assert_eq!(report.kinds["resumed"], 2);
}

#[test]
fn a_log_is_written_by_one_process_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let (audit, _) = Audit::open(&config(dir.path())).expect("it opens");

    let second = Audit::open(&config(dir.path())).err().map(|error| error.to_string());
    assert_eq!(second, Some(format!("{} is written by another process", dir.path().display())));

    assert!(audit.close(PATIENCE));
    assert!(Audit::open(&config(dir.path())).is_ok());
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("file"), "").expect("written");
    assert!(matches!(Audit::open(&config(&dir.path().join("file"))), Err(Error::Io { .. })));
}

#[test]
fn a_disabled_log_takes_everything() {
    let audit = Audit::disabled();
    audit.record(denied("acme"));
    assert_eq!((audit.counters(), audit.head(), audit.close(PATIENCE)), (Counters::default(), None, true));
}

#[test]
fn strangers_fill_no_disk_and_what_they_did_is_counted() {
    let dir = tempfile::tempdir().expect("a folder");
    let (audit, _) = Audit::open(&config(dir.path())).expect("it opens");
    for _ in 0..100_000 {
        audit.record_at(NOON, failed("malformed"));
    }
    audit.record_at(NOON, failed("expired"));
    audit.record_at(NOON, denied("acme"));
    assert!(audit.close(PATIENCE));

    let (recorded, counted) = sums(dir.path());
    assert_eq!((recorded, counted), (40 + 2, 100_000 - 40));
    assert_eq!(audit.counters().suppressed_by_rate, 100_000 - 40);
    let bytes = std::fs::metadata(dir.path().join(crate::folder::name(1))).expect("the segment").len();
    assert!(bytes < 64 * 1024, "{bytes}");
    let record = records(dir.path()).into_iter().find(|record| record["event"]["kind"] == "suppressed");
    let count = &record.expect("there are counts")["event"]["counts"][0];
    assert_eq!((count["class"].as_str(), count["reason"].as_str()), (Some("authentication_failed"), Some("malformed")));
}

#[test]
fn a_full_disk_is_counted_and_the_log_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().expect("a folder");
    let (medium, faults) = Faulty::lock(dir.path());
    let (audit, _) = Audit::over(medium, &config(dir.path())).expect("it opens");
    audit.record_at(NOON, denied("acme"));
    wait_until("the first record", || audit.counters().recorded == 1);

    let (sent, later) = (std::cell::Cell::new(1), std::cell::Cell::new(NOON));
    let send = |event: Event| {
        sent.set(sent.get() + 1);
        // As slow as the rate, so that it is not what keeps them out.
        later.set(later.get() + Duration::from_secs(60));
        audit.record_at(later.get(), event);
    };
    let accounted = || {
        let counters = audit.counters();
        counters.recorded + counters.suppressed_by_failure == sent.get()
    };
    for truncate_fails in [false, true] {
        wait_until("the last of before", accounted);
        let before = audit.counters();
        *faults.lock().expect("nobody panicked") = Faults { room: Some(100), truncate_fails, sync_fails: true };
        (0..5).for_each(|_| send(denied("acme")));
        wait_until("the failure", accounted);
        let after = audit.counters();
        assert_eq!(after.suppressed_by_failure, before.suppressed_by_failure + 5);
        assert!(after.write_errors > before.write_errors);
        *faults.lock().expect("nobody panicked") = Faults::default();
        wait_until("the end of the pause", || {
            if accounted() {
                send(failed("expired"));
            }
            audit.counters().recorded > before.recorded
        });
    }
    assert!(audit.close(PATIENCE));

    let counters = audit.counters();
    let suppressed = counters.suppressed_by_failure + counters.suppressed_by_rate + counters.suppressed_by_queue;
    assert_eq!(sums(dir.path()), (counters.recorded, suppressed));
    verify(dir.path(), None).expect("what is there fits");
}

#[test]
fn events_after_the_end_are_counted_and_nobody_is_held_up() {
    let dir = tempfile::tempdir().expect("a folder");
    let (audit, _) = Audit::open(&config(dir.path())).expect("it opens");
    assert!(audit.close(PATIENCE));
    audit.record_at(NOON, denied("acme"));
    assert_eq!(audit.counters().suppressed_by_queue, 1);
}

#[test]
fn the_volume_is_that_of_the_files_and_counts_those_that_came_and_went() {
    let dir = tempfile::tempdir().expect("a folder");
    let small = Config { segment_bytes: 1_500, total_bytes: 6_000, ..config(dir.path()) };
    let (audit, _) = Audit::open(&small).expect("it opens");
    let begun = audit.volume().expect("a log");
    assert_eq!((begun.segments, begun.segments_begun, begun.segments_deleted), (1, 0, 0));
    for _ in 0..60 {
        audit.record_at(NOON, denied("acme"));
    }
    assert!(audit.close(PATIENCE));

    let files: Vec<u64> = std::fs::read_dir(dir.path())
        .expect("a folder")
        .map(|entry| entry.expect("an entry"))
        .filter(|entry| entry.file_name().to_string_lossy().ends_with(".jsonl"))
        .map(|entry| entry.metadata().expect("a file").len())
        .collect();
    let volume = audit.volume().expect("a log");
    assert_eq!((volume.segments, volume.bytes), (files.len() as u64, files.iter().sum()));
    assert!(volume.segments_deleted > 0, "{volume:?}");
    assert_eq!(volume.segments, 1 + volume.segments_begun - volume.segments_deleted);
    assert!(volume.written_bytes > volume.bytes, "{volume:?}");
    assert_eq!(Audit::disabled().volume(), None);
}

#[test]
fn the_log_ends_with_its_last_handle() {
    let dir = tempfile::tempdir().expect("a folder");
    let (audit, _) = Audit::open(&config(dir.path())).expect("it opens");
    audit.record_at(NOON, denied("acme"));
    drop(audit);
    wait_until("the end", || Folder::lock(dir.path()).is_ok());
    assert_eq!(sums(dir.path()), (1, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_sent_is_recorded_or_counted(
        events in prop::collection::vec((0_usize..6, 1_usize..400, 0_u64..20_000), 1..12), room in prop::option::of(0_u64..40_000),
    ) {
        let dir = tempfile::tempdir().expect("a folder");
        let (medium, faults) = Faulty::lock(dir.path());
        let small = Config { segment_bytes: 8_000, total_bytes: 1 << 30, ..config(dir.path()) };
        let (audit, _) = Audit::over(medium, &small).expect("it opens");
        faults.lock().expect("nobody panicked").room = room;

        let (mut sent, mut now) = (0, NOON);
        for (kind, count, ms) in events {
            now = now + Duration::from_millis(ms);
            for _ in 0..count {
                audit.record_at(now, [denied("a"), denied("b"), failed("x"), failed("y"), denied("c"), denied("d")][kind].clone());
            }
            sent += count as u64;
        }
        faults.lock().expect("nobody panicked").room = None;
        prop_assert!(audit.close(PATIENCE));

        let (recorded, counted) = sums(dir.path());
        prop_assert_eq!(recorded + counted, sent);
        prop_assert_eq!(audit.counters().recorded, recorded);
        prop_assert!(verify(dir.path(), None).is_ok());
    }
}
