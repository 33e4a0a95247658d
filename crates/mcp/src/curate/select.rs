//! Which of a server's tools, prompts or resources a toolset has.
//!
//! In: a name or URI. Out: whether it is chosen: some pattern of `include` matches it and none of
//! `exclude`. Names are compared as they are listed. URIs also reach servers without being listed,
//! so a choice has to hold for the URI as it is and in each way that a server may read it
//! ([`super::spelling`]). What a server makes of a URI beyond that (links, letters' case) is not
//! known here, so `include` is the safer half.

use super::pattern::Pattern;
use super::spelling::{Readings, UriPattern};

/// The most patterns of one list.
pub const PATTERNS_MAX: usize = 64;

/// A choice by patterns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// What is chosen; the default is everything, an empty list is nothing.
    pub include: Vec<Pattern>,
    /// What of it is not.
    pub exclude: Vec<Pattern>,
}

/// A choice of resources, with all readings of its patterns.
#[derive(Clone, Debug)]
pub(super) struct UriSelection {
    selection: Selection,
    include: Vec<UriPattern>,
    exclude: Vec<UriPattern>,
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
}

impl Default for Selection {
    fn default() -> Self {
        Self::everything()
    }
}

// === impl UriSelection ===

impl UriSelection {
    /// Reads the patterns of `selection` as URIs are read.
    pub(super) fn of(selection: &Selection) -> Self {
        let read = |patterns: &[Pattern]| patterns.iter().map(UriPattern::of).collect();
        Self { include: read(&selection.include), exclude: read(&selection.exclude), selection: selection.clone() }
    }

    /// Tells whether the resource `uri` is chosen, listed or not.
    pub(super) fn has(&self, uri: &str) -> bool {
        if self.selection.is_everything() {
            return true;
        }
        if !self.selection.has(uri) {
            return false;
        }
        let Some(readings) = Readings::of(uri) else { return false };
        UriPattern::cover(&self.include, &readings) && !self.exclude.iter().any(|pattern| pattern.touches(&readings))
    }

    /// Returns the places of the exclusions that are for `uri`.
    pub(super) fn excluding(&self, uri: &str) -> Vec<usize> {
        let Some(readings) = Readings::of(uri) else { return Vec::new() };
        let touching = self.exclude.iter().enumerate().filter(|(_, pattern)| pattern.touches(&readings));
        touching.map(|(place, _)| place).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::spelling::{InvalidUriPattern, check_uri_pattern};
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
        assert!(nothing.is_nothing() && !nothing.has("x") && !UriSelection::of(&nothing).has("file:///x"));
        assert!(selection(&["*"], &["*"]).is_nothing());
        assert!(!selection(&["*"], &["a"]).is_everything());
    }

    #[test]
    fn another_spelling_of_an_excluded_uri_is_excluded_too() {
        let some = UriSelection::of(&selection(&["file:*"], &["file:///secret/*"]));
        for (uri, expected) in [
            ("file:///public/a", true),
            ("file:///public/%61", true),
            ("file:///public/a//b", true),
            ("file:///secret/a", false),
            ("file:///%73ecret/a", false),
            ("file:///%2573ecret/a", false),
            ("file:///secret%2Fa", false),
            ("file:///public/../secret/a", false),
            ("file:///public/%2e%2E/secret/a", false),
            ("file:///%73ecret/%252e%252e/public/a", false),
            ("file:///./secret/a", false),
            ("file:////secret/a", false),
            ("file:///.//secret/a", false),
            ("file:/secret/a", false),
            ("file://localhost/secret/a", false),
            ("file:///secret\\a", false),
            ("file:///secret/a?/public", false),
            ("FILE:///secret/a", false),
            ("https://x/secret/a", false),
        ] {
            assert_eq!(some.has(uri), expected, "{uri}");
        }
        let spelled = UriSelection::of(&selection(&["file:///a%20b/*", "X://H/*"], &[]));
        assert!(spelled.has("file:///a%20b/c") && spelled.has("X://H/c"), "as they are listed");
        let hosts = UriSelection::of(&selection(&["*"], &["https://*.Internal.example/*"]));
        for (uri, expected) in [
            ("https://a.Internal.Example/x", false),
            ("https://a.internal.example/x", false),
            ("https://public.example/a", true),
        ] {
            assert_eq!(hosts.has(uri), expected, "{uri}");
        }
    }

