//! A tool server that is a child process, as plain, already valid data.
//!
//! There is no shell anywhere: a command is an argument vector. Values of variables are secrets, which no log, error
//! or `Debug` shows; files that hold them are named here and read when a process starts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use quorate_types::{ByteSize, Secret};

use crate::limits::StdioLimits;

/// The smallest and the largest memory limit of a process.
pub const MEMORY_RANGE: (ByteSize, ByteSize) = (ByteSize::mib(16), ByteSize::mib(1 << 20));
/// The smallest and the largest limit of a process's processor time: a second to a year.
pub const CPU_RANGE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(365 * 24 * 3600));

/// A tool server that is started as a child process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StdioConnection {
    /// The program, then its arguments: 1 to 256 texts without NUL. A program with a slash is an absolute path; one
    /// without is looked up in the `PATH` of the process.
    pub command: Vec<String>,
    /// Variables of the process, by name.
    pub env: BTreeMap<String, Secret>,
    /// Files whose content becomes a variable, by the variable's name; none of them is in `env`.
    pub env_files: BTreeMap<String, PathBuf>,
    /// The node's variables that the process gets; `None` for the usual ones.
    pub inherit: Option<Vec<String>>,
    /// The working folder, an absolute path; `None` for a private one per process.
    pub folder: Option<PathBuf>,
    /// Whether sessions share a process.
    pub isolation: Isolation,
    /// The most private writable memory of each process; `None` for no limit.
    pub memory: Option<ByteSize>,
    /// The most processor time of each process in its whole life; `None` for no limit.
    pub cpu: Option<Duration>,
    /// The limits that have a default.
    pub limits: StdioLimits,
}

/// Whether sessions of a child-process server share a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Isolation {
    /// Each session has a process of its own.
    #[default]
    Session,
    /// All sessions share one.
    Shared,
}

// === impl StdioConnection ===

impl StdioConnection {
    /// Makes a connection with every default. The command must not be empty.
    #[must_use]
    pub fn new(command: Vec<String>) -> Self {
        Self {
            command,
            env: BTreeMap::new(),
            env_files: BTreeMap::new(),
            inherit: None,
            folder: None,
            isolation: Isolation::default(),
            memory: None,
            cpu: None,
            limits: StdioLimits::DEFAULTS,
        }
    }
}
