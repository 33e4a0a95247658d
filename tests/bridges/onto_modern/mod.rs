//! Clients of sessions on servers that speak 2026-07-28 only.

mod calls;
mod changes;
mod eras;
mod headers;
mod rounds;
mod unruly;

use anyhow::{Context as _, ensure};
use quorate_tests::{
    raw::{
        backend::{Backend, Out, Seen},
        client::Answer,
        gateway::{Documents, Gateway},
        mcp::{Era, Mcp},
        session::Session,
    },
    servers::{self, Server},
};
use serde_json::{Value, json};

/// The stateless fixture behind a gateway.
fn fixture() -> anyhow::Result<(Server, Gateway)> {
    let server = servers::fixture(&["--era", "modern"])?;
    let gateway = Documents::new().server("fixture", &server.url).start()?;
    Ok((server, gateway))
}

/// A stateless scripted server whose tools do this, behind a gateway.
fn scripted(call: impl Fn(&Seen, &mut Out) + Send + Sync + 'static) -> anyhow::Result<(Backend, Gateway)> {
    serve(Mcp::new("a").era(Era::Modern).on("tools/call", call))
}

fn serve(server: Mcp) -> anyhow::Result<(Backend, Gateway)> {
    let backend = server.start()?;
    let gateway = Documents::new().server("a", &backend.url()).start()?;
    Ok((backend, gateway))
}

/// Answers with a request for input.
fn ask(seen: &Seen, out: &mut Out, requests: Value, state: &str) {
    out.result(seen, &json!({ "resultType": "input_required", "inputRequests": requests, "requestState": state }));
}

/// A request for input by a form.
fn form() -> Value {
    let schema = json!({ "type": "object", "properties": { "name": { "type": "string" } } });
    json!({ "method": "elicitation/create", "params": { "message": "Name?", "requestedSchema": schema } })
}

/// Begins a call of a tool.
fn begin(session: &Session, id: i64, tool: &str) -> anyhow::Result<Answer> {
    session.request(id, "tools/call", json!({ "name": tool, "arguments": {} }))
}

/// The next request of the server on a call's stream.
fn question(stream: &mut Answer) -> anyhow::Result<Value> {
    ensure!(stream.is_events(), "a call that asks is a stream: {}", stream.status);
    loop {
        let message = stream.next_message()?.context("the stream ended without a question")?;
        if message.get("id").is_some() {
            ensure!(message.get("method").is_some(), "no question, but {message}");
            return Ok(message);
        }
    }
}

/// Answers a question of the server.
fn respond(session: &Session, question: &Value, result: Value) -> anyhow::Result<()> {
    let answered = session.post(&json!({ "jsonrpc": "2.0", "id": question["id"], "result": result }))?;
    ensure!(answered.status == 202, "a response is answered {}", answered.status);
    Ok(())
}

/// The text of a tool's result.
fn text(message: &Value) -> &str {
    message["result"]["content"][0]["text"].as_str().unwrap_or_default()
}
