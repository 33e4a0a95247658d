//! The folder of a log: segments by name, and the one that is written.
//!
//! A segment is `audit-SEQUENCE.jsonl`, named after its first record with twenty digits, so that names sort as their
//! records do. One process writes a folder: it holds a lock on `audit.lock`. What else lies there is nobody's here.
//!
//! [`Medium`] is what the log needs of a folder, so that tests can have a full or broken disk.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::record::SEQUENCE_MAX;

const PREFIX: &str = "audit-";
const SUFFIX: &str = ".jsonl";
const DIGITS: usize = 20;
const LOCK: &str = "audit.lock";
/// Segments that are looked at: sixteen times what the default sizes make. More is somebody's mistake.
const SEGMENTS_MAX: usize = 1_024;
/// Who was denied what is for the operator alone.
const FILE_MODE: u32 = 0o600;

/// A segment as it lies in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// The sequence of its first record, by its name.
    pub(crate) first: u64,
    pub(crate) bytes: u64,
}

/// Where a log is kept.
pub(crate) trait Medium {
    /// Lists all segments, the oldest first.
    fn segments(&self) -> io::Result<Vec<Segment>>;
    /// Opens a segment for reading.
    fn read(&self, first: u64) -> io::Result<impl BufRead>;
    /// Begins to write a segment, which is made if it is not there.
    fn resume(&mut self, first: u64) -> io::Result<()>;
    /// Writes at the end of the present segment; what an error leaves of it is cut by `truncate`.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Cuts the present segment.
    fn truncate(&mut self, bytes: u64) -> io::Result<()>;
    /// Waits until the present segment is on disk.
    fn sync(&mut self) -> io::Result<()>;
    /// Removes a segment.
    fn remove(&mut self, first: u64) -> io::Result<()>;
}

/// A folder on disk that this process alone writes.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    present: Option<File>,
    lock: File,
}

/// Returns the name of the segment that begins with a record.
pub(crate) fn name(first: u64) -> String {
    format!("{PREFIX}{first:0DIGITS$}{SUFFIX}")
}

/// Lists the segments of a folder, the oldest first.
pub(crate) fn list(path: &Path) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let Some(first) = entry.file_name().to_str().and_then(first_of) else { continue };
        if segments.len() == SEGMENTS_MAX {
            return Err(io::Error::other(format!("there are more than {SEGMENTS_MAX} segments")));
        }
        segments.push(Segment { first, bytes: entry.metadata()?.len() });
    }
    segments.sort_by_key(|segment| segment.first);
    Ok(segments)
}

/// Opens a segment for reading.
pub(crate) fn open(path: &Path, first: u64) -> io::Result<BufReader<File>> {
    File::open(path.join(name(first))).map(|file| BufReader::with_capacity(64 * 1024, file))
}

fn first_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let is_number = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    let first = digits.parse().ok().filter(|_| is_number)?;
    (1..=SEQUENCE_MAX).contains(&first).then_some(first)
}

// === impl Folder ===

impl Folder {
    /// Makes the folder if it is not there, and locks it.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when another process has it; else what the system says.
    pub(crate) fn lock(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(FILE_MODE).open(path.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), present: None, lock }),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn present(&mut self) -> io::Result<&mut File> {
        self.present.as_mut().ok_or_else(|| io::Error::other("no segment is open"))
    }

    /// A name is on disk when its folder is.
    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A file that is merely closed stays locked for as long as a child has it that another thread is about to start.
        let _given_back = self.lock.unlock();
    }
}

impl Medium for Folder {
    fn segments(&self) -> io::Result<Vec<Segment>> {
        list(&self.path)
    }

    fn read(&self, first: u64) -> io::Result<impl BufRead> {
        open(&self.path, first)
    }

    fn resume(&mut self, first: u64) -> io::Result<()> {
        let path = self.path.join(name(first));
        let file = OpenOptions::new().append(true).create(true).mode(FILE_MODE).open(path)?;
        self.sync_names()?;
        self.present = Some(file);
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.present()?.write_all(bytes)
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.present()?.set_len(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.present()?.sync_data()
    }

    fn remove(&mut self, first: u64) -> io::Result<()> {
        fs::remove_file(self.path.join(name(first)))?;
        self.sync_names()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_listed_in_the_order_of_their_records() {
        let dir = tempfile::tempdir().expect("a folder");
        for first in [30, 2, 100] {
            fs::write(dir.path().join(name(first)), "x").expect("written");
        }
        for other in
            ["audit-1.jsonl", "audit-00000000000000000000.jsonl", "audit-99999999999999999999.jsonl", "notes.txt"]
        {
            fs::write(dir.path().join(other), "x").expect("written");
        }
        let firsts: Vec<u64> = list(dir.path()).expect("a list").iter().map(|segment| segment.first).collect();
        assert_eq!(firsts, [2, 30, 100]);
        assert_eq!(name(30), "audit-00000000000000000030.jsonl");
    }

    #[test]
    fn a_folder_has_one_writer_and_its_files_one_reader() {
        use std::os::unix::fs::PermissionsExt;

        let dir = tempfile::tempdir().expect("a folder");
        let mut folder = Folder::lock(dir.path()).expect("it is free");
        assert_eq!(Folder::lock(dir.path()).map_err(|error| error.kind()).err(), Some(io::ErrorKind::WouldBlock));

        folder.resume(1).expect("a segment");
        let mode = fs::metadata(dir.path().join(name(1))).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        // As a child has it between its fork and its start.
        let of_a_child = folder.lock.try_clone().expect("another descriptor");
        drop(folder);
        assert!(Folder::lock(dir.path()).is_ok());
        drop(of_a_child);
    }
}
