//! Stage 9: write the HTTP response, in the shape of the client's API.
//!
//! In: an answer, or why some stage refused. Out: the response. What the provider was not told is named in a header, since a client
//! that gets an answer has no other way to notice.

use std::time::Duration;

use futures_util::Stream;
use http::header::{AGE, ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use quorate_http::{ResponseBody, sse};
use quorate_llm::{Family, Losses};
use quorate_telemetry::Metrics;

use super::cache::Content;
use super::dispatch::Dispatched;
use super::refusal::Refusal;
use crate::listener;

/// What the provider was not told, by the names of the documentation's table.
const LEFT_OUT: HeaderName = HeaderName::from_static("quorate-left-out");
/// Whether an answer is one that was kept: `hit`, or `miss` where it could have been.
const CACHE: HeaderName = HeaderName::from_static("quorate-cache");
/// Who has counted tokens where it is not the provider.
const COUNTED_BY: HeaderName = HeaderName::from_static("quorate-counted-by");
/// The same as `Retry-After` in milliseconds, which OpenAI's clients look at first.
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");

/// Writes an answer that is there, or begins.
pub(super) fn write(dispatched: Dispatched) -> Response<ResponseBody> {
    let (mut response, losses, is_miss) = match dispatched {
        Dispatched::Kept { content, losses, age } => (kept(content, age), losses, false),
        Dispatched::Counted(tokens) => return counted(tokens),
        Dispatched::Whole { body, losses, is_miss } => {
            (json(StatusCode::OK, ResponseBody::Full(body)), losses, is_miss)
        }
        Dispatched::Events { answering, losses, is_miss } => (events(*answering), losses, is_miss),
    };
    if is_miss {
        response.headers_mut().insert(CACHE, HeaderValue::from_static("miss"));
    }
    if !losses.is_empty() {
        response.headers_mut().extend(left_out(&losses).map(|value| (LEFT_OUT, value)));
    }
    response
}

/// Writes a count of the gateway's own, in Anthropic's shape: no other API that is served asks for one.
fn counted(tokens: u64) -> Response<ResponseBody> {
    let body = format!("{{\"input_tokens\":{tokens}}}");
    let mut response = json(StatusCode::OK, ResponseBody::Full(body.into()));
    response.headers_mut().insert(COUNTED_BY, HeaderValue::from_static("gateway"));
    response
}

/// Writes an answer that was kept.
fn kept(content: Content, age: Duration) -> Response<ResponseBody> {
    let mut response = match content {
        Content::Whole(body) => json(StatusCode::OK, ResponseBody::Full(body)),
        Content::Events(all) => {
            let all: Vec<sse::Event> = all.to_vec();
            events(futures_util::stream::iter(all))
        }
    };
    let headers = response.headers_mut();
    headers.insert(CACHE, HeaderValue::from_static("hit"));
    headers.insert(AGE, HeaderValue::from(age.as_secs()));
    response
}

fn events(stream: impl Stream<Item = sse::Event> + Send + 'static) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::Events(sse::Events::stream(stream, sse::KEEP_ALIVE)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, EVENT_STREAM);
    headers.insert(CACHE_CONTROL, NO_CACHE);
    response
}

/// Writes the response of a refused request, and counts it.
pub(super) fn refuse(refusal: &Refusal, family: Family, metrics: &Metrics) -> Response<ResponseBody> {
    let (stage, reason) = refusal.label();
    metrics.rejected(stage, reason);
    let fault = refusal.fault();
    let status = match refusal {
        Refusal::Listener(listener::Error::Method { .. }) => StatusCode::METHOD_NOT_ALLOWED,
        _ => fault.kind.status(),
    };
    let mut response = json(status, ResponseBody::Full(fault.body(family).into()));
    let headers = response.headers_mut();
    if let Some(after) = fault.retry_after {
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        headers.insert(RETRY_AFTER_MS, HeaderValue::from(u64::try_from(after.as_millis()).unwrap_or(u64::MAX)));
    }
    add_headers(refusal, headers);
    response
}

/// Writes a body of JSON.
pub(super) fn json(status: StatusCode, body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

fn add_headers(refusal: &Refusal, headers: &mut HeaderMap) {
    match refusal {
        Refusal::Listener(listener::Error::Method { allowed, .. }) => {
            headers.insert(ALLOW, HeaderValue::from_static(allowed));
        }
        Refusal::Authenticate(unknown) => {
            let error = match unknown.error.is_about_credentials() {
                true => "Bearer realm=\"quorate\", error=\"invalid_token\"",
                false => "Bearer realm=\"quorate\"",
            };
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(error));
        }
        Refusal::Denied(denied) if !denied.scopes.is_empty() => {
            let scopes: Vec<&str> = denied.scopes.iter().map(String::as_str).collect();
            let text =
                format!("Bearer realm=\"quorate\", error=\"insufficient_scope\", scope=\"{}\"", scopes.join(" "));
            headers.extend(HeaderValue::from_str(&text).ok().map(|value| (WWW_AUTHENTICATE, value)));
        }
        Refusal::Admit(_) => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        _ => {}
    }
}

/// Names of what was left out; those that no header can have are none of an API.
fn left_out(losses: &Losses) -> Option<HeaderValue> {
    let names: Vec<&str> = losses.iter().map(quorate_llm::Loss::name).collect();
    HeaderValue::from_str(&names.join(", ")).ok()
}
