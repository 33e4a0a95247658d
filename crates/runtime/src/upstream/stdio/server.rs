//! The processes of one tool server: who may start one when, which wait, and how they ended.
//!
//! A process that ends without being asked before it was of use counts as a failure; so does every such end of a
//! process that all share. What follows from failures is for the [`Gate`] to say, which every start passes. A process
//! that served a session and then fell over is that session's misfortune: another one is started when it is needed.

use std::ffi::{OsStr, OsString};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use quorate_stdio::{Child, ENDING_MAX, Exit, Lines, Status};
use quorate_telemetry::metrics::Active;
use quorate_telemetry::{StdioMetrics, Throttle};
use ractor::ActorRef;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::super::answer::Answer;
use super::super::endpoint::Limits;
use super::super::error::Error;
use super::actor::Message;
use super::calls::Calls;
use super::gate::{Closing, Gate, Pass};
use super::sharing::Sharing;
use super::{Config, Isolation};

/// Bounds lines about processes of sessions that ended: each session may have one.
static ENDED: Throttle = Throttle::new();

/// The state of one tool server; outlives its actor.
pub(crate) struct Server {
    config: Config,
    limits: Limits,
    metrics: StdioMetrics,
    permits: Arc<Semaphore>,
    gate: Arc<Gate>,
    spares: Mutex<Vec<Spare>>,
    calls: Slot<Calls>,
    sharing: Slot<Sharing>,
    closed: AtomicBool,
    actor: Mutex<Option<ActorRef<Message>>>,
}

/// A process that nobody has spoken to.
pub(super) struct Fresh {
    pub(super) child: Child,
    pub(super) lines: Lines,
    pub(super) employment: Arc<Employment>,
}

/// What a process is used for at present, which tells what its end means.
pub(super) struct Employment {
    use_: AtomicU8,
    pass: Pass,
    is_of_use: AtomicBool,
}

/// A use of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// It waits.
    Spare,
    /// It is asked which era it speaks; old servers end at that.
    Probe,
    /// It is being initialized.
    Starting,
    /// It serves one session.
    Session,
    /// It serves everybody.
    Everybody,
}

struct Spare {
    fresh: Fresh,
    _waits: Active,
}

/// Something that is made once, and again when it has ended; nothing is kept in it any more once it is closed.
pub(super) struct Slot<T> {
    present: ArcSwapOption<T>,
    /// Held by who makes it; holds why the last attempt failed, if it did.
    making: tokio::sync::Mutex<Option<Error>>,
    /// How many attempts have ended.
    attempts: AtomicU64,
    closed: AtomicBool,
}

/// Why a process was of no use.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    /// What anybody may know.
    pub(super) reason: String,
    /// What the operator is told beside it: paths, and what the process wrote.
    pub(super) details: String,
}

/// What a slot holds.
pub(super) trait Living: Send + Sync {
    /// Tells whether it can still be used.
    fn lives(&self) -> bool;
}

// === impl Server ===

impl Server {
    pub(super) fn new(config: Config, limits: Limits, metrics: StdioMetrics) -> Arc<Self> {
        Arc::new(Self {
            permits: Arc::new(Semaphore::new(config.children_max)),
            gate: Gate::new(config.restarts),
            spares: Mutex::new(Vec::new()),
            calls: Slot::new(),
            sharing: Slot::new(),
            closed: AtomicBool::new(false),
            actor: Mutex::new(None),
            config,
            limits,
            metrics,
        })
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.config.recipe.name
    }

    pub(super) fn program(&self) -> &OsStr {
        self.config.recipe.argv.first().map_or(OsStr::new(""), OsString::as_os_str)
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) fn metrics(&self) -> &StdioMetrics {
        &self.metrics
    }

    pub(super) fn start_timeout(&self) -> Duration {
        self.config.start_timeout
    }

    pub(crate) fn isolation(&self) -> Isolation {
        self.config.isolation
    }

    pub(super) fn is_down(&self) -> bool {
        self.gate.rests()
    }

