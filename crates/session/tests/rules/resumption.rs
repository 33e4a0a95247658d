//! Streams and connections: who reads what from where.

use std::time::Duration;

use quorate_session::{Config, EndReason, Event, Rejection, StreamId};

use crate::support::*;

#[test]
fn a_resumed_stream_goes_on_behind_the_clients_last_event() {
    for (last, expected) in [("1.0", &[1, 2, 3][..]), ("1.2", &[3])] {
        let mut rig = Rig::primed();
        let key = rig.dispatched("7");
        for _ in 0..3 {
            rig.step(from_call(key, NOTE));
        }
        rig.step(detach(1, 1, 3));
        let mut lines = vec!["attached s1/a2".to_owned(), format!("emit s1/a2 {last} retry=1000")];
        lines.extend(expected.iter().map(|sequence| format!("emit s1/a2 1.{sequence} {NOTE}")));
        assert_eq!(rig.step(attach(Some(last))), lines);
        assert_eq!(
            rig.step(from_call(key, &result(1))),
            [format!("emit s1/a2 1.4 {}", result(7)), "close s1/a2".to_owned(),]
        );
    }
}

#[test]
fn an_answer_that_came_while_the_client_was_away_is_fetched_by_a_get() {
    let mut rig = Rig::primed();
    let key = rig.dispatched("7");
    rig.step(Event::Prime { call: key });
    rig.step(detach(1, 1, 0));
    assert_eq!(rig.step(from_call(key, &result(1))), [""; 0]);
    assert_eq!(
        rig.step(attach(Some("1.0"))),
        [
            "attached s1/a2".to_owned(),
            "emit s1/a2 1.0 retry=1000".to_owned(),
            format!("emit s1/a2 1.1 {}", result(7)),
            "close s1/a2".to_owned(),
        ]
    );
}

#[test]
fn a_connection_whose_death_was_not_noticed_is_replaced_and_its_reports_ignored() {
    let mut rig = Rig::primed();
    let key = rig.dispatched("7");
    rig.step(from_call(key, NOTE));
    assert_eq!(
        rig.step(attach(Some("1.0"))),
        [
            "disconnect s1/a1".to_owned(),
            "attached s1/a2".to_owned(),
            "emit s1/a2 1.0 retry=1000".to_owned(),
            format!("emit s1/a2 1.1 {NOTE}"),
        ]
    );
    assert_eq!(rig.step(delivered(1, 1, 1)), ["note stale"]);
    assert_eq!(rig.step(detach(1, 1, 1)), ["note stale"]);
    assert_eq!(rig.step(from_call(key, &result(1)))[1], "close s1/a2");
}

#[test]
fn a_second_get_takes_the_standalone_stream_over() {
    let mut rig = Rig::primed();
    assert_eq!(rig.step(attach(None)), ["attached s0/a1", "emit s0/a1 0.0 retry=1000"]);
    assert_eq!(rig.step(attach(None)), ["disconnect s0/a1", "attached s0/a2", "emit s0/a2 0.0 retry=1000"]);
    let notice = Event::GatewayNotify { frame: frame(NOTE) };
    assert_eq!(rig.step(notice), [format!("emit s0/a2 0.1 {NOTE}")]);
}

#[test]
fn a_get_without_an_id_gets_what_was_never_written() {
    let mut rig = Rig::plain();
    rig.step(attach(None));
    for n in 0..3 {
        rig.step(Event::GatewayNotify { frame: frame(&NOTE.replace("\"n\"", &format!("\"n{n}\""))) });
    }
    rig.step(detach(0, 1, 1));
    let lines = rig.step(attach(None));
    let ids: Vec<&str> = lines.iter().filter_map(|line| line.split(' ').nth(2)).collect();
    assert_eq!(ids, ["0.2", "0.3"]);
}

#[test]
fn what_cannot_be_resumed_is_refused_for_its_reason() {
    let mut rig = Rig::new(Config { priming: true, ring_events_max: 2, window_events_max: 2, ..Config::DEFAULTS });
    let key = rig.dispatched("7");
    for sequence in 1..=4 {
        rig.step(from_call(key, NOTE));
        rig.step(delivered(1, 1, sequence));
    }
    rig.step(detach(1, 1, 4));
    rig.step(from_call(key, NOTE));
    let stream = StreamId(1);

    let cases = [
        ("9.0", Rejection::StreamUnknown { stream: StreamId(9) }),
        ("0.0", Rejection::StreamUnknown { stream: StreamId(0) }),
        ("1.2", Rejection::BeyondRetention { stream, requested: 2, oldest: 3 }),
        ("1.0", Rejection::BeyondRetention { stream, requested: 0, oldest: 3 }),
        ("1.5", Rejection::EventUnknown { stream, requested: 5, newest: 4 }),
        ("1.99", Rejection::EventUnknown { stream, requested: 99, newest: 4 }),
    ];
    for (id, rejection) in cases {
        assert_eq!(rig.refused(attach(Some(id))), rejection, "{id}");
    }

    rig.step(attach(Some("1.4")));
    rig.step(from_call(key, &result(1)));
    rig.step(detach(1, 2, 6));
    assert_eq!(rig.refused(attach(Some("1.6"))), Rejection::StreamFinished { stream });
}

