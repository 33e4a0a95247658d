//! Decides whether a URI could be an expansion of a URI template (RFC 6570).
//!
//! Templates come from backends and URIs from clients, so both are hostile: a template is
//! compiled to at most [`PARTS_MAX`] parts, and matching keeps the set of reachable positions
//! instead of backtracking, at a cost that is counted in [`Work`] and ends when the work is spent.
//!
//! All operators of level 3 are known; the modifiers of level 4 are accepted and widen nothing.
//! Matching answers generously: what an expression may expand to is a set of bytes, values are
//! not decoded, and an undefined variable may leave nothing. A match says which server to ask, and
//! that server decides; or that a policy about the template is about the URI.

use std::sync::Arc;

/// The longest template that is compiled, in bytes; real ones are URLs of a line.
pub const TEMPLATE_BYTES_MAX: usize = 2048;
/// The most literals and expressions of one template.
pub const PARTS_MAX: usize = 33;

/// A compiled template; clones are cheap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Arc<[Part]>,
}

/// A text is not a template that can be matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTemplate {
    /// It is longer than [`TEMPLATE_BYTES_MAX`].
    #[error("a template has at most {TEMPLATE_BYTES_MAX} bytes, this one has {bytes}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It has more than [`PARTS_MAX`] parts.
    #[error("a template has at most {PARTS_MAX} literals and expressions")]
    TooManyParts,
    /// A brace has no partner.
    #[error("the brace at position {position} has no partner")]
    Unbalanced {
        /// The byte offset of the brace.
        position: usize,
    },
    /// An expression names no variable.
    #[error("the expression at position {position} names no variable")]
    Empty {
        /// The byte offset of its opening brace.
        position: usize,
    },
    /// An expression has an operator that RFC 6570 §2.2 reserves.
    #[error("the operator {operator:?} at position {position} is reserved")]
    ReservedOperator {
        /// The operator.
        operator: char,
        /// The byte offset of the expression's opening brace.
        position: usize,
    },
}

/// What matching may still cost, in steps of about a byte comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    left: usize,
}

/// The work is spent and the question not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("matching the template costs more work than is left")]
pub struct WorkExhausted;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(Box<str>),
    Expression(Expression),
}

/// What one expression may expand to: nothing, or `first` and then any of the allowed bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Expression {
    first: Option<u8>,
    /// The bytes that end the expansion.
    stops: &'static [u8],
}

// === impl Template ===

impl Template {
    /// Compiles `text`.
    ///
    /// # Errors
    /// [`InvalidTemplate`] says what is wrong and where.
    pub fn parse(text: &str) -> Result<Self, InvalidTemplate> {
        if text.len() > TEMPLATE_BYTES_MAX {
            return Err(InvalidTemplate::TooLong { bytes: text.len() });
        }
        let mut parts = Vec::new();
        let mut at = 0;
        while at < text.len() {
            if parts.len() == PARTS_MAX {
                return Err(InvalidTemplate::TooManyParts);
            }
            let rest = &text[at..];
            let (part, length) = match rest.find(['{', '}']) {
                None => (Part::Literal(rest.into()), rest.len()),
                Some(0) => {
                    let inner = inside_braces(rest, at)?;
                    (Part::Expression(Expression::parse(inner, at)?), inner.len() + 2)
                }
                Some(length) => (Part::Literal(rest[..length].into()), length),
            };
            parts.push(part);
            at += length;
        }
        Ok(Self { parts: parts.into() })
    }

    /// Returns the text that every expansion starts with.
    #[must_use]
    pub fn literal_prefix(&self) -> &str {
        match self.parts.first() {
            Some(Part::Literal(text)) => text,
            Some(Part::Expression(_)) | None => "",
        }
    }

    /// Whether `uri` could be an expansion of this template.
    ///
    /// # Errors
    /// [`WorkExhausted`] when the answer costs more than `work` has left.
    pub fn matches(&self, uri: &str, work: &mut Work) -> Result<bool, WorkExhausted> {
        work.spend(1)?;
        let Some(rest) = uri.strip_prefix(self.literal_prefix()) else { return Ok(false) };
        let parts = match self.parts.first() {
            Some(Part::Literal(_)) => &self.parts[1..],
            Some(Part::Expression(_)) | None => &self.parts[..],
        };
        let text = rest.as_bytes();
        let mut reachable = vec![false; text.len() + 1];
        reachable[0] = true;
        for part in parts {
            work.spend(reachable.len())?;
            reachable = match part {
                Part::Literal(literal) => after_literal(literal.as_bytes(), text, &reachable, work)?,
                Part::Expression(expression) => expression.after(text, &reachable),
            };
            if !reachable.contains(&true) {
                return Ok(false);
            }
        }
        Ok(reachable[text.len()])
    }
}

// === impl Work ===

