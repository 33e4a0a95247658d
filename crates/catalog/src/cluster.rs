//! What there is once: the cluster itself.
//!
//! Made by the first command; only its feature level and limits change later.

use quorate_types::{ClusterId, Timestamp};

use crate::limits::Limits;

/// The cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Its id.
    pub id: ClusterId,
    /// Its feature level: what every node can do.
    pub level: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// How many shard groups there are, numbered from 1.
    pub groups: u32,
    /// How many replicas a shard has where there are nodes enough.
    pub replication: u32,
    /// What operators can change.
    pub limits: Limits,
}
