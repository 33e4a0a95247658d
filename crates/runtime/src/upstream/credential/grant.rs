//! The client credentials grant (RFC 6749 §4.4): what is asked of a token endpoint, and what its answer says.
//!
//! No IO: a request comes out, a response goes in. An answer is taken when it has all that the standard demands (§5.1)
//! and a token that can stand in a header; anything else is a [`Failure`] of a class that may be told to anybody. What
//! the endpoint wrote about it is told to nobody: it may repeat what it was sent.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use quorate_types::Secret;
use serde::Deserialize;
use url::form_urlencoded::{Serializer, byte_serialize};

/// How long a token is taken to live whose issuer does not say: 5 min, shorter than any that is usual.
const LIFE_DEFAULT: Duration = Duration::from_secs(300);
/// The longest token in bytes: servers refuse headers of about 8 KiB.
const TOKEN_BYTES_MAX: usize = 8 << 10;
/// The error codes that are told apart (RFC 6749 §5.2, RFC 8707 §2); others are `other`.
const CODES: [&str; 9] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "invalid_target",
    "temporarily_unavailable",
    "server_error",
];
const AGENT: HeaderValue = HeaderValue::from_static(concat!("quorate/", env!("CARGO_PKG_VERSION")));
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What a token is asked for with, but for the secret; already valid.
#[derive(Clone, Debug)]
pub struct Client {
    /// The token endpoint: an absolute URI, `https` or on loopback.
    pub token_url: Uri,
    /// Who we are there.
    pub client_id: String,
    /// The scopes that are asked for; none leaves it to the endpoint.
    pub scopes: Vec<String>,
    /// The `audience` that is asked for.
    pub audience: Option<String>,
    /// The `resource` that is asked for (RFC 8707).
    pub resource: Option<String>,
    /// How the secret is sent.
    pub auth: ClientAuth,
}

/// How a client's secret is sent (RFC 6749 §2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// In the `Authorization` header.
    Basic,
    /// In the form.
    Post,
}

/// A token that was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Granted {
    /// The whole value of the header, marked sensitive.
    pub(super) authorization: HeaderValue,
    /// How long it lives from when it was asked for.
    pub(super) life: Duration,
}

/// Why there is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The client's secret, or the authorities to trust, cannot be read.
    #[error("what it is asked for with cannot be read")]
    Unreadable,
    /// No connection could be made, or it broke.
    #[error("the token endpoint cannot be reached")]
    Unreachable,
    /// Time ran out.
    #[error("the token endpoint does not answer in time")]
    Timeout,
    /// The endpoint refused the client, or what it asked for.
    #[error("the token endpoint refuses: {code} (HTTP {})", status.as_u16())]
    Refused {
        /// The status.
        status: StatusCode,
        /// One of the codes of the standard, or `other`.
        code: &'static str,
    },
    /// The endpoint is in trouble: a 5xx, or too many requests.
    #[error("the token endpoint is in trouble (HTTP {})", status.as_u16())]
    Trouble {
        /// The status.
        status: StatusCode,
    },
    /// The endpoint redirects, which is refused: a secret goes nowhere else.
    #[error("the token endpoint redirects")]
    Redirect,
    /// The answer is larger than a token can be.
    #[error("the token endpoint's answer is too large")]
    TooLarge,
    /// The answer gives no token as the standard wants it.
    #[error("the token endpoint's answer has no valid {member}")]
    Malformed {
        /// What is missing or wrong.
        member: &'static str,
    },
}

// === impl Failure ===

impl Failure {
    /// Returns the class as a label of metrics, and for whoever may know no more.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Refused { .. } => "refused",
            Self::Trouble { .. } => "trouble",
            Self::Redirect => "redirect",
            Self::TooLarge => "too_large",
            Self::Malformed { .. } => "malformed",
        }
    }
}

// === impl Client ===

