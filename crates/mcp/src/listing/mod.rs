//! Lists of tools, prompts, resources and resource templates: from backends' pages to ours.
//!
//! ```text
//! backend's pages ─▶ Collector ─▶ ServerList ┐
//! backend's pages ─▶ Collector ─▶ ServerList ┼─ merge ─▶ Merged ─▶ resolve (name → server, name)
//!                        (stale) ServerList ┘                 └──▶ window, answer (id + page)
//! ```
//!
//! A [`ServerList`] is one server's list as it came: raw items with the place of their name. A
//! [`Merged`] is what one toolset exposes: items in toolset order with exposed names spliced in,
//! serialised once. Bytes other than names pass unchanged.
//!
//! Nothing here fetches, caches or decides how stale a list may be: the caller does, and passes
//! `now`.

use std::fmt;
use std::time::Duration;

mod answer;
mod candidate;
mod collect;
mod item;
mod merge;

pub use crate::dialect::v2026_07_28::CacheScope;
pub use answer::{Envelope, Shown, Window};
pub use collect::{CollectError, Collector, Progress, ServerList};
pub use item::{Item, PageError};
pub use merge::{Entry, HiddenItem, Merge, Merged, Resolution, Source, merge};

/// The longest name or URI of an item in bytes; longer ones are dropped as unusable. What web
/// servers accept in a request line; the names that hosts accept have 64 to 128 characters.
pub const NAME_BYTES_MAX: usize = 8192;

/// A server's position in its toolset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerIndex(pub u16);

/// Bounds and defaults of lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The most items of one server and kind; a server with more is reported and not listed.
    pub items_max: usize,
    /// The most bytes of one server's items of one kind.
    pub bytes_max: usize,
    /// The most pages that are fetched of one server and kind: ends servers that page forever.
    pub pages_max: usize,
    /// The most items on a page of ours.
    pub page_items_max: usize,
    /// The most bytes of items on a page of ours; a larger item has a page of its own.
    pub page_bytes_max: usize,
    /// How long a list is fresh whose server says nothing, as before 2026-07-28.
    pub ttl_default: Duration,
    /// The longest that a server's word on freshness is believed.
    pub ttl_max: Duration,
}

/// The defaults of [`Config`].
pub const DEFAULTS: Config = Config {
    // Far beyond what a model can choose from; a list this long is 5 MB.
    items_max: 10_000,
    // What one answer of a backend may have, see the limits of the upstream client.
    bytes_max: 16 << 20,
    // 10,000 items at the smallest page size seen in SDKs (50) are 200 pages.
    pages_max: 256,
    // Many hosts read only the first page, so it holds any list that a host can use.
    page_items_max: 1000,
    page_bytes_max: 4 << 20,
    // Legacy servers announce changes, and many do not: a minute bounds what those can hide.
    ttl_default: Duration::from_secs(60),
    ttl_max: Duration::from_secs(24 * 60 * 60),
};
const _: () = assert!(DEFAULTS.page_items_max <= DEFAULTS.items_max);
const _: () = assert!(DEFAULTS.page_bytes_max <= DEFAULTS.bytes_max);

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        DEFAULTS
    }
}

// === impl ServerIndex ===

impl ServerIndex {
    /// The place of what a toolset has of its own: no toolset has so many servers.
    pub const OURS: Self = Self(u16::MAX);

    /// Returns the server at a place of the order of precedence. A toolset has far fewer servers than
    /// there are places, and what is beyond them is nobody's.
    #[must_use]
    pub fn at(place: usize) -> Self {
        u16::try_from(place).map_or(Self::OURS, Self)
    }
}

impl fmt::Display for ServerIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The scope of something made of both: private if either is.
const fn narrower(one: CacheScope, other: CacheScope) -> CacheScope {
    match (one, other) {
        (CacheScope::Public, CacheScope::Public) => CacheScope::Public,
        (CacheScope::Private, _) | (_, CacheScope::Private) => CacheScope::Private,
    }
}

#[cfg(test)]
mod tests;
