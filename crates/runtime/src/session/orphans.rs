//! Calls whose session has gone to another node, and whose answers still come here.
//!
//! ```text
//!  pump ─▶ actor ─▶ record                 while the session is here
//!  pump ─▶ Heir ──▶ Orphan ─▶ claim ─▶ the pump of the next owner
//!            frames that may not be in the record ─┘
//! ```
//!
//! A node that loses a shard and lives has open connections to tool servers, which nobody else can read on where the record has
//! no event id of the server's: it gives none, or has given none yet. It reads them on, and the next owner takes what comes,
//! from where the record ends, up to the first event id. Frames are counted for each call, so that none is taken twice. What
//! nobody claims is given up.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quorate_jsonrpc::Frame;
use quorate_session::CallKey;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// Frames of a call that wait for the next owner; its server is not read further then.
const WAITING_MAX: usize = 16;
/// How long a call waits to be claimed: two elections, and what a node needs that has many sessions to make.
const UNCLAIMED_MAX: Duration = Duration::from_secs(30);
/// What begins the place of a call whose server gives no event ids: no such id can have it.
const COUNTED: char = '\n';

/// What a tool server said for a call.
#[derive(Clone, Debug)]
pub(crate) struct Left {
    /// Its place among the frames of the call, from 1.
    pub(crate) number: u64,
    /// Where its stream can be read on behind it at the server, where that gives event ids.
    pub(crate) event_id: Option<Arc<str>>,
    pub(crate) what: What,
}

/// What is left of a call.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// A frame, as the client gets it.
    Frame(Frame),
    /// An answer of the gateway to what the server asked.
    Answer(Bytes),
    /// The call was written down and never sent.
    Unsent,
}

/// Counts the frames of one call, and takes them when its session is gone.
#[derive(Debug)]
pub(super) struct Heir {
    frames: AtomicU64,
    /// The record has an event id of its server: whoever owns the session next reads the stream on there.
    is_recorded: AtomicBool,
    way: OnceLock<mpsc::Sender<Left>>,
}

/// What comes for a call whose session is gone. Dropping it gives the call up.
#[derive(Debug)]
pub(crate) struct Orphan {
    /// What may not be in the record.
    first: VecDeque<Left>,
    rest: mpsc::Receiver<Left>,
    reads: Option<AbortHandle>,
    /// The last that was taken.
    taken: u64,
    _counted: Counted,
}

/// The orphans of a node.
#[derive(Debug, Default)]
pub(crate) struct Orphans {
    unclaimed: Mutex<HashMap<(u128, CallKey), (u64, Orphan)>>,
    next: AtomicU64,
    count: Arc<AtomicUsize>,
}

/// A place in the count of orphans.
#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

/// Writes down after how many frames a call is gone on with.
pub(super) fn place_of(frames: u64) -> String {
    format!("{COUNTED}{frames}")
}

/// After how many frames a call is gone on with whose server gives no event ids; none where it does.
pub(super) fn frames_at(event_id: Option<&str>) -> Option<u64> {
    match event_id {
        None => Some(0),
        Some(id) => id.strip_prefix(COUNTED)?.parse().ok(),
    }
}

// === impl Left ===

impl Left {
    /// A frame, read at `place`: an event id of its server, or what [`place_of`] makes.
    pub(super) fn frame(number: u64, place: Option<Arc<str>>, frame: Frame) -> Self {
        let event_id = place.filter(|place| frames_at(Some(place)).is_none());
        Self { number, event_id, what: What::Frame(frame) }
    }

    /// Something that is no frame, or none of its server's stream.
    pub(super) fn other(number: u64, what: What) -> Self {
        Self { number, event_id: None, what }
    }
}

// === impl Heir ===

impl Heir {
    /// Of a call of which so many frames were taken.
    pub(super) fn after(frames: u64) -> Arc<Self> {
        let (frames, is_recorded) = (AtomicU64::new(frames), AtomicBool::new(false));
        Arc::new(Self { frames, is_recorded, way: OnceLock::new() })
    }

    /// Notes that the record says where the stream can be read on at its server.
    pub(super) fn recorded(&self) {
        self.is_recorded.store(true, Ordering::Relaxed);
    }

    /// Whether the record says where the stream can be read on at its server.
    pub(super) fn is_recorded(&self) -> bool {
        self.is_recorded.load(Ordering::Relaxed)
    }

