//! What a change of the configuration does to the sessions that are there.
//!
//! In: what ran before and what runs now. Out: sessions that end, because what they were opened on is gone or their owner
//! may be no client any more, and others that are told of replaced servers and changed lists. All of it is one walk over
//! the sessions, in batches between which requests have their turn, so that it costs them nothing however many there are.
//! Until the walk has come to a session, each of its requests is decided by the present rules all the same.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use quorate_mcp::{Fault, Method};
use quorate_runtime::backend;
use quorate_runtime::session::{self, Scope};
use quorate_session::{EndReason, Fault as SessionFault};
use quorate_types::ResourceName;

use super::Running;
use crate::snapshot::Services;
use crate::toolset::Toolset;
use crate::translate;

/// Sessions that are looked at without a pause: a decision takes some 25 µs, so that this is about a millisecond.
const BATCH: usize = 32;

/// What has changed for sessions.
pub(super) struct Change {
    /// The tool servers that there are now.
    servers: HashSet<ResourceName>,
    /// The servers of what is another now.
    changed: HashMap<Scope, Arc<Vec<backend::Handle>>>,
    /// Whether other policies or identities hold.
    are_rules_new: bool,
}

// === impl Change ===

impl Change {
    pub(super) fn of(before: &Running, now: &Running, are_rules_new: bool) -> Self {
        let servers = now.backends.keys().cloned().collect();
        let is_new = |toolset: &Toolset| {
            let known = before.toolsets.get(toolset.name());
            !known.is_some_and(|(_, known)| std::ptr::eq(Arc::as_ptr(known), toolset))
        };
        let toolsets = now.toolsets.iter().filter(|(_, (_, toolset))| is_new(toolset));
        let toolsets =
            toolsets.map(|(name, (_, toolset))| (Scope::Toolset(name.clone()), Arc::clone(toolset.servers())));
        let replaced = now.backends.iter().filter(|(name, (_, backend))| {
            before.backends.get(*name).is_some_and(|(_, known)| !known.is_same(backend))
        });
        let replaced =
            replaced.map(|(name, (_, backend))| (Scope::Server(name.clone()), Arc::new(vec![backend.clone()])));
        Self { servers, changed: toolsets.chain(replaced).collect(), are_rules_new }
    }

    /// Walks over the sessions.
    pub(super) async fn tell(self, services: &Services) {
        let gone = session::fault(Fault::SessionUnknown);
        for batch in services.sessions.all().chunks(BATCH) {
            batch.iter().for_each(|session| self.tell_one(services, session, &gone));
            tokio::task::yield_now().await;
        }
    }

    fn tell_one(&self, services: &Services, session: &session::Handle, gone: &SessionFault) {
        let scope = session.scope();
        let is_present = match scope {
            // Of the present moment: the next change may have come, and a session on what it has added.
            Scope::Toolset(name) => services.toolset(name).is_some(),
            Scope::Server(name) => self.servers.contains(name),
        };
        if !is_present {
            return session.end(EndReason::Shutdown, gone.clone());
        }
        if self.are_rules_new && !session.is_allowed() {
            return session.end(EndReason::Revoked, gone.clone());
        }
        let changed = self.changed.get(scope);
        if let Some(servers) = changed {
            session.servers_changed(Arc::clone(servers));
        }
        let has_other_lists = self.are_rules_new || changed.is_some();
        if has_other_lists && matches!(scope, Scope::Toolset(_)) && session.hears_of_lists() {
            for method in [Method::ToolsListChanged, Method::PromptsListChanged, Method::ResourcesListChanged] {
                translate::list_changed(session, method);
            }
        }
    }
}
