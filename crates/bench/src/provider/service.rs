//! Answers a request: finds what it is for, reads its plan, and does what the plan says.
//!
//! In: requests. Out: responses, whose bodies are scripts. What the providers refuse is refused in their shapes: a wrong path, no key,
//! a body without what must be there. Keeps nothing but the ledger and a number that makes ids differ.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName};
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;

use super::asked::Asked;
use super::body::{Body, Closed};
use super::event::Event;
use super::ledger::Ledger;
use super::option::PlanError;
use super::plan::{Failure, Fault, Plan};
use super::route::{Api, Family, Place, Route};
use super::said::{Cost, Said};
use super::script::{self, Script};
use super::wire::Line;
use super::{chat, embed, generate, messages, refusal, responses};

/// Largest request that is read: 32 MiB, as Anthropic documents.
const REQUEST_BYTES_MAX: usize = 32 << 20;
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const ANTHROPIC_VERSION: HeaderName = HeaderName::from_static("anthropic-version");
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Headers that show a key as it is.
const KEY_HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
];

/// The provider.
pub(super) struct Provider {
    keys: Vec<String>,
    serial: AtomicU64,
    ledger: Arc<Ledger>,
}

/// Why a request is refused.
struct Refused {
    family: Family,
    status: u16,
    message: String,
}

/// What is answered.
struct Answer {
    status: u16,
    kind: HeaderValue,
    family: Family,
    plan: Plan,
    script: Script,
    is_stream: bool,
}

// === impl Provider ===

impl Provider {
    /// One that takes these keys; any, when there are none.
    pub(super) fn new(keys: Vec<String>) -> Self {
        let ledger = Arc::new(Ledger::new(keys.len()));
        Self { keys, serial: AtomicU64::new(1), ledger }
    }

    /// Answers.
    ///
    /// # Errors
    /// [`Closed`] when the connection is to be closed instead.
    pub(super) async fn answer(&self, request: Request<Incoming>, line: &Arc<Line>) -> Result<Response<Body>, Closed> {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        let place = Place::find(&head.method, path, head.uri.query());
        match place {
            Ok(Place::Ledger) => return Ok(self.page(line, self.ledger.tell())),
            Ok(Place::Reset) => {
                self.ledger.reset();
                return Ok(self.page(line, self.ledger.tell()));
            }
            Ok(Place::Call(_) | Place::Models(_)) | Err(_) => {}
        }
        let open = self.ledger.open();
        self.ledger.path(path);
        let answer = match self.judge(&head, body, place).await {
            Ok(answer) => answer,
            Err(refused) => refused.into(),
        };
        if !answer.plan.head.is_zero() {
            tokio::time::sleep(answer.plan.head).await;
        }
        if answer.plan.fault == Some(Fault::CutHead) {
            open.closed();
            return Err(Closed);
        }
        if answer.plan.wire.slow_headers && head.version < Version::HTTP_2 {
            line.slow_down();
        }
        let response = self.respond(answer, line);
        open.answered(response.status());
        Ok(response)
    }

    async fn judge(&self, head: &Parts, body: Incoming, place: Result<Place, Family>) -> Result<Answer, Refused> {
        let route = match place {
            Ok(Place::Call(route)) => route,
            Ok(Place::Models(family)) => {
                // All three have a list at `/v1/models`: what else a request says tells whose it is.
                let family = match family {
                    Family::OpenAi if head.headers.contains_key(ANTHROPIC_VERSION) => Family::Anthropic,
                    Family::OpenAi if head.headers.contains_key(&KEY_HEADERS[2]) => Family::Gemini,
                    Family::OpenAi | Family::Anthropic | Family::Gemini => family,
                };
                self.check_key(head, family)?;
                return Ok(Answer::whole(200, family, Plan::default(), embed::models(family).into()));
            }
            Ok(Place::Ledger | Place::Reset) | Err(Family::OpenAi) => {
                return Err(Refused::new(
                    Family::OpenAi,
                    404,
                    format!("Invalid URL ({} {})", head.method, head.uri.path()),
                ));
            }
            Err(family) => return Err(Refused::new(family, 404, "Not Found")),
        };
        let family = route.api.family();
        self.check_key(head, family)?;
        if family == Family::Anthropic && !head.headers.contains_key(ANTHROPIC_VERSION) {
            return Err(Refused::new(family, 400, "anthropic-version: header is required"));
        }
        let body = Limited::new(body, REQUEST_BYTES_MAX).collect().await.map_err(|error| {
            let (status, message) = match error.downcast_ref::<LengthLimitError>() {
                Some(_) => (413, "Request exceeds the maximum size of 32 MiB"),
                None => (400, "the body of the request broke off"),
            };
            Refused::new(family, status, message)
        })?;
        self.call(head, &route, &body.to_bytes())
    }

