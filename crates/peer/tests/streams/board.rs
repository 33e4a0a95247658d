//! What spreads: along streams, by way of others, after restarts.

use quorate_peer::{NodeId, PutError};

use super::proxy::Proxy;
use super::world::{Authority, Node, cluster, until};

fn read(node: &Node, of: u64, key: &str) -> Option<String> {
    let posted = node.peers.board().get(NodeId(of), key)?;
    Some(String::from_utf8(posted.value.to_vec()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_says_is_known_to_all_and_so_is_its_change() {
    let authority = Authority::new("one");
    let nodes = cluster(&authority, 3).await;
    let mut watch = nodes[2].peers.board().watch();
    watch.mark_unchanged();

    for value in ["70%", "80%"] {
        nodes[0].peers.board().put("load", value).unwrap();
        for node in &nodes {
            until("it is known", || read(node, 1, "load").as_deref() == Some(value)).await;
        }
    }
    assert!(watch.has_changed().unwrap());
    let posted = nodes[2].peers.board().get(NodeId(1), "load").unwrap();
    assert_eq!((posted.version, posted.incarnation.0), (2, 1));
    assert!(posted.received.elapsed() < std::time::Duration::from_secs(60));
    assert_eq!(nodes[2].peers.board().of(NodeId(1)).len(), 1);
    assert_eq!(nodes[0].peers.board().put("", "x"), Err(PutError::Key { bytes: 0 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_before_a_node_came_is_known_to_it() {
    let authority = Authority::new("one");
    let (one, two) = (authority.node(1), authority.node(2));
    // More than goes along with one batch.
    let value = "v".repeat(4096);
    for key in 0..40 {
        one.peers.board().put(&format!("key {key}"), value.clone()).unwrap();
    }
    one.knows(&[&two]);
    two.knows(&[&one]);

    until("all is known", || two.peers.board().of(NodeId(1)).len() == 40).await;
    assert_eq!(read(&two, 1, "key 39").as_deref(), Some(value.as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_hears_of_another_through_a_third_when_their_link_is_cut() {
    let authority = Authority::new("one");
    let nodes: Vec<_> = (1..=3).map(|id| authority.node(id)).collect();
    let (one, two, three) = (&nodes[0], &nodes[1], &nodes[2]);
    let (to_one, to_three) = (Proxy::to(one.peers.address()).await, Proxy::to(three.peers.address()).await);
    one.knows_at([(two.id, two.address()), (three.id, to_three.address.into())]);
    two.knows(&[one, three]);
    three.knows_at([(two.id, two.address()), (one.id, to_one.address.into())]);
    one.connects(three).await;
    three.connects(one).await;
    to_one.cut();
    to_three.cut();
    until("the link is cut", || !one.link(three.id).is_connected() && !three.link(one.id).is_connected()).await;

    one.peers.board().put("load", "a").unwrap();
    three.peers.board().put("load", "c").unwrap();
    until("each knows", || read(one, 3, "load").is_some() && read(three, 1, "load").is_some()).await;
    assert!(!one.link(three.id).is_connected());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_life_of_a_node_says_everything_anew_and_who_leaves_is_forgotten() {
    let authority = Authority::new("one");
    let mut nodes = cluster(&authority, 3).await;
    nodes[2].peers.board().put("old", "1").unwrap();
    nodes[2].peers.board().put("load", "2").unwrap();
    until("it is known", || nodes[..2].iter().all(|node| read(node, 3, "load").is_some())).await;

    let listen = nodes[2].peers.address();
    nodes.remove(2).kill().await;
    let mut start = authority.start(3);
    (start.incarnation, start.listen) = (2, listen);
    let back = start.run();
    back.knows(&[&nodes[0], &nodes[1]]);
    back.peers.board().put("load", "3").unwrap();
    until("it is known", || nodes[..2].iter().all(|node| read(node, 3, "load").as_deref() == Some("3"))).await;
    assert!(nodes[..2].iter().all(|node| read(node, 3, "old").is_none()));
    assert_eq!(read(&back, 3, "old"), None, "what others knew of its old life does not come back");

    nodes[0].knows(&[&nodes[1]]);
    assert_eq!(read(&nodes[0], 3, "load"), None);
}
