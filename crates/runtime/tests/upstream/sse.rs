//! Sessions over HTTP+SSE: one stream for everything, and everything that can go wrong on it.
//!
//! The test pushes what the server's stream says, so that order and content are under control:
//! answers out of order, rubbish, floods for one reader, the end in the middle of a call.

use std::sync::Arc;

use http::HeaderMap;
use quorate_jsonrpc::Kind;
use quorate_runtime::upstream::error::Nonsense;
use quorate_runtime::upstream::legacy::{Leg, Transport};
use quorate_runtime::upstream::{Answer, Error, FrameStream, Limits, TransportSetting};
use tokio::sync::broadcast;

use crate::support::{
    Seen, Server, Step, events, events_then, frame, json, limits, reply, request, result_event, until,
};

const PARAMS: &str = r#"{"protocolVersion":"2024-11-05","capabilities":{},"clientInfo":{"name":"t","version":"1"}}"#;

/// A server of one session, whose stream says what the test pushes.
struct Stage {
    server: Server,
    push: broadcast::Sender<String>,
}

// === impl Stage ===

impl Stage {
    /// Starts a server that names `endpoint` and answers `initialize`.
    async fn start(endpoint: &'static str) -> Self {
        let (push, _) = broadcast::channel(100_000);
        let pusher = push.clone();
        let server = Server::start(move |seen, _| on_request(seen, endpoint, &pusher)).await;
        Self { server, push }
    }

    async fn open(&self) -> Leg {
        self.open_with(limits()).await
    }

    async fn open_with(&self, limits: Limits) -> Leg {
        let endpoint = self.server.endpoint_with(limits);
        Leg::open(&endpoint, TransportSetting::Sse, HeaderMap::new(), PARAMS).await.unwrap().0
    }

    fn say(&self, event: &str) {
        self.push.send(event.to_owned()).unwrap();
    }

    fn say_message(&self, message: &str) {
        self.say(&format!("event: message\ndata: {message}\n\n"));
    }
}

fn on_request(seen: &Seen, endpoint: &str, push: &broadcast::Sender<String>) -> Vec<Step> {
    if seen.method == "GET" {
        return events_then(&format!("event: endpoint\ndata: {endpoint}\n\n"), Step::Follow(push.subscribe()));
    }
    if seen.rpc() == "initialize" {
        let answer = r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2024-11-05","capabilities":{}}}"#;
        push.send(format!("data: {answer}\n\n")).unwrap();
    }
    reply(202, "content-type: text/plain\r\n", "Accepted")
}

async fn ask(leg: &Leg, id: u64) -> FrameStream {
    let text = format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"_meta":{{"progressToken":"t{id}"}}}}}}"#
    );
    let answer = leg.request(HeaderMap::new(), frame(&text)).await.unwrap();
    let Answer::Stream(stream) = answer else { panic!("expected a stream, got {answer:?}") };
    stream
}

#[tokio::test]
async fn messages_go_to_the_address_that_the_stream_names() {
    for (named, target) in
        [("/messages?session=1", "/messages?session=1"), ("post", "/post"), ("?s=2#part", "/mcp?s=2")]
    {
        let stage = Stage::start(named).await;
        let leg = stage.open().await;
        assert_eq!(leg.transport(), Transport::Sse);
        let posts: Vec<_> = stage.server.seen().into_iter().filter(|seen| seen.method == "POST").collect();
        assert_eq!(posts.iter().map(Seen::rpc).collect::<Vec<_>>(), ["initialize", "notifications/initialized"]);
        assert!(posts.iter().all(|seen| seen.target == target), "{named}: {posts:?}");
    }
}

#[tokio::test]
async fn a_stream_cannot_send_our_messages_elsewhere() {
    let cases = [
        "event: endpoint\ndata: http://127.0.0.2:1/messages\n\n",
        "event: endpoint\ndata: //elsewhere/messages\n\n",
        "event: endpoint\ndata: https://127.0.0.1/messages\n\n",
        "event: endpoint\ndata: file:///etc/passwd\n\n",
        "event: endpoint\ndata: \n\n",
        "data: /messages\n\n",
        "event: message\ndata: {}\n\n",
        "",
    ];
    for first in cases {
        let server = Server::always(move || events(first)).await;
        let opened = Leg::open(&server.endpoint(), TransportSetting::Sse, HeaderMap::new(), PARAMS).await;
        if first.contains("data: \n") {
            // An empty reference is the address itself (RFC 3986 §5.2): valid, and then POST fails.
            assert!(opened.is_err());
            continue;
        }
        assert!(matches!(opened, Err(Error::Malformed(Nonsense::Endpoint))), "{first:?}: {opened:?}");
    }
}

