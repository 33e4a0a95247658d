//! Patterns over names and URIs, and the names that they are rewritten to.
//!
//! A pattern is text in which `*` stands for any characters, also for none and for `/`; a backslash
//! takes the meaning from the `*` or backslash behind it. Everything else stands for itself: `?`,
//! `[` and `{` are characters of URIs and URI templates. A [`Renaming`] has as many `*` as its
//! pattern, and each becomes what the pattern's `*` stood for. Each `*` takes as little as it can.
//!
//! The cost of a match is linear in the text for each `*`, whatever a server names its tools.

use std::fmt;

/// The longest pattern or renaming in bytes: four times the longest name that hosts accept.
pub const PATTERN_BYTES_MAX: usize = 256;
/// The most `*` of one pattern: they multiply the work of a match.
pub const WILDCARDS_MAX: usize = 8;

/// A pattern over names or URIs.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    text: Box<str>,
    parts: Parts,
}

/// What a name that matches a pattern is rewritten to.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Renaming {
    parts: Parts,
}

/// A text that is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// It has no characters, and would match nothing that has a name.
    #[error("a pattern must not be empty: write \"*\" for everything")]
    Empty,
    /// It is longer than [`PATTERN_BYTES_MAX`].
    #[error("a pattern has at most {PATTERN_BYTES_MAX} bytes")]
    TooLong,
    /// It has more than [`WILDCARDS_MAX`] `*`.
    #[error("a pattern has at most {WILDCARDS_MAX} `*`")]
    TooManyWildcards,
    /// A backslash before something that needs none.
    #[error("a backslash stands before `*` or another backslash only")]
    Escape,
}

/// The fixed parts of a text, between its `*`: one more than there are `*`.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Parts(Box<[Box<str>]>);

// === impl Pattern ===

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`InvalidPattern`].
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        Ok(Self { text: text.into(), parts: Parts::parse(text)? })
    }

    /// Makes the pattern that matches everything.
    #[must_use]
    pub fn everything() -> Self {
        Self { text: "*".into(), parts: Parts([Box::from(""), Box::from("")].into()) }
    }

    /// Returns the pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns how many `*` it has.
    #[must_use]
    pub fn wildcards(&self) -> usize {
        self.parts.wildcards()
    }

    /// Tells whether it matches all of `text`.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.parts.walk(text, |_| {})
    }

    /// Returns its fixed parts with `star` between them; nothing where one of them has it.
    pub(super) fn joined(&self, star: char) -> Option<String> {
        let is_free = !self.parts.0.iter().any(|part| part.contains(star));
        is_free.then(|| self.parts.0.join(star.encode_utf8(&mut [0; 4])))
    }

    /// Makes the pattern whose fixed parts stand between the `star`s of `joined`.
    pub(super) fn of_joined(joined: &str, star: char) -> Self {
        Self { text: joined.replace(star, "*").into(), parts: Parts(joined.split(star).map(Box::from).collect()) }
    }

    /// Returns what each `*` stands for in `text`, or nothing when it does not match.
    #[must_use]
    pub fn captures<'a>(&self, text: &'a str) -> Option<Vec<&'a str>> {
        let mut captured = Vec::with_capacity(self.wildcards());
        self.parts.walk(text, |part| captured.push(part)).then_some(captured)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.text)
    }
}

// === impl Renaming ===

impl Renaming {
    /// Reads a renaming.
    ///
    /// # Errors
    /// [`InvalidPattern`].
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        Ok(Self { parts: Parts::parse(text)? })
    }

    /// Returns how many `*` it has.
    #[must_use]
    pub fn wildcards(&self) -> usize {
        self.parts.wildcards()
    }

    /// Returns the name, where it is one whatever is renamed.
    #[must_use]
    pub fn as_name(&self) -> Option<&str> {
        match &*self.parts.0 {
            [name] => Some(name),
            _ => None,
        }
    }

    /// Returns the parts that do not depend on what is renamed.
    pub fn fixed_parts(&self) -> impl Iterator<Item = &str> {
        self.parts.0.iter().map(|part| &**part)
    }

    /// Returns the name for something whose pattern stood for `captured`.
    #[must_use]
    pub fn apply(&self, captured: &[&str]) -> String {
        let mut name = String::new();
        for (index, part) in self.parts.0.iter().enumerate() {
            name.push_str(part);
            name.push_str(captured.get(index).copied().unwrap_or_default());
        }
        name
    }
}

impl fmt::Debug for Renaming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Renaming({:?})", self.parts.0.join("*"))
    }
}

// === impl Parts ===

