//! What a stateless client and a server of sessions see of each other.

use bytes::Bytes;
use proptest::prelude::*;
use quorate_jsonrpc::{Frame, Limits};
use quorate_mcp::Method;
use quorate_mcp::dialect::onto_legacy::{
    Declared, InputRequest, Question, answer, input_required, labelled, request, retry, unanswered, untasked,
    url_elicitations, visits, without_tasks,
};

fn frame(json: &str) -> Frame {
    Frame::parse(Bytes::from(json.to_owned()), &Limits::ANSWER).expect("a valid frame")
}

#[test]
fn a_request_loses_what_only_the_stateless_era_has() {
    let table = [
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"progressToken":1.0,"traceparent":"t"},"name":"a","arguments":{"b": 1e2,"a":[ ]}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"progressToken":1.0,"traceparent":"t"},"name":"a","arguments":{"b": 1e2,"a":[ ]}}}"#,
        ),
        (
            r#"{"params":{"name":"a","_meta":{"io.modelcontextprotocol/logLevel":"debug"},"requestState":"s","x":{"requestState":1},"inputResponses":{}},"jsonrpc":"2.0","id":1,"method":"prompts/get"}"#,
            r#"{"params":{"name":"a","x":{"requestState":1}},"jsonrpc":"2.0","id":1,"method":"prompts/get"}"#,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/clientInfo":{}}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}"#,
        ),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#, r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#),
    ];
    for (given, expected) in table {
        let translated = request(&frame(given)).expect("it can be translated");
        assert_eq!(translated.text(), expected);
        assert_eq!(frame(translated.text()).params(), translated.params(), "its spans are right");
    }
    let wrong = frame(r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"_meta":7}}"#);
    assert!(request(&wrong).is_err());
}