impl Client {
    /// Writes the request for a token.
    pub(super) fn request(&self, secret: &Secret) -> Request<Full<Bytes>> {
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        if !self.scopes.is_empty() {
            form.append_pair("scope", &self.scopes.join(" "));
        }
        let of_target = [("audience", &self.audience), ("resource", &self.resource)];
        for (name, value) in of_target.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
            form.append_pair(name, value);
        }
        if self.auth == ClientAuth::Post {
            form.append_pair("client_id", &self.client_id).append_pair("client_secret", secret.expose());
        }
        let mut request = Request::new(Full::new(Bytes::from(form.finish())));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.token_url.clone();
        let headers = request.headers_mut();
        if self.auth == ClientAuth::Basic {
            headers.insert(AUTHORIZATION, basic(&self.client_id, secret.expose()));
        }
        headers.insert(ACCEPT, JSON);
        headers.insert(CONTENT_TYPE, FORM);
        headers.insert(USER_AGENT, AGENT);
        request
    }
}

/// Writes HTTP Basic with both parts form-encoded first, as RFC 6749 §2.3.1 wants it.
fn basic(id: &str, secret: &str) -> HeaderValue {
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encoded(id), encoded(secret));
    let value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair)));
    let mut value = value.expect("base64 has characters of headers only");
    value.set_sensitive(true);
    value
}

/// Reads an answer of a token endpoint.
pub(super) fn read(status: StatusCode, body: &[u8]) -> Result<Granted, Failure> {
    match status.as_u16() {
        200 => granted(body),
        300..=399 => Err(Failure::Redirect),
        // 408 and 429 say nothing about the client.
        408 | 429 | 500..=599 => Err(Failure::Trouble { status }),
        400..=499 => Err(Failure::Refused { status, code: code(body) }),
        _ => Err(Failure::Malformed { member: "status" }),
    }
}

/// Reads how long the endpoint wants to be left alone, in seconds; dates are not understood.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

fn granted(body: &[u8]) -> Result<Granted, Failure> {
    /// As RFC 6749 §5.1 has it; what else there is, is ignored.
    #[derive(Deserialize)]
    struct Answer {
        access_token: Option<Token>,
        token_type: Option<String>,
        #[serde(default)]
        expires_in: Life,
    }
    let malformed = |member| Failure::Malformed { member };
    let answer: Answer = serde_json::from_slice(body).map_err(|_| malformed("JSON object"))?;
    let Token(token) = answer.access_token.ok_or(malformed("access_token"))?;
    if !answer.token_type.is_some_and(|kind| kind.eq_ignore_ascii_case("bearer")) {
        return Err(malformed("token_type (Bearer)"));
    }
    let is_visible = |byte: u8| (0x21..=0x7e).contains(&byte);
    let text = token.expose();
    if text.is_empty() || text.len() > TOKEN_BYTES_MAX || !text.bytes().all(is_visible) {
        return Err(malformed("access_token"));
    }
    let life = match answer.expires_in {
        Life::Unsaid(()) => LIFE_DEFAULT,
        Life::Seconds(seconds) if seconds >= 1.0 => Duration::from_secs_f64(seconds.min(f64::from(u32::MAX))),
        Life::Text(text) => match text.parse::<u32>() {
            Ok(seconds) if seconds > 0 => Duration::from_secs(seconds.into()),
            _ => return Err(malformed("expires_in")),
        },
        Life::Seconds(_) => return Err(malformed("expires_in")),
    };
    let mut authorization = HeaderValue::from_str(&format!("Bearer {text}")).map_err(|_| malformed("access_token"))?;
    authorization.set_sensitive(true);
    Ok(Granted { authorization, life })
}

/// A token on its way out of the answer; its memory is overwritten.
struct Token(Secret);

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Secret::new(text)))
    }
}

/// `expires_in`: a number of seconds, which some servers write as a text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Life {
    Seconds(f64),
    Text(String),
    Unsaid(()),
}

