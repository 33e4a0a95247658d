//! What a node tells the others of the revision that it runs, and what this one knows of them.
//!
//! On the board, under one key of each node: the revision that is active there, and of a newer one that is not, why. What
//! is known is as old as gossip; a node that is not heard of is there without a revision.

use prost::Message as _;
use quorate_catalog::NodeState;
use quorate_control::Control;
use quorate_proto::peer::v1::Following;
use quorate_types::NodeId;

/// The key on the board.
pub const KEY: &str = "follow";

/// The longest reason on the board in bytes: the rest is in the log of the node that said it.
const REASON_BYTES_MAX: usize = 1 << 10;

/// Which revision a node runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The revision that is active; none before the first, and while nothing is known of it.
    pub active: Option<u64>,
    /// A newer one that is not.
    pub refused: Option<Refused>,
}

/// A revision that a node cannot run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Which one.
    pub revision: u64,
    /// Why not; no secrets.
    pub reason: String,
}

/// Tells which revision a node runs, as far as this node knows.
#[must_use]
pub fn node(control: &Control, id: NodeId) -> Standing {
    control.host().peers().board().get(id, KEY).map(|said| hear(&said.value)).unwrap_or_default()
}

/// Tells which revision each node runs that is not removed, as far as this node knows.
#[must_use]
pub fn nodes(control: &Control) -> Vec<(NodeId, Standing)> {
    let catalog = control.catalog();
    let there = catalog.nodes().filter(|node| node.state != NodeState::Removed);
    there.map(|node| (node.id, self::node(control, node.id))).collect()
}

/// Tells the other nodes.
pub(crate) fn say(control: &Control, standing: &Standing) {
    let mut reason = standing.refused.as_ref().map(|refused| refused.reason.clone()).unwrap_or_default();
    if reason.len() > REASON_BYTES_MAX {
        reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
        reason.push('…');
    }
    let refused = standing.refused.as_ref().map(|refused| refused.revision);
    let following = Following { active: standing.active, refused, reason };
    if let Err(error) = control.host().peers().board().put(KEY, following.encode_to_vec()) {
        tracing::error!(%error, "the other nodes cannot be told which revision is active here");
    }
}

/// What cannot be read is of a version to come, and as good as nothing.
fn hear(said: &[u8]) -> Standing {
    let Ok(Following { active, refused, reason }) = Following::decode(said) else { return Standing::default() };
    Standing { active, refused: refused.map(|revision| Refused { revision, reason }) }
}
