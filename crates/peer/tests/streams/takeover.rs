//! Ends and beginnings of streams: a process that is killed, one that comes back, a black hole, an address that changes.

use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_peer::{CallError, DEFAULTS, Limits, Link, NodeId, Urgency};

use super::proxy::Proxy;
use super::world::{Authority, LANE, cluster, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_killed_is_gone_at_once_and_its_calls_are_lost() {
    let authority = Authority::new("one");
    let mut nodes = cluster(&authority, 3).await;
    nodes[1].asked.hold();
    let call = nodes[0].peers.call(NodeId(2), LANE, Bytes::new(), Urgency::Consensus);
    until("the request came", || nodes[1].asked.count() == 1).await;

    let killed = Instant::now();
    nodes.remove(1).kill().await;
    assert_eq!(call.await, Err(CallError::Lost));
    for node in &nodes {
        until("it is gone", || node.link(NodeId(2)).is_gone()).await;
    }

    // Sockets tell; no timer does: the shortest is the keepalive's, of a second.
    let took = killed.elapsed();
    assert!(took < Duration::from_millis(900), "{took:?}");
    let call = nodes[0].peers.call(NodeId(2), LANE, Bytes::new(), Urgency::Consensus);
    assert_eq!(call.await, Err(CallError::NotConnected));
    assert!(nodes[0].ask(&nodes[1], "still").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_comes_back_is_connected_again_each_time() {
    let authority = Authority::new("one");
    let mut nodes = cluster(&authority, 2).await;
    for incarnation in 2..=4 {
        let listen = nodes[1].peers.address();
        nodes.remove(1).kill().await;
        until("it is gone", || nodes[0].link(NodeId(2)).is_gone()).await;

        let mut start = authority.start(2);
        (start.incarnation, start.listen) = (incarnation, listen);
        let back = start.run();
        back.knows(&[&nodes[0]]);
        nodes.push(back);
        nodes[0].connects(&nodes[1]).await;
        nodes[1].connects(&nodes[0]).await;
        assert!(matches!(nodes[0].link(NodeId(2)), Link::Connected { incarnation: i, .. } if i.0 == incarnation));
        assert_eq!(nodes[0].ask(&nodes[1], "hello").await, Ok(Bytes::from_static(b"hello")));
        assert_eq!(nodes[1].ask(&nodes[0], "hello").await, Ok(Bytes::from_static(b"hello")));
    }
    assert_eq!(nodes[0].peers.observe().peers[0].connects, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_was_never_there_is_not_gone() {
    let authority = Authority::new("one");
    let one = authority.node(1);
    one.knows_at([(NodeId(2), "127.0.0.1:1".parse().unwrap())]);

    until("some dials failed", || one.failures(NodeId(2), "nothing_listens") >= 3).await;
    assert!(matches!(one.link(NodeId(2)), Link::Connecting));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_black_hole_is_noticed_and_left_when_it_heals() {
    let authority = Authority::new("one");
    let (one, two) = (authority.node(1), authority.node(2));
    let proxy = Proxy::to(two.peers.address()).await;
    one.knows_at([(two.id, proxy.address.into())]);
    two.knows(&[&one]);
    one.connects(&two).await;
    assert!(one.ask(&two, "through").await.is_ok());

    let began = Instant::now();
    proxy.cut();
    let call = one.ask(&two, "into the hole");
    assert_eq!(call.await, Err(CallError::Lost));
    until("it is noticed", || !one.link(two.id).is_connected()).await;
    // A ping each second, two for its answer; the rest is for a loaded machine.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(!one.link(two.id).is_gone(), "nobody said that the process is gone");

    proxy.heal();
    one.connects(&two).await;
    assert!(one.ask(&two, "again").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_changes_is_dialed_without_a_wait_and_the_old_stream_stays_until_then() {
    let authority = Authority::new("one");
    let (one, two) = (authority.node(1), authority.node(2));
    two.knows(&[&one]);
    one.knows_at([(two.id, "127.0.0.1:1".parse().unwrap())]);
    until("a dial failed", || one.failures(two.id, "nothing_listens") > 0).await;
    one.knows(&[&two]);
    one.connects(&two).await;

    one.knows_at([(two.id, "127.0.0.1:1".parse().unwrap())]);
    assert!(one.ask(&two, "the stream is good").await.is_ok());
    assert_eq!(one.peers.observe().peers[0].connects, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_shuts_down_ends_its_streams_and_listens_no_more() {
    let authority = Authority::new("one");
    let nodes = cluster(&authority, 2).await;

    nodes[1].peers.shut_down().await;
    until("it is gone", || nodes[0].link(NodeId(2)).is_gone()).await;
    assert!(tokio::net::TcpStream::connect(nodes[1].peers.address()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_comes_back_is_dialed_as_soon_as_it_dials() {
    let authority = Authority::new("one");
    let mut start = authority.start(1);
    let long = Duration::from_secs(600);
    start.limits = Limits { backoff_min: long, backoff_max: long, ..DEFAULTS };
    let (one, two) = (start.run(), authority.node(2));
    let to_two = Proxy::to("127.0.0.1:1".parse().unwrap()).await;
    one.knows_at([(two.id, to_two.address.into())]);
    until("a dial failed", || !one.peers.observe().peers[0].failures.is_empty()).await;

    to_two.aim(two.peers.address());
    two.knows(&[&one]);
    one.connects(&two).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_stream_of_a_peer_replaces_one_that_hangs() {
    let authority = Authority::new("one");
    let mut start = authority.start(2);
    // It does not notice by itself.
    start.limits = Limits { keepalive_interval: Duration::from_secs(600), ..DEFAULTS };
    let (one, two) = (authority.node(1), start.run());
    let proxy = Proxy::to(two.peers.address()).await;
    one.knows_at([(two.id, proxy.address.into())]);
    two.knows(&[&one]);
    one.connects(&two).await;
    two.asked.hold();
    let first = one.peers.call(two.id, LANE, Bytes::from_static(b"1"), Urgency::Consensus);
    until("it came", || two.asked.count() == 1).await;

    proxy.cut();
    one.knows(&[&two]);
    until("the new stream is open", || one.peers.observe().peers[0].connects == 2).await;
    assert_eq!(first.await, Err(CallError::Lost));
    two.asked.release();
    assert_eq!(one.ask(&two, "2").await, Ok(Bytes::from_static(b"2")));
    proxy.heal();
    assert!(two.peers.observe().peers[0].is_accepted);
    assert_eq!(one.ask(&two, "3").await, Ok(Bytes::from_static(b"3")));
}
