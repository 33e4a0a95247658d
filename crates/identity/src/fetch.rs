//! Asks an issuer's server for a document: within a size and a time, and without being sent elsewhere.
//!
//! In: a request to an [`Endpoint`]. Out: the text of a 200 and how long it may be kept, or what went wrong, for the
//! operator. Redirects are not followed, not even within the origin: a server that moves its keys says so in its
//! metadata, or the configuration does. Nothing of an answer is in an error but its status.

use std::error::Error as _;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AGE, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Request, StatusCode};
use http_body_util::Full;
use quorate_http::client::Client;
use quorate_http::{BodyError, collect};

use crate::endpoint::{Endpoint, InvalidEndpoint};
use crate::jwks::InvalidKeys;

/// How long the head of an answer may take, and then its body. Issuers answer in milliseconds; one that is busy for
/// seconds is as good as gone, and the last keys serve on.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
const BODY_TIMEOUT: Duration = Duration::from_secs(5);
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

/// A document of an issuer.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) text: Bytes,
    /// How much longer it is fresh, where its server says so (RFC 9111 §4.2.1).
    pub(crate) fresh_for: Option<Duration>,
}

/// An issuer's server did not give what it should.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// There was no answer.
    #[error("{url} did not answer: {}", chain(source))]
    Unreachable {
        /// What was asked.
        url: String,
        /// Why.
        #[source]
        source: quorate_http::client::Error,
    },
    /// The answer is no 200.
    #[error("{url} answered {status}{}", hint(*status))]
    Status {
        /// What was asked.
        url: String,
        /// The status.
        status: StatusCode,
    },
    /// The answer is too long, too slow, or ended early.
    #[error("the answer of {url} cannot be read")]
    Body {
        /// What was asked.
        url: String,
        /// Why.
        #[source]
        source: BodyError,
    },
    /// The whole took too long.
    #[error("not done within {}", quorate_types::units::format_duration(*timeout))]
    Timeout {
        /// The time it had.
        timeout: Duration,
    },
    /// The answer is not the issuer's metadata.
    #[error("the metadata at {url} is not JSON in which every name stands once, or lacks {member:?}")]
    Metadata {
        /// What was asked.
        url: String,
        /// What it should have.
        member: &'static str,
    },
    /// The metadata is another issuer's (OpenID Connect Discovery §4.3, RFC 8414 §3.3).
    #[error(
        "the metadata at {url} is not of the issuer {expected:?}: its `issuer` must be the same, to the last character"
    )]
    Issuer {
        /// What was asked.
        url: String,
        /// The issuer it should be of.
        expected: String,
    },
    /// The metadata says that the keys are where they must not be.
    #[error("the jwks_uri of {url} cannot be asked")]
    KeysUrl {
        /// What was asked.
        url: String,
        /// Why.
        #[source]
        source: InvalidEndpoint,
    },
    /// The answer is not a key set.
    #[error("the key set at {url} cannot be read")]
    Keys {
        /// What was asked.
        url: String,
        /// Why.
        #[source]
        source: InvalidKeys,
    },
}

/// Asks for a document of at most `bytes_max`.
pub(crate) async fn get(client: &Client, endpoint: &Endpoint, bytes_max: usize) -> Result<Document, FetchError> {
    let request = Request::get(endpoint.uri().clone()).header(ACCEPT, JSON).body(Full::default());
    ask(client, endpoint, request.expect("a URI and a fixed header make a request"), bytes_max).await
}

/// Sends a form, and asks for the answer to it.
pub(crate) async fn post(
    client: &Client,
    endpoint: &Endpoint,
    authorization: Option<HeaderValue>,
    form: String,
    bytes_max: usize,
) -> Result<Document, FetchError> {
    let request = Request::post(endpoint.uri().clone()).header(ACCEPT, JSON).header(CONTENT_TYPE, FORM);
    let mut request = request.body(Full::from(form)).expect("a URI and fixed headers make a request");
    if let Some(authorization) = authorization {
        request.headers_mut().insert(AUTHORIZATION, authorization);
    }
    ask(client, endpoint, request, bytes_max).await
}

async fn ask(
    client: &Client,
    endpoint: &Endpoint,
    request: Request<Full<Bytes>>,
    bytes_max: usize,
) -> Result<Document, FetchError> {
    let url = || endpoint.shown().to_owned();
    let answer = client.send_within(request, HEAD_TIMEOUT).await;
    let answer = answer.map_err(|source| FetchError::Unreachable { url: url(), source })?;
    if answer.status() != StatusCode::OK {
        return Err(FetchError::Status { url: url(), status: answer.status() });
    }
    let fresh_for = fresh_for(answer.headers());
    let text = collect(answer.into_body(), bytes_max, BODY_TIMEOUT).await;
    let text = text.map_err(|source| FetchError::Body { url: url(), source })?;
    Ok(Document { text, fresh_for })
}

/// RFC 9111 §5.2.2: how long an answer is fresh, less the time that caches on the way had it.
fn fresh_for(headers: &HeaderMap) -> Option<Duration> {
    let directives = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let mut fresh = None;
    for directive in directives.flat_map(|value| value.split(',')) {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        let name = name.trim();
        if name.eq_ignore_ascii_case("no-store") || name.eq_ignore_ascii_case("no-cache") {
            return Some(Duration::ZERO);
        }
        if name.eq_ignore_ascii_case("max-age") {
            // A number that cannot be read makes it stale (§4.2.1).
            fresh = Some(value.trim().trim_matches('"').parse().unwrap_or(0));
        }
    }
    let age = headers.get(AGE).and_then(|value| value.to_str().ok()?.trim().parse().ok()).unwrap_or(0_u64);
    fresh.map(|seconds: u64| Duration::from_secs(seconds.saturating_sub(age)))
}

/// The causes of an error in one line: what a refused connection was refused by is in the last of them.
fn chain(error: &quorate_http::client::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

fn hint(status: StatusCode) -> &'static str {
    if status.is_redirection() { ", and redirects are not followed" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freshness_is_read_as_rfc_9111_has_it() {
        for (cache_control, age, expected) in [
            (&[][..], None, None),
            (&["public"], None, None),
            (&["public, max-age=600"], None, Some(600)),
            (&["Max-Age=600 "], Some("100"), Some(500)),
            (&["max-age=\"600\""], None, Some(600)),
            (&["max-age=600"], Some("900"), Some(0)),
            (&["max-age=600"], Some("x"), Some(600)),
            (&["max-age=600", "no-cache"], None, Some(0)),
            (&["no-store"], None, Some(0)),
            (&["max-age=never"], None, Some(0)),
            (&["max-age=-1"], None, Some(0)),
            (&["max-age=99999999999999999999999"], None, Some(0)),
            (&["max-age=18446744073709551615"], None, Some(u64::MAX)),
        ] {
            let mut headers = HeaderMap::new();
            for value in cache_control {
                headers.append(CACHE_CONTROL, HeaderValue::from_static(value));
            }
            if let Some(age) = age {
                headers.insert(AGE, HeaderValue::from_static(age));
            }
            assert_eq!(fresh_for(&headers), expected.map(Duration::from_secs), "{cache_control:?} {age:?}");
        }
    }
}
