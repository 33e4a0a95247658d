//! A snapshot that comes from another replica in pieces.
//!
//! Pieces come in order; one that was received before is passed over, so that a sender that begins again where it is
//! told ([`SnapshotWriter::received`]) or somewhat before does no harm. Nothing of it counts before all of it was
//! checked. Who transfers decides how long an unfinished one is kept: dropping it removes its file.

use quorate_wal::write_all_at;

use super::store::Unfinished;
use super::{Identity, Snapshot, SnapshotError, disk_error};

/// Takes a snapshot piece by piece.
pub struct SnapshotWriter {
    identity: Identity,
    file: Unfinished,
    received: u64,
}

/// A piece, or the whole, was not taken. What was received before stays.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// There is something missing before it.
    #[error("a piece of a snapshot begins at byte {offset}, {received} were received")]
    Gap {
        /// Where it begins.
        offset: u64,
        /// How many bytes were received: where the next piece has to begin.
        received: u64,
    },
    /// It is longer than was said.
    #[error("a piece of a snapshot ends at byte {end}, the snapshot has {bytes}")]
    TooLong {
        /// Where it ends.
        end: u64,
        /// The size that was said.
        bytes: u64,
    },
    /// It is finished too soon.
    #[error("{received} bytes of a snapshot of {bytes} were received")]
    Incomplete {
        /// How many bytes were received.
        received: u64,
        /// How many it has.
        bytes: u64,
    },
    /// The disk failed, or what was received is not what was announced.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

// === impl SnapshotWriter ===

impl SnapshotWriter {
    pub(super) fn new(identity: Identity, file: Unfinished) -> Self {
        Self { identity, file, received: 0 }
    }

    /// Which snapshot it is: a transfer of the same one can go on.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// How many bytes were received: where to go on.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Takes a piece; returns how many bytes there are now.
    ///
    /// # Errors
    /// [`ReceiveError::Gap`], [`ReceiveError::TooLong`], or the disk's.
    pub fn write(&mut self, offset: u64, piece: &[u8]) -> Result<u64, ReceiveError> {
        let (received, bytes) = (self.received, self.identity.bytes);
        let end = offset.saturating_add(piece.len() as u64);
        if end > bytes {
            return Err(ReceiveError::TooLong { end, bytes });
        }
        let known = received.checked_sub(offset).ok_or(ReceiveError::Gap { offset, received })?;
        let fresh = usize::try_from(known).ok().and_then(|known| piece.get(known..)).unwrap_or_default();
        if !fresh.is_empty() {
            write_all_at(&*self.file.file, fresh, received).map_err(disk_error(&self.file.name))?;
            self.received = end;
        }
        Ok(self.received)
    }

    /// Makes what was received durable and checks all of it: what openraft is given to install.
    ///
    /// # Errors
    /// [`ReceiveError::Incomplete`]; [`SnapshotError::Damaged`] when it is not what was announced. The file is removed.
    pub fn finish(self) -> Result<Snapshot, ReceiveError> {
        let (received, bytes) = (self.received, self.identity.bytes);
        if received < bytes {
            return Err(ReceiveError::Incomplete { received, bytes });
        }
        self.file.file.sync().map_err(disk_error(&self.file.name))?;
        let snapshot = Snapshot::unfinished(self.identity, self.file);
        snapshot.verify()?;
        Ok(snapshot)
    }
}

impl std::fmt::Debug for SnapshotWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotWriter")
            .field("identity", &self.identity)
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}
