//! One HTTP exchange with a tool server: from a request's bytes to a classified response.
//!
//! Both eras send the same POST and read the same two media types; this file is that common part.
//! A JSON-RPC error with the request's id is an answer, whatever its HTTP status, except for
//! 401, 403 and 407, which concern our credentials and not the caller's request. Everything else
//! is a typed [`Error`]. Redirects are refused: a call carries credentials and may have effects. What
//! a server is shown of us is added here, last, so that nothing that a call brings gets in its place.
//!
//! This is the hot path: no allocation beyond the header map, the request and the body.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use quorate_http::BodyError;
use quorate_http::client::{self, Body};
use quorate_jsonrpc::{self as jsonrpc, Frame, Kind};
use tokio::time::Instant;

use super::answer::{Answer, Awaits, FrameStream};
use super::credential::Credential;
use super::endpoint::{HttpEndpoint, Limits};
use super::error::{Error, Nonsense, Phase, chain};
use super::events::Events;

/// Longest body of an error response that is read for its JSON-RPC error: 64 KiB.
const FAULT_BYTES_MAX: usize = 64 << 10;
/// Longest piece of a server's header that enters an error: enough to recognise it.
const SHOWN_BYTES_MAX: usize = 200;
/// How long a body that nobody needs may take: 1 s, then its connection is given up.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// Nesting that answers may have: tool schemas are deeper than requests; serde_json's own bound.
const ANSWER_DEPTH_MAX: u32 = 128;

const ACCEPT_BOTH: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
const ACCEPT_EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The moments at which one call's patience ends.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    pub(super) first_byte: (Instant, Duration),
    /// None for calls that open a stream which only listens.
    pub(super) total: Option<(Instant, Duration)>,
}

/// How a request is sent.
#[derive(Clone, Copy)]
enum Way {
    /// Over a connection of the pool.
    Pooled,
    /// Over one that costs little while it is silent.
    Patient,
}

/// What a response's head says about its body.
enum Media {
    Json,
    Events,
    Other,
}

// === impl Patience ===

impl Patience {
    /// Starts the clock of a call that ends with its answer.
    pub(super) fn of_call(limits: &Limits) -> Self {
        let now = Instant::now();
        let first_byte = limits.first_byte.min(limits.total);
        Self { first_byte: (now + first_byte, first_byte), total: Some((now + limits.total, limits.total)) }
    }

    /// Starts the clock of a stream that may stay open.
    pub(super) fn of_listen(limits: &Limits) -> Self {
        let after = limits.first_byte;
        Self { first_byte: (Instant::now() + after, after), total: None }
    }

    pub(super) fn total_at(self) -> Option<Instant> {
        self.total.map(|(at, _)| at)
    }
}

// === impl Way ===

impl Way {
    async fn send(
        self,
        endpoint: &HttpEndpoint,
        request: Request<Full<Bytes>>,
        after: Duration,
    ) -> Result<Response<Body>, Error> {
        let sent = match self {
            Self::Pooled => endpoint.client().send_within(request, after).await,
            Self::Patient => endpoint.client().send_patiently(request, after).await,
        };
        sent.map_err(of_client)
    }
}

/// Sends one request and waits for the head of its response; redirects are refused.
pub(super) async fn send(
    endpoint: &HttpEndpoint,
    request: Request<Full<Bytes>>,
    patience: Patience,
) -> Result<Response<Body>, Error> {
    let response = match endpoint.credential() {
        None => endpoint.client().send_within(request, patience.first_byte.1).await.map_err(of_client)?,
        // Boxed: most servers want no credential, and their calls should not carry the room for one.
        Some(credential) => Box::pin(authorized(endpoint, credential, request, patience, Way::Pooled)).await?,
    };
    unless_redirected(response)
}

/// As [`send`], where the answer may be a stream that is silent for minutes.
pub(super) async fn send_patiently(
    endpoint: &HttpEndpoint,
    request: Request<Full<Bytes>>,
    patience: Patience,
) -> Result<Response<Body>, Error> {
    let response = match endpoint.credential() {
        None => endpoint.client().send_patiently(request, patience.first_byte.1).await.map_err(of_client)?,
        Some(credential) => Box::pin(authorized(endpoint, credential, request, patience, Way::Patient)).await?,
    };
    unless_redirected(response)
}

