//! Commands about nodes.
//!
//! A number is given once, in order or as a node's own certificate has it; also that of a node that never came: who was given
//! it may come yet, and peers may remember what it was. A node that starts with an incarnation that was before is a copy of an
//! older disk: it must not vote with what it has forgotten, so it is refused.

use std::sync::Arc;

use quorate_types::NodeId;

use super::{Answer, Catalog, DONE, Step};
use crate::check::{self, Checked};
use crate::effect::Effect;
use crate::limits::{NODE_NUMBER_MAX, NODES_MAX, NUMBERS_LEVEL, REMOVED_NODES_MAX};
use crate::node::{self, Addresses, Certificate, Levels, Life, Node, NodeState};
use crate::proto::{self, Reason, outcome};
use crate::refusal::Refusal;

// === impl Catalog ===

impl Catalog {
    pub(super) fn add_node(&mut self, add: &proto::AddNode, step: &mut Step) -> Answer {
        let new = add.node.as_ref().ok_or_else(|| Refusal::invalid("node", "nothing", "a node"))?;
        let within = |refusal: Refusal| refusal.within(format_args!("node"));
        if let Some(before) = self.added_before(add, step.now)? {
            return Ok(outcome::Kind::NodeAdded(proto::NodeAdded { node: before.0 }));
        }
        let number = self.number(new.number).map_err(within)?;
        let node = Node::new(number, new, step.now).map_err(within)?;
        let token = self.usable_token(add, &node, step.now)?;
        if let Some(other) = self.living().find(|other| other.name == node.name) {
            let allowed = format_args!("a name that no node has: it is node {}'s", other.id).to_string();
            return Err(Refusal::new(Reason::Exists, "node.name", &node.name, allowed));
        }
        self.check_works(node.levels).map_err(within)?;
        self.check_certificates(node.id, &node.certificates).map_err(within)?;
        if self.living().count() >= NODES_MAX {
            return Err(Refusal::limit("node", "one more", format_args!("{NODES_MAX} nodes")));
        }

        let id = node.id;
        self.use_token(token, add, id, step)?;
        self.next_node = self.next_node.max(id.0 + 1);
        self.put_node(node, step);
        Ok(outcome::Kind::NodeAdded(proto::NodeAdded { node: id.0 }))
    }

    /// The number of a node that comes: the next one, or the one that it has in its certificate, when nobody had that.
    fn number(&self, own: u64) -> Checked<NodeId> {
        if own == 0 {
            return Ok(NodeId(self.next_node));
        }
        let id = own_number(self.this_cluster().level, own)?;
        if let Some(known) = self.nodes.get(&id) {
            let allowed = format_args!(
                "a number that no node has or had; node {} is {} under it: come with a certificate that has another number",
                known.name, known.state
            );
            return Err(Refusal::new(Reason::Exists, "number", id, allowed));
        }
        if own <= self.forgotten {
            let allowed = format_args!("more than {}: of lower numbers it is not known who had them", self.forgotten);
            return Err(Refusal::new(Reason::Exists, "number", id, allowed));
        }
        Ok(id)
    }

    pub(super) fn node_started(&mut self, started: &proto::NodeStarted, step: &mut Step) -> Answer {
        let node = self.living_node("node", started.node)?;
        let life = Life::check(started.incarnation, &started.start)?;
        let levels = Levels::check(started.level_min, started.level_max)?;
        self.check_works(levels)?;
        if let Some(last) = node.life.as_ref().filter(|last| life.incarnation <= last.incarnation && life != **last) {
            let allowed = format_args!("more than {}, of the node's last start", last.incarnation);
            return Err(Refusal::new(Reason::StaleDisk, "incarnation", life.incarnation, allowed));
        }
        let node = Node { life: Some(life), levels, ..node.clone() };
        self.put_node(node, step);
        DONE
    }

    pub(super) fn update_node(&mut self, update: &proto::UpdateNode, step: &mut Step) -> Answer {
        let node = self.living_node("node", update.node)?;
        let addresses = Addresses::check(&update.peer_address, &update.admin_address, &update.data_address)?;
        let node = Node { addresses, rack: node::rack(&update.rack)?, ..node.clone() };
        self.put_node(node, step);
        DONE
    }

    pub(super) fn set_node_state(&mut self, set: &proto::SetNodeState, step: &mut Step) -> Answer {
        let node = self.living_node("node", set.node)?;
        let state = NodeState::check("state", set.state())?;
        let next = node.state.next();
        if state != node.state && !next.contains(&state) {
            let next: Vec<_> = next.iter().map(|state| state.as_str()).collect();
            let allowed = format_args!("{}, since the node is {}", next.join(" or "), node.state).to_string();
            return Err(Refusal::new(Reason::State, "state", state, allowed));
        }
        let node = Node { state, ..node.clone() };
        self.put_node(node, step);
        DONE
    }

    pub(super) fn set_certificates(&mut self, set: &proto::SetCertificates, step: &mut Step) -> Answer {
        let node = self.living_node("node", set.node)?;
        let certificates = node::certificates(&set.certificates)?;
        self.check_certificates(node.id, &certificates)?;
        let node = Node { certificates, ..node.clone() };
        self.put_node(node, step);
        DONE
    }

