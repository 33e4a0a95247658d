//! The Unix socket in the data folder: who can open it owns the node.
//!
//! It is made in a folder that only the node's user can enter, gets its mode there, and is then moved to its place: nobody can
//! open it before. What a process that ended has left is replaced; a socket that somebody answers is not.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream as Probe;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};

/// The name of the socket in the data folder.
pub const FILE: &str = "admin.sock";

/// How long nothing is accepted after the system gave no socket: it has no file descriptors, or no memory.
pub(super) const PAUSE: Duration = Duration::from_millis(50);

/// Bytes of a path that the system takes for a socket (`sun_path`, with its end).
const PATH_BYTES_MAX: usize = 107;

/// A listening Unix socket; its file goes with it.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

/// The socket cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody listens there.
    #[error("{} is answered by another process: one data folder is for one node", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// There is something else.
    #[error("{} is there, and is no socket", path.display())]
    NoSocket {
        /// What is in the way.
        path: PathBuf,
    },
    /// Its path is longer than the system takes.
    #[error("{} has more than {PATH_BYTES_MAX} bytes, the most that a socket's path can have: use a shorter data folder",
            path.display())]
    TooLong {
        /// The path.
        path: PathBuf,
    },
    /// The system fails.
    #[error("cannot make {}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

// === impl Socket ===

impl Socket {
    /// Listens on [`FILE`] in a data folder. Needs a runtime of tokio.
    ///
    /// # Errors
    /// [`SocketError`] says what is in the way.
    pub fn bind(data_dir: &Path) -> Result<Self, SocketError> {
        let path = data_dir.join(FILE);
        let failed = |source| SocketError::Io { path: path.clone(), source };
        // Of this process alone, so that two that start at once do not take each other's.
        let private = data_dir.join(format!(".{FILE}-{}", std::process::id()));
        let made = private.join("s");
        if made.as_os_str().len() > PATH_BYTES_MAX {
            return Err(SocketError::TooLong { path });
        }
        clear(&path)?;
        // Left by a process that had the same number and was killed.
        remove(&private);
        DirBuilder::new().mode(0o700).create(&private).map_err(failed)?;
        let bound = bind_in(&made).and_then(|listener| std::fs::rename(&made, &path).map(|()| listener));
        remove(&private);
        Ok(Self { listener: bound.map_err(failed)?, path })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // What is left is replaced by the next start.
        let _is_gone = std::fs::remove_file(&self.path);
    }
}

fn bind_in(path: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Takes what a process that ended has left out of the way.
fn clear(path: &Path) -> Result<(), SocketError> {
    let failed = |source| SocketError::Io { path: path.to_owned(), source };
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => {}
        Ok(_) => return Err(SocketError::NoSocket { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    }
    match Probe::connect(path) {
        Ok(_) => Err(SocketError::InUse { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

fn remove(private: &Path) {
    if let Err(error) = std::fs::remove_dir_all(private)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::debug!(path = %private.display(), %error, "a folder for making a socket is left");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::symlink_metadata(path).expect("it is there").permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn a_socket_is_its_users_alone_and_goes_with_its_node() {
        let dir = tempfile::tempdir().expect("there is a disk");
        let socket = Socket::bind(dir.path()).expect("nothing is in the way");

        assert_eq!(mode(socket.path()), 0o600);
        let left: Vec<_> = std::fs::read_dir(dir.path()).expect("it is there").flatten().collect();
        assert_eq!(left.len(), 1, "only the socket is left: {left:?}");
        let (accepted, dialed) = tokio::join!(socket.accept(), UnixStream::connect(socket.path()));
        assert!(accepted.is_ok() && dialed.is_ok());
        let path = socket.path().to_owned();
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_a_dead_process_left_is_replaced_and_what_somebody_answers_is_not() {
        let dir = tempfile::tempdir().expect("there is a disk");
        let path = dir.path().join(FILE);
        drop(std::os::unix::net::UnixListener::bind(&path).expect("nothing is in the way"));
        assert!(path.exists(), "the file of a socket outlives it");

        let socket = Socket::bind(dir.path()).expect("nobody answers there");
        let second = Socket::bind(dir.path()).expect_err("the first one answers");
        assert!(matches!(second, SocketError::InUse { .. }), "{second}");
        assert!(UnixStream::connect(socket.path()).await.is_ok(), "the first one is still there");
    }

    #[tokio::test]
    async fn what_is_no_socket_is_left_alone_and_a_path_that_is_too_long_is_told() {
        let dir = tempfile::tempdir().expect("there is a disk");
        std::fs::write(dir.path().join(FILE), "mine").expect("there is a disk");
        let refused = Socket::bind(dir.path()).expect_err("a file is in the way");
        assert!(matches!(refused, SocketError::NoSocket { .. }), "{refused}");
        assert_eq!(std::fs::read_to_string(dir.path().join(FILE)).expect("it is there"), "mine");

        let deep = dir.path().join("d".repeat(120));
        std::fs::create_dir(&deep).expect("there is a disk");
        assert!(matches!(Socket::bind(&deep), Err(SocketError::TooLong { .. })));
    }
}
