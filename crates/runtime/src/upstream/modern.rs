//! Calls in the modern era (2026-07-28): stateless POSTs, nothing kept between them.
//!
//! The caller brings the frame and its `MCP-Protocol-Version`, `Mcp-Method`, `Mcp-Name` and
//! `Mcp-Param-*` headers (`quorate_mcp::header` makes them); the answer comes back as one message
//! or as a stream scoped to this request. A broken stream is a lost call: the era has no resuming.
//! Dropping the answer closes its connection, which the server must take as a cancellation.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use quorate_mcp::dialect::v2026_07_28;
use quorate_mcp::{Level, Version, header};

use super::SELF;
use super::answer::{Answer, FrameStream};
use super::endpoint::{Endpoint, HttpEndpoint};
use super::error::{Error, Nonsense};
use super::wire::{self, Patience};

/// What our own requests offer to a server.
pub(super) const NO_CAPABILITIES: &str = "{}";

/// Sends a request that ends with its answer.
///
/// # Errors
/// Any [`Error`]; over HTTP none of `SessionLost`, `Busy` and `Stalled`, which need something shared.
pub async fn send(endpoint: &Endpoint, headers: HeaderMap, body: Bytes) -> Result<Answer, Error> {
    let patience = Patience::of_call(endpoint.limits());
    match endpoint {
        Endpoint::Http(endpoint) => post(endpoint, headers, body, patience).await,
        Endpoint::Api(endpoint) => endpoint.answer(&headers, body, patience).await,
        Endpoint::Stdio(endpoint) => {
            let (server, headers) = (endpoint.server(), &headers);
            server.ask(|calls| calls.send(headers, body.clone())).await
        }
    }
}

/// Sends `subscriptions/listen`, whose stream stays open until either side ends it.
///
/// The response of a graceful end is an item like the others.
///
/// # Errors
/// As [`send`]; a refusal as a JSON-RPC error is [`Error::Fault`].
pub async fn listen(endpoint: &Endpoint, headers: HeaderMap, body: Bytes) -> Result<FrameStream, Error> {
    let patience = Patience::of_listen(endpoint.limits());
    let answer = match endpoint {
        Endpoint::Http(endpoint) => post(endpoint, headers, body, patience).await?,
        Endpoint::Api(endpoint) => endpoint.answer(&headers, body, patience).await?,
        Endpoint::Stdio(endpoint) => {
            let (server, headers) = (endpoint.server(), &headers);
            server.ask(|calls| calls.listen(headers, body.clone())).await?
        }
    };
    match answer {
        Answer::Stream(stream) => Ok(stream),
        Answer::Json { status, frame } if frame.error_span().is_some() => Err(Error::fault(status, frame)),
        Answer::Json { status, .. } => Err(Nonsense::NoAnswer { status }.into()),
    }
}

async fn post(endpoint: &HttpEndpoint, headers: HeaderMap, body: Bytes, patience: Patience) -> Result<Answer, Error> {
    let request = wire::post(endpoint, endpoint.uri().clone(), headers, body);
    let response = wire::send(endpoint, request, patience).await?;
    wire::answer(endpoint, response, patience).await
}

/// Makes the headers of a request of our own, less those that name its target.
#[must_use]
pub fn own_headers(method: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(header::PROTOCOL_VERSION, HeaderValue::from_static(Version::LATEST.as_str()));
    headers.insert(header::METHOD, HeaderValue::from_static(method));
    headers
}

/// Writes the `_meta` object of a request of our own; `progress_token` is JSON.
pub(super) fn meta(version: Version, progress_token: Option<&str>, log_level: Option<Level>) -> String {
    let mut meta = v2026_07_28::request_meta(version, NO_CAPABILITIES, SELF);
    let mut add = |member: String| meta.insert_str(meta.len() - 1, &member);
    if let Some(token) = progress_token {
        add(format!(",\"progressToken\":{token}"));
    }
    if let Some(level) = log_level {
        add(format!(",\"{}\":\"{}\"", v2026_07_28::META_LOG_LEVEL, level.as_str()));
    }
    meta
}
