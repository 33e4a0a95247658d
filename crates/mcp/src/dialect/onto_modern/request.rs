//! Requests of a session, as a modern server takes them.
//!
//! In: a request with the id that its answer will carry. Out: what is to be done with it, and for
//! the server the same request without what only sessions know (`task`), without what only a retry
//! may have, and with the caller's `_meta`. Arguments, progress token and unknown members pass.

use quorate_jsonrpc::{Frame, Id, Splice, cut_members};

use super::capabilities::Caller;
use crate::codec::{self, ViewError};
use crate::error::{Fault, InvalidRequest};
use crate::message::{Call, Level, Operation};
use crate::read;

/// Parameters that a request of a session must not bring along: the task that it asks to become
/// (2025-11-25: a receiver without that capability ignores it), and the members by which only a
/// round of this same call may answer its server.
const FOREIGN: [&str; 3] = ["task", super::rounds::RESPONSES, super::rounds::STATE];

/// What a request of a session asks for.
#[derive(Clone, Debug)]
pub enum Asked {
    /// The server answers it.
    Upstream(Box<Call>),
    /// Nothing: the answer is `{}`.
    Ping,
    /// This log level from now on.
    SetLevel {
        /// The least severe level that is wanted.
        level: Level,
    },
    /// To be told of changes of a resource.
    Subscribe {
        /// Its URI.
        uri: String,
    },
    /// No longer to be told of them.
    Unsubscribe {
        /// Its URI.
        uri: String,
    },
}

/// Reads a request of a session.
///
/// # Errors
/// [`Fault::MethodNotFound`] for a method that a modern server has no counterpart of, else what is
/// wrong with its parameters.
pub fn read(frame: Frame) -> Result<Asked, Fault> {
    let (params, meta) = read::params(&frame)?;
    let call = read::call(frame, &params, meta)?;
    Ok(match &call.operation {
        Operation::List { .. }
        | Operation::CallTool { .. }
        | Operation::GetPrompt { .. }
        | Operation::ReadResource { .. }
        | Operation::Complete { .. } => Asked::Upstream(Box::new(call)),
        Operation::Ping => Asked::Ping,
        Operation::SetLevel { level } => Asked::SetLevel { level: *level },
        Operation::Subscribe { uri, .. } => Asked::Subscribe { uri: uri.clone() },
        Operation::Unsubscribe { uri, .. } => Asked::Unsubscribe { uri: uri.clone() },
        Operation::Initialize { .. }
        | Operation::Discover
        | Operation::Listen { .. }
        | Operation::Task { .. }
        | Operation::ListTasks { .. }
        | Operation::Initialized
        | Operation::Cancelled { .. }
        | Operation::RootsListChanged
        | Operation::Progress { .. }
        | Operation::Response
        | Operation::OtherNotification => {
            return Err(Fault::MethodNotFound { method: read::echo(call.frame.method().unwrap_or_default()) });
        }
    })
}

/// Rewrites a request for the server; it keeps its id.
pub(super) fn onto(frame: &Frame, caller: &Caller, level: Option<Level>) -> Result<Frame, Fault> {
    let own = without_foreign(frame)?;
    let meta = caller.meta(level);
    let members: Vec<(&str, &str)> = meta.iter().map(|(key, value)| (*key, value.as_str())).collect();
    codec::with_meta(&own, &members).map_err(of_view)
}

/// Returns the request under another id, with raw members added to its parameters, which it has.
pub(super) fn again(request: &Frame, id: &Id, members: Option<&str>) -> Frame {
    let frame = request.with_id(id);
    let (Some(params), Some(members)) = (frame.params_span(), members) else { return frame };
    let mut splice = Splice::new(frame.bytes());
    // Its `_meta` follows the comma.
    splice.insert(params.start + 1, format!("{members},").into_bytes());
    frame.spliced(&splice)
}

fn without_foreign(frame: &Frame) -> Result<Frame, Fault> {
    let Some(params) = frame.params_span() else { return Ok(frame.clone()) };
    let cuts = cut_members(frame.text_of(params), params.start, &FOREIGN)
        .map_err(|_| Fault::InvalidParams { field: "params", reason: "must be an object" })?;
    let mut splice = Splice::new(frame.bytes());
    for cut in cuts {
        splice.remove(cut);
    }
    Ok(frame.spliced(&splice))
}

