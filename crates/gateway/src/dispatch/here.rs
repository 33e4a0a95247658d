//! What the gateway answers itself: handshakes, discovery, lists, the end of a session.
//!
//! Handshakes and discovery show the union of what the toolset's servers offer in the asking era,
//! as far as it is known: no server is waited for longer than its first probe may take. Lists come
//! from the toolset's cache, with cursors that only their caller can use.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use quorate_jsonrpc::{Id, build};
use quorate_mcp::capabilities::Capabilities;
use quorate_mcp::curate::instructions::{self, Said};
use quorate_mcp::cursor::{self, Binding};
use quorate_mcp::dialect::legacy::{initialize_params, initialize_result};
use quorate_mcp::dialect::onto_legacy::without_tasks;
use quorate_mcp::dialect::onto_modern::server_capabilities;
use quorate_mcp::dialect::v2026_07_28::{CacheScope, discover_result};
use quorate_mcp::listing::{DEFAULTS as LISTING, Envelope, ServerIndex};
use quorate_mcp::{Call, Era, Fault, ListKind, Operation as Asked, Version};
use quorate_runtime::backend::Support;
use quorate_runtime::listing::Audience;
use quorate_runtime::session::{self, Client, Memory, Refused, Scope};
use quorate_runtime::shard::Open;
use quorate_runtime::upstream::{LegacySupport, SELF};
use quorate_runtime::{clock, entropy};
use quorate_session::{Delivery, EndReason};
use quorate_telemetry::{Outcome, Throttle};
use quorate_types::ResourceName;

use super::{Dispatched, Error, Operation, metrics, rejected};
use crate::authorize::Gate;
use crate::behalf::{self, Behalf};
use crate::classify::Request;
use crate::fetch::Fetcher;
use crate::resolve::{PROBE_PATIENCE, probed, view};
use crate::snapshot::ToolsetTable;
use crate::standing::{Cut, Standing};
use crate::translate::Translator;

/// How long what `server/discover` says may be believed: servers come and go by configuration.
const DISCOVER_TTL_MS: u64 = 30_000;
/// Bounds lines about capabilities that cannot be read.
static LEFT_OUT: Throttle = Throttle::new();

/// Opens a session for `initialize`.
pub(super) async fn open(
    request: &Arc<Request>,
    call: &Call,
    version: Version,
    started: Instant,
) -> Result<Dispatched, Error> {
    let mut operation = Operation::begin(metrics(request), call, version, started);
    let Some(id) = call.id() else { return Ok(Dispatched::Accepted) };
    if request.snapshot().is_draining() {
        return Err(rejected(Era::Legacy, Some(id), Fault::ShuttingDown));
    }
    let client = client_of(call, version);
    let audience = Audience::Legacy(client.view);
    let (session, toolset) = open_session(request, Delivery::Streams, Some(client)).await?;
    let asking = Asking { era: Era::Legacy, audience, fetch: &Fetcher::Session(&session), memory: None };
    let body = build::result(id, &initialized(request, &toolset, &asking, version).await);
    operation.end(Outcome::Ok);
    Ok(Dispatched::Opened { session: Arc::clone(session.id()), body })
}

/// Opens a session for a client of HTTP+SSE, which says who it is in its first message.
pub(super) async fn open_sse(request: &Arc<Request>) -> Result<Dispatched, Error> {
    if request.snapshot().is_draining() {
        return Err(rejected(Era::Legacy, None, Fault::ShuttingDown));
    }
    let (session, _) = open_session(request, Delivery::Single, None).await?;
    let connection = session.attach(None).await.map_err(|refused| Error::Session { id: None, refused })?;
    let path = request.accepted.head.uri.path();
    let endpoint = format!("{path}?sessionId={}", session.id());
    let standing = Standing::of(request, Some(&session), Cut::Resumed);
    Ok(Dispatched::ConnectedSse { endpoint, connection, standing })
}

/// Ends a session: when its client hears so, it is over on every node.
pub(super) async fn end(session: &session::Handle) -> Result<Dispatched, Error> {
    match session.end_for_good(EndReason::Deleted, session::fault(Fault::SessionUnknown)).await {
        // Whoever came first has ended it.
        Ok(()) | Err(Refused::Gone(_) | Refused::Rejected(_)) => Ok(Dispatched::Ended),
        Err(refused @ (Refused::Moved | Refused::Rested)) => Err(Error::Session { id: None, refused }),
    }
}

