//! What a toolset lists, cached: the lists of its servers, fetched side by side and merged.
//!
//! A [`View`] is what a list may depend on: the era, for legacy clients their revision and
//! capabilities, and the principal, because no server's word makes one caller's list safe for
//! another. Each view and kind has a shelf with the servers' lists and their merge. A request
//! that finds everything fresh takes the merge and is done; else one request refreshes what is
//! not, and the others of the moment wait for it.
//!
//! A server that cannot be asked keeps its last list (stale, for a moment longer) and never
//! fails the others. Views are bounded: the longest unused one makes room.
//! Spec: mcp.md section 2, "Lists".

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use quorate_mcp::ListKind;
use quorate_mcp::listing::{self, Collector, Merge, Merged, Progress, ServerIndex, ServerList, Source};
use quorate_mcp::naming::Naming;
use quorate_mcp::uri::Router;
use quorate_telemetry::Metrics;
use quorate_telemetry::metrics::{CacheResult, List};
use quorate_types::{PrincipalDigest, ResourceName, Timestamp};

use crate::{backend, clock};

/// Time in which a server has to list one kind: 5 s. A slower one is left out of this answer.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a stale list stands in for a server that cannot be asked: 5 s, then it is tried again.
const STALE_FOR: Duration = Duration::from_secs(5);
/// Shelves per toolset: four kinds for each of 1,024 views.
const SHELVES_MAX: usize = 4 * 1024;

/// What a list may depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct View {
    /// Whose list it is.
    pub principal: PrincipalDigest,
    /// The era, and what a legacy session declared.
    pub audience: Audience,
}

/// The era that a list is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Audience {
    /// Stateless clients: lists do not depend on the connection.
    Modern,
    /// Sessions of this digest of revision and capabilities.
    Legacy(u64),
}

/// Asks a server for a page of a list.
pub trait Fetch: Sync {
    /// Tells whether the server offers this list to the view at all.
    fn offers(&self, server: &backend::Handle, kind: ListKind) -> bool;

    /// Asks for a page; returns the JSON text of its result, or what went wrong, for the log.
    fn page(
        &self,
        server: &backend::Handle,
        kind: ListKind,
        cursor: Option<&str>,
    ) -> impl Future<Output = Result<Bytes, String>> + Send;
}

/// The lists of one toolset.
pub struct Listing {
    toolset: ResourceName,
    servers: Vec<backend::Handle>,
    naming: Naming,
    configs: Vec<listing::Config>,
    shelves: RwLock<HashMap<(View, ListKind), Arc<Shelf>>>,
    routers: Mutex<HashMap<View, Arc<Router>>>,
    metrics: Metrics,
}

/// One view's lists of one kind.
struct Shelf {
    state: Mutex<State>,
    refreshing: tokio::sync::Mutex<()>,
    used_at: AtomicU64,
}

struct State {
    lists: Vec<Option<Arc<ServerList>>>,
    merged: Option<Arc<Merged>>,
    /// When the merge was made; later requests of the same moment share even what is never fresh.
    made_at: Timestamp,
    /// Counts each server's invalidations, so that one during a refresh is not lost.
    invalidations: Vec<u64>,
}

// === impl Listing ===

impl Listing {
    /// Makes the lists of a toolset over `servers`, in order of precedence.
    #[must_use]
    pub fn new(toolset: ResourceName, servers: Vec<backend::Handle>, naming: Naming, metrics: Metrics) -> Self {
        let config =
            |server: &backend::Handle| listing::Config { items_max: server.config().items_max, ..listing::DEFAULTS };
        Self {
            toolset,
            naming,
            configs: servers.iter().map(config).collect(),
            servers,
            shelves: RwLock::new(HashMap::new()),
            routers: Mutex::new(HashMap::new()),
            metrics,
        }
    }

    /// The servers, in order of precedence.
    #[must_use]
    pub fn servers(&self) -> &[backend::Handle] {
        &self.servers
    }

    /// How names are exposed.
    #[must_use]
    pub fn naming(&self) -> Naming {
        self.naming
    }

    /// Returns the server at a place of the toolset.
    #[must_use]
    pub fn server(&self, index: ServerIndex) -> Option<&backend::Handle> {
        self.servers.get(usize::from(index.0))
    }

    /// Returns a server's place in the toolset.
    #[must_use]
    pub fn index_of(&self, server: &ResourceName) -> Option<ServerIndex> {
        let index = self.servers.iter().position(|known| known.name() == server)?;
        u16::try_from(index).ok().map(ServerIndex)
    }

    /// Returns a list, from the cache where it is fresh.
    pub async fn merged<F: Fetch>(&self, view: View, kind: ListKind, fetch: &F) -> Arc<Merged> {
        let asked_at = clock::now();
        let shelf = self.shelf(view, kind, asked_at);
        if let Some(merged) = shelf.fresh(asked_at) {
            self.metrics.list_cache(label(kind), CacheResult::Hit);
            return merged;
        }
        let _one_at_a_time = shelf.refreshing.lock().await;
        if let Some(merged) = shelf.made_since(asked_at) {
            self.metrics.list_cache(label(kind), CacheResult::Hit);
            return merged;
        }
        self.metrics.list_cache(label(kind), CacheResult::Miss);
        self.refresh(view, kind, &shelf, fetch).await
    }

