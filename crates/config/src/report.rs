//! Where the checks of one document put what they find.
//!
//! A [`Report`] knows the document's place and tree, so that a check has to name only the key
//! path and the reason; the line is looked up.

use crate::error::{Place, Problem, Reason};
use crate::node::{Node, Path};

/// The problems of one document, as they are found.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    place: Place,
    root: &'a Node,
    problems: &'a mut Vec<Problem>,
}

// === impl Report ===

impl<'a> Report<'a> {
    pub(crate) fn new(place: Place, root: &'a Node, problems: &'a mut Vec<Problem>) -> Self {
        Self { place, root, problems }
    }

    /// Adds a problem at a key path.
    pub(crate) fn push(&mut self, path: &Path, reason: Reason) {
        let line = self.root.line_at(path);
        let place = Place { line, ..self.place.clone() };
        self.problems.push(Problem { place, path: path.to_string(), reason });
    }

    /// Tells whether something was refused within the object at a key path, other than its key `but`: what is left of the
    /// object then does not show what it was to say.
    pub(crate) fn has_refused_within(&self, path: &Path, but: &str) -> bool {
        let (within, but) = (path.to_string(), path.key(but).to_string());
        let is_within = |at: &str| at.strip_prefix(&within).is_some_and(|rest| rest.starts_with(['.', '[']));
        let is_here =
            |place: &Place| Place { line: None, ..place.clone() } == Place { line: None, ..self.place.clone() };
        let mut problems = self.problems.iter().rev().filter(|problem| is_within(&problem.path));
        problems.any(|problem| !problem.path.starts_with(&but) && is_here(&problem.place))
    }

    /// Passes a value on, or reports why there is none.
    pub(crate) fn accept<T>(&mut self, path: &Path, result: Result<T, Reason>) -> Option<T> {
        result.map_err(|reason| self.push(path, reason)).ok()
    }
}
