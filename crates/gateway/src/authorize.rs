//! Stage 4: may this principal do this.
//!
//! In: a classified request. Out: [`Permitted`], without which nothing is routed, with the item that the request is
//! about. Policy is deny-by-default; it is asked twice: whether the caller may enter the toolset at all
//! (`mcp:connect`, which everything needs), before any list is fetched for it, and whether it may do what it asks with
//! the item that it names. A toolset of another tenant does not exist. What a caller may not do with a tool, prompt or
//! resource it is not told, unless the toolset says so: then the name leads nowhere, as one that nobody has.
//! Spec: the architecture's "Identity, policy, content".

use std::borrow::Cow;
use std::collections::BTreeSet;

use http::HeaderValue;
use quorate_config::Denied as Told;
use quorate_mcp::curate::Terms;
use quorate_mcp::listing::Entry;
use quorate_mcp::message::Operation;
use quorate_mcp::uri::Router;
use quorate_mcp::{Call, Era, Fault, ListKind, Reference, Rejected, Version};
pub use quorate_policy::Action;
use quorate_policy::{Decision, Denial, Item, Named, Resource, Verdict};
use quorate_runtime::backend;
use quorate_types::{Principal, ResourceName};

use crate::ask::Asked;
use crate::audit;
use crate::authenticate::{self, Authenticated, Caller};
use crate::classify::{Classified, Request, Work};
use crate::judge::{Judge, Rights};
use crate::listener::{AcceptedHead, Endpoint};
use crate::located::Located;
use crate::protected::{self, Challenge};
use crate::resolve::{self, Resolved};
use crate::snapshot::{Snapshot, ToolsetTable};
use crate::tasks::Task;
use crate::toolset::Toolset;

/// A server's request to a client that policy allows.
pub(crate) struct PermittedAsk<'a> {
    asked: Asked<'a>,
}

/// A request that policy allows.
pub struct Permitted {
    classified: Classified,
    resolved: Resolved,
}

/// A request may not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Policy said no.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// What it names leads nowhere, or nowhere for this caller.
    #[error("{0}")]
    Nowhere(Rejected),
    /// The toolset belongs to another tenant, and does not exist for this caller.
    #[error("there is no toolset {0:?} here")]
    Elsewhere(String),
}

/// Policy said no. The text is for the caller: it names what it asked for, and no policy.
#[derive(Debug, thiserror::Error)]
#[error("`{}` is denied{}", action.as_str(), needed(scopes))]
pub struct Denied {
    /// What was to be done.
    pub action: Action,
    /// The scopes that the caller has to have in all, where those are all that is missing.
    pub scopes: BTreeSet<String>,
    /// How the caller is told to get them (`WWW-Authenticate`).
    pub challenge: Option<HeaderValue>,
}

/// What a caller may do on a toolset.
pub(crate) struct Gate<'a> {
    judge: &'a Judge,
    caller: &'a Caller,
    toolset: &'a ToolsetTable,
}

// === impl Denied ===

impl Denied {
    /// A denial that the caller can do nothing about.
    const fn plain(action: Action) -> Self {
        Self { action, scopes: BTreeSet::new(), challenge: None }
    }
}

// === impl Permitted ===

impl Permitted {
    /// The request that may go on.
    #[must_use]
    pub fn classified(&self) -> &Classified {
        &self.classified
    }

    pub(crate) fn into_parts(self) -> (Classified, Resolved) {
        (self.classified, self.resolved)
    }
}

// === impl PermittedAsk ===

impl<'a> PermittedAsk<'a> {
    pub(crate) fn asked(&self) -> &Asked<'a> {
        &self.asked
    }

    pub(crate) fn into_inner(self) -> Asked<'a> {
        self.asked
    }
}

// === impl Gate ===

impl<'a> Gate<'a> {
    /// The gate of a request.
    pub(crate) fn of(request: &'a Request) -> Self {
        Self { judge: request.snapshot().judge(), caller: request.caller(), toolset: request.toolset() }
    }

    /// The gate of a request that goes on with these versions of its toolset.
    pub(crate) fn on(request: &'a Request, toolset: &'a ToolsetTable) -> Self {
        Self { toolset, ..Self::of(request) }
    }

    /// Decides on an item of the toolset.
    fn decide(&self, action: Action, item: Item<'_>, arguments: Option<&str>) -> std::sync::Arc<Decision> {
        self.judge.decide(&self.caller.rights, action, self.resource(item), arguments)
    }

