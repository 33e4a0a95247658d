//! The ways in which a server may read a URI, for a choice that has to hold in all of them.
//!
//! In: a URI, or a pattern over URIs. Out: its readings. Servers differ in how often they take off
//! percent-encoding, whether they cut at `?` and `#` and before or after decoding, whether `\` is a
//! slash, what they make of `.`, of empty segments and of an authority. A URI with a `..`
//! segment can be resolved in as many ways, each to another place, and one with control characters
//! may be cut or joined there: those have no readings and are chosen by nobody. Clients resolve
//! references before they send them (RFC 3986 §5.2), so none loses what it means. RFC 3986 §6.2.2 is
//! followed for what may be spelled in two ways.

use std::borrow::Cow;

use super::pattern::Pattern;

/// How often percent-encoding is taken off a URI: what is encoded more often than a proxy and a
/// server could undo stays encoded.
const DECODES_MAX: usize = 4;
/// Stands for a `*` while a pattern is read as a URI is: no URI with it has readings.
const STAR: char = '\u{0}';
/// What may stand around a segment for some server.
const SEPARATORS: [char; 8] = ['/', '\\', '?', '#', ':', ';', '=', '&'];
/// The most texts that one URI is decided on: an escaped one with query, fragment, user and port has some thirty, one that is
/// escaped over and over, or has backslashes as well, nobody means.
const SPELLINGS_MAX: usize = 48;
/// Where a URI may be cut: nowhere, before its fragment, before its query.
const CUTS: [&[char]; 3] = [&[], &['#'], &['?', '#']];

/// How a server may read one URI.
pub(super) struct Readings {
    /// By the place of the cut in [`CUTS`].
    exact: [Vec<String>; CUTS.len()],
    /// Those of servers that make nothing of `.`, empty segments and where a path begins.
    lenient: Vec<String>,
}

/// The texts that a decision on one URI, which nobody lists, has to hold for: whoever decides knows texts, and not what a
/// server makes of them.
pub struct Spelled {
    /// As it is written first, then decoded and cut, each with a lower-case scheme.
    certain: Vec<String>,
    /// What only some servers make of it.
    lenient: Vec<String>,
    readings: Readings,
}

/// A pattern, in all readings of it.
#[derive(Clone, Debug)]
pub(super) struct UriPattern {
    /// By the place of the cut in [`CUTS`].
    exact: [Vec<Pattern>; CUTS.len()],
    lenient: Vec<Pattern>,
}

/// A pattern that would not choose what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUriPattern {
    /// It has an expression of a URI template.
    #[error("a choice of resources is held against URIs, which have no `{{…}}`: write `*` for each expression")]
    Template,
    /// It has a `..` segment.
    #[error("a URI with a `..` segment is never chosen: write what it leads to")]
    Climbs,
}

// === impl Readings ===

impl Readings {
    /// Reads `uri`; nothing where it may lead anywhere.
    pub(super) fn of(uri: &str) -> Option<Self> {
        let decoded = decoded(uri);
        // A parser of URLs takes white space off both ends.
        let leads_anywhere =
            |text: &Cow<'_, str>| text.contains(char::is_control) || text.trim() != text || climbs(text);
        if decoded.iter().any(leads_anywhere) {
            return None;
        }
        let exact = CUTS.map(|cut| exact(&decoded, cut));
        let mut lenient = Vec::new();
        for text in exact.iter().flatten() {
            let (scheme, rest) = scheme(text);
            add(&mut lenient, format!("{scheme}{}", flat(rest)));
            add(&mut lenient, format!("{scheme}///{}", flat(rest)));
            // Many read the path of `file://localhost/x` and look at nothing else.
            let path = rest.strip_prefix("//").map_or(rest, |rest| rest.find('/').map_or("", |slash| &rest[slash..]));
            add(&mut lenient, format!("{scheme}///{}", flat(path)));
            // Neither who asks nor the port says what is asked for.
            add(&mut lenient, format!("{scheme}{}", without_user_and_port(rest)));
        }
        Some(Self { exact, lenient })
    }
}

// === impl Spelled ===

impl Spelled {
    /// Returns the texts for `uri`; nothing where it may lead anywhere, or may be read in too many ways.
    #[must_use]
    pub fn of(uri: &str) -> Option<Self> {
        let readings = Readings::of(uri)?;
        let mut certain = vec![uri.to_owned()];
        for (cut, text) in CUTS.iter().flat_map(|cut| decoded(uri).into_iter().map(move |text| (cut, text))) {
            let text = text.split(*cut).next().unwrap_or_default();
            add(&mut certain, lower_scheme(text));
            if text.contains('\\') {
                add(&mut certain, lower_scheme(&text.replace('\\', "/")));
            }
        }
        let mut lenient = Vec::new();
        for text in readings.exact.iter().flatten().chain(&readings.lenient) {
            if !certain.contains(text) {
                add(&mut lenient, text.clone());
            }
        }
        let is_bounded = certain.len() + lenient.len() <= SPELLINGS_MAX;
        is_bounded.then_some(Self { certain, lenient, readings })
    }

