//! The client: its pool, its protocols, and what its errors promise.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use quorate_http::client::{Body, Client, Config, Error, Protocol};
use quorate_http::sse::{Event, EventStream, Events};
use quorate_http::{BodyError, collect};
use quorate_tls::{ClientOptions, ClientTls};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::support::{PATIENCE, Raw, TestServer, WIDE, echo, once, status, text, within};
use crate::tls::{client_tls, server_tls};

fn client(config: &Config) -> Client {
    let options = ClientOptions { native_roots: false, extra_roots: None };
    Client::new(config, ClientTls::load(&options).unwrap())
}

/// The ways that a request takes over HTTP/1.1.
#[derive(Clone, Copy, Debug)]
enum Way {
    Pooled,
    Patient,
}

impl Way {
    const ALL: [Self; 2] = [Self::Pooled, Self::Patient];

    async fn send(self, client: &Client, request: Request<Full<Bytes>>) -> Result<Response<Body>, Error> {
        self.send_within(client, request, PATIENCE).await
    }

    async fn send_within(
        self,
        client: &Client,
        request: Request<Full<Bytes>>,
        timeout: Duration,
    ) -> Result<Response<Body>, Error> {
        match self {
            Self::Pooled => client.send_within(request, timeout).await,
            Self::Patient => client.send_patiently(request, timeout).await,
        }
    }
}

fn post(address: SocketAddr, body: &'static str) -> Request<Full<Bytes>> {
    Request::post(format!("http://{address}/mcp")).body(Full::from(body)).unwrap()
}

/// A backend that speaks raw HTTP/1.1, one connection after the other.
async fn backend<F, T>(behave: F) -> SocketAddr
where
    F: Fn(usize, Raw) -> T + Send + 'static,
    T: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            behave(number, Raw(stream)).await;
        }
    });
    address
}

async fn read_request(raw: &mut Raw) {
    raw.read_until(|text| text.ends_with("{}")).await;
}

#[tokio::test]
async fn requests_reuse_a_connection() {
    for way in Way::ALL {
        let server = TestServer::start(WIDE, None, echo);
        let client = client(&Config { idle_timeout: PATIENCE, ..Config::default() });
        for _ in 0..5 {
            let answer = within("the answer", way.send(&client, post(server.address, "{}"))).await.unwrap();
            assert_eq!(answer.version(), Version::HTTP_11);
            assert_eq!(collect(answer.into_body(), 100, PATIENCE).await.unwrap(), "POST /mcp 2");
        }
        assert_eq!(server.heard.heard().opened, 1);
    }
}

#[tokio::test]
async fn an_unused_connection_is_given_up_at_the_idle_timeout() {
    for way in Way::ALL {
        let server = TestServer::start(WIDE, None, echo);
        let client = client(&Config { idle_timeout: Duration::from_millis(100), ..Config::default() });
        let answer = within("the answer", way.send(&client, post(server.address, "{}"))).await.unwrap();
        collect(answer.into_body(), 100, PATIENCE).await.unwrap();
        server.next_end().await.unwrap();
        assert!(server.heard.heard().hits.is_empty());
    }
}

#[tokio::test]
async fn http2_is_spoken_with_prior_knowledge() {
    let server = TestServer::start(WIDE, None, echo);
    let client = client(&Config { protocol: Protocol::Http2PriorKnowledge, ..Config::default() });
    let answers = (0..20).map(|_| client.send(post(server.address, "{}")));
    for answer in within("the answers", futures_util::future::join_all(answers)).await {
        assert_eq!(answer.unwrap().version(), Version::HTTP_2);
    }
    assert_eq!(server.heard.heard().opened, 1);
}

