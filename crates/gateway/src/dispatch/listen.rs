//! `subscriptions/listen` of a stateless client: one stream over the hubs of all its servers.
//!
//! The client's filter is split by server; each part joins that server's hub, which shares one
//! upstream listen among all clients. The acknowledgement goes out first, once every server has
//! said what it honours; one that takes no more subscribers, of all or of this caller, is left out
//! of it. Notifications pass with the client's subscription id, URIs and task ids as it knows them;
//! a changed list drops our copy of it first.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, SelectAll, Stream, StreamExt};
use quorate_http::sse;
use quorate_jsonrpc::{Id, build};
use quorate_mcp::dialect::v2026_07_28::{acknowledged_params, listen_result};
use quorate_mcp::listing::ServerIndex;
use quorate_mcp::message::Filter;
use quorate_mcp::subscription::{Change, Gather, Interest, Notification, Rejection};
use quorate_mcp::uri::{Route, Router};
use quorate_mcp::{Call, Era, Fault, ListKind, Method};
use quorate_runtime::backend::{Notice, Subscription};
use quorate_runtime::listing::View;
use quorate_telemetry::{Outcome, Throttle};
use quorate_types::{Principal, ResourceName};
use tokio_util::sync::CancellationToken;

use super::{Dispatched, Error, Operation, rejected};
use crate::ask::Asker;
use crate::authorize::{self, Gate};
use crate::behalf::{self, Behalf};
use crate::classify::Request;
use crate::fetch::Fetcher;
use crate::located::Located;
use crate::resolve::{holder, probed, view};
use crate::snapshot::{Services, ToolsetTable};
use crate::standing::{Cut, Standing};
use crate::toolset::Toolset;

/// Bounds lines about refused listens.
static REFUSED: Throttle = Throttle::new();
/// Bounds lines about tasks of which nothing is told.
static UNTOLD: Throttle = Throttle::new();

/// Opens the stream that `call` asks for.
pub(super) async fn open(
    request: &Arc<Request>,
    call: &Call,
    filter: &Filter,
    mut operation: Operation,
) -> Result<Dispatched, Error> {
    let Some(id) = call.id().cloned() else { return Ok(Dispatched::Accepted) };
    probed(&request.toolset().listing).await;
    let mut split = split(request, call, filter).await;
    let mut subscriptions = SelectAll::new();
    let (mut waiting, mut refused) = (Vec::new(), None);
    for (index, interest) in std::mem::take(&mut split.interests) {
        let Some(server) = request.toolset().listing.server(index) else { continue };
        match server.subscribe(request.caller().digest, interest).await {
            Ok(subscription) => {
                waiting.push(index);
                subscriptions.push(notices(index, subscription));
            }
            // The others are listened to without it, as the acknowledgement says.
            Err(Some(rejection)) => {
                if REFUSED.admits() {
                    tracing::warn!(server = %server.name(), %rejection, "a listen was refused");
                }
                refused = Some(rejection);
            }
            // Removed by a new configuration while we asked.
            Err(None) => {}
        }
    }
    if let Some((limit, max)) = refused.and_then(Rejection::limit).filter(|_| waiting.is_empty()) {
        operation.end(Outcome::Failed(quorate_types::Code::ResourceExhausted));
        return Err(rejected(Era::Modern, Some(&id), Fault::LimitExceeded { limit, max: max as u64 }));
    }
    let gather = Gather::new(waiting, Interest::default());
    let listening = Listening {
        services: Arc::clone(&request.snapshot().services),
        whole: Arc::clone(request.all_versions()),
        toolset: Arc::clone(request.toolset()),
        principal: Arc::clone(&request.caller().principal),
        superseded: request.snapshot().superseded.clone(),
        over: Box::pin(Standing::of(request, None, Cut::Resumed).over()),
        id,
        gather,
        uris: split.uris,
        tasks: split.tasks,
        view: view(request, behalf::audience(request.toolset(), call)),
        acknowledged: false,
        operation,
    };
    let events = events(listening, subscriptions);
    Ok(Dispatched::Events(sse::Events::stream(events, sse::KEEP_ALIVE)))
}

