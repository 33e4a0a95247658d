//! What a command changed, so that observers can be told.
//!
//! The state is what counts: an effect says where to look, and is never needed to know how things are. A snapshot that is
//! restored changes everything and has no effects.

use quorate_types::NodeId;

/// A part of the state that was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// There is a cluster.
    Bootstrapped,
    /// The feature level was raised to this.
    Level(u32),
    /// What operators can change of the limits was changed.
    Limits,
    /// A node was added, changed or removed.
    Node(NodeId),
    /// Tokens were issued, used, revoked or forgotten.
    Tokens,
    /// The replicas of a shard were changed.
    Shard(u32),
    /// Documents were changed, by this revision.
    Documents(u64),
    /// Versions of this key were changed.
    Key {
        /// Its purpose.
        purpose: String,
        /// Its id.
        id: String,
    },
    /// Alarms were raised or cleared.
    Alarms,
    /// Certificates of operators were listed, taken back or forgotten.
    Operators,
}
