//! Tests of what shows in a log and what does not: every change within a chain, crashes, deletion for space.
//!
//! Logs are written by the log itself, with segments of a few records, and then changed as bytes.

use std::fs;

use proptest::prelude::*;

use super::*;
use crate::config::Config;
use crate::open::Opened;
use crate::testing::{NOON, config, fill, opened};

/// About three records in a segment.
fn small(folder: &Path) -> Config {
    Config { segment_bytes: 1_500, total_bytes: 1 << 30, ..config(folder) }
}

fn log_of(count: usize) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    fill(&small(dir.path()), count);
    dir
}

/// The names of all segments, the oldest first.
fn segments(folder: &Path) -> Vec<PathBuf> {
    list(folder).expect("a list").iter().map(|segment| folder.join(name(segment.first))).collect()
}

/// The lines of a segment, with their line breaks.
fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).expect("it is read").split_inclusive('\n').map(str::to_owned).collect()
}

fn fault(folder: &Path) -> (usize, u64, Fault) {
    match verify(folder, None) {
        Err(Unverified::Broken(broken)) => {
            let at = segments(folder).iter().position(|path| *path == broken.file).expect("it is a segment");
            (at, broken.line, broken.fault)
        }
        other => panic!("it should be broken: {other:?}"),
    }
}

#[test]
fn a_log_that_nobody_touched_verifies() {
    let dir = log_of(20);
    let report = verify(dir.path(), None).expect("it verifies");
    assert_eq!((report.records, report.unfinished_bytes, report.beginning), (21, 0, Some(Beginning::Chain)));
    assert!(report.segments > 4, "{}", report.segments);
    assert_eq!(report.first.map(|first| (first.sequence, first.time)), Some((1, "2027-01-15T08:00:00Z".to_owned())));
    assert_eq!(report.last.map(|last| last.sequence), Some(21));
    assert_eq!(report.kinds, BTreeMap::from([("begun".to_owned(), 1), ("denied".to_owned(), 20)]));

    let empty = tempfile::tempdir().expect("a folder");
    assert_eq!(verify(empty.path(), None).expect("nothing is wrong").records, 0);
    assert!(matches!(verify(&empty.path().join("none"), None), Err(Unverified::Io { .. })));
}

#[test]
fn removed_moved_and_doubled_lines_show() {
    let change = |change: fn(&mut Vec<String>)| {
        let dir = log_of(20);
        let path = &segments(dir.path())[1];
        let mut text = lines(path);
        change(&mut text);
        fs::write(path, text.concat()).expect("written");
        fault(dir.path())
    };
    assert!(matches!(change(|lines| drop(lines.remove(0))), (1, 1, Fault::Previous { .. })));
    assert!(matches!(change(|lines| drop(lines.remove(1))), (1, 2, Fault::Previous { .. })));
    assert!(matches!(change(|lines| drop(lines.pop())), (2, 1, Fault::Previous { .. })));
    assert!(matches!(change(|lines| lines.swap(0, 1)), (1, 1, Fault::Previous { .. })));
    assert!(matches!(change(|lines| lines.insert(1, lines[0].clone())), (1, 2, Fault::Previous { .. })));
    assert!(matches!(change(|lines| lines.insert(1, "\n".to_owned())), (1, 2, Fault::Form)));
    assert!(matches!(change(|lines| lines.insert(1, "x".repeat(20_000))), (1, 2, Fault::Form)));
    assert!(matches!(change(|lines| *lines = vec![lines[0].clone(), "{".to_owned()]), (1, 2, Fault::Unfinished)));
    assert!(matches!(change(|lines| lines[1] = lines[1].replace("acme", "evil")), (1, 2, Fault::Hash { .. })));
}

#[test]
fn removed_and_renamed_segments_show() {
    let dir = log_of(20);
    fs::remove_file(&segments(dir.path())[1]).expect("removed");
    assert!(matches!(fault(dir.path()), (1, 1, Fault::Previous { .. })));

    let dir = log_of(20);
    fs::remove_file(&segments(dir.path())[0]).expect("removed");
    assert!(matches!(fault(dir.path()), (0, 1, Fault::Beginning { .. })));

    let dir = log_of(20);
    fs::rename(&segments(dir.path())[0], dir.path().join(name(2))).expect("renamed");
    assert_eq!(fault(dir.path()), (0, 1, Fault::Name { expected: 2, found: 1 }));
}

