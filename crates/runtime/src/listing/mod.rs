//! What a toolset lists, cached: the lists of its servers, fetched side by side and merged.
//!
//! A [`View`] is what a list may depend on: the era, for legacy clients their revision and
//! capabilities, and the principal, because no server's word makes one caller's list safe for
//! another. Each view and kind has a shelf with the servers' lists and their merge. A request
//! that finds everything fresh takes the merge and is done; else one task refreshes what is not,
//! and the requests of the moment wait for it: shortly where the last list may stand in.
//!
//! A server that cannot be asked keeps its last list (stale, for a moment longer) and never
//! fails the others. Where resources went is worked out whenever they are listed. What the toolset
//! makes of its servers' lists is done when they are merged, once for all requests.
//! Spec: mcp.md section 2, "Lists".

mod fetching;
mod shelf;
mod shelves;
#[cfg(test)]
mod tests;
mod watch;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{join, join_all};
use quorate_mcp::ListKind;
use quorate_mcp::curate::{Curation, Watched};
use quorate_mcp::listing::{self, Merge, Merged, Resolution, ServerIndex, Source};
use quorate_mcp::naming::Naming;
use quorate_mcp::uri::Router;
use quorate_telemetry::metrics::{CacheResult, List};
use quorate_telemetry::{Metrics, Throttle};
use quorate_types::{PrincipalDigest, ResourceName, Timestamp};

use self::shelf::{Kept, Made, Routing, Shelf};
use self::shelves::{Limits, Shelves};
pub use self::watch::Watch;
use crate::{backend, clock};

/// How long a request waits for a refresh before the last list stands in: 250 ms, in which most
/// servers have listed, and which nobody notices when a conversation begins.
const PATIENCE: Duration = Duration::from_millis(250);
/// Refreshes that one request waits for at most: one that began before it, its own, and another
/// one where its own was overtaken by a change.
const REFRESHES_MAX: usize = 3;
/// Lines about what one list hides; `quorate validate --probe` shows all.
const HIDDEN_LINES_MAX: usize = 20;
/// Bounds lists that are told of: a caller may ask for many views of them.
static HIDDEN: Throttle = Throttle::new();

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
    /// Stateless clients: lists do not depend on the connection. The number is that of what they
    /// declare, where a server of sessions may list by that; else 0.
    Modern(u8),
    /// Sessions of this digest of revision and capabilities.
    Legacy(u64),
}

/// Who asks for a list.
pub trait Ask: Sync {
    /// What asks the servers.
    type Fetch: Fetch;

    /// Returns what asks the servers, which may outlive the request.
    fn detached(&self) -> Self::Fetch;
}

/// Asks servers for the pages of lists.
pub trait Fetch: Send + Sync + 'static {
    /// What carries the requests for one list of one server; closed when dropped.
    type Line: Send + Sync;

    /// Tells whether the server speaks the view's era, as far as that is known: one that does not
    /// has nothing to say of what it lists.
    fn speaks(&self, server: &backend::Handle) -> bool;

    /// Tells whether the server offers this list to the view at all.
    fn offers(&self, server: &backend::Handle, kind: ListKind) -> bool;

    /// Tells whether the one who asks has gone: what it did not hear says nothing of its servers.
    fn has_left(&self) -> bool;

    /// Opens what carries the requests for one list, or says what went wrong, for the log.
    fn open(&self, server: &backend::Handle) -> impl Future<Output = Result<Self::Line, String>> + Send;

    /// Asks for a page; returns the JSON text of its result, or what went wrong, for the log.
    fn page(
        &self,
        server: &backend::Handle,
        line: &Self::Line,
        kind: ListKind,
        cursor: Option<&str>,
    ) -> impl Future<Output = Result<Bytes, String>> + Send;
}

/// What the lists of a toolset are made of.
pub struct Config {
    /// The toolset.
    pub toolset: ResourceName,
    /// Its servers, in order of precedence, each with its name in the toolset.
    pub members: Vec<(ResourceName, backend::Handle)>,
    /// How names are exposed.
    pub naming: Naming,
    /// What the toolset makes of the lists; nothing when it exposes them as they are.
    pub curation: Option<Arc<Curation>>,
    /// How many combinations of versions the toolset has. Each has lists of its own, and together
    /// they keep within the bounds of one toolset.
    pub combinations: usize,
    /// The number of this one among them.
    pub combination: usize,
    /// Where it is noted which patterns have matched.
    pub watch: Arc<Watch>,
}

