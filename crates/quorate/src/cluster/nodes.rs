//! `quorate cluster drain|undrain|leave|remove|replace|transfer|snapshot`: what is done with nodes.
//!
//! Each tells on stderr what was begun and how to see it end: the cluster does the work by itself.

use std::path::Path;

use quorate_proto::admin::v1 as proto;

use super::node;
use crate::answer;
use crate::cli::cluster::{NodeOnlyArgs, RemoveArgs, ReplaceArgs, SnapshotArgs, TransferArgs};
use crate::exit::Failure;
use crate::{output, target};

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
    let client = target::client(context, &args.target)?;
    let node = node(&client, &args.node).await?;
    client.call(proto::RemoveNodeRequest { node: node.id, forced: false }).await.map_err(target::of_client)?;
    say(&node, &format!("is leaving: what it holds moves away first, then it is removed ({SEE})"));
    Ok(())
}

pub(super) async fn remove(context: Option<&Path>, args: &RemoveArgs) -> Result<(), Failure> {
    let client = target::client(context, &args.target)?;
    let node = node(&client, &args.node).await?;
    let request = proto::RemoveNodeRequest { node: node.id, forced: args.force };
    client.call(request).await.map_err(target::of_client)?;
    if args.force {
        say(&node, "is removed; its data directory is worth nothing any more and must not be started again");
    } else {
        say(&node, &format!("is leaving: what it holds moves away first, then it is removed ({SEE})"));
    }
    Ok(())
}

pub(super) async fn replace(context: Option<&Path>, args: &ReplaceArgs) -> Result<(), Failure> {
    let client = target::client(context, &args.target)?;
    let (old, new) = (node(&client, &args.node).await?, node(&client, &args.by).await?);
    let request = proto::ReplaceNodeRequest { node: old.id, by: new.id };
    client.call(request).await.map_err(target::of_client)?;
    let by = answer::node(new.id, &new.name);
    say(&old, &format!("is being replaced by node {by}, and leaves then ({SEE})"));
    Ok(())
}

pub(super) async fn transfer(context: Option<&Path>, args: &TransferArgs) -> Result<(), Failure> {
    let client = target::client(context, &args.target)?;
    let node = node(&client, &args.to).await?;
    let request = proto::TransferLeaderRequest { to: node.id, groups: args.groups.clone() };
    let moved = client.call(request).await.map_err(target::of_client)?;
    answer::print::<proto::TransferLeaderRequest>(args.output.output, &moved, |answer| {
        groups(&format!("node {} leads now", answer::node(node.id, &node.name)), &answer.moved)
    })
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
    fn groups_are_named_and_none_is_said() {
        assert_eq!(groups("snapshots of", &[0, 3]), "snapshots of: groups 0, 3\n");
        assert_eq!(groups("node 1 leads now", &[3]), "node 1 leads now: group 3\n");
        assert_eq!(groups("node 1 leads now", &[]), "node 1 leads now: nothing\n");
    }
}
