//! What a node knows of its cluster, as one message.
//!
//! Made of the node's own copy of the catalog, of the groups that it has a replica of, and of what the others say on the board.
//! How old that can be is said with it. Nothing here waits.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_catalog::{Catalog, Node as Known, NodeState, Shard};
use quorate_control::{Control, META};
use quorate_peer::Link;
use quorate_proto::admin::v1;
use quorate_types::{NodeId, Timestamp};
use quorate_wal::GroupId;

use super::super::load;
use super::super::node::{Membership, Standing};
use super::super::server::now;
use super::seen::{Seen, VERSION};

/// The status of a node that is in no cluster.
pub(super) fn outside(standing: &Standing) -> v1::GetStatusResponse {
    let (mode, has_files) = match standing {
        Standing::Alone => (v1::NodeMode::Alone, false),
        Standing::Waiting(waiting) => (v1::NodeMode::Waiting, waiting.has_certificate_files()),
        Standing::Member(member) => (v1::NodeMode::Waiting, member.has_certificate_files()),
    };
    v1::GetStatusResponse { mode: mode.into(), certificates_from_files: has_files, ..v1::GetStatusResponse::default() }
}

/// The status of a member; `staleness` is how old its catalog can be.
pub(super) fn of(
    member: &dyn Membership,
    catalog: &Catalog,
    seen: &Seen,
    staleness: Option<Duration>,
) -> v1::GetStatusResponse {
    let control = member.control();
    let led = control.led();
    let view = View { member, control, catalog, seen, led: &led };
    let cluster = catalog.cluster();
    v1::GetStatusResponse {
        cluster_id: member.trust().cluster().to_string(),
        feature_level: cluster.map_or(0, |cluster| cluster.level),
        node: member.id().0,
        mode: v1::NodeMode::Member.into(),
        nodes: catalog.nodes().filter(|node| node.lives()).map(|node| view.node(node)).collect(),
        meta: Some(view.meta()),
        shards: catalog.shards().map(|shard| view.shard(shard)).collect(),
        active_revision: view.active(member.id()),
        alarms: catalog.alarms().map(alarm).collect(),
        staleness: staleness.map(duration),
        time: Some(timestamp(now())),
        authority: member.authority(catalog),
        certificates_from_files: member.has_certificate_files(),
    }
}

/// Whether two answers tell an operator the same: times go on by themselves.
pub(super) fn says_the_same(one: &v1::GetStatusResponse, other: &v1::GetStatusResponse) -> bool {
    let timeless = |status: &v1::GetStatusResponse| {
        let mut status = status.clone();
        (status.staleness, status.time) = (None, None);
        status.nodes.iter_mut().for_each(|node| (node.last_heard, node.load) = (None, None));
        if let Some(meta) = &mut status.meta {
            (meta.committed, meta.applied) = (0, 0);
        }
        status
    };
    timeless(one) == timeless(other)
}

/// What the parts of a status are made of.
struct View<'a> {
    member: &'a dyn Membership,
    control: &'a Control,
    catalog: &'a Catalog,
    seen: &'a Seen,
    led: &'a BTreeMap<NodeId, BTreeSet<GroupId>>,
}

// === impl View ===