/// A client's filter by server, and the URIs as the client knows them.
struct Split {
    interests: HashMap<ServerIndex, Interest>,
    uris: Known,
    tasks: Known,
}

/// What a client knows things of a server by, by what the server knows them by.
type Known = HashMap<(ServerIndex, Arc<str>), String>;

/// The state of one client's stream: of its request only what it needs, since that has the whole configuration that it
/// was decided by, with the tasks that fetch keys for it.
struct Listening {
    services: Arc<Services>,
    /// The toolset with all versions of its servers.
    whole: Arc<Toolset>,
    /// With those that the caller has.
    toolset: Arc<ToolsetTable>,
    principal: Arc<Principal>,
    superseded: CancellationToken,
    /// Waits until the caller may not go on.
    over: BoxFuture<'static, ()>,
    id: Id,
    gather: Gather,
    uris: Known,
    tasks: Known,
    /// Whose lists say how other resources are exposed.
    view: View,
    acknowledged: bool,
    operation: Operation,
}

async fn split(request: &Request, call: &Call, filter: &Filter) -> Split {
    let listing = &request.toolset().listing;
    let speaking = |index: &ServerIndex| {
        listing.server(*index).is_some_and(|server| server.speaks_modern() || server.needs_session())
    };
    let servers: Vec<ServerIndex> = (0..listing.servers().len()).map(ServerIndex::at).filter(speaking).collect();
    let mut split = Split { interests: HashMap::new(), uris: Known::new(), tasks: Known::new() };
    let gate = Gate::of(request);
    // What the caller may not be told of is not honoured, as the acknowledgement says.
    if (filter.tools || filter.prompts || filter.resources) && gate.subscribes_to_lists(request) {
        for index in &servers {
            let lists = Interest {
                tools: filter.tools,
                prompts: filter.prompts,
                resources: filter.resources,
                ..Interest::default()
            };
            split.interests.insert(*index, lists);
        }
    }
    for uri in &filter.uris {
        let router = router(request, call, &servers, uri).await;
        let may_subscribe = |index, upstream: &str| {
            listing.server(index).is_some_and(|server| {
                let resource = Located::resource(request.toolset(), router.as_deref(), server.name(), upstream);
                gate.subscribes_to(request, &resource)
            })
        };
        if let Some((index, upstream)) = owner(router.as_deref(), &servers, uri)
            && may_subscribe(index, &upstream)
        {
            let upstream: Arc<str> = upstream.into();
            split.uris.insert((index, Arc::clone(&upstream)), uri.clone());
            split.interests.entry(index).or_default().uris.insert(upstream);
        }
    }
    for text in &filter.tasks {
        let owned = holder(request).open(&request.snapshot().services.sealer, text);
        if let Some(task) = owned
            && let Some(index) = listing.index_of(&task.server)
            && gate.follows(request, &task)
        {
            let upstream: Arc<str> = task.id.into();
            split.tasks.insert((index, Arc::clone(&upstream)), text.clone());
            split.interests.entry(index).or_default().tasks.insert(upstream);
        }
    }
    split
}

/// What the caller is listed; nothing where the server is the only one, and its URIs are its own.
async fn router(request: &Request, call: &Call, servers: &[ServerIndex], uri: &str) -> Option<Arc<Router>> {
    let listing = &request.toolset().listing;
    let is_plain = listing.curation().is_none_or(|curation| curation.leaves(ListKind::Resources));
    if servers.len() == 1 && is_plain && Located::needs_no_list(request.snapshot().judge(), uri) {
        return None;
    }
    let view = view(request, behalf::audience(request.toolset(), call));
    Some(listing.router(view, &Fetcher::Modern(&Behalf::of(request, call))).await)
}

