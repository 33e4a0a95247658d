//! The fuzz targets: each is in the manifest, has a file and has seeds, and no seeds are left of one that is gone.
//!
//! Targets are found by their `[[bin]]` in `tests/fuzz/Cargo.toml`, which is also what `cargo xtask fuzz` runs.

use std::collections::BTreeSet;

use toml::{Table, Value};

use super::{Finding, tree::Tree};

const RULE: &str = "fuzz";
const MANIFEST: &str = "tests/fuzz/Cargo.toml";
const SEEDS: &str = "tests/fuzz/seeds";
const SOURCES: &str = "tests/fuzz/targets";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let Some(manifest) = tree.text(MANIFEST).and_then(|text| text.parse::<Table>().ok()) else {
        return vec![Finding::new(RULE, MANIFEST, "is missing or cannot be parsed")];
    };
    let bins = manifest.get("bin").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let targets: BTreeSet<&str> = bins.iter().filter_map(|bin| bin.get("name")?.as_str()).collect();
    let seeds: BTreeSet<&str> = children(tree, SEEDS).collect();
    let sources: BTreeSet<&str> = children(tree, SOURCES).filter_map(|file| file.strip_suffix(".rs")).collect();

    let mut findings = Vec::new();
    let mut report = |place: String, message: &str| findings.push(Finding::new(RULE, place, message));
    for target in &targets {
        if !seeds.contains(target) {
            report(format!("{SEEDS}/{target}"), "has no seed: a target needs one to begin with");
        }
        if !sources.contains(target) {
            report(format!("{SOURCES}/{target}.rs"), "is missing");
        }
    }
    for target in seeds.union(&sources).filter(|name| !targets.contains(*name)) {
        report(format!("{SOURCES}/{target}.rs"), "is no `[[bin]]` of tests/fuzz/Cargo.toml");
    }
    if targets.is_empty() {
        report(MANIFEST.to_owned(), "has no targets");
    }
    findings
}

/// The names directly below a folder, of files and folders, sorted.
fn children<'a>(tree: &'a Tree, folder: &'a str) -> impl Iterator<Item = &'a str> {
    tree.under(folder).filter_map(move |path| path[folder.len() + 1..].split('/').next())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "[[bin]]\nname = \"one\"\n";

    #[test]
    fn a_target_with_source_and_seeds_has_no_findings() {
        let tree = Tree::of([(MANIFEST, ONE), ("tests/fuzz/seeds/one/a", ""), ("tests/fuzz/targets/one.rs", "")]);

        assert_eq!(check(&tree), []);
    }

    #[test]
    fn a_target_without_source_or_seeds_is_a_finding() {
        assert_eq!(check(&Tree::of([(MANIFEST, ONE), ("tests/fuzz/targets/one.rs", "")])).len(), 1);
        assert_eq!(check(&Tree::of([(MANIFEST, ONE), ("tests/fuzz/seeds/one/a", "")])).len(), 1);
    }

    #[test]
    fn a_leftover_is_a_finding() {
        let files = [
            (MANIFEST, ONE),
            ("tests/fuzz/seeds/one/a", ""),
            ("tests/fuzz/seeds/two/a", ""),
            ("tests/fuzz/targets/one.rs", ""),
            ("tests/fuzz/targets/three.rs", ""),
        ];

        assert_eq!(check(&Tree::of(files)).len(), 2);
    }

    #[test]
    fn a_manifest_without_targets_is_a_finding() {
        assert_eq!(check(&Tree::default()).len(), 1);
        assert_eq!(check(&Tree::of([(MANIFEST, "")])).len(), 1);
    }
}
