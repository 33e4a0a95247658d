//! Laws of classification, rewriting and exchanges, over generated messages and headers.
//!
//! Histories and messages are generated, never only single values; a counterexample becomes a
//! named regression below.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use quorate_jsonrpc::{Frame, Id, Kind, Limits, quote, text};
use quorate_mcp::codec::{self, ErrorView, ResultView};
use quorate_mcp::exchange::{Exchange, Outcome, Violation};
use quorate_mcp::meter::CallOutcome;
use quorate_mcp::param::ParamRules;
use quorate_mcp::{Era, Method, Operation, Version, classify, classify_batch, classify_legacy, header};

const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}}}}"#;

/// The requests whose parameter `Mcp-Name` mirrors: method, and the parameter's key.
const NAMED: [(&str, &str); 6] = [
    ("tools/call", "name"),
    ("prompts/get", "name"),
    ("resources/read", "uri"),
    ("tasks/get", "taskId"),
    ("tasks/update", "taskId"),
    ("tasks/cancel", "taskId"),
];

fn id() -> impl Strategy<Value = Id> {
    prop_oneof![
        any::<i64>().prop_map(|number| Id::from_json(&number.to_string()).expect("an integer")),
        "[^\\x00]{0,12}".prop_map(|text| Id::from_text(&text).expect("short")),
    ]
}

/// A member that is none of ours, with a value whose text a re-serialisation would change.
fn extra() -> impl Strategy<Value = String> {
    (
        "[a-z]{3,6}",
        prop_oneof![Just("1.0"), Just("1e2"), Just("\"\\u0041\""), Just("[ 1 ,2 ]"), Just("{\"uri\":\"x\"}")],
    )
        .prop_map(|(key, value)| format!("\"x-{key}\": {value}"))
}

fn frame(text: &str) -> Frame {
    Frame::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::ANSWER).expect(text)
}

fn json_head() -> HeaderMap {
    let mut head = HeaderMap::new();
    head.insert("content-type", HeaderValue::from_static("application/json"));
    head
}

fn named() -> impl Strategy<Value = (&'static str, &'static str)> {
    prop::sample::select(NAMED.to_vec())
}

/// Headers as a stranger may send them.
fn any_head() -> impl Strategy<Value = HeaderMap> {
    let names =
        ["content-type", "accept", "mcp-protocol-version", "mcp-method", "mcp-name", "mcp-session-id", "mcp-param-x"];
    let value = prop_oneof![
        Just(b"application/json".to_vec()),
        Just(b"2026-07-28".to_vec()),
        Just(b"2025-11-25".to_vec()),
        Just(b"tools/call".to_vec()),
        prop::collection::vec(any::<u8>(), 0..12),
    ];
    prop::collection::vec((prop::sample::select(names.to_vec()), value), 0..8).prop_map(|entries| {
        let mut head = HeaderMap::new();
        for (name, value) in entries {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                head.append(HeaderName::from_static(name), value);
            }
        }
        head
    })
}

