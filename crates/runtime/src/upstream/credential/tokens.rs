//! The bearer token of one tool server: asked for on first use, renewed ahead of its end, replaced when it is refused.
//!
//! One task per tool server does all the asking, so that any number of calls cause one exchange; [`Renewal`] says when.
//! Calls take the token from memory, and wait only when there is none: for the attempt that is under way or due, not
//! longer than they have. While the task rests after a failure they fail at once, with the class of it.
//!
//! The task begins with the first use, ends when the last handle is dropped, whatever it is doing, and renews nothing
//! ahead of time any more once [`Tokens::close`] was called. It is no actor: it has one caller, keeps nothing that has
//! to survive it, and is begun again by the next use if it should ever end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::future::BoxFuture;
use http::HeaderValue;
use quorate_telemetry::TokenMetrics;
use quorate_types::{ResourceName, Timestamp};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::fetch::Trouble;
use super::grant::{Failure, Granted};
use super::renewal::{DEFAULTS, Renewal};
use crate::entropy;

/// Asks for a token, once.
pub(super) type Ask = Box<dyn Fn() -> BoxFuture<'static, Result<Granted, Trouble>> + Send + Sync>;

/// The token of one tool server, shared by its replicas. Clones are one.
#[derive(Clone)]
pub(super) struct Tokens {
    shared: Arc<Shared>,
    _ends_with_the_last_clone: Arc<DropGuard>,
}

/// A token as requests carry it.
pub(super) struct Token {
    pub(super) authorization: HeaderValue,
    usable_until: Instant,
    /// The server took it at least once.
    taken: AtomicBool,
}

struct Shared {
    server: ResourceName,
    ask: Ask,
    metrics: TokenMetrics,
    /// What the times of `renewal` count from: a clock that never steps back.
    epoch: Instant,
    token: ArcSwapOption<Token>,
    renewal: Mutex<Renewal>,
    /// How the last attempt failed; changes with each attempt's end.
    ended: watch::Sender<Option<Failure>>,
    /// Wakes the task, because its next attempt is due earlier.
    wake: Notify,
    /// Nothing is renewed ahead of time any more.
    closed: CancellationToken,
    /// No handle is left.
    dropped: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

// === impl Tokens ===

impl Tokens {
    pub(super) fn new(server: ResourceName, ask: Ask, metrics: TokenMetrics) -> Self {
        let dropped = CancellationToken::new();
        let shared = Shared {
            server,
            ask,
            metrics,
            epoch: Instant::now(),
            token: ArcSwapOption::empty(),
            renewal: Mutex::new(Renewal::new(DEFAULTS)),
            ended: watch::Sender::new(None),
            wake: Notify::new(),
            closed: CancellationToken::new(),
            dropped: dropped.clone(),
            task: Mutex::new(None),
        };
        Self { shared: Arc::new(shared), _ends_with_the_last_clone: Arc::new(dropped.drop_guard()) }
    }

    /// Returns a token that may be sent now, waiting for one at most until `until`.
    ///
    /// # Errors
    /// The [`Failure`] of the attempt that was waited for, or of the last one while the next has to wait.
    pub(super) async fn current(&self, until: Instant) -> Result<Arc<Token>, Failure> {
        if let Some(token) = self.shared.usable() {
            return Ok(token);
        }
        let mut ended = self.shared.ended.subscribe();
        self.shared.run();
        loop {
            // An attempt may have ended since the first look.
            let last = *ended.borrow_and_update();
            if let Some(token) = self.shared.usable() {
                return Ok(token);
            }
            if let Some(failure) = last.filter(|_| lock(&self.shared.renewal).is_resting(self.shared.now())) {
                return Err(failure);
            }
            // The sender is part of what this handle keeps.
            let _changed = timeout_at(until, ended.changed()).await.map_err(|_| Failure::Timeout)?;
        }
    }

    /// Returns another token than the one that the server refused; none when there is no use in trying another.
    ///
    /// # Errors
    /// As [`Self::current`].
    pub(super) async fn instead_of(&self, refused: &Arc<Token>, until: Instant) -> Result<Option<Arc<Token>>, Failure> {
        if self.shared.give_up(refused) { self.current(until).await.map(Some) } else { Ok(None) }
    }

