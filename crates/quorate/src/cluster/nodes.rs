//! `quorate cluster drain|undrain|leave|remove|replace|transfer|snapshot`: what is done with nodes.
//!
//! Each tells on stderr what was begun and how to see it end: the cluster does the work by itself.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use quorate_proto::admin::v1 as proto;

use super::node;
use crate::answer;
use crate::cli::cluster::{NodeOnlyArgs, RemoveArgs, ReplaceArgs, SnapshotArgs, TransferArgs};
use crate::exit::Failure;
use crate::{output, target};

/// How long moving everything away from a node may take: what a node gives it at most. The cluster goes on afterwards, too.
const MOVING_TIMEOUT: Duration = Duration::from_secs(600);

const SEE: &str = "`quorate cluster status --watch` shows it";

pub(super) async fn drain(context: Option<&Path>, args: &NodeOnlyArgs) -> Result<(), Failure> {
    let client = target::client(context, &args.target)?;
    let node = node(&client, &args.node).await?;
    client.call(proto::DrainNodeRequest { node: node.id }).await.map_err(target::of_client)?;
    say(&node, &format!("is being drained: what it leads and serves moves away ({SEE})"));
    Ok(())
}

pub(super) async fn undrain(context: Option<&Path>, args: &NodeOnlyArgs) -> Result<(), Failure> {
    let client = target::client(context, &args.target)?;
    let node = node(&client, &args.node).await?;
    client.call(proto::UndrainNodeRequest { node: node.id }).await.map_err(target::of_client)?;
    say(&node, "takes work again");
    Ok(())
}

/// As [`remove`] of a node that runs: it moves away what it holds first.
pub(super) async fn leave(context: Option<&Path>, args: &NodeOnlyArgs) -> Result<(), Failure> {
    let client = target::client(context, &args.target)?.within(MOVING_TIMEOUT);
    let node = node(&client, &args.node).await?;
    say(&node, &format!("is leaving: what it holds moves away first ({SEE})"));
    client.call(proto::RemoveNodeRequest { node: node.id, forced: false }).await.map_err(target::of_client)?;
    say(&node, "is removed; its data directory is worth nothing any more");
    Ok(())
}

pub(super) async fn remove(context: Option<&Path>, args: &RemoveArgs) -> Result<(), Failure> {
    let client = target::client(context, &args.target)?.within(MOVING_TIMEOUT);
    let node = node(&client, &args.node).await?;
    let request = proto::RemoveNodeRequest { node: node.id, forced: args.force };
    client.call(request).await.map_err(target::of_client)?;
    if args.force {
        say(&node, "is removed; its data directory is worth nothing any more and must not be started again");
    } else {
        say(&node, "is removed; its data directory is worth nothing any more");
    }
    Ok(())
}

pub(super) async fn replace(context: Option<&Path>, args: &ReplaceArgs) -> Result<(), Failure> {
    let client = target::client(context, &args.target)?.within(MOVING_TIMEOUT);
    let (old, new) = (node(&client, &args.node).await?, node(&client, &args.by).await?);
    let request = proto::ReplaceNodeRequest { node: old.id, by: new.id };
    let by = answer::node(new.id, &new.name);
    say(&old, &format!("is being replaced by node {by} ({SEE})"));
    client.call(request).await.map_err(target::of_client)?;
    say(&old, "is removed; its data directory is worth nothing any more");
    Ok(())
}

pub(super) async fn transfer(context: Option<&Path>, args: &TransferArgs) -> Result<(), Failure> {
    let client = target::client(context, &args.target)?;
    let node = node(&client, &args.to).await?;
    let status = client.call(proto::GetStatusRequest::default()).await.map_err(target::of_client)?;
    let mut all = proto::TransferLeaderResponse::default();
    // A node hands over what it leads: each leader is asked, at its own address. A socket is of one node.
    for (leader, groups) in by_leader(&status, &args.groups) {
        let request = proto::TransferLeaderRequest { to: node.id, groups };
        let address = status.nodes.iter().find(|one| one.id == leader).and_then(|one| one.admin_address.parse().ok());
        let moved = match address {
            Some(address) if !client.is_local() => client.at(&address).call(request).await,
            Some(_) | None => client.call(request).await,
        };
        all.moved.extend(moved.map_err(target::of_client)?.moved);
    }
    answer::print::<proto::TransferLeaderRequest>(args.output.output, &all, |answer| {
        groups(&format!("node {} leads now", answer::node(node.id, &node.name)), &answer.moved)
    })
}

/// The groups with the nodes that lead them; all that the asked node leads when none is named.
fn by_leader(status: &proto::GetStatusResponse, groups: &[u32]) -> BTreeMap<u64, Vec<u32>> {
    if groups.is_empty() {
        return BTreeMap::from([(status.node, Vec::new())]);
    }
    let mut by_leader: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    for group in groups {
        let leader = match group {
            0 => status.meta.as_ref().map(|meta| meta.leader),
            _ => status.shards.iter().find(|shard| shard.shard == *group).map(|shard| shard.leader),
        };
        // Where nobody leads, the asked node says so.
        let leader = leader.filter(|leader| *leader != 0).unwrap_or(status.node);
        by_leader.entry(leader).or_default().push(*group);
    }
    by_leader
}

pub(super) async fn snapshot(context: Option<&Path>, args: &SnapshotArgs) -> Result<(), Failure> {
    let client = target::client(context, &args.target)?;
    let request = proto::SnapshotRequest { groups: args.groups.clone() };
    let taken = client.call(request).await.map_err(target::of_client)?;
    answer::print::<proto::SnapshotRequest>(args.output.output, &taken, |answer| groups("snapshots of", &answer.taken))
}

fn say(node: &proto::Node, what: &str) {
    output::note(&output::visible(&format!("node {} {what}", answer::node(node.id, &node.name))));
}

fn groups(what: &str, groups: &[u32]) -> String {
    if groups.is_empty() {
        return format!("{what}: nothing\n");
    }
    let numbers: Vec<String> = groups.iter().map(ToString::to_string).collect();
    let word = if groups.len() == 1 { "group" } else { "groups" };
    format!("{what}: {word} {}\n", numbers.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_leader_is_asked_for_what_it_leads() {
        let shard = |shard, leader| proto::ShardStatus { shard, leader, ..proto::ShardStatus::default() };
        let status = proto::GetStatusResponse {
            node: 1,
            meta: Some(proto::MetaStatus { leader: 2, ..proto::MetaStatus::default() }),
            shards: vec![shard(1, 3), shard(2, 2), shard(3, 0)],
            ..proto::GetStatusResponse::default()
        };

        let asked = by_leader(&status, &[0, 1, 2, 3]);

        assert_eq!(asked, BTreeMap::from([(1, vec![3]), (2, vec![0, 2]), (3, vec![1])]));
        assert_eq!(by_leader(&status, &[]), BTreeMap::from([(1, vec![])]));
    }

    #[test]
    fn groups_are_named_and_none_is_said() {
        assert_eq!(groups("snapshots of", &[0, 3]), "snapshots of: groups 0, 3\n");
        assert_eq!(groups("node 1 leads now", &[3]), "node 1 leads now: group 3\n");
        assert_eq!(groups("node 1 leads now", &[]), "node 1 leads now: nothing\n");
    }
}
