//! What goes wrong with a call of a model, and what each client's SDK raises for it.
//!
//! In: a fault of ours, or the status and body with which a provider refused. Out: a [`Fault`], and its status and body in the shape
//! of the client's API, by which its SDK raises the class that it documents. A provider's words are passed on where they are about the
//! request, and never where they are about its own credentials or machines.
//!
//! OpenAI: `{"error":{"message","type","param","code"}}`. Anthropic: `{"type":"error","error":{"type","message"}}`. Gemini:
//! `{"error":{"code","message","status"}}` (google.rpc.Status).

use std::time::Duration;

use http::StatusCode;
use quorate_jsonrpc::{pick, quote, text};

use crate::api::Family;

/// Most characters of a provider's words that are passed on.
const MESSAGE_CHARS_MAX: usize = 1_000;

/// A call that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// What kind.
    pub kind: Kind,
    /// For a person.
    pub message: String,
    /// The field of the request that it is about, such as `messages[3].content`.
    pub field: Option<String>,
    /// When to ask again, where it is known.
    pub retry_after: Option<Duration>,
}

/// What kind of fault, as far as a client or the gateway does something different about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request cannot be answered as it is.
    Invalid,
    /// It has more tokens than the model takes.
    ContextLength,
    /// The caller is not known.
    Unauthenticated,
    /// The caller may not.
    Denied,
    /// There is no such model, or no such path.
    NotFound,
    /// The request has more bytes than are taken.
    TooLarge,
    /// The body has no type that is taken.
    MediaType,
    /// Too much is asked at once.
    RateLimited,
    /// The provider has too much to do.
    Overloaded,
    /// Nobody answered in time.
    Timeout,
    /// The provider failed, or said what cannot be understood.
    Provider,
    /// Nobody can answer now.
    Unavailable,
    /// The gateway failed.
    Internal,
}

/// How a kind is told.
struct Told {
    status: u16,
    openai: (&'static str, Option<&'static str>),
    anthropic: &'static str,
    gemini: &'static str,
}

// === impl Kind ===

impl Kind {
    const fn told(self) -> Told {
        const fn told(
            status: u16,
            openai: (&'static str, Option<&'static str>),
            anthropic: &'static str,
            gemini: &'static str,
        ) -> Told {
            Told { status, openai, anthropic, gemini }
        }
        let invalid = "invalid_request_error";
        match self {
            Self::Invalid => told(400, (invalid, None), invalid, "INVALID_ARGUMENT"),
            Self::ContextLength => told(400, (invalid, Some("context_length_exceeded")), invalid, "INVALID_ARGUMENT"),
            Self::Unauthenticated => {
                told(401, (invalid, Some("invalid_api_key")), "authentication_error", "UNAUTHENTICATED")
            }
            Self::Denied => told(403, (invalid, Some("permission_denied")), "permission_error", "PERMISSION_DENIED"),
            Self::NotFound => told(404, (invalid, Some("model_not_found")), "not_found_error", "NOT_FOUND"),
            Self::TooLarge => told(413, (invalid, Some("request_too_large")), "request_too_large", "INVALID_ARGUMENT"),
            Self::MediaType => told(415, (invalid, Some("unsupported_media_type")), invalid, "INVALID_ARGUMENT"),
            Self::RateLimited => {
                told(429, ("rate_limit_error", Some("rate_limit_exceeded")), "rate_limit_error", "RESOURCE_EXHAUSTED")
            }
            Self::Overloaded => told(503, ("server_error", Some("overloaded")), "overloaded_error", "UNAVAILABLE"),
            Self::Timeout => told(504, ("server_error", Some("timeout")), "timeout_error", "DEADLINE_EXCEEDED"),
            Self::Provider => told(502, ("server_error", Some("provider_error")), "api_error", "INTERNAL"),
            Self::Unavailable => told(503, ("server_error", Some("unavailable")), "api_error", "UNAVAILABLE"),
            Self::Internal => told(500, ("server_error", None), "api_error", "INTERNAL"),
        }
    }

    /// The HTTP status of an answer that says it.
    #[must_use]
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.told().status).expect("the table has statuses")
    }

    /// The name under which metrics count it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::ContextLength => "context_length",
            Self::Unauthenticated => "unauthenticated",
            Self::Denied => "denied",
            Self::NotFound => "not_found",
            Self::TooLarge => "too_large",
            Self::MediaType => "media_type",
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::Timeout => "timeout",
            Self::Provider => "provider",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    /// Whether another target, or the same one later, may well answer the same request.
    #[must_use]
    pub const fn may_pass(self) -> bool {
        match self {
            Self::RateLimited
            | Self::Overloaded
            | Self::Timeout
            | Self::Provider
            | Self::Unavailable
            | Self::Internal => true,
            Self::Invalid
            | Self::ContextLength
            | Self::Unauthenticated
            | Self::Denied
            | Self::NotFound
            | Self::TooLarge
            | Self::MediaType => false,
        }
    }
}

// === impl Fault ===

