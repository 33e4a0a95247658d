//! HTTP headers of the protocol: reading, encoding, and holding them against the body.
//!
//! In: a header map, and what the body says. Out: values, or a [`Mismatch`]. A header that routes
//! must be there once and say exactly what the body says, because intermediaries act on the header
//! and servers on the body (2026-07-28 `basic/transports/streamable-http`, Server Validation).
//! Values that are not plain ASCII travel as `=?base64?…?=`.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::error::Mismatch;
use crate::version::Version;

/// The revision of a request.
pub const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// The method of a modern request.
pub const METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// The tool, prompt, URI or task of a modern request.
pub const NAME: HeaderName = HeaderName::from_static("mcp-name");
/// The session of a legacy request.
pub const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
/// The last event that a legacy client has.
pub const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// What the names of headers that mirror tool arguments begin with.
pub const PARAM_PREFIX: &str = "mcp-param-";
/// Tells proxies not to buffer a stream.
pub const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

const SENTINEL_OPEN: &str = "=?base64?";
const SENTINEL_CLOSE: &str = "?=";

/// Which forms of answer a client takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepts {
    /// `application/json`.
    pub json: bool,
    /// `text/event-stream`.
    pub events: bool,
    /// Whether it would rather have `text/event-stream`: that is all it takes, or what it names
    /// first. The order is no rule of HTTP, but the only wish that clients of MCP express.
    pub prefers_events: bool,
}

/// Returns the one value of the header `name`, trimmed, or `None` when it is absent.
///
/// # Errors
/// [`Mismatch::Repeated`] and [`Mismatch::Malformed`].
pub fn single<'a>(head: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Mismatch> {
    let mut values = head.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Mismatch::Repeated { header: display(name) });
    }
    match value.to_str() {
        Ok(text) => Ok(Some(text.trim_matches([' ', '\t']))),
        Err(_) => Err(Mismatch::Malformed { header: display(name) }),
    }
}

/// Decodes a header value: the sentinel form when it is one, else the value as it is.
///
/// `None` when it wears the sentinel and is no Base64 of UTF-8.
#[must_use]
pub fn decode(value: &str) -> Option<Cow<'_, str>> {
    match value.strip_prefix(SENTINEL_OPEN).and_then(|rest| rest.strip_suffix(SENTINEL_CLOSE)) {
        Some(encoded) => {
            let bytes = STANDARD.decode(encoded).ok()?;
            String::from_utf8(bytes).ok().map(Cow::Owned)
        }
        None => Some(Cow::Borrowed(value)),
    }
}

/// Encodes a text as a header value, in the sentinel form when it must.
///
/// # Panics
/// Never: what is left plain is visible ASCII and spaces, and Base64 is visible ASCII.
#[must_use]
pub fn encode(text: &str) -> HeaderValue {
    let plain = if needs_sentinel(text) {
        Cow::Owned(format!("{SENTINEL_OPEN}{}{SENTINEL_CLOSE}", STANDARD.encode(text)))
    } else {
        Cow::Borrowed(text)
    };
    HeaderValue::from_str(&plain).expect("visible ASCII and spaces make a header value")
}

/// Holds the header `name` against what the body has at `field`.
///
/// # Errors
/// [`Mismatch`] when it is missing, repeated, malformed or different.
pub fn agree(head: &HeaderMap, name: &HeaderName, field: &str, expected: &str) -> Result<(), Mismatch> {
    let value = single(head, name)?.ok_or_else(|| Mismatch::Missing { header: display(name) })?;
    match decode(value) {
        Some(decoded) if decoded == expected => Ok(()),
        Some(_) => Err(Mismatch::Differs { header: display(name), field: field.to_owned() }),
        None => Err(Mismatch::Malformed { header: display(name) }),
    }
}

/// Returns the session id of a legacy request.
///
/// # Errors
/// [`Mismatch`] when there are several, or one with characters outside of 0x21 to 0x7E.
pub fn session_id(head: &HeaderMap) -> Result<Option<&str>, Mismatch> {
    match single(head, &SESSION_ID)? {
        Some(id) if id.is_empty() || !id.bytes().all(|byte| (0x21..=0x7e).contains(&byte)) => {
            Err(Mismatch::Malformed { header: display(&SESSION_ID) })
        }
        other => Ok(other),
    }
}

/// Reads the `Accept` headers; without any, everything is accepted (RFC 9110 §12.5.1).
///
/// Weights are read only as far as `q=0`, which excludes.
#[must_use]
pub fn accepts(head: &HeaderMap) -> Accepts {
    let mut accepts = Accepts { json: false, events: false, prefers_events: false };
    let mut any = false;
    for value in head.get_all(header::ACCEPT) {
        any = true;
        for range in value.to_str().unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let excluded = parts.any(|parameter| {
                let weight = parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q="));
                weight.and_then(|weight| weight.parse().ok()) == Some(0.0_f32)
            });
            if excluded {
                continue;
            }
            let is = |wanted: &str| kind.eq_ignore_ascii_case(wanted);
            accepts.json |= is("application/json") || is("application/*") || is("*/*");
            accepts.prefers_events |= !accepts.json && is("text/event-stream");
            accepts.events |= is("text/event-stream") || is("text/*") || is("*/*");
        }
    }
    if any { accepts } else { Accepts { json: true, events: true, prefers_events: false } }
}

/// Tells whether the body is declared to be `application/json`.
#[must_use]
pub fn is_json(head: &HeaderMap) -> bool {
    let declared = head.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = declared.and_then(|value| value.split(';').next()).unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("application/json")
}