#[test]
fn events_expire_after_their_retention_and_late_clients_are_told() {
    let mut rig = Rig::primed();
    let key = rig.dispatched("7");
    rig.step(from_call(key, NOTE));
    rig.step(detach(1, 1, 0));
    rig.wait(Duration::from_secs(299));
    rig.step(from_call(key, NOTE));
    assert_eq!(rig.wait(Duration::from_secs(1)), ["note undelivered 1"]);
    let stream = StreamId(1);
    assert_eq!(rig.refused(attach(Some("1.0"))), Rejection::BeyondRetention { stream, requested: 0, oldest: 1 });
    assert_eq!(rig.step(attach(Some("1.1"))).last(), Some(&format!("emit s1/a2 1.2 {NOTE}")));
}

#[test]
fn a_finished_stream_is_forgotten_after_its_retention() {
    let mut rig = Rig::primed();
    let key = rig.dispatched("7");
    rig.step(Event::Prime { call: key });
    rig.step(from_call(key, &result(1)));
    rig.step(detach(1, 1, 1));
    assert_eq!(rig.session.next_deadline(), Some(rig.now + Duration::from_secs(300)));
    assert_eq!(rig.wait(Duration::from_secs(300)), [""; 0], "it was written: nothing is lost");
    assert_eq!(rig.refused(attach(Some("1.1"))), Rejection::StreamUnknown { stream: StreamId(1) });
    assert_eq!(rig.session.observe().streams_retained, 0);
}

#[test]
fn a_connection_is_given_no_more_than_its_window() {
    let mut rig = Rig::new(Config { window_events_max: 2, ..Config::DEFAULTS });
    let key = rig.dispatched("7");
    rig.step(from_call(key, NOTE));
    rig.step(from_call(key, NOTE));
    assert_eq!(rig.step(from_call(key, &result(1))), [""; 0]);
    assert_eq!(rig.step(delivered(1, 1, 1)), [format!("emit s1/a1 1.3 {}", result(7)), "close s1/a1".to_owned()]);
}

#[test]
fn a_full_stream_holds_its_source_until_there_is_room() {
    let mut rig = Rig::new(Config { ring_events_max: 2, window_events_max: 2, ..Config::DEFAULTS });
    let key = rig.dispatched("7");
    rig.step(from_call(key, NOTE));
    assert_eq!(rig.step(from_call(key, NOTE)), [format!("emit s1/a1 1.2 {NOTE}"), "hold call 1".to_owned()]);
    assert_eq!(rig.step(from_call(key, NOTE)), [""; 0], "one was under way, and is kept");
    assert_eq!(rig.step(delivered(1, 1, 1)), [format!("emit s1/a1 1.3 {NOTE}")], "there is no room yet");
    assert_eq!(rig.step(delivered(1, 1, 2)), ["release call 1"]);
}

#[test]
fn a_held_source_is_released_when_what_filled_the_stream_expires() {
    let mut rig = Rig::new(Config { ring_events_max: 1, window_events_max: 1, ..Config::DEFAULTS });
    let key = rig.dispatched("7");
    assert_eq!(rig.step(from_call(key, NOTE))[2], "hold call 1");
    rig.step(detach(1, 1, 0));
    assert_eq!(rig.wait(Duration::from_secs(300)), ["note undelivered 1", "release call 1"]);
}

