//! Exchanges that are certainly not taken, and nodes that may open none.

use quorate_peer::{DEFAULTS, Declined, DialError, ExchangeError, Limits, NodeId, Protocol, Refusal};
use quorate_types::{ClusterId, Incarnation};

use super::super::world::{Authority, CLUSTER, Node, Start, until};
use super::{open, pair, serve, two};

/// Starts two nodes of which the second opens an exchange with the first, in vain; returns why.
async fn refused(authority: &Authority, prepare: impl FnOnce(&Node), second: Start) -> (ExchangeError, Node) {
    let first = authority.node(1);
    first.knows_at([(NodeId(second.id), "127.0.0.1:1".parse().unwrap())]);
    prepare(&first);
    let _taken = serve(&first);
    let second = second.run();
    second.knows(&[&first]);
    let error = open(&second, first.id, "head").await.unwrap_err();
    assert!(error.is_untaken(), "{error}");
    (error, first)
}

/// Returns why the peer refused the dial.
fn by_peer(error: &ExchangeError) -> &Refusal {
    let ExchangeError::Unreachable { reason, .. } = error else { panic!("{error}") };
    let DialError::RefusedByPeer { reason, .. } = &**reason else { panic!("{reason}") };
    reason
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_serves_is_refused_before_and_after_somebody_serves_it() {
    let (one, second, mut taken) = two(&Authority::new("one")).await;
    let of = |protocol| one.peers.exchange(second.id, protocol, "head".into());
    let unknown = |error| matches!(error, ExchangeError::Refused(Declined::UnknownProtocol));
    assert!(unknown(of(Protocol(77)).await.unwrap_err()));
    assert!(unknown(second.peers.exchange(one.id, Protocol::RELAY, "head".into()).await.unwrap_err()));

    let (mut opened, mut came) = pair(&one, second.id, &mut taken).await;
    second.peers.refuse_exchanges(Protocol::RELAY);
    let error = of(Protocol::RELAY).await.unwrap_err();
    assert!(error.is_untaken() && unknown(error));
    came.send("goes on".into()).await.unwrap();
    assert_eq!(opened.receive().await.unwrap().unwrap(), "goes on");

    assert_eq!(one.exchanges(second.id).refused_out["unknown_protocol"], 2);
    assert_eq!(second.exchanges(one.id).refused_in["unknown_protocol"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_refuses_drops_or_panics_has_not_taken_it() {
    let (one, second, mut taken) = two(&Authority::new("one")).await;
    for (head, reason) in [("refuse", "not the owner"), ("drop", "dropped"), ("panic", "dropped")] {
        let error = open(&one, second.id, head).await.unwrap_err();
        assert!(matches!(&error, ExchangeError::Refused(Declined::Handler(why)) if why == reason), "{error}");
        assert!(error.is_untaken());
    }
    let _both = pair(&one, second.id, &mut taken).await;
    assert_eq!(one.exchanges(second.id).connects, 1, "the connection goes on");
    assert_eq!(second.exchanges(one.id).refused_in["handler"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_are_open_than_either_side_allows() {
    let authority = Authority::new("one");
    for (here, there) in [(3, 100), (100, 3)] {
        let (mut first, mut second) = (authority.start(1), authority.start(2));
        first.limits = Limits { exchanges: here, ..DEFAULTS };
        second.limits = Limits { exchanges: there, ..DEFAULTS };
        let (one, second) = (first.run(), second.run());
        one.knows(&[&second]);
        second.knows(&[&one]);
        let mut taken = serve(&second);
        let mut open_ones = Vec::new();
        for _ in 0..3 {
            open_ones.push(pair(&one, second.id, &mut taken).await);
        }
        let error = open(&one, second.id, "head").await.unwrap_err();
        assert!(matches!(error, ExchangeError::TooMany { max: 3 }) && error.is_untaken(), "{error}");
        assert_eq!(one.exchanges(second.id).refused_out["too_many"], 1);

        drop(open_ones.pop());
        until("there is a place", || second.exchanges(one.id).open_in == 2).await;
        let (mut opened, mut came) = pair(&one, second.id, &mut taken).await;
        came.send("in its place".into()).await.unwrap();
        assert_eq!(opened.receive().await.unwrap().unwrap(), "in its place");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_peer_and_who_is_not_there_are_told_apart() {
    let authority = Authority::new("one");
    let one = authority.node(1);
    one.knows_at([(NodeId(2), "127.0.0.1:1".parse().unwrap()), (one.id, one.address())]);
    for node in [1, 3] {
        let error = open(&one, NodeId(node), "head").await.unwrap_err();
        assert!(matches!(error, ExchangeError::Unknown { node: unknown } if unknown == NodeId(node)), "{error}");
    }
    let opening = (0..100).map(|_| open(&one, NodeId(2), "head"));
    for outcome in futures_util::future::join_all(opening).await {
        let Err(ExchangeError::Unreachable { reason, .. }) = outcome else { panic!("nobody is there") };
        assert!(matches!(*reason, DialError::NothingListens));
    }
    let dials = one.exchanges(NodeId(2)).failures["nothing_listens"];
    assert!(dials < 100, "{dials} dials for openers that came together");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_member_opens_none() {
    let (error, first) = refused(&Authority::new("one"), |first| first.knows(&[]), {
        let authority = Authority::new("another");
        authority.start(2)
    })
    .await;
    assert!(matches!(&error, ExchangeError::Unreachable { reason, .. } if matches!(**reason, DialError::Tls(_))));
    until("no ticket is held", || first.peers.observe().handshakes == 0).await;

    let authority = Authority::new("one");
    let (error, first) = refused(&authority, |first| first.knows(&[]), authority.start(2)).await;
    assert_eq!(*by_peer(&error), Refusal::UnknownNode { node: NodeId(2) });
    assert!(first.turned_away("unknown_node") > 0);
    until("no ticket is held", || first.peers.observe().handshakes == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_life_and_a_twin_open_none() {
    let authority = Authority::new("one");
    let mut second = authority.start(2);
    second.incarnation = 4;
    let (error, _first) = refused(&authority, |first| first.peers.saw(NodeId(2), Incarnation(6)), second).await;
    let old = Refusal::OldIncarnation { shown: Incarnation(4), seen: Incarnation(6) };
    assert_eq!(*by_peer(&error), old);

    let (_one, second, _taken) = two(&authority).await;
    let twin = authority.node(1);
    twin.knows(&[&second]);
    let error = open(&twin, second.id, "head").await.unwrap_err();
    assert_eq!(*by_peer(&error), Refusal::Twin { incarnation: Incarnation(1) });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_common_level_or_with_anothers_certificate_opens_none() {
    let authority = Authority::new("one");
    let mut second = authority.start(2);
    second.levels = 2..=3;
    let (error, _first) = refused(&authority, |_| {}, second).await;
    assert_eq!(*by_peer(&error), Refusal::NoCommonLevel { min: 1, max: 1 });

    let mut second = authority.start(2);
    second.credentials = authority.issue_node(CLUSTER, 3).credentials(&[&authority]);
    let prepare = |first: &Node| first.knows_at([(NodeId(3), "127.0.0.1:1".parse().unwrap())]);
    let (error, _first) = refused(&authority, prepare, second).await;
    assert_eq!(*by_peer(&error), Refusal::NotTheNode { shown: NodeId(2), expected: NodeId(3) });

    let mut second = authority.start(2);
    second.credentials = authority.issue_node(ClusterId([9; 16]), 2).credentials(&[&authority]);
    let (error, first) = refused(&authority, |_| {}, second).await;
    assert!(matches!(&error, ExchangeError::Unreachable { .. }), "{error}");
    until("it is turned away", || first.turned_away("other_cluster") > 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_dials_refuses_a_stale_life_and_another_node() {
    let authority = Authority::new("one");
    let (one, second) = (authority.node(1), authority.node(2));
    one.knows(&[&second]);
    one.peers.saw(NodeId(2), Incarnation(6));
    second.knows(&[&one]);
    let by_us = |error: ExchangeError| {
        let ExchangeError::Unreachable { reason, .. } = error else { panic!("{error}") };
        let DialError::RefusedByUs { reason, .. } = &*reason else { panic!("{reason}") };
        reason.clone()
    };
    let old = Refusal::OldIncarnation { shown: Incarnation(1), seen: Incarnation(6) };
    assert_eq!(by_us(open(&one, second.id, "head").await.unwrap_err()), old);

    one.knows_at([(NodeId(3), second.address())]);
    let not = Refusal::NotTheNode { shown: NodeId(2), expected: NodeId(3) };
    assert_eq!(by_us(open(&one, NodeId(3), "head").await.unwrap_err()), not);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_for_exchanges_that_does_not_say_hello_is_turned_away() {
    let authority = Authority::new("one");
    let mut start = authority.start(1);
    start.limits = Limits { handshakes: 2, handshake_timeout: std::time::Duration::from_secs(600), ..DEFAULTS };
    let one = start.run();
    let tls = authority.tls(2);
    let mut silent = Vec::new();
    for _ in 0..4 {
        let socket = tokio::net::TcpStream::connect(one.peers.address()).await.unwrap();
        silent.push(tls.connect_exchanges(socket).await.unwrap());
    }
    until("the oldest are turned away", || one.turned_away("evicted") == 2).await;
    assert_eq!(one.peers.observe().handshakes, 2);
}
