//! One event of a stream, as a shape writes it, before it is framed and before anything is done to it.
//!
//! In flow the shapes' events, out flow [`Event`]s with what the rest needs to know of them: whether they are chunks, by which a plan
//! counts. Does not know which shape it is of.

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// Its name, in the shapes that have names.
    pub(super) name: Option<&'static str>,
    /// JSON, or the word that is the last.
    pub(super) data: String,
    /// Whether it is a piece of the answer.
    pub(super) is_chunk: bool,
}

// === impl Event ===

impl Event {
    /// An event without a name.
    pub(super) fn plain(data: String) -> Self {
        Self { name: None, data, is_chunk: false }
    }

    /// An event with a name.
    pub(super) fn named(name: &'static str, data: String) -> Self {
        Self { name: Some(name), data, is_chunk: false }
    }

    /// The same as a piece of the answer.
    pub(super) fn chunk(self) -> Self {
        Self { is_chunk: true, ..self }
    }
}
