//! Requests and answers: order, urgency, sizes, bounds, and answers that do not come.

use std::sync::Arc;

use bytes::Bytes;
use quorate_peer::{
    CallError, Config, DEFAULTS, Lane, Limits, NodeId, PAYLOAD_BYTES_MAX, Peers, Protocol, StartError, Urgency,
};
use quorate_types::Incarnation;

use super::world::{Asked, Authority, CLUSTER, LANE, cluster, until};

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_a_lane_arrive_in_the_order_of_the_calls_under_load() {
    const EACH: u32 = 3_000;
    let authority = Authority::new("one");
    let nodes = cluster(&authority, 2).await;

    let mut calls = Vec::new();
    for number in 0..EACH {
        for lane in 0..4 {
            let lane = Lane { number: lane, ..LANE };
            // Some are large, so that batches end in between.
            let mut payload = number.to_be_bytes().to_vec();
            payload.resize(if number % 100 == 0 { 70_000 } else { 40 }, 0);
            calls.push(nodes[0].peers.call(NodeId(2), lane, payload.into(), Urgency::Consensus));
            if calls.len() == 1_000 {
                for call in calls.drain(..) {
                    call.await.unwrap();
                }
            }
        }
    }
    for call in calls {
        call.await.unwrap();
    }

    let requests = nodes[1].asked.requests.lock().unwrap();
    for lane in 0..4 {
        let of_lane = requests.iter().filter(|(from, at, _)| *from == NodeId(1) && at.number == lane);
        let numbers: Vec<_> = of_lane.map(|(_, _, payload)| payload[..4].to_vec()).collect();
        let expected: Vec<_> = (0..EACH).map(|number| number.to_be_bytes().to_vec()).collect();
        assert_eq!(numbers, expected, "lane {lane}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn consensus_overtakes_bulk_that_waits() {
    let authority = Authority::new("one");
    let nodes = cluster(&authority, 2).await;
    let bulk = Lane { number: 9, ..LANE };

    // More than sockets and windows take at once.
    let chunk = Bytes::from(vec![1; 256 << 10]);
    let chunks: Vec<_> = (0..60).map(|_| nodes[0].peers.call(NodeId(2), bulk, chunk.clone(), Urgency::Bulk)).collect();
    nodes[0].ask(&nodes[1], "vote").await.unwrap();
    for chunk in chunks {
        chunk.await.unwrap();
    }

    let requests = nodes[1].asked.requests.lock().unwrap();
    let vote = requests.iter().position(|(_, lane, _)| *lane == LANE).unwrap();
    assert!(vote < 55, "the vote was number {vote} behind 60 chunks");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_payload_passes_both_ways_and_a_larger_one_is_refused() {
    let authority = Authority::new("one");
    let nodes = cluster(&authority, 2).await;

    let largest = Bytes::from(vec![7; PAYLOAD_BYTES_MAX]);
    assert_eq!(nodes[0].ask(&nodes[1], largest.clone()).await, Ok(largest));
    let larger = vec![7; PAYLOAD_BYTES_MAX + 1];
    let error = CallError::TooLarge { bytes: PAYLOAD_BYTES_MAX + 1, max: PAYLOAD_BYTES_MAX };
    assert_eq!(nodes[0].ask(&nodes[1], larger).await, Err(error));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_too_large_is_a_refusal_and_not_the_end_of_the_stream() {
    let authority = Authority::new("one");
    let nodes = cluster(&authority, 2).await;
    nodes[1].asked.hold();

    let call = nodes[0].peers.call(NodeId(2), LANE, Bytes::new(), Urgency::Consensus);
    until("the request came", || nodes[1].asked.held.lock().unwrap().len() == 1).await;
    let reply = nodes[1].asked.held.lock().unwrap().pop().unwrap();
    reply.answer(vec![0; PAYLOAD_BYTES_MAX + 1].into());

    assert!(matches!(call.await, Err(CallError::Refused { reason }) if reason.contains("its answer has")));
    nodes[1].asked.release();
    assert!(nodes[0].ask(&nodes[1], "again").await.is_ok());
    assert_eq!(nodes[0].peers.observe().peers[0].connects, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_is_dropped_or_refused_says_so() {
    let authority = Authority::new("one");
    let nodes = cluster(&authority, 2).await;
    nodes[1].asked.hold();

    let (one, two) = (nodes[0].ask(&nodes[1], "1"), nodes[0].ask(&nodes[1], "2"));
    let replies = async {
        until("both came", || nodes[1].asked.held.lock().unwrap().len() == 2).await;
        let mut held = nodes[1].asked.held.lock().unwrap();
        held.pop().unwrap().refuse("no such group");
        drop(held.pop());
    };
    let mut outcomes = {
        let (one, two, ()) = tokio::join!(one, two, replies);
        [one, two]
    };
    outcomes.sort_by_key(|outcome| format!("{outcome:?}"));
    let refused = |reason: &str| Err(CallError::Refused { reason: reason.to_owned() });
    assert_eq!(outcomes, [refused("dropped"), refused("no such group")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_and_too_many_calls_are_told_apart_and_pass() {
    let authority = Authority::new("one");
    let mut start = authority.start(1);
    start.limits = Limits { queue_bytes: 8 << 20, calls: 64, ..DEFAULTS };
    let (one, two) = (start.run(), authority.node(2));
    one.knows(&[&two]);
    two.knows(&[&one]);
    one.connects(&two).await;
    two.asked.hold();

    let call = |bytes: usize, urgency| one.peers.call(two.id, LANE, vec![0; bytes].into(), urgency);
    let mut calls: Vec<_> = (0..64).map(|_| call(0, Urgency::Consensus)).collect();
    let error = CallError::TooManyCalls { max: 64 };
    assert_eq!(call(0, Urgency::Consensus).await, Err(error));
    two.asked.release();
    until("they came", || two.asked.count() == 64).await;
    two.asked.release();
    for call in calls.drain(..) {
        assert!(call.await.is_ok());
    }

    two.asked.hold();
    let mut bulk: Vec<_> = (0..8).map(|_| call(0, Urgency::Bulk)).collect();
    assert_eq!(call(0, Urgency::Bulk).await, Err(CallError::TooManyCalls { max: 8 }));
    bulk.push(call(0, Urgency::Consensus));
    until("they came", || two.asked.count() == 64 + 9).await;
    two.asked.release();
    for call in bulk {
        assert!(call.await.is_ok());
    }

    // The writer may take some of them before the queue is full.
    let mut full = None;
    for _ in 0..63 {
        calls.push(call(4_000_000, Urgency::Consensus));
        if let Some(Err(error)) = futures_util::FutureExt::now_or_never(calls.last_mut().unwrap()) {
            calls.pop();
            full = Some(error);
            break;
        }
    }
    assert!(matches!(full, Some(CallError::QueueFull { waiting: 4_000_000.., bytes: 4_000_000 })), "{full:?}");
    for call in calls {
        assert!(call.await.is_ok());
    }
    let observation = &one.peers.observe().peers[0];
    assert_eq!((observation.queued_bytes, observation.calls), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_reads_no_further_while_too_many_requests_are_open() {
    let authority = Authority::new("one");
    let mut start = authority.start(2);
    start.limits = Limits { calls: 8, ..DEFAULTS };
    let (one, two) = (authority.node(1), start.run());
    one.knows(&[&two]);
    two.knows(&[&one]);
    one.connects(&two).await;
    two.asked.hold();

    let calls: Vec<_> = (0..100_u8).map(|n| one.peers.call(two.id, LANE, vec![n].into(), Urgency::Consensus)).collect();
    for done in 1..=100 {
        until("places are taken", || two.asked.count() == (done + 7).min(100)).await;
        let first = two.asked.held.lock().unwrap().remove(0);
        first.answer(Bytes::new());
    }
    for call in calls {
        assert_eq!(call.await, Ok(Bytes::new()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_peer_and_who_is_not_there_are_told_apart() {
    let authority = Authority::new("one");
    let (one, two) = (authority.node(1), authority.node(2));
    one.knows_at([(two.id, "127.0.0.1:1".parse().unwrap()), (one.id, one.address())]);

    let call = |to| one.peers.call(NodeId(to), LANE, Bytes::new(), Urgency::Consensus);
    assert_eq!(call(2).await, Err(CallError::NotConnected));
    assert_eq!(call(3).await, Err(CallError::Unknown { node: NodeId(3) }));
    assert_eq!(call(1).await, Err(CallError::Unknown { node: NodeId(1) }));
    assert!(one.peers.link(NodeId(3)).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn lanes_and_protocols_arrive_as_they_were_sent() {
    let authority = Authority::new("one");
    let nodes = cluster(&authority, 2).await;

    let lane = Lane { protocol: Protocol(u32::MAX), number: 0 };
    nodes[1].peers.call(NodeId(1), lane, Bytes::from_static(b"p"), Urgency::Bulk).await.unwrap();
    assert_eq!(*nodes[0].asked.requests.lock().unwrap(), [(NodeId(2), lane, Bytes::from_static(b"p"))]);
    let observation = nodes[1].peers.observe();
    let peer = &observation.peers[0];
    assert_eq!((peer.frames_out, peer.frames_in, peer.bytes_out, peer.bytes_in), (1, 1, 1, 1));
    assert!(peer.is_accepted && peer.link.is_connected());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_panics_ends_the_stream_and_nobody_waits_for_ever() {
    let authority = Authority::new("one");
    let nodes = cluster(&authority, 2).await;

    assert_eq!(nodes[0].ask(&nodes[1], "panic").await, Err(CallError::Lost));
    until("a new stream is open", || nodes[0].peers.observe().peers[0].connects == 2).await;
    nodes[0].connects(&nodes[1]).await;
    assert!(nodes[0].ask(&nodes[1], "again").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_cannot_listen_or_has_bad_limits_does_not_start() {
    let authority = Authority::new("one");
    let one = authority.node(1);
    let config = |listen, calls| Config {
        cluster: CLUSTER,
        node: NodeId(2),
        incarnation: Incarnation(1),
        levels: 1..=1,
        listen,
        tls: authority.tls(2),
        limits: Limits { calls, ..DEFAULTS },
    };
    let start = |config| Peers::start(config, Arc::new(Asked::default())).unwrap_err();

    let error = start(config(one.peers.address(), 64));
    assert!(matches!(error, StartError::Listen { address, .. } if address == one.peers.address()), "{error}");
    let error = start(config(([127, 0, 0, 1], 0).into(), 1));
    assert_eq!(error.to_string(), "calls is 1; allowed is 8 to 1048576");
    let of_three = Config { tls: authority.tls(3), ..config(([127, 0, 0, 1], 0).into(), 64) };
    assert!(matches!(start(of_three), StartError::Certificate { needed, .. } if needed.node == NodeId(2)));
}
