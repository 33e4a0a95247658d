//! Snapshots: a machine's state with its place in the log, in one checked file per group.
//!
//! ```text
//! Frozen ─▶ building-N ─┐ sync                                       ┌▶ Snapshot::read_at ─▶ peers
//!                       ├──────▶ rename ─▶ snapshot-INDEX-DIGEST ────┤
//! peers ─▶ receiving-N ─┘ verify                                     └▶ verify ─▶ Machine::restore
//! ```
//!
//! [`Store`] keeps the newest one and removes the older. A file whose bytes are not those that were written is never
//! restored: [`SnapshotError::Damaged`] names it and says what to do. A file is sent as it is, so that a transfer can
//! go on where it ended as long as it is the same file ([`Identity`]). All of this blocks on the disk and belongs on a
//! thread that may.

mod format;
mod receive;
mod store;

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use quorate_proto::raft::v1;
use quorate_types::Timestamp;
use quorate_wal::{File, read_exact_at};

pub(crate) use self::format::{Contents, verify};
pub use self::receive::{ReceiveError, SnapshotWriter};
pub use self::store::Store;

use crate::codec::{DecodeError, Wire};
use crate::types::{SnapshotMeta, StoredMembership, Vote};

/// What a snapshot says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// The last entry that is in it, and the membership there.
    pub raft: SnapshotMeta,
    /// The time of the log there.
    pub time: Timestamp,
    /// The hash of the machine's state there, which is the same on every replica.
    pub state_hash: u64,
}

/// Which snapshot it is, to the byte. Two replicas' snapshots of the same entry may be different files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// What it says of itself.
    pub meta: Meta,
    /// Bytes of its file; at most [`SNAPSHOT_BYTES_MAX`].
    pub bytes: u64,
    /// The SHA-256 of its file up to this digest, which is its end.
    pub digest: [u8; 32],
}

/// A snapshot's file, which can be read for as long as this is held, also after a newer one came.
#[derive(Clone)]
pub struct Snapshot {
    identity: Identity,
    /// The name of its file; for messages, and to give it another.
    name: String,
    file: Arc<dyn File>,
    /// Removes the file of one that is not kept.
    _unfinished: Option<Arc<store::Unfinished>>,
}

/// The file of a snapshot that has nothing.
struct NoFile;

/// A snapshot cannot be made, kept or restored.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Its bytes are not those that were written.
    #[error(
        "{file} is damaged at byte {offset}: {what}. It is never restored: keep the folder for an inquiry, start the node \
         with an empty one, and let it join again as a learner, which gets the state from the others"
    )]
    Damaged {
        /// The file.
        file: String,
        /// Where in it.
        offset: u64,
        /// What does not hold.
        what: &'static str,
    },
    /// A newer program wrote it.
    #[error("{file} has format {found}, and this program knows {known}")]
    Version {
        /// The file.
        file: String,
        /// Its format.
        found: u32,
        /// The newest one known.
        known: u32,
    },
    /// The disk failed, or is full.
    #[error("{file} cannot be read or written")]
    Disk {
        /// The file, or the folder.
        file: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// Bytes of the largest snapshot: 4 GiB. A group's state is planned at 5 MB and the catalog's at 64 MB, so that more is
/// a fault of the sender, and would fill the disk.
pub const SNAPSHOT_BYTES_MAX: u64 = 4 << 30;

/// Bytes at the end of a file that say what it is.
const DIGEST_BYTES: u64 = 32;

// === impl Identity ===

impl Identity {
    /// Tells whether a leader with this vote can have it: its last entry is not of a later term. openraft takes that
    /// for granted of what it is given to install, and panics.
    #[must_use]
    pub fn is_possible_of(&self, leader: &Vote) -> bool {
        let last = self.meta.raft.last_log_id;
        leader.committed && last.is_none_or(|last| last.leader_id.term <= leader.leader_id.term)
    }

    /// The number of entries that are in it, which orders the snapshots of a group.
    fn entries(&self) -> u64 {
        self.meta.raft.last_log_id.map_or(0, |last| last.index + 1)
    }
}

impl Wire for Meta {
    type Message = v1::SnapshotMeta;

    fn to_message(&self) -> v1::SnapshotMeta {
        v1::SnapshotMeta { time_ms: self.time.as_millis(), state_hash: self.state_hash, ..self.raft.to_message() }
    }

    fn from_message(message: v1::SnapshotMeta) -> Result<Self, DecodeError> {
        let (time, state_hash) = (Timestamp::from_millis(message.time_ms), message.state_hash);
        Ok(Self { raft: SnapshotMeta::from_message(message)?, time, state_hash })
    }
}

impl Wire for Identity {
    type Message = v1::SnapshotFile;

    fn to_message(&self) -> v1::SnapshotFile {
        let digest = Bytes::copy_from_slice(&self.digest);
        v1::SnapshotFile { meta: Some(self.meta.to_message()), bytes: self.bytes, digest }
    }

    fn from_message(message: v1::SnapshotFile) -> Result<Self, DecodeError> {
        let invalid = |field, value, allowed| DecodeError::Invalid { field, value, allowed };
        let meta = message.meta.ok_or(DecodeError::Absent { field: "snapshot_file.meta" })?;
        if !(DIGEST_BYTES..=SNAPSHOT_BYTES_MAX).contains(&message.bytes) {
            return Err(invalid("snapshot_file.bytes", message.bytes, "32 to 4294967296"));
        }
        let size = message.digest.len() as u64;
        let digest = message.digest[..].try_into();
        let digest = digest.map_err(|_| invalid("the size of snapshot_file.digest", size, "32"))?;
        Ok(Self { meta: Meta::from_message(meta)?, bytes: message.bytes, digest })
    }
}

// === impl NoFile ===

impl File for NoFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(0)
    }

    fn read_at(&self, _buffer: &mut [u8], _offset: u64) -> io::Result<usize> {
        Ok(0)
    }

    fn write_at(&self, _bytes: &[u8], _offset: u64) -> io::Result<usize> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