    /// Decides whether the caller may follow what a call of this tool began: as it may call the tool with some arguments,
    /// since those of the call are not known any more.
    fn decide_following(&self, tool: Item<'_>) -> std::sync::Arc<Decision> {
        let decision = self.decide(Action::Call, tool, None);
        if decision.verdict.is_allowed() || decision.cacheable {
            return decision;
        }
        let verdict = self.judge.possible(&self.caller.rights, Action::Call, self.resource(tool));
        std::sync::Arc::new(Decision { verdict, ..Decision::clone(&decision) })
    }

    fn resource<'r>(&'r self, item: Item<'r>) -> Resource<'r> {
        Resource { tenant: &self.toolset.tenant, toolset: self.toolset.name.as_str(), item }
    }

    /// Tells whether everything is allowed, so that nothing has to be looked through.
    pub(crate) fn allows_all(&self) -> bool {
        self.judge.allows_all()
    }

    /// Tells whether the caller may use an entry of a list, with some arguments.
    pub(crate) fn may_use(&self, kind: ListKind, entry: &Entry) -> bool {
        let Some(server) = self.toolset.listing.server(entry.server) else {
            return true; // The search of the toolset's own, whose results are looked through.
        };
        let named = named(server, &entry.upstream, &entry.exposed, entry.tags());
        let (action, item) = use_of(kind, named);
        self.judge.may(&self.caller.rights, action, self.resource(item))
    }

    /// Returns what tells the entries of a list that the caller may use; nothing where it may use all.
    pub(crate) fn filter(&self, kind: ListKind) -> Option<impl Fn(&Entry) -> bool> {
        (!self.allows_all()).then_some(move |entry: &Entry| self.may_use(kind, entry))
    }

    /// Tells whether the caller may follow a task, whose tool its toolset still has: what lists are filtered by.
    pub(crate) fn may_follow(&self, request: &Request, task: &Task) -> bool {
        let may_call = |tags: Vec<String>| {
            self.judge.may(&self.caller.rights, Action::Call, self.resource(Item::Tool(of_task(task, &tags))))
        };
        request.all_versions().tags_of(task).is_some_and(may_call)
    }

    /// Decides whether the caller may be told of a task; what is denied is told.
    pub(crate) fn follows(&self, request: &Request, task: &Task) -> bool {
        let Some(tags) = request.all_versions().tags_of(task) else { return false };
        let item = Item::Tool(of_task(task, &tags));
        let decision = self.decide_following(item);
        audit::decided(request, Action::Call, &self.resource(item), &decision);
        decision.verdict.is_allowed()
    }

    /// Tells whether the caller may read a resource of a server.
    pub(crate) fn may_read(&self, server: &ResourceName, uri: &str, router: &Router) -> bool {
        let resource = Located::resource(self.toolset, Some(router), server, uri);
        let decision = resource.decide(self.judge, &self.caller.rights, Action::Read);
        matches!(decision.verdict, Verdict::Allow | Verdict::Deny(Denial::MissingScopes(_)))
    }

    /// Decides whether the caller may subscribe to changes of lists; what is denied is told.
    pub(crate) fn subscribes_to_lists(&self, request: &Request) -> bool {
        let decision = self.decide(Action::Subscribe, Item::Toolset, None);
        audit::decided(request, Action::Subscribe, &self.resource(Item::Toolset), &decision);
        decision.verdict.is_allowed()
    }

    /// Decides whether the caller may subscribe to a resource; what is denied is told.
    pub(crate) fn subscribes_to(&self, request: &Request, resource: &Located<'_>) -> bool {
        let decision = resource.decide(self.judge, &self.caller.rights, Action::Subscribe);
        let exposed = resource.exposed();
        let item = Item::Resource(resource.named(&exposed));
        audit::decided(request, Action::Subscribe, &self.resource(item), &decision);
        decision.verdict.is_allowed()
    }
}

/// A request at the gate.
struct Visit<'a> {
    gate: Gate<'a>,
    request: &'a Request,
    call: Option<&'a Call>,
    version: Version,
}

// === impl Visit ===

