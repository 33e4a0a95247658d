//! Counterexamples that random histories found, each cut down to what made it fail.

use std::time::Duration;

use quorate_session::{CallKey, Config, Content, Delivery, Event, LegKey, Purpose, Request, RequestKey, Target};

use crate::support::*;

/// The call in the first line that begins so.
fn key_behind(word: &str, lines: &[String]) -> CallKey {
    let key = lines.iter().find_map(|line| line.strip_prefix(word)?.split(' ').next()?.parse().ok());
    CallKey(key.unwrap_or_else(|| panic!("no {word}in {lines:?}")))
}

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

/// An owner that is lost takes with it what it knew of streams that were read to their ends. After many losses such streams
/// took all places, and calls went without progress for as long as events are retained.
#[test]
fn streams_that_may_have_been_read_at_another_owner_make_room_for_new_ones() {
    let mut rig = Rig::journaled_as(Config { streams_max: 1, ..Config::DEFAULTS });
    let first = rig.dispatched("7");
    rig.step(from_call(first, NOTE));
    rig.step(from_call(first, &result(first)));
    rig.is_taken_over();
    let opened = rig.step(call("8", 0));
    let second = key_behind("opened ", &opened);
    rig.leg_opens_as(0, 2);
    let note = || upstream(0, 2, Some(second), NOTE, Content::Plain);
    assert_eq!(rig.step(note())[0], "note streams-exhausted", "its client may be about to come for it");
    rig.now = rig.now + Duration::from_secs(30);
    assert_eq!(rig.step(note())[0], format!("begin {second} s2/a1"));
    let gone = rig.refused(attach(Some("1.0")));
    assert!(matches!(gone, quorate_session::Rejection::StreamUnknown { .. }), "its client is told: {gone}");
}

/// Megabytes that were read count against what may wait for the client, unless the next owner knows that.
#[test]
fn that_much_was_read_to_its_end_is_written_down_at_once() {
    for (bytes, waits) in [(1024, false), (80 * 1024, true)] {
        let mut rig = Rig::journaled();
        let key = rig.dispatched("7");
        rig.step(from_call(key, NOTE));
        let large = format!(r#"{{"id":{key},"jsonrpc":"2.0","result":{{"text":"{}"}}}}"#, "x".repeat(bytes));
        rig.step(from_call(key, &large));
        let effects = rig.session.step(rig.now, detach(1, 1, 2)).expect("it is accepted");
        assert_eq!(effects.waits(), waits, "{bytes}");
    }
}

fn counted(token: u8, progress: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":{progress}}}}}"#
    )
}

/// A call that was sent again after a loss counted from the beginning, and its client was told 1, 2, 1, 2, 3.
#[test]
fn the_progress_of_a_call_that_is_sent_again_goes_on_where_its_client_is() {
    let mut rig = Rig::journaled();
    let opened = rig.step(replayable_call("7", 0, "5"));
    let first = key_behind("opened ", &opened);
    rig.leg_opens(0);
    for text in ["1", "2.5"] {
        rig.step(told(0, 1, first, &counted(5, text)));
    }
    rig.is_taken_over();
    let opened = rig.leg_opens_as(0, 2);
    let key = key_behind("dispatch ", &opened);

    for text in ["1", "2", "2.5"] {
        assert_eq!(rig.step(told(0, 2, key, &counted(5, text))), ["note unwanted 0"], "{text} was told");
    }
    rig.step(told(0, 2, key, &counted(5, "3")));
    let read = rig.step(attach(Some("1.2")));
    assert_eq!(read[1], format!("emit s1/a1 1.3 {}", counted(5, "3")));
}

/// What a client had been told was looked for among the events that are kept. One that came again had those before dropped, and
/// after the next loss it was told 1, 2, 3, 1: when owners were lost quickly, each had its client come again.
#[test]
fn progress_that_is_not_kept_any_more_is_not_told_again_either() {
    let mut rig = Rig::journaled();
    let opened = rig.step(replayable_call("7", 0, "5"));
    let first = key_behind("opened ", &opened);
    rig.leg_opens(0);
    rig.step(told(0, 1, first, &counted(5, "1")));
    rig.step(attach(Some("1.1")));
    rig.step(told(0, 1, first, &counted(5, "2")));
    let key_of_epoch = |rig: &mut Rig, epoch| {
        rig.is_taken_over();
        rig.step(attach(Some("1.2")));
        let opened = rig.leg_opens_as(0, epoch);
        key_behind("dispatch ", &opened)
    };
    key_of_epoch(&mut rig, 2);
    let key = key_of_epoch(&mut rig, 3);

    for text in ["1", "2"] {
        assert_eq!(rig.step(told(0, 3, key, &counted(5, text))), ["note unwanted 0"], "{text} was told");
    }
    let effects = rig.step(told(0, 3, key, &counted(5, "3")));
    assert_eq!(effects, [format!("emit s1/a1 1.3 {}", counted(5, "3"))]);
}

/// Over HTTP+SSE a call is taken by one answer and answered by another. Where the first was lost and the second had been said
/// already, the client's node asked again, and the call ran twice.
#[test]
fn a_call_over_http_and_sse_that_is_asked_again_after_its_answer_does_not_run_again() {
    let ask = || {
        let request = plain_request("7", Target::Leg(LegKey(0)), Purpose::Plain);
        Event::ClientRequest(Request { key: Some(RequestKey([7; 16])), ..request })
    };
    let mut rig = Rig::journaled_as(Config { delivery: Delivery::Single, ..Config::DEFAULTS });
    rig.step(attach(None));
    assert_eq!(rig.step(ask())[0], "opened 1");
    rig.leg_opens(0);
    assert_eq!(rig.step(ask()), ["opened 1"], "it runs");
    rig.step(from_call(CallKey(1), &result(1)));
    assert_eq!(rig.step(ask()), ["opened 1"], "it has run");
    rig.is_taken_over();
    assert_eq!(rig.step(ask()), ["opened 1"], "the next owner knows that");
    rig.wait(Duration::from_secs(31));
    assert!(!rig.session.knows(RequestKey([7; 16])), "nobody asks again any more");
}

/// A server that ends its stream to be polled does so again when the call is sent again, and its client, that had come back for
/// the answer, was sent away once more.
#[test]
fn a_client_is_not_sent_away_once_more_when_its_call_is_sent_again() {
    let poll = |call| Event::Poll { call, retry: Some(Duration::from_secs(1)) };
    let mut rig = Rig::journaled_as(Config { priming: true, ..Config::DEFAULTS });
    rig.step(replayable_call("7", 0, "5"));
    rig.leg_opens(0);
    let polled = rig.step(poll(CallKey(1)));
    assert_eq!(polled.last().map(String::as_str), Some("close s1/a1"), "{polled:?}");
    rig.step(detach(1, 1, 0));
    rig.is_taken_over();
    rig.step(attach(Some("1.0")));
    let opened = rig.leg_opens_as(0, 2);
    let again = key_behind("dispatch ", &opened);
    assert_eq!(rig.step(poll(again)), [""; 0]);
    let answered = rig.step(upstream(0, 2, Some(again), &result(again), Content::Plain));
    assert_eq!(answered[0], format!("emit s1/a1 1.1 {}", result(7)));
}