/// Messages that are nearly of the protocol.
fn nearly() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        Just("1"),
        Just("\"a\""),
        Just("{}"),
        Just("[]"),
        Just("null"),
        Just("{\"type\":\"ref/prompt\"}"),
        Just("\"\\ud800\"")
    ];
    let keys = [
        "name",
        "uri",
        "taskId",
        "cursor",
        "ref",
        "level",
        "notifications",
        "requestId",
        "progressToken",
        "_meta",
        "arguments",
        "task",
        "protocolVersion",
        "capabilities",
        "clientInfo",
    ];
    let methods: Vec<&str> = Method::ALL.iter().map(|method| method.as_str()).collect();
    (
        prop::sample::select(methods),
        prop::collection::vec((prop::sample::select(keys.to_vec()), value), 0..5),
        prop::option::of(id()),
    )
        .prop_map(|(method, members, id)| {
            let members: Vec<String> = members.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
            let id = id.map(|id| format!("\"id\":{id},")).unwrap_or_default();
            format!("{{\"jsonrpc\":\"2.0\",{id}\"method\":\"{method}\",\"params\":{{{}}}}}", members.join(","))
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn arbitrary_requests_never_panic(head in any_head(), body: Vec<u8>, near in nearly()) {
        for body in [Bytes::from(body), Bytes::from(near)] {
            for version in Version::ALL {
                let _ = classify_batch(&head, &body, &Limits::REQUEST, version);
                if let Ok(frame) = Frame::parse(body.clone(), &Limits::REQUEST) {
                    let _ = classify_legacy(&head, frame, version);
                }
            }
            let _ = classify(&head, body, &Limits::REQUEST);
        }
    }

    #[test]
    fn whatever_is_refused_is_answered_with_an_error_under_the_requests_id(head in any_head(), body in nearly()) {
        let Err(rejected) = classify(&head, Bytes::from(body.clone()), &Limits::REQUEST) else { return Ok(()) };
        let answer = frame(std::str::from_utf8(&rejected.body()).expect("UTF-8"));
        prop_assert_eq!(answer.kind(), Kind::Error);
        let sent = Frame::parse(Bytes::from(body), &Limits::REQUEST).expect("generated frames parse");
        prop_assert_eq!(answer.id(), sent.id());
        let view = ErrorView::read(&answer).expect("an error");
        prop_assert_eq!(view.code, rejected.fault.code(rejected.era));
        prop_assert!((200..600).contains(&rejected.status().as_u16()));
    }

    #[test]
    fn tampering_with_any_header_of_a_stamped_request_is_a_mismatch(
        (method, key) in named(), value in "[a-z]{1,8}", which in 0_usize..3, how in 0_u8..3, other in "[!-~]{0,8}",
    ) {
        let body = format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"{method}\",\"params\":{{\"{key}\":\"{value}\",{META}}}}}");
        let mut head = json_head();
        header::stamp(&mut head, Version::LATEST, method, Some(&value));
        let name = [header::PROTOCOL_VERSION, header::METHOD, header::NAME][which].clone();
        let own = head[&name].clone();
        match how {
            0 => drop(head.remove(&name)),
            1 => drop(head.append(name, own)),
            _ => {
                let other = HeaderValue::from_str(&other).expect("visible ASCII");
                prop_assume!(other != own);
                head.insert(name, other);
            }
        }
        let rejected = classify(&head, Bytes::from(body), &Limits::REQUEST).map(|_| ()).expect_err("tampered with");
        prop_assert_eq!((rejected.fault.code(rejected.era), rejected.status().as_u16()), (-32020, 400));
    }

    #[test]
    fn a_stamped_request_is_accepted_and_a_changed_header_is_not(
        (method, key) in named(), value: String, other: String, id in id(), extra in extra(),
    ) {
        let body = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{method}\",\"params\":{{{extra},\"{key}\":{},{META}}}}}", quote(&value));
        let mut head = json_head();
        header::stamp(&mut head, Version::LATEST, method, Some(&value));
        let classified = classify(&head, Bytes::from(body.clone()), &Limits::REQUEST);
        prop_assert!(classified.is_ok(), "{:?}", classified.err());

        prop_assume!(other != value);
        header::stamp(&mut head, Version::LATEST, method, Some(&other));
        let rejected = classify(&head, Bytes::from(body), &Limits::REQUEST).map(|_| ()).expect_err("another name");
        prop_assert_eq!(rejected.fault.code(Era::Modern), -32020);
        prop_assert_eq!(rejected.id, Some(id));
    }

    #[test]
    fn a_rename_keeps_all_other_bytes((method, key) in named(), value: String, new: String, id in id(), extra in extra()) {
        let message = |value: &str| {
            format!("{{ \"id\":{id},\"jsonrpc\":\"2.0\",\"method\":\"{method}\", \"params\":{{{extra},\"{key}\":{},\"b\":1.0}},{extra} }}", quote(value))
        };
        let call = classify_legacy(&HeaderMap::new(), frame(&message(&value)), Version::V2025_11_25);
        prop_assume!(call.is_ok());
        let call = call.expect("assumed");
        let (found, span) = match &call.operation {
            Operation::CallTool { name, name_span, .. } | Operation::GetPrompt { name, name_span, .. } => (name, *name_span),
            Operation::ReadResource { uri, span } => (uri, *span),
            Operation::Task { id, span, .. } => (id, *span),
            other => panic!("{other:?}"),
        };
        prop_assert_eq!(found, &value);
        let renamed = codec::rename(&call.frame, span, &new);
        prop_assert_eq!(renamed.text(), message(&new));
        let anew = classify_legacy(&HeaderMap::new(), renamed, Version::V2025_11_25).expect("still a call");
        prop_assert_eq!(anew.frame.id(), Some(&id));
    }

    #[test]
    fn encoded_header_values_decode_to_their_text(value: String) {
        let encoded = header::encode(&value);
        let mut head = HeaderMap::new();
        head.insert(header::NAME, encoded.clone());
        prop_assert_eq!(header::agree(&head, &header::NAME, "params.name", &value), Ok(()));
        prop_assert!(encoded.as_bytes().iter().all(|byte| (0x20..=0x7e).contains(byte)));
    }

    #[test]
    fn sealed_task_ids_come_back(ids in prop::collection::vec("[^\\x00]{0,9}", 0..6), extra in extra()) {
        let tasks: Vec<String> = ids.iter().map(|id| format!("{{{extra},\"taskId\":{}}}", quote(id))).collect();
        let list = |tasks: &[String]| frame(&format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{{{extra},\"tasks\":[{}]}}}}", tasks.join(", ")));
        let before = list(&tasks);
        let handles = codec::task_ids(&before, Method::ListTasks, Era::Legacy).expect("well-formed");
        let texts: Vec<&str> = handles.iter().map(|handle| handle.text.as_str()).collect();
        prop_assert_eq!(&texts, &ids.iter().map(String::as_str).collect::<Vec<_>>());

        let sealed: Vec<String> = ids.iter().map(|id| format!("sealed:{id}")).collect();
        let after = codec::rewrite(&before, handles.iter().map(|handle| handle.span).zip(sealed.iter().map(String::as_str)));
        let expected: Vec<String> = sealed.iter().map(|id| format!("{{{extra},\"taskId\":{}}}", quote(id))).collect();
        let expected = list(&expected);
        prop_assert_eq!(after.text(), expected.text());
    }

    #[test]
    fn meta_that_is_set_is_there_once_and_the_rest_stays(
        key in "[a-z]{1,8}/[a-z]{1,8}", value: String, before in prop::option::of("[a-z ]{0,5}"), extra in extra(),
    ) {
        let meta = before.map(|before| format!("\"_meta\":{{{extra},{}:{}}},", quote(&key), quote(&before))).unwrap_or_default();
        let whole = frame(&format!("{{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"params\":{{{meta}{extra}}}}}"));
        let raw = quote(&value);
        let once = codec::with_meta(&whole, &[(&key, &raw)]).expect("objects");
        let twice = codec::with_meta(&once, &[(&key, &raw)]).expect("objects");
        prop_assert_eq!(once.bytes(), twice.bytes(), "setting is idempotent");
        let parsed: serde_json::Value = serde_json::from_str(once.text()).expect("JSON");
        prop_assert_eq!(parsed["params"]["_meta"][&key].as_str(), Some(value.as_str()));
        prop_assert_eq!(once.text().matches(&extra).count(), whole.text().matches(&extra).count());
    }

    #[test]
    fn an_exchange_gives_exactly_one_final_and_nothing_after_it(
        history in prop::collection::vec(0_u8..5, 0..24), modern: bool, client in id(),
    ) {
        let version = if modern { Version::LATEST } else { Version::LATEST_LEGACY };
        let mut exchange = Exchange::new(client.clone(), Id::from(5), version);
        let mut finals = 0;
        for kind in history {
            let text = match kind {
                0 => r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#,
                1 => r#"{"jsonrpc":"2.0","id":5,"method":"roots/list"}"#,
                2 => r#"{"jsonrpc":"2.0","id":6,"result":{}}"#,
                3 => r#"{"jsonrpc":"2.0","id":5,"result":{}}"#,
                _ => r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"m"}}"#,
            };
            let done = exchange.is_done();
            match exchange.step(frame(text)) {
                Ok(Outcome::Final(answer)) => {
                    finals += 1;
                    prop_assert_eq!(answer.id(), Some(&client));
                    prop_assert!(!done && exchange.is_done());
                }
                Ok(Outcome::Forward(frame)) => prop_assert!(!done && frame.kind() == Kind::Notification),
                Ok(Outcome::Request(frame)) => prop_assert!(!done && !modern && frame.kind() == Kind::Request),
                Err(Violation::AfterFinal) => prop_assert!(done),
                Err(Violation::WrongId { .. }) => prop_assert!(!done && kind == 2),
                Err(Violation::Request { .. }) => prop_assert!(!done && modern && kind == 1),
            }
        }
        prop_assert_eq!(finals == 1, exchange.is_done());
        prop_assert!(finals <= 1);
    }

    #[test]
    fn headers_made_of_arguments_agree_with_them(text: String, number in -9_007_199_254_740_991_i64..=9_007_199_254_740_991, flag: bool) {
        let schema = r#"{"type":"object","properties":{"t":{"type":"string","x-mcp-header":"T"},"n":{"type":"integer","x-mcp-header":"N"},"o":{"type":"object","properties":{"f":{"type":"boolean","x-mcp-header":"F"}}}}}"#;
        let rules = ParamRules::of(schema).expect("a valid schema");
        let arguments = format!("{{\"t\":{},\"n\":{number},\"o\":{{\"f\":{flag}}}}}", quote(&text));
        let head: HeaderMap = rules.headers(Some(&arguments)).into_iter().collect();
        prop_assert_eq!(head.len(), 3);
        prop_assert_eq!(rules.check(&head, Some(&arguments)), Ok(()));
        prop_assert!(rules.check(&head, None).is_err());
    }

    #[test]
    fn arbitrary_answers_and_schemas_never_panic_a_view(raw: String, near in nearly()) {
        let _ = ParamRules::of(&raw).map(|rules| rules.check(&HeaderMap::new(), Some(&raw)));
        let result = format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{near}}}");
        for text in [raw, result, near] {
            let Ok(frame) = Frame::parse(Bytes::from(text), &Limits::ANSWER) else { continue };
            for &method in Method::ALL {
                let _ = codec::resource_uris(&frame, method);
                let _ = codec::task_ids(&frame, method, Era::Legacy);
                let _ = codec::task_ids(&frame, method, Era::Modern);
            }
            let _ = (ResultView::read(&frame), ErrorView::read(&frame), CallOutcome::of(&frame));
            let _ = (codec::progress_token(&frame), codec::cancelled_request(&frame), codec::message_level(&frame));
            let _ = codec::with_meta(&frame, &[("a", "1")]);
        }
    }

    #[test]
    fn decoding_arbitrary_header_text_never_panics(value: String) {
        let _ = header::decode(&value);
        let _ = text(&value);
    }
}
