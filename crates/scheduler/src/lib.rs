//! Choice of an endpoint among replicas: health, ejection with back-off, balance.
//!
//! [`Replicas`] is a pure machine: `now` and `entropy` are arguments, checks and calls are made by
//! its owner, which reports how they ended. Health comes from calls (passive) and from checks
//! (active); a replica that fails is ejected for a while that doubles, comes back on probation,
//! and is never refused when nobody else is left.
//!
//! It does not know what a replica is: URLs, connections and sessions are the owner's.

#![warn(clippy::wildcard_enum_match_arm)]

mod budget;
mod config;
mod replica;
mod replicas;
mod snapshot;
mod targets;

pub use budget::{Budget, RETRIES_SAVED_MAX};
pub use config::Config;
pub use replicas::{Change, Outcome, Pick, Replicas};
pub use snapshot::{ReplicaSnapshot, ReplicaState, Snapshot};
pub use targets::{Choice, Elsewhere, TargetSnapshot, Targets, Terms};
