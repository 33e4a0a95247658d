//! What went wrong with a call, in words: whether it was sent, whether it was done, and what the node says of it.
//!
//! A node's refusal carries `google.rpc` details; they become lines that name the field, the reason and what has to be done
//! first. The one thing that a caller must know of every failure is whether the call may have been done.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use quorate_types::ClusterId;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// Lines of details that are kept: a node sends fewer, and a stranger is not to fill a terminal.
const LINES_MAX: usize = 100;
/// Bytes of a text of a node that are kept.
const TEXT_BYTES_MAX: usize = 4 << 10;

/// A call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No endpoint answered; nothing was done.
    #[error("{}", unreachable(tried))]
    Unreachable {
        /// Which ones were tried, and what came of it.
        tried: Vec<(String, String)>,
    },
    /// A node refused it; nothing was done.
    #[error("{endpoint}: {refused}")]
    Refused {
        /// Who.
        endpoint: String,
        /// What it says.
        refused: Box<Refused>,
    },
    /// It was sent, and nobody knows whether it was done.
    #[error("{endpoint}: {reason}; it may have been done")]
    OutcomeUnknown {
        /// Where it was sent.
        endpoint: String,
        /// What happened then.
        reason: String,
    },
    /// No answer in time to a call that changes nothing.
    #[error("{endpoint}: no answer within {:.1} s", after.as_secs_f64())]
    TimedOut {
        /// Who was asked last.
        endpoint: String,
        /// How long was waited.
        after: Duration,
    },
    /// The nodes are another cluster's.
    #[error("{endpoint} is of cluster {found}, and the context is of cluster {expected}")]
    OtherCluster {
        /// Who was asked.
        endpoint: String,
        /// Its cluster.
        found: String,
        /// The context's.
        expected: ClusterId,
    },
}

/// A node's refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What kind of refusal.
    pub code: Code,
    /// In one sentence.
    pub message: String,
    /// A word for programs, such as `NO_LEADER`; empty when there is none.
    pub reason: String,
    /// What goes with it.
    pub metadata: BTreeMap<String, String>,
    /// Which fields are wrong: the field, and what is wrong with it.
    pub fields: Vec<(String, String)>,
    /// What has to be done first: what it is about, and what to do.
    pub preconditions: Vec<(String, String)>,
    /// Trying again helps after this time.
    pub retry_after: Option<Duration>,
}

// === impl Refused ===

impl Refused {
    pub(crate) fn of_status(status: &Status) -> Self {
        let details = status.get_error_details();
        let fields = details.bad_request().map(|bad| bad.field_violations.as_slice()).unwrap_or_default();
        let fields = fields.iter().take(LINES_MAX).map(|one| (cut(&one.field), cut(&one.description))).collect();
        let first = details.precondition_failure().map(|failure| failure.violations.as_slice()).unwrap_or_default();
        let first = first.iter().take(LINES_MAX).map(|one| (cut(&one.subject), cut(&one.description))).collect();
        let info = details.error_info();
        let metadata = info.map(|info| info.metadata.iter().take(LINES_MAX).map(|(k, v)| (cut(k), cut(v))).collect());
        Self {
            code: status.code(),
            message: cut(status.message()),
            reason: info.map(|info| cut(&info.reason)).unwrap_or_default(),
            metadata: metadata.unwrap_or_default(),
            fields,
            preconditions: first,
            retry_after: details.retry_info().and_then(|retry| retry.retry_delay),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.message.is_empty() { self.code.description() } else { &self.message })?;
        // What the message says already is not said twice.
        let said = |text: &str| self.message.contains(text);
        let is_told = |field: &str| self.fields.len() == 1 && !field.is_empty() && said(field);
        for (field, description) in self.fields.iter().filter(|(field, text)| !said(text) && !is_told(field)) {
            write!(f, "\n  {field}{}{description}", if field.is_empty() { "" } else { ": " })?;
        }
        for (_, description) in self.preconditions.iter().filter(|(_, description)| !said(description)) {
            write!(f, "\n  {description}")?;
        }
        Ok(())
    }
}

fn unreachable(tried: &[(String, String)]) -> String {
    match tried {
        [(endpoint, reason)] => format!("{endpoint}: {reason}"),
        many => {
            let lines: Vec<String> =
                many.iter().map(|(endpoint, reason)| format!("\n  {endpoint}: {reason}")).collect();
            format!("no node answers:{}", lines.concat())
        }
    }
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn details_become_lines_that_say_what_is_wrong_once() {
        let mut details = ErrorDetails::new();
        details.add_bad_request_violation("shards", "is 300, and must be 1 to 256");
        details.add_bad_request_violation("", "the set has 2 listeners at one address");
        let status = Status::with_error_details(Code::InvalidArgument, "the request is wrong", details);

        let refused = Refused::of_status(&status);

        let expected = "the request is wrong\n  shards: is 300, and must be 1 to 256\n  \
                        the set has 2 listeners at one address";
        assert_eq!(refused.to_string(), expected);
        let mut details = ErrorDetails::new();
        details.add_bad_request_violation("valid_for", "8 days is not valid: 1 minute to 7 days");
        let status = Status::with_error_details(Code::InvalidArgument, "valid_for 8 days: 1 minute to 7 days", details);
        assert_eq!(Refused::of_status(&status).to_string(), "valid_for 8 days: 1 minute to 7 days");
        let mut details = ErrorDetails::new();
        details.add_precondition_failure_violation("QUORUM", "node/1", "start node 1");
        let status = Status::with_error_details(Code::FailedPrecondition, "first: start node 1", details);
        assert_eq!(Refused::of_status(&status).to_string(), "first: start node 1");
    }

    #[test]
    fn a_refusal_tells_when_trying_again_helps_and_why_for_programs() {
        let mut details = ErrorDetails::with_retry_info(Some(Duration::from_millis(300)));
        details.set_error_info("NO_LEADER", "quorate", [("group".to_owned(), "0".to_owned())]);
        let status = Status::with_error_details(Code::Unavailable, "the meta group has no leader", details);

        let refused = Refused::of_status(&status);

        assert_eq!(refused.retry_after, Some(Duration::from_millis(300)));
        assert_eq!((refused.reason.as_str(), refused.metadata["group"].as_str()), ("NO_LEADER", "0"));
    }

    #[test]
    fn whoever_was_tried_is_named() {
        let one = [("a:1".to_owned(), "connection refused".to_owned())];
        let two = [one[0].clone(), ("b:1".to_owned(), "no connection within 3000 ms".to_owned())];

        assert_eq!(unreachable(&one), "a:1: connection refused");
        assert_eq!(
            unreachable(&two),
            "no node answers:\n  a:1: connection refused\n  b:1: no connection within 3000 ms"
        );
    }

    #[test]
    fn a_refusal_without_words_has_those_of_its_code() {
        assert_eq!(
            Refused::of_status(&Status::new(Code::NotFound, "")).to_string(),
            "Some requested entity was not found"
        );
        assert_eq!(cut(&"ä".repeat(TEXT_BYTES_MAX)).len(), TEXT_BYTES_MAX);
    }
}
