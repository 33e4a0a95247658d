//! Tokens that are counted here: of calls whose provider tells none, and for clients of models whose providers do not count.
//!
//! Counting takes time and may have to load a vocabulary, so it is done after the answer, by one task at a time and off the runtime's
//! threads; what would wait behind too many others is recorded without a count, and is known as such (`limit="counts"`). Until it is
//! known whether a provider of a stream counts, the request is kept, within one bound for all.

use std::sync::Arc;

use bytes::Bytes;
use quorate_llm::answer::Usage;
use quorate_llm::error::Kind;
use quorate_llm::tokens::{self, Sample};
use quorate_llm::{Api, Call, Dialect, Fault, Losses, codec};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

/// What metrics call these limits.
pub(super) const LIMIT: &str = "counts";

/// Counts that wait or run at once: for records, and as many for clients.
const PLACES: usize = 256;

/// Requests that are kept at once, in KiB.
const KEPT_KIB: usize = 64 << 10;

/// The largest request that is kept.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// Requests up to here are copied, so that they do not hold on to the larger buffer that they were received in.
const COPIED_BYTES: usize = 16 << 10;

/// The bounds of counting on one node.
pub(crate) struct Counting {
    /// Of records, which clients that ask for counts do not crowd out.
    records: Queue,
    /// Of clients.
    clients: Queue,
    kept: Arc<Semaphore>,
}

/// Those that wait for one that runs.
struct Queue {
    places: Arc<Semaphore>,
    turn: Arc<Semaphore>,
}

/// A place among those that wait.
pub(super) struct Place {
    turn: Arc<Semaphore>,
    _place: OwnedSemaphorePermit,
}

/// A request whose tokens may have to be counted.
pub(super) struct Kept {
    api: Api,
    is_streamed: bool,
    body: Bytes,
    _kept: OwnedSemaphorePermit,
}

/// A call whose tokens are counted.
pub(super) struct Uncounted {
    /// What was asked; none where there was no room to keep it.
    pub(super) asked: Option<Kept>,
    /// What was answered.
    pub(super) said: Sample,
}

// === impl Counting ===

impl Default for Counting {
    fn default() -> Self {
        Self { records: Queue::new(), clients: Queue::new(), kept: Arc::new(Semaphore::new(KEPT_KIB)) }
    }
}

impl Counting {
    /// Keeps a request until its answer is over; not where it is too large, or too many are kept.
    pub(super) fn keep(&self, call: &Call) -> Option<Kept> {
        if call.body.len() > KEPT_BYTES_MAX {
            return None;
        }
        let kib = u32::try_from(call.body.len().div_ceil(1 << 10)).ok()?;
        let permit = Arc::clone(&self.kept).try_acquire_many_owned(kib).ok()?;
        let body = match call.body.len() {
            0..=COPIED_BYTES => Bytes::copy_from_slice(&call.body),
            _ => call.body.clone(),
        };
        Some(Kept { api: call.api, is_streamed: call.is_streamed, body, _kept: permit })
    }

    /// Takes a place for a record, if there is one.
    pub(super) fn place(&self) -> Option<Place> {
        self.records.place()
    }

    /// Waits until every record is counted that waits now.
    pub(crate) async fn rest(&self) {
        let all = u32::try_from(PLACES).unwrap_or(u32::MAX);
        let _every_place = self.records.places.acquire_many(all).await;
    }

    /// Counts a request for its client.
    ///
    /// # Errors
    /// [`Kind::Invalid`] with the field that cannot be read, [`Kind::Overloaded`] where too many wait.
    pub(super) async fn count(&self, model: &str, call: &Call) -> Result<u64, Fault> {
        let busy = || Fault::new(Kind::Overloaded, format!("{PLACES} counts of tokens wait already: try again soon"));
        let place = self.clients.place().ok_or_else(busy)?;
        let (model, body) = (model.to_owned(), call.body.clone());
        let counted = place.ask(move || {
            // What the shape cannot say has no tokens that anybody would count.
            let request = read(Dialect::Messages, false, text_of(&body)?)?;
            Ok(tokens::of_request(&model, &request))
        });
        counted.await.unwrap_or_else(|| Err(Fault::new(Kind::Internal, "the tokens could not be counted")))
    }
}

// === impl Queue ===

impl Queue {
    fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(PLACES)), turn: Arc::new(Semaphore::new(1)) }
    }

    fn place(&self) -> Option<Place> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(Place { turn: Arc::clone(&self.turn), _place: place })
    }
}

// === impl Place ===

impl Place {
    /// Runs what counts when it is its turn. Where there is no runtime any more it is dropped.
    pub(super) fn run(self, count: impl FnOnce() + Send + 'static) {
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { self.ask(count).await });
        }
    }

    async fn ask<T: Send + 'static>(self, count: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let Self { turn, _place } = self;
        let turn = turn.acquire_owned().await.ok()?;
        // Whoever stops waiting does not let the next one in: it goes on to its end.
        let counting = spawn_blocking(move || {
            let (_turn, _place) = (turn, _place);
            count()
        });
        counting.await.ok()
    }
}

// === impl Uncounted ===

impl Uncounted {
    /// Counts what is not known of a call of this model.
    pub(super) fn count(&self, model: &str, told: Option<Usage>) -> Option<Usage> {
        let mut usage = told.unwrap_or_default();
        if usage.is_nothing() {
            let asked = self.asked.as_ref()?;
            usage.input = asked.count(model).ok()?;
        }
        usage.output = usage.output.max(tokens::of_sample(model, &self.said));
        Some(usage)
    }
}

// === impl Kept ===

impl Kept {
    /// Counts what was asked.
    fn count(&self, model: &str) -> Result<u64, Fault> {
        let text = text_of(&self.body)?;
        match Dialect::of(self.api) {
            Some(dialect) => Ok(tokens::of_request(model, &read(dialect, self.is_streamed, text)?)),
            None => tokens::of_embedded(model, text),
        }
    }
}

fn text_of(body: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(body).map_err(|_| Fault::new(Kind::Invalid, "the body is not UTF-8"))
}

fn read(dialect: Dialect, is_streamed: bool, text: &str) -> Result<quorate_llm::Request, Fault> {
    codec::read(dialect, text, is_streamed, &mut Losses::default())
}
