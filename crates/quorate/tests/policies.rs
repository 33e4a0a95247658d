//! `quorate policy` as a shell sees it: output, messages and exit codes.
//!
//! Policies are of a folder as a node would load it; nothing is served.
#![expect(clippy::unwrap_used, reason = "a step that fails in a helper is a failed test")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const RESOURCES: &str = r#"
kind: ToolServer
name: files
spec: { urls: ["http://127.0.0.1:1/mcp"] }
---
kind: Toolset
name: default
spec: { servers: [files] }
---
kind: Tenant
name: default
spec: { groups: { eng: {} } }
---
kind: ApiKey
name: ci
spec: { keys: [{ id: abcdefgh2345, hmac: "0000000000000000000000000000000000000000000000000000000000000001" }] }
---
kind: Policy
name: files
spec:
  arguments: { path: string }
  cedar: |
    @id("public") permit (principal in Group::"eng", action == Action::"mcp:call", resource == Tool::"files/read")
        when { context.arguments has path && context.arguments.path like "/pub/*" };
    @id("write") @scope("files:write") permit (principal in Agent::"ci", action == Action::"mcp:call", resource == Tool::"files/write");
"#;

const CASES: &str = r#"
cases:
  - name: engineers read public files
    as: { agent: ci, user: corp/ann, groups: [eng] }
    do: mcp:call
    on: Tool::"files/read"
    arguments: { path: /pub/a }
    expect: allow
  - name: and no others
    as: { groups: [eng] }
    do: mcp:call
    on: Tool::"files/read"
    arguments: { path: /etc/a }
    expect: no_permit
"#;

fn quorate(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quorate")).current_dir(dir).args(arguments).output().unwrap()
}

fn check(dir: &Path, arguments: &[&str], code: i32, stdout: &str, stderr: &str) {
    let output = quorate(dir, arguments);
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!((output.status.code(), out.as_str()), (Some(code), stdout), "{arguments:?}: {err}");
    assert!(err.contains(stderr), "{arguments:?}: {err}");
}

fn folder(cases: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("mesh")).unwrap();
    fs::write(dir.path().join("mesh/all.yaml"), RESOURCES).unwrap();
    fs::write(dir.path().join("cases.yaml"), cases).unwrap();
    dir
}

#[test]
fn cases_that_pass_end_with_zero_and_others_with_one_and_a_reason() {
    let test = ["policy", "test", "cases.yaml", "-f", "mesh"];
    let passed = "ok    engineers read public files\nok    and no others\n2 passed, 0 failed\n";
    check(folder(CASES).path(), &test, 0, passed, "");

    let failed = "ok    engineers read public files\n\
                  FAIL  and no others: expected allowed, decided no_permit\n        permit files/public: its condition is false\n\
                  1 passed, 1 failed\n";
    check(folder(&CASES.replace("no_permit", "allow")).path(), &test, 1, failed, "1 of 2 cases failed");
}

#[test]
fn cases_that_are_not_understood_are_errors() {
    let test = ["policy", "test", "cases.yaml", "-f", "mesh"];
    for (from, to, message) in [
        ("expect: allow", "expect: allowed", "is no decision"),
        ("do: mcp:call", "do: mcp:cal", "there is no action"),
        ("on: Tool::\"files/read\"", "on: Tool::\"read\"", "SERVER/NAME"),
        ("user: corp/ann", "user: ann", "is not ISSUER/SUBJECT"),
        ("arguments:", "argument:", "argument"),
        ("    arguments: { path: /pub/a }", "    toolset: other", "there is no Toolset/other"),
        (CASES, "cases: []", "has no cases"),
    ] {
        check(folder(&CASES.replace(from, to)).path(), &test, 3, "", message);
    }
    check(folder("").path(), &["policy", "test", "none.yaml", "-f", "mesh"], 3, "", "cannot be opened");
}

#[test]
fn an_explanation_says_what_decides_and_what_became_of_the_rest() {
    let dir = folder(CASES);
    let explain = |more: &[&'static str]| [&["policy", "explain", "-f", "mesh", "--do", "mcp:call"], more].concat();

    let allowed = "allowed by files/public\n  permit files/public: applies  <- decides\n  \
                   permit files/write: is about other resources\n";
    let question = ["--as", "group=eng", "--on", "Tool::\"files/read\"", "--arguments", r#"{"path":"/pub/a"}"#];
    check(dir.path(), &explain(&question), 0, allowed, "");

    let missing = "missing_scopes by files/write\n  \
                   permit files/write: applies to callers with the scopes that are missing: files:write  <- decides\n  \
                   permit files/public: is about other resources\n";
    check(dir.path(), &explain(&["--as", "agent=ci", "--on", "Tool::\"files/write\""]), 0, missing, "");

    check(dir.path(), &explain(&["--as", "agent", "--on", "Tool::\"files/write\""]), 2, "", "is not KEY=VALUE");
    check(dir.path(), &explain(&["--as", "role=x", "--on", "Tool::\"files/write\""]), 2, "", "known are tenant");
    check(dir.path(), &explain(&["--on", "Tool::files"]), 2, "", "TYPE::");
}
