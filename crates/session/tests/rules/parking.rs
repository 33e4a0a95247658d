//! Calls of stateless clients, which are parked while their client answers.

use std::time::Duration;

use quorate_session::{CallKey, Config, Content, Delivery, Event, Rejection, StreamId};

use crate::support::*;

/// A call whose backend asked something, which the gateway has read.
fn asked(rig: &mut Rig) -> CallKey {
    let key = rig.dispatched("7");
    let begun = rig.step(from_call(key, &ask("5")));
    assert_eq!(begun, [format!("begin {key} s1/a1"), format!("emit s1/a1 1.1 {}", ask("1"))]);
    key
}

#[test]
fn a_parked_call_takes_the_clients_answer_and_goes_on() {
    let mut rig = Rig::calls();
    let key = asked(&mut rig);

    assert_eq!(rig.step(park(1, 0, 11)), ["disconnect s1/a1"]);
    assert_eq!(rig.session.observe().parked, 1);
    assert_eq!(rig.step(detach(1, 1, 1)), ["note stale"]);

    let resumed = rig.step(resume(1, 11, &[&result(1)]));
    assert_eq!(
        resumed,
        [format!("send 0@1 {}", result(5)), "attached s1/a2".to_owned(), format!("emit s1/a2 1.1 {}", ask("1")),]
    );
    assert_eq!(
        rig.step(from_call(key, &result(1))),
        [format!("emit s1/a2 1.2 {}", result(7)), "close s1/a2".to_owned()]
    );
    assert_eq!(rig.step(detach(1, 2, 2)), Vec::<String>::new());
    assert_eq!(rig.session.observe().streams_retained, 0, "nobody comes back for it");
}

#[test]
fn a_log_message_of_the_session_goes_to_the_call_that_it_likely_belongs_to() {
    let log = || upstream(0, 1, None, NOTE, Content::Log { severity: 4 });
    let mut rig = Rig::calls();
    rig.dispatched("7");
    let key = rig.dispatched("8");

    assert_eq!(rig.step(log()), [format!("begin {key} s1/a1"), format!("emit s1/a1 1.1 {NOTE}")]);
    rig.step(from_call(key, &result(2)));
    assert_eq!(rig.step(log())[1..], [format!("emit s2/a2 2.1 {NOTE}")]);
    assert_eq!(rig.step(from_leg(0, NOTE)), ["note unwanted 0"], "other notifications are nobody's");
}

#[test]
fn a_log_message_of_the_session_without_a_call_is_dropped() {
    let mut rig = Rig::calls();
    let key = rig.dispatched("7");
    rig.step(from_call(key, &result(1)));

    assert_eq!(rig.step(upstream(0, 1, None, NOTE, Content::Log { severity: 4 })), ["note unwanted 0"]);
}

#[test]
fn an_answer_that_comes_while_a_call_is_parked_waits_for_its_client() {
    let mut rig = Rig::calls();
    let key = asked(&mut rig);
    rig.step(park(1, 0, 11));

    assert_eq!(rig.step(from_call(key, NOTE)), ["note unwanted 0"], "what nobody reads needs no room");
    assert_eq!(rig.step(from_call(key, &result(1))), Vec::<String>::new());

    assert_eq!(
        rig.step(resume(1, 11, &[])),
        [
            "attached s1/a2".to_owned(),
            format!("emit s1/a2 1.1 {}", ask("1")),
            format!("emit s1/a2 1.2 {}", result(7)),
            "close s1/a2".to_owned(),
        ]
    );
}

#[test]
fn what_the_client_left_unanswered_is_read_again() {
    let mut rig = Rig::calls();
    let key = asked(&mut rig);
    rig.step(from_call(key, &ask("6")));
    rig.step(delivered(1, 1, 2));
    rig.step(park(1, 0, 11));

    assert_eq!(
        rig.step(resume(1, 11, &[&result(1)])),
        [
            format!("send 0@1 {}", result(5)),
            "attached s1/a2".to_owned(),
            format!("emit s1/a2 1.1 {}", ask("1")),
            format!("emit s1/a2 1.2 {}", ask("2")),
        ]
    );
    assert_eq!(rig.step(park(1, 1, 12)), ["disconnect s1/a2"]);
    assert_eq!(
        rig.step(resume(1, 12, &[&result(2)])),
        [format!("send 0@1 {}", result(6)), "attached s1/a3".to_owned(), format!("emit s1/a3 1.2 {}", ask("2")),]
    );
}

