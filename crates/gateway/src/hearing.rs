//! Which servers a session's owner may hear of beside its calls: logs, and what else a server says of itself.
//!
//! Lists are fetched through the session, so that it is connected to servers that its owner may do nothing at, and these
//! talk as soon as they are. One is heard if the owner may use something that it lists, or was allowed a call that it has
//! answered: what policies permit may be a resource that nobody lists. That is decided once per configuration and list, and
//! forgotten with them, because servers log often.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use quorate_mcp::listing::Merged;
use quorate_mcp::{ListKind, Method};
use quorate_runtime::listing::View;
use quorate_types::{Principal, ResourceName};

use crate::authorize;
use crate::judge::Judge;
use crate::snapshot::ToolsetTable;

/// What was decided for one session; at most an entry for each server of its toolset.
#[derive(Default)]
pub(crate) struct Hearing {
    known: Mutex<Known>,
}

/// What was decided under one configuration, for an owner who is known as one thing.
#[derive(Default)]
struct Known {
    judge: Weak<Judge>,
    toolset: Weak<ToolsetTable>,
    /// The owner, as it was known: its groups and scopes change from token to token.
    owner: Option<Arc<Principal>>,
    servers: HashMap<ResourceName, Heard>,
}

/// Whether a server is heard.
enum Heard {
    /// It has answered a call that was allowed.
    Answered,
    /// As these lists say.
    Listed { lists: Lists, is_heard: bool },
}

/// The lists of a view, as they were last made.
type Lists = [Option<Weak<Merged>>; ListKind::ALL.len()];

// === impl Hearing ===

impl Hearing {
    /// Notes that a server has answered a request of the client: then it was allowed.
    pub(crate) fn answered(
        &self,
        judge: &Arc<Judge>,
        toolset: &Arc<ToolsetTable>,
        owner: &Arc<Principal>,
        server: &ResourceName,
        to: Method,
    ) {
        let is_of_client = matches!(
            to,
            Method::CallTool | Method::GetPrompt | Method::ReadResource | Method::Subscribe | Method::Complete
        );
        if !is_of_client || judge.allows_all() {
            return;
        }
        let mut known = self.known(judge, toolset, owner);
        if !matches!(known.servers.get(server), Some(Heard::Answered)) {
            known.servers.insert(server.clone(), Heard::Answered);
        }
    }

    /// Tells whether a session's owner may hear a server.
    pub(crate) fn hears(
        &self,
        judge: &Arc<Judge>,
        toolset: &Arc<ToolsetTable>,
        owner: &Arc<Principal>,
        view: Option<View>,
        server: &ResourceName,
    ) -> bool {
        if judge.allows_all() {
            return true;
        }
        let lists = ListKind::ALL.map(|kind| view.and_then(|view| toolset.listing.last(view, kind)));
        let mut known = self.known(judge, toolset, owner);
        match known.servers.get(server) {
            Some(Heard::Answered) => return true,
            Some(Heard::Listed { lists: seen, is_heard }) if is_same(seen, &lists) => return *is_heard,
            Some(Heard::Listed { .. }) | None => {}
        }
        let rights = judge.rights(owner);
        let index = toolset.listing.index_of(server);
        let may_use = |list: &Arc<Merged>| {
            let own = list.entries().iter().filter(|entry| Some(entry.server) == index);
            own.into_iter().any(|entry| authorize::may_use(judge, &rights, toolset, list.kind(), entry))
        };
        let is_heard = lists.iter().flatten().any(may_use);
        let lists = lists.map(|list| list.as_ref().map(Arc::downgrade));
        known.servers.insert(server.clone(), Heard::Listed { lists, is_heard });
        is_heard
    }

    /// What is known under this configuration, for this owner; of another one everything is forgotten.
    fn known(&self, judge: &Arc<Judge>, toolset: &Arc<ToolsetTable>, owner: &Arc<Principal>) -> MutexGuard<'_, Known> {
        // What somebody panicked over is decided anew at worst.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_owner = |known: &Arc<Principal>| Arc::ptr_eq(known, owner) || known == owner;
        let is_same = known.judge.as_ptr() == Arc::as_ptr(judge)
            && known.toolset.as_ptr() == Arc::as_ptr(toolset)
            && known.owner.as_ref().is_some_and(is_owner);
        if !is_same {
            *known = Known {
                judge: Arc::downgrade(judge),
                toolset: Arc::downgrade(toolset),
                owner: Some(Arc::clone(owner)),
                servers: HashMap::new(),
            };
        }
        known
    }
}

/// Whether these are the same lists: a weak one keeps its address taken.
fn is_same(seen: &Lists, lists: &[Option<Arc<Merged>>; ListKind::ALL.len()]) -> bool {
    seen.iter().zip(lists).all(|(seen, list)| match (seen, list) {
        (Some(seen), Some(list)) => seen.as_ptr() == Arc::as_ptr(list),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    })
}
