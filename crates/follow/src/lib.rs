//! Makes each node run what the catalog's documents say.
//!
//! ```text
//!   Control::changed ─▶ Follower ─▶ Sets (compile, off the request path) ─▶ files ─▶ run (the gateway)
//!                          │
//!                          └─▶ Standing ─▶ the board: every node knows which revision runs where, or why not
//! ```
//!
//! The newest revision wins, and what cannot be run leaves what runs in place. Nothing here needs a quorum: the catalog is
//! the node's own copy. Unknown here: how sets are run, who changes documents, and what is allowed.

mod follower;
mod sets;
mod standing;

pub use follower::{Config, Follower, Run, TIMING, Timing};
pub use sets::{CompileError, Sets, WriteError};
pub use standing::{KEY, Refused, Standing, node, nodes};
