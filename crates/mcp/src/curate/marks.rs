//! Which patterns of a toolset have matched something.
//!
//! A pattern that matches nothing is mostly a typing error, and cannot be known before servers list
//! what they have. Each pattern of a toolset has a number, the same in every combination of
//! versions; [`Marks`] are the numbers that matched in one merge, and [`Watched`] says of each
//! where it stands and whose lists decide.

use crate::listing::ServerIndex;
use crate::message::ListKind;

/// A pattern that is expected to match something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Where it stands in its toolset, such as `spec.tools[2].match.name`.
    pub path: String,
    /// Its text, or the argument's name.
    pub text: String,
    /// The lists that it is matched against: of resources, templates are a part.
    pub kind: ListKind,
    /// The one server whose list decides; all servers where there is none.
    pub server: Option<ServerIndex>,
    /// Whether it need not match anything: it stands for everything.
    pub is_idle: bool,
    /// Whether it cannot match anything here: it is for a version of a server that does not stand for
    /// its member.
    pub is_elsewhere: bool,
}

/// The patterns that have matched, by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    marked: Vec<bool>,
}

// === impl Marks ===

impl Marks {
    /// Makes marks for this many patterns, none of which has matched.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self { marked: vec![false; count] }
    }

    /// Notes that a pattern matched.
    pub(crate) fn mark(&mut self, pattern: usize) {
        if let Some(marked) = self.marked.get_mut(pattern) {
            *marked = true;
        }
    }

    /// Tells whether a pattern matched.
    #[must_use]
    pub fn has(&self, pattern: usize) -> bool {
        self.marked.get(pattern).copied().unwrap_or(false)
    }

    /// Takes over what `other` has marked.
    pub fn unite(&mut self, other: &Self) {
        for (mine, theirs) in self.marked.iter_mut().zip(&other.marked) {
            *mine |= theirs;
        }
    }
}
