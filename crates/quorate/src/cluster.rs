//! `quorate cluster …`: makes, grows, shows and mends a cluster, as a client of the admin API.
//!
//! One file per thing that is operated on; what all share is how a node is named: by its number, or by its name, which the
//! status translates.

mod authority;
mod files;
mod nodes;
mod operator;
mod start;
pub(crate) mod status;
mod token;

use std::path::Path;

use quorate_client::Client;
use quorate_proto::admin::v1::{GetStatusRequest, Node, NodeState};

pub(crate) use self::start::{init_node, join_node};
use crate::cli::cluster::ClusterCommand;
use crate::exit::{Exit, Failure};
use crate::target;

/// Runs the command.
///
/// # Errors
/// [`Failure`] with what to do about it.
pub(crate) async fn run(context: Option<&Path>, command: &ClusterCommand) -> Result<(), Failure> {
    match command {
        ClusterCommand::Init(args) => start::init(context, args).await,
        ClusterCommand::Join(args) => start::join(args).await,
        ClusterCommand::Token(command) => token::run(context, command).await,
        ClusterCommand::Status(args) => status::run(context, args).await,
        ClusterCommand::Drain(args) => nodes::drain(context, args).await,
        ClusterCommand::Undrain(args) => nodes::undrain(context, args).await,
        ClusterCommand::Leave(args) => nodes::leave(context, args).await,
        ClusterCommand::Remove(args) => nodes::remove(context, args).await,
        ClusterCommand::Replace(args) => nodes::replace(context, args).await,
        ClusterCommand::Transfer(args) => nodes::transfer(context, args).await,
        ClusterCommand::Snapshot(args) => nodes::snapshot(context, args).await,
        ClusterCommand::Backup(args) => files::backup(context, args).await,
        ClusterCommand::Restore(args) => files::restore(context, args).await,
        ClusterCommand::Operator(command) => operator::run(context, command).await,
        ClusterCommand::RotateAuthority(args) => authority::rotate(context, args).await,
    }
}

/// Finds a node by its number or name.
pub(crate) async fn node(client: &Client, text: &str) -> Result<Node, Failure> {
    let status = client.call(GetStatusRequest::default()).await.map_err(target::of_client)?;
    find(&status.nodes, text).cloned()
}

fn find<'a>(nodes: &'a [Node], text: &str) -> Result<&'a Node, Failure> {
    let by_number = text.parse::<u64>().ok().and_then(|number| nodes.iter().find(|node| node.id == number));
    // A name may be used again after its node was removed.
    let by_name = || nodes.iter().find(|node| node.name == text && node.state() != NodeState::Removed);
    by_number.or_else(by_name).ok_or_else(|| {
        let known: Vec<String> = nodes
            .iter()
            .filter(|node| node.state() != NodeState::Removed)
            .map(|node| crate::answer::node(node.id, &node.name))
            .collect();
        let known = if known.is_empty() { "the asked node is in no cluster".to_owned() } else { known.join(", ") };
        Failure::new(Exit::Refused, format!("there is no node {text:?}")).advise(format!("the nodes are: {known}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_found_by_number_and_by_name() {
        let node =
            |id, name: &str, state: NodeState| Node { id, name: name.into(), state: state.into(), ..Node::default() };
        let nodes =
            [node(1, "a", NodeState::Removed), node(2, "a", NodeState::Active), node(3, "1", NodeState::Active)];

        for (text, expected) in [("2", 2), ("a", 2), ("1", 1), ("3", 3)] {
            assert_eq!(find(&nodes, text).unwrap().id, expected, "{text}");
        }
        let missing = find(&nodes, "b").unwrap_err();
        assert_eq!(missing.advice.as_deref(), Some("the nodes are: 2 (a), 3 (1)"));
    }
}
