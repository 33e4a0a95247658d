//! Files and folders: what is read, in which order, and what is too much.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use quorate_config::limits::{Bounds, Row};
use quorate_config::{
    Errors, FILE_BYTES_MAX, FILES_MAX, HealthConfig, ListenerLimits, Reason, Source, TOTAL_BYTES_MAX, ToolServerLimits,
    load, parse,
};

fn server(name: &str) -> String {
    format!("kind: ToolServer\nname: {name}\nspec: {{ urls: [\"http://127.0.0.1:9001/mcp\"] }}\n")
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let file = folder.join(name);
    fs::write(&file, text).expect("writes");
    file
}

fn refusal(paths: &[PathBuf]) -> Errors {
    load(paths).expect_err("it is refused")
}

#[test]
fn a_folder_is_its_resource_files_by_name_without_hidden_ones_and_subfolders() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "b.yaml", &server("b"));
    write(folder.path(), "a.json", r#"{"kind": "ToolServer", "name": "a", "spec": {"urls": ["http://127.0.0.1/"]}}"#);
    write(folder.path(), "c.yml", &server("c"));
    write(folder.path(), "readme.md", "# not a resource");
    write(folder.path(), ".hidden.yaml", "broken: [");
    fs::create_dir(folder.path().join("sub.yaml")).expect("a folder");
    write(&folder.path().join("sub.yaml"), "d.yaml", "broken: [");

    let set = load(&[folder.path().to_path_buf()]).expect("it is accepted");

    let names: Vec<&str> = set.tool_servers().iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
}

#[test]
fn a_file_that_two_paths_lead_to_is_read_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = write(folder.path(), "a.yaml", &server("a"));
    std::os::unix::fs::symlink(&file, folder.path().join("link.yaml")).expect("links");

    let set = load(&[file, folder.path().to_path_buf()]).expect("it is accepted");

    assert_eq!(set.tool_servers().len(), 1);
}

#[test]
fn a_set_does_not_depend_on_the_order_of_its_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let toolset = "kind: Toolset\nname: default\nspec: { servers: [a, b] }\n";
    let files: Vec<PathBuf> = [("1.yaml", toolset), ("2.yaml", &server("b")), ("3.yaml", &server("a"))]
        .map(|(name, text)| write(folder.path(), name, text))
        .to_vec();
    let reversed: Vec<PathBuf> = files.iter().rev().cloned().collect();

    assert_eq!(load(&files), load(&reversed));
    assert!(load(&files).is_ok());
}

#[test]
fn what_cannot_be_read_is_named_beside_what_is_wrong_elsewhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).expect("a folder");
    let broken = write(folder.path(), "broken.yaml", "kind: Nothing");
    let text = write(folder.path(), "mesh.txt", "");
    let binary = folder.path().join("binary.yaml");
    fs::write(&binary, [0xff, 0xfe, 0x00]).expect("writes");
    let missing = folder.path().join("missing.yaml");

    let errors = refusal(&[empty.clone(), broken.clone(), text.clone(), binary.clone(), missing.clone()]);

    let of = |file: &PathBuf| {
        let problem = errors.problems().iter().find(|problem| problem.place.file.as_ref() == Some(file));
        problem.map(|problem| problem.reason.clone()).expect("the file is named")
    };
    assert_eq!(errors.problems().len(), 5, "{errors}");
    assert_eq!(of(&empty), Reason::EmptyFolder);
    assert_eq!(of(&text), Reason::Extension);
    assert!(matches!(of(&broken), Reason::NotAChoice { .. }));
    assert!(matches!(of(&binary), Reason::Unreadable { .. }));
    assert!(matches!(of(&missing), Reason::Unreadable { .. }));
}

#[test]
fn files_have_a_largest_size_and_number() {
    let folder = tempfile::tempdir().expect("a folder");
    let size = FILE_BYTES_MAX.as_usize();
    let mut exact = r#"{"kind": "ToolServer", "name": "a", "spec": {"urls": ["http://127.0.0.1/"]}}"#.to_owned();
    exact.push_str(&" ".repeat(size - exact.len()));
    assert!(load(&[write(folder.path(), "exact.json", &exact)]).is_ok());
    let errors = refusal(&[write(folder.path(), "large.json", &format!("{exact} "))]);
    assert!(
        errors.to_string().ends_with("large.json: the file has more than 32MiB, the most allowed is 32MiB"),
        "{errors}"
    );

    let many = tempfile::tempdir().expect("a folder");
    for index in 0..=FILES_MAX {
        write(many.path(), &format!("{index}.yaml"), "");
    }
    let errors = refusal(&[many.path().to_path_buf()]);
    assert_eq!(errors.to_string(), "the set has 1001 files, the most allowed is 1000");

    let heavy = tempfile::tempdir().expect("a folder");
    let nothing = " ".repeat(size);
    for index in 0..=TOTAL_BYTES_MAX.0 / FILE_BYTES_MAX.0 {
        write(heavy.path(), &format!("{index}.json"), &nothing);
    }
    let errors = refusal(&[heavy.path().to_path_buf()]);
    assert_eq!(errors.to_string(), "the set has more than 56MiB, the most allowed is 56MiB");
}

