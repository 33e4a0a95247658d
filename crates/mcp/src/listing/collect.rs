//! Gathers a backend's pages of one list into a [`ServerList`].
//!
//! In: the result of each list request, in order. Out: the cursor to ask for next, and in the end
//! the list. It bounds what a hostile backend can cost: items, bytes, pages, and cursors that
//! go in a circle. A list over a bound is an error that names it, never silently cut.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use quorate_types::Timestamp;

use super::item::{Item, Page, PageError};
use super::{CacheScope, Config, narrower};
use crate::message::ListKind;

/// One server's list of one kind, as the server gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerList {
    kind: ListKind,
    items: Vec<Item>,
    expires_at: Timestamp,
    scope: CacheScope,
    dropped: usize,
}

/// Gathers pages.
#[derive(Debug)]
pub struct Collector<'a> {
    config: &'a Config,
    list: ServerList,
    bytes: usize,
    pages: usize,
    cursors: HashSet<String>,
}

/// What to do after a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Ask for the page at this cursor, which may be empty.
    Next {
        /// The backend's cursor.
        cursor: String,
    },
    /// That was the last page.
    Done,
}

/// A backend's list cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CollectError {
    /// A page cannot be read.
    #[error(transparent)]
    Page(#[from] PageError),
    /// There are more items than [`Config::items_max`].
    #[error("the list has more than {max} items")]
    TooManyItems {
        /// The bound.
        max: usize,
    },
    /// There are more bytes than [`Config::bytes_max`].
    #[error("the list has more than {max} bytes")]
    TooManyBytes {
        /// The bound.
        max: usize,
    },
    /// There are more pages than [`Config::pages_max`].
    #[error("the list has more than {max} pages")]
    TooManyPages {
        /// The bound.
        max: usize,
    },
    /// A cursor came twice.
    #[error("the list's cursors go in a circle")]
    Circle,
}

// === impl ServerList ===

impl ServerList {
    /// Returns an empty list: of a server without the capability, until that is asked again.
    #[must_use]
    pub const fn empty(kind: ListKind, expires_at: Timestamp) -> Self {
        Self { kind, items: Vec::new(), expires_at, scope: CacheScope::Public, dropped: 0 }
    }

    /// Returns what is listed.
    #[must_use]
    pub const fn kind(&self) -> ListKind {
        self.kind
    }

    /// Returns the items in the server's order.
    #[must_use]
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// Returns until when the list is fresh.
    #[must_use]
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Returns the same list with another end of freshness: for a stale copy that is served
    /// because its server cannot be asked.
    #[must_use]
    pub const fn with_expiry(mut self, expires_at: Timestamp) -> Self {
        self.expires_at = expires_at;
        self
    }

    /// Returns who may be served this list.
    #[must_use]
    pub const fn scope(&self) -> CacheScope {
        self.scope
    }

    /// Returns how many items had no usable name and were dropped.
    #[must_use]
    pub const fn dropped(&self) -> usize {
        self.dropped
    }
}

// === impl Collector ===

impl<'a> Collector<'a> {
    /// Starts an empty list.
    #[must_use]
    pub fn new(kind: ListKind, config: &'a Config) -> Self {
        let list = ServerList::empty(kind, Timestamp::from_millis(u64::MAX));
        Self { config, list, bytes: 0, pages: 0, cursors: HashSet::new() }
    }

    /// Takes the result of one list request, received at `now`.
    ///
    /// The whole is fresh for as long as its shortest-lived page, and private when any page is.
    /// A server that does not say is believed fresh for [`Config::ttl_default`] and private.
    ///
    /// # Errors
    /// [`CollectError`]; the collector is of no use afterwards.
    pub fn push(&mut self, now: Timestamp, result: &Bytes) -> Result<Progress, CollectError> {
        let page = Page::parse(self.list.kind, result)?;
        self.pages += 1;
        self.bytes += page.items.iter().map(|item| item.bytes().len()).sum::<usize>();
        self.list.items.extend(page.items);
        self.list.dropped += page.dropped;
        if self.list.items.len() + self.list.dropped > self.config.items_max {
            return Err(CollectError::TooManyItems { max: self.config.items_max });
        }
        if self.bytes > self.config.bytes_max {
            return Err(CollectError::TooManyBytes { max: self.config.bytes_max });
        }

        let ttl = page.ttl_ms.map_or(self.config.ttl_default, Duration::from_millis).min(self.config.ttl_max);
        self.list.expires_at = self.list.expires_at.min(now + ttl);
        self.list.scope = narrower(self.list.scope, page.scope.unwrap_or(CacheScope::Private));

        let Some(cursor) = page.next_cursor else { return Ok(Progress::Done) };
        if self.pages == self.config.pages_max {
            return Err(CollectError::TooManyPages { max: self.config.pages_max });
        }
        if !self.cursors.insert(cursor.clone()) {
            return Err(CollectError::Circle);
        }
        Ok(Progress::Next { cursor })
    }

    /// Returns the list of all pages taken.
    #[must_use]
    pub fn finish(self) -> ServerList {
        self.list
    }
}
