//! What a session's actor asks of the gateway: rewriting backends' frames, and dropping lists.
//!
//! Looks its toolset up by name each time, so that a session follows the configuration. When the
//! toolset is gone, the session ends with it; what still arrives passes as it is, but for what a
//! server asks: nothing says any more whether it may. Decides by what its owner showed last, not by
//! what opened it: groups and scopes come and go from token to token.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use bytes::Bytes;
use quorate_jsonrpc::{Frame, Kind, Limits, build};
use quorate_mcp::dialect::onto_legacy::{self, Question};
use quorate_mcp::{Era, ListKind, Method, codec};
use quorate_runtime::listing::{Audience, Listing, View};
use quorate_runtime::session::{self, Memory, Tool, Translate};
use quorate_session::Event;
use quorate_types::{Principal, PrincipalDigest, ResourceName};

use crate::ask::{self, Asked, Asker, MESSAGE_LIMITS};
use crate::authenticate::Caller;
use crate::authorize;
use crate::handle::Outbound;
use crate::hearing::Hearing;
use crate::located::Located;
use crate::snapshot::{Services, ToolsetTable};
use crate::tasks::{Holder, Task};

/// Rewrites frames of a toolset's servers for one session.
pub(crate) struct Translator {
    services: Arc<Services>,
    toolset: ResourceName,
    /// The owner, by what it showed last.
    principal: ArcSwap<Principal>,
    caller: PrincipalDigest,
    memory: Arc<Memory>,
    view: OnceLock<View>,
    hearing: Hearing,
}

// === impl Translator ===

impl Translator {
    /// Makes the translator of a session of `caller` on `toolset`, whose lists are those of
    /// `view`: not yet known for HTTP+SSE.
    #[must_use]
    pub(crate) fn new(
        services: Arc<Services>,
        toolset: ResourceName,
        caller: &Caller,
        memory: Arc<Memory>,
        view: Option<u64>,
    ) -> Self {
        let (principal, caller) = (ArcSwap::new(Arc::clone(&caller.principal)), caller.digest);
        let view = view.map(|view| View { principal: caller, audience: Audience::Legacy(view) });
        let view = view.map_or_else(OnceLock::new, OnceLock::from);
        Self { services, toolset, principal, caller, memory, view, hearing: Hearing::default() }
    }

    /// The toolset with the session's versions of its servers.
    fn toolset(&self) -> Option<Arc<ToolsetTable>> {
        let toolset = self.services.toolset(&self.toolset)?;
        Some(Arc::clone(toolset.of_session(self.caller, &self.memory)))
    }

    /// The session's view; for HTTP+SSE one of the same caller, as soon as that listed resources.
    fn view(&self, listing: &Listing) -> Option<View> {
        match self.view.get() {
            Some(view) => Some(*view),
            None => listing.any_view_of(self.caller).map(|view| *self.view.get_or_init(|| view)),
        }
    }

    /// Whether an updated resource is not chosen any more, or not to be told of.
    fn withholds_update(&self, server: &ResourceName, notification: &Frame) -> bool {
        let Some(toolset) = self.toolset() else { return true }; // The session ends with it.
        let uris = codec::resource_uris(notification, Method::ResourceUpdated).unwrap_or_default();
        let listing = &toolset.listing;
        let is_chosen = |uri: &str| match (listing.curation(), listing.index_of(server)) {
            (Some(curation), Some(index)) => curation.has_uri(index, uri),
            (None, _) | (_, None) => true,
        };
        let judge = self.services.judge.load();
        let rights = judge.rights(&self.principal.load());
        let router = self.view(listing).and_then(|view| listing.router_as_made(view));
        let may_subscribe = |uri: &str| {
            authorize::may_subscribe(&judge, &rights, &Located::resource(&toolset, router.as_deref(), server, uri))
        };
        uris.is_empty() || uris.iter().any(|uri| !is_chosen(&uri.text) || !may_subscribe(&uri.text))
    }