    #[test]
    fn no_uri_that_may_lead_upwards_is_chosen_by_an_inclusion() {
        let some = UriSelection::of(&selection(&["file:///public/*", "notes:public/*", "notes://public/*"], &[]));
        for (uri, expected) in [
            ("file:///public/a", true),
            ("file:///public/a..b/..c", true),
            ("notes:public/a", true),
            ("notes://public/a", true),
            ("file:///public/../secret/key?/../../../public/x", false),
            ("file:///public/../secret/key#/../../../public/x", false),
            ("file:///public//../secret/key", false),
            ("file:///public/..\\secret", false),
            ("file:///public/..;/secret", false),
            ("file:///public/.%00./secret", false),
            ("file:///public/.\t./secret", false),
            ("notes:public/../secret/a", false),
            ("notes://public/../secret/a", false),
            ("notes://public/%252e%252e/secret/a", false),
        ] {
            assert_eq!(some.has(uri), expected, "{uri}");
        }
    }

    #[test]
    fn a_query_neither_brings_a_uri_in_nor_keeps_one_out() {
        let texts = UriSelection::of(&selection(&["file:///*.txt", "https://x/?q=*"], &["https://x/?q=secret"]));
        for (uri, expected) in [
            ("file:///a.txt", true),
            ("file:///key?.txt", false),
            ("file:///key%3F.txt", false),
            ("file:///key#.txt", false),
            ("https://x/?q=1", true),
            ("https://x/?q=secret", false),
            ("https://x/?q=secret#", false),
            ("https://x/", false),
        ] {
            assert_eq!(texts.has(uri), expected, "{uri}");
        }
    }

    #[test]
    fn an_exclusion_excludes_whichever_spelling_it_has_itself() {
        for exclude in ["file:///my%20secret/*", "file:///my secret/*", "FILE:///my secret/*", "file:////my secret/./*"]
        {
            let some = UriSelection::of(&selection(&["*"], &[exclude]));
            for uri in ["file:///my secret/key", "file:///my%20secret/key", "file:/my%2520secret/key"] {
                assert!(!some.has(uri), "{exclude} {uri}");
                assert_eq!(some.excluding(uri), [0], "{exclude} {uri}");
            }
            assert!(some.has("file:///my/secret") && some.excluding("file:///my/secret").is_empty(), "{exclude}");
        }
        let anywhere = UriSelection::of(&selection(&["*"], &["file://*/secret/*"]));
        assert!(!anywhere.has("file:/secret/key") && !anywhere.has("file:///a/secret/key"));
    }

    #[test]
    fn a_wildcard_where_the_authority_is_leaves_the_capitals_of_the_path() {
        let some = UriSelection::of(&selection(&["file://*README.md"], &[]));
        assert!(some.has("file:///repo/README.md") && !some.has("file:///repo/readme.md"));
        let others = UriSelection::of(&selection(&["*"], &["file://*Secret.md"]));
        for uri in ["file:///a/Secret.md", "file:///a/%53ecret.md"] {
            assert!(!others.has(uri), "{uri}");
        }
    }

    #[test]
    fn white_space_around_a_uri_and_who_asks_for_it_at_which_port_pass_no_exclusion() {
        let some = UriSelection::of(&selection(&["*"], &["file:///secret/*", "https://internal.example/*"]));
        for uri in [
            " file:///secret/a",
            "file:///secret/a ",
            "%20file:///secret/a",
            "https://internal.example:443/x",
            "https://me@internal.example/x",
            "https://me:1@Internal.example:8443/x",
        ] {
            assert!(!some.has(uri), "{uri}");
        }
        assert!(some.has("https://internal.example.org/x") && some.has("https://[::1]/x"));
    }

