//! The task that keeps a token, on paused time against an issuer that does as a test says.

use std::collections::VecDeque;
use std::sync::atomic::AtomicUsize;

use http::StatusCode;
use quorate_telemetry::Metrics;

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);
const REFUSED: Failure = Failure::Refused { status: StatusCode::UNAUTHORIZED, code: "invalid_client" };

/// What an issuer does with one request.
#[derive(Clone, Copy, Debug)]
enum Does {
    /// Gives a token that lives this many seconds.
    Gives(u64),
    /// Fails.
    Fails(Failure),
    /// Thinks for this many seconds, then gives a token for an hour.
    Thinks(u64),
    /// Never answers.
    Hangs,
}

/// An issuer: what it does next, and then for good; and how often it was asked.
struct Issuer {
    script: Mutex<(VecDeque<Does>, Does)>,
    asked: AtomicUsize,
    hanging: Arc<AtomicUsize>,
}

// === impl Issuer ===

impl Issuer {
    fn new(first: &[Does], then: Does) -> Arc<Self> {
        let script = Mutex::new((first.iter().copied().collect(), then));
        Arc::new(Self { script, asked: AtomicUsize::new(0), hanging: Arc::default() })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    fn then(&self, then: Does) {
        lock(&self.script).1 = then;
    }

    async fn answer(self: Arc<Self>) -> Result<Granted, Trouble> {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let does = {
            let mut script = lock(&self.script);
            script.0.pop_front().unwrap_or(script.1)
        };
        let granted = |seconds| {
            let authorization = HeaderValue::from_str(&format!("Bearer {number}")).unwrap();
            Ok(Granted { authorization, life: Duration::from_secs(seconds) })
        };
        match does {
            Does::Gives(seconds) => granted(seconds),
            Does::Fails(failure) => Err(failure.into()),
            Does::Thinks(seconds) => {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                granted(3600)
            }
            Does::Hangs => {
                let _hanging = Hanging::new(&self.hanging);
                std::future::pending().await
            }
        }
    }
}

/// Counts a request that hangs until it is dropped.
struct Hanging(Arc<AtomicUsize>);

impl Hanging {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn tokens(issuer: &Arc<Issuer>) -> (Tokens, Metrics) {
    let metrics = Metrics::new("0");
    let issuer = Arc::clone(issuer);
    let ask: Ask = Box::new(move || Box::pin(Arc::clone(&issuer).answer()));
    (Tokens::new(ResourceName::new("files").unwrap(), ask, metrics.token("files")), metrics)
}

/// The number of the token that is current.
async fn current(tokens: &Tokens) -> Result<usize, Failure> {
    let token = tokens.current(Instant::now() + PATIENCE).await?;
    Ok(token.authorization.to_str().unwrap().strip_prefix("Bearer ").unwrap().parse().unwrap())
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_before_the_first_use_and_then_once_for_all() {
    let issuer = Issuer::new(&[], Does::Thinks(2));
    let (tokens, metrics) = tokens(&issuer);
    pass(3600).await;
    assert_eq!(issuer.asked(), 0);

    let calls: Vec<_> = (0..200).map(|_| current(&tokens)).collect();
    let got = futures_util::future::join_all(calls).await;

    assert!(got.iter().all(|one| *one == Ok(0)), "{got:?}");
    assert_eq!(issuer.asked(), 1);
    assert!(
        metrics
            .render()
            .contains("quorate_upstream_token_refreshes_total{quorate_result=\"fetched\",quorate_server=\"files\"} 1")
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_is_renewed_in_the_background_before_it_ends() {
    let issuer = Issuer::new(&[], Does::Gives(100));
    let (tokens, _metrics) = tokens(&issuer);
    assert_eq!(current(&tokens).await, Ok(0));

    pass(69).await;
    assert_eq!((issuer.asked(), current(&tokens).await), (1, Ok(0)));
    pass(12).await;
    assert_eq!((issuer.asked(), current(&tokens).await), (2, Ok(1)));
    pass(3600).await;
    assert!((45..=54).contains(&issuer.asked()), "{}", issuer.asked());
}

#[tokio::test(start_paused = true)]
async fn the_old_token_is_used_while_a_renewal_is_slow_or_fails() {
    let issuer = Issuer::new(&[Does::Gives(100), Does::Fails(Failure::Unreachable), Does::Hangs], Does::Gives(100));
    let (tokens, _metrics) = tokens(&issuer);
    assert_eq!(current(&tokens).await, Ok(0));

    pass(94).await;

    assert_eq!((issuer.asked(), current(&tokens).await), (3, Ok(0)));
}

#[tokio::test(start_paused = true)]
async fn without_a_token_calls_fail_at_once_while_the_next_attempt_has_to_wait() {
    let issuer = Issuer::new(&[], Does::Fails(REFUSED));
    let (tokens, metrics) = tokens(&issuer);
    let began = Instant::now();

    for _ in 0..100 {
        assert_eq!(current(&tokens).await, Err(REFUSED));
    }

    assert_eq!((issuer.asked(), began.elapsed()), (1, Duration::ZERO));
    pass(300).await;
    assert!((8..=16).contains(&issuer.asked()), "{} attempts in five minutes", issuer.asked());
    assert_eq!(current(&tokens).await, Err(REFUSED));
    issuer.then(Does::Gives(100));
    pass(61).await;
    assert!(current(&tokens).await.is_ok(), "its return is noticed within a minute");
    assert!(metrics.render().contains("quorate_result=\"refused\""));
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_no_longer_than_it_has() {
    let issuer = Issuer::new(&[], Does::Hangs);
    let (tokens, _metrics) = tokens(&issuer);
    let began = Instant::now();

    let got = tokens.current(began + Duration::from_secs(2)).await.map(drop);

    assert_eq!((got, began.elapsed()), (Err(Failure::Timeout), Duration::from_secs(2)));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_given_up_leaves_the_attempt_to_the_others() {
    let issuer = Issuer::new(&[], Does::Thinks(2));
    let (tokens, _metrics) = tokens(&issuer);

    let given_up = tokio::time::timeout(Duration::from_secs(1), current(&tokens)).await;

    assert!(given_up.is_err());
    assert_eq!((current(&tokens).await, issuer.asked()), (Ok(0), 1));
}

#[tokio::test(start_paused = true)]
async fn many_refusals_of_one_token_ask_for_one_other() {
    let issuer = Issuer::new(&[], Does::Gives(3600));
    let (tokens, metrics) = tokens(&issuer);
    let until = Instant::now() + PATIENCE;
    let revoked = tokens.current(until).await.unwrap();
    revoked.took();

    let calls: Vec<_> = (0..100).map(|_| tokens.instead_of(&revoked, until)).collect();
    for got in futures_util::future::join_all(calls).await {
        assert_eq!(got.unwrap().unwrap().authorization, "Bearer 1");
    }

    assert_eq!(issuer.asked(), 2);
    assert!(metrics.render().contains("quorate_upstream_token_refusals_total{quorate_server=\"files\"} 1"));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_every_token_does_not_wear_the_issuer_out() {
    let issuer = Issuer::new(&[], Does::Gives(3600));
    let (tokens, _metrics) = tokens(&issuer);
    let end = Instant::now() + Duration::from_secs(60);

    while Instant::now() < end {
        let until = Instant::now() + PATIENCE;
        let token = tokens.current(until).await.unwrap();
        // The calls of a busy server.
        let _instead = tokens.instead_of(&token, until).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    assert!(issuer.asked() <= 4, "{} attempts in a minute", issuer.asked());
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_that_cannot_be_replaced_is_the_failure_of_the_issuer() {
    let issuer = Issuer::new(&[Does::Gives(3600)], Does::Fails(Failure::Unreachable));
    let (tokens, _metrics) = tokens(&issuer);
    let until = Instant::now() + PATIENCE;
    let revoked = tokens.current(until).await.unwrap();

    assert_eq!(tokens.instead_of(&revoked, until).await.map(drop), Err(Failure::Unreachable));
    assert_eq!(current(&tokens).await, Err(Failure::Unreachable), "and the refused one is not used any more");
}

#[tokio::test(start_paused = true)]
async fn a_token_of_a_second_is_used_and_asked_for_once_a_second() {
    let issuer = Issuer::new(&[], Does::Gives(1));
    let (tokens, _metrics) = tokens(&issuer);
    let began = Instant::now();

    while began.elapsed() < Duration::from_secs(20) {
        current(&tokens).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    assert!((19..=22).contains(&issuer.asked()), "{} attempts in 20 s", issuer.asked());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_renewed_once_the_last_handle_is_gone() {
    let issuer = Issuer::new(&[Does::Gives(100)], Does::Hangs);
    let (tokens, _metrics) = tokens(&issuer);
    let other = tokens.clone();
    current(&tokens).await.unwrap();
    drop(tokens);
    pass(90).await;
    assert_eq!((issuer.asked(), issuer.hanging.load(Ordering::Relaxed)), (2, 1), "a handle is left");

    drop(other);
    pass(1).await;

    assert_eq!(issuer.hanging.load(Ordering::Relaxed), 0, "the exchange under way is given up");
    pass(3600).await;
    assert_eq!(issuer.asked(), 2);
    assert_eq!(Arc::strong_count(&issuer), 1, "nothing of it is left");
}

#[tokio::test(start_paused = true)]
async fn a_closed_one_renews_nothing_ahead_and_still_serves_who_needs_it() {
    let issuer = Issuer::new(&[], Does::Gives(100));
    let (tokens, _metrics) = tokens(&issuer);
    current(&tokens).await.unwrap();

    tokens.close();
    pass(3600).await;

    assert_eq!(issuer.asked(), 1);
    assert_eq!((current(&tokens).await, issuer.asked()), (Ok(1), 2));
    pass(3600).await;
    assert_eq!(issuer.asked(), 2);
}
