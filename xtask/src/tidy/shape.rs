//! The shape of the repository: what stands at the top, what a crate's folder is called, and the inner shape that
//! every protocol crate shares.
//!
//! Who has read one protocol crate knows the others: the same files, in which the same kind of thing is decided. The
//! lists follow ARCHITECTURE.md; something new at the top is a decision, and is made by adding it here.

use super::{Finding, tree::Tree};

const RULE: &str = "shape";

/// What may stand at the top; a folder appears when it has content.
const TOP: &[&str] = &[
    ".cargo",
    ".ci",
    ".gitattributes",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "chaos",
    "clippy.toml",
    "cluster",
    "crates",
    "deny.toml",
    "deploy",
    "docs",
    "proto",
    "rustfmt.toml",
    "tests",
    "xtask",
];

/// What must stand there.
const TOP_REQUIRED: &[&str] = &[
    ".cargo/config.toml",
    ".ci/run",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "LICENSE",
    "README.md",
    "docs/book.toml",
    "docs/src/SUMMARY.md",
];

/// The crates that hold one protocol each.
const PROTOCOLS: &[&str] = &["mcp", "a2a", "llm"];

/// What each of them consists of; a name that ends with a slash is a folder with files in it.
const PROTOCOL_SHAPE: &[(&str, &str)] = &[
    ("src/lib.rs", "the revisions, their links and the diagram of states"),
    ("src/message.rs", "typed views of messages"),
    ("src/codec.rs", "bytes to bytes: rewrites and builders"),
    ("src/classify.rs", "what a request asks for"),
    ("src/exchange.rs", "the machine of one call"),
    ("src/meter.rs", "what of a message is counted"),
    ("src/error.rs", "faults and their codes"),
    ("src/dialect/", "what differs between revisions, one file each"),
    ("tests/golden/", "messages of each revision as they are on the wire"),
    ("tests/props.rs", "the laws"),
];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for top in tops(tree) {
        if !TOP.contains(&top) {
            findings.push(Finding::new(RULE, top, "does not belong at the top: see xtask/src/tidy/shape.rs"));
        }
    }
    for required in TOP_REQUIRED {
        if !tree.has(required) {
            findings.push(Finding::new(RULE, *required, "is missing"));
        }
    }
    for protocol in PROTOCOLS.iter().filter(|protocol| tree.has(&format!("crates/{protocol}/Cargo.toml"))) {
        for (part, purpose) in PROTOCOL_SHAPE {
            let path = format!("crates/{protocol}/{part}");
            if !tree.has(path.trim_end_matches('/')) {
                let message = format!("is missing; every protocol crate has it: {purpose}");
                findings.push(Finding::new(RULE, path, message));
            }
        }
        findings.extend(check_golden(tree, protocol));
    }
    findings
}

/// Golden messages are sorted by revision.
fn check_golden(tree: &Tree, protocol: &str) -> Vec<Finding> {
    let folder = format!("crates/{protocol}/tests/golden");
    let loose = tree.under(&folder).filter(|path| !path[folder.len() + 1..].contains('/'));
    loose.map(|path| Finding::new(RULE, path, "lies outside the folder of its revision")).collect()
}

/// The files and folders at the top, each once.
fn tops(tree: &Tree) -> Vec<&str> {
    let mut tops: Vec<&str> = tree.paths().filter_map(|path| path.split('/').next()).collect();
    tops.dedup();
    tops
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::messages;

    /// Findings about what is there, not about what this small tree lacks at the top.
    fn found<const N: usize>(files: [&str; N]) -> Vec<String> {
        let missing_at_top = |finding: &Finding| TOP_REQUIRED.contains(&finding.place.as_str());
        let findings = check(&Tree::of(files.map(|path| (path, ""))));
        messages(&findings.into_iter().filter(|finding| !missing_at_top(finding)).collect::<Vec<_>>())
    }

    #[test]
    fn something_unknown_at_the_top_is_a_finding() {
        assert_eq!(found(["crates/types/src/lib.rs", "docs/src/x.md"]), Vec::<String>::new());
        assert_eq!(found(["scripts/build.sh", "scripts/run.sh", "notes.txt"]).len(), 2);
    }

    #[test]
    fn something_required_that_is_missing_is_a_finding() {
        assert_eq!(check(&Tree::default()).len(), TOP_REQUIRED.len());
    }

    #[test]
    fn a_protocol_crate_of_another_shape_is_a_finding() {
        let complete = [
            "crates/mcp/Cargo.toml",
            "crates/mcp/src/classify.rs",
            "crates/mcp/src/codec.rs",
            "crates/mcp/src/dialect/v1.rs",
            "crates/mcp/src/error.rs",
            "crates/mcp/src/exchange.rs",
            "crates/mcp/src/lib.rs",
            "crates/mcp/src/message.rs",
            "crates/mcp/src/meter.rs",
            "crates/mcp/tests/golden/v1/initialize.json",
            "crates/mcp/tests/props.rs",
        ];

        assert_eq!(found(complete), Vec::<String>::new());
        assert_eq!(found(["crates/mcp/Cargo.toml"]).len(), PROTOCOL_SHAPE.len());
    }

    #[test]
    fn a_golden_message_without_a_revision_is_a_finding() {
        assert_eq!(check_golden(&Tree::of([("crates/mcp/tests/golden/loose.json", "")]), "mcp").len(), 1);
    }
}