impl Fault {
    /// A fault of a kind.
    #[must_use]
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), field: None, retry_after: None }
    }

    /// A field of the request that cannot be as it is.
    #[must_use]
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..Self::new(Kind::Invalid, message) }
    }

    /// The body of the answer that says it, in the shape of a client's API.
    #[must_use]
    pub fn body(&self, family: Family) -> String {
        let (told, message) = (self.kind.told(), quote(&self.message));
        match family {
            Family::OpenAi => {
                let (kind, code) = told.openai;
                let optional = |text: Option<&str>| text.map_or_else(|| "null".to_owned(), quote);
                format!(
                    r#"{{"error":{{"message":{message},"type":"{kind}","param":{},"code":{}}}}}"#,
                    optional(self.field.as_deref()),
                    optional(code)
                )
            }
            Family::Anthropic => {
                format!(r#"{{"type":"error","error":{{"type":"{}","message":{message}}}}}"#, told.anthropic)
            }
            Family::Gemini => {
                format!(
                    r#"{{"error":{{"code":{},"message":{message},"status":"{}"}}}}"#,
                    self.kind.status().as_u16(),
                    told.gemini
                )
            }
        }
    }

    /// Reads the refusal of a provider, whatever shape its body has.
    #[must_use]
    pub fn of_provider(status: StatusCode, body: &[u8], retry_after: Option<Duration>) -> Self {
        let said = std::str::from_utf8(body).ok().and_then(Said::read);
        let kind = kind_of(status, said.as_ref());
        let message = match kind {
            // What is told of the gateway's own credentials and the provider's machines is nobody else's.
            Kind::Provider if matches!(status.as_u16(), 401..=403) => {
                "the provider does not take the gateway's credentials".to_owned()
            }
            Kind::Invalid | Kind::ContextLength | Kind::NotFound | Kind::TooLarge => {
                let own = said.as_ref().map(|said| said.message.as_str()).filter(|message| !message.is_empty());
                own.map_or_else(|| format!("the provider refused the request with status {}", status.as_u16()), clean)
            }
            Kind::RateLimited => "the provider's rate limit is reached".to_owned(),
            Kind::Overloaded => "the provider has too much to do".to_owned(),
            Kind::Timeout => "the provider did not answer in time".to_owned(),
            Kind::Unauthenticated
            | Kind::Denied
            | Kind::MediaType
            | Kind::Provider
            | Kind::Unavailable
            | Kind::Internal => format!("the provider failed with status {}", status.as_u16()),
        };
        let field = said.and_then(|said| said.field).filter(|_| !kind.may_pass());
        Self { kind, message, field, retry_after }
    }
}

/// What a provider says in any of the shapes.
struct Said {
    message: String,
    /// `error.type`, `error.code` or `error.status`.
    names: Vec<String>,
    field: Option<String>,
}

// === impl Said ===

impl Said {
    fn read(body: &str) -> Option<Self> {
        let string =
            |span: Option<quorate_jsonrpc::Span>| span.and_then(|span| Some(text(span.of(body))?.into_owned()));
        let [error, message, detail, code] = pick(body, 0, ["error", "message", "detail", "code"]).ok()?;
        let Some(error) = error else {
            // vLLM and FastAPI say it flat, and so do streams of responses.
            let names = string(code).into_iter().collect();
            return Some(Self { message: string(message.or(detail))?, names, field: None });
        };
        if let Some(message) = string(Some(error)) {
            return Some(Self { message, names: Vec::new(), field: None });
        }
        let [message, kind, code, status, param] =
            pick(error.of(body), error.start, ["message", "type", "code", "status", "param"]).ok()?;
        let names = [kind, code, status].into_iter().filter_map(string).collect();
        Some(Self { message: string(message).unwrap_or_default(), names, field: string(param) })
    }

    fn is_called(&self, names: &[&str]) -> bool {
        self.names.iter().any(|name| names.contains(&name.as_str()))
    }
}

fn kind_of(status: StatusCode, said: Option<&Said>) -> Kind {
    let is_called = |names: &[&str]| said.is_some_and(|said| said.is_called(names));
    let mentions = |text: &str| said.is_some_and(|said| said.message.to_ascii_lowercase().contains(text));
    match status.as_u16() {
        // An event in the midst of a stream has no status: its name is all that is known.
        500 if is_called(&["context_length_exceeded"]) => Kind::ContextLength,
        500 if is_called(&["overloaded_error", "UNAVAILABLE"]) => Kind::Overloaded,
        500 if is_called(&["rate_limit_error", "rate_limit_exceeded", "RESOURCE_EXHAUSTED"]) => Kind::RateLimited,
        500 if is_called(&["timeout_error", "DEADLINE_EXCEEDED"]) => Kind::Timeout,
        400 | 413 | 422
            if is_called(&["context_length_exceeded"])
                || mentions("context length")
                || mentions("context window")
                || mentions("context limit")
                || mentions("maximum number of tokens")
                || mentions("prompt is too long") =>
        {
            Kind::ContextLength
        }
        400 if is_called(&["API_KEY_INVALID"]) || mentions("api key not valid") => Kind::Provider,
        // Where the gateway stands, and what its operator has paid, is no fault of the request.
        400 if is_called(&["FAILED_PRECONDITION"]) || mentions("credit balance") => Kind::Provider,
        400 | 409 | 415 | 422 => Kind::Invalid,
        404 => Kind::NotFound,
        408 | 504 => Kind::Timeout,
        413 => Kind::TooLarge,
        // Whoever has no money left there is no more asked there.
        429 => Kind::RateLimited,
        503 | 529 => Kind::Overloaded,
        _ => Kind::Provider,
    }
}

