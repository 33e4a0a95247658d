//! What can go wrong with a call to a tool server, as a caller would treat it.
//!
//! The one question that matters to a gateway is whether the call may have run: a retry on
//! another replica is safe only when [`Error::never_executed`] says so, and never else, because
//! tool annotations such as `idempotentHint` are not to be trusted (mcp.md section 2, "Upstream
//! resumption"). Fields are for logs and error data; nothing here holds credentials.

use std::time::Duration;

use http::StatusCode;
use quorate_jsonrpc::{Frame, pick, text};
use quorate_types::Code;

use super::credential::Failure;

/// The phase of a call in which time ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Making the connection: nothing was sent.
    Connect,
    /// Waiting for the head of the response.
    FirstByte,
    /// Waiting for more of a response that had begun.
    Idle,
    /// The whole call, whatever its progress.
    Total,
}

/// Why bytes of a server are not an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Nonsense {
    /// The body is not a JSON-RPC message.
    #[error("the body is not a JSON-RPC message: {reason}")]
    Message {
        /// What the parser found.
        reason: quorate_jsonrpc::Reason,
    },
    /// The media type is neither JSON nor an event stream.
    #[error("the content type is {found:?}, not application/json or text/event-stream")]
    ContentType {
        /// The media type as sent, shortened.
        found: String,
    },
    /// A request was answered as if it were a notification, or with a message that answers nothing.
    #[error("the request got no answer: HTTP {status} without a JSON-RPC response")]
    NoAnswer {
        /// The status of the response.
        status: StatusCode,
    },
    /// The answer belongs to another request.
    #[error("the answer carries the id of another request")]
    WrongId,
    /// A result lacks what its method promises.
    #[error("the result of {method} has no valid {member}")]
    Result {
        /// The method that was called.
        method: &'static str,
        /// The member that is missing or has another type.
        member: &'static str,
    },
    /// The session id has characters outside of 0x21 to 0x7E or is longer than we carry.
    #[error("the session id is not 1 to {max} visible ASCII characters")]
    SessionId {
        /// The longest id that is accepted, in bytes.
        max: usize,
    },
    /// An event id cannot stand in a header, so that it cannot be resumed after.
    #[error("the event id cannot be sent in a header")]
    EventId,
    /// The first event of an HTTP+SSE stream must name the POST address, on the same origin.
    #[error("the event stream does not begin with an endpoint on the same origin")]
    Endpoint,
}

/// A call to a tool server failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// No connection could be made (name, refused, TLS): nothing was sent.
    #[error("{reason}")]
    Connect {
        /// The chain of causes.
        reason: String,
    },
    /// The server answered with a status that is not a success and not an answer to the call.
    #[error("the server answered HTTP {status}{}", fault_text(fault.as_deref()))]
    Status {
        /// The status of the response.
        status: StatusCode,
        /// The JSON-RPC error of the body, if there is one.
        fault: Option<Box<Frame>>,
    },
    /// The server refused the request with a JSON-RPC error, where there is no caller to pass it to.
    #[error("the server refused{}", fault_text(Some(frame)))]
    Fault {
        /// The HTTP status; often 200.
        status: StatusCode,
        /// The error frame.
        frame: Box<Frame>,
    },
    /// The server redirected, which is refused: a call and its credentials go nowhere else.
    #[error("the server redirects to {location:?}: configure that address if it is meant")]
    Redirect {
        /// The `Location` header, shortened.
        location: String,
    },
    /// The server does not know the session (any more): HTTP 404, or the leg was closed.
    #[error("the server does not know the session any more")]
    SessionLost,
    /// Time ran out.
    #[error("no answer within {after:?} ({phase:?})")]
    Timeout {
        /// Where.
        phase: Phase,
        /// The limit that was met.
        after: Duration,
    },
    /// The server sent something that is not MCP.
    #[error("the server's answer is not MCP: {0}")]
    Malformed(#[from] Nonsense),
    /// The server speaks no protocol version of ours.
    #[error("the server speaks {offered:?}, none of which is known here")]
    Version {
        /// What the server offered, bounded in number and length.
        offered: Vec<String>,
    },
    /// The connection or stream ended before the answer.
    #[error("the connection broke before the answer: {reason}")]
    Broken {
        /// The chain of causes, or what was missing.
        reason: String,
    },
    /// The answer is larger than the limit.
    #[error("the answer is larger than {max} bytes")]
    TooLarge {
        /// The limit in bytes.
        max: usize,
    },
    /// A list has more items or pages than we take.
    #[error("the list has more than {max} entries")]
    TooMany {
        /// The limit.
        max: usize,
    },
    /// Our own bound on open requests of one HTTP+SSE session is reached: nothing was sent.
    #[error("{max} requests of this session are open already")]
    Busy {
        /// The bound.
        max: usize,
    },
    /// The server's process could not be started, ended before it was of use, or rests: nothing was sent.
    #[error("{}", if details.is_empty() { reason } else { details })]
    Process {
        /// What anybody may know.
        reason: String,
        /// What the operator may know: paths, and the last words of the process. Empty when there is no more.
        details: String,
    },
    /// As many processes run as the server may have: nothing was sent.
    #[error("{max} processes of this server run already (spec.stdio.children)")]
    Children {
        /// The bound.
        max: usize,
    },
    /// What the server has to be shown cannot be had, so that nothing was sent, or what was sent was refused.
    #[error("no token for it: {failure}")]
    Credential {
        /// Why.
        failure: Failure,
    },
    /// The reader of one answer of a shared stream did not keep up, so that it was cut off.
    #[error("the answer was not read for {after:?}")]
    Stalled {
        /// How long the shared stream waited.
        after: Duration,
    },
}

