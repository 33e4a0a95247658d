//! One view's lists of one kind: the servers' lists, their merge, and the refresh under way.
//!
//! In: what a refresh made, and invalidations. Out: the merge, where it is fresh, or where it may
//! stand in while a slow server is asked. Invariant: an invalidation during a refresh is not lost:
//! what was fetched is kept for its content, and asked for again. Freshness stands beside a list,
//! so that an invalidation copies nothing.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorate_mcp::listing::{Merged, ServerIndex, ServerList};
use quorate_mcp::uri::Router;
use quorate_types::Timestamp;
use tokio::sync::watch;

/// How long after its end of freshness a list may stand in while its servers are asked: 10
/// minutes, so that a client which comes back finds a slow server's list, but not yesterday's.
const STALE_MAX: Duration = Duration::from_secs(10 * 60);
/// What an item costs beyond its text: its struct, its place in the index, reference counts.
const ITEM_OVERHEAD: usize = 256;

/// One view's lists of one kind.
pub(super) struct Shelf {
    state: Mutex<State>,
    used_at: AtomicU64,
    bytes: AtomicUsize,
}

/// One server's list, and until when it need not be asked for again.
#[derive(Clone)]
pub(super) struct Kept {
    pub(super) list: Arc<ServerList>,
    pub(super) fresh_until: Timestamp,
    /// Whether it is what the server has, and not a stand-in.
    pub(super) is_decided: bool,
}

/// What a refresh starts from.
pub(super) struct Before {
    pub(super) lists: Vec<Option<Kept>>,
    invalidations: Vec<u64>,
}

/// A router, and the lists that it was made of.
pub(super) struct Routing {
    pub(super) router: Arc<Router>,
    pub(super) resources: Arc<Merged>,
    pub(super) templates: Arc<Merged>,
    /// The servers that offered resources.
    pub(super) offering: Vec<ServerIndex>,
}

/// The end of a refresh: it comes when the other end is dropped.
pub(super) type Made = watch::Receiver<()>;

struct State {
    lists: Vec<Option<Kept>>,
    merged: Option<Arc<Merged>>,
    /// When the merge was made; later requests of the same moment share even what is never fresh.
    /// The start of time where it was invalidated.
    made_at: Timestamp,
    /// Counts each server's invalidations.
    invalidations: Vec<u64>,
    running: Option<Made>,
    /// On the shelf of resources: where they went.
    routing: Option<Arc<Routing>>,
}

// === impl Kept ===

impl Kept {
    pub(super) fn new(list: ServerList) -> Self {
        Self { fresh_until: list.expires_at(), list: Arc::new(list), is_decided: true }
    }
}

// === impl Shelf ===

impl Shelf {
    pub(super) fn new(servers: usize, now: Timestamp) -> Self {
        let state = State {
            lists: vec![None; servers],
            merged: None,
            made_at: Timestamp::default(),
            invalidations: vec![0; servers],
            running: None,
            routing: None,
        };
        Self { state: Mutex::new(state), used_at: AtomicU64::new(now.as_millis()), bytes: AtomicUsize::new(0) }
    }

    pub(super) fn touch(&self, now: Timestamp) {
        self.used_at.store(now.as_millis(), Ordering::Relaxed);
    }

    pub(super) fn used_at(&self) -> Timestamp {
        Timestamp::from_millis(self.used_at.load(Ordering::Relaxed))
    }

    /// About how much memory the lists hold.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The merge, while all of it is fresh.
    pub(super) fn fresh(&self, now: Timestamp) -> Option<Arc<Merged>> {
        let state = self.lock();
        state
            .merged
            .as_ref()
            .filter(|merged| state.made_at > Timestamp::default() && merged.expires_at() > now)
            .cloned()
    }

    /// The merge, if it was made for this request or is fresh.
    pub(super) fn made_since(&self, asked_at: Timestamp, now: Timestamp) -> Option<Arc<Merged>> {
        let state = self.lock();
        let serves = |merged: &&Arc<Merged>| {
            state.made_at > Timestamp::default() && (state.made_at >= asked_at || merged.expires_at() > now)
        };
        state.merged.as_ref().filter(serves).cloned()
    }

