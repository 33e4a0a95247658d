//! Words that must not be in the repository: the hosts of package registries, and paths of one machine.
//!
//! Where packages come from is the business of each user's cargo, npm and pip: a lock file or script that names a
//! host works behind one mirror and fails behind the next. A path of one machine is a mistake anywhere. The words are
//! put together from halves here, so that this file does not find itself.

use super::{Finding, tree::Tree};

const RULE: &str = "words";

/// Each word in halves, with the reason.
const FORBIDDEN: &[(&str, &str, &str)] = &[
    ("registry.", "npmjs.org", REGISTRY),
    ("registry.", "yarnpkg.com", REGISTRY),
    ("npm.pkg.", "github.com", REGISTRY),
    ("pypi.org/", "simple", REGISTRY),
    ("files.", "pythonhosted.org", REGISTRY),
    ("index.", "crates.io", REGISTRY),
    ("static.", "crates.io", REGISTRY),
    ("deb.", "debian.org", REGISTRY),
    ("arti", "factory", REGISTRY),
    ("\"resol", "ved\": \"http", REGISTRY),
    ("/ro", "ot/", PATH),
    ("/ho", "me/", PATH),
    ("/Use", "rs/", PATH),
    ("/wo", "rk/", PATH),
    ("C:\\Use", "rs\\", PATH),
];

const REGISTRY: &str = "where packages come from is set by cargo, npm and pip";
const PATH: &str = "it is a path of one machine";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts() {
        for (head, tail, reason) in FORBIDDEN {
            let word = format!("{head}{tail}");
            if let Some(at) = text.find(&word) {
                let line = text[..at].matches('\n').count() + 1;
                findings.push(Finding::new(RULE, format!("{path}:{line}"), format!("`{word}`: {reason}")));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_forbidden_word_is_found_with_its_line() {
        for (head, tail, _) in FORBIDDEN {
            let found = check(&Tree::of([("a.md", &format!("first\nsecond {head}{tail} word\n"))]));
            assert!(found.iter().any(|finding| finding.place == "a.md:2"), "{head}{tail}: {found:?}");
        }
    }

    #[test]
    fn ordinary_text_has_no_findings() {
        assert_eq!(check(&Tree::of([("a.md", "docs.rs, crates.io, 127.0.0.1 and target/debug")])), []);
    }
}
