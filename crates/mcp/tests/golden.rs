//! The wire of each revision, from files: `golden/<revision>/`.
//!
//! `methods.txt` is taken from the revision's schema and is held against its dialect. `client.txt`
//! and `server.txt` have messages that are valid by that schema, each with what is read from it;
//! every method of the revision must occur. `ours.txt` has what this crate builds itself. In all
//! of them `#` opens a comment.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::HeaderMap;
use quorate_jsonrpc::{Frame, Id, Kind, Limits, Span, build};
use quorate_mcp::capabilities::Capabilities;
use quorate_mcp::codec::{cancelled_request, message_level, progress_token, resource_uris, task_ids};
use quorate_mcp::dialect::legacy::{self, Implementation};
use quorate_mcp::dialect::{Dialect, v2026_07_28};
use quorate_mcp::error::{Fault, Mismatch};
use quorate_mcp::meter::CallOutcome;
use quorate_mcp::{
    Call, Era, Filter, Method, Operation, Reference, Rejected, TaskVerb, Version, classify, classify_legacy, header,
};

/// The methods of the tasks extension (SEP-2663), which schema.json of 2026-07-28 does not have.
const EXTENSION: [Method; 4] = [Method::GetTask, Method::UpdateTask, Method::CancelTask, Method::Tasks];

macro_rules! golden {
    ($version:ident, $folder:literal) => {
        Golden {
            version: Version::$version,
            methods: include_str!(concat!("golden/", $folder, "/methods.txt")),
            client: include_str!(concat!("golden/", $folder, "/client.txt")),
            server: include_str!(concat!("golden/", $folder, "/server.txt")),
            ours: include_str!(concat!("golden/", $folder, "/ours.txt")),
        }
    };
}

const GOLDEN: [Golden; 5] = [
    golden!(V2024_11_05, "2024-11-05"),
    golden!(V2025_03_26, "2025-03-26"),
    golden!(V2025_06_18, "2025-06-18"),
    golden!(V2025_11_25, "2025-11-25"),
    golden!(V2026_07_28, "2026-07-28"),
];

struct Golden {
    version: Version,
    methods: &'static str,
    client: &'static str,
    server: &'static str,
    ours: &'static str,
}

/// One message of a file.
struct Example {
    /// The method that a result answers.
    answers: Option<Method>,
    message: &'static str,
    expected: &'static str,
}

fn examples(file: &'static str) -> Vec<Example> {
    let mut examples = Vec::new();
    let (mut answers, mut message) = (None, None);
    for line in file.lines() {
        if let Some(method) = line.strip_prefix('@') {
            answers = Some(Method::parse(method).expect("a method after @"));
        } else if let Some(text) = line.strip_prefix('>') {
            message = Some(text);
        } else if let Some(expected) = line.strip_prefix('=') {
            let message = message.take().expect("a message before =");
            examples.push(Example { answers: answers.take(), message, expected });
        } else {
            assert!(line.is_empty() || line.starts_with('#'), "{line}");
        }
    }
    assert!(message.is_none(), "a message without =");
    examples
}

fn frame(text: &str) -> Frame {
    Frame::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::ANSWER).expect(text)
}

/// Reads a client's message by the rules of `version`, with the headers that go with it.
fn read(version: Version, message: &str) -> Call {
    if version.era() == Era::Legacy {
        return classify_legacy(&HeaderMap::new(), frame(message), version).expect(message);
    }
    let parsed: serde_json::Value = serde_json::from_str(message).expect("JSON");
    let text = |pointer| parsed.pointer(pointer).and_then(serde_json::Value::as_str);
    let name = match text("/method").expect("a method") {
        "tools/call" | "prompts/get" => text("/params/name"),
        "resources/read" => text("/params/uri"),
        "tasks/get" | "tasks/update" | "tasks/cancel" => text("/params/taskId"),
        _ => None,
    };
    let mut head = HeaderMap::new();
    head.insert("content-type", http::HeaderValue::from_static("application/json"));
    header::stamp(&mut head, version, text("/method").expect("a method"), name);
    classify(&head, Bytes::copy_from_slice(message.as_bytes()), &Limits::REQUEST).expect(message).call
}