/// Sends a request with what the server is shown of us. One that is refused for it (401) has not run, and is sent once
/// more when there is something else to show.
async fn authorized(
    endpoint: &HttpEndpoint,
    credential: &Credential,
    mut request: Request<Full<Bytes>>,
    patience: Patience,
    way: Way,
) -> Result<Response<Body>, Error> {
    let (until, _) = patience.first_byte;
    let proof = credential.proof(until).await.map_err(|failure| Error::Credential { failure })?;
    let again = credential.may_change().then(|| request.clone());
    credential.add(&proof, request.headers_mut());
    let response = way.send(endpoint, request, until.saturating_duration_since(Instant::now())).await?;
    if response.status() != StatusCode::UNAUTHORIZED {
        proof.took();
        return Ok(response);
    }
    let Some(mut request) = again else { return Ok(response) };
    let instead = credential.instead_of(&proof, until).await;
    let Some(proof) = instead.map_err(|failure| Error::Credential { failure })? else { return Ok(response) };
    drain(response);
    credential.add(&proof, request.headers_mut());
    let response = way.send(endpoint, request, until.saturating_duration_since(Instant::now())).await?;
    if response.status() != StatusCode::UNAUTHORIZED {
        proof.took();
    }
    Ok(response)
}

/// Takes a response that is no redirect.
fn unless_redirected(response: Response<Body>) -> Result<Response<Body>, Error> {
    if response.status().is_redirection() {
        return Err(Error::Redirect { location: shown(response.headers().get(LOCATION)) });
    }
    Ok(response)
}

/// Builds a POST of a JSON-RPC message.
pub(super) fn post(endpoint: &HttpEndpoint, uri: Uri, mut headers: HeaderMap, body: Bytes) -> Request<Full<Bytes>> {
    headers.insert(ACCEPT, ACCEPT_BOTH);
    headers.insert(CONTENT_TYPE, JSON);
    build(endpoint, Method::POST, uri, headers, body)
}

/// Builds a GET of an event stream.
pub(super) fn get_events(endpoint: &HttpEndpoint, mut headers: HeaderMap) -> Request<Full<Bytes>> {
    headers.insert(ACCEPT, ACCEPT_EVENTS);
    build(endpoint, Method::GET, endpoint.uri().clone(), headers, Bytes::new())
}

pub(super) fn build(
    endpoint: &HttpEndpoint,
    method: Method,
    uri: Uri,
    mut headers: HeaderMap,
    body: Bytes,
) -> Request<Full<Bytes>> {
    let fixed = endpoint.headers();
    for name in fixed.keys() {
        // The transport's own headers win: a fixed `Accept` would break content negotiation.
        if !headers.contains_key(name) {
            headers.extend(fixed.get_all(name).iter().map(|value| (name.clone(), value.clone())));
        }
    }
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    request
}

/// Reads the answer to a request out of its response.
pub(super) async fn answer(
    endpoint: &HttpEndpoint,
    response: Response<Body>,
    patience: Patience,
) -> Result<Answer, Error> {
    let status = response.status();
    if !status.is_success() {
        return refusal(endpoint, response, patience).await;
    }
    match media(response.headers()) {
        Media::Json => {
            let body = body(response.into_body(), endpoint.limits().answer_bytes_max, patience).await?;
            json(endpoint, status, body)
        }
        Media::Events => {
            let events = events(endpoint, response)?;
            let awaits = if patience.total.is_some() { Awaits::Answer } else { Awaits::Nothing };
            Ok(Answer::Stream(FrameStream::of_events(events, awaits, endpoint.limits(), patience.total_at())))
        }
        Media::Other if matches!(status.as_u16(), 202 | 204) => Err(Nonsense::NoAnswer { status }.into()),
        Media::Other => Err(wrong_media(&response)),
    }
}

/// Takes the event stream of a successful response.
pub(super) fn events(endpoint: &HttpEndpoint, response: Response<Body>) -> Result<Events, Error> {
    match media(response.headers()) {
        Media::Events => Ok(Events::new(response.into_body(), endpoint.limits().event_bytes_max)),
        Media::Json | Media::Other => Err(wrong_media(&response)),
    }
}

/// Reads a body that nobody needs, so that its connection can serve the next request.
pub(super) fn drain(response: Response<Body>) {
    if http_body::Body::is_end_stream(response.body()) {
        return;
    }
    tokio::spawn(async move {
        // Whatever goes wrong ends the connection, which is all that there is to do about it.
        let _ended = quorate_http::collect(response.into_body(), FAULT_BYTES_MAX, DRAIN_TIMEOUT).await;
    });
}

