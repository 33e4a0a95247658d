//! Serves pages of a merged list.
//!
//! In: a position (from a cursor) and the request's id. Out: a [`Window`] of items and the answer
//! bytes: a short head that differs per request (id, remaining `ttlMs`, cursor) before the items
//! that were serialised when the list was merged. Windows of one list neither overlap nor leave
//! anything out, and each has at least one item unless the list is empty. A session that found
//! tools which are not listed to everybody has them behind the others, and a caller who may not use
//! everything is shown the rest ([`Shown`]).
//!
//! Order of use: [`Merged::window`], seal a cursor for [`Window::next`] if there is one, then
//! [`Merged::answer`].

use std::fmt::Write as _;
use std::ops::Range;

use bytes::Bytes;
use quorate_jsonrpc::{Id, quote};
use quorate_types::Timestamp;
use sha2::{Digest, Sha256};

use super::{CacheScope, Config, Entry, Merged};
use crate::cursor::{CursorError, Epoch, Position};
use crate::version::Era;

/// The items of one page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Positions among the shown entries: those that are listed, then the found ones.
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

/// A list as one caller sees it: with the items that its session has found, without those that it may not use.
#[derive(Clone, Debug)]
pub struct Shown<'a> {
    merged: &'a Merged,
    /// Places of the listed entries that are shown, in order; none where all are.
    some: Option<Vec<usize>>,
    /// Places of entries that are not listed to everybody, in order.
    found: Vec<usize>,
    epoch: Epoch,
    scope: CacheScope,
}

// === impl Merged ===

impl Merged {
    /// Returns the list with the found items of these exposed names; what is not here, or listed
    /// anyway, adds nothing.
    #[must_use]
    pub fn shown<'a>(&self, found: impl IntoIterator<Item = &'a str>) -> Shown<'_> {
        let place = |name| self.names.get(name).copied().filter(|place| *place >= self.listed);
        let mut found: Vec<usize> = found.into_iter().filter_map(place).collect();
        found.sort_unstable();
        found.dedup();
        let mut shown = Shown { merged: self, some: None, found, epoch: self.epoch, scope: self.scope };
        if !shown.found.is_empty() {
            shown.epoch = shown.epoch();
        }
        shown
    }

    /// Chooses the items of a page: from `position`, or from the start.
    ///
    /// # Errors
    /// [`CursorError::Stale`] when the list has changed since the position was given out.
    pub fn window(&self, position: Option<Position>, config: &Config) -> Result<Window, CursorError> {
        self.shown([]).window(position, config)
    }

    /// Writes the answer with a page's items.
    ///
    /// # Panics
    /// When the window is not one of this list.
    #[must_use]
    pub fn answer(&self, window: &Window, envelope: &Envelope<'_>) -> Bytes {
        self.shown([]).answer(window, envelope)
    }
}

// === impl Shown ===

impl Shown<'_> {
    /// Returns it without the entries that this caller may not use: nobody else may be served it.
    #[must_use]
    pub fn only(mut self, is_shown: impl Fn(&Entry) -> bool) -> Self {
        self.scope = CacheScope::Private;
        let entries = &self.merged.entries;
        self.found.retain(|place| is_shown(&entries[*place]));
        let some: Vec<usize> = (0..self.merged.listed).filter(|place| is_shown(&entries[*place])).collect();
        self.some = (some.len() < self.merged.listed).then_some(some);
        if self.some.is_some() || !self.found.is_empty() {
            self.epoch = self.epoch();
        } else {
            self.epoch = self.merged.epoch;
        }
        self
    }

    /// Returns the shown entries in order.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        (0..self.len()).map(|place| self.entry(place))
    }

    fn len(&self) -> usize {
        self.listed() + self.found.len()
    }

    /// How many of the listed entries are shown.
    fn listed(&self) -> usize {
        self.some.as_ref().map_or(self.merged.listed, Vec::len)
    }

    /// Chooses the items of a page, as [`Merged::window`] does.
    ///
    /// # Errors
    /// [`CursorError::Stale`] when the list has changed since the position was given out.
    pub fn window(&self, position: Option<Position>, config: &Config) -> Result<Window, CursorError> {
        let start = match position {
            None => 0,
            Some(Position { epoch, .. }) if epoch != self.epoch => return Err(CursorError::Stale),
            Some(Position { offset, .. }) => offset as usize,
        };
        let len = self.len();
        if start > len {
            return Err(CursorError::Stale);
        }
        let (mut end, mut bytes) = (start, 0);
        while end < len && end - start < config.page_items_max.max(1) {
            let entry = self.entry(end);
            bytes += entry.end - entry.start;
            if end > start && bytes > config.page_bytes_max {
                break;
            }
            bytes += 1; // The comma.
            end += 1;
        }
        let next = (end < len).then(|| Position {
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
        let (items, found) = self.serialised(window);
        let cursor = envelope.next_cursor.map_or(0, str::len);
        let found_bytes: usize = found.iter().map(|item| item.len() + 1).sum();
        let meta = envelope.meta.map_or(0, str::len);
        let mut out = String::with_capacity(items.len() + found_bytes + cursor + meta + 192);
        out.push_str("{\"jsonrpc\":\"2.0\",\"id\":");
        out.push_str(envelope.id.as_json());
        out.push_str(",\"result\":{");
        match envelope.era {
            Era::Modern => {
                let ttl_ms = self.merged.expires_at.since(envelope.now).as_millis();
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
        out.push_str(self.merged.kind.result_key());
        out.push_str("\":[");
        let mut out = out.into_bytes();
        out.extend_from_slice(items);
        for (index, item) in found.iter().enumerate() {
            if index > 0 || !items.is_empty() {
                out.push(b',');
            }
            out.extend_from_slice(item);
        }
        out.extend_from_slice(b"]}}");
        Bytes::from(out)
    }

    fn entry(&self, place: usize) -> &Entry {
        let listed = self.listed();
        let place = match (&self.some, place.checked_sub(listed)) {
            (_, Some(behind)) => self.found[behind],
            (Some(some), None) => some[place],
            (None, None) => place,
        };
        &self.merged.entries[place]
    }

    /// The items of a window: those that everybody is shown, with commas between them, and one by one
    /// those that were found, or that stand between others that are not shown.
    fn serialised(&self, window: &Window) -> (&[u8], Vec<&[u8]>) {
        let bytes = |entry: &Entry| &self.merged.items[entry.start..entry.end];
        if self.some.is_some() {
            return (&[], window.items.clone().map(|place| bytes(self.entry(place))).collect());
        }
        let within = |place: usize| place.min(self.merged.listed);
        let behind = window.items.start.max(self.merged.listed)..window.items.end;
        let found = behind.map(|place| bytes(self.entry(place))).collect();
        let listed = match &self.merged.entries[within(window.items.start)..within(window.items.end)] {
            [] => &[],
            [first, .., last] => &self.merged.items[first.start..last.end],
            [only] => bytes(only),
        };
        (listed, found)
    }

    /// The hash of what is shown: cursors of another set of items are stale.
    fn epoch(&self) -> Epoch {
        let mut hash = Sha256::new();
        hash.update(self.merged.epoch.0);
        for place in self.some.iter().flatten() {
            hash.update((*place as u64).to_be_bytes());
        }
        if self.some.is_some() {
            // No place of an entry: what is listed and what was found are told apart.
            hash.update(u64::MAX.to_be_bytes());
        }
        for place in &self.found {
            hash.update((*place as u64).to_be_bytes());
        }
        let digest = hash.finalize();
        let mut epoch = [0; 16];
        epoch.copy_from_slice(&digest[..16]);
        Epoch(epoch)
    }
}