impl Default for Life {
    fn default() -> Self {
        Self::Unsaid(())
    }
}

/// Reads the code of a refusal (RFC 6749 §5.2).
fn code(body: &[u8]) -> &'static str {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
    }
    let said = serde_json::from_slice::<Refusal>(body).ok();
    said.and_then(|said| CODES.into_iter().find(|code| *code == said.error)).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use proptest::prelude::*;

    use super::*;

    fn client(auth: ClientAuth) -> Client {
        Client {
            token_url: Uri::from_static("https://id.example/token?p=1"),
            client_id: "a client:1".to_owned(),
            scopes: vec!["files:read".to_owned(), "files:write".to_owned()],
            audience: Some("files".to_owned()),
            resource: Some("https://files.example/mcp".to_owned()),
            auth,
        }
    }

    async fn sent(client: &Client) -> (HeaderMap, String) {
        let request = client.request(&Secret::new("s3/cr+et:%"));
        assert_eq!((request.method(), request.uri()), (&Method::POST, &client.token_url));
        assert!(!format!("{request:?}").contains("s3/"), "a secret is shown");
        let (head, body) = request.into_parts();
        (head.headers, String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_secret_goes_into_the_header_form_encoded_first() {
        let (headers, form) = sent(&client(ClientAuth::Basic)).await;

        let basic = STANDARD.decode(headers[AUTHORIZATION].to_str().unwrap().strip_prefix("Basic ").unwrap()).unwrap();
        assert_eq!(String::from_utf8(basic).unwrap(), "a+client%3A1:s3%2Fcr%2Bet%3A%25");
        assert!(headers[AUTHORIZATION].is_sensitive());
        assert_eq!(headers[CONTENT_TYPE], FORM);
        assert_eq!(
            form,
            "grant_type=client_credentials&scope=files%3Aread+files%3Awrite&audience=files\
             &resource=https%3A%2F%2Ffiles.example%2Fmcp"
        );
    }

    #[tokio::test]
    async fn a_secret_goes_into_the_form_where_that_is_wanted() {
        let bare = Client { scopes: Vec::new(), audience: None, resource: None, ..client(ClientAuth::Post) };
        let (headers, form) = sent(&bare).await;

        assert!(!headers.contains_key(AUTHORIZATION));
        assert_eq!(form, "grant_type=client_credentials&client_id=a+client%3A1&client_secret=s3%2Fcr%2Bet%3A%25");
    }

    #[test]
    fn a_token_is_taken_with_its_life() {
        let hour = Duration::from_secs(3600);
        for (body, life) in [
            (r#"{"access_token":"t","token_type":"Bearer","expires_in":3600}"#, hour),
            (r#"{"access_token":"t","token_type":"bEARER","expires_in":"3600","scope":"a","x":{"y":[1]}}"#, hour),
            (r#"{"token_type":"Bearer","expires_in":3600.0,"access_token":"t"}"#, hour),
            (r#"{"access_token":"t","token_type":"Bearer"}"#, LIFE_DEFAULT),
            (r#"{"access_token":"t","token_type":"Bearer","expires_in":null}"#, LIFE_DEFAULT),
            (r#"{"access_token":"t","token_type":"Bearer","expires_in":1e300}"#, Duration::from_secs(u32::MAX.into())),
        ] {
            let granted = read(StatusCode::OK, body.as_bytes()).unwrap_or_else(|failure| panic!("{body}: {failure}"));
            assert_eq!((granted.authorization.to_str().unwrap(), granted.life), ("Bearer t", life), "{body}");
            assert!(!format!("{granted:?}").contains("Bearer t"), "a token is shown");
        }
    }

    #[test]
    fn what_is_no_token_is_refused_by_what_is_wrong_with_it() {
        let long = format!(r#"{{"access_token":"{}","token_type":"Bearer"}}"#, "t".repeat(TOKEN_BYTES_MAX + 1));
        for (body, member) in [
            ("", "JSON object"),
            ("<html>", "JSON object"),
            ("[]", "JSON object"),
            (r#"{"access_token":"t","token_type":"Bearer""#, "JSON object"),
            (r#"{"access_token":"t","access_token":"u","token_type":"Bearer"}"#, "JSON object"),
            (r#"{"access_token":1,"token_type":"Bearer"}"#, "JSON object"),
            (r#"{"access_token":"t","token_type":"Bearer","expires_in":[1]}"#, "JSON object"),
            (r#"{"token_type":"Bearer"}"#, "access_token"),
            (r#"{"access_token":null,"token_type":"Bearer"}"#, "access_token"),
            (r#"{"access_token":"","token_type":"Bearer"}"#, "access_token"),
            (r#"{"access_token":"a b","token_type":"Bearer"}"#, "access_token"),
            (r#"{"access_token":"a\r\nx-other: 1","token_type":"Bearer"}"#, "access_token"),
            (r#"{"access_token":"ä","token_type":"Bearer"}"#, "access_token"),
            (&long, "access_token"),
            (r#"{"access_token":"t"}"#, "token_type (Bearer)"),
            (r#"{"access_token":"t","token_type":"DPoP"}"#, "token_type (Bearer)"),
            (r#"{"access_token":"t","token_type":"Bearer","expires_in":0}"#, "expires_in"),
            (r#"{"access_token":"t","token_type":"Bearer","expires_in":-5}"#, "expires_in"),
            (r#"{"access_token":"t","token_type":"Bearer","expires_in":"soon"}"#, "expires_in"),
        ] {
            assert_eq!(read(StatusCode::OK, body.as_bytes()), Err(Failure::Malformed { member }), "{body}");
        }
    }

    #[test]
    fn a_refusal_is_known_by_its_status_and_code_and_nothing_else_of_it() {
        let said = br#"{"error":"invalid_client","error_description":"s3cret"}"#;
        let refused = |status: u16, body: &[u8]| read(StatusCode::from_u16(status).unwrap(), body).unwrap_err();
        assert_eq!(refused(401, said), Failure::Refused { status: StatusCode::UNAUTHORIZED, code: "invalid_client" });
        assert!(!refused(401, said).to_string().contains("s3cret"));
        assert_eq!(refused(400, br#"{"error":"<script>"}"#).reason(), "refused");
        assert!(refused(400, br#"{"error":"<script>"}"#).to_string().contains("other"));
        for status in [408, 429, 500, 503] {
            assert_eq!(refused(status, b"").reason(), "trouble", "{status}");
        }
        for status in [301, 302, 307, 308] {
            assert_eq!(refused(status, b"").reason(), "redirect", "{status}");
        }
        for status in [201, 204] {
            assert_eq!(refused(status, br#"{"access_token":"t","token_type":"Bearer"}"#).reason(), "malformed");
        }
    }

    #[test]
    fn patience_is_asked_for_in_seconds() {
        for (given, expected) in
            [("7", Some(7)), (" 7 ", Some(7)), ("-1", None), ("Wed, 21 Oct 2026", None), ("", None)]
        {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(given).unwrap())]);
            assert_eq!(retry_after(&headers), expected.map(Duration::from_secs), "{given:?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_answers_never_panic_and_give_no_token_that_is_no_header(
            status in 100_u16..1000, body in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = read(StatusCode::from_u16(status).unwrap(), &body);
        }

        #[test]
        fn arbitrary_tokens_are_headers_or_refused(token: String, kind in "(Bearer|bearer|x)", life: i64) {
            let body = serde_json::json!({ "access_token": token, "token_type": kind, "expires_in": life });
            if let Ok(granted) = read(StatusCode::OK, body.to_string().as_bytes()) {
                prop_assert_eq!(granted.authorization.to_str().unwrap(), format!("Bearer {token}"));
                prop_assert!(life > 0 && kind != "x");
            }
        }
    }
}
