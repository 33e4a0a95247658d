//! Stage 5: who answers.
//!
//! In: a permitted request. Out: [`Routed`]: the gateway itself, one server of the toolset with
//! the request as that server knows it, or several to be asked in turn. Names are looked up in
//! what the toolset lists to this caller; nothing is parsed out of a name, so that no server can
//! claim another's. A toolset of one server with bare names needs no look-up at all.
//! Spec: mcp.md section 2, "Naming", "Resources", "Tasks".

use std::sync::Arc;
use std::time::Duration;

use quorate_jsonrpc::{Frame, Span};
use quorate_mcp::listing::{Merged, Resolution, ServerIndex};
use quorate_mcp::naming::Naming;
use quorate_mcp::uri::Route;
use quorate_mcp::{Era, Fault, ListKind, Operation, Reference, Rejected, codec};
use quorate_runtime::backend;
use quorate_runtime::listing::{Audience, Listing, View};

use crate::authorize::Permitted;
use crate::behalf::{self, Behalf};
use crate::classify::{Request, Work};
use crate::fetch::Fetcher;
use crate::handle::open_task;
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
            let route = Router { request: &request, fetch: Fetcher::Modern(&behalf), audience };
            route.target(Era::Modern, &call.operation, &call.frame).await?
        }
        Work::InSession { session, call } => {
            let fetch = match request.endpoint() {
                Endpoint::Mcp => Fetcher::Session(session),
                Endpoint::Sse => Fetcher::Single(session),
            };
            let audience = Audience::Legacy(session.client().map_or(0, |client| client.view));
            let route = Router { request: &request, fetch, audience };
            route.target(Era::Legacy, &call.operation, &call.frame).await?
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
}

// === impl Router ===

impl Router<'_> {
    async fn target(&self, era: Era, operation: &Operation, frame: &Frame) -> Result<Target, Rejected> {
        let reject = |fault| Rejected { era, id: frame.id().cloned(), fault };
        match operation {
            Operation::CallTool { name, name_span, .. } => {
                let unknown = || Fault::UnknownTool { name: name.clone() };
                self.named(ListKind::Tools, name, *name_span, frame, unknown).await.map_err(reject)
            }
            Operation::GetPrompt { name, name_span }
            | Operation::Complete { reference: Reference::Prompt { name, span: name_span } } => {
                let unknown = || Fault::UnknownPrompt { name: name.clone() };
                self.named(ListKind::Prompts, name, *name_span, frame, unknown).await.map_err(reject)
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

    /// The only server of this era, where names are its own.
    async fn only(&self) -> Option<&backend::Handle> {
        let listing = &self.request.toolset().listing;
        if listing.naming() != Naming::Bare {
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
            Audience::Legacy(_) => server.may_speak_legacy(),
        }
    }

    async fn named(
        &self,
        kind: ListKind,
        name: &str,
        span: Span,
        frame: &Frame,
        unknown: impl Fn() -> Fault,
    ) -> Result<Target, Fault> {
        if let Some(server) = self.only().await {
            return Ok(Target::Server { server: server.clone(), frame: frame.clone(), name: Some(name.to_owned()) });
        }
        let listing = &self.request.toolset().listing;
        let view = view(self.request, self.audience);
        // What was listed last answers for most calls, however old: names do not change meaning.
        if let Some(merged) = listing.last(view, kind)
            && let Some(found) = self.found(&merged, name, span, frame)
        {
            return Ok(found);
        }
        probed(listing).await;
        let merged = listing.merged(view, kind, &self.fetch).await;
        if let Some(found) = self.found(&merged, name, span, frame) {
            return Ok(found);
        }
        match merged.resolve(name) {
            Resolution::Ambiguous { alternatives } => Err(Fault::AmbiguousName {
                name: name.to_owned(),
                alternatives: alternatives.into_iter().map(str::to_owned).collect(),
            }),
            Resolution::Found(_) | Resolution::Unknown => Err(unknown()),
        }
    }

    fn found(&self, merged: &Merged, name: &str, span: Span, frame: &Frame) -> Option<Target> {
        let Resolution::Found(entry) = merged.resolve(name) else { return None };
        self.server(entry.server, &entry.upstream, name, span, frame)
    }

    fn server(&self, index: ServerIndex, upstream: &str, name: &str, span: Span, frame: &Frame) -> Option<Target> {
        let server = self.request.toolset().listing.server(index)?.clone();
        let frame = if upstream == name { frame.clone() } else { codec::rename(frame, span, upstream) };
        Some(Target::Server { server, frame, name: Some(upstream.to_owned()) })
    }

    async fn resource(&self, uri: &str, span: Span, frame: &Frame, is_reference: bool) -> Result<Target, Fault> {
        if let Some(server) = self.only().await {
            return Ok(Target::Server { server: server.clone(), frame: frame.clone(), name: Some(uri.to_owned()) });
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
        let listing = &self.request.toolset().listing;
        let index = listing.index_of(&server).ok_or(Fault::UnknownTask)?;
        self.server(index, &upstream, id, span, frame).ok_or(Fault::UnknownTask)
    }
}
