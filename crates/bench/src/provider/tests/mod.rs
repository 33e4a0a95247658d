//! Every option over a real socket, at the level of bytes; what is pure has its tests beside it.
//!
//! Where time matters it is the runtime's, which stands still until nobody has anything to do.

mod client;

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::time::Instant;

use client::{Raw, Server, question};

const SHAPES: [&str; 4] = ["chat", "responses", "messages", "generate"];

/// The text of a whole answer.
fn text(shape: &str, answer: &Value) -> String {
    let pointer = match shape {
        "chat" => "/choices/0/message/content",
        "responses" => "/output/0/content/0/text",
        "messages" => "/content/0/text",
        _ => "/candidates/0/content/parts/0/text",
    };
    answer.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The deltas of a stream's text.
fn deltas(shape: &str, raw: &Raw) -> Vec<String> {
    let pointer = match shape {
        "chat" => "/choices/0/delta/content",
        "responses" => "/delta",
        "messages" => "/delta/text",
        _ => "/candidates/0/content/parts/0/text",
    };
    let events = raw.data().into_iter().filter_map(|data| serde_json::from_str::<Value>(&data).ok());
    let texts = events.filter_map(|event| event.pointer(pointer)?.as_str().map(str::to_owned));
    texts.filter(|text| !text.is_empty()).collect()
}

#[tokio::test]
async fn each_shape_says_the_same_as_a_whole_and_as_a_stream() {
    let server = Server::start(&[]).await;
    for shape in SHAPES {
        let whole = server.ask(shape, "mock,chunks=5", false).await;
        let stream = server.ask(shape, "mock,chunks=5", true).await;

        assert_eq!((whole.status(), text(shape, &whole.json()).as_str()), (200, "echo: hello"), "{shape}");
        let deltas = deltas(shape, &stream);
        assert_eq!((deltas.len(), deltas.concat().as_str()), (5, "echo: hello"), "{shape}: {stream:?}");
        assert!(stream.stream().1 && stream.header("content-type").unwrap().starts_with("text/event-stream"));
    }
    let ledger = server.ledger().await;
    assert_eq!((&ledger["streams"]["whole"], &ledger["wholes"]["whole"]), (&json!(4), &json!(4)));
    assert_eq!(ledger["models"]["mock,chunks=5"]["requests"], 8);
}

#[tokio::test]
async fn a_chat_stream_tells_its_cost_only_where_it_is_wanted() {
    let server = Server::start(&[]).await;
    let ask = async |options: Value, model: &str| {
        let body = json!({ "model": model, "messages": [], "stream": true, "stream_options": options });
        server.send("POST", "/v1/chat/completions", "", body.to_string().as_bytes()).await.data()
    };

    let with = ask(json!({ "include_usage": true }), "mock,usage=12/34").await;
    let without = ask(Value::Null, "mock,usage=12/34").await;
    let none = ask(json!({ "include_usage": true }), "mock,usage=none").await;

    assert_eq!((with.len(), without.len(), none.len()), (without.len() + 1, without.len(), without.len()));
    let cost: Value = serde_json::from_str(&with[with.len() - 2]).unwrap();
    assert_eq!((&cost["choices"], &cost["usage"]["total_tokens"]), (&json!([]), &json!(46)));
    assert!(with[0].contains(r#""usage":null"#) && !without.concat().contains("\"usage\""));
}

#[tokio::test]
async fn a_stream_of_azure_begins_with_a_chunk_that_has_no_choice() {
    let server = Server::start(&[]).await;
    let (_, body) = question("chat", "ignored", true);
    let path = "/openai/deployments/mock,text=ab/chat/completions?api-version=2024-10-21";

    let raw = server.send("POST", path, "", body.to_string().as_bytes()).await;

    let first: Value = serde_json::from_str(&raw.data()[0]).unwrap();
    assert_eq!((&first["choices"], deltas("chat", &raw).concat().as_str()), (&json!([]), "ab"));
    assert_eq!(server.ledger().await["models"]["mock,text=ab"]["requests"], 1);
}

#[tokio::test]
async fn gemini_streams_an_array_to_those_that_ask_for_no_events() {
    let server = Server::start(&[]).await;
    let (_, body) = question("generate", "", true);

    let raw = server.send("POST", "/v1beta/models/mock:streamGenerateContent", "", body.to_string().as_bytes()).await;

    let answers: Vec<Value> = serde_json::from_slice(&raw.stream().0).unwrap();
    assert_eq!((answers.len(), raw.header("content-type")), (5, Some("application/json")));
}

#[tokio::test]
async fn a_stream_that_is_cut_ends_with_its_connection_behind_the_chunks() {
    let server = Server::start(&[]).await;
    for shape in SHAPES {
        let raw = server.ask(shape, "mock,chunks=5,cut=2", true).await;
        let (_, is_whole) = raw.stream();
        assert_eq!((deltas(shape, &raw).len(), is_whole), (2, false), "{shape}: {raw:?}");

        let raw = server.ask(shape, "mock,cut=2", false).await;
        let length: usize = raw.header("content-length").unwrap().parse().unwrap();
        assert_eq!(raw.body.len(), length / 2, "{shape}");
    }
    let ledger = server.ledger().await;
    assert_eq!((&ledger["streams"]["cut"], &ledger["wholes"]["cut"]), (&json!(4), &json!(4)));
}

#[tokio::test]
async fn a_large_event_is_written_before_its_connection_is_cut() {
    let raw = Server::start(&[]).await.ask("chat", "mock,text=abcd,big-event=3000000,cut=3", true).await;

    let deltas = deltas("chat", &raw);
    assert_eq!((deltas.len(), deltas[2].len(), raw.stream().1), (3, 3_000_000, false));
}

#[tokio::test]
async fn a_stream_that_is_half_closed_ends_well_without_its_last_word() {
    let server = Server::start(&[]).await;
    for (shape, last_word) in
        [("chat", "[DONE]"), ("responses", "response.completed"), ("messages", "message_stop"), ("generate", "STOP")]
    {
        let raw = server.ask(shape, "mock,half-close=3", true).await;
        let (bytes, is_whole) = raw.stream();
        assert_eq!((deltas(shape, &raw).len(), is_whole), (3, true), "{shape}");
        assert!(!String::from_utf8(bytes).unwrap().contains(last_word), "{shape}");
    }
}

#[tokio::test]
async fn what_stalls_or_never_ends_goes_on_until_its_client_leaves() {
    let server = Server::start(&[]).await;
    for (number, (shape, model, is_streamed)) in [
        ("chat", "mock,stall=2", true),
        ("messages", "mock,stall=0", true),
        ("chat", "mock,endless", true),
        ("responses", "mock,endless,gap=2ms", true),
    ]
    .into_iter()
    .enumerate()
    {
        let (path, body) = question(shape, model, is_streamed);
        let mut stream = server.begin("POST", &path, "", body.to_string().as_bytes()).await;
        let (mut bytes, goal) = (Vec::new(), if model.contains("endless") { 20_000 } else { 300 });
        while bytes.len() < goal {
            assert!(stream.read_buf(&mut bytes).await.unwrap() > 0, "{model}");
        }
        if model.contains("stall") {
            let silence = tokio::time::timeout(Duration::from_millis(50), async {
                while stream.read_buf(&mut bytes).await.unwrap() > 0 {}
            });
            assert!(silence.await.is_err(), "{model} ended");
        }
        drop(stream);
        server.wait_for("/streams/abandoned", number as u64 + 1).await;
    }
}

#[tokio::test]
async fn a_request_whose_client_leaves_before_the_head_is_counted() {
    let server = Server::start(&[]).await;
    let (path, body) = question("chat", "mock,head=600s", false);

    let stream = server.begin("POST", &path, "", body.to_string().as_bytes()).await;
    server.wait_for("/requests", 1).await;
    drop(stream);

    server.wait_for("/unanswered", 1).await;
}

#[tokio::test]
async fn a_connection_that_is_cut_before_the_head_says_nothing() {
    for (shape, is_streamed) in [("chat", false), ("messages", true)] {
        let raw = Server::start(&[]).await.ask(shape, "mock,cut-head", is_streamed).await;

        assert_eq!((raw.head.as_str(), raw.body.as_slice()), ("", [].as_slice()));
    }
}

#[tokio::test]
async fn a_broken_answer_is_broken_as_the_plan_says() {
    let server = Server::start(&[]).await;
    for (model, status, kind) in [("mock,html", 200, "text/html"), ("mock,error-html", 502, "text/html")] {
        for is_streamed in [false, true] {
            let raw = server.ask("chat", model, is_streamed).await;
            assert!(raw.status() == status && raw.header("content-type").unwrap().starts_with(kind), "{raw:?}");
            assert!(raw.body.starts_with(b"<!DOCTYPE html>"));
        }
    }
    for shape in SHAPES {
        let raw = server.ask(shape, "mock,wrong-json", false).await;
        assert!(raw.status() == 200 && serde_json::from_slice::<Value>(&raw.body).is_err());
        let raw = server.ask(shape, "mock,wrong-shape", false).await;
        assert_eq!(raw.json(), json!({ "hello": "world" }));
        let raw = server.ask(shape, "mock,not-utf8", false).await;
        assert!(raw.status() == 200 && std::str::from_utf8(&raw.body).is_err());
        let raw = server.ask(shape, "mock,not-utf8", true).await;
        assert!(raw.stream().1 && std::str::from_utf8(&raw.stream().0).is_err());
    }
}

#[tokio::test]
async fn a_failure_has_the_shape_of_its_family_and_says_when_to_come_again() {
    let server = Server::start(&[]).await;
    for (shape, pointer, expected) in [
        ("chat", "/error/code", "rate_limit_exceeded"),
        ("responses", "/error/code", "rate_limit_exceeded"),
        ("messages", "/error/type", "rate_limit_error"),
        ("generate", "/error/status", "RESOURCE_EXHAUSTED"),
    ] {
        let raw = server.ask(shape, "mock,status=429,retry-after=7", true).await;
        assert_eq!((raw.status(), raw.header("retry-after")), (429, Some("7")), "{shape}");
        assert_eq!(raw.json().pointer(pointer), Some(&json!(expected)), "{shape}");
    }
    let raw = server.ask("chat", "mock,status=503,retry-after-ms=70", false).await;
    assert_eq!(raw.header("retry-after-ms"), Some("70"));
    let raw = server.ask("chat", "mock,status=503,retry-date=60", false).await;
    assert!(raw.header("retry-after").unwrap().ends_with(" GMT"), "{raw:?}");
}

#[tokio::test]
async fn the_first_requests_of_a_name_fail_and_then_it_is_fine() {
    let server = Server::start(&[]).await;
    for (model, expected) in [
        ("mock,fail=2", vec![503, 503, 200]),
        ("mock,fail=2,text=b", vec![503, 503, 200]),
        ("mock,status-once=429", vec![429, 200]),
        ("mock,status=500,fail=1", vec![500, 200]),
        ("mock,status=500", vec![500, 500]),
    ] {
        let mut found = Vec::new();
        for _ in 0..expected.len() {
            found.push(server.ask("chat", model, false).await.status());
        }
        assert_eq!(found, expected, "{model}");
    }
    server.send("POST", "/ledger/reset", "", b"").await;
    assert_eq!(server.ask("chat", "mock,fail=2", false).await.status(), 503);
}

#[tokio::test(start_paused = true)]
async fn an_answer_takes_the_time_that_the_plan_says() {
    let server = Server::start(&[]).await;
    for (model, is_streamed, expected_ms) in [
        ("mock,chunks=4,gap=50ms,first=200ms,head=1s", true, 1350),
        ("mock,first=200ms,head=1s", false, 1200),
        ("mock,text=abcd,gap=100ms", true, 300),
    ] {
        let begun = Instant::now();
        let raw = server.ask("chat", model, is_streamed).await;
        let passed = begun.elapsed();

        assert_eq!(raw.status(), 200);
        let expected = Duration::from_millis(expected_ms);
        assert!(passed >= expected && passed < expected + Duration::from_millis(40), "{model}: {passed:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn slow_heads_and_bodies_come_at_their_pace() {
    let server = Server::start(&[]).await;

    let begun = Instant::now();
    let raw = server.ask("chat", "mock,slow-headers", false).await;
    let least = Duration::from_millis(50) * (u32::try_from(raw.head.len()).unwrap() - 1);
    assert!(text("chat", &raw.json()) == "echo: hello" && begun.elapsed() >= least, "{:?}", begun.elapsed());

    let begun = Instant::now();
    let raw = server.ask("chat", "mock,slow-body", true).await;
    let pieces = raw.chunks().0;
    let least = Duration::from_millis(50) * (u32::try_from(pieces.len()).unwrap() - 1);
    assert!(pieces.iter().all(|piece| piece.len() <= 16) && begun.elapsed() >= least, "{:?}", begun.elapsed());
    assert_eq!(deltas("chat", &raw).concat(), "echo: hello");
}

#[tokio::test]
async fn the_bytes_of_a_stream_come_as_the_plan_says() {
    let server = Server::start(&[]).await;
    let plain = server.ask("messages", "mock", true).await.data();

    let split = server.ask("messages", "mock,split", true).await;
    let pieces = split.chunks().0;
    assert!(pieces.len() > 100 && pieces.iter().all(|piece| piece.len() <= 11));
    assert_eq!(deltas("messages", &split).concat(), "echo: hello");

    let repeated = server.ask("messages", "mock,repeat", true).await.data();
    assert!(repeated.chunks(2).all(|pair| pair[0] == pair[1]) && repeated.len() == 2 * plain.len());

    let reordered = server.ask("messages", "mock,reorder", true).await.data();
    assert_eq!((&reordered[1], &reordered[2]), (&plain[2], &plain[1]));

    let comments = server.ask("messages", "mock,comments,event-crlf", true).await.stream().0;
    let comments = String::from_utf8(comments).unwrap();
    assert_eq!(comments.matches(": keep-alive\r\n\r\n").count(), plain.len());
    assert_eq!(comments.matches('\n').count(), comments.matches("\r\n").count());

    assert_eq!(text("chat", &server.ask("chat", "mock,whole", true).await.json()), "echo: hello");
    assert!(!server.ask("chat", "mock,no-done", true).await.data().concat().contains("[DONE]"));
    let sizes = deltas("chat", &server.ask("chat", "mock,text=abcd,big-event=100000", true).await);
    assert_eq!(sizes.iter().map(String::len).collect::<Vec<_>>(), [1, 1, 100_000, 1]);
    let large = server.ask("generate", "mock,big-answer=1000000", false).await.json();
    assert_eq!(text("generate", &large).len(), 1_000_000);
}

#[tokio::test]
async fn an_error_comes_in_the_middle_of_a_stream_in_its_shape() {
    let server = Server::start(&[]).await;
    for (shape, pointer, expected) in [
        ("chat", "/error/type", json!("server_error")),
        ("responses", "/type", json!("error")),
        ("messages", "/error/type", json!("overloaded_error")),
        ("generate", "/error/status", json!("UNAVAILABLE")),
    ] {
        let raw = server.ask(shape, "mock,error-event=2", true).await;
        let last: Value = serde_json::from_str(raw.data().last().unwrap()).unwrap();
        assert_eq!(last.pointer(pointer), Some(&expected), "{shape}: {last}");
        assert_eq!((deltas(shape, &raw).len(), raw.stream().1), (2, true), "{shape}");
    }
}

#[tokio::test]
async fn a_key_is_taken_wherever_it_is_shown_and_told_by_its_number() {
    let server = Server::start(&["k0", "k1"]).await;
    for (shape, header, query, status) in [
        ("chat", "authorization: Bearer k1\r\n", "", 200),
        ("messages", "x-api-key: k1\r\n", "", 200),
        ("chat", "api-key: k1\r\n", "", 200),
        ("generate", "x-goog-api-key: k0\r\n", "", 200),
        ("generate", "", "?key=k%31", 200),
        ("chat", "authorization: Bearer k\r\n", "", 401),
        ("messages", "", "", 401),
        ("generate", "", "?key=", 401),
    ] {
        let (path, body) = question(shape, "mock", false);
        let raw = server.send("POST", &format!("{path}{query}"), header, body.to_string().as_bytes()).await;
        assert_eq!(raw.status(), status, "{header}{query}");
        if status == 401 {
            let pointer = if shape == "generate" { "/error/status" } else { "/error/message" };
            assert!(raw.json().pointer(pointer).is_some(), "{raw:?}");
        }
    }
    let ledger = server.ledger().await;
    assert_eq!((&ledger["keys"], &ledger["statuses"]), (&json!([1, 4]), &json!({ "200": 5, "401": 3 })));
    assert!(!ledger.to_string().contains("k1"));
}

#[tokio::test]
async fn what_cannot_be_taken_is_refused_clearly() {
    let server = Server::start(&[]).await;
    let chat = "/v1/chat/completions";
    let large = vec![b' '; (32 << 20) + 1];
    for (path, body, status, words) in [
        (
            chat,
            br#"{"model":"mock,chunk=1","messages":[]}"#.as_slice(),
            400,
            "unknown option \"chunk\"; allowed are text=WORD",
        ),
        (chat, b"{", 400, "could not parse"),
        (chat, br#"{"messages":[]}"#, 400, "model"),
        (chat, &large, 413, "32 MiB"),
        ("/v1/v1/messages", b"{}", 404, "Not Found"),
        ("/v1/completions", b"{}", 404, "Invalid URL (POST /v1/completions)"),
    ] {
        let raw = server.send("POST", path, "", body).await;
        let message = raw.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(raw.status() == status && message.contains(words), "{path}: {} {message}", raw.status());
    }
}

#[tokio::test]
async fn http_2_is_spoken_to_those_that_know() {
    let server = Server::start(&[]).await;
    let io = TokioIo::new(server.connect().await);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    for (model, is_whole) in [("mock", true), ("mock,cut=2", false)] {
        let (path, body) = question("chat", model, true);
        let request = http::Request::post(format!("http://mock{path}")).body(Full::new(Bytes::from(body.to_string())));

        let response = sender.send_request(request.unwrap()).await.unwrap();

        assert_eq!(response.status(), 200);
        let body = response.into_body().collect().await;
        assert_eq!(body.is_ok_and(|body| body.to_bytes().ends_with(b"data: [DONE]\n\n")), is_whole, "{model}");
    }
}
