//! What a client lets itself in with, and who it says that it is, goes to no tool server: whatever its transport.
//!
//! A client sends every header that somebody could take for an identity, and looks for any of their values in what the
//! servers were sent. `Mcp-Param-*` headers go along under their own names, and under no other.

use std::{
    fs,
    sync::{Arc, Mutex, mpsc},
};

use serde_json::{Value, json};

use crate::support::{
    backend::{Backend, Out, Seen},
    client,
    gateway::{Documents, Gateway, OPEN, modern_request},
    mcp::{Era, Mcp},
    session::{Session, initialize_message},
};

/// What every header of the client has in its value.
const MINE: &str = "of-the-client";
/// What the server is shown of us.
const OURS: &str = "ours";
/// Headers that let in, identify, or say on whose behalf.
const IDENTITY: &[(&str, &str)] = &[
    ("authorization", "Bearer of-the-client"),
    ("proxy-authorization", "Basic of-the-client"),
    ("cookie", "session=of-the-client"),
    ("x-api-key", "of-the-client"),
    ("api-key", "of-the-client"),
    ("x-auth-token", "of-the-client"),
    ("x-forwarded-user", "of-the-client"),
    ("x-forwarded-email", "of-the-client"),
    ("x-forwarded-access-token", "of-the-client"),
    ("x-remote-user", "of-the-client"),
    ("x-forwarded-for", "of-the-client"),
    ("x-forwarded-client-cert", "By=spiffe://a/of-the-client"),
    ("x-spiffe-id", "spiffe://a/of-the-client"),
    ("forwarded", "for=of-the-client"),
    ("x-real-ip", "of-the-client"),
    ("x-envoy-peer-metadata", "of-the-client"),
    ("x-amzn-oidc-data", "of-the-client"),
    ("x-goog-iap-jwt-assertion", "of-the-client"),
    ("x-ms-client-principal", "of-the-client"),
    ("dpop", "of-the-client"),
    ("x-client-cert", "of-the-client"),
    ("mcp-unknown", "of-the-client"),
];

/// Nothing of the client is in any header that the server got; each request has our credential, once.
fn nothing_of_the_client(backend: &Backend, what: &str) {
    let seen = backend.seen();
    assert!(!seen.is_empty(), "{what}: nothing was sent");
    for request in seen {
        for (name, value) in &request.headers {
            assert!(!value.contains(MINE), "{what}: {name}: {value} is in {} {}", request.http, request.method());
        }
        let ours: Vec<_> = request.headers.iter().filter(|(name, _)| name == "authorization").collect();
        assert_eq!(ours.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>(), [OURS], "{what}");
    }
}

fn credential() -> Value {
    json!({ "header": { "name": "Authorization", "value": OURS } })
}

fn gateway(backend: &Backend, path: &str) -> anyhow::Result<Gateway> {
    let url = format!("http://{}{path}", backend.address);
    Documents::new().server_with("a", json!({ "urls": [url], "credential": credential() })).start()
}

/// Calls a tool as a client of the stateless revision.
fn call_modern(gateway: &Gateway, tool: &str, arguments: Value, more: &[(&str, &str)]) -> anyhow::Result<Value> {
    let (headers, body) = modern_request(&json!(1), "tools/call", json!({ "name": tool, "arguments": arguments }));
    let mut headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    headers.extend(IDENTITY);
    headers.extend(more);
    gateway.send("POST", &headers, &body.to_string())?.message()
}

/// Opens a session and calls a tool in it: the text.
fn call_legacy(gateway: &Gateway, tool: &str) -> anyhow::Result<Value> {
    let mut headers = vec![("content-type", "application/json"), ("accept", "application/json, text/event-stream")];
    headers.extend(IDENTITY);
    let post = |headers: &[(&str, &str)], body: &Value| {
        client::send(gateway.address, "POST", "/mcp", headers, body.to_string().as_bytes())
    };
    let opened = post(&headers, &initialize_message("2025-11-25"))?;
    let id = opened.header("mcp-session-id").expect("a session has an id").to_owned();
    headers.push(("mcp-session-id", &id));
    headers.push(("mcp-protocol-version", "2025-11-25"));
    post(&headers, &json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))?;
    let call =
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": tool, "arguments": {} } });
    let answer = post(&headers, &call)?.message()?;
    Ok(answer["result"]["content"][0]["text"].clone())
}

#[test]
fn a_server_over_http_gets_nothing_of_the_client_in_either_era() -> anyhow::Result<()> {
    for era in [Era::Modern, Era::Legacy, Era::Dual] {
        let backend = Mcp::new("a").era(era).start()?;
        let gateway = gateway(&backend, "/mcp")?;

        let answer = call_modern(&gateway, "echo", json!({}), &[])?;
        assert_eq!(answer["result"]["content"][0]["text"], "a:echo", "{era:?}: {answer}");
        assert_eq!(call_legacy(&gateway, "echo")?, "a:echo", "{era:?}");

        nothing_of_the_client(&backend, &format!("{era:?}"));
    }
    Ok(())
}

