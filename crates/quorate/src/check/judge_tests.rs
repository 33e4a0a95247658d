//! Tests of the judge: a healthy cluster of three, and what one thing that is wrong makes of it.
//!
//! Each case changes the healthy reports in one way and expects one finding: its severity, its kind, and words of it and of
//! its advice. So a rule that tells effects beside the cause fails here.

use quorate_client::context::Life;
use quorate_proto::admin::v1::{GetStatusResponse, MetaStatus};
use quorate_types::Timestamp;

use super::super::report::{Report, Sample};
use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn at(offset_ms: i64) -> prost_types::Timestamp {
    let ms = i64::try_from(NOW.as_millis()).unwrap() + offset_ms;
    prost_types::Timestamp {
        seconds: ms.div_euclid(1_000),
        nanos: i32::try_from(ms.rem_euclid(1_000) * 1_000_000).unwrap(),
    }
}

const DAY_MS: i64 = 86_400_000;

fn node(id: u64) -> Node {
    Node {
        id,
        name: format!("n{id}"),
        state: NodeState::Active.into(),
        health: NodeHealth::Healthy.into(),
        admin_address: format!("10.0.0.{id}:4191"),
        version: "0.1.0".into(),
        feature_level_min: 1,
        feature_level_max: 2,
        groups: 4,
        active_revision: 12,
        last_heard: Some(at(-100)),
        certificate_expires: Some(at(60 * DAY_MS)),
        ..Node::default()
    }
}

fn status(of: u64) -> GetStatusResponse {
    let shard = |shard: u32| ShardStatus {
        shard,
        leader: u64::from(shard % 3) + 1,
        term: 2,
        voters: vec![1, 2, 3],
        ..ShardStatus::default()
    };
    GetStatusResponse {
        cluster_id: "07".repeat(16),
        feature_level: 1,
        node: of,
        mode: NodeMode::Member.into(),
        nodes: (1..=3).map(node).collect(),
        meta: Some(MetaStatus { leader: 1, term: 4, voters: vec![1, 2, 3], applied: 40, ..MetaStatus::default() }),
        shards: (1..=3).map(shard).collect(),
        active_revision: 12,
        time: Some(at(0)),
        ..GetStatusResponse::default()
    }
}

fn healthy() -> Reports {
    let report = |id: u64| {
        let sample = || Sample { status: status(id), asked_at: NOW, round_trip: Duration::from_millis(4) };
        Report {
            node: Some(id),
            address: format!("10.0.0.{id}:4191"),
            samples: vec![sample(), sample()],
            failure: None,
        }
    };
    Reports { nodes: (1..=3).map(report).collect(), is_complete: true, now: NOW, ..Reports::default() }
}

/// A certificate that lives for so many days, so many of which are left.
fn life(days: u64, left: u64) -> Life {
    let ends = NOW + Duration::from_secs(left * 86_400);
    Life { begins: Timestamp::from_millis(ends.as_millis() - days * 86_400_000), ends }
}

/// Changes what every answer says.
fn everywhere(reports: &mut Reports, mut change: impl FnMut(&mut GetStatusResponse)) {
    for sample in reports.nodes.iter_mut().flat_map(|report| &mut report.samples) {
        change(&mut sample.status);
    }
}

/// Changes what is said of one node, everywhere.
fn of_node(reports: &mut Reports, id: u64, mut change: impl FnMut(&mut Node)) {
    everywhere(reports, |status| status.nodes.iter_mut().filter(|node| node.id == id).for_each(&mut change));
}

/// A node says that this is wrong with it.
fn found(node: &mut Node, what: &str) {
    node.health = NodeHealth::Degraded.into();
    node.findings = vec![what.into()];
}

/// A node has told the catalog of something that is wrong with it.
fn raised(reports: &mut Reports, alarm: &Alarm) {
    everywhere(reports, |status| status.alarms.push(alarm.clone()));
    of_node(reports, alarm.node, |node| found(node, &alarm.message));
}

/// Takes a node away: it does not answer, and nobody reaches it.
fn kill(reports: &mut Reports, id: u64) {
    let report = reports.nodes.iter_mut().find(|report| report.node == Some(id)).unwrap();
    report.samples.clear();
    report.failure = Some("connection refused".into());
    of_node(reports, id, |node| node.health = NodeHealth::Unreachable.into());
}

#[track_caller]
fn check(change: impl FnOnce(&mut Reports), severity: Severity, kind: &str, what: &str, advice: &str) {
    let mut reports = healthy();
    change(&mut reports);

    let findings = judge(&reports);

    let told: Vec<String> =
        findings.iter().map(|one| format!("{:?} {}: {} → {}", one.severity, one.kind, one.what, one.advice)).collect();
    assert_eq!(findings.len(), 1, "{told:#?}");
    let finding = &findings[0];
    assert_eq!((finding.severity, finding.kind), (severity, kind), "{told:#?}");
    assert!(finding.what.contains(what), "{what:?} is not in {told:#?}");
    assert!(finding.advice.contains(advice), "{advice:?} is not in {told:#?}");
}

