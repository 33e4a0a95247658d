//! What is wrong with documents and groups: each problem with its place, what it is, and what would be right.
//!
//! Problems are for the operator who wrote the text: they quote it. Columns count characters, not bytes, as editors do.

use std::fmt;

use miette::Diagnostic;
use quorate_types::{ResourceName, TenantId};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where it is.
    pub place: Place,
    /// What is wrong.
    pub message: String,
    /// What would be right, where that is known.
    pub help: Option<String>,
}

/// Where a problem is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In the text of a document.
    Document {
        /// The document's name.
        name: ResourceName,
        /// The line, from 1.
        line: usize,
        /// The character in the line, from 1.
        column: usize,
    },
    /// In what a document says of arguments.
    Arguments {
        /// The document's name.
        name: ResourceName,
    },
    /// At a group.
    Group {
        /// The tenant whose group it is.
        tenant: TenantId,
        /// The group's name.
        name: String,
    },
    /// In all documents together.
    All,
}

// === impl Problem ===

impl Problem {
    pub(crate) fn new(place: Place, message: impl Into<String>, help: Option<String>) -> Self {
        Self { place, message: message.into(), help }
    }

    /// Makes a problem of one that Cedar found; `fallback` is the byte where it is when Cedar does not say.
    pub(crate) fn of(document: &Text<'_>, found: &dyn Diagnostic, fallback: usize) -> Self {
        let labels = found.labels().into_iter().flatten().collect::<Vec<_>>();
        let offset = labels.first().map_or(fallback, miette::LabeledSpan::offset);
        let label = labels.first().and_then(miette::LabeledSpan::label).filter(|label| !label.is_empty());
        let message = match label {
            Some(label) => format!("{found}: {label}"),
            None => found.to_string(),
        };
        Self::new(document.place(offset), message, found.help().map(|help| help.to_string()))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Document { name, line, column } => write!(f, "Policy/{name}:{line}:{column}"),
            Self::Arguments { name } => write!(f, "Policy/{name}: arguments"),
            Self::Group { tenant, name } => write!(f, "Tenant/{tenant}: group {name:?}"),
            Self::All => f.write_str("policies"),
        }
    }
}

/// The text of a document, for places in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'a> {
    pub(crate) name: &'a ResourceName,
    pub(crate) text: &'a str,
}

impl Text<'_> {
    /// The place of a byte; one beyond the end is the end's.
    pub(crate) fn place(&self, offset: usize) -> Place {
        let mut end = offset.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &self.text[..end];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Place::Document {
            name: self.name.clone(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let name = ResourceName::new("doc").expect("a name");
        let text = Text { name: &name, text: "a\nüb\n" };
        let place = |offset| {
            let Place::Document { line, column, .. } = text.place(offset) else { panic!("not in the document") };
            (line, column)
        };
        assert_eq!(
            [0, 1, 2, 3, 4, 5, 6, 99].map(place),
            [(1, 1), (1, 2), (2, 1), (2, 1), (2, 2), (2, 3), (3, 1), (3, 1)]
        );
    }
}
