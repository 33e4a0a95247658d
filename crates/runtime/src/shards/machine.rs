//! The machine of a shard group: the pure shard, which its owner on this node can read.
//!
//! Consensus applies commands to it on a thread of its own, and sessions are read from it on others; both for a moment.
//! Decides nothing: the pure machine does.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use quorate_raft::{Applied, Frozen, Machine, RestoreError};
use quorate_session::shard::Shard;

use super::touched::Watchers;

/// A replica's state; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Replica {
    number: u32,
    shard: Arc<Mutex<Shard>>,
    watchers: Watchers,
}

/// A state as it was once.
struct View(Shard);

// === impl Replica ===

impl Replica {
    /// Makes the empty replica of a shard.
    pub(super) fn new(number: u32, watchers: Watchers) -> Self {
        Self { number, shard: Arc::default(), watchers }
    }

    /// Locks the state; for as short as it can be, since commands wait for it.
    pub(super) fn lock(&self) -> MutexGuard<'_, Shard> {
        // A machine that panicked in here stops its group, and what it left is still a whole shard for readers.
        self.shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Machine for Replica {
    fn apply(&mut self, _context: &Applied, command: &[u8]) -> Bytes {
        // The owner's time is in each change, and what a record keeps is the owner's to say.
        let applied = self.lock().apply(command);
        self.watchers.touch(self.number, &applied.touched);
        applied.outcome
    }

    fn freeze(&self) -> Box<dyn Frozen> {
        Box::new(View(self.lock().clone()))
    }

    fn restore(&mut self, from: &mut dyn Read) -> Result<(), RestoreError> {
        let restored = Shard::restore(from).map_err(|error| RestoreError::Invalid { reason: error.to_string() })?;
        *self.lock() = restored;
        self.watchers.replaced();
        Ok(())
    }
}

impl Frozen for View {
    fn hash(&self) -> u64 {
        self.0.hash()
    }

    fn write(&self, to: &mut dyn Write) -> std::io::Result<()> {
        self.0.write_snapshot(to)
    }
}