    /// The number of the next frame.
    pub(super) fn count(&self) -> u64 {
        self.frames.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The number of a frame that another node has counted.
    pub(super) fn counted(&self, number: u64) {
        self.frames.store(number, Ordering::Relaxed);
    }

    /// The way to the next owner, when the session is gone.
    pub(super) fn way(&self) -> Option<&mpsc::Sender<Left>> {
        self.way.get()
    }
}

// === impl Orphan ===

impl Orphan {
    /// Returns what comes next; none when the call has nothing more to say.
    pub(crate) async fn next(&mut self) -> Option<Left> {
        loop {
            let left = match self.first.pop_front() {
                Some(left) => left,
                None => self.rest.recv().await?,
            };
            // Whoever reads did not know whether the session had it.
            if left.number > self.taken || matches!(left.what, What::Answer(_) | What::Unsent) {
                self.taken = self.taken.max(left.number);
                return Some(left);
            }
        }
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        if let Some(reads) = &self.reads {
            reads.abort();
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Orphans ===

impl Orphans {
    /// Keeps what comes for a call: `first`, and what its `reader` hands over.
    pub(super) fn keep(
        self: &Arc<Self>,
        (session, call): (u128, CallKey),
        first: VecDeque<Left>,
        reader: Option<(&Heir, AbortHandle)>,
    ) {
        let (way, rest) = mpsc::channel(WAITING_MAX);
        let reads = reader.map(|(heir, reads)| {
            // Nobody else sets it: a session goes once.
            let _first = heir.way.set(way);
            reads
        });
        self.count.fetch_add(1, Ordering::Relaxed);
        let orphan = Orphan { first, rest, reads, taken: 0, _counted: Counted(Arc::clone(&self.count)) };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().insert((session, call), (number, orphan));
        let orphans = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(UNCLAIMED_MAX).await;
            let Some(orphans) = orphans.upgrade() else { return };
            let mut unclaimed = orphans.lock();
            if unclaimed.get(&(session, call)).is_some_and(|(kept, _)| *kept == number) {
                unclaimed.remove(&(session, call));
            }
        });
    }

    /// Hands a call over, to whoever asks first.
    pub(crate) fn claim(&self, session: u128, call: CallKey) -> Option<Orphan> {
        self.lock().remove(&(session, call)).map(|(_, orphan)| orphan)
    }

    /// How many there are, those included that are being handed over.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(u128, CallKey), (u64, Orphan)>> {
        self.unclaimed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use quorate_jsonrpc::Limits;

    use super::*;

    const CALL: CallKey = CallKey(7);

    fn left(number: u64) -> Left {
        let frame = format!(r#"{{"jsonrpc":"2.0","method":"n","params":{{"n":{number}}}}}"#);
        Left::frame(number, None, Frame::parse(frame.into(), &Limits::ANSWER).unwrap())
    }

    async fn numbers(mut orphan: Orphan) -> Vec<u64> {
        let mut numbers = Vec::new();
        while let Some(left) = orphan.next().await {
            numbers.push(left.number);
        }
        numbers
    }

    #[test]
    fn a_place_is_no_event_id_and_reads_back() {
        assert_eq!(frames_at(Some(&place_of(12))), Some(12));
        assert_eq!((frames_at(None), frames_at(Some("12")), frames_at(Some(""))), (Some(0), None, None));
    }

    #[tokio::test]
    async fn what_the_session_had_and_the_reader_repeats_is_taken_once() {
        let orphans = Arc::new(Orphans::default());
        let heir = Heir::after(3);
        let reader = tokio::spawn(std::future::pending::<()>()).abort_handle();
        orphans.keep((1, CALL), [left(4), left(5)].into(), Some((&heir, reader)));
        let way = heir.way().unwrap().clone();
        for number in [5, 6] {
            way.send(left(number)).await.unwrap();
        }
        drop((way, heir));

        assert!(orphans.claim(2, CALL).is_none());
        assert_eq!(numbers(orphans.claim(1, CALL).unwrap()).await, [4, 5, 6]);
        assert!(orphans.claim(1, CALL).is_none());
        assert_eq!(orphans.count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_nobody_claims_is_given_up() {
        let orphans = Arc::new(Orphans::default());
        let heir = Heir::after(0);
        let reader = tokio::spawn(std::future::pending::<()>());
        orphans.keep((1, CALL), VecDeque::new(), Some((&heir, reader.abort_handle())));
        assert_eq!(orphans.count(), 1);

        assert!(reader.await.unwrap_err().is_cancelled());

        assert_eq!(orphans.count(), 0);
        assert!(heir.way().unwrap().send(left(1)).await.is_err(), "and what still comes is not kept");
    }
}
