//! Stage 5: who answers.
//!
//! In: a permitted request. Out: [`Routed`]: the gateway itself, one server of the toolset with
//! the request as that server knows it, or several to be asked in turn. Names are looked up in
//! what the toolset lists to this caller; nothing is parsed out of a name, so that no server can
//! claim another's. A toolset of one server with bare names needs no look-up at all, unless it makes
//! something of that server's list: then what it does not list does not exist. Calls are held to
//! what the toolset says of their tool, and go out with the arguments that it has fixed.
//! Spec: mcp.md section 2, "Naming", "Resources", "Tasks".

use std::sync::Arc;
use std::time::Duration;

use quorate_jsonrpc::{Frame, Span};
use quorate_mcp::curate::{self, Terms, find};
use quorate_mcp::listing::{Merged, Resolution, ServerIndex};
use quorate_mcp::naming::Naming;
use quorate_mcp::uri::Route;
use quorate_mcp::{Fault, ListKind, Operation, Reference, Rejected, Version, codec};
use quorate_runtime::backend;
use quorate_runtime::listing::{Audience, Listing, View};

use crate::authorize::Permitted;
use crate::behalf::{self, Behalf};
use crate::classify::{Request, Work};
use crate::fetch::Fetcher;
use crate::handle::open_task;
use crate::held::Held;
use crate::listener::Endpoint;

/// How long a request waits for the first probe of a server that just appeared.
const PROBE_PATIENCE: Duration = Duration::from_secs(3);

/// A request with its destination.
pub struct Routed {
    request: Arc<Request>,
    work: Work,
    target: Target,
}

/// Who answers.
pub enum Target {
    /// The gateway.
    Here,
    /// One server, with the request as it knows it.
    Server {
        /// The server.
        server: backend::Handle,
        /// The request.
        frame: Frame,
        /// The name, URI or task id that it asks for, as the server knows it.
        name: Option<String>,
        /// What the toolset holds the call to.
        held: Option<Held>,
    },
    /// The gateway, by a search of these tools.
    Find {
        /// The tools.
        tools: Arc<Merged>,
    },
    /// The gateway, with this result of a tool.
    Told {
        /// The JSON text of the result.
        result: String,
    },
    /// The gateway, with this fault: of a session without an answer to a POST.
    Refused {
        /// The fault.
        fault: Fault,
    },
    /// These servers in turn, unchanged, until one has it.
    Ask {
        /// The servers.
        servers: Vec<backend::Handle>,
        /// The URI.
        uri: String,
    },
}

/// Nobody answers.
pub type Error = Rejected;

// === impl Routed ===

impl Routed {
    /// What all work of the HTTP request shares.
    #[must_use]
    pub fn request(&self) -> &Arc<Request> {
        &self.request
    }

    /// What there is to do.
    #[must_use]
    pub fn work(&self) -> &Work {
        &self.work
    }

    pub(crate) fn into_parts(self) -> (Arc<Request>, Work, Target) {
        (self.request, self.work, self.target)
    }
}

/// Finds who answers `permitted`.
///
/// # Errors
/// [`Rejected`] when a name, URI, task or reference leads nowhere.
pub async fn select(permitted: Permitted) -> Result<Routed, Error> {
    let (request, work) = permitted.into_inner().into_parts();
    let target = match &work {
        Work::Modern(call) => {
            probed(&request.toolset().listing).await;
            let behalf = Behalf::of(&request, call);
            let audience = behalf::audience(request.toolset(), call);
            let version = Version::LATEST;
            let route = Router { request: &request, fetch: Fetcher::Modern(&behalf), audience, version };
            route.target(&call.operation, &call.frame).await?
        }
        Work::InSession { session, call } => {
            let fetch = match request.endpoint() {
                Endpoint::Mcp => Fetcher::Session(session),
                Endpoint::Sse => Fetcher::Single(session),
            };
            let (view, version) =
                session.client().map_or((0, Version::ASSUMED), |client| (client.view, client.version));
            let route = Router { request: &request, fetch, audience: Audience::Legacy(view), version };
            match route.target(&call.operation, &call.frame).await {
                Ok(target) => target,
                // Its client reads answers from its stream alone.
                Err(rejected) if request.endpoint() == Endpoint::Sse => Target::Refused { fault: rejected.fault },
                Err(rejected) => return Err(rejected),
            }
        }
        Work::Open { .. } | Work::Listen { .. } | Work::End { .. } | Work::OpenSse => Target::Here,
    };
    Ok(Routed { request, work, target })
}

