//! A listener with a certificate from files: HTTP/1.1 and HTTP/2, and a new certificate without a restart.

use std::{fs, net::SocketAddr, path::Path, sync::Arc};

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use quorate_tests::wait;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::support::{
    PATIENCE,
    backend::Backend,
    gateway::{Documents, Gateway, OPEN, modern_request, replace},
    mcp::Mcp,
};

/// Writes a fresh certificate and its key, and returns it.
fn issue(folder: &Path) -> anyhow::Result<CertificateDer<'static>> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    // The key first: a pair that does not match must not be in place for longer than needed.
    replace(&folder.join("key.pem"), &made.signing_key.serialize_pem())?;
    replace(&folder.join("cert.pem"), &made.cert.pem())?;
    Ok(made.cert.der().clone())
}

fn start() -> anyhow::Result<(Backend, Gateway, CertificateDer<'static>)> {
    let backend = Mcp::new("a").start()?;
    let folder: TempDir = tempfile::tempdir()?;
    let certificate = issue(folder.path())?;
    let mut documents = Documents::new().server("a", &backend.url());
    documents.listener["tls"] = json!({ "certificate": "cert.pem", "key": "key.pem" });
    fs::write(folder.path().join("resources.yaml"), documents.text())?;
    Ok((backend, Gateway::start_in(folder, OPEN)?, certificate))
}

async fn connect(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
    protocol: &[u8],
) -> anyhow::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.clone())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(address).await?;
    Ok(TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost")?, stream).await?)
}

/// Calls `echo` over HTTP/2 `times` at once on one connection: the texts.
async fn call_h2(address: SocketAddr, trusted: &CertificateDer<'static>, times: usize) -> anyhow::Result<Vec<Value>> {
    let stream = connect(address, trusted, b"h2").await?;
    anyhow::ensure!(stream.get_ref().1.alpn_protocol() == Some(b"h2"), "HTTP/2 was not chosen");
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let driving = tokio::spawn(connection);
    let calls = (0..times).map(|id| {
        let mut sender = sender.clone();
        async move {
            let (headers, body) = modern_request(&json!(id), "tools/call", json!({ "name": "echo", "arguments": {} }));
            let mut request = Request::post(format!("https://localhost:{}/mcp", address.port()));
            for (name, value) in headers {
                request = request.header(name, value);
            }
            let answer = sender.send_request(request.body(Full::new(Bytes::from(body.to_string())))?).await?;
            anyhow::ensure!(answer.status() == 200, "{}", answer.status());
            let body = answer.into_body().collect().await?.to_bytes();
            let message: Value = serde_json::from_slice(&body)?;
            anyhow::ensure!(message["id"] == id, "{message}");
            Ok(message["result"]["content"][0]["text"].clone())
        }
    });
    let mut texts = Vec::new();
    let running: Vec<_> = calls.map(tokio::spawn).collect();
    for one in running {
        texts.push(one.await??);
    }
    driving.abort();
    Ok(texts)
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().context("a runtime")
}

#[test]
fn both_versions_of_http_are_spoken_over_tls() -> anyhow::Result<()> {
    let (_backend, gateway, certificate) = start()?;

    let texts = runtime()?.block_on(call_h2(gateway.address, &certificate, 50))?;
    assert_eq!(texts, vec![json!("a:echo"); 50]);

    let plain = runtime()?.block_on(async {
        let stream = connect(gateway.address, &certificate, b"http/1.1").await?;
        anyhow::ensure!(stream.get_ref().1.alpn_protocol() == Some(b"http/1.1"), "HTTP/1.1 was not chosen");
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let driving = tokio::spawn(connection);
        let request = Request::get("/mcp").header("host", "localhost").body(Full::new(Bytes::new()))?;
        let status = sender.send_request(request).await?.status();
        driving.abort();
        anyhow::Ok(status)
    })?;
    assert_eq!(plain, 405);
    Ok(())
}

#[test]
fn plain_http_and_foreign_hosts_are_refused_at_a_tls_listener() -> anyhow::Result<()> {
    let (_backend, gateway, certificate) = start()?;

    let plain = crate::support::client::send(gateway.address, "GET", "/mcp", &[], b"");
    assert!(plain.is_err(), "plain HTTP is answered {}", plain.map_or(0, |answer| answer.status));
    let refused = runtime()?.block_on(async {
        let stream = connect(gateway.address, &certificate, b"h2").await?;
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        let driving = tokio::spawn(connection);
        let request = Request::post("https://evil.example/mcp").body(Full::new(Bytes::from_static(b"{}")))?;
        let status = sender.send_request(request).await?.status();
        driving.abort();
        anyhow::Ok(status)
    })?;
    assert_eq!(refused, 403, "HTTP/2 carries the host in `:authority`");
    assert_eq!(runtime()?.block_on(call_h2(gateway.address, &certificate, 1))?, [json!("a:echo")]);
    Ok(())
}

#[test]
fn a_new_certificate_is_used_without_a_restart_and_a_broken_one_is_not() -> anyhow::Result<()> {
    let (_backend, gateway, first) = start()?;
    let runtime = runtime()?;
    assert_eq!(runtime.block_on(call_h2(gateway.address, &first, 1))?, [json!("a:echo")]);

    let second = issue(gateway.folder.path())?;
    wait::until("the new certificate", PATIENCE, || runtime.block_on(call_h2(gateway.address, &second, 1)).map(drop))?;
    assert!(runtime.block_on(call_h2(gateway.address, &first, 1)).is_err(), "the old one is not served any more");

    replace(&gateway.folder.path().join("cert.pem"), "-----BEGIN CERTIFICATE-----\nrubbish\n")?;
    let mut gateway = gateway;
    gateway.logged("certificate")?;
    assert_eq!(runtime.block_on(call_h2(gateway.address, &second, 1))?, [json!("a:echo")]);
    Ok(())
}
