//! The consensus groups of a node: openraft over the node's one log, its peers' streams, and machines.
//!
//! ```text
//! Group::propose ─▶ budget ─▶ openraft ─▶ log::Log ─▶ the node's Wal       types: what openraft is used with
//!                       network ◀┤ ▲                                        codec: how that is written
//!  other nodes ◀─▶ Peers ─▶ serve ─┘
//!                                └──────▶ state::State ─▶ Machine::apply ─▶ answer
//!                                              └────────▶ snapshot::Store ─▶ transfer
//! ```
//!
//! [`Host`] runs all groups of a node, apart from everything else. Nothing outside of this crate knows openraft.

mod budget;
pub mod codec;
mod error;
mod forward;
mod group;
mod host;
pub mod log;
pub mod machine;
mod marks;
mod matched;
mod network;
mod pulse;
mod recover;
mod role;
mod serve;
pub mod snapshot;
mod snapshots;
pub mod state;
mod takeover;
mod timing;
mod transfer;
pub mod types;

pub use error::{ChangeError, ProposeError, ReadIndexError};
pub use group::{Group, Members, Progress, Proposal, Proposed};
pub use host::{Config, Host, OpenError, StartError};
pub use machine::{Applied, Frozen, Machine, RestoreError};
pub use marks::Marks;
pub use recover::{Found, RecoverError, Survivor};
pub use role::Role;
pub use snapshots::{SNAPSHOT_MARKS, SnapshotMarks};
pub use state::Stopped;
pub use timing::{ELECTION_TIMEOUT_MAX, ELECTION_TIMEOUT_MIN, TIMING, Timing};
pub use types::{COMMAND_BYTES_MAX, TooLarge};

/// One replica in openraft's hands.
pub(crate) type Raft = openraft::Raft<types::Types, state::State>;

/// An error with those that it comes from.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |error| error.source());
    sources.fold(error.to_string(), |text, source| format!("{text}: {source}"))
}