#[test]
fn a_device_without_end_is_not_read_to_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("zero.yaml");
    std::os::unix::fs::symlink("/dev/zero", &file).expect("links");
    assert!(matches!(refusal(&[file]).problems()[0].reason, Reason::TooMuch { .. }));
}

#[test]
fn a_set_has_a_largest_number_of_documents() {
    // In JSON, which is read faster.
    let document =
        |index| format!(r#"{{"kind":"ToolServer","name":"s{index}","spec":{{"urls":["http://127.0.0.1/"]}}}}"#);
    let text = (0..=10_000).map(document).collect();
    let errors = parse(&[Source { file: "many.json".into(), text }]).expect_err("it is refused");
    assert_eq!(errors.to_string(), "the set has 10001 documents beside API keys, the most allowed is 10000");
}

#[test]
fn every_limit_takes_the_values_at_both_ends_of_its_range_and_nothing_beyond() {
    let listener = |limit: String| {
        format!("kind: Listener\nname: a\nspec: {{ address: \"127.0.0.1:1\", limits: {{ receive: 1s, {limit} }} }}\n")
    };
    let server = |at: &'static str| {
        move |limit: String| {
            format!("kind: ToolServer\nname: a\nspec: {{ urls: [\"http://127.0.0.1/\"], {at}: {{ {limit} }} }}\n")
        }
    };
    check_rows(ListenerLimits::ROWS, &|row, limit| {
        if row.key == "receive" { listener_only(limit) } else { listener(limit) }
    });
    check_rows(ToolServerLimits::ROWS, &|_, limit| server("limits")(limit));
    check_rows(HealthConfig::ROWS, &|_, limit| server("health")(limit));
}

fn listener_only(limit: String) -> String {
    format!("kind: Listener\nname: a\nspec: {{ address: \"127.0.0.1:1\", limits: {{ {limit} }} }}\n")
}

/// The greater of two ordered times; the other one must stay below it.
const ORDERED: [(&str, &str); 5] = [
    ("receive", "total"),
    ("connect", "total"),
    ("firstByte", "total"),
    ("timeout", "interval"),
    ("ejectBase", "ejectMax"),
];

fn check_rows(rows: &[Row], document: &dyn Fn(&Row, String) -> String) {
    for row in rows {
        let (min, max) = row.range_text();
        let accepts = |value: &str| {
            let greater = ORDERED.iter().find(|(lesser, _)| *lesser == row.key).map(|(_, greater)| *greater);
            let greater = greater.and_then(|greater| rows.iter().find(|one| one.key == greater));
            let room = greater.map(|one| format!(", {}: {}", one.key, one.range_text().1)).unwrap_or_default();
            let text = document(row, format!("{}: {value}{room}", row.key));
            parse(&[Source { file: "limits.yaml".into(), text }])
        };
        for value in [&min, &max, &row.default_text()] {
            let result = accepts(value);
            assert!(result.is_ok(), "{} = {value}: {result:?}", row.key);
        }
        let (below, above) = beyond(row);
        for value in [below, above] {
            let errors = accepts(&value).expect_err(row.key);
            let range = format!("is out of range: allowed is {min} to {max}");
            assert!(errors.to_string().contains(&range), "{} = {value}: {errors}", row.key);
        }
    }
}

fn beyond(row: &Row) -> (String, String) {
    match row.bounds {
        Bounds::Size { min, max, .. } => (format!("{}B", min.0 - 1), format!("{}B", max.0 + 1)),
        Bounds::Time { min, max, .. } => (format!("{}ms", min.as_millis() - 1), format!("{}ms", max.as_millis() + 1)),
        Bounds::Count { min, max, .. } => ((min - 1).to_string(), (u64::from(max) + 1).to_string()),
    }
}

proptest! {
    #[test]
    fn arbitrary_text_is_accepted_or_refused_but_never_panics(text: String, json: bool) {
        let file = if json { "any.json" } else { "any.yaml" };
        let _ = parse(&[Source { file: file.into(), text }]).map_err(|errors| errors.to_string());
    }

    #[test]
    fn text_that_looks_like_a_document_never_panics(
        text in r#"(kind|name|spec|urls|limits|tls|: |, |\n|  |- |\{|\}|\[|\]|"|'|Listener|Toolset|&a |\*a|---|#|1|null|<<|!x ){0,40}"#,
    ) {
        let _ = parse(&[Source { file: "any.yaml".into(), text }]).map_err(|errors| errors.to_string());
    }
}
