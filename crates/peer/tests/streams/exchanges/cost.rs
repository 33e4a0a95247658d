//! What a message costs in time of processors, at both nodes together; measured on demand:
//! `cargo test --release --workspace --test streams -- cost --ignored --nocapture --test-threads 1`.

use std::time::{Duration, Instant};

use quorate_peer::Exchange;

use super::super::world::Authority;
use super::{event, pair, two};

/// Returns the time of processors that this process has used (proc(5): fields 14 and 15 of `stat`, in ticks of 10 ms).
fn used() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks: u64 = fields[11..=12].iter().map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(10 * ticks)
}

/// Runs it, and tells what each of so many messages took.
async fn measure(what: &str, messages: u32, run: impl Future<Output = ()>) {
    let (began, before) = (Instant::now(), used());
    run.await;
    let (took, cost) = (began.elapsed() / messages, (used() - before) / messages);
    println!("{what}: {cost:?} of processors and {took:?} a message, {messages} messages");
}

async fn one_way(from: &mut Exchange, to: &mut Exchange, count: u32) {
    let sends = async {
        for number in 0..count {
            from.send(event(number)).await.unwrap();
        }
    };
    let receives = async {
        for _ in 0..count {
            to.receive().await.unwrap().unwrap();
        }
    };
    tokio::join!(sends, receives);
}

async fn ping_pong(one: &mut Exchange, other: &mut Exchange, count: u32) {
    for number in 0..count {
        one.send(event(number)).await.unwrap();
        other.receive().await.unwrap().unwrap();
        other.send(event(number)).await.unwrap();
        one.receive().await.unwrap().unwrap();
    }
}

#[ignore = "measures"]
#[tokio::test(flavor = "multi_thread")]
async fn cost_of_small_messages() {
    let (one, second, mut taken) = two(&Authority::new("one")).await;
    let (mut opened, mut came) = pair(&one, second.id, &mut taken).await;
    measure("ping-pong", 40_000, ping_pong(&mut opened, &mut came, 20_000)).await;
    measure("one way", 200_000, one_way(&mut came, &mut opened, 200_000)).await;

    let mut many = Vec::new();
    for _ in 0..1_000 {
        many.push(pair(&one, second.id, &mut taken).await);
    }
    measure("ping-pong on each of 1,000", 200_000, async {
        let all = many.iter_mut().map(|(opened, came)| ping_pong(opened, came, 100));
        futures_util::future::join_all(all).await;
    })
    .await;
    measure("one way on each of 1,000", 200_000, async {
        let all = many.iter_mut().map(|(opened, came)| one_way(came, opened, 200));
        futures_util::future::join_all(all).await;
    })
    .await;
    measure("open and close", 10_000, async {
        for _ in 0..10_000 {
            let (mut opened, came) = pair(&one, second.id, &mut taken).await;
            drop(came.finish());
            assert!(opened.receive().await.unwrap().is_none());
        }
    })
    .await;
}