/// Writes what was read from a client's message, as the files have it.
fn describe(call: &Call) -> String {
    let quoted = |text: &str, span: Span| {
        assert_eq!(quorate_jsonrpc::text(call.raw(span)).as_deref(), Some(text), "a span on its text");
        format!("{text:?}")
    };
    let paged = |what: String, cursor: &Option<String>| match cursor {
        Some(cursor) => format!("{what} cursor={cursor:?}"),
        None => what,
    };
    let mut out = match &call.operation {
        Operation::Initialize { requested, capabilities, client_info } => format!(
            "initialize requested={requested} capabilities={} clientInfo={}",
            call.raw(*capabilities),
            call.raw(*client_info)
        ),
        Operation::Ping => "ping".to_owned(),
        Operation::Discover => "discover".to_owned(),
        Operation::List { kind, cursor } => paged(format!("list {}", kind.result_key()), cursor),
        Operation::CallTool { name, name_span, arguments, task } => {
            let mut out = format!("call {}", quoted(name, *name_span));
            for (label, span) in [("arguments", arguments), ("task", task)] {
                out.extend(span.map(|span| format!(" {label}={}", call.raw(span))));
            }
            out
        }
        Operation::GetPrompt { name, name_span, .. } => format!("prompt {}", quoted(name, *name_span)),
        Operation::ReadResource { uri, span } => format!("read {}", quoted(uri, *span)),
        Operation::Complete { reference: Reference::Prompt { name, span } } => {
            format!("complete prompt {}", quoted(name, *span))
        }
        Operation::Complete { reference: Reference::Resource { uri, span } } => {
            format!("complete resource {}", quoted(uri, *span))
        }
        Operation::Subscribe { uri, span } => format!("subscribe {}", quoted(uri, *span)),
        Operation::Unsubscribe { uri, span } => format!("unsubscribe {}", quoted(uri, *span)),
        Operation::SetLevel { level } => format!("level {}", level.as_str()),
        Operation::Listen { filter } => listen(filter),
        Operation::Task { verb, id, span } => {
            let verb = match verb {
                TaskVerb::Get => "get",
                TaskVerb::Result => "result",
                TaskVerb::Update => "update",
                TaskVerb::Cancel => "cancel",
            };
            format!("task {verb} {}", quoted(id, *span))
        }
        Operation::ListTasks { cursor } => paged("tasks".to_owned(), cursor),
        Operation::Initialized => "initialized".to_owned(),
        Operation::Cancelled { request_id } => match request_id {
            Some((id, span)) => {
                assert_eq!(call.raw(*span), id.as_json());
                format!("cancelled {id}")
            }
            None => "cancelled nothing".to_owned(),
        },
        Operation::RootsListChanged => "roots changed".to_owned(),
        Operation::Progress { token, .. } => format!("progress {token}"),
        Operation::Response => "response".to_owned(),
        Operation::OtherNotification => "other notification".to_owned(),
    };
    out.extend(call.progress_token.as_ref().map(|(token, _)| format!(" token={token}")));
    out.extend(call.log_level().map(|level| format!(" log={}", level.as_str())));
    out.extend(call.traceparent().map(|trace| format!(" trace={trace}")));
    out
}

fn listen(filter: &Filter) -> String {
    let mut out = "listen".to_owned();
    for (label, on) in [("tools", filter.tools), ("prompts", filter.prompts), ("resources", filter.resources)] {
        out.extend(on.then(|| format!(" {label}")));
    }
    for (label, items) in [("uris", &filter.uris), ("tasks", &filter.tasks)] {
        out.extend((!items.is_empty()).then(|| format!(" {label}={}", list(items.iter().map(String::as_str)))));
    }
    out
}

/// Writes what was found in a backend's message, as the files have it.
fn found(frame: &Frame, method: Method, era: Era) -> String {
    let mut out = Vec::new();
    out.extend(CallOutcome::of(frame).map(|outcome| match outcome {
        CallOutcome::Error(code) => format!("error {code}"),
        other => other.as_str().to_owned(),
    }));
    let tasks = task_ids(frame, method, era).expect("well-formed");
    let uris = resource_uris(frame, method).expect("well-formed");
    for (label, handles) in [("tasks", tasks), ("uris", uris)] {
        let texts = list(handles.iter().map(|handle| handle.text.as_str()));
        out.extend((!handles.is_empty()).then(|| format!("{label}={texts}")));
    }
    if frame.kind() == Kind::Notification {
        let token = (method == Method::Progress).then(|| progress_token(frame).expect("a token").0);
        out.extend(token.map(|token| format!("token={token}")));
        let level = (method == Method::Message).then(|| message_level(frame).expect("a level"));
        out.extend(level.map(|level| format!("level={}", level.as_str())));
        let request = (method == Method::Cancelled).then(|| cancelled_request(frame).expect("well-formed")).flatten();
        out.extend(request.map(|(id, _)| format!("request={id}")));
    }
    out.join(" ")
}

fn list<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let texts: Vec<String> = texts.map(|text| format!("{text:?}")).collect();
    format!("[{}]", texts.join(","))
}

