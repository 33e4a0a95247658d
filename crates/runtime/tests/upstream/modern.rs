//! Stateless calls, and what every exchange with a server has to withstand.
//!
//! The failures tested here (rubbish, half a body, silence, floods, redirects) come from the part
//! that both eras share, so that the tests of sessions need not repeat them.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use quorate_jsonrpc::Kind;
use quorate_runtime::upstream::endpoint::InvalidEndpoint;
use quorate_runtime::upstream::error::{Nonsense, Phase};
use quorate_runtime::upstream::{Answer, Endpoint, Error, Limits, modern};

use crate::support::{
    Script, Server, Step, endpoint, events, events_then, http_client, json, limits, reply, result_event,
};

const CALL: &str = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{}}"#;

async fn send(server: &Server, limits: Limits) -> Result<Answer, Error> {
    modern::send(&server.endpoint_with(limits), modern::own_headers("tools/call"), Bytes::from(CALL)).await
}

/// Sends a call and reads its answer to the end.
async fn call(steps: impl Fn() -> Vec<Step> + Send + Sync + 'static, limits: Limits) -> Result<String, Error> {
    let server = Server::always(steps).await;
    let answer = send(&server, limits).await?;
    let frame = answer.finish(drop).await?;
    Ok(String::from_utf8(frame.bytes().to_vec()).unwrap())
}

fn raw(text: &'static str) -> Vec<Step> {
    vec![Step::Send(Bytes::from_static(text.as_bytes()))]
}

#[tokio::test]
async fn a_call_carries_the_headers_of_the_era_and_its_answer_is_untouched() {
    let answer = r#"{"id":7,  "jsonrpc":"2.0","result":{"n":1.0,"x-unknown":[1]}}"#;
    let server = Server::always(move || json(200, answer)).await;

    let got = send(&server, limits()).await.unwrap();

    let Answer::Json { status, frame } = got else { panic!("expected JSON, got {got:?}") };
    assert_eq!((status, frame.bytes().as_ref()), (StatusCode::OK, answer.as_bytes()));
    let seen = &server.seen()[0];
    assert_eq!((seen.method.as_str(), seen.target.as_str(), seen.body.as_str()), ("POST", "/mcp", CALL));
    for (name, value) in [
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
    ] {
        assert_eq!(seen.header(name), Some(value), "{name}");
    }
}

#[tokio::test]
async fn fixed_headers_go_along_but_the_transport_s_own_win() {
    let server = Server::always(|| json(200, r#"{"jsonrpc":"2.0","id":7,"result":{}}"#)).await;
    let mut fixed = HeaderMap::new();
    for (name, value) in [("x-key", "1"), ("x-key", "2"), ("accept", "text/plain"), ("mcp-method", "forged")] {
        fixed.append(name, value.parse().unwrap());
    }
    let endpoint = Endpoint::http(&server.url(), http_client(), fixed, limits()).unwrap();

    modern::send(&endpoint, modern::own_headers("tools/call"), Bytes::from(CALL)).await.unwrap();

    let headers = &server.seen()[0].headers;
    assert_eq!(headers.get_all("x-key").iter().collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(headers.get_all("accept").iter().collect::<Vec<_>>(), ["application/json, text/event-stream"]);
    assert_eq!(headers.get_all("mcp-method").iter().collect::<Vec<_>>(), ["tools/call"]);
}

#[test]
fn an_endpoint_is_an_http_address_without_secrets() {
    let make = |url: &str| Endpoint::http(url, http_client(), HeaderMap::new(), limits()).err();
    for url in ["http://h", "https://h:8443/mcp?x=1", "http://[::1]:1/mcp"] {
        assert_eq!(make(url), None, "{url}");
    }
    for url in ["", "h:1", "/mcp", "ftp://h/", "http://", "ws://h/", "http://h h/"] {
        assert!(matches!(make(url), Some(InvalidEndpoint::Url { .. })), "{url}");
    }
    assert_eq!(make("http://user:secret@h/mcp"), Some(InvalidEndpoint::Credentials));
}

#[tokio::test]
async fn a_stream_gives_its_messages_in_order_and_ends_with_the_response() {
    let text = ": hello\n\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\"}\n\nevent: other\ndata: rubbish\n\n"
        .to_owned()
        + &result_event("7")
        + &result_event("8");
    let server = Server::always(move || events(&text)).await;

    let Answer::Stream(mut stream) = send(&server, limits()).await.unwrap() else { panic!("expected a stream") };

    let kinds =
        [stream.next().await.unwrap().unwrap().frame.kind(), stream.next().await.unwrap().unwrap().frame.kind()];
    assert_eq!(kinds, [Kind::Notification, Kind::Result]);
    assert!(stream.next().await.is_none(), "nothing follows the response");
}

#[tokio::test]
async fn an_error_with_the_requests_id_is_an_answer_whatever_its_status() {
    let body = r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32021,"message":"no"}}"#;
    for status in [200, 400, 404, 429, 500, 503] {
        let server = Server::always(move || json(status, body)).await;
        let got = send(&server, limits()).await.unwrap();
        let Answer::Json { status: said, frame } = got else { panic!("{status}: expected JSON, got {got:?}") };
        assert_eq!((said.as_u16(), frame.bytes().as_ref()), (status, body.as_bytes()));
    }
}

#[tokio::test]
async fn a_refusal_without_the_requests_id_keeps_its_fault() {
    let fault = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32020,"message":"no"}}"#;
    let with_id = r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32020,"message":"no"}}"#;
    let cases = [
        (400, fault, true, false),
        (401, with_id, true, true),
        (403, with_id, true, true),
        (404, "<html>", false, true),
        (500, "", false, false),
        (503, r#"{"error":"not a frame"}"#, false, false),
        (429, "", false, true),
    ];
    for (status, body, has_fault, never_executed) in cases {
        let error = call(move || json(status, body), limits()).await.unwrap_err();
        let Error::Status { status: said, fault } = &error else { panic!("{status}: {error:?}") };
        assert_eq!(
            (said.as_u16(), fault.is_some(), error.never_executed()),
            (status, has_fault, never_executed),
            "{status}"
        );
    }
}

