//! Both eras over standard streams, found out with processes that take a wrong first word badly.

use anyhow::Context as _;
use quorate_tests::{paths, wait};
use serde_json::json;

use crate::{
    process::{OF_CHILD, child, documents, said, start, text},
    support::{PATIENCE, session::Session},
};

#[test]
fn a_process_of_the_legacy_era_serves_clients_of_both() -> anyhow::Result<()> {
    for flags in [&[][..], &["--strict"]] {
        let gateway = start(flags)?;
        let session = Session::open(&gateway, "2025-11-25")?;

        assert_eq!(text(&session, "echo", json!({ "text": "in a session" }))?, "in a session", "{flags:?}");
        assert!(gateway.tools()?.contains(&"echo".to_owned()), "{flags:?}");
        assert_eq!(gateway.call("echo")?, "nothing", "{flags:?}");
    }
    Ok(())
}

#[test]
fn the_era_is_found_out_with_a_single_process_that_takes_long_to_end() -> anyhow::Result<()> {
    let mut stdio = child(&["--stubborn"])?;
    stdio["limits"] = json!({ "children": 1 });
    let gateway = documents(stdio).start()?;

    wait::until("the tools", PATIENCE, || {
        let tools = gateway.tools()?;
        anyhow::ensure!(tools.contains(&"echo".to_owned()), "{tools:?}");
        Ok(())
    })
}

#[test]
fn a_process_of_the_modern_era_answers_stateless_calls_from_one_process() -> anyhow::Result<()> {
    let gateway = start(&["--era", "modern"])?;

    assert!(gateway.tools()?.contains(&"echo".to_owned()));
    assert_eq!(gateway.call("echo")?, "nothing");
    let counts = [gateway.call("count")?, gateway.call("count")?];
    assert_eq!(counts, ["1", "2"], "the same process, though nobody has a session");
    assert_eq!(gateway.metric("quorate_stdio_children", OF_CHILD)?, 1.0);
    Ok(())
}

#[test]
fn ids_and_progress_tokens_of_stateless_clients_do_not_collide() -> anyhow::Result<()> {
    let gateway = start(&["--era", "modern"])?;
    let params = json!({ "name": "progress", "arguments": {}, "_meta": { "progressToken": "mine" } });
    let mut answers = Vec::new();
    for _ in 0..3 {
        answers.push(gateway.modern("same", "tools/call", params.clone())?);
    }
    for mut answer in answers {
        let mut tokens = Vec::new();
        loop {
            let message = answer.next_message()?.context("the stream ends with an answer")?;
            match message["method"].as_str() {
                Some("notifications/progress") => tokens.push(message["params"]["progressToken"].clone()),
                _ => {
                    assert_eq!((&message["id"], said(&message)?.as_str()), (&json!("same"), "done"));
                    break;
                }
            }
        }
        assert_eq!(tokens, ["mine", "mine"]);
    }
    Ok(())
}

#[test]
fn a_stateless_client_that_leaves_cancels_its_call() -> anyhow::Result<()> {
    let gateway = start(&["--era", "modern"])?;
    let (headers, body) =
        crate::support::gateway::modern_request(&json!(1), "tools/call", json!({ "name": "silence", "arguments": {} }));
    let mut socket = crate::support::client::connect(gateway.address)?;
    let body = body.to_string();
    let mut head = format!("POST /mcp HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n", gateway.address, body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    std::io::Write::write_all(&mut socket, format!("{head}\r\n{body}").as_bytes())?;
    gateway.metric_until("quorate_requests_active", "", |active| active >= 1.0)?;
    drop(socket);

    wait::until("the cancellation", PATIENCE, || {
        let cancelled = gateway.call("cancelled")?;
        anyhow::ensure!(cancelled == "1", "{cancelled} calls were cancelled");
        Ok(())
    })
}

#[test]
fn changes_of_a_modern_process_reach_who_listens() -> anyhow::Result<()> {
    let gateway = start(&["--era", "modern"])?;
    let filter = json!({ "notifications": { "toolsListChanged": true } });
    let mut stream = gateway.modern(7, "subscriptions/listen", filter)?;

    let mut methods = Vec::new();
    while methods.len() < 2 {
        let message = stream.next_message()?.context("the stream stays open")?;
        assert_eq!(message["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], 7, "{message}");
        methods.push(message["method"].as_str().unwrap_or_default().to_owned());
    }
    assert_eq!(methods, ["notifications/subscriptions/acknowledged", "notifications/tools/list_changed"]);
    Ok(())
}

#[test]
fn a_server_on_an_sdk_works_in_either_era() -> anyhow::Result<()> {
    let program = paths::binary("mcp-fixture")?;
    for era in ["legacy", "modern", "dual"] {
        let gateway = documents(json!({ "command": [program, "--stdio", "--era", era] })).start()?;

        let answer = gateway.call("test_simple_text")?;
        assert!(answer.contains("simple text"), "{era}: {answer}");
        assert!(gateway.list("prompts/list", "prompts", "name")?.len() > 2, "{era}");
    }
    Ok(())
}

#[test]
fn the_trace_of_a_call_goes_into_the_message() -> anyhow::Result<()> {
    // A program that writes down what it is told, in front of the server.
    let folder = tempfile::tempdir()?;
    let seen = folder.path().join("seen");
    let server = child(&["--era", "modern"])?["command"][0].as_str().context("a program")?.to_owned();
    let script = format!("tee {} | {server} --era modern", seen.display());
    let gateway = documents(json!({ "command": ["sh", "-c", script] })).start()?;
    gateway.call("echo")?;

    wait::until("the call", PATIENCE, || {
        let seen = std::fs::read_to_string(&seen)?;
        let call = seen.lines().find(|line| line.contains("tools/call")).context("no call yet")?;
        anyhow::ensure!(call.contains("\"traceparent\":\"00-"), "{call}");
        Ok(())
    })
}