/// A server of 2024-11-05: one stream for all answers, and an address to post to.
fn of_2024() -> anyhow::Result<Backend> {
    let stream = Arc::new(Mutex::new(None::<mpsc::SyncSender<Value>>));
    Backend::start(move |seen: &Seen, out: &mut Out| {
        if seen.http == "GET" {
            let (sender, messages) = mpsc::sync_channel(64);
            *stream.lock().expect("no script panics here") = Some(sender);
            out.event("event: endpoint\ndata: /messages");
            while let Ok(message) = messages.recv() {
                if !out.message(&message) {
                    return;
                }
            }
            return;
        }
        let result = match seen.method() {
            _ if seen.is_modern() => return out.answer(405, &[], b""),
            "initialize" => json!({
                "protocolVersion": "2024-11-05", "capabilities": { "tools": {} },
                "serverInfo": { "name": "a", "version": "1" },
            }),
            "tools/list" => json!({ "tools": [{ "name": "echo", "inputSchema": { "type": "object" } }] }),
            "tools/call" => json!({ "content": [{ "type": "text", "text": "a:echo" }] }),
            _ => json!({}),
        };
        let sender = stream.lock().expect("no script panics here").clone();
        let Some(sender) = sender else { return out.answer(405, &[], b"") };
        if !seen.id().is_null() {
            // A stream that has ended takes no answers, which the test notices.
            let _ended = sender.send(json!({ "jsonrpc": "2.0", "id": seen.id(), "result": result }));
        }
        out.answer(202, &[], b"");
    })
}

#[test]
fn a_server_over_http_and_sse_gets_nothing_of_the_client() -> anyhow::Result<()> {
    let backend = of_2024()?;
    let url = format!("http://{}/sse", backend.address);
    let spec = json!({ "urls": [url], "credential": credential(), "era": "legacy", "transport": "sse" });
    let gateway = Documents::new().server_with("a", spec).start()?;

    assert_eq!(call_legacy(&gateway, "echo")?, "a:echo");

    nothing_of_the_client(&backend, "HTTP+SSE");
    assert!(backend.seen().iter().any(|seen| seen.http == "GET"), "it is another transport");
    Ok(())
}

#[test]
fn an_api_gets_nothing_of_the_client() -> anyhow::Result<()> {
    let backend = Backend::start(|_, out| out.json(&json!({ "name": "thing" })))?;
    let folder = tempfile::tempdir()?;
    let document = json!({
        "openapi": "3.1.0", "info": { "title": "Things", "version": "1" },
        "servers": [{ "url": format!("http://{}", backend.address) }],
        "paths": { "/thing": { "get": { "operationId": "thing", "responses": { "200": { "description": "ok" } } } } },
    });
    fs::write(folder.path().join("api.json"), document.to_string())?;
    fs::write(folder.path().join("secret"), OURS)?;
    let spec = json!({ "openapi": { "document": "api.json" }, "headers": { "authorization": "file:secret" } });
    fs::write(folder.path().join("resources.yaml"), Documents::new().server_with("a", spec).text())?;
    let gateway = Gateway::start_in(folder, OPEN)?;

    let answer = call_modern(&gateway, "thing", json!({}), &[])?;
    assert!(answer["result"]["isError"] != true && answer.to_string().contains("thing"), "{answer}");
    let session = Session::open(&gateway, "2025-11-25")?;
    session.call(1, "thing")?;
    call_legacy(&gateway, "thing")?;

    nothing_of_the_client(&backend, "OpenAPI");
    Ok(())
}

/// A stateless server with a tool `mirrored` of this input schema.
fn mirrored(schema: Value) -> anyhow::Result<Backend> {
    let listed = move |seen: &Seen, out: &mut Out| {
        let tool = json!({ "name": "mirrored", "inputSchema": schema });
        let result = json!({ "tools": [tool], "resultType": "complete", "ttlMs": 60_000, "cacheScope": "public" });
        out.result(seen, &result);
    };
    Mcp::new("a").era(Era::Modern).on("tools/list", listed).start()
}

#[test]
fn a_mirrored_argument_keeps_its_prefix_whatever_it_is_named() -> anyhow::Result<()> {
    let names = ["Authorization", "Cookie", "X-Api-Key", "Forwarded", "Host"];
    let properties = names.map(|name| (name.to_owned(), json!({ "type": "string", "x-mcp-header": name })));
    let schema = json!({ "type": "object", "properties": Value::Object(properties.into_iter().collect()) });
    let backend = mirrored(schema)?;
    let gateway = gateway(&backend, "/mcp")?;
    let arguments = names.map(|name| (name.to_owned(), json!("argument")));
    let headers = names.map(|name| format!("mcp-param-{}", name.to_ascii_lowercase()));
    let mut headers: Vec<_> = headers.iter().map(|name| (name.as_str(), "argument")).collect();
    // No schema knows it, and it goes along: a later revision may.
    headers.push(("mcp-param-x-spiffe-id", "argument"));

    let answer = call_modern(&gateway, "mirrored", Value::Object(arguments.into_iter().collect()), &headers)?;

    assert_eq!(answer["result"]["content"][0]["text"], "a:mirrored", "{answer}");
    nothing_of_the_client(&backend, "mirrored");
    let called = backend.wait_for_method("tools/call")?;
    let with_argument: Vec<_> = called.headers.iter().filter(|(_, value)| value == "argument").collect();
    assert!(with_argument.len() >= names.len(), "{:?}", called.headers);
    for (name, _) in with_argument {
        assert!(name.starts_with("mcp-param-"), "{name} is not a mirrored argument any more");
    }
    Ok(())
}

#[test]
fn a_mirrored_argument_is_held_against_its_header_for_a_caller_who_has_listed_nothing() -> anyhow::Result<()> {
    let region = json!({ "type": "string", "x-mcp-header": "Region" });
    let schema = json!({ "type": "object", "properties": { "region": region } });
    let backend = mirrored(schema)?;
    let gateway = gateway(&backend, "/mcp")?;
    let call =
        |header: &str| call_modern(&gateway, "mirrored", json!({ "region": "us" }), &[("mcp-param-region", header)]);

    let refused = call("eu")?;

    assert_eq!(refused["error"]["code"], -32020, "{refused}");
    assert_eq!(backend.count("tools/call"), 0, "the server was asked");
    assert_eq!(call("us")?["result"]["content"][0]["text"], "a:mirrored");
    Ok(())
}
