//! How exchanges end: in order, given up, and by the end of a node, a connection or a membership.

use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_peer::{DEFAULTS, Ended, Exchange, ExchangeError, Limits, NodeId, SendError};

use super::super::proxy::Proxy;
use super::super::world::{Authority, until};
use super::{event, open, pair, serve, two};

/// Reads to an end that has to be an error.
async fn broken(exchange: &mut Exchange) -> ExchangeError {
    loop {
        match exchange.receive().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended in order"),
            Err(error) => return error,
        }
    }
}

/// Sends until nothing more is taken.
async fn ended(exchange: &mut Exchange) -> Ended {
    loop {
        if let Err(SendError::Ended(ended)) = exchange.send(Bytes::from(vec![0; 10_000])).await {
            return ended;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dropped_is_given_up_at_the_other_side_by_either_side() {
    let (one, second, mut taken) = two(&Authority::new("one")).await;
    let (opened, mut came) = pair(&one, second.id, &mut taken).await;
    drop(opened);
    assert!(matches!(broken(&mut came).await, ExchangeError::Cancelled));
    assert_eq!(ended(&mut came).await, Ended::Cancelled);

    let (mut opened, came) = pair(&one, second.id, &mut taken).await;
    drop(came);
    let error = broken(&mut opened).await;
    assert!(matches!(error, ExchangeError::Cancelled) && !error.is_untaken());
    assert_eq!(ended(&mut opened).await, Ended::Cancelled);
    drop(opened);
    until("both are over", || one.exchanges(second.id).open_out == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_drops_while_nobody_reads_is_seen_to_have_gone() {
    let (one, second, mut taken) = two(&Authority::new("one")).await;
    for is_opener in [true, false] {
        let (opened, came) = pair(&one, second.id, &mut taken).await;
        let (mut drops, stays) = if is_opener { (opened, came) } else { (came, opened) };
        let (mut sending, _receiving) = stays.split();
        let (node, with) = if is_opener { (&one, &second) } else { (&second, &one) };
        let before = node.exchanges(with.id).messages_out;
        let fills = tokio::spawn(async move { ended(&mut drops).await });
        // Of the seventh the window takes a part only.
        until("the window is full", || node.exchanges(with.id).messages_out >= before + 7).await;
        fills.abort();
        assert_eq!(sending.ended().await, Ended::Cancelled);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn either_half_that_is_dropped_too_early_gives_up_both() {
    let (one, second, mut taken) = two(&Authority::new("one")).await;
    for keeps_sending in [true, false] {
        let (opened, mut came) = pair(&one, second.id, &mut taken).await;
        let (mut sending, mut receiving) = opened.split();
        if keeps_sending {
            drop(receiving);
            assert_eq!(sending.ended().await, Ended::Cancelled);
        } else {
            drop(sending);
            assert!(matches!(receiving.receive().await, Err(ExchangeError::Cancelled)));
        }
        assert!(matches!(broken(&mut came).await, ExchangeError::Cancelled));
    }
    // Who has sent everything, and does not want the answer.
    let (opened, came) = pair(&one, second.id, &mut taken).await;
    drop(opened.finish());
    let (mut sending, _receiving) = came.split();
    assert_eq!(sending.ended().await, Ended::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_answered_in_full_may_leave_the_rest_unread() {
    let (one, second, mut taken) = two(&Authority::new("one")).await;
    let (mut opened, mut came) = pair(&one, second.id, &mut taken).await;
    for _ in 0..10 {
        came.send(Bytes::from(vec![1; 5_000])).await.unwrap();
    }
    drop(came.finish());

    assert_eq!(ended(&mut opened).await, Ended::Finished);
    for _ in 0..10 {
        assert_eq!(opened.receive().await.unwrap().unwrap().len(), 5_000);
    }
    assert!(opened.receive().await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_side_that_has_finished_reads_on() {
    let (one, second, mut taken) = two(&Authority::new("one")).await;
    let (opened, mut came) = pair(&one, second.id, &mut taken).await;
    let mut receiving = opened.finish();
    assert!(came.receive().await.unwrap().is_none());
    came.send("late".into()).await.unwrap();
    assert_eq!(receiving.receive().await.unwrap().unwrap(), "late");
    drop(came.finish());
    assert!(receiving.receive().await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_ends_its_exchanges_at_once_whoever_opened_them() {
    let authority = Authority::new("one");
    let (one, second, mut taken) = two(&authority).await;
    let mut taken_by_one = serve(&one);
    let (mut opened, _came) = pair(&one, second.id, &mut taken).await;
    let (_opened, mut came) = pair(&second, one.id, &mut taken_by_one).await;
    let (waits, _came_too) = pair(&one, second.id, &mut taken).await;

    let killed = Instant::now();
    let waiting = tokio::spawn(async move { waits.split().0.ended().await });
    second.kill().await;
    assert!(matches!(opened.receive().await, Err(ExchangeError::Lost { .. })));
    assert!(matches!(came.receive().await, Err(ExchangeError::Lost { .. })));
    assert!(matches!(ended(&mut opened).await, Ended::Lost { .. }));
    let _ = waiting.await.unwrap();
    // Sockets tell; no timer does: the shortest is the keepalive's, of a second.
    let took = killed.elapsed();
    assert!(took < Duration::from_millis(900), "{took:?}");
    let error = open(&one, NodeId(2), "head").await.unwrap_err();
    assert!(matches!(error, ExchangeError::Unreachable { .. }) && error.is_untaken(), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_shuts_down_ends_its_exchanges_at_both_sides() {
    let (one, second, mut taken) = two(&Authority::new("one")).await;
    let (mut opened, mut came) = pair(&one, second.id, &mut taken).await;
    second.peers.shut_down().await;
    assert!(matches!(opened.receive().await, Err(ExchangeError::Lost { .. })));
    assert!(matches!(came.receive().await, Err(ExchangeError::Lost { .. })));

    let error = open(&second, one.id, "head").await.unwrap_err();
    assert!(error.is_untaken(), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_comes_back_takes_exchanges_again() {
    let authority = Authority::new("one");
    let (one, second, mut taken) = two(&authority).await;
    let (mut opened, _came) = pair(&one, second.id, &mut taken).await;
    let listen = second.peers.address();
    second.kill().await;
    assert!(opened.receive().await.is_err());

    let mut start = authority.start(2);
    (start.incarnation, start.listen) = (2, listen);
    let back = start.run();
    back.knows(&[&one]);
    let mut taken = serve(&back);
    let (mut opened, mut came) = pair(&one, back.id, &mut taken).await;
    came.send("back".into()).await.unwrap();
    assert_eq!(opened.receive().await.unwrap().unwrap(), "back");
    assert_eq!(one.exchanges(back.id).connects, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_removed_loses_its_exchanges_both_ways() {
    let authority = Authority::new("one");
    let (one, second, mut taken) = two(&authority).await;
    let mut taken_by_one = serve(&one);
    let (mut opened, mut came) = pair(&one, second.id, &mut taken).await;
    let (mut opened_there, mut came_here) = pair(&second, one.id, &mut taken_by_one).await;

    one.knows(&[]);
    for exchange in [&mut opened, &mut came, &mut opened_there, &mut came_here] {
        assert!(matches!(exchange.receive().await, Err(ExchangeError::Lost { .. })));
    }
    let error = open(&one, second.id, "head").await.unwrap_err();
    assert!(matches!(error, ExchangeError::Unknown { node: NodeId(2) }), "{error}");
    let error = open(&second, one.id, "head").await.unwrap_err();
    assert!(error.to_string().contains("node 2 is not a member"), "{error}");
    assert!(error.is_untaken());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_black_hole_is_noticed_by_both_sides() {
    let authority = Authority::new("one");
    let (one, second) = (authority.node(1), authority.node(2));
    let proxy = Proxy::to(second.peers.address()).await;
    one.knows_at([(second.id, proxy.address.into())]);
    second.knows(&[&one]);
    let mut taken = serve(&second);
    let (mut opened, mut came) = pair(&one, second.id, &mut taken).await;

    let began = Instant::now();
    proxy.cut();
    let (here, there) = tokio::join!(opened.receive(), came.receive());
    assert!(matches!(here, Err(ExchangeError::Lost { .. })) && matches!(there, Err(ExchangeError::Lost { .. })));
    // Silence of three seconds; the rest is for a loaded machine.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(open(&one, second.id, "head").await.unwrap_err().is_untaken());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_life_of_a_node_ends_the_exchanges_of_the_older_one() {
    let authority = Authority::new("one");
    let (one, old, _taken) = two(&authority).await;
    let mut taken_by_one = serve(&one);
    let (_opened, mut came) = pair(&old, one.id, &mut taken_by_one).await;

    let mut start = authority.start(2);
    start.incarnation = 2;
    let new = start.run();
    new.knows(&[&one]);
    assert!(matches!(came.receive().await, Err(ExchangeError::Lost { .. })));
    // It may not have noticed yet that its connection has ended.
    let error = loop {
        match open(&old, one.id, "again").await.unwrap_err() {
            ExchangeError::Lost { .. } => {}
            error => break error,
        }
    };
    assert!(error.to_string().contains("incarnation 1 is older than 2"), "{error}");
    assert!(open(&new, one.id, "head").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_nobody_uses_is_closed_and_dialed_again() {
    let authority = Authority::new("one");
    let mut start = authority.start(1);
    start.limits = Limits { exchange_idle: Duration::from_millis(20), ..DEFAULTS };
    let (one, second) = (start.run(), authority.node(2));
    one.knows(&[&second]);
    second.knows(&[&one]);
    let mut taken = serve(&second);
    let (mut opened, mut came) = pair(&one, second.id, &mut taken).await;
    for number in 0..100 {
        came.send(event(number)).await.unwrap();
        assert_eq!(opened.receive().await.unwrap(), Some(event(number)));
    }
    assert!(one.exchanges(second.id).is_connected);
    drop((opened, came));

    until("it is closed", || !one.exchanges(second.id).is_connected).await;
    let _again = pair(&one, second.id, &mut taken).await;
    assert_eq!(one.exchanges(second.id).connects, 2);
    assert!(one.link(second.id).is_connected());
}
