//! `quorate apply` and `quorate diff`: a set of documents becomes what the cluster has.
//!
//! A set is applied whole or not at all. Nothing is deleted that is not asked for: `--prune` names whose documents the set
//! is all of, and a set without any document is refused unless it is said to be meant.

use std::path::Path;
use std::time::Duration;

use quorate_client::Client;
use quorate_proto::admin::v1::{self as proto, NodeHealth, NodeState};
use tokio::time::{Instant, sleep};

use super::changes::{self, Counts, Style};
use super::follow;
use crate::answer;
use crate::cli::cluster::Output;
use crate::cli::resources::{ApplyArgs, DiffArgs, SetArgs};
use crate::exit::{Exit, Failure};
use crate::{documents, output, target};

/// How often nodes are asked whether a revision is active.
const POLL: Duration = Duration::from_millis(100);

/// Runs `quorate apply`.
///
/// # Errors
/// [`Failure`] when a file is invalid, the cluster refuses the set, or not all nodes have it in time.
pub(crate) async fn apply(context: Option<&Path>, args: &ApplyArgs) -> Result<(), Failure> {
    let client = target::client(context, &args.target)?;
    if args.watch {
        return follow::run(&client, args).await;
    }
    let set = read(&args.set)?;
    let request = proto::ApplyRequest {
        documents: set.clone(),
        source: source(&args.set),
        expected_revision: args.expected_revision,
        message: args.message.clone(),
        dry_run: args.dry_run,
    };
    let answer = client.call(request).await.map_err(target::of_client)?;
    warn(&answer.warnings);
    answer::print::<proto::ApplyRequest>(args.output.output, &answer, |answer| {
        let lines = changes::lines(&answer.changes, &set, Style::of_stdout(args.dry_run));
        let counts = Counts::of(&answer.changes);
        let is_new = counts != Counts::default();
        let end = match (args.dry_run, is_new) {
            (true, _) => format!("dry run at revision {}: {}", answer.revision, counts.words()),
            (false, true) => format!("revision {}: {}", answer.revision, counts.words()),
            (false, false) => format!("the revision is still {}: nothing changed", answer.revision),
        };
        format!("{lines}{end}\n")
    })?;
    match args.wait {
        Some(patience) if !args.dry_run => wait(&client, answer.revision, patience).await,
        _ => Ok(()),
    }
}

/// Runs `quorate diff`.
///
/// # Errors
/// [`Failure`]: a silent one with exit code 1 when there are differences, else why they cannot be told.
pub(crate) async fn diff(context: Option<&Path>, args: &DiffArgs) -> Result<(), Failure> {
    let client = target::client(context, &args.target)?;
    let set = read(&args.set)?;
    let request = proto::DiffRequest { documents: set, source: source(&args.set) };
    let answer = client.call(request).await.map_err(target::of_client)?;
    let is_same = answer.changes.is_empty();
    if args.output.output != Output::Table || !is_same {
        answer::print::<proto::DiffRequest>(args.output.output, &answer, |answer| {
            let lines = changes::lines(&answer.changes, &[], Style::of_stdout(true));
            format!("{lines}against revision {}: {}\n", answer.revision, Counts::of(&answer.changes).words())
        })?;
    }
    if is_same { Ok(()) } else { Err(Failure::silent()) }
}

fn read(args: &SetArgs) -> Result<Vec<proto::Document>, Failure> {
    check(documents::read(&args.files)?, args)
}

/// Refuses a set without documents that is not said to be meant.
pub(super) fn check(set: Vec<proto::Document>, args: &SetArgs) -> Result<Vec<proto::Document>, Failure> {
    if !set.is_empty() || args.allow_empty {
        return Ok(set);
    }
    let what = if args.prune {
        "the files have no document: applied with `--prune`, that would delete all of the source"
    } else {
        "the files have no document"
    };
    Err(Failure::new(Exit::Config, what)
        .advise("check the path and whether the folder is mounted; `--allow-empty` takes it for what it is"))
}