// === impl Error ===

impl Error {
    pub(super) fn fault(status: StatusCode, frame: Frame) -> Self {
        Self::Fault { status, frame: Box::new(frame) }
    }

    /// Makes the error of a server that offers only versions unknown here.
    pub(super) fn unknown_versions<'a>(offered: impl IntoIterator<Item = &'a str>) -> Self {
        const COUNT_MAX: usize = 8;
        let shorten = |version: &str| version.chars().take(32).collect();
        Self::Version { offered: offered.into_iter().take(COUNT_MAX).map(shorten).collect() }
    }

    /// Tells whether the call certainly did not run, so that sending it elsewhere is safe.
    ///
    /// True for: no connection; our own bound; no credential; a lost session (a server looks its
    /// session up before anything else); a redirect; and statuses by which a server refuses a request
    /// before it handles it. A 5xx proves nothing, nor does a timeout.
    #[must_use]
    pub fn never_executed(&self) -> bool {
        match self {
            Self::Connect { .. }
            | Self::SessionLost
            | Self::Redirect { .. }
            | Self::Busy { .. }
            | Self::Process { .. }
            | Self::Children { .. }
            | Self::Credential { .. } => true,
            Self::Status { status, .. } => refuses_before_handling(*status),
            Self::Timeout { phase, .. } => *phase == Phase::Connect,
            Self::Malformed(_)
            | Self::Fault { .. }
            | Self::Version { .. }
            | Self::Broken { .. }
            | Self::TooLarge { .. }
            | Self::TooMany { .. }
            | Self::Stalled { .. } => false,
        }
    }

    /// Tells whether the failure says that the replica is unwell, as passive health counts it.
    ///
    /// A refusal of one request (4xx), a lost session and our own bounds do not.
    #[must_use]
    pub fn counts_against_health(&self) -> bool {
        match self {
            Self::Connect { .. }
            | Self::Timeout { .. }
            | Self::Broken { .. }
            | Self::Malformed(_)
            | Self::Process { .. }
            | Self::Credential { .. } => true,
            Self::Status { status, .. } => status.is_server_error(),
            Self::SessionLost
            | Self::Fault { .. }
            | Self::Redirect { .. }
            | Self::Busy { .. }
            | Self::Version { .. }
            | Self::TooLarge { .. }
            | Self::TooMany { .. }
            | Self::Children { .. }
            | Self::Stalled { .. } => false,
        }
    }

    /// Returns the class of the failure.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Connect { .. } | Self::Process { .. } | Self::Credential { .. } => Code::Unavailable,
            Self::Status { status, .. } => match status.as_u16() {
                401 => Code::Unauthenticated,
                403 => Code::PermissionDenied,
                404 | 410 => Code::NotFound,
                413 | 429 => Code::ResourceExhausted,
                405 | 501 => Code::Unimplemented,
                400..=499 => Code::InvalidArgument,
                _ => Code::Unavailable,
            },
            Self::SessionLost | Self::Redirect { .. } | Self::Version { .. } | Self::Fault { .. } => {
                Code::FailedPrecondition
            }
            Self::Timeout { .. } => Code::DeadlineExceeded,
            Self::Malformed(_) | Self::Broken { .. } | Self::Stalled { .. } => Code::Aborted,
            Self::TooLarge { .. } | Self::TooMany { .. } | Self::Busy { .. } | Self::Children { .. } => {
                Code::ResourceExhausted
            }
        }
    }
}

