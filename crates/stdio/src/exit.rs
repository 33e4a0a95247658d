//! How a child ended, in a form that an operator can act on.
//!
//! An [`Exit`] is told when nothing of the child is left, and holds what its program returned and the last lines that
//! it wrote to its standard error: mostly the reason is there, and nowhere else.

use std::fmt;
use std::time::Duration;

/// What became of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It returned this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// The system started no process for it, with this error number; its folder may be missing.
    NotStarted(i32),
    /// Its guard was killed before it could tell; the program dies with its guard.
    Unknown,
    /// The guard is still ending what the program has started, and goes on with it.
    Unfinished,
}

/// The end of a child: nothing of it is left, unless it is [`Status::Unfinished`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// What became of the program.
    pub status: Status,
    /// Whether its user had ended it while it was of use: its standard input was open, and it was not discarded.
    pub asked: bool,
    /// How long it lasted.
    pub lasted: Duration,
    /// The last lines of its standard error, bounded and without control characters.
    pub last_words: Vec<String>,
}

// === impl Status ===

impl Status {
    /// A constant that names the kind of end, for metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Code(0) => "success",
            Self::Code(_) => "failure",
            Self::Signal(_) => "signal",
            Self::NotStarted(_) => "not_started",
            Self::Unknown => "unknown",
            Self::Unfinished => "unfinished",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "it exited with code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal} ended it"),
            Self::NotStarted(number) => {
                write!(f, "it could not be started: {}", std::io::Error::from_raw_os_error(*number))
            }
            Self::Unknown => f.write_str("it was killed together with its guard"),
            Self::Unfinished => f.write_str("it could not be ended in time"),
        }
    }
}

// === impl Exit ===

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} after {:.1?}", self.status, self.lasted)?;
        if self.last_words.is_empty() {
            return Ok(());
        }
        write!(f, "; its last words: {}", self.last_words.join(" | "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_says_how_when_and_with_which_words() {
        let exit = Exit {
            status: Status::Code(3),
            asked: false,
            lasted: Duration::from_millis(1_500),
            last_words: vec!["no database".to_owned(), "giving up".to_owned()],
        };
        assert_eq!(exit.to_string(), "it exited with code 3 after 1.5s; its last words: no database | giving up");
        let silent = Exit { status: Status::NotStarted(2), last_words: Vec::new(), ..exit };
        assert!(silent.to_string().starts_with("it could not be started: No such file"), "{silent}");
    }
}
