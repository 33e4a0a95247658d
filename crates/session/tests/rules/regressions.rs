//! Counterexamples that random histories found, each cut down to what made it fail.

use std::time::Duration;

use quorate_session::{CallKey, Config, Content};

use crate::support::*;

/// An errand's request for the client filled the standalone stream; the errand ended, and the
/// stream went on waiting for it.
#[test]
fn an_errand_that_is_held_is_forgotten_when_it_ends() {
    for ends in [from_call(CallKey(3), &result(3)), leg_lost(0, 1, false)] {
        let mut rig = Rig::new(Config { ring_events_max: 1, window_events_max: 1, ..Config::DEFAULTS });
        rig.step(attach(None));
        rig.step(set_level("1", 3));
        rig.step(call("2", 0));
        rig.leg_opens(0);
        assert_eq!(rig.step(from_call(CallKey(3), &ask("5")))[1], "hold call 3");
        rig.step(ends);
        let lines = rig.step(delivered(0, 1, 1));
        assert!(!lines.iter().any(|line| line.starts_with("release")), "{lines:?}");
    }
}

/// Events expired that no connection had been given, and the place behind them was one that
/// nobody could claim, although the next connection is told of it.
#[test]
fn a_client_can_resume_from_behind_events_that_expired_unsent() {
    let mut rig = Rig::new(Config { priming: true, ring_events_max: 2, window_events_max: 1, ..Config::DEFAULTS });
    rig.dispatched("7");
    rig.step(attach(None));
    rig.step(detach(0, 1, 0));
    rig.step(from_leg(0, NOTE));
    assert_eq!(rig.wait(Duration::from_secs(300)), ["note undelivered 1", "unlisten 0@1"]);
    assert_eq!(rig.step(attach(None))[1], "emit s0/a2 0.1 retry=1000");
    rig.step(detach(0, 2, 0));
    assert_eq!(rig.step(attach(Some("0.1")))[0], "attached s0/a3");
}

/// A call failed together with its upstream session, and the answer to what its backend had asked
/// was sent to that session.
#[test]
fn nothing_is_sent_to_a_session_that_a_failure_says_is_gone() {
    let mut rig = Rig::plain();
    let key = rig.dispatched("7");
    rig.step(from_call(key, &ask("5")));
    let lines = rig.step(upstream_failed(key, 1, false, true));
    assert!(!lines.iter().any(|line| line.starts_with("send")), "{lines:?}");
}

/// Two streams held the same leg's stream, and the first that had room released it.
#[test]
fn a_source_that_two_streams_hold_is_released_by_the_last() {
    let mut rig = Rig::new(Config { ring_events_max: 1, window_events_max: 1, ..Config::DEFAULTS });
    rig.step(attach(None));
    rig.step(call_with_token("7", 0, "1"));
    rig.leg_opens(0);
    assert_eq!(rig.step(progress(0, None, "1"))[2], "hold listen 0@1");
    assert_eq!(rig.step(from_leg(0, NOTE)).len(), 1, "it is held already");
    assert_eq!(rig.step(delivered(0, 1, 1)), [""; 0]);
    assert_eq!(rig.step(delivered(1, 2, 1)), ["release listen 0@1"]);
}

/// A leg whose one stream carries all answers was lost by the word of one call, and the answers of
/// the others were dropped although they came.
#[test]
fn answers_on_a_shared_stream_count_as_long_as_it_lives() {
    let mut rig = Rig::plain();
    let first = rig.dispatched("7");
    rig.dispatched("8");
    rig.dispatched("9");
    rig.step(upstream_failed(first, 1, false, true));
    assert_eq!(rig.step(from_leg(0, &result(2))), [format!("json 2 {}", result(8))]);
    assert_eq!(rig.step(leg_lost(0, 1, true)), ["abandon 3".to_owned(), format!("json 3 {}", failed("9", "lost"))]);
    assert_eq!(rig.step(upstream(0, 1, None, &result(3), Content::Plain)), ["note late"]);
}

/// A stream that held a leg's own stream back expired unread, and took the hold with it: the leg
/// was never read again.
#[test]
fn what_an_expired_stream_held_is_released() {
    let mut rig = Rig::new(Config { ring_events_max: 1, window_events_max: 1, ..Config::DEFAULTS });
    rig.step(attach(None));
    rig.step(call_with_token("7", 0, "1"));
    rig.leg_opens(0);
    assert_eq!(rig.step(progress(0, None, "1"))[2], "hold listen 0@1");
    rig.step(detach(1, 2, 0));
    rig.step(from_call(CallKey(1), &result(1)));
    assert_eq!(rig.wait(Duration::from_secs(300)), ["note undelivered 2", "release listen 0@1"]);
}
