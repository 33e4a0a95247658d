//! `quorate cluster status`: the cluster at a glance, once or with each change.
//!
//! Nodes first, then shards in one line, then what is wrong and what to do, by the judge of `quorate check` over what the
//! one asked node knows. On a terminal `--watch` redraws in place; into a pipe each state is written after the other (JSON as
//! one line each), so that a program can follow.

use std::io::IsTerminal as _;
use std::path::Path;

use quorate_client::{Client, Method as _, json};
use quorate_proto::admin::v1 as proto;
use quorate_proto::admin::v1::{GetStatusRequest, GetStatusResponse, NodeHealth, NodeMode, NodeState};
use quorate_runtime::clock;
use quorate_types::Timestamp;

use crate::answer::{self, counted};
use crate::check::{Reports, judge, list};
use crate::cli::cluster::{Output, StatusArgs};
use crate::exit::Failure;
use crate::table::Table;
use crate::{output, target};

/// Moves to the upper left corner and clears what is there and below (ECMA-48).
const REDRAW: &str = "\u{1b}[H\u{1b}[2J";

pub(super) async fn run(context: Option<&Path>, args: &StatusArgs) -> Result<(), Failure> {
    let client = target::client(context, &args.target)?;
    if args.watch {
        return tokio::select! {
            watched = watch(&client, args.output.output) => watched,
            _ = tokio::signal::ctrl_c() => Ok(()),
        };
    }
    let request = GetStatusRequest { linearizable: args.linearizable };
    let status = client.call(request).await.map_err(target::of_client)?;
    target::learn_as(context, &args.target, &status);
    answer::print::<GetStatusRequest>(args.output.output, &status, |status| text(status, clock::now()))
}

async fn watch(client: &Client, output: Output) -> Result<(), Failure> {
    let is_drawn = output == Output::Table && std::io::stdout().is_terminal();
    let mut answers = client.watch(proto::WatchStatusRequest {}).await.map_err(target::of_client)?;
    while let Some(status) = answers.next().await.map_err(target::of_client)? {
        let text = match output {
            Output::Table if is_drawn => format!("{REDRAW}{}", text(&status, clock::now())),
            Output::Table => format!("{}\n", text(&status, clock::now())),
            Output::Json => json::of(GetStatusRequest::ANSWER, &status).to_string(),
            Output::Yaml => format!("---\n{}", answer::yaml(&json::of(GetStatusRequest::ANSWER, &status))?),
        };
        output::print(&text)?;
    }
    Ok(())
}

/// The status for people.
fn text(status: &GetStatusResponse, now: Timestamp) -> String {
    let mut text = head(status);
    if status.nodes.is_empty() {
        return text;
    }
    text.push('\n');
    text.push_str(&nodes(status));
    text.push('\n');
    text.push_str(&shards(status));
    text.push_str(&list(&judge(&Reports::of_one(status, now))));
    text
}

fn head(status: &GetStatusResponse) -> String {
    match status.mode() {
        NodeMode::Waiting => {
            return "this node waits: `quorate cluster init --data-dir DIR` makes a new cluster of it,\n\
                    `quorate cluster join --data-dir DIR TOKEN` lets it join one\n"
                .to_owned();
        }
        NodeMode::Alone => return "this node runs alone, without peers\n".to_owned(),
        NodeMode::Member | NodeMode::Unspecified => {}
    }
    let age = status.staleness.as_ref().and_then(|age| std::time::Duration::try_from(*age).ok()).unwrap_or_default();
    let name = status.nodes.iter().find(|node| node.id == status.node).map_or("", |node| node.name.as_str());
    // Below a heartbeat's time or two it is as new as can be.
    let age = if age.as_millis() < 500 { String::new() } else { format!(", {} old", answer::span(age)) };
    let revision = status.nodes.iter().map(|node| node.active_revision).max().unwrap_or(status.active_revision);
    let files = if status.certificates_from_files { "certificates come from files\n" } else { "" };
    output::visible(&format!(
        "cluster {}, revision {revision}, feature level {} (as node {} knows it{age})\n{files}",
        status.cluster_id,
        status.feature_level,
        answer::node(status.node, name),
    ))
    .into_owned()
}

fn nodes(status: &GetStatusResponse) -> String {
    let mut table =
        Table::new(["NODE", "NAME", "STATE", "HEALTH", "META", "GROUPS", "LED", "REVISION", "VERSION", "ADMIN"]);
    for node in status.nodes.iter().filter(|node| node.state() != NodeState::Removed) {
        table.row([
            node.id.to_string(),
            node.name.clone(),
            state(node.state()).to_owned(),
            health(node.health()).to_owned(),
            role(status, node.id).to_owned(),
            node.groups.to_string(),
            node.groups_led.to_string(),
            node.active_revision.to_string(),
            node.version.clone(),
            node.admin_address.clone(),
        ]);
    }
    table.render()
}

