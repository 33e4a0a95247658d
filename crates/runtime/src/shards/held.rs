//! What operators are shown of the shards: the records of which this node has a replica, and who owns them.
//!
//! Reads are of the replica as it is, whoever leads: they ask nobody, and may be behind by what is under way. The lock of a
//! replica is held for a few records at a time, since commands wait for it.

use std::sync::{Arc, PoisonError};

use quorate_session::record::{Record, proto};
use quorate_types::NodeId;

use super::{Replica, Shards, Touched};

// === impl Shards ===

impl Shards {
    /// Returns the shards of which this node has a replica, in order.
    #[must_use]
    pub fn held(&self) -> Vec<u32> {
        self.shared.open.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    /// Returns who owns a shard, as far as this node knows.
    #[must_use]
    pub fn owner(&self, shard: u32) -> Option<NodeId> {
        match self.locate(shard) {
            super::Where::Here(_) => self.shared.joined.get().map(|joined| joined.node),
            super::Where::There(node) => Some(node),
            super::Where::Unknown => None,
        }
    }

    /// Returns at most `count` records of a shard with their keys, in order, from a key on; none of a shard of which this
    /// node has no replica.
    #[must_use]
    pub fn records_from(&self, shard: u32, first: u128, count: usize) -> Vec<(u128, Arc<Record>)> {
        let Some(replica) = self.replica(shard) else { return Vec::new() };
        let held = replica.lock();
        held.from(first).take(count).map(|(key, record)| (key, Arc::clone(record))).collect()
    }

    /// Returns a session's record, where this node has a replica of its shard.
    #[must_use]
    pub fn record(&self, shard: u32, session: u128) -> Option<Arc<Record>> {
        self.replica(shard)?.lock().get(session).map(|(_, record)| Arc::clone(record))
    }

    /// Returns at most `count` sessions of a shard that ended lately with their keys, in order, from a key on.
    #[must_use]
    pub fn ended_from(&self, shard: u32, first: u128, count: usize) -> Vec<(u128, Arc<proto::Ended>)> {
        let Some(replica) = self.replica(shard) else { return Vec::new() };
        let mut ended: Vec<_> = {
            let held = replica.lock();
            let later = held.ended_last().filter(|(key, _)| *key >= first);
            later.map(|(key, ended)| (key, Arc::clone(ended))).collect()
        };
        ended.sort_by_key(|(key, _)| *key);
        ended.truncate(count);
        ended
    }

    /// Returns what is known of a session that ended lately.
    #[must_use]
    pub fn ended(&self, shard: u32, session: u128) -> Option<Arc<proto::Ended>> {
        self.replica(shard)?.lock().ended(session).map(Arc::clone)
    }

    /// How many sessions this node owns.
    #[must_use]
    pub fn count_owned(&self) -> usize {
        self.all_owned().iter().map(|owned| owned.replica.lock().len()).sum()
    }

    /// Begins to gather which sessions change in the shards of which this node has a replica.
    #[must_use]
    pub fn watch(&self) -> Touched {
        self.shared.watchers.watch()
    }

    fn replica(&self, shard: u32) -> Option<Replica> {
        if !self.shared.open.read().unwrap_or_else(PoisonError::into_inner).contains_key(&shard) {
            return None;
        }
        self.shared.replicas.read().unwrap_or_else(PoisonError::into_inner).get(&shard).cloned()
    }
}