    /// Whether a server is heard beside the calls that it answers.
    fn hears(&self, server: &ResourceName) -> bool {
        let Some(toolset) = self.toolset() else { return false }; // The session ends with it.
        let view = self.view(&toolset.listing);
        self.hearing.hears(&self.services.judge.load(), &toolset, &self.principal.load(), view, server)
    }

    /// Whether a task is nobody's that is known, somebody else's, or one that may not be followed any more.
    fn withholds_task(&self, server: &ResourceName, notification: &Frame) -> bool {
        let Some(all_versions) = self.services.toolset(&self.toolset) else { return true };
        let tasks = codec::task_ids(notification, Method::TaskStatus, Era::Legacy).unwrap_or_default();
        let holder = Holder { caller: self.caller, toolset: &self.toolset };
        let judge = self.services.judge.load();
        let rights = judge.rights(&self.principal.load());
        let may_follow = |task: &Task| {
            let Some(tags) = all_versions.tags_of(task) else { return false };
            all_versions
                .tables()
                .first()
                .is_some_and(|table| authorize::may_follow(&judge, &rights, table, task, &tags))
        };
        tasks.is_empty()
            || !tasks.iter().all(|handle| {
                self.services.tasks.task(holder, server, &handle.text).is_some_and(|task| may_follow(&task))
            })
    }
}

impl Translate for Translator {
    fn inbound(&self, server: &ResourceName, method: Option<Method>, tool: Option<&Arc<Tool>>, frame: Frame) -> Frame {
        let Some(toolset) = self.toolset() else { return frame };
        if let (Some(method), Kind::Result | Kind::Error) = (method, frame.kind()) {
            self.hearing.answered(&self.services.judge.load(), &toolset, &self.principal.load(), server, method);
        }
        let router = self.view(&toolset.listing).and_then(|view| toolset.listing.last_router(view));
        let outbound = Outbound {
            sealer: &self.services.sealer,
            owners: &self.services.tasks,
            holder: Holder { caller: self.caller, toolset: &toolset.name },
            tool,
            toolset: &toolset,
            router: router.as_deref(),
            era: Era::Legacy,
        };
        outbound.rewrite(server, method, frame)
    }

    fn ask(&self, server: &ResourceName, frame: Frame) -> Result<Frame, Bytes> {
        let passed = match (Question::of(&frame), self.toolset()) {
            (None, _) if frame.method() == Some(Method::Ping.as_str()) => return Ok(frame),
            // Nothing decides on it, and nothing ties what it names, such as a task, to this server.
            (None, _) => Err(ask::Error::Unknown),
            (Some(question), Some(toolset)) => {
                let (services, principal) = (&*self.services, &*self.principal.load());
                let untasked = onto_legacy::untasked(&frame).map_err(|_| ask::Error::Malformed);
                untasked.and_then(|frame| {
                    ask::pass(Asked { services, toolset: &toolset, principal, server, question, frame })
                })
            }
            (Some(_), None) => Err(ask::Error::NoToolset),
        };
        passed.or_else(|error| match ask::refusal(&self.services, &frame, &error) {
            Some(answer) => Err(answer),
            None => Ok(frame),
        })
    }

    fn failed(&self, server: &ResourceName, error: Frame) -> Frame {
        if !ask::is_question(&error) {
            return error;
        }
        let passed = match self.toolset() {
            Some(toolset) => {
                let (services, principal) = (&*self.services, &*self.principal.load());
                Asker { services, toolset: &toolset, principal, server }.pass(error.clone())
            }
            None => Err(ask::Error::NoToolset),
        };
        passed.unwrap_or_else(|refused| {
            let instead = ask::instead(&self.services, &error, &refused);
            Frame::parse(instead, &MESSAGE_LIMITS).expect("it was just built from the id of a frame that was read")
        })
    }

