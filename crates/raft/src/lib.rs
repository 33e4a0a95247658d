//! The consensus groups of a node: openraft over the node's one log, its peers' streams, and machines.
//!
//! [`types`] says what openraft is used with, [`codec`] how that is written. Nothing outside of this crate knows openraft.

pub mod codec;
pub mod types;
