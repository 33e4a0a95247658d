//! What the names in a request stand for: looked up in what the toolset lists to this caller.
//!
//! In: a classified request. Out: [`Resolved`]: the item that it is about, with the server that has it. Policy decides
//! on the item and not on its name, so names are looked up before; nothing is parsed out of a name, so that no server
//! can claim another's. A toolset of one server with bare names needs no look-up at all, unless it makes something of
//! that server's list: then what it does not list does not exist.
//! Spec: mcp.md section 2, "Naming", "Resources", "Tasks".

use std::sync::Arc;
use std::time::Duration;

use quorate_mcp::curate::find;
use quorate_mcp::listing::{Entry, Merged, Resolution, ServerIndex};
use quorate_mcp::naming::Naming;
use quorate_mcp::uri::{Route, Router};
use quorate_mcp::{Fault, ListKind, Operation, Reference, Rejected, Version};
use quorate_runtime::backend;
use quorate_runtime::listing::{Audience, Listing, View};

use crate::authorize::Gate;
use crate::behalf::{self, Behalf};
use crate::classify::{Request, Work};
use crate::fetch::Fetcher;
use crate::listener::Endpoint;
use crate::located::Located;
use crate::tasks::{Holder, Task};

/// How long a request waits for the first probe of a server that just appeared.
pub(crate) const PROBE_PATIENCE: Duration = Duration::from_secs(3);

/// What a request is about.
pub enum Resolved {
    /// Nothing of a server: the gateway answers.
    Here,
    /// A tool or prompt of the only server, whose names are its own.
    Only {
        /// The server.
        server: backend::Handle,
        /// The name.
        name: String,
    },
    /// A tool or prompt that is listed.
    Listed {
        /// The server.
        server: backend::Handle,
        /// The list.
        list: Arc<Merged>,
        /// Its place there.
        place: usize,
    },
    /// The search of these tools.
    Find {
        /// The tools.
        tools: Arc<Merged>,
    },
    /// A resource, or a template of some.
    Resource {
        /// The server.
        server: backend::Handle,
        /// Its URI there.
        uri: String,
        /// What the caller is listed; none where the server is the only one, and its URIs are its own.
        router: Option<Arc<Router>>,
    },
    /// A resource that none of these servers lists.
    Unlisted {
        /// The servers.
        servers: Vec<backend::Handle>,
        /// The URI.
        uri: String,
        /// What the caller is listed.
        router: Arc<Router>,
    },
    /// A resource that the session may have subscribed to at one of these servers.
    Subscribed {
        /// The servers, the likeliest first.
        servers: Vec<backend::Handle>,
        /// The URI.
        uri: String,
    },
    /// A task.
    Task {
        /// The server.
        server: backend::Handle,
        /// The task.
        task: Task,
        /// What the toolset says of the tool that began it.
        tags: Vec<String>,
    },
    /// Nothing, of a session whose client reads answers from its stream alone.
    Refused {
        /// Why.
        fault: Fault,
    },
}

/// A session's or a stateless request's way to the lists of its toolset.
struct Resolver<'a> {
    request: &'a Request,
    fetch: Fetcher<'a>,
    audience: Audience,
}

// === impl Resolved ===

impl Resolved {
    /// The entry of a list that it is.
    #[must_use]
    pub fn entry(&self) -> Option<&Entry> {
        match self {
            Self::Listed { list, place, .. } => list.entries().get(*place),
            _ => None,
        }
    }
}

/// Looks up what `work` is about.
///
/// # Errors
/// [`Rejected`] when a name, URI, task or reference leads nowhere.
pub(crate) async fn find(request: &Request, work: &Work) -> Result<Resolved, Rejected> {
    match work {
        Work::Modern(call) => {
            if is_about_nothing(&call.operation) {
                return Ok(Resolved::Here);
            }
            let behalf = Behalf::of(request, call);
            let audience = behalf::audience(request.toolset(), call);
            let resolver = Resolver { request, fetch: Fetcher::Modern(&behalf), audience };
            let reject = |fault| Rejected { era: Version::LATEST.era(), id: call.frame.id().cloned(), fault };
            resolver.find(&call.operation).await.map_err(reject)
        }
        Work::InSession { session, call } => {
            let fetch = match request.endpoint() {
                Endpoint::Mcp => Fetcher::Session(session),
                Endpoint::Sse => Fetcher::Single(session),
            };
            let (view, version) =
                session.client().map_or((0, Version::ASSUMED), |client| (client.view, client.version));
            let resolver = Resolver { request, fetch, audience: Audience::Legacy(view) };
            match (resolver.find(&call.operation).await, request.endpoint()) {
                (Ok(resolved), _) => Ok(resolved),
                (Err(fault), Endpoint::Sse) => Ok(Resolved::Refused { fault }),
                (Err(fault), Endpoint::Mcp) => {
                    Err(Rejected { era: version.era(), id: call.frame.id().cloned(), fault })
                }
            }
        }
        Work::Open { .. } | Work::Listen { .. } | Work::End { .. } | Work::OpenSse => Ok(Resolved::Here),
    }
}

