//! Who is no member: no certificate, a wrong one, an expired one, no TLS at all, and those who say nothing.

use std::sync::Arc;

use quorate_peer::{DEFAULTS, DialError, Limits, Link, NodeId, NodeName};
use quorate_tls::{ClientOptions, ClientTls, NodeCredentials, NodeHandshakeError};
use quorate_types::ClusterId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::world::{Authority, CLUSTER, HOST, Node, until};

const HOUR: i64 = 3600;

/// Dials a node with certificates of this kind; waits until it was turned away for this reason, and the dialing node knows
/// that its certificate was refused.
async fn is_turned_away(first: &Node, credentials: NodeCredentials, authority: &Authority, label: &str) {
    let mut second = authority.start(2);
    second.credentials = credentials;
    let second = second.run();
    second.knows(&[first]);
    until(label, || first.turned_away(label) > 0).await;
    assert!(!second.link(first.id).is_connected());
    assert_eq!(first.asked.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_prove_no_node_of_the_cluster_are_turned_away_by_reason() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let first = ours.node(1);
    first.knows_at([(NodeId(2), "127.0.0.1:1".parse().unwrap())]);
    let name = |cluster, node| NodeName { cluster, node: NodeId(node) }.to_string();

    let foreign = theirs.issue_node(CLUSTER, 2).credentials(&[&ours, &theirs]);
    is_turned_away(&first, foreign, &ours, "certificate_of_another_authority").await;
    let expired = ours.issue(&[name(CLUSTER, 2)], -HOUR).credentials(&[&ours]);
    is_turned_away(&first, expired, &ours, "certificate_expired").await;
    let other = ours.issue_node(ClusterId([9; 16]), 2).credentials(&[&ours]);
    is_turned_away(&first, other, &ours, "other_cluster").await;
    let unnamed = ours.issue(&["spiffe://example.com/node/2".to_owned()], HOUR).credentials(&[&ours]);
    is_turned_away(&first, unnamed, &ours, "no_node_name").await;
    let twice = ours.issue(&[name(CLUSTER, 2), name(CLUSTER, 3)], HOUR).credentials(&[&ours]);
    is_turned_away(&first, twice, &ours, "no_node_name").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_certificate_was_refused_knows_it() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let first = ours.node(1);
    let mut second = ours.start(2);
    second.credentials = theirs.issue_node(CLUSTER, 2).credentials(&[&ours]);
    let second = second.run();
    second.knows(&[&first]);

    let alert = || match second.link(first.id) {
        Link::Refused { reason } if matches!(&*reason, DialError::Tls(NodeHandshakeError::Alert(_))) => Some(reason),
        _ => None,
    };
    until("the alert came", || alert().is_some()).await;
    assert_eq!(alert().unwrap().to_string(), "the peer refuses this node's certificate or its TLS: alert UnknownCA");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_proves_no_node_of_the_cluster_gets_no_stream() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let one = ours.node(1);
    let mut impostor = ours.start(2);
    impostor.credentials = theirs.issue_node(CLUSTER, 2).credentials(&[&ours, &theirs]);
    let impostor = impostor.run();
    impostor.knows_at([(NodeId(1), "127.0.0.1:1".parse().unwrap())]);
    one.knows(&[&impostor]);

    let refused = || match one.link(NodeId(2)) {
        Link::Refused { reason } => matches!(&*reason, DialError::Tls(NodeHandshakeError::Certificate(_))),
        _ => false,
    };
    until("its certificate is refused", refused).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shows_no_certificate_reads_nothing_but_an_alert() {
    let authority = Authority::new("ours");
    let first = authority.node(1);
    let file = std::env::temp_dir().join(format!("quorate-peer-{}-roots.pem", std::process::id()));
    std::fs::write(&file, authority.pem()).unwrap();
    let client = ClientTls::load(&ClientOptions { native_roots: false, extra_roots: Some(file.clone()) }).unwrap();
    std::fs::remove_file(file).unwrap();

    let socket = TcpStream::connect(first.peers.address()).await.unwrap();
    let mut stream = client.connect(HOST, socket).await.expect("it trusts the node");
    let mut read = Vec::new();
    let error = stream.read_to_end(&mut read).await.unwrap_err();
    assert_eq!((read.as_slice(), error.to_string().as_str()), (&b""[..], "received fatal alert: CertificateRequired"));
    until("it is counted", || first.turned_away("no_certificate") == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_no_tls_is_turned_away() {
    let first = Authority::new("ours").node(1);
    let mut socket = TcpStream::connect(first.peers.address()).await.unwrap();
    socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let mut read = Vec::new();
    let _ = socket.read_to_end(&mut read).await;

    assert!(read.len() <= 7, "an alert at most: {read:?}");
    until("it is counted", || first.turned_away("no_handshake") > 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_that_say_nothing_hold_nobody_up_and_are_bounded() {
    let authority = Authority::new("ours");
    let mut start = authority.start(1);
    start.limits = Limits { handshakes: 8, ..DEFAULTS };
    let (first, second) = (start.run(), authority.node(2));
    first.knows_at([(NodeId(2), "127.0.0.1:1".parse().unwrap())]);

    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(TcpStream::connect(first.peers.address()).await.unwrap());
    }
    until("the oldest are closed", || first.turned_away("evicted") >= 32).await;
    assert!(first.peers.observe().handshakes <= 8);
    second.knows(&[&first]);
    second.connects(&first).await;
    assert!(second.ask(&first, "through the crowd").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_says_nothing_is_closed_in_time() {
    let authority = Authority::new("ours");
    let mut start = authority.start(1);
    start.limits = Limits { handshake_timeout: std::time::Duration::from_millis(100), ..DEFAULTS };
    let first = start.run();

    let mut socket = TcpStream::connect(first.peers.address()).await.unwrap();
    let mut read = Vec::new();
    let _ = socket.read_to_end(&mut read).await;
    until("it is counted", || first.turned_away("slow") == 1).await;
    until("its place is free", || first.peers.observe().handshakes == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_does_not_say_hello_is_closed_in_time() {
    let authority = Arc::new(Authority::new("ours"));
    let mut start = authority.start(1);
    start.limits = Limits { handshake_timeout: std::time::Duration::from_millis(300), ..DEFAULTS };
    let first = start.run();
    first.knows_at([(NodeId(2), "127.0.0.1:1".parse().unwrap())]);

    let socket = TcpStream::connect(first.peers.address()).await.unwrap();
    let mut proven = authority.tls(2).connect(socket).await.unwrap();
    let mut read = Vec::new();
    let _ = proven.stream.read_to_end(&mut read).await;
    until("it is counted", || first.turned_away("slow") == 1).await;
}
