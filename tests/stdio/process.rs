//! Gateways with child processes behind them, and the processes themselves.

use std::{fs, path::Path};

use anyhow::{Context as _, ensure};
use quorate_tests::{paths, wait};
use serde_json::{Value, json};

use crate::support::{
    PATIENCE,
    gateway::{Documents, Gateway},
    session::Session,
};

/// The label of the server `child` in metrics.
pub(crate) const OF_CHILD: &str = "\"child\"";

/// The code of a call that may have run.
pub(crate) const OUTCOME_UNKNOWN: i64 = -31002;

/// `spec.stdio` of `mcp-child` with these flags.
pub(crate) fn child(flags: &[&str]) -> anyhow::Result<Value> {
    let program = paths::binary("mcp-child")?;
    let mut command = vec![json!(program)];
    command.extend(flags.iter().map(|flag| json!(flag)));
    Ok(json!({ "command": command }))
}

/// `spec.stdio` of a server that is good until the file `turned` exists, and then has these flags.
pub(crate) fn turning(turned: &Path, flags: &str) -> anyhow::Result<Value> {
    let program = paths::binary("mcp-child")?;
    let (file, program) = (turned.display(), program.display());
    let script = format!("if [ -e '{file}' ]; then exec '{program}' {flags}; fi; exec '{program}'");
    Ok(json!({ "command": ["sh", "-c", script] }))
}

/// Documents with one server `child`.
pub(crate) fn documents(stdio: Value) -> Documents {
    Documents::new().server_with("child", json!({ "stdio": stdio }))
}

/// A gateway with one server `child`, which is `mcp-child` with these flags.
pub(crate) fn start(flags: &[&str]) -> anyhow::Result<Gateway> {
    documents(child(flags)?).start()
}

/// Calls a tool of a session and returns the text that it answers.
pub(crate) fn text(session: &Session, tool: &str, arguments: Value) -> anyhow::Result<String> {
    let message = session.request(1, "tools/call", json!({ "name": tool, "arguments": arguments }))?.message()?;
    said(&message)
}

/// The text of an answer.
pub(crate) fn said(message: &Value) -> anyhow::Result<String> {
    let text = message["result"]["content"][0]["text"].as_str();
    Ok(text.with_context(|| format!("no text: {message}"))?.to_owned())
}

/// What the process of a session says about itself.
pub(crate) fn about(session: &Session) -> anyhow::Result<Value> {
    Ok(serde_json::from_str(&text(session, "about", json!({}))?)?)
}

/// The id of a session's process.
pub(crate) fn pid(session: &Session) -> anyhow::Result<String> {
    Ok(about(session)?["pid"].to_string())
}

/// Whether a process exists and has not ended: a zombie has.
pub(crate) fn lives(pid: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
    stat.is_ok_and(|stat| !stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z')))
}

/// Waits until none of these processes is left.
pub(crate) fn gone(pids: &[String]) -> anyhow::Result<()> {
    wait::until("the end of all processes", PATIENCE, || {
        let left: Vec<&String> = pids.iter().filter(|pid| lives(pid)).collect();
        ensure!(left.is_empty(), "{left:?} are left");
        Ok(())
    })
}

/// All processes below one.
pub(crate) fn below(top: u32) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![top.to_string()];
    while let Some(pid) = open.pop() {
        for thread in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            for child in children.split_ascii_whitespace() {
                found.push(child.to_owned());
                open.push(child.to_owned());
            }
        }
    }
    found
}
