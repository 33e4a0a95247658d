//! What connections promise: two protocols on one port, limits, and certificates that are asked for again.

use std::time::Duration;

use quorate_admin::api::{TIMES, Times};
use quorate_membership::authority::Authority;
use quorate_membership::identity::Role;
use quorate_membership::trust::Bundle;
use quorate_proto::admin::v1;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::client;
use crate::world::{CLUSTER, World, now, until};

const SHORT: Times = Times {
    handshake: Duration::from_millis(300),
    idle: Duration::from_millis(600),
    idle_stranger: Duration::from_millis(300),
    look: Duration::from_millis(50),
    unread: Duration::from_millis(200),
};

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_is_served_beside_tls_on_one_port() {
    let world = World::bootstrapped(1).await;
    let admin = world.place(1).admin;
    let mut viewer = client::member(world.place(1), &world.authority, &world.operator(Role::Viewer)).await;

    viewer.get_status(v1::GetStatusRequest::default()).await.expect("it is a viewer");
    for (path, expected) in [("/healthz", "ok"), ("/metrics", "quorate"), ("/keys", "\"keys\""), ("/none", "here are")]
    {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n");
        let answer = client::exchange(admin, request.as_bytes()).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 ") && answer.contains(expected), "{path}: {answer}");
    }
    viewer.get_status(v1::GetStatusRequest::default()).await.expect("its connection is still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shakes_hands_too_slowly_is_cut_and_holds_nobody_up() {
    let world = World::bootstrapped_with(1, SHORT).await;
    let admin = world.place(1).admin;
    let mut slow = Vec::new();
    for _ in 0..40 {
        let mut stream = TcpStream::connect(admin).await.expect("somebody listens");
        stream.write_all(&[0x16, 3, 1, 2, 0]).await.expect("it is taken");
        slow.push(stream);
    }

    let mut viewer = client::member(world.place(1), &world.authority, &world.operator(Role::Viewer)).await;
    viewer.get_status(v1::GetStatusRequest::default()).await.expect("the slow ones hold nobody up");
    assert!(client::exchange(admin, &[0x16, 3, 1, 2, 0]).await.is_empty(), "it is cut");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_calls_is_closed_and_a_watch_keeps_one_open() {
    let world = World::bootstrapped_with(1, SHORT).await;
    let place = world.place(1);
    let shown = world.operator(Role::Viewer);
    let idle = client::member_sender(place, &world.authority, &shown).await;
    let busy = client::member_sender(place, &world.authority, &shown).await;
    let stranger = client::nobody(place, &world.authority).await;
    let mut watch = client::client(busy.clone())
        .watch_status(v1::WatchStatusRequest {})
        .await
        .expect("it is a viewer")
        .into_inner();
    watch.message().await.expect("it is told").expect("it is not over");

    until("end of idle connections", || idle.is_closed() && stranger.is_closed()).await;
    assert!(!busy.is_closed(), "a watch is a call");
    client::call(&busy, "/quorate.admin.v1.Cluster/GetStatus", true).await.expect("its connection is still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_trusted_no_more_ends_its_connection_and_what_it_has_open() {
    let world = World::bootstrapped_with(1, Times { look: SHORT.look, ..TIMES }).await;
    let place = world.place(1);
    let sender = client::member_sender(place, &world.authority, &world.operator(Role::Admin)).await;
    let mut watch = client::client(sender.clone())
        .watch_status(v1::WatchStatusRequest {})
        .await
        .expect("it is an admin")
        .into_inner();
    watch.message().await.expect("it is told").expect("it is not over");

    let other = Authority::mint(CLUSTER, now()).expect("a root is made");
    let bundle = Bundle::new([other.anchor().clone()]).expect("it is an authority's");
    place.member.as_ref().expect("it is a member").trust.replace(bundle);

    until("end of the connection", || sender.is_closed()).await;
    let ended = loop {
        match watch.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a watch that was cut looks whole"),
            Err(status) => break status,
        }
    };
    assert_ne!(ended.code(), Code::Ok, "{ended}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_large_and_a_timeout_that_is_none_are_refused() {
    let world = World::bootstrapped(1).await;
    let mut local = client::client(client::local(world.place(1).folder.path()).await);

    let large = v1::CreateJoinTokenRequest { comment: "x".repeat(5 << 20), ..v1::CreateJoinTokenRequest::default() };
    let status = local.create_join_token(large).await.expect_err("it has 5 MiB");
    assert_eq!(status.code(), Code::OutOfRange, "{status}");

    let mut request = tonic::Request::new(v1::GetStatusRequest::default());
    request.metadata_mut().insert("grpc-timeout", "soon".parse().expect("it is a header"));
    let status = local.get_status(request).await.expect_err("it is no timeout");
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert_eq!(status.get_details_bad_request().expect("it names the field").field_violations[0].field, "grpc-timeout");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_at_the_deadline_of_its_caller() {
    let world = World::bootstrapped(1).await;
    let mut local = client::client(client::local(world.place(1).folder.path()).await);
    let mut request = tonic::Request::new(v1::WatchStatusRequest {});
    // In the header alone: the client has no timer of its own here.
    request.metadata_mut().insert("grpc-timeout", "700m".parse().expect("it is a header"));

    let mut watch = local.watch_status(request).await.expect("it is local").into_inner();
    let ended = loop {
        match watch.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended as if it were whole"),
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::DeadlineExceeded, "{ended}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_an_answer_whose_time_is_up_loses_the_connection() {
    let world = World::bootstrapped_with(1, Times { look: SHORT.look, unread: SHORT.unread, ..TIMES }).await;
    let place = world.place(1);
    // No byte of a body fits: the first part of an answer waits for a reader for ever.
    let shut = client::local_with_window(place.folder.path(), 0).await;
    let open = client::local(place.folder.path()).await;
    let mut request = tonic::Request::new(v1::WatchStatusRequest {});
    request.metadata_mut().insert("grpc-timeout", "300m".parse().expect("it is a header"));

    let watch = client::client(shut.clone()).watch_status(request).await.expect("it is local");

    until("end of the connection", || shut.is_closed()).await;
    assert!(!open.is_closed(), "others are not concerned");
    drop(watch);
}
