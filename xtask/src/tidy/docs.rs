//! The documents: every relative link leads to a file, and every page of the book is in its table of contents.
//!
//! Covers the Markdown at the top and in `docs/`. Links to other sites are not followed: a check must not depend on
//! the network. Anchors are not checked.

use super::{Finding, tree::Tree};

const RULE: &str = "links";

/// The book's pages.
const BOOK: &str = "docs/src";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts().filter(|(path, _)| is_document(path)) {
        for (line, target) in links(text) {
            let Some(resolved) = resolve(path, target) else {
                findings.push(Finding::new(
                    RULE,
                    format!("{path}:{line}"),
                    format!("`{target}` leads out of the repository"),
                ));
                continue;
            };
            if !tree.has(&resolved) {
                findings.push(Finding::new(RULE, format!("{path}:{line}"), format!("there is no `{resolved}`")));
            }
        }
    }
    findings.extend(check_contents(tree));
    findings
}

pub(super) fn is_document(path: &str) -> bool {
    path.ends_with(".md") && (!path.contains('/') || path.starts_with("docs/"))
}

/// Every page is reachable from the table of contents.
fn check_contents(tree: &Tree) -> Vec<Finding> {
    let summary = format!("{BOOK}/SUMMARY.md");
    let Some(contents) = tree.text(&summary) else { return Vec::new() };
    let listed: Vec<String> = links(contents).filter_map(|(_, target)| resolve(&summary, target)).collect();
    let pages = tree.under(BOOK).filter(|path| path.ends_with(".md") && *path != summary);
    pages
        .filter(|page| !listed.iter().any(|listed| listed == page))
        .map(|page| Finding::new(RULE, page, "is not in the book's SUMMARY.md"))
        .collect()
}

/// The relative targets of Markdown links outside code, with their lines and without anchors.
fn links(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    let prose = text.lines().enumerate().filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    });
    prose.flat_map(|(index, line)| {
        let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        targets
            .map(|target| target.split('#').next().unwrap_or_default().trim())
            .filter(|target| !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:"))
            .map(move |target| (index + 1, target))
    })
}

/// A target as a path from the root; `None` when it climbs above it.
fn resolve(document: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = document.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::messages;

    #[test]
    fn a_link_to_a_file_or_folder_that_exists_is_fine() {
        let tree = Tree::of([
            ("README.md", "[a](docs/src/a.md#part) [b](docs) [c](https://example.com/x) `x`\n```\n[d](gone.md)\n```\n"),
            ("docs/src/SUMMARY.md", "- [A](a.md)"),
            ("docs/src/a.md", "[up](../../README.md)"),
        ]);

        assert_eq!(check(&tree), []);
    }

    #[test]
    fn a_dead_link_is_a_finding_with_its_line() {
        let tree = Tree::of([("README.md", "x\n[a](gone.md) and [b](../out.md)\n")]);

        let found = messages(&check(&tree));

        assert_eq!(found.len(), 2);
        assert!(found[0].starts_with("README.md:2: links: there is no `gone.md`"), "{found:?}");
    }

    #[test]
    fn a_page_outside_the_contents_is_a_finding() {
        let tree = Tree::of([("docs/src/SUMMARY.md", "- [A](a.md)"), ("docs/src/a.md", ""), ("docs/src/b.md", "")]);

        assert_eq!(messages(&check(&tree)), ["docs/src/b.md: links: is not in the book's SUMMARY.md"]);
    }
}
