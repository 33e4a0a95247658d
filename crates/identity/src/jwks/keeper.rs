//! Keeps the keys of one issuer: a task that fetches when the machine says so, and a place to look them up.
//!
//! Looking up takes no lock and waits for nobody as long as the key is known. A token with an unknown key may wait for a
//! fetch that is under way, or make one due, as the machine allows; how many wait is bounded, and so is for how long. A
//! slow server delays only tokens of its own issuer whose keys are not known. The task ends with its [`Keeper`]; should
//! it ever end on its own, no key is trusted any more.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use quorate_types::{ResourceName, Timestamp};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::key::Key;
use super::machine::{Event, Machine};
use super::set::{KeySet, NotOne};
use super::source::{Fetched, Source};
use crate::cache::Cache;
use crate::fetch::FetchError;
use crate::observe::Observer;
use crate::refused::Why;
use crate::token::algorithm::Algorithm;

/// How long a fetch may take, metadata and keys together: twice what one slow document has.
const FETCH_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a token waits for a fetch. Most take under a second; a caller that waits longer had better try again.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(5);
/// How many tokens of an issuer wait at once: beyond, they are refused as if the keys could not be had. Each holds one
/// request of a listener.
const WAITING_MAX: usize = 256;
/// How many keys that were looked for in vain are remembered, and for how long: a client that goes on with tokens of a
/// key that is gone makes nobody fetch.
const ABSENT_MAX: usize = 512;
const ABSENT_FOR: Duration = Duration::from_secs(5 * 60);

/// Keeps the keys of one issuer.
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    /// None for keys that are given.
    task: Option<AbortOnDropHandle<()>>,
}

/// A key, and of which generation of keys it is, or of an earlier one.
pub(crate) struct Found {
    pub(crate) key: Arc<Key>,
    pub(crate) generation: u64,
}

/// How the keys are doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// How many keys there are; none when they were never fetched, or forgotten.
    pub(crate) keys: Option<usize>,
    /// How many fetches failed since the last good one.
    pub(crate) failures: u32,
    /// How many fetches ended.
    pub(crate) fetches: u64,
}

struct Shared {
    current: ArcSwapOption<KeySet>,
    /// Grows with each change of the keys, after it.
    generation: AtomicU64,
    machine: Mutex<Machine>,
    /// Tells the task to look at the machine.
    due: Notify,
    /// Counts fetches that ended.
    ended: watch::Sender<u64>,
    waiting: Semaphore,
    absent: Cache<(Option<Box<str>>, Algorithm), Timestamp>,
    /// Times of the machine are since then: they never step back.
    started: Instant,
}

/// Distrusts all keys when the task ends, and lets those go who wait for it.
struct Ending(Arc<Shared>);

// === impl Keeper ===

impl Keeper {
    /// Keeps keys that never change.
    pub(crate) fn given(keys: KeySet) -> Self {
        let shared = Shared::new(Machine::new(Duration::MAX, Timestamp::default()), Instant::now());
        shared.current.store(Some(Arc::new(keys)));
        Self { shared: Arc::new(shared), task: None }
    }

    /// Keeps keys that are fetched, beginning now, or with those of a keeper of the same keys when they are due. Must be
    /// called within a runtime.
    pub(crate) fn start(
        issuer: ResourceName,
        source: Source,
        outage_tolerance: Duration,
        observer: Arc<dyn Observer>,
        before: Option<&Self>,
    ) -> Self {
        let shared = match before.map(|before| &*before.shared) {
            None => Shared::new(Machine::new(outage_tolerance, Timestamp::default()), Instant::now()),
            Some(before) => before.succeeded(outage_tolerance),
        };
        let shared = Arc::new(shared);
        let task = tokio::spawn(keep(Ending(Arc::clone(&shared)), issuer, source, observer));
        Self { shared, task: Some(AbortOnDropHandle::new(task)) }
    }

    /// Returns a number that changes with the keys.
    pub(crate) fn generation(&self) -> u64 {
        self.shared.generation.load(Ordering::Acquire)
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            keys: self.shared.current.load().as_ref().map(|keys| keys.len()),
            failures: self.shared.lock().failures(),
            fetches: *self.shared.ended.borrow(),
        }
    }

    /// Finds a key without waiting; none when it is worth waiting for it ([`Self::wait`]).
    pub(crate) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<Option<Found>, Why> {
        // Before the keys: should they change in between, what comes of the key is forgotten at once.
        let generation = self.generation();
        match &*self.shared.current.load() {
            None => Ok(None),
            Some(keys) => match keys.select(kid, algorithm) {
                Ok(key) => Ok(Some(Found { key: Arc::clone(key), generation })),
                Err(NotOne::Unknown) => Ok(None),
                Err(NotOne::Ambiguous) => Err(Why::AmbiguousKey),
            },
        }
    }

    /// Waits for a fetch that may bring a key, as far as that is allowed.
    pub(crate) async fn wait(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<Found, Why> {
        let shared = &*self.shared;
        let wanted = (kid.map(Box::from), algorithm);
        let is_absent = shared.absent.get(&wanted).is_some_and(|at| shared.now().since(at) < ABSENT_FOR);
        // Nobody fetches keys that are given, and nobody does any more when the task is gone.
        let is_fetched = self.task.as_ref().is_some_and(|task| !task.is_finished());
        if is_absent || !is_fetched {
            return Err(shared.missing());
        }
        // Listens before it asks, so that the end of the fetch is not missed.
        let mut ended = shared.ended.subscribe();
        let place = shared.waiting.try_acquire().map_err(|_| Why::Unavailable("too many tokens wait for its keys"))?;
        if !shared.lock().step(shared.now(), Event::Unknown).wait {
            return Err(shared.missing());
        }
        shared.due.notify_one();
        if tokio::time::timeout(WAIT_MAX, ended.changed()).await.is_err() {
            return Err(Why::Unavailable("its keys take long to fetch"));
        }
        drop(place);
        match self.find(kid, algorithm)? {
            Some(found) => Ok(found),
            None => {
                let why = shared.missing();
                if why == Why::UnknownKey {
                    shared.absent.put(wanted, shared.now());
                }
                Err(why)
            }
        }
    }
}