impl Parts {
    fn parse(text: &str) -> Result<Self, InvalidPattern> {
        if text.is_empty() {
            return Err(InvalidPattern::Empty);
        }
        if text.len() > PATTERN_BYTES_MAX {
            return Err(InvalidPattern::TooLong);
        }
        let mut parts = Vec::new();
        let mut part = String::new();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            match character {
                '*' => parts.push(std::mem::take(&mut part).into_boxed_str()),
                '\\' => match characters.next() {
                    Some(literal @ ('*' | '\\')) => part.push(literal),
                    Some(_) | None => return Err(InvalidPattern::Escape),
                },
                literal => part.push(literal),
            }
        }
        parts.push(part.into_boxed_str());
        if parts.len() - 1 > WILDCARDS_MAX {
            return Err(InvalidPattern::TooManyWildcards);
        }
        Ok(Self(parts.into()))
    }

    const fn wildcards(&self) -> usize {
        self.0.len() - 1
    }

    /// Walks through `text` and hands over what each `*` stands for; false when it does not match.
    ///
    /// The first place where a part fits is the right one: whatever fits behind a later place also
    /// fits behind an earlier one.
    fn walk<'a>(&self, text: &'a str, mut captured: impl FnMut(&'a str)) -> bool {
        let [first, rest @ ..] = &*self.0 else { return false };
        let Some(mut left) = text.strip_prefix(&**first) else { return false };
        let [middle @ .., last] = rest else { return left.is_empty() };
        for part in middle {
            let Some(at) = left.find(&**part) else { return false };
            captured(&left[..at]);
            left = &left[at + part.len()..];
        }
        let Some(tail) = left.strip_suffix(&**last) else { return false };
        captured(tail);
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_stands_for_any_characters_and_everything_else_for_itself() {
        let cases = [
            ("read_file", "read_file", true),
            ("read_file", "read_files", false),
            ("read_*", "read_", true),
            ("read_*", "read_file", true),
            ("read_*", "Read_file", false),
            ("*_file", "read_file", true),
            ("*", "", true),
            ("*", "file:///a/b", true),
            ("file:///a/*", "file:///a/b/c", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "acb", false),
            ("ab*ba", "aba", false),
            ("*a*a*", "a", false),
            ("**", "x", true),
            ("https://x/?q=*", "https://x/?q=1", true),
            ("https://x/?q=*", "https://x/yq=1", false),
            ("repo://{owner}/*", "repo://{owner}/{name}", true),
            (r"2\*3", "2*3", true),
            (r"2\*3", "2\\3", false),
            (r"a\\*", r"a\b", true),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(Pattern::parse(pattern).expect(pattern).matches(text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_the_reason() {
        let long = "x".repeat(PATTERN_BYTES_MAX + 1);
        let stars = "*".repeat(WILDCARDS_MAX + 1);
        let cases = [
            ("", InvalidPattern::Empty),
            (long.as_str(), InvalidPattern::TooLong),
            (stars.as_str(), InvalidPattern::TooManyWildcards),
            ("a\\b", InvalidPattern::Escape),
            ("a\\", InvalidPattern::Escape),
        ];
        for (text, expected) in cases {
            assert_eq!(Pattern::parse(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn a_renaming_keeps_what_the_stars_stood_for() {
        let cases = [
            ("create_*", "make_*", "create_issue", Some("make_issue")),
            ("*-*", "*.*", "a-b-c", Some("a.b-c")),
            ("search", "find", "search", Some("find")),
            ("create_*", "make_*", "delete_issue", None),
            ("*", r"\**", "x", Some("*x")),
        ];
        for (pattern, renaming, name, expected) in cases {
            let pattern = Pattern::parse(pattern).expect(pattern);
            let renaming = Renaming::parse(renaming).expect(renaming);
            let renamed = pattern.captures(name).map(|captured| renaming.apply(&captured));
            assert_eq!(renamed.as_deref(), expected, "{pattern:?} {name}");
        }
    }

    proptest! {
        #[test]
        fn a_pattern_matches_what_it_was_made_of(
            parts in prop::collection::vec("[ab*\\\\é]{0,3}", 1..=WILDCARDS_MAX),
            fillers in prop::collection::vec("[ab*é]{0,3}", WILDCARDS_MAX),
        ) {
            let escaped: Vec<String> = parts.iter().map(|part| part.replace('\\', r"\\").replace('*', r"\*")).collect();
            let pattern = escaped.join("*");
            prop_assume!(!pattern.is_empty());
            let pattern = Pattern::parse(&pattern).expect("its parts are escaped");
            let mut text = String::new();
            for (index, part) in parts.iter().enumerate() {
                text.push_str(part);
                if index + 1 < parts.len() {
                    text.push_str(&fillers[index]);
                }
            }

            prop_assert!(pattern.matches(&text));
            let captured = pattern.captures(&text).expect("it matches");
            prop_assert_eq!(captured.len(), pattern.wildcards());
            prop_assert_eq!(Renaming::parse(pattern.as_str()).expect("the same text").apply(&captured), text);
        }

        #[test]
        fn two_names_of_one_pattern_are_renamed_to_two_names(
            pattern in "[ab]{0,2}\\*[ab]{0,2}(\\*[ab]{0,2})?",
            one in "[ab]{0,8}",
            other in "[ab]{0,8}",
        ) {
            let pattern = Pattern::parse(&pattern).expect("it is one");
            let renaming = Renaming::parse(&"-*".repeat(pattern.wildcards())).expect("it is one");
            if let (Some(first), Some(second)) = (pattern.captures(&one), pattern.captures(&other)) {
                prop_assert_eq!(one == other, renaming.apply(&first) == renaming.apply(&second));
            }
        }
    }
}
