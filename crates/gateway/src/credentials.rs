//! What a request shows of who calls, before any of it is checked.
//!
//! In: the head of a request. Out: [`Shown`]: a bearer token, an API key, both, or nothing, each at most once. A
//! credential that is in the URL is refused, because URLs end in logs and histories (RFC 6750 §2.3, OAuth 2.1 §5.1.1);
//! what stands twice is refused, because two readers could take different ones. Headers by which proxies tell who calls
//! are not looked at: nobody becomes somebody by them.

use std::fmt;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, request};
use percent_encoding::percent_decode_str;
use quorate_identity::api_key;

/// The header for an API key beside a user's token.
pub const API_KEY_HEADER: HeaderName = HeaderName::from_static("x-api-key");

/// The headers in which clients of model APIs show an API key, with what they are called in errors: of Anthropic, Azure and Gemini.
pub(crate) const MODEL_KEY_HEADERS: [(HeaderName, &str); 3] = [
    (API_KEY_HEADER, OWN_HEADER),
    (HeaderName::from_static("api-key"), "api-key header"),
    (HeaderName::from_static("x-goog-api-key"), "x-goog-api-key header"),
];

const OWN_HEADER: &str = "x-api-key header";

/// Parameters of a query that are credentials by their name, in lower case.
const QUERY_NAMES: [&str; 8] =
    ["access_token", "api-key", "api_key", "apikey", "authorization", "bearer", "token", "x-api-key"];

/// What a request shows. `Debug` hides it.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Shown<'a> {
    /// The bearer token.
    pub token: Option<&'a str>,
    /// The API key.
    pub key: Option<&'a str>,
}

/// A request shows credentials in a way that is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// They are in the URL.
    #[error("credentials must not be in the URL: send the header authorization: Bearer")]
    InUrl,
    /// There are several of one kind.
    #[error("there is more than one {0}: send one")]
    Several(&'static str),
    /// The header is no bearer token.
    #[error("the header authorization must be `Bearer` and a token")]
    Malformed,
}

// === impl Shown ===

impl<'a> Shown<'a> {
    /// Reads what the head of a request shows.
    ///
    /// # Errors
    /// [`Error`] says what is not taken; never with the credential.
    pub fn read(head: &'a request::Parts) -> Result<Self, Error> {
        Self::read_with(head, &[(API_KEY_HEADER, OWN_HEADER)])
    }

    /// The same where an API key may be in any of these headers, of which one is sent: vendors of models have their own.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_with(head: &'a request::Parts, key_headers: &[(HeaderName, &'static str)]) -> Result<Self, Error> {
        if head.uri.query().is_some_and(has_credential) {
            return Err(Error::InUrl);
        }
        let bearer = match single(&head.headers, &AUTHORIZATION, "authorization header")? {
            None => None,
            Some(value) => Some(bearer(value)?),
        };
        let mut own = None;
        for (name, called) in key_headers {
            match (own, single(&head.headers, name, called)?) {
                (Some(_), Some(_)) => return Err(Error::Several("API key")),
                (None, found) => own = found,
                (Some(_), None) => {}
            }
        }
        match bearer {
            Some(text) if api_key::looks_like(text) => match own {
                None => Ok(Self { token: None, key: Some(text) }),
                Some(_) => Err(Error::Several("API key")),
            },
            token => Ok(Self { token, key: own }),
        }
    }

    /// Tells whether it shows nothing.
    #[must_use]
    pub const fn is_nothing(&self) -> bool {
        self.token.is_none() && self.key.is_none()
    }
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (token, key) = (self.token.is_some(), self.key.is_some());
        f.debug_struct("Shown").field("token", &token).field("key", &key).finish()
    }
}

// === impl Error ===

impl Error {
    /// The label of this refusal in metrics and audit records.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::InUrl => "credential_in_url",
            Self::Several(_) => "several_credentials",
            Self::Malformed => "malformed_header",
        }
    }
}

/// The only value of a header, as text.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName, what: &'static str) -> Result<Option<&'a str>, Error> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Error::Several(what));
    }
    match value.to_str() {
        Ok(text) if !text.is_empty() => Ok(Some(text)),
        Ok(_) | Err(_) => Err(Error::Malformed),
    }
}

