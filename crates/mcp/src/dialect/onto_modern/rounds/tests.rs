//! Rules of the rounds, as histories of frames.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_jsonrpc::{Frame, Id, Limits as FrameLimits};

use super::*;
use crate::dialect::onto_modern::{Asked, read};
use crate::version::Version;

const ALL: &str = r#"{"elicitation":{"form":{},"url":{}},"sampling":{},"roots":{}}"#;
const FORM: &str = r#"{"method":"elicitation/create","params":{"mode":"form","message":"Name?","x": 1.0}}"#;

/// A call and the numbers that it takes: its first request is number 1.
struct Rig {
    rounds: Rounds,
    minted: u64,
    sent: Frame,
}

fn frame(text: &str) -> Frame {
    Frame::parse(Bytes::copy_from_slice(text.as_bytes()), &FrameLimits::ANSWER).expect(text)
}

// === impl Rig ===

impl Rig {
    fn new(capabilities: &str) -> Self {
        Self::with(capabilities, "tools/call", DEFAULTS)
    }

    fn with(capabilities: &str, method: &str, limits: Limits) -> Self {
        let params = format!(
            r#"{{"protocolVersion":"2025-11-25","capabilities":{capabilities},"clientInfo":{{"name":"c","version":"1"}}}}"#
        );
        let caller = Arc::new(Caller::of_initialize(&params).expect("the parameters of initialize"));
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":77,"method":"{method}","params":{{"name":"t","uri":"u","arguments":{{"a":1.0}}}}}}"#
        );
        let Ok(Asked::Upstream(call)) = read(frame(&text)) else { panic!("a request for the server") };
        let mut minted = 0;
        let mut mint = || {
            minted += 1;
            minted
        };
        let (rounds, sent) = Rounds::new(caller, &call, None, limits, &mut mint).expect("a valid request");
        Self { rounds, minted, sent }
    }

    /// The server answers what was sent last with this result.
    fn result(&mut self, result: &str) -> Result<Step, Error> {
        let id = self.sent.id().expect("a request").clone();
        self.answer(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#))
    }

    fn input_required(&mut self, members: &str) -> Result<Step, Error> {
        self.result(&format!(r#"{{"resultType":"input_required",{members}}}"#))
    }

    fn error(&mut self, code: i64) -> Result<Step, Error> {
        let id = self.sent.id().expect("a request").clone();
        self.answer(&format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"m"}}}}"#))
    }

    fn answer(&mut self, text: &str) -> Result<Step, Error> {
        let minted = &mut self.minted;
        let step = self.rounds.answered(frame(text), &mut || {
            *minted += 1;
            *minted
        });
        self.note(step)
    }

    fn respond(&mut self, text: &str) -> Result<Step, Error> {
        let minted = &mut self.minted;
        let step = self.rounds.responded(&frame(text), &mut || {
            *minted += 1;
            *minted
        });
        self.note(step)
    }

    fn note(&mut self, step: Result<Step, Error>) -> Result<Step, Error> {
        if let Ok(Step::Send { frame, .. } | Step::Refresh { frame }) = &step {
            assert_ne!(frame.id(), self.sent.id(), "a retry has an id of its own");
            self.sent = frame.clone();
        }
        step
    }

    fn params(&self) -> String {
        let all = self.sent.params().expect("parameters");
        let text = String::from_utf8(all.to_vec()).expect("text");
        let meta = text.find("\"_meta\"").expect("every modern request has it");
        text[..meta].to_owned()
    }
}

fn asked(step: Result<Step, Error>) -> Vec<String> {
    match step {
        Ok(Step::Ask(frames)) => frames.iter().map(|frame| frame.text().to_owned()).collect(),
        other => panic!("{other:?}"),
    }
}

