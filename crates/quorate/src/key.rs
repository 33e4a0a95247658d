//! The node's root key: from which the ids that leave it are sealed.
//!
//! Kept in `root.key` of the data directory, 32 random bytes as hexadecimal text, readable by its
//! owner alone. It is made on the first start, whole or not at all; a file that is there but is no
//! key is an error and never replaced, because everything sealed under the old one would be lost.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use quorate_types::seal::KEY_BYTES;

use crate::exit::{Exit, Failure};
use crate::run::shown;

pub(crate) const FILE: &str = "root.key";

/// The key of a data directory.
pub(crate) struct Root {
    pub(crate) key: [u8; KEY_BYTES],
    /// Whether it was just made.
    pub(crate) is_new: bool,
}

/// Reads the key of a data directory, making both when they are not there.
///
/// # Errors
/// [`Failure`] when the directory or file cannot be used, is no key, or others can read it.
pub(crate) fn of_data_dir(dir: &Path) -> Result<Root, Failure> {
    let path = dir.join(FILE);
    let failed = |what: &str, error: &std::io::Error| {
        Failure::new(Exit::Failure, format!("{what} {}: {error}", shown(&path)))
            .advise("name a directory that this user can write with `--data-dir`")
    };
    fs::create_dir_all(dir).map_err(|error| failed("cannot make the directory of", &error))?;
    let is_new = !path.try_exists().map_err(|error| failed("cannot look for", &error))?;
    if is_new {
        write(&path, &quorate_runtime::entropy::secret()).map_err(|error| failed("cannot write", &error))?;
    }
    // Read also when it was just made: another process may have been faster.
    Ok(Root { key: of_file(&path)?, is_new })
}

/// Reads a key.
///
/// # Errors
/// [`Failure`] when the file cannot be read, is no key, or others can read it.
pub(crate) fn of_file(path: &Path) -> Result<[u8; KEY_BYTES], Failure> {
    let failed =
        |what: &str, error: &std::io::Error| Failure::new(Exit::Failure, format!("{what} {}: {error}", shown(path)));
    let text = fs::read_to_string(path).map_err(|error| failed("cannot read", &error))?;
    let mode = fs::metadata(path).map_err(|error| failed("cannot look at", &error))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(Failure::new(Exit::Failure, format!("{} can be read by others", shown(path)))
            .advise(format!("chmod 600 {}", shown(path))));
    }
    parse(text.trim()).ok_or_else(|| {
        Failure::new(Exit::Failure, format!("{} is not 64 hexadecimal digits", shown(path)))
            .advise("restore it from a backup; removing it ends every session, id and API key handed out under it")
    })
}

/// Writes the key beside its place and links it there when it is whole and on disk, unless there
/// is one by now: a crash leaves no part of a key, and nothing is ever replaced.
fn write(path: &Path, key: &[u8; KEY_BYTES]) -> std::io::Result<()> {
    let text: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let draft = path.with_extension(format!("{}.new", std::process::id()));
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {} // One of a process that crashed, or none.
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    // The name is on disk when its directory is.
    path.parent().map_or(Ok(()), |dir| fs::File::open(dir)?.sync_all())
}

fn parse(text: &str) -> Option<[u8; KEY_BYTES]> {
    if text.len() != 2 * KEY_BYTES || !text.is_ascii() {
        return None;
    }
    let mut key = [0; KEY_BYTES];
    for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir() -> tempfile::TempDir {
        tempfile::tempdir().expect("a directory")
    }

    #[test]
    fn the_key_is_made_once_and_read_by_its_owner_alone() {
        let dir = dir();

        let made = of_data_dir(dir.path()).expect("a key is made");
        assert!(made.is_new);
        let mode = fs::metadata(dir.path().join(FILE)).expect("the file").permissions().mode();

        assert_eq!(mode & 0o777, 0o600);
        let read = of_data_dir(dir.path()).expect("the key is read");
        assert_eq!((read.key, read.is_new), (made.key, false));
    }

    #[test]
    fn a_crash_while_the_key_is_written_leaves_no_part_of_one() {
        let dir = dir();
        let draft = dir.path().join(FILE).with_extension(format!("{}.new", std::process::id()));
        fs::write(&draft, "ab").expect("a draft is left behind");

        let made = of_data_dir(dir.path()).expect("a key is made");

        let read = of_data_dir(dir.path()).expect("the key is read");
        assert_eq!((read.key, read.is_new), (made.key, false));
        assert!(!draft.exists());
    }

    #[test]
    fn a_key_that_another_process_made_first_is_kept() {
        let dir = dir();
        let path = dir.path().join(FILE);

        write(&path, &[1; KEY_BYTES]).expect("written");
        write(&path, &[2; KEY_BYTES]).expect("there is one by now");

        let read = of_data_dir(dir.path()).expect("the key is read");
        assert_eq!((read.key, read.is_new), ([1; KEY_BYTES], false));
    }

    #[test]
    fn a_file_that_is_no_key_or_open_to_others_is_refused_and_kept() {
        let dir = dir();
        let path = dir.path().join(FILE);
        for (text, mode) in [("short", 0o600), (&*"ab".repeat(32), 0o644)] {
            fs::write(&path, text).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");

            assert!(of_data_dir(dir.path()).is_err());
            assert_eq!(fs::read_to_string(&path).expect("the file"), text);
        }
    }
}
