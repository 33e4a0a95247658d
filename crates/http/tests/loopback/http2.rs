//! HTTP/2 with prior knowledge: limits of heads and streams, stalled and leaving clients.

use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Request, StatusCode};
use quorate_http::server::{ConnectionError, Limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::support::{TestServer, WIDE, drop_flag, echo, once, text, within};

type Connection = JoinHandle<Result<(), h2::Error>>;

async fn connect(server: &TestServer) -> (SendRequest<Bytes>, Connection) {
    connect_with(server, &h2::client::Builder::new()).await
}

async fn connect_with(server: &TestServer, builder: &h2::client::Builder) -> (SendRequest<Bytes>, Connection) {
    let (client, connection) = builder.handshake(server.connect().await.0).await.unwrap();
    let connection = tokio::spawn(connection);
    (client.ready().await.unwrap(), connection)
}

fn get(path: &str) -> Request<()> {
    Request::get(format!("http://localhost{path}")).body(()).unwrap()
}

async fn read_all(mut body: h2::RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut all = Vec::new();
    while let Some(data) = within("a piece of the body", body.data()).await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        all.extend_from_slice(&data);
    }
    Ok(all)
}

#[tokio::test]
async fn many_streams_share_a_connection_and_large_answers_arrive_whole() {
    const SIZE: usize = 1_000_003;
    let server = TestServer::start(WIDE, None, |request, _| async move {
        let fill = request.uri().path().len() as u8;
        text(Bytes::from(vec![fill; SIZE]))
    });
    let (mut client, _connection) = connect(&server).await;
    let paths = ["/", "/a", "/ab", "/abc"];
    let answers: Vec<_> = paths.iter().map(|path| client.send_request(get(path), true).unwrap().0).collect();
    // At the same time: an unread body would hold the connection's window.
    let reading = answers.into_iter().map(async |answer| {
        let answer = within("the answer", answer).await.unwrap();
        assert_eq!(answer.headers()["content-length"], SIZE.to_string());
        read_all(answer.into_body()).await.unwrap()
    });
    for (path, body) in paths.iter().zip(futures_util::future::join_all(reading).await) {
        assert_eq!(body, vec![path.len() as u8; SIZE]);
    }
}

