//! Our own client at a server that asks who comes.

use std::time::Duration;

use quorate_tls::{ClientCertificate, ClientOptions, ClientTls, Reason, Reload, ServerTls, WatchConfig};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

use crate::authority::{Authority, Issued};
use crate::world::World;

const FIRST: &str = "spiffe://one.test/gateway";
const SECOND: &str = "spiffe://one.test/gateway-2";

/// Writes the files of a client into the world's folder.
fn write(world: &World, issued: &Issued) -> ClientCertificate {
    ClientCertificate {
        certificate: world.write("client.pem", &issued.chain),
        key: world.write("client.key", &issued.key),
    }
}

fn options(world: &World) -> ClientOptions {
    ClientOptions { native_roots: false, extra_roots: Some(world.path("server.pem")) }
}

/// Returns the id that the server saw, or the class of what it refused.
async fn seen(server: &ServerTls, client: &ClientTls) -> Result<String, &'static str> {
    let (near, far) = tokio::io::duplex(64 << 10);
    let (client, accepted) = tokio::join!(client.connect("localhost", near), server.accept(far));
    match accepted {
        Ok(accepted) => {
            client.unwrap();
            Ok(accepted.identity.map_or_else(String::new, |identity| identity.id().to_string()))
        }
        Err(quorate_tls::HandshakeError::Refused(refusal)) => {
            client.unwrap().read_u8().await.unwrap_err();
            Err(refusal.reason())
        }
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_client_presents_its_certificate_to_whom_it_trusts() {
    let root = Authority::root("one");
    let world = World::new().trusting("one.test", &[&root]);
    let server = world.load();
    let client = ClientTls::load_mutual(&options(&world), write(&world, &root.issue(FIRST))).unwrap();
    assert_eq!(seen(&server, &client).await, Ok(FIRST.to_owned()));
    let bare = ClientTls::load(&options(&world)).unwrap();
    assert_eq!(seen(&server, &bare).await, Err("no_certificate"));
    // Who does not ask is not told.
    let open = ServerTls::load(world.path("server.pem"), world.path("server.key")).unwrap();
    assert_eq!(seen(&open, &client).await, Ok(String::new()));
    let shown = format!("{client:?}");
    assert!(shown.contains("client.pem") && shown.contains("roots: 1"), "{shown}");
}

#[tokio::test]
async fn a_replaced_certificate_is_presented_from_then_on_and_a_bad_one_never() {
    let root = Authority::root("one");
    let world = World::new().trusting("one.test", &[&root]);
    let server = world.load();
    let client = ClientTls::load_mutual(&options(&world), write(&world, &root.issue(FIRST))).unwrap();
    let clone = client.clone();
    assert!(client.reload().is_empty());

    write(&world, &root.issue(SECOND));
    assert!(matches!(*client.reload(), [Reload::Replaced]));
    assert_eq!(seen(&server, &clone).await, Ok(SECOND.to_owned()));

    world.write("client.pem", root.issue(FIRST).chain);
    let news = client.reload();
    let [Reload::Refused(error)] = news.as_slice() else { panic!("{news:?}") };
    assert!(matches!(error.reason, Reason::Mismatch { .. }) && error.path.ends_with("client.key"), "{error}");
    assert!(client.reload().is_empty(), "the same failure is told once");
    assert_eq!(seen(&server, &client).await, Ok(SECOND.to_owned()));
}

#[tokio::test]
async fn a_client_that_watches_does_so_as_long_as_it_is_there() {
    let root = Authority::root("one");
    let world = World::new().trusting("one.test", &[&root]);
    let server = world.load();
    let (sender, mut reports) = mpsc::channel(8);
    let config = WatchConfig { poll_interval: Duration::from_millis(20), quiet: Duration::from_millis(1) };
    let client = ClientTls::load_mutual(&options(&world), write(&world, &root.issue(FIRST))).unwrap();
    let client = client.watched(config, move |reload| sender.try_send(reload).unwrap_or_default());
    let clone = client.clone();
    drop(client);

    write(&world, &root.issue(SECOND));
    // The files do not fit each other between two writes, which may be told of.
    while seen(&server, &clone).await != Ok(SECOND.to_owned()) {
        tokio::time::timeout(Duration::from_secs(20), reports.recv()).await.expect("a change is noticed");
    }

    drop(clone);
    // The task ends with it, and what it reports to.
    let end = async { while reports.recv().await.is_some() {} };
    tokio::time::timeout(Duration::from_secs(20), end).await.expect("the watch ends");
}

#[tokio::test]
async fn replaced_roots_decide_over_the_next_connection() {
    let root = Authority::root("one");
    let world = World::new().trusting("one.test", &[&root]).optional();
    let server = world.load();
    let own = std::fs::read(world.path("server.pem")).unwrap();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
    let roots = world.write("roots.pem", &other);
    let options = ClientOptions { native_roots: false, extra_roots: Some(roots) };
    let client = ClientTls::load(&options).unwrap();
    let connects = async |client: &ClientTls| {
        let (near, far) = tokio::io::duplex(64 << 10);
        let (client, server) = tokio::join!(client.connect("localhost", near), server.accept(far));
        assert_eq!(client.is_ok(), server.is_ok());
        client.is_ok()
    };
    assert!(!connects(&client).await);

    let (sender, mut reports) = mpsc::channel(8);
    let config = WatchConfig { poll_interval: Duration::from_millis(20), quiet: Duration::from_millis(1) };
    let _watch = client.watch(config, move |reload| sender.try_send(reload).unwrap_or_default());
    world.write("roots.pem", [own.as_slice(), other.as_bytes()].concat());
    let news = tokio::time::timeout(Duration::from_secs(20), reports.recv()).await.expect("a change is noticed");
    assert!(matches!(news, Some(Reload::Replaced)));
    assert_eq!(client.roots(), 2);
    assert!(connects(&client).await);
}
