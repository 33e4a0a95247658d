//! Certificates and roots that change while streams are open.

use quorate_peer::{DialError, Link, NodeId};

use super::world::{Authority, CLUSTER, Node, cluster, until};

/// Gives a node a certificate of an authority, and these roots.
fn rotate(node: &Node, issuer: &Authority, roots: &[&Authority]) {
    node.tls.replace(issuer.issue_node(CLUSTER, node.id.0).credentials(roots));
}

/// Makes a node dial again: its peer forgets it for a moment.
async fn redial(node: &Node, peer: &Node) {
    let before = node.peers.observe().peers[0].connects;
    peer.knows(&[]);
    until("its stream ended", || !node.link(peer.id).is_connected()).await;
    peer.knows(&[node]);
    until("it dialed again", || node.peers.observe().peers[0].connects > before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authority_is_replaced_step_by_step_without_a_stream_that_ends() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let nodes = cluster(&old, 2).await;
    let (one, two) = (&nodes[0], &nodes[1]);

    // Everybody believes both, then shows a new certificate, then forgets the old authority.
    let steps: [(&Authority, &[&Authority]); 3] = [(&old, &[&old, &new]), (&new, &[&old, &new]), (&new, &[&new])];
    for (issuer, roots) in steps {
        for node in &nodes {
            rotate(node, issuer, roots);
            assert!(one.ask(two, "still").await.is_ok() && two.ask(one, "still").await.is_ok());
        }
    }
    for node in &nodes {
        assert_eq!(node.peers.observe().peers[0].connects, 1, "no stream was touched");
    }
    redial(one, two).await;
    assert!(one.ask(two, "new").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_missed_the_rotation_is_refused_at_its_next_dial() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let nodes = cluster(&old, 2).await;
    let (one, two) = (&nodes[0], &nodes[1]);
    rotate(two, &new, &[&new]);
    assert!(one.ask(two, "the open stream goes on").await.is_ok());

    two.knows(&[]);
    until("it is refused", || {
        let Link::Refused { reason } = one.link(NodeId(2)) else { return false };
        matches!(&*reason, DialError::Tls(_))
    })
    .await;
}