    /// Tells whether `uri` is its only certain spelling.
    #[must_use]
    pub fn is_plain(uri: &str) -> bool {
        Self::of(uri).is_some_and(|spelled| spelled.certain.len() == 1)
    }

    /// The texts that a permission has to be for, each of them: the URI first, decoded, cut at query and fragment.
    #[must_use]
    pub fn certain(&self) -> &[String] {
        &self.certain
    }

    /// The texts that are good for a prohibition alone: what only some servers make of it is often no URI that anybody
    /// would permit, as `file:pub/a` for `file:///pub/a`.
    #[must_use]
    pub fn lenient(&self) -> &[String] {
        &self.lenient
    }

    pub(super) const fn readings(&self) -> &Readings {
        &self.readings
    }
}

// === impl UriPattern ===

impl UriPattern {
    /// Reads `pattern`.
    pub(super) fn of(pattern: &Pattern) -> Self {
        let texts = pattern_texts(pattern);
        let patterns = |texts: Vec<String>| texts.iter().map(|text| Pattern::of_joined(text, STAR)).collect();
        let mut exact = CUTS.map(|cut| exact(&texts, cut));
        // Where its authority ends a pattern may not say: what follows a `*` may be a path, whose capitals stay.
        for (cut, found) in CUTS.iter().zip(&mut exact) {
            texts.iter().for_each(|text| add(found, text.split(*cut).next().unwrap_or_default().to_owned()));
        }
        let mut lenient = Vec::new();
        for text in &exact[0] {
            let (scheme, rest) = scheme(text);
            add(&mut lenient, format!("{scheme}{}", flat(rest)));
            if rest.starts_with("///") || !rest.starts_with("//") {
                add(&mut lenient, format!("{scheme}///{}", flat(rest)));
            }
        }
        Self { exact: exact.map(patterns), lenient: patterns(lenient) }
    }

    /// Tells whether it matches some reading of a URI: it is enough for an exclusion.
    pub(super) fn touches(&self, uri: &Readings) -> bool {
        let patterns = || self.exact[0].iter().chain(&self.lenient);
        let mut texts = uri.exact.iter().flatten().chain(&uri.lenient);
        texts.any(|text| patterns().any(|pattern| pattern.matches(text)))
    }

    /// Tells whether each reading of a URI is matched by some of `patterns`: an inclusion takes all.
    ///
    /// A URI that is cut is held against patterns that are cut there as well: `https://x/?q=*`
    /// includes `https://x/?q=1`, and `https://x/*.txt` does not include `https://x/key?.txt`.
    pub(super) fn cover(patterns: &[Self], uri: &Readings) -> bool {
        uri.exact.iter().enumerate().all(|(cut, texts)| {
            let mut matches = |text: &String| {
                patterns.iter().flat_map(|pattern| &pattern.exact[cut]).any(|pattern| pattern.matches(text))
            };
            texts.iter().all(&mut matches)
        })
    }
}

/// Checks a pattern that chooses resources.
///
/// # Errors
/// [`InvalidUriPattern`] where it would not choose what it says.
pub fn check_uri_pattern(pattern: &Pattern) -> Result<(), InvalidUriPattern> {
    let texts = pattern_texts(pattern);
    if texts.iter().any(|text| text.contains(['{', '}'])) {
        return Err(InvalidUriPattern::Template);
    }
    if texts.iter().any(|text| climbs(text)) { Err(InvalidUriPattern::Climbs) } else { Ok(()) }
}

/// The pattern as it is written and decoded, with [`STAR`] for each `*`; nothing where it has that
/// character itself, because no URI with it is chosen.
fn pattern_texts(pattern: &Pattern) -> Vec<Cow<'_, str>> {
    let Some(joined) = pattern.joined(STAR) else { return Vec::new() };
    let texts: Vec<Cow<'_, str>> = decoded(&joined).into_iter().map(|text| Cow::Owned(text.into_owned())).collect();
    texts.into_iter().filter(|text| text.matches(STAR).count() == pattern.wildcards()).collect()
}

/// The text, and what it becomes each time that percent-encoding is taken off.
fn decoded(uri: &str) -> Vec<Cow<'_, str>> {
    let mut texts = vec![Cow::Borrowed(uri)];
    while texts.len() <= DECODES_MAX {
        let Some(last) = texts.last() else { break };
        let Cow::Owned(bytes) = Cow::from(percent_encoding::percent_decode_str(last)) else { break };
        // Bytes that are no text become one character that no pattern has.
        texts.push(Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()));
    }
    texts
}

/// Tells whether a server may take some part of `text` for the segment that leads upwards.
fn climbs(text: &str) -> bool {
    text.split(SEPARATORS).any(|segment| segment.trim() == "..")
}

