//! The examples of the user guide compile, and its limits are the real ones.
//!
//! Blocks that open with `cedar` are policies; `cedar,arguments` ones read the arguments that the text before them
//! declares.

mod common;

use common::{document, lines, reading};
use quorate_policy::{ArgumentType, Document, Policies, limits};

/// The page.
const PAGE: &str = include_str!("../../../docs/src/policy.md");

fn examples() -> Vec<Document> {
    let mut documents = Vec::new();
    for block in PAGE.split("\n```cedar").skip(1) {
        let (opening, rest) = block.split_once('\n').expect("a block has lines");
        let text = rest.split("\n```").next().expect("a block has an end");
        let name = format!("example{}", documents.len());
        documents.push(match opening {
            "" => document(&name, text),
            ",arguments" => reading(&name, &[("path", ArgumentType::String), ("amount", ArgumentType::Number)], text),
            other => panic!("an example opens with cedar{other}"),
        });
    }
    documents
}

#[test]
fn every_example_of_the_guide_compiles() {
    let documents = examples();
    assert_eq!(documents.len(), 6);
    let policies = Policies::compile(&documents, &[]).unwrap_or_else(|problems| panic!("{}", lines(&problems)));
    assert_eq!(policies.len(), 12);

    let of = |what, arguments| common::says(&policies, "default x +engineers *files:write", what, arguments);
    assert_eq!(of("call default default files/write", None), "allowed by example0/engineers-call-files");
    assert_eq!(
        of("call default default files/read", Some(r#"{"path":"/pub/../x"}"#)),
        "forbidden by example2/no-way-up"
    );
    assert_eq!(
        of("call default default bank/transfer", Some(r#"{"amount":5}"#)),
        "forbidden by example1/a-person-is-there"
    );
    assert_eq!(of("read default default files/log:web?day=1", None), "allowed by example3/public-logs");
    assert_eq!(of("read default default files/file:///srv/keys", None), "forbidden by example3/no-keys");
    assert_eq!(
        common::says(&policies, "acme x +writers", "read default default docs/a", None),
        "allowed by example5/acme-reads-docs"
    );
}

#[test]
fn the_limits_of_the_guide_are_those_of_the_code() {
    let numbers = [
        (limits::DOCUMENT_BYTES_MAX / 1024, "at most 256 KiB"),
        (limits::OPERATORS_MAX, "400 operators"),
        (limits::NESTING_MAX, "32 brackets"),
        (limits::POLICIES_MAX / 1000, "at most 10,000\npolicies"),
        (limits::DOCUMENTS_MAX / 1000, "2,000 documents"),
        (limits::TOTAL_BYTES_MAX / 1024 / 1024, "8 MiB"),
        (limits::GROUPS_MAX / 1000, "10,000 groups"),
        (limits::TEMPLATES_MAX, "64 templates"),
        (limits::GROUP_DEPTH_MAX, "16 in each other"),
        (limits::ARGUMENT_TEXT_BYTES_MAX / 1024, "longer than 64 KiB"),
    ];
    for (value, said) in numbers {
        assert!(PAGE.contains(said), "the page lacks {said}");
        let digits: String = said.chars().filter(char::is_ascii_digit).collect();
        assert!(digits.starts_with(&value.to_string()), "{said}: {value}");
    }
}