    /// Starts nothing any more, and ends what nobody uses.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        lock(&self.spares).clear();
        self.calls.close();
        self.sharing.close();
        lock(&self.actor).take();
    }

    /// Waits until another process may be started, at most for as long as ending one takes.
    pub(super) async fn room(&self) {
        // Who finds no room after that is told so when it starts one.
        let _room = tokio::time::timeout(ENDING_MAX, self.permits.acquire()).await;
    }

    /// Waits until every process has ended.
    pub(super) async fn none_left(&self) {
        let all = u32::try_from(self.config.children_max).unwrap_or(u32::MAX);
        // The semaphore is never closed; the permits go back at once.
        let _all = self.permits.acquire_many(all).await;
    }

    /// Asks the process for stateless calls; another one when that turns out to have ended before it took the request.
    pub(in super::super) async fn ask<F>(self: &Arc<Self>, ask: impl Fn(Arc<Calls>) -> F) -> Result<Answer, Error>
    where
        F: Future<Output = Result<Answer, Error>>,
    {
        match ask(self.calls().await?).await {
            Err(Error::SessionLost) => ask(self.calls().await?).await,
            asked => asked,
        }
    }

    /// Returns the process for stateless calls.
    async fn calls(self: &Arc<Self>) -> Result<Arc<Calls>, Error> {
        self.calls.get(|| Calls::start(self, Use::Everybody)).await
    }

    /// Keeps the process of a probe for stateless calls.
    pub(super) fn keep_calls(&self, calls: Arc<Calls>) {
        self.calls.put(calls);
    }

    /// Returns the process that legacy sessions share.
    pub(super) async fn sharing(self: &Arc<Self>) -> Result<Arc<Sharing>, Error> {
        self.sharing.get(|| Sharing::start(self)).await
    }

    /// Returns a process that nobody has spoken to: a spare, or a new one.
    pub(super) async fn fresh(self: &Arc<Self>, use_: Use) -> Result<Fresh, Error> {
        if let Some(spare) = self.take_spare() {
            spare.employment.now(use_);
            self.refill();
            return Ok(spare);
        }
        self.start(use_).await
    }

    fn take_spare(&self) -> Option<Fresh> {
        let mut spares = lock(&self.spares);
        while let Some(spare) = spares.pop() {
            if spare.fresh.child.is_open() {
                return Some(spare.fresh);
            }
        }
        None
    }

    /// How many spares are missing.
    pub(super) fn spares_missing(&self) -> usize {
        if self.closed.load(Ordering::SeqCst) {
            return 0;
        }
        let mut spares = lock(&self.spares);
        spares.retain(|spare| spare.fresh.child.exit().is_none());
        self.config.spares.saturating_sub(spares.len())
    }

    /// Starts a spare.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub(super) async fn start_spare(self: &Arc<Self>) -> Result<(), Error> {
        let fresh = self.start(Use::Spare).await?;
        let mut spares = lock(&self.spares);
        if !self.closed.load(Ordering::SeqCst) {
            spares.push(Spare { fresh, _waits: self.metrics.spare_waits() });
        }
        Ok(())
    }

    /// Starts a process as soon as it may be.
    ///
    /// # Errors
    /// [`Error::Process`] when it cannot be started or rests, [`Error::Children`] when there are enough.
    async fn start(self: &Arc<Self>, use_: Use) -> Result<Fresh, Error> {
        let pass = self.gate.pass().await?;
        if self.closed.load(Ordering::SeqCst) {
            return Err(Failure::plain("it is not configured any more").into());
        }
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        let permit = permit.map_err(|_| Error::Children { max: self.config.children_max })?;
        let server = Arc::clone(self);
        // A task of its own: a start whose user leaves counts among the processes until it has ended again.
        let started = tokio::spawn(async move {
            let (child, lines) = server.launch().await.inspect_err(|failure| server.failed(&pass, failure))?;
            let employment = Arc::new(Employment::of(use_, pass));
            server.watch(&child, Arc::clone(&employment), permit);
            Ok(Fresh { child, lines, employment })
        });
        let fresh: Result<Fresh, Failure> = started.await.map_err(|_| Failure::plain("its start was cut short"))?;
        Ok(fresh?)
    }

    async fn launch(&self) -> Result<(Child, Lines), Failure> {
        let program = self.config.recipe.program().await.map_err(|unreadable| Failure {
            reason: format!("the value of its variable {} cannot be read", unreadable.variable.display()),
            details: format!("{}: {}", unreadable.file.display(), unreadable.reason),
        })?;
        Child::start(&Arc::new(program), &self.config.guard)
            .await
            .map_err(|error| Failure { reason: "its process cannot be started".to_owned(), details: error.to_string() })
    }

    /// Sees a process end.
    fn watch(self: &Arc<Self>, child: &Child, employment: Arc<Employment>, permit: OwnedSemaphorePermit) {
        let (lives, watch, server) = (self.metrics.child_started(), child.watch(), Arc::downgrade(self));
        let metrics = self.metrics.clone();
        tokio::spawn(async move {
            let exit = watch.exited().await;
            let told = exit.asked && exit.status != Status::Unfinished;
            metrics.child_ended(if told { "asked" } else { exit.status.as_str() });
            drop((lives, permit));
            if let Some(server) = Weak::upgrade(&server) {
                server.ended(&exit, &employment);
            }
        });
    }

    fn ended(&self, exit: &Exit, employment: &Employment) {
        let use_ = employment.get();
        match use_ {
            _ if exit.asked => {}
            Use::Spare | Use::Starting | Use::Everybody => self.failed(&employment.pass, &Failure::of_exit(exit)),
            Use::Session if !ENDED.admits() => {}
            Use::Session => tracing::warn!(server = %self.name(), %exit, "the process of a session ended by itself"),
            Use::Probe => {
                tracing::debug!(server = %self.name(), %exit, "a process ended when it was asked for its era")
            }
        }
        if use_ == Use::Spare {
            self.refill();
        }
    }

    /// Takes note that the process of this employment was of no use, though it has not ended.
    pub(super) fn useless(&self, employment: &Employment, failure: &Failure) {
        self.failed(&employment.pass, failure);
    }

    fn failed(&self, pass: &Pass, failure: &Failure) {
        let server = self.name();
        match pass.failed(failure) {
            Some(Closing { rests: true, failures, wait }) => {
                tracing::error!(%server, %failure, failures, rest = ?wait, "melted down: the process rests");
            }
            Some(Closing { rests: false, failures, wait }) => {
                tracing::warn!(%server, %failure, failures, delay = ?wait, "the process failed");
            }
            None => tracing::warn!(%server, %failure, "the process failed beside another one, which counts"),
        }
    }

    pub(super) fn attach(&self, actor: ActorRef<Message>) {
        *lock(&self.actor) = Some(actor);
    }

    fn refill(&self) {
        if let Some(actor) = lock(&self.actor).as_ref() {
            // An actor that is gone keeps no spares.
            let _gone = actor.cast(Message::Refill);
        }
    }
}

