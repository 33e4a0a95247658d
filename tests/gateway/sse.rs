//! Clients of 2024-11-05: HTTP+SSE at `/sse`, in front of servers that speak streamable HTTP.

use serde_json::{Value, json};

use crate::support::{
    backend::Backend,
    client,
    gateway::{Documents, Gateway, OPEN},
    mcp::{Era, Mcp, said},
    sse::Sse,
};

fn one_backend() -> anyhow::Result<(Backend, Gateway)> {
    let backend = Mcp::new("a").era(Era::Legacy).resources(&["file:///x"]).start()?;
    let gateway = Documents::new().server("a", &backend.url()).start()?;
    Ok((backend, gateway))
}

#[test]
fn a_client_of_2024_is_served_on_its_one_stream() -> anyhow::Result<()> {
    let (_backend, gateway) = one_backend()?;
    let mut sse = Sse::open(&gateway, "/sse")?;

    let listed = sse.ask(&json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" }))?;
    assert_eq!(listed["result"]["tools"][0]["name"], "echo", "{listed}");
    assert_eq!(sse.call(json!("x"), "echo")?["result"]["content"][0]["text"], "a:echo");
    let pong = sse.ask(&json!({ "jsonrpc": "2.0", "id": 2, "method": "ping" }))?;
    assert_eq!((&pong["id"], &pong["result"]), (&json!(2), &json!({})));
    let read =
        sse.ask(&json!({ "jsonrpc": "2.0", "id": 3, "method": "resources/read", "params": { "uri": "file:///x" } }))?;
    assert_eq!(read["result"]["contents"][0]["text"], "a", "{read}");
    let level =
        sse.ask(&json!({ "jsonrpc": "2.0", "id": 4, "method": "logging/setLevel", "params": { "level": "info" } }))?;
    assert_eq!(level["id"], 4, "{level}");
    Ok(())
}

#[test]
fn bad_messages_of_a_client_of_2024_get_errors_and_the_stream_goes_on() -> anyhow::Result<()> {
    let (_backend, gateway) = one_backend()?;
    let mut sse = Sse::open(&gateway, "/sse")?;

    for (body, code) in [("{", -32700), ("[]", -32600), (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, -32600)] {
        let refused = sse.post(body)?;
        assert_eq!(refused.status, 400, "{body}");
        assert_eq!(refused.message()?["error"]["code"], code, "{body}");
    }
    let batch = sse.post(r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#)?;
    assert_eq!(batch.status, 400, "there are no batches on this transport");
    // An unknown method is an error of the request: on the POST or on the stream, with its id.
    let unknown = sse.post(r#"{"jsonrpc":"2.0","id":9,"method":"tests/unknown"}"#)?;
    let unknown = if unknown.status == 202 { sse.receive()? } else { unknown.message()? };
    assert_eq!((&unknown["id"], &unknown["error"]["code"]), (&json!(9), &json!(-32601)), "{unknown}");
    let wrong = sse.ask(&json!({ "jsonrpc": "2.0", "id": 10, "method": "tools/list", "params": { "cursor": "x" } }))?;
    assert_eq!((&wrong["id"], &wrong["error"]["code"]), (&json!(10), &json!(-32602)), "{wrong}");
    assert_eq!(sse.call(json!(11), "echo")?["result"]["content"][0]["text"], "a:echo");
    Ok(())
}

#[test]
fn sessions_of_2024_that_were_not_given_out_or_have_ended_are_404() -> anyhow::Result<()> {
    let (backend, gateway) = one_backend()?;
    let mut sse = Sse::open(&gateway, "/sse")?;
    sse.call(json!(1), "echo")?;
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let post = |path: &str| {
        client::send(gateway.address, "POST", path, &[("content-type", "application/json")], ping.as_bytes())
    };
    assert_eq!(post("/sse")?.status, 400, "a session is needed");
    assert_eq!(post("/sse?sessionId=x")?.status, 404);
    assert_eq!(post(&format!("{}x", sse.path))?.status, 404);
    let Sse { stream, path, .. } = sse;

    drop(stream);

    // The stream is the session.
    quorate_tests::wait::until("the end of the session", crate::support::PATIENCE, || {
        let status = post(&path)?.status;
        anyhow::ensure!(status == 404, "{status}");
        Ok(())
    })?;
    backend.wait_for("the upstream session's end", |seen| (seen.http == "DELETE").then_some(()))?;
    Ok(())
}

#[test]
fn a_request_before_initialize_is_refused() -> anyhow::Result<()> {
    let (_backend, gateway) = one_backend()?;
    let sse = Sse::connect(&gateway, "/sse")?;

    let early = sse.post(r#"{"jsonrpc":"2.0","id":5,"method":"tools/list"}"#)?;

    assert_eq!(early.status, 400);
    assert_eq!(early.message()?["id"], 5);
    Ok(())
}

#[test]
fn a_server_asks_a_client_of_2024_on_its_stream() -> anyhow::Result<()> {
    let (answered, answers) = std::sync::mpsc::sync_channel::<Value>(1);
    let answers = std::sync::Mutex::new(answers);
    let backend = Mcp::new("a")
        .era(Era::Legacy)
        .rule(move |seen, out| {
            let is_answer = seen.body.get("result").is_some();
            if is_answer {
                answered.send(seen.body.clone()).ok();
                out.answer(202, &[], b"");
            }
            is_answer
        })
        .on("tools/call", move |seen, out| {
            out.message(&json!({ "jsonrpc": "2.0", "id": "q", "method": "roots/list" }));
            let answer = answers.lock().expect("no holder panics").recv_timeout(crate::support::PATIENCE);
            let roots = answer.map(|answer| answer["result"]["roots"].to_string()).unwrap_or_default();
            out.message(&json!({ "jsonrpc": "2.0", "id": seen.id(), "result": said(&roots) }));
            out.end_events();
        })
        .start()?;
    let gateway = Documents::new().server("a", &backend.url()).start()?;
    let mut sse = Sse::open(&gateway, "/sse")?;
    let params = json!({ "name": "echo", "arguments": {} });
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
    assert_eq!(sse.post(&call.to_string())?.status, 202);
    let question = sse.receive()?;
    assert_eq!(question["method"], "roots/list");

    sse.post(&json!({ "jsonrpc": "2.0", "id": question["id"], "result": { "roots": [] } }).to_string())?;

    assert_eq!(sse.receive()?["result"]["content"][0]["text"], "[]");
    Ok(())
}

#[test]
fn each_toolset_has_its_own_address_for_clients_of_2024() -> anyhow::Result<()> {
    let (a, b) = (Mcp::new("a").start()?, Mcp::new("b").start()?);
    let second = [
        json!({ "kind": "ToolServer", "name": "b", "spec": { "urls": [b.url()] } }),
        json!({ "kind": "Toolset", "name": "second", "spec": { "servers": ["b"] } }),
    ];
    let text = format!("{}\n---\n{}\n---\n{}", Documents::new().server("a", &a.url()).text(), second[0], second[1]);
    let gateway = Gateway::start(&text, OPEN)?;

    assert_eq!(Sse::open(&gateway, "/sse")?.call(json!(1), "echo")?["result"]["content"][0]["text"], "a:echo");
    assert_eq!(Sse::open(&gateway, "/sse/second")?.call(json!(1), "echo")?["result"]["content"][0]["text"], "b:echo");
    Ok(())
}