    /// Returns a list as it was last made, however old, without asking anybody.
    #[must_use]
    pub fn last(&self, view: View, kind: ListKind) -> Option<Arc<Merged>> {
        let shelves = self.shelves.read().unwrap_or_else(PoisonError::into_inner);
        let shelf = shelves.get(&(view, kind))?;
        let state = shelf.lock();
        state.merged.clone()
    }

    /// Returns the router of resource URIs, from the view's lists of resources and templates.
    pub async fn router<F: Fetch>(&self, view: View, fetch: &F) -> Arc<Router> {
        let resources = self.merged(view, ListKind::Resources, fetch).await;
        let templates = self.merged(view, ListKind::ResourceTemplates, fetch).await;
        let offering = |(index, server): (usize, &backend::Handle)| {
            let offers = fetch.offers(server, ListKind::Resources);
            let index = ServerIndex(u16::try_from(index).unwrap_or(u16::MAX));
            offers.then(|| (index, server.name().clone()))
        };
        let servers: Vec<_> = self.servers.iter().enumerate().filter_map(offering).collect();
        let router = Arc::new(Router::new(self.naming, &servers, resources, templates));
        let mut routers = self.routers.lock().unwrap_or_else(PoisonError::into_inner);
        if routers.len() >= SHELVES_MAX {
            routers.clear();
        }
        routers.insert(view, Arc::clone(&router));
        router
    }

    /// Returns the router as it was last made.
    #[must_use]
    pub fn last_router(&self, view: View) -> Option<Arc<Router>> {
        if self.servers.len() < 2 || self.naming == Naming::Bare {
            return None; // Nothing is rewritten there, so most toolsets never take the lock.
        }
        self.routers.lock().unwrap_or_else(PoisonError::into_inner).get(&view).cloned()
    }

    /// Returns the router that was last made for a session of `principal`, whatever it declared.
    #[must_use]
    pub fn any_router_of(&self, principal: PrincipalDigest) -> Option<Arc<Router>> {
        if self.servers.len() < 2 || self.naming == Naming::Bare {
            return None;
        }
        let routers = self.routers.lock().unwrap_or_else(PoisonError::into_inner);
        let of_session = |view: &View| view.principal == principal && view.audience != Audience::Modern;
        routers.iter().find(|(view, _)| of_session(view)).map(|(_, router)| Arc::clone(router))
    }

    /// Makes every view ask `server` again for its list of `kind`.
    pub fn invalidate(&self, server: &ResourceName, kind: ListKind) {
        let Some(index) = self.index_of(server) else { return };
        let shelves = self.shelves.read().unwrap_or_else(PoisonError::into_inner);
        for ((_, listed), shelf) in shelves.iter() {
            if *listed == kind {
                shelf.invalidate(index);
            }
        }
    }

    fn shelf(&self, view: View, kind: ListKind, now: Timestamp) -> Arc<Shelf> {
        let key = (view, kind);
        if let Some(shelf) = self.shelves.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            shelf.used_at.store(now.as_millis(), Ordering::Relaxed);
            return Arc::clone(shelf);
        }
        let mut shelves = self.shelves.write().unwrap_or_else(PoisonError::into_inner);
        if shelves.len() >= SHELVES_MAX {
            let oldest = shelves.iter().min_by_key(|(_, shelf)| shelf.used_at.load(Ordering::Relaxed));
            if let Some(key) = oldest.map(|(key, _)| *key) {
                shelves.remove(&key);
                self.metrics.limit_hit("list_views");
            }
        }
        Arc::clone(shelves.entry(key).or_insert_with(|| Arc::new(Shelf::new(self.servers.len(), now))))
    }

    async fn refresh<F: Fetch>(&self, view: View, kind: ListKind, shelf: &Shelf, fetch: &F) -> Arc<Merged> {
        let now = clock::now();
        let (kept, invalidations) = {
            let state = shelf.lock();
            (state.lists.clone(), state.invalidations.clone())
        };
        let lists =
            join_all(self.servers.iter().zip(kept).zip(&self.configs).map(|((server, kept), config)| async move {
                Arc::new(fetch_list(server, kind, kept, config, now, fetch).await)
            }))
            .await;

        let source = |(index, (server, list)): (usize, (&backend::Handle, &Arc<ServerList>))| Source {
            server: ServerIndex(u16::try_from(index).unwrap_or(u16::MAX)),
            name: server.name().clone(),
            list: Arc::clone(list),
        };
        let sources: Vec<Source> = self.servers.iter().zip(&lists).enumerate().map(source).collect();
        let router = self.last_router(view);
        let merge = Merge {
            kind,
            naming: self.naming,
            sources: &sources,
            router: router.as_deref(),
            fresh_until_max: Timestamp::from_millis(u64::MAX),
        };
        let merged = Arc::new(listing::merge(&merge));
        self.log_hidden(&merged, shelf);
        shelf.store(lists, &invalidations, Arc::clone(&merged), now);
        merged
    }

    fn log_hidden(&self, merged: &Merged, shelf: &Shelf) {
        let before = shelf.lock().merged.as_ref().map(|merged| merged.epoch());
        if before == Some(merged.epoch()) {
            return;
        }
        for hidden in merged.hidden() {
            let server = self.server(hidden.server).map(|server| server.name().as_str()).unwrap_or_default();
            tracing::warn!(toolset = %self.toolset, server, name = %hidden.name, reason = ?hidden.reason, "not exposed");
        }
    }
}