pub(crate) fn state(state: NodeState) -> &'static str {
    match state {
        NodeState::Joining => "joining",
        NodeState::Active => "active",
        NodeState::Draining => "draining",
        NodeState::Leaving => "leaving",
        NodeState::Removed => "removed",
        NodeState::Unspecified => "-",
    }
}

pub(crate) fn health(health: NodeHealth) -> &'static str {
    match health {
        NodeHealth::Healthy => "healthy",
        NodeHealth::Degraded => "degraded",
        NodeHealth::Unreachable => "unreachable",
        NodeHealth::Unspecified => "-",
    }
}

/// What a node is in the meta group.
fn role(status: &GetStatusResponse, node: u64) -> &'static str {
    let Some(meta) = &status.meta else { return "-" };
    if meta.leader == node {
        "leader"
    } else if meta.voters.contains(&node) {
        "voter"
    } else if meta.learners.contains(&node) {
        "learner"
    } else {
        "-"
    }
}

/// The shards in one line.
pub(crate) fn shards(status: &GetStatusResponse) -> String {
    if status.shards.is_empty() {
        return "no shards\n".to_owned();
    }
    let led = status.shards.iter().filter(|shard| shard.leader != 0).count();
    let moving = status.shards.iter().filter(|shard| !shard.target.is_empty()).count();
    let replicas = |shard: &proto::ShardStatus| shard.voters.len();
    let (least, most) = (
        status.shards.iter().map(replicas).min().unwrap_or_default(),
        status.shards.iter().map(replicas).max().unwrap_or_default(),
    );
    let replicas = if least == most { counted(most, "replica") } else { format!("{least} to {most} replicas") };
    let moving = if moving == 0 { String::new() } else { format!(", {moving} being moved") };
    format!("{}: {led} with a leader, {replicas} each{moving}\n", counted(status.shards.len(), "shard"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> GetStatusResponse {
        let node = |id: u64, name: &str, health: NodeHealth| proto::Node {
            id,
            name: name.into(),
            state: NodeState::Active.into(),
            health: health.into(),
            admin_address: format!("10.0.0.{id}:4191"),
            version: "0.1.0".into(),
            groups: 33,
            groups_led: 11,
            active_revision: 12,
            ..proto::Node::default()
        };
        let shard =
            |number| proto::ShardStatus { shard: number, leader: 1, voters: vec![1, 2, 3], ..Default::default() };
        GetStatusResponse {
            cluster_id: "07".repeat(16),
            feature_level: 1,
            node: 1,
            mode: NodeMode::Member.into(),
            nodes: vec![
                node(1, "ber-1", NodeHealth::Healthy),
                node(2, "ber-2", NodeHealth::Healthy),
                node(3, "ber-3", NodeHealth::Unreachable),
            ],
            meta: Some(proto::MetaStatus { leader: 1, term: 4, voters: vec![1, 2, 3], ..Default::default() }),
            shards: (1..=32).map(shard).collect(),
            active_revision: 12,
            ..GetStatusResponse::default()
        }
    }

    #[test]
    fn a_cluster_is_shown_at_a_glance_with_what_to_do() {
        let text = text(&status(), Timestamp::from_millis(0));

        let expected = "\
cluster 07070707070707070707070707070707, revision 12, feature level 1 (as node 1 (ber-1) knows it)

NODE  NAME   STATE   HEALTH       META    GROUPS  LED  REVISION  VERSION  ADMIN
1     ber-1  active  healthy      leader  33      11   12        0.1.0    10.0.0.1:4191
2     ber-2  active  healthy      voter   33      11   12        0.1.0    10.0.0.2:4191
3     ber-3  active  unreachable  voter   33      11   12        0.1.0    10.0.0.3:4191

32 shards: 32 with a leader, 3 replicas each
";
        assert!(text.starts_with(expected), "{text}");
        assert!(text.contains("problem  node 3 (ber-3) is down or cut off"), "{text}");
        assert!(text.contains("quorate cluster replace 3 --by NEW"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= crate::table::WIDTH), "{text}");
    }

    #[test]
    fn a_node_that_waits_says_what_to_run() {
        let waiting = GetStatusResponse { mode: NodeMode::Waiting.into(), ..GetStatusResponse::default() };

        assert!(text(&waiting, Timestamp::from_millis(0)).contains("quorate cluster init --data-dir DIR"));
    }

    #[test]
    fn where_certificates_come_from_is_shown_when_it_is_not_the_cluster() {
        let from_files = GetStatusResponse { certificates_from_files: true, ..status() };

        assert!(head(&from_files).ends_with("\ncertificates come from files\n"), "{}", head(&from_files));
    }

    #[test]
    fn what_is_old_says_how_old() {
        let staleness = Some(prost_types::Duration { seconds: 90, nanos: 0 });
        let old = GetStatusResponse { staleness, ..status() };

        assert!(head(&old).contains("knows it, 90 s old)"), "{}", head(&old));
    }
}