/// What the client of a session said at `initialize`.
pub(super) fn client_of(call: &Call, version: Version) -> Client {
    let (capabilities, info) = match &call.operation {
        Asked::Initialize { capabilities, client_info, .. } => (call.raw(*capabilities), call.raw(*client_info)),
        _ => ("{}", r#"{"name":"unknown","version":"0"}"#),
    };
    let capabilities = &*without_tasks(capabilities);
    let mut hasher = DefaultHasher::new();
    (version.as_str(), capabilities).hash(&mut hasher);
    Client { version, initialize_params: initialize_params(version, capabilities, info).into(), view: hasher.finish() }
}

/// The result of `initialize`: the union of what the servers offer to sessions.
pub(super) async fn initialized(
    request: &Request,
    toolset: &ToolsetTable,
    asking: &Asking<'_>,
    version: Version,
) -> String {
    let offered = offered(request, toolset, asking).await;
    initialize_result(version, &offered.capabilities, SELF, offered.instructions.as_deref())
}

/// The result of `server/discover`: the union of what the servers offer to stateless clients, and
/// what servers of sessions offer through the sessions that are kept on their behalf.
pub(super) async fn discovered(request: &Request, asking: &Asking<'_>) -> String {
    let offered = offered(request, request.toolset(), asking).await;
    let instructions = offered.instructions.as_deref();
    // Whose instructions there are depends on the caller.
    discover_result(&offered.capabilities, SELF, instructions, DISCOVER_TTL_MS, CacheScope::Private)
}

/// Who asks for a list.
pub(super) struct Asking<'a> {
    pub(super) era: Era,
    pub(super) audience: Audience,
    pub(super) fetch: &'a Fetcher<'a>,
    /// What a session remembers of its toolset: it lists what it has found.
    pub(super) memory: Option<&'a Memory>,
}

/// Answers a list request from the toolset's lists.
pub(super) async fn list(
    request: &Request,
    asking: &Asking<'_>,
    id: &Id,
    kind: ListKind,
    cursor: Option<&str>,
) -> Result<Bytes, Error> {
    let (toolset, era) = (request.toolset(), asking.era);
    let sealer = &request.snapshot().services.sealer;
    let binding = Binding { kind, toolset: &toolset.name, principal: request.caller().digest };
    let invalid = |reason| rejected(era, Some(id), Fault::InvalidParams { field: "cursor", reason });
    let position = match cursor {
        None => None,
        Some(text) => {
            let position = cursor::open(sealer, text, &binding);
            Some(position.map_err(|_| invalid("is not one that this list gave out"))?)
        }
    };
    probed(&toolset.listing).await;
    let merged = toolset.listing.merged(view(request, asking.audience), kind, asking.fetch).await;
    let found = match (asking.memory, merged.listed() < merged.entries().len()) {
        (Some(memory), true) => memory.found(),
        (Some(_) | None, _) => Vec::new(),
    };
    let shown = merged.shown(found.iter().map(AsRef::as_ref));
    let shown = match Gate::of(request).filter(kind) {
        Some(is_shown) => shown.only(is_shown),
        None => shown,
    };
    let window = shown
        .window(position, &LISTING)
        .map_err(|_| invalid("has expired, since the list has changed: list again from the start"))?;
    let next = window.next.map(|next| cursor::seal(sealer, next, &binding, &entropy::secret()));
    let envelope = Envelope { id, era, now: clock::now(), next_cursor: next.as_deref(), meta: None };
    Ok(shown.answer(&window, &envelope))
}

/// Answers a stateless request that no server is asked for.
pub(super) async fn modern(request: &Request, call: &Call) -> Result<Dispatched, Error> {
    let Some(id) = call.id() else { return Ok(Dispatched::Accepted) };
    let behalf = Behalf::of(request, call);
    let audience = behalf::audience(request.toolset(), call);
    let asking = Asking { era: Era::Modern, audience, fetch: &Fetcher::Modern(&behalf), memory: None };
    let body = match &call.operation {
        Asked::Discover => build::result(id, &discovered(request, &asking).await),
        Asked::List { kind, cursor } => list(request, &asking, id, *kind, cursor.as_deref()).await?,
        _ => {
            let method = call.frame.method().unwrap_or_default().to_owned();
            return Err(rejected(Era::Modern, Some(id), Fault::MethodNotFound { method }));
        }
    };
    Ok(request.answer(body))
}

async fn open_session(
    request: &Arc<Request>,
    delivery: Delivery,
    client: Option<Client>,
) -> Result<(session::Handle, Arc<ToolsetTable>), Error> {
    let services = &request.snapshot().services;
    let (toolset, caller) = (request.all_versions(), request.caller().digest);
    let memory = Arc::new(Memory::new(toolset.draw(caller)));
    let table = Arc::clone(toolset.of_session(caller, &memory));
    let translate = Arc::new(Translator::new(
        Arc::clone(services),
        toolset.name().clone(),
        request.caller(),
        Arc::clone(&memory),
        client.as_ref().map(|client| client.view),
    ));
    let open = Open {
        principal: caller,
        tenant: request.caller().principal.tenant.clone(),
        scope: Scope::Toolset(toolset.name().clone()),
        delivery,
        client,
        translate,
        memory,
        durability: table.durability,
        owner: Arc::clone(&request.caller().principal),
    };
    Ok((services.sessions.open(open).await?, table))
}

