//! The root key as a file: 64 hexadecimal digits that its owner alone may read.
//!
//! A file is read as it is and never replaced: everything that was sealed under a key is lost with it. Kept means written
//! beside its place, synced, and linked there when it is whole, so that a crash leaves no part of a key. A file with
//! another mode than `0600` is refused, also one that is readable by a group: who shares a key says so by giving it an owner.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use quorate_types::seal::KEY_BYTES;
use zeroize::Zeroizing;

use super::RootKey;

/// The name of the file in a data folder.
pub const FILE: &str = "root.key";

const MODE: u32 = 0o600;
/// Bytes that are read at most: the digits, and blanks that editors leave.
const FILE_BYTES_MAX: u64 = 256;

/// The file of a root key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused something.
    #[error("cannot {action} the root key {}: {source}", path.display())]
    System {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// Others can read it, or its owner cannot write it.
    #[error("the root key {0} has mode {mode:04o}, and must have 0600: chmod 600 {0}", path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// What it has.
        mode: u32,
    },
    /// It is no key.
    #[error(
        "the root key {} is not 64 hexadecimal digits: restore it from a backup, or from another node of the cluster",
        path.display()
    )]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// There is one, and it is another.
    #[error(
        "{} holds another root key than the cluster's, and is not replaced: move it away if nothing was sealed under it",
        path.display()
    )]
    Another {
        /// The file.
        path: PathBuf,
    },
}

impl RootKey {
    /// Reads the key of a file.
    ///
    /// # Errors
    /// [`FileError`] when it cannot be read, has another mode than 0600, or is no key.
    pub fn of_file(path: &Path) -> Result<Self, FileError> {
        let file = fs::File::open(path).map_err(failed("open", path))?;
        // Of the file that is open, not of one that takes its name meanwhile.
        let mode = file.metadata().map_err(failed("look at", path))?.mode() & 0o7777;
        if mode != MODE {
            return Err(FileError::Mode { path: path.to_owned(), mode });
        }
        // As long as what is read, so that no part of a key is left in memory that was grown out of.
        let mut text = Zeroizing::new(Vec::with_capacity(FILE_BYTES_MAX as usize));
        file.take(FILE_BYTES_MAX).read_to_end(&mut text).map_err(failed("read", path))?;
        parse(text.trim_ascii()).ok_or_else(|| FileError::NoKey { path: path.to_owned() })
    }

    /// Keeps the key in a data folder, where it may be already; durable when this returns.
    ///
    /// # Errors
    /// [`FileError`] when another key is there, or the system refuses.
    pub fn keep(&self, folder: &Path) -> Result<(), FileError> {
        let path = folder.join(FILE);
        let draft = folder.join(format!("root.{}.new", std::process::id()));
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed("make", &draft)(error)),
            Ok(()) | Err(_) => {} // One of a process that crashed, or none.
        }
        let linked = self.draw_up(&draft).and_then(|()| match fs::hard_link(&draft, &path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            Ok(()) | Err(_) => Ok(()),
        });
        let removed = fs::remove_file(&draft);
        linked.and(removed).and_then(|()| fs::File::open(folder)?.sync_all()).map_err(failed("write", &path))?;
        // Also when it was just written: another process may have been faster.
        let there = Self::of_file(&path)?;
        if *there.0 == *self.0 { Ok(()) } else { Err(FileError::Another { path }) }
    }

    fn draw_up(&self, draft: &Path) -> io::Result<()> {
        let mut text = Zeroizing::new(Vec::with_capacity(2 * KEY_BYTES + 1));
        for byte in self.0.iter() {
            write!(text, "{byte:02x}")?;
        }
        text.push(b'\n');
        let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(draft)?;
        file.write_all(&text)?;
        file.sync_all()
    }
}

fn parse(text: &[u8]) -> Option<RootKey> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    if text.len() != 2 * KEY_BYTES {
        return None;
    }
    for (byte, digits) in key.iter_mut().zip(text.chunks_exact(2)) {
        let high = char::from(digits[0]).to_digit(16)?;
        let low = char::from(digits[1]).to_digit(16)?;
        *byte = u8::try_from(high << 4 | low).expect("two hexadecimal digits are a byte");
    }
    Some(RootKey(key))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError::System { action, path, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn write(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_kept_key_is_read_back_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let key = RootKey::draw();
        key.keep(folder.path()).unwrap();
        key.keep(folder.path()).unwrap();

        let path = folder.path().join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(RootKey::of_file(&path).unwrap().expose(), key.expose());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn another_key_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        RootKey::new([1; KEY_BYTES]).keep(folder.path()).unwrap();

        let refused = RootKey::new([2; KEY_BYTES]).keep(folder.path());

        assert!(matches!(refused, Err(FileError::Another { .. })), "{refused:?}");
        assert_eq!(RootKey::of_file(&folder.path().join(FILE)).unwrap().expose(), &[1; KEY_BYTES]);
    }

    #[test]
    fn a_mode_that_is_not_0600_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        for mode in [0o644, 0o640, 0o400, 0o700] {
            write(&path, &"ab".repeat(KEY_BYTES), mode);
            let message = RootKey::of_file(&path).unwrap_err().to_string();
            assert!(message.contains(&format!("has mode {mode:04o}, and must have 0600")), "{message}");
        }
    }

    #[test]
    fn a_file_that_is_no_key_is_refused_without_being_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        for text in ["", "abcd", &"zz".repeat(32), &"ab".repeat(33), &format!("{} {}", "ab".repeat(16), "a".repeat(31))]
        {
            write(&path, text, 0o600);
            let error = RootKey::of_file(&path).unwrap_err();
            assert!(matches!(error, FileError::NoKey { .. }), "{text}");
            assert!(text.is_empty() || !error.to_string().contains(text));
        }
        write(&path, &format!("{}\n", "AB".repeat(32)), 0o600);
        assert_eq!(RootKey::of_file(&path).unwrap().expose(), &[0xab; KEY_BYTES]);
    }

    #[test]
    fn a_draft_of_a_process_that_crashed_is_no_hindrance() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(format!("root.{}.new", std::process::id())), "ab").unwrap();

        RootKey::new([3; KEY_BYTES]).keep(folder.path()).unwrap();

        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
