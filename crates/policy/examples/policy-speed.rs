//! Measures decisions on this machine: nanoseconds each, the best of many batches.
//!
//! `cargo run --release -p quorate-policy --example policy-speed`. Policies are as operators write them: most name a group
//! and a server or tool, a third have conditions, some read arguments.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "it is a program that measures and prints"
)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use quorate_policy::{Action, ArgumentType, Document, Item, Mode, Named, Policies, Question, Resource};
use quorate_types::{Principal, ResourceName, TenantId};

/// Decisions per batch, and batches.
const BATCH: u32 = 200;
const BATCHES: u32 = 200;

fn main() {
    for count in [200, 2_000] {
        let start = Instant::now();
        let policies = Policies::compile(&documents(count), &[]).expect("they are policies");
        println!("compile {count}: {:?}", start.elapsed());
        let tenant = TenantId::default();
        let mut principal = Principal::agent(tenant.clone(), "agent-7");
        principal.groups.extend(["group-7".to_owned(), "group-17".to_owned(), "unknown".to_owned()]);
        measure("  prepare a caller", || drop(black_box(policies.subject(&principal))));
        let subject = policies.subject(&principal);
        let tags = ["safe".to_owned(), "files".to_owned()];
        for (what, server, name, arguments) in [
            ("allowed without a condition", "server-7", "plain", None),
            ("allowed with conditions", "server-7", "tool-7", None),
            ("allowed with arguments", "server-7", "args", Some(r#"{"path":"/pub/x","other":[1,2,3]}"#)),
            ("denied, nothing matches", "server-0", "other", None),
        ] {
            let item = Item::Tool(Named { server, name, exposed: name, tags: &tags });
            let resource = Resource { tenant: &tenant, toolset: "all", item };
            let question = Question { action: Action::Call, resource, arguments, request: None };
            let decision = policies.decide(&subject, &question);
            measure(&format!("  {what} ({} {:?})", decision.verdict.reason(), decision.by), || {
                drop(black_box(policies.decide(&subject, &question)));
            });
        }
    }
}

fn measure(what: &str, mut run: impl FnMut()) {
    let mut best = Duration::MAX;
    for _ in 0..BATCHES {
        let start = Instant::now();
        (0..BATCH).for_each(|_| run());
        best = best.min(start.elapsed() / BATCH);
    }
    println!("{what}: {best:?}");
}

/// Documents of ten policies each, `count` in all.
fn documents(count: usize) -> Vec<Document> {
    let policy = |at: usize| match at % 10 {
        0..=2 => format!(
            r#"permit (principal in Group::"group-{at}", action == Action::"mcp:call", resource in ToolServer::"server-{at}");"#
        ),
        3 | 4 => format!(
            r#"permit (principal in Agent::"agent-{at}", action in Action::"mcp", resource in Toolset::"set-{at}");"#
        ),
        5 => format!(
            r#"forbid (principal in Group::"group-{at}", action == Action::"mcp:call", resource == Tool::"server-{at}/drop");"#
        ),
        6 => format!(
            r#"permit (principal in Group::"group-{at}", action == Action::"mcp:read", resource in ToolServer::"server-{at}") when {{ resource.uri like "file:///pub/*" }};"#
        ),
        7 => format!(
            r#"permit (principal in Group::"group-{at}", action == Action::"mcp:call", resource in ToolServer::"server-{at}")
                 when {{ resource.tags.contains("safe") && principal.groups.contains("group-{at}") && resource.name like "tool*" }};
               @id("args-{at}") permit (principal in Group::"group-{at}", action == Action::"mcp:call", resource == Tool::"server-{at}/args")
                 when {{ context.arguments has path && context.arguments.path like "/pub/*" }};
               @id("plain-{at}") permit (principal in Group::"group-{at}", action == Action::"mcp:call", resource == Tool::"server-{at}/plain");"#
        ),
        8 => format!(
            r#"forbid (principal, action == Action::"mcp:call", resource == Tool::"server-{at}/danger") unless {{ principal has user }};"#
        ),
        _ => format!(r#"forbid (principal in Tenant::"tenant-{at}", action, resource);"#),
    };
    let general = r#"forbid (principal, action == Action::"mcp:call", resource) when { resource.tags.contains("blocked") };
                     forbid (principal, action == Action::"mcp:call", resource) when { principal.delegations > 3 };"#;
    let mut documents: Vec<Document> = Vec::new();
    for (number, ats) in (0..count).collect::<Vec<_>>().chunks(10).enumerate() {
        let text = ats.iter().map(|at| policy(*at)).collect::<Vec<_>>().join("\n");
        documents.push(document(&format!("doc-{number}"), text));
    }
    documents.push(document("general", general.to_owned()));
    documents
}

fn document(name: &str, text: String) -> Document {
    let arguments = BTreeMap::from([("path".to_owned(), ArgumentType::String)]);
    let name = ResourceName::new(name).expect("a name");
    Document { name, tenant: TenantId::default(), text, arguments, mode: Mode::Enforce }
}