/// The texts cut at `cut`, with lower-case scheme and authority, and with `\` and `/` for `\`.
fn exact(texts: &[Cow<'_, str>], cut: &[char]) -> Vec<String> {
    let mut found = Vec::new();
    for text in texts {
        let text = text.split(cut).next().unwrap_or_default();
        add(&mut found, lower_head(text));
        if text.contains('\\') {
            add(&mut found, lower_head(&text.replace('\\', "/")));
        }
    }
    found
}

fn add(texts: &mut Vec<String>, text: String) {
    if !texts.contains(&text) {
        texts.push(text);
    }
}

/// The scheme with its colon, and the rest.
fn scheme(text: &str) -> (&str, &str) {
    text.split_at(text.find(':').map_or(0, |colon| colon + 1))
}

/// Returns what stands behind a scheme without `.`, empty segments and slashes in front.
fn flat(rest: &str) -> String {
    let is_nothing = |segment: &&str| matches!(*segment, "" | ".");
    let mut flat = rest.split('/').filter(|segment| !is_nothing(segment)).collect::<Vec<_>>().join("/");
    if !flat.is_empty() && rest.rsplit('/').next().is_some_and(|last| is_nothing(&last)) {
        flat.push('/');
    }
    flat
}

/// Returns what stands behind a scheme without the user and the port of its authority, if it has one.
fn without_user_and_port(rest: &str) -> String {
    let Some(behind) = rest.strip_prefix("//") else { return rest.to_owned() };
    let (authority, path) = behind.split_at(behind.find(['/', '?', '#']).unwrap_or(behind.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = match host.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => host,
    };
    format!("//{host}{path}")
}

/// Returns `uri` without capitals in its scheme.
fn lower_scheme(uri: &str) -> String {
    let (scheme, rest) = scheme(uri);
    format!("{}{rest}", scheme.to_lowercase())
}

/// Returns `uri` without capitals in scheme and authority.
fn lower_head(uri: &str) -> String {
    let (head, path) = split(uri);
    let mut out: String = head.chars().flat_map(char::to_lowercase).collect();
    out.push_str(path);
    out
}

/// Splits a URI behind its authority, or behind its scheme where it has none.
fn split(uri: &str) -> (&str, &str) {
    let Some(colon) = uri.find(':') else { return ("", uri) };
    let behind = &uri[colon + 1..];
    let authority = behind.strip_prefix("//").map_or(0, |rest| 2 + rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    uri.split_at(colon + 1 + authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certain(uri: &str) -> Vec<String> {
        Spelled::of(uri).expect("it leads somewhere").certain().to_vec()
    }

    #[test]
    fn a_permission_has_to_be_for_a_uri_as_it_is_written_decoded_and_cut() {
        for (uri, expected) in [
            ("file:///pub/a", vec!["file:///pub/a"]),
            ("note://Ideas/1", vec!["note://Ideas/1"]),
            ("file:///%73ecret/a", vec!["file:///%73ecret/a", "file:///secret/a"]),
            ("FILE:///secret/a", vec!["FILE:///secret/a", "file:///secret/a"]),
            ("file:///key?.txt", vec!["file:///key?.txt", "file:///key"]),
            ("file:///a\\b", vec!["file:///a\\b", "file:///a/b"]),
        ] {
            assert_eq!(certain(uri), expected, "{uri}");
            assert_eq!(Spelled::is_plain(uri), expected.len() == 1, "{uri}");
        }
    }

    #[test]
    fn what_only_some_servers_make_of_a_uri_is_for_prohibitions() {
        for (uri, expected) in [
            ("file:////secret/a", "file:///secret/a"),
            ("file:///./secret/a", "file:///secret/a"),
            ("file:/secret/a", "file:///secret/a"),
            ("file://localhost/secret/a", "file:///secret/a"),
            ("note://Ideas/1", "note://ideas/1"),
            ("https://me@x:443/a", "https://x/a"),
        ] {
            let spelled = Spelled::of(uri).expect("it leads somewhere");
            assert!(spelled.lenient().iter().any(|text| text == expected), "{uri}: {:?}", spelled.lenient());
            assert!(!spelled.certain().iter().any(|text| text == expected), "{uri}");
        }
    }

    #[test]
    fn what_may_lead_anywhere_or_be_read_in_too_many_ways_has_no_spellings() {
        let layered = format!("https://me@x:1/a\\{}b?{}#{}", "%252525", "%252525", "%252525");
        for uri in ["file:///pub/../secret", "file:///pub/%2e%2e/secret", "file:///a%00b", " file:///a", &layered] {
            assert!(Spelled::of(uri).is_none(), "{uri}");
        }
        let usual = Spelled::of("https://me@x:443/a%20b?q=c%20d#e").expect("it is usual");
        assert!(usual.certain().len() + usual.lenient().len() <= SPELLINGS_MAX);
    }
}
