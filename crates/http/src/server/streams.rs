//! Runs the streams of HTTP/2 connections, and resets one whose client stopped reading.
//!
//! A stream's flow-control window can keep a single answer from moving while the connection's
//! socket is fine, so the socket's stall timeout never sees it. Each stream runs in its own task,
//! as hyper wants it; this wrapper notes whether the answer waits for us (the body has nothing)
//! or for the client (a piece was handed out and no further one was asked for), and ends the task
//! when it waits for the client too long. Ending it resets that stream alone: other clients
//! behind the same proxy connection go on.
//!
//! The body tells its task through a thread-local that is set around each poll, because hyper
//! gives no other link from a body to its task.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::Executor;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::observe::{Observer, limit};

/// Whom an answer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaits {
    Us,
    ClientSince(Instant),
}

/// Spawns the streams of a server's connections.
#[derive(Clone)]
pub(super) struct Streams {
    stall_timeout: Duration,
    observer: Arc<dyn Observer>,
}

pin_project_lite::pin_project! {
    struct Stream<F> {
        #[pin]
        future: F,
        awaits: Awaits,
        // Made when the answer first waits for the client.
        timer: Option<Pin<Box<Sleep>>>,
        stall_timeout: Duration,
        observer: Arc<dyn Observer>,
    }
}

thread_local! {
    static CURRENT: Cell<Awaits> = const { Cell::new(Awaits::Us) };
}

/// The body of the stream being polled was asked for more.
pub(super) fn asked() {
    CURRENT.set(Awaits::Us);
}

/// The stream being polled was given something to send.
pub(super) fn handed_out() {
    CURRENT.set(Awaits::ClientSince(Instant::now()));
}

// === impl Streams ===

impl Streams {
    pub(super) fn new(stall_timeout: Duration, observer: Arc<dyn Observer>) -> Self {
        Self { stall_timeout, observer }
    }
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        let (stall_timeout, observer) = (self.stall_timeout, Arc::clone(&self.observer));
        tokio::spawn(Stream { future, awaits: Awaits::Us, timer: None, stall_timeout, observer });
    }
}

// === impl Stream ===

impl<F: Future<Output = ()>> Future for Stream<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        CURRENT.set(*this.awaits);
        let result = this.future.poll(cx);
        *this.awaits = CURRENT.replace(Awaits::Us);
        if result.is_ready() {
            return Poll::Ready(());
        }
        let Awaits::ClientSince(since) = *this.awaits else { return Poll::Pending };
        let deadline = since + *this.stall_timeout;
        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        if timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        this.observer.limit_hit(limit::WRITE_STALL_TIMEOUT);
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    struct Hits(AtomicU32);

    impl Observer for Hits {
        fn limit_hit(&self, limit: &'static str) {
            assert_eq!(limit, limit::WRITE_STALL_TIMEOUT);
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn stream<F>(future: F, hits: &Arc<Hits>) -> Stream<F> {
        let observer = Arc::clone(hits) as Arc<dyn Observer>;
        Stream { future, awaits: Awaits::Us, timer: None, stall_timeout: Duration::from_secs(30), observer }
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_time_that_the_client_takes_counts() {
        let hits = Arc::new(Hits(AtomicU32::new(0)));
        let start = Instant::now();

        // The source is slow: an hour of silence is no stall. Then the client stops reading.
        stream(
            async {
                tokio::time::sleep(Duration::from_secs(3600)).await;
                handed_out();
                tokio::time::sleep(Duration::from_secs(29)).await;
                handed_out();
                std::future::pending::<()>().await;
            },
            &hits,
        )
        .await;

        assert_eq!(start.elapsed().as_secs(), 3600 + 29 + 30);
        assert_eq!(hits.0.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn asking_for_more_ends_the_wait_for_the_client() {
        let hits = Arc::new(Hits(AtomicU32::new(0)));
        stream(
            async {
                handed_out();
                tokio::time::sleep(Duration::from_secs(29)).await;
                asked();
                tokio::time::sleep(Duration::from_secs(3600)).await;
            },
            &hits,
        )
        .await;
        assert_eq!(hits.0.load(Ordering::Relaxed), 0);
    }
}
