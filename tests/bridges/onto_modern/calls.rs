//! Calls without rounds: results, errors, progress, log messages, cancellation.

use quorate_tests::raw::{
    mcp::{Era, Mcp, said},
    session::Session,
};
use serde_json::{Value, json};

use super::{begin, fixture, scripted, serve, text};

#[test]
fn what_only_stateless_results_have_is_left_out() -> anyhow::Result<()> {
    let (_backend, gateway) =
        serve(Mcp::new("a").era(Era::Modern).resources(&["test://x"]).on("tools/call", |seen, out| {
            let result = json!({
                "resultType": "complete", "content": [], "structuredContent": [1, 2], "x-own": { "resultType": "kept" },
            });
            out.result(seen, &result);
        }))?;
    let session = Session::open(&gateway, "2025-11-25")?;

    let called = session.call(1, "echo")?;
    let read = session.request(2, "resources/read", json!({ "uri": "test://x" }))?.message()?;

    let content = json!([{ "type": "text", "text": "[1,2]" }]);
    assert_eq!(called["result"], json!({ "content": content, "x-own": { "resultType": "kept" } }));
    assert_eq!(read["result"], json!({ "contents": [{ "uri": "test://x", "text": "a" }] }));
    Ok(())
}

#[test]
fn lists_are_those_of_the_stateless_server_as_strict_clients_can_read_them() -> anyhow::Result<()> {
    let tools = json!([
        { "name": "any", "inputSchema": { "type": "object", "properties": { "a": true } }, "outputSchema": { "type": "array" } },
        { "name": "bad", "inputSchema": { "type": "object", "properties": { "a": { "type": "number", "x-mcp-header": "A" } } } },
    ]);
    let (_backend, gateway) = serve(Mcp::new("a").era(Era::Modern).on("tools/list", move |seen, out| {
        let result = json!({ "resultType": "complete", "tools": tools, "ttlMs": 60_000, "cacheScope": "public" });
        out.result(seen, &result);
    }))?;
    let session = Session::open(&gateway, "2025-11-25")?;

    let listed = session.request(1, "tools/list", json!({}))?.message()?;

    let schema = json!({ "type": "object", "properties": { "a": {} } });
    assert_eq!(listed["result"], json!({ "tools": [{ "name": "any", "inputSchema": schema }] }));
    Ok(())
}

#[test]
fn errors_have_the_codes_that_sessions_know() -> anyhow::Result<()> {
    let (_server, gateway) = fixture()?;
    let session = Session::open(&gateway, "2025-11-25")?;

    let unknown = session.request(1, "resources/read", json!({ "uri": "test://nobody" }))?.message()?;
    assert_eq!(unknown["error"]["code"], -32002, "{unknown}");
    assert_eq!(unknown["error"]["data"]["uri"], "test://nobody", "{unknown}");
    let tool = session.call(2, "nobody")?;
    assert_eq!((&tool["id"], &tool["error"]["code"]), (&json!(2), &json!(-32602)), "{tool}");
    let failed = session.call(3, "test_error_handling")?;
    assert_eq!(failed["result"]["isError"], true, "{failed}");
    Ok(())
}

#[test]
fn a_server_that_refuses_what_the_gateway_says_of_itself_has_failed() -> anyhow::Result<()> {
    for (code, status) in [(-32022, 400), (-32020, 400)] {
        let (_backend, gateway) = scripted(move |seen, out| out.error(seen, status, code, "not in this way"))?;
        let session = Session::open(&gateway, "2025-11-25")?;
        let answer = session.call(1, "echo")?;
        let expected = format!("backend a failed: it refuses the gateway's request: not in this way ({code})");
        assert_eq!((&answer["error"]["code"], &answer["error"]["message"]), (&json!(-31001), &json!(expected)));
    }
    Ok(())
}

#[test]
fn progress_comes_under_the_clients_token() -> anyhow::Result<()> {
    let (_server, gateway) = fixture()?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let params = json!({ "name": "test_tool_with_progress", "arguments": {}, "_meta": { "progressToken": "mine" } });
    let mut stream = session.request(1, "tools/call", params)?;

    let mut progress = Vec::new();
    let answer = loop {
        let message = stream.next_message()?.expect("the stream ends with an answer");
        match message["method"].as_str() {
            Some("notifications/progress") => {
                assert_eq!(message["params"]["progressToken"], "mine");
                progress.push(message["params"]["progress"].as_f64());
            }
            Some(_) => {}
            None => break message,
        }
    };

    assert_eq!(progress, [Some(0.0), Some(50.0), Some(100.0)]);
    assert_eq!(text(&answer), "\"mine\"");
    Ok(())
}

