//! The blocks of the documents that readers copy: what says it is JSON or TOML is, and every host's form leads to the
//! endpoint that `quorate up` serves.
//!
//! Covers the fenced blocks of the Markdown at the top and in `docs/` (YAML is held against the schema of resource
//! files by the tests of `config`). The page of hosts is for copying alone: a form that names another address than the
//! default one sends its readers nowhere.

use serde::de::IgnoredAny;

use super::{Finding, docs, tree::Tree};

const RULE: &str = "blocks";

/// The page with the forms of hosts.
const HOSTS: &str = "docs/src/hosts.md";

/// Where the default endpoint is declared, and how the declaration begins.
const DECLARED: (&str, &str) = ("crates/quorate/src/cli.rs", "const DEFAULT_URL: &str = \"");

/// The languages of hosts' forms.
const FORMS: [&str; 3] = ["json", "toml", "yaml"];

/// A fenced block.
struct Block<'a> {
    language: &'a str,
    /// The line of its fence.
    line: usize,
    text: String,
}

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts().filter(|(path, _)| docs::is_document(path)) {
        for block in blocks(text) {
            if let Err(reason) = parse(&block) {
                let place = format!("{path}:{}", block.line);
                findings.push(Finding::new(RULE, place, format!("this is not {}: {reason}", block.language)));
            }
        }
    }
    findings.extend(check_hosts(tree));
    findings
}

/// Every form of a host names the default endpoint.
fn check_hosts(tree: &Tree) -> Vec<Finding> {
    let Some(page) = tree.text(HOSTS) else { return Vec::new() };
    let Some(endpoint) = tree.text(DECLARED.0).and_then(default_endpoint) else {
        return vec![Finding::new(RULE, DECLARED.0, format!("does not declare `{}`", DECLARED.1))];
    };
    let forms = blocks(page).into_iter().filter(|block| FORMS.contains(&block.language));
    let astray = forms.filter(|block| !block.text.contains(&format!("{endpoint}\"")));
    astray
        .map(|block| {
            Finding::new(RULE, format!("{HOSTS}:{}", block.line), format!("this form does not lead to {endpoint}"))
        })
        .collect()
}

fn default_endpoint(source: &str) -> Option<&str> {
    let (_, rest) = source.split_once(DECLARED.1)?;
    rest.split('"').next()
}

fn parse(block: &Block<'_>) -> Result<(), String> {
    match block.language {
        // Several values are messages, one after the other.
        "json" => {
            let mut values = serde_json::Deserializer::from_str(&block.text).into_iter::<IgnoredAny>();
            values.try_for_each(|value| value.map(drop)).map_err(|error| error.to_string())
        }
        "toml" => block.text.parse::<toml::Table>().map(drop).map_err(|error| error.message().to_owned()),
        _ => Ok(()),
    }
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut open: Option<Block<'_>> = None;
    for (index, line) in text.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(language), None) => {
                open = Some(Block { language: language.trim(), line: index + 1, text: String::new() });
            }
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::messages;

    const CLI: (&str, &str) = (DECLARED.0, "pub(crate) const DEFAULT_URL: &str = \"http://127.0.0.1:1/mcp\";");

    #[test]
    fn blocks_that_are_what_they_say_are_fine() {
        let tree =
            Tree::of([("README.md", "```json\n{ \"a\": 1 }\n{}\n```\n```toml\n[a]\nb = 1\n```\n```sh\n{ a\n```\n")]);

        assert_eq!(check(&tree), []);
    }

    #[test]
    fn a_block_that_is_not_what_it_says_is_a_finding_with_its_line() {
        let tree = Tree::of([("docs/src/a.md", "text\n```json\n{ \"a\": }\n```\n\n```toml\n[a\n```\n")]);

        let found = messages(&check(&tree));

        assert_eq!(found.len(), 2);
        assert!(found[0].starts_with("docs/src/a.md:2: blocks: this is not json"), "{found:?}");
        assert!(found[1].starts_with("docs/src/a.md:6: blocks: this is not toml"), "{found:?}");
    }

    #[test]
    fn a_form_that_leads_elsewhere_is_a_finding() {
        let page =
            "```json\n{ \"url\": \"http://127.0.0.1:1/mcp\" }\n```\n```toml\nurl = \"http://127.0.0.1:2/mcp\"\n```\n";
        let tree = Tree::of([(HOSTS, page), CLI]);

        assert_eq!(
            messages(&check(&tree)),
            ["docs/src/hosts.md:4: blocks: this form does not lead to http://127.0.0.1:1/mcp"]
        );
    }

    #[test]
    fn a_page_of_hosts_needs_the_declaration_of_the_endpoint() {
        let tree = Tree::of([(HOSTS, ""), (DECLARED.0, "")]);

        assert_eq!(check(&tree).len(), 1);
    }
}
