//! Edits of byte spans: the only way in which bytes of a frame change.
//!
//! Edits are collected in any order and applied at once into one new buffer. All bytes outside of
//! the edited spans are copied as they are. Spans of one parse never overlap unless a caller
//! edits both a value and a part of it, which is a mistake here, not in the input.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

use crate::span::Span;

/// A set of edits over one buffer.
#[derive(Clone, Debug)]
pub struct Splice<'a> {
    bytes: &'a Bytes,
    edits: Vec<Edit<'a>>,
}

#[derive(Clone, Debug)]
struct Edit<'a> {
    span: Span,
    with: Cow<'a, [u8]>,
}

// === impl Splice ===

impl<'a> Splice<'a> {
    /// Starts without edits.
    #[must_use]
    pub const fn new(bytes: &'a Bytes) -> Self {
        Self { bytes, edits: Vec::new() }
    }

    /// Replaces the bytes under `span`.
    pub fn replace(&mut self, span: Span, with: impl Into<Cow<'a, [u8]>>) -> &mut Self {
        self.edits.push(Edit { span, with: with.into() });
        self
    }

    /// Inserts before the byte at `offset`.
    pub fn insert(&mut self, offset: usize, with: impl Into<Cow<'a, [u8]>>) -> &mut Self {
        self.replace(Span::at(offset), with)
    }

    /// Removes the bytes under `span`.
    pub fn remove(&mut self, span: Span) -> &mut Self {
        self.replace(span, Cow::Borrowed(&[][..]))
    }

    /// Tells whether there is nothing to change.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// Applies the edits. Insertions at one offset keep the order in which they were made.
    ///
    /// # Panics
    /// When two edits overlap or one reaches beyond the buffer: spans that were mixed up.
    #[must_use]
    pub fn finish(&self) -> Bytes {
        if self.edits.is_empty() {
            return self.bytes.clone();
        }
        let mut order: Vec<&Edit<'a>> = self.edits.iter().collect();
        order.sort_by_key(|edit| edit.span);
        let added: usize = order.iter().map(|edit| edit.with.len()).sum();
        let mut out = BytesMut::with_capacity(self.bytes.len() + added);
        let mut from = 0;
        for edit in order {
            assert!(from <= edit.span.start && edit.span.start <= edit.span.end, "edits overlap at {:?}", edit.span);
            out.extend_from_slice(&self.bytes[from..edit.span.start]);
            out.extend_from_slice(&edit.with);
            from = edit.span.end;
        }
        out.extend_from_slice(&self.bytes[from..]);
        out.freeze()
    }

    /// Returns where `span` is after the edits, for a span that no edit cuts.
    ///
    /// Edits inside of it stretch it; an insertion at its start moves it.
    pub(crate) fn moved(&self, span: Span) -> Span {
        let shift = |offset: usize| {
            let before = self.edits.iter().filter(|edit| edit.span.end <= offset);
            let (removed, added) =
                before.fold((0, 0), |(removed, added), edit| (removed + edit.span.len(), added + edit.with.len()));
            offset + added - removed
        };
        Span::new(shift(span.start), shift(span.end))
    }

    /// Tells whether an edit changes bytes of `span`.
    pub(crate) fn touches(&self, span: Span) -> bool {
        self.edits.iter().any(|edit| edit.span.start < span.end && span.start < edit.span.end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn edits_apply_in_any_order() {
        let bytes = Bytes::from_static(b"0123456789");
        let mut splice = Splice::new(&bytes);
        splice
            .replace(Span::new(8, 10), &b"tail"[..])
            .insert(0, &b"<"[..])
            .remove(Span::new(2, 4))
            .insert(5, &b"|"[..]);

        assert_eq!(splice.finish(), &b"<014|567tail"[..]);
        assert_eq!(splice.moved(Span::new(4, 8)), Span::new(3, 8));
    }

    #[test]
    #[should_panic(expected = "edits overlap")]
    fn overlapping_edits_are_refused() {
        let bytes = Bytes::from_static(b"0123456789");
        let _ = Splice::new(&bytes).remove(Span::new(2, 5)).remove(Span::new(4, 6)).finish();
    }

    proptest! {
        #[test]
        fn all_other_bytes_are_kept(
            bytes in prop::collection::vec(any::<u8>(), 0..64),
            mut cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
            with in prop::collection::vec(any::<u8>(), 0..8),
        ) {
            let whole = Bytes::from(bytes.clone());
            let mut at: Vec<usize> = cuts.drain(..).map(|cut| cut.index(bytes.len() + 1)).collect();
            at.sort_unstable();
            at.dedup();
            let spans: Vec<Span> = at.chunks_exact(2).map(|pair| Span::new(pair[0], pair[1])).collect();
            let mut splice = Splice::new(&whole);
            for span in spans.iter().rev() {
                splice.replace(*span, with.clone());
            }

            let mut expected = Vec::new();
            let mut from = 0;
            for span in &spans {
                expected.extend_from_slice(&bytes[from..span.start]);
                expected.extend_from_slice(&with);
                from = span.end;
            }
            expected.extend_from_slice(&bytes[from..]);
            prop_assert_eq!(splice.finish(), expected);
        }
    }
}
