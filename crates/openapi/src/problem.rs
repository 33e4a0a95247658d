//! What is wrong with a document or with what is asked of it, and where.
//!
//! A [`Problem`] has a JSON pointer into the document, a typed [`Reason`] with the value found and what would be
//! allowed, and an [`Effect`]: the whole document is refused, one operation is left out, or something was decided that
//! its owner should know of. Secrets never get here.

use std::fmt;

use crate::text::cut;

/// The most characters of a value that a problem shows.
const SHOWN_CHARS_MAX: usize = 80;
/// The most names that a problem lists.
const LISTED_MAX: usize = 10;

/// One problem and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where in the document, as a JSON pointer in a URI fragment (RFC 6901 §6): `#/paths/~1pets/get`.
    pub pointer: String,
    /// What follows from it.
    pub effect: Effect,
    /// What is wrong.
    pub reason: Reason,
}

/// What follows from a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing of the document is offered.
    Refused,
    /// One operation is not offered.
    LeftOut {
        /// The operation, as `GET /pets`.
        operation: String,
    },
    /// Nothing but what the reason says.
    Noted,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The text is not JSON or YAML.
    #[error("{message}")]
    Syntax {
        /// What the parser said.
        message: String,
    },
    /// There is more of something than is read.
    #[error("{what} has {found}, the most allowed is {max}")]
    TooMuch {
        /// What there is too much of.
        what: &'static str,
        /// How much there is.
        found: String,
        /// The most that is read.
        max: String,
    },
    /// The document is of another version or format.
    #[error("{found} is not read: allowed is openapi: 3.0.x or 3.1.x{}", swagger_hint(found))]
    Version {
        /// What the document says that it is.
        found: String,
    },
    /// A value has another type than its place takes.
    #[error("expected {expected}, found {found}")]
    WrongType {
        /// The type that the place takes.
        expected: &'static str,
        /// The type and value found.
        found: String,
    },
    /// Something that must be there is not.
    #[error("{what} is missing")]
    Missing {
        /// What.
        what: String,
    },
    /// A value is none of the choices.
    #[error("{value} is not a choice; allowed: {}", listed(allowed))]
    NotAChoice {
        /// The value as given.
        value: String,
        /// The choices.
        allowed: Vec<String>,
    },
    /// A value has the right type and is still not valid.
    #[error("{value} is not valid: {message}")]
    Invalid {
        /// The value as given.
        value: String,
        /// What is wrong with it.
        message: String,
    },
    /// A `$ref` leads out of the document, where nothing is fetched from.
    #[error("$ref {target} leads out of the document: bundle the document, nothing is fetched")]
    RemoteRef {
        /// The reference.
        target: String,
    },
    /// A `$ref` leads nowhere.
    #[error("$ref {target} leads nowhere: allowed is #/ and a path that exists in the document")]
    BrokenRef {
        /// The reference.
        target: String,
    },
    /// A `$ref` leads back to itself before it means anything.
    #[error("$ref {target} leads back to itself without a property or item between")]
    EndlessRef {
        /// The reference.
        target: String,
    },
    /// Several operations would have one name.
    #[error("{name:?} is the name of {count} operations: this one is called {instead:?}")]
    NameShared {
        /// The name.
        name: String,
        /// How many operations have it.
        count: usize,
        /// The name that the operation got.
        instead: String,
    },
    /// What the document asks for cannot be done here.
    #[error("{what} is not supported{hint}")]
    Unsupported {
        /// What.
        what: String,
        /// What could be done instead; begins with its own punctuation.
        hint: &'static str,
    },
    /// A schema is larger than allowed, so that its deeper parts are offered without detail.
    #[error("the {what} schema is larger than {max} bytes: below level {depth} it is left open")]
    Loosened {
        /// `input` or `output`.
        what: &'static str,
        /// The most bytes.
        max: usize,
        /// The level of nesting up to which it is exact.
        depth: usize,
    },
    /// No alternative of an operation's security has all its credentials.
    #[error("calls go without credentials: none is configured for {}", listed(schemes))]
    NoCredential {
        /// The alternatives, each with the schemes that it needs.
        schemes: Vec<String>,
    },
    /// A credential is configured that no request carries.
    #[error("no selected operation asks for {scheme:?}: its credential is never sent")]
    UnusedCredential {
        /// The security scheme.
        scheme: String,
    },
    /// A pattern of the selection matches no operation.
    #[error("{pattern:?} matches no {what} of the document; there are: {}", listed(known))]
    NoMatch {
        /// What the pattern is about: `tag`, `operation`, `path`, `method`.
        what: &'static str,
        /// The pattern.
        pattern: String,
        /// What there is.
        known: Vec<String>,
    },
    /// No operation is left to offer.
    #[error("no operation is left: {found} in the document, {selected} selected, none of them can be offered")]
    Nothing {
        /// Operations of the document.
        found: usize,
        /// Operations that the selection leaves.
        selected: usize,
    },
    /// A part of an operation is passed over.
    #[error("{what} is passed over: {why}")]
    PassedOver {
        /// What.
        what: String,
        /// Why.
        why: &'static str,
    },
}

/// A reason at its place, before it is known what follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) pointer: String,
    pub(crate) reason: Reason,
}

// === impl Problem ===

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.effect {
            Effect::Refused | Effect::Noted => write!(f, "{}: {}", self.pointer, self.reason),
            Effect::LeftOut { operation } => write!(f, "{}: {} ({operation} is left out)", self.pointer, self.reason),
        }
    }
}

// === impl Fault ===

impl Fault {
    pub(crate) fn refused(self) -> Problem {
        Problem { pointer: self.pointer, effect: Effect::Refused, reason: self.reason }
    }

    pub(crate) fn left_out(self, operation: &str) -> Problem {
        let effect = Effect::LeftOut { operation: operation.to_owned() };
        Problem { pointer: self.pointer, effect, reason: self.reason }
    }

    pub(crate) fn noted(self) -> Problem {
        Problem { pointer: self.pointer, effect: Effect::Noted, reason: self.reason }
    }
}

/// Quotes a text as problems show it, shortened.
pub(crate) fn shown(text: &str) -> String {
    let (short, ellipsis) = cut(text, SHOWN_CHARS_MAX);
    format!("{short:?}{ellipsis}")
}

/// Writes a list of names, shortened.
pub(crate) fn listed(names: &[String]) -> String {
    let mut text = names.iter().take(LISTED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(LISTED_MAX) {
        None | Some(0) if names.is_empty() => text.push_str("none"),
        None | Some(0) => {}
        Some(more) => text.push_str(&format!(" and {more} more")),
    }
    text
}

fn swagger_hint(found: &str) -> &'static str {
    if found.starts_with("swagger") { "; convert it, for example with swagger2openapi" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_reads_from_its_place_to_what_follows() {
        let fault = Fault {
            pointer: "#/paths/~1pets/get/parameters/0".to_owned(),
            reason: Reason::NotAChoice { value: shown("body"), allowed: vec!["path".to_owned(), "query".to_owned()] },
        };

        assert_eq!(
            fault.left_out("GET /pets").to_string(),
            "#/paths/~1pets/get/parameters/0: \"body\" is not a choice; allowed: path, query (GET /pets is left out)"
        );
    }

    #[test]
    fn long_lists_and_values_are_cut() {
        let names: Vec<String> = (0..25).map(|index| format!("n{index}")).collect();
        assert!(listed(&names).ends_with("n9 and 15 more"));
        assert_eq!(listed(&[]), "none");
        assert!(shown(&"x".repeat(1_000)).chars().count() < 90);
    }
}
