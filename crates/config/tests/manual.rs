//! The resources that the user guide shows: what a reader copies from a page is accepted.
//!
//! Every YAML block of `docs/src` with a `kind` is parsed as a file of its own. A block may refer to resources that the
//! page shows elsewhere, so that a resource which is not there is no fault of it; everything else is.

use std::path::{Path, PathBuf};

use quorate_config::{Problem, Reason, Source, parse};

/// The pages with their texts.
fn pages() -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src");
    let entries = std::fs::read_dir(folder).expect("the guide is there");
    let files = entries.map(|entry| entry.expect("is readable").path());
    let pages = files.filter(|file| file.extension().is_some_and(|extension| extension == "md"));
    pages.map(|page| (page.clone(), std::fs::read_to_string(page).expect("a page is a text"))).collect()
}

/// The YAML blocks of a page that show resources, with the lines where they begin.
fn resources(page: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        if line.trim() == "```yaml" {
            let block: Vec<_> =
                lines.by_ref().map(|(_, line)| line).take_while(|line| !line.starts_with("```")).collect();
            if block.iter().any(|line| line.starts_with("kind:")) {
                found.push((at + 1, block.join("\n")));
            }
        }
    }
    found
}

fn is_a_fault(problem: &Problem) -> bool {
    !matches!(problem.reason, Reason::UnknownReference { .. } | Reason::NeverThere { .. })
}

#[test]
fn every_resource_that_the_guide_shows_is_accepted() {
    let mut shown = 0;
    for (page, text) in pages() {
        for (line, text) in resources(&text) {
            shown += 1;
            let problems = match parse(&[Source { file: page.with_extension("yaml"), text }]) {
                Ok(_) => Vec::new(),
                Err(errors) => errors.problems().iter().filter(|problem| is_a_fault(problem)).cloned().collect(),
            };
            let texts: Vec<_> = problems.iter().map(Problem::to_string).collect();
            assert_eq!(texts, [""; 0], "the block at {}:{line}", page.display());
        }
    }
    assert!(shown > 0, "the guide shows resources");
}