#[test]
fn the_log_is_that_of_info_until_the_client_says_otherwise() -> anyhow::Result<()> {
    let (_server, gateway) = fixture()?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let logged = |id: i64| -> anyhow::Result<usize> {
        let mut stream = begin(&session, id, "test_tool_with_logging")?;
        if !stream.is_events() {
            return Ok(0);
        }
        let mut count = 0;
        while let Some(message) = stream.next_message()? {
            count += usize::from(message["method"] == "notifications/message");
        }
        Ok(count)
    };

    assert_eq!(logged(1)?, 3);
    for (id, level, expected) in [(2, "error", 0), (4, "debug", 3)] {
        let set = session.request(id, "logging/setLevel", json!({ "level": level }))?.message()?;
        assert_eq!(set["result"], json!({}));
        assert_eq!(logged(id + 1)?, expected, "{level}");
    }
    let wrong = session.request(6, "logging/setLevel", json!({ "level": "loud" }))?.message()?;
    assert_eq!(wrong["error"]["code"], -32602, "{wrong}");
    Ok(())
}

#[test]
fn the_level_is_in_each_request_and_only_where_the_server_logs() -> anyhow::Result<()> {
    let (backend, gateway) = scripted(|seen, out| out.result(seen, &said("done")))?;
    let session = Session::open(&gateway, "2025-11-25")?;
    session.call(1, "echo")?;
    session.request(2, "logging/setLevel", json!({ "level": "alert" }))?.message()?;
    session.call(3, "echo")?;
    let levels = |backend: &quorate_tests::raw::backend::Backend| -> Vec<Value> {
        let calls = backend.seen().into_iter().filter(|seen| seen.method() == "tools/call");
        calls.map(|seen| seen.params()["_meta"]["io.modelcontextprotocol/logLevel"].clone()).collect()
    };
    assert_eq!(levels(&backend), ["info", "alert"]);

    let (silent, gateway) = serve(Mcp::new("a").era(Era::Modern).on("server/discover", |seen, out| {
        let result =
            json!({ "supportedVersions": ["2026-07-28"], "capabilities": { "tools": {} }, "resultType": "complete" });
        out.result(seen, &result);
    }))?;
    Session::open(&gateway, "2025-11-25")?.call(1, "echo")?;
    assert_eq!(levels(&silent), [Value::Null]);
    Ok(())
}

#[test]
fn a_cancelled_call_is_cancelled_at_the_server() -> anyhow::Result<()> {
    let (_server, gateway) = fixture()?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let params = json!({ "name": "test_wait_until_cancelled", "arguments": {}, "_meta": { "progressToken": 1 } });
    let mut stream = session.request(1, "tools/call", params)?;
    while stream.next_message()?.expect("progress comes first")["method"] != "notifications/progress" {}

    let params = json!({ "requestId": 1 });
    session.post(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params }))?;

    assert!(stream.next_message()?.is_none(), "a cancelled call has no answer");
    quorate_tests::wait::until("the cancellation", quorate_tests::raw::PATIENCE, || {
        let count = session.call(2, "test_cancelled_calls")?;
        anyhow::ensure!(count["result"]["structuredContent"]["count"] == 1, "{count}");
        Ok(())
    })
}

#[test]
fn pings_are_answered_here_and_tasks_are_not_offered() -> anyhow::Result<()> {
    let (backend, gateway) = scripted(|seen, out| out.result(seen, &said("done")))?;
    let session = Session::open(&gateway, "2025-11-25")?;

    assert_eq!(session.request(1, "ping", json!({}))?.message()?["result"], json!({}));
    let tasks = session.request(2, "tasks/list", json!({}))?.message()?;
    assert_eq!(tasks["result"], json!({ "tasks": [] }), "{tasks}");
    let task = session.request(3, "tasks/get", json!({ "taskId": "t" }))?.message()?;
    assert_eq!(task["error"]["code"], -32602, "{task}");

    assert_eq!(backend.count("ping") + backend.count("tasks/list"), 0);
    Ok(())
}
