//! What operators do about nodes, and what they are told of them.

use quorate_catalog::NodeState;
use quorate_catalog::proto;
use quorate_catalog::proto::command::Kind as Command;
use quorate_member::FindingKind;
use quorate_membership::identity::Role;
use quorate_proto::admin::v1;
use quorate_types::NodeId;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::client;
use crate::world::{World, until, upsert};

#[tokio::test(flavor = "multi_thread")]
async fn status_tells_nodes_groups_alarms_and_how_old_it_is() {
    let world = World::bootstrapped(3).await;
    let mut viewer = client::member(world.place(1), &world.authority, &world.operator(Role::Viewer)).await;
    let raise = proto::RaiseAlarm { node: 1, kind: "disk".to_owned(), message: "the disk is nearly full".to_owned() };
    world.control(NodeId(1)).command(Command::RaiseAlarm(raise)).await.expect("it is taken");
    let member = world.place(1).member.as_ref().expect("it is a member");
    member.finds(FindingKind::Disk, "the disk is nearly full");

    let status = viewer.get_status(v1::GetStatusRequest { linearizable: true }).await.expect("there is a quorum");
    let status = status.into_inner();
    assert_eq!((status.mode(), status.node, status.feature_level), (v1::NodeMode::Member, 1, 1));
    assert_eq!(status.cluster_id, "07".repeat(16));
    assert_eq!(status.staleness, Some(prost_types::Duration::default()), "a quorum was asked");
    let node = &status.nodes[0];
    assert_eq!((node.id, node.name.as_str(), node.state(), node.groups), (1, "node-1", v1::NodeState::Active, 3));
    assert_eq!(node.health(), v1::NodeHealth::Degraded);
    assert_eq!(node.findings, ["the disk is nearly full"]);
    assert_eq!(status.alarms[0].kind, "disk");
    let meta = status.meta.expect("it is a member");
    assert_eq!((meta.leader, meta.voters), (1, vec![1]));
    assert!(meta.term > 0 && meta.applied > 0 && meta.committed >= meta.applied, "{} {}", meta.committed, meta.applied);
    assert_eq!(status.shards.iter().map(|shard| shard.shard).collect::<Vec<_>>(), [1, 2, 3]);

    let local = viewer.get_status(v1::GetStatusRequest::default()).await.expect("it is a viewer").into_inner();
    let staleness = local.staleness.expect("it leads itself");
    assert!(staleness.seconds < 60, "{staleness:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_a_change_and_what_a_node_finds_about_itself() {
    let world = World::bootstrapped(1).await;
    let mut viewer = client::member(world.place(1), &world.authority, &world.operator(Role::Viewer)).await;
    let mut watch = viewer.watch_status(v1::WatchStatusRequest {}).await.expect("it is a viewer").into_inner();
    watch.message().await.expect("it is told").expect("it is not over");

    let member = world.place(1).member.as_ref().expect("it is a member");
    member.finds(FindingKind::Log, "the log is slow");
    let found = loop {
        let status = watch.message().await.expect("it is told").expect("it is not over");
        if !status.nodes[0].findings.is_empty() {
            break status;
        }
    };
    assert_eq!(found.nodes[0].findings, ["the log is slow"]);
    assert_eq!(found.nodes[0].health(), v1::NodeHealth::Degraded);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_that_of_the_node() {
    let world = World::bootstrapped(1).await;
    let sender = client::local(world.place(1).folder.path()).await;
    let mut health = tonic_health::pb::health_client::HealthClient::with_origin(
        sender,
        http::Uri::from_static("https://node.invalid"),
    );
    let mut ask = async |service: &str| {
        let request = tonic_health::pb::HealthCheckRequest { service: service.to_owned() };
        health.check(request).await.map(|answer| answer.into_inner().status)
    };
    let (serving, not_serving) = (1, 2);

    assert_eq!(ask("").await.expect("the process is known"), serving);
    while ask("quorate.admin.v1.Cluster").await.expect("it is known") != serving {}
    let member = world.place(1).member.as_ref().expect("it is a member");
    member.finds(FindingKind::Log, "the log is slow");
    while ask("quorate.admin.v1.Cluster").await.expect("it is known") != not_serving {}
    member.findings.lock().expect("nobody panicked").clear();
    member.finds(FindingKind::DiskLow, "the disk has little room");
    while ask("quorate.admin.v1.Cluster").await.expect("it is known") != serving {}
    assert_eq!(ask("nothing").await.expect_err("there is none").code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_drained_and_serves_again_and_both_are_recorded() {
    let world = World::bootstrapped(1).await;
    let place = world.place(1);
    let mut operator = client::member(place, &world.authority, &world.operator(Role::Operator)).await;

    operator.drain_node(v1::DrainNodeRequest { node: 1 }).await.expect("it is active");
    world
        .all("draining node", |catalog| catalog.node(NodeId(1)).is_some_and(|node| node.state == NodeState::Draining))
        .await;
    operator.undrain_node(v1::UndrainNodeRequest { node: 1 }).await.expect("it drains");
    world
        .all("active node", |catalog| catalog.node(NodeId(1)).is_some_and(|node| node.state == NodeState::Active))
        .await;
    let refused = operator.drain_node(v1::DrainNodeRequest { node: 9 }).await.expect_err("there is no node 9");
    assert_eq!(refused.code(), Code::NotFound, "{refused}");
    assert_eq!(refused.get_details_bad_request().expect("it names the field").field_violations[0].field, "node");

    let records = place.records(|line| line.contains("admin_change") && line.contains("Node node"), 3).await;
    let has = |parts: [&str; 3]| records.iter().any(|line| parts.iter().all(|part| line.contains(part)));
    assert!(has(["Cluster/DrainNode node 1 ", "\"applied\"", "operator ana (operator)"]), "{records:?}");
    assert!(has(["Cluster/UndrainNode node 1 ", "\"applied\"", "127.0.0.1:"]), "{records:?}");
    assert!(has(["Cluster/DrainNode node 9 ", "\"refused\"", "unknown"]), "{records:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_is_handed_over_and_a_node_is_moved_away_from_and_removed() {
    let mut world = World::bootstrapped(2).await;
    world.join(NodeId(2)).await;
    world.join(NodeId(3)).await;
    let votes = |id: u64| world.control(NodeId(id)).meta().members().voters.len() == 3;
    until("meta group of three voters", || (1..=3).all(votes)).await;
    let leader = world.control(NodeId(1)).meta().role().borrow().leader().expect("somebody leads").0;
    let other = leader % 3 + 1;
    let mut asked = client::client(client::local(world.place(leader).folder.path()).await);

    let to = asked.transfer_leader(v1::TransferLeaderRequest { to: other, groups: vec![0] }).await;
    assert_eq!(to.expect("it votes").into_inner().moved, [0]);
    let elsewhere = asked.transfer_leader(v1::TransferLeaderRequest { to: other, groups: vec![0] }).await;
    let elsewhere = elsewhere.expect_err("it leads no more");
    let info = elsewhere.get_details_error_info().expect("it says who does");
    assert_eq!((info.reason.as_str(), info.metadata["leader"].as_str()), ("LED_ELSEWHERE", other.to_string().as_str()));
    let nobody = asked.transfer_leader(v1::TransferLeaderRequest { to: 9, groups: Vec::new() }).await;
    assert_eq!(nobody.expect_err("there is no node 9").code(), Code::NotFound);
    let group = asked.transfer_leader(v1::TransferLeaderRequest { to: other, groups: vec![77] }).await;
    assert_eq!(group.expect_err("there is no group 77").code(), Code::NotFound);

    let gone = (leader + 1) % 3 + 1;
    asked.remove_node(v1::RemoveNodeRequest { node: gone, forced: false }).await.expect("the others take over");
    let remain = world.control(NodeId(leader));
    let is_removed = || remain.catalog().node(NodeId(gone)).is_none_or(|node| node.state == NodeState::Removed);
    until("removal", is_removed).await;
    let status = asked.get_status(v1::GetStatusRequest::default()).await.expect("it is a member").into_inner();
    assert!(status.nodes.iter().all(|node| node.id != gone), "{:?}", status.nodes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_takes_the_place_of_another_and_the_last_one_stays() {
    let mut world = World::bootstrapped(1).await;
    let mut admin = client::member(world.place(1), &world.authority, &world.operator(Role::Admin)).await;
    let last =
        admin.remove_node(v1::RemoveNodeRequest { node: 1, forced: false }).await.expect_err("it is the last one");
    assert_eq!(last.code(), Code::FailedPrecondition, "{last}");
    assert!(last.get_details_precondition_failure().is_some());

    world.join(NodeId(2)).await;
    world.join(NodeId(3)).await;
    admin.replace_node(v1::ReplaceNodeRequest { node: 2, by: 3 }).await.expect("it has joined");
    world.all("node that was replaced", |catalog| catalog.node(NodeId(2)).is_none_or(|node| !node.lives())).await;
    let same = admin.replace_node(v1::ReplaceNodeRequest { node: 1, by: 1 }).await.expect_err("it is the same");
    assert_eq!(same.code(), Code::InvalidArgument, "{same}");
    admin.remove_node(v1::RemoveNodeRequest { node: 3, forced: true }).await.expect("by force");
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_are_snapshotted_when_an_operator_says_so() {
    let world = World::bootstrapped(2).await;
    let mut operator = client::member(world.place(1), &world.authority, &world.operator(Role::Operator)).await;
    let control = world.control(NodeId(1));
    until("all groups", || control.host().groups().len() == 3).await;

    let taken = operator.snapshot(v1::SnapshotRequest { groups: vec![0] }).await.expect("it has the group");
    assert_eq!(taken.into_inner().taken, [0]);
    assert!(control.meta().snapshot_hash().is_some(), "it is there");
    let missing = operator.snapshot(v1::SnapshotRequest { groups: vec![9] }).await.expect_err("there is none");
    assert_eq!(missing.code(), Code::NotFound, "{missing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_puts_documents_back_in_another_cluster_and_nothing_else() {
    let world = World::bootstrapped(1).await;
    let mut admin = client::member(world.place(1), &world.authority, &world.operator(Role::Admin)).await;
    // Together more than one command takes, so that they are put back in parts; different, since a text is kept once.
    for name in ["one", "two", "three"] {
        let large = format!("{{\"text\":\"{}\"}}", name.repeat(40 << 10));
        let apply = proto::Apply {
            upserts: vec![upsert(name, large.as_bytes())],
            author: "a test".to_owned(),
            ..proto::Apply::default()
        };
        world.control(NodeId(1)).command(Command::Apply(apply)).await.expect("it is taken");
    }
    let revoked =
        proto::DocumentKey { kind: "ApiKey".to_owned(), tenant: "default".to_owned(), name: "revoked".to_owned() };
    let apply = proto::Apply {
        upserts: vec![proto::Upsert { key: Some(revoked), ..upsert("revoked", b"{}") }],
        author: "a test".to_owned(),
        ..proto::Apply::default()
    };
    world.control(NodeId(1)).command(Command::Apply(apply)).await.expect("it is taken");
    let mut chunks = Vec::new();
    let mut backup = admin.backup(v1::BackupRequest {}).await.expect("it is an admin").into_inner();
    while let Some(v1::BackupChunk { data }) = backup.message().await.expect("it is whole") {
        chunks.push(v1::RestoreChunk { data });
    }
    assert!(chunks.len() > 1, "it comes in parts");

    let second = World::bootstrapped(1).await;
    let mut other = client::member(second.place(1), &second.authority, &second.operator(Role::Admin)).await;
    let stays =
        proto::Apply { upserts: vec![upsert("other", b"{}")], author: "a test".to_owned(), ..proto::Apply::default() };
    second.control(NodeId(1)).command(Command::Apply(stays)).await.expect("it is taken");
    let restored =
        other.restore(futures_util::stream::iter(chunks.clone())).await.expect("it is a backup").into_inner();
    assert_eq!((restored.revision, restored.added, restored.changed, restored.deleted), (2, 3, 0, 1));
    let (ours, theirs) = (world.control(NodeId(1)).catalog(), second.control(NodeId(1)).catalog());
    let all_but_keys = ours.documents().keys().filter(|key| key.kind() != "ApiKey");
    assert!(all_but_keys.eq(theirs.documents().keys()));
    assert_eq!(theirs.revisions(None, 1).next().expect("it is the latest").author(), "operator ana (admin)");
    let again = other.restore(futures_util::stream::iter(chunks.clone())).await.expect("it is a backup").into_inner();
    assert_eq!((again.revision, again.added + again.changed + again.deleted), (2, 0), "nothing is different");

    // A key that was revoked since the backup stays so, and one that was made since stays too.
    let key = |name: &str| proto::DocumentKey {
        kind: "ApiKey".to_owned(),
        tenant: "default".to_owned(),
        name: name.to_owned(),
    };
    let made = proto::Upsert { key: Some(key("since")), ..upsert("since", b"{}") };
    let since = proto::Apply { upserts: vec![made], author: "a test".to_owned(), ..proto::Apply::default() };
    second.control(NodeId(1)).command(Command::Apply(since)).await.expect("it is taken");
    let warned = other.restore(futures_util::stream::iter(chunks.clone())).await.expect("it is a backup").into_inner();
    assert_eq!((warned.revision, warned.deleted, warned.added), (3, 0, 0), "nothing but keys is different");
    let [warning] = &warned.warnings[..] else { panic!("{:?}", warned.warnings) };
    assert!(warning.contains("2 differ from the backup"), "{warning}");

    chunks.pop();
    let cut = other.restore(futures_util::stream::iter(chunks)).await.expect_err("its end is missing");
    assert_eq!(cut.code(), Code::InvalidArgument, "{cut}");
}
