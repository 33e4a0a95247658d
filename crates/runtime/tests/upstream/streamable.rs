//! Sessions over streamable HTTP: headers, loss, resuming, the GET stream.
//!
//! The server opens a session by itself and leaves the rest to the case, which says how a call, a
//! notification, a resume or the GET stream is answered.

use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode};
use quorate_mcp::Version;
use quorate_runtime::upstream::error::{Nonsense, Phase};
use quorate_runtime::upstream::legacy::{InitializeResult, Leg, Transport};
use quorate_runtime::upstream::{Answer, Error, FrameStream, Limits, TransportSetting};

use crate::support::{
    Script, Seen, Server, Step, events, events_then, impatient, initialized, json, limits, reply, request,
    result_event, until,
};

const PARAMS: &str = r#"{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}"#;

async fn open(server: &Server, limits: Limits) -> Result<(Leg, InitializeResult), Error> {
    let endpoint = server.endpoint_with(limits);
    Leg::open(&endpoint, TransportSetting::StreamableHttp, HeaderMap::new(), PARAMS).await
}

/// Starts a server that opens sessions and leaves everything else to `handler`.
async fn session(handler: impl Fn(&Seen) -> Vec<Step> + Send + Sync + 'static) -> Server {
    Server::start(move |seen, _| match seen.rpc().as_str() {
        "initialize" => initialized("s-1"),
        "notifications/initialized" => reply(202, "", ""),
        _ => handler(seen),
    })
    .await
}

async fn stream_of(leg: &Leg) -> FrameStream {
    let answer = leg.request(HeaderMap::new(), request(5, "tools/call")).await.unwrap();
    let Answer::Stream(stream) = answer else { panic!("expected a stream, got {answer:?}") };
    stream
}

