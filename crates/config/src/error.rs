//! What is wrong with a set of resources: every problem at once, each with its place.
//!
//! A [`Problem`] has the place (file, document, line, resource), the key path and a typed
//! [`Reason`] with the value given and what would be allowed. `Display` of [`Errors`] is what
//! people read: one problem per line. Values under keys that hold secrets never get here.

use std::fmt;
use std::path::PathBuf;

use crate::resource::Kind;

/// The longest value that an error shows, in characters; the rest is an ellipsis.
const SHOWN_CHARS_MAX: usize = 80;
/// The most problems that `Display` writes; the last line counts the others.
const LINES_MAX: usize = 100;

/// All problems of a set, in the order of files, documents and keys. There is at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors {
    problems: Vec<Problem>,
}

/// One problem and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The document that it is in.
    pub place: Place,
    /// The key within the document, such as `spec.urls[1]`; empty for the document itself.
    pub path: String,
    /// What is wrong.
    pub reason: Reason,
}

/// Where a problem is, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was named or found; `None` for resources made in code.
    pub file: Option<PathBuf>,
    /// The index of the document in its file, from 1, empty documents not counted.
    pub document: Option<usize>,
    /// The line in the file, from 1.
    pub line: Option<usize>,
    /// The resource's kind.
    pub kind: Option<Kind>,
    /// The resource's name.
    pub name: Option<String>,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// A file or folder cannot be read.
    #[error("cannot be read: {message}")]
    Unreadable {
        /// What the system said.
        message: String,
    },
    /// A file named on the command line has an extension that is not read.
    #[error("is not a resource file: its name must end in .yaml, .yml or .json")]
    Extension,
    /// A folder has no resource file.
    #[error("has no file that ends in .yaml, .yml or .json")]
    EmptyFolder,
    /// A text is not YAML or JSON, or uses what is not allowed in it.
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
    /// A key does not exist here.
    #[error("unknown key {key:?}{}; allowed here: {}", did_you_mean(.suggestion.as_deref()), .allowed.join(", "))]
    UnknownKey {
        /// The key as given.
        key: String,
        /// The key that was probably meant.
        suggestion: Option<String>,
        /// The keys that exist here.
        allowed: Vec<String>,
    },
    /// A key that must be there is not.
    #[error("is missing: {description}")]
    Missing {
        /// What the key is for.
        description: String,
    },
    /// A value has another type than its key takes.
    #[error("expected {expected}, found {found}{hint}")]
    WrongType {
        /// The type that the key takes.
        expected: &'static str,
        /// The type and value given.
        found: String,
        /// What to do about it, where that is known; begins with its own punctuation.
        hint: &'static str,
    },
    /// A value is none of the choices.
    #[error("{value} is not a choice{}; allowed: {}", did_you_mean(.suggestion.as_deref()), .allowed.join(", "))]
    NotAChoice {
        /// The value as given.
        value: String,
        /// The choice that was probably meant.
        suggestion: Option<String>,
        /// The choices.
        allowed: Vec<String>,
    },
    /// A value is outside of its range.
    #[error("{value} is out of range: allowed is {min} to {max}")]
    OutOfRange {
        /// The value as given.
        value: String,
        /// The smallest allowed.
        min: String,
        /// The largest allowed.
        max: String,
    },
    /// A value has the right type and is still not valid.
    #[error("{value} is not valid: {message}")]
    Invalid {
        /// The value as given.
        value: String,
        /// What is wrong with it.
        message: String,
    },
    /// A value is there twice.
    #[error("{value} is already at {first}")]
    Repeated {
        /// The value as given.
        value: String,
        /// The key path of the first one.
        first: String,
    },
    /// A name is taken by another resource of the kind.
    #[error("there is already a {kind} named {name:?}, in {first}")]
    NameTaken {
        /// The kind of both.
        kind: Kind,
        /// Their name.
        name: String,
        /// Where the first one is.
        first: String,
    },
    /// An address is bound by another listener.
    #[error("{address} is already the address of Listener {first:?}")]
    AddressTaken {
        /// The address.
        address: String,
        /// The name of the other listener.
        first: String,
    },
    /// A resource that is referred to does not exist.
    #[error("there is no {kind} {name:?}{}; there are: {}", did_you_mean(.suggestion.as_deref()), or_none(.known))]
    UnknownReference {
        /// The kind of what is referred to.
        kind: Kind,
        /// The name as given.
        name: String,
        /// The name that was probably meant.
        suggestion: Option<String>,
        /// The names that exist, at most ten.
        known: Vec<String>,
    },
    /// A resource that is referred to belongs to somebody else.
    #[error(
        "{kind} {name:?} belongs to tenant {owner:?}; tenant {tenant:?} may use its own and those of tenant \"default\""
    )]
    ForeignReference {
        /// The kind of what is referred to.
        kind: Kind,
        /// Its name.
        name: String,
        /// The tenant that it belongs to.
        owner: String,
        /// The tenant that refers to it.
        tenant: String,
    },
    /// A text of policies is not one, or does not fit the schema.
    #[error("line {line}, column {column}: {message}{}", in_brackets(.help.as_deref()))]
    Policy {
        /// The line in the text, from 1; the place has that of the file.
        line: usize,
        /// The character in the line, from 1.
        column: usize,
        /// What is wrong.
        message: String,
        /// What would be right, where that is known.
        help: Option<String>,
    },
    /// A policy names what the set cannot have, so that it would never apply.
    #[error("line {line}, column {column}: {named} can never be: {why}{}", in_brackets(.help.as_deref()))]
    NeverThere {
        /// The line in the text of the policies, from 1; the place has that of the file.
        line: usize,
        /// The character in the line, from 1.
        column: usize,
        /// What is named, as the policy writes it.
        named: String,
        /// Why it cannot be.
        why: String,
        /// What may have been meant, where that is known.
        help: Option<String>,
    },
    /// Two keys contradict each other.
    #[error("{message}")]
    Conflict {
        /// Which, and what to do.
        message: String,
    },
}