/// The token of a value `Bearer TOKEN` (RFC 6750 §2.1; the scheme in any case, RFC 9110 §11.1).
fn bearer(value: &str) -> Result<&str, Error> {
    let (scheme, rest) = value.split_once(' ').ok_or(Error::Malformed)?;
    let token = rest.trim_start_matches(' ');
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() || !token.bytes().all(is_token) {
        return Err(Error::Malformed);
    }
    Ok(token)
}

/// Whether a parameter of a query is a credential, by its name or by its look.
fn has_credential(query: &str) -> bool {
    query.split(['&', ';']).any(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        QUERY_NAMES.contains(&decoded(name).to_ascii_lowercase().as_str()) || api_key::looks_like(&decoded(value))
    })
}

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;

    /// A text that looks like an API key; it is none.
    const KEY: &str = "qk_looks_like_one";

    fn head(uri: &str, headers: &[(&str, &str)]) -> request::Parts {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn a_token_and_a_key_are_read_from_their_headers() {
        let shown = |token, key| Ok(Shown { token, key });
        let several = |what| Err(Error::Several(what));
        for (headers, expected) in [
            (&[][..], shown(None, None)),
            (&[("authorization", "Bearer abc.def")], shown(Some("abc.def"), None)),
            (&[("Authorization", "bearer   abc")], shown(Some("abc"), None)),
            (&[("authorization", &*format!("Bearer {KEY}"))], shown(None, Some(KEY))),
            (&[("x-api-key", KEY)], shown(None, Some(KEY))),
            (&[("authorization", "Bearer abc"), ("x-api-key", KEY)], shown(Some("abc"), Some(KEY))),
            (&[("authorization", &*format!("Bearer {KEY}")), ("x-api-key", KEY)], several("API key")),
            (&[("authorization", "Bearer a"), ("authorization", "Bearer b")], several("authorization header")),
            (&[("x-api-key", KEY), ("x-api-key", KEY)], several("x-api-key header")),
            (&[("authorization", "Basic YTpi")], Err(Error::Malformed)),
            (&[("authorization", "Bearer")], Err(Error::Malformed)),
            (&[("authorization", "Bearer ")], Err(Error::Malformed)),
            (&[("authorization", "Bearer a b")], Err(Error::Malformed)),
            (&[("authorization", "Bearer a,Bearer b")], Err(Error::Malformed)),
            (&[("authorization", "")], Err(Error::Malformed)),
        ] {
            assert_eq!(Shown::read(&head("/mcp", headers)), expected, "{headers:?}");
        }
    }

    #[test]
    fn headers_of_proxies_identify_nobody() {
        let names =
            ["x-forwarded-user", "x-forwarded-client-cert", "x-spiffe-id", "x-remote-user", "forwarded", "cookie"];
        let headers = names.map(|name| (name, "admin"));
        assert_eq!(Shown::read(&head("/mcp", &headers)), Ok(Shown::default()));
    }

    #[test]
    fn a_credential_in_the_url_is_refused_however_it_is_written() {
        for query in [
            "access_token=abc",
            "ACCESS_TOKEN=abc",
            "access%5Ftoken=abc",
            "a=b&api_key=x",
            "a=b;token",
            &format!("harmless={KEY}"),
            "harmless=qk%5Flooks_like_one",
        ] {
            assert_eq!(Shown::read(&head(&format!("/mcp?{query}"), &[])), Err(Error::InUrl), "{query}");
        }
        assert!(Shown::read(&head("/sse?sessionId=abc", &[])).is_ok());
    }

    #[test]
    fn what_is_shown_is_never_printed() {
        let head = head("/mcp", &[("authorization", "Bearer secret"), ("x-api-key", KEY)]);
        let text = format!("{:?}", Shown::read(&head));
        assert!(!text.contains("secret") && !text.contains(KEY), "{text}");
    }

    proptest! {
        #[test]
        fn arbitrary_headers_and_queries_never_panic(value in "[ -~\u{e9}]{0,60}", query in "[!-~&&[^#]]{0,60}") {
            if let Ok(request) = Request::builder().uri(format!("/mcp?{query}")).header("authorization", value).body(()) {
                let head = request.into_parts().0;
                let _ = Shown::read(&head);
            }
        }
    }
}
