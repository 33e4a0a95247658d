//! What the tasks of a node's peers share, and who is a member.
//!
//! Knows nothing of sockets: members, the lives that were seen, counters, and the token that ends everything.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use quorate_proto::peer::v1 as proto;
use quorate_types::NodeId;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Handler;
use crate::admission::Admission;
use crate::config::{Address, Config};
use crate::exchange::Handlers;
use crate::hello::{Agreed, Identity, Seen};
use crate::member::Member;
use crate::observe::{Observation, Reasons};
use crate::refusal::Refusal;
use crate::spread::Board;
use crate::throttle::Throttle;

/// What all tasks share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) identity: Identity,
    pub(crate) handler: Arc<dyn Handler>,
    pub(crate) exchange_handlers: Handlers,
    pub(crate) board: Board,
    pub(crate) admission: Admission,
    pub(crate) turned_away: Reasons,
    /// Lines about strangers.
    pub(crate) strangers: Throttle,
    /// Lines about members that are refused.
    pub(crate) refused: Throttle,
    /// Ends every task.
    pub(crate) ending: CancellationToken,
    pub(crate) tasks: TaskTracker,
    members: RwLock<BTreeMap<NodeId, Arc<Member>>>,
    seen: Mutex<Seen>,
}

// === impl Shared ===

impl Shared {
    pub(crate) fn new(config: Config, identity: Identity, handler: Arc<dyn Handler>) -> Self {
        Self {
            board: Board::new(identity.node, identity.incarnation),
            admission: Admission::new(config.limits.handshakes),
            config,
            identity,
            handler,
            exchange_handlers: Handlers::default(),
            turned_away: Reasons::default(),
            strangers: Throttle::default(),
            refused: Throttle::default(),
            ending: CancellationToken::new(),
            tasks: TaskTracker::new(),
            members: RwLock::default(),
            seen: Mutex::default(),
        }
    }

    pub(crate) fn member(&self, node: NodeId) -> Option<Arc<Member>> {
        // No panic happens under these locks; poisoned ones would still hold consistent state.
        self.members.read().unwrap_or_else(PoisonError::into_inner).get(&node).cloned()
    }

    /// Changes who is a member. Returns those that are new, to be dialed.
    pub(crate) fn set_members(&self, mut peers: BTreeMap<NodeId, Address>) -> Vec<Arc<Member>> {
        peers.remove(&self.identity.node);
        let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
        members.retain(|node, member| {
            let stays = peers.contains_key(node);
            if !stays {
                member.dismiss();
            }
            stays
        });
        let mut new = Vec::new();
        for (node, address) in peers {
            match members.get(&node) {
                Some(member) => {
                    member.address.send_if_modified(|known| std::mem::replace(known, address.clone()) != address);
                }
                None => {
                    let member = Arc::new(Member::new(node, address, self.ending.child_token()));
                    members.insert(node, Arc::clone(&member));
                    new.push(member);
                }
            }
        }
        self.board.set_members(members.keys().copied());
        self.with_seen(|seen| seen.retain(|node| members.contains_key(&node)));
        new
    }

    /// Decides about a node that has proven who it is.
    pub(crate) fn meet(&self, hello: &proto::Hello, proven: NodeId) -> Result<(Arc<Member>, Agreed), Refusal> {
        let member = self.member(proven).ok_or(Refusal::UnknownNode { node: proven })?;
        let agreed = self.with_seen(|seen| self.identity.meet(hello, proven, seen));
        match agreed {
            Ok(agreed) => Ok((member, agreed)),
            Err(refusal) => {
                member.counters.failures.count(refusal.label());
                Err(refusal)
            }
        }
    }

    /// Decides about a node that has proven who it is and has come here; tells of it when it is refused.
    pub(crate) fn admit(&self, hello: &proto::Hello, proven: NodeId) -> Result<(Arc<Member>, Agreed), Refusal> {
        self.meet(hello, proven).inspect_err(|refusal| {
            let label = refusal.label();
            if self.refused.admits(Instant::now()) {
                tracing::warn!(peer = %proven, reason = label, "refused node {proven}: {refusal}");
            }
            self.turned_away.count(label);
        })
    }

    pub(crate) fn with_seen<T>(&self, use_it: impl FnOnce(&mut Seen) -> T) -> T {
        use_it(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn observe(&self) -> Observation {
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        Observation {
            peers: members.values().map(|member| member.observe()).collect(),
            handshakes: self.admission.pending(),
            turned_away: self.turned_away.read(),
        }
    }
}