// === impl Errors ===

impl Errors {
    /// Makes the errors of these problems, or nothing of none.
    pub(crate) fn of(problems: Vec<Problem>) -> Option<Self> {
        (!problems.is_empty()).then_some(Self { problems })
    }

    /// Returns the same errors, in documents that come from where `origin` says: it is shown as their file.
    #[must_use]
    pub fn from_origins(mut self, origin: impl Fn(&Place) -> Option<PathBuf>) -> Self {
        for problem in self.problems.iter_mut().filter(|problem| problem.place.file.is_none()) {
            problem.place.file = origin(&problem.place);
        }
        self
    }

    /// Puts others behind these.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.problems.extend(others.problems);
        self
    }

    /// Returns the problems, to tell of them with others.
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// Returns the problems.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().take(LINES_MAX).enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        match self.problems.len().checked_sub(LINES_MAX) {
            None | Some(0) => Ok(()),
            Some(more) => write!(f, "\nand {more} more problems"),
        }
    }
}

impl std::error::Error for Errors {}

// === impl Problem ===

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place.to_string();
        for part in [place.as_str(), &self.path] {
            if !part.is_empty() {
                write!(f, "{part}: ")?;
            }
        }
        write!(f, "{}", self.reason)
    }
}

// === impl Place ===

impl fmt::Display for Place {
    /// Writes `FILE:LINE (document N) KIND/NAME`, as far as it is known.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if let Some(file) = &self.file {
            let line = self.line.map(|line| format!(":{line}")).unwrap_or_default();
            parts.push(format!("{}{line}", file.display()));
        }
        parts.extend(self.document.map(|index| format!("(document {index})")));
        let name = self.name.as_deref().unwrap_or("?");
        parts.extend(self.kind.map(|kind| format!("{kind}/{name}")));
        f.write_str(&parts.join(" "))
    }
}

/// Quotes a text as errors show it, shortened.
pub(crate) fn shown(text: &str) -> String {
    let short: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    let ellipsis = if short.len() < text.len() { "…" } else { "" };
    format!("{short:?}{ellipsis}")
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map(|word| format!(" (did you mean {word:?}?)")).unwrap_or_default()
}

fn in_brackets(help: Option<&str>) -> String {
    help.map(|help| format!(" ({help})")).unwrap_or_default()
}

fn or_none(known: &[String]) -> String {
    if known.is_empty() { "none".to_owned() } else { known.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_reads_from_its_place_to_its_remedy() {
        let place = Place {
            file: Some(PathBuf::from("mesh.yaml")),
            document: Some(2),
            line: Some(12),
            kind: Some(Kind::ToolServer),
            name: Some("files".to_owned()),
        };
        let reason = Reason::UnknownKey {
            key: "url".to_owned(),
            suggestion: Some("urls".to_owned()),
            allowed: vec!["urls".to_owned(), "era".to_owned()],
        };
        let problem = Problem { place, path: "spec".to_owned(), reason };

        assert_eq!(
            problem.to_string(),
            "mesh.yaml:12 (document 2) ToolServer/files: spec: unknown key \"url\" (did you mean \"urls\"?); \
             allowed here: urls, era"
        );
    }

    #[test]
    fn a_flood_of_problems_is_counted_rather_than_printed() {
        let problem = Problem { place: Place::default(), path: String::new(), reason: Reason::Extension };
        let errors = Errors::of(vec![problem; LINES_MAX + 7]).expect("there are problems");

        let text = errors.to_string();
        assert_eq!(text.lines().count(), LINES_MAX + 1);
        assert!(text.ends_with("\nand 7 more problems"), "{text}");
        assert_eq!(errors.problems().len(), LINES_MAX + 7);
    }

    #[test]
    fn long_values_are_shortened_and_control_characters_escaped() {
        assert_eq!(shown("a\nb"), "\"a\\nb\"");
        let long = shown(&"x".repeat(500));
        assert_eq!(long.chars().count(), SHOWN_CHARS_MAX + 3);
    }
}
