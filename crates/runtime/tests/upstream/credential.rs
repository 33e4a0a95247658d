//! What servers are shown of us, over real sockets: tool servers that refuse it, token endpoints that misbehave.
//!
//! When a token is renewed is tested beside the code, on paused time. Here it matters what is sent, how often, and as what
//! an error comes out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use quorate_runtime::upstream::credential::{Client, ClientAuth, Config, Credential, Failure, Grant, Source};
use quorate_runtime::upstream::legacy::Leg;
use quorate_runtime::upstream::{Answer, Endpoint, Error, HttpEndpoint, Limits, TransportSetting, modern};
use quorate_telemetry::Metrics;
use quorate_types::{ResourceName, Secret};

use crate::support::{
    Script, Seen, Server, Step, events, events_then, frame, http_client, initialized, json, limits, reply, request,
    result_event,
};

const CALL: &str = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{}}"#;
const ANSWER: &str = r#"{"jsonrpc":"2.0","id":7,"result":{}}"#;

/// A token endpoint that gives `t0`, `t1` and so on.
async fn issuer() -> Server {
    Server::start(|_, before| {
        json(200, &format!(r#"{{"access_token":"t{before}","token_type":"Bearer","expires_in":3600}}"#))
    })
    .await
}

fn credential(headers: Vec<(HeaderName, Source<HeaderValue>)>, issuer: Option<&Server>) -> Credential {
    let grant = issuer.map(|issuer| Grant {
        client: Client {
            token_url: issuer.url().parse().unwrap(),
            client_id: "quorate".to_owned(),
            scopes: Vec::new(),
            audience: None,
            resource: None,
            auth: ClientAuth::Post,
        },
        secret: Source::Fixed(Secret::new("s3cret")),
        http: Source::Fixed(http_client()),
    });
    let config = Config { server: ResourceName::new("files").unwrap(), headers, grant };
    Credential::new(config, Metrics::new("0").token("files")).unwrap()
}

fn endpoint(server: &Server, credential: &Credential, limits: Limits) -> Endpoint {
    let endpoint = HttpEndpoint::new(&server.url(), http_client(), http::HeaderMap::new(), limits).unwrap();
    Endpoint::Http(endpoint.with_credential(credential.clone()))
}

async fn call(endpoint: &Endpoint) -> Result<Answer, Error> {
    modern::send(endpoint, modern::own_headers("tools/call"), Bytes::from(CALL)).await
}

/// A server that lets in who has this token, with an answer of its own.
async fn wants(token: &'static str, answer: impl Fn(&Seen) -> Vec<Step> + Send + Sync + 'static) -> Server {
    Server::start(move |seen, _| match seen.header("authorization") {
        Some(shown) if shown == format!("Bearer {token}") => answer(seen),
        _ => reply(401, "", ""),
    })
    .await
}

#[tokio::test]
async fn a_token_takes_the_place_of_whatever_a_call_brings() {
    let (issuer, server) = (issuer().await, wants("t0", |_| json(200, ANSWER)).await);
    let credential = credential(vec![], Some(&issuer));
    let endpoint = endpoint(&server, &credential, limits());
    let mut headers = modern::own_headers("tools/call");
    headers.append("authorization", HeaderValue::from_static("Bearer forged"));
    headers.append("authorization", HeaderValue::from_static("Bearer twice"));

    for _ in 0..3 {
        modern::send(&endpoint, headers.clone(), Bytes::from(CALL)).await.unwrap();
    }

    for seen in server.seen() {
        assert_eq!(seen.headers.get_all("authorization").iter().collect::<Vec<_>>(), ["Bearer t0"]);
        assert_eq!(seen.body, CALL);
    }
    assert_eq!(issuer.seen().len(), 1);
    assert_eq!(issuer.seen()[0].body, "grant_type=client_credentials&client_id=quorate&client_secret=s3cret");
}

#[tokio::test]
async fn a_refused_call_is_sent_once_more_with_another_token_and_is_the_same() {
    let (issuer, server) = (issuer().await, wants("t1", |_| json(200, ANSWER)).await);
    let credential = credential(vec![], Some(&issuer));

    call(&endpoint(&server, &credential, limits())).await.unwrap();

    let seen = server.seen();
    let shown: Vec<_> = seen.iter().map(|seen| (seen.header("authorization").unwrap(), seen.body.as_str())).collect();
    assert_eq!(shown, [("Bearer t0", CALL), ("Bearer t1", CALL)]);
}

#[tokio::test]
async fn a_call_that_is_refused_twice_is_not_sent_a_third_time() {
    let (issuer, server) = (issuer().await, Server::always(|| reply(401, "", "")).await);
    let credential = credential(vec![], Some(&issuer));
    let endpoint = endpoint(&server, &credential, limits());

    let error = call(&endpoint).await.unwrap_err();
    assert!(matches!(error, Error::Status { status: StatusCode::UNAUTHORIZED, .. }), "{error:?}");
    assert_eq!((server.seen().len(), issuer.seen().len()), (2, 2));

    for _ in 0..20 {
        call(&endpoint).await.unwrap_err();
    }
    assert_eq!((server.seen().len(), issuer.seen().len()), (22, 2), "the endpoint is not worn out");
}

#[tokio::test]
async fn only_what_is_refused_for_its_credential_is_sent_again() {
    let issuer = issuer().await;
    for status in [403, 404, 407, 429, 500, 503] {
        let server = Server::always(move || reply(status, "", "")).await;
        let credential = credential(vec![], Some(&issuer));
        call(&endpoint(&server, &credential, limits())).await.unwrap_err();
        assert_eq!(server.seen().len(), 1, "{status}");
    }
    let server = Server::always(Vec::new).await;
    let credential = credential(vec![], Some(&issuer));
    call(&endpoint(&server, &credential, limits())).await.unwrap_err();
    assert_eq!(server.seen().len(), 1, "a broken connection may have run it");
}

#[tokio::test]
async fn a_header_that_does_not_change_is_shown_once() {
    let server = Server::always(|| reply(401, "", "")).await;
    let header = (HeaderName::from_static("x-api-key"), Source::Fixed(HeaderValue::from_static("k")));
    let credential = credential(vec![header], None);

    call(&endpoint(&server, &credential, limits())).await.unwrap_err();

    assert_eq!(server.seen().len(), 1);
    assert_eq!(server.seen()[0].header("x-api-key"), Some("k"));
}

#[tokio::test]
async fn every_message_of_a_session_shows_the_token_also_after_it_was_replaced() {
    let issuer = issuer().await;
    let server = Server::start(|seen, before| {
        // The first token is good for the opening, the second one for the rest.
        let token = if before < 2 { "Bearer t0" } else { "Bearer t1" };
        match (seen.header("authorization") == Some(token), seen.method.as_str(), seen.rpc().as_str()) {
            (false, ..) => reply(401, "", ""),
            (true, "POST", "initialize") => initialized("s"),
            (true, "POST", "tools/call") if seen.header("last-event-id").is_none() => {
                events("id: e1\nretry: 1\ndata: \n\n")
            }
            (true, "GET", _) => events(&result_event("7")),
            (true, ..) => reply(202, "", ""),
        }
    })
    .await;
    let credential = credential(vec![], Some(&issuer));
    let endpoint = endpoint(&server, &credential, limits());

    let (leg, _) = Leg::open(&endpoint, TransportSetting::StreamableHttp, http::HeaderMap::new(), "{}").await.unwrap();
    let answer = leg.request(http::HeaderMap::new(), request(7, "tools/call")).await.unwrap();
    answer.finish(drop).await.unwrap();
    let _stream = leg.listen(http::HeaderMap::new(), None).await.unwrap();
    leg.notify(http::HeaderMap::new(), frame(r#"{"jsonrpc":"2.0","method":"n"}"#).into_bytes()).await.unwrap();
    leg.close().await;

    let seen = server.seen();
    let shown: Vec<_> =
        seen.iter().map(|seen| format!("{} {}", seen.method, seen.header("authorization").unwrap_or("none"))).collect();
    assert_eq!(
        shown,
        [
            "POST Bearer t0",
            "POST Bearer t0",
            "POST Bearer t0",
            "POST Bearer t1",
            "GET Bearer t1",
            "GET Bearer t1",
            "POST Bearer t1",
            "DELETE Bearer t1",
        ]
    );
}

#[tokio::test]
async fn a_session_over_http_and_sse_shows_the_token_on_its_stream_and_its_posts() {
    let issuer = issuer().await;
    let (sender, _) = tokio::sync::broadcast::channel::<String>(16);
    let pushed = sender.clone();
    let server = wants("t0", move |seen| match (seen.method.as_str(), seen.rpc().as_str()) {
        ("GET", _) => events_then("event: endpoint\ndata: /messages\n\n", Step::Follow(pushed.subscribe())),
        (_, "initialize") => {
            let result = r#"{"protocolVersion":"2024-11-05","capabilities":{}}"#;
            pushed.send(format!("data: {{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":{result}}}\n\n")).unwrap();
            reply(202, "", "")
        }
        _ => reply(202, "", ""),
    })
    .await;
    let credential = credential(vec![], Some(&issuer));

    Leg::open(&endpoint(&server, &credential, limits()), TransportSetting::Sse, http::HeaderMap::new(), "{}")
        .await
        .unwrap();

    assert_eq!(server.seen().len(), 3);
    assert!(server.seen().iter().all(|seen| seen.header("authorization") == Some("Bearer t0")));
}

#[tokio::test]
async fn a_token_endpoint_that_misbehaves_is_known_by_its_class_and_nothing_is_sent() {
    let endless: Script = || {
        vec![
            Step::Send(Bytes::from_static(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n")),
            Step::Repeat(Bytes::from(vec![b' '; 100_000])),
        ]
    };
    let half: Script =
        || vec![Step::Send(Bytes::from_static(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"access_token\":"))];
    let heads: Script = || {
        let head = format!("HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 0\r\n\r\n", "x".repeat(200_000));
        vec![Step::Send(Bytes::from(head))]
    };
    let cases: [(&str, Script, &str); 11] = [
        ("nothing", Vec::new, "unreachable"),
        ("another protocol", || vec![Step::Send(Bytes::from_static(b"SSH-2.0-OpenSSH_9.6\r\n"))], "unreachable"),
        ("half an answer", half, "unreachable"),
        ("an endless head", heads, "unreachable"),
        ("an endless body", endless, "too_large"),
        ("a web page", || reply(200, "content-type: text/html\r\n", "<html>s3cret"), "malformed"),
        ("another kind of token", || json(200, r#"{"access_token":"t","token_type":"mac"}"#), "malformed"),
        ("a refusal", || json(400, r#"{"error":"invalid_scope","error_description":"s3cret"}"#), "refused"),
        ("a failure", || json(503, "s3cret"), "trouble"),
        ("a redirect", || reply(302, "location: http://127.0.0.1:1/\r\n", ""), "redirect"),
        ("no content", || reply(204, "", ""), "malformed"),
    ];
    let server = Server::always(|| json(200, ANSWER)).await;
    for (what, script, class) in cases {
        let issuer = Server::always(script).await;
        let credential = credential(vec![], Some(&issuer));
        let error = call(&endpoint(&server, &credential, limits())).await.unwrap_err();

        let Error::Credential { failure } = &error else { panic!("{what}: {error:?}") };
        assert_eq!(failure.reason(), class, "{what}");
        assert!(error.never_executed() && error.counts_against_health(), "{what}");
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{what}: {error:?}");
    }
    assert_eq!(server.seen().len(), 0);
}

#[tokio::test]
async fn a_call_waits_for_a_slow_token_endpoint_as_long_as_it_has() {
    let server = Server::always(|| json(200, ANSWER)).await;
    let issuer = Server::always(|| vec![Step::Hang]).await;
    let credential = credential(vec![], Some(&issuer));
    let soon = Limits { first_byte: Duration::from_millis(300), ..limits() };
    let began = Instant::now();

    let calls = (0..50).map(|_| async { call(&endpoint(&server, &credential, soon)).await });
    for result in futures_util::future::join_all(calls).await {
        assert!(matches!(result, Err(Error::Credential { failure: Failure::Timeout })), "{result:?}");
    }

    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!((issuer.seen().len(), server.seen().len()), (1, 0), "they waited for one attempt");
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_any_more_is_a_class_of_its_own() {
    let (server, issuer) = (Server::always(|| json(200, ANSWER)).await, issuer().await);
    let is_there = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let of_read = Arc::clone(&is_there);
    let read = move || match of_read.load(std::sync::atomic::Ordering::Relaxed) {
        true => Ok(Secret::new("s3cret")),
        false => Err(quorate_runtime::upstream::credential::Unreadable { message: "gone".to_owned() }),
    };
    let mut config = Config { server: ResourceName::new("files").unwrap(), headers: vec![], grant: None };
    config.grant = Some(Grant {
        client: Client {
            token_url: issuer.url().parse().unwrap(),
            client_id: "quorate".to_owned(),
            scopes: Vec::new(),
            audience: None,
            resource: None,
            auth: ClientAuth::Basic,
        },
        secret: Source::Changing(Arc::new(read)),
        http: Source::Fixed(http_client()),
    });
    let credential = Credential::new(config, Metrics::new("0").token("files")).unwrap();
    is_there.store(false, std::sync::atomic::Ordering::Relaxed);

    let error = call(&endpoint(&server, &credential, limits())).await.unwrap_err();

    assert!(matches!(error, Error::Credential { failure: Failure::Unreadable }), "{error:?}");
    assert_eq!(issuer.seen().len(), 0);
}