// === impl Shelf ===

impl Shelf {
    fn new(servers: usize, now: Timestamp) -> Self {
        let state = State {
            lists: vec![None; servers],
            merged: None,
            made_at: Timestamp::default(),
            invalidations: vec![0; servers],
        };
        Self {
            state: Mutex::new(state),
            refreshing: tokio::sync::Mutex::new(()),
            used_at: AtomicU64::new(now.as_millis()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fresh(&self, now: Timestamp) -> Option<Arc<Merged>> {
        let state = self.lock();
        state
            .merged
            .as_ref()
            .filter(|merged| merged.expires_at() > now && state.made_at > Timestamp::default())
            .cloned()
    }

    fn made_since(&self, asked_at: Timestamp) -> Option<Arc<Merged>> {
        let state = self.lock();
        (state.made_at >= asked_at).then(|| state.merged.clone()).flatten()
    }

    fn store(&self, lists: Vec<Arc<ServerList>>, invalidations: &[u64], merged: Arc<Merged>, now: Timestamp) {
        let mut state = self.lock();
        // What was invalidated while it was fetched is kept for its content, and asked for again.
        let unchanged = state.invalidations == invalidations;
        state.made_at = if unchanged { now } else { Timestamp::default() };
        state.lists = lists
            .into_iter()
            .zip(state.invalidations.iter().zip(invalidations))
            .map(|(list, (now, before))| Some(if now == before { list } else { expired(&list) }))
            .collect();
        state.merged = Some(merged);
    }

    fn invalidate(&self, server: ServerIndex) {
        let index = usize::from(server.0);
        let mut state = self.lock();
        state.made_at = Timestamp::default();
        if let Some(count) = state.invalidations.get_mut(index) {
            *count = count.wrapping_add(1);
        }
        if let Some(Some(list)) = state.lists.get_mut(index) {
            *list = expired(list);
        }
    }
}

/// Fetches one server's list, or stands in for it: what cannot be asked never fails the others.
async fn fetch_list<F: Fetch>(
    server: &backend::Handle,
    kind: ListKind,
    kept: Option<Arc<ServerList>>,
    config: &listing::Config,
    now: Timestamp,
    fetch: &F,
) -> ServerList {
    if let Some(kept) = kept.as_ref().filter(|kept| kept.expires_at() > now) {
        return kept.as_ref().clone();
    }
    if !fetch.offers(server, kind) {
        return ServerList::empty(kind, now + STALE_FOR);
    }
    let pages = fetch_pages(server, kind, config, now, fetch);
    let reason = match tokio::time::timeout(FETCH_TIMEOUT, pages).await {
        Ok(Ok(list)) => return list,
        Ok(Err(reason)) => reason,
        Err(_) => format!("no list within {FETCH_TIMEOUT:?}"),
    };
    tracing::warn!(server = %server.name(), list = kind.result_key(), reason, "a list cannot be fetched; the others are served");
    let stale = kept.map(|kept| kept.as_ref().clone());
    let until = now + STALE_FOR;
    stale.map_or_else(|| ServerList::empty(kind, until), |stale| stale.with_expiry(until))
}

async fn fetch_pages<F: Fetch>(
    server: &backend::Handle,
    kind: ListKind,
    config: &listing::Config,
    now: Timestamp,
    fetch: &F,
) -> Result<ServerList, String> {
    let mut collector = Collector::new(kind, config);
    let mut cursor: Option<String> = None;
    // Bounded by the collector: pages, and cursors that go in a circle.
    loop {
        let page = fetch.page(server, kind, cursor.as_deref()).await?;
        match collector.push(now, &page).map_err(|error| error.to_string())? {
            Progress::Done => return Ok(collector.finish()),
            Progress::Next { cursor: next } => cursor = Some(next),
        }
    }
}

fn expired(list: &ServerList) -> Arc<ServerList> {
    Arc::new(list.clone().with_expiry(Timestamp::default()))
}

const fn label(kind: ListKind) -> List {
    match kind {
        ListKind::Tools => List::Tools,
        ListKind::Prompts => List::Prompts,
        ListKind::Resources => List::Resources,
        ListKind::ResourceTemplates => List::ResourceTemplates,
    }
}
