//! Spreads the board along the streams to other nodes.
//!
//! A change marks each stream's outgoing side as due, [`DEBOUNCE`] after the first one, so that a burst goes as one; the
//! stream takes parts of the board when it writes, so that nothing of the board waits in a queue. The whole board goes
//! after a connect, and every [`REPAIR`]: a node that forgot a member and knows it again has it back by then.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_proto::peer::v1::Notice;
use quorate_types::{Incarnation, NodeId};
use tokio::sync::watch;

use crate::board::{Part, Posted, PutError, State};
use crate::calls::Calls;

/// How long a change waits for others: a person sees no delay, and a key that changes with every request costs 20 frames
/// a second.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// How often everything is said again. A board has some kilobytes.
const REPAIR: Duration = Duration::from_secs(30);

/// What each node says of itself: keys with one writer, versioned, spread to all and bounded. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Board(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

// === impl Board ===

impl Board {
    pub(crate) fn new(own: NodeId, incarnation: Incarnation) -> Self {
        let changed = watch::Sender::new(0);
        Self(Arc::new(Shared { state: Mutex::new(State::new(own, incarnation)), changed }))
    }

    /// Says something of this node; other nodes know it soon, without a promise when.
    ///
    /// # Errors
    /// [`PutError`] names the limit: a key has 1 to 128 bytes, a value at most 4 KiB, a node at most 256 keys.
    pub fn put(&self, key: &str, value: impl Into<Bytes>) -> Result<(), PutError> {
        let mut state = self.lock();
        state.put(key, value.into(), Instant::now())?;
        self.tell(&state);
        Ok(())
    }

    /// Returns what a node said of itself under a key, as far as it is known here; also this node.
    #[must_use]
    pub fn get(&self, node: NodeId, key: &str) -> Option<Posted> {
        self.lock().get(node, key)
    }

    /// Returns all that a node said of itself, by key.
    #[must_use]
    pub fn of(&self, node: NodeId) -> Vec<(String, Posted)> {
        self.lock().of(node).map(|(key, posted)| (key.to_owned(), posted.clone())).collect()
    }

    /// Returns a receiver whose value changes with the board, also by what this node says.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    pub(crate) fn set_members(&self, members: impl Iterator<Item = NodeId>) {
        self.lock().set_members(members);
    }

    pub(crate) fn merge(&self, notices: Vec<Notice>) {
        let mut state = self.lock();
        let now = Instant::now();
        for notice in notices {
            state.merge(notice, now);
        }
        self.tell(&state);
    }

    pub(crate) fn part(&self, after: u64, reader: NodeId, bytes_max: usize) -> Part {
        self.lock().part(after, reader, bytes_max)
    }

    /// Tells the watchers, while the state is locked, so that numbers grow.
    fn tell(&self, state: &State) {
        let changed = state.changed();
        self.0.changed.send_if_modified(|told| std::mem::replace(told, changed) != changed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No panic happens under this lock; a poisoned one would still hold consistent state.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Marks the board as due on a stream, for as long as the stream lives.
pub(crate) async fn spread(board: &Board, calls: &Calls) {
    let mut changed = board.watch();
    let mut repair = tokio::time::interval(REPAIR);
    loop {
        tokio::select! {
            // The first tick is at once: the whole board after a connect.
            _ = repair.tick() => calls.spread_all(),
            _ = changed.changed() => {
                tokio::time::sleep(DEBOUNCE).await;
                changed.mark_unchanged();
                calls.spread_changes();
            }
        }
    }
}