#[test]
fn nothing_is_wrong_with_a_healthy_cluster() {
    assert_eq!(judge(&healthy()), []);
    assert!(!is_ill(&[]));
}

#[test]
fn a_node_that_is_down_is_told_with_what_its_absence_means() {
    let mut reports = healthy();
    kill(&mut reports, 3);

    let findings = judge(&reports);

    let kinds: Vec<_> = findings.iter().map(|finding| (finding.severity, finding.kind)).collect();
    assert_eq!(kinds, [(Severity::Problem, "node"), (Severity::Warning, "shard")], "{findings:#?}");
    assert!(findings[0].what.contains("node 3 (n3) is down or cut off: it does not answer (connection refused)"));
    assert!(findings[0].what.contains("heard last 0.1 s ago"), "{}", findings[0].what);
    assert!(findings[0].advice.contains("quorate cluster replace 3 --by NEW"));
    assert!(findings[1].what.contains("3 shards with fewer replicas than 3: 1, 2, 3"), "{}", findings[1].what);
    assert!(is_ill(&findings));
}

#[test]
fn a_node_whose_admin_port_alone_is_blocked_is_not_down() {
    let change = |reports: &mut Reports| {
        reports.nodes[1].samples.clear();
        reports.nodes[1].failure = Some("no connection within 3000 ms".into());
    };
    let mut reports = healthy();
    change(&mut reports);

    let findings = judge(&reports);

    let blocked = findings.iter().find(|finding| finding.kind == "node").unwrap();
    assert_eq!(blocked.severity, Severity::Warning);
    assert!(blocked.what.contains("does not answer on its admin address 10.0.0.2:4191"), "{}", blocked.what);
    assert!(blocked.what.contains("2 others reach it"), "{}", blocked.what);
}

#[test]
fn without_a_quorum_the_cause_is_told_and_not_that_nobody_leads() {
    let mut reports = healthy();
    kill(&mut reports, 2);
    kill(&mut reports, 3);
    everywhere(&mut reports, |status| {
        status.meta.as_mut().unwrap().leader = 0;
        status.shards.iter_mut().for_each(|shard| shard.leader = 0);
    });

    let findings = judge(&reports);

    let meta: Vec<_> = findings.iter().filter(|finding| finding.kind == "meta").collect();
    assert_eq!(meta.len(), 1, "{findings:#?}");
    assert!(meta[0].what.contains("no quorum: 1 of its 3 voters are there, and 2 are needed"), "{}", meta[0].what);
    assert!(meta[0].advice.contains("start nodes 2, 3 again"), "{}", meta[0].advice);
    let shards: Vec<_> = findings.iter().filter(|finding| finding.kind == "shard").collect();
    assert_eq!(shards.len(), 1, "{findings:#?}");
    assert!(shards[0].what.contains("3 shards without a quorum"), "{}", shards[0].what);
}

#[test]
fn the_meta_group_without_a_leader_or_with_many() {
    use Severity::Problem;

    let nobody = |reports: &mut Reports| everywhere(reports, |status| status.meta.as_mut().unwrap().leader = 0);
    check(nobody, Problem, "meta", "no node knows a leader", "--peer-advertise");
    let flapping = |reports: &mut Reports| {
        reports.nodes[0].samples[1].status.meta.as_mut().unwrap().term = 9;
        reports.nodes[0].samples[1].status.meta.as_mut().unwrap().leader = 2;
    };
    check(flapping, Problem, "meta", "changes again and again: 5 terms", "overloaded");
    let one_election = |reports: &mut Reports| reports.nodes[0].samples[1].status.meta.as_mut().unwrap().term = 5;
    let mut reports = healthy();
    one_election(&mut reports);
    assert_eq!(judge(&reports), [], "a leader may change once");
    let two = |reports: &mut Reports| reports.nodes[2].samples[1].status.meta.as_mut().unwrap().leader = 3;
    check(two, Problem, "meta", "different leaders of the meta group in term 4: 1, 3", "report it");
}