/// Turns a status that is no success into the answer it carries, or into an error.
pub(super) async fn refusal(
    endpoint: &HttpEndpoint,
    response: Response<Body>,
    patience: Patience,
) -> Result<Answer, Error> {
    let status = response.status();
    let fault = fault(response, patience).await;
    let concerns_us = matches!(status.as_u16(), 401 | 403 | 407);
    match fault {
        Some(frame) if frame.id().is_some() && !concerns_us => Ok(Answer::Json { status, frame }),
        fault => {
            tracing::debug!(uri = %endpoint.uri(), %status, "upstream.refused");
            Err(Error::Status { status, fault: fault.map(Box::new) })
        }
    }
}

/// Reads the JSON-RPC error of a refusal; a body that is none is worth no error of its own.
async fn fault(response: Response<Body>, patience: Patience) -> Option<Frame> {
    if !matches!(media(response.headers()), Media::Json) {
        return None;
    }
    let body = body(response.into_body(), FAULT_BYTES_MAX, patience).await.ok()?;
    let frame = parse(body, FAULT_BYTES_MAX).ok()?;
    matches!(frame.kind(), Kind::Error).then_some(frame)
}

/// Tells whether the body of a refusal, of whatever type, mentions a lower-case word.
pub(super) async fn mentions(response: Response<Body>, word: &str, patience: Patience) -> bool {
    let body = body(response.into_body(), FAULT_BYTES_MAX, patience).await.unwrap_or_default();
    String::from_utf8_lossy(&body).to_ascii_lowercase().contains(word)
}

/// Parses a JSON answer; an array is what a 2025-03-26 server may make of response and notifications.
fn json(endpoint: &HttpEndpoint, status: StatusCode, body: Bytes) -> Result<Answer, Error> {
    let bytes_max = endpoint.limits().answer_bytes_max;
    if jsonrpc::is_batch(&body) {
        let frames = parse_batch(&body, bytes_max)?;
        return Ok(Answer::Stream(FrameStream::of_batch(frames, endpoint.limits())));
    }
    let frame = parse(body, bytes_max)?;
    match frame.kind() {
        Kind::Result | Kind::Error => Ok(Answer::Json { status, frame }),
        Kind::Request | Kind::Notification => Err(Nonsense::NoAnswer { status }.into()),
    }
}

pub(super) fn parse(bytes: Bytes, bytes_max: usize) -> Result<Frame, Error> {
    Frame::parse(bytes, &frame_limits(bytes_max)).map_err(of_malformed)
}

pub(super) fn parse_batch(bytes: &Bytes, bytes_max: usize) -> Result<Vec<Frame>, Error> {
    let frames = Frame::parse_batch(bytes, &frame_limits(bytes_max)).map_err(of_malformed)?;
    frames.into_iter().map(|frame| frame.map_err(of_malformed)).collect()
}

const fn frame_limits(bytes_max: usize) -> jsonrpc::Limits {
    jsonrpc::Limits { depth_max: ANSWER_DEPTH_MAX, bytes_max, batch_max: jsonrpc::Limits::ANSWER.batch_max }
}

fn of_malformed(malformed: jsonrpc::Malformed) -> Error {
    Nonsense::Message { reason: malformed.reason }.into()
}

pub(super) async fn body(body: Body, bytes_max: usize, patience: Patience) -> Result<Bytes, Error> {
    let (until, after) = patience.total.unwrap_or(patience.first_byte);
    let left = until.saturating_duration_since(Instant::now());
    quorate_http::collect(body, bytes_max, left).await.map_err(|error| match error {
        BodyError::TooLarge { max } => Error::TooLarge { max },
        BodyError::Timeout { .. } => Error::Timeout { phase: Phase::Total, after },
        BodyError::Broken(source) => Error::Broken { reason: chain(&*source) },
    })
}

fn media(headers: &HeaderMap) -> Media {
    let Some(value) = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes) else { return Media::Other };
    let essence = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    if essence.eq_ignore_ascii_case(b"application/json") {
        Media::Json
    } else if essence.eq_ignore_ascii_case(b"text/event-stream") {
        Media::Events
    } else {
        Media::Other
    }
}

fn wrong_media(response: &Response<Body>) -> Error {
    Nonsense::ContentType { found: shown(response.headers().get(CONTENT_TYPE)) }.into()
}

fn shown(value: Option<&HeaderValue>) -> String {
    let bytes = value.map(HeaderValue::as_bytes).unwrap_or_default();
    String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_BYTES_MAX)]).into_owned()
}

pub(super) fn of_client(error: client::Error) -> Error {
    match error {
        client::Error::ConnectTimeout { timeout } => Error::Timeout { phase: Phase::Connect, after: timeout },
        client::Error::Timeout { timeout } => Error::Timeout { phase: Phase::FirstByte, after: timeout },
        other if other.never_sent() => Error::Connect { reason: chain(&other) },
        other => Error::Broken { reason: chain(&other) },
    }
}
