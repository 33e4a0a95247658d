//! Lists of OAuth scopes, as several kinds have them.
//!
//! A scope is a token of RFC 6749 §3.3: visible ASCII without quotes and backslashes, because lists of them are texts
//! with spaces in between, within quotes.

use std::collections::BTreeSet;

use crate::error::{Reason, shown};
use crate::node::Path;
use crate::report::Report;

/// The longest scope in bytes; some are URLs.
const SCOPE_BYTES_MAX: usize = 256;

/// Takes over scopes; those that are none are reported.
pub(super) fn compile(given: Option<&[Option<String>]>, at: &Path, report: &mut Report<'_>) -> BTreeSet<String> {
    let texts = given.into_iter().flatten().enumerate().filter_map(|(index, text)| Some((index, text.as_deref()?)));
    texts.filter_map(|(index, text)| report.accept(&at.index(index), scope(text))).collect()
}

fn scope(text: &str) -> Result<String, Reason> {
    let is_scope = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    if (1..=SCOPE_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_scope) {
        return Ok(text.to_owned());
    }
    let message = format!(
        "a scope has 1 to {SCOPE_BYTES_MAX} visible ASCII characters, without spaces, \" and \\ (RFC 6749 §3.3); each is \
         an item of its own"
    );
    Err(Reason::Invalid { value: shown(text), message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_one_token() {
        for text in ["a", "tools:read", "https://api.example/.default", "!#$%&'()*+,-./:;<=>?@[]^_`{|}~"] {
            assert!(scope(text).is_ok(), "{text}");
        }
        for text in ["", "a b", "a\"", "a\\b", "ä", "a\n", &"x".repeat(257)] {
            assert!(scope(text).is_err(), "{text}");
        }
    }
}