impl<'a> Visit<'a> {
    fn of(classified: &'a Classified) -> Self {
        let request = classified.request();
        let (call, version) = match classified.work() {
            Work::Modern(call) => (Some(call), Version::LATEST),
            Work::Open { call, version } => (Some(call), *version),
            Work::InSession { session, call } => {
                (Some(call), session.client().map_or(Version::ASSUMED, |client| client.version))
            }
            Work::Listen { .. } | Work::End { .. } | Work::OpenSse => (None, Version::ASSUMED),
        };
        Self { gate: Gate::of(request), request, call, version }
    }

    /// Decides whether the caller may be here at all.
    fn enter(&self) -> Result<(), Error> {
        let decision = self.gate.decide(Action::Connect, Item::Toolset, None);
        // What a toolset demands of everybody comes first: whoever lacks it is told how to get it.
        let demanded = &self.request.accepted.demands().access.scopes;
        if !self.gate.allows_all() && !demanded.is_subset(&self.gate.caller.principal.scopes) {
            audit::lacks_scopes(self.request, demanded);
            return Err(self.lacking(Action::Connect, demanded).into());
        }
        self.told(Action::Connect, Item::Toolset, &decision)
    }

    /// Decides whether the caller may do what it asks with what that is about.
    fn allow(&self, resolved: Resolved) -> Result<Resolved, Error> {
        let Some(call) = self.call else { return Ok(resolved) };
        let action = action_of(&call.operation);
        match &resolved {
            Resolved::Here => match action {
                Action::List => self.decide(Action::List, Item::Toolset, None)?,
                // What it listens to is looked through item by item.
                _ => return Ok(resolved),
            },
            Resolved::Find { .. } => self.decide(Action::List, Item::Toolset, None)?,
            Resolved::Only { server, name } => {
                let named = named(server, name, name, &[]);
                let arguments = arguments(call, None);
                let decided = self.decide(action, named_item(&call.operation, named), arguments.as_deref());
                return self.hidden(decided, resolved);
            }
            Resolved::Listed { server, .. } => {
                let Some(entry) = resolved.entry() else { return Ok(resolved) };
                let named = named(server, &entry.upstream, &entry.exposed, entry.tags());
                let arguments = arguments(call, entry.terms.as_deref());
                let decided = self.decide(action, named_item(&call.operation, named), arguments.as_deref());
                return self.hidden(decided, resolved);
            }
            Resolved::Resource { server, uri, router } => {
                if matches!(call.operation, Operation::Unsubscribe { .. }) {
                    return Ok(resolved); // Whoever may enter may be told less: of what its session has subscribed to.
                }
                let decided = self.about(action, &self.located(router.as_deref(), server, uri));
                return self.hidden(decided, resolved);
            }
            Resolved::Unlisted { .. } => return self.unlisted(action, resolved),
            Resolved::Task { task, tags, .. } => {
                let decided = self.follow(Item::Tool(of_task(task, tags)));
                return self.hidden(decided, resolved);
            }
            // Of a subscription only the one that it is held at is told.
            Resolved::Subscribed { .. } | Resolved::Refused { .. } => {}
        }
        Ok(resolved)
    }

    /// Decides whether the caller may follow what a call of this tool began.
    fn follow(&self, tool: Item<'_>) -> Result<(), Error> {
        self.told(Action::Call, tool, &self.gate.decide_following(tool))
    }

    /// Leaves of a resource that nobody lists those servers that the caller may ask for it.
    fn unlisted(&self, action: Action, resolved: Resolved) -> Result<Resolved, Error> {
        let Resolved::Unlisted { servers, uri, router } = resolved else { return Ok(resolved) };
        let decided = |server: &backend::Handle| {
            let resource = self.located(Some(&router), server, &uri);
            resource.decide(self.gate.judge, &self.gate.caller.rights, action)
        };
        let (allowed, denied): (Vec<_>, Vec<_>) =
            servers.into_iter().partition(|server| decided(server).verdict.is_allowed());
        if !allowed.is_empty() {
            return Ok(Resolved::Unlisted { servers: allowed, uri, router });
        }
        // Nobody may be asked: one denial is told, that which scopes would turn before others.
        let lacks_scopes =
            |server: &&backend::Handle| matches!(decided(server).verdict, Verdict::Deny(Denial::MissingScopes(_)));
        let Some(server) = denied.iter().find(lacks_scopes).or(denied.first()) else {
            return Ok(Resolved::Unlisted { servers: allowed, uri, router });
        };
        let told = self.about(action, &self.located(Some(&router), server, &uri));
        self.hidden(told, Resolved::Unlisted { servers: allowed, uri, router })
    }