impl Work {
    /// Allows `steps` steps.
    #[must_use]
    pub const fn new(steps: usize) -> Self {
        Self { left: steps }
    }

    /// Takes `steps`; once there are too few, nothing is left.
    fn spend(&mut self, steps: usize) -> Result<(), WorkExhausted> {
        match self.left.checked_sub(steps) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err(WorkExhausted)
            }
        }
    }
}

// === impl Expression ===

impl Expression {
    /// Reads what stands between the braces, by the table of RFC 6570 appendix A.
    fn parse(inner: &str, position: usize) -> Result<Self, InvalidTemplate> {
        const SEGMENT: &[u8] = b"/?#";
        let operator = inner.chars().next().ok_or(InvalidTemplate::Empty { position })?;
        let (first, variables) = match operator {
            '=' | ',' | '!' | '@' | '|' => return Err(InvalidTemplate::ReservedOperator { operator, position }),
            '+' | '#' | '.' | '/' | ';' | '?' | '&' => (Some(operator), &inner[1..]),
            _ => (None, inner),
        };
        if variables.is_empty() {
            return Err(InvalidTemplate::Empty { position });
        }
        // Several path variables, or one exploded list, expand to several segments.
        let segments = variables.contains([',', '*']);
        Ok(match first {
            Some('+') => Self { first: None, stops: b"" },
            Some('#') => Self { first: Some(b'#'), stops: b"" },
            Some('?') => Self { first: Some(b'?'), stops: b"#" },
            Some('&') => Self { first: Some(b'&'), stops: b"#" },
            Some('/') => Self { first: Some(b'/'), stops: if segments { b"?#" } else { SEGMENT } },
            Some('.') => Self { first: Some(b'.'), stops: SEGMENT },
            Some(';') => Self { first: Some(b';'), stops: SEGMENT },
            Some(_) | None => Self { first: None, stops: SEGMENT },
        })
    }

    /// The positions reachable after this expression, in one pass.
    fn after(self, text: &[u8], before: &[bool]) -> Vec<bool> {
        let mut after = vec![false; before.len()];
        let mut inside = false;
        for position in 0..before.len() {
            let previous = position.checked_sub(1).map(|index| (before[index], text[index]));
            inside &= previous.is_some_and(|(_, byte)| !self.stops.contains(&byte));
            inside |= match self.first {
                None => before[position],
                Some(first) => previous.is_some_and(|(reachable, byte)| reachable && byte == first),
            };
            after[position] = before[position] || inside;
        }
        after
    }
}

/// The text between the brace that `rest` starts with and its partner.
fn inside_braces(rest: &str, position: usize) -> Result<&str, InvalidTemplate> {
    let unbalanced = InvalidTemplate::Unbalanced { position };
    let inner = rest.strip_prefix('{').ok_or(unbalanced)?;
    match inner.find(['{', '}']) {
        Some(end) if inner.as_bytes()[end] == b'}' => Ok(&inner[..end]),
        Some(_) | None => Err(unbalanced),
    }
}