#[tokio::test]
async fn a_refused_connection_was_never_sent_to() {
    for way in Way::ALL {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let client = client(&Config::default());
        let error = within("the failure", way.send(&client, post(address, "{}"))).await.unwrap_err();
        assert!(matches!(error, Error::Connect(_)), "{error:?}");
        assert!(error.never_sent());
        let unknown = Request::post("http://name.invalid/mcp").body(Full::default()).unwrap();
        let error = within("the failure", way.send(&client, unknown)).await.unwrap_err();
        assert!(matches!(error, Error::Connect(_)), "{error:?}");
    }
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_a_connection_that_was_not_made() {
    let folder = TempDir::new().unwrap();
    server_tls(&folder);
    // Accepts TCP, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("https://localhost:{}/", silent.local_addr().unwrap().port());
    let config = Config { connect_timeout: Duration::from_millis(200), ..Config::default() };
    let client = Client::new(&config, client_tls(&folder));
    let error = client.send(Request::get(uri).body(Full::default()).unwrap()).await.unwrap_err();
    assert!(matches!(error, Error::ConnectTimeout { timeout } if timeout == config.connect_timeout), "{error:?}");
    assert!(error.never_sent());
}

#[tokio::test]
async fn requests_that_cannot_be_sent_are_told_apart() {
    for way in Way::ALL {
        let client = client(&Config::default());
        for uri in ["/relative", "ftp://localhost/"] {
            let request = Request::get(uri).body(Full::default()).unwrap();
            let error = within("the failure", way.send(&client, request)).await.unwrap_err();
            assert!(error.never_sent(), "{uri}: {error:?}");
        }
        let relative = Request::get("/relative").body(Full::default()).unwrap();
        assert!(matches!(way.send(&client, relative).await, Err(Error::Unsendable(_))));
    }
}

#[tokio::test]
async fn a_request_without_an_answer_may_have_been_processed() {
    for way in Way::ALL {
        // Reads the request, then hangs up.
        let address = backend(|_, mut raw| async move { read_request(&mut raw).await }).await;
        let error =
            within("the failure", way.send(&client(&Config::default()), post(address, "{}"))).await.unwrap_err();
        assert!(matches!(error, Error::Broken(_)), "{error:?}");
        assert!(!error.never_sent());

        let (keep, _kept) = mpsc::channel(64);
        let address = backend(move |_, mut raw| {
            let keep = keep.clone();
            async move {
                read_request(&mut raw).await;
                keep.try_send(raw).ok();
            }
        })
        .await;
        let timeout = Duration::from_millis(200);
        let error = way.send_within(&client(&Config::default()), post(address, "{}"), timeout).await.unwrap_err();
        assert!(matches!(error, Error::Timeout { .. }), "{error:?}");
        assert_eq!(error.to_string(), "no answer within 200ms");
        assert!(!error.never_sent());
    }
}

#[tokio::test]
async fn what_is_not_an_answer_is_broken_and_may_have_been_processed() {
    for way in Way::ALL {
        let large = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(100 << 10));
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(150));
        for answer in ["SSH-2.0-OpenSSH_9\r\n\r\n".to_owned(), large, many] {
            let bytes = answer.clone();
            let address = backend(move |_, mut raw| {
                let bytes = bytes.clone();
                async move {
                    read_request(&mut raw).await;
                    // The client hangs up in the middle.
                    let _ = raw.0.write_all(bytes.as_bytes()).await;
                }
            })
            .await;
            let error =
                within("the failure", way.send(&client(&Config::default()), post(address, "{}"))).await.unwrap_err();
            assert!(matches!(error, Error::Broken(_)), "{error:?}");
            assert!(!error.never_sent());
        }
    }
}

#[tokio::test]
async fn a_pooled_connection_that_the_server_closed_is_replaced() {
    for way in Way::ALL {
        let address = backend(|number, mut raw| async move {
            read_request(&mut raw).await;
            // No `connection: close`: the client cannot know that this connection ends.
            raw.send(format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{number}")).await;
        })
        .await;
        let client = client(&Config { idle_timeout: PATIENCE, ..Config::default() });
        for number in ["0", "1", "2"] {
            // The close may race with the next request; then its outcome is unknown and said to be.
            let answer = loop {
                match within("the answer", way.send(&client, post(address, "{}"))).await {
                    Ok(answer) => break answer,
                    Err(error) => assert!(matches!(error, Error::Broken(_)), "{error:?}"),
                }
            };
            let body = collect(answer.into_body(), 10, PATIENCE).await.unwrap();
            assert!(body.as_ref() >= number.as_bytes(), "{body:?}");
        }
    }
}

#[tokio::test]
async fn a_stream_that_the_server_refuses_unprocessed_was_never_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(socket).await.unwrap();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let refused = request.uri().path() == "/refused";
            respond.send_reset(if refused { h2::Reason::REFUSED_STREAM } else { h2::Reason::INTERNAL_ERROR });
        }
    });
    let client = client(&Config { protocol: Protocol::Http2PriorKnowledge, ..Config::default() });
    for (path, never_sent) in [("/refused", true), ("/failed", false)] {
        let request = Request::post(format!("http://{address}{path}")).body(Full::default()).unwrap();
        let error = within("the failure", client.send(request)).await.unwrap_err();
        assert_eq!(error.never_sent(), never_sent, "{path}: {error:?}");
    }
}

