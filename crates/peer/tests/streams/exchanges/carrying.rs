//! Messages: order, sizes, both ways at once, and who holds back whom.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;

use bytes::Bytes;
use quorate_peer::{EXCHANGE_BYTES_MAX, Exchange, ExchangeError, NodeId, Protocol, SendError, Sending};

use super::super::world::{Authority, until};
use super::{event, open, pair, two};

/// Sends until a call has to wait, and gives that up; returns how many messages there were, that one among them.
async fn fill(sending: &mut Sending) -> u32 {
    let mut sent = 0;
    poll_fn(|context| {
        loop {
            sent += 1;
            let mut call = std::pin::pin!(sending.send(event(sent)));
            match call.as_mut().poll(context) {
                Poll::Ready(outcome) => outcome.unwrap(),
                Poll::Pending => return Poll::Ready(sent),
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_go_both_ways_in_order_and_end_in_order() {
    const COUNT: u32 = 5_000;
    let (one, second, mut taken) = two(&Authority::new("one")).await;
    let opened = open(&one, second.id, "the head").await.unwrap();
    let came = taken.recv().await.unwrap();
    assert_eq!((came.from, &*came.head), (one.id, &b"the head"[..]));

    let talk = |exchange: Exchange| async {
        let (mut sending, mut receiving) = exchange.split();
        let sends = tokio::spawn(async move {
            for number in 0..COUNT {
                sending.send(event(number)).await.unwrap();
            }
            sending.finish();
        });
        for number in 0..COUNT {
            assert_eq!(receiving.receive().await.unwrap(), Some(event(number)));
        }
        for _ in 0..2 {
            assert!(receiving.receive().await.unwrap().is_none());
        }
        sends.await.unwrap();
    };
    tokio::join!(talk(opened), talk(came.exchange));

    for (node, with) in [(&one, &second), (&second, &one)] {
        until("it is over", || node.exchanges(with.id).open_out + node.exchanges(with.id).open_in == 0).await;
    }
    let (outward, inward) = (one.exchanges(second.id), second.exchanges(one.id));
    assert_eq!((outward.opened_out, outward.opened_in, outward.connects), (1, 0, 1));
    assert_eq!((inward.opened_out, inward.opened_in, inward.connects), (0, 1, 0));
    assert_eq!((outward.messages_out, outward.messages_in), (u64::from(COUNT) + 1, u64::from(COUNT)));
    assert_eq!((outward.bytes_out, inward.bytes_in), (8 + 300 * u64::from(COUNT), 8 + 300 * u64::from(COUNT)));
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_all_sizes_pass_the_largest_too_and_a_larger_one_does_not() {
    let (one, second, mut taken) = two(&Authority::new("one")).await;
    let (mut opened, mut came) = pair(&one, second.id, &mut taken).await;
    for size in [0, 1, 8 << 10, (8 << 10) + 1, 64 << 10, (64 << 10) + 1, 1 << 20, EXCHANGE_BYTES_MAX] {
        let message = Bytes::from(vec![7; size]);
        let (sent, received) = tokio::join!(opened.send(message.clone()), came.receive());
        sent.unwrap();
        assert!(received.unwrap().unwrap() == message, "{size}");
    }

    let (bytes, max) = (EXCHANGE_BYTES_MAX + 1, EXCHANGE_BYTES_MAX);
    let larger = Bytes::from(vec![7; bytes]);
    assert_eq!(opened.send(larger.clone()).await, Err(SendError::TooLarge { bytes, max }));
    opened.send("goes on".into()).await.unwrap();
    assert_eq!(came.receive().await.unwrap().unwrap(), "goes on");

    let error = one.peers.exchange(second.id, Protocol::RELAY, larger).await.unwrap_err();
    assert!(matches!(error, ExchangeError::TooLarge { .. }) && error.is_untaken());
    let head = Bytes::from(vec![8; EXCHANGE_BYTES_MAX]);
    let _opened = open(&one, second.id, head.clone()).await.unwrap();
    assert!(taken.recv().await.unwrap().head == head);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_large_messages_at_once_than_there_is_room_for_all_arrive() {
    let (one, second, mut taken) = two(&Authority::new("one")).await;
    let mut both = Vec::new();
    for _ in 0..6 {
        both.push(pair(&one, second.id, &mut taken).await);
    }
    let moves = both.iter_mut().map(|(opened, came)| async {
        let (sent, received) = tokio::join!(opened.send(vec![1; EXCHANGE_BYTES_MAX].into()), came.receive());
        sent.unwrap();
        assert_eq!(received.unwrap().unwrap().len(), EXCHANGE_BYTES_MAX);
    });
    futures_util::future::join_all(moves).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_is_never_further_ahead_of_who_reads_than_windows_allow() {
    const COUNT: u32 = 200;
    let (one, second, mut taken) = two(&Authority::new("one")).await;
    let (opened, mut came) = pair(&one, second.id, &mut taken).await;
    let (mut sending, _receiving) = opened.split();
    let sent = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&sent);
    let sends = tokio::spawn(async move {
        for _ in 0..COUNT {
            sending.send(Bytes::from(vec![b'x'; 10_000])).await.unwrap();
            counter.fetch_add(1, Ordering::SeqCst);
        }
        sending.finish();
    });

    // The window of 64 KiB, and a frame or two that the reader has not made messages of.
    until("the window is full", || sent.load(Ordering::SeqCst) >= 6).await;
    for read in 0..COUNT {
        // A message may be read before its sender has counted it.
        let ahead = sent.load(Ordering::SeqCst).saturating_sub(read);
        assert!(ahead <= 9, "{ahead} messages of 10,000 bytes are under way");
        assert_eq!(came.receive().await.unwrap().unwrap().len(), 10_000);
    }
    assert!(came.receive().await.unwrap().is_none());
    sends.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_sender_was_given_up_goes_before_the_next_one() {
    let (one, second, mut taken) = two(&Authority::new("one")).await;
    let (opened, mut came) = pair(&one, second.id, &mut taken).await;
    let (mut sending, _receiving) = opened.split();
    let mut sent = 0;
    for _ in 0..3 {
        let more = fill(&mut sending).await;
        let read = async {
            for number in 1..=more {
                assert_eq!(came.receive().await.unwrap(), Some(event(number)));
            }
            assert_eq!(came.receive().await.unwrap().unwrap(), "after it");
        };
        let (outcome, ()) = tokio::join!(sending.send("after it".into()), read);
        outcome.unwrap();
        sent += more;
    }
    assert!(sent > 3, "it waited in the middle of something");
    fill(&mut sending).await;
    sending.finish();
    while came.receive().await.unwrap().is_some() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_exchanges_that_nobody_reads_hold_back_no_other_and_no_consensus() {
    let (one, second, mut taken) = two(&Authority::new("one")).await;
    let mut stalled = Vec::new();
    for _ in 0..1_000 {
        let (opened, came) = pair(&one, second.id, &mut taken).await;
        let (mut halves, mut others) = (opened.split(), came.split());
        fill(&mut halves.0).await;
        fill(&mut others.0).await;
        stalled.push((halves, others));
    }

    let (mut opened, mut came) = pair(&one, second.id, &mut taken).await;
    for number in 0..1_000 {
        let (sent, received) = tokio::join!(opened.send(event(number)), came.receive());
        sent.unwrap();
        assert_eq!(received.unwrap(), Some(event(number)));
        came.send(event(number)).await.unwrap();
        assert_eq!(opened.receive().await.unwrap(), Some(event(number)));
    }
    // Many windows of one exchange.
    let (sent, received) = tokio::join!(opened.send(vec![0; 16 << 20].into()), came.receive());
    sent.unwrap();
    assert_eq!(received.unwrap().unwrap().len(), 16 << 20);
    for _ in 0..100 {
        assert!(one.ask(&second, "vote").await.is_ok() && second.ask(&one, "vote").await.is_ok());
    }
    assert_eq!((one.exchanges(second.id).open_out, second.exchanges(one.id).open_in), (1_001, 1_001));
    assert_eq!(one.exchanges(second.id).connects, 1);
    assert!(one.link(second.id).is_connected());
}

#[tokio::test(flavor = "multi_thread")]
async fn tiny_messages_that_nobody_reads_do_not_end_the_connection() {
    let (one, second, mut taken) = two(&Authority::new("one")).await;
    let mut stalled = Vec::new();
    for _ in 0..200 {
        let (mut opened, came) = pair(&one, second.id, &mut taken).await;
        // As many frames as a window holds, which is not told of what a frame costs beside its bytes.
        for _ in 0..5_000 {
            let sent = std::pin::pin!(opened.send(Bytes::from_static(b"ack")));
            if futures_util::FutureExt::now_or_never(sent).is_none() {
                break;
            }
        }
        stalled.push((opened, came));
    }
    for (opened, came) in &mut stalled {
        assert_eq!(came.receive().await.unwrap().unwrap(), "ack");
        came.send("here".into()).await.unwrap();
        assert_eq!(opened.receive().await.unwrap().unwrap(), "here");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_open_at_once_have_one_connection() {
    let (one, second, mut taken) = two(&Authority::new("one")).await;
    let opening = (0..200_u32).map(|number| open(&one, second.id, event(number)));
    let opened: Vec<_> = futures_util::future::join_all(opening).await.into_iter().map(Result::unwrap).collect();
    for _ in 0..200 {
        let mut came = taken.recv().await.unwrap();
        came.exchange.send(came.head.clone()).await.unwrap();
        tokio::spawn(async move { came.exchange.receive().await });
    }
    for (mut exchange, number) in opened.into_iter().zip(0..) {
        assert_eq!(exchange.receive().await.unwrap(), Some(event(number)), "each answer is its own");
    }
    assert_eq!(one.exchanges(second.id).connects, 1);
    assert_eq!(second.exchanges(NodeId(1)).opened_in, 200);
}