#[tokio::test]
async fn a_session_is_opened_used_and_closed_with_its_headers() {
    let server = session(|seen| match seen.method.as_str() {
        "POST" => json(200, r#"{"jsonrpc":"2.0","id":5,"result":{}}"#),
        _ => reply(200, "", ""),
    })
    .await;

    let (leg, initialized) = open(&server, limits()).await.unwrap();
    let answer = leg.request(HeaderMap::new(), request(5, "tools/list")).await.unwrap();
    leg.close().await;
    leg.close().await;

    assert_eq!((initialized.version, leg.transport()), (Version::V2025_11_25, Transport::StreamableHttp));
    assert_eq!(initialized.capabilities, r#"{"tools":{}}"#);
    assert_eq!(initialized.server_info.unwrap(), r#"{"name":"t","version":"1"}"#);
    assert_eq!(initialized.instructions.as_deref(), Some(r#"be "kind""#));
    assert!(matches!(answer, Answer::Json { status: StatusCode::OK, .. }));
    let seen = server.seen();
    let asked: Vec<_> = seen.iter().map(|seen| (seen.method.as_str(), seen.rpc())).collect();
    let expected =
        [("POST", "initialize"), ("POST", "notifications/initialized"), ("POST", "tools/list"), ("DELETE", "")];
    assert_eq!(asked, expected.map(|(method, rpc)| (method, rpc.to_owned())));
    assert_eq!((seen[0].header("mcp-session-id"), seen[0].header("mcp-protocol-version")), (None, None));
    for later in &seen[1..] {
        assert_eq!(later.header("mcp-session-id"), Some("s-1"));
        assert_eq!(later.header("mcp-protocol-version"), Some("2025-11-25"));
    }
    let after = leg.request(HeaderMap::new(), request(6, "ping")).await.unwrap_err();
    assert!(matches!(after, Error::SessionLost), "{after:?}");
}

#[tokio::test]
async fn a_server_without_sessions_gets_no_session_header_and_no_delete() {
    let body = r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-03-26","capabilities":{}}}"#;
    let server = Server::start(move |seen, _| match seen.rpc().as_str() {
        "initialize" => events(&format!("data: {body}\n\n")),
        _ => reply(202, "", ""),
    })
    .await;

    let (leg, initialized) = open(&server, limits()).await.unwrap();
    leg.notify(HeaderMap::new(), "{}".into()).await.unwrap();
    leg.close().await;

    assert_eq!(initialized.version, Version::V2025_03_26);
    let seen = server.seen();
    assert!(seen.iter().all(|seen| seen.method == "POST" && seen.header("mcp-session-id").is_none()));
    assert_eq!(seen[2].header("mcp-protocol-version"), Some("2025-03-26"));
}

#[tokio::test]
async fn what_a_server_must_not_answer_to_initialize_is_refused() {
    let result = |result: &str| json(200, &format!(r#"{{"jsonrpc":"2.0","id":0,"result":{result}}}"#));
    type Check = fn(&Error) -> bool;
    let cases: [(Vec<Step>, Check); 9] = [
        (
            result(r#"{"protocolVersion":"1999-01-01","capabilities":{}}"#),
            |e| matches!(e, Error::Version { offered } if offered == &["1999-01-01"]),
        ),
        (result(r#"{"protocolVersion":"2026-07-28","capabilities":{}}"#), |e| matches!(e, Error::Version { .. })),
        (result(r#"{"protocolVersion":7,"capabilities":{}}"#), |e| {
            matches!(e, Error::Malformed(Nonsense::Result { member: "protocolVersion", .. }))
        }),
        (result(r#"{"protocolVersion":"2025-11-25"}"#), |e| {
            matches!(e, Error::Malformed(Nonsense::Result { member: "capabilities", .. }))
        }),
        (result("[]"), |e| matches!(e, Error::Malformed(Nonsense::Result { member: "result", .. }))),
        (json(200, r#"{"jsonrpc":"2.0","id":9,"result":{}}"#), |e| matches!(e, Error::Malformed(Nonsense::WrongId))),
        (json(200, r#"{"jsonrpc":"2.0","id":0,"error":{"code":1,"message":"no"}}"#), |e| {
            matches!(e, Error::Fault { .. })
        }),
        (initialized("a b"), |e| matches!(e, Error::Malformed(Nonsense::SessionId { .. }))),
        (initialized(&"x".repeat(1025)), |e| matches!(e, Error::Malformed(Nonsense::SessionId { .. }))),
    ];
    for (number, (steps, expected)) in cases.into_iter().enumerate() {
        let steps = std::sync::Mutex::new(Some(steps));
        let server = Server::always(move || steps.lock().unwrap().take().unwrap_or_default()).await;
        let error = open(&server, limits()).await.unwrap_err();
        assert!(expected(&error), "case {number}: {error:?}");
    }
}

#[tokio::test]
async fn a_lost_session_is_told_apart_from_other_refusals() {
    let error = |id: &str, code: i64, message: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"{message}"}}}}"#)
    };
    let cases = [
        (404, String::new(), true),
        (404, error("null", -32001, "Session not found"), true),
        (404, error("5", -31000, "session unknown"), true),
        (404, error("5", -32601, "Method not found"), false),
        (400, error("null", -32000, "Bad Request: No valid session ID provided"), true),
        (400, error("null", -32000, "Bad Request: Server not initialized"), true),
        (400, error("5", -32000, "this session is fine"), false),
        (400, error("null", -32602, "no such session argument"), false),
        (500, error("null", -32000, "session store broke"), false),
    ];
    for (status, body, lost) in cases {
        let shown = format!("{status} {body}");
        let server = session(move |_| json(status, &body)).await;
        let (leg, _) = open(&server, limits()).await.unwrap();
        let answer = leg.request(HeaderMap::new(), request(5, "tools/call")).await;
        assert_eq!(matches!(answer, Err(Error::SessionLost)), lost, "{shown}: {answer:?}");
    }
}

#[tokio::test]
async fn notifications_are_accepted_by_any_success_and_refusals_are_typed() {
    for status in [200, 202, 204] {
        let server = session(move |_| reply(status, "", "")).await;
        let (leg, _) = open(&server, limits()).await.unwrap();
        leg.notify(HeaderMap::new(), "{}".into()).await.unwrap();
    }
    let server = session(|_| reply(404, "", "")).await;
    let (leg, _) = open(&server, limits()).await.unwrap();
    assert!(matches!(leg.notify(HeaderMap::new(), "{}".into()).await, Err(Error::SessionLost)));
}

#[tokio::test]
async fn a_session_whose_initialized_is_refused_is_closed_again() {
    let server = Server::start(|seen, _| match seen.rpc().as_str() {
        "initialize" => initialized("s-1"),
        _ => reply(500, "", ""),
    })
    .await;
    assert!(matches!(open(&server, limits()).await, Err(Error::Status { .. })));
    assert_eq!(server.seen().last().unwrap().method, "DELETE");
}

#[tokio::test]
async fn a_broken_stream_is_resumed_after_the_time_that_the_server_asks_for() {
    let retry = Duration::from_millis(120);
    let server = session(|seen| match seen.method.as_str() {
        "POST" => events("id: e1\nretry: 120\ndata: \n\nid: e2\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\"}\n\n"),
        _ => events(&format!("id: e3\n{}", result_event("5"))),
    })
    .await;
    let (leg, _) = open(&server, limits()).await.unwrap();
    let mut stream = stream_of(&leg).await;

    let first = stream.next().await.unwrap().unwrap();
    let began = Instant::now();
    let second = stream.next().await.unwrap().unwrap();

    assert_eq!((first.event_id.as_deref(), first.frame.method()), (Some("e2"), Some("notifications/progress")));
    assert!(began.elapsed() >= retry, "resumed after {:?}", began.elapsed());
    assert!(second.frame.result().is_some());
    assert_eq!(stream.last_event_id(), Some("e3"));
    assert_eq!(stream.retry(), Some(retry));
    assert!(stream.next().await.is_none());
    let resumed = server.seen().pop().unwrap();
    assert_eq!((resumed.method.as_str(), resumed.header("last-event-id")), ("GET", Some("e2")));
    assert_eq!((resumed.header("mcp-session-id"), resumed.header("accept")), (Some("s-1"), Some("text/event-stream")));
}

#[tokio::test]
async fn a_server_that_begins_again_with_the_event_that_was_had_tells_it_once() {
    let progress = |step| {
        let message = r#"{"jsonrpc":"2.0","method":"notifications/progress"}"#;
        format!("id: e{step}\ndata: {message}\n\n")
    };
    let server = session(move |seen| match seen.method.as_str() {
        "POST" => events(&format!("id: e0\ndata: \n\n{}{}", progress(1), progress(2))),
        // Marked once more, and told once more.
        _ => events(&format!("id: e2\ndata: \n\n{}{}id: e4\n{}", progress(2), progress(3), result_event("5"))),
    })
    .await;
    let (leg, _) = open(&server, limits()).await.unwrap();
    let mut stream = stream_of(&leg).await;

    let mut came = Vec::new();
    while let Some(item) = stream.next().await {
        came.extend(item.unwrap().event_id);
    }

    assert_eq!(came, ["e1", "e2", "e3", "e4"]);
}

#[tokio::test]
async fn a_server_may_disconnect_again_and_again_as_long_as_it_gets_on() {
    let server = Server::start(|seen, before| match (seen.rpc().as_str(), seen.method.as_str()) {
        ("initialize", _) => initialized("s-1"),
        ("notifications/initialized", _) => reply(202, "", ""),
        (_, "POST") => events("id: 0\ndata: \n\n"),
        _ if before < 20 => events(&format!("id: {before}\ndata: \n\n")),
        _ => events(&result_event("5")),
    })
    .await;
    let (leg, _) = open(&server, limits()).await.unwrap();
    let item = stream_of(&leg).await.next().await.unwrap().unwrap();
    assert!(item.frame.result().is_some());
    assert_eq!(server.seen().len(), 21);
}

#[tokio::test]
async fn resuming_ends_where_nothing_new_comes() {
    let cases: [(Script, usize); 5] = [
        // Without an event id there is nothing to resume after.
        (|| events(""), 0),
        // One attempt each, where the server says that resuming is not offered.
        (|| reply(404, "", ""), 1),
        (|| reply(405, "", ""), 1),
        (|| reply(400, "", ""), 1),
        // As many attempts as allowed, where it might still work.
        (|| reply(503, "", ""), limits().resumes_max as usize),
    ];
    for (number, (on_get, expected)) in cases.into_iter().enumerate() {
        let first = if expected == 0 { ": nothing\n\n" } else { "id: 1\ndata: \n\n" };
        let server = session(move |seen| if seen.method == "POST" { events(first) } else { on_get() }).await;
        let (leg, _) = open(&server, limits()).await.unwrap();

        let error = stream_of(&leg).await.next().await.unwrap().unwrap_err();

        assert!(matches!(error, Error::Broken { .. } | Error::Status { .. }), "case {number}: {error:?}");
        assert!(!error.never_executed(), "case {number}: the call was sent");
        let resumes = server.seen().iter().filter(|seen| seen.method == "GET").count();
        assert_eq!(resumes, expected, "case {number}");
    }
}

#[tokio::test]
async fn a_stream_that_is_cut_after_the_same_event_is_given_up() {
    let server = session(|_| events("id: 1\ndata: \n\n")).await;
    let (leg, _) = open(&server, limits()).await.unwrap();
    let mut stream = stream_of(&leg).await;
    assert!(matches!(stream.next().await, Some(Err(Error::Broken { .. }))));
    assert!(stream.next().await.is_none());
    let resumes = server.seen().iter().filter(|seen| seen.method == "GET").count();
    assert_eq!(resumes, limits().resumes_max as usize);
}

#[tokio::test]
async fn a_retry_of_an_hour_does_not_park_a_call() {
    let server = session(|_| events("id: 1\nretry: 3600000\ndata: \n\n")).await;
    let (leg, _) = open(&server, impatient()).await.unwrap();
    let error = stream_of(&leg).await.next().await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error:?}");
}

#[tokio::test]
async fn reading_can_be_interrupted_at_any_time_without_a_loss() {
    let server = session(|seen| match seen.method.as_str() {
        "POST" => events("id: 1\nretry: 30\ndata: \n\n"),
        _ => events(&result_event("5")),
    })
    .await;
    let (leg, _) = open(&server, limits()).await.unwrap();
    let mut stream = stream_of(&leg).await;

    let item = loop {
        // Drops the future while the stream is being read, waits, or is reopened.
        if let Ok(item) = tokio::time::timeout(Duration::from_millis(1), stream.next()).await {
            break item.unwrap().unwrap();
        }
    };

    assert!(item.frame.result().is_some());
    assert_eq!(server.seen().iter().filter(|seen| seen.method == "GET").count(), 1);
}

#[tokio::test]
async fn the_get_stream_carries_the_last_event_id_and_ends_quietly() {
    let server =
        session(|_| events("id: 8\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n\n"))
            .await;
    let (leg, _) = open(&server, limits()).await.unwrap();

    let mut stream = leg.listen(HeaderMap::new(), Some("7")).await.unwrap().unwrap();

    assert_eq!(stream.next().await.unwrap().unwrap().event_id.as_deref(), Some("8"));
    assert!(stream.next().await.is_none());
    assert_eq!(stream.last_event_id(), Some("8"));
    assert_eq!(server.seen().last().unwrap().header("last-event-id"), Some("7"));
    assert!(matches!(leg.listen(HeaderMap::new(), Some("a\nb")).await, Err(Error::Malformed(Nonsense::EventId))));
}

#[tokio::test]
async fn a_server_without_a_get_stream_is_no_failure() {
    type Expected = fn(&Result<Option<FrameStream>, Error>) -> bool;
    let cases: [(Vec<Step>, Expected); 6] = [
        (reply(405, "", ""), |r| matches!(r, Ok(None))),
        (reply(501, "", ""), |r| matches!(r, Ok(None))),
        // Express answers like this when nobody registered GET: no sign that the session is gone.
        (reply(404, "content-type: text/html\r\n", "Cannot GET /mcp"), |r| matches!(r, Ok(None))),
        (json(404, r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}"#), |r| {
            matches!(r, Err(Error::SessionLost))
        }),
        (json(200, "{}"), |r| matches!(r, Err(Error::Malformed(Nonsense::ContentType { .. })))),
        (reply(401, "", ""), |r| matches!(r, Err(Error::Status { .. }))),
    ];
    for (number, (steps, expected)) in cases.into_iter().enumerate() {
        let steps = std::sync::Mutex::new(Some(steps));
        let server = session(move |_| steps.lock().unwrap().take().unwrap_or_default()).await;
        let (leg, _) = open(&server, limits()).await.unwrap();
        let listened = leg.listen(HeaderMap::new(), None).await;
        assert!(expected(&listened), "case {number}: {listened:?}");
    }
}

#[tokio::test]
async fn a_batch_of_2025_03_26_is_read_message_by_message() {
    let batch = r#"[{"jsonrpc":"2.0","method":"notifications/progress"},{"jsonrpc":"2.0","id":5,"result":{}}]"#;
    for steps in [json as fn(u16, &str) -> Vec<Step>, |_, text| events(&format!("data: {text}\n\n"))] {
        let server = session(move |_| steps(200, batch)).await;
        let (leg, _) = open(&server, limits()).await.unwrap();
        let mut before = Vec::new();
        let answer = leg.request(HeaderMap::new(), request(5, "tools/call")).await.unwrap();
        let frame = answer.finish(|item| before.push(item.frame.method().unwrap().to_owned())).await.unwrap();
        assert_eq!((before, frame.id().unwrap().as_u64()), (vec!["notifications/progress".to_owned()], Some(5)));
    }
}

#[tokio::test]
async fn dropping_a_stream_closes_its_connection_and_sends_nothing() {
    let server = session(|_| events_then("id: 1\ndata: \n\n", Step::Hang)).await;
    let (leg, _) = open(&server, limits()).await.unwrap();
    let stream = stream_of(&leg).await;
    drop(stream);
    until("the request was recorded", || server.seen().len() == 3).await;
    assert_eq!(server.seen().len(), 3, "a disconnect is no cancellation, and nobody sends one");
}

#[tokio::test]
async fn a_server_that_waits_for_an_answer_of_ours_may_be_silent() {
    let ask = "data: {\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"elicitation/create\",\"params\":{}}\n\n";
    let server = session(move |_| events_then(ask, Step::Hang)).await;
    let patient = Limits { idle: Duration::from_millis(800), total: Duration::from_secs(3), ..limits() };
    let (leg, _) = open(&server, patient).await.unwrap();
    let mut stream = stream_of(&leg).await;
    assert_eq!(stream.next().await.unwrap().unwrap().frame.method(), Some("elicitation/create"));

    let error = stream.next().await.unwrap().unwrap_err();

    assert!(matches!(error, Error::Timeout { phase: Phase::Total, .. }), "{error:?}");
}
