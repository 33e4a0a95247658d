//! When this node last heard of its leader and of each other node, and what it says of itself on the board.
//!
//! Looked at twice a second, as long as the API is there: streams between nodes tell within seconds when the other side is gone,
//! so that a time is right to about that.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quorate_types::{NodeId, Timestamp};
use tokio::time::Instant;

use super::super::node::{Membership, Node, Standing};
use super::super::server::now;
use super::status::is_reached;

/// The key on the board under which a node says which version of the program it is.
pub(super) const VERSION: &str = "node.version";

/// How often is looked.
const LOOK: Duration = Duration::from_millis(500);

/// What was seen; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Times>>);

#[derive(Default)]
struct Times {
    leader: Option<Instant>,
    nodes: BTreeMap<NodeId, Timestamp>,
}

// === impl Seen ===

impl Seen {
    /// Looks until it is dropped with its task.
    pub(crate) async fn watch(self, node: Node) {
        loop {
            if let Standing::Member(member) = node.standing() {
                self.look(&*member);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Looks once.
    fn look(&self, member: &dyn Membership) {
        let (control, me) = (member.control(), member.id());
        let board = control.host().peers().board();
        let version = env!("CARGO_PKG_VERSION");
        if board.get(me, VERSION).is_none() {
            // It fits: a version is short, and the node has few keys.
            let _is_put = board.put(VERSION, Bytes::from_static(version.as_bytes()));
        }
        let role = control.meta().role();
        let role = role.borrow().clone();
        // Who leads serves as long as a quorum answers it.
        let follows = role.leader().is_some_and(|leader| leader == me || is_reached(control, leader));
        let reached: Vec<NodeId> =
            control.catalog().nodes().map(|node| node.id).filter(|id| *id == me || is_reached(control, *id)).collect();
        let mut times = self.lock();
        if follows {
            times.leader = Some(Instant::now());
        }
        times.nodes.extend(reached.into_iter().map(|id| (id, now())));
    }

    /// How old the catalog of this node can be; nobody knows where no leader was heard of yet.
    pub(super) fn staleness(&self) -> Option<Duration> {
        self.lock().leader.map(|heard| heard.elapsed())
    }

    /// When a node was last heard of.
    pub(super) fn heard(&self, node: NodeId) -> Option<Timestamp> {
        self.lock().nodes.get(&node).copied()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Times> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
