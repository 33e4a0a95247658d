//! HTTP/1.1: requests, limits of heads, bodies and times, slow and leaving clients.

use std::time::Duration;

use bytes::Bytes;
use quorate_http::ResponseBody;
use quorate_http::server::{ConnectionError, Limits};
use quorate_http::sse::{Event, Events};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::support::{TestServer, WIDE, drop_flag, echo, once, text, within};

#[tokio::test]
async fn one_connection_serves_many_requests_also_pipelined() {
    let server = TestServer::start(WIDE, None, echo);
    let mut client = server.connect().await;

    client.send("GET /one HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(client.read_answer().await.ends_with("GET /one 0"));
    client.send("POST /two HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc").await;
    assert!(client.read_answer().await.ends_with("POST /two 3"));

    client.send("GET /3 HTTP/1.1\r\nhost: a\r\n\r\nGET /4 HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let both = client.read_until(|text| text.ends_with("GET /4 0")).await;
    assert!(both.contains("GET /3 0"));

    drop(client);
    server.next_end().await.unwrap();
    let heard = server.heard.heard();
    assert_eq!((heard.opened, heard.closed), (1, 1));
    assert!(heard.hits.is_empty(), "{heard:?}");
}

#[tokio::test]
async fn a_head_over_a_limit_is_answered_431_and_reported() {
    let cases = [
        ("x: ".to_owned() + &"y".repeat(40 << 10) + "\r\n", "header_bytes_max"),
        ("x: y\r\n".repeat(150), "headers_max"),
        ("x: y\r\n".repeat(20_000), "headers_max or header_bytes_max"),
    ];
    for (fields, limit) in cases {
        let server = TestServer::start(WIDE, None, echo);
        let mut client = server.connect().await;
        client.send(format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n")).await;
        let answer = client.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{limit}: {answer:?}");
        drop(client);
        let error = server.next_end().await.unwrap_err();
        let ConnectionError::Cut { limit: cut } = error else { panic!("{error:?}") };
        assert!(limit.contains(cut), "{limit}: {cut}");
        assert_eq!(server.heard.heard().hits, [cut]);
    }
}

#[tokio::test]
async fn heads_just_below_the_limits_pass() {
    let limits = Limits { header_bytes_max: 16 << 10, headers_max: 200, ..WIDE };
    let server = TestServer::start(limits, None, echo);
    let mut client = server.connect().await;
    client.send(format!("GET /big HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(16_200))).await;
    assert!(client.read_answer().await.ends_with("GET /big 0"));
    client.send(format!("GET /many HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(200))).await;
    assert!(client.read_answer().await.ends_with("GET /many 0"));
}

#[tokio::test]
async fn the_answer_to_a_body_that_is_too_large_reaches_a_client_that_is_still_sending() {
    let server = TestServer::start(WIDE, None, echo);
    for declared in [true, false] {
        let mut client = server.connect().await;
        let framing = if declared { "content-length: 16777216" } else { "transfer-encoding: chunked" };
        client.send(format!("POST / HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n")).await;
        let (mut reader, mut writer) = client.0.into_split();
        let sending = tokio::spawn(async move {
            let mut piece = b"10000\r\n".to_vec();
            piece.resize(7 + 0x10000, b'x');
            piece.extend(b"\r\n");
            // The server stops reading at some time, which may or may not be an error here.
            for _ in 0..200 {
                if writer.write_all(&piece).await.is_err() {
                    break;
                }
            }
            let _ = writer.shutdown().await;
        });
        let mut answer = [0; 12];
        within("the answer", reader.read_exact(&mut answer)).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 413", "declared: {declared}");
        sending.await.unwrap();
    }
}

#[tokio::test]
async fn a_head_that_does_not_end_is_cut_at_its_timeout() {
    let limits = Limits { header_read_timeout: Duration::from_millis(200), ..WIDE };
    let server = TestServer::start(limits, None, echo);
    for beginning in ["", "PRI * H", "GET / HTTP/1.1\r\nhost"] {
        let start = Instant::now();
        let mut client = server.connect().await;
        client.send(beginning).await;
        assert_eq!(client.read_to_end().await, "", "{beginning:?}");
        assert!(start.elapsed() >= Duration::from_millis(200), "{beginning:?}");
        let error = server.next_end().await.unwrap_err();
        assert!(matches!(error, ConnectionError::Cut { limit: "header_read_timeout" }), "{error:?}");
    }

    // The same for the second head of a connection.
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.read_answer().await;
    client.send("G").await;
    assert_eq!(client.read_to_end().await, "");
    let error = server.next_end().await.unwrap_err();
    assert!(matches!(error, ConnectionError::Cut { limit: "header_read_timeout" }), "{error:?}");
}

#[tokio::test]
async fn an_unused_connection_outlives_the_header_timeout_and_closes_at_the_idle_timeout() {
    let limits =
        Limits { header_read_timeout: Duration::from_millis(100), idle_timeout: Duration::from_millis(500), ..WIDE };
    let server = TestServer::start(limits, None, echo);
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.read_answer().await;

    let start = Instant::now();
    assert_eq!(client.read_to_end().await, "");
    assert!(start.elapsed() >= Duration::from_millis(450), "closed after {:?}", start.elapsed());
    server.next_end().await.unwrap();
    assert_eq!(server.heard.heard().hits, ["idle_timeout"]);
}

#[tokio::test]
async fn a_request_may_take_longer_than_the_idle_and_the_header_timeout() {
    let limits =
        Limits { header_read_timeout: Duration::from_millis(50), idle_timeout: Duration::from_millis(50), ..WIDE };
    let server = TestServer::start(limits, None, |_, _| async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        text("late")
    });
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(client.read_answer().await.ends_with("late"));
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_and_a_slow_one_is_not() {
    const SIZE: usize = 32 << 20;
    let limits = Limits { write_stall_timeout: Duration::from_millis(300), ..WIDE };
    let server = TestServer::start(limits, None, |_, _| async { text(Bytes::from(vec![7; SIZE])) });

    let mut slow = server.connect().await;
    slow.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    let mut piece = vec![0; 2 << 20];
    let mut total = 0;
    loop {
        // The pace of this client: far slower than the server, but faster than the limit.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let count = within("bytes", slow.0.read(&mut piece)).await.unwrap();
        total += count;
        if count == 0 {
            break;
        }
    }
    assert!(total > SIZE, "{total}");
    server.next_end().await.unwrap();

    let mut stuck = server.connect().await;
    stuck.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let error = server.next_end().await.unwrap_err();
    assert!(matches!(error, ConnectionError::Cut { limit: "write_stall_timeout" }), "{error:?}");
    assert_eq!(server.heard.heard().hits, ["write_stall_timeout"]);
}

#[tokio::test]
async fn the_handler_is_dropped_when_the_client_leaves() {
    let (flag, dropped) = drop_flag();
    let take = once(flag);
    let server = TestServer::start(WIDE, None, move |_, _| {
        let flag = take();
        async move {
            let _flag = flag;
            std::future::pending().await
        }
    });
    let mut client = server.connect().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}").await;
    drop(client);
    within("the handler's end", dropped).await.unwrap();
    assert!(server.next_end().await.is_err());
}

#[tokio::test]
async fn events_are_flushed_one_by_one_and_their_source_learns_that_the_client_left() {
    let (sender, receiver) = mpsc::channel(1);
    let take = once(receiver);
    let server = TestServer::start(WIDE, None, move |_, _| {
        let body = take().map_or(ResponseBody::Empty, |events| Events::channel(events, WIDE.idle_timeout).into());
        async move { http::Response::new(body) }
    });
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.read_until(|text| text.ends_with("\r\n\r\n")).await;
    for number in ["1", "2", "3"] {
        sender.send(Event::new(number)).await.unwrap();
        client.read_until(|text| text.contains(&format!("data: {number}\n\n"))).await;
    }
    drop(client);
    within("the body's end", sender.closed()).await;
}

#[tokio::test]
async fn what_is_not_http_is_answered_400_and_ends_its_connection_only() {
    let server = TestServer::start(WIDE, None, echo);
    let mut good = server.connect().await;
    good.send("GET /before HTTP/1.1\r\nhost: a\r\n\r\n").await;
    good.read_answer().await;
    for garbage in ["\x16\x03\x01\x02\x00\x01\r\n\r\n", "GET / HTTP/7.0\r\n\r\n", "G\0T / HTTP/1.1\r\n\r\n"] {
        let mut bad = server.connect().await;
        bad.send(garbage).await;
        let answer = bad.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{garbage:?}: {answer:?}");
        drop(bad);
        assert!(matches!(server.next_end().await, Err(ConnectionError::Protocol(_))));
    }
    good.send("GET /after HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(good.read_answer().await.ends_with("GET /after 0"));
}

#[tokio::test]
async fn a_panicking_handler_costs_its_connection_only() {
    let server = TestServer::start(WIDE, None, |request, peer| async move {
        assert_ne!(request.uri().path(), "/panic", "a bug in a handler");
        echo(request, peer).await
    });
    let mut bad = server.connect().await;
    bad.send("GET /panic HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(bad.read_to_end().await, "");
    server.heard.wait_for("the end of the connection", |heard| heard.closed == 1).await;
    let mut good = server.connect().await;
    good.send("GET /good HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(good.read_answer().await.ends_with("GET /good 0"));
}

/// Refuses what it gets without reading it, and tells that it was asked.
async fn refuse(asked: mpsc::Sender<()>) -> http::Response<ResponseBody> {
    asked.send(()).await.expect("the test waits for it");
    text("no")
}

/// A caller was refused before its body had come, the connection was closed without a word, and the
/// caller's next request on it failed.
#[tokio::test]
async fn a_connection_goes_on_behind_a_body_that_its_handler_did_not_read() {
    let (asked, mut requests) = mpsc::channel(2);
    let server = TestServer::start(WIDE, None, move |_, _| refuse(asked.clone()));
    let mut client = server.connect().await;
    let framings = [("content-length: 3", "abc"), ("transfer-encoding: chunked", "3\r\nabc\r\n0\r\n\r\n")];
    for (framing, body) in [framings, framings].concat() {
        client.send(format!("POST / HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n")).await;
        within("the request", requests.recv()).await.unwrap();
        client.send(body).await;
        let answer = client.read_answer().await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("no"), "{framing}: {answer:?}");
        assert!(!answer.contains("connection: close"), "{framing}: {answer:?}");
    }
    let whole = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc";
    client.send(whole.repeat(2)).await;
    client.read_until(|text| text.matches("no").count() == 2).await;
}

#[tokio::test]
async fn a_client_whose_unread_body_is_not_awaited_is_told_that_the_connection_ends() {
    let (asked, mut requests) = mpsc::channel(1);
    let server = TestServer::start(WIDE, None, move |_, _| refuse(asked.clone()));
    let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
    let cases = [
        ("more than is read for nobody", "content-length: 100000", String::new()),
        ("more than is read, in chunks", "transfer-encoding: chunked", chunk.repeat(5)),
        ("it is sent when it is asked for", "expect: 100-continue\r\ncontent-length: 3", String::new()),
        ("it does not come", "content-length: 3", "ab".to_owned()),
        ("it is none", "transfer-encoding: chunked", "no number\r\n".to_owned()),
    ];
    for (case, framing, body) in cases {
        let mut client = server.connect().await;
        client.send(format!("POST / HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n")).await;
        within("the request", requests.recv()).await.unwrap();
        client.send(body).await;
        let answer = client.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("no"), "{case}: {answer:?}");
        assert!(answer.contains("connection: close"), "{case}: {answer:?}");
    }
}
