//! What each node has and does, told to all: on the board, once a second, as counts since the node started.
//!
//! Rates are for who asks: differences of two answers, by the times at which the node told. A node that tells nothing any more
//! keeps the time at which it did.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prost::Message as _;
use quorate_control::Control;
use quorate_gateway::node::Gateway;
use quorate_proto::admin::v1;
use quorate_telemetry::Metrics;
use quorate_types::NodeId;

use super::node::{Membership, Node, Standing};
use super::server::now;
use super::timestamp;

/// The key on the board.
const KEY: &str = "node.load";
/// How often a node tells.
const EVERY: Duration = Duration::from_secs(1);

/// Tells the other nodes, from when the node is a member and serves on.
pub async fn tell(node: Node, gateway: Arc<OnceLock<Gateway>>, metrics: Metrics) {
    loop {
        if let (Standing::Member(member), Some(gateway)) = (node.standing(), gateway.get()) {
            let load = now_of(&*member, gateway, &metrics);
            // It fits: seven numbers, and the node has few keys.
            let _is_put = member.control().host().peers().board().put(KEY, load.encode_to_vec());
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// What a node told last; nothing where it has not, or tells what this one cannot read.
pub(super) fn of(control: &Control, node: NodeId) -> Option<v1::NodeLoad> {
    let posted = control.host().peers().board().get(node, KEY)?;
    v1::NodeLoad::decode(&posted.value[..]).ok()
}

fn now_of(member: &dyn Membership, gateway: &Gateway, metrics: &Metrics) -> v1::NodeLoad {
    let (tally, sessions) = (metrics.tally(), gateway.sessions());
    let catalog = member.control().catalog();
    let life = catalog.node(member.id()).and_then(|node| node.life.as_ref().map(|life| life.incarnation.0));
    let (owned, awake) = (sessions.shards().count_owned(), sessions.count());
    v1::NodeLoad {
        at: Some(timestamp(now())),
        incarnation: life.unwrap_or_default(),
        requests: tally.requests,
        events: tally.events,
        takeovers: tally.takeovers,
        sessions: count(owned),
        sessions_awake: count(awake),
    }
}

fn count(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