#[test]
fn shards_without_a_leader_thin_ones_and_moves() {
    let leaderless = |reports: &mut Reports| everywhere(reports, |status| status.shards[1].leader = 0);
    check(leaderless, Severity::Problem, "shard", "1 shard without a leader: 2", "look again");
    let known_elsewhere =
        |reports: &mut Reports| reports.nodes[0].samples.iter_mut().for_each(|s| s.status.shards[1].leader = 0);
    let mut reports = healthy();
    known_elsewhere(&mut reports);
    assert_eq!(judge(&reports), [], "another node knows the leader");
    let thin = |reports: &mut Reports| everywhere(reports, |status| status.shards[0].voters = vec![1, 2]);
    check(thin, Severity::Warning, "shard", "1 shard with fewer replicas than 3: 1", "makes new replicas");
    let moving = |reports: &mut Reports| everywhere(reports, |status| status.shards[0].target = vec![1, 2, 3]);
    check(moving, Severity::Note, "shard", "1 shard being moved", "nothing to do");
}

#[test]
fn a_node_with_an_old_revision_says_why_where_it_is_known() {
    let lag = |reports: &mut Reports| {
        reports.nodes[1].samples.iter_mut().for_each(|sample| sample.status.active_revision = 9);
    };
    check(lag, Severity::Warning, "revision", "node 2 (n2) still runs revision 9 of 12", "look again");
    let refused = |reports: &mut Reports| {
        lag(reports);
        reports.refusals.insert(2, "cannot bind 10.0.0.2:443".into());
    };
    check(refused, Severity::Warning, "revision", "of 12: cannot bind 10.0.0.2:443", "quorate rollback 9");
}

#[test]
fn alarms_and_findings_of_nodes_come_with_what_to_do() {
    let alarm = |kind: &'static str| {
        move |reports: &mut Reports| {
            let alarm =
                Alarm { node: 2, kind: kind.into(), message: "the disk has 1% left".into(), since: Some(at(-90_000)) };
            raised(reports, &alarm);
        }
    };
    check(alarm("disk"), Severity::Problem, "alarm", "node 2 (n2): the disk has 1% left (since 90 s)", "make room");
    check(alarm("disk-low"), Severity::Warning, "alarm", "node 2", "nothing is yet");
    check(alarm("log"), Severity::Problem, "alarm", "node 2", "quorate cluster drain 2");
    check(alarm("group"), Severity::Problem, "alarm", "node 2", "quorate cluster replace 2 --by NEW");
    check(alarm("something-new"), Severity::Problem, "alarm", "node 2", "its log says more");
    let everywhere_full = |reports: &mut Reports| {
        for node in 1..=3 {
            let alarm = Alarm {
                node,
                kind: "disk".into(),
                message: "nearly full".into(),
                since: Some(at(-1_000 * i64::try_from(node).unwrap())),
            };
            raised(reports, &alarm);
        }
    };
    check(everywhere_full, Severity::Problem, "alarm", "nodes 1, 2, 3: nearly full (since 3.0 s)", "make room");
    let degraded = |reports: &mut Reports| {
        of_node(reports, 3, |node| found(node, "its log waits 300 ms for the disk"));
    };
    check(degraded, Severity::Warning, "node", "node 3 (n3): its log waits 300 ms", "its log");
    let untold = |reports: &mut Reports| {
        alarm("disk-low")(reports);
        of_node(reports, 2, |node| node.findings = vec!["nearly full".into()]);
    };
    check(untold, Severity::Warning, "node", "node 2 (n2): nearly full", "its log");
}

#[test]
fn certificates_that_end_soon_are_told_in_time() {
    let ends =
        |ms: i64| move |reports: &mut Reports| of_node(reports, 1, |node| node.certificate_expires = Some(at(ms)));
    check(ends(5 * DAY_MS), Severity::Warning, "certificate", "of node 1 (n1) ends in 5 days", "renew by themselves");
    check(ends(DAY_MS), Severity::Problem, "certificate", "ends in 24 h", "meta group has a leader");
    check(ends(-1), Severity::Problem, "certificate", "has ended", "restart the node");
    let own = |reports: &mut Reports| reports.operator = Some(life(90, 3));
    check(own, Severity::Warning, "certificate", "your own certificate ends in 3 days", "operator new");
}

#[test]
fn certificates_from_files_are_told_when_they_have_ended_and_when_their_nodes_say_so() {
    let of_files = |change: fn(&mut Reports)| {
        move |reports: &mut Reports| {
            everywhere(reports, |status| status.certificates_from_files = true);
            change(reports);
        }
    };
    let ends: fn(&mut Reports) = |reports| of_node(reports, 1, |node| node.certificate_expires = Some(at(DAY_MS)));
    let mut reports = healthy();
    of_files(ends)(&mut reports);
    assert_eq!(judge(&reports), [], "it may live for two days");

    let ended: fn(&mut Reports) = |reports| of_node(reports, 1, |node| node.certificate_expires = Some(at(-1)));
    check(of_files(ended), Severity::Problem, "certificate", "has ended", "into the files");
    let alarm: fn(&mut Reports) = |reports| {
        let message = "the files of this node's certificate cannot be used".to_owned();
        let alarm = Alarm { node: 2, kind: "certificate".into(), message, since: Some(at(-60_000)) };
        raised(reports, &alarm);
    };
    check(of_files(alarm), Severity::Problem, "alarm", "cannot be used", "without a restart");
}