#[test]
fn an_answer_gets_what_the_stateless_era_wants() {
    let table = [
        (Method::CallTool, r#""result":{"content":[]}"#, r#""result":{"resultType":"complete","content":[]}"#),
        (Method::CallTool, r#""result":{ }"#, r#""result":{"resultType":"complete" }"#),
        (
            Method::ReadResource,
            r#""result":{"contents":[],"ttlMs":5,"cacheScope":"public"}"#,
            r#""result":{"resultType":"complete","ttlMs":0,"cacheScope":"private","contents":[]}"#,
        ),
        (
            Method::CallTool,
            r#""result":{"resultType":"input_required","inputRequests":{"a":{}},"b":1.0}"#,
            r#""result":{"resultType":"complete","b":1.0}"#,
        ),
        (Method::CallTool, r#""result":{"resultType":"x"}"#, r#""result":{"resultType":"complete"}"#),
        (Method::CallTool, r#""result":null"#, r#""result":null"#),
        (
            Method::ReadResource,
            r#""error":{"message":"m","code":-32002,"data":{"uri":"u"}}"#,
            r#""error":{"message":"m","code":-32602,"data":{"uri":"u"}}"#,
        ),
        (Method::CallTool, r#""error":{"code":-32601,"message":"m"}"#, r#""error":{"code":-32601,"message":"m"}"#),
    ];
    for (method, given, expected) in table {
        let whole = |body: &str| format!(r#"{{"jsonrpc":"2.0","id":1,{body}}}"#);
        let translated = answer(frame(&whole(given)), Some(method));
        assert_eq!(translated.text(), whole(expected));
        let read = frame(translated.text());
        assert_eq!((read.result(), read.error()), (translated.result(), translated.error()), "its spans are right");
    }
}

#[test]
fn capabilities_are_a_set_of_what_can_be_asked() {
    let table = [
        ("{}", "{}"),
        (r#"{"elicitation":{}}"#, r#"{"elicitation":{"form":{}}}"#),
        (r#"{"elicitation":{"url":{}}}"#, r#"{"elicitation":{"url":{}}}"#),
        (r#"{"elicitation":{"url":{},"form":{"x":1}}}"#, r#"{"elicitation":{"form":{},"url":{}}}"#),
        (r#"{"roots":{},"sampling":{"tools":{}},"extensions":{"a/b":{}}}"#, r#"{"sampling":{"tools":{}},"roots":{}}"#),
        (r#"{"sampling":{"context":{}},"elicitation":null,"roots":true}"#, r#"{"sampling":{"context":{}}}"#),
        ("7", "{}"),
    ];
    for (given, expected) in table {
        assert_eq!(Declared::read(given).to_json(), expected, "{given}");
    }
    let all = Declared::read(r#"{"elicitation":{"form":{},"url":{}},"sampling":{},"roots":{}}"#);
    assert!(Question::ALL.into_iter().all(|question| all.answers(question)));
    assert!(Question::ALL.into_iter().all(|question| !Declared::default().answers(question)));
    for question in Question::ALL {
        assert!(Declared::read(question.required()).answers(question), "{question:?}");
    }
}

#[test]
fn a_servers_request_becomes_an_input_request_with_its_label() {
    let ask = r#"{"jsonrpc":"2.0","id":9,"method":"elicitation/create","params":{"mode":"url","message":"Sign \"in\"","elicitationId":"e","url":"https://a.example"}}"#;

    let made = InputRequest::of(&labelled(&frame(ask), "files", true).expect("an object"), "k".to_owned())
        .expect("an object")
        .expect("a question");

    assert_eq!(made.question, Question::Url);
    assert_eq!(
        made.params,
        r#"{"_meta":{"quorate/server":"files"},"mode":"url","message":"[files] Sign \"in\"","url":"https://a.example"}"#
    );
    let roots = frame(r#"{"jsonrpc":"2.0","id":9,"method":"roots/list"}"#);
    let roots = labelled(&roots, "files", true).expect("an object");
    let made = InputRequest::of(&roots, "k".to_owned()).expect("an object").expect("a question");
    assert_eq!((made.question, made.params.as_str()), (Question::Roots, r#"{"_meta":{"quorate/server":"files"}}"#));
    for other in ["ping", "tools/call"] {
        let other = frame(&format!(r#"{{"jsonrpc":"2.0","id":9,"method":"{other}","params":{{}}}}"#));
        assert_eq!(InputRequest::of(&other, "k".to_owned()), Ok(None));
    }
    for mode in [r#""telepathy""#, r#""\u0066orm""#, r#""form","mode":"url""#, "7"] {
        let strange = format!(r#"{{"jsonrpc":"2.0","id":9,"method":"elicitation/create","params":{{"mode":{mode}}}}}"#);
        assert_eq!(Question::of(&frame(&strange)), Some(Question::Form), "{mode}: it asks a person");
    }
    let escaped = r#"{"jsonrpc":"2.0","id":9,"method":"elicitation/create","params":{"mode":"\u0075rl"}}"#;
    assert_eq!(Question::of(&frame(escaped)), Some(Question::Url));
}

#[test]
fn a_label_is_only_in_what_people_read_where_there_are_several_servers() {
    let ask = frame(
        r#"{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{"_meta":{"a":1},"message":"M","requestedSchema":{}}}"#,
    );
    let quiet = labelled(&ask, "files", false).expect("an object");
    assert_eq!(
        quiet.text(),
        r#"{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{"_meta":{"quorate/server":"files","a":1},"message":"M","requestedSchema":{}}}"#
    );
    let loud = labelled(&ask, "files", true).expect("an object");
    assert!(loud.text().contains(r#""message":"[files] M""#), "{}", loud.text());
    let sampling = frame(r#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{"message":"M"}}"#);
    assert!(labelled(&sampling, "files", true).expect("an object").text().contains(r#""message":"M""#));
}

#[test]
fn a_retry_brings_its_state_and_its_answers() {
    let call = frame(
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"inputResponses":{"1":{"action":"accept"},"2":7},"requestState":"a\"b"}}"#,
    );
    let read = retry(&call).expect("it is well-formed");
    assert_eq!(read.state.as_deref(), Some("a\"b"));
    let responses: Vec<_> = read.responses.iter().map(|(key, span)| (key.as_str(), call.text_of(*span))).collect();
    assert_eq!(responses, [("1", r#"{"action":"accept"}"#), ("2", "7")]);

    for wrong in [r#""requestState":1"#, r#""inputResponses":null"#, r#""inputResponses":[]"#] {
        let call = frame(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{{{wrong}}}}}"#));
        assert!(retry(&call).is_err(), "{wrong}");
    }
    let fresh = frame(r#"{"jsonrpc":"2.0","id":1,"method":"m"}"#);
    assert_eq!(retry(&fresh), Ok(quorate_mcp::dialect::onto_legacy::Retry::default()));
}

#[test]
fn answers_are_held_against_what_was_asked() {
    let good = [
        (Question::Form, r#"{"action":"accept","content":{}}"#),
        (Question::Url, r#"{"action":"cancel"}"#),
        (Question::Sampling, r#"{"role":"assistant","content":{},"model":"m"}"#),
        (Question::Roots, r#"{"roots":[]}"#),
    ];
    for (question, raw) in good {
        assert_eq!(question.check(raw), Ok(()), "{question:?}");
        for other in ["12345", "null", "{}", r#"{"action":"maybe"}"#, r#"{"roots":{}}"#] {
            assert!(question.check(other).is_err(), "{question:?} {other}");
        }
    }
}

#[test]
fn urls_that_have_to_be_visited_are_read_out_of_the_error() {
    let error = frame(
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32042,"message":"m","data":{"elicitations":[{"mode":"url","elicitationId":"e","url":"https://a.example","message":"Go"}]}}}"#,
    );
    let found = url_elicitations(&error).expect("it is one");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].params, r#"{"mode":"url","url":"https://a.example","message":"Go"}"#);
    for other in [
        r#"{"code":-32042,"message":"m"}"#,
        r#"{"code":-32042,"message":"m","data":{"elicitations":[]}}"#,
        r#"{"code":-32602,"message":"m","data":{"elicitations":[{}]}}"#,
    ] {
        assert_eq!(url_elicitations(&frame(&format!(r#"{{"jsonrpc":"2.0","id":1,"error":{other}}}"#))), None);
    }
}

#[test]
fn visits_are_found_however_the_code_is_written_and_whatever_they_say_they_are() {
    let read = |error: &str| {
        let frame = frame(&format!(r#"{{"jsonrpc":"2.0","id":1,"error":{error}}}"#));
        visits(&frame).map(|spans| spans.iter().map(|span| frame.text_of(*span).to_owned()).collect::<Vec<_>>())
    };
    for code in ["-32042", "-32042.0", "-3.2042e4", "-32042e0"] {
        let error = format!(r#"{{"code":{code},"message":"m","data":{{"elicitations":[{{"mode":"form"}},5]}}}}"#);
        assert_eq!(read(&error).expect("readable"), [r#"{"mode":"form"}"#, "5"], "{code}");
    }
    for nothing in [
        r#"{"code":-32043,"message":"m","data":{"elicitations":[{}]}}"#,
        r#"{"code":-32042.5,"message":"m","data":{"elicitations":[{}]}}"#,
        r#"{"code":-32042,"message":"m","data":"elicitations"}"#,
        r#"{"code":-32042,"message":"m"}"#,
    ] {
        assert!(read(nothing).expect("readable").is_empty(), "{nothing}");
    }
    for unreadable in [
        r#"{"code":-32042,"message":"m","data":{"elicitations":{}}}"#,
        r#"{"code":-32042,"message":"m","data":{"elicitations":[],"elicitations":[{}]}}"#,
        r#"{"code":1,"code":-32042,"message":"m","data":{"elicitations":[{}]}}"#,
    ] {
        assert!(read(unreadable).is_err(), "{unreadable}");
    }
}

#[test]
fn answers_and_tasks_are_taken_out_of_requests_and_of_what_clients_declare() {
    let with = |params: &str| frame(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{params}}}"#));
    let asked = with(r#"{"uri":"a:b", "inputResponses":{"1":{}},"_meta":{"x":1.0},"requestState":"s"}"#);
    let plain = with(r#"{ "uri":"a:b" }"#);
    let task = with(r#"{"message":"m","task":{"ttl":1}}"#);

    assert_eq!(unanswered(&asked).expect("an object").text(), with(r#"{"uri":"a:b","_meta":{"x":1.0}}"#).text());
    assert_eq!(unanswered(&plain).expect("an object").text(), plain.text(), "it brings none");
    assert_eq!(untasked(&task).expect("an object").text(), with(r#"{"message":"m"}"#).text());
    for (declared, expected) in [
        (r#"{ "sampling":{} }"#, r#"{ "sampling":{} }"#),
        (r#"{"tasks":{"list":{}},"sampling":{}}"#, r#"{"sampling":{}}"#),
        (r#"{"t\u0061sks":{},"roots":{}}"#, r#"{"roots":{}}"#),
        (r#"{"t\u0061sks":{},"roots":{},"tasks":{}}"#, "{}"),
        ("[]", "{}"),
    ] {
        assert_eq!(without_tasks(declared), expected, "{declared}");
    }
}

proptest! {
    #[test]
    fn a_translation_keeps_every_other_member_and_its_order(
        keys in prop::collection::vec("[a-zé\"\\\\]{1,6}", 0..8),
        meta in prop::collection::vec("[a-z/]{1,6}", 0..4),
    ) {
        let mut keys = keys;
        keys.sort();
        keys.dedup();
        let mut meta = meta;
        meta.sort();
        meta.dedup();
        let object = |keys: &[String]| {
            let members = keys.iter().enumerate().map(|(at, key)| format!("{}:{at}.50", quorate_jsonrpc::quote(key)));
            members.collect::<Vec<_>>().join(",")
        };
        let mut marked = vec![r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#.to_owned()];
        marked.extend((!meta.is_empty()).then(|| object(&meta)));
        let mut params = vec![format!(r#""_meta":{{{}}}"#, marked.join(","))];
        params.extend((!keys.is_empty()).then(|| object(&keys)));
        let given = frame(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{{{}}}}}"#, params.join(",")));

        let translated = request(&given).expect("it can be translated");

        let mut expected = Vec::new();
        expected.extend((!meta.is_empty()).then(|| format!(r#""_meta":{{{}}}"#, object(&meta))));
        expected.extend((!keys.is_empty()).then(|| object(&keys)));
        let expected = format!("{{{}}}", expected.join(","));
        let found = translated.params().expect("it has parameters");
        prop_assert_eq!(std::str::from_utf8(&found), Ok(expected.as_str()));
    }

    #[test]
    fn an_input_request_can_be_answered_under_its_key(key in ".{0,12}", state in ".{0,40}") {
        let request = InputRequest { key: key.clone(), question: Question::Roots, params: "{}".to_owned() };
        let result = input_required(&[request], &state);
        let read: serde_json::Value = serde_json::from_str(&result).expect("it is JSON");
        prop_assert_eq!(&read["inputRequests"][&key]["method"], "roots/list");
        prop_assert_eq!(read["requestState"].as_str(), Some(state.as_str()));
    }
}
