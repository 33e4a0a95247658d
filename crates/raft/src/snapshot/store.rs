//! The folder of a group's snapshots: the newest one is kept, and what is not finished has another name.
//!
//! A snapshot gets its name after its bytes are durable, and the older one goes after the name is: whenever the power
//! goes, a whole one is there. What has the name of an unfinished one is removed when the folder is opened.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_wal::{Disk, File, write_all_at};

use super::format::{self, Contents};
use super::{Identity, Meta, Snapshot, SnapshotError, SnapshotWriter, disk_error};
use crate::machine::Frozen;

/// The snapshots of one group.
pub struct Store {
    disk: Arc<dyn Disk>,
    current: Mutex<Option<Snapshot>>,
    /// Numbers what is not finished.
    unfinished: AtomicU64,
    /// The folder is another's from now on.
    is_closed: AtomicBool,
}

/// A file that is removed when nobody has it any more, unless it got another name.
pub(super) struct Unfinished {
    disk: Arc<dyn Disk>,
    pub(super) name: String,
    pub(super) file: Arc<dyn File>,
}

/// What the name of a finished snapshot begins with.
const FINISHED: &str = "snapshot-";

/// What the name of one that is being made begins with.
const BUILDING: &str = "building-";

/// What the name of one that is being received begins with.
const RECEIVING: &str = "receiving-";

/// Bytes that are copied at once.
const COPY_BYTES: usize = 256 << 10;

// === impl Store ===

impl Store {
    /// Opens a folder that nobody else uses, and removes from it what is not finished or not the newest.
    ///
    /// # Errors
    /// [`SnapshotError`] when the newest snapshot does not begin and end as one. All of it is checked before it is
    /// restored.
    pub fn open(disk: Arc<dyn Disk>) -> Result<Self, SnapshotError> {
        let mut names = disk.names().map_err(disk_error("the folder of snapshots"))?;
        names.sort();
        let newest = names.iter().rfind(|name| name.starts_with(FINISHED)).cloned();
        for name in &names {
            let is_ours = [FINISHED, BUILDING, RECEIVING].iter().any(|prefix| name.starts_with(prefix));
            if is_ours && Some(name) != newest.as_ref() {
                disk.remove(name).map_err(disk_error(name))?;
            }
        }
        let open = |name: String| {
            let file = disk.open(&name).map_err(disk_error(&name))?;
            let (identity, _) = Contents::open(Arc::clone(&file), &name)?;
            Ok(Snapshot { identity, name, file, _unfinished: None })
        };
        let current = newest.map(open).transpose()?;
        Ok(Self {
            disk,
            current: Mutex::new(current),
            unfinished: AtomicU64::new(0),
            is_closed: AtomicBool::new(false),
        })
    }

    /// The newest snapshot.
    #[must_use]
    pub fn current(&self) -> Option<Snapshot> {
        self.lock().clone()
    }

    /// Lets nothing more into the folder: the group is forgotten, and what is still being made or received belongs to nobody.
    pub(crate) fn close(&self) {
        let _current = self.lock();
        self.is_closed.store(true, Ordering::Relaxed);
    }

    /// Begins to receive a snapshot of another replica.
    ///
    /// # Errors
    /// [`SnapshotError::Disk`].
    pub fn receive(&self, identity: Identity) -> Result<SnapshotWriter, SnapshotError> {
        Ok(SnapshotWriter::new(identity, self.create(RECEIVING)?))
    }

    /// Makes a snapshot, and returns the newest there is now: this one, or a newer one that was received meanwhile.
    pub(crate) fn build(&self, meta: Meta, frozen: &dyn Frozen) -> Result<Snapshot, SnapshotError> {
        let unfinished = self.create(BUILDING)?;
        let identity = format::write(&*unfinished.file, meta, frozen).map_err(disk_error(&unfinished.name))?;
        self.keep(Snapshot::unfinished(identity, unfinished))
    }

    /// Keeps a snapshot whose bytes are durable in place of an older one, and returns the newest. One that is not in
    /// this folder is copied into it.
    pub(crate) fn keep(&self, snapshot: Snapshot) -> Result<Snapshot, SnapshotError> {
        let mut current = self.lock();
        if self.is_closed.load(Ordering::Relaxed) {
            let reason = io::Error::other("the group was forgotten");
            return Err(disk_error(&snapshot.name)(reason));
        }
        if let Some(kept) = &*current
            && kept.identity.entries() >= snapshot.identity.entries()
        {
            return Ok(kept.clone());
        }
        let digest = snapshot.identity.digest;
        let digest = u64::from_le_bytes(*digest.first_chunk().expect("a digest has 32 bytes"));
        let name = format!("{FINISHED}{:020}-{digest:016x}", snapshot.identity.entries());
        let mut file = Arc::clone(&snapshot.file);
        match self.disk.rename(&snapshot.name, &name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => file = self.copy(&snapshot, &name)?,
            renamed => renamed.map_err(disk_error(&name))?,
        }
        self.disk.sync_names().map_err(disk_error(&name))?;
        let kept = Snapshot { identity: snapshot.identity, name, file, _unfinished: None };
        if let Some(older) = current.replace(kept.clone()) {
            discard(&*self.disk, &older.name);
        }
        Ok(kept)
    }

    fn create(&self, prefix: &str) -> Result<Unfinished, SnapshotError> {
        let name = format!("{prefix}{}", self.unfinished.fetch_add(1, Ordering::Relaxed));
        let file = self.disk.create(&name, 0).map_err(disk_error(&name))?;
        Ok(Unfinished { disk: Arc::clone(&self.disk), name, file })
    }

    fn copy(&self, snapshot: &Snapshot, name: &str) -> Result<Arc<dyn File>, SnapshotError> {
        let unfinished = self.create(BUILDING)?;
        let Unfinished { name: unfinished_name, file, .. } = &unfinished;
        let mut offset = 0;
        while offset < snapshot.identity.bytes {
            let bytes = snapshot.read_at(offset, COPY_BYTES)?;
            write_all_at(&**file, &bytes, offset).map_err(disk_error(unfinished_name))?;
            offset += bytes.len() as u64;
        }
        file.sync().and_then(|()| self.disk.rename(unfinished_name, name)).map_err(disk_error(unfinished_name))?;
        Ok(Arc::clone(file))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Snapshot>> {
        // It holds a whole snapshot or none, whoever panicked.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("current", &self.current()).finish_non_exhaustive()
    }
}

// === impl Unfinished ===

impl Drop for Unfinished {
    fn drop(&mut self) {
        discard(&*self.disk, &self.name);
    }
}

/// Removes a file that nobody needs. One that cannot be removed is removed when the folder is opened again.
fn discard(disk: &dyn Disk, name: &str) {
    match disk.remove(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(name, error = &error as &dyn std::error::Error, "a snapshot was not removed");
        }
        Ok(()) | Err(_) => {}
    }
}