#[test]
fn an_operators_own_certificate_from_files_is_told_when_a_sixth_of_its_life_is_left() {
    let of_life = |days: u64, left: u64| {
        move |reports: &mut Reports| {
            everywhere(reports, |status| status.certificates_from_files = true);
            reports.operator = Some(life(days, left));
        }
    };
    for (days, left) in [(6, 2), (2, 1), (366, 62)] {
        let mut reports = healthy();
        of_life(days, left)(&mut reports);
        assert_eq!(judge(&reports), [], "{left} of {days} days");
    }
    let advice = "into the files that the context names";
    check(of_life(366, 60), Severity::Warning, "certificate", "your own certificate ends in 60 days", advice);
    check(of_life(19, 3), Severity::Warning, "certificate", "your own certificate ends in 3 days", advice);
}

#[test]
fn versions_and_levels_that_do_not_fit() {
    let skew = |reports: &mut Reports| of_node(reports, 2, |node| node.version = "0.2.0".into());
    check(skew, Severity::Warning, "version", "0.1.0 on nodes 1, 3; 0.2.0 on node 2", "finish the upgrade");
    let level =
        |reports: &mut Reports| of_node(reports, 2, |node| (node.feature_level_min, node.feature_level_max) = (2, 3));
    check(
        level,
        Severity::Problem,
        "version",
        "node 2 (n2) knows feature levels 2 to 3, and the cluster is at 1",
        "run a version",
    );
}

#[test]
fn clocks_are_compared_as_far_as_the_way_of_an_answer_allows() {
    let ahead = |ms: i64| move |reports: &mut Reports| reports.nodes[2].samples[1].status.time = Some(at(ms));
    check(ahead(2_000), Severity::Warning, "clock", "nodes 3 and 1 are at least 2.0 s apart", "NTP");
    check(ahead(-60_000), Severity::Problem, "clock", "and 3 are at least", "NTP");
    let slow = |reports: &mut Reports| {
        ahead(2_000)(reports);
        reports.nodes[2].samples[1].round_trip = Duration::from_secs(4);
    };
    let mut reports = healthy();
    slow(&mut reports);
    assert_eq!(judge(&reports), [], "the answer may have been under way for so long");
}

#[test]
fn states_that_are_meant_are_notes() {
    for (state, what) in [
        (NodeState::Joining, "node 3 (n3) is joining"),
        (NodeState::Draining, "node 3 (n3) is drained"),
        (NodeState::Leaving, "node 3 (n3) is leaving"),
    ] {
        let change = |reports: &mut Reports| of_node(reports, 3, |node| node.state = state.into());
        check(change, Severity::Note, "node", what, "");
    }
    let removed = |reports: &mut Reports| {
        reports.nodes.remove(2);
        everywhere(reports, |status| {
            status.nodes[2].state = NodeState::Removed.into();
            status.meta.as_mut().unwrap().voters = vec![1, 2];
            status.shards.iter_mut().for_each(|shard| shard.voters = vec![1, 2]);
        });
    };
    check(removed, Severity::Note, "cluster", "the meta group has 2 voters: no node may fail", "token new");
}

#[test]
fn a_node_that_waits_and_one_that_does_not_answer_are_told_without_a_cluster() {
    let waiting = GetStatusResponse { mode: NodeMode::Waiting.into(), ..GetStatusResponse::default() };
    let reports = Reports {
        nodes: vec![
            Report {
                address: "a:1".into(),
                samples: vec![Sample { status: waiting, ..Sample::default() }],
                ..Report::default()
            },
            Report { address: "b:1".into(), failure: Some("connection refused".into()), ..Report::default() },
        ],
        now: NOW,
        ..Reports::default()
    };

    let findings = judge(&reports);

    assert!(findings[0].what.contains("a:1 is no member of a cluster: it waits"), "{findings:#?}");
    assert!(findings[0].advice.contains("quorate cluster init"));
    assert_eq!(findings[1].what, "b:1 does not answer: connection refused");
}

#[test]
fn one_nodes_view_is_enough_for_a_glance() {
    let mut status = status(1);
    status.nodes[1].health = NodeHealth::Unreachable.into();

    let findings = judge(&Reports::of_one(&status, NOW));

    assert!(
        findings[0].what.contains("node 2 (n2) is down or cut off: the asked node does not reach it"),
        "{findings:#?}"
    );
    assert!(findings.iter().all(|finding| finding.kind != "meta"), "{findings:#?}");
}
