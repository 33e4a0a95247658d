//! Where a toolset's lists are kept: a shelf for each view and kind, within bounds.
//!
//! In: which shelf is used, and when one got other content. Out: the shelf. Shelves are bounded in
//! number and in bytes, for the toolset and for each principal, so that one caller who comes
//! with ever new capabilities costs others nothing: the longest unused one makes room, first among
//! the caller's own. What nobody has used for a while goes as well. Invariant: the shelf in use
//! is never the one that goes, even where it alone is over the bound in bytes.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use quorate_mcp::ListKind;
use quorate_telemetry::Metrics;
use quorate_types::{PrincipalDigest, Timestamp};

use super::View;
use super::shelf::Shelf;

/// Whose lists, and of what.
pub(super) type Key = (View, ListKind);

/// Bounds of the shelves of one toolset.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Shelves.
    pub(super) shelves_max: usize,
    /// Shelves of one principal.
    pub(super) shelves_per_principal_max: usize,
    /// Bytes of all lists.
    pub(super) bytes_max: usize,
    /// Bytes of one principal's lists.
    pub(super) bytes_per_principal_max: usize,
    /// Time without use after which a shelf goes.
    pub(super) idle_max: Duration,
}

/// Shelves that one principal has whatever else there is: four kinds for two kinds of clients.
const SHELVES_MIN: usize = 8;

/// The defaults of [`Limits`].
pub(super) const DEFAULTS: Limits = Limits {
    // Four kinds for each of 1,024 views.
    shelves_max: 4 * 1024,
    // Four kinds for 64 kinds of clients: all callers without credentials are one principal.
    shelves_per_principal_max: 4 * 64,
    // Two copies of a list of 100 KB, of many tools, for 640 views.
    bytes_max: 128 << 20,
    bytes_per_principal_max: 32 << 20,
    // Hosts list when a conversation begins; what is older is asked for again as cheaply.
    idle_max: Duration::from_secs(15 * 60),
};

// === impl Limits ===

impl Limits {
    /// Returns the limits of one of several that together have these. Each can serve a principal.
    pub(super) fn shared_by(self, count: usize) -> Self {
        let count = count.max(1);
        Self {
            shelves_max: self.shelves_max / count,
            shelves_per_principal_max: (self.shelves_per_principal_max / count).max(SHELVES_MIN),
            bytes_max: self.bytes_max / count,
            bytes_per_principal_max: self.bytes_per_principal_max / count,
            ..self
        }
    }
}

/// The shelves of one toolset.
pub(super) struct Shelves {
    map: RwLock<HashMap<Key, Arc<Shelf>>>,
    limits: Limits,
    metrics: Metrics,
}

// === impl Shelves ===

impl Shelves {
    pub(super) fn new(limits: Limits, metrics: Metrics) -> Self {
        Self { map: RwLock::new(HashMap::new()), limits, metrics }
    }

    /// Returns a shelf that is there, and counts it as used.
    pub(super) fn peek(&self, key: &Key, now: Timestamp) -> Option<Arc<Shelf>> {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        let shelf = map.get(key)?;
        shelf.touch(now);
        Some(Arc::clone(shelf))
    }

    /// Returns a shelf for the lists of `servers` servers, making room for it where it is new.
    pub(super) fn get(&self, key: Key, servers: usize, now: Timestamp) -> Arc<Shelf> {
        if let Some(shelf) = self.peek(&key, now) {
            return shelf;
        }
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        map.retain(|_, shelf| now.since(shelf.used_at()) <= self.limits.idle_max);
        let shelf = Arc::clone(map.entry(key).or_insert_with(|| Arc::new(Shelf::new(servers, now))));
        let own = map.keys().filter(|(view, _)| view.principal == key.0.principal).count();
        if own > self.limits.shelves_per_principal_max {
            self.evict(&mut map, &key, Some(key.0.principal));
        }
        if map.len() > self.limits.shelves_max {
            self.evict(&mut map, &key, None);
        }
        shelf
    }

    /// Makes room for what the shelf `key` has become.
    pub(super) fn settle(&self, key: &Key) {
        let bytes = |map: &HashMap<Key, Arc<Shelf>>, whose: Option<PrincipalDigest>| -> usize {
            let counted = map.iter().filter(|((view, _), _)| whose.is_none_or(|whose| view.principal == whose));
            counted.map(|(_, shelf)| shelf.bytes()).sum()
        };
        let owner = Some(key.0.principal);
        let fits = |map: &HashMap<Key, Arc<Shelf>>, whose| {
            bytes(map, whose)
                <= if whose.is_some() { self.limits.bytes_per_principal_max } else { self.limits.bytes_max }
        };
        {
            let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
            if fits(&map, owner) && fits(&map, None) {
                return;
            }
        }
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        for whose in [owner, None] {
            while !fits(&map, whose) && self.evict(&mut map, key, whose) {}
        }
    }

    /// Calls `each` with every shelf.
    pub(super) fn for_each(&self, mut each: impl FnMut(&Key, &Shelf)) {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        map.iter().for_each(|(key, shelf)| each(key, shelf));
    }

    /// Removes the longest unused shelf, of `whose` if that is given, but never `kept`; false
    /// when there is none.
    fn evict(&self, map: &mut HashMap<Key, Arc<Shelf>>, kept: &Key, whose: Option<PrincipalDigest>) -> bool {
        let candidates =
            map.iter().filter(|(key, _)| *key != kept && whose.is_none_or(|whose| key.0.principal == whose));
        let oldest = candidates.min_by_key(|(_, shelf)| shelf.used_at()).map(|(key, _)| *key);
        let Some(oldest) = oldest else { return false };
        self.metrics.limit_hit("list_views");
        map.remove(&oldest).is_some()
    }
}
