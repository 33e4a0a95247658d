//! Members that are not wanted: each reason, at both sides.

use std::sync::Arc;

use quorate_peer::{CallError, DialError, Link, NodeId, Refusal};
use quorate_types::{ClusterId, Incarnation};

use super::world::{Authority, CLUSTER, Node, Start, cluster, until};

/// Waits until a node knows why its dial was refused.
async fn reason(node: &Node, by: NodeId) -> Arc<DialError> {
    let refused = |link| if let Link::Refused { reason } = link { Some(reason) } else { None };
    until("it is refused", || refused(node.link(by)).is_some()).await;
    refused(node.link(by)).unwrap()
}

/// Starts two nodes of which the second is refused when it dials the first; returns what it learns, and the first.
async fn refused(authority: &Authority, prepare: impl FnOnce(&Node), second: Start) -> (String, Node) {
    let first = authority.node(1);
    let node = NodeId(second.id);
    first.knows_at([(node, "127.0.0.1:1".parse().unwrap())]);
    prepare(&first);
    let second = second.run();
    second.knows(&[&first]);
    let reason = reason(&second, first.id).await;
    assert!(matches!(&*reason, DialError::RefusedByPeer { node: NodeId(1), .. }), "{reason:?}");
    assert_eq!(second.ask(&first, "anyway").await, Err(CallError::NotConnected));
    (reason.to_string(), first)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_an_older_disk_reads_in_its_log_what_it_is() {
    let authority = Authority::new("one");
    let mut second = authority.start(2);
    second.incarnation = 4;
    let (reason, first) = refused(&authority, |first| first.peers.saw(NodeId(2), Incarnation(6)), second).await;

    assert_eq!(
        reason,
        "node 1 refuses this node: incarnation 4 is older than 6, which was seen before: its disk is a copy of an older one"
    );
    assert!(first.failures(NodeId(2), "old_incarnation") > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_on_copies_of_one_disk_are_told_apart() {
    let authority = Authority::new("one");
    let nodes = cluster(&authority, 2).await;

    let twin = authority.node(2);
    twin.knows(&[&nodes[0]]);
    let reason = reason(&twin, NodeId(1)).await;
    assert!(reason.to_string().ends_with("both run on copies of one disk"), "{reason}");
    assert!(nodes[1].ask(&nodes[0], "the first one works on").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_common_feature_level_is_refused() {
    let authority = Authority::new("one");
    let mut second = authority.start(2);
    second.levels = 2..=3;
    let (reason, _) = refused(&authority, |_| {}, second).await;
    assert!(reason.contains("it has no feature level of 1 to 1"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_among_the_peers_is_refused_and_let_in_when_it_is() {
    let authority = Authority::new("one");
    let (reason, first) = refused(&authority, |first| first.knows(&[]), authority.start(2)).await;
    assert_eq!(reason, "node 1 refuses this node: node 2 is not a member of the cluster, or no longer");
    assert!(first.turned_away("unknown_node") > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_removed_is_told_so_and_let_in_again_when_it_is_added() {
    let authority = Authority::new("one");
    let nodes = cluster(&authority, 2).await;
    nodes[0].knows(&[]);

    let reason = reason(&nodes[1], NodeId(1)).await;
    assert!(reason.to_string().contains("node 2 is not a member"), "{reason}");
    let unknown = CallError::Unknown { node: NodeId(2) };
    assert_eq!(nodes[0].ask(&nodes[1], "you").await, Err(unknown));

    nodes[0].knows(&[&nodes[1]]);
    nodes[0].connects(&nodes[1]).await;
    nodes[1].connects(&nodes[0]).await;
    assert!(nodes[1].ask(&nodes[0], "back").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_believes_to_be_of_another_cluster_than_its_certificate_has_no_stream() {
    let authority = Authority::new("one");
    let mut second = authority.start(2);
    second.cluster = ClusterId([9; 16]);
    let first = authority.node(1);
    first.knows_at([(NodeId(2), "127.0.0.1:1".parse().unwrap())]);
    let second = second.run();
    second.knows(&[&first]);
    // It finds that itself first: the first node's certificate is not of what it believes to be its cluster.
    assert!(matches!(*reason(&second, NodeId(1)).await, DialError::Stranger));

    // And the other way: to it the first node is a stranger, who is told nothing.
    first.knows(&[&second]);
    until("it is turned away", || second.turned_away("other_cluster") > 0).await;
    assert!(!first.link(NodeId(2)).is_connected());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_answers_for_another_is_refused_by_who_dialed() {
    let authority = Authority::new("one");
    let (one, three) = (authority.node(1), authority.node(3));
    three.knows(&[&one]);
    one.knows_at([(NodeId(2), three.address())]);

    let reason = reason(&one, NodeId(2)).await;
    let not = Refusal::NotTheNode { shown: NodeId(3), expected: NodeId(2) };
    assert!(matches!(&*reason, DialError::RefusedByUs { reason, .. } if *reason == not), "{reason:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_says_another_number_than_its_certificate_is_refused() {
    let authority = Authority::new("one");
    let mut second = authority.start(2);
    second.credentials = authority.issue_node(CLUSTER, 3).credentials(&[&authority]);
    let first = authority.node(1);
    first.knows_at([(NodeId(3), "127.0.0.1:1".parse().unwrap())]);
    let second = second.run();
    second.knows(&[&first]);

    let reason = reason(&second, NodeId(1)).await;
    let not = Refusal::NotTheNode { shown: NodeId(2), expected: NodeId(3) };
    assert!(matches!(&*reason, DialError::RefusedByPeer { reason, .. } if *reason == not), "{reason:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_that_is_dialed_is_refused_by_who_dials_and_learns_why() {
    let authority = Authority::new("one");
    let (one, two) = (authority.node(1), authority.node(2));
    one.knows(&[&two]);
    one.peers.saw(NodeId(2), Incarnation(6));
    two.knows_at([(NodeId(1), "127.0.0.1:1".parse().unwrap())]);

    let reason = reason(&one, NodeId(2)).await;
    let old = Refusal::OldIncarnation { shown: Incarnation(1), seen: Incarnation(6) };
    assert!(matches!(&*reason, DialError::RefusedByUs { reason, .. } if *reason == old), "{reason:?}");
    until("it was told", || two.failures(NodeId(1), "old_incarnation") > 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_cluster_of_the_same_authority_is_a_strangers() {
    let authority = Authority::new("shared");
    let mut second = authority.start(2);
    second.cluster = ClusterId([9; 16]);
    second.credentials = authority.issue_node(ClusterId([9; 16]), 2).credentials(&[&authority]);
    let (first, second) = (authority.node(1), second.run());
    first.knows(&[&second]);

    assert!(matches!(*reason(&first, NodeId(2)).await, DialError::Stranger));
    until("it is counted", || first.failures(NodeId(2), "stranger") > 0).await;
}