#[test]
fn a_record_that_was_noted_elsewhere_is_missed() {
    let dir = log_of(20);
    let hashes: Vec<Hash> = segments(dir.path())
        .iter()
        .flat_map(|path| lines(path))
        .map(|line| Record::read(line.trim_end().as_bytes()).expect("a record").hash)
        .collect();
    let last = hashes[20];
    for hash in [hashes[0], hashes[9], last] {
        assert!(verify(dir.path(), Some(hash)).is_ok());
    }

    let paths = segments(dir.path());
    let mut cut = lines(&paths[paths.len() - 1]);
    cut.pop();
    fs::write(&paths[paths.len() - 1], cut.concat()).expect("written");
    assert!(verify(dir.path(), None).is_ok(), "a chain does not know its end");
    assert!(matches!(verify(dir.path(), Some(last)), Err(Unverified::NotThere { hash }) if hash == last));
}

#[test]
fn the_oldest_segments_are_deleted_for_space_and_that_verifies() {
    let dir = tempfile::tempdir().expect("a folder");
    let bounded = Config { total_bytes: 6_000, ..small(dir.path()) };
    fill(&bounded, 100);

    let bytes: u64 = list(dir.path()).expect("a list").iter().map(|segment| segment.bytes).sum();
    assert!(bytes <= bounded.total_bytes, "{bytes}");
    let report = verify(dir.path(), None).expect("it verifies");
    assert_eq!(report.beginning, Some(Beginning::Deleted));
    let first = report.first.expect("there are records");
    assert!(first.sequence > 50, "{first:?}");
    let before = Record::read(lines(&segments(dir.path())[0])[0].trim_end().as_bytes()).expect("a record").previous;
    assert!(verify(dir.path(), Some(before)).is_ok(), "the last record that went is known");

    fs::remove_file(&segments(dir.path())[0]).expect("removed");
    assert!(matches!(fault(dir.path()), (0, 1, Fault::Beginning { .. })));
}

#[test]
fn a_deletion_that_a_crash_left_undone_verifies_and_is_done_later() {
    let dir = tempfile::tempdir().expect("a folder");
    let bounded = Config { total_bytes: 6_000, ..small(dir.path()) };
    let oldest = dir.path().join(name(1));
    let mut before = Vec::new();
    while before.is_empty() || oldest.exists() {
        before = segments(dir.path()).into_iter().map(|path| (path.clone(), fs::read(path).expect("read"))).collect();
        fill(&bounded, 1);
    }
    for (path, content) in before.iter().filter(|(path, _)| !path.exists()) {
        fs::write(path, content).expect("written");
    }
    assert_eq!(verify(dir.path(), None).expect("it verifies").beginning, Some(Beginning::Chain));

    fill(&bounded, 10);
    assert!(!oldest.exists());
    assert_eq!(verify(dir.path(), None).expect("it verifies").beginning, Some(Beginning::Deleted));
}

#[test]
fn a_broken_chain_is_left_as_it_is_and_another_begins() {
    let dir = log_of(20);
    let paths = segments(dir.path());
    let last = &paths[paths.len() - 1];
    let changed = fs::read_to_string(last).expect("it is read").replace("acme", "evil");
    fs::write(last, &changed).expect("written");

    let (_, found) = opened(&small(dir.path()));
    assert!(matches!(found, Opened::Broken { line: 1, fault: Fault::Hash { .. }, .. }), "{found:?}");
    assert_eq!(fs::read_to_string(last).expect("it is read"), changed);
    assert!(matches!(fault(dir.path()), (at, 1, Fault::Hash { .. }) if at == paths.len() - 1));

    for path in &paths {
        fs::rename(path, path.with_extension("evidence")).expect("moved away");
    }
    let report = verify(dir.path(), None).expect("the new chain verifies");
    assert_eq!(report.beginning, Some(Beginning::Chain));
    assert!(report.first.is_some_and(|first| first.sequence > 21));
    assert!(matches!(opened(&small(dir.path())).1, Opened::Resumed { cut_bytes: 0 }));
}

