//! Where the secrets of resources are from: the document itself, the environment, or a file.
//!
//! A [`SecretSource`] is what a document says; [`SecretSource::read`] gets the text, which may be another one each time
//! when it is in a file. It blocks, and is called away from the threads that serve requests. No error shows a secret.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use quorate_types::Secret;

/// The most bytes of a file with a secret: tokens have some kilobytes, a header 8 KiB.
const SECRET_BYTES_MAX: u64 = 8 << 10;

/// Where a secret is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// The configuration itself.
    Literal(Secret),
    /// An environment variable.
    Env(String),
    /// A file, whose last line end is not part of it.
    File(PathBuf),
}

/// A secret cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The environment does not have it.
    #[error("the environment variable {name} is not set, or is no text")]
    Env {
        /// The variable's name.
        name: String,
    },
    /// The file cannot be read.
    #[error("{}: {message}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What the system said, or which limit was met.
        message: String,
    },
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// It cannot be the value of a header.
    #[error("a header's value has 1 to {max} bytes of visible ASCII characters, spaces and tabs")]
    NoHeader {
        /// The longest value of a header in bytes.
        max: usize,
    },
}

// === impl SecretSource ===

impl SecretSource {
    pub(crate) fn literal(text: &str) -> Self {
        Self::Literal(Secret::new(text))
    }

    /// Reads the secret: 1 to 8192 bytes, unless the document itself has it.
    ///
    /// # Errors
    /// [`Unreadable`] names the variable or the file.
    pub fn read(&self) -> Result<Secret, Unreadable> {
        let text = match self {
            Self::Literal(secret) => return Ok(secret.clone()),
            Self::Env(name) => std::env::var(name).map_err(|_| Unreadable::Env { name: name.clone() })?,
            Self::File(file) => read_bounded(file, SECRET_BYTES_MAX)
                .map_err(|message| Unreadable::File { file: file.clone(), message })?,
        };
        let text = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
        if text.is_empty() { Err(Unreadable::Empty) } else { Ok(Secret::new(text)) }
    }

    /// Returns the file that it is in.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Literal(_) | Self::Env(_) => None,
        }
    }
}

/// Reads a text file of bounded size; what has no end, such as a device, is not read to it.
pub(crate) fn read_bounded(path: &Path, bytes_max: u64) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    file.take(bytes_max + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > bytes_max {
        return Err(format!("it has more than {bytes_max} bytes, the most allowed"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, SecretSource) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        std::fs::write(&path, text).expect("writes");
        (folder, SecretSource::File(path))
    }

    #[test]
    fn one_line_end_is_no_part_of_a_secret_in_a_file() {
        for (text, secret) in [("a", "a"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a ", " a ")] {
            let (_folder, source) = file(text);
            assert_eq!(source.read(), Ok(Secret::new(secret)), "{text:?}");
        }
    }

    #[test]
    fn a_secret_that_is_not_there_is_named_and_an_empty_one_is_none() {
        let (_folder, empty) = file("\n");
        assert_eq!(empty.read(), Err(Unreadable::Empty));

        let (_folder, large) = file(&"s3cret".repeat(2_000));
        let error = large.read().expect_err("it is too large").to_string();
        assert!(error.contains("token") && error.contains("8192") && !error.contains("s3cret"), "{error}");

        let absent = SecretSource::File("/nowhere/token".into()).read().expect_err("it is not there").to_string();
        assert!(absent.starts_with("/nowhere/token: "), "{absent}");
        let unset = SecretSource::Env("QUORATE_TEST_UNSET".to_owned()).read().expect_err("it is not set");
        assert!(unset.to_string().contains("QUORATE_TEST_UNSET"), "{unset}");
    }
}
