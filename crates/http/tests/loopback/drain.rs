//! Draining: idle connections close at once, open requests finish, and a deadline ends the rest.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use quorate_http::server::{ConnectionError, Limits};
use tokio::sync::watch;

use crate::support::{PATIENCE, TestServer, WIDE, echo, text, within};

#[tokio::test]
async fn idle_and_new_connections_close_at_once() {
    let server = TestServer::start(WIDE, None, echo);
    let mut used = server.connect().await;
    used.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    used.read_answer().await;
    let mut fresh = server.connect().await;
    server.heard.wait_for("both connections", |heard| heard.opened == 2).await;

    server.drain.cancel();
    assert_eq!(used.read_to_end().await, "");
    assert_eq!(fresh.read_to_end().await, "");
    // The server does not wait for these clients, which keep their sockets open.
    server.next_end().await.unwrap();
    server.next_end().await.unwrap();
}

#[tokio::test]
async fn an_open_request_finishes_and_its_connection_closes_after_it() {
    let (go, gate) = watch::channel(false);
    let (began, mut beginnings) = tokio::sync::mpsc::channel(64);
    let server = TestServer::start(WIDE, None, move |_, _| {
        let mut gate = gate.clone();
        let began = began.clone();
        async move {
            began.try_send(()).unwrap();
            gate.wait_for(|open| *open).await.unwrap();
            text("finished")
        }
    });
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    within("the request", beginnings.recv()).await.unwrap();

    server.drain.cancel();
    go.send(true).unwrap();
    let answer = client.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("finished"), "{answer:?}");
    assert!(answer.contains("connection: close\r\n"), "{answer:?}");
    drop(client);
    server.next_end().await.unwrap();
    assert!(server.heard.heard().hits.is_empty());
}

#[tokio::test]
async fn what_does_not_finish_by_the_deadline_is_cut() {
    let limits = Limits { drain_timeout: Duration::from_millis(100), ..WIDE };
    let (began, mut beginnings) = tokio::sync::mpsc::channel(64);
    let server = TestServer::start(limits, None, move |_, _| {
        began.try_send(()).unwrap();
        std::future::pending()
    });
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    within("the request", beginnings.recv()).await.unwrap();
    let (h2, connection) = h2::client::handshake(server.connect().await.0).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut h2 = h2.ready().await.unwrap();
    let (answer, _) = h2.send_request(Request::new(()), true).unwrap();
    within("the request", beginnings.recv()).await.unwrap();

    server.drain.cancel();
    assert_eq!(client.read_to_end().await, "");
    within("the stream's end", answer).await.unwrap_err();
    // Whether h2 calls a socket that closes an error depends on what it was doing.
    let _ = within("the connection's end", connection).await.unwrap();
    for _ in 0..2 {
        let error = server.next_end().await.unwrap_err();
        assert!(matches!(error, ConnectionError::Cut { limit: "drain_timeout" }), "{error:?}");
    }
    assert_eq!(server.heard.heard().hits, ["drain_timeout", "drain_timeout"]);
}

#[tokio::test]
async fn http2_streams_finish_after_goaway_and_new_ones_are_refused() {
    let (go, gate) = watch::channel(false);
    let (began, mut beginnings) = tokio::sync::mpsc::channel(64);
    let server = TestServer::start(WIDE, None, move |_, _| {
        let mut gate = gate.clone();
        let began = began.clone();
        async move {
            began.try_send(()).unwrap();
            gate.wait_for(|open| *open).await.unwrap();
            text("finished")
        }
    });
    let (h2, connection) = h2::client::handshake(server.connect().await.0).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut h2 = h2.ready().await.unwrap();
    let (answer, _) = h2.send_request(Request::new(()), true).unwrap();
    within("the request", beginnings.recv()).await.unwrap();

    server.drain.cancel();
    // GOAWAY reaches the client when it may open no more streams.
    let refused = async {
        loop {
            let Ok(mut ready) = h2.clone().ready().await else { return };
            let Ok((answer, _)) = ready.send_request(Request::new(()), true) else { return };
            tokio::select! {
                result = answer => { result.unwrap_err(); return }
                _ = beginnings.recv() => {}
            }
        }
    };
    within("the refusal of new streams", refused).await;

    go.send(true).unwrap();
    let mut body = within("the answer", answer).await.unwrap().into_body();
    let data: Bytes = within("the body", body.data()).await.unwrap().unwrap();
    assert_eq!(data, "finished");
    drop((h2, body));
    within("the connection's end", connection).await.unwrap().unwrap();
    server.next_end().await.unwrap();
}

#[tokio::test]
async fn draining_before_the_first_byte_takes_no_time() {
    let server = TestServer::start(WIDE, None, echo);
    server.drain.cancel();
    let start = std::time::Instant::now();
    assert_eq!(server.connect().await.read_to_end().await, "");
    assert!(start.elapsed() < PATIENCE / 2);
    server.next_end().await.unwrap();
}
