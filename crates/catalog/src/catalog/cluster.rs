//! Commands about the cluster as a whole.
//!
//! The first command makes it, with its first node and all shards on that one. The feature level only rises, and only to
//! what every node has said it can do; limits are not lowered below what there is of documents.

use std::collections::BTreeSet;
use std::sync::Arc;

use quorate_types::{ClusterId, NodeId};

use super::nodes::own_number;
use super::{Answer, Catalog, DONE, Step};
use crate::check;
use crate::cluster::Cluster;
use crate::effect::Effect;
use crate::limits::{
    DEFAULTS, GROUPS_DEFAULT, GROUPS_MAX, Limits, NUMBERS_LEVEL, REPLICATION_DEFAULT, REPLICATION_MAX,
};
use crate::node::{Node, NodeState};
use crate::proto::{self, Reason};
use crate::refusal::Refusal;
use crate::shard::Shard;

// === impl Catalog ===

impl Catalog {
    pub(super) fn bootstrap(&mut self, needed: u32, bootstrap: &proto::Bootstrap, step: &mut Step) -> Answer {
        if let Some(cluster) = &self.cluster {
            let allowed = "once: this is the state of a cluster";
            return Err(Refusal::new(Reason::Bootstrapped, "cluster", cluster.id, allowed));
        }
        let id = ClusterId(check::array("cluster", &bootstrap.cluster)?);
        let level = check::small("level", bootstrap.level, needed.max(1)..=u32::MAX)?;
        let groups = check::small("groups", or_default(bootstrap.groups, GROUPS_DEFAULT), 1..=GROUPS_MAX)?;
        let replication = or_default(bootstrap.replication, REPLICATION_DEFAULT);
        let replication = check::small("replication", replication, 1..=REPLICATION_MAX)?;
        let limits = bootstrap.limits.as_ref().map(Limits::check).transpose()?.unwrap_or(DEFAULTS);
        let node = bootstrap.node.as_ref().ok_or_else(|| Refusal::invalid("node", "nothing", "the first node"))?;
        let within = |refusal: Refusal| refusal.within(format_args!("node"));
        let first = match node.number {
            0 => NodeId(1),
            own => own_number(level, own).map_err(within)?,
        };
        let node = Node::new(first, node, step.now).map_err(within)?;
        if !node.levels.contain(level) {
            return Err(Refusal::new(Reason::Level, "level", level, node.levels));
        }

        let shard = |number| {
            let voters = BTreeSet::from([first]);
            (number, Shard { number, version: 1, voters, learners: BTreeSet::new(), pending: None })
        };
        self.shards = Arc::new((1..=groups).map(shard).collect());
        self.map_version = 1;
        self.nodes = Arc::new([(first, Node { state: NodeState::Active, ..node })].into());
        self.next_node = first.0 + 1;
        self.cluster = Some(Cluster { id, level, created_at: step.now, groups, replication, limits });
        step.effects.push(Effect::Bootstrapped);
        DONE
    }

    pub(super) fn raise_level(&mut self, raise: &proto::RaiseLevel, step: &mut Step) -> Answer {
        let cluster = self.this_cluster();
        if raise.to <= cluster.level {
            return Err(Refusal::invalid("to", raise.to, format_args!("more than {}", cluster.level)));
        }
        if let Some(node) = self.nodes.values().find(|node| node.lives() && !node.levels.contain(raise.to)) {
            let allowed = format_args!("{}, what node {} can work at", node.levels, node.name).to_string();
            return Err(Refusal::new(Reason::Level, "to", raise.to, allowed));
        }
        if cluster.level < NUMBERS_LEVEL && raise.to >= NUMBERS_LEVEL {
            self.forgotten = self.forgotten_in_order();
        }
        self.cluster = Some(Cluster { level: raise.to, ..self.this_cluster().clone() });
        step.effects.push(Effect::Level(raise.to));
        DONE
    }

    pub(super) fn set_limits(&mut self, set: &proto::SetLimits, step: &mut Step) -> Answer {
        let limits = set.limits.as_ref().ok_or_else(|| Refusal::invalid("limits", "nothing", "limits"))?;
        let limits = Limits::check(limits)?;
        let used = self.documents.current().len() as u64;
        if limits.documents_max < used {
            let allowed = format_args!("at least {used}, what there is");
            return Err(Refusal::new(Reason::State, "limits.documents_max", limits.documents_max, allowed));
        }
        let used = self.documents.bytes();
        if limits.documents_bytes_max < used {
            let allowed = format_args!("at least {used}, what there is");
            return Err(Refusal::new(Reason::State, "limits.documents_bytes_max", limits.documents_bytes_max, allowed));
        }
        self.cluster = Some(Cluster { limits, ..self.this_cluster().clone() });
        self.documents.trim(&limits);
        step.effects.push(Effect::Limits);
        DONE
    }
}

const fn or_default(value: u32, default: u32) -> u32 {
    if value == 0 { default } else { value }
}
