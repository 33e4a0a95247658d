//! Messages that are wrong in themselves: each gets the protocol's own error with the request's id and the right
//! HTTP status, and the next request is served.

use serde_json::{Value, json};

use crate::support::{
    MODERN,
    client::Answer,
    gateway::{Documents, Gateway, modern_request},
    mcp::Mcp,
    session::Session,
};

/// What an answer has to be: HTTP status, JSON-RPC code, and the id that it echoes.
type Expected = (u16, i64, Value);

fn check(what: &str, answer: Answer, (status, code, id): Expected) {
    let found = answer.status;
    let message = answer.message().unwrap_or_else(|error| panic!("{what}: {error:#}"));
    let facts = (found, message["error"]["code"].as_i64(), &message["id"]);
    assert_eq!(facts, (status, Some(code), &id), "{what}: {message}");
    assert_eq!(message["jsonrpc"], "2.0", "{what}");
    assert!(message["error"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{what}: {message}");
}

fn serves_on(gateway: &Gateway, what: &str) {
    assert_eq!(gateway.call("echo").unwrap_or_else(|error| panic!("after {what}: {error:#}")), "a:echo", "{what}");
}

fn one_backend() -> anyhow::Result<(crate::support::backend::Backend, Gateway)> {
    let backend = Mcp::new("a").start()?;
    let gateway = Documents::new().server("a", &backend.url()).start()?;
    Ok((backend, gateway))
}

const ACCEPT: (&str, &str) = ("accept", "application/json, text/event-stream");
const JSON: (&str, &str) = ("content-type", "application/json");

#[test]
fn bodies_that_are_no_request_are_refused_in_both_eras() -> anyhow::Result<()> {
    let (_backend, gateway) = one_backend()?;
    let session = Session::open(&gateway, "2025-11-25")?;
    let deep = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        format!(r#"{{"jsonrpc":"2.0","id":7,"method":"ping","params":{{"x":{open}{close}}}}}"#)
    };
    let deep_70 = deep(70);
    let deep_100_000 = deep(100_000);
    let cases: &[(&str, &str, i64, Value)] = &[
        ("nothing", "", -32700, json!(null)),
        ("half an object", r#"{"jsonrpc":"2.0","id":7,"method":"pi"#, -32700, json!(7)),
        ("two values", r#"{"jsonrpc":"2.0","id":7,"method":"ping"} {}"#, -32700, json!(7)),
        ("a comment", "{} // x", -32700, json!(null)),
        ("NaN", r#"{"jsonrpc":"2.0","id":7,"method":"ping","params":{"x":NaN}}"#, -32700, json!(7)),
        ("params that are a list", r#"{"jsonrpc":"2.0","id":7,"method":"ping","params":[]}"#, -32602, json!(7)),
        ("a number", "42", -32600, json!(null)),
        ("a text", r#""ping""#, -32600, json!(null)),
        ("null", "null", -32600, json!(null)),
        ("an empty object", "{}", -32600, json!(null)),
        ("no jsonrpc", r#"{"id":7,"method":"ping"}"#, -32600, json!(7)),
        ("jsonrpc 1.0", r#"{"jsonrpc":"1.0","id":7,"method":"ping"}"#, -32600, json!(7)),
        ("jsonrpc as a number", r#"{"jsonrpc":2.0,"id":"x","method":"ping"}"#, -32600, json!("x")),
        ("a method that is a number", r#"{"jsonrpc":"2.0","id":7,"method":1}"#, -32600, json!(7)),
        ("params that are a text", r#"{"jsonrpc":"2.0","id":7,"method":"ping","params":"x"}"#, -32600, json!(7)),
        ("a repeated method", r#"{"jsonrpc":"2.0","id":7,"method":"ping","method":"tools/call"}"#, -32600, json!(7)),
        ("a repeated id", r#"{"jsonrpc":"2.0","id":7,"id":8,"method":"ping"}"#, -32600, json!(null)),
        ("an id that is null", r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, -32600, json!(null)),
        ("an id that is a fraction", r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, -32600, json!(null)),
        ("an id that is an exponent", r#"{"jsonrpc":"2.0","id":1e3,"method":"ping"}"#, -32600, json!(null)),
        ("an id that is a bool", r#"{"jsonrpc":"2.0","id":true,"method":"ping"}"#, -32600, json!(null)),
        ("an id that is an object", r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, -32600, json!(null)),
        ("an id that is a list", r#"{"jsonrpc":"2.0","id":[1],"method":"ping"}"#, -32600, json!(null)),
        (
            "result and error",
            r#"{"jsonrpc":"2.0","id":7,"result":{},"error":{"code":1,"message":""}}"#,
            -32600,
            json!(7),
        ),
        ("nesting over the limit", &deep_70, -32600, json!(7)),
        ("nesting far over the limit", &deep_100_000, -32600, json!(7)),
    ];

    for (what, body, code, id) in cases {
        let modern = [JSON, ACCEPT, ("mcp-protocol-version", MODERN), ("mcp-method", "ping")];
        // Wrong parameters are an error of the call, everything else one of the request.
        let expected = || (if *code == -32602 { 200 } else { 400 }, *code, id.clone());
        check(&format!("modern: {what}"), gateway.send("POST", &modern, body)?, expected());
        check(&format!("legacy: {what}"), session.post_text(body)?, expected());
        check(&format!("bare: {what}"), gateway.send("POST", &[JSON, ACCEPT], body)?, expected());
    }
    serves_on(&gateway, "bad bodies");
    assert_eq!(session.call(9, "echo")?["result"]["content"][0]["text"], "a:echo");
    Ok(())
}

#[test]
fn invalid_utf8_is_no_json() -> anyhow::Result<()> {
    let (_backend, gateway) = one_backend()?;
    let body = b"{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"p\xff\"}";

    let answer = crate::support::client::send(gateway.address, "POST", "/mcp", &[JSON, ACCEPT], body)?;

    check("invalid UTF-8", answer, (400, -32700, json!(null)));
    serves_on(&gateway, "invalid UTF-8");
    Ok(())
}

#[test]
fn headers_of_a_stateless_request_must_say_what_its_body_says() -> anyhow::Result<()> {
    let (backend, gateway) = one_backend()?;
    let echo = json!({ "name": "echo", "arguments": {} });
    let correct = |id: &str| modern_request(&json!(id), "tools/call", echo.clone());
    /// A header and the value that it gets instead of the correct one; `None` leaves it out.
    type Change = (&'static str, Option<&'static str>);
    let cases: &[(&str, Change)] = &[
        ("another method", ("mcp-method", Some("tools/list"))),
        ("a method in other case", ("mcp-method", Some("Tools/Call"))),
        ("no method", ("mcp-method", None)),
        ("another name", ("mcp-name", Some("rm"))),
        ("no name", ("mcp-name", None)),
        ("broken base64", ("mcp-name", Some("=?base64?!!!?="))),
        ("another name in base64", ("mcp-name", Some("=?base64?cm0=?="))),
        ("no version", ("mcp-protocol-version", None)),
        ("an older version", ("mcp-protocol-version", Some("2025-11-25"))),
    ];

    for (what, (name, value)) in cases {
        let (headers, body) = correct("r-1");
        let mut headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).filter(|(known, _)| known != name).collect();
        headers.extend(value.map(|value| (*name, value)));
        check(what, gateway.send("POST", &headers, &body.to_string())?, (400, -32020, json!("r-1")));
    }
    let (headers, body) = correct("r-2");
    let mut twice: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    twice.push(("mcp-name", "echo"));
    check("a repeated name", gateway.send("POST", &twice, &body.to_string())?, (400, -32020, json!("r-2")));
    assert_eq!(backend.count("tools/call"), 0, "a refused call must not reach a server");

    // The same name in its encoded form is the same name.
    let mut encoded: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    encoded.retain(|(name, _)| *name != "mcp-name");
    encoded.push(("mcp-name", "=?base64?ZWNobw==?="));
    let answer = gateway.send("POST", &encoded, &body.to_string())?;
    assert_eq!(answer.status, 200);
    serves_on(&gateway, "header mismatches");
    Ok(())
}

#[test]
fn stateless_requests_with_wrong_contents_get_the_errors_of_their_revision() -> anyhow::Result<()> {
    let (_backend, gateway) = one_backend()?;
    let meta = |version: Value, capabilities: Value| json!({ "_meta": { "io.modelcontextprotocol/protocolVersion": version, "io.modelcontextprotocol/clientCapabilities": capabilities } });
    let good = || meta(json!(MODERN), json!({}));
    let with = |key: &str, value: Value| {
        let mut params = good();
        params[key] = value;
        params
    };
    let cases: Vec<(&str, &str, Option<&str>, Value, Expected)> = vec![
        ("an unknown method", "tools/destroy", None, good(), (404, -32601, json!("é"))),
        ("a method of the other era", "ping", None, good(), (404, -32601, json!("é"))),
        ("another method of the other era", "logging/setLevel", None, good(), (404, -32601, json!("é"))),
        ("a subscription of the other era", "resources/subscribe", None, good(), (404, -32601, json!("é"))),
        ("no capabilities", "tools/list", None, meta(json!(MODERN), json!(null)), (400, -32602, json!("é"))),
        ("capabilities that are a list", "tools/list", None, meta(json!(MODERN), json!([])), (400, -32602, json!("é"))),
        ("a tool without a name", "tools/call", None, good(), (200, -32602, json!("é"))),
        ("a tool whose name is a number", "tools/call", None, with("name", json!(1)), (200, -32602, json!("é"))),
        ("a cursor that is a number", "tools/list", None, with("cursor", json!(1)), (200, -32602, json!("é"))),
        ("a cursor of nobody", "tools/list", None, with("cursor", json!("AAAA")), (200, -32602, json!("é"))),
        ("an empty cursor", "tools/list", None, with("cursor", json!("")), (200, -32602, json!("é"))),
        ("a resource without URI", "resources/read", None, good(), (200, -32602, json!("é"))),
    ];

    for (what, method, name, params, expected) in cases {
        let body = json!({ "jsonrpc": "2.0", "id": "é", "method": method, "params": params });
        let mut headers = vec![JSON, ACCEPT, ("mcp-protocol-version", MODERN), ("mcp-method", method)];
        headers.extend(name.map(|name| ("mcp-name", name)));
        check(what, gateway.send("POST", &headers, &body.to_string())?, expected);
    }
    serves_on(&gateway, "wrong contents");
    Ok(())
}

#[test]
fn versions_that_nobody_speaks_are_refused_with_those_that_are_spoken() -> anyhow::Result<()> {
    let (_backend, gateway) = one_backend()?;
    for version in ["2099-01-01", "1", "2026-07-28 "] {
        let mut params = json!({ "_meta": {} });
        params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!(version);
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
        let body = json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/list", "params": params });
        let headers = [JSON, ACCEPT, ("mcp-protocol-version", version), ("mcp-method", "tools/list")];

        let answer = gateway.send("POST", &headers, &body.to_string())?;

        let status = answer.status;
        let message = answer.message()?;
        // Blanks around a header's value are not part of it, so the third one disagrees with its body.
        let code = if version.ends_with(' ') { -32020 } else { -32022 };
        assert_eq!(
            (status, message["error"]["code"].as_i64(), &message["id"]),
            (400, Some(code), &json!(7)),
            "{message}"
        );
        if code == -32022 {
            let supported = message["error"]["data"]["supported"].as_array().cloned().unwrap_or_default();
            assert!(supported.contains(&json!(MODERN)), "{message}");
            assert_eq!(message["error"]["data"]["requested"], version);
        }
    }
    let session = Session::open(&gateway, "2025-11-25")?;
    for version in ["2099-01-01", "x", MODERN] {
        let mut wrong = session.clone();
        wrong.version = version.to_owned();
        let answer = wrong.request(7, "ping", json!({}))?;
        assert_eq!(answer.status, 400, "{version}");
        assert_eq!(answer.message()?["id"], 7, "{version}");
    }
    let negotiated = Session::open(&gateway, "2099-01-01")?;
    assert_eq!(negotiated.version, "2025-11-25", "initialize offers the latest that has sessions");
    serves_on(&gateway, "wrong versions");
    Ok(())
}

#[test]
fn a_response_is_not_accepted_without_a_session() -> anyhow::Result<()> {
    let (_backend, gateway) = one_backend()?;
    let body = r#"{"jsonrpc":"2.0","id":7,"result":{}}"#;

    let modern = [JSON, ACCEPT, ("mcp-protocol-version", MODERN)];
    check("modern", gateway.send("POST", &modern, body)?, (400, -32600, json!(null)));
    check("legacy", gateway.send("POST", &[JSON, ACCEPT], body)?, (400, -32600, json!(null)));
    serves_on(&gateway, "a response");
    Ok(())
}

#[test]
fn methods_that_a_session_does_not_have_are_refused_and_unknown_notifications_taken() -> anyhow::Result<()> {
    let (_backend, gateway) = one_backend()?;
    let old = Session::open(&gateway, "2025-03-26")?;
    let session = Session::open(&gateway, "2025-11-25")?;

    check("unknown", session.request("x", "tools/destroy", json!({}))?, (200, -32601, json!("x")));
    check("modern", session.request(8, "server/discover", json!({}))?, (400, -32022, json!(8)));
    check("tasks before they existed", old.request(9, "tasks/list", json!({}))?, (200, -32601, json!(9)));
    check("a wrong type", session.request(10, "tools/call", json!({ "name": [] }))?, (200, -32602, json!(10)));
    check(
        "a wrong level",
        session.request(11, "logging/setLevel", json!({ "level": "loud" }))?,
        (200, -32602, json!(11)),
    );
    let unknown = session.post(&json!({ "jsonrpc": "2.0", "method": "notifications/tests/unknown" }))?;
    assert_eq!(unknown.status, 202);
    let late = session.post(&json!({ "jsonrpc": "2.0", "id": 99, "result": {} }))?;
    assert_eq!(late.status, 202, "an answer that nobody waits for is taken and dropped");
    assert_eq!(session.call(12, "echo")?["result"]["content"][0]["text"], "a:echo");
    Ok(())
}

#[test]
fn batches_exist_in_sessions_of_2025_03_26_only() -> anyhow::Result<()> {
    let (_backend, gateway) = one_backend()?;
    let ping = |id: i64| json!({ "jsonrpc": "2.0", "id": id, "method": "ping" });
    let two = json!([ping(1), ping(2)]).to_string();
    for version in ["2025-06-18", "2025-11-25"] {
        let session = Session::open(&gateway, version)?;
        check(version, session.post_text(&two)?, (400, -32600, json!(null)));
    }
    let modern = [JSON, ACCEPT, ("mcp-protocol-version", MODERN), ("mcp-method", "ping")];
    check(MODERN, gateway.send("POST", &modern, &two)?, (400, -32600, json!(null)));

    let session = Session::open(&gateway, "2025-03-26")?;
    check("an empty batch", session.post_text("[]")?, (400, -32600, json!(null)));
    check("a batch in a batch", session.post_text("[[]]")?, (200, -32600, json!(null)));
    let many: Vec<_> = (0..33).map(ping).collect();
    check("too many", session.post_text(&json!(many).to_string())?, (400, -32600, json!(null)));
    let told = json!([{ "jsonrpc": "2.0", "method": "notifications/tests/x" }]).to_string();
    assert_eq!(session.post_text(&told)?.status, 202, "a batch without requests is taken");
    Ok(())
}

#[test]
fn a_batch_is_answered_message_by_message() -> anyhow::Result<()> {
    let (_backend, gateway) = one_backend()?;
    let session = Session::open(&gateway, "2025-03-26")?;
    let call =
        json!({ "jsonrpc": "2.0", "id": "c", "method": "tools/call", "params": { "name": "echo", "arguments": {} } });
    let batch = json!([
        { "jsonrpc": "2.0", "id": 1, "method": "ping" },
        call,
        { "jsonrpc": "2.0", "method": "notifications/tests/x" },
        { "jsonrpc": "2.0", "id": 2, "method": "tests/unknown" },
        { "jsonrpc": "2.0", "id": true, "method": "ping" },
        { "jsonrpc": "2.0", "id": 3, "method": "initialize", "params": { "protocolVersion": "2025-03-26", "capabilities": {}, "clientInfo": { "name": "x", "version": "1" } } },
    ]);

    let mut answer = session.post(&batch)?;

    assert_eq!(answer.status, 200);
    let mut found = Vec::new();
    while let Some(message) = answer.next_message()? {
        found.push((message["id"].clone(), message["error"]["code"].as_i64()));
    }
    for (id, code) in [
        (json!(1), None),
        (json!("c"), None),
        (json!(2), Some(-32601)),
        (json!(null), Some(-32600)),
        (json!(3), Some(-32600)),
    ] {
        assert!(found.contains(&(id.clone(), code)), "{id} {code:?} is not in {found:?}");
    }
    assert_eq!(found.len(), 5, "{found:?}");
    Ok(())
}

#[test]
fn a_batch_of_notifications_is_never_answered_with_events_also_where_they_are_refused() -> anyhow::Result<()> {
    let (release, released) = std::sync::mpsc::sync_channel::<()>(1);
    let released = std::sync::Mutex::new(released);
    let backend = Mcp::new("a").tools(&["wait"]).on("tools/call", move |seen, out| {
        let released = released.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // It ends with the test in any case.
        let _ended = released.recv();
        out.result(seen, &json!({ "content": [], "resultType": "complete" }));
    });
    let backend = backend.start()?;
    let gateway = Documents::new().server("a", &backend.url()).limit("concurrency", 1).start()?;
    let session = Session::open(&gateway, "2025-03-26")?;

    std::thread::scope(|scope| {
        let call = scope.spawn(|| gateway.modern(1, "tools/call", json!({ "name": "wait", "arguments": {} })));
        backend.wait_for_method("tools/call")?;
        let told = json!([{ "jsonrpc": "2.0", "method": "notifications/tests/x" }]).to_string();
        let shed = session.post(&json!({ "jsonrpc": "2.0", "id": 2, "method": "ping" }))?;
        let batch = session.post_text(&told);
        release.send(())?;
        call.join().expect("a call does not panic")?;
        assert_eq!(shed.status, 503, "there is no room");
        assert_eq!(batch?.status, 202, "what asks for no answer gets none");
        Ok(())
    })
}