    /// The resource of a server that the call is about; of a completion, the template.
    fn located<'l>(&'l self, router: Option<&'l Router>, server: &'l backend::Handle, uri: &'l str) -> Located<'l> {
        match self.call.map(|call| &call.operation) {
            Some(Operation::Complete { .. }) => Located::reference(self.gate.toolset, router, server.name(), uri),
            Some(_) | None => Located::resource(self.gate.toolset, router, server.name(), uri),
        }
    }

    /// Decides on a resource, and tells.
    fn about(&self, action: Action, resource: &Located<'_>) -> Result<(), Error> {
        let decision = resource.decide(self.gate.judge, &self.gate.caller.rights, action);
        let exposed = resource.exposed();
        self.told(action, Item::Resource(resource.named(&exposed)), &decision)
    }

    fn decide(&self, action: Action, item: Item<'_>, arguments: Option<&str>) -> Result<(), Error> {
        let decision = self.gate.decide(action, item, arguments);
        self.told(action, item, &decision)
    }

    /// Notes a decision, and makes what the caller is told of it.
    fn told(&self, action: Action, item: Item<'_>, decision: &Decision) -> Result<(), Error> {
        self.report(action, item, decision);
        match &decision.verdict {
            Verdict::Allow => Ok(()),
            Verdict::Deny(Denial::MissingScopes(scopes)) => Err(self.lacking(action, scopes).into()),
            Verdict::Deny(_) => Err(Denied::plain(action).into()),
        }
    }

    /// A denial that more scopes would turn: those, and the ones that the caller has, because a new token has no others.
    fn lacking(&self, action: Action, scopes: &BTreeSet<String>) -> Denied {
        let scopes = scopes.union(&self.gate.caller.principal.scopes).cloned().collect();
        let accepted = &self.request.accepted;
        let challenge = protected::challenge(accepted.site(), Challenge::InsufficientScope(&scopes));
        Denied { action, scopes, challenge: Some(challenge) }
    }

    fn report(&self, action: Action, item: Item<'_>, decision: &Decision) {
        audit::decided(self.request, action, &self.gate.resource(item), decision);
    }

    /// Makes a denial look as if there was nothing, where the toolset does not say so. Whoever lacks a scope only is
    /// told in any case: it can have it.
    fn hidden(&self, decided: Result<(), Error>, resolved: Resolved) -> Result<Resolved, Error> {
        let denied = match decided {
            Ok(()) => return Ok(resolved),
            Err(Error::Denied(denied)) => denied,
            Err(other) => return Err(other),
        };
        let is_hidden = self.request.accepted.demands().access.denied == Told::Unknown && denied.scopes.is_empty();
        let Some(fault) = self.call.and_then(|call| unknown(&call.operation)).filter(|_| is_hidden) else {
            return Err(denied.into());
        };
        match (self.request.endpoint(), self.version.era()) {
            // Its client reads answers from its stream alone.
            (Endpoint::Sse, Era::Legacy) => Ok(Resolved::Refused { fault }),
            (_, era) => {
                let id = self.call.and_then(|call| call.frame.id().cloned());
                Err(Error::Nowhere(Rejected { era, id, fault }))
            }
        }
    }
}

/// Checks that the toolset exists for its caller, before anything else of the request is looked at: what is wrong with
/// it is told only where there is something.
///
/// # Errors
/// [`Error::Elsewhere`] for a toolset of another tenant.
pub fn wall(authenticated: &Authenticated) -> Result<(), Error> {
    let (accepted, caller) = (authenticated.accepted(), authenticated.caller());
    let (snapshot, toolset) = (accepted.snapshot(), accepted.toolset());
    if !is_elsewhere(snapshot, toolset, caller) {
        return Ok(());
    }
    let table = toolset.of_principal(caller.digest);
    audit::walled(accepted, caller, &entrance(table), &decide_entry(snapshot, toolset, caller));
    Err(Error::Elsewhere(table.name.to_string()))
}

/// The same for a request that another node relays, which has recorded it.
///
/// # Errors
/// As [`wall`].
pub(crate) fn wall_of(accepted: &AcceptedHead, caller: &Caller) -> Result<(), Error> {
    if is_elsewhere(&accepted.snapshot, &accepted.toolset, caller) {
        return Err(Error::Elsewhere(accepted.toolset.name().to_string()));
    }
    Ok(())
}