    /// The merge, where it may stand in: not too old, and nobody said that it changed.
    pub(super) fn stale(&self, now: Timestamp) -> Option<Arc<Merged>> {
        let state = self.lock();
        let serves =
            |merged: &&Arc<Merged>| state.made_at > Timestamp::default() && now.since(merged.expires_at()) <= STALE_MAX;
        state.merged.as_ref().filter(serves).cloned()
    }

    /// Whether the list of one server may stand in, whatever became of the others.
    pub(super) fn stands(&self, server: ServerIndex, now: Timestamp) -> bool {
        let state = self.lock();
        let kept = state.lists.get(usize::from(server.0)).and_then(Option::as_ref);
        kept.is_some_and(|kept| kept.fresh_until > Timestamp::default() && now.since(kept.fresh_until) <= STALE_MAX)
    }

    /// The merge, however old.
    pub(super) fn last(&self) -> Option<Arc<Merged>> {
        self.lock().merged.clone()
    }

    /// The servers whose list is a stand-in, by their place.
    pub(super) fn undecided(&self) -> Vec<usize> {
        let is_stand_in = |kept: &Option<Kept>| kept.as_ref().is_none_or(|kept| !kept.is_decided);
        let lists = &self.lock().lists;
        lists.iter().enumerate().filter(|(_, kept)| is_stand_in(kept)).map(|(place, _)| place).collect()
    }

    /// Joins the refresh under way, or tells who starts one.
    pub(super) fn join(&self) -> Result<Made, watch::Sender<()>> {
        let mut state = self.lock();
        // A refresh whose sender is gone has failed.
        if let Some(running) = state.running.as_ref().filter(|running| running.has_changed().is_ok()) {
            return Ok(running.clone());
        }
        let (done, made) = watch::channel(());
        state.running = Some(made);
        Err(done)
    }

    pub(super) fn before(&self) -> Before {
        let state = self.lock();
        Before { lists: state.lists.clone(), invalidations: state.invalidations.clone() }
    }

    /// Takes what the refresh that began at `now` has made, and ends it.
    pub(super) fn store(&self, lists: Vec<Kept>, before: &Before, merged: Arc<Merged>, now: Timestamp) {
        self.bytes.store(weigh(&lists, &merged), Ordering::Relaxed);
        let mut state = self.lock();
        let unchanged = state.invalidations == before.invalidations;
        state.made_at = if unchanged { now } else { Timestamp::default() };
        let counts = state.invalidations.iter().zip(&before.invalidations);
        state.lists = lists
            .into_iter()
            .zip(counts)
            .map(|(kept, (now, before))| {
                Some(if now == before { kept } else { Kept { fresh_until: Timestamp::default(), ..kept } })
            })
            .collect();
        state.merged = Some(merged);
        state.running = None;
    }

    pub(super) fn invalidate(&self, server: ServerIndex) {
        let index = usize::from(server.0);
        let mut state = self.lock();
        state.made_at = Timestamp::default();
        if let Some(count) = state.invalidations.get_mut(index) {
            *count = count.wrapping_add(1);
        }
        if let Some(Some(kept)) = state.lists.get_mut(index) {
            kept.fresh_until = Timestamp::default();
        }
    }

    pub(super) fn routing(&self) -> Option<Arc<Routing>> {
        self.lock().routing.clone()
    }

    pub(super) fn route_by(&self, routing: Arc<Routing>) {
        self.lock().routing = Some(routing);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn weigh(lists: &[Kept], merged: &Merged) -> usize {
    let items = lists.iter().flat_map(|kept| kept.list.items());
    let listed: usize = items.map(|item| item.bytes().len() + item.name().len() + ITEM_OVERHEAD).sum();
    let exposed = merged
        .entries()
        .iter()
        .map(|entry| merged.definition(entry).len() + entry.upstream.len() + entry.exposed.len() + ITEM_OVERHEAD);
    listed + exposed.sum::<usize>() + merged.index().map_or(0, quorate_mcp::curate::search::Index::bytes)
}
