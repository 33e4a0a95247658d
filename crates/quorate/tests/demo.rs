//! A first try: `quorate up` with nothing, then what its output says to try.
//!
//! The demo tool server is reached through the whole gateway, in both eras and over HTTP+SSE, by
//! the client commands; then the node is told to stop and drains.
#![expect(clippy::unwrap_used, reason = "a step that fails in a helper is a failed test")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

const QUORATE: &str = env!("CARGO_BIN_EXE_quorate");

/// A running node; killed when the test ends early.
struct Node {
    process: Child,
    endpoint: String,
}

// === impl Node ===

impl Node {
    /// Starts `quorate up` on free ports and reads its address from what it prints.
    fn up() -> Self {
        let arguments = ["up", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log", "warn"];
        let mut process = Command::new(QUORATE).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = lines.map_while(Result::ok).find_map(|line| {
            let endpoint = line.trim().strip_prefix("MCP")?.split_whitespace().next()?;
            Some(endpoint.to_owned())
        });
        Self { process, endpoint: address.expect("`up` prints where it serves MCP") }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended already, which is all that is wanted here.
        let _ended = self.process.kill();
        let _ended = self.process.wait();
    }
}

fn quorate(arguments: &[&str]) -> Output {
    Command::new(QUORATE).args(arguments).output().unwrap()
}

#[test]
fn the_demo_is_listed_and_called_through_the_gateway_in_every_era() {
    let node = Node::up();
    let sse = node.endpoint.replace("/mcp", "/sse");
    let ways = [
        (node.endpoint.as_str(), &["--era", "modern"][..], "2026-07-28"),
        (&node.endpoint, &["--era", "legacy"], "2025-11-25"),
        (&sse, &["--era", "legacy", "--transport", "sse"], "2025-11-25"),
    ];
    for (url, flags, version) in ways {
        let listed = quorate(&[&["tools", url], flags].concat());
        let table = String::from_utf8(listed.stdout).unwrap();
        assert!(table.contains(&format!("(MCP {version})")), "{url} {flags:?}: {table}");
        for item in ["Tools (4)", "echo", "add", "clock", "count", "Prompts (1)", "explain", "demo://about"] {
            assert!(table.contains(item), "{url} {flags:?}: no {item} in {table}");
        }

        let called = quorate(&[&["call", "count", "-a", "to=2", "-a", "pause_ms=0", "--url", url], flags].concat());
        let (out, err) = (String::from_utf8(called.stdout).unwrap(), String::from_utf8(called.stderr).unwrap());
        assert_eq!(out, "counted to 2\n", "{url} {flags:?}: {err}");
        assert!(err.contains("progress 1/2") && err.contains("progress 2/2"), "{url} {flags:?}: {err}");
    }
}
