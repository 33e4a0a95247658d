//! Requests of backends to the client, and what becomes of them.

use std::time::Duration;

use quorate_session::{CallKey, Config, Content, Event, LegEpoch, LegKey};

use crate::support::*;

#[test]
fn a_request_goes_on_its_calls_stream_and_its_answer_back_once() {
    let mut rig = Rig::plain();
    let key = rig.dispatched("7");
    assert_eq!(
        rig.step(from_call(key, &ask(r#""abc""#))),
        ["begin 1 s1/a1".to_owned(), format!("emit s1/a1 1.1 {}", ask("1")),]
    );
    assert_eq!(rig.step(respond(&result(1))), [format!("send 0@1 {}", result(r#""abc""#))]);
    assert_eq!(rig.step(respond(&result(1))), ["note response-unknown"]);
    for unknown in [result(9), result(r#""1""#), result(-1)] {
        assert_eq!(rig.step(respond(&unknown)), ["note response-unknown"]);
    }
}

#[test]
fn two_backends_may_use_the_same_ids_and_tokens() {
    let mut rig = Rig::plain();
    rig.dispatched("7");
    rig.step(call("8", 1));
    rig.leg_opens(1);
    for (leg, call, minted) in [(0, 1, 1), (1, 2, 2)] {
        let (frame, token) = with_token(r#""id":5,"method":"ask""#, r#""tok""#);
        let content = Content::Request { token };
        let event = Event::UpstreamFrame {
            leg: LegKey(leg),
            epoch: LegEpoch(1),
            call: Some(CallKey(call)),
            frame,
            content,
            event_id: None,
        };
        let expected = format!(r#"{{"jsonrpc":"2.0","id":{minted},"method":"ask","params":{{"t":{minted}}}}}"#);
        assert!(rig.step(event).last().is_some_and(|line| line.ends_with(&expected)));
    }

    let (frame, token) = with_token(r#""method":"progress""#, "2");
    assert_eq!(
        rig.step(Event::ClientProgress { frame, token }),
        [r#"send 1@1 {"jsonrpc":"2.0","method":"progress","params":{"t":"tok"}}"#,]
    );
    assert_eq!(rig.step(respond(&result(2))), [format!("send 1@1 {}", result(5))]);
    assert_eq!(rig.step(respond(&result(1))), [format!("send 0@1 {}", result(5))]);
    let (frame, token) = with_token(r#""method":"progress""#, "2");
    assert_eq!(rig.step(Event::ClientProgress { frame, token }), ["note notification-dropped"], "it was answered");
}

#[test]
fn a_backend_can_take_its_request_back() {
    let mut rig = Rig::plain();
    let key = rig.dispatched("7");
    rig.step(from_call(key, &ask("5")));
    assert_eq!(
        rig.step(upstream_cancel(0, "5")),
        [r#"emit s1/a1 1.2 {"jsonrpc":"2.0","method":"cancelled","params":{"requestId":1}}"#,]
    );
    assert_eq!(rig.step(respond(&result(1))), ["note response-unknown"], "the client was faster than the news");
    assert_eq!(rig.step(upstream_cancel(0, "5")), ["note unwanted 0"]);
}

#[test]
fn a_request_that_nobody_answers_is_given_up_on_both_sides() {
    let mut rig = Rig::plain();
    let key = rig.dispatched("7");
    rig.step(from_call(key, &ask("5")));
    rig.step(delivered(1, 1, 1));
    rig.step(attach(Some("1.1")));
    assert_eq!(
        rig.wait(Duration::from_secs(600)),
        [
            r#"emit s1/a2 1.2 {"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"reason":"timeout"}}"#,
            "note refused 0 timeout",
            r#"send 0@1 {"jsonrpc":"2.0","id":5,"error":{"code":-31006,"message":"the client did not answer in time"}}"#,
        ]
    );
}

#[test]
fn too_many_requests_are_refused_and_repeated_ids_ignored() {
    let mut rig = Rig::new(Config { server_requests_max: 1, ..Config::DEFAULTS });
    let key = rig.dispatched("7");
    rig.step(from_call(key, &ask("5")));
    assert_eq!(rig.step(from_call(key, &ask("5"))), ["note violation 0"]);
    assert_eq!(
        rig.step(from_call(key, &ask("6"))),
        [
            "note refused 0 too_many",
            r#"send 0@1 {"jsonrpc":"2.0","id":6,"error":{"code":-31003,"message":"too many requests wait for the client"}}"#,
        ]
    );
    rig.step(respond(&result(1)));
    assert_eq!(rig.step(from_call(key, &ask("5"))), [format!("emit s1/a1 1.2 {}", ask("2"))], "now it is a new one");
}

#[test]
fn a_request_of_no_call_goes_to_the_only_call_or_to_the_standalone_stream() {
    let mut rig = Rig::plain();
    let first = rig.dispatched("7");
    rig.step(attach(None));
    assert_eq!(rig.step(from_leg(0, &ask("5"))), ["begin 1 s1/a2".to_owned(), format!("emit s1/a2 1.1 {}", ask("1")),]);
    rig.dispatched("8");
    assert_eq!(rig.step(from_leg(0, &ask("6"))), [format!("emit s0/a1 0.1 {}", ask("2"))]);

    rig.step(from_call(first, &result(1)));
    assert_eq!(rig.step(respond(&result(1))), [format!("send 0@1 {}", result(5))], "it outlives the call");
}

#[test]
fn a_request_that_cannot_reach_the_client_is_refused_at_once() {
    let mut rig = Rig::plain();
    let key = rig.dispatched("7");
    rig.step(Event::PostBroken { call: key });
    assert_eq!(
        rig.step(from_call(key, &ask("5"))),
        [
            "note refused 0 client_unreachable",
            r#"send 0@1 {"jsonrpc":"2.0","id":5,"error":{"code":-31007,"message":"the client cannot be reached"}}"#,
        ]
    );
    rig.step(attach(None));
    assert_eq!(rig.step(from_call(key, &ask("5"))), [format!("emit s0/a1 0.1 {}", ask("2"))]);
}

#[test]
fn cancelling_a_call_takes_back_what_its_backend_asked_for_it() {
    let mut rig = Rig::plain();
    let key = rig.dispatched("7");
    rig.step(from_call(key, &ask("5")));
    assert_eq!(
        rig.step(cancel("7")),
        [
            r#"send 0@1 {"jsonrpc":"2.0","method":"cancelled","params":{"requestId":1}}"#,
            r#"emit s1/a1 1.2 {"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"reason":"call_ended"}}"#,
            "note refused 0 call_ended",
            r#"send 0@1 {"jsonrpc":"2.0","id":5,"error":{"code":-31007,"message":"the call that the request belongs to has ended"}}"#,
            "abandon 1",
            "close s1/a1",
        ]
    );
    assert_eq!(rig.step(respond(&result(1))), ["note response-unknown"]);
}

#[test]
fn a_request_of_a_call_that_is_over_is_refused() {
    let mut rig = Rig::plain();
    let key = rig.dispatched("7");
    rig.step(cancel("7"));
    assert_eq!(
        rig.step(from_call(key, &ask("5"))),
        [
            "note late",
            "note refused 0 call_ended",
            r#"send 0@1 {"jsonrpc":"2.0","id":5,"error":{"code":-31007,"message":"the call that the request belongs to has ended"}}"#,
        ]
    );
}

#[test]
fn the_clients_answer_to_a_lost_upstream_session_is_dropped_and_it_was_told() {
    let mut rig = Rig::plain();
    let key = rig.dispatched("7");
    rig.step(from_call(key, &ask("5")));
    assert_eq!(
        rig.step(leg_lost(0, 1, false)),
        [
            "note leg-lost 0",
            r#"emit s1/a1 1.2 {"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"reason":"call_ended"}}"#,
        ]
    );
    assert_eq!(rig.step(respond(&result(1))), ["note response-unknown"]);
    assert_eq!(rig.step(from_call(key, &ask("6")))[0], "note late", "nobody would take the answer");
    assert_eq!(rig.step(from_call(key, &result(1))).len(), 2, "its own connection still answers");
}

#[test]
fn a_backend_waits_for_the_client_while_anything_that_it_asked_is_open() {
    let mut rig = Rig::plain();
    let key = rig.dispatched("7");
    let ping = r#"{"jsonrpc":"2.0","id":4,"method":"ping"}"#;
    let nothing: [&str; 0] = [];

    assert_eq!(rig.paces(from_call(key, ping)), nothing, "nobody is asked anything");
    assert_eq!(rig.paces(from_call(key, &ask("5"))), ["pause 1"]);
    assert_eq!(rig.paces(from_call(key, &ask("6"))), nothing, "it waits already");
    assert_eq!(rig.paces(respond(&result(1))), nothing, "the ping's");
    assert_eq!(rig.paces(respond(&result(2))), nothing, "one question is left");
    assert_eq!(rig.paces(upstream_cancel(0, "6")), ["proceed 1"]);

    assert_eq!(rig.paces(from_call(key, &ask("7"))), ["pause 1"]);
    rig.now = rig.now + Config::DEFAULTS.server_request_timeout;
    assert_eq!(rig.paces(Event::Tick), ["proceed 1"], "nobody answered in time");
    assert_eq!(rig.paces(from_call(key, &ask("8"))), ["pause 1"]);
    assert_eq!(rig.paces(leg_lost(0, 1, false)), ["proceed 1"]);
}

#[test]
fn a_backend_waits_for_a_client_that_comes_again_until_its_retry_brings_the_answer() {
    let mut rig = Rig::calls();
    let key = rig.dispatched("7");

    assert_eq!(rig.paces(from_call(key, &ask("5"))), ["pause 1"]);
    rig.step(park(1, 0, 9));
    let answer = result(1);
    assert_eq!(rig.paces(resume(1, 9, &[&answer])), ["proceed 1"]);
}

#[test]
fn a_question_that_only_may_belong_to_a_call_does_not_make_it_wait() {
    let mut rig = Rig::calls();
    rig.dispatched("7");
    rig.dispatched("8");
    let nothing: [&str; 0] = [];

    assert_eq!(rig.paces(from_leg(0, &ask("5"))), nothing, "it is routed by a guess, and either may be at work");

    let mut rig = Rig::calls();
    rig.dispatched("7");
    assert_eq!(rig.paces(from_leg(0, &ask("5"))), ["pause 1"], "there is no other");
}