    /// What a session subscribed to before a change of the configuration may not be chosen or allowed any more; a server
    /// may tell of tasks of everybody who uses our credential; and what servers say of themselves is not for those who
    /// may do nothing there.
    fn withholds(&self, server: &ResourceName, notification: &Frame, is_of_call: bool) -> bool {
        match notification.method().and_then(Method::parse) {
            Some(Method::ResourceUpdated) => self.withholds_update(server, notification),
            Some(Method::TaskStatus) => self.withholds_task(server, notification),
            Some(Method::ToolsListChanged | Method::PromptsListChanged | Method::ResourcesListChanged) => {
                !self.hears_of_lists()
            }
            Some(_) | None => !is_of_call && !self.hears(server),
        }
    }

    fn is_allowed(&self) -> bool {
        match (self.services.present(), self.toolset()) {
            (Some(snapshot), Some(toolset)) => authorize::may_stay(&snapshot, &self.principal.load(), &toolset),
            _ => true, // It ends with its toolset, or with the node.
        }
    }

    fn known_as(&self, owner: &Arc<Principal>) {
        debug_assert_eq!(owner.digest(), self.caller, "a session is found by its owner alone");
        if **self.principal.load() != **owner {
            self.principal.store(Arc::clone(owner));
        }
    }

    fn known_instead(&self, before: &Arc<Principal>, owner: &Arc<Principal>) {
        self.principal.rcu(|now| Arc::clone(if **now == **before { owner } else { now }));
    }

    fn hears_of_lists(&self) -> bool {
        let Some(toolset) = self.toolset() else { return true }; // It ends with its toolset.
        let judge = self.services.judge.load();
        authorize::may_hear_of_lists(&judge, &judge.rights(&self.principal.load()), &toolset)
    }

    fn list_changed(&self, server: &ResourceName, kind: ListKind) {
        if let Some(toolset) = self.services.toolset(&self.toolset) {
            toolset.invalidate(server, kind);
        }
    }
}

/// Tells the client of a session that one of its lists has changed; `method` is the notification's. Whether it may hear
/// of it is for the caller of this to ask.
pub(crate) fn list_changed(session: &session::Handle, method: Method) {
    let notification = build::notification(method.as_str(), None);
    if let Ok(frame) = Frame::parse(notification, &Limits::ANSWER) {
        session.tell(Event::GatewayNotify { frame });
    }
}

#[cfg(test)]
mod tests {
    use quorate_jsonrpc::Limits;
    use quorate_mcp::error::UNAVAILABLE;
    use quorate_types::TenantId;

    use super::*;
    use crate::ground::{Ground, Rules, TOOLSET, name};

    const ALLOWED: &str = "permit(principal, action, resource);";
    const SCOPED: &str = r#"permit(principal, action, resource) when { principal.scopes.contains("files") };"#;

    /// The translator of a session of an agent on this toolset.
    fn translator(ground: &Ground, toolset: &str) -> Translator {
        let services = Arc::clone(&ground.services);
        let principal = Principal::agent(TenantId::default(), "agent");
        let caller = Caller::new(principal, &services.judge.load(), &services.metrics);
        Translator::new(services, name(toolset), &caller, Arc::default(), None)
    }

    /// The agent with these scopes, by a token of later.
    fn agent(scopes: &[&str]) -> Arc<Principal> {
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        Arc::new(Principal { scopes, ..Principal::agent(TenantId::default(), "agent") })
    }

    fn ground(cedar: &str, scopes: &[&str]) -> Ground {
        Ground::new(&Rules { keys: &[], cedar, scopes })
    }