/// The server that a resource belongs to, and its URI there.
fn owner(router: Option<&Router>, servers: &[ServerIndex], uri: &str) -> Option<(ServerIndex, String)> {
    let Some(router) = router else { return Some((*servers.first()?, uri.to_owned())) };
    match router.route(uri) {
        Ok(Route::To { server, uri }) => Some((server, uri.to_owned())),
        Ok(Route::Ask(candidates)) => Some((*candidates.first()?, uri.to_owned())),
        Ok(Route::Ambiguous { .. }) | Err(_) => None,
    }
}

/// A server's notices, each with the server's place.
fn notices(
    index: ServerIndex,
    subscription: Subscription,
) -> std::pin::Pin<Box<dyn Stream<Item = (ServerIndex, Option<Notice>)> + Send>> {
    let open = stream::unfold(Some(subscription), move |subscription| async move {
        let mut subscription = subscription?;
        match subscription.notices.recv().await {
            Some(notice) => Some(((index, Some(notice)), Some(subscription))),
            None => Some(((index, None), None)),
        }
    });
    Box::pin(open)
}

type Notices = SelectAll<std::pin::Pin<Box<dyn Stream<Item = (ServerIndex, Option<Notice>)> + Send>>>;

fn events(listening: Listening, notices: Notices) -> impl Stream<Item = sse::Event> + Send {
    stream::unfold(Some((listening, notices)), |state| async move {
        let (mut listening, mut notices) = state?;
        if let Some(bytes) = listening.acknowledge() {
            return Some((sse::Event::new(bytes), Some((listening, notices))));
        }
        let draining = listening.services.draining.clone();
        let retired = listening.whole.retired().clone();
        let superseded = listening.superseded.clone();
        loop {
            let notice = async {
                match notices.next().await {
                    Some(notice) => notice,
                    // Nothing was asked of anybody: the stream stays open until the client leaves.
                    None => std::future::pending().await,
                }
            };
            // Where a server's part is over (removed, or we read too slowly), the toolset is another
            // one now, others may listen, what the caller showed holds no longer, or the node goes away, so is the
            // stream: the client opens one that is complete again, and has only what is chosen by then.
            let next = tokio::select! {
                (index, notice) = notice => notice.map(|notice| (index, notice)),
                () = draining.cancelled() => None,
                () = retired.cancelled() => None,
                () = superseded.cancelled() => None,
                () = &mut listening.over => None,
            };
            let Some((index, notice)) = next else {
                return Some((sse::Event::new(listening.end()), None));
            };
            if let Some(bytes) = listening.take(index, notice) {
                return Some((sse::Event::new(bytes), Some((listening, notices))));
            }
        }
    })
}

// === impl Listening ===

impl Listening {
    /// The acknowledgement, when nothing more is waited for.
    fn acknowledge(&mut self) -> Option<Bytes> {
        let honoured = self.gather.complete()?;
        Some(self.acknowledged_with(honoured))
    }

    fn take(&mut self, index: ServerIndex, notice: Notice) -> Option<Bytes> {
        match notice {
            Notice::Acknowledged { honoured: part, .. } => {
                let part = self.as_client_knows(index, part);
                let honoured = self.gather.honoured(index, part)?;
                Some(self.acknowledged_with(honoured))
            }
            Notice::Changed(notification) => self.changed(index, &notification),
            Notice::Announced(change) => {
                self.invalidate(index, &change);
                if !self.acknowledged {
                    return None;
                }
                let uri = match &change {
                    Change::Resource { uri } => Some(self.resource(index, uri)?),
                    Change::Tools | Change::Prompts | Change::Resources | Change::Task { .. } => None,
                };
                change.announce(&self.id, uri.as_deref())
            }
        }
    }

