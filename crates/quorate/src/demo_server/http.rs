//! The HTTP side of the demo server: one POST endpoint, answers as JSON or as events.
//!
//! Checks what a local server must check (`Host` and `Origin` are loopback, so that a web page
//! cannot reach it by DNS rebinding), classifies the message, and writes the answer in the form
//! that its era wants.

use std::time::Duration;

use ::http::header::{ALLOW, CONTENT_TYPE, HOST, ORIGIN};
use ::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use bytes::Bytes;
use quorate_http::body::BodyError;
use quorate_http::sse::{Event, Events, KEEP_ALIVE};
use quorate_http::{RequestBody, ResponseBody};
use quorate_jsonrpc::{Id, Limits, build};
use quorate_mcp::{Call, Classified, Era, Rejected, Version, classify};
use tokio::sync::mpsc;

use super::answer::{self, Reply};
use super::{model, tools};

/// Where the server serves MCP.
pub(crate) const PATH: &str = "/mcp";

/// Largest request: 1 MiB; `echo` needs no more.
const BODY_BYTES_MAX: usize = 1 << 20;
/// How long a request's body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Events that wait for a slow client.
const EVENTS_MAX: usize = 16;

/// Answers one HTTP request.
pub(super) async fn handle(request: Request<RequestBody>) -> Response<ResponseBody> {
    if !is_local(request.headers()) {
        return plain(StatusCode::FORBIDDEN, "only local clients are served");
    }
    if request.uri().path().starts_with(model::PATH) {
        return model::handle(request).await;
    }
    if request.uri().path() != PATH {
        return plain(StatusCode::NOT_FOUND, "MCP is served at /mcp");
    }
    if request.method() != Method::POST {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "this server has no sessions: POST only");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    match read(request).await {
        Ok((_, classified)) => match in_revision(classified) {
            Ok((era, version, call)) => respond(era, version, &call),
            Err(rejected) => json(rejected.status(), rejected.body()),
        },
        Err(refused) => refused,
    }
}

/// Reads a posted message, or refuses it.
pub(crate) async fn read(request: Request<RequestBody>) -> Result<(HeaderMap, Classified), Response<ResponseBody>> {
    let (head, body) = request.into_parts();
    let body = match quorate_http::collect(body, BODY_BYTES_MAX, BODY_TIMEOUT).await {
        Ok(body) => body,
        Err(BodyError::TooLarge { .. }) => return Err(plain(StatusCode::PAYLOAD_TOO_LARGE, "at most 1 MiB")),
        Err(BodyError::Timeout { .. }) => return Err(plain(StatusCode::REQUEST_TIMEOUT, "the body did not arrive")),
        Err(BodyError::Broken(_)) => return Err(plain(StatusCode::BAD_REQUEST, "the body ended early")),
    };
    let limits = Limits { bytes_max: BODY_BYTES_MAX, ..Limits::REQUEST };
    match classify(&head.headers, body, &limits) {
        Ok(classified) => Ok((head.headers, classified)),
        Err(rejected) => Err(json(rejected.status(), rejected.body())),
    }
}

/// Holds a legacy message against the revision of its header; modern ones are checked already.
fn in_revision(classified: Classified) -> Result<(Era, Version, Call), Rejected> {
    let (era, version) = (classified.era, classified.version);
    match era {
        Era::Modern => Ok((era, version, classified.call)),
        Era::Legacy => Ok((era, version, classified.in_session(version)?)),
    }
}

fn respond(era: Era, version: Version, call: &Call) -> Response<ResponseBody> {
    let Some(id) = call.id().cloned() else {
        return status(StatusCode::ACCEPTED);
    };
    match answer::answer(version, call) {
        Ok(Reply::Result(result)) => json(StatusCode::OK, build::result(&id, &result)),
        Ok(Reply::Count(count)) => {
            let token = call.progress_token.as_ref().map(|(token, _)| token.clone());
            events(stream_count(count, id, token, version))
        }
        Ok(Reply::Hold(first)) => events(hold(first)),
        Ok(Reply::Nothing) => status(StatusCode::ACCEPTED),
        Err(fault) => {
            let rejected = Rejected { era, id: Some(id), fault };
            json(rejected.status(), rejected.body())
        }
    }
}

/// Counts, one progress notification per step, and answers at the end.
fn stream_count(count: tools::Count, id: Id, token: Option<Id>, version: Version) -> mpsc::Receiver<Event> {
    let (sender, receiver) = mpsc::channel(EVENTS_MAX);
    tokio::spawn(async move {
        for step in 1..=count.to {
            tokio::time::sleep(count.pause).await;
            if let Some(token) = &token {
                let params = count.progress(step, token, version);
                let event = Event::new(build::notification("notifications/progress", Some(&params)));
                // The client is gone: nobody counts on us.
                let Ok(()) = sender.send(event).await else { return };
            }
        }
        let result = answer::tool_result(version, &count.result());
        let _gone = sender.send(Event::new(build::result(&id, &result))).await;
    });
    receiver
}

/// Sends one message and keeps the stream open until the client leaves.
fn hold(first: Bytes) -> mpsc::Receiver<Event> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        if sender.send(Event::new(first)).await.is_ok() {
            sender.closed().await;
        }
    });
    receiver
}

/// Tells whether a request names a loopback host, and comes from a page of one if it does.
pub(crate) fn is_local(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let origin = headers.get(ORIGIN).map(|origin| origin.to_str().ok().and_then(|origin| origin.split_once("://")));
    let is_loopback = |authority: &str| {
        let host = authority
            .rsplit_once(':')
            .map_or(authority, |(host, port)| if port.ends_with(']') { authority } else { host });
        matches!(host, "127.0.0.1" | "localhost" | "[::1]")
    };
    // HTTP/2 has the host in the URI instead, and no browser speaks it without TLS.
    host.is_none_or(is_loopback) && origin.is_none_or(|origin| origin.is_some_and(|(_, host)| is_loopback(host)))
}

pub(crate) fn json(status: StatusCode, body: Bytes) -> Response<ResponseBody> {
    typed(status, "application/json", body.into())
}

pub(crate) fn events(receiver: mpsc::Receiver<Event>) -> Response<ResponseBody> {
    typed(StatusCode::OK, "text/event-stream", Events::channel(receiver, KEEP_ALIVE).into())
}

pub(crate) fn plain(status: StatusCode, text: &'static str) -> Response<ResponseBody> {
    typed(status, "text/plain", Bytes::from_static(text.as_bytes()).into())
}

pub(crate) fn status(status: StatusCode) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::Empty);
    *response.status_mut() = status;
    response
}

fn typed(status: StatusCode, media: &'static str, body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_local() {
        let cases = [
            (Some("127.0.0.1:80"), None, true),
            (Some("localhost"), None, true),
            (Some("[::1]:80"), None, true),
            (Some("[::1]"), None, true),
            (None, None, true),
            (Some("evil.example"), None, false),
            (Some("evil.example:127"), None, false),
            (Some("127.0.0.1.evil.example"), None, false),
            (Some("localhost"), Some("http://localhost:3000"), true),
            (Some("localhost"), Some("https://evil.example"), false),
            (Some("localhost"), Some("null"), false),
        ];
        for (host, origin, expected) in cases {
            let mut headers = HeaderMap::new();
            host.map(|host| headers.insert(HOST, HeaderValue::from_static(host)));
            origin.map(|origin| headers.insert(ORIGIN, HeaderValue::from_static(origin)));
            assert_eq!(is_local(&headers), expected, "{host:?} {origin:?}");
        }
    }
}