// === impl Snapshot ===

impl Snapshot {
    fn unfinished(identity: Identity, unfinished: store::Unfinished) -> Self {
        let (name, file) = (unfinished.name.clone(), Arc::clone(&unfinished.file));
        Self { identity, name, file, _unfinished: Some(Arc::new(unfinished)) }
    }

    /// A snapshot of before the first entry, of which there is no file.
    pub(crate) fn nothing() -> Self {
        let raft = SnapshotMeta { last_log_id: None, last_membership: StoredMembership::default() };
        let meta = Meta { raft, time: Timestamp::default(), state_hash: 0 };
        let identity = Identity { meta, bytes: 0, digest: [0; 32] };
        Self { identity, name: "nothing".to_owned(), file: Arc::new(NoFile), _unfinished: None }
    }

    /// Which one it is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Reads up to `bytes_max` bytes of its file from `offset` on; none at its end or behind.
    ///
    /// # Errors
    /// [`SnapshotError::Disk`].
    pub fn read_at(&self, offset: u64, bytes_max: usize) -> Result<Bytes, SnapshotError> {
        let left = self.identity.bytes.saturating_sub(offset);
        let mut bytes = vec![0; usize::try_from(left).map_or(bytes_max, |left| left.min(bytes_max))];
        read_exact_at(&*self.file, &mut bytes, offset).map_err(disk_error(&self.name))?;
        Ok(bytes.into())
    }

    /// Checks every byte of it.
    pub(crate) fn verify(&self) -> Result<(), SnapshotError> {
        let found = verify(&self.file, &self.name)?;
        if found == self.identity {
            return Ok(());
        }
        let what = "it is another snapshot than it was when it was opened or announced";
        Err(SnapshotError::Damaged { file: self.name.clone(), offset: 0, what })
    }

    /// Reads the machine's state; what is read was checked piece by piece.
    pub(crate) fn contents(&self) -> Result<Contents, SnapshotError> {
        Contents::open(Arc::clone(&self.file), &self.name).map(|(_, contents)| contents)
    }

    /// The name of its file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("name", &self.name).field("identity", &self.identity).finish_non_exhaustive()
    }
}

fn disk_error(file: &str) -> impl FnOnce(io::Error) -> SnapshotError {
    let file = file.to_owned();
    move |source| SnapshotError::Disk { file, source }
}