    fn changed(&mut self, index: ServerIndex, notification: &Notification) -> Option<Bytes> {
        self.invalidate(index, notification.change());
        if !self.acknowledged {
            return None; // The client reads everything anew after its acknowledgement anyway.
        }
        let key = match notification.change() {
            Change::Resource { uri } => Some(self.resource(index, uri)?),
            // Another listener of the same server asked for it.
            Change::Task { id } => Some(self.tasks.get(&(index, Arc::clone(id)))?.clone()),
            Change::Tools | Change::Prompts | Change::Resources => None,
        };
        // What is told of a task may ask something of a person.
        let asks = matches!(notification.change(), Change::Task { .. });
        let passed = if asks { Some(self.passed(index, notification)?) } else { None };
        Some(passed.as_ref().unwrap_or(notification).addressed(&self.id, key.as_deref()))
    }

    /// A notification with what it may ask of this client; none that cannot be read.
    fn passed(&self, index: ServerIndex, notification: &Notification) -> Option<Notification> {
        let (services, toolset, principal) = (&*self.services, &*self.toolset, &*self.principal);
        let asker = Asker { services, toolset, principal, server: self.server(index)? };
        let passed = asker.pass(notification.frame().clone());
        let passed = passed.inspect_err(|error| {
            if UNTOLD.admits() {
                tracing::warn!(server = %asker.server, %error, "a task is not told of");
            }
        });
        Notification::read(passed.ok()?).ok()
    }

    /// A changed resource as the client knows it: as it asked for it, or what is within that, as the toolset exposes it.
    /// Nothing where it may not be told: what was decided on is what it asked for, and not what is within.
    fn resource(&self, index: ServerIndex, uri: &Arc<str>) -> Option<String> {
        if let Some(known) = self.uris.get(&(index, Arc::clone(uri))) {
            return Some(known.clone());
        }
        let (toolset, server) = (&*self.toolset, self.server(index)?);
        let is_chosen = toolset.listing.curation().is_none_or(|curation| curation.has_uri(index, uri));
        let router = toolset.listing.router_as_made(self.view);
        let resource = Located::resource(toolset, router.as_deref(), server, uri);
        let judge = self.services.judge.load();
        let may_be_told = is_chosen && authorize::may_subscribe(&judge, &judge.rights(&self.principal), &resource);
        may_be_told.then(|| resource.exposed().into_owned())
    }

    fn acknowledged_with(&mut self, honoured: Interest) -> Bytes {
        self.acknowledged = true;
        let params = acknowledged_params(&self.id, &honoured.to_filter());
        build::notification(Method::SubscriptionsAcknowledged.as_str(), Some(&params))
    }

    fn as_client_knows(&self, index: ServerIndex, part: Interest) -> Interest {
        let uris = part.uris.iter().map(|uri| {
            let known = self.uris.get(&(index, Arc::clone(uri)));
            known.map_or_else(|| Arc::clone(uri), |known| Arc::from(known.as_str()))
        });
        let tasks = part.tasks.iter().filter_map(|id| self.tasks.get(&(index, Arc::clone(id))));
        let tasks = tasks.map(|known| Arc::from(known.as_str()));
        let (uris, tasks) = (uris.collect(), tasks.collect());
        Interest { uris, tasks, ..part }
    }

    fn invalidate(&self, index: ServerIndex, change: &Change) {
        let kinds: &[ListKind] = match change {
            Change::Tools => &[ListKind::Tools],
            Change::Prompts => &[ListKind::Prompts],
            Change::Resources => &[ListKind::Resources, ListKind::ResourceTemplates],
            Change::Resource { .. } | Change::Task { .. } => &[],
        };
        let present = self.services.toolset(self.whole.name());
        if let (Some(server), Some(toolset)) = (self.server(index), present) {
            kinds.iter().for_each(|kind| toolset.invalidate(server, *kind));
        }
    }

    fn end(&mut self) -> Bytes {
        self.operation.end(Outcome::Ok);
        build::result(&self.id, &listen_result(&self.id))
    }

    fn server(&self, index: ServerIndex) -> Option<&ResourceName> {
        self.toolset.listing.server(index).map(quorate_runtime::backend::Handle::name)
    }
}
