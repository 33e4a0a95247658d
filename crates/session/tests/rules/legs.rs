//! Legs: demand, loss, and what they are told when they open.

use std::time::Duration;

use quorate_session::{Audience, CallKey, Config, Event, LegKey};

use crate::support::*;

#[test]
fn a_leg_that_cannot_be_opened_fails_its_calls_and_is_tried_again_by_the_next() {
    let mut rig = Rig::plain();
    rig.step(call("7", 0));
    rig.step(call("8", 0));
    assert_eq!(
        rig.step(leg_failed(0, 1)),
        [format!("json 1 {}", failed("7", "unreachable")), format!("json 2 {}", failed("8", "unreachable")),]
    );
    assert_eq!(rig.step(leg_failed(0, 1)), ["note stale"]);
    assert_eq!(rig.step(call("9", 0)), ["opened 3", "open-leg 0@2"]);
}

#[test]
fn a_call_that_never_ran_on_a_lost_session_is_dispatched_once_more() {
    let mut rig = Rig::plain();
    let key = rig.dispatched("7");
    assert_eq!(rig.step(upstream_failed(key, 1, true, true)), ["note leg-lost 0", "open-leg 0@2"]);
    assert_eq!(rig.leg_opens_as(0, 2), [r#"dispatch 1 0@2 {"id":1,"jsonrpc":"2.0","method":"m"}"#, "reopened 0",]);
    assert_eq!(
        rig.step(upstream_failed(key, 2, true, true)),
        [format!("json 1 {}", failed("7", "broken")), "note leg-lost 0".to_owned(),]
    );
}

#[test]
fn a_call_that_may_have_run_is_never_dispatched_again() {
    let mut rig = Rig::plain();
    let key = rig.dispatched("7");
    let lines = [format!("json 1 {}", failed("7", "broken")), "note leg-lost 0".to_owned()];
    assert_eq!(rig.step(upstream_failed(key, 1, false, true)), lines);

    let mut rig = Rig::plain();
    let key = rig.dispatched("7");
    assert_eq!(rig.step(upstream_failed(key, 1, true, false)), lines[..1], "its leg is sound: no other way is better");
}

#[test]
fn each_call_of_a_lost_session_has_its_own_fate() {
    let mut rig = Rig::plain();
    let keys: Vec<CallKey> = ["7", "8", "9"].into_iter().map(|id| rig.dispatched(id)).collect();
    rig.step(upstream_failed(keys[0], 1, true, true));
    rig.leg_opens_as(0, 2);
    assert_eq!(
        rig.step(upstream_failed(keys[1], 1, true, true)),
        [r#"dispatch 2 0@2 {"id":2,"jsonrpc":"2.0","method":"m"}"#],
        "its report comes after the leg was opened again"
    );
    assert_eq!(rig.step(from_call(keys[2], &result(3))), [format!("json 3 {}", result(9))], "it was answered yet");
    assert_eq!(rig.step(upstream_failed(keys[2], 1, false, false)), ["note late"]);
}

#[test]
fn a_severed_leg_fails_what_was_dispatched_and_keeps_nothing_waiting() {
    let mut rig = Rig::plain();
    rig.dispatched("7");
    assert_eq!(
        rig.step(leg_lost(0, 1, true)),
        ["note leg-lost 0".to_owned(), "abandon 1".to_owned(), format!("json 1 {}", failed("7", "lost")),]
    );
    assert_eq!(rig.step(leg_lost(0, 1, true)), [""; 0]);
    assert_eq!(rig.step(leg_lost(0, 1, false)), ["note stale"]);
    assert_eq!(rig.session.next_deadline(), Some(rig.now + Duration::from_secs(30 * 60)), "only idleness is left");
}

#[test]
fn a_leg_that_is_lost_over_and_over_fails_its_calls() {
    let mut rig = Rig::plain();
    rig.step(set_level("1", 3));
    rig.step(call("7", 0));
    for epoch in 1..=2 {
        let told = rig.leg_opens_as(0, epoch);
        assert!(told[0].starts_with("dispatch "), "it is told the level before the call: {told:?}");
        let lost = rig.step(leg_lost(0, epoch, true));
        assert_eq!(lost[0], "note leg-lost 0");
        assert_eq!(lost[2], format!("open-leg 0@{}", epoch + 1));
    }
    rig.leg_opens_as(0, 3);
    assert_eq!(rig.step(leg_lost(0, 3, true)).last(), Some(&format!("json 2 {}", failed("7", "lost"))));
}

#[test]
fn an_opening_leg_is_told_the_level_before_any_call() {
    let mut rig = Rig::plain();
    rig.step(set_level("1", 3));
    rig.step(call("7", 0));
    assert_eq!(rig.leg_opens(0), [r#"dispatch 3 0@1 {"id":3,"jsonrpc":"2.0","method":"m"}"#]);
    assert_eq!(
        rig.step(from_call(CallKey(3), &result(3))),
        [r#"dispatch 2 0@1 {"id":2,"jsonrpc":"2.0","method":"m"}"#,]
    );
}

#[test]
fn a_level_is_answered_when_every_open_leg_knows_it() {
    let mut rig = Rig::plain();
    assert_eq!(rig.step(set_level("1", 3)), ["opened 1", r#"json 1 {"jsonrpc":"2.0","id":1,"result":{}}"#]);
    rig.step(call("2", 0));
    rig.step(call("3", 1));
    for leg in [0, 1] {
        rig.leg_opens(leg);
    }
    rig.step(upstream(0, 1, Some(CallKey(4)), &result(4), quorate_session::Content::Plain));
    assert_eq!(rig.step(set_level("5", 4)), ["opened 6", r#"dispatch 7 0@1 {"id":7,"jsonrpc":"2.0","method":"m"}"#]);
    assert_eq!(rig.step(set_level("6", 5)), ["opened 8"], "one errand per leg at a time");
    assert_eq!(
        rig.step(upstream(1, 1, Some(CallKey(5)), &result(5), quorate_session::Content::Plain)),
        [r#"dispatch 9 1@1 {"id":9,"jsonrpc":"2.0","method":"m"}"#],
        "the other leg learned an old level while it opened, and its call waits for the new one"
    );
    assert_eq!(
        rig.step(upstream_failed(CallKey(9), 1, false, false)),
        [r#"dispatch 3 1@1 {"id":3,"jsonrpc":"2.0","method":"m"}"#,]
    );
    assert_eq!(
        rig.step(from_call(CallKey(7), &result(7))),
        [r#"dispatch 10 0@1 {"id":10,"jsonrpc":"2.0","method":"m"}"#, r#"json 6 {"jsonrpc":"2.0","id":5,"result":{}}"#,]
    );
    assert_eq!(
        rig.step(leg_lost(0, 1, false)),
        ["note leg-lost 0", "abandon 10", r#"json 8 {"jsonrpc":"2.0","id":6,"result":{}}"#,]
    );
}

#[test]
fn subscriptions_are_restored_one_by_one_on_a_new_session() {
    let mut rig = Rig::plain();
    rig.dispatched("1");
    for (id, uri, key) in [("2", "b", 2), ("3", "a", 3), ("4", "c", 4)] {
        rig.step(subscribe(id, 0, uri));
        rig.step(from_call(CallKey(key), &result(key)));
    }
    rig.step(unsubscribe("5", 0, "c"));
    rig.step(from_call(CallKey(5), &result(5)));
    assert_eq!(rig.session.observe().subscriptions, 2);

    rig.step(leg_lost(0, 1, true));
    assert_eq!(rig.wait(Duration::from_millis(999)), [""; 0]);
    assert_eq!(rig.wait(Duration::from_millis(1)), ["open-leg 0@2"]);
    assert_eq!(rig.leg_opens_as(0, 2), [r#"dispatch 6 0@2 {"id":6,"jsonrpc":"2.0","method":"m"}"#, "reopened 0",]);
    let answer = |key: u64| upstream(0, 2, Some(CallKey(key)), &result(key), quorate_session::Content::Plain);
    assert_eq!(rig.step(answer(6)), [r#"dispatch 7 0@2 {"id":7,"jsonrpc":"2.0","method":"m"}"#]);
    let refusal = r#"{"id":7,"jsonrpc":"2.0","error":{"code":-32601,"message":"what?"}}"#;
    let event = upstream(0, 2, Some(CallKey(7)), refusal, quorate_session::Content::Plain);
    assert_eq!(rig.step(event), ["note subscription-lost 0"]);
    assert_eq!(rig.session.observe().subscriptions, 1);
}

#[test]
fn a_subscription_that_cannot_be_restored_is_tried_again_for_a_while() {
    let mut rig = Rig::plain();
    rig.dispatched("1");
    for (id, uri, key) in [("2", "a", 2), ("3", "b", 3)] {
        rig.step(subscribe(id, 0, uri));
        rig.step(from_call(CallKey(key), &result(key)));
    }
    rig.step(leg_lost(0, 1, false));
    rig.wait(Duration::from_secs(1));
    rig.leg_opens_as(0, 2);
    let answer = |key: u64, json: &str| upstream(0, 2, Some(CallKey(key)), json, quorate_session::Content::Plain);
    let refusal = |key: u64| format!(r#"{{"id":{key},"jsonrpc":"2.0","error":{{"code":-31006,"message":"slow"}}}}"#);
    let dispatch = |key: u64| vec![format!(r#"dispatch {key} 0@2 {{"id":{key},"jsonrpc":"2.0","method":"m"}}"#)];
    assert_eq!(rig.step(answer(4, &refusal(4))), dispatch(5), "the other one is restored all the same");
    assert_eq!(rig.step(answer(5, &result(5))), [""; 0]);

    for (key, seconds) in [(6, 1), (7, 2), (8, 4), (9, 8), (10, 16)] {
        assert_eq!(rig.session.observe().subscriptions, 2);
        assert_eq!(rig.session.next_deadline(), Some(rig.now + Duration::from_secs(seconds)));
        assert_eq!(rig.wait(Duration::from_secs(seconds)), dispatch(key), "only the one that failed");
        let ended = rig.step(answer(key, &refusal(key)));
        assert_eq!(ended.is_empty(), key < 10, "{ended:?}");
    }
    assert_eq!(rig.session.observe().subscriptions, 1);
    assert_ne!(rig.session.next_deadline(), Some(rig.now + Duration::from_secs(32)));
}

#[test]
fn a_subscription_that_failed_is_not_kept() {
    let mut rig = Rig::plain();
    rig.step(subscribe("1", 0, "a"));
    rig.leg_opens(0);
    rig.step(from_call(CallKey(1), r#"{"id":1,"jsonrpc":"2.0","error":{"code":1,"message":"no"}}"#));
    assert_eq!(rig.session.observe().subscriptions, 0);
}

#[test]
fn a_subscription_that_a_lost_session_accepted_is_made_again() {
    let mut rig = Rig::plain();
    rig.dispatched("1");
    rig.step(subscribe("2", 0, "a"));
    rig.step(leg_lost(0, 1, false));
    rig.step(call("3", 0));
    rig.leg_opens_as(0, 2);
    assert_eq!(
        rig.step(from_call(CallKey(2), &result(2))),
        [r#"dispatch 4 0@2 {"id":4,"jsonrpc":"2.0","method":"m"}"#.to_owned(), format!("json 2 {}", result(2)),]
    );
}

#[test]
fn a_leg_with_standing_demand_is_opened_again_after_growing_pauses() {
    let mut rig = Rig::plain();
    rig.step(attach(None));
    rig.dispatched("1");
    rig.step(from_call(CallKey(1), &result(1)));
    rig.step(leg_lost(0, 1, false));
    let mut epoch = 1;
    for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
        assert_eq!(rig.session.next_deadline(), Some(rig.now + Duration::from_secs(seconds)));
        epoch += 1;
        assert_eq!(rig.wait(Duration::from_secs(seconds)), [format!("open-leg 0@{epoch}")]);
        rig.step(leg_failed(0, epoch));
    }
    assert_eq!(
        rig.step(call("2", 0)),
        ["opened 2".to_owned(), format!("open-leg 0@{}", epoch + 1)],
        "a call is not made to wait"
    );
}

#[test]
fn without_standing_demand_a_lost_leg_stays_closed() {
    let mut rig = Rig::plain();
    rig.dispatched("1");
    rig.step(from_call(CallKey(1), &result(1)));
    rig.step(leg_lost(0, 1, false));
    rig.wait(Duration::from_secs(60));
    assert_eq!(rig.session.observe().legs_open, 0);
    assert_eq!(rig.step(attach(None)), ["attached s0/a1"]);
    assert_eq!(rig.wait(Duration::from_secs(1)), ["open-leg 0@2"], "now somebody listens");
}

#[test]
fn notifications_reach_open_legs_and_wait_for_opening_ones() {
    let mut rig = Rig::new(Config { notifications_queued_max: 1, ..Config::DEFAULTS });
    assert_eq!(rig.step(notify(NOTE, Audience::EachLeg)), [""; 0], "no leg needs to know");
    assert_eq!(rig.step(notify(NOTE, Audience::Leg(LegKey(0)))), ["note notification-dropped"]);
    rig.step(call("1", 0));
    rig.step(call("2", 1));
    rig.leg_opens(0);
    assert_eq!(rig.step(notify(NOTE, Audience::EachLeg)), [format!("send 0@1 {NOTE}")]);
    assert_eq!(rig.step(notify(NOTE, Audience::Leg(LegKey(1)))), ["note notification-dropped"], "one waits already");
    assert_eq!(rig.leg_opens(1)[0], format!("send 1@1 {NOTE}"), "before the calls");
}

#[test]
fn a_touch_keeps_a_session_from_being_idle() {
    let mut rig = Rig::plain();
    rig.now = rig.now + Duration::from_secs(60);
    rig.step(Event::Touch);
    assert_eq!(rig.session.next_deadline(), Some(rig.now + Duration::from_secs(30 * 60)));
}