#[tokio::test]
async fn a_head_over_a_limit_is_answered_431_and_reported() {
    let many =
        (0..150).fold(Request::get("http://localhost/"), |request, number| request.header(format!("x{number}"), "y"));
    let long = Request::get("http://localhost/").header("x", "y".repeat(40 << 10));
    let path = Request::get(format!("http://localhost/{}", "p".repeat(40 << 10)));
    for (request, limit) in [(many, "headers_max"), (long, "header_bytes_max"), (path, "header_bytes_max")] {
        let server = TestServer::start(WIDE, None, echo);
        let (mut client, _connection) = connect(&server).await;
        let answer = client.send_request(request.body(()).unwrap(), true).unwrap().0;
        assert_eq!(within("the answer", answer).await.unwrap().status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        assert_eq!(server.heard.heard().hits, [limit]);

        // The connection goes on.
        let answer = client.send_request(get("/next"), true).unwrap().0;
        assert_eq!(within("the answer", answer).await.unwrap().status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn a_client_may_open_no_more_streams_than_allowed() {
    let limits = Limits { streams_per_connection_max: 3, ..WIDE };
    let server = TestServer::start(limits, None, |_, _| std::future::pending());
    let (mut client, _connection) = connect(&server).await;
    let mut answers = Vec::new();
    for _ in 0..3 {
        client = within("room", client.ready()).await.unwrap();
        answers.push(client.send_request(get("/"), true).unwrap().0);
    }
    server.heard.wait_for("the limit", |heard| heard.hits == ["streams_per_connection_max"]).await;
    let told = async {
        while client.current_max_send_streams() != 3 {
            tokio::task::yield_now().await;
        }
    };
    within("the client to be told", told).await;
}

#[tokio::test]
async fn a_stream_whose_client_stops_reading_is_reset_alone() {
    let limits = Limits { write_stall_timeout: Duration::from_millis(300), ..WIDE };
    let server = TestServer::start(limits, None, |request, _| async move {
        let size = if request.uri().path() == "/large" { 8 << 20 } else { 10 };
        text(Bytes::from(vec![7; size]))
    });
    let (mut client, _connection) = connect(&server).await;
    let large = client.send_request(get("/large"), true).unwrap().0;
    let mut large = within("the head", large).await.unwrap().into_body();

    // Nothing is released, so the stream's window stays shut.
    server.heard.wait_for("the stall", |heard| heard.hits == ["write_stall_timeout"]).await;
    let error = loop {
        match within("the reset", large.data()).await.expect("the body is cut, not ended") {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.reason(), Some(h2::Reason::CANCEL));

    // The bytes of the reset stream no longer count against the connection; others go on.
    drop(large);
    let small = client.send_request(get("/small"), true).unwrap().0;
    let small = within("the other answer", small).await.unwrap();
    assert_eq!(read_all(small.into_body()).await.unwrap(), [7; 10]);
}

#[tokio::test]
async fn a_stream_without_any_window_is_reset_too() {
    let limits = Limits { write_stall_timeout: Duration::from_millis(300), ..WIDE };
    let server = TestServer::start(limits, None, |_, _| async { text("never seen") });
    let (mut client, _connection) = connect_with(&server, h2::client::Builder::new().initial_window_size(0)).await;
    let answer = client.send_request(get("/"), true).unwrap().0;
    let mut body = within("the head", answer).await.unwrap().into_body();
    server.heard.wait_for("the stall", |heard| heard.hits == ["write_stall_timeout"]).await;
    let error = within("the reset", body.data()).await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(h2::Reason::CANCEL));
}

#[tokio::test]
async fn a_silent_source_is_not_a_stalled_client() {
    let limits = Limits { write_stall_timeout: Duration::from_millis(50), ..WIDE };
    let server = TestServer::start(limits, None, |_, _| async {
        let events = futures_util::stream::unfold(0, |number| async move {
            tokio::time::sleep(Duration::from_millis(200)).await;
            (number < 3).then(|| (quorate_http::sse::Event::new(number.to_string()), number + 1))
        });
        http::Response::new(quorate_http::sse::Events::stream(events, WIDE.idle_timeout).into())
    });
    let (mut client, _connection) = connect(&server).await;
    let answer = client.send_request(get("/"), true).unwrap().0;
    let body = within("the head", answer).await.unwrap().into_body();
    assert_eq!(read_all(body).await.unwrap(), b"data: 0\n\ndata: 1\n\ndata: 2\n\n");
    assert!(server.heard.heard().hits.is_empty());
}

#[tokio::test]
async fn the_handler_is_dropped_when_the_client_resets_its_stream_or_leaves() {
    for leave in [false, true] {
        let (flag, dropped) = drop_flag();
        let take = once(flag);
        let (began, mut beginnings) = tokio::sync::mpsc::channel(64);
        let server = TestServer::start(WIDE, None, move |_, _| {
            let flag = take();
            began.try_send(()).unwrap();
            async move {
                let _flag = flag;
                std::future::pending().await
            }
        });
        let (mut client, connection) = connect(&server).await;
        let (answer, mut stream) = client.send_request(get("/"), false).unwrap();
        within("the request", beginnings.recv()).await.unwrap();
        if leave {
            connection.abort();
        } else {
            stream.send_reset(h2::Reason::CANCEL);
        }
        within("the handler's end", dropped).await.unwrap();
        drop((answer, client));
    }
}

#[tokio::test]
async fn an_unused_connection_is_told_to_go_away_at_the_idle_timeout() {
    let limits = Limits { idle_timeout: Duration::from_millis(300), ..WIDE };
    let server = TestServer::start(limits, None, echo);
    let (mut client, connection) = connect(&server).await;
    let answer = client.send_request(get("/"), true).unwrap().0;
    read_all(within("the answer", answer).await.unwrap().into_body()).await.unwrap();

    let start = Instant::now();
    within("the connection's end", connection).await.unwrap().unwrap();
    assert!(start.elapsed() >= Duration::from_millis(200), "closed after {:?}", start.elapsed());
    server.next_end().await.unwrap();
    assert_eq!(server.heard.heard().hits, ["idle_timeout"]);
}

#[tokio::test]
async fn a_first_request_that_does_not_come_is_cut_at_the_header_timeout() {
    let limits = Limits { header_read_timeout: Duration::from_millis(200), ..WIDE };
    let server = TestServer::start(limits, None, echo);
    let (_client, connection) = connect(&server).await;
    let _ = within("the connection's end", connection).await.unwrap();
    let error = server.next_end().await.unwrap_err();
    assert!(matches!(error, ConnectionError::Cut { limit: "header_read_timeout" }), "{error:?}");
}

#[tokio::test]
async fn a_peer_that_answers_no_ping_is_dead() {
    let limits = Limits { ping_interval: Duration::from_millis(100), ping_timeout: Duration::from_millis(100), ..WIDE };
    let server = TestServer::start(limits, None, |_, _| std::future::pending());
    let mut client = server.connect().await;
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    client.send([0, 0, 0, 4, 0, 0, 0, 0, 0]).await; // empty SETTINGS
    // HEADERS with END_STREAM and END_HEADERS: GET http / localhost, from the static table.
    client.send([0, 0, 3, 1, 5, 0, 0, 0, 1, 0x82, 0x86, 0x84]).await;
    let mut all = Vec::new();
    let _ = within("the server to give up", client.0.read_to_end(&mut all)).await;
    assert!(server.next_end().await.is_err());
    let _ = client.0.shutdown().await;
}
