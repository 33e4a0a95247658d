//! A catalog made that of a new cluster, which has one node of the old one.
//!
//! Documents with their history, keys, limits and the feature level stay as they are. What is of the old cluster's nodes goes:
//! the nodes, their alarms, tokens, certificates of operators (they name the old cluster), and stages of whoever was uploading.
//! Every shard is the one node's, as in a cluster that was just made; whether a replica is there is not known here.
//!
//! No command leads here, and no log: whoever does this has the only copy that counts.

use std::collections::BTreeSet;
use std::sync::Arc;

use quorate_types::{ClusterId, NodeId, ResourceName, Timestamp};

use super::Catalog;
use crate::cluster::Cluster;
use crate::node::{Node, NodeState, certificates};
use crate::proto::{self, Reason};
use crate::refusal::Refusal;
use crate::shard::Shard;

/// What the new cluster is.
#[derive(Clone, Debug)]
pub struct Recovery {
    /// Its id, which no cluster had before.
    pub cluster: ClusterId,
    /// The node that it begins with: one of the old cluster, in any state.
    pub node: NodeId,
    /// The certificates that the node may show there; at most 4.
    pub certificates: Vec<proto::Certificate>,
    /// The purposes of keys that end with the old cluster.
    pub ended: BTreeSet<ResourceName>,
    /// When the new cluster is made.
    pub at: Timestamp,
}

// === impl Catalog ===

impl Catalog {
    /// Returns this catalog as that of a new cluster of one node.
    ///
    /// # Errors
    /// [`Refusal`] when this is the state of no cluster, or of one that does not know the node.
    pub fn recovered(&self, recovery: &Recovery) -> Result<Self, Refusal> {
        let Some(cluster) = &self.cluster else {
            return Err(Refusal::new(Reason::NotBootstrapped, "cluster", "none", "the state of a cluster"));
        };
        if recovery.cluster == cluster.id {
            return Err(Refusal::invalid("cluster", recovery.cluster, "an id that no cluster had before"));
        }
        let id = recovery.node;
        let node = self.nodes.get(&id);
        let node = node.ok_or_else(|| Refusal::new(Reason::Unknown, "node", id, "a node that this catalog knows"))?;
        let certificates = certificates(&recovery.certificates)?;
        // Its life stays: the next one is later on the same disk.
        let node = Node { state: NodeState::Active, certificates, replaces: None, ..node.clone() };
        let shard = |number: &u32| {
            let voters = BTreeSet::from([id]);
            (*number, Shard { number: *number, version: 1, voters, learners: BTreeSet::new(), pending: None })
        };
        let time = self.time.max(recovery.at);
        let keys = self.keys.iter().filter(|((purpose, ..), _)| !recovery.ended.contains(purpose));
        Ok(Self {
            cluster: Some(Cluster { id: recovery.cluster, created_at: time, ..cluster.clone() }),
            time,
            nodes: Arc::new([(id, node)].into()),
            next_node: self.next_node,
            // In the new cluster nobody else had a number.
            forgotten: 0,
            tokens: Arc::default(),
            shards: Arc::new(self.shards.keys().map(shard).collect()),
            map_version: self.map_version,
            documents: self.documents.clone(),
            stages: Arc::default(),
            keys: Arc::new(keys.map(|(id, key)| (id.clone(), key.clone())).collect()),
            alarms: Arc::default(),
            operators: Arc::default(),
        })
    }
}