    /// Answers a request for a model.
    fn call(&self, head: &Parts, route: &Route, body: &Bytes) -> Result<Answer, Refused> {
        let family = route.api.family();
        let invalid = |message: String| Refused::new(family, 400, message);
        let asked = Asked::read(route.api, body).map_err(invalid)?;
        let model = route.model.as_deref().or(asked.model.as_deref()).filter(|model| !model.is_empty());
        let model = model.ok_or_else(|| invalid("you must provide a model parameter".to_owned()))?;
        let plan = Plan::parse(model);
        // Also what cannot be answered is told, unless its name is too long to keep.
        let is_kept = plan != Err(PlanError::Length);
        let count = is_kept.then(|| self.ledger.model(model, head.uri.path(), &head.headers, body)).flatten();
        let plan = plan.map_err(|error| invalid(error.to_string()))?;
        if let Some(Failure { status, times }) = plan.failure {
            let fails = match times {
                None => true,
                Some(times) => {
                    count.ok_or_else(|| invalid("too many models to count: POST /ledger/reset".to_owned()))? <= times
                }
            };
            if fails {
                let text = refusal::body(family, status, &format!("the plan says {status}"), plan.retry);
                return Ok(Answer::whole(status, family, plan, text.into()));
            }
        }
        match plan.fault {
            Some(Fault::Html) => return Ok(Answer::page(200, family, plan)),
            Some(Fault::ErrorHtml) => return Ok(Answer::page(502, family, plan)),
            Some(Fault::WrongJson | Fault::WrongShape | Fault::NotUtf8 | Fault::CutHead) | None => {}
        }
        let is_streamed = route.is_streamed || asked.is_streamed && route.api != Api::Embeddings;
        let text = match route.api {
            Api::CountTokens => {
                let tokens = Cost::new(&plan.content, asked.input_bytes(), 0).map_or(0, |cost| cost.input);
                format!(r#"{{"input_tokens":{tokens}}}"#)
            }
            Api::Embeddings => {
                let cost = Cost::new(&plan.content, asked.input_bytes(), 0);
                embed::vectors(&asked, model, cost).map_err(invalid)?
            }
            Api::Chat | Api::Responses | Api::Messages | Api::Generate => {
                let said = self.said(&plan, &asked, model);
                if is_streamed && !plan.wire.whole {
                    let mut events = stream_of(&said, &asked);
                    if route.is_azure {
                        events.insert(0, chat::azure_opening());
                    }
                    return Ok(Answer::stream(route, events, plan));
                }
                whole_of(&said, &asked)
            }
        };
        let text = script::broken(text, plan.fault);
        Ok(Answer::whole(200, family, plan, text))
    }

    fn said(&self, plan: &Plan, asked: &Asked<'_>, model: &str) -> Said {
        let mut said = Said::new(&plan.content, asked, model);
        said.serial = self.serial.fetch_add(1, Ordering::Relaxed);
        said.created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        said
    }

    fn check_key(&self, head: &Parts, family: Family) -> Result<(), Refused> {
        if self.keys.is_empty() {
            return Ok(());
        }
        let shown = shown_key(head);
        match self.keys.iter().position(|key| shown.as_deref() == Some(key)) {
            Some(number) => {
                self.ledger.key(number);
                Ok(())
            }
            None => Err(Refused::new(
                family,
                401,
                match family {
                    Family::OpenAi => "Incorrect API key provided.",
                    Family::Anthropic => "invalid x-api-key",
                    Family::Gemini => "API key not valid. Please pass a valid API key.",
                },
            )),
        }
    }

    fn respond(&self, answer: Answer, line: &Arc<Line>) -> Response<Body> {
        let retry = answer.plan.retry.filter(|_| answer.status >= 400);
        let mut response = Response::new(Body::new(answer.script, answer.is_stream, line, &self.ledger));
        *response.status_mut() = StatusCode::from_u16(answer.status).expect("a plan has statuses");
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, answer.kind);
        refusal::say_retry(headers, retry);
        let id = HeaderValue::try_from(format!("req_mock{}", self.serial.load(Ordering::Relaxed)));
        let id = id.expect("letters and digits are a header value");
        match answer.family {
            Family::OpenAi => drop(headers.insert(X_REQUEST_ID, id)),
            Family::Anthropic => drop(headers.insert(REQUEST_ID, id)),
            Family::Gemini => {}
        }
        response
    }

