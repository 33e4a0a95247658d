//! Serves pages of a merged list.
//!
//! In: a position (from a cursor) and the request's id. Out: a [`Window`] of items and the answer
//! bytes: a short head that differs per request (id, remaining `ttlMs`, cursor) before the items
//! that were serialised when the list was merged. Windows of one list neither overlap nor leave
//! anything out, and each has at least one item unless the list is empty.
//!
//! Order of use: [`Merged::window`], seal a cursor for [`Window::next`] if there is one, then
//! [`Merged::answer`].

use std::fmt::Write as _;
use std::ops::Range;

use bytes::Bytes;
use quorate_jsonrpc::{Id, quote};
use quorate_types::Timestamp;

use super::{Config, Merged};
use crate::cursor::{CursorError, Position};
use crate::version::Era;

/// The items of one page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Positions in [`Merged::entries`].
    pub items: Range<usize>,
    /// Where the next page starts, to be sealed into its cursor.
    pub next: Option<Position>,
}

/// What differs between two requests for the same page.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// The request's id.
    pub id: &'a Id,
    /// The client's era: which members the result has.
    pub era: Era,
    /// The time that `ttlMs` counts from.
    pub now: Timestamp,
    /// The sealed cursor for [`Window::next`].
    pub next_cursor: Option<&'a str>,
    /// JSON text for the result's `_meta`.
    pub meta: Option<&'a str>,
}

// === impl Merged ===

impl Merged {
    /// Chooses the items of a page: from `position`, or from the start.
    ///
    /// # Errors
    /// [`CursorError::Stale`] when the list has changed since the position was given out.
    pub fn window(&self, position: Option<Position>, config: &Config) -> Result<Window, CursorError> {
        let start = match position {
            None => 0,
            Some(Position { epoch, .. }) if epoch != self.epoch => return Err(CursorError::Stale),
            Some(Position { offset, .. }) => offset as usize,
        };
        let Some(rest) = self.entries.get(start..) else { return Err(CursorError::Stale) };
        let first_byte = rest.first().map_or(0, |entry| entry.start);
        let fitting = rest.iter().take(config.page_items_max.max(1));
        let count = fitting.take_while(|entry| entry.end - first_byte <= config.page_bytes_max).count();
        let end = start + count.max(1).min(rest.len());
        let next = (end < self.entries.len()).then(|| Position {
            epoch: self.epoch,
            offset: u32::try_from(end).expect("a list has fewer items than u32::MAX"),
        });
        Ok(Window { items: start..end, next })
    }

    /// Writes the answer with a page's items.
    ///
    /// # Panics
    /// When the window is not one of this list.
    #[must_use]
    pub fn answer(&self, window: &Window, envelope: &Envelope<'_>) -> Bytes {
        let items = self.serialised(window);
        let cursor = envelope.next_cursor.map_or(0, str::len);
        let mut out = String::with_capacity(items.len() + cursor + envelope.meta.map_or(0, str::len) + 192);
        out.push_str("{\"jsonrpc\":\"2.0\",\"id\":");
        out.push_str(envelope.id.as_json());
        out.push_str(",\"result\":{");
        match envelope.era {
            Era::Modern => {
                let ttl_ms = self.expires_at.since(envelope.now).as_millis();
                let scope = self.scope.as_str();
                write!(out, "\"resultType\":\"complete\",\"ttlMs\":{ttl_ms},\"cacheScope\":\"{scope}\",")
                    .expect("writing to a string does not fail");
            }
            Era::Legacy => {}
        }
        if let Some(cursor) = envelope.next_cursor {
            out.push_str("\"nextCursor\":");
            out.push_str(&quote(cursor));
            out.push(',');
        }
        if let Some(meta) = envelope.meta {
            out.push_str("\"_meta\":");
            out.push_str(meta);
            out.push(',');
        }
        out.push('"');
        out.push_str(self.kind.result_key());
        out.push_str("\":[");
        let mut out = out.into_bytes();
        out.extend_from_slice(items);
        out.extend_from_slice(b"]}}");
        Bytes::from(out)
    }

    /// The items of a window with commas between them.
    fn serialised(&self, window: &Window) -> &[u8] {
        match &self.entries[window.items.clone()] {
            [] => &[],
            [first, .., last] => &self.items[first.start..last.end],
            [only] => &self.items[only.start..only.end],
        }
    }
}