/// Whose documents the set is all of; empty when nothing is to be deleted.
pub(super) fn source(args: &SetArgs) -> String {
    args.source.as_ref().filter(|_| args.prune).map(ToString::to_string).unwrap_or_default()
}

/// Tells what an answer warns of.
pub(crate) fn warn(warnings: &[String]) {
    for warning in warnings {
        output::note(&format!("warning: {}", output::visible(warning)));
    }
}

/// Waits until all nodes that are there have a revision active.
async fn wait(client: &Client, revision: u64, patience: Duration) -> Result<(), Failure> {
    let deadline = Instant::now() + patience;
    loop {
        let status = client.call(proto::GetStatusRequest::default()).await.map_err(target::of_client)?;
        let behind = behind(&status, revision);
        if behind.is_empty() {
            output::note(&format!("revision {revision} is active on all nodes that are reached"));
            return Ok(());
        }
        if Instant::now() >= deadline {
            let message = format!("revision {revision} is not active yet on {}", behind.join(", "));
            return Err(Failure::new(Exit::OutcomeUnknown, output::visible(&message).into_owned())
                .advise("it is applied, and they go on; `quorate check` tells what keeps them"));
        }
        sleep(POLL).await;
    }
}

/// The nodes that are there and have not a revision active.
fn behind(status: &proto::GetStatusResponse, revision: u64) -> Vec<String> {
    let is_there = |node: &&proto::Node| {
        matches!(node.state(), NodeState::Active | NodeState::Draining) && node.health() != NodeHealth::Unreachable
    };
    let active = |node: &proto::Node| {
        // What a node says of itself is newer than what it heard.
        if node.id == status.node { node.active_revision.max(status.active_revision) } else { node.active_revision }
    };
    let behind = status.nodes.iter().filter(is_there).filter(|node| active(node) < revision);
    behind.map(|node| format!("node {}", answer::node(node.id, &node.name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(files: &[&str], prune: bool, allow_empty: bool) -> SetArgs {
        SetArgs {
            files: files.iter().map(Into::into).collect(),
            source: prune.then(|| quorate_types::ResourceName::new("repo").unwrap()),
            prune,
            allow_empty,
        }
    }

    #[test]
    fn an_empty_set_is_refused_unless_it_is_meant() {
        let pruned = check(Vec::new(), &set(&[], true, false)).unwrap_err();
        assert!(pruned.message.contains("would delete all of the source"), "{}", pruned.message);
        assert_eq!(pruned.exit, Exit::Config);
        assert!(check(Vec::new(), &set(&[], false, false)).is_err());
        assert!(check(Vec::new(), &set(&[], true, true)).is_ok());
        assert!(check(vec![proto::Document::default()], &set(&[], true, false)).is_ok());
    }

    #[test]
    fn only_with_prune_is_anything_deleted() {
        assert_eq!(source(&set(&[], true, false)), "repo");
        assert_eq!(source(&set(&[], false, false)), "");
    }

    #[test]
    fn nodes_that_are_not_reached_are_not_waited_for() {
        let node = |id: u64, state: NodeState, health: NodeHealth, active_revision| proto::Node {
            id,
            state: state.into(),
            health: health.into(),
            active_revision,
            ..proto::Node::default()
        };
        let status = proto::GetStatusResponse {
            node: 1,
            active_revision: 7,
            nodes: vec![
                node(1, NodeState::Active, NodeHealth::Healthy, 6),
                node(2, NodeState::Active, NodeHealth::Degraded, 6),
                node(3, NodeState::Active, NodeHealth::Unreachable, 1),
                node(4, NodeState::Joining, NodeHealth::Healthy, 0),
            ],
            ..proto::GetStatusResponse::default()
        };

        assert_eq!(behind(&status, 7), ["node 2"]);
        assert!(behind(&status, 6).is_empty());
    }
}