/// The positions reachable after `literal`.
fn after_literal(literal: &[u8], text: &[u8], before: &[bool], work: &mut Work) -> Result<Vec<bool>, WorkExhausted> {
    let mut after = vec![false; before.len()];
    for (position, _) in before.iter().enumerate().filter(|&(_, &reachable)| reachable) {
        work.spend(literal.len())?;
        if text[position..].starts_with(literal) {
            after[position + literal.len()] = true;
        }
    }
    Ok(after)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(template: &str, uri: &str) -> bool {
        let template = Template::parse(template).expect("a valid template");
        template.matches(uri, &mut Work::new(1_000_000)).expect("enough work")
    }

    #[test]
    fn expansions_of_every_operator_match() {
        // The expansions of RFC 6570 §3.2 with var := "value", hello := "Hello World!",
        // path := "/foo/bar", x := "1024", y := "768", empty := "", who := "fred".
        for (template, uri) in [
            ("test://template/{id}/data", "test://template/5/data"),
            ("{var}", "value"),
            ("{hello}", "Hello%20World%21"),
            ("map?{x,y}", "map?1024,768"),
            ("{+path}/here", "/foo/bar/here"),
            ("here?ref={+path}", "here?ref=/foo/bar"),
            ("X{#var}", "X#value"),
            ("X{#path,x}/here", "X#/foo/bar,1024/here"),
            ("X{.var}", "X.value"),
            ("X{.x,y}", "X.1024.768"),
            ("{/var}", "/value"),
            ("{/var,x}/here", "/value/1024/here"),
            ("{/list*}", "/red/green/blue"),
            ("{;x,y,empty}", ";x=1024;y=768;empty"),
            ("{?x,y}", "?x=1024&y=768"),
            ("{?x,y,undef}", "?x=1024&y=768"),
            ("?fixed=yes{&x}", "?fixed=yes&x=1024"),
            ("{&x,y,empty}", "&x=1024&y=768&empty="),
            ("{var:3}", "val"),
            ("{?undef}", ""),
            ("users/{id}{?fields}", "users/7"),
            ("users/{id}{?fields}", "users/7?fields=a,b"),
            ("{a}-{b}-{c}", "1-2-3-4"),
            ("", ""),
        ] {
            assert!(matches(template, uri), "{template} {uri}");
        }
    }

    #[test]
    fn what_no_expansion_gives_does_not_match() {
        for (template, uri) in [
            ("test://template/{id}/data", "test://template/5/6/data"),
            ("test://template/{id}/data", "test://template/5/dat"),
            ("test://template/{id}/data", "test://other/5/data"),
            ("{/var}", "/a/b"),
            ("users/{id}", "users/7?fields=a"),
            ("X{#var}", "Xvalue"),
            ("{?x}", "x=1"),
            ("{.var}", "value"),
            ("a{?x}", "a?x=1#f"),
            ("", "a"),
            ("abc", "ab"),
        ] {
            assert!(!matches(template, uri), "{template} {uri}");
        }
    }

    #[test]
    fn an_invalid_template_says_what_is_wrong() {
        for (text, expected) in [
            ("a{b", InvalidTemplate::Unbalanced { position: 1 }),
            ("a}b", InvalidTemplate::Unbalanced { position: 1 }),
            ("{a{b}}", InvalidTemplate::Unbalanced { position: 0 }),
            ("x{}", InvalidTemplate::Empty { position: 1 }),
            ("{?}", InvalidTemplate::Empty { position: 0 }),
            ("{=a}", InvalidTemplate::ReservedOperator { operator: '=', position: 0 }),
            ("{|a}", InvalidTemplate::ReservedOperator { operator: '|', position: 0 }),
        ] {
            assert_eq!(Template::parse(text), Err(expected), "{text}");
        }

        assert_eq!(Template::parse(&"{a}".repeat(PARTS_MAX + 1)), Err(InvalidTemplate::TooManyParts));
        let long = "a".repeat(TEMPLATE_BYTES_MAX + 1);
        assert_eq!(Template::parse(&long), Err(InvalidTemplate::TooLong { bytes: TEMPLATE_BYTES_MAX + 1 }));
    }

    #[test]
    fn a_hostile_pair_ends_when_its_work_is_spent() {
        let template = Template::parse(&"{+a}aaaaaaaaaaaaaaaa".repeat(16)).expect("a valid template");
        let uri = format!("{}b", "a".repeat(8192));

        assert_eq!(template.matches(&uri, &mut Work::new(100_000)), Err(WorkExhausted));
        assert_eq!(template.matches(&uri, &mut Work::new(10_000_000)), Ok(false));
    }

    #[test]
    fn spent_work_stays_spent() {
        let template = Template::parse("{a}").expect("a valid template");
        let mut work = Work::new(5);

        assert_eq!(template.matches("0123456789", &mut work), Err(WorkExhausted));
        assert_eq!(template.matches("", &mut work), Err(WorkExhausted));
    }

    /// The definition of matching, by trying every split.
    fn matches_by_definition(parts: &[Part], text: &[u8]) -> bool {
        match parts.split_first() {
            None => text.is_empty(),
            Some((Part::Literal(literal), rest)) => {
                text.strip_prefix(literal.as_bytes()).is_some_and(|text| matches_by_definition(rest, text))
            }
            Some((Part::Expression(expression), rest)) => (0..=text.len()).any(|end| {
                let value = match (&text[..end], expression.first) {
                    ([], _) => &[][..],
                    ([head, value @ ..], Some(first)) if *head == first => value,
                    (_, Some(_)) => return false,
                    (value, None) => value,
                };
                !value.iter().any(|byte| expression.stops.contains(byte)) && matches_by_definition(rest, &text[end..])
            }),
        }
    }

    proptest! {
        #[test]
        fn matching_agrees_with_its_definition(
            template in "([ab/?#.]{0,2}\\{[+#./;?&]?[xy](,z)?\\*?\\}){0,4}[ab/]{0,2}",
            uri in "[ab/?#.;&,]{0,9}",
        ) {
            let template = Template::parse(&template).expect("the generator makes valid templates");
            let expected = matches_by_definition(&template.parts, uri.as_bytes());
            prop_assert_eq!(template.matches(&uri, &mut Work::new(1_000_000)), Ok(expected));
        }

        #[test]
        fn parsing_never_panics_and_work_bounds_matching(template: String, uri: String, steps in 0_usize..10_000) {
            if let Ok(template) = Template::parse(&template) {
                let _ = template.matches(&uri, &mut Work::new(steps));
            }
        }
    }
}
