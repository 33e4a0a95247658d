//! One call to a provider, from its key to the first event.
//!
//! Keys that are refused or limited rest, and the next one is tried; that costs the client nothing, since a refused call did nothing.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use quorate_http::BodyError;
use quorate_http::client::{self, Body};
use quorate_http::sse::{EventStream, StreamError};
use quorate_llm::Fault;
use quorate_llm::error::Kind;
use quorate_types::units::format_duration;
use tokio::time::{Instant, timeout_at};

use super::read::{self, Media, Verdict};
use super::{Answer, Ask, Blame, Held, Provider, Refused, Reply};
use crate::clock;

/// The largest refusal that is read.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// How long the body of a refusal may take.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);

/// How many keys one call tries.
const KEYS_TRIED_MAX: usize = 4;

// === impl Provider ===

impl Provider {
    /// Asks it.
    ///
    /// # Errors
    /// [`Refused`] says what its client is told, and whose fault it is.
    pub async fn ask(&self, ask: &Ask<'_>) -> Result<Reply, Refused> {
        let mut tried = Vec::new();
        loop {
            let held = self.hold(ask.model, &tried)?;
            let begun = Instant::now();
            let response = self.send(ask, &held).await?;
            let (status, retry_after) = (response.status(), read::retry_after(response.headers(), clock::now()));
            if status.is_success() {
                let answer = self.answer(ask, response, begun).await?;
                return Ok(Reply { answer, held });
            }
            let refused = refusal(response, retry_after).await;
            let until = match read::verdict(status) {
                Verdict::Good => return Err(refused),
                // The next request may be one that it may do.
                Verdict::Forbidden => clock::now(),
                Verdict::Refused => self.rest(held.key, None, retry_after),
                Verdict::Limited => self.rest(held.key, Some(ask.model), retry_after),
            };
            let rests_for = format_duration(until.since(clock::now()));
            tracing::warn!(provider = %self.name(), key = held.key, status = status.as_u16(), rests_for, "a provider refused a key");
            tried.push(held.key);
            if tried.len() >= KEYS_TRIED_MAX.min(self.inner.shown.len()) {
                return Err(match refused.blame {
                    Blame::Load { .. } => refused.until(self.back(ask.model)),
                    _ => refused,
                });
            }
        }
    }

    async fn send(&self, ask: &Ask<'_>, held: &Held) -> Result<Response<Body>, Refused> {
        let shown = &self.inner.shown[held.key];
        let proof = shown.proof(ask.until).await;
        let proof = proof.map_err(|_| Refused::of(StatusCode::UNAUTHORIZED, &[], None))?;
        let mut request = Request::new(Full::new(ask.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri(ask.path)?;
        let headers = request.headers_mut();
        headers.extend(ask.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, accepted(ask.is_streamed));
        shown.add(&proof, headers);
        let left = ask.until.saturating_duration_since(Instant::now());
        // A whole answer begins when it is made.
        let patience = if ask.is_streamed { self.inner.limits.first_token.min(left) } else { left };
        self.inner.client.send_patiently(request, patience).await.map_err(|error| {
            tracing::debug!(provider = %self.name(), %error, "a provider did not answer");
            unsent(&error)
        })
    }

    /// The whole answer, or its first event.
    async fn answer(&self, ask: &Ask<'_>, response: Response<Body>, begun: Instant) -> Result<Answer, Refused> {
        let limits = &self.inner.limits;
        let patience = (begun + limits.first_token).min(ask.until);
        let (head, body) = response.into_parts();
        match (read::media(&head.headers), ask.is_streamed) {
            (Media::Json, false) => whole(body, limits.answer_bytes_max, ask.until).await.map(Answer::Whole),
            // Some servers do not stream. It begins no later for that.
            (Media::Json, true) => whole(body, limits.answer_bytes_max, patience).await.map(Answer::Whole),
            (Media::Events, true) => {
                let mut events = EventStream::new(body, limits.event_bytes_max);
                match timeout_at(patience, events.next()).await {
                    Ok(Some(Ok(event))) => Ok(Answer::Events(event, events)),
                    Ok(Some(Err(StreamError::TooLarge(_)))) => {
                        Err(too_large("an event of the provider's answer", limits.event_bytes_max))
                    }
                    Ok(Some(Err(StreamError::Broken(_))) | None) => {
                        Err(Refused::broken("the provider's answer ended before it began"))
                    }
                    Err(_) => Err(late(limits.first_token)),
                }
            }
            (Media::Events, false) | (Media::Other, _) => {
                Err(Refused::broken("the provider answered with something that is no answer of its API"))
            }
        }
    }
}

fn accepted(is_streamed: bool) -> HeaderValue {
    HeaderValue::from_static(if is_streamed { "text/event-stream, application/json" } else { "application/json" })
}

async fn whole(body: Body, bytes_max: usize, until: Instant) -> Result<Bytes, Refused> {
    let patience = until.saturating_duration_since(Instant::now());
    match quorate_http::collect(body, bytes_max, patience).await {
        Ok(bytes) => Ok(bytes),
        Err(BodyError::TooLarge { .. }) => Err(too_large("the provider's answer", bytes_max)),
        Err(BodyError::Broken(_)) => Err(Refused::broken("the provider's answer broke off")),
        Err(BodyError::Timeout { .. }) => Err(late(Duration::ZERO)),
    }
}

/// What a refusal says, as far as it can be read.
async fn refusal(response: Response<Body>, retry_after: Option<Duration>) -> Refused {
    let (head, body) = response.into_parts();
    let body = quorate_http::collect(body, REFUSAL_BYTES_MAX, REFUSAL_TIMEOUT).await.unwrap_or_default();
    Refused::of(head.status, &body, retry_after)
}

/// Why a request got no answer, without the address of anybody.
fn unsent(error: &client::Error) -> Refused {
    let (kind, message) = match error {
        client::Error::Timeout { timeout } | client::Error::ConnectTimeout { timeout } => {
            return late(*timeout);
        }
        client::Error::Connect(_) | client::Error::Refused(_) => (Kind::Unavailable, "the provider cannot be reached"),
        client::Error::Unsendable(_) => (Kind::Internal, "the request cannot be sent to the provider"),
        client::Error::Broken(_) => (Kind::Provider, "the connection to the provider broke before its answer"),
    };
    Refused { fault: Fault::new(kind, message), blame: Blame::Provider }
}

fn late(patience: Duration) -> Refused {
    let message = match patience {
        Duration::ZERO => "the provider did not answer in time".to_owned(),
        patience => format!("the provider did not answer within {}", format_duration(patience)),
    };
    Refused { fault: Fault::new(Kind::Timeout, message), blame: Blame::Provider }
}

fn too_large(what: &str, bytes_max: usize) -> Refused {
    Refused::broken(&format!("{what} has more than {bytes_max} bytes"))
}