    #[test]
    fn a_pattern_that_would_not_choose_what_it_says_is_refused() {
        for (text, expected) in [
            ("db://*/rows", Ok(())),
            ("db://{table}/rows", Err(InvalidUriPattern::Template)),
            ("db://%7Btable%7D/rows", Err(InvalidUriPattern::Template)),
            ("file:///public/../secret/*", Err(InvalidUriPattern::Climbs)),
            ("file:///public/..", Err(InvalidUriPattern::Climbs)),
            ("git://main..*", Ok(())),
        ] {
            assert_eq!(check_uri_pattern(&Pattern::parse(text).expect(text)), expected, "{text}");
        }
    }

    /// How often a modelled server decodes, before and after it cuts at query and fragment; whether
    /// it does cut, takes `\` for a slash, and the authority for a part of the path.
    #[derive(Clone, Copy, Debug)]
    struct Lenient {
        decodes: (usize, usize),
        cuts: bool,
        slashes: bool,
        joins: bool,
    }

    impl Lenient {
        /// The segments of the path that it reads `uri` as.
        fn read(self, uri: &str) -> Vec<String> {
            let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
            let mut text = uri.to_owned();
            (0..self.decodes.0).for_each(|_| text = decode(&text));
            if self.cuts {
                text.truncate(text.find(['?', '#']).unwrap_or(text.len()));
            }
            (0..self.decodes.1).for_each(|_| text = decode(&text));
            if self.slashes {
                text = text.replace('\\', "/");
            }
            let path = text.split_once(':').map_or(text.as_str(), |(_, path)| path);
            let path = match path.strip_prefix("//") {
                Some(rest) if !self.joins => rest.find('/').map_or("", |at| &rest[at..]),
                Some(_) | None => path,
            };
            let mut segments: Vec<String> = Vec::new();
            for segment in path.split('/') {
                match segment {
                    "" | "." => {}
                    ".." => drop(segments.pop()),
                    segment => segments.push(segment.to_owned()),
                }
            }
            segments
        }

        fn all() -> impl Iterator<Item = Self> {
            (0..72).map(|number| Self {
                decodes: (number % 3, number / 3 % 3),
                cuts: number / 9 % 2 == 1,
                slashes: number / 18 % 2 == 1,
                joins: number / 36 == 1,
            })
        }
    }

    fn uris() -> impl Strategy<Value = String> {
        let start = prop::sample::select(vec!["file:", "file:/", "file://", "file:///", "file:///public/", "FILE:///"]);
        let part = prop::sample::select(vec![
            "/",
            "//",
            "\\",
            "%2f",
            "%5C",
            "%252f",
            "public",
            "secret",
            "%73ecret",
            "..",
            ".",
            "%2e%2e",
            "%252e%252e",
            ".%2e",
            "?",
            "#",
            "%3f",
            "%23",
            "key",
            ":",
            ";",
            "/public/",
            "/secret/",
            "/../",
        ]);
        (start, prop::collection::vec(part, 0..9)).prop_map(|(start, parts)| format!("{start}{}", parts.concat()))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn no_spelling_that_some_server_maps_into_the_excluded_part_is_chosen(uri in uris()) {
            let excluding = UriSelection::of(&selection(&["*"], &["file:///secret/*"]));
            let including = UriSelection::of(&selection(&["file:///public/*"], &[]));
            for server in Lenient::all() {
                let read = server.read(&uri);
                let is_in = |folder: &str| read.first().is_some_and(|first| first == folder);
                prop_assert!(!(excluding.has(&uri) && is_in("secret") && read.len() > 1), "{server:?} {read:?}");
                prop_assert!(!including.has(&uri) || is_in("public"), "{server:?} {read:?}");
            }
        }

        #[test]
        fn choosing_a_uri_never_depends_on_how_its_pattern_is_encoded(
            folder in "[a-c ]{1,4}", encoded: bool, key in "[a-c/]{0,4}",
        ) {
            let spelled = if encoded { folder.replace(' ', "%20") } else { folder.clone() };
            let some = UriSelection::of(&selection(&["*"], &[&format!("file:///{spelled}/*")]));
            let (plain, encoded) = (format!("file:///{folder}/{key}"), format!("file:///{}/{key}", folder.replace(' ', "%20")));
            prop_assert!(!some.has(&plain) && !some.has(&encoded));
        }
    }
}