/// Sets the headers that a modern request must carry: its revision, its method, and what
/// `Mcp-Name` mirrors.
pub fn stamp(head: &mut HeaderMap, version: Version, method: &str, name: Option<&str>) {
    head.insert(PROTOCOL_VERSION, HeaderValue::from_static(version.as_str()));
    head.insert(METHOD, encode(method));
    match name {
        Some(name) => head.insert(NAME, encode(name)),
        None => head.remove(NAME),
    };
}

/// Returns the headers that mirror tool arguments, which an intermediary passes on even when it
/// does not know them.
pub fn params(head: &HeaderMap) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
    head.iter().filter(|(name, _)| name.as_str().starts_with(PARAM_PREFIX))
}

/// Returns a header's name as the specification writes it, for messages.
pub(crate) fn display(name: &HeaderName) -> String {
    let known = [
        (&PROTOCOL_VERSION, "MCP-Protocol-Version"),
        (&METHOD, "Mcp-Method"),
        (&NAME, "Mcp-Name"),
        (&SESSION_ID, "Mcp-Session-Id"),
        (&LAST_EVENT_ID, "Last-Event-ID"),
    ];
    known
        .into_iter()
        .find(|(known, _)| *known == name)
        .map_or_else(|| name.as_str().to_owned(), |(_, text)| text.to_owned())
}

fn needs_sentinel(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte == Some(&b' ');
    let bytes = text.as_bytes();
    edge(bytes.first())
        || edge(bytes.last())
        || bytes.iter().any(|byte| !matches!(byte, 0x20..=0x7e))
        || (text.starts_with(SENTINEL_OPEN) && text.ends_with(SENTINEL_CLOSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(entries: &[(&HeaderName, &str)]) -> HeaderMap {
        let mut head = HeaderMap::new();
        for (name, value) in entries {
            head.append(*name, HeaderValue::from_bytes(value.as_bytes()).expect("a header value"));
        }
        head
    }

    #[test]
    fn values_are_encoded_as_the_specification_shows() {
        let cases = [
            ("us-west1", "us-west1"),
            ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
            (" padded ", "=?base64?IHBhZGRlZCA=?="),
            ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
            ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
            ("=?base64?literal", "=?base64?literal"),
            ("a b", "a b"),
            ("", ""),
        ];
        for (text, expected) in cases {
            let encoded = encode(text);
            assert_eq!(encoded, expected);
            assert_eq!(decode(encoded.to_str().expect("ASCII")).as_deref(), Some(text));
        }
    }

    #[test]
    fn what_wears_the_sentinel_and_is_no_base64_of_text_does_not_decode() {
        for value in ["=?base64?SGVsbG8?=", "=?base64?SGVs!!!bG8=?=", "=?base64?/w==?=", "=?base64?-_8=?="] {
            assert_eq!(decode(value), None, "{value}");
        }
        for literal in ["SGVsbG8=", "=?base64?SGVsbG8=", "SGVsbG8=?=", "=?Base64?SGVsbG8=?="] {
            assert_eq!(decode(literal).as_deref(), Some(literal));
        }
    }

    #[test]
    fn a_header_that_routes_is_there_once_and_equal() {
        let text = || "Mcp-Name".to_owned();
        let cases = [
            (head(&[(&NAME, "echo")]), Ok(())),
            (head(&[(&NAME, "\techo ")]), Ok(())),
            (head(&[(&NAME, "=?base64?ZWNobw==?=")]), Ok(())),
            (head(&[]), Err(Mismatch::Missing { header: text() })),
            (head(&[(&NAME, "echo"), (&NAME, "echo")]), Err(Mismatch::Repeated { header: text() })),
            (head(&[(&NAME, "é")]), Err(Mismatch::Malformed { header: text() })),
            (head(&[(&NAME, "=?base64?Z?=")]), Err(Mismatch::Malformed { header: text() })),
            (head(&[(&NAME, "Echo")]), Err(Mismatch::Differs { header: text(), field: "params.name".to_owned() })),
        ];
        for (head, expected) in cases {
            assert_eq!(agree(&head, &NAME, "params.name", "echo"), expected, "{head:?}");
        }
    }

    #[test]
    fn a_session_id_is_one_word_of_visible_ascii() {
        assert_eq!(session_id(&head(&[])), Ok(None));
        assert_eq!(session_id(&head(&[(&SESSION_ID, "abc~!")])), Ok(Some("abc~!")));
        for value in ["", "a b", "é"] {
            assert!(session_id(&head(&[(&SESSION_ID, value)])).is_err(), "{value:?}");
        }
        assert!(session_id(&head(&[(&SESSION_ID, "a"), (&SESSION_ID, "b")])).is_err());
    }

    #[test]
    fn stamped_headers_agree_with_what_they_were_stamped_of() {
        let mut stamped = head(&[(&NAME, "stale"), (&PROTOCOL_VERSION, "2025-06-18")]);
        stamp(&mut stamped, Version::V2026_07_28, "tools/call", Some("naïve"));
        assert_eq!(agree(&stamped, &NAME, "params.name", "naïve"), Ok(()));
        assert_eq!(agree(&stamped, &METHOD, "method", "tools/call"), Ok(()));
        assert_eq!(single(&stamped, &PROTOCOL_VERSION), Ok(Some("2026-07-28")));

        stamp(&mut stamped, Version::V2026_07_28, "tools/list", None);
        assert_eq!(single(&stamped, &NAME), Ok(None));
    }

    #[test]
    fn mirrored_arguments_are_found_whatever_their_name() {
        let mut head = head(&[(&NAME, "x")]);
        head.append("Mcp-Param-Region", HeaderValue::from_static("eu"));
        head.append("mcp-param-x", HeaderValue::from_static("1"));
        let mut found: Vec<&str> = params(&head).map(|(name, _)| name.as_str()).collect();
        found.sort_unstable();
        assert_eq!(found, ["mcp-param-region", "mcp-param-x"]);
    }
}
