//! Stage 9: write the HTTP response.
//!
//! In: what was dispatched, or why some stage refused. Out: the response. The one place that
//! turns errors of all stages into HTTP statuses and JSON-RPC errors, and that counts refusals by
//! stage and reason. Texts are for the people who operate the client: they say what is allowed.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW, CACHE_CONTROL, CONTENT_TYPE, LOCATION, ORIGIN,
    RETRY_AFTER, VARY, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use quorate_http::{BodyError, ResponseBody, sse};
use quorate_jsonrpc::{Id, build};
use quorate_mcp::error::{INVALID_REQUEST, LIMIT_EXCEEDED, PERMISSION_DENIED, UNAUTHENTICATED, UNAVAILABLE};
use quorate_mcp::{Era, Fault, Rejected, header};
use quorate_runtime::session::Refused;
use quorate_runtime::shard;
use quorate_session::Rejection;
use quorate_telemetry::Metrics;
use quorate_types::Code;

use crate::dispatch::Dispatched;
use crate::protected::{self, Challenge, Public};
use crate::{admit, authenticate, authorize, classify, dispatch, listener};

/// A request that some stage refused.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Stage 1.
    #[error(transparent)]
    Listener(#[from] listener::Error),
    /// Stage 2.
    #[error("{}", .0.error.told())]
    Authenticate(Box<authenticate::Unknown>),
    /// Stage 3.
    #[error(transparent)]
    Classify(#[from] classify::Error),
    /// Stage 4.
    #[error("{error}")]
    Authorize {
        /// The request's id.
        id: Option<Id>,
        /// Why.
        error: authorize::Error,
    },
    /// Stage 5.
    #[error("{0}")]
    Route(Rejected),
    /// Stage 6.
    #[error("{error}")]
    Admit {
        /// The request's id.
        id: Option<Id>,
        /// Why.
        error: admit::Error,
    },
    /// Stage 8.
    #[error(transparent)]
    Dispatch(#[from] dispatch::Error),
    /// Nobody owns the session now.
    #[error("the session has no owner now: its shard elects one, or the cluster has no quorum; try again")]
    Nobody {
        /// The request's id.
        id: Option<Id>,
    },
    /// The request took longer than the listener allows.
    #[error("no answer within the listener's time for a request (spec.limits.total)")]
    Timeout {
        /// The request's id.
        id: Option<Id>,
    },
}

/// Seconds that a client is asked to wait after it was shed.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");
/// The header that names the development identity.
pub const IDENTITY: HeaderName = HeaderName::from_static("quorate-identity");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");

/// Writes the response of an answer that has begun.
#[must_use]
pub fn write(dispatched: Dispatched) -> Response<ResponseBody> {
    match dispatched {
        Dispatched::Json { status, body } => json(status, body),
        Dispatched::Opened { session, body } => {
            let mut response = json(StatusCode::OK, body);
            if let Ok(id) = HeaderValue::from_str(&session) {
                response.headers_mut().insert(header::SESSION_ID, id);
            }
            response
        }
        Dispatched::Connected { connection, standing } => {
            events(sse::Events::stream(standing.bound(connection), sse::KEEP_ALIVE))
        }
        Dispatched::ConnectedSse { endpoint, connection, standing } => {
            let all = stream::once(std::future::ready(posting_address(endpoint))).chain(standing.bound(connection));
            events(sse::Events::stream(all, sse::KEEP_ALIVE))
        }
        Dispatched::Ridden { endpoint: None, ride, standing } => {
            events(sse::Events::stream(standing.bound(ride.events()), sse::KEEP_ALIVE))
        }
        Dispatched::Ridden { endpoint: Some(endpoint), ride, standing } => {
            let all = stream::once(std::future::ready(posting_address(endpoint))).chain(standing.bound(ride.events()));
            events(sse::Events::stream(all, sse::KEEP_ALIVE))
        }
        Dispatched::Relayed(response) => response,
        Dispatched::Events(body) => events(body),
        Dispatched::Nothing => events(sse::Events::stream(stream::empty(), sse::KEEP_ALIVE)),
        Dispatched::Accepted => empty(StatusCode::ACCEPTED),
        Dispatched::Ended => empty(StatusCode::OK),
    }
}

/// The first event of an HTTP+SSE session: the address to post to.
pub(crate) fn posting_address(endpoint: String) -> sse::Event {
    let name = sse::Line::new("endpoint").expect("the word is one line");
    sse::Event::new(endpoint.into_bytes()).with_name(name)
}

/// Writes the response of a refused request, and counts it.
#[must_use]
pub fn refuse(refusal: &Refusal, metrics: &Metrics) -> Response<ResponseBody> {
    let (stage, reason) = refusal.label();
    metrics.rejected(stage, reason);
    let (status, body) = refusal.answer();
    let mut response = json(status, body);
    refusal.add_headers(response.headers_mut());
    response
}

/// Writes what anybody is told of a toolset.
#[must_use]
pub(crate) fn public(public: Public) -> Response<ResponseBody> {
    match public {
        Public::Metadata(body) => {
            let mut response = json(StatusCode::OK, body);
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("max-age=300"));
            response
        }
        Public::Elsewhere(location) => {
            let mut response = empty(StatusCode::TEMPORARY_REDIRECT);
            response.headers_mut().insert(LOCATION, location);
            response
        }
    }
}

/// Names the development identity, which this response was made for.
pub(crate) fn name_development(response: &mut Response<ResponseBody>) {
    response.headers_mut().insert(IDENTITY, HeaderValue::from_static(authenticate::DEVELOPMENT_AGENT));
}

/// Writes the response to a cross-origin preflight.
#[must_use]
pub fn preflight(allowed: &'static str) -> Response<ResponseBody> {
    let mut response = empty(StatusCode::NO_CONTENT);
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(allowed));
    // All that MCP clients send; `Mcp-Param-*` names are open, and the wildcard covers them.
    let names = "authorization, x-api-key, content-type, accept, last-event-id, mcp-protocol-version, mcp-session-id, mcp-method, mcp-name, traceparent, tracestate, *";
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(names));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