    /// A page about the provider itself.
    fn page(&self, line: &Arc<Line>, text: String) -> Response<Body> {
        let script = script::whole(text.into(), &Plan::default());
        // In a ledger of its own: looking is not counted.
        let mut response = Response::new(Body::new(script, false, line, &Arc::new(Ledger::new(0))));
        response.headers_mut().insert(CONTENT_TYPE, JSON);
        response
    }
}

// === impl Refused ===

impl Refused {
    fn new(family: Family, status: u16, message: impl Into<String>) -> Self {
        Self { family, status, message: message.into() }
    }
}

// === impl Answer ===

impl Answer {
    fn whole(status: u16, family: Family, plan: Plan, text: Bytes) -> Self {
        let script = script::whole(text, &plan);
        Self { status, kind: JSON, family, plan, script, is_stream: false }
    }

    fn page(status: u16, family: Family, plan: Plan) -> Self {
        let page = Bytes::from_static(refusal::PAGE.as_bytes());
        Self { kind: HTML, ..Self::whole(status, family, plan, page) }
    }

    fn stream(route: &Route, events: Vec<Event>, plan: Plan) -> Self {
        let script = script::stream(route.api, route.has_events, events, &plan);
        let kind = if route.has_events { EVENTS } else { JSON };
        Self { status: 200, kind, family: route.api.family(), plan, script, is_stream: true }
    }
}

impl From<Refused> for Answer {
    fn from(refused: Refused) -> Self {
        let text = refusal::body(refused.family, refused.status, &refused.message, None);
        Self::whole(refused.status, refused.family, Plan::default(), text.into())
    }
}

fn whole_of(said: &Said, asked: &Asked<'_>) -> String {
    match asked.api {
        Api::Responses => responses::whole(said, asked),
        Api::Messages | Api::CountTokens => messages::whole(said),
        Api::Generate => generate::whole(said),
        Api::Chat | Api::Embeddings => chat::whole(said),
    }
}

fn stream_of(said: &Said, asked: &Asked<'_>) -> Vec<Event> {
    match asked.api {
        Api::Responses => responses::events(said, asked),
        Api::Messages | Api::CountTokens => messages::events(said),
        Api::Generate => generate::events(said),
        Api::Chat | Api::Embeddings => chat::events(said, asked.wants_usage),
    }
}

/// The key of a request, wherever it shows one.
fn shown_key(head: &Parts) -> Option<String> {
    let bearer = head.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let own = || KEY_HEADERS.iter().find_map(|name| head.headers.get(name)?.to_str().ok());
    if let Some(key) = bearer.or_else(own) {
        return Some(key.to_owned());
    }
    let key = head.uri.query()?.split('&').find_map(|pair| pair.strip_prefix("key="))?;
    Some(percent_decode_str(key).decode_utf8_lossy().into_owned())
}