    fn request(method: &str) -> Frame {
        let text = format!(r#"{{"jsonrpc":"2.0","id":7,"method":"{method}","params":{{"message":"Sure?"}}}}"#);
        Frame::parse(text.into(), &Limits::ANSWER).expect("a frame")
    }

    #[test]
    fn a_server_may_ask_nothing_through_a_toolset_that_is_gone() {
        let translator = translator(&ground(ALLOWED, &[]), "gone");

        let answer = translator.ask(&name("files"), request("elicitation/create")).expect_err("nothing allows it");
        let answer = String::from_utf8(answer.to_vec()).expect("text");
        assert!(answer.contains("\"id\":7") && answer.contains(&format!("\"code\":{UNAVAILABLE}")), "{answer}");

        let visit = r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32042,"message":"m","data":{"elicitations":[{"mode":"url","url":"https://a.example"}]}}}"#;
        let visit = Frame::parse(visit.into(), &Limits::ANSWER).expect("a frame");
        let told = translator.failed(&name("files"), visit);
        assert!(told.text().contains("\"id\":7") && !told.text().contains("a.example"), "{}", told.text());
        let error = r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32043,"message":"m","data":{"elicitations":[{}]}}}"#;
        let error = Frame::parse(error.into(), &Limits::ANSWER).expect("a frame");
        assert_eq!(translator.failed(&name("files"), error.clone()).text(), error.text(), "it asks nothing");

        let ping = translator.ask(&name("files"), request("ping")).expect("it asks nothing");
        assert_eq!(ping.method(), Some("ping"));
    }

    #[test]
    fn a_server_may_not_ask_what_nothing_decides_on() {
        let translator = translator(&ground(ALLOWED, &[]), "gone");
        for method in ["tasks/list", "tasks/result", "tasks/get", "tasks/cancel", "tools/call", "vendor/x", "Ping"] {
            let answer = translator.ask(&name("files"), request(method)).expect_err(method);
            let answer = String::from_utf8(answer.to_vec()).expect("text");
            assert!(answer.contains("\"id\":7") && answer.contains("\"code\":-32601"), "{method}: {answer}");
        }
    }

    #[test]
    fn a_session_decides_by_what_its_owner_showed_last() {
        let ground = ground(SCOPED, &[]);
        let session = translator(&ground, TOOLSET);

        assert!(!session.is_allowed(), "the token that opened it has no scope");
        session.known_as(&agent(&["files"]));
        assert!(session.is_allowed(), "the caller has got more scopes");
        session.known_as(&agent(&[]));
        assert!(!session.is_allowed(), "the scope outlives the token that had it");
    }

    #[test]
    fn which_servers_a_session_hears_is_decided_anew_when_its_owner_is_known_as_something_else() {
        let (ground, server) = (ground(SCOPED, &[]), name("files"));
        let session = translator(&ground, TOOLSET);
        session.known_as(&agent(&["files"]));
        let (judge, toolset) = (ground.services.judge.load_full(), session.toolset().expect("it is there"));
        session.hearing.answered(&judge, &toolset, &session.principal.load(), &server, Method::CallTool);

        session.known_as(&agent(&["files"]));
        assert!(session.hears(&server), "another token says the same");
        session.known_as(&agent(&[]));
        assert!(!session.hears(&server), "it was allowed a call by a scope that it lost");
    }

    #[test]
    fn what_cannot_be_read_is_withheld() {
        let ground = ground(ALLOWED, &[]);
        for toolset in [TOOLSET, "gone"] {
            let session = translator(&ground, toolset);
            for (method, params) in [
                ("notifications/resources/updated", "{}"),
                ("notifications/resources/updated", r#"{"uri":7}"#),
                ("notifications/tasks/status", r#"{"taskId":7}"#),
            ] {
                let frame = Frame::parse(build::notification(method, Some(params)), &Limits::ANSWER).expect("a frame");
                assert!(session.withholds(&name("files"), &frame, false), "{toolset}: {method} {params}");
            }
        }
    }

    #[test]
    fn what_a_toolset_has_come_to_demand_ends_sessions_too() {
        let ground = ground(ALLOWED, &[]);
        let session = translator(&ground, TOOLSET);
        assert!(session.is_allowed());

        ground.change(&Rules { keys: &[], cedar: ALLOWED, scopes: &["files"] });

        assert!(!session.is_allowed());
    }
}
