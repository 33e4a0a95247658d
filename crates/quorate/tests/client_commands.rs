//! `quorate tools` and `quorate call` as a shell sees them: output, messages and exit codes.
//!
//! The server is a few lines over a socket (modern era only), so that the commands meet exactly
//! the answers that a case is about.
#![expect(clippy::unwrap_used, reason = "a step that fails in a helper is a failed test")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};

use serde_json::{Value, json};

/// Starts a server and returns its address; it serves until the test process ends.
fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    std::thread::spawn(move || listener.incoming().flatten().for_each(|socket| answer(socket).unwrap()));
    url
}

/// Answers one request and closes.
fn answer(socket: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(socket.try_clone()?);
    let (mut line, mut length) = (String::new(), 0);
    while reader.read_line(&mut line)? > 2 {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    let (media, body) = reply(&request);
    let status = if body.is_empty() { "404 Not Found" } else { "200 OK" };
    let length = body.len();
    write!(
        &socket,
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: {media}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

fn reply(request: &Value) -> (&'static str, String) {
    let result = |result: Value| {
        ("application/json", json!({"jsonrpc": "2.0", "id": request["id"], "result": result}).to_string())
    };
    let tool = |name: &str| json!({"name": name, "description": "\u{1b}[31mdanger", "inputSchema": {"type": "object", "properties": {"n": {"type": "integer"}}}});
    match (request["method"].as_str().unwrap_or_default(), request["params"]["name"].as_str().unwrap_or_default()) {
        ("server/discover", _) => result(json!({"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}})),
        ("tools/list", _) => {
            let tools = ["show", "fail", "refuse", "vanish", "ask"].map(tool);
            result(json!({ "tools": tools }))
        }
        ("tools/call", "show") => {
            let text = request["params"]["arguments"].to_string();
            let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progress": 1, "message": "half"}});
            let (_, answer) = result(json!({"content": [{"type": "text", "text": text}]}));
            ("text/event-stream", format!("data: {progress}\n\ndata: {answer}\n\n"))
        }
        ("tools/call", "fail") => result(json!({"content": [{"type": "text", "text": "it broke"}], "isError": true})),
        ("tools/call", "ask") => result(json!({"resultType": "input_required", "inputRequests": {}})),
        ("tools/call", "refuse") => {
            let error = json!({"jsonrpc": "2.0", "id": request["id"], "error": {"code": -32602, "message": "wrong n"}});
            ("application/json", error.to_string())
        }
        ("tools/call", "vanish") => ("text/event-stream", ": nothing more\n\n".to_owned()),
        _ => ("text/plain", String::new()),
    }
}

fn quorate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quorate")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn exit_codes_say_how_a_call_ended() {
    let url = serve();
    // (arguments, exit code, part of stdout, part of stderr)
    let cases: [(&[&str], i32, &str, &str); 12] = [
        (&["show", "--arg", "n=1"], 0, "{\"n\":1}", "progress 1: half"),
        (&["show", "--args", "{\"a\":1.0}", "--quiet"], 0, "{\"a\":1.0}", ""),
        (&["fail"], 5, "it broke", "reports an error"),
        (&["refuse"], 6, "", "wrong n (code -32602)"),
        (&["ask"], 6, "inputRequests", "input_required"),
        (&["sho"], 6, "", "near it: `show`"),
        (&["vanish"], 7, "", "may have run"),
        (&["show", "--arg", "n=x"], 2, "", "--arg 'n:=…'"),
        (&["show", "--arg", "n"], 2, "", "KEY=VALUE"),
        (&["show", "--args", "[1]"], 2, "", "not a JSON object"),
        (&["show", "--timeout", "0s"], 2, "", "longer than 0"),
        (&["show", "--nonsense"], 2, "", "--nonsense"),
    ];
    for (arguments, code, stdout, stderr) in cases {
        let output = quorate(&[&["call", "--url", &url], arguments].concat());
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{out}\n{err}");
        assert!(out.contains(stdout) && (stdout.is_empty() == out.is_empty()), "{arguments:?}: stdout {out:?}");
        assert!(err.contains(stderr) && (stderr.is_empty() == err.is_empty()), "{arguments:?}: stderr {err:?}");
    }
}

#[test]
fn tools_are_listed_for_people_and_for_programs() {
    let url = serve();
    let table = text(&quorate(&["tools", &url]).stdout);
    assert!(table.contains("Tools (5)") && table.contains("--arg n=<integer, optional>"), "{table}");
    assert!(table.contains("\\u{1b}[31mdanger") && !table.contains('\u{1b}'), "control characters are shown, not sent");

    let json: Value = serde_json::from_slice(&quorate(&["tools", &url, "--json"]).stdout).unwrap();
    assert_eq!(json["protocolVersion"], "2026-07-28");
    assert_eq!(json["tools"][0]["name"], "show");
}

#[test]
fn a_server_that_is_not_there_is_exit_4_with_advice() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    drop(listener);
    for arguments in [&["tools", url.as_str()][..], &["call", "x", "--url", &url]] {
        let output = quorate(arguments);
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{err}");
        assert!(err.contains("Connection refused") && err.contains("quorate up"), "{err}");
    }
}

#[test]
fn help_lists_every_exit_code() {
    let help = text(&quorate(&["--help"]).stdout);
    for code in 0..=7 {
        assert!(help.contains(&format!("\n  {code}  ")), "{code} in {help}");
    }
}
