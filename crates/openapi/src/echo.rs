//! Credentials that an answer sends back.
//!
//! A key that goes in the query is part of the request's URL, and APIs repeat that URL: in `Location` and `Link`, in
//! members such as `next`. In: what an answer has. Out: the same without the key. In headers its pair goes, whatever
//! the encoding, and its value wherever it stands; in a body, which need not be a URL, its value becomes a note of the
//! same kind. Credentials in headers and cookies are no part of a URL, and are not looked for.

use std::borrow::Cow;
use std::fmt;

use http::{HeaderMap, HeaderValue};
use percent_encoding::{percent_decode_str, utf8_percent_encode};
use quorate_jsonrpc::quote;
use url::form_urlencoded;

use crate::encode;

/// What stands where a value was.
const INSTEAD: &str = "(hidden)";
/// The least bytes of a value that is looked for by itself: what is shorter stands in texts by chance.
const VALUE_BYTES_MIN: usize = 8;
/// What ends a pair of a query in a text.
const PAIR_ENDS: [char; 9] = ['?', '&', '#', '<', '>', '"', ' ', '\t', '\n'];

/// The pairs that credentials add to a query, to be taken out of answers.
#[derive(Clone, Default)]
pub(crate) struct Echo {
    names: Vec<String>,
    /// Values in every spelling that they may have.
    values: Vec<String>,
    /// Those that may be taken out of a body: a number might be a value of the API's own.
    in_bodies: Vec<String>,
}

// === impl Echo ===

impl Echo {
    /// Reads the pairs of a query: `name=value`, encoded, with `&` between them.
    pub(crate) fn of(query: &str) -> Self {
        let mut echo = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            echo.names.push(name.into_owned());
            if value.len() >= VALUE_BYTES_MIN {
                let spellings = spellings(&value);
                if value.parse::<f64>().is_err() {
                    echo.in_bodies.extend(spellings.iter().cloned());
                }
                echo.values.extend(spellings);
            }
        }
        echo
    }

    /// Returns an answer's headers without the pairs.
    pub(crate) fn headers<'a>(&self, headers: &'a HeaderMap) -> Cow<'a, HeaderMap> {
        if self.names.is_empty() {
            return Cow::Borrowed(headers);
        }
        let mut clean = headers.clone();
        for value in clean.values_mut() {
            let Ok(text) = std::str::from_utf8(value.as_bytes()) else { continue };
            let cleaned = self.text(text);
            if cleaned != text {
                // What is left of a header's text is one.
                *value = HeaderValue::from_bytes(cleaned.as_bytes()).unwrap_or(HeaderValue::from_static(INSTEAD));
            }
        }
        Cow::Owned(clean)
    }

    /// Returns an answer's body without the values.
    pub(crate) fn body<'a>(&self, body: &'a [u8]) -> Cow<'a, [u8]> {
        if !self.in_bodies.iter().any(|value| memchr::memmem::find(body, value.as_bytes()).is_some()) {
            return Cow::Borrowed(body);
        }
        match std::str::from_utf8(body) {
            Ok(text) => Cow::Owned(replaced(text, &self.in_bodies).into_bytes()),
            Err(_) => Cow::Borrowed(body),
        }
    }

    fn text(&self, text: &str) -> String {
        let text = replaced(text, &self.values);
        let mut out = String::with_capacity(text.len());
        let mut rest = text.as_str();
        // Whether the pair that began the query is gone, so that the next one begins it.
        let mut begins = false;
        while let Some(at) = rest.find(['?', '&']) {
            let (before, from) = rest.split_at(at);
            let (mark, after) = from.split_at(1);
            out.push_str(before);
            let mark = if begins { "?" } else { mark };
            let (pair, tail) = after.split_at(after.find(PAIR_ENDS).unwrap_or(after.len()));
            let named = self.is_named(pair);
            begins = named && mark == "?" && tail.starts_with('&');
            if !named {
                out.push_str(mark);
                out.push_str(pair);
            }
            rest = tail;
        }
        out.push_str(rest);
        out
    }

    fn is_named(&self, pair: &str) -> bool {
        let name = pair.split('=').next().unwrap_or_default().replace('+', " ");
        let name = percent_decode_str(&name).decode_utf8_lossy();
        self.names.iter().any(|known| known.eq_ignore_ascii_case(&name))
    }
}

impl fmt::Debug for Echo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Echo(hidden)")
    }
}

/// A value as it is, in a URI, in a form, in JSON, and in JSON as PHP writes it.
fn spellings(value: &str) -> Vec<String> {
    let quoted = quote(value);
    let quoted = &quoted[1..quoted.len() - 1];
    let mut all = vec![
        value.to_owned(),
        utf8_percent_encode(value, encode::STRICT).to_string(),
        form_urlencoded::byte_serialize(value.as_bytes()).collect(),
        quoted.to_owned(),
        quoted.replace('/', "\\/"),
    ];
    all.sort_unstable();
    all.dedup();
    all
}

fn replaced(text: &str, values: &[String]) -> String {
    values.iter().fold(text.to_owned(), |text, value| text.replace(value.as_str(), INSTEAD))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_go_from_urls_wherever_they_stand_and_in_any_encoding() {
        let echo = Echo::of("api%20key=s3cret%2Ftoken&k=1");
        let cases = [
            ("/x?api%20key=s3cret%2Ftoken", "/x"),
            ("/x?api+key=s3cret%2ftoken&page=2#end", "/x?page=2#end"),
            ("/x?page=2&API%20KEY=s3cret/token&k=1", "/x?page=2"),
            ("/x?k=1&api+key=other&page=2&k=1&size=3", "/x?page=2&size=3"),
            (
                "<https://h/a?k=1>; rel=\"next\", <https://h/b?p=1&k=1>; rel=last",
                "<https://h/a>; rel=\"next\", <https://h/b?p=1>; rel=last",
            ),
            ("0; url=/x?next=/y?k=1&z=1", "0; url=/x?next=/y?z=1"),
            ("/elsewhere/s3cret%2Ftoken/x?kk=1", "/elsewhere/(hidden)/x?kk=1"),
            ("What?", "What?"),
            ("", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(echo.text(text), expected, "{text}");
        }
    }

    #[test]
    fn bodies_lose_long_values_that_are_no_numbers() {
        let echo = Echo::of("key=s3cret%2Ftoken&n=12345678&s=short");
        let cases = [
            (
                r#"{"next":"https:\/\/h\/?key=s3cret\/token","raw":"s3cret%2Ftoken"}"#,
                r#"{"next":"https:\/\/h\/?key=(hidden)","raw":"(hidden)"}"#,
            ),
            (r#"{"id":12345678,"s":"short"}"#, r#"{"id":12345678,"s":"short"}"#),
        ];
        for (body, expected) in cases {
            assert_eq!(echo.body(body.as_bytes()), expected.as_bytes(), "{body}");
        }
        assert!(matches!(echo.body(b"nothing of it"), Cow::Borrowed(_)));
        assert!(!format!("{echo:?}").contains("s3cret"));
    }
}
