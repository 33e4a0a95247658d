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
use quorate_llm::{Call, Dialect, Fault, Losses, codec};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

/// Counts that wait or run at once.
const PLACES: usize = 256;

/// Requests that are kept at once, in KiB.
const KEPT_KIB: usize = 64 << 10;

/// Requests up to here are copied, so that they do not hold on to the larger buffer that they were received in.
const COPIED_BYTES: usize = 16 << 10;

/// The bounds of counting on one node.
pub(crate) struct Counting {
    places: Arc<Semaphore>,
    turn: Arc<Semaphore>,
    kept: Arc<Semaphore>,
}

/// A place among those that wait.
pub(super) struct Place {
    turn: Arc<Semaphore>,
    _place: OwnedSemaphorePermit,
}

/// A request whose tokens may have to be counted.
pub(super) struct Kept {
    dialect: Dialect,
    is_streamed: bool,
    body: Bytes,
    _kept: Option<OwnedSemaphorePermit>,
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
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self { places: semaphore(PLACES), turn: semaphore(1), kept: semaphore(KEPT_KIB) }
    }
}

impl Counting {
    /// Keeps a request until its answer is over.
    pub(super) fn keep(&self, call: &Call) -> Option<Kept> {
        let kib = u32::try_from(call.body.len().div_ceil(1 << 10)).ok()?;
        let permit = Arc::clone(&self.kept).try_acquire_many_owned(kib).ok()?;
        let mut kept = Kept::new(call)?;
        if kept.body.len() <= COPIED_BYTES {
            kept.body = Bytes::copy_from_slice(&kept.body);
        }
        kept._kept = Some(permit);
        Some(kept)
    }

    /// Takes a place, if there is one.
    pub(super) fn place(&self) -> Option<Place> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(Place { turn: Arc::clone(&self.turn), _place: place })
    }

    /// Counts a request for its client.
    ///
    /// # Errors
    /// [`Kind::Invalid`] with the field that cannot be read, [`Kind::Overloaded`] where too many wait.
    pub(super) async fn count(&self, model: &str, call: &Call) -> Result<u64, Fault> {
        let busy = || Fault::new(Kind::Overloaded, format!("{PLACES} counts of tokens wait already: try again soon"));
        let place = self.place().ok_or_else(busy)?;
        let (model, body) = (model.to_owned(), call.body.clone());
        let counted = place.ask(move || {
            // What the shape cannot say has no tokens that anybody would count.
            let request = read(Dialect::Messages, false, &body)?;
            Ok(tokens::of_request(&model, &request))
        });
        counted.await.unwrap_or_else(|| Err(Fault::new(Kind::Internal, "the tokens could not be counted")))
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

// === impl Kept ===

impl Kept {
    /// A request as it is; none of an API whose requests are no conversation.
    pub(super) fn new(call: &Call) -> Option<Self> {
        let dialect = Dialect::of(call.api)?;
        Some(Self { dialect, is_streamed: call.is_streamed, body: call.body.clone(), _kept: None })
    }
}

// === impl Uncounted ===

impl Uncounted {
    /// Counts what is not known of a call of this model.
    pub(super) fn count(&self, model: &str, told: Option<Usage>) -> Option<Usage> {
        let mut usage = match (told.filter(|told| !told.is_nothing()), &self.asked) {
            (Some(told), _) => told,
            (None, Some(asked)) => {
                let request = read(asked.dialect, asked.is_streamed, &asked.body).ok()?;
                Usage { input: tokens::of_request(model, &request), ..Usage::default() }
            }
            (None, None) => return None,
        };
        usage.output = usage.output.max(tokens::of_sample(model, &self.said));
        Some(usage)
    }
}

fn read(dialect: Dialect, is_streamed: bool, body: &[u8]) -> Result<quorate_llm::Request, Fault> {
    let text = std::str::from_utf8(body).map_err(|_| Fault::new(Kind::Invalid, "the body is not UTF-8"))?;
    codec::read(dialect, text, is_streamed, &mut Losses::default())
}