/// Lets the page of an allowed origin read the response.
pub fn allow_origin(request: &HeaderMap, response: &mut Response<ResponseBody>) {
    if let Some(origin) = request.get(ORIGIN) {
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(
            ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static(
                "mcp-session-id, quorate-identity, www-authenticate, retry-after, retry-after-ms, age, quorate-cache, quorate-left-out",
            ),
        );
        headers.append(VARY, HeaderValue::from_static("origin"));
    }
}

// === impl Refusal ===

impl Refusal {
    /// The stage and the reason, as metrics have them.
    #[must_use]
    pub fn label(&self) -> (&'static str, &'static str) {
        match self {
            Self::Listener(error) => ("listener", error.reason()),
            Self::Authenticate(unknown) => ("authenticate", unknown.error.reason()),
            Self::Classify(classify::Error::Session(unknown)) => ("classify", unknown.reason.as_str()),
            Self::Classify(classify::Error::Rejected(rejected)) => ("classify", rejected.fault.class().as_str()),
            Self::Classify(classify::Error::Body(BodyError::TooLarge { .. })) => ("classify", "body_too_large"),
            Self::Classify(classify::Error::Body(BodyError::Timeout { .. })) => ("classify", "body_timeout"),
            Self::Classify(classify::Error::Body(BodyError::Broken(_))) => ("classify", "body_broken"),
            Self::Classify(classify::Error::NotStreamable) => ("classify", "no_session"),
            Self::Authorize { error: authorize::Error::Denied(_), .. } => ("authorize", "denied"),
            Self::Authorize { error: authorize::Error::Elsewhere(_), .. } => ("authorize", "other_tenant"),
            Self::Authorize { error: authorize::Error::Nowhere(rejected), .. } | Self::Route(rejected) => {
                ("route", rejected.fault.class().as_str())
            }
            Self::Admit { .. } => ("admit", "concurrency"),
            Self::Dispatch(error) => ("dispatch", error.class().as_str()),
            Self::Timeout { .. } => ("dispatch", "timeout"),
            Self::Nobody { .. } => ("relay", "nobody"),
        }
    }

    /// The HTTP status and the JSON-RPC error that say so.
    #[must_use]
    pub fn answer(&self) -> (StatusCode, Bytes) {
        match self {
            Self::Classify(classify::Error::Rejected(rejected))
            | Self::Authorize { error: authorize::Error::Nowhere(rejected), .. }
            | Self::Route(rejected)
            | Self::Dispatch(dispatch::Error::Rejected(rejected)) => (rejected.status(), rejected.body()),
            Self::Classify(classify::Error::Session(unknown)) => {
                let rejected = Rejected { era: Era::Legacy, id: unknown.id.clone(), fault: Fault::SessionUnknown };
                (rejected.status(), rejected.body())
            }
            other => {
                let (status, code) = other.status();
                (status, build::error(other.id(), code, &other.to_string(), None))
            }
        }
    }

    fn id(&self) -> Option<&Id> {
        match self {
            // As of a toolset that nobody has.
            Self::Authorize { error: authorize::Error::Elsewhere(_), .. } => None,
            Self::Authorize { id, .. } | Self::Admit { id, .. } | Self::Timeout { id } | Self::Nobody { id } => {
                id.as_ref()
            }
            Self::Dispatch(dispatch::Error::Session { id, .. }) => id.as_ref(),
            _ => None,
        }
    }