#[tokio::test]
async fn redirects_are_answers_like_any_other() {
    for way in Way::ALL {
        let server = TestServer::start(WIDE, None, |_, _| async {
            let mut answer = status(StatusCode::TEMPORARY_REDIRECT);
            answer.headers_mut().insert("location", "http://127.0.0.1:1/elsewhere".parse().unwrap());
            answer
        });
        let answer =
            within("the answer", way.send(&client(&Config::default()), post(server.address, "{}"))).await.unwrap();
        assert_eq!(answer.status(), StatusCode::TEMPORARY_REDIRECT);
        assert_eq!(server.heard.heard().opened, 1);
    }
}

#[tokio::test]
async fn an_answer_is_collected_within_its_limit_only() {
    for way in Way::ALL {
        let server = TestServer::start(WIDE, None, |_, _| async { text(vec![7; 100_000]) });
        let client = client(&Config::default());
        for (max, fits) in [(100_000, true), (99_999, false)] {
            let answer = within("the answer", way.send(&client, post(server.address, "{}"))).await.unwrap();
            match collect(answer.into_body(), max, PATIENCE).await {
                Ok(body) => assert!(fits && body.len() == 100_000),
                Err(BodyError::TooLarge { .. }) => assert!(!fits),
                Err(error) => panic!("{error:?}"),
            }
        }
    }
}

#[tokio::test]
async fn events_arrive_one_by_one_and_dropping_them_tells_the_server() {
    for (protocol, way) in [
        (Protocol::Negotiated, Way::Pooled),
        (Protocol::Negotiated, Way::Patient),
        (Protocol::Http2PriorKnowledge, Way::Patient),
    ] {
        let (sender, receiver) = mpsc::channel(1);
        let take = once(receiver);
        let server = TestServer::start(WIDE, None, move |_, _| {
            let events = Events::channel(take().expect("one request"), PATIENCE);
            async move { Response::new(events.into()) }
        });
        let client = client(&Config { protocol, ..Config::default() });
        let answer = within("the answer", way.send(&client, post(server.address, "{}"))).await.unwrap();
        let mut events = EventStream::new(answer.into_body(), 1 << 20);
        for size in [1, 10, 200_000] {
            let event = Event::new(vec![b'x'; size]);
            sender.send(event.clone()).await.unwrap();
            assert_eq!(within("the event", events.next()).await.unwrap().unwrap(), event);
        }
        drop(events);
        within("the server to notice", sender.closed()).await;
    }
}

#[tokio::test]
async fn a_cut_answer_is_an_error_and_not_an_end() {
    for way in Way::ALL {
        let address = backend(|_, mut raw| async move {
            read_request(&mut raw).await;
            raw.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n").await;
        })
        .await;
        let answer = within("the answer", way.send(&client(&Config::default()), post(address, "{}"))).await.unwrap();
        let mut events = EventStream::new(answer.into_body(), 100);
        assert_eq!(within("the event", events.next()).await.unwrap().unwrap().data, "1");
        assert!(within("the failure", events.next()).await.unwrap().is_err());
        assert!(events.next().await.is_none());

        let answer = within("the answer", way.send(&client(&Config::default()), post(address, "{}"))).await.unwrap();
        let mut body = answer.into_body();
        within("the first frame", body.frame()).await.unwrap().unwrap();
        within("the failure", body.frame()).await.unwrap().unwrap_err();
    }
}