#[test]
fn the_dialects_know_exactly_the_methods_of_the_schemas() {
    for golden in &GOLDEN {
        let dialect = Dialect::of(golden.version);
        assert_eq!(dialect.version, golden.version);
        let tables = [
            ("client request", dialect.client_requests),
            ("client notification", dialect.client_notifications),
            ("server request", dialect.server_requests),
            ("server notification", dialect.server_notifications),
        ];
        let modern = golden.version.era() == Era::Modern;
        let ours: BTreeSet<String> = tables
            .into_iter()
            .flat_map(|(label, methods)| methods.iter().map(move |method| (label, *method)))
            .filter(|(_, method)| !(modern && EXTENSION.contains(method)))
            .map(|(label, method)| format!("{label} {method}"))
            .collect();
        let schema: BTreeSet<String> =
            golden.methods.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
        assert_eq!(ours, schema, "{}", golden.version);
    }
}

#[test]
fn every_message_of_a_client_is_read_as_written_down() {
    for golden in &GOLDEN {
        let mut seen = BTreeSet::new();
        for example in examples(golden.client) {
            let call = read(golden.version, example.message);
            assert_eq!(describe(&call), example.expected, "{}: {}", golden.version, example.message);
            seen.extend(call.method());
        }
        let dialect = Dialect::of(golden.version);
        let all: BTreeSet<Method> =
            dialect.client_requests.iter().chain(dialect.client_notifications).copied().collect();
        assert_eq!(seen, all, "{}: every method has an example", golden.version);
    }
}

#[test]
fn what_a_server_sends_is_found_as_written_down() {
    for golden in &GOLDEN {
        let era = golden.version.era();
        let mut seen = BTreeSet::new();
        for example in examples(golden.server) {
            let frame = frame(example.message);
            let own = frame.method().map(|method| Method::parse(method).expect("a method of the protocol"));
            seen.extend(own);
            let method = own.or(example.answers).expect("an answer has its method");
            assert_eq!(found(&frame, method, era), example.expected, "{}: {}", golden.version, example.message);
        }
        let dialect = Dialect::of(golden.version);
        let all: BTreeSet<Method> =
            dialect.server_requests.iter().chain(dialect.server_notifications).copied().collect();
        assert_eq!(seen, all, "{}: every method has an example", golden.version);
    }
}

#[test]
fn what_we_build_is_as_written_down() {
    for golden in &GOLDEN {
        let built = ours(golden.version).join("\n");
        let expected: Vec<&str> = golden.ours.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(built, expected.join("\n"), "{}", golden.version);
    }
}

/// Builds one message of each form that a revision has.
fn ours(version: Version) -> Vec<String> {
    let mut capabilities = Capabilities::new();
    let declared = r#"{"tools":{},"resources":{},"completions":{},"tasks":{"cancel":{}},"logging":{}}"#;
    capabilities.add(declared).expect("an object");
    let server = Implementation { name: "quorate", version: "0.1.0" };
    let id = Id::from_text("r-1").expect("short");
    let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let refuse = |fault| text(Rejected { era: version.era(), id: Some(id.clone()), fault }.body());
    let not_found = refuse(Fault::ResourceNotFound { uri: "test://x".to_owned() });
    match version.era() {
        Era::Legacy => vec![
            text(build::result(
                &id,
                &legacy::initialize_result(version, &capabilities, server, Some("Use \"tools\".")),
            )),
            text(build::request(
                &id,
                "initialize",
                Some(&legacy::initialize_params(version, r#"{"sampling":{}}"#, &server.to_json())),
            )),
            text(build::notification("notifications/cancelled", Some(&legacy::cancelled_params(&id, "timeout")))),
            not_found,
        ],
        Era::Modern => {
            let scope = v2026_07_28::CacheScope::Private;
            let discover = v2026_07_28::discover_result(&capabilities, server, None, 5000, scope);
            let filter = Filter { tools: true, uris: vec!["test://x".to_owned()], ..Filter::default() };
            let acknowledged = v2026_07_28::acknowledged_params(&id, &filter);
            let meta = v2026_07_28::request_meta(version, "{}", server);
            let mismatch = Mismatch::Missing { header: "Mcp-Name".to_owned() };
            let required = r#"{"sampling":{}}"#;
            vec![
                text(build::result(&id, &discover)),
                text(build::notification("notifications/subscriptions/acknowledged", Some(&acknowledged))),
                text(build::result(&id, &v2026_07_28::listen_result(&id))),
                text(build::request(&id, "server/discover", Some(&format!("{{\"_meta\":{meta}}}")))),
                not_found,
                refuse(Fault::HeaderMismatch { mismatch }),
                refuse(Fault::MissingCapability { method: Method::CallTool, required }),
                refuse(Fault::UnsupportedVersion { requested: "2030-01-01".to_owned() }),
            ]
        }
    }
}
