//! Real TLS: ALPN, reload under open connections, and clients that do not shake hands.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use quorate_http::client::{Client, Config, Error};
use quorate_http::collect;
use quorate_http::server::{ConnectionError, Limits};
use quorate_tls::{ClientOptions, ClientTls, Reload, ServerTls};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{PATIENCE, TestServer, WIDE, echo, within};

/// Writes a self-signed certificate for localhost and its key into a folder.
pub(crate) fn write_certificate(folder: &Path) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
}

pub(crate) fn server_tls(folder: &TempDir) -> ServerTls {
    write_certificate(folder.path());
    ServerTls::load(folder.path().join("cert.pem"), folder.path().join("key.pem")).unwrap()
}

/// Trusts the certificate that is in the folder now.
pub(crate) fn client_tls(folder: &TempDir) -> ClientTls {
    let options = ClientOptions { native_roots: false, extra_roots: Some(folder.path().join("cert.pem")) };
    ClientTls::load(&options).unwrap()
}

fn get(server: &TestServer, path: &str) -> http::Request<Full<Bytes>> {
    let uri = format!("https://localhost:{}{path}", server.address.port());
    http::Request::get(uri).body(Full::default()).unwrap()
}

#[tokio::test]
async fn client_and_server_agree_on_http2_and_the_peer_is_known_to_be_encrypted() {
    let folder = TempDir::new().unwrap();
    let server = TestServer::start(WIDE, Some(server_tls(&folder)), |request, peer| async move {
        assert!(peer.encrypted);
        echo(request, peer).await
    });
    let client = Client::new(&Config::default(), client_tls(&folder));
    let answer = within("the answer", client.send(get(&server, "/secret"))).await.unwrap();
    assert_eq!(answer.version(), http::Version::HTTP_2);
    assert_eq!(collect(answer.into_body(), 100, PATIENCE).await.unwrap(), "GET /secret 0");
}

#[tokio::test]
async fn a_client_without_alpn_gets_http1() {
    let folder = TempDir::new().unwrap();
    let server = TestServer::start(WIDE, Some(server_tls(&folder)), echo);
    let mut roots = rustls::RootCertStore::empty();
    let pem = std::fs::read(folder.path().join("cert.pem")).unwrap();
    let certificate = <rustls::pki_types::CertificateDer as rustls::pki_types::pem::PemObject>::from_pem_slice(&pem);
    roots.add(certificate.unwrap()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let socket = TcpStream::connect(server.address).await.unwrap();
    let mut stream = connector.connect("localhost".try_into().unwrap(), socket).await.unwrap();
    stream.write_all(b"GET /old HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    within("the answer", stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("GET /old 0"), "{answer:?}");
}

#[tokio::test]
async fn a_reload_changes_new_handshakes_and_leaves_open_connections() {
    let folder = TempDir::new().unwrap();
    let tls = server_tls(&folder);
    let server = TestServer::start(WIDE, Some(tls.clone()), echo);
    let before = Client::new(&Config { idle_timeout: PATIENCE, ..Config::default() }, client_tls(&folder));
    within("the answer", before.send(get(&server, "/1"))).await.unwrap();

    write_certificate(folder.path());
    assert!(matches!(*tls.reload(), [Reload::Replaced]));
    assert!(tls.reload().is_empty());

    // The open connection goes on: a new one would fail, because its client trusts the old one.
    within("the answer", before.send(get(&server, "/2"))).await.unwrap();
    assert_eq!(server.heard.heard().opened, 1);
    let after = Client::new(&Config::default(), client_tls(&folder));
    within("the answer", after.send(get(&server, "/3"))).await.unwrap();
}

#[tokio::test]
async fn handshakes_that_fail_or_take_too_long_are_told_apart() {
    let folder = TempDir::new().unwrap();
    let limits = Limits { handshake_timeout: Duration::from_millis(200), ..WIDE };
    let server = TestServer::start(limits, Some(server_tls(&folder)), echo);

    let mut plain = server.connect().await;
    plain.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    plain.read_to_end().await;
    assert!(matches!(server.next_end().await, Err(ConnectionError::Handshake(_))));

    let mut silent = server.connect().await;
    assert_eq!(silent.read_to_end().await, "");
    assert!(matches!(server.next_end().await, Err(ConnectionError::Cut { limit: "handshake_timeout" })));
    assert_eq!(server.heard.heard().hits, ["handshake_timeout"]);

    let mut drained = server.connect().await;
    server.heard.wait_for("the connection", |heard| heard.opened == 3).await;
    server.drain.cancel();
    assert_eq!(drained.read_to_end().await, "");
}

#[tokio::test]
async fn a_server_that_is_not_trusted_or_has_another_name_gets_no_request() {
    let folder = TempDir::new().unwrap();
    let server = TestServer::start(WIDE, Some(server_tls(&folder)), echo);
    let trusting = Client::new(&Config::default(), client_tls(&folder));
    let stranger = TempDir::new().unwrap();
    write_certificate(stranger.path());
    let distrusting = Client::new(&Config::default(), client_tls(&stranger));

    let other_name = format!("https://127.0.0.2:{}/", server.address.port());
    let other_name = http::Request::get(other_name).body(Full::default()).unwrap();
    for (client, request) in [(&distrusting, get(&server, "/")), (&trusting, other_name)] {
        let error = within("the failure", client.send(request)).await.unwrap_err();
        assert!(matches!(error, Error::Connect(_)), "{error:?}");
        assert!(error.never_sent());
    }

    let by_address = format!("https://127.0.0.1:{}/", server.address.port());
    let by_address = http::Request::get(by_address).body(Full::default()).unwrap();
    within("the answer", trusting.send(by_address)).await.unwrap();
}
