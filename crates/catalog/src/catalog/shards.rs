//! The command about the shard map.
//!
//! Each shard has a version of its own, so that two who change different shards do not refuse each other. The map says
//! what shall be; the group's own membership is changed by who carries it out.

use std::sync::Arc;

use super::{Answer, Catalog, Step};
use crate::check;
use crate::effect::Effect;
use crate::proto::{self, Reason, outcome};
use crate::refusal::Refusal;
use crate::shard::Shard;

// === impl Catalog ===

impl Catalog {
    pub(super) fn set_replicas(&mut self, set: &proto::SetReplicas, step: &mut Step) -> Answer {
        check::small("shard", set.shard, 1..=self.this_cluster().groups)?;
        let before = self.shards.get(&set.shard).expect("every number up to the groups has its shard");
        if set.expected_version != before.version {
            return Err(Refusal::new(Reason::Conflict, "expected_version", set.expected_version, before.version));
        }
        let shard = Shard::from_proto(&proto::Shard {
            shard: set.shard,
            version: self.map_version + 1,
            voters: set.voters.clone(),
            learners: set.learners.clone(),
            pending: set.pending,
        })?;
        for node in shard.nodes() {
            // A node that was removed by force is there until it is moved away from.
            if !before.nodes().any(|there| there == node) {
                self.living_node("voters", node.0)?;
            }
        }
        self.map_version += 1;
        let version = shard.version;
        Arc::make_mut(&mut self.shards).insert(shard.number, shard);
        self.forget_nodes();
        step.effects.push(Effect::Shard(set.shard));
        Ok(outcome::Kind::Replicas(proto::Replicas { version }))
    }
}