#[tokio::test]
async fn a_patient_answer_is_read_whatever_its_framing_and_however_it_is_cut() {
    let chunked =
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nwell\r\n1;x=y\r\n \r\n4\r\ndone\r\n0\r\n\r\n";
    let counted = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nwell done";
    let informed = "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nwell done";
    let closed = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nwell done";
    for answer in [chunked, counted, informed, closed] {
        for piece in [1, 7, 1_000] {
            let address = backend(move |_, mut raw| async move {
                read_request(&mut raw).await;
                for piece in answer.as_bytes().chunks(piece) {
                    raw.send(piece).await;
                    tokio::task::yield_now().await;
                }
            })
            .await;
            let client = client(&Config::default());
            let answer = within("the answer", client.send_patiently(post(address, "{}"), PATIENCE)).await.unwrap();
            assert_eq!(collect(answer.into_body(), 100, PATIENCE).await.unwrap(), "well done", "{piece}");
        }
    }
}

#[tokio::test]
async fn a_patient_connection_with_more_than_its_answer_is_not_used_again() {
    let address = backend(|number, mut raw| async move {
        read_request(&mut raw).await;
        // A second answer that nobody asked for: it must not become the next request's.
        raw.send(format!(
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{number}HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nX"
        ))
        .await;
        raw.read_to_end().await;
    })
    .await;
    let client = client(&Config { idle_timeout: PATIENCE, ..Config::default() });
    for number in ["0", "1"] {
        let answer = within("the answer", client.send_patiently(post(address, "{}"), PATIENCE)).await.unwrap();
        assert_eq!(collect(answer.into_body(), 10, PATIENCE).await.unwrap(), number);
    }
}

#[tokio::test]
async fn a_patient_request_is_answered_before_the_server_has_read_it() {
    let address = backend(|_, mut raw| async move {
        raw.read_until(|text| text.contains("\r\n\r\n")).await;
        raw.send("HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n").await;
        // It neither reads on nor closes.
        std::future::pending::<()>().await;
    })
    .await;
    let request = Request::post(format!("http://{address}/mcp")).body(Full::from(vec![b'x'; 4 << 20])).unwrap();
    let client = client(&Config::default());
    let sent = client.send_patiently(request, PATIENCE);
    assert_eq!(within("the answer", sent).await.unwrap().status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn the_head_of_a_chunk_is_not_waited_for_without_end() {
    for way in Way::ALL {
        let address = backend(|_, mut raw| async move {
            read_request(&mut raw).await;
            raw.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;").await;
            while raw.0.write_all(&[b'x'; 4 << 10]).await.is_ok() {}
        })
        .await;
        let client = client(&Config::default());
        let answer = within("the answer", way.send(&client, post(address, "{}"))).await.unwrap();
        let mut body = answer.into_body();
        within("the failure", body.frame()).await.unwrap().unwrap_err();
    }
}

#[tokio::test]
async fn a_request_is_sent_to_its_end_where_a_success_comes_before_it() {
    for way in Way::ALL {
        let address = backend(|_, mut raw| async move {
            let mut seen =
                raw.read_until(|text| text.contains("\r\n\r\n")).await.split("\r\n\r\n").nth(1).map_or(0, str::len);
            raw.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n").await;
            let mut buffer = vec![0; 1 << 16];
            while seen < 4 << 20 {
                match raw.0.read(&mut buffer).await {
                    Ok(read) if read > 0 => seen += read,
                    _ => return,
                }
            }
            raw.send("data: all of it\n\n").await;
        })
        .await;
        let client = client(&Config::default());
        let request = Request::post(format!("http://{address}/mcp")).body(Full::from(vec![b'x'; 4 << 20])).unwrap();
        let answer = within("the answer", way.send(&client, request)).await.unwrap();
        let mut events = EventStream::new(answer.into_body(), 100);
        assert_eq!(within("the event", events.next()).await.unwrap().unwrap().data, "all of it");
    }
}

#[tokio::test]
async fn what_came_before_a_broken_chunk_is_delivered() {
    for way in Way::ALL {
        let address = backend(|_, mut raw| async move {
            read_request(&mut raw).await;
            raw.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\nnonsense\r\n").await;
        })
        .await;
        let client = client(&Config::default());
        let answer = within("the answer", way.send(&client, post(address, "{}"))).await.unwrap();
        let mut events = EventStream::new(answer.into_body(), 100);
        assert_eq!(within("the event", events.next()).await.unwrap().unwrap().data, "1");
        assert!(within("the failure", events.next()).await.unwrap().is_err());
    }
}