#[tokio::test]
async fn answers_find_their_requests_in_any_order() {
    let stage = Stage::start("/post").await;
    let leg = stage.open().await;
    let mut streams = Vec::new();
    for id in 1..=20 {
        streams.push((id, ask(&leg, id).await));
    }
    for id in (1..=20).rev() {
        stage.say_message(&format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":"t{id}","progress":{id}}}}}"#));
        stage.say(&result_event(&id.to_string()));
        stage.say(&result_event(&id.to_string()));
    }
    for (id, mut stream) in streams {
        let progress = stream.next().await.unwrap().unwrap().frame;
        assert!(progress.text().contains(&format!("\"t{id}\"")), "{id}: {}", progress.text());
        let answer = stream.next().await.unwrap().unwrap().frame;
        assert_eq!(answer.id().unwrap().as_u64(), Some(id));
        assert!(stream.next().await.is_none());
    }
}

#[tokio::test]
async fn what_belongs_to_no_request_goes_to_the_listener() {
    let stage = Stage::start("/post").await;
    let leg = stage.open().await;
    let sampling = r#"{"jsonrpc":"2.0","id":"s","method":"sampling/createMessage","params":{}}"#;
    let changed = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;

    // Nobody listens yet: kept. One request open: the server's request is taken as part of it.
    stage.say_message(changed);
    let mut only = ask(&leg, 1).await;
    stage.say_message(sampling);
    assert_eq!(only.next().await.unwrap().unwrap().frame.kind(), Kind::Request);

    // Two open: it could be of either, so it is the listener's.
    let _second = ask(&leg, 2).await;
    stage.say_message(sampling);
    let mut listener = leg.listen(HeaderMap::new(), None).await.unwrap().unwrap();
    let first = listener.next().await.unwrap().unwrap().frame;
    let second = listener.next().await.unwrap().unwrap().frame;
    assert_eq!(
        (first.method(), second.method()),
        (Some("notifications/tools/list_changed"), Some("sampling/createMessage"))
    );
}

#[tokio::test]
async fn the_end_of_the_stream_is_the_end_of_the_session() {
    let stage = Stage::start("/post").await;
    let leg = stage.open().await;
    let mut open_one = ask(&leg, 1).await;
    let mut listener = leg.listen(HeaderMap::new(), None).await.unwrap().unwrap();

    stage.say("");

    let error = open_one.next().await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Broken { .. }) && !error.never_executed(), "{error:?}");
    assert!(matches!(listener.next().await, Some(Err(Error::Broken { .. }))));
    let later = leg.request(HeaderMap::new(), request(2, "ping")).await.unwrap_err();
    assert!(matches!(later, Error::SessionLost) && later.never_executed(), "{later:?}");
    assert!(matches!(leg.notify(HeaderMap::new(), "{}".into()).await, Err(Error::SessionLost)));
    assert!(matches!(leg.listen(HeaderMap::new(), None).await, Err(Error::SessionLost)));
}

#[tokio::test]
async fn a_session_that_is_closed_leaves_its_open_calls_with_an_unknown_outcome() {
    let stage = Stage::start("/post").await;
    let leg = stage.open().await;
    let mut open_one = ask(&leg, 1).await;

    leg.close().await;

    let error = open_one.next().await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Broken { .. }) && !error.never_executed(), "the server has the call: {error:?}");
    let later = leg.request(HeaderMap::new(), request(2, "ping")).await.unwrap_err();
    assert!(matches!(later, Error::SessionLost) && later.never_executed(), "{later:?}");
}

#[tokio::test]
async fn rubbish_on_the_stream_ends_it_with_a_typed_error() {
    let stage = Stage::start("/post").await;
    let leg = stage.open().await;
    let mut open_one = ask(&leg, 1).await;
    stage.say("data: rubbish\n\n");
    assert!(matches!(open_one.next().await, Some(Err(Error::Malformed(Nonsense::Message { .. })))));
}