// === impl Shared ===

impl Shared {
    fn new(machine: Machine, started: Instant) -> Self {
        Self {
            current: ArcSwapOption::empty(),
            generation: AtomicU64::new(0),
            machine: Mutex::new(machine),
            due: Notify::new(),
            ended: watch::Sender::new(0),
            waiting: Semaphore::new(WAITING_MAX),
            absent: Cache::new(ABSENT_MAX),
            started,
        }
    }

    /// Makes what takes over the keys.
    ///
    /// A fetch may end, or keys may be forgotten, between the look at the machine and the one at the keys: where the
    /// machine that goes on knows of none, it would never forget them, so they are left behind and fetched anew at once.
    fn succeeded(&self, outage_tolerance: Duration) -> Self {
        let machine = self.lock().succeeded(outage_tolerance, self.now());
        let keys = self.current.load_full().filter(|_| machine.has_keys());
        let shared = Self::new(machine, self.started);
        shared.current.store(keys);
        shared
    }

    fn now(&self) -> Timestamp {
        Timestamp::default() + self.started.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why a key is not there: the issuer has no such key, or we cannot know.
    fn missing(&self) -> Why {
        let is_known = self.current.load().is_some() && self.lock().failures() == 0;
        if is_known { Why::UnknownKey } else { Why::Unavailable("its keys cannot be fetched") }
    }

    fn publish(&self, keys: Option<KeySet>) {
        if self.current.load().as_deref() == keys.as_ref() {
            return;
        }
        self.current.store(keys.map(Arc::new));
        self.generation.fetch_add(1, Ordering::Release);
        self.absent.clear();
    }
}

// === impl Ending ===

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.publish(None);
        self.0.ended.send_modify(|count| *count += 1);
    }
}

/// Fetches and forgets as the machine says, for ever.
async fn keep(ending: Ending, issuer: ResourceName, source: Source, observer: Arc<dyn Observer>) {
    let shared = &*ending.0;
    loop {
        let (effects, due_at) = {
            let mut machine = shared.lock();
            (machine.step(shared.now(), Event::Tick), machine.due_at())
        };
        if effects.forget {
            shared.publish(None);
            observer.keys_forgotten(&issuer);
        }
        if effects.fetch {
            let timeout = FETCH_TIMEOUT;
            let fetched = tokio::time::timeout(timeout, source.fetch()).await;
            settle(shared, &issuer, fetched.unwrap_or(Err(FetchError::Timeout { timeout })), &*observer);
            continue;
        }
        let due_at = due_at.expect("a machine that does not fetch is due some time");
        let pause = due_at.since(shared.now());
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shared.due.notified() => {}
        }
    }
}

/// Takes the end of a fetch.
fn settle(shared: &Shared, issuer: &ResourceName, fetched: Result<Fetched, FetchError>, observer: &dyn Observer) {
    match fetched {
        Ok(Fetched { keys, fresh_for }) => {
            let (usable, skipped) = (keys.len(), keys.skipped());
            shared.publish(Some(keys));
            shared.lock().step(shared.now(), Event::Fetched { fresh_for });
            observer.keys_fetched(issuer, usable, skipped);
        }
        Err(error) => {
            let failures = {
                let mut machine = shared.lock();
                machine.step(shared.now(), Event::Failed);
                machine.failures()
            };
            observer.keys_failed(issuer, failures, &error);
        }
    }
    shared.ended.send_modify(|count| *count += 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_taken_over_always_have_an_end() {
        let shared = Shared::new(Machine::new(Duration::ZERO, Timestamp::default()), Instant::now());
        assert!(shared.lock().step(shared.now(), Event::Tick).fetch);

        // A fetch that is ending: its keys are there before the machine knows.
        shared.publish(Some(KeySet::parse(br#"{"keys":[]}"#).expect("a set of keys")));
        let taken = shared.succeeded(Duration::ZERO);
        assert!(taken.current.load().is_none(), "nothing would ever forget them");
        assert!(taken.lock().step(taken.now(), Event::Tick).fetch, "they are fetched at once");

        shared.lock().step(shared.now(), Event::Fetched { fresh_for: None });
        let taken = shared.succeeded(Duration::ZERO);
        assert!(taken.current.load().is_some());
        let later = taken.now() + Duration::from_secs(24 * 60 * 60);
        assert!(taken.lock().step(later, Event::Tick).forget, "they have an end");
    }
}