/// A provider's words in one line, without control characters and without end.
fn clean(message: &str) -> String {
    let shown = message.chars().map(|each| if each.is_control() { ' ' } else { each });
    shown.take(MESSAGE_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shape_says_it_in_its_own_words() {
        let fault = Fault::invalid("messages[0].role", "it is no role: \"cat\"");

        let openai = r#"{"error":{"message":"it is no role: \"cat\"","type":"invalid_request_error","param":"messages[0].role","code":null}}"#;
        assert_eq!(fault.body(Family::OpenAi), openai);
        let anthropic =
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"it is no role: \"cat\""}}"#;
        assert_eq!(fault.body(Family::Anthropic), anthropic);
        let gemini = r#"{"error":{"code":400,"message":"it is no role: \"cat\"","status":"INVALID_ARGUMENT"}}"#;
        assert_eq!(fault.body(Family::Gemini), gemini);
    }

    fn refused(status: u16, body: &str) -> Fault {
        Fault::of_provider(StatusCode::from_u16(status).expect("it is one"), body.as_bytes(), None)
    }

    #[test]
    fn a_refusal_is_known_by_what_it_says_of_itself() {
        let cases = [
            (
                400,
                r#"{"error":{"message":"The input token count (9) exceeds the maximum number of tokens allowed (8)."}}"#,
                Kind::ContextLength,
                "The input token count (9) exceeds the maximum number of tokens allowed (8).",
            ),
            (
                400,
                r#"{"error":{"message":"User location is not supported.","status":"FAILED_PRECONDITION"}}"#,
                Kind::Provider,
                "the provider failed with status 400",
            ),
            (
                400,
                r#"{"error":{"type":"invalid_request_error","message":"Your credit balance is too low."}}"#,
                Kind::Provider,
                "the provider failed with status 400",
            ),
            (
                500,
                r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
                Kind::Overloaded,
                "the provider has too much to do",
            ),
            (
                500,
                r#"{"type":"error","code":"rate_limit_exceeded","message":"org-123 is over"}"#,
                Kind::RateLimited,
                "the provider's rate limit is reached",
            ),
        ];
        for (status, body, kind, message) in cases {
            let fault = refused(status, body);
            assert_eq!((fault.kind, fault.message.as_str()), (kind, message), "{status} {body}");
        }
    }

    #[test]
    fn what_a_provider_says_of_a_request_is_passed_on_and_nothing_else() {
        let cases = [
            (
                400,
                r#"{"error":{"message":"no\nsuch role","type":"x","param":"messages"}}"#,
                Kind::Invalid,
                "no such role",
            ),
            (400, r#"{"type":"error","error":{"type":"invalid_request_error","message":"bad"}}"#, Kind::Invalid, "bad"),
            (422, r#"{"detail":"bad"}"#, Kind::Invalid, "bad"),
            (400, r#"{"error":"flat"}"#, Kind::Invalid, "flat"),
            (400, "<html>", Kind::Invalid, "the provider refused the request with status 400"),
            (400, r#"{"error":{"message":"x","code":"context_length_exceeded"}}"#, Kind::ContextLength, "x"),
            (
                400,
                r#"{"error":{"message":"prompt is too long: 9 > 8"}}"#,
                Kind::ContextLength,
                "prompt is too long: 9 > 8",
            ),
            (404, r#"{"error":{"message":"no such model"}}"#, Kind::NotFound, "no such model"),
            (
                429,
                r#"{"error":{"message":"org-123 is over"}}"#,
                Kind::RateLimited,
                "the provider's rate limit is reached",
            ),
            (529, r#"{"error":{"message":"host 10.0.0.1"}}"#, Kind::Overloaded, "the provider has too much to do"),
            (500, r#"{"error":{"message":"host 10.0.0.1"}}"#, Kind::Provider, "the provider failed with status 500"),
        ];
        for (status, body, kind, message) in cases {
            let fault = refused(status, body);
            assert_eq!((fault.kind, fault.message.as_str()), (kind, message), "{status} {body}");
        }
        let secret = r#"{"error":{"message":"Incorrect API key provided: sk-live-1234"}}"#;
        for status in [401, 403] {
            assert!(!refused(status, secret).message.contains("sk-live"), "{status}");
            assert_eq!(refused(status, secret).kind, Kind::Provider);
        }
        assert_eq!(
            refused(400, r#"{"error":{"message":"API key not valid","status":"INVALID_ARGUMENT"}}"#).kind,
            Kind::Provider
        );
    }
}