    pub(super) fn replace_node(&mut self, replace: &proto::ReplaceNode, step: &mut Step) -> Answer {
        let old = self.living_node("old", replace.old)?;
        let new = self.living_node("new", replace.new)?;
        if old.id == new.id {
            return Err(Refusal::invalid("new", new.id, "another node than the old one"));
        }
        if !matches!(new.state, NodeState::Joining | NodeState::Active) {
            let allowed = format_args!("a node that is joining or active, this one is {}", new.state).to_string();
            return Err(Refusal::new(Reason::State, "new", new.id, allowed));
        }
        let new = Node { replaces: Some(old.id), ..new.clone() };
        let old = Node { state: NodeState::Leaving, ..old.clone() };
        self.put_node(old, step);
        self.put_node(new, step);
        DONE
    }

    pub(super) fn remove_node(&mut self, remove: &proto::RemoveNode, step: &mut Step) -> Answer {
        let node = self.living_node("node", remove.node)?;
        if self.living().count() == 1 {
            return Err(Refusal::new(Reason::State, "node", node.id, "not the last node"));
        }
        let placed = self.shards.values().filter(|shard| shard.nodes().any(|id| id == node.id)).count();
        if placed > 0 && !remove.force {
            let allowed = format_args!("a node that holds nothing: {placed} shards are placed on it; force removes it");
            return Err(Refusal::new(Reason::State, "node", node.id, allowed));
        }
        let node = Node { state: NodeState::Removed, ..node.clone() };
        let alarms = Arc::make_mut(&mut self.alarms);
        let before = alarms.len();
        alarms.retain(|(of, _), _| *of != node.id);
        if alarms.len() < before {
            step.effects.push(Effect::Alarms);
        }
        self.put_node(node, step);
        self.forget_nodes();
        DONE
    }

    pub(crate) fn living(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values().filter(|node| node.lives())
    }

    pub(super) fn living_node(&self, field: &str, id: u64) -> Checked<&Node> {
        let node = self.nodes.get(&NodeId(id)).filter(|node| node.lives());
        node.ok_or_else(|| Refusal::unknown(field, id, "a node of the cluster that is not removed"))
    }

    /// Whether nodes with these levels can be in the cluster.
    fn check_works(&self, levels: Levels) -> Checked<()> {
        let level = self.this_cluster().level;
        if levels.contain(level) {
            return Ok(());
        }
        let allowed = format_args!("a range with {level}, the cluster's feature level");
        Err(Refusal::new(Reason::Level, "level_min", levels, allowed))
    }

    /// Whether certificates are a node's alone.
    fn check_certificates(&self, id: NodeId, certificates: &[Certificate]) -> Checked<()> {
        for (index, certificate) in certificates.iter().enumerate() {
            let same = |other: &Certificate| other.fingerprint == certificate.fingerprint;
            let others = self.living().filter(|node| node.id != id);
            if certificates[..index].iter().any(same) || others.flat_map(|node| &node.certificates).any(same) {
                let field = format!("certificates[{index}].fingerprint");
                return Err(Refusal::new(Reason::Exists, &field, "taken", "a certificate that is one node's, once"));
            }
        }
        Ok(())
    }

    fn put_node(&mut self, node: Node, step: &mut Step) {
        step.effects.push(Effect::Node(node.id));
        Arc::make_mut(&mut self.nodes).insert(node.id, node);
    }

    /// The highest number that was given and is not known any more, where all were given in order.
    pub(super) fn forgotten_in_order(&self) -> u64 {
        let is_forgotten = |number: &u64| !self.nodes.contains_key(&NodeId(*number));
        (1..self.next_node).rev().find(is_forgotten).unwrap_or(0)
    }

    /// Forgets removed nodes beyond the limit, those with the lowest numbers first; never one that is still placed on.
    pub(super) fn forget_nodes(&mut self) {
        let placed = |id: &NodeId| self.shards.values().any(|shard| shard.nodes().any(|node| node == *id));
        let removed = self.nodes.values().filter(|node| !node.lives() && !placed(&node.id)).map(|node| node.id);
        let removed: Vec<_> = removed.collect();
        let surplus = removed.len().saturating_sub(REMOVED_NODES_MAX);
        let Some(last) = removed[..surplus].last() else { return };
        if self.this_cluster().level >= NUMBERS_LEVEL {
            self.forgotten = self.forgotten.max(last.0);
        }
        let nodes = Arc::make_mut(&mut self.nodes);
        for id in &removed[..surplus] {
            nodes.remove(id);
        }
    }
}

/// The number that a node has in its certificate, in a cluster at a feature level.
pub(super) fn own_number(level: u32, own: u64) -> Checked<NodeId> {
    if level < NUMBERS_LEVEL {
        let allowed = format_args!("0 below feature level {NUMBERS_LEVEL}: the cluster gives the number");
        return Err(Refusal::new(Reason::Level, "number", own, allowed));
    }
    check::within("number", own, &(1..=NODE_NUMBER_MAX)).map(NodeId)
}
