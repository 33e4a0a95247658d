//! Why a call was not made: what is wrong with its arguments, for the model to read and try again.
//!
//! All problems come at once, each with the argument, the value given and what is allowed. MCP (2025-11-25 and later)
//! wants them as a result with `isError`, not as an error of the protocol.

use std::fmt;

use crate::problem::listed;
use crate::text::cut;

/// The most problems that are told at once.
const PROBLEMS_MAX: usize = 10;
/// The most characters of a value that is shown.
const SHOWN_CHARS_MAX: usize = 60;

/// What is wrong with the arguments of a call; at least one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    problems: Vec<ArgumentProblem>,
}

/// What is found wrong, as far as it will be told.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<ArgumentProblem>);

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentProblem {
    /// The arguments are no JSON object, or have a member twice.
    #[error("the arguments are not valid: {message}")]
    Malformed {
        /// What is wrong.
        message: String,
    },
    /// The tool has no such argument.
    #[error("there is no argument {name:?}; allowed: {}", listed(allowed))]
    Unknown {
        /// The argument's name, shortened.
        name: String,
        /// The names that exist.
        allowed: Vec<String>,
    },
    /// An argument that is required is not there.
    #[error("{name}: is required and missing; expected {expected}")]
    Missing {
        /// The argument's name.
        name: String,
        /// The kinds of values that it takes.
        expected: String,
    },
    /// An argument has another type than it takes.
    #[error("{name}: expected {expected}, found {found}")]
    WrongType {
        /// The argument's name.
        name: String,
        /// The kinds of values that it takes.
        expected: String,
        /// The kind that was given, and the value when it is short.
        found: String,
    },
    /// A text is none of the choices.
    #[error("{name}: {value} is not a choice; allowed: {}", listed(allowed))]
    NotAChoice {
        /// The argument's name.
        name: String,
        /// The value as given.
        value: String,
        /// The choices.
        allowed: Vec<String>,
    },
    /// A value that cannot be sent.
    #[error("{name}: {value} cannot be sent: {message}")]
    Invalid {
        /// The argument's name.
        name: String,
        /// The value as given.
        value: String,
        /// Why.
        message: String,
    },
    /// The request would be larger than servers accept.
    #[error("{what} would have {found} bytes, the most allowed is {max}")]
    TooLarge {
        /// The part of the request.
        what: &'static str,
        /// Its size.
        found: usize,
        /// The limit.
        max: usize,
    },
}

// === impl Problems ===

impl Problems {
    /// Adds a problem while it will be told: a caller may send any number of wrong arguments, and each problem lists
    /// what is allowed.
    pub(crate) fn add(&mut self, problem: impl FnOnce() -> ArgumentProblem) {
        if self.0.len() < PROBLEMS_MAX {
            self.0.push(problem());
        }
    }

    /// Refuses, unless nothing was added.
    ///
    /// # Errors
    /// A [`Refusal`] with the problems.
    pub(crate) fn refuse(self) -> Result<(), Refusal> {
        if self.0.is_empty() { Ok(()) } else { Err(Refusal { problems: self.0 }) }
    }
}

// === impl Refusal ===

impl Refusal {
    /// Returns the problems.
    #[must_use]
    pub fn problems(&self) -> &[ArgumentProblem] {
        &self.problems
    }
}

impl From<ArgumentProblem> for Refusal {
    fn from(problem: ArgumentProblem) -> Self {
        Self { problems: vec![problem] }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            write!(f, "{}{problem}", if index > 0 { "\n" } else { "" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}

/// Shows a raw JSON value, shortened.
pub(crate) fn shown(raw: &str) -> String {
    let (short, ellipsis) = cut(raw, SHOWN_CHARS_MAX);
    format!("{short}{ellipsis}")
}
