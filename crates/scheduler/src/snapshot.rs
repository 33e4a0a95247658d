//! What an operator sees of a set of replicas: plain data for the admin address, metrics, tests.
//!
//! Derived from the machine by [`Replicas::observe`](crate::Replicas::observe); nothing decides by
//! it.

use serde::Serialize;

/// What each replica of a set is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// The replicas, in the order of their URLs.
    pub replicas: Vec<ReplicaSnapshot>,
}

/// What one replica is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ReplicaSnapshot {
    /// Its health.
    pub state: ReplicaState,
    /// Calls that are out.
    pub in_flight: u32,
    /// Ejections that are not forgotten.
    pub ejections: u32,
}

/// The health of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplicaState {
    /// It takes calls.
    Healthy,
    /// It takes one call at a time to prove itself.
    Probation,
    /// It takes calls only when nobody else can.
    Ejected,
}

// === impl Snapshot ===

impl Snapshot {
    /// Returns how many replicas are not ejected.
    #[must_use]
    pub fn usable(&self) -> usize {
        self.replicas.iter().filter(|replica| replica.state != ReplicaState::Ejected).count()
    }

    /// Returns how many replicas there are.
    #[must_use]
    pub fn total(&self) -> usize {
        self.replicas.len()
    }
}
