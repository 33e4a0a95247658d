//! Stage 3: what is asked, and of which model.
//!
//! In: an authenticated request. Out: [`Classified`]: the body, read within its limits, and what a gateway decides by of it. The largest
//! body of any model that the caller may know of is read; whether it is too large for the one that it asks is said by the next stage.

use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use quorate_llm::classify::Path;
use quorate_llm::error::Kind;
use quorate_llm::{Api, Call, Fault, classify};

use super::accept::Accepted;
use super::authenticate::Authenticated;
use super::refusal::Refusal;
use crate::authenticate::Caller;

/// A request that is understood, in one place from stage to stage.
pub(super) struct Classified(Box<Understood>);

struct Understood {
    accepted: Accepted,
    caller: Caller,
    call: Call,
    started: Instant,
}

// === impl Classified ===

impl Classified {
    /// The request as the listener accepted it.
    pub(super) fn accepted(&self) -> &Accepted {
        &self.0.accepted
    }

    /// Who calls.
    pub(super) fn caller(&self) -> &Caller {
        &self.0.caller
    }

    /// What is asked.
    pub(super) fn call(&self) -> &Call {
        &self.0.call
    }

    /// When the request came.
    pub(super) fn started(&self) -> Instant {
        self.0.started
    }
}

/// Reads the body and what it asks.
///
/// # Errors
/// [`Refusal`] for a body that cannot be read, or that asks nothing.
pub(super) async fn read(
    authenticated: Authenticated,
    path: &Path<'_>,
    started: Instant,
) -> Result<Classified, Refusal> {
    let (mut accepted, caller) = authenticated.into_parts();
    check_type(&accepted.head.headers)?;
    if path.api == Api::Generate && path.is_streamed {
        check_form(accepted.head.uri.query())?;
    }
    let body = match (accepted.take_body(), accepted.listener()) {
        (Some(body), Some(listener)) => {
            let models = accepted.snapshot.models.iter();
            let models = models.filter(|model| model.is_for(&caller.principal.tenant, &listener.config.tenant));
            let largest = models.map(|model| model.config.limits.body.as_usize()).max();
            let bytes_max = largest.unwrap_or_else(|| listener.config.limits.body.as_usize());
            quorate_http::collect(body, bytes_max, listener.config.limits.receive).await.inspect_err(|error| {
                if let Some(limit) = error.limit() {
                    accepted.snapshot.services.metrics.limit_hit(limit);
                }
            })?
        }
        _ => Bytes::new(),
    };
    let call = classify(path, body).map_err(Refusal::Classify)?;
    Ok(Classified(Box::new(Understood { accepted, caller, call, started })))
}

/// Refuses streams of Gemini's in their other form, an array of JSON that comes in pieces; its libraries ask for events.
fn check_form(query: Option<&str>) -> Result<(), Refusal> {
    if query.unwrap_or_default().split('&').any(|pair| pair == "alt=sse") {
        return Ok(());
    }
    let message = "a stream is served as events: ask for it with ?alt=sse behind :streamGenerateContent";
    Err(Refusal::Classify(Fault::invalid("alt", message)))
}

/// Refuses bodies that say that they are something else than JSON.
fn check_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let refuse = |message: String| Err(Refusal::Classify(Fault::new(Kind::MediaType, message)));
    let encoding = headers.get(CONTENT_ENCODING).map(http::HeaderValue::as_bytes).unwrap_or_default();
    if !encoding.is_empty() && !encoding.eq_ignore_ascii_case(b"identity") {
        return refuse("a body with a content-encoding is not taken: send it as it is".to_owned());
    }
    let given = headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    let media = given.and_then(|given| given.split(';').next()).map(str::trim).unwrap_or_default();
    if media.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let given: String = given.unwrap_or("none").chars().take(64).collect();
    refuse(format!("the content-type has to be application/json, and is {given:?}"))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_stream_of_gemini_is_served_as_events_alone() {
        for (query, is_served) in [
            (Some("alt=sse"), true),
            (Some("key=x&alt=sse"), true),
            (Some("alt=json"), false),
            (Some("x=alt=sse"), false),
            (None, false),
        ] {
            assert_eq!(check_form(query).is_ok(), is_served, "{query:?}");
        }
    }

    #[test]
    fn only_json_as_it_is_can_be_read() {
        let headers = |pairs: &[(http::HeaderName, &'static str)]| -> HeaderMap {
            pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
        };
        for (pairs, is_taken) in [
            (&[(CONTENT_TYPE, "application/json")][..], true),
            (&[(CONTENT_TYPE, "Application/JSON; charset=utf-8")], true),
            (&[(CONTENT_TYPE, "application/json"), (CONTENT_ENCODING, "identity")], true),
            (&[(CONTENT_TYPE, "application/json"), (CONTENT_ENCODING, "gzip")], false),
            (&[(CONTENT_TYPE, "text/plain")], false),
            (&[(CONTENT_TYPE, "application/x-www-form-urlencoded")], false),
            (&[], false),
        ] {
            assert_eq!(check_type(&headers(pairs)).is_ok(), is_taken, "{pairs:?}");
        }
    }
}
