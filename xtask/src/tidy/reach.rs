//! Every Rust file is compiled by something: it is the root of a target, or a `mod` names it that is itself reached.
//!
//! A file that no `mod` names looks like code and is none: nothing checks it, and whoever changes it changes nothing. Roots
//! are what cargo says of the workspace and what lies where the fuzz targets are, whose manifest another rule holds them
//! against. From there declarations are followed as the compiler follows them, with `#[path]` and modules within modules.
//! A `mod` that a macro makes is invisible here.

use std::collections::BTreeSet;

use syn::{Attribute, Expr, ExprLit, Item, Lit, Meta};

use super::{Finding, tree::Tree};
use crate::repo::Repo;

const RULE: &str = "reach";

/// Where the fuzz targets are, which are a workspace of their own.
const FUZZ: [&str; 2] = ["tests/fuzz/src/lib.rs", "tests/fuzz/targets"];

/// Finds the files that nothing reaches.
pub(super) fn check(repo: &Repo, tree: &Tree) -> Vec<Finding> {
    let packages = &repo.metadata().packages;
    let targets = packages.iter().flat_map(|package| &package.targets);
    let roots = targets.filter_map(|target| target.src_path.strip_prefix(repo.root()).ok()?.to_str());
    let [library, targets] = FUZZ;
    unreached(tree, roots.chain([library]).chain(tree.under(targets)))
}

fn unreached<'a>(tree: &Tree, roots: impl Iterator<Item = &'a str>) -> Vec<Finding> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<(String, bool)> = roots.map(|root| (root.to_owned(), true)).collect();
    while let Some((path, is_root)) = next.pop() {
        // A file that cannot be parsed is a finding of its own.
        let file = tree.text(&path).and_then(|text| syn::parse_file(text).ok());
        if !reached.insert(path.clone()) {
            continue;
        }
        if let Some(file) = file {
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
            let own = if is_root || name == "mod.rs" { folder.to_owned() } else { join(folder, stem(name)) };
            declared(tree, &file.items, folder, &own, &mut next);
        }
    }
    let files = tree.paths().filter(|path| path.ends_with(".rs") && !reached.contains(*path));
    files.map(|path| Finding::new(RULE, path, "no `mod` names it, and it is no target: nothing compiles it")).collect()
}

/// Adds the files that these items name: `folder` is where a `#[path]` begins, `own` where the modules of the items are.
fn declared(tree: &Tree, items: &[Item], folder: &str, own: &str, next: &mut Vec<(String, bool)>) {
    for item in items {
        let Item::Mod(module) = item else { continue };
        let name = module.ident.to_string();
        let name = name.trim_start_matches("r#");
        let path = module.attrs.iter().find_map(path_of);
        match (&module.content, path) {
            (Some((_, items)), None) => {
                let inner = join(own, name);
                declared(tree, items, &inner, &inner, next);
            }
            (Some((_, items)), Some(path)) => {
                let inner = join(folder, &path);
                declared(tree, items, &inner, &inner, next);
            }
            // A file that is named by its path has its modules beside itself, as a root has.
            (None, Some(path)) => next.push((join(folder, &path), true)),
            (None, None) => {
                let files = [join(own, &format!("{name}.rs")), join(own, &format!("{name}/mod.rs"))];
                next.extend(files.into_iter().filter(|file| tree.text(file).is_some()).map(|file| (file, false)));
            }
        }
    }
}

/// The text of a `#[path = "…"]`.
fn path_of(attribute: &Attribute) -> Option<String> {
    match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    }
}

fn stem(name: &str) -> &str {
    name.strip_suffix(".rs").unwrap_or(name)
}

/// A path below a folder, with its steps upwards taken.
fn join(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found<const N: usize>(files: [(&str, &str); N], roots: &[&str]) -> Vec<String> {
        let tree = Tree::of(files);
        unreached(&tree, roots.iter().copied()).into_iter().map(|finding| finding.place).collect()
    }

    #[test]
    fn modules_are_found_where_the_compiler_looks_for_them() {
        let files = [
            ("a/src/lib.rs", "mod one;\nmod two;\n#[cfg(test)]\nmod tests { mod deep; }"),
            ("a/src/one.rs", "mod below;"),
            ("a/src/one/below.rs", ""),
            ("a/src/two/mod.rs", "pub(crate) mod beside;\nmod r#type;"),
            ("a/src/two/beside.rs", ""),
            ("a/src/two/type.rs", ""),
            ("a/src/tests/deep.rs", ""),
            ("a/tests/rules.rs", "#[path = \"support/mod.rs\"]\nmod support;\nmod beside;"),
            ("a/tests/beside.rs", ""),
            ("a/tests/support/mod.rs", "mod more;"),
            ("a/tests/support/more.rs", ""),
            ("a/tests/laws/main.rs", "#[path = \"../support/mod.rs\"]\nmod support;"),
        ];

        let roots = ["a/src/lib.rs", "a/tests/rules.rs", "a/tests/laws/main.rs"];
        assert_eq!(found(files, &roots), Vec::<String>::new());
    }

    #[test]
    fn a_file_that_no_module_names_is_found() {
        let files = [
            ("a/src/lib.rs", "mod one; // mod forgotten;"),
            ("a/src/one.rs", ""),
            ("a/src/forgotten.rs", "mod below;"),
            ("a/src/forgotten/below.rs", ""),
            ("a/src/below.rs", ""),
            ("a/tests/loose/file.rs", ""),
            ("a/README.md", ""),
        ];

        let expected = ["a/src/below.rs", "a/src/forgotten.rs", "a/src/forgotten/below.rs", "a/tests/loose/file.rs"];
        assert_eq!(found(files, &["a/src/lib.rs"]), expected);
    }

    #[test]
    fn modules_that_name_each_other_come_to_an_end() {
        let files = [("a/lib.rs", "#[path = \"lib.rs\"]\nmod again;")];

        assert_eq!(found(files, &["a/lib.rs"]), Vec::<String>::new());
    }

    #[test]
    fn every_file_of_this_repository_is_reached() -> anyhow::Result<()> {
        let repo = Repo::find()?;

        assert_eq!(check(&repo, &Tree::load(repo.root())?), []);
        Ok(())
    }
}