    fn status(&self) -> (StatusCode, i64) {
        match self {
            Self::Listener(error) => (error.status(), INVALID_REQUEST),
            Self::Authenticate(unknown) => match unknown.error.code() {
                Code::InvalidArgument => (StatusCode::BAD_REQUEST, INVALID_REQUEST),
                Code::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE),
                _ => (StatusCode::UNAUTHORIZED, UNAUTHENTICATED),
            },
            Self::Authorize { error: authorize::Error::Elsewhere(_), .. } => (StatusCode::NOT_FOUND, INVALID_REQUEST),
            Self::Authorize { .. } => (StatusCode::FORBIDDEN, PERMISSION_DENIED),
            Self::Classify(classify::Error::Body(BodyError::TooLarge { .. })) => {
                (StatusCode::PAYLOAD_TOO_LARGE, INVALID_REQUEST)
            }
            Self::Classify(classify::Error::Body(BodyError::Timeout { .. })) => {
                (StatusCode::REQUEST_TIMEOUT, INVALID_REQUEST)
            }
            Self::Classify(classify::Error::NotStreamable) => (StatusCode::METHOD_NOT_ALLOWED, INVALID_REQUEST),
            // The caller's own doing, and not for another node to take.
            Self::Dispatch(dispatch::Error::Open(shard::Error::TooManyOfPrincipal { .. })) => {
                (StatusCode::TOO_MANY_REQUESTS, LIMIT_EXCEEDED)
            }
            Self::Admit { .. } | Self::Dispatch(dispatch::Error::Open(_)) => {
                (StatusCode::SERVICE_UNAVAILABLE, LIMIT_EXCEEDED)
            }
            Self::Dispatch(dispatch::Error::Elsewhere { .. }) | Self::Nobody { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE)
            }
            Self::Dispatch(dispatch::Error::Session { refused, .. }) => of_refused(refused),
            Self::Timeout { .. } => (StatusCode::GATEWAY_TIMEOUT, quorate_mcp::error::DEADLINE_EXCEEDED),
            Self::Classify(_) | Self::Route(_) | Self::Dispatch(_) => (StatusCode::BAD_REQUEST, INVALID_REQUEST),
        }
    }

    fn add_headers(&self, headers: &mut HeaderMap) {
        match self {
            Self::Listener(listener::Error::Method { allowed, .. }) => {
                headers.insert(ALLOW, HeaderValue::from_static(allowed));
            }
            Self::Classify(classify::Error::NotStreamable) => {
                headers.insert(ALLOW, HeaderValue::from_static("POST"));
            }
            Self::Authenticate(unknown) => match unknown.error.code() {
                Code::Unavailable => drop(headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS)),
                code => {
                    let why = match (code, unknown.error.is_about_credentials()) {
                        (Code::InvalidArgument, _) => Challenge::InvalidRequest,
                        (_, true) => Challenge::InvalidToken,
                        (_, false) => Challenge::Unknown,
                    };
                    headers.insert(WWW_AUTHENTICATE, protected::challenge(unknown.accepted.site(), why));
                }
            },
            Self::Authorize { error: authorize::Error::Denied(denied), .. } => {
                headers.extend(denied.challenge.clone().map(|challenge| (WWW_AUTHENTICATE, challenge)));
            }
            Self::Admit { .. }
            | Self::Nobody { .. }
            | Self::Dispatch(dispatch::Error::Open(_) | dispatch::Error::Elsewhere { .. }) => {
                headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
            }
            Self::Dispatch(dispatch::Error::Rejected(rejected))
                if rejected.fault.class() == Code::ResourceExhausted =>
            {
                headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
            }
            _ => {}
        }
    }
}

fn of_refused(refused: &Refused) -> (StatusCode, i64) {
    let status = match refused {
        Refused::Gone(_) | Refused::Rejected(Rejection::Ended) => StatusCode::NOT_FOUND,
        Refused::Moved | Refused::Rested => StatusCode::SERVICE_UNAVAILABLE,
        // The one status after which clients stop asking for a stream that is complete.
        Refused::Rejected(Rejection::StreamFinished { .. }) => StatusCode::METHOD_NOT_ALLOWED,
        Refused::Rejected(Rejection::LimitReached { .. }) => StatusCode::TOO_MANY_REQUESTS,
        Refused::Rejected(
            Rejection::StreamUnknown { .. } | Rejection::BeyondRetention { .. } | Rejection::EventUnknown { .. },
        ) => StatusCode::BAD_REQUEST,
        Refused::Rejected(_) => StatusCode::BAD_REQUEST,
    };
    let code = match refused {
        Refused::Rejected(Rejection::LimitReached { .. }) => LIMIT_EXCEEDED,
        Refused::Moved | Refused::Rested => UNAVAILABLE,
        Refused::Gone(_) | Refused::Rejected(_) => INVALID_REQUEST,
    };
    (status, code)
}

fn json(status: StatusCode, body: Bytes) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::Full(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

fn events(events: sse::Events) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::Events(events));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, EVENT_STREAM);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert(header::ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}

fn empty(status: StatusCode) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::Empty);
    *response.status_mut() = status;
    response
}
