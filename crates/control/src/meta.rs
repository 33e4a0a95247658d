//! The machine of the meta group: the catalog, which everybody on the node can read.
//!
//! A reader gets a clone, which is cheap and stays as it is; it is made when it is asked for, because a clone that lives makes
//! the next change of documents copy their table.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use quorate_catalog::Catalog;
use quorate_raft::{Applied, Frozen, Machine, RestoreError};
use tokio::sync::watch;

/// The catalog as this node has it; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    catalog: Arc<Mutex<Catalog>>,
    changed: Arc<watch::Sender<u64>>,
}

/// The machine of the meta group.
pub(crate) struct Meta(pub(crate) Shared);

struct View(Catalog);

// === impl Shared ===

impl Shared {
    pub(crate) fn new() -> Self {
        Self { catalog: Arc::default(), changed: Arc::new(watch::Sender::new(0)) }
    }

    pub(crate) fn catalog(&self) -> Catalog {
        self.lock().clone()
    }

    /// Puts another catalog in its place.
    pub(crate) fn replace(&self, catalog: Catalog) {
        *self.lock() = catalog;
        self.changed.send_modify(|changes| *changes += 1);
    }

    /// The number of changes that this node has seen.
    pub(crate) fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Catalog> {
        // A machine that panicked in here stops its group, and what it left is still a whole catalog for readers.
        self.catalog.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Meta ===

impl Machine for Meta {
    fn apply(&mut self, context: &Applied, command: &[u8]) -> Bytes {
        let applied = self.0.lock().apply(context.time, command);
        if !applied.effects.is_empty() {
            self.0.changed.send_modify(|changes| *changes += 1);
        }
        applied.outcome
    }

    fn freeze(&self) -> Box<dyn Frozen> {
        Box::new(View(self.0.catalog()))
    }

    fn restore(&mut self, from: &mut dyn Read) -> Result<(), RestoreError> {
        let restored = Catalog::restore(from).map_err(|error| RestoreError::Invalid { reason: error.to_string() })?;
        self.0.replace(restored);
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
