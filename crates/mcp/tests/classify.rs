//! Whole requests through [`classify`]: what the official conformance suite asks of a server that
//! answers by itself, and the table of eras.
//!
//! The modern half follows the suite's scenarios `server-stateless`, `http-header-validation`,
//! `tasks-capability-negotiation` and `tasks-request-headers`: the same faults, codes and statuses.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use quorate_jsonrpc::{Frame, Id, Kind, Limits};
use quorate_mcp::codec::ErrorView;
use quorate_mcp::error::{Fault, InvalidRequest, Mismatch};
use quorate_mcp::{
    Classified, Era, ListKind, Operation, Rejected, TaskVerb, Version, classify, classify_batch, classify_legacy,
};

const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}"#;

/// A request being made.
struct Post {
    head: HeaderMap,
    body: String,
}

impl Post {
    fn new(body: impl Into<String>) -> Self {
        let mut head = HeaderMap::new();
        head.insert("content-type", HeaderValue::from_static("application/json"));
        head.insert("accept", HeaderValue::from_static("application/json, text/event-stream"));
        Self { head, body: body.into() }
    }

    /// A modern request with complete `_meta` and matching headers.
    fn modern(method: &str, params: &str) -> Self {
        let comma = if params.is_empty() { "" } else { "," };
        Self::new(format!(r#"{{"jsonrpc":"2.0","id":7,"method":"{method}","params":{{{params}{comma}{META}}}}}"#))
            .with("mcp-protocol-version", "2026-07-28")
            .with("mcp-method", method)
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.head.insert(HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header value"));
        self
    }

    fn and(mut self, name: &'static str, value: &'static str) -> Self {
        self.head.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.head.remove(name);
        self
    }

    fn send(self) -> Result<Classified, Rejected> {
        classify(&self.head, Bytes::from(self.body), &Limits::REQUEST)
    }

    fn accepted(self) -> Classified {
        self.send().expect("accepted")
    }

    /// Sends it and checks the whole answer: status, code, echoed id.
    fn refused(self, status: StatusCode, code: i64) -> Fault {
        let body = self.body.clone();
        let rejected = self.send().expect_err("refused");
        let answer = Frame::parse(rejected.body(), &Limits::ANSWER).expect("an error frame");
        let view = ErrorView::read(&answer).expect("an error");
        assert_eq!((rejected.status(), view.code), (status, code), "{body} → {rejected}");
        assert_eq!(answer.id(), rejected.id.as_ref());
        assert_eq!(answer.id(), Some(&Id::from(7)), "the id is echoed: {body}");
        assert!(!view.message.is_empty());
        rejected.fault
    }
}

fn discover_with(meta: &str) -> Post {
    Post::new(format!(r#"{{"jsonrpc":"2.0","id":7,"method":"server/discover","params":{{{meta}}}}}"#))
        .with("mcp-protocol-version", "2026-07-28")
        .with("mcp-method", "server/discover")
}

#[test]
fn a_complete_modern_request_is_accepted() {
    let classified =
        Post::modern("tools/call", r#""name":"echo","arguments":{"a":1}"#).with("mcp-name", "echo").accepted();

    assert_eq!((classified.era, classified.version), (Era::Modern, Version::V2026_07_28));
    let Operation::CallTool { name, name_span, arguments, task } = &classified.call.operation else {
        panic!("{:?}", classified.call.operation);
    };
    assert_eq!((name.as_str(), classified.call.raw(*name_span)), ("echo", "\"echo\""));
    assert_eq!((arguments.map(|span| classified.call.raw(span)), *task), (Some("{\"a\":1}"), None));
    assert_eq!(classified.call.client_capabilities(), Some("{}"));
}

#[test]
fn missing_required_keys_of_meta_are_invalid_params_with_status_400() {
    let version = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#;
    let capabilities = r#""io.modelcontextprotocol/clientCapabilities":{}"#;
    let cases = [
        String::new(),
        format!("\"_meta\":{{{capabilities}}}"),
        format!("\"_meta\":{{{version}}}"),
        format!("\"_meta\":{{{version},\"io.modelcontextprotocol/clientCapabilities\":[]}}"),
        format!("\"_meta\":{{\"io.modelcontextprotocol/protocolVersion\":1,{capabilities}}}"),
    ];
    for meta in cases {
        discover_with(&meta).refused(StatusCode::BAD_REQUEST, -32602);
    }

    let classified = discover_with(&format!("\"_meta\":{{{version},{capabilities}}}")).accepted();
    assert_eq!(classified.call.operation, Operation::Discover);
}

#[test]
fn an_unknown_version_is_answered_with_the_supported_ones() {
    let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"v999.0.0","io.modelcontextprotocol/clientCapabilities":{}}"#;

    let fault = discover_with(meta).with("mcp-protocol-version", "v999.0.0").refused(StatusCode::BAD_REQUEST, -32022);

    let expected =
        r#"{"supported":["2026-07-28","2025-11-25","2025-06-18","2025-03-26","2024-11-05"],"requested":"v999.0.0"}"#;
    assert_eq!(fault.data().as_deref(), Some(expected));
}

#[test]
fn a_version_header_that_differs_from_meta_or_is_missing_is_a_mismatch() {
    let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"v999.0.0","io.modelcontextprotocol/clientCapabilities":{}}"#;
    discover_with(meta).refused(StatusCode::BAD_REQUEST, -32020);
    Post::modern("tools/list", "").without("mcp-protocol-version").refused(StatusCode::BAD_REQUEST, -32020);
    Post::modern("tools/list", "").and("mcp-protocol-version", "2026-07-28").refused(StatusCode::BAD_REQUEST, -32020);
    Post::modern("tools/list", "")
        .with("mcp-protocol-version", "2025-11-25")
        .with("mcp-session-id", "abc")
        .refused(StatusCode::BAD_REQUEST, -32020);
}

#[test]
fn removed_and_unknown_methods_are_404() {
    let removed = [
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "resources/unsubscribe",
        "tasks/result",
        "tasks/list",
        "unknown/method",
        "sampling/createMessage",
        "notifications/initialized",
        "",
    ];
    for method in removed {
        Post::modern(method, "").refused(StatusCode::NOT_FOUND, -32601);
    }
}

#[test]
fn the_method_header_must_be_there_and_equal() {
    let cases = [Some("prompts/list"), Some("TOOLS/LIST"), Some("tools/list, tools/list"), Some(""), None];
    for value in cases {
        let post = Post::modern("tools/list", "").without("mcp-method");
        let post = value.map_or_else(
            || Post::modern("tools/list", "").without("mcp-method"),
            |value| post.with("mcp-method", value),
        );
        post.refused(StatusCode::BAD_REQUEST, -32020);
    }
    Post::modern("tools/list", "").with("mcp-method", " tools/list ").accepted();
}

#[test]
fn the_name_header_must_be_there_and_equal_once_decoded() {
    let call = || Post::modern("tools/call", r#""name":"naïve","arguments":{}"#);
    call().refused(StatusCode::BAD_REQUEST, -32020);
    for value in ["wrong_tool_name", "=?base64?bmE=?=", "=?base64?!!!?=", "=?base64?bmHDr3Zl", "=?BASE64?bmHDr3Zl?="] {
        call().with("mcp-name", value).refused(StatusCode::BAD_REQUEST, -32020);
    }
    call().with("mcp-name", "=?base64?bmHDr3Zl?=").accepted();
    call().with("mcp-name", "  =?base64?bmHDr3Zl?=  ").accepted();

    let others = [("prompts/get", r#""name":"p""#, "p"), ("resources/read", r#""uri":"file:///a b""#, "file:///a b")];
    for (method, params, name) in others {
        Post::modern(method, params).refused(StatusCode::BAD_REQUEST, -32020);
        Post::modern(method, params).with("mcp-name", "other").refused(StatusCode::BAD_REQUEST, -32020);
        Post::modern(method, params).with("mcp-name", name).accepted();
    }
}

#[test]
fn tasks_need_the_declared_extension_and_a_matching_name() {
    let undeclared = |method| Post::modern(method, r#""taskId":"t1""#).with("mcp-name", "t1");
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        let fault = undeclared(method).refused(StatusCode::BAD_REQUEST, -32021);
        let expected = r#"{"requiredCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}}}}"#;
        assert_eq!(fault.data().as_deref(), Some(expected));
    }

    let declared = || {
        let post = Post::modern("tasks/get", r#""taskId":"t1""#);
        let capabilities =
            r#""io.modelcontextprotocol/clientCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#;
        let body = post.body.replace(r#""io.modelcontextprotocol/clientCapabilities":{}"#, capabilities);
        Post { body, ..post }
    };
    declared().refused(StatusCode::BAD_REQUEST, -32020);
    declared().with("mcp-name", "t2").refused(StatusCode::BAD_REQUEST, -32020);
    let classified = declared().with("mcp-name", "t1").accepted();
    assert!(matches!(classified.call.operation, Operation::Task { verb: TaskVerb::Get, .. }));
}

#[test]
fn a_modern_client_must_not_post_responses_and_its_notifications_need_no_meta() {
    let response = Post::new(r#"{"jsonrpc":"2.0","id":7,"result":{}}"#).with("mcp-protocol-version", "2026-07-28");
    let rejected = response.send().expect_err("refused");
    assert_eq!(rejected.fault, Fault::InvalidRequest { reason: InvalidRequest::UnexpectedResponse });
    assert_eq!(rejected.status(), StatusCode::BAD_REQUEST);
    assert_eq!(rejected.id, None, "a response's id is not a request's");
    assert!(!rejected.body().windows(4).any(|bytes| bytes == b"\"id\""), "the modern schema has no null id");

    let notification = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"a"}}"#;
    let classified = Post::new(notification).with("mcp-protocol-version", "2026-07-28").accepted();
    assert_eq!((classified.era, classified.call.frame.kind()), (Era::Modern, Kind::Notification));
}

#[test]
fn the_era_follows_from_method_meta_and_header() {
    let initialize = r#"{"jsonrpc":"2.0","id":7,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}"#;
    let list = r#"{"jsonrpc":"2.0","id":7,"method":"tools/list"}"#;
    let legacy_meta = r#"{"jsonrpc":"2.0","id":7,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2025-11-25"}}}"#;
    let session = |body: &str| Post::new(body).with("mcp-session-id", "abc");
    let accepted = [
        (Post::new(initialize), Version::V2025_06_18),
        (Post::new(initialize).with("mcp-protocol-version", "2025-03-26"), Version::V2025_06_18),
        (Post::new(initialize).with("mcp-protocol-version", "2026-07-28"), Version::V2025_06_18),
        (Post::new(initialize).with("mcp-protocol-version", "DRAFT-2099"), Version::V2025_06_18),
        (Post::new(initialize.replace("2025-06-18", "2026-07-28")), Version::V2025_11_25),
        (Post::new(initialize.replace("2025-06-18", "1.0")), Version::V2025_11_25),
        (session(list), Version::V2025_03_26),
        (session(list).with("mcp-protocol-version", "2024-11-05"), Version::V2024_11_05),
        (session(legacy_meta).with("mcp-protocol-version", "2025-11-25"), Version::V2025_11_25),
        (Post::new(list), Version::V2025_03_26),
    ];
    for (post, version) in accepted {
        let body = post.body.clone();
        let classified = post.accepted();
        assert_eq!((classified.era, classified.version), (Era::Legacy, version), "{body}");
    }

    session(list).with("mcp-protocol-version", "garbage").refused(StatusCode::BAD_REQUEST, -32600);
    session(list)
        .and("mcp-protocol-version", "2025-06-18")
        .and("mcp-protocol-version", "2025-11-25")
        .refused(StatusCode::BAD_REQUEST, -32020);
    Post::new(list).with("mcp-protocol-version", "garbage").refused(StatusCode::BAD_REQUEST, -32022);
    Post::new(legacy_meta).with("mcp-protocol-version", "2025-11-25").refused(StatusCode::BAD_REQUEST, -32022);
    Post::new(legacy_meta).refused(StatusCode::BAD_REQUEST, -32020);
    session(list)
        .with("mcp-protocol-version", "2026-07-28")
        .with("mcp-method", "tools/list")
        .refused(StatusCode::BAD_REQUEST, -32602);
}

#[test]
fn bodies_that_are_no_request_are_refused_with_the_id_that_can_be_read() {
    let cases: [(&str, i64); 9] = [
        (r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":"#, -32700),
        (r#"{"jsonrpc":"1.0","id":7,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":7}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"a","Name":"b"}}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"a","name":"b"}}"#, -32600),
        (
            r#"{"jsonrpc":"2.0","id":7,"method":"tools/list","params":{"_meta":{"progressToken":1,"progressToken":2}}}"#,
            -32600,
        ),
        (r#"{"id":7,"jsonrpc":"2.0","method":"ping","x":"\q"}"#, -32700),
        (r#"{"id":7,"jsonrpc":"2.0","method":"ping","params":3}"#, -32600),
        (r#"{"id":7,"jsonrpc":"2.0","method":"ping","method":"ping"}"#, -32600),
    ];
    for (body, code) in cases {
        Post::new(body).refused(StatusCode::BAD_REQUEST, code);
        Post::new(body).with("mcp-protocol-version", "2026-07-28").refused(StatusCode::BAD_REQUEST, code);
    }
    let deep =
        format!(r#"{{"jsonrpc":"2.0","method":"ping","params":{{"a":{}{}}},"id":7}}"#, "[".repeat(80), "]".repeat(80));
    Post::new(deep).refused(StatusCode::BAD_REQUEST, -32600);

    for body in ["[]", "1", "", "null", "[{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"ping\"}]"] {
        let rejected = Post::new(body).send().expect_err("no request");
        assert_eq!((rejected.status(), rejected.id), (StatusCode::BAD_REQUEST, None), "{body}");
    }
    let small = Limits { bytes_max: 10, ..Limits::REQUEST };
    let post = Post::new(r#"{"jsonrpc":"2.0"}"#);
    let rejected = classify(&post.head, Bytes::from(post.body), &small).expect_err("too large");
    assert_eq!(rejected.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[test]
fn wrong_parameters_name_the_field_and_keep_status_200() {
    let cases = [
        ("tools/call", "{}", "name"),
        ("tools/call", r#"{"name":1}"#, "name"),
        ("tools/call", r#"{"name":"\ud800"}"#, "name"),
        ("tools/call", r#"{"name":"a","arguments":[]}"#, "arguments"),
        ("tools/call", r#"{"name":"a","task":true}"#, "task"),
        ("tools/call", "[1]", "params"),
        ("tools/call", r#"{"name":"a","_meta":1}"#, "_meta"),
        ("tools/call", r#"{"name":"a","_meta":{"progressToken":1.5}}"#, "_meta.progressToken"),
        ("tools/list", r#"{"cursor":null}"#, "cursor"),
        ("prompts/get", "{}", "name"),
        ("resources/read", r#"{"uri":{}}"#, "uri"),
        ("resources/subscribe", "{}", "uri"),
        ("logging/setLevel", r#"{"level":"loud"}"#, "level"),
        ("completion/complete", "{}", "ref"),
        ("completion/complete", r#"{"ref":{"type":"ref/tool"}}"#, "ref.type"),
        ("completion/complete", r#"{"ref":{"type":"ref/prompt"}}"#, "ref.name"),
        ("completion/complete", r#"{"ref":{"type":"ref/resource","uri":7}}"#, "ref.uri"),
        ("tasks/get", "{}", "taskId"),
        ("subscriptions/listen", "{}", "notifications"),
        ("subscriptions/listen", r#"{"notifications":{"toolsListChanged":1}}"#, "notifications.toolsListChanged"),
        (
            "subscriptions/listen",
            r#"{"notifications":{"resourceSubscriptions":[1]}}"#,
            "notifications.resourceSubscriptions",
        ),
        ("initialize", r#"{"protocolVersion":"2025-06-18","capabilities":{}}"#, "clientInfo"),
        ("initialize", r#"{"protocolVersion":"2025-06-18","capabilities":1,"clientInfo":{}}"#, "capabilities"),
    ];
    for (method, params, expected) in cases {
        let body = format!(r#"{{"jsonrpc":"2.0","id":7,"method":"{method}","params":{params}}}"#);
        match Post::new(body).refused(StatusCode::OK, -32602) {
            Fault::InvalidParams { field, .. } => assert_eq!(field, expected, "{method} {params}"),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn media_types_are_checked() {
    let ping = r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#;
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""] {
        Post::new(ping).with("content-type", kind).refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, -32600);
    }
    Post::new(ping).without("content-type").refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, -32600);
    Post::new(ping).with("content-type", "Application/JSON; charset=utf-8").accepted();

    for kinds in ["text/html", "application/json;q=0", "image/*, application/json;q=0.0"] {
        Post::new(ping).with("accept", kinds).refused(StatusCode::NOT_ACCEPTABLE, -32600);
    }
    let cases = [
        ("application/json", true, false),
        ("text/event-stream;q=0.5", false, true),
        ("*/*", true, true),
        ("text/*, application/json; q=1.0", true, true),
    ];
    for (kinds, json, events) in cases {
        let accepts = Post::new(ping).with("accept", kinds).accepted().accepts;
        assert_eq!((accepts.json, accepts.events), (json, events), "{kinds}");
    }
    let accepts = Post::new(ping).without("accept").accepted().accepts;
    assert!(accepts.json && accepts.events);
}

#[test]
fn a_legacy_method_must_exist_in_the_sessions_revision() {
    let classified = |method: &str, params: &str| {
        let body = format!(r#"{{"jsonrpc":"2.0","id":7,"method":"{method}","params":{params}}}"#);
        Post::new(body).with("mcp-session-id", "abc").accepted()
    };
    let cases = [
        ("tasks/get", r#"{"taskId":"a"}"#, Version::V2025_11_25, true),
        ("tasks/get", r#"{"taskId":"a"}"#, Version::V2025_06_18, false),
        ("tasks/update", r#"{"taskId":"a"}"#, Version::V2025_11_25, false),
        ("subscriptions/listen", r#"{"notifications":{}}"#, Version::V2025_11_25, false),
        ("completion/complete", r#"{"ref":{"type":"ref/prompt","name":"p"}}"#, Version::V2024_11_05, true),
    ];
    for (method, params, session, known) in cases {
        match classified(method, params).in_session(session) {
            Ok(_) => assert!(known, "{method} {session}"),
            Err(rejected) => {
                assert!(!known, "{method} {session}");
                assert_eq!((rejected.status(), rejected.fault.code(Era::Legacy)), (StatusCode::OK, -32601));
                assert_eq!(rejected.id, Some(Id::from(7)));
            }
        }
    }
}

#[test]
fn legacy_messages_of_every_kind_are_read() {
    let read = |body: &str| {
        let frame = Frame::parse(Bytes::copy_from_slice(body.as_bytes()), &Limits::REQUEST).expect("a frame");
        classify_legacy(&HeaderMap::new(), frame, Version::V2025_11_25).expect("accepted").operation
    };
    assert_eq!(read(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#), Operation::Initialized);
    assert_eq!(read(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#), Operation::Response);
    assert_eq!(read(r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"m"}}"#), Operation::Response);
    assert_eq!(
        read(r#"{"jsonrpc":"2.0","method":"notifications/x-vendor","params":[]}"#),
        Operation::OtherNotification
    );
    assert_eq!(
        read(r#"{"jsonrpc":"2.0","id":1,"method":"resources/list","params":{"cursor":""}}"#),
        Operation::List { kind: ListKind::Resources, cursor: Some(String::new()) }
    );
    let cancelled = read(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"a"}}"#);
    let Operation::Cancelled { request_id: Some((id, _)) } = cancelled else { panic!("{cancelled:?}") };
    assert_eq!(id.as_json(), "\"a\"");
}

#[test]
fn a_request_method_without_an_id_is_refused() {
    let rejected =
        Post::new(r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"a"}}"#).send().expect_err("no id");
    assert_eq!((rejected.status(), rejected.fault.code(rejected.era)), (StatusCode::BAD_REQUEST, -32600));
}

#[test]
fn batches_exist_only_in_sessions_of_2025_03_26() {
    let head = Post::new("").head;
    let body = Bytes::from_static(
        br#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":2,"method":"initialize"},3,{"jsonrpc":"2.0","method":"notifications/initialized"}]"#,
    );

    let batch = classify_batch(&head, &body, &Limits::REQUEST, Version::V2025_03_26).expect("a batch");
    assert_eq!(batch.len(), 4);
    assert_eq!(batch[0].as_ref().map(|call| call.operation.clone()), Ok(Operation::Ping));
    assert_eq!(batch[1].as_ref().map(|_| ()).expect_err("initialize must stand alone").id, Some(Id::from(2)));
    assert_eq!(batch[2].as_ref().map(|_| ()).expect_err("a number").id, None);
    assert_eq!(batch[3].as_ref().map(|call| call.operation.clone()), Ok(Operation::Initialized));

    for version in Version::ALL.into_iter().filter(|version| *version != Version::V2025_03_26) {
        let rejected = classify_batch(&head, &body, &Limits::REQUEST, version).map(|_| ()).expect_err("no batches");
        assert_eq!(rejected.fault, Fault::InvalidRequest { reason: InvalidRequest::Batch });
        assert_eq!(rejected.status(), StatusCode::BAD_REQUEST);
    }
}

#[test]
fn a_mismatch_never_repeats_the_values() {
    let rejected = Post::modern("tools/call", r#""name":"secret-tool""#)
        .with("mcp-name", "other-secret")
        .send()
        .expect_err("differs");
    let expected = Mismatch::Differs { header: "Mcp-Name".to_owned(), field: "params.name".to_owned() };
    assert_eq!(rejected.fault, Fault::HeaderMismatch { mismatch: expected });
    assert!(!rejected.fault.message().contains("secret"));
}

#[test]
fn what_a_stranger_sent_is_cut_before_it_is_repeated() {
    let method = "é".repeat(5000);
    let rejected = Post::new(format!(r#"{{"jsonrpc":"2.0","id":7,"method":"{method}"}}"#)).send().expect_err("unknown");
    assert!(rejected.body().len() < 400, "{}", rejected.body().len());
}