fn done(step: Result<Step, Error>) -> (Vec<String>, String) {
    match step {
        Ok(Step::Done { before, answer, .. }) => {
            (before.iter().map(|frame| frame.text().to_owned()).collect(), answer.text().to_owned())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_call_without_rounds_is_answered_under_the_clients_id() {
    let mut rig = Rig::new("{}");
    assert_eq!(rig.sent.id(), Some(&Id::from(1)));

    let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#;
    assert!(matches!(rig.answer(progress), Ok(Step::Pass(passed)) if passed.text() == progress));
    let (before, answer) = done(rig.result(r#"{"resultType":"complete","content":[]}"#));

    assert_eq!(answer, r#"{"jsonrpc":"2.0","id":77,"result":{"content":[]}}"#);
    assert!(before.is_empty());
    assert!(matches!(rig.answer(progress), Err(Error::Protocol(Violation::AfterFinal))));
}

#[test]
fn requests_for_input_become_requests_of_a_session_and_their_results_go_back() {
    let mut rig = Rig::new(ALL);
    let sampling = r#"{"method":"sampling/createMessage","params":{"messages":[],"maxTokens":10}}"#;
    let members = format!(
        r#""inputRequests":{{"n\u0061me":{FORM},"s":{sampling},"r":{{"method":"roots/list"}}}},"requestState":"s\u0041\/é""#
    );

    let requests = asked(rig.input_required(&members));
    assert_eq!(
        requests,
        [
            r#"{"jsonrpc":"2.0","id":2,"method":"elicitation/create","params":{"mode":"form","message":"Name?","x": 1.0}}"#,
            r#"{"jsonrpc":"2.0","id":3,"method":"sampling/createMessage","params":{"messages":[],"maxTokens":10}}"#,
            r#"{"jsonrpc":"2.0","id":4,"method":"roots/list"}"#,
        ]
    );
    let waiting: Vec<_> = rig.rounds.asks().collect();
    assert_eq!(waiting, [(2, Method::Elicit), (3, Method::CreateMessage), (4, Method::ListRoots)]);

    assert!(matches!(rig.respond(r#"{"jsonrpc":"2.0","id":4,"result":{"roots":[ ]}}"#), Ok(Step::Wait)));
    assert!(matches!(rig.respond(r#"{"jsonrpc":"2.0","id":9,"result":{}}"#), Ok(Step::Wait)));
    assert!(matches!(rig.respond(r#"{"jsonrpc":"2.0","id":4,"result":{"again":1}}"#), Ok(Step::Wait)));
    assert!(matches!(rig.respond(r#"{"jsonrpc":"2.0","id":2,"result":{"action":"decline"}}"#), Ok(Step::Wait)));
    let step = rig.respond(r#"{"jsonrpc":"2.0","id":3,"result":{"model":"m","x":1.0}}"#);

    assert!(matches!(step, Ok(Step::Send { pause: Duration::ZERO, .. })));
    assert_eq!(
        rig.params(),
        r#"{"inputResponses":{"name":{"action":"decline"},"s":{"model":"m","x":1.0},"r":{"roots":[ ]}},"requestState":"s\u0041\/é","#
    );
    let (before, answer) = done(rig.result(r#"{"content":[]}"#));
    assert_eq!((before.len(), answer.as_str()), (0, r#"{"jsonrpc":"2.0","id":77,"result":{"content":[]}}"#));
}

#[test]
fn each_retry_carries_the_last_round_alone() {
    let mut rig = Rig::new(ALL);

    asked(rig.input_required(&format!(r#""inputRequests":{{"a":{FORM}}},"requestState":"1""#)));
    rig.respond(r#"{"jsonrpc":"2.0","id":2,"result":{"action":"accept"}}"#).expect("a response");
    asked(rig.input_required(&format!(r#""inputRequests":{{"b":{FORM}}}"#)));
    rig.respond(r#"{"jsonrpc":"2.0","id":4,"result":{"action":"cancel"}}"#).expect("a response");

    assert_eq!(rig.params(), r#"{"inputResponses":{"b":{"action":"cancel"}},"#);
}

#[test]
fn a_state_alone_is_sent_back_at_once_and_then_with_growing_pauses() {
    let mut rig = Rig::new("{}");
    let mut pauses = Vec::new();
    for _ in 0..DEFAULTS.rounds_max {
        match rig.input_required(r#""requestState":"later""#) {
            Ok(Step::Send { pause, .. }) => pauses.push(pause.as_millis()),
            other => panic!("{other:?}"),
        }
        assert_eq!(rig.params(), r#"{"requestState":"later","#);
    }
    assert_eq!(pauses, [0, 250, 500, 1000, 2000, 4000, 8000, 16_000]);
    let end = rig.input_required(r#""requestState":"later""#).expect_err("one round too many");
    assert_eq!(end, Error::TooManyRounds { max: 8 });
}

#[test]
fn nobody_is_asked_for_nothing() {
    let mut rig = Rig::new("{}");
    assert!(matches!(rig.input_required(r#""inputRequests":{}"#), Ok(Step::Send { .. })));
    assert_eq!(rig.params(), "{");
}

#[test]
fn what_a_server_may_not_ask_ends_the_call() {
    let ask = |method: &str| format!(r#""inputRequests":{{"a":{{"method":"{method}","params":{{}}}}}}"#);
    let many: Vec<String> = (0..17).map(|number| format!(r#""{number}":{FORM}"#)).collect();
    let long = "x".repeat(DEFAULTS.input_bytes_max);
    let large = format!(r#""requestState":"{long}""#);
    let long_key = format!(r#""inputRequests":{{"a{long}":{FORM}}}"#);
    let url = r#""mode":"url","url":"https://x.test/","message":"Go""#;
    let long_id = format!(
        r#""inputRequests":{{"a":{{"method":"elicitation/create","params":{{{url},"elicitationId":"{long}"}}}}}}"#
    );
    let cases = [
        (ALL, ask("ping"), Error::UnknownRequest { method: "ping".to_owned() }),
        (ALL, ask("tools/call"), Error::UnknownRequest { method: "tools/call".to_owned() }),
        ("{}", ask("sampling/createMessage"), Error::Undeclared { method: Method::CreateMessage }),
        (r#"{"elicitation":{"url":{}}}"#, ask("elicitation/create"), Error::Undeclared { method: Method::Elicit }),
        (ALL, r#""x":1"#.to_owned(), Error::NoInput { method: Method::CallTool }),
        (ALL, r#""inputRequests":null,"requestState":null"#.to_owned(), Error::NoInput { method: Method::CallTool }),
        (ALL, r#""requestState":7"#.to_owned(), Error::Malformed),
        (ALL, r#""inputRequests":[]"#.to_owned(), Error::Malformed),
        (ALL, r#""inputRequests":{"a":7}"#.to_owned(), Error::Malformed),
        (ALL, r#""inputRequests":{"a":{"method":"roots/list","params":7}}"#.to_owned(), Error::Malformed),
        (ALL, format!(r#""inputRequests":{{"a":{FORM},"a":{FORM}}}"#), Error::Malformed),
        (ALL, format!(r#""inputRequests":{{{}}}"#, many.join(",")), Error::TooManyRequests { max: 16 }),
        (ALL, large, Error::TooLarge { max: DEFAULTS.input_bytes_max }),
        (ALL, long_key, Error::TooLarge { max: DEFAULTS.input_bytes_max }),
        (ALL, long_id, Error::TooLarge { max: DEFAULTS.input_bytes_max }),
    ];
    for (capabilities, members, expected) in cases {
        let mut rig = Rig::new(capabilities);
        let shown: String = members.chars().take(80).collect();
        assert_eq!(rig.input_required(&members).expect_err(&shown), expected, "{shown}");
        assert!(matches!(rig.result("{}"), Err(Error::Protocol(Violation::AfterFinal))), "{shown}");
    }
}

#[test]
fn only_three_methods_take_input() {
    for (method, may) in [
        ("tools/call", true),
        ("prompts/get", true),
        ("resources/read", true),
        ("tools/list", false),
        ("resources/list", false),
    ] {
        let mut rig = Rig::with(ALL, method, DEFAULTS);
        let step = rig.input_required(&format!(r#""inputRequests":{{"a":{FORM}}}"#));
        assert_eq!(step.is_ok(), may, "{method}");
    }
}

#[test]
fn results_of_other_types_are_none() {
    for kind in ["task", "later"] {
        let end = Rig::new("{}").result(&format!(r#"{{"resultType":"{kind}","taskId":"t"}}"#)).expect_err(kind);
        assert_eq!(end, Error::ResultType { kind: kind.to_owned() });
    }
    assert_eq!(Rig::new("{}").result("7").expect_err("no object"), Error::Malformed);
    assert_eq!(Rig::new("{}").result(r#"{"resultType":7}"#).expect_err("no text"), Error::Malformed);
}

#[test]
fn a_client_that_answers_with_an_error_ends_the_call_and_is_asked_no_more() {
    let mut rig = Rig::new(ALL);
    asked(rig.input_required(&format!(r#""inputRequests":{{"a":{FORM},"b":{{"method":"roots/list"}}}}"#)));

    let end = rig.respond(r#"{"jsonrpc":"2.0","id":2,"error":{"code":-1,"message":"User rejected it"}}"#);

    let expected = Error::Input { method: Method::Elicit, code: -1, message: "User rejected it".to_owned() };
    assert_eq!(end.expect_err("an error"), expected);
    let retractions: Vec<String> =
        rig.rounds.retractions("the call has ended").iter().map(|frame| frame.text().to_owned()).collect();
    let cancelled = |id: u64| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id},"reason":"the call has ended"}}}}"#
        )
    };
    assert_eq!(retractions, [cancelled(2), cancelled(3)]);
    assert!(matches!(rig.respond(r#"{"jsonrpc":"2.0","id":3,"result":{}}"#), Ok(Step::Wait)));
    assert_eq!(rig.rounds.asks().count(), 0);
}

#[test]
fn a_response_that_is_no_object_or_too_large_ends_the_call() {
    let one = format!(r#""inputRequests":{{"a":{FORM}}}"#);
    let mut rig = Rig::new(ALL);
    asked(rig.input_required(&one));
    let end = rig.respond(r#"{"jsonrpc":"2.0","id":2,"result":7}"#).expect_err("no object");
    assert!(matches!(end, Error::Input { code: -32602, .. }), "{end}");

    let mut rig = Rig::with(ALL, "tools/call", Limits { input_bytes_max: 16, ..DEFAULTS });
    asked(rig.input_required(&one));
    let end = rig.respond(r#"{"jsonrpc":"2.0","id":2,"result":{"action":"accept"}}"#).expect_err("too large");
    assert_eq!(end, Error::TooLarge { max: 16 });
}

#[test]
fn what_is_kept_of_earlier_rounds_counts_in_the_later_ones() {
    let mut rig = Rig::with(ALL, "tools/call", Limits { input_bytes_max: 100, ..DEFAULTS });
    let asks = |id: &str| {
        let params = format!(r#"{{"mode":"url","url":"https://x.test/","message":"Go","elicitationId":"{id}"}}"#);
        format!(r#""inputRequests":{{"a":{{"method":"elicitation/create","params":{params}}}}}"#)
    };

    asked(rig.input_required(&asks(&"x".repeat(60))));
    rig.respond(r#"{"jsonrpc":"2.0","id":2,"result":{"action":"accept"}}"#).expect("a response");

    let end = rig.input_required(&asks(&"y".repeat(60))).expect_err("too large");
    assert_eq!(end, Error::TooLarge { max: 100 });
}

#[test]
fn an_elicitation_by_url_has_the_id_that_the_client_expects_and_is_complete_with_the_call() {
    let url = r#"{"method":"elicitation/create","params":{"mode":"url","url":"https://x.test/","message":"Go"}}"#;
    let mut rig = Rig::new(ALL);

    let requests = asked(rig.input_required(&format!(r#""inputRequests":{{"a":{url},"b":{url}}},"requestState":"s""#)));
    assert_eq!(
        requests[0],
        r#"{"jsonrpc":"2.0","id":2,"method":"elicitation/create","params":{"elicitationId":"quorate-2","mode":"url","url":"https://x.test/","message":"Go"}}"#
    );
    rig.respond(r#"{"jsonrpc":"2.0","id":2,"result":{"action":"accept"}}"#).expect("a response");
    rig.respond(r#"{"jsonrpc":"2.0","id":3,"result":{"action":"decline"}}"#).expect("a response");
    let (before, _) = done(rig.result(r#"{"content":[]}"#));

    assert_eq!(
        before,
        [r#"{"jsonrpc":"2.0","method":"notifications/elicitation/complete","params":{"elicitationId":"quorate-2"}}"#]
    );
}

#[test]
fn a_refused_header_leads_to_a_fresh_list_once() {
    let mut rig = Rig::new("{}");
    assert!(matches!(rig.error(HEADER_MISMATCH), Ok(Step::Refresh { .. })));
    let end = rig.error(HEADER_MISMATCH).expect_err("again");
    assert_eq!(end, Error::Hop { code: HEADER_MISMATCH, message: "m".to_owned() });

    let end = Rig::with("{}", "prompts/get", DEFAULTS).error(HEADER_MISMATCH).expect_err("no schema stands for it");
    assert!(matches!(end, Error::Hop { .. }));
    assert!(matches!(Rig::new("{}").error(-32022), Err(Error::Hop { code: -32022, .. })));
}

#[test]
fn an_error_of_the_server_is_an_answer() {
    let (_, answer) = done(Rig::with("{}", "resources/read", DEFAULTS).error(-32602));
    assert_eq!(answer, r#"{"jsonrpc":"2.0","id":77,"error":{"code":-32002,"message":"m"}}"#);
    let mut rig = Rig::new("{}");
    let (_, answer) = done(rig.answer(r#"{"jsonrpc":"2.0","error":{"code":5,"message":"m"}}"#));
    assert_eq!(answer, r#"{"id":77,"jsonrpc":"2.0","error":{"code":5,"message":"m"}}"#);
}

#[test]
fn a_modern_server_sends_no_requests_and_no_answers_of_other_calls() {
    let request = r#"{"jsonrpc":"2.0","id":1,"method":"roots/list"}"#;
    let end = Rig::new(ALL).answer(request).expect_err("a request");
    assert_eq!(end, Error::Protocol(Violation::Request { version: Version::LATEST }));
    let other = r#"{"jsonrpc":"2.0","id":2,"result":{}}"#;
    assert!(matches!(Rig::new(ALL).answer(other), Err(Error::Protocol(Violation::WrongId { .. }))));
}

#[test]
fn every_end_is_said_in_the_clients_terms() {
    let max = 8;
    let cases = [
        (Error::Malformed, -31001, "protocol"),
        (Error::Undeclared { method: Method::Elicit }, -31001, "undeclared"),
        (Error::TooManyRounds { max }, -31003, "rounds"),
        (Error::TooLarge { max: 1 }, -31003, "round_bytes"),
        (Error::Input { method: Method::Elicit, code: -1, message: "no".to_owned() }, -31008, "input"),
        (Error::Hop { code: -32022, message: "m".to_owned() }, -31001, "protocol"),
    ];
    for (error, code, label) in cases {
        let fault = error.to_fault("files");
        assert_eq!((fault.code(crate::Era::Legacy), error.as_str()), (code, label), "{error}");
    }
}