#[test]
fn a_parking_is_resumed_once_by_its_own_token() {
    let mut rig = Rig::calls();
    asked(&mut rig);
    let not_parked = Rejection::NotParked { stream: StreamId(1) };
    assert_eq!(rig.refused(resume(1, 11, &[])), not_parked, "it is being read");
    rig.step(park(1, 0, 11));
    for (stream, token) in [(1, 0), (1, 12), (2, 11)] {
        let refused = rig.refused(resume(stream, token, &[&result(1)]));
        assert_eq!(refused, Rejection::NotParked { stream: StreamId(stream) });
    }
    let request = rig.refused(resume(1, 11, &[&ask("1")]));
    assert_eq!(request, Rejection::WrongKind { expected: "response" });

    rig.step(resume(1, 11, &[&result(1)]));
    assert_eq!(rig.refused(resume(1, 11, &[&result(1)])), not_parked, "it was used");

    rig.step(park(1, 0, 12));
    assert_eq!(rig.refused(resume(1, 11, &[&result(1)])), not_parked, "it is of the first round");
}

#[test]
fn a_client_that_does_not_come_back_has_its_call_cancelled() {
    let mut rig = Rig::calls();
    let key = asked(&mut rig);
    rig.step(park(1, 0, 11));
    let until = rig.now + Config::DEFAULTS.park_timeout;
    assert_eq!(rig.session.next_deadline(), Some(until));

    let cancelled = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"reason":"the client did not come back"}}"#;
    let refused = r#"{"jsonrpc":"2.0","id":5,"error":{"code":-31007,"message":"the call that the request belongs to has ended"}}"#;
    assert_eq!(
        rig.wait(Config::DEFAULTS.park_timeout),
        [
            format!("send 0@1 {cancelled}"),
            "note refused 0 call_ended".to_owned(),
            format!("send 0@1 {refused}"),
            format!("abandon {key}"),
            "note park-expired s1".to_owned(),
        ]
        .map(|line| line.replace("\"requestId\":1", &format!("\"requestId\":{key}")))
    );
    assert_eq!(rig.refused(resume(1, 11, &[&result(1)])), Rejection::NotParked { stream: StreamId(1) });
    let left = rig.session.observe();
    assert_eq!((left.parked, left.calls, left.streams_open, left.streams_retained), (0, 0, 0, 0));
}

#[test]
fn a_client_that_leaves_cancels_its_call() {
    let mut rig = Rig::calls();
    let key = asked(&mut rig);

    let lines = rig.step(Event::Abandon { call: key });

    assert!(lines[0].starts_with("send 0@1 ") && lines[0].contains("notifications/cancelled"), "{lines:?}");
    assert!(lines.contains(&format!("abandon {key}")), "{lines:?}");
    assert_eq!(lines.last().map(String::as_str), Some("disconnect s1/a1"));
    assert_eq!(rig.step(Event::Abandon { call: key }), ["note stale"]);
    assert_eq!(rig.step(detach(1, 1, 1)), ["note stale"]);
    assert_eq!(rig.session.observe().streams_open, 0);
}

#[test]
fn calls_are_parked_up_to_a_limit_and_only_for_stateless_clients() {
    let config = Config { delivery: Delivery::Calls, parked_max: 1, ..Config::DEFAULTS };
    let mut rig = Rig::new(config);
    asked(&mut rig);
    let second = rig.dispatched("8");
    rig.step(from_call(second, &ask("6")));
    rig.step(park(1, 0, 11));
    assert_eq!(rig.refused(park(2, 0, 12)), Rejection::LimitReached { limit: "parked_max", max: 1 });
    assert_eq!(rig.refused(park(1, 0, 11)), Rejection::StreamUnknown { stream: StreamId(1) }, "it is parked already");
    assert_eq!(rig.refused(park(3, 0, 13)), Rejection::StreamUnknown { stream: StreamId(3) });

    let mut sessions = Rig::plain();
    asked(&mut sessions);
    assert_eq!(sessions.refused(park(1, 0, 11)), Rejection::StreamUnknown { stream: StreamId(1) });
}

#[test]
fn a_place_that_was_never_sent_cannot_be_parked_at() {
    let mut rig = Rig::calls();
    asked(&mut rig);

    let refused = rig.refused(park(1, 2, 11));

    assert_eq!(refused, Rejection::EventUnknown { stream: StreamId(1), requested: 2, newest: 1 });
}