#[test]
fn a_large_event_is_taken_alone() {
    let mut rig = Rig::new(Config { ring_bytes_max: 100, ..Config::DEFAULTS });
    let key = rig.dispatched("7");
    let large = format!(r#"{{"jsonrpc":"2.0","method":"{}"}}"#, "x".repeat(500));
    let lines = rig.step(from_call(key, &large));
    assert_eq!(lines[1..], [format!("emit s1/a1 1.1 {large}"), "hold call 1".to_owned()]);
    assert_eq!(rig.step(delivered(1, 1, 1)), ["release call 1"]);
    rig.step(from_call(key, NOTE));
    assert_eq!(rig.session.observe().retained_events, 1, "it made room for the next one");
}

#[test]
fn delivered_events_of_all_streams_together_are_bounded_and_the_latest_are_kept() {
    let mut rig = Rig::new(Config { delivered_bytes_max: 100, ..Config::DEFAULTS });
    for (stream, id) in [(1, "7"), (2, "8"), (3, "9")] {
        let key = rig.dispatched(id);
        rig.step(from_call(key, NOTE));
        rig.step(from_call(key, &result(key)));
        rig.step(detach(stream, stream.into(), 2));
    }
    let oldest = Rejection::BeyondRetention { stream: StreamId(1), requested: 1, oldest: 2 };
    assert_eq!(rig.refused(attach(Some("1.1"))), oldest);
    assert_eq!(rig.step(attach(Some("3.1")))[1], format!("emit s3/a4 3.2 {}", result(9)));
}

#[test]
fn the_gateways_repeated_notices_are_merged_while_they_wait() {
    let mut rig = Rig::plain();
    let notice = || Event::GatewayNotify { frame: frame(NOTE) };
    assert_eq!(rig.step(notice()), ["note notification-dropped"], "nobody ever read");
    rig.step(attach(None));
    rig.step(detach(0, 1, 0));
    for _ in 0..3 {
        assert_eq!(rig.step(notice()), [""; 0]);
    }
    assert_eq!(rig.step(attach(None)), ["attached s0/a2".to_owned(), format!("emit s0/a2 0.1 {NOTE}")]);
    assert_eq!(rig.step(notice()), [format!("emit s0/a2 0.2 {NOTE}")], "what was sent is another matter");
}

#[test]
fn a_notice_that_a_lost_connection_never_wrote_still_waits() {
    let mut rig = Rig::plain();
    let notice = || Event::GatewayNotify { frame: frame(NOTE) };
    rig.step(attach(None));
    rig.step(notice());
    rig.step(detach(0, 1, 0));
    assert_eq!(rig.step(notice()), [""; 0], "it is merged with the first");
    assert_eq!(rig.step(attach(None)), ["attached s0/a2".to_owned(), format!("emit s0/a2 0.1 {NOTE}")]);
}

#[test]
fn legs_are_listened_to_while_the_client_reads_and_for_a_while_after() {
    let mut rig = Rig::plain();
    rig.dispatched("7");
    assert_eq!(rig.step(attach(None)), ["attached s0/a1", "listen 0@1"]);
    rig.step(detach(0, 1, 0));
    assert_eq!(rig.step(attach(None)), ["attached s0/a2"]);
    rig.step(detach(0, 2, 0));
    assert_eq!(rig.wait(Duration::from_secs(299)), [""; 0]);
    assert_eq!(rig.wait(Duration::from_secs(1)), ["unlisten 0@1"]);
    assert_eq!(rig.step(from_leg(0, NOTE)), ["note unwanted 0"]);
    assert_eq!(rig.step(attach(Some("0.0"))), ["attached s0/a3", "listen 0@1"]);
}

#[test]
fn the_standalone_stream_never_counts_anew() {
    let mut rig = Rig::plain();
    rig.dispatched("7");
    rig.step(attach(None));
    rig.step(from_leg(0, NOTE));
    rig.step(detach(0, 1, 1));
    rig.wait(Duration::from_secs(600));
    rig.step(attach(None));
    assert_eq!(rig.step(from_leg(0, NOTE)), [format!("emit s0/a2 0.2 {NOTE}")]);
}

#[test]
fn an_http_sse_client_gets_everything_on_its_one_stream_without_ids() {
    let mut rig = Rig::new(Config { delivery: quorate_session::Delivery::Single, priming: true, ..Config::DEFAULTS });
    assert_eq!(rig.step(attach(None)), ["attached s0/a1"]);
    assert_eq!(rig.step(gateway_call("7")), ["opened 1"]);
    let answer = r#"emit s0/a1 #1 {"jsonrpc":"2.0","id":7,"result":[1]}"#;
    assert_eq!(rig.step(gateway_result(quorate_session::CallKey(1))), [answer]);
    let key = rig.dispatched("8");
    assert_eq!(rig.step(Event::Prime { call: key }), [""; 0]);
    assert_eq!(rig.step(from_call(key, NOTE)), [format!("emit s0/a1 #2 {NOTE}")]);
    assert_eq!(rig.step(from_call(key, &result(2))), [format!("emit s0/a1 #3 {}", result(8))]);
    rig.step(delivered(0, 1, 3));
    assert_eq!(rig.session.observe().retained_events, 0, "nothing can be resumed");

    assert_eq!(rig.refused(attach(None)), Rejection::StreamUnknown { stream: StreamId(0) });
    assert_eq!(rig.refused(attach(Some("0.1"))), Rejection::StreamUnknown { stream: StreamId(0) });
    rig.dispatched("9");
    assert_eq!(rig.step(detach(0, 1, 3)), [
        r#"send 0@1 {"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":3,"reason":"client_gone"}}"#.to_owned(),
        "abandon 3".to_owned(),
        "close-leg 0@1".to_owned(),
        format!("ended {}", EndReason::ClientGone.as_str()),
    ]);
    assert!(rig.session.is_finished());
}