/// Statuses that RFC 9110 and RFC 6585 define as a refusal of the request itself.
///
/// 400 and 422 are left out: servers use them for what went wrong while handling, too.
fn refuses_before_handling(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        401 | 403 | 404 | 405 | 406 | 407 | 411 | 413 | 414 | 415 | 417 | 421 | 426 | 428 | 429 | 431
    )
}

/// Writes the message and code of an error frame, shortened.
fn fault_text(fault: Option<&Frame>) -> String {
    const SHOWN_MAX: usize = 300;
    let Some(fault) = fault else { return String::new() };
    let message: String = fault_message(fault).unwrap_or_default().chars().take(SHOWN_MAX).collect();
    let code = fault_code(fault).map(|code| format!(" (code {code})")).unwrap_or_default();
    format!(": {message}{code}")
}

/// Returns the code of an error frame.
#[must_use]
pub fn fault_code(frame: &Frame) -> Option<i64> {
    member(frame, "code")?.parse().ok()
}

/// Returns the message of an error frame.
#[must_use]
pub fn fault_message(frame: &Frame) -> Option<String> {
    text(member(frame, "message")?).map(Into::into)
}

/// Returns a raw member of an error frame's error object.
pub(super) fn member<'a>(frame: &'a Frame, key: &str) -> Option<&'a str> {
    let span = frame.error_span()?;
    let [found] = pick(frame.text_of(span), span.start, [key]).ok()?;
    found.map(|span| frame.text_of(span))
}

/// Writes an error and its causes in one line.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        // Wrappers often repeat what they wrap, and hyper-util's says only that there is a cause.
        if !text.contains(&said) && !said.starts_with("client error (") {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_certainly_did_not_run_may_be_sent_elsewhere() {
        let status = |code: u16| Error::Status { status: StatusCode::from_u16(code).unwrap(), fault: None };
        let timeout = |phase| Error::Timeout { phase, after: Duration::from_secs(1) };
        let broken = Error::Broken { reason: "x".into() };
        // (error, certainly not run, the replica is unwell)
        let cases = [
            (Error::Connect { reason: "x".into() }, true, true),
            (timeout(Phase::Connect), true, true),
            (timeout(Phase::FirstByte), false, true),
            (timeout(Phase::Total), false, true),
            (broken, false, true),
            (Nonsense::WrongId.into(), false, true),
            (Error::SessionLost, true, false),
            (Error::Redirect { location: "x".into() }, true, false),
            (Error::Busy { max: 1 }, true, false),
            (Error::Children { max: 1 }, true, false),
            (Error::Process { reason: "x".into(), details: String::new() }, true, true),
            (Error::Credential { failure: Failure::Unreachable }, true, true),
            (Error::TooLarge { max: 1 }, false, false),
            (Error::Stalled { after: Duration::from_secs(1) }, false, false),
            (status(400), false, false),
            (status(401), true, false),
            (status(404), true, false),
            (status(413), true, false),
            (status(429), true, false),
            (status(500), false, true),
            (status(503), false, true),
        ];
        for (error, never_executed, unwell) in cases {
            assert_eq!((error.never_executed(), error.counts_against_health()), (never_executed, unwell), "{error}");
        }
    }

    #[test]
    fn a_fault_is_shown_by_its_message_and_code_and_cut() {
        let body =
            format!(r#"{{"jsonrpc":"2.0","id":1,"error":{{"code":-32602,"message":"a\"b{}"}}}}"#, "x".repeat(1_000));
        let frame = Frame::parse(body.into(), &quorate_jsonrpc::Limits::ANSWER).unwrap();
        let shown = Error::fault(StatusCode::OK, frame).to_string();
        assert!(shown.starts_with("the server refused: a\"bxxx") && shown.ends_with("xxx (code -32602)"), "{shown}");
        assert!(shown.len() < 400);
    }

    #[test]
    fn a_chain_of_causes_says_nothing_twice() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] std::io::Error);

        assert_eq!(chain(&Outer(std::io::Error::other("inner"))), "outer: inner");
        assert_eq!(chain(&Outer(std::io::Error::other("outer"))), "outer");
    }
}
