//! The consensus groups of a node: openraft over the node's one log, its peers' streams, and machines.
//!
//! ```text
//! proposer ─▶ openraft ─▶ log::Log ─▶ the node's Wal                      types: what openraft is used with
//!                │                                                        codec: how that is written
//!                └──────▶ state::State ─▶ Machine::apply ─▶ answer
//!                              └────────▶ snapshot::Store
//! ```
//!
//! Nothing outside of this crate knows openraft.

pub mod codec;
pub mod log;
pub mod machine;
pub mod snapshot;
pub mod state;
pub mod types;