/// The view of a caller on its toolset.
#[must_use]
pub fn view(request: &Request, audience: Audience) -> View {
    View { principal: request.caller().digest, audience }
}

/// Waits until each server of a toolset was probed, within bounds.
pub async fn probed(listing: &Listing) {
    let waiting = listing.servers().iter().filter(|server| !server.is_probed());
    let waits: Vec<_> = waiting.map(|server| server.support_within(PROBE_PATIENCE)).collect();
    if !waits.is_empty() {
        futures_util::future::join_all(waits).await;
    }
}

struct Router<'a> {
    request: &'a Request,
    fetch: Fetcher<'a>,
    audience: Audience,
    version: Version,
}

/// What a name is looked up for.
#[derive(Clone, Copy)]
enum Use {
    /// A call, whose arguments stand there.
    Call { arguments: Option<Span> },
    /// A prompt to be rendered, whose arguments stand there.
    Get { arguments: Option<Span> },
    /// The completion of one of its arguments.
    Complete,
}

// === impl Router ===

impl Router<'_> {
    async fn target(&self, operation: &Operation, frame: &Frame) -> Result<Target, Rejected> {
        let reject = |fault| Rejected { era: self.version.era(), id: frame.id().cloned(), fault };
        match operation {
            Operation::CallTool { name, name_span, arguments, .. } => {
                self.named(name, *name_span, frame, Use::Call { arguments: *arguments }).await.map_err(reject)
            }
            Operation::GetPrompt { name, name_span, arguments } => {
                self.named(name, *name_span, frame, Use::Get { arguments: *arguments }).await.map_err(reject)
            }
            Operation::Complete { reference: Reference::Prompt { name, span } } => {
                self.named(name, *span, frame, Use::Complete).await.map_err(reject)
            }
            Operation::ReadResource { uri, span }
            | Operation::Subscribe { uri, span }
            | Operation::Unsubscribe { uri, span } => self.resource(uri, *span, frame, false).await.map_err(reject),
            Operation::Complete { reference: Reference::Resource { uri, span } } => {
                self.resource(uri, *span, frame, true).await.map_err(reject)
            }
            Operation::Task { id, span, .. } => self.task(id, *span, frame).map_err(reject),
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
            | Operation::OtherNotification => Ok(Target::Here),
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

    async fn named(&self, name: &str, span: Span, frame: &Frame, used: Use) -> Result<Target, Fault> {
        let kind = used.kind();
        if let Some(server) = self.only(kind).await {
            let (server, frame) = (server.clone(), frame.clone());
            return Ok(Target::Server { server, frame, name: Some(name.to_owned()), held: None });
        }
        let listing = &self.request.toolset().listing;
        let view = view(self.request, self.audience);
        if let Some(merged) = self.listed_before(view, kind, name)
            && let Some(found) = self.found(&merged, name, span, frame, used)?
        {
            return Ok(found);
        }
        probed(listing).await;
        let merged = listing.merged(view, kind, &self.fetch).await;
        if let Some(found) = self.found(&merged, name, span, frame, used)? {
            return Ok(found);
        }
        match merged.resolve(name) {
            Resolution::Ambiguous { alternatives } if !alternatives.is_empty() => Err(Fault::AmbiguousName {
                name: name.to_owned(),
                alternatives: alternatives.into_iter().map(str::to_owned).collect(),
            }),
            Resolution::Ambiguous { .. } | Resolution::Found(_) | Resolution::Unknown => Err(used.unknown(name)),
        }
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

    fn found(
        &self,
        merged: &Arc<Merged>,
        name: &str,
        span: Span,
        frame: &Frame,
        used: Use,
    ) -> Result<Option<Target>, Fault> {
        let Resolution::Found(entry) = merged.resolve(name) else { return Ok(None) };
        if entry.server == ServerIndex::OURS {
            return Ok(Some(Target::Find { tools: Arc::clone(merged) }));
        }
        let Some(terms) = &entry.terms else {
            return Ok(self.server(entry.server, &entry.upstream, name, span, frame));
        };
        let frame = match used.apply(terms, frame, span, &entry.upstream) {
            Ok(frame) => frame,
            // Models correct themselves by results, not by errors (2025-11-25, SEP-1303).
            Err(refused) if self.version >= Version::V2025_11_25 && matches!(used, Use::Call { .. }) => {
                return Ok(Some(Target::Told { result: find::refusal(&refused.to_string(), self.version.era()) }));
            }
            Err(refused) => return Err(Fault::Withheld { refused }),
        };
        let Some(server) = self.request.toolset().listing.server(entry.server) else { return Ok(None) };
        let held = Held {
            terms: Arc::clone(terms),
            exposed: Arc::clone(&entry.exposed),
            upstream: Arc::clone(&entry.upstream),
        };
        let name = Some(entry.upstream.to_string());
        Ok(Some(Target::Server { server: server.clone(), frame, name, held: Some(held) }))
    }

    fn server(&self, index: ServerIndex, upstream: &str, name: &str, span: Span, frame: &Frame) -> Option<Target> {
        let server = self.request.toolset().listing.server(index)?;
        Some(to(server, upstream, name, span, frame))
    }

    async fn resource(&self, uri: &str, span: Span, frame: &Frame, is_reference: bool) -> Result<Target, Fault> {
        if let Some(server) = self.only(ListKind::Resources).await {
            return Ok(to(server, uri, uri, span, frame));
        }
        let listing = &self.request.toolset().listing;
        probed(listing).await;
        let router = listing.router(view(self.request, self.audience), &self.fetch).await;
        let not_found = || Fault::ResourceNotFound { uri: uri.to_owned() };
        let route = if is_reference { router.route_reference(uri) } else { router.route(uri) };
        match route.map_err(|_| not_found())? {
            Route::To { server, uri: upstream } => {
                self.server(server, upstream, uri, span, frame).ok_or_else(not_found)
            }
            Route::Ask(servers) => {
                let servers: Vec<_> = servers.into_iter().filter_map(|index| listing.server(index).cloned()).collect();
                if servers.is_empty() {
                    return Err(not_found());
                }
                Ok(Target::Ask { servers, uri: uri.to_owned() })
            }
            Route::Ambiguous { alternatives } => Err(Fault::AmbiguousName {
                name: uri.to_owned(),
                alternatives: alternatives.into_iter().map(str::to_owned).collect(),
            }),
        }
    }

    fn task(&self, id: &str, span: Span, frame: &Frame) -> Result<Target, Fault> {
        let services = &self.request.snapshot().services;
        let (server, upstream) =
            open_task(&services.sealer, self.request.caller().digest, id).ok_or(Fault::UnknownTask)?;
        // Also one whose version the caller no longer has: it knows the task.
        let server = self.request.toolset().servers.iter().find(|known| *known.name() == server);
        Ok(to(server.ok_or(Fault::UnknownTask)?, &upstream, id, span, frame))
    }
}

// === impl Use ===

impl Use {
    const fn kind(self) -> ListKind {
        match self {
            Self::Call { .. } => ListKind::Tools,
            Self::Get { .. } | Self::Complete => ListKind::Prompts,
        }
    }

    fn unknown(self, name: &str) -> Fault {
        match self {
            Self::Call { .. } => Fault::UnknownTool { name: name.to_owned() },
            Self::Get { .. } | Self::Complete => Fault::UnknownPrompt { name: name.to_owned() },
        }
    }

    /// Returns the request as the server gets it under these terms.
    fn apply(self, terms: &Terms, frame: &Frame, name: Span, upstream: &str) -> Result<Frame, curate::Refused> {
        match self {
            Self::Call { arguments } | Self::Get { arguments } => {
                terms.apply(frame, curate::Place { name, arguments }, upstream)
            }
            Self::Complete => terms.complete(frame, name, upstream),
        }
    }
}

/// The request for `server`, which knows what it names as `upstream`.
fn to(server: &backend::Handle, upstream: &str, name: &str, span: Span, frame: &Frame) -> Target {
    let frame = if upstream == name { frame.clone() } else { codec::rename(frame, span, upstream) };
    Target::Server { server: server.clone(), frame, name: Some(upstream.to_owned()), held: None }
}