#[test]
fn a_break_costs_one_chain_and_not_one_at_every_start() {
    let dir = log_of(20);
    let last = segments(dir.path()).pop().expect("there are segments");
    let changed = fs::read_to_string(&last).expect("it is read").replace("acme", "evil");
    fs::write(&last, &changed).expect("written");
    assert!(matches!(opened(&small(dir.path())).1, Opened::Broken { .. }));
    let (broken, after) = (fault(dir.path()), segments(dir.path()));

    for _ in 0..2 {
        let (_, found) = opened(&small(dir.path()));
        assert_eq!((found, segments(dir.path())), (Opened::Resumed { cut_bytes: 0 }, after.clone()));
    }
    fill(&small(dir.path()), 20);
    assert_eq!(opened(&small(dir.path())).1, Opened::Resumed { cut_bytes: 0 }, "over several segments");
    assert_eq!(fault(dir.path()), broken, "the old break still shows");

    let new = segments(dir.path()).pop().expect("there are segments");
    fs::write(&new, fs::read_to_string(&new).expect("it is read").replace("resumed", "resumer")).expect("written");
    assert!(matches!(opened(&small(dir.path())).1, Opened::Broken { .. }), "the new chain is checked like any other");
}

#[test]
fn the_last_lines_are_those_of_the_last_segments() {
    let dir = log_of(20);
    let all: Vec<String> = segments(dir.path()).iter().flat_map(|path| lines(path)).collect();
    for count in [0, 1, 2, 5, 21, 100] {
        let expected: Vec<&str> = all[all.len().saturating_sub(count)..].iter().map(|line| line.trim_end()).collect();
        assert_eq!(last_lines(dir.path(), count, |_| true).expect("read"), expected, "{count}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_changed_byte_shows(at: prop::sample::Index, flip in 1_u8..) {
        let dir = log_of(8);
        let paths = segments(dir.path());
        let total: usize = paths.iter().map(|path| fs::metadata(path).expect("it is there").len() as usize).sum();
        // All but the last line break: without it the last record counts as unfinished, which is told.
        let mut at = at.index(total - 1);
        let path = paths.iter().find(|path| {
            let bytes = fs::metadata(path).expect("it is there").len() as usize;
            if at < bytes { true } else { at -= bytes; false }
        });
        let path = path.expect("the index is within");
        let mut bytes = fs::read(path).expect("it is read");
        bytes[at] ^= flip;
        fs::write(path, bytes).expect("written");
        prop_assert!(matches!(verify(dir.path(), None), Err(Unverified::Broken(_))));
    }

    #[test]
    fn a_crash_at_any_byte_is_repaired(cut: prop::sample::Index, garbage in prop::option::of("[^\n]{1,40}")) {
        let dir = log_of(8);
        let paths = segments(dir.path());
        let last = &paths[paths.len() - 1];
        let mut bytes = fs::read(last).expect("it is read");
        bytes.truncate(cut.index(bytes.len() + 1));
        bytes.extend_from_slice(garbage.unwrap_or_default().as_bytes());
        let whole = bytes.iter().filter(|byte| **byte == b'\n').count();
        let before: usize = paths[..paths.len() - 1].iter().map(|path| lines(path).len()).sum();
        fs::write(last, &bytes).expect("written");

        let (_, found) = opened(&small(dir.path()));

        prop_assert!(matches!(found, Opened::Resumed { .. }), "{:?}", found);
        let report = verify(dir.path(), None).expect("it verifies");
        prop_assert_eq!((report.records, report.unfinished_bytes), ((before + whole + 1) as u64, 0));
    }

    #[test]
    fn any_file_is_survived(bytes: Vec<u8>, text in "(\\PC|\n){0,200}") {
        for content in [bytes, text.into_bytes()] {
            let dir = tempfile::tempdir().expect("a folder");
            fs::write(dir.path().join(name(1)), &content).expect("written");
            let has_line = content.contains(&b'\n');
            prop_assert_eq!(verify(dir.path(), None).is_err(), has_line);
            let (log, found) = opened(&config(dir.path()));
            prop_assert_eq!(matches!(found, Opened::Broken { .. }), has_line);
            drop(log);
            let (_, found) = opened(&config(dir.path()));
            prop_assert_eq!(found, Opened::Resumed { cut_bytes: 0 });
        }
    }
}

#[test]
fn the_time_of_the_tests_is_what_it_says() {
    assert_eq!(quorate_types::rfc3339::format(NOON), "2027-01-15T08:00:00Z");
}
