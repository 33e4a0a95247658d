//! Codes, statuses and bytes of what we answer when we refuse.

use super::*;

#[test]
fn codes_and_statuses_follow_the_era() {
    let uri = || "test://x".to_owned();
    let cases = [
        (Fault::ResourceNotFound { uri: uri() }, (-32002, 200), (-32602, 200)),
        (Fault::MethodNotFound { method: "x".to_owned() }, (-32601, 200), (-32601, 404)),
        (Fault::UnsupportedVersion { requested: "x".to_owned() }, (-32600, 400), (-32022, 400)),
        (Fault::UnknownTool { name: "x".to_owned() }, (-32602, 200), (-32602, 200)),
        (Fault::InputResponse { key: "1".to_owned(), expected: "x" }, (-32602, 400), (-32602, 400)),
        (Fault::InvalidMeta { key: "k", expected: "a string" }, (-32602, 400), (-32602, 400)),
        (Fault::SessionRequired, (-32600, 400), (-32600, 400)),
        (Fault::SessionUnknown, (-32600, 404), (-32600, 404)),
        (Fault::OutcomeUnknown { server: "s".to_owned() }, (-31002, 200), (-31002, 200)),
        (Fault::LimitExceeded { limit: "calls", max: 1 }, (-31003, 429), (-31003, 429)),
        (Fault::ToolBusy { tool: "t".to_owned(), max: 1 }, (-31003, 200), (-31003, 200)),
        (Fault::ToolTimeout { tool: "t".to_owned(), after: "1s".to_owned() }, (-31006, 200), (-31006, 200)),
        (Fault::Withheld { refused: Refused::NotAnObject }, (-32602, 200), (-32602, 200)),
    ];
    for (fault, legacy, modern) in cases {
        let seen = |era| (fault.code(era), fault.http_status(era).as_u16());
        assert_eq!((seen(Era::Legacy), seen(Era::Modern)), (legacy, modern), "{fault}");
    }
}

#[test]
fn our_own_codes_lie_outside_of_every_reserved_range() {
    let own = [
        BACKEND_FAILED,
        OUTCOME_UNKNOWN,
        LIMIT_EXCEEDED,
        UNAUTHENTICATED,
        PERMISSION_DENIED,
        DEADLINE_EXCEEDED,
        UNAVAILABLE,
        INPUT_FAILED,
    ];
    assert!(own.iter().all(|code| !(-32768..=-32000).contains(code)), "JSON-RPC 2.0 §5.1 reserves them");
}

#[test]
fn an_unknown_outcome_says_that_the_call_may_have_run() {
    let data = Fault::OutcomeUnknown { server: "files".to_owned() }.data();

    assert_eq!(data.as_deref(), Some(r#"{"backend":"files","mayHaveRun":true}"#));
}

#[test]
fn an_answer_carries_code_message_data_and_id() {
    let fault = Fault::BackendFailed { server: "files".to_owned(), reason: "a \"quoted\" reason".to_owned() };
    let id = Id::from(3);
    let expected = r#"{"jsonrpc":"2.0","id":3,"error":{"code":-31001,"message":"backend files failed: a \"quoted\" reason","data":{"backend":"files"}}}"#;
    assert_eq!(fault.to_frame(Era::Modern, Some(&id)), expected);
    assert!(fault.to_frame(Era::Legacy, None).starts_with(br#"{"jsonrpc":"2.0","id":null,"#));
    assert!(fault.to_frame(Era::Modern, None).starts_with(br#"{"jsonrpc":"2.0","error":"#));
}

#[test]
fn statuses_of_a_backends_errors_are_those_of_the_modern_transport() {
    for (code, status) in [(-32020, 400), (-32021, 400), (-32022, 400), (-32601, 404), (-32602, 200), (-1, 200)] {
        assert_eq!(status_of(code, Era::Modern).as_u16(), status, "{code}");
        assert_eq!(status_of(code, Era::Legacy).as_u16(), 200, "{code}");
    }
}