#[tokio::test]
async fn a_reader_that_stops_is_cut_off_and_the_others_go_on() {
    let stage = Stage::start("/post").await;
    let leg = stage.open_with(Limits { shared_frames_max: 4, ..limits() }).await;
    let mut slow = ask(&leg, 1).await;
    let mut other = ask(&leg, 2).await;

    for progress in 0..10 {
        stage.say_message(&format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":"t1","progress":{progress}}}}}"#));
    }
    stage.say(&result_event("1"));
    stage.say(&result_event("2"));

    assert!(other.next().await.unwrap().unwrap().frame.result().is_some());
    let mut read = 0;
    let error = loop {
        match slow.next().await.unwrap() {
            Ok(_) => read += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Stalled { .. }), "{error:?}");
    assert_eq!(read, 4, "what was queued is still there");
}

#[tokio::test]
async fn an_inbox_is_bounded_in_bytes_and_takes_one_message_of_any_size() {
    let stage = Stage::start("/post").await;
    let leg = stage.open().await;
    let mut slow = ask(&leg, 1).await;
    let mut other = ask(&leg, 2).await;
    let large = format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":"t1","message":"{}"}}}}"#,
        "x".repeat(3 << 20)
    );

    stage.say_message(&large);
    stage.say_message(&large);
    stage.say(&result_event("2"));

    assert!(other.next().await.unwrap().unwrap().frame.result().is_some());
    assert!(slow.next().await.unwrap().is_ok());
    assert!(matches!(slow.next().await, Some(Err(Error::Stalled { .. }))));
}

#[tokio::test]
async fn open_requests_are_bounded_and_a_dropped_one_makes_room() {
    let stage = Stage::start("/post").await;
    let leg = stage.open_with(Limits { shared_requests_max: 2, ..limits() }).await;
    let first = ask(&leg, 1).await;
    let _second = ask(&leg, 2).await;

    let refused = leg.request(HeaderMap::new(), request(3, "ping")).await.unwrap_err();
    assert!(matches!(refused, Error::Busy { max: 2 }) && refused.never_executed(), "{refused:?}");
    drop(first);
    let mut third = ask(&leg, 3).await;
    stage.say(&result_event("1"));
    stage.say(&result_event("3"));
    assert_eq!(third.next().await.unwrap().unwrap().frame.id().unwrap().as_u64(), Some(3));
}

#[tokio::test]
async fn a_post_that_is_refused_fails_only_its_request() {
    let (push, _) = broadcast::channel(100);
    let pusher = push.clone();
    let server = Server::start(move |seen, _| match seen.rpc().as_str() {
        "tools/list" => reply(500, "", ""),
        "prompts/list" => json(400, r#"{"jsonrpc":"2.0","id":3,"error":{"code":-32602,"message":"no"}}"#),
        "resources/list" => reply(404, "", ""),
        _ => on_request(seen, "/post", &pusher),
    })
    .await;
    let leg = Leg::open(&server.endpoint(), TransportSetting::Sse, HeaderMap::new(), PARAMS).await.unwrap().0;
    let mut other = ask(&leg, 1).await;

    assert!(matches!(leg.request(HeaderMap::new(), request(2, "tools/list")).await, Err(Error::Status { .. })));
    assert!(matches!(leg.request(HeaderMap::new(), request(3, "prompts/list")).await, Err(Error::Fault { .. })));
    push.send(result_event("1")).unwrap();
    assert!(other.next().await.unwrap().is_ok());
    assert!(matches!(leg.request(HeaderMap::new(), request(4, "resources/list")).await, Err(Error::SessionLost)));
}

#[tokio::test]
async fn the_last_clone_closes_the_stream() {
    let stage = Stage::start("/post").await;
    let leg = stage.open().await;
    let clone = leg.clone();
    drop(leg);
    let mut answered = ask(&clone, 1).await;
    stage.say(&result_event("1"));
    assert!(answered.next().await.unwrap().is_ok());

    drop(clone);
    let push = Arc::new(stage.push.clone());
    until("the server's stream has no reader", || {
        // A write to the closed socket ends the server's script, which drops its receiver.
        let _none_left = push.send(": are you there\n\n".to_owned());
        push.receiver_count() == 0
    })
    .await;
}