/// The lists of one toolset.
pub struct Listing {
    lists: Arc<Lists>,
}

/// What the refreshing tasks share with the toolset.
struct Lists {
    toolset: ResourceName,
    servers: Vec<backend::Handle>,
    /// The servers' names in the toolset.
    names: Vec<ResourceName>,
    naming: Naming,
    curation: Option<Arc<Curation>>,
    /// Whether callers have different versions of servers.
    is_private: bool,
    combination: usize,
    watch: Arc<Watch>,
    configs: Vec<listing::Config>,
    shelves: Shelves,
    metrics: Metrics,
    clock: fn() -> Timestamp,
}

// === impl Listing ===

impl Listing {
    /// Makes the lists of a toolset.
    #[must_use]
    pub fn new(config: Config, metrics: Metrics) -> Self {
        let limits = shelves::DEFAULTS.shared_by(config.combinations);
        Self::with(config, metrics, limits, clock::now)
    }

    fn with(config: Config, metrics: Metrics, limits: Limits, clock: fn() -> Timestamp) -> Self {
        let of_server = |(_, server): &(ResourceName, backend::Handle)| listing::Config {
            items_max: server.config().items_max,
            ..listing::DEFAULTS
        };
        let configs = config.members.iter().map(of_server).collect();
        let (names, servers) = config.members.into_iter().unzip();
        let lists = Lists {
            toolset: config.toolset,
            servers,
            names,
            naming: config.naming,
            curation: config.curation,
            is_private: config.combinations > 1,
            combination: config.combination,
            watch: config.watch,
            configs,
            shelves: Shelves::new(limits, metrics.clone()),
            metrics,
            clock,
        };
        Self { lists: Arc::new(lists) }
    }

    /// The servers, in order of precedence.
    #[must_use]
    pub fn servers(&self) -> &[backend::Handle] {
        &self.lists.servers
    }

    /// How names are exposed.
    #[must_use]
    pub fn naming(&self) -> Naming {
        self.lists.naming
    }

    /// What the toolset makes of the lists; nothing when it exposes them as they are.
    #[must_use]
    pub fn curation(&self) -> Option<&Arc<Curation>> {
        self.lists.curation.as_ref()
    }

    /// The servers with their names in the toolset, in order of precedence.
    pub fn members(&self) -> impl Iterator<Item = (&ResourceName, &backend::Handle)> {
        self.lists.names.iter().zip(&self.lists.servers)
    }

    /// Returns the patterns of the toolset that match nothing, as far as lists were seen.
    #[must_use]
    pub fn unmatched(&self) -> Vec<Watched> {
        let curation = self.lists.curation.as_deref();
        curation.map_or_else(Vec::new, |curation| self.lists.watch.unmatched(curation))
    }

    /// Returns the servers whose list in a view is not their own, because it could not be fetched.
    #[must_use]
    pub fn undecided(&self, view: View, kind: ListKind) -> Vec<&backend::Handle> {
        let shelf = self.lists.shelves.peek(&(view, kind), (self.lists.clock)());
        let places = shelf.map_or_else(Vec::new, |shelf| shelf.undecided());
        places.into_iter().filter_map(|place| self.lists.servers.get(place)).collect()
    }

    /// Returns the name in the toolset of the server at a place of it.
    #[must_use]
    pub fn name(&self, index: ServerIndex) -> Option<&ResourceName> {
        self.lists.names.get(usize::from(index.0))
    }

    /// Returns the server at a place of the toolset.
    #[must_use]
    pub fn server(&self, index: ServerIndex) -> Option<&backend::Handle> {
        self.lists.servers.get(usize::from(index.0))
    }

    /// Returns a server's place in the toolset.
    #[must_use]
    pub fn index_of(&self, server: &ResourceName) -> Option<ServerIndex> {
        self.lists.servers.iter().position(|known| known.name() == server).map(ServerIndex::at)
    }

    /// Returns a list, from the cache where it is fresh, or where its servers are slow.
    pub async fn merged<A: Ask>(&self, view: View, kind: ListKind, ask: &A) -> Arc<Merged> {
        self.lists.merged(view, kind, || Arc::new(ask.detached())).await
    }

