//! Rewrites of frames that pass through: what changes, and that nothing else does.
//!
//! Tables of frames before and after, compared as text: a changed number, key order or white space
//! would show.

use bytes::Bytes;
use quorate_jsonrpc::{Frame, Id, Limits};
use quorate_mcp::codec::{
    ErrorView, ResultType, ResultView, ViewError, cancelled_request, message_level, progress_token, rename,
    resource_uris, retoken, rewrite, task_ids, with_id, with_meta, with_subscription_id,
};
use quorate_mcp::{Era, Level, Method};

fn frame(text: &str) -> Frame {
    Frame::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::ANSWER).expect("a frame")
}

fn result(result: &str) -> Frame {
    frame(&format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#))
}

/// Seals every task id by a prefix, as the gateway seals them.
fn sealed(frame: &Frame, method: Method, era: Era) -> String {
    let ids = task_ids(frame, method, era).expect("well-formed");
    let texts: Vec<String> = ids.iter().map(|id| format!("S:{}", id.text)).collect();
    rewrite(frame, ids.iter().map(|id| id.span).zip(texts.iter().map(String::as_str))).text().to_owned()
}

#[test]
fn a_result_says_how_it_is_to_be_read() {
    let cases = [
        ("{}", ResultType::Complete, false),
        (r#"{"resultType":"complete","isError":false}"#, ResultType::Complete, false),
        (r#"{"content":[],"isError":true}"#, ResultType::Complete, true),
        (r#"{"resultType":"input_required","inputRequests":{}}"#, ResultType::InputRequired, false),
        (r#"{"resultType":"task","taskId":"t"}"#, ResultType::Task, false),
        (r#"{"resultType":"vendor","ResultType":1}"#, ResultType::Other("vendor".to_owned()), false),
    ];
    for (text, result_type, is_error) in cases {
        assert_eq!(ResultView::read(&result(text)), Ok(ResultView { result_type, is_error }), "{text}");
    }
    for text in ["[]", "null", r#"{"resultType":1}"#, r#"{"resultType":"a","resultType":"b"}"#] {
        assert!(ResultView::read(&result(text)).is_err(), "{text}");
    }
}

#[test]
fn an_error_says_its_code_message_and_data() {
    let error = frame(r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"no \u00e9","data":{"uri":"x"}}}"#);
    let view = ErrorView::read(&error).expect("an error");
    assert_eq!((view.code, view.message.as_str()), (-32602, "no é"));
    assert_eq!(view.data.map(|span| error.text_of(span)), Some(r#"{"uri":"x"}"#));
    assert_eq!(ErrorView::read(&result("{}")), Err(ViewError::Type { field: "error" }));
}

#[test]
fn task_ids_are_found_where_the_method_and_era_have_them_and_nowhere_else() {
    let related = r#""_meta":{"io.modelcontextprotocol/related-task":{"taskId":"a"}}"#;
    let sealed_related = r#""_meta":{"io.modelcontextprotocol/related-task":{"taskId":"S:a"}}"#;
    let cases = [
        (
            Method::CallTool,
            Era::Modern,
            r#"{"resultType":"task","taskId":"a"}"#.to_owned(),
            r#"{"resultType":"task","taskId":"S:a"}"#.to_owned(),
        ),
        (
            Method::CallTool,
            Era::Modern,
            r#"{"resultType":"complete","taskId":"a"}"#.to_owned(),
            r#"{"resultType":"complete","taskId":"a"}"#.to_owned(),
        ),
        (
            Method::GetTask,
            Era::Modern,
            r#"{"taskId":"a","result":{"taskId":"b"}}"#.to_owned(),
            r#"{"taskId":"S:a","result":{"taskId":"b"}}"#.to_owned(),
        ),
        (
            Method::CallTool,
            Era::Legacy,
            r#"{"task":{"taskId":"a","ttl":1.0}}"#.to_owned(),
            r#"{"task":{"taskId":"S:a","ttl":1.0}}"#.to_owned(),
        ),
        (
            Method::CallTool,
            Era::Legacy,
            r#"{"taskId":"a","content":[]}"#.to_owned(),
            r#"{"taskId":"a","content":[]}"#.to_owned(),
        ),
        (Method::CancelTask, Era::Legacy, r#"{"taskId":"a"}"#.to_owned(), r#"{"taskId":"S:a"}"#.to_owned()),
        (
            Method::ListTasks,
            Era::Legacy,
            r#"{"tasks":[{"taskId":"a"},{"taskId":"b"}]}"#.to_owned(),
            r#"{"tasks":[{"taskId":"S:a"},{"taskId":"S:b"}]}"#.to_owned(),
        ),
        (
            Method::TaskResult,
            Era::Legacy,
            format!("{{{related},\"content\":[]}}"),
            format!("{{{sealed_related},\"content\":[]}}"),
        ),
        (
            Method::ListTools,
            Era::Legacy,
            r#"{"tools":[],"taskId":"a","tasks":7}"#.to_owned(),
            r#"{"tools":[],"taskId":"a","tasks":7}"#.to_owned(),
        ),
    ];
    for (method, era, before, after) in cases {
        assert_eq!(sealed(&result(&before), method, era), result(&after).text(), "{method} {era}");
    }
}

#[test]
fn task_ids_of_notifications_and_requests_are_found_unless_the_task_is_the_clients() {
    let messages = [
        (
            Method::TaskStatus,
            Era::Legacy,
            r#"{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{"taskId":"a"}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{"taskId":"S:a"}}"#,
        ),
        (
            Method::Tasks,
            Era::Modern,
            r#"{"jsonrpc":"2.0","method":"notifications/tasks","params":{"taskId":"a"}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/tasks","params":{"taskId":"S:a"}}"#,
        ),
        (
            Method::GetTask,
            Era::Legacy,
            r#"{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"taskId":"the client's"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"taskId":"the client's"}}"#,
        ),
    ];
    for (method, era, before, after) in messages {
        assert_eq!(sealed(&frame(before), method, era), after);
    }
    let related = r#""_meta":{"io.modelcontextprotocol/related-task":{"taskId":"a"}}"#;
    let sealed_related = related.replace("\"a\"", "\"S:a\"");
    let elicit = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{{{related}}}}}"#);
    assert_eq!(sealed(&frame(&elicit), Method::Elicit, Era::Legacy), elicit.replace(related, &sealed_related));
}

#[test]
fn resource_uris_are_found_in_contents_links_and_embedded_resources() {
    let blocks = r#"[{"type":"text","text":"x","uri":"no"},{"type":"resource_link","uri":"u1","name":"n"},{"type":"resource","resource":{"uri":"u2","text":"uri"}}]"#;
    let cases = [
        (Method::ReadResource, r#"{"contents":[{"uri":"u1","text":"a"},{"uri":"u2","blob":""}]}"#.to_owned(), vec!["u1", "u2"]),
        (Method::CallTool, format!(r#"{{"content":{blocks},"structuredContent":{{"uri":"no"}}}}"#), vec!["u1", "u2"]),
        (Method::TaskResult, format!(r#"{{"content":{blocks}}}"#), vec!["u1", "u2"]),
        (Method::GetTask, format!(r#"{{"status":"completed","result":{{"content":{blocks}}}}}"#), vec!["u1", "u2"]),
        (Method::GetPrompt, r#"{"messages":[{"role":"user","content":{"type":"resource","resource":{"uri":"u1"}}},{"role":"user","content":{"type":"text","text":"t"}}]}"#.to_owned(), vec!["u1"]),
        (Method::CallTool, r#"{"resultType":"input_required"}"#.to_owned(), vec![]),
        (Method::Complete, r#"{"uri":"no"}"#.to_owned(), vec![]),
    ];
    for (method, text, expected) in cases {
        let frame = result(&text);
        let found = resource_uris(&frame, method).expect("well-formed");
        assert_eq!(found.iter().map(|uri| uri.text.as_str()).collect::<Vec<_>>(), expected, "{method}");
        assert!(found.iter().all(|uri| frame.text_of(uri.span) == format!("{:?}", uri.text)));
    }
    let updated = frame(r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"u1"}}"#);
    assert_eq!(resource_uris(&updated, Method::ResourceUpdated).expect("well-formed")[0].text, "u1");
    assert_eq!(
        resource_uris(&result(r#"{"contents":[{"uri":1}]}"#), Method::ReadResource),
        Err(ViewError::Type { field: "result.contents[].uri" })
    );
}

#[test]
fn names_tokens_and_ids_are_replaced_alone() {
    let call = frame(
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name" : "a_echo","arguments":{"name":"a_echo","n":1.0}}}"#,
    );
    let [name] = quorate_jsonrpc::pick(
        call.text_of(call.params_span().expect("has")),
        call.params_span().expect("has").start,
        ["name"],
    )
    .expect("an object");
    let renamed = rename(&call, name.expect("has a name"), "e\"cho");
    assert_eq!(
        renamed.text(),
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name" : "e\"cho","arguments":{"name":"a_echo","n":1.0}}}"#
    );
    assert_eq!(with_id(&renamed, &Id::from(12)).id(), Some(&Id::from(12)));

    let progress =
        frame(r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":0.5,"progressToken":17}}"#);
    let (token, span) = progress_token(&progress).expect("has a token");
    assert_eq!(token, Id::from(17));
    assert_eq!(
        retoken(&progress, span, &Id::from_text("t").expect("short")).text(),
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":0.5,"progressToken":"t"}}"#
    );
}

#[test]
fn notifications_of_backends_are_read() {
    let notification =
        |method: &str, params: &str| frame(&format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#));
    let message = |params| message_level(&notification("notifications/message", params));
    assert_eq!(message(r#"{"level":"warning","data":1}"#), Ok(Level::Warning));
    assert!(message(r#"{"level":"loud"}"#).is_err() && message("{}").is_err());

    let cancelled = |params| cancelled_request(&notification("notifications/cancelled", params));
    let (id, _) = cancelled(r#"{"requestId":3}"#).expect("well-formed").expect("names one");
    assert_eq!(id, Id::from(3));
    assert_eq!(cancelled("{}"), Ok(None));
    assert!(cancelled(r#"{"requestId":null}"#).is_err());
    assert!(progress_token(&frame(r#"{"jsonrpc":"2.0","method":"notifications/progress"}"#)).is_err());
}

#[test]
fn meta_is_set_where_it_belongs() {
    let set =
        |text: &str| with_meta(&frame(text), &[("a/b", "1"), ("c", "\"x\"")]).map(|frame| frame.text().to_owned());
    let cases = [
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"m"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"_meta":{"a/b":1,"c":"x"}}}"#,
        ),
        (
            r#"{"jsonrpc":"2.0","method":"m","params":{ }} "#,
            r#"{"jsonrpc":"2.0","method":"m","params":{"_meta":{"a/b":1,"c":"x"} }} "#,
        ),
        (
            r#"{"jsonrpc":"2.0","method":"m","params":{"n":1.0}}"#,
            r#"{"jsonrpc":"2.0","method":"m","params":{"_meta":{"a/b":1,"c":"x"},"n":1.0}}"#,
        ),
        (
            r#"{"params":{"_meta":{}},"jsonrpc":"2.0","method":"m"}"#,
            r#"{"params":{"_meta":{"a/b":1,"c":"x"}},"jsonrpc":"2.0","method":"m"}"#,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"result":{"_meta":{"c":[2], "d":3}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"_meta":{"a/b":1,"c":"x", "d":3}}}"#,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"result":{"_meta":{"c":[2],"a/b":0}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"_meta":{"c":"x","a/b":1}}}"#,
        ),
    ];
    for (before, after) in cases {
        assert_eq!(set(before).as_deref(), Ok(after));
    }
    for text in [
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"m"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":[]}"#,
        r#"{"jsonrpc":"2.0","method":"m","params":[]}"#,
        r#"{"jsonrpc":"2.0","method":"m","params":{"_meta":1}}"#,
    ] {
        assert!(set(text).is_err(), "{text}");
    }
}

#[test]
fn a_listen_streams_frames_carry_the_listeners_id() {
    let id = Id::from_text("client-7").expect("short");
    let changed = frame(
        r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":99,"k":1}}}"#,
    );
    assert_eq!(
        with_subscription_id(&changed, &id).expect("well-formed").text(),
        r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":"client-7","k":1}}}"#
    );
    let bare = frame(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
    assert_eq!(
        with_subscription_id(&bare, &id).expect("well-formed").text(),
        r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":"client-7"}}}"#
    );
}