#[tokio::test]
async fn what_is_no_answer_is_told_apart() {
    let notification = r#"{"jsonrpc":"2.0","method":"notifications/message"}"#;
    type Check = fn(&Nonsense) -> bool;
    let cases: [(Vec<Step>, Check); 9] = [
        (json(200, "rubbish"), |n| matches!(n, Nonsense::Message { .. })),
        (json(200, ""), |n| matches!(n, Nonsense::Message { .. })),
        (json(200, r#"{"jsonrpc":"1.0","id":7,"result":{}}"#), |n| matches!(n, Nonsense::Message { .. })),
        (json(200, notification), |n| matches!(n, Nonsense::NoAnswer { .. })),
        (json(200, "[]"), |n| matches!(n, Nonsense::Message { .. })),
        (reply(202, "", ""), |n| matches!(n, Nonsense::NoAnswer { .. })),
        (
            reply(200, "content-type: text/html\r\n", "<html>"),
            |n| matches!(n, Nonsense::ContentType { found } if found == "text/html"),
        ),
        (reply(200, "", "{}"), |n| matches!(n, Nonsense::ContentType { found } if found.is_empty())),
        (events("data: {\"half\":\n\n"), |n| matches!(n, Nonsense::Message { .. })),
    ];
    for (number, (steps, expected)) in cases.into_iter().enumerate() {
        let steps = std::sync::Mutex::new(Some(steps));
        let error = call(move || steps.lock().unwrap().take().unwrap_or_default(), limits()).await.unwrap_err();
        assert!(matches!(&error, Error::Malformed(nonsense) if expected(nonsense)), "case {number}: {error:?}");
        assert!(!error.never_executed());
    }
}

#[tokio::test]
async fn nesting_that_could_exhaust_a_parser_is_refused() {
    let deep = format!(r#"{{"jsonrpc":"2.0","id":7,"result":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let error = call(move || json(200, &deep), limits()).await.unwrap_err();
    assert!(matches!(error, Error::Malformed(Nonsense::Message { .. })), "{error:?}");
}

#[tokio::test]
async fn redirects_are_refused_and_name_their_target() {
    for status in [301, 302, 307, 308] {
        let error = call(move || reply(status, "location: http://elsewhere/mcp\r\n", ""), limits()).await.unwrap_err();
        assert!(matches!(&error, Error::Redirect { location } if location == "http://elsewhere/mcp"), "{error:?}");
    }
}

#[tokio::test]
async fn answers_over_the_limit_are_cut_off() {
    let small = Limits { answer_bytes_max: 1_000, event_bytes_max: 1_000, ..limits() };
    let declared = || raw("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99999999\r\n\r\n{");
    let endless = || {
        let mut steps = raw("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n");
        steps.push(Step::Repeat(Bytes::from(vec![b' '; 500])));
        steps
    };
    let event = || events_then("data: ", Step::Repeat(Bytes::from(vec![b'x'; 500])));
    for steps in [declared as Script, endless, event] {
        let error = call(steps, small).await.unwrap_err();
        assert!(matches!(error, Error::TooLarge { max: 1_000 }), "{error:?}");
    }
}

#[tokio::test]
async fn every_kind_of_silence_ends_in_its_own_timeout() {
    let cases: [(Script, Phase); 6] = [
        (|| vec![Step::Hang], Phase::FirstByte),
        (
            || raw_then_hang("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{"),
            Phase::Total,
        ),
        (|| events_then("", Step::Hang), Phase::Idle),
        (|| events_then("data: {\"half\":", Step::Hang), Phase::Idle),
        (|| events_then("", Step::Repeat(Bytes::from_static(b": still here\n\n"))), Phase::Total),
        (
            || events_then("", Step::Repeat(Bytes::from_static(b"data: {\"jsonrpc\":\"2.0\",\"method\":\"x\"}\n\n"))),
            Phase::Total,
        ),
    ];
    let checks = cases.into_iter().enumerate().map(async |(number, (steps, expected))| {
        let error = call(steps, impatient_in(expected)).await.unwrap_err();
        assert!(matches!(error, Error::Timeout { phase, .. } if phase == expected), "case {number}: {error:?}");
        assert!(!error.never_executed(), "case {number}");
    });
    futures_util::future::join_all(checks).await;
}

/// Limits of which only one is short, so that a slow machine cannot run into another.
fn impatient_in(phase: Phase) -> Limits {
    let soon = Duration::from_millis(150);
    match phase {
        Phase::Connect | Phase::FirstByte => Limits { first_byte: soon, ..limits() },
        Phase::Idle => Limits { idle: soon, ..limits() },
        // The head has to arrive within it.
        Phase::Total => Limits { total: soon * 20, ..limits() },
    }
}

fn raw_then_hang(text: &'static str) -> Vec<Step> {
    let mut steps = raw(text);
    steps.push(Step::Hang);
    steps
}

#[tokio::test]
async fn a_connection_that_breaks_leaves_the_outcome_open() {
    let cases: [Script; 6] = [
        Vec::new,
        || json(200, r#"[{"jsonrpc":"2.0","method":"notifications/progress"}]"#),
        || raw("SSH-2.0-OpenSSH_9.6\r\n"),
        || raw("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{"),
        || events("data: {\"jsonrpc\":\"2.0\",\"method\":\"x\"}\n\n"),
        || events("id: 1\ndata: \n\n"),
    ];
    for (number, steps) in cases.into_iter().enumerate() {
        let error = call(steps, limits()).await.unwrap_err();
        assert!(matches!(error, Error::Broken { .. }), "case {number}: {error:?}");
        assert!(!error.never_executed(), "case {number}");
    }
}

#[tokio::test]
async fn a_refused_connection_never_ran_the_call() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    drop(listener);
    let error = modern::send(&endpoint(&url, limits()), HeaderMap::new(), Bytes::from(CALL)).await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error:?}");
    assert!(error.never_executed());
}

#[tokio::test]
async fn a_listening_stream_may_be_silent_and_ends_without_an_error() {
    let ack = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/subscriptions/acknowledged\"}\n\n";
    let server = Server::always(move || events(ack)).await;
    let patient = Limits { idle: Duration::from_millis(1), total: Duration::from_millis(1), ..limits() };

    let mut stream = modern::listen(&server.endpoint_with(patient), HeaderMap::new(), Bytes::from(CALL)).await.unwrap();

    assert_eq!(stream.next().await.unwrap().unwrap().frame.method(), Some("notifications/subscriptions/acknowledged"));
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn a_refused_listen_is_a_fault() {
    let body = r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32601,"message":"no"}}"#;
    let server = Server::always(move || json(404, body)).await;
    let error = modern::listen(&server.endpoint(), HeaderMap::new(), Bytes::from(CALL)).await.unwrap_err();
    assert!(matches!(error, Error::Fault { status: StatusCode::NOT_FOUND, .. }), "{error:?}");
}
