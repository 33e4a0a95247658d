//! Notifications and answers of backends: where they go, and what is dropped.

use quorate_session::{CallKey, Config, Content, Features, LegEpoch, LegKey, Listen};

use crate::support::*;

#[test]
fn progress_on_the_legs_own_stream_goes_to_the_call_whose_token_it_carries() {
    let mut rig = Rig::plain();
    rig.step(attach(None));
    rig.step(call_with_token("7", 0, r#""a/b""#));
    rig.leg_opens(0);
    let notification = |token: &str| format!(r#"{{"jsonrpc":"2.0","method":"progress","params":{{"t":{token}}}}}"#);
    assert_eq!(
        rig.step(progress(0, None, r#""a/b""#)),
        ["begin 1 s1/a2".to_owned(), format!("emit s1/a2 1.1 {}", notification(r#""a/b""#)),]
    );
    let escaped = notification(r#""a\/b""#);
    assert_eq!(rig.step(progress(0, None, r#""a\/b""#)), [format!("emit s1/a2 1.2 {escaped}")], "the same string");
    let task = format!("emit s0/a1 0.1 {}", notification("99"));
    assert_eq!(rig.step(progress(0, None, "99")), [task], "the token of a task outlives its call");
    assert_eq!(rig.step(progress(0, Some(CallKey(1)), "99")), ["note unwanted 0"]);
}

#[test]
fn a_backend_cannot_report_progress_of_another_ones_call() {
    let mut rig = Rig::plain();
    rig.step(attach(None));
    rig.step(call_with_token("7", 0, "1"));
    rig.leg_opens(0);
    rig.step(call("8", 1));
    rig.leg_opens(1);
    assert_eq!(rig.step(progress(1, None, "1")), ["note unwanted 1"]);
    assert_eq!(rig.step(progress(1, Some(CallKey(2)), "1")), ["note unwanted 1"]);
}

#[test]
fn progress_after_the_answer_is_no_longer_the_calls() {
    let mut rig = Rig::plain();
    rig.step(call_with_token("7", 0, "1"));
    rig.leg_opens(0);
    rig.step(from_call(CallKey(1), &result(1)));
    assert_eq!(rig.step(progress(0, Some(CallKey(1)), "1")), ["note late"]);
}

#[test]
fn answers_must_carry_the_id_of_their_connection() {
    let mut rig = Rig::plain();
    let first = rig.dispatched("7");
    rig.dispatched("8");
    for wrong in ["2", "9", r#""1""#] {
        assert_eq!(rig.step(from_call(first, &result(wrong))), ["note violation 0"], "{wrong}");
    }
    assert_eq!(rig.step(from_call(first, &result(1))).len(), 1);
}

#[test]
fn answers_on_a_shared_stream_are_told_apart_by_their_ids() {
    let mut rig = Rig::plain();
    rig.dispatched("7");
    rig.dispatched("8");
    assert_eq!(rig.step(from_leg(0, &result(2))), [format!("json 2 {}", result(8))]);
    assert_eq!(rig.step(from_leg(0, &result(2))), ["note late"]);
    assert_eq!(
        rig.step(from_leg(0, r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}"#)),
        ["note violation 0",]
    );
    rig.step(call("9", 1));
    rig.leg_opens(1);
    assert_eq!(rig.step(from_leg(0, &result(3))), ["note late"], "the call of another backend");
    assert_eq!(rig.step(from_leg(0, &result(1))), [format!("json 1 {}", result(7))]);
}

#[test]
fn frames_of_an_older_opening_are_dropped() {
    let mut rig = Rig::plain();
    rig.step(attach(None));
    rig.dispatched("7");
    rig.step(leg_lost(0, 1, true));
    rig.step(call("8", 0));
    rig.leg_opens_as(0, 2);
    assert_eq!(rig.step(from_leg(0, NOTE)), ["note late"]);
    assert_eq!(rig.step(upstream(0, 2, None, NOTE, Content::Plain)), [format!("emit s0/a1 0.1 {NOTE}")]);
    assert_eq!(rig.step(upstream(0, 1, Some(CallKey(2)), &result(2), Content::Plain)), ["note late"]);
}

#[test]
fn log_messages_below_the_clients_level_are_dropped() {
    let mut rig = Rig::plain();
    rig.step(attach(None));
    rig.dispatched("7");
    let log = |severity| upstream(0, 1, None, NOTE, Content::Log { severity });
    assert_eq!(rig.step(log(0)), [format!("emit s0/a1 0.1 {NOTE}")], "no level was set");
    rig.step(set_level("8", 4));
    assert_eq!(rig.step(log(3)), ["note unwanted 0"]);
    assert_eq!(rig.step(log(4)), [format!("emit s0/a1 0.2 {NOTE}")]);
}

#[test]
fn a_stream_that_also_carries_answers_is_never_held_for_the_standalone_one() {
    for (listen, expected) in [(Listen::Separate, &["hold listen 0@1"][..]), (Listen::Shared, &[])] {
        let mut rig = Rig::new(Config { ring_events_max: 1, window_events_max: 1, ..Config::DEFAULTS });
        rig.step(attach(None));
        rig.step(call("7", 0));
        let features = Features { logging: false, listen, bridged: false };
        rig.step(quorate_session::Event::LegOpened { leg: LegKey(0), epoch: LegEpoch(1), features, upstream: None });
        assert_eq!(rig.step(from_leg(0, NOTE))[1..], *expected);

        let next = rig.step(from_leg(0, NOTE));
        let dropped = ["note unwanted 0".to_owned()];
        assert_eq!(next, if listen == Listen::Shared { &dropped[..] } else { &[] });
    }
}

#[test]
fn a_stream_that_also_carries_answers_is_read_for_as_long_as_its_leg_is_open() {
    let mut rig = Rig::plain();
    rig.step(call("7", 0));
    let features = Features { logging: false, listen: Listen::Shared, bridged: false };
    let opened =
        rig.step(quorate_session::Event::LegOpened { leg: LegKey(0), epoch: LegEpoch(1), features, upstream: None });
    assert!(opened.contains(&"listen 0@1".to_owned()), "nobody reads the standalone stream: {opened:?}");
    rig.step(from_call(CallKey(1), &result(1)));

    let asked = rig.step(from_leg(0, &ask("5")));
    assert_eq!(asked[0], "note refused 0 client_unreachable", "{asked:?}");
    assert!(asked[1].starts_with("send 0@1"), "its server is not left waiting: {asked:?}");
    assert_eq!(rig.step(from_leg(0, NOTE)), ["note unwanted 0"]);

    rig.step(attach(None));
    let Config { retention, .. } = Config::DEFAULTS;
    rig.step(detach(0, 1, 0));
    let lapsed = rig.wait(retention);
    assert!(!lapsed.contains(&"unlisten 0@1".to_owned()), "{lapsed:?}");
}

#[test]
fn a_call_that_we_stop_waiting_for_is_cancelled_at_its_server() {
    let mut rig = Rig::plain();
    let key = rig.dispatched("7");

    let lines = rig.step(upstream_failed(key, 1, false, false));

    let cancelled = format!(r#"{{"requestId":{key},"reason":"the gateway has stopped waiting"}}"#);
    assert!(lines[0].starts_with("send 0@1") && lines[0].contains(&cancelled), "{lines:?}");
    assert!(lines.contains(&format!("json {key} {}", failed("7", "broken"))), "{lines:?}");
    let key = rig.dispatched("8");
    let lines = rig.step(upstream_failed(key, 1, true, false));
    assert!(!lines.iter().any(|line| line.starts_with("send")), "it never had it: {lines:?}");
}
