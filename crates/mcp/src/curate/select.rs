//! Which of a server's tools, prompts or resources a toolset has.
//!
//! In: a name or URI. Out: whether it is chosen: some pattern of `include` matches it and none of
//! `exclude`. Names are compared as they are listed. URIs also reach servers without being listed,
//! so they are compared twice, as they are and as the thing behind other spellings of them
//! ([`plain`]); both have to be chosen. What a server makes of a URI beyond that (links, letters'
//! case) is not known here, so `include` is the safer half. RFC 3986 §6.2.2 is followed for
//! what may be spelled in two ways.

use std::borrow::Cow;

use super::pattern::Pattern;

/// The most patterns of one list.
pub const PATTERNS_MAX: usize = 64;
/// How often percent-encoding is taken off a URI: what is encoded more often than a proxy and a
/// server could undo stays encoded.
const DECODES_MAX: usize = 4;

/// A choice by patterns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// What is chosen; the default is everything, an empty list is nothing.
    pub include: Vec<Pattern>,
    /// What of it is not.
    pub exclude: Vec<Pattern>,
}

// === impl Selection ===

impl Selection {
    /// Chooses everything.
    #[must_use]
    pub fn everything() -> Self {
        Self { include: vec![Pattern::everything()], exclude: Vec::new() }
    }

    /// Tells whether everything is chosen, whatever it is called.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.exclude.is_empty() && self.include.iter().any(|pattern| pattern.as_str() == "*")
    }

    /// Tells whether nothing is chosen, whatever it is called.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.include.is_empty() || self.exclude.iter().any(|pattern| pattern.as_str() == "*")
    }

    /// Tells whether the tool or prompt `name` is chosen.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        let matches = |pattern: &Pattern| pattern.matches(name);
        self.include.iter().any(matches) && !self.exclude.iter().any(matches)
    }

    /// Tells whether the resource `uri` is chosen, listed or not.
    #[must_use]
    pub fn has_uri(&self, uri: &str) -> bool {
        self.is_everything()
            || self.has(uri)
                && match plain(uri) {
                    Cow::Borrowed(_) => true,
                    Cow::Owned(plain) => self.has_plain(&plain),
                }
    }

    /// The same for a URI that is spelled plainly, whose patterns may not be.
    fn has_plain(&self, uri: &str) -> bool {
        let matches =
            |pattern: &Pattern| pattern.matches(uri) || pattern.map_parts(|part| plain(part).into_owned()).matches(uri);
        self.include.iter().any(matches) && !self.exclude.iter().any(matches)
    }
}

impl Default for Selection {
    fn default() -> Self {
        Self::everything()
    }
}

/// Returns `uri` without what makes two spellings of one URI: percent-encoding, `.` and `..`, and
/// capitals in scheme and authority; borrowed when it is spelled plainly.
#[must_use]
pub(super) fn plain(uri: &str) -> Cow<'_, str> {
    let mut decoded = Cow::Borrowed(uri.as_bytes());
    for _ in 0..DECODES_MAX {
        match percent_encoding::percent_decode(&decoded).into() {
            Cow::Borrowed(_) => break,
            Cow::Owned(next) => decoded = Cow::Owned(next),
        }
    }
    let text = match decoded {
        Cow::Borrowed(_) => Cow::Borrowed(uri),
        // Bytes that are no text become one character that no pattern has.
        Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
    };
    let (head, path) = split(&text);
    let lower = head.chars().any(char::is_uppercase);
    let dotted = path.split('/').any(|segment| matches!(segment, "." | ".."));
    if !lower && !dotted {
        return text;
    }
    let mut out = head.to_lowercase();
    out.push_str(&if dotted { without_dots(path) } else { path.to_owned() });
    Cow::Owned(out)
}

/// Splits a URI behind its authority, or behind its scheme where it has none.
fn split(uri: &str) -> (&str, &str) {
    let Some(colon) = uri.find(':') else { return ("", uri) };
    let behind = &uri[colon + 1..];
    let authority = behind.strip_prefix("//").map_or(0, |rest| 2 + rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    uri.split_at(colon + 1 + authority)
}

/// Resolves `.` and `..` (RFC 3986 §5.2.4), query and fragment included: a server may take either
/// for a path.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "." => {}
            // The root has no parent.
            ".." if kept.len() <= 1 => {}
            ".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    kept.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(texts: &[&str]) -> Vec<Pattern> {
        texts.iter().map(|text| Pattern::parse(text).expect(text)).collect()
    }

    fn selection(include: &[&str], exclude: &[&str]) -> Selection {
        Selection { include: patterns(include), exclude: patterns(exclude) }
    }

    #[test]
    fn what_is_included_and_not_excluded_is_chosen() {
        let some = selection(&["create_*", "search"], &["*_secret"]);
        for (name, expected) in
            [("create_issue", true), ("search", true), ("searches", false), ("create_secret", false), ("", false)]
        {
            assert_eq!(some.has(name), expected, "{name}");
        }
        assert!(Selection::everything().is_everything() && Selection::everything().has("x"));
        let nothing = selection(&[], &[]);
        assert!(nothing.is_nothing() && !nothing.has("x") && !nothing.has_uri("file:///x"));
        assert!(selection(&["*"], &["*"]).is_nothing());
        assert!(!selection(&["*"], &["a"]).is_everything());
    }

    #[test]
    fn another_spelling_of_an_excluded_uri_is_excluded_too() {
        let some = selection(&["file:///*"], &["file:///secret/*"]);
        for (uri, expected) in [
            ("file:///public/a", true),
            ("file:///public/%61", true),
            ("file:///secret/a", false),
            ("file:///%73ecret/a", false),
            ("file:///%2573ecret/a", false),
            ("file:///secret%2Fa", false),
            ("file:///public/../secret/a", false),
            ("file:///public/%2e%2E/secret/a", false),
            ("file:///./secret/a", false),
            ("FILE:///secret/a", false),
            ("https://x/secret/a", false),
        ] {
            assert_eq!(some.has_uri(uri), expected, "{uri}");
        }
        let spelled = selection(&["file:///a%20b/*", "X://H/*"], &[]);
        assert!(spelled.has_uri("file:///a%20b/c") && spelled.has_uri("X://H/c"), "as they are listed");
        let hosts = selection(&["*"], &["https://internal.example/*"]);
        assert!(!hosts.has_uri("https://Internal.Example/a") && hosts.has_uri("https://public.example/a"));
    }

    #[test]
    fn a_plain_uri_stays_as_it_is() {
        for uri in
            ["file:///a/b", "test://static-text", "repo://{owner}/{name}", "urn:x:Y", "no scheme", "a://h/x?Q=Y#Z"]
        {
            assert!(matches!(plain(uri), Cow::Borrowed(text) if text == uri), "{uri}");
        }
        assert_eq!(plain("A://H/%41/../B"), "a://h/B");
        assert_eq!(plain("a:///../../b"), "a:///b");
        assert_eq!(plain("a:%ff"), "a:\u{fffd}");
    }
}
