//! The manifests: every package inherits from the workspace, which is the only place with versions and lints.
//!
//! One version of a dependency, one edition, one set of lints: a package's manifest says what it uses, never which.
//! Read from the text of the checkout, because what cargo reports no longer shows what was inherited.

use std::collections::BTreeSet;

use toml::{Table, Value};

use super::{Finding, tree::Tree};

const RULE: &str = "manifest";

/// The keys of `[package]` that come from the workspace.
const INHERITED: &[&str] = &["version", "edition", "rust-version", "license", "publish"];

/// The tables of dependencies.
const DEPENDENCIES: &[&str] = &["dependencies", "dev-dependencies", "build-dependencies"];

/// Packages outside `crates/`, by their folder.
const ELSEWHERE: &[(&str, &str)] = &[
    ("xtask", "xtask"),
    ("tests", "quorate-tests"),
    ("cluster", "quorate-cluster"),
    ("chaos", "quorate-chaos"),
    ("proto", "quorate-proto"),
];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut used = BTreeSet::new();
    for (path, text) in tree.texts().filter(|(path, _)| is_member(path)) {
        match text.parse::<Table>() {
            Ok(manifest) => check_member(path, &manifest, &mut used, &mut findings),
            Err(error) => findings.push(Finding::new(RULE, path, format!("cannot be parsed: {error}"))),
        }
    }
    findings.extend(check_root(tree.text("Cargo.toml").unwrap_or_default(), &used));
    findings
}

fn is_member(path: &str) -> bool {
    let Some(folder) = path.strip_suffix("/Cargo.toml") else { return false };
    match folder.strip_prefix("crates/") {
        Some(name) => !name.contains('/'),
        None => ELSEWHERE.iter().any(|(elsewhere, _)| *elsewhere == folder),
    }
}

fn check_member(path: &str, manifest: &Table, used: &mut BTreeSet<String>, findings: &mut Vec<Finding>) {
    let mut report = |message: String| findings.push(Finding::new(RULE, path, message));
    if !inherits(manifest.get("lints")) {
        report("does not inherit the lints: `[lints] workspace = true`".to_owned());
    }
    let package = manifest.get("package").and_then(Value::as_table);
    for key in INHERITED {
        if !inherits(package.and_then(|package| package.get(*key))) {
            report(format!("does not inherit `{key}`: `{key}.workspace = true`"));
        }
    }
    let text = |key: &str| package.and_then(|package| package.get(key)).and_then(Value::as_str);
    if text("description").is_none_or(str::is_empty) {
        report("has no description".to_owned());
    }
    let expected = expected_name(path);
    if text("name") != Some(&expected) {
        report(format!("is not called `{expected}` as its folder asks"));
    }
    for (name, dependency) in dependencies(manifest) {
        if !inherits(Some(dependency)) {
            report(format!("`{name}` does not come from the workspace's dependencies"));
        }
        used.insert(name.clone());
    }
}

/// The dependencies of every kind, also those of one platform.
fn dependencies(manifest: &Table) -> impl Iterator<Item = (&String, &Value)> {
    let platforms = manifest.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values);
    let tables = std::iter::once(manifest).chain(platforms.filter_map(Value::as_table));
    tables.flat_map(|table| DEPENDENCIES.iter().filter_map(|kind| table.get(*kind)?.as_table())).flatten()
}

fn inherits(value: Option<&Value>) -> bool {
    value.and_then(|value| value.get("workspace")).and_then(Value::as_bool) == Some(true)
}

fn expected_name(path: &str) -> String {
    let folder = path.trim_end_matches("/Cargo.toml");
    if let Some((_, name)) = ELSEWHERE.iter().find(|(elsewhere, _)| *elsewhere == folder) {
        return (*name).to_owned();
    }
    match folder.trim_start_matches("crates/") {
        // The one binary is called like the product.
        "quorate" => "quorate".to_owned(),
        name => format!("quorate-{name}"),
    }
}

/// The workspace's dependencies are sorted within each block, and each is used.
fn check_root(text: &str, used: &BTreeSet<String>) -> Vec<Finding> {
    let Some((_, section)) = text.split_once("[workspace.dependencies]\n") else {
        return vec![Finding::new(RULE, "Cargo.toml", "has no `[workspace.dependencies]`")];
    };
    let mut findings = Vec::new();
    let mut before = "";
    for line in section.lines().take_while(|line| !line.starts_with('[')) {
        let Some((name, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) else {
            // A blank line ends a block.
            before = "";
            continue;
        };
        if name < before {
            findings.push(Finding::new(RULE, "Cargo.toml", format!("`{name}` is not sorted: it follows `{before}`")));
        }
        if !used.contains(name) {
            findings.push(Finding::new(RULE, "Cargo.toml", format!("no package uses the dependency `{name}`")));
        }
        before = name;
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::messages;

    const ROOT: &str = "[workspace.dependencies]\nanyhow = \"1\"\nbytes = \"1\"\n\n[profile.dev]\ndebug = 1\n";
    const MEMBER: &str = "
        [package]
        name = \"quorate-a\"
        description = \"A.\"
        version.workspace = true
        edition.workspace = true
        rust-version.workspace = true
        license.workspace = true
        publish.workspace = true
        [lints]
        workspace = true
        [dependencies]
        anyhow.workspace = true
        [target.'cfg(unix)'.dev-dependencies]
        bytes = { workspace = true, features = [\"serde\"] }
    ";

    fn found(root: &str, member: &str) -> Vec<String> {
        messages(&check(&Tree::of([("Cargo.toml", root), ("crates/a/Cargo.toml", member)])))
    }

    #[test]
    fn a_member_that_inherits_everything_has_no_findings() {
        assert_eq!(found(ROOT, MEMBER), Vec::<String>::new());
    }

    #[test]
    fn whatever_is_not_inherited_is_a_finding() {
        let cases = [
            ("[lints]\n        workspace = true", "", "lints"),
            ("edition.workspace = true", "edition = \"2021\"", "`edition`"),
            ("license.workspace = true", "", "`license`"),
            ("description = \"A.\"", "", "description"),
            ("\"quorate-a\"", "\"a\"", "quorate-a"),
            ("anyhow.workspace = true", "anyhow = \"1\"", "`anyhow`"),
            ("{ workspace = true, features", "{ version = \"1\", features", "`bytes`"),
        ];
        for (good, bad, expected) in cases {
            assert!(MEMBER.contains(good), "{good}");
            let found = found(ROOT, &MEMBER.replace(good, bad));
            assert!(found.len() == 1 && found[0].contains(expected), "{bad}: {found:?}");
        }
    }

    #[test]
    fn an_unsorted_or_unused_dependency_of_the_workspace_is_a_finding() {
        let unsorted = "[workspace.dependencies]\nbytes = \"1\"\nanyhow = \"1\"\n";
        let blocks = "[workspace.dependencies]\nbytes = \"1\"\n\nanyhow = \"1\"\n";
        let unused = "[workspace.dependencies]\nanyhow = \"1\"\nbytes = \"1\"\ntime = \"1\"\n";

        assert!(found(unsorted, MEMBER)[0].contains("not sorted"));
        assert_eq!(found(blocks, MEMBER), Vec::<String>::new());
        assert!(found(unused, MEMBER)[0].contains("`time`"));
    }

    #[test]
    fn a_manifest_that_cannot_be_parsed_is_a_finding() {
        assert!(found("", "[package").iter().any(|message| message.contains("cannot be parsed")));
    }
}
