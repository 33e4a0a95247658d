//! How a command ends: the exit codes, and the message that goes with each.
//!
//! Every command returns `Result<(), Failure>`; `main` prints the failure and turns its
//! [`Exit`] into the process's code. Scripts rely on the numbers: one is never given another
//! meaning. The table below is what `quorate --help` shows.

use std::fmt;
use std::process::ExitCode;

use quorate_runtime::upstream;

/// Why a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Anything that no other code names.
    Failure,
    /// The command line is wrong.
    Usage,
    /// A configuration file is invalid.
    Config,
    /// No server, or no node of the cluster, answers at the address.
    Unreachable,
    /// The tool ran and reports an error (`isError`).
    Tool,
    /// The server refused the request: unknown tool, wrong arguments, no permission. Or a cluster refused this node.
    Refused,
    /// The call was sent, but no answer came: it may have run.
    OutcomeUnknown,
    /// The audit log was changed, cut or lost records.
    Broken,
}

/// What a request that failed was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    /// Finding out about the server, which changes nothing there.
    Asking,
    /// Calling a tool, which may have effects.
    Calling,
}

/// A failed command: its exit, what happened, and what to do about it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
    /// What to do; one sentence or a list of lines.
    pub(crate) advice: Option<String>,
}

// === impl Exit ===

impl Exit {
    /// All failures with the meaning that `--help` shows.
    pub(crate) const ALL: [(Self, &'static str); 8] = [
        (Self::Failure, "failure not named below; differences (`diff`), or something is wrong (`check`)"),
        (Self::Usage, "wrong command line"),
        (Self::Config, "invalid configuration"),
        (Self::Unreachable, "no server or node answers at the address"),
        (Self::Tool, "the tool reports an error"),
        (
            Self::Refused,
            "the server refused the request (unknown tool, wrong arguments, no permission), or its cluster a node",
        ),
        (Self::OutcomeUnknown, "the call was sent but no answer came: it may have run"),
        (Self::Broken, "the audit log does not verify"),
    ];

    /// Returns the process's exit code.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Failure => 1,
            Self::Usage => 2,
            Self::Config => 3,
            Self::Unreachable => 4,
            Self::Tool => 5,
            Self::Refused => 6,
            Self::OutcomeUnknown => 7,
            Self::Broken => 8,
        }
    }

    /// Writes the table of `--help`.
    pub(crate) fn table() -> String {
        let mut table = String::from("Exit codes:\n  0  success");
        for (exit, meaning) in Self::ALL {
            table.push_str(&format!("\n  {}  {meaning}", exit.code()));
        }
        table
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

// === impl Failure ===

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), advice: None }
    }

    /// Ends with exit code 1 and says nothing: what there is to say was printed.
    pub(crate) fn silent() -> Self {
        Self::new(Exit::Failure, "")
    }

    /// Adds what to do about it.
    #[must_use]
    pub(crate) fn advise(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }

    /// Makes the failure of talking to the MCP server at `url`.
    pub(crate) fn of_upstream(url: &str, doing: Doing, error: &upstream::Error) -> Self {
        use upstream::Error as E;

        let message = format!("{url}: {error}");
        if doing == Doing::Calling && !matches!(error, E::Fault { .. }) && !error.never_executed() {
            let failure = Self::new(Exit::OutcomeUnknown, format!("{message}; the call may have run"));
            return match error {
                E::Timeout { .. } => failure.advise("raise `--timeout` or `--total-timeout` if the tool is slow"),
                _ => failure,
            };
        }
        match error {
            E::Connect { .. } => Self::new(Exit::Unreachable, message).advise(
                "start a server there (`quorate up` serves http://127.0.0.1:4290/mcp), or name another address",
            ),
            E::Timeout { .. } => Self::new(Exit::Unreachable, message)
                .advise("check the address, or raise `--connect-timeout` or `--timeout` if the server is slow"),
            E::Status { status, .. } if matches!(status.as_u16(), 401 | 403) => Self::new(Exit::Refused, message)
                .advise("give credentials with `--header 'Authorization: Bearer …'`"),
            E::Status { .. } | E::Redirect { .. } | E::Version { .. } | E::Malformed(_) | E::Broken { .. } => {
                Self::new(Exit::Unreachable, message).advise(
                    "check that this is the address of an MCP server: the path is mostly /mcp, or /sse with `--transport sse`",
                )
            }
            E::Fault { .. } => Self::new(Exit::Refused, message),
            E::SessionLost => {
                Self::new(Exit::Refused, message).advise("run the command again: the server forgot the session")
            }
            // A client of ours has no processes; the message says it all if it ever gets some.
            E::Process { .. } | E::Children { .. } | E::Credential { .. } => Self::new(Exit::Unreachable, message),
            E::TooLarge { .. } | E::TooMany { .. } | E::Busy { .. } | E::Stalled { .. } => {
                Self::new(Exit::Failure, message)
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<anyhow::Error> for Failure {
    /// Makes an unnamed failure, with the chain of causes in its message.
    fn from(error: anyhow::Error) -> Self {
        Self::new(Exit::Failure, format!("{error:#}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_may_have_run_is_told_apart_from_one_that_did_not() {
        use upstream::Error as E;

        let timeout = E::Timeout { phase: upstream::error::Phase::Total, after: std::time::Duration::from_secs(1) };
        let refused = |status| E::Status { status, fault: None };
        let cases = [
            (E::Connect { reason: "x".into() }, Exit::Unreachable, Exit::Unreachable),
            (timeout, Exit::Unreachable, Exit::OutcomeUnknown),
            (E::Broken { reason: "x".into() }, Exit::Unreachable, Exit::OutcomeUnknown),
            (E::TooLarge { max: 1 }, Exit::Failure, Exit::OutcomeUnknown),
            (refused(http::StatusCode::UNAUTHORIZED), Exit::Refused, Exit::Refused),
            (refused(http::StatusCode::NOT_FOUND), Exit::Unreachable, Exit::Unreachable),
            (refused(http::StatusCode::BAD_GATEWAY), Exit::Unreachable, Exit::OutcomeUnknown),
            (E::SessionLost, Exit::Refused, Exit::Refused),
        ];
        for (error, asking, calling) in cases {
            assert_eq!(Failure::of_upstream("u", Doing::Asking, &error).exit, asking, "{error}");
            assert_eq!(Failure::of_upstream("u", Doing::Calling, &error).exit, calling, "{error}");
        }
    }

    #[test]
    fn every_exit_has_a_code_of_its_own_that_is_in_the_table() {
        let mut codes: Vec<u8> = Exit::ALL.iter().map(|(exit, _)| exit.code()).collect();
        assert_eq!(codes, [1, 2, 3, 4, 5, 6, 7, 8]);
        codes.dedup();
        assert_eq!(codes.len(), Exit::ALL.len());
        let table = Exit::table();
        assert!(Exit::ALL.iter().all(|(exit, meaning)| table.contains(&format!("{}  {meaning}", exit.code()))));
    }
}
