//! Why a context cannot be used or written.
//!
//! Readers are operators: each message names the file and what is wrong with it. What to do depends on whose the files are, which
//! is said beside it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use quorate_membership::authority::OPERATOR_LIFETIME_MAX;
use quorate_membership::handshake::FilesError;

/// A context cannot be used or written.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// There is none.
    #[error("there is no context file {}", file.display())]
    Missing {
        /// Where it was looked for.
        file: PathBuf,
    },
    /// It cannot be read.
    #[error("cannot read {}: {source}", file.display())]
    Read {
        /// Which file.
        file: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// It is none.
    #[error("{}: {reason}", file.display())]
    Invalid {
        /// Which file.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Its key can be read by others.
    #[error("{} can be read by others (mode {mode:03o}), and must be 600", file.display())]
    Exposed {
        /// The file with the key.
        file: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Its certificate, key or authorities cannot be used.
    #[error("{source}")]
    Files {
        /// Whether they were written with the context; otherwise somebody else makes them where they are.
        are_own: bool,
        /// What is wrong.
        #[source]
        source: FilesError,
    },
    /// Its certificate lives longer than nodes take one of an operator.
    #[error(
        "{}: the certificate lives for {} days, and nodes take that of an operator only when it lives for at most {}",
        file.display(), days(*lifetime), days(OPERATOR_LIFETIME_MAX)
    )]
    LivesTooLong {
        /// The file with the certificate.
        file: PathBuf,
        /// From its beginning to its end.
        lifetime: Duration,
    },
    /// A file is there already.
    #[error("{} is there already and is not replaced", file.display())]
    Exists {
        /// Which file.
        file: PathBuf,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {source}", file.display())]
    Write {
        /// Which file.
        file: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// Days, a part of one as a whole: what is too long by a second is not told as what is allowed.
fn days(lifetime: Duration) -> u64 {
    lifetime.as_secs().div_ceil(86_400)
}