    /// Returns a list as it was last made, however old, without asking anybody.
    #[must_use]
    pub fn last(&self, view: View, kind: ListKind) -> Option<Arc<Merged>> {
        self.lists.last(view, kind)
    }

    /// Returns a list as it was last made, without asking anybody, while it may stand in for the thing
    /// of this name: the server that has it did not say that its list changed, and that is not too old.
    /// What other servers do is no reason to wait.
    #[must_use]
    pub fn standing(&self, view: View, kind: ListKind, name: &str) -> Option<Arc<Merged>> {
        let now = (self.lists.clock)();
        let shelf = self.lists.shelves.peek(&(view, kind), now)?;
        let merged = shelf.last()?;
        let Resolution::Found(entry) = merged.resolve(name) else { return None };
        let stands = shelf.stands(entry.server, now);
        stands.then_some(merged)
    }

    /// Returns the router of resource URIs, from the view's lists of resources and templates.
    pub async fn router<A: Ask>(&self, view: View, ask: &A) -> Arc<Router> {
        self.lists.router(view, &Arc::new(ask.detached())).await
    }

    /// Returns the router as it was last made; none where nothing is rewritten.
    #[must_use]
    pub fn last_router(&self, view: View) -> Option<Arc<Router>> {
        self.lists.last_router(view)
    }

    /// Returns the router as it was last made, also where nothing is rewritten; none where nobody has needed one yet.
    #[must_use]
    pub fn router_as_made(&self, view: View) -> Option<Arc<Router>> {
        self.lists.router_as_made(view)
    }

    /// Returns a session's view of `principal` whose resources were listed, whatever it declared.
    #[must_use]
    pub fn any_view_of(&self, principal: PrincipalDigest) -> Option<View> {
        let mut found = None;
        if self.lists.rewrites() {
            self.lists.shelves.for_each(|(view, kind), _| {
                if *kind == ListKind::Resources
                    && view.principal == principal
                    && matches!(view.audience, Audience::Legacy(_))
                {
                    found = Some(*view);
                }
            });
        }
        found
    }

    /// Makes every view ask `server` again for its list of `kind`.
    pub fn invalidate(&self, server: &ResourceName, kind: ListKind) {
        let Some(index) = self.index_of(server) else { return };
        self.lists.shelves.for_each(|(_, listed), shelf| {
            if *listed == kind {
                shelf.invalidate(index);
            }
        });
    }
}

// === impl Lists ===

impl Lists {
    /// Tells whether a URI may be exposed in another form than its server gave it.
    fn rewrites(&self) -> bool {
        self.servers.len() > 1 && self.naming != Naming::Bare
    }

    async fn merged<F: Fetch>(
        self: &Arc<Self>,
        view: View,
        kind: ListKind,
        fetch: impl FnOnce() -> Arc<F>,
    ) -> Arc<Merged> {
        let asked_at = (self.clock)();
        let shelf = self.shelves.get((view, kind), self.servers.len(), asked_at);
        if let Some(merged) = shelf.fresh(asked_at) {
            self.metrics.list_cache(label(kind), CacheResult::Hit);
            return merged;
        }
        self.metrics.list_cache(label(kind), CacheResult::Miss);
        let fetch = fetch();
        for _ in 0..REFRESHES_MAX {
            let refresh = finished(self.refreshing(view, kind, &shelf, &fetch));
            match shelf.stale(asked_at) {
                Some(stale) => {
                    if tokio::time::timeout(PATIENCE, refresh).await.is_err() {
                        return stale;
                    }
                }
                None => refresh.await,
            }
            if let Some(merged) = shelf.made_since(asked_at, (self.clock)()) {
                return merged;
            }
        }
        shelf.last().unwrap_or_else(|| Arc::new(self.merge(kind, &[], None)))
    }

    fn last(&self, view: View, kind: ListKind) -> Option<Arc<Merged>> {
        self.shelves.peek(&(view, kind), (self.clock)())?.last()
    }