/// What a toolset's servers offer together.
struct Offered {
    capabilities: Capabilities,
    instructions: Option<String>,
}

async fn offered(request: &Request, toolset: &ToolsetTable, asking: &Asking<'_>) -> Offered {
    let (listing, era) = (&toolset.listing, asking.era);
    probed(listing).await;
    let search = listing.curation().and_then(|curation| curation.search());
    let mut capabilities = Capabilities::new();
    let mut said = Vec::new();
    for (index, server) in (0..).map(ServerIndex).zip(listing.servers()) {
        let support = server.support();
        let Some((raw, instructions)) = offer_of(&support, era) else { continue };
        let text = raw.as_deref().and_then(|raw| std::str::from_utf8(raw).ok()).unwrap_or("{}");
        let is_chosen = |kind| listing.curation().is_none_or(|curation| curation.has_any(kind, index));
        if capabilities.add_chosen(text, is_chosen).is_err() && LEFT_OUT.admits() {
            tracing::warn!(server = %server.name(), "the server's capabilities are no object, and left out");
        }
        let is_kept = toolset.instructions.kept.get(usize::from(index.0)).copied().unwrap_or(true);
        said.extend(instructions.filter(|_| is_kept).map(|text| (index, text)));
    }
    let useless = useless(request, toolset, asking, said.iter().map(|(index, _)| *index).collect()).await;
    said.retain(|(index, _)| !useless.contains(index));
    if search.is_some() {
        capabilities.add(r#"{"tools":{}}"#).expect("it is an object");
    }
    let name = |index: ServerIndex| listing.name(index).map(ResourceName::as_str).unwrap_or_default();
    let said: Vec<Said<'_>> = said.iter().map(|(index, text)| Said { name: name(*index), text }).collect();
    let labels = listing.servers().len() > 1;
    let instructions = instructions::compose(toolset.instructions.own.as_deref(), &said, labels, search);
    Offered { capabilities, instructions }
}

/// Leaves of these servers those of which no list shows the caller anything: what they say is not for it. So are those whose
/// lists do not come in time, since nothing says then that it is.
async fn useless(
    request: &Request,
    toolset: &ToolsetTable,
    asking: &Asking<'_>,
    mut servers: Vec<ServerIndex>,
) -> Vec<ServerIndex> {
    let gate = Gate::on(request, toolset);
    if gate.allows_all() {
        return Vec::new();
    }
    let view = view(request, asking.audience);
    let deadline = tokio::time::Instant::now() + PROBE_PATIENCE;
    for kind in ListKind::ALL {
        if servers.is_empty() {
            break;
        }
        let listing = toolset.listing.merged(view, kind, asking.fetch);
        let Ok(list) = tokio::time::timeout_at(deadline, listing).await else { break };
        let shows = |index: &ServerIndex| {
            list.entries().iter().any(|entry| entry.server == *index && gate.may_use(kind, entry))
        };
        servers.retain(|index| !shows(index));
    }
    servers
}

/// What one server offers in an era: its raw capabilities and instructions.
fn offer_of(support: &Support, era: Era) -> Option<(Option<Bytes>, Option<String>)> {
    let modern = support.modern.as_ref().map(|info| (info.capabilities.clone(), info.instructions.clone()));
    // What a bridge offers; and where nobody has tried yet, what a server offers in one era it mostly
    // offers in the other.
    let bridged = || {
        let (raw, said) = modern.clone()?;
        let raw = raw.map(|raw| server_capabilities(std::str::from_utf8(&raw).unwrap_or("{}")).into());
        Some((raw, said))
    };
    match (era, &support.legacy) {
        (Era::Modern, LegacySupport::Supported { capabilities, instructions, .. }) if modern.is_none() => {
            Some((Some(capabilities.clone()), instructions.clone()))
        }
        (Era::Modern, _) => modern,
        (Era::Legacy, LegacySupport::Unsupported) => bridged(),
        (Era::Legacy, LegacySupport::Supported { capabilities, instructions, .. }) => {
            Some((Some(capabilities.clone()), instructions.clone()))
        }
        (Era::Legacy, LegacySupport::Unknown) => {
            bridged().or_else(|| support.failure.is_none().then_some((None, None)))
        }
    }
}
