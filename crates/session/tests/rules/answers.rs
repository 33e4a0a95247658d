//! How requests of the client are answered.

use std::time::Duration;

use quorate_jsonrpc::Id;
use quorate_session::{Config, Event, Purpose, Rejection, Target};

use crate::support::*;

#[test]
fn a_call_opens_its_leg_and_is_answered_with_json_under_its_own_id() {
    let mut rig = Rig::plain();
    assert_eq!(rig.step(call(r#""x""#, 0)), ["opened 1", "open-leg 0@1"]);
    assert_eq!(rig.leg_opens(0), [r#"dispatch 1 0@1 {"id":1,"jsonrpc":"2.0","method":"m"}"#]);
    let answer = r#"{"jsonrpc":"2.0","result":{"n":1.0,"odd":[1]},"id":1}"#;
    let line = r#"json 1 {"jsonrpc":"2.0","result":{"n":1.0,"odd":[1]},"id":"x"}"#;
    assert_eq!(rig.step(from_call(quorate_session::CallKey(1), answer)), [line]);
    assert_eq!(rig.session.observe().calls, 0);
}

#[test]
fn an_error_of_the_backend_passes_with_the_clients_id_also_when_it_has_none() {
    for id in ["1", "null"] {
        let mut rig = Rig::plain();
        let key = rig.dispatched("7");
        let error = format!(r#"{{"id":{id},"jsonrpc":"2.0","error":{{"code":-1,"message":"m"}}}}"#);
        let line = r#"json 1 {"id":7,"jsonrpc":"2.0","error":{"code":-1,"message":"m"}}"#;
        assert_eq!(rig.step(from_call(key, &error)), [line]);
    }
}

#[test]
fn a_message_before_the_answer_turns_the_post_into_a_stream_that_ends_with_the_answer() {
    let mut rig = Rig::primed();
    let key = rig.dispatched("7");
    assert_eq!(
        rig.step(from_call(key, NOTE)),
        ["begin 1 s1/a1".to_owned(), "emit s1/a1 1.0 retry=1000".to_owned(), format!("emit s1/a1 1.1 {NOTE}"),]
    );
    assert_eq!(
        rig.step(from_call(key, &result(1))),
        [format!("emit s1/a1 1.2 {}", result(7)), "close s1/a1".to_owned(),]
    );
}

#[test]
fn a_client_that_does_not_know_priming_gets_no_empty_event() {
    let mut rig = Rig::plain();
    let key = rig.dispatched("7");
    assert_eq!(rig.step(from_call(key, NOTE)), ["begin 1 s1/a1".to_owned(), format!("emit s1/a1 1.1 {NOTE}")]);
}

#[test]
fn a_post_that_waits_long_becomes_a_stream_that_can_be_resumed() {
    let mut rig = Rig::primed();
    let key = rig.dispatched("7");
    assert_eq!(rig.step(Event::Prime { call: key }), ["begin 1 s1/a1", "emit s1/a1 1.0 retry=1000"]);
    assert_eq!(rig.step(Event::Prime { call: key }), [""; 0], "once is enough");
    rig.step(from_call(key, &result(1)));
    assert_eq!(rig.step(Event::Prime { call: key }), [""; 0], "the answer was faster");
}

#[test]
fn a_batch_is_answered_with_one_array_when_all_its_calls_are() {
    let mut rig = Rig::plain();
    assert_eq!(rig.step(batch(&["7", "8"])), ["opened 1", "opened 2", "open-leg 0@1"]);
    rig.leg_opens(0);
    assert_eq!(rig.step(from_call(quorate_session::CallKey(2), &result(2))), [""; 0]);
    assert_eq!(
        rig.step(from_call(quorate_session::CallKey(1), &result(1))),
        [format!("json 1 [{},{}]", result(8), result(7)),]
    );
}

#[test]
fn a_batch_that_becomes_a_stream_sends_the_answers_that_it_has_first() {
    let mut rig = Rig::plain();
    rig.step(batch(&["7", "8"]));
    rig.leg_opens(0);
    rig.step(from_call(quorate_session::CallKey(2), &result(2)));
    assert_eq!(
        rig.step(from_call(quorate_session::CallKey(1), NOTE)),
        ["begin 1 s1/a1".to_owned(), format!("emit s1/a1 1.1 {}", result(8)), format!("emit s1/a1 1.2 {NOTE}"),]
    );
    assert_eq!(
        rig.step(from_call(quorate_session::CallKey(1), &result(1))),
        [format!("emit s1/a1 1.3 {}", result(7)), "close s1/a1".to_owned(),]
    );
}

#[test]
fn an_id_can_be_used_again_only_after_its_answer() {
    let mut rig = Rig::plain();
    let key = rig.dispatched("7");
    let duplicate = Rejection::DuplicateId { id: Id::from(7) };
    assert_eq!(rig.refused(call("7", 1)), duplicate);
    assert_eq!(rig.refused(batch(&["8", "7"])), duplicate);
    assert_eq!(rig.refused(batch(&["8", "8"])), Rejection::DuplicateId { id: Id::from(8) });
    assert_eq!(rig.step(call(r#""7""#, 0))[0], "opened 2", "another type is another id");

    rig.step(from_call(key, &result(1)));
    assert_eq!(rig.step(call("7", 0))[0], "opened 3");
}

#[test]
fn what_cannot_be_a_request_is_refused() {
    let mut rig = Rig::plain();
    let mut notification = plain_request("1", Target::Gateway, Purpose::Plain);
    notification.frame = frame(NOTE);
    assert_eq!(rig.refused(Event::ClientRequest(notification)), Rejection::WrongKind { expected: "request" });

    let odd = [
        (Event::ClientBatch(Vec::new()), "a batch without a request"),
        (
            Event::ClientRequest(plain_request("1", Target::Gateway, Purpose::Subscribe { uri: "u".into() })),
            "a subscription belongs to a leg",
        ),
        (
            Event::ClientRequest(plain_request(
                "1",
                Target::Leg(quorate_session::LegKey(0)),
                Purpose::SetLevel { severity: 1, result: "{}" },
            )),
            "the logging level is set on every leg",
        ),
    ];
    for (event, reason) in odd {
        assert_eq!(rig.refused(event), Rejection::Unroutable { reason });
    }
    assert_eq!(rig.refused(respond(NOTE)), Rejection::WrongKind { expected: "response" });
    let request = notify(&ask("1"), quorate_session::Audience::EachLeg);
    assert_eq!(rig.refused(request), Rejection::WrongKind { expected: "notification" });
}

#[test]
fn calls_and_subscriptions_are_limited() {
    let mut rig = Rig::new(Config { calls_max: 2, subscriptions_max: 1, ..Config::DEFAULTS });
    let key = rig.dispatched("1");
    assert_eq!(rig.refused(batch(&["2", "3"])), Rejection::LimitReached { limit: "calls_max", max: 2 });
    rig.step(subscribe("2", 0, "a"));
    assert_eq!(rig.refused(call("3", 0)), Rejection::LimitReached { limit: "calls_max", max: 2 });

    rig.step(from_call(key, &result(1)));
    let full = Rejection::LimitReached { limit: "subscriptions_max", max: 1 };
    assert_eq!(rig.refused(subscribe("3", 0, "b")), full, "one is on its way");
    rig.step(from_call(quorate_session::CallKey(2), &result(2)));
    assert_eq!(rig.refused(subscribe("3", 0, "b")), full, "one exists");
    rig.step(unsubscribe("3", 0, "a"));
    rig.step(from_call(quorate_session::CallKey(3), &result(3)));
    assert_eq!(rig.step(subscribe("4", 0, "b"))[0], "opened 4");
}

#[test]
fn answers_that_nobody_fetches_stop_new_calls_until_they_are_fetched() {
    let mut rig = Rig::new(Config { priming: true, undelivered_bytes_max: 100, ..Config::DEFAULTS });
    let key = rig.dispatched("1");
    rig.step(Event::Prime { call: key });
    rig.step(detach(1, 1, 0));
    let long = format!(r#"{{"id":1,"jsonrpc":"2.0","result":"{}"}}"#, "x".repeat(200));
    rig.step(from_call(key, &long));
    assert_eq!(rig.refused(call("2", 0)), Rejection::LimitReached { limit: "undelivered_bytes_max", max: 100 });

    let lines = rig.step(attach(Some("1.0")));
    assert_eq!(lines[2], format!("emit s1/a2 1.1 {long}"));
    rig.step(delivered(1, 2, 1));
    assert_eq!(rig.step(call("2", 0))[0], "opened 2");
}

#[test]
fn the_gateway_answers_its_own_calls_and_overrules_backends() {
    let mut rig = Rig::plain();
    assert_eq!(rig.step(gateway_call("7")), ["opened 1"]);
    let key = quorate_session::CallKey(1);
    assert_eq!(rig.step(gateway_result(key)), [r#"json 1 {"jsonrpc":"2.0","id":7,"result":[1]}"#]);
    assert_eq!(rig.step(gateway_result(key)), ["note late"]);

    let key = rig.dispatched("8");
    assert_eq!(
        rig.step(gateway_result(key)),
        [
            r#"send 0@1 {"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2,"reason":"the gateway answered the call"}}"#,
            "abandon 2",
            r#"json 2 {"jsonrpc":"2.0","id":8,"result":[1]}"#,
        ]
    );
}

#[test]
fn cancelling_a_call_tells_its_backend_and_answers_nothing() {
    let mut rig = Rig::plain();
    let key = rig.dispatched("7");
    assert_eq!(
        rig.step(cancel("7")),
        [r#"send 0@1 {"jsonrpc":"2.0","method":"cancelled","params":{"requestId":1}}"#, "abandon 1", "nothing 1",]
    );
    assert_eq!(rig.step(from_call(key, &result(1))), ["note late"], "it answered although it was cancelled");
    assert_eq!(rig.step(cancel("7")), ["note cancel-ignored 7"]);
}

#[test]
fn cancelling_a_call_whose_leg_still_opens_tells_nobody() {
    let mut rig = Rig::plain();
    rig.step(call("7", 0));
    assert_eq!(rig.step(cancel("7")), ["nothing 1"]);
    assert_eq!(rig.leg_opens(0), [""; 0], "nothing is dispatched");
}

#[test]
fn cancelling_a_call_ends_its_stream_without_an_answer() {
    let mut rig = Rig::primed();
    let key = rig.dispatched("7");
    rig.step(from_call(key, NOTE));
    assert_eq!(
        rig.step(cancel("7")),
        [r#"send 0@1 {"jsonrpc":"2.0","method":"cancelled","params":{"requestId":1}}"#, "abandon 1", "close s1/a1",]
    );
    rig.step(detach(1, 1, 1));
    let finished = Rejection::StreamFinished { stream: quorate_session::StreamId(1) };
    assert_eq!(rig.refused(attach(Some("1.1"))), finished, "a client that polls for the answer is told to stop");
}

#[test]
fn cancelling_one_call_of_a_batch_leaves_the_others() {
    let mut rig = Rig::plain();
    rig.step(batch(&["7", "8"]));
    rig.leg_opens(0);
    rig.step(cancel("7"));
    let answer = rig.step(from_call(quorate_session::CallKey(2), &result(2)));
    assert_eq!(answer, [format!("json 1 [{}]", result(8))]);
}

#[test]
fn initialize_is_never_cancelled() {
    let mut rig = Rig::plain();
    rig.step(Event::ClientRequest(plain_request("1", Target::Gateway, Purpose::Uncancellable)));
    assert_eq!(rig.step(cancel("1")), ["note cancel-ignored 1"]);
    assert_eq!(rig.step(gateway_result(quorate_session::CallKey(1))).len(), 1);
}

#[test]
fn a_post_that_broke_before_its_stream_began_loses_its_answer_but_is_not_cancelled() {
    let mut rig = Rig::primed();
    let key = rig.dispatched("7");
    assert_eq!(rig.step(Event::PostBroken { call: key }), [""; 0]);
    assert_eq!(rig.step(from_call(key, NOTE)), ["note unwanted 0"]);
    assert_eq!(rig.step(Event::Prime { call: key }), [""; 0]);
    assert_eq!(rig.step(from_call(key, &result(1))), ["note undelivered 1"]);
    assert_eq!(rig.step(Event::PostBroken { call: key }), ["note stale"]);
}

#[test]
fn a_batch_that_broke_counts_the_answers_that_it_had() {
    let mut rig = Rig::plain();
    rig.step(batch(&["7", "8"]));
    rig.leg_opens(0);
    rig.step(from_call(quorate_session::CallKey(1), &result(1)));
    assert_eq!(rig.step(Event::PostBroken { call: quorate_session::CallKey(1) }), ["note undelivered 1"]);
    assert_eq!(rig.step(from_call(quorate_session::CallKey(2), &result(2))), ["note undelivered 1"]);
}

#[test]
fn without_a_free_stream_a_call_is_answered_with_json_alone() {
    let mut rig = Rig::new(Config { streams_max: 1, ..Config::DEFAULTS });
    let first = rig.dispatched("7");
    let second = rig.dispatched("8");
    rig.step(from_call(first, NOTE));
    assert_eq!(rig.step(from_call(second, NOTE)), ["note streams-exhausted", "note unwanted 0"]);
    assert_eq!(
        rig.step(from_call(second, &ask("5"))),
        [
            "note refused 0 client_unreachable".to_owned(),
            r#"send 0@1 {"jsonrpc":"2.0","id":5,"error":{"code":-31007,"message":"the client cannot be reached"}}"#
                .to_owned(),
        ]
    );
    assert_eq!(rig.step(from_call(second, &result(2))), [format!("json 2 {}", result(8))]);
}

#[test]
fn a_finished_stream_that_was_written_makes_room_for_a_new_one() {
    let mut rig = Rig::new(Config { streams_max: 1, ..Config::DEFAULTS });
    let first = rig.dispatched("7");
    rig.step(from_call(first, NOTE));
    rig.step(from_call(first, &result(1)));
    let second = rig.dispatched("8");
    assert_eq!(rig.step(from_call(second, NOTE))[0], "note streams-exhausted", "its connection still writes");
    rig.step(detach(1, 1, 2));
    assert_eq!(rig.step(from_call(second, NOTE))[0], "begin 2 s2/a2");
}

#[test]
fn the_gateway_polls_when_its_backend_does() {
    let retry = Some(Duration::from_millis(500));
    let mut rig = Rig::primed();
    let key = rig.dispatched("7");
    let begun = rig.step(Event::Poll { call: key, retry });
    assert_eq!(begun, ["begin 1 s1/a1", "emit s1/a1 1.0 retry=500", "close s1/a1"]);
    assert_eq!(rig.step(from_call(key, NOTE)), [""; 0], "the client comes for it");
    rig.step(detach(1, 1, 0));
    assert_eq!(
        rig.step(attach(Some("1.0"))),
        ["attached s1/a2".to_owned(), "emit s1/a2 1.0 retry=1000".to_owned(), format!("emit s1/a2 1.1 {NOTE}"),]
    );
    let again = rig.step(Event::Poll { call: key, retry });
    assert_eq!(again, ["emit s1/a2 1.1 retry=500", "close s1/a2"]);
    assert_eq!(rig.step(Event::Poll { call: key, retry }), [""; 0]);

    let mut older = Rig::plain();
    let key = older.dispatched("7");
    assert_eq!(older.step(Event::Poll { call: key, retry }), [""; 0], "it would take the end for a failure");
}