fn of_view(error: ViewError) -> Fault {
    match error {
        ViewError::Type { field } => Fault::InvalidParams { field, reason: "must be an object" },
        ViewError::Ambiguous { member } => {
            Fault::InvalidRequest { reason: InvalidRequest::Member { member: read::echo(&member) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quorate_jsonrpc::Limits;

    use super::*;

    const META: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"roots":{}},"io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"}"#;

    fn frame(text: &str) -> Frame {
        Frame::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::REQUEST).expect("a frame")
    }

    fn caller() -> Caller {
        let params =
            r#"{"protocolVersion":"2025-11-25","capabilities":{"roots":{}},"clientInfo":{"name":"c","version":"1"}}"#;
        Caller::of_initialize(params).expect("the parameters of initialize")
    }

    #[test]
    fn a_request_says_in_its_meta_who_calls_and_keeps_the_rest() {
        let level = r#","io.modelcontextprotocol/logLevel":"info""#;
        let cases = [
            (r#""method":"tools/list""#, format!(r#""method":"tools/list","params":{{"_meta":{{{META}{level}}}}}"#)),
            (
                r#""method":"tools/call","params":{"name":"t","arguments":{"x": 1.0},"x-a":[ 1 ]}"#,
                format!(
                    r#""method":"tools/call","params":{{"_meta":{{{META}{level}}},"name":"t","arguments":{{"x": 1.0}},"x-a":[ 1 ]}}"#
                ),
            ),
            (
                r#""method":"tools/call","params":{"name":"t","_meta":{"progressToken":7,"io.modelcontextprotocol/logLevel":"debug"}}"#,
                format!(
                    r#""method":"tools/call","params":{{"name":"t","_meta":{{{META},"progressToken":7,"io.modelcontextprotocol/logLevel":"info"}}}}"#
                ),
            ),
            (
                r#""method":"tools/call","params":{"task":{"ttl":5},"name":"t","inputResponses":{"a":{}},"requestState":"s"}"#,
                format!(r#""method":"tools/call","params":{{"_meta":{{{META}{level}}},"name":"t"}}"#),
            ),
        ];
        for (members, expected) in cases {
            let request = frame(&format!(r#"{{"jsonrpc":"2.0","id":5,{members}}}"#));
            let rewritten = onto(&request, &caller(), Some(Level::Info)).expect("a request");
            assert_eq!(rewritten.text(), format!(r#"{{"jsonrpc":"2.0","id":5,{expected}}}"#), "{members}");
        }
    }

    #[test]
    fn a_retry_differs_by_its_id_and_what_answers_the_round() {
        let request = frame(r#"{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"_meta":{},"name":"t"}}"#);

        let retry = again(&request, &Id::from(9), Some(r#""inputResponses":{"a":{}},"requestState":"s\u0041""#));

        let expected = r#"{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"inputResponses":{"a":{}},"requestState":"s\u0041","_meta":{},"name":"t"}}"#;
        assert_eq!(retry.text(), expected);
        assert_eq!(again(&request, &Id::from(5), None).bytes(), request.bytes());
    }

    #[test]
    fn each_method_has_somebody_who_answers_it() {
        let asked = |method: &str, params: &str| {
            read(frame(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#)))
        };
        for (method, params) in [
            ("tools/call", r#"{"name":"t"}"#),
            ("tools/list", "{}"),
            ("prompts/list", r#"{"cursor":""}"#),
            ("prompts/get", r#"{"name":"p"}"#),
            ("resources/list", "{}"),
            ("resources/templates/list", "{}"),
            ("resources/read", r#"{"uri":"u"}"#),
            ("completion/complete", r#"{"ref":{"type":"ref/prompt","name":"p"},"argument":{}}"#),
        ] {
            assert!(matches!(asked(method, params), Ok(Asked::Upstream(_))), "{method}");
        }
        assert!(matches!(asked("ping", "{}"), Ok(Asked::Ping)));
        let level = asked("logging/setLevel", r#"{"level":"error"}"#);
        assert!(matches!(level, Ok(Asked::SetLevel { level: Level::Error })));
        assert!(matches!(asked("resources/subscribe", r#"{"uri":"u"}"#), Ok(Asked::Subscribe { uri }) if uri == "u"));
        assert!(matches!(asked("resources/unsubscribe", r#"{"uri":"u"}"#), Ok(Asked::Unsubscribe { .. })));
        for (method, params) in [
            ("tasks/list", "{}"),
            ("tasks/get", r#"{"taskId":"t"}"#),
            ("server/discover", "{}"),
            ("subscriptions/listen", r#"{"notifications":{}}"#),
            ("elicitation/create", "{}"),
            ("other/method", "{}"),
        ] {
            assert!(matches!(asked(method, params), Err(Fault::MethodNotFound { .. })), "{method}");
        }
        let wrong = asked("logging/setLevel", r#"{"level":"loud"}"#);
        assert!(matches!(wrong, Err(Fault::InvalidParams { field: "level", .. })));
    }
}