// === impl Employment ===

impl Employment {
    fn of(use_: Use, pass: Pass) -> Self {
        let employment = Self { use_: AtomicU8::new(use_ as u8), pass, is_of_use: AtomicBool::new(false) };
        employment.now(use_);
        employment
    }

    pub(super) fn now(&self, use_: Use) {
        self.use_.store(use_ as u8, Ordering::SeqCst);
        match use_ {
            // A spare may wait for hours and a call for minutes, and others are to be started meanwhile.
            Use::Spare | Use::Everybody => self.pass.abstain(),
            Use::Probe | Use::Starting | Use::Session => {}
        }
    }

    /// The process has answered. Cheap when it has before.
    pub(super) fn is_of_use(&self) {
        if !self.is_of_use.load(Ordering::Relaxed) && !self.is_of_use.swap(true, Ordering::SeqCst) {
            self.pass.of_use();
        }
    }

    fn get(&self) -> Use {
        let all = [Use::Spare, Use::Probe, Use::Starting, Use::Session, Use::Everybody];
        let present = self.use_.load(Ordering::SeqCst);
        all.into_iter().find(|use_| *use_ as u8 == present).expect("only uses are stored")
    }
}

// === impl Slot ===

impl<T: Living> Slot<T> {
    fn new() -> Self {
        Self {
            present: ArcSwapOption::empty(),
            making: tokio::sync::Mutex::new(None),
            attempts: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        }
    }