impl View<'_> {
    fn node(&self, node: &Known) -> v1::Node {
        let (health, findings) = self.health(node.id);
        let placed = self.catalog.shards().filter(|shard| shard.nodes().any(|id| id == node.id)).count();
        let led = self.led.get(&node.id).map_or(0, |led| led.iter().filter(|group| **group != META).count());
        let ends = node.certificates.iter().map(|certificate| certificate.not_after).max();
        v1::Node {
            id: node.id.0,
            name: node.name.as_str().to_owned(),
            state: state(node.state).into(),
            incarnation: node.life.as_ref().map_or(0, |life| life.incarnation.0),
            peer_address: node.addresses.peer.clone(),
            admin_address: node.addresses.admin.clone().unwrap_or_default(),
            data_address: node.addresses.data.clone().unwrap_or_default(),
            rack: node.rack.clone().unwrap_or_default(),
            version: self.version(node.id),
            feature_level_min: node.levels.min,
            feature_level_max: node.levels.max,
            health: health.into(),
            findings,
            groups: count(placed),
            groups_led: count(led),
            active_revision: self.active(node.id),
            joined_at: Some(timestamp(node.joined_at)),
            last_heard: self.seen.heard(node.id).map(timestamp),
            certificate_expires: ends.map(timestamp),
            load: load::of(self.control, node.id),
        }
    }

    /// How a node does: of itself it knows, also where the catalog was not told yet; of others whether they are reached and
    /// what alarms say.
    fn health(&self, id: NodeId) -> (v1::NodeHealth, Vec<String>) {
        let is_itself = id == self.member.id();
        let mut findings: Vec<String> = if is_itself {
            self.member.findings().into_values().collect()
        } else {
            self.catalog.alarms().filter(|alarm| alarm.node == id).map(|alarm| alarm.message.clone()).collect()
        };
        if !is_itself && !is_reached(self.control, id) {
            findings.insert(0, format!("node {} does not reach it", self.member.id()));
            return (v1::NodeHealth::Unreachable, findings);
        }
        if let Some(refused) = quorate_follow::node(self.control, id).refused {
            findings.push(format!("revision {} is not active there: {}", refused.revision, refused.reason));
        }
        let health = if findings.is_empty() { v1::NodeHealth::Healthy } else { v1::NodeHealth::Degraded };
        (health, findings)
    }

    fn meta(&self) -> v1::MetaStatus {
        let meta = self.control.meta();
        let (members, progress) = (meta.members(), meta.progress());
        v1::MetaStatus {
            leader: meta.role().borrow().leader().map_or(0, |leader| leader.0),
            term: progress.term,
            voters: numbers(&members.voters),
            learners: numbers(&members.learners),
            committed: progress.committed,
            applied: progress.applied,
        }
    }

    /// A shard as its group is here, else as the map has it.
    fn shard(&self, shard: &Shard) -> v1::ShardStatus {
        let id = GroupId(shard.number);
        let said = || self.led.iter().find(|(_, led)| led.contains(&id)).map_or(0, |(node, _)| node.0);
        let mut target = shard.voters.clone();
        if let Some(pending) = shard.pending {
            target.extend(pending.to);
            pending.from.map(|from| target.remove(&from));
        }
        let (leader, term, voters, learners) = match self.control.host().group(id) {
            Some(group) => {
                let members = group.members();
                let leader = group.role().borrow().leader().map_or_else(said, |leader| leader.0);
                (leader, group.progress().term, members.voters, members.learners)
            }
            None => (said(), 0, shard.voters.clone(), shard.learners.clone()),
        };
        // A group that is just opened knows nobody yet.
        let voters = if voters.is_empty() { shard.voters.clone() } else { voters };
        let target = if target == voters { Vec::new() } else { numbers(&target) };
        let (voters, learners) = (numbers(&voters), numbers(&learners));
        v1::ShardStatus { shard: shard.number, leader, term, voters, learners, target }
    }

    fn active(&self, id: NodeId) -> u64 {
        quorate_follow::node(self.control, id).active.unwrap_or_default()
    }

    fn version(&self, id: NodeId) -> String {
        let posted = self.control.host().peers().board().get(id, VERSION);
        posted.and_then(|posted| String::from_utf8(posted.value.to_vec()).ok()).unwrap_or_default()
    }
}

/// Whether the stream to a node is there.
pub(super) fn is_reached(control: &Control, id: NodeId) -> bool {
    control.host().peers().link(id).is_some_and(|link| matches!(*link.borrow(), Link::Connected { .. }))
}

fn alarm(alarm: &quorate_catalog::Alarm) -> v1::Alarm {
    v1::Alarm {
        node: alarm.node.0,
        kind: alarm.kind.as_str().to_owned(),
        message: alarm.message.clone(),
        since: Some(timestamp(alarm.since)),
    }
}

fn state(state: NodeState) -> v1::NodeState {
    match state {
        NodeState::Joining => v1::NodeState::Joining,
        NodeState::Active => v1::NodeState::Active,
        NodeState::Draining => v1::NodeState::Draining,
        NodeState::Leaving => v1::NodeState::Leaving,
        NodeState::Removed => v1::NodeState::Removed,
    }
}

fn numbers(nodes: &BTreeSet<NodeId>) -> Vec<u64> {
    nodes.iter().map(|node| node.0).collect()
}

fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// A time as protobuf has it.
#[must_use]
pub fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    let millis = at.as_millis();
    let seconds = i64::try_from(millis / 1000).unwrap_or(i64::MAX);
    let nanos = i32::try_from(millis % 1000 * 1_000_000).expect("it is less than a second");
    prost_types::Timestamp { seconds, nanos }
}

/// A duration as protobuf has it.
fn duration(of: Duration) -> prost_types::Duration {
    let seconds = i64::try_from(of.as_secs()).unwrap_or(i64::MAX);
    let nanos = i32::try_from(of.subsec_nanos()).expect("it is less than a second");
    prost_types::Duration { seconds, nanos }
}
