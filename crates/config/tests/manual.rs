//! The resources that the user guide shows: what a reader copies from a page is accepted.
//!
//! Every YAML block of `docs/src` with a `kind` is parsed as a file of its own. A block may refer to resources that the
//! page shows elsewhere, so that a resource which is not there is no fault of it; everything else is.

use std::path::{Path, PathBuf};

use quorate_config::{Problem, Reason, Source, parse};
use quorate_policy::{Action, Item, Question, Resource};
use quorate_types::{Principal, ResourceName, TenantId, User};

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

/// What is beside the callers of the configuration page.
const SERVED: &str = r#"
kind: ToolServer
name: files
spec: { urls: ["http://127.0.0.1:1/mcp"] }
---
kind: Toolset
name: default
spec: { servers: [files] }
"#;

#[test]
fn the_callers_that_the_configuration_page_shows_are_in_the_group_that_its_policy_is_about() {
    let (file, page) = pages().into_iter().find(|(file, _)| file.ends_with("configuration.md")).expect("the page");
    let shows = |kind: &str, text: &str| text.lines().any(|line| line == format!("kind: {kind}"));
    let of_callers = |text: &String| ["Issuer", "ApiKey", "Tenant", "Policy"].iter().any(|kind| shows(kind, text));
    let blocks = resources(&page).into_iter().map(|(_, text)| text).filter(of_callers);
    let text = blocks.chain([SERVED.to_owned()]).collect::<Vec<_>>().join("\n---\n");
    let set = parse(&[Source { file, text }]).expect("the resources stand together");

    let (issuer, key) = (&set.issuers()[0], &set.api_keys()[0]);
    let user = |subject: &str| Principal {
        agent: None,
        user: Some(User { source: issuer.name.clone(), issuer: "https://id.example".into(), subject: subject.into() }),
        ..Principal::agent(issuer.tenant.clone(), "")
    };
    let other = ResourceName::new("other").expect("a valid name");
    let agent = |name: &ResourceName| Principal::agent(key.tenant.clone(), name.as_str());
    let policies = set.compiled_policies();
    let resource = Resource { tenant: &TenantId::default(), toolset: "default", item: Item::Toolset };
    let question = Question { action: Action::Connect, resource, arguments: None, request: None };
    for (principal, is_member) in
        [(user("alice"), true), (agent(&key.agent), true), (user("bob"), false), (agent(&other), false)]
    {
        let decision = policies.decide(&policies.subject(&principal), &question);
        assert_eq!(decision.verdict.is_allowed(), is_member, "{principal:?}");
    }
}