#[test]
fn legs_of_a_stateless_client_are_listened_to_and_what_they_ask_goes_to_the_latest_call() {
    let mut rig = Rig::calls();
    rig.step(call("7", 0));
    assert!(rig.leg_opens(0).contains(&"listen 0@1".to_owned()));
    let second = rig.dispatched("8");

    assert_eq!(
        rig.step(from_leg(0, &ask("5"))),
        [format!("begin {second} s1/a1"), format!("emit s1/a1 1.1 {}", ask("1"))]
    );
    assert_eq!(rig.step(from_leg(0, NOTE)), ["note unwanted 0"]);
    assert_eq!(rig.refused(attach(None)), Rejection::StreamUnknown { stream: StreamId(0) });
    assert_eq!(rig.refused(attach(Some("1.1"))), Rejection::StreamUnknown { stream: StreamId(1) });
    assert_eq!(rig.wait(Duration::from_secs(1)), Vec::<String>::new(), "it listens on");
}

#[test]
fn the_log_level_of_a_shared_session_is_not_raised_by_a_call_that_comes_late() {
    let mut rig = Rig::calls();
    rig.dispatched("7");
    rig.step(set_level("8", 1));
    rig.step(set_level("9", 5));

    let key = rig.dispatched("10");
    let log = upstream(0, 1, Some(key), NOTE, Content::Log { severity: 2 });
    assert!(rig.step(log).iter().any(|line| line.contains("emit")), "the first still wants it");
}

#[test]
fn answers_to_parked_calls_are_bounded_together() {
    let bytes_max = 200;
    let config = Config { undelivered_bytes_max: bytes_max, ..Config::DEFAULTS.for_calls() };
    let mut rig = Rig::new(config);
    let (first, second) = (rig.dispatched("7"), rig.dispatched("8"));
    for (stream, key, id) in [(1, first, "5"), (2, second, "6")] {
        rig.step(from_call(key, &ask(id)));
        rig.step(park(stream, 0, 11));
    }
    let large = |key| format!(r#"{{"jsonrpc":"2.0","id":{key},"result":{{"text":"{}"}}}}"#, "x".repeat(100));

    assert_eq!(rig.step(from_call(first, &large(first))), ["note too-large 0"]);

    let lines = rig.step(resume(1, 11, &[]));
    assert!(lines.iter().any(|line| line.contains("-31003") && line.contains("unread_bytes")), "{lines:?}");
    // A call that is read has the room that its client makes.
    rig.step(resume(2, 11, &[&result(2)]));
    let lines = rig.step(from_call(second, &large(second)));
    assert!(lines.iter().any(|line| line.contains("xxx")), "{lines:?}");
}

#[test]
fn what_other_streams_deliver_takes_no_room_from_parked_calls() {
    let mut rig = Rig::new(Config { undelivered_bytes_max: 200, ..Config::DEFAULTS.for_calls() });
    let (parked, read) = (rig.dispatched("7"), rig.dispatched("8"));
    rig.step(from_call(parked, &ask("5")));
    rig.step(park(1, 0, 11));
    rig.step(from_call(read, NOTE));
    let large = format!(r#"{{"jsonrpc":"2.0","id":{read},"result":{{"text":"{}"}}}}"#, "x".repeat(300));
    rig.step(from_call(read, &large));

    assert_eq!(rig.step(from_call(parked, &result(1))), Vec::<String>::new());
}

#[test]
fn a_call_whose_stream_is_left_without_being_parked_ends_with_it() {
    let mut rig = Rig::calls();
    let key = asked(&mut rig);

    let ended = rig.step(detach(1, 1, 1));

    assert!(ended.contains(&format!("abandon {key}")), "{ended:?}");
    let observed = rig.session.observe();
    assert_eq!((observed.calls, observed.streams_retained), (0, 0));
    assert_eq!(rig.step(Event::Abandon { call: key }), ["note stale"], "its client may say the same");
}

#[test]
fn a_resumed_call_whose_client_leaves_at_once_ends_too() {
    let mut rig = Rig::calls();
    let key = asked(&mut rig);
    rig.step(park(1, 0, 11));
    rig.step(resume(1, 11, &[&result(1)]));

    let ended = rig.step(detach(1, 2, 0));

    assert!(ended.contains(&format!("abandon {key}")), "{ended:?}");
    assert_eq!(rig.session.observe().calls, 0);
}

#[test]
fn a_call_whose_client_left_before_any_answer_ends_when_that_shows() {
    let mut rig = Rig::calls();
    let key = rig.dispatched("7");

    let ended = rig.step(Event::PostBroken { call: key });

    assert!(ended.contains(&format!("abandon {key}")), "{ended:?}");
    assert_eq!(rig.session.observe().calls, 0);
}
