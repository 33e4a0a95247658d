//! What is run, with what, and within which limits: plain data, already valid.
//!
//! There is no shell: a program is an argument vector. Its environment is what stands here and nothing else;
//! [`environment`] makes one of an allow-list and configured values. Where the program is named without a slash it
//! is looked up in the `PATH` of *its* environment.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The variables of the node that a program gets unless it is told otherwise: where programs, the user's files and
/// temporary files are, who the user is, and how text and time are written. No proxy addresses (they may hold
/// passwords), no `SHELL` and `TERM` (there is neither), nothing that a cloud or a CI put there.
pub const INHERITED: [&str; 9] = ["HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH", "TMPDIR", "TZ", "USER"];

/// Where programs are looked for when the node itself has no `PATH`.
const PATH_DEFAULT: &str = "/usr/local/bin:/usr/bin:/bin";

/// A program to be run as a child.
#[derive(Clone, PartialEq, Eq)]
pub struct Program {
    /// What it is called in logs and process lists.
    pub name: Arc<str>,
    /// The program and its arguments; at least the program, without NUL bytes.
    pub argv: Vec<OsString>,
    /// Its whole environment: no name is empty or has a `=`, nothing has a NUL byte.
    pub environment: Vec<(OsString, OsString)>,
    /// Where it works.
    pub folder: Folder,
    /// What it may use.
    pub resources: Resources,
    /// What we spend on it.
    pub limits: Limits,
}

/// The working folder of a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Folder {
    /// A new, empty one that only this user may enter, removed when the child has ended.
    Private,
    /// This one, which has to exist.
    At(PathBuf),
}

/// What each process of a child may use; beyond what is set here it may use what the node may.
///
/// A limit is taken over by the processes that the program starts, each by itself. A core dump is never written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Processor time of its whole life in seconds (`RLIMIT_CPU`).
    pub cpu_seconds: Option<u64>,
    /// Private writable memory in bytes (`RLIMIT_DATA`). Not the address space: runtimes such as that of Node.js
    /// reserve gigabytes of it without using them, and would not start.
    pub memory_bytes: Option<u64>,
    /// Open files (`RLIMIT_NOFILE`).
    pub files: Option<u64>,
}

/// What the node spends on one child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest line of its standard output in bytes; a longer one is skipped. 16 MiB, as an answer over HTTP.
    pub line_bytes_max: usize,
    /// Bytes of its standard output that are no message and are read per second: 1 MiB, as of its standard error.
    pub garbage_bytes_per_second: u32,
    /// Bytes that wait to be written to it: 4 MiB, one largest request.
    pub outgoing_bytes_max: usize,
    /// How long a message waits for room among them: 10 s; a child that reads nothing for that long hangs.
    pub outgoing_stall: Duration,
    /// Lines of its standard error that are logged at once: 100, what a server may say when it starts.
    pub stderr_lines_burst: u32,
    /// Lines of its standard error that are logged per second after that: 10.
    pub stderr_lines_per_second: u32,
    /// Bytes of its standard error that are read per second: 1 MiB. A child that writes more waits, instead of
    /// costing us the time to throw it away.
    pub stderr_bytes_per_second: u32,
    /// How long it has to end by itself when its standard input was closed: 2 s.
    pub grace: Duration,
}

/// The defaults of [`Limits`]; the reasons are at its fields.
pub const DEFAULTS: Limits = Limits {
    line_bytes_max: 16 << 20,
    garbage_bytes_per_second: 1 << 20,
    outgoing_bytes_max: 4 << 20,
    outgoing_stall: Duration::from_secs(10),
    stderr_lines_burst: 100,
    stderr_lines_per_second: 10,
    stderr_bytes_per_second: 1 << 20,
    grace: Duration::from_secs(2),
};

/// Makes an environment: those of the node's variables that `inherit` names, and `set` over them.
#[must_use]
pub fn environment(
    inherit: impl IntoIterator<Item = impl AsRef<OsStr>>,
    set: impl IntoIterator<Item = (OsString, OsString)>,
) -> Vec<(OsString, OsString)> {
    let mut made: Vec<(OsString, OsString)> = Vec::new();
    let mut put = |name: &OsStr, value: OsString| match made.iter_mut().find(|(there, _)| there == name) {
        Some((_, there)) => *there = value,
        None => made.push((name.to_owned(), value)),
    };
    put(OsStr::new("PATH"), PATH_DEFAULT.into());
    for name in inherit {
        if let Some(value) = std::env::var_os(name.as_ref()) {
            put(name.as_ref(), value);
        }
    }
    for (name, value) in set {
        put(&name, value);
    }
    made
}

// === impl Program ===

impl fmt::Debug for Program {
    /// Writes the names of the environment only: its values are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.environment.iter().map(|(name, _)| name).collect();
        f.debug_struct("Program")
            .field("name", &self.name)
            .field("argv", &self.argv)
            .field("environment", &names)
            .field("folder", &self.folder)
            .field("resources", &self.resources)
            .finish_non_exhaustive()
    }
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        DEFAULTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_has_what_is_listed_and_what_is_set_and_nothing_else() {
        let set = [("PATH".into(), "/opt".into()), ("KEY".into(), "1".into()), ("KEY".into(), "2".into())];
        let made = environment(["HOME", "NO_SUCH_VARIABLE"], set);
        let value = |wanted: &str| made.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());

        assert_eq!(value("PATH"), Some("/opt".into()));
        assert_eq!(value("KEY"), Some("2".into()));
        assert_eq!(value("HOME"), std::env::var_os("HOME"));
        assert_eq!(value("NO_SUCH_VARIABLE"), None);
        assert!(made.len() <= 3, "{made:?}");
    }

    #[test]
    fn a_program_shows_no_value_of_its_environment() {
        let program = Program {
            name: "files".into(),
            argv: vec!["server".into()],
            environment: vec![("KEY".into(), "hunter2".into())],
            folder: Folder::Private,
            resources: Resources::default(),
            limits: DEFAULTS,
        };
        let shown = format!("{program:?}");
        assert!(shown.contains("KEY") && !shown.contains("hunter2"), "{shown}");
    }
}