    fn living(&self) -> Option<Arc<T>> {
        self.present.load_full().filter(|present| present.lives())
    }

    /// Returns what is there, or makes it; who comes meanwhile waits for the same, also where that is an error.
    async fn get<F>(&self, make: impl FnOnce() -> F) -> Result<Arc<T>, Error>
    where
        F: Future<Output = Result<Arc<T>, Error>>,
    {
        if let Some(present) = self.living() {
            return Ok(present);
        }
        let attempts = self.attempts.load(Ordering::SeqCst);
        let mut failed = self.making.lock().await;
        if let Some(present) = self.living() {
            return Ok(present);
        }
        if self.attempts.load(Ordering::SeqCst) > attempts
            && let Some(error) = &*failed
        {
            return Err(error.clone());
        }
        let made = make().await;
        *failed = made.as_ref().err().cloned();
        self.attempts.fetch_add(1, Ordering::SeqCst);
        let made = made?;
        self.put(Arc::clone(&made));
        Ok(made)
    }

    /// Keeps what was made, unless the slot was closed meanwhile: then it lives for as long as who asked for it.
    fn put(&self, made: Arc<T>) {
        self.present.store(Some(made));
        // Looked at afterwards: closing either finds what is kept, or is seen here.
        if self.closed.load(Ordering::SeqCst) {
            self.present.store(None);
        }
    }

    fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.present.store(None);
    }
}

// === impl Failure ===

impl Failure {
    pub(super) fn plain(reason: &str) -> Self {
        Self { reason: reason.to_owned(), details: String::new() }
    }

    /// Describes the end of a process.
    pub(super) fn of_exit(exit: &Exit) -> Self {
        let reason = match exit.status {
            // The error number may be about a path.
            Status::NotStarted(_) => "its process cannot be started".to_owned(),
            status => format!("its process ended: {status}"),
        };
        Self { reason, details: exit.to_string() }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.details.is_empty() { &self.reason } else { &self.details })
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Process { reason: failure.reason, details: failure.details }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No panic happens under these locks; a poisoned one would still hold consistent state.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Made;

    impl Living for Made {
        fn lives(&self) -> bool {
            true
        }
    }

    #[tokio::test]
    async fn a_slot_that_is_closed_while_its_content_is_made_keeps_nothing() {
        let slot = Slot::new();

        let made = slot.get(async || {
            slot.close();
            Ok(Arc::new(Made))
        });
        let made = Arc::downgrade(&made.await.expect("it is made for whoever asked"));
        assert!(made.upgrade().is_none(), "nobody has it any more");

        let put = Arc::new(Made);
        slot.put(Arc::clone(&put));
        assert_eq!(Arc::strong_count(&put), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_an_attempt_takes_over_its_error_and_who_comes_later_tries_again() {
        let (slot, attempts) = (Slot::<Made>::new(), AtomicU64::new(0));
        let attempt = || async {
            attempts.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(10)).await;
            Err(Error::SessionLost)
        };

        let (first, second, third) = tokio::join!(slot.get(attempt), slot.get(attempt), slot.get(attempt));

        assert!([first, second, third].iter().all(Result::is_err));
        assert_eq!(attempts.load(Ordering::SeqCst), 1);
        assert!(slot.get(attempt).await.is_err());
        assert_eq!(attempts.load(Ordering::SeqCst), 2);
    }
}
