//! Schemas of the document become JSON Schema 2020-12, as MCP tools have it.
//!
//! In: the nodes of schemas, and what they are for. Out: one schema for each, and the definitions that they share.
//! Local `$ref`s are followed; a schema that is used once is put in its place, one that is used more or refers to
//! itself becomes an entry of `$defs`, so that nothing expands without end. What is too large is tried again with less
//! depth: below a level it is left open, which accepts more and never less.
//!
//! An *input* schema is translated faithfully: it tells a model what to send. An *output* schema is translated loosely
//! ([`Direction::Output`]), because servers break their documents, and clients refuse answers that break a schema.

mod definitions;
mod facts;
mod translate;

use serde_json::{Map, Value};

use crate::document::Document;
use crate::node::Node;
use crate::problem::{Fault, Reason};

pub(crate) use facts::{Field, described, fields, is_binary, is_list, is_object, target};
use translate::{Stop, Translator};

/// What a schema is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Arguments of a tool: exact, without what only the server sets (`readOnly`).
    Input,
    /// Results of a tool: only types, properties and items, and null is always allowed below the top; nothing is
    /// required. Without what the server never shows (`writeOnly`).
    Output,
}

/// Translated schemas.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Schemas {
    /// One for each node that was given, in order.
    pub(crate) parts: Vec<Value>,
    /// What they refer to, as the content of `$defs`.
    pub(crate) definitions: Map<String, Value>,
    /// What had to be decided on the way.
    pub(crate) notes: Vec<Fault>,
}

/// The levels that are tried in turn when a schema is too large; the first is the limit of all schemas.
const DEPTHS: [usize; 6] = [8, 6, 4, 3, 2, 1];

/// Translates the schemas at `parts`, which share one tool, into at most `bytes_max` bytes.
///
/// # Errors
/// A fault when a schema is none, a `$ref` cannot be followed, or nothing small enough comes out.
pub(crate) fn translate(
    document: &Document,
    direction: Direction,
    parts: &[Node<'_>],
    bytes_max: usize,
) -> Result<Schemas, Fault> {
    let full = document.limits.schema_depth_max;
    let what = match direction {
        Direction::Input => "input",
        Direction::Output => "output",
    };
    for depth in std::iter::once(full).chain(DEPTHS) {
        let mut translator = Translator::new(document, direction, depth, depth == full, bytes_max);
        let (mut schemas, loosened) = match translator.run(parts) {
            Ok(found) => found,
            Err(Stop::Fault(fault)) => return Err(*fault),
            Err(Stop::TooLarge) => continue,
        };
        // Loosening is sound only where it was planned for: see `Translator::exact`.
        if (loosened && depth == full) || size(&schemas) > bytes_max {
            continue;
        }
        if let (true, Some(first)) = (loosened, parts.first()) {
            schemas.notes.push(first.fault(Reason::Loosened { what, max: bytes_max, depth }));
        }
        return Ok(schemas);
    }
    let pointer = parts.first().map_or_else(|| "#".to_owned(), Node::pointer);
    let what = match direction {
        Direction::Input => "the input schema",
        Direction::Output => "the output schema",
    };
    let found = "more at any depth".to_owned();
    Err(Fault { pointer, reason: Reason::TooMuch { what, found, max: format!("{bytes_max} bytes") } })
}

fn size(schemas: &Schemas) -> usize {
    let parts = schemas.parts.iter().map(|part| part.to_string().len()).sum::<usize>();
    parts + schemas.definitions.iter().map(|(name, value)| name.len() + value.to_string().len()).sum::<usize>()
}

#[cfg(test)]
mod tests;
