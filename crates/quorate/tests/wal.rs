//! `quorate wal inspect` as a shell sees it, over folders that a log wrote and that were damaged afterwards.
#![expect(clippy::unwrap_used, reason = "a step that fails in a helper is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use bytes::Bytes;
use quorate_wal::{Config, DEFAULTS, Folder, GroupId, Op, Slot, open};
use serde_json::Value;

const FIRST: &str = "wal-0000000000000001";
const SECRET: &str = "a secret";

fn inspect(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quorate")).args(["wal", "inspect"]).arg(folder).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn succeed(folder: &Path, arguments: &[&str]) -> String {
    let output = inspect(folder, arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// Exits with 1; returns what went to stdout and to stderr.
fn fail(folder: &Path, arguments: &[&str]) -> (String, String) {
    let output = inspect(folder, arguments);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    (text(&output.stdout), text(&output.stderr))
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Writes a log of two groups into a node's data folder; returns it and its log.
fn written() -> (tempfile::TempDir, PathBuf) {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().join("wal");
    let config = Config { segment_bytes: 64 << 10, batch_bytes_max: 12 << 10, payload_bytes_max: 4 << 10, ..DEFAULTS };
    let mut log = open(Arc::new(Folder::new(&folder).unwrap()), config, 7, false).unwrap();
    let vote = Op::Put { slot: Slot(0), value: Bytes::from_static(&[1, 2, 3]) };
    let mut submit = |group, ops| {
        log.wal.submit(GroupId(group), ops, None).unwrap();
        while log.writer.step().unwrap() {}
    };
    submit(0, vec![vote]);
    for index in 1..=5 {
        submit(3, vec![Op::Append { index, payload: Bytes::from_static(SECRET.as_bytes()) }]);
    }
    submit(3, vec![Op::Purge { before: 3, note: Bytes::new() }]);
    (data, folder)
}

/// Returns where the last batch of a segment begins.
fn last_batch(bytes: &[u8]) -> usize {
    bytes.windows(4).rposition(|window| window == b"QBLK").unwrap()
}

#[test]
fn a_good_log_is_shown_with_its_segments_and_groups_and_is_not_changed() {
    let (data, folder) = written();
    let before = fs::read(folder.join(FIRST)).unwrap();

    let table = succeed(data.path(), &[]);
    assert_eq!(table, succeed(&folder, &[]), "the data folder and its log are named alike");
    assert!(table.contains("log 00000000000000000000000000000007, can be trusted; spare segments: 2"), "{table}");
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    let live = json(&succeed(&folder, &["-o", "json"]))["liveBytes"].to_string();
    for row in [
        vec!["1", "0", "7", &rows[3][3], &live, "5", "0", "0", "1", "1", "0"],
        vec!["0", "0", "0", "0", "-", "vote=010203"],
        vec!["3", "3", "6", "3", "before", "3", "-"],
    ] {
        assert!(rows.contains(&row), "{row:?} in {table}");
    }

    let shown = json(&succeed(data.path(), &["-o", "json"]));
    assert_eq!((&shown["trusted"], &shown["refused"]), (&Value::Bool(true), &Value::Null));
    assert_eq!(shown["segments"][0]["records"]["entries"], 5);
    assert_eq!(shown["groups"][0]["slots"]["vote"], "010203");
    assert_eq!(shown["groups"][1]["next"], 6);
    assert_eq!(fs::read(folder.join(FIRST)).unwrap(), before);
}

#[test]
fn entries_are_listed_and_what_they_say_only_on_demand() {
    let (data, _) = written();
    let list = ["--entries", "3", "--limit", "2"];
    let output = inspect(data.path(), &list);
    let table = text(&output.stdout);
    let indexes: Vec<_> = table.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(indexes, ["3", "4"]);
    assert!(text(&output.stderr).contains("1 more: go on with --from 5"), "{}", text(&output.stderr));
    let secret: String = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect();
    assert!(!table.contains(&secret) && !table.contains(SECRET), "{table}");

    let table = succeed(data.path(), &["--entries", "3", "--from", "5", "--payload"]);
    assert!(table.lines().count() == 2 && table.contains(&secret), "{table}");
    let shown = json(&succeed(data.path(), &["--entries", "3", "-o", "json"]));
    let entry = &shown["entries"][0];
    assert_eq!((&entry["index"], &entry["bytes"], &entry["payload"]), (&3.into(), &8.into(), &Value::Null));

    let (_, message) = fail(data.path(), &["--entries", "9"]);
    assert!(message.contains("nothing of group 9") && message.contains("groups: 0 3"), "{message}");
}

#[test]
fn a_batch_that_a_crash_cut_short_is_shown_and_is_no_damage() {
    let (data, folder) = written();
    let mut bytes = fs::read(folder.join(FIRST)).unwrap();
    let at = last_batch(&bytes);
    bytes[at + 24..].fill(0);
    fs::write(folder.join(FIRST), bytes).unwrap();

    let table = succeed(data.path(), &[]);
    assert!(table.contains(&format!("{FIRST} ends at byte {at} in a batch that a crash cut short")), "{table}");
    let shown = json(&succeed(data.path(), &["-o", "json"]));
    assert_eq!((&shown["segments"][0]["tornAt"], &shown["groups"][1]["first"]), (&at.into(), &1.into()));
}

#[test]
fn a_damaged_log_is_named_with_the_place_and_the_way_out() {
    let (data, folder) = written();
    let mut bytes = fs::read(folder.join(FIRST)).unwrap();
    bytes[64 + 30] ^= 1;
    fs::write(folder.join(FIRST), bytes).unwrap();

    for arguments in [&[][..], &["--entries", "3"]] {
        let (table, message) = fail(data.path(), arguments);
        assert!(table.contains("CANNOT BE TRUSTED") && !table.contains("GROUP"), "{table}");
        assert!(message.contains(&format!("{FIRST} is corrupt at byte 64")), "{message}");
        assert!(message.contains("this replica must be replaced"), "{message}");
    }
    let (shown, _) = fail(data.path(), &["-o", "json"]);
    let shown = json(&shown);
    assert_eq!((&shown["trusted"], &shown["refused"]["offset"]), (&Value::Bool(false), &64.into()));
}

#[test]
fn a_log_in_use_a_folder_without_one_and_one_that_is_missing_are_refused() {
    let (data, folder) = written();
    let in_use = Folder::new(&folder).unwrap();
    let (_, message) = fail(data.path(), &[]);
    assert!(message.contains("in use by a running node") && message.contains("stop the node"), "{message}");
    drop(in_use);
    fs::remove_file(folder.join("lock")).unwrap();
    succeed(data.path(), &[]);
    assert!(!folder.join("lock").exists(), "nothing is made");

    let empty = tempfile::tempdir().unwrap();
    assert!(fail(empty.path(), &[]).1.contains("there is no log"));
    assert!(fail(&empty.path().join("none"), &[]).1.contains("cannot read"));
    assert!(!empty.path().join("none").exists());
}
