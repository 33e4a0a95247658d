//! The few JSON texts that the machine reads or writes itself.
//!
//! It compares ids and tokens by value, since a peer may escape the same string differently, and
//! it builds the few messages that only it can send: that a request is taken back, and what is lost.

use bytes::Bytes;
use quorate_jsonrpc::{Frame, Id, build, pick, text};

use crate::effect::Refusal;
use crate::event::Fault;

/// Whether two JSON texts are the same string or the same digits.
pub(crate) fn same_value(left: &str, right: &str) -> bool {
    left == right || text(left).is_some_and(|left| text(right).is_some_and(|right| left == right))
}

/// The progress that a message tells of a token; none of any other message, and none without a number.
pub(crate) fn progress_of(frame: &Frame, token: &str) -> Option<f64> {
    let params = frame.params_span().filter(|_| frame.method() == Some("notifications/progress"))?;
    let [own, progress] = pick(frame.text_of(params), params.start, ["progressToken", "progress"]).ok()?;
    if !same_value(frame.text_of(own?), token) {
        return None;
    }
    frame.text_of(progress?).parse().ok().filter(|progress: &f64| progress.is_finite())
}

/// Whether an error says that its sender does not know the method.
pub(crate) fn is_unknown_method(frame: &Frame) -> bool {
    let Some(error) = frame.error_span() else { return false };
    matches!(pick(frame.text_of(error), error.start, ["code"]), Ok([Some(code)]) if frame.text_of(code) == "-32601")
}

/// Builds the notification that a request is cancelled.
pub(crate) fn cancelled(request_id: &Id, reason: &str) -> Bytes {
    let params = format!("{{\"requestId\":{},\"reason\":{}}}", request_id.as_json(), quorate_jsonrpc::quote(reason));
    build::notification("notifications/cancelled", Some(&params))
}

/// Builds the answer to a backend's request that the client does not answer.
pub(crate) fn refused(upstream_id: &Id, reason: Refusal) -> Bytes {
    let (code, message) = match reason {
        Refusal::ClientUnreachable => (UNAVAILABLE, "the client cannot be reached"),
        Refusal::TooMany => (LIMIT_EXCEEDED, "too many requests wait for the client"),
        Refusal::Timeout => (DEADLINE_EXCEEDED, "the client did not answer in time"),
        Refusal::CallEnded => (UNAVAILABLE, "the call that the request belongs to has ended"),
    };
    build::error(Some(upstream_id), code, message, None)
}

/// Builds what a client is told whose parked call has an answer that there is no room for.
pub(crate) fn too_much_unread(bytes_max: usize) -> Fault {
    let message =
        format!("limit exceeded: unread_bytes is at most {bytes_max}: the call was made, and its answer is lost");
    let data = format!("{{\"limit\":\"unread_bytes\",\"max\":{bytes_max}}}");
    Fault { code: LIMIT_EXCEEDED, message: message.into(), data: Some(data.into()) }
}

/// Builds what a client is told whose call was in flight at a node that is lost.
pub(crate) fn outcome_unknown(server: &str, method: &str) -> Fault {
    let message = format!(
        "outcome unknown: the node that sent {method} to tool server `{server}` was lost before the answer came, and the \
         call may have run: find out before you call again"
    );
    let data = format!(
        "{{\"backend\":{},\"method\":{},\"mayHaveRun\":true}}",
        quorate_jsonrpc::quote(server),
        quorate_jsonrpc::quote(method)
    );
    Fault { code: OUTCOME_UNKNOWN, message: message.into(), data: Some(data.into()) }
}

/// Builds what a client is told whose request the gateway itself was about to answer.
pub(crate) fn abandoned() -> Fault {
    let message =
        "unavailable: the node that was about to answer was lost: nothing was sent to a tool server, ask again";
    Fault { code: UNAVAILABLE, message: message.into(), data: None }
}

// The codes of quorate-mcp's `error` module, which this crate may not depend on. They lie outside
// of the ranges that JSON-RPC and MCP reserve.
const OUTCOME_UNKNOWN: i64 = -31002;
const LIMIT_EXCEEDED: i64 = -31003;
const DEADLINE_EXCEEDED: i64 = -31006;
const UNAVAILABLE: i64 = -31007;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_compared_and_not_their_spelling() {
        let cases = [
            ("1", "1", true),
            ("1", "\"1\"", false),
            ("\"a/b\"", r#""a\/b""#, true),
            (r#""\u0061""#, "\"a\"", true),
            ("\"a\"", "\"b\"", false),
        ];
        for (left, right, expected) in cases {
            assert_eq!(same_value(left, right), expected, "{left} {right}");
            assert_eq!(same_value(right, left), expected, "{right} {left}");
        }
    }

    #[test]
    fn built_texts_name_the_request_and_the_reason() {
        assert_eq!(
            cancelled(&Id::from(7), "gone"),
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7,"reason":"gone"}}"#
        );
        assert_eq!(
            refused(&Id::from(7), Refusal::Timeout),
            r#"{"jsonrpc":"2.0","id":7,"error":{"code":-31006,"message":"the client did not answer in time"}}"#
        );
    }
}