/// The view of a caller on its toolset.
#[must_use]
pub fn view(request: &Request, audience: Audience) -> View {
    View { principal: request.caller().digest, audience }
}

/// Who a request's tasks belong to.
pub(crate) fn holder(request: &Request) -> Holder<'_> {
    Holder { caller: request.caller().digest, toolset: &request.toolset().name }
}

/// Waits until each server of a toolset was probed, within bounds.
pub async fn probed(listing: &Listing) {
    let waiting = listing.servers().iter().filter(|server| !server.is_probed());
    let waits: Vec<_> = waiting.map(|server| server.support_within(PROBE_PATIENCE)).collect();
    if !waits.is_empty() {
        futures_util::future::join_all(waits).await;
    }
}

/// Whether an operation names nothing that a server has.
const fn is_about_nothing(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::Initialize { .. }
            | Operation::Ping
            | Operation::Discover
            | Operation::List { .. }
            | Operation::ListTasks { .. }
            | Operation::SetLevel { .. }
            | Operation::Listen { .. }
            | Operation::Initialized
            | Operation::Cancelled { .. }
            | Operation::RootsListChanged
            | Operation::Progress { .. }
            | Operation::Response
            | Operation::OtherNotification
    )
}

// === impl Resolver ===

impl Resolver<'_> {
    async fn find(&self, operation: &Operation) -> Result<Resolved, Fault> {
        match operation {
            Operation::CallTool { name, .. } => self.named(name, ListKind::Tools).await,
            Operation::GetPrompt { name, .. } | Operation::Complete { reference: Reference::Prompt { name, .. } } => {
                self.named(name, ListKind::Prompts).await
            }
            Operation::ReadResource { uri, .. } | Operation::Subscribe { uri, .. } => self.resource(uri, false).await,
            Operation::Unsubscribe { uri, .. } => Ok(self.subscribed(uri).await),
            Operation::Complete { reference: Reference::Resource { uri, .. } } => self.resource(uri, true).await,
            Operation::Task { id, .. } => self.task(id),
            _ => Ok(Resolved::Here),
        }
    }

    /// The only server of this era, where names of this kind are its own.
    async fn only(&self, kind: ListKind) -> Option<&backend::Handle> {
        let listing = &self.request.toolset().listing;
        if listing.naming() != Naming::Bare || !listing.curation().is_none_or(|curation| curation.leaves(kind)) {
            return None;
        }
        probed(listing).await;
        let mut speaking = listing.servers().iter().filter(|server| self.speaks(server));
        let only = speaking.next();
        if speaking.next().is_some() { None } else { only }
    }

    fn speaks(&self, server: &backend::Handle) -> bool {
        match self.audience {
            // One that needs sessions is spoken to through one; of one that could not be asked yet
            // nothing is known, and the call says what is wrong with it.
            Audience::Modern(_) => {
                server.speaks_modern() || server.needs_session() || server.support().failure.is_some()
            }
            Audience::Legacy(_) => server.serves_sessions(),
        }
    }

    async fn named(&self, name: &str, kind: ListKind) -> Result<Resolved, Fault> {
        if let Some(server) = self.only(kind).await {
            return Ok(Resolved::Only { server: server.clone(), name: name.to_owned() });
        }
        let listing = &self.request.toolset().listing;
        let view = view(self.request, self.audience);
        if let Some(list) = self.listed_before(view, kind, name)
            && let Some(found) = self.listed(&list, name)
        {
            return Ok(found);
        }
        probed(listing).await;
        let list = listing.merged(view, kind, &self.fetch).await;
        if let Some(found) = self.listed(&list, name) {
            return Ok(found);
        }
        match list.resolve(name) {
            Resolution::Ambiguous { alternatives } => Err(self.ambiguous(kind, name, &list, &alternatives)),
            Resolution::Found(_) | Resolution::Unknown => Err(unknown(kind, name)),
        }
    }

    /// The fault of a name that several servers claim: with those of their names that the caller may use.
    fn ambiguous(&self, kind: ListKind, name: &str, list: &Merged, alternatives: &[&str]) -> Fault {
        let gate = Gate::of(self.request);
        let entry = |exposed: &str| list.place(exposed).and_then(|place| list.entries().get(place));
        let may_use = |exposed: &&&str| entry(exposed).is_some_and(|entry| gate.may_use(kind, entry));
        let alternatives: Vec<String> = alternatives.iter().filter(may_use).map(|name| (*name).to_owned()).collect();
        if alternatives.is_empty() {
            return unknown(kind, name);
        }
        Fault::AmbiguousName { name: name.to_owned(), alternatives }
    }

    /// The list as it was last made, where it may answer for a call. Names do not change meaning, so
    /// that it answers for most, however old; but what a toolset holds its calls to does change with
    /// the definitions, and a search is one of what there is now.
    fn listed_before(&self, view: View, kind: ListKind, name: &str) -> Option<Arc<Merged>> {
        let listing = &self.request.toolset().listing;
        let Some(curation) = listing.curation().filter(|curation| !curation.leaves(kind)) else {
            return listing.last(view, kind);
        };
        let is_searched = kind == ListKind::Tools && name == find::NAME && curation.search().is_some();
        if is_searched { None } else { listing.standing(view, kind, name) }
    }

    fn listed(&self, list: &Arc<Merged>, name: &str) -> Option<Resolved> {
        let place = list.place(name)?;
        let entry = list.entries().get(place)?;
        if entry.server == ServerIndex::OURS {
            return Some(Resolved::Find { tools: Arc::clone(list) });
        }
        let server = self.request.toolset().listing.server(entry.server)?.clone();
        Some(Resolved::Listed { server, list: Arc::clone(list), place })
    }

    async fn resource(&self, uri: &str, is_reference: bool) -> Result<Resolved, Fault> {
        // What may be read in several ways is decided on as it is listed, if it is.
        if Located::needs_no_list(self.request.snapshot().judge(), uri)
            && let Some(server) = self.only(ListKind::Resources).await
        {
            return Ok(Resolved::Resource { server: server.clone(), uri: uri.to_owned(), router: None });
        }
        let listing = &self.request.toolset().listing;
        probed(listing).await;
        let router = listing.router(view(self.request, self.audience), &self.fetch).await;
        let not_found = || Fault::ResourceNotFound { uri: uri.to_owned() };
        let route = if is_reference { router.route_reference(uri) } else { router.route(uri) };
        match route.map_err(|_| not_found())? {
            Route::To { server, uri: upstream } => {
                let server = listing.server(server).ok_or_else(not_found)?.clone();
                let uri = upstream.to_owned();
                Ok(Resolved::Resource { server, uri, router: Some(router) })
            }
            Route::Ask(servers) => {
                let servers: Vec<_> = servers.into_iter().filter_map(|index| listing.server(index).cloned()).collect();
                if servers.is_empty() {
                    return Err(not_found());
                }
                Ok(Resolved::Unlisted { servers, uri: uri.to_owned(), router })
            }
            Route::Ambiguous { alternatives } => {
                let gate = Gate::of(self.request);
                let server = |index| listing.server(index).map(backend::Handle::name);
                let may_read = |uri: &&str| match router.route(uri) {
                    Ok(Route::To { server: index, uri }) => {
                        server(index).is_some_and(|name| gate.may_read(name, uri, &router))
                    }
                    Ok(_) | Err(_) => false,
                };
                let alternatives: Vec<String> = alternatives.into_iter().filter(may_read).map(str::to_owned).collect();
                if alternatives.is_empty() {
                    return Err(not_found());
                }
                Err(Fault::AmbiguousName { name: uri.to_owned(), alternatives })
            }
        }
    }

    /// Those who may hold the subscription of a resource: the session knows which of them does. What nobody has, or may have,
    /// is said to be over all the same, as for whoever subscribed before it was gone.
    async fn subscribed(&self, uri: &str) -> Resolved {
        let mut servers = self.request.toolset().listing.servers().to_vec();
        match self.resource(uri, false).await {
            // Under its server's name it is another URI for every other server.
            Ok(Resolved::Resource { server, uri: upstream, router }) if upstream != uri => {
                Resolved::Resource { server, uri: upstream, router }
            }
            Ok(Resolved::Resource { server, .. }) => {
                servers.retain(|other| other.name() != server.name());
                servers.insert(0, server);
                Resolved::Subscribed { servers, uri: uri.to_owned() }
            }
            Ok(_) | Err(_) => Resolved::Subscribed { servers, uri: uri.to_owned() },
        }
    }

    fn task(&self, id: &str) -> Result<Resolved, Fault> {
        let (services, holder) = (&self.request.snapshot().services, holder(self.request));
        let task = holder.open(&services.sealer, id).ok_or(Fault::UnknownTask)?;
        let server = self.request.toolset().servers.iter().find(|known| *known.name() == task.server);
        let server = server.ok_or(Fault::UnknownTask)?.clone();
        let tags = self.request.all_versions().tags_of(&task).ok_or(Fault::UnknownTask)?;
        // Its id proves whose it is, also where another node saw it begin.
        services.tasks.note(holder, &task);
        Ok(Resolved::Task { server, task, tags })
    }
}

/// The fault of a name that nothing of a kind has.
pub(crate) fn unknown(kind: ListKind, name: &str) -> Fault {
    let name = name.to_owned();
    match kind {
        ListKind::Tools => Fault::UnknownTool { name },
        ListKind::Prompts => Fault::UnknownPrompt { name },
        ListKind::Resources | ListKind::ResourceTemplates => Fault::ResourceNotFound { uri: name },
    }
}