    /// Renews nothing ahead of time any more; who still needs a token gets one.
    pub(super) fn close(&self) {
        self.shared.closed.cancel();
    }
}

// === impl Token ===

impl Token {
    /// Notes that the server took it.
    pub(super) fn took(&self) {
        // A store on each answer would move the line between processors.
        if !self.taken.load(Ordering::Relaxed) {
            self.taken.store(true, Ordering::Relaxed);
        }
    }
}

// === impl Shared ===

impl Shared {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(0) + self.epoch.elapsed()
    }

    fn usable(&self) -> Option<Arc<Token>> {
        self.token.load_full().filter(|token| Instant::now() < token.usable_until)
    }

    /// Gives a token up that the server refused. True when the caller may try again: with the token that has replaced
    /// it already, or the one that is asked for now.
    fn give_up(&self, refused: &Arc<Token>) -> bool {
        let mut renewal = lock(&self.renewal);
        let is_current = self.token.load().as_ref().is_some_and(|token| Arc::ptr_eq(token, refused));
        if !is_current {
            return true;
        }
        if !renewal.refused(self.now(), refused.taken.load(Ordering::Relaxed)) {
            return false;
        }
        self.token.store(None);
        drop(renewal);
        self.metrics.refused();
        tracing::info!(server = %self.server, "the tool server refuses its token (401): another one is asked for");
        self.wake.notify_one();
        true
    }

    /// Begins the task unless it runs.
    fn run(self: &Arc<Self>) {
        let mut task = lock(&self.task);
        if task.as_ref().is_none_or(JoinHandle::is_finished) {
            let shared = Arc::clone(self);
            *task = Some(tokio::spawn(async move {
                let dropped = shared.dropped.clone();
                // Whether there was still something to do matters to nobody.
                let _ended = dropped.run_until_cancelled(shared.keep()).await;
            }));
        }
    }

    /// Keeps a token fresh.
    async fn keep(&self) {
        loop {
            let due = self.epoch + lock(&self.renewal).due().since(Timestamp::from_millis(0));
            if due <= Instant::now() {
                self.attempt().await;
                continue;
            }
            if self.closed.is_cancelled() && self.usable().is_some() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                () = self.wake.notified() => {}
                () = self.closed.cancelled(), if !self.closed.is_cancelled() => {}
            }
        }
    }

    async fn attempt(&self) {
        let (asked_at, began) = (self.now(), Instant::now());
        let answer = (self.ask)().await;
        let failure = match answer {
            Ok(granted) => {
                self.metrics.refreshed("fetched");
                self.hold(granted, asked_at, began);
                None
            }
            Err(trouble) => {
                self.metrics.refreshed(trouble.failure.reason());
                self.rest(&trouble);
                Some(trouble.failure)
            }
        };
        self.ended.send_replace(failure);
    }

    fn hold(&self, granted: Granted, asked_at: Timestamp, began: Instant) {
        let Granted { authorization, life } = granted;
        let mut renewal = lock(&self.renewal);
        let failures = renewal.failures();
        let usable_for = renewal.granted(asked_at, life, jitter()).since(asked_at);
        let token = Token { authorization, usable_until: began + usable_for, taken: AtomicBool::new(false) };
        self.token.store(Some(Arc::new(token)));
        drop(renewal);
        let server = &self.server;
        if failures > 0 {
            tracing::info!(%server, failures, ?life, "the tool server has a token again");
        } else {
            tracing::debug!(%server, ?life, "the tool server has a new token");
        }
    }

    /// Each failure is said: back-off bounds how often there is one.
    fn rest(&self, trouble: &Trouble) {
        let mut renewal = lock(&self.renewal);
        let again_in: Duration = renewal.failed(self.now(), trouble.retry_after, jitter());
        let failures = renewal.failures();
        drop(renewal);
        let has_token = self.usable().is_some();
        let (server, failure, details) = (&self.server, &trouble.failure, &trouble.details);
        tracing::warn!(%server, %failure, details, failures, has_token, ?again_in, "a tool server's token cannot be had");
    }
}

/// Draws what sets the nodes of a cluster apart, which `entropy::spread` does not: it begins the same on each of them.
fn jitter() -> u64 {
    u64::from_le_bytes(entropy::secret())
}

/// Locks a mutex whose critical sections do not panic half-way through a change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
