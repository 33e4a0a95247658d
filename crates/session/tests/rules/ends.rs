//! How a session ends, what it leaves, and what it weighs until then.

use std::time::Duration;

use quorate_session::{CallKey, Config, EndReason, Event, Rejection, Session};

use crate::support::*;

#[test]
fn the_end_cancels_upstream_and_answers_clients_before_it_closes_everything() {
    let mut rig = Rig::primed();
    rig.step(attach(None));
    let first = rig.dispatched("7");
    rig.step(from_call(first, NOTE));
    rig.dispatched("8");
    rig.step(gateway_call("9"));
    rig.step(call("10", 1));
    let cancelled = |call: u64| {
        format!(
            r#"send 0@1 {{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{call},"reason":"deleted"}}}}"#
        )
    };
    assert_eq!(
        rig.step(end(EndReason::Deleted)),
        [
            cancelled(1),
            "abandon 1".to_owned(),
            cancelled(2),
            "abandon 2".to_owned(),
            format!("emit s1/a2 1.2 {}", failed("7", "ended")),
            "close s1/a2".to_owned(),
            format!("json 2 {}", failed("8", "ended")),
            format!("json 3 {}", failed("9", "ended")),
            format!("json 4 {}", failed("10", "ended")),
            "close-leg 0@1".to_owned(),
            "close s0/a1".to_owned(),
            "ended deleted".to_owned(),
        ]
    );
    assert!(!rig.session.is_finished());

    assert_eq!(rig.step(detach(0, 1, 0)), [""; 0]);
    assert_eq!(rig.step(detach(1, 2, 2)), [""; 0]);
    assert!(!rig.session.is_finished(), "a leg is still opening");
    assert_eq!(rig.leg_opens(1), ["close-leg 1@1"]);
    assert!(rig.session.is_finished());
}

#[test]
fn a_leg_that_fails_to_open_after_the_end_needs_no_closing() {
    let mut rig = Rig::plain();
    rig.step(call("7", 0));
    rig.step(end(EndReason::Shutdown));
    assert_eq!(rig.step(leg_failed(0, 1)), [""; 0]);
    assert!(rig.session.is_finished());
}

#[test]
fn an_ended_session_refuses_its_client_and_ignores_reports() {
    let mut rig = Rig::plain();
    let key = rig.dispatched("7");
    rig.step(end(EndReason::Deleted));
    for event in [call("8", 0), attach(None), respond(&result(1)), cancel("7"), end(EndReason::Idle), Event::Touch] {
        assert_eq!(rig.refused(event), Rejection::Ended);
    }
    for event in [from_call(key, &result(1)), upstream_failed(key, 1, false, false), leg_lost(0, 1, true)] {
        assert_eq!(rig.step(event), ["note stale"]);
    }
    assert_eq!(rig.wait(Duration::from_secs(3600)), [""; 0]);
    assert_eq!(rig.session.next_deadline(), None);
}

#[test]
fn a_slow_client_still_gets_the_last_words() {
    let mut rig = Rig::new(Config { window_events_max: 1, ..Config::DEFAULTS });
    let key = rig.dispatched("7");
    rig.step(from_call(key, NOTE));
    let lines = rig.step(end(EndReason::Shutdown));
    assert!(!lines.iter().any(|line| line.starts_with("close s")), "{lines:?}");
    assert_eq!(
        rig.step(delivered(1, 1, 1)),
        [format!("emit s1/a1 1.2 {}", failed("7", "ended")), "close s1/a1".to_owned(),]
    );
    rig.step(detach(1, 1, 2));
    assert!(rig.session.is_finished());
}

#[test]
fn answers_that_wait_for_an_absent_client_are_counted_when_the_session_ends() {
    let mut rig = Rig::primed();
    let key = rig.dispatched("7");
    rig.step(Event::Prime { call: key });
    rig.step(detach(1, 1, 0));
    assert!(rig.step(end(EndReason::Deleted)).contains(&"note undelivered 1".to_owned()));
}

#[test]
fn only_a_session_without_calls_and_readers_becomes_idle() {
    let mut rig = Rig::plain();
    let key = rig.dispatched("7");
    rig.wait(Duration::from_secs(2 * 3600));
    assert_eq!(rig.session.next_deadline(), None, "a call is open");
    rig.step(from_call(key, &result(1)));

    rig.step(attach(None));
    assert_eq!(rig.wait(Duration::from_secs(2 * 3600)), [""; 0], "somebody reads");
    rig.step(detach(0, 1, 0));
    assert_eq!(rig.wait(Duration::from_secs(29 * 60)), ["unlisten 0@1"]);
    assert_eq!(rig.wait(Duration::from_secs(60)), ["close-leg 0@1", "ended idle"]);
}

#[test]
fn a_clock_that_steps_back_ends_nothing_early_and_nothing_late() {
    let mut rig = Rig::plain();
    let start = rig.now;
    rig.now = start + Duration::from_secs(100);
    rig.step(Event::Touch);
    rig.now = start;
    rig.step(Event::Touch);
    assert_eq!(rig.session.next_deadline(), Some(start + Duration::from_secs(100 + 30 * 60)));
}

#[test]
fn an_idle_session_is_small_also_after_a_burst() {
    assert!(size_of::<Session>() <= 1024, "{} bytes", size_of::<Session>());

    let mut rig = Rig::plain();
    for id in 0..200 {
        rig.dispatched(&id.to_string());
    }
    for id in 1..=200 {
        rig.step(from_call(CallKey(id), &result(id)));
    }
    let snapshot = rig.session.observe();
    assert_eq!((snapshot.calls, snapshot.streams_open, snapshot.streams_retained), (0, 0, 0));
}