    /// Joins the refresh under way, or starts one in a task of its own, which outlives a client
    /// that leaves. It is bounded by the time that servers have to list.
    fn refreshing<F: Fetch>(self: &Arc<Self>, view: View, kind: ListKind, shelf: &Arc<Shelf>, fetch: &Arc<F>) -> Made {
        let done = match shelf.join() {
            Ok(made) => return made,
            Err(done) => done,
        };
        let made = done.subscribe();
        let (lists, shelf, fetch) = (Arc::clone(self), Arc::clone(shelf), Arc::clone(fetch));
        tokio::spawn(async move {
            lists.refresh(view, kind, &shelf, &fetch).await;
            drop(done);
        });
        made
    }

    async fn refresh<F: Fetch>(self: &Arc<Self>, view: View, kind: ListKind, shelf: &Shelf, fetch: &Arc<F>) {
        let now = (self.clock)();
        let before = shelf.before();
        let servers = self.servers.iter().zip(before.lists.iter().cloned()).zip(&self.configs).enumerate();
        let lists = join_all(servers.map(|(index, ((server, kept), config))| async move {
            if !self.has_any(kind, index) {
                return fetching::unwanted(kind, (self.clock)());
            }
            fetching::list(server, kind, kept, config, self.clock, fetch.as_ref()).await
        }));
        let lists = lists.await;
        if fetch.has_left() && lists.iter().any(|kept| !kept.is_decided) {
            // Whoever else waits asks by itself.
            return;
        }
        let router = match kind {
            ListKind::Tools if self.rewrites() && lists.iter().any(refers_to_resources) => {
                Some(self.router(view, fetch).await)
            }
            ListKind::Tools => self.last_router(view),
            ListKind::Prompts | ListKind::Resources | ListKind::ResourceTemplates => None,
        };
        let merged = Arc::new(self.merge(kind, &lists, router.as_deref()));
        self.log_hidden(&merged, shelf);
        if let Some(curation) = &self.curation {
            let decided: Vec<bool> = lists.iter().map(|kept| kept.is_decided).collect();
            self.watch.note((self.combination, kind), curation, merged.marks(), &decided);
        }
        shelf.store(lists, &before, Arc::clone(&merged), now);
        if self.rewrites() {
            self.route(view, kind, &merged, fetch);
        }
        self.shelves.settle(&(view, kind));
    }

    fn merge(&self, kind: ListKind, lists: &[Kept], router: Option<&Router>) -> Merged {
        let source = |(index, (name, kept)): (usize, (&ResourceName, &Kept))| Source {
            server: ServerIndex::at(index),
            name: name.clone(),
            list: Arc::clone(&kept.list),
        };
        let sources: Vec<Source> = self.names.iter().zip(lists).enumerate().map(source).collect();
        let fresh_until_max = Timestamp::from_millis(u64::MAX);
        listing::merge(&Merge {
            kind,
            naming: self.naming,
            sources: &sources,
            router,
            fresh_until_max,
            curation: self.curation.as_deref(),
            is_private: self.is_private,
        })
    }

    /// Keeps the router up with what was just listed, so that results are rewritten before the
    /// first read; what it needs and was never listed is asked for beside.
    fn route<F: Fetch>(self: &Arc<Self>, view: View, kind: ListKind, merged: &Arc<Merged>, fetch: &Arc<F>) {
        let missing =
            |kind| self.last(view, kind).is_none() && self.servers.iter().any(|server| fetch.offers(server, kind));
        let ask_for = |kind| {
            let shelf = self.shelves.get((view, kind), self.servers.len(), (self.clock)());
            // Nobody waits: its own end publishes what it made.
            drop(self.refreshing(view, kind, &shelf, fetch));
        };
        let (resources, templates) = match kind {
            ListKind::Tools if missing(ListKind::Resources) => return ask_for(ListKind::Resources),
            ListKind::Tools | ListKind::Prompts => return,
            ListKind::Resources => {
                if missing(ListKind::ResourceTemplates) {
                    ask_for(ListKind::ResourceTemplates);
                }
                let templates = self.last(view, ListKind::ResourceTemplates);
                let none = || Arc::new(self.merge(ListKind::ResourceTemplates, &[], None));
                (Arc::clone(merged), templates.unwrap_or_else(none))
            }
            ListKind::ResourceTemplates => {
                let Some(resources) = self.last(view, ListKind::Resources) else { return };
                (resources, Arc::clone(merged))
            }
        };
        self.routed(view, resources, templates, fetch.as_ref());
    }