/// Tells whether a toolset belongs to another tenant than a caller.
pub(crate) fn is_elsewhere(snapshot: &Snapshot, toolset: &Toolset, caller: &Caller) -> bool {
    matches!(decide_entry(snapshot, toolset, caller).verdict, Verdict::Deny(Denial::OtherTenant))
}

fn decide_entry(snapshot: &Snapshot, toolset: &Toolset, caller: &Caller) -> std::sync::Arc<Decision> {
    let table = toolset.of_principal(caller.digest);
    snapshot.judge().decide(&caller.rights, Action::Connect, entrance(table), None)
}

fn entrance(toolset: &ToolsetTable) -> Resource<'_> {
    Resource { tenant: &toolset.tenant, toolset: toolset.name.as_str(), item: Item::Toolset }
}

/// Decides whether the caller of a request may be a client at all, whatever it asks for: for messages that come
/// together.
///
/// # Errors
/// [`Error::Denied`].
pub fn enter(request: &Request) -> Result<(), Error> {
    Visit { gate: Gate::of(request), request, call: None, version: Version::ASSUMED }.enter()
}

/// Decides whether the caller of `classified` may do it.
///
/// # Errors
/// [`Error`] names the denied action, or what leads nowhere.
pub async fn decide(classified: Classified) -> Result<Permitted, Error> {
    let visit = Visit::of(&classified);
    visit.enter()?;
    let resolved = resolve::find(classified.request(), classified.work()).await.map_err(Error::Nowhere)?;
    let resolved = visit.allow(resolved)?;
    Ok(Permitted { classified, resolved })
}

