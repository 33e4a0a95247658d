//! `quorate validate --probe`: what toolsets make of their servers, and what its exit code says.

use std::fs;
use std::process::Command;

use quorate_tests::paths;
use quorate_tests::raw::mcp::Mcp;
use serde_json::{Value, json};

use crate::support::{defined, document, document_of};

/// Runs the probe; returns the exit code, and what it says without the folder's name.
fn probe(resources: &str) -> anyhow::Result<(Option<i32>, String)> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("mesh.yaml");
    fs::write(&file, resources)?;
    let run = Command::new(paths::binary("quorate")?).args(["validate", "--probe", "-f"]).arg(&file).output()?;
    Ok((run.status.code(), String::from_utf8([run.stdout, run.stderr].concat())?))
}

fn files() -> Mcp {
    Mcp::new("files").tools(&["read", "write", "delete_file"]).prompts(&["plan"])
}

#[test]
fn the_probe_shows_where_everything_comes_from() -> anyhow::Result<()> {
    let files = files().start()?;
    let spec = json!({
        "servers": [{ "server": "files", "tools": { "exclude": ["delete_*"] } }],
        "tools": [{ "match": { "name": "write" }, "rename": "save", "timeout": "20s", "concurrency": 2 }],
    });

    let (code, said) = probe(&document(&[("files", &files)], &spec))?;

    assert_eq!(code, Some(0), "{said}");
    let shown = "
Toolset default (files)
  tools: 2 listed, 1 not chosen
    read  of files
    save  write of files; within 20s; 2 at once
  prompts: 1 listed
    plan  of files
";
    assert!(said.contains(shown), "{said}");
    assert_eq!(files.count("tools/call"), 0, "nothing is called");
    Ok(())
}

#[test]
fn the_probe_fails_for_what_is_written_in_vain() -> anyhow::Result<()> {
    let files = files().start()?;
    let spec = json!({
        "servers": [{ "server": "files", "tools": { "exclude": ["remove_*"] } }],
        "tools": [
            { "match": { "name": "rea*d" }, "rename": "same*" },
            { "match": { "name": "writ*e" }, "rename": "same*" },
        ],
    });

    let (code, said) = probe(&document(&[("files", &files)], &spec))?;

    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("matches nothing: spec.servers[0].tools.exclude[0] \"remove_*\""), "{said}");
    assert_eq!(said.matches("  not exposed: ").count(), 2, "{said}");
    assert!(said.contains("1 pattern matches nothing, 2 things are not exposed"), "{said}");
    Ok(())
}

#[test]
fn the_probe_accepts_a_pattern_that_only_one_version_has() -> anyhow::Result<()> {
    let (old, new) = (files().start()?, Mcp::new("new").tools(&["read", "append"]).start()?);
    for (first, second) in [("v1", "v2"), ("v2", "v1")] {
        let versions = json!([{ "server": first }, { "server": second }]);
        let spec = json!({
            "servers": [{ "name": "files", "versions": versions, "tools": { "exclude": ["append"] } }],
            "tools": [{ "match": { "server": "files", "version": "v1", "name": "write" }, "rename": "save" }],
        });

        let (code, said) = probe(&document(&[("v1", &old), ("v2", &new)], &spec))?;

        assert_eq!((code, said.matches("matches nothing").count()), (Some(0), 0), "{first} first: {said}");
    }
    let spec = json!({
        "servers": [{ "name": "files", "versions": [{ "server": "v1" }, { "server": "v2" }] }],
        "tools": [{ "match": { "name": "never" }, "timeout": "1s" }],
    });

    let (code, said) = probe(&document(&[("v1", &old), ("v2", &new)], &spec))?;

    assert_eq!(code, Some(3), "{said}");
    assert_eq!(said.matches("matches nothing: spec.tools[0].match.name").count(), 1, "{said}");
    assert!(said.contains("1 pattern matches nothing"), "{said}");
    Ok(())
}

#[test]
fn the_probe_names_a_server_that_cannot_be_asked() -> anyhow::Result<()> {
    let files = files().start()?;
    let gone: Value = json!({ "urls": ["http://127.0.0.1:1/mcp"] });
    let there: Value = json!({ "urls": [files.url()] });
    let spec = json!({ "servers": ["files", "gone"] });

    let (code, said) = probe(&document_of(&[("files", there), ("gone", gone)], &spec))?;

    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("not asked: gone: "), "{said}");
    assert!(said.contains("    read "), "what was reached is shown all the same: {said}");
    Ok(())
}

#[test]
fn the_probe_fails_for_policies_that_do_not_fit_what_servers_have() -> anyhow::Result<()> {
    let bank = defined(
        "bank",
        json!([{
            "name": "transfer",
            "inputSchema": {
                "type": "object",
                "properties": { "account": { "type": "string" }, "amount": { "type": "number" }, "note": {} },
            },
        }]),
    );
    let bank = bank.start()?;
    let spec = json!({
        "servers": ["bank"],
        "tools": [{ "match": { "name": "transfer" }, "rename": "pay", "arguments": { "note": { "fix": "by us" } } }],
    });
    let probed = |condition: &str, tool: &str| {
        let cedar = format!(
            "@id(\"limit\") forbid (principal, action == Action::\"mcp:call\", resource == Tool::\"bank/{tool}\")\n\
             when {{ {condition} }};"
        );
        let types = json!({ "amount": "number", "amuont": "number", "account": "integer", "note": "string" });
        let policy = json!({ "kind": "Policy", "name": "bank", "spec": { "cedar": cedar, "arguments": types } });
        probe(&format!("{}\n---\n{policy}", document(&[("bank", &bank)], &spec)))
    };
    let above = |name: &str| {
        format!("context.arguments has {name} && context.arguments.{name}.greaterThan(decimal(\"100.0\"))")
    };

    for fits in [above("amount"), "context.arguments has note && context.arguments.note == \"x\"".to_owned()] {
        let (code, said) = probed(&fits, "transfer")?;
        assert_eq!((code, said.contains("do not fit")), (Some(0), false), "{said}");
    }
    for (condition, tool, told) in [
        (above("amuont"), "transfer", "has no argument \"amuont\"; it has account, amount"),
        (
            "context.arguments has account && context.arguments.account == 1".to_owned(),
            "transfer",
            "its argument \"account\" is string and not integer: calls that have it are denied",
        ),
        // Policies name a tool as its server does.
        (above("amount"), "pay", "no toolset has it"),
    ] {
        let (code, said) = probed(&condition, tool)?;
        assert_eq!(code, Some(3), "{said}");
        assert!(said.contains(&format!("bank/limit: Tool::\"bank/{tool}\": {told}")), "{said}");
    }
    Ok(())
}
