//! Idle sessions, which are their records alone after a while.

use std::time::Duration;

use quorate_session::record::proto::{self, op::Kind};
use quorate_session::{Event, Features, LegEpoch, LegKey, Listen};

use crate::support::*;

/// A session that has called a backend once, and was answered.
fn answered(features: Features, upstream: Option<proto::Upstream>) -> Rig {
    let mut rig = Rig::journaled();
    rig.session.name_leg(LegKey(0), "files");
    let opened = rig.step(call("7", 0));
    let key =
        opened.iter().find_map(|line| line.strip_prefix("opened ")).expect("it opened").parse().expect("a number");
    rig.step(Event::LegOpened { leg: LegKey(0), epoch: LegEpoch(1), features, upstream });
    rig.step(from_call(quorate_session::CallKey(key), &result(key)));
    rig
}

fn bridge() -> Features {
    Features { bridged: true, ..FEATURES }
}

#[test]
fn a_session_whose_upstream_session_can_be_found_again_rests_and_says_when_its_client_was_there() {
    let mut rig = answered(FEATURES, Some(proto::Upstream::default()));
    assert!(rig.session.is_quiet() && rig.session.is_at_rest());

    rig.now = rig.now + Duration::from_secs(1);
    rig.step(Event::Touch);
    let touched = rig.now.as_millis();
    rig.now = rig.now + Duration::from_secs(30);
    let writes = rig.writes(Event::Rest);
    assert!(writes.contains(&Kind::ActiveMs(touched)), "{writes:?}");
    assert!(rig.session.is_at_rest());
    assert_eq!(rig.writes(Event::Rest), [], "it is written once");
}

#[test]
fn a_bridge_to_a_stateless_server_is_closed_for_a_rest_and_opened_by_the_next_call() {
    let mut rig = answered(bridge(), None);
    assert!(rig.session.is_quiet() && !rig.session.is_at_rest(), "its bridge is open");

    assert_eq!(rig.step(Event::Rest), ["close-leg 0@1"]);
    assert!(rig.session.is_at_rest());
    assert!(rig.step(call("8", 0)).contains(&"open-leg 0@2".to_owned()));
    let opened = rig.step(Event::LegOpened { leg: LegKey(0), epoch: LegEpoch(2), features: bridge(), upstream: None });
    assert!(!opened.iter().any(|line| line.starts_with("reopened")), "nothing was missed: {opened:?}");
}

#[test]
fn what_lives_with_its_node_keeps_a_session_awake() {
    let of_program = Features { listen: Listen::Shared, ..FEATURES };
    let mut rig = answered(of_program, None);
    assert!(!rig.session.is_quiet());
    assert_eq!(rig.step(Event::Rest), Vec::<String>::new());
}

#[test]
fn a_call_a_connection_and_a_subscription_keep_a_session_awake() {
    let upstream = || Some(proto::Upstream::default());
    for keeps_awake in [call("8", 0), attach(None), subscribe("8", 0, "file:///a")] {
        let mut rig = answered(FEATURES, upstream());
        rig.step(keeps_awake);
        assert!(!rig.session.is_quiet());
        assert_eq!(rig.step(Event::Rest), Vec::<String>::new());
    }
    assert!(!Rig::plain().session.is_quiet(), "nothing else has what a session without a record holds");
    assert!(!Rig::calls().session.is_quiet());
}