/// Decides whether a server may ask a client this.
///
/// # Errors
/// [`Denied`] names the denied action.
pub(crate) fn decide_ask(asked: Asked<'_>) -> Result<PermittedAsk<'_>, Denied> {
    let action = asked.action();
    let judge = asked.services.judge.load();
    let rights = judge.rights(asked.principal);
    let resource = Resource {
        tenant: &asked.toolset.tenant,
        toolset: asked.toolset.name.as_str(),
        item: Item::Server { server: asked.server.as_str() },
    };
    let decision = judge.decide(&rights, action, resource, None);
    audit::ask_decided(&asked, action, &resource, &decision);
    match decision.verdict {
        Verdict::Allow => Ok(PermittedAsk { asked }),
        Verdict::Deny(_) => Err(Denied::plain(action)),
    }
}

/// Tells whether somebody who was let in may be a client of a toolset by `snapshot`, too: by what the toolset demands of
/// everybody, and by policy.
pub(crate) fn may_stay(snapshot: &Snapshot, principal: &Principal, toolset: &ToolsetTable) -> bool {
    let (judge, access) = (snapshot.judge(), &snapshot.demands(&toolset.name).access);
    let has_scopes = judge.allows_all() || access.scopes.is_subset(&principal.scopes);
    let is_complete = authenticate::missing(access.requires, principal).is_none();
    has_scopes && is_complete && may_connect(judge, &judge.rights(principal), toolset)
}

/// Tells whether a caller with these rights may be a client of a toolset, as far as policy goes.
fn may_connect(judge: &Judge, rights: &Rights, toolset: &ToolsetTable) -> bool {
    judge.decide(rights, Action::Connect, entrance(toolset), None).verdict.is_allowed()
}

/// Tells whether a caller with these rights may be told that lists of a toolset have changed.
pub(crate) fn may_hear_of_lists(judge: &Judge, rights: &Rights, toolset: &ToolsetTable) -> bool {
    judge.decide(rights, Action::Subscribe, entrance(toolset), None).verdict.is_allowed()
}

/// Tells whether a caller with these rights may hear of a task, whose tool has these tags.
pub(crate) fn may_follow(judge: &Judge, rights: &Rights, toolset: &ToolsetTable, task: &Task, tags: &[String]) -> bool {
    let item = Item::Tool(of_task(task, tags));
    let resource = Resource { tenant: &toolset.tenant, toolset: toolset.name.as_str(), item };
    judge.possible(rights, Action::Call, resource).is_allowed()
}

/// Tells whether a caller with these rights may use an entry of a list with some arguments, as it is.
pub(crate) fn may_use(judge: &Judge, rights: &Rights, toolset: &ToolsetTable, kind: ListKind, entry: &Entry) -> bool {
    let Some(server) = toolset.listing.server(entry.server) else { return false };
    let (action, item) = use_of(kind, named(server, &entry.upstream, &entry.exposed, entry.tags()));
    judge
        .possible(rights, action, Resource { tenant: &toolset.tenant, toolset: toolset.name.as_str(), item })
        .is_allowed()
}

/// What using an entry of a list is.
const fn use_of(kind: ListKind, named: Named<'_>) -> (Action, Item<'_>) {
    match kind {
        ListKind::Tools => (Action::Call, Item::Tool(named)),
        ListKind::Prompts => (Action::Get, Item::Prompt(named)),
        ListKind::Resources | ListKind::ResourceTemplates => (Action::Read, Item::Resource(named)),
    }
}

/// Tells whether a caller with these rights may subscribe to a resource.
pub(crate) fn may_subscribe(judge: &Judge, rights: &Rights, resource: &Located<'_>) -> bool {
    resource.decide(judge, rights, Action::Subscribe).verdict.is_allowed()
}

/// The action that an operation is, as a principal would be allowed it.
#[must_use]
pub fn action_of(operation: &Operation) -> Action {
    match operation {
        Operation::List { .. } | Operation::ListTasks { .. } => Action::List,
        Operation::CallTool { .. } => Action::Call,
        Operation::ReadResource { .. } => Action::Read,
        Operation::GetPrompt { .. } => Action::Get,
        Operation::Complete { .. } => Action::Complete,
        Operation::Subscribe { .. } | Operation::Unsubscribe { .. } | Operation::Listen { .. } => Action::Subscribe,
        Operation::Initialize { .. }
        | Operation::Ping
        | Operation::Discover
        | Operation::Task { .. }
        | Operation::SetLevel { .. }
        | Operation::Initialized
        | Operation::Cancelled { .. }
        | Operation::RootsListChanged
        | Operation::Progress { .. }
        | Operation::Response
        | Operation::OtherNotification => Action::Connect,
    }
}

/// The fault of what an operation names, as if nothing had that name.
fn unknown(operation: &Operation) -> Option<Fault> {
    match operation {
        Operation::CallTool { name, .. } => Some(resolve::unknown(ListKind::Tools, name)),
        Operation::Task { .. } => Some(Fault::UnknownTask),
        Operation::GetPrompt { name, .. } | Operation::Complete { reference: Reference::Prompt { name, .. } } => {
            Some(resolve::unknown(ListKind::Prompts, name))
        }
        Operation::ReadResource { uri, .. }
        | Operation::Subscribe { uri, .. }
        | Operation::Unsubscribe { uri, .. }
        | Operation::Complete { reference: Reference::Resource { uri, .. } } => {
            Some(resolve::unknown(ListKind::Resources, uri))
        }
        _ => None,
    }
}

/// A listed thing that an operation names: a tool or a prompt.
const fn named_item<'a>(operation: &Operation, named: Named<'a>) -> Item<'a> {
    match operation {
        Operation::CallTool { .. } => Item::Tool(named),
        _ => Item::Prompt(named),
    }
}

/// The arguments of a call, as JSON text, with those that the toolset has fixed: what is decided on is what is done, so
/// that a limit of a policy holds for a fixed amount as well.
fn arguments<'c>(call: &'c Call, terms: Option<&Terms>) -> Option<Cow<'c, str>> {
    let Operation::CallTool { arguments, .. } = &call.operation else { return None };
    match terms {
        Some(terms) => terms.arguments(&call.frame, *arguments),
        None => arguments.map(|span| Cow::Borrowed(call.raw(span))),
    }
}

fn named<'a>(server: &'a backend::Handle, name: &'a str, exposed: &'a str, tags: &'a [String]) -> Named<'a> {
    Named { server: server.name().as_str(), name, exposed, tags }
}

/// The tool that began a task.
fn of_task<'a>(task: &'a Task, tags: &'a [String]) -> Named<'a> {
    Named { server: task.server.as_str(), name: &task.tool.upstream, exposed: &task.tool.exposed, tags }
}

/// What a refusal says of the scopes that are missing; nothing where none are.
pub(crate) fn needed(scopes: &BTreeSet<String>) -> String {
    if scopes.is_empty() {
        return String::new();
    }
    let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
    format!(": the token needs the scopes {}", scopes.join(" "))
}