    async fn router<F: Fetch>(self: &Arc<Self>, view: View, fetch: &Arc<F>) -> Arc<Router> {
        let resources = self.merged(view, ListKind::Resources, || Arc::clone(fetch));
        let templates = self.merged(view, ListKind::ResourceTemplates, || Arc::clone(fetch));
        let (resources, templates) = join(resources, templates).await;
        self.routed(view, resources, templates, fetch.as_ref())
    }

    /// Returns the router over two lists: the last one, while they say the same.
    fn routed<F: Fetch>(&self, view: View, resources: Arc<Merged>, templates: Arc<Merged>, fetch: &F) -> Arc<Router> {
        let shelf = self.shelves.get((view, ListKind::Resources), self.servers.len(), (self.clock)());
        let known = shelf.routing();
        let same = |known: &&Arc<Routing>| {
            Arc::ptr_eq(&known.resources, &resources) && Arc::ptr_eq(&known.templates, &templates)
        };
        if let Some(known) = known.as_ref().filter(same) {
            return Arc::clone(&known.router);
        }
        let offers = |(index, server): (usize, &backend::Handle)| {
            let is_asked = self.has_any(ListKind::Resources, index) && fetch.offers(server, ListKind::Resources);
            is_asked.then(|| (ServerIndex::at(index), self.names[index].clone()))
        };
        let servers: Vec<_> = self.servers.iter().enumerate().filter_map(offers).collect();
        let offering: Vec<ServerIndex> = servers.iter().map(|(index, _)| *index).collect();
        let equal = |known: &Arc<Routing>| {
            known.resources.epoch() == resources.epoch()
                && known.templates.epoch() == templates.epoch()
                && known.offering == offering
        };
        let router = match known.filter(equal) {
            Some(known) => Arc::clone(&known.router),
            None => {
                let router = Router::new(self.naming, &servers, Arc::clone(&resources), Arc::clone(&templates));
                Arc::new(router.curated(self.curation.clone()))
            }
        };
        shelf.route_by(Arc::new(Routing { router: Arc::clone(&router), resources, templates, offering }));
        router
    }

    /// Tells whether the toolset may have something of a server's list.
    fn has_any(&self, kind: ListKind, server: usize) -> bool {
        self.curation.as_ref().is_none_or(|curation| curation.has_any(kind, ServerIndex::at(server)))
    }

    fn last_router(&self, view: View) -> Option<Arc<Router>> {
        if !self.rewrites() {
            return None; // Most toolsets never take the lock.
        }
        self.router_as_made(view)
    }

    fn router_as_made(&self, view: View) -> Option<Arc<Router>> {
        let routing = self.shelves.peek(&(view, ListKind::Resources), (self.clock)())?.routing()?;
        Some(Arc::clone(&routing.router))
    }

    fn log_hidden(&self, merged: &Merged, shelf: &Shelf) {
        let is_known = shelf.last().is_some_and(|last| last.epoch() == merged.epoch());
        if is_known || merged.hidden().is_empty() || !HIDDEN.admits() {
            return;
        }
        for hidden in merged.hidden().iter().take(HIDDEN_LINES_MAX) {
            let server = self.servers.get(usize::from(hidden.server.0));
            let server = server.map(|server| server.name().as_str()).unwrap_or_default();
            tracing::warn!(toolset = %self.toolset, server, name = %hidden.name, reason = ?hidden.reason, "not exposed");
        }
        if let Some(more @ 1..) = merged.hidden().len().checked_sub(HIDDEN_LINES_MAX) {
            tracing::warn!(toolset = %self.toolset, more, "more are not exposed: `quorate validate --probe` shows all");
        }
    }
}

/// Waits for a refresh to end, well or not.
async fn finished(mut made: Made) {
    // The task says nothing; it drops its end when it has stored what it made, or failed.
    while made.changed().await.is_ok() {}
}

/// Tells whether a tool's definition may name a UI resource, which is exposed as resources are.
fn refers_to_resources(kept: &Kept) -> bool {
    kept.list.items().iter().any(|item| memchr::memmem::find(item.bytes(), b"esourceUri").is_some())
}

const fn label(kind: ListKind) -> List {
    match kind {
        ListKind::Tools => List::Tools,
        ListKind::Prompts => List::Prompts,
        ListKind::Resources => List::Resources,
        ListKind::ResourceTemplates => List::ResourceTemplates,
    }
}
