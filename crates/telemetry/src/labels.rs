//! The closed sets of values that labels have.
//!
//! Every label of a hot metric is one of these, so a stranger's request can never add a time
//! series: an unknown method or revision is `other`. Each set is numbered densely, because the
//! numbers index the table of pre-bound histograms.

use quorate_types::Code;

/// A JSON-RPC method that MCP knows, or `other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Method(u8);

/// A protocol revision that we speak, or `other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Revision(u8);

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// With a result.
    Ok,
    /// With a result that says `isError`.
    ToolError,
    /// With a JSON-RPC error of the backend, passed on.
    RpcError,
    /// With an error of ours.
    Failed(Code),
}

/// The label of a method or revision that is not in its set.
pub const OTHER: &str = "other";

/// The methods of all revisions, 2024-11-05 to 2026-07-28; the last entry stands for the rest.
const METHODS: [&str; 37] = [
    "tools/call",
    "tools/list",
    "initialize",
    "ping",
    "server/discover",
    "prompts/list",
    "prompts/get",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "resources/subscribe",
    "resources/unsubscribe",
    "completion/complete",
    "logging/setLevel",
    "subscriptions/listen",
    "tasks/get",
    "tasks/list",
    "tasks/result",
    "tasks/update",
    "tasks/cancel",
    "roots/list",
    "sampling/createMessage",
    "elicitation/create",
    "notifications/initialized",
    "notifications/cancelled",
    "notifications/progress",
    "notifications/message",
    "notifications/roots/list_changed",
    "notifications/tools/list_changed",
    "notifications/prompts/list_changed",
    "notifications/resources/list_changed",
    "notifications/resources/updated",
    "notifications/tasks/status",
    "notifications/tasks",
    "notifications/elicitation/complete",
    "notifications/subscriptions/acknowledged",
    OTHER,
];

/// The revisions; the last entry stands for the rest, and for requests that have none.
const REVISIONS: [&str; 6] = ["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05", OTHER];

/// The classes of our own errors, in the order of their numbers.
const CODES: [Code; 12] = [
    Code::InvalidArgument,
    Code::Unauthenticated,
    Code::PermissionDenied,
    Code::NotFound,
    Code::FailedPrecondition,
    Code::ResourceExhausted,
    Code::Aborted,
    Code::Unimplemented,
    Code::Unavailable,
    Code::DeadlineExceeded,
    Code::Cancelled,
    Code::Internal,
];

// === impl Method ===

impl Method {
    /// How many there are.
    pub(crate) const COUNT: usize = METHODS.len();

    /// Returns the label of `name`: itself when MCP knows it, else `other`.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self(position(&METHODS, name))
    }

    /// Returns the label's text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        METHODS[usize::from(self.0)]
    }

    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

// === impl Revision ===

impl Revision {
    /// How many there are.
    pub(crate) const COUNT: usize = REVISIONS.len();

    /// Returns the label of `text`: itself when we speak it, else `other`.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self(position(&REVISIONS, text))
    }

    /// Returns the label's text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        REVISIONS[usize::from(self.0)]
    }

    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

// === impl Outcome ===

impl Outcome {
    /// How many there are.
    pub(crate) const COUNT: usize = 3 + CODES.len();

    /// Returns the `error.type` of this outcome, `None` on success.
    #[must_use]
    pub const fn error_type(self) -> Option<&'static str> {
        match self {
            Self::Ok => None,
            Self::ToolError => Some("tool_error"),
            Self::RpcError => Some("rpc_error"),
            Self::Failed(code) => Some(code.as_str()),
        }
    }

    pub(crate) fn index(self) -> usize {
        match self {
            Self::Ok => 0,
            Self::ToolError => 1,
            Self::RpcError => 2,
            Self::Failed(code) => 3 + CODES.iter().position(|one| *one == code).expect("CODES lists every code"),
        }
    }
}

fn position(set: &[&str], text: &str) -> u8 {
    let position = set.iter().position(|one| *one == text).unwrap_or(set.len() - 1);
    u8::try_from(position).expect("label sets are shorter than 256")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_a_set_is_itself_and_anything_else_is_other() {
        for name in METHODS {
            assert_eq!(Method::of(name).as_str(), name);
        }
        for name in ["", "tools/call ", "TOOLS/CALL", "x".repeat(10_000).as_str()] {
            assert_eq!(Method::of(name).as_str(), OTHER);
        }
        assert_eq!(Revision::of("2025-06-18").as_str(), "2025-06-18");
        assert_eq!(Revision::of("2099-01-01").as_str(), OTHER);
    }

    #[test]
    fn every_outcome_has_its_own_number_and_text() {
        let failed = CODES.map(Outcome::Failed);
        let all = [&[Outcome::Ok, Outcome::ToolError, Outcome::RpcError], failed.as_slice()].concat();
        let mut indexes: Vec<usize> = all.iter().map(|outcome| outcome.index()).collect();
        indexes.sort_unstable();
        assert_eq!(indexes, (0..Outcome::COUNT).collect::<Vec<_>>());
        let mut texts: Vec<_> = all.iter().map(|outcome| outcome.error_type()).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), Outcome::COUNT);
    }
}
