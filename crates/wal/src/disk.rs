//! The files under the log: all access to the disk goes through [`Disk`] and [`File`].
//!
//! [`Folder`] is the real one. Tests use one in memory that tears, loses and delays what it is given
//! ([`crate::testing`]). What is written may be lost until [`File::sync`] returned, and so may the names of files until
//! [`Disk::sync_names`] did.

use std::fs::{DirBuilder, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A folder that belongs to the log.
pub trait Disk: Send + Sync + 'static {
    /// Returns the names of all files, in no order.
    ///
    /// # Errors
    /// What the system says.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Makes a file of zeros that is on the disk when this returns. One that is made empty grows with what is written.
    ///
    /// # Errors
    /// What the system says; `AlreadyExists` when there is one of this name.
    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn File>>;

    /// Opens a file.
    ///
    /// # Errors
    /// What the system says.
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;

    /// Gives a file another name, which no file has.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file; who has it open can still read it.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes the names of files durable.
    ///
    /// # Errors
    /// What the system says; what is on the disk is unknown then.
    fn sync_names(&self) -> io::Result<()>;

    /// Returns how many bytes there are for more files, as far as is known: a quota may allow less.
    ///
    /// # Errors
    /// What the system says.
    fn free(&self) -> io::Result<u64>;
}

/// An open file.
pub trait File: Send + Sync + 'static {
    /// Returns its length in bytes.
    ///
    /// # Errors
    /// What the system says.
    fn bytes(&self) -> io::Result<u64>;

    /// Reads some bytes from `offset` on; 0 at the end.
    ///
    /// # Errors
    /// What the system says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes some of the bytes at `offset`.
    ///
    /// # Errors
    /// What the system says.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Makes what was written durable.
    ///
    /// # Errors
    /// What the system says; what is on the disk is unknown then.
    fn sync(&self) -> io::Result<()>;
}

/// A folder of the file system, which no other process uses.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    /// Locked for as long as it is open; none for a folder that never had a lock, to read.
    _lock: Option<Arc<Lock>>,
    is_read_only: bool,
}

/// The lock of a folder, which ends with this value: a file that is merely closed stays locked for as long as a child
/// has it that another thread is just about to start, and whoever opens the folder next would be refused.
#[derive(Debug)]
struct Lock(std::fs::File);

/// The file whose lock says that the folder is in use.
const LOCK: &str = "lock";

/// The owner reads and writes, nobody else does anything.
const MODE: u32 = 0o600;

/// Bytes that are written at once where a file is filled with zeros.
static ZEROS: [u8; 256 << 10] = [0; 256 << 10];

/// Bytes of zeros that are synced at once: what a disk writes in about 10 ms.
const FILL_SYNC_BYTES: u64 = 4 << 20;

// === impl Lock ===

impl Lock {
    /// # Errors
    /// `WouldBlock` when another process has it, else what the system says.
    fn take(file: std::fs::File, folder: &Path) -> io::Result<Self> {
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                let reason = format!("{} is in use by another process", folder.display());
                io::Error::new(io::ErrorKind::WouldBlock, reason)
            }
            TryLockError::Error(error) => error,
        })?;
        Ok(Self(file))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is the other way to give it back, and follows.
        let _given_back = self.0.unlock();
    }
}

// === impl Folder ===

impl Folder {
    /// Takes a folder, which is made if it is not there. What is in it may be secret: folder and files are made for the
    /// owner alone.
    ///
    /// # Errors
    /// `WouldBlock` when another process has it, else what the system says.
    pub fn new(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        make_folder(&path)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(MODE).open(path.join(LOCK))?;
        let lock = Lock::take(lock, &path)?;
        Ok(Self { path, _lock: Some(Arc::new(lock)), is_read_only: false })
    }

    /// Takes a folder to read in it; nothing is made or changed, which also goes for a copy and for one that is mounted to
    /// be read. One that another process has is refused all the same: its segments are used again while they are read,
    /// and what is found then looks corrupt.
    ///
    /// # Errors
    /// `WouldBlock` when another process has it, `NotFound` when there is none, else what the system says.
    pub fn to_read(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        std::fs::read_dir(&path)?;
        let lock = match std::fs::File::open(path.join(LOCK)) {
            Ok(lock) => Some(Lock::take(lock, &path)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Self { path, _lock: lock.map(Arc::new), is_read_only: true })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Disk for Folder {
    fn names(&self) -> io::Result<Vec<String>> {
        let names = std::fs::read_dir(&self.path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        names.collect()
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn File>> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(MODE).open(self.path.join(name))?;
        match fill(&file, bytes) {
            Ok(()) => Ok(Arc::new(file)),
            Err(error) => {
                // What it took of a full disk is given back; what matters is why it could not be made.
                let _ = self.remove(name);
                Err(error)
            }
        }
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(!self.is_read_only).open(self.path.join(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        sync_folder(&self.path)
    }

    fn free(&self) -> io::Result<u64> {
        let found = rustix::fs::statvfs(&self.path)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }
}

impl File for std::fs::File {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::write_at(self, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Reads exactly as many bytes as the buffer has.
///
/// # Errors
/// `UnexpectedEof` when the file ends before, else what the system says.
pub fn read_exact_at(file: &dyn File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match file.read_at(buffer, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                buffer = &mut buffer[read..];
                offset += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes all of the bytes.
///
/// # Errors
/// `WriteZero` when the file takes no more, else what the system says.
pub fn write_all_at(file: &dyn File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Tells whether an error says that there is no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Fills a file with zeros, and not only with a length: a write into them changes no metadata, so that its sync is one
/// write. Piece by piece, since one large sync would be in the way of the log's own.
fn fill(file: &std::fs::File, bytes: u64) -> io::Result<()> {
    let mut offset = 0;
    while offset < bytes {
        let piece = usize::try_from(bytes - offset).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
        write_all_at(file, &ZEROS[..piece], offset)?;
        offset += piece as u64;
        if offset.is_multiple_of(FILL_SYNC_BYTES) {
            file.sync_data()?;
        }
    }
    file.sync_all()
}

/// Makes a folder and those it is in, and makes the names of the new ones durable.
fn make_folder(path: &Path) -> io::Result<()> {
    let is_missing = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
    let missing = path.ancestors().skip(1).take_while(is_missing).count();
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    // The folder's own name also when it was there: who made it may have been killed before this.
    for folder in path.ancestors().take(1 + missing) {
        match folder.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => sync_folder(parent)?,
            Some(_) | None => sync_folder(Path::new("."))?,
        }
    }
    Ok(())
}

fn sync_folder(path: &Path) -> io::Result<()> {
    std::fs::File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_ends_is_free_although_a_child_that_is_just_starting_has_its_file_yet() {
        let folder = tempfile::tempdir().unwrap();
        let open = || std::fs::File::create(folder.path().join(LOCK));
        let lock = Lock::take(open().unwrap(), folder.path()).unwrap();
        // As after a fork: another descriptor of the same open file.
        let of_the_child = lock.0.try_clone().unwrap();
        let refused = Lock::take(open().unwrap(), folder.path()).map_err(|error| error.kind());
        assert_eq!(refused.err(), Some(io::ErrorKind::WouldBlock));

        drop(lock);

        assert!(Lock::take(open().unwrap(), folder.path()).is_ok());
        drop(of_the_child);
    }
}
